//! What the node itself tells of our addresses: blocks with the outputs that they spend, and the set of unspent outputs.
//!
//! Nothing here shares code or data with the follower. `getblock` at verbosity 3 (Bitcoin Core 23 or later, from undo data) says for each
//! input which address it spends from, so no list of outputs of ours is needed to find what was sent; `scantxoutset` says what is
//! unspent. Where the node has `blockfilterindex`, `scanblocks` leaves out the blocks that cannot concern us.

use super::{
    BitcoinNode,
    rpc::{Rpc, RpcError},
};
use async_trait::async_trait;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, Credit, TransactionOutcome},
    effects::{OutPoint, Resource},
    intent::{Destination, Payment},
    network::Network,
    ports::NodeError,
    statement::{ReadStatement, Received, Sent, Statement, StatementQuery},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

/// A scan of mainnet's outputs takes minutes.
const SCAN_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How many blocks are asked of the filter index at once.
const FILTERED: u64 = 2_000;

#[async_trait]
impl ReadStatement for BitcoinNode {
    fn network(&self) -> Network {
        self.rpc.network()
    }

    async fn final_block(&self) -> Result<BlockRef, NodeError> {
        self.rpc.check_network().await?;
        let tip = self.rpc.chain_info().await?.blocks;
        self.block_at(tip.saturating_add(1).saturating_sub(self.finality_depth)).await
    }

    async fn block_at(&self, height: u64) -> Result<BlockRef, NodeError> {
        self.rpc.check_network().await?;
        Ok(BlockRef { height, hash: self.rpc.read("getblockhash", &[json!(height)]).await? })
    }

