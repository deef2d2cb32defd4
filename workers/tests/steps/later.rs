//! Not now, and not never: votes after a session began, what co-signers lack, hours at which nothing is paid, and a log that changes.

use crate::{
    authorize::{Governed, WAITS, deny, limit, require, store},
    support::world::World,
};
use bursar_domain::{
    governance::{approval::Vote, change::Change, directory::Group, testing::TestDesk},
    lifecycle::{Status, SubStatus},
    ports::{EVIDENCE_REFUSALS, LATER_REFUSALS, SignError},
    time::Clock as _,
};
use bursar_store::{approvals, velocity};
use bursar_workers::{
    engine::{Next, StepError},
    governance::Governance,
};
use serde_json::{Value, json};
use std::{sync::atomic::Ordering, time::Duration};

fn allow() -> Value {
    json!({ "id": "allow", "then": { "kind": "ALLOW" } })
}

fn broken_off() -> SignError {
    SignError::Aborted { reason: "timed out".into(), started: true }
}

fn not_now(code: &str, started: bool) -> SignError {
    let reason = format!("party 1 could not decide: {code}: it is missing");
    SignError::NotNow { code: code.into(), reason, started }
}

/// With an approval, and a session that began and gave nothing.
async fn begun(name: &str) -> (Governed, bursar_domain::ids::TransferId) {
    let governed = Governed::with(&[require(1, None)]).await;
    let id = governed.world.submit(name).await;
    governed.vote(id, "client.approver", Vote::Approve).await;
    governed.world.signer.fail([broken_off()]);
    assert_eq!(governed.status(id).await, (Status::PendingSignature, Some(SubStatus::SigningFailed)));
    (governed, id)
}

const BEGUN_AND_WAITS: (Status, Option<SubStatus>) =
    (Status::PendingSignature, Some(SubStatus::AwaitingApprovals));

