mod orders;

use super::*;
use crate::{
    amount::Amount,
    asset::Asset,
    audit::{ChainHash, Entry, act::Actor, act::Origin},
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        change::Change,
        directory::UserId,
        policy::{Policy, RiskBand},
        quote::{Quote, SignedQuote},
        signature::{Evidence, Signature},
        testing::{self, FOUNDED, TestDesk, TestPasskey, key},
        verdict::{
            Disposition, DispositionAction, Exhibit, Rejection, Release, Screened, SignedDisposition,
            SignedRejection, SignedRelease, SignedVerdict, Verdict,
        },
    },
    ids::{ApiKeyId, DepositId},
    intent::{Destination, Intent, InvalidInitiatorSignature, Payment, Proof, SignedIntent, Terms},
    network::Network,
    recall::{self, RecallSignature, SignedRecall},
    screening::{Alert, AlertSubject, SignedAlert},
    time::Timestamp,
    wallet::{WalletDescriptor, WalletKind},
};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};

fn cosigner(party: u16) -> SigningKey {
    SigningKey::from_bytes(&[u8::try_from(party).unwrap() + 1; 32])
}

fn keys() -> Keys {
    let key = |party| (PartyIndex(party), cosigner(party).verifying_key().to_bytes());
    Keys { parties: (0..3).map(key).collect(), threshold: 2, genesis: None }
}

/// By the client's operator, under the policy in force at this desk.
fn order(desk: &TestDesk) -> SignedIntent {
    let payment = |tag| Payment {
        destination: Destination { address: "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE".into(), tag: Some(tag) },
        amount: Amount::from_u64(5),
    };
    let intent = Intent {
        external_id: "invoice-7".parse().unwrap(),
        wallet: WalletDescriptor::new(Network::Xrp(0), WalletKind::XrpEd25519, 0).unwrap(),
        asset: Asset::Xrp,
        source: None,
        payments: vec![payment(1), payment(2)],
        max_fee: Amount::from_u64(10),
        expires_at: Timestamp::from_secs(1_800_000_000),
        fills: None,
        terms: Some(desk.terms()),
    };
    key("client.operator").order(intent)
}

/// The word of this user that the second payout of [`order`] is not to be made.
fn recalled_by(user: &str, desk: &TestDesk) -> Signed {
    let order = order(desk);
    Signed::recall(&order, &key(user).recall(&order, 1))
}

/// What compliance has signed, by the directory after entry `seq`: a release, a rejection, a disposition.
fn decided(desk: &TestDesk, seq: u64) -> [Signed; 3] {
    let genesis = desk.pinned();
    let sign = |users: &[&str], digest: [u8; 32]| {
        users.iter().map(|user| key(user).sign(&digest)).collect::<Vec<_>>()
    };
    let reason = || "looked into".to_owned();
    let intent = order(desk).intent.digest();
    let expires_at = FOUNDED.plus(std::time::Duration::from_secs(60));
    let evidence = vec![Exhibit::Record { uri: "urn:bursar:case:1".into() }];
    let release = Release {
        genesis,
        intent,
        verdict: None,
        reason: reason(),
        evidence,
        released_at: FOUNDED,
        expires_at,
    };
    let rejection = Rejection { genesis, intent, reason: reason(), rejected_at: FOUNDED };
    let disposition = Disposition {
        genesis,
        deposit: DepositId::new(uuid::Uuid::from_u128(9)),
        action: DispositionAction::Isolate,
        reason: reason(),
        // Signed before there was evidence.
        evidence: vec![],
        decided_at: FOUNDED,
    };
    let both = ["platform.officer", "platform.lead"];
    let released = SignedRelease { signatures: sign(&both, release.digest()), release };
    let rejected =
        SignedRejection { signature: key("platform.officer").sign(&rejection.digest()), rejection };
    let disposed = SignedDisposition { signatures: sign(&both, disposition.digest()), disposition };
    [Signed::release(&released, seq), Signed::rejection(&rejected, seq), Signed::disposition(&disposed, seq)]
}

