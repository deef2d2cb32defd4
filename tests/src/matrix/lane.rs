//! One orchestrator on one chain and one store: started, armed, dead, started again.

mod attends;
mod fills;
mod happens;
mod robs;

use super::{
    Course,
    governed::{self, Governed},
    payment::{Payment, Seen},
};
use crate::{
    api::Api,
    cosigners::Cosigners,
    environment::{Nodes, program},
    initiator::{Initiator, descriptor},
    orchestrator::run_json,
    waiting::text,
};
use alloy::primitives::U256;
use anyhow::{Context as _, bail, ensure};
use bursar::{client::ClientError, intake::FillRequest};
use bursar_crash::Plan;
use bursar_domain::{
    amount::Amount, asset::AssetInfo, intent::IntentDigest, lifecycle::Status, network::Chain,
    wallet::WalletDescriptor,
};
use bursar_regtest::{Process, free_port};
use serde_json::{Value, json};
use std::{
    fmt,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::time::Instant;

/// How long a process may take to be ready, a payment to be finished, or a death to come.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long after its end a transfer's process may still come to a boundary, where it is recorded what there is.
const REST: Duration = Duration::from_secs(2);
/// The same where it is waited for one of them, of which most have come by then.
const SHORT_REST: Duration = Duration::from_millis(600);
/// The same on a governed desk, where services are asked each second.
const GOVERNED_REST: Duration = Duration::from_millis(1800);
/// Between two looks, each of which lets the chain go on by one block while it has something to include.
const LOOK: Duration = Duration::from_millis(40);
const SIGABRT: i32 = 6;

/// Where a case is run.
#[derive(Debug, Clone)]
pub struct Place {
    pub chain: Chain,
    /// `SQLite` or `Postgres`
    pub store: &'static str,
    /// `co-signers` or `development_single_key`
    pub signer: &'static str,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} with {}", self.chain, self.store, self.signer)
    }
}

/// What lanes share.
pub struct Shared<'a> {
    pub nodes: &'a Nodes,
    pub initiator: &'a Initiator,
    /// Configuration file with all chains, of which a lane serves one.
    pub config: &'a Path,
    /// How many co-signers a process waits for after its start.
    pub cosigners: usize,
}

pub struct Lane<'a> {
    place: Place,
    shared: &'a Shared<'a>,
    dir: PathBuf,
    config: PathBuf,
    api: Api,
    process: Option<Process>,
    /// What it is armed with.
    plan: Option<Plan>,
    wallet: Wallet,
    /// Another one, out of which somebody else takes.
    robbed: Option<Wallet>,
    asset: AssetInfo,
    seen: Seen,
    cosigners: usize,
    last_block: Instant,
    /// What the course of this payment has in store for it has happened.
    disturbed: bool,
    /// The order to fill a nonce, where that belongs to the course.
    filler: Option<FillRequest>,
    course: Course,
    /// Where a desk is governed.
    governed: Option<Governed>,
}

struct Wallet {
    id: String,
    address: String,
    descriptor: WalletDescriptor,
}

impl Wallet {
    fn read(view: &Value) -> anyhow::Result<Self> {
        Ok(Self { id: text(view, "id")?, address: text(view, "address")?, descriptor: descriptor(view)? })
    }
}

impl<'a> Lane<'a> {
    /// Configures an orchestrator for the place's chain on the store at `url`, starts it and funds a wallet in it.
    pub async fn open(shared: &'a Shared<'a>, place: Place, dir: &Path, url: &str) -> anyhow::Result<Self> {
        let (dir, port) = folder(dir)?;
        Self::open_as(shared, place, dir, port, url, None).await
    }

    /// The same with a governed desk around it, which screens, has a travel rule, and sends events on.
    pub async fn open_governed(
        shared: &'a Shared<'a>,
        place: Place,
        dir: &Path,
        url: &str,
    ) -> anyhow::Result<Self> {
        let (dir, port) = folder(dir)?;
        let governed = Governed::found(&dir, &format!("http://127.0.0.1:{port}"), shared.initiator).await?;
        Self::open_as(shared, place, dir, port, url, Some(governed)).await
    }

