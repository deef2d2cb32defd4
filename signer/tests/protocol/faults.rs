//! Hostile bytes and silent peers: every session ends, with an error that names the participant, and without a panic.

use crate::network::{Frame, Tamper, connect, honest, payload, shares_of, try_keygen, try_sign};
use bursar_domain::{
    signing::{Scheme, SignatureBytes},
    wallet::Branch,
};
use bursar_signer::protocol::{KeygenParams, MAX_FRAME, ProtocolError, SignParams, keygen, sign};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const SCHEME: Scheme = Scheme::Ed25519;
const TAG: usize = 16;
type Change = fn(&mut SignParams);

/// Changes every frame of participant 0.
fn from_0(change: impl Fn(Frame) -> Vec<Frame> + Send + 'static) -> Tamper {
    Box::new(move |frame| if frame.from == 0 { change(frame) } else { vec![frame] })
}

/// What honest signer 1 says of a session of three.
async fn outcome(tamper: Tamper) -> Result<SignatureBytes, ProtocolError> {
    let shares = shares_of(SCHEME, 3, 3).await;
    let payloads = vec![payload(SCHEME, Branch::Receive, 0); 3];
    try_sign(&shares, &[0, 1, 2], payloads, tamper).await.remove(1)
}

/// Signer 1 or 2 sees the fault first and the other is told to stop: either answer, but never a signature.
fn assert_refused(
    outcome: &Result<SignatureBytes, ProtocolError>,
    expected: impl FnOnce(&ProtocolError) -> bool,
) {
    match outcome {
        Err(ProtocolError::Aborted) => {}
        Err(error) => assert!(expected(error), "{error}"),
        Ok(_) => panic!("a signature was given"),
    }
}

/// The same for a session of two, where nobody else can end the session first.
async fn outcome_of_two(tamper: Tamper) -> Result<SignatureBytes, ProtocolError> {
    let shares = shares_of(SCHEME, 2, 2).await;
    let payloads = vec![payload(SCHEME, Branch::Receive, 0); 2];
    try_sign(&shares, &[0, 1], payloads, only_to_1(tamper)).await.remove(1)
}

/// Signer 0 hears nothing, and so never ends first.
fn only_to_1(mut tamper: Tamper) -> Tamper {
    Box::new(move |frame| if frame.to == 0 { Vec::new() } else { tamper(frame) })
}

#[tokio::test]
async fn frame_of_another_session__should_be_refused() {
    let tamper = from_0(|mut frame| {
        frame.bytes[0] ^= 1;
        vec![frame]
    });
    let outcome = outcome_of_two(tamper).await;
    assert!(matches!(outcome, Err(ProtocolError::WrongSession { peer: 0 })), "{outcome:?}");
}

#[tokio::test]
async fn replayed_session__should_be_refused() {
    let shares = shares_of(SCHEME, 2, 2).await;
    let payloads = vec![payload(SCHEME, Branch::Receive, 0); 2];
    let recording = Arc::new(Mutex::new(Vec::new()));
    let tape = recording.clone();
    let record: Tamper = Box::new(move |frame| {
        tape.lock().unwrap().push(frame.clone());
        vec![frame]
    });
    for outcome in try_sign(&shares, &[0, 1], payloads.clone(), record).await {
        outcome.unwrap();
    }
    let first = recording.lock().unwrap().iter().find(|frame| frame.from == 0).cloned().unwrap();
    let replay = only_to_1(from_0(move |_| vec![first.clone()]));
    let outcome = try_sign(&shares, &[0, 1], payloads, replay).await.remove(1);
    assert!(matches!(outcome, Err(ProtocolError::WrongSession { peer: 0 })), "{outcome:?}");
}

#[tokio::test]
async fn signers_who_disagree_on_the_payload__should_refuse_each_other() {
    for scheme in [Scheme::Bip340, Scheme::Ed25519] {
        let shares = shares_of(scheme, 2, 3).await;
        let mine = payload(scheme, Branch::Receive, 0);
        let mut other_message = mine.clone();
        other_message.message[0] ^= 1;
        let other_path = payload(scheme, Branch::Change, 0);
        for theirs in [other_message, other_path] {
            let outcomes = try_sign(&shares, &[0, 2], vec![mine.clone(), theirs], honest()).await;
            assert!(outcomes.iter().all(Result::is_err));
            let refused = |outcome: &Result<_, _>| matches!(outcome, Err(ProtocolError::WrongSession { .. }));
            assert!(outcomes.iter().any(refused), "{outcomes:?}");
        }
    }
}

#[tokio::test]
async fn repeated_frame__should_be_refused() {
    let refused = outcome(from_0(|frame| vec![frame.clone(), frame])).await;
    assert_refused(&refused, |error| matches!(error, ProtocolError::Repeated { peer: 0 }));
}

#[tokio::test]
async fn frame_under_another_name__should_be_refused() {
    for (name, expected) in [(1, "this party itself"), (7, "nobody")] {
        let tamper = from_0(move |frame| vec![Frame { from: name, ..frame }]);
        let outcome = outcome_of_two(tamper).await;
        let refused = matches!(&outcome, Err(ProtocolError::UnknownSender { peer }) if *peer == name);
        assert!(refused, "{expected}: {outcome:?}");
    }
}

#[tokio::test]
async fn broadcast_sent_as_a_private_message__should_be_refused() {
    let outcome = outcome_of_two(from_0(|frame| vec![Frame { broadcast: false, ..frame }])).await;
    assert!(matches!(outcome, Err(ProtocolError::Protocol { .. })), "{outcome:?}");
}

