use crate::fixtures::*;
use bursar_domain::{ids::TransferId, time::Timestamp};
use bursar_store::{
    Store,
    jobs::{self, Claim, Outcome, Takes},
};
use std::{collections::BTreeSet, time::Duration};

const LEASE: Duration = Duration::from_secs(10);

async fn nudge(store: &Store, n: u64, due: Timestamp) {
    let mut tx = store.write().await.unwrap();
    jobs::nudge(&mut tx, transfer_id(n), due).await.unwrap();
    tx.commit().await.unwrap();
}
async fn claim(store: &Store, now: Timestamp) -> Vec<Claim> {
    jobs::claim(store, now, LEASE, 10).await.unwrap()
}
async fn settle(store: &Store, claim: &Claim, now: Timestamp, outcome: Outcome) -> bool {
    jobs::settle(store, claim, now, outcome).await.unwrap()
}

#[tokio::test]
async fn nudges__should_merge_into_one_job_at_the_earliest_time() {
    let Database { store, .. } = &Database::open().await;
    nudge(store, 1, at(20)).await;
    nudge(store, 1, at(10)).await;
    nudge(store, 1, at(30)).await;
    assert_eq!(jobs::next_due(store).await.unwrap(), Some(at(10)));
    assert_eq!(claim(store, at(9)).await, []);
    assert_eq!(jobs::depth(store, at(9)).await.unwrap(), (0, 1));
    let claims = claim(store, at(10)).await;
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].wanted, claims[0].attempt), (3, 0));
    assert_eq!(jobs::next_due(store).await.unwrap(), Some(at(20)), "the end of the lease");
    assert!(settle(store, &claims[0], at(11), Outcome::Done).await);
    assert_eq!(jobs::depth(store, at(100)).await.unwrap(), (0, 0));
    assert_eq!(jobs::next_due(store).await.unwrap(), None);
}

#[tokio::test]
async fn expired_lease__should_fence_its_old_owner() {
    let Database { store, .. } = &Database::open().await;
    nudge(store, 1, at(0)).await;
    let old = claim(store, at(0)).await.remove(0);
    assert_eq!(claim(store, at(9)).await, [], "leased");
    let new = claim(store, at(10)).await.remove(0);
    assert!(new.token > old.token);
    assert!(!jobs::renew(store, &old, at(99)).await.unwrap());
    for outcome in [Outcome::Done, Outcome::Again(at(0)), Outcome::Failed { at: at(0), error: "e".into() }] {
        assert!(!settle(store, &old, at(11), outcome).await);
    }
    assert!(jobs::renew(store, &new, at(99)).await.unwrap());
    assert_eq!(claim(store, at(98)).await, []);
    assert!(settle(store, &new, at(98), Outcome::Done).await);
    assert!(!settle(store, &new, at(98), Outcome::Done).await, "a claim settles once");
}

#[tokio::test]
async fn tokens__should_never_come_again() {
    let Database { store, .. } = &Database::open().await;
    nudge(store, 1, at(0)).await;
    let old = claim(store, at(0)).await.remove(0);
    assert!(settle(store, &old, at(0), Outcome::Done).await);
    nudge(store, 1, at(0)).await;
    let new = claim(store, at(0)).await.remove(0);
    assert!(!settle(store, &old, at(0), Outcome::Done).await, "the row is another one now");
    assert!(!jobs::renew(store, &old, at(50)).await.unwrap());
    assert!(settle(store, &new, at(0), Outcome::Again(at(5))).await);
    assert!(!jobs::renew(store, &new, at(50)).await.unwrap(), "settled");
    assert_eq!(claim(store, at(4)).await, []);
    assert_eq!(claim(store, at(5)).await.len(), 1);
}

#[tokio::test]
async fn nudge_while_running__should_run_it_again_at_once() {
    let Database { store, .. } = &Database::open().await;
    let later = at(1000);
    let outcomes =
        [Outcome::Done, Outcome::Again(later), Outcome::Failed { at: later, error: "boom".into() }];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let n = n as u64;
        nudge(store, n, at(0)).await;
        let running = claim(store, at(0)).await.remove(0);
        nudge(store, n, at(500)).await;
        assert_eq!(claim(store, at(1)).await, [], "{outcome:?}: it runs");
        assert!(settle(store, &running, at(2), outcome.clone()).await);
        let again = claim(store, at(2)).await;
        assert_eq!(again.len(), 1, "{outcome:?}");
        assert!(settle(store, &again[0], at(3), Outcome::Done).await);
        assert_eq!(jobs::depth(store, later).await.unwrap().1, 0, "{outcome:?}");
    }
}

