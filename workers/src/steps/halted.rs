//! Whether a transfer may go on, or is frozen, or its account is halted. What is signed already is not asked: it is valid whatever we do.
//!
//! An alert or a freeze keeps money from being paid. What takes a payment back pays nobody, and is how one ends of which a signature may
//! exist: only a halt keeps it.

use crate::{context::Context, engine::StepError};
use bursar_domain::{
    governance::{freeze::Freeze, state::State as LogState},
    lifecycle::{SubStatus, Transfer},
    network::Chain,
    package::Purpose,
};
use bursar_store::{
    Store, StoreError, WriteTx, addresses,
    halts::{self, Halt},
};
use std::fmt;

/// What keeps a transfer from being prepared or signed.
pub enum Hold {
    /// The governance log says so, and co-signers would refuse in any case.
    Freeze(Freeze),
    Halt(Halt),
    /// The screening raised an alert about it.
    Alert,
}

impl Hold {
    pub const fn sub_status(&self) -> SubStatus {
        match self {
            Self::Freeze(_) => SubStatus::Frozen,
            Self::Halt(_) => SubStatus::AccountHalted,
            Self::Alert => SubStatus::ScreeningAlert,
        }
    }
}
impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Freeze(Freeze { seq, scope, reason, by }) => {
                write!(f, "freeze {seq} of {scope}, by {by}: {reason}")
            }
            Self::Halt(halt) => halt.fmt(f),
            Self::Alert => {
                f.write_str("frozen by an alert of the screening; its case says why, and a release lifts it")
            }
        }
    }
}

/// Whether what is said of a transfer is such a hold, which may be over now: it is looked at without a pause.
pub fn held(sub_status: Option<SubStatus>) -> bool {
    matches!(sub_status, Some(SubStatus::AccountHalted | SubStatus::Frozen | SubStatus::ScreeningAlert))
}

/// What keeps a transaction of the transfer, made for this purpose, from being prepared or signed.
pub async fn by(
    context: &Context,
    transfer: &Transfer,
    purpose: &Purpose,
) -> Result<Option<Hold>, StepError> {
    if *purpose != Purpose::Cancel
        && let Some(hold) = frozen(transfer, context.log().await?.as_deref())
    {
        return Ok(Some(hold));
    }
    let standing = halts::standing(&context.store, transfer.intent.intent.network()).await?;
    Ok(covering(&context.store, standing, transfer).await?.map(Hold::Halt))
}

/// As [`by`], by what stands within `tx`.
pub async fn by_in(
    tx: &mut WriteTx,
    context: &Context,
    transfer: &Transfer,
    purpose: &Purpose,
) -> Result<Option<Hold>, StepError> {
    // An alert that came since the transfer was read has moved it, which the caller notices.
    if *purpose != Purpose::Cancel
        && let Some(hold) = frozen(transfer, context.log_in(tx).await?.as_deref())
    {
        return Ok(Some(hold));
    }
    let standing = halts::standing_in(tx, transfer.intent.intent.network()).await?;
    Ok(covering(&context.store, standing, transfer).await?.map(Hold::Halt))
}

/// By an alert, or by the governance log.
pub fn frozen(transfer: &Transfer, log: Option<&LogState>) -> Option<Hold> {
    if transfer.flags.frozen {
        return Some(Hold::Alert);
    }
    log?.frozen(&transfer.intent.intent).cloned().map(Hold::Freeze)
}

/// The paying account is read only if anything stands, which is rare.
async fn covering(
    store: &Store,
    standing: Vec<Halt>,
    transfer: &Transfer,
) -> Result<Option<Halt>, StoreError> {
    if standing.is_empty() {
        return Ok(None);
    }
    let intent = &transfer.intent.intent;
    let source = match (&intent.source, intent.network().chain()) {
        (Some(source), _) => Some(source.clone()),
        (None, Chain::Bitcoin) => None,
        (None, Chain::Ethereum | Chain::Xrp) => {
            addresses::first(store, transfer.wallet).await?.map(|first| first.address)
        }
    };
    let source: Vec<String> = source.into_iter().collect();
    Ok(standing.into_iter().find(|halt| halt.covers(&intent.wallet, &source)))
}
