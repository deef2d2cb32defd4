//! What a reconciliation does about a break.

use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconcileConfig {
    /// Halt the accounts that a break is about; `--halt` does it for one run.
    pub halt_on_break: bool,
}
