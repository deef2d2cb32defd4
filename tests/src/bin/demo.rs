//! `./dev demo`: one payment on each chain, from request to final block, through real co-signers.

use anyhow::{Context as _, ensure};
use bursar::intake::TransferRequest;
use bursar_domain::{amount::Amount, lifecycle::Status};
use bursar_tests::{
    Environment, Options,
    environment::{TOKEN, TOKEN_DECIMALS},
    initiator::{payment, request, tagged},
    program::{self, say},
    recipients::{self, BitcoinType},
};
use clap::Parser;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Starts a whole Bursar on loopback, pays on each chain, and checks the recipients' balances on the nodes.
#[derive(Debug, Parser)]
struct Args {
    /// Leave everything running and say how to use it.
    #[arg(long)]
    keep: bool,
    /// Only start everything, with funded wallets, and wait for Ctrl-C.
    #[arg(long)]
    up: bool,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
    /// Where all data goes.
    #[arg(long, default_value = ".bursar/demo")]
    dir: PathBuf,
}

/// How long one payment may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let args = Args::parse();
    program::run(&args.dir.clone(), run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let options = Options { say, ..Options::new(&args.dir) };
    let environment = Environment::start(options).await?;
    let wallets = Wallets::create(&environment).await?;
    wallets.fund(&environment).await?;
    let result = tokio::select! {
        result = program::mine(&environment.nodes, Duration::from_secs(1)) => result.map(|never| match never {}),
        result = show(&args, &environment, &wallets, started) => result,
    };
    say("stopping everything");
    let stopped = environment.stop().await;
    result.and(stopped)
}

