//! States and the words for them.

use crate::{chain::BlockRef, ids::TransactionId, text::serde_as_text};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A state carries exactly what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum State {
    /// Accepted and durable.
    Submitted,
    PendingScreening,
    /// Held for compliance.
    PendingReview,
    PendingAuthorization,
    /// Waits for funds, a nonce, an output, or a time window.
    Queued,
    /// The package is frozen and its resources are reserved.
    PendingSignature {
        transaction: TransactionId,
        /// A session may have begun, so a signature may exist.
        signing_started: bool,
    },
    /// A valid transaction exists: irrevocable. `transaction` is the one to send, here and below; others of the transfer may
    /// exist, which exclude it.
    Signed {
        transaction: TransactionId,
    },
    /// Sent, or maybe sent; not in a block.
    Broadcasting {
        transaction: TransactionId,
        /// No node has clearly accepted it yet.
        maybe_sent: bool,
    },
    /// In a block, below the finality threshold. `transaction` is whichever of the transfer's transactions the block holds.
    Confirming {
        transaction: TransactionId,
        block: BlockRef,
    },
    /// Gone from the mempool, still valid.
    Dropped {
        transaction: TransactionId,
    },
    Completed {
        transaction: TransactionId,
        block: BlockRef,
    },
    /// Cancelled on chain: a final transaction that pays nobody has taken the place of the payment. The fee was paid.
    Replaced {
        by: TransactionId,
        block: BlockRef,
    },
    /// Withdrawn before any signing.
    Cancelled,
    Blocked,
    Rejected,
    Expired,
    Failed {
        funds_moved: FundsMoved,
        /// The transaction that failed in a final block; none where nothing reached the chain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_chain: Option<OnChain>,
    },
}

/// A transaction and the block that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnChain {
    pub transaction: TransactionId,
    pub block: BlockRef,
}

/// What a failed transfer has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FundsMoved {
    None,
    FeeOnly,
    /// Nothing shows that it paid, and nothing proves that it did not: a person looks before it is paid again.
    Unknown,
}

/// What a worker does next with a transfer in some state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Screen,
    Review,
    Authorize,
    Prepare,
    Sign,
    Broadcast,
    Confirm,
}

impl State {
    pub const fn status(&self) -> Status {
        match self {
            Self::Submitted => Status::Submitted,
            Self::PendingScreening => Status::PendingScreening,
            Self::PendingReview => Status::PendingReview,
            Self::PendingAuthorization => Status::PendingAuthorization,
            Self::Queued => Status::Queued,
            Self::PendingSignature { .. } => Status::PendingSignature,
            Self::Signed { .. } => Status::Signed,
            Self::Broadcasting { .. } => Status::Broadcasting,
            Self::Confirming { .. } => Status::Confirming,
            Self::Dropped { .. } => Status::Dropped,
            Self::Completed { .. } => Status::Completed,
            Self::Replaced { .. } => Status::Replaced,
            Self::Cancelled => Status::Cancelled,
            Self::Blocked => Status::Blocked,
            Self::Rejected => Status::Rejected,
            Self::Expired => Status::Expired,
            Self::Failed { .. } => Status::Failed,
        }
    }

    /// The transaction that is carrying the transfer.
    pub const fn transaction(&self) -> Option<TransactionId> {
        match self {
            Self::PendingSignature { transaction, .. }
            | Self::Signed { transaction }
            | Self::Broadcasting { transaction, .. }
            | Self::Confirming { transaction, .. }
            | Self::Dropped { transaction }
            | Self::Completed { transaction, .. }
            | Self::Replaced { by: transaction, .. } => Some(*transaction),
            Self::Failed { on_chain: Some(OnChain { transaction, .. }), .. } => Some(*transaction),
            _ => None,
        }
    }

    /// The final block by which it ended. If that block goes away the transfer is open again.
    pub const fn ended_in(&self) -> Option<&BlockRef> {
        match self {
            Self::Completed { block, .. }
            | Self::Replaced { block, .. }
            | Self::Failed { on_chain: Some(OnChain { block, .. }), .. } => Some(block),
            _ => None,
        }
    }

