//! Who signs, who is passed over, and what happens when someone dies.

use crate::support::{Group, NOW, deadlines, role};
use bursar_domain::{
    ports::{PAST_REFUSALS, SignError, ThresholdSigner as _},
    signing::{PartyIndex, Scheme},
    wallet::WalletKind,
};
use bursar_signer::verify::RefusalCode;
use bursar_signer_client::{
    Deadlines,
    link::{self, LinkReader, LinkWriter},
    message::{Answer, FromRelay, Hello, Mode, Nonce, PROTOCOL_VERSION, ToRelay},
};
use std::time::Duration;
use tokio::{net::TcpStream, task::JoinHandle};

/// A link of this party to the relay, without an honest co-signer behind it.
async fn link_as(group: &Group, index: u16) -> (LinkReader, LinkWriter) {
    let identity = crate::support::identity(group.secret(index));
    let stream = TcpStream::connect(group.relay_address).await.unwrap();
    let (reader, mut writer) = link::connect(stream, &identity, group.relay_key).await.unwrap();
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        software: "test".into(),
        mode: Mode::Sign,
        party: PartyIndex(index),
        role: role(index),
        keys: group.keys.values().cloned().collect(),
        networks: Vec::new(),
        log: None,
    };
    writer.send(&ToRelay::Hello(hello)).await.unwrap();
    group.wait_online(index, true).await;
    (reader, writer)
}

/// A co-signer that accepts everything and is gone as soon as a session is under way: with the first frame of another party.
async fn traitor(group: &Group, index: u16) -> JoinHandle<()> {
    let (mut reader, mut writer) = link_as(group, index).await;
    tokio::spawn(async move {
        loop {
            match reader.recv::<FromRelay>().await.unwrap() {
                FromRelay::Propose { proposal, .. } => {
                    let answer = Answer::Accept { nonce: Nonce::random(), with: [].into() };
                    writer.send(&ToRelay::Answer { proposal, answer }).await.unwrap();
                }
                FromRelay::Peer { .. } => return,
                _ => {}
            }
        }
    })
}

/// Takes a party's place and gives this answer to every proposal, or none.
async fn puppet(group: &mut Group, index: u16, answer: Option<Answer>) -> JoinHandle<()> {
    group.stop(index).await;
    let (mut reader, mut writer) = link_as(group, index).await;
    tokio::spawn(async move {
        while let Ok(message) = reader.recv::<FromRelay>().await {
            if let (FromRelay::Propose { proposal, .. }, Some(answer)) = (message, answer.clone()) {
                writer.send(&ToRelay::Answer { proposal, answer }).await.unwrap();
            }
        }
    })
}

/// Gives the party's place back to the honest co-signer.
async fn relieve(group: &mut Group, index: u16, puppet: JoinHandle<()>) {
    puppet.abort();
    group.wait_online(index, false).await;
    group.start(index).await;
}

fn refuses() -> Option<Answer> {
    Some(Answer::Refuse { code: "AMOUNT_ABOVE_CAP".into(), reason: "test".into() })
}

fn overloaded() -> Option<Answer> {
    Some(Answer::Unable { code: "OVERLOADED".into(), reason: "test".into() })
}

#[tokio::test]
async fn taproot_and_ed25519_payments__should_be_signed_by_two_of_three() {
    let group = Group::new(2, 3).await;
    let mut schemes: Vec<Scheme> = group.coordinator.keys().into_iter().map(|key| key.scheme).collect();
    schemes.sort();
    assert_eq!(schemes, [Scheme::Bip340, Scheme::Ed25519]);
    assert_eq!(group.coordinator.online(Scheme::Bip340), 3);
    // Three inputs: three sessions from one proposal.
    let batch = group.package(&group.btc(&[1, 2, 3], &[60_000, 90_000, 70_000]));
    assert_eq!(group.payloads(&batch).len(), 3);
    group.sign(&batch).await.unwrap();
    let mut payment = group.xrp(WalletKind::XrpEd25519, 25_000_000, 5);
    payment.intent.external_id = "invoice-2".parse().unwrap();
    group.sign(&group.package(&payment)).await.unwrap();
    let status = group.coordinator.status();
    assert!(status.iter().all(|party| party.online && party.since == Some(NOW) && party.keys.len() == 2));
}

