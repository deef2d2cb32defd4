//! What the programs of this crate share.

use crate::environment::Nodes;
use std::{convert::Infallible, future::Future, path::Path, process::ExitCode, time::Duration};

/// Progress goes to standard error, so that `--json` leaves standard output clean.
pub fn say(text: &str) {
    eprintln!("{text}");
}

/// Runs `work` to its end; a failure is told with the place of the logs.
pub fn run(dir: &Path, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let result = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(work));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!(
                "\nerror: {error:#}\nLogs are below {}; removing that folder starts from nothing.",
                dir.display()
            ));
            ExitCode::FAILURE
        }
    }
}

/// A Bitcoin block after each pause, until dropped. (The other two nodes make their own.)
pub async fn mine(nodes: &Nodes, pause: Duration) -> anyhow::Result<Infallible> {
    loop {
        tokio::time::sleep(pause).await;
        nodes.bitcoind.mine(1).await?;
    }
}
