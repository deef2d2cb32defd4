//! What a reconciliation may find, in words that stay the same.

use bursar_domain::{ids::TransferId, network::Network};
use std::fmt;

/// A disagreement between chain and store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub network: Network,
    pub code: Code,
    /// An address, or a Bitcoin wallet's descriptor.
    pub account: Option<String>,
    pub transfer: Option<TransferId>,
    pub tx_id: Option<String>,
    /// For people.
    pub text: String,
}

/// Programs may rely on these names: they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The follower and the node that is asked now are on different chains.
    BlockDiffers,
    /// The chain has a transaction of ours that the store does not know.
    UnknownOutgoing,
    /// The store knows it, and not that a final block holds it.
    NotRecorded,
    /// The store says that a final block holds it, or that it is paid, and the chain does not have it.
    MissingOnChain,
    /// It took effect on one side and failed on the other.
    OutcomeDiffers,
    /// Recipients, amounts or fee are not those that were signed or ordered.
    AmountDiffers,
    /// Two transactions in blocks pay for one transfer.
    DoublePayment,
    /// A deposit was booked otherwise than the chain has it, or not at all.
    DepositDiffers,
    /// A deposit by a contract was not compared: the node that is asked does not trace.
    DepositUnverified,
    /// An account has less than it must, or other outputs; or more, where that can be told.
    BalanceDiffers,
    /// An Ethereum account has more than the store can explain: contracts pay, which is not seen in blocks that no node traced, and
    /// validators withdraw.
    UnexplainedCredit,
    /// The node no longer knows what an account had at first, so its balance was not compared.
    OpeningUnknown,
    /// A nonce or Sequence below reserved ones is neither used nor reserved: what follows it waits.
    SequenceGap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Money may be missing, or somebody else may hold the key.
    Break,
    /// Worth a look.
    Warning,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Break => "BREAK",
            Self::Warning => "WARNING",
        }
    }
}

impl Code {
    pub const fn name(self) -> &'static str {
        match self {
            Self::BlockDiffers => "BLOCK_DIFFERS",
            Self::UnknownOutgoing => "UNKNOWN_OUTGOING",
            Self::NotRecorded => "NOT_RECORDED",
            Self::MissingOnChain => "MISSING_ON_CHAIN",
            Self::OutcomeDiffers => "OUTCOME_DIFFERS",
            Self::AmountDiffers => "AMOUNT_DIFFERS",
            Self::DoublePayment => "DOUBLE_PAYMENT",
            Self::DepositDiffers => "DEPOSIT_DIFFERS",
            Self::DepositUnverified => "DEPOSIT_UNVERIFIED",
            Self::BalanceDiffers => "BALANCE_DIFFERS",
            Self::UnexplainedCredit => "UNEXPLAINED_CREDIT",
            Self::OpeningUnknown => "OPENING_UNKNOWN",
            Self::SequenceGap => "SEQUENCE_GAP",
        }
    }

    pub const fn severity(self) -> Severity {
        match self {
            Self::DepositUnverified | Self::UnexplainedCredit | Self::OpeningUnknown | Self::SequenceGap => {
                Severity::Warning
            }
            _ => Severity::Break,
        }
    }

    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::BlockDiffers => {
                "check that the node is on the right chain; after a reorganisation this deep let the workers catch up first"
            }
            Self::UnknownOutgoing => {
                "stop sending; if the database is an older copy restore the newer, else treat the key as compromised"
            }
            Self::NotRecorded => "check that the workers follow this chain; the transfer waits for its block",
            Self::MissingOnChain => {
                "ask a second node; do not pay again before the transaction's inputs, nonce or Sequence are used otherwise"
            }
            Self::OutcomeDiffers => "look at the transaction in an explorer before paying again or crediting",
            Self::AmountDiffers => {
                "compare the transaction with the order; the database or what was signed was altered"
            }
            Self::DoublePayment => "stop sending, and ask the recipient to return one of the payments",
            Self::DepositDiffers => {
                "correct what was credited to the client; the database was altered or misses blocks"
            }
            Self::DepositUnverified => {
                "ask a node that traces (--node), or look at the transaction in an explorer"
            }
            Self::BalanceDiffers => {
                "stop sending until it is explained; see the other findings of this account"
            }
            Self::UnexplainedCredit => "find the payer in an explorer, and credit by hand what is a client's",
            Self::OpeningUnknown => "ask a node that keeps old states once, or accept today's balance",
            Self::SequenceGap => {
                "look at the transfers of this account that wait; the lowest free number is used next"
            }
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Finding {
    pub(super) fn new(network: Network, code: Code, text: String) -> Self {
        Self { network, code, account: None, transfer: None, tx_id: None, text }
    }
    pub(super) fn account(self, account: impl Into<String>) -> Self {
        Self { account: Some(account.into()), ..self }
    }
    pub(super) fn transfer(self, transfer: TransferId) -> Self {
        Self { transfer: Some(transfer), ..self }
    }
    pub(super) fn tx_id(self, tx_id: Option<&String>) -> Self {
        Self { tx_id: tx_id.cloned(), ..self }
    }
    pub const fn severity(&self) -> Severity {
        self.code.severity()
    }
}
