//! Nonces that nothing of ours will ever use although something signed waits behind them: without them it waits for ever.
//!
//! Numbers are signed in order, so none is left out by us ([`crate::frozen`]); a restored database or a reorganisation that takes
//! back a stranger's transaction can leave one. It is closed by the lowest transfer of the account that is not signed yet, built
//! again onto it, and where there is none by the next one, which takes the lowest free number anyway; or by a filler that an
//! initiator orders ([`bursar_domain::fill`]). XRP needs no such look: what waits behind a Sequence that nobody uses expires by itself.

use crate::{context::Context, engine::StepError, frozen::rebuild_above};
use bursar_domain::{
    account::AccountQuery,
    effects::Resource,
    lifecycle::Transfer,
    network::{Chain, Network},
    ports::ReadAccountError,
    wallet::Branch,
};
use bursar_store::{
    addresses,
    gaps::{self, SignedNumber},
    reservations, transfers,
};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at every account with something signed under way; the gaps that there are.
pub async fn sweep(context: &Context, network: Network) -> Result<BTreeSet<(String, u64)>, StepError> {
    if network.chain() != Chain::Ethereum {
        return Ok(BTreeSet::new());
    }
    let mut accounts = BTreeMap::<String, Vec<SignedNumber>>::new();
    for signed in gaps::signed(&context.store, network).await? {
        accounts.entry(signed.account.clone()).or_default().push(signed);
    }
    let mut missing = BTreeSet::new();
    for (account, signed) in &accounts {
        let numbers = missing_below(context, network, account, signed).await?;
        missing.extend(numbers.into_iter().map(|number| (account.clone(), number)));
    }
    let known = gaps::known(&context.store, network).await?;
    if known == missing {
        return Ok(missing);
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    for (account, number) in missing.difference(&known) {
        if gaps::open(&mut tx, network, account, *number, now).await? {
            tracing::error!(%network, account, number, "nothing of ours uses this nonce, and something signed waits behind it");
        }
        let resource = Resource::Nonce { account: account.clone(), nonce: *number };
        rebuild_above(&mut tx, network, &resource, now).await?;
    }
    for (account, number) in known.difference(&missing) {
        gaps::close(&mut tx, network, account, *number).await?;
    }
    tx.commit().await?;
    Ok(missing)
}

/// Numbers between what the node has seen used and the highest signed one that no transaction of ours claims. The node is asked
/// only if something looks missing.
async fn missing_below(
    context: &Context,
    network: Network,
    account: &str,
    signed: &[SignedNumber],
) -> Result<Vec<u64>, StepError> {
    let (Some(lowest), Some(highest)) = (signed.first(), signed.last()) else { return Ok(Vec::new()) };
    let taken = reservations::taken(&context.store, network, account).await?;
    let from = taken.first().copied().unwrap_or(highest.number);
    let Some(transfer) = transfers::get(&context.store, lowest.transfer).await? else {
        return Ok(Vec::new());
    };
    let hole = (from..highest.number).any(|number| !taken.contains(&number));
    if !hole && !transfer.flags.stuck {
        return Ok(Vec::new());
    }
    match first_unused(context, network, account, &transfer).await? {
        Look::Unused(first) => Ok(between(first.unwrap_or(highest.number), highest.number, &taken)),
        // What the node says of the payment says nothing of the nonce.
        Look::NotNow => Ok(Vec::new()),
    }
}

/// The gaps of one account as its node shows them now. `None`: it shows nothing now.
pub async fn of_account(
    context: &Context,
    network: Network,
    account: &str,
) -> Result<Option<Vec<u64>>, StepError> {
    let signed = gaps::signed(&context.store, network).await?;
    let signed: Vec<SignedNumber> = signed.into_iter().filter(|one| one.account == account).collect();
    let (Some(lowest), Some(highest)) = (signed.first(), signed.last()) else {
        return Ok(Some(Vec::new()));
    };
    let Some(transfer) = transfers::get(&context.store, lowest.transfer).await? else {
        return Ok(Some(Vec::new()));
    };
    let taken = reservations::taken(&context.store, network, account).await?;
    Ok(match first_unused(context, network, account, &transfer).await? {
        Look::Unused(first) => Some(between(first.unwrap_or(highest.number), highest.number, &taken)),
        Look::NotNow => None,
    })
}

fn between(first: u64, highest: u64, taken: &BTreeSet<u64>) -> Vec<u64> {
    (first..highest).filter(|number| !taken.contains(number)).collect()
}

enum Look {
    /// The first number that no block has used, where there are numbers.
    Unused(Option<u64>),
    NotNow,
}

/// Asks the node about the account that `transfer` is paid from.
async fn first_unused(
    context: &Context,
    network: Network,
    account: &str,
    transfer: &Transfer,
) -> Result<Look, StepError> {
    let ports = context.chain(network).ok_or(StepError::UnservedNetwork(network))?;
    let intent = transfer.remaining()?;
    let scheme = intent.wallet.scheme();
    let key = context.group_key(scheme).await?.ok_or(StepError::NoKey(scheme))?;
    let found = addresses::find(&context.store, network, account).await?;
    let source = found.map_or_else(|| intent.wallet.path(Branch::Receive, 0), |record| record.path);
    let query = AccountQuery { intent: &intent, key: &key, source: Some(source) };
    match ports.node.replacement_state(query).await {
        Ok(state) => Ok(Look::Unused(state.first_unused())),
        Err(ReadAccountError::Node(error)) => Err(error.into()),
        Err(_) => Ok(Look::NotNow),
    }
}
