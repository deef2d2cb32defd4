//! How compliance people let through what a screening held, or could not answer.

use super::{Exhibit, InvalidEvidence, MAX_SIGNATURES, ScreeningCheck, Verdict, exhibit, officer_and_lead};
use crate::{
    canonical::Canonical,
    governance::{
        approval::CLOCK_SKEW,
        directory::{User, UserId},
        log::EntryDigest,
        role::Permission,
        signature::{InvalidSignature, Signature},
    },
    intent::IntentDigest,
    text::hex_bytes,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long two leads can stand in for a screening.
pub const MAX_BYPASS: Duration = Duration::from_secs(24 * 3600);

/// What is signed to let a transfer through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Release {
    /// The governance log under which it counts.
    pub genesis: EntryDigest,
    pub intent: IntentDigest,
    /// The verdict that held it; absent when there is none to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictDigest>,
    /// For the record: 1 to 500 characters.
    pub reason: String,
    /// What it rests on. It does not count without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Exhibit>,
    pub released_at: Timestamp,
    /// It does not count from then on.
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VerdictDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedRelease {
    pub release: Release,
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRelease {
    #[error("is for another desk, another intent or another verdict")]
    Other,
    #[error("reason: must be 1 to 500 characters without control characters")]
    Reason,
    #[error(transparent)]
    Evidence(#[from] InvalidEvidence),
    #[error("has expired, or is from the future, or lasts longer than a day without a verdict")]
    Time,
    #[error("signatures: at most {MAX_SIGNATURES}")]
    TooMany,
    #[error("signature: {0}")]
    Signature(#[from] InvalidSignature),
    #[error("{0} initiated this transfer and cannot release it")]
    Initiator(UserId),
    #[error("must be signed by a compliance officer and a compliance lead, two people")]
    OfficerAndLead,
    #[error("must be signed by two compliance leads, there being no verdict")]
    TwoLeads,
}

impl Release {
    pub fn canonical(&self) -> Canonical {
        let Self { genesis, intent, verdict, reason, evidence, released_at, expires_at } = self;
        // What was signed before there was evidence keeps its bytes.
        let domain = if evidence.is_empty() { "bursar/release/v2" } else { "bursar/release/v3" };
        let out = Canonical::new(domain)
            .bytes(&genesis.0)
            .bytes(&intent.0)
            .optional(verdict.map(|verdict| hex::encode(verdict.0)))
            .text(reason)
            .number(released_at.micros().cast_unsigned())
            .number(expires_at.micros().cast_unsigned());
        if evidence.is_empty() { out } else { exhibit::canonical(out, evidence) }
    }

    /// What each of the signatures is over.
    pub fn digest(&self) -> [u8; 32] {
        self.canonical().digest()
    }
}

impl SignedRelease {
    /// Whether it releases what `verdict` held for review.
    pub fn releases(&self, check: &ScreeningCheck, verdict: &Verdict) -> Result<(), InvalidRelease> {
        if self.release.verdict != Some(VerdictDigest(verdict.digest())) {
            return Err(InvalidRelease::Other);
        }
        let signers = self.signers(check)?;
        officer_and_lead(&signers).then_some(()).ok_or(InvalidRelease::OfficerAndLead)
    }

    /// Whether it stands in for a verdict that is not to be had.
    pub fn bypasses(&self, check: &ScreeningCheck) -> Result<(), InvalidRelease> {
        let Release { verdict, released_at, expires_at, .. } = &self.release;
        if verdict.is_some() {
            return Err(InvalidRelease::Other);
        }
        if expires_at.since(*released_at) > MAX_BYPASS {
            return Err(InvalidRelease::Time);
        }
        let mut signers = self.signers(check)?;
        signers.retain(|user| user.may(Permission::ReleaseAsLead));
        signers.sort_by_key(|user| &user.id);
        signers.dedup_by_key(|user| &user.id);
        (signers.len() >= 2).then_some(()).ok_or(InvalidRelease::TwoLeads)
    }

    /// Who signed, once everything else is in order. The same user may be there twice.
    fn signers<'d>(&self, check: &ScreeningCheck<'d>) -> Result<Vec<&'d User>, InvalidRelease> {
        let Release { genesis, intent, reason, evidence, released_at, expires_at, .. } = &self.release;
        if *genesis != check.genesis || *intent != check.intent {
            return Err(InvalidRelease::Other);
        }
        if !crate::governance::directory::is_label(reason, 500) {
            return Err(InvalidRelease::Reason);
        }
        exhibit::check(evidence)?;
        if check.now >= *expires_at || *released_at > check.now.plus(CLOCK_SKEW) {
            return Err(InvalidRelease::Time);
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(InvalidRelease::TooMany);
        }
        let digest = self.release.digest();
        let mut signers = Vec::with_capacity(self.signatures.len());
        for signature in &self.signatures {
            let user = signature.verify(check.directory, &digest)?.user;
            if user.id == *check.initiator {
                return Err(InvalidRelease::Initiator(user.id.clone()));
            }
            signers.push(user);
        }
        Ok(signers)
    }
}
