//! Why a decision about a review was refused, as a problem. Its `type` ends with a stable code.

use crate::api::{problem::Problem, transfers::approvals::unjudged};
use axum::http::StatusCode;
use bursar_domain::governance::verdict::{InvalidRejection, InvalidRelease};
use bursar_workers::{
    engine::{MoveError, StepError},
    screening::review::ReviewError,
};

pub fn undecided(error: StepError) -> Problem {
    match error {
        StepError::Move(MoveError::Stale) => Problem::not_now("it was moved meanwhile: look again"),
        error => unjudged(error),
    }
}

impl From<ReviewError> for Problem {
    fn from(error: ReviewError) -> Self {
        let text = error.to_string();
        match error {
            ReviewError::Step(error) => undecided(error),
            ReviewError::Unknown => Self::not_found("transfer or case"),
            ReviewError::NotHeld(_) | ReviewError::TooMany => Self::not_now(text),
            ReviewError::NoService => {
                Self::not_found("screening service: add [screening] to the configuration")
            }
            ReviewError::NotCompliance(_) => forbidden("RELEASE_NOT_COMPLIANCE", text),
            ReviewError::Release(refused) => release(&refused, text),
            ReviewError::Rejection(refused) => rejection(&refused, text),
        }
    }
}

fn forbidden(code: &str, text: String) -> Problem {
    Problem::governance(StatusCode::FORBIDDEN, code, "This user may not decide this", text)
}

fn release(refused: &InvalidRelease, text: String) -> Problem {
    let (status, code) = match refused {
        InvalidRelease::Other => (StatusCode::CONFLICT, "RELEASE_OTHER"),
        InvalidRelease::Time => (StatusCode::CONFLICT, "RELEASE_TIME"),
        InvalidRelease::Reason => (StatusCode::UNPROCESSABLE_ENTITY, "RELEASE_REASON"),
        InvalidRelease::Evidence(_) => (StatusCode::UNPROCESSABLE_ENTITY, "RELEASE_EVIDENCE"),
        InvalidRelease::TooMany => (StatusCode::UNPROCESSABLE_ENTITY, "RELEASE_TOO_MANY"),
        InvalidRelease::Signature(_) => (StatusCode::UNPROCESSABLE_ENTITY, "RELEASE_SIGNATURE"),
        InvalidRelease::Initiator(_) => return forbidden("RELEASE_INITIATOR", text),
        InvalidRelease::OfficerAndLead | InvalidRelease::TwoLeads => {
            (StatusCode::UNPROCESSABLE_ENTITY, "RELEASE_UNSIGNED")
        }
    };
    Problem::governance(status, code, "The release does not count", text)
}

fn rejection(refused: &InvalidRejection, text: String) -> Problem {
    let (status, code) = match refused {
        InvalidRejection::Other => (StatusCode::CONFLICT, "REJECTION_OTHER"),
        InvalidRejection::Reason => (StatusCode::UNPROCESSABLE_ENTITY, "REJECTION_REASON"),
        InvalidRejection::FromTheFuture => (StatusCode::UNPROCESSABLE_ENTITY, "REJECTION_FROM_THE_FUTURE"),
        InvalidRejection::Signature(_) => (StatusCode::UNPROCESSABLE_ENTITY, "REJECTION_SIGNATURE"),
        InvalidRejection::NotCompliance(_) => return forbidden("REJECTION_NOT_COMPLIANCE", text),
    };
    Problem::governance(status, code, "The rejection does not count", text)
}