    async fn statement(
        &self,
        query: &StatementQuery,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Statement, NodeError> {
        self.rpc.check_network().await?;
        let ours: HashSet<&str> = query.addresses.iter().map(String::as_str).collect();
        let scan = scan(&self.rpc, &query.addresses).await?;
        let mut unspent = scan.unspent(&self.rpc, &query.addresses, query.last)?;
        let mut statement = Statement { received_is_all: true, ..Statement::default() };

        // Also what followed the last block: an output that was spent since then was still unspent after it.
        let first = query.first.min(query.last.saturating_add(1));
        let blocks = relevant(&self.rpc, &query.addresses, first, scan.height).await?;
        for (done, (height, hash)) in (0u64..).zip(&blocks) {
            progress(done, blocks.len() as u64);
            let block: Block = self.rpc.read("getblock", &[json!(hash), json!(3)]).await?;
            if block.hash != *hash || block.height != *height {
                return Err(self.rpc.malformed("getblock", "another block than was asked for"));
            }
            for tx in &block.tx {
                let seen = Seen::read(tx, &ours).map_err(|reason| self.rpc.malformed("getblock", reason))?;
                if *height > query.last {
                    unspent.extend(seen.spent.into_iter().filter(|output| output.height <= query.last));
                    continue;
                }
                statement.sent.extend(seen.sent(*height));
                statement.received.extend(seen.credits.into_iter().map(|credit| Received {
                    tx_id: tx.txid.clone(),
                    height: *height,
                    credit,
                }));
            }
        }
        let tip = self.block_at(scan.height).await?;
        if tip.hash != scan.best_block {
            return Err(self.chain_moved("the chain was reorganised while it was read"));
        }
        statement.unspent = unspent;
        Ok(statement)
    }
}

impl BitcoinNode {
    fn chain_moved(&self, reason: &str) -> NodeError {
        NodeError::Unavailable {
            network: self.rpc.network(),
            operation: "scantxoutset",
            reason: format!("{reason}; try again"),
        }
    }
}

/// Heights and hashes of the blocks from `first` to `last` that may concern the addresses, in order.
async fn relevant(
    rpc: &Rpc,
    addresses: &[String],
    first: u64,
    last: u64,
) -> Result<BTreeMap<u64, String>, NodeError> {
    let mut found = BTreeMap::new();
    let mut from = first;
    while from <= last && !addresses.is_empty() {
        let to = last.min(from.saturating_add(FILTERED - 1));
        let arguments = [json!("start"), descriptors(addresses), json!(from), json!(to), json!("basic")];
        match rpc.call_within::<ScanBlocks>("scanblocks", &arguments, SCAN_LIMIT).await {
            Ok(answer) if answer.completed && answer.to_height >= to => {
                for hash in answer.relevant_blocks {
                    let header: Header = rpc.read("getblockheader", &[json!(hash)]).await?;
                    found.insert(header.height, hash);
                }
            }
            // Without the index (or while it is being built) each block is read.
            Ok(_) | Err(RpcError::Answered { .. }) => {
                for height in from..=to {
                    found.insert(height, rpc.read("getblockhash", &[json!(height)]).await?);
                }
            }
            Err(error) => return Err(rpc.failed("scanblocks", error)),
        }
        from = to.saturating_add(1);
    }
    Ok(found)
}

/// The unspent outputs of the addresses at the node's tip.
async fn scan(rpc: &Rpc, addresses: &[String]) -> Result<Scan, NodeError> {
    if addresses.is_empty() {
        let info = rpc.chain_info().await?;
        return Ok(Scan {
            success: true,
            height: info.blocks,
            best_block: info.best_block_hash,
            unspents: vec![],
        });
    }
    let arguments = [json!("start"), descriptors(addresses)];
    let scan: Scan = rpc
        .call_within("scantxoutset", &arguments, SCAN_LIMIT)
        .await
        .map_err(|error| rpc.failed("scantxoutset", error))?;
    match scan.success {
        true => Ok(scan),
        false => Err(rpc.malformed("scantxoutset", "the scan was aborted")),
    }
}

fn descriptors(addresses: &[String]) -> Value {
    addresses.iter().map(|address| json!(format!("addr({address})"))).collect()
}

#[derive(Deserialize)]
struct ScanBlocks {
    to_height: u64,
    relevant_blocks: Vec<String>,
    /// Absent before it was told, when it was never otherwise.
    #[serde(default = "yes")]
    completed: bool,
}
const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Header {
    height: u64,
}

#[derive(Deserialize)]
struct Scan {
    success: bool,
    height: u64,
    #[serde(rename = "bestblock")]
    best_block: String,
    unspents: Vec<Unspent>,
}

#[derive(Deserialize)]
struct Unspent {
    txid: String,
    vout: u32,
    #[serde(rename = "scriptPubKey")]
    script: String,
    amount: Box<RawValue>,
    height: u64,
    #[serde(default)]
    coinbase: bool,
}

impl Scan {
    /// Those that were made up to `last`.
    fn unspent(&self, rpc: &Rpc, addresses: &[String], last: u64) -> Result<Vec<Received>, NodeError> {
        let malformed = |reason: String| rpc.malformed("scantxoutset", reason);
        let mut by_script = HashMap::new();
        for address in addresses {
            let parsed = crate::address::parse(rpc.network(), address);
            let parsed = parsed.map_err(|error| malformed(format!("{address}: {error}")))?;
            by_script.insert(parsed.script_pubkey().to_hex_string(), address);
        }
        let mut unspent = Vec::new();
        for output in self.unspents.iter().filter(|output| output.height <= last && !output.coinbase) {
            let address = by_script.get(&output.script);
            let address = address.ok_or_else(|| malformed("an output that was not asked for".into()))?;
            let received = received(&output.txid, output.vout, address, &output.amount, output.height);
            unspent.push(received.map_err(malformed)?);
        }
        Ok(unspent)
    }
}

#[derive(Deserialize)]
struct Block {
    hash: String,
    height: u64,
    tx: Vec<Tx>,
}

#[derive(Deserialize)]
struct Tx {
    txid: String,
    vin: Vec<Input>,
    vout: Vec<Output>,
}

#[derive(Deserialize)]
struct Input {
    txid: Option<String>,
    vout: Option<u32>,
    /// Absent for a coinbase.
    prevout: Option<Previous>,
}

#[derive(Deserialize)]
struct Previous {
    #[serde(default)]
    generated: bool,
    height: u64,
    value: Box<RawValue>,
    #[serde(rename = "scriptPubKey")]
    script: Script,
}

#[derive(Deserialize)]
struct Output {
    n: u32,
    value: Box<RawValue>,
    #[serde(rename = "scriptPubKey")]
    script: Script,
}

#[derive(Deserialize)]
struct Script {
    /// Absent where the script has none.
    address: Option<String>,
}

/// What a transaction has to do with us.
struct Seen<'a> {
    tx: &'a Tx,
    /// Outputs of ours that it spends.
    spent: Vec<Received>,
    credits: Vec<Credit>,
    payments: Vec<Payment>,
    fee: Option<Amount>,
}

