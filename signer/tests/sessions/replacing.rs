//! Replacements, cancellations, children and recalls: what a co-signer allows, and what a hostile orchestrator does not get.

use crate::{
    hostile::claiming,
    support::{Group, NOW, Payments, deadlines, package, role, signed_by, stranger},
};
use bitcoin::Psbt;
use bursar_domain::{
    amount::Amount,
    package::{Purpose, SigningPackage, UnsignedTransaction},
    ports::{BuildError, ReplaceRequest},
    recall::{self, RecallSignature, SignedRecall},
    time::Timestamp,
    wallet::{Branch, WalletKind},
};
use bursar_signer::{
    adapters::by_chain,
    confirm::{Confirm, Confirmation, PaysNobody},
    control::Request,
    verify::{Refusal, RefusalCode, verify},
};
use bursar_signer_client::message::SessionId;
use ed25519_dalek::{Signer as _, SigningKey};
use std::time::Duration;

/// What takes the place of `earlier`, or pays for it.
pub fn replace(
    group: &Group,
    payment: &Payments,
    earlier: &[&UnsignedTransaction],
    purpose: &Purpose,
    raise_percent: u32,
) -> Result<UnsignedTransaction, BuildError> {
    let wallet = payment.intent.wallet;
    let earlier: Vec<UnsignedTransaction> = earlier.iter().copied().cloned().collect();
    by_chain(wallet.network.chain()).replace(&ReplaceRequest {
        intent: &payment.intent,
        purpose,
        key: &group.keys[&wallet.kind.scheme()],
        state: &payment.state,
        earlier: &earlier,
        raise_percent,
        price_cap: None,
        change: (wallet.network == crate::support::BTC).then(|| wallet.path(Branch::Change, 9)),
    })
}

fn with_purpose(
    group: &Group,
    payment: &Payments,
    unsigned: UnsignedTransaction,
    purpose: Purpose,
) -> SigningPackage {
    let package = package(group.sign_intent(payment.intent.clone()), unsigned);
    SigningPackage { purpose, ..package }
}

fn pay(group: &Group, payment: &Payments) -> SigningPackage {
    group.package(payment)
}

fn raised(
    group: &Group,
    payment: &Payments,
    earlier: &[&UnsignedTransaction],
    percent: u32,
) -> SigningPackage {
    let unsigned = replace(group, payment, earlier, &Purpose::Pay, percent).unwrap();
    with_purpose(group, payment, unsigned, Purpose::Pay)
}

fn cancel(group: &Group, payment: &Payments, earlier: &[&UnsignedTransaction]) -> SigningPackage {
    let unsigned = replace(group, payment, earlier, &Purpose::Cancel, 20).unwrap();
    with_purpose(group, payment, unsigned, Purpose::Cancel)
}

fn child(group: &Group, payment: &Payments, parent: &UnsignedTransaction, percent: u32) -> SigningPackage {
    let purpose = Purpose::Child { parent: Box::new(parent.clone()) };
    let unsigned = replace(group, payment, &[parent], &purpose, percent).unwrap();
    with_purpose(group, payment, unsigned, purpose)
}

/// Another payment: of its own inputs and intent.
fn other(group: &Group, name: &str, inputs: &[u8], amounts: &[u64]) -> Payments {
    let mut payment = group.btc(inputs, amounts);
    payment.intent.external_id = name.parse().unwrap();
    payment
}

fn decide(group: &Group, package: &SigningPackage) -> Result<(), RefusalCode> {
    group.daemons[&0].cosigner.decide(package).map(|_| ()).map_err(|refusal| refusal.code)
}

/// Party 0 takes part, as far as its memory is concerned.
fn remember(group: &Group, package: &SigningPackage) {
    let allowed = group.daemons[&0].cosigner.decide(package).unwrap();
    let session = SessionId(package.digest().0);
    let members = [role(0), role(1)].into();
    group.daemons[&0].cosigner.take_part(session, b"message", package, &allowed, &members).unwrap();
}

fn edited(package: &SigningPackage, edit: impl FnOnce(&mut Psbt)) -> SigningPackage {
    let mut psbt = Psbt::deserialize(&package.unsigned.bytes).unwrap();
    edit(&mut psbt);
    let mut out = package.clone();
    out.unsigned.bytes = psbt.serialize();
    out
}

