//! Deposit addresses: a fresh one for each request, all spendable by the same wallet.

use super::{
    ApiState,
    extract::{Body, Path, Query},
    problem::Problem,
    wallets::{Paging, find},
    wire::{PageOf, time},
};
use axum::{Json, extract::State, http::StatusCode};
use bursar_domain::{
    ids::{AddressId, WalletId},
    signing::GroupKey,
    wallet::Branch,
};
use bursar_store::{
    WriteTx,
    addresses::{self, AddressRecord},
    wallets::Wallet,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateAddress {
    /// For people; at most 100 characters.
    pub label: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressView {
    #[schema(value_type = String)]
    pub id: AddressId,
    pub address: String,
    /// Non-hardened path below the wallet's threshold key.
    #[schema(example = "m/86/0/0/3")]
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub created_at: String,
}

impl From<AddressRecord> for AddressView {
    fn from(record: AddressRecord) -> Self {
        Self {
            id: record.id,
            address: record.address,
            path: record.path.to_string(),
            label: record.label,
            created_at: time(record.created_at),
        }
    }
}

/// Derives the wallet's next address and records it. The caller commits.
pub async fn derive_next(
    state: &ApiState,
    tx: &mut WriteTx,
    wallet: &Wallet,
    key: &GroupKey,
    branch: Branch,
    label: Option<String>,
) -> Result<AddressRecord, Problem> {
    let context = &state.context;
    let ports = context.chain(wallet.descriptor.network);
    let ports = ports.ok_or_else(|| Problem::unavailable("no node is configured for this wallet"))?;
    let index = addresses::next_index(tx, wallet.id, branch).await?;
    let path = wallet.descriptor.path(branch, index);
    let address =
        ports.adapter.address(&wallet.descriptor, key, &path).map_err(|error| Problem::internal(&error))?;
    let record = AddressRecord {
        id: AddressId::new(context.ids.uuid()),
        wallet: wallet.id,
        path,
        address,
        label,
        created_at: context.now(),
    };
    addresses::insert(tx, &record).await?;
    Ok(record)
}

/// Derive a fresh deposit address.
#[utoipa::path(post, path = "/v1/wallets/{id}/addresses", tag = "wallets", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = CreateAddress,
    responses((status = 201, body = AddressView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Path(id): Path<WalletId>,
    body: Body<CreateAddress>,
) -> Result<(StatusCode, Json<AddressView>), Problem> {
    let label = body.value.label;
    if label.as_ref().is_some_and(|label| label.chars().count() > 100 || label.chars().any(char::is_control))
    {
        return Err(Problem::invalid_field("label", "must be at most 100 printable characters"));
    }
    let wallet = find(&state, id).await?;
    let scheme = wallet.descriptor.scheme();
    let key = state.context.group_key(scheme).await?;
    let key = key.ok_or_else(|| Problem::unavailable(format!("no {scheme} key is known")))?;
    let mut tx = state.context.store.write().await?;
    let record = derive_next(&state, &mut tx, &wallet, &key, Branch::Receive, label).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(record.into())))
}

/// List a wallet's addresses, change addresses included.
#[utoipa::path(get, path = "/v1/wallets/{id}/addresses", tag = "wallets", security(("apiKey" = [])), params(("id" = String, Path), Paging),
    responses((status = 200, body = PageOf<AddressView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Path(id): Path<WalletId>,
    Query(paging): Query<Paging>,
) -> Result<Json<PageOf<AddressView>>, Problem> {
    let wallet = find(&state, id).await?;
    let (cursor, limit) = paging.parts()?;
    let page = addresses::of_wallet(&state.context.store, wallet.id, cursor, limit).await?;
    Ok(Json(PageOf::map(page, AddressView::from)))
}
