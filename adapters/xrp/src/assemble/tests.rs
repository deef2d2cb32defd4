//! Blobs that a real rippled 3.1.2 accepted, with the ids that it gave them.

use super::verified;
use crate::{
    codec::{Fields, sha512_half, signing_message, transaction_hash},
    decode::read_for_key,
    keys::PublicKey,
};
use bursar_domain::{
    signing::{Scheme, SignatureBytes, SigningPayload},
    wallet::{Branch, DerivationPath},
};
use serde_json::Value;

struct Recorded {
    blob: Vec<u8>,
    key: PublicKey,
    signature: Vec<u8>,
    hash: String,
}

fn recorded(text: &str) -> Recorded {
    let exchange: Value = serde_json::from_str(text).unwrap();
    let tx = &exchange["response"]["result"]["tx_json"];
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    Recorded {
        blob: bytes(&exchange["request"]["params"][0]["tx_blob"]),
        key: PublicKey(bytes(&tx["SigningPubKey"]).try_into().unwrap()),
        signature: bytes(&tx["TxnSignature"]),
        hash: tx["hash"].as_str().unwrap().to_owned(),
    }
}

/// The fields before and after `TxnSignature` (header `74`, one length byte).
fn without_signature(recorded: &Recorded) -> Vec<u8> {
    let field =
        [&[0x74, u8::try_from(recorded.signature.len()).unwrap()], recorded.signature.as_slice()].concat();
    let at = recorded.blob.windows(field.len()).position(|window| window == field).unwrap();
    [&recorded.blob[..at], &recorded.blob[at + field.len()..]].concat()
}

fn check(text: &str, scheme: Scheme, compact: impl Fn(&[u8]) -> [u8; 64]) {
    let recorded = recorded(text);
    let unsigned = without_signature(&recorded);
    let fields: Fields = read_for_key(&unsigned, 0, recorded.key).unwrap();
    assert_eq!(fields.unsigned_bytes().unwrap(), unsigned);
    assert_eq!(fields.signed_bytes(&recorded.signature).unwrap(), recorded.blob);
    assert_eq!(transaction_hash(&recorded.blob), recorded.hash);

    let message = signing_message(&unsigned);
    let message = if scheme == Scheme::Ed25519 { message } else { sha512_half(&message).to_vec() };
    let path = DerivationPath { purpose: 144, account: 0, branch: Branch::Receive, index: 0 };
    let payload = SigningPayload { scheme, path, message, taproot_tweak: false };
    let signature = compact(&recorded.signature);
    assert_eq!(verified(&payload, &recorded.key.0, &SignatureBytes(signature)), Some(recorded.signature));

    let mut broken = signature;
    broken[40] ^= 1;
    assert_eq!(verified(&payload, &recorded.key.0, &SignatureBytes(broken)), None);
}

#[test]
fn secp256k1_payment_of_the_real_ledger() {
    check(include_str!("../../tests/recorded/submit-secp256k1.json"), Scheme::EcdsaSecp256k1, |der| {
        k256::ecdsa::Signature::from_der(der).unwrap().to_bytes().into()
    });
}

#[test]
fn ed25519_payment_of_the_real_ledger() {
    check(include_str!("../../tests/recorded/submit-ed25519.json"), Scheme::Ed25519, |signature| {
        signature.try_into().unwrap()
    });
}
