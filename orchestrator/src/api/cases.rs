//! Cases: what compliance looks into, its notes, and how it ends.

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Path, Query, page_size, words},
    problem::Problem,
    wire::{PageOf, time},
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use bursar_domain::ids::{CaseId, TransferId};
use bursar_store::cases::{self, Case, Cause, Note};
use bursar_workers::screening::review;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaseView {
    #[schema(value_type = String)]
    pub id: CaseId,
    /// `ALERT`, `REVIEW` or `OUTAGE`.
    pub cause: String,
    pub subject: SubjectView,
    /// Of the transfer that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub transfer_id: Option<TransferId>,
    pub reason: String,
    /// `OPEN` or `CLOSED`.
    pub status: &'static str,
    pub opened_at: String,
    /// When the last alert about it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alerted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubjectView {
    /// `TRANSFER`, `DEPOSIT`, `ADDRESS` (`of` is network and address), or `ORDER` (`of` is the digest of one that is unknown here).
    pub kind: &'static str,
    pub of: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClosedView {
    pub at: String,
    /// The users, or the API key, who closed it; `bursar` where it closed by itself.
    pub by: String,
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NoteView {
    pub at: String,
    pub by: String,
    pub note: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaseWithNotes {
    #[serde(flatten)]
    pub case: CaseView,
    /// In order.
    pub notes: Vec<NoteView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CasePage {
    pub items: Vec<CaseView>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl From<Case> for CaseView {
    fn from(case: Case) -> Self {
        Self {
            id: case.id,
            cause: case.cause.to_string(),
            subject: SubjectView { kind: case.subject.kind(), of: case.subject.to_string() },
            transfer_id: case.subject.transfer(),
            reason: case.reason,
            status: if case.closed.is_some() { "CLOSED" } else { "OPEN" },
            opened_at: time(case.opened_at),
            alerted_at: case.alerted_at.map(time),
            closed: case.closed.map(|closed| ClosedView {
                at: time(closed.at),
                by: closed.by,
                reason: closed.because,
            }),
        }
    }
}

impl From<Note> for NoteView {
    fn from(note: Note) -> Self {
        Self { at: time(note.at), by: note.by, note: note.text }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Also those that are closed.
    #[serde(default)]
    all: bool,
    /// `ALERT`, `REVIEW` or `OUTAGE`.
    cause: Option<String>,
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteRequest {
    /// 1 to 2000 characters.
    pub note: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// What was found, for whoever reads the log later. 1 to 500 characters.
    pub reason: String,
}

/// List cases, newest first; those that are open when nothing else is asked.
#[utoipa::path(get, path = "/v1/cases", tag = "compliance", security(("apiKey" = [])), params(Which),
    responses((status = 200, body = CasePage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Query(which): Query<Which>,
) -> Result<Json<CasePage>, Problem> {
    let limit = page_size(which.limit)?;
    let cause = which.cause.as_deref().map(str::parse::<Cause>).transpose();
    let cause = cause.map_err(|invalid| Problem::malformed("cause", invalid))?;
    let filter = cases::Filter { closed: which.all, cause };
    let page = cases::list(&state.context.store, filter, which.cursor.as_deref(), limit).await?;
    let PageOf { items, next } = PageOf::map(page, CaseView::from);
    Ok(Json(CasePage { items, next }))
}

/// One case, with its notes.
#[utoipa::path(get, path = "/v1/cases/{id}", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = CaseWithNotes), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(state): State<ApiState>,
    Path(id): Path<CaseId>,
) -> Result<Json<CaseWithNotes>, Problem> {
    let store = &state.context.store;
    let case = cases::get(store, id).await?.ok_or_else(|| Problem::not_found("case"))?;
    let notes = cases::notes(store, id).await?.into_iter().map(NoteView::from).collect();
    Ok(Json(CaseWithNotes { case: case.into(), notes }))
}

/// Add a note to a case.
#[utoipa::path(post, path = "/v1/cases/{id}/notes", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = NoteRequest,
    responses((status = 201, body = NoteView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn note(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<CaseId>,
    Body { value: request, .. }: Body<NoteRequest>,
) -> Result<(StatusCode, Json<NoteView>), Problem> {
    let text = words("note", &request.note, 2000)?;
    let mut tx = state.context.store.write().await?;
    cases::get_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("case"))?;
    let note = cases::note(&mut tx, id, &caller.to_string(), text, state.context.now()).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(note.into())))
}

/// Close a case. That of a transfer which is still held closes by its release or rejection. Closing twice is closing once.
#[utoipa::path(post, path = "/v1/cases/{id}/close", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = CloseRequest,
    responses((status = 200, body = CaseView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "What it is about is still held"), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn close(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<CaseId>,
    Body { value: request, .. }: Body<CloseRequest>,
) -> Result<Json<CaseView>, Problem> {
    let because = words("reason", &request.reason, 500)?;
    let by = caller.to_string();
    let case = review::close(&state.context, id, &by, because).await?;
    tracing::info!(case = %id, by, because, "case closed");
    Ok(Json(case.into()))
}
