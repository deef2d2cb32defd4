//! Votes, rulings, and sums that no two transfers exceed together.

use crate::fixtures::*;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        log::{EntryDigest, Head},
        policy::{Gap, Measure, Unit, VelocityGroup, VelocityQuery},
        quote::{Quote, SignedQuote},
        signature::{Evidence, Signature},
    },
    ids::TransferId,
    lifecycle::{Fact, FundsMoved, SubStatus, Transfer},
};
use bursar_store::{
    Store,
    approvals::{self, Kept, MAX_OF_USER, Ruling},
    quotes,
    velocity::{self, Part, Sum},
};

const HEAD: Head = Head { seq: 4, digest: EntryDigest([4; 32]) };

fn vote(user: &str, given_at: i64) -> Approval {
    let intent = transfer(10, BTC).intent.intent.digest();
    let (given_at, expires_at) = (at(given_at), at(10_000));
    let payload =
        ApprovalPayload { intent, policy: HEAD, head: HEAD, vote: Vote::Approve, given_at, expires_at };
    let evidence = Evidence::Ed25519 { signature: [1; 64] };
    let signature = Signature { user: user.parse().unwrap(), key: "main".parse().unwrap(), evidence };
    Approval { payload, signature }
}

async fn keep(store: &Store, transfer: TransferId, approval: &Approval, now: i64) -> Kept {
    let mut tx = store.write().await.unwrap();
    let kept = approvals::insert(&mut tx, transfer, approval, at(now)).await.unwrap();
    tx.commit().await.unwrap();
    kept
}

#[tokio::test]
async fn votes__should_be_kept_once_in_the_order_in_which_they_came() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    database.transfer(11, BTC).await;
    let (zoe, ann) = (vote("zoe", 1), vote("ann", 2));
    assert_eq!(keep(store, id, &zoe, 20).await, Kept::New);
    assert_eq!(keep(store, id, &ann, 21).await, Kept::New);
    assert_eq!(keep(store, id, &zoe, 22).await, Kept::Already);
    let there = approvals::of_transfer(store, id).await.unwrap();
    let received: Vec<_> = there.iter().map(|there| (there.approval.clone(), there.received_at)).collect();
    assert_eq!(received, [(zoe, at(20)), (ann, at(21))]);
    assert_eq!(approvals::of_transfer(store, transfer_id(11)).await.unwrap(), []);
    // One user's votes are bounded, and leave the others theirs.
    for n in 1..MAX_OF_USER {
        assert_eq!(keep(store, id, &vote("ann", 100 + n as i64), 30).await, Kept::New);
    }
    assert_eq!(keep(store, id, &vote("ann", 99), 31).await, Kept::TooMany);
    assert_eq!(keep(store, id, &vote("zoe", 99), 31).await, Kept::New);
}

#[tokio::test]
async fn ruling__should_replace_the_one_before() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    assert_eq!(approvals::ruling(store, id).await.unwrap(), None);
    let (policy, decision, progress) = (Some(HEAD), None, None);
    let waits =
        Ruling { code: "FROZEN".into(), reason: Some("why".into()), head: HEAD, policy, decision, progress };
    let goes = Ruling { code: "AUTHORIZED".into(), reason: None, ..waits.clone() };
    for (ruling, now, written) in [(&waits, 1, true), (&waits, 2, false), (&goes, 3, true)] {
        let mut tx = store.write().await.unwrap();
        assert_eq!(approvals::rule(&mut tx, id, ruling, at(now)).await.unwrap(), written);
        tx.commit().await.unwrap();
    }
    assert_eq!(approvals::ruling(store, id).await.unwrap(), Some((goes, at(3))));
}

const NAME: &str = "COUNT all";

fn part(amount: Option<u64>) -> [Part; 1] {
    [Part { name: NAME.into(), amount: amount.map(Amount::from_u64) }]
}

async fn reserve(store: &Store, transfer: TransferId, amount: Option<u64>, now: i64) {
    let mut tx = store.write().await.unwrap();
    velocity::reserve(&mut tx, transfer, &part(amount), at(now)).await.unwrap();
    tx.commit().await.unwrap();
}

/// The sum over ten seconds as `except` sees it; `None` if it has no number.
async fn sum(store: &Store, except: u64, now: i64) -> Option<u64> {
    let asked = Sum { name: NAME, window_seconds: 10, now: at(now), except: transfer_id(except) };
    match velocity::sum(store, asked).await.unwrap() {
        Ok(amount) => Some(amount.to_string().parse().unwrap()),
        Err(gap) => {
            assert_eq!(gap, Gap::Unpriceable, "above every limit");
            None
        }
    }
}

