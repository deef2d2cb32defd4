//! `./dev demo`: a governed desk that pays on each chain, from request to final block, through real co-signers; that holds one payment for
//! review and blocks two; and that says why for each.

use anyhow::{Context as _, ensure};
use bursar::intake::TransferRequest;
use bursar_domain::{amount::Amount, lifecycle::Status};
use bursar_tests::{
    Environment, Options,
    desk::{self, COMPLIANCE, Desk, Why},
    environment::{TOKEN, TOKEN_DECIMALS},
    initiator::{payment, request, tagged},
    program::{self, say},
    recipients::{self, BitcoinType},
    screener::Listed,
};
use clap::Parser;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Starts a whole Bursar on loopback, under rules that two parties published; pays on each chain what is screened and approved, holds and
/// blocks what is not; and checks the recipients' balances on the nodes.
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
    let mut environment = Environment::start(options).await?;
    let desk = Desk::found(&mut environment, desk::policy()).await?;
    let wallets = Wallets::create(&environment).await?;
    wallets.fund(&environment).await?;
    let mut demo = Demo { environment: &environment, desk, wallets };
    let result = tokio::select! {
        result = program::mine(&environment.nodes, Duration::from_secs(1)) => result.map(|never| match never {}),
        result = demo.show(&args, started) => result,
    };
    say("stopping everything");
    let screener = demo.desk.stop().await;
    let stopped = environment.stop().await;
    result.and(screener).and(stopped)
}

struct Demo<'e> {
    environment: &'e Environment,
    desk: Desk,
    wallets: Wallets,
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
        // Deposits are screened once they are final.
        nodes.bitcoind.mine(2).await?;
        let account = text(&self.ethereum, "address")?;
        nodes.anvil.fund(account, units("10", 18)?).await?;
        nodes.anvil.mint(&nodes.token, account, units("5000", TOKEN_DECIMALS)?).await?;
        nodes.xrpl.fund(text(&self.xrp, "address")?, 1_000_000_000).await?;
        api.await_balance(bitcoin, "BTC", "1").await?;
        api.await_balance(ethereum, "ETH", "10").await?;
        api.await_balance(ethereum, TOKEN, "5000").await?;
        api.await_balance(text(&self.xrp, "id")?, "XRP", "1000").await?;
        api.await_deposits(bitcoin, 2).await?;
        api.await_deposits(ethereum, 1).await?;
        api.await_deposits(text(&self.xrp, "id")?, 1).await
    }
}

fn units(decimal: &str, decimals: u8) -> anyhow::Result<alloy::primitives::U256> {
    Ok(Amount::parse_decimal(decimal, decimals)?.0)
}

/// One line of the summary.
struct Row {
    what: &'static str,
    transfer: Value,
    why: Why,
    signing: Option<Duration>,
    to_end: Duration,
}

/// One payment that is shown.
struct Asked<'w> {
    what: &'static str,
    wallet: &'w Value,
    request: TransferRequest,
    /// How it is to end.
    ends: Status,
}

