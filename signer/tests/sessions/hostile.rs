//! A hostile orchestrator: whatever it sends, each co-signer refuses, and writes down why.

use crate::support::{Group, NOW, deadlines, package, signed_by, stranger};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    intent::InitiatorKey,
    network::{BitcoinNetwork, Network},
    package::SigningPackage,
    ports::SignError,
    signing::PartyRole,
    time::Timestamp,
    wallet::{WalletDescriptor, WalletKind},
};
use bursar_signer::{
    rules::{Destinations, Initiator, Rules},
    verify::RefusalCode,
};
use ed25519_dalek::SigningKey;

/// Every co-signer must refuse, with this code, durably; nobody may have begun.
async fn refused_by_all(group: &Group, package: &SigningPackage, code: RefusalCode) {
    let error = group.sign(package).await.expect_err("must be refused");
    assert!(!error.started(), "{error:?}");
    assert!(
        matches!(&error, SignError::Refused { code: refused, .. } if refused == code.name()),
        "{code}: {error:?}"
    );
    for index in group.daemons.keys() {
        let record = crate::support::eventually("the refusal is recorded", || {
            group.last_refusal(*index).filter(|record| record.package == package.digest())
        })
        .await;
        assert_eq!(record.refusal.code, code, "party {index}");
        assert_eq!(record.at, NOW);
    }
}

/// A transaction that does something else than the signed intent.
fn forged(group: &Group, change: impl FnOnce(&mut crate::support::Payments)) -> SigningPackage {
    let honest = group.btc(&[1, 2], &[60_000, 50_000]);
    let mut forged = honest.clone();
    change(&mut forged);
    package(group.sign_intent(honest.intent), group.build(&forged))
}

#[tokio::test]
async fn forged_transaction__should_be_refused_by_every_cosigner() {
    let group = Group::new(2, 3).await;
    let swapped = forged(&group, |p| p.intent.payments[0].destination.address = stranger(9));
    refused_by_all(&group, &swapped, RefusalCode::EffectsRecipient).await;
    let raised = forged(&group, |p| p.intent.payments[1].amount = Amount::from_u64(50_001));
    refused_by_all(&group, &raised, RefusalCode::EffectsAmount).await;
    let extra = forged(&group, |p| {
        let mut another = p.intent.payments[0].clone();
        another.destination.address = stranger(9);
        p.intent.payments.push(another);
    });
    refused_by_all(&group, &extra, RefusalCode::EffectsOther).await;
    let missing = forged(&group, |p| {
        p.intent.payments.pop();
    });
    refused_by_all(&group, &missing, RefusalCode::EffectsOther).await;
    let dear = forged(&group, |p| {
        p.intent.max_fee = Amount::from_u64(1_000_000);
        let bursar_domain::account::AccountState::Bitcoin(account) = &mut p.state else { unreachable!() };
        account.fee_rate.0 = 200_000;
    });
    refused_by_all(&group, &dear, RefusalCode::EffectsFee).await;
    let mut garbage = forged(&group, |_| {});
    garbage.unsigned.bytes.truncate(40);
    refuses_undecodable(&group, &garbage).await;
    assert_eq!(group.sessions_burnt(), [0, 0, 0]);
}

async fn refuses_undecodable(group: &Group, package: &SigningPackage) {
    use bursar_domain::ports::ThresholdSigner as _;
    let payloads = group.payloads(&forged(group, |_| {}));
    let error = group.coordinator.sign(package, &payloads).await.unwrap_err();
    assert!(matches!(&error, SignError::Refused { code, .. } if code == "UNDECODABLE"));
}

#[tokio::test]
async fn foreign_or_forged_initiator__should_be_refused_by_every_cosigner() {
    let platform = SigningKey::from_bytes(&[77; 32]);
    let platform_key = InitiatorKey(platform.verifying_key().to_bytes());
    let add_platform = |rules: &mut Rules| {
        // A rules file with this entry does not load; even so, it gives no right.
        let (name, role) = ("platform".into(), PartyRole::CustodyPlatform);
        rules.initiators.push(Initiator { name, role, public_key: platform_key });
    };
    let group = Group::with(2, 3, false, deadlines(), add_platform).await;
    let payment = group.btc(&[1], &[50_000]);
    let nobody = signed_by(&SigningKey::from_bytes(&[66; 32]), payment.intent.clone());
    refused_by_all(&group, &package(nobody, group.build(&payment)), RefusalCode::UnknownInitiator).await;
    let by_platform = signed_by(&platform, payment.intent.clone());
    refused_by_all(&group, &package(by_platform, group.build(&payment)), RefusalCode::InitiatorRole).await;
    let mut forged = group.package(&payment);
    forged.intent.intent.max_fee = Amount::from_u64(19_999);
    refused_by_all(&group, &forged, RefusalCode::InitiatorSignature).await;
}