#[tokio::test]
async fn sum__should_roll_with_its_window() {
    let database = Database::open().await;
    let store = &database.store;
    for n in 10..14 {
        database.transfer(n, BTC).await;
    }
    assert_eq!(sum(store, 99, 100).await, Some(0));
    reserve(store, transfer_id(10), Some(3), 100).await;
    reserve(store, transfer_id(11), Some(4), 105).await;
    assert_eq!(sum(store, 99, 105).await, Some(7));
    assert_eq!(sum(store, 99, 109).await, Some(7));
    assert_eq!(sum(store, 99, 110).await, Some(4), "a window of ten seconds ends after ten seconds");
    assert_eq!(sum(store, 99, 90).await, Some(7), "a clock that was set back forgets nothing");
    assert_eq!(sum(store, 11, 105).await, Some(3), "without its own");
    assert_eq!(sum(store, 10, 105).await, Some(0), "nor what came after it");
    // Reserving again changes nothing.
    reserve(store, transfer_id(10), Some(9), 109).await;
    assert_eq!(sum(store, 99, 109).await, Some(7));
    reserve(store, transfer_id(12), None, 106).await;
    assert_eq!(sum(store, 99, 109).await, None);
    // It is authorized again, and there is a price now.
    reserve(store, transfer_id(12), Some(5), 109).await;
    assert_eq!(sum(store, 99, 109).await, Some(12));
    assert_eq!(sum(store, 99, 115).await, Some(5), "in its place");
    assert_eq!(sum(store, 99, 116).await, Some(0));
    reserve(store, transfer_id(12), None, 109).await;
    assert_eq!(sum(store, 99, 109).await, Some(12), "no price later on changes nothing");
}

#[tokio::test]
async fn reservation__should_be_given_back_with_the_end_that_pays_nobody() {
    let database = Database::open().await;
    let store = &database.store;
    let authorized = || {
        vec![
            Fact::ScreeningStarted,
            Fact::ScreeningPassed { sub_status: None },
            Fact::Authorized { sub_status: None },
        ]
    };
    let ends: [(u64, Vec<Fact>, u64); 4] = [
        (10, vec![Fact::Cancelled], 0),
        (11, vec![Fact::Expired { sub_status: SubStatus::IntentExpired }], 0),
        (12, vec![Fact::Failed { sub_status: SubStatus::InvalidTransaction, reason: "no".into() }], 0),
        (13, vec![Fact::AuthorizationLapsed { reason: "new policy".into() }], 1),
    ];
    for (n, end, left) in ends {
        let transfer = database.transfer(n, BTC).await;
        reserve(store, transfer.id, Some(1), 100).await;
        let before = sum(store, 99, 100).await.unwrap();
        database.drive(transfer, authorized().into_iter().chain(end).collect()).await;
        assert_eq!(sum(store, 99, 100).await.unwrap(), before - 1 + left, "{n}");
    }
}

#[tokio::test]
async fn reservation__should_be_kept_by_what_may_have_paid_and_come_back_with_a_reorganisation() {
    let database = Database::open().await;
    let store = &database.store;
    let included = |n| Fact::Included { transaction: transaction_id(n), block: block_ref(5, "a") };
    let on_chain = |n: u64| {
        let mut facts = until_frozen(transaction_id(n));
        facts.extend([Fact::SigningStarted, included(n)]);
        facts
    };
    let finalized = Fact::Finalized { block: block_ref(5, "a") };
    let failed = |funds_moved| Fact::FailedOnChain { funds_moved, reason: "tec".into() };
    let ends = [
        (10, finalized, 1),
        (11, failed(FundsMoved::Unknown), 1),
        (12, failed(FundsMoved::FeeOnly), 0),
        (13, Fact::CancelledOnChain { block: block_ref(5, "a") }, 0),
    ];
    for (n, end, left) in ends {
        let transfer = database.transfer(n, BTC).await;
        reserve(store, transfer.id, Some(1), 100).await;
        let before = sum(store, 99, 100).await.unwrap();
        let facts = on_chain(n).into_iter().chain([end]).collect();
        let ended: Transfer = database.drive(transfer, facts).await;
        assert_eq!(sum(store, 99, 100).await.unwrap(), before - 1 + left, "{n}");
        let open = database.drive(ended, vec![Fact::ReorgedOut]).await;
        assert_eq!(sum(store, 99, 100).await.unwrap(), before, "{n} is open again");
        database.drive(open, vec![included(n), Fact::Finalized { block: block_ref(5, "a") }]).await;
    }
}

/// What was proven dead comes back when the block goes that proved it.
#[tokio::test]
async fn reservation__should_come_back_with_what_was_proven_dead() {
    let database = Database::open().await;
    let store = &database.store;
    let dead = |ledger_passed| Fact::ProvenDead { proof: "its number is used".into(), ledger_passed };
    let included = Fact::Included { transaction: transaction_id(20), block: block_ref(5, "a") };
    let revived = Fact::Revived { transaction: transaction_id(21) };
    for (n, end, back) in [(20, dead(true), included), (21, dead(false), revived)] {
        let transfer = database.transfer(n, BTC).await;
        reserve(store, transfer.id, Some(1), 100).await;
        let before = sum(store, 99, 100).await.unwrap();
        let mut facts = until_frozen(transaction_id(n));
        facts.extend([Fact::SigningStarted, end]);
        let ended = database.drive(transfer, facts).await;
        assert_eq!(sum(store, 99, 100).await.unwrap(), before - 1, "{n}");
        database.drive(ended, vec![back]).await;
        assert_eq!(sum(store, 99, 100).await.unwrap(), before, "{n} may pay after all");
    }
}

