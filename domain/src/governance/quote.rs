//! Prices: what a service that the policy names signs about an asset, so that each co-signer can tell an amount's worth by itself.
//!
//! Who carries quotes can choose among those that are fresh, and can leave them out; without one the amount is above every limit. So what a
//! quote is wrong by at most is what the price moves within the policy's `priceMaxAgeSeconds`.

use super::{
    approval::CLOCK_SKEW,
    directory::{Directory, UserId},
    log::EntryDigest,
    policy::{Currency, Fact, Gap, Policy, Price},
    role::Role,
    signature::{InvalidSignature, Signature},
    state::State,
};
use crate::{amount::Amount, asset::Asset, canonical::Canonical, text::serde_as_text, time::Timestamp};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// The most decimal places of an asset.
pub const MAX_DECIMALS: u8 = 36;

/// What one whole unit of an asset costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quote {
    /// The desk for which it is made: the digest that its log begins with.
    pub genesis: EntryDigest,
    pub asset: Asset,
    /// How many decimal places a whole unit has: those of the chain's own assets are fixed, those of a token are what its contract says.
    pub decimals: u8,
    pub currency: Currency,
    pub price: UnitPrice,
    pub quoted_at: Timestamp,
    /// It does not count from then on.
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedQuote {
    pub quote: Quote,
    pub signature: Signature,
}

/// A price above zero: 1 to 20 digits, and perhaps a point and 1 to 18 more. Signed as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPrice(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a price: expected 1 to 20 digits, and perhaps a point and 1 to 18 more, such as 2514.07; and more than zero"
)]
pub struct InvalidPrice;

/// Why a quote does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotQuoted {
    #[error("the policy names nobody under prices.by")]
    NoSource,
    #[error("{0} is not among the services that the policy names under prices.by")]
    NotSource(UserId),
    #[error("signature: {0}")]
    Signature(#[from] InvalidSignature),
    #[error("genesis: it was made for another desk")]
    OtherDesk,
    #[error("asset: it is about another one")]
    OtherAsset,
    #[error("currency: the policy counts in {0}")]
    OtherCurrency(Currency),
    #[error("decimals: {asset} has {expected}")]
    Decimals { asset: Asset, expected: u8 },
    #[error("decimals: at most {MAX_DECIMALS}")]
    TooManyDecimals,
    #[error("expiresAt: must be later than quotedAt")]
    NeverValid,
    #[error("it has expired, or is older than the policy lets a price be")]
    Stale,
    #[error("quotedAt: is in the future; the clock of who signed it is ahead")]
    FromTheFuture,
}

impl NotQuoted {
    /// Stable, for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSource => "NO_SOURCE",
            Self::NotSource(_) => "NOT_SOURCE",
            Self::Signature(_) => "SIGNATURE",
            Self::OtherDesk => "OTHER_DESK",
            Self::OtherAsset => "OTHER_ASSET",
            Self::OtherCurrency(_) => "OTHER_CURRENCY",
            Self::Decimals { .. } | Self::TooManyDecimals => "DECIMALS",
            Self::NeverValid => "NEVER_VALID",
            Self::Stale => "STALE",
            Self::FromTheFuture => "FROM_THE_FUTURE",
        }
    }
}

/// By what quotes are held: a policy, and the log that it is of.
#[derive(Debug, Clone, Copy)]
pub struct QuoteCheck<'a> {
    pub directory: &'a Directory,
    pub genesis: EntryDigest,
    pub policy: &'a Policy,
    pub now: Timestamp,
}

impl Quote {
    pub fn canonical(&self) -> Canonical {
        let Self { genesis, asset, decimals, currency, price, quoted_at, expires_at } = self;
        Canonical::new("bursar/quote/v1")
            .bytes(&genesis.0)
            .text(asset)
            .number(u64::from(*decimals))
            .text(currency)
            .text(price)
            .number(quoted_at.micros().cast_unsigned())
            .number(expires_at.micros().cast_unsigned())
    }

    /// What the signature is over.
    pub fn digest(&self) -> [u8; 32] {
        self.canonical().digest()
    }

