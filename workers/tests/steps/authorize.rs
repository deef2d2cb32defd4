//! Policy and approvals: what is not allowed is not signed, and what waits for people says for whom.

use crate::support::world::World;
use bursar_domain::{
    asset::Asset,
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        change::Change,
        freeze::Scope,
        log::{EntryDigest, Head},
        policy::Policy,
        quote::{Quote, SignedQuote},
        testing::{TestDesk, key},
    },
    ids::TransferId,
    lifecycle::{Status, SubStatus},
    time::Clock as _,
};
use bursar_store::{Store, approvals, governance as kept, halts, halts::HaltCode, jobs, quotes};
use bursar_workers::{engine::Next, governance::Governance};
use serde_json::{Value, json};
use std::{sync::atomic::Ordering, time::Duration};

pub struct Governed {
    pub world: World,
    pub desk: TestDesk,
    /// How much of the log is in the database.
    stored: usize,
}

impl Governed {
    /// With these rules beside one that allows everything.
    pub async fn with(rules: &[Value]) -> Self {
        let allow = json!({ "id": "allow", "then": { "kind": "ALLOW" } });
        Self::only(&[&[allow], rules].concat()).await
    }

    pub async fn only(rules: &[Value]) -> Self {
        Self::on(World::ethereum().await, rules).await
    }

    pub async fn on(mut world: World, rules: &[Value]) -> Self {
        let mut desk = TestDesk::new(0);
        desk.now = world.clock.now();
        let pinned = desk.pinned();
        desk.publish(policy(rules));
        world.desk.ordered_by("client.operator", &desk);
        let mut governed = Self { world, desk, stored: 0 };
        governed.store().await;
        let governance = Governance::load(governed.world.store(), pinned).await.unwrap();
        governed.world.context.governance = Some(governance);
        governed
    }

    pub async fn publish(&mut self, rules: &[Value]) {
        self.desk.publish(policy(rules));
        self.store().await;
    }

    pub async fn change(&mut self, change: Change, signers: &[&str]) {
        self.desk.accept(change, signers);
        self.store().await;
    }

    /// As [`publish`](Self::publish), with all that a policy has.
    pub async fn publish_whole(&mut self, policy: Value) {
        self.desk.publish(serde_json::from_value(policy).unwrap());
        self.store().await;
    }

    async fn store(&mut self) {
        store(self.world.store(), &self.desk, self.stored).await;
        self.stored = self.desk.entries.len();
    }

