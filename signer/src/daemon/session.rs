//! One signing session: its terms checked, its id burnt, then the protocol over the mesh.

use super::{
    Cosigner,
    link::{Pending, Shared},
};
use crate::{
    mesh::{Inbound, Mesh, MeshError},
    protocol::{self, Share, SignParams},
    store::Counter,
    verify::{Allowed, Refusal, RefusalCode},
};
use bursar_domain::{
    canonical::Canonical,
    package::SigningPackage,
    signing::{PartyIndex, PartyRole, SignatureBytes, SigningPayload},
    time::Timestamp,
};
use bursar_signer_client::{
    PublicIdentity,
    message::{ProposalId, SessionFailure, SessionId, SessionTerms, Start},
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};
use tracing::Instrument as _;

/// A session whose terms this party found right.
pub(super) struct Plan {
    session: SessionId,
    package: Arc<SigningPackage>,
    allowed: Arc<Allowed>,
    /// When this party accepted it.
    accepted_at: Timestamp,
    payload: SigningPayload,
    share: Arc<Share>,
    members: Vec<(PartyIndex, PublicIdentity)>,
    /// This party's place among the members.
    me: u16,
}

/// Checks a start against what this party accepted. The session id must follow from the terms, and this party's own fresh
/// nonce must be among them: so it is new whatever the orchestrator does. Each payload starts once for each acceptance.
pub(super) fn plan(
    cosigner: &Cosigner,
    pending: &mut HashMap<ProposalId, Pending>,
    start: Start,
) -> Result<Plan, Refusal> {
    let wrong = |reason: &str| Refusal::new(RefusalCode::SessionTerms, reason);
    let pending = pending.get_mut(&start.proposal).ok_or(wrong("this party accepted no such proposal"))?;
    let payload = pending
        .allowed
        .payloads
        .get(start.payload as usize)
        .ok_or(wrong("payload: the transaction needs fewer signatures"))?;
    let share = cosigner
        .shares
        .get(&payload.scheme)
        .ok_or(Refusal::new(RefusalCode::NoKey, format!("no {} share", payload.scheme)))?;
    let key = share.group_key();
    if start.signers.len() != usize::from(key.threshold) || start.nonces.len() != start.signers.len() {
        return Err(wrong("signers: as many as the key's threshold are needed, with a nonce of each"));
    }
    if !start.signers.is_sorted_by(|a, b| a < b) {
        return Err(wrong("signers: must be distinct and in ascending order"));
    }
    let place = start.signers.iter().position(|signer| *signer == cosigner.config.index);
    let place = place.ok_or(wrong("signers: this party is not among them"))?;
    if start.nonces[place] != pending.nonce {
        return Err(wrong("nonces: this party's own is not there"));
    }
    let terms = SessionTerms {
        package: pending.allowed.digest,
        payload: start.payload,
        scheme: payload.scheme,
        key: &key,
        signers: &start.signers,
        nonces: &start.nonces,
        attempt: start.attempt,
    };
    if terms.id() != start.session {
        return Err(wrong("session: the id does not follow from the terms"));
    }
    let member = |signer: &PartyIndex| match cosigner.config.peer(*signer) {
        _ if *signer == cosigner.config.index => Some((*signer, cosigner.identity.public())),
        peer => peer.map(|peer| (*signer, peer.public_key)),
    };
    let members: Option<Vec<_>> = start.signers.iter().map(member).collect();
    let members = members.ok_or(wrong("signers: one of them is not a party that this one knows"))?;
    if !pending.started.insert(start.payload) {
        return Err(Refusal::new(RefusalCode::SessionReused, "this payload's session was started before"));
    }
    Ok(Plan {
        session: start.session,
        package: pending.package.clone(),
        allowed: pending.allowed.clone(),
        accepted_at: pending.at,
        payload: payload.clone(),
        share: share.clone(),
        members,
        me: u16::try_from(place).map_err(|_| wrong("signers: too many"))?,
    })
}

pub(super) async fn run(
    shared: &Shared,
    plan: Plan,
    inbound: Inbound,
) -> Result<SignatureBytes, SessionFailure> {
    let span = tracing::info_span!("session", transfer = %plan.package.transfer, session = %plan.session);
    let cosigner = shared.cosigner.clone();
    async move {
        let result = sign(shared, plan, inbound).await;
        match &result {
            Ok(_) => tracing::info!("signed"),
            Err(failure) => tracing::warn!(reason = failure.reason, "session failed"),
        }
        let counter = if result.is_ok() { Counter::Completed } else { Counter::Failed };
        // The orchestrator need not wait for it.
        tokio::task::spawn_blocking(move || {
            if let Err(error) = cosigner.store.count(counter) {
                tracing::error!(%error, "a session could not be counted");
            }
        });
        result
    }
    .instrument(span)
    .await
}

async fn sign(shared: &Shared, plan: Plan, inbound: Inbound) -> Result<SignatureBytes, SessionFailure> {
    let Plan { session, package, allowed, accepted_at, payload, share, members, me } = plan;
    let wanted = shared.still_wanted(&package, &allowed, accepted_at).await;
    wanted.map_err(|refusal| failure(refusal.to_string(), None))?;
    let execution_id = execution_id(session, &payload);
    let roles = members.iter().filter_map(|(party, _)| shared.cosigner.config.role_of(*party)).collect();
    burn(&shared.cosigner, session, package, allowed.clone(), payload.message.clone(), roles).await?;
    let signers: Vec<u16> = members.iter().map(|(party, _)| party.0).collect();
    let mesh = Mesh {
        identity: shared.cosigner.identity.clone(),
        me: shared.cosigner.config.index,
        members: members.clone(),
        session,
        binding: Canonical::new("bursar/binding/v1").bytes(&allowed.digest.0).bytes(&execution_id).digest(),
    };
    let params = SignParams { execution_id, me, signers, payload };
    let run = mesh.run(inbound, shared.outbound.clone(), |wire| protocol::sign(share, params, wire));
    match tokio::time::timeout(shared.cosigner.config.session_deadline(), run).await {
        Ok(Ok(Ok(signature))) => Ok(signature),
        Ok(Ok(Err(error))) => Err(failure(error.to_string(), None)),
        Ok(Err(error)) => {
            let blamed = MeshError::blamed(&error);
            Err(failure(error.to_string(), blamed))
        }
        Err(_) => Err(failure("the session was not finished in time".to_owned(), None)),
    }
}

/// Decides again (time has passed since the proposal), then burns the session id and records the part taken, on disk.
async fn burn(
    cosigner: &Arc<Cosigner>,
    session: SessionId,
    package: Arc<SigningPackage>,
    allowed: Arc<Allowed>,
    message: Vec<u8>,
    members: BTreeSet<PartyRole>,
) -> Result<(), SessionFailure> {
    let cosigner = cosigner.clone();
    let burnt = tokio::task::spawn_blocking(move || {
        cosigner.take_part(session, &message, &package, &allowed, &members)
    })
    .await;
    match burnt {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refusal)) => Err(failure(refusal.to_string(), None)),
        Err(_) => Err(failure("this party failed; see its log".to_owned(), None)),
    }
}

pub(super) const fn failure(reason: String, blamed: Option<PartyIndex>) -> SessionFailure {
    SessionFailure { reason, blamed }
}

fn execution_id(session: SessionId, payload: &SigningPayload) -> [u8; 32] {
    Canonical::new("bursar/execution/v1")
        .bytes(&session.0)
        .text(payload.scheme)
        .text(payload.path)
        .bytes(&payload.message)
        .number(payload.taproot_tweak.into())
        .digest()
}