/// What services have signed: a price, by the log's first directory, and about the order a verdict and an alert.
fn said(desk: &TestDesk, seq: u64) -> [Signed; 3] {
    let (genesis, intent) = (desk.pinned(), order(desk).intent.digest());
    let expires_at = FOUNDED.plus(std::time::Duration::from_secs(60));
    let quote = Quote {
        genesis,
        asset: Asset::Xrp,
        decimals: 6,
        currency: "CHF".parse().unwrap(),
        price: "2.07".parse().unwrap(),
        quoted_at: FOUNDED,
        expires_at,
    };
    let verdict = Verdict {
        genesis,
        intent,
        provider: "list".into(),
        risk: RiskBand::Low,
        sanctions: false,
        outcome: Screened::Clear,
        screened_at: FOUNDED,
        expires_at,
        reference: "7".into(),
    };
    let alert = Alert {
        id: "one".into(),
        subject: AlertSubject::Transfer(intent),
        risk: RiskBand::High,
        sanctions: false,
        description: "paid to a mixer".into(),
        raised_at: FOUNDED,
    };
    let screener = key("platform.screening");
    let quoted = SignedQuote { signature: key("client.service").sign(&quote.digest()), quote };
    let screened = SignedVerdict { signature: screener.sign(&verdict.digest()), verdict };
    let alerted = SignedAlert { signature: screener.sign(&alert.digest()), alert };
    [Signed::price(&quoted, 0), Signed::verdict(&screened, seq), Signed::alert(&alerted, seq)]
}

fn act() -> String {
    let id = ApiKeyId::new(uuid::Uuid::from_u128(7));
    let actor = Actor::Caller { id, user: None, key: None, proof: "BEARER".into() };
    let origin = Origin { address: Some([203, 0, 113, 9].into()), ..Origin::default() };
    serde_json::to_string(&Act { actor, origin }).unwrap()
}

/// A desk whose log has a change, and twelve entries, signed: a price (1), an order (2), a vote (3), a verdict (4), a change (5), an alert
/// (7), a release (8), a rejection (10), a disposition (11) and a recall (12).
fn entries(desk: &TestDesk) -> Vec<(Entry, Option<SignedIntent>)> {
    let (change, _) = desk.entries.last().unwrap();
    let (head, order) = (desk.state.head(), order(desk));
    let payload = ApprovalPayload {
        intent: order.intent.digest(),
        policy: head,
        head,
        vote: Vote::Approve,
        given_at: FOUNDED,
        expires_at: FOUNDED.plus(std::time::Duration::from_secs(60)),
    };
    let signature = key("client.approver").sign(&payload.digest());
    let approval = Approval { payload, signature };
    let [release, rejection, disposition] = decided(desk, head.seq);
    let [price, verdict, alert] = said(desk, head.seq);
    let signed = [
        (1, price),
        (2, Signed::intent(&order)),
        (3, Signed::Approval { approval: Box::new(approval) }),
        (4, verdict),
        (7, alert),
        (5, Signed::Change { digest: head.digest, seq: head.seq, signatures: change.signatures.clone() }),
        (8, release),
        (10, rejection),
        (11, disposition),
        (12, recalled_by("client.operator", desk)),
    ];
    (1..=12)
        .map(|sequence| {
            let signed = signed.iter().find(|(at, _)| *at == sequence).map(|(_, signed)| signed);
            let entry = Entry {
                sequence,
                at: FOUNDED,
                kind: if sequence == 5 { "governance.appended" } else { "transfer.status_changed" }.into(),
                transfer: Some("018f0000-0000-7000-8000-000000000001".into()),
                payload: json!({ "number": sequence }).to_string(),
                act: Some(act()),
                signed: signed.map(|signed| serde_json::to_string(signed).unwrap()),
            };
            (entry, matches!(sequence, 2 | 4 | 7 | 12).then(|| order.clone()))
        })
        .collect()
}

fn sign(checkpoint: Checkpoint, parties: &[u16]) -> Record {
    let signature = |party: &u16| CheckpointSignature {
        party: PartyIndex(*party),
        public_key: cosigner(*party).verifying_key().to_bytes(),
        signature: cosigner(*party).sign(&checkpoint.digest()).to_bytes(),
    };
    let signatures = parties.iter().map(signature).collect();
    Record::Checkpoint(CheckpointRecord { checkpoint, signatures })
}

/// An export with checkpoints at 4, 8 (two parties) and 10 (one party). Entries begin at line 4.
fn export_of(entries: Vec<(Entry, Option<SignedIntent>)>, desk: &TestDesk) -> Vec<Record> {
    let genesis = desk.pinned();
    let mut records =
        vec![Record::Header { format: 1, desk: genesis, after: Place::START, exported_at: FOUNDED }];
    for (seq, (entry, seen_at)) in desk.entries.iter().cloned().enumerate() {
        let (seq, log::Entry { document, signatures }) = (seq as u64, entry);
        records.push(Record::Governance { seq, document, signatures, seen_at });
    }
    let mut last = Place::START;
    for (entry, order) in entries {
        last = last.next(entry.digest());
        records.push(Record::Entry(EntryRecord::new(entry, last.hash, order)));
        let Place { sequence, hash } = last;
        let checkpoint = Checkpoint { desk: genesis, sequence, hash, at: FOUNDED };
        match sequence {
            4 => records.push(sign(checkpoint, &[0, 1, 2])),
            8 => records.push(sign(checkpoint, &[0, 2])),
            10 => records.push(sign(checkpoint, &[1])),
            _ => {}
        }
    }
    records.push(Record::End { last });
    records
}

