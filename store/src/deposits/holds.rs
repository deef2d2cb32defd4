//! What screening and compliance said of a deposit. While that holds it, the output that it is cannot be reserved, and on chains with
//! accounts its amount is not counted as spendable ([`withheld`]).

use super::{Deposit, SELECT};
use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, plain, to_int},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    effects::OutPoint,
    ids::{DepositId, WalletId},
    network::Network,
    time::Timestamp,
};
use sqlx::{AssertSqlSafe, any::AnyRow};
use std::{fmt, str::FromStr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldState {
    /// To be screened once it is final.
    New,
    /// A round of its screening is written down.
    Asked,
    /// Its screening found nothing.
    Cleared,
    /// A screening or an alert holds it.
    Frozen,
    /// Compliance let it go.
    Released,
    /// Compliance let it go to be paid back.
    Refund,
    /// Compliance put it aside for good.
    Isolated,
}

impl HoldState {
    const ALL: [(Self, &'static str); 7] = [
        (Self::New, "NEW"),
        (Self::Asked, "ASKED"),
        (Self::Cleared, "CLEARED"),
        (Self::Frozen, "FROZEN"),
        (Self::Released, "RELEASED"),
        (Self::Refund, "REFUND"),
        (Self::Isolated, "ISOLATED"),
    ];

    /// Whether the money cannot be spent.
    pub const fn holds(self) -> bool {
        match self {
            Self::New | Self::Asked | Self::Frozen | Self::Isolated => true,
            Self::Cleared | Self::Released | Self::Refund => false,
        }
    }
}
impl fmt::Display for HoldState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(state, _)| state == self).map_or("", |(_, name)| name))
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be NEW, ASKED, CLEARED, FROZEN, RELEASED, REFUND or ISOLATED")]
pub struct InvalidHoldState;
impl FromStr for HoldState {
    type Err = InvalidHoldState;
    fn from_str(text: &str) -> Result<Self, InvalidHoldState> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(state, _)| *state).ok_or(InvalidHoldState)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub state: HoldState,
    /// For people.
    pub reason: Option<String>,
    /// Since when it is in this state; of a frozen one, when it was frozen last.
    pub since: Timestamp,
}

/// Has the deposits of a block screened once they are final; until then they cannot be spent. Those of which something was said before stay
/// as they are. To be called in the transaction that applies the block. Gives how many there are.
pub async fn screen_block(
    tx: &mut WriteTx,
    network: Network,
    height: u64,
    now: Timestamp,
) -> Result<usize, StoreError> {
    const OPERATION: &str = "deposit_holds.screen_block";
    let rows = sqlx::query("SELECT id, outpoint FROM deposits WHERE network = $1 AND height = $2")
        .bind(network.to_string())
        .bind(to_int(OPERATION, height)?)
        .fetch_all(tx.connection())
        .await
        .during(OPERATION)?;
    let mut begun = 0;
    for row in &rows {
        let fields = Fields::new(row, "deposits", "id")?;
        let inserted = sqlx::query(
            "INSERT INTO deposit_holds (deposit, state, holds, since) VALUES ($1, $2, 1, $3) ON CONFLICT (deposit) DO NOTHING",
        )
        .bind(fields.text("id")?)
        .bind(HoldState::New.to_string())
        .bind(now.micros())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
        if inserted.rows_affected() == 1 {
            begun += 1;
            if let Some(outpoint) = fields.parse_opt("outpoint")? {
                freeze_output(tx, network, &outpoint, true).await?;
            }
        }
    }
    Ok(begun)
}