    async fn open_as(
        shared: &'a Shared<'a>,
        place: Place,
        dir: PathBuf,
        port: u16,
        url: &str,
        governed: Option<Governed>,
    ) -> anyhow::Result<Self> {
        let config = dir.join("bursar.toml");
        let settings = configuration(shared.config, place.chain, Course::Paid, url, port, governed.as_ref())?;
        std::fs::write(&config, settings)?;
        if let Some(governed) = &governed {
            let mut load = Command::new(program("bursar")?);
            load.args(["--json", "governance", "load"]).arg(governed.log_file());
            run_json(load.arg("--config").arg(&config))?;
        }
        let made = run_json(
            Command::new(program("bursar")?)
                .args(["--json", "api-keys", "create", "--name", "matrix", "--config"])
                .arg(&config),
        )?;
        let key = made["apiKey"].as_str().context("no apiKey was printed")?;
        let api = Api::new(format!("http://127.0.0.1:{port}"), key)?;
        let mut process = spawn(&dir, &config, None)?;
        ready(&mut process, &api, shared.cosigners).await?;
        let orders = governed.as_ref().map_or(&api, |governed| &governed.olga);
        let view = bursar_regtest::eventually(PATIENCE, LOOK, "a wallet", || async {
            let made = orders.create_wallet("matrix", place.chain.name(), None).await;
            made.map_err(|error| format!("{error:#}"))
        })
        .await?;
        let wallet = Wallet::read(&view)?;
        let asset = api.asset(symbol(place.chain)).await?;
        let seen = Seen::default();
        let course = Course::Paid;
        let (process, last_block) = (Some(process), Instant::now());
        let (cosigners, disturbed) = (shared.cosigners, false);
        let mut lane = Self {
            place,
            shared,
            dir,
            config,
            api,
            process,
            plan: None,
            wallet,
            robbed: None,
            asset,
            seen,
            cosigners,
            last_block,
            disturbed,
            filler: None,
            course,
            governed,
        };
        lane.fund().await?;
        if let Some(governed) = &mut lane.governed {
            governed.await_endpoint().await?;
        }
        Ok(lane)
    }

    pub fn place(&self) -> &Place {
        &self.place
    }
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn governed(&mut self) -> anyhow::Result<&mut Governed> {
        self.governed.as_mut().context("the desk is governed")
    }

    /// Who orders payments calls with this.
    fn ordering(&self) -> &Api {
        self.governed.as_ref().map_or(&self.api, |governed| &governed.olga)
    }

    /// How long it may take until the last boundary of a transfer that has ended.
    const fn rest(&self) -> Duration {
        if self.governed.is_some() { GOVERNED_REST } else { SHORT_REST }
    }

    async fn fund(&mut self) -> anyhow::Result<()> {
        let Nodes { bitcoind, anvil, xrpl, .. } = self.shared.nodes;
        let address = &self.wallet.address;
        let whole = match self.place.chain {
            // A payment takes one output and gives change, so one would do; two, so that there is something to select.
            Chain::Bitcoin => {
                for _ in 0..2 {
                    bitcoind.fund(address, 1_000_000_000).await?;
                }
                "20"
            }
            Chain::Ethereum => {
                anvil.fund(address, U256::from(10).pow(U256::from(21))).await?;
                "1000"
            }
            Chain::Xrp => {
                xrpl.fund(address, 50_000_000_000).await?;
                "50000"
            }
        };
        if self.governed.is_some() {
            // It is screened once it is final; until then nothing of it can be spent.
            for _ in 0..3 {
                self.next_block().await?;
            }
            self.api.await_deposits(&self.wallet.id, 1).await?;
        }
        self.api.await_balance(&self.wallet.id, &self.asset.symbol, whole).await?;
        self.seen.funded = Amount::parse_decimal(whole, self.asset.decimals)?;
        self.seen.numbers_used = self.numbers_used().await?;
        Ok(())
    }

