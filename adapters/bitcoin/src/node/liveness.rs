//! Whether a transaction that was sent can still be in a block.
//!
//! A signed Bitcoin transaction has no expiry. It is dead when another one that spends one of its inputs is final, and a node without
//! an index cannot be asked who spent an output. The follower can: it walks every block. What it noted is only where to look:
//! the block at that height of the node's active chain has to show the spender itself, at the finality depth.

use super::BitcoinNode;
use bitcoin::{Block, OutPoint, Psbt, Transaction, Txid, consensus::deserialize, hashes::Hash};
use bursar_domain::{
    chain::{Liveness, Tips},
    effects::Resource,
    ports::{NodeError, ObserveChain, SentTransaction, SpentBy},
};

impl BitcoinNode {
    pub(super) async fn prove_liveness(&self, sent: &SentTransaction) -> Result<Liveness, NodeError> {
        // Signatures do not change the id, so it is known also where no signature has reached us.
        let Ok(psbt) = Psbt::deserialize(&sent.unsigned.bytes) else {
            let reason = "the unsigned transaction that is on record is no PSBT".to_owned();
            return Ok(Liveness::Unexplained { reason });
        };
        let tips = self.tips().await?;
        let own = psbt.unsigned_tx.compute_txid();
        let inputs: Vec<OutPoint> =
            psbt.unsigned_tx.input.iter().map(|input| input.previous_output).collect();
        for hint in &sent.spent_by {
            if hint.height > tips.final_height {
                continue;
            }
            if let Some(proof) = self.prove_spent(hint, own, &inputs, &tips).await? {
                return Ok(Liveness::Dead { proof });
            }
        }
        Ok(Liveness::MayConfirm)
    }

    /// `None` where the block does not show it: another one has taken its place.
    async fn prove_spent(
        &self,
        hint: &SpentBy,
        own: Txid,
        inputs: &[OutPoint],
        tips: &Tips,
    ) -> Result<Option<String>, NodeError> {
        let Resource::Utxo(wanted) = &hint.resource else { return Ok(None) };
        let mut txid = wanted.txid;
        txid.reverse();
        let wanted = OutPoint { txid: Txid::from_byte_array(txid), vout: wanted.vout };
        if !inputs.contains(&wanted) {
            return Ok(None);
        }
        let (hash, raw) = match self.rpc.raw_block(hint.height).await {
            Ok(block) => block,
            // Pruned, or a node that is behind: it proves nothing.
            Err(NodeError::NoBlock { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let block: Block =
            deserialize(&raw).map_err(|error| self.rpc.malformed("getblock", error.to_string()))?;
        if block.block_hash().to_string() != hash || !block.check_merkle_root() {
            return Err(self.rpc.malformed("getblock", format!("not the block {hash}")));
        }
        let spends = |tx: &&Transaction| tx.input.iter().any(|input| input.previous_output == wanted);
        let Some(spender) = block.txdata.iter().find(spends).map(Transaction::compute_txid) else {
            return Ok(None);
        };
        if spender == own {
            return Ok(None);
        }
        let (height, tip) = (hint.height, &tips.tip);
        let depth = tip.height.saturating_sub(height) + 1;
        Ok(Some(format!(
            "input {wanted} of {own} was spent by {spender} in block {hash} at height {height}, which has {depth} \
             confirmations below the tip {} at height {}; {} are final",
            tip.hash, tip.height, self.finality_depth
        )))
    }
}
