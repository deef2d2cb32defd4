//! A node that does what a test says.

use crate::{NamedNode, NodeSet, NodeSetSettings};
use async_trait::async_trait;
use bursar_domain::{
    account::{AccountQuery, AccountState, EthereumAccount},
    amount::Amount,
    asset::Asset,
    chain::{
        BlockRef, ContractPayments, Liveness, ObservedBlock, ObservedTransaction, Tips, TransactionOutcome,
        WatchSet,
    },
    effects::{Resource, Validity},
    health::NodeHealth,
    ids::TransactionId,
    intent::Intent,
    network::Network,
    package::{SignedTransaction, UnsignedTransaction},
    ports::{
        BroadcastOutcome, BroadcastTransaction, BuildError, Node, NodeError, ObserveChain, ReadAccount,
        ReadAccountError, SentTransaction,
    },
    signing::{GroupKey, Scheme},
    time::Timestamp,
    wallet::{WalletDescriptor, WalletKind},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

pub const NETWORK: Network = Network::Ethereum(31337);
pub const TIMEOUT: Duration = Duration::from_secs(4);
pub const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    Up,
    Down,
    /// Fails this many times, then works once, and so on.
    Flaps(u32),
    Hangs,
    Slow(Duration),
    WrongNetwork,
    Refuses,
}

#[derive(Clone)]
pub struct Script {
    pub mode: Mode,
    pub height: u64,
    /// From this height on it follows a branch of this name.
    pub branch: Option<(u64, &'static str)>,
    pub confirmations: u64,
    /// Says this in place of what follows from the depth.
    pub final_claim: Option<u64>,
    /// A payment to us in this block that is in no other node's.
    pub invents: Option<u64>,
    pub contract_payments: ContractPayments,
    pub liveness: Liveness,
    /// `None`: it says that the funds are short.
    pub nonce: Option<u64>,
    pub broadcast: BroadcastOutcome,
    pub calls: HashMap<&'static str, usize>,
}

pub struct Scripted {
    pub name: String,
    script: Mutex<Script>,
}

impl Scripted {
    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    pub fn calls(&self, operation: &'static str) -> usize {
        self.script.lock().unwrap().calls.get(operation).copied().unwrap_or(0)
    }

    async fn enter(&self, operation: &'static str) -> Result<Script, NodeError> {
        let (script, call) = {
            let mut script = self.script.lock().unwrap();
            let call = script.calls.entry(operation).or_default();
            *call += 1;
            let call = *call;
            (script.clone(), call)
        };
        let down =
            || NodeError::Unavailable { network: NETWORK, operation, reason: "connection refused".into() };
        match script.mode {
            Mode::Up => Ok(script),
            Mode::Down => Err(down()),
            Mode::Flaps(failures) if call % (failures as usize + 1) != 0 => Err(down()),
            Mode::Flaps(_) => Ok(script),
            Mode::Hangs => std::future::pending().await,
            Mode::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(script)
            }
            Mode::WrongNetwork => {
                Err(NodeError::WrongNetwork { expected: NETWORK, actual: "ethereum:1".into() })
            }
            Mode::Refuses => {
                Err(NodeError::Refused { network: NETWORK, operation, reason: "rate limited".into() })
            }
        }
    }
}

