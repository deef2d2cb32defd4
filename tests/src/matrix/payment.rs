//! One request, repeated until it is answered; what must be true when it has ended.

use super::Course;
use crate::{
    initiator::{Initiator, Standing, payment, request},
    recipients::{self, BitcoinType},
};
use alloy::primitives::U256;
use anyhow::{Context as _, ensure};
use bursar::intake::TransferRequest;
use bursar_domain::{
    amount::Amount,
    asset::AssetInfo,
    intent::{InitiatorKey, Intent},
    network::Chain,
    wallet::WalletDescriptor,
};
use serde_json::Value;

/// What a lane has seen so far.
#[derive(Default)]
pub(super) struct Seen {
    /// All payments so far, and the status that each ended in.
    pub payments: Vec<(Payment, String)>,
    /// Nonces or Sequences used before the first payment.
    pub numbers_used: u64,
    /// What the last one cost, or would have cost.
    pub fee: Amount,
    /// What the wallet had before the first payment, what it paid since, fees included, and what came in by these transactions.
    pub funded: Amount,
    pub spent: Amount,
    pub deposited: Amount,
    pub deposits: Vec<String>,
}

pub struct Payment {
    pub course: Course,
    pub request: TransferRequest,
    pub intent: Intent,
    pub initiator: InitiatorKey,
    pub recipient: String,
    /// Who was to get the same, and gets nothing.
    pub recalled: Option<String>,
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
        (initiator, desk): (&Initiator, Option<&Standing>),
        last_fee: Amount,
    ) -> anyhow::Result<Self> {
        let size = course.size();
        let (recipient, amount, max_fee) = match (chain, course) {
            (Chain::Bitcoin, _) => {
                (recipients::bitcoin(BitcoinType::P2tr), ["0.001", "0.002", "0.003"][size - 1], "0.001")
            }
            (Chain::Ethereum, _) => (recipients::ethereum(), ["0.25", "0.5", "0.75"][size - 1], "0.01"),
            // More than the co-signers allow at once.
            (Chain::Xrp, Course::Refused) => (recipients::xrp()?.0, "10001", "0.01"),
            // Above the reserve: the payment creates the account.
            (Chain::Xrp, _) => (recipients::xrp()?.0, ["12.5", "25", "37.5"][size - 1], "0.01"),
        };
        let max_fee = match course {
            // Enough for itself, and for no such raise.
            Course::CapReached => {
                let thrice = last_fee.0.checked_mul(U256::from(3)).context("fees are small")?;
                Amount(thrice).to_decimal(asset.decimals)
            }
            _ => max_fee.to_owned(),
        };
        let recalled = (course == Course::Recalled).then(|| recipients::bitcoin(BitcoinType::P2tr));
        let paid = [&recipient].into_iter().chain(&recalled).map(|address| payment(address, amount));
        let unsigned = request(wallet, &asset.symbol, paid.collect(), &max_fee)?;
        let units = Amount::parse_decimal(amount, asset.decimals).context("the amount is a decimal")?.0;
        let unsigned = TransferRequest { terms: desk.map(|desk| desk.terms.clone()), ..unsigned };
        let intent = Initiator::intent(&unsigned, descriptor, asset)?;
        let request = match desk {
            Some(desk) => initiator.sign_at(desk, unsigned, descriptor, asset)?,
            None => initiator.sign(unsigned, descriptor, asset)?,
        };
        Ok(Self { course, request, intent, initiator: initiator.key(), recipient, recalled, units })
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
        let wrong = || format!("its history is wrong: {transfer:#}");
        match self.course {
            Course::Paid => ensure!(statuses == HISTORY, wrong()),
            Course::TurnedDown => {
                let never = [self.course.before_authorization(), self.course.ends()].concat();
                ensure!(statuses == never, wrong());
                return Ok(());
            }
            course if course.is_governed() => {
                let all = [course.before_authorization(), &HISTORY[2..]].concat();
                ensure!(statuses == all, wrong());
            }
            Course::Recalled => {
                let again = [&HISTORY[..5], &HISTORY[3..]].concat();
                ensure!(statuses == again, wrong());
            }
            // What it waits behind is over: built again, also where it waited too long.
            Course::GivenUp => {
                ensure!(statuses.starts_with(&HISTORY[..5]) && statuses.ends_with(&HISTORY[4..]), wrong());
            }
            // What blocks and replacements do to the rest is not always the same.
            _ if self.course.numbers_used() > 0 || self.course == Course::Expired => {
                ensure!(statuses.starts_with(&HISTORY[..7]), wrong());
            }
            _ => {
                let never = [&HISTORY[..5], self.course.ends()].concat();
                ensure!(statuses == never, wrong());
                return Ok(());
            }
        }
        let transaction = &transfer["transaction"];
        // Not `broadcastAt`: who died before writing it down learns from the block that it was sent, not when.
        let marks: &[&str] = match self.course {
            Course::Expired | Course::SpentElsewhere => &["txId", "signedAt"],
            _ => &["txId", "signedAt", "blockHash", "finalizedAt"],
        };
        for mark in marks {
            ensure!(transaction[mark].is_string(), "transaction.{mark} is missing: {transfer:#}");
        }
        Ok(())
    }
}
