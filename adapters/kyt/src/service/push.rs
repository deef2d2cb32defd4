//! Brings alerts to the orchestrator, one after the other, until it has taken each.
//!
//! `POST url` with a [`SignedAlert`](bursar_domain::screening::SignedAlert) in JSON, and `authorization: Bearer`. Any 2xx is taken. 400, 409 and 422 say that it never will be: it is left out here,
//! logged, and remains to be had at `GET /v1/alerts`. Everything else is tried again.

use super::Screener;
use crate::{provider::call, secret::Secret};
use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::{Client, StatusCode, Url};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// How often is looked for new ones.
const LOOK: Duration = Duration::from_millis(500);
const AT_ONCE: usize = 50;

pub struct Push {
    client: Client,
    url: Url,
    token: Option<Secret>,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidPush {
    #[error("orchestrator.alerts_url: {0}: is no URL")]
    Url(String),
    #[error("orchestrator.alerts_url: must be https; http only to this machine itself")]
    Scheme,
    #[error("no HTTP client: {0}")]
    Client(reqwest::Error),
}

enum Pushed {
    Taken,
    Never(StatusCode),
    Later(String),
}

impl Push {
    /// # Errors
    /// An address that is not allowed.
    pub fn new(url: &str, token: Option<Secret>) -> Result<Self, InvalidPush> {
        let parsed: Url = url.parse().map_err(|_| InvalidPush::Url(url.to_owned()))?;
        if !call::is_allowed(&parsed) {
            return Err(InvalidPush::Scheme);
        }
        let client = call::client(Duration::from_secs(10)).map_err(InvalidPush::Client)?;
        Ok(Self { client, url: parsed, token })
    }

    /// Until it is stopped.
    pub async fn run(self, screener: Arc<Screener>, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.forever(&screener) => {}
        }
    }

    async fn forever(&self, screener: &Arc<Screener>) {
        loop {
            if let Err(why) = self.all(screener).await {
                tracing::error!(why, "the screener's store");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Everything that there is now.
    async fn all(&self, screener: &Arc<Screener>) -> Result<(), String> {
        loop {
            let book = screener.book().clone();
            let waiting = blocking(move || book.after(book.pushed()?, AT_ONCE)).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            for (number, alert) in waiting {
                let id = alert.id.clone();
                let body =
                    serde_json::to_string(&screener.signed(alert)).map_err(|error| error.to_string())?;
                self.until_taken(&id, &body).await;
                let book = screener.book().clone();
                blocking(move || book.set_pushed(number)).await?;
            }
        }
    }

    async fn until_taken(&self, id: &str, body: &str) {
        let backoff = || {
            ExponentialBuilder::default()
                .with_min_delay(FIRST)
                .with_max_delay(LONGEST)
                .with_jitter()
                .without_max_times()
                .build()
        };
        let mut delays = backoff();
        loop {
            let result = match self.once(body).await {
                Pushed::Taken => {
                    metrics::counter!("bursar_screener_pushes_total", "result" => "taken").increment(1);
                    return;
                }
                Pushed::Never(status) => {
                    metrics::counter!("bursar_screener_pushes_total", "result" => "refused").increment(1);
                    tracing::error!(id, %status, "the orchestrator refuses an alert; it remains at GET /v1/alerts");
                    return;
                }
                Pushed::Later(why) => why,
            };
            metrics::counter!("bursar_screener_pushes_total", "result" => "failed").increment(1);
            tracing::warn!(id, why = result, "an alert could not be brought to the orchestrator");
            tokio::time::sleep(delays.next().unwrap_or(LONGEST)).await;
        }
    }

    async fn once(&self, body: &str) -> Pushed {
        let mut request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .body(body.to_owned());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        match request.send().await {
            Err(error) => Pushed::Later(call::transport(&error).to_string()),
            Ok(response) => match response.status() {
                status if status.is_success() => Pushed::Taken,
                status @ (StatusCode::BAD_REQUEST
                | StatusCode::CONFLICT
                | StatusCode::UNPROCESSABLE_ENTITY) => Pushed::Never(status),
                status => Pushed::Later(format!("status {}", status.as_u16())),
            },
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, super::BookError> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
