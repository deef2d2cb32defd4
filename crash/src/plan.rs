//! What the environment variable says.

use std::{fmt, path::PathBuf, str::FromStr};

/// On which side of a commit or an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    Before,
    After,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// What an armed process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Whether passages count from the start of the process, not only from [`begin`](crate::begin) on.
    pub from_start: bool,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Appends a line to the file for each passage: `before commit …`, `after act …`.
    Record { file: PathBuf },
    /// Dies at the passage with this number, from 1, of the boundary: a line as `Record` writes it.
    Abort { passage: u32, boundary: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("BURSAR_CRASH_POINTS: {0:?} is neither `record:FILE` nor `abort:N:BOUNDARY`: unset it")]
pub struct InvalidPlan(String);

const FROM_START: &str = "-from-start";

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.from_start { FROM_START } else { "" };
        match &self.action {
            Action::Record { file } => write!(f, "record{when}:{}", file.display()),
            Action::Abort { passage, boundary } => write!(f, "abort{when}:{passage}:{boundary}"),
        }
    }
}

impl FromStr for Plan {
    type Err = InvalidPlan;
    fn from_str(text: &str) -> Result<Self, InvalidPlan> {
        let invalid = || InvalidPlan(text.to_owned());
        let (word, rest) = text.split_once(':').ok_or_else(invalid)?;
        let (word, from_start) = match word.strip_suffix(FROM_START) {
            Some(word) => (word, true),
            None => (word, false),
        };
        let action = match word {
            "record" if !rest.is_empty() => Action::Record { file: rest.into() },
            "abort" => {
                let (passage, boundary) = rest.split_once(':').ok_or_else(invalid)?;
                let passage = passage.parse().ok().filter(|n| *n > 0).ok_or_else(invalid)?;
                if !boundary.starts_with("before ") && !boundary.starts_with("after ") {
                    return Err(invalid());
                }
                Action::Abort { passage, boundary: boundary.to_owned() }
            }
            _ => return Err(invalid()),
        };
        Ok(Self { from_start, action })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_have_a_text_form() {
        for text in [
            "record:/tmp/a b:c",
            "record-from-start:points",
            "abort:1:before commit store/src/jobs.rs:98",
            "abort-from-start:3:after act broadcast",
        ] {
            assert_eq!(text.parse::<Plan>().map(|plan| plan.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "1", "record", "record:", "abort:1", "abort:0:before x", "abort:x:before x", "abort:1:x"]
        {
            assert_eq!(text.parse::<Plan>(), Err(InvalidPlan(text.into())), "{text}");
        }
    }
}
