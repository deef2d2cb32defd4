//! What a rule may ask about a transfer. All that is present must hold; an empty condition holds for everything.

use super::{
    super::{
        directory::{AddressEntryId, CounterpartyId, UserId},
        role::Role,
    },
    call::ContractCallTest,
    facts::RiskBand,
    request::Operation,
};
use crate::{amount::Amount, asset::Asset, network::Chain, text::serde_as_text, wallet::WalletDescriptor};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<BTreeSet<Operation>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chains: Option<BTreeSet<Chain>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assets: Option<BTreeSet<Asset>>,
    /// The wallets that pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wallets: Option<BTreeSet<WalletDescriptor>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<DestinationTest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiators: Option<BTreeSet<UserId>>,
    /// The initiator has at least one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initiator_roles: Option<BTreeSet<Role>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<AmountTest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub velocity: Option<VelocityTest>,
    /// The transfer is more than this share of the paying wallet's balance in its asset. Basis points: 2500 is a quarter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance_share_above: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_window: Option<TimeWindow>,
    /// The screening's risk band is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<BTreeSet<RiskBand>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee: Option<FeeTest>,
    /// The payment calls a contract, as that of a token does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_call: Option<ContractCallTest>,
    /// At least one of these holds, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<Condition>>,
}

/// Where the money goes. Of a batch, every payment is asked; payments that disagree leave the rule unsure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum DestinationTest {
    /// One of these entries of the address book.
    Listed { entries: BTreeSet<AddressEntryId> },
    /// Any entry that has been in force for at least this long. Seconds.
    AnyListed {
        #[serde(default)]
        for_at_least_seconds: u64,
    },
    /// Not in the address book.
    OneTime {},
    /// An entry that belongs to one of these counterparties.
    Counterparty { names: BTreeSet<CounterpartyId> },
}

/// In what an amount is counted: an asset's smallest unit, or hundredths of the policy's currency. Text: the asset, or `FIAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    Fiat,
    Asset(Asset),
}

/// The transfer's total, fee not included. A transfer of another asset than the unit's is a clear no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AmountTest {
    #[serde(rename = "in")]
    pub unit: Unit,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Amount>,
}

/// What is added up over time. Text: `COUNT` (transfers), or that of a [`Unit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    Count,
    Sum(Unit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum GroupBy {
    Wallet,
    Initiator,
    Destination,
    All,
}

/// All transfers of the window in the same group, this one included, are above the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VelocityTest {
    /// The window ends now and rolls. Seconds.
    pub window_seconds: u64,
    pub of: Measure,
    pub group_by: GroupBy,
    pub above: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    pub const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];
}

/// Now is on one of the days, from `from` on and before `to`, by a clock that is ahead of UTC by the offset.
///
/// The offset is fixed: daylight saving is not known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeWindow {
    pub days: BTreeSet<Day>,
    pub from: TimeOfDay,
    pub to: TimeOfDay,
    #[serde(default)]
    pub utc_offset_minutes: i16,
}

/// The most that the initiator lets the transaction cost is above this, in the chain's own smallest unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FeeTest {
    pub chain: Chain,
    pub above: Amount,
}

/// Minutes since midnight, 0 to 1440. Text `00:00` to `24:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day: expected 00:00 to 24:00")]
pub struct InvalidTimeOfDay;

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}
impl FromStr for TimeOfDay {
    type Err = InvalidTimeOfDay;
    fn from_str(text: &str) -> Result<Self, InvalidTimeOfDay> {
        let (hours, minutes) = text.split_once(':').ok_or(InvalidTimeOfDay)?;
        let number = |digits: &str| match digits.as_bytes() {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                Ok(u16::from(tens - b'0') * 10 + u16::from(ones - b'0'))
            }
            _ => Err(InvalidTimeOfDay),
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let total = hours * 60 + minutes;
        (minutes < 60 && total <= 24 * 60).then_some(Self(total)).ok_or(InvalidTimeOfDay)
    }
}
serde_as_text!(TimeOfDay);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a unit: expected FIAT or an asset such as BTC, ETH, XRP, erc20:0x<40 hex digits>")]
pub struct InvalidUnit;

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fiat => f.write_str("FIAT"),
            Self::Asset(asset) => asset.fmt(f),
        }
    }
}
impl FromStr for Unit {
    type Err = InvalidUnit;
    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        match text {
            "FIAT" => Ok(Self::Fiat),
            _ => text.parse().map(Self::Asset).map_err(|_| InvalidUnit),
        }
    }
}
serde_as_text!(Unit);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a measure: expected COUNT, FIAT or an asset such as BTC, ETH, XRP, erc20:0x<40 hex digits>")]
pub struct InvalidMeasure;

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("COUNT"),
            Self::Sum(unit) => unit.fmt(f),
        }
    }
}
impl FromStr for Measure {
    type Err = InvalidMeasure;
    fn from_str(text: &str) -> Result<Self, InvalidMeasure> {
        match text {
            "COUNT" => Ok(Self::Count),
            _ => text.parse().map(Self::Sum).map_err(|_| InvalidMeasure),
        }
    }
}
serde_as_text!(Measure);
