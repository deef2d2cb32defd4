//! Whether somebody is asked, and by which log.

use bursar_domain::governance::log::EntryDigest;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GovernanceConfig {
    /// The digest of the log's first entry: 64 hex digits, which every party compared. Without it nothing is governed.
    pub genesis: Option<EntryDigest>,
}
