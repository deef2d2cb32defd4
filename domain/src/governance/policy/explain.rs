//! Why a rule fired or did not, in words for people. Stored with the transfer, never evaluated again.

use super::{RuleId, truth::Truth};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One rule of the policy, and what it had to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fired {
    pub rule: RuleId,
    pub matched: Match,
    /// Whether the rule's effect applies: in doubt, that of a tightening rule does, and that of an ALLOW does not.
    pub applies: bool,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Match {
    Yes,
    No,
    Unsure,
}

impl From<&Truth> for Match {
    fn from(truth: &Truth) -> Self {
        match truth {
            Truth::Yes => Self::Yes,
            Truth::No => Self::No,
            Truth::Unsure(_) => Self::Unsure,
        }
    }
}

/// The answers to the parts of a condition, and to the whole.
#[derive(Debug)]
pub struct Finding {
    pub truth: Truth,
    pub why: String,
}

impl Finding {
    /// What was asked about, and the answer: `amount: 12 ETH above 10: yes`.
    pub fn new(asked: impl fmt::Display, truth: Truth) -> Self {
        Self { why: format!("{asked}: {truth}"), truth }
    }

    /// All of them must hold.
    pub fn all(parts: Vec<Self>) -> Self {
        if parts.is_empty() {
            return Self { truth: Truth::Yes, why: "every transfer: yes".into() };
        }
        let why = Self::joined(&parts, "; ");
        Self { truth: Truth::all(parts.into_iter().map(|part| part.truth)), why }
    }

    /// One of them must hold.
    pub fn any(parts: Vec<Self>) -> Self {
        let why = format!("any of [{}]", Self::joined(&parts, " | "));
        Self::new(why, Truth::any(parts.into_iter().map(|part| part.truth)))
    }

    pub fn not(part: Self) -> Self {
        Self::new(format_args!("not [{}]", part.why), !part.truth)
    }

    fn joined(parts: &[Self], between: &str) -> String {
        parts.iter().map(|part| part.why.as_str()).collect::<Vec<_>>().join(between)
    }
}
