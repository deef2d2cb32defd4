//! Chainalysis: KYT (Transaction Monitoring) API v2, and the address screening (entities) API.
//!
//! | subject | what is asked |
//! |---|---|
//! | outbound | `POST /api/kyt/v2/users/{user}/withdrawal-attempts`, then `GET /api/kyt/v2/withdrawal-attempts/{id}` until `updatedAt` is set, then its `/alerts`, `/exposures` and `/address-identifications` |
//! | broadcast, deposit | `POST /api/kyt/v2/users/{user}/transfers` as `sent` or `received`, then `GET /api/kyt/v2/transfers/{id}` in the same way, `/alerts` and `/exposures` |
//! | address | `POST /api/risk/v2/entities`, then `GET /api/risk/v2/entities/{address}` until its `status` is `COMPLETE` |
//! | alerts | `GET /api/kyt/v1/alerts?createdAt_gte=…`, by pages |
//!
//! The shapes follow docs.chainalysis.com/api/kyt and its technical integration guide, as far as they are public.

use super::{
    About, Level, Mark, Provider, RawAlert, RawPage, Reply, Report, Subject,
    call::{Request, Server, segment},
    memo::Memo,
    vendor::{Coverage, Moved, NetworkNames},
};
use crate::{
    clock::{parse_rfc3339, rfc3339},
    secret::Secret,
    text::short,
};
use async_trait::async_trait;
use bursar_domain::{
    network::Network,
    screening::{RiskBand, Unanswered},
    time::{Clock, Timestamp},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};

pub const NETWORKS: NetworkNames =
    NetworkNames { bitcoin: "Bitcoin", ethereum: "Ethereum", xrp: "XRP Ledger" };

/// How soon to look again; most registrations are processed within seconds.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const PAGE: usize = 100;
/// Of alerts, in one go.
const MAX_PAGES: usize = 20;
/// How old alerts may be that the first poll reads, in a store that has none yet. Later ones go on where it was.
const LOOK_BACK: Duration = Duration::from_secs(30 * 24 * 3600);

pub struct Chainalysis {
    server: Server,
    token: Secret,
    /// As whom everything is registered: one user for the whole desk.
    user: String,
    coverage: Coverage,
    alerts_path: String,
    clock: Arc<dyn Clock>,
    registered: Memo,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt<'a> {
    network: &'a str,
    asset: &'a str,
    address: &'a str,
    attempt_identifier: &'a str,
    asset_amount: Box<RawValue>,
    attempt_timestamp: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Transfer<'a> {
    network: &'a str,
    asset: &'a str,
    transfer_reference: String,
    direction: &'static str,
    asset_amount: Box<RawValue>,
    transfer_timestamp: String,
}

/// Of both registrations and of looking at them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    external_id: String,
    /// Set once it is processed.
    #[serde(default)]
    updated_at: Option<String>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    alert_level: String,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    category_id: Option<u64>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    exposure_type: Option<String>,
    #[serde(default)]
    external_id: Option<String>,
}

