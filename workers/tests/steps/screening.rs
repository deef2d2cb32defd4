//! Screening: what has no answer waits for people, what is held is let go by their signatures only, and an answer counts no longer than it
//! says.

#[path = "screening_deposits.rs"]
mod deposits;

use crate::{
    replace::{FASTER, refused},
    shared::basics::lock,
    support::{
        screener::{Reply, SERVICE, Screener},
        world::World,
    },
};
use bursar_domain::{
    governance::{
        log::{EntryDigest, Head},
        policy::Policy,
        role::Role,
        testing::{TestDesk, genesis, key, rules, user},
        verdict::{
            Exhibit, InvalidRelease, Rejection, Release, SignedRejection, SignedRelease, VerdictDigest,
        },
    },
    ids::TransferId,
    lifecycle::{State, Status, SubStatus, Verb},
    network::Network,
    ports::SignError,
    screening::{Alert, AlertSubject, Inquiry, RiskBand, Screened, SignedAlert, Unanswered},
    signing::PartyRole,
    time::Clock as _,
};
use bursar_store::{
    cases::{self, CaseSubject, Cause},
    events, governance as kept, reviews,
    screenings::{self, Progress, Subject},
    transactions,
};
use bursar_workers::{
    engine::Next,
    governance::Governance,
    screening::{
        Screening, ScreeningSettings,
        alerts::{self, AlertError, Origin},
        review::{self, ReviewError},
        watch,
    },
};
use serde_json::json;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

struct Desk {
    world: World,
    screener: Arc<Screener>,
    desk: Option<TestDesk>,
}

/// The longest that a test's service may be silent. Only what never answers waits for it.
const TIMEOUT: Duration = Duration::from_millis(50);

fn settings() -> ScreeningSettings {
    ScreeningSettings {
        timeout: Duration::from_secs(60),
        retries: 2,
        retry: Duration::from_secs(1),
        poll: Duration::from_millis(5),
    }
}

impl Desk {
    /// Nothing is governed.
    async fn alone() -> Self {
        let mut world = World::ethereum().await;
        let screener = Screener::new(world.clock.clone());
        world.context.screening = Some(Screening::new(screener.clone(), settings()));
        Self { world, screener, desk: None }
    }

    /// With a policy that allows everything which was screened within this time.
    async fn governed(max_age_seconds: u64) -> Self {
        let mut screened = Self::alone().await;
        let mut genesis = genesis(rules(0));
        for id in ["platform.lead2", "manager.lead"] {
            genesis.users.push(user(id, PartyRole::WealthManager, [Role::ComplianceLead]));
        }
        let mut desk = TestDesk::found(genesis);
        desk.now = screened.world.clock.now();
        desk.publish(policy(max_age_seconds));
        screened.world.desk.ordered_by("client.operator", &desk);
        let mut tx = screened.world.store().write().await.unwrap();
        let mut previous = EntryDigest::NONE;
        for (seq, (entry, at)) in desk.entries.iter().enumerate() {
            let head = Head { seq: seq as u64, digest: entry.digest() };
            kept::append(&mut tx, head, previous, entry, *at).await.unwrap();
            previous = head.digest;
        }
        tx.commit().await.unwrap();
        let governance = Governance::load(screened.world.store(), desk.pinned()).await.unwrap();
        screened.world.context.governance = Some(governance);
        *lock(&screened.screener.genesis) = desk.pinned();
        screened.desk = Some(desk);
        screened
    }

    async fn status(&self, id: TransferId) -> (Status, Option<SubStatus>) {
        self.world.look(id).await.unwrap();
        self.world.status(id).await
    }
    async fn open(&self, id: TransferId) -> Vec<Cause> {
        let open = cases::open_of(self.world.store(), &CaseSubject::Transfer(id)).await.unwrap();
        open.into_iter().map(|case| case.cause).collect()
    }
    async fn settled(&self, id: TransferId) -> screenings::Screening {
        screenings::settled(self.world.store(), Subject::Transfer(id)).await.unwrap().unwrap()
    }

    /// A release of what is held now, signed by these.
    async fn release(&self, id: TransferId, signers: &[&str]) -> SignedRelease {
        let now = self.world.clock.now();
        let verdict = match self.settled(id).await.progress {
            Progress::Complete { verdict, .. } => {
                verdict.map(|signed| VerdictDigest(signed.verdict.digest()))
            }
            _ => None,
        };
        let release = Release {
            genesis: self.desk.as_ref().unwrap().pinned(),
            intent: self.world.transfer(id).await.intent.intent.digest(),
            verdict,
            reason: "looked into".into(),
            evidence: vec![Exhibit::Record { uri: "urn:bursar:case:1".into() }],
            released_at: now,
            expires_at: now.plus(Duration::from_secs(24 * 3600)),
        };
        let signatures = signers.iter().map(|user| key(user).sign(&release.digest())).collect();
        SignedRelease { release, signatures }
    }
    async fn hand_in(&self, id: TransferId, release: &SignedRelease) -> Result<review::Taken, ReviewError> {
        let context = &self.world.context;
        review::release(context, context.governance.as_ref().unwrap(), id, release).await
    }

