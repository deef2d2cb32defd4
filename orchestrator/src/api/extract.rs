//! Request parts, with rejections that name the field.

use super::problem::Problem;
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

/// A JSON body. Keeps the bytes' digest for the idempotency check.
pub struct Body<T> {
    pub value: T,
    pub digest: [u8; 32],
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        use sha2::{Digest, Sha256};
        let bytes =
            Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
                _ => Problem::malformed("body", "could not be read"),
            })?;
        Ok(Self { value: parse(&bytes)?, digest: Sha256::digest(&bytes).into() })
    }
}

/// Reads JSON; the error names the field by its path.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| Problem::malformed(field_of(&error), error.inner()))?;
    json.end().map_err(|error| Problem::malformed("body", error))?;
    Ok(value)
}

/// The path of the field that is wrong, or `body` where there is none.
fn field_of(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    // `?` stands for what could not be read at all, `.` for the whole.
    let path = error.path().to_string();
    let path = path.trim_end_matches('?').trim_end_matches('.');
    // serde tells of an absent field at the object that lacks it, and names it in its fixed text only.
    let text = error.inner().to_string();
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (path, missing) {
        ("", None) => "body".to_owned(),
        (path, None) => path.to_owned(),
        ("", Some(missing)) => missing.to_owned(),
        (path, Some(missing)) => format!("{path}.{missing}"),
    }
}

/// Query parameters.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|query| Self(query.0))
            .map_err(|rejection| Problem::malformed("query", rejection.body_text()))
    }
}

/// A path parameter; what does not parse names nothing that exists.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|rejection| Problem::malformed("path", rejection.body_text()))
    }
}

/// How many items a list returns.
pub fn page_size(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(50),
        Some(limit @ 1..=200) => Ok(limit),
        Some(_) => Err(Problem::malformed("limit", "must be from 1 to 200")),
    }
}

/// What a person wrote: trimmed, and from 1 to `max` characters.
pub fn words<'t>(field: &str, text: &'t str, max: usize) -> Result<&'t str, Problem> {
    let text = text.trim();
    let fits = (1..=max).contains(&text.chars().count());
    fits.then_some(text).ok_or_else(|| Problem::invalid_field(field, format!("1 to {max} characters")))
}
