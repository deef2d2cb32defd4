//! Sessions of all participants in one process, with a place for a hostile network or participant in between.

use bursar_domain::{
    hd::derive_public_key,
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
    wallet::{Branch, DerivationPath},
};
use bursar_signer::protocol::{
    Envelope, KeygenParams, Progress, ProtocolError, Share, SignParams, Wire, keygen, sign, test_primes,
};
use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};

/// Far more than any session takes, so that a hang fails the test instead of the run.
const LIMIT: Duration = Duration::from_secs(300);

/// A frame on its way.
#[derive(Clone)]
pub struct Frame {
    pub from: u16,
    pub to: u16,
    pub broadcast: bool,
    pub bytes: Vec<u8>,
}

/// Turns each sent frame into those that arrive.
pub type Tamper = Box<dyn FnMut(Frame) -> Vec<Frame> + Send>;

pub fn honest() -> Tamper {
    Box::new(|frame| vec![frame])
}

/// Wires between `parties`. Dropping the set closes them.
pub fn connect(parties: u16, tamper: Tamper) -> (Vec<Wire>, JoinSet<()>) {
    let (to, incoming): (Vec<_>, Vec<_>) = (0..parties).map(|_| mpsc::channel(64)).unzip();
    let (tamper, mut relays) = (Arc::new(Mutex::new(tamper)), JoinSet::new());
    let wires = (0..)
        .zip(incoming)
        .map(|(from, incoming)| {
            let (outgoing, mut sent) = mpsc::channel::<Envelope>(64);
            let (to, tamper) = (to.clone(), tamper.clone());
            relays.spawn(async move {
                while let Some(Envelope { peer, broadcast, bytes }) = sent.recv().await {
                    let frame = Frame { from, to: peer, broadcast, bytes };
                    let frames = (tamper.lock().unwrap())(frame);
                    for Frame { from, to: peer, broadcast, bytes } in frames {
                        // A party that has finished no longer listens.
                        let _ = to[usize::from(peer)].send(Envelope { peer: from, broadcast, bytes }).await;
                    }
                }
                // A finished party does not close the others' wires.
                std::future::pending::<()>().await;
            });
            Wire { incoming, outgoing }
        })
        .collect();
    (wires, relays)
}

/// Runs all sessions; the first failure closes every wire, as a coordinator would do. Outcomes in session order.
pub async fn run_all<T, F>(sessions: Vec<F>, relays: JoinSet<()>) -> Vec<Result<T, ProtocolError>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ProtocolError>> + Send + 'static,
{
    let mut relays = Some(relays);
    let mut running = JoinSet::new();
    let mut outcomes: Vec<_> = sessions.iter().map(|_| None).collect();
    for (index, session) in sessions.into_iter().enumerate() {
        running.spawn(async move { (index, session.await) });
    }
    let all = async {
        while let Some(ended) = running.join_next().await {
            let (index, outcome) = ended.expect("a session panicked");
            if outcome.is_err() {
                relays = None;
            }
            outcomes[index] = Some(outcome);
        }
    };
    tokio::time::timeout(LIMIT, all).await.expect("a session hangs although its wire is closed");
    outcomes.into_iter().flatten().collect()
}

pub async fn try_keygen(
    scheme: Scheme,
    threshold: u16,
    parties: u16,
    tamper: Tamper,
) -> Vec<Result<(Share, Vec<Progress>), ProtocolError>> {
    let (wires, relays) = connect(parties, tamper);
    let execution_id = fresh_id();
    let sessions = (0..)
        .zip(wires)
        .map(|(me, wire)| {
            let params = KeygenParams { execution_id, me, parties, threshold };
            let primes = (scheme == Scheme::EcdsaSecp256k1).then(|| test_primes::load(me));
            async move {
                let steps = Arc::new(Mutex::new(Vec::new()));
                let log = steps.clone();
                let share =
                    keygen(scheme, params, primes, wire, move |step| log.lock().unwrap().push(step)).await?;
                let steps = steps.lock().unwrap().clone();
                Ok((share, steps))
            }
        })
        .collect();
    run_all(sessions, relays).await
}

