//! What keeps a deposit from being spent, and what lets it go.

use crate::fixtures::*;
use bursar_domain::{
    amount::{Amount, Satoshi},
    asset::Asset,
    chain::ObservedTransaction,
    governance::{
        log::EntryDigest,
        signature::{Evidence, Signature},
        verdict::{Disposition, DispositionAction, Exhibit, SignedDisposition},
    },
    ids::{DepositId, WalletId},
    network::Network,
    wallet::Branch,
};
use bursar_store::{
    Store, chain,
    deposits::{
        self, Deposit, DepositStatus, Filter,
        dispositions::{self, Kept},
        holds::{self, HoldState},
    },
    utxos,
};

fn bitcoin() -> Network {
    network(BTC)
}
fn wallet() -> WalletId {
    WalletId::new(uuid(1))
}

/// Applies a block as an installation does that screens.
async fn apply(store: &Store, height: u64, transactions: Vec<ObservedTransaction>) -> usize {
    let mut tx = store.write().await.unwrap();
    chain::apply_block(&mut tx, bitcoin(), &block(height, "", "", transactions), at(9)).await.unwrap();
    let held = holds::screen_block(&mut tx, bitcoin(), height, at(9)).await.unwrap();
    tx.commit().await.unwrap();
    held
}
async fn set_final(store: &Store, height: u64) {
    let mut tx = store.write().await.unwrap();
    chain::set_final_height(&mut tx, bitcoin(), height).await.unwrap();
    tx.commit().await.unwrap();
}
async fn only(store: &Store) -> Deposit {
    let mut items = deposits::list(store, Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}
async fn advance(store: &Store, deposit: &Deposit, from: HoldState, to: HoldState, now: i64) -> bool {
    let mut tx = store.write().await.unwrap();
    let moved = holds::advance(&mut tx, deposit, from, to, Some("nul \0"), at(now)).await.unwrap();
    tx.commit().await.unwrap();
    moved
}
async fn freeze(store: &Store, deposit: &Deposit, now: i64) -> bool {
    let mut tx = store.write().await.unwrap();
    let frozen = holds::freeze(&mut tx, deposit, "alert", at(now)).await.unwrap();
    tx.commit().await.unwrap();
    frozen
}
/// What may be spent, and what is withheld.
async fn money(store: &Store) -> (u64, u64) {
    let available = utxos::available(store, wallet()).await.unwrap();
    let frozen = Satoshi::try_from(utxos::frozen(store, wallet()).await.unwrap()).unwrap();
    (available.iter().map(|utxo| utxo.value.0).sum(), frozen.0)
}
async fn statuses(store: &Store) -> Vec<DepositStatus> {
    let mut found = Vec::new();
    for status in [
        DepositStatus::Detected,
        DepositStatus::Confirming,
        DepositStatus::PendingScreening,
        DepositStatus::Completed,
        DepositStatus::Frozen,
    ] {
        assert_eq!(status.to_string().parse(), Ok(status));
        let filter = Filter { status: Some(status), wallet: Some(wallet()) };
        let page = deposits::list(store, filter, None, 10).await.unwrap();
        assert!(page.items.iter().all(|deposit| deposit.status == status), "{page:?}");
        found.extend(page.items.iter().map(|deposit| deposit.status));
    }
    found
}

async fn database() -> (Database, Vec<ObservedTransaction>) {
    let database = Database::open().await;
    let address = database.address(1, Branch::Receive).await;
    let mut tx = database.store.write().await.unwrap();
    chain::start_at(&mut tx, bitcoin(), &block_ref(1, "")).await.unwrap();
    tx.commit().await.unwrap();
    (database, vec![observed("in", vec![], vec![credit(&address, 1, 5000)])])
}

#[tokio::test]
async fn screened_deposit__should_be_spent_by_nobody_before_it_is_cleared() {
    let (database, pay) = database().await;
    let store = &database.store;
    assert_eq!(apply(store, 2, pay).await, 1);
    assert_eq!(statuses(store).await, [DepositStatus::Detected]);
    assert_eq!(money(store).await, (0, 5000));
    apply(store, 3, vec![]).await;
    assert_eq!(statuses(store).await, [DepositStatus::Confirming]);
    assert_eq!(holds::to_screen(store, 10).await.unwrap(), [], "not final yet");
    set_final(store, 2).await;
    assert_eq!(statuses(store).await, [DepositStatus::PendingScreening]);
    let deposit = only(store).await;
    assert_eq!(holds::to_screen(store, 10).await.unwrap(), std::slice::from_ref(&deposit));
    assert_eq!(deposit.outpoint, Some(outpoint(1)));
    assert_eq!(holds::withheld_of(store, wallet(), Asset::Btc).await.unwrap(), Amount::from_u64(5000));
    assert_eq!(
        holds::withheld(store, bitcoin(), &deposit.address, Asset::Btc).await.unwrap(),
        Amount::from_u64(5000)
    );
    assert_eq!(holds::withheld(store, bitcoin(), "elsewhere", Asset::Btc).await.unwrap(), Amount::ZERO);

    assert!(advance(store, &deposit, HoldState::New, HoldState::Asked, 10).await);
    assert!(!advance(store, &deposit, HoldState::New, HoldState::Cleared, 10).await, "it is asked about");
    assert_eq!(holds::to_screen(store, 10).await.unwrap(), []);
    // Whoever names it, coin selection or not.
    let transfer = database.transfer(10, BTC).await;
    assert!(database.insert(&record(20, &transfer, vec![utxo(1)])).await.is_err());
    assert!(advance(store, &deposit, HoldState::Asked, HoldState::Cleared, 11).await);
    assert_eq!((statuses(store).await, money(store).await), (vec![DepositStatus::Completed], (5000, 0)));
    assert_eq!(only(store).await.hold.unwrap().reason.as_deref(), Some("nul \u{fffd}"));
    assert_eq!(database.insert(&record(21, &transfer, vec![utxo(1)])).await, Ok(()));
}

#[tokio::test]
async fn what_was_said_of_a_deposit__should_stand_after_a_reorganisation() {
    let (database, pay) = database().await;
    let store = &database.store;
    apply(store, 2, pay.clone()).await;
    set_final(store, 2).await;
    let deposit = only(store).await;
    for (state, status, spendable) in [
        (HoldState::Frozen, DepositStatus::Frozen, (0, 5000)),
        (HoldState::Released, DepositStatus::Completed, (5000, 0)),
        (HoldState::Refund, DepositStatus::Completed, (5000, 0)),
        (HoldState::Isolated, DepositStatus::Frozen, (0, 5000)),
    ] {
        let before = only(store).await.hold.unwrap().state;
        assert!(advance(store, &deposit, before, state, 20).await);
        let mut tx = store.write().await.unwrap();
        chain::rollback_to(&mut tx, bitcoin(), 1, at(21)).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((statuses(store).await, money(store).await), (vec![], (0, 0)));
        assert_eq!(apply(store, 2, pay.clone()).await, 0, "{state}: it is not screened again");
        set_final(store, 2).await;
        let again = only(store).await;
        assert_eq!((again.id, again.status, money(store).await), (deposit.id, status, spendable), "{state}");
        assert_eq!(again.hold.unwrap().state, state);
    }
    assert!(!freeze(store, &deposit, 30).await, "put aside for good");
}

#[tokio::test]
async fn alert__should_freeze_what_was_let_go_but_nothing_that_is_under_way() {
    let (database, pay) = database().await;
    let store = &database.store;
    // As an installation does that does not screen.
    let mut tx = store.write().await.unwrap();
    chain::apply_block(&mut tx, bitcoin(), &block(2, "", "", pay), at(9)).await.unwrap();
    tx.commit().await.unwrap();
    let deposit = only(store).await;
    assert_eq!((deposit.hold.clone(), money(store).await), (None, (5000, 0)));
    let transfer = database.transfer(10, BTC).await;
    assert_eq!(database.insert(&record(20, &transfer, vec![utxo(1)])).await, Ok(()));
    assert!(freeze(store, &deposit, 30).await);
    assert_eq!(statuses(store).await, [DepositStatus::Frozen]);
    assert_eq!(only(store).await.hold.unwrap().since, at(30));
    // Its own replacement is no other transfer.
    assert_eq!(database.insert(&record(21, &transfer, vec![utxo(1)])).await, Ok(()));
    let other = database.transfer(11, BTC).await;
    assert!(database.insert(&record(22, &other, vec![utxo(1)])).await.is_err());
    assert!(freeze(store, &deposit, 31).await);
    assert_eq!(only(store).await.hold.unwrap().since, at(31), "frozen once more");
}

#[tokio::test]
async fn dispositions__should_gather_their_signatures() {
    let database = Database::open().await;
    let store = &database.store;
    let deposit = DepositId::new(uuid(5));
    let signed = |n: i64, user: &str| SignedDisposition {
        disposition: Disposition {
            genesis: EntryDigest::NONE,
            deposit,
            action: DispositionAction::Refund,
            reason: "theirs".into(),
            evidence: vec![Exhibit::Record { uri: "urn:bursar:case:1".into() }],
            decided_at: at(n),
        },
        signatures: vec![Signature {
            user: user.parse().unwrap(),
            key: "main".parse().unwrap(),
            evidence: Evidence::Ed25519 { signature: [1; 64] },
        }],
    };
    let sign = async |n, user| {
        let mut tx = store.write().await.unwrap();
        let kept = dispositions::sign(&mut tx, &signed(n, user), at(50)).await.unwrap();
        tx.commit().await.unwrap();
        kept
    };
    assert!(matches!(sign(1, "officer").await, Kept::New(_)));
    assert!(matches!(sign(1, "officer").await, Kept::Already(_)));
    let Kept::New(both) = sign(1, "lead").await else { panic!("a new signature") };
    assert_eq!(both.signed.signatures.len(), 2);
    assert_eq!(dispositions::of(store, deposit).await.unwrap(), [both]);
    assert_eq!(dispositions::of(store, DepositId::new(uuid(6))).await.unwrap(), []);
    for n in 2..=i64::try_from(dispositions::MAX_DISPOSITIONS).unwrap() {
        assert!(matches!(sign(n, "officer").await, Kept::New(_)), "{n}");
    }
    assert_eq!(sign(99, "officer").await, Kept::TooMany);
}
