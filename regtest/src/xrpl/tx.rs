//! A transaction as submitted: blob, id, decoded fields, and the checks that need no ledger ("local checks").

use k256::ecdsa::signature::hazmat::PrehashVerifier;
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};
use xrpl::core::binarycodec;

use super::ids::{AccountId, Hash256};
use super::wire;

/// Nothing the stand-in supports is bigger; bounds the work that a hostile blob can cause.
const MAX_BLOB_BYTES: usize = 8 * 1024;

/// Why a blob never reached the engine: rippled answers `invalidTransaction` with this text and no `engine_result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalCheck {
    #[error("Transaction length invalid")]
    Length,
    #[error("invalid SerialIter get8")]
    Malformed,
    #[error("fails local checks: Invalid signature.")]
    Signature,
}

/// What makes a transaction unique for its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeqProxy {
    Sequence(u32),
    Ticket(u32),
}

/// A decoded transaction whose signatures are cryptographically valid (not yet: authorised).
#[derive(Clone, Debug)]
pub struct Tx {
    pub hash: Hash256,
    pub blob: Vec<u8>,
    pub json: Map<String, Value>,
    pub account: AccountId,
    pub seq: SeqProxy,
}

impl Tx {
    /// Decodes a blob, strictly: it must be the canonical encoding of what it decodes to.
    ///
    /// # Errors
    /// [`LocalCheck`] as rippled's local checks.
    pub fn from_blob(blob: Vec<u8>) -> Result<Self, LocalCheck> {
        if blob.len() < 32 {
            return Err(LocalCheck::Length);
        }
        if blob.len() > MAX_BLOB_BYTES || !wire::is_well_formed(&blob) {
            return Err(LocalCheck::Malformed);
        }
        // Another thread, for a panic of the codec must stay an answer; it can no longer recurse deeply.
        let worker = std::thread::spawn(move || {
            let json = decode_canonical(&blob).ok_or(LocalCheck::Malformed)?;
            let tx = Self::from_json(json, blob).ok_or(LocalCheck::Malformed)?;
            tx.check_signatures()?;
            Ok(tx)
        });
        worker.join().unwrap_or(Err(LocalCheck::Malformed))
    }

    /// Takes decoded fields as they are; `None` when the common fields are missing or of the wrong kind.
    pub fn from_json(json: Map<String, Value>, blob: Vec<u8>) -> Option<Self> {
        let hash = Hash256::half_sha512(&[b"TXN\0", &blob]);
        let account = AccountId::parse(json.get("Account")?.as_str()?)?;
        json.get("TransactionType")?.as_str()?;
        json.get("Fee")?;
        json.get("SigningPubKey")?.as_str()?;
        let sequence = u32::try_from(json.get("Sequence")?.as_u64()?).ok()?;
        let ticket = match json.get("TicketSequence") {
            Some(value) => Some(u32::try_from(value.as_u64()?).ok()?),
            None => None,
        };
        let seq = match ticket {
            Some(ticket) if sequence == 0 => SeqProxy::Ticket(ticket),
            _ => SeqProxy::Sequence(sequence),
        };
        Some(Self { hash, blob, json, account, seq })
    }

