//! One attempt: a proposal, a quorum of those who accept, and a session for each payload that lacks a signature.

use super::session::{SessionPlan, run_session};
use crate::{
    governance::in_messages,
    hub::{Hub, ProposalEvent},
    message::{Answer, FromRelay, GOVERNANCE_BEHIND, Mode, Nonce, ProposalId},
    watch,
};
use bursar_domain::{
    package::SigningPackage,
    ports::{EVIDENCE_REFUSALS, LATER_REFUSALS, PAST_REFUSALS, SignError},
    signing::{GroupKey, PartyIndex, PartyRole, Scheme, SignatureBytes, SigningPayload},
};
use futures::{StreamExt as _, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::{sync::mpsc, time::Instant};

pub(super) struct Attempt<'a> {
    pub hub: &'a Arc<Hub>,
    pub key: &'a GroupKey,
    pub package: &'a SigningPackage,
    pub payloads: &'a [SigningPayload],
}

/// What a party that accepts said.
struct Acceptance {
    nonce: Nonce,
    /// Without whom it does not sign.
    with: BTreeSet<PartyRole>,
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

/// Blame for an attempt that failed: of who took part, and of who may be at fault. A hostile party is in every quorum that it
/// breaks, and whomever it accuses gets no more than itself, so it ends up behind the honest ones.
const PRESENT: u32 = 1;
const SUSPECT: u32 = 10;
/// More parties than this are not searched for the best quorum in which everybody is who somebody wants to sign with.
const MANY: usize = 12;

/// The code of [`SignError::NotNow`] when nobody who accepts is of a party that another demands.
const SIGNERS_REQUIRED: &str = "SIGNERS_REQUIRED";

/// Why a party does not sign now: its code, and its words.
type Answered = (PartyIndex, String, String);

impl Attempt<'_> {
    /// Asks every candidate, and takes the first t that accept, or those who had least to do with failures as soon as it is clear
    /// who they are.
    ///
    /// [`SignError::Refused`] ends a payment, so it is given only when no quorum can ever form: when so many parties refuse by
    /// their rules that too few are left among *all* that hold the key, whoever is online. A party that is offline, silent or
    /// unable may still accept another time, and so may one that refuses with one of [`LATER_REFUSALS`]: then it is [`SignError::NotNow`].
    pub(super) async fn gather(&self) -> Result<Quorum, SignError> {
        let needed = usize::from(self.key.threshold);
        let (proposal, mut events) = self.propose()?;
        let deadline = Instant::now() + self.hub.deadlines.answer;
        let mut waiting = proposal.parties.clone();
        let mut accepted: BTreeMap<PartyIndex, Acceptance> = BTreeMap::new();
        let mut brought_up: BTreeSet<PartyIndex> = BTreeSet::new();
        let mut refused: Vec<Answered> = Vec::new();
        let mut unable: Vec<Answered> = Vec::new();
        let blame = self.blame(&proposal.parties);
        while !waiting.is_empty() && !self.settled(&blame, &accepted, &waiting, needed) {
            let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.recv()).await else {
                // Waited for in vain: not another time.
                let (now, mut state) = (self.hub.clock.now(), self.hub.state());
                waiting.iter().for_each(|silent| state.add_blame(*silent, SUSPECT, now));
                break;
            };
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
                    Answer::Accept { nonce, with } => {
                        accepted.insert(party, Acceptance { nonce, with });
                    }
                    Answer::Behind { have, reason } => {
                        // Once: who is behind still has been told all that there is.
                        if brought_up.insert(party) && self.bring_up(proposal.id, party, have).await {
                            waiting.push(party);
                            continue;
                        }
                        self.record_refusal(party, GOVERNANCE_BEHIND, &reason);
                        unable.push((party, GOVERNANCE_BEHIND.to_owned(), reason));
                    }
                    Answer::Refuse { code, reason } if LATER_REFUSALS.contains(&code.as_str()) => {
                        self.record_refusal(party, &code, &reason);
                        unable.push((party, code, reason));
                    }
                    Answer::Refuse { code, reason } => {
                        self.record_refusal(party, &code, &reason);
                        refused.push((party, code, reason));
                    }
                    Answer::Unable { code, reason } => {
                        self.record_refusal(party, &code, &reason);
                        unable.push((party, code, reason));
                    }
                }
            }
        }
        let mut why: Vec<String> = unable
            .iter()
            .map(|(party, code, reason)| format!("party {party} could not decide: {code}: {reason}"))
            .collect();
        why.extend(waiting.iter().map(|party| format!("party {party} did not answer in time")));
        why.extend(
            refused.iter().map(|(party, code, reason)| format!("party {party} refused: {code}: {reason}")),
        );
        if accepted.len() >= needed {
            let signers = self.quorum(&blame, &accepted, needed);
            let absent = self.absent(&signers, &accepted);
            if !absent.is_empty() {
                return Err(required(&absent, &why));
            }
            let chosen = accepted.into_iter().filter(|(party, _)| signers.contains(party));
            let (signers, nonces) = chosen.map(|(party, acceptance)| (party, acceptance.nonce)).unzip();
            return Ok(Quorum { proposal, signers, nonces });
        }
        let final_refusal = usize::from(self.key.parties).saturating_sub(refused.len()) < needed;
        // One that speaks of an earlier signature matters more than any other.
        let past = |code: &str| PAST_REFUSALS.contains(&code);
        refused.sort_by_key(|(party, code, _)| (!past(code), *party));
        if final_refusal && let Some((party, code, reason)) = refused.first().cloned() {
            return Err(SignError::Refused { party, code, reason, started: false });
        }
        if unable.is_empty() && waiting.is_empty() {
            return Err(self.not_enough(accepted.len()));
        }
        let reason = format!("{} of {needed} co-signers accept; {}", accepted.len(), why.join("; "));
        // What people can supply is told rather than what only time brings.
        unable.retain(|(_, code, _)| LATER_REFUSALS.contains(&code.as_str()));
        unable.sort_by_key(|(party, code, _)| (!EVIDENCE_REFUSALS.contains(&code.as_str()), *party));
        Err(match unable.into_iter().next() {
            Some((_, code, _)) if !refused.iter().any(|(_, code, _)| past(code)) => {
                SignError::NotNow { code, reason, started: false }
            }
            _ => SignError::Aborted { reason, started: false },
        })
    }

    /// Sends a co-signer the entries that it lacks, and the package again. False when there is nothing new for it.
    async fn bring_up(&self, proposal: ProposalId, party: PartyIndex, have: Option<u64>) -> bool {
        let Some(log) = self.hub.log.get() else { return false };
        let mut next = have.map_or(0, |have| have.saturating_add(1));
        let mut sent = false;
        loop {
            let entries = match log.entries(next).await {
                Ok(entries) => entries,
                Err(reason) => {
                    tracing::warn!(%party, reason, "entries of the governance log cannot be read");
                    break;
                }
            };
            if entries.is_empty() {
                break;
            }
            next = next.saturating_add(entries.len() as u64);
            let mut state = self.hub.state();
            for entries in in_messages(entries) {
                sent = state.send(Mode::Sign, party, FromRelay::Governance { entries });
            }
        }
        let package = Box::new(self.package.clone());
        sent && self.hub.state().send(Mode::Sign, party, FromRelay::Propose { proposal, package })
    }

    /// Who signs: those with the least blame among whom are all that each of them wants to sign with.
    fn quorum(
        &self,
        blame: &BTreeMap<PartyIndex, u32>,
        accepted: &BTreeMap<PartyIndex, Acceptance>,
        needed: usize,
    ) -> Vec<PartyIndex> {
        let cheapest = least_blamed(blame, accepted.keys(), needed);
        if self.absent(&cheapest, accepted).is_empty() {
            return cheapest;
        }
        let all: Vec<PartyIndex> = accepted.keys().copied().collect();
        if all.len() > MANY {
            return self.with_demanded(blame, accepted, needed);
        }
        let subsets = (0u32..1 << all.len()).filter(|subset| subset.count_ones() as usize == needed);
        let signers = |subset: u32| -> Vec<PartyIndex> {
            (0u32..)
                .zip(&all)
                .filter(|(place, _)| subset >> place & 1 == 1)
                .map(|(_, party)| *party)
                .collect()
        };
        let total = |signers: &Vec<PartyIndex>| -> u64 {
            signers.iter().map(|party| u64::from(blame.get(party).copied().unwrap_or(0))).sum()
        };
        let complete = subsets.map(signers).filter(|signers| self.absent(signers, accepted).is_empty());
        complete.min_by_key(total).unwrap_or(cheapest)
    }

    /// One of each demanded party first, those with the least blame, and then whoever has the least.
    fn with_demanded(
        &self,
        blame: &BTreeMap<PartyIndex, u32>,
        accepted: &BTreeMap<PartyIndex, Acceptance>,
        needed: usize,
    ) -> Vec<PartyIndex> {
        let order = least_blamed(blame, accepted.keys(), accepted.len());
        let demanded: BTreeSet<PartyRole> =
            accepted.values().flat_map(|acceptance| &acceptance.with).copied().collect();
        let first = |role: PartyRole| order.iter().copied().find(|party| self.role(*party) == Some(role));
        let mut signers: Vec<PartyIndex> = demanded.into_iter().filter_map(first).collect();
        signers.extend(order.iter().filter(|party| !signers.contains(party)).copied().collect::<Vec<_>>());
        signers.truncate(needed);
        signers.sort_unstable();
        signers
    }

    fn role(&self, party: PartyIndex) -> Option<PartyRole> {
        self.hub.parties.iter().find(|known| known.index == party).map(|known| known.role)
    }

    /// Whom one of these signers demands, and who is not among them.
    fn absent(
        &self,
        signers: &[PartyIndex],
        accepted: &BTreeMap<PartyIndex, Acceptance>,
    ) -> BTreeSet<PartyRole> {
        let present: BTreeSet<PartyRole> = signers.iter().filter_map(|party| self.role(*party)).collect();
        let wanted = signers.iter().filter_map(|signer| accepted.get(signer)).flat_map(|it| &it.with);
        wanted.filter(|role| !present.contains(role)).copied().collect()
    }

    /// Whether no answer that is still to come could give a better quorum than the one that has accepted.
    fn settled(
        &self,
        blame: &BTreeMap<PartyIndex, u32>,
        accepted: &BTreeMap<PartyIndex, Acceptance>,
        waiting: &[PartyIndex],
        needed: usize,
    ) -> bool {
        best_is_known(blame, accepted.keys(), waiting, needed)
            && self.absent(&self.quorum(blame, accepted, needed), accepted).is_empty()
    }

    fn not_enough(&self, available: usize) -> SignError {
        SignError::NotEnoughSigners {
            scheme: self.key.scheme,
            needed: self.key.threshold,
            available: u16::try_from(available).unwrap_or(u16::MAX),
        }
    }

    fn propose(&self) -> Result<(Proposal, mpsc::UnboundedReceiver<ProposalEvent>), SignError> {
        let needed = usize::from(self.key.threshold);
        let (sender, events) = mpsc::unbounded_channel();
        let id = ProposalId::random();
        let mut state = self.hub.state();
        let candidates: Vec<PartyIndex> = state
            .online()
            .filter(|party| state.records.get(party).is_some_and(|record| record.keys.contains(self.key)))
            .collect();
        if candidates.len() < needed {
            return Err(self.not_enough(candidates.len()));
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
    pub(super) async fn run(&self, quorum: &Quorum, done: &mut BTreeMap<usize, SignatureBytes>) -> Outcome {
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
        let mut blamed: BTreeSet<PartyIndex> = BTreeSet::new();
        while let Some((index, result)) = sessions.next().await {
            match result {
                Ok(signature) => {
                    outcome.started = true;
                    done.insert(index, signature);
                }
                Err(failure) => {
                    outcome.started |= failure.started;
                    blamed.extend(failure.blamed);
                    outcome.failure.get_or_insert(failure.reason);
                }
            }
        }
        if outcome.failure.is_some() {
            let (now, mut state) = (self.hub.clock.now(), self.hub.state());
            for signer in &quorum.signers {
                state.add_blame(*signer, if blamed.contains(signer) { SUSPECT } else { PRESENT }, now);
            }
        }
        outcome
    }

    fn blame(&self, parties: &[PartyIndex]) -> BTreeMap<PartyIndex, u32> {
        let (now, state) = (self.hub.clock.now(), self.hub.state());
        parties.iter().map(|party| (*party, state.blame(*party, now))).collect()
    }

    fn record_refusal(&self, party: PartyIndex, code: &str, reason: &str) {
        tracing::warn!(%party, code, reason, "co-signer refused");
        let now = self.hub.clock.now();
        if let Some(record) = self.hub.state().records.get_mut(&party) {
            record.refusals += 1;
            record.last_refusal = Some((code.to_owned(), reason.to_owned(), now));
        }
        watch::refusal(self.hub, party, code);
    }
}

/// Nobody began a session: those who accept would refuse to, without these.
fn required(absent: &BTreeSet<PartyRole>, why: &[String]) -> SignError {
    let absent: Vec<String> = absent.iter().map(|role| format!("{role:?}")).collect();
    let why = if why.is_empty() { String::from("it is not online") } else { why.join("; ") };
    let reason = format!(
        "{SIGNERS_REQUIRED}: the policy requires a co-signer of {}, and no quorum of those who accept has one: {why}",
        absent.join(" and of ")
    );
    SignError::NotNow { code: SIGNERS_REQUIRED.into(), reason, started: false }
}

fn least_blamed<'a>(
    blame: &BTreeMap<PartyIndex, u32>,
    parties: impl Iterator<Item = &'a PartyIndex>,
    needed: usize,
) -> Vec<PartyIndex> {
    let mut parties: Vec<PartyIndex> = parties.copied().collect();
    parties.sort_by_key(|party| (blame.get(party).copied().unwrap_or(0), *party));
    parties.truncate(needed);
    parties
}

