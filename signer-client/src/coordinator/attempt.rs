//! One attempt: a proposal, a quorum of those who accept, and a session for each payload that lacks a signature.

use super::session::{SessionPlan, run_session};
use crate::{
    hub::{Hub, ProposalEvent},
    message::{Answer, FromRelay, Mode, Nonce, ProposalId},
};
use bursar_domain::{
    package::SigningPackage,
    ports::{PAST_REFUSALS, SignError},
    signing::{GroupKey, PartyIndex, Scheme, SignatureBytes, SigningPayload},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{sync::mpsc, time::Instant};

pub(super) struct Attempt<'a> {
    pub hub: &'a Arc<Hub>,
    pub key: &'a GroupKey,
    pub package: &'a SigningPackage,
    pub payloads: &'a [SigningPayload],
}

/// Who accepted, in ascending order, and with what nonce.
pub(super) struct Quorum {
    proposal: Proposal,
    signers: Vec<PartyIndex>,
    nonces: Vec<Nonce>,
}

pub(super) struct Outcome {
    pub started: bool,
    pub failure: Option<String>,
}

/// Told to all candidates that it is over when dropped, whatever the way out.
struct Proposal {
    hub: Arc<Hub>,
    id: ProposalId,
    parties: Vec<PartyIndex>,
}

impl Drop for Proposal {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.proposals.remove(&self.id);
        for party in &self.parties {
            state.send(Mode::Sign, *party, FromRelay::Close { proposal: self.id });
        }
    }
}

