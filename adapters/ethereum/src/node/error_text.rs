//! Everything that depends on the wording of a node's errors. Clients share neither codes nor text; these are the words of
//! geth (also erigon, and what most services run), reth, nethermind, besu and anvil.

/// What a node's refusal of signed bytes says about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendRefusal {
    /// It has exactly these bytes in its pool.
    AlreadyKnown,
    /// The account's nonce is past this one: either ours is in a block, or another transaction with its nonce is.
    NonceUsed,
    /// It looked at the transaction and will not take it now.
    Rejected,
    /// Not known to be about the transaction (rate limits, internal errors, proxies). Nothing follows from it.
    Unclear,
}

const ALREADY_KNOWN: &[&str] = &[
    "already known",
    "alreadyknown",
    "known transaction",
    "already imported",
    "already in mempool",
    "already exists",
];

const NONCE_USED: &[&str] =
    &["nonce too low", "noncetoolow", "nonce_too_low", "oldnonce", "nonce is too low", "nonce lower than"];

const REJECTED: &[&str] = &[
    "underpriced",
    "replacementnotallowed",
    "insufficient funds",
    "insufficientfunds",
    "insufficient balance",
    "upfront cost",
    "intrinsic gas",
    "exceeds block gas limit",
    "gas limit too high",
    "gaslimitexceeded",
    "max fee per gas less than block base fee",
    "fee cap less than",
    "feetoolow",
    "fee too low",
    "max priority fee per gas higher than max fee",
    "tip higher than fee cap",
    "gapped-nonce",
    "nonce gap",
    "nonce too high",
    "noncegap",
    "invalid sender",
    "invalid signature",
    "invalid chain id",
    "only replay-protected",
    "transaction type not supported",
    "exceeds the configured cap",
    "txpool is full",
    "transaction pool is full",
    "transaction pool not accepting",
    "senderiscontract",
    "sender not an eoa",
    "oversized data",
];

pub(super) fn send_refusal(message: &str) -> SendRefusal {
    let text = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if says(ALREADY_KNOWN) && !text.contains("replacement") {
        SendRefusal::AlreadyKnown
    } else if says(NONCE_USED) {
        SendRefusal::NonceUsed
    } else if says(REJECTED) {
        SendRefusal::Rejected
    } else {
        SendRefusal::Unclear
    }
}

/// Whether a simulation failed because the sender cannot pay, rather than by what it calls.
pub(super) fn is_insufficient_funds(message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    [
        "insufficient funds",
        "insufficientfunds",
        "insufficient balance",
        "upfront cost",
        "outoffunds",
        "out of funds",
    ]
    .iter()
    .any(|phrase| text.contains(phrase))
}

/// Whether a simulation ran and was reverted. Code 3 is that in every client that sets it.
pub(super) fn is_revert(code: i64, message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    code == 3
        || [
            "revert",
            "invalid opcode",
            "out of gas",
            "vm execution error",
            "gas required exceeds",
            "always failing",
        ]
        .iter()
        .any(|phrase| text.contains(phrase))
}

/// Whether the node lacks the method (JSON-RPC 2.0: -32601).
pub(super) fn is_missing_method(code: i64, message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    let says_missing = ["not found", "does not exist", "not supported", "not available", "unsupported"];
    code == -32601 || text.contains("method") && says_missing.iter().any(|phrase| text.contains(phrase))
}

/// Whether a node does not offer a way of tracing, or something in front of it does not let it through. `code` may be an HTTP status.
pub(super) fn is_not_offered(code: i64, message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    let says = [
        "not available on",
        "not enabled",
        "is disabled",
        "not whitelisted",
        "not allowed",
        "not permitted",
        "does not exist/is not available",
        "not implemented",
        "upgrade your plan",
    ];
    is_missing_method(code, message)
        || matches!(code, 400 | 401 | 403 | 404 | 405 | 501)
        || says.iter().any(|phrase| text.contains(phrase))
}

/// Whether an answer is larger than the node, or something in front of it, will send. `code` may be an HTTP status.
pub(super) fn is_too_large(code: i64, message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    let says = ["too big", "too large", "response size", "exceeded max limit", "exceeds the limit"];
    matches!(code, -32008 | 413) || says.iter().any(|phrase| text.contains(phrase))
}

