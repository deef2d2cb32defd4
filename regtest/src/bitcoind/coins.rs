//! The harness's own coins: found by scanning the node's UTXO set, signed with `signrawtransactionwithkey`.

use bitcoin::{Address, Amount};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Bitcoind, parse};
use crate::RegtestError;

/// Blocks before a coinbase may be spent (consensus rule).
const MATURITY: u64 = 100;
/// sat/vB, well above any floor.
const FEE_RATE: u64 = 5;
/// Size of version, locktime, counts and two outputs of the largest standard type, in vB, rounded up.
const BASE_VSIZE: u64 = 100;
/// Size of a P2WPKH input, in vB, rounded up.
const INPUT_VSIZE: u64 = 69;
/// Change below this is left to the miner.
const DUST: u64 = 1_000;

#[derive(Debug, Deserialize)]
struct Scan {
    height: u64,
    unspents: Vec<Unspent>,
}

#[derive(Clone, Debug, Deserialize)]
struct Unspent {
    txid: String,
    vout: u32,
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    amount: Amount,
    coinbase: bool,
    height: u64,
}

impl Bitcoind {
    /// Sends `sats` to `address` and mines one block. The transaction id.
    ///
    /// # Errors
    /// When the address is not of regtest, or the harness cannot mine enough coins.
    pub async fn fund(&self, address: &str, sats: u64) -> Result<String, RegtestError> {
        let txid = self.send(address, sats).await?;
        self.mine(1).await?;
        Ok(txid)
    }

    /// Sends `sats` to `address` and leaves the transaction in the mempool. Mines first when the harness has too few ripe
    /// coins. The transaction id.
    pub async fn send(&self, address: &str, sats: u64) -> Result<String, RegtestError> {
        let to = parse(address)?;
        let _one_at_a_time = self.spending.lock().await;
        let mut coins = self.choose(sats).await?;
        if coins.is_none() {
            // 101 blocks ripen the first coinbase; later ones need as many as the halved subsidy asks for.
            self.mine(u32::try_from(MATURITY).expect("100 fits") + 10).await?;
            coins = self.choose(sats).await?;
        }
        let (inputs, change) = coins.ok_or_else(|| RegtestError::Invalid {
            field: "sats",
            reason: format!("the harness cannot mine {sats} sat: regtest's subsidy halves each 150 blocks"),
        })?;
        let inputs: Vec<Value> =
            inputs.iter().map(|coin| json!({ "txid": coin.txid, "vout": coin.vout })).collect();
        let mut outputs = vec![output(&to, sats)];
        if change >= DUST {
            outputs.push(output(&self.miner_address, change));
        }
        let raw = self.call("createrawtransaction", json!([inputs, outputs])).await?;
        let signed = self.call("signrawtransactionwithkey", json!([raw, [self.miner.to_wif()]])).await?;
        if signed["complete"] != json!(true) {
            return Err(RegtestError::malformed("signrawtransactionwithkey", "complete signature"));
        }
        // No fee-rate cap: the harness wastes what it mined.
        let txid = self.call("sendrawtransaction", json!([signed["hex"], 0])).await?;
        txid.as_str().map(str::to_owned).ok_or_else(|| RegtestError::malformed("sendrawtransaction", "txid"))
    }

    /// Confirmed satoshis at `address`, read from the node's UTXO set.
    pub async fn balance(&self, address: &str) -> Result<u64, RegtestError> {
        let address = parse(address)?;
        let _one_at_a_time = self.spending.lock().await;
        let scan = self.scan(&address).await?;
        Ok(scan.unspents.iter().map(|coin| coin.amount.to_sat()).sum())
    }

    async fn scan(&self, address: &Address) -> Result<Scan, RegtestError> {
        let found = self.call("scantxoutset", json!(["start", [format!("addr({address})")]])).await?;
        serde_json::from_value(found).map_err(|_| RegtestError::malformed("scantxoutset", "unspents"))
    }

    /// Ripe coins that no transaction in the mempool spends, and the change after `sats` and the fee.
    async fn choose(&self, sats: u64) -> Result<Option<(Vec<Unspent>, u64)>, RegtestError> {
        let scan = self.scan(&self.miner_address).await?;
        let ripe: Vec<Unspent> = scan
            .unspents
            .into_iter()
            .filter(|coin| !coin.coinbase || scan.height + 1 >= coin.height + MATURITY)
            .collect();
        if ripe.is_empty() {
            return Ok(None);
        }
        let outpoints: Vec<Value> =
            ripe.iter().map(|coin| json!({ "txid": coin.txid, "vout": coin.vout })).collect();
        let spends = self.call("gettxspendingprevout", json!([outpoints])).await?;
        let spends =
            spends.as_array().ok_or_else(|| RegtestError::malformed("gettxspendingprevout", "list"))?;
        let mut free: Vec<Unspent> = ripe
            .into_iter()
            .zip(spends)
            .filter(|(_, spend)| spend.get("spendingtxid").is_none())
            .map(|(coin, _)| coin)
            .collect();
        free.sort_by(|a, b| b.amount.cmp(&a.amount).then_with(|| (&a.txid, a.vout).cmp(&(&b.txid, b.vout))));

        let (mut chosen, mut total, mut needed) =
            (Vec::new(), 0_u64, sats.saturating_add(BASE_VSIZE * FEE_RATE));
        for coin in free {
            if total >= needed {
                break;
            }
            total += coin.amount.to_sat();
            needed = needed.saturating_add(INPUT_VSIZE * FEE_RATE);
            chosen.push(coin);
        }
        Ok((total >= needed).then(|| (chosen, total - needed)))
    }
}

/// `{address: BTC}` with the amount as an exact decimal string.
fn output(address: &Address, sats: u64) -> Value {
    let amount = Amount::from_sat(sats).display_in(bitcoin::Denomination::Bitcoin).to_string();
    Value::Object(Map::from_iter([(address.to_string(), Value::String(amount))]))
}
