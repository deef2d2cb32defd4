//! Where events may be sent on to, and what messages are signed with.

use bursar_workers::webhooks::{
    WebhookSettings, Webhooks,
    address::Networks,
    keys::{KeyFile, KeyFileError, Keys, load_secret},
    send::SystemLookup,
};
use ipnet::IpNet;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Made by `bursar webhooks key`; messages are signed with what follows from it. Without it no webhook is sent or created.
    pub key_file: Option<PathBuf>,
    /// The one before, while endpoints change over to the secrets and the key of `key_file`.
    pub previous_key_file: Option<PathBuf>,
    /// Networks that are not public and that endpoints may be in nevertheless, such as `10.1.0.0/16`; there, by `http://` too.
    pub allow_networks: Vec<IpNet>,
    /// For one try; 1000 to 25000.
    pub timeout_ms: Option<u64>,
    /// Tries at once of one endpoint; 1 to 32.
    pub parallel: Option<usize>,
    /// How long ended deliveries are kept; 1 to 365.
    pub keep_days: Option<u64>,
    /// Of how many of the newest events at most; 1000 to 10000000.
    pub keep_events: Option<i64>,
    /// An endpoint that took nothing for this long is disabled; 1 to 720.
    pub disable_after_hours: Option<u64>,
    /// Files with secrets that the governance log names: `whsec_` and base64.
    pub secrets: BTreeMap<String, PathBuf>,
}

impl WebhooksConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let within = |name: &str, value: Option<u64>, low: u64, high: u64| {
            value
                .is_some_and(|value| !(low..=high).contains(&value))
                .then(|| format!("webhooks.{name}: from {low} to {high}"))
        };
        let parallel = self.parallel.map(|parallel| parallel as u64);
        let events = self.keep_events.map(|events| u64::try_from(events).unwrap_or_default());
        let numbers = [
            within("timeout_ms", self.timeout_ms, 1000, 25_000),
            within("parallel", parallel, 1, 32),
            within("keep_days", self.keep_days, 1, 365),
            within("keep_events", events, 1000, 10_000_000),
            within("disable_after_hours", self.disable_after_hours, 1, 720),
        ];
        let alone = self.key_file.is_none() && (self.previous_key_file.is_some() || !self.secrets.is_empty());
        let alone =
            alone.then(|| "webhooks.key_file: is missing; `bursar webhooks key` makes one".to_owned());
        numbers.into_iter().flatten().chain(alone).collect()
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        let files = self.key_file.iter_mut().chain(&mut self.previous_key_file);
        for file in files.chain(self.secrets.values_mut()) {
            *file = base.join(&*file);
        }
    }

    fn settings(&self) -> WebhookSettings {
        let defaults = WebhookSettings::default();
        WebhookSettings {
            allow: Networks(self.allow_networks.clone()),
            timeout: self.timeout_ms.map_or(defaults.timeout, Duration::from_millis),
            parallel: self.parallel.unwrap_or(defaults.parallel),
            keep: self.keep_days.map_or(defaults.keep, |days| Duration::from_secs(days * 86_400)),
            keep_events: self.keep_events.unwrap_or(defaults.keep_events),
            disable_after: self
                .disable_after_hours
                .map_or(defaults.disable_after, |hours| Duration::from_secs(hours * 3600)),
            poll: defaults.poll,
        }
    }

    /// Reads the files. `None` without a key file.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn open(&self) -> anyhow::Result<Option<Arc<Webhooks>>> {
        let Some(key_file) = &self.key_file else { return Ok(None) };
        let current = KeyFile::load(key_file)?;
        let previous = self.previous_key_file.as_deref().map(KeyFile::load).transpose()?;
        let secrets = self.secrets.iter().map(|(name, file)| Ok((name.clone(), load_secret(file)?)));
        let secrets = secrets.collect::<Result<BTreeMap<_, _>, KeyFileError>>()?;
        let keys = Keys::new(current, previous, secrets);
        Ok(Some(Arc::new(Webhooks::new(keys, self.settings(), Arc::new(SystemLookup))?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_by_name() {
        let config = WebhooksConfig {
            timeout_ms: Some(1),
            parallel: Some(0),
            keep_events: Some(-1),
            secrets: [("desk".to_owned(), "desk.secret".into())].into(),
            ..Default::default()
        };
        let problems = config.check().join("\n");
        for name in ["timeout_ms", "parallel", "keep_events", "key_file"] {
            assert!(problems.contains(&format!("webhooks.{name}: ")), "{name}: {problems}");
        }
        assert!(WebhooksConfig::default().check().is_empty());
        assert!(WebhooksConfig::default().open().unwrap().is_none());
    }
}
