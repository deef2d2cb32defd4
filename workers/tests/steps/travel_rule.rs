//! The travel rule: what must be told is told before anything is approved, what has no answer waits for people, what is refused ends, and
//! nobody's name is anywhere but in the ciphertext.

use crate::support::{
    exchange::{Exchange, Told},
    screener::{Reply, Screener},
    world::World,
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{
        log::{EntryDigest, Head},
        testing::{TestDesk, genesis, rules},
    },
    ids::TransferId,
    lifecycle::{Fact, Status, SubStatus},
    time::Clock as _,
    travel_rule::{Ivms101, Manual, NoExchange, Thresholds, TravelRuleExchange},
};
use bursar_store::{
    cases::{self, CaseSubject, Cause},
    events, governance as kept,
    travel_rule::{self as records, Progress},
};
use bursar_workers::{
    engine::Next,
    governance::Governance,
    screening::{
        Screening, ScreeningSettings,
        review::{self, Held, ReviewError},
    },
    travel_rule::{
        TravelRule, TravelRuleSettings,
        handed::{self, TravelRuleError},
        vault::{Vault, VaultKey},
    },
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

struct Desk {
    world: World,
    exchange: Arc<Exchange>,
}

fn rule(exchange: Arc<dyn TravelRuleExchange>, settings: TravelRuleSettings, from: u64) -> TravelRule {
    let thresholds =
        Thresholds { from: [(Asset::Eth, Amount::from_u64(from))].into(), ..Thresholds::default() };
    TravelRule::new(thresholds, Vault::new(VaultKey::generate(), None), exchange, settings)
}

fn settings() -> TravelRuleSettings {
    TravelRuleSettings {
        manual: false,
        timeout: Duration::from_secs(60),
        retries: 2,
        retry: Duration::from_secs(1),
    }
}

/// Orders are about 1000.
const ALL: u64 = 1000;

impl Desk {
    /// From this much on, the institution at the other end is told.
    async fn from(threshold: u64) -> Self {
        let mut world = World::ethereum().await;
        let exchange = Arc::new(Exchange::default());
        world.context.travel_rule = Some(rule(exchange.clone(), settings(), threshold));
        Self { world, exchange }
    }
    async fn manual() -> Self {
        let mut desk = Self::from(ALL).await;
        let settings = TravelRuleSettings { manual: true, ..settings() };
        desk.world.context.travel_rule = Some(rule(Arc::new(Manual), settings, ALL));
        desk
    }
    /// Under a policy whose `travelRule` is this; nothing is configured here.
    async fn governed(travel_rule: Value) -> Self {
        let mut world = World::ethereum().await;
        let mut desk = TestDesk::found(genesis(rules(0)));
        desk.now = world.clock.now();
        let rules = json!([{ "id": "allow", "then": { "kind": "ALLOW" } }]);
        let policy =
            json!({ "currency": "CHF", "priceMaxAgeSeconds": 60, "travelRule": travel_rule, "rules": rules });
        desk.publish(serde_json::from_value(policy).unwrap());
        world.desk.ordered_by("client.operator", &desk);
        let mut tx = world.store().write().await.unwrap();
        let mut previous = EntryDigest::NONE;
        for (seq, (entry, at)) in desk.entries.iter().enumerate() {
            let head = Head { seq: seq as u64, digest: entry.digest() };
            kept::append(&mut tx, head, previous, entry, *at).await.unwrap();
            previous = head.digest;
        }
        tx.commit().await.unwrap();
        world.context.governance = Some(Governance::load(world.store(), desk.pinned()).await.unwrap());
        Self { world, exchange: Arc::default() }
    }

    async fn status(&self, id: TransferId) -> (Status, Option<SubStatus>) {
        self.world.look(id).await.unwrap();
        self.world.status(id).await
    }
    async fn reason(&self, id: TransferId) -> String {
        self.world.transfer(id).await.reason.unwrap()
    }
    async fn progress(&self, id: TransferId) -> Progress {
        records::get(self.world.store(), id).await.unwrap().unwrap().progress
    }
    async fn hand_in(&self, id: TransferId) {
        handed::submit(&self.world.context, id, &data("Muster")).await.unwrap();
    }
    async fn outcome(&self, id: TransferId, accepted: bool) -> Result<(), TravelRuleError> {
        let record = records::get(self.world.store(), id).await.unwrap();
        let told = record.map_or(0, |record| record.round);
        handed::note_outcome(&self.world.context, id, accepted, told, "letter-7", "olga").await.map(|_| ())
    }
    async fn open(&self, id: TransferId) -> Vec<Cause> {
        let open = cases::open_of(self.world.store(), &CaseSubject::Transfer(id)).await.unwrap();
        open.into_iter().map(|case| case.cause).collect()
    }
    /// What the log says of the travel rule of this transfer, by kind and outcome.
    async fn told(&self, id: TransferId) -> Vec<String> {
        let all = events::of_transfer(self.world.store(), id).await.unwrap();
        let own = all.iter().filter_map(|event| {
            let kind = event.kind.strip_prefix("travel_rule.")?;
            let payload: Value = serde_json::to_value(&event.payload).unwrap();
            let said = ["obligation", "outcome", "round"].iter().find_map(|name| match &payload[name] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            });
            Some(format!("{kind} {}", said.unwrap_or_default()))
        });
        own.collect()
    }
}

