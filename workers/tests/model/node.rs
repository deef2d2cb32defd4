//! Nodes: what they say of the ledger, which may be late, lost, or that they know nothing.

use super::ledger::Ledger;
use crate::shared::{
    accounts, adapter,
    basics::{T0, lock, pause},
    payload::Signed,
};
use async_trait::async_trait;
use bursar_domain::{
    account::{AccountQuery, AccountState, BitcoinAccount},
    amount::{Amount, Satoshi},
    asset::Asset,
    chain::{
        ContractPayments, Credit, Liveness, ObservedBlock, ObservedTransaction, Tips, TransactionOutcome,
        WatchSet,
    },
    effects::{Resource, Validity},
    network::{Chain, Network},
    package::SignedTransaction,
    ports::{
        BroadcastOutcome, BroadcastTransaction, NodeError, ObserveChain, ReadAccount, ReadAccountError,
        SentTransaction,
    },
};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

/// Ledgers that an XRP payment stays valid.
const LEDGER_WINDOW: u32 = 9;

/// How the next call that it fits goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No answer to any question.
    Down,
    /// A broadcast arrives, and its answer is lost.
    LoseAnswer,
    /// A broadcast never arrives.
    LoseRequest,
    /// It does not relay what it is handed.
    Refuse,
    /// It says that it does not know a transaction which is there.
    NotFound,
}

#[derive(Default)]
pub struct Faults {
    pub next: Mutex<VecDeque<Fault>>,
    /// Blocks that the node is behind.
    pub lag: AtomicU64,
    /// What it says that a transaction costs now.
    pub fee: AtomicU64,
    /// Lies that no honest node tells; the model must find out what comes of them.
    pub says_dead: AtomicBool,
    pub says_final: AtomicBool,
}

impl Faults {
    fn take(&self, wanted: &[Fault]) -> Option<Fault> {
        let mut next = lock(&self.next);
        let position = next.iter().position(|fault| wanted.contains(fault))?;
        next.remove(position)
    }
}

pub struct ModelNode {
    pub network: Network,
    pub ledger: Arc<Mutex<Ledger>>,
    pub faults: Arc<Faults>,
}

impl ModelNode {
    fn chain(&self) -> Chain {
        self.network.chain()
    }
    async fn asked(&self, operation: &'static str) -> Result<(), NodeError> {
        pause().await;
        match self.faults.take(&[Fault::Down]) {
            None => Ok(()),
            Some(_) => {
                let reason = "connection refused".into();
                Err(NodeError::Unavailable { network: self.network, operation, reason })
            }
        }
    }
    /// The chain as this node has it.
    fn view(&self) -> Ledger {
        let mut view = lock(&self.ledger).clone();
        let lag = usize::try_from(self.faults.lag.load(SeqCst)).unwrap();
        let keep = view.blocks.len().saturating_sub(lag).max(1);
        view.blocks.truncate(keep);
        view
    }
}

#[async_trait]
impl ReadAccount for ModelNode {
    async fn account_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        self.asked("account").await?;
        let view = self.view();
        let fee = self.faults.fee.load(SeqCst);
        let address = query.source.map(|path| adapter::address(self.network, &path)).unwrap_or_default();
        let used = view.used(&address);
        Ok(match self.chain() {
            Chain::Bitcoin => AccountState::Bitcoin(BitcoinAccount { fee_rate: Satoshi(fee), utxos: vec![] }),
            Chain::Ethereum => accounts::ethereum(address, used, fee),
            Chain::Xrp => accounts::xrp(address, used, fee, view.height(), LEDGER_WINDOW),
        })
    }

    async fn balance(&self, _: &str, _: Asset) -> Result<Amount, NodeError> {
        Ok(Amount::from_u64(accounts::PLENTY))
    }
}

#[async_trait]
impl BroadcastTransaction for ModelNode {
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        pause().await;
        let signed: Signed = serde_json::from_slice(&transaction.bytes).unwrap();
        let fault = self.faults.take(&[Fault::LoseAnswer, Fault::LoseRequest, Fault::Refuse]);
        let lost = || BroadcastOutcome::MaybeSent { reason: "the connection was reset".into() };
        let outcome = match fault {
            Some(Fault::LoseRequest) => lost(),
            Some(Fault::Refuse) => BroadcastOutcome::Rejected { reason: "min relay fee not met".into() },
            fault => {
                let mut ledger = lock(&self.ledger);
                let mined = ledger.find(&signed).is_some();
                let known = mined || ledger.pool.contains(&signed);
                // A node forgets what cannot be any more.
                if !mined && !ledger.relays(&signed) {
                    return BroadcastOutcome::Rejected { reason: "nonce too low, or inputs missing".into() };
                }
                if !known && let Some(rival) = ledger.outbids(&signed) {
                    let reason = format!("insufficient fee, {} is there", rival.payload.fee);
                    return BroadcastOutcome::Rejected { reason };
                }
                ledger.publish(signed);
                match (fault, known) {
                    (Some(_), _) => lost(),
                    (None, true) => BroadcastOutcome::AlreadyKnown,
                    (None, false) => BroadcastOutcome::Accepted,
                }
            }
        };
        pause().await;
        outcome
    }
}

