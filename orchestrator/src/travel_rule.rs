//! A travel-rule exchange somewhere else, asked over HTTPS: `POST` of what docs/travel-rule.md describes.
//!
//! Answers are bounded in time and size. Nothing of a body is repeated in an error: it may hold what was sent.

use async_trait::async_trait;
use bursar_domain::travel_rule::{ExchangeAnswer, NoExchange, TransferMessage, TravelRuleExchange};
use bursar_kyt::secret::Secret;
use reqwest::{Client, StatusCode, Url, redirect::Policy};
use serde::Deserialize;
use std::{net::IpAddr, time::Duration};
use zeroize::Zeroizing;

const MAX_ANSWER: usize = 16 * 1024;

pub struct HttpExchange {
    client: Client,
    url: Url,
    token: Secret,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidExchange {
    #[error("url: is no URL")]
    Url,
    #[error("url: must be https; http only to this machine itself")]
    Scheme,
    #[error("url: must have no user, password or fragment")]
    Parts,
    #[error("no HTTP client: {0}")]
    Client(reqwest::Error),
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
enum Answered {
    Pending { reference: String, retry_after_seconds: u64 },
    Accepted { reference: String },
    Rejected { reference: String },
}

impl HttpExchange {
    /// # Errors
    /// An address that is not allowed.
    pub fn new(url: &str, token: Secret, timeout: Duration) -> Result<Self, InvalidExchange> {
        let url: Url = url.parse().map_err(|_| InvalidExchange::Url)?;
        let loopback = match url.host_str() {
            Some("localhost") => true,
            Some(host) => host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(InvalidExchange::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(InvalidExchange::Parts);
        }
        // An error says that another one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(timeout).redirect(Policy::none()).no_proxy().build();
        Ok(Self { client: client.map_err(InvalidExchange::Client)?, url, token })
    }
}

/// Without the URL: it may hold what is nobody's business.
fn transport(error: &reqwest::Error) -> NoExchange {
    if error.is_timeout() {
        NoExchange::Timeout
    } else {
        NoExchange::Unavailable("the connection failed".into())
    }
}

#[async_trait]
impl TravelRuleExchange for HttpExchange {
    async fn exchange(&self, message: &TransferMessage<'_>) -> Result<ExchangeAnswer, NoExchange> {
        let body = serde_json::to_vec(message)
            .map_err(|_| NoExchange::Refused("the message cannot be written".into()))?;
        let request = self
            .client
            .post(self.url.clone())
            .bearer_auth(self.token.reveal())
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .header("idempotency-key", format!("{}:{}", message.transfer, message.round))
            .body(body);
        let mut response = request.send().await.map_err(|error| transport(&error))?;
        let status = response.status();
        if status != StatusCode::OK {
            let words = format!("status {}", status.as_u16());
            return Err(match status {
                StatusCode::TOO_MANY_REQUESTS => NoExchange::Unavailable(words),
                status if status.is_server_error() => NoExchange::Unavailable(words),
                status if status.is_client_error() => NoExchange::Refused(words),
                _ => NoExchange::Malformed(words),
            });
        }
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER));
        while let Some(part) = response.chunk().await.map_err(|error| transport(&error))? {
            if body.len() + part.len() > MAX_ANSWER {
                return Err(NoExchange::Malformed(format!("more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&part);
        }
        let answered: Answered = serde_json::from_slice(&body)
            .map_err(|_| NoExchange::Malformed("is not what docs/travel-rule.md describes".into()))?;
        match answered {
            Answered::Pending { reference, retry_after_seconds } => {
                ExchangeAnswer::Pending { reference, retry_after: Duration::from_secs(retry_after_seconds) }
            }
            Answered::Accepted { reference } => ExchangeAnswer::Accepted { reference },
            Answered::Rejected { reference } => ExchangeAnswer::Rejected { reference },
        }
        .check()
    }
}

#[cfg(test)]
mod tests;