    async fn alert(&self, id: &str, transfer: TransferId) -> SignedAlert {
        let order = self.world.transfer(transfer).await.intent.intent.digest();
        self.signed_alert(id, AlertSubject::Transfer(order), SERVICE)
    }
    fn signed_alert(&self, id: &str, subject: AlertSubject, by: &str) -> SignedAlert {
        let alert = Alert {
            id: id.into(),
            subject,
            risk: RiskBand::Severe,
            sanctions: false,
            description: "paid to a mixer".into(),
            raised_at: self.world.clock.now(),
        };
        SignedAlert { signature: key(by).sign(&alert.digest()), alert }
    }
    async fn take(&self, alert: &SignedAlert) -> Result<alerts::Taken, AlertError> {
        alerts::take(&self.world.context, alert, Origin::Callback).await
    }
}

fn policy(max_age_seconds: u64) -> Policy {
    let screening = json!({ "by": [SERVICE], "maxAgeSeconds": max_age_seconds });
    let rules = json!([{ "id": "allow", "then": { "kind": "ALLOW" } }]);
    let policy =
        json!({ "currency": "CHF", "priceMaxAgeSeconds": 60, "screening": screening, "rules": rules });
    serde_json::from_value(policy).unwrap()
}

const HELD: (Status, Option<SubStatus>) = (Status::PendingReview, Some(SubStatus::ScreeningReview));
const OUT: (Status, Option<SubStatus>) = (Status::PendingReview, Some(SubStatus::ScreeningUnavailable));

#[tokio::test]
async fn clear__should_let_a_transfer_go_and_be_asked_once() {
    let screened = Desk::alone().await;
    let id = screened.world.submit("clear").await;
    screened.world.assert_paid_once(id).await;
    assert_eq!(screened.screener.asked("OUTBOUND"), [0]);
    let Inquiry::Outbound { order } = screened.screener.inquiries("OUTBOUND").remove(0) else { panic!() };
    assert_eq!(*order, screened.world.transfer(id).await.intent);
    assert_eq!(screened.open(id).await, []);
}

#[tokio::test]
async fn pending__should_wait_in_plain_sight_and_be_asked_again_in_its_round() {
    let screened = Desk::alone().await;
    screened.screener.next([Reply::Pending(Duration::from_secs(60)), Reply::Pending(Duration::from_secs(1))]);
    let id = screened.world.submit("pending").await;
    let waits = (Status::PendingScreening, Some(SubStatus::ScreeningPending));
    assert_eq!(screened.status(id).await, waits);
    assert!(screened.world.transfer(id).await.reason.unwrap().contains("ref-1"));
    // However often it is looked at, the service is left in peace until then.
    assert!(
        matches!(screened.world.look(id).await.unwrap(), Next::LookAgain(pause) if pause > Duration::from_secs(50))
    );
    assert_eq!(screened.screener.asked("OUTBOUND"), [0]);
    screened.world.later();
    assert_eq!(screened.status(id).await, waits);
    screened.world.later();
    screened.world.assert_paid_once(id).await;
    assert_eq!(screened.screener.asked("OUTBOUND"), [0, 0, 0]);
}

#[tokio::test]
async fn silence_and_outages__should_be_asked_again_and_then_wait_for_people() {
    let screened = Desk::alone().await;
    let down = || Reply::Not(Unanswered::Unavailable("down".into()));
    screened.screener.next([down(), Reply::Not(Unanswered::Timeout), down()]);
    let id = screened.world.submit("outage").await;
    for _ in 0..2 {
        assert_eq!(screened.status(id).await, (Status::PendingScreening, Some(SubStatus::ScreeningPending)));
        screened.world.later();
    }
    assert_eq!(screened.status(id).await, OUT);
    assert_eq!(screened.screener.asked("OUTBOUND"), [0, 0, 0]);
    assert_eq!(screened.open(id).await, [Cause::Outage]);
    assert_eq!(screened.world.signer.sessions(), 0);
    // The outage is over: somebody has it screened again, in a new round.
    review::rescreen(&screened.world.context, id).await.unwrap();
    screened.world.assert_paid_once(id).await;
    assert_eq!(screened.screener.asked("OUTBOUND"), [0, 0, 0, 1]);
    assert_eq!(screened.open(id).await, []);
}

