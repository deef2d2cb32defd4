//! Money that came in, and what compliance decides about it.

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Path, Query, page_size},
    governance::log,
    problem::Problem,
    reviews::undecided,
    wire::{PageOf, decimal, time},
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use bursar_domain::{
    asset::Asset,
    governance::{
        log::EntryDigest,
        role::Permission,
        signature::Signature,
        verdict::{Disposition, InvalidDisposition, SignedDisposition},
    },
    ids::{DepositId, WalletId},
    network::Network,
};
use bursar_store::{
    deposits::{
        self, Deposit, DepositStatus, Filter,
        dispositions::{self, StoredDisposition},
        holds::HoldState,
    },
    page::Page,
};
use bursar_workers::deposits::dispose::{self, DisposeError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DepositView {
    #[schema(value_type = String)]
    pub id: DepositId,
    #[schema(value_type = String)]
    pub wallet_id: WalletId,
    #[schema(value_type = String)]
    pub network: Network,
    #[schema(value_type = String)]
    pub asset: Asset,
    pub amount: String,
    pub address: String,
    /// Whom the chain names as sender; on Bitcoin whose outputs were spent, the first 101 of them.
    pub from: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    pub tx_id: String,
    /// Position within the transaction: the output index; on Ethereum 0 for its own value, an event's place in the block plus one, and
    /// from 2147483648 on what contracts sent on.
    pub index: u32,
    pub block_height: u64,
    /// `DETECTED`, `CONFIRMING`, `PENDING_SCREENING` (in a final block, not cleared yet), `COMPLETED` or `FROZEN`. What is not COMPLETED cannot
    /// be spent where deposits are screened.
    #[schema(value_type = String)]
    pub status: DepositStatus,
    /// What its screening said, why it waits, or why it was frozen or let go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What compliance decided: `RELEASE`, `REFUND` or `ISOLATE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disposition: Option<&'static str>,
}

pub fn view(state: &ApiState, deposit: Deposit) -> DepositView {
    let disposition = deposit.hold.as_ref().and_then(|hold| match hold.state {
        HoldState::Released => Some("RELEASE"),
        HoldState::Refund => Some("REFUND"),
        HoldState::Isolated => Some("ISOLATE"),
        HoldState::New | HoldState::Asked | HoldState::Cleared | HoldState::Frozen => None,
    });
    DepositView {
        id: deposit.id,
        wallet_id: deposit.wallet,
        network: deposit.network,
        amount: decimal(deposit.amount, state.assets.info(deposit.asset)),
        asset: deposit.asset,
        address: deposit.address,
        from: deposit.from,
        tag: deposit.tag,
        tx_id: deposit.tx_id,
        index: deposit.index,
        block_height: deposit.block.height,
        status: deposit.status,
        reason: deposit.hold.and_then(|hold| hold.reason),
        disposition,
    }
}

/// What compliance signed about a deposit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DispositionView {
    /// What the signatures are over.
    pub digest: String,
    /// What was signed (docs/compliance.md): genesis, deposit, action, reason, evidence, decidedAt.
    #[schema(value_type = Object)]
    pub disposition: Disposition,
    pub signed_by: Vec<String>,
    pub received_at: String,
}

