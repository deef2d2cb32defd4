//! What is known about the world when a policy is evaluated, and what is not.

use super::velocity::VelocityQuery;
use crate::{amount::Amount, text::serde_as_text, time::Timestamp};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

/// Something known, or why it is not.
pub type Fact<T> = Result<T, Gap>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Gap {
    /// It should have been there. A rule that needs it denies.
    Missing,
    /// This evaluator has no source for it (a co-signer without prices): a rule that needs it is unsure.
    Unknowable,
    /// There is no price for it: above every limit, and within none.
    Unpriceable,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FactName {
    Price,
    Balance,
    Risk,
    Velocity,
}

impl fmt::Display for FactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Price => "the price",
            Self::Balance => "the balance",
            Self::Risk => "the screening's risk band",
            Self::Velocity => "the earlier transfers of the window",
        })
    }
}

/// What is not in the request. The time is always known: each evaluator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub now: Timestamp,
    /// Of the request's asset.
    pub price: Fact<Price>,
    /// Of the paying wallet in the request's asset, in its smallest unit.
    pub balance: Fact<Amount>,
    pub risk: Fact<RiskBand>,
    /// The answer to each of [`Policy::velocity_queries`](super::Policy::velocity_queries), without this transfer.
    /// An absent answer is [`Gap::Missing`].
    pub velocity: BTreeMap<VelocityQuery, Fact<Amount>>,
}

impl Facts {
    /// What one knows who has a clock and nothing else: a co-signer without sources of its own.
    pub const fn unknowable(now: Timestamp) -> Self {
        Self {
            now,
            price: Err(Gap::Unknowable),
            balance: Err(Gap::Unknowable),
            risk: Err(Gap::Unknowable),
            velocity: BTreeMap::new(),
        }
    }

    /// What `units` of the request's asset are worth, in hundredths of `currency`, rounded up.
    ///
    /// A price in another currency, too old, or so high that the value has no number, is no price.
    pub fn value(&self, units: Amount, currency: Currency, max_age_seconds: u64) -> Fact<Amount> {
        let price = self.price?;
        let fresh = self.now.since(price.at) <= Duration::from_secs(max_age_seconds);
        let usable = price.currency == currency && fresh;
        usable.then(|| price.of(units)).flatten().ok_or(Gap::Unpriceable)
    }
}

/// `cents` hundredths of `currency` for `per` smallest units of the asset. No fractions anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Price {
    pub currency: Currency,
    pub cents: Amount,
    pub per: Amount,
    /// When it was quoted.
    pub at: Timestamp,
}

impl Price {
    /// The value in hundredths of the currency, rounded up; `None` when there is no such number.
    pub fn of(&self, units: Amount) -> Option<Amount> {
        let product = units.0.checked_mul(self.cents.0)?;
        let whole = product.checked_div(self.per.0)?;
        let rest = product.checked_rem(self.per.0)?;
        whole.checked_add(U256::from(!rest.is_zero())).map(Amount)
    }
}

/// How risky a screening found the counterparty. UNKNOWN is an answer too: the provider could not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RiskBand {
    Low,
    Medium,
    High,
    Severe,
    Unknown,
}

impl fmt::Display for RiskBand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Severe => "SEVERE",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// Three upper-case letters (ISO 4217), such as `CHF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a currency: expected three upper-case letters such as CHF")]
pub struct InvalidCurrency;

impl FromStr for Currency {
    type Err = InvalidCurrency;
    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| InvalidCurrency)?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters)).ok_or(InvalidCurrency)
    }
}
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}
serde_as_text!(Currency);
