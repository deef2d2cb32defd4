//! Endpoints that events are sent on to. In a governed installation the governance log names them, and only what does not decide where
//! events go is done here.

pub mod deliveries;
mod views;

pub use views::{
    NewWebhook, RotateSecret, WebhookChange, WebhookList, WebhookTest, WebhookView, WebhookWithSecret,
};

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Path},
    problem::{FieldError, Problem},
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use bursar_store::{
    events,
    webhooks::{self as kept, Endpoint, EndpointId, Target},
};
use bursar_workers::webhooks::{Webhooks, address, keys::NotSigned, message::Message};
use std::{sync::Arc, time::Duration};

/// What is needed to make or use endpoints.
fn configured(state: &ApiState) -> Result<&Arc<Webhooks>, Problem> {
    state.webhooks.as_ref().ok_or_else(Problem::webhooks_not_configured)
}

fn ungoverned(state: &ApiState) -> Result<(), Problem> {
    match state.context.governance {
        None => Ok(()),
        Some(_) => Err(Problem::webhooks_governed()),
    }
}

async fn find(state: &ApiState, id: &EndpointId) -> Result<Endpoint, Problem> {
    kept::get(&state.context.store, id).await?.ok_or_else(|| Problem::not_found("webhook"))
}

async fn view(state: &ApiState, endpoint: Endpoint) -> Result<WebhookView, Problem> {
    let pending = kept::deliveries::pending(&state.context.store, &endpoint.id).await?;
    let public_key = state.webhooks.as_ref().map(|webhooks| webhooks.keys.public_key());
    Ok(WebhookView::new(endpoint, pending, public_key))
}

/// List the endpoints that events are sent on to.
#[utoipa::path(get, path = "/v1/webhooks", tag = "events", security(("apiKey" = [])),
    responses((status = 200, body = WebhookList), (status = 401, body = Problem)))]
pub async fn list(State(state): State<ApiState>) -> Result<Json<WebhookList>, Problem> {
    let mut items = Vec::new();
    for endpoint in kept::list(&state.context.store).await? {
        items.push(view(&state, endpoint).await?);
    }
    Ok(Json(WebhookList { items }))
}

/// Have events sent on to an endpoint. Its secret is shown here, and never again.
#[utoipa::path(post, path = "/v1/webhooks", tag = "events", security(("apiKey" = [])), request_body = NewWebhook,
    responses((status = 201, body = WebhookWithSecret), (status = 400, body = Problem), (status = 401, body = Problem), (status = 409, body = Problem),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Body { value: request, .. }: Body<NewWebhook>,
) -> Result<(StatusCode, Json<WebhookWithSecret>), Problem> {
    ungoverned(&state)?;
    let webhooks = configured(&state)?;
    let (target, cursor) = read(request, &webhooks.settings.allow)?;
    let (store, now) = (&state.context.store, state.context.now());
    let last = events::last(store).await?;
    let position = cursor.unwrap_or(last);
    if position > last {
        return Err(Problem::invalid_field("cursor", "lies beyond the end of the event log"));
    }
    let id = state.context.ids.uuid().to_string();
    let id: EndpointId = id.parse().expect("a UUID in lower case is an endpoint's id");
    let endpoint = Endpoint::new(id, target, webhooks.keys.name().to_owned(), position, now);
    let secret = webhooks.keys.secret(&endpoint.id, &endpoint.secret).map_err(no_key)?;
    let mut tx = store.write().await?;
    if kept::list_in(&mut tx).await?.len() >= kept::MAX_ENDPOINTS {
        return Err(Problem::invalid_field(
            "url",
            format!("there are {} webhooks already; delete one", kept::MAX_ENDPOINTS),
        ));
    }
    kept::insert(&mut tx, &endpoint, now).await?;
    tx.commit().await?;
    let webhook = view(&state, endpoint).await?;
    Ok((StatusCode::CREATED, Json(WebhookWithSecret { webhook, secret: secret.to_string() })))
}

/// One endpoint, and how it is doing.
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "events", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = WebhookView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(state): State<ApiState>,
    Path(id): Path<EndpointId>,
) -> Result<Json<WebhookView>, Problem> {
    let endpoint = find(&state, &id).await?;
    Ok(Json(view(&state, endpoint).await?))
}