/// Whom the funds go to or come from. Alerts say how bad that is; here only sanctions are looked for.
#[derive(Deserialize)]
struct Exposures {
    #[serde(default)]
    direct: Option<Exposure>,
    #[serde(default)]
    indirect: Option<Vec<Exposure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exposure {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    category_id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identifications {
    #[serde(default)]
    chainalysis_identifications: Vec<Identification>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identification {
    #[serde(default)]
    address_name: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    category_id: Option<u64>,
    #[serde(default)]
    description: Option<String>,
}

/// The address screening's answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    address: String,
    #[serde(default)]
    risk: Option<String>,
    #[serde(default)]
    risk_reason: Option<String>,
    #[serde(default)]
    cluster: Option<Exposure>,
    #[serde(default)]
    address_identifications: Vec<Exposure>,
    #[serde(default)]
    triggers: Vec<Trigger>,
    #[serde(default)]
    status: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trigger {
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    rule_triggered: Option<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    risk: Option<String>,
}

#[derive(Deserialize)]
struct MonitorPage {
    total: usize,
    data: Vec<MonitorAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitorAlert {
    alert_identifier: String,
    level: String,
    created_at: String,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    exposure_type: Option<String>,
    #[serde(default)]
    transaction_hash: Option<String>,
    #[serde(default)]
    transfer_reference: Option<String>,
    #[serde(default)]
    transfer_output_address: Option<String>,
    #[serde(default)]
    network: Option<String>,
}

/// Number of the category of sanctioned entities.
const SANCTIONS_CATEGORY: u64 = 3;

impl Chainalysis {
    pub fn new(
        server: Server,
        token: Secret,
        user: String,
        coverage: Coverage,
        alerts_path: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { server, token, user, coverage, alerts_path, clock, registered: Memo::default() }
    }

    async fn call<T: DeserializeOwned>(&self, request: Request) -> Result<T, Unanswered> {
        let headers = || vec![("token", self.token.reveal().to_owned())];
        self.server.send(&request, headers).await?.json()
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Unanswered> {
        self.call(Request::post(path, body)?).await
    }

    /// What is not there yet is empty: these appear when there is something to say.
    async fn get_or<T: DeserializeOwned>(&self, path: &str, absent: T) -> Result<T, Unanswered> {
        match self.call(Request::get(path)).await {
            Err(Unanswered::Unknown(_)) => Ok(absent),
            other => other,
        }
    }

    /// The vendor's id of what is registered under `id`, and whether it is processed.
    async fn registration(
        &self,
        id: &str,
        kind: &'static str,
        body: &impl Serialize,
    ) -> Result<Registered, Unanswered> {
        let external = match self.registered.get(id) {
            Some(external) => external,
            None => {
                let user = segment(&self.user);
                let made: Registered = self.post(&format!("/api/kyt/v2/users/{user}/{kind}"), body).await?;
                self.registered.put(id, &made.external_id);
                if made.updated_at.is_some() {
                    return Ok(made);
                }
                made.external_id
            }
        };
        let pending = Registered { external_id: external.clone(), updated_at: None };
        // Until it is processed it may not be found at all.
        let found: Registered =
            self.get_or(&format!("/api/kyt/v2/{kind}/{}", segment(&external)), pending).await?;
        if found.external_id != external {
            return Err(Unanswered::Malformed("answers about another registration".into()));
        }
        Ok(found)
    }

    async fn registered(
        &self,
        id: &str,
        kind: &'static str,
        body: &impl Serialize,
    ) -> Result<Reply, Unanswered> {
        let Registered { external_id, updated_at } = self.registration(id, kind, body).await?;
        let reference = short(&external_id, 200);
        if updated_at.is_none() {
            return Ok(Reply::Pending { reference, retry_after: LOOK_AGAIN });
        }
        let base = format!("/api/kyt/v2/{kind}/{}", segment(&external_id));
        let alerts: Alerts = self.call(Request::get(format!("{base}/alerts"))).await?;
        let none = Exposures { direct: None, indirect: None };
        let exposures: Exposures = self.get_or(&format!("{base}/exposures"), none).await?;
        let mut findings: Vec<Mark> = alerts.alerts.into_iter().map(Alert::into_mark).collect();
        findings.extend(exposures.direct.into_iter().filter_map(|one| one.into_mark("direct")));
        let indirect = exposures.indirect.into_iter().flatten();
        findings.extend(indirect.filter_map(|one| one.into_mark("indirect")));
        if kind == "withdrawal-attempts" {
            let none = Identifications { chainalysis_identifications: Vec::new() };
            let known: Identifications =
                self.get_or(&format!("{base}/address-identifications"), none).await?;
            findings.extend(known.chainalysis_identifications.into_iter().map(Identification::into_mark));
        }
        let level = Level::NothingFound { usually: RiskBand::Low };
        let level = if findings.is_empty() { level } else { Level::Band(RiskBand::Low) };
        Ok(Reply::Report(Report {
            reference,
            level,
            sanctions: false,
            outcome: None,
            findings,
            expires_at: None,
        }))
    }

    async fn entity(&self, network: Network, address: &str) -> Result<Reply, Unanswered> {
        self.coverage.network(network)?;
        let known = self.registered.get(address).is_some();
        if !known {
            let _: serde_json::Value =
                self.post("/api/risk/v2/entities", &serde_json::json!({ "address": address })).await?;
            self.registered.put(address, address);
        }
        let path = format!("/api/risk/v2/entities/{}", segment(address));
        let entity: Entity = self.call(Request::get(path)).await?;
        if !entity.address.eq_ignore_ascii_case(address) {
            return Err(Unanswered::Malformed("answers about another address".into()));
        }
        let reference = short(&entity.address, 200);
        if entity.status.as_deref().is_some_and(|status| status != "COMPLETE") {
            return Ok(Reply::Pending { reference, retry_after: LOOK_AGAIN });
        }
        let mut findings: Vec<Mark> = entity.triggers.into_iter().map(Trigger::into_mark).collect();
        findings.extend(entity.cluster.into_iter().filter_map(|one| one.into_mark("cluster")));
        let known = entity.address_identifications.into_iter();
        findings.extend(known.filter_map(|one| one.into_mark("identified")));
        if let Some(reason) = entity.risk_reason {
            let level = entity.risk.clone().map_or(Level::Unknown, Level::Word);
            findings.push(Mark {
                category: "risk reason".into(),
                level,
                sanctions: false,
                description: reason,
            });
        }
        let level = entity.risk.map_or(Level::Unknown, Level::Word);
        let (sanctions, outcome, expires_at) = (false, None, None);
        Ok(Reply::Report(Report { reference, level, sanctions, outcome, findings, expires_at }))
    }

    async fn transfer(
        &self,
        id: &str,
        direction: &'static str,
        moved: Moved<'_>,
        now: Timestamp,
    ) -> Result<Reply, Unanswered> {
        let Moved { network, asset, amount, address, tx_id } = moved;
        let body = Transfer {
            network,
            asset,
            transfer_reference: format!("{tx_id}:{address}"),
            direction,
            asset_amount: number(amount)?,
            transfer_timestamp: rfc3339(now),
        };
        self.registered(id, "transfers", &body).await
    }
}

#[async_trait]
impl Provider for Chainalysis {
    fn name(&self) -> &'static str {
        "chainalysis"
    }

    async fn screen(&self, id: &str, subject: &Subject, now: Timestamp) -> Result<Reply, Unanswered> {
        match subject {
            Subject::Outbound { network, asset, amount, address, .. } => {
                let network = self.coverage.network(*network)?;
                let (asset, amount) = self.coverage.amount(*asset, *amount)?;
                let body = Attempt {
                    network,
                    asset,
                    address,
                    attempt_identifier: id,
                    asset_amount: number(amount)?,
                    attempt_timestamp: rfc3339(now),
                };
                self.registered(id, "withdrawal-attempts", &body).await
            }
            Subject::Broadcast { network, asset, amount, address, tx_id, .. } => {
                let moved = self.coverage.moved(*network, *asset, *amount, address, tx_id)?;
                self.transfer(id, "sent", moved, now).await
            }
            Subject::Deposit { network, asset, amount, address, tx_id, .. } => {
                let moved = self.coverage.moved(*network, *asset, *amount, address, tx_id)?;
                self.transfer(id, "received", moved, now).await
            }
            Subject::Address { network, address } => self.entity(*network, address).await,
        }
    }

    async fn alerts(&self, cursor: Option<&str>) -> Result<RawPage, Unanswered> {
        let Place { since, mut newest, first } = match cursor {
            Some(cursor) => Place::parse(cursor),
            None => Place::first(self.clock.now()),
        };
        let mut alerts = Vec::new();
        for page in 0..MAX_PAGES {
            let offset = first.saturating_add(page * PAGE);
            let query = format!("createdAt_gte={}&limit={PAGE}&offset={offset}", segment(&since));
            let found: MonitorPage = self.call(Request::get(format!("{}?{query}", self.alerts_path))).await?;
            let (count, total) = (found.data.len(), found.total);
            for alert in found.data {
                let created = parse_rfc3339(&alert.created_at)
                    .ok_or_else(|| Unanswered::Malformed("at data.createdAt".into()))?;
                if newest.as_deref().and_then(parse_rfc3339).is_none_or(|seen| created > seen) {
                    newest = Some(alert.created_at.clone());
                }
                alerts.push(self.raw(alert, created));
            }
            if count == 0 || offset.saturating_add(count) >= total {
                return Ok(RawPage { alerts, next: newest, more: false });
            }
        }
        // More than fits into one go. The order of the pages is not promised, so the next go reads on in the same list.
        let first = first.saturating_add(MAX_PAGES * PAGE);
        Ok(RawPage { alerts, next: Some(Place { since, newest, first }.to_string()), more: true })
    }
}

/// How far the alerts were read: `createdAt` of the newest, or in the middle of a list that takes several goes `since offset newest`.
struct Place {
    since: String,
    newest: Option<String>,
    first: usize,
}

impl Place {
    /// Of the first poll of all. It is written down even if there is nothing: whatever comes later is after it, however long nobody polls.
    fn first(now: Timestamp) -> Self {
        let since = rfc3339(now.minus(LOOK_BACK));
        Self { newest: Some(since.clone()), since, first: 0 }
    }

    fn parse(cursor: &str) -> Self {
        let mut parts = cursor.split(' ');
        let since = parts.next().unwrap_or_default().to_owned();
        let first = parts.next().and_then(|offset| offset.parse().ok()).unwrap_or(0);
        let newest = parts.next().or(Some(cursor).filter(|_| first == 0)).map(str::to_owned);
        Self { since, newest, first }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { since, newest, first } = self;
        write!(f, "{since} {first} {}", newest.as_deref().unwrap_or(since))
    }
}

impl Chainalysis {
    fn raw(&self, alert: MonitorAlert, created: Timestamp) -> RawAlert {
        let reference = alert.transfer_reference.as_deref().and_then(|text| text.split_once(':'));
        let tx_id = alert.transaction_hash.or_else(|| reference.map(|(tx, _)| tx.to_owned()));
        let address = alert.transfer_output_address.or_else(|| reference.map(|(_, place)| place.to_owned()));
        let network = alert.network.as_deref().and_then(|name| self.coverage.named(name));
        let category = alert.category.unwrap_or_else(|| "uncategorized".into());
        let parts = [Some(category.as_str()), alert.service.as_deref(), alert.exposure_type.as_deref()];
        RawAlert {
            id: alert.alert_identifier,
            about: About { id: None, tx_id, network, address },
            description: describe(&parts),
            category,
            level: Level::Word(alert.level),
            sanctions: false,
            raised_at: Some(created),
        }
    }
}

impl Alert {
    fn into_mark(self) -> Mark {
        let category = self.category.unwrap_or_else(|| "uncategorized".into());
        let parts = [self.service.as_deref(), self.exposure_type.as_deref(), self.external_id.as_deref()];
        Mark {
            description: describe(&parts),
            category,
            level: Level::Word(self.alert_level),
            sanctions: self.category_id == Some(SANCTIONS_CATEGORY),
        }
    }
}

impl Exposure {
    /// Nothing, where nobody is known.
    fn into_mark(self, how: &str) -> Option<Mark> {
        let category = self.category?;
        let description = describe(&[self.name.as_deref(), Some(how)]);
        let sanctions = self.category_id == Some(SANCTIONS_CATEGORY);
        Some(Mark { category, level: Level::Band(RiskBand::Low), sanctions, description })
    }
}

impl Identification {
    fn into_mark(self) -> Mark {
        let name = self.address_name.unwrap_or_default();
        let category = self.category.unwrap_or_else(|| name.clone());
        let sanctions = self.category_id == Some(SANCTIONS_CATEGORY)
            || name.to_ascii_uppercase().starts_with("SANCTIONS");
        let description = describe(&[Some(&name), self.description.as_deref()]);
        // An identified address is a known risk, whatever its name.
        Mark { category, level: Level::Band(RiskBand::Medium), sanctions, description }
    }
}

impl Trigger {
    fn into_mark(self) -> Mark {
        let risk = self.rule_triggered.and_then(|rule| rule.risk);
        Mark {
            category: self.category.unwrap_or_else(|| "uncategorized".into()),
            level: risk.map_or(Level::Unknown, Level::Word),
            sanctions: false,
            description: self.message.unwrap_or_default(),
        }
    }
}

fn describe(parts: &[Option<&str>]) -> String {
    let parts: Vec<&str> = parts.iter().flatten().copied().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// An amount as a JSON number, all of its digits.
fn number(decimal: String) -> Result<Box<RawValue>, Unanswered> {
    RawValue::from_string(decimal).map_err(|_| Unanswered::Malformed("our own amount".into()))
}
