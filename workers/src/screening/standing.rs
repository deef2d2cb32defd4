//! What an order's screening says now, by the log, the clock and the releases as they are.

use crate::{authorization, context::Context, engine::StepError};
use bursar_domain::{
    governance::{
        directory::User,
        policy,
        state::State,
        verdict::{NotScreened, ScreeningCheck, SignedRelease, SignedVerdict, VerdictDigest},
    },
    lifecycle::{Fact, SubStatus, Transfer},
    screening::{Assessment, Screened},
    time::Timestamp,
};
use bursar_store::{
    WriteTx, reviews,
    screenings::{self, Progress, Screening, Subject},
};
use std::{collections::BTreeSet, sync::Arc};

/// Whether an order may go on as far as its screening goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Passes,
    /// There is no answer yet, or it does not count any more: ask in a new round.
    Lapsed {
        reason: String,
    },
    /// The answer cannot be used: nobody whom the policy names signed it.
    Unusable {
        reason: String,
    },
    /// For people to decide.
    Held {
        sub_status: SubStatus,
        reason: String,
    },
    /// Nobody can release it.
    Blocked {
        reason: String,
    },
}

impl Standing {
    /// What it says, if it does not pass.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Passes => None,
            Self::Lapsed { reason }
            | Self::Unusable { reason }
            | Self::Held { reason, .. }
            | Self::Blocked { reason } => Some(reason),
        }
    }
}

/// All that the standing follows from.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The last round that is settled.
    pub settled: Option<Screening>,
    pub releases: Vec<SignedRelease>,
    /// The governance log, where there is one.
    pub log: Option<Arc<State>>,
}

pub async fn evidence(context: &Context, transfer: &Transfer) -> Result<Evidence, StepError> {
    let store = &context.store;
    let log = context.log().await?;
    let settled = screenings::settled(store, Subject::Transfer(transfer.id)).await?;
    let releases = reviews::releases(store, transfer.id).await?;
    Ok(Evidence { settled, releases: signed(releases), log })
}

/// As [`evidence`], within a transaction.
pub async fn evidence_in(
    tx: &mut WriteTx,
    context: &Context,
    transfer: &Transfer,
) -> Result<Evidence, StepError> {
    let log = context.log_in(tx).await?;
    let settled = screenings::settled_in(tx, Subject::Transfer(transfer.id)).await?;
    let releases = reviews::releases_in(tx, transfer.id).await?;
    Ok(Evidence { settled, releases: signed(releases), log })
}

fn signed(stored: Vec<reviews::StoredRelease>) -> Vec<SignedRelease> {
    stored.into_iter().map(|stored| stored.signed).collect()
}

/// What a transfer's screening says now; passes where there is no service to ask.
pub async fn of(context: &Context, transfer: &Transfer) -> Result<Standing, StepError> {
    if !asks_about(context, transfer) {
        return Ok(Standing::Passes);
    }
    Ok(evidence(context, transfer).await?.standing(transfer, context.now()))
}

/// Whether there is a service to ask, and somebody to ask about: a filler pays nobody.
pub fn asks_about(context: &Context, transfer: &Transfer) -> bool {
    context.screening.is_some() && transfer.intent.intent.fills.is_none()
}

/// Why what was screened must be screened again before it is signed.
pub(crate) async fn lapsed(context: &Context, transfer: &Transfer) -> Result<Option<Fact>, StepError> {
    let standing = of(context, transfer).await?;
    Ok(standing.reason().map(|reason| Fact::ScreeningLapsed { reason: reason.to_owned() }))
}

/// What goes to the co-signers: the verdict that counts, and the releases that do.
pub(crate) fn to_co_signers(
    evidence: &Evidence,
    transfer: &Transfer,
    now: Timestamp,
) -> (Option<SignedVerdict>, Vec<SignedRelease>) {
    let verdict = evidence.verdict().cloned();
    let releases = evidence.releases.iter().filter(|release| evidence.counts(transfer, release, now));
    (verdict, releases.take(bursar_domain::governance::authorization::MAX_RELEASES).cloned().collect())
}

impl Evidence {
    pub fn standing(&self, transfer: &Transfer, now: Timestamp) -> Standing {
        match self.settled.as_ref().map(|settled| &settled.progress) {
            None | Some(Progress::Pending { .. }) => self.without_answer(transfer, now, || {
                Standing::Lapsed { reason: "it has not been screened yet".into() }
            }),
            Some(Progress::Failed(failure)) => self.without_answer(transfer, now, || Standing::Held {
                sub_status: SubStatus::ScreeningUnavailable,
                reason: failure.to_string(),
            }),
            Some(Progress::Complete { assessment, verdict }) => {
                self.answered(transfer, assessment, verdict.as_ref(), now)
            }
        }
    }

