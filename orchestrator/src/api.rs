//! The HTTP API under `/v1`. Every route is described in the OpenAPI document that the code generates.

pub mod addresses;
pub mod assets;
pub mod auth;
pub mod events;
pub mod extract;
pub mod governance;
pub mod halts;
pub mod health;
pub mod policy;
pub mod prices;
pub mod problem;
pub mod state;
pub mod status;
pub mod transfers;
pub mod wallets;
pub mod wire;

pub use state::ApiState;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use std::time::Duration;
use tower_http::{
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

/// The largest request body: a batch of 200 payouts is about 40 kB.
const MAX_BODY: usize = 256 * 1024;
const MAX_GOVERNANCE_BODY: usize = 1024 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bursar",
        description = "Transaction orchestrator: asks for payments, shows how far they are. Amounts are decimal strings, times \
                       are ISO 8601 UTC, errors are RFC 9457 problems, lists are paged by opaque cursors."
    ),
    modifiers(&BearerKeys),
    tags(
        (name = "transfers", description = "Payments, from request to final block"),
        (name = "wallets", description = "Wallets, addresses, balances and deposits"),
        (name = "events", description = "Everything that happened, in order"),
        (name = "governance", description = "Who may do what: the signed log, and changes to it"),
        (name = "operations", description = "Health of this installation")
    )
)]
struct Document;

struct BearerKeys;
impl Modify for BearerKeys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("bursar_…").build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("apiKey", SecurityScheme::Http(scheme));
    }
}

/// The routes that need an API key.
fn protected() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(wallets::create, wallets::list))
        .routes(routes!(wallets::get))
        .routes(routes!(wallets::balances))
        .routes(routes!(wallets::deposits))
        .routes(routes!(addresses::create, addresses::list))
        .routes(routes!(assets::list))
        .routes(routes!(transfers::create::create, transfers::list::list))
        .routes(routes!(transfers::estimate::estimate))
        .routes(routes!(transfers::fill::create))
        .routes(routes!(transfers::get::get))
        .routes(routes!(transfers::abort::abort))
        .routes(routes!(transfers::cancel::cancel))
        .routes(routes!(transfers::cancel::speed_up))
        .routes(routes!(transfers::recalls::create))
        .routes(routes!(events::list))
        .routes(routes!(events::stream))
        .merge(governed())
        .routes(routes!(halts::list))
        .routes(routes!(halts::lift))
        .routes(routes!(status::get))
}

/// The governance log. A document may have 256 KiB, which JSON writes longer.
fn governed() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(governance::get))
        .routes(routes!(governance::entries))
        .routes(routes!(governance::users))
        .routes(routes!(governance::groups))
        .routes(routes!(governance::policy))
        .routes(routes!(governance::address_book))
        .routes(routes!(governance::freezes))
        .routes(routes!(governance::validate))
        .routes(routes!(policy::simulate))
        .routes(routes!(prices::create, prices::list))
        .routes(routes!(policy::backtest::backtest))
        .routes(routes!(transfers::approvals::create, transfers::approvals::list))
        .routes(routes!(transfers::approvals::explanation))
        .routes(routes!(governance::changes::create, governance::changes::list))
        .routes(routes!(governance::changes::get))
        .routes(routes!(governance::changes::sign))
        .layer(DefaultBodyLimit::max(MAX_GOVERNANCE_BODY))
}

fn open() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::nodes))
        .routes(routes!(health::metrics))
}

/// The OpenAPI 3.1 document of the routes.
pub fn document() -> utoipa::openapi::OpenApi {
    OpenApiRouter::with_openapi(Document::openapi()).merge(open()).merge(protected()).split_for_parts().1
}

/// What a process without the API serves: health and metrics.
pub fn operations(state: ApiState) -> Router {
    open()
        .split_for_parts()
        .0
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(middleware::from_fn(in_time))
        .with_state(state)
}

pub fn router(state: ApiState) -> Router {
    let guarded = protected().layer(middleware::from_fn_with_state(state.clone(), auth::require_key));
    let (router, document) =
        OpenApiRouter::with_openapi(Document::openapi()).merge(open()).merge(guarded).split_for_parts();
    router
        .merge(SwaggerUi::new("/docs").url("/openapi.json", document))
        .route("/", get(|| async { axum::response::Redirect::temporary("/docs") }))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(in_time))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(TraceLayer::new_for_http())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .with_state(state)
}

/// Answers in time, with a problem document if need be. What was committed by then stays committed.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            problem::Problem::unavailable("this took too long; look whether it was done before you ask again")
                .into_response()
        }
    }
}
