//! The node side of the fake chain: one account per address, numbers in order, blocks, reorganisations, and a node that lies
//! about what it received when told to.

use crate::shared::{
    accounts, adapter,
    basics::{T0, fingerprint, lock, pause},
    payload::{Payload, Payout, Signed, numbered},
};
use async_trait::async_trait;
use bursar_domain::{
    account::{AccountQuery, AccountState},
    amount::Amount,
    asset::Asset,
    chain::{
        BlockRef, CONTRACT_PAYMENTS, ContractPayment, ContractPayments, Credit, Liveness, ObservedBlock,
        ObservedTransaction, Tips, TransactionOutcome, WatchSet,
    },
    network::{Chain, Network},
    package::SignedTransaction,
    ports::{
        BroadcastOutcome, BroadcastTransaction, BuildError, NodeError, ObserveChain, ReadAccount,
        ReadAccountError, SentTransaction,
    },
};
use std::{collections::VecDeque, sync::Mutex};
use tokio::sync::Semaphore;

/// How the node treats the next transaction that it is handed.
#[derive(Debug, Clone, Copy)]
pub enum Relay {
    /// It takes it, and the answer is lost.
    LoseAnswer,
    /// It never arrives.
    LoseRequest,
    Refuse,
}

#[derive(Debug, Clone)]
struct Block {
    hash: String,
    transactions: Vec<Signed>,
    /// Whose accounts someone else pays.
    deposits: Vec<String>,
    contract_payments: ContractPayments,
}

impl Block {
    fn new(hash: String, transactions: Vec<Signed>) -> Self {
        Self { hash, transactions, deposits: vec![], contract_payments: ContractPayments::NotSought }
    }
}

fn deposit(network: Network, account: &str, index: u32) -> Credit {
    Credit {
        address: account.to_owned(),
        from: vec!["theirs".into()],
        tag: None,
        asset: Asset::native(network.chain()),
        amount: Amount::from_u64(7),
        outpoint: None,
        index,
    }
}

struct State {
    blocks: Vec<Block>,
    forks: u32,
    mempool: Vec<Signed>,
    handed: Vec<Vec<u8>>,
    relay: VecDeque<Relay>,
    node_down: bool,
    funds: bool,
    panics: u32,
    /// How often a payment's account was asked for.
    readings: usize,
    outcome: TransactionOutcome,
}

pub struct FakeChain {
    network: Network,
    depth: u64,
    state: Mutex<State>,
    /// Questions about an account wait here; open unless a test takes the permits.
    gate: Semaphore,
}

const OPEN: usize = 1_000_000;

/// Ledgers that an XRP payment stays valid.
pub const LEDGER_WINDOW: u32 = 20;

impl FakeChain {
    /// Final at `depth` blocks, the block itself included.
    pub fn new(network: Network, depth: u64, genesis: &str) -> Self {
        let genesis = Block::new(genesis.into(), vec![]);
        let state = State {
            blocks: vec![genesis],
            forks: 0,
            mempool: vec![],
            handed: vec![],
            relay: VecDeque::new(),
            node_down: false,
            funds: true,
            panics: 0,
            readings: 0,
            outcome: TransactionOutcome::Succeeded,
        };
        Self { network, depth, state: Mutex::new(state), gate: Semaphore::new(OPEN) }
    }

    pub fn relay(&self, behaviour: &[Relay]) {
        lock(&self.state).relay.extend(behaviour);
    }
    pub fn set_down(&self, down: bool) {
        lock(&self.state).node_down = down;
    }
    pub fn set_funds(&self, funds: bool) {
        lock(&self.state).funds = funds;
    }
    pub fn readings(&self) -> usize {
        lock(&self.state).readings
    }
    pub fn close_gate(&self) {
        self.gate.forget_permits(OPEN);
    }
    pub fn open_gate(&self) {
        self.gate.add_permits(OPEN);
    }
    /// The next `times` questions about an account panic.
    pub fn panic_next(&self, times: u32) {
        lock(&self.state).panics = times;
    }
    /// What becomes of payments that are seen from now on.
    pub fn set_outcome(&self, outcome: TransactionOutcome) {
        lock(&self.state).outcome = outcome;
    }
    pub fn height(&self) -> u64 {
        lock(&self.state).height()
    }
    /// All that the node was ever handed.
    pub fn handed(&self) -> Vec<Vec<u8>> {
        lock(&self.state).handed.clone()
    }
    /// Payments to this destination on the chain as it is now.
    pub fn paid(&self, to: &str) -> usize {
        let pays = |signed: &&Signed| signed.payload.pays(to);
        lock(&self.state).transactions().filter(pays).count()
    }

