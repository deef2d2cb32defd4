//! The decision on one signing package: allowed, or refused with a reason that names what is wrong.
//!
//! This is the second promise of Bursar: a fully compromised orchestrator can withhold signatures, never obtain one for
//! something that the initiator did not ask for. So nothing in a package is believed. The transaction is decoded by this
//! party's own adapter under its own group key; the intent counts only under a pinned initiator's signature; limits and time are
//! this party's own. What depends on the past (a session id seen before, a second transaction for one intent) is
//! decided by [`crate::store`] in the same transaction that records it.
//!
//! A package says what it is for ([`Purpose`]), and each purpose is held against what it may do. A **payment** makes exactly the
//! payments that remain of the intent after the recalls, each of which its initiator signed. A **cancellation** pays nobody.
//! A **child** pays nobody either, spends nothing but change of a payment of this intent, and costs no more than what that
//! payment leaves of the fee that the intent allows. A **filler** is an order of its own kind ([`bursar_domain::fill`]): it uses up
//! the one nonce that its initiator named and pays nobody, whatever the purpose says. So what a hostile orchestrator gains from the last two is fees, once for
//! each intent, up to its `max_fee`.

use crate::{
    adapters::{believed_amounts, claimed_inputs, own_outputs},
    governance::Log,
    rules::{AssetRule, Destinations, FeeLimit, Rules},
};
use bursar_bitcoin::ClaimedInput;
use bursar_domain::{
    amount::Amount,
    canonical::Canonical,
    effects::{Effects, OutPoint, Resource},
    governance::policy::Decision,
    ids::ExternalId,
    intent::{InitiatorId, Intent, IntentDigest, InvalidInitiatorSignature, SignedIntent},
    network::Network,
    package::{PackageDigest, Purpose, SigningPackage, UnsignedTransaction},
    ports::{Adapter, DecodeError},
    recall,
    signing::{GroupKey, PartyRole, SigningPayload},
    time::Timestamp,
    verify::{EffectsMismatch, cancel_matches, effects_match},
    wallet::WalletDescriptor,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Why a package is refused. `code` is stable; `reason` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct Refusal {
    pub code: RefusalCode,
    pub reason: String,
}

macro_rules! codes {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum RefusalCode {
            $(#[serde(rename = $text)] $variant,)+
        }
        impl RefusalCode {
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}
codes! {
    MalformedPackage = "MALFORMED_PACKAGE",
    UnknownInitiator = "UNKNOWN_INITIATOR",
    InitiatorRole = "INITIATOR_ROLE",
    InitiatorSignature = "INITIATOR_SIGNATURE",
    OrderTerms = "ORDER_TERMS",
    OrderDesk = "ORDER_DESK",
    OrderPolicy = "ORDER_POLICY",
    InvalidIntent = "INVALID_INTENT",
    IntentExpired = "INTENT_EXPIRED",
    ExpiryTooFar = "EXPIRY_TOO_FAR",
    Recall = "RECALL",
    NetworkNotAllowed = "NETWORK_NOT_ALLOWED",
    NoKey = "NO_KEY",
    Undecodable = "UNDECODABLE",
    EffectsRecipient = "EFFECTS_RECIPIENT",
    EffectsAmount = "EFFECTS_AMOUNT",
    EffectsFee = "EFFECTS_FEE",
    EffectsOther = "EFFECTS_OTHER",
    AssetNotAllowed = "ASSET_NOT_ALLOWED",
    AmountAboveCap = "AMOUNT_ABOVE_CAP",
    FeeAboveCap = "FEE_ABOVE_CAP",
    DestinationNotAllowed = "DESTINATION_NOT_ALLOWED",
    SessionReused = "SESSION_REUSED",
    SessionTerms = "SESSION_TERMS",
    ExternalIdReused = "EXTERNAL_ID_REUSED",
    WouldPayTwice = "WOULD_PAY_TWICE",
    ChildOf = "CHILD_OF",
    NonceTaken = "NONCE_TAKEN",
    NonceFilled = "NONCE_FILLED",
    UnknownParent = "UNKNOWN_PARENT",
    InputAmountChanged = "INPUT_AMOUNT_CHANGED",
    AuthorizationMissing = "AUTHORIZATION_MISSING",
    AuthorizationTooLarge = "AUTHORIZATION_TOO_LARGE",
    GovernanceBehind = "GOVERNANCE_BEHIND",
    GovernanceForked = "GOVERNANCE_FORKED",
    InitiatorNotPermitted = "INITIATOR_NOT_PERMITTED",
    Frozen = "FROZEN",
    FrozenHere = "FROZEN_HERE",
    NoPolicy = "NO_POLICY",
    PolicyDenied = "POLICY_DENIED",
    PolicyDelay = "POLICY_DELAY",
    ScreeningMissing = "SCREENING_MISSING",
    ScreeningStale = "SCREENING_STALE",
    ScreeningBlocked = "SCREENING_BLOCKED",
    ScreeningReview = "SCREENING_REVIEW",
    ScreeningInvalid = "SCREENING_INVALID",
    ApprovalsMissing = "APPROVALS_MISSING",
    ApprovalRejected = "APPROVAL_REJECTED",
    SignersRequired = "SIGNERS_REQUIRED",
    AwaitingConfirmation = "AWAITING_CONFIRMATION",
    TooManyQuestions = "TOO_MANY_QUESTIONS",
    FeesWithoutPayment = "FEES_WITHOUT_PAYMENT",
    ConfirmationRejected = "CONFIRMATION_REJECTED",
    VerifierUnavailable = "VERIFIER_UNAVAILABLE",
    Overloaded = "OVERLOADED",
    Internal = "INTERNAL",
}
impl RefusalCode {
    /// Whether it says nothing about the package, so that asking again may help.
    pub const fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::Overloaded
                | Self::Internal
                | Self::Frozen
                | Self::FrozenHere
                | Self::TooManyQuestions
                | Self::VerifierUnavailable
                | Self::FeesWithoutPayment
        ) || self.only_takes_time()
    }

    /// Whether it is a matter of time in the ordinary course of things, so that there is nothing to write down.
    pub const fn only_takes_time(self) -> bool {
        matches!(self, Self::GovernanceBehind | Self::PolicyDelay | Self::AwaitingConfirmation)
    }
}
impl std::fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Refusal {
    pub fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// A package that this party's rules allow, with what was found in it. Only [`verify`] makes one.
#[derive(Debug, Clone)]
pub struct Allowed {
    pub digest: PackageDigest,
    pub intent: IntentDigest,
    /// Verified here or by the governance log, but for what takes back a payment that this party took part in: it had verified that.
    pub initiator: InitiatorId,
    pub external_id: ExternalId,
    pub network: Network,
    pub wallet: WalletDescriptor,
    pub expires_at: Timestamp,
    pub part: Part,
    /// The order is to use up its nonce and pay nobody.
    pub fills: bool,
    pub resources: Vec<Resource>,
    /// The most that it costs.
    pub fee: Amount,
    /// The most that everything for this intent may cost by intent and rules.
    pub fee_cap: Amount,
    /// Outputs that it makes and that return to the wallet (Bitcoin): what a child of it may spend.
    pub makes: Vec<OutPoint>,
    /// Input amounts that it is believed for; this party must never have believed others.
    pub believed: Vec<ClaimedInput>,
    /// The transaction's own bytes.
    pub unsigned: Vec<u8>,
    pub payloads: Vec<SigningPayload>,
    /// What it does.
    pub effects: Effects,
    /// For what pays nobody and takes back nothing that this party knows of.
    pub fee_limit: FeeLimit,
    /// Whether it takes back a payment that this party took part in; as [`verify`] leaves it, it does not.
    pub undoes: bool,
    /// What the policy of the governance log says, if there is one.
    pub decision: Option<Decision>,
    /// Without whose co-signers this party does not sign it.
    pub with: BTreeSet<PartyRole>,
}

impl Allowed {
    /// Under which id this party's people are asked about it. A cancellation has its own: who lets an order be taken back has not let it
    /// be paid.
    pub fn question(&self) -> IntentDigest {
        match self.part {
            Part::Pays | Part::Child => self.intent,
            Part::Cancels => {
                IntentDigest(Canonical::new("bursar/confirm-cancellation/v1").bytes(&self.intent.0).digest())
            }
        }
    }

    /// Whether all that it does is to cost a fee: it pays nobody, and takes back nothing. `pays`: whether this party took part in a
    /// payment of the order.
    pub fn only_costs(&self, pays: bool) -> bool {
        self.fills || (self.part == Part::Cancels && !pays)
    }
}

/// What a transaction can do to the others of its intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Pays what the intent says, so that no other that does may ever be final beside it.
    Pays,
    /// Takes the place of one that pays.
    Cancels,
    /// Spends change of one that pays.
    Child,
}

/// Larger transactions are not relayed by any of the chains.
const MAX_TRANSACTION: usize = 512 * 1024;
const MAX_PAYLOADS: usize = 1000;

/// Holds a package against the intent in it, the initiator's signature, and this party's rules. `now` is this party's clock. With a
/// governance log, [`Log::permit`] says whether the order is the desk's, and this only of whom the recalls are.
pub fn verify(
    package: &SigningPackage,
    rules: &Rules,
    log: Option<&Log>,
    key: Option<&GroupKey>,
    adapter: &dyn Adapter,
    now: Timestamp,
) -> Result<Allowed, Refusal> {
    use RefusalCode as Code;
    let refuse = |code, reason: String| Err(Refusal::new(code, reason));
    let intent = &package.intent.intent;
    let wallet = package.unsigned.wallet;
    if wallet != intent.wallet {
        return refuse(
            Code::MalformedPackage,
            format!("unsigned.wallet: {wallet} is not the intent's {}", intent.wallet),
        );
    }
    let parent = match &package.purpose {
        Purpose::Child { parent } => Some(parent.as_ref()),
        Purpose::Pay | Purpose::Cancel => None,
    };
    if std::iter::once(&package.unsigned).chain(parent).any(|one| one.bytes.len() > MAX_TRANSACTION) {
        return refuse(Code::MalformedPackage, "unsigned.bytes: too large".into());
    }
    if log.is_none() {
        pinned(rules, &package.intent)?;
    }
    if let Err(error) = intent.validate() {
        return refuse(Code::InvalidIntent, error.to_string());
    }
    // What is cancelled pays nobody, whatever was recalled, and stays possible when the initiator has left.
    let directory = log.filter(|_| package.purpose != Purpose::Cancel).map(|log| log.state().directory());
    let remaining = recall::remaining(&package.intent, &package.recalls, directory)
        .map_err(|error| Refusal::new(Code::Recall, format!("recalls: {error}")))?;
    // What expired can still be taken back: see `crate::store` for what must have gone before.
    if intent.expires_at <= now && package.purpose != Purpose::Cancel {
        return refuse(
            Code::IntentExpired,
            "expires_at: the intent has expired by this party's clock".into(),
        );
    }
    if intent.expires_at > now.plus(rules.max_expiry) {
        return refuse(Code::ExpiryTooFar, "expires_at: lies further ahead than this party allows".into());
    }
    if !rules.networks.contains(&intent.network()) {
        return refuse(Code::NetworkNotAllowed, format!("{} is not in this party's rules", intent.network()));
    }
    let Some(key) = key.filter(|key| key.scheme == wallet.kind.scheme()) else {
        return refuse(Code::NoKey, format!("this party holds no {} share", wallet.kind.scheme()));
    };
    let effects = adapter.decode(&package.unsigned, key).map_err(undecodable)?;
    let Some(rule) = rules.assets.iter().find(|rule| rule.asset == intent.asset) else {
        return refuse(Code::AssetNotAllowed, format!("{} is not in this party's rules", intent.asset));
    };
    let part = match &package.purpose {
        Purpose::Pay => {
            effects_match(&remaining, &effects).map_err(mismatch)?;
            within_limits(rules, rule, &remaining, &effects)?;
            Part::Pays
        }
        Purpose::Cancel if intent.fills.is_some() => {
            let reason =
                "purpose: a filler pays nobody, so there is nothing to cancel; offer more for it instead";
            return refuse(Code::MalformedPackage, reason.into());
        }
        Purpose::Cancel => {
            cancel_matches(intent, &effects).map_err(mismatch)?;
            within_fee(rule, effects.fee)?;
            Part::Cancels
        }
        Purpose::Child { parent } => {
            cancel_matches(intent, &effects).map_err(mismatch)?;
            let paid = check_parent(&package.unsigned, parent, &remaining, key, adapter)?;
            within_limits(rules, rule, &remaining, &paid)?;
            let total = paid.fee.checked_add(effects.fee).filter(|total| *total <= intent.max_fee);
            let Some(total) = total else {
                let (parent, child, allowed) = (paid.fee, effects.fee, intent.max_fee);
                let reason = format!("the parent costs {parent} and the child {child}; {allowed} is allowed");
                return refuse(Code::EffectsFee, reason);
            };
            within_fee(rule, total)?;
            Part::Child
        }
    };
    let payloads = adapter.signing_payloads(&package.unsigned, key).map_err(undecodable)?;
    check_payloads(package, &payloads)?;
    let believed = believed_amounts(&package.unsigned, key).map_err(undecodable)?;
    let makes = own_outputs(&package.unsigned, key).map_err(undecodable)?;
    Ok(Allowed {
        digest: package.digest(),
        intent: intent.digest(),
        initiator: package.intent.initiator(),
        external_id: intent.external_id.clone(),
        network: effects.network,
        wallet,
        expires_at: intent.expires_at,
        part,
        fills: intent.fills.is_some(),
        resources: effects.resources.clone(),
        fee: effects.fee,
        fee_cap: intent.max_fee.min(rule.max_fee),
        makes: makes.into_iter().map(|own| own.outpoint).collect(),
        believed,
        unsigned: package.unsigned.bytes.clone(),
        payloads,
        effects,
        fee_limit: rules.fee_limit(rule),
        undoes: false,
        decision: None,
        with: BTreeSet::new(),
    })
}

/// Whether the initiator is one of this party's own list, may initiate, and signed the order.
fn pinned(rules: &Rules, order: &SignedIntent) -> Result<(), Refusal> {
    let InitiatorId::Key(initiator) = order.initiator() else {
        let reason = InvalidInitiatorSignature::NotGoverned.to_string();
        return Err(Refusal::new(RefusalCode::OrderTerms, reason));
    };
    let Some(known) = rules.initiators.iter().find(|known| known.public_key == initiator) else {
        let reason = format!("initiator {initiator} is not in this party's rules");
        return Err(Refusal::new(RefusalCode::UnknownInitiator, reason));
    };
    if known.role == PartyRole::CustodyPlatform {
        let reason = format!("{}: the custody platform never initiates", known.name);
        return Err(Refusal::new(RefusalCode::InitiatorRole, reason));
    }
    let verified = order.verify_key();
    verified.map(drop).map_err(|error| Refusal::new(RefusalCode::InitiatorSignature, error.to_string()))
}

fn undecodable(error: DecodeError) -> Refusal {
    Refusal::new(RefusalCode::Undecodable, error.to_string())
}

/// Holds the parent against the intent, and the child's inputs against what the parent returns to the wallet. Gives what the
/// parent does. That it is one which this party knows is decided by [`crate::store`].
fn check_parent(
    child: &UnsignedTransaction,
    parent: &UnsignedTransaction,
    remaining: &Intent,
    key: &GroupKey,
    adapter: &dyn Adapter,
) -> Result<Effects, Refusal> {
    let refuse = |reason: String| Refusal::new(RefusalCode::ChildOf, reason);
    if parent.wallet != remaining.wallet {
        return Err(refuse(format!("purpose.parent.wallet: {} is not the intent's", parent.wallet)));
    }
    let effects = adapter.decode(parent, key).map_err(|error| refuse(format!("purpose.parent: {error}")))?;
    effects_match(remaining, &effects).map_err(|error| {
        refuse(format!("purpose.parent: it is not the payment that the intent asks for: {error}"))
    })?;
    // A txid does not cover signatures, so the parent's own bytes say what its outputs are called and worth.
    let made = own_outputs(parent, key).map_err(undecodable)?;
    for input in claimed_inputs(child, key).map_err(undecodable)? {
        let Some(own) = made.iter().find(|own| own.outpoint == input.outpoint) else {
            return Err(refuse(format!("input {} is not change of the parent", input.outpoint)));
        };
        if own.value != input.value {
            let (says, holds) = (input.value.0, own.value.0);
            return Err(refuse(format!("input {} holds {holds} satoshi, not {says}", input.outpoint)));
        }
    }
    Ok(effects)
}

/// `payments` are those of `effects` too; what is left of the intent counts, not what was recalled.
fn within_limits(
    rules: &Rules,
    rule: &AssetRule,
    remaining: &Intent,
    effects: &Effects,
) -> Result<(), Refusal> {
    use RefusalCode as Code;
    if remaining.total().is_none_or(|total| total > rule.max_amount) {
        let reason = format!("its total of {} is above this party's cap of {}", rule.asset, rule.max_amount);
        return Err(Refusal::new(Code::AmountAboveCap, reason));
    }
    within_fee(rule, effects.fee)?;
    if let Destinations::Only(allowed) = &rules.destinations {
        for (index, payment) in effects.payments.iter().enumerate() {
            if !allowed.contains(&(effects.network, payment.destination.clone())) {
                let reason = format!(
                    "payments[{index}].destination: {} is not in this party's rules",
                    payment.destination.address
                );
                return Err(Refusal::new(Code::DestinationNotAllowed, reason));
            }
        }
    }
    Ok(())
}

fn within_fee(rule: &AssetRule, fee: Amount) -> Result<(), Refusal> {
    if fee > rule.max_fee {
        let reason = format!("a fee of {fee} is above this party's cap of {}", rule.max_fee);
        return Err(Refusal::new(RefusalCode::FeeAboveCap, reason));
    }
    Ok(())
}

/// What is signed must be with keys of the very wallet that the intent names.
fn check_payloads(package: &SigningPackage, payloads: &[SigningPayload]) -> Result<(), Refusal> {
    let wallet = package.unsigned.wallet;
    if payloads.is_empty() || payloads.len() > MAX_PAYLOADS {
        let reason = format!("it needs {} signatures; 1 to {MAX_PAYLOADS} are possible", payloads.len());
        return Err(Refusal::new(RefusalCode::MalformedPackage, reason));
    }
    let foreign = payloads.iter().any(|payload| {
        payload.scheme != wallet.kind.scheme()
            || payload.path.purpose != wallet.kind.purpose()
            || payload.path.account != wallet.account
    });
    if foreign {
        let reason = format!("it needs a signature of a key outside of {wallet}");
        return Err(Refusal::new(RefusalCode::Undecodable, reason));
    }
    Ok(())
}

fn mismatch(error: EffectsMismatch) -> Refusal {
    let code = match error {
        EffectsMismatch::Recipient { .. } => RefusalCode::EffectsRecipient,
        EffectsMismatch::Amount { .. } => RefusalCode::EffectsAmount,
        EffectsMismatch::Fee { .. } => RefusalCode::EffectsFee,
        _ => RefusalCode::EffectsOther,
    };
    Refusal::new(code, format!("the transaction is not what was intended: {error}"))
}