fn value(originator: &str) -> Value {
    let person = |name: &str| {
        json!({ "naturalPerson": { "name": { "nameIdentifier": [{ "primaryIdentifier": name, "nameIdentifierType": "LEGL" }] },
        "customerIdentification": "c-1" } })
    };
    json!({
        "originator": { "originatorPersons": [person(originator)], "accountNumber": ["a-1"] },
        "beneficiary": { "beneficiaryPersons": [person("Exempla")], "accountNumber": ["b-1"] },
    })
}

fn data(originator: &str) -> Ivms101 {
    serde_json::from_value(value(originator)).unwrap()
}

const MISSING: (Status, Option<SubStatus>) = (Status::PendingReview, Some(SubStatus::TravelRuleDataMissing));
const OUT: (Status, Option<SubStatus>) = (Status::PendingReview, Some(SubStatus::TravelRuleUnavailable));
const UNDER_WAY: (Status, Option<SubStatus>) = (Status::PendingScreening, Some(SubStatus::TravelRulePending));
const REFUSED: (Status, Option<SubStatus>) = (Status::Rejected, Some(SubStatus::TravelRuleRejected));

#[tokio::test]
async fn below_the_threshold__should_be_paid_without_telling_anybody() {
    let desk = Desk::from(1001).await;
    let id = desk.world.submit("little").await;
    desk.world.assert_paid_once(id).await;
    assert!(desk.exchange.asked(id).is_empty());
    assert!(matches!(desk.progress(id).await, Progress::NotRequired { .. }));
    assert_eq!(desk.told(id).await, ["assessed NONE"]);
}

#[tokio::test]
async fn own_wallets__should_need_no_exchange() {
    let desk = Desk::from(ALL).await;
    let to = desk.world.desk.account.clone();
    let id = desk.world.submit_batch("home", &[&to]).await;
    let passed = desk.status(id).await;
    assert!(passed.0 > Status::PendingReview, "{passed:?}");
    assert_eq!(desk.told(id).await, ["assessed NONE"]);
}

