//! Elliptic: AML API v2, synchronous analyses.
//!
//! | subject | what is asked |
//! |---|---|
//! | outbound, address | `POST /v2/wallet/synchronous`, `wallet_exposure` |
//! | broadcast | `POST /v2/analyses/synchronous`, `destination_of_funds` |
//! | deposit | `POST /v2/analyses/synchronous`, `source_of_funds` |
//! | alerts | posted by Elliptic when a rescreening exceeds the thresholds configured there |
//!
//! Requests are signed: `x-access-key`, `x-access-timestamp` (milliseconds), and `x-access-sign`, the HMAC-SHA256 in base64, under the secret decoded from
//! base64, of timestamp, method, path in lower case, and body. The shapes follow developers.elliptic.co (authentication, rescreening and
//! alerting) and the published OpenAPI document of the AML API v2.

use super::{
    About, Callback, CallbackRefused, Level, Mark, Provider, RawAlert, Reply, Report, Subject,
    call::{Request, Server},
    vendor::{Coverage, NetworkNames},
};
use crate::{
    clock::parse_rfc3339,
    secret::{Secret, hmac_sha256},
    text::short,
};
use async_trait::async_trait;
use base64ct::{Base64, Encoding as _};
use bursar_domain::{
    screening::{RiskBand, Unanswered},
    time::{Clock, Timestamp},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// Elliptic traces over all chains and assets at once: `holistic`.
pub const NETWORKS: NetworkNames =
    NetworkNames { bitcoin: "holistic", ethereum: "holistic", xrp: "holistic" };

const LOOK_AGAIN: Duration = Duration::from_secs(3);

pub struct Elliptic {
    server: Server,
    key: Secret,
    /// Decoded from base64.
    secret: Zeroizing<Vec<u8>>,
    coverage: Coverage,
    /// Elliptic posts alerts with this as `authorization: Bearer`; without it none are taken.
    callback_token: Option<Secret>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
#[error("provider.secret: must be base64, as Elliptic gives it")]
pub struct InvalidSecret;

#[derive(Serialize)]
struct Question<'a> {
    subject: AskedSubject<'a>,
    #[serde(rename = "type")]
    kind: &'static str,
    customer_reference: &'a str,
}

#[derive(Serialize)]
struct AskedSubject<'a> {
    asset: &'a str,
    blockchain: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    hash: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_address: Option<&'a str>,
}

#[derive(Deserialize)]
struct Analysis {
    id: String,
    #[serde(default)]
    process_status: Option<String>,
    /// 0 to 10; null where no rule of the desk's fired.
    #[serde(default)]
    risk_score: Option<f64>,
    #[serde(default)]
    subject: Option<AnsweredSubject>,
    #[serde(default)]
    customer: Option<Customer>,
    #[serde(default)]
    analysed_at: Option<String>,
    #[serde(default)]
    error: Option<Problem>,
    #[serde(default)]
    evaluation_detail: Option<Evaluation>,
    #[serde(default)]
    cluster_entities: Option<Vec<Entity>>,
}

#[derive(Deserialize)]
struct AnsweredSubject {
    hash: String,
}

#[derive(Deserialize)]
struct Customer {
    #[serde(default)]
    reference: Option<String>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    message: Option<String>,
}

/// A list for transactions, two for wallets.
enum Evaluation {
    Rules(Vec<Rule>),
    Directions(Directions),
}

#[derive(Deserialize)]
struct Directions {
    #[serde(default)]
    source: Option<Vec<Rule>>,
    #[serde(default)]
    destination: Option<Vec<Rule>>,
}

/// Not serde's `untagged`: what that buffers has no numbers any more where serde_json keeps them at arbitrary precision.
impl<'de> Deserialize<'de> for Evaluation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let evaluation = if value.is_array() {
            serde_json::from_value(value).map(Self::Rules)
        } else {
            serde_json::from_value(value).map(Self::Directions)
        };
        evaluation.map_err(D::Error::custom)
    }
}

#[derive(Deserialize)]
struct Rule {
    #[serde(default)]
    rule_name: Option<String>,
    #[serde(default)]
    risk_score: Option<f64>,
    #[serde(default)]
    matched_elements: Option<Vec<Element>>,
}

#[derive(Deserialize)]
struct Element {
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    contributions: Option<Vec<Contribution>>,
}

#[derive(Deserialize)]
struct Contribution {
    #[serde(default)]
    entity: Option<String>,
    #[serde(default)]
    risk_triggers: Option<Triggers>,
}

