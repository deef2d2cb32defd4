//! Composing and signing an intent on the initiator's own machine: what is signed is computed here, not taken from the server.

use super::admin;
use crate::{
    api::{assets::AssetView, problem::FieldError},
    client::Client,
    intake::{self, FillRequest, PaymentRequest, RecallRequest, TransferRequest, adapter},
};
use anyhow::Context as _;
use bursar_domain::{
    asset::AssetInfo,
    intent::{Intent, IntentDigest},
    recall,
    wallet::WalletDescriptor,
};
use ed25519_dalek::Signer;
use serde::Deserialize;
use serde_json::Value;
use std::{path::Path, str::FromStr};

/// The request is wrong before anything was sent.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed:\n{}", .0.iter().map(|e| format!("  {}: {}", e.field, e.message)).collect::<Vec<_>>().join("\n"))]
pub struct InvalidRequest(Vec<FieldError>);

/// `address=amount`, or `address:tag=amount` on XRP.
#[derive(Debug, Clone)]
pub struct To(pub PaymentRequest);

impl FromStr for To {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (destination, amount) =
            text.rsplit_once('=').ok_or("expected ADDRESS=AMOUNT or ADDRESS:TAG=AMOUNT")?;
        let (address, tag) = match destination.rsplit_once(':') {
            Some((address, tag)) => {
                (address, Some(tag.parse().map_err(|_| "a destination tag is a number under 2^32")?))
            }
            None => (destination, None),
        };
        Ok(Self(PaymentRequest { address: address.into(), tag, amount: amount.into() }))
    }
}

/// What the server says of the wallet. Its descriptor is part of what is signed, so co-signers hold it against their own keys.
#[derive(Debug, Deserialize)]
struct WalletInfo {
    descriptor: WalletDescriptor,
}

#[derive(Debug, Deserialize)]
struct AssetPage {
    items: Vec<AssetView>,
}

/// The request with the initiator's signature.
pub async fn sign(
    client: &Client,
    request: TransferRequest,
    key_file: &Path,
) -> anyhow::Result<TransferRequest> {
    let key = admin::load_initiator_key(key_file)?;
    let intent = compose(client, &request).await?;
    show(&intent);
    let signature = key.sign(intent.canonical().as_bytes());
    Ok(TransferRequest {
        initiator: Some(hex::encode(key.verifying_key().as_bytes())),
        signature: Some(hex::encode(signature.to_bytes())),
        ..request
    })
}

/// The order to fill a gap, signed.
pub async fn fill(client: &Client, request: FillRequest, key_file: &Path) -> anyhow::Result<FillRequest> {
    let key = admin::load_initiator_key(key_file)?;
    let wallet: WalletInfo = client.get(&format!("/v1/wallets/{}", request.wallet_id), &[]).await?;
    let adapter = adapter(wallet.descriptor.network.chain());
    let intent = intake::fill(&request, wallet.descriptor, adapter).map_err(InvalidRequest)?;
    eprintln!(
        "signing {}: nonce {} of {} ({}) is used up and pays nobody, fee at most {} wei",
        intent.external_id,
        request.nonce,
        intent.source.as_deref().unwrap_or_default(),
        intent.wallet,
        intent.max_fee
    );
    let signature = key.sign(intent.canonical().as_bytes());
    Ok(FillRequest {
        initiator: Some(hex::encode(key.verifying_key().as_bytes())),
        signature: Some(hex::encode(signature.to_bytes())),
        ..request
    })
}

/// The intent that a request means.
pub async fn compose(client: &Client, request: &TransferRequest) -> anyhow::Result<Intent> {
    let wallet: WalletInfo = client.get(&format!("/v1/wallets/{}", request.wallet_id), &[]).await?;
    let info = asset(client, &request.asset).await?;
    let adapter = adapter(wallet.descriptor.network.chain());
    Ok(intake::intent(request, wallet.descriptor, &info, adapter).map_err(InvalidRequest)?)
}

/// The recall of one payout, signed. What is signed names the order by its digest and the payout by its place.
pub fn recall(transfer: &Value, payment: u32, key_file: &Path) -> anyhow::Result<RecallRequest> {
    let key = admin::load_initiator_key(key_file)?;
    let text = |name: &str| transfer[name].as_str().unwrap_or_default().to_owned();
    if !text("initiator").eq_ignore_ascii_case(&hex::encode(key.verifying_key().as_bytes())) {
        let message = format!("did not sign this transfer; {} did", text("initiator"));
        return Err(InvalidRequest(vec![FieldError::new("key", message)]).into());
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(text("intentDigest"), &mut digest).context("the answer has no intent digest")?;
    let payout = &transfer["payments"][payment as usize];
    eprintln!("recalling payments[{payment}] of {}: {payout}", text("externalId"));
    let signature = key.sign(recall::canonical(IntentDigest(digest), payment).as_bytes());
    Ok(RecallRequest { payment, signature: hex::encode(signature.to_bytes()) })
}

/// The chains' own assets are known here; of a token the server tells contract and decimals, which [`show`] lets people check.
async fn asset(client: &Client, name: &str) -> anyhow::Result<AssetInfo> {
    if let Some(native) = AssetInfo::natives().into_iter().find(|info| info.symbol == name) {
        return Ok(native);
    }
    let assets: AssetPage = client.get("/v1/assets", &[]).await?;
    let named = |asset: &AssetView| asset.symbol == name || asset.asset.to_string() == name;
    let found = assets.items.into_iter().find(named);
    let found = found
        .ok_or_else(|| InvalidRequest(vec![FieldError::new("asset", "unknown asset: see GET /v1/assets")]))?;
    Ok(AssetInfo { asset: found.asset, symbol: found.symbol, decimals: found.decimals })
}

/// Says on standard error what is being signed, in the smallest units and by contract: what the signature covers, not what a
/// server calls it.
fn show(intent: &Intent) {
    eprintln!(
        "signing {} from {}, fee at most {} (smallest units)",
        intent.external_id, intent.wallet, intent.max_fee
    );
    for payment in &intent.payments {
        let tag = payment.destination.tag.map(|tag| format!(" tag {tag}")).unwrap_or_default();
        eprintln!("  {} {} to {}{tag}", payment.amount, intent.asset, payment.destination.address);
    }
}