/// Final deposits whose screening is to begin, oldest first.
pub async fn to_screen(store: &Store, limit: u32) -> Result<Vec<Deposit>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(to_screen_query()))
        .bind(i64::from(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("deposit_holds.to_screen")?;
    rows.iter().map(|row| super::decode(row).map(|(_, deposit)| deposit)).collect()
}

pub(crate) fn to_screen_query() -> String {
    format!("{SELECT} WHERE h.state = 'NEW' AND d.height <= c.final_height ORDER BY d.position LIMIT $1")
}

pub async fn get_in(tx: &mut WriteTx, id: DepositId) -> Result<Option<Hold>, StoreError> {
    let row = sqlx::query("SELECT deposit, state, reason, since FROM deposit_holds WHERE deposit = $1")
        .bind(id.to_string())
        .fetch_optional(tx.connection())
        .await
        .during("deposit_holds.get")?;
    row.map(|row| {
        let fields = Fields::new(&row, "deposit_holds", "deposit")?;
        decode(&fields, fields.parse("state")?)
    })
    .transpose()
}

/// Moves a deposit from one state to another, with its output. `false`: it is in another by now, and nothing was written. In the same state
/// only the reason changes.
pub async fn advance(
    tx: &mut WriteTx,
    deposit: &Deposit,
    from: HoldState,
    to: HoldState,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let moved = sqlx::query(
        "UPDATE deposit_holds SET since = CASE WHEN state = $1 THEN since ELSE $2 END, state = $1, holds = $3, reason = $4 \
         WHERE deposit = $5 AND state = $6",
    )
    .bind(to.to_string())
    .bind(now.micros())
    .bind(i64::from(to.holds()))
    .bind(reason.map(plain))
    .bind(deposit.id.to_string())
    .bind(from.to_string())
    .execute(tx.connection())
    .await
    .during("deposit_holds.advance")?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    if from.holds() != to.holds()
        && let Some(outpoint) = &deposit.outpoint
    {
        freeze_output(tx, deposit.network, outpoint, to.holds()).await?;
    }
    Ok(true)
}

/// Freezes a deposit, whatever was said of it before, unless it is put aside for good. `false`: it is.
pub async fn freeze(
    tx: &mut WriteTx,
    deposit: &Deposit,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if get_in(tx, deposit.id).await?.is_some_and(|hold| hold.state == HoldState::Isolated) {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO deposit_holds (deposit, state, holds, reason, since) VALUES ($1, $2, 1, $3, $4) \
         ON CONFLICT (deposit) DO UPDATE SET state = excluded.state, holds = 1, reason = excluded.reason, since = excluded.since",
    )
    .bind(deposit.id.to_string())
    .bind(HoldState::Frozen.to_string())
    .bind(plain(reason))
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("deposit_holds.freeze")?;
    if let Some(outpoint) = &deposit.outpoint {
        freeze_output(tx, deposit.network, outpoint, true).await?;
    }
    Ok(true)
}

pub(super) async fn freeze_output(
    tx: &mut WriteTx,
    network: Network,
    outpoint: &OutPoint,
    frozen: bool,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE utxos SET frozen = $1 WHERE network = $2 AND outpoint = $3")
        .bind(i64::from(frozen))
        .bind(network.to_string())
        .bind(outpoint.to_string())
        .execute(tx.connection())
        .await
        .during("utxos.freeze")
        .map(|_| ())
}

/// How much of an account's balance is of deposits that are held, in the asset's smallest unit. Those that only wait for their screening
/// count from their block on.
pub async fn withheld(
    store: &Store,
    network: Network,
    address: &str,
    asset: Asset,
) -> Result<Amount, StoreError> {
    let rows = sqlx::query(WITHHELD)
        .bind(network.to_string())
        .bind(address.to_owned())
        .bind(asset.to_string())
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("deposit_holds.withheld")?;
    sum(&rows)
}

// CROSS: SQLite begins with what is held, which is little, and not with every deposit of the network.
pub(crate) const WITHHELD: &str = "SELECT d.id, d.amount FROM deposit_holds h CROSS JOIN deposits d \
     WHERE h.holds = 1 AND d.id = h.deposit AND d.network = $1 AND d.address = $2 AND d.asset = $3";

/// As [`withheld`], of all accounts of a wallet.
pub async fn withheld_of(store: &Store, wallet: WalletId, asset: Asset) -> Result<Amount, StoreError> {
    let rows = sqlx::query(WITHHELD_OF)
        .bind(wallet.to_string())
        .bind(asset.to_string())
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("deposit_holds.withheld_of")?;
    sum(&rows)
}

pub(crate) const WITHHELD_OF: &str = "SELECT d.id, d.amount FROM deposit_holds h CROSS JOIN deposits d \
     WHERE h.holds = 1 AND d.id = h.deposit AND d.wallet = $1 AND d.asset = $2";

fn sum(rows: &[AnyRow]) -> Result<Amount, StoreError> {
    rows.iter().try_fold(Amount::ZERO, |sum, row| {
        let fields = Fields::new(row, "deposits", "id")?;
        let amount = fields.parse("amount")?;
        sum.checked_add(amount).ok_or_else(|| fields.corrupt("amount", "the sum overflows"))
    })
}

pub(super) fn decode(fields: &Fields, state: HoldState) -> Result<Hold, StoreError> {
    Ok(Hold { state, reason: fields.text_opt("reason")?, since: fields.time("since")? })
}