impl From<StoredDisposition> for DispositionView {
    fn from(stored: StoredDisposition) -> Self {
        let SignedDisposition { disposition, signatures } = stored.signed;
        Self {
            digest: hex::encode(disposition.digest()),
            disposition,
            signed_by: signatures.iter().map(|signature| signature.user.to_string()).collect(),
            received_at: time(stored.received_at),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DepositWithDispositions {
    #[serde(flatten)]
    pub deposit: DepositView,
    /// What a disposition names as `genesis`; absent where nothing is governed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub genesis: Option<EntryDigest>,
    /// Since when it is held as it is: a disposition that was signed before does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_since: Option<String>,
    /// Complete or not, newest first; for those who read what compliance does, and empty for others.
    pub dispositions: Vec<DispositionView>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// `DETECTED`, `CONFIRMING`, `PENDING_SCREENING`, `COMPLETED` or `FROZEN`.
    status: Option<String>,
    /// Only those of this wallet.
    #[param(value_type = Option<String>)]
    wallet: Option<WalletId>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DispositionSubmission {
    /// What is signed (docs/compliance.md): genesis, deposit, action (`RELEASE`, `REFUND`, `ISOLATE`), reason, evidence, decidedAt.
    #[schema(value_type = Object)]
    pub disposition: Disposition,
    /// One or more, at most eight: each is kept beside those that came before.
    #[schema(value_type = Vec<Object>)]
    pub signatures: Vec<Signature>,
}

/// Incoming payments that are in a block, newest first.
#[utoipa::path(get, path = "/v1/deposits", tag = "wallets", security(("apiKey" = [])), params(Which),
    responses((status = 200, body = PageOf<DepositView>), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Query(which): Query<Which>,
) -> Result<Json<PageOf<DepositView>>, Problem> {
    let limit = page_size(which.limit)?;
    let status = which.status.as_deref().map(str::parse::<DepositStatus>).transpose();
    let status = status.map_err(|invalid| Problem::malformed("status", invalid))?;
    let filter = Filter { wallet: which.wallet, status };
    let (store, cursor) = (&state.context.store, which.cursor.as_deref());
    let page = match (caller.wallets.as_deref(), filter.wallet) {
        // As of a wallet that is not there.
        (Some(_), Some(wallet)) if !caller.sees(wallet) => Page { items: Vec::new(), next: None },
        // Not all of them, cut down afterwards: how many pages there are would tell of the others.
        (Some(wallets), None) => deposits::list_of_wallets(store, filter, wallets, cursor, limit).await?,
        (_, _) => deposits::list(store, filter, cursor, limit).await?,
    };
    Ok(Json(PageOf::map(page, |deposit| view(&state, deposit))))
}

/// One incoming payment, with what compliance signed about it.
#[utoipa::path(get, path = "/v1/deposits/{id}", tag = "wallets", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = DepositWithDispositions), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<DepositId>,
) -> Result<Json<DepositWithDispositions>, Problem> {
    let deposit = find(&state, &caller, id).await?;
    let signed = match caller.may(Permission::ReadCompliance) {
        true => dispositions::of(&state.context.store, id).await?,
        false => Vec::new(),
    };
    let genesis = state.context.log().await?.map(|log| log.genesis_digest());
    Ok(Json(DepositWithDispositions {
        held_since: deposit.hold.as_ref().filter(|hold| hold.state.holds()).map(|hold| time(hold.since)),
        deposit: view(&state, deposit),
        genesis,
        dispositions: signed.into_iter().map(DispositionView::from).collect(),
    }))
}

/// Sign what becomes of a deposit that is held: by a compliance officer and a compliance lead. It is done as soon as it has both. The same
/// signature again is the same.
#[utoipa::path(post, path = "/v1/deposits/{id}/dispositions", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = DispositionSubmission,
    responses((status = 201, description = "It is done", body = DispositionView), (status = 202, description = "It waits for another signature", body = DispositionView),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem, description = "This user may not decide it"),
              (status = 404, body = Problem), (status = 409, body = Problem, description = "It is not held, or the disposition is for something else or out of date"),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn dispose(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<DepositId>,
    Body { value: DispositionSubmission { disposition, signatures }, .. }: Body<DispositionSubmission>,
) -> Result<(StatusCode, Json<DispositionView>), Problem> {
    let (governance, _) = log(&state).await?;
    find(&state, &caller, id).await?;
    let signed = SignedDisposition { disposition, signatures };
    let disposed = dispose::dispose(&state.context, governance, id, &signed).await?;
    let action = signed.disposition.action;
    tracing::info!(deposit = %id, %action, complete = disposed.complete, "disposition signed");
    let status = if disposed.complete { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    Ok((status, Json(disposed.disposition.into())))
}

/// Have a deposit that is held screened again, in a new round: compliance decides by what it says then, and nothing is let go by itself, but for what
/// waits for its first answer. One that is under way is let be.
#[utoipa::path(post, path = "/v1/deposits/{id}/screenings", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 202, body = DepositView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
              (status = 404, body = Problem), (status = 409, body = Problem, description = "It is not held, or no screening service is configured"),
              (status = 503, body = Problem)))]
pub async fn screen_again(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<DepositId>,
) -> Result<(StatusCode, Json<DepositView>), Problem> {
    find(&state, &caller, id).await?;
    let deposit = dispose::rescreen(&state.context, id).await?;
    Ok((StatusCode::ACCEPTED, Json(view(&state, deposit))))
}

async fn find(state: &ApiState, caller: &Caller, id: DepositId) -> Result<Deposit, Problem> {
    let deposit = deposits::get(&state.context.store, id).await?;
    let deposit = deposit.filter(|deposit| caller.sees(deposit.wallet));
    deposit.ok_or_else(|| Problem::not_found("deposit"))
}

impl From<DisposeError> for Problem {
    fn from(error: DisposeError) -> Self {
        let text = error.to_string();
        let (status, code) = match error {
            DisposeError::Step(error) => return undecided(error),
            DisposeError::Unknown => return Self::not_found("deposit"),
            DisposeError::NotHeld(_) | DisposeError::TooMany | DisposeError::NoService => {
                (StatusCode::CONFLICT, "DISPOSITION_NOT_POSSIBLE")
            }
            DisposeError::Invalid(refused) => match refused {
                InvalidDisposition::Other => (StatusCode::CONFLICT, "DISPOSITION_OTHER"),
                InvalidDisposition::Old | InvalidDisposition::FromTheFuture => {
                    (StatusCode::CONFLICT, "DISPOSITION_TIME")
                }
                InvalidDisposition::Blocked | InvalidDisposition::Sanctions => {
                    (StatusCode::CONFLICT, "DISPOSITION_BARRED")
                }
                InvalidDisposition::NotCompliance(_) => (StatusCode::FORBIDDEN, "DISPOSITION_NOT_COMPLIANCE"),
                InvalidDisposition::Reason => (StatusCode::UNPROCESSABLE_ENTITY, "DISPOSITION_REASON"),
                InvalidDisposition::Evidence(_) => (StatusCode::UNPROCESSABLE_ENTITY, "DISPOSITION_EVIDENCE"),
                InvalidDisposition::TooMany => (StatusCode::UNPROCESSABLE_ENTITY, "DISPOSITION_TOO_MANY"),
                InvalidDisposition::Signature(_) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "DISPOSITION_SIGNATURE")
                }
                InvalidDisposition::OfficerAndLead => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "DISPOSITION_UNSIGNED")
                }
            },
        };
        Self::governance(status, code, "The disposition does not count", text)
    }
}
