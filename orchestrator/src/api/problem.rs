//! Errors as RFC 9457 problem documents with a stable `type`.

use axum::{
    Json,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bursar_store::{Lack, StoreError};
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong, and in which field. `type` never changes its meaning; the texts may.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:bursar:problem:<name>`, see docs/problems.md.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The request's fields that are wrong, and the remedy of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldError {
    /// Path in the request body (`payments[0].amount`), or the name of a query parameter or header.
    pub field: String,
    pub message: String,
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

impl Problem {
    fn new(status: StatusCode, kind: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:bursar:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: None,
            errors: Vec::new(),
        }
    }
    fn detail(self, detail: impl ToString) -> Self {
        Self { detail: Some(detail.to_string()), ..self }
    }

    /// 400: the body is not JSON, or not of the documented shape.
    pub fn malformed(field: impl Into<String>, message: impl ToString) -> Self {
        let error = FieldError::new(field, message);
        let problem = Self::new(
            StatusCode::BAD_REQUEST,
            "malformed-request",
            "The request is not of the documented form",
        );
        Self { errors: vec![error], ..problem }
    }
    /// 422: well-formed, but it cannot be done with these values.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-request",
            "The request has values that cannot be used",
        );
        Self { errors, ..problem }
    }
    pub fn invalid_field(field: impl Into<String>, message: impl ToString) -> Self {
        Self::invalid(vec![FieldError::new(field, message)])
    }
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "A valid API key is needed")
            .detail("send it as `Authorization: Bearer <key>`; make one with `bursar api-keys create`")
    }
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing")
            .detail(format!("no such {what}"))
    }
    pub fn conflict(kind: &str, field: &str, message: impl ToString) -> Self {
        let problem = Self::new(StatusCode::CONFLICT, kind, "The request conflicts with what is stored");
        Self { errors: vec![FieldError::new(field, message)], ..problem }
    }
    /// 409: the transfer has gone too far for this.
    pub fn not_now(message: impl ToString) -> Self {
        Self::new(StatusCode::CONFLICT, "not-possible-now", "The transfer's state does not allow this")
            .detail(message)
    }
    /// 403, 409 or 422: the governance log does not take the entry. `code`: that of the refusal, such as `QUORUM`.
    pub fn governance(status: StatusCode, code: &str, title: &str, detail: impl ToString) -> Self {
        let kind = format!("governance-{}", code.to_ascii_lowercase().replace('_', "-"));
        Self::new(status, &kind, title).detail(detail)
    }
    pub fn unavailable(message: impl ToString) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Something that this needs is not available now",
        )
        .detail(message)
    }
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request body is too large")
            .detail("at most 256 kB, 1 MB for a governance change; split the batch")
    }
    /// 500. The cause goes to the log, not to the caller.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Bursar could not do this")
            .detail("nothing was changed, or the change will be finished by itself; the log has the cause")
    }
}

/// Seconds (RFC 9110, section 10.2.3).
const RETRY_AFTER: header::HeaderValue = header::HeaderValue::from_static("5");

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let media_type = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadCursor => {
                Self::malformed("cursor", "not a cursor of this list: use `next` of the page before")
            }
            StoreError::Unavailable { .. } | StoreError::StillUnavailable { .. } => {
                tracing::warn!(error = &error as &dyn std::error::Error, "store unavailable");
                let lacks = match error.lack() {
                    Some(Lack::Space) => {
                        "the database cannot be written: its disk is full, over a limit, or fails"
                    }
                    Some(Lack::WriteAccess) => "the database may only be read",
                    Some(Lack::Turn) => "the database is busy, or cannot be reached",
                    None => "the database does not answer",
                };
                Self::unavailable(format!(
                    "{lacks}; try again, with the same Idempotency-Key or externalId: it may have been done, and is not done twice"
                ))
            }
            error => Self::internal(&error),
        }
    }
}

pub async fn no_such_route(uri: Uri) -> Problem {
    Problem::not_found(&format!("route: {}; see /openapi.json", uri.path()))
}
pub async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This route has no such method")
        .detail("see /openapi.json")
}
