//! What may follow what.

use super::{
    Flags, FundsMoved, Obstacle, OnChain, Replacing, State, Status, SubStatus, Transfer, Verb, Wanted,
};
use crate::{chain::BlockRef, ids::TransactionId, recall::SignedRecall, time::Timestamp};

/// Something that has happened to a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    ScreeningStarted,
    /// `sub_status` is [`SubStatus::NotScreened`] where no provider is configured.
    ScreeningPassed {
        sub_status: Option<SubStatus>,
    },
    HeldForReview {
        sub_status: SubStatus,
        reason: String,
    },
    ReviewPassed,
    /// What held it is over, and the travel rule has still to be looked at: back to where that is done.
    TravelRuleNext {
        reason: String,
    },
    /// What it passed its screening by does not count any more, or somebody asks for another: it is screened anew. What was frozen is
    /// released, in the same database transaction.
    ScreeningLapsed {
        reason: String,
    },
    /// The screening service raised an alert about it. What has no signature yet is frozen; what has is flagged.
    AlertRaised,
    /// People have looked at what froze it.
    AlertSettled,
    /// `sub_status` is [`SubStatus::NotAuthorized`] where no policy is configured.
    Authorized {
        sub_status: Option<SubStatus>,
    },
    /// It was authorized and is not any more. What was frozen is released, in the same database transaction.
    AuthorizationLapsed {
        reason: String,
    },
    Blocked {
        reason: String,
    },
    /// Screening, review (also of what an alert froze), authorization, or co-signers before any session said no.
    Rejected {
        sub_status: Option<SubStatus>,
        reason: String,
    },
    /// It stays where it is, for this reason.
    Waiting {
        sub_status: SubStatus,
        reason: String,
    },
    /// The package is frozen and its resources are reserved, in the same database transaction.
    Frozen {
        transaction: TransactionId,
    },
    /// Persisted before the first message of any session is sent.
    SigningStarted,
    /// The coordinator knows for certain that no party began a session.
    SigningNotStarted {
        sub_status: SubStatus,
        reason: String,
    },
    /// The frozen package is out of date and was never signed: its resources are released, in the same database transaction.
    Thawed {
        reason: String,
    },
    /// The signed bytes are stored, in the same database transaction.
    Signed,
    /// About to be handed to a node, or handed over without a clear answer.
    MaybeSent {
        reason: Option<String>,
    },
    Sent,
    /// A node would not relay it.
    RelayRefused {
        reason: String,
    },
    /// A block holds one of the transfer's transactions, whichever.
    Included {
        transaction: TransactionId,
        block: BlockRef,
    },
    /// In a final block, with effect.
    Finalized {
        block: BlockRef,
    },
    /// In a final block, and it is one that pays nobody.
    CancelledOnChain {
        block: BlockRef,
    },
    /// In a final block, and not with the effect that was meant. `funds_moved` is [`FundsMoved::FeeOnly`] only where the
    /// chain itself says that nothing else moved.
    FailedOnChain {
        funds_moved: FundsMoved,
        reason: String,
    },
    /// The block that held it is no longer part of the chain.
    ReorgedOut,
    Dropped,
    /// None of its transactions can ever take effect, and this is why. `ledger_passed`: by time (XRP: past LastLedgerSequence with
    /// the Sequence unused); otherwise a transaction that is not ours has used what they need, in a final block.
    ProvenDead {
        proof: String,
        ledger_passed: bool,
    },
    /// A session over a filler, or over what was to cancel it, gave no signature before co-signers stopped signing the order; its
    /// nonce is free again, in the same database transaction. Of fillers only: whatever surfaces of one pays nobody.
    FillerGivenUp {
        proof: String,
    },
    /// What had used its resources is no longer part of the chain: `transaction`, which is signed, may be in a block after all.
    Revived {
        transaction: TransactionId,
    },
    /// Signed bytes that exclude the transaction under way are stored, in the same database transaction; `by` is sent from now
    /// on. `cancels`: it pays nobody.
    Superseded {
        by: TransactionId,
        cancels: bool,
    },
    /// Someone asks for a transaction in place of the one under way.
    ReplacementWanted {
        verb: Verb,
    },
    /// An unsigned transaction that could take the place is stored, in the same database transaction.
    ReplacementBegun,
    /// No replacement for now. `lasting`: what was asked for is given up; the transaction under way goes on. Except that a wish to
    /// cancel stays where a fee cap is in the way: a payment that was taken back is not sent for want of room for a fee.
    ReplacementHindered {
        sub_status: SubStatus,
        reason: String,
        lasting: bool,
    },
    /// Sent, and in no block for longer than the chain's policy thinks right.
    Stuck,
    /// The initiator takes back one payout. What was frozen with it is released, in the same database transaction.
    Recalled {
        recall: SignedRecall,
    },
    /// The initiator recalls anew what they had recalled with a key that does not count any more. The same is paid, and in the same way:
    /// only what shows co-signers that it was taken back is another.
    RecalledAgain {
        recall: SignedRecall,
    },
    /// The intent's time is over, or it can never be built.
    Expired {
        sub_status: SubStatus,
    },
    Failed {
        sub_status: SubStatus,
        reason: String,
    },
    Cancelled,
}

