//! How endpoints look in JSON. No secret is in any of these but [`WebhookWithSecret`].

use crate::api::wire::time;
use bursar_store::webhooks::Endpoint;
use bursar_workers::webhooks::{message::Message, send::Answer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewWebhook {
    /// `https://…`; `http://` and private addresses only where the configuration allows them. At most 500 characters.
    pub url: String,
    /// Kinds of events, each with all that begin with it and a dot: `transfer` covers `transfer.submitted`. `*`, when absent: every kind.
    pub events: Option<BTreeSet<String>>,
    /// After which event of the log to begin; from now on when absent.
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookChange {
    pub enabled: bool,
    /// Why it is disabled, for whoever wonders later. At most 500 characters.
    pub reason: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RotateSecret {
    /// How long messages are signed with the former secret, too: 0 to 168, 24 when absent.
    pub previous_valid_hours: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookView {
    pub id: String,
    pub url: String,
    pub events: BTreeSet<String>,
    /// `ENABLED` or `DISABLED`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_because: Option<String>,
    /// The entry of the governance log that put it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governed_by: Option<u64>,
    /// Verifies `v1a` signatures: `whpk_…`, the same for all endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Counts the secrets that it has had.
    pub secret_generation: u32,
    /// Until when messages are signed with the former secret, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<String>,
    /// Up to which event of the log it was decided whether it is told.
    pub cursor: String,
    /// Deliveries that wait, counted up to 500.
    pub pending: usize,
    /// Tries in a row that failed.
    pub failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<String>,
    pub created_at: String,
}

impl WebhookView {
    pub fn new(endpoint: Endpoint, pending: usize, public_key: Option<String>) -> Self {
        Self {
            id: endpoint.id.to_string(),
            state: if endpoint.disabled.is_some() { "DISABLED" } else { "ENABLED" },
            disabled_because: endpoint.disabled,
            governed_by: endpoint.target.entry,
            url: endpoint.target.url,
            events: endpoint.target.events,
            public_key,
            secret_generation: endpoint.secret.generation,
            previous_secret_until: endpoint.secret.previous_until.map(time),
            cursor: endpoint.position.to_string(),
            pending,
            failures: endpoint.failures,
            failing_since: endpoint.failing_since.map(time),
            delivered_at: endpoint.delivered_at.map(time),
            created_at: time(endpoint.created_at),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    pub items: Vec<WebhookView>,
}

/// An endpoint and its secret. No `Debug`.
#[derive(Serialize, ToSchema)]
pub struct WebhookWithSecret {
    pub webhook: WebhookView,
    /// Verifies `v1` signatures: `whsec_…`. Shown this once.
    pub secret: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTest {
    /// The message's `webhook-id`.
    pub message_id: String,
    /// `DELIVERED`, `STATUS`, `GONE`, `TIMEOUT`, `ADDRESS`, `CONNECTION` or `NOT_SIGNED`.
    pub outcome: &'static str,
    /// Of the HTTP answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How the answer began, or what went wrong instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    pub took_ms: u64,
}

impl WebhookTest {
    pub fn new(message: Message, answer: Answer) -> Self {
        Self {
            message_id: message.id,
            outcome: answer.outcome.name(),
            status: answer.status,
            answer: answer.text,
            took_ms: u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
