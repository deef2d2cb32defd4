//! `account_tx`: an account's validated transactions, in pages.

use serde_json::{Value, json};

use super::super::ids::AccountId;
use super::super::state::State;
use super::sight::Sight;
use super::transactions::{flat, nested};
use super::{Answer, Fields, RpcError, api_version, object};

/// rippled gives at most this many at once to clients that ask for no limit.
const DEFAULT_PAGE: usize = 200;
const MAX_PAGE: usize = 400;

/// `account_tx` with `ledger_index_min`/`max`, `limit`, `forward` and `marker`. Not binary.
///
/// # Errors
/// `actMalformed`, `lgrIdxMalformed` (API version 2, bounds outside of what the node has), `invalidParams`.
pub fn account_tx(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let version = api_version(params)?;
    let address = params.get("account").ok_or_else(|| RpcError::missing("account"))?;
    let address = address.as_str().ok_or_else(|| RpcError::invalid("account"))?;
    let id =
        AccountId::parse(address).ok_or_else(|| RpcError::new("actMalformed", 35, "Account malformed."))?;
    if params.get("binary") == Some(&json!(true)) {
        return Err(RpcError::not_implemented());
    }
    let (min, max) = bounds(&sight, params, version)?;
    let forward = params.get("forward") == Some(&json!(true));
    let limit = match params.get("limit") {
        None => None,
        Some(limit) => Some(limit.as_u64().ok_or_else(|| RpcError::invalid("limit"))?),
    };
    let page =
        limit.map_or(DEFAULT_PAGE, |limit| usize::try_from(limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE));
    let start = params.get("marker").map(marker).transpose()?;

    let mut positions: Vec<(u32, u32)> = state
        .chain
        .history(&id)
        .iter()
        .copied()
        .filter(|(ledger, _)| (min..=max).contains(ledger) && sight.has(*ledger))
        .filter(|position| {
            start.is_none_or(|start| if forward { *position >= start } else { *position <= start })
        })
        .collect();
    if !forward {
        positions.reverse();
    }
    let mut answer = object(json!({
        "account": address,
        "ledger_index_min": min,
        "ledger_index_max": max,
        "limit": limit.unwrap_or(0),
        "validated": true,
    }));
    if let Some((ledger, seq)) = positions.get(page) {
        answer.insert("marker".into(), json!({"ledger": ledger, "seq": seq}));
    }
    let transactions: Vec<Value> =
        positions.iter().take(page).filter_map(|position| row(&sight, *position, version)).collect();
    answer.insert("transactions".into(), transactions.into());
    Ok(answer)
}

fn row(sight: &Sight<'_>, (ledger, index): (u32, u32), version: u32) -> Option<Value> {
    let hash = sight.ledger(ledger)?.transactions.get(usize::try_from(index).ok()?)?;
    let known = sight.transaction(hash)?;
    let meta = known.validated.as_ref()?.meta.clone();
    let mut row = if version == 1 {
        object(json!({"tx": flat(sight, &known)}))
    } else {
        let mut row = nested(sight, &known);
        // Rows carry the concise id inside `tx_json` only.
        row.remove("ctid");
        row
    };
    row.insert("meta".into(), meta);
    row.insert("validated".into(), true.into());
    Some(row.into())
}

/// Version 1 silently narrows bounds to what the node has; version 2 refuses bounds outside of it. -1 is "all".
fn bounds(sight: &Sight<'_>, params: &Fields, version: u32) -> Result<(u32, u32), RpcError> {
    let (first, last) = (sight.first(), sight.validated());
    if params.contains_key("ledger_index") || params.contains_key("ledger_hash") {
        return match sight.resolve(params)? {
            super::sight::Which::Closed(index) => Ok((index, index)),
            super::sight::Which::Open => Ok((first, last)),
        };
    }
    let malformed = || RpcError::new("lgrIdxMalformed", 58, "Ledger index malformed.");
    let bound = |field: &str| match params.get(field) {
        None => Ok(None),
        Some(value) => {
            let value = value.as_i64().ok_or_else(|| RpcError::invalid(field))?;
            Ok::<_, RpcError>((value >= 0).then_some(value))
        }
    };
    let (min, max) = (bound("ledger_index_min")?, bound("ledger_index_max")?);
    let outside = |value: i64| value < i64::from(first) || value > i64::from(last);
    if version > 1 && (min.is_some_and(outside) || max.is_some_and(outside)) {
        return Err(malformed());
    }
    let clamp = |value: i64| u32::try_from(value.clamp(i64::from(first), i64::from(last))).unwrap_or(last);
    let (min, max) = (min.map_or(first, clamp), max.map_or(last, clamp));
    if min > max {
        return Err(RpcError::new("lgrIdxsInvalid", 57, "Ledger indexes invalid."));
    }
    Ok((min, max))
}

fn marker(value: &Value) -> Result<(u32, u32), RpcError> {
    let part = |name: &str| value.get(name).and_then(Value::as_u64).and_then(|part| u32::try_from(part).ok());
    part("ledger").zip(part("seq")).ok_or_else(|| {
        let message = "invalid marker. Provide ledger index via ledger field, and transaction sequence number via seq field";
        RpcError::new("invalidParams", 31, message)
    })
}
