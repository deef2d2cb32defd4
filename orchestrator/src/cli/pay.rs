//! Composing and signing an intent on the initiator's own machine: what is signed is computed here, not taken from the server.

mod initiator;

pub use initiator::{Initiator, Standing};

use super::{approve::payout, confirm::confirmed, output::Output};
use crate::{
    api::{assets::AssetView, problem::FieldError},
    client::Client,
    intake::{self, FillRequest, PaymentRequest, RecallRequest, TransferRequest, adapter},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use bursar_domain::{
    asset::AssetInfo,
    intent::{Intent, SignedIntent, Terms},
    recall,
    wallet::WalletDescriptor,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::str::FromStr;

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
    initiator: &Initiator,
) -> anyhow::Result<TransferRequest> {
    let request = TransferRequest { terms: initiator.terms(), ..request };
    let intent = compose(client, &request).await?;
    show(&intent);
    let (public, signature) = initiator.sign(&intent);
    Ok(TransferRequest { initiator: public, signature: Some(signature), ..request })
}

/// The request without a signature, and what a passkey is to sign: the digest is its challenge.
pub async fn unsigned(client: &Client, request: TransferRequest, terms: Terms) -> anyhow::Result<Value> {
    let request = TransferRequest { terms: Some(terms), initiator: None, signature: None, ..request };
    let intent = compose(client, &request).await?;
    show(&intent);
    let digest = intent.digest();
    Ok(json!({
        "request": request,
        "canonicalIntent": hex::encode(intent.canonical().as_bytes()),
        "intentDigest": digest,
        "challenge": Base64UrlUnpadded::encode_string(&digest.0),
    }))
}

/// The order to fill a gap, signed.
pub async fn fill(
    client: &Client,
    request: FillRequest,
    initiator: &Initiator,
) -> anyhow::Result<FillRequest> {
    let request = FillRequest { terms: initiator.terms(), ..request };
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
    let (public, signature) = initiator.sign(&intent);
    Ok(FillRequest { initiator: public, signature: Some(signature), ..request })
}

/// The intent that a request means.
pub async fn compose(client: &Client, request: &TransferRequest) -> anyhow::Result<Intent> {
    let wallet: WalletInfo = client.get(&format!("/v1/wallets/{}", request.wallet_id), &[]).await?;
    let info = asset(client, &request.asset).await?;
    let adapter = adapter(wallet.descriptor.network.chain());
    Ok(intake::intent(request, wallet.descriptor, &info, adapter).map_err(InvalidRequest)?)
}

/// The recall of one payout of an order that this initiator gave ([`Initiator::of`]), signed once what is left out was shown and
/// confirmed. What is signed names the order by the digest that was computed here, and the payout by its place.
///
/// # Errors
/// [`InvalidRequest`] if the order has no such payout, and [`NotSigned`](super::confirm::NotSigned) if nobody confirms it.
pub fn recall(
    shown: &Value,
    order: &SignedIntent,
    payment: u32,
    initiator: &Initiator,
    yes: bool,
    output: Output,
) -> anyhow::Result<RecallRequest> {
    let intent = &order.intent;
    let place = usize::try_from(payment).unwrap_or(usize::MAX);
    let Some(left_out) = intent.payments.get(place) else {
        let message =
            format!("the order has no payments[{payment}], but {} from 0 on", intent.payments.len());
        return Err(InvalidRequest(vec![FieldError::new("payment", message)]).into());
    };
    eprintln!(
        "recalling payments[{payment}] of {} from {}, which is left out:",
        intent.external_id, intent.wallet
    );
    eprintln!("  {}", payout(&shown["payments"][place], intent.asset, left_out));
    confirmed(yes, output)?;
    let signature = initiator.signature(&recall::canonical(intent.digest(), payment));
    Ok(RecallRequest { payment, signature })
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
    if let Some(Terms { desk, policy, initiator }) = &intent.terms {
        eprintln!("  at the desk {desk}, under the policy of {policy}, as {initiator}");
    }
}
