//! The screener over HTTP.
//!
//! | route | for whom | what |
//! |---|---|---|
//! | `POST /v1/screenings` | the orchestrator, by bearer token | `{ "inquiry": …, "round": 0 }` to an [`Answer`] |
//! | `GET /v1/alerts?cursor=` | the orchestrator, by bearer token | an [`AlertPage`] |
//! | `POST /v1/provider-callback/{provider}` | the provider, by its own signature | alerts |
//! | `GET /health/live` | anybody | that the process runs |
//! | `GET /metrics` | anybody that reaches the port | counts, in Prometheus' text format |

use crate::{
    provider::{Callback, CallbackRefused},
    secret::Secret,
    service::Screener,
    text::short,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bursar_domain::screening::{AlertPage, Answer, Inquiry, ScreeningService as _, Unanswered};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// Of an inquiry: 200 payees are far below it.
const MAX_INQUIRY: usize = 256 * 1024;
const MAX_CALLBACK: usize = 1024 * 1024;
/// How long requests are waited for that are being answered when it stops.
const GRACE: Duration = Duration::from_secs(10);

/// What `POST /v1/screenings` takes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub inquiry: Inquiry,
    #[serde(default)]
    pub round: u32,
}

#[derive(Clone)]
struct App {
    screener: Arc<Screener>,
    token: Arc<Secret>,
    metrics: Option<PrometheusHandle>,
}

#[derive(Deserialize)]
struct Cursor {
    #[serde(default)]
    cursor: Option<String>,
}

/// Its routes; `token` is what callers must have.
pub fn router(screener: Arc<Screener>, token: Secret, metrics: Option<PrometheusHandle>) -> Router {
    let app = App { screener, token: Arc::new(token), metrics };
    let ours = Router::new()
        .route("/v1/screenings", post(screen).layer(DefaultBodyLimit::max(MAX_INQUIRY)))
        .route("/v1/alerts", get(alerts))
        .route_layer(middleware::from_fn_with_state(app.clone(), authenticated));
    Router::new()
        .merge(ours)
        .route("/v1/provider-callback/{provider}", post(callback).layer(DefaultBodyLimit::max(MAX_CALLBACK)))
        .route("/health/live", get(|| async { "live\n" }))
        .route("/metrics", get(metrics_text))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing here") })
        .with_state(app)
}

/// Serves until `stop` is done; then requests that are being answered get a moment.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (told, mut stopping) = tokio::sync::watch::channel(false);
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        let _ = told.send(true);
    });
    let late = async move {
        // Never told means that it ended by itself.
        if stopping.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => served,
        () = late => {
            tracing::warn!("stopping although requests are still being answered");
            Ok(())
        }
    }
}

async fn authenticated(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let given = values.next().and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let good = values.next().is_none() && given.is_some_and(|given| app.token.matches(given));
    if !good {
        metrics::counter!("bursar_screener_unauthenticated_total").increment(1);
        let detail = "send authorization: Bearer with the token of the screener's configuration";
        return problem(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", detail);
    }
    next.run(request).await
}

async fn screen(State(app): State<App>, body: Result<Bytes, BytesRejection>) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            return problem(rejection.status(), "REFUSED", "the inquiry is too large, or broke off");
        }
    };
    let mut deserializer = serde_json::Deserializer::from_slice(&body);
    let asked: Result<Asked, _> = serde_path_to_error::deserialize(&mut deserializer);
    match asked.map_err(|error| error.to_string()).and_then(|asked| {
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(asked)
    }) {
        Ok(Asked { inquiry, round }) => answered::<Answer>(app.screener.screen(&inquiry, round).await),
        Err(error) => unanswered(&Unanswered::Refused(short(&error, 300))),
    }
}

async fn alerts(State(app): State<App>, query: Query<Cursor>) -> Response {
    answered::<AlertPage>(app.screener.alerts(query.cursor.as_deref()).await)
}

async fn callback(
    State(app): State<App>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let refused = |refused: CallbackRefused| {
        let (status, code) = match &refused {
            CallbackRefused::None => (StatusCode::NOT_FOUND, "NOT_FOUND"),
            CallbackRefused::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
            CallbackRefused::Stale => (StatusCode::BAD_REQUEST, "STALE"),
            CallbackRefused::Malformed(_) => (StatusCode::BAD_REQUEST, "MALFORMED"),
        };
        metrics::counter!("bursar_screener_callbacks_refused_total", "code" => code).increment(1);
        tracing::warn!(code, "a provider's callback was refused");
        problem(status, code, &refused.to_string())
    };
    let body = match body {
        Ok(body) => body,
        Err(rejection) => {
            return problem(rejection.status(), "REFUSED", "the callback is too large, or broke off");
        }
    };
    if provider != app.screener.provider().name() {
        return refused(CallbackRefused::None);
    }
    let call = Callback { headers: &headers, body: &body, now: app.screener.now() };
    match app.screener.provider().callback(&call) {
        Err(why) => refused(why),
        Ok(alerts) => match app.screener.take(alerts, None).await {
            Ok(added) => Json(serde_json::json!({ "added": added })).into_response(),
            // They must come again.
            Err(error) => unanswered(&error),
        },
    }
}

async fn metrics_text(State(app): State<App>) -> Response {
    match &app.metrics {
        Some(handle) => handle.render().into_response(),
        None => problem(StatusCode::NOT_FOUND, "NOT_FOUND", "no metrics are collected"),
    }
}

fn answered<T: Serialize>(answer: Result<T, Unanswered>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => unanswered(&error),
    }
}

fn unanswered(error: &Unanswered) -> Response {
    let status = match error {
        Unanswered::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Unanswered::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        Unanswered::Malformed(_) => StatusCode::BAD_GATEWAY,
        Unanswered::Unsupported(_) | Unanswered::Unknown(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Unanswered::Refused(_) => StatusCode::BAD_REQUEST,
    };
    (status, Json(error)).into_response()
}

/// In the form of an [`Unanswered`], with codes that are none where it is about something else.
fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    (status, Json(serde_json::json!({ "code": code, "detail": detail }))).into_response()
}
