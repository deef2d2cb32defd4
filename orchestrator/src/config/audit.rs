//! `[audit]`: how often co-signers are asked to sign the log.

use bursar_domain::audit::checkpoint::MAX_STEP;
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// A checkpoint after so many entries.
    pub checkpoint_entries: u64,
    /// A checkpoint after so many seconds, if there is anything new.
    pub checkpoint_seconds: u64,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { checkpoint_entries: 1_000, checkpoint_seconds: 600 }
    }
}

impl AuditConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=MAX_STEP).contains(&self.checkpoint_entries) {
            problems.push(format!("audit.checkpoint_entries: from 1 to {MAX_STEP}"));
        }
        if !(1..=86_400).contains(&self.checkpoint_seconds) {
            problems.push("audit.checkpoint_seconds: from 1 to 86400".to_owned());
        }
        problems
    }

    pub fn settings(&self) -> bursar_workers::checkpoints::Settings {
        bursar_workers::checkpoints::Settings {
            entries: self.checkpoint_entries,
            interval: Duration::from_secs(self.checkpoint_seconds),
        }
    }
}