#[tokio::test]
async fn no_usable_answer__should_wait_for_people_at_once() {
    let screened = Desk::alone().await;
    let text = || "x".to_owned();
    for (n, reply) in [
        Reply::Not(Unanswered::Unsupported(text())),
        Reply::Not(Unanswered::Unknown(text())),
        Reply::Not(Unanswered::Malformed(text())),
        Reply::Not(Unanswered::Refused(text())),
        Reply::OtherOrder,
    ]
    .into_iter()
    .enumerate()
    {
        screened.screener.next([reply]);
        let id = screened.world.submit(&format!("unanswered-{n}")).await;
        assert_eq!(screened.status(id).await, OUT, "{n}");
        assert!(matches!(screened.settled(id).await.progress, Progress::Failed(_)));
        assert_eq!(screened.open(id).await, [Cause::Outage]);
    }
    assert_eq!(screened.world.signer.sessions(), 0);
}

#[tokio::test]
async fn a_service_that_says_nothing__should_be_left_after_a_time() {
    let mut screened = Desk::alone().await;
    let settings = ScreeningSettings { timeout: TIMEOUT, retries: 0, ..settings() };
    screened.world.context.screening = Some(Screening::new(screened.screener.clone(), settings));
    screened.screener.next([Reply::Silent]);
    let id = screened.world.submit("silent").await;
    assert_eq!(screened.status(id).await, OUT);
    assert_eq!(screened.settled(id).await.progress, Progress::Failed(Unanswered::Timeout));
}

#[tokio::test]
async fn review__should_hold_and_block_should_end() {
    let screened = Desk::alone().await;
    screened.screener.next([Reply::Says(Screened::Review), Reply::Says(Screened::Block)]);
    let held = screened.world.submit("review").await;
    assert_eq!(screened.status(held).await, HELD);
    assert_eq!(screened.open(held).await, [Cause::Review]);
    let blocked = screened.world.submit("block").await;
    assert_eq!(screened.status(blocked).await, (Status::Rejected, Some(SubStatus::ScreeningBlocked)));
    // Nobody looks: it ends with its order, and its case with it.
    screened.world.clock.advance(Duration::from_secs(100_001));
    assert_eq!(screened.status(held).await, (Status::Expired, Some(SubStatus::IntentExpired)));
    assert_eq!(screened.open(held).await, []);
    assert_eq!(screened.world.signer.sessions(), 0);
}

#[tokio::test]
async fn death_while_it_is_asked__should_ask_the_same_round_again() {
    let screened = Desk::alone().await;
    screened.screener.next([Reply::Silent]);
    let id = screened.world.submit("death").await;
    let heard = screened.screener.heard.notified();
    tokio::pin!(heard);
    heard.as_mut().enable();
    tokio::select! {
        looked = screened.world.look(id) => panic!("it was to be cut off: {looked:?}"),
        () = &mut heard => {}
    }
    assert_eq!(screened.world.status(id).await.0, Status::PendingScreening);
    screened.world.assert_paid_once(id).await;
    assert_eq!(screened.screener.asked("OUTBOUND"), [0, 0]);
}

#[tokio::test]
async fn expired_answer__should_be_asked_anew_before_anything_is_signed() {
    let screened = Desk::alone().await;
    *lock(&screened.screener.lives) = Duration::from_secs(100);
    // Frozen, and nobody there to sign it.
    screened.world.signer.online.store(1, Ordering::SeqCst);
    let id = screened.world.submit("expires").await;
    assert_eq!(screened.status(id).await.0, Status::PendingSignature);
    screened.world.later();
    assert_eq!(screened.status(id).await.0, Status::PendingSignature, "screened, and frozen again");
    assert_eq!(screened.screener.asked("OUTBOUND"), [0, 1]);
    // It is held the next time: what was reserved is free again.
    screened.screener.next([Reply::Says(Screened::Review)]);
    screened.world.later();
    assert_eq!(screened.status(id).await, HELD);
    assert_eq!(screened.world.taken().await.len(), 0);
    assert_eq!(screened.world.signer.sessions(), 0);
}