/// Whether a node no longer has, of a block that it knows, what executing it again needs.
pub(super) fn is_state_gone(message: &str) -> bool {
    let text = message.to_ascii_lowercase();
    [
        "historical state",
        "missing trie node",
        "no state available",
        "state not available",
        "state is not available",
        "state unavailable",
        "state is pruned",
        "pruned",
        "old data not available",
    ]
    .iter()
    .any(|phrase| text.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_each_client() {
        use SendRefusal::*;
        for (client, message, expected) in [
            ("geth", "already known", AlreadyKnown),
            ("geth", "nonce too low: next nonce 5, tx nonce 4", NonceUsed),
            ("geth", "replacement transaction underpriced", Rejected),
            ("geth", "transaction underpriced: gas tip cap 0, minimum needed 1", Rejected),
            (
                "geth",
                "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
                Rejected,
            ),
            (
                "geth",
                "max fee per gas less than block base fee: address 0x0, maxFeePerGas: 1, baseFee: 7",
                Rejected,
            ),
            ("geth", "intrinsic gas too low: gas 20000, minimum needed 21000", Rejected),
            ("geth", "exceeds block gas limit", Rejected),
            ("geth", "txpool is full", Rejected),
            ("geth", "invalid chain id for signer: have 1 want 31337", Rejected),
            ("geth", "tx fee (1.50 ether) exceeds the configured cap (1.00 ether)", Rejected),
            ("geth", "request timed out", Unclear),
            ("reth", "already known", AlreadyKnown),
            ("reth", "nonce too low: next nonce 1, tx nonce 0", NonceUsed),
            ("reth", "replacement transaction underpriced", Rejected),
            ("reth", "insufficient funds for gas * price + value: have 0 want 1", Rejected),
            ("reth", "transaction pool is full", Rejected),
            ("nethermind", "AlreadyKnown", AlreadyKnown),
            ("nethermind", "OldNonce", NonceUsed),
            ("nethermind", "OldNonce, Current nonce: 5, nonce of rejected tx: 4", NonceUsed),
            ("nethermind", "FeeTooLow, MaxFeePerGas too low", Rejected),
            ("nethermind", "InsufficientFunds, Account balance: 0, cumulative cost: 1", Rejected),
            ("nethermind", "ReplacementNotAllowed", Rejected),
            ("nethermind", "NonceGap, Future nonce", Rejected),
            ("besu", "Known transaction", AlreadyKnown),
            ("besu", "Nonce too low", NonceUsed),
            ("besu", "NONCE_TOO_LOW", NonceUsed),
            ("besu", "Upfront cost exceeds account balance", Rejected),
            ("besu", "Replacement transaction underpriced", Rejected),
            ("anvil", "transaction already imported", AlreadyKnown),
            ("anvil", "nonce too low", NonceUsed),
            ("anvil", "replacement transaction underpriced", Rejected),
            ("anvil", "Insufficient funds for gas * price + value", Rejected),
            ("anvil", "max fee per gas less than block base fee", Rejected),
            ("anvil", "nonce too high", Rejected),
            ("a service", "Your app has exceeded its compute units per second capacity", Unclear),
            ("a service", "daily request count exceeded, request rate limited", Unclear),
            ("a service", "internal error", Unclear),
            ("a service", "", Unclear),
        ] {
            assert_eq!(send_refusal(message), expected, "{client}: {message}");
        }
    }

    #[test]
    fn simulations_that_fail() {
        for (code, message, revert, funds) in [
            (3, "execution reverted: ERC20: transfer amount exceeds balance", true, false),
            (3, "execution reverted", true, false),
            (-32000, "execution reverted", true, false),
            (-32015, "VM execution error.", true, false),
            (-32000, "gas required exceeds allowance (0)", true, false),
            (-32000, "invalid opcode: INVALID", true, false),
            (-32000, "insufficient funds for gas * price + value: address 0x0 have 0 want 1", false, true),
            (-32003, "Insufficient funds for gas * price + value", false, true),
            (-32603, "EVM error OutOfFunds", false, true),
            (-32005, "rate limited", false, false),
            (-32000, "header not found", false, false),
        ] {
            assert_eq!(is_revert(code, message), revert, "{message}");
            assert_eq!(is_insufficient_funds(message), funds, "{message}");
        }
    }

    #[test]
    fn missing_methods() {
        for (code, message) in [
            (-32601, "the method eth_getBlockReceipts does not exist/is not available"),
            (-32601, "Method not found"),
            (-32600, "Unsupported method: not supported"),
        ] {
            assert!(is_missing_method(code, message), "{message}");
        }
        assert!(!is_missing_method(-32000, "header not found"));
    }

    #[test]
    fn ways_of_tracing_that_are_not_offered() {
        for (client, code, message) in [
            ("geth", -32601, "the method trace_block does not exist/is not available"),
            ("a service", -32600, "trace_block is not available on the Free tier - upgrade to Pay As You Go"),
            ("a service", -32000, "debug namespace is not enabled"),
            ("a proxy", 403, "HTTP status 403 Forbidden"),
        ] {
            assert!(is_not_offered(code, message) && !is_state_gone(message), "{client}: {message}");
        }
        for (client, message) in [
            ("geth", "required historical state unavailable (reexec=128)"),
            ("geth", "missing trie node 5f1e (path ) state 0x5f1e is not available"),
            ("erigon", "history has been pruned for this block"),
            ("nethermind", "No state available for block 0x12"),
            ("reth", "state at block #12 is pruned"),
            ("besu", "World state unavailable"),
        ] {
            assert!(is_state_gone(message) && !is_not_offered(-32000, message), "{client}: {message}");
        }
        for (client, code, message) in [
            ("reth", -32008, "Response is too big"),
            ("reth", -32008, "Exceeded max limit of 167772160"),
            ("a proxy", 413, "HTTP status 413 Payload Too Large"),
            ("a service", -32000, "response size should not be greater than 150000000 bytes"),
        ] {
            assert!(is_too_large(code, message) && !is_not_offered(code, message), "{client}: {message}");
        }
        for (code, message) in [
            (-32005, "rate limited"),
            (429, "HTTP status 429 Too Many Requests"),
            (-32000, "header not found"),
            (-32000, "execution timeout"),
            (-32603, "internal error"),
        ] {
            let for_now =
                !is_not_offered(code, message) && !is_state_gone(message) && !is_too_large(code, message);
            assert!(for_now, "{message}");
        }
    }
}