#[tokio::test]
async fn approval_that_expires_after_a_session_began__should_be_given_anew() {
    let (governed, id) = begun("expires").await;
    governed.world.clock.advance(Duration::from_secs(60_000));
    assert_eq!(governed.status(id).await, BEGUN_AND_WAITS);
    assert_eq!(governed.reason(id).await, "approvals missing: people: 0 of 1 of payments");
    assert_eq!(governed.code(id).await, "APPROVALS_MISSING");
    assert_eq!(governed.world.signer.sessions(), 1, "nobody is asked in vain");
    assert_eq!(governed.world.taken().await, [0].into(), "a signature may exist");
    let version = governed.world.transfer(id).await.version;
    governed.status(id).await;
    assert_eq!(governed.world.transfer(id).await.version, version, "waiting writes nothing");
    governed.vote(id, "manager.approver", Vote::Approve).await;
    assert!(governed.status(id).await.0 >= Status::Broadcasting, "at once, without a pause");
    assert_eq!(governed.code(id).await, "AUTHORIZED");
    governed.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn policy_that_is_published_after_a_session_began__should_ask_for_new_approvals_and_count_the_transfer()
{
    let (mut governed, id) = begun("new-policy").await;
    let limited = limit(deny());
    governed.publish(&[allow(), require(2, None), limited]).await;
    governed.world.later();
    assert_eq!(governed.status(id).await, BEGUN_AND_WAITS);
    for user in ["client.approver", "platform.approver"] {
        governed.vote(id, user, Vote::Approve).await;
    }
    assert!(governed.status(id).await.0 >= Status::Broadcasting);
    // It is part of the sums that the new policy limits.
    governed.world.signer.online.store(0, Ordering::SeqCst);
    for (name, stays) in [("second", true), ("third", false)] {
        let other = governed.world.submit(name).await;
        for user in ["client.approver", "platform.approver"] {
            governed.vote(other, user, Vote::Approve).await;
        }
        assert_eq!(governed.status(other).await.0 != Status::Blocked, stays, "{name}");
    }
    governed.world.signer.online.store(3, Ordering::SeqCst);
    governed.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn rejection_after_a_session_began__should_stop_signing_until_it_is_withdrawn() {
    let (governed, id) = begun("rejected").await;
    governed.vote(id, "platform.approver", Vote::Reject).await;
    governed.world.later();
    assert_eq!(governed.status(id).await, (Status::PendingSignature, Some(SubStatus::ApprovalRejected)));
    assert_eq!(governed.reason(id).await, "rejected by platform.approver");
    assert_eq!(governed.world.signer.sessions(), 1);
    governed.world.clock.advance(Duration::from_secs(1));
    governed.vote(id, "platform.approver", Vote::Approve).await;
    governed.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn refusal_for_lack_of_evidence__should_lead_back_to_where_it_is_supplied() {
    for code in EVIDENCE_REFUSALS {
        let governed = Governed::with(&[require(1, None)]).await;
        let id = governed.world.submit(code).await;
        governed.vote(id, "client.approver", Vote::Approve).await;
        governed.world.signer.fail([not_now(code, false)]);
        assert_eq!(
            governed.status(id).await,
            (Status::PendingAuthorization, Some(SubStatus::SignerNotYet)),
            "{code}"
        );
        assert!(governed.reason(id).await.contains(code));
        assert!(governed.world.taken().await.is_empty(), "{code}: nothing is held meanwhile");
        governed.status(id).await;
        assert_eq!(governed.world.signer.sessions(), 1, "{code}: nobody is asked for the same at once");
        governed.world.clock.advance(Duration::from_secs(1));
        governed.vote(id, "manager.approver", Vote::Approve).await;
        assert!(governed.status(id).await.0 >= Status::Broadcasting, "{code}: a vote has it asked at once");
        governed.world.assert_paid_once(id).await;
    }
}

#[tokio::test]
async fn refusal_for_the_time_being__should_end_nothing_and_hold_nothing() {
    for code in LATER_REFUSALS.into_iter().filter(|code| !EVIDENCE_REFUSALS.contains(code)) {
        let world = World::ethereum().await;
        world.signer.fail([not_now(code, false), not_now(code, false), not_now(code, false)]);
        let id = world.submit(code).await;
        let other = world.submit(&format!("other-{code}")).await;
        world.look(id).await.unwrap();
        for (seconds, sessions) in [(0, 1), (6, 2), (6, 2), (6, 3), (12, 3)] {
            world.clock.advance(Duration::from_secs(seconds));
            world.look(id).await.unwrap();
            assert_eq!(world.status(id).await, (Status::Queued, Some(SubStatus::SignerNotYet)), "{code}");
            assert!(world.taken().await.is_empty(), "{code}");
            assert_eq!(world.signer.sessions(), sessions, "{code}: it rests longer each time");
        }
        world.assert_paid_once(other).await;
        assert_eq!(world.finish(id).await.status(), Status::Completed, "{code}");
        assert_eq!(world.chain.paid(code), 1);
    }
}

#[tokio::test]
async fn refusal_for_the_time_being_after_a_session_began__should_keep_what_is_reserved() {
    let world = World::ethereum().await;
    world.signer.fail([not_now("SIGNERS_REQUIRED", true), not_now("SIGNERS_REQUIRED", false)]);
    let id = world.submit("begun").await;
    for sessions in 1..=2 {
        world.look(id).await.unwrap();
        assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::SignerNotYet)));
        assert_eq!((world.taken().await, world.signer.sessions()), ([0].into(), sessions));
        assert!(world.abort(id).await.is_err(), "a signature may exist");
        world.later();
    }
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn entry_of_the_log__should_have_co_signers_asked_again_at_once() {
    let mut governed = Governed::with(&[]).await;
    let id = governed.world.submit("appended").await;
    governed.world.signer.fail([not_now("GOVERNANCE_BEHIND", false)]);
    assert_eq!(governed.status(id).await, (Status::Queued, Some(SubStatus::SignerNotYet)));
    governed.world.clock.advance(Duration::from_secs(1));
    assert_eq!(governed.status(id).await, (Status::Queued, Some(SubStatus::SignerNotYet)));
    governed.desk.now = governed.world.clock.now();
    let user = "platform.viewer".parse().unwrap();
    governed.change(Change::SuspendUser { user }, &["manager.security"]).await;
    assert!(governed.status(id).await.0 >= Status::Broadcasting);
}

const HOUR: u64 = 3600;

/// An ALLOW for an hour of each day, which begins so many hours from now.
fn hour(governed_now: i64, begins_in: i64) -> Value {
    let minute = (governed_now / 60 + begins_in * 60).rem_euclid(24 * 60);
    let time = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let days = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let (from, to) = (time(minute), time((minute + 60).min(24 * 60)));
    let window = json!({ "days": days, "from": from, "to": to });
    json!({ "id": "hour", "when": { "timeWindow": window }, "then": { "kind": "ALLOW" } })
}

async fn by_the_hour(begins_in: i64) -> Governed {
    let mut governed = Governed::with(&[]).await;
    let now = governed.world.clock.now().micros() / 1_000_000;
    governed.publish(&[hour(now, begins_in)]).await;
    governed
}

#[tokio::test]
async fn transfer_that_only_the_hour_denies__should_wait_for_it() {
    let governed = by_the_hour(2).await;
    let id = governed.world.submit("early").await;
    let Next::LookAgain(pause) = governed.world.look(id).await.unwrap() else {
        panic!("it must be looked at")
    };
    assert!(pause <= Duration::from_secs(2 * HOUR), "{pause:?}");
    assert_eq!(
        governed.world.status(id).await,
        (Status::PendingAuthorization, Some(SubStatus::AwaitingWindow))
    );
    assert_eq!(governed.code(id).await, "AWAITING_WINDOW");
    assert!(governed.reason(id).await.contains("a time window opens"));
    governed.world.clock.advance(Duration::from_secs(2 * HOUR));
    assert!(governed.status(id).await.0 >= Status::Broadcasting);
    governed.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn window_that_closes_before_signing__should_leave_it_queued_with_nothing_reserved() {
    let governed = by_the_hour(0).await;
    governed.world.signer.online.store(0, Ordering::SeqCst);
    let id = governed.world.submit("closes").await;
    assert_eq!(governed.status(id).await.0, Status::PendingSignature);
    governed.world.clock.advance(Duration::from_secs(2 * HOUR));
    governed.world.signer.online.store(3, Ordering::SeqCst);
    assert_eq!(governed.status(id).await, (Status::Queued, Some(SubStatus::AwaitingWindow)));
    assert!(governed.world.taken().await.is_empty());
    governed.world.clock.advance(Duration::from_secs(22 * HOUR + 60));
    assert!(governed.status(id).await.0 >= Status::Broadcasting, "without a pause");
    governed.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn window_that_opens_after_the_expiry__should_be_no_reason_to_wait() {
    let mut governed = Governed::with(&[]).await;
    let now = governed.world.clock.now().micros() / 1_000_000;
    let mut late = hour(now, 0);
    // 1970-01-01 was a Thursday. The intent expires in little more than a day.
    let days = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let in_three_days = (now.div_euclid(24 * 3600) + 3 + 3).rem_euclid(7);
    late["when"]["timeWindow"]["days"] = json!([days[usize::try_from(in_three_days).unwrap()]]);
    governed.publish(&[late]).await;
    let id = governed.world.submit("too-late").await;
    assert_eq!(governed.status(id).await.0, Status::Blocked);
}

#[tokio::test]
async fn limit_that_is_published_later__should_count_what_is_not_signed_yet() {
    let mut governed = Governed::with(&[]).await;
    governed.world.signer.online.store(0, Ordering::SeqCst);
    let mut ids = Vec::new();
    for name in ["first", "second", "third"] {
        let id = governed.world.submit(name).await;
        assert_eq!(governed.status(id).await.0, Status::PendingSignature);
        ids.push(id);
    }
    governed.publish(&[allow(), limit(deny())]).await;
    for id in &ids {
        governed.status(*id).await;
    }
    let mut open = 0;
    for id in &ids {
        open += usize::from(governed.status(*id).await.0 != Status::Blocked);
    }
    assert_eq!(open, 2, "three would be above the limit");
    let asked = velocity::Sum {
        name: &format!("ETH wallet {}", governed.world.desk.wallet.descriptor),
        window_seconds: 3600,
        now: governed.world.clock.now(),
        except: governed.world.submit("another").await,
    };
    let sum = velocity::sum(governed.world.store(), asked).await.unwrap().unwrap();
    assert_eq!(sum.to_string(), "2000");
}

/// The log grows between the judgement and the commit that relies on it.
#[tokio::test]
async fn entry_that_comes_while_a_package_is_built__should_count_for_it() {
    let mut governed = Governed::with(&[]).await;
    let id = governed.world.submit("meanwhile").await;
    governed.world.chain.close_gate();
    let context = governed.world.context.clone();
    let looking = tokio::spawn(async move { bursar_workers::engine::look_at(&context, id).await.map(drop) });
    while governed.world.chain.readings() == 0 {
        tokio::task::yield_now().await;
    }
    governed.publish(&[allow(), require(1, None)]).await;
    governed.world.chain.open_gate();
    looking.await.unwrap().unwrap();
    assert_eq!(governed.world.signer.sessions(), 0, "nobody is asked by a policy that is not in force");
    assert_eq!(governed.world.status(id).await, WAITS);
}

#[tokio::test]
async fn votes_of_people_who_are_not_asked__should_not_go_to_the_co_signers() {
    let mut governed = Governed::with(&[]).await;
    let members = ["client.approver".parse().unwrap()].into();
    let group = Group { id: "few".parse().unwrap(), members };
    governed.change(Change::PutGroup { group }, &["client.owner", "manager.security"]).await;
    let groups = json!([{ "group": "few", "quorum": 1 }]);
    let few = json!({ "id": "few", "then": { "kind": "REQUIRE", "of": "ALL", "groups": groups } });
    governed.publish(&[allow(), few]).await;
    let id = governed.world.submit("crowd").await;
    for user in ["manager.approver", "platform.approver"] {
        governed.vote(id, user, Vote::Approve).await;
        assert_eq!(governed.status(id).await, WAITS);
    }
    // Of three votes of one person the oldest and the newest go.
    for _ in 0..3 {
        governed.world.clock.advance(Duration::from_secs(1));
        governed.vote(id, "client.approver", Vote::Approve).await;
    }
    governed.world.assert_paid_once(id).await;
    let shown = governed.world.signer.evidence_shown(id).unwrap().approvals;
    let users: Vec<_> = shown.iter().map(|approval| approval.signature.user.to_string()).collect();
    assert_eq!(users, ["client.approver", "client.approver"]);
    let votes = approvals::of_transfer(governed.world.store(), id).await.unwrap();
    assert_eq!(votes.len(), 5, "all are kept");
    assert_eq!([&shown[0], &shown[1]], [&votes[2].approval, &votes[4].approval]);
}

#[tokio::test]
async fn log_that_cannot_be_relied_on__should_be_said_on_the_transfer() {
    let mut governed = Governed::with(&[require(1, None)]).await;
    let id = governed.world.submit("rewritten").await;
    assert_eq!(governed.status(id).await, WAITS);
    // What this process knows is not what the database holds.
    let other = World::ethereum().await;
    let mut desk = TestDesk::new(0);
    desk.now = other.clock.now();
    let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": [allow()] });
    desk.publish(serde_json::from_value(policy).unwrap());
    store(other.store(), &desk, 0).await;
    let good = governed.world.context.governance.take();
    governed.world.context.governance = Some(Governance::load(other.store(), desk.pinned()).await.unwrap());
    let failed = governed.world.look(id).await;
    assert!(matches!(failed, Err(StepError::Governance(_))), "{failed:?}");
    assert_eq!(
        governed.world.status(id).await,
        (Status::PendingAuthorization, Some(SubStatus::GovernanceUnavailable))
    );
    assert!(governed.reason(id).await.contains("restore the database"));
    governed.world.context.governance = good;
    assert_eq!(governed.status(id).await, WAITS);
}
