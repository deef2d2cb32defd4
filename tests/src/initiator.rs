//! Who asks for payments: an Ed25519 key that the co-signers pin.

use anyhow::Context as _;
use bursar::{
    cli::admin::{create_initiator_key, load_initiator_key},
    intake::{self, PaymentRequest, TransferRequest, adapter},
};
use bursar_domain::{
    asset::AssetInfo,
    intent::{InitiatorKey, Intent, SignedIntent},
    wallet::WalletDescriptor,
};
use ed25519_dalek::{Signer as _, SigningKey};
use std::path::{Path, PathBuf};

pub struct Initiator {
    key: SigningKey,
    file: PathBuf,
}

impl Initiator {
    pub fn load_or_create(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let file = dir.canonicalize()?.join("initiator.pem");
        if !file.exists() {
            create_initiator_key(&file)?;
        }
        Ok(Self { key: load_initiator_key(&file)?, file })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn key(&self) -> InitiatorKey {
        InitiatorKey(*self.key.verifying_key().as_bytes())
    }

    /// For what else its owner signs, such as requests to a governed installation.
    pub fn secret(&self) -> &SigningKey {
        &self.key
    }
    pub fn public_key(&self) -> String {
        hex::encode(self.key.verifying_key().as_bytes())
    }

    /// The request with this initiator's signature over the intent that it means.
    pub fn sign(
        &self,
        request: TransferRequest,
        wallet: WalletDescriptor,
        asset: &AssetInfo,
    ) -> anyhow::Result<TransferRequest> {
        let intent = Self::intent(&request, wallet, asset)?;
        let signature = self.key.sign(intent.canonical().as_bytes()).to_bytes();
        Ok(TransferRequest {
            initiator: Some(self.public_key()),
            signature: Some(hex::encode(signature)),
            ..request
        })
    }

    /// The intent that a request means.
    pub fn intent(
        request: &TransferRequest,
        wallet: WalletDescriptor,
        asset: &AssetInfo,
    ) -> anyhow::Result<Intent> {
        intake::intent(request, wallet, asset, adapter(wallet.network.chain()))
            .map_err(|errors| anyhow::anyhow!("the request is wrong: {errors:?}"))
    }

    pub fn sign_intent(&self, intent: Intent) -> SignedIntent {
        let signature = self.key.sign(intent.canonical().as_bytes()).to_bytes();
        SignedIntent { intent, initiator: self.key(), signature }
    }
}

/// A request with fresh `externalId`, valid for an hour.
pub fn request(
    wallet_id: &str,
    asset: &str,
    payments: Vec<PaymentRequest>,
    max_fee: &str,
) -> anyhow::Result<TransferRequest> {
    let expires_at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    Ok(TransferRequest {
        external_id: format!("e2e-{}", uuid::Uuid::from_bytes(rand_bytes())),
        wallet_id: wallet_id.to_owned(),
        asset: asset.to_owned(),
        source: None,
        payments,
        max_fee: max_fee.to_owned(),
        expires_at: expires_at.to_string(),
        initiator: None,
        signature: None,
    })
}

pub fn payment(address: &str, amount: &str) -> PaymentRequest {
    PaymentRequest { address: address.to_owned(), tag: None, amount: amount.to_owned() }
}

pub fn tagged(address: &str, tag: u32, amount: &str) -> PaymentRequest {
    PaymentRequest { tag: Some(tag), ..payment(address, amount) }
}

/// Reads a wallet's descriptor out of its view.
pub fn descriptor(wallet: &serde_json::Value) -> anyhow::Result<WalletDescriptor> {
    wallet["descriptor"]
        .as_str()
        .context("a wallet has a descriptor")?
        .parse()
        .context("a descriptor is readable")
}

pub(crate) fn rand_bytes<const N: usize>() -> [u8; N] {
    use rand::RngCore as _;
    let mut bytes = [0u8; N];
    rand::rngs::OsRng.fill_bytes(&mut bytes);
    bytes
}