#[tokio::test]
async fn alert__should_freeze_what_is_not_signed_and_flag_what_is() {
    let screened = Desk::governed(1_000_000).await;
    let paid = screened.world.submit("paid").await;
    screened.world.until(paid, Status::Confirming).await;
    screened.world.signer.online.store(1, Ordering::SeqCst);
    let waiting = screened.world.submit("waiting").await;
    assert_eq!(screened.status(waiting).await.0, Status::PendingSignature);
    let sessions = screened.world.signer.sessions();

    let first = screened.alert("one", waiting).await;
    let taken = screened.take(&first).await.unwrap();
    assert!(taken.new);
    let again = screened.take(&first).await.unwrap();
    assert_eq!((again.case, again.new), (taken.case, false));
    let mut other = first.clone();
    other.alert.description = "something else".into();
    other.signature = key(SERVICE).sign(&other.alert.digest());
    assert!(matches!(screened.take(&other).await, Err(AlertError::IdReused)));
    screened.take(&screened.alert("two", paid).await).await.unwrap();

    let flags = screened.world.transfer(paid).await.flags;
    assert_eq!((flags.frozen, flags.alerted), (false, true));
    assert_eq!(screened.open(paid).await, [Cause::Alert]);
    screened.world.signer.online.store(3, Ordering::SeqCst);
    screened.world.later();
    assert_eq!(screened.status(waiting).await, (Status::PendingSignature, Some(SubStatus::ScreeningAlert)));
    assert_eq!(screened.world.signer.sessions(), sessions, "handed to nobody");

    // An alert after it: the release that was begun before does not lift that.
    let begun = screened.release(waiting, &["platform.officer"]).await;
    assert!(screened.hand_in(waiting, &begun).await.unwrap().missing.is_some());
    screened.world.clock.advance(Duration::from_secs(10));
    screened.take(&screened.alert("three", waiting).await).await.unwrap();
    let complete =
        SignedRelease { signatures: vec![key("platform.lead").sign(&begun.release.digest())], ..begun };
    assert!(screened.hand_in(waiting, &complete).await.unwrap().missing.is_none());
    assert!(screened.world.transfer(waiting).await.flags.frozen);
    let release = screened.release(waiting, &["platform.officer", "platform.lead"]).await;
    assert!(screened.hand_in(waiting, &release).await.unwrap().missing.is_none());
    assert_eq!(screened.open(waiting).await, []);
    screened.world.assert_paid_once(waiting).await;
}

#[tokio::test]
async fn alert_about_an_address__should_freeze_who_pays_it() {
    let screened = Desk::governed(1_000_000).await;
    screened.world.signer.online.store(1, Ordering::SeqCst);
    let (bad, good) = (screened.world.submit("bad").await, screened.world.submit("good").await);
    screened.status(bad).await;
    screened.status(good).await;
    let about = |network: Network| AlertSubject::Address { network, address: "bad".into() };
    let alert = screened.signed_alert("address", about(screened.world.network), SERVICE);
    screened.take(&alert).await.unwrap();
    assert!(screened.world.transfer(bad).await.flags.frozen);
    assert!(!screened.world.transfer(good).await.flags.alerted);
    assert_eq!(screened.open(bad).await, [Cause::Alert]);
}