/// Stop sending to an endpoint, or go on from where it stopped.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = "events", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = WebhookChange,
    responses((status = 200, body = WebhookView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn change(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<EndpointId>,
    Body { value: change, .. }: Body<WebhookChange>,
) -> Result<Json<WebhookView>, Problem> {
    let reason = change.reason.as_deref().unwrap_or_default().trim();
    if reason.chars().count() > 500 {
        return Err(Problem::invalid_field("reason", "at most 500 characters"));
    }
    let endpoint = find(&state, &id).await?;
    if change.enabled || endpoint.target.entry.is_none() {
        // Where something is governed, one person stops what is sent, and the log has it go on.
        ungoverned(&state)?;
    }
    let now = state.context.now();
    let mut tx = state.context.store.write().await?;
    let changed = match change.enabled {
        true => kept::enable(&mut tx, &id, now).await?,
        false => {
            let by = format!("by {caller}: {reason}");
            kept::disable(&mut tx, &id, by.trim_end_matches([':', ' ']), now).await?
        }
    };
    if changed {
        tx.commit().await?;
    } else {
        drop(tx);
    }
    let endpoint = find(&state, &id).await?;
    Ok(Json(view(&state, endpoint).await?))
}

/// Forget an endpoint, and what it was sent.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "events", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn delete(
    State(state): State<ApiState>,
    Path(id): Path<EndpointId>,
) -> Result<StatusCode, Problem> {
    ungoverned(&state)?;
    let mut tx = state.context.store.write().await?;
    if !kept::remove(&mut tx, &id, state.context.now()).await? {
        return Err(Problem::not_found("webhook"));
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a new secret and show it, once. Messages are signed with the one before, too, for a while. Where something is governed the log says when
/// there is a new one, and the present one is shown.
#[utoipa::path(post, path = "/v1/webhooks/{id}/secret", tag = "events", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = RotateSecret,
    responses((status = 200, body = WebhookWithSecret), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn rotate(
    State(state): State<ApiState>,
    Path(id): Path<EndpointId>,
    Body { value: request, .. }: Body<RotateSecret>,
) -> Result<Json<WebhookWithSecret>, Problem> {
    const MAX_HOURS: u64 = 168;
    let webhooks = configured(&state)?;
    let hours = request.previous_valid_hours.unwrap_or(24);
    if hours > MAX_HOURS {
        return Err(Problem::invalid_field("previousValidHours", format!("from 0 to {MAX_HOURS}")));
    }
    let endpoint = find(&state, &id).await?;
    if let Some(name) = endpoint.target.shared_secret {
        return Err(Problem::webhook_secret_shared(&name));
    }
    let now = state.context.now();
    let mut tx = state.context.store.write().await?;
    let secret = match endpoint.target.entry {
        // Its file may be another than is configured. That it was shown is in the audit.
        Some(_) => {
            let present = webhooks.keys.secret(&id, &endpoint.secret);
            present.map_err(|_| Problem::webhooks_not_configured())?
        }
        None => {
            ungoverned(&state)?;
            let previous_until = now.plus(Duration::from_secs(hours * 3600));
            let rotated = kept::rotate(&mut tx, &id, webhooks.keys.name(), previous_until, now).await?;
            let rotated = rotated.ok_or_else(|| Problem::not_found("webhook"))?;
            webhooks.keys.secret(&id, &rotated).map_err(no_key)?
        }
    };
    tx.commit().await?;
    let endpoint = find(&state, &id).await?;
    Ok(Json(WebhookWithSecret { webhook: view(&state, endpoint).await?, secret: secret.to_string() }))
}

/// Send a message that tells of nothing (`webhook.test`), now and once, and say what came of it.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = "events", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = WebhookTest), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn test(
    State(state): State<ApiState>,
    Path(id): Path<EndpointId>,
) -> Result<Json<WebhookTest>, Problem> {
    let webhooks = configured(&state)?;
    let endpoint = find(&state, &id).await?;
    if endpoint.target.entry.is_none() {
        ungoverned(&state)?;
    }
    let now = state.context.now();
    let message = Message::test(&id, state.context.ids.uuid(), now);
    let answer = webhooks.send(&endpoint, &message, now).await;
    Ok(Json(WebhookTest::new(message, answer)))
}

/// Its own file is configured: secrets follow from the current one.
fn no_key(error: NotSigned) -> Problem {
    Problem::internal(&error)
}

/// The most kinds that one endpoint names.
const MAX_EVENTS: usize = 50;

fn read(request: NewWebhook, networks: &address::Networks) -> Result<(Target, Option<i64>), Problem> {
    let mut errors = Vec::new();
    if let Err(error) = address::check(&request.url, true, networks) {
        errors.push(FieldError::new("url", error));
    }
    let events = request.events.unwrap_or_else(|| ["*".to_owned()].into());
    if !(1..=MAX_EVENTS).contains(&events.len()) || !events.iter().all(|kind| is_kind(kind)) {
        let message = format!(
            "1 to {MAX_EVENTS} kinds such as transfer or transfer.submitted (a-z 0-9 _ and dots), or *"
        );
        errors.push(FieldError::new("events", message));
    }
    let cursor = request.cursor.as_deref().map(str::parse::<i64>);
    if cursor.as_ref().is_some_and(|cursor| !cursor.as_ref().is_ok_and(|position| *position >= 0)) {
        errors.push(FieldError::new("cursor", "not a position in the event log"));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    let target = Target {
        url: request.url,
        events,
        // As far as the configuration allows.
        allow_private: true,
        entry: None,
        shared_secret: None,
        public_key: None,
    };
    Ok((target, cursor.and_then(Result::ok)))
}

fn is_kind(kind: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
    };
    kind == "*" || (kind.len() <= 64 && kind.split('.').all(part))
}