/// A policy that allows everything.
fn policy() -> Policy {
    let rules = json!([{ "id": "allow", "then": { "kind": "ALLOW" } }]);
    serde_json::from_value(json!({ "currency": "CHF", "priceMaxAgeSeconds": 60, "rules": rules })).unwrap()
}

/// A desk with a policy, and a change after it.
fn desk() -> TestDesk {
    changed(TestDesk::new(0))
}

fn changed(mut desk: TestDesk) -> TestDesk {
    desk.publish(policy());
    let user: UserId = "platform.viewer".parse().unwrap();
    desk.accept(Change::SuspendUser { user }, &["client.owner"]);
    desk
}

fn export() -> Vec<Record> {
    let desk = desk();
    export_of(entries(&desk), &desk)
}

fn verify(records: &[Record], keys: Keys) -> Result<Report, Broken> {
    let mut verifier = Verifier::new(keys);
    for record in records {
        verifier.line(&serde_json::to_string(record).unwrap())?;
    }
    verifier.finish()
}

fn broken(records: &[Record]) -> Broken {
    verify(records, keys()).expect_err("this file is not what was exported")
}

fn place_of(records: &[Record], wanted: u64) -> usize {
    let is = |record: &Record| matches!(record, Record::Entry(entry) if entry.sequence == wanted);
    records.iter().position(is).unwrap()
}

fn entry_mut(records: &mut [Record], wanted: u64) -> &mut EntryRecord {
    let place = place_of(records, wanted);
    match &mut records[place] {
        Record::Entry(entry) => entry,
        _ => unreachable!(),
    }
}

fn checkpoint_mut(records: &mut [Record], wanted: u64) -> &mut CheckpointRecord {
    let found = records.iter_mut().find_map(|record| match record {
        Record::Checkpoint(one) if one.checkpoint.sequence == wanted => Some(one),
        _ => None,
    });
    found.unwrap()
}

fn at(sequence: u64) -> Where {
    Where::Entry { sequence }
}

#[test]
fn an_export_as_it_was_made_is_whole() {
    let report = verify(&export(), keys()).unwrap();
    assert_eq!((report.first, report.last.sequence, report.entries), (Some(1), 12, 12));
    assert_eq!((report.checkpoints, report.governance_entries), (2, 3));
    assert_eq!(report.confirmed.unwrap().sequence, 8);
    assert_eq!(report.confirmed_by, [PartyIndex(0), PartyIndex(2)].into());
    assert_eq!(report.unsigned, 4);
    // The order's, the vote's, and the one under the change; two, one and two of compliance, the recall's, and three of services.
    assert_eq!(report.signatures, 12);
    let pinned = Keys { genesis: Some(desk().pinned()), ..keys() };
    assert_eq!(verify(&export(), pinned).unwrap(), report);
    let all = verify(&export(), Keys { threshold: 3, ..keys() }).unwrap();
    assert_eq!((all.confirmed.unwrap().sequence, all.unsigned), (4, 8));
    let none = verify(&export(), Keys { parties: BTreeMap::new(), ..keys() }).unwrap();
    assert_eq!((none.confirmed, none.unsigned), (None, 12));
}

#[test]
fn every_field_of_an_entry_counts_and_is_named() {
    let changes: [fn(&mut EntryRecord); 8] = [
        |entry| entry.at = Timestamp(entry.at.0 + 1),
        |entry| entry.kind.push('x'),
        |entry| entry.transfer = None,
        |entry| entry.payload = entry.payload.replace('6', "60"),
        |entry| entry.payload.push(' '),
        |entry| entry.act = None,
        |entry| entry.signed = Some("{}".into()),
        |entry| entry.hash = ChainHash([1; 32]),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut records = export();
        change(entry_mut(&mut records, 6));
        let broken = broken(&records);
        assert_eq!((broken.place, broken.fault), (at(6), Fault::Changed), "{index}");
    }
}

#[test]
fn what_is_left_out_put_in_or_moved_is_named() {
    let mut dropped = export();
    dropped.remove(place_of(&dropped, 7));
    assert_eq!(broken(&dropped), Broken { place: at(7), fault: Fault::Missing { found: 8 } });
    let mut first = export();
    first.remove(place_of(&first, 1));
    assert_eq!(broken(&first), Broken { place: at(1), fault: Fault::Missing { found: 2 } });
    let mut inserted = export();
    let place = place_of(&inserted, 7);
    inserted.insert(place, inserted[place].clone());
    assert_eq!(broken(&inserted), Broken { place: at(8), fault: Fault::Missing { found: 7 } });
    let mut renumbered = inserted;
    entry_mut(&mut renumbered, 7).sequence = 7;
    if let Record::Entry(entry) = &mut renumbered[place + 1] {
        entry.sequence = 8;
    }
    assert_eq!(broken(&renumbered), Broken { place: at(8), fault: Fault::Changed });
    let mut swapped = export();
    let place = place_of(&swapped, 6);
    swapped.swap(place, place + 1);
    assert_eq!(broken(&swapped), Broken { place: at(6), fault: Fault::Missing { found: 7 } });
}