#[tokio::test]
async fn alerts__should_count_by_the_services_signature_only() {
    let screened = Desk::governed(1_000_000).await;
    let id = screened.world.submit("forged").await;
    screened.world.signer.online.store(1, Ordering::SeqCst);
    screened.status(id).await;
    let alert = screened.alert("forged", id).await;
    let by_other = screened.signed_alert("forged", alert.alert.subject.clone(), "client.service");
    let mut changed = alert.clone();
    changed.alert.id = "other".into();
    for wrong in [&by_other, &changed] {
        assert!(matches!(screened.take(wrong).await, Err(AlertError::NotScreener(_))));
    }
    let mut endless = alert;
    endless.alert.description = "x".repeat(5000);
    assert!(matches!(screened.take(&endless).await, Err(AlertError::Invalid(_))));
    assert!(!screened.world.transfer(id).await.flags.alerted);
    // Where nothing is governed nobody's callback counts; what is fetched does.
    let alone = Desk::alone().await;
    let id = alone.world.submit("alone").await;
    alone.world.signer.online.store(1, Ordering::SeqCst);
    alone.status(id).await;
    let alert = alone.alert("one", id).await;
    assert!(matches!(alone.take(&alert).await, Err(AlertError::NoScreener)));
    lock(&alone.screener.alerts).push(alert);
    let screening = alone.world.context.screening.clone().unwrap();
    assert_eq!(watch::poll(&alone.world.context, &screening).await.unwrap(), 1);
    assert_eq!(watch::poll(&alone.world.context, &screening).await.unwrap(), 0);
    assert!(alone.world.transfer(id).await.flags.frozen);
    // Nobody can sign a release there: closing the case lifts it.
    let case = cases::open_of(alone.world.store(), &CaseSubject::Transfer(id)).await.unwrap().remove(0);
    review::close(&alone.world.context, case.id, "ann", "a mistake of the provider").await.unwrap();
    alone.world.signer.online.store(3, Ordering::SeqCst);
    alone.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn polled_alert_whose_signature_does_not_count__should_wait_and_not_be_skipped() {
    let screened = Desk::governed(1_000_000).await;
    screened.world.signer.online.store(1, Ordering::SeqCst);
    let id = screened.world.submit("rotated").await;
    screened.status(id).await;
    let good = screened.alert("rotated", id).await;
    let by_other = screened.signed_alert("rotated", good.alert.subject.clone(), "client.service");
    lock(&screened.screener.alerts).push(by_other);
    let screening = screened.world.context.screening.clone().unwrap();
    assert_eq!(watch::poll(&screened.world.context, &screening).await.unwrap(), 0);
    assert!(!screened.world.transfer(id).await.flags.frozen);
    lock(&screened.screener.alerts)[0] = good;
    assert_eq!(watch::poll(&screened.world.context, &screening).await.unwrap(), 1);
    assert!(screened.world.transfer(id).await.flags.frozen);
}

#[tokio::test]
async fn release_dated_ahead__should_not_lift_an_alert_that_came_after_it() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Says(Screened::Review)]);
    let id = screened.world.submit("ahead").await;
    assert_eq!(screened.status(id).await, HELD);
    let mut release = screened.release(id, &[]).await.release;
    release.released_at = release.released_at.plus(Duration::from_secs(60));
    let sign = |user: &str| SignedRelease {
        signatures: vec![key(user).sign(&release.digest())],
        release: release.clone(),
    };
    screened.hand_in(id, &sign("platform.lead")).await.unwrap();
    screened.world.clock.advance(Duration::from_secs(1));
    screened.take(&screened.alert("after", id).await).await.unwrap();
    let taken = screened.hand_in(id, &sign("platform.officer")).await.unwrap();
    assert!(taken.missing.is_none());
    assert!(screened.world.transfer(id).await.flags.frozen);
}

#[tokio::test]
async fn verdict__should_go_to_the_co_signers_and_be_the_services() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::SignedBy("client.service"), Reply::SignedBy("client.operator")]);
    for name in ["other-service", "operator"] {
        let id = screened.world.submit(name).await;
        assert_eq!(screened.status(id).await, OUT);
        let Progress::Failed(failure) = screened.settled(id).await.progress else { panic!() };
        assert_eq!(failure.code(), "MALFORMED");
    }
    let id = screened.world.submit("clear").await;
    screened.world.assert_paid_once(id).await;
    let evidence = screened.world.signer.packages_for(id).pop().unwrap().authorization.unwrap();
    let verdict = evidence.verdict.unwrap();
    assert_eq!((verdict.verdict.reference.as_str(), evidence.releases.len()), ("ref-3", 0));
}

#[tokio::test]
async fn release__should_take_an_officer_and_a_lead_who_did_not_order_it() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Says(Screened::Review)]);
    let id = screened.world.submit("review").await;
    assert_eq!(screened.status(id).await, HELD);

    // Not without the log's people, not with half of them, and nobody twice.
    for (user, expected) in
        [("client.approver", "NotCompliance"), ("client.operator", "Initiator"), (SERVICE, "NotCompliance")]
    {
        let refused = screened.hand_in(id, &screened.release(id, &[user]).await).await.unwrap_err();
        assert!(format!("{refused:?}").contains(expected), "{user}: {refused:?}");
    }
    let mut forged = screened.release(id, &["platform.officer", "platform.lead"]).await;
    forged.release.reason.push('!');
    let refused = screened.hand_in(id, &forged).await;
    assert!(matches!(refused, Err(ReviewError::Release(InvalidRelease::Signature(_)))), "{refused:?}");
    let mut other = screened.release(id, &[]).await.release;
    other.verdict = Some(VerdictDigest([1; 32]));
    let other =
        SignedRelease { signatures: vec![key("platform.lead").sign(&other.digest())], release: other };
    let refused = screened.hand_in(id, &other).await;
    assert!(matches!(refused, Err(ReviewError::Release(InvalidRelease::Other))), "{refused:?}");
    let mut bare = screened.release(id, &[]).await.release;
    bare.evidence.clear();
    let signatures = ["platform.officer", "platform.lead"].map(|user| key(user).sign(&bare.digest()));
    let bare = SignedRelease { signatures: signatures.into(), release: bare };
    let refused = screened.hand_in(id, &bare).await;
    assert!(matches!(refused, Err(ReviewError::Release(InvalidRelease::Evidence(_)))), "{refused:?}");
    // As it may be from before there was evidence: it is shown, and lets nothing go.
    let store = screened.world.store();
    let mut tx = store.write().await.unwrap();
    reviews::sign(&mut tx, id, &bare, screened.world.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(screened.status(id).await, HELD);
    let lead = screened.release(id, &["platform.lead", "platform.lead"]).await;
    let half = screened.hand_in(id, &lead).await.unwrap();
    assert_eq!(half.missing, Some(InvalidRelease::OfficerAndLead));
    assert!(!screened.hand_in(id, &lead).await.unwrap().new, "the same again");
    assert_eq!(screened.status(id).await, HELD);

    let officer = SignedRelease {
        signatures: vec![key("platform.officer").sign(&lead.release.digest())],
        release: lead.release.clone(),
    };
    assert!(screened.hand_in(id, &officer).await.unwrap().missing.is_none());
    screened.world.assert_paid_once(id).await;
    assert_eq!(screened.open(id).await, []);
    let evidence = screened.world.signer.packages_for(id).pop().unwrap().authorization.unwrap();
    assert_eq!(evidence.releases.len(), 1);
    assert_eq!(evidence.releases[0].signatures.len(), 2);
    assert_eq!(evidence.releases[0].release.evidence, lead.release.evidence);
    assert_eq!(evidence.verdict.unwrap().verdict.outcome, Screened::Review);
}

