//! Transfers: create, sign, estimate, get, list, abort, cancel, speed up, recall, watch.

use super::{
    Connection, NotPaid, approve,
    governance::Known,
    output::Output,
    pay::{self, Initiator, Standing, To},
    wallets::Paging,
};
use crate::{
    api::extract,
    client::Client,
    intake::{FillRequest, TransferRequest},
};
use anyhow::Context as _;
use bursar_domain::{governance::directory::UserId, ids::TransferId, lifecycle::Status};
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::{io::Read, path::PathBuf, time::Duration};

#[derive(Debug, Subcommand)]
pub enum Transfers {
    /// Sign a payment and ask for it.
    Create {
        #[command(flatten)]
        payment: Box<PaymentArgs>,
        /// The initiator's key: of a user of the governance log (`bursar governance keygen`), or where there is none one that co-signers pin
        /// (`bursar initiator-key`).
        #[arg(long)]
        key: PathBuf,
        /// Follow it until it ends.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        known: Known,
        #[command(flatten)]
        connection: Connection,
    },
    /// Sign a request and print it, ready to be posted to /v1/transfers.
    Sign {
        /// The request as JSON, without terms, initiator and signature; standard input when absent.
        #[arg(long)]
        file: Option<PathBuf>,
        /// The initiator's key: of a user of the governance log (`bursar governance keygen`), or where there is none one that co-signers pin
        /// (`bursar initiator-key`).
        #[arg(long, required_unless_present = "unsigned")]
        key: Option<PathBuf>,
        /// Do not sign, but print what a passkey is to sign, which a governed desk takes as well: the request, and the challenge.
        #[arg(long, conflicts_with = "key", requires = "user")]
        unsigned: bool,
        /// Whose order it is to be, by their id in the governance log: who signs it then. A key file says so itself.
        #[arg(long, requires = "unsigned")]
        user: Option<UserId>,
        #[command(flatten)]
        known: Known,
        #[command(flatten)]
        connection: Connection,
    },
    /// Check a payment and estimate its fee; nothing is kept.
    Estimate {
        #[command(flatten)]
        payment: Box<PaymentArgs>,
        #[command(flatten)]
        connection: Connection,
    },
    /// One transfer, with its transaction and timeline.
    Get(One),
    /// Newest first.
    List {
        /// Only in this status, such as QUEUED.
        #[arg(long)]
        status: Option<Status>,
        /// Only from this wallet (id).
        #[arg(long)]
        wallet: Option<String>,
        /// Only of this asset (symbol).
        #[arg(long)]
        asset: Option<String>,
        /// Only this externalId.
        #[arg(long)]
        external_id: Option<String>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        connection: Connection,
    },
    /// Withdraw a transfer that no co-signer has begun to sign.
    Abort(One),
    /// Cancel on chain: have a transaction signed that takes the payment's place and pays nobody. The fee is paid.
    Cancel(One),
    /// Have the same payment signed again at a higher fee, within the transfer's fee cap.
    SpeedUp {
        /// The least raise, in percent; the installation's own when absent.
        #[arg(long)]
        raise_percent: Option<u32>,
        #[command(flatten)]
        one: One,
    },
    /// Sign the recall of one payout of a batch that no co-signer has begun to sign, and ask for it.
    ///
    /// The order is verified on this machine: it must be the key's holder who signed it. Shows the payout that is left out, and asks.
    Recall {
        /// Which of the transfer's payments, from 0.
        #[arg(long)]
        payment: u32,
        /// The initiator's key that signed the transfer; at a governed desk, any of theirs.
        #[arg(long)]
        key: PathBuf,
        /// Sign without asking.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        known: Known,
        #[command(flatten)]
        one: One,
    },
    /// Print each status as it comes, until the transfer ends. Exit code 0 if it was paid, 5 if not.
    Watch(One),
}

#[derive(Debug, Args)]
pub struct One {
    /// Transfer id.
    transfer: TransferId,
    #[command(flatten)]
    connection: Connection,
}

impl One {
    async fn post(&self, verb: &str, body: &impl serde::Serialize, output: Output) -> anyhow::Result<()> {
        let path = format!("/v1/transfers/{}/{verb}", self.transfer);
        output.value(&self.connection.client()?.post(&path, body).await?);
        Ok(())
    }
}

