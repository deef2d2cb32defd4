//! What must be counted about earlier transfers so that a policy can be evaluated.

use super::{
    super::directory::UserId,
    Policy,
    condition::{Condition, GroupBy, Measure, Unit, VelocityTest},
    facts::{Fact, Facts},
    request::Request,
};
use crate::{amount::Amount, intent::Destination, network::Network, wallet::WalletDescriptor};
use std::{collections::BTreeSet, fmt};

/// Asks for the sum of what all transfers of one group have added within the window that ends now.
///
/// The store answers it from what it has reserved, a co-signer from what it has signed. The same query is asked for
/// each transfer of the group, so it is also the name under which [`adds`](Self::adds) is reserved.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VelocityQuery {
    pub window_seconds: u64,
    pub of: Measure,
    pub group: VelocityGroup,
}

/// Whose transfers are added up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VelocityGroup {
    All,
    Wallet(WalletDescriptor),
    Initiator(UserId),
    /// An account: a tag is the receiver's own affair, and payments to as many tags as one likes reach the same hands.
    Destination(Network, String),
}

impl VelocityTest {
    /// One query, or one for each destination; none when the transfer does not move what is added up.
    pub fn queries(&self, request: &Request) -> Vec<VelocityQuery> {
        if matches!(self.of, Measure::Sum(Unit::Asset(asset)) if asset != request.asset) {
            return Vec::new();
        }
        let query = |group| VelocityQuery { window_seconds: self.window_seconds, of: self.of, group };
        match self.group_by {
            GroupBy::All => vec![query(VelocityGroup::All)],
            GroupBy::Wallet => vec![query(VelocityGroup::Wallet(request.wallet))],
            GroupBy::Initiator => vec![query(VelocityGroup::Initiator(request.initiator.clone()))],
            GroupBy::Destination => {
                let network = request.wallet.network;
                let group = |to: &Destination| VelocityGroup::Destination(network, to.address.clone());
                let groups: BTreeSet<_> =
                    request.payouts.iter().map(|payout| group(&payout.destination)).collect();
                groups.into_iter().map(query).collect()
            }
        }
    }
}

impl VelocityQuery {
    /// What `request` itself adds to the sum: one for a count, else what it pays (to the group's destination, or in all).
    pub fn adds(&self, policy: &Policy, request: &Request, facts: &Facts) -> Fact<Amount> {
        let unit = match self.of {
            Measure::Count => return Ok(Amount::from_u64(1)),
            Measure::Sum(unit) => unit,
        };
        let paid = match &self.group {
            VelocityGroup::Destination(_, to) => {
                let here = request.payouts.iter().filter(|payout| payout.destination.address == *to);
                // Part of the total, which has been added up before.
                Amount::sum(here.map(|payout| payout.amount)).unwrap_or(request.total)
            }
            VelocityGroup::All | VelocityGroup::Wallet(_) | VelocityGroup::Initiator(_) => request.total,
        };
        match unit {
            Unit::Asset(_) => Ok(paid),
            Unit::Fiat => facts.value(paid, policy.currency, policy.price_max_age_seconds),
        }
    }
}

impl Policy {
    /// What is counted of `request` whether a rule asks for it or not, so that a rule that is published later finds it: transfers, its asset, and
    /// its worth where there are prices; in each group. The windows mean nothing.
    pub fn velocity_standing(&self, request: &Request) -> BTreeSet<VelocityQuery> {
        let worth = self.prices.is_some().then_some(Measure::Sum(Unit::Fiat));
        let measures = [Some(Measure::Count), Some(Measure::Sum(Unit::Asset(request.asset))), worth];
        let groups = [GroupBy::All, GroupBy::Wallet, GroupBy::Initiator, GroupBy::Destination];
        let tests = measures.into_iter().flatten().flat_map(|of| {
            groups.map(|group_by| VelocityTest { window_seconds: 0, of, group_by, above: Amount::ZERO })
        });
        tests.flat_map(|test| test.queries(request)).collect()
    }

    /// All that evaluating this policy for `request` may ask about earlier transfers.
    pub fn velocity_queries(&self, request: &Request) -> BTreeSet<VelocityQuery> {
        let mut queries = BTreeSet::new();
        let mut open: Vec<&Condition> = self.rules.iter().map(|rule| &rule.when).collect();
        while let Some(condition) = open.pop() {
            queries.extend(condition.velocity.iter().flat_map(|test| test.queries(request)));
            open.extend(condition.any.iter().chain(condition.not.as_deref()));
        }
        queries
    }
}

impl fmt::Display for VelocityGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Wallet(wallet) => write!(f, "wallet {wallet}"),
            Self::Initiator(user) => write!(f, "initiator {user}"),
            Self::Destination(network, to) => write!(f, "destination {network} {to}"),
        }
    }
}

/// One text for each query, such as `86400 FIAT wallet bitcoin:mainnet/p2tr/0`: a key for whoever keeps the sums.
impl fmt::Display for VelocityQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.window_seconds, self.of, self.group)
    }
}
