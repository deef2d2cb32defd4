//! The event log: paged, and as a stream over the same order.

use super::{
    ApiState,
    auth::Caller,
    extract::{Query, page_size},
    problem::Problem,
    wire::time,
};
use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::sse::{self, KeepAlive, Sse},
};
use bursar_domain::{
    governance::role::Permission,
    ids::{ApiKeyId, TransferId},
};
use bursar_store::events::{self, Event};
use futures::Stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Position in the log. Strictly increasing; a reader that has seen one never later meets a smaller one.
    pub sequence: i64,
    /// `transfer.submitted`, `transfer.status_changed`, `deposit.detected`, …
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(value_type = Option<String>)]
    pub transfer_id: Option<TransferId>,
    pub at: String,
    /// `{"withheld": true}` in place of what the caller's roles do not read: of cases, screenings, what compliance signed, webhooks and sessions.
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
}

impl EventView {
    /// What is withheld keeps its place and its kind, so that a reader sees no gap.
    fn of(event: Event, caller: &Caller) -> Self {
        let withheld = withheld_from(&event.kind, caller);
        Self {
            transfer_id: event.transfer,
            at: time(event.at),
            payload: if withheld { json!({ "withheld": true }) } else { event.payload },
            sequence: event.sequence,
            kind: event.kind,
        }
    }
}

/// Whether what an event tells is for others: what has routes that need a permission is not told to everybody here.
fn withheld_from(kind: &str, caller: &Caller) -> bool {
    let needed = match kind {
        "transfer.release_signed" | "transfer.review_rejected" | "deposit.disposition_signed" => {
            Permission::ReadCompliance
        }
        _ if kind.starts_with("case.") || kind.starts_with("screening.") => Permission::ReadCompliance,
        _ if kind.starts_with("webhook.") || kind.starts_with("session.") => Permission::ReadAdministration,
        _ => return false,
    };
    !caller.may(needed)
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    pub items: Vec<EventView>,
    /// Pass as `cursor` to go on. The log has no end, so there always is one.
    pub next: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// `next` of the page before; from the beginning when absent.
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

fn position(cursor: Option<&str>, name: &str) -> Result<i64, Problem> {
    let parsed = cursor.map_or(Ok(0), str::parse::<i64>);
    parsed
        .ok()
        .filter(|position| *position >= 0)
        .ok_or_else(|| Problem::malformed(name, "not a position in the event log"))
}

/// List events, oldest first.
#[utoipa::path(get, path = "/v1/events", tag = "events", security(("apiKey" = [])), params(After),
    responses((status = 200, body = EventPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Query(after): Query<After>,
) -> Result<Json<EventPage>, Problem> {
    let from = position(after.cursor.as_deref(), "cursor")?;
    let events = events::after(&state.context.store, from, page_size(after.limit)?).await?;
    let next = events.last().map_or(from, |event| event.sequence).to_string();
    let items = events.into_iter().map(|event| EventView::of(event, &caller)).collect();
    Ok(Json(EventPage { items, next }))
}

/// The most event streams that one caller may have open.
pub const MAX_STREAMS: usize = 16;

/// A stream that nothing happens on says so, that both ends and all between see that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Then a stream ends, and its reader comes back with `Last-Event-ID`: whether it may still read is asked at the beginning only.
const LASTS: Duration = Duration::from_secs(3600);

/// Event streams that are open, by caller. Each holds a connection for as long as its reader likes.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Mutex<BTreeMap<ApiKeyId, usize>>>);

/// One of a caller's streams, until it is dropped.
#[derive(Debug)]
pub struct Place {
    streams: Streams,
    caller: ApiKeyId,
}

impl Streams {
    /// # Errors
    /// 429: the caller has [`MAX_STREAMS`] already.
    pub fn open(&self, caller: ApiKeyId) -> Result<Place, Problem> {
        // Whole after each use, so that a poisoned lock does not matter.
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(caller).or_default();
        if *count >= MAX_STREAMS {
            return Err(Problem::too_many_streams(MAX_STREAMS));
        }
        *count += 1;
        Ok(Place { streams: self.clone(), caller })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.get(&self.caller).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => drop(open.remove(&self.caller)),
            left => drop(open.insert(self.caller, left)),
        }
    }
}

/// Follow events as they happen (server-sent events). `Last-Event-ID` resumes after that event; without it the stream starts now. A reader
/// that is behind reads the log at its own pace: nothing is buffered for it, and nothing left out. A comment every 15 seconds shows that
/// the stream lives; it ends after an hour, to be resumed.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events", security(("apiKey" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "Sequence of the last event that was seen")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 400, body = Problem), (status = 401, body = Problem),
              (status = 429, body = Problem)))]
