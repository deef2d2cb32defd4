//! Whose turn it is, within this process, to choose an account's next number (or a wallet's coins and change address).
//!
//! What is chosen is claimed by a primary key, and who comes late chooses again, whichever process it is in. So this keeps nothing
//! safe: it saves work. Without it, of all transfers of one account that are built at once, one wins in each round, and the others
//! have built, and have had the database's turn, for nothing; the longer they wait for it, the more of them there are.

use bursar_domain::ids::WalletId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OwnedMutexGuard;

/// A wallet, and which of its accounts, if the intent says so.
type Account = (WalletId, Option<String>);

#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<Account, Arc<tokio::sync::Mutex<()>>>>);

/// Held from choosing until the choice is committed or given up. Never while a node or a co-signer is asked: they may take long, and
/// who waits for the turn keeps a worker's place.
#[derive(Debug)]
pub(crate) struct Turn {
    _held: OwnedMutexGuard<()>,
}

impl Turns {
    /// In the order of the calls.
    pub async fn take(&self, wallet: WalletId, source: Option<&str>) -> Turn {
        let lock = {
            // The map is whole after each change, so that a poisoned lock does not matter.
            let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // What nobody holds or waits for is forgotten.
            accounts.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(accounts.entry((wallet, source.map(str::to_owned))).or_default())
        };
        Turn { _held: lock.lock_owned().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn one_at_a_time_has_the_turn_of_an_account() {
        let (turns, wallet) = (Turns::default(), WalletId::new(uuid::Uuid::from_u128(1)));
        let first = turns.take(wallet, None).await;
        let mut second = Box::pin(turns.take(wallet, None));
        let mut third = Box::pin(turns.take(wallet, None));
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        assert!(turns.take(wallet, Some("another account")).now_or_never().is_some());
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "it came later");
        let second = (&mut second).now_or_never();
        assert!(second.is_some());
        // Who gives up keeps nobody waiting.
        drop(third);
        let mut fourth = Box::pin(turns.take(wallet, None));
        assert!((&mut fourth).now_or_never().is_none());
        drop(second);
        assert!((&mut fourth).now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_nobody_holds_is_forgotten() {
        let turns = Turns::default();
        for number in 0..100 {
            turns.take(WalletId::new(uuid::Uuid::from_u128(number)), None).await;
        }
        assert_eq!(turns.0.lock().unwrap().len(), 1);
    }
}
