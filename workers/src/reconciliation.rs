//! Reconciliation: the chain's own statement of our accounts against what the store says of the same blocks.
//!
//! It believes neither the follower nor the engine. Both sides are compared at one final block that the follower has passed, so what is
//! under way raises no alarm. What is wrong is a [`Finding`] with a stable code. Nothing is repaired here: a person looks; until then
//! a halt ([`settle`]) can keep the accounts from sending.

mod balances;
mod compare;
mod finding;

pub use finding::{Code, Finding, Severity};

use crate::tx_id;
use bursar_domain::{
    asset::Asset,
    chain::BlockRef,
    effects::Resource,
    ids::TransactionId,
    network::Network,
    ports::{DecodeTransaction, NodeError},
    statement::{Known, ReadStatement, StatementQuery},
    time::Timestamp,
};
use bursar_store::{
    Store, StoreError,
    chain::{self, Untraced},
    halts::{self, Halt, HaltCode},
    reconciliation::{self, Balance, Booked, OurAddress, Outcome, Reconciled},
    transactions::{self, TransactionRecord},
};
use std::collections::{BTreeSet, HashMap};

/// How far back the follower's blocks are compared.
const REMEMBERED_BLOCKS: u32 = 1_000;

/// One network to compare.
pub struct Subject<'a> {
    pub store: &'a Store,
    pub chain: &'a dyn ReadStatement,
    /// Knows the id of a transaction that a block holds before its signature reached us.
    pub adapter: &'a dyn DecodeTransaction,
    /// Of which balances are compared.
    pub assets: Vec<Asset>,
    /// The first block; that after the last reconciliation without a break when absent, or the first of which the store keeps anything.
    pub first: Option<u64>,
}

/// What a comparison showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub network: Network,
    pub first: u64,
    pub last: BlockRef,
    /// How many transactions of ours the chain has in these blocks.
    pub sent: usize,
    /// How many credits were compared.
    pub received: usize,
    pub findings: Vec<Finding>,
    /// Whether no block was left out since the last reconciliation without a break.
    seamless: bool,
    balances: Vec<Balance>,
}

impl Report {
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity() == severity).count()
    }
}

/// The comparison could not be made. Says nothing about the money.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} was never followed: start the workers first")]
    NotFollowed(Network),
}

/// The store's side of the comparison.
struct Books {
    addresses: HashMap<String, OurAddress>,
    /// Transactions of ours in these blocks, as the follower saw it.
    included: Vec<TransactionRecord>,
    /// What the chain calls them.
    ids: HashMap<TransactionId, String>,
    deposits: Vec<Booked>,
    /// Of these blocks, those in which deposits by contracts were not seen.
    untraced: Vec<Untraced>,
}

impl Books {
    fn tx_id(&self, record: &TransactionRecord) -> Option<&str> {
        self.ids.get(&record.id).map(String::as_str)
    }
}

/// Compares. `progress` is told how many of how many parts of the chain's statement are read.
pub async fn reconcile(
    subject: Subject<'_>,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Report, ReconcileError> {
    let Subject { store, chain, adapter, assets, first } = subject;
    let network = chain.network();
    let walked = chain::cursor(store, network).await?.ok_or(ReconcileError::NotFollowed(network))?;
    let last = chain.final_block().await?.height.min(walked.height);
    let last = chain.block_at(last).await?;
    let before = reconciliation::reconciled(store, network).await?;
    let due = match &before {
        Some(before) => before.block.height + 1,
        None => reconciliation::first_height(store, network).await?.unwrap_or(last.height),
    };
    let first = first.unwrap_or(due);
    let mut report = Report {
        network,
        first,
        last: last.clone(),
        sent: 0,
        received: 0,
        findings: other_blocks(store, chain, &last, before.as_ref()).await?,
        seamless: first <= due,
        balances: Vec::new(),
    };
    if !report.findings.is_empty() {
        return Ok(report);
    }

    let addresses = reconciliation::addresses(store, network).await?;
    let included =
        records(store, reconciliation::included(store, network, first, last.height).await?).await?;
    let ids = included.iter().filter_map(|record| Some((record.id, tx_id(adapter, record)?)));
    let books = Books {
        ids: ids.collect(),
        included,
        deposits: reconciliation::deposits(store, network, first, last.height).await?,
        addresses: addresses.into_iter().map(|ours| (ours.address.clone(), ours)).collect(),
        untraced: chain::untraced(store, network)
            .await?
            .into_iter()
            .filter(|blocks| blocks.first <= last.height && blocks.last >= first)
            .collect(),
    };
    let under_way = records(store, reconciliation::under_way(store, network).await?).await?;
    let mut wanted: Vec<String> = books.addresses.keys().cloned().collect();
    wanted.sort();
    let query = StatementQuery {
        addresses: wanted,
        assets,
        first,
        last: last.height,
        known: known(&books, &under_way),
    };
    let mut statement = chain.statement(&query, progress).await?;
    if let Some(before) = before.filter(|before| before.block.height + 1 == first) {
        balances::carry_over(&mut statement.holdings, &before.balances);
    }

    let findings = &mut report.findings;
    compare::sent(store, network, &books, &statement, findings).await?;
    compare::paid_twice(store, network, &books, findings).await?;
    compare::completed(store, network, findings).await?;
    compare::received(network, &books, &statement, findings);
    balances::outputs(store, network, last.height, &books, &statement, findings).await?;
    balances::accounts(network, &books, &statement, findings);
    balances::gaps(store, network, &statement, findings).await?;
    report.sent = statement.sent.len();
    report.received = statement.received.len();
    report.balances = statement
        .holdings
        .into_iter()
        .map(|held| Balance { address: held.address, asset: held.asset, amount: held.closing })
        .collect();
    Ok(report)
}

