//! What the node itself tells of our accounts: their nonces, each transaction that used one, and balances at two blocks.
//!
//! An execution client keeps no index of accounts. But an account's nonce counts what it sent, so nothing that was sent can hide:
//! each nonce between two blocks has to be explained by a transaction in a block. One that is named by nobody is looked for, by halving
//! the interval with the account's nonce at older blocks where the node still knows it, then block by block.

use super::{
    EthereumNode,
    observe::senders,
    receipts::outcome,
    rpc::CallError,
    wire::{Block, Header, Receipt, Transaction},
};
use crate::{address::checksummed, build::Erc20};
use alloy::{
    primitives::{Address, B256, Bytes, U64, U256},
    sol_types::SolCall,
};
use async_trait::async_trait;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, Credit, TransactionOutcome},
    effects::Resource,
    intent::{Destination, Payment},
    network::Network,
    ports::{NodeError, ObserveChain},
    statement::{Holding, Known, ReadStatement, Received, Sent, Statement, StatementQuery},
};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, HashSet};

const BLOCK: &str = "eth_getBlockByNumber";
const COUNT: &str = "eth_getTransactionCount";
const TRANSACTION: &str = "eth_getTransactionByHash";
const RECEIPT: &str = "eth_getTransactionReceipt";

#[async_trait]
impl ReadStatement for EthereumNode {
    fn network(&self) -> Network {
        self.network_id()
    }

    async fn final_block(&self) -> Result<BlockRef, NodeError> {
        self.block_at(self.tips().await?.final_height).await
    }

    async fn block_at(&self, height: u64) -> Result<BlockRef, NodeError> {
        let header: Option<Header> = self.rpc.read(BLOCK, (tag(height), false)).await?;
        let header = header.ok_or(NodeError::NoBlock { network: self.network_id(), height })?;
        if header.number.to::<u64>() != height {
            return Err(self.rpc.malformed(BLOCK, format!("block {} instead of {height}", header.number)));
        }
        Ok(BlockRef { height, hash: header.hash.to_string() })
    }

    async fn statement(
        &self,
        query: &StatementQuery,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Statement, NodeError> {
        let mut statement = Statement::default();
        let parts = query.addresses.len() as u64;
        for (done, address) in (0u64..).zip(&query.addresses) {
            progress(done, parts);
            let account: Address = address
                .parse()
                .map_err(|_| self.rpc.malformed("statement", format!("{address} is not an address")))?;
            let next = self.count(account, query.last).await.map_err(|e| self.rpc.node_error(COUNT, e))?;
            let by_nonce = named(&query.known, address);
            let before = match query.first.checked_sub(1) {
                None => 0,
                Some(before) => match self.count(account, before).await {
                    Ok(before) => before,
                    // The node has forgotten the state of then: what is named begins the account.
                    Err(CallError::Answered(_)) => by_nonce.keys().next().copied().unwrap_or(next),
                    Err(error) => return Err(self.rpc.node_error(COUNT, error)),
                },
            };
            for nonce in before..next {
                let named = by_nonce.get(&nonce).map(Vec::as_slice).unwrap_or_default();
                statement.sent.push(self.sent(account, nonce, named, query).await?);
            }
            for asset in &query.assets {
                statement.holdings.push(Holding {
                    address: address.clone(),
                    asset: *asset,
                    opening: match query.first.checked_sub(1) {
                        None => Some(Amount::ZERO),
                        Some(before) => self.holding(account, *asset, before).await.or_else(forgotten)?,
                    },
                    closing: self
                        .holding(account, *asset, query.last)
                        .await
                        .map_err(|error| self.rpc.node_error("balance", error))?
                        .ok_or_else(|| self.rpc.malformed("balanceOf", format!("{asset} is no token")))?,
                    next: Some(next),
                });
            }
        }
        let ours: HashSet<&str> = query.addresses.iter().map(String::as_str).collect();
        for known in query.known.iter().filter(|known| known.resources.is_empty()) {
            let (received, traced) = self.received(known, &ours, query).await?;
            statement.received.extend(received);
            if !traced {
                statement.untraced.insert(known.tx_id.clone());
            }
        }
        Ok(statement)
    }
}

/// The hashes that are said to have used each nonce of an account.
fn named(known: &[Known], account: &str) -> BTreeMap<u64, Vec<String>> {
    let mut by_nonce: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for known in known {
        for resource in &known.resources {
            if let Resource::Nonce { account: of, nonce } = resource
                && of == account
            {
                by_nonce.entry(*nonce).or_default().push(known.tx_id.clone());
            }
        }
    }
    by_nonce
}

/// An error that the node answers to a question about an old block means that it no longer keeps it.
fn forgotten(error: CallError) -> Result<Option<Amount>, NodeError> {
    match error {
        CallError::Answered(_) => Ok(None),
        CallError::Node(error) => Err(error),
    }
}

/// A transaction or receipt with the block that holds it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed<T> {
    block_number: Option<U64>,
    #[serde(flatten)]
    inner: T,
}

