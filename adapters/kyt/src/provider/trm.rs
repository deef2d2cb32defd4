//! TRM Labs: wallet screening and transaction monitoring, v2.
//!
//! | subject | what is asked |
//! |---|---|
//! | outbound, address | `POST /public/v2/screening/addresses` |
//! | broadcast, deposit | `POST /public/v2/tm/transfers`, then `GET /public/v2/tm/transfers/{uuid}` until `screenStatus` is `SUCCEEDED` |
//! | alerts | posted by TRM, with the HMAC-SHA256 of the body in `x-trm-signature` |
//!
//! Basic authentication with the API key as user and as password. A transfer's `externalId` is ours: registered again, it is the
//! same transfer. The shapes follow documentation.trmlabs.com as far as it is public, and public clients of it.

use super::{
    About, Callback, CallbackRefused, Level, Mark, Provider, RawAlert, Reply, Report, Subject,
    call::{Request, Server, segment},
    memo::Memo,
    vendor::{Coverage, Moved, NetworkNames},
};
use crate::{
    clock::{parse_rfc3339, rfc3339},
    secret::{Secret, hmac_verifies},
    text::short,
};
use async_trait::async_trait;
use base64ct::{Base64, Encoding as _};
use bursar_domain::{
    network::Network,
    screening::{RiskBand, Unanswered},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use zeroize::Zeroizing;

pub const NETWORKS: NetworkNames =
    NetworkNames { bitcoin: "bitcoin", ethereum: "ethereum", xrp: "xrp_ledger" };

const LOOK_AGAIN: Duration = Duration::from_secs(3);

pub struct Trm {
    server: Server,
    key: Secret,
    /// As whom everything is registered.
    account: String,
    coverage: Coverage,
    callback_secret: Option<Secret>,
    transfers: Memo,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AddressQuery<'a> {
    address: &'a str,
    chain: &'a str,
    account_external_id: &'a str,
    external_id: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Screened {
    address_submitted: String,
    #[serde(default)]
    external_id: Option<String>,
    address_risk_indicators: Vec<Indicator>,
    #[serde(default)]
    entities: Vec<Entity>,
    #[serde(default)]
    trm_app_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Indicator {
    category: String,
    #[serde(default)]
    category_risk_score_level: Option<u8>,
    #[serde(default)]
    risk_type: Option<String>,
    #[serde(default)]
    total_volume_usd: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    entity: Option<String>,
    #[serde(default)]
    risk_score_level: Option<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Submission<'a> {
    account_external_id: &'a str,
    asset: String,
    asset_amount: String,
    chain: &'a str,
    destination_address: &'a str,
    external_id: &'a str,
    fiat_currency: &'static str,
    /// Nobody here has a price: 0, which TRM takes where no rule is about fiat.
    fiat_value: &'static str,
    onchain_reference: &'a str,
    timestamp: String,
    transfer_type: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transfer {
    uuid: String,
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    screen_status: Option<String>,
    #[serde(default)]
    screen_status_failed_reason: Option<String>,
    #[serde(default)]
    risk_score_level: Option<u8>,
    #[serde(default)]
    trm_app_url: Option<String>,
}

/// What TRM posts.
#[derive(Deserialize)]
struct Event {
    alert: AlertBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertBody {
    uuid: String,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    risk_score_level: Option<u8>,
    #[serde(default)]
    created_on: Option<String>,
    transfer: AlertTransfer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AlertTransfer {
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    onchain_reference: Option<String>,
    #[serde(default)]
    destination_address: Option<String>,
    #[serde(default)]
    chain: Option<String>,
}

/// TRM's five levels: 0 unknown, 1 low, 5 medium, 10 high, 15 severe.
fn level(score: Option<u8>) -> Level {
    match score {
        Some(1) => Level::Band(RiskBand::Low),
        Some(2..=5) => Level::Band(RiskBand::Medium),
        Some(6..=10) => Level::Band(RiskBand::High),
        Some(11..) => Level::Band(RiskBand::Severe),
        Some(0) | None => Level::Unknown,
    }
}

impl Trm {
    pub fn new(
        server: Server,
        key: Secret,
        account: String,
        coverage: Coverage,
        callback_secret: Option<Secret>,
    ) -> Self {
        Self { server, key, account, coverage, callback_secret, transfers: Memo::default() }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let key = self.key.reveal();
        let pair = Zeroizing::new(format!("{key}:{key}"));
        vec![("authorization", format!("Basic {}", Base64::encode_string(pair.as_bytes())))]
    }

    async fn address(&self, id: &str, network: Network, address: &str) -> Result<Reply, Unanswered> {
        let chain = self.coverage.network(network)?;
        let query = AddressQuery { address, chain, account_external_id: &self.account, external_id: id };
        let request = Request::post("/public/v2/screening/addresses", &[query])?;
        let answers: Vec<Screened> = self.server.send(&request, || self.headers()).await?.json()?;
        let [answer] = <[Screened; 1]>::try_from(answers)
            .map_err(|answers| Unanswered::Malformed(format!("{} answers to one question", answers.len())))?;
        if !answer.address_submitted.eq_ignore_ascii_case(address) {
            return Err(Unanswered::Malformed("answers about another address".into()));
        }
        let mut findings: Vec<Mark> =
            answer.address_risk_indicators.into_iter().map(Indicator::into_mark).collect();
        findings.extend(answer.entities.into_iter().filter_map(Entity::into_mark));
        let none = Level::NothingFound { usually: RiskBand::Low };
        let level = if findings.is_empty() { none } else { Level::Band(RiskBand::Low) };
        let reference = answer.trm_app_url.or(answer.external_id).unwrap_or_else(|| id.to_owned());
        let (sanctions, outcome, expires_at) = (false, None, None);
        Ok(Reply::Report(Report {
            reference: short(&reference, 200),
            level,
            sanctions,
            outcome,
            findings,
            expires_at,
        }))
    }

    async fn transfer(
        &self,
        id: &str,
        transfer_type: &'static str,
        moved: Moved<'_>,
        now: Timestamp,
    ) -> Result<Reply, Unanswered> {
        let Moved { network: chain, asset, amount: asset_amount, address, tx_id } = moved;
        let known = self.transfers.get(id);
        let transfer: Transfer = match known {
            Some(uuid) => {
                let request = Request::get(format!("/public/v2/tm/transfers/{}", segment(&uuid)));
                let found: Transfer = self.server.send(&request, || self.headers()).await?.json()?;
                if found.uuid != uuid {
                    return Err(Unanswered::Malformed("answers about another transfer".into()));
                }
                found
            }
            None => {
                let submission = Submission {
                    account_external_id: &self.account,
                    asset: asset.to_lowercase(),
                    asset_amount,
                    chain,
                    destination_address: address,
                    external_id: id,
                    fiat_currency: "USD",
                    fiat_value: "0",
                    onchain_reference: tx_id,
                    timestamp: rfc3339(now),
                    transfer_type,
                };
                let request = Request::post("/public/v2/tm/transfers", &submission)?;
                let made: Transfer = self.server.send(&request, || self.headers()).await?.json()?;
                if made.external_id.as_deref().is_some_and(|given| given != id) {
                    return Err(Unanswered::Malformed("answers about another transfer".into()));
                }
                self.transfers.put(id, &made.uuid);
                made
            }
        };
        transfer.into_reply()
    }
}

#[async_trait]
impl Provider for Trm {
    fn name(&self) -> &'static str {
        "trm"
    }

    async fn screen(&self, id: &str, subject: &Subject, now: Timestamp) -> Result<Reply, Unanswered> {
        match subject {
            Subject::Outbound { network, asset, amount, address, .. } => {
                self.coverage.amount(*asset, *amount)?;
                self.address(id, *network, address).await
            }
            Subject::Address { network, address } => self.address(id, *network, address).await,
            Subject::Broadcast { network, asset, amount, address, tx_id, .. } => {
                let moved = self.coverage.moved(*network, *asset, *amount, address, tx_id)?;
                self.transfer(id, "CRYPTO_WITHDRAWAL", moved, now).await
            }
            Subject::Deposit { network, asset, amount, address, tx_id, .. } => {
                let moved = self.coverage.moved(*network, *asset, *amount, address, tx_id)?;
                self.transfer(id, "CRYPTO_DEPOSIT", moved, now).await
            }
        }
    }

    fn callback(&self, call: &Callback) -> Result<Vec<RawAlert>, CallbackRefused> {
        let secret = self.callback_secret.as_ref().ok_or(CallbackRefused::None)?;
        let mac = call.header("x-trm-signature").and_then(|text| hex::decode(text).ok());
        if !mac.is_some_and(|mac| hmac_verifies(secret.reveal().as_bytes(), &[call.body], &mac)) {
            return Err(CallbackRefused::Unauthenticated);
        }
        let Event { alert } = serde_json::from_slice(call.body)
            .map_err(|_| CallbackRefused::Malformed("expected alert.uuid and alert.transfer".into()))?;
        let AlertTransfer { external_id, onchain_reference, destination_address, chain } = alert.transfer;
        let network = chain.and_then(|name| self.coverage.named(&name));
        let about =
            About { id: external_id, tx_id: onchain_reference, network, address: destination_address };
        let category = alert.category.unwrap_or_else(|| "uncategorized".into());
        Ok(vec![RawAlert {
            id: alert.uuid,
            about,
            description: category.clone(),
            category,
            level: level(alert.risk_score_level),
            sanctions: false,
            raised_at: alert.created_on.as_deref().and_then(parse_rfc3339),
        }])
    }
}

impl Transfer {
    fn into_reply(self) -> Result<Reply, Unanswered> {
        let reference = short(self.trm_app_url.as_deref().unwrap_or(&self.uuid), 200);
        match self.screen_status.as_deref() {
            Some("PROCESSING" | "PENDING") => Ok(Reply::Pending { reference, retry_after: LOOK_AGAIN }),
            Some("SUCCEEDED") => {
                // No alert was raised: 0, or no level at all.
                let level = match self.risk_score_level {
                    Some(0) | None => Level::NothingFound { usually: RiskBand::Low },
                    some => level(some),
                };
                let (sanctions, outcome, expires_at) = (false, None, None);
                let findings = Vec::new();
                Ok(Reply::Report(Report { reference, level, sanctions, outcome, findings, expires_at }))
            }
            status => {
                let why = self.screen_status_failed_reason.unwrap_or_default();
                let status = short(status.unwrap_or("none"), 40);
                Err(Unanswered::Unsupported(format!("screenStatus {status}: {}", short(&why, 200))))
            }
        }
    }
}

impl Indicator {
    fn into_mark(self) -> Mark {
        let how = self.risk_type.unwrap_or_default();
        let volume = self.total_volume_usd.unwrap_or_default();
        let description = if volume.is_empty() { how } else { format!("{how}, {volume} USD") };
        let level = level(self.category_risk_score_level);
        Mark { category: self.category, level, sanctions: false, description }
    }
}

impl Entity {
    fn into_mark(self) -> Option<Mark> {
        let category = self.category?;
        let level = level(self.risk_score_level);
        Some(Mark { category, level, sanctions: false, description: self.entity.unwrap_or_default() })
    }
}
