//! Changes: handed in with their author's signature, signed by others, and in the log as soon as they are complete.

use super::{json, log};
use crate::api::screening::AddressScreeningView;
use crate::{
    api::{
        ApiState,
        auth::Caller,
        extract::{Body, Path, Query, page_size},
        problem::Problem,
        wire::time,
    },
    governance::{self as desk, Taken, diff},
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use bursar_domain::governance::{
    change::Change,
    log::{Document, Entry, EntryDigest},
    signature::Signature,
    state::{Accepted, Effect, State as LogState},
};
use bursar_store::{
    governance::{self as kept, ChangeRequest, Outcome},
    screenings::{self, Subject},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSubmission {
    /// The document exactly as it was signed (docs/governance.md).
    pub document: String,
    /// The author's first; others may follow.
    #[schema(value_type = Vec<Object>)]
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignatureSubmission {
    #[schema(value_type = Object)]
    pub signature: Signature,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// `OPEN` (when absent), `APPENDED` or `OVERTAKEN`.
    outcome: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

/// What became of a change that was handed in or signed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TakenView {
    #[schema(value_type = String)]
    pub digest: EntryDigest,
    /// `APPENDED`: it is in the log. `OPEN`: it waits for signatures.
    pub outcome: &'static str,
    /// What it did: `IN_FORCE`, or `WAITS` for its delay. Absent if it was appended before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<&'static str>,
    /// From when on it can be enacted, if it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_until: Option<String>,
    /// The change with what it lacks, if it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    /// What is signed.
    #[schema(value_type = String)]
    pub digest: EntryDigest,
    /// The place in the log that it is bound to.
    pub seq: u64,
    /// `OPEN`; `APPENDED`; `OVERTAKEN`, when another entry took its place: propose it again.
    pub outcome: String,
    /// Such as `SET_POLICY`.
    pub kind: &'static str,
    pub author: String,
    /// When, as the author says.
    pub proposed_at: String,
    #[schema(value_type = Object)]
    pub change: Value,
    /// In words, as `bursar governance sign` shows it.
    pub words: Vec<String>,
    /// Who has signed, the author first.
    pub signed_by: Vec<String>,
    /// What it lacks, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingView>,
    /// What a new policy changes against the one in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub diff: Option<Value>,
    /// What the screening said of the address that is proposed: to be looked at before it is signed. Absent where no service is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screening: Option<AddressScreeningView>,
    /// Exactly what was signed: compute the digest from it before you sign.
    pub document: String,
    #[schema(value_type = Vec<Object>)]
    pub signatures: Vec<Signature>,
    pub received_at: String,
    pub updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MissingView {
    pub approvals: usize,
    /// Further parties that author and approvers must belong to.
    pub parties: usize,
    /// Whose approval would count.
    pub may_approve: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeList {
    pub items: Vec<ChangeView>,
}

/// Hand in a change with its author's signature. It is appended at once if it needs no other, and else waits for them. Handing it in
/// twice is handing it in once.
#[utoipa::path(post, path = "/v1/governance/changes", tag = "governance", security(("apiKey" = [])), request_body = ChangeSubmission,
    responses((status = 201, description = "It is in the log", body = TakenView),
              (status = 202, description = "It waits for signatures", body = TakenView),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Body { value: submission, .. }: Body<ChangeSubmission>,
) -> Result<(StatusCode, Json<TakenView>), Problem> {
    let (governance, _) = log(&state).await?;
    let entry = Entry { document: submission.document, signatures: submission.signatures };
    let digest = entry.digest();
    let taken = desk::propose(&state.context, governance, entry, caller.id).await?;
    answer(&state, digest, taken).await
}

/// Sign a change that waits. It is appended as soon as it has what it needs. Signing twice is signing once.
#[utoipa::path(post, path = "/v1/governance/changes/{digest}/signatures", tag = "governance", security(("apiKey" = [])),
    params(("digest" = String, Path)), request_body = SignatureSubmission,
    responses((status = 201, description = "It is in the log", body = TakenView),
              (status = 202, description = "It waits for more signatures", body = TakenView),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn sign(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(digest): Path<EntryDigest>,
    Body { value: submission, .. }: Body<SignatureSubmission>,
) -> Result<(StatusCode, Json<TakenView>), Problem> {
    let (governance, _) = log(&state).await?;
    let taken = desk::sign(&state.context, governance, digest, submission.signature, caller.id).await?;
    answer(&state, digest, taken).await
}

/// Changes that wait for signatures, newest first, with what each lacks; or those that were appended or overtaken.
#[utoipa::path(get, path = "/v1/governance/changes", tag = "governance", security(("apiKey" = [])), params(Which),
    responses((status = 200, body = ChangeList), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Query(which): Query<Which>,
) -> Result<Json<ChangeList>, Problem> {
    let (_, log) = log(&state).await?;
    let outcome = which.outcome.as_deref().map_or(Ok(Outcome::Open), str::parse);
    let outcome =
        outcome.map_err(|_| Problem::malformed("outcome", "must be OPEN, APPENDED or OVERTAKEN"))?;
    let changes = kept::changes(&state.context.store, outcome, page_size(which.limit)?).await?;
    let mut items = Vec::with_capacity(changes.len());
    for change in changes {
        items.push(view(&state, &log, change).await?);
    }
    Ok(Json(ChangeList { items }))
}

/// One change that waits or waited for signatures.
#[utoipa::path(get, path = "/v1/governance/changes/{digest}", tag = "governance", security(("apiKey" = [])),
    params(("digest" = String, Path)),
    responses((status = 200, body = ChangeView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(state): State<ApiState>,
    Path(digest): Path<EntryDigest>,
) -> Result<Json<ChangeView>, Problem> {
    let (_, log) = log(&state).await?;
    let change = kept::change(&state.context.store, digest).await?;
    let change = change.ok_or_else(|| Problem::not_found("change"))?;
    Ok(Json(view(&state, &log, change).await?))
}

async fn answer(
    state: &ApiState,
    digest: EntryDigest,
    taken: Taken,
) -> Result<(StatusCode, Json<TakenView>), Problem> {
    let appended =
        |effect, waits_until| TakenView { digest, outcome: "APPENDED", effect, waits_until, change: None };
    Ok(match taken {
        Taken::Appended(Accepted { effect: Effect::InForce, .. }) => {
            (StatusCode::CREATED, Json(appended(Some("IN_FORCE"), None)))
        }
        Taken::Appended(Accepted { effect: Effect::Waits { until }, .. }) => {
            (StatusCode::CREATED, Json(appended(Some("WAITS"), Some(time(until)))))
        }
        Taken::AlreadyAppended(_) => (StatusCode::CREATED, Json(appended(None, None))),
        Taken::Waits(change) => {
            let (_, log) = log(state).await?;
            let change = Some(view(state, &log, change).await?);
            let open = TakenView { digest, outcome: "OPEN", effect: None, waits_until: None, change };
            (StatusCode::ACCEPTED, Json(open))
        }
    })
}

async fn view(state: &ApiState, log: &LogState, request: ChangeRequest) -> Result<ChangeView, Problem> {
    // It was read before it was stored.
    let document: Document = request.entry.read().map_err(|error| Problem::internal(&error))?;
    let policy = log.policy().map(|published| &*published.policy);
    let diff = match &document.change {
        Change::SetPolicy { policy: after } => Some(json(&diff::policies(policy, after))?),
        _ => None,
    };
    let screening = match &document.change {
        Change::PutAddress { entry } => {
            let newest = screenings::newest(&state.context.store, Subject::Address(request.digest)).await?;
            let (network, address) = (entry.network, &entry.destination.address);
            newest.and_then(|newest| AddressScreeningView::kept(network, address, &newest))
        }
        _ => None,
    };
    let missing = (request.outcome == Outcome::Open).then(|| {
        let missing = desk::missing(log, &document, &request.entry);
        MissingView {
            approvals: missing.approvals,
            parties: missing.parties,
            may_approve: missing.may_approve.iter().map(ToString::to_string).collect(),
        }
    });
    Ok(ChangeView {
        digest: request.digest,
        seq: request.seq,
        outcome: request.outcome.to_string(),
        kind: document.change.name(),
        author: document.author.to_string(),
        proposed_at: time(document.proposed_at),
        change: json(&document.change)?,
        words: desk::words::change(&document.change, policy),
        signed_by: request.entry.signatures.iter().map(|signature| signature.user.to_string()).collect(),
        missing,
        diff,
        screening,
        document: request.entry.document,
        signatures: request.entry.signatures,
        received_at: time(request.received_at),
        updated_at: time(request.updated_at),
    })
}
