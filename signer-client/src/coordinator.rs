//! Has packages signed: proposes, gathers answers, starts sessions, and tries again with another quorum.
//!
//! Nothing here is trusted by a co-signer. What this module must get right is liveness, and one fact: whether a session may
//! have begun (`started` of [`SignError`]).

mod attempt;
mod checkpoints;
mod session;

use crate::{
    check,
    governance::{GovernanceEntries, in_messages},
    hub::Hub,
    message::{FromRelay, Heartbeat, Mode},
    upkeep::{self, Contradiction, Standing},
    watch,
};
use attempt::Attempt;
use bursar_domain::{
    governance::log::{Entry, EntryDigest, Head},
    intent::{IntentDigest, SignedIntent},
    network::Network,
    package::SigningPackage,
    ports::{SignError, ThresholdSigner},
    signing::{GroupKey, PartyIndex, PartyRole, Scheme, SignatureBytes, SigningPayload},
    time::Timestamp,
};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::mpsc;

/// Proofs of another log that may wait to be looked at.
const CONTRADICTIONS: usize = 16;

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
    /// When anything came from it last; it gives a sign of life every `heartbeat_ms`.
    pub heard_at: Option<Timestamp>,
    pub heartbeat_ms: u64,
    pub software: Option<String>,
    pub keys: Vec<KeyStatus>,
    pub networks: Vec<Network>,
    /// Its governance log, as it says; absent if it keeps none.
    pub log: Option<LogStatus>,
    pub sessions_completed: u64,
    /// Sessions that failed and in which it was at fault, or may have been.
    pub sessions_failed: u64,
    /// Sessions that ended without a signature by somebody else's fault.
    pub sessions_aborted: u64,
    /// What does not happen with honest parties of one version: wrong signatures, and refusals of packages that contradict themselves.
    pub unusual: u64,
    pub refusals: u64,
    pub last_refusal: Option<RefusalStatus>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogStatus {
    pub genesis: EntryDigest,
    /// Absent while it has no entry.
    pub head: Option<Head>,
    /// Absent until it was compared with ours.
    pub standing: Option<Standing>,
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

    /// Says from where co-signers get the entries of the governance log that they lack. Once: later calls change nothing. Who is linked
    /// is sent what it lacks at once, and so is whoever links from now on.
    pub fn serve_governance(&self, log: Arc<dyn GovernanceEntries>) {
        let _ = self.0.log.set(log);
        self.level();
    }

    /// Compares the logs of all who are online with ours once more, and sends what they lack and were not sent on this link.
    pub fn level(&self) {
        let online: Vec<PartyIndex> = self.0.state().online().collect();
        online.into_iter().for_each(|party| upkeep::level(&self.0, party));
    }

    /// Proofs of another log that co-signers send, to be looked at: they may be lying. Once: later calls get nothing.
    pub fn contradictions(&self) -> mpsc::Receiver<Contradiction> {
        let (sender, receiver) = mpsc::channel(CONTRADICTIONS);
        let _ = self.0.contradictions.set(sender);
        receiver
    }

    /// Shows co-signers an order that waits, so that delays begin for them, too: who is online now, and who links before it expires.
    pub fn show(&self, order: &SignedIntent) {
        let now = self.0.clock.now();
        let online: Vec<PartyIndex> = {
            let mut state = self.0.state();
            if !state.orders.add(order.clone(), now) {
                return;
            }
            state.online().collect()
        };
        online.into_iter().for_each(|party| upkeep::show(&self.0, party));
    }

    /// Who remembers this order, and since when by their own clocks.
    pub fn seen(&self, intent: IntentDigest) -> BTreeMap<PartyIndex, Timestamp> {
        self.0.state().orders.seen_by(intent)
    }

    /// Tells all who are online of new entries, so that a freeze need not wait for the next package. Who lacks an entry before them
    /// says so, and is sent it.
    pub fn announce(&self, entries: Vec<Entry>) {
        let mut state = self.0.state();
        let online: Vec<PartyIndex> = state.online().collect();
        for part in in_messages(entries) {
            for party in &online {
                state.send(Mode::Sign, *party, FromRelay::Governance { entries: part.clone() });
            }
        }
    }

    /// Sets the metrics of what is true of each party now.
    pub fn measure(&self) {
        let now = self.0.clock.now();
        self.status().iter().for_each(|status| watch::measure(status, now));
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
                    heard_at: record.heard_at,
                    heartbeat_ms: millis(Heartbeat::new(self.0.deadlines.heartbeat)),
                    software: record.software,
                    keys: record.keys.iter().map(KeyStatus::from).collect(),
                    networks: record.networks,
                    log: record.log.reported.map(|log| LogStatus {
                        genesis: log.genesis,
                        head: log.head,
                        standing: record.log.standing,
                    }),
                    sessions_completed: record.sessions_ok,
                    sessions_failed: record.sessions_failed,
                    sessions_aborted: record.sessions_aborted,
                    unusual: record.unusual,
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

fn millis(heartbeat: Heartbeat) -> u64 {
    u64::try_from(heartbeat.interval().as_millis()).unwrap_or(u64::MAX)
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
