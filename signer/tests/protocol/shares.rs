use crate::network::{assert_signs, ecdsa_fixture, payload, shares_of};
use bursar_domain::{signing::Scheme, wallet::Branch};
use bursar_signer::protocol::{Primes, ProtocolError, Share, test_primes};
use sha2::{Digest, Sha256};
use std::sync::{Arc, atomic::AtomicBool};

async fn shares(scheme: Scheme) -> Vec<Arc<Share>> {
    if scheme == Scheme::EcdsaSecp256k1 { ecdsa_fixture(2, 3) } else { shares_of(scheme, 2, 3).await }
}

/// The bytes with a checksum that fits.
fn sealed(body: &[u8]) -> Vec<u8> {
    [body, &Sha256::digest(body)].concat()
}

#[tokio::test]
async fn shares__should_agree_on_the_key_and_differ_in_index() {
    for scheme in Scheme::ALL {
        let shares = shares(scheme).await;
        let key = shares[0].group_key();
        assert_eq!((key.scheme, key.threshold, key.parties, key.generation), (scheme, 2, 3, 0));
        for (index, share) in (0..).zip(&shares) {
            assert_eq!((share.group_key(), share.index(), share.scheme()), (key.clone(), index, scheme));
        }
    }
}

#[tokio::test]
async fn stored_share__should_sign_like_the_first() {
    for scheme in Scheme::ALL {
        let stored: Vec<_> = shares(scheme)
            .await
            .iter()
            .map(|share| {
                let bytes = share.to_bytes();
                let read = Share::from_bytes(&bytes).unwrap();
                assert_eq!(read.to_bytes(), bytes);
                assert_eq!(read.group_key(), share.group_key());
                Arc::new(read)
            })
            .collect();
        assert_signs(&stored, &[1, 2], &payload(scheme, Branch::Receive, 2)).await;
    }
}

#[tokio::test]
async fn damaged_share__should_be_refused() {
    for scheme in Scheme::ALL {
        let bytes = shares(scheme).await[1].to_bytes();
        let refuse = |damaged: &[u8], what: &str| {
            let outcome = Share::from_bytes(damaged).map(|_| ());
            assert!(matches!(outcome, Err(ProtocolError::InvalidShare { .. })), "{scheme}: {what}");
        };
        for place in (0..bytes.len()).step_by(1 + bytes.len() / 300) {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= 1;
            refuse(&damaged, "a changed byte");
            refuse(&bytes[..place], "a cut end");
        }
        refuse(&[&bytes[..], &[0]].concat(), "a byte too many");
        let body = &bytes[..bytes.len() - 32];
        refuse(&sealed(&body[..body.len() - 1]), "a cut end, sealed");
        refuse(&sealed(&[body, &[0]].concat()), "a byte too many, sealed");
    }
}

/// Whoever can write a fitting checksum still gets no panic, and no share whose secret is not that of its public share.
#[tokio::test]
async fn forged_share__should_never_panic_nor_pass_with_another_secret() {
    for scheme in Scheme::ALL {
        let bytes = shares(scheme).await[0].to_bytes();
        let body = &bytes[..bytes.len() - 32];
        for place in (0..body.len()).step_by(1 + body.len() / 300) {
            for mask in [1, 0x80] {
                let mut forged = body.to_vec();
                forged[place] ^= mask;
                let _ = Share::from_bytes(&sealed(&forged));
            }
        }
        let secret = position(body, b"\x61x\x58\x20").expect("the secret is a 32-byte string") + 4;
        let mut forged = body.to_vec();
        forged[secret + 31] ^= 1;
        assert!(matches!(Share::from_bytes(&sealed(&forged)), Err(ProtocolError::InvalidShare { .. })));
    }
}

fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

#[test]
fn published_primes__should_be_valid_and_different() {
    let all: Vec<_> = (0..5).map(|index| test_primes::load(index).to_bytes()).collect();
    for (index, primes) in all.iter().enumerate() {
        assert!(!all[..index].contains(primes));
        assert_eq!(Primes::from_bytes(primes).unwrap().to_bytes(), *primes);
    }
}

#[test]
fn damaged_primes__should_be_refused() {
    let bytes = test_primes::load(0).to_bytes();
    for damaged in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[0xA0], &[]] {
        let outcome = Primes::from_bytes(damaged).map(|_| ());
        assert!(matches!(outcome, Err(ProtocolError::InvalidPrimes { .. })));
    }
}

#[test]
fn cancelled_generation_of_primes__should_stop_before_the_next_prime() {
    let mut steps = Vec::new();
    let primes = Primes::generate(&AtomicBool::new(true), |step| steps.push(step.found));
    assert!(primes.is_none());
    assert_eq!(steps, [0]);
}
