//! What a governed lane talks to besides nodes: a screening service, a travel-rule exchange, and a receiver of webhooks. One server on
//! loopback stands in for all three, says what its lane wants, and keeps what it is told.

use super::people::{People, now};
use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bursar_domain::{
    intent::IntentDigest,
    screening::{
        Alert, AlertPage, AlertSubject, Answer, Assessment, Inquiry, RiskBand, Screened, SignedAlert,
        SignedVerdict,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::IntoFuture as _,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::net::TcpListener;

/// What a screening says counts this long.
const COUNTS: Duration = Duration::from_secs(3600);

/// Clones share what was heard.
#[derive(Clone)]
pub struct Outside {
    url: String,
    people: Arc<OnceLock<People>>,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Default)]
pub struct Heard {
    /// Payees that are held for review.
    pub held: BTreeSet<String>,
    /// Whether deposits are.
    pub holds_deposits: bool,
    /// In order of their coming.
    alerts: Vec<SignedAlert>,
    /// By inquiry and round: who asks the same again is answered alike.
    answers: BTreeMap<String, Answer>,
    /// What the exchange was told, by the name of the exchange.
    pub told: BTreeMap<String, Value>,
    /// Webhooks, by their ids.
    pub webhooks: BTreeMap<String, Value>,
    /// What came twice under one name and was not the same.
    pub contradictions: Vec<String>,
}

impl Heard {
    /// Keeps what came under a name, once.
    fn keep(kept: &mut BTreeMap<String, Value>, contradictions: &mut Vec<String>, name: &str, body: Value) {
        match kept.get(name) {
            Some(before) if *before == body => {}
            Some(before) => contradictions.push(format!("{name}: {before}, and then {body}")),
            None => drop(kept.insert(name.to_owned(), body)),
        }
    }
}

impl Outside {
    /// Listens. It answers questions once it was told who signs ([`Self::opens`]).
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let outside = Self { url, people: Arc::default(), heard: Arc::default() };
        let router = Router::new()
            .route("/v1/screenings", post(screen))
            .route("/v1/alerts", get(alerts))
            .route("/exchange", post(exchange))
            .route("/hooks", post(take))
            .with_state(outside.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        Ok(outside)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on verdicts are signed by the service of this desk.
    pub fn opens(&self, people: People) -> anyhow::Result<()> {
        self.people.set(people).ok().context("it is opened once")
    }

    pub fn people(&self) -> anyhow::Result<&People> {
        self.people.get().context("the desk is founded")
    }

    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        // Whole after each use.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Raises an alert about an order, unless there is one.
    pub fn alert(&self, order: IntentDigest) -> anyhow::Result<()> {
        let subject = AlertSubject::Transfer(order);
        let mut heard = self.heard();
        if heard.alerts.iter().any(|signed| signed.alert.subject == subject) {
            return Ok(());
        }
        let alert = Alert {
            id: format!("alert-{}", heard.alerts.len()),
            subject,
            risk: RiskBand::High,
            sanctions: false,
            description: "heard of since".into(),
            raised_at: now(),
        };
        let signature = self.people()?.screens(&alert.digest())?;
        heard.alerts.push(SignedAlert { alert, signature });
        Ok(())
    }

    fn answer(&self, asked: &Asked) -> anyhow::Result<Answer> {
        let name = serde_json::to_string(&(&asked.inquiry, asked.round))?;
        let mut heard = self.heard();
        if let Some(answer) = heard.answers.get(&name) {
            return Ok(answer.clone());
        }
        let held = match &asked.inquiry {
            Inquiry::Outbound { order } => {
                order.intent.payments.iter().any(|payment| heard.held.contains(&payment.destination.address))
            }
            Inquiry::Deposit { .. } => heard.holds_deposits,
            Inquiry::Broadcast { .. } | Inquiry::Address { .. } => false,
        };
        let screened_at = now();
        let assessment = Assessment {
            provider: "stand-in".into(),
            risk: if held { RiskBand::Medium } else { RiskBand::Low },
            sanctions: false,
            outcome: if held { Screened::Review } else { Screened::Clear },
            findings: Vec::new(),
            screened_at,
            expires_at: screened_at.plus(COUNTS),
            reference: format!("screening-{}", heard.answers.len()),
        };
        let verdict = match &asked.inquiry {
            Inquiry::Outbound { order } => {
                let people = self.people()?;
                let verdict = assessment.verdict(people.genesis(), order.intent.digest());
                let signature = people.screens(&verdict.digest())?;
                Some(SignedVerdict { verdict, signature })
            }
            _ => None,
        };
        let answer = Answer::Complete { assessment, verdict };
        heard.answers.insert(name, answer.clone());
        Ok(answer)
    }
}

#[derive(Deserialize)]
struct Asked {
    inquiry: Inquiry,
    round: u32,
}

async fn screen(State(outside): State<Outside>, Json(asked): Json<Asked>) -> Response {
    match outside.answer(&asked) {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

#[derive(Deserialize)]
struct After {
    cursor: Option<usize>,
}

async fn alerts(State(outside): State<Outside>, Query(after): Query<After>) -> Json<AlertPage> {
    let heard = outside.heard();
    let alerts = heard.alerts.iter().skip(after.cursor.unwrap_or_default()).cloned().collect();
    let next = (!heard.alerts.is_empty()).then(|| heard.alerts.len().to_string());
    Json(AlertPage { alerts, next })
}

async fn exchange(State(outside): State<Outside>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let Some(name) = named(&headers, "idempotency-key") else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut heard = outside.heard();
    let Heard { told, contradictions, .. } = &mut *heard;
    Heard::keep(told, contradictions, name, body);
    Json(json!({ "status": "ACCEPTED", "reference": format!("exchange-of-{name}") })).into_response()
}

async fn take(State(outside): State<Outside>, headers: HeaderMap, Json(body): Json<Value>) -> StatusCode {
    let Some(id) = named(&headers, "webhook-id") else { return StatusCode::BAD_REQUEST };
    let mut heard = outside.heard();
    let Heard { webhooks, contradictions, .. } = &mut *heard;
    Heard::keep(webhooks, contradictions, id, body);
    StatusCode::NO_CONTENT
}

fn named<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
