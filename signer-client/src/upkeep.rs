//! Keeps linked co-signers up with the governance log, and with the orders that wait for a delay to pass.
//!
//! A co-signer counts delays by its own clock, from when it first saw an entry or an order. So it must see both as soon as they are
//! there: when they come, and when it links. What it says of its own log is compared with ours, for people: it proves nothing.

use crate::{
    governance::{GovernanceEntries, in_messages, parts},
    hub::Hub,
    message::{FromRelay, LogHead, MAX_ORDERS, Mode, SeenOrder},
};
use bursar_domain::{
    governance::log::Entry,
    intent::{IntentDigest, SignedIntent},
    signing::PartyIndex,
    time::Timestamp,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A co-signer's log beside ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Standing {
    Level,
    /// It lacks entries, or does not take them yet.
    Behind,
    /// It says that it has entries after our last: ours is an old copy, or it is lying.
    Ahead,
    /// It says that it has another entry at a place of ours: two logs.
    Beside,
    /// It pins another first entry.
    OtherGenesis,
}

impl Standing {
    /// Whether what we append next is nothing that this co-signer would take.
    pub const fn objects(self) -> bool {
        matches!(self, Self::Ahead | Self::Beside | Self::OtherGenesis)
    }
}

/// An entry that a co-signer has in the place of one of ours.
#[derive(Debug, Clone)]
pub struct Contradiction {
    pub party: PartyIndex,
    pub entry: Entry,
}

/// What is known of a party's log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogRecord {
    /// What it says; absent if it keeps none.
    pub reported: Option<LogHead>,
    pub standing: Option<Standing>,
    /// Up to where it was sent ours on this link. What it did not take then is not sent again before there is more.
    brought_to: Option<u64>,
    /// Whether somebody looks, and whether there is reason to look once more.
    looking: Option<bool>,
}

impl LogRecord {
    pub const fn of(reported: Option<LogHead>) -> Self {
        Self { reported, standing: None, brought_to: None, looking: None }
    }
}

/// Compares a party's log with ours, and sends it what it lacks. One look at a time for each party.
pub(crate) fn level(hub: &Arc<Hub>, party: PartyIndex) {
    let Some(log) = hub.log.get().cloned() else { return };
    {
        let mut state = hub.state();
        let Some(record) = state.records.get_mut(&party) else { return };
        if record.log.reported.is_none() {
            return;
        }
        if let Some(again) = &mut record.log.looking {
            *again = true;
            return;
        }
        record.log.looking = Some(false);
    }
    let hub = hub.clone();
    tokio::spawn(async move {
        loop {
            if let Err(reason) = look(&hub, &*log, party).await {
                tracing::warn!(%party, reason, "entries of the governance log cannot be read");
            }
            let mut state = hub.state();
            let Some(record) = state.records.get_mut(&party) else { return };
            if record.log.looking.take() != Some(true) {
                return;
            }
            record.log.looking = Some(false);
        }
    });
}

async fn look(hub: &Hub, log: &dyn GovernanceEntries, party: PartyIndex) -> Result<(), String> {
    let Some(LogRecord { reported: Some(reported), brought_to, .. }) =
        hub.state().records.get(&party).map(|record| record.log)
    else {
        return Ok(());
    };
    let (standing, from) = compare(log, &reported).await?;
    if let Some(record) = hub.state().records.get_mut(&party) {
        if standing.objects() && record.log.standing != Some(standing) {
            let head = reported.head.map(|head| head.to_string());
            tracing::error!(%party, ?standing, ?head, genesis = %reported.genesis, "ALARM: a co-signer says that it has another governance log");
        }
        record.log.standing = Some(standing);
    }
    let Some(mut next) = from else { return Ok(()) };
    loop {
        let entries = log.entries(next).await?;
        let Some(last) = (entries.len() as u64).checked_sub(1).map(|more| next.saturating_add(more)) else {
            return Ok(());
        };
        next = last.saturating_add(1);
        // It was sent these on this link, and said nothing else since.
        if brought_to.is_some_and(|to| to >= last) {
            continue;
        }
        let mut state = hub.state();
        for entries in in_messages(entries) {
            state.send(Mode::Sign, party, FromRelay::Governance { entries });
        }
        if let Some(record) = state.records.get_mut(&party) {
            record.log.brought_to = Some(last);
        }
    }
}

