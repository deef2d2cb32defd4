//! From an intent to an unsigned transaction, without keeping anything: used to prepare, to estimate, and to answer bad
//! requests before they are accepted.

use crate::{
    context::{ChainPorts, Context},
    engine::StepError,
    readings::Reading,
    turns::Turn,
};
use bursar_domain::{
    account::{AccountQuery, AccountState},
    amount::{Amount, Drops},
    asset::Asset,
    effects::{Effects, Resource},
    intent::Intent,
    lifecycle::Transfer,
    package::{Purpose, UnsignedTransaction},
    ports::{BuildError, BuildRequest, NodeError, PriceCap, ReadAccountError, ReplaceRequest},
    signing::GroupKey,
    verify::{cancel_matches, effects_match},
    wallet::{Branch, DerivationPath},
};
use bursar_store::{
    addresses, chain,
    deposits::holds,
    reservations, utxos,
    wallets::{self, Wallet},
};

/// A transaction that could be frozen now.
pub struct Draft {
    pub unsigned: UnsignedTransaction,
    pub effects: Effects,
    /// The change address that it pays, still to be recorded.
    pub change: Option<ChangeAddress>,
    /// What the node said that it was built on. `None` of a replacement.
    pub reading: Option<Reading>,
    /// Held until it is kept. `None` of what nobody means to keep, and of a replacement, which chooses nothing.
    pub(crate) turn: Option<Turn>,
}

impl Draft {
    /// Keeps what the node said, for the transfer that is built from the same intent in a moment.
    pub fn keep_reading(self, context: &Context, transfer: &Transfer) {
        let ports = context.chain(transfer.intent.intent.network());
        if let (Some(ports), Some(reading)) = (ports, self.reading) {
            ports.readings.put(transfer.id, reading);
        }
    }
}

impl Draft {
    /// Whether it uses the next nonce of its account on the chain, as the node that it was built on shows it.
    pub fn fills_the_next(&self, nonce: u64) -> bool {
        let next = self.reading.as_ref().and_then(|reading| reading.state.first_unused());
        next == Some(nonce)
    }
}

pub struct ChangeAddress {
    pub path: DerivationPath,
    pub address: String,
}

#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// Not with this intent or this state of the account.
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("the payment would fail: {reason}")]
    WouldFail { reason: String },
    /// Nothing can be said now.
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Step(#[from] StepError),
}

impl From<ReadAccountError> for DraftError {
    fn from(error: ReadAccountError) -> Self {
        match error {
            ReadAccountError::Node(error) => Self::Node(error),
            ReadAccountError::WouldFail { reason } => Self::WouldFail { reason },
            ReadAccountError::Build(error) => Self::Build(error),
        }
    }
}
impl From<bursar_store::StoreError> for DraftError {
    fn from(error: bursar_store::StoreError) -> Self {
        Self::Step(error.into())
    }
}

/// Reads the account, picks the resource, builds, and holds the result against the intent with the decoder that the co-signers
/// use.
pub async fn draft(context: &Context, intent: &Intent) -> Result<Draft, DraftError> {
    draft_on(context, intent, Use::Look).await
}

/// The draft of what remains of a transfer, on a fresh reading that was [kept](Draft::keep_reading) for it if there is one. It has the
/// account's [`Turn`].
pub(crate) async fn draft_for(context: &Context, transfer: &Transfer) -> Result<Draft, DraftError> {
    let remaining = transfer.remaining().map_err(StepError::from)?;
    let ports = context.chain(remaining.network());
    let told = ports.and_then(|ports| ports.readings.take(transfer.id, context.now()));
    // It was made for all of the order.
    let told = told.filter(|_| transfer.recalls.is_empty());
    draft_on(context, &remaining, Use::Keep { told }).await
}

/// What becomes of a draft.
enum Use {
    /// It answers a question.
    Look,
    /// It is to be frozen.
    Keep { told: Option<Reading> },
}

async fn draft_on(context: &Context, intent: &Intent, usage: Use) -> Result<Draft, DraftError> {
    let network = intent.network();
    let ports = context.chain(network).ok_or(StepError::UnservedNetwork(network))?;
    let wallet = wallets::by_descriptor(&context.store, &intent.wallet).await?;
    let wallet =
        wallet.ok_or(DraftError::Build(BuildError::Inconsistent("the wallet is not in the store")))?;
    let scheme = wallet.descriptor.scheme();
    let key = context.group_key(scheme).await?.ok_or(StepError::NoKey(scheme))?;
    let source = source_path(context, &wallet, intent).await?;

    let (keeps, told) = match usage {
        Use::Look => (false, None),
        Use::Keep { told } => (true, told),
    };
    let reading = match told {
        Some(told) => told,
        None => {
            let at = context.now();
            Reading { state: ports.node.account_state(AccountQuery { intent, key: &key, source }).await?, at }
        }
    };
    let turn = match keeps {
        true => Some(ports.turns.take(wallet.id, intent.source.as_deref()).await),
        false => None,
    };
    let mut state = reading.state.clone();
    let (resource, change) = match &mut state {
        AccountState::Bitcoin(account) => {
            account.utxos = utxos::available(&context.store, wallet.id).await?;
            // A look only: the index is claimed together with the transaction that pays it.
            let index = addresses::peek_index(&context.store, wallet.id, Branch::Change).await?;
            (None, Some(wallet.descriptor.path(Branch::Change, index)))
        }
        state => {
            withhold(context, intent, state).await?;
            (Some(number(context, intent, state).await?), None)
        }
    };
    let (unsigned, effects) = build(ports, intent, &key, state, source, resource, change).await?;
    Ok(Draft { change: fresh_change(change, &effects), unsigned, effects, reading: Some(reading), turn })
}

