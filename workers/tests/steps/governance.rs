//! The log in the database: replayed, followed while others append to it, and its freezes held to.

use crate::support::world::World;
use bursar_domain::{
    governance::{
        change::Change,
        freeze::Scope,
        log::{Entry, EntryDigest},
        state::Refused,
        testing::TestDesk,
    },
    lifecycle::{Status, SubStatus},
    time::Clock as _,
};
use bursar_store::{Store, governance as kept};
use bursar_workers::governance::{AppendError, Governance, GovernanceError};

/// The entry as it is appended by a process of its own.
async fn append(store: &Store, desk: &mut TestDesk, entry: Entry) {
    let other = Governance::load(store, desk.pinned()).await.unwrap();
    let mut tx = store.write().await.unwrap();
    let accepted = other.append(&mut tx, &entry, desk.now).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(desk.try_append(entry).unwrap(), accepted);
}

async fn change(store: &Store, desk: &mut TestDesk, change: Change, signers: &[&str]) {
    let entry = desk.entry(change, signers);
    append(store, desk, entry).await;
}

async fn begin(store: &Store, desk: &TestDesk) {
    let mut tx = store.write().await.unwrap();
    let genesis = &desk.entries[0].0;
    kept::append(&mut tx, desk.state.head(), EntryDigest::NONE, genesis, desk.now).await.unwrap();
    tx.commit().await.unwrap();
}

fn freeze(scope: Scope) -> Change {
    Change::Freeze { scope, reason: "alert 17".into() }
}

#[tokio::test]
async fn log__should_be_followed_while_another_process_appends() {
    let world = World::ethereum().await;
    let store = world.store();
    let mut desk = TestDesk::new(60);
    let missing = Governance::load(store, desk.pinned()).await.err().unwrap();
    assert!(matches!(missing, GovernanceError::Empty { .. }), "{missing}");
    assert!(missing.to_string().contains("governance load"), "{missing}");
    begin(store, &desk).await;
    let wrong = Governance::load(store, EntryDigest([7; 32])).await.err().unwrap();
    assert!(matches!(wrong, GovernanceError::OtherGenesis { .. }), "{wrong}");

    let here = Governance::load(store, desk.pinned()).await.unwrap();
    assert_eq!(*here.state(store).await.unwrap(), desk.state);
    for _ in 0..3 {
        change(store, &mut desk, freeze(Scope::All {}), &["client.owner"]).await;
    }
    assert_eq!(*here.state(store).await.unwrap(), desk.state);
    let lift = desk.entry(Change::Lift { freeze: 1 }, &["client.owner"]);
    let mut tx = store.write().await.unwrap();
    let refused = here.append(&mut tx, &lift, desk.now).await.unwrap_err();
    assert!(matches!(refused, AppendError::Refused(Refused::Approvals { .. })), "{refused}");
    // What was appended and rolled back was never there.
    let entry = desk.entry(freeze(Scope::All {}), &["manager.owner"]);
    here.append(&mut tx, &entry, desk.now).await.unwrap();
    assert_eq!(here.state_in(&mut tx).await.unwrap().head().seq, 4);
    drop(tx);
    assert_eq!(*here.state(store).await.unwrap(), desk.state);

    // A waiting change keeps the moment at which it was first seen.
    change(store, &mut desk, Change::Lift { freeze: 1 }, &["client.owner", "platform.lead"]).await;
    let (first, until) = (desk.now, desk.state.pending().next().unwrap().until);
    desk.wait(60);
    let again = Governance::load(store, desk.pinned()).await.unwrap();
    assert_eq!(again.state(store).await.unwrap().pending().next().unwrap().until, until);
    assert!(until > first);
    change(store, &mut desk, Change::Enact { seq: 4 }, &["client.service"]).await;
    assert_eq!(*here.state(store).await.unwrap(), desk.state);
}

