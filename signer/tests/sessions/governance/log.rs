//! A log that is kept back, or is another one.

use super::Scene;
use bursar_domain::governance::testing::key;
use bursar_domain::{
    governance::{
        change::Change,
        log::{EntryDigest, Head},
    },
    ports::SignError,
};
use bursar_signer::{control::Request, governance::Left, verify::RefusalCode as Code};
use bursar_signer_client::PartyStatus;

fn suspend(user: &str) -> Change {
    Change::SuspendUser { user: key(user).user }
}

#[tokio::test]
async fn withheld_entries__should_give_no_signature_until_they_are_there() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    scene.desk.accept(suspend("manager.operator"), &["client.owner"]);
    // Approvers saw an entry that the orchestrator gives to nobody.
    let package = scene.package(&scene.order(1_000_000, 5));
    scene.refused(&package, Code::GovernanceBehind).await;
    // Nor does it help to name an older head, while the approvals name the newer.
    let mut older = package.clone();
    older.authorization.as_mut().unwrap().head = Head { seq: 0, digest: scene.desk.pinned() };
    scene.refused(&older, Code::GovernanceBehind).await;
    let statuses: Vec<PartyStatus> = scene.group.coordinator.status();
    assert!(statuses.iter().all(|one| one.last_refusal.as_ref().unwrap().code == "GOVERNANCE_BEHIND"));
    scene.publish();
    scene.sign(&package).await.unwrap();
}

#[tokio::test]
async fn unknown_or_forked_log__should_give_no_signature() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let mut fork = scene.desk.clone();
    let mut package = scene.package(&scene.order(1_000_000, 5));
    // A place that there is, with another entry.
    let head = &mut package.authorization.as_mut().unwrap().head;
    head.digest = EntryDigest([9; 32]);
    scene.refused(&package, Code::GovernanceForked).await;
    // Two entries for one place, both properly signed: the one that came first stays.
    scene.desk.accept(suspend("manager.operator"), &["client.owner"]);
    scene.teach();
    fork.accept(suspend("platform.viewer"), &["client.owner"]);
    fork.accept(suspend("platform.auditor"), &["client.owner"]);
    let forked: Vec<_> = fork.entries.iter().map(|(entry, _)| entry.clone()).collect();
    let cosigner = &scene.group.daemons[&0].cosigner;
    let taken = cosigner.learn(forked.clone()).unwrap();
    assert_eq!((taken.added, taken.known), (0, forked.len() - 2));
    assert!(matches!(taken.left, Some(Left::Fork { .. })), "{taken:?}");
    let taken = cosigner.learn(vec![forked.last().unwrap().clone()]).unwrap();
    assert!(matches!(taken.left, Some(Left::Fork { .. })), "{taken:?}");
    // What follows the other one proves nothing by itself.
    assert_eq!(cosigner.store.forks().unwrap().len(), 1);
    assert_eq!(cosigner.governance.as_ref().unwrap().head(), Some(scene.desk.state.head()));
    // What is signed on top of the other log is worth nothing here.
    let honest = std::mem::replace(&mut scene.desk, fork);
    scene.publish();
    let package = scene.package(&scene.order(1_000_000, 6));
    let error = scene.sign(&package).await.unwrap_err();
    let forked = matches!(&error, SignError::NotNow { code, started: false, .. } if code == "GOVERNANCE_BEHIND" || code == "GOVERNANCE_FORKED");
    assert!(forked, "{error:?}");
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    let mut early = package.clone();
    let authorization = early.authorization.as_mut().unwrap();
    authorization.head.seq = honest.state.head().seq;
    scene.refused(&early, Code::GovernanceForked).await;
    scene.desk = honest;
    scene.publish();
    scene.sign(&scene.package(&scene.order(1_000_000, 7))).await.unwrap();
}

#[tokio::test]
async fn entries_that_count_for_nothing__should_not_enter_the_log() {
    let mut scene = Scene::new(2, 2).await;
    let cosigner = scene.group.daemons[&0].cosigner.clone();
    let entries = scene.entries();
    // Not the pinned genesis, not in order.
    let mut other = entries[0].clone();
    other.document.push(' ');
    assert!(matches!(cosigner.learn(vec![other]).unwrap().left, Some(Left::Refused { seq: 0, .. })));
    let gap = Some(Left::Gap { next: 0, found: 1 });
    assert_eq!(cosigner.learn(entries[1..].to_vec()).unwrap().left, gap);
    scene.teach();
    // The author alone cannot publish a policy.
    let policy = serde_json::from_str(super::POLICY).unwrap();
    let alone = scene.desk.entry(Change::SetPolicy { policy }, &["manager.policy"]);
    let mut forged = scene.desk.entry(suspend("manager.operator"), &["client.owner"]);
    forged.signatures[0] = key("client.owner").sign(&[0; 32]);
    let mut garbage = forged.clone();
    garbage.document = "{".repeat(1000);
    for entry in [alone, forged, garbage] {
        assert_eq!(cosigner.learn(vec![entry]).unwrap().added, 0);
    }
    let head = cosigner.governance.as_ref().unwrap().head();
    assert_eq!(head, Some(scene.desk.state.head()));
    // What the store has is what it replays.
    scene.group.stop(0).await;
    drop(cosigner);
    scene.group.start(0).await;
    assert_eq!(scene.group.daemons[&0].cosigner.governance.as_ref().unwrap().head(), head);
}

