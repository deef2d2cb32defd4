//! What a screening holds, and what compliance does about it. Releases and rejections are composed and signed here, from what is shown: a
//! server that describes another transfer, or another verdict, than it names gets no signature.

use super::{
    Connection, approve, compliance,
    confirm::NotSigned,
    governance::{Signer, Signing},
    output::Output,
    wallets::Paging,
};
use crate::{client::Client, compose::SystemClock};
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        state::State,
        verdict::{
            MAX_BYPASS, Rejection, Release, SignedRejection, SignedRelease, SignedVerdict, VerdictDigest,
        },
    },
    ids::TransferId,
    intent::SignedIntent,
    network::Network,
    time::{Clock as _, Timestamp},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::time::Duration;

/// What waits for compliance: why it is held, what was found, and whose signatures let it go.
#[derive(Debug, Args)]
pub struct Reviews {
    #[command(flatten)]
    paging: Paging,
    #[command(flatten)]
    connection: Connection,
}

/// Every screening of a transfer, with what was found; with --again, one more. Or what the screening service says of an address.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Screenings {
    #[command(subcommand)]
    of: Option<ScreeningsOf>,
    /// Transfer id.
    #[arg(required = true)]
    transfer: Option<TransferId>,
    /// Screen what is held again, after an outage or when something has changed.
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum ScreeningsOf {
    /// Have an address screened. Without an answer of the service it is PENDING_REVIEW.
    Address {
        /// Such as bitcoin:mainnet, ethereum:1 or xrp:0.
        #[arg(long)]
        network: Network,
        #[arg(long)]
        address: String,
        #[command(flatten)]
        connection: Connection,
    },
}

/// Release what a screening holds: a compliance officer and a compliance lead sign the same release.
///
/// Shows what the transfer pays and what the screening said, asks, and signs with your key, which never leaves this machine. If somebody has
/// begun a release, that one is signed. Without an answer of the screening (an outage), two leads sign with --bypass, for a day at most.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Transfer id.
    transfer: TransferId,
    /// Why, for the record: 1 to 500 characters. Begins a release of its own even if there is another.
    #[arg(long, requires = "evidence")]
    reason: Option<String>,
    /// What it rests on, up to ten times: a file, of which name and SHA-256 are signed, or a URI, such as urn:bursar:case:<case id>.
    #[arg(long, value_name = "FILE|URI", requires = "reason")]
    evidence: Vec<String>,
    /// Stand in for a screening that is not to be had.
    #[arg(long)]
    bypass: bool,
    /// How long the release counts; with --bypass at most 1440.
    #[arg(long, default_value_t = 1440)]
    valid_minutes: u32,
    #[command(flatten)]
    signing: Signing,
}

/// End a transfer that is held, for good: one compliance officer or lead signs it.
#[derive(Debug, Args)]
pub struct RejectReview {
    /// Transfer id.
    transfer: TransferId,
    /// Why, for the record: 1 to 500 characters.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    signing: Signing,
}

pub async fn list(reviews: Reviews, output: Output) -> anyhow::Result<()> {
    let Reviews { paging, connection } = reviews;
    let page: Value = connection.client()?.get("/v1/reviews", &paging.query()).await?;
    let columns = [
        "case.id",
        "case.cause",
        "case.subject.of",
        "transfer.status",
        "transfer.heldBy",
        "transfer.needs.signatures",
        "case.reason",
    ];
    output.table(&page, &columns);
    Ok(())
}

pub async fn screenings(screenings: Screenings, output: Output) -> anyhow::Result<()> {
    let Screenings { of, transfer, again, connection } = screenings;
    let answer: Value = match (of, transfer) {
        (Some(ScreeningsOf::Address { network, address, connection }), _) => {
            let asked = json!({ "network": network, "address": address });
            connection.client()?.post("/v1/screening/addresses", &asked).await?
        }
        (None, Some(transfer)) => {
            let (client, path) = (connection.client()?, format!("/v1/transfers/{transfer}/screenings"));
            match again {
                true => client.post(&path, &json!({})).await?,
                false => client.get(&path, &[]).await?,
            }
        }
        (None, None) => anyhow::bail!("say which transfer, or which address"),
    };
    output.value(&answer);
    Ok(())
}

/// A transfer as this machine has verified it.
struct Held {
    transfer: Value,
    order: SignedIntent,
    log: State,
    signer: Signer,
}

async fn held(client: &Client, id: TransferId, signing: &Signing) -> anyhow::Result<Held> {
    let (transfer, order) = approve::order(client, id).await?;
    let (log, signer) = compliance::begin(signing, client).await?;
    Ok(Held { transfer, order, log, signer })
}

