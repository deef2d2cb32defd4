//! The wallets' own addresses, each with the path of its key.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    page::{self, Page},
    row::{Fields, plain},
};
use bursar_domain::{
    ids::{AddressId, WalletId},
    network::Network,
    time::Timestamp,
    wallet::{Branch, DerivationPath},
};
use sqlx::{AnyConnection, any::AnyRow};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRecord {
    pub id: AddressId,
    pub wallet: WalletId,
    pub path: DerivationPath,
    /// In canonical form.
    pub address: String,
    pub label: Option<String>,
    pub created_at: Timestamp,
}

/// The lowest index above all that the wallet uses on this branch. Insert the address in the same transaction.
pub async fn next_index(tx: &mut WriteTx, wallet: WalletId, branch: Branch) -> Result<u32, StoreError> {
    next_index_on(tx.connection(), wallet, branch).await
}

/// As [`next_index`], for a look only: it may be gone when the address is inserted.
pub async fn peek_index(store: &Store, wallet: WalletId, branch: Branch) -> Result<u32, StoreError> {
    next_index_on(&mut *store.reader().await?, wallet, branch).await
}

async fn next_index_on(
    connection: &mut AnyConnection,
    wallet: WalletId,
    branch: Branch,
) -> Result<u32, StoreError> {
    let row = sqlx::query(
        "SELECT 'next' AS name, COALESCE(MAX(position) + 1, 0) AS position FROM addresses WHERE wallet = $1 AND branch = $2",
    )
    .bind(wallet.to_string())
    .bind(branch_number(branch))
    .fetch_one(connection)
    .await
    .during("addresses.next_index")?;
    Fields::new(&row, "addresses", "name")?.number("position")
}

pub async fn insert(tx: &mut WriteTx, record: &AddressRecord) -> Result<(), StoreError> {
    const OPERATION: &str = "addresses.insert";
    let inserted = sqlx::query(
        "INSERT INTO addresses (id, wallet, network, address, purpose, account, branch, position, label, created_at) \
         SELECT $1, id, network, $2, $3, $4, $5, $6, $7, $8 FROM wallets WHERE id = $9",
    )
    .bind(record.id.to_string())
    .bind(record.address.clone())
    .bind(i64::from(record.path.purpose))
    .bind(i64::from(record.path.account))
    .bind(branch_number(record.path.branch))
    .bind(i64::from(record.path.index))
    .bind(record.label.as_deref().map(plain))
    .bind(record.created_at.micros())
    .bind(record.wallet.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    match inserted.rows_affected() {
        0 => Err(StoreError::NotFound { table: "wallets", key: record.wallet.to_string() }),
        _ => Ok(()),
    }
}

/// Oldest first, both branches.
pub async fn of_wallet(
    store: &Store,
    wallet: WalletId,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<AddressRecord>, StoreError> {
    let after = cursor.map(|cursor| page::decode::<AddressId>("addresses", cursor)).transpose()?;
    let rows = sqlx::query(
        "SELECT id, wallet, address, purpose, account, branch, position, label, created_at FROM addresses \
         WHERE wallet = $1 AND id > $2 ORDER BY id LIMIT $3",
    )
    .bind(wallet.to_string())
    .bind(after.map_or_else(String::new, |id| id.to_string()))
    .bind(page::fetch(limit))
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("addresses.of_wallet")?;
    let items = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(items, limit, "addresses", |record| record.id.to_string()))
}

/// Whose address it is, if it is one of ours.
pub async fn find(
    store: &Store,
    network: Network,
    address: &str,
) -> Result<Option<AddressRecord>, StoreError> {
    find_on(&mut *store.reader().await?, network, address).await
}

pub(crate) async fn find_on(
    connection: &mut AnyConnection,
    network: Network,
    address: &str,
) -> Result<Option<AddressRecord>, StoreError> {
    sqlx::query(
        "SELECT id, wallet, address, purpose, account, branch, position, label, created_at FROM addresses \
         WHERE network = $1 AND address = $2",
    )
    .bind(network.to_string())
    .bind(address.to_owned())
    .fetch_optional(connection)
    .await
    .during("addresses.find")?
    .as_ref()
    .map(decode)
    .transpose()
}

/// The wallet's first receiving address (index 0).
pub async fn first(store: &Store, wallet: WalletId) -> Result<Option<AddressRecord>, StoreError> {
    sqlx::query(
        "SELECT id, wallet, address, purpose, account, branch, position, label, created_at FROM addresses \
         WHERE wallet = $1 AND branch = 0 AND position = 0",
    )
    .bind(wallet.to_string())
    .fetch_optional(&mut *store.reader().await?)
    .await
    .during("addresses.first")?
    .as_ref()
    .map(decode)
    .transpose()
}

const fn branch_number(branch: Branch) -> i64 {
    match branch {
        Branch::Receive => 0,
        Branch::Change => 1,
    }
}

/// The path in the columns `purpose`, `account`, `branch`, `position`.
pub(crate) fn decode_path(fields: &Fields<'_>) -> Result<DerivationPath, StoreError> {
    let elements = [
        fields.number("purpose")?,
        fields.number("account")?,
        fields.number("branch")?,
        fields.number("position")?,
    ];
    DerivationPath::from_elements(&elements).ok_or_else(|| fields.corrupt("branch", "not a derivation path"))
}

fn decode(row: &AnyRow) -> Result<AddressRecord, StoreError> {
    let fields = Fields::new(row, "addresses", "id")?;
    Ok(AddressRecord {
        id: fields.parse("id")?,
        wallet: fields.parse("wallet")?,
        path: decode_path(&fields)?,
        address: fields.text("address")?,
        label: fields.text_opt("label")?,
        created_at: fields.time("created_at")?,
    })
}