impl EthereumNode {
    async fn count(&self, account: Address, height: u64) -> Result<u64, CallError> {
        let count: U64 = self.rpc.call(COUNT, (checksummed(&account), tag(height))).await?;
        Ok(count.to())
    }

    /// `None`: the contract was no token then.
    async fn holding(&self, owner: Address, asset: Asset, height: u64) -> Result<Option<Amount>, CallError> {
        match asset {
            Asset::Erc20(token) => {
                let input = Bytes::from(Erc20::balanceOfCall { owner }.abi_encode());
                let call = json!({ "to": Address::from(token), "input": input });
                let answer: Bytes = self.rpc.call("eth_call", (call, tag(height))).await?;
                // Before a contract was there, nobody had anything of it.
                if answer.is_empty() {
                    return Ok(Some(Amount::ZERO));
                }
                Ok(<&[u8; 32]>::try_from(answer.as_ref()).ok().map(|word| Amount(U256::from_be_bytes(*word))))
            }
            _ => {
                let balance: U256 =
                    self.rpc.call("eth_getBalance", (checksummed(&owner), tag(height))).await?;
                Ok(Some(Amount(balance)))
            }
        }
    }

    /// The transaction that used a nonce up to the last block.
    async fn sent(
        &self,
        account: Address,
        nonce: u64,
        named: &[String],
        query: &StatementQuery,
    ) -> Result<Sent, NodeError> {
        for tx_id in named {
            if let Some(found) = self.placed(tx_id, query.last).await?
                && found.transaction.from == account
                && found.transaction.nonce.to::<u64>() == nonce
            {
                return Ok(found.sent());
            }
        }
        if let Some(hash) = self.locate(account, nonce, query).await?
            && let Some(found) = self.placed(&hash.to_string(), query.last).await?
        {
            return Ok(found.sent());
        }
        let account = checksummed(&account);
        Ok(Sent {
            tx_id: None,
            height: None,
            from: vec![account.clone()],
            resources: vec![Resource::Nonce { account, nonce }],
            outcome: TransactionOutcome::Succeeded,
            asset: Asset::Eth,
            payments: Vec::new(),
            fee: None,
        })
    }

    /// A transaction with its receipt, if it is in a block up to `last`.
    async fn placed(&self, tx_id: &str, last: u64) -> Result<Option<Found>, NodeError> {
        let Ok(hash) = tx_id.parse::<B256>() else { return Ok(None) };
        let transaction: Option<Placed<Transaction>> = self.rpc.read(TRANSACTION, (hash,)).await?;
        let receipt: Option<Placed<Receipt>> = self.rpc.read(RECEIPT, (hash,)).await?;
        let (Some(transaction), Some(receipt)) = (transaction, receipt) else { return Ok(None) };
        if transaction.inner.hash != hash || receipt.inner.transaction_hash != hash {
            return Err(self.rpc.malformed(TRANSACTION, "another transaction than was asked for"));
        }
        let height = receipt.block_number.map(|number| number.to::<u64>());
        Ok(height.filter(|height| *height <= last).map(|height| Found {
            height,
            transaction: transaction.inner,
            receipt: receipt.inner,
        }))
    }

