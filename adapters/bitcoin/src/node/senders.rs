//! Whose money it was: the scripts of the outputs that a transaction spends, from the node's undo data. A raw block has its inputs by
//! reference only, so this is asked of the node, and only where something in the block paid us.

use super::rpc::Rpc;
use bitcoin::{
    Address, Network as ChainParams, ScriptBuf,
    hashes::{Hash as _, sha256},
};
use bursar_domain::{chain::ObservedBlock, ports::NodeError, screening::MAX_SENDERS};
use serde::Deserialize;
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// So many transactions are asked for one by one. For more the whole block comes at once: larger by far, and bounded.
const ONE_BY_ONE: usize = 4;
/// A full block with what it spends is some ten megabytes of JSON.
const BLOCK_LIMIT: Duration = Duration::from_secs(120);

/// Names the senders of what reached us: the addresses of the outputs that were spent, each once, in the order of the inputs, without the
/// one that was credited. Of a script that has no address (a bare public key or multisig) `script:` and its SHA-256: nobody's list has it by
/// accident, and it is not left out.
///
/// One more than [`MAX_SENDERS`] are named at most. An [`Inquiry`](bursar_domain::screening::Inquiry) with that many is not valid, so that nobody screens a deposit by a part of its
/// senders: it waits for people.
pub async fn name(rpc: &Rpc, observed: &mut ObservedBlock) -> Result<(), NodeError> {
    let paying = observed.transactions.iter().filter(|tx| !tx.credits.is_empty());
    let paying: HashSet<String> = paying.map(|tx| tx.tx_id.clone()).collect();
    if paying.is_empty() {
        return Ok(());
    }
    let senders = read(rpc, &observed.block.hash, &paying).await?;
    for tx in &mut observed.transactions {
        let Some(senders) = senders.get(&tx.tx_id) else { continue };
        for credit in &mut tx.credits {
            let others = senders.iter().filter(|sender| **sender != credit.address);
            credit.from = others.take(MAX_SENDERS + 1).cloned().collect();
        }
    }
    Ok(())
}

/// Of each of these transactions of a block.
async fn read(
    rpc: &Rpc,
    block: &str,
    paying: &HashSet<String>,
) -> Result<HashMap<String, Vec<String>>, NodeError> {
    const ONE: &str = "getrawtransaction";
    const ALL: &str = "getblock";
    let mut found = HashMap::new();
    let mut take = |operation, tx: &Tx| -> Result<(), NodeError> {
        let senders = tx.senders(rpc.chain_params()).map_err(|reason| rpc.malformed(operation, reason))?;
        found.insert(tx.txid.clone(), senders);
        Ok(())
    };
    let whole: Option<Block> = if paying.len() <= ONE_BY_ONE {
        None
    } else {
        let whole = rpc.call_within(ALL, &[json!(block), json!(3)], BLOCK_LIMIT).await;
        // Too large for something on the way: then one by one, however many.
        whole
            .inspect_err(|error| tracing::warn!(block, %error, "a block with what it spends did not come"))
            .ok()
    };
    if let Some(whole) = whole {
        for tx in whole.tx.iter().filter(|tx| paying.contains(&tx.txid)) {
            take(ALL, tx)?;
        }
    } else {
        for id in paying {
            // With its block, no index of transactions is needed; verbosity 2 has the outputs that were spent.
            let tx: Tx = rpc.read(ONE, &[json!(id), json!(2), json!(block)]).await?;
            take(ONE, &tx)?;
        }
    }
    match paying.iter().find(|id| !found.contains_key(*id)) {
        None => Ok(found),
        Some(id) => Err(rpc.malformed(ONE, format!("another transaction than was asked for, {id}"))),
    }
}

#[derive(Deserialize)]
struct Block {
    tx: Vec<Tx>,
}

#[derive(Deserialize)]
struct Tx {
    txid: String,
    vin: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    prevout: Option<Previous>,
}

#[derive(Deserialize)]
struct Previous {
    #[serde(rename = "scriptPubKey")]
    script: Script,
}

#[derive(Deserialize)]
struct Script {
    hex: String,
}

