//! The fields of a transaction, and their binary form as `xrpl-rust` makes it.

use crate::{address::AccountId, keys::PublicKey};
use bursar_domain::amount::Drops;
use serde_json::{Value, json};
use xrpl::core::{binarycodec, keypairs::utils::sha512_first_half};

/// All that a transaction of this adapter says. There is no other field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Present above NetworkID 1024 only.
    pub network_id: Option<u32>,
    pub account: AccountId,
    pub action: Action,
    pub fee: Drops,
    pub turn: Turn,
    pub last_ledger_sequence: u32,
    pub signing_pub_key: PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Payment {
        destination: AccountId,
        destination_tag: Option<u32>,
        amount: Drops,
    },
    /// An AccountSet that sets nothing: it costs its fee and uses up its turn.
    /// <https://xrpl.org/docs/concepts/transactions/finality-of-results/canceling-a-transaction>
    Nothing,
}

impl Action {
    /// What it pays.
    pub fn amount(&self) -> Drops {
        match self {
            Self::Payment { amount, .. } => *amount,
            Self::Nothing => Drops(0),
        }
    }
}

/// What orders a transaction among those of its account, and makes it unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Sequence(u32),
    /// `Sequence` is then 0.
    Ticket(u32),
}

/// `xrpl-rust` could not encode: with fields of these types, a defect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("codec: {0}")]
pub(crate) struct CodecError(String);

/// `STX\0`, before what a single signature covers.
const SIGNING_PREFIX: &[u8] = b"STX\0";
/// `TXN\0`, before what a transaction's hash covers.
const HASH_PREFIX: &[u8] = b"TXN\0";

impl Fields {
    /// JSON for the codec. Its typed models are not used: they check amounts as 32-bit integers.
    fn json(&self) -> Value {
        let (sequence, ticket) = match self.turn {
            Turn::Sequence(sequence) => (sequence, None),
            Turn::Ticket(ticket) => (0, Some(ticket)),
        };
        let mut fields = json!({
            "Flags": 0,
            "Account": self.account.to_string(),
            "Fee": self.fee.0.to_string(),
            "Sequence": sequence,
            "LastLedgerSequence": self.last_ledger_sequence,
            "SigningPubKey": hex::encode_upper(self.signing_pub_key.0),
        });
        let tag = match &self.action {
            Action::Payment { destination, destination_tag, amount } => {
                fields["TransactionType"] = "Payment".into();
                fields["Destination"] = destination.to_string().into();
                fields["Amount"] = amount.0.to_string().into();
                *destination_tag
            }
            Action::Nothing => {
                fields["TransactionType"] = "AccountSet".into();
                None
            }
        };
        for (name, value) in
            [("NetworkID", self.network_id), ("DestinationTag", tag), ("TicketSequence", ticket)]
        {
            if let Some(value) = value {
                fields[name] = value.into();
            }
        }
        fields
    }

    /// The serialised fields without `TxnSignature`.
    pub fn unsigned_bytes(&self) -> Result<Vec<u8>, CodecError> {
        encode(&self.json())
    }

    /// The blob that the network takes.
    pub fn signed_bytes(&self, signature: &[u8]) -> Result<Vec<u8>, CodecError> {
        let mut fields = self.json();
        fields["TxnSignature"] = hex::encode_upper(signature).into();
        encode(&fields)
    }
}

fn encode(fields: &Value) -> Result<Vec<u8>, CodecError> {
    let hex = binarycodec::encode(fields).map_err(|error| CodecError(error.to_string()))?;
    hex::decode(hex).map_err(|error| CodecError(error.to_string()))
}

/// What an Ed25519 key signs; an ECDSA key signs its [`sha512_half`].
pub(crate) fn signing_message(unsigned: &[u8]) -> Vec<u8> {
    [SIGNING_PREFIX, unsigned].concat()
}

/// The id of a signed transaction, as explorers show it.
pub(crate) fn transaction_hash(blob: &[u8]) -> String {
    hex::encode_upper(sha512_half(&[HASH_PREFIX, blob].concat()))
}

/// The first 256 bits of SHA-512.
pub(crate) fn sha512_half(bytes: &[u8]) -> [u8; 32] {
    sha512_first_half(bytes)
}
