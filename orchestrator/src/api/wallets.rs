//! Wallets, their balances and deposits.

use super::{
    ApiState,
    addresses::derive_next,
    auth::Caller,
    deposits::{DepositView, view as view_deposit},
    extract::{Body, Path, Query, page_size},
    problem::Problem,
    wire::{PageOf, decimal, time},
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use bursar_domain::{
    asset::Asset,
    ids::WalletId,
    network::{Chain, Network},
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_store::{
    addresses,
    deposits::{self, holds},
    utxos,
    wallets::{self, Wallet},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateWallet {
    /// For people; 1 to 100 characters.
    pub name: String,
    #[schema(value_type = String, example = "bitcoin")]
    pub chain: Chain,
    /// `p2tr` (default) or `p2wpkh` on bitcoin, `ethereum`, `xrp-ed25519` (default) or `xrp-secp256k1` on xrp.
    #[schema(value_type = Option<String>, example = "p2tr")]
    pub kind: Option<WalletKind>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalletView {
    #[schema(value_type = String)]
    pub id: WalletId,
    pub name: String,
    #[schema(value_type = String, example = "bitcoin:mainnet")]
    pub network: Network,
    #[schema(value_type = String, example = "p2tr")]
    pub kind: WalletKind,
    /// What initiators sign and co-signers derive keys from.
    #[schema(value_type = String, example = "bitcoin:mainnet/p2tr/0")]
    pub descriptor: WalletDescriptor,
    /// The wallet's first address. On chains with accounts, payments leave from here unless `source` says otherwise.
    pub address: Option<String>,
    pub created_at: String,
}

async fn view(state: &ApiState, wallet: Wallet) -> Result<WalletView, Problem> {
    let first = addresses::first(&state.context.store, wallet.id).await?;
    Ok(WalletView {
        id: wallet.id,
        name: wallet.name,
        network: wallet.descriptor.network,
        kind: wallet.descriptor.kind,
        descriptor: wallet.descriptor,
        address: first.map(|record| record.address),
        created_at: time(wallet.created_at),
    })
}

pub async fn find(state: &ApiState, id: WalletId) -> Result<Wallet, Problem> {
    wallets::get(&state.context.store, id).await?.ok_or_else(|| Problem::not_found("wallet"))
}

/// As [`find`], for a caller who may be limited to others.
pub async fn find_for(state: &ApiState, caller: &Caller, id: WalletId) -> Result<Wallet, Problem> {
    if !caller.sees(id) {
        return Err(Problem::not_found("wallet"));
    }
    find(state, id).await
}

/// Create a wallet and its first address.
#[utoipa::path(post, path = "/v1/wallets", tag = "wallets", security(("apiKey" = [])), request_body = CreateWallet,
    responses((status = 201, body = WalletView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem, description = "The co-signers have no key for this kind yet")))]
pub async fn create(
    State(state): State<ApiState>,
    body: Body<CreateWallet>,
) -> Result<(StatusCode, Json<WalletView>), Problem> {
    let CreateWallet { name, chain, kind } = body.value;
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Problem::invalid_field("name", "must be 1 to 100 printable characters"));
    }
    let kind = kind.unwrap_or(WalletKind::default_for(chain));
    if kind.chain() != chain {
        return Err(Problem::invalid_field("kind", format!("{kind} wallets are not on {chain}")));
    }
    let context = &state.context;
    let network = context.chains.keys().copied().find(|network| network.chain() == chain);
    let network = network.ok_or_else(|| {
        Problem::invalid_field(
            "chain",
            format!("no {chain} node is configured; add a [{chain}] section to the configuration"),
        )
    })?;
    let key = context.group_key(kind.scheme()).await?.ok_or_else(|| {
        Problem::unavailable(format!(
            "no {} key: run `bursar-signer keygen` at every co-signer and keep them running",
            kind.scheme()
        ))
    })?;
    let mut tx = context.store.write().await?;
    let account = wallets::next_account(&mut tx, network, kind).await?;
    let descriptor = WalletDescriptor::new(network, kind, account)
        .map_err(|error| Problem::unavailable(format!("no further wallet of this kind: {error}")))?;
    let wallet =
        Wallet { id: WalletId::new(context.ids.uuid()), name, descriptor, created_at: context.now() };
    wallets::insert(&mut tx, &wallet).await?;
    derive_next(&state, &mut tx, &wallet, &key, Branch::Receive, None).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(view(&state, wallet).await?)))
}

