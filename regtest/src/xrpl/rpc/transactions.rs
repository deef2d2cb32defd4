//! `tx`, and how a transaction is printed in either API version.

use serde_json::{Value, json};

use super::super::chain::{Known, Validated};
use super::super::ids::Hash256;
use super::super::state::State;
use super::super::time::iso_time;
use super::super::tx::Tx;
use super::sight::Sight;
use super::{Answer, Fields, RpcError, api_version};

/// Longest range that `min_ledger` and `max_ledger` may span.
const MAX_RANGE: u64 = 1000;

/// `tx` by `transaction` or `ctid`.
///
/// # Errors
/// `txnNotFound` (with `searched_all` only when both ledger bounds are given), `invalidLgrRange`,
/// `excessiveLgrRange`, `notImpl` for an id that is no hash.
pub fn tx(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let version = api_version(params)?;
    let range = range(params)?;
    let hash = match (params.get("transaction"), params.get("ctid")) {
        (Some(_), Some(_)) | (None, None) => {
            return Err(RpcError::new("invalidParams", 31, "Invalid parameters."));
        }
        (Some(id), None) => Some(id.as_str().and_then(Hash256::parse).ok_or_else(RpcError::not_implemented)?),
        (None, Some(ctid)) => {
            let malformed = || RpcError::new("invalidParams", 31, "Invalid parameters.");
            let (ledger, index) =
                ctid.as_str().and_then(|ctid| parse_ctid(ctid, &sight)).ok_or_else(malformed)?;
            let ids = sight.ledger(ledger).map(|ledger| ledger.transactions.as_slice()).unwrap_or_default();
            ids.get(usize::from(index)).copied()
        }
    };
    let Some(known) = hash.and_then(|hash| sight.transaction(&hash)) else {
        let error = RpcError::new("txnNotFound", 29, "Transaction not found.");
        return Err(match range {
            Some(range) => error.with("searched_all", searched_all(&sight, range)),
            None => error,
        });
    };
    let mut answer = match version {
        1 => flat(&sight, &known),
        _ => nested(&sight, &known),
    };
    if let Some(validated) = &known.validated {
        answer.insert("meta".into(), validated.meta.clone());
    }
    answer.insert("validated".into(), known.validated.is_some().into());
    Ok(answer)
}

fn range(params: &Fields) -> Result<Option<(u64, u64)>, RpcError> {
    let (Some(min), Some(max)) = (params.get("min_ledger"), params.get("max_ledger")) else {
        return Ok(None);
    };
    let invalid = || RpcError::new("invalidLgrRange", 79, "Ledger range is invalid.");
    let (min, max) = (min.as_u64().ok_or_else(invalid)?, max.as_u64().ok_or_else(invalid)?);
    if min > max {
        return Err(invalid());
    }
    if max - min > MAX_RANGE {
        return Err(RpcError::new("excessiveLgrRange", 78, "Ledger range exceeds 1000."));
    }
    Ok(Some((min, max)))
}

/// rippled counts the ledgers of the range that have transactions in its database: an empty ledger, a missing one
/// and one that is not there yet all make it say false.
fn searched_all(sight: &Sight<'_>, (min, max): (u64, u64)) -> bool {
    (min..=max).all(|index| {
        let ledger = u32::try_from(index).ok().and_then(|index| sight.ledger(index));
        ledger.is_some_and(|ledger| !ledger.transactions.is_empty())
    })
}

/// Concise transaction id (XLS-37) to ledger and index in it.
fn parse_ctid(ctid: &str, sight: &Sight<'_>) -> Option<(u32, u16)> {
    let upper = ctid.to_ascii_uppercase();
    let digits = upper.strip_prefix('C').filter(|rest| rest.len() == 15 && rest.is_ascii())?;
    let ledger = u32::from_str_radix(&digits[..7], 16).ok()?;
    let index = u16::from_str_radix(&digits[7..11], 16).ok()?;
    let network = u32::from_str_radix(&digits[11..], 16).ok()?;
    (network == sight.chain.rules.network_id).then_some((ledger, index))
}

fn ctid(sight: &Sight<'_>, validated: &Validated) -> Option<String> {
    let network = u16::try_from(sight.chain.rules.network_id).ok()?;
    Some(format!("C{:07X}{:04X}{network:04X}", validated.ledger, validated.index))
}

/// The signed fields with `DeliverMax`; API version 1 keeps `Amount` beside it, version 2 does not.
fn signed_fields(tx: &Tx, version: u32) -> Fields {
    let mut fields = tx.json.clone();
    if tx.kind() == "Payment"
        && let Some(amount) = fields.get("Amount").cloned()
    {
        fields.insert("DeliverMax".into(), amount);
        if version > 1 {
            fields.remove("Amount");
        }
    }
    fields
}

/// API version 1: everything in one object, without metadata.
#[must_use]
pub fn flat(sight: &Sight<'_>, known: &Known) -> Fields {
    let mut fields = signed_fields(&known.tx, 1);
    fields.insert("hash".into(), known.tx.hash.to_string().into());
    place(sight, known, &mut fields);
    if let Some(validated) = &known.validated {
        fields.insert("inLedger".into(), validated.ledger.into());
    }
    fields
}

/// API version 2: the transaction under `tx_json`, what the ledger says of it beside.
#[must_use]
pub fn nested(sight: &Sight<'_>, known: &Known) -> Fields {
    let mut json = signed_fields(&known.tx, 2);
    place(sight, known, &mut json);
    let mut fields = Fields::new();
    fields.insert("hash".into(), known.tx.hash.to_string().into());
    if let Some(validated) = &known.validated {
        fields.insert("ledger_index".into(), validated.ledger.into());
        if let Some(ctid) = ctid(sight, validated) {
            fields.insert("ctid".into(), ctid.into());
        }
        if let Some(ledger) = sight.ledger(validated.ledger) {
            fields.insert("ledger_hash".into(), ledger.hash.to_string().into());
            fields.insert("close_time_iso".into(), iso_time(ledger.close_time).into());
        }
    }
    fields.insert("tx_json".into(), Value::Object(json));
    fields
}

/// Where the transaction is, if it is in a ledger.
fn place(sight: &Sight<'_>, known: &Known, fields: &mut Fields) {
    let Some(validated) = &known.validated else { return };
    fields.insert("ledger_index".into(), validated.ledger.into());
    if let Some(ctid) = ctid(sight, validated) {
        fields.insert("ctid".into(), ctid.into());
    }
    if let Some(ledger) = sight.ledger(validated.ledger) {
        fields.insert("date".into(), json!(ledger.close_time));
    }
}