#[async_trait]
impl ObserveChain for ModelNode {
    fn network(&self) -> Network {
        self.network
    }

    async fn tips(&self) -> Result<Tips, NodeError> {
        self.asked("tips").await?;
        let view = self.view();
        let tip = view.block_ref(view.height()).unwrap();
        let depth = if self.faults.says_final.load(SeqCst) { 1 } else { view.depth() };
        let final_height = (tip.height + 1).saturating_sub(depth);
        Ok(Tips { tip, final_height })
    }

    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        self.asked("block").await?;
        let view = self.view();
        let block = view.block_ref(height).ok_or(NodeError::NoBlock { network: self.network, height })?;
        let parent = height.checked_sub(1).and_then(|parent| view.block_ref(parent));
        Ok(ObservedBlock {
            transactions: self.observe(&view, usize::try_from(height).unwrap(), watch),
            block,
            parent_hash: parent.map_or_else(String::new, |parent| parent.hash),
            time: T0,
            contract_payments: ContractPayments::NotSought,
        })
    }

    /// The questions of the real adapters, in their order: where the chain is, whether the transaction is there, whether what it
    /// needs is used.
    async fn liveness(&self, sent: &SentTransaction) -> Result<Liveness, NodeError> {
        self.asked("liveness").await?;
        if self.faults.says_dead.load(SeqCst) {
            return Ok(Liveness::Dead { proof: "it is not found".into() });
        }
        let validated = self.view().height();
        pause().await;
        let view = self.view();
        let known = |signed: &Signed| {
            let id = signed.id(self.chain());
            Some(&id) == sent.tx_id.as_ref() || sent.siblings.contains(&id)
        };
        let found = view.mined().any(|(_, mined)| known(&mined.signed));
        if found && self.faults.take(&[Fault::NotFound]).is_none() {
            return Ok(Liveness::MayConfirm);
        }
        let user = sent.resources.iter().find_map(|resource| view.user(resource));
        let Validity::UntilLedger(last) = sent.validity else {
            // A signature that we never got may have made this very payment.
            return Ok(match user {
                Some((user, true)) if adapter::read(&sent.unsigned.bytes).unwrap() == user.payload => {
                    Liveness::Unexplained { reason: "the same payment is in a block".into() }
                }
                Some((user, true)) => Liveness::Dead { proof: format!("a final block has {user:?}") },
                _ => Liveness::MayConfirm,
            });
        };
        if validated < u64::from(last) {
            return Ok(Liveness::MayConfirm);
        }
        pause().await;
        Ok(match user {
            Some((user, _)) => Liveness::Unexplained { reason: format!("used by {user:?}") },
            None => Liveness::Dead { proof: format!("ledger {last} is validated and the Sequence unused") },
        })
    }
}

impl ModelNode {
    fn observe(&self, view: &Ledger, height: usize, watch: &WatchSet) -> Vec<ObservedTransaction> {
        let mut made = Vec::new();
        let mut seen = Vec::new();
        for coin in &view.blocks[height].deposits {
            let credit = self.credit(&coin.address, coin.value, coin.outpoint);
            seen.push(ObservedTransaction {
                tx_id: format!("deposit-{height}"),
                outcome: TransactionOutcome::Succeeded,
                spends: vec![],
                fee: None,
                credits: watch.addresses.contains(&coin.address).then_some(credit).into_iter().collect(),
            });
        }
        for mined in &view.blocks[height].transactions {
            let payload = &mined.signed.payload;
            let change = payload.change.as_ref().filter(|change| watch.addresses.contains(&change.address));
            let credits = change
                .map(|change| self.credit(&change.address, change.amount, mined.signed.payload.outpoint(1)));
            let ours = |resource: &&Resource| match resource {
                Resource::Utxo(outpoint) => watch.outpoints.contains(outpoint) || made.contains(outpoint),
                _ => payload.from.iter().any(|account| watch.addresses.contains(account)),
            };
            let spends: Vec<Resource> = payload.uses.iter().filter(ours).cloned().collect();
            let tx_id = mined.signed.id(self.chain());
            made.extend(credits.iter().filter_map(|credit| credit.outpoint));
            if spends.is_empty() && credits.is_none() && !watch.transactions.contains(&tx_id) {
                continue;
            }
            let outcome = match mined.failed {
                true => TransactionOutcome::Failed { reason: "reverted".into() },
                false => TransactionOutcome::Succeeded,
            };
            let fee = Some(Amount::from_u64(payload.fee));
            seen.push(ObservedTransaction {
                tx_id,
                outcome,
                spends,
                fee,
                credits: credits.into_iter().collect(),
            });
        }
        seen
    }

    fn credit(&self, address: &str, amount: u64, outpoint: bursar_domain::effects::OutPoint) -> Credit {
        Credit {
            address: address.to_owned(),
            from: vec![],
            tag: None,
            asset: Asset::native(self.chain()),
            amount: Amount::from_u64(amount),
            outpoint: (self.chain() == Chain::Bitcoin).then_some(outpoint),
            index: outpoint.vout,
        }
    }
}
