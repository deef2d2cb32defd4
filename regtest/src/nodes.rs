use std::path::Path;
use std::time::Duration;

use bursar_regtest::{
    Anvil, AnvilOptions, Bitcoind, Mining, RegtestError, StartOptions, XrpLedger, XrpLedgerOptions,
};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

/// Ports to pin; `None` takes a free one.
pub struct Ports {
    pub bitcoind: Option<u16>,
    pub anvil: Option<u16>,
    pub xrpl: Option<u16>,
}

/// All local nodes.
pub struct Nodes {
    bitcoind: Bitcoind,
    anvil: Anvil,
    xrpl: XrpLedger,
}

impl Nodes {
    /// Starts the three at the same time, each in a folder of its own under `data_dir`.
    pub async fn start(
        data_dir: &Path,
        ports: Ports,
        mining: Mining,
        closing_every: Duration,
    ) -> Result<Self, RegtestError> {
        let bitcoind = StartOptions { port: ports.bitcoind, ..StartOptions::new(data_dir.join("bitcoind")) };
        let anvil = AnvilOptions { port: ports.anvil, mining, ..AnvilOptions::new(data_dir.join("anvil")) };
        let xrpl = XrpLedgerOptions::new(data_dir.join("xrpl")).closing_every(closing_every);
        let xrpl = XrpLedgerOptions { port: ports.xrpl, ..xrpl };
        let (bitcoind, anvil, xrpl) =
            tokio::try_join!(Bitcoind::start(bitcoind), Anvil::start(anvil), XrpLedger::start(xrpl))?;
        Ok(Self { bitcoind, anvil, xrpl })
    }

    pub fn print(&self, json: bool) {
        let credentials = (self.bitcoind.rpc_user(), self.bitcoind.rpc_password());
        print("bitcoind", self.bitcoind.rpc_url(), Some(credentials), json);
        print("anvil", self.anvil.rpc_url(), None, json);
        print("xrpl", self.xrpl.rpc_url(), None, json);
    }

    /// Ends all in order.
    pub async fn stop(self) -> Result<(), RegtestError> {
        tokio::try_join!(self.bitcoind.stop(), self.anvil.stop(), self.xrpl.stop()).map(|_| ())
    }
}

/// One line on standard output about a node that is ready. The credentials are published constants of local nodes.
pub fn print(name: &str, url: &str, credentials: Option<(&str, &str)>, json: bool) {
    let (user, password) = credentials.unzip();
    if json {
        println!("{}", json!({ "node": name, "rpcUrl": url, "user": user, "password": password }));
    } else {
        let login = credentials.map(|(user, password)| format!(" (user {user}, password {password})"));
        println!("{name:<9} {url}{}", login.unwrap_or_default());
    }
}

/// Returns on Ctrl-C or SIGTERM.
pub async fn wait_for_end(json: bool) -> std::io::Result<()> {
    if !json {
        println!("ready; Ctrl-C ends it");
    }
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}
