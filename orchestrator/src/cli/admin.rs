//! Keys: the relay's identity, initiators' signing keys, API keys.

use super::{ConfigFile, output::Output};
use crate::{
    api::auth,
    compose::{SystemClock, SystemIds},
    config::Config,
};
use anyhow::Context as _;
use bursar_domain::{
    ids::{ApiKeyId, IdSource},
    time::Clock,
};
use bursar_signer_client::Identity;
use bursar_store::{
    Store,
    api_keys::{self, ApiKey},
};
use clap::{Args, Subcommand};
use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use serde_json::json;
use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

#[derive(Debug, Args)]
pub struct KeyFile {
    /// Where to write the secret key (mode 0600). An existing file is not overwritten.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum ApiKeys {
    /// Make a key and show it, once.
    Create {
        /// Whose it is.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// All keys, by name; the keys themselves are not stored.
    List {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Takes effect with the next request.
    Revoke {
        /// See `api-keys list`.
        id: ApiKeyId,
        #[command(flatten)]
        file: ConfigFile,
    },
}

pub fn relay_identity(file: &KeyFile, output: Output) -> anyhow::Result<()> {
    let identity = Identity::create(&file.out)?;
    output.value(&json!({ "file": file.out, "publicKey": identity.public().to_string() }));
    Ok(())
}

pub fn initiator_key(file: &KeyFile, output: Output) -> anyhow::Result<()> {
    let key = create_initiator_key(&file.out)?;
    output.value(&json!({ "file": file.out, "publicKey": hex::encode(key.verifying_key().as_bytes()) }));
    Ok(())
}

/// A fresh Ed25519 key, written to `path` as PKCS#8 PEM, readable by its owner only.
pub fn create_initiator_key(path: &Path) -> anyhow::Result<SigningKey> {
    let key = SigningKey::generate(&mut rand::rngs::OsRng);
    let pem = key.to_pkcs8_pem(LineEnding::LF).context("cannot encode the key")?;
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(
            || format!("cannot create {} (an existing key is not overwritten)", path.display()),
        )?;
    out.write_all(pem.as_bytes()).and_then(|()| out.sync_all()).context("cannot write the key")?;
    Ok(key)
}

/// Reads what [`create_initiator_key`] wrote.
pub fn load_initiator_key(path: &Path) -> anyhow::Result<SigningKey> {
    let pem = std::fs::read_to_string(path).map(zeroize::Zeroizing::new);
    let pem = pem.with_context(|| format!("cannot read {}", path.display()))?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
        anyhow::anyhow!(
            "{}: not an Ed25519 key in PKCS#8 PEM; make one with `bursar initiator-key`",
            path.display()
        )
    })
}

async fn open(file: &ConfigFile) -> anyhow::Result<Store> {
    let config = Config::load(&file.config)?;
    Store::open(config.store.url.reveal()).await.context("cannot open the store")
}

pub async fn api_keys(command: ApiKeys, output: Output) -> anyhow::Result<()> {
    match command {
        ApiKeys::Create { name, file } => {
            let (secret, hash) = auth::new_key(&mut rand::rngs::OsRng);
            let key = ApiKey {
                id: ApiKeyId::new(SystemIds.uuid()),
                name,
                created_at: SystemClock.now(),
                revoked_at: None,
            };
            let mut tx = open(&file).await?.write().await?;
            api_keys::insert(&mut tx, &key, &hash).await?;
            tx.commit().await?;
            output.value(&json!({ "id": key.id, "name": key.name, "apiKey": secret.as_str() }));
        }
        ApiKeys::List { file } => {
            let store = open(&file).await?;
            let keys = api_keys::list(&store).await?.into_iter().map(|key| {
                let time = crate::api::wire::time;
                json!({ "id": key.id, "name": key.name, "createdAt": time(key.created_at), "revokedAt": key.revoked_at.map(time) })
            });
            output.table(
                &json!({ "items": keys.collect::<Vec<_>>() }),
                &["id", "name", "createdAt", "revokedAt"],
            );
        }
        ApiKeys::Revoke { id, file } => {
            let mut tx = open(&file).await?.write().await?;
            let revoked = api_keys::revoke(&mut tx, id, SystemClock.now()).await?;
            tx.commit().await?;
            anyhow::ensure!(
                revoked,
                "there is no API key {id} that is not revoked; see `bursar api-keys list`"
            );
            output.note("revoked");
        }
    }
    Ok(())
}
