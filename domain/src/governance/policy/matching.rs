//! Holds a condition against a request and the facts.

use super::{
    Policy,
    call::ContractCallTest,
    condition::{AmountTest, Condition, Day, DestinationTest, FeeTest, TimeWindow, Unit, VelocityTest},
    explain::Finding,
    facts::{Fact, FactName, Facts, Gap},
    request::{Payout, Request},
    truth::Truth,
    velocity::VelocityQuery,
};
use crate::{amount::Amount, time::Timestamp};
use ruint::aliases::U256;
use std::{collections::BTreeSet, fmt::Display, time::Duration};

/// What a condition is held against.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    pub policy: &'a Policy,
    pub request: &'a Request,
    pub facts: &'a Facts,
}

impl Case<'_> {
    pub fn holds(&self, condition: &Condition) -> Finding {
        let Condition {
            operations,
            chains,
            assets,
            wallets,
            destination,
            initiators,
            initiator_roles,
            amount,
            velocity,
            balance_share_above,
            time_window,
            risk,
            fee,
            contract_call,
            any,
            not,
        } = condition;
        let request = self.request;
        let mut parts = Vec::new();
        let mut ask = |part: Option<Finding>| parts.extend(part);
        ask(operations.as_ref().map(|set| one_of("operation", &request.operation, set)));
        let chain = request.asset.chain();
        ask(chains.as_ref().map(|set| one_of("chain", &chain, set)));
        ask(assets.as_ref().map(|set| one_of("asset", &request.asset, set)));
        ask(wallets.as_ref().map(|set| one_of("wallet", &request.wallet, set)));
        ask(destination.as_ref().map(|test| self.destination(test)));
        ask(initiators.as_ref().map(|set| one_of("initiator", &request.initiator, set)));
        ask(initiator_roles.as_ref().map(|set| {
            Finding::new("role of the initiator", (!set.is_disjoint(&request.initiator_roles)).into())
        }));
        ask(amount.as_ref().map(|test| self.amount(test)));
        ask(velocity.as_ref().map(|test| self.velocity(test)));
        ask(balance_share_above.map(|share| self.balance_share(share)));
        ask(time_window
            .as_ref()
            .map(|window| Finding::new("time window", within(window, self.facts.now).into())));
        ask(risk.as_ref().map(|bands| match &self.facts.risk {
            Ok(band) => one_of("risk", band, bands),
            Err(gap) => Finding::new("risk", Truth::gap(FactName::Risk, *gap)),
        }));
        ask(fee.as_ref().map(|test| self.fee(test)));
        ask(contract_call.as_ref().map(|test| self.contract_call(test)));
        ask((!any.is_empty()).then(|| Finding::any(any.iter().map(|part| self.holds(part)).collect())));
        ask(not.as_deref().map(|part| Finding::not(self.holds(part))));
        Finding::all(parts)
    }

    fn destination(&self, test: &DestinationTest) -> Finding {
        let now = self.facts.now;
        let (asked, holds): (&str, &dyn Fn(&Payout) -> bool) = match test {
            DestinationTest::Listed { entries } => ("destination is one of the listed", &|payout| {
                payout.listing.as_ref().is_some_and(|listing| entries.contains(&listing.entry))
            }),
            DestinationTest::AnyListed { for_at_least_seconds: seconds } => {
                ("destination has been in the address book long enough", &|payout| {
                    let listed_for = |since| now.since(since) >= Duration::from_secs(*seconds);
                    payout.listing.as_ref().is_some_and(|listing| listed_for(listing.since))
                })
            }
            DestinationTest::OneTime {} => {
                ("destination is not in the address book", &|payout| payout.listing.is_none())
            }
            DestinationTest::Counterparty { names } => {
                ("destination belongs to the counterparty", &|payout| {
                    let name = payout.listing.as_ref().and_then(|listing| listing.counterparty.as_ref());
                    name.is_some_and(|name| names.contains(name))
                })
            }
        };
        let payouts = &self.request.payouts;
        Finding::new(asked, Truth::agreed(payouts.iter().map(|payout| holds(payout).into())))
    }

    fn amount(&self, test: &AmountTest) -> Finding {
        let total = self.request.total;
        let amount = match test.unit {
            Unit::Asset(asset) if asset != self.request.asset => {
                return Finding::new(format_args!("amount of {asset}"), Truth::No);
            }
            Unit::Asset(_) => Ok(total),
            Unit::Fiat => self.facts.value(total, self.policy.currency, self.policy.price_max_age_seconds),
        };
        let unit = test.unit;
        match amount {
            Ok(amount) => {
                let above = test.above.is_none_or(|limit| amount > limit);
                let at_most = test.at_most.is_none_or(|limit| amount <= limit);
                let limit = |word: &str, limit: Option<Amount>| limit.map(|limit| format!(" {word} {limit}"));
                let (from, to) = (limit("above", test.above), limit("at most", test.at_most));
                let limits = [from, to].into_iter().flatten().collect::<String>();
                let asked = format_args!("amount {amount} {unit}{limits}");
                Finding::new(asked, (above && at_most).into())
            }
            Err(gap) => Finding::new(format_args!("amount {unit}"), Truth::gap(FactName::Price, gap)),
        }
    }

    fn velocity(&self, test: &VelocityTest) -> Finding {
        let queries = test.queries(self.request);
        let answers = queries.iter().map(|query| self.exceeds(query, test.above));
        let asked = format!("{} within {} s above {}", test.of, test.window_seconds, test.above);
        Finding::new(asked, Truth::agreed(answers))
    }

    fn exceeds(&self, query: &VelocityQuery, limit: Amount) -> Truth {
        let adds = query.adds(self.policy, self.request, self.facts);
        let before: Fact<Amount> = self.facts.velocity.get(query).copied().unwrap_or(Err(Gap::Missing));
        match (adds, before) {
            // A sum that has no number is above every limit.
            (Ok(adds), Ok(before)) => before.checked_add(adds).is_none_or(|sum| sum > limit).into(),
            // One gap must not hide the other: a missing fact denies, whatever else is not known.
            (adds, before) => Truth::all([
                adds.map_or_else(|gap| Truth::gap(FactName::Price, gap), |_| Truth::Yes),
                before.map_or_else(|gap| Truth::gap(FactName::Velocity, gap), |_| Truth::Yes),
            ]),
        }
    }

    fn balance_share(&self, basis_points: u16) -> Finding {
        let asked = format!("more than {basis_points} basis points of the balance");
        let truth = match self.facts.balance {
            Ok(balance) => (self.request.total > share(balance, basis_points)).into(),
            Err(gap) => Truth::gap(FactName::Balance, gap),
        };
        Finding::new(asked, truth)
    }

    fn contract_call(&self, test: &ContractCallTest) -> Finding {
        let call = self.request.contract_call();
        let asked = call.map_or_else(
            || "calls no contract".to_owned(),
            |call| format!("calls {} of contract {}", call.selector, call.contract),
        );
        Finding::new(asked, test.holds(call).into())
    }

    fn fee(&self, test: &FeeTest) -> Finding {
        let holds = test.chain == self.request.asset.chain() && self.request.max_fee > test.above;
        Finding::new(format_args!("highest fee {} on {}", self.request.max_fee, test.chain), holds.into())
    }
}

fn one_of<T: Display + Ord>(what: &str, value: &T, set: &BTreeSet<T>) -> Finding {
    Finding::new(format_args!("{what} {value}"), set.contains(value).into())
}

/// `balance · basis points / 10 000`, rounded down, without the overflow of that product.
fn share(balance: Amount, basis_points: u16) -> Amount {
    let (points, whole) = (U256::from(basis_points), U256::from(10_000u64));
    let (parts, rest) = balance.0.div_rem(whole);
    Amount(parts.saturating_mul(points).saturating_add(rest * points / whole))
}

fn within(window: &TimeWindow, now: Timestamp) -> bool {
    const DAY: i64 = 24 * 60;
    let minutes = now.micros().div_euclid(60_000_000) + i64::from(window.utc_offset_minutes);
    let (days, minute) = (minutes.div_euclid(DAY), minutes.rem_euclid(DAY));
    // 1970-01-01 was a Thursday, three days after a Monday.
    let day = usize::try_from((days + 3).rem_euclid(7)).map(|index| Day::ALL[index]);
    let hours = i64::from(window.from.minutes())..i64::from(window.to.minutes());
    day.is_ok_and(|day| window.days.contains(&day)) && hours.contains(&minute)
}
