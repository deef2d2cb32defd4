//! When a policy that denies at this hour would permit.
//!
//! Time windows repeat each week, and what a policy says changes only where one of them begins or ends. So a transfer that is denied now
//! is held against the policy at each of these moments of the next week. Where it is permitted at one of them, all that stands in
//! its way is the hour, and it waits instead of being refused for good.

use bursar_domain::{
    governance::policy::{Condition, Day, Facts, Outcome, Policy, Request, TimeWindow, evaluate},
    time::Timestamp,
};
use std::collections::BTreeSet;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60;

/// The most moments that are tried. A policy of five hundred different windows is answered as if only the nearest were there.
const MAX_MOMENTS: usize = 256;

/// The first moment after `facts.now` and before `until` at which the policy would permit, all else being as it is. `None`: the hour is
/// not what is in the way.
pub(crate) fn opens(
    policy: &Policy,
    request: &Request,
    facts: &Facts,
    until: Timestamp,
) -> Option<Timestamp> {
    if until <= facts.now {
        return None;
    }
    let mut moments = BTreeSet::new();
    for rule in &policy.rules {
        gather(&rule.when, facts.now, &mut moments);
    }
    let permits = |at: &Timestamp| {
        let then = Facts { now: *at, ..facts.clone() };
        matches!(evaluate(policy, request, &then).outcome, Outcome::Allowed(_))
    };
    moments.range(facts.now..until).take(MAX_MOMENTS).copied().find(permits)
}

/// When the windows of a condition begin and end within a week from `now`.
fn gather(condition: &Condition, now: Timestamp, moments: &mut BTreeSet<Timestamp>) {
    if let Some(window) = &condition.time_window {
        bounds(window, now, moments);
    }
    for part in condition.any.iter().chain(condition.not.as_deref()) {
        gather(part, now, moments);
    }
}

fn bounds(window: &TimeWindow, now: Timestamp, moments: &mut BTreeSet<Timestamp>) {
    let offset = i64::from(window.utc_offset_minutes);
    let today = (now.micros().div_euclid(MINUTE) + offset).div_euclid(DAY);
    for day in today..=today + 7 {
        // 1970-01-01 was a Thursday, three days after a Monday.
        let named = usize::try_from((day + 3).rem_euclid(7)).map(|index| Day::ALL[index]);
        if !named.is_ok_and(|day| window.days.contains(&day)) {
            continue;
        }
        for bound in [window.from, window.to] {
            let at = Timestamp((day * DAY + i64::from(bound.minutes()) - offset).saturating_mul(MINUTE));
            if at > now {
                moments.insert(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::{
        amount::Amount,
        governance::{
            policy::{Operation, Payout},
            role::Role,
        },
        intent::Destination,
    };
    use serde_json::{Value, json};

    /// A Thursday, 1 January 2026, midnight in UTC.
    const THURSDAY: i64 = 1_767_225_600;

    fn policy(rules: Value) -> Policy {
        serde_json::from_value(json!({ "currency": "CHF", "priceMaxAgeSeconds": 60, "rules": rules }))
            .unwrap()
    }

    fn request() -> Request {
        let destination = Destination { address: "0x1".into(), tag: None };
        Request {
            operation: Operation::Transfer,
            wallet: "ethereum:1/ethereum/0".parse().unwrap(),
            asset: "ETH".parse().unwrap(),
            initiator: "olga".parse().unwrap(),
            initiator_roles: BTreeSet::from([Role::Operator]),
            payouts: vec![Payout { destination, amount: Amount::from_u64(5), listing: None }],
            total: Amount::from_u64(5),
            max_fee: Amount::from_u64(1),
        }
    }

    fn first(rules: Value, hour: i64, days: i64) -> Option<i64> {
        let now = Timestamp::from_secs(THURSDAY + hour * 3600);
        let until = Timestamp::from_secs(THURSDAY + days * 24 * 3600);
        let opens = opens(&policy(rules), &request(), &Facts::unknowable(now), until)?;
        Some((opens.micros() / 1_000_000 - THURSDAY) / 3600)
    }

    fn hours(days: &[&str], from: &str, to: &str) -> Value {
        json!({ "timeWindow": { "days": days, "from": from, "to": to, "utcOffsetMinutes": 60 } })
    }

    #[test]
    fn the_next_hour_at_which_it_is_permitted_is_found() {
        let office = hours(&["MON", "TUE", "WED", "THU", "FRI"], "08:00", "18:00");
        let allow = |when: Value| json!([{ "id": "office", "when": when, "then": { "kind": "ALLOW" } }]);
        assert_eq!(first(allow(office.clone()), 3, 30), Some(7), "08:00 an hour ahead of UTC");
        assert_eq!(first(allow(office.clone()), 20, 30), Some(24 + 7));
        // Friday evening: on Monday.
        assert_eq!(first(allow(office.clone()), 24 + 20, 30), Some(4 * 24 + 7));
        assert_eq!(first(allow(office.clone()), 24 + 20, 3), None, "it expires before");
        // The window of a DENY ends.
        let deny = json!([
            { "id": "all", "then": { "kind": "ALLOW" } },
            { "id": "closed", "when": office, "then": { "kind": "DENY", "reason": "office hours" } },
        ]);
        assert_eq!(first(deny, 9, 30), Some(17));
        // Next week, the same day and hour.
        let thursday = hours(&["THU"], "08:00", "09:00");
        assert_eq!(first(allow(thursday), 9, 30), Some(7 * 24 + 7));
    }

    #[test]
    fn what_is_denied_at_any_hour_has_nothing_to_wait_for() {
        let office = hours(&["MON"], "08:00", "18:00");
        let never = json!([
            { "id": "office", "when": office, "then": { "kind": "ALLOW" } },
            { "id": "no", "then": { "kind": "DENY", "reason": "never" } },
        ]);
        assert_eq!(first(never, 3, 30), None);
        assert_eq!(first(json!([]), 3, 30), None, "no window at all");
        let other = json!([{ "id": "btc", "when": { "assets": ["BTC"], "not": office }, "then": { "kind": "ALLOW" } }]);
        assert_eq!(first(other, 3, 30), None, "the hour alone does not permit it");
    }
}
