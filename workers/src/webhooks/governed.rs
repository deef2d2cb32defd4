//! Endpoints of a governed installation: those that the governance log names, and no others.

use super::deliver::DeliverError;
use crate::context::Context;
use bursar_domain::governance::{log::Head, webhook::Webhook};
use bursar_store::{
    events,
    webhooks::{self, Endpoint, EndpointId, Target},
};
use std::collections::BTreeMap;

/// Up to where the log was followed by this process.
#[derive(Debug, Default)]
pub(super) struct Followed(Option<Head>);

impl Followed {
    /// Makes the endpoints what the log says, if it has moved. Doing so twice changes nothing.
    pub async fn follow(&mut self, context: &Context, key_name: &str) -> Result<(), DeliverError> {
        let Some(governance) = &context.governance else { return Ok(()) };
        let state = governance.state(&context.store).await?;
        if self.0 == Some(state.head()) {
            return Ok(());
        }
        let mut named = BTreeMap::new();
        for one in state.webhooks().iter() {
            match one.webhook.id.to_string().parse::<EndpointId>() {
                Ok(id) => drop(named.insert(id, target(&one.webhook, one.seq))),
                Err(error) => tracing::error!(webhook = %one.webhook.id, %error, "not delivered to"),
            }
        }
        let now = context.now();
        // Only what happens from now on is told.
        let position = events::last(&context.store).await?;
        let mut tx = context.store.write().await?;
        let mut changed = false;
        for endpoint in webhooks::list_in(&mut tx).await? {
            let wanted = named.remove(&endpoint.id);
            changed |= match (&endpoint.target.entry, wanted) {
                (_, Some(target)) if target == endpoint.target => false,
                (_, Some(target)) => {
                    webhooks::retarget(&mut tx, &endpoint.id, &target, now).await?;
                    true
                }
                // Also one from before the installation was governed: what waits for it is given up, and it comes back by the log only.
                (_, None) => webhooks::remove(&mut tx, &endpoint.id, now).await?,
            };
        }
        for (id, target) in named {
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