pub async fn shares_of(scheme: Scheme, threshold: u16, parties: u16) -> Vec<Arc<Share>> {
    let outcomes = try_keygen(scheme, threshold, parties, honest()).await;
    outcomes.into_iter().map(|outcome| Arc::new(outcome.expect("key generation failed").0)).collect()
}

/// Published ECDSA shares, because making them takes 9 s of processor time for each party.
pub fn ecdsa_fixture(threshold: u16, parties: u16) -> Vec<Arc<Share>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    (0..parties)
        .map(|index| {
            let file = format!("{folder}/insecure-test-shares-ecdsa-{threshold}-of-{parties}-{index}.cbor");
            let bytes = std::fs::read(&file).expect(&file);
            Arc::new(Share::from_bytes(&bytes).expect(&file))
        })
        .collect()
}

/// One session of `signers`, the n-th of which is asked to sign the n-th payload.
pub async fn try_sign(
    shares: &[Arc<Share>],
    signers: &[u16],
    payloads: Vec<SigningPayload>,
    tamper: Tamper,
) -> Vec<Result<SignatureBytes, ProtocolError>> {
    let parties = u16::try_from(signers.len()).unwrap();
    let (wires, relays) = connect(parties, tamper);
    let execution_id = fresh_id();
    let sessions = (0..)
        .zip(wires)
        .zip(payloads)
        .zip(signers)
        .map(|(((me, wire), payload), &index)| {
            let params = SignParams { execution_id, me, signers: signers.to_vec(), payload };
            sign(shares[usize::from(index)].clone(), params, wire)
        })
        .collect();
    run_all(sessions, relays).await
}

/// Signs with honest parties and checks the one signature that all must get.
pub async fn assert_signs(shares: &[Arc<Share>], signers: &[u16], payload: &SigningPayload) {
    let payloads = vec![payload.clone(); signers.len()];
    let outcomes = try_sign(shares, signers, payloads, honest()).await;
    assert_eq!(outcomes.len(), signers.len());
    for outcome in outcomes {
        let signature = outcome.unwrap_or_else(|error| panic!("{signers:?}: {error}"));
        assert_verifies(&shares[0].group_key(), payload, &signature);
    }
}

/// By libsecp256k1 and ed25519-dalek, under the key that the domain derives.
pub fn assert_verifies(key: &GroupKey, payload: &SigningPayload, signature: &SignatureBytes) {
    use bitcoin::{
        key::TapTweak,
        secp256k1::{Message, PublicKey, Secp256k1, ecdsa, schnorr},
    };
    let child = derive_public_key(key, &payload.path).unwrap();
    assert_ne!(child, key.public_key, "signed for the root");
    if payload.scheme == Scheme::Ed25519 {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&child.try_into().unwrap()).unwrap();
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        return key.verify_strict(&payload.message, &signature).unwrap();
    }
    let secp = Secp256k1::verification_only();
    let child = PublicKey::from_slice(&child).unwrap();
    let digest = Message::from_digest_slice(&payload.message).unwrap();
    if payload.scheme == Scheme::EcdsaSecp256k1 {
        // libsecp256k1 verifies low-S signatures only.
        return secp
            .verify_ecdsa(&digest, &ecdsa::Signature::from_compact(&signature.0).unwrap(), &child)
            .unwrap();
    }
    let (output, _) = child.x_only_public_key().0.tap_tweak(&secp, None);
    let signature = schnorr::Signature::from_slice(&signature.0).unwrap();
    secp.verify_schnorr(&signature, &digest, &output.to_x_only_public_key()).unwrap();
}

pub fn payload(scheme: Scheme, branch: Branch, index: u32) -> SigningPayload {
    let purpose = if scheme == Scheme::Bip340 { 86 } else { 144 };
    SigningPayload {
        scheme,
        path: DerivationPath { purpose, account: 3, branch, index },
        message: if scheme == Scheme::Ed25519 { b"any length".repeat(100) } else { vec![0xA5; 32] },
        taproot_tweak: scheme == Scheme::Bip340,
    }
}

/// Unused in this process.
fn fresh_id() -> [u8; 32] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 32];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}