#[tokio::test]
async fn log__should_not_be_believed_when_it_was_rewritten() {
    let (world, other) = (World::ethereum().await, World::ethereum().await);
    let mut desk = TestDesk::new(60);
    for store in [world.store(), other.store()] {
        begin(store, &desk).await;
    }
    let short = desk.clone();
    change(world.store(), &mut desk, freeze(Scope::All {}), &["client.owner"]).await;
    let here = Governance::load(world.store(), desk.pinned()).await.unwrap();
    // The same log, but an older copy; and one that went another way.
    let mut elsewhere = short.clone();
    let older = here.state(other.store()).await.err().unwrap();
    assert!(matches!(older, GovernanceError::Rewritten { .. }), "{older}");
    for owner in ["manager.owner", "client.owner"] {
        change(other.store(), &mut elsewhere, freeze(Scope::All {}), &[owner]).await;
        let forked = here.state(other.store()).await.err().unwrap();
        let expected = matches!(
            forked,
            GovernanceError::Rewritten { .. }
                | GovernanceError::Refused { source: Refused::Previous { .. }, .. }
        );
        assert!(expected, "{forked}");
    }
    // An entry that does not count, written past the checks.
    let forged = elsewhere.entry(Change::Lift { freeze: 1 }, &["client.owner"]);
    let head = bursar_domain::governance::log::Head { seq: 3, digest: forged.digest() };
    let mut tx = other.store().write().await.unwrap();
    kept::append(&mut tx, head, elsewhere.state.head().digest, &forged, desk.now).await.unwrap();
    tx.commit().await.unwrap();
    let refused = Governance::load(other.store(), desk.pinned()).await.err().unwrap();
    assert!(matches!(refused, GovernanceError::Refused { seq: 3, .. }), "{refused}");
}

#[tokio::test]
async fn freeze__should_hold_what_is_not_signed_until_it_is_lifted() {
    for all in [false, true] {
        let mut world = World::ethereum().await;
        let mut desk = TestDesk::new(0);
        begin(world.store(), &desk).await;
        world.context.governance = Some(Governance::load(world.store(), desk.pinned()).await.unwrap());
        desk.now = world.clock.now();
        let policy = r#"{ "currency": "CHF", "priceMaxAgeSeconds": 60, "rules": [{ "id": "all", "then": { "kind": "ALLOW" } }] }"#;
        let publish = Change::SetPolicy { policy: serde_json::from_str(policy).unwrap() };
        change(world.store(), &mut desk, publish, &["manager.policy", "platform.policy"]).await;
        world.desk.ordered_by("client.operator", &desk);
        let id = world.submit("held").await;
        world.until(id, Status::Queued).await;
        let scope = match all {
            true => Scope::All {},
            false => Scope::Transfer { intent: world.transfer(id).await.intent.intent.digest() },
        };
        change(world.store(), &mut desk, freeze(scope), &["platform.officer"]).await;
        world.look(id).await.unwrap();
        assert_eq!(world.status(id).await, (Status::Queued, Some(SubStatus::Frozen)));
        let reason = world.transfer(id).await.reason.unwrap();
        assert!(reason.contains("platform.officer") && reason.contains("alert 17"), "{reason}");
        assert_eq!(world.taken().await, [].into(), "nothing is reserved");
        let lift = Change::Lift { freeze: desk.state.head().seq };
        change(world.store(), &mut desk, lift, &["client.owner", "platform.lead"]).await;
        world.look(id).await.unwrap();
        let (status, _) = world.status(id).await;
        assert!(
            (Status::PendingSignature..Status::Cancelled).contains(&status),
            "no pause after lifting: {status}"
        );
    }
}

#[tokio::test]
async fn freeze__should_keep_a_frozen_package_from_being_signed() {
    let mut world = World::ethereum().await;
    let mut desk = TestDesk::new(0);
    let (id, signed) = (world.submit("package").await, world.submit("signed").await);
    world.until(id, Status::PendingSignature).await;
    begin(world.store(), &desk).await;
    world.context.governance = Some(Governance::load(world.store(), desk.pinned()).await.unwrap());
    desk.now = world.clock.now();
    let wallet = world.transfer(id).await.intent.intent.wallet;
    change(world.store(), &mut desk, freeze(Scope::Wallet { wallet }), &["client.approver"]).await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::Frozen)));
    assert_eq!(world.signer.sessions(), 0);
    world.abort(id).await.expect("a frozen transfer can be withdrawn");
    assert!(world.status(signed).await.0 < Status::PendingSignature);
}
