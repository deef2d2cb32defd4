//! A log that is begun again: after a fork, after a database that was put back, or with a new desk.

use super::{POLICY, Scene};
use bursar_domain::governance::{
    change::{Change, Genesis},
    log::{Entry, Head},
    policy::Policy,
    testing::{TestDesk, genesis, key, rules},
};
use bursar_signer::{
    control::Request,
    governance::Governance,
    store::{Former, RestartRefused, Store},
    verify::RefusalCode as Code,
};

async fn restarted(scene: &mut Scene, trusted: Head) -> Former {
    let (mut former, now) = (None, scene.now());
    for index in 0..2 {
        scene.group.stop(index).await;
        let store = Store::open(&scene.group.store_path(index)).unwrap();
        former = Some(store.restart_governance(&trusted, now).unwrap());
        drop(store);
        scene.group.start(index).await;
    }
    former.unwrap()
}

fn prefix(desk: &TestDesk, count: usize) -> Vec<Entry> {
    desk.entries.iter().take(count).map(|(entry, _)| entry.clone()).collect()
}

#[tokio::test]
async fn restarted_log__should_remember_payments_and_freezes_and_refuse_a_policy_from_before() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let paid = scene.order(1_000_000, 5);
    let package = scene.package(&paid);
    scene.sign(&package).await.unwrap();
    let before = scene.desk.entries.len();
    let older = scene.desk.clone();
    scene.desk.publish(serde_json::from_str::<Policy>(&POLICY.replace("more than", "above")).unwrap());
    scene.teach();
    for daemon in scene.group.daemons.values() {
        daemon.cosigner.desk().handle(Request::Freeze { reason: "drill".into() }).unwrap();
        let head = scene.desk.state.head();
        daemon.cosigner.desk().handle(Request::TrustHead { head }).unwrap();
    }
    let all = scene.entries();
    // From here on the orchestrator shows the log as it was before the policy of today.
    *scene.book.0.lock().unwrap() = Vec::new();
    // Nothing but the policy's place stands in its way.
    let first = Head { seq: 0, digest: scene.desk.pinned() };
    let former = restarted(&mut scene, first).await;
    assert_eq!(former.entries.len(), all.len());
    assert_eq!(former.policy, Some(scene.desk.state.policy().unwrap().version.seq));
    assert_eq!(former.trusted_head, Some(scene.desk.state.head()));
    let fresh = scene.order(1_000_000, 6);
    for daemon in scene.group.daemons.values() {
        let cosigner = &daemon.cosigner;
        assert!(cosigner.store.governance().unwrap().is_empty());
        assert_eq!(cosigner.store.former().unwrap().len(), 1);
        assert_eq!(cosigner.decide(&package).unwrap_err().code, Code::FrozenHere);
        cosigner.desk().handle(Request::Lift {}).unwrap();
        assert_eq!(cosigner.learn(prefix(&scene.desk, before)).unwrap().left, None);
    }
    // A payment under the older policy, with evidence that was good then.
    let newer = std::mem::replace(&mut scene.desk, older);
    let rolled_back = scene.package(&fresh);
    scene.desk = newer;
    for daemon in scene.group.daemons.values() {
        assert_eq!(daemon.cosigner.decide(&rolled_back).unwrap_err().code, Code::GovernanceBehind);
    }
    // Restarting once more forgets nothing of that.
    let former = restarted(&mut scene, first).await;
    assert_eq!(former.entries.len(), before);
    for daemon in scene.group.daemons.values() {
        assert_eq!(daemon.cosigner.learn(prefix(&scene.desk, before)).unwrap().left, None);
        assert_eq!(daemon.cosigner.decide(&rolled_back).unwrap_err().code, Code::GovernanceBehind);
    }
    scene.teach();
    // What it signed it knows: neither another transaction for that order, nor more than the day's limit.
    let mut again = paid.clone();
    let Some(bursar_domain::effects::Resource::Sequence { sequence, .. }) = &mut again.resource else {
        unreachable!()
    };
    *sequence = 99;
    let second = scene.package(&again);
    scene.refused(&second, Code::WouldPayTwice).await;
    scene.refused(&scene.package(&scene.order(2_000_001, 7)), Code::PolicyDenied).await;
    scene.sign(&scene.package(&fresh)).await.unwrap();
}

