//! A dishonest signer sends wrong zero-knowledge proofs. cggmp24 by itself would sign in the first two cases.

use crate::network::{Frame, Tamper, ecdsa_fixture, honest, payload, try_sign};
use bursar_domain::{signing::Scheme, wallet::Branch};
use bursar_signer::protocol::ProtocolError;
use cggmp24::{
    backend::Integer,
    generic_ec::{Point, Scalar},
    signing::msg::{Msg, MsgRound1b, MsgRound2},
    supported_curves::Secp256k1,
};
use sha2::Sha256;

type SignMsg = Msg<Secp256k1, Sha256>;
const TAG: usize = 16;

/// Signer 0's messages, changed.
fn liar(change: impl Fn(&mut SignMsg) + Send + 'static) -> Tamper {
    Box::new(move |mut frame: Frame| {
        if frame.from == 0 {
            let mut message: SignMsg = ciborium::from_reader(&frame.bytes[TAG..]).unwrap();
            change(&mut message);
            frame.bytes.truncate(TAG);
            ciborium::into_writer(&message, &mut frame.bytes).unwrap();
        }
        vec![frame]
    })
}

fn first_round(change: impl Fn(&mut MsgRound1b<Secp256k1>) + Send + 'static) -> Tamper {
    liar(move |message| {
        if let Msg::Round1b(proofs) = message {
            change(proofs);
        }
    })
}

/// What the honest signer 1 says.
async fn honest_outcome(tamper: Tamper) -> Result<(), ProtocolError> {
    let payload = payload(Scheme::EcdsaSecp256k1, Branch::Receive, 0);
    let outcomes = try_sign(&ecdsa_fixture(2, 2), &[0, 1], vec![payload; 2], tamper).await;
    outcomes.into_iter().nth(1).unwrap().map(|_| ())
}

#[tokio::test]
async fn honest_signer__should_refuse_a_wrong_psi0() {
    let outcome = honest_outcome(first_round(|proofs| proofs.psi0 = proofs.psi1.clone())).await;
    assert!(matches!(outcome, Err(ProtocolError::InvalidProof { peer: 0, proof: "psi0" })), "{outcome:?}");
}

#[tokio::test]
async fn honest_signer__should_refuse_a_wrong_psi1() {
    let outcome = honest_outcome(first_round(|proofs| proofs.psi1 = proofs.psi0.clone())).await;
    assert!(matches!(outcome, Err(ProtocolError::InvalidProof { peer: 0, proof: "psi1" })), "{outcome:?}");
}

#[tokio::test]
async fn honest_signer__should_refuse_two_wrong_proofs() {
    let swap = |proofs: &mut MsgRound1b<Secp256k1>| std::mem::swap(&mut proofs.psi0, &mut proofs.psi1);
    let outcome = honest_outcome(first_round(swap)).await;
    assert!(matches!(outcome, Err(ProtocolError::InvalidProof { peer: 0, .. })), "{outcome:?}");
}

/// These the crate checks itself.
#[tokio::test]
async fn honest_signer__should_refuse_wrong_proofs_of_later_rounds() {
    let second_round = |change: fn(&mut MsgRound2<Secp256k1>)| {
        liar(move |message| {
            if let Msg::Round2(proofs) = message {
                change(proofs);
            }
        })
    };
    let changes: [fn(&mut MsgRound2<Secp256k1>); 2] =
        [|proofs| proofs.psi_j = proofs.hat_psi_j.clone(), |proofs| proofs.hat_psi_j = proofs.psi_j.clone()];
    for change in changes {
        let outcome = honest_outcome(second_round(change)).await;
        assert!(matches!(outcome, Err(ProtocolError::Protocol { .. })), "{outcome:?}");
    }
}

/// Numbers that arithmetic may choke on: the answer is an error, not a crash.
#[tokio::test]
async fn honest_signer__should_refuse_degenerate_ciphertexts_and_points() {
    let changes: [fn(&mut SignMsg); 6] = [
        |message| {
            if let Msg::Round1a(round) = message {
                round.K = Integer::zero()
            }
        },
        |message| {
            if let Msg::Round1a(round) = message {
                round.G = Integer::one()
            }
        },
        |message| {
            if let Msg::Round1a(round) = message {
                round.K = -&round.K
            }
        },
        |message| {
            if let Msg::Round1a(round) = message {
                round.Y = Point::zero()
            }
        },
        |message| {
            if let Msg::Round2(round) = message {
                round.D = Integer::zero()
            }
        },
        |message| {
            if let Msg::Round3(round) = message {
                round.delta = Scalar::zero()
            }
        },
    ];
    for (case, change) in changes.into_iter().enumerate() {
        let outcome = honest_outcome(liar(change)).await;
        let refused =
            matches!(outcome, Err(ProtocolError::InvalidProof { .. } | ProtocolError::Protocol { .. }));
        assert!(refused, "case {case}: {outcome:?}");
    }
}

/// With this the tests above show that it is the change which is refused.
#[tokio::test]
async fn honest_signer__should_accept_messages_that_were_only_encoded_again() {
    assert!(honest_outcome(liar(|_| {})).await.is_ok());
    assert!(honest_outcome(honest()).await.is_ok());
}