async fn show(
    args: &Args,
    environment: &Environment,
    wallets: &Wallets,
    started: Instant,
) -> anyhow::Result<()> {
    if !args.up {
        let rows = pay_all(environment, wallets).await?;
        summary(args, &rows, started.elapsed());
    }
    if args.up || args.keep {
        explain(environment, wallets);
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

struct Wallets {
    bitcoin: Value,
    ethereum: Value,
    xrp: Value,
}

fn text<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    value[name].as_str().with_context(|| format!("{name} is missing in {value}"))
}

impl Wallets {
    async fn create(environment: &Environment) -> anyhow::Result<Self> {
        let api = &environment.api;
        say("creating a wallet on each chain");
        Ok(Self {
            bitcoin: api.create_wallet("demo bitcoin", "bitcoin", None).await?,
            ethereum: api.create_wallet("demo ethereum", "ethereum", None).await?,
            xrp: api.create_wallet("demo xrp", "xrp", None).await?,
        })
    }

    /// Two Bitcoin deposits at two addresses, so that spending from any of them is seen.
    async fn fund(&self, environment: &Environment) -> anyhow::Result<()> {
        let Environment { nodes, api, .. } = environment;
        say("funding the wallets");
        let (bitcoin, ethereum) = (text(&self.bitcoin, "id")?, text(&self.ethereum, "id")?);
        nodes.bitcoind.fund(text(&self.bitcoin, "address")?, 60_000_000).await?;
        nodes.bitcoind.fund(&api.create_address(bitcoin).await?, 40_000_000).await?;
        let account = text(&self.ethereum, "address")?;
        nodes.anvil.fund(account, units("10", 18)?).await?;
        nodes.anvil.mint(&nodes.token, account, units("5000", TOKEN_DECIMALS)?).await?;
        nodes.xrpl.fund(text(&self.xrp, "address")?, 1_000_000_000).await?;
        api.await_balance(bitcoin, "BTC", "1").await?;
        api.await_balance(ethereum, "ETH", "10").await?;
        api.await_balance(ethereum, TOKEN, "5000").await?;
        api.await_balance(text(&self.xrp, "id")?, "XRP", "1000").await
    }
}

fn units(decimal: &str, decimals: u8) -> anyhow::Result<alloy::primitives::U256> {
    Ok(Amount::parse_decimal(decimal, decimals)?.0)
}

/// One line of the summary.
struct Row {
    what: &'static str,
    transfer: Value,
    signing: Duration,
    to_final: Duration,
}

async fn pay_all(environment: &Environment, wallets: &Wallets) -> anyhow::Result<Vec<Row>> {
    let bitcoin = text(&wallets.bitcoin, "id")?;
    let ethereum = text(&wallets.ethereum, "id")?;
    let mut rows = Vec::new();

    let to = recipients::bitcoin(BitcoinType::P2wpkh);
    let asked = request(bitcoin, "BTC", vec![payment(&to, "0.25")], "0.001")?;
    rows.push(pay(environment, "BTC payment", &wallets.bitcoin, asked).await?);
    bitcoin_received(environment, &to, 25_000_000).await?;

    let batch = [
        (recipients::bitcoin(BitcoinType::P2tr), "0.011", 1_100_000),
        (recipients::bitcoin(BitcoinType::P2sh), "0.022", 2_200_000),
        (recipients::bitcoin(BitcoinType::P2pkh), "0.033", 3_300_000),
    ];
    let payments = batch.iter().map(|(to, amount, _)| payment(to, amount)).collect();
    rows.push(
        pay(environment, "BTC batch of 3", &wallets.bitcoin, request(bitcoin, "BTC", payments, "0.001")?)
            .await?,
    );
    for (to, _, satoshi) in &batch {
        bitcoin_received(environment, to, *satoshi).await?;
    }

    let to = recipients::ethereum();
    let asked = request(ethereum, "ETH", vec![payment(&to, "1.5")], "0.01")?;
    rows.push(pay(environment, "ETH payment", &wallets.ethereum, asked).await?);
    let received = environment.nodes.anvil.balance(&to).await?;
    ensure!(received == units("1.5", 18)?, "{to} has {received} wei");

    let to = recipients::ethereum();
    let asked = request(ethereum, TOKEN, vec![payment(&to, "1234.567891")], "0.01")?;
    rows.push(pay(environment, "ERC-20 payment", &wallets.ethereum, asked).await?);
    let received = environment.nodes.anvil.token_balance(&environment.nodes.token, &to).await?;
    ensure!(received == units("1234.567891", TOKEN_DECIMALS)?, "{to} has {received} token units");

    let (to, _) = recipients::xrp()?;
    environment.nodes.xrpl.fund(&to, 20_000_000).await?;
    let asked = request(text(&wallets.xrp, "id")?, "XRP", vec![tagged(&to, 4242, "123.456789")], "0.01")?;
    rows.push(pay(environment, "XRP payment, tag 4242", &wallets.xrp, asked).await?);
    let received = environment.nodes.xrpl.balance(&to).await?;
    ensure!(received == 20_000_000 + 123_456_789, "{to} has {received} drops");
    say("every recipient has exactly what was sent, by the nodes' own word");
    Ok(rows)
}

async fn bitcoin_received(environment: &Environment, to: &str, satoshi: u64) -> anyhow::Result<()> {
    let received = environment.nodes.bitcoind.balance(to).await?;
    ensure!(received == satoshi, "{to} has {received} satoshi, not {satoshi}");
    Ok(())
}

/// Asks for one payment and prints its timeline as it grows.
async fn pay(
    environment: &Environment,
    what: &'static str,
    wallet: &Value,
    asked: TransferRequest,
) -> anyhow::Result<Row> {
    let Environment { api, initiator, .. } = environment;
    say(&format!("\n{what}"));
    let begun = Instant::now();
    let created = api.pay(initiator, wallet, asked).await.with_context(|| what)?;
    let id = text(&created, "id")?.to_owned();
    let mut shown = 0;
    loop {
        let transfer = api.transfer(&id).await?;
        let timeline = transfer["timeline"].as_array().map(Vec::as_slice).unwrap_or_default();
        for entry in timeline.iter().skip(shown) {
            let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            say(&format!(
                "  {:>6.2} s  {:<22} {} {}",
                begun.elapsed().as_secs_f64(),
                word("status"),
                word("subStatus"),
                word("reason")
            ));
        }
        shown = timeline.len();
        let status: Status = text(&transfer, "status")?.parse()?;
        if status == Status::Completed {
            let signing = signing_time(&transfer).unwrap_or_default();
            return Ok(Row { what, transfer, signing, to_final: begun.elapsed() });
        }
        ensure!(
            !status.is_terminal(),
            "{what} ended as {status}: {} {}",
            transfer["subStatus"],
            transfer["reason"]
        );
        ensure!(
            begun.elapsed() < PATIENCE,
            "{what} is still {status}: {} {}",
            transfer["subStatus"],
            transfer["reason"]
        );
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

/// From the first message to the co-signers to the assembled transaction.
fn signing_time(transfer: &Value) -> Option<Duration> {
    let at = |name: &str| transfer["transaction"][name].as_str()?.parse::<jiff::Timestamp>().ok();
    at("signedAt")?.duration_since(at("signingStartedAt")?).try_into().ok()
}

fn summary(args: &Args, rows: &[Row], took: Duration) {
    if args.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                json!({
                    "what": row.what,
                    "status": row.transfer["status"],
                    "txId": row.transfer["transaction"]["txId"],
                    "fee": row.transfer["transaction"]["fee"],
                    "signingSeconds": row.signing.as_secs_f64(),
                    "toFinalSeconds": row.to_final.as_secs_f64(),
                })
            })
            .collect();
        println!("{}", json!({ "transfers": rows, "seconds": took.as_secs_f64() }));
        return;
    }
    println!("\n{:<22} {:<10} {:<22} {:>9} {:>9}  tx id", "transfer", "status", "fee", "signing", "final");
    for row in rows {
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let asset = match row.what.split(' ').next() {
            Some("ERC-20") => "ETH",
            Some(asset) => asset,
            None => "",
        };
        println!(
            "{:<22} {:<10} {:<22} {:>7.2} s {:>7.2} s  {}",
            row.what,
            word(&row.transfer["status"]),
            format!("{} {asset}", word(&row.transfer["transaction"]["fee"])),
            row.signing.as_secs_f64(),
            row.to_final.as_secs_f64(),
            word(&row.transfer["transaction"]["txId"]),
        );
    }
    println!(
        "\nall completed in {:.1} s, starting included; not checked yet: KYT screening and approval policy",
        took.as_secs_f64()
    );
}

