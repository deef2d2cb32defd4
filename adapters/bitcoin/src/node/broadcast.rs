//! What Bitcoin Core's answer to `sendrawtransaction` means. The only place that reads its error texts.
//!
//! Codes are those of `rpc/protocol.h`, reject reasons those of `validation.cpp` and `node/transaction.cpp` (Bitcoin Core
//! 25 to 31).

use super::rpc::RpcError;
use bursar_domain::ports::BroadcastOutcome;

/// `RPC_TRANSACTION_ERROR`: inputs missing or spent, or the node's own fee limit.
const TRANSACTION_ERROR: i32 = -25;
/// `RPC_TRANSACTION_REJECTED`: refused by consensus or mempool policy.
const TRANSACTION_REJECTED: i32 = -26;
/// `RPC_TRANSACTION_ALREADY_IN_UTXO_SET`: confirmed, with an output that is unspent.
const ALREADY_IN_UTXO_SET: i32 = -27;
/// `RPC_DESERIALIZATION_ERROR`.
const DESERIALIZATION_ERROR: i32 = -22;

/// Reject reasons of a transaction that the mempool has. The last: with the same txid and another witness, as when the same
/// transaction was signed twice.
const IN_MEMPOOL: [&str; 3] =
    ["txn-already-in-mempool", "txn-already-known", "txn-same-nonwitness-data-in-mempool"];

pub fn outcome(tx_id: &str, answer: Result<String, RpcError>) -> BroadcastOutcome {
    match answer {
        Ok(named) if named == tx_id => BroadcastOutcome::Accepted,
        Ok(named) => {
            BroadcastOutcome::MaybeSent { reason: format!("the node calls it {named}, not {tx_id}") }
        }
        Err(RpcError::Answered { code, message }) => answered(code, &message),
        Err(error @ (RpcError::NotSent(_) | RpcError::NoAnswer(_))) => {
            BroadcastOutcome::MaybeSent { reason: error.to_string() }
        }
    }
}

fn answered(code: i32, message: &str) -> BroadcastOutcome {
    let reason = format!("{message} (code {code})");
    match code {
        ALREADY_IN_UTXO_SET => BroadcastOutcome::AlreadyKnown,
        TRANSACTION_REJECTED if IN_MEMPOOL.iter().any(|known| message.contains(known)) => {
            BroadcastOutcome::AlreadyKnown
        }
        // "bad-txns-inputs-missingorspent" is also the answer when the transaction itself is in a block and all of its
        // outputs are spent again. Rejected says no more than that this node does not relay it.
        TRANSACTION_ERROR | TRANSACTION_REJECTED | DESERIALIZATION_ERROR => {
            BroadcastOutcome::Rejected { reason }
        }
        // Warming up (-28), out of memory (-7), work queue full, or a proxy's own: no statement about the transaction.
        _ => BroadcastOutcome::MaybeSent { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Kind {
        Accepted,
        Known,
        Maybe,
        Rejected,
    }
    use Kind::*;

    fn kind(answer: Result<String, RpcError>) -> Kind {
        match outcome("aa", answer) {
            BroadcastOutcome::Accepted => Accepted,
            BroadcastOutcome::AlreadyKnown => Known,
            BroadcastOutcome::MaybeSent { .. } => Maybe,
            BroadcastOutcome::Rejected { .. } => Rejected,
        }
    }

    #[test]
    fn core_s_answers() {
        for (code, message, expected) in [
            (-27, "Transaction outputs already in utxo set", Known),
            (-27, "Transaction already in block chain", Known),
            (-26, "txn-already-in-mempool", Known),
            (-26, "txn-already-known", Known),
            (-26, "txn-same-nonwitness-data-in-mempool", Known),
            (-26, "txn-mempool-conflict", Rejected),
            (-26, "insufficient fee, rejecting replacement 00; new feerate 0.1 <= old feerate 0.2", Rejected),
            (-26, "min relay fee not met, 10 < 110", Rejected),
            (-26, "mempool min fee not met, 10 < 110", Rejected),
            (-26, "mempool full", Rejected),
            (-26, "dust, tx with dust output must be 0-fee", Rejected),
            (-26, "bad-txns-premature-spend-of-coinbase, tried to spend coinbase at depth 1", Rejected),
            (-26, "mandatory-script-verify-flag-failed (Invalid Schnorr signature)", Rejected),
            (-26, "too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]", Rejected),
            (-25, "bad-txns-inputs-missingorspent", Rejected),
            (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)", Rejected),
            (-22, "TX decode failed. Make sure the tx has at least one input.", Rejected),
            (-28, "Loading block index…", Maybe),
            (-7, "Out of memory", Maybe),
            (-32603, "Internal error", Maybe),
            (-1, "anything", Maybe),
            (0, "txn-already-in-mempool", Maybe),
        ] {
            assert_eq!(
                kind(Err(RpcError::Answered { code, message: message.into() })),
                expected,
                "{message}"
            );
        }
    }

    #[test]
    fn a_lost_answer_is_not_a_refusal() {
        assert_eq!(kind(Ok("aa".into())), Accepted);
        assert_eq!(kind(Ok("bb".into())), Maybe);
        assert_eq!(kind(Err(RpcError::NoAnswer("timed out".into()))), Maybe);
        assert_eq!(kind(Err(RpcError::NotSent("no cookie file".into()))), Maybe);
    }
}
