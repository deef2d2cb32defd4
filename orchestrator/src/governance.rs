//! Changes of who may do what: taking them in, collecting their signatures, and appending them to the log when they are complete.
//!
//! Nothing here decides who may change what; replay does (`bursar_domain::governance::state`), here and at every co-signer. This refuses
//! early what no co-signer would take, and what is not meant to be published: a policy with problems, an address that is none.

mod address;
pub mod diff;
mod screened;
pub mod words;

pub use address::{InvalidDestinationOf, check_destination};

use bursar_domain::{
    audit::act::Signed,
    governance::{
        change::Change,
        directory::UserId,
        log::{Document, Entry, EntryDigest, Head},
        policy,
        role::Permission,
        signature::{Signature, add_missing},
        state::{Accepted, Effect, Refused, State},
    },
    ids::ApiKeyId,
    signing::PartyRole,
    time::Timestamp,
};
use bursar_store::{
    StoreError, WriteTx, events,
    governance::{self as kept, ChangeRequest, Outcome},
};
use bursar_workers::{
    Context,
    governance::{AppendError, Governance, GovernanceError},
};
use serde_json::json;
use std::collections::BTreeSet;

/// The most changes that wait for signatures at once.
pub const MAX_OPEN: u64 = 100;

/// What became of a change that was handed in or signed.
#[derive(Debug)]
pub enum Taken {
    /// It is in the log.
    Appended(Accepted),
    /// It was there before: whoever asks again may have missed the answer.
    AlreadyAppended(EntryDigest),
    Waits(ChangeRequest),
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("policy: has {} problem(s)", .0.len())]
    Policy(Vec<policy::Problem>),
    #[error(transparent)]
    Destination(#[from] InvalidDestinationOf),
    #[error("the address is not listed, whoever approves it: {0}")]
    Sanctioned(String),
    #[error(
        "{MAX_OPEN} changes wait for signatures already; complete some of them, or append another change, which closes them all"
    )]
    TooMany,
    #[error("no such change")]
    Unknown,
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Governance(error.into())
    }
}
impl From<AppendError> for ChangeError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Governance(error) => Self::Governance(error),
            AppendError::Refused(refused) => Self::Refused(refused),
        }
    }
}

impl ChangeError {
    /// For programs; never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Governance(_) => "UNAVAILABLE",
            Self::Refused(refused) => refused.code(),
            Self::Policy(_) => "POLICY",
            Self::Destination(_) => "DESTINATION",
            Self::Sanctioned(_) => "ADDRESS_SANCTIONED",
            Self::TooMany => "TOO_MANY",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Who must still sign a change before it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Approvals besides those that are there.
    pub approvals: usize,
    /// Parties besides those of the author and the approvers so far.
    pub parties: usize,
    /// Whose approval would count.
    pub may_approve: BTreeSet<UserId>,
}

/// Takes in a change with the signature of its author, and perhaps of others. What is complete is appended at once, the rest waits.
/// Handing it in again changes nothing, or adds the signatures that are new.
pub async fn propose(
    context: &Context,
    governance: &Governance,
    entry: Entry,
    by: ApiKeyId,
) -> Result<Taken, ChangeError> {
    let taken = take(context, governance, entry.clone(), by).await;
    tell_refusal(context, governance, &taken, &entry, entry.signatures.first().map(|first| &first.user), by)
        .await?;
    taken
}

/// Adds an approval to a change that waits, and appends it if that completes it. The author's signature is there already, and never
/// an approval.
pub async fn sign(
    context: &Context,
    governance: &Governance,
    digest: EntryDigest,
    signature: Signature,
    by: ApiKeyId,
) -> Result<Taken, ChangeError> {
    let change = kept::change(&context.store, digest).await?.ok_or(ChangeError::Unknown)?;
    let known = change.entry.signatures.contains(&signature);
    let user = signature.user.clone();
    let mut entry = change.entry;
    let document = entry.read().map_err(Refused::from)?;
    if !known {
        entry.signatures.push(signature);
    }
    let taken = if user == document.author {
        Err(Refused::MayNotApprove { user: user.clone(), change: document.change.name() }.into())
    } else {
        take(context, governance, entry.clone(), by).await
    };
    tell_refusal(context, governance, &taken, &entry, Some(&user), by).await?;
    taken
}

