//! `account_info`, `account_objects`, `account_lines`, `deposit_authorized`.

use serde_json::{Value, json};

use super::super::apply::payment::may_deposit_between;
use super::super::apply::trust::{LSF_HIGH_NO_RIPPLE, LSF_LOW_NO_RIPPLE};
use super::super::entry::{Account, Entry, account_flags};
use super::super::ids::{AccountId, keylet};
use super::super::state::State;
use super::sight::{Sight, Which};
use super::{Answer, Fields, RpcError, api_version, object};

/// Names in `account_flags`, with their bits.
const FLAG_NAMES: [(&str, u32); 9] = [
    ("defaultRipple", account_flags::DEFAULT_RIPPLE),
    ("depositAuth", account_flags::DEPOSIT_AUTH),
    ("disableMasterKey", account_flags::DISABLE_MASTER),
    ("disallowIncomingXRP", account_flags::DISALLOW_XRP),
    ("globalFreeze", account_flags::GLOBAL_FREEZE),
    ("noFreeze", account_flags::NO_FREEZE),
    ("passwordSpent", account_flags::PASSWORD_SPENT),
    ("requireAuthorization", account_flags::REQUIRE_AUTH),
    ("requireDestinationTag", account_flags::REQUIRE_DEST_TAG),
];

/// The account that a request is about, in the ledger it names.
fn subject<'a>(
    sight: &Sight<'a>,
    params: &Fields,
) -> Result<(Which, AccountId, std::sync::Arc<super::super::entry::Stored>, Account), RpcError> {
    let which = sight.resolve(params)?;
    let labelled = |mut error: RpcError| {
        sight.label(which, &mut error.extra);
        error
    };
    let address = match params.get("account") {
        None => return Err(labelled(RpcError::missing("account"))),
        Some(value) => value.as_str().ok_or_else(|| labelled(RpcError::invalid("account")))?,
    };
    let malformed = || labelled(RpcError::new("actMalformed", 35, "Account malformed."));
    let id = AccountId::parse(address).ok_or_else(malformed)?;
    let missing =
        || labelled(RpcError::new("actNotFound", 19, "Account not found.").with("account", address));
    let (stored, account) = sight.account(which, &id).ok_or_else(missing)?;
    Ok((which, id, stored, account))
}

/// `account_info`, at the open ledger, the validated one, or any old one by number.
///
/// # Errors
/// `actNotFound`, `actMalformed`, `lgrNotFound`, `invalidParams`.
pub fn info(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let (which, id, stored, account) = subject(&sight, params)?;
    let version = api_version(params)?;
    let mut data = stored.to_json(&keylet::account(&id));
    let mut answer = Fields::new();
    if params.get("signer_lists") == Some(&json!(true)) {
        let key = keylet::signer_list(&id);
        let lists: Vec<Value> =
            sight.entry(which, &key).iter().map(|list| list.to_json(&key).into()).collect();
        let home = if version == 1 { &mut data } else { &mut answer };
        home.insert("signer_lists".into(), lists.into());
    }
    if params.get("queue") == Some(&json!(true)) && which == Which::Open {
        answer.insert("queue_data".into(), queue_data(state, &id));
    }
    answer.insert("account_data".into(), data.into());
    let flags: Fields =
        FLAG_NAMES.iter().map(|(name, bit)| ((*name).to_owned(), account.has(*bit).into())).collect();
    answer.insert("account_flags".into(), flags.into());
    sight.label(which, &mut answer);
    Ok(answer)
}

fn queue_data(state: &State, id: &AccountId) -> Value {
    let own = state.chain.queue().of(id);
    let transactions: Vec<Value> = own
        .iter()
        .map(|tx| {
            json!({
                "auth_change": false, "fee": tx.text("Fee"), "seq": tx.number("Sequence"),
                "LastLedgerSequence": tx.number("LastLedgerSequence"),
            })
        })
        .collect();
    if transactions.is_empty() {
        return json!({"txn_count": 0});
    }
    json!({
        "txn_count": transactions.len(),
        "auth_change_queued": false,
        "lowest_sequence": own.first().and_then(|tx| tx.number("Sequence")),
        "highest_sequence": own.last().and_then(|tx| tx.number("Sequence")),
        "transactions": transactions,
    })
}