#[tokio::test]
async fn above_the_threshold__should_be_paid_once_it_was_told_and_accepted() {
    let desk = Desk::from(ALL).await;
    let id = desk.world.submit("much").await;
    assert_eq!(desk.status(id).await, MISSING);
    assert!(desk.reason(id).await.contains("missing: originator"));
    assert_eq!((desk.open(id).await, desk.exchange.asked(id).len()), (vec![Cause::Review], 0));
    assert_eq!(review::held(&desk.world.transfer(id).await), Some(Held::TravelRule));
    // However often it is looked at: it waits, and says so once.
    assert!(matches!(desk.world.look(id).await.unwrap(), Next::LookAgain(_)));
    desk.hand_in(id).await;
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1]);
    assert_eq!(desk.exchange.last()["amount"], "1000");
    assert_eq!(desk.exchange.last()["ivms101"], value("Muster"));
    assert_eq!(desk.progress(id).await, Progress::Accepted { reference: "yes-1".into() });
    assert_eq!(desk.open(id).await, []);
    let told = [
        "assessed EXCHANGE",
        "data_submitted 1",
        "assessed EXCHANGE",
        "exchanged ACCEPTED",
        "verdict ACCEPTED",
    ];
    assert_eq!(desk.told(id).await, told);
    let late = handed::submit(&desk.world.context, id, &data("Other")).await;
    assert!(matches!(late, Err(TravelRuleError::NotNow(_))));
}

#[tokio::test]
async fn names__should_be_nowhere_in_the_clear() {
    let desk = Desk::from(ALL).await;
    let id = desk.world.submit("secret").await;
    // Before it is assessed, too.
    handed::submit(&desk.world.context, id, &data("Muster")).await.unwrap();
    desk.world.assert_paid_once(id).await;
    let (_, seen) = handed::disclose(&desk.world.context, id, "olga").await.unwrap();
    assert!(seen == data("Muster"));
    let record = records::get(desk.world.store(), id).await.unwrap().unwrap();
    let all = events::of_transfer(desk.world.store(), id).await.unwrap();
    let transfer = desk.world.transfer(id).await;
    for text in [format!("{record:?}"), format!("{all:?}"), format!("{transfer:?}")] {
        assert!(!text.contains("Muster") && !text.contains("Exempla"), "{text}");
    }
    assert_eq!(desk.told(id).await.last().unwrap(), "disclosed 1");
    // Another key, and what belongs to another transfer, open nothing.
    let sealed = record.sealed.unwrap();
    let other = Vault::new(VaultKey::generate(), None);
    assert!(other.open(id, &sealed).is_err());
}

#[tokio::test]
async fn incomplete_data__should_wait_and_name_what_is_missing() {
    let desk = Desk::from(ALL).await;
    let id = desk.world.submit("incomplete").await;
    let mut value = value("Muster");
    value["beneficiary"]["accountNumber"] = json!([]);
    let incomplete: Ivms101 = serde_json::from_value(value.clone()).unwrap();
    handed::submit(&desk.world.context, id, &incomplete).await.unwrap();
    assert_eq!(desk.status(id).await, MISSING);
    assert!(
        desk.reason(id).await.ends_with("missing: beneficiary.accountNumber"),
        "{}",
        desk.reason(id).await
    );
    value["beneficiary"]["beneficiaryPersons"][0]["naturalPerson"]["customerIdentification"] =
        "x".repeat(51).into();
    let wrong: Ivms101 = serde_json::from_value(value).unwrap();
    let refused = handed::submit(&desk.world.context, id, &wrong).await;
    assert!(matches!(refused, Err(TravelRuleError::Invalid(_))));
    desk.hand_in(id).await;
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [2]);
}

#[tokio::test]
async fn rejected__should_end() {
    let desk = Desk::from(ALL).await;
    desk.exchange.next([Told::Rejects]);
    let id = desk.world.submit("refused").await;
    desk.hand_in(id).await;
    assert_eq!(desk.status(id).await, REFUSED);
    assert!(desk.reason(id).await.contains("no-1"));
    assert_eq!(desk.told(id).await.last().unwrap(), "verdict REJECTED");
    assert_eq!((desk.open(id).await, desk.world.signer.sessions()), (vec![], 0));
    desk.world.later();
    assert_eq!(desk.status(id).await, REFUSED);
}

