//! Screening verdicts: what a screening service signs about an intent, and how people release what it held.
//!
//! CLEAR lets the policy decide. REVIEW needs a release by a compliance officer and a compliance lead. BLOCK and a sanctions hit are final: nobody
//! releases them. When no verdict is to be had (an outage), two leads can stand in for one, for a day at most; the risk is then UNKNOWN.

mod disposition;
mod exhibit;
mod rejection;
mod release;

pub use disposition::{
    Bar, Disposition, DispositionAction, DispositionCheck, InvalidDisposition, SignedDisposition,
    UnknownAction,
};
pub use exhibit::{Exhibit, InvalidEvidence, MAX_EVIDENCE};
pub use rejection::{InvalidRejection, Rejection, SignedRejection};
pub use release::{InvalidRelease, MAX_BYPASS, Release, SignedRelease, VerdictDigest};

use super::{
    directory::{Directory, User, UserId},
    log::EntryDigest,
    policy::{RiskBand, Screening},
    role::Permission,
    signature::{InvalidSignature, Signature},
};
use crate::{canonical::Canonical, intent::IntentDigest, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// The most signatures of one release or disposition.
const MAX_SIGNATURES: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Screened {
    Clear,
    Review,
    Block,
}

/// What a screening found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdict {
    /// The governance log under which it counts; [`EntryDigest::NONE`] where there is none.
    pub genesis: EntryDigest,
    pub intent: IntentDigest,
    /// Which provider was asked, for people.
    pub provider: String,
    pub risk: RiskBand,
    /// A destination is on a sanctions list.
    pub sanctions: bool,
    pub outcome: Screened,
    pub screened_at: Timestamp,
    /// It does not count from then on.
    pub expires_at: Timestamp,
    /// The provider's own name for this screening, for people.
    pub reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedVerdict {
    pub verdict: Verdict,
    pub signature: Signature,
}

/// Why a transfer does not pass its screening.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotScreened {
    #[error("no screening verdict yet")]
    Missing,
    #[error("the verdict was made for another desk: it names another genesis than this log's")]
    OtherGenesis,
    #[error("the verdict is about another intent")]
    OtherIntent,
    #[error("the verdict's signature: {0}")]
    Signature(#[from] InvalidSignature),
    #[error(
        "{0} may not sign verdicts: it takes an INTEGRATION_SERVICE that the policy names under screening"
    )]
    NotScreener(UserId),
    #[error("the verdict has expired; screen again")]
    Stale,
    #[error("the verdict is from the future; the screening service's clock is ahead")]
    FromTheFuture,
    #[error("the screening blocks this transfer")]
    Blocked,
    #[error("held for review: a compliance officer and a compliance lead must release it")]
    NeedsRelease,
}

impl Verdict {
    pub fn canonical(&self) -> Canonical {
        let Self { genesis, intent, provider, risk, sanctions, outcome, screened_at, expires_at, reference } =
            self;
        let outcome = match outcome {
            Screened::Clear => "CLEAR",
            Screened::Review => "REVIEW",
            Screened::Block => "BLOCK",
        };
        Canonical::new("bursar/verdict/v2")
            .bytes(&genesis.0)
            .bytes(&intent.0)
            .text(provider)
            .text(risk)
            .number(u64::from(*sanctions))
            .text(outcome)
            .number(screened_at.micros().cast_unsigned())
            .number(expires_at.micros().cast_unsigned())
            .text(reference)
    }

    /// What the signature is over, and what a release names.
    pub fn digest(&self) -> [u8; 32] {
        self.canonical().digest()
    }

    pub fn fresh(&self, now: Timestamp, max_age: Duration) -> bool {
        now < self.expires_at && now.since(self.screened_at) <= max_age
    }
}

impl SignedVerdict {
    /// Whether it is signed by a service that is among the `screeners`. Says nothing about freshness.
    pub fn verify(&self, directory: &Directory, screeners: &BTreeSet<UserId>) -> Result<(), NotScreened> {
        screener(&self.signature, directory, &self.verdict.digest(), Some(screeners)).map(|_| ())
    }
}

/// Which screening service signed `digest`: one of `screeners`, where the policy names them, and else any of the directory.
pub(crate) fn screener<'d>(
    signature: &Signature,
    directory: &'d Directory,
    digest: &[u8; 32],
    screeners: Option<&BTreeSet<UserId>>,
) -> Result<&'d User, NotScreened> {
    let user = signature.verify(directory, digest)?.user;
    let named = screeners.is_none_or(|screeners| screeners.contains(&user.id));
    let may = user.may(Permission::Screen) && named;
    may.then_some(user).ok_or_else(|| NotScreened::NotScreener(user.id.clone()))
}

/// Whether a compliance lead is among them, and beside the lead a compliance officer or another lead. The same user may be there twice.
fn officer_and_lead(signers: &[&User]) -> bool {
    signers.iter().filter(|user| user.may(Permission::ReleaseAsLead)).any(|lead| {
        signers.iter().any(|other| other.id != lead.id && other.may(Permission::ReleaseAsOfficer))
    })
}

/// What a screening is held against.
#[derive(Debug, Clone, Copy)]
pub struct ScreeningCheck<'a> {
    pub directory: &'a Directory,
    /// Of the log that the directory is of.
    pub genesis: EntryDigest,
    pub intent: IntentDigest,
    /// Never releases their own transfer.
    pub initiator: &'a UserId,
    /// What the policy demands.
    pub screening: &'a Screening,
    pub now: Timestamp,
}

impl ScreeningCheck<'_> {
    /// The risk with which this transfer passes.
    pub fn pass(
        &self,
        verdict: Option<&SignedVerdict>,
        releases: &[SignedRelease],
    ) -> Result<RiskBand, NotScreened> {
        let Some(signed) = verdict else {
            let bypassed = releases.iter().any(|release| release.bypasses(self).is_ok());
            return if bypassed { Ok(RiskBand::Unknown) } else { Err(NotScreened::Missing) };
        };
        let verdict = &signed.verdict;
        if verdict.genesis != self.genesis {
            return Err(NotScreened::OtherGenesis);
        }
        if verdict.intent != self.intent {
            return Err(NotScreened::OtherIntent);
        }
        signed.verify(self.directory, &self.screening.by)?;
        if verdict.sanctions || verdict.outcome == Screened::Block {
            return Err(NotScreened::Blocked);
        }
        if verdict.screened_at > self.now.plus(super::approval::CLOCK_SKEW) {
            return Err(NotScreened::FromTheFuture);
        }
        if !verdict.fresh(self.now, Duration::from_secs(self.screening.max_age_seconds)) {
            return Err(NotScreened::Stale);
        }
        let released = || releases.iter().any(|release| release.releases(self, verdict).is_ok());
        if verdict.outcome == Screened::Review && !released() {
            return Err(NotScreened::NeedsRelease);
        }
        Ok(verdict.risk)
    }
}

#[cfg(test)]
mod tests;
