//! The screener: takes an [`Inquiry`], asks the provider about everybody in it, and signs what it came to.
//!
//! **Fails closed.** There is an answer only if the provider gave one for every payee; the worst counts. Silence, errors, what the provider does not
//! cover or know are each an [`Unanswered`], never a verdict. An analysis that is not ready is asked about again for a while, and then
//! the caller is told to come back.
//!
//! **Idempotent.** Each payee has an id that follows from the inquiry and its round ([`Inquiry::external_id`]). What was answered is kept in memory
//! until it expires, and given again with the same times; after a restart the provider is asked again under the same ids.
//!
//! **The digest is computed here**, from the order that the initiator signed. A caller that lies about what it is going to pay gets a verdict for
//! the lie, which no co-signer takes for anything else.

mod alerts;
mod book;
mod breaker;
mod cache;
mod part;
mod push;

pub use alerts::poll;
pub use book::{Book, BookError, Keep};
pub use push::{InvalidPush, Push};

use crate::{
    key::ServiceKey,
    mapping::{Mapping, worse},
    provider::{Provider, Reply},
    text::short,
};
use async_trait::async_trait;
use breaker::Breaker;
use bursar_domain::{
    screening::{
        Alert, AlertPage, Answer, Assessment, Inquiry, MAX_FINDINGS, MAX_LIFETIME, RiskBand, Screened,
        ScreeningService, SignedAlert, Unanswered,
    },
    time::{Clock, Timestamp},
};
use cache::{Cache, Screening};
use futures::{StreamExt as _, stream};
use part::Part;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};

/// How many payees of one inquiry are asked about at the same time.
const AT_ONCE: usize = 4;
/// Alerts of one page.
const PAGE: usize = 200;
/// Given to a caller that has to come back and was told no other time.
const COME_BACK: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a screening counts, unless the provider says less.
    pub validity: Duration,
    /// How long one inquiry may take, retries and waiting included.
    pub patience: Duration,
    pub max_concurrent: usize,
    /// How many screenings of single payees are kept.
    pub max_cached: usize,
}

