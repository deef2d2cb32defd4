//! What the rest of Bursar asks of a chain adapter and of the co-signers. Small traits, named after the action.
//!
//! The first four are pure and deterministic; co-signers use them too. The others talk to a node or to parties.

use crate::{
    account::{AccountQuery, AccountState},
    amount::{Amount, AmountError},
    asset::Asset,
    chain::{Liveness, ObservedBlock, Tips, WatchSet},
    effects::{Effects, Resource, Validity},
    hd::DeriveError,
    health::ChainHealth,
    ids::TransactionId,
    intent::{Destination, Intent},
    network::Network,
    package::{Purpose, SignedTransaction, SigningPackage, UnsignedTransaction},
    signing::{GroupKey, PartyIndex, Scheme, SignatureBytes, SigningPayload},
    wallet::{DerivationPath, WalletDescriptor},
};
use async_trait::async_trait;

/// Addresses of a chain: ours derived, others' read.
pub trait DeriveAddress: Send + Sync {
    /// The wallet's address at `path`, in canonical form.
    fn address(
        &self,
        wallet: &WalletDescriptor,
        key: &GroupKey,
        path: &DerivationPath,
    ) -> Result<String, DeriveError>;

    /// Reads what a person wrote as a destination and gives its canonical form. Checks checksum, network and type; an
    /// X-address is split into its classic address and tag.
    fn parse_destination(
        &self,
        network: Network,
        address: &str,
        tag: Option<u32>,
    ) -> Result<Destination, InvalidDestination>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestination {
    #[error("is not a {network} address: {reason}")]
    Malformed { network: Network, reason: String },
    #[error("has a wrong checksum: it was mistyped")]
    Checksum,
    #[error("is for another network than {expected}")]
    WrongNetwork { expected: Network },
    #[error("carries tag {in_address}, but tag {given} was given as well")]
    ConflictingTag { in_address: u32, given: u32 },
    #[error("must not have a destination tag on this chain")]
    UnexpectedTag,
    #[error("is not of a type that this version can pay: {reason}")]
    Unsupported { reason: String },
}

/// Composes the unsigned transaction for an intent from facts that are already fixed.
pub trait BuildTransaction: Send + Sync {
    fn build(&self, request: &BuildRequest<'_>) -> Result<UnsignedTransaction, BuildError>;
}

#[derive(Debug, Clone, Copy)]
pub struct BuildRequest<'a> {
    pub intent: &'a Intent,
    pub key: &'a GroupKey,
    pub state: &'a AccountState,
    /// The paying account; `None` on Bitcoin.
    pub source: Option<DerivationPath>,
    /// The nonce, Sequence or Ticket to use; `None` on Bitcoin, where coin selection chooses among `state`'s outputs.
    pub resource: Option<&'a Resource>,
    /// A fresh change address (Bitcoin only).
    pub change: Option<DerivationPath>,
}

/// Composes a transaction that can take the place of earlier ones of the same transfer: it shares a resource with each of them,
/// so that at most one can ever be final.
pub trait ReplaceTransaction: Send + Sync {
    /// [`BuildError::FeeAboveCap`] when the raise does not fit under the intent's `max_fee`, [`BuildError::PriceAboveCap`] when it
    /// does not under the installation's `price_cap`.
    fn replace(&self, request: &ReplaceRequest<'_>) -> Result<UnsignedTransaction, BuildError>;
}

#[derive(Debug, Clone, Copy)]
pub struct ReplaceRequest<'a> {
    /// What remains of the order.
    pub intent: &'a Intent,
    /// [`Purpose::Pay`]: the same payments at a higher fee. [`Purpose::Cancel`]: nobody is paid. [`Purpose::Child`]: a child of
    /// its parent, which `earlier` then holds alone; it replaces nothing.
    pub purpose: &'a Purpose,
    pub key: &'a GroupKey,
    /// Fees of today, and on Bitcoin further outputs that may be added.
    pub state: &'a AccountState,
    /// Every transaction of the transfer that may still be final, oldest first; never empty. Children included: they leave the
    /// mempool with their parent, so that their fees have to be outbid, too.
    pub earlier: &'a [UnsignedTransaction],
    /// The least raise over the highest fee of `earlier`, in percent. The chain's own minimum holds where it is larger (BIP-125
    /// rule 4; 10 % of both fees in Ethereum nodes).
    pub raise_percent: u32,
    /// What the installation offers at most, whatever the raise asks for.
    pub price_cap: Option<PriceCap>,
    /// A fresh change address (Bitcoin only).
    pub change: Option<DerivationPath>,
}

/// The most that an installation offers, in the unit in which the chain is paid: satoshi per 1000 virtual bytes (Bitcoin; of parent and
/// child together), wei per gas (Ethereum), drops for a transaction (XRP).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PriceCap(pub u128);

impl PriceCap {
    /// [`BuildError::PriceAboveCap`] unless `price`, in the same unit, is within it.
    pub fn allows(self, price: u128, unit: &'static str) -> Result<(), BuildError> {
        if price > self.0 {
            return Err(BuildError::PriceAboveCap { price, cap: self.0, unit });
        }
        Ok(())
    }
}

/// Why no transaction can be built now. All amounts are in smallest units.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    #[error(
        "insufficient funds: {required} {asset} needed (fee included where it is paid in it), {available} available"
    )]
    InsufficientFunds { asset: Asset, required: Amount, available: Amount },
    #[error("the fee would be {fee}, above the transfer's cap of {cap}")]
    FeeAboveCap { fee: Amount, cap: Amount },
    /// Of a replacement; see [`PriceCap`].
    #[error("it would have to offer {price} {unit}; this installation's configuration allows {cap}")]
    PriceAboveCap { price: u128, cap: u128, unit: &'static str },
    #[error("payments[{index}].amount: {amount} is dust; at least {minimum} is needed")]
    Dust { index: usize, amount: Amount, minimum: Amount },
    #[error(
        "payments[{index}].amount: {minimum} is needed at least, because the payment creates the account"
    )]
    BelowReserve { index: usize, minimum: Amount },
    #[error("payments[{index}].destination.tag: the destination requires a tag")]
    TagRequired { index: usize },
    #[error(
        "payments[{index}].destination.address: the destination accepts deposits from preauthorized accounts only"
    )]
    DepositRefused { index: usize },
    #[error("payments[{index}].destination.address: {source}")]
    Destination { index: usize, source: InvalidDestination },
    #[error("payments[{index}].amount: {source}")]
    Amount { index: usize, source: AmountError },
    /// The gap that a filler was ordered for is none (any more).
    #[error("nonce: {nonce} {reason}: there is nothing to fill")]
    NothingToFill { nonce: u64, reason: &'static str },
    #[error(transparent)]
    Derive(#[from] DeriveError),
    /// The caller's facts do not fit together: a defect, not a state of the world.
    #[error("cannot build: {0}")]
    Inconsistent(&'static str),
}

/// Explains an unsigned transaction. Written apart from [`BuildTransaction`], so that one mistake cannot be in both.
pub trait DecodeTransaction: Send + Sync {
    /// Everything that `unsigned` does, or a refusal: what is not fully explained must not be signed. Inputs, source and
    /// change are the wallet's own only if their addresses follow from `key`.
    fn decode(&self, unsigned: &UnsignedTransaction, key: &GroupKey) -> Result<Effects, DecodeError>;

    /// The signatures that it needs, in order. Only for transactions that [`decode`](Self::decode) explains.
    fn signing_payloads(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
    ) -> Result<Vec<SigningPayload>, DecodeError>;

    /// The id that it has on the chain whoever signs it, where signatures are no part of it (BIP-141). `None` where they are.
    fn fixed_id(&self, _unsigned: &UnsignedTransaction) -> Option<String> {
        None
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("malformed transaction: {0}")]
    Malformed(String),
    #[error("refused: {field} {reason}")]
    Unexplained { field: &'static str, reason: String },
    #[error(transparent)]
    Derive(#[from] DeriveError),
}

/// Puts signatures into a transaction.
pub trait AssembleTransaction: Send + Sync {
    /// Verifies each signature under the child key that must have made it, then assembles. ECDSA signatures are low-S in
    /// the result.
    fn assemble(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
        signatures: &[SignatureBytes],
    ) -> Result<SignedTransaction, AssembleError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    #[error("{expected} signatures needed, {given} given")]
    Count { expected: usize, given: usize },
    #[error("signature {index} is not valid under the key of {path}")]
    Invalid { index: usize, path: DerivationPath },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The pure side of a chain.
pub trait Adapter:
    DeriveAddress + BuildTransaction + ReplaceTransaction + DecodeTransaction + AssembleTransaction
{
}
impl<T: DeriveAddress + BuildTransaction + ReplaceTransaction + DecodeTransaction + AssembleTransaction>
    Adapter for T
{
}

/// Reads what building depends on.
#[async_trait]
pub trait ReadAccount: Send + Sync {
    async fn account_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError>;

    /// What [`ReplaceTransaction`] needs to know: fees of today. Simulates nothing, because earlier transactions of the
    /// transfer may be in the node's pool.
    async fn replacement_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        self.account_state(query).await
    }

    /// Confirmed balance of one address, in the asset's smallest unit. Bitcoin's comes from the store, not from here.
    async fn balance(&self, address: &str, asset: Asset) -> Result<Amount, NodeError>;
}

#[derive(Debug, thiserror::Error)]
pub enum ReadAccountError {
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The node refuses to simulate the payment: it would revert. Asking again later may help.
    #[error("the payment would fail: {reason}")]
    WouldFail { reason: String },
    /// The chain says that it cannot be built now (no such account, fee above the operator's cap, …).
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// A node did not answer usefully. Never a statement about money.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("{network} node: {operation}: unreachable: {reason}")]
    Unavailable { network: Network, operation: &'static str, reason: String },
    #[error("{network} node: {operation}: {reason}")]
    Refused { network: Network, operation: &'static str, reason: String },
    #[error("{network} node: {operation}: unexpected answer: {reason}")]
    Malformed { network: Network, operation: &'static str, reason: String },
    #[error("the node at this address serves {actual}, not {expected}: correct the configured URL")]
    WrongNetwork { expected: Network, actual: String },
    /// The block is not there (yet, or pruned).
    #[error("{network} node: no block at height {height}")]
    NoBlock { network: Network, height: u64 },
    /// Several nodes answered, and too few of them the same: nothing of it is taken.
    #[error("{network} nodes: {operation}: they contradict one another: {reason}")]
    Disagree { network: Network, operation: &'static str, reason: String },
}

/// Hands signed bytes to the network. May be called any number of times with the same bytes.
#[async_trait]
pub trait BroadcastTransaction: Send + Sync {
    /// Loss-of-funds hazard: an error after sending does not mean that nothing was sent. Whatever is not a clear answer is
    /// [`BroadcastOutcome::MaybeSent`], and the transaction stays able to pay.
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BroadcastOutcome {
    Accepted,
    /// In the mempool or in a block already.
    AlreadyKnown,
    /// No clear answer. Look for it and send the same bytes again.
    MaybeSent {
        reason: String,
    },
    /// This node will not relay it now. It is still a valid transaction and may confirm through another node.
    Rejected {
        reason: String,
    },
}

/// Walks the chain. Reorganisations show as a block whose parent is not the one that was seen before.
#[async_trait]
pub trait ObserveChain: Send + Sync {
    fn network(&self) -> Network;
    async fn tips(&self) -> Result<Tips, NodeError>;
    /// The block at `height` of the chain that the node follows now.
    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError>;
    /// Whether a transaction that was sent, or may have been, can still take effect.
    async fn liveness(&self, transaction: &SentTransaction) -> Result<Liveness, NodeError>;

    /// How the nodes behind this port do, as far as their answers so far have shown. Makes no call; empty where nothing is
    /// measured.
    fn health(&self) -> ChainHealth {
        ChainHealth::default()
    }
}

/// What identifies a transaction that may be on its way.
#[derive(Debug, Clone)]
pub struct SentTransaction {
    pub transaction: TransactionId,
    /// Unknown while no signature has reached us although one may exist.
    pub tx_id: Option<String>,
    /// What was signed, or may have been.
    pub unsigned: UnsignedTransaction,
    /// Ids of the transfer's other transactions, which may have used the resources instead.
    pub siblings: Vec<String>,
    /// What the follower saw use a resource of this transaction, this transaction excepted. Hints: an adapter proves them with
    /// its node, and can look up no more than them where a chain has no index of who spent what (Bitcoin).
    pub spent_by: Vec<SpentBy>,
    pub resources: Vec<Resource>,
    pub validity: Validity,
}

/// A transaction in a block that used a resource of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpentBy {
    pub resource: Resource,
    pub tx_id: String,
    /// Of the block.
    pub height: u64,
}

/// The node side of a chain.
pub trait Node: ReadAccount + BroadcastTransaction + ObserveChain {}
impl<T: ReadAccount + BroadcastTransaction + ObserveChain> Node for T {}

/// Has a package signed by a threshold of co-signers.
#[async_trait]
pub trait ThresholdSigner: Send + Sync {
    /// The public keys that enough parties hold shares of and agree on.
    fn keys(&self) -> Vec<GroupKey>;

    /// How many parties that hold a share of this scheme's key are online now.
    fn online(&self, scheme: Scheme) -> u16;

    /// One signature for each payload, verified. Every co-signer derives the payloads itself; `payloads` tells the
    /// coordinator how many sessions to run and lets it verify what comes back.
    async fn sign(
        &self,
        package: &SigningPackage,
        payloads: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError>;
}

/// Why there are no signatures. `started` says whether any party may have begun a session: if so, a signature may exist
/// somewhere, and the transaction must be treated as able to pay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    #[error("{available} of {needed} co-signers are online for the {scheme} key")]
    NotEnoughSigners { scheme: Scheme, needed: u16, available: u16 },
    /// With the code of [`PAST_REFUSALS`] where one of the parties gave such a one.
    #[error("too few co-signers agree; refused by party {party}: {code}: {reason}")]
    Refused { party: PartyIndex, code: String, reason: String, started: bool },
    #[error("signing session failed: {reason}")]
    Aborted { reason: String, started: bool },
    /// Too few agree now, and of those who do not at least one may another time: an approval, a screening, a time window, an entry of
    /// the governance log or a party is missing. `code` is one of [`LATER_REFUSALS`] that was given; `reason` tells all of them.
    #[error("too few co-signers agree now: {reason}")]
    NotNow { code: String, reason: String, started: bool },
    #[error("no {0} key: run key generation on the co-signers")]
    NoKey(Scheme),
}

/// Codes of refusals for what a co-signer took part in signing before: a signature that we know nothing of may exist, so the
/// payment must not be reported as never made.
pub const PAST_REFUSALS: [&str; 4] =
    ["WOULD_PAY_TWICE", "EXTERNAL_ID_REUSED", "INPUT_AMOUNT_CHANGED", "NONCE_TAKEN"];

/// Codes of refusals for evidence that people or a screening service can still supply.
pub const EVIDENCE_REFUSALS: [&str; 6] = [
    "APPROVALS_MISSING",
    "AUTHORIZATION_MISSING",
    "SCREENING_MISSING",
    "SCREENING_STALE",
    "SCREENING_REVIEW",
    "SCREENING_INVALID",
];

/// Codes of refusals that end nothing: what is refused so may be signed later, just as it is or with further evidence. Whatever a
/// co-signer calls such a refusal, it does not end a payment.
pub const LATER_REFUSALS: [&str; 19] = [
    EVIDENCE_REFUSALS[0],
    EVIDENCE_REFUSALS[1],
    EVIDENCE_REFUSALS[2],
    EVIDENCE_REFUSALS[3],
    EVIDENCE_REFUSALS[4],
    EVIDENCE_REFUSALS[5],
    "SIGNERS_REQUIRED",
    "AWAITING_CONFIRMATION",
    "TOO_MANY_QUESTIONS",
    "VERIFIER_UNAVAILABLE",
    "POLICY_DENIED",
    "POLICY_DELAY",
    "NO_POLICY",
    "FROZEN",
    "FROZEN_HERE",
    "FEES_WITHOUT_PAYMENT",
    "GOVERNANCE_BEHIND",
    "GOVERNANCE_FORKED",
    // Its initiator can recall the payout again.
    "RECALL",
];

impl SignError {
    /// Whether a co-signer refused for one of [`PAST_REFUSALS`].
    pub fn refused_for_the_past(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if PAST_REFUSALS.contains(&code.as_str()))
    }

    pub const fn started(&self) -> bool {
        match self {
            Self::Refused { started, .. } | Self::Aborted { started, .. } | Self::NotNow { started, .. } => {
                *started
            }
            Self::NotEnoughSigners { .. } | Self::NoKey(_) => false,
        }
    }
}
