//! What a node said of an account, kept for a moment.
//!
//! Answering a request needs the same reading as building its transaction, a moment later in the same process. And of two transfers
//! of one account that are built at once, one has to choose again: another nonce, of the same reading.
//!
//! A reading that is a few seconds old does no harm. It gives the lowest nonce or Sequence that may be free; what is free is what the
//! store says, whose reservations, those of final transactions included, are looked up for each choice and claimed by a primary
//! key. Fees are offered for many blocks (a package may rest for minutes until it is signed), and a balance may change between any
//! reading and the block that takes the payment.

use bursar_domain::{account::AccountState, ids::TransferId, time::Timestamp};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

/// A reading that is older is made anew.
const FRESH: Duration = Duration::from_secs(5);
/// At most so many are kept; the first to go are those of the oldest transfers.
const KEPT: usize = 1024;

/// What a node said, and when it was asked.
#[derive(Debug, Clone)]
pub struct Reading {
    pub(crate) state: AccountState,
    pub(crate) at: Timestamp,
}

/// Readings that somebody will want, by transfer.
#[derive(Debug, Default)]
pub(crate) struct Readings(Mutex<BTreeMap<TransferId, Reading>>);

impl Readings {
    pub fn put(&self, transfer: TransferId, reading: Reading) {
        let mut kept = self.kept();
        kept.insert(transfer, reading);
        while kept.len() > KEPT {
            kept.pop_first();
        }
    }

    /// The reading for a transfer, if it is fresh still. It is given once, so that what fails with it is tried with another.
    pub fn take(&self, transfer: TransferId, now: Timestamp) -> Option<Reading> {
        let reading = self.kept().remove(&transfer)?;
        // A clock that was set back makes none fresh.
        (reading.at <= now && now.since(reading.at) < FRESH).then_some(reading)
    }

    /// The map is whole after each call, so that a poisoned lock does not matter.
    fn kept(&self) -> MutexGuard<'_, BTreeMap<TransferId, Reading>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::{account::BitcoinAccount, amount::Satoshi};

    fn reading(at: Timestamp) -> Reading {
        let account = BitcoinAccount { fee_rate: Satoshi(1000), utxos: Vec::new() };
        Reading { state: AccountState::Bitcoin(account), at }
    }
    fn transfer(number: u128) -> TransferId {
        TransferId::new(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_reading_is_given_once_and_only_while_it_is_fresh() {
        let (readings, at) = (Readings::default(), Timestamp::from_secs(1_000));
        for (later, fresh) in
            [(Duration::ZERO, true), (FRESH - Duration::from_millis(1), true), (FRESH, false)]
        {
            readings.put(transfer(1), reading(at));
            assert!(readings.take(transfer(2), at).is_none());
            assert_eq!(readings.take(transfer(1), at.plus(later)).is_some(), fresh, "{later:?}");
            assert!(readings.take(transfer(1), at).is_none(), "given once");
        }
        readings.put(transfer(1), reading(at));
        assert!(readings.take(transfer(1), Timestamp::from_secs(999)).is_none(), "from the future");
    }

    #[test]
    fn what_nobody_takes_is_forgotten() {
        let (readings, at) = (Readings::default(), Timestamp::from_secs(1_000));
        (0..=KEPT as u128).for_each(|number| readings.put(transfer(number), reading(at)));
        assert!(readings.take(transfer(0), at).is_none());
        assert!(readings.take(transfer(1), at).is_some());
    }
}
