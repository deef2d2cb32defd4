//! Whether a transaction that was sent can still take effect.
//!
//! Loss-of-funds hazard: a payment that is wrongly called dead is paid twice. A nonce is used once, so a transaction is dead when
//! a final block has moved the account's nonce past its own and the transaction that did it is known to be another one. That
//! none of our hashes is found proves nothing by itself: a node may lag, and two threshold signatures over one payload have two
//! hashes, of which only one may have reached us. So the one that used the nonce is shown, and if nobody knows it, or if it makes the
//! very same payment, people are asked.
//!
//! The final block is read first and everything is pinned to it; it must still be there at the end.

use super::{
    EthereumNode,
    wire::{Block, Header, Transaction},
};
use crate::address::checksummed;
use alloy::{
    consensus::{TxEip1559, transaction::RlpEcdsaDecodableTx},
    primitives::{TxKind, U64},
};
use bursar_domain::{
    chain::Liveness,
    effects::Resource,
    ports::{NodeError, ObserveChain, SentTransaction},
};

const BLOCK: &str = "eth_getBlockByNumber";

impl EthereumNode {
    pub(super) async fn prove_liveness(&self, sent: &SentTransaction) -> Result<Liveness, NodeError> {
        let ([Resource::Nonce { account, nonce }], Some(own)) =
            (sent.resources.as_slice(), Payload::read(&sent.unsigned.bytes))
        else {
            let reason = "an Ethereum transaction of ours is of type 2 and has one nonce".to_owned();
            return Ok(Liveness::Unexplained { reason });
        };
        let final_height = self.tips().await?.final_height;
        let header = self.header(final_height).await?;
        let count: U64 = self
            .rpc
            .read("eth_getTransactionCount", (account.as_str(), format!("{final_height:#x}")))
            .await?;
        if count.to::<u64>() <= *nonce {
            return Ok(Liveness::MayConfirm);
        }
        let used = |tx: &Transaction| checksummed(&tx.from) == *account && tx.nonce.to::<u64>() == *nonce;
        let fact = format!(
            "nonce {nonce} of {account} is used in final block {} at height {final_height}",
            header.hash
        );
        if let Some(tx_id) = &sent.tx_id
            && self.lookup(tx_id).await?.is_some_and(|tx| tx.block_hash.is_some())
        {
            return Ok(Liveness::MayConfirm);
        }
        let mut user = None;
        for sibling in &sent.siblings {
            let Some(tx) = self.lookup(sibling).await?.filter(used) else { continue };
            let height = tx.block_number.map(|number| number.to::<u64>());
            let Some(height) = height.filter(|height| *height <= final_height) else { continue };
            if tx.block_hash == Some(self.header(height).await?.hash) {
                user = Some((tx, height, "another transaction of this transfer"));
            }
        }
        for hint in sent.spent_by.iter().filter(|hint| hint.height <= final_height) {
            if user.is_none() {
                let found = self.in_block(hint.height, &used).await?;
                user = found.map(|tx| (tx, hint.height, "not one of this transfer"));
            }
        }
        if self.header(final_height).await?.hash != header.hash {
            return Ok(Liveness::MayConfirm);
        }
        Ok(match user {
            None => Liveness::Unexplained {
                reason: format!(
                    "{fact}, by a transaction that is not known; none of this transfer's is found"
                ),
            },
            Some((tx, _, _)) if Some(tx.hash.to_string()) == sent.tx_id => Liveness::MayConfirm,
            Some((tx, height, _)) if own.is_made_by(&tx) && !sent.siblings.contains(&tx.hash.to_string()) => {
                Liveness::Unexplained {
                    reason: format!(
                        "{fact}, by {} in block {height}, which makes the same payment under a signature that is not known here",
                        tx.hash
                    ),
                }
            }
            Some((tx, height, whose)) => {
                Liveness::Dead { proof: format!("{fact}, by {} in block {height}, {whose}", tx.hash) }
            }
        })
    }

    async fn header(&self, height: u64) -> Result<Header, NodeError> {
        let header: Option<Header> = self.rpc.read(BLOCK, (format!("{height:#x}"), false)).await?;
        header.ok_or(NodeError::NoBlock { network: self.network_id(), height })
    }

    /// A transaction by its hash, in a block or in the pool.
    async fn lookup(&self, hash: &str) -> Result<Option<Transaction>, NodeError> {
        self.rpc.read("eth_getTransactionByHash", (hash,)).await
    }

    async fn in_block(
        &self,
        height: u64,
        wanted: &(impl Fn(&Transaction) -> bool + Sync),
    ) -> Result<Option<Transaction>, NodeError> {
        let block: Option<Block> = self.rpc.read(BLOCK, (format!("{height:#x}"), true)).await?;
        Ok(block.and_then(|block| block.transactions.into_iter().find(wanted)))
    }
}

/// What a transaction does, whatever it costs.
struct Payload(TxEip1559);

impl Payload {
    fn read(unsigned: &[u8]) -> Option<Self> {
        let (2, mut rlp) = unsigned.split_first().map(|(kind, rlp)| (*kind, rlp))? else { return None };
        TxEip1559::rlp_decode(&mut rlp).ok().map(Self)
    }

    fn is_made_by(&self, tx: &Transaction) -> bool {
        let to = tx.to.map_or(TxKind::Create, TxKind::Call);
        self.0.to == to && self.0.value == tx.value && self.0.input == tx.input
    }
}
