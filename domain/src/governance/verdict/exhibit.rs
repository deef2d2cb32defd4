//! What a decision of compliance rests on: documents and records that are kept elsewhere, named so that nobody can exchange them later.

use crate::{canonical::Canonical, governance::directory::is_label, text::hex_bytes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most pieces of evidence of one decision.
pub const MAX_EVIDENCE: usize = 10;
const MAX_NAME: usize = 200;
const MAX_URI: usize = 500;

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Exhibit {
    /// A document, by its content.
    Document {
        /// What people call it: 1 to 200 characters.
        name: String,
        /// Of its bytes.
        #[serde(with = "hex_bytes")]
        sha256: [u8; 32],
    },
    /// A record elsewhere, by an absolute URI (RFC 3986) of at most 500 characters: a ticket, or `urn:bursar:case:` and the id of a case
    /// here, with its notes.
    Record { uri: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "evidence: must be 1 to {MAX_EVIDENCE} pieces, each a document (name of 1 to {MAX_NAME} characters, sha256) or a record (uri: absolute, at \
     most {MAX_URI} characters)"
)]
pub struct InvalidEvidence;

impl Exhibit {
    /// A record, if `uri` can name one.
    ///
    /// # Errors
    /// It is no absolute URI, or too long.
    pub fn record(uri: &str) -> Result<Self, InvalidEvidence> {
        is_uri(uri).then(|| Self::Record { uri: uri.to_owned() }).ok_or(InvalidEvidence)
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Document { name, sha256: _ } => is_label(name, MAX_NAME),
            Self::Record { uri } => is_uri(uri),
        }
    }
}

impl fmt::Display for Exhibit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document { name, sha256 } => write!(f, "{name} (SHA-256 {})", hex::encode(sha256)),
            Self::Record { uri } => f.write_str(uri),
        }
    }
}

/// Whether it has a scheme, something after it, and only characters that a URI has.
fn is_uri(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let mut letters = scheme.bytes();
    uri.len() <= MAX_URI
        && letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&byte))
}

/// That there is evidence, and each piece of it makes sense. A decision without any was signed before there were such fields: its signatures
/// are still good, and it does not count.
///
/// # Errors
/// [`InvalidEvidence`].
pub(super) fn check(evidence: &[Exhibit]) -> Result<(), InvalidEvidence> {
    let some = (1..=MAX_EVIDENCE).contains(&evidence.len());
    (some && evidence.iter().all(Exhibit::is_valid)).then_some(()).ok_or(InvalidEvidence)
}

/// How many there are, then each with its kind.
pub(super) fn canonical(out: Canonical, evidence: &[Exhibit]) -> Canonical {
    evidence.iter().fold(out.number(evidence.len() as u64), |out, exhibit| match exhibit {
        Exhibit::Document { name, sha256 } => out.text("DOCUMENT").text(name).bytes(sha256),
        Exhibit::Record { uri } => out.text("RECORD").text(uri),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_there_bounded_and_names_something() {
        let document = |name: &str| Exhibit::Document { name: name.into(), sha256: [3; 32] };
        let record = |uri: &str| Exhibit::Record { uri: uri.into() };
        let letter = document("letter.pdf");
        assert_eq!(check(std::slice::from_ref(&letter)), Ok(()));
        assert_eq!(check(&vec![letter.clone(); MAX_EVIDENCE]), Ok(()));
        for uri in
            ["https://tickets.example.org/7?a=b#c", "urn:bursar:case:0198b3c2", "x+y-z.1:0", &long("s:")]
        {
            assert_eq!(check(&[record(uri)]), Ok(()), "{uri}");
            assert_eq!(Exhibit::record(uri), Ok(record(uri)));
        }
        let refused = [
            vec![],
            vec![letter; MAX_EVIDENCE + 1],
            vec![document("")],
            vec![document(&"a".repeat(MAX_NAME + 1))],
            vec![document("a\nb")],
            vec![record("")],
            vec![record("letter.pdf")],
            vec![record("https:")],
            vec![record("1x:y")],
            vec![record(":y")],
            vec![record("https://a b")],
            vec![record("https://ä")],
            vec![record("javascript:\"<b>\"")],
            vec![record(&(long("s:") + "x"))],
            vec![document("a"), record("nothing")],
        ];
        for evidence in refused {
            assert_eq!(check(&evidence), Err(InvalidEvidence), "{evidence:?}");
        }
    }

    /// The longest URI that begins so.
    fn long(begin: &str) -> String {
        format!("{begin}{}", "x".repeat(MAX_URI - begin.len()))
    }

    #[test]
    fn each_part_of_the_evidence_is_in_the_bytes() {
        let document = |name: &str, byte| Exhibit::Document { name: name.into(), sha256: [byte; 32] };
        let record = |uri: &str| Exhibit::Record { uri: uri.into() };
        let all = [
            vec![],
            vec![document("a", 1)],
            vec![document("b", 1)],
            vec![document("a", 2)],
            vec![record("a:b")],
            vec![record("a:c")],
            vec![document("a", 1), record("a:b")],
            vec![record("a:b"), document("a", 1)],
            vec![record("a:b"), record("a:b")],
        ];
        let bytes: std::collections::BTreeSet<_> = all
            .iter()
            .map(|evidence| canonical(Canonical::new("test"), evidence).as_bytes().to_vec())
            .collect();
        assert_eq!(bytes.len(), all.len());
    }

    #[test]
    fn json_is_what_the_documentation_says() {
        let evidence =
            [Exhibit::Document { name: "a".into(), sha256: [1; 32] }, Exhibit::Record { uri: "a:b".into() }];
        let expected = serde_json::json!([
            { "kind": "DOCUMENT", "name": "a", "sha256": "01".repeat(32) },
            { "kind": "RECORD", "uri": "a:b" },
        ]);
        assert_eq!(serde_json::to_value(&evidence).unwrap(), expected);
        assert_eq!(serde_json::from_value::<[Exhibit; 2]>(expected).unwrap(), evidence);
        let more = serde_json::json!({ "kind": "RECORD", "uri": "a:b", "sha256": "" });
        assert!(serde_json::from_value::<Exhibit>(more).is_err());
    }
}
