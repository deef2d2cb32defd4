//! The travel rule (FATF recommendation 16): who pays and who is paid is told to the institution at the other end before a payment is made.
//!
//! Pure parts: whether an order needs it ([`Assessment::of`]), what is told ([`Ivms101`]), and the port through which it is told
//! ([`TravelRuleExchange`]). An exchange that does not answer decides nothing: the order waits for people.

mod ivms101;

pub use ivms101::{
    Address, Beneficiary, BeneficiaryVasp, BirthPlace, InvalidIvms101, Ivms101, LegalName, LegalNames,
    LegalPerson, MAX_PAYLOAD, NationalId, NaturalName, NaturalNames, NaturalPerson, OriginatingVasp,
    Originator, Person,
};

use crate::{
    amount::Amount,
    asset::Asset,
    governance::{address_book::Listed, directory::CounterpartyId},
    ids::TransferId,
    intent::{Destination, Intent, IntentDigest, Payment},
    network::Network,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The longest reference of an exchange, in bytes.
pub const MAX_REFERENCE: usize = 100;

/// Who is paid, as far as the travel rule cares. What is not known to be something else is taken for an institution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Counterparty {
    /// A wallet of this installation.
    OwnWallet,
    /// Listed in the address book as somebody's behind whom there is no institution.
    SelfHosted,
    /// Everybody else, also who is not listed.
    Institution,
}

impl Counterparty {
    /// `own`: the destination is an address of this installation. `self_hosted`: counterparties of the address book behind which there is
    /// no institution.
    pub fn of(own: bool, listed: Option<&Listed>, self_hosted: &BTreeSet<CounterpartyId>) -> Self {
        let name = listed.and_then(|listed| listed.entry.counterparty.as_ref());
        match name {
            _ if own => Self::OwnWallet,
            Some(name) if self_hosted.contains(name) => Self::SelfHosted,
            _ => Self::Institution,
        }
    }
}

/// Whether payouts to institutions are to be told, and why. The words name no person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    pub asked: bool,
    pub why: String,
}

/// An installation's own thresholds, for where no published policy says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thresholds {
    /// From this much on, in the asset's smallest unit. An asset without one needs it always.
    pub from: BTreeMap<Asset, Amount>,
    /// Counterparties of the address book behind which there is no institution: wallets of clients, and our own.
    pub self_hosted: BTreeSet<CounterpartyId>,
}

impl Thresholds {
    /// `told`: what goes to institutions, all of it together, so that a batch is not below a threshold which its sum is above.
    pub fn demand(&self, told: &Intent) -> Demand {
        let asset = told.asset;
        let Some(threshold) = self.from.get(&asset) else {
            return Demand { asked: true, why: format!("{asset} has no threshold") };
        };
        // A sum without a number is above every threshold.
        match told.total() {
            Some(sum) if sum < *threshold => {
                Demand { asked: false, why: format!("below the threshold of {asset}") }
            }
            _ => Demand { asked: true, why: format!("at or above the threshold of {asset}") },
        }
    }
}

/// Whether an order needs an exchange, and why. The words name no person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assessment {
    NotRequired {
        why: String,
    },
    Required {
        why: String,
        payment: Payment,
    },
    /// It would need several messages, and has one: order its payouts one by one.
    Unsupported {
        why: String,
    },
}

impl Assessment {
    /// Of what goes to institutions, as [`to_institutions`] gives it, and what is demanded of that.
    pub fn of(told: &Intent, demand: Demand) -> Self {
        let Demand { asked, why } = demand;
        match told.payments.as_slice() {
            [] => Self::NotRequired { why: "no payout goes to an institution".into() },
            _ if !asked => Self::NotRequired { why },
            [payment] => Self::Required { why, payment: payment.clone() },
            several => Self::Unsupported {
                why: format!(
                    "{} payouts need the travel rule, each for itself: order them one by one",
                    several.len()
                ),
            },
        }
    }
}

/// The order, with those of its payouts only that go to institutions. `kinds`: of each payout, in their order; one that is absent is an
/// institution's.
pub fn to_institutions(order: &Intent, kinds: &[Counterparty]) -> Intent {
    let institution = |n: &usize| matches!(kinds.get(*n), None | Some(Counterparty::Institution));
    let payments = order.payments.iter().enumerate().filter(|(n, _)| institution(n));
    Intent { payments: payments.map(|(_, payment)| payment.clone()).collect(), ..order.clone() }
}

/// What an exchange is asked to tell. Neither `Debug` nor `Clone`: there are people in it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferMessage<'a> {
    pub transfer: TransferId,
    /// Counts the data that was handed in, from 1. Transfer and round name one exchange: asked again, it is the same.
    pub round: u32,
    /// Of the order: the same transfer id with another digest is not the same transfer.
    pub intent: IntentDigest,
    pub network: Network,
    pub asset: Asset,
    /// In the asset's smallest unit.
    pub amount: Amount,
    pub destination: &'a Destination,
    pub ivms101: &'a Ivms101,
}

/// What an exchange says. Each answer has the exchange's own name for it, 1 to 100 visible ASCII characters without spaces, so that no
/// name of a person gets into logs with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeAnswer {
    /// The other side has not answered yet.
    Pending {
        reference: String,
        retry_after: Duration,
    },
    Accepted {
        reference: String,
    },
    Rejected {
        reference: String,
    },
}

impl ExchangeAnswer {
    /// # Errors
    /// [`NoExchange::Malformed`]
    pub fn check(self) -> Result<Self, NoExchange> {
        let (Self::Pending { reference, .. } | Self::Accepted { reference } | Self::Rejected { reference }) =
            &self;
        match is_reference(reference) {
            true => Ok(self),
            false => Err(NoExchange::Malformed(REFERENCE_RULE.into())),
        }
    }
}

/// What a reference must be, for people.
pub const REFERENCE_RULE: &str = "reference: 1 to 100 visible ASCII characters without spaces";

/// Whether it can be the reference of an exchange.
pub fn is_reference(text: &str) -> bool {
    (1..=MAX_REFERENCE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Why there is no answer. Each one fails closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", content = "detail", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NoExchange {
    #[error("the travel-rule exchange took too long")]
    Timeout,
    #[error("the travel-rule exchange is not available: {0}")]
    Unavailable(String),
    /// What came back makes no sense.
    #[error("the travel-rule exchange's answer makes no sense: {0}")]
    Malformed(String),
    /// The message or the credentials were refused.
    #[error("the travel-rule exchange refuses the message: {0}")]
    Refused(String),
}

impl NoExchange {
    /// Whether asking again soon may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(_))
    }
}

/// Tells the institution at the other end, and hears whether it knows the beneficiary.
#[async_trait]
pub trait TravelRuleExchange: Send + Sync {
    /// Idempotent by transfer and round: however often it is asked, the other side is told once.
    ///
    /// # Errors
    /// [`NoExchange`]; nothing was decided then.
    async fn exchange(&self, message: &TransferMessage<'_>) -> Result<ExchangeAnswer, NoExchange>;
}

/// People decide: the message is handed over by other means, and a compliance officer notes the outcome.
pub struct Manual;

/// How often a transfer that waits for a person is looked at although nothing nudged it.
const LOOK: Duration = Duration::from_secs(600);

#[async_trait]
impl TravelRuleExchange for Manual {
    async fn exchange(&self, _: &TransferMessage<'_>) -> Result<ExchangeAnswer, NoExchange> {
        Ok(ExchangeAnswer::Pending { reference: "manual".into(), retry_after: LOOK })
    }
}

#[cfg(test)]
mod tests;
