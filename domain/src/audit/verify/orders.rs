//! What the file shows of the desk where an order stands: whether it was governed by then, and by which policies.

use super::Fault;
use crate::{
    governance::{log::Head, state::State},
    intent::Terms,
};

/// Grows with the governance log only.
pub(super) struct Orders {
    /// Something before this place shows that the desk was governed. The log's own times do not: it may have been made elsewhere while bare
    /// keys still ordered here, and been loaded later.
    governed: bool,
    /// The policies that ever were in force, each with the entry of the log since which it was.
    policies: Vec<(Head, u64)>,
    /// The last entry of the log that was told of.
    told: u64,
    /// The latest entry of the log that an order so far relies on, and which order.
    relied: Option<(u64, u64)>,
}

impl Orders {
    pub(super) const fn new() -> Self {
        Self { governed: false, policies: Vec::new(), told: 0, relied: None }
    }

    /// The log went on to this.
    pub(super) fn logged(&mut self, state: &State) {
        let seq = state.head().seq;
        if let Some(published) = state.policy()
            && self.policies.last().is_none_or(|(version, _)| *version != published.version)
        {
            self.policies.push((published.version, seq));
        }
    }

    /// From here on. It never ends.
    pub(super) const fn governed(&mut self) {
        self.governed = true;
    }

    /// Whether a bare key could order something at this place.
    ///
    /// # Errors
    /// [`Fault::BareOrder`].
    pub(super) const fn bare(&self) -> Result<(), Fault> {
        if self.governed { Err(Fault::BareOrder) } else { Ok(()) }
    }

    /// The entry of the log since which the policy was in force that these terms name, in force still or not. (The API takes only what names
    /// the one in force, co-signers also what names an older one; neither takes what names a later one.)
    ///
    /// # Errors
    /// [`Fault::NoPolicy`].
    pub(super) fn since(&self, terms: &Terms) -> Result<u64, Fault> {
        let named = self.policies.iter().find(|(version, _)| *version == terms.policy);
        named.map(|(_, since)| *since).ok_or(Fault::NoPolicy(terms.policy.seq))
    }

    /// The order at this place was taken, so the log had this entry.
    pub(super) fn relies(&mut self, since: u64, order: u64) {
        if self.relied.is_none_or(|(latest, _)| since > latest) {
            self.relied = Some((since, order));
        }
    }

    /// This entry of the log was appended here, so nothing before this place relies on it. (Not every entry is told of: who loads a log
    /// from a file appends them all at once.)
    ///
    /// # Errors
    /// [`Fault::PolicyAhead`].
    pub(super) fn told(&mut self, seq: u64) -> Result<(), Fault> {
        // What is told again was there before.
        if seq <= self.told {
            return Ok(());
        }
        self.told = seq;
        match self.relied {
            Some((since, order)) if since >= seq => Err(Fault::PolicyAhead { seq, order }),
            _ => Ok(()),
        }
    }
}
