//! One session, as the relay sees it: started, forwarded, reported.

use crate::{
    hub::{Hub, Route, SessionEvent},
    message::{FromRelay, Mode, Nonce, ProposalId, SessionId, SessionTerms, Start},
    watch::{self, Ended},
};
use bursar_domain::{
    package::PackageDigest,
    signing::{GroupKey, PartyIndex, SignatureBytes, SigningPayload},
};
use std::{collections::BTreeSet, sync::Arc};
use tokio::{sync::mpsc, time::Instant};

pub(super) struct SessionPlan<'a> {
    pub proposal: ProposalId,
    pub package: PackageDigest,
    pub index: usize,
    pub payload: &'a SigningPayload,
    pub key: &'a GroupKey,
    pub signers: &'a [PartyIndex],
    pub nonces: &'a [Nonce],
}

pub(super) struct SessionFailed {
    pub started: bool,
    pub reason: String,
    pub blamed: Vec<PartyIndex>,
}

/// Takes the route away and tells the signers to stop, whatever the way out.
struct Open {
    hub: Arc<Hub>,
    session: SessionId,
    signers: Vec<PartyIndex>,
    finished: bool,
    /// Who may be at fault, where it was not finished.
    blamed: Vec<PartyIndex>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.sessions.remove(&self.session);
        for party in &self.signers {
            if let Some(record) = state.records.get_mut(party) {
                let ended = if self.finished {
                    Ended::Completed
                } else if self.blamed.contains(party) {
                    Ended::Failed
                } else {
                    Ended::Aborted
                };
                watch::session(*party, record, ended);
            }
            if !self.finished {
                state.send(Mode::Sign, *party, FromRelay::Abort { session: self.session });
            }
        }
    }
}

pub(super) async fn run_session(
    hub: &Arc<Hub>,
    plan: SessionPlan<'_>,
) -> Result<SignatureBytes, SessionFailed> {
    let deadline = Instant::now() + hub.deadlines.session;
    let (mut open, mut events) = start(hub, &plan)?;
    let mut waiting: BTreeSet<PartyIndex> = plan.signers.iter().copied().collect();
    let failed = |open: &mut Open, reason, blamed: Vec<PartyIndex>| {
        open.blamed.clone_from(&blamed);
        Err(SessionFailed { started: true, reason, blamed })
    };
    while !waiting.is_empty() {
        let event = match tokio::time::timeout_at(deadline, events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) | Err(_) => {
                let silent = waiting.into_iter().collect();
                return failed(&mut open, "the session was not finished in time".into(), silent);
            }
        };
        match event {
            SessionEvent::Gone { party } => {
                if waiting.contains(&party) {
                    return failed(
                        &mut open,
                        format!("party {party} went offline during the session"),
                        vec![party],
                    );
                }
            }
            SessionEvent::Done { party, result: Err(failure) } => {
                let reason = format!("party {party}: {}", failure.reason);
                // Nobody can prove who misbehaved: whoever accuses is as much in doubt as the accused.
                let accused = failure.blamed.filter(|accused| plan.signers.contains(accused));
                let result =
                    failed(&mut open, reason, accused.map_or_else(Vec::new, |accused| vec![party, accused]));
                if open.blamed.is_empty() {
                    open.blamed.push(party);
                }
                return result;
            }
            SessionEvent::Done { party, result: Ok(signature) } => {
                waiting.remove(&party);
                if let Err(reason) = super::verified(plan.key, plan.payload, &signature) {
                    watch::unusual(hub, party, "WRONG_SIGNATURE");
                    return failed(&mut open, format!("party {party}: {reason}"), vec![party]);
                }
                open.finished = true;
                // The others are a message behind: keep their route while they finish.
                tokio::spawn(drain(open, events, waiting, deadline));
                return Ok(signature);
            }
        }
    }
    failed(&mut open, "the session has no signers".into(), Vec::new())
}

async fn drain(
    open: Open,
    mut events: mpsc::UnboundedReceiver<SessionEvent>,
    mut waiting: BTreeSet<PartyIndex>,
    deadline: Instant,
) {
    while !waiting.is_empty() {
        let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.recv()).await else { break };
        let (SessionEvent::Done { party, .. } | SessionEvent::Gone { party }) = event;
        waiting.remove(&party);
    }
    drop(open);
}

fn start(
    hub: &Arc<Hub>,
    plan: &SessionPlan<'_>,
) -> Result<(Open, mpsc::UnboundedReceiver<SessionEvent>), SessionFailed> {
    let attempt = Nonce::random();
    let payload = u32::try_from(plan.index).map_err(|_| SessionFailed {
        started: false,
        reason: "too many payloads".into(),
        blamed: Vec::new(),
    })?;
    let session = SessionTerms {
        package: plan.package,
        payload,
        scheme: plan.key.scheme,
        key: plan.key,
        signers: plan.signers,
        nonces: plan.nonces,
        attempt,
    }
    .id();
    let start = Start {
        proposal: plan.proposal,
        session,
        payload,
        signers: plan.signers.to_vec(),
        nonces: plan.nonces.to_vec(),
        attempt,
    };
    let (sender, events) = mpsc::unbounded_channel();
    let mut state = hub.state();
    let online: BTreeSet<PartyIndex> = state.online().collect();
    let missing: Vec<PartyIndex> =
        plan.signers.iter().copied().filter(|signer| !online.contains(signer)).collect();
    if !missing.is_empty() {
        let reason = "a signer went offline before the session".to_owned();
        return Err(SessionFailed { started: false, reason, blamed: missing });
    }
    state.sessions.insert(session, Route { signers: plan.signers.to_vec(), events: sender });
    tracing::debug!(%session, signers = ?plan.signers, "session starts");
    for signer in plan.signers {
        state.send(Mode::Sign, *signer, FromRelay::Start(start.clone()));
    }
    drop(state);
    let signers = plan.signers.to_vec();
    Ok((Open { hub: hub.clone(), session, signers, finished: false, blamed: Vec::new() }, events))
}
