//! Where the node stands, and whether it is on the right ledger.

use super::{
    XrpNode,
    answer::{ServerState, State, ValidatedLedger},
};
use bursar_domain::ports::NodeError;
use serde_json::json;
use std::sync::atomic::Ordering;

/// A synchronised node's newest validated ledger.
pub(super) struct Position {
    pub validated: ValidatedLedger,
    pub complete: CompleteLedgers,
}

impl XrpNode {
    /// Checks network and synchronisation each time: behind one URL there may be another server tomorrow.
    pub(super) async fn position(&self) -> Result<Position, NodeError> {
        let ServerState { state } = self.ask("server_state", json!({})).await?;
        self.check_network(&state)?;
        if !matches!(state.server_state.as_str(), "full" | "validating" | "proposing") {
            let reason = format!("not synchronised with the network yet (state {})", state.server_state);
            return Err(self.unavailable("server_state", &reason));
        }
        let validated = state
            .validated_ledger
            .ok_or_else(|| self.unavailable("server_state", "has no validated ledger"))?;
        Ok(Position { validated, complete: CompleteLedgers::parse(&state.complete_ledgers) })
    }

    /// Asks at first, and again after each call that failed.
    pub(super) async fn ensure_network(&self) -> Result<(), NodeError> {
        if self.network_checked.load(Ordering::Acquire) {
            return Ok(());
        }
        self.ask_network().await
    }

    /// Asks each time. A payment on a ledger with a NetworkID up to 1024 does not say which one it is for: the wrong one would
    /// take it.
    pub(super) async fn ask_network(&self) -> Result<(), NodeError> {
        let ServerState { state } = self.ask("server_state", json!({})).await?;
        self.check_network(&state)
    }

    fn check_network(&self, state: &State) -> Result<(), NodeError> {
        let right = state.network_id == self.network_id;
        self.network_checked.store(right, Ordering::Release);
        if !right {
            let actual = format!("xrp:{}", state.network_id);
            return Err(NodeError::WrongNetwork { expected: self.xrp_network(), actual });
        }
        Ok(())
    }
}

/// The ledgers of which a node has every transaction.
pub(super) struct CompleteLedgers(Vec<(u32, u32)>);

impl CompleteLedgers {
    fn parse(text: &str) -> Self {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        };
        Self(text.split(',').filter_map(range).collect())
    }

    /// Whether one gapless range holds all of `first..=last`.
    pub fn contain(&self, first: u32, last: u32) -> bool {
        self.0.iter().any(|(low, high)| *low <= first && last <= *high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_in_the_history_are_seen() {
        let ledgers = CompleteLedgers::parse("2-9,12-20,25");
        assert!(ledgers.contain(2, 9) && ledgers.contain(13, 20) && ledgers.contain(25, 25));
        assert!(!ledgers.contain(9, 12) && !ledgers.contain(1, 2) && !ledgers.contain(20, 25));
        for text in ["empty", "", "x-y", "5-", "-", "4294967296"] {
            assert!(!CompleteLedgers::parse(text).contain(5, 5), "{text:?}");
        }
    }
}
