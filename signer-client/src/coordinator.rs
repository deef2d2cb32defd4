//! Has packages signed: proposes, gathers answers, starts sessions, and tries again with another quorum.
//!
//! Nothing here is trusted by a co-signer. What this module must get right is liveness, and one fact: whether a session may
//! have begun (`started` of [`SignError`]).

mod attempt;
mod session;

use crate::{
    check,
    governance::{GovernanceEntries, in_messages},
    hub::Hub,
    message::{FromRelay, Mode},
};
use attempt::Attempt;
use bursar_domain::{
    governance::log::Entry,
    network::Network,
    package::SigningPackage,
    ports::{SignError, ThresholdSigner},
    signing::{GroupKey, PartyIndex, PartyRole, Scheme, SignatureBytes, SigningPayload},
    time::Timestamp,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// The orchestrator's handle on its co-signers.
#[derive(Clone)]
pub struct Coordinator(Arc<Hub>);

/// What is known of one party, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartyStatus {
    pub index: PartyIndex,
    pub name: String,
    pub role: PartyRole,
    pub online: bool,
    /// Since when it has been online; microseconds since the epoch.
    pub since: Option<Timestamp>,
    pub software: Option<String>,
    pub keys: Vec<KeyStatus>,
    pub networks: Vec<Network>,
    pub sessions_completed: u64,
    pub sessions_failed: u64,
    pub refusals: u64,
    pub last_refusal: Option<RefusalStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    pub scheme: Scheme,
    /// Hex.
    pub public_key: String,
    pub generation: u32,
    pub threshold: u16,
    pub parties: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusalStatus {
    pub code: String,
    pub reason: String,
    /// Microseconds since the epoch.
    pub at: Timestamp,
}

impl Coordinator {
    pub(crate) const fn new(hub: Arc<Hub>) -> Self {
        Self(hub)
    }

    /// Says from where co-signers get the entries of the governance log that they lack. Once: later calls change nothing.
    pub fn serve_governance(&self, log: Arc<dyn GovernanceEntries>) {
        let _ = self.0.log.set(log);
    }

    /// Tells all who are online of new entries, so that a freeze need not wait for the next package. Who lacks an entry before them
    /// leaves them, and asks when it is shown a package.
    pub fn announce(&self, entries: Vec<Entry>) {
        let mut state = self.0.state();
        let online: Vec<PartyIndex> = state.online().collect();
        for part in in_messages(entries) {
            for party in &online {
                state.send(Mode::Sign, *party, FromRelay::Governance { entries: part.clone() });
            }
        }
    }

    /// Every registered party, in order of index.
    pub fn status(&self) -> Vec<PartyStatus> {
        let state = self.0.state();
        let mut out: Vec<PartyStatus> = self
            .0
            .parties
            .iter()
            .map(|party| {
                let record = state.records.get(&party.index).cloned().unwrap_or_default();
                PartyStatus {
                    index: party.index,
                    name: party.name.clone(),
                    role: party.role,
                    online: state.online().any(|online| online == party.index),
                    since: record.since,
                    software: record.software,
                    keys: record.keys.iter().map(KeyStatus::from).collect(),
                    networks: record.networks,
                    sessions_completed: record.sessions_ok,
                    sessions_failed: record.sessions_failed,
                    refusals: record.refusals,
                    last_refusal: record.last_refusal.map(|(code, reason, at)| RefusalStatus {
                        code,
                        reason,
                        at,
                    }),
                }
            })
            .collect();
        out.sort_by_key(|status| status.index);
        out
    }

    /// The key of a scheme that at least its threshold of parties reported since this process began.
    fn key(&self, scheme: Scheme) -> Option<GroupKey> {
        let state = self.0.state();
        let reports: Vec<&[GroupKey]> = state.records.values().map(|record| &record.keys[..]).collect();
        agreed(scheme, &reports, self.0.parties.len()).cloned()
    }
}

/// The one key of a scheme that at least its threshold of parties report, of which more than half are needed. So there is at
/// most one, and fewer parties than that can neither pass off another nor keep this one from being used.
fn agreed<'a>(scheme: Scheme, reports: &[&'a [GroupKey]], parties: usize) -> Option<&'a GroupKey> {
    let mut reported: Vec<(&GroupKey, usize)> = Vec::new();
    for key in reports.iter().flat_map(|keys| keys.iter()).filter(|key| key.scheme == scheme) {
        if !reported.iter().any(|(other, _)| *other == key) {
            reported.push((key, reports.iter().filter(|keys| keys.contains(key)).count()));
        }
    }
    let holds = |(key, holders): &&(&GroupKey, usize)| {
        let threshold = usize::from(key.threshold);
        usize::from(key.parties) == parties && 2 * threshold > parties && *holders >= threshold
    };
    let agreed = reported.iter().find(holds).map(|(key, _)| *key);
    for (key, holders) in reported.iter().filter(|(key, _)| agreed.is_some_and(|agreed| agreed != *key)) {
        let public_key = hex::encode(&key.public_key);
        tracing::error!(%scheme, public_key, holders, "co-signers report a key that is not the group's");
    }
    agreed
}

