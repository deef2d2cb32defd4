//! A screener somewhere else, asked over HTTP. What the orchestrator is given.
//!
//! Believes nothing that it can check: answers are bounded in time and size, must be well formed, and must be about what was asked
//! ([`Answer::check`]). Whose signature a verdict carries is for who has the directory to verify.

use crate::{
    provider::call::{self, transport},
    secret::Secret,
    server::Asked,
    text::short,
};
use async_trait::async_trait;
use bursar_domain::screening::{AlertPage, Answer, Inquiry, ScreeningService, Unanswered};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A page of 500 alerts fits.
const MAX_ANSWER: usize = 2 * 1024 * 1024;
const MAX_TIMEOUT: Duration = Duration::from_secs(120);

pub struct RemoteScreening {
    client: Client,
    screenings: Url,
    alerts: Url,
    token: Secret,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidRemote {
    #[error("url: {0}: is no URL")]
    Url(String),
    #[error("url: must be https; http only to this machine itself")]
    Scheme,
    #[error("url: must have no user, password, query or fragment")]
    Parts,
    #[error("timeout_seconds: must be 1 to 120")]
    Timeout,
    #[error("no HTTP client: {0}")]
    Client(reqwest::Error),
}

impl RemoteScreening {
    /// `url` is the screener's, without a path of its own; `token` the one of its configuration. `timeout` is of one question, and should be
    /// longer than the screener's patience.
    ///
    /// # Errors
    /// An address that is not allowed, or a time limit out of bounds.
    pub fn new(url: &str, token: Secret, timeout: Duration) -> Result<Self, InvalidRemote> {
        let mut base: Url = url.parse().map_err(|_| InvalidRemote::Url(short(url, 100)))?;
        if !call::is_allowed(&base) {
            return Err(InvalidRemote::Scheme);
        }
        let plain = base.username().is_empty() && base.password().is_none();
        if !plain || base.query().is_some() || base.fragment().is_some() {
            return Err(InvalidRemote::Parts);
        }
        if timeout < Duration::from_secs(1) || timeout > MAX_TIMEOUT {
            return Err(InvalidRemote::Timeout);
        }
        let path = base.path().trim_end_matches('/').to_owned();
        base.set_path(&format!("{path}/v1/screenings"));
        let screenings = base.clone();
        base.set_path(&format!("{path}/v1/alerts"));
        let client = call::client(timeout).map_err(InvalidRemote::Client)?;
        Ok(Self { client, screenings, alerts: base, token })
    }

    async fn ask<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Unanswered> {
        let sent = request.bearer_auth(self.token.reveal()).header("accept", "application/json").send().await;
        let response = sent.map_err(|error| transport(&error))?;
        let status = response.status();
        let body = call::read(response, MAX_ANSWER).await?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .map_err(|error| Unanswered::Malformed(short(&error.to_string(), 200)));
        }
        Err(match (status, serde_json::from_slice::<Unanswered>(&body)) {
            (_, Ok(said)) => cleaned(said),
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Unanswered::Refused("the screener does not know the token".into())
            }
            (status, _) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Unanswered::Unavailable(format!("status {}", status.as_u16()))
            }
            (status, _) => Unanswered::Malformed(format!("status {}", status.as_u16())),
        })
    }
}

/// What it says goes to people.
fn cleaned(said: Unanswered) -> Unanswered {
    let short = |text: String| short(&text, 300);
    match said {
        Unanswered::Timeout => Unanswered::Timeout,
        Unanswered::Unavailable(text) => Unanswered::Unavailable(short(text)),
        Unanswered::Unsupported(text) => Unanswered::Unsupported(short(text)),
        Unanswered::Unknown(text) => Unanswered::Unknown(short(text)),
        Unanswered::Malformed(text) => Unanswered::Malformed(short(text)),
        Unanswered::Refused(text) => Unanswered::Refused(short(text)),
    }
}

#[async_trait]
impl ScreeningService for RemoteScreening {
    async fn screen(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        let asked = Asked { inquiry: inquiry.clone(), round };
        let answer: Answer = self.ask(self.client.post(self.screenings.clone()).json(&asked)).await?;
        answer.check(inquiry).map_err(|error| Unanswered::Malformed(error.to_string()))?;
        Ok(answer)
    }

    async fn alerts(&self, cursor: Option<&str>) -> Result<AlertPage, Unanswered> {
        let mut url = self.alerts.clone();
        if let Some(cursor) = cursor {
            url.query_pairs_mut().append_pair("cursor", cursor);
        }
        let page: AlertPage = self.ask(self.client.get(url)).await?;
        page.check().map_err(|error| Unanswered::Malformed(error.to_string()))?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screeners_are_https_or_this_machine() {
        let made = |url: &str, seconds| {
            RemoteScreening::new(url, Secret::new("t"), Duration::from_secs(seconds)).map(|_| ())
        };
        assert!(made("https://screener.example", 20).is_ok());
        assert!(made("http://127.0.0.1:7460", 20).is_ok());
        assert!(matches!(made("http://screener.example", 20), Err(InvalidRemote::Scheme)));
        assert!(matches!(made("screener", 20), Err(InvalidRemote::Url(_))));
        assert!(matches!(made("https://a:b@screener.example", 20), Err(InvalidRemote::Parts)));
        for seconds in [0, 121] {
            assert!(matches!(made("https://screener.example", seconds), Err(InvalidRemote::Timeout)));
        }
    }
}
