//! Keys for the scenarios, and signing as an outside signer does it: JSON, payload, digest, signature, blob.

use bursar_regtest::xrpl::GENESIS_ADDRESS;
use bursar_regtest::xrpl::ids::{AccountId, Hash256};
use ed25519_dalek::Signer as _;
use k256::ecdsa::signature::hazmat::RandomizedPrehashSigner;
use k256::ecdsa::{Signature, SigningKey};
use rand::rngs::OsRng;
use serde_json::{Value, json};
use xrpl::core::binarycodec::{encode, encode_for_signing};

use super::client::{Target, number};

/// Secret key of the account that every stand-alone ledger starts with; published, worth nothing.
const GENESIS_KEY: &str = "1ACAAEDECE405B2A958212629E16F2EB46B153EEE94CDD350FDEFF52795525B7";

enum Key {
    Secp(Box<SigningKey>),
    Ed(Box<ed25519_dalek::SigningKey>),
}

/// A key and the account that it signs for.
pub struct Wallet {
    key: Key,
    pub address: String,
}

/// A signed transaction.
pub struct Signed {
    pub blob: String,
    pub hash: String,
}

impl Wallet {
    pub fn new() -> Self {
        Self::of(Key::Secp(Box::new(SigningKey::random(&mut OsRng))))
    }

    pub fn ed25519() -> Self {
        Self::of(Key::Ed(Box::new(ed25519_dalek::SigningKey::generate(&mut OsRng))))
    }

    pub fn genesis() -> Self {
        let secret = hex::decode(GENESIS_KEY).expect("hex");
        let wallet = Self::of(Key::Secp(Box::new(SigningKey::from_slice(&secret).expect("a valid key"))));
        assert_eq!(wallet.address, GENESIS_ADDRESS);
        wallet
    }

    fn of(key: Key) -> Self {
        let public = hex::decode(public(&key)).expect("hex");
        Self { address: AccountId::of_public_key(&public).to_string(), key }
    }

    /// The same key under another address: a regular key.
    pub fn acting_for(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    /// Fills in account, fee, flags and key where absent, and signs. ECDSA signatures are randomised, so signing
    /// twice gives two blobs, as threshold signing does.
    pub fn sign(&self, mut tx: Value) -> Signed {
        for (field, value) in [
            ("Account", json!(self.address)),
            ("Fee", json!("10")),
            ("Flags", json!(0)),
            ("SigningPubKey", json!(public(&self.key))),
        ] {
            if tx.get(field).is_none() {
                tx[field] = value;
            }
        }
        let payload = hex::decode(encode_for_signing(&tx).expect("encodable")).expect("hex");
        let signature = match &self.key {
            Key::Secp(key) => {
                let digest = Hash256::half_sha512(&[&payload]);
                let signature: Signature =
                    key.sign_prehash_with_rng(&mut OsRng, &digest.0).expect("signable");
                signature.normalize_s().unwrap_or(signature).to_der().as_bytes().to_vec()
            }
            Key::Ed(key) => key.sign(&payload).to_bytes().to_vec(),
        };
        with_signature(tx, &signature)
    }

    /// Like [`Wallet::sign`] with the other, malleable S value.
    pub fn sign_high_s(&self, mut tx: Value) -> Signed {
        let Key::Secp(key) = &self.key else { panic!("only ECDSA has a high S") };
        tx["Account"] = json!(self.address);
        tx["SigningPubKey"] = json!(public(&self.key));
        let payload = hex::decode(encode_for_signing(&tx).expect("encodable")).expect("hex");
        let digest = Hash256::half_sha512(&[&payload]);
        let signature: Signature = key.sign_prehash_with_rng(&mut OsRng, &digest.0).expect("signable");
        let low = signature.normalize_s().unwrap_or(signature);
        let high =
            Signature::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).expect("non-zero scalars");
        with_signature(tx, high.to_der().as_bytes())
    }
}

fn public(key: &Key) -> String {
    match key {
        Key::Secp(key) => hex::encode_upper(key.verifying_key().to_encoded_point(true).as_bytes()),
        Key::Ed(key) => format!("ED{}", hex::encode_upper(key.verifying_key().as_bytes())),
    }
}

fn with_signature(mut tx: Value, signature: &[u8]) -> Signed {
    tx["TxnSignature"] = json!(hex::encode_upper(signature));
    let blob = encode(&tx).expect("encodable");
    let bytes = hex::decode(&blob).expect("hex");
    Signed { hash: Hash256::half_sha512(&[b"TXN\0", &bytes]).to_string(), blob }
}

impl Target {
    /// A payment of XRP at the next sequence of the sender, not yet sent.
    pub async fn payment(&self, from: &Wallet, to: &str, drops: u64) -> Value {
        let account = self.account(&from.address).await;
        json!({
            "TransactionType": "Payment", "Destination": to, "Amount": drops.to_string(),
            "Sequence": number(&account["Sequence"]), "Fee": "10", "Flags": 0,
        })
    }

    /// Signs and submits at the next sequence unless the transaction names one; returns the answer.
    pub async fn send(&self, from: &Wallet, mut tx: Value) -> Value {
        if tx.get("Sequence").is_none() {
            tx["Sequence"] = self.account(&from.address).await["Sequence"].clone();
        }
        self.submit(&from.sign(tx).blob).await
    }

    /// Sends, closes the ledger, and returns `meta.TransactionResult`.
    pub async fn settle(&self, from: &Wallet, tx: Value) -> String {
        let answer = self.send(from, tx).await;
        self.accept().await;
        let hash = answer["tx_json"]["hash"].as_str().expect("a hash").to_owned();
        let found = self.tx(&hash).await;
        assert_eq!(found["validated"], true, "{answer}");
        found["meta"]["TransactionResult"].as_str().expect("a result").to_owned()
    }

    /// A new account with this many drops, validated.
    pub async fn funded(&self, drops: u64) -> Wallet {
        let wallet = Wallet::new();
        self.fund(&wallet, drops).await;
        wallet
    }

    pub async fn fund(&self, wallet: &Wallet, drops: u64) {
        let genesis = Wallet::genesis();
        let payment = self.payment(&genesis, &wallet.address, drops).await;
        assert_eq!(self.settle(&genesis, payment).await, "tesSUCCESS");
    }

    pub async fn balance(&self, address: &str) -> u64 {
        self.account(address).await["Balance"].as_str().and_then(|drops| drops.parse().ok()).unwrap_or(0)
    }
}