/// Takes what is of deposits that are held off the account's balances: money of an account has no parts that could be left alone.
async fn withhold(context: &Context, intent: &Intent, state: &mut AccountState) -> Result<(), StepError> {
    let (store, network) = (&context.store, intent.network());
    let less = |balance: Amount, held: Amount| balance.checked_sub(held).unwrap_or(Amount::ZERO);
    match state {
        // Its outputs are not offered at all.
        AccountState::Bitcoin(_) => {}
        AccountState::Ethereum(account) => {
            let ether = holds::withheld(store, network, &account.address, Asset::Eth).await?;
            account.balance = less(account.balance, ether);
            if let Some(balance) = &mut account.token_balance {
                *balance =
                    less(*balance, holds::withheld(store, network, &account.address, intent.asset).await?);
            }
        }
        AccountState::Xrp(account) => {
            let held = holds::withheld(store, network, &account.address, Asset::Xrp).await?;
            account.balance = less(account.balance.into(), held).try_into().unwrap_or(Drops(0));
        }
    }
    Ok(())
}

/// What a replacement is to be.
pub struct Wish<'a> {
    /// What remains of the order.
    pub intent: &'a Intent,
    pub purpose: &'a Purpose,
    /// All transactions of the transfer that may still be final, oldest first.
    pub earlier: Vec<UnsignedTransaction>,
    pub raise_percent: u32,
    /// What this installation offers at most.
    pub price_cap: Option<PriceCap>,
}

/// As [`draft`], for a transaction that is to take the place of earlier ones: it needs what they need, whoever else waits for it.
pub async fn redraft(context: &Context, wish: Wish<'_>) -> Result<Draft, DraftError> {
    let Wish { intent, purpose, earlier, raise_percent, price_cap } = wish;
    let network = intent.network();
    let ports = context.chain(network).ok_or(StepError::UnservedNetwork(network))?;
    let wallet = wallets::by_descriptor(&context.store, &intent.wallet).await?;
    let wallet =
        wallet.ok_or(DraftError::Build(BuildError::Inconsistent("the wallet is not in the store")))?;
    let scheme = wallet.descriptor.scheme();
    let key = context.group_key(scheme).await?.ok_or(StepError::NoKey(scheme))?;
    let source = source_path(context, &wallet, intent).await?;
    let mut state = ports.node.replacement_state(AccountQuery { intent, key: &key, source }).await?;
    let mut change = None;
    if let AccountState::Bitcoin(account) = &mut state {
        account.utxos = utxos::available(&context.store, wallet.id).await?;
        let index = addresses::peek_index(&context.store, wallet.id, Branch::Change).await?;
        change = Some(wallet.descriptor.path(Branch::Change, index));
    }
    let (adapter, intent, purpose) = (ports.adapter.clone(), intent.clone(), purpose.clone());
    let work = move || {
        let request = ReplaceRequest {
            intent: &intent,
            purpose: &purpose,
            key: &key,
            state: &state,
            earlier: &earlier,
            raise_percent,
            price_cap,
            change,
        };
        let unsigned = adapter.replace(&request)?;
        let effects = adapter.decode(&unsigned, &key).map_err(StepError::from)?;
        match purpose {
            Purpose::Pay => effects_match(&intent, &effects),
            Purpose::Cancel | Purpose::Child { .. } => cancel_matches(&intent, &effects),
        }
        .map_err(StepError::from)?;
        Ok::<_, DraftError>((unsigned, effects))
    };
    let (unsigned, effects) = tokio::task::spawn_blocking(work).await.map_err(StepError::from)??;
    Ok(Draft { change: fresh_change(change, &effects), unsigned, effects, reading: None, turn: None })
}

/// The change address, if the transaction pays it: only then is it to be recorded.
fn fresh_change(change: Option<DerivationPath>, effects: &Effects) -> Option<ChangeAddress> {
    let path = change?;
    let paid = effects.change.iter().find(|output| output.path == path)?;
    Some(ChangeAddress { path, address: paid.address.clone() })
}

