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
    /// Somebody else who has the key spends what only its replacement needs, so that it is sent after all; a person lifts the halt (Bitcoin).
    Robbed,
    /// It is a batch of two payouts, of which one is recalled while the signer is away; the rest is built again (Bitcoin).
    Recalled,
    /// What it waits behind is a nonce that nothing uses, as a stranger's transaction that is taken back leaves it; it is filled (Ethereum).
    Filled,
    /// It waits behind a filler that nobody signed in time, which is given up (Ethereum).
    GivenUp,
    /// It is withdrawn while it waits for co-signers. (For a lane whose co-signers are away.)
    Aborted,
    /// The co-signers' rules do not allow it.
    Refused,
    /// The co-signers' rules do not allow its replacement.
    SpeedUpRefused,
    /// It is screened clear, and one of each of two parties approves it. (This and what follows: for a lane with a governed desk.)
    Approved,
    /// While it waits for approvals, an alert freezes it, and compliance lets it go.
    Alerted,
    /// While it waits for approvals, money comes in, is held by its screening, screened again, and let go by compliance.
    Deposited,
    /// It is held for review, screened again, and released by compliance.
    Released,
    /// It is held for review, and rejected by compliance.
    TurnedDown,
    /// The institution at the other end is told of it first, by an exchange.
    Told,
    /// People tell that institution, and note what it says.
    Noted,
}

impl Course {
    /// How it may end. COMPLETED has paid, anything else has not.
    pub const fn ends(self) -> &'static [&'static str] {
        match self {
            Self::Paid | Self::Reorganised | Self::Reopened => &["COMPLETED"],
            Self::SpedUp | Self::CapReached | Self::Child | Self::SpeedUpRefused => &["COMPLETED"],
            Self::Recalled | Self::Filled | Self::GivenUp | Self::Robbed => &["COMPLETED"],
            Self::Cancelled => &["REPLACED", "COMPLETED"],
            Self::Expired => &["EXPIRED"],
            Self::SpentElsewhere => &["FAILED"],
            Self::Aborted => &["CANCELLED"],
            Self::Refused | Self::TurnedDown => &["REJECTED"],
            Self::Approved | Self::Alerted | Self::Deposited => &["COMPLETED"],
            Self::Released | Self::Told | Self::Noted => &["COMPLETED"],
        }
    }

    /// Whether it takes a lane with a governed desk.
    pub const fn is_governed(self) -> bool {
        matches!(self, Self::Approved | Self::Alerted | Self::Deposited)
            || matches!(self, Self::Released | Self::TurnedDown | Self::Told | Self::Noted)
    }

    /// Whether its screening holds it.
    pub(super) const fn is_held(self) -> bool {
        matches!(self, Self::Released | Self::TurnedDown)
    }

    /// How many times the smallest payment it is, by which the policy of a governed desk tells what it asks.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Approved | Self::Alerted | Self::Deposited => 2,
            Self::Told | Self::Noted => 3,
            _ => 1,
        }
    }

    /// Where it goes back and forth before it is authorized: the statuses from SUBMITTED up to then.
    pub(super) const fn before_authorization(self) -> &'static [&'static str] {
        const SCREENED: &str = "PENDING_SCREENING";
        const REVIEWED: &str = "PENDING_REVIEW";
        match self {
            Self::Released => &["SUBMITTED", SCREENED, REVIEWED, SCREENED, REVIEWED, SCREENED],
            Self::TurnedDown => &["SUBMITTED", SCREENED, REVIEWED],
            Self::Told => &["SUBMITTED", SCREENED, REVIEWED, SCREENED],
            Self::Noted => &["SUBMITTED", SCREENED, REVIEWED, SCREENED, REVIEWED, SCREENED],
            _ => &["SUBMITTED", SCREENED],
        }
    }

    /// The same in a table.
    pub const fn end(self) -> &'static str {
        match self {
            Self::Cancelled => "paid once or not at all",
            Self::Expired | Self::SpentElsewhere | Self::Aborted | Self::Refused | Self::TurnedDown => {
                "paid nothing"
            }
            _ => "paid once",
        }
    }

    /// How many nonces or Sequences of the account final transactions have used when it has ended: its own, or a stranger's, and what filled
    /// the gap below it.
    pub(super) const fn numbers_used(self) -> u64 {
        match self {
            Self::Expired | Self::Aborted | Self::Refused | Self::TurnedDown => 0,
            Self::Filled => 2,
            _ => 1,
        }
    }

    /// What is asked for while the transfer waits for a block: the verb and its body.
    pub(super) fn wish(self) -> Option<(&'static str, Value)> {
        match self {
            Self::SpedUp => Some(("speed-up", json!({ "raisePercent": 30 }))),
            Self::Robbed => Some(("speed-up", json!({ "raisePercent": 100 }))),
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
            (Self::Robbed, Chain::Bitcoin) => toml::toml! { fee_floor = 5000 },
            (Self::GivenUp, Chain::Ethereum) => toml::toml! { replacement = { automatic = false } },
            (Self::Expired, Chain::Xrp) => toml::toml! { ledger_window = 10 },
            _ => toml::Table::new(),
        }
    }
}
