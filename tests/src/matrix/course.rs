//! What happens to a payment besides crashes.

use bursar_domain::network::Chain;
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Nothing.
    Paid,
    /// Its block is taken back once.
    Reorganised,
    /// The block by which it was completed is taken back: deeper than finality.
    Reopened,
    /// It is sped up before a block takes it.
    SpedUp,
    /// It is to be sped up by more than its `maxFee` allows.
    CapReached,
    /// No replacement is allowed, so that a child pays for it (Bitcoin).
    Child,
    /// It is cancelled on chain before a block takes it. Which of the two transactions that block takes is up to the node.
    Cancelled,
    /// No ledger takes it until the last one that may has passed (XRP).
    Expired,
    /// Somebody else who has the key uses its nonce, which halts the account; a person lifts that (Ethereum).
    SpentElsewhere,
    /// It is withdrawn while it waits for co-signers. (For a lane whose co-signers are away.)
    Aborted,
    /// The co-signers' rules do not allow it.
    Refused,
    /// The co-signers' rules do not allow its replacement.
    SpeedUpRefused,
}

impl Course {
    /// How it may end. COMPLETED has paid, anything else has not.
    pub const fn ends(self) -> &'static [&'static str] {
        match self {
            Self::Paid | Self::Reorganised | Self::Reopened => &["COMPLETED"],
            Self::SpedUp | Self::CapReached | Self::Child | Self::SpeedUpRefused => &["COMPLETED"],
            Self::Cancelled => &["REPLACED", "COMPLETED"],
            Self::Expired => &["EXPIRED"],
            Self::SpentElsewhere => &["FAILED"],
            Self::Aborted => &["CANCELLED"],
            Self::Refused => &["REJECTED"],
        }
    }

    /// The same in a table.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Cancelled => "paid once or not at all",
            Self::Expired | Self::SpentElsewhere | Self::Aborted | Self::Refused => "paid nothing",
            _ => "paid once",
        }
    }

    /// Whether a final transaction has used a nonce or Sequence of the account when it has ended: its own, or a stranger's.
    pub(super) const fn uses_a_number(self) -> bool {
        !matches!(self, Self::Expired | Self::Aborted | Self::Refused)
    }

    /// What is asked for while the transfer waits for a block: the verb and its body.
    pub(super) fn wish(self) -> Option<(&'static str, Value)> {
        match self {
            Self::SpedUp => Some(("speed-up", json!({ "raisePercent": 30 }))),
            Self::CapReached | Self::SpeedUpRefused => Some(("speed-up", json!({ "raisePercent": 1000 }))),
            Self::Cancelled => Some(("cancel", json!({}))),
            _ => None,
        }
    }

    /// Why the wish is not granted.
    pub(super) const fn obstacle(self) -> Option<&'static str> {
        match self {
            Self::CapReached => Some("FEE_CAP_REACHED"),
            Self::SpeedUpRefused => Some("SIGNER_REJECTED"),
            _ => None,
        }
    }

    /// What it needs in the section of its chain in the configuration.
    pub(super) fn configuration(self, chain: Chain) -> toml::Table {
        match (self, chain) {
            (Self::Child, Chain::Bitcoin) => {
                toml::toml! { replacement = { stuck_after_ms = 300, max_replacements = 0 } }
            }
            (Self::Expired, Chain::Xrp) => toml::toml! { ledger_window = 10 },
            _ => toml::Table::new(),
        }
    }
}
