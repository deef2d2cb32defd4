//! Who may call the API besides the users of a governance log. Only hashes of secrets are kept.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, plain, to_json},
};
use bursar_domain::{
    governance::{directory::UserId, role::Role},
    ids::{ApiKeyId, WalletId},
    time::Timestamp,
};
use ipnet::IpNet;
use sqlx::any::AnyRow;
use std::{collections::BTreeSet, fmt, str::FromStr};

/// What a caller proves that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A secret that is sent with each request.
    Bearer,
    /// An Ed25519 key that signs each request.
    Ed25519 { public_key: [u8; 32] },
}

impl KeyKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "BEARER",
            Self::Ed25519 { .. } => "ED25519",
        }
    }
}
impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What narrows down whatever the roles allow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// It knows of no others; `None`: all.
    pub wallets: Option<BTreeSet<WalletId>>,
    /// Where it may call from; none: anywhere.
    pub networks: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub kind: KeyKind,
    /// `None`: all of them.
    pub roles: Option<BTreeSet<Role>>,
    pub limits: Limits,
    pub created_at: Timestamp,
    /// Not valid from then on.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// A bearer key with every role and without limits.
    pub fn new(id: ApiKeyId, name: impl Into<String>, created_at: Timestamp) -> Self {
        Self {
            id,
            name: name.into(),
            kind: KeyKind::Bearer,
            roles: None,
            limits: Limits::default(),
            created_at,
            revoked_at: None,
        }
    }
}

const COLUMNS: &str = "id, name, kind, public_key, roles, wallets, networks, created_at, revoked_at";

/// `hash`: SHA-256 of the secret, which is random and long enough to need no salt; of an Ed25519 key, that of the public key. There is
/// one row for each.
pub async fn insert(tx: &mut WriteTx, key: &ApiKey, hash: &[u8; 32]) -> Result<(), StoreError> {
    let public_key = match key.kind {
        KeyKind::Bearer => None,
        KeyKind::Ed25519 { public_key } => Some(public_key.to_vec()),
    };
    let sql = format!(
        "INSERT INTO api_keys ({COLUMNS}, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (hash) DO NOTHING"
    );
    const OPERATION: &str = "api_keys.insert";
    let inserted = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(key.id.to_string())
        .bind(plain(&key.name))
        .bind(key.kind.to_string())
        .bind(public_key)
        .bind(key.roles.as_ref().map(to_json))
        .bind(key.limits.wallets.as_ref().map(to_json))
        .bind(networks(&key.limits))
        .bind(key.created_at.micros())
        .bind(key.revoked_at.map(Timestamp::micros))
        .bind(hash.to_vec())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    match inserted.rows_affected() {
        0 => {
            let reason = "this key is there already, or was and is revoked; use a new one".into();
            Err(StoreError::Conflict { operation: OPERATION, reason })
        }
        _ => Ok(()),
    }
}

/// Revoked keys too: the caller looks at `revoked_at`.
pub async fn by_hash(store: &Store, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM api_keys WHERE hash = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(hash.to_vec())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("api_keys.by_hash")?
        .as_ref()
        .map(decode)
        .transpose()
}

/// All keys, oldest first.
pub async fn list(store: &Store) -> Result<Vec<ApiKey>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM api_keys ORDER BY id")))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("api_keys.list")?;
    rows.iter().map(decode).collect()
}

/// `false`: there is no such key, or it was revoked before.
pub async fn revoke(tx: &mut WriteTx, id: ApiKeyId, now: Timestamp) -> Result<bool, StoreError> {
    let revoked = sqlx::query("UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(now.micros())
        .bind(id.to_string())
        .execute(tx.connection())
        .await
        .during("api_keys.revoke")?;
    Ok(revoked.rows_affected() == 1)
}

/// Limits a user of the directory, in place of what limited it before.
pub async fn limit_user(
    tx: &mut WriteTx,
    user: &UserId,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO user_limits (user_id, wallets, networks, updated_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (user_id) DO UPDATE SET wallets = excluded.wallets, networks = excluded.networks, \
         updated_at = excluded.updated_at",
    )
    .bind(user.to_string())
    .bind(limits.wallets.as_ref().map(to_json))
    .bind(networks(limits))
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("user_limits.put")
    .map(|_| ())
}

/// What a user is limited to; nothing where nobody said so.
pub async fn limits_of_user(store: &Store, user: &UserId) -> Result<Limits, StoreError> {
    let row = sqlx::query("SELECT user_id, wallets, networks FROM user_limits WHERE user_id = $1")
        .bind(user.to_string())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("user_limits.get")?;
    row.map_or(Ok(Limits::default()), |row| limits(&Fields::new(&row, "user_limits", "user_id")?))
}

/// Everybody who is limited.
pub async fn limited_users(store: &Store) -> Result<Vec<(UserId, Limits)>, StoreError> {
    let rows = sqlx::query("SELECT user_id, wallets, networks FROM user_limits ORDER BY user_id")
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("user_limits.list")?;
    let decode = |row| {
        let fields = Fields::new(row, "user_limits", "user_id")?;
        Ok((fields.parse("user_id")?, limits(&fields)?))
    };
    rows.iter().map(decode).collect()
}

fn networks(limits: &Limits) -> Option<String> {
    let texts: Vec<_> = limits.networks.iter().map(IpNet::to_string).collect();
    (!texts.is_empty()).then(|| to_json(&texts))
}

fn limits(fields: &Fields<'_>) -> Result<Limits, StoreError> {
    let texts: Vec<String> = fields.json_opt("networks")?.unwrap_or_default();
    let networks = texts.iter().map(|text| IpNet::from_str(text));
    let networks = networks.collect::<Result<_, _>>().map_err(|error| fields.corrupt("networks", error))?;
    Ok(Limits { wallets: fields.json_opt("wallets")?, networks })
}

fn decode(row: &AnyRow) -> Result<ApiKey, StoreError> {
    let fields = Fields::new(row, "api_keys", "id")?;
    let kind = match (fields.text("kind")?.as_str(), fields.bytes_opt("public_key")?) {
        ("BEARER", None) => KeyKind::Bearer,
        ("ED25519", Some(bytes)) => {
            let public_key = bytes.try_into();
            let public_key = public_key.map_err(|_| fields.corrupt("public_key", "is not of 32 bytes"))?;
            KeyKind::Ed25519 { public_key }
        }
        (other, _) => return Err(fields.corrupt("kind", format_args!("{other:?} and public_key do not fit"))),
    };
    Ok(ApiKey {
        id: fields.parse("id")?,
        name: fields.text("name")?,
        kind,
        roles: fields.json_opt("roles")?,
        limits: limits(&fields)?,
        created_at: fields.time("created_at")?,
        revoked_at: fields.time_opt("revoked_at")?,
    })
}
