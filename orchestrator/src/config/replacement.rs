//! When a transaction counts as stuck, and what is then done about it.

use bursar_domain::{network::Chain, ports::PriceCap};
use bursar_workers::Replacement;
use serde::Deserialize;
use std::time::Duration;

/// `[<chain>.replacement]`; each chain has defaults of its own. What it may cost is bounded by each transfer's `maxFee`, and by the
/// section's own cap (`fee_cap`, `max_fee_gwei`, `fee_cap_drops`).
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplacementConfig {
    /// In no block for this long since it was first sent: stuck.
    pub stuck_after_ms: Option<u64>,
    /// Replace without being asked what is stuck, and close what its co-signers left inconclusive.
    pub automatic: Option<bool>,
    /// The least raise of the fee each time; a chain's own rules may ask for more.
    pub raise_percent: Option<u32>,
    /// How often at most without being asked.
    pub max_replacements: Option<usize>,
    /// Where no replacement can be made, have a child pay for what waits (Bitcoin).
    pub child_pays: Option<bool>,
}

impl ReplacementConfig {
    /// `most` is the most that the chain's section lets be offered.
    pub fn of(&self, chain: Chain, most: PriceCap) -> Replacement {
        let defaults = Replacement::of(chain);
        Replacement {
            stuck_after: self.stuck_after_ms.map_or(defaults.stuck_after, Duration::from_millis),
            automatic: self.automatic.unwrap_or(defaults.automatic),
            raise_percent: self.raise_percent.unwrap_or(defaults.raise_percent),
            max_replacements: self.max_replacements.unwrap_or(defaults.max_replacements),
            child_pays: self.child_pays.unwrap_or(defaults.child_pays),
            price_cap: Some(most),
        }
    }
}
