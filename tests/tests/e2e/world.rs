//! One environment for one test, with keys that were generated once.

use alloy::primitives::U256;
use anyhow::Context as _;
use bursar::intake::{PaymentRequest, TransferRequest};
use bursar_domain::{amount::Amount, lifecycle::Status};
use bursar_regtest::{
    Bitcoind,
    rpc::{Dialect, RpcClient},
};
use bursar_signer::store::Store;
use bursar_tests::{
    Environment, Options, environment,
    environment::Nodes,
    initiator::{descriptor, request},
    orchestrator::Urls,
    recipients::{self, BitcoinType},
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long one payment may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// What a test ends with: its causes, without a backtrace through the runtime.
pub struct Failure(anyhow::Error);

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

pub type Verdict = Result<(), Failure>;

/// Runs a test in a fresh environment, and stops it in order. What failed is left in its folder.
pub async fn run(name: &str, test: impl AsyncFnOnce(&mut Environment) -> anyhow::Result<()>) -> Verdict {
    let (options, nodes) = prepare(name).await?;
    run_on(options, nodes, test).await
}

/// A fresh folder with keys, and nodes in it.
pub async fn prepare(name: &str) -> anyhow::Result<(Options, Nodes)> {
    prepare_with(name, |_| {}).await
}

/// The same with other options.
pub async fn prepare_with(name: &str, change: impl FnOnce(&mut Options)) -> anyhow::Result<(Options, Nodes)> {
    environment::install_tls();
    let keys = keys().await?;
    let dir = scratch().join(name);
    remove(&dir)?;
    for (from, to) in files_of(&keys)? {
        let to = dir.join(to);
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    for party in fs::read_dir(dir.join("cosigners"))? {
        drop(Store::open(&party?.path().join("state.redb"))?);
    }
    let mut options = Options::new(&dir);
    change(&mut options);
    let nodes = Nodes::start(&options).await?;
    Ok((options, nodes))
}

pub async fn run_on(
    options: Options,
    nodes: Nodes,
    test: impl AsyncFnOnce(&mut Environment) -> anyhow::Result<()>,
) -> Verdict {
    let dir = options.dir.clone();
    let explained = || format!("logs are in {}", dir.display());
    let mut environment = Environment::start_on(options, nodes).await.with_context(explained)?;
    test(&mut environment).await.with_context(explained)?;
    environment.stop().await.with_context(explained)?;
    Ok(remove(&dir)?)
}

pub fn urls(bitcoin: Option<String>, ethereum: Option<String>) -> Urls {
    Urls { bitcoin, ethereum, xrp: None }
}

fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e")
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The folder of an environment whose co-signers generated keys; made by the first test that comes here.
async fn keys() -> anyhow::Result<PathBuf> {
    // Another version may keep its shares in another way.
    let dir = scratch().join(concat!("keys-", env!("CARGO_PKG_VERSION")));
    fs::create_dir_all(&dir)?;
    // Released when dropped, also by a crash.
    let lock = File::create(dir.join("lock"))?;
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;
    let made = dir.join("made");
    if !made.exists() {
        let environment = dir.join("environment");
        remove(&environment)?;
        Environment::start(Options::new(&environment)).await?.stop().await?;
        fs::write(&made, "")?;
    }
    drop(lock);
    Ok(dir.join("environment"))
}

/// What is the same in each environment: identities, shares, the initiator's key. A co-signer's memory of what it signed is not:
/// external ids of one environment mean nothing in another, so each begins with an empty one.
fn files_of(keys: &Path) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let mut relative =
        vec![PathBuf::from("orchestrator/relay.key"), PathBuf::from("initiator/initiator.pem")];
    for party in fs::read_dir(keys.join("cosigners"))? {
        let party = Path::new("cosigners").join(party?.file_name());
        relative.push(party.join("identity.key"));
        for share in fs::read_dir(keys.join(&party).join("shares"))? {
            relative.push(party.join("shares").join(share?.file_name()));
        }
    }
    Ok(relative.into_iter().map(|file| (keys.join(&file), file)).collect())
}

/// A Bitcoin block now and then, until dropped. (The other two nodes make their own.)
pub struct Miner(JoinHandle<()>);

impl Miner {
    pub fn start(bitcoind: &Bitcoind) -> anyhow::Result<Self> {
        let credentials = Some((bitcoind.rpc_user(), bitcoind.rpc_password()));
        let node = RpcClient::new(bitcoind.rpc_url(), Dialect::JsonRpc, credentials)?;
        let miner = recipients::bitcoin(BitcoinType::P2wpkh);
        Ok(Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                if let Err(error) = node.call("generatetoaddress", json!([1, miner])).await {
                    eprintln!("the miner stops: {error}");
                    return;
                }
            }
        })))
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A wallet as the API shows it.
pub struct Wallet {
    pub view: Value,
    pub id: String,
    pub address: String,
}

