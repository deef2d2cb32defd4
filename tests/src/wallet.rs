//! A funded wallet, and requests to pay from it.

use crate::{
    environment::{self, Environment},
    initiator::{descriptor, request},
    waiting::text,
};
use alloy::primitives::U256;
use bursar::intake::{PaymentRequest, TransferRequest};
use bursar_domain::amount::Amount;
use serde_json::Value;

/// A wallet as the API shows it.
pub struct Wallet {
    pub view: Value,
    pub id: String,
    pub address: String,
}

impl Wallet {
    pub async fn create(environment: &Environment, chain: &str, kind: Option<&str>) -> anyhow::Result<Self> {
        let view = environment.api.create_wallet(&format!("e2e {chain}"), chain, kind).await?;
        Ok(Self { id: text(&view, "id")?, address: text(&view, "address")?, view })
    }

    /// A Bitcoin wallet with one output of so many satoshi at each of so many addresses.
    pub async fn bitcoin(
        environment: &Environment,
        kind: Option<&str>,
        deposits: &[u64],
    ) -> anyhow::Result<Self> {
        let wallet = Self::create(environment, "bitcoin", kind).await?;
        let mut address = wallet.address.clone();
        for satoshi in deposits {
            environment.nodes.bitcoind.fund(&address, *satoshi).await?;
            address = environment.api.create_address(&wallet.id).await?;
        }
        let total: u64 = deposits.iter().sum();
        let total = Amount(U256::from(total)).to_decimal(8);
        environment.api.await_balance(&wallet.id, "BTC", &total).await?;
        Ok(wallet)
    }

    /// An Ethereum wallet with so many whole ETH and tokens.
    pub async fn ethereum(environment: &Environment, ether: u64, tokens: u64) -> anyhow::Result<Self> {
        let wallet = Self::create(environment, "ethereum", None).await?;
        let Environment { nodes, api, .. } = environment;
        let wei = U256::from(ether) * U256::from(10).pow(U256::from(18));
        nodes.anvil.fund(&wallet.address, wei).await?;
        nodes.anvil.mint(&nodes.token, &wallet.address, U256::from(tokens * 1_000_000)).await?;
        api.await_balance(&wallet.id, "ETH", &ether.to_string()).await?;
        api.await_balance(&wallet.id, environment::TOKEN, &tokens.to_string()).await?;
        Ok(wallet)
    }

    /// An XRP wallet with so many whole XRP.
    pub async fn xrp(environment: &Environment, kind: Option<&str>, whole: u64) -> anyhow::Result<Self> {
        let wallet = Self::create(environment, "xrp", kind).await?;
        environment.nodes.xrpl.fund(&wallet.address, whole * 1_000_000).await?;
        environment.api.await_balance(&wallet.id, "XRP", &whole.to_string()).await?;
        Ok(wallet)
    }

    /// A signed request for payments of `asset` out of this wallet.
    pub async fn request(
        &self,
        environment: &Environment,
        asset: &str,
        payments: Vec<PaymentRequest>,
    ) -> anyhow::Result<TransferRequest> {
        let unsigned = request(&self.id, asset, payments, max_fee(asset))?;
        self.sign(environment, unsigned).await
    }

    pub async fn sign(
        &self,
        environment: &Environment,
        request: TransferRequest,
    ) -> anyhow::Result<TransferRequest> {
        let info = environment.api.asset(&request.asset).await?;
        let (initiator, descriptor) = (&environment.initiator, descriptor(&self.view)?);
        match environment.api.standing(initiator).await? {
            Some(desk) => initiator.sign_at(&desk, request, descriptor, &info),
            None => initiator.sign(request, descriptor, &info),
        }
    }

    /// Asks for a payment; the transfer's id.
    pub async fn pay(
        &self,
        environment: &Environment,
        asset: &str,
        payments: Vec<PaymentRequest>,
    ) -> anyhow::Result<String> {
        let signed = self.request(environment, asset, payments).await?;
        let created: Value =
            environment.api.client.post_once("/v1/transfers", &signed.external_id, &signed).await?;
        text(&created, "id")
    }
}

/// A generous cap on the network fee that the co-signers still allow.
fn max_fee(asset: &str) -> &'static str {
    match asset {
        "BTC" => "0.001",
        "XRP" => "0.01",
        _ => "0.01",
    }
}