#[derive(Deserialize)]
struct Triggers {
    #[serde(default)]
    is_sanctioned: Option<bool>,
}

#[derive(Deserialize)]
struct Entity {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    is_after_sanction_date: Option<bool>,
}

/// A CloudEvent, or the older envelope; the analysis is at the same place in both.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    event: Option<EventName>,
    #[serde(default)]
    data: Option<EventData>,
    #[serde(default)]
    body: Option<EventBody>,
}

#[derive(Deserialize)]
struct EventName {
    #[serde(default)]
    id: Option<String>,
}

#[derive(Deserialize)]
struct EventBody {
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    analysis: Analysis,
}

impl Elliptic {
    /// # Errors
    /// A secret that is not base64.
    pub fn new(
        server: Server,
        key: Secret,
        secret: &Secret,
        coverage: Coverage,
        callback_token: Option<Secret>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidSecret> {
        let secret = Base64::decode_vec(secret.reveal()).map(Zeroizing::new).map_err(|_| InvalidSecret)?;
        Ok(Self { server, key, secret, coverage, callback_token, clock })
    }

    async fn analyse(&self, path: &str, question: &Question<'_>) -> Result<Reply, Unanswered> {
        let request = Request::post(path, question)?;
        let signed = || self.headers(&request);
        let response = self.server.send(&request, signed).await?;
        // It is taken, but not done within the request.
        if response.status.as_u16() == 202 {
            return Ok(Reply::Pending {
                reference: question.customer_reference.to_owned(),
                retry_after: LOOK_AGAIN,
            });
        }
        let analysis: Analysis = response.json()?;
        let asked = question.subject.hash;
        if analysis.subject.as_ref().is_some_and(|subject| !subject.hash.eq_ignore_ascii_case(asked)) {
            return Err(Unanswered::Malformed("answers about another subject".into()));
        }
        analysis.into_reply()
    }

    fn headers(&self, request: &Request) -> Vec<(&'static str, String)> {
        let millis = self.clock.now().micros().div_euclid(1000).to_string();
        let body = request.body.as_deref().unwrap_or("{}");
        let path = self.server.full_path(&request.path).to_lowercase();
        let parts = [millis.as_bytes(), request.method.as_str().as_bytes(), path.as_bytes(), body.as_bytes()];
        let signature = Base64::encode_string(&hmac_sha256(&self.secret, &parts));
        vec![
            ("x-access-key", self.key.reveal().to_owned()),
            ("x-access-sign", signature),
            ("x-access-timestamp", millis),
        ]
    }
}

#[async_trait]
impl Provider for Elliptic {
    fn name(&self) -> &'static str {
        "elliptic"
    }

    async fn screen(&self, id: &str, subject: &Subject, _now: Timestamp) -> Result<Reply, Unanswered> {
        let blockchain = self.coverage.network(subject.network())?;
        if let Subject::Outbound { asset, amount, .. }
        | Subject::Broadcast { asset, amount, .. }
        | Subject::Deposit { asset, amount, .. } = subject
        {
            self.coverage.amount(*asset, *amount)?;
        }
        let wallet = |hash| AskedSubject {
            asset: "holistic",
            blockchain,
            kind: "address",
            hash,
            output_type: None,
            output_address: None,
        };
        let transaction = |hash, address| AskedSubject {
            kind: "transaction",
            output_type: Some("address"),
            output_address: Some(address),
            ..wallet(hash)
        };
        let (path, kind, subject) = match subject {
            Subject::Outbound { address, .. } | Subject::Address { address, .. } => {
                ("/v2/wallet/synchronous", "wallet_exposure", wallet(address.as_str()))
            }
            Subject::Broadcast { address, tx_id, .. } => (
                "/v2/analyses/synchronous",
                "destination_of_funds",
                transaction(tx_id.as_str(), address.as_str()),
            ),
            Subject::Deposit { address, tx_id, .. } => {
                ("/v2/analyses/synchronous", "source_of_funds", transaction(tx_id.as_str(), address.as_str()))
            }
        };
        self.analyse(path, &Question { subject, kind, customer_reference: id }).await
    }

