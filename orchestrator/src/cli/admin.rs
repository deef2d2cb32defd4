//! Keys: the relay's identity, initiators' signing keys, API keys.

use super::{ConfigFile, output::Output};
use crate::{
    api::{audited, auth},
    compose::{SystemClock, SystemIds, open_store},
    config::Config,
};
use anyhow::Context as _;
use bursar_domain::{
    governance::{directory::UserId, role::Role},
    ids::{ApiKeyId, IdSource, WalletId},
    time::Clock,
};
use bursar_signer_client::Identity;
use bursar_store::{
    Store,
    api_keys::{self, ApiKey, KeyKind, Limits},
};
use clap::{Args, Subcommand};
use ed25519_dalek::VerifyingKey;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub use bursar_kyt::key::{create as create_initiator_key, load as load_initiator_key};

#[derive(Debug, Args)]
pub struct KeyFile {
    /// Where to write the secret key (mode 0600). An existing file is not overwritten.
    #[arg(long)]
    out: PathBuf,
}

impl KeyFile {
    pub fn path(&self) -> &Path {
        &self.out
    }
}

#[derive(Debug, Subcommand)]
pub enum ApiKeys {
    /// Make a key: a bearer key, shown once, or with --out or --public-key one that signs requests.
    ///
    /// Under a governance log, callers are the log's users and sign with their own keys; what is made here can read there, at most.
    Create {
        /// Whose it is.
        #[arg(long)]
        name: String,
        /// Make an Ed25519 key that signs requests, and write its secret half to this file (mode 0600).
        #[arg(long, conflicts_with = "public_key")]
        out: Option<PathBuf>,
        /// Take in an Ed25519 key that was made elsewhere: 64 hex digits, as `bursar initiator-key` prints them.
        #[arg(long)]
        public_key: Option<String>,
        /// What it may do, such as OPERATOR; several times for several. Everything if not given.
        #[arg(long = "role")]
        roles: Vec<Role>,
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// All keys, by name, and users who are limited; secrets are not stored.
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
    /// Limit a user of the governance log to wallets or networks, in place of what limited them before; without either, no more.
    Limit {
        /// The user's id in the log.
        #[arg(long)]
        user: UserId,
        #[command(flatten)]
        limits: LimitArgs,
        #[command(flatten)]
        file: ConfigFile,
    },
}

#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Id of a wallet that may be seen and used, and no others; several times for several. All if not given.
    #[arg(long = "wallet")]
    wallets: Vec<WalletId>,
    /// Where requests may come from, such as 10.0.0.0/8; several times for several. Anywhere if not given.
    #[arg(long = "cidr")]
    networks: Vec<IpNet>,
}

impl LimitArgs {
    /// As they were given, each with a blank before it, for the audit log.
    fn said(&self) -> String {
        let wallets = self.wallets.iter().map(|wallet| format!(" --wallet {wallet}"));
        wallets.chain(self.networks.iter().map(|network| format!(" --cidr {network}"))).collect()
    }
}