    /// Ends the process as a power cut does, if it still runs, and starts it again, armed with `plan`.
    pub async fn restart(&mut self, plan: Option<Plan>) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill9()?;
        }
        self.plan.clone_from(&plan);
        let soon = plan.as_ref().is_some_and(|plan| plan.from_start);
        let process = self.process.insert(spawn(&self.dir, &self.config, plan)?);
        if soon {
            // It may die before it takes requests.
            return Ok(());
        }
        ready(process, &self.api, self.cosigners).await
    }

    /// Starts it again, armed as it was, with the key that signs or without.
    async fn restart_with_signer(&mut self, there: bool) -> anyhow::Result<()> {
        self.follow(self.course)?;
        if !there {
            let mut config: toml::Table = toml::from_str(&std::fs::read_to_string(&self.config)?)?;
            config.remove("signer").context("a key signs")?;
            std::fs::write(&self.config, toml::to_string(&config)?)?;
        }
        self.restart(self.plan.clone()).await
    }

    /// From now on only so many co-signers are there.
    pub fn expect_cosigners(&mut self, cosigners: usize) {
        self.cosigners = cosigners;
    }

    /// Until the orchestrator sees all co-signers that are expected.
    pub async fn await_cosigners(&mut self) -> anyhow::Result<()> {
        let process = self.process.as_mut().context("the lane has a process")?;
        ready(process, &self.api, self.cosigners).await
    }

    /// Until it sees that one of them is gone.
    pub async fn await_cosigners_but_one(&self) -> anyhow::Result<()> {
        let expected = self.cosigners;
        bursar_regtest::eventually(PATIENCE, LOOK, "a co-signer to be missed", || async {
            let online = online(&self.api).await?;
            if online < expected { Ok(()) } else { Err(format!("{online} are online")) }
        })
        .await?;
        Ok(())
    }

    /// Waits until this co-signer dies of its plan, or the transfer has ended and the co-signer has come to rest. Whether it died.
    pub async fn cosigner_died(
        &mut self,
        id: &str,
        cosigners: &mut Cosigners,
        index: usize,
    ) -> anyhow::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        let mut ended = None;
        loop {
            let process = cosigners.process(index).context("the co-signer runs")?;
            match process.exited() {
                None => {}
                Some(status) if status.signal() == Some(SIGABRT) => return Ok(true),
                Some(status) => bail!("the co-signer ended with {status}:\n{}", process.log_tail()),
            }
            ensure!(!self.died()?, "the orchestrator died although nothing was asked of it");
            let seen = self.look(id).await;
            if matches!(&seen, Ok(look) if look.over) {
                let since = *ended.get_or_insert_with(Instant::now);
                if since.elapsed() > SHORT_REST {
                    return Ok(false);
                }
            }
            ensure!(Instant::now() < deadline, "neither died nor ended: {seen:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The orders so far, and what happened to each.
    pub fn orders(&self) -> impl Iterator<Item = (Course, IntentDigest)> {
        self.seen.payments.iter().map(|(payment, _)| (payment.course, payment.intent.digest()))
    }

    /// What happens to the payments from now on; the next start is with what that needs.
    pub fn follow(&mut self, course: Course) -> anyhow::Result<()> {
        self.course = course;
        let url = &self.store_url()?;
        let port = self.api.url.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.context("the lane has a port")?;
        let governed = self.governed.as_ref();
        let text = configuration(self.shared.config, self.place.chain, course, url, port, governed)?;
        std::fs::write(&self.config, text).with_context(|| self.config.display().to_string())
    }

    /// A signed request to a fresh recipient.
    pub async fn payment(&mut self) -> anyhow::Result<Payment> {
        let course = self.course;
        self.disturbed = false;
        self.set_up(course).await?;
        let desk = match &self.governed {
            Some(governed) => Some(governed.people()?.standing()?),
            None => None,
        };
        let wallet = self.paying();
        let payment = Payment::new(
            course,
            self.place.chain,
            &wallet.id,
            &self.asset,
            wallet.descriptor,
            (self.shared.initiator, desk.as_ref()),
            self.seen.fee,
        )?;
        if let Some(governed) = &mut self.governed {
            governed.now = governed::Now::default();
            let mut heard = governed.outside.heard();
            heard.holds_deposits = course == Course::Deposited;
            if course.is_held() {
                heard.held.insert(payment.recipient.clone());
            }
        }
        Ok(payment)
    }

    /// Asks until there is an answer, and gives the transfer's id; `None` when the process died of its plan before it gave one.
    pub async fn submit(&mut self, payment: &Payment) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + PATIENCE;
        let request = &payment.request;
        loop {
            let answer: Result<Value, ClientError> =
                self.ordering().client.post_once("/v1/transfers", &request.external_id, request).await;
            let error = match answer {
                Ok(transfer) => return text(&transfer, "id").map(Some),
                Err(ClientError::Refused { status, problem }) if status.is_client_error() => {
                    bail!("refused: {problem}")
                }
                Err(error) => error,
            };
            if self.died()? {
                return Ok(None);
            }
            ensure!(Instant::now() < deadline, "no answer to the request: {error}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the process has died of its plan. Any other end is an error.
    fn died(&mut self) -> anyhow::Result<bool> {
        let process = self.process.as_mut().context("the lane has a process")?;
        match process.exited() {
            None => Ok(false),
            Some(status) if status.signal() == Some(SIGABRT) && process.log_tail().contains("dying ") => {
                Ok(true)
            }
            Some(status) => bail!("the orchestrator ended with {status}:\n{}", process.log_tail()),
        }
    }

    /// Waits until the process dies of its plan, or the transfer has ended and the process has come to rest. Whether it died.
    pub async fn died_or_ended(&mut self, id: &str) -> anyhow::Result<bool> {
        self.died_within(id, self.rest()).await
    }

    /// Until the process has had the time to come to the last boundary of a transfer that has ended.
    pub async fn come_to_rest(&mut self, id: &str) -> anyhow::Result<()> {
        ensure!(!self.died_within(id, REST).await?, "an unarmed process died");
        Ok(())
    }

    async fn died_within(&mut self, id: &str, rest: Duration) -> anyhow::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        let mut ended = None;
        loop {
            if self.died()? {
                return Ok(true);
            }
            let seen = self.look(id).await;
            if matches!(&seen, Ok(look) if look.over) {
                let since = *ended.get_or_insert_with(Instant::now);
                if since.elapsed() > rest {
                    return Ok(false);
                }
            }
            ensure!(Instant::now() < deadline, "neither died nor ended: {seen:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the transfer has ended as it must, and checks that its recipient has what is due and its history is in order.
    pub async fn ended(&mut self, id: &str, payment: Payment) -> anyhow::Result<()> {
        let course = payment.course;
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            // Its plan is for the next case, which has not begun.
            ensure!(!self.died()?, "the process died although nothing was asked of it");
            let seen = self.look(id).await;
            match &seen {
                Ok(look) if look.over => break look.status.clone(),
                Ok(look) if course.ends().contains(&look.status.as_str()) => {}
                Ok(look) if look.status.parse::<Status>().is_ok_and(Status::is_terminal) => {
                    bail!("transfer {id} ended as {}: {}", look.status, self.api.transfer(id).await?)
                }
                _ => {}
            }
            if Instant::now() > deadline {
                bail!("transfer {id} has not ended: {seen:?}: {:?}", self.api.transfer(id).await);
            }
            tokio::time::sleep(LOOK).await;
        };
        let transfer = self.api.transfer(id).await?;
        payment.check_history(&transfer)?;
        if let Some(tx_id) = self.governed.as_mut().and_then(|governed| governed.now.deposit.take()) {
            self.seen.deposits.push(tx_id);
        }
        self.check_paid(&payment, &end).await?;
        let due = payment.due(&end);
        let fee = transfer["transaction"]["fee"].as_str().filter(|_| !due.is_zero()).unwrap_or("0");
        let fee = Amount::parse_decimal(fee, self.asset.decimals)?;
        let spent = Amount(due).checked_add(fee).and_then(|spent| self.seen.spent.checked_add(spent));
        self.seen.spent = spent.context("payments are small")?;
        self.seen.payments.push((payment, end));
        self.clear_up(course).await
    }

    /// Each recipient has what is due and no more.
    async fn check_paid(&self, payment: &Payment, end: &str) -> anyhow::Result<()> {
        let recalled = payment.recalled.iter().map(|address| (address, U256::ZERO));
        for (address, due) in recalled.chain([(&payment.recipient, payment.due(end))]) {
            let has = self.balance(address).await?;
            ensure!(has == due, "{address} was to get {due}, and has {has}");
        }
        Ok(())
    }

    /// At the end of all cases: some blocks later everyone still has what is due and no more, there is one transfer for each
    /// request and one chain transaction for each transfer, and nothing stays reserved.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        self.restart(None).await?;
        for _ in 0..3 {
            self.next_block().await?;
        }
        for (payment, end) in &self.seen.payments {
            let Payment { request, course, .. } = payment;
            self.check_paid(payment, end).await?;
            let query = [("externalId", request.external_id.clone())];
            let page: Value = self.api.client.get("/v1/transfers", &query).await?;
            let items = page["items"].as_array().context("a page has items")?;
            ensure!(items.len() == 1 && items[0]["status"] == **end, "{}: {page}", request.external_id);
            if let Some(governed) = &self.governed {
                let id = text(&items[0], "id")?;
                let due: &[String] = if *course == Course::Told { &[format!("{id}:1")] } else { &[] };
                let told = governed.told_of(&id);
                ensure!(
                    told == due,
                    "{course:?}: the other institution was told {told:?}, and {due:?} was due"
                );
            }
        }
        // Whatever was paid, replaced, cancelled on chain or filled took one nonce or Sequence, and no other.
        let due: u64 = self.seen.payments.iter().map(|(payment, _)| payment.course.numbers_used()).sum();
        let used = self.numbers_used().await? - self.seen.numbers_used;
        match self.place.chain {
            // Outputs are not counted; that none is reserved any more is seen below.
            Chain::Bitcoin => {}
            _ => ensure!(
                used == due,
                "{used} numbers of {} were used, and {due} were due",
                self.wallet.address
            ),
        }
        for wallet in [&self.wallet].into_iter().chain(&self.robbed) {
            let balances: Value =
                self.api.client.get(&format!("/v1/wallets/{}/balances", wallet.id), &[]).await?;
            for item in balances["items"].as_array().context("a page has items")? {
                let reserved = item["reserved"].as_str().unwrap_or("0");
                ensure!(reserved == "0", "{reserved} stays reserved: {balances}");
            }
        }
        if self.governed.is_some() {
            self.settle_desk().await?;
        }
        if let Some(process) = self.process.take() {
            let status = process.stop(Duration::from_secs(20)).await?;
            ensure!(status.success(), "the orchestrator ended with {status}");
        }
        if self.governed.is_some() {
            let counts = |(payment, _): &&(Payment, String)| payment.course != Course::TurnedDown;
            let due = self.seen.payments.iter().filter(counts).count() as u64;
            let counted = governed::counted(&self.store_url()?, self.wallet.descriptor).await?;
            ensure!(counted == Some(Amount::from_u64(due)), "{counted:?} transfers of {due} count");
        }
        Ok(())
    }

    /// What came in is booked once and can be spent once, nobody keeps anything back, and every event was told.
    async fn settle_desk(&self) -> anyhow::Result<()> {
        for tx_id in &self.seen.deposits {
            let deposit = self.deposit(tx_id).await?.with_context(|| format!("{tx_id} was not booked"))?;
            let let_go = deposit["status"] == "COMPLETED" && deposit["disposition"] == "RELEASE";
            ensure!(let_go, "held still: {deposit}");
        }
        let symbol = &self.asset.symbol;
        let books = self.api.balance(&self.wallet.id, symbol).await?;
        let books = Amount::parse_decimal(&books, self.asset.decimals)?;
        let owned = match self.place.chain {
            // Its change is at addresses of its own.
            Chain::Bitcoin => {
                let came = self.seen.funded.checked_add(self.seen.deposited);
                came.and_then(|came| came.checked_sub(self.seen.spent)).context("it paid what it had")?
            }
            Chain::Ethereum | Chain::Xrp => Amount(self.balance(&self.wallet.address).await?),
        };
        ensure!(books == owned, "the books have {books}, and the wallet {owned}");
        self.api.await_balance(&self.wallet.id, symbol, &owned.to_decimal(self.asset.decimals)).await?;
        let governed = self.governed.as_ref().context("the desk is governed")?;
        governed.await_events(&self.api).await
    }

    /// Of its database.
    fn store_url(&self) -> anyhow::Result<String> {
        let config: toml::Table = toml::from_str(&std::fs::read_to_string(&self.config)?)?;
        Ok(config["store"]["url"].as_str().context("the lane has a store")?.to_owned())
    }

    /// What the chain says that an address has, in the smallest unit.
    async fn balance(&self, address: &str) -> anyhow::Result<U256> {
        let Nodes { bitcoind, anvil, xrpl, .. } = self.shared.nodes;
        Ok(match self.place.chain {
            Chain::Bitcoin => U256::from(bitcoind.balance(address).await?),
            Chain::Ethereum => anvil.balance(address).await?,
            Chain::Xrp => match xrpl.balance(address).await {
                Ok(drops) => U256::from(drops),
                // The account that the payment was to create.
                Err(error) if error.to_string().contains("actNotFound") => U256::ZERO,
                Err(error) => return Err(error.into()),
            },
        })
    }

    /// The next nonce or Sequence of the paying account, as its node says: one for each transaction that was ever final.
    async fn numbers_used(&self) -> anyhow::Result<u64> {
        let Nodes { anvil, xrpl, .. } = self.shared.nodes;
        let address = &self.wallet.address;
        match self.place.chain {
            Chain::Bitcoin => Ok(0),
            Chain::Ethereum => {
                let count = anvil.call("eth_getTransactionCount", json!([address, "latest"])).await?;
                let text = count.as_str().context("a nonce is a string")?;
                Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
            }
            Chain::Xrp => {
                let params = json!({ "account": address, "ledger_index": "validated" });
                let info = xrpl.call("account_info", params).await?;
                info["account_data"]["Sequence"].as_u64().context("an account has a Sequence")
            }
        }
    }
}

/// A folder that is there, and a port for its process.
fn folder(dir: &Path) -> anyhow::Result<(PathBuf, u16)> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok((dir.canonicalize()?, free_port()?))
}

fn symbol(chain: Chain) -> &'static str {
    match chain {
        Chain::Bitcoin => "BTC",
        Chain::Ethereum => "ETH",
        Chain::Xrp => "XRP",
    }
}

/// The shared configuration, cut down to one chain, with the lane's store and port, and quick enough for many short lives.
fn configuration(
    shared: &Path,
    chain: Chain,
    course: Course,
    url: &str,
    port: u16,
    governed: Option<&Governed>,
) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(shared).with_context(|| shared.display().to_string())?;
    let mut config: toml::Table = toml::from_str(&text)?;
    for other in Chain::ALL.into_iter().filter(|other| *other != chain) {
        config.remove(other.name());
    }
    config.insert("store".into(), toml::toml! { url = url }.into());
    config.insert(
        "api".into(),
        toml::Table::from_iter([("listen".into(), format!("127.0.0.1:{port}").into())]).into(),
    );
    let engine = toml::toml! {
        retry_ms = 200
        rebroadcast_ms = 1000
        sweep_ms = 1000
        // A dead process's jobs are free after this.
        lease_ms = 600
        queue_poll_ms = 50
    };
    let mut engine = engine;
    if course == Course::Refused {
        // A lease that a slow machine loses is asked about again, and a refusal ends only what nobody was asked about before.
        engine.insert("lease_ms".into(), 5000.into());
    }
    if course == Course::GivenUp {
        // What is lost in signing is given up so long after its order has expired.
        engine.insert("package_lifetime_ms".into(), 2000.into());
    }
    config.insert("engine".into(), engine.into());
    let section = config.get_mut(chain.name()).and_then(toml::Value::as_table_mut);
    let section = section.with_context(|| format!("no [{chain}]"))?;
    section.insert("poll_ms".into(), 40.into());
    section.extend(course.configuration(chain));
    if let Some(governed) = governed {
        governed.configure(course, &mut config)?;
    }
    Ok(toml::to_string(&config)?)
}

