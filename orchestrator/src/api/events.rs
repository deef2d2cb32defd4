//! The event log: paged, and as a stream over the same order.

use super::{
    ApiState,
    extract::{Query, page_size},
    problem::Problem,
    wire::time,
};
use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::sse::{self, KeepAlive, Sse},
};
use bursar_domain::ids::TransferId;
use bursar_store::events::{self, Event};
use futures::Stream;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
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
    #[schema(value_type = Object)]
    pub payload: serde_json::Value,
}

impl From<Event> for EventView {
    fn from(event: Event) -> Self {
        Self {
            sequence: event.sequence,
            kind: event.kind,
            transfer_id: event.transfer,
            at: time(event.at),
            payload: event.payload,
        }
    }
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
    Query(after): Query<After>,
) -> Result<Json<EventPage>, Problem> {
    let from = position(after.cursor.as_deref(), "cursor")?;
    let events = events::after(&state.context.store, from, page_size(after.limit)?).await?;
    let next = events.last().map_or(from, |event| event.sequence).to_string();
    Ok(Json(EventPage { items: events.into_iter().map(EventView::from).collect(), next }))
}

/// Follow events as they happen (server-sent events). `Last-Event-ID` resumes after that event; without it the stream starts now.
#[utoipa::path(get, path = "/v1/events/stream", tag = "events", security(("apiKey" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "Sequence of the last event that was seen")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn stream(
    State(state): State<ApiState>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let from = match headers.get("last-event-id") {
        Some(id) => position(Some(id.to_str().unwrap_or("")), "Last-Event-ID")?,
        None => events::last(&state.context.store).await?,
    };
    Ok(Sse::new(follow(state, from)).keep_alive(KeepAlive::default()))
}

/// How long the log is trusted to have told of every commit: another process's commits are found by asking again.
const POLL: std::time::Duration = std::time::Duration::from_secs(1);

fn follow(state: ApiState, from: i64) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let start = (state, from, std::collections::VecDeque::<Event>::new());
    futures::stream::unfold(start, |(state, mut position, mut pending)| async move {
        loop {
            if let Some(event) = pending.pop_front() {
                position = event.sequence;
                let view = EventView::from(event);
                let frame = sse::Event::default().id(view.sequence.to_string()).event(view.kind.clone());
                let frame = frame
                    .json_data(&view)
                    .unwrap_or_else(|_| sse::Event::default().comment("unreadable event"));
                return Some((Ok(frame), (state, position, pending)));
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
    })
}