/// Building may take long (coin selection), so it runs beside the async threads.
async fn build(
    ports: &ChainPorts,
    intent: &Intent,
    key: &GroupKey,
    state: AccountState,
    source: Option<DerivationPath>,
    resource: Option<Resource>,
    change: Option<DerivationPath>,
) -> Result<(UnsignedTransaction, Effects), DraftError> {
    let (adapter, intent, key) = (ports.adapter.clone(), intent.clone(), key.clone());
    let work = move || {
        let request = BuildRequest {
            intent: &intent,
            key: &key,
            state: &state,
            source,
            resource: resource.as_ref(),
            change,
        };
        let unsigned = adapter.build(&request)?;
        let effects = adapter.decode(&unsigned, &key).map_err(StepError::from)?;
        effects_match(&intent, &effects).map_err(StepError::from)?;
        Ok((unsigned, effects))
    };
    tokio::task::spawn_blocking(work).await.map_err(StepError::from)?
}

/// The paying account's path; `None` on Bitcoin.
async fn source_path(
    context: &Context,
    wallet: &Wallet,
    intent: &Intent,
) -> Result<Option<DerivationPath>, StepError> {
    use bursar_domain::network::Chain;
    match &intent.source {
        Some(address) => {
            let found = addresses::find(&context.store, intent.network(), address).await?;
            let own = found.filter(|record| record.wallet == wallet.id);
            own.map(|record| Some(record.path)).ok_or_else(|| StepError::UnknownSource(address.clone()))
        }
        None if intent.network().chain() == Chain::Bitcoin => Ok(None),
        None => Ok(Some(wallet.descriptor.path(Branch::Receive, 0))),
    }
}

/// The nonce that a filler names, if it is to be filled still; of a payment the [lowest free](lowest_free) number.
async fn number(context: &Context, intent: &Intent, state: &AccountState) -> Result<Resource, DraftError> {
    match (intent.fills, state) {
        (None, _) => lowest_free(context, intent, state).await,
        (Some(nonce), AccountState::Ethereum(account)) => {
            let nothing = |reason| DraftError::Build(BuildError::NothingToFill { nonce, reason });
            if nonce < account.nonce {
                return Err(nothing("is used on the chain"));
            }
            let taken =
                reservations::taken_from(&context.store, intent.network(), &account.address, account.nonce)
                    .await?;
            if taken.contains(&nonce) {
                return Err(nothing("is used by a transfer of its own"));
            }
            // Without it, the filler would be what waits behind a gap. The account's next nonce is behind none: co-signers may
            // remember a filler of it that this database does not know (it was put back) or has given up; they refuse each payment
            // with it, so that nothing would ever wait behind it.
            if nonce > account.nonce && taken.last().is_none_or(|last| *last < nonce) {
                return Err(nothing("is not the account's next, and has nothing of ours waiting behind it"));
            }
            Ok(Resource::Nonce { account: account.address.clone(), nonce })
        }
        (Some(_), _) => Err(DraftError::Build(BuildError::Inconsistent("only nonces are filled"))),
    }
}

/// Whether no lower number of its account has come free since the draft chose its own: signed above that one, it would wait behind a gap. To
/// be asked when everything before the transaction that keeps the draft is committed.
pub(crate) async fn is_lowest_still(
    context: &Context,
    intent: &Intent,
    draft: &Draft,
) -> Result<bool, StepError> {
    let (Some(Reading { state, .. }), Some(chosen)) = (&draft.reading, draft.effects.resources.first())
    else {
        return Ok(true);
    };
    let first = state.first_unused().and_then(|first| state.resource(first));
    // Coins have no order, and a filler has the number that it fills.
    if intent.fills.is_some() || first.is_none_or(|first| first == *chosen) {
        return Ok(true);
    }
    match lowest_free(context, intent, state).await {
        Ok(lowest) => Ok(lowest == *chosen),
        Err(DraftError::Step(error)) => Err(error),
        Err(_) => Ok(false),
    }
}

/// The lowest nonce or Sequence that neither the chain nor a live transaction of ours has used, by the node or by our blocks. Lowest, so that one that was
/// given back leaves no gap behind.
async fn lowest_free(
    context: &Context,
    intent: &Intent,
    state: &AccountState,
) -> Result<Resource, DraftError> {
    let inconsistent =
        || DraftError::Build(BuildError::Inconsistent("the account has no further nonce or Sequence"));
    let account = match state {
        AccountState::Ethereum(account) => &account.address,
        AccountState::Xrp(account) => &account.address,
        AccountState::Bitcoin(_) => return Err(inconsistent()),
    };
    let first = state.first_unused().ok_or_else(inconsistent)?;
    let taken = reservations::taken_from(&context.store, intent.network(), account, first).await?;
    for number in (first..).filter(|number| !taken.contains(number)) {
        let resource = state.resource(number).ok_or_else(inconsistent)?;
        // A node behind our blocks does not know what else has used it.
        let used =
            chain::foreign_spends(&context.store, intent.network(), std::slice::from_ref(&resource)).await?;
        if used.is_empty() {
            return Ok(resource);
        }
    }
    Err(inconsistent())
}