#[test]
fn a_file_that_was_cut_off_says_so() {
    let whole = export();
    for length in 1..whole.len() {
        let broken = broken(&whole[..length]);
        assert_eq!(broken.fault, Fault::CutOff, "{length}");
    }
    assert_eq!(verify(&[], keys()).unwrap_err().fault, Fault::NoHeader);
    let mut shortened = whole.clone();
    let place = place_of(&shortened, 12);
    shortened.remove(place);
    assert_eq!(broken(&shortened), Broken { place: Where::After { sequence: 11 }, fault: Fault::OtherEnd });
    let mut longer = whole;
    longer.push(longer[0].clone());
    assert_eq!(broken(&longer).fault, Fault::Misplaced);
}

/// Somebody with the whole file who computes all hashes again, as somebody with the database could.
#[test]
fn a_chain_that_was_computed_anew_fails_at_the_next_checkpoint() {
    let desk = desk();
    for (changed, place) in
        [(6, Where::Between { first: 5, last: 8 }), (1, Where::Between { first: 1, last: 4 })]
    {
        let mut entries = entries(&desk);
        entries[changed - 1].0.payload = json!({ "number": 1000 }).to_string();
        let mut forged = export_of(entries, &desk);
        // The co-signers signed the true one.
        for (mine, theirs) in forged.iter_mut().zip(export()) {
            if let (Record::Checkpoint(mine), Record::Checkpoint(theirs)) = (mine, theirs) {
                *mine = theirs;
            }
        }
        assert_eq!(broken(&forged), Broken { place, fault: Fault::OtherHistory }, "{changed}");
    }
    // Behind the last checkpoint that enough have signed nobody vouches: it says how much that is.
    let mut entries = entries(&desk);
    entries[11].0.payload = json!({ "number": 1000 }).to_string();
    assert_eq!(verify(&export_of(entries, &desk), keys()).unwrap().unsigned, 4);
}

#[test]
fn a_checkpoint_that_was_made_up_is_named() {
    let checkpoint = Where::Checkpoint { sequence: 8 };
    type Case = (fn(&mut CheckpointRecord), Fault);
    let cases: [Case; 6] = [
        (|one| one.checkpoint.at = Timestamp(FOUNDED.0 + 1), Fault::Forged { party: PartyIndex(0) }),
        (|one| one.signatures[1].signature[3] ^= 1, Fault::Forged { party: PartyIndex(2) }),
        (|one| one.signatures[1].party = PartyIndex(1), Fault::ForeignKey { party: PartyIndex(1) }),
        (
            |one| {
                let stranger = SigningKey::from_bytes(&[99; 32]);
                one.signatures[0].public_key = stranger.verifying_key().to_bytes();
                one.signatures[0].signature = stranger.sign(&one.checkpoint.digest()).to_bytes();
            },
            Fault::ForeignKey { party: PartyIndex(0) },
        ),
        (|one| one.signatures.push(one.signatures[0]), Fault::SignedTwice { party: PartyIndex(0) }),
        (
            |one| {
                one.signatures.clear();
                one.checkpoint.hash = ChainHash([5; 32]);
            },
            Fault::OtherHistory,
        ),
    ];
    for (index, (change, fault)) in cases.into_iter().enumerate() {
        let mut records = export();
        change(checkpoint_mut(&mut records, 8));
        assert_eq!(broken(&records), Broken { place: checkpoint, fault }, "{index}");
    }
    // An earlier one, however well signed, says nothing here.
    let mut older = export();
    let four = checkpoint_mut(&mut older, 4).clone();
    *checkpoint_mut(&mut older, 8) = four;
    let place = Where::Checkpoint { sequence: 4 };
    assert_eq!(broken(&older), Broken { place, fault: Fault::CheckpointTime });
    let mut moved = export();
    let eight = checkpoint_mut(&mut moved, 8).clone();
    *checkpoint_mut(&mut moved, 4) = eight;
    assert_eq!(broken(&moved), Broken { place: checkpoint, fault: Fault::Misplaced });
    // One that is left out only shows as a longer tail.
    let mut without = export();
    without.retain(|record| !matches!(record, Record::Checkpoint(one) if one.checkpoint.sequence == 8));
    assert_eq!(verify(&without, keys()).unwrap().unsigned, 8);
}