    /// Which transaction used the nonce, between the two blocks.
    async fn locate(
        &self,
        account: Address,
        nonce: u64,
        query: &StatementQuery,
    ) -> Result<Option<B256>, NodeError> {
        // After `low` the nonce was unused, after `high` it was used.
        let (mut low, mut high) = (query.first.checked_sub(1), query.last);
        while low.map_or(high > 0, |low| high - low > 1) {
            let middle = low.map_or(high / 2, |low| low + (high - low) / 2);
            match self.count(account, middle).await {
                Ok(count) if count > nonce => high = middle,
                Ok(_) => low = Some(middle),
                Err(CallError::Answered(_)) => break,
                Err(error) => return Err(self.rpc.node_error(COUNT, error)),
            }
        }
        for height in low.map_or(0, |low| low + 1)..=high {
            let block: Option<Block> = self.rpc.read(BLOCK, (tag(height), true)).await?;
            let block = block.ok_or(NodeError::NoBlock { network: self.network_id(), height })?;
            let found =
                block.transactions.iter().find(|tx| tx.from == account && tx.nonce.to::<u64>() == nonce);
            if let Some(found) = found {
                return Ok(Some(found.hash));
            }
        }
        Ok(None)
    }

    /// What a transaction that is said to pay us did pay, and whether that is all, with what contracts sent on in it.
    async fn received(
        &self,
        known: &Known,
        ours: &HashSet<&str>,
        query: &StatementQuery,
    ) -> Result<(Vec<Received>, bool), NodeError> {
        let Some(Found { height, transaction, receipt }) = self.placed(&known.tx_id, query.last).await?
        else {
            return Ok((Vec::new(), true));
        };
        if receipt.status.is_zero() {
            return Ok((Vec::new(), true));
        }
        let credit = |from: Address, to: Address, asset, amount, index| Credit {
            address: checksummed(&to),
            from: senders(&to, &[from]),
            tag: None,
            asset,
            amount: Amount(amount),
            outpoint: None,
            index,
        };
        let native = transaction.to.filter(|_| !transaction.value.is_zero());
        let mut credits: Vec<Credit> = native
            .map(|to| credit(transaction.from, to, Asset::Eth, transaction.value, 0))
            .into_iter()
            .collect();
        for (log, index) in receipt.logs.iter().zip(1..) {
            let asset = Asset::Erc20(log.address.into_array());
            let Some(transfer) = log.token_transfer().filter(|_| query.assets.contains(&asset)) else {
                continue;
            };
            credits.push(credit(transfer.from, transfer.to, asset, transfer.amount, index));
        }
        let inside = self.credits_inside(transaction.hash, receipt.block_hash).await?;
        let traced = inside.is_some();
        credits.extend(inside.into_iter().flatten());
        let received = credits.into_iter().filter(|credit| ours.contains(credit.address.as_str()));
        let received =
            received.map(|credit| Received { tx_id: known.tx_id.clone(), height, credit }).collect();
        Ok((received, traced))
    }
}

struct Found {
    height: u64,
    transaction: Transaction,
    receipt: Receipt,
}

impl Found {
    fn sent(&self) -> Sent {
        let Self { height, transaction, receipt } = self;
        let account = checksummed(&transaction.from);
        let outcome = outcome(transaction, receipt, true);
        let (asset, payments) = match &outcome {
            TransactionOutcome::Failed { .. } => (Asset::Eth, Vec::new()),
            TransactionOutcome::Succeeded | TransactionOutcome::Unclear { .. } => payments(transaction),
        };
        Sent {
            tx_id: Some(transaction.hash.to_string()),
            height: Some(*height),
            from: vec![account.clone()],
            resources: vec![Resource::Nonce { account, nonce: transaction.nonce.to() }],
            outcome,
            asset,
            payments,
            fee: receipt.gas_used.checked_mul(receipt.effective_gas_price).map(Amount),
        }
    }
}

/// What a transaction that took effect pays: its value, or what it tells a token to transfer (EIP-20).
fn payments(transaction: &Transaction) -> (Asset, Vec<Payment>) {
    let Some(to) = transaction.to else { return (Asset::Eth, Vec::new()) };
    let pay = |to: &Address, amount: U256| Payment {
        destination: Destination { address: checksummed(to), tag: None },
        amount: Amount(amount),
    };
    match Erc20::transferCall::abi_decode(&transaction.input) {
        Ok(call) if transaction.value.is_zero() => {
            (Asset::Erc20(to.into_array()), vec![pay(&call.to, call.value)])
        }
        _ => (Asset::Eth, vec![pay(&to, transaction.value)]),
    }
}

fn tag(height: u64) -> String {
    format!("{height:#x}")
}
