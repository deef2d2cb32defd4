//! Who screens orders before they are signed.

use bursar_workers::screening::ScreeningSettings;
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// A `bursar-screener`, which holds the provider's credentials and the key that signs verdicts. Without this section orders pass
/// marked NOT_SCREENED.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreeningConfig {
    /// Where it answers: https, or http on this machine.
    pub url: String,
    /// The token of its configuration, in a file that only its owner may read.
    pub token_file: PathBuf,
    /// For one question, 1 to 120; longer than the screener's own patience.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
    /// How often silence and outages are asked again before people have to look: 0 to 20.
    #[serde(default = "retries")]
    pub retries: u32,
    /// How often it is asked for alerts: 1 to 3600.
    #[serde(default = "poll")]
    pub poll_seconds: u64,
}

const fn timeout() -> u64 {
    20
}
const fn retries() -> u32 {
    5
}
const fn poll() -> u64 {
    15
}

impl ScreeningConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut within = |name: &str, value: u64, from: u64, to: u64| {
            if !(from..=to).contains(&value) {
                problems.push(format!("screening.{name}: from {from} to {to}"));
            }
        };
        within("timeout_seconds", self.timeout_seconds, 1, 120);
        within("retries", u64::from(self.retries), 0, 20);
        within("poll_seconds", self.poll_seconds, 1, 3600);
        problems
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        self.token_file = base.join(&self.token_file);
    }

    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    pub fn settings(&self) -> ScreeningSettings {
        ScreeningSettings {
            // The client's own limit comes first, and says more.
            timeout: self.timeout() + Duration::from_secs(1),
            retries: self.retries,
            poll: Duration::from_secs(self.poll_seconds),
            ..ScreeningSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_with_their_fields() {
        let read = |text: &str| toml::from_str::<ScreeningConfig>(text).unwrap();
        let small = read("url = \"http://127.0.0.1:7710\"\ntoken_file = \"screener.token\"");
        assert_eq!((small.check(), small.retries), (Vec::new(), 5));
        let wrong =
            read("url = \"x\"\ntoken_file = \"x\"\ntimeout_seconds = 0\nretries = 21\npoll_seconds = 4000");
        let problems = wrong.check();
        for field in ["timeout_seconds", "retries", "poll_seconds"] {
            assert!(problems.iter().any(|problem| problem.contains(field)), "{problems:?}");
        }
    }
}