    /// The price by smallest units, without fractions.
    fn by_units(&self) -> Option<Price> {
        let (cents, places) = self.price.cents();
        let per = U256::from(10).checked_pow(U256::from(u16::from(self.decimals) + u16::from(places)))?;
        Some(Price { currency: self.currency, cents, per: Amount(per), at: self.quoted_at })
    }
}

impl SignedQuote {
    /// The price of `asset`, if this is a quote that counts.
    pub fn price(&self, asset: Asset, check: &QuoteCheck<'_>) -> Result<Price, NotQuoted> {
        let QuoteCheck { directory, genesis, policy, now } = *check;
        let Quote { decimals, currency, quoted_at, expires_at, .. } = self.quote;
        let sources = &policy.prices.as_ref().ok_or(NotQuoted::NoSource)?.by;
        if self.quote.genesis != genesis {
            return Err(NotQuoted::OtherDesk);
        }
        if self.quote.asset != asset {
            return Err(NotQuoted::OtherAsset);
        }
        if currency != policy.currency {
            return Err(NotQuoted::OtherCurrency(policy.currency));
        }
        let native = Asset::native(asset.chain()) == asset;
        let expected = Asset::native_decimals(asset.chain());
        if native && decimals != expected {
            return Err(NotQuoted::Decimals { asset, expected });
        }
        let price =
            Some(decimals).filter(|places| *places <= MAX_DECIMALS).and_then(|_| self.quote.by_units());
        let price = price.ok_or(NotQuoted::TooManyDecimals)?;
        if expires_at <= quoted_at {
            return Err(NotQuoted::NeverValid);
        }
        if quoted_at > now.plus(CLOCK_SKEW) {
            return Err(NotQuoted::FromTheFuture);
        }
        if now >= expires_at || now.since(quoted_at) > Duration::from_secs(policy.price_max_age_seconds) {
            return Err(NotQuoted::Stale);
        }
        let user = self.signature.verify(directory, &self.quote.digest())?.user;
        let may = user.holds(Role::IntegrationService) && sources.contains(&user.id);
        may.then_some(price).ok_or_else(|| NotQuoted::NotSource(user.id.clone()))
    }
}

impl<'a> QuoteCheck<'a> {
    /// By `policy`, which may be a draft, and the log as it is.
    pub fn of(state: &'a State, policy: &'a Policy, now: Timestamp) -> Self {
        Self { directory: state.directory(), genesis: state.genesis_digest(), policy, now }
    }

    /// What a policy may know of `asset`'s price by this quote. `otherwise` is what is known where the policy names no source.
    pub fn fact(&self, asset: Asset, quote: Option<&SignedQuote>, otherwise: Fact<Price>) -> Fact<Price> {
        if self.policy.prices.is_none() {
            return otherwise;
        }
        quote.and_then(|quote| quote.price(asset, self).ok()).ok_or(Gap::Unpriceable)
    }

    /// The latest of those that count.
    pub fn freshest(
        &self,
        asset: Asset,
        quotes: impl IntoIterator<Item = SignedQuote>,
    ) -> Option<SignedQuote> {
        let count = quotes.into_iter().filter(|quote| quote.price(asset, self).is_ok());
        count.max_by_key(|signed| (signed.quote.quoted_at, signed.signature.user.clone()))
    }
}

impl UnitPrice {
    /// The price in hundredths times ten to the power of the second.
    fn cents(&self) -> (Amount, u8) {
        let (whole, part) = self.0.split_once('.').unwrap_or((&self.0, ""));
        let digits = format!("{whole}{part}00");
        let cents = U256::from_str_radix(&digits, 10).expect("at most 40 decimal digits, as parsed");
        (Amount(cents), u8::try_from(part.len()).expect("at most 18 digits, as parsed"))
    }
}
impl fmt::Display for UnitPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl FromStr for UnitPrice {
    type Err = InvalidPrice;
    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let digits = |part: &str, most: usize| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let written = match text.split_once('.') {
            None => digits(text, 20),
            Some((whole, part)) => digits(whole, 20) && digits(part, 18),
        };
        let above_zero = text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        (written && above_zero).then(|| Self(text.to_owned())).ok_or(InvalidPrice)
    }
}
serde_as_text!(UnitPrice);

#[cfg(test)]
mod tests;
