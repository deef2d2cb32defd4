mod conditions;
mod examples;
mod generate;
mod properties;
mod table;

use super::*;
use crate::{
    amount::Amount,
    asset::Asset,
    governance::{directory::UserId, role::Role},
    intent::Destination,
    time::Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// 2026-01-01T00:00:00Z, a Thursday.
const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Facts with a price of 1 hundredth for 10 units, a balance of 1000, and no earlier transfers.
pub(super) fn facts(policy: &Policy, request: &Request) -> Facts {
    let price =
        Price { currency: name("CHF"), cents: Amount::from_u64(1), per: Amount::from_u64(10), at: NOW };
    Facts {
        now: NOW,
        price: Ok(price),
        balance: Ok(Amount::from_u64(1000)),
        risk: Ok(RiskBand::Low),
        velocity: policy
            .velocity_queries(request)
            .into_iter()
            .map(|query| (query, Ok(Amount::ZERO)))
            .collect(),
    }
}

/// A transfer of 100 wei to an address that is not listed.
pub(super) fn request() -> Request {
    let destination = Destination { address: "0x01".into(), tag: None };
    Request {
        operation: Operation::Transfer,
        wallet: name("ethereum:1/ethereum/0"),
        asset: Asset::Eth,
        initiator: name("olga"),
        initiator_roles: BTreeSet::from([Role::Operator]),
        payouts: vec![Payout { destination, amount: Amount::from_u64(100), listing: None }],
        total: Amount::from_u64(100),
        max_fee: Amount::from_u64(5),
    }
}

pub(super) fn policy(rules: Vec<Rule>) -> Policy {
    Policy {
        currency: name("CHF"),
        price_max_age_seconds: 600,
        screening: None,
        travel_rule: None,
        prices: None,
        initiating_services: BTreeSet::new(),
        rules,
    }
}

pub(super) fn rule(id: &str, when: Condition, then: Effect) -> Rule {
    Rule { id: name(id), description: String::new(), when, then }
}

fn deny() -> Effect {
    Effect::Deny { reason: "because".into() }
}
