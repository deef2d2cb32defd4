//! The review queue: what a screening or an alert holds, why, and whose signatures let it go.

pub mod decide;
mod refusal;
mod views;

pub use refusal::undecided;
pub use views::{FindingView, NeedsView, ReleaseView, ScreeningView, screening};

use super::{
    ApiState,
    cases::CaseView,
    extract::{Query, page_size},
    problem::Problem,
};
use axum::{Json, extract::State};
use bursar_domain::{
    ids::{DepositId, TransferId},
    lifecycle::{Status, SubStatus, Transfer},
};
use bursar_store::{
    cases::{self, Case, CaseSubject},
    reviews, transfers,
};
use bursar_workers::screening::{
    review::{self, Held},
    standing,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Something that waits for compliance, by the case that is open about it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReviewView {
    pub case: CaseView,
    /// What is held, if it is a transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<HeldView>,
    /// What is held, if it is a deposit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub deposit_id: Option<DepositId>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldView {
    #[schema(value_type = String)]
    pub id: TransferId,
    pub external_id: String,
    #[schema(value_type = String)]
    pub status: Status,
    #[schema(value_type = Option<String>)]
    pub sub_status: Option<SubStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `REVIEW`: in PENDING_REVIEW. `ALERT`: frozen where it is. `SESSION`: its signing session has begun, so it stays where it is.
    /// `NO_SERVICE`: the policy asks for screening, and no service is configured. `TRAVEL_RULE`: in PENDING_REVIEW, for want of data or of an
    /// answer of the institution at the other end.
    pub held_by: &'static str,
    /// SHA-256 of the intent's canonical bytes: what releases and rejections name.
    pub intent_digest: String,
    /// The last screening, with what was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screening: Option<ScreeningView>,
    /// What lets it go.
    pub needs: NeedsView,
    /// Releases that were begun, newest first.
    pub releases: Vec<ReleaseView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReviewPage {
    pub items: Vec<ReviewView>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    cursor: Option<String>,
    /// 1 to 200, 50 when absent. A page can have fewer: cases about what is not held any more are left out.
    limit: Option<u32>,
}

/// What waits for compliance, newest first: why it is held, what was found, and whose signatures let it go.
#[utoipa::path(get, path = "/v1/reviews", tag = "compliance", security(("apiKey" = [])), params(Which),
    responses((status = 200, body = ReviewPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 503, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Query(which): Query<Which>,
) -> Result<Json<ReviewPage>, Problem> {
    let store = &state.context.store;
    let limit = page_size(which.limit)?;
    let page = cases::list(store, cases::Filter::default(), which.cursor.as_deref(), limit).await?;
    let mut items = Vec::new();
    for case in page.items {
        items.extend(view(&state, case).await?);
    }
    Ok(Json(ReviewPage { items, next: page.next }))
}

async fn view(state: &ApiState, case: Case) -> Result<Option<ReviewView>, Problem> {
    match case.subject {
        CaseSubject::Deposit(deposit) => {
            Ok(Some(ReviewView { case: case.into(), transfer: None, deposit_id: Some(deposit) }))
        }
        CaseSubject::Transfer(id) => {
            let Some(transfer) = transfers::get(&state.context.store, id).await? else { return Ok(None) };
            let Some(by) = review::held(&transfer) else { return Ok(None) };
            let transfer = Some(held(state, &transfer, by).await?);
            Ok(Some(ReviewView { case: case.into(), transfer, deposit_id: None }))
        }
        CaseSubject::Address { .. } | CaseSubject::Order(_) => Ok(None),
    }
}

async fn held(state: &ApiState, transfer: &Transfer, by: Held) -> Result<HeldView, Problem> {
    let context = &state.context;
    let evidence = standing::evidence(context, transfer).await.map_err(refusal::undecided)?;
    let now = context.now();
    let releases = reviews::releases(&context.store, transfer.id).await?;
    let stands = evidence.standing(transfer, now);
    let needs = match by {
        Held::TravelRule => views::needs_travel_rule(&evidence),
        _ => views::needs(&evidence, &stands),
    };
    let release = |stored| views::release(&evidence, transfer, stored, now);
    Ok(HeldView {
        id: transfer.id,
        external_id: transfer.intent.intent.external_id.to_string(),
        status: transfer.status(),
        sub_status: transfer.sub_status,
        reason: transfer.reason.clone(),
        held_by: match by {
            Held::Review => "REVIEW",
            Held::Alert => "ALERT",
            Held::Session => "SESSION",
            Held::NoService => "NO_SERVICE",
            Held::TravelRule => "TRAVEL_RULE",
        },
        intent_digest: transfer.intent.intent.digest().to_string(),
        releases: releases.into_iter().map(release).collect(),
        screening: evidence.settled.as_ref().map(|settled| screening(settled, true)),
        needs,
    })
}
