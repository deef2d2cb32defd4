//! What a commit is called among the crash points ([`bursar_crash`]): the line that commits, and what it writes down.

use serde_json::Value;
use std::{fmt, panic::Location};

/// What a transaction has said in the event log so far. Kept only in a process that is armed.
#[derive(Debug, Default)]
pub(crate) struct Said(Vec<String>);

impl Said {
    pub(crate) fn event(&mut self, kind: &str, payload: &Value) {
        if !bursar_crash::armed() {
            return;
        }
        let word = |name: &str| payload.get(name).and_then(Value::as_str);
        self.0.push(match (word("from"), word("to"), word("subStatus")) {
            (Some(from), Some(to), None) => format!("{from}>{to}"),
            (Some(from), Some(to), Some(sub_status)) => format!("{from}>{to}/{sub_status}"),
            _ => kind.to_owned(),
        });
    }

    /// Whether a transfer was accepted, from which on passages count.
    pub(crate) fn accepts(&self) -> bool {
        self.0.iter().any(|said| said == "transfer.submitted")
    }

    pub(crate) fn nudge(&mut self) {
        if bursar_crash::armed() && self.0.last().is_none_or(|said| said != "nudge") {
            self.0.push("nudge".into());
        }
    }
}

/// `commit workers/src/transition.rs:60 SUBMITTED>PENDING_SCREENING,nudge`
#[derive(Debug)]
pub(crate) struct Boundary {
    pub(crate) at: &'static Location<'static>,
    pub(crate) said: Said,
}

impl fmt::Display for Boundary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {}:{}", self.at.file(), self.at.line())?;
        match self.said.0.is_empty() {
            true => Ok(()),
            false => write!(f, " {}", self.said.0.join(",")),
        }
    }
}