    pub async fn vote(&self, transfer: TransferId, user: &str, vote: Vote) {
        let now = self.world.clock.now();
        let intent = self.world.transfer(transfer).await.intent.intent.digest();
        let (policy, head) = (self.desk.state.policy().unwrap().version, self.desk.state.head());
        let expires_at = now.plus(Duration::from_secs(50_000));
        let payload = ApprovalPayload { intent, policy, head, vote, given_at: now, expires_at };
        let approval = Approval { signature: key(user).sign(&payload.digest()), payload };
        let mut tx = self.world.store().write().await.unwrap();
        approvals::insert(&mut tx, transfer, &approval, now).await.unwrap();
        jobs::nudge(&mut tx, transfer, now).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// What an ETH costs, by this user.
    async fn quote(&self, price: &str, by: &str) {
        let now = self.world.clock.now();
        let quote = Quote {
            genesis: self.desk.pinned(),
            asset: Asset::Eth,
            decimals: 18,
            currency: "CHF".parse().unwrap(),
            price: price.parse().unwrap(),
            quoted_at: now,
            expires_at: now.plus(Duration::from_secs(600)),
        };
        let signed = SignedQuote { signature: key(by).sign(&quote.digest()), quote };
        let mut tx = self.world.store().write().await.unwrap();
        assert!(quotes::put(&mut tx, &signed, now).await.unwrap());
        quotes::nudge_waiting(&mut tx, Asset::Eth, now).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn status(&self, id: TransferId) -> (Status, Option<SubStatus>) {
        self.world.look(id).await.unwrap();
        self.world.status(id).await
    }

    pub async fn reason(&self, id: TransferId) -> String {
        self.world.transfer(id).await.reason.unwrap()
    }

    pub async fn code(&self, id: TransferId) -> String {
        approvals::ruling(self.world.store(), id).await.unwrap().unwrap().0.code
    }
}

/// Puts the desk's entries from this place on into a database, as another process would.
pub async fn store(store: &Store, desk: &TestDesk, from: usize) {
    let mut tx = store.write().await.unwrap();
    for (seq, (entry, at)) in desk.entries.iter().enumerate().skip(from) {
        let previous = match seq.checked_sub(1) {
            Some(before) => desk.entries[before].0.digest(),
            None => EntryDigest::NONE,
        };
        let head = Head { seq: seq as u64, digest: entry.digest() };
        kept::append(&mut tx, head, previous, entry, *at).await.unwrap();
    }
    tx.commit().await.unwrap();
}

fn policy(rules: &[Value]) -> Policy {
    serde_json::from_value(json!({ "currency": "CHF", "priceMaxAgeSeconds": 60, "rules": rules })).unwrap()
}

pub fn require(quorum: u8, deadline: Option<u64>) -> Value {
    let groups = json!([{ "group": "payments", "quorum": quorum }]);
    let mut then = json!({ "kind": "REQUIRE", "of": "ALL", "groups": groups });
    if let Some(deadline) = deadline {
        then["deadlineSeconds"] = json!(deadline);
    }
    json!({ "id": "people", "then": then })
}

/// Above 2500 within an hour; each transfer of these tests pays 1000.
pub fn limit(then: Value) -> Value {
    let velocity = json!({ "windowSeconds": 3600, "of": "ETH", "groupBy": "WALLET", "above": "2500" });
    json!({ "id": "limit", "when": { "velocity": velocity }, "then": then })
}

pub fn deny() -> Value {
    json!({ "kind": "DENY", "reason": "enough for now" })
}

pub const WAITS: (Status, Option<SubStatus>) =
    (Status::PendingAuthorization, Some(SubStatus::AwaitingApprovals));

#[tokio::test]
async fn policy__should_block_what_it_does_not_allow_and_say_why() {
    let governed = Governed::only(&[]).await;
    let id = governed.world.submit("nothing").await;
    assert_eq!(governed.status(id).await, (Status::Blocked, None));
    assert_eq!(governed.reason(id).await, "denied by policy: no rule allows this transfer");
    let (ruling, _) = approvals::ruling(governed.world.store(), id).await.unwrap().unwrap();
    assert_eq!((ruling.code.as_str(), ruling.head), ("POLICY_DENIED", governed.desk.state.head()));
    assert_eq!(ruling.policy, Some(governed.desk.state.policy().unwrap().version));

    let governed = Governed::with(&[json!({ "id": "no", "then": deny() })]).await;
    let id = governed.world.submit("denied").await;
    assert_eq!(governed.status(id).await.0, Status::Blocked);
    assert_eq!(governed.reason(id).await, "denied by policy: rule no: enough for now");
    assert_eq!(governed.world.signer.sessions(), 0);
}

#[tokio::test]
async fn initiator__should_be_an_operator_of_the_log() {
    let mut governed = Governed::with(&[]).await;
    governed.world.desk.ordered_by("client.approver", &governed.desk);
    let id = governed.world.submit("approver").await;
    assert_eq!(governed.status(id).await.0, Status::Rejected);
    assert_eq!(governed.code(id).await, "INITIATOR_NOT_PERMITTED");
    governed.world.desk.ordered_by("nobody", &governed.desk);
    let id = governed.world.submit("nobody").await;
    assert_eq!(governed.status(id).await.0, Status::Rejected);
    assert_eq!(governed.code(id).await, "INITIATOR_UNKNOWN");
}

#[tokio::test]
async fn approvals__should_be_waited_for_and_go_to_the_co_signers() {
    let governed = Governed::with(&[require(2, None)]).await;
    let id = governed.world.submit("large").await;
    assert_eq!(governed.status(id).await, WAITS);
    assert_eq!(governed.reason(id).await, "approvals missing: people: 0 of 2 of payments");
    let version = governed.world.transfer(id).await.version;
    assert_eq!(governed.status(id).await, WAITS);
    assert_eq!(governed.world.transfer(id).await.version, version, "waiting writes nothing");

    governed.vote(id, "client.approver", Vote::Approve).await;
    assert_eq!(governed.status(id).await, WAITS);
    assert_eq!(governed.reason(id).await, "approvals missing: people: 1 of 2 of payments");
    // Neither the same person again, nor who may not approve.
    governed.world.clock.advance(Duration::from_secs(1));
    governed.vote(id, "client.approver", Vote::Approve).await;
    governed.vote(id, "client.operator", Vote::Approve).await;
    assert_eq!(governed.status(id).await, WAITS);
    assert_eq!(governed.world.signer.sessions(), 0);

    governed.vote(id, "manager.approver", Vote::Approve).await;
    governed.world.assert_paid_once(id).await;
    let evidence = governed.world.signer.evidence_shown(id).unwrap();
    assert_eq!(evidence.head, governed.desk.state.head());
    let users: Vec<_> =
        evidence.approvals.iter().map(|approval| approval.signature.user.to_string()).collect();
    assert_eq!(users, ["client.approver", "client.approver", "manager.approver"]);
    assert_eq!(governed.code(id).await, "AUTHORIZED");
}

#[tokio::test]
async fn rejection__should_end_a_transfer_by_those_who_must_approve_only() {
    let governed = Governed::with(&[require(1, None)]).await;
    let id = governed.world.submit("unwanted").await;
    governed.vote(id, "client.owner", Vote::Reject).await;
    assert_eq!(governed.status(id).await, WAITS);
    governed.vote(id, "platform.approver", Vote::Reject).await;
    assert_eq!(governed.status(id).await, (Status::Rejected, Some(SubStatus::ApprovalRejected)));
    assert_eq!(governed.reason(id).await, "rejected by platform.approver");
}

#[tokio::test]
async fn deadline__should_end_what_too_few_approved() {
    let governed = Governed::with(&[require(2, Some(60))]).await;
    let id = governed.world.submit("late").await;
    let Next::LookAgain(pause) = governed.world.look(id).await.unwrap() else {
        panic!("must be looked at again")
    };
    assert!(pause <= Duration::from_secs(61), "{pause:?}");
    governed.vote(id, "client.approver", Vote::Approve).await;
    governed.world.clock.advance(pause);
    assert_eq!(governed.status(id).await, (Status::Expired, Some(SubStatus::ApprovalsOverdue)));
}

#[tokio::test]
async fn delay__should_be_waited_for() {
    let wait = json!({ "id": "wait", "then": { "kind": "DELAY", "seconds": 90 } });
    let governed = Governed::with(&[wait]).await;
    let id = governed.world.submit("patient").await;
    let Next::LookAgain(pause) = governed.world.look(id).await.unwrap() else {
        panic!("must be looked at again")
    };
    assert_eq!(governed.world.status(id).await, (Status::PendingAuthorization, Some(SubStatus::PolicyDelay)));
    governed.world.clock.advance(pause);
    assert!(governed.status(id).await.0 >= Status::Queued);
    governed.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn freeze__should_hold_a_transfer_before_it_is_authorized() {
    let mut governed = Governed::with(&[]).await;
    let freeze = Change::Freeze { scope: Scope::All {}, reason: "alarm".into() };
    governed.change(freeze, &["client.owner"]).await;
    let id = governed.world.submit("frozen").await;
    assert_eq!(governed.status(id).await, (Status::PendingAuthorization, Some(SubStatus::Frozen)));
    let seq = governed.desk.state.head().seq;
    governed.change(Change::Lift { freeze: seq }, &["client.owner", "platform.lead"]).await;
    governed.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn velocity__should_count_what_is_authorized_until_it_ends_unpaid() {
    let governed = Governed::with(&[limit(deny())]).await;
    let world = &governed.world;
    world.signer.online.store(0, Ordering::SeqCst);
    let first = world.submit("first").await;
    let second = world.submit("second").await;
    for id in [first, second] {
        assert!(governed.status(id).await.0 >= Status::Queued);
    }
    let third = world.submit("third").await;
    assert_eq!(governed.status(third).await.0, Status::Blocked);
    world.abort(first).await.unwrap();
    let fourth = world.submit("fourth").await;
    assert!(governed.status(fourth).await.0 >= Status::Queued, "what was aborted counts no more");
    let fifth = world.submit("fifth").await;
    assert_eq!(governed.status(fifth).await.0, Status::Blocked);
    world.signer.online.store(3, Ordering::SeqCst);
    // The fourth has the lower nonce, which the first gave back.
    for id in [fourth, second] {
        world.assert_paid_once(id).await;
    }
    world.clock.advance(Duration::from_secs(3600));
    let later = world.submit("later").await;
    assert!(governed.status(later).await.0 >= Status::Queued, "the window has rolled on");
}

#[tokio::test]
async fn velocity__should_ask_for_approvals_where_its_rule_does() {
    let mut rule = require(1, None);
    rule["when"] = limit(deny())["when"].clone();
    let governed = Governed::with(&[rule]).await;
    for name in ["first", "second"] {
        let id = governed.world.submit(name).await;
        assert!(governed.status(id).await.0 >= Status::Queued);
    }
    let third = governed.world.submit("third").await;
    assert_eq!(governed.status(third).await, WAITS);
    governed.vote(third, "client.approver", Vote::Approve).await;
    governed.world.assert_paid_once(third).await;
}

/// What was paid before there was a rule about it counts, or every new limit could be exceeded once more.
#[tokio::test]
async fn velocity__should_be_known_to_a_rule_that_is_published_later() {
    let mut governed = Governed::with(&[]).await;
    for name in ["first", "second"] {
        let id = governed.world.submit(name).await;
        governed.world.assert_paid_once(id).await;
    }
    let allow = json!({ "id": "allow", "then": { "kind": "ALLOW" } });
    governed.publish(&[allow, limit(deny())]).await;
    let third = governed.world.submit("third").await;
    assert_eq!(governed.status(third).await.0, Status::Blocked);
    governed.world.clock.advance(Duration::from_secs(3600));
    let later = governed.world.submit("later").await;
    assert!(governed.status(later).await.0 >= Status::Queued, "the window has rolled on");
}

/// Each of these transfers pays 1000 wei, which are worth a hundredth at ten trillion for an ETH.
#[tokio::test]
async fn price__should_be_what_a_service_signed_and_go_to_the_co_signers() {
    let mut governed = Governed::with(&[]).await;
    let mut large = require(1, None);
    large["when"] = json!({ "amount": { "in": "FIAT", "above": "1" } });
    let rules = json!([{ "id": "allow", "then": { "kind": "ALLOW" } }, large]);
    let policy = json!({ "currency": "CHF", "priceMaxAgeSeconds": 60, "prices": { "by": ["client.service"] }, "rules": rules });
    governed.publish_whole(policy).await;
    let unpriced = governed.world.submit("unpriced").await;
    assert_eq!(governed.status(unpriced).await, WAITS, "above every limit");
    governed.quote("10000000000000", "client.operator").await;
    assert_eq!(governed.status(unpriced).await, WAITS, "the policy names somebody else");
    governed.quote("10000000000000", "client.service").await;
    governed.world.assert_paid_once(unpriced).await;
    let quote = governed.world.signer.evidence_shown(unpriced).unwrap().quote.unwrap();
    assert_eq!(quote.signature.user.as_str(), "client.service");
    governed.world.clock.advance(Duration::from_secs(1));
    governed.quote("10000000000001", "client.service").await;
    let dearer = governed.world.submit("dearer").await;
    assert_eq!(governed.status(dearer).await, WAITS);
    governed.world.clock.advance(Duration::from_secs(1));
    governed.quote("9000000000000", "client.service").await;
    governed.world.clock.advance(Duration::from_secs(61));
    let stale = governed.world.submit("stale").await;
    assert_eq!(governed.status(stale).await, WAITS);
}

/// The one engine, many workers: however the looks fall, the limit of two holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn velocity__should_hold_when_all_are_decided_at_once() {
    let governed = Governed::with(&[limit(deny())]).await;
    governed.world.signer.online.store(0, Ordering::SeqCst);
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(governed.world.submit(&format!("one-of-many-{n}")).await);
    }
    let mut looks = tokio::task::JoinSet::new();
    for id in ids.clone() {
        let context = governed.world.context.clone();
        looks.spawn(async move { bursar_workers::engine::look_at(&context, id).await.map(drop) });
    }
    while let Some(look) = looks.join_next().await {
        look.unwrap().unwrap();
    }
    let mut queued = 0;
    for id in ids {
        match governed.world.status(id).await.0 {
            Status::Blocked => {}
            status if status >= Status::Queued => queued += 1,
            status => panic!("undecided: {status}"),
        }
    }
    assert_eq!(queued, 2);
}

#[tokio::test]
async fn authorization__should_lapse_when_the_policy_changes_before_signing() {
    let allow = json!({ "id": "allow", "then": { "kind": "ALLOW" } });
    let mut governed = Governed::with(&[]).await;
    governed.world.signer.online.store(0, Ordering::SeqCst);
    let frozen = governed.world.submit("frozen-package").await;
    assert_eq!(governed.status(frozen).await.0, Status::PendingSignature);
    let mut tx = governed.world.store().write().await.unwrap();
    let (network, now) = (governed.world.network, governed.world.clock.now());
    let halt = halts::halt(&mut tx, network, None, HaltCode::Operator, "a pause", now).await.unwrap().id();
    tx.commit().await.unwrap();
    let queued = governed.world.submit("queued").await;
    assert_eq!(governed.status(queued).await, (Status::Queued, Some(SubStatus::AccountHalted)));

    governed.publish(&[allow, require(1, None)]).await;
    let mut tx = governed.world.store().write().await.unwrap();
    halts::lift(&mut tx, halt, "test", "over", now).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    governed.world.signer.online.store(3, Ordering::SeqCst);
    for id in [queued, frozen] {
        assert_eq!(governed.status(id).await, WAITS);
    }
    assert_eq!(governed.world.taken().await, [].into(), "what was reserved is free again");
    assert_eq!(governed.world.signer.sessions(), 0);
    for id in [queued, frozen] {
        governed.vote(id, "client.approver", Vote::Approve).await;
        governed.world.assert_paid_once(id).await;
    }
}

#[tokio::test]
async fn suspension__should_take_an_approval_back() {
    let mut governed = Governed::with(&[require(2, None)]).await;
    let id = governed.world.submit("suspended").await;
    governed.vote(id, "client.approver", Vote::Approve).await;
    let user = "client.approver".parse().unwrap();
    governed.change(Change::SuspendUser { user }, &["manager.security"]).await;
    governed.vote(id, "manager.approver", Vote::Approve).await;
    assert_eq!(governed.status(id).await, WAITS);
    governed.vote(id, "platform.approver", Vote::Approve).await;
    governed.world.assert_paid_once(id).await;
}
