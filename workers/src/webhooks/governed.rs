//! Endpoints of a governed installation: those that the governance log names, and no others.

use super::deliver::DeliverError;
use crate::context::Context;
use bursar_domain::governance::{change::Change, log::Head, webhook::Webhook};
use bursar_store::{
    StoreError, WriteTx, events, governance,
    webhooks::{self, Endpoint, EndpointId, Target},
};
use std::{collections::BTreeMap, time::Duration};

/// How long messages carry a signature with the secret of before, too.
const FORMER: Duration = Duration::from_secs(24 * 3600);

/// Up to where the log was followed by this process.
#[derive(Debug, Default)]
pub(super) struct Followed(Option<Head>);

impl Followed {
    /// Makes the endpoints what the log says, if it has moved. Doing so twice changes nothing.
    pub async fn follow(&mut self, context: &Context, key_name: &str) -> Result<(), DeliverError> {
        let Some(governance) = &context.governance else { return Ok(()) };
        if self.0 == Some(governance.state(&context.store).await?.head()) {
            return Ok(());
        }
        // Only what happens from now on is told.
        let position = events::last(&context.store).await?;
        let mut tx = context.store.write().await?;
        // As it is in this turn: another process may have followed it further meanwhile.
        let state = governance.state_in(&mut tx).await?;
        let mut named = BTreeMap::new();
        for one in state.webhooks().iter() {
            match one.webhook.id.to_string().parse::<EndpointId>() {
                Ok(id) => drop(named.insert(id, (&one.webhook, target(&one.webhook, one.seq)))),
                Err(error) => tracing::error!(webhook = %one.webhook.id, %error, "not delivered to"),
            }
        }
        let now = context.now();
        let mut changed = false;
        for endpoint in webhooks::list_in(&mut tx).await? {
            let wanted = named.remove(&endpoint.id);
            changed |= match (&endpoint.target.entry, wanted) {
                (_, Some((_, target))) if target == endpoint.target => false,
                (_, Some((webhook, target))) => {
                    let before = before(&mut tx, &endpoint).await?;
                    // What one person can change does not bring back what was stopped.
                    let loosens = before.as_ref().is_none_or(|before| !webhook.tells_no_more_than(before));
                    webhooks::retarget(&mut tx, &endpoint.id, &target, loosens, now).await?;
                    if before.is_some_and(|before| before.renewed < webhook.renewed) {
                        webhooks::rotate(&mut tx, &endpoint.id, key_name, now.plus(FORMER), now).await?;
                    }
                    true
                }
                // Also one from before the installation was governed: what waits for it is given up, and it comes back by the log only.
                (_, None) => webhooks::remove(&mut tx, &endpoint.id, now).await?,
            };
        }
        for (id, (_, target)) in named {
            let endpoint = Endpoint::new(id, target, key_name.to_owned(), position, now);
            webhooks::insert(&mut tx, &endpoint, now).await?;
            changed = true;
        }
        if changed {
            tx.commit().await?;
        }
        self.0 = Some(state.head());
        Ok(())
    }
}

/// What the log said of it when it was followed last.
async fn before(tx: &mut WriteTx, endpoint: &Endpoint) -> Result<Option<Webhook>, StoreError> {
    let Some(seq) = endpoint.target.entry else { return Ok(None) };
    let there = governance::entries_in(tx, seq, 1).await?.pop().filter(|there| there.seq == seq);
    let change = there.and_then(|there| there.entry.read().ok()).map(|document| document.change);
    Ok(match change {
        Some(Change::PutWebhook { webhook }) if webhook.id.to_string() == endpoint.id.as_str() => {
            Some(webhook)
        }
        _ => None,
    })
}

fn target(webhook: &Webhook, entry: u64) -> Target {
    Target {
        url: webhook.url.clone(),
        events: webhook.events.clone(),
        allow_private: webhook.allow_private,
        entry: Some(entry),
        shared_secret: webhook.secret.as_ref().map(ToString::to_string),
        public_key: webhook.public_key.map(|key| hex::encode(key.0)),
    }
}