/// List all wallets.
#[utoipa::path(get, path = "/v1/wallets", tag = "wallets", security(("apiKey" = [])),
    responses((status = 200, body = PageOf<WalletView>), (status = 401, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<PageOf<WalletView>>, Problem> {
    let mut items = Vec::new();
    for wallet in wallets::list(&state.context.store).await? {
        if !caller.sees(wallet.id) {
            continue;
        }
        items.push(view(&state, wallet).await?);
    }
    Ok(Json(PageOf { items, next: None }))
}

/// One wallet.
#[utoipa::path(get, path = "/v1/wallets/{id}", tag = "wallets", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = WalletView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(state): State<ApiState>,
    Path(id): Path<WalletId>,
) -> Result<Json<WalletView>, Problem> {
    let wallet = find(&state, id).await?;
    Ok(Json(view(&state, wallet).await?))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    #[schema(value_type = String, example = "BTC")]
    pub asset: Asset,
    pub symbol: String,
    /// Confirmed.
    pub amount: String,
    /// Of which reserved by transfers under way (Bitcoin outputs).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved: Option<String>,
    /// Of which cannot be spent, because of what a screening, an alert or compliance said of deposits, or because they are not screened yet.
    pub withheld: String,
}

/// Confirmed balances, over all of the wallet's addresses.
#[utoipa::path(get, path = "/v1/wallets/{id}/balances", tag = "wallets", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = PageOf<Balance>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 503, body = Problem, description = "The node does not answer")))]
pub async fn balances(
    State(state): State<ApiState>,
    Path(id): Path<WalletId>,
) -> Result<Json<PageOf<Balance>>, Problem> {
    let wallet = find(&state, id).await?;
    let chain = wallet.descriptor.network.chain();
    let mut items = Vec::new();
    for info in state.assets.all().iter().filter(|info| info.asset.chain() == chain) {
        let (amount, reserved) = match chain {
            Chain::Bitcoin => {
                let (total, reserved) = utxos::balance(&state.context.store, wallet.id).await?;
                (total, Some(decimal(reserved, Some(info))))
            }
            Chain::Ethereum | Chain::Xrp => (on_node(&state, &wallet, info.asset).await?, None),
        };
        let store = &state.context.store;
        let withheld = match chain {
            Chain::Bitcoin => utxos::frozen(store, wallet.id).await?,
            Chain::Ethereum | Chain::Xrp => holds::withheld_of(store, wallet.id, info.asset).await?,
        };
        items.push(Balance {
            withheld: decimal(withheld, Some(info)),
            asset: info.asset,
            symbol: info.symbol.clone(),
            amount: decimal(amount, Some(info)),
            reserved,
        });
    }
    Ok(Json(PageOf { items, next: None }))
}

/// The sum over the wallet's accounts, as the node has them.
async fn on_node(
    state: &ApiState,
    wallet: &Wallet,
    asset: Asset,
) -> Result<bursar_domain::amount::Amount, Problem> {
    use bursar_domain::amount::Amount;
    let network = wallet.descriptor.network;
    let ports = state
        .context
        .chain(network)
        .ok_or_else(|| Problem::unavailable("no node is configured for this wallet"))?;
    let mut total = Amount::ZERO;
    let mut cursor: Option<String> = None;
    loop {
        let page = addresses::of_wallet(&state.context.store, wallet.id, cursor.as_deref(), 200).await?;
        for record in page.items {
            let balance = ports.node.balance(&record.address, asset).await.map_err(Problem::unavailable)?;
            total = total
                .checked_add(balance)
                .ok_or_else(|| Problem::unavailable("the node's balances overflow"))?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(total);
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// `next` of the page before.
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

impl Paging {
    pub fn parts(&self) -> Result<(Option<&str>, u32), Problem> {
        Ok((self.cursor.as_deref(), page_size(self.limit)?))
    }
}

/// Incoming payments to the wallet that are in a block, newest first.
#[utoipa::path(get, path = "/v1/wallets/{id}/deposits", tag = "wallets", security(("apiKey" = [])), params(("id" = String, Path), Paging),
    responses((status = 200, body = PageOf<DepositView>), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn deposits(
    State(state): State<ApiState>,
    Path(id): Path<WalletId>,
    Query(paging): Query<Paging>,
) -> Result<Json<PageOf<DepositView>>, Problem> {
    let wallet = find(&state, id).await?;
    let (cursor, limit) = paging.parts()?;
    let filter = deposits::Filter { wallet: Some(wallet.id), status: None };
    let page = deposits::list(&state.context.store, filter, cursor, limit).await?;
    Ok(Json(PageOf::map(page, |deposit| view_deposit(&state, deposit))))
}