impl<'a> Seen<'a> {
    fn read(tx: &'a Tx, ours: &HashSet<&str>) -> Result<Self, String> {
        let coinbase = tx.vin.iter().any(|input| input.txid.is_none());
        let (mut spent, mut paid_in) = (Vec::new(), Some(Amount::ZERO));
        for input in tx.vin.iter().filter(|_| !coinbase) {
            let (Some(txid), Some(vout), Some(previous)) = (&input.txid, input.vout, &input.prevout) else {
                return Err("an input without the output that it spends: is the node pruned?".into());
            };
            paid_in = paid_in.and_then(|sum| sum.checked_add(amount(&previous.value).ok()?));
            let Some(address) = previous.script.address.as_deref().filter(|address| ours.contains(address))
            else {
                continue;
            };
            if !previous.generated {
                spent.push(received(txid, vout, address, &previous.value, previous.height)?);
            }
        }
        let (mut credits, mut payments, mut paid_out) = (Vec::new(), Vec::new(), Some(Amount::ZERO));
        for output in &tx.vout {
            let value = amount(&output.value)?;
            paid_out = paid_out.and_then(|sum| sum.checked_add(value));
            let Some(address) = &output.script.address else { continue };
            payments.push(Payment {
                destination: Destination { address: address.clone(), tag: None },
                amount: value,
            });
            if ours.contains(address.as_str()) && !coinbase {
                credits.push(credit(&tx.txid, output.n, address, value)?);
            }
        }
        let fee = paid_in.zip(paid_out).and_then(|(paid_in, paid_out)| paid_in.checked_sub(paid_out));
        Ok(Self { tx, spent, credits, payments, fee })
    }

    fn sent(&self, height: u64) -> Option<Sent> {
        if self.spent.is_empty() {
            return None;
        }
        let from: BTreeSet<&String> = self.spent.iter().map(|output| &output.credit.address).collect();
        Some(Sent {
            tx_id: Some(self.tx.txid.clone()),
            height: Some(height),
            from: from.into_iter().cloned().collect(),
            resources: self
                .spent
                .iter()
                .filter_map(|output| output.credit.outpoint)
                .map(Resource::Utxo)
                .collect(),
            outcome: TransactionOutcome::Succeeded,
            asset: Asset::Btc,
            payments: self.payments.clone(),
            fee: self.fee,
        })
    }
}

/// Bitcoin Core writes amounts with all eight places; they are read as text, never as floating point.
fn amount(value: &RawValue) -> Result<Amount, String> {
    Amount::parse_decimal(value.get(), 8).map_err(|error| format!("amount {}: {error}", value.get()))
}

fn received(txid: &str, vout: u32, address: &str, value: &RawValue, height: u64) -> Result<Received, String> {
    let credit = credit(txid, vout, address, amount(value)?)?;
    Ok(Received { tx_id: txid.to_owned(), height, credit })
}

fn credit(txid: &str, vout: u32, address: &str, amount: Amount) -> Result<Credit, String> {
    let outpoint: OutPoint =
        format!("{txid}:{vout}").parse().map_err(|_| format!("transaction id {txid}"))?;
    Ok(Credit {
        address: address.to_owned(),
        from: Vec::new(),
        tag: None,
        asset: Asset::Btc,
        amount,
        outpoint: Some(outpoint),
        index: vout,
    })
}
