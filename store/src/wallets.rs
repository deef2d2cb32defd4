//! Wallets: a name for a key, a network and an address format.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, plain},
};
use bursar_domain::{
    ids::WalletId,
    network::Network,
    time::Timestamp,
    wallet::{WalletDescriptor, WalletKind},
};
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    pub id: WalletId,
    pub name: String,
    pub descriptor: WalletDescriptor,
    pub created_at: Timestamp,
}

/// The lowest account index above all that wallets of this kind use. Insert the wallet in the same transaction.
pub async fn next_account(tx: &mut WriteTx, network: Network, kind: WalletKind) -> Result<u32, StoreError> {
    let row = sqlx::query(
        "SELECT 'next' AS name, COALESCE(MAX(account) + 1, 0) AS account FROM wallets WHERE network = $1 AND kind = $2",
    )
    .bind(network.to_string())
    .bind(kind.to_string())
    .fetch_one(tx.connection())
    .await
    .during("wallets.next_account")?;
    Fields::new(&row, "wallets", "name")?.number("account")
}

pub async fn insert(tx: &mut WriteTx, wallet: &Wallet) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO wallets (id, name, descriptor, network, kind, account, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(wallet.id.to_string())
    .bind(plain(&wallet.name))
    .bind(wallet.descriptor.to_string())
    .bind(wallet.descriptor.network.to_string())
    .bind(wallet.descriptor.kind.to_string())
    .bind(i64::from(wallet.descriptor.account))
    .bind(wallet.created_at.micros())
    .execute(tx.connection())
    .await
    .during("wallets.insert")
    .map(|_| ())
}

pub async fn get(store: &Store, id: WalletId) -> Result<Option<Wallet>, StoreError> {
    sqlx::query("SELECT id, name, descriptor, created_at FROM wallets WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("wallets.get")?
        .as_ref()
        .map(decode)
        .transpose()
}

/// All wallets, oldest first.
pub async fn list(store: &Store) -> Result<Vec<Wallet>, StoreError> {
    let rows = sqlx::query("SELECT id, name, descriptor, created_at FROM wallets ORDER BY id")
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("wallets.list")?;
    rows.iter().map(decode).collect()
}

pub async fn by_descriptor(
    store: &Store,
    descriptor: &WalletDescriptor,
) -> Result<Option<Wallet>, StoreError> {
    sqlx::query("SELECT id, name, descriptor, created_at FROM wallets WHERE descriptor = $1")
        .bind(descriptor.to_string())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("wallets.by_descriptor")?
        .as_ref()
        .map(decode)
        .transpose()
}

fn decode(row: &AnyRow) -> Result<Wallet, StoreError> {
    let fields = Fields::new(row, "wallets", "id")?;
    Ok(Wallet {
        id: fields.parse("id")?,
        name: fields.text("name")?,
        descriptor: fields.parse("descriptor")?,
        created_at: fields.time("created_at")?,
    })
}
