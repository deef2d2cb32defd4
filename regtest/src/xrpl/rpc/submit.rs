//! `submit` (signed blobs only: the stand-in takes no secrets) and `simulate`.

use serde_json::{Value, json};

use super::super::state::State;
use super::super::tx::{LocalCheck, Tx};
use super::sight::Sight;
use super::{Answer, Fields, RpcError, object};

/// `submit` with `tx_blob` and `fail_hard`.
///
/// # Errors
/// `invalidTransaction`, without an `engine_result`, for what fails the local checks.
pub fn submit(state: &mut State, params: &Fields) -> Answer {
    let blob = params.get("tx_blob").and_then(Value::as_str).ok_or_else(no_blob)?;
    let bytes = hex::decode(blob).ok().filter(|bytes| !bytes.is_empty()).ok_or_else(no_blob)?;
    let tx = Tx::from_blob(bytes).map_err(invalid)?;
    let fail_hard = params.get("fail_hard") == Some(&json!(true));
    let done = state.chain.submit(tx, fail_hard);

    let mut tx_json = done.tx.json.clone();
    let sight = Sight::of(&state.chain);
    if let Some(known) = sight.transaction(&done.tx.hash)
        && known.validated.is_some()
    {
        tx_json = super::transactions::flat(&sight, &known);
        for absent in ["DeliverMax", "date"] {
            tx_json.remove(absent);
        }
    }
    tx_json.insert("hash".into(), done.tx.hash.to_string().into());
    Ok(object(json!({
        "accepted": done.accepted,
        "account_sequence_available": done.sequence_available,
        "account_sequence_next": done.sequence_next,
        "applied": done.applied,
        "broadcast": done.broadcast,
        "engine_result": done.result.name(),
        "engine_result_code": done.result.code(),
        "engine_result_message": done.result.message(),
        "kept": done.kept,
        "open_ledger_cost": done.open_ledger_cost.to_string(),
        "queued": done.queued,
        "tx_blob": hex::encode_upper(&done.tx.blob),
        "tx_json": tx_json,
        "validated_ledger_index": sight.validated(),
    })))
}

fn no_blob() -> RpcError {
    RpcError::new("invalidParams", 31, "Invalid parameters.")
}

fn invalid(check: LocalCheck) -> RpcError {
    let error = RpcError { token: "invalidTransaction", code: None, message: None, extra: Fields::new() };
    error.with("error_exception", check.to_string())
}

/// `simulate` an unsigned `tx_json` on the open ledger; nothing changes.
///
/// # Errors
/// `invalidParams`, `transactionSigned`.
pub fn simulate(state: &State, params: &Fields) -> Answer {
    let mut json = match params.get("tx_json") {
        Some(Value::Object(json)) => json.clone(),
        _ => return Err(RpcError::missing("tx_json")),
    };
    for empty in ["SigningPubKey", "TxnSignature"] {
        match json.entry(empty).or_insert_with(|| "".into()) {
            Value::String(text) if text.is_empty() => {}
            _ => return Err(RpcError::new("transactionSigned", 96, "Transaction should not be signed.")),
        }
    }
    let encoded = xrpl::core::binarycodec::encode(&json).ok().and_then(|blob| hex::decode(blob).ok());
    let invalid = || RpcError::new("invalidParams", 31, "Invalid field 'tx_json'.");
    let tx = encoded.and_then(|blob| Tx::from_json(json, blob)).ok_or_else(invalid)?;
    let (outcome, meta) = state.chain.simulate(&tx);
    let message = if outcome.applied {
        "The simulated transaction would have been applied."
    } else {
        outcome.result.message()
    };
    let mut tx_json = tx.json.clone();
    tx_json.insert("hash".into(), tx.hash.to_string().into());
    let mut answer = object(json!({
        "applied": false,
        "engine_result": outcome.result.name(),
        "engine_result_code": outcome.result.code(),
        "engine_result_message": message,
        "ledger_index": state.chain.open_index(),
        "tx_json": tx_json,
    }));
    if let Some(meta) = meta {
        answer.insert("meta".into(), meta);
    }
    Ok(answer)
}