    fn callback(&self, call: &Callback) -> Result<Vec<RawAlert>, CallbackRefused> {
        let token = self.callback_token.as_ref().ok_or(CallbackRefused::None)?;
        let given = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !given.is_some_and(|given| token.matches(given.as_bytes())) {
            return Err(CallbackRefused::Unauthenticated);
        }
        let event: Event = serde_json::from_slice(call.body)
            .map_err(|_| CallbackRefused::Malformed("expected an event with data.analysis".into()))?;
        let id = event.id.or(event.event.and_then(|name| name.id));
        let data = event.data.or(event.body.map(|body| body.data));
        let missing = || CallbackRefused::Malformed("data.analysis is missing".into());
        let analysis = data.ok_or_else(missing)?.analysis;
        let about = About {
            id: analysis.customer.as_ref().and_then(|customer| customer.reference.clone()),
            tx_id: None,
            network: None,
            address: None,
        };
        let raised_at = analysis.analysed_at.as_deref().and_then(parse_rfc3339);
        let id = id
            .unwrap_or_else(|| format!("{}:{}", analysis.id, analysis.analysed_at.as_deref().unwrap_or("")));
        let report = match analysis.into_reply() {
            Ok(Reply::Report(report)) => report,
            // Nothing to say yet.
            Ok(Reply::Pending { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(CallbackRefused::Malformed(short(&error.to_string(), 200))),
        };
        let worst = report.findings.first();
        Ok(vec![RawAlert {
            id,
            about,
            category: worst.map_or_else(|| "rescreening".into(), |mark| mark.category.clone()),
            level: report.level,
            sanctions: report.findings.iter().any(|mark| mark.sanctions),
            description: worst.map_or_else(String::new, |mark| mark.description.clone()),
            raised_at,
        }])
    }
}

impl Analysis {
    fn into_reply(self) -> Result<Reply, Unanswered> {
        let reference = short(&self.id, 200);
        match self.process_status.as_deref() {
            Some("running" | "pending" | "queued") => {
                return Ok(Reply::Pending { reference, retry_after: LOOK_AGAIN });
            }
            Some("error") => {
                let why = self.error.and_then(|problem| problem.message).unwrap_or_default();
                return Err(Unanswered::Unavailable(format!("the analysis failed: {}", short(&why, 200))));
            }
            Some("complete") | None => {}
            Some(other) => {
                return Err(Unanswered::Malformed(format!("process_status {}", short(other, 40))));
            }
        }
        let rules = match self.evaluation_detail {
            None => Vec::new(),
            Some(Evaluation::Rules(rules)) => rules,
            Some(Evaluation::Directions(Directions { source, destination })) => {
                source.into_iter().flatten().chain(destination.into_iter().flatten()).collect()
            }
        };
        let mut findings: Vec<Mark> = rules.into_iter().flat_map(Rule::into_marks).collect();
        let entities = self.cluster_entities.into_iter().flatten();
        findings.extend(entities.filter_map(Entity::into_mark));
        // Without a score no rule fired, which is not the same as a score of 0.
        let level = self.risk_score.map_or(Level::NothingFound { usually: RiskBand::Unknown }, Level::Score);
        let (sanctions, outcome, expires_at) = (false, None, None);
        Ok(Reply::Report(Report { reference, level, sanctions, outcome, findings, expires_at }))
    }
}

impl Rule {
    fn into_marks(self) -> Vec<Mark> {
        let name = self.rule_name.unwrap_or_default();
        let level = self.risk_score.map_or(Level::Unknown, Level::Score);
        let elements = self.matched_elements.unwrap_or_default();
        if elements.is_empty() {
            return vec![Mark { category: name, level, sanctions: false, description: String::new() }];
        }
        elements
            .into_iter()
            .map(|element| {
                let contributions = element.contributions.unwrap_or_default();
                let hit = |one: &Contribution| {
                    one.risk_triggers.as_ref().and_then(|triggers| triggers.is_sanctioned) == Some(true)
                };
                let entities: Vec<&str> =
                    contributions.iter().filter_map(|one| one.entity.as_deref()).take(5).collect();
                Mark {
                    category: element.category.unwrap_or_else(|| name.clone()),
                    level: level.clone(),
                    sanctions: contributions.iter().any(hit),
                    description: format!("rule {name}: {}", entities.join(", ")),
                }
            })
            .collect()
    }
}

impl Entity {
    fn into_mark(self) -> Option<Mark> {
        let category = self.category?;
        let sanctions = self.is_after_sanction_date == Some(true);
        let description = self.name.unwrap_or_default();
        Some(Mark { category, level: Level::Band(RiskBand::Low), sanctions, description })
    }
}
