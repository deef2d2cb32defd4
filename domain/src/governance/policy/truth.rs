//! Yes, no, or unsure: logic that never turns a gap in knowledge into an answer (Kleene's strong three-valued logic).

use super::facts::{FactName, Gap};
use std::{collections::BTreeSet, fmt};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    Yes,
    No,
    /// Never empty.
    Unsure(BTreeSet<Doubt>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    Gap(FactName, Gap),
    /// The condition holds of some payments of a batch and not of others.
    PaymentsDisagree,
}

impl Truth {
    pub fn gap(fact: FactName, gap: Gap) -> Self {
        Self::Unsure(BTreeSet::from([Doubt::Gap(fact, gap)]))
    }

    /// Yes if all are (or there are none), no if one is.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut doubts = BTreeSet::new();
        for part in parts {
            match part {
                Self::Yes => {}
                Self::No => return Self::No,
                Self::Unsure(more) => doubts.extend(more),
            }
        }
        if doubts.is_empty() { Self::Yes } else { Self::Unsure(doubts) }
    }

    /// Yes if one is, no if none is (or there are none).
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        !Self::all(parts.into_iter().map(|part| !part))
    }

    /// Yes if all are, no if none is; unsure if payments disagree.
    pub fn agreed(payments: impl IntoIterator<Item = Self>) -> Self {
        let (mut yes, mut no, mut doubts) = (false, false, BTreeSet::new());
        for payment in payments {
            match payment {
                Self::Yes => yes = true,
                Self::No => no = true,
                Self::Unsure(more) => doubts.extend(more),
            }
        }
        if yes && no {
            doubts.insert(Doubt::PaymentsDisagree);
        }
        match (doubts.is_empty(), yes) {
            (false, _) => Self::Unsure(doubts),
            (true, true) => Self::Yes,
            (true, false) => Self::No,
        }
    }

    /// The facts without which nothing may be decided.
    pub fn missing(&self) -> impl Iterator<Item = FactName> + '_ {
        let doubts = match self {
            Self::Unsure(doubts) => Some(doubts),
            Self::Yes | Self::No => None,
        };
        doubts.into_iter().flatten().filter_map(|doubt| match doubt {
            Doubt::Gap(fact, Gap::Missing) => Some(*fact),
            Doubt::Gap(..) | Doubt::PaymentsDisagree => None,
        })
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            unsure @ Self::Unsure(_) => unsure,
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap(fact, Gap::Missing) => write!(f, "{fact} is missing"),
            Self::Gap(fact, Gap::Unknowable) => write!(f, "{fact} cannot be known here"),
            Self::Gap(_, Gap::Unpriceable) => f.write_str("there is no price"),
            Self::PaymentsDisagree => f.write_str("some payments only"),
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No => f.write_str("no"),
            Self::Unsure(doubts) => {
                f.write_str("unsure (")?;
                for (place, doubt) in doubts.iter().enumerate() {
                    write!(f, "{}{doubt}", if place == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}
