//! One request, repeated until it is answered; what must be true when it has ended.

use crate::{
    initiator::{Initiator, payment, request},
    recipients::{self, BitcoinType},
};
use alloy::primitives::U256;
use anyhow::{Context as _, ensure};
use bursar::intake::TransferRequest;
use bursar_domain::{amount::Amount, asset::AssetInfo, network::Chain, wallet::WalletDescriptor};
use serde_json::{Value, json};

/// What a lane has seen so far.
#[derive(Default)]
pub(super) struct Seen {
    /// All payments so far, and the status that each ended in.
    pub payments: Vec<(Payment, String)>,
    /// Nonces or Sequences used before the first payment.
    pub numbers_used: u64,
}

/// What happens to a payment besides crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Nothing.
    Paid,
    /// Its block is taken back once.
    Reorganised,
    /// It is sped up before a block takes it.
    SpedUp,
    /// It is cancelled on chain before a block takes it. Which of the two transactions that block takes is up to the node.
    Cancelled,
    /// It is withdrawn while it waits for co-signers. (For a lane whose co-signers are away.)
    Aborted,
}

impl Course {
    /// How it may end. COMPLETED has paid, anything else has not.
    pub const fn ends(self) -> &'static [&'static str] {
        match self {
            Self::Paid | Self::Reorganised | Self::SpedUp => &["COMPLETED"],
            Self::Cancelled => &["REPLACED", "COMPLETED"],
            Self::Aborted => &["CANCELLED"],
        }
    }

    /// What is asked for while the transfer waits for a block: the verb and its body.
    pub(super) fn wish(self) -> Option<(&'static str, Value)> {
        match self {
            Self::SpedUp => Some(("speed-up", json!({ "raisePercent": 30 }))),
            Self::Cancelled => Some(("cancel", json!({}))),
            Self::Paid | Self::Reorganised | Self::Aborted => None,
        }
    }
}

pub struct Payment {
    pub course: Course,
    pub request: TransferRequest,
    pub recipient: String,
    /// What is asked for, in the smallest unit.
    pub units: U256,
}

/// Every status of a payment that nothing but crashes happens to.
const HISTORY: [&str; 9] = [
    "SUBMITTED",
    "PENDING_SCREENING",
    "PENDING_AUTHORIZATION",
    "QUEUED",
    "PENDING_SIGNATURE",
    "SIGNED",
    "BROADCASTING",
    "CONFIRMING",
    "COMPLETED",
];

impl Payment {
    pub(super) fn new(
        course: Course,
        chain: Chain,
        wallet: &str,
        asset: &AssetInfo,
        descriptor: WalletDescriptor,
        initiator: &Initiator,
    ) -> anyhow::Result<Self> {
        let (recipient, amount, max_fee) = match chain {
            Chain::Bitcoin => (recipients::bitcoin(BitcoinType::P2tr), "0.001", "0.001"),
            Chain::Ethereum => (recipients::ethereum(), "0.25", "0.01"),
            // Above the reserve: the payment creates the account.
            Chain::Xrp => (recipients::xrp()?.0, "12.5", "0.01"),
        };
        let unsigned = request(wallet, &asset.symbol, vec![payment(&recipient, amount)], max_fee)?;
        let units = Amount::parse_decimal(amount, asset.decimals).context("the amount is a decimal")?.0;
        Ok(Self { course, request: initiator.sign(unsigned, descriptor, asset)?, recipient, units })
    }

    /// What is due to the recipient of a payment that has ended so.
    pub(super) fn due(&self, end: &str) -> U256 {
        if end == "COMPLETED" { self.units } else { U256::ZERO }
    }

    /// Each status once, in order: a crash takes nothing back and does nothing twice. (It may leave a further entry with
    /// another reason in the same status.)
    pub(super) fn check_history(&self, transfer: &Value) -> anyhow::Result<()> {
        let timeline = transfer["timeline"].as_array().context("a single view has a timeline")?;
        let mut statuses: Vec<&str> = timeline.iter().filter_map(|entry| entry["status"].as_str()).collect();
        statuses.dedup();
        match self.course {
            Course::Paid => ensure!(statuses == HISTORY, "its history is not {HISTORY:?}: {transfer:#}"),
            // What blocks and replacements do to the rest is not always the same.
            Course::Reorganised | Course::SpedUp | Course::Cancelled => {
                ensure!(statuses.starts_with(&HISTORY[..7]), "its history is wrong: {transfer:#}");
            }
            Course::Aborted => {
                let never = [&HISTORY[..5], &["CANCELLED"]].concat();
                ensure!(statuses == never, "its history is not {never:?}: {transfer:#}");
                return Ok(());
            }
        }
        let transaction = &transfer["transaction"];
        // Not `broadcastAt`: who died before writing it down learns from the block that it was sent, not when.
        for mark in ["txId", "blockHash", "signedAt", "finalizedAt"] {
            ensure!(transaction[mark].is_string(), "transaction.{mark} is missing: {transfer:#}");
        }
        Ok(())
    }
}
