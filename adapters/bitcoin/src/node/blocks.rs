//! Finds in a raw block what concerns us.

use bitcoin::{Address, Block, Network as ChainParams, Transaction, consensus::deserialize, hashes::Hash};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{
        BlockRef, ContractPayments, Credit, ObservedBlock, ObservedTransaction, TransactionOutcome, WatchSet,
    },
    effects::{OutPoint, Resource},
    network::Network,
    time::Timestamp,
};
use std::collections::HashSet;

/// Reads the block and keeps its transactions that we sent, that spend an output of ours (also one made earlier in the same
/// block), or that pay one of our addresses.
///
/// Coinbase outputs are not credited: they cannot be spent for 100 blocks, and nobody pays a custody desk so.
pub fn observe(
    network: Network,
    height: u64,
    hash: &str,
    raw: &[u8],
    watch: &WatchSet,
) -> Result<ObservedBlock, String> {
    let Network::Bitcoin(bitcoin_network) = network else { return Err("not a Bitcoin network".to_owned()) };
    let chain = crate::address::params(bitcoin_network);
    let block: Block = deserialize(raw).map_err(|error| error.to_string())?;
    if block.block_hash().to_string() != hash {
        return Err(format!("asked for block {hash}, got {}", block.block_hash()));
    }
    let mut made_here = HashSet::new();
    let mut transactions = Vec::new();
    for transaction in &block.txdata {
        let observed = look(transaction, chain, watch, &mut made_here);
        transactions.extend(observed);
    }
    Ok(ObservedBlock {
        block: BlockRef { height, hash: hash.to_owned() },
        parent_hash: block.header.prev_blockhash.to_string(),
        time: Timestamp::from_secs(i64::from(block.header.time)),
        transactions,
        contract_payments: ContractPayments::NotSought,
    })
}

fn look(
    transaction: &Transaction,
    chain: ChainParams,
    watch: &WatchSet,
    made_here: &mut HashSet<OutPoint>,
) -> Option<ObservedTransaction> {
    let txid = transaction.compute_txid();
    let spends: Vec<Resource> = transaction
        .input
        .iter()
        .map(|input| outpoint(input.previous_output))
        .filter(|outpoint| watch.outpoints.contains(outpoint) || made_here.contains(outpoint))
        .map(Resource::Utxo)
        .collect();
    let credits = credits(transaction, chain, watch);
    made_here.extend(credits.iter().filter_map(|credit| credit.outpoint));

    let tx_id = txid.to_string();
    let concerns_us = !spends.is_empty() || !credits.is_empty() || watch.transactions.contains(&tx_id);
    concerns_us.then_some(ObservedTransaction {
        tx_id,
        outcome: TransactionOutcome::Succeeded,
        spends,
        // Not told by a raw block; the effects that were signed have it exactly.
        fee: None,
        credits,
    })
}

fn credits(transaction: &Transaction, chain: ChainParams, watch: &WatchSet) -> Vec<Credit> {
    let mut found = Vec::new();
    let txid = transaction.compute_txid();
    for (index, output) in (0u32..).zip(&transaction.output) {
        let Ok(address) = Address::from_script(&output.script_pubkey, chain) else { continue };
        let address = address.to_string();
        if !watch.addresses.contains(&address) {
            continue;
        }
        if transaction.is_coinbase() {
            tracing::warn!(%txid, index, "a coinbase output to an address of ours is not credited");
            continue;
        }
        found.push(Credit {
            address,
            // Not told by a raw block: see `super::senders`.
            from: Vec::new(),
            tag: None,
            asset: Asset::Btc,
            amount: Amount::from_u64(output.value.to_sat()),
            outpoint: Some(outpoint(bitcoin::OutPoint { txid, vout: index })),
            index,
        });
    }
    found
}