impl Fact {
    /// Whether it gives the frozen package up without a person's word or the chain's.
    const fn forgets_the_package(&self) -> bool {
        matches!(
            self,
            Self::Thawed { .. }
                | Self::AuthorizationLapsed { .. }
                | Self::ScreeningLapsed { .. }
                | Self::Recalled { .. }
                | Self::Expired { .. }
                | Self::Failed { .. }
                | Self::Rejected { .. }
        )
    }
}

/// The next version of a transfer, and what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub transfer: Transfer,
    pub from: Status,
    /// What the initiator signed to bring it about.
    pub recalled: Option<SignedRecall>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a transfer that is {from} cannot become: {fact:?}")]
pub struct InvalidTransition {
    pub from: Status,
    pub fact: Box<Fact>,
}

impl Transfer {
    /// The next version, if `fact` may happen in this state.
    pub fn apply(self, fact: Fact, now: Timestamp) -> Result<Transition, InvalidTransition> {
        let from = self.status();
        let Some(next) = self.after(&fact, now) else {
            return Err(InvalidTransition { from, fact: Box::new(fact) });
        };
        let transfer = Self { version: self.version + 1, updated_at: now, ..next };
        let recalled = match fact {
            Fact::Recalled { recall } | Fact::RecalledAgain { recall } => Some(recall),
            _ => None,
        };
        Ok(Transition { transfer, from, recalled })
    }

    /// Whether `fact` would change nothing but the time: a repeated wait for the same reason. Callers skip those, so that
    /// waiting does not fill the event log.
    pub fn already_says(&self, fact: &Fact) -> bool {
        let now = self.replacing.obstacle.as_ref().map_or(self.updated_at, |obstacle| obstacle.at);
        self.after(fact, now).is_some_and(|next| next == *self)
    }

    /// Co-signers have signed this order before, outside of what we know (our database may be an old copy): it waits for a person,
    /// who may abort it. Were it built again or ended by time, the desk would take it for unpaid.
    pub fn may_have_been_paid_unseen(&self) -> bool {
        matches!(self.state, State::PendingSignature { signing_started: false, .. })
            && self.sub_status == Some(SubStatus::Unexplained)
    }

    fn after(&self, fact: &Fact, now: Timestamp) -> Option<Self> {
        // Another transaction of the transfer may have been signed meanwhile.
        if matches!(fact, Fact::SigningNotStarted { .. }) && self.flags.under_replacement {
            return None;
        }
        if self.may_have_been_paid_unseen() && fact.forgets_the_package() {
            return None;
        }
        if matches!(fact, Fact::FillerGivenUp { .. }) && self.intent.intent.fills.is_none() {
            return None;
        }
        let (state, sub_status, reason) = self.beside(fact).or_else(|| next(&self.state, fact))?;
        let open = state.is_replaceable();
        let flags = Flags {
            stuck: match fact {
                Fact::Stuck => true,
                Fact::Superseded { .. } => false,
                _ => self.flags.stuck && open,
            },
            under_replacement: match fact {
                Fact::ReplacementBegun => true,
                Fact::Superseded { .. } | Fact::ReplacementHindered { lasting: true, .. } => false,
                _ => self.flags.under_replacement && open,
            },
            frozen: match fact {
                Fact::AlertSettled => false,
                fact => (self.flags.frozen || *fact == Fact::AlertRaised) && is_unsigned(&state),
            },
            alerted: self.flags.alerted || *fact == Fact::AlertRaised,
        };
        let replacing = match state.status().is_terminal() {
            true => Replacing::default(),
            false => self.replacing.clone().after(fact, now),
        };
        let recalls = self.recalls_after(fact)?;
        Some(Self { state, sub_status, reason, flags, replacing, recalls, ..self.clone() })
    }