#[tokio::test]
async fn raise_child_and_cancellation__should_be_signed_by_those_who_signed_the_payment() {
    let group = Group::new(3, 3).await;
    let payment = group.btc(&[1, 2], &[150_000]);
    let first = pay(&group, &payment);
    group.sign(&first).await.unwrap();
    let second = raised(&group, &payment, &[&first.unsigned], 30);
    group.sign(&second).await.unwrap();
    group.sign(&child(&group, &payment, &second.unsigned, 100)).await.unwrap();
    // Children exclude each other by their parents.
    group.sign(&child(&group, &payment, &first.unsigned, 100)).await.unwrap();
    group.sign(&cancel(&group, &payment, &[&first.unsigned, &second.unsigned])).await.unwrap();

    let payment = group.xrp(WalletKind::XrpEd25519, 1_000_000, 5);
    let first = pay(&group, &payment);
    group.sign(&first).await.unwrap_err();
    let mut payment = payment;
    payment.intent.external_id = "invoice-2".parse().unwrap();
    let first = pay(&group, &payment);
    group.sign(&first).await.unwrap();
    let second = raised(&group, &payment, &[&first.unsigned], 0);
    group.sign(&second).await.unwrap();
    group.sign(&cancel(&group, &payment, &[&first.unsigned, &second.unsigned])).await.unwrap();
}

#[tokio::test]
async fn cancellation__should_pay_nobody() {
    let group = Group::new(2, 2).await;
    let payment = group.btc(&[1, 2], &[150_000]);
    let first = pay(&group, &payment);
    remember(&group, &first);
    let honest = cancel(&group, &payment, &[&first.unsigned]);
    decide(&group, &honest).unwrap();

    let no_longer_ours = edited(&honest, |psbt| psbt.outputs[0] = Default::default());
    assert_eq!(decide(&group, &no_longer_ours), Err(RefusalCode::EffectsOther));
    let thief: bitcoin::Address<bitcoin::address::NetworkUnchecked> = stranger(3).parse().unwrap();
    let thief = thief.assume_checked().script_pubkey();
    let not_ours = edited(&honest, |psbt| psbt.unsigned_tx.output[0].script_pubkey = thief.clone());
    assert_eq!(decide(&group, &not_ours), Err(RefusalCode::Undecodable));
    let hidden = edited(&honest, |psbt| {
        let half = psbt.unsigned_tx.output[0].value / 2;
        psbt.unsigned_tx.output[0].value = half;
        psbt.unsigned_tx.output.push(bitcoin::TxOut { value: half, script_pubkey: thief });
        psbt.outputs.push(Default::default());
    });
    assert_eq!(decide(&group, &hidden), Err(RefusalCode::EffectsOther));
    let payment_by_another_name = SigningPackage { purpose: Purpose::Cancel, ..first.clone() };
    assert_eq!(decide(&group, &payment_by_another_name), Err(RefusalCode::EffectsOther));
    let nothing_by_another_name = SigningPackage { purpose: Purpose::Pay, ..honest.clone() };
    assert_eq!(decide(&group, &nothing_by_another_name), Err(RefusalCode::EffectsOther));
    // Burning: the fee of what pays nobody is bounded as well, by the intent and by the rules.
    let burnt = |left: u64| {
        edited(&honest, |psbt| psbt.unsigned_tx.output[0].value = bitcoin::Amount::from_sat(left))
    };
    assert_eq!(decide(&group, &burnt(200_000 - 20_001)), Err(RefusalCode::EffectsFee));
    assert_eq!(decide(&group, &burnt(200_000 - 10_001)), Err(RefusalCode::FeeAboveCap));
    decide(&group, &burnt(200_000 - 10_000)).unwrap();
}

#[tokio::test]
async fn payment_and_cancellation__should_exclude_each_other() {
    let group = Group::new(2, 2).await;
    let payment = group.btc(&[1, 2], &[150_000]);
    let first = pay(&group, &payment);
    let elsewhere = group.btc(&[3, 4], &[150_000]);
    let apart = pay(&group, &elsewhere);

    remember(&group, &first);
    let beside = cancel(&group, &elsewhere, &[&apart.unsigned]);
    assert_eq!(decide(&group, &beside), Err(RefusalCode::WouldPayTwice));
    let instead = cancel(&group, &payment, &[&first.unsigned]);
    remember(&group, &instead);
    assert_eq!(decide(&group, &apart), Err(RefusalCode::WouldPayTwice));
    decide(&group, &raised(&group, &payment, &[&first.unsigned, &instead.unsigned], 50)).unwrap();

    // A cancellation that comes first binds the payment after it.
    let later = other(&group, "invoice-2", &[5], &[50_000]);
    let later_pay = pay(&group, &later);
    remember(&group, &cancel(&group, &later, &[&later_pay.unsigned]));
    assert_eq!(
        decide(&group, &pay(&group, &other(&group, "invoice-2", &[6], &[50_000]))),
        Err(RefusalCode::WouldPayTwice)
    );
    decide(&group, &later_pay).unwrap();
}

