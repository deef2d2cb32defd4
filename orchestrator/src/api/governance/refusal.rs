//! Why a change was refused, as a problem. Its `type` ends with the stable code of the refusal.

use crate::{
    api::problem::{FieldError, Problem},
    governance::ChangeError,
};
use axum::http::StatusCode;

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let (code, text) = (error.code(), error.to_string());
        match error {
            ChangeError::Governance(error) => error.into(),
            ChangeError::Unknown => Self::not_found("change"),
            ChangeError::TooMany => Self::not_now(text),
            ChangeError::Policy(problems) => {
                let field = |problem: bursar_domain::governance::policy::Problem| {
                    FieldError::new(format!("document.change.policy.{}", problem.path), problem.message)
                };
                Self::invalid(problems.into_iter().map(field).collect())
            }
            ChangeError::Destination(error) => Self::invalid_field("document.change.entry", error),
            ChangeError::Sanctioned(_) => {
                let title = "The screening found the address on a sanctions list";
                Self::governance(StatusCode::UNPROCESSABLE_ENTITY, code, title, text)
            }
            ChangeError::Refused(_) => {
                let (status, title) = match code {
                    "MAY_NOT_PROPOSE" | "MAY_NOT_APPROVE" => {
                        (StatusCode::FORBIDDEN, "This user may not do that")
                    }
                    "PLACE" => (StatusCode::CONFLICT, "Another entry took its place in the log"),
                    "TOO_EARLY" => (StatusCode::CONFLICT, "The change still waits for its delay"),
                    _ => (StatusCode::UNPROCESSABLE_ENTITY, "The log does not take this change"),
                };
                Self::governance(status, code, title, text)
            }
        }
    }
}
