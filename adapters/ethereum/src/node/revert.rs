//! Why the EVM reverted, from the revert data (Solidity's `Error(string)` and `Panic(uint256)`, or a custom error).

use super::rpc::shorten;
use alloy::{
    primitives::Bytes,
    sol_types::{Panic, Revert, SolError},
};

/// In words for people, bounded in length.
pub(super) fn reason(data: &[u8]) -> String {
    if data.is_empty() {
        return "reverted without a reason".to_owned();
    }
    if let Ok(revert) = Revert::abi_decode(data) {
        return format!("reverted: {}", shorten(&revert.reason));
    }
    if let Ok(panic) = Panic::abi_decode(data) {
        return format!("reverted: {panic}");
    }
    // At most the selector and two words.
    let shown = hex::encode(&data[..data.len().min(68)]);
    format!("reverted with custom error 0x{shown}{}", if data.len() > 68 { "…" } else { "" })
}

/// Revert data as clients put it into an error: hex in `data`, in `data.data`, or with words before it.
pub(super) fn data(payload: &serde_json::Value) -> Option<Bytes> {
    let text = payload.as_str().or_else(|| payload.get("data").and_then(serde_json::Value::as_str))?;
    let digits = text.rsplit_once("0x").map(|(_, digits)| digits.trim())?;
    hex::decode(digits).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn explain(value: serde_json::Value) -> Option<String> {
        data(&value).map(|data| reason(&data))
    }

    #[test]
    fn reasons_are_read_from_what_clients_send() {
        let error_string = "0x08c379a000000000000000000000000000000000000000000000000000000000000000200000000000000000000000000000000000000000000000000000000000000007746f6f206c6f7700000000000000000000000000000000000000000000000000";
        assert_eq!(explain(json!(error_string)).as_deref(), Some("reverted: too low"));
        assert_eq!(explain(json!({ "data": error_string })).as_deref(), Some("reverted: too low"));
        assert_eq!(explain(json!(format!("Reverted {error_string}"))).as_deref(), Some("reverted: too low"));
        let panic = "0x4e487b710000000000000000000000000000000000000000000000000000000000000011";
        assert!(explain(json!(panic)).unwrap().contains("overflow"), "{:?}", explain(json!(panic)));
        assert_eq!(explain(json!("0x")).as_deref(), Some("reverted without a reason"));
        assert_eq!(explain(json!("0xe450d38c")).as_deref(), Some("reverted with custom error 0xe450d38c"));
        assert_eq!(explain(json!(null)), None);
        assert_eq!(explain(json!("no hex")), None);
        assert_eq!(explain(json!("0xzz")), None);
        assert!(reason(&[0xaa; 10_000]).len() < 200);
    }
}
