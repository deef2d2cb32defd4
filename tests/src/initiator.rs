//! Who asks for payments: an Ed25519 key that the co-signers pin, or that a user of the governance log has.

use anyhow::Context as _;
use bursar::{
    cli::admin::{create_initiator_key, load_initiator_key},
    intake::{self, PaymentRequest, TransferRequest, adapter},
};
use bursar_domain::{
    asset::AssetInfo,
    governance::{
        directory::{KeyId, PublicKey, User},
        signature::{Evidence, Signature},
    },
    intent::{InitiatorKey, Intent, Terms},
    wallet::WalletDescriptor,
};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::Value;
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
            signature: Some(hex::encode(signature).into()),
            ..request
        })
    }

    /// The request as this initiator signs it at a governed desk.
    pub fn sign_at(
        &self,
        desk: &Standing,
        request: TransferRequest,
        wallet: WalletDescriptor,
        asset: &AssetInfo,
    ) -> anyhow::Result<TransferRequest> {
        let request = TransferRequest { terms: Some(desk.terms.clone()), ..request };
        let digest = Self::intent(&request, wallet, asset)?.digest();
        let signature = self.key.sign(&digest.0).to_bytes();
        let (user, key) = (desk.terms.initiator.clone(), desk.key.clone());
        let signature = Signature { user, key, evidence: Evidence::Ed25519 { signature } };
        Ok(TransferRequest { signature: Some(signature.into()), ..request })
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
}

/// The terms under which an initiator's key signs at a governed desk, and which key of the user whom they name it is.
pub struct Standing {
    pub terms: Terms,
    pub key: KeyId,
}

impl Standing {
    /// By what the API says of the log, and of its users.
    pub fn of(initiator: &Initiator, log: &Value, users: &Value) -> anyhow::Result<Self> {
        let read = |name: &str| serde_json::from_value(log[name].clone()).context(name.to_owned());
        let policy = serde_json::from_value(log["policyVersion"].clone()).context("no policy is in force")?;
        let desk = read("genesis")?;
        for user in users["items"].as_array().into_iter().flatten() {
            let user: User = serde_json::from_value(user.clone())?;
            if let Some(key) =
                user.keys.iter().find(|key| key.public() == PublicKey::Ed25519(initiator.key().0))
            {
                let key = key.id.clone();
                return Ok(Self { terms: Terms { desk, policy, initiator: user.id }, key });
            }
        }
        anyhow::bail!("no user of the desk has the initiator's key")
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
        terms: None,
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
pub fn descriptor(wallet: &Value) -> anyhow::Result<WalletDescriptor> {
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