#[tokio::test]
async fn two_of_two_and_three_of_five__should_sign() {
    for (threshold, parties) in [(2, 2), (3, 5)] {
        let group = Group::new(threshold, parties).await;
        group.sign(&group.package(&group.btc(&[1, 2], &[120_000]))).await.unwrap();
    }
}

#[tokio::test]
async fn any_quorum_of_three_of_five__should_sign() {
    for absent in [[0, 1], [1, 3], [2, 4]] {
        let mut group = Group::new(3, 5).await;
        for index in absent {
            group.stop(index).await;
        }
        group.sign(&group.package(&group.xrp(WalletKind::XrpEd25519, 1_000_000, 5))).await.unwrap();
        let burnt = group.sessions_burnt();
        assert_eq!(burnt, [1, 1, 1], "absent {absent:?}");
    }
}

#[tokio::test]
async fn party_offline_at_the_start__should_be_passed_over() {
    for absent in 0..3 {
        let mut group = Group::new(2, 3).await;
        group.stop(absent).await;
        group.sign(&group.package(&group.btc(&[1], &[50_000]))).await.unwrap();
    }
}

#[tokio::test]
async fn too_few_parties__should_not_start_anything() {
    let mut group = Group::new(2, 3).await;
    group.stop(0).await;
    group.stop(1).await;
    let error = group.sign(&group.package(&group.btc(&[1], &[50_000]))).await.unwrap_err();
    assert_eq!(error, SignError::NotEnoughSigners { scheme: Scheme::Bip340, needed: 2, available: 1 });
    assert!(!error.started());
    assert_eq!(group.sessions_burnt(), [0]);
}

#[tokio::test]
async fn party_that_dies_in_the_session__should_fail_it_clean_and_another_quorum_signs() {
    let mut group = Group::new(2, 3).await;
    group.stop(0).await;
    group.stop(2).await;
    // Only party 1 and the traitor are there, so the first session needs both; then an honest party comes.
    let died = traitor(&group, 2).await;
    let package = group.package(&group.btc(&[1], &[50_000]));
    let error = group.sign(&package).await.unwrap_err();
    died.await.unwrap();
    assert!(matches!(error, SignError::Aborted { started: true, .. }), "{error:?}");
    let after_first = group.sessions_burnt();
    assert!(after_first[0] >= 1, "the aborted session stays burnt: {after_first:?}");
    group.start(0).await;
    group.sign(&package).await.unwrap();
    assert_eq!(group.daemons[&1].cosigner.store.sessions().unwrap(), after_first[0] + 1);
}

#[tokio::test]
async fn party_that_dies_in_the_session__should_be_replaced_within_the_call() {
    let mut group = Group::new(2, 3).await;
    group.stop(2).await;
    let died = traitor(&group, 2).await;
    // Until the traitor is chosen (whoever answers first is), every call succeeds; then the retry must.
    for round in 0..200u8 {
        if died.is_finished() {
            break;
        }
        let mut payment = group.btc(&[round + 1], &[50_000]);
        payment.intent.external_id = format!("invoice-{round}").parse().unwrap();
        group.sign(&group.package(&payment)).await.unwrap();
    }
    assert!(died.is_finished(), "the traitor was never chosen");
}

