//! Where payments may go: destinations that two people looked at.

use super::directory::{AddressEntryId, CounterpartyId, is_label};
use crate::{intent::Destination, network::Network, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressEntry {
    pub id: AddressEntryId,
    pub network: Network,
    /// In the chain's canonical form, which the chain's adapter checks before anybody signs; anything else matches no payment.
    pub destination: Destination,
    /// For people to read: 1 to 100 characters.
    pub label: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterparty: Option<CounterpartyId>,
}

/// An entry that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub entry: AddressEntry,
    /// The log's entry that listed it.
    pub seq: u64,
    /// When it came into force, by the clock of whoever holds this state.
    pub since: Timestamp,
}

impl Listed {
    /// How long it has been listed.
    pub const fn age(&self, now: Timestamp) -> Duration {
        now.since(self.since)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    #[error("address {0}: label: must be 1 to 100 characters without control characters")]
    Label(AddressEntryId),
    #[error("address {0}: destination.address: must be 1 to 100 visible ASCII characters")]
    Address(AddressEntryId),
    #[error("address {0}: destination.tag: only XRP destinations have a tag")]
    Tag(AddressEntryId),
    #[error("address {id}: the same destination is listed as {other}; remove that first")]
    Twice { id: AddressEntryId, other: AddressEntryId },
    #[error("address {0}: is not listed")]
    Unknown(AddressEntryId),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressBook {
    listed: BTreeMap<AddressEntryId, Listed>,
    by_destination: BTreeMap<(Network, Destination), AddressEntryId>,
}

impl AddressBook {
    pub fn get(&self, id: &AddressEntryId) -> Option<&Listed> {
        self.listed.get(id)
    }
    /// The entry of exactly this destination, tag included.
    pub fn find(&self, network: Network, destination: &Destination) -> Option<&Listed> {
        self.listed.get(self.by_destination.get(&(network, destination.clone()))?)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.listed.values()
    }

    pub(super) fn put(&mut self, listed: Listed) -> Result<(), InvalidAddress> {
        let entry = &listed.entry;
        let id = entry.id.clone();
        if !is_label(&entry.label, 100) {
            return Err(InvalidAddress::Label(id));
        }
        let address = entry.destination.address.as_bytes();
        if !(1..=100).contains(&address.len()) || !address.iter().all(u8::is_ascii_graphic) {
            return Err(InvalidAddress::Address(id));
        }
        if entry.destination.tag.is_some() && !matches!(entry.network, Network::Xrp(_)) {
            return Err(InvalidAddress::Tag(id));
        }
        let place = (entry.network, entry.destination.clone());
        if let Some(other) = self.by_destination.get(&place).filter(|other| **other != id) {
            return Err(InvalidAddress::Twice { id, other: other.clone() });
        }
        if let Some(before) = self.listed.get(&id) {
            self.by_destination.remove(&(before.entry.network, before.entry.destination.clone()));
        }
        self.by_destination.insert(place, id.clone());
        self.listed.insert(id, listed);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &AddressEntryId) -> Result<(), InvalidAddress> {
        let listed = self.listed.remove(id).ok_or_else(|| InvalidAddress::Unknown(id.clone()))?;
        self.by_destination.remove(&(listed.entry.network, listed.entry.destination));
        Ok(())
    }
}
