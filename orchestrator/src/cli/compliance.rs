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
use bursar_domain::governance::{role::Permission, signature::Signature, state::State};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

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
    let none = format!("nobody has begun a {what} that you could sign: begin one with --reason");
    Err(NotSigned(none).into())
}

/// Says why, asks unless it need not, and signs the `digest` of what was shown.
pub fn sign(
    signer: &Signer,
    digest: &[u8; 32],
    reason: &str,
    signing: &Signing,
    output: Output,
) -> anyhow::Result<Signature> {
    eprintln!("because: {}", approve::plain(&json!(reason)));
    confirmed(signing.yes, output)?;
    Ok(signer.sign(digest))
}