/// And from where it is to be sent ours.
async fn compare(log: &dyn GovernanceEntries, reported: &LogHead) -> Result<(Standing, Option<u64>), String> {
    let first = log.entries(0).await?.into_iter().next();
    if first.is_some_and(|first| first.digest() != reported.genesis) {
        return Ok((Standing::OtherGenesis, None));
    }
    let Some(head) = reported.head else { return Ok((Standing::Behind, Some(0))) };
    let entries = log.entries(head.seq).await?;
    let mut entries = entries.into_iter();
    Ok(match entries.next() {
        None => (Standing::Ahead, None),
        // All of it: it can prove then where they part.
        Some(ours) if ours.digest() != head.digest => (Standing::Beside, Some(1)),
        Some(_) if entries.next().is_none() && log.entries(head.seq.saturating_add(1)).await?.is_empty() => {
            (Standing::Level, None)
        }
        Some(_) => (Standing::Behind, Some(head.seq.saturating_add(1))),
    })
}

/// Orders that are remembered for parties that link later.
const MAX_WAITING: usize = 10_000;

/// Orders that wait, and who has seen them.
#[derive(Default)]
pub(crate) struct Orders(BTreeMap<IntentDigest, Waiting>);

struct Waiting {
    order: SignedIntent,
    seen: BTreeMap<PartyIndex, Timestamp>,
    /// To whom it was sent over the link that they have now.
    sent: BTreeSet<PartyIndex>,
}

impl Orders {
    /// Keeps an order until it expires. False if it is known, or if there are too many.
    pub fn add(&mut self, order: SignedIntent, now: Timestamp) -> bool {
        let digest = order.intent.digest();
        if self.0.contains_key(&digest) || order.intent.expires_at <= now {
            return false;
        }
        if self.0.len() >= MAX_WAITING {
            self.0.retain(|_, waiting| waiting.order.intent.expires_at > now);
        }
        if self.0.len() >= MAX_WAITING {
            return false;
        }
        let waiting = Waiting { order, seen: BTreeMap::new(), sent: BTreeSet::new() };
        self.0.insert(digest, waiting);
        true
    }

    /// What a party is to be sent, in messages.
    pub fn due(&mut self, party: PartyIndex, now: Timestamp) -> Vec<FromRelay> {
        let lacks = |waiting: &&mut Waiting| {
            waiting.order.intent.expires_at > now
                && !waiting.seen.contains_key(&party)
                && !waiting.sent.contains(&party)
        };
        let mut due = Vec::new();
        for waiting in self.0.values_mut().filter(lacks) {
            waiting.sent.insert(party);
            due.push(waiting.order.clone());
        }
        parts(due, MAX_ORDERS).into_iter().map(|orders| FromRelay::Orders { orders }).collect()
    }

    /// It has a new link: what was on its way over the old one may be lost.
    pub fn linked(&mut self, party: PartyIndex) {
        for waiting in self.0.values_mut() {
            waiting.sent.remove(&party);
        }
    }

    pub fn seen(&mut self, party: PartyIndex, orders: &[SeenOrder]) {
        for SeenOrder { intent, since } in orders {
            if let Some(waiting) = self.0.get_mut(intent) {
                waiting.seen.insert(party, *since);
            }
        }
    }

    /// Who has seen it, and since when by their own clocks.
    pub fn seen_by(&self, intent: IntentDigest) -> BTreeMap<PartyIndex, Timestamp> {
        self.0.get(&intent).map(|waiting| waiting.seen.clone()).unwrap_or_default()
    }
}

