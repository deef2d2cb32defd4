//! Money: integers in an asset's smallest unit, decimal strings on the wire, never floating point.

use crate::text::serde_as_text;
use ruint::aliases::U256;
use std::{fmt, str::FromStr};

/// A quantity of some asset in its smallest unit (satoshi, wei, token base unit, drop).
///
/// Serialised as a decimal string of that integer, so that no JSON parser and no database can round it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Amount(pub U256);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("not a decimal number: write digits with at most one point, such as 0.25")]
    Malformed,
    #[error("must not be negative")]
    Negative,
    #[error("must be greater than zero")]
    Zero,
    #[error("too precise: this asset has {decimals} decimal places")]
    TooPrecise { decimals: u8 },
    #[error("too large")]
    Overflow,
}

impl Amount {
    pub const ZERO: Self = Self(U256::ZERO);

    pub fn from_u64(units: u64) -> Self {
        Self(U256::from(units))
    }
    pub fn from_u128(units: u128) -> Self {
        Self(U256::from(units))
    }
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(U256::from(factor)).map(Self)
    }
    /// The sum, or `None` on overflow.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// Reads a decimal number of whole units (`"0.25"` of an asset with 8 decimals is 25 000 000).
    ///
    /// Accepts digits with at most one point. No sign, exponent, grouping or surrounding space.
    pub fn parse_decimal(text: &str, decimals: u8) -> Result<Self, AmountError> {
        if text.starts_with('-') {
            return Err(AmountError::Negative);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let dangling_point = text.contains('.') && fraction.is_empty();
        if whole.is_empty() || dangling_point || !digits_only(whole) || !digits_only(fraction) {
            return Err(AmountError::Malformed);
        }
        if text.len() > 200 {
            return Err(AmountError::Overflow);
        }
        let significant = fraction.trim_end_matches('0');
        if significant.len() > usize::from(decimals) {
            return Err(AmountError::TooPrecise { decimals });
        }
        let padding = usize::from(decimals) - significant.len();
        let digits = format!("{whole}{significant}{}", "0".repeat(padding));
        U256::from_str_radix(&digits, 10).map(Self).map_err(|_| AmountError::Overflow)
    }

    /// The decimal number of whole units, without trailing zeros.
    pub fn to_decimal(self, decimals: u8) -> String {
        let digits = self.0.to_string();
        let places = usize::from(decimals);
        let padded = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = padded.split_at(padded.len() - places);
        match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            fraction => format!("{whole}.{fraction}"),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The integer in the smallest unit, digits only.
impl FromStr for Amount {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, AmountError> {
        Self::parse_decimal(text, 0).and_then(|amount| match text.contains('.') {
            true => Err(AmountError::TooPrecise { decimals: 0 }),
            false => Ok(amount),
        })
    }
}
serde_as_text!(Amount);

/// Declares a chain's own unit, held in a `u64` and bounded by its supply.
macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, max $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The whole supply; no valid amount is above it.
            pub const MAX: Self = Self($max);
        }
        impl From<$name> for Amount {
            fn from(value: $name) -> Amount {
                Amount::from_u64(value.0)
            }
        }
        impl TryFrom<Amount> for $name {
            type Error = AmountError;
            fn try_from(value: Amount) -> Result<Self, AmountError> {
                u64::try_from(value.0).ok().filter(|v| *v <= $max).map(Self).ok_or(AmountError::Overflow)
            }
        }
    };
}
unit!(
    /// 10⁻⁸ BTC.
    Satoshi, max 21_000_000 * 100_000_000
);
unit!(
    /// 10⁻⁶ XRP.
    Drops, max 100_000_000_000 * 1_000_000
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimal_numbers_are_read_exactly() {
        let btc = |text: &str| Amount::parse_decimal(text, 8).map(|a| a.to_string());
        assert_eq!(btc("0.25").as_deref(), Ok("25000000"));
        assert_eq!(btc("21000000").as_deref(), Ok("2100000000000000"));
        assert_eq!(btc("0.000000010").as_deref(), Ok("1"));
        assert_eq!(btc("0.000000001"), Err(AmountError::TooPrecise { decimals: 8 }));
        assert_eq!(btc("-1"), Err(AmountError::Negative));
        for malformed in ["", ".", "1.", ".5", "1e3", "+1", " 1", "1,0", "0x10", "١"] {
            assert_eq!(btc(malformed), Err(AmountError::Malformed), "{malformed:?}");
        }
        assert_eq!(btc(&"9".repeat(80)), Err(AmountError::Overflow));
        assert_eq!(btc(&"9".repeat(100_000)), Err(AmountError::Overflow));
    }

    #[test]
    fn units_are_bounded_by_the_supply() {
        assert_eq!(Satoshi::try_from(Amount::from_u64(Satoshi::MAX.0 + 1)), Err(AmountError::Overflow));
        assert_eq!(Drops::try_from(Amount::from_u64(Drops::MAX.0)), Ok(Drops::MAX));
    }

    proptest! {
        #[test]
        fn decimal_round_trips(limbs: [u64; 4], decimals in 0u8..=36) {
            let amount = Amount(U256::from_limbs(limbs));
            let decimal = amount.to_decimal(decimals);
            prop_assert_eq!(Amount::parse_decimal(&decimal, decimals), Ok(amount));
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }

        #[test]
        fn hostile_text_never_panics(text in ".*", decimals: u8) {
            let _ = Amount::parse_decimal(&text, decimals);
        }
    }
}