    /// Each payout is taken out once; its recall can be put in the place of one that there is, and of no other.
    fn recalls_after(&self, fact: &Fact) -> Option<Vec<SignedRecall>> {
        let mut recalls = self.recalls.clone();
        match fact {
            Fact::Recalled { recall } => {
                let first = recalls.iter().all(|there| there.payment != recall.payment);
                first.then(|| recalls.push(recall.clone()))?;
            }
            Fact::RecalledAgain { recall } => {
                *recalls.iter_mut().find(|there| there.payment == recall.payment)? = recall.clone();
            }
            _ => {}
        }
        Some(recalls)
    }

    /// What happens beside the status.
    fn beside(&self, fact: &Fact) -> Option<Next> {
        if let Fact::Revived { transaction } = fact {
            let dead = State::Failed { funds_moved: FundsMoved::None, on_chain: None };
            let spent_elsewhere = self.state == dead && self.sub_status == Some(SubStatus::SpentElsewhere);
            let state = State::Broadcasting { transaction: *transaction, maybe_sent: true };
            return spent_elsewhere.then_some((state, Some(SubStatus::Reorged), None));
        }
        // Why it waited may be gone with it: it is looked at without a pause.
        if matches!(fact, Fact::RecalledAgain { .. })
            && matches!(self.sub_status, Some(SubStatus::RecallLapsed | SubStatus::SignerNotYet))
        {
            return Some((self.state.clone(), None, None));
        }
        let may = match fact {
            Fact::RecalledAgain { .. } => !self.status().is_terminal(),
            Fact::ReplacementWanted { verb: Verb::SpeedUp { .. } } => {
                let cancelling = matches!(self.replacing.wanted, Some(Wanted { verb: Verb::Cancel, .. }));
                self.state.is_replaceable() && !cancelling
            }
            Fact::ReplacementWanted { verb: Verb::Cancel }
            | Fact::ReplacementBegun
            | Fact::ReplacementHindered { .. }
            | Fact::Stuck => self.state.is_replaceable(),
            Fact::AlertRaised => is_unsigned(&self.state) || has_paid(&self.state),
            Fact::AlertSettled => self.flags.frozen,
            Fact::Recalled { .. } => matches!(
                self.state,
                State::Submitted
                    | State::PendingScreening
                    | State::PendingReview
                    | State::PendingAuthorization
                    | State::Queued
            ),
            _ => false,
        };
        may.then(|| (self.state.clone(), self.sub_status, self.reason.clone()))
    }
}

impl Replacing {
    fn after(self, fact: &Fact, now: Timestamp) -> Self {
        match fact {
            Fact::ReplacementWanted { verb } => {
                Self { wanted: Some(Wanted { verb: *verb, at: now }), obstacle: None, ..self }
            }
            Fact::ReplacementHindered { sub_status, reason, lasting } => Self {
                wanted: self.wanted.filter(|wanted| {
                    !lasting || (wanted.verb == Verb::Cancel && *sub_status == SubStatus::FeeCapReached)
                }),
                obstacle: Some(Obstacle {
                    sub_status: *sub_status,
                    reason: reason.clone(),
                    at: now,
                    since: lasting.then(|| {
                        let same = |known: &Obstacle| known.lasting && known.sub_status == *sub_status;
                        let known = self.obstacle.filter(same);
                        known.map_or(now, |known| known.since.unwrap_or(known.at))
                    }),
                    lasting: *lasting,
                }),
                since: self.since,
            },
            // A wish to cancel outlives a speed-up, and a block that may go away again.
            Fact::Superseded { cancels: false, .. } | Fact::Included { .. } => {
                let cancel = |wanted: &Wanted| wanted.verb == Verb::Cancel;
                Self { wanted: self.wanted.filter(cancel), ..Self::default() }
            }
            Fact::Superseded { cancels: true, .. } => Self::default(),
            Fact::ReorgedOut | Fact::Revived { .. } => Self { since: Some(now), ..self },
            _ => self,
        }
    }
}

/// Whether no signature is known.
const fn is_unsigned(state: &State) -> bool {
    matches!(
        state,
        State::Submitted
            | State::PendingScreening
            | State::PendingReview
            | State::PendingAuthorization
            | State::Queued
            | State::PendingSignature { .. }
    )
}

/// Whether a signature is known, so that it pays, or has.
const fn has_paid(state: &State) -> bool {
    matches!(
        state,
        State::Signed { .. }
            | State::Broadcasting { .. }
            | State::Dropped { .. }
            | State::Confirming { .. }
            | State::Completed { .. }
    )
}

type Next = (State, Option<SubStatus>, Option<String>);