impl Attempt<'_> {
    /// Asks every candidate, and takes the first t that accept.
    ///
    /// [`SignError::Refused`] ends a payment, so it is given only when no quorum can ever form: when so many parties refuse by
    /// their rules that too few are left among *all* that hold the key, whoever is online. A party that is offline, silent or
    /// unable may still accept another time.
    pub(super) async fn gather(&self, blame: &BTreeMap<PartyIndex, u32>) -> Result<Quorum, SignError> {
        let needed = usize::from(self.key.threshold);
        let (proposal, mut events) = self.propose(blame)?;
        let deadline = Instant::now() + self.hub.deadlines.answer;
        let mut waiting = proposal.parties.clone();
        let mut accepted: BTreeMap<PartyIndex, Nonce> = BTreeMap::new();
        let mut refused: Vec<(PartyIndex, String, String)> = Vec::new();
        let mut unable: Vec<String> = Vec::new();
        while accepted.len() < needed && !waiting.is_empty() {
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.recv()).await else { break };
            let (ProposalEvent::Answered { party, .. } | ProposalEvent::Gone { party }) = &event;
            let party = *party;
            let Some(place) = waiting.iter().position(|other| *other == party) else {
                // It may leave after it accepted.
                if matches!(event, ProposalEvent::Gone { .. }) {
                    accepted.remove(&party);
                }
                continue;
            };
            waiting.swap_remove(place);
            if let ProposalEvent::Answered { answer, .. } = event {
                match answer {
                    Answer::Accept { nonce } => {
                        accepted.insert(party, nonce);
                    }
                    Answer::Refuse { code, reason } => {
                        self.record_refusal(party, &code, &reason);
                        refused.push((party, code, reason));
                    }
                    Answer::Unable { code, reason } => {
                        self.record_refusal(party, &code, &reason);
                        unable.push(format!("party {party} could not decide: {code}: {reason}"));
                    }
                }
            }
        }
        if accepted.len() >= needed {
            let (signers, nonces) = accepted.into_iter().take(needed).unzip();
            return Ok(Quorum { proposal, signers, nonces });
        }
        let final_refusal = usize::from(self.key.parties).saturating_sub(refused.len()) < needed;
        // One that speaks of an earlier signature matters more than any other.
        refused.sort_by_key(|(party, code, _)| (!PAST_REFUSALS.contains(&code.as_str()), *party));
        if final_refusal && let Some((party, code, reason)) = refused.first().cloned() {
            return Err(SignError::Refused { party, code, reason, started: false });
        }
        unable.extend(waiting.iter().map(|party| format!("party {party} did not answer in time")));
        if unable.is_empty() {
            return Err(self.not_enough(accepted.len()));
        }
        unable.extend(
            refused.iter().map(|(party, code, reason)| format!("party {party} refused: {code}: {reason}")),
        );
        let reason = format!("{} of {needed} co-signers accept; {}", accepted.len(), unable.join("; "));
        Err(SignError::Aborted { reason, started: false })
    }

    fn not_enough(&self, available: usize) -> SignError {
        SignError::NotEnoughSigners {
            scheme: self.key.scheme,
            needed: self.key.threshold,
            available: u16::try_from(available).unwrap_or(u16::MAX),
        }
    }

    fn propose(
        &self,
        blame: &BTreeMap<PartyIndex, u32>,
    ) -> Result<(Proposal, mpsc::UnboundedReceiver<ProposalEvent>), SignError> {
        let needed = usize::from(self.key.threshold);
        let (sender, events) = mpsc::unbounded_channel();
        let id = ProposalId::random();
        let mut state = self.hub.state();
        let mut candidates: Vec<PartyIndex> = state
            .online()
            .filter(|party| state.records.get(party).is_some_and(|record| record.keys.contains(self.key)))
            .collect();
        if candidates.len() < needed {
            return Err(self.not_enough(candidates.len()));
        }
        // Another quorum than those that failed, as far as there is one.
        candidates.sort_by_key(|party| (blame.get(party).copied().unwrap_or(0), *party));
        while candidates.len() > needed
            && candidates.last().is_some_and(|party| blame.get(party).copied().unwrap_or(0) > 0)
        {
            candidates.pop();
        }
        state.proposals.insert(id, sender);
        for party in &candidates {
            let package = Box::new(self.package.clone());
            state.send(Mode::Sign, *party, FromRelay::Propose { proposal: id, package });
        }
        drop(state);
        Ok((Proposal { hub: self.hub.clone(), id, parties: candidates }, events))
    }

    /// Runs a session for each payload without a signature.
    pub(super) async fn run(
        &self,
        quorum: &Quorum,
        done: &mut BTreeMap<usize, SignatureBytes>,
        blame: &mut BTreeMap<PartyIndex, u32>,
    ) -> Outcome {
        let limit = match self.key.scheme {
            Scheme::EcdsaSecp256k1 => &self.hub.ecdsa,
            Scheme::Bip340 | Scheme::Ed25519 => &self.hub.frost,
        };
        let digest = self.package.digest();
        let mut sessions: FuturesUnordered<_> = (0..self.payloads.len())
            .filter(|index| !done.contains_key(index))
            .map(|index| async move {
                let permit = limit.acquire().await;
                let plan = SessionPlan {
                    proposal: quorum.proposal.id,
                    package: digest,
                    index,
                    payload: &self.payloads[index],
                    key: self.key,
                    signers: &quorum.signers,
                    nonces: &quorum.nonces,
                };
                let result = run_session(self.hub, plan).await;
                drop(permit);
                (index, result)
            })
            .collect();
        let mut outcome = Outcome { started: false, failure: None };
        while let Some((index, result)) = sessions.next().await {
            match result {
                Ok(signature) => {
                    outcome.started = true;
                    done.insert(index, signature);
                }
                Err(failure) => {
                    outcome.started |= failure.started;
                    // A party that is known to be at fault is passed over first, then whoever took part.
                    for signer in &quorum.signers {
                        *blame.entry(*signer).or_default() +=
                            if failure.blamed.contains(signer) { 100 } else { 1 };
                    }
                    outcome.failure.get_or_insert(failure.reason);
                }
            }
        }
        outcome
    }

    fn record_refusal(&self, party: PartyIndex, code: &str, reason: &str) {
        tracing::warn!(%party, code, reason, "co-signer refused");
        let now = self.hub.clock.now();
        if let Some(record) = self.hub.state().records.get_mut(&party) {
            record.refusals += 1;
            record.last_refusal = Some((code.to_owned(), reason.to_owned(), now));
        }
    }
}
