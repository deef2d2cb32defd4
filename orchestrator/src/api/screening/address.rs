//! What the screening service says of an address by itself.

use crate::{
    api::{ApiState, auth::Caller, extract::Body, problem::Problem, reviews::FindingView, wire::time},
    intake::adapter,
};
use axum::{Extension, Json, extract::State};
use bursar_domain::{
    governance::{policy::RiskBand, role::Permission},
    network::Network,
    screening::{Assessment, Unanswered},
};
use bursar_store::screenings::{Progress, Screening};
use bursar_workers::screening::address::{Reason, outcome_name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressInquiry {
    /// Such as `bitcoin:mainnet`.
    #[schema(value_type = String)]
    pub network: Network,
    /// In any form that payments to it may have.
    pub address: String,
}

/// What is known of an address. No signature is over it: nothing is authorized by it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressScreeningView {
    #[schema(value_type = String)]
    pub network: Network,
    /// As payments name it.
    pub address: String,
    /// `CLEAR`, `REVIEW` or `BLOCK`. `PENDING_REVIEW`: there is no answer, so that people have to look.
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "LOW")]
    pub risk: Option<RiskBand>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sanctions: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub screened_at: Option<String>,
    /// It is asked for anew from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub failure: Option<Unanswered>,
    /// What was found; to compliance alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<FindingView>>,
}

impl AddressScreeningView {
    fn new(network: Network, address: &str, found: Result<&Assessment, &Unanswered>) -> Self {
        let known = found.ok();
        Self {
            network,
            address: address.to_owned(),
            outcome: outcome_name(known),
            risk: known.map(|found| found.risk),
            sanctions: known.map(|found| found.sanctions),
            provider: known.map(|found| found.provider.clone()),
            reference: known.map(|found| found.reference.clone()),
            screened_at: known.map(|found| time(found.screened_at)),
            expires_at: known.map(|found| time(found.expires_at)),
            failure: found.err().cloned(),
            findings: None,
        }
    }

    /// Of what was kept with a change; without what was found.
    pub fn kept(network: Network, address: &str, kept: &Screening) -> Option<Self> {
        match &kept.progress {
            Progress::Complete { assessment, .. } => Some(Self::new(network, address, Ok(assessment))),
            Progress::Failed(failure) => Some(Self::new(network, address, Err(failure))),
            Progress::Pending { .. } => None,
        }
    }
}

/// Have an address screened: before it is proposed, paid or taken for a customer's. Within an hour the same address is the same screening.
/// Silence and outages are PENDING_REVIEW, within 20 seconds.
#[utoipa::path(post, path = "/v1/screening/addresses", tag = "compliance", security(("apiKey" = [])), request_body = AddressInquiry,
    responses((status = 200, body = AddressScreeningView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
              (status = 404, body = Problem, description = "No screening service is configured"), (status = 413, body = Problem),
              (status = 422, body = Problem, description = "It is no address of this network"), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub async fn ask(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Body { value: AddressInquiry { network, address }, .. }: Body<AddressInquiry>,
) -> Result<Json<AddressScreeningView>, Problem> {
    let context = &state.context;
    let Some(screening) = &context.screening else {
        return Err(Problem::not_found("screening service: add [screening] to the configuration"));
    };
    let parsed = adapter(network.chain()).parse_destination(network, &address, None);
    let address = parsed.map_err(|invalid| Problem::invalid_field("address", invalid))?.address;
    state.auth.limits().screening(caller.id)?;
    let screened = screening.address(network, &address, Reason::Question, context.now()).await;
    let now = context.now();
    let mut tx = context.store.write().await?;
    screened.tell(&mut tx, None, now).await?;
    tx.commit().await?;
    let found = screened.found.as_ref();
    let mut view = AddressScreeningView::new(network, &address, found);
    if let (Ok(found), true) = (found, caller.may(Permission::ReadCompliance)) {
        view.findings = Some(found.findings.iter().map(FindingView::from).collect());
    }
    Ok(Json(view))
}
