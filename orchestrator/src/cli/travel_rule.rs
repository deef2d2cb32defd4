//! What the institution at the other end is told of a transfer.

use super::{Connection, output::Output};
use anyhow::Context as _;
use bursar_domain::ids::TransferId;
use bursar_workers::travel_rule::vault::VaultKey;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum TravelRule {
    /// Make the key that what is handed in is encrypted for. Keep a copy: without it the data is lost.
    Key {
        /// File to write; what is there is not overwritten.
        #[arg(long)]
        out: PathBuf,
    },
    /// How far it is with a transfer.
    Show {
        /// Transfer id.
        transfer: TransferId,
        #[command(flatten)]
        connection: Connection,
    },
    /// See what was handed in. Each look is an event.
    Disclose {
        /// Transfer id.
        transfer: TransferId,
        #[command(flatten)]
        connection: Connection,
    },
    /// Hand in who pays and who is paid: IVMS101, as docs/travel-rule.md describes.
    Put {
        /// Transfer id.
        transfer: TransferId,
        /// JSON.
        file: PathBuf,
        #[command(flatten)]
        connection: Connection,
    },
    /// Note what the other side said, where people told it.
    Outcome {
        /// Transfer id.
        transfer: TransferId,
        /// It refuses the transfer.
        #[arg(long)]
        rejected: bool,
        /// Of the data that it was told, as `show` gives it.
        #[arg(long)]
        round: u32,
        /// What names its answer, in its records or in yours: 1 to 100 visible ASCII characters without spaces.
        #[arg(long)]
        reference: String,
        #[command(flatten)]
        connection: Connection,
    },
}

pub async fn run(command: TravelRule, output: Output) -> anyhow::Result<()> {
    let shown: Value = match command {
        TravelRule::Key { out } => {
            let key = VaultKey::create(&out)?;
            json!({ "file": out, "publicKey": key.name() })
        }
        TravelRule::Show { transfer, connection } => {
            connection.client()?.get(&format!("/v1/transfers/{transfer}/travel-rule"), &[]).await?
        }
        TravelRule::Disclose { transfer, connection } => {
            let path = format!("/v1/transfers/{transfer}/travel-rule/disclosures");
            connection.client()?.post(&path, &json!({})).await?
        }
        TravelRule::Put { transfer, file, connection } => {
            let text =
                zeroize::Zeroizing::new(std::fs::read(&file).with_context(|| file.display().to_string())?);
            let body: Value = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
            let path = format!("/v1/transfers/{transfer}/travel-rule");
            connection.client()?.put(&path, &body).await?
        }
        TravelRule::Outcome { transfer, rejected, round, reference, connection } => {
            let body = json!({ "accepted": !rejected, "round": round, "reference": reference });
            let path = format!("/v1/transfers/{transfer}/travel-rule/outcome");
            connection.client()?.post(&path, &body).await?
        }
    };
    output.value(&shown);
    Ok(())
}
