//! Money that came in, and what compliance decides about it. A disposition is composed and signed here, from what is shown.

use super::{
    Connection, approve,
    confirm::{NotSigned, confirmed},
    governance::{Known, Signer},
    output::Output,
};
use crate::compose::SystemClock;
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        role::Permission,
        verdict::{Disposition, DispositionAction, SignedDisposition},
    },
    ids::{DepositId, WalletId},
    time::Clock as _,
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;

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
        /// `next` of the page before.
        #[arg(long)]
        cursor: Option<String>,
        /// 1 to 200.
        #[arg(long)]
        limit: Option<u32>,
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
    /// Your key file, made by `governance keygen`.
    #[arg(long, env = "BURSAR_KEY")]
    key: PathBuf,
    /// Why, for the record: 1 to 500 characters. Begins a disposition of its own.
    #[arg(long)]
    reason: Option<String>,
    /// Sign without asking.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(command: Deposits, output: Output) -> anyhow::Result<()> {
    match command {
        Deposits::List { status, wallet, cursor, limit, connection } => {
            let mut query = Vec::new();
            query.extend(status.map(|status| ("status", status)));
            query.extend(wallet.map(|wallet| ("wallet", wallet.to_string())));
            query.extend(cursor.map(|cursor| ("cursor", cursor)));
            query.extend(limit.map(|limit| ("limit", limit.to_string())));
            let page: Value = connection.client()?.get("/v1/deposits", &query).await?;
            output.table(&page, &["id", "status", "asset", "amount", "address", "txId", "reason"]);
        }
        Deposits::Show { deposit, connection } => {
            let found: Value = connection.client()?.get(&format!("/v1/deposits/{deposit}"), &[]).await?;
            output.value(&found);
        }
        Deposits::Dispose(args) => dispose(args, output).await?,
    }
    Ok(())
}

async fn dispose(args: Dispose, output: Output) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let path = format!("/v1/deposits/{}", args.deposit);
    let shown: Value = client.get(&path, &[]).await?;
    if shown["id"].as_str() != Some(&args.deposit.to_string()) {
        return Err(NotSigned("the server shows another deposit than it was asked for".into()).into());
    }
    let log = args.known.verified(&args.connection, &client).await?;
    let signer = Signer::load(&args.key, log.directory().users().cloned().collect())?;
    if !log.directory().may(&signer.user, Permission::ReleaseAsOfficer) {
        let reason = format!("{} is no active COMPLIANCE_OFFICER or COMPLIANCE_LEAD", signer.user);
        return Err(NotSigned(reason).into());
    }
    let genesis = log.genesis_digest();
    let disposition = match args.reason {
        Some(reason) => Disposition {
            genesis,
            deposit: args.deposit,
            action: args.action,
            reason,
            decided_at: SystemClock.now(),
        },
        None => {
            let mut begun = Vec::new();
            for item in shown["dispositions"].as_array().into_iter().flatten() {
                let disposition: Disposition = serde_json::from_value(item["disposition"].clone())
                    .context("the server's disposition cannot be read")?;
                let own = json!(signer.user.to_string());
                let signed = item["signedBy"].as_array().is_some_and(|by| by.contains(&own));
                let fits = disposition.deposit == args.deposit
                    && disposition.genesis == genesis
                    && disposition.action == args.action;
                begun.extend((fits && !signed).then_some(disposition));
            }
            let none = "nobody has begun a disposition that you could sign: begin one with --reason";
            begun.into_iter().next().ok_or_else(|| NotSigned(none.into()))?
        }
    };
    let field = |name: &str| approve::plain(&shown[name]);
    eprintln!("{} of deposit {}", disposition.action, disposition.deposit);
    eprintln!("  {} {} to {}", field("amount"), field("asset"), field("address"));
    eprintln!("  transaction {} ({})", field("txId"), field("index"));
    eprintln!("  {}: {}", field("status"), field("reason"));
    eprintln!("because: {}", approve::plain(&json!(disposition.reason)));
    confirmed(args.yes, output)?;
    let signature = signer.sign(&disposition.digest());
    let signed = SignedDisposition { disposition, signatures: vec![signature] };
    output.value(&client.post(&format!("{path}/dispositions"), &signed).await?);
    Ok(())
}
