//! Against xrpl.js, the ecosystem's reference library: addresses, signing bytes, blobs and hashes of random payments.

use crate::{
    payment::{Setup, cases},
    replacing::replace,
};
use bursar_domain::{
    hd::derive_public_key,
    intent::Destination,
    package::Purpose,
    ports::{AssembleTransaction, DecodeTransaction, DeriveAddress},
    signing::Scheme,
};
use bursar_xrp::XrpAdapter;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const PAYMENTS: usize = 300;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    account: String,
    destination: String,
    x_address: String,
    signing: String,
    signature_is_valid: bool,
    blob: String,
    hash: String,
}

fn ask_xrpl_js(payments: &[Value]) -> Vec<Answer> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential");
    let installed = std::env::var_os("BURSAR_DIFFERENTIAL_DIR").map_or_else(|| folder.clone(), PathBuf::from);
    assert!(
        installed.join("node_modules/xrpl").is_dir(),
        "xrpl.js is not installed in {}: run ./dev setup",
        installed.display()
    );
    let mut node = Command::new("node")
        .arg(folder.join("xrp.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node cannot be started: install Node.js 20 or later");
    let input = serde_json::to_vec(payments).unwrap();
    node.stdin.take().unwrap().write_all(&input).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "xrp.mjs failed; its error is above");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn xrpl_js_makes_the_same_of_random_payments() {
    let mut runner = TestRunner::deterministic();
    let strategy = cases();
    let mut payments = Vec::new();
    let mut made = Vec::new();
    for number in 0..PAYMENTS {
        let mut case = strategy.new_tree(&mut runner).unwrap().current();
        let setup = Setup::new(&case);
        let mut unsigned = setup.build().unwrap();
        // Every third is cancelled; those whose fee cannot be raised below the cap stay payments.
        let cancel = match replace(&setup, std::slice::from_ref(&unsigned), &Purpose::Cancel, 25) {
            Ok(cancel) if number % 3 == 0 => {
                unsigned = cancel;
                case.fee = case.fee * 125 / 100 + 1;
                true
            }
            _ => false,
        };
        let payload = XrpAdapter.signing_payloads(&unsigned, &setup.signer.key).unwrap().remove(0);
        let signature = setup.signer.sign(&payload);
        let signed = XrpAdapter.assemble(&unsigned, &setup.signer.key, &[signature]).unwrap();
        let mut public_key = derive_public_key(&setup.signer.key, &setup.source).unwrap();
        if setup.signer.key.scheme == Scheme::Ed25519 {
            public_key.insert(0, 0xED);
        }
        payments.push(json!({
            "cancel": cancel,
            "networkId": case.network_id,
            "publicKey": hex::encode_upper(public_key),
            "destinationId": hex::encode(case.destination.0),
            "tag": case.tag,
            "amount": case.amount.to_string(),
            "fee": case.fee.to_string(),
            "sequence": (!case.ticket).then_some(case.number),
            "ticket": case.ticket.then_some(case.number),
            "lastLedgerSequence": case.validated + case.window,
            "blob": hex::encode_upper(&signed.bytes),
        }));
        made.push((case, setup, unsigned, signed));
    }
    let answers = ask_xrpl_js(&payments);
    assert_eq!(answers.len(), PAYMENTS);
    for ((case, setup, unsigned, signed), theirs) in made.into_iter().zip(answers) {
        let destination = Destination { address: theirs.destination, tag: case.tag };
        let message = [b"STX\0", unsigned.bytes.as_slice()].concat();
        assert_eq!(setup.state.address, theirs.account, "{case:?}");
        assert_eq!(setup.intent.payments[0].destination, destination, "{case:?}");
        let parsed = XrpAdapter.parse_destination(setup.intent.network(), &theirs.x_address, None);
        assert_eq!(parsed, Ok(destination), "{case:?}");
        assert_eq!(hex::encode_upper(message), theirs.signing, "{case:?}");
        assert!(theirs.signature_is_valid, "{case:?}");
        assert_eq!(hex::encode_upper(&signed.bytes), theirs.blob, "{case:?}");
        assert_eq!(signed.tx_id, theirs.hash, "{case:?}");
    }
}
