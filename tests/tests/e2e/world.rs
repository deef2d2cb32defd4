//! One environment for one test, with keys that were generated once.

use anyhow::Context as _;
use bursar_signer::store::Store;
use bursar_tests::{
    Environment, Options, environment, environment::Nodes, faults::Faults, orchestrator::Urls,
};
use sqlx::{Connection as _, Row as _};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

pub use bursar_tests::{
    miner::Miner,
    waiting::{PATIENCE, completed, passed_through, text, until},
    wallet::Wallet,
};

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
        drop(Store::create(&party?.path().join("state.redb"))?);
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
    Urls { bitcoin, ethereum, ..Urls::default() }
}

/// What somebody does who has the orchestrator's database; how many rows it changed.
pub async fn meddle(environment: &Environment, sql: &str) -> anyhow::Result<u64> {
    let mut connection = database(environment).await?;
    let done = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
    connection.close().await?;
    Ok(done.rows_affected())
}

/// What such a one reads: the first column of the first row, which is text.
pub async fn look(environment: &Environment, sql: &str) -> anyhow::Result<String> {
    let mut connection = database(environment).await?;
    let row = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(row.try_get(0)?)
}

async fn database(environment: &Environment) -> anyhow::Result<sqlx::AnyConnection> {
    let config: toml::Value = toml::from_str(&fs::read_to_string(environment.orchestrator.config())?)?;
    let url = config["store"]["url"].as_str().context("store.url")?;
    sqlx::any::install_default_drivers();
    Ok(sqlx::AnyConnection::connect(url).await?)
}

/// Starts the orchestrator again, with a wall clock and a database's folder that do what [`faults`] says.
pub async fn start_with_faults(environment: &mut Environment) -> anyhow::Result<()> {
    let orchestrator = &mut environment.orchestrator;
    orchestrator.kill9()?;
    orchestrator.faults = Some(Faults::prepare(&environment.options.dir, &orchestrator.data())?);
    orchestrator.start().await
}

pub fn faults(environment: &Environment) -> anyhow::Result<&Faults> {
    environment.orchestrator.faults.as_ref().context("it was started without")
}

pub fn scratch() -> PathBuf {
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