impl Demo<'_> {
    async fn show(&mut self, args: &Args, started: Instant) -> anyhow::Result<()> {
        if !args.up {
            let mut rows = self.pay_all().await?;
            rows.extend(self.withhold().await?);
            say("every recipient has exactly what was to be paid, by the nodes' own word");
            summary(args, &rows, started.elapsed());
        }
        if args.up || args.keep {
            self.explain();
            tokio::signal::ctrl_c().await?;
        }
        Ok(())
    }

    /// What is screened clear, and what is small, on each chain.
    async fn pay_all(&self) -> anyhow::Result<Vec<Row>> {
        let Self { environment, wallets: Wallets { bitcoin, ethereum, xrp }, .. } = self;
        let nodes = &environment.nodes;
        let (btc_wallet, eth_wallet) = (text(bitcoin, "id")?, text(ethereum, "id")?);
        let mut rows = Vec::new();

        let to = recipients::bitcoin(BitcoinType::P2wpkh);
        let asked = request(btc_wallet, "BTC", vec![payment(&to, "0.25")], "0.001")?;
        rows.push(self.pay("BTC payment", bitcoin, asked).await?);
        bitcoin_received(environment, &to, 25_000_000).await?;

        let batch = [
            (recipients::bitcoin(BitcoinType::P2tr), "0.011", 1_100_000),
            (recipients::bitcoin(BitcoinType::P2sh), "0.022", 2_200_000),
            (recipients::bitcoin(BitcoinType::P2pkh), "0.033", 3_300_000),
        ];
        let payments = batch.iter().map(|(to, amount, _)| payment(to, amount)).collect();
        let asked = request(btc_wallet, "BTC", payments, "0.001")?;
        rows.push(self.pay("BTC batch of 3", bitcoin, asked).await?);
        for (to, _, satoshi) in &batch {
            bitcoin_received(environment, to, *satoshi).await?;
        }

        let to = recipients::ethereum();
        let asked = request(eth_wallet, "ETH", vec![payment(&to, "1.5")], "0.01")?;
        rows.push(self.pay("ETH payment", ethereum, asked).await?);
        let received = nodes.anvil.balance(&to).await?;
        ensure!(received == units("1.5", 18)?, "{to} has {received} wei");

        let to = recipients::ethereum();
        let asked = request(eth_wallet, TOKEN, vec![payment(&to, "1234.567891")], "0.01")?;
        rows.push(self.pay("ERC-20 payment", ethereum, asked).await?);
        let received = nodes.anvil.token_balance(&nodes.token, &to).await?;
        ensure!(received == units("1234.567891", TOKEN_DECIMALS)?, "{to} has {received} token units");

        let to = self.account().await?;
        let asked = self.xrp(tagged(&to, 4242, "123.456789"))?;
        rows.push(self.pay("XRP payment, tag 4242", xrp, asked).await?);
        let asked = self.xrp(payment(&to, "5"))?;
        rows.push(self.pay("XRP payment, small", xrp, asked).await?);
        self.xrp_received(&to, 123_456_789 + 5_000_000).await?;
        Ok(rows)
    }

    /// What is held for review and released, what is blocked by the screening, and what the policy denies.
    async fn withhold(&mut self) -> anyhow::Result<Vec<Row>> {
        let (held, denied, blocked) = (self.account().await?, self.account().await?, recipients::ethereum());
        let list = &mut self.desk.screener;
        list.list(&held, Listed::Review, "paid by an address that a mixer paid")?;
        list.list(&blocked, Listed::Sanctioned, "named in a list of sanctioned addresses")?;
        let Self { wallets: Wallets { ethereum, xrp, .. }, environment, .. } = &*self;
        let mut rows = Vec::new();

        let asked = self.xrp(payment(&held, "77"))?;
        rows.push(self.pay("XRP held for review", xrp, asked).await?);
        self.xrp_received(&held, 77_000_000).await?;

        let request = request(text(ethereum, "id")?, "ETH", vec![payment(&blocked, "0.5")], "0.01")?;
        let asked =
            Asked { what: "ETH to a listed address", wallet: ethereum, request, ends: Status::Rejected };
        rows.push(self.follow(asked).await?);
        let received = environment.nodes.anvil.balance(&blocked).await?;
        ensure!(received.is_zero(), "{blocked} has {received} wei, and was to have nothing");

        let request = self.xrp(payment(&denied, "600"))?;
        let asked = Asked { what: "XRP above the limit", wallet: xrp, request, ends: Status::Blocked };
        rows.push(self.follow(asked).await?);
        self.xrp_received(&denied, 0).await?;
        Ok(rows)
    }

    /// An XRP account that exists.
    async fn account(&self) -> anyhow::Result<String> {
        let (address, _) = recipients::xrp()?;
        self.environment.nodes.xrpl.fund(&address, RESERVE).await?;
        Ok(address)
    }

    fn xrp(&self, payment: bursar::intake::PaymentRequest) -> anyhow::Result<TransferRequest> {
        request(text(&self.wallets.xrp, "id")?, "XRP", vec![payment], "0.01")
    }

    async fn xrp_received(&self, to: &str, drops: u64) -> anyhow::Result<()> {
        let has = self.environment.nodes.xrpl.balance(to).await?;
        ensure!(has == RESERVE + drops, "{to} has {has} drops, not {}", RESERVE + drops);
        Ok(())
    }

    async fn pay(&self, what: &'static str, wallet: &Value, request: TransferRequest) -> anyhow::Result<Row> {
        self.follow(Asked { what, wallet, request, ends: Status::Completed }).await
    }

    /// Asks for one payment and prints its timeline as it grows. Approvers and compliance do their part when it waits for them.
    async fn follow(&self, asked: Asked<'_>) -> anyhow::Result<Row> {
        let Asked { what, wallet, request, ends } = asked;
        let Environment { api, initiator, .. } = self.environment;
        say(&format!("\n{what}"));
        let begun = Instant::now();
        let created = api.pay(initiator, wallet, request).await.with_context(|| what)?;
        let id = text(&created, "id")?.to_owned();
        let (mut shown, mut approved, mut released) = (0, false, false);
        loop {
            let transfer = api.transfer(&id).await?;
            shown = timeline(&transfer, shown, begun);
            let status: Status = text(&transfer, "status")?.parse()?;
            if status == ends {
                let why = self.desk.why(&transfer).await?;
                say(&format!("          why: {}", why.text));
                return Ok(Row {
                    what,
                    signing: signing_time(&transfer),
                    to_end: begun.elapsed(),
                    transfer,
                    why,
                });
            }
            let state = format!("{status}: {} {}", transfer["subStatus"], transfer["reason"]);
            ensure!(!status.is_terminal(), "{what} ended as {state}");
            ensure!(begun.elapsed() < PATIENCE, "{what} is still {state}");
            match transfer["subStatus"].as_str() {
                Some("AWAITING_APPROVALS") if !approved => {
                    self.desk.approve(&id).await?;
                    approved = true;
                }
                Some("SCREENING_REVIEW") if !released => {
                    self.release(&id).await?;
                    released = true;
                }
                _ => tokio::time::sleep(Duration::from_millis(40)).await,
            }
        }
    }

    async fn release(&self, id: &str) -> anyhow::Result<()> {
        let review = self.desk.review(id).await?;
        let found = &review["transfer"]["screening"]["findings"][0];
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let [officer, lead] = COMPLIANCE;
        say(&format!(
            "          review queue: {} of risk {}: {}; it needs {}",
            word(&found["category"]),
            word(&found["risk"]),
            word(&found["description"]),
            word(&review["transfer"]["needs"]["signatures"])
        ));
        say(&format!("          {officer} and {lead} release it"));
        self.desk.release(id, "the recipient showed where it came from").await
    }
}

