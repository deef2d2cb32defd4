//! A hook: any service that speaks the JSON of docs/screening.md.
//!
//! It is asked with `POST url` and the body `Question`; signed as a Standard Webhook where a secret is configured. It posts alerts, signed in
//! the same way, to `/v1/provider-callback/http`.

use super::{
    About, Callback, CallbackRefused, Level, Mark, Provider, RawAlert, Reply, Report, Subject,
    call::{Request, Server},
    webhook,
};
use crate::{clock::parse_rfc3339, secret::Secret, text::short};
use async_trait::async_trait;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    network::Network,
    screening::{RiskBand, Screened, Unanswered},
    time::{Clock, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

const DEFAULT_RETRY: u64 = 3;

pub struct Hook {
    server: Server,
    /// Sent as `authorization: Bearer`.
    token: Option<Secret>,
    signing: Option<Zeroizing<Vec<u8>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
#[error("provider.signing_secret: must be base64, with or without whsec_ before it")]
pub struct InvalidSecret;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    /// The same whenever the same is asked.
    id: &'a str,
    kind: &'static str,
    network: Network,
    address: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asset: Option<Asset>,
    /// In the asset's smallest unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Amount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    from: &'a [String],
}

#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase", rename_all_fields = "camelCase", deny_unknown_fields)]
enum Answer {
    Pending {
        reference: String,
        #[serde(default, deserialize_with = "whole_seconds")]
        retry_after_seconds: Option<u64>,
    },
    Complete {
        reference: String,
        risk: RiskBand,
        #[serde(default)]
        sanctions: bool,
        #[serde(default)]
        outcome: Option<Screened>,
        #[serde(default)]
        findings: Vec<Found>,
        #[serde(default)]
        expires_at: Option<String>,
    },
    /// It cannot screen this.
    Unsupported { reason: String },
    /// It knows nothing of this.
    Unknown { reason: String },
}

/// By way of [`serde_json::Number`]: a tagged enum buffers its fields, and where serde_json keeps numbers at arbitrary precision only that
/// reads one from the buffer.
fn whole_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let seconds = number.as_u64();
    seconds.map(Some).ok_or_else(|| serde::de::Error::custom("expected whole seconds, 0 or more"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Found {
    category: String,
    risk: RiskBand,
    #[serde(default)]
    sanctions: bool,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    alerts: Vec<PostedAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostedAlert {
    id: String,
    /// Ours, of the question.
    #[serde(default)]
    about: Option<String>,
    #[serde(default)]
    tx_id: Option<String>,
    #[serde(default)]
    network: Option<Network>,
    #[serde(default)]
    address: Option<String>,
    risk: RiskBand,
    #[serde(default)]
    sanctions: bool,
    #[serde(default)]
    category: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    raised_at: Option<String>,
}

impl Hook {
    /// # Errors
    /// A signing secret that is not base64.
    pub fn new(
        server: Server,
        token: Option<Secret>,
        signing: Option<&Secret>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidSecret> {
        let signing = signing.map(|secret| webhook::key(secret).ok_or(InvalidSecret)).transpose()?;
        Ok(Self { server, token, signing, clock })
    }
}

#[async_trait]
impl Provider for Hook {
    fn name(&self) -> &'static str {
        "http"
    }

    async fn screen(&self, id: &str, subject: &Subject, _now: Timestamp) -> Result<Reply, Unanswered> {
        let request = Request::post("", &Question::of(id, subject))?;
        let headers = || {
            let mut headers = Vec::new();
            if let Some(token) = &self.token {
                headers.push(("authorization", format!("Bearer {}", token.reveal())));
            }
            if let (Some(key), Some(body)) = (&self.signing, &request.body) {
                headers.extend(webhook::sign(key, id, self.clock.now(), body));
            }
            headers
        };
        let answer: Answer = self.server.send(&request, headers).await?.json()?;
        answer.into_reply()
    }

    fn callback(&self, call: &Callback) -> Result<Vec<RawAlert>, CallbackRefused> {
        let key = self.signing.as_ref().ok_or(CallbackRefused::None)?;
        webhook::verify(key, call)?;
        let Posted { alerts } = serde_json::from_slice(call.body)
            .map_err(|error| CallbackRefused::Malformed(short(&error.to_string(), 200)))?;
        Ok(alerts.into_iter().map(PostedAlert::into_raw).collect())
    }
}

impl<'a> Question<'a> {
    fn of(id: &'a str, subject: &'a Subject) -> Self {
        let plain = Self {
            id,
            kind: "ADDRESS",
            network: subject.network(),
            address: subject.address(),
            tag: None,
            asset: None,
            amount: None,
            tx_id: None,
            index: None,
            from: &[],
        };
        match subject {
            Subject::Address { .. } => plain,
            Subject::Outbound { asset, amount, tag, .. } => {
                Self { kind: "OUTBOUND", asset: Some(*asset), amount: Some(*amount), tag: *tag, ..plain }
            }
            Subject::Broadcast { asset, amount, tag, tx_id, .. } => Self {
                kind: "BROADCAST",
                asset: Some(*asset),
                amount: Some(*amount),
                tag: *tag,
                tx_id: Some(tx_id),
                ..plain
            },
            Subject::Deposit { asset, amount, tx_id, index, from, .. } => Self {
                kind: "DEPOSIT",
                asset: Some(*asset),
                amount: Some(*amount),
                tx_id: Some(tx_id),
                index: Some(*index),
                from,
                ..plain
            },
        }
    }
}

impl Answer {
    fn into_reply(self) -> Result<Reply, Unanswered> {
        match self {
            Self::Pending { reference, retry_after_seconds } => {
                let seconds = retry_after_seconds.unwrap_or(DEFAULT_RETRY).clamp(1, 3600);
                let (reference, retry_after) = (short(&reference, 200), Duration::from_secs(seconds));
                Ok(Reply::Pending { reference, retry_after })
            }
            Self::Complete { reference, risk, sanctions, outcome, findings, expires_at } => {
                let expires_at = match expires_at {
                    None => None,
                    Some(text) => {
                        let at = parse_rfc3339(&text);
                        Some(at.ok_or_else(|| Unanswered::Malformed("at expiresAt".into()))?)
                    }
                };
                let reference = short(&reference, 200);
                let findings = findings.into_iter().map(Found::into_mark).collect();
                let level = Level::Band(risk);
                Ok(Reply::Report(Report { reference, level, sanctions, outcome, findings, expires_at }))
            }
            Self::Unsupported { reason } => Err(Unanswered::Unsupported(short(&reason, 200))),
            Self::Unknown { reason } => Err(Unanswered::Unknown(short(&reason, 200))),
        }
    }
}

impl Found {
    fn into_mark(self) -> Mark {
        let Self { category, risk, sanctions, description } = self;
        Mark { category, level: Level::Band(risk), sanctions, description }
    }
}

impl PostedAlert {
    fn into_raw(self) -> RawAlert {
        let Self { id, about, tx_id, network, address, risk, sanctions, category, description, raised_at } =
            self;
        RawAlert {
            id,
            about: About { id: about, tx_id, network, address },
            category,
            level: Level::Band(risk),
            sanctions,
            description,
            raised_at: raised_at.as_deref().and_then(parse_rfc3339),
        }
    }
}