#[tokio::test]
async fn outage__should_be_bypassed_by_two_leads_for_a_day_at_most() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Not(Unanswered::Refused("no credit".into()))]);
    let id = screened.world.submit("outage").await;
    assert_eq!(screened.status(id).await, OUT);
    let mut long = screened.release(id, &[]).await.release;
    long.expires_at = long.released_at.plus(Duration::from_secs(24 * 3600 + 1));
    let long = SignedRelease { signatures: vec![key("platform.lead").sign(&long.digest())], release: long };
    let refused = screened.hand_in(id, &long).await;
    assert!(matches!(refused, Err(ReviewError::Release(InvalidRelease::Time))), "{refused:?}");
    let half = screened.release(id, &["platform.officer", "platform.lead"]).await;
    assert_eq!(screened.hand_in(id, &half).await.unwrap().missing, Some(InvalidRelease::TwoLeads));
    assert_eq!(screened.status(id).await, OUT);
    screened.world.clock.advance(Duration::from_secs(1));
    let both = screened.release(id, &["platform.lead", "platform.lead2"]).await;
    assert!(screened.hand_in(id, &both).await.unwrap().missing.is_none());
    screened.world.signer.online.store(1, Ordering::SeqCst);
    assert_eq!(screened.status(id).await.0, Status::PendingSignature);
    // A day later it stands in for nothing any more.
    screened.world.clock.advance(Duration::from_secs(24 * 3600));
    screened.screener.next([Reply::Not(Unanswered::Refused("no credit".into()))]);
    assert_eq!(screened.status(id).await, OUT);
    screened.world.clock.advance(Duration::from_secs(1));
    let both = screened.release(id, &["platform.lead2", "manager.lead"]).await;
    screened.hand_in(id, &both).await.unwrap();
    screened.world.signer.online.store(3, Ordering::SeqCst);
    // The intent of these tests lives 100000 seconds, a little more than the day that has passed.
    screened.world.look(id).await.unwrap();
    let evidence = screened.world.signer.packages_for(id).pop().unwrap().authorization.unwrap();
    assert!(evidence.verdict.is_none() && evidence.releases.len() == 1, "{evidence:?}");
}

#[tokio::test]
async fn rejection__should_end_what_is_held_by_one_of_compliance() {
    let screened = Desk::governed(1_000_000).await;
    screened.screener.next([Reply::Says(Screened::Review)]);
    let id = screened.world.submit("rejected").await;
    assert_eq!(screened.status(id).await, HELD);
    let rejection = Rejection {
        genesis: screened.desk.as_ref().unwrap().pinned(),
        intent: screened.world.transfer(id).await.intent.intent.digest(),
        reason: "a mixer".into(),
        rejected_at: screened.world.clock.now(),
    };
    let sign = |user: &str| SignedRejection {
        signature: key(user).sign(&rejection.digest()),
        rejection: rejection.clone(),
    };
    let context = &screened.world.context;
    let governance = context.governance.as_ref().unwrap();
    let refused = review::reject(context, governance, id, &sign("client.approver")).await;
    assert!(matches!(refused, Err(ReviewError::Rejection(_))), "{refused:?}");
    review::reject(context, governance, id, &sign("platform.officer")).await.unwrap();
    assert_eq!(screened.status(id).await, (Status::Rejected, Some(SubStatus::ReviewRejected)));
    assert_eq!(screened.open(id).await, []);
    let kept = reviews::rejection(screened.world.store(), id).await.unwrap().unwrap();
    assert_eq!(kept, sign("platform.officer"));
    let again = review::reject(context, governance, id, &sign("platform.officer")).await;
    assert!(matches!(again, Err(ReviewError::NotHeld(_))), "{again:?}");
}