fn spawn(dir: &Path, config: &Path, plan: Option<Plan>) -> anyhow::Result<Process> {
    let mut bursar = Command::new(program("bursar")?);
    bursar.arg("serve").arg("--config").arg(config).env_remove(bursar_crash::VARIABLE);
    if let Some(plan) = plan {
        bursar.env(bursar_crash::VARIABLE, plan.to_string());
    }
    Ok(Process::spawn("bursar serve", bursar, dir.join("bursar.log"))?)
}

/// How many co-signers the orchestrator sees.
async fn online(api: &Api) -> Result<usize, String> {
    let status = api.status().await.map_err(|error| format!("{error:#}"))?;
    let parties = status["coSigners"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(parties.iter().filter(|party| party["online"] == true).count())
}

/// Until it takes requests and its signer has keys.
async fn ready(process: &mut Process, api: &Api, cosigners: usize) -> anyhow::Result<()> {
    let url = format!("{}/ready", api.url);
    let check = || async {
        let response = api.http.get(&url).send().await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()));
        }
        if cosigners > 0 {
            let online = online(api).await?;
            if online < cosigners {
                return Err(format!("{online} of {cosigners} co-signers online"));
            }
        }
        Ok(())
    };
    Ok(process.wait_ready(PATIENCE, check).await?)
}
