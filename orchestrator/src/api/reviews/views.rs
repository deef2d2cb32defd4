//! How screenings and releases look.

use crate::api::wire::time;
use bursar_domain::{
    governance::{
        log::EntryDigest,
        policy::RiskBand,
        verdict::{Exhibit, InvalidRelease, Screened, SignedVerdict},
    },
    lifecycle::Transfer,
    screening::{Assessment, Finding, Unanswered},
    time::Timestamp,
};
use bursar_store::{
    reviews::StoredRelease,
    screenings::{Progress, Screening},
};
use bursar_workers::screening::standing::{Evidence, Standing};
use serde::Serialize;
use utoipa::ToSchema;

/// One round of asking the screening service.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScreeningView {
    /// From 0; each screening again is the next.
    pub round: u32,
    /// `PENDING`, `COMPLETE` or `FAILED`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "LOW")]
    pub risk: Option<RiskBand>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sanctions: Option<bool>,
    /// `CLEAR`, `REVIEW` or `BLOCK`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub outcome: Option<Screened>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screened_at: Option<String>,
    /// It does not count from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// The provider's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What the signature of the verdict is over, and what a release names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Who signed the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The verdict as it was signed; where compliance alone looks. Times are microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub signed_verdict: Option<SignedVerdict>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub failure: Option<Unanswered>,
    /// How often it was asked in vain.
    pub attempts: u32,
    /// What was found; where compliance alone looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<FindingView>>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingView {
    pub category: String,
    #[schema(value_type = String)]
    pub risk: RiskBand,
    pub description: String,
}

impl From<&Finding> for FindingView {
    fn from(finding: &Finding) -> Self {
        let Finding { category, risk, description } = finding.clone();
        Self { category, risk, description }
    }
}

/// `findings`: whether to show what was found.
pub fn screening(screening: &Screening, findings: bool) -> ScreeningView {
    let mut view = ScreeningView {
        round: screening.round,
        state: "PENDING",
        provider: None,
        risk: None,
        sanctions: None,
        outcome: None,
        screened_at: None,
        expires_at: None,
        reference: None,
        verdict: None,
        signed_by: None,
        signed_verdict: None,
        failure: None,
        attempts: screening.attempts,
        findings: None,
    };
    match &screening.progress {
        Progress::Pending { reference, failure, .. } => {
            view.reference.clone_from(reference);
            view.failure.clone_from(failure);
        }
        Progress::Failed(failure) => {
            view.state = "FAILED";
            view.failure = Some(failure.clone());
        }
        Progress::Complete { assessment, verdict } => {
            let Assessment { provider, risk, sanctions, outcome, screened_at, expires_at, reference, .. } =
                assessment;
            view.state = "COMPLETE";
            view.provider = Some(provider.clone());
            view.risk = Some(*risk);
            view.sanctions = Some(*sanctions);
            view.outcome = Some(*outcome);
            view.screened_at = Some(time(*screened_at));
            view.expires_at = Some(time(*expires_at));
            view.reference = Some(reference.clone());
            view.verdict = verdict.as_ref().map(|signed| hex::encode(signed.verdict.digest()));
            view.signed_by = verdict.as_ref().map(|signed| signed.signature.user.to_string());
            view.signed_verdict = verdict.clone().filter(|_| findings);
            view.findings = findings.then(|| assessment.findings.iter().map(FindingView::from).collect());
        }
    }
    view
}

/// Whose signatures let a transfer go.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NeedsView {
    /// `OFFICER_AND_LEAD`: a compliance officer and a compliance lead, over a release that names the verdict. `TWO_LEADS`: two compliance
    /// leads, over one without a verdict, for a day at most. `NOBODY`: the screening forbids it. `NO_LOG`: nothing is governed, so nobody can
    /// release it: screen it again, or abort it. `TRAVEL_RULE`: no signature does, but the data, or an outcome (docs/travel-rule.md).
    pub signatures: &'static str,
    /// What the release names as `verdict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// What it names as `genesis`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub genesis: Option<EntryDigest>,
}

pub fn needs(evidence: &Evidence, stands: &Standing) -> NeedsView {
    let verdict = evidence.release_names().map(|digest| hex::encode(digest.0));
    let signatures = match (stands, &evidence.log, &verdict) {
        (Standing::Blocked { .. }, ..) => "NOBODY",
        (_, None, _) => "NO_LOG",
        (_, Some(_), Some(_)) => "OFFICER_AND_LEAD",
        (_, Some(_), None) => "TWO_LEADS",
    };
    NeedsView { signatures, verdict, genesis: evidence.log.as_ref().map(|log| log.genesis_digest()) }
}

/// Of what the travel rule holds.
pub fn needs_travel_rule(evidence: &Evidence) -> NeedsView {
    let genesis = evidence.log.as_ref().map(|log| log.genesis_digest());
    NeedsView { signatures: "TRAVEL_RULE", verdict: None, genesis }
}

/// A release, and whether it counts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseView {
    /// What is signed.
    pub digest: String,
    /// The verdict that it releases from; absent where it stands in for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    pub reason: String,
    /// What it rests on: documents by SHA-256, and records by URI (docs/compliance.md). One without evidence does not count.
    #[schema(value_type = Vec<Object>)]
    pub evidence: Vec<Exhibit>,
    pub released_at: String,
    /// It does not count from then on.
    pub expires_at: String,
    pub signed_by: Vec<String>,
    /// Whether it has what it needs, for what is held now.
    pub counts: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    pub received_at: String,
    /// What is signed, to be signed by another: microseconds since 1970.
    #[schema(value_type = Object)]
    pub release: bursar_domain::governance::verdict::Release,
}

pub fn release(
    evidence: &Evidence,
    transfer: &Transfer,
    stored: StoredRelease,
    now: Timestamp,
) -> ReleaseView {
    let StoredRelease { signed, received_at, .. } = stored;
    let examined = evidence.examine(transfer, &signed, now);
    let missing = match &examined {
        None => Some("nobody of the log initiated this transfer".to_owned()),
        Some(examined) => examined.as_ref().err().map(InvalidRelease::to_string),
    };
    let release = signed.release;
    ReleaseView {
        digest: hex::encode(release.digest()),
        verdict: release.verdict.map(|digest| hex::encode(digest.0)),
        reason: release.reason.clone(),
        evidence: release.evidence.clone(),
        released_at: time(release.released_at),
        expires_at: time(release.expires_at),
        signed_by: signed.signatures.iter().map(|signature| signature.user.to_string()).collect(),
        counts: missing.is_none(),
        missing,
        received_at: time(received_at),
        release,
    }
}