#[tokio::test]
async fn time_network_and_limits__should_be_this_partys_own() {
    let group = Group::with(2, 3, false, deadlines(), |rules| {
        let own = group_destination();
        rules.destinations = Destinations::Only([own].into());
    })
    .await;
    let mut expired = group.btc(&[1], &[50_000]);
    expired.intent.expires_at = NOW;
    refused_by_all(&group, &group.package(&expired), RefusalCode::IntentExpired).await;
    let mut far = group.btc(&[1], &[50_000]);
    far.intent.expires_at = Timestamp(NOW.0 + 7200 * 1_000_000 + 1);
    refused_by_all(&group, &group.package(&far), RefusalCode::ExpiryTooFar).await;
    refused_by_all(
        &group,
        &group.package(&group.xrp(WalletKind::XrpEd25519, 50_000_001, 5)),
        RefusalCode::AmountAboveCap,
    )
    .await;
    refused_by_all(
        &group,
        &group.package(&group.xrp(WalletKind::XrpEd25519, 1, 5)),
        RefusalCode::DestinationNotAllowed,
    )
    .await;
    let mut dear = group.btc(&[1], &[50_000]);
    let bursar_domain::account::AccountState::Bitcoin(account) = &mut dear.state else { unreachable!() };
    account.fee_rate.0 = 100_000;
    refused_by_all(&group, &group.package(&dear), RefusalCode::FeeAboveCap).await;
    group.sign(&group.package(&group.btc(&[1], &[50_000]))).await.unwrap();
    let mut elsewhere = group.package(&group.btc(&[1], &[50_000]));
    let other = Network::Bitcoin(BitcoinNetwork::Signet);
    let wallet = WalletDescriptor::new(other, WalletKind::P2tr, 0).unwrap();
    elsewhere.intent.intent.wallet = wallet;
    elsewhere.intent = group.sign_intent(elsewhere.intent.intent);
    elsewhere.unsigned.wallet = wallet;
    let payloads = group.payloads(&group.package(&group.btc(&[1], &[50_000])));
    use bursar_domain::ports::ThresholdSigner as _;
    let error = group.coordinator.sign(&elsewhere, &payloads).await.unwrap_err();
    assert!(matches!(&error, SignError::Refused { code, .. } if code == "NETWORK_NOT_ALLOWED"));
    assert_eq!(Asset::Btc.chain(), other.chain());
}

fn group_destination() -> (Network, bursar_domain::intent::Destination) {
    (crate::support::BTC, bursar_domain::intent::Destination { address: stranger(0), tag: None })
}

#[tokio::test]
async fn second_payment_of_one_intent__should_be_refused_by_every_cosigner() {
    // All three sign, so that all three remember.
    let group = Group::new(3, 3).await;
    let first = group.btc(&[1, 2], &[150_000]);
    group.sign(&group.package(&first)).await.unwrap();
    // Both inputs are needed, so a replacement that shares one is exclusive ...
    let replacement = group.btc(&[2, 3], &[150_000]);
    group.sign(&group.package(&replacement)).await.unwrap();
    // ... but this shares one with the second and none with the first: both could confirm.
    let chained = group.btc(&[3, 4], &[150_000]);
    refused_by_all(&group, &group.package(&chained), RefusalCode::WouldPayTwice).await;
    let apart = group.btc(&[5, 6], &[150_000]);
    refused_by_all(&group, &group.package(&apart), RefusalCode::WouldPayTwice).await;
    let mut reused = group.btc(&[5, 6], &[150_000]);
    reused.intent.max_fee = Amount::from_u64(19_999);
    refused_by_all(&group, &group.package(&reused), RefusalCode::ExternalIdReused).await;
    assert_eq!(group.sessions_burnt(), [4, 4, 4]);
}

/// The same unsigned transaction with another claim about what each input holds.
pub fn claiming(package: &SigningPackage, amounts: &[u64]) -> SigningPackage {
    let mut psbt = bitcoin::Psbt::deserialize(&package.unsigned.bytes).unwrap();
    assert_eq!(psbt.inputs.len(), amounts.len());
    for (input, amount) in psbt.inputs.iter_mut().zip(amounts) {
        input.witness_utxo.as_mut().unwrap().value = bitcoin::Amount::from_sat(*amount);
    }
    let mut out = package.clone();
    out.unsigned.bytes = psbt.serialize();
    out
}

/// Signatures from both packages together would be a valid transaction that gives the difference to miners.
#[tokio::test(flavor = "multi_thread")]
async fn second_package_lying_about_p2wpkh_amounts__should_be_refused_by_every_cosigner() {
    let mut group = Group::with(2, 2, true, deadlines(), |_| {}).await;
    let first = group.package(&group.btc_from(WalletKind::P2wpkh, &[1, 2], &[150_000]));
    group.sign(&first).await.unwrap();
    for index in 0..2 {
        group.stop(index).await;
        group.start(index).await;
    }
    for amounts in [[99_000, 101_000], [100_001, 100_000], [100_000, 99_999]] {
        refused_by_all(&group, &claiming(&first, &amounts), RefusalCode::InputAmountChanged).await;
    }
    // Nor in a payment of its own.
    let mut other = group.btc_from(WalletKind::P2wpkh, &[2, 3], &[150_000]);
    other.intent.external_id = "invoice-2".parse().unwrap();
    let bursar_domain::account::AccountState::Bitcoin(account) = &mut other.state else { unreachable!() };
    account.utxos[0].value.0 = 99_000;
    refused_by_all(&group, &group.package(&other), RefusalCode::InputAmountChanged).await;
    assert_eq!(group.sessions_burnt(), [2, 2]);
    for daemon in group.daemons.values() {
        daemon.cosigner.decide(&first).expect("the truth is still allowed");
    }
}

/// A BIP-341 signature commits to all amounts, so one that was made over a lie is worthless and the truth can still be signed.
#[tokio::test]
async fn lie_about_a_taproot_amount__should_not_lock_the_output() {
    let group = Group::new(2, 2).await;
    let honest = group.package(&group.btc(&[1, 2], &[150_000]));
    let lie = claiming(&honest, &[99_000, 101_000]);
    let (honest_payloads, lied_payloads) = (group.payloads(&honest), group.payloads(&lie));
    assert!(honest_payloads.iter().zip(&lied_payloads).all(|(honest, lied)| honest.message != lied.message));
    group.sign(&lie).await.unwrap();
    group.sign(&honest).await.unwrap();
}