/// Whoever shows a shorter log undoes what was suspended at its end.
#[tokio::test]
async fn restarted_log__should_be_waited_for_up_to_the_entry_that_was_verified() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let before = scene.desk.entries.len();
    let package = scene.package(&scene.order(1_000_000, 5));
    scene.desk.accept(Change::SuspendUser { user: key("manager.operator").user }, &["client.owner"]);
    scene.teach();
    let (genesis, head) = (scene.desk.pinned(), scene.desk.state.head());
    let least = scene.desk.state.policy().unwrap().version.seq;
    *scene.book.0.lock().unwrap() = Vec::new();
    for _ in 0..2 {
        scene.group.stop(0).await;
        let store = Store::open(&scene.group.store_path(0)).unwrap();
        let trust = |head| store.trust_to_restart(genesis, head).unwrap();
        assert_eq!(trust(None), Err(RestartRefused::TrustMissing), "also when the log is empty");
        let first = Head { seq: 0, digest: genesis };
        assert_eq!(trust(Some(first)), Err(RestartRefused::TrustTooOld { given: 0, least }));
        assert_eq!(trust(Some(Head { seq: 0, ..head })), Err(RestartRefused::NotTheGenesis));
        assert_eq!(trust(Some(head)), Ok(head));
        drop(store);
        scene.group.start(0).await;
        restarted(&mut scene, head).await;
    }
    for daemon in scene.group.daemons.values() {
        assert_eq!(daemon.cosigner.learn(prefix(&scene.desk, before)).unwrap().left, None);
        assert_eq!(daemon.cosigner.decide(&package).unwrap_err().code, Code::GovernanceBehind);
    }
    scene.teach();
    scene.sign(&package).await.unwrap();
}

/// Another first entry is another desk, whose policies have places of their own.
#[tokio::test]
async fn log_of_another_genesis__should_be_taken_after_a_restart_only() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let paid = scene.order(1_000_000, 5);
    scene.sign(&scene.package(&paid)).await.unwrap();
    scene.desk.accept(Change::SuspendUser { user: key("manager.operator").user }, &["client.owner"]);
    scene.teach();
    let now = scene.now();
    // The same people, and a genesis that reads otherwise.
    let mut desk = TestDesk::found(Genesis { desk: "Another desk".into(), ..genesis(rules(0)) });
    for change in scene.desk.entries.iter().skip(1).map(|(entry, _)| entry.read().unwrap().change) {
        let signers: &[&str] = match &change {
            Change::SetPolicy { .. } => &["manager.policy", "platform.policy"],
            Change::PutAddress { .. } => &["client.operator", "manager.approver"],
            _ => &["client.owner"],
        };
        desk.accept(change, signers);
    }
    assert_ne!(desk.pinned(), scene.desk.pinned());
    for index in 0..2 {
        let cosigner = &scene.group.daemons[&index].cosigner;
        let others: Vec<Entry> = desk.entries.iter().map(|(entry, _)| entry.clone()).collect();
        assert_eq!(cosigner.learn(others).unwrap().added, 0);
    }
    scene.group.rules.governance = Some(desk.pinned());
    for index in 0..2 {
        scene.group.stop(index).await;
        let store = Store::open(&scene.group.store_path(index)).unwrap();
        assert!(Governance::replay(desk.pinned(), &store).is_err(), "not without a word of its people");
        let trusted = store.trust_to_restart(desk.pinned(), None).unwrap().unwrap();
        assert_eq!(trusted, Head { seq: 0, digest: desk.pinned() });
        store.restart_governance(&trusted, now).unwrap();
        drop(store);
        scene.group.start(index).await;
    }
    scene.desk = desk;
    scene.teach();
    scene.refused(&scene.package(&scene.order(2_000_001, 7)), Code::PolicyDenied).await;
    scene.sign(&scene.package(&scene.order(1_000_000, 6))).await.unwrap();
}
