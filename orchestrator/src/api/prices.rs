//! Prices that services sign. What counts is decided by the policy in force, here and again at each co-signer.

use super::{ApiState, extract::Body, governance::log, problem::Problem, wire::time};
use axum::{Json, extract::State, http::StatusCode};
use bursar_domain::{
    audit::act::Signed,
    governance::{
        policy::Policy,
        quote::{NotQuoted, Quote, QuoteCheck, SignedQuote},
        signature::Signature,
        state::State as LogState,
    },
    time::Timestamp,
};
use bursar_store::{
    events,
    quotes::{self, StoredQuote},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

/// The most prices that are listed.
const MAX_LISTED: u32 = 1000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuoteSubmission {
    /// What was signed (docs/policy.md): genesis, asset, decimals, currency, price, quotedAt, expiresAt.
    #[schema(value_type = Object)]
    pub quote: Quote,
    #[schema(value_type = Object)]
    pub signature: Signature,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PriceView {
    pub asset: String,
    /// What one whole unit costs.
    pub price: String,
    pub currency: String,
    /// How many decimal places a whole unit has.
    pub decimals: u8,
    /// Who signed it.
    pub service: String,
    pub quoted_at: String,
    pub expires_at: String,
    pub received_at: String,
    /// Whether it counts now, by the policy in force.
    pub counts: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PriceList {
    pub items: Vec<PriceView>,
}

/// Take in a price that a service signed. Of each service the newest is kept.
#[utoipa::path(post, path = "/v1/prices", tag = "governance", security(("apiKey" = [])), request_body = QuoteSubmission,
    responses((status = 201, description = "It was taken", body = PriceView),
              (status = 200, description = "It is there, or a newer one of the same service", body = PriceView),
              (status = 400, body = Problem), (status = 401, body = Problem),
              (status = 403, body = Problem, description = "The policy does not name who signed it"), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "It has expired, or is too old"), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    submission: Result<Body<QuoteSubmission>, Problem>,
) -> Result<(StatusCode, Json<PriceView>), Problem> {
    let (_, log) = log(&state).await?;
    let Body { value: QuoteSubmission { quote, signature }, .. } =
        submission.inspect_err(|_| refused("MALFORMED"))?;
    let (signed, now) = (SignedQuote { quote, signature }, state.context.now());
    let policy = log.policy().map(|published| &*published.policy);
    check(&log, policy, &signed, now).map_err(|why| {
        refused(why.code());
        tracing::warn!(code = why.code(), service = %signed.signature.user, asset = %signed.quote.asset, "price refused");
        problem(&why)
    })?;
    let mut tx = state.context.store.write().await?;
    let (asset, service) = (signed.quote.asset, &signed.signature.user);
    let before = quotes::of_asset_in(&mut tx, asset, signed.quote.currency).await?;
    let before = before.iter().map(|stored| &stored.signed).find(|quote| quote.signature.user == *service);
    // The log keeps what it is told: a price that is only confirmed is none of its news.
    let news = before.is_none_or(|before| before.quote.price != signed.quote.price);
    let status = if quotes::put(&mut tx, &signed, now).await? { StatusCode::CREATED } else { StatusCode::OK };
    if status == StatusCode::CREATED {
        if news {
            let payload = json!({ "service": service, "quote": signed.quote });
            let told = Signed::price(&signed, log.head().seq);
            events::append_signed(&mut tx, "price.taken", None, now, &payload, &told).await?;
        }
        // What waits for people because its worth was not known may need fewer of them.
        quotes::nudge_waiting(&mut tx, asset, now).await?;
        tx.commit().await?;
    }
    Ok((status, Json(view(&log, StoredQuote { signed, received_at: now }, now))))
}

/// The newest price of each service, and whether it counts.
#[utoipa::path(get, path = "/v1/prices", tag = "governance", security(("apiKey" = [])),
    responses((status = 200, body = PriceList), (status = 401, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn list(State(state): State<ApiState>) -> Result<Json<PriceList>, Problem> {
    let (_, log) = log(&state).await?;
    let now = state.context.now();
    let there = quotes::all(&state.context.store, MAX_LISTED).await?;
    Ok(Json(PriceList { items: there.into_iter().map(|stored| view(&log, stored, now)).collect() }))
}

fn check(
    log: &LogState,
    policy: Option<&Policy>,
    signed: &SignedQuote,
    now: Timestamp,
) -> Result<(), NotQuoted> {
    let policy = policy.ok_or(NotQuoted::NoSource)?;
    signed.price(signed.quote.asset, &QuoteCheck::of(log, policy, now)).map(drop)
}

fn view(log: &LogState, stored: StoredQuote, now: Timestamp) -> PriceView {
    let StoredQuote { signed, received_at } = stored;
    let counts = check(log, log.policy().map(|published| &*published.policy), &signed, now);
    let Quote { genesis: _, asset, decimals, currency, price, quoted_at, expires_at } = signed.quote;
    PriceView {
        asset: asset.to_string(),
        price: price.to_string(),
        currency: currency.to_string(),
        decimals,
        service: signed.signature.user.to_string(),
        quoted_at: time(quoted_at),
        expires_at: time(expires_at),
        received_at: time(received_at),
        counts: counts.is_ok(),
        why: counts.err().map(|why| why.to_string()),
    }
}

fn refused(code: &'static str) {
    metrics::counter!("bursar_quotes_refused_total", "code" => code).increment(1);
}

fn problem(why: &NotQuoted) -> Problem {
    let (status, title) = match why {
        NotQuoted::NoSource | NotQuoted::NotSource(_) => {
            (StatusCode::FORBIDDEN, "This user may not quote prices")
        }
        NotQuoted::Stale => (StatusCode::CONFLICT, "The price is too old"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "The price does not count"),
    };
    Problem::governance(status, &format!("PRICE_{}", why.code()), title, why)
}
