use crate::network::{assert_signs, ecdsa_fixture, honest, payload, shares_of, try_keygen};
use bursar_domain::{
    signing::Scheme,
    wallet::Branch::{Change, Receive},
};
use bursar_signer::protocol::Progress;
use std::sync::Arc;

const FROST: [Scheme; 2] = [Scheme::Bip340, Scheme::Ed25519];

#[tokio::test]
async fn frost_2_of_2__should_sign() {
    for scheme in FROST {
        let shares = shares_of(scheme, 2, 2).await;
        assert_signs(&shares, &[0, 1], &payload(scheme, Receive, 0)).await;
    }
}

#[tokio::test]
async fn frost_2_of_3__should_sign_with_every_quorum_and_path() {
    for scheme in FROST {
        let shares = shares_of(scheme, 2, 3).await;
        for signers in [[0, 1], [0, 2], [1, 2]] {
            for (branch, index) in [(Receive, 0), (Receive, 1), (Change, 0), (Change, (1 << 31) - 1)] {
                assert_signs(&shares, &signers, &payload(scheme, branch, index)).await;
            }
        }
    }
}

#[tokio::test]
async fn frost_3_of_5__should_sign_with_several_quorums() {
    for scheme in FROST {
        let shares = shares_of(scheme, 3, 5).await;
        for signers in [[0, 1, 2], [0, 2, 4], [2, 3, 4], [1, 2, 4]] {
            assert_signs(&shares, &signers, &payload(scheme, Receive, 7)).await;
        }
    }
}

/// Half of all internal, child and output keys have an odd Y coordinate; each combination must sign.
#[tokio::test]
async fn bip340__should_sign_whatever_the_parity_of_the_keys() {
    for _ in 0..4 {
        let shares = shares_of(Scheme::Bip340, 2, 2).await;
        for index in 0..8 {
            assert_signs(&shares, &[0, 1], &payload(Scheme::Bip340, Receive, index)).await;
        }
    }
}

#[tokio::test]
async fn ecdsa__should_generate_a_key_and_sign_with_it() {
    let outcomes = try_keygen(Scheme::EcdsaSecp256k1, 2, 2, honest()).await;
    let (shares, steps): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .map(|outcome| outcome.map(|(share, steps)| (Arc::new(share), steps)).expect("key generation failed"))
        .unzip();
    assert_eq!(shares[0].group_key(), shares[1].group_key());
    for steps in steps {
        let (last, rounds) = steps.split_last().unwrap();
        assert_eq!(*last, Progress::Finished { scheme: Scheme::EcdsaSecp256k1 });
        let names: Vec<_> = rounds
            .iter()
            .map(|step| match step {
                Progress::Round { name, round, .. } => (*name, *round),
                Progress::Finished { .. } => panic!("finished twice"),
            })
            .collect();
        assert_eq!(names[0], ("key generation", 1));
        assert!(names.contains(&("auxiliary data", 1)), "{names:?}");
        assert!(names.windows(2).all(|pair| pair[1].1 == 1 || pair[1].1 == pair[0].1 + 1), "{names:?}");
    }
    assert_signs(&shares, &[0, 1], &payload(Scheme::EcdsaSecp256k1, Receive, 0)).await;
}

#[tokio::test]
async fn ecdsa_2_of_3__should_sign_with_every_quorum() {
    let shares = ecdsa_fixture(2, 3);
    for (index, signers) in (0..).zip([[0, 1], [0, 2], [1, 2]]) {
        assert_signs(&shares, &signers, &payload(Scheme::EcdsaSecp256k1, Change, index)).await;
    }
}

#[tokio::test]
async fn ecdsa_3_of_5__should_sign() {
    assert_signs(&ecdsa_fixture(3, 5), &[0, 2, 4], &payload(Scheme::EcdsaSecp256k1, Receive, 5)).await;
}

#[tokio::test]
async fn ecdsa__should_sign_digests_above_the_group_order() {
    let mut payload = payload(Scheme::EcdsaSecp256k1, Receive, 0);
    payload.message = vec![0xFF; 32];
    assert_signs(&ecdsa_fixture(2, 2), &[0, 1], &payload).await;
}