#[tokio::test]
async fn pending__should_wait_in_plain_sight_and_be_asked_again_in_its_round() {
    let desk = Desk::from(ALL).await;
    desk.exchange.next([Told::Pending(Duration::from_secs(60)), Told::Pending(Duration::from_secs(1))]);
    let id = desk.world.submit("pending").await;
    desk.hand_in(id).await;
    assert_eq!(desk.status(id).await, UNDER_WAY);
    assert!(desk.reason(id).await.contains("wait-1"));
    assert!(
        matches!(desk.world.look(id).await.unwrap(), Next::LookAgain(pause) if pause > Duration::from_secs(50))
    );
    assert_eq!(desk.exchange.asked(id), [1]);
    assert!(matches!(desk.outcome(id, true).await, Err(TravelRuleError::NotNow(_))), "nobody is asked");
    desk.world.later();
    assert_eq!(desk.status(id).await, UNDER_WAY);
    desk.world.later();
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1, 1, 1]);
    let told = desk.told(id).await;
    assert_eq!(told.iter().filter(|told| *told == "exchanged PENDING").count(), 1, "{told:?}");
}

#[tokio::test]
async fn silence_and_outages__should_wait_for_people_and_go_on_with_the_same_data() {
    let desk = Desk::from(ALL).await;
    let down = || Told::Not(NoExchange::Unavailable("down".into()));
    desk.exchange.next([down(), Told::Not(NoExchange::Timeout), down()]);
    let id = desk.world.submit("outage").await;
    desk.hand_in(id).await;
    for _ in 0..2 {
        assert_eq!(desk.status(id).await, UNDER_WAY);
        desk.world.later();
    }
    assert_eq!(desk.status(id).await, OUT);
    assert!(desk.reason(id).await.contains("down"));
    assert_eq!((desk.open(id).await, desk.world.signer.sessions()), (vec![Cause::Outage], 0));
    desk.world.later();
    assert_eq!(desk.status(id).await, OUT, "nothing lets it go by itself");
    // The outage is over: the same data is the same exchange, so that the other side was told once.
    desk.hand_in(id).await;
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1, 1, 1, 1]);
    assert_eq!(desk.open(id).await, []);
}

#[tokio::test]
async fn no_usable_answer__should_wait_for_people_at_once() {
    let desk = Desk::from(ALL).await;
    let text = || "x".to_owned();
    let replies =
        [Told::Not(NoExchange::Malformed(text())), Told::Not(NoExchange::Refused(text())), Told::Talks];
    for (n, reply) in replies.into_iter().enumerate() {
        desk.exchange.next([reply]);
        let id = desk.world.submit(&format!("unanswered-{n}")).await;
        desk.hand_in(id).await;
        assert_eq!(desk.status(id).await, OUT, "{n}");
        assert!(!desk.reason(id).await.contains("Rosa"));
        assert_eq!(desk.exchange.asked(id), [1]);
    }
    // People told the other side by other means.
    let id = desk.world.submit("by-letter").await;
    desk.exchange.next([Told::Not(NoExchange::Refused(text()))]);
    desk.hand_in(id).await;
    assert_eq!(desk.status(id).await, OUT);
    desk.outcome(id, true).await.unwrap();
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1]);
}

#[tokio::test]
async fn an_exchange_that_says_nothing__should_be_left_after_a_time() {
    let mut desk = Desk::from(ALL).await;
    let settings = TravelRuleSettings { timeout: Duration::from_millis(50), retries: 0, ..settings() };
    desk.world.context.travel_rule = Some(rule(desk.exchange.clone(), settings, ALL));
    desk.exchange.next([Told::Silent]);
    let id = desk.world.submit("silent").await;
    desk.hand_in(id).await;
    assert_eq!(desk.status(id).await, OUT);
    assert!(desk.reason(id).await.contains("too long"));
    desk.hand_in(id).await;
    desk.world.assert_paid_once(id).await;
}

