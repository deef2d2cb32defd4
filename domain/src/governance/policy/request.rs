//! What is asked: an intent, who signed it, and what the governance log says about its destinations.

use super::super::{
    address_book::{AddressBook, Listed},
    directory::{AddressEntryId, CounterpartyId, User, UserId},
    role::Role,
};
use crate::{
    amount::Amount,
    asset::Asset,
    intent::{Destination, Intent, InvalidIntent},
    time::Timestamp,
    wallet::WalletDescriptor,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Operation {
    /// One payment.
    Transfer,
    /// Several payments in one transaction.
    Batch,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transfer => "TRANSFER",
            Self::Batch => "BATCH",
        })
    }
}

/// Everything about a transfer that each co-signer knows for certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub operation: Operation,
    pub wallet: WalletDescriptor,
    pub asset: Asset,
    pub initiator: UserId,
    pub initiator_roles: BTreeSet<Role>,
    /// At least one.
    pub payouts: Vec<Payout>,
    pub total: Amount,
    /// In the chain's own smallest unit.
    pub max_fee: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    pub destination: Destination,
    pub amount: Amount,
    /// Its entry in the address book, if there is one in force.
    pub listing: Option<Listing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub entry: AddressEntryId,
    pub counterparty: Option<CounterpartyId>,
    /// When the entry came into force, by the evaluator's own clock.
    pub since: Timestamp,
}

impl From<&Listed> for Listing {
    fn from(listed: &Listed) -> Self {
        let Listed { entry, since, .. } = listed;
        Self { entry: entry.id.clone(), counterparty: entry.counterparty.clone(), since: *since }
    }
}

impl Request {
    /// Reads an intent of `initiator`, who signed it: that is for the caller to check.
    ///
    /// # Errors
    /// An intent that is not valid.
    pub fn new(intent: &Intent, initiator: &User, book: &AddressBook) -> Result<Self, InvalidIntent> {
        intent.validate()?;
        if intent.payments.is_empty() {
            return Err(InvalidIntent::NoPayments);
        }
        let total = intent.total().ok_or(InvalidIntent::Overflow)?;
        let payouts = intent.payments.iter().map(|payment| Payout {
            destination: payment.destination.clone(),
            amount: payment.amount,
            listing: book.find(intent.network(), &payment.destination).map(Listing::from),
        });
        Ok(Self {
            operation: if intent.payments.len() > 1 { Operation::Batch } else { Operation::Transfer },
            wallet: intent.wallet,
            asset: intent.asset,
            initiator: initiator.id.clone(),
            initiator_roles: initiator.roles.clone(),
            payouts: payouts.collect(),
            total,
            max_fee: intent.max_fee,
        })
    }
}
