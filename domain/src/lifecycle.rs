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
//! * From [`State::Signed`] on the transaction is irrevocable.

mod state;
mod transition;

pub use state::{Flags, FundsMoved, State, Status, Step, SubStatus};
pub use transition::{Fact, InvalidTransition, Transition};

use crate::{
    ids::{TransferId, WalletId},
    intent::SignedIntent,
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
    pub state: State,
    /// Why it is where it is, when that needs saying.
    pub sub_status: Option<SubStatus>,
    /// The same in words, for people.
    pub reason: Option<String>,
    pub flags: Flags,
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
            state: State::Submitted,
            sub_status: None,
            reason: None,
            flags: Flags::default(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    pub fn status(&self) -> Status {
        self.state.status()
    }
}