type Entries = Vec<(Entry, Option<SignedIntent>)>;

/// What is first wrong with an export of entries that were changed before they were chained and signed.
fn with(change: &dyn Fn(&mut Entries)) -> Broken {
    let desk = desk();
    let mut entries = entries(&desk);
    change(&mut entries);
    broken(&export_of(entries, &desk))
}

/// Changes what an entry says was signed.
fn edit(entry: &mut Entry, change: &dyn Fn(&mut Value)) {
    let mut signed: Value = serde_json::from_str(entry.signed.as_deref().unwrap()).unwrap();
    change(&mut signed);
    entry.signed = Some(signed.to_string());
}

/// An Ed25519 signature that is none.
fn spoil(order: &mut SignedIntent) {
    let Proof::User { signature: Signature { evidence: Evidence::Ed25519 { signature }, .. } } =
        &mut order.proof
    else {
        panic!("the order of a user's Ed25519 key")
    };
    signature[0] ^= 1;
}

/// A user's order and recall, by passkey, are verified by the log in the file: by the directory since the policy that the order names.
#[test]
fn a_users_order_and_recall_are_verified_by_the_log() {
    let mut desk = desk();
    desk.publish(policy());
    let passkey = TestPasskey::new("client.operator", "laptop");
    let terms = desk.terms();
    let order = passkey.order(Intent { terms: Some(terms.clone()), ..order(&desk).intent });
    let recall = passkey.recall(&order, 1);
    let broken = |desk: &TestDesk, order: &SignedIntent, recall: &SignedRecall| {
        let mut entries = entries(desk);
        for (place, signed) in [(1, Signed::intent(order)), (11, Signed::recall(order, recall))] {
            entries[place].0.signed = Some(serde_json::to_string(&signed).unwrap());
            entries[place].1 = Some(order.clone());
        }
        verify(&export_of(entries, desk), keys()).map(|report| report.signatures)
    };
    // The key is not in the log yet.
    let unknown = broken(&desk, &order, &recall).unwrap_err();
    assert!(unknown.place == at(2) && matches!(unknown.fault, Fault::Initiator(_)), "{unknown}");
    let (user, key) = (passkey.user.clone(), passkey.public());
    desk.accept(Change::AddKey { user: user.clone(), key }, &["client.owner", "manager.security"]);
    assert_eq!(broken(&desk, &order, &recall), Ok(13));
    // Who leaves later had signed it all the same.
    desk.accept(Change::SuspendUser { user }, &["client.owner", "manager.security"]);
    assert_eq!(broken(&desk, &order, &recall), Ok(13));

    let elsewhere = passkey.order(Intent {
        terms: Some(Terms { desk: EntryDigest([7; 32]), ..desk.terms() }),
        ..order.intent.clone()
    });
    assert_eq!(
        broken(&desk, &elsewhere, &recall).unwrap_err(),
        Broken { place: at(2), fault: Fault::OtherDesk }
    );
    // One that somebody else of the desk signed than it names.
    let signature = testing::key("manager.operator").sign(&order.intent.digest().0);
    let anothers = SignedIntent::by_user(order.intent.clone(), signature);
    let anothers = broken(&desk, &anothers, &recall).unwrap_err();
    assert!(
        anothers.place == at(2)
            && matches!(anothers.fault, Fault::Initiator(InvalidInitiatorSignature::OtherUser { .. })),
        "{anothers}"
    );
    let other = testing::key("manager.operator").recall(&order, 1);
    let other = broken(&desk, &order, &other).unwrap_err();
    assert!(
        other.place == at(12) && matches!(other.fault, Fault::Recall(InvalidRecall::OtherUser { .. })),
        "{other}"
    );
    let moved = SignedRecall { payment: 0, ..recall };
    let moved = broken(&desk, &order, &moved).unwrap_err();
    assert!(
        moved.place == at(12) && matches!(moved.fault, Fault::Recall(InvalidRecall::User { .. })),
        "{moved}"
    );
}

/// An order's signature that its user did not make.
fn is_nobodys(fault: &Fault) -> bool {
    matches!(fault, Fault::Initiator(InvalidInitiatorSignature::User(_)))
}

