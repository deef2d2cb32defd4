//! Rounds of screening, cases and their notes, alerts, releases and rejections.

use crate::fixtures::*;
use bursar_domain::{
    governance::{
        log::EntryDigest,
        signature::{Evidence, Signature},
        verdict::{Exhibit, Rejection, Release, Screened, SignedRejection, SignedRelease, SignedVerdict},
    },
    ids::CaseId,
    intent::IntentDigest,
    screening::{Alert, AlertSubject, Assessment, RiskBand, SignedAlert, Unanswered},
};
use bursar_store::{
    Store,
    cases::{self, CaseSubject, Cause, Filter, KnownAlert, Opened},
    events, reviews,
    screenings::{self, Begun, Progress, Subject, SubjectKind},
};

fn signature(user: &str) -> Signature {
    let evidence = Evidence::Ed25519 { signature: [1; 64] };
    Signature { user: user.parse().unwrap(), key: "main".parse().unwrap(), evidence }
}

fn complete(reference: &str) -> Progress {
    let assessment = Assessment {
        provider: "list".into(),
        risk: RiskBand::Low,
        sanctions: false,
        outcome: Screened::Clear,
        findings: Vec::new(),
        screened_at: at(1),
        expires_at: at(100),
        reference: reference.into(),
    };
    let verdict = assessment.verdict(EntryDigest::NONE, IntentDigest([7; 32]));
    Progress::Complete {
        assessment,
        verdict: Some(SignedVerdict { verdict, signature: signature("screener") }),
    }
}

fn pending(next_try: i64) -> Progress {
    Progress::Pending {
        reference: Some("r".into()),
        failure: Some(Unanswered::Unavailable("nul \0".into())),
        next_try: at(next_try),
    }
}

async fn begin(store: &Store, subject: Subject, round: u32, now: i64) -> bool {
    let order = match subject {
        Subject::Transfer(id) => Some((id, IntentDigest([9; 32]))),
        _ => None,
    };
    let mut tx = store.write().await.unwrap();
    let begun = screenings::begin(&mut tx, Begun { subject, round, order }, at(now)).await.unwrap();
    tx.commit().await.unwrap();
    begun
}

async fn put(store: &Store, subject: Subject, round: u32, progress: &Progress) -> bool {
    let mut tx = store.write().await.unwrap();
    let put = screenings::put(&mut tx, subject, round, 3, progress, at(50)).await.unwrap();
    tx.commit().await.unwrap();
    put
}

#[tokio::test]
async fn round__should_be_begun_once_and_settled_once() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    let subject = Subject::Transfer(id);
    assert_eq!(screenings::newest(store, subject).await.unwrap(), None);
    assert!(begin(store, subject, 0, 10).await);
    assert!(!begin(store, subject, 0, 11).await, "it is there");
    assert_eq!(screenings::settled(store, subject).await.unwrap(), None);
    assert!(put(store, subject, 0, &pending(60)).await);
    let there = screenings::newest(store, subject).await.unwrap().unwrap();
    assert_eq!((there.attempts, &there.progress), (3, &pending(60)));
    assert_eq!((there.begun_at, there.updated_at, there.transfer), (at(10), at(50), Some(id)));
    assert!(put(store, subject, 0, &complete("one")).await);
    assert!(!put(store, subject, 0, &complete("two")).await, "it is settled");
    assert!(begin(store, subject, 1, 60).await);
    let settled = screenings::settled(store, subject).await.unwrap().unwrap();
    assert_eq!((settled.round, settled.progress), (0, complete("one")));
    assert!(put(store, subject, 1, &Progress::Failed(Unanswered::Timeout)).await);
    let rounds = screenings::rounds(store, subject).await.unwrap();
    let states: Vec<_> = rounds.iter().map(|round| round.progress.clone()).collect();
    assert_eq!(states, [complete("one"), Progress::Failed(Unanswered::Timeout)]);
    assert_eq!(screenings::transfer_of(store, IntentDigest([9; 32])).await.unwrap(), Some(id));
    assert_eq!(screenings::transfer_of(store, IntentDigest([8; 32])).await.unwrap(), None);
}