#[tokio::test]
async fn verdict_that_expires_after_a_session_began__should_be_renewed_where_it_is() {
    let screened = Desk::governed(100).await;
    let aborted = || SignError::Aborted { reason: "line lost".into(), started: true };
    screened.world.signer.fail([aborted(), aborted()]);
    let id = screened.world.submit("renewed").await;
    screened.status(id).await;
    let begun = |state: &State| matches!(state, State::PendingSignature { signing_started: true, .. });
    assert!(begun(&screened.world.transfer(id).await.state));
    screened.screener.next([Reply::Not(Unanswered::Unavailable("down".into()))]);
    screened.world.later();
    assert_eq!(screened.status(id).await, (Status::PendingSignature, Some(SubStatus::ScreeningPending)));
    let sessions = screened.world.signer.sessions();
    screened.world.later();
    screened.world.assert_paid_once(id).await;
    assert!(screened.world.signer.sessions() > sessions);
    assert_eq!(screened.screener.asked("OUTBOUND")[..3], [0, 1, 1]);
    let packages = screened.world.signer.packages_for(id);
    let reference = |place: usize| {
        packages[place].authorization.as_ref().unwrap().verdict.as_ref().unwrap().verdict.reference.clone()
    };
    assert_ne!(reference(0), reference(packages.len() - 1), "fresh evidence");
}

/// An alert keeps a payment from being signed, not from being taken back.
#[tokio::test]
async fn cancellation_under_an_alert__should_be_signed_and_end_what_may_be_signed() {
    let screened = Desk::alone().await;
    let aborted = || SignError::Aborted { reason: "line lost".into(), started: true };
    screened.world.signer.fail([aborted()]);
    let id = screened.world.submit("alerted").await;
    screened.status(id).await;
    let begun = |state: &State| matches!(state, State::PendingSignature { signing_started: true, .. });
    assert!(begun(&screened.world.transfer(id).await.state));
    let alert = screened.alert("one", id).await;
    lock(&screened.screener.alerts).push(alert);
    let screening = screened.world.context.screening.clone().unwrap();
    assert_eq!(watch::poll(&screened.world.context, &screening).await.unwrap(), 1);
    screened.world.later();
    assert_eq!(screened.status(id).await, (Status::PendingSignature, Some(SubStatus::ScreeningAlert)));
    screened.world.ask(id, Verb::Cancel).await.unwrap();
    screened.world.later();
    screened.world.look(id).await.unwrap();
    screened.world.assert_ended(id, Status::Replaced).await;
    assert_eq!(screened.world.chain.paid("alerted"), 0);
}

/// Sent, and its verdict is no longer good: whoever hurries it on has it screened first.
#[tokio::test]
async fn speed_up_with_a_stale_verdict__should_be_screened_anew_and_wait_for_people_in_sight() {
    let screened = Desk::governed(100).await;
    let id = screened.world.broadcast("stale").await;
    screened.world.later();
    screened.screener.next([Reply::Not(Unanswered::Refused("no credit".into()))]);
    screened.world.ask(id, FASTER).await.unwrap();
    let sessions = screened.world.signer.sessions();
    screened.world.look(id).await.unwrap();
    let obstacle = screened.world.transfer(id).await.replacing.obstacle.unwrap();
    assert_eq!((obstacle.sub_status, obstacle.lasting), (SubStatus::ScreeningUnavailable, false));
    assert_eq!(screened.world.status(id).await.0, Status::Broadcasting);
    assert_eq!(screened.world.signer.sessions(), sessions, "handed to nobody");
    assert_eq!(screened.screener.asked("OUTBOUND"), [0, 1]);
    review::rescreen(&screened.world.context, id).await.unwrap();
    screened.world.later();
    screened.world.look(id).await.unwrap();
    assert_eq!(screened.screener.asked("OUTBOUND"), [0, 1, 2]);
    assert_eq!(screened.world.chain.waiting().len(), 1);
    let records = screened.world.assert_ended(id, Status::Completed).await;
    assert_eq!(records.len(), 2, "sped up");
}

