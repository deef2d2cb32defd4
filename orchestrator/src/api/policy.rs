//! The policy, tried out: on a transfer that nobody has asked for, and on those of the past.

pub mod backtest;
pub mod explain;
pub mod obstacles;

use super::{
    ApiState,
    auth::Caller,
    extract::Body,
    governance::log,
    problem::Problem,
    transfers::{approvals::unjudged, understand},
};
use crate::intake::TransferRequest;
use axum::{Extension, Json, extract::State};
use bursar_domain::governance::{
    directory::{KeyUse, PublicKey, User, UserId},
    policy::{Gap, Policy, RiskBand},
    state::State as LogState,
};
use bursar_workers::authorization::{self, Proposed};
use explain::Explanation;
use serde::Deserialize;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Simulation {
    /// As for POST /v1/transfers, and who would order is needed: `initiator`, which may be a user's id here, or the one of its `terms`. Nobody
    /// verifies a signature.
    pub transfer: TransferRequest,
    /// A draft; the policy in force when absent.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub policy: Option<Policy>,
    /// What a screening would say: LOW, MEDIUM, HIGH, SEVERE or UNKNOWN. Rules that ask for it are unsure when it is absent.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub risk: Option<RiskBand>,
}

/// What the policy would say of a transfer now: which rules fire, who must approve, and why. Nothing is kept.
#[utoipa::path(post, path = "/v1/policy/simulate", tag = "governance", security(("apiKey" = [])), request_body = Simulation,
    responses((status = 200, body = Explanation), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn simulate(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Body { value: Simulation { transfer: request, policy, risk }, .. }: Body<Simulation>,
) -> Result<Json<Explanation>, Problem> {
    let (_, log) = log(&state).await?;
    let (wallet, intent) = understand(&state, &caller, &request).await?;
    let by_terms = request.terms.as_ref().map(|terms| terms.initiator.as_str());
    let user = initiator(&log, request.initiator.as_deref().or(by_terms))?;
    let published = log.policy();
    let (policy, version) = match (&policy, published) {
        (Some(draft), _) => (draft, None),
        (None, Some(published)) => (&*published.policy, Some(published.version)),
        (None, None) => return Err(Problem::invalid_field("policy", "none is in force; give a draft")),
    };
    let proposed = Proposed { intent: &intent, wallet: wallet.id, initiator: user };
    let decision =
        authorization::simulate(&state.context, &log, policy, proposed, risk.ok_or(Gap::Unknowable));
    let decision = decision.await.map_err(unjudged)?;
    let frozen =
        log.frozen(&intent).map(|freeze| format!("frozen by entry {}: {}", freeze.seq, freeze.reason));
    Ok(Json(explain::decision(&log, &decision, policy, version, user.id.clone(), frozen)))
}

/// Whose key it is, or whose id.
fn initiator<'s>(log: &'s LogState, named: Option<&str>) -> Result<&'s User, Problem> {
    let wrong = |message| Problem::invalid_field("transfer.initiator", message);
    let named = named.ok_or_else(|| wrong("is needed: who would sign"))?;
    let mut public = [0; 32];
    if hex::decode_to_slice(named, &mut public).is_ok() {
        let holder = log.directory().holder(&PublicKey::Ed25519(public));
        let (user, key) = holder.ok_or_else(|| wrong("no user has this key"))?;
        let signs = key.uses.include(KeyUse::Documents);
        return signs.then_some(user).ok_or_else(|| wrong("this key is not for DOCUMENTS"));
    }
    let id: Option<UserId> = named.parse().ok();
    let user = id.and_then(|id| log.directory().user(&id));
    user.ok_or_else(|| wrong("give a user's id, or the 64 hex digits of a user's Ed25519 key"))
}