    /// A block with all of the mempool that its place allows.
    pub fn mine(&self) {
        let mut state = lock(&self.state);
        let height = state.height() + 1;
        let mut waiting = std::mem::take(&mut state.mempool);
        waiting.sort_by_key(|signed| (signed.payload.parent.is_some(), signed.payload.number().1));
        let mut transactions: Vec<Signed> = Vec::new();
        for signed in waiting {
            let payload = &signed.payload;
            let (account, number) = payload.number();
            let used = state.used(account)
                + transactions.iter().filter(|other| other.payload.number().0 == account).count() as u64;
            let alive = payload.until.is_none_or(|until| height <= u64::from(until));
            // What a child spends is there once its parent is; it came after it, for its number is counted from zero again.
            let orphan = payload.parent.as_ref().is_some_and(|parent| {
                let mut there = state.transactions().chain(&transactions);
                !there.any(|other| other.payload.uses == parent.uses)
            });
            // Another has used something that it needs beside its number.
            let excluded = {
                let mut there = state.transactions().chain(&transactions);
                there.any(|other| other.payload.shares(payload))
            };
            match number {
                _ if excluded => {}
                _ if orphan => state.mempool.push(signed),
                number if number == used && alive => transactions.push(signed),
                number if number > used && alive => state.mempool.push(signed),
                _ => {}
            }
        }
        let parent = state.blocks.last().unwrap().hash.clone();
        let hash = format!("{height}-{}-{:x}", state.forks, fingerprint((parent, state.forks)));
        state.blocks.push(Block::new(hash, transactions));
    }

    /// Blocks without any of the mempool.
    pub fn mine_empty(&self, blocks: usize) {
        for _ in 0..blocks {
            let waiting = std::mem::take(&mut lock(&self.state).mempool);
            self.mine();
            lock(&self.state).mempool = waiting;
        }
    }
    /// What waits for a block.
    pub fn waiting(&self) -> Vec<Signed> {
        lock(&self.state).mempool.clone()
    }
    /// Puts a transaction that was handed over once into the next block, whatever the mempool prefers.
    pub fn prefer(&self, bytes: &[u8]) {
        lock(&self.state).mempool = vec![serde_json::from_slice(bytes).unwrap()];
    }

    /// A block with these unsigned bytes, under a signature that never reached us.
    pub fn mine_unseen(&self, unsigned: &[u8]) {
        lock(&self.state).mempool = vec![Signed { payload: read(unsigned), session: u64::MAX }];
        self.mine();
    }

    /// A block in which the account pays someone, signed by whoever else has the key.
    pub fn mine_foreign(&self, account: &str) {
        {
            let mut state = lock(&self.state);
            let payload = Payload {
                uses: vec![numbered(self.network.chain(), account, state.used(account))],
                from: vec![account.to_owned()],
                pays: vec![Payout { to: "thief".into(), amount: 1 }],
                fee: 1,
                change: None,
                until: None,
                parent: None,
            };
            state.mempool = vec![Signed { payload, session: u64::MAX }];
        }
        self.mine();
    }

    /// A block in which someone else pays this account.
    pub fn mine_deposit(&self, account: &str) {
        self.mine();
        lock(&self.state).blocks.last_mut().unwrap().deposits.push(account.to_owned());
    }

    /// A block in which a contract sends on what somebody else paid it.
    pub fn mine_contract_payment(&self, account: &str) {
        self.mine();
        let mut state = lock(&self.state);
        let last = state.blocks.last_mut().unwrap();
        let credit = deposit(self.network, account, CONTRACT_PAYMENTS);
        last.contract_payments =
            ContractPayments::Known(vec![ContractPayment { tx_id: "contract".into(), credit }]);
    }