    /// Whether another transaction can be put in the place of the one that is under way: a signature may exist, and no block
    /// holds it.
    pub const fn is_replaceable(&self) -> bool {
        matches!(
            self,
            Self::PendingSignature { signing_started: true, .. }
                | Self::Signed { .. }
                | Self::Broadcasting { .. }
                | Self::Dropped { .. }
        )
    }

    /// Who must act next: a worker's step, or nobody (a person, or the end).
    pub const fn next_step(&self) -> Option<Step> {
        match self {
            Self::Submitted | Self::PendingScreening => Some(Step::Screen),
            // People decide; whether they have is looked at as votes are.
            Self::PendingReview => Some(Step::Review),
            Self::PendingAuthorization => Some(Step::Authorize),
            Self::Queued => Some(Step::Prepare),
            Self::PendingSignature { .. } => Some(Step::Sign),
            Self::Signed { .. } | Self::Broadcasting { .. } | Self::Dropped { .. } => Some(Step::Broadcast),
            Self::Confirming { .. } => Some(Step::Confirm),
            _ => None,
        }
    }
}

/// A state's name alone, as the API says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    Submitted,
    PendingScreening,
    PendingReview,
    PendingAuthorization,
    Queued,
    PendingSignature,
    Signed,
    Broadcasting,
    Confirming,
    Dropped,
    Completed,
    Replaced,
    Cancelled,
    Blocked,
    Rejected,
    Expired,
    Failed,
}

impl Status {
    const ALL: [(Self, &'static str); 17] = [
        (Self::Submitted, "SUBMITTED"),
        (Self::PendingScreening, "PENDING_SCREENING"),
        (Self::PendingReview, "PENDING_REVIEW"),
        (Self::PendingAuthorization, "PENDING_AUTHORIZATION"),
        (Self::Queued, "QUEUED"),
        (Self::PendingSignature, "PENDING_SIGNATURE"),
        (Self::Signed, "SIGNED"),
        (Self::Broadcasting, "BROADCASTING"),
        (Self::Confirming, "CONFIRMING"),
        (Self::Dropped, "DROPPED"),
        (Self::Completed, "COMPLETED"),
        (Self::Replaced, "REPLACED"),
        (Self::Cancelled, "CANCELLED"),
        (Self::Blocked, "BLOCKED"),
        (Self::Rejected, "REJECTED"),
        (Self::Expired, "EXPIRED"),
        (Self::Failed, "FAILED"),
    ];

    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().map(|(status, _)| status)
    }
    /// Nothing more happens (but what ended by a final block reopens if a reorganisation deeper than the threshold takes it).
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Completed
                | Self::Replaced
                | Self::Cancelled
                | Self::Blocked
                | Self::Rejected
                | Self::Expired
                | Self::Failed
        )
    }
}
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(status, _)| status == self).map_or("", |(_, name)| name))
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown status: expected such as QUEUED or COMPLETED")]
pub struct InvalidStatus;
impl FromStr for Status {
    type Err = InvalidStatus;
    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(status, _)| *status).ok_or(InvalidStatus)
    }
}
serde_as_text!(Status);

