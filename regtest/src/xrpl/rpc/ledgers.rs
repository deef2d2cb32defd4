//! `ledger`, `ledger_closed`, `ledger_current`, `ledger_entry`, `ledger_accept`.

use serde_json::{Value, json};

use super::super::chain::ClosedLedger;
use super::super::ids::{AccountId, Hash256, keylet};
use super::super::state::State;
use super::super::time::{human_time, iso_time};
use super::sight::{Sight, Which};
use super::transactions::{flat, nested};
use super::{Answer, Fields, RpcError, api_version, object};

/// `ledger` with `transactions` and `expand`.
///
/// # Errors
/// `lgrNotFound`, `invalidParams`.
pub fn ledger(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let version = api_version(params)?;
    let flag = |name: &str| params.get(name) == Some(&json!(true));
    let which = sight.resolve(params)?;
    let (mut body, ids) = match which {
        Which::Open => {
            let parent = sight.chain.closed_ledger(sight.validated()).map(|ledger| ledger.hash.to_string());
            let open =
                if state.chain.faults.stale > 0 { Vec::new() } else { state.chain.open_transactions() };
            (
                json!({"closed": false, "ledger_index": sight.current().to_string(), "parent_hash": parent}),
                open,
            )
        }
        Which::Closed(index) => {
            let found =
                sight.ledger(index).ok_or_else(|| RpcError::new("lgrNotFound", 21, "ledgerNotFound"))?;
            (header(found), found.transactions.clone())
        }
    };
    if version > 1 {
        body["ledger_index"] = match which {
            Which::Open => sight.current().into(),
            Which::Closed(index) => index.into(),
        };
    }
    if flag("transactions") {
        let print = |hash: &Hash256| match (flag("expand"), sight.transaction(hash)) {
            (true, Some(known)) => Some(expanded(&sight, &known, version)),
            (true, None) => None,
            (false, _) => Some(hash.to_string().into()),
        };
        body["transactions"] = ids.iter().filter_map(print).collect::<Vec<Value>>().into();
    }
    let mut answer = object(json!({"ledger": body}));
    sight.label(which, &mut answer);
    Ok(answer)
}

fn expanded(sight: &Sight<'_>, known: &super::super::chain::Known, version: u32) -> Value {
    let meta = known.validated.as_ref().map(|validated| validated.meta.clone());
    if version > 1 {
        let mut row = nested(sight, known);
        row.remove("ctid");
        row.insert("validated".into(), known.validated.is_some().into());
        row.insert("meta".into(), meta.into());
        return row.into();
    }
    let mut row = flat(sight, known);
    for place in ["ctid", "date", "inLedger", "ledger_index"] {
        row.remove(place);
    }
    if let Some(meta) = meta {
        row.insert("metaData".into(), meta);
    }
    row.into()
}

fn header(ledger: &ClosedLedger) -> Value {
    json!({
        "account_hash": ledger.account_hash.to_string(),
        "close_flags": 0,
        "close_time": ledger.close_time,
        "close_time_human": human_time(ledger.close_time),
        "close_time_iso": iso_time(ledger.close_time),
        "close_time_resolution": 10,
        "closed": true,
        "ledger_hash": ledger.hash.to_string(),
        "ledger_index": ledger.index.to_string(),
        "parent_close_time": ledger.parent_close_time,
        "parent_hash": ledger.parent_hash.to_string(),
        "total_coins": ledger.total_coins.to_string(),
        "transaction_hash": ledger.transaction_hash.to_string(),
    })
}

/// `ledger_closed`.
#[must_use]
pub fn closed(state: &State) -> Fields {
    let sight = Sight::of(&state.chain);
    let hash = state.chain.closed_ledger(sight.validated()).map(|ledger| ledger.hash.to_string());
    object(json!({"ledger_hash": hash, "ledger_index": sight.validated()}))
}

/// `ledger_current`.
#[must_use]
pub fn current(state: &State) -> Fields {
    object(json!({"ledger_current_index": Sight::of(&state.chain).current()}))
}

/// `ledger_entry` of an account root, a ticket, a deposit preauthorization, or any entry by `index`.
///
/// # Errors
/// `entryNotFound`, `lgrNotFound`, `invalidParams`.
pub fn entry(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let which = sight.resolve(params)?;
    let key = entry_key(params)?;
    let missing = || {
        let mut error = RpcError::new("entryNotFound", 98, "Entry not found.").with("index", key.to_string());
        sight.label(which, &mut error.extra);
        error
    };
    let stored = sight.entry(which, &key).ok_or_else(missing)?;
    let mut answer = object(json!({"index": key.to_string(), "node": stored.to_json(&key)}));
    sight.label(which, &mut answer);
    Ok(answer)
}

fn entry_key(params: &Fields) -> Result<Hash256, RpcError> {
    let malformed = || RpcError::new("malformedRequest", 31, "Malformed request.");
    let key_of = |value: &Value| value.as_str().and_then(Hash256::parse);
    let account = |value: Option<&Value>| value.and_then(Value::as_str).and_then(AccountId::parse);
    if let Some(value) = params.get("index") {
        return key_of(value).ok_or_else(malformed);
    }
    if let Some(value) = params.get("account_root") {
        return account(Some(value)).map(|id| keylet::account(&id)).ok_or_else(malformed);
    }
    if let Some(value) = params.get("ticket") {
        let sequence =
            value.get("ticket_seq").and_then(Value::as_u64).and_then(|seq| u32::try_from(seq).ok());
        let named = account(value.get("account")).zip(sequence).map(|(id, seq)| keylet::ticket(&id, seq));
        return key_of(value).or(named).ok_or_else(malformed);
    }
    if let Some(value) = params.get("deposit_preauth") {
        let named = account(value.get("owner")).zip(account(value.get("authorized")));
        let named = named.map(|(owner, authorized)| keylet::deposit_preauth(&owner, &authorized));
        return key_of(value).or(named).ok_or_else(malformed);
    }
    Err(RpcError::new("unknownOption", 31, "Unknown option."))
}

/// `ledger_accept`: closes and validates the open ledger.
///
/// # Errors
/// `internal` when the ledger could not be made durable.
pub fn accept(state: &mut State) -> Answer {
    match state.accept() {
        Ok(_) => Ok(current(state)),
        Err(error) => Err(RpcError::new("internal", 73, &error.to_string())),
    }
}
