//! Approving a transfer on the approver's own machine. What is signed is composed here, from what is shown: a server that describes another
//! transfer than it names gets no signature. By which log and which policy it is approved, who ordered it, and which rules fire is
//! computed here, too, from the log as this machine has verified it.

use super::{
    confirm::{NotSigned, confirmed},
    governance::Signing,
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
    asset::Asset,
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        authorization::{Denied, verify_order},
        directory::User,
        policy::{Allowed, Decision, Facts, Match, Outcome, Request, evaluate},
        role::Permission,
        state::{PublishedPolicy, State},
    },
    ids::TransferId,
    intent::{Intent, Payment, SignedIntent},
    time::{Clock as _, Timestamp},
};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

/// Approve a transfer, or reject it.
///
/// Shows what it pays and which rules fire, asks, and signs with your key, which never leaves this machine. The log is verified here: a
/// server that shows an older one than before, or another, gets no signature.
#[derive(Debug, Args)]
pub struct Approve {
    /// Transfer id.
    transfer: TransferId,
    /// Say no. One rejection by somebody who must approve ends the transfer.
    #[arg(long)]
    reject: bool,
    /// How long the approval counts.
    #[arg(long, default_value_t = 1440)]
    valid_minutes: u32,
    #[command(flatten)]
    signing: Signing,
}

pub async fn run(approve: Approve, output: Output) -> anyhow::Result<()> {
    let client = approve.signing.connection.client()?;
    let id = approve.transfer;
    let (transfer, order) = order(&client, id).await?;
    let (log, signer) = approve.signing.begin(&client).await?;
    let PublishedPolicy { version, .. } =
        log.policy().context("no policy is in force: there is nothing to approve")?;
    let vote = if approve.reject { Vote::Reject } else { Vote::Approve };
    let given_at = SystemClock.now();
    let payload = ApprovalPayload {
        intent: order.intent.digest(),
        policy: *version,
        head: log.head(),
        vote,
        given_at,
        expires_at: given_at.plus(Duration::from_secs(u64::from(approve.valid_minutes) * 60)),
    };
    let initiator = initiator(&log, &order)?;
    if initiator.id == signer.user {
        return Err(NotSigned(format!("{} ordered it, and nobody approves their own", signer.user)).into());
    }
    if !log.directory().may(&signer.user, Permission::ApproveTransfer) {
        return Err(NotSigned(format!("{} is no active APPROVER", signer.user)).into());
    }
    let verb = match vote {
        Vote::Approve => "approving",
        Vote::Reject => "REJECTING",
    };
    show(&transfer, &order.intent, verb);
    eprintln!("  ordered by {}", initiator.id);
    eprintln!("by the policy of {version}, as this machine computes it (log verified up to {}):", log.head());
    for line in explain(&decide(&log, &order, initiator, given_at)?) {
        eprintln!("  {line}");
    }
    confirmed(approve.signing.yes, output)?;
    let approval = Approval { payload, signature: signer.sign(&payload.digest()) };
    output.value(&client.post(&format!("/v1/transfers/{id}/approvals"), &approval).await?);
    Ok(())
}

/// A transfer as the server shows it, and the order that this is: of the intent that its digest names, whoever signed it ([`initiator`]).
///
/// # Errors
/// [`NotSigned`] if the server shows another transfer than was asked for, or names another intent than what it shows makes.
pub(super) async fn order(client: &Client, id: TransferId) -> anyhow::Result<(Value, SignedIntent)> {
    let transfer: Value = client.get(&format!("/v1/transfers/{id}"), &[]).await?;
    if transfer["id"].as_str() != Some(&id.to_string()) {
        let shown = plain(&transfer["id"]);
        return Err(NotSigned(format!("id: the server shows {shown}, and {id} was asked for")).into());
    }
    let intent = compose(client, &transfer).await?;
    let made = intent.digest().to_string();
    if transfer["intentDigest"].as_str() != Some(&made) {
        let named = plain(&transfer["intentDigest"]);
        let reason =
            format!("intentDigest: the server names {named}, and what it shows of the transfer makes {made}");
        return Err(NotSigned(reason).into());
    }
    let mut order = json!({ "intent": intent, "signature": transfer["initiatorSignature"] });
    if transfer["terms"].is_null() {
        order["initiator"] = transfer["initiator"].clone();
    }
    let order = serde_json::from_value(order)
        .map_err(|error| NotSigned(format!("initiatorSignature: it is none of this order: {error}")))?;
    Ok((transfer, order))
}

/// Who ordered it, verified here by the log: that it is an order of this desk, under a policy that it has or had, and theirs.
pub(super) fn initiator<'s>(log: &'s State, order: &SignedIntent) -> Result<&'s User, NotSigned> {
    let refused = |denied: Denied| NotSigned(denied.to_string());
    verify_order(log, order).map_err(refused)?;
    order.user(log.directory()).ok_or(Denied::UnknownInitiator).map_err(refused)
}

/// What the policy says, by what is known on this machine: no prices, balances, screenings or earlier transfers.
fn decide(log: &State, order: &SignedIntent, initiator: &User, now: Timestamp) -> anyhow::Result<Decision> {
    let published = log.policy().context("no policy is in force")?;
    let request = Request::new(&order.intent, initiator, log.address_book())
        .map_err(|invalid| NotSigned(invalid.to_string()))?;
    Ok(evaluate(&published.policy, &request, &Facts::unknowable(now)))
}

fn explain(decision: &Decision) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in decision.explanation.iter().filter(|rule| rule.applies || rule.matched == Match::Unsure) {
        let sure = if rule.matched == Match::Unsure { " (cannot be known here)" } else { "" };
        lines.push(format!("rule {}{sure}: {}", rule.rule, rule.why));
    }
    match &decision.outcome {
        Outcome::Denied { reasons } => {
            lines.extend(
                reasons.iter().map(|reason| format!("not permitted by what is known here: {reason}")),
            );
        }
        Outcome::Allowed(Allowed { requirements, delay_seconds, signers }) => {
            for required in requirements {
                let wanted = required.requirement.groups.iter();
                let groups: Vec<_> = wanted.map(|it| format!("{} of {}", it.quorum, it.group)).collect();
                lines.push(format!("rule {} asks for {}", required.rule, groups.join(", ")));
            }
            if *delay_seconds > 0 {
                lines.push(format!("it waits {delay_seconds} s from its submission"));
            }
            lines.extend(signers.iter().map(|party| format!("a co-signer of {party:?} must take part")));
        }
    }
    lines
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
        terms: serde_json::from_value(transfer["terms"].clone())
            .context("the server's answer has no terms")?,
        initiator: None,
        signature: None,
    };
    pay::compose(client, &request).await
}

/// Whatever a server says is shown without what could move the cursor.
pub(super) fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// What an order pays, on standard error.
pub(super) fn show(transfer: &Value, intent: &Intent, verb: &str) {
    eprintln!("{verb} {} from {}", intent.external_id, intent.wallet);
    for (place, payment) in intent.payments.iter().enumerate() {
        eprintln!("  {}", payout(&transfer["payments"][place], intent.asset, payment));
    }
    eprintln!("  fee at most {} smallest units; expires {}", intent.max_fee, plain(&transfer["expiresAt"]));
}

/// One payout, in words.
pub(super) fn payout(shown: &Value, asset: Asset, payment: &Payment) -> String {
    let Payment { destination, amount: units } = payment;
    let tag = destination.tag.map(|tag| format!(" tag {tag}")).unwrap_or_default();
    let amount = plain(&shown["amount"]);
    format!("{amount} {asset} ({units} smallest units) to {}{tag}", destination.address)
}