async fn take(
    context: &Context,
    governance: &Governance,
    mut entry: Entry,
    by: ApiKeyId,
) -> Result<Taken, ChangeError> {
    // First, for it bounds what follows.
    let document = entry.read().map_err(Refused::from)?;
    let digest = entry.digest();
    let log = governance.state(&context.store).await?;
    check(&log, &document.change)?;
    let screened = screened::address(context, &log, &document, &entry).await?;
    let now = context.now();
    let mut tx = context.store.write().await?;
    let there = kept::entries_in(&mut tx, document.seq, 1).await?;
    if there.first().is_some_and(|there| there.seq == document.seq && there.digest == digest) {
        return Ok(Taken::AlreadyAppended(digest));
    }
    let known = kept::change_in(&mut tx, digest).await?;
    if let Some(known) = &known {
        // The author's signature stays first. Of two signatures of one user the one that was handed in now is looked at.
        add_missing(&mut entry.signatures, &known.entry.signatures);
    }
    match governance.append(&mut tx, &entry, now).await {
        Ok(accepted) => {
            append_event(&mut tx, &accepted, &entry, by, now).await?;
            if let Some(screened) = screened {
                screened.keep(&mut tx, digest, now).await?;
            }
            tx.commit().await?;
            tracing::warn!(head = %accepted.head, change = accepted.change.name(), author = %accepted.author, "governance entry appended");
            Ok(Taken::Appended(accepted))
        }
        // All that is wrong with it is that others must sign, too.
        Err(AppendError::Refused(Refused::Approvals { .. } | Refused::Parties { .. })) => {
            let change = wait(&mut tx, known, document, entry, digest, by, now).await?;
            if let Some(screened) = screened {
                screened.keep(&mut tx, digest, now).await?;
            }
            tx.commit().await?;
            Ok(Taken::Waits(change))
        }
        Err(error) => Err(error.into()),
    }
}

/// What replay takes at its word, and people should not.
fn check(state: &State, change: &Change) -> Result<(), ChangeError> {
    match change {
        Change::SetPolicy { policy } => {
            let problems = policy::validate(policy, state.directory(), state.address_book());
            if problems.is_empty() { Ok(()) } else { Err(ChangeError::Policy(problems)) }
        }
        Change::PutAddress { entry } => Ok(check_destination(entry)?),
        _ => Ok(()),
    }
}

async fn wait(
    tx: &mut WriteTx,
    known: Option<ChangeRequest>,
    document: Document,
    entry: Entry,
    digest: EntryDigest,
    by: ApiKeyId,
    now: Timestamp,
) -> Result<ChangeRequest, ChangeError> {
    let payload = json!({
        "digest": digest,
        "seq": document.seq,
        "change": document.change.name(),
        "author": document.author,
        "signedBy": signers(&entry),
        "apiKey": by,
    });
    let signed = Signed::Change { digest, seq: document.seq, signatures: entry.signatures.clone() };
    let Some(known) = known else {
        if kept::open_changes(tx).await? >= MAX_OPEN {
            return Err(ChangeError::TooMany);
        }
        let outcome = Outcome::Open;
        let (seq, received_at) = (document.seq, now);
        let change = ChangeRequest { digest, seq, entry, outcome, received_at, updated_at: now };
        kept::insert_change(tx, &change).await?;
        events::append_signed(tx, "governance.change_proposed", None, now, &payload, &signed).await?;
        return Ok(change);
    };
    if known.entry.signatures == entry.signatures {
        return Ok(known);
    }
    kept::set_signatures(tx, digest, &entry.signatures, now).await?;
    events::append_signed(tx, "governance.change_signed", None, now, &payload, &signed).await?;
    Ok(ChangeRequest { entry, updated_at: now, ..known })
}