/// `account_objects`, with the `type` filter and markers.
///
/// # Errors
/// As [`info`].
pub fn objects(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let (which, id, _, account) = subject(&sight, params)?;
    let wanted = match params.get("type").map(|kind| kind.as_str()) {
        None => None,
        Some(Some("ticket")) => Some("Ticket"),
        Some(Some("deposit_preauth")) => Some("DepositPreauth"),
        Some(Some("signer_list")) => Some("SignerList"),
        Some(Some("state")) => Some("RippleState"),
        Some(_) => return Err(RpcError::invalid("type")),
    };
    let limit = match params.get("limit") {
        None => 200,
        Some(limit) => limit.as_u64().ok_or_else(|| RpcError::invalid("limit"))?.clamp(10, 400),
    };
    let start = match params.get("marker") {
        None => None,
        Some(marker) => {
            let key = marker.as_str().and_then(super::super::ids::Hash256::parse);
            Some(key.ok_or_else(|| RpcError::invalid("marker"))?)
        }
    };
    let mut found: Vec<Value> = Vec::new();
    let mut answer = object(json!({"account": id.to_string()}));
    for key in account.owned.iter().filter(|key| start.is_none_or(|start| **key >= start)) {
        let Some(stored) = sight.entry(which, key) else { continue };
        if wanted.is_some_and(|kind| kind != stored.entry.kind()) {
            continue;
        }
        if found.len() as u64 == limit {
            answer.insert("marker".into(), key.to_string().into());
            answer.insert("limit".into(), limit.into());
            break;
        }
        found.push(stored.to_json(key).into());
    }
    answer.insert("account_objects".into(), found.into());
    sight.label(which, &mut answer);
    Ok(answer)
}

/// `account_lines`, all at once.
///
/// # Errors
/// As [`info`].
pub fn lines(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let (which, id, _, account) = subject(&sight, params)?;
    let mut lines: Vec<Value> = Vec::new();
    for key in &account.owned {
        let Some(stored) = sight.entry(which, key) else { continue };
        let Entry::Line(line) = &stored.entry else { continue };
        let (peer, no_ripple) =
            if line.low == id { (line.high, LSF_LOW_NO_RIPPLE) } else { (line.low, LSF_HIGH_NO_RIPPLE) };
        let mut item = json!({
            "account": peer.to_string(),
            "balance": line.balance_of(&id).to_string(),
            "currency": hex::encode_upper(line.currency),
            "limit": line.limit_of(&id).to_string(),
            "limit_peer": line.limit_of(&peer).to_string(),
            "quality_in": 0,
            "quality_out": 0,
        });
        if line.flags & no_ripple != 0 {
            item["no_ripple"] = true.into();
        }
        lines.push(item);
    }
    let mut answer = object(json!({"account": id.to_string(), "lines": lines}));
    sight.label(which, &mut answer);
    Ok(answer)
}

/// `deposit_authorized`.
///
/// # Errors
/// `srcActNotFound`, `dstActNotFound`, `actMalformed`, `invalidParams`.
pub fn deposit_authorized(state: &State, params: &Fields) -> Answer {
    let sight = Sight::of(&state.chain);
    let which = sight.resolve(params)?;
    let party = |field: &str| {
        let address = params.get(field).ok_or_else(|| RpcError::missing(field))?;
        let address = address.as_str().ok_or_else(|| RpcError::invalid(field))?;
        AccountId::parse(address).ok_or_else(|| RpcError::new("actMalformed", 35, "Account malformed."))
    };
    let (from, to) = (party("source_account")?, party("destination_account")?);
    if sight.account(which, &from).is_none() {
        return Err(RpcError::new("srcActNotFound", 70, "Source account not found."));
    }
    let Some((_, target)) = sight.account(which, &to) else {
        return Err(RpcError::new("dstActNotFound", 51, "Destination account not found."));
    };
    let allowed = may_deposit_between(&from, &target, |key| sight.entry(which, key).is_some());
    let mut answer = object(json!({
        "deposit_authorized": allowed,
        "source_account": from.to_string(),
        "destination_account": to.to_string(),
    }));
    sight.label(which, &mut answer);
    Ok(answer)
}
