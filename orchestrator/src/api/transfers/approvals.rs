//! Votes of approvers about a transfer, and why it was decided as it was.

use super::get::find;
use crate::api::{
    ApiState,
    auth::Caller,
    extract::{Body, Path},
    governance::{HeadView, log},
    policy::{
        explain::{self, Explanation},
        obstacles,
    },
    problem::Problem,
    wire::time,
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use bursar_domain::{
    audit::act::Signed,
    governance::{
        approval::{Approval, ApprovalPayload, Ballot, NotCounted, Progress, Vote},
        authorization::Denied,
        log::Head,
        policy::{Allowed, Outcome},
        signature::Signature,
        state::State as LogState,
    },
    ids::TransferId,
    lifecycle::{State as Lifecycle, SubStatus, Transfer},
};
use bursar_store::{
    approvals::{self as kept, Kept, StoredApproval},
    events, jobs, transfers,
};
use bursar_workers::{authorization, engine::StepError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalSubmission {
    /// What was signed (docs/policy.md): intent, policy, head, vote, givenAt, expiresAt.
    #[schema(value_type = Object)]
    pub payload: ApprovalPayload,
    #[schema(value_type = Object)]
    pub signature: Signature,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalsView {
    #[schema(value_type = String)]
    pub transfer_id: TransferId,
    #[schema(value_type = String)]
    pub status: bursar_domain::lifecycle::Status,
    /// What approvers sign, with the next two.
    pub intent_digest: String,
    /// The version of the policy that asks for approvals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<HeadView>,
    /// The last entry of the governance log.
    pub head: HeadView,
    /// Every vote that came, in order.
    pub votes: Vec<VoteView>,
    /// What is still to be done, a line for each requirement.
    pub missing: Vec<String>,
    /// What is required, and who has approved.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoteView {
    pub user: String,
    pub key: String,
    /// `APPROVE` or `REJECT`.
    #[schema(value_type = String)]
    pub vote: Vote,
    pub given_at: String,
    pub expires_at: String,
    pub received_at: String,
    pub counted: bool,
    /// Why it is not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Approve a transfer, or reject it: before co-signers are asked, one rejection by somebody who must approve ends it; after that nothing more is
/// signed for it until the same user approves it. Sending the same vote again is sending it once.
#[utoipa::path(post, path = "/v1/transfers/{id}/approvals", tag = "governance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = ApprovalSubmission,
    responses((status = 201, description = "It was taken", body = ApprovalsView), (status = 200, description = "It was taken before", body = ApprovalsView),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem, description = "This user may not approve it"),
              (status = 404, body = Problem), (status = 409, body = Problem, description = "Another policy is in force, the approval has expired, or no signature can be needed any more"),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<TransferId>,
    Body { value: ApprovalSubmission { payload, signature }, .. }: Body<ApprovalSubmission>,
) -> Result<(StatusCode, Json<ApprovalsView>), Problem> {
    let (_, log) = log(&state).await?;
    let store = &state.context.store;
    let approval = Approval { payload, signature };
    let transfer = find(&state, id).await?;
    let there = kept::of_transfer(store, id).await?;
    if there.iter().any(|there| there.approval == approval) {
        return Ok((StatusCode::OK, Json(view(&state, transfer).await?)));
    }
    check(&state, &log, &transfer, &approval).await?;
    let now = state.context.now();
    let mut tx = store.write().await?;
    let transfer = transfers::get_in(&mut tx, id).await?.ok_or_else(|| Problem::not_found("transfer"))?;
    open(&transfer)?;
    let status = match kept::insert(&mut tx, id, &approval, now).await? {
        Kept::New => StatusCode::CREATED,
        Kept::Already => StatusCode::OK,
        Kept::TooMany => {
            return Err(Problem::not_now(format!(
                "{} has voted {} times about this transfer; others must decide",
                approval.signature.user,
                kept::MAX_OF_USER
            )));
        }
    };
    if status == StatusCode::CREATED {
        let Approval { payload, signature } = &approval;
        let told = json!({
            "transferId": id,
            "user": signature.user,
            "key": signature.key,
            "vote": payload.vote,
            "policy": payload.policy,
            "givenAt": payload.given_at,
            "expiresAt": payload.expires_at,
            "apiKey": caller.id,
        });
        let signed = Signed::Approval { approval: Box::new(approval.clone()) };
        events::append_signed(&mut tx, "transfer.approval", Some(id), now, &told, &signed).await?;
        if transfer.state.next_step().is_some() {
            jobs::nudge(&mut tx, id, now).await?;
        }
        tx.commit().await?;
        tracing::info!(transfer = %id, user = %signature.user, vote = ?payload.vote, "approval taken");
    }
    Ok((status, Json(view(&state, transfer).await?)))
}

/// Who has voted about a transfer, which votes count, and what is missing.
#[utoipa::path(get, path = "/v1/transfers/{id}/approvals", tag = "governance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = ApprovalsView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 503, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<ApprovalsView>, Problem> {
    let transfer = find(&state, id).await?;
    Ok(Json(view(&state, transfer).await?))
}

/// Which rules of the policy fired for a transfer, who must approve, why it was decided so, and what is in its way now. While it is not
/// signed, it is decided anew for this answer.
#[utoipa::path(get, path = "/v1/transfers/{id}/explanation", tag = "governance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = Explanation), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 503, body = Problem)))]
pub async fn explanation(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<Explanation>, Problem> {
    let (governance, log) = log(&state).await?;
    let transfer = find(&state, id).await?;
    let initiator = authorization::initiator(&log, &transfer).map(|user| user.id.clone());
    let ruled = kept::ruling(&state.context.store, id).await?;
    let (explained, judged) = match ruled {
        Some((ruled, at)) if !is_undecided(&transfer) => {
            (explain::ruling(&log, &ruled, initiator, Some(at)), None)
        }
        ruled => {
            let judged =
                authorization::judge(&state.context, governance, &transfer).await.map_err(unjudged)?;
            let now = judged.ruling();
            // As it was decided, at that time, if it would be decided so now.
            let at = ruled.filter(|(ruled, _)| *ruled == now).map(|(_, at)| at);
            (explain::ruling(&log, &now, initiator, at), Some(judged))
        }
    };
    let obstacles = obstacles::of(&log, &transfer, judged.as_ref());
    Ok(Json(Explanation { obstacles, ..explained }))
}

/// Refuses early what would never count.
async fn check(
    state: &ApiState,
    log: &LogState,
    transfer: &Transfer,
    approval: &Approval,
) -> Result<(), Problem> {
    open(transfer)?;
    let ballot = ballot(state, log, transfer)?;
    ballot.check(approval).map_err(|refused| refusal(&refused))?;
    let head = approval.payload.head;
    if authorization::has(&state.context.store, log, head).await? {
        return Ok(());
    }
    let detail = format!("payload.head: {head} is not in this log, which ends with {}", log.head());
    let code = "APPROVAL_HEAD_UNKNOWN";
    Err(Problem::governance(StatusCode::CONFLICT, code, "The approver saw another log", detail))
}

fn ballot<'s>(state: &ApiState, log: &'s LogState, transfer: &Transfer) -> Result<Ballot<'s>, Problem> {
    authorization::ballot(log, transfer, state.context.now()).ok_or_else(|| {
        Problem::not_now("no policy is in force, or its initiator is no user any more: nobody can approve it")
    })
}

fn refusal(refused: &NotCounted) -> Problem {
    let (status, title) = match refused {
        NotCounted::Initiator | NotCounted::NotApprover => {
            (StatusCode::FORBIDDEN, "This user may not approve it")
        }
        NotCounted::OtherPolicy | NotCounted::Expired => {
            (StatusCode::CONFLICT, "The approval is out of date")
        }
        NotCounted::OtherIntent | NotCounted::Signature(_) | NotCounted::FromTheFuture => {
            (StatusCode::UNPROCESSABLE_ENTITY, "The approval does not count")
        }
    };
    Problem::governance(status, &format!("APPROVAL_{}", refused.code()), title, refused)
}

/// Whether a signature may still be needed, so that a vote can change something. Once a session began, a vote no longer ends a transfer,
/// but it says whether the same bytes, or what takes their place, may be signed again.
fn takes_votes(transfer: &Transfer) -> bool {
    is_unsigned(transfer) || transfer.state.is_replaceable()
}

const fn is_unsigned(transfer: &Transfer) -> bool {
    matches!(
        transfer.state,
        Lifecycle::Submitted
            | Lifecycle::PendingScreening
            | Lifecycle::PendingReview
            | Lifecycle::PendingAuthorization
            | Lifecycle::Queued
            | Lifecycle::PendingSignature { .. }
    )
}

/// Whether it waits for a decision, so that what is missing now is what counts, and not what was decided once.
fn is_undecided(transfer: &Transfer) -> bool {
    let waits = |sub_status| {
        matches!(
            sub_status,
            SubStatus::AwaitingApprovals
                | SubStatus::AwaitingScreening
                | SubStatus::AwaitingWindow
                | SubStatus::RecallLapsed
                | SubStatus::ApprovalRejected
                | SubStatus::AuthorizationLapsed
        )
    };
    is_unsigned(transfer) || transfer.replacing.obstacle.as_ref().is_some_and(|it| waits(it.sub_status))
}

fn open(transfer: &Transfer) -> Result<(), Problem> {
    if takes_votes(transfer) {
        return Ok(());
    }
    let why = if transfer.status().is_terminal() { "it has ended" } else { "a block holds it" };
    Err(Problem::not_now(format!("the transfer is {}: {why}", transfer.status())))
}

async fn view(state: &ApiState, transfer: Transfer) -> Result<ApprovalsView, Problem> {
    let (governance, log) = log(state).await?;
    let votes = kept::of_transfer(&state.context.store, transfer.id).await?;
    let ruling = kept::ruling(&state.context.store, transfer.id).await?;
    let ballot = authorization::ballot(&log, &transfer, state.context.now());
    let open = is_undecided(&transfer);
    let progress = if open {
        let judged = authorization::judge(&state.context, governance, &transfer).await.map_err(unjudged)?;
        let approvals = &judged.evidence.approvals;
        let count =
            |allowed: &Allowed| ballot.as_ref().map(|ballot| ballot.count(&allowed.requirements, approvals));
        // Where somebody said no it does not come to that: then by what the policy asked for when it was decided, or at least who it was.
        let decided = ruling.as_ref().and_then(|(ruling, _)| ruling.decision.as_ref());
        let decided = decided.and_then(|decision| match &decision.outcome {
            Outcome::Allowed(allowed) => Some(allowed),
            Outcome::Denied { .. } => None,
        });
        match &judged.result {
            Err(Denied::Rejected { user }) => decided
                .and_then(count)
                .or_else(|| Some(Progress { rejected_by: [user.clone()].into(), ..Progress::default() })),
            _ => judged.allowed().and_then(count),
        }
    } else {
        // By what it was decided, and not by what has changed since.
        ruling.as_ref().and_then(|(ruling, _)| ruling.progress.clone())
    };
    let vote = |vote: &StoredApproval| vote_view(vote, progress.as_ref(), ballot.as_ref().filter(|_| open));
    let version = match open {
        true => log.policy().map(|published| published.version),
        false => ruling.as_ref().and_then(|(ruling, _)| ruling.policy),
    };
    Ok(ApprovalsView {
        transfer_id: transfer.id,
        status: transfer.status(),
        intent_digest: transfer.intent.intent.digest().to_string(),
        policy: version.map(head),
        head: head(log.head()),
        votes: votes.iter().map(vote).collect(),
        missing: progress.iter().flat_map(Progress::missing).collect(),
        progress,
    })
}

fn vote_view(stored: &StoredApproval, progress: Option<&Progress>, ballot: Option<&Ballot>) -> VoteView {
    let Approval { payload, signature } = &stored.approval;
    let refused = ballot.and_then(|ballot| ballot.check(&stored.approval).err());
    let seated = progress.is_some_and(|progress| match payload.vote {
        Vote::Reject => progress.rejected_by.contains(&signature.user),
        Vote::Approve => {
            let mut groups = progress.requirements.iter().flat_map(|requirement| &requirement.groups);
            groups.any(|group| group.approved_by.contains(&signature.user))
        }
    });
    let why = match &refused {
        Some(refused) => Some(refused.to_string()),
        None if seated => None,
        None => {
            Some("is in no group whose approval is required, or was not given in its turn or in time".into())
        }
    };
    VoteView {
        user: signature.user.to_string(),
        key: signature.key.to_string(),
        vote: payload.vote,
        given_at: time(payload.given_at),
        expires_at: time(payload.expires_at),
        received_at: time(stored.received_at),
        counted: why.is_none(),
        why,
    }
}

pub const fn head(Head { seq, digest }: Head) -> HeadView {
    HeadView { seq, digest }
}

/// What could not be found out.
pub fn unjudged(error: StepError) -> Problem {
    match error {
        StepError::Store(error) => error.into(),
        StepError::Governance(error) => error.into(),
        StepError::Node(error) => Problem::unavailable(error),
        error => Problem::internal(&error),
    }
}
