//! What may follow what.

use super::{FundsMoved, State, Status, SubStatus, Transfer};
use crate::{chain::BlockRef, ids::TransactionId, time::Timestamp};

/// Something that has happened to a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    ScreeningStarted,
    /// `sub_status` is [`SubStatus::NotScreened`] where no provider is configured.
    ScreeningPassed {
        sub_status: Option<SubStatus>,
    },
    HeldForReview {
        reason: String,
    },
    ReviewPassed,
    /// `sub_status` is [`SubStatus::NotAuthorized`] where no policy is configured.
    Authorized {
        sub_status: Option<SubStatus>,
    },
    Blocked {
        reason: String,
    },
    /// Screening, review, authorization, or co-signers before any session said no.
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
    Included {
        block: BlockRef,
    },
    /// In a final block, with effect.
    Finalized {
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
    /// It can never take effect, and this is why (XRP: past LastLedgerSequence with the Sequence unused).
    ProvenDead {
        proof: String,
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

/// The next version of a transfer, and what it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    pub transfer: Transfer,
    pub from: Status,
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
        match next(&self.state, &fact) {
            None => Err(InvalidTransition { from, fact: Box::new(fact) }),
            Some((state, sub_status, reason)) => Ok(Transition {
                transfer: Self {
                    state,
                    sub_status,
                    reason,
                    version: self.version + 1,
                    updated_at: now,
                    ..self
                },
                from,
            }),
        }
    }

    /// Whether `fact` would change nothing but the time: a repeated wait for the same reason. Callers skip those, so that
    /// waiting does not fill the event log.
    pub fn already_says(&self, fact: &Fact) -> bool {
        match next(&self.state, fact) {
            Some((state, sub_status, reason)) => {
                state == self.state && sub_status == self.sub_status && reason == self.reason
            }
            None => false,
        }
    }
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
        (S::PendingScreening, Fact::HeldForReview { reason }) => {
            Some((S::PendingReview, None, Some(reason.clone())))
        }
        (S::PendingReview, Fact::ReviewPassed) => plain(S::PendingAuthorization),
        (S::PendingAuthorization, Fact::Authorized { sub_status }) => Some((S::Queued, *sub_status, None)),
        (S::PendingAuthorization, Fact::Blocked { reason }) => Some((S::Blocked, None, Some(reason.clone()))),
        (
            S::Submitted
            | S::PendingScreening
            | S::PendingReview
            | S::PendingAuthorization
            | S::PendingSignature { signing_started: false, .. },
            Fact::Rejected { sub_status, reason },
        ) => Some((S::Rejected, *sub_status, Some(reason.clone()))),

        (S::Queued, Fact::Frozen { transaction }) => {
            plain(S::PendingSignature { transaction: *transaction, signing_started: false })
        }
        (S::PendingSignature { signing_started: false, .. }, Fact::Thawed { reason }) => {
            Some((S::Queued, None, Some(reason.clone())))
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
            S::PendingSignature { transaction, signing_started: true }
            | S::Signed { transaction }
            | S::Broadcasting { transaction, .. }
            | S::Dropped { transaction }
            | S::Confirming { transaction, .. },
            Fact::Included { block },
        ) => plain(S::Confirming { transaction: *transaction, block: block.clone() }),
        (S::Confirming { transaction, .. }, Fact::Finalized { block }) => {
            plain(S::Completed { transaction: *transaction, block: block.clone() })
        }
        (S::Confirming { .. }, Fact::FailedOnChain { funds_moved, reason }) => {
            because(S::Failed { funds_moved: *funds_moved }, SubStatus::FailedOnChain, reason)
        }
        (S::Confirming { transaction, .. } | S::Completed { transaction, .. }, Fact::ReorgedOut) => Some((
            S::Broadcasting { transaction: *transaction, maybe_sent: false },
            Some(SubStatus::Reorged),
            None,
        )),
        (
            S::PendingSignature { signing_started: true, .. }
            | S::Signed { .. }
            | S::Broadcasting { .. }
            | S::Dropped { .. },
            Fact::ProvenDead { proof },
        ) => because(S::Expired, SubStatus::LedgerExpired, proof),

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
        ) => because(S::Failed { funds_moved: FundsMoved::None }, *sub_status, reason),
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
            Fact::HeldForReview { reason: reason() },
            Fact::ReviewPassed,
            Fact::Authorized { sub_status: None },
            Fact::Blocked { reason: reason() },
            Fact::Rejected { sub_status: None, reason: reason() },
            Fact::Waiting { sub_status: SubStatus::InsufficientFunds, reason: reason() },
            Fact::Frozen { transaction: transaction() },
            Fact::SigningStarted,
            Fact::SigningNotStarted { sub_status: SubStatus::SignersOffline, reason: reason() },
            Fact::Thawed { reason: reason() },
            Fact::Signed,
            Fact::MaybeSent { reason: None },
            Fact::Sent,
            Fact::RelayRefused { reason: reason() },
            Fact::Included { block: block() },
            Fact::Finalized { block: block() },
            Fact::FailedOnChain { funds_moved: FundsMoved::Unknown, reason: reason() },
            Fact::ReorgedOut,
            Fact::Dropped,
            Fact::ProvenDead { proof: reason() },
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

    proptest! {
        /// Whatever happens in whatever order: what may pay is left only by what the chain shows, or by certainty that
        /// no session began.
        #[test]
        fn what_may_pay_ends_only_by_the_chain(choices in prop::collection::vec(0usize..25, 0..60)) {
            let mut state = State::Submitted;
            for choice in choices {
                let fact = &facts()[choice];
                let Some((after, _, _)) = next(&state, fact) else { continue };
                if may_pay(&state) && !may_pay(&after) {
                    prop_assert!(matches!(
                        fact,
                        Fact::Finalized { .. } | Fact::FailedOnChain { .. } | Fact::ProvenDead { .. } | Fact::SigningNotStarted { .. }
                    ), "{state:?} left by {fact:?}");
                }
                if state.status().is_terminal() {
                    prop_assert!(matches!((&state, fact), (State::Completed { .. }, Fact::ReorgedOut)), "{state:?} left by {fact:?}");
                }
                state = after;
            }
        }
    }

    #[test]
    fn every_waiting_state_has_a_next_step_or_a_person() {
        for status in Status::all() {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert_eq!(State::PendingReview.next_step(), None);
        assert_eq!(State::Queued.next_step(), Some(super::super::Step::Prepare));
    }
}