/// Two hundred transfers want a place in a sum that has twenty.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn limit__should_hold_however_many_ask_at_once() {
    const LIMIT: u64 = 20;
    let database = Database::open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1000..1200 {
        database.transfer(n, BTC).await;
        let store = database.store.clone();
        tasks.spawn(async move {
            let mut tx = store.write().await.unwrap();
            let asked = Sum { name: NAME, window_seconds: 10, now: at(100), except: transfer_id(n) };
            let before = velocity::sum_in(&mut tx, asked).await.unwrap().unwrap();
            if before >= Amount::from_u64(LIMIT) {
                return false;
            }
            // Whoever does not have the turn could read the same sum now.
            tokio::task::yield_now().await;
            velocity::reserve(&mut tx, transfer_id(n), &part(Some(1)), at(100)).await.unwrap();
            tx.commit().await.unwrap();
            true
        });
    }
    let granted = tasks.join_all().await.into_iter().filter(|granted| *granted).count();
    assert_eq!((granted, sum(&database.store, 99, 100).await), (20, Some(LIMIT)));
}

#[test]
fn sums__should_be_kept_by_what_is_added_up_and_not_by_their_window() {
    let query = |window_seconds, of| VelocityQuery { window_seconds, of, group: VelocityGroup::All };
    let (chf, usd) = ("CHF".parse().unwrap(), "USD".parse().unwrap());
    let fiat = Measure::Sum(Unit::Fiat);
    assert_eq!(velocity::name(&query(1, Measure::Count), chf), NAME);
    assert_eq!(velocity::name(&query(1, fiat), chf), velocity::name(&query(2, fiat), chf));
    assert_ne!(velocity::name(&query(1, fiat), chf), velocity::name(&query(1, fiat), usd));
}

/// More than one statement's worth, as a batch has.
#[tokio::test]
async fn parts__should_all_be_reserved_however_many() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    let parts: Vec<Part> = (1..=250u64)
        .map(|n| Part { name: format!("part {n}"), amount: (n != 7).then(|| Amount::from_u64(n)) })
        .collect();
    let mut tx = store.write().await.unwrap();
    velocity::reserve(&mut tx, id, &[], at(100)).await.unwrap();
    velocity::reserve(&mut tx, id, &parts[..120], at(100)).await.unwrap();
    velocity::reserve(&mut tx, id, &parts, at(100)).await.unwrap();
    tx.commit().await.unwrap();
    for part in &parts {
        let asked = Sum { name: &part.name, window_seconds: 10, now: at(100), except: transfer_id(99) };
        let expected = part.amount.ok_or(Gap::Unpriceable);
        assert_eq!(velocity::sum(store, asked).await.unwrap(), expected, "{}", part.name);
    }
}

fn quote(asset: Asset, price: &str, quoted_at: i64, by: &str) -> SignedQuote {
    let quote = Quote {
        genesis: EntryDigest([1; 32]),
        asset,
        decimals: 8,
        currency: "CHF".parse().unwrap(),
        price: price.parse().unwrap(),
        quoted_at: at(quoted_at),
        expires_at: at(quoted_at + 100),
    };
    let evidence = Evidence::Ed25519 { signature: [1; 64] };
    SignedQuote {
        quote,
        signature: Signature { user: by.parse().unwrap(), key: "main".parse().unwrap(), evidence },
    }
}

#[tokio::test]
async fn quotes__should_be_the_newest_of_each_service() {
    let database = Database::open().await;
    let store = &database.store;
    let put = async |signed: &SignedQuote, now| {
        let mut tx = store.write().await.unwrap();
        let kept = quotes::put(&mut tx, signed, at(now)).await.unwrap();
        tx.commit().await.unwrap();
        kept
    };
    let (first, newer) = (quote(Asset::Btc, "50000.1", 10, "ann"), quote(Asset::Btc, "50001", 11, "ann"));
    assert!(put(&first, 20).await);
    assert!(!put(&first, 21).await, "it is there");
    assert!(put(&newer, 22).await);
    assert!(!put(&first, 23).await, "a newer one is there");
    let other = quote(Asset::Btc, "50002", 5, "zoe");
    assert!(put(&other, 24).await);
    assert!(put(&quote(Asset::Xrp, "3", 5, "zoe"), 25).await);
    let chf = "CHF".parse().unwrap();
    let found = quotes::of_asset(store, Asset::Btc, chf).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|stored| (stored.signed, stored.received_at)).collect();
    assert_eq!(found, [(newer, at(22)), (other, at(24))]);
    let mut tx = store.write().await.unwrap();
    assert_eq!(quotes::of_asset_in(&mut tx, Asset::Xrp, chf).await.unwrap().len(), 1);
    drop(tx);
    assert_eq!(quotes::of_asset(store, Asset::Btc, "USD".parse().unwrap()).await.unwrap(), []);
    assert_eq!(quotes::all(store, 2).await.unwrap().len(), 2);
    assert_eq!(quotes::all(store, 10).await.unwrap().len(), 3);
}