#[derive(Debug, Args)]
pub struct PaymentArgs {
    /// Your own permanent name for it; a fresh one when absent.
    #[arg(long)]
    external_id: Option<String>,
    /// The paying wallet's id.
    #[arg(long)]
    wallet: String,
    /// BTC, ETH, XRP, or a configured token's symbol.
    #[arg(long)]
    asset: String,
    /// Which of the wallet's addresses pays (ethereum, xrp).
    #[arg(long)]
    source: Option<String>,
    /// ADDRESS=AMOUNT, or ADDRESS:TAG=AMOUNT on xrp. Several make a batch on bitcoin.
    #[arg(long = "to", required = true)]
    to: Vec<To>,
    /// The most that the network fee may be, in the chain's own asset.
    #[arg(long)]
    max_fee: String,
    /// Nothing is signed after this many minutes.
    #[arg(long, default_value_t = 60)]
    valid_minutes: u32,
}

impl PaymentArgs {
    fn request(self) -> TransferRequest {
        TransferRequest {
            external_id: self.external_id.unwrap_or_else(fresh_external_id),
            wallet_id: self.wallet,
            asset: self.asset,
            source: self.source,
            payments: self.to.into_iter().map(|To(payment)| payment).collect(),
            max_fee: self.max_fee,
            expires_at: expires_in(self.valid_minutes),
            terms: None,
            initiator: None,
            signature: None,
        }
    }
}

fn expires_in(minutes: u32) -> String {
    let at = Timestamp::now().saturating_add(SignedDuration::from_mins(i64::from(minutes)));
    at.unwrap_or(Timestamp::MAX).to_string()
}

fn fresh_external_id() -> String {
    use bursar_domain::ids::IdSource;
    format!("cli-{}", crate::compose::SystemIds.uuid())
}

/// Sign an order to use up a nonce that nothing uses, and ask for it (Ethereum; see the event account.gap).
#[derive(Debug, Args)]
pub struct FillGap {
    /// Your own permanent name for it; a fresh one when absent.
    #[arg(long)]
    external_id: Option<String>,
    /// The account's wallet (id).
    #[arg(long)]
    wallet: String,
    /// The account whose nonce it is.
    #[arg(long)]
    account: String,
    #[arg(long)]
    nonce: u64,
    /// The most that the network fee may be in all, in ETH.
    #[arg(long)]
    max_fee: String,
    /// Nothing is signed after this many minutes.
    #[arg(long, default_value_t = 60)]
    valid_minutes: u32,
    /// The initiator's key: of a user of the governance log (`bursar governance keygen`), or where there is none one that co-signers pin
    /// (`bursar initiator-key`).
    #[arg(long)]
    key: PathBuf,
    /// Follow it until it ends.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    connection: Connection,
}

pub async fn fill_gap(gap: FillGap, output: Output) -> anyhow::Result<()> {
    let client = gap.connection.client()?;
    let request = FillRequest {
        external_id: gap.external_id.unwrap_or_else(fresh_external_id),
        wallet_id: gap.wallet,
        account: gap.account,
        nonce: gap.nonce,
        max_fee: gap.max_fee,
        expires_at: expires_in(gap.valid_minutes),
        terms: None,
        initiator: None,
        signature: None,
    };
    let initiator = Initiator::load(&gap.key, &gap.known, &gap.connection, &client).await?;
    let request = pay::fill(&client, request, &initiator).await?;
    let created: Value = client.post_once("/v1/fills", &request.external_id, &request).await?;
    created_or_followed(&client, &created, gap.watch, output).await
}

async fn created_or_followed(
    client: &Client,
    created: &Value,
    follow: bool,
    output: Output,
) -> anyhow::Result<()> {
    if !follow {
        output.value(created);
        return Ok(());
    }
    watch(client, created["id"].as_str().context("the answer has no id")?, output).await
}