#[tokio::test]
async fn oversized_frame__should_be_refused() {
    let tamper = from_0(|mut frame| {
        frame.bytes.resize(MAX_FRAME + 1, 0);
        vec![frame]
    });
    let outcome = outcome_of_two(tamper).await;
    assert!(matches!(outcome, Err(ProtocolError::FrameTooLarge { peer: 0, .. })), "{outcome:?}");
}

#[tokio::test]
async fn malformed_message__should_be_refused() {
    let changes: [fn(&mut Vec<u8>); 6] = [
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| bytes.truncate(TAG),
        |bytes| bytes.push(0),
        |bytes| bytes[TAG] = 0xFF,
        // An array that claims 2⁶⁴ − 1 elements.
        |bytes| bytes.splice(TAG.., [0x9B, 255, 255, 255, 255, 255, 255, 255, 255]).for_each(drop),
        // Arrays in arrays, deeper than any stack.
        |bytes| bytes.resize(MAX_FRAME, 0x81),
    ];
    for (case, change) in changes.into_iter().enumerate() {
        let outcome = outcome_of_two(from_0(move |mut frame| {
            change(&mut frame.bytes);
            vec![frame]
        }))
        .await;
        let refused = matches!(
            outcome,
            Err(ProtocolError::Malformed { peer: 0, .. } | ProtocolError::WrongSession { peer: 0 })
        );
        assert!(refused, "case {case}: {outcome:?}");
    }
}

#[tokio::test]
async fn any_changed_byte__should_never_give_a_bad_signature_or_a_panic() {
    let shares = shares_of(SCHEME, 2, 2).await;
    for place in (0..160).step_by(7) {
        let tamper = from_0(move |mut frame| {
            let len = frame.bytes.len();
            frame.bytes[place % len] ^= 0x10;
            vec![frame]
        });
        let payloads = vec![payload(SCHEME, Branch::Receive, 0); 2];
        let outcome = try_sign(&shares, &[0, 1], payloads, tamper).await.remove(1);
        assert!(outcome.is_err(), "byte {place} does not matter");
        assert!(!matches!(outcome, Err(ProtocolError::Crashed)), "byte {place} crashes");
    }
}

#[tokio::test]
async fn tampered_key_generation__should_give_nobody_a_share() {
    for scheme in [Scheme::Bip340, Scheme::Ed25519] {
        for last in [1, 20, 60] {
            let tamper = from_0(move |mut frame| {
                let place = frame.bytes.len() - last;
                frame.bytes[place] ^= 1;
                vec![frame]
            });
            let outcomes = try_keygen(scheme, 2, 3, tamper).await;
            assert!(outcomes[1..].iter().all(Result::is_err), "{scheme}: byte −{last} does not matter");
        }
    }
}

#[tokio::test]
async fn silent_peer__should_leave_the_others_waiting_until_the_wire_closes() {
    for scheme in Scheme::ALL {
        let (mut wires, mut relays) = connect(2, honest());
        let primes = Some(bursar_signer::protocol::test_primes::load(0));
        let params = KeygenParams { execution_id: [9; 32], me: 0, parties: 2, threshold: 2 };
        let session = tokio::spawn(keygen(scheme, params, primes, wires.remove(0), |_| {}));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!session.is_finished(), "{scheme}: ended without its peer");
        relays.shutdown().await;
        let outcome =
            tokio::time::timeout(Duration::from_secs(60), session).await.expect("it hangs").unwrap();
        assert!(matches!(outcome, Err(ProtocolError::Aborted)), "{scheme}");
    }
}

#[tokio::test]
async fn unfit_parameters__should_be_refused_before_anything_is_sent() {
    let shares = shares_of(Scheme::Bip340, 2, 3).await;
    let good = SignParams {
        execution_id: [8; 32],
        me: 1,
        signers: vec![0, 2],
        payload: payload(Scheme::Bip340, Branch::Receive, 0),
    };
    let changes: [(&str, Change); 9] = [
        ("signers", |p| p.signers = vec![2, 0]),
        ("signers", |p| p.signers = vec![2, 2]),
        ("signers", |p| p.signers = vec![0, 1, 2]),
        ("signers", |p| p.signers = vec![2, 3]),
        ("me", |p| p.me = 0),
        ("me", |p| p.me = 2),
        ("payload.scheme", |p| p.payload.scheme = Scheme::EcdsaSecp256k1),
        ("payload.message", |p| p.payload.message.push(0)),
        ("payload.taproot_tweak", |p| p.payload.taproot_tweak = false),
    ];
    for (expected, change) in changes {
        let mut params = good.clone();
        change(&mut params);
        let wire = connect(2, honest()).0.remove(1);
        let outcome = sign(shares[2].clone(), params, wire).await;
        let refused =
            matches!(&outcome, Err(ProtocolError::InvalidParams { field, .. }) if *field == expected);
        assert!(refused, "{expected}: {outcome:?}");
    }
    for (me, parties, threshold) in [(0, 3, 1), (0, 2, 3), (3, 3, 2), (0, 0, 0)] {
        let params = KeygenParams { execution_id: [7; 32], me, parties, threshold };
        let wire = connect(2, honest()).0.remove(0);
        let outcome = keygen(SCHEME, params, None, wire, |_| {}).await;
        assert!(matches!(outcome, Err(ProtocolError::InvalidParams { .. })));
    }
    let params = KeygenParams { execution_id: [6; 32], me: 0, parties: 2, threshold: 2 };
    let outcome =
        keygen(Scheme::EcdsaSecp256k1, params, None, connect(2, honest()).0.remove(0), |_| {}).await;
    assert!(matches!(outcome, Err(ProtocolError::PrimesRequired)));
}