    /// A block that the node does not trace.
    pub fn mine_untraced(&self) {
        self.mine();
        lock(&self.state).blocks.last_mut().unwrap().contract_payments = ContractPayments::Unknown;
    }

    /// Replaces the newest `depth` blocks by as many empty ones and one more. What was in them is forgotten by the node.
    pub fn reorganise(&self, depth: usize) {
        {
            let mut state = lock(&self.state);
            let keep = state.blocks.len() - depth;
            state.blocks.truncate(keep);
            state.mempool.clear();
            state.forks += 1;
        }
        for _ in 0..=depth {
            self.mine();
        }
    }

    /// Goes back to an older state of the same chain, as a node that lags behind.
    pub fn truncated(&self, blocks: usize) -> Self {
        let state = lock(&self.state);
        let copy = Self::new(self.network, self.depth, "");
        lock(&copy.state).blocks = state.blocks[..state.blocks.len() - blocks].to_vec();
        copy
    }

    fn unavailable(&self, operation: &'static str) -> Result<(), NodeError> {
        match lock(&self.state).node_down {
            false => Ok(()),
            true => {
                let reason = "connection refused".into();
                Err(NodeError::Unavailable { network: self.network, operation, reason })
            }
        }
    }
}

impl State {
    fn height(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }
    fn transactions(&self) -> impl Iterator<Item = &Signed> {
        self.blocks.iter().flat_map(|block| &block.transactions)
    }
    fn used(&self, account: &str) -> u64 {
        self.transactions().filter(|signed| signed.payload.number().0 == account).count() as u64
    }
    fn block_ref(&self, height: u64) -> Option<BlockRef> {
        let block = self.blocks.get(usize::try_from(height).unwrap())?;
        Some(BlockRef { height, hash: block.hash.clone() })
    }
}

#[async_trait]
impl ReadAccount for FakeChain {
    async fn account_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        lock(&self.state).readings += 1;
        self.replacement_state(query).await
    }

    async fn replacement_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        pause().await;
        drop(self.gate.acquire().await);
        self.unavailable("account")?;
        let state = lock(&self.state);
        let address = adapter::address(self.network, &query.source.unwrap());
        if !state.funds {
            let (asset, zero) = (query.intent.asset, Amount::ZERO);
            let required = Amount::from_u64(1);
            return Err(BuildError::InsufficientFunds { asset, required, available: zero }.into());
        }
        let used = state.used(&address);
        let height = state.height();
        let panics = state.panics > 0;
        drop(state);
        if panics {
            lock(&self.state).panics -= 1;
            panic!("the fake node panics, as it was told to");
        }
        Ok(match self.network.chain() {
            Chain::Xrp => accounts::xrp(address, used, 10, height, LEDGER_WINDOW),
            _ => accounts::ethereum(address, used, 21),
        })
    }

    async fn balance(&self, _: &str, _: Asset) -> Result<Amount, NodeError> {
        lock(&self.state).readings += 1;
        drop(self.gate.acquire().await);
        Ok(Amount::from_u64(accounts::PLENTY))
    }
}

#[async_trait]
impl BroadcastTransaction for FakeChain {
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        pause().await;
        let outcome = {
            let mut state = lock(&self.state);
            state.handed.push(transaction.bytes.clone());
            let behaviour = state.relay.pop_front();
            let lost = || BroadcastOutcome::MaybeSent { reason: "the connection was reset".into() };
            match behaviour {
                Some(Relay::LoseRequest) => lost(),
                Some(Relay::Refuse) => BroadcastOutcome::Rejected { reason: "min relay fee not met".into() },
                behaviour => {
                    let signed: Signed = serde_json::from_slice(&transaction.bytes).unwrap();
                    let known = state.mempool.contains(&signed) || state.transactions().any(|s| *s == signed);
                    let rival = |other: &&Signed| other.payload.shares(&signed.payload);
                    if !known && state.transactions().any(|other| rival(&other)) {
                        return BroadcastOutcome::Rejected { reason: "nonce too low".into() };
                    }
                    if !known {
                        match state.mempool.iter().find(rival).map(|other| other.payload.fee) {
                            Some(fee) if fee >= signed.payload.fee => {
                                return BroadcastOutcome::Rejected {
                                    reason: "replacement underpriced".into(),
                                };
                            }
                            _ => {}
                        }
                        let kept = state.mempool.iter().filter(|other| !rival(other)).cloned().collect();
                        state.mempool = kept;
                        state.mempool.push(signed);
                    }
                    match (behaviour, known) {
                        (Some(_), _) => lost(),
                        (None, true) => BroadcastOutcome::AlreadyKnown,
                        (None, false) => BroadcastOutcome::Accepted,
                    }
                }
            }
        };
        pause().await;
        outcome
    }
}