/// A child needs what its parent needs.
#[tokio::test]
async fn child_with_a_stale_verdict__should_be_screened_before_co_signers_are_asked() {
    let mut screened = Desk::governed(100).await;
    screened.world.policy(|policy| policy.child_pays = true);
    let id = screened.world.broadcast("child").await;
    screened.world.signer.fail([refused(false)]);
    screened.world.later();
    // The replacement passes and is refused; the child's look comes when that answer is old as well.
    screened.screener.next([Reply::Says(Screened::Clear)]);
    let no_answer = SignError::Aborted { reason: "line lost".into(), started: false };
    screened.world.signer.fail([no_answer]);
    screened.world.ask(id, FASTER).await.unwrap();
    screened.world.look(id).await.unwrap();
    let sessions = screened.world.signer.sessions();
    screened.screener.next([Reply::Says(Screened::Review)]);
    screened.world.later();
    screened.world.look(id).await.unwrap();
    let obstacle = screened.world.transfer(id).await.replacing.obstacle.unwrap();
    assert_eq!((obstacle.sub_status, obstacle.lasting), (SubStatus::ScreeningReview, true));
    assert_eq!(screened.world.signer.sessions(), sessions, "handed to nobody");
    screened.world.assert_ended(id, Status::Completed).await;
}

/// As long as nothing is found that was not known when it was let through, it is told to nobody.
#[tokio::test]
async fn what_is_found_after_it_was_sent__should_be_flagged_with_a_case() {
    use Screened::{Block, Clear, Review};
    for (before, after, flagged) in [
        (Reply::Says(Clear), Reply::Says(Clear), false),
        (Reply::Says(Clear), Reply::Says(Review), true),
        (Reply::Says(Clear), Reply::Hit, true),
        (Reply::Says(Review), Reply::Says(Review), false),
        (Reply::Says(Review), Reply::Says(Block), true),
    ] {
        let screened = Desk::governed(1_000_000).await;
        let (context, screening) =
            (&screened.world.context, screened.world.context.screening.clone().unwrap());
        watch::note_payments(context).await.unwrap();
        screened.screener.next([before]);
        let id = screened.world.submit("later").await;
        if screened.status(id).await == HELD {
            let release = screened.release(id, &["platform.officer", "platform.lead"]).await;
            assert!(screened.hand_in(id, &release).await.unwrap().missing.is_none());
        }
        screened.world.assert_paid_once(id).await;
        assert_eq!(watch::note_payments(context).await.unwrap(), 1);
        screened.screener.next([after]);
        assert_eq!(watch::register(context, &screening).await.unwrap(), 1);
        let flags = screened.world.transfer(id).await.flags;
        assert_eq!((flags.alerted, flags.frozen), (flagged, false));
        let open = screened.open(id).await;
        assert_eq!(open, if flagged { vec![Cause::Alert] } else { vec![] });
        let all = events::after(screened.world.store(), 0, 1000).await.unwrap();
        let told = all.iter().rfind(|event| event.kind == "screening.registered").unwrap();
        assert_eq!(told.payload["caseId"].is_string(), flagged, "{}", told.payload);
        // It is for people, who close it.
        for case in cases::open_of(screened.world.store(), &CaseSubject::Transfer(id)).await.unwrap() {
            review::close(context, case.id, "ann", "told to the authority").await.unwrap();
        }
        assert_eq!(screened.open(id).await, []);
    }
}

#[tokio::test]
async fn what_was_paid__should_be_registered_once_whatever_the_service_does() {
    let screened = Desk::alone().await;
    let (context, screening) = (&screened.world.context, screened.world.context.screening.clone().unwrap());
    assert_eq!(watch::note_payments(context).await.unwrap(), 0, "from here on");
    let id = screened.world.submit("registered").await;
    screened.world.assert_paid_once(id).await;
    assert_eq!(watch::note_payments(context).await.unwrap(), 1);
    assert_eq!(watch::note_payments(context).await.unwrap(), 0);
    screened.screener.next([Reply::Not(Unanswered::Unavailable("down".into()))]);
    assert_eq!(watch::register(context, &screening).await.unwrap(), 0);
    screened.world.later();
    assert_eq!(watch::register(context, &screening).await.unwrap(), 1);
    screened.world.later();
    assert_eq!(watch::register(context, &screening).await.unwrap(), 0);
    let asked = screened.screener.inquiries("BROADCAST");
    assert_eq!(asked.len(), 2);
    let record = transactions::of_transfer(screened.world.store(), id).await.unwrap().pop().unwrap();
    let Inquiry::Broadcast { transfer, tx_id, payments, .. } = &asked[1] else { panic!() };
    assert_eq!((*transfer, tx_id), (id, &record.signed.unwrap().tx_id));
    assert_eq!(payments[0].address, "registered");
}
