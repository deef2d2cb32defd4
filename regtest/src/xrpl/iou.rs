//! Issued amounts: 16 significant decimal digits are more than this needs, so a plain fixed-point number serves.
//!
//! Values with more than 15 decimals or above 10^15 are refused (`None`), where rippled would keep them in floating
//! form. Issued currencies are here so that `delivered_amount` can differ from `Amount`, not to model the DEX.

use std::fmt;

const DECIMALS: u32 = 15;
const ONE: i128 = 10i128.pow(DECIMALS);
const LIMIT: i128 = 10i128.pow(15) * ONE;

/// Issued amount in units of 10^-15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Iou(i128);

impl Iou {
    pub const ZERO: Self = Self(0);

    /// Reads a decimal, with an optional exponent (`1e-3`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || all.len() > 34 || !all.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let value: i128 = all.parse().ok()?;
        let shift =
            exponent.checked_add(DECIMALS.cast_signed())?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let scaled = if value == 0 {
            0
        } else if shift >= 0 {
            value.checked_mul(10i128.checked_pow(shift.cast_unsigned())?)?
        } else {
            let divisor = 10i128.checked_pow(shift.unsigned_abs())?;
            if value % divisor != 0 {
                return None;
            }
            value / divisor
        };
        (scaled <= LIMIT).then_some(Self(if negative { -scaled } else { scaled }))
    }

    #[must_use]
    pub fn negated(self) -> Self {
        Self(-self.0)
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    #[must_use]
    pub fn is_positive(self) -> bool {
        self.0 > 0
    }

    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Times a transfer rate in billionths, rounded up: what the sender must spend.
    #[must_use]
    pub fn times_rate(self, rate: u32) -> Self {
        Self((self.0.saturating_mul(i128::from(rate)) + 999_999_999) / 1_000_000_000)
    }

    /// Divided by a transfer rate in billionths, rounded down: what arrives.
    #[must_use]
    pub fn over_rate(self, rate: u32) -> Self {
        Self(self.0.saturating_mul(1_000_000_000) / i128::from(rate.max(1)))
    }
}

impl fmt::Display for Iou {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) =
            (self.0.unsigned_abs() / ONE.unsigned_abs(), self.0.unsigned_abs() % ONE.unsigned_abs());
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:0width$}", width = DECIMALS as usize);
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_should_survive_a_round_trip() {
        for text in ["0", "83.95", "-1000000", "0.000000000000001", "5.05"] {
            assert_eq!(Iou::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Iou::parse("1e3").unwrap().to_string(), "1000");
        assert_eq!(Iou::parse("25e-2").unwrap().to_string(), "0.25");
    }

    #[test]
    fn what_does_not_fit_should_be_refused() {
        for text in ["", "x", "1e99", "1e-30", "1e2147483647", "--1", "1.2.3", "1e16"] {
            assert_eq!(Iou::parse(text), None, "{text}");
        }
    }
}