async fn append_event(
    tx: &mut WriteTx,
    accepted: &Accepted,
    entry: &Entry,
    by: ApiKeyId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let until = match accepted.effect {
        Effect::InForce => None,
        Effect::Waits { until } => Some(crate::api::wire::time(until)),
    };
    let payload = json!({
        "digest": accepted.head.digest,
        "seq": accepted.head.seq,
        "change": accepted.change.name(),
        "author": accepted.author,
        "signedBy": signers(entry),
        "inForce": until.is_none(),
        "waitsUntil": until,
        "apiKey": by,
    });
    let Head { seq, digest } = accepted.head;
    let signed = Signed::Change { digest, seq, signatures: entry.signatures.clone() };
    events::append_signed(tx, "governance.appended", None, now, &payload, &signed).await
}

/// Who tried what in vain is worth knowing, too. (The name is what the request said; nothing proves it.)
///
/// Each key has so many events, and then one now and then, which says how many there were without.
async fn tell_refusal(
    context: &Context,
    governance: &Governance,
    taken: &Result<Taken, ChangeError>,
    entry: &Entry,
    claimed: Option<&UserId>,
    by: ApiKeyId,
) -> Result<(), StoreError> {
    let Err(error) = taken else { return Ok(()) };
    if matches!(error, ChangeError::Governance(_)) {
        return Ok(());
    }
    tracing::warn!(code = error.code(), %error, ?claimed, "governance change refused");
    metrics::counter!("bursar_governance_refusals_total", "code" => error.code()).increment(1);
    let now = context.now();
    let Some(untold) = governance.may_tell_refusal(by, now) else { return Ok(()) };
    let document = entry.read().ok();
    let payload = json!({
        "code": error.code(),
        "reason": error.to_string(),
        "change": document.as_ref().map(|document| document.change.name()),
        "seq": document.as_ref().map(|document| document.seq),
        "claimedUser": claimed,
        "apiKey": by,
        "untold": untold,
    });
    let mut tx = context.store.write().await?;
    events::append(&mut tx, "governance.refused", None, now, &payload).await?;
    tx.commit().await
}

fn signers(entry: &Entry) -> Vec<&UserId> {
    entry.signatures.iter().map(|signature| &signature.user).collect()
}

/// Who must still sign, by the state at whose head the change is meant.
pub fn missing(state: &State, document: &Document, entry: &Entry) -> Missing {
    let class = document.change.class();
    let needs = state.needs(&document.change, &document.author);
    let Some(quorum) = needs.quorum else {
        return Missing { approvals: 0, parties: 0, may_approve: BTreeSet::new() };
    };
    let directory = state.directory();
    let signed = signers(entry);
    let parties: BTreeSet<PartyRole> =
        signed.iter().filter_map(|user| Some(directory.user(user)?.party)).collect();
    // Where the author gains, their own party's approvals do not count.
    let party = directory.user(&document.author).map(|author| author.party).filter(|_| needs.author_gains);
    let counts = |user: &UserId| directory.user(user).is_some_and(|user| Some(user.party) != party);
    let approvals = signed.iter().skip(1).filter(|user| counts(user)).count();
    let permission: Option<Permission> = class.approve();
    let concerned = document.change.concerns(directory);
    let may_approve = directory.users().filter(|user| {
        permission.is_some_and(|permission| user.may(permission))
            && user.can_sign()
            && !signed.contains(&&user.id)
            && !concerned.contains(&user.id)
            && counts(&user.id)
    });
    Missing {
        approvals: usize::from(quorum.approvals).saturating_sub(approvals),
        parties: usize::from(quorum.parties).saturating_sub(parties.len()),
        may_approve: may_approve.map(|user| user.id.clone()).collect(),
    }
}
