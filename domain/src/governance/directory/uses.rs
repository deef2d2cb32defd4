//! What a key may be used for.
//!
//! A passkey signs whatever challenge the page at its origin hands it, and shows nobody what that stands for. So whoever serves the page at
//! which people log in could have them sign an order or a vote as a login. A key that is for access only makes that worthless: nobody who
//! verifies a document takes its signature. One that is for documents only, at another origin, is never asked by that page.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// One thing that a key can be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum KeyUse {
    /// Calling the API: signing requests, beginning sessions.
    Access,
    /// All that others verify later as somebody's word: orders, recalls, votes, entries of this log, verdicts, prices, alerts, releases,
    /// rejections, dispositions.
    Documents,
}

/// All that a key is for: never nothing, and nothing twice. Both, where the log says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<KeyUse>", into = "Vec<KeyUse>")]
pub enum KeyUses {
    #[default]
    Both,
    Only(KeyUse),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUses {
    #[error("uses: name at least one of ACCESS and DOCUMENTS")]
    None,
    #[error("uses: {0} is there twice")]
    Twice(KeyUse),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a use of a key is ACCESS or DOCUMENTS")]
pub struct UnknownUse;

impl KeyUse {
    pub const ALL: [Self; 2] = [Self::Access, Self::Documents];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "ACCESS",
            Self::Documents => "DOCUMENTS",
        }
    }
}

impl fmt::Display for KeyUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyUse {
    type Err = UnknownUse;
    fn from_str(text: &str) -> Result<Self, UnknownUse> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or(UnknownUse)
    }
}

impl KeyUses {
    pub const fn include(self, wanted: KeyUse) -> bool {
        use KeyUse::{Access, Documents};
        matches!(
            (self, wanted),
            (Self::Both, _) | (Self::Only(Access), Access) | (Self::Only(Documents), Documents)
        )
    }

    /// Whether a key with these can do nothing that one with those cannot.
    pub fn are_within(self, those: Self) -> bool {
        KeyUse::ALL.into_iter().all(|one| those.include(one) || !self.include(one))
    }

    /// Whether the log need not name them.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    pub(super) const fn are_both(&self) -> bool {
        matches!(self, Self::Both)
    }
}

impl From<KeyUse> for KeyUses {
    fn from(only: KeyUse) -> Self {
        Self::Only(only)
    }
}

impl TryFrom<Vec<KeyUse>> for KeyUses {
    type Error = InvalidUses;
    fn try_from(named: Vec<KeyUse>) -> Result<Self, InvalidUses> {
        let twice = |index: &usize| named[..*index].contains(&named[*index]);
        if let Some(index) = (0..named.len()).find(twice) {
            return Err(InvalidUses::Twice(named[index]));
        }
        match named[..] {
            [] => Err(InvalidUses::None),
            [only] => Ok(Self::Only(only)),
            // None twice: all that there are.
            _ => Ok(Self::Both),
        }
    }
}

impl From<KeyUses> for Vec<KeyUse> {
    fn from(uses: KeyUses) -> Self {
        KeyUse::ALL.into_iter().filter(|one| uses.include(*one)).collect()
    }
}

/// For people: `ACCESS`, `DOCUMENTS`, or both with a comma between them.
impl fmt::Display for KeyUses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Both => write!(f, "{}, {}", KeyUse::Access, KeyUse::Documents),
            Self::Only(only) => only.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
