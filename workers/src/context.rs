//! What every step is given.

use crate::{
    crash,
    governance::{Governance, GovernanceError},
    readings::Readings,
    screening::Screening,
    travel_rule::TravelRule,
    turns::Turns,
};
use bursar_domain::{
    asset::Asset,
    chain::Tips,
    governance::state::State as LogState,
    ids::IdSource,
    network::{Chain, Network},
    package::SigningPackage,
    ports::{Adapter, Node, NodeError, PriceCap, SignError, ThresholdSigner},
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
    time::{Clock, Timestamp},
};
use bursar_store::{Store, StoreError, WriteTx};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

/// One network that this installation serves.
#[derive(Clone)]
pub struct ChainPorts {
    pub adapter: Arc<dyn Adapter>,
    pub node: Arc<dyn Node>,
    /// First block to walk when the store has no cursor yet; the tip when absent.
    pub start_height: Option<u64>,
    /// How often the node is asked for new blocks.
    pub poll: Duration,
    /// Token contracts whose transfers are watched (Ethereum).
    pub tokens: BTreeSet<[u8; 20]>,
    /// What is done about transactions that no block takes.
    pub replacement: Replacement,
    tips: Arc<Mutex<Option<(Tips, Timestamp)>>>,
    pub(crate) readings: Arc<Readings>,
    pub(crate) turns: Arc<Turns>,
}

impl ChainPorts {
    pub fn new(
        adapter: Arc<dyn Adapter>,
        node: Arc<dyn Node>,
        start_height: Option<u64>,
        poll: Duration,
        tokens: BTreeSet<[u8; 20]>,
    ) -> Self {
        let node = crash::node(node);
        let replacement = Replacement::of(node.network().chain());
        Self {
            adapter,
            node,
            start_height,
            poll,
            tokens,
            replacement,
            tips: Arc::default(),
            readings: Arc::default(),
            turns: Arc::default(),
        }
    }

    pub fn with_replacement(self, replacement: Replacement) -> Self {
        Self { replacement, ..self }
    }

    /// The chain's tips, asked of the node at most once per poll interval however many transfers want them.
    pub async fn tips(&self, now: Timestamp) -> Result<Tips, NodeError> {
        let cached = self.tips.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        if let Some((tips, at)) = cached
            && now.since(at) < self.poll
            && at <= now
        {
            return Ok(tips);
        }
        self.fresh_tips(now).await
    }

    pub async fn fresh_tips(&self, now: Timestamp) -> Result<Tips, NodeError> {
        let tips = self.node.tips().await?;
        *self.tips.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((tips.clone(), now));
        Ok(tips)
    }
}

/// When a transaction counts as stuck, and what is then done. What it may cost is the intent's `max_fee`, always, and `price_cap`
/// where there is one, whoever asks for more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// In no block for this long since it was first sent: stuck. Also how long a refused attempt rests.
    pub stuck_after: Duration,
    /// Replace what is stuck, and close what was left inconclusive by its co-signers, without being asked.
    pub automatic: bool,
    /// The least that the fee is raised by each time, in percent. A chain's own rules may ask for more.
    pub raise_percent: u32,
    /// How often at most without being asked.
    pub max_replacements: usize,
    /// Where no replacement can be made, have a child pay for what waits (Bitcoin).
    pub child_pays: bool,
    /// The most that is offered.
    pub price_cap: Option<PriceCap>,
}

impl Replacement {
    /// What fits the chain's blocks. On XRP nothing is replaced unasked: what is not in a ledger soon expires by itself.
    pub const fn of(chain: Chain) -> Self {
        let (minutes, automatic) = match chain {
            Chain::Bitcoin => (60, true),
            Chain::Ethereum => (5, true),
            Chain::Xrp => (1, false),
        };
        Self {
            stuck_after: Duration::from_secs(minutes * 60),
            automatic,
            raise_percent: 25,
            max_replacements: 5,
            child_pays: matches!(chain, Chain::Bitcoin),
            price_cap: None,
        }
    }
}