#[async_trait]
impl ObserveChain for FakeChain {
    fn network(&self) -> Network {
        self.network
    }

    async fn tips(&self) -> Result<Tips, NodeError> {
        pause().await;
        self.unavailable("tips")?;
        let state = lock(&self.state);
        let tip = state.block_ref(state.height()).unwrap();
        let final_height = (tip.height + 1).saturating_sub(self.depth);
        Ok(Tips { tip, final_height })
    }

    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        pause().await;
        self.unavailable("block")?;
        let state = lock(&self.state);
        let block = state.block_ref(height).ok_or(NodeError::NoBlock { network: self.network, height })?;
        let parent_hash = height.checked_sub(1).and_then(|parent| state.block_ref(parent));
        let content = &state.blocks[usize::try_from(height).unwrap()];
        let ours = |signed: &&Signed| watch.addresses.contains(&signed.payload.from[0]);
        let payouts = content.transactions.iter().filter(ours).map(|signed| ObservedTransaction {
            tx_id: signed.id(self.network.chain()),
            outcome: state.outcome.clone(),
            spends: signed.payload.uses.clone(),
            fee: Some(Amount::from_u64(signed.payload.fee)),
            credits: vec![],
        });
        let deposits = content.deposits.iter().map(|account| ObservedTransaction {
            tx_id: format!("deposit-{}", block.hash),
            outcome: TransactionOutcome::Succeeded,
            spends: vec![],
            fee: None,
            credits: vec![deposit(self.network, account, 0)],
        });
        let transactions = payouts.chain(deposits).collect();
        let parent_hash = parent_hash.map_or_else(String::new, |parent| parent.hash);
        Ok(ObservedBlock {
            block,
            parent_hash,
            time: T0,
            transactions,
            contract_payments: content.contract_payments.clone(),
        })
    }

    async fn liveness(&self, sent: &SentTransaction) -> Result<Liveness, NodeError> {
        pause().await;
        self.unavailable("liveness")?;
        let state = lock(&self.state);
        let used = |signed: &&Signed| signed.payload.uses.iter().any(|used| sent.resources.contains(used));
        let ours = |signed: &Signed| {
            sent.tx_id.as_deref() == Some(&signed.id(self.network.chain()))
                || sent.siblings.contains(&signed.id(self.network.chain()))
        };
        let final_height = (state.height() + 1).saturating_sub(self.depth);
        let bursar_domain::effects::Validity::UntilLedger(last) = sent.validity else {
            let user = state
                .blocks
                .iter()
                .enumerate()
                .find_map(|(height, block)| Some((height as u64, block.transactions.iter().find(used)?)));
            return Ok(match user {
                Some((_, signed)) if ours(signed) => Liveness::MayConfirm,
                Some((height, _)) if height > final_height => Liveness::MayConfirm,
                Some((height, signed)) if signed.payload == read(&sent.unsigned.bytes) => {
                    Liveness::Unexplained { reason: format!("block {height} has the same payment") }
                }
                Some((height, signed)) => Liveness::Dead {
                    proof: format!(
                        "its number was used by {} in block {height}",
                        signed.id(self.network.chain())
                    ),
                },
                None => Liveness::MayConfirm,
            });
        };
        if state.height() < u64::from(last) {
            return Ok(Liveness::MayConfirm);
        }
        Ok(match state.transactions().any(|signed| used(&signed)) {
            true => Liveness::Unexplained { reason: "the Sequence was used".into() },
            false => Liveness::Dead { proof: format!("ledger {last} is validated and the Sequence unused") },
        })
    }
}

fn read(bytes: &[u8]) -> Payload {
    serde_json::from_slice(bytes).unwrap()
}