impl Tx {
    /// Enough of them that without one of them there are more than an inquiry takes.
    fn senders(&self, chain: ChainParams) -> Result<Vec<String>, String> {
        let (mut known, mut senders) = (HashSet::new(), Vec::new());
        for input in &self.vin {
            let previous = input.prevout.as_ref().ok_or(
                "an input without the output that it spends: is the node older than Bitcoin Core 25, or its undo data gone?",
            )?;
            let sender = previous.script.sender(chain)?;
            if known.insert(sender.clone()) {
                senders.push(sender);
            }
            if senders.len() > MAX_SENDERS + 1 {
                break;
            }
        }
        Ok(senders)
    }
}

impl Script {
    fn sender(&self, chain: ChainParams) -> Result<String, String> {
        let script = ScriptBuf::from_hex(&self.hex).map_err(|error| format!("scriptPubKey.hex: {error}"))?;
        Ok(match Address::from_script(&script, chain) {
            Ok(address) => address.to_string(),
            Err(_) => format!("script:{}", sha256::Hash::hash(script.as_bytes())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::{
        amount::Amount,
        asset::Asset,
        ids::DepositId,
        network::{BitcoinNetwork, Network},
        screening::{Inquiry, InvalidInquiry},
    };
    use serde_json::Value;

    /// As the node answers, with what is of no interest here.
    fn spending(scripts: &[String]) -> Tx {
        let input = |hex: &String| {
            let script = json!({ "asm": "…", "desc": "…", "hex": hex, "type": "witness_v0_keyhash" });
            let prevout = json!({ "generated": false, "height": 7, "value": 0.5, "scriptPubKey": script });
            json!({ "txid": "07".repeat(32), "vout": 1, "sequence": 0, "prevout": prevout })
        };
        let vin: Vec<Value> = scripts.iter().map(input).collect();
        serde_json::from_value(json!({ "txid": "08".repeat(32), "vin": vin, "vout": [], "fee": 0.1 }))
            .unwrap()
    }

    fn p2wpkh(number: u8) -> String {
        format!("0014{}", hex::encode([number; 20]))
    }

    #[test]
    fn senders_are_the_addresses_of_the_outputs_that_are_spent_each_once_in_order() {
        let bare = format!("21{}ac", "02".repeat(33));
        let scripts = [p2wpkh(2), p2wpkh(1), p2wpkh(2), bare.clone(), bare];
        let senders = spending(&scripts).senders(ChainParams::Regtest).unwrap();
        let [first, second, script] = &senders[..] else { panic!("{senders:?}") };
        let network = Network::Bitcoin(BitcoinNetwork::Regtest);
        for (address, number) in [(first, 2), (second, 1)] {
            let parsed = crate::address::parse(network, address).unwrap();
            assert_eq!(parsed.script_pubkey().to_hex_string(), p2wpkh(number));
        }
        assert!(script.starts_with("script:") && script.len() == 71, "{script}");
    }

    #[test]
    fn a_crowd_of_senders_is_cut_where_it_can_no_longer_be_screened() {
        let scripts: Vec<String> = (0..=255).map(p2wpkh).cycle().take(5_000).collect();
        let senders = spending(&scripts).senders(ChainParams::Regtest).unwrap();
        assert_eq!(senders.len(), MAX_SENDERS + 2);
        let inquiry = |count| Inquiry::Deposit {
            deposit: DepositId::new(Default::default()),
            network: Network::Bitcoin(BitcoinNetwork::Regtest),
            asset: Asset::Btc,
            tx_id: "08".repeat(32),
            index: 0,
            address: "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080".into(),
            from: senders.iter().take(count).cloned().collect(),
            amount: Amount::from_u64(1),
        };
        inquiry(MAX_SENDERS).validate().unwrap();
        let refused = inquiry(MAX_SENDERS + 1).validate();
        assert!(matches!(refused, Err(InvalidInquiry::Count { field: "from", .. })), "{refused:?}");
    }

    #[test]
    fn a_node_that_does_not_say_what_was_spent_is_not_taken_for_one_without_senders() {
        let old: Tx =
            serde_json::from_value(json!({ "txid": "a", "vin": [{ "txid": "b", "vout": 0 }] })).unwrap();
        assert!(old.senders(ChainParams::Regtest).unwrap_err().contains("Bitcoin Core 25"));
        assert!(spending(&["xyz".into()]).senders(ChainParams::Regtest).is_err());
    }
}