#[tokio::test]
async fn death_between_exchange_and_verdict__should_ask_the_same_again() {
    let desk = Desk::from(ALL).await;
    desk.exchange.next([Told::Silent]);
    let id = desk.world.submit("death").await;
    desk.hand_in(id).await;
    let heard = desk.exchange.heard.notified();
    tokio::pin!(heard);
    heard.as_mut().enable();
    tokio::select! {
        looked = desk.world.look(id) => panic!("it was to be cut off: {looked:?}"),
        () = &mut heard => {}
    }
    assert_eq!(desk.world.status(id).await.0, Status::PendingScreening);
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1, 1], "one transfer and round: the other side knows it");
}

#[tokio::test]
async fn other_data_while_it_is_exchanged__should_be_what_counts() {
    let desk = Desk::from(ALL).await;
    desk.exchange.next([Told::Pending(Duration::from_secs(60))]);
    let id = desk.world.submit("corrected").await;
    desk.hand_in(id).await;
    assert_eq!(desk.status(id).await, UNDER_WAY);
    handed::submit(&desk.world.context, id, &data("Corrected")).await.unwrap();
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1, 2]);
    assert_eq!(desk.exchange.last()["ivms101"], value("Corrected"));
}

#[tokio::test]
async fn by_people__should_wait_in_the_queue_until_one_notes_the_outcome() {
    let desk = Desk::manual().await;
    let id = desk.world.submit("by-hand").await;
    assert_eq!(desk.status(id).await, MISSING);
    assert!(matches!(desk.outcome(id, true).await, Err(TravelRuleError::NotNow(_))), "nothing to tell yet");
    desk.hand_in(id).await;
    let waits = (Status::PendingReview, Some(SubStatus::TravelRulePending));
    assert_eq!(desk.status(id).await, waits);
    assert_eq!(desk.open(id).await, [Cause::Review]);
    desk.world.later();
    assert_eq!(desk.status(id).await, waits);
    desk.outcome(id, true).await.unwrap();
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.progress(id).await, Progress::Accepted { reference: "letter-7".into() });
    assert!(matches!(desk.outcome(id, false).await, Err(TravelRuleError::NotNow(_))), "it is decided");
    let refused = desk.world.submit("by-hand-too").await;
    desk.hand_in(refused).await;
    assert_eq!(desk.status(refused).await, waits);
    desk.outcome(refused, false).await.unwrap();
    assert_eq!(desk.status(refused).await, REFUSED);
    assert_eq!(desk.open(refused).await, []);
}

#[tokio::test]
async fn screening__should_come_first_and_a_blocked_order_tell_nobody() {
    let mut desk = Desk::from(ALL).await;
    let screener = Screener::new(desk.world.clock.clone());
    desk.world.context.screening = Some(Screening::new(screener.clone(), ScreeningSettings::default()));
    let held = desk.world.submit("held").await;
    assert_eq!(desk.status(held).await, MISSING);
    assert_eq!(screener.asked("OUTBOUND"), [0]);
    let again = review::rescreen(&desk.world.context, held).await;
    assert!(matches!(again, Err(ReviewError::NotHeld(_))), "its screening is not what holds it");
    desk.hand_in(held).await;
    desk.world.assert_paid_once(held).await;
    assert_eq!(screener.asked("OUTBOUND"), [0]);
    screener.next([Reply::Says(bursar_domain::screening::Screened::Block)]);
    let blocked = desk.world.submit("blocked").await;
    desk.hand_in(blocked).await;
    assert_eq!(desk.status(blocked).await, (Status::Rejected, Some(SubStatus::ScreeningBlocked)));
    assert!(desk.exchange.asked(blocked).is_empty());
}

