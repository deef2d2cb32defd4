//! What a screening holds, and what compliance does about it. Releases and rejections are composed and signed here, from what is shown: a
//! server that describes another transfer, or another verdict, than it names gets no signature.

use super::{
    Connection, approve,
    confirm::{NotSigned, confirmed},
    governance::{Known, Signer},
    output::Output,
};
use crate::{client::Client, compose::SystemClock};
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        role::Permission,
        state::State,
        verdict::{
            MAX_BYPASS, Rejection, Release, SignedRejection, SignedRelease, SignedVerdict, VerdictDigest,
        },
    },
    ids::TransferId,
    intent::SignedIntent,
    time::{Clock as _, Timestamp},
};
use clap::Args;
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};

/// What waits for compliance: why it is held, what was found, and whose signatures let it go.
#[derive(Debug, Args)]
pub struct Reviews {
    /// `next` of the page before.
    #[arg(long)]
    cursor: Option<String>,
    /// 1 to 200.
    #[arg(long)]
    limit: Option<u32>,
    #[command(flatten)]
    connection: Connection,
}

/// Every screening of a transfer, with what was found; with --again, one more.
#[derive(Debug, Args)]
pub struct Screenings {
    /// Transfer id.
    transfer: TransferId,
    /// Screen what is held again, after an outage or when something has changed.
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Release what a screening holds: a compliance officer and a compliance lead sign the same release.
///
/// Shows what the transfer pays and what the screening said, asks, and signs with your key, which never leaves this machine. If somebody has
/// begun a release, that one is signed. Without an answer of the screening (an outage), two leads sign with --bypass, for a day at most.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Transfer id.
    transfer: TransferId,
    /// Your key file, made by `governance keygen`.
    #[arg(long, env = "BURSAR_KEY")]
    key: PathBuf,
    /// Why, for the record: 1 to 500 characters. Begins a release of its own even if there is another.
    #[arg(long)]
    reason: Option<String>,
    /// Stand in for a screening that is not to be had.
    #[arg(long)]
    bypass: bool,
    /// How long the release counts; with --bypass at most 1440.
    #[arg(long, default_value_t = 1440)]
    valid_minutes: u32,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    connection: Connection,
}

/// End a transfer that is held, for good: one compliance officer or lead signs it.
#[derive(Debug, Args)]
pub struct RejectReview {
    /// Transfer id.
    transfer: TransferId,
    /// Your key file, made by `governance keygen`.
    #[arg(long, env = "BURSAR_KEY")]
    key: PathBuf,
    /// Why, for the record: 1 to 500 characters.
    #[arg(long)]
    reason: String,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    connection: Connection,
}

pub async fn list(reviews: Reviews, output: Output) -> anyhow::Result<()> {
    let mut query = Vec::new();
    query.extend(reviews.cursor.map(|cursor| ("cursor", cursor)));
    query.extend(reviews.limit.map(|limit| ("limit", limit.to_string())));
    let page: Value = reviews.connection.client()?.get("/v1/reviews", &query).await?;
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
    let (client, path) =
        (screenings.connection.client()?, format!("/v1/transfers/{}/screenings", screenings.transfer));
    let answer: Value = match screenings.again {
        true => client.post(&path, &json!({})).await?,
        false => client.get(&path, &[]).await?,
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

async fn held(
    client: &Client,
    id: TransferId,
    key: &std::path::Path,
    known: &Known,
    connection: &Connection,
) -> anyhow::Result<Held> {
    let transfer: Value = client.get(&format!("/v1/transfers/{id}"), &[]).await?;
    let intent = approve::compose(client, &transfer).await?;
    if transfer["intentDigest"].as_str() != Some(&intent.digest().to_string()) {
        let reason = "the server names another intent than what it shows of the transfer makes";
        return Err(NotSigned(reason.into()).into());
    }
    let order = approve::ordered(&transfer, intent)?;
    let log = known.verified(connection, client).await?;
    let signer = Signer::load(key, log.directory().users().cloned().collect())?;
    if !log.directory().may(&signer.user, Permission::ReleaseAsOfficer) {
        let reason = format!("{} is no active COMPLIANCE_OFFICER or COMPLIANCE_LEAD", signer.user);
        return Err(NotSigned(reason).into());
    }
    Ok(Held { transfer, order, log, signer })
}

pub async fn release(args: ReleaseArgs, output: Output) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let id = args.transfer;
    let held = held(&client, id, &args.key, &args.known, &args.connection).await?;
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
    let release = match args.reason {
        Some(reason) => Release {
            genesis: log.genesis_digest(),
            intent: order.intent.digest(),
            verdict: verdict.as_ref().map(|signed| VerdictDigest(signed.verdict.digest())),
            reason,
            released_at: now,
            expires_at: until(now, args.valid_minutes, verdict.is_none()),
        },
        None => {
            let begun: Value = client.get(&format!("/v1/transfers/{id}/releases"), &[]).await?;
            begun_release(&begun, &held, verdict.as_ref(), now)?
        }
    };
    approve::show(transfer, &order.intent, "RELEASING");
    eprintln!("  ordered by {}", initiator.id);
    show_screening(&rounds, verdict.as_ref());
    eprintln!("because: {}", approve::plain(&json!(release.reason)));
    confirmed(args.yes, output)?;
    let signature = signer.sign(&release.digest());
    let signed = SignedRelease { release, signatures: vec![signature] };
    output.value(&client.post(&format!("/v1/transfers/{id}/releases"), &signed).await?);
    Ok(())
}

pub async fn reject(args: RejectReview, output: Output) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let id = args.transfer;
    let held = held(&client, id, &args.key, &args.known, &args.connection).await?;
    let Held { transfer, order, log, signer } = &held;
    let rejection = Rejection {
        genesis: log.genesis_digest(),
        intent: order.intent.digest(),
        reason: args.reason,
        rejected_at: SystemClock.now(),
    };
    approve::show(transfer, &order.intent, "REJECTING for good");
    eprintln!("because: {}", approve::plain(&json!(rejection.reason)));
    confirmed(args.yes, output)?;
    let signature = signer.sign(&rejection.digest());
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

/// What somebody else began to sign, for the same verdict, that counts now.
fn begun_release(
    begun: &Value,
    held: &Held,
    verdict: Option<&SignedVerdict>,
    now: Timestamp,
) -> anyhow::Result<Release> {
    let named = verdict.map(|signed| VerdictDigest(signed.verdict.digest()));
    for item in begun["items"].as_array().into_iter().flatten() {
        let release: Release =
            serde_json::from_value(item["release"].clone()).context("the server's release cannot be read")?;
        let fits = release.intent == held.order.intent.digest()
            && release.genesis == held.log.genesis_digest()
            && release.verdict == named;
        let own = json!(held.signer.user.to_string());
        let signed = item["signedBy"].as_array().is_some_and(|by| by.contains(&own));
        if fits && release.expires_at > now && !signed {
            return Ok(release);
        }
    }
    Err(NotSigned("nobody has begun a release that you could sign: begin one with --reason".into()).into())
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
