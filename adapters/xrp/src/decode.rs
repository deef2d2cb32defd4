//! What a serialised transaction does. Runs at each co-signer: everything in the bytes is explained, or refused.

mod fields;

use crate::{
    LAST_IMPLICIT_NETWORK_ID, XrpAdapter,
    address::AccountId,
    codec::{Action, Fields, Turn, sha512_half, signing_message},
    keys::{PublicKey, is_account_path},
};
use bursar_domain::{
    amount::Drops,
    asset::Asset,
    effects::{Effects, Resource, Validity},
    intent::{Destination, Payment},
    network::Network,
    package::UnsignedTransaction,
    ports::{DecodeError, DecodeTransaction},
    signing::{GroupKey, Scheme, SigningPayload},
    wallet::DerivationPath,
};
use fields::{RawFields, malformed};

/// `ttPAYMENT`.
const PAYMENT: u16 = 0;
/// `ttACCOUNT_SET`.
const ACCOUNT_SET: u16 = 3;
/// Set in XRP amounts that are not negative; the other bits above the 62nd tell issued currencies and tokens.
const POSITIVE: u64 = 1 << 62;

impl DecodeTransaction for XrpAdapter {
    fn decode(&self, unsigned: &UnsignedTransaction, key: &GroupKey) -> Result<Effects, DecodeError> {
        let Explained { fields, .. } = explain(unsigned, key)?;
        let address = fields.account.to_string();
        let resource = match fields.turn {
            Turn::Sequence(sequence) => Resource::Sequence { account: address.clone(), sequence },
            Turn::Ticket(ticket) => Resource::Ticket { account: address.clone(), ticket },
        };
        let payments = match &fields.action {
            Action::Payment { destination, destination_tag: tag, amount } => vec![Payment {
                destination: Destination { address: destination.to_string(), tag: *tag },
                amount: (*amount).into(),
            }],
            Action::Nothing => Vec::new(),
        };
        Ok(Effects {
            network: unsigned.wallet.network,
            asset: Asset::Xrp,
            from: vec![address],
            payments,
            fee: fields.fee.into(),
            change: Vec::new(),
            resources: vec![resource],
            validity: Validity::UntilLedger(fields.last_ledger_sequence),
        })
    }

    fn signing_payloads(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
    ) -> Result<Vec<SigningPayload>, DecodeError> {
        explain(unsigned, key).map(|explained| vec![explained.payload])
    }
}

/// A transaction that is understood to the last byte.
pub(crate) struct Explained {
    pub fields: Fields,
    pub payload: SigningPayload,
}

pub(crate) fn explain(unsigned: &UnsignedTransaction, key: &GroupKey) -> Result<Explained, DecodeError> {
    let Network::Xrp(network_id) = unsigned.wallet.network else {
        return Err(unexplained("wallet", "is not on an XRP network"));
    };
    let path = unsigned
        .source
        .filter(|path| is_account_path(&unsigned.wallet, path))
        .ok_or_else(|| unexplained("source", "is not an account of the wallet"))?;
    let expected_key = PublicKey::derive(&unsigned.wallet, key, &path)?;
    let fields = read_for_key(&unsigned.bytes, network_id, expected_key)?;
    let payload = payload(unsigned.wallet.scheme(), path, &unsigned.bytes);
    Ok(Explained { fields, payload })
}

/// Reads `bytes` as a transaction of the account of `key`.
pub(crate) fn read_for_key(bytes: &[u8], network_id: u32, key: PublicKey) -> Result<Fields, DecodeError> {
    let fields = check(&fields::read(bytes)?, network_id, key)?;
    // A second implementation must make the same bytes of what was understood.
    if fields.unsigned_bytes().as_deref() != Ok(bytes) {
        return Err(malformed("is not what its own fields encode to"));
    }
    Ok(fields)
}

