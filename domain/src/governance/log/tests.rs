use super::*;
use crate::governance::{
    state::{Refused, State},
    testing::{FOUNDED, TestDesk, key, sign},
};
use ed25519_dalek::Signer as _;
use proptest::prelude::*;

fn freeze(desk: &TestDesk) -> Entry {
    let change =
        serde_json::from_str(r#"{"kind":"FREEZE","scope":{"kind":"ALL"},"reason":"drill"}"#).unwrap();
    desk.entry(change, &["platform.officer"])
}

/// An entry over this text, signed by the officer.
fn over(document: String) -> Entry {
    let signatures = vec![key("platform.officer").sign(&Entry::digest_of(&document).0)];
    Entry { document, signatures }
}

fn refused(desk: &TestDesk, entry: &Entry) -> Refused {
    desk.state.check(entry, desk.now).expect_err("must be refused")
}

#[test]
fn documents_that_say_something_twice_unknown_or_no_number_are_refused() {
    let desk = TestDesk::new(0);
    let good = freeze(&desk).document;
    desk.state.check(&over(good.clone()), desk.now).unwrap();
    for (from, to, why) in [
        (r#""reason":"#, r#""reason":"other","reason":"#, "\"reason\" is there twice"),
        (r#""seq":1"#, r#""seq":7,"seq":1"#, "\"seq\" is there twice"),
        (r#""kind":"ALL""#, r#""kind":"ALL","kind":"ALL""#, "\"kind\" is there twice"),
        (r#""kind":"ALL""#, r#""kind":"ALL","besides":1"#, "unknown field `besides`"),
        (r#""seq":1"#, r#""seq":1,"note":"""#, "unknown field `note`"),
        (r#""seq":1"#, r#""seq":1.0"#, "only whole numbers"),
        (r#""kind":"FREEZE""#, r#""kind":"MELT""#, "unknown variant `MELT`"),
    ] {
        let document = good.replacen(from, to, 1);
        assert_ne!(document, good, "{from}");
        let Refused::Entry(InvalidEntry::Json(error)) = refused(&desk, &over(document)) else {
            panic!("{to}: must be refused as JSON");
        };
        assert!(error.contains(why), "{to}: {error}");
    }
    for document in
        [format!("{good} {{}}"), good[..good.len() - 1].to_owned(), String::new(), "[".repeat(100_000)]
    {
        assert!(matches!(refused(&desk, &over(document)), Refused::Entry(InvalidEntry::Json(_))));
    }
}

#[test]
fn what_is_too_large_is_refused_unread() {
    let desk = TestDesk::new(0);
    let good = freeze(&desk);
    let padding = MAX_DOCUMENT - good.document.len();
    desk.state.check(&over(format!("{}{}", good.document, " ".repeat(padding))), desk.now).unwrap();
    let entry = over(format!("{}{}", good.document, " ".repeat(padding + 1)));
    assert_eq!(refused(&desk, &entry), InvalidEntry::TooLarge { bytes: MAX_DOCUMENT + 1 }.into());
    let entry = Entry { signatures: vec![good.signatures[0].clone(); MAX_SIGNATURES + 1], ..good };
    assert_eq!(refused(&desk, &entry), InvalidEntry::TooManySignatures { count: MAX_SIGNATURES + 1 }.into());
}

#[test]
fn the_author_signs_first_and_everybody_once() {
    let desk = TestDesk::new(0);
    let good = freeze(&desk);
    let unsigned = Entry { signatures: vec![], ..good.clone() };
    assert_eq!(refused(&desk, &unsigned), InvalidEntry::Unsigned.into());
    let author = key("platform.officer").user;
    let other = key("client.owner").sign(&good.digest().0);
    let swapped = Entry { signatures: vec![other, good.signatures[0].clone()], ..good.clone() };
    assert_eq!(refused(&desk, &swapped), InvalidEntry::NotAuthor { author: author.clone() }.into());
    let signatures = vec![good.signatures[0].clone(); 2];
    let twice = Entry { signatures, ..good };
    assert_eq!(refused(&desk, &twice), InvalidEntry::SignedTwice { index: 1, user: author }.into());
}

#[test]
fn another_place_or_another_past_is_refused() {
    let mut desk = TestDesk::new(0);
    let entry = freeze(&desk);
    let mut document = entry.read().unwrap();
    document.seq = 2;
    let later = sign(&document, &["platform.officer"]);
    assert_eq!(refused(&desk, &later), Refused::Place { expected: 1, found: 2 });
    document.seq = 1;
    document.previous = EntryDigest([9; 32]);
    let elsewhere = sign(&document, &["platform.officer"]);
    assert_eq!(refused(&desk, &elsewhere), Refused::Previous { head: desk.state.head() });
    desk.try_append(entry.clone()).unwrap();
    assert_eq!(refused(&desk, &entry), Refused::Place { expected: 2, found: 1 });
    let genesis = desk.entries[0].0.clone();
    assert_eq!(refused(&desk, &genesis), Refused::NotGenesis);
}

#[test]
fn only_the_pinned_genesis_begins_a_log() {
    let (desk, other) = (TestDesk::new(0), TestDesk::new(1));
    let found = other.pinned();
    assert_eq!(
        State::genesis(&other.entries[0].0, desk.pinned()),
        Err(Refused::OtherGenesis { pinned: desk.pinned(), found })
    );
    let entry = freeze(&desk);
    assert_eq!(State::genesis(&entry, entry.digest()), Err(Refused::NotGenesis));
    assert_eq!(State::replay(desk.pinned(), []), Err((0, Refused::NotGenesis)));
    let mut forged = desk.entries[0].0.clone();
    forged.signatures[1] = key("manager.owner").sign(&[0; 32]);
    assert!(matches!(
        State::genesis(&forged, desk.pinned()),
        Err(Refused::Entry(InvalidEntry::Signature { index: 1, .. }))
    ));
}

proptest! {
    /// Whatever text is signed, it is read or refused.
    #[test]
    fn hostile_documents_never_panic(document in ".*", from in 0usize..400, to in 0usize..400) {
        let desk = TestDesk::new(0);
        let _ = desk.state.check(&over(document.clone()), FOUNDED);
        // The same inside of something that nearly makes sense.
        let good = freeze(&desk).document;
        if let (Some(head), Some(tail)) = (good.get(..from), good.get(to..)) {
            let _ = desk.state.check(&over(format!("{head}{document}{tail}")), FOUNDED);
        }
    }
}

/// docs/governance.md shows the same bytes.
#[test]
fn the_digest_is_that_of_the_documentation() {
    let document = r#"{"seq":1,"previous":"0101010101010101010101010101010101010101010101010101010101010101","author":"lena","proposedAt":1798761600000000,"change":{"kind":"FREEZE","scope":{"kind":"CHAIN","chain":"xrp"},"reason":"unusual session"}}"#;
    assert_eq!(
        Entry::digest_of(document).to_string(),
        "8864eabffff597dae2019858f6e89c6b216af9fb6cd418c662b115bd0e488092"
    );
    let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let secret: [u8; 32] = hex::decode(secret).unwrap().try_into().unwrap();
    let signature = ed25519_dalek::SigningKey::from_bytes(&secret).sign(&Entry::digest_of(document).0);
    assert_eq!(
        hex::encode(signature.to_bytes()),
        "6ec7a4844492591af1c89f51beaaaa61b7e97ae088ef01b60adb73bf8679d67575c3a7340100c38d9a35c733b00142e90a979644af9a1f8621fac2bd81915205"
    );
    let read: Document = serde_json::from_str(document).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), document);
}

/// Each change that docs/governance.md shows is read and written just so, and all kinds are there.
#[test]
fn the_documentation_shows_every_change() {
    let documentation = include_str!("../../../../docs/governance.md");
    let mut kinds = std::collections::BTreeSet::new();
    for line in documentation.lines().filter(|line| line.starts_with(r#"{"kind":"#)) {
        let change: Change = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        kinds.insert(change.name());
        let shown: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut written = serde_json::to_value(&change).unwrap();
        if let Change::Genesis(_) = change {
            // Left out when empty.
            written["groups"] = serde_json::json!([]);
        }
        assert_eq!(written, shown);
    }
    assert_eq!(kinds.len(), 18, "{kinds:?}");
}