/// The hash of the block at this height; `None` is the branch that everybody follows.
pub fn hash(height: u64, branch: Option<(u64, &'static str)>) -> String {
    match branch {
        Some((from, name)) if height >= from => format!("{name}{height}"),
        _ => format!("main{height}"),
    }
}

#[async_trait]
impl ObserveChain for Scripted {
    fn network(&self) -> Network {
        NETWORK
    }

    async fn tips(&self) -> Result<Tips, NodeError> {
        let script = self.enter("tips").await?;
        let by_depth = (script.height + 1).saturating_sub(script.confirmations);
        Ok(Tips {
            tip: BlockRef { height: script.height, hash: hash(script.height, script.branch) },
            final_height: script.final_claim.unwrap_or(by_depth),
        })
    }

    async fn block(&self, height: u64, _: &WatchSet) -> Result<ObservedBlock, NodeError> {
        let script = self.enter("block").await?;
        if height > script.height {
            return Err(NodeError::NoBlock { network: NETWORK, height });
        }
        let invented = ObservedTransaction {
            tx_id: "invented".into(),
            outcome: TransactionOutcome::Succeeded,
            spends: Vec::new(),
            fee: None,
            credits: Vec::new(),
        };
        Ok(ObservedBlock {
            block: BlockRef { height, hash: hash(height, script.branch) },
            parent_hash: hash(height.saturating_sub(1), script.branch),
            time: Timestamp(0),
            transactions: script.invents.filter(|at| *at == height).map(|_| invented).into_iter().collect(),
            contract_payments: script.contract_payments,
        })
    }

    async fn liveness(&self, _: &SentTransaction) -> Result<Liveness, NodeError> {
        self.enter("liveness").await.map(|script| script.liveness)
    }
}

#[async_trait]
impl ReadAccount for Scripted {
    async fn account_state(&self, _: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        let script = self.enter("account_state").await?;
        let short = BuildError::InsufficientFunds {
            asset: Asset::Eth,
            required: Amount::from_u64(2),
            available: Amount::from_u64(1),
        };
        Ok(AccountState::Ethereum(EthereumAccount {
            address: "0xA".into(),
            balance: Amount::from_u64(1),
            token_balance: None,
            nonce: script.nonce.ok_or(short)?,
            gas_limit: 21_000,
            max_fee_per_gas: 1,
            max_priority_fee_per_gas: 1,
        }))
    }

    async fn balance(&self, _: &str, _: Asset) -> Result<Amount, NodeError> {
        let script = self.enter("balance").await?;
        Ok(Amount::from_u64(script.nonce.unwrap_or(0)))
    }
}

#[async_trait]
impl BroadcastTransaction for Scripted {
    async fn broadcast(&self, _: &SignedTransaction) -> BroadcastOutcome {
        match self.enter("broadcast").await {
            Ok(script) => script.broadcast,
            Err(error) => BroadcastOutcome::MaybeSent { reason: error.to_string() },
        }
    }
}

/// So many honest nodes at height 100, called a, b, c, …, behind the set.
pub fn set(nodes: usize, min_agree: usize) -> (NodeSet, Vec<Arc<Scripted>>) {
    let script = Script {
        mode: Mode::Up,
        height: 100,
        branch: None,
        confirmations: 6,
        final_claim: None,
        invents: None,
        contract_payments: ContractPayments::NotSought,
        liveness: Liveness::MayConfirm,
        nonce: Some(5),
        broadcast: BroadcastOutcome::Accepted,
        calls: HashMap::new(),
    };
    let scripted: Vec<_> = ('a'..)
        .take(nodes)
        .map(|name| Arc::new(Scripted { name: name.to_string(), script: Mutex::new(script.clone()) }))
        .collect();
    let named = scripted
        .iter()
        .map(|node| NamedNode { name: node.name.clone(), node: Arc::clone(node) as Arc<dyn Node> });
    let set = NodeSet::new(named.collect(), NodeSetSettings::new(min_agree, TIMEOUT)).unwrap();
    (set, scripted)
}

pub fn health(set: &NodeSet, name: &str) -> NodeHealth {
    set.health().nodes.into_iter().find(|node| node.name == name).unwrap()
}

pub fn signed() -> SignedTransaction {
    SignedTransaction { bytes: vec![1, 2, 3], tx_id: "tx".into() }
}

/// Ledger 90 is its last.
pub fn sent() -> SentTransaction {
    SentTransaction { validity: Validity::UntilLedger(90), ..sent_for_ever() }
}

pub fn sent_for_ever() -> SentTransaction {
    SentTransaction {
        transaction: TransactionId::new(uuid::Uuid::from_u128(7)),
        tx_id: Some("tx".into()),
        unsigned: UnsignedTransaction { wallet: wallet(), source: None, bytes: Vec::new() },
        siblings: Vec::new(),
        spent_by: Vec::new(),
        resources: vec![Resource::Nonce { account: "0xA".into(), nonce: 5 }],
        validity: Validity::Unlimited,
    }
}

fn wallet() -> WalletDescriptor {
    WalletDescriptor::new(NETWORK, WalletKind::Ethereum, 0).unwrap()
}

pub fn intent() -> (Intent, GroupKey) {
    let intent = Intent {
        external_id: "x".parse().unwrap(),
        wallet: wallet(),
        asset: Asset::Eth,
        source: None,
        payments: Vec::new(),
        max_fee: Amount::from_u64(1),
        expires_at: Timestamp(0),
        fills: None,
        terms: None,
    };
    let key = GroupKey {
        scheme: Scheme::EcdsaSecp256k1,
        public_key: Vec::new(),
        chain_code: [0; 32],
        threshold: 2,
        parties: 3,
        generation: 0,
    };
    (intent, key)
}
