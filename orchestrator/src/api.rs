//! The HTTP API under `/v1`. Every route is described in the OpenAPI document that the code generates.

pub mod access;
pub mod addresses;
pub mod assets;
pub mod audit;
pub mod audited;
pub mod auth;
pub mod cases;
pub mod deposits;
pub mod events;
pub mod extract;
pub mod governance;
pub mod halts;
pub mod health;
pub mod policy;
pub mod prices;
pub mod problem;
pub mod ratelimit;
pub mod reviews;
pub mod screening;
pub mod session;
pub mod state;
pub mod status;
pub mod transfers;
pub mod travel_rule;
pub mod wallets;
pub mod webhooks;
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
use utoipa::OpenApi;
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
    tags(
        (name = "transfers", description = "Payments, from request to final block"),
        (name = "wallets", description = "Wallets, addresses, balances and deposits"),
        (name = "events", description = "Everything that happened, in order"),
        (name = "audit", description = "Who did what, and what co-signers signed of it"),
        (name = "compliance", description = "Screenings, what they hold, and cases"),
        (name = "governance", description = "Who may do what: the signed log, and changes to it"),
        (name = "access", description = "Who calls: sessions of people, and who one is"),
        (name = "operations", description = "Health of this installation")
    )
)]
struct Document;

/// The routes that only known callers reach; `access::ROUTES` says which of them.
fn protected() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(wallets::create, wallets::list))
        .routes(routes!(wallets::get))
        .routes(routes!(wallets::balances))
        .routes(routes!(wallets::deposits))
        .routes(routes!(deposits::list))
        .routes(routes!(deposits::get))
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
        .routes(routes!(webhooks::create, webhooks::list))
        .routes(routes!(webhooks::get, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries::list))
        .routes(routes!(webhooks::deliveries::resend))
        .merge(governed())
        .merge(compliance())
        .routes(routes!(halts::list))
        .routes(routes!(halts::lift))
        .routes(routes!(audit::entries))
        .routes(routes!(audit::checkpoints))
        .routes(routes!(status::get))
        .routes(routes!(session::list))
        .routes(routes!(session::leave))
        .routes(routes!(session::revoke))
        .routes(routes!(session::me))
}

/// What outsiders may call, so and so often: logins, and the callbacks of their systems, which prove by themselves who they are.
fn callbacks() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(session::challenge))
        .routes(routes!(session::create))
        .routes(routes!(screening::alert))
}

/// What a screening holds, and what compliance does about it.
fn compliance() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(reviews::list))
        .routes(routes!(reviews::decide::release, reviews::decide::releases))
        .routes(routes!(reviews::decide::reject))
        .routes(routes!(screening::rounds, reviews::decide::screen_again))
        .routes(routes!(screening::address::ask))
        .routes(routes!(cases::list))
        .routes(routes!(cases::get))
        .routes(routes!(cases::note))
        .routes(routes!(cases::close))
        .routes(routes!(travel_rule::get, travel_rule::put))
        .routes(routes!(travel_rule::outcome))
        .routes(routes!(travel_rule::disclose))
        .routes(routes!(deposits::dispose))
        .routes(routes!(deposits::screen_again))
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
    let routes = OpenApiRouter::with_openapi(Document::openapi()).merge(open()).merge(callbacks());
    described(routes.merge(protected()).split_for_parts().1)
}

fn described(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    access::describe(&mut document);
    document
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
    let audited = audited::Audited::new(state.clone());
    let guarded = protected()
        .layer(middleware::from_fn_with_state(audited.clone(), audited::act))
        .layer(middleware::from_fn_with_state(state.clone(), auth::guard));
    let limited = callbacks()
        .layer(middleware::from_fn(audited::stranger))
        .layer(middleware::from_fn_with_state(state.clone(), auth::limit_strangers));
    let routes = OpenApiRouter::with_openapi(Document::openapi()).merge(open()).merge(limited);
    let (router, document) = routes.merge(guarded).split_for_parts();
    router
        .merge(SwaggerUi::new("/docs").url("/openapi.json", described(document)))
        .route("/", get(|| async { axum::response::Redirect::temporary("/docs") }))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(state.clone(), auth::admit))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(audited, audited::refusals))
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