/// Intervals of the engine; all have defaults fit for real networks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many transfers are worked on at once.
    pub concurrency: usize,
    /// How many of this worker's transfers wait for co-signers at once; they are not among those worked on.
    pub signing: usize,
    /// A worker that does not renew its lease for this long loses the job to another.
    pub lease: Duration,
    /// How often the queue is polled when nothing wakes it.
    pub queue_poll: Duration,
    /// How soon a transfer that waits (for funds, signers, a node) is looked at again.
    pub retry: Duration,
    /// How often the same signed bytes are sent again until they are in a block.
    pub rebroadcast: Duration,
    /// A frozen package that nobody began to sign for this long is rebuilt with fresh fees.
    pub package_lifetime: Duration,
    /// How often the reconciler sweeps.
    pub sweep: Duration,
    /// A transfer that should move and has not for this many sweeps raises an alarm.
    pub stalled_sweeps: u32,
    /// How long jobs that are running may take to come to their end when the process is told to stop; then they are given back.
    /// Service managers kill after 90 seconds, container runtimes after 10 or 30 unless told otherwise.
    pub drain: Duration,
    /// What this worker cannot sign is left to others, for half a lease, before the transfer says that co-signers are offline. For a
    /// database that several workers share.
    pub leave_signing: bool,
    /// States between which nobody is asked anything are one commit. Otherwise each is one of its own.
    pub together: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 16,
            signing: 16,
            lease: Duration::from_secs(60),
            queue_poll: Duration::from_millis(500),
            retry: Duration::from_secs(5),
            rebroadcast: Duration::from_secs(30),
            package_lifetime: Duration::from_secs(600),
            sweep: Duration::from_secs(15),
            stalled_sweeps: 40,
            drain: Duration::from_secs(20),
            leave_signing: false,
            together: true,
        }
    }
}

#[derive(Clone)]
pub struct Context {
    pub store: Store,
    pub chains: Arc<BTreeMap<Network, ChainPorts>>,
    pub signer: Arc<dyn ThresholdSigner>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    /// The log that says who may do what; without one nobody is asked.
    pub governance: Option<Governance>,
    /// Who screens orders before they are signed; without one they pass marked NOT_SCREENED.
    pub screening: Option<Screening>,
    /// What is done about the travel rule; nothing without one.
    pub travel_rule: Option<TravelRule>,
    pub settings: Settings,
}

impl Context {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The governance log as it is now; `None`: nothing is governed.
    pub async fn log(&self) -> Result<Option<Arc<LogState>>, GovernanceError> {
        match &self.governance {
            Some(governance) => governance.state(&self.store).await.map(Some),
            None => Ok(None),
        }
    }

    /// As [`Self::log`], within a transaction.
    pub async fn log_in(&self, tx: &mut WriteTx) -> Result<Option<Arc<LogState>>, GovernanceError> {
        match &self.governance {
            Some(governance) => governance.state_in(tx).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whether enough co-signers are online here for any key.
    pub fn signs(&self) -> bool {
        self.signer.keys().iter().any(|key| self.signer.online(key.scheme) >= key.threshold)
    }

    pub fn chain(&self, network: Network) -> Option<&ChainPorts> {
        self.chains.get(&network)
    }

    /// The group key of `scheme`: what the store has pinned. The first key that the co-signers agree on is pinned for good; a
    /// different one later is refused, because addresses have been given out under the first.
    pub async fn group_key(&self, scheme: Scheme) -> Result<Option<GroupKey>, StoreError> {
        if let Some(key) = bursar_store::keys::get(&self.store, scheme).await? {
            return Ok(Some(key));
        }
        let Some(key) = self.signer.keys().into_iter().find(|key| key.scheme == scheme) else {
            return Ok(None);
        };
        let mut tx = self.store.write().await?;
        bursar_store::keys::put(&mut tx, &key).await?;
        tx.commit().await?;
        Ok(Some(key))
    }

    /// Whether this installation can pay `asset` at all.
    pub fn serves(&self, network: Network, asset: Asset) -> bool {
        self.chain(network).is_some_and(|ports| match asset {
            Asset::Erc20(contract) => ports.tokens.contains(&contract),
            native => native.chain() == network.chain(),
        })
    }
}

/// In a process without the relay: knows no keys and signs nothing.
pub struct NoSigner;
#[async_trait::async_trait]
impl ThresholdSigner for NoSigner {
    fn keys(&self) -> Vec<GroupKey> {
        Vec::new()
    }
    fn online(&self, _: Scheme) -> u16 {
        0
    }
    async fn sign(
        &self,
        package: &SigningPackage,
        _: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError> {
        Err(SignError::NoKey(package.unsigned.wallet.scheme()))
    }
}
