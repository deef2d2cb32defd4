//! What a new policy changes, rule by rule.

use bursar_domain::governance::policy::{Policy, Rule};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// By the ids of rules: their order has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDiff {
    pub added: Vec<Value>,
    pub removed: Vec<Value>,
    pub changed: Vec<ChangedValue>,
    /// What is beside the rules: currency, screening, …
    pub settings: Vec<ChangedValue>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedValue {
    /// The rule's id, or the setting's name.
    pub name: String,
    pub before: Value,
    pub after: Value,
}

/// `before`: the policy in force, if any.
pub fn policies(before: Option<&Policy>, after: &Policy) -> PolicyDiff {
    let rules = |policy: Option<&Policy>| -> BTreeMap<String, Value> {
        let rules = policy.into_iter().flat_map(|policy| &policy.rules);
        rules.map(|rule: &Rule| (rule.id.to_string(), json(rule))).collect()
    };
    let (old, new) = (rules(before), rules(Some(after)));
    let only = |these: &BTreeMap<String, Value>, those: &BTreeMap<String, Value>| -> Vec<Value> {
        these.iter().filter(|(id, _)| !those.contains_key(*id)).map(|(_, rule)| rule.clone()).collect()
    };
    let before = before.map(settings).unwrap_or_default();
    PolicyDiff {
        added: only(&new, &old),
        removed: only(&old, &new),
        changed: differences(&old, &new, false),
        settings: differences(&before, &settings(after), true),
    }
}

fn settings(policy: &Policy) -> BTreeMap<String, Value> {
    let Value::Object(fields) = json(policy) else { return BTreeMap::new() };
    Map::into_iter(fields).filter(|(name, _)| name != "rules").collect()
}

/// `all`: also what only one side has.
fn differences(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
    all: bool,
) -> Vec<ChangedValue> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |side: &BTreeMap<String, Value>, name: &String| side.get(name).cloned();
    names
        .into_iter()
        .map(|name| (name, of(before, name), of(after, name)))
        .filter(|(_, before, after)| before != after && (all || (before.is_some() && after.is_some())))
        .map(|(name, before, after)| ChangedValue {
            name: name.clone(),
            before: before.unwrap_or_default(),
            after: after.unwrap_or_default(),
        })
        .collect()
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("policies have string keys and infallible serialisers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(rules: Value, max_age: u64) -> Policy {
        let text = json!({ "currency": "USD", "priceMaxAgeSeconds": max_age, "rules": rules });
        serde_json::from_value(text).unwrap()
    }
    fn deny(id: &str, reason: &str) -> Value {
        json!({ "id": id, "when": {}, "then": { "kind": "DENY", "reason": reason } })
    }

    #[test]
    fn rules_are_compared_by_their_ids() {
        let before = policy(json!([deny("a", "x"), deny("b", "x"), deny("c", "x")]), 60);
        let after = policy(json!([deny("d", "x"), deny("c", "x"), deny("b", "y")]), 90);
        let diff = policies(Some(&before), &after);
        let ids = |rules: &[Value]| -> Vec<Value> { rules.iter().map(|rule| rule["id"].clone()).collect() };
        assert_eq!(ids(&diff.added), ["d"]);
        assert_eq!(ids(&diff.removed), ["a"]);
        assert_eq!(diff.changed.len(), 1);
        let changed = &diff.changed[0];
        assert_eq!(changed.name, "b");
        assert_eq!(
            (&changed.before["then"]["reason"], &changed.after["then"]["reason"]),
            (&json!("x"), &json!("y"))
        );
        let setting = ChangedValue { name: "priceMaxAgeSeconds".into(), before: json!(60), after: json!(90) };
        assert_eq!(diff.settings, [setting]);
        let same = policies(Some(&before), &before);
        assert_eq!(same, PolicyDiff { added: vec![], removed: vec![], changed: vec![], settings: vec![] });
        assert_eq!(policies(None, &after).added.len(), 3);
    }
}