pub struct Screener {
    provider: Arc<dyn Provider>,
    key: ServiceKey,
    mapping: Mapping,
    settings: Settings,
    clock: Arc<dyn Clock>,
    book: Arc<Book>,
    cache: Cache,
    breaker: Breaker,
    permits: Semaphore,
    /// One at a time for each inquiry: two that ask the same do not both ask the provider.
    asked: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Screener {
    pub fn new(
        provider: Arc<dyn Provider>,
        key: ServiceKey,
        mapping: Mapping,
        settings: Settings,
        clock: Arc<dyn Clock>,
        book: Arc<Book>,
    ) -> Self {
        Self {
            provider,
            key,
            mapping,
            settings,
            clock,
            book,
            cache: Cache::new(settings.max_cached),
            breaker: Breaker::default(),
            permits: Semaphore::new(settings.max_concurrent),
            asked: Mutex::default(),
        }
    }

    pub fn provider(&self) -> &dyn Provider {
        self.provider.as_ref()
    }

    pub(crate) fn book(&self) -> &Arc<Book> {
        &self.book
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// By the key that is in use now: the one of when the alert came may have been rotated.
    pub(crate) fn signed(&self, alert: Alert) -> SignedAlert {
        self.key.alert(alert)
    }

    async fn answer(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        let begun = Instant::now();
        inquiry.validate().map_err(|error| Unanswered::Refused(short(&error.to_string(), 300)))?;
        if let Inquiry::Outbound { order } = inquiry
            && !self.key.serves(order)
        {
            let reason =
                "order.terms.desk: names another desk than the genesis in this service's configuration";
            return Err(Unanswered::Refused(reason.into()));
        }
        let parts = part::parts(inquiry, round);
        let name = inquiry.external_id(round, u32::MAX);
        let turn = self.turn(&name);
        let _turn = turn.lock().await;
        let now = self.clock.now();
        let (mut known, mut open) = (Vec::new(), Vec::new());
        for part in &parts {
            match self.cache.get(&part.id, now) {
                Some(screening) => known.push(screening),
                None => open.push(part),
            }
        }
        if !open.is_empty() {
            self.breaker.check(begun)?;
            let _permit = self
                .permits
                .acquire()
                .await
                .map_err(|_| Unanswered::Unavailable("the screener is stopping".into()))?;
            // Alerts about it can come as soon as the provider knows of it.
            self.remember(inquiry, &parts).await?;
            let until = begun + self.settings.patience;
            let asking: Vec<_> = open.into_iter().map(|part| self.ask(part, until)).collect();
            let mut asking = stream::iter(asking).buffer_unordered(AT_ONCE);
            let mut pending: Option<(String, Duration)> = None;
            while let Some(asked) = asking.next().await {
                match asked? {
                    Asked::Screened(screening) => known.push(screening),
                    Asked::Pending { reference, retry_after } => {
                        let longest = pending.take().map_or(retry_after, |(_, other)| other.max(retry_after));
                        pending = Some((reference, longest));
                    }
                }
            }
            if let Some((reference, retry_after)) = pending {
                return Ok(Answer::Pending { reference, retry_after });
            }
        }
        let assessment = self.assess(known)?;
        let verdict = match inquiry {
            Inquiry::Outbound { order } => Some(self.key.verdict(order.intent.digest(), &assessment)),
            _ => None,
        };
        let answer = Answer::Complete { assessment, verdict };
        answer.check(inquiry).map_err(|error| Unanswered::Malformed(error.to_string()))?;
        Ok(answer)
    }

    /// Asks about one payee until there is an answer, or no time is left to wait for one.
    async fn ask(&self, part: &Part, until: Instant) -> Result<Asked, Unanswered> {
        loop {
            let now = self.clock.now();
            let asked = self.provider.screen(&part.id, &part.subject, now);
            let reply = match tokio::time::timeout_at(until, asked).await {
                Err(_) => Err(Unanswered::Timeout),
                Ok(reply) => reply,
            };
            self.breaker.record(&reply, Instant::now());
            let provider = self.provider.name();
            let result = match &reply {
                Ok(Reply::Pending { .. }) => "PENDING",
                Ok(Reply::Report(_)) => "COMPLETE",
                Err(error) => error.code(),
            };
            metrics::counter!("bursar_screener_provider_calls_total", "provider" => provider, "result" => result)
                .increment(1);
            match reply? {
                Reply::Report(report) => {
                    let now = self.clock.now();
                    let scored = self.mapping.score(&report);
                    let usual = now.plus(self.settings.validity.min(MAX_LIFETIME));
                    let expires_at = report.expires_at.map_or(usual, |said| said.min(usual));
                    if expires_at <= now {
                        return Err(Unanswered::Malformed("the screening has expired already".into()));
                    }
                    let reference = short(&report.reference, 200);
                    let screening = Screening { scored, screened_at: now, expires_at, reference };
                    self.cache.put(&part.id, screening.clone(), now);
                    return Ok(Asked::Screened(screening));
                }
                Reply::Pending { reference, retry_after } => {
                    let retry_after = retry_after.max(Duration::from_millis(10));
                    let next = Instant::now() + retry_after;
                    if next >= until {
                        let retry_after = retry_after.max(COME_BACK).min(bursar_domain::screening::MAX_RETRY);
                        return Ok(Asked::Pending { reference: short(&reference, 200), retry_after });
                    }
                    tokio::time::sleep_until(next).await;
                }
            }
        }
    }

    /// The worst of everybody, for as long as the first of them counts.
    fn assess(&self, screenings: Vec<Screening>) -> Result<Assessment, Unanswered> {
        let mut screenings = screenings;
        // Whatever the order in which they came.
        screenings.sort_by(|a, b| a.reference.cmp(&b.reference));
        let first = screenings.first().ok_or_else(|| Unanswered::Malformed("nobody was screened".into()))?;
        let (mut screened_at, mut expires_at) = (first.screened_at, first.expires_at);
        let reference = match screenings.len() {
            1 => first.reference.clone(),
            count => format!("{} and {} more", first.reference, count - 1),
        };
        let (mut risk, mut outcome, mut sanctions) = (RiskBand::Low, Screened::Clear, false);
        let mut findings = Vec::new();
        for Screening { scored, screened_at: at, expires_at: until, .. } in screenings {
            risk = worse(risk, scored.risk);
            outcome = outcome.max(scored.outcome);
            sanctions |= scored.sanctions;
            findings.extend(scored.findings);
            screened_at = screened_at.min(at);
            expires_at = expires_at.min(until);
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(crate::mapping::rank(finding.risk)));
        findings.truncate(MAX_FINDINGS);
        let provider = self.provider.name().to_owned();
        let assessment =
            Assessment { provider, risk, sanctions, outcome, findings, screened_at, expires_at, reference };
        assessment.check().map_err(|error| Unanswered::Malformed(error.to_string()))?;
        Ok(assessment)
    }

    async fn remember(&self, inquiry: &Inquiry, parts: &[Part]) -> Result<(), Unanswered> {
        let (book, entries) = (self.book.clone(), part::names(inquiry, parts));
        let done = tokio::task::spawn_blocking(move || book.remember(&entries)).await;
        done.map_err(|_| "it broke".to_owned())
            .and_then(|done| done.map_err(|error| error.to_string()))
            .map_err(|why| {
                tracing::error!(why, "what is screened cannot be written down");
                Unanswered::Unavailable("the screener's store".into())
            })
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else holds those.
        asked.retain(|_, turn| Arc::strong_count(turn) > 1);
        asked.entry(name.to_owned()).or_default().clone()
    }
}

enum Asked {
    Screened(Screening),
    Pending { reference: String, retry_after: Duration },
}

#[async_trait]
impl ScreeningService for Screener {
    async fn screen(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        // What takes turns and permits is bounded, too; a moment more, so that who asks the provider says best why it took too long.
        let limit = self.settings.patience + Duration::from_millis(500);
        let answered = tokio::time::timeout(limit, self.answer(inquiry, round)).await;
        let answer = answered.unwrap_or(Err(Unanswered::Timeout));
        let result = match &answer {
            Ok(Answer::Pending { .. }) => "PENDING",
            Ok(Answer::Complete { assessment, .. }) => match assessment.outcome {
                Screened::Clear => "CLEAR",
                Screened::Review => "REVIEW",
                Screened::Block => "BLOCK",
            },
            Err(error) => error.code(),
        };
        metrics::counter!("bursar_screener_inquiries_total", "kind" => inquiry.kind(), "result" => result)
            .increment(1);
        if let Err(error) = &answer {
            tracing::warn!(kind = inquiry.kind(), code = error.code(), %error, "not screened");
        }
        answer
    }

    async fn alerts(&self, cursor: Option<&str>) -> Result<AlertPage, Unanswered> {
        let after = match cursor {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                Unanswered::Refused("cursor: must be what an earlier page gave as next".into())
            })?,
        };
        let book = self.book.clone();
        let read = tokio::task::spawn_blocking(move || book.after(after, PAGE)).await;
        let Ok(Ok(numbered)) = read else {
            return Err(Unanswered::Unavailable("the screener's store".into()));
        };
        let next = match numbered.last() {
            Some((number, _)) => Some(number.to_string()),
            None => (after > 0).then(|| after.to_string()),
        };
        let alerts = numbered.into_iter().map(|(_, alert)| self.signed(alert)).collect();
        Ok(AlertPage { alerts, next })
    }
}