/// Why a transfer is where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubStatus {
    /// No screening provider is configured: nothing was checked.
    NotScreened,
    /// No approval policy is configured: nobody was asked.
    NotAuthorized,
    /// People must approve it; the reason says how many of whom are missing.
    AwaitingApprovals,
    /// No fresh verdict of a screening that policy demands, or one that people must release.
    AwaitingScreening,
    /// The screening was asked and has not answered yet, or could not be reached and is asked again.
    ScreeningPending,
    /// What the screening found is for people to decide: a compliance officer and a compliance lead release it, or compliance rejects it.
    ScreeningReview,
    /// There is no answer of the screening, or none that can be used; the reason says why. Screen it again, or two leads let it pass.
    ScreeningUnavailable,
    /// The screening forbids it: nobody can release it.
    ScreeningBlocked,
    /// What it was screened by does not count any more: it is screened anew.
    ScreeningLapsed,
    /// An alert of the screening came before it was signed; a release lifts that.
    ScreeningAlert,
    /// The travel rule: it is being assessed, or the institution at the other end has not answered yet.
    TravelRulePending,
    /// The institution at the other end must be told, and what it must be told is missing; the reason says what.
    TravelRuleDataMissing,
    /// The exchange gave no answer that can be used; the reason says why. Hand the data in again, or reject it.
    TravelRuleUnavailable,
    /// The institution at the other end refused it, or it cannot be told.
    TravelRuleRejected,
    /// Compliance said no.
    ReviewRejected,
    /// Policy has it wait; the reason says until when.
    PolicyDelay,
    /// The policy permits it, but not at this hour; the reason says when a time window opens.
    AwaitingWindow,
    /// Too few co-signers would sign it now, and may later; the reason says what each lacks. No session began, and nothing is reserved, or
    /// (PENDING_SIGNATURE) one began and the same bytes are signed again.
    SignerNotYet,
    /// The governance log cannot be relied on now (the reason says why): nothing that needs it is done.
    GovernanceUnavailable,
    /// What had authorized it no longer does (policy, people or approvals have changed): it is decided anew.
    AuthorizationLapsed,
    /// A payout was recalled with a key that does not count any more; the reason says which. Its initiator recalls it again.
    RecallLapsed,
    /// Somebody who must approve said no.
    ApprovalRejected,
    /// Not enough had approved when the deadline passed.
    ApprovalsOverdue,
    InsufficientFunds,
    MaxFeeExceeded,
    MissingTagOrMemo,
    DestinationRefuses,
    /// Too small to be paid (dust, or below the reserve of an account that it would create).
    AmountTooSmall,
    /// Simulation says that it would fail on chain.
    WouldFail,
    NodeUnavailable,
    /// Fewer co-signers than the threshold are online.
    SignersOffline,
    /// Nothing new is sent from the account until a person lifts the halt that the reason names.
    AccountHalted,
    /// Somebody froze it, its wallet, its chain or everything; the reason names the entry of the governance log. Two people lift it.
    Frozen,
    /// An earlier nonce or Sequence of the same account is not signed yet.
    WaitsItsTurn,
    /// The co-signers have been asked; a signature may exist from now on.
    Signing,
    SignerRejected,
    SignerTimeout,
    /// A session began and ended without a signature; it is run again.
    SigningFailed,
    /// A session began, ended without a signature, and can no longer be run again: the transaction may still be able to
    /// pay. Needs a person.
    SigningInconclusive,
    /// A node refused to relay the signed transaction; it is sent again.
    BroadcastRejected,
    MaybeSent,
    Reorged,
    /// Its output or nonce was used by a transaction that is not ours. When that is final this one is dead.
    SpentElsewhere,
    /// Cancelled on chain: nobody was paid, the fee was.
    CancelledOnChain,
    /// The intent's fee cap leaves no room for the raise that a replacement needs.
    FeeCapReached,
    /// As many replacements were made as the installation allows.
    TooManyReplacements,
    /// In a block, and not with the effect that was meant: see `fundsMoved`.
    FailedOnChain,
    /// Nothing of ours explains what the chain shows. Needs a person.
    Unexplained,
    IntentExpired,
    LedgerExpired,
    /// The nonce that was to be filled is used, or nothing of ours waits behind it any more.
    NothingToFill,
    InvalidTransaction,
}

/// Conditions beside the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flags {
    /// Sent, and in no block for longer than the chain's policy thinks right.
    pub stuck: bool,
    /// An alert of the screening keeps it from being signed.
    pub frozen: bool,
    /// An alert of the screening is about it, also if it came too late to freeze it.
    #[serde(default)]
    pub alerted: bool,
    /// Another transaction is being made to take the place of the one under way.
    pub under_replacement: bool,
}
