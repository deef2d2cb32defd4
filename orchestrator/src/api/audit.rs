//! The audit: entries with who did it, their places in the chain, and the checkpoints that co-signers signed.

use super::{
    ApiState,
    extract::{Query, page_size},
    problem::Problem,
    wire::time,
};
use axum::{Json, extract::State};
use bursar_domain::audit::{ChainHash, Entry};
use bursar_store::audit_log::{self, StoredCheckpoint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// One entry, its texts as they are hashed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntryView {
    pub sequence: u64,
    /// Microseconds since 1970: what is hashed.
    pub at_micros: i64,
    pub at: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_id: Option<String>,
    /// JSON, as text.
    pub payload: String,
    /// Who did it and from where: JSON, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// The signature that the act carried: JSON, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// Its place in the chain; absent for some seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntryPage {
    pub items: Vec<AuditEntryView>,
    /// Pass as `cursor` to go on. The log has no end, so there always is one.
    pub next: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointView {
    /// The digest of the governance log's first entry; zeros where nothing is governed.
    pub desk: String,
    /// Of the last entry that it covers.
    pub sequence: u64,
    pub hash: String,
    /// Microseconds since 1970: what is signed.
    pub at_micros: i64,
    pub at: String,
    pub signatures: Vec<CheckpointSignatureView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointSignatureView {
    pub party: u16,
    /// Ed25519, hex.
    pub public_key: String,
    pub signature: String,
}

impl From<StoredCheckpoint> for CheckpointView {
    fn from(StoredCheckpoint { checkpoint, signatures }: StoredCheckpoint) -> Self {
        let signatures = signatures.into_iter().map(|one| CheckpointSignatureView {
            party: one.party.0,
            public_key: hex::encode(one.public_key),
            signature: hex::encode(one.signature),
        });
        Self {
            desk: checkpoint.desk.to_string(),
            sequence: checkpoint.sequence,
            hash: checkpoint.hash.to_string(),
            at_micros: checkpoint.at.micros(),
            at: time(checkpoint.at),
            signatures: signatures.collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CheckpointPage {
    pub items: Vec<CheckpointView>,
    /// Pass as `cursor` to go on.
    pub next: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// `next` of the page before; from the beginning when absent.
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

impl Which {
    fn position(&self) -> Result<u64, Problem> {
        let parsed = self.cursor.as_deref().map_or(Ok(0), str::parse::<u64>);
        let position = parsed.ok().filter(|position| i64::try_from(*position).is_ok());
        position.ok_or_else(|| Problem::malformed("cursor", "not a position in the event log"))
    }
}

fn view(entry: Entry, places: &BTreeMap<u64, ChainHash>) -> AuditEntryView {
    let Entry { sequence, at, kind, transfer, payload, act, signed } = entry;
    AuditEntryView {
        sequence,
        at_micros: at.micros(),
        at: time(at),
        kind,
        transfer_id: transfer,
        payload,
        act,
        signed,
        hash: places.get(&sequence).map(ToString::to_string),
    }
}

/// List audit entries, oldest first: the event log with who did it, from where, with which signature, and each entry's place in the chain.
#[utoipa::path(get, path = "/v1/audit/entries", tag = "audit", security(("apiKey" = [])), params(Which),
    responses((status = 200, body = AuditEntryPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn entries(
    State(state): State<ApiState>,
    Query(which): Query<Which>,
) -> Result<Json<AuditEntryPage>, Problem> {
    let (from, limit) = (which.position()?, page_size(which.limit)?);
    let store = &state.context.store;
    let entries = audit_log::entries(store, from, limit).await?;
    let places = audit_log::seals(store, from, limit).await?;
    let places = places.into_iter().map(|place| (place.sequence, place.hash)).collect();
    let next = entries.last().map_or(from, |entry| entry.sequence).to_string();
    Ok(Json(AuditEntryPage { items: entries.into_iter().map(|entry| view(entry, &places)).collect(), next }))
}

/// List the checkpoints of the audit log, oldest first, with the co-signers' signatures.
#[utoipa::path(get, path = "/v1/audit/checkpoints", tag = "audit", security(("apiKey" = [])), params(Which),
    responses((status = 200, body = CheckpointPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn checkpoints(
    State(state): State<ApiState>,
    Query(which): Query<Which>,
) -> Result<Json<CheckpointPage>, Problem> {
    let (from, limit) = (which.position()?, page_size(which.limit)?);
    let found = audit_log::checkpoints(&state.context.store, from, limit).await?;
    let next = found.last().map_or(from, |one| one.checkpoint.sequence).to_string();
    Ok(Json(CheckpointPage { items: found.into_iter().map(CheckpointView::from).collect(), next }))
}