/// Alarms that anybody can raise say nothing.
#[tokio::test]
async fn forged_evidence_of_a_fork__should_be_ignored_and_true_evidence_be_told_once() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let mut other = scene.desk.clone();
    scene.desk.accept(suspend("manager.operator"), &["client.owner"]);
    scene.teach();
    let cosigner = scene.group.daemons[&0].cosigner.clone();
    let seq = scene.desk.state.head().seq;
    let honest = other.entry(suspend("platform.viewer"), &["client.owner"]);
    let mut unsigned = honest.clone();
    unsigned.signatures.clear();
    let mut forged = honest.clone();
    forged.signatures[0] = key("client.owner").sign(&[0; 32]);
    let unable = other.entry(suspend("platform.viewer"), &["client.operator"]);
    // However many of them there are, what is true is still looked at.
    let flood = std::iter::repeat_n(forged.clone(), 50);
    for entry in [unsigned, forged, unable].into_iter().chain(flood) {
        let taken = cosigner.learn(vec![entry]).unwrap();
        assert!(taken.left.is_some() && taken.contradicted.is_none(), "{taken:?}");
    }
    assert!(cosigner.store.forks().unwrap().is_empty());
    let heard = scene.group.coordinator.contradictions();
    // The orchestrator's own log is the other one: it gets what contradicts it.
    other.accept(suspend("platform.viewer"), &["client.owner"]);
    let ours = scene.entries();
    *scene.book.0.lock().unwrap() = other.entries.iter().map(|(entry, _)| entry.clone()).collect();
    scene.group.coordinator.level();
    let mut heard = heard;
    let told = tokio::time::timeout(crate::support::LIMIT, heard.recv()).await.unwrap().unwrap();
    assert_eq!(told.entry, ours[usize::try_from(seq).unwrap()]);
    let standing = |status: &PartyStatus| status.log.and_then(|log| log.standing);
    crate::support::eventually("all are beside", || {
        let all = scene.group.coordinator.status();
        all.iter().all(|one| standing(one) == Some(bursar_signer_client::Standing::Beside)).then_some(())
    })
    .await;
    // However often it is brought again: what cannot be looked at closely any more is left, and told nobody.
    for _ in 0..50 {
        let taken = cosigner.learn(vec![honest.clone()]).unwrap();
        assert_eq!(taken.added, 0);
    }
    assert_eq!(cosigner.store.forks().unwrap().len(), 1);
}

/// Delays begin when an entry is first seen: so it must be seen at once.
#[tokio::test]
async fn entries_that_a_cosigner_missed__should_come_with_its_link_and_after_a_gap() {
    let mut scene = Scene::new(2, 2).await;
    scene.group.stop(1).await;
    scene.desk.accept(suspend("manager.operator"), &["client.owner"]);
    scene.publish();
    scene.group.start(1).await;
    let level = |scene: &Scene| {
        let (all, head) = (scene.group.coordinator.status(), scene.desk.state.head());
        let there = |one: &PartyStatus| one.log.and_then(|log| log.head) == Some(head);
        (all[1..].iter().all(there)).then_some(())
    };
    crate::support::eventually("what it missed is there", || level(&scene)).await;
    // Two are appended, and the first announcement is lost.
    scene.desk.accept(suspend("platform.viewer"), &["client.owner"]);
    scene.desk.accept(suspend("platform.auditor"), &["client.owner"]);
    scene.publish();
    scene.group.coordinator.announce(vec![scene.entries().pop().unwrap()]);
    crate::support::eventually("the gap is filled", || level(&scene)).await;
    let seen = scene.group.daemons[&1].cosigner.store.governance().unwrap();
    assert!(seen.iter().all(|one| one.seen_at == scene.now()));
}

#[tokio::test]
async fn head_that_the_party_knows_of__should_be_waited_for() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    // Signed with what was in force then; the orchestrator keeps back what came after.
    let package = scene.package(&scene.order(1_000_000, 5));
    scene.desk.accept(suspend("manager.approver"), &["client.owner"]);
    for daemon in scene.group.daemons.values() {
        let desk = daemon.cosigner.desk();
        let wrong = Head { digest: EntryDigest([9; 32]), ..Head { seq: 1, digest: EntryDigest::NONE } };
        assert!(desk.handle(Request::TrustHead { head: wrong }).is_err());
        desk.handle(Request::TrustHead { head: scene.desk.state.head() }).unwrap();
    }
    scene.refused(&package, Code::GovernanceBehind).await;
    scene.teach();
    scene.refused(&package, Code::ApprovalsMissing).await;
}
