//! What the commands of compliance people have in common: a document that somebody else has begun, or a new one, is shown, confirmed and
//! signed on their own machine.

use super::{
    approve,
    confirm::{NotSigned, confirmed},
    governance::{Signer, Signing},
    output::Output,
};
use crate::client::Client;
use anyhow::Context as _;
use bursar_domain::governance::{role::Permission, signature::Signature, state::State, verdict::Exhibit};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{fs::File, io, path::Path};

/// The log as it is verified here, and the key of somebody who is of compliance by it.
pub async fn begin(signing: &Signing, client: &Client) -> anyhow::Result<(State, Signer)> {
    let (log, signer) = signing.begin(client).await?;
    if !log.directory().may(&signer.user, Permission::ReleaseAsOfficer) {
        let reason = format!("{} is no active COMPLIANCE_OFFICER or COMPLIANCE_LEAD", signer.user);
        return Err(NotSigned(reason).into());
    }
    Ok((log, signer))
}

/// The first document among `items` that `fits` and that `signer` has not signed. `what`: the field of each that holds the document.
pub fn begun<T: DeserializeOwned>(
    items: &Value,
    what: &str,
    signer: &Signer,
    fits: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let own = json!(signer.user.to_string());
    for item in items.as_array().into_iter().flatten() {
        let document: T = serde_json::from_value(item[what].clone())
            .with_context(|| format!("the server's {what} cannot be read"))?;
        let signed = item["signedBy"].as_array().is_some_and(|by| by.contains(&own));
        if !signed && fits(&document) {
            return Ok(document);
        }
    }
    let none =
        format!("nobody has begun a {what} that you could sign: begin one with --reason and --evidence");
    Err(NotSigned(none).into())
}

/// What a decision rests on: each is a file, which is hashed here and stays here, or else a URI.
///
/// # Errors
/// One is neither; or a file cannot be read.
pub fn evidence(named: &[String]) -> anyhow::Result<Vec<Exhibit>> {
    named.iter().map(|named| exhibit(named)).collect()
}

fn exhibit(named: &str) -> anyhow::Result<Exhibit> {
    let path = Path::new(named);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(missing) => {
            // A URI of what is no file.
            let record = Exhibit::record(named).ok().filter(|_| missing.kind() == io::ErrorKind::NotFound);
            return record.with_context(|| {
                format!("--evidence {named}: is no URI, and no file that can be read: {missing}")
            });
        }
    };
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash).with_context(|| format!("--evidence {named}: cannot be read"))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Exhibit::Document { name, sha256: hash.finalize().into() })
}

/// Says why and on what grounds, asks unless it need not, and signs the `digest` of what was shown.
pub fn sign(
    signer: &Signer,
    digest: &[u8; 32],
    (reason, evidence): (&str, &[Exhibit]),
    signing: &Signing,
    output: Output,
) -> anyhow::Result<Signature> {
    eprintln!("because: {}", approve::plain(&json!(reason)));
    for exhibit in evidence {
        eprintln!("evidence: {}", approve::plain(&json!(exhibit.to_string())));
    }
    confirmed(signing.yes, output)?;
    Ok(signer.sign(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_a_file_by_its_content_or_a_uri() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("letter.pdf");
        std::fs::write(&file, b"abc").unwrap();
        let named = |named: &str| evidence(&[named.to_owned()]);
        // FIPS 180-2, appendix B.1.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let found = named(file.to_str().unwrap()).unwrap();
        let [Exhibit::Document { name, sha256 }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((name.as_str(), hex::encode(sha256).as_str()), ("letter.pdf", digest));
        let uri = "urn:bursar:case:0198b3c2-0000-7000-8000-000000000000";
        assert_eq!(named(uri).unwrap(), [Exhibit::Record { uri: uri.into() }]);
        for refused in [folder.path().to_str().unwrap(), "no such file.pdf", ""] {
            let error = named(refused).unwrap_err();
            assert!(error.to_string().contains("--evidence"), "{refused}: {error:#}");
        }
    }
}