pub async fn release(args: ReleaseArgs, output: Output) -> anyhow::Result<()> {
    let client = args.signing.connection.client()?;
    let id = args.transfer;
    let held = held(&client, id, &args.signing).await?;
    let Held { transfer, order, log, signer } = &held;
    let initiator = approve::initiator(log, order)?;
    if initiator.id == signer.user {
        return Err(NotSigned(format!("{} ordered it, and nobody releases their own", signer.user)).into());
    }
    let rounds: Value = client.get(&format!("/v1/transfers/{id}/screenings"), &[]).await?;
    let verdict = verdict(&rounds, &held)?;
    if verdict.is_none() && !args.bypass {
        let reason = "there is no verdict to release it from; two leads let it pass with --bypass";
        return Err(NotSigned(reason.into()).into());
    }
    if verdict.is_some() && args.bypass {
        let reason = "there is a verdict: release it from that, without --bypass";
        return Err(NotSigned(reason.into()).into());
    }
    let now = SystemClock.now();
    let named = verdict.as_ref().map(|signed| VerdictDigest(signed.verdict.digest()));
    let release = match args.reason {
        Some(reason) => Release {
            genesis: log.genesis_digest(),
            intent: order.intent.digest(),
            verdict: named,
            reason,
            evidence: compliance::evidence(&args.evidence)?,
            released_at: now,
            expires_at: until(now, args.valid_minutes, verdict.is_none()),
        },
        None => {
            let begun: Value = client.get(&format!("/v1/transfers/{id}/releases"), &[]).await?;
            compliance::begun(&begun["items"], "release", signer, |begun: &Release| {
                begun.intent == order.intent.digest()
                    && begun.genesis == log.genesis_digest()
                    && begun.verdict == named
                    && begun.expires_at > now
            })?
        }
    };
    approve::show(transfer, &order.intent, "RELEASING");
    eprintln!("  ordered by {}", initiator.id);
    show_screening(&rounds, verdict.as_ref());
    let why = (release.reason.as_str(), release.evidence.as_slice());
    let signature = compliance::sign(signer, &release.digest(), why, &args.signing, output)?;
    let signed = SignedRelease { release, signatures: vec![signature] };
    output.value(&client.post(&format!("/v1/transfers/{id}/releases"), &signed).await?);
    Ok(())
}

pub async fn reject(args: RejectReview, output: Output) -> anyhow::Result<()> {
    let client = args.signing.connection.client()?;
    let id = args.transfer;
    let held = held(&client, id, &args.signing).await?;
    let Held { transfer, order, log, signer } = &held;
    let rejection = Rejection {
        genesis: log.genesis_digest(),
        intent: order.intent.digest(),
        reason: args.reason,
        rejected_at: SystemClock.now(),
    };
    approve::show(transfer, &order.intent, "REJECTING for good");
    let (digest, why) = (rejection.digest(), (rejection.reason.as_str(), [].as_slice()));
    let signature = compliance::sign(signer, &digest, why, &args.signing, output)?;
    let signed = SignedRejection { rejection, signature };
    output.value(&client.post(&format!("/v1/transfers/{id}/rejections"), &signed).await?);
    Ok(())
}

fn until(now: Timestamp, minutes: u32, bypass: bool) -> Timestamp {
    let span = Duration::from_secs(u64::from(minutes) * 60);
    now.plus(if bypass { span.min(MAX_BYPASS) } else { span })
}

/// The verdict of the last settled round, verified here; `None` if that round failed.
fn verdict(rounds: &Value, held: &Held) -> anyhow::Result<Option<SignedVerdict>> {
    let settled = rounds["items"].as_array().into_iter().flatten().rfind(|round| round["state"] != "PENDING");
    let Some(document) = settled.map(|round| &round["signedVerdict"]).filter(|document| !document.is_null())
    else {
        return Ok(None);
    };
    let signed: SignedVerdict =
        serde_json::from_value(document.clone()).context("the server's verdict cannot be read")?;
    let Held { order, log, .. } = held;
    if signed.verdict.intent != order.intent.digest() || signed.verdict.genesis != log.genesis_digest() {
        return Err(NotSigned("the server shows a verdict about something else".into()).into());
    }
    if let Some(screening) = log.policy().and_then(|published| published.policy.screening.as_ref()) {
        let verified = signed.verify(log.directory(), &screening.by);
        verified.map_err(|invalid| NotSigned(format!("the verdict: {invalid}")))?;
    }
    Ok(Some(signed))
}

fn show_screening(rounds: &Value, verdict: Option<&SignedVerdict>) {
    match verdict {
        None => eprintln!("there is NO verdict of the screening; it passes with an unknown risk"),
        Some(SignedVerdict { verdict, signature }) => {
            let (outcome, risk) = (verdict.outcome, verdict.risk);
            let provider = approve::plain(&json!(verdict.provider));
            eprintln!("screening by {provider} (signed by {}): {outcome:?}, risk {risk}", signature.user);
        }
    }
    let settled = rounds["items"].as_array().into_iter().flatten().rfind(|round| round["state"] != "PENDING");
    let Some(settled) = settled else { return };
    for finding in settled["findings"].as_array().into_iter().flatten() {
        let (category, risk) = (approve::plain(&finding["category"]), approve::plain(&finding["risk"]));
        eprintln!("  found {category} (risk {risk}): {}", approve::plain(&finding["description"]));
    }
    if !settled["failure"].is_null() {
        eprintln!("  no answer: {}", approve::plain(&settled["failure"]));
    }
}