/// Sends a party the orders that it lacks.
pub(crate) fn show(hub: &Hub, party: PartyIndex) {
    let now = hub.clock.now();
    let mut state = hub.state();
    for message in state.orders.due(party, now) {
        if !state.send(Mode::Sign, party, message) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{MAX_FRAME, encode};
    use bursar_domain::{
        amount::Amount,
        asset::Asset,
        governance::log::{EntryDigest, Head},
        intent::{Destination, InitiatorKey, Intent, MAX_BATCH, Payment},
    };
    use std::time::Duration;

    struct Ours(Vec<Entry>);

    #[async_trait::async_trait]
    impl GovernanceEntries for Ours {
        async fn entries(&self, from: u64) -> Result<Vec<Entry>, String> {
            Ok(self.0.iter().skip(usize::try_from(from).unwrap()).take(2).cloned().collect())
        }
    }

    fn entry(name: &str) -> Entry {
        Entry { document: name.into(), signatures: Vec::new() }
    }

    #[tokio::test]
    async fn a_log_is_level_behind_ahead_or_beside() {
        let ours = Ours(["genesis", "one", "two", "three"].map(entry).into());
        let genesis = entry("genesis").digest();
        let at = |seq, name: &str| Some(Head { seq, digest: entry(name).digest() });
        for (head, expected) in [
            (None, (Standing::Behind, Some(0))),
            (at(0, "genesis"), (Standing::Behind, Some(1))),
            (at(2, "two"), (Standing::Behind, Some(3))),
            (at(3, "three"), (Standing::Level, None)),
            (at(4, "four"), (Standing::Ahead, None)),
            (at(2, "other"), (Standing::Beside, Some(1))),
            (at(3, "other"), (Standing::Beside, Some(1))),
        ] {
            assert_eq!(compare(&ours, &LogHead { genesis, head }).await.unwrap(), expected, "{head:?}");
        }
        let other = LogHead { genesis: EntryDigest([7; 32]), head: None };
        assert_eq!(compare(&ours, &other).await.unwrap(), (Standing::OtherGenesis, None));
    }

    fn order(number: u64) -> SignedIntent {
        let destination = Destination { address: "r".into(), tag: None };
        let intent = Intent {
            external_id: format!("order-{number}").parse().unwrap(),
            wallet: "xrp:0/xrp-ed25519/0".parse().unwrap(),
            asset: Asset::Xrp,
            source: None,
            payments: vec![Payment { destination, amount: Amount::from_u64(number) }],
            max_fee: Amount::from_u64(1),
            expires_at: Timestamp::from_secs(100),
            fills: None,
            terms: None,
        };
        SignedIntent::by_key(intent, InitiatorKey([1; 32]), [0; 64])
    }

    #[test]
    fn orders_of_any_size_fit_into_their_messages() {
        let (mut orders, now) = (Orders::default(), Timestamp::from_secs(1));
        for number in 0..130 {
            let mut large = order(number);
            large.intent.payments = (0..MAX_BATCH as u64)
                .map(|payout| Payment {
                    destination: Destination { address: format!("{payout:0>62}"), tag: None },
                    amount: Amount::from_u64(u64::MAX),
                })
                .collect();
            assert!(orders.add(large, now));
        }
        let due = orders.due(PartyIndex(1), now);
        assert!(due.len() > 130usize.div_ceil(MAX_ORDERS), "{} messages", due.len());
        let fits = |message: &FromRelay| encode(message).is_ok_and(|bytes| bytes.len() <= MAX_FRAME);
        assert!(due.iter().all(fits));
    }

    #[test]
    fn an_order_is_sent_once_over_a_link_until_it_was_seen_or_has_expired() {
        let (mut orders, now, party) = (Orders::default(), Timestamp::from_secs(1), PartyIndex(1));
        let sent = |orders: &mut Orders, now| -> usize {
            let messages = orders.due(party, now);
            let count = |message: &FromRelay| match message {
                FromRelay::Orders { orders } => {
                    assert!(orders.len() <= MAX_ORDERS);
                    orders.len()
                }
                other => panic!("{other:?}"),
            };
            messages.iter().map(count).sum()
        };
        for number in 0..130 {
            assert!(orders.add(order(number), now) && !orders.add(order(number), now));
        }
        assert_eq!([sent(&mut orders, now), sent(&mut orders, now)], [130, 0]);
        let seen = SeenOrder { intent: order(3).intent.digest(), since: Timestamp::from_secs(2) };
        orders.seen(party, &[seen]);
        orders.linked(party);
        assert_eq!(sent(&mut orders, now), 129);
        assert_eq!(orders.seen_by(seen.intent), BTreeMap::from([(party, seen.since)]));
        orders.linked(party);
        assert_eq!(sent(&mut orders, now.plus(Duration::from_secs(99))), 0, "expired");
        assert!(!orders.add(order(500), now.plus(Duration::from_secs(99))));
    }
}
