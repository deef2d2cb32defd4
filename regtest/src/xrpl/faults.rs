//! Misbehaviour on demand (`standin_fault`). Nothing here acts unless it was asked for, and only as documented.

use serde_json::{Map, Value, json};

/// What is armed. Fields that a request leaves out stay as they are; `{"reset": true}` clears all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The next n submits are processed in full, then the connection is cut instead of an answer.
    pub lose_submit_reply: u32,
    /// The next n transactions that were provisionally `tesSUCCESS` get a final `tecUNFUNDED_PAYMENT`: fee and
    /// sequence are consumed, nothing is delivered.
    pub flip_provisional: u32,
    /// The next n transactions that were provisionally `tesSUCCESS` never enter a ledger: `tx` goes on answering
    /// `validated: false` without an error.
    pub drop_provisional: u32,
    /// Ledgers a..=b are missing on this node: absent from `complete_ledgers`, not found, their transactions too.
    pub ledger_gap: Option<(u32, u32)>,
    /// The node lags: every reading method answers as of n ledgers ago. Submits still reach the true open ledger.
    pub stale: u32,
    /// Cost of the open ledger in drops for a reference transaction; `None`: no load.
    pub open_ledger_fee: Option<u64>,
}

impl Faults {
    /// Takes what the request names.
    ///
    /// # Errors
    /// The name of the field that is of the wrong kind, or unknown.
    pub fn update(&mut self, params: &Map<String, Value>) -> Result<(), String> {
        let mut next = if params.get("reset") == Some(&json!(true)) { Self::default() } else { self.clone() };
        let small = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        for (name, value) in params {
            let done = match name.as_str() {
                "reset" => value.is_boolean().then_some(()),
                "lose_submit_reply" => small(value).map(|n| next.lose_submit_reply = n),
                "flip_provisional" => small(value).map(|n| next.flip_provisional = n),
                "drop_provisional" => small(value).map(|n| next.drop_provisional = n),
                "stale" => small(value).map(|n| next.stale = n),
                "ledger_gap" if value.is_null() => {
                    next.ledger_gap = None;
                    Some(())
                }
                "ledger_gap" => match value.as_array().map(Vec::as_slice) {
                    Some([first, last]) => small(first)
                        .zip(small(last))
                        .filter(|(a, b)| a <= b)
                        .map(|gap| next.ledger_gap = Some(gap)),
                    _ => None,
                },
                "open_ledger_fee" if value.is_null() => {
                    next.open_ledger_fee = None;
                    Some(())
                }
                "open_ledger_fee" => value.as_u64().map(|drops| next.open_ledger_fee = Some(drops)),
                "command" | "id" | "api_version" => Some(()),
                _ => None,
            };
            done.ok_or_else(|| name.clone())?;
        }
        *self = next;
        Ok(())
    }

    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "lose_submit_reply": self.lose_submit_reply,
            "flip_provisional": self.flip_provisional,
            "drop_provisional": self.drop_provisional,
            "ledger_gap": self.ledger_gap.map(|(first, last)| [first, last]),
            "stale": self.stale,
            "open_ledger_fee": self.open_ledger_fee,
        })
    }
}

/// Takes one from a counter; false when there was none.
pub fn take_one(counter: &mut u32) -> bool {
    let armed = *counter > 0;
    *counter = counter.saturating_sub(1);
    armed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn update_should_keep_what_the_request_leaves_out() {
        let mut faults = Faults::default();
        faults.update(&object(json!({"stale": 3}))).unwrap();
        faults.update(&object(json!({"ledger_gap": [4, 9]}))).unwrap();
        assert_eq!((faults.stale, faults.ledger_gap), (3, Some((4, 9))));
        faults.update(&object(json!({"reset": true, "lose_submit_reply": 1}))).unwrap();
        assert_eq!(faults, Faults { lose_submit_reply: 1, ..Faults::default() });
    }

    #[test]
    fn update_should_name_the_bad_field_and_change_nothing() {
        let mut faults = Faults::default();
        assert_eq!(faults.update(&object(json!({"stale": 3, "typo": 1}))), Err("typo".into()));
        assert_eq!(faults.update(&object(json!({"ledger_gap": [9, 4]}))), Err("ledger_gap".into()));
        assert_eq!(faults, Faults::default());
    }
}