#[tokio::test]
async fn address_that_a_change_proposes__should_be_kept_by_the_changes_digest() {
    let database = Database::open().await;
    let store = &database.store;
    let (subject, other) = (Subject::Address(EntryDigest([7; 32])), Subject::Address(EntryDigest([8; 32])));
    let now = at(10);
    let mut tx = store.write().await.unwrap();
    assert!(screenings::begin(&mut tx, Begun { subject, round: 0, order: None }, now).await.unwrap());
    assert!(screenings::put(&mut tx, subject, 0, 1, &complete("one"), now).await.unwrap());
    tx.commit().await.unwrap();
    let newest = screenings::newest(store, subject).await.unwrap().unwrap();
    assert_eq!((newest.subject, newest.progress), (subject, complete("one")));
    assert_eq!(screenings::newest(store, other).await.unwrap(), None);
}

#[tokio::test]
async fn due_rounds__should_come_in_the_order_in_which_they_are() {
    let database = Database::open().await;
    let store = &database.store;
    for n in 10..14 {
        begin(store, Subject::Broadcast(transaction_id(n)), 0, 20 - i64::try_from(n).unwrap()).await;
    }
    begin(store, Subject::Transfer(database.transfer(30, BTC).await.id), 0, 1).await;
    put(store, Subject::Broadcast(transaction_id(13)), 0, &complete("x")).await;
    put(store, Subject::Broadcast(transaction_id(10)), 0, &pending(1000)).await;
    let due = screenings::due(store, SubjectKind::Broadcast, at(100), 10).await.unwrap();
    let due: Vec<_> = due.into_iter().map(|due| due.subject).collect();
    assert_eq!(due, [Subject::Broadcast(transaction_id(12)), Subject::Broadcast(transaction_id(11))]);
    assert_eq!(screenings::due(store, SubjectKind::Broadcast, at(2000), 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn cursor__should_keep_what_was_put_last() {
    let database = Database::open().await;
    let store = &database.store;
    assert_eq!(screenings::cursor(store, "alerts").await.unwrap(), None);
    for value in ["a", "b"] {
        let mut tx = store.write().await.unwrap();
        screenings::set_cursor(&mut tx, "alerts", value).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(screenings::cursor(store, "alerts").await.unwrap().as_deref(), Some("b"));
    assert_eq!(screenings::cursor(store, "paid").await.unwrap(), None);
}

fn case_id(n: u64) -> CaseId {
    CaseId::new(uuid(n))
}

async fn open(store: &Store, n: u64, cause: Cause, subject: &CaseSubject, reason: &str) -> Opened {
    let mut tx = store.write().await.unwrap();
    let opened = cases::open(&mut tx, case_id(n), cause, subject, reason, at(50)).await.unwrap();
    tx.commit().await.unwrap();
    opened
}

#[tokio::test]
async fn case__should_be_open_once_for_one_cause_and_close_once() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    let subject = CaseSubject::Transfer(id);
    let address = CaseSubject::Address { network: "xrp:0".parse().unwrap(), address: "rA b".into() };
    assert_eq!(open(store, 1, Cause::Alert, &subject, "one").await, Opened::New(case_id(1)));
    assert_eq!(open(store, 2, Cause::Alert, &subject, "two").await, Opened::Already(case_id(1)));
    assert_eq!(open(store, 3, Cause::Review, &subject, "three").await, Opened::New(case_id(3)));
    assert_eq!(open(store, 4, Cause::Review, &subject, "three").await, Opened::Already(case_id(3)));
    assert_eq!(open(store, 5, Cause::Alert, &address, "five").await, Opened::New(case_id(5)));
    let notes = |n| async move { cases::notes(store, case_id(n)).await.unwrap() };
    let texts: Vec<_> = notes(1).await.into_iter().map(|note| (note.by, note.text)).collect();
    assert_eq!(texts, [("bursar".to_owned(), "two".to_owned())]);
    assert_eq!(notes(3).await, [], "it says that already");
    assert_eq!(cases::open_of(store, &subject).await.unwrap().len(), 2);
    assert_eq!(cases::get(store, case_id(5)).await.unwrap().unwrap().subject, address);

    let mut tx = store.write().await.unwrap();
    cases::close_about(&mut tx, &subject, &[Cause::Review], "ann", "done", at(60)).await.unwrap();
    let closed = cases::close(&mut tx, case_id(3), "bob", "again", at(70)).await.unwrap().unwrap();
    assert_eq!(cases::close(&mut tx, case_id(9), "bob", "none", at(70)).await.unwrap(), None);
    tx.commit().await.unwrap();
    let closed = closed.closed.unwrap();
    assert_eq!((closed.by.as_str(), closed.because.as_str(), closed.at), ("ann", "done", at(60)));
    assert_eq!(open(store, 6, Cause::Review, &subject, "once more").await, Opened::New(case_id(6)));

    let ids = |page: bursar_store::page::Page<cases::Case>| -> Vec<_> {
        page.items.into_iter().map(|case| case.id).collect()
    };
    let listed = cases::list(store, Filter::default(), None, 2).await.unwrap();
    let next = listed.next.clone();
    assert_eq!(ids(listed), [case_id(6), case_id(5)]);
    let rest = cases::list(store, Filter::default(), next.as_deref(), 2).await.unwrap();
    assert_eq!(ids(rest), [case_id(1)]);
    let all =
        cases::list(store, Filter { closed: true, cause: Some(Cause::Review) }, None, 10).await.unwrap();
    assert_eq!(ids(all), [case_id(6), case_id(3)]);
    let kinds: Vec<_> =
        events::of_transfer(store, id).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["transfer.submitted", "case.opened", "case.opened", "case.closed", "case.opened"]);
}

#[tokio::test]
async fn alert__should_be_known_by_its_service_and_id() {
    let database = Database::open().await;
    let store = &database.store;
    let alert = Alert {
        id: "a".into(),
        subject: AlertSubject::Transfer(IntentDigest([1; 32])),
        risk: RiskBand::High,
        sanctions: false,
        description: "x".into(),
        raised_at: at(1),
    };
    let signed = SignedAlert { alert: alert.clone(), signature: signature("one") };
    let mut tx = store.write().await.unwrap();
    assert_eq!(cases::known_alert(&mut tx, &signed).await.unwrap(), None);
    cases::keep_alert(&mut tx, &signed, case_id(1), at(2)).await.unwrap();
    assert_eq!(cases::known_alert(&mut tx, &signed).await.unwrap(), Some(KnownAlert::Same(case_id(1))));
    let other =
        SignedAlert { alert: Alert { sanctions: true, ..alert.clone() }, signature: signature("one") };
    assert_eq!(cases::known_alert(&mut tx, &other).await.unwrap(), Some(KnownAlert::Other));
    let of_another = SignedAlert { alert, signature: signature("two") };
    assert_eq!(cases::known_alert(&mut tx, &of_another).await.unwrap(), None);
    tx.commit().await.unwrap();
}

fn release(reason: &str, signers: &[&str]) -> SignedRelease {
    let release = Release {
        genesis: EntryDigest::NONE,
        intent: IntentDigest([1; 32]),
        verdict: None,
        reason: reason.into(),
        evidence: vec![Exhibit::Document { name: "contract.pdf".into(), sha256: [3; 32] }],
        released_at: at(1),
        expires_at: at(2),
    };
    SignedRelease { release, signatures: signers.iter().map(|user| signature(user)).collect() }
}

#[tokio::test]
async fn release__should_gather_each_users_signature_once() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    let sign = |signed: SignedRelease, now| async move {
        let mut tx = store.write().await.unwrap();
        let kept = reviews::sign(&mut tx, id, &signed, at(now)).await.unwrap();
        tx.commit().await.unwrap();
        kept
    };
    assert!(matches!(sign(release("a", &["ann"]), 1).await, reviews::Kept::New(_)));
    assert!(matches!(sign(release("a", &["ann", "ann"]), 2).await, reviews::Kept::Already(_)));
    let reviews::Kept::New(both) = sign(release("a", &["bob"]), 3).await else { panic!("new") };
    assert_eq!(both.signed, release("a", &["ann", "bob"]));
    assert_eq!((both.received_at, both.updated_at), (at(1), at(3)));
    for n in 1..reviews::MAX_RELEASES {
        sign(release(&n.to_string(), &["ann"]), 10).await;
    }
    assert_eq!(sign(release("b", &["ann"]), 11).await, reviews::Kept::TooMany);
    assert!(matches!(sign(release("a", &["eve"]), 11).await, reviews::Kept::New(_)), "it is there");
    assert_eq!(reviews::releases(store, id).await.unwrap().len(), reviews::MAX_RELEASES);
}

#[tokio::test]
async fn rejection__should_be_kept_as_it_was_signed() {
    let database = Database::open().await;
    let (store, id) = (&database.store, database.transfer(10, BTC).await.id);
    assert_eq!(reviews::rejection(store, id).await.unwrap(), None);
    let (genesis, intent) = (EntryDigest::NONE, IntentDigest([1; 32]));
    let rejection = Rejection { genesis, intent, reason: "no".into(), rejected_at: at(1) };
    let signed = SignedRejection { rejection, signature: signature("ann") };
    let mut tx = store.write().await.unwrap();
    reviews::reject(&mut tx, id, &signed, at(2)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(reviews::rejection(store, id).await.unwrap(), Some(signed));
}