/// What a fresh XRP account is given to exist, in drops.
const RESERVE: u64 = 20_000_000;

async fn bitcoin_received(environment: &Environment, to: &str, satoshi: u64) -> anyhow::Result<()> {
    let received = environment.nodes.bitcoind.balance(to).await?;
    ensure!(received == satoshi, "{to} has {received} satoshi, not {satoshi}");
    Ok(())
}

/// Prints what came after the first `shown` entries; how many there are.
fn timeline(transfer: &Value, shown: usize, begun: Instant) -> usize {
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
    timeline.len()
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
                    "why": row.why.text,
                    "screening": row.why.screening["outcome"],
                    "findings": row.why.screening["findings"],
                    "releasedBy": row.why.released_by,
                    "approvedBy": row.why.approved_by,
                    "txId": row.transfer["transaction"]["txId"],
                    "fee": row.transfer["transaction"]["fee"],
                    "signingSeconds": row.signing.map(|time| time.as_secs_f64()),
                    "toEndSeconds": row.to_end.as_secs_f64(),
                })
            })
            .collect();
        println!("{}", json!({ "transfers": rows, "seconds": took.as_secs_f64() }));
        return;
    }
    println!(
        "\n{:<26} {:<10} {:<22} {:>9} {:>9}  tx id, and why",
        "transfer", "status", "fee", "signing", "end"
    );
    for row in rows {
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let asset = match row.what.split(' ').next() {
            Some("ERC-20") => "ETH",
            Some(asset) => asset,
            None => "",
        };
        let fee = row.transfer["transaction"]["fee"].as_str();
        println!(
            "{:<26} {:<10} {:<22} {:>9} {:>7.2} s  {}",
            row.what,
            word(&row.transfer["status"]),
            fee.map_or_else(|| "-".to_owned(), |fee| format!("{fee} {asset}")),
            row.signing.map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64())),
            row.to_end.as_secs_f64(),
            word(&row.transfer["transaction"]["txId"]),
        );
        println!("{:<26} {}", "", row.why.text);
    }
    println!("\nall ended as they should, in {:.1} s, starting included", took.as_secs_f64());
}

impl Demo<'_> {
    fn explain(&self) {
        let Environment { orchestrator, nodes, initiator, .. } = self.environment;
        let (wallets, desk) = (&self.wallets, &self.desk);
        let id = |wallet: &Value| wallet["id"].as_str().unwrap_or_default().to_owned();
        println!(
            r#"
Everything is running; Ctrl-C ends it.

  export BURSAR_URL={url}
  export BURSAR_KEY_FILE={initiator}      # olga, who orders: signs each request
  export BURSAR_GENESIS={genesis}
  export BURSAR_STATE={state}
  alias bursar=target/debug/bursar

  bursar whoami
  bursar wallets list
  bursar transfers create --key $BURSAR_KEY_FILE --wallet {bitcoin} \
      --asset BTC --to {recipient}=0.01 --max-fee 0.001

It waits for two parties; each of these signs with a key of their own:

  bursar approve <transfer id> --key {anna} --key-file {anna}
  bursar approve <transfer id> --key {mark} --key-file {mark}
  bursar policy explain <transfer id>

Addresses in {list} are held or blocked (the file is read again when it
changes); otto sees what is held, and releases it with lena:

  bursar reviews --key-file {otto}
  bursar release <transfer id> --key {otto} --key-file {otto} --reason "..." \
      --evidence <file or URI>
  bursar release <transfer id> --key {lena} --key-file {lena}

Bearer keys read, and do nothing else:

  export BURSAR_API_KEY={key}
  curl -H "Authorization: Bearer $BURSAR_API_KEY" $BURSAR_URL/v1/transfers

  API page   {url}/docs
  wallets    bitcoin {bitcoin}, ethereum {ethereum}, xrp {xrp}
  people     {keys}, and their log {log_of_desk}
  nodes      bitcoind {btc_node} (user {user}, password {password}), anvil {eth_node}, XRP Ledger stand-in {xrp_node}
  logs       {log}, signer.log in each co-signer's folder beside it, and screener.log
"#,
            url = orchestrator.url(),
            key = orchestrator.api_key(),
            initiator = initiator.file().display(),
            genesis = desk.genesis,
            state = desk.state_folder("you").display(),
            anna = desk.key_file("anna").display(),
            mark = desk.key_file("mark").display(),
            otto = desk.key_file("otto").display(),
            lena = desk.key_file("lena").display(),
            list = desk.screener.list_file().display(),
            keys = desk.folder().join("keys").display(),
            log_of_desk = desk.folder().join("log.json").display(),
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
}
