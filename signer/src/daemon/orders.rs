//! Orders that are shown before there is a package for them: a delay of the policy begins when this party first sees an order.
//!
//! Nothing is signed for them, so all that they can do is to take up room and time; both are limited.

use super::Cosigner;
use crate::{allowance::Allowance, governance::Log, store::ShownOrder, verify::Refusal};
use bursar_domain::{governance::directory::UserId, intent::SignedIntent, time::Timestamp};
use bursar_signer_client::message::SeenOrder;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Signatures that are checked, whoever is said to have made them.
const LOOKS: Allowance = Allowance::of(2_048, Duration::from_millis(10));
/// Orders of one initiator.
const OF_ONE: Allowance = Allowance::of(512, Duration::from_millis(200));

/// How many more are looked at.
#[derive(Debug)]
pub struct Orders(Mutex<Left>);

#[derive(Debug)]
struct Left {
    looks: Allowance,
    /// Of users who may initiate, of whom there are few.
    of: BTreeMap<UserId, Allowance>,
}

impl Default for Orders {
    fn default() -> Self {
        Self(Mutex::new(Left { looks: LOOKS, of: BTreeMap::new() }))
    }
}

impl Orders {
    fn may_look(&self, now: Timestamp) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).looks.take(now)
    }

    fn takes(&self, user: &UserId, now: Timestamp) -> bool {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        left.of.entry(user.clone()).or_insert(OF_ONE).take(now)
    }
}

impl Cosigner {
    /// Remembers when these orders were first seen, and tells of those that it remembers. Only where the policy has a delay or
    /// a deadline, and only orders of this desk that somebody who may initiate has signed.
    pub fn see(&self, orders: &[SignedIntent]) -> Vec<SeenOrder> {
        let now = self.clock.now();
        let Ok(Some(log)) = self.log() else { return Vec::new() };
        if !log.state().times_orders() {
            return Vec::new();
        }
        let meant: Vec<ShownOrder> =
            orders.iter().filter_map(|order| self.meant(&log, order, now).ok().flatten()).collect();
        if meant.len() < orders.len() {
            let left = orders.len() - meant.len();
            tracing::warn!(left, "orders that were shown here were not taken note of");
        }
        if meant.is_empty() {
            return Vec::new();
        }
        match self.store.shown(&meant, now) {
            Ok(seen) => seen.into_iter().map(|(intent, since)| SeenOrder { intent, since }).collect(),
            Err(error) => {
                tracing::error!(%error, "orders that were shown here could not be written down");
                Vec::new()
            }
        }
    }

    /// What is cheap is looked at first.
    pub(super) fn meant(
        &self,
        log: &Log,
        order: &SignedIntent,
        now: Timestamp,
    ) -> Result<Option<ShownOrder>, Refusal> {
        let intent = &order.intent;
        let here = self.rules.networks.contains(&intent.network())
            && self.shares.contains_key(&intent.wallet.kind.scheme())
            && intent.expires_at > now
            && intent.expires_at <= now.plus(self.rules.max_expiry)
            && intent.validate().is_ok();
        let user = log.initiator(order)?;
        if !here || !self.orders.may_look(now) || log.verify(order).is_err() {
            return Ok(None);
        }
        let shown =
            ShownOrder { intent: intent.digest(), initiator: user.id.clone(), expires_at: intent.expires_at };
        Ok(self.orders.takes(&user.id, now).then_some(shown))
    }
}