pub async fn run(command: Transfers, output: Output) -> anyhow::Result<()> {
    match command {
        Transfers::Create { payment, key, watch: follow, known, connection } => {
            let client = connection.client()?;
            let initiator = Initiator::load(&key, &known, &connection, &client).await?;
            let request = pay::sign(&client, payment.request(), &initiator).await?;
            let created: Value = client.post_once("/v1/transfers", &request.external_id, &request).await?;
            created_or_followed(&client, &created, follow, output).await
        }
        Transfers::Sign { file, key, unsigned: _, user, known, connection } => {
            let mut text = Vec::new();
            match file {
                Some(path) => {
                    text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?
                }
                None => drop(std::io::stdin().read_to_end(&mut text)?),
            }
            let request: TransferRequest = extract::parse(&text).map_err(|problem| {
                let errors: Vec<_> =
                    problem.errors.iter().map(|e| format!("{}: {}", e.field, e.message)).collect();
                anyhow::anyhow!("the request is not of the documented form: {}", errors.join("; "))
            })?;
            let client = connection.client()?;
            let made = match (key, user) {
                (Some(key), _) => {
                    let initiator = Initiator::load(&key, &known, &connection, &client).await?;
                    serde_json::to_value(pay::sign(&client, request, &initiator).await?)?
                }
                (None, Some(user)) => {
                    let standing = Standing::of(&known, &connection, &client).await?.context(
                        "nothing is governed here, so no passkey counts: sign with --key, a key that co-signers pin",
                    )?;
                    pay::unsigned(&client, request, standing.terms(user)?).await?
                }
                (None, None) => anyhow::bail!("--unsigned needs --user: whose order it is to be"),
            };
            println!("{}", serde_json::to_string_pretty(&made)?);
            Ok(())
        }
        Transfers::Estimate { payment, connection } => {
            output.value(&connection.client()?.post("/v1/transfers/estimate", &payment.request()).await?);
            Ok(())
        }
        Transfers::Get(One { transfer, connection }) => {
            output.value(&connection.client()?.get(&format!("/v1/transfers/{transfer}"), &[]).await?);
            Ok(())
        }
        Transfers::List { status, wallet, asset, external_id, paging, connection } => {
            let filters = [
                ("status", status.map(|status| status.to_string())),
                ("walletId", wallet),
                ("asset", asset),
                ("externalId", external_id),
            ];
            let mut query = paging.query();
            query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value?))));
            let page: Value = connection.client()?.get("/v1/transfers", &query).await?;
            output.table(
                &page,
                &["id", "externalId", "asset", "payments.0.amount", "status", "subStatus", "updatedAt"],
            );
            Ok(())
        }
        Transfers::Abort(one) => one.post("abort", &json!({}), output).await,
        Transfers::Cancel(one) => one.post("cancel", &json!({}), output).await,
        Transfers::SpeedUp { raise_percent, one } => {
            one.post("speed-up", &json!({ "raisePercent": raise_percent }), output).await
        }
        Transfers::Recall { payment, key, yes, known, one } => {
            let client = one.connection.client()?;
            let (shown, order) = approve::order(&client, one.transfer).await?;
            let initiator = Initiator::of(&order, &key, &known, &one.connection, &client).await?;
            let request = pay::recall(&shown, &order, payment, &initiator, yes, output)?;
            one.post("recalls", &request, output).await
        }
        Transfers::Watch(One { transfer, connection }) => {
            watch(&connection.client()?, &transfer.to_string(), output).await
        }
    }
}

/// Prints the timeline as it grows.
async fn watch(client: &Client, id: &str, output: Output) -> anyhow::Result<()> {
    let mut shown = 0;
    loop {
        let transfer: Value = client.get(&format!("/v1/transfers/{id}"), &[]).await?;
        let timeline = transfer["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
        for entry in timeline.iter().skip(shown) {
            if output.json {
                println!("{entry}");
            } else {
                let text = |name: &str| entry[name].as_str().unwrap_or_default();
                println!("{}  {:<22} {} {}", text("at"), text("status"), text("subStatus"), text("reason"));
            }
        }
        shown = timeline.len();
        let status: Option<Status> = transfer["status"].as_str().and_then(|status| status.parse().ok());
        match status {
            Some(Status::Completed) => return Ok(()),
            Some(status) if status.is_terminal() => return Err(NotPaid(status.to_string()).into()),
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
