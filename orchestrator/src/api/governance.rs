//! The governance log and what it says: read by everybody with a key, changed by signatures only.

pub mod changes;
mod refusal;

use super::{
    ApiState,
    extract::{Body, Query, page_size},
    problem::Problem,
    wire::time,
};
use axum::{Json, extract::State};
use bursar_domain::governance::{
    address_book::{AddressEntry, Listed},
    change::ChangeRules,
    directory::{Group, User},
    freeze::{Freeze, Scope},
    log::EntryDigest,
    policy::{self, Policy},
    state::{Pending, State as LogState},
};
use bursar_store::governance::{self as kept, StoredEntry};
use bursar_workers::governance::{Governance, GovernanceError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The log of this installation, and what it says now.
pub(super) async fn log(state: &ApiState) -> Result<(&Governance, Arc<LogState>), Problem> {
    let off =
        || Problem::not_found("governance log: [governance] genesis in the configuration switches it on");
    let governance = state.context.governance.as_ref().ok_or_else(off)?;
    let now = governance.state(&state.context.store).await?;
    Ok((governance, now))
}

impl From<GovernanceError> for Problem {
    fn from(error: GovernanceError) -> Self {
        match error {
            GovernanceError::Store(error) => error.into(),
            error @ GovernanceError::Contradicted { .. } => Self::not_now(error.to_string()),
            error => Self::internal(&error),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeadView {
    pub seq: u64,
    #[schema(value_type = String)]
    pub digest: EntryDigest,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GovernanceView {
    /// The digest that every co-signer pins.
    #[schema(value_type = String)]
    pub genesis: EntryDigest,
    /// The last entry: it stands for all before it.
    pub head: HeadView,
    /// What a loosening needs, for each class of change.
    #[schema(value_type = Object)]
    pub change_rules: ChangeRules,
    /// The entry that published the policy in force; absent when nothing is allowed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_version: Option<HeadView>,
    /// Changes that have their quorum and wait for their delay, oldest first.
    pub pending: Vec<PendingView>,
    /// How many freezes are in force.
    pub freezes: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingView {
    pub seq: u64,
    #[schema(value_type = String)]
    pub digest: EntryDigest,
    pub author: String,
    /// Such as `PUT_ADDRESS`.
    pub kind: &'static str,
    #[schema(value_type = Object)]
    pub change: Value,
    /// From then on it can be enacted here. Each co-signer counts by its own clock.
    pub until: String,
    pub can_be_enacted: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    pub seq: u64,
    #[schema(value_type = String)]
    pub digest: EntryDigest,
    /// When this installation first had it.
    pub seen_at: String,
    /// The same in microseconds since 1970, for a log that is loaded elsewhere.
    pub seen_at_micros: i64,
    /// Exactly the text that was signed.
    pub document: String,
    #[schema(value_type = Vec<Object>)]
    pub signatures: Vec<bursar_domain::governance::signature::Signature>,
}

impl From<StoredEntry> for EntryView {
    fn from(stored: StoredEntry) -> Self {
        let StoredEntry { seq, digest, entry, seen_at } = stored;
        Self {
            seq,
            digest,
            seen_at: time(seen_at),
            seen_at_micros: seen_at.micros(),
            document: entry.document,
            signatures: entry.signatures,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EntryPage {
    pub items: Vec<EntryView>,
    /// Pass as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The seq of an entry: those after it are listed. From the genesis on when absent.
    after: Option<u64>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

/// The log's head, its rules for changes, and what waits for its delay.
#[utoipa::path(get, path = "/v1/governance", tag = "governance", security(("apiKey" = [])),
    responses((status = 200, body = GovernanceView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(State(state): State<ApiState>) -> Result<Json<GovernanceView>, Problem> {
    let (governance, log) = log(&state).await?;
    let now = state.context.now();
    let pending = |pending: &Pending| -> Result<PendingView, Problem> {
        Ok(PendingView {
            seq: pending.seq,
            digest: pending.digest,
            author: pending.author.to_string(),
            kind: pending.change.name(),
            change: json(&*pending.change)?,
            until: time(pending.until),
            can_be_enacted: pending.until <= now,
        })
    };
    let head = |head: bursar_domain::governance::log::Head| HeadView { seq: head.seq, digest: head.digest };
    Ok(Json(GovernanceView {
        genesis: governance.genesis(),
        head: head(log.head()),
        change_rules: log.change_rules().clone(),
        policy_version: log.policy().map(|policy| head(policy.version)),
        pending: log.pending().map(pending).collect::<Result<_, _>>()?,
        freezes: log.freezes().iter().count(),
    }))
}

/// The log's entries as they were signed, in order.
#[utoipa::path(get, path = "/v1/governance/entries", tag = "governance", security(("apiKey" = [])), params(After),
    responses((status = 200, body = EntryPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn entries(
    State(state): State<ApiState>,
    Query(after): Query<After>,
) -> Result<Json<EntryPage>, Problem> {
    log(&state).await?;
    let limit = page_size(after.limit)?;
    let from = match after.after {
        None => 0,
        // No log comes there.
        Some(after) => after
            .checked_add(1)
            .filter(|from| i64::try_from(*from).is_ok())
            .ok_or_else(|| Problem::malformed("after", "not the seq of an entry"))?,
    };
    let mut items: Vec<EntryView> = kept::entries(&state.context.store, from, limit + 1)
        .await?
        .into_iter()
        .map(EntryView::from)
        .collect();
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(|last| last.seq.to_string());
    Ok(Json(EntryPage { items, next }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserList {
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<User>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct GroupList {
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Group>,
}

/// Who there is, with roles and keys; also those who are suspended.
#[utoipa::path(get, path = "/v1/governance/users", tag = "governance", security(("apiKey" = [])),
    responses((status = 200, body = UserList), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn users(State(state): State<ApiState>) -> Result<Json<UserList>, Problem> {
    let (_, log) = log(&state).await?;
    Ok(Json(UserList { items: log.directory().users().cloned().collect() }))
}

/// Users whom policy names together.
#[utoipa::path(get, path = "/v1/governance/groups", tag = "governance", security(("apiKey" = [])),
    responses((status = 200, body = GroupList), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn groups(State(state): State<ApiState>) -> Result<Json<GroupList>, Problem> {
    let (_, log) = log(&state).await?;
    Ok(Json(GroupList { items: log.directory().groups().cloned().collect() }))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PolicyView {
    /// The entry that published it.
    pub version: HeadView,
    #[schema(value_type = Object)]
    pub policy: Policy,
}

/// The policy in force.
#[utoipa::path(get, path = "/v1/governance/policy", tag = "governance", security(("apiKey" = [])),
    responses((status = 200, body = PolicyView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn policy(State(state): State<ApiState>) -> Result<Json<PolicyView>, Problem> {
    let (_, log) = log(&state).await?;
    let published =
        log.policy().ok_or_else(|| Problem::not_found("policy: none is published, so nothing is allowed"))?;
    let version = HeadView { seq: published.version.seq, digest: published.version.digest };
    Ok(Json(PolicyView { version, policy: (*published.policy).clone() }))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedView {
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub entry: AddressEntry,
    /// The log's entry that listed it.
    pub seq: u64,
    /// When it came into force here.
    pub since: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AddressBookView {
    pub items: Vec<ListedView>,
}

/// Where payments may go, as far as policy says so of listed addresses.
#[utoipa::path(get, path = "/v1/governance/address-book", tag = "governance", security(("apiKey" = [])),
    responses((status = 200, body = AddressBookView), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn address_book(State(state): State<ApiState>) -> Result<Json<AddressBookView>, Problem> {
    let (_, log) = log(&state).await?;
    let listed = |listed: &Listed| ListedView {
        entry: listed.entry.clone(),
        seq: listed.seq,
        since: time(listed.since),
    };
    Ok(Json(AddressBookView { items: log.address_book().iter().map(listed).collect() }))
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezeView {
    /// The log's entry that began it, which a lift names.
    pub seq: u64,
    #[schema(value_type = Object)]
    pub scope: Scope,
    pub reason: String,
    pub by: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FreezeList {
    pub items: Vec<FreezeView>,
}

/// What nobody signs until two people lift it.
#[utoipa::path(get, path = "/v1/governance/freezes", tag = "governance", security(("apiKey" = [])),
    responses((status = 200, body = FreezeList), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn freezes(State(state): State<ApiState>) -> Result<Json<FreezeList>, Problem> {
    let (_, log) = log(&state).await?;
    let view = |freeze: &Freeze| FreezeView {
        seq: freeze.seq,
        scope: freeze.scope.clone(),
        reason: freeze.reason.clone(),
        by: freeze.by.to_string(),
    };
    Ok(Json(FreezeList { items: log.freezes().iter().map(view).collect() }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyDraft {
    #[schema(value_type = Object)]
    pub policy: Policy,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Validation {
    /// Whether it may be proposed.
    pub valid: bool,
    #[schema(value_type = Vec<Object>)]
    pub problems: Vec<policy::Problem>,
    /// Against the policy in force.
    #[schema(value_type = Object)]
    pub diff: Value,
}

/// Everything that is wrong with a draft, and what it would change. Nothing is kept.
#[utoipa::path(post, path = "/v1/policy/validate", tag = "governance", security(("apiKey" = [])), request_body = PolicyDraft,
    responses((status = 200, body = Validation), (status = 400, body = Problem), (status = 401, body = Problem),
              (status = 404, body = Problem), (status = 413, body = Problem)))]
pub async fn validate(
    State(state): State<ApiState>,
    Body { value: draft, .. }: Body<PolicyDraft>,
) -> Result<Json<Validation>, Problem> {
    let (_, log) = log(&state).await?;
    let problems = policy::validate(&draft.policy, log.directory(), log.address_book());
    let before = log.policy().map(|published| &*published.policy);
    let diff = json(&crate::governance::diff::policies(before, &draft.policy))?;
    Ok(Json(Validation { valid: problems.is_empty(), problems, diff }))
}

pub(super) fn json(value: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(|error| Problem::internal(&error))
}