impl From<LimitArgs> for Limits {
    fn from(LimitArgs { wallets, networks }: LimitArgs) -> Self {
        Self { wallets: (!wallets.is_empty()).then(|| wallets.into_iter().collect()), networks }
    }
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

/// `said`: the command, for the audit log.
async fn open(file: &ConfigFile, said: &str) -> anyhow::Result<Store> {
    let config = Config::load(&file.config)?;
    let store = open_store(&config).await?;
    Ok(store.acting(audited::command(said, SystemClock.now())))
}

pub async fn api_keys(command: ApiKeys, output: Output) -> anyhow::Result<()> {
    match command {
        ApiKeys::Create { name, out, public_key, roles, limits, file } => {
            let id = ApiKeyId::new(SystemIds.uuid());
            let may: String = roles.iter().map(|role| format!(" --role {role}")).collect();
            let said = format!("bursar api-keys create {id} --name {name}{may}{}", limits.said());
            let store = open(&file, &said).await?;
            let known = ApiKey::new(id, name, SystemClock.now());
            let roles = (!roles.is_empty()).then(|| roles.into_iter().collect());
            let known = ApiKey { roles, limits: limits.into(), ..known };
            create(&store, known, out.as_deref(), public_key.as_deref(), output).await
        }
        ApiKeys::List { file } => list(&open(&file, "bursar api-keys list").await?, output).await,
        ApiKeys::Revoke { id, file } => {
            let mut tx = open(&file, &format!("bursar api-keys revoke {id}")).await?.write().await?;
            let revoked = api_keys::revoke(&mut tx, id, SystemClock.now()).await?;
            tx.commit().await?;
            anyhow::ensure!(
                revoked,
                "there is no API key {id} that is not revoked; see `bursar api-keys list`"
            );
            output.note("revoked");
            Ok(())
        }
        ApiKeys::Limit { user, limits, file } => {
            let said = format!("bursar api-keys limit --user {user}{}", limits.said());
            let limits = Limits::from(limits);
            let mut tx = open(&file, &said).await?.write().await?;
            api_keys::limit_user(&mut tx, &user, &limits, SystemClock.now()).await?;
            tx.commit().await?;
            output.value(&limited(&user, &limits));
            Ok(())
        }
    }
}

async fn create(
    store: &Store,
    key: ApiKey,
    out: Option<&Path>,
    public_key: Option<&str>,
    output: Output,
) -> anyhow::Result<()> {
    let mut secret = None;
    let public_key = match (out, public_key) {
        (Some(out), _) => Some(create_initiator_key(out)?.verifying_key().to_bytes()),
        (None, Some(text)) => Some(public_half(text)?),
        (None, None) => None,
    };
    let (kind, hash) = match public_key {
        Some(public_key) => (KeyKind::Ed25519 { public_key }, auth::hash(&public_key)),
        None => {
            let (made, hash) = auth::new_key(&mut rand::rngs::OsRng);
            secret = Some(made);
            (KeyKind::Bearer, hash)
        }
    };
    let key = ApiKey { kind, ..key };
    let mut tx = store.write().await?;
    api_keys::insert(&mut tx, &key, &hash).await?;
    tx.commit().await?;
    let mut shown = view(&key);
    if let Some(secret) = secret {
        shown["apiKey"] = json!(secret.as_str());
    }
    if let Some(out) = out {
        shown["file"] = json!(out);
    }
    output.value(&shown);
    Ok(())
}

fn public_half(text: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).context("--public-key: must be 64 hex digits")?;
    let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
    key.context("--public-key: not an Ed25519 public key, or of small order")?;
    Ok(bytes)
}

async fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let keys = api_keys::list(store).await?;
    let users = api_keys::limited_users(store).await?;
    let users: Vec<_> = users.iter().map(|(user, limits)| limited(user, limits)).collect();
    let items: Vec<_> = keys.iter().map(view).collect();
    let columns = ["id", "name", "kind", "roles", "wallets", "networks", "createdAt", "revokedAt"];
    output.table(&json!({ "items": items, "users": users }), &columns);
    Ok(())
}

fn view(key: &ApiKey) -> Value {
    let time = crate::api::wire::time;
    let public_key = match key.kind {
        KeyKind::Bearer => None,
        KeyKind::Ed25519 { public_key } => Some(hex::encode(public_key)),
    };
    json!({
        "id": key.id,
        "name": key.name,
        "kind": key.kind.to_string(),
        "publicKey": public_key,
        "roles": key.roles,
        "wallets": key.limits.wallets,
        "networks": texts(&key.limits.networks),
        "createdAt": time(key.created_at),
        "revokedAt": key.revoked_at.map(time),
    })
}

fn limited(user: &UserId, limits: &Limits) -> Value {
    json!({ "user": user, "wallets": limits.wallets, "networks": texts(&limits.networks) })
}

fn texts(networks: &[IpNet]) -> Option<Vec<String>> {
    (!networks.is_empty()).then(|| networks.iter().map(IpNet::to_string).collect())
}
