//! From a provider's alert to ours: about what, how bad, and written down.

use super::{
    Screener,
    book::{BookError, Name},
};
use crate::{
    provider::{About, Level, RawAlert, Report},
    text::short,
};
use bursar_domain::screening::{Alert, AlertSubject, Unanswered};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

impl Screener {
    /// Writes down what a provider raised, each alert once. How many are new.
    ///
    /// # Errors
    /// [`Unanswered`], when they cannot be written down: they must come again.
    pub async fn take(
        self: &Arc<Self>,
        alerts: Vec<RawAlert>,
        cursor: Option<String>,
    ) -> Result<u64, Unanswered> {
        let screener = self.clone();
        let taken = tokio::task::spawn_blocking(move || screener.write_down(alerts, cursor.as_deref())).await;
        let added = match taken {
            Ok(Ok(added)) => added,
            Ok(Err(error)) => {
                tracing::error!(%error, "alerts cannot be written down");
                return Err(Unanswered::Unavailable("the screener's store".into()));
            }
            Err(_) => return Err(Unanswered::Unavailable("the screener's store".into())),
        };
        metrics::counter!("bursar_screener_alerts_total", "provider" => self.provider.name())
            .increment(added);
        Ok(added)
    }

    fn write_down(&self, alerts: Vec<RawAlert>, cursor: Option<&str>) -> Result<u64, BookError> {
        let mut ours = Vec::with_capacity(alerts.len());
        for raw in alerts {
            let id = short(&format!("{}:{}", self.provider.name(), raw.id), 160);
            if self.book.seen(&id)? {
                continue;
            }
            let subjects = self.meant(&raw.about)?;
            if subjects.is_empty() {
                metrics::counter!("bursar_screener_alerts_unmatched_total").increment(1);
                tracing::error!(
                    id,
                    "an alert is about nothing that was screened here, and names no address: look at it at the provider's"
                );
                ours.push((id, Vec::new()));
                continue;
            }
            let several = subjects.len() > 1;
            let made = subjects.into_iter().enumerate().map(|(place, subject)| {
                let id = if several { format!("{id}#{place}") } else { id.clone() };
                self.alert(id, subject, &raw)
            });
            let made = made.collect();
            ours.push((id, made));
        }
        if ours.is_empty() && cursor.is_none() {
            return Ok(0);
        }
        self.book.add(&ours, cursor)
    }

    fn alert(&self, id: String, subject: AlertSubject, raw: &RawAlert) -> Alert {
        // Scored as if it were the only thing in a report.
        let mark = crate::provider::Mark {
            category: raw.category.clone(),
            level: raw.level.clone(),
            sanctions: raw.sanctions,
            description: String::new(),
        };
        let scored = self.mapping.score(&Report {
            reference: String::new(),
            level: match &raw.level {
                Level::NothingFound { .. } => Level::Unknown,
                level => level.clone(),
            },
            sanctions: raw.sanctions,
            outcome: None,
            findings: vec![mark],
            expires_at: None,
        });
        let description = match (raw.category.as_str(), raw.description.as_str()) {
            ("", "") => "an alert without a description".to_owned(),
            (category, "") => category.to_owned(),
            ("", description) => description.to_owned(),
            (category, description) if description.starts_with(category) => description.to_owned(),
            (category, description) => format!("{category}: {description}"),
        };
        let description = short(&description, 500);
        let description =
            if description.is_empty() { "an alert without a description".to_owned() } else { description };
        let raised_at = raw.raised_at.unwrap_or_else(|| self.clock.now());
        Alert { id, subject, risk: scored.risk, sanctions: scored.sanctions, description, raised_at }
    }

    /// Everything that it may be about: by our own id, else by transaction and address, by transaction, or the address itself.
    fn meant(&self, about: &About) -> Result<Vec<AlertSubject>, BookError> {
        let About { id, tx_id, network, address } = about;
        let names = [
            id.as_deref().map(Name::id),
            tx_id.as_deref().zip(address.as_deref()).map(|(tx_id, address)| Name::output(tx_id, address)),
            tx_id.as_deref().map(Name::transaction),
        ];
        for name in names.into_iter().flatten() {
            let meant = self.book.meant(&name)?;
            if !meant.is_empty() {
                return Ok(meant);
            }
        }
        Ok(match (network, address) {
            (Some(network), Some(address)) => {
                let address = short(address, 100);
                let named = !address.is_empty();
                named.then_some(AlertSubject::Address { network: *network, address }).into_iter().collect()
            }
            _ => Vec::new(),
        })
    }

    /// Reads the provider's alerts until there are no more for now.
    ///
    /// # Errors
    /// [`Unanswered`]; what was read is written down, and the rest comes the next time.
    pub async fn read_alerts(self: &Arc<Self>) -> Result<u64, Unanswered> {
        let mut added = 0;
        loop {
            let book = self.book.clone();
            let cursor = tokio::task::spawn_blocking(move || book.cursor()).await;
            let Ok(Ok(cursor)) = cursor else {
                return Err(Unanswered::Unavailable("the screener's store".into()));
            };
            let page = self.provider.alerts(cursor.as_deref()).await?;
            let moved = page.next.is_some() && page.next != cursor;
            let more = page.more && moved;
            let next = page.next.filter(|_| moved);
            added += self.take(page.alerts, next).await?;
            if !more {
                return Ok(added);
            }
        }
    }
}

/// Reads the provider's alerts every `every`, until it is stopped.
pub async fn poll(screener: Arc<Screener>, every: Duration, stop: CancellationToken) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let read = tokio::select! {
            () = stop.cancelled() => return,
            read = screener.read_alerts() => read,
        };
        match read {
            Ok(0) => {}
            Ok(added) => tracing::info!(added, "alerts of the provider"),
            Err(error) => {
                metrics::counter!("bursar_screener_polls_failed_total").increment(1);
                tracing::warn!(%error, "the provider's alerts could not be read");
            }
        }
    }
}