fn outpoint(outpoint: bitcoin::OutPoint) -> OutPoint {
    // Hashes are shown in reverse.
    let mut txid = outpoint.txid.to_byte_array();
    txid.reverse();
    OutPoint { txid, vout: outpoint.vout }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::{
        Amount as Sats, OutPoint as CoreOutPoint, ScriptBuf, Sequence, TxIn, TxOut, Witness,
        absolute::LockTime, consensus::serialize, constants::genesis_block, transaction::Version,
    };
    use bursar_domain::network::BitcoinNetwork;

    const NETWORK: Network = Network::Bitcoin(BitcoinNetwork::Regtest);
    const OURS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

    fn transaction(spends: CoreOutPoint, pays: &[(u64, ScriptBuf)]) -> Transaction {
        let input = TxIn {
            previous_output: spends,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::MAX,
            witness: Witness::new(),
        };
        let output = pays
            .iter()
            .map(|(sats, script)| TxOut { value: Sats::from_sat(*sats), script_pubkey: script.clone() })
            .collect();
        Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output }
    }

    fn block(transactions: Vec<Transaction>) -> (String, Vec<u8>) {
        let mut block = genesis_block(ChainParams::Regtest);
        block.txdata.extend(transactions);
        (block.block_hash().to_string(), serialize(&block))
    }

    fn ours() -> ScriptBuf {
        crate::address::parse(NETWORK, OURS).unwrap().script_pubkey()
    }

    #[test]
    fn credits_and_spends_within_one_block_are_found() {
        let watched = CoreOutPoint { txid: bitcoin::Txid::from_byte_array([7; 32]), vout: 3 };
        let first = transaction(watched, &[(9, ScriptBuf::new()), (1_000, ours())]);
        let made = CoreOutPoint { txid: first.compute_txid(), vout: 1 };
        let second = transaction(made, &[(900, ScriptBuf::new())]);
        let stranger = transaction(CoreOutPoint { vout: 9, ..made }, &[(900, ScriptBuf::new())]);
        let sent = transaction(CoreOutPoint { vout: 8, ..made }, &[(800, ScriptBuf::new())]);
        let (hash, raw) = block(vec![first.clone(), second.clone(), stranger, sent.clone()]);
        let watch = WatchSet {
            addresses: HashSet::from([OURS.to_owned()]),
            outpoints: HashSet::from([outpoint(watched)]),
            transactions: HashSet::from([sent.compute_txid().to_string()]),
            ..WatchSet::default()
        };
        let seen = observe(NETWORK, 5, &hash, &raw, &watch).unwrap();
        let ids: Vec<_> = seen.transactions.iter().map(|tx| tx.tx_id.clone()).collect();
        assert_eq!(ids, [&first, &second, &sent].map(|tx| tx.compute_txid().to_string()));
        assert_eq!(seen.transactions[0].spends, [Resource::Utxo(outpoint(watched))]);
        assert_eq!(seen.transactions[0].credits[0].amount, Amount::from_u64(1_000));
        assert_eq!(seen.transactions[0].credits[0].outpoint, Some(outpoint(made)));
        assert_eq!(seen.transactions[1].spends, [Resource::Utxo(outpoint(made))]);
        assert_eq!(seen.block, BlockRef { height: 5, hash });
    }

    #[test]
    fn coinbase_outputs_are_not_credited() {
        let coinbase = transaction(CoreOutPoint::null(), &[(1_000, ours())]);
        let (hash, raw) = block(vec![coinbase]);
        let watch = WatchSet { addresses: HashSet::from([OURS.to_owned()]), ..WatchSet::default() };
        assert!(observe(NETWORK, 5, &hash, &raw, &watch).unwrap().transactions.is_empty());
    }

    #[test]
    fn another_block_or_a_torn_one_is_refused() {
        let (hash, mut raw) = block(vec![]);
        let other = "0".repeat(64);
        assert!(observe(NETWORK, 5, &other, &raw, &WatchSet::default()).is_err());
        raw.pop();
        assert!(observe(NETWORK, 5, &hash, &raw, &WatchSet::default()).is_err());
    }
}