/// Writes down what was found, in one transaction: how far all is well; or, if `halt`, the halts that breaks call for.
pub async fn settle(
    store: &Store,
    report: &Report,
    halt: bool,
    now: Timestamp,
) -> Result<Vec<Halt>, StoreError> {
    let breaks: Vec<&Finding> =
        report.findings.iter().filter(|finding| finding.severity() == Severity::Break).collect();
    let mut tx = store.write().await?;
    if breaks.is_empty() && report.seamless {
        let block = report.last.clone();
        let reconciled = Reconciled { block, at: now, balances: report.balances.clone() };
        reconciliation::record(&mut tx, report.network, &reconciled).await?;
    }
    if halt {
        let accounts: BTreeSet<Option<&str>> =
            breaks.iter().map(|finding| finding.account.as_deref()).collect();
        for account in accounts {
            let causes: Vec<String> = breaks
                .iter()
                .filter(|finding| finding.account.as_deref() == account)
                .map(|finding| format!("{}: {}", finding.code, finding.text))
                .collect();
            let reason: String = causes.join("; ").chars().take(1_000).collect();
            halts::halt(&mut tx, report.network, account, HaltCode::ReconcileBreak, &reason, now).await?;
        }
    }
    let outcome = Outcome {
        first: report.first,
        last: &report.last,
        breaks: breaks.len(),
        warnings: report.count(Severity::Warning),
    };
    reconciliation::finish(&mut tx, report.network, outcome, now).await?;
    let standing = halts::standing_in(&mut tx, report.network).await?;
    tx.commit().await?;
    Ok(standing)
}

/// Whether both sides speak of the same chain.
async fn other_blocks(
    store: &Store,
    chain: &dyn ReadStatement,
    last: &BlockRef,
    before: Option<&Reconciled>,
) -> Result<Vec<Finding>, ReconcileError> {
    let network = chain.network();
    let mut findings = Vec::new();
    let walked = chain::recent_blocks(store, network, REMEMBERED_BLOCKS).await?;
    if let Some(walked) = walked.iter().find(|walked| walked.height == last.height)
        && walked.hash != last.hash
    {
        let text =
            format!("block {} is {} on the chain, and {} was followed", last.height, last.hash, walked.hash);
        findings.push(Finding::new(network, Code::BlockDiffers, text));
    }
    if let Some(before) = before.filter(|before| before.block.height <= last.height) {
        let now = chain.block_at(before.block.height).await?;
        if now != before.block {
            let text = format!(
                "block {} was final as {} at the last reconciliation, and is {} now",
                now.height, before.block.hash, now.hash
            );
            findings.push(Finding::new(network, Code::BlockDiffers, text));
        }
    }
    Ok(findings)
}

async fn records(store: &Store, ids: Vec<TransactionId>) -> Result<Vec<TransactionRecord>, StoreError> {
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.extend(transactions::get(store, id).await?);
    }
    Ok(records)
}

/// Where a chain without an index of accounts should look.
fn known(books: &Books, under_way: &[TransactionRecord]) -> Vec<Known> {
    let mut known = Vec::new();
    for record in books.included.iter().chain(under_way) {
        let signed = record.signed.as_ref().map(|signed| signed.tx_id.as_str());
        let Some(tx_id) = signed.or_else(|| books.tx_id(record)) else { continue };
        let resources: Vec<Resource> = record.effects.resources.clone();
        known.push(Known { tx_id: tx_id.to_owned(), resources });
    }
    let deposits: BTreeSet<&String> = books.deposits.iter().map(|deposit| &deposit.tx_id).collect();
    known.extend(deposits.into_iter().map(|tx_id| Known { tx_id: tx_id.clone(), resources: Vec::new() }));
    known
}
