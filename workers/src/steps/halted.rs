//! Whether a transfer may go on, or its account is halted. What is signed already is not asked: it is valid whatever we do.

use crate::context::Context;
use bursar_domain::{lifecycle::Transfer, network::Chain};
use bursar_store::{
    Store, StoreError, WriteTx, addresses,
    halts::{self, Halt},
};

/// The halt that keeps the transfer from being prepared or signed.
pub async fn by(context: &Context, transfer: &Transfer) -> Result<Option<Halt>, StoreError> {
    let standing = halts::standing(&context.store, transfer.intent.intent.network()).await?;
    covering(&context.store, standing, transfer).await
}

/// As [`by`], by what stands within `tx`.
pub async fn by_in(
    tx: &mut WriteTx,
    context: &Context,
    transfer: &Transfer,
) -> Result<Option<Halt>, StoreError> {
    let standing = halts::standing_in(tx, transfer.intent.intent.network()).await?;
    covering(&context.store, standing, transfer).await
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