impl From<&GroupKey> for KeyStatus {
    fn from(key: &GroupKey) -> Self {
        Self {
            scheme: key.scheme,
            public_key: hex::encode(&key.public_key),
            generation: key.generation,
            threshold: key.threshold,
            parties: key.parties,
        }
    }
}

#[async_trait::async_trait]
impl ThresholdSigner for Coordinator {
    fn keys(&self) -> Vec<GroupKey> {
        Scheme::ALL.into_iter().filter_map(|scheme| self.key(scheme)).collect()
    }

    fn online(&self, scheme: Scheme) -> u16 {
        let state = self.0.state();
        let holds = |party| {
            state.records.get(&party).is_some_and(|record| record.keys.iter().any(|key| key.scheme == scheme))
        };
        u16::try_from(state.online().filter(|party| holds(*party)).count()).unwrap_or(u16::MAX)
    }

    #[tracing::instrument(skip_all, fields(transfer = %package.transfer, transaction = %package.transaction))]
    async fn sign(
        &self,
        package: &SigningPackage,
        payloads: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError> {
        let scheme = package.unsigned.wallet.kind.scheme();
        if payloads.is_empty() || payloads.iter().any(|payload| payload.scheme != scheme) {
            let reason = format!("the payloads do not all need the {scheme} key of the wallet");
            return Err(SignError::Aborted { reason, started: false });
        }
        let key = self.key(scheme).ok_or(SignError::NoKey(scheme))?;
        let mut done: BTreeMap<usize, SignatureBytes> = BTreeMap::new();
        let mut started = false;
        let mut last = String::from("no attempt was made");
        for number in 1..=self.0.deadlines.attempts {
            let attempt = Attempt { hub: &self.0, key: &key, package, payloads };
            let quorum = match attempt.gather().await {
                Ok(quorum) => quorum,
                Err(error) => return Err(with_started(error, started, &last)),
            };
            let outcome = attempt.run(&quorum, &mut done).await;
            started |= outcome.started;
            match outcome.failure {
                None => return Ok(done.into_values().collect()),
                Some(reason) => {
                    tracing::warn!(number, reason, "signing attempt failed");
                    last = reason;
                }
            }
        }
        Err(SignError::Aborted { reason: last, started })
    }
}

/// An error of a later attempt must not hide that an earlier one began.
fn with_started(error: SignError, begun: bool, last: &str) -> SignError {
    match error {
        SignError::Refused { party, code, reason, started } => {
            SignError::Refused { party, code, reason, started: started || begun }
        }
        SignError::NotNow { code, reason, started } => {
            SignError::NotNow { code, reason, started: started || begun }
        }
        other if begun => SignError::Aborted { reason: format!("{last}; then: {other}"), started: true },
        other => other,
    }
}

/// Checks a reported signature; a wrong one is as bad as none.
fn verified(key: &GroupKey, payload: &SigningPayload, signature: &SignatureBytes) -> Result<(), String> {
    check::signature(key, payload, signature).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8, threshold: u16) -> GroupKey {
        GroupKey {
            scheme: Scheme::Ed25519,
            public_key: vec![byte; 32],
            chain_code: [0; 32],
            threshold,
            parties: 3,
            generation: 0,
        }
    }

    #[test]
    fn one_party_cannot_hide_nor_replace_the_key_of_the_others() {
        let (real, other, cheap) = ([key(1, 2)], [key(2, 2), key(2, 2)], [key(3, 1)]);
        let agreed = |reports: &[&[GroupKey]]| agreed(Scheme::Ed25519, reports, 3).cloned();
        assert_eq!(agreed(&[&real, &real, &[]]), Some(key(1, 2)));
        assert_eq!(agreed(&[&other, &real, &real]), Some(key(1, 2)));
        assert_eq!(agreed(&[&cheap, &real, &real]), Some(key(1, 2)));
        assert_eq!(agreed(&[&other, &real, &[]]), None, "said twice by one is not said by two");
        assert_eq!(agreed(&[&cheap, &[], &[]]), None, "a threshold below a majority");
    }
}
