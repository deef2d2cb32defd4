//! Makes the insecure fixtures in `tests/fixtures`: what is missing there of the primes of five parties and of the ECDSA key
//! shares that are made with them. Takes some ten minutes of processor time for the lot:
//! `cargo run -p bursar-signer --example generate_test_fixtures`.

use bursar_domain::signing::Scheme;
use bursar_signer::protocol::{Envelope, KeygenParams, Primes, Wire, keygen};
use std::{fs, path::PathBuf, sync::atomic::AtomicBool};
use tokio::{sync::mpsc, task::JoinSet};

const MAX_PARTIES: u16 = 5;
const KEYS: [(u16, u16); 3] = [(2, 2), (2, 3), (3, 5)];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    for index in 0..MAX_PARTIES {
        let file = fixture(&format!("insecure-test-primes-{index}.cbor"));
        if !file.exists() {
            println!("primes of party {index}");
            let primes = Primes::generate(&AtomicBool::new(false), |_| {}).expect("nobody cancels");
            fs::write(file, primes.to_bytes())?;
        }
    }
    for (threshold, parties) in KEYS {
        let name =
            |index| fixture(&format!("insecure-test-shares-ecdsa-{threshold}-of-{parties}-{index}.cbor"));
        if (0..parties).all(|index| name(index).exists()) {
            continue;
        }
        println!("key shares {threshold} of {parties}");
        let mut sessions = JoinSet::new();
        for (me, wire) in (0..).zip(connect(parties)) {
            let primes = Primes::from_bytes(&fs::read(fixture(&format!("insecure-test-primes-{me}.cbor")))?)?;
            let params = KeygenParams { execution_id: [0; 32], me, parties, threshold };
            sessions.spawn(keygen(Scheme::EcdsaSecp256k1, params, Some(primes), wire, |_| {}));
        }
        for share in sessions.join_all().await {
            let share = share?;
            fs::write(name(share.index()), share.to_bytes())?;
        }
    }
    Ok(())
}

/// A wire for each party, all in this process.
fn connect(parties: u16) -> Vec<Wire> {
    let (to, incoming): (Vec<_>, Vec<_>) = (0..parties).map(|_| mpsc::channel::<Envelope>(64)).unzip();
    let connect = |(from, incoming)| {
        let (outgoing, mut sent) = mpsc::channel::<Envelope>(64);
        let to = to.clone();
        tokio::spawn(async move {
            while let Some(Envelope { peer, broadcast, bytes }) = sent.recv().await {
                // A party that has finished no longer listens.
                let _ = to[usize::from(peer)].send(Envelope { peer: from, broadcast, bytes }).await;
            }
        });
        Wire { incoming, outgoing }
    };
    (0..).zip(incoming).map(connect).collect()
}
