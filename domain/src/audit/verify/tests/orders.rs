//! Which orders a desk can have taken at a place of its log: those of bare keys before it was governed, and later those under its policies.

use super::*;
use crate::governance::log::Head;
use std::time::Duration;

/// What stands in a file, in order.
enum Line<'a> {
    Order(Timestamp, &'a SignedIntent),
    Recall(Timestamp, &'a SignedIntent, SignedRecall),
    /// That this entry of the governance log was appended.
    Appended(u64),
    Verdict,
    /// For the desk with this first entry.
    Checkpoint(EntryDigest),
}
use Line::{Appended, Checkpoint as Checked, Order, Recall, Verdict as Screening};

fn file(desk: &TestDesk, lines: &[Line]) -> Result<u64, Broken> {
    let header = Record::Header { format: 1, desk: desk.pinned(), after: Place::START, exported_at: FOUNDED };
    let mut records = vec![header];
    for (seq, (entry, seen_at)) in desk.entries.iter().cloned().enumerate() {
        let (seq, log::Entry { document, signatures }) = (seq as u64, entry);
        records.push(Record::Governance { seq, document, signatures, seen_at });
    }
    let mut last = Place::START;
    for line in lines {
        let (at, kind, signed, order) = match line {
            Checked(desk) => {
                let Place { sequence, hash } = last;
                records.push(sign(Checkpoint { desk: *desk, sequence, hash, at: FOUNDED }, &[0, 1]));
                continue;
            }
            Order(at, order) => (*at, "transfer.submitted", Signed::intent(order), Some((*order).clone())),
            Recall(at, order, recall) => {
                (*at, "transfer.recalled", Signed::recall(order, recall), Some((*order).clone()))
            }
            Appended(seq) => {
                let (entry, at) = &desk.entries[usize::try_from(*seq).unwrap()];
                let (digest, signatures) = (entry.digest(), entry.signatures.clone());
                (*at, APPENDED, Signed::Change { digest, seq: *seq, signatures }, None)
            }
            Screening => {
                let [_, verdict, _] = said(desk, 0);
                (FOUNDED, "screening.verdict", verdict, Some(super::order(desk)))
            }
        };
        let entry = Entry {
            sequence: last.sequence + 1,
            at,
            kind: kind.into(),
            transfer: None,
            payload: "{}".into(),
            act: None,
            signed: Some(serde_json::to_string(&signed).unwrap()),
        };
        last = last.next(entry.digest());
        records.push(Record::Entry(EntryRecord::new(entry, last.hash, order)));
    }
    records.push(Record::End { last });
    verify(&records, keys()).map(|report| report.signatures)
}

const APPENDED: &str = "governance.appended";

/// By a key that nobody pinned, as where nothing is governed.
fn bare() -> SignedIntent {
    let key = key("nobody");
    let intent = Intent { terms: None, ..super::order(&desk()).intent };
    let signature = key.secret.sign(intent.canonical().as_bytes()).to_bytes();
    SignedIntent::by_key(intent, key.initiator(), signature)
}

fn later(seconds: u64) -> Timestamp {
    FOUNDED.plus(Duration::from_secs(seconds))
}

/// Founded, and its first change an hour later.
fn slow() -> TestDesk {
    let mut desk = TestDesk::new(0);
    desk.wait(3600);
    desk.publish(policy());
    desk
}

/// The client's operator's, under the policy that this entry published.
fn under(desk: &TestDesk, seq: u64) -> SignedIntent {
    let digest = desk.entries[usize::try_from(seq).unwrap()].0.digest();
    let terms = Terms { policy: Head { seq, digest }, ..desk.terms() };
    key("client.operator").order(Intent { terms: Some(terms), ..super::order(desk).intent })
}

#[test]
fn a_bare_key_orders_nothing_at_a_desk_that_is_governed() {
    let (desk, bare) = (slow(), bare());
    let governed = super::order(&desk);
    let refused = |place: u64| Err(Broken { place: at(place), fault: Fault::BareOrder });
    // By what stands before it, whatever time it claims.
    let before = later(0);
    assert_eq!(file(&desk, &[Order(later(3600), &governed), Order(before, &bare)]), refused(2));
    assert_eq!(file(&desk, &[Appended(1), Order(before, &bare)]), refused(2));
    assert_eq!(file(&desk, &[Screening, Order(before, &bare)]), refused(2));
    let checked = [Order(before, &bare), Checked(desk.pinned()), Order(before, &bare)];
    assert_eq!(file(&desk, &checked), refused(2));
    // What its key did not sign is no order to begin with.
    let mut spoiled = bare;
    spoiled.intent.max_fee = Amount::ZERO;
    let fault = Fault::Initiator(InvalidInitiatorSignature::Signature);
    assert_eq!(file(&desk, &[Order(before, &spoiled)]), Err(Broken { place: at(1), fault }));
}

#[test]
fn an_order_from_before_the_desk_was_governed_stays_good_and_can_be_taken_back_later() {
    let (desk, bare) = (slow(), bare());
    let governed = super::order(&desk);
    let message = recall::canonical(bare.intent.digest(), 1);
    let signature = key("nobody").secret.sign(message.as_bytes()).to_bytes();
    let recall = SignedRecall { payment: 1, signature: RecallSignature::Key(signature) };
    let lines = [
        Order(later(0), &bare),
        Checked(EntryDigest::NONE),
        // The log was founded and changed elsewhere by then, and is not obeyed here yet.
        Order(later(3601), &bare),
        Appended(1),
        Order(later(3600), &governed),
        Recall(later(3601), &bare, recall),
    ];
    assert_eq!(file(&desk, &lines), Ok(6), "one each, and the change's two");
    // Where nothing is governed ever, bare keys order at any time.
    let mut ungoverned = desk.clone();
    ungoverned.entries.clear();
    assert_eq!(file(&ungoverned, &[Order(later(0), &bare), Order(later(9999), &bare)]), Ok(2));
}

#[test]
fn an_order_names_an_entry_that_published_a_policy() {
    let desk = desk();
    let refused = |desk: &TestDesk, seq| {
        let order = under(desk, seq);
        let broken = Broken { place: at(1), fault: Fault::NoPolicy(seq) };
        assert_eq!(file(desk, &[Order(later(0), &order)]), Err(broken), "{seq}");
    };
    assert_eq!(file(&desk, &[Order(later(0), &under(&desk, 1))]), Ok(1));
    // The genesis, and a suspension.
    refused(&desk, 0);
    refused(&desk, 2);
    // A policy that waits, or that was vetoed, is none.
    let mut waits = TestDesk::new(60);
    waits.accept(Change::SetPolicy { policy: policy() }, &["manager.policy", "platform.policy"]);
    refused(&waits, 1);
    waits.accept(Change::Veto { seq: 1 }, &["client.owner"]);
    refused(&waits, 1);
}

#[test]
fn an_order_is_under_the_policy_in_force_or_an_older_one() {
    let mut desk = TestDesk::new(60);
    for _ in 0..2 {
        desk.publish(policy());
    }
    // Published by 1 and 3, in force since 2 and 4.
    let (first, second) = (under(&desk, 1), under(&desk, 3));
    let now = desk.now;
    let good = [
        Appended(1),
        Appended(2),
        Order(now, &first),
        Appended(3),
        Order(now, &first),
        Appended(4),
        Order(now, &second),
        Order(now, &first),
        // Told of again, which changes nothing.
        Appended(4),
    ];
    assert_eq!(file(&desk, &good), Ok(4 + 2 + 1 + 2 + 1 + 1), "the orders', and those of the changes");
    let ahead = |seq, place| Err(Broken { place: at(place), fault: Fault::PolicyAhead { seq, order: 3 } });
    let early = [Appended(1), Appended(2), Order(now, &second), Order(now, &first), Appended(3)];
    assert_eq!(file(&desk, &early), ahead(3, 5));
    let waiting = [Appended(2), Appended(3), Order(now, &second), Appended(4)];
    assert_eq!(file(&desk, &waiting), ahead(4, 4));
    // A log that was loaded from a file is not told of.
    assert_eq!(file(&desk, &[Order(now, &second)]), Ok(1));
}

#[test]
fn who_is_gone_when_the_policy_comes_into_force_orders_nothing_under_it() {
    let mut desk = TestDesk::new(60);
    desk.accept(Change::SetPolicy { policy: policy() }, &["manager.policy", "platform.policy"]);
    let user = key("client.operator").user;
    desk.accept(Change::SuspendUser { user }, &["client.owner"]);
    desk.wait(60);
    desk.accept(Change::Enact { seq: 1 }, &["manager.policy"]);
    let broken = file(&desk, &[Order(desk.now, &under(&desk, 1))]).unwrap_err();
    assert!(broken.place == at(1) && is_nobodys(&broken.fault), "{broken}");
}