/// The transition table.
fn next(state: &State, fact: &Fact) -> Option<Next> {
    use State as S;
    let plain = |state: S| Some((state, None, None));
    let because = |state: S, sub_status: SubStatus, reason: &str| {
        Some((state, Some(sub_status), Some(reason.to_owned())))
    };
    match (state, fact) {
        (S::Submitted, Fact::ScreeningStarted) => plain(S::PendingScreening),
        (S::PendingScreening, Fact::ScreeningPassed { sub_status }) => {
            Some((S::PendingAuthorization, *sub_status, None))
        }
        (S::PendingScreening, Fact::HeldForReview { sub_status, reason }) => {
            because(S::PendingReview, *sub_status, reason)
        }
        (S::PendingReview, Fact::ReviewPassed) => plain(S::PendingAuthorization),
        (S::PendingReview, Fact::TravelRuleNext { reason }) => {
            because(S::PendingScreening, SubStatus::TravelRulePending, reason)
        }
        (
            S::PendingReview
            | S::PendingAuthorization
            | S::Queued
            | S::PendingSignature { signing_started: false, .. },
            Fact::ScreeningLapsed { reason },
        ) => because(S::PendingScreening, SubStatus::ScreeningLapsed, reason),
        (S::PendingAuthorization, Fact::Authorized { sub_status }) => Some((S::Queued, *sub_status, None)),
        (
            S::Queued | S::PendingSignature { signing_started: false, .. },
            Fact::AuthorizationLapsed { reason },
        ) => because(S::PendingAuthorization, SubStatus::AuthorizationLapsed, reason),
        (S::PendingAuthorization, Fact::Blocked { reason }) => Some((S::Blocked, None, Some(reason.clone()))),
        (
            S::Submitted
            | S::PendingScreening
            | S::PendingReview
            | S::PendingAuthorization
            | S::Queued
            | S::PendingSignature { signing_started: false, .. },
            Fact::Rejected { sub_status, reason },
        ) => Some((S::Rejected, *sub_status, Some(reason.clone()))),

        (S::Queued, Fact::Frozen { transaction }) => {
            plain(S::PendingSignature { transaction: *transaction, signing_started: false })
        }
        (S::PendingSignature { signing_started: false, .. }, Fact::Thawed { reason }) => {
            Some((S::Queued, None, Some(reason.clone())))
        }
        (S::PendingSignature { signing_started: false, .. }, Fact::Recalled { recall }) => {
            let reason = format!("payments[{}] was recalled; built again without it", recall.payment);
            Some((S::Queued, None, Some(reason)))
        }
        (S::PendingSignature { transaction, .. }, Fact::SigningStarted) => {
            let state = S::PendingSignature { transaction: *transaction, signing_started: true };
            Some((state, Some(SubStatus::Signing), None))
        }
        (S::PendingSignature { transaction, .. }, Fact::SigningNotStarted { sub_status, reason }) => because(
            S::PendingSignature { transaction: *transaction, signing_started: false },
            *sub_status,
            reason,
        ),
        (S::PendingSignature { transaction, .. }, Fact::Signed) => {
            plain(S::Signed { transaction: *transaction })
        }

        (
            S::Signed { transaction } | S::Broadcasting { transaction, .. } | S::Dropped { transaction },
            Fact::MaybeSent { reason },
        ) => Some((
            S::Broadcasting { transaction: *transaction, maybe_sent: true },
            Some(SubStatus::MaybeSent),
            reason.clone(),
        )),
        (
            S::Signed { transaction } | S::Broadcasting { transaction, .. } | S::Dropped { transaction },
            Fact::Sent,
        ) => plain(S::Broadcasting { transaction: *transaction, maybe_sent: false }),
        (S::Broadcasting { transaction, .. }, Fact::RelayRefused { reason }) => because(
            S::Broadcasting { transaction: *transaction, maybe_sent: true },
            SubStatus::BroadcastRejected,
            reason,
        ),
        (S::Broadcasting { transaction, .. }, Fact::Dropped) => {
            plain(S::Dropped { transaction: *transaction })
        }
        // The chain has the last word, whatever we believed before it: also about a transaction that a co-signer completed and
        // sent by itself.
        (
            S::PendingSignature { signing_started: true, .. }
            | S::Signed { .. }
            | S::Broadcasting { .. }
            | S::Dropped { .. }
            | S::Confirming { .. },
            Fact::Included { transaction, block },
        ) => plain(S::Confirming { transaction: *transaction, block: block.clone() }),
        // A proof that it was dead held for blocks that have gone.
        (
            S::Expired | S::Failed { funds_moved: FundsMoved::None, on_chain: None },
            Fact::Included { transaction, block },
        ) => plain(S::Confirming { transaction: *transaction, block: block.clone() }),
        (state, Fact::Superseded { by, .. }) if state.is_replaceable() => {
            Some((S::Broadcasting { transaction: *by, maybe_sent: true }, Some(SubStatus::MaybeSent), None))
        }
        (S::Confirming { transaction, .. }, Fact::Finalized { block }) => {
            plain(S::Completed { transaction: *transaction, block: block.clone() })
        }
        (S::Confirming { transaction, .. }, Fact::CancelledOnChain { block }) => Some((
            S::Replaced { by: *transaction, block: block.clone() },
            Some(SubStatus::CancelledOnChain),
            None,
        )),
        (S::Confirming { transaction, block }, Fact::FailedOnChain { funds_moved, reason }) => {
            let on_chain = Some(OnChain { transaction: *transaction, block: block.clone() });
            because(S::Failed { funds_moved: *funds_moved, on_chain }, SubStatus::FailedOnChain, reason)
        }
        (
            S::Confirming { transaction, .. }
            | S::Completed { transaction, .. }
            | S::Replaced { by: transaction, .. }
            | S::Failed { on_chain: Some(OnChain { transaction, .. }), .. },
            Fact::ReorgedOut,
        ) => Some((
            S::Broadcasting { transaction: *transaction, maybe_sent: false },
            Some(SubStatus::Reorged),
            None,
        )),
        (state, Fact::ProvenDead { proof, ledger_passed }) if state.is_replaceable() => match ledger_passed {
            true => because(S::Expired, SubStatus::LedgerExpired, proof),
            false => because(
                S::Failed { funds_moved: FundsMoved::None, on_chain: None },
                SubStatus::SpentElsewhere,
                proof,
            ),
        },

        // Asked only of fillers ([`Transfer::after`]).
        (S::PendingSignature { signing_started: true, .. }, Fact::FillerGivenUp { proof }) => {
            because(S::Expired, SubStatus::IntentExpired, proof)
        }

        (
            S::Submitted
            | S::PendingScreening
            | S::PendingReview
            | S::PendingAuthorization
            | S::Queued
            | S::PendingSignature { signing_started: false, .. },
            Fact::Expired { sub_status },
        ) => Some((S::Expired, Some(*sub_status), None)),
        (
            S::Queued | S::PendingSignature { signing_started: false, .. },
            Fact::Failed { sub_status, reason },
        ) => because(S::Failed { funds_moved: FundsMoved::None, on_chain: None }, *sub_status, reason),
        (
            S::Submitted
            | S::PendingScreening
            | S::PendingReview
            | S::PendingAuthorization
            | S::Queued
            | S::PendingSignature { signing_started: false, .. },
            Fact::Cancelled,
        ) => plain(S::Cancelled),

        (state, Fact::Waiting { sub_status, reason }) if !state.status().is_terminal() => {
            because(state.clone(), *sub_status, reason)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recall::RecallSignature;
    use proptest::prelude::*;

    fn transaction() -> TransactionId {
        "01936d0e-0000-7000-8000-000000000001".parse().unwrap()
    }
    fn block() -> BlockRef {
        BlockRef { height: 7, hash: "h".into() }
    }
    fn facts() -> Vec<Fact> {
        let reason = || "because".to_owned();
        vec![
            Fact::ScreeningStarted,
            Fact::ScreeningPassed { sub_status: None },
            Fact::HeldForReview { sub_status: SubStatus::ScreeningReview, reason: reason() },
            Fact::ReviewPassed,
            Fact::TravelRuleNext { reason: reason() },
            Fact::ScreeningLapsed { reason: reason() },
            Fact::AlertRaised,
            Fact::AlertSettled,
            Fact::Authorized { sub_status: None },
            Fact::Blocked { reason: reason() },
            Fact::Rejected { sub_status: None, reason: reason() },
            Fact::Waiting { sub_status: SubStatus::InsufficientFunds, reason: reason() },
            Fact::AuthorizationLapsed { reason: reason() },
            Fact::Frozen { transaction: transaction() },
            Fact::SigningStarted,
            Fact::SigningNotStarted { sub_status: SubStatus::SignersOffline, reason: reason() },
            Fact::Thawed { reason: reason() },
            Fact::Signed,
            Fact::MaybeSent { reason: None },
            Fact::Sent,
            Fact::RelayRefused { reason: reason() },
            Fact::Included { transaction: transaction(), block: block() },
            Fact::Finalized { block: block() },
            Fact::FailedOnChain { funds_moved: FundsMoved::Unknown, reason: reason() },
            Fact::ReorgedOut,
            Fact::Dropped,
            Fact::ProvenDead { proof: reason(), ledger_passed: true },
            Fact::ProvenDead { proof: reason(), ledger_passed: false },
            Fact::FillerGivenUp { proof: reason() },
            Fact::CancelledOnChain { block: block() },
            Fact::Superseded { by: transaction(), cancels: true },
            Fact::Superseded { by: transaction(), cancels: false },
            Fact::ReplacementWanted { verb: Verb::Cancel },
            Fact::ReplacementWanted { verb: Verb::SpeedUp { raise_percent: None } },
            Fact::ReplacementBegun,
            Fact::Revived { transaction: transaction() },
            Fact::ReplacementHindered {
                sub_status: SubStatus::FeeCapReached,
                reason: reason(),
                lasting: true,
            },
            Fact::ReplacementHindered {
                sub_status: SubStatus::SignersOffline,
                reason: reason(),
                lasting: false,
            },
            Fact::Stuck,
            Fact::Recalled { recall: SignedRecall { payment: 0, signature: RecallSignature::Key([1; 64]) } },
            Fact::Recalled { recall: SignedRecall { payment: 1, signature: RecallSignature::Key([1; 64]) } },
            Fact::RecalledAgain {
                recall: SignedRecall { payment: 0, signature: RecallSignature::Key([2; 64]) },
            },
            Fact::Expired { sub_status: SubStatus::IntentExpired },
            Fact::Failed { sub_status: SubStatus::InvalidTransaction, reason: reason() },
            Fact::Cancelled,
        ]
    }

    /// Whether a valid signature may exist somewhere.
    fn may_pay(state: &State) -> bool {
        match state {
            State::PendingSignature { signing_started, .. } => *signing_started,
            State::Signed { .. }
            | State::Broadcasting { .. }
            | State::Confirming { .. }
            | State::Dropped { .. } => true,
            _ => false,
        }
    }

    fn submitted() -> Transfer {
        use crate::{amount::Amount, asset::Asset, intent::*, network::*, wallet::*};
        let intent = Intent {
            external_id: "one".parse().unwrap(),
            wallet: WalletDescriptor::new(Network::Bitcoin(BitcoinNetwork::Regtest), WalletKind::P2tr, 0)
                .unwrap(),
            asset: Asset::Btc,
            source: None,
            payments: vec![],
            max_fee: Amount::from_u64(9),
            expires_at: Timestamp(1),
            fills: None,
            terms: None,
        };
        let order = SignedIntent::by_key(intent, InitiatorKey([1; 32]), [2; 64]);
        let id = |n| uuid::Uuid::from_u128(n);
        Transfer::submitted(
            crate::ids::TransferId::new(id(1)),
            crate::ids::WalletId::new(id(2)),
            order,
            Timestamp(0),
        )
    }

    proptest! {
        /// Whatever happens in whatever order: what may pay is left only by what the chain shows, or by certainty that
        /// no session began; what has ended is reopened only where a block had ended it; and wishes and flags end with what they
        /// are about.
        #[test]
        fn what_may_pay_ends_only_by_the_chain(choices in prop::collection::vec(0..facts().len(), 0..80)) {
            let mut transfer = submitted();
            for choice in choices {
                let fact = facts()[choice].clone();
                let Ok(Transition { transfer: after, .. }) = transfer.clone().apply(fact.clone(), Timestamp(7)) else {
                    continue;
                };
                let state = &transfer.state;
                if may_pay(state) && !may_pay(&after.state) {
                    prop_assert!(matches!(
                        fact,
                        Fact::Finalized { .. } | Fact::FailedOnChain { .. } | Fact::CancelledOnChain { .. }
                            | Fact::ProvenDead { .. } | Fact::SigningNotStarted { .. }
                    ), "{state:?} left by {fact:?}");
                }
                if state.status().is_terminal() {
                    let reopened = state.ended_in().is_some() && fact == Fact::ReorgedOut;
                    let in_a_block = state.ended_in().is_none()
                        && matches!(fact, Fact::Included { .. } | Fact::Revived { .. });
                    let flagged = fact == Fact::AlertRaised && after.state == *state;
                    prop_assert!(reopened || in_a_block || flagged, "{state:?} left by {fact:?}");
                }
                prop_assert!(!after.flags.frozen || (is_unsigned(&after.state) && after.flags.alerted), "{after:?}");
                if !after.state.is_replaceable() {
                    prop_assert!(!after.flags.stuck && !after.flags.under_replacement, "{after:?}");
                }
                if after.status().is_terminal() {
                    prop_assert_eq!(&after.replacing, &Replacing::default());
                }
                let places = |transfer: &Transfer| -> Vec<u32> {
                    transfer.recalls.iter().map(|recall| recall.payment).collect()
                };
                if matches!(fact, Fact::RecalledAgain { .. }) {
                    prop_assert_eq!((places(&after), &after.state), (places(&transfer), state));
                } else if after.recalls != transfer.recalls {
                    prop_assert!(!may_pay(state), "recalled in {state:?}");
                    prop_assert!(places(&after).starts_with(&places(&transfer)), "{after:?}");
                }
                transfer = after;
            }
        }
    }

    #[test]
    fn a_wish_to_cancel_outlives_a_speed_up_and_a_block() {
        let drive = |transfer: Transfer, facts: &[Fact]| {
            facts.iter().fold(transfer, |t, fact| t.apply(fact.clone(), Timestamp(3)).unwrap().transfer)
        };
        let cancel = Fact::ReplacementWanted { verb: Verb::Cancel };
        let faster = Fact::ReplacementWanted { verb: Verb::SpeedUp { raise_percent: Some(30) } };
        let transfer = drive(until_a_session_began(submitted()), &[Fact::Signed]);
        let transfer = drive(transfer, &[faster.clone(), Fact::Stuck, Fact::ReplacementBegun, cancel]);
        assert!(transfer.clone().apply(faster, Timestamp(4)).is_err(), "it is being cancelled");
        let transfer = drive(transfer, &[Fact::Superseded { by: transaction(), cancels: false }]);
        assert_eq!((transfer.flags.stuck, transfer.flags.under_replacement), (false, false));
        let included = Fact::Included { transaction: transaction(), block: block() };
        let transfer = drive(transfer, &[included.clone(), Fact::ReorgedOut]);
        assert_eq!(transfer.replacing.wanted.as_ref().map(|w| w.verb), Some(Verb::Cancel));
        let transfer = drive(transfer, &[Fact::Superseded { by: transaction(), cancels: true }]);
        assert_eq!(transfer.replacing, Replacing::default());
        let transfer = drive(transfer, &[included, Fact::CancelledOnChain { block: block() }]);
        assert_eq!(transfer.status(), Status::Replaced);
        assert_eq!(drive(transfer, &[Fact::ReorgedOut]).status(), Status::Broadcasting);
    }

    fn until_a_session_began(transfer: Transfer) -> Transfer {
        let facts = [
            Fact::ScreeningStarted,
            Fact::ScreeningPassed { sub_status: None },
            Fact::Authorized { sub_status: None },
            Fact::Frozen { transaction: transaction() },
            Fact::SigningStarted,
        ];
        facts.into_iter().fold(transfer, |t, fact| t.apply(fact, Timestamp(3)).unwrap().transfer)
    }

    #[test]
    fn a_begun_session_is_given_up_of_fillers_only() {
        let given_up = Fact::FillerGivenUp { proof: "it pays nobody".into() };
        let payment = until_a_session_began(submitted());
        assert!(payment.apply(given_up.clone(), Timestamp(4)).is_err());
        let mut filler = submitted();
        filler.intent.intent.fills = Some(7);
        let filler = until_a_session_began(filler);
        let signed = filler.clone().apply(Fact::Signed, Timestamp(4)).unwrap().transfer;
        assert!(signed.apply(given_up.clone(), Timestamp(4)).is_err(), "it is signed");
        let ended = filler.apply(given_up, Timestamp(4)).unwrap().transfer;
        assert_eq!((ended.status(), ended.sub_status), (Status::Expired, Some(SubStatus::IntentExpired)));
    }

    #[test]
    fn a_wish_to_cancel_outlives_a_fee_cap_and_an_obstacle_knows_its_age() {
        let hindered =
            |sub_status| Fact::ReplacementHindered { sub_status, reason: "no".into(), lasting: true };
        let wanted = |verb| {
            let asked =
                until_a_session_began(submitted()).apply(Fact::ReplacementWanted { verb }, Timestamp(4));
            asked.unwrap().transfer
        };
        for (verb, sub_status, stays) in [
            (Verb::Cancel, SubStatus::FeeCapReached, true),
            (Verb::Cancel, SubStatus::SignerRejected, false),
            (Verb::SpeedUp { raise_percent: None }, SubStatus::FeeCapReached, false),
        ] {
            let transfer = wanted(verb).apply(hindered(sub_status), Timestamp(5)).unwrap().transfer;
            assert_eq!(transfer.replacing.wanted.is_some(), stays, "{verb:?} {sub_status:?}");
            let since = |transfer: &Transfer| transfer.replacing.obstacle.clone().unwrap().since;
            assert_eq!(since(&transfer), Some(Timestamp(5)));
            let again = transfer.apply(hindered(sub_status), Timestamp(9)).unwrap().transfer;
            assert_eq!(since(&again), Some(Timestamp(5)), "the same is in the way still");
            let other = again.apply(hindered(SubStatus::TooManyReplacements), Timestamp(11)).unwrap();
            assert_eq!(since(&other.transfer), Some(Timestamp(11)));
        }
    }

    #[test]
    fn what_may_have_been_paid_unseen_is_ended_by_a_person_only() {
        let facts = [
            Fact::ScreeningStarted,
            Fact::ScreeningPassed { sub_status: None },
            Fact::Authorized { sub_status: None },
            Fact::Frozen { transaction: transaction() },
            Fact::SigningStarted,
            Fact::SigningNotStarted { sub_status: SubStatus::Unexplained, reason: "signed before".into() },
        ];
        let waiting =
            facts.into_iter().fold(submitted(), |t, fact| t.apply(fact, Timestamp(3)).unwrap().transfer);
        assert!(waiting.may_have_been_paid_unseen());
        for fact in [
            Fact::Thawed { reason: "old".into() },
            Fact::Expired { sub_status: SubStatus::IntentExpired },
            Fact::Rejected { sub_status: None, reason: "no".into() },
        ] {
            assert!(waiting.clone().apply(fact.clone(), Timestamp(4)).is_err(), "{fact:?}");
        }
        assert!(waiting.apply(Fact::Cancelled, Timestamp(4)).is_ok());
    }

    #[test]
    fn an_alert_freezes_what_is_not_signed_and_flags_what_is() {
        let alert =
            |transfer: Transfer| transfer.apply(Fact::AlertRaised, Timestamp(4)).map(|next| next.transfer);
        let begun = alert(until_a_session_began(submitted())).unwrap();
        assert_eq!((begun.flags.frozen, begun.flags.alerted), (true, true));
        assert_eq!(begun.sub_status, Some(SubStatus::Signing), "nothing else has changed");
        let settled = begun.clone().apply(Fact::AlertSettled, Timestamp(5)).unwrap().transfer;
        assert_eq!((settled.flags.frozen, settled.flags.alerted), (false, true));
        // A signature that was under way is valid whatever we do.
        let signed = begun.apply(Fact::Signed, Timestamp(5)).unwrap().transfer;
        assert_eq!((signed.flags.frozen, signed.flags.alerted), (false, true));
        assert!(alert(signed).is_ok_and(|again| !again.flags.frozen));
        let ended = submitted().apply(Fact::Cancelled, Timestamp(5)).unwrap().transfer;
        assert!(alert(ended).is_err(), "it pays nobody");
    }

    #[test]
    fn a_recall_is_renewed_wherever_co_signers_may_be_asked_again() {
        let recall = |payment, byte| SignedRecall { payment, signature: RecallSignature::Key([byte; 64]) };
        let apply = |transfer: Transfer, fact: Fact| transfer.apply(fact, Timestamp(4));
        let again = |byte| Fact::RecalledAgain { recall: recall(1, byte) };
        assert!(apply(submitted(), again(2)).is_err(), "there is nothing to renew");
        let first = apply(submitted(), Fact::Recalled { recall: recall(1, 1) }).unwrap().transfer;
        assert!(
            apply(first.clone(), Fact::Recalled { recall: recall(1, 2) }).is_err(),
            "it is taken out already"
        );

        let lapsed = Fact::Waiting { sub_status: SubStatus::RecallLapsed, reason: "no key".into() };
        let waits = apply(first.clone(), lapsed).unwrap().transfer;
        let renewed = apply(waits, again(2)).unwrap();
        assert_eq!(renewed.recalled, Some(recall(1, 2)), "for whoever verifies the log");
        assert_eq!(renewed.transfer.recalls, [recall(1, 2)]);
        assert_eq!((renewed.transfer.sub_status, renewed.transfer.reason), (None, None));

        // What may pay keeps its transaction.
        let begun = until_a_session_began(first.clone());
        let signed = apply(begun.clone(), Fact::Signed).unwrap().transfer;
        for transfer in [begun, signed] {
            let renewed = apply(transfer.clone(), again(3)).unwrap().transfer;
            assert_eq!((&renewed.state, renewed.sub_status), (&transfer.state, transfer.sub_status));
            assert_eq!(renewed.recalls, [recall(1, 3)]);
        }
        let ended = apply(first, Fact::Cancelled).unwrap().transfer;
        assert!(apply(ended, again(2)).is_err());
    }

    #[test]
    fn every_waiting_state_has_a_next_step_or_a_person() {
        for status in Status::all() {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert_eq!(State::PendingReview.next_step(), Some(super::super::Step::Review));
        assert_eq!(State::Queued.next_step(), Some(super::super::Step::Prepare));
    }
}
