//! The parts of rippled's answers that are read. Names are those of the API.

use bursar_domain::amount::Drops;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

/// Drops as a decimal string.
pub(super) fn drops<'de, D: Deserializer<'de>>(d: D) -> Result<Drops, D::Error> {
    let text = String::deserialize(d)?;
    parse_drops(&text).ok_or_else(|| D::Error::custom("expected drops as a decimal string"))
}

/// Digits only, at most the supply.
pub(super) fn parse_drops(text: &str) -> Option<Drops> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Drops)).flatten().filter(|drops| *drops <= Drops::MAX)
}

#[derive(Deserialize)]
pub(super) struct ServerState {
    pub state: State,
}
#[derive(Deserialize)]
pub(super) struct State {
    /// Absent on ledgers with NetworkID 0.
    #[serde(default)]
    pub network_id: u32,
    /// Such as `32570-75000000,75000010-75000020`, or `empty`.
    #[serde(default)]
    pub complete_ledgers: String,
    pub server_state: String,
    pub validated_ledger: Option<ValidatedLedger>,
}
#[derive(Deserialize)]
pub(super) struct ValidatedLedger {
    pub seq: u32,
    pub hash: String,
    pub reserve_base: u64,
    pub reserve_inc: u64,
}

#[derive(Deserialize)]
pub(super) struct AccountInfo {
    pub account_data: AccountRoot,
    pub ledger_index: u32,
    #[serde(default)]
    pub validated: bool,
}
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AccountRoot {
    #[serde(deserialize_with = "drops")]
    pub balance: Drops,
    pub flags: u32,
    pub owner_count: u32,
    pub sequence: u32,
}

#[derive(Deserialize)]
pub(super) struct Fee {
    pub drops: FeeDrops,
}
#[derive(Deserialize)]
pub(super) struct FeeDrops {
    #[serde(deserialize_with = "drops")]
    pub open_ledger_fee: Drops,
}

#[derive(Deserialize)]
pub(super) struct DepositAuthorized {
    pub deposit_authorized: bool,
}

#[derive(Deserialize)]
pub(super) struct Submit {
    pub engine_result: String,
    #[serde(default)]
    pub engine_result_message: String,
}

#[derive(Deserialize)]
pub(super) struct Tx {
    #[serde(default)]
    pub validated: bool,
}

#[derive(Deserialize)]
pub(super) struct AccountObjects {
    pub account_objects: Vec<TicketObject>,
    #[serde(default)]
    pub marker: Option<Value>,
    pub ledger_index: Option<u32>,
    #[serde(default)]
    pub validated: bool,
}
#[derive(Deserialize)]
pub(super) struct TicketObject {
    #[serde(rename = "TicketSequence")]
    pub ticket_sequence: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct AccountTx {
    pub ledger_index_min: u32,
    pub ledger_index_max: u32,
    pub transactions: Vec<Value>,
    #[serde(default)]
    pub marker: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct LedgerAnswer {
    pub ledger: Ledger,
    #[serde(default)]
    pub validated: bool,
}
#[derive(Deserialize)]
pub(super) struct Ledger {
    pub ledger_hash: String,
    pub parent_hash: String,
    /// Seconds since 2000-01-01T00:00:00Z.
    pub close_time: i64,
    /// A number or a string of one, by API version.
    pub ledger_index: Value,
    #[serde(default)]
    pub transactions: Vec<Value>,
}