#[tokio::test]
async fn expired_intent__should_only_be_cancelled_and_only_by_who_signed_the_payment() {
    let group = Group::new(2, 2).await;
    let payment = group.btc(&[1], &[50_000]);
    let first = pay(&group, &payment);
    let later = payment.intent.expires_at;
    let at = |package: &SigningPackage, now: Timestamp| -> Result<(), Refusal> {
        let wallet = package.unsigned.wallet;
        let key = &group.keys[&wallet.kind.scheme()];
        let adapter = by_chain(wallet.network.chain());
        let allowed = verify(package, &group.rules, None, Some(key), adapter, now)?;
        group.daemons[&0].cosigner.store.check(&allowed, now).unwrap()
    };
    let cancellation = cancel(&group, &payment, &[&first.unsigned]);
    at(&cancellation, NOW).unwrap();
    assert_eq!(at(&cancellation, later).unwrap_err().code, RefusalCode::IntentExpired);
    remember(&group, &first);
    at(&cancellation, later).unwrap();
    at(&cancellation, later.plus(Duration::from_secs(86_400))).unwrap();
    let again = raised(&group, &payment, &[&first.unsigned], 30);
    let child = child(&group, &payment, &first.unsigned, 100);
    for package in [&first, &again, &child] {
        at(package, Timestamp(later.0 - 1)).unwrap();
        assert_eq!(at(package, later).unwrap_err().code, RefusalCode::IntentExpired);
    }
    // Not by other initiators either.
    let stranger = SigningKey::from_bytes(&[66; 32]);
    let foreign =
        SigningPackage { intent: signed_by(&stranger, payment.intent.clone()), ..cancellation.clone() };
    assert_eq!(at(&foreign, later).unwrap_err().code, RefusalCode::UnknownInitiator);
}

/// A cancellation that costs more, of an order that this party took part in taking back already: nothing of it is free.
#[tokio::test]
async fn person__should_have_time_to_answer_about_a_cancellation_after_the_expiry() {
    let mut group = Group::new(2, 2).await;
    let payment = group.btc(&[1], &[50_000]);
    let first = pay(&group, &payment);
    let cancellation = cancel(&group, &payment, &[&first.unsigned]);
    remember(&group, &cancellation);
    group.confirm = Confirm::Person;
    group.stop(0).await;
    group.start(0).await;
    group.clock.advance(payment.intent.expires_at.since(NOW).as_secs() + 1);
    let again = cancel(&group, &payment, &[&first.unsigned, &cancellation.unsigned]);
    let cosigner = group.daemons[&0].cosigner.clone();
    let open = || -> Vec<Confirmation> {
        serde_json::from_value(cosigner.desk().handle(Request::Pending {}).unwrap()).unwrap()
    };
    for _ in 0..2 {
        assert_eq!(decide(&group, &again), Err(RefusalCode::AwaitingConfirmation));
        let [asked] = &open()[..] else { panic!("one question: {:?}", open()) };
        assert_eq!(asked.pays_nobody, Some(PaysNobody::Cancels));
        // Nobody looks, and it is asked anew.
        group.clock.advance(group.rules.max_expiry.as_secs());
        assert!(open().is_empty());
    }
    assert_eq!(decide(&group, &again), Err(RefusalCode::AwaitingConfirmation));
    let id = open()[0].id.to_string();
    cosigner.desk().handle(Request::Approve { id }).unwrap();
    decide(&group, &again).unwrap();
}