#[tokio::test]
async fn policy__should_say_who_is_told_and_wait_where_nobody_can() {
    let above = |limit: u64| json!({ "when": { "amount": { "in": "ETH", "above": limit.to_string() } } });
    let free = Desk::governed(above(1000)).await;
    let id = free.world.submit("little").await;
    free.world.assert_paid_once(id).await;
    assert_eq!(free.told(id).await, ["assessed NONE"]);

    let mut desk = Desk::governed(above(999)).await;
    let id = desk.world.submit("much").await;
    assert_eq!(desk.status(id).await, OUT);
    assert!(desk.reason(id).await.contains("[travel_rule]"));
    let refused = handed::submit(&desk.world.context, id, &data("Muster")).await;
    assert!(matches!(refused, Err(TravelRuleError::NotConfigured)));
    // Configured since; the policy's word counts, not that of the configuration.
    desk.world.context.travel_rule = Some(rule(desk.exchange.clone(), settings(), 1_000_000));
    desk.world.later();
    assert_eq!(desk.status(id).await, MISSING);
    desk.hand_in(id).await;
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1]);
}

#[tokio::test]
async fn nothing_configured__should_change_nothing() {
    let world = World::ethereum().await;
    let id = world.submit("plain").await;
    world.assert_paid_once(id).await;
    assert_eq!(records::get(world.store(), id).await.unwrap(), None);
}

#[tokio::test]
async fn held__should_end_with_its_order() {
    let desk = Desk::from(ALL).await;
    let id = desk.world.submit("late").await;
    assert_eq!(desk.status(id).await, MISSING);
    desk.world.clock.advance(Duration::from_secs(100_001));
    assert_eq!(desk.status(id).await, (Status::Expired, Some(SubStatus::IntentExpired)));
    assert_eq!(desk.open(id).await, []);
}

#[tokio::test]
async fn what_is_not_needed_any_more__should_go_on_by_itself() {
    let mut desk = Desk::from(ALL).await;
    let id = desk.world.submit("released").await;
    assert_eq!(desk.status(id).await, MISSING);
    let exchange = desk.exchange.clone();
    desk.world.context.travel_rule = Some(rule(exchange, settings(), ALL + 1));
    desk.world.assert_paid_once(id).await;
    assert!(desk.exchange.asked(id).is_empty());
    assert_eq!(desk.told(id).await, ["assessed EXCHANGE", "assessed NONE"]);
}

#[tokio::test]
async fn frozen_order__should_tell_nobody_until_it_may_be_paid() {
    let desk = Desk::from(ALL).await;
    let id = desk.world.submit("frozen").await;
    assert_eq!(desk.status(id).await, MISSING);
    desk.hand_in(id).await;
    desk.world.put(desk.world.transfer(id).await, [Fact::AlertRaised]).await;
    assert_eq!(desk.status(id).await, (Status::PendingScreening, Some(SubStatus::ScreeningAlert)));
    assert!(desk.exchange.asked(id).is_empty());
    desk.world.put(desk.world.transfer(id).await, [Fact::AlertSettled]).await;
    desk.world.assert_paid_once(id).await;
    assert_eq!(desk.exchange.asked(id), [1]);
}

#[tokio::test]
async fn outcome__should_be_of_the_data_that_was_told() {
    let desk = Desk::manual().await;
    let id = desk.world.submit("by-hand").await;
    assert_eq!(desk.status(id).await, MISSING);
    desk.hand_in(id).await;
    desk.status(id).await;
    handed::submit(&desk.world.context, id, &data("Meier")).await.unwrap();
    desk.status(id).await;
    let of_the_first = handed::note_outcome(&desk.world.context, id, true, 1, "letter-7", "olga").await;
    assert!(matches!(of_the_first, Err(TravelRuleError::NotNow(why)) if why.contains("round 2")));
    desk.outcome(id, true).await.unwrap();
    desk.world.assert_paid_once(id).await;
}
