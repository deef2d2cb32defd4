//! Held against npm's bitcoinjs-lib on random inputs: ids, digests, addresses, sizes, and what counts as an address.

use crate::support::{KINDS, LocalKey, NETWORKS, Shape, random_address};
use bitcoin::{Psbt, consensus::serialize};
use bursar_bitcoin::BitcoinAdapter;
use bursar_domain::{
    hd::derive_public_key,
    network::{BitcoinNetwork, Network},
    ports::{AssembleTransaction, DecodeTransaction, DeriveAddress},
    wallet::{Branch, WalletDescriptor},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Folder of the scripts and their node_modules.
fn folder() -> PathBuf {
    std::env::var_os("BURSAR_DIFFERENTIAL_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/differential")),
        PathBuf::from,
    )
}

/// One answer for each question, from one run of the script.
fn ask(questions: &[Value]) -> Vec<Value> {
    let folder = folder();
    assert!(
        folder.join("node_modules/bitcoinjs-lib").is_dir(),
        "{} has no node_modules/bitcoinjs-lib: run ./dev setup",
        folder.display()
    );
    let mut child = Command::new("node")
        .arg(folder.join("bitcoin.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts: run ./dev setup if it is missing");
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = questions.iter().map(|question| format!("{question}\n")).collect();
    // In a thread: the script answers while it is being asked, and pipes are short.
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "bitcoin.mjs failed: {}", output.status);
    let answers: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), questions.len());
    answers
}

fn name(network: BitcoinNetwork) -> String {
    Network::Bitcoin(network).to_string().replace("bitcoin:", "")
}

#[test]
fn transactions_agree() {
    let mut questions = Vec::new();
    let mut expected = Vec::new();
    for seed in 0..120u64 {
        let mut rng = StdRng::seed_from_u64(seed);
        let shape = Shape::random(&mut rng);
        let network = name(shape.network);
        let scenario = shape.draw(&mut rng);
        let Ok(unsigned) = scenario.build() else { continue };
        let payloads = BitcoinAdapter.signing_payloads(&unsigned, &scenario.group).unwrap();
        let signed =
            BitcoinAdapter.assemble(&unsigned, &scenario.group, &scenario.key.sign_all(&payloads)).unwrap();
        let effects = BitcoinAdapter.decode(&unsigned, &scenario.group).unwrap();

        let psbt = Psbt::deserialize(&unsigned.bytes).unwrap();
        let prevouts: Vec<Value> = psbt
            .inputs
            .iter()
            .map(|input| {
                let utxo = input.witness_utxo.as_ref().unwrap();
                json!({ "script": utxo.script_pubkey.to_hex_string(), "value": utxo.value.to_sat().to_string() })
            })
            .collect();
        let bare = hex::encode(serialize(&psbt.unsigned_tx));
        let complete = hex::encode(&signed.bytes);
        let transaction: bitcoin::Transaction = bitcoin::consensus::deserialize(&signed.bytes).unwrap();

        // Payments in their order, the change wherever its address is.
        let change = effects.change.first().map(|change| change.address.clone());
        let mut payments = effects.payments.iter().map(|payment| payment.destination.address.clone());
        let addresses: Vec<String> = psbt
            .outputs
            .iter()
            .map(|output| {
                if output.bip32_derivation.is_empty() && output.tap_internal_key.is_none() {
                    payments.next().unwrap()
                } else {
                    change.clone().unwrap()
                }
            })
            .collect();
        questions.push(json!({
            "op": "transaction", "network": network, "signed": complete, "unsigned": bare, "prevouts": prevouts,
        }));
        expected.push(json!({
            "txid": signed.tx_id,
            "unsignedTxid": signed.tx_id,
            "virtualSize": transaction.vsize(),
            "digests": payloads.iter().map(|payload| hex::encode(&payload.message)).collect::<Vec<_>>(),
            "addresses": addresses,
            "signed": complete,
        }));
        questions.push(json!({ "op": "psbt", "psbt": hex::encode(&unsigned.bytes) }));
        expected.push(json!({ "unsigned": bare, "prevouts": prevouts }));
    }
    assert!(questions.len() > 150, "most scenarios can pay");
    for (answer, expected) in ask(&questions).into_iter().zip(expected) {
        assert_eq!(answer, expected);
    }
}

#[test]
fn derived_addresses_agree() {
    let mut rng = StdRng::seed_from_u64(1);
    let (mut questions, mut expected) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        for (kind, network) in KINDS.into_iter().flat_map(|kind| NETWORKS.map(|network| (kind, network))) {
            let group = LocalKey::random(kind, &mut rng).group();
            let wallet = WalletDescriptor::new(Network::Bitcoin(network), kind, 0).unwrap();
            let path = wallet.path(Branch::Receive, rng.gen_range(0..1_000_000));
            let key = hex::encode(derive_public_key(&group, &path).unwrap());
            questions.push(json!({
                "op": "derive", "network": name(network), "kind": kind.to_string(), "publicKey": key,
            }));
            expected.push(json!({ "address": BitcoinAdapter.address(&wallet, &group, &path).unwrap() }));
        }
    }
    assert_eq!(ask(&questions), expected);
}

/// What is accepted here has the same script there; what was mistyped is accepted by neither. (bitcoinjs-lib also accepts
/// witness versions that do not exist yet; those are refused here.)
#[test]
fn destinations_agree() {
    let mut rng = StdRng::seed_from_u64(2);
    let (mut questions, mut ours) = (Vec::new(), Vec::new());
    for round in 0..1_500 {
        let network = NETWORKS[rng.gen_range(0..4)];
        // One in four is read as an address of a network that may be another one.
        let read_on = if round % 4 == 0 { NETWORKS[rng.gen_range(0..4)] } else { network };
        let mut address = random_address(network, &mut rng).into_bytes();
        if round % 2 == 0 {
            let at = rng.gen_range(0..address.len());
            const ALPHABET: &[u8] = b"023456789acdefghjklmnpqrstuvwxyzACQPZ1bio";
            match rng.gen_range(0..4) {
                0 => address.insert(at, ALPHABET[rng.gen_range(0..ALPHABET.len())]),
                1 => drop(address.remove(at)),
                _ => address[at] = ALPHABET[rng.gen_range(0..ALPHABET.len())],
            }
        }
        let address = String::from_utf8(address).unwrap();
        questions.push(json!({ "op": "parse", "network": name(read_on), "address": address }));
        ours.push((
            address.clone(),
            BitcoinAdapter.parse_destination(Network::Bitcoin(read_on), &address, None),
        ));
    }
    let (mut accepted, mut refused) = (0, 0);
    for (answer, (address, ours)) in ask(&questions).into_iter().zip(ours) {
        match ours {
            Ok(destination) => {
                accepted += 1;
                let unchecked: bitcoin::Address<bitcoin::address::NetworkUnchecked> =
                    destination.address.parse().unwrap();
                let script = unchecked.assume_checked().script_pubkey().to_hex_string();
                assert_eq!(answer["script"], json!(script), "{address}: {answer}");
            }
            Err(error) => {
                refused += 1;
                assert!(answer.get("error").is_some(), "{address}: {error}, but {answer}");
            }
        }
    }
    assert!(accepted > 500 && refused > 500, "{accepted} accepted, {refused} refused");
}