#[tokio::test]
async fn child__should_spend_change_of_a_payment_that_this_party_signed() {
    let group = Group::new(2, 2).await;
    let payment = group.btc(&[1, 2], &[150_000]);
    let first = pay(&group, &payment);
    let honest = child(&group, &payment, &first.unsigned, 100);
    // Not before the parent: what it says of its own fee is not believed.
    assert_eq!(decide(&group, &honest), Err(RefusalCode::UnknownParent));
    remember(&group, &first);
    decide(&group, &honest).unwrap();

    let another = other(&group, "invoice-2", &[3, 4], &[150_000]);
    let another_parent = pay(&group, &another);
    remember(&group, &another_parent);
    let foreign = child(&group, &another, &another_parent.unsigned, 100);
    // With the other intent's parent in plain sight, and behind the right parent.
    let stolen = with_purpose(&group, &payment, foreign.unsigned.clone(), foreign.purpose.clone());
    // Both pay the same here, so only this party's memory tells them apart.
    assert_eq!(decide(&group, &stolen), Err(RefusalCode::UnknownParent));
    let different = other(&group, "invoice-3", &[7, 8], &[140_000]);
    let different_parent = pay(&group, &different);
    remember(&group, &different_parent);
    let foreign_other = child(&group, &different, &different_parent.unsigned, 100);
    let stolen = with_purpose(&group, &payment, foreign_other.unsigned.clone(), foreign_other.purpose);
    assert_eq!(decide(&group, &stolen), Err(RefusalCode::ChildOf));
    let behind = with_purpose(&group, &payment, foreign.unsigned, honest.purpose.clone());
    assert_eq!(decide(&group, &behind), Err(RefusalCode::ChildOf));

    // One input more, of the wallet's own: it would be money that no fee was reckoned from.
    let more = edited(&honest, |psbt| {
        let from = Psbt::deserialize(&another_parent.unsigned.bytes).unwrap();
        psbt.unsigned_tx.input.push(from.unsigned_tx.input[0].clone());
        psbt.inputs.push(from.inputs[0].clone());
        psbt.unsigned_tx.output[0].value += from.inputs[0].witness_utxo.as_ref().unwrap().value;
    });
    assert_eq!(decide(&group, &more), Err(RefusalCode::ChildOf));
    let lied = claiming(
        &honest,
        &[Psbt::deserialize(&honest.unsigned.bytes).unwrap().inputs[0]
            .witness_utxo
            .as_ref()
            .unwrap()
            .value
            .to_sat()
            + 1],
    );
    assert_eq!(decide(&group, &lied), Err(RefusalCode::ChildOf));
    let pays = edited(&honest, |psbt| psbt.outputs[0] = Default::default());
    assert_eq!(decide(&group, &pays), Err(RefusalCode::EffectsOther));
    let of_a_cancellation = {
        let cancellation = cancel(&group, &payment, &[&first.unsigned]);
        remember(&group, &cancellation);
        let purpose = Purpose::Child { parent: Box::new(cancellation.unsigned.clone()) };
        let unsigned = replace(&group, &payment, &[&cancellation.unsigned], &purpose, 20).unwrap();
        with_purpose(&group, &payment, unsigned, purpose)
    };
    assert_eq!(decide(&group, &of_a_cancellation), Err(RefusalCode::ChildOf));
}

#[tokio::test]
async fn parent_and_child__should_together_stay_below_the_caps() {
    let group = Group::new(2, 2).await;
    let payment = group.btc(&[1, 2], &[150_000]);
    let first = pay(&group, &payment);
    remember(&group, &first);
    let honest = child(&group, &payment, &first.unsigned, 100);
    let (own, parent_fee) = {
        let psbt = Psbt::deserialize(&honest.unsigned.bytes).unwrap();
        let parent = Psbt::deserialize(&first.unsigned.bytes).unwrap();
        let paid: u64 = parent.unsigned_tx.output.iter().map(|output| output.value.to_sat()).sum();
        (psbt.inputs[0].witness_utxo.as_ref().unwrap().value.to_sat(), 200_000 - paid)
    };
    let costing = |fee: u64| {
        edited(&honest, |psbt| psbt.unsigned_tx.output[0].value = bitcoin::Amount::from_sat(own - fee))
    };
    // The rules' cap is 10,000, the intent's 20,000.
    decide(&group, &costing(10_000 - parent_fee)).unwrap();
    assert_eq!(decide(&group, &costing(10_001 - parent_fee)), Err(RefusalCode::FeeAboveCap));
    assert_eq!(decide(&group, &costing(20_001 - parent_fee)), Err(RefusalCode::EffectsFee));
    // The parent again, with less claimed to come in: signatures over it are worthless, but it may be shown as the parent.
    let cheap = claiming(&first, &[100_000, 100_000 - parent_fee + 1]);
    remember(&group, &cheap);
    let purpose = Purpose::Child { parent: Box::new(cheap.unsigned) };
    let hidden = SigningPackage { purpose: purpose.clone(), ..costing(10_000) };
    let within = SigningPackage { purpose, ..costing(10_000 - parent_fee) };
    assert_eq!(decide(&group, &hidden), Err(RefusalCode::FeeAboveCap));
    decide(&group, &within).unwrap();
    // Nor are children built that do not fit.
    let tight = Payments {
        intent: bursar_domain::intent::Intent {
            max_fee: Amount::from_u64(parent_fee + 100),
            ..payment.intent.clone()
        },
        ..payment
    };
    let purpose = Purpose::Child { parent: Box::new(first.unsigned.clone()) };
    let built = replace(&group, &tight, &[&first.unsigned], &purpose, 100);
    assert!(matches!(built, Err(BuildError::FeeAboveCap { .. })), "{built:?}");
}

