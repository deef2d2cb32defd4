//! `server_info`, `server_state`, `fee`, and the stand-in's own `standin_fault`.

use serde_json::{Value, json};

use super::super::chain::ClosedLedger;
use super::super::state::State;
use super::sight::Sight;
use super::{Answer, Fields, RpcError, object};

/// Version of rippled that the stand-in was last compared with.
pub const RIPPLED_VERSION: &str = "3.1.2";
/// Fee level of a reference transaction at base cost.
const REFERENCE_LEVEL: u64 = 256;
const EXPECTED_LEDGER_SIZE: u32 = 1000;

fn level(state: &State) -> u64 {
    state.chain.open_ledger_fee().saturating_mul(REFERENCE_LEVEL) / state.chain.rules.base_fee.max(1)
}

fn validated_ledger(state: &State) -> &ClosedLedger {
    let index = Sight::of(&state.chain).validated();
    state.chain.closed_ledger(index).unwrap_or_else(|| state.chain.last_closed())
}

fn common(state: &State) -> Value {
    json!({
        "build_version": format!("{RIPPLED_VERSION}+standin"),
        "complete_ledgers": Sight::of(&state.chain).complete_ledgers(),
        "io_latency_ms": 1,
        "network_id": state.chain.rules.network_id,
        "peers": 0,
        "server_state": "full",
        "validation_quorum": 0,
        // How a client tells the stand-in from a rippled.
        "standin": true,
    })
}

/// `server_info`: amounts in XRP.
///
/// # Errors
/// None.
pub fn info(state: &State) -> Answer {
    let (ledger, rules) = (validated_ledger(state), &state.chain.rules);
    let xrp = |drops: u64| drops as f64 / 1e6;
    let mut info = common(state);
    info["load_factor"] = json!(level(state) as f64 / REFERENCE_LEVEL as f64);
    info["validated_ledger"] = json!({
        "age": (state.clock)().saturating_sub(ledger.close_time),
        "base_fee_xrp": xrp(rules.base_fee),
        "hash": ledger.hash.to_string(),
        "reserve_base_xrp": xrp(rules.reserve_base),
        "reserve_inc_xrp": xrp(rules.reserve_increment),
        "seq": ledger.index,
    });
    Ok(object(json!({"info": info})))
}

/// `server_state`: amounts in drops.
///
/// # Errors
/// None.
pub fn state(state: &State) -> Answer {
    let (ledger, rules) = (validated_ledger(state), &state.chain.rules);
    let mut body = common(state);
    for (name, value) in [
        ("load_base", REFERENCE_LEVEL),
        ("load_factor", level(state)),
        ("load_factor_fee_escalation", level(state)),
        ("load_factor_fee_queue", REFERENCE_LEVEL),
        ("load_factor_fee_reference", REFERENCE_LEVEL),
        ("load_factor_server", REFERENCE_LEVEL),
    ] {
        body[name] = value.into();
    }
    body["validated_ledger"] = json!({
        "base_fee": rules.base_fee,
        "close_time": ledger.close_time,
        "hash": ledger.hash.to_string(),
        "reserve_base": rules.reserve_base,
        "reserve_inc": rules.reserve_increment,
        "seq": ledger.index,
    });
    Ok(object(json!({"state": body})))
}

/// `fee`, in drops and in fee levels.
///
/// # Errors
/// None.
pub fn fee(state: &State) -> Answer {
    let base = state.chain.rules.base_fee;
    Ok(object(json!({
        "current_ledger_size": state.chain.open_transactions().len().to_string(),
        "current_queue_size": state.chain.queue().len().to_string(),
        "drops": {
            "base_fee": base.to_string(),
            "median_fee": base.saturating_mul(500).to_string(),
            "minimum_fee": base.to_string(),
            "open_ledger_fee": state.chain.open_ledger_fee().to_string(),
        },
        "expected_ledger_size": EXPECTED_LEDGER_SIZE.to_string(),
        "ledger_current_index": Sight::of(&state.chain).current(),
        "levels": {
            "median_level": (REFERENCE_LEVEL * 500).to_string(),
            "minimum_level": REFERENCE_LEVEL.to_string(),
            "open_ledger_level": level(state).to_string(),
            "reference_level": REFERENCE_LEVEL.to_string(),
        },
    })))
}

/// `standin_fault`: arms faults and answers with all that is armed.
///
/// # Errors
/// `invalidParams` naming the field.
pub fn fault(state: &mut State, params: &Fields) -> Answer {
    state.chain.faults.update(params).map_err(|field| RpcError::invalid(&field))?;
    Ok(object(json!({"faults": state.chain.faults.to_json()})))
}
