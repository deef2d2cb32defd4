//! `bursar-signer status`: from the store, or while the daemon holds it, from what the daemon last wrote.

use super::Common;
use bursar_domain::{audit::checkpoint::Checkpoint, governance::log::Head, time::Timestamp};
use bursar_signer::{
    audit,
    daemon::Cosigner,
    store::{LocalFreeze, RecordedRefusal, SeenEntry, Store, StoreError},
    vault::{public_keys, write_private},
};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

#[derive(Args)]
pub struct Status {
    #[command(flatten)]
    common: Common,
}

/// What the store tells.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    /// Microseconds since the epoch; absent when read from the store itself.
    written_at: Option<Timestamp>,
    sessions_burnt: u64,
    counters: BTreeMap<String, u64>,
    last_refusals: Vec<RecordedRefusal>,
    #[serde(default)]
    governance_head: Option<Head>,
    #[serde(default)]
    frozen_here: Option<LocalFreeze>,
    /// The last audit checkpoint that it signed.
    #[serde(default)]
    audit_checkpoint: Option<Checkpoint>,
    /// Checkpoints that contradicted it.
    #[serde(default)]
    audit_contradictions: usize,
    /// Payments that wait for a person.
    #[serde(default)]
    pending: usize,
}

const FILE: &str = "status.json";
const REFUSALS: usize = 10;

impl Snapshot {
    fn of(store: &Store, written_at: Option<Timestamp>) -> Result<Self, StoreError> {
        Ok(Self {
            written_at,
            sessions_burnt: store.sessions()?,
            counters: store.counters()?.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            last_refusals: store.refusals(REFUSALS)?,
            governance_head: store.governance()?.last().and_then(head),
            frozen_here: store.local_freeze()?,
            audit_checkpoint: store.last_checkpoint()?,
            audit_contradictions: store.contradictions()?.len(),
            pending: store.confirmations()?.iter().filter(|one| one.is_open()).count(),
        })
    }
}

fn head(seen: &SeenEntry) -> Option<Head> {
    Some(Head { seq: seen.entry.read().ok()?.seq, digest: seen.entry.digest() })
}

pub fn write_snapshot(cosigner: &Cosigner, dir: &Path) -> anyhow::Result<()> {
    let snapshot = Snapshot::of(&cosigner.store, Some(cosigner.clock.now()))?;
    Ok(write_private(&dir.join(FILE), &serde_json::to_vec_pretty(&snapshot)?)?)
}

impl Status {
    pub fn run(self) -> anyhow::Result<()> {
        let dir = &self.common.dir;
        let identity = self.common.identity()?;
        let config = self.common.config()?;
        let rules = match self.common.rules() {
            Ok(rules) => rules.summary(),
            Err(error) => format!("it would not start: {error}"),
        };
        let keys = public_keys(dir);
        let snapshot = snapshot(dir)?;
        let audit_key = hex::encode(audit::public_key(&identity));
        let mut text = format!(
            "party {} ({}, {:?}), public key {}\naudit key {audit_key}\nrules: {rules}\n",
            config.index,
            config.name,
            config.role,
            identity.public()
        );
        for key in &keys {
            let public = hex::encode(&key.public_key);
            let (scheme, t, n, generation) = (key.scheme, key.threshold, key.parties, key.generation);
            text.push_str(&format!("key: {scheme} {public}, {t} of {n}, generation {generation}\n"));
        }
        for (name, count) in &snapshot.counters {
            text.push_str(&format!("{name}: {count}\n"));
        }
        if let Some(head) = &snapshot.governance_head {
            text.push_str(&format!("governance log: {head}\n"));
        }
        if let Some(freeze) = &snapshot.frozen_here {
            text.push_str(&format!("FROZEN HERE: {}\n", freeze.reason));
        }
        if let Some(checkpoint) = &snapshot.audit_checkpoint {
            text.push_str(&format!("audit log signed up to {}\n", checkpoint.place()));
        }
        if snapshot.audit_contradictions > 0 {
            let count = snapshot.audit_contradictions;
            text.push_str(&format!("CONTRADICTIONS of the audit log: {count}\n"));
        }
        if snapshot.pending > 0 {
            text.push_str(&format!("waiting for a person: {}\n", snapshot.pending));
        }
        for refusal in &snapshot.last_refusals {
            text.push_str(&format!("refused: {}\n", refusal.refusal));
        }
        self.common.say(
            &json!({
                "index": config.index,
                "name": config.name,
                "role": config.role,
                "publicKey": identity.public(),
                "auditKey": audit_key,
                "rules": rules,
                "keys": keys,
                "activity": snapshot,
            }),
            text.trim_end(),
        );
        Ok(())
    }
}

fn snapshot(dir: &Path) -> anyhow::Result<Snapshot> {
    let path = Store::file_in(dir);
    if Store::exists(&path) {
        match Store::open(&path) {
            Ok(store) => return Ok(Snapshot::of(&store, None)?),
            // The daemon has it.
            Err(error) if !dir.join(FILE).exists() => return Err(error.into()),
            Err(_) => return Ok(serde_json::from_slice(&std::fs::read(dir.join(FILE))?)?),
        }
    }
    Ok(Snapshot {
        written_at: None,
        sessions_burnt: 0,
        counters: BTreeMap::new(),
        last_refusals: Vec::new(),
        governance_head: None,
        frozen_here: None,
        audit_checkpoint: None,
        audit_contradictions: 0,
        pending: 0,
    })
}