/// The amounts of a P2WPKH wallet's outputs are remembered over replacements and children, too.
#[tokio::test]
async fn p2wpkh_amounts__should_not_change_in_replacements() {
    let group = Group::with(2, 2, true, deadlines(), |_| {}).await;
    let payment = group.btc_from(WalletKind::P2wpkh, &[1, 2], &[150_000]);
    let first = pay(&group, &payment);
    remember(&group, &first);
    let again = raised(&group, &payment, &[&first.unsigned], 30);
    decide(&group, &again).unwrap();
    let stopped = cancel(&group, &payment, &[&first.unsigned]);
    decide(&group, &stopped).unwrap();
    for package in [&again, &stopped] {
        for amounts in [[100_001, 100_000], [100_000, 99_999]] {
            assert_eq!(decide(&group, &claiming(package, &amounts)), Err(RefusalCode::InputAmountChanged));
        }
    }
    let honest = child(&group, &payment, &first.unsigned, 100);
    decide(&group, &honest).unwrap();
    remember(&group, &honest);
    let change = Psbt::deserialize(&honest.unsigned.bytes).unwrap().inputs[0].witness_utxo.clone().unwrap();
    let lied = claiming(&honest, &[change.value.to_sat() + 500]);
    assert_eq!(decide(&group, &lied), Err(RefusalCode::ChildOf));
}

#[tokio::test]
async fn recall__should_count_only_from_the_initiator_and_for_this_intent() {
    let group = Group::new(2, 2).await;
    let batch = group.btc(&[1, 2], &[60_000, 50_000, 40_000]);
    let order = group.sign_intent(batch.intent.clone());
    let recall = |key: &SigningKey, order: &bursar_domain::intent::SignedIntent, payment: u32| SignedRecall {
        payment,
        signature: RecallSignature::Key(
            key.sign(recall::canonical(order.intent.digest(), payment).as_bytes()).to_bytes(),
        ),
    };
    let left = |recalls: Vec<SignedRecall>| {
        let mut rest = batch.clone();
        rest.intent.payments.remove(1);
        SigningPackage { recalls, ..package(order.clone(), group.build(&rest)) }
    };
    // Left out without a recall.
    assert_eq!(decide(&group, &left(Vec::new())), Err(RefusalCode::EffectsOther));
    let forged = recall(&SigningKey::from_bytes(&[66; 32]), &order, 1);
    assert_eq!(decide(&group, &left(vec![forged])), Err(RefusalCode::Recall));
    let mut another = batch.intent.clone();
    another.external_id = "invoice-2".parse().unwrap();
    let of_another = recall(&group.initiator, &group.sign_intent(another), 1);
    assert_eq!(decide(&group, &left(vec![of_another])), Err(RefusalCode::Recall));
    let of_another_payment = recall(&group.initiator, &order, 0);
    assert_eq!(decide(&group, &left(vec![of_another_payment])), Err(RefusalCode::EffectsRecipient));
    let honest = recall(&group.initiator, &order, 1);
    assert_eq!(decide(&group, &left(vec![honest.clone(), honest.clone()])), Err(RefusalCode::Recall));
    let rest = left(vec![honest.clone()]);
    decide(&group, &rest).unwrap();
    // What was recalled is not paid any more once the recall is shown; the whole order without it is another package.
    let whole = SigningPackage { recalls: vec![honest], ..package(order.clone(), group.build(&batch)) };
    assert_eq!(decide(&group, &whole), Err(RefusalCode::EffectsOther));
    assert_ne!(rest.digest(), left(Vec::new()).digest());

    // A recall that is withheld lets the whole order be signed, but never beside what was signed with it.
    remember(&group, &rest);
    let mut apart = group.btc(&[5, 6], &[60_000, 50_000, 40_000]);
    apart.intent = batch.intent.clone();
    assert_eq!(decide(&group, &pay(&group, &apart)), Err(RefusalCode::WouldPayTwice));
    decide(&group, &pay(&group, &batch)).unwrap();
}