fn explain(environment: &Environment, wallets: &Wallets) {
    let Environment { orchestrator, nodes, initiator, .. } = environment;
    let id = |wallet: &Value| wallet["id"].as_str().unwrap_or_default().to_owned();
    println!(
        r#"
Everything is running; Ctrl-C ends it.

  export BURSAR_URL={url}
  export BURSAR_API_KEY={key}
  alias bursar=target/debug/bursar

  bursar status
  bursar wallets list
  bursar transfers create --key {initiator} --wallet {bitcoin} \
      --asset BTC --to {recipient}=0.01 --max-fee 0.001 --watch
  bursar events --follow
  curl -H "Authorization: Bearer $BURSAR_API_KEY" $BURSAR_URL/v1/transfers

  API page   {url}/docs
  wallets    bitcoin {bitcoin}, ethereum {ethereum}, xrp {xrp}
  nodes      bitcoind {btc_node} (user {user}, password {password}), anvil {eth_node}, XRP Ledger stand-in {xrp_node}
  logs       {log}, and signer.log in each co-signer's folder beside it
"#,
        url = orchestrator.url(),
        key = orchestrator.api_key(),
        initiator = initiator.file().display(),
        bitcoin = id(&wallets.bitcoin),
        ethereum = id(&wallets.ethereum),
        xrp = id(&wallets.xrp),
        recipient = recipients::bitcoin(BitcoinType::P2tr),
        btc_node = nodes.bitcoind.rpc_url(),
        user = nodes.bitcoind.rpc_user(),
        password = nodes.bitcoind.rpc_password(),
        eth_node = nodes.anvil.rpc_url(),
        xrp_node = nodes.xrpl.rpc_url(),
        log = orchestrator.log_file().display(),
    );
}
