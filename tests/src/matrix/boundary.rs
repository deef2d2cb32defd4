//! What a recorded payment passed, and the cases that follow from it.

use bursar_crash::plan::{Action, Plan};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// One passage of one boundary, to die at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// `before commit workers/src/transition.rs:60 SUBMITTED>PENDING_SCREENING,nudge` or `after act broadcast`
    pub boundary: String,
    /// From 1.
    pub passage: u32,
}

impl Case {
    pub fn plan(&self) -> Plan {
        let Self { boundary, passage } = self.clone();
        Plan { from_start: false, action: Action::Abort { passage, boundary } }
    }

    /// The line of source, `file.rs:line`, if it is about a commit.
    pub fn commit_site(&self) -> Option<&str> {
        commit_site(&self.boundary)
    }

    /// Whether it moves a transfer from one status to another, accepts it, has it signed, or sends it.
    fn is_step(&self) -> bool {
        let said = self.boundary.rsplit([' ', ',']);
        said.take_while(|word| !word.contains(".rs:")).any(|word| match word.split_once('>') {
            Some((from, to)) => to.split('/').next() != Some(from),
            None => matches!(word, "transfer.submitted" | "sign" | "broadcast"),
        })
    }

    /// Whether it is only about leases, nudges, blocks without anything of ours, or reading from a node: the same on every chain.
    pub fn keeps_house(&self) -> bool {
        match self.boundary.split_once(" act ") {
            Some((_, act)) => {
                let ours = [
                    "sign",
                    "broadcast",
                    "screen",
                    "alerts",
                    "exchange",
                    "deliver",
                    "answer",
                    "frame",
                    "done",
                ];
                !ours.contains(&act)
            }
            None => {
                let empty_block =
                    self.boundary.contains("workers/src/follower.rs:") && !self.boundary.ends_with("nudge");
                empty_block
                    || self.boundary.contains("store/src/jobs.rs:")
                    || self.boundary.contains("workers/src/reconciler.rs:")
                    || self.boundary.contains("workers/src/sealer.rs:")
                    || self.boundary.contains("orchestrator/src/serve.rs:")
            }
        }
    }

    /// The first passage after the start of the process.
    pub fn plan_from_start(&self) -> Plan {
        let boundary = self.boundary.clone();
        Plan { from_start: true, action: Action::Abort { passage: 1, boundary } }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.boundary)?;
        if self.passage > 1 { write!(f, " (passage {})", self.passage) } else { Ok(()) }
    }
}

/// What payments passed, in the order of their first passages.
#[derive(Debug, Clone)]
pub struct Recorded {
    boundaries: Vec<String>,
    /// The most passages in one payment.
    passages: BTreeMap<String, u32>,
    /// What all of them passed.
    always: BTreeSet<String>,
}

impl Recorded {
    /// From the lines that each payment's process wrote.
    pub fn new(recordings: &[String]) -> Self {
        let mut recorded =
            Self { boundaries: Vec::new(), passages: BTreeMap::new(), always: BTreeSet::new() };
        for (position, recording) in recordings.iter().enumerate() {
            let mut counts = BTreeMap::<&str, u32>::new();
            for line in recording.lines() {
                *counts.entry(line).or_default() += 1;
                if !recorded.boundaries.iter().any(|known| known == line) {
                    recorded.boundaries.push(line.to_owned());
                }
            }
            for (line, count) in &counts {
                let most = recorded.passages.entry((*line).to_owned()).or_default();
                *most = (*most).max(*count);
            }
            let these: BTreeSet<String> = counts.into_keys().map(str::to_owned).collect();
            recorded.always = match position {
                0 => these,
                _ => recorded.always.intersection(&these).cloned().collect(),
            };
        }
        recorded
    }

    /// The first `passages` passages of every boundary, as far as there were so many.
    pub fn cases(&self, passages: u32) -> Vec<Case> {
        let mut cases = Vec::new();
        for boundary in &self.boundaries {
            for passage in 1..=self.passages[boundary].min(passages) {
                cases.push(Case { boundary: boundary.clone(), passage });
            }
        }
        cases
    }

    /// Whether a payment that does not come through here is wrong. What only keeps house (leases, nudges, blocks) depends on
    /// timers; what moves the transfer, or acts for it, does not.
    pub fn certain(&self, case: &Case) -> bool {
        case.passage == 1 && self.always.contains(&case.boundary) && case.is_step()
    }

    pub fn boundaries(&self) -> impl Iterator<Item = &str> {
        self.boundaries.iter().map(String::as_str)
    }

    /// Lines of source, `file.rs:line`, whose commits were passed.
    pub fn commit_sites(&self) -> impl Iterator<Item = &str> {
        self.boundaries.iter().filter_map(|boundary| commit_site(boundary))
    }

    /// Names of acts that were passed.
    pub fn acts(&self) -> impl Iterator<Item = &str> {
        self.boundaries.iter().filter_map(|boundary| Some(boundary.split_once(" act ")?.1))
    }
}

fn commit_site(boundary: &str) -> Option<&str> {
    boundary.split_once(" commit ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_become_cases() {
        let recordings = [
            "before commit a.rs:1 X>Y\nafter commit a.rs:1 X>Y\nbefore act sign\nbefore act sign\n"
                .to_owned(),
            "before commit a.rs:1 X>Y\nbefore commit b.rs:20\n".to_owned(),
        ];
        let recorded = Recorded::new(&recordings);
        let texts =
            |passages| -> Vec<String> { recorded.cases(passages).iter().map(Case::to_string).collect() };
        let once = [
            "before commit a.rs:1 X>Y",
            "after commit a.rs:1 X>Y",
            "before act sign",
            "before commit b.rs:20",
        ];
        assert_eq!(texts(1), once);
        assert_eq!(texts(3).len(), 5);
        assert_eq!(texts(3)[3], "before act sign (passage 2)");
        let certain: Vec<bool> = recorded.cases(2).iter().map(|case| recorded.certain(case)).collect();
        assert_eq!(certain, [true, false, false, false, false]);
        assert_eq!(recorded.commit_sites().collect::<BTreeSet<_>>(), ["a.rs:1", "b.rs:20"].into());
        let of_case = recorded.cases(1)[0].commit_site().map(str::to_owned);
        assert_eq!(of_case.as_deref(), Some("a.rs:1"));
        assert_eq!(recorded.acts().collect::<Vec<_>>(), ["sign"]);
        let house: Vec<bool> = recorded.cases(1).iter().map(Case::keeps_house).collect();
        assert_eq!(house, [false; 4]);
        for boundary in [
            "after commit store/src/jobs.rs:98 nudge",
            "after act tips",
            "after commit workers/src/follower.rs:1",
        ] {
            assert!(Case { boundary: boundary.into(), passage: 1 }.keeps_house(), "{boundary}");
        }
        let plan = recorded.cases(2)[3].plan().to_string();
        assert_eq!(plan, "abort:2:before act sign");
    }
}