pub async fn stream(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let place = state.streams.open(caller.id)?;
    let from = match headers.get("last-event-id") {
        Some(id) => position(Some(id.to_str().unwrap_or("")), "Last-Event-ID")?,
        None => events::last(&state.context.store).await?,
    };
    Ok(Sse::new(follow(state, from, place, caller)).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// How long the log is trusted to have told of every commit: another process's commits are found by asking again.
const POLL: Duration = Duration::from_secs(1);

fn follow(
    state: ApiState,
    from: i64,
    place: Place,
    caller: Caller,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let start = (state, from, std::collections::VecDeque::<Event>::new(), (place, caller));
    let ends = tokio::time::Instant::now() + LASTS;
    futures::stream::unfold(start, move |(state, mut position, mut pending, place)| async move {
        while tokio::time::Instant::now() < ends {
            if let Some(event) = pending.pop_front() {
                position = event.sequence;
                let view = EventView::of(event, &place.1);
                let frame = sse::Event::default().id(view.sequence.to_string()).event(view.kind.clone());
                let frame = frame
                    .json_data(&view)
                    .unwrap_or_else(|_| sse::Event::default().comment("unreadable event"));
                return Some((Ok(frame), (state, position, pending, place)));
            }
            let notified = state.context.store.events_notified();
            tokio::pin!(notified);
            match events::after(&state.context.store, position, 200).await {
                Ok(events) if !events.is_empty() => pending.extend(events),
                Ok(_) => {
                    tokio::select! { () = notified => {}, () = tokio::time::sleep(POLL) => {} }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read the event log; trying again");
                    tokio::time::sleep(POLL).await;
                }
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::auth::Proof;
    use bursar_domain::governance::role::Role;

    #[test]
    fn what_needs_a_permission_elsewhere_is_withheld_here_and_keeps_its_place() {
        let caller = |role: Role| Caller {
            id: ApiKeyId::new(uuid::Uuid::from_u128(1)),
            name: None,
            user: None,
            key: None,
            party: None,
            roles: [role].into(),
            proof: Proof::Bearer,
            address: None,
            wallets: None,
        };
        let told = |kind: &str, role: Role| {
            let payload = json!({ "note": "private" });
            let at = bursar_domain::time::Timestamp(1);
            let event = Event { sequence: 7, kind: kind.to_owned(), transfer: None, at, payload };
            let view = EventView::of(event, &caller(role));
            assert_eq!((view.sequence, view.kind.as_str()), (7, kind));
            view.payload == json!({ "note": "private" })
        };
        for kind in [
            "case.noted",
            "screening.alerted",
            "transfer.release_signed",
            "transfer.review_rejected",
            "deposit.disposition_signed",
        ] {
            assert!(!told(kind, Role::Viewer) && !told(kind, Role::SecurityAdmin), "{kind}");
            assert!(told(kind, Role::ComplianceOfficer) && told(kind, Role::Auditor), "{kind}");
        }
        for kind in ["webhook.created", "session.began"] {
            assert!(!told(kind, Role::Viewer) && told(kind, Role::SecurityAdmin), "{kind}");
        }
        assert!(told("transfer.submitted", Role::Viewer));
    }

    #[test]
    fn a_caller_has_so_many_streams_and_gets_a_place_back() {
        let (streams, caller) = (Streams::default(), ApiKeyId::new(uuid::Uuid::from_u128(1)));
        let mut open: Vec<_> = (0..MAX_STREAMS).map(|_| streams.open(caller).unwrap()).collect();
        assert_eq!(streams.open(caller).unwrap_err().status, 429);
        assert!(streams.open(ApiKeyId::new(uuid::Uuid::from_u128(2))).is_ok(), "each has its own");
        open.pop();
        open.push(streams.open(caller).unwrap());
        assert!(streams.open(caller).is_err());
        drop(open);
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
