//! The audit log: written to a file, and verified from nothing but that file and public keys.

mod export;
mod verify;

pub use verify::{Tampered, Unconfirmed};

use super::{ConfigFile, output::Output};
use crate::{
    api::audited,
    compose::{SystemClock, open_store},
    config::Config,
};
use bursar_domain::time::Clock as _;
use bursar_store::{Store, audit_log, events};
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Write the log with its chain, checkpoints and the governance log to a file (needs the database, not the API).
    Export(export::Export),
    /// Verify such a file: needs the file and the co-signers' audit keys (`bursar-signer status`), and nothing else.
    Verify(verify::Verify),
    /// How far the log is chained, and who has signed it.
    Status {
        #[command(flatten)]
        file: ConfigFile,
    },
}

pub async fn run(command: Audit, output: Output) -> anyhow::Result<()> {
    match command {
        Audit::Export(command) => export::run(command, output).await,
        Audit::Verify(command) => verify::run(&command, output),
        Audit::Status { file } => status(&file, output).await,
    }
}

async fn open(file: &ConfigFile, said: &str) -> anyhow::Result<(Config, Store)> {
    let config = Config::load(&file.config)?;
    let store = open_store(&config).await?;
    Ok((config, store.acting(audited::command(said, SystemClock.now()))))
}

async fn status(file: &ConfigFile, output: Output) -> anyhow::Result<()> {
    let (config, store) = open(file, "bursar audit status").await?;
    let sealed = audit_log::last_seal(&store).await?;
    let parties = config.relay.iter().flat_map(|relay| &relay.parties);
    let mut items = Vec::new();
    for party in parties {
        let signed = audit_log::signed_by(&store, bursar_domain::signing::PartyIndex(party.index)).await?;
        items.push(json!({
            "party": party.index,
            "name": party.name,
            "signedUpTo": signed.map(|checkpoint| checkpoint.sequence),
            "hash": signed.map(|checkpoint| checkpoint.hash),
            "checkpointAt": signed.map(|checkpoint| crate::api::wire::time(checkpoint.at)),
        }));
    }
    let newest = audit_log::checkpoint_up_to(&store, u64::MAX).await?;
    output.value(&json!({
        "entries": events::last(&store).await?,
        "chainedUpTo": sealed.sequence,
        "hash": sealed.hash,
        "newestCheckpoint": newest.map(|checkpoint| checkpoint.sequence),
        "parties": items,
    }));
    Ok(())
}
