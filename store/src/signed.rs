//! Documents that several people sign one after the other, each kept with the signatures that it has so far. Whether they are enough is
//! not decided here but by `bursar_domain::governance`, each time anew: what is kept is evidence.

use crate::{
    StoreError, WriteTx,
    error::During,
    row::{Fields, to_json},
};
use bursar_domain::{
    governance::signature::{Signature, add_missing},
    time::Timestamp,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};

/// The most documents that are kept about one thing.
pub const MAX: usize = 32;

/// A document, as far as it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<S> {
    pub signed: S,
    pub received_at: Timestamp,
    /// When the last signature came.
    pub updated_at: Timestamp,
}

/// What became of signatures over a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept<S> {
    /// As it is now, with signatures that it did not have.
    New(Stored<S>),
    /// All of these signatures were there.
    Already(Stored<S>),
    /// There are 32 others about the same.
    TooMany,
}

/// Where documents of one kind are kept: a table with a column of what each is about, `digest`, one of the document itself,
/// `signatures`, `received_at` and `updated_at`.
pub(crate) struct Table {
    pub name: &'static str,
    pub about: &'static str,
    pub document: &'static str,
    /// What writing is called in errors.
    pub sign: &'static str,
    /// What reading is called in errors.
    pub of: &'static str,
}

/// A document with signatures.
pub(crate) trait Signed: Clone {
    type Document: Clone + PartialEq + Serialize + DeserializeOwned;
    const TABLE: Table;

    fn new(document: Self::Document, signatures: Vec<Signature>) -> Self;
    fn document(&self) -> &Self::Document;
    /// What the signatures are over.
    fn digest(&self) -> [u8; 32];
    fn signatures(&self) -> &[Signature];
    fn signatures_mut(&mut self) -> &mut Vec<Signature>;
}

/// Keeps signatures over a document, each user's once, beside those that it has. The caller has verified them.
pub(crate) async fn sign<S: Signed>(
    tx: &mut WriteTx,
    about: &str,
    signed: &S,
    now: Timestamp,
) -> Result<Kept<S>, StoreError> {
    let there = of::<S>(tx.connection(), about).await?;
    let full = there.len() >= MAX;
    let mut stored = match there.into_iter().find(|there| there.signed.document() == signed.document()) {
        Some(there) => there,
        None if full => return Ok(Kept::TooMany),
        None => {
            let signed = S::new(signed.document().clone(), Vec::new());
            Stored { signed, received_at: now, updated_at: now }
        }
    };
    if !add_missing(stored.signed.signatures_mut(), signed.signatures()) {
        return Ok(Kept::Already(stored));
    }
    stored.updated_at = now;
    let Table { name, about: subject, document, sign, .. } = S::TABLE;
    let sql = format!(
        "INSERT INTO {name} ({subject}, digest, {document}, signatures, received_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT ({subject}, digest) DO UPDATE SET signatures = excluded.signatures, updated_at = excluded.updated_at"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(about.to_owned())
        .bind(hex::encode(signed.digest()))
        .bind(to_json(stored.signed.document()))
        .bind(to_json(&stored.signed.signatures()))
        .bind(stored.received_at.micros())
        .bind(now.micros())
        .execute(tx.connection())
        .await
        .during(sign)?;
    Ok(Kept::New(stored))
}

/// Every document about this, complete or not, newest first.
pub(crate) async fn of<S: Signed>(
    connection: &mut AnyConnection,
    about: &str,
) -> Result<Vec<Stored<S>>, StoreError> {
    let Table { name, about: subject, document, of, .. } = S::TABLE;
    let sql = format!(
        "SELECT {subject}, digest, {document}, signatures, received_at, updated_at FROM {name} WHERE {subject} = $1 \
         ORDER BY received_at DESC, digest"
    );
    let rows =
        sqlx::query(AssertSqlSafe(sql)).bind(about.to_owned()).fetch_all(connection).await.during(of)?;
    rows.iter().map(decode).collect()
}

fn decode<S: Signed>(row: &AnyRow) -> Result<Stored<S>, StoreError> {
    let Table { name, about, document, .. } = S::TABLE;
    let fields = Fields::new(row, name, about)?;
    let signed = S::new(fields.json(document)?, fields.json("signatures")?);
    if fields.text("digest")? != hex::encode(signed.digest()) {
        return Err(fields.corrupt("digest", format_args!("differs from the {document}")));
    }
    Ok(Stored { signed, received_at: fields.time("received_at")?, updated_at: fields.time("updated_at")? })
}