impl Wallet {
    pub async fn create(environment: &Environment, chain: &str, kind: Option<&str>) -> anyhow::Result<Self> {
        let view = environment.api.create_wallet(&format!("e2e {chain}"), chain, kind).await?;
        Ok(Self { id: text(&view, "id")?, address: text(&view, "address")?, view })
    }

    /// A Bitcoin wallet with one output of so many satoshi at each of so many addresses.
    pub async fn bitcoin(
        environment: &Environment,
        kind: Option<&str>,
        deposits: &[u64],
    ) -> anyhow::Result<Self> {
        let wallet = Self::create(environment, "bitcoin", kind).await?;
        let mut address = wallet.address.clone();
        for satoshi in deposits {
            environment.nodes.bitcoind.fund(&address, *satoshi).await?;
            address = environment.api.create_address(&wallet.id).await?;
        }
        let total: u64 = deposits.iter().sum();
        let total = Amount(U256::from(total)).to_decimal(8);
        environment.api.await_balance(&wallet.id, "BTC", &total).await?;
        Ok(wallet)
    }

    /// An Ethereum wallet with so many whole ETH and tokens.
    pub async fn ethereum(environment: &Environment, ether: u64, tokens: u64) -> anyhow::Result<Self> {
        let wallet = Self::create(environment, "ethereum", None).await?;
        let Environment { nodes, api, .. } = environment;
        let wei = U256::from(ether) * U256::from(10).pow(U256::from(18));
        nodes.anvil.fund(&wallet.address, wei).await?;
        nodes.anvil.mint(&nodes.token, &wallet.address, U256::from(tokens * 1_000_000)).await?;
        api.await_balance(&wallet.id, "ETH", &ether.to_string()).await?;
        api.await_balance(&wallet.id, environment::TOKEN, &tokens.to_string()).await?;
        Ok(wallet)
    }

    /// An XRP wallet with so many whole XRP.
    pub async fn xrp(environment: &Environment, kind: Option<&str>, whole: u64) -> anyhow::Result<Self> {
        let wallet = Self::create(environment, "xrp", kind).await?;
        environment.nodes.xrpl.fund(&wallet.address, whole * 1_000_000).await?;
        environment.api.await_balance(&wallet.id, "XRP", &whole.to_string()).await?;
        Ok(wallet)
    }

    /// A signed request for payments of `asset` out of this wallet.
    pub async fn request(
        &self,
        environment: &Environment,
        asset: &str,
        payments: Vec<PaymentRequest>,
    ) -> anyhow::Result<TransferRequest> {
        let unsigned = request(&self.id, asset, payments, max_fee(asset))?;
        self.sign(environment, unsigned).await
    }

    pub async fn sign(
        &self,
        environment: &Environment,
        request: TransferRequest,
    ) -> anyhow::Result<TransferRequest> {
        let info = environment.api.asset(&request.asset).await?;
        environment.initiator.sign(request, descriptor(&self.view)?, &info)
    }

    /// Asks for a payment; the transfer's id.
    pub async fn pay(
        &self,
        environment: &Environment,
        asset: &str,
        payments: Vec<PaymentRequest>,
    ) -> anyhow::Result<String> {
        let signed = self.request(environment, asset, payments).await?;
        let created: Value =
            environment.api.client.post_once("/v1/transfers", &signed.external_id, &signed).await?;
        text(&created, "id")
    }
}

/// A generous cap on the network fee that the co-signers still allow.
fn max_fee(asset: &str) -> &'static str {
    match asset {
        "BTC" => "0.001",
        "XRP" => "0.01",
        _ => "0.01",
    }
}

pub async fn completed(environment: &Environment, id: &str) -> anyhow::Result<Value> {
    environment.api.await_status(id, Status::Completed, PATIENCE).await
}

pub fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    Ok(value[name].as_str().with_context(|| format!("{name} is missing in {value}"))?.to_owned())
}

/// Whether the transfer's timeline has an entry with this status or sub-status.
pub fn passed_through(transfer: &Value, word: &str) -> bool {
    transfer["timeline"].as_array().is_some_and(|entries| {
        entries.iter().any(|entry| entry["status"] == word || entry["subStatus"] == word)
    })
}

/// Until `look` gives a value; `Err` is the state seen.
pub async fn until<T, F: Future<Output = anyhow::Result<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let found = bursar_regtest::eventually(PATIENCE, Duration::from_millis(100), what, || {
        let looking = look();
        async move { looking.await.map_err(|error| format!("{error:#}")) }
    });
    Ok(found.await?)
}