#[tokio::test]
async fn failures__should_count_and_never_drop_the_job() {
    let Database { store, .. } = &Database::open().await;
    nudge(store, 1, at(0)).await;
    for attempt in 0..5 {
        let now = at(i64::from(attempt) * 20);
        let claims = claim(store, now).await;
        assert_eq!(claims[0].attempt, attempt);
        let next = at(i64::from(attempt + 1) * 20);
        assert!(settle(store, &claims[0], now, Outcome::Failed { at: next, error: "e".into() }).await);
    }
    let claims = claim(store, at(100)).await;
    assert!(settle(store, &claims[0], at(100), Outcome::Again(at(100))).await);
    assert_eq!(claim(store, at(100)).await[0].attempt, 0, "waiting is no failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn claimers__should_never_share_a_job() {
    let Database { store, .. } = &Database::open().await;
    let all: BTreeSet<TransferId> = (0..60).map(transfer_id).collect();
    let mut tx = store.write().await.unwrap();
    for id in &all {
        jobs::nudge(&mut tx, *id, at(0)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claims = jobs::claim(&store, at(1), LEASE, 3).await.unwrap();
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims);
            }
        });
    }
    let claims: Vec<Claim> = tasks.join_all().await.into_iter().flatten().collect();
    assert_eq!(claims.len(), all.len(), "a job was claimed twice");
    assert_eq!(claims.iter().map(|claim| claim.transfer).collect::<BTreeSet<_>>(), all);
    assert_eq!(claims.iter().map(|claim| claim.token).collect::<BTreeSet<_>>().len(), all.len());
}

#[tokio::test]
async fn commit__should_wake_who_waits() {
    let Database { store, url, .. } = &Database::open().await;
    let waiting = store.notified();
    nudge(store, 1, at(0)).await;
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("a commit with a nudge wakes");
    let unused = {
        let mut tx = store.write().await.unwrap();
        jobs::nudge(&mut tx, transfer_id(2), at(0)).await.unwrap();
        store.events_notified()
    };
    tokio::pin!(unused);
    // On Postgres others are heard, too: there it may end without cause.
    let heard = !url.starts_with("sqlite:");
    assert!(heard || is_pending(unused.as_mut()).await, "nothing was committed");
}

/// Whether the future is still pending.
async fn is_pending(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    let mut future = Some(future);
    std::future::poll_fn(|cx| {
        let future = future.take().expect("polled once");
        std::task::Poll::Ready(future.poll(cx).is_pending())
    })
    .await
}

#[tokio::test]
async fn job_for_a_signer__should_be_left_to_one_until_it_waited_long() {
    let Database { store, .. } = &Database::open().await;
    let left = Takes::NotForSigner(Duration::from_secs(30));
    let claim_of = async |now, takes| jobs::claim_of(store, now, LEASE, 10, takes).await.unwrap();
    nudge(store, 1, at(0)).await;
    // Nobody has said yet that it needs a signer.
    let first = claim_of(at(0), left).await;
    assert!(matches!(&first[..], [claim] if !claim.for_signer));
    assert!(settle(store, &first[0], at(1), Outcome::ForSigner).await);
    assert_eq!(claim_of(at(1), left).await, []);
    assert_eq!(claim_of(at(30), left).await, []);
    // A nudge makes it no less a signer's.
    nudge(store, 1, at(5)).await;
    assert_eq!(claim_of(at(30), left).await, []);

    // One who can sign has it at once, and where it goes then is open.
    let signer = claim_of(at(30), Takes::All).await;
    assert!(matches!(&signer[..], [claim] if !claim.for_signer));
    assert!(settle(store, &signer[0], at(30), Outcome::Again(at(31))).await);
    let again = claim_of(at(31), left).await;
    assert!(settle(store, &again[0], at(31), Outcome::ForSigner).await);

    // Nobody came for it: it is taken back, and stays a signer's.
    let back = claim_of(at(61), left).await;
    assert!(matches!(&back[..], [claim] if claim.for_signer));
    assert!(settle(store, &back[0], at(61), Outcome::Again(at(62))).await);
    assert_eq!(claim_of(at(62), left).await, []);
    let done = claim_of(at(62), Takes::All).await;
    assert!(settle(store, &done[0], at(62), Outcome::Done).await);
    assert_eq!(jobs::depth(store, at(100)).await.unwrap(), (0, 0));
}
