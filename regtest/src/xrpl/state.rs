//! What a request works on: the chain, the journal that makes it durable, the clock, and who listens for ledgers.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::chain::Chain;
use super::journal::{Journal, JournalError};

/// Seconds since 2000-01-01T00:00:00Z, the epoch of the XRP Ledger.
pub type Clock = Arc<dyn Fn() -> u32 + Send + Sync>;

/// Everything behind the server's lock.
pub struct State {
    pub chain: Chain,
    pub journal: Option<Journal>,
    pub clock: Clock,
    /// `ledgerClosed` messages for WebSocket subscribers.
    pub closed: broadcast::Sender<Value>,
    /// A ledger could not be written: memory is ahead of the disk, so nothing may be answered any more.
    pub broken: bool,
}

impl State {
    /// Closes the open ledger, makes it durable, and tells subscribers.
    ///
    /// # Errors
    /// [`JournalError`] when the ledger could not be written; it must then not be answered for.
    pub fn accept(&mut self) -> Result<u32, JournalError> {
        let now = (self.clock)();
        let closing = self.chain.accept(now);
        if let Some(journal) = &mut self.journal {
            let written = journal.append(self.chain.last_closed(), &closing);
            self.broken = written.is_err();
            written?;
        }
        let ledger = self.chain.last_closed();
        let message = json!({
            "type": "ledgerClosed",
            "ledger_index": ledger.index,
            "ledger_hash": ledger.hash.to_string(),
            "ledger_time": ledger.close_time,
            "txn_count": ledger.transactions.len(),
            "fee_base": self.chain.rules.base_fee,
            "reserve_base": self.chain.rules.reserve_base,
            "reserve_inc": self.chain.rules.reserve_increment,
            "network_id": self.chain.rules.network_id,
            "validated_ledgers": super::rpc::sight::Sight::of(&self.chain).complete_ledgers(),
        });
        // Nobody listening is the normal case.
        let _ = self.closed.send(message);
        Ok(self.chain.open_index())
    }
}
