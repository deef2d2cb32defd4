//! Money that came in, and what compliance decides about it. A disposition is composed and signed here, from what is shown.

use super::{
    Connection, approve, compliance, confirm::NotSigned, governance::Signing, output::Output, wallets::Paging,
};
use crate::compose::SystemClock;
use bursar_domain::{
    governance::verdict::{Disposition, DispositionAction, SignedDisposition},
    ids::{DepositId, WalletId},
    time::Clock as _,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Deposits {
    /// List deposits, newest first.
    List {
        /// DETECTED, CONFIRMING, PENDING_SCREENING, COMPLETED or FROZEN.
        #[arg(long)]
        status: Option<String>,
        /// Only those of this wallet.
        #[arg(long)]
        wallet: Option<WalletId>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        connection: Connection,
    },
    /// One deposit, with what compliance signed about it.
    Show {
        /// Deposit id.
        deposit: DepositId,
        #[command(flatten)]
        connection: Connection,
    },
    /// Have a deposit that is held screened again. Compliance decides by what that says; nothing is let go by itself, but for what waits for
    /// its first answer.
    Screen {
        /// Deposit id.
        deposit: DepositId,
        #[command(flatten)]
        connection: Connection,
    },
    Dispose(Dispose),
}

/// Decide about a deposit that is held: a compliance officer and a compliance lead sign the same disposition.
///
/// Shows the deposit, asks, and signs with your key, which never leaves this machine. Without --reason, what somebody else has begun to sign
/// for the same action is signed.
#[derive(Debug, Args)]
pub struct Dispose {
    /// Deposit id.
    deposit: DepositId,
    /// RELEASE: it is ours. REFUND: it may be spent, to be paid back by a transfer like any other. ISOLATE: never spent, for good.
    #[arg(long)]
    action: DispositionAction,
    /// Why, for the record: 1 to 500 characters. Begins a disposition of its own.
    #[arg(long, requires = "evidence")]
    reason: Option<String>,
    /// What it rests on, up to ten times: a file, of which name and SHA-256 are signed, or a URI, such as urn:bursar:case:<case id>.
    #[arg(long, value_name = "FILE|URI", requires = "reason")]
    evidence: Vec<String>,
    #[command(flatten)]
    signing: Signing,
}

pub async fn run(command: Deposits, output: Output) -> anyhow::Result<()> {
    match command {
        Deposits::List { status, wallet, paging, connection } => {
            let mut query = Vec::new();
            query.extend(status.map(|status| ("status", status)));
            query.extend(wallet.map(|wallet| ("wallet", wallet.to_string())));
            query.extend(paging.query());
            let page: Value = connection.client()?.get("/v1/deposits", &query).await?;
            output.table(&page, &["id", "status", "asset", "amount", "address", "txId", "reason"]);
        }
        Deposits::Show { deposit, connection } => {
            let found: Value = connection.client()?.get(&format!("/v1/deposits/{deposit}"), &[]).await?;
            output.value(&found);
        }
        Deposits::Screen { deposit, connection } => {
            let path = format!("/v1/deposits/{deposit}/screenings");
            let found: Value = connection.client()?.post(&path, &json!({})).await?;
            output.value(&found);
        }
        Deposits::Dispose(args) => dispose(args, output).await?,
    }
    Ok(())
}

async fn dispose(args: Dispose, output: Output) -> anyhow::Result<()> {
    let client = args.signing.connection.client()?;
    let path = format!("/v1/deposits/{}", args.deposit);
    let shown: Value = client.get(&path, &[]).await?;
    if shown["id"].as_str() != Some(&args.deposit.to_string()) {
        return Err(NotSigned("the server shows another deposit than it was asked for".into()).into());
    }
    let (log, signer) = compliance::begin(&args.signing, &client).await?;
    let genesis = log.genesis_digest();
    let disposition = match args.reason {
        Some(reason) => Disposition {
            genesis,
            deposit: args.deposit,
            action: args.action,
            reason,
            evidence: compliance::evidence(&args.evidence)?,
            decided_at: SystemClock.now(),
        },
        None => compliance::begun(&shown["dispositions"], "disposition", &signer, |begun: &Disposition| {
            begun.deposit == args.deposit && begun.genesis == genesis && begun.action == args.action
        })?,
    };
    let field = |name: &str| approve::plain(&shown[name]);
    eprintln!("{} of deposit {}", disposition.action, disposition.deposit);
    eprintln!("  {} {} to {}", field("amount"), field("asset"), field("address"));
    eprintln!("  transaction {} ({})", field("txId"), field("index"));
    eprintln!("  {}: {}", field("status"), field("reason"));
    let digest = disposition.digest();
    let why = (disposition.reason.as_str(), disposition.evidence.as_slice());
    let signature = compliance::sign(&signer, &digest, why, &args.signing, output)?;
    let signed = SignedDisposition { disposition, signatures: vec![signature] };
    output.value(&client.post(&format!("{path}/dispositions"), &signed).await?);
    Ok(())
}