    #[must_use]
    pub fn kind(&self) -> &str {
        self.text("TransactionType").unwrap_or_default()
    }

    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.json.get(field)?.as_str()
    }

    #[must_use]
    pub fn number(&self, field: &str) -> Option<u32> {
        u32::try_from(self.json.get(field)?.as_u64()?).ok()
    }

    #[must_use]
    pub fn account_field(&self, field: &str) -> Option<AccountId> {
        AccountId::parse(self.text(field)?)
    }

    /// Amount of XRP in drops; `None` when absent, issued, or negative.
    #[must_use]
    pub fn drops(&self, field: &str) -> Option<u64> {
        self.text(field)?.parse().ok()
    }

    #[must_use]
    pub fn flags(&self) -> u32 {
        self.number("Flags").unwrap_or(0)
    }

    /// `Fee` in drops; `None` when it is negative or not XRP.
    #[must_use]
    pub fn fee(&self) -> Option<u64> {
        self.drops("Fee")
    }

    /// Account of the key in `SigningPubKey`; `None` for a multi-signed transaction.
    #[must_use]
    pub fn signing_account(&self) -> Option<AccountId> {
        let key = hex::decode(self.text("SigningPubKey")?).ok()?;
        (!key.is_empty()).then(|| AccountId::of_public_key(&key))
    }

    /// Signers of a multi-signed transaction with the account of each one's key.
    #[must_use]
    pub fn signers(&self) -> Vec<(AccountId, AccountId)> {
        let Some(signers) = self.json.get("Signers").and_then(Value::as_array) else { return Vec::new() };
        signers
            .iter()
            .filter_map(|signer| {
                let signer = signer.get("Signer")?;
                let account = AccountId::parse(signer.get("Account")?.as_str()?)?;
                let key = hex::decode(signer.get("SigningPubKey")?.as_str()?).ok()?;
                Some((account, AccountId::of_public_key(&key)))
            })
            .collect()
    }

    fn check_signatures(&self) -> Result<(), LocalCheck> {
        let key = self.text("SigningPubKey").unwrap_or_default();
        if key.is_empty() {
            return self.check_multi_signatures();
        }
        if self.json.contains_key("Signers") {
            return Err(LocalCheck::Signature);
        }
        let payload = binarycodec::encode_for_signing(&self.json).map_err(|_| LocalCheck::Signature)?;
        verify(key, self.text("TxnSignature").unwrap_or_default(), &payload)
    }

    fn check_multi_signatures(&self) -> Result<(), LocalCheck> {
        let Some(signers) = self.json.get("Signers").and_then(Value::as_array) else {
            return Err(LocalCheck::Signature);
        };
        let mut last: Option<AccountId> = None;
        if signers.is_empty() || signers.len() > 32 {
            return Err(LocalCheck::Signature);
        }
        for signer in signers {
            let field = |name: &str| signer.get("Signer").and_then(|s| s.get(name)).and_then(Value::as_str);
            let address = field("Account").ok_or(LocalCheck::Signature)?;
            let account = AccountId::parse(address).ok_or(LocalCheck::Signature)?;
            // Signers are sorted by account and unique, and never the sender itself.
            if account == self.account || last.is_some_and(|last| last >= account) {
                return Err(LocalCheck::Signature);
            }
            last = Some(account);
            let payload = binarycodec::encode_for_multisigning(&self.json, address.into())
                .map_err(|_| LocalCheck::Signature)?;
            verify(
                field("SigningPubKey").unwrap_or_default(),
                field("TxnSignature").unwrap_or_default(),
                &payload,
            )?;
        }
        Ok(())
    }
}

/// Decodes, and refuses whatever does not encode to the same bytes again.
fn decode_canonical(blob: &[u8]) -> Option<Map<String, Value>> {
    let hex = hex::encode_upper(blob);
    match binarycodec::decode(&hex).ok()? {
        decoded if binarycodec::encode(&decoded).ok()? != hex => None,
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

/// Checks a signature over a hex payload: strict DER and low S for secp256k1, strict Ed25519 for keys with prefix ED.
/// Source: <https://xrpl.org/docs/concepts/transactions/transaction-malleability>
fn verify(key_hex: &str, signature_hex: &str, payload_hex: &str) -> Result<(), LocalCheck> {
    let bytes = |text: &str| hex::decode(text).map_err(|_| LocalCheck::Signature);
    let (key, signature, payload) = (bytes(key_hex)?, bytes(signature_hex)?, bytes(payload_hex)?);
    match key.split_first() {
        Some((0xED, key)) => {
            let key: [u8; 32] = key.try_into().map_err(|_| LocalCheck::Signature)?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| LocalCheck::Signature)?;
            let signature =
                ed25519_dalek::Signature::from_slice(&signature).map_err(|_| LocalCheck::Signature)?;
            key.verify_strict(&payload, &signature).map_err(|_| LocalCheck::Signature)
        }
        Some((2 | 3, _)) => {
            let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(&key).map_err(|_| LocalCheck::Signature)?;
            let signature =
                k256::ecdsa::Signature::from_der(&signature).map_err(|_| LocalCheck::Signature)?;
            if signature.normalize_s().is_some() {
                return Err(LocalCheck::Signature);
            }
            let digest = &Sha512::digest(&payload)[..32];
            key.verify_prehash(digest, &signature).map_err(|_| LocalCheck::Signature)
        }
        _ => Err(LocalCheck::Signature),
    }
}
