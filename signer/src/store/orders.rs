//! Orders that this party was shown before there was a package for them, so that the policy's delays begin. Bounded: whoever has an
//! initiator's key can sign any number of them.

use super::{INTENTS, Store, StoreError, commit, past::SEEN};
use bursar_domain::{governance::directory::UserId, intent::IntentDigest, time::Timestamp};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

/// By when they expire, and order: whose they are.
const SHOWN: TableDefinition<'static, (i64, [u8; 32]), &str> = TableDefinition::new("orders_shown");

/// Orders that have not expired, of one initiator and of all.
const MAX_OF_ONE: usize = 1_000;
const MAX: usize = 5_000;

/// An order that somebody who may initiate has signed.
#[derive(Debug, Clone)]
pub struct ShownOrder {
    pub intent: IntentDigest,
    pub initiator: UserId,
    pub expires_at: Timestamp,
}

pub(super) fn create(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(SHOWN)?;
    Ok(())
}

impl Store {
    /// Remembers when these were first seen, and gives those that are remembered, each with when. One write for all that are new, and
    /// none if none is; on disk when it returns. What has expired makes room.
    pub fn shown(
        &self,
        orders: &[ShownOrder],
        now: Timestamp,
    ) -> Result<Vec<(IntentDigest, Timestamp)>, StoreError> {
        let mut out = Vec::with_capacity(orders.len());
        let mut new = Vec::new();
        {
            let seen = self.0.begin_read()?.open_table(SEEN)?;
            for order in orders {
                match seen.get(order.intent.0)? {
                    Some(known) => out.push((order.intent, Timestamp(known.value()))),
                    None => new.push(order),
                }
            }
        }
        if new.is_empty() {
            return Ok(out);
        }
        let write = self.0.begin_write()?;
        {
            let (mut shown, mut seen) = (write.open_table(SHOWN)?, write.open_table(SEEN)?);
            let intents = write.open_table(INTENTS)?;
            // An order that has expired is not authorized again, so it does not matter any more when it was seen.
            for old in shown.extract_from_if((i64::MIN, [0; 32])..(now.0, [0; 32]), |_, _| true)? {
                let (_, order) = old?.0.value();
                if intents.get(order)?.is_none() {
                    seen.remove(order)?;
                }
            }
            let mut all: Vec<String> = Vec::new();
            for row in shown.iter()? {
                all.push(row?.1.value().to_owned());
            }
            for order in new {
                let whose = order.initiator.to_string();
                let own = all.iter().filter(|other| **other == whose).count();
                if all.len() >= MAX || own >= MAX_OF_ONE || seen.get(order.intent.0)?.is_some() {
                    continue;
                }
                seen.insert(order.intent.0, now.0)?;
                shown.insert((order.expires_at.0, order.intent.0), whose.as_str())?;
                out.push((order.intent, now));
                all.push(whose);
            }
        }
        commit(write, "orders seen")?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{slice, time::Duration};

    fn order(number: u16, whose: u8, expires_at: Timestamp) -> ShownOrder {
        let mut digest = [whose; 32];
        digest[..2].copy_from_slice(&number.to_be_bytes());
        ShownOrder {
            intent: IntentDigest(digest),
            initiator: format!("user-{whose}").parse().unwrap(),
            expires_at,
        }
    }

    #[test]
    fn orders_are_remembered_with_their_first_time_up_to_a_bound_and_until_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("state.redb")).unwrap();
        let now = Timestamp::from_secs(1_000);
        let later = now.plus(Duration::from_secs(60));
        let first = order(0, 1, later);
        assert_eq!(store.shown(slice::from_ref(&first), now).unwrap(), [(first.intent, now)]);
        let after = now.plus(Duration::from_secs(1));
        assert_eq!(
            store.shown(slice::from_ref(&first), after).unwrap(),
            [(first.intent, now)],
            "as it was first seen"
        );
        let flood: Vec<ShownOrder> = (0..2_000).map(|number| order(number, 1, later)).collect();
        assert_eq!(store.shown(&flood, after).unwrap().len(), MAX_OF_ONE);
        assert_eq!(store.shown(&flood, after).unwrap().len(), MAX_OF_ONE, "again is no more");
        let other = order(0, 2, later);
        assert_eq!(
            store.shown(slice::from_ref(&other), after).unwrap(),
            [(other.intent, after)],
            "others have room"
        );
        let next = later.plus(Duration::from_secs(1));
        let fresh = order(3_000, 1, next.plus(Duration::from_secs(60)));
        assert_eq!(
            store.shown(slice::from_ref(&fresh), next).unwrap(),
            [(fresh.intent, next)],
            "what expired makes room"
        );
        assert_eq!(store.shown(&[order(0, 1, next.plus(Duration::from_secs(60)))], next).unwrap()[0].1, next);
    }
}
