//! Errors as RFC 9457 problem documents with a stable `type`.

use axum::{
    Json,
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bursar_store::{Lack, StoreError};
use serde::Serialize;
use std::time::Duration;
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
    /// Seconds after which to come again; in the header `Retry-After`.
    #[serde(skip)]
    pub retry_after: Option<u64>,
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
            retry_after: None,
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
    /// 401: nothing proves who calls. `detail`: nothing that only who has a key should know.
    pub fn unauthorized(detail: impl ToString) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "The request does not prove who sent it")
            .detail(detail)
    }
    /// 403: it is known who calls, and they may not.
    pub fn forbidden(detail: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "The caller may not do this").detail(detail)
    }
    /// 429: so many requests are not taken.
    pub fn too_many(wait: Duration) -> Self {
        // Rounded up: who comes then is let in.
        let seconds = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests");
        let problem = problem.detail(format!("come again in {seconds} s, and not so often"));
        Self { retry_after: Some(seconds), ..problem }
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
    /// 409: no key file is configured to sign webhooks with.
    pub fn webhooks_not_configured() -> Self {
        let title = "This installation sends no webhooks";
        Self::new(StatusCode::CONFLICT, "webhooks-not-configured", title).detail(
            "make a key file with `bursar webhooks key`, and name it as webhooks.key_file in the configuration",
        )
    }
    /// 409: the governance log says where events go.
    pub fn webhooks_governed() -> Self {
        let title = "The governance log says where events are sent on to";
        Self::new(StatusCode::CONFLICT, "webhooks-governed", title)
            .detail("propose a PUT_WEBHOOK or REMOVE_WEBHOOK change instead: docs/governance.md")
    }
    /// 409: its secret is a file that both sides have.
    pub fn webhook_secret_shared(name: &str) -> Self {
        let title = "This webhook's secret is shared by a file";
        Self::new(StatusCode::CONFLICT, "webhook-secret-shared", title).detail(format!(
            "the governance log names the secret {name}; replace its file, or the name in the log"
        ))
    }
    /// 409: nothing is sent to it.
    pub fn webhook_disabled() -> Self {
        Self::new(StatusCode::CONFLICT, "webhook-disabled", "This webhook is disabled")
            .detail("enable it first")
    }
    /// 429: the caller has as many event streams open as it may.
    pub fn too_many_streams(most: usize) -> Self {
        let title = "Too many event streams are open";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", title)
            .detail(format!("at most {most} for each caller; close one, or page through /v1/events"))
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
    /// 413, of data that has a limit of its own, in bytes.
    pub fn too_large_data(most: usize) -> Self {
        let problem = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request body is too large");
        problem.detail(format!("at most {} KiB", most / 1024))
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

const WWW_AUTHENTICATE: header::HeaderValue = header::HeaderValue::from_static("Bearer");
/// What a signature must have (RFC 9421, section 5.1).
const ACCEPT_SIGNATURE: header::HeaderValue = header::HeaderValue::from_static(
    r#"bursar=("@method" "@authority" "@path" "@query" "content-digest");created;expires;nonce;keyid;alg="ed25519";tag="bursar""#,
);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, Json(self)).into_response();
        let media_type = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, media_type);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, WWW_AUTHENTICATE);
            response.headers_mut().insert("accept-signature", ACCEPT_SIGNATURE);
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
    other_method()
}
pub fn other_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This route has no such method")
        .detail("see /openapi.json")
}