    /// Two leads may stand in for an answer.
    fn without_answer(
        &self,
        transfer: &Transfer,
        now: Timestamp,
        otherwise: impl FnOnce() -> Standing,
    ) -> Standing {
        match self.releases.iter().any(|release| self.counts(transfer, release, now)) {
            true => Standing::Passes,
            false => otherwise(),
        }
    }

    fn answered(
        &self,
        transfer: &Transfer,
        assessment: &Assessment,
        verdict: Option<&SignedVerdict>,
        now: Timestamp,
    ) -> Standing {
        let review = || Standing::Held {
            sub_status: SubStatus::ScreeningReview,
            reason: format!("held for review: {}", words(assessment)),
        };
        let blocked =
            || Standing::Blocked { reason: format!("the screening forbids it: {}", words(assessment)) };
        // Under a policy that asks for screening, only what the co-signers will accept counts.
        if let Some((log, initiator, screening)) = self.demanded(transfer) {
            let check = check(log, transfer, initiator, screening, now);
            // (Without its verdict a bypass would do, although there is an answer.)
            let Some(verdict) = verdict else {
                return Standing::Unusable { reason: "the answer has no verdict".into() };
            };
            return match check.pass(Some(verdict), &self.releases) {
                Ok(_) => Standing::Passes,
                Err(NotScreened::NeedsRelease) => review(),
                Err(NotScreened::Blocked) => blocked(),
                Err(stale @ NotScreened::Stale) => Standing::Lapsed { reason: stale.to_string() },
                Err(unusable) => Standing::Unusable { reason: unusable.to_string() },
            };
        }
        if assessment.sanctions || assessment.outcome == Screened::Block {
            return blocked();
        }
        if !assessment.fresh(now) {
            return Standing::Lapsed { reason: NotScreened::Stale.to_string() };
        }
        let released = || self.releases.iter().any(|release| self.counts(transfer, release, now));
        match assessment.outcome {
            Screened::Review if !released() => review(),
            _ => Standing::Passes,
        }
    }

    fn initiator(&self, transfer: &Transfer) -> Option<(&State, &User)> {
        let log = self.log.as_deref()?;
        Some((log, authorization::initiator(log, transfer)?))
    }

    /// The policy's demand, for an order of somebody whom the log knows. (Anybody else's is rejected for that.)
    fn demanded(&self, transfer: &Transfer) -> Option<(&State, &User, &policy::Screening)> {
        let (log, initiator) = self.initiator(transfer)?;
        Some((log, initiator, log.policy()?.policy.screening.as_ref()?))
    }

    /// The verdict that counts; none while the last round failed.
    pub fn verdict(&self) -> Option<&SignedVerdict> {
        match &self.settled.as_ref()?.progress {
            Progress::Complete { verdict, .. } => verdict.as_ref(),
            _ => None,
        }
    }

    /// What a release has to name now.
    pub fn release_names(&self) -> Option<VerdictDigest> {
        self.verdict().map(|signed| VerdictDigest(signed.verdict.digest()))
    }

    /// Whether a release has what it needs, for what is held now.
    pub fn counts(&self, transfer: &Transfer, release: &SignedRelease, now: Timestamp) -> bool {
        self.examine(transfer, release, now).is_some_and(|examined| examined.is_ok())
    }

    /// The same, and what it lacks; `None` without a log, or where the initiator is nobody's.
    pub fn examine(
        &self,
        transfer: &Transfer,
        release: &SignedRelease,
        now: Timestamp,
    ) -> Option<Result<(), bursar_domain::governance::verdict::InvalidRelease>> {
        let (log, initiator) = self.initiator(transfer)?;
        // Who may release does not depend on what the policy demands of verdicts.
        let any = policy::Screening { by: BTreeSet::new(), max_age_seconds: 0 };
        let check = check(log, transfer, initiator, &any, now);
        Some(match self.verdict() {
            Some(signed) => release.releases(&check, &signed.verdict),
            None => release.bypasses(&check),
        })
    }
}

fn check<'a>(
    log: &'a State,
    transfer: &Transfer,
    initiator: &'a User,
    screening: &'a policy::Screening,
    now: Timestamp,
) -> ScreeningCheck<'a> {
    ScreeningCheck {
        directory: log.directory(),
        genesis: log.genesis_digest(),
        intent: transfer.intent.intent.digest(),
        initiator: &initiator.id,
        screening,
        now,
    }
}

/// An assessment in a few words, without its findings.
pub fn words(assessment: &Assessment) -> String {
    let Assessment { provider, risk, sanctions, reference, .. } = assessment;
    let sanctions = if *sanctions { ", sanctions hit" } else { "" };
    format!("{provider} says risk {risk}{sanctions} ({reference})")
}
