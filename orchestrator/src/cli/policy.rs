//! The policy, tried out.

use super::{
    Connection,
    governance::{Signing, files, propose},
    output::Output,
};
use anyhow::Context as _;
use bursar_domain::{governance::change::Change, ids::TransferId};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub enum Policy {
    /// What is wrong with a draft, and what it would change in the policy in force.
    Diff {
        /// The draft in JSON or TOML.
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
    /// Propose a draft. A second person signs it (`governance sign`), and after its delay it is enacted.
    Publish {
        /// The draft in JSON or TOML.
        file: PathBuf,
        #[command(flatten)]
        signing: Signing,
    },
    /// Which rules would fire for a transfer, who would have to approve it, and why. Nothing is kept.
    Simulate {
        /// The request in JSON, as for POST /v1/transfers, with `initiator` and without signature.
        file: PathBuf,
        /// A draft in JSON; the policy in force when absent.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// What a screening would say: LOW, MEDIUM, HIGH, SEVERE or UNKNOWN.
        #[arg(long)]
        risk: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Which transfers of the last days a draft would have decided in another way.
    Backtest {
        /// The draft in JSON.
        file: PathBuf,
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// `next` of the page before.
        #[arg(long)]
        after: Option<TransferId>,
        /// 1 to 200.
        #[arg(long)]
        limit: Option<u32>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Why a transfer was decided as it was.
    Explain {
        /// Transfer id.
        transfer: TransferId,
        #[command(flatten)]
        connection: Connection,
    },
}

pub async fn run(command: Policy, output: Output) -> anyhow::Result<()> {
    let found: Value = match command {
        Policy::Diff { file, connection } => {
            let body = json!({ "policy": files::read::<Value>(&file)? });
            connection.client()?.post("/v1/policy/validate", &body).await?
        }
        Policy::Publish { file, signing } => {
            let change = Change::SetPolicy { policy: files::read(&file)? };
            return propose(change, &signing, output).await;
        }
        Policy::Simulate { file, policy, risk, connection } => {
            let policy = policy.map(|policy| read(&policy)).transpose()?;
            let body = json!({ "transfer": read(&file)?, "policy": policy, "risk": risk });
            connection.client()?.post("/v1/policy/simulate", &body).await?
        }
        Policy::Backtest { file, days, after, limit, connection } => {
            let body = json!({ "policy": read(&file)?, "days": days, "after": after, "limit": limit });
            connection.client()?.post("/v1/policy/backtest", &body).await?
        }
        Policy::Explain { transfer, connection } => {
            connection.client()?.get(&format!("/v1/transfers/{transfer}/explanation"), &[]).await?
        }
    };
    output.value(&found);
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))
}