#[tokio::test]
async fn restarted_party__should_remember_what_it_signed() {
    let mut group = Group::new(2, 2).await;
    let first = group.xrp(WalletKind::XrpEd25519, 1_000_000, 5);
    group.sign(&group.package(&first)).await.unwrap();
    for index in 0..2 {
        group.stop(index).await;
    }
    for index in 0..2 {
        group.start(index).await;
    }
    assert_eq!(group.sessions_burnt(), [1, 1]);
    // The same bytes may be signed again, in a session of its own.
    group.sign(&group.package(&first)).await.unwrap();
    assert_eq!(group.sessions_burnt(), [2, 2]);
    let second = group.package(&group.xrp(WalletKind::XrpEd25519, 1_000_000, 6));
    let error = group.sign(&second).await.unwrap_err();
    assert!(matches!(&error, SignError::Refused { code, started: false, .. } if code == "WOULD_PAY_TWICE"));
    let past = [
        RefusalCode::WouldPayTwice,
        RefusalCode::ExternalIdReused,
        RefusalCode::InputAmountChanged,
        RefusalCode::NonceTaken,
    ];
    assert_eq!(PAST_REFUSALS, past.map(RefusalCode::name), "the orchestrator knows these by their names");
}

#[tokio::test]
async fn ecdsa_payment__should_be_signed_through_the_relay() {
    let group = Group::with(2, 3, true, deadlines(), |_| {}).await;
    group.sign(&group.package(&group.xrp(WalletKind::XrpSecp256k1, 1_000_000, 5))).await.unwrap();
}

#[tokio::test]
async fn refusal__should_be_final_only_if_no_quorum_can_ever_form() {
    let mut group = Group::new(2, 3).await;
    let package = group.package(&group.btc(&[1], &[50_000]));
    puppet(&mut group, 1, refuses()).await;
    group.sign(&package).await.expect("the other two sign");
    group.stop(2).await;
    // Party 2 may come back and accept.
    let error = group.sign(&package).await.unwrap_err();
    assert_eq!(error, SignError::NotEnoughSigners { scheme: Scheme::Bip340, needed: 2, available: 1 });
    assert_eq!(group.coordinator.status()[1].last_refusal.as_ref().unwrap().code, "AMOUNT_ABOVE_CAP");
    group.start(2).await;
    puppet(&mut group, 2, refuses()).await;
    let error = group.sign(&package).await.unwrap_err();
    assert!(matches!(&error, SignError::Refused { code, started: false, .. } if code == "AMOUNT_ABOVE_CAP"));
    // Two refuse: the third, who is away, cannot change that.
    group.stop(0).await;
    let error = group.sign(&package).await.unwrap_err();
    assert!(matches!(&error, SignError::Refused { started: false, .. }), "{error:?}");
}

#[tokio::test]
async fn party_that_cannot_decide_now__should_not_end_the_payment() {
    let mut group = Group::new(2, 3).await;
    let package = group.package(&group.btc(&[1], &[50_000]));
    for second in [refuses(), overloaded()] {
        let first = puppet(&mut group, 1, second).await;
        let second = puppet(&mut group, 2, overloaded()).await;
        let error = group.sign(&package).await.unwrap_err();
        assert!(
            matches!(&error, SignError::Aborted { reason, started: false } if reason.contains("OVERLOADED")),
            "{error:?}"
        );
        assert_eq!(group.sessions_burnt(), [0], "nobody began");
        relieve(&mut group, 1, first).await;
        relieve(&mut group, 2, second).await;
    }
    group.sign(&package).await.unwrap();
}

#[tokio::test]
async fn silent_party__should_not_end_the_payment() {
    let brief = Deadlines { answer: Duration::from_millis(500), ..deadlines() };
    let mut group = Group::with(2, 2, false, brief, |_| {}).await;
    let package = group.package(&group.btc(&[1], &[50_000]));
    puppet(&mut group, 1, None).await;
    let error = group.sign(&package).await.unwrap_err();
    assert!(
        matches!(&error, SignError::Aborted { reason, started: false } if reason.contains("party 1 did not answer")),
        "{error:?}"
    );
}