/// Whether no answer that is still to come could give a quorum with less blame than the one that has accepted.
fn best_is_known<'a>(
    blame: &BTreeMap<PartyIndex, u32>,
    accepted: impl Iterator<Item = &'a PartyIndex> + Clone,
    waiting: &'a [PartyIndex],
    needed: usize,
) -> bool {
    let total = |parties: &[PartyIndex]| -> u64 {
        parties.iter().map(|party| u64::from(blame.get(party).copied().unwrap_or(0))).sum()
    };
    let now = least_blamed(blame, accepted.clone(), needed);
    now.len() == needed && total(&now) <= total(&least_blamed(blame, accepted.chain(waiting), needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One hostile party in 2 of 3 accuses whomever it signs with.
    #[test]
    fn the_honest_pair_is_chosen_whatever_one_hostile_party_says() {
        for hostile in (0..3).map(PartyIndex) {
            let all: Vec<PartyIndex> = (0..3).map(PartyIndex).collect();
            let mut blame = BTreeMap::new();
            let mut failures = 0;
            loop {
                let quorum = least_blamed(&blame, all.iter(), 2);
                if !quorum.contains(&hostile) {
                    break;
                }
                failures += 1;
                assert!(failures < 3, "party {hostile} stopped the honest pair");
                for party in quorum {
                    *blame.entry(party).or_default() += SUSPECT;
                }
            }
        }
    }

    #[test]
    fn less_blamed_parties_are_waited_for_and_equal_ones_are_not() {
        let party = PartyIndex;
        let blame = BTreeMap::from([(party(1), SUSPECT)]);
        assert!(!best_is_known(&blame, [party(0), party(1)].iter(), &[party(2)], 2));
        assert!(best_is_known(&blame, [party(0), party(2)].iter(), &[party(1)], 2));
        assert!(best_is_known(&BTreeMap::new(), [party(0), party(1)].iter(), &[party(2)], 2));
        assert!(!best_is_known(&blame, [party(0)].iter(), &[party(1)], 2), "not enough yet");
    }
}