fn payload(scheme: Scheme, path: DerivationPath, unsigned: &[u8]) -> SigningPayload {
    let message = signing_message(unsigned);
    let message = if scheme == Scheme::Ed25519 { message } else { sha512_half(&message).to_vec() };
    SigningPayload { scheme, path, message, taproot_tweak: false }
}

fn check(raw: &RawFields, network_id: u32, expected_key: PublicKey) -> Result<Fields, DecodeError> {
    // tfPartialPayment among them: it would deliver less than Amount.
    if require(raw.flags, "Flags")? != 0 {
        return Err(unexplained("Flags", "must be 0"));
    }
    let expected_network = (network_id > LAST_IMPLICIT_NETWORK_ID).then_some(network_id);
    if raw.network_id != expected_network {
        return Err(unexplained("NetworkID", "is not that of the wallet's network"));
    }
    let signing_pub_key = PublicKey(require(raw.signing_pub_key, "SigningPubKey")?);
    if signing_pub_key != expected_key {
        return Err(unexplained("SigningPubKey", "is not the key of the source path"));
    }
    let account = AccountId(require(raw.account, "Account")?);
    if account != expected_key.account() {
        return Err(unexplained("Account", "is not the account of the source path"));
    }
    let action = match require(raw.transaction_type, "TransactionType")? {
        PAYMENT => pays(raw, &account)?,
        ACCOUNT_SET => nothing(raw)?,
        _ => return Err(unexplained("TransactionType", "is neither Payment nor AccountSet")),
    };
    let turn = match (require(raw.sequence, "Sequence")?, raw.ticket_sequence) {
        (0, Some(ticket)) if ticket > 0 => Turn::Ticket(ticket),
        (sequence, None) if sequence > 0 => Turn::Sequence(sequence),
        _ => return Err(unexplained("Sequence", "and TicketSequence: exactly one must be above 0")),
    };
    let last_ledger_sequence = require(raw.last_ledger_sequence, "LastLedgerSequence")?;
    if last_ledger_sequence == 0 {
        return Err(unexplained("LastLedgerSequence", "must be above 0"));
    }
    Ok(Fields {
        network_id: raw.network_id,
        account,
        action,
        fee: drops(raw.fee, "Fee")?,
        turn,
        last_ledger_sequence,
        signing_pub_key,
    })
}

fn pays(raw: &RawFields, account: &AccountId) -> Result<Action, DecodeError> {
    let destination = AccountId(require(raw.destination, "Destination")?);
    if destination == *account {
        return Err(unexplained("Destination", "is the paying account itself"));
    }
    if destination.is_black_hole() {
        return Err(unexplained("Destination", "is an account that no key controls"));
    }
    let amount = drops(raw.amount, "Amount")?;
    Ok(Action::Payment { destination, destination_tag: raw.destination_tag, amount })
}

/// None of the fields by which an AccountSet sets something is read at all; those of a payment have no place in it either.
fn nothing(raw: &RawFields) -> Result<Action, DecodeError> {
    for (present, field) in [
        (raw.destination.is_some(), "Destination"),
        (raw.destination_tag.is_some(), "DestinationTag"),
        (raw.amount.is_some(), "Amount"),
    ] {
        if present {
            return Err(unexplained(field, "is not part of an AccountSet"));
        }
    }
    Ok(Action::Nothing)
}

fn drops(bytes: Option<[u8; 8]>, field: &'static str) -> Result<Drops, DecodeError> {
    let number = u64::from_be_bytes(require(bytes, field)?);
    match number.checked_sub(POSITIVE) {
        Some(drops @ 1..) if drops <= Drops::MAX.0 => Ok(Drops(drops)),
        _ => Err(unexplained(field, "is not between 1 drop and the supply")),
    }
}

fn require<T>(value: Option<T>, field: &'static str) -> Result<T, DecodeError> {
    value.ok_or_else(|| unexplained(field, "is missing"))
}

fn unexplained(field: &'static str, reason: &str) -> DecodeError {
    DecodeError::Unexplained { field, reason: reason.to_owned() }
}
