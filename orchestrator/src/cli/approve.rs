//! Approving a transfer on the approver's own machine. What is signed is composed here, from what is shown: a server that describes another
//! transfer than it names gets no signature.

use super::{
    Connection, admin,
    confirm::{NotSigned, confirmed},
    output::Output,
    pay,
};
use crate::{
    client::Client,
    compose::SystemClock,
    intake::{PaymentRequest, TransferRequest},
};
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        directory::{PublicKey, User},
        log::Head,
        signature::{Evidence, Signature},
    },
    ids::TransferId,
    intent::Intent,
    time::Clock as _,
};
use clap::Args;
use ed25519_dalek::Signer as _;
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// Approve a transfer, or reject it.
///
/// Shows what it pays and which rules fired, asks, and signs with your key, which never leaves this machine.
#[derive(Debug, Args)]
pub struct Approve {
    /// Transfer id.
    transfer: TransferId,
    /// Your key file, made by `governance keygen`.
    #[arg(long, env = "BURSAR_KEY")]
    key: PathBuf,
    /// Say no. One rejection by somebody who must approve ends the transfer.
    #[arg(long)]
    reject: bool,
    /// How long the approval counts.
    #[arg(long, default_value_t = 1440)]
    valid_minutes: u32,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(approve: Approve, output: Output) -> anyhow::Result<()> {
    let client = approve.connection.client()?;
    let id = approve.transfer;
    let transfer: Value = client.get(&format!("/v1/transfers/{id}"), &[]).await?;
    let intent = compose(&client, &transfer).await?;
    if transfer["intentDigest"].as_str() != Some(&intent.digest().to_string()) {
        let reason = "the server names another intent than what it shows of the transfer makes";
        return Err(NotSigned(reason.into()).into());
    }
    let explanation: Value = client.get(&format!("/v1/transfers/{id}/explanation"), &[]).await?;
    let log: Value = client.get("/v1/governance", &[]).await?;
    let policy = head(&log["policyVersion"]).context("no policy is in force: there is nothing to approve")?;
    let vote = if approve.reject { Vote::Reject } else { Vote::Approve };
    let given_at = SystemClock.now();
    let payload = ApprovalPayload {
        intent: intent.digest(),
        policy,
        head: head(&log["head"]).context("the server's answer has no head")?,
        vote,
        given_at,
        expires_at: given_at.plus(Duration::from_secs(u64::from(approve.valid_minutes) * 60)),
    };
    let secret = admin::load_initiator_key(&approve.key)?;
    let users: Value = client.get("/v1/governance/users", &[]).await?;
    let users: Vec<User> =
        serde_json::from_value(users["items"].clone()).context("the server's list of users")?;
    let public = PublicKey::Ed25519(secret.verifying_key().to_bytes());
    let own = users.into_iter().find_map(|user| {
        let key = user.keys.iter().find(|key| key.public() == public)?.id.clone();
        Some((user.id, key))
    });
    let (user, key) = own.ok_or_else(|| NotSigned(format!("no user has this key ({public})")))?;
    show(&transfer, &intent, &explanation, vote);
    confirmed(approve.yes, output)?;
    let signature = secret.sign(&payload.digest()).to_bytes();
    let evidence = Evidence::Ed25519 { signature };
    let approval = Approval { payload, signature: Signature { user, key, evidence } };
    output.value(&client.post(&format!("/v1/transfers/{id}/approvals"), &approval).await?);
    Ok(())
}

/// The intent that the server's description makes.
async fn compose(client: &Client, transfer: &Value) -> anyhow::Result<Intent> {
    let text = |name: &str| transfer[name].as_str().unwrap_or_default().to_owned();
    let payment = |payment: &Value| PaymentRequest {
        address: payment["address"].as_str().unwrap_or_default().to_owned(),
        tag: payment["tag"].as_u64().and_then(|tag| tag.try_into().ok()),
        amount: payment["amount"].as_str().unwrap_or_default().to_owned(),
    };
    let request = TransferRequest {
        external_id: text("externalId"),
        wallet_id: text("walletId"),
        asset: text("asset"),
        source: transfer["source"].as_str().map(str::to_owned),
        payments: transfer["payments"].as_array().into_iter().flatten().map(payment).collect(),
        max_fee: text("maxFee"),
        expires_at: text("expiresAt"),
        initiator: None,
        signature: None,
    };
    pay::compose(client, &request).await
}

fn head(value: &Value) -> Option<Head> {
    serde_json::from_value(value.clone()).ok()
}

/// Whatever a server says is shown without what could move the cursor.
fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn show(transfer: &Value, intent: &Intent, explanation: &Value, vote: Vote) {
    let verb = match vote {
        Vote::Approve => "approving",
        Vote::Reject => "REJECTING",
    };
    eprintln!("{verb} {} from {}", intent.external_id, intent.wallet);
    for (place, payment) in intent.payments.iter().enumerate() {
        let tag = payment.destination.tag.map(|tag| format!(" tag {tag}")).unwrap_or_default();
        let amount = plain(&transfer["payments"][place]["amount"]);
        let (units, asset) = (payment.amount, intent.asset);
        eprintln!("  {amount} {asset} ({units} smallest units) to {}{tag}", payment.destination.address);
    }
    eprintln!("  fee at most {} smallest units; expires {}", intent.max_fee, plain(&transfer["expiresAt"]));
    eprintln!("  ordered by {}", plain(&explanation["initiator"]));
    for rule in explanation["rules"].as_array().into_iter().flatten() {
        if rule["applies"] == true {
            eprintln!("  rule {}: {}", plain(&rule["rule"]), plain(&rule["why"]));
        }
    }
}