#[test]
fn signatures_in_entries_are_verified_against_the_governance_log() {
    let no_order = with(&|entries| entries[1].1 = None);
    assert_eq!(no_order, Broken { place: at(2), fault: Fault::NoOrder });
    let other = with(&|entries| entries[1].1.as_mut().unwrap().intent.max_fee = Amount::from_u64(11));
    assert_eq!(other, Broken { place: at(2), fault: Fault::OtherOrder });
    let forged = with(&|entries| {
        let order = entries[1].1.as_mut().unwrap();
        spoil(order);
        entries[1].0.signed = Some(serde_json::to_string(&Signed::intent(order)).unwrap());
    });
    assert!(forged.place == at(2) && is_nobodys(&forged.fault), "{forged}");
    let vote = with(&|entries| {
        edit(&mut entries[2].0, &|signed| signed["approval"]["payload"]["vote"] = "REJECT".into())
    });
    assert!(vote.place == at(3) && matches!(vote.fault, Fault::Signature(_)), "{vote}");
    let stranger = with(&|entries| {
        edit(&mut entries[2].0, &|signed| signed["approval"]["signature"]["user"] = "mallory".into());
    });
    assert!(stranger.place == at(3) && matches!(stranger.fault, Fault::Signature(_)), "{stranger}");
    let beyond = with(&|entries| {
        edit(&mut entries[2].0, &|signed| signed["approval"]["payload"]["head"]["seq"] = 9.into())
    });
    assert_eq!(beyond, Broken { place: at(3), fault: Fault::NoLog(9) });
    let change =
        with(&|entries| edit(&mut entries[4].0, &|signed| signed["digest"] = "07".repeat(32).into()));
    assert_eq!(change, Broken { place: at(5), fault: Fault::OtherDesk });
    let unknown = with(&|entries| entries[8].0.signed = Some(r#"{"kind":"TRUST_ME"}"#.into()));
    assert!(unknown.place == at(9) && matches!(unknown.fault, Fault::Signed(_)), "{unknown}");
}

#[test]
fn what_compliance_signed_is_verified_by_the_directory_that_it_was_taken_by() {
    type Case = (usize, fn(&mut Value));
    let forged: [Case; 7] = [
        (8, |signed| signed["release"]["reason"] = "another".into()),
        (8, |signed| signed["release"]["intent"] = "07".repeat(32).into()),
        (8, |signed| signed["signatures"][1]["evidence"]["signature"] = "07".repeat(64).into()),
        (10, |signed| signed["rejection"]["reason"] = "another".into()),
        (10, |signed| signed["signature"]["user"] = "platform.lead".into()),
        (11, |signed| signed["disposition"]["action"] = "RELEASE".into()),
        (11, |signed| signed["signatures"][1]["user"] = "mallory".into()),
    ];
    for (index, (number, change)) in forged.into_iter().enumerate() {
        let broken = with(&|entries| edit(&mut entries[number - 1].0, &change));
        assert_eq!(broken.place, at(number as u64), "{index}");
        assert!(matches!(broken.fault, Fault::Signature(_)), "{index}: {broken}");
    }
    for (number, document) in [(8_usize, "release"), (10, "rejection"), (11, "disposition")] {
        let foreign = with(&|entries| {
            edit(&mut entries[number - 1].0, &|signed| signed[document]["genesis"] = "07".repeat(32).into())
        });
        assert_eq!(foreign, Broken { place: at(number as u64), fault: Fault::OtherDesk });
        let beyond = with(&|entries| edit(&mut entries[number - 1].0, &|signed| signed["seq"] = 9.into()));
        assert_eq!(beyond, Broken { place: at(number as u64), fault: Fault::NoLog(9) });
        let order = with(&|entries| entries[number - 1].1 = Some(order(&desk())));
        assert_eq!(order, Broken { place: at(number as u64), fault: Fault::OtherOrder });
    }
    for number in [8_usize, 11] {
        let none =
            with(&|entries| edit(&mut entries[number - 1].0, &|signed| signed["signatures"] = json!([])));
        assert!(none.place == at(number as u64) && matches!(none.fault, Fault::Signed(_)), "{none}");
    }
    // Whom the log's last entry suspends signs nothing after it, and what was signed before stays good.
    let by_viewer = |seq: u64| {
        move |entries: &mut Entries| {
            edit(&mut entries[9].0, &|signed| {
                let rejection: Rejection = serde_json::from_value(signed["rejection"].clone()).unwrap();
                signed["signature"] = json!(key("platform.viewer").sign(&rejection.digest()));
                signed["seq"] = seq.into();
            });
        }
    };
    let suspended = with(&by_viewer(2));
    assert!(suspended.place == at(10) && matches!(suspended.fault, Fault::Signature(_)), "{suspended}");
    let desk = desk();
    let mut before = entries(&desk);
    by_viewer(0)(&mut before);
    assert_eq!(verify(&export_of(before, &desk), keys()).unwrap().signatures, 12);
}

#[test]
fn what_services_signed_is_verified_and_is_about_the_order_beside_it() {
    type Case = (usize, fn(&mut Value));
    let forged: [Case; 9] = [
        (1, |signed| signed["price"]["quote"]["price"] = "0.01".into()),
        (1, |signed| signed["price"]["quote"]["asset"] = "ETH".into()),
        (1, |signed| signed["price"]["signature"]["user"] = "mallory".into()),
        (4, |signed| signed["verdict"]["verdict"]["outcome"] = "BLOCK".into()),
        (4, |signed| signed["verdict"]["signature"]["user"] = "client.service".into()),
        (4, |signed| signed["verdict"]["signature"]["evidence"]["signature"] = "07".repeat(64).into()),
        (7, |signed| signed["alert"]["alert"]["risk"] = "LOW".into()),
        (7, |signed| signed["alert"]["signature"]["key"] = "other".into()),
        (7, |signed| signed["alert"]["signature"]["evidence"]["signature"] = "07".repeat(64).into()),
    ];
    for (index, (number, change)) in forged.into_iter().enumerate() {
        let broken = with(&|entries| edit(&mut entries[number - 1].0, &change));
        assert_eq!(broken.place, at(number as u64), "{index}");
        assert!(matches!(broken.fault, Fault::Signature(_)), "{index}: {broken}");
    }
    type Changed = (usize, fn(&mut Value), Fault);
    let faults: [Changed; 7] = [
        (1, |signed| signed["price"]["quote"]["genesis"] = "07".repeat(32).into(), Fault::OtherDesk),
        (1, |signed| signed["seq"] = 9.into(), Fault::NoLog(9)),
        (4, |signed| signed["verdict"]["verdict"]["genesis"] = "07".repeat(32).into(), Fault::OtherDesk),
        (4, |signed| signed["verdict"]["verdict"]["intent"] = "07".repeat(32).into(), Fault::OtherOrder),
        (4, |signed| signed["seq"] = 9.into(), Fault::NoLog(9)),
        (7, |signed| signed["alert"]["alert"]["subject"]["of"] = "07".repeat(32).into(), Fault::OtherOrder),
        (7, |signed| signed["seq"] = 9.into(), Fault::NoLog(9)),
    ];
    for (index, (number, change, fault)) in faults.into_iter().enumerate() {
        let broken = with(&|entries| edit(&mut entries[number - 1].0, &change));
        assert_eq!(broken, Broken { place: at(number as u64), fault }, "{index}");
    }
    for number in [4_usize, 7] {
        let none = with(&|entries| entries[number - 1].1 = None);
        assert_eq!(none, Broken { place: at(number as u64), fault: Fault::NoOrder });
        let other = with(&|entries| entries[number - 1].1.as_mut().unwrap().intent.max_fee = Amount::ZERO);
        assert_eq!(other, Broken { place: at(number as u64), fault: Fault::OtherOrder });
    }
    let beside = with(&|entries| entries[0].1 = Some(order(&desk())));
    assert_eq!(beside, Broken { place: at(1), fault: Fault::OtherOrder });
    // An alert about an order that is nobody's here has none beside it.
    let desk = desk();
    let mut foreign = entries(&desk);
    (foreign[6].0.transfer, foreign[6].1) = (None, None);
    assert_eq!(verify(&export_of(foreign, &desk), keys()).unwrap().signatures, 12);
}

#[test]
fn a_recall_is_the_initiators_of_the_order_beside_it() {
    let forged = |change: &dyn Fn(&mut Value)| {
        let broken = with(&|entries| edit(&mut entries[11].0, change));
        assert_eq!(broken.place, at(12));
        broken.fault
    };
    let other = forged(&|signed| signed["recall"]["payment"] = 0.into());
    assert!(matches!(other, Fault::Recall(InvalidRecall::User { payment: 0, .. })), "{other}");
    let none = forged(&|signed| signed["recall"]["payment"] = 2.into());
    assert_eq!(none, Fault::Recall(InvalidRecall::NoSuchPayment(2)));
    assert_eq!(forged(&|signed| signed["digest"] = "07".repeat(32).into()), Fault::OtherOrder);
    for stranger in [json!({ "user": "client.approver" }), json!(key("client.operator").initiator())] {
        assert_eq!(forged(&|signed| signed["initiator"] = stranger.clone()), Fault::OtherOrder);
    }
    let recalled = serde_json::to_string(&recalled_by("client.approver", &desk())).unwrap();
    let theirs = with(&|entries| entries[11].0.signed = Some(recalled.clone()));
    let (payment, initiator) = (1, key("client.operator").user);
    let fault = Fault::Recall(InvalidRecall::OtherUser { payment, initiator });
    assert_eq!(theirs, Broken { place: at(12), fault });
    let unsigned = with(&|entries| spoil(entries[11].1.as_mut().unwrap()));
    assert!(unsigned.place == at(12) && is_nobodys(&unsigned.fault), "{unsigned}");
    let no_order = with(&|entries| entries[11].1 = None);
    assert_eq!(no_order, Broken { place: at(12), fault: Fault::NoOrder });
}

/// As such entries were before their signatures were told apart.
#[test]
fn entries_that_name_no_signature_are_whole() {
    let desk = desk();
    let mut entries = entries(&desk);
    for (entry, order) in &mut entries[7..] {
        (entry.signed, *order) = (None, None);
    }
    assert_eq!(verify(&export_of(entries, &desk), keys()).unwrap().signatures, 6);
}

#[test]
fn an_entry_with_a_recall_has_its_order_beside_it() {
    let id = "018f0000-0000-7000-8000-000000000001";
    let desk = desk();
    let [release, ..] = decided(&desk, 0);
    let of = |signed: &Signed| order_of(Some(&serde_json::to_string(signed).unwrap()), Some(id));
    assert_eq!(of(&recalled_by("client.operator", &desk)), id.parse().ok());
    assert_eq!(of(&Signed::intent(&order(&desk))), id.parse().ok());
    let [price, verdict, alert] = said(&desk, 0);
    assert_eq!((of(&verdict), of(&alert)), (id.parse().ok(), id.parse().ok()));
    assert_eq!((of(&release), of(&price)), (None, None));
}

#[test]
fn the_governance_log_in_the_file_is_replayed() {
    let governance = |records: &mut Vec<Record>, wanted: u64, change: &dyn Fn(&mut String)| {
        for record in records {
            if let Record::Governance { seq, document, .. } = record
                && *seq == wanted
            {
                change(document);
            }
        }
    };
    for seq in [0, 1, 2] {
        let mut records = export();
        governance(&mut records, seq, &|document| document.push(' '));
        let broken = broken(&records);
        assert!(
            broken.place == Where::Governance { seq } && matches!(broken.fault, Fault::Governance(_)),
            "{broken}"
        );
    }
    let mut without = export();
    without.retain(|record| !matches!(record, Record::Governance { seq: 2, .. }));
    assert_eq!(broken(&without), Broken { place: at(3), fault: Fault::NoLog(2) });
    // A whole desk that somebody made up has another first entry, which the co-signers did not sign.
    let other = changed(TestDesk::new(60));
    let mut records = export_of(entries(&other), &other);
    let pinned = Keys { genesis: Some(desk().pinned()), ..keys() };
    let header = Broken { place: Where::Header, fault: Fault::OtherDesk };
    assert_eq!(verify(&records, pinned).unwrap_err(), header);
    let theirs = checkpoint_mut(&mut export(), 4).clone();
    *checkpoint_mut(&mut records, 4) = theirs;
    let foreign = broken(&records);
    assert_eq!(foreign.place, Where::Checkpoint { sequence: 4 });
    assert_eq!(foreign.fault, Fault::CheckpointDesk);
}

#[test]
fn a_part_of_the_log_hangs_on_its_checkpoints() {
    let whole = export();
    let place = place_of(&whole, 6);
    let mut part: Vec<Record> = whole[..4].to_vec();
    let after = Place { sequence: 5, hash: entry_mut(&mut whole.clone(), 5).hash };
    part[0] = Record::Header { format: 1, desk: desk().pinned(), after, exported_at: FOUNDED };
    part.extend_from_slice(&whole[place..]);
    let report = verify(&part, keys()).unwrap();
    assert_eq!((report.first, report.confirmed.unwrap().sequence, report.unsigned), (Some(6), 8, 4));
    part[0] = Record::Header {
        format: 1,
        desk: desk().pinned(),
        after: Place { hash: ChainHash([1; 32]), ..after },
        exported_at: FOUNDED,
    };
    assert_eq!(broken(&part), Broken { place: at(6), fault: Fault::Changed });
}

#[test]
fn lines_that_are_none_and_files_without_a_header_are_told() {
    let mut verifier = Verifier::new(keys());
    for line in ["", "{}", "null", r#"{"record":"HEADER"}"#, "\u{0}"] {
        assert!(matches!(verifier.line(line).unwrap_err().fault, Fault::Line(_)), "{line}");
    }
    assert_eq!(verify(&export()[1..], keys()).unwrap_err().fault, Fault::NoHeader);
    let mut versioned = export();
    if let Record::Header { format, .. } = &mut versioned[0] {
        *format = 2;
    }
    assert_eq!(broken(&versioned).fault, Fault::NoHeader);
    let with_more = serde_json::to_string(&export()[4]).unwrap().replacen('{', r#"{"more":1,"#, 1);
    let mut verifier = Verifier::new(keys());
    for record in &export()[..4] {
        verifier.line(&serde_json::to_string(record).unwrap()).unwrap();
    }
    assert!(matches!(verifier.line(&with_more).unwrap_err().fault, Fault::Line(_)));
}
