//! The one state machine of a transfer.
//!
//! A [`Fact`] is something that has happened. [`Transfer::apply`] consumes the transfer and gives its next version, or says
//! that the fact does not fit. Nothing else changes a status. What the store writes is the result of `apply`, compare-and-set
//! on `(id, version)`, so two workers that saw the same version cannot both move it.
//!
//! Two rules guard the money:
//!
//! * Once a signing session has started, a signature may exist: from then on the transfer cannot be cancelled, rejected or
//!   rebuilt with other resources; it ends only by what the chain shows ([`Fact::Included`], [`Fact::ProvenDead`]).
//! * From [`State::Signed`] on a transaction is irrevocable. Another may be made in its place only if both need a resource in
//!   common ([`exclusivity`]); all of them are kept, and any of them may be the one that a block holds.

pub mod exclusivity;
mod replacing;
mod state;
mod transition;

pub use replacing::{Obstacle, Replacing, Verb, Wanted};
pub use state::{Flags, FundsMoved, OnChain, State, Status, Step, SubStatus};
pub use transition::{Fact, InvalidTransition, Transition};

use crate::{
    ids::{TransferId, WalletId},
    intent::{Intent, SignedIntent},
    recall::{self, InvalidRecall, SignedRecall},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The intent to pay, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transfer {
    pub id: TransferId,
    pub wallet: WalletId,
    pub intent: SignedIntent,
    /// Payouts that the initiator has taken back.
    #[serde(default)]
    pub recalls: Vec<SignedRecall>,
    pub state: State,
    /// Why it is where it is, when that needs saying.
    pub sub_status: Option<SubStatus>,
    /// The same in words, for people.
    pub reason: Option<String>,
    pub flags: Flags,
    #[serde(default)]
    pub replacing: Replacing,
    /// Counts transitions, from 1.
    pub version: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Transfer {
    /// A transfer as it is accepted.
    pub fn submitted(id: TransferId, wallet: WalletId, intent: SignedIntent, now: Timestamp) -> Self {
        Self {
            id,
            wallet,
            intent,
            recalls: Vec::new(),
            state: State::Submitted,
            sub_status: None,
            reason: None,
            flags: Flags::default(),
            replacing: Replacing::default(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// What is to be paid: the order without what was recalled. Anything that is built for the transfer is built from this.
    pub fn remaining(&self) -> Result<Intent, InvalidRecall> {
        recall::remaining(&self.intent, &self.recalls, None)
    }
}
