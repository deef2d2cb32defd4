//! Filling a gap: an order to use up a nonce that nothing of ours uses although something signed waits behind it.

use super::{
    create::{Asked, Order, idempotency_key, submit},
    refusal,
    view::TransferView,
};
use crate::{
    api::{ApiState, auth::Caller, extract::Body, problem::Problem, wallets},
    intake::{self, FillRequest},
};
use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use bursar_domain::{ids::WalletId, intent::Intent};
use bursar_store::wallets::Wallet;
use bursar_workers::{engine::StepError, gaps, preflight::Draft};

/// Have a nonce used up that nothing uses although something signed waits behind it (Ethereum).
///
/// The body carries the initiator's signature over the order; the co-signers verify it again, and refuse a nonce that they signed
/// a payment for. It becomes a transfer that pays nobody: zero wei from the account to itself. Accepted only while the node shows
/// the gap, or the nonce as the account's next one, which nothing of ours holds. `externalId` makes a repeated request find the first one for ever.
#[utoipa::path(post, path = "/v1/fills", tag = "transfers", security(("apiKey" = [])), request_body = FillRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 201, body = TransferView, description = "Accepted and durable"),
              (status = 200, body = TransferView, description = "The same externalId with the same content was accepted before"),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem),
              (status = 409, body = Problem, description = "externalId or Idempotency-Key was used with other content, or another policy is in force than `terms` names"),
              (status = 422, body = Problem, description = "Such as: the node shows no gap there"),
              (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body { value: request, digest }: Body<FillRequest>,
) -> Result<Response, Problem> {
    let asked = Asked { caller: &caller, key: idempotency_key(&headers)?, digest };
    if let Some(answer) = asked.before(&state).await? {
        return Ok(answer);
    }
    let wallet = wallet(&state, &caller, &request.wallet_id).await?;
    let network = wallet.descriptor.network;
    let ports = state.context.chain(network);
    let ports = ports.ok_or_else(|| Problem::unavailable(format!("no node is configured for {network}")))?;
    let intent =
        intake::fill(&request, wallet.descriptor, ports.adapter.as_ref()).map_err(Problem::invalid)?;
    let FillRequest { initiator, signature, .. } = request;
    let order = Order { intent: intent.clone(), initiator, signature, wallet: wallet.id };
    let check = async {
        // Says also whether the account is the wallet's.
        let draft = refusal::check(&state, &wallet, &intent).await?;
        shown(&state, &intent, draft.as_ref()).await?;
        Ok(draft)
    };
    submit(&state, asked, order, check).await
}

async fn wallet(state: &ApiState, caller: &Caller, id: &str) -> Result<Wallet, Problem> {
    let id: WalletId = id.parse().map_err(|error| Problem::invalid_field("walletId", error))?;
    match wallets::find_for(state, caller, id).await {
        Err(problem) if problem.status == 404 => {
            Err(Problem::invalid_field("walletId", "no such wallet: see GET /v1/wallets"))
        }
        found => found,
    }
}

/// Refuses what the node shows neither as a gap nor as the account's next nonce.
async fn shown(state: &ApiState, intent: &Intent, draft: Option<&Draft>) -> Result<(), Problem> {
    // The draft says that nothing of ours holds it.
    if let (Some(draft), Some(nonce)) = (draft, intent.fills)
        && draft.fills_the_next(nonce)
    {
        return Ok(());
    }
    let (account, nonce) = (intent.source.as_deref().unwrap_or_default(), intent.fills.unwrap_or_default());
    let not_now = || Problem::unavailable("the node does not say now which nonces are used; try again");
    let found = match gaps::of_account(&state.context, intent.network(), account).await {
        Ok(found) => found.ok_or_else(not_now)?,
        Err(StepError::Store(error)) => return Err(error.into()),
        Err(StepError::Node(_) | StepError::NoKey(_)) => return Err(not_now()),
        Err(error) => return Err(Problem::internal(&error)),
    };
    if found.contains(&nonce) {
        return Ok(());
    }
    let gaps: Vec<String> = found.iter().map(u64::to_string).collect();
    let remedy = match gaps.is_empty() {
        true => "the account has no gap, so there is nothing to do".to_owned(),
        false => format!("its gaps are {}; name one of these", gaps.join(", ")),
    };
    let message = format!(
        "{nonce} is not the next nonce of {account}, nothing signed waits behind it, or it is used or claimed: {remedy}"
    );
    Err(Problem::invalid_field("nonce", message))
}
