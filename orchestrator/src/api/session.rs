//! Sessions of people: begun with a passkey of the directory, short, and over when the user or the key is.
//!
//! What the passkey signs is not the server's challenge but a digest of it under a tag of its own (`docs/authentication.md`). So a login can
//! never be an approval or a governance entry, whatever a hostile server hands out as its challenge, as long as the page that asks for the
//! assertion is honest. Where it may not be, people log in with passkeys that are for access only, which sign no documents.

mod challenge;

use super::{
    ApiState,
    audited::Asked,
    auth::{self, Caller, Origin, Proof},
    extract::{Body, Path},
    problem::Problem,
    wire::{PageOf, time},
};
use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bursar_domain::{
    canonical::Canonical,
    governance::{
        directory::{Directory, KeyMaterial, KeyUse, UserKey},
        signature::{Evidence, Signature},
    },
    ids::SessionId,
};
use bursar_store::{
    StoreError, act, events, nonces,
    sessions::{self, Session},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use utoipa::ToSchema;

pub use challenge::digest;

/// How the token of a session begins.
pub const PREFIX: &str = "bursar_session_";
/// The prefix binds the cookie to this host, path and TLS (RFC 6265bis, section 4.1.3.2).
const COOKIE: &str = "__Host-bursar_session";
const CSRF: &str = "x-csrf-token";
/// The time of the last request is written down at most so often.
const TOUCHED_EVERY: Duration = Duration::from_secs(60);

/// The token in the cookie.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut cookies =
        lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
        .filter(|token| token.starts_with(PREFIX))
}

/// Whether the page that sent it knows what only pages of this site can know: `SameSite=Strict` keeps others from sending the cookie at
/// all, this keeps out what a browser thinks to be the same site and is not, such as another port.
pub fn proves_same_site(headers: &HeaderMap, token: &str) -> bool {
    let said = headers.get(CSRF).and_then(|value| value.to_str().ok());
    // Compared by digests: how far two of them agree tells nothing.
    said.is_some_and(|said| auth::hash(said.as_bytes()) == auth::hash(csrf_token(token).as_bytes()))
}

fn csrf_token(token: &str) -> String {
    hex::encode(Canonical::new("bursar/csrf/v1").text(token).digest())
}

/// The session of a token, if it is not over. Notes that it was used.
pub async fn live(state: &ApiState, token: &str) -> Result<Option<Session>, StoreError> {
    let store = &state.context.store;
    let Some(session) = sessions::by_hash(store, &auth::hash(token.as_bytes())).await? else {
        return Ok(None);
    };
    let now = state.auth.now();
    let idle = now.since(session.seen_at);
    if session.ended_at.is_some() || session.expires_at <= now || idle >= state.auth.settings.idle {
        return Ok(None);
    }
    if idle >= TOUCHED_EVERY {
        let mut tx = store.write().await?;
        sessions::touch(&mut tx, session.id, now).await?;
        tx.commit().await?;
    }
    Ok(Some(session))
}

fn ungoverned() -> Problem {
    Problem::not_found("passkey: sessions are of the users of a governance log, and none is configured")
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChallengeView {
    /// To be handed back with the assertion.
    pub challenge: String,
    /// What the passkey is given as its challenge: base64url of the SHA-256 of the encoding in docs/authentication.md. Compute it yourself.
    pub webauthn_challenge: String,
    pub expires_at: String,
}

/// Begin to log in with a passkey.
#[utoipa::path(post, path = "/v1/sessions/challenge", tag = "access",
    responses((status = 200, body = ChallengeView), (status = 404, body = Problem, description = "Nothing is governed here"), (status = 503, body = Problem)))]
pub async fn challenge(State(state): State<ApiState>) -> Result<Json<ChallengeView>, Problem> {
    let governance = state.context.governance.as_ref().ok_or_else(ungoverned)?;
    let challenge = challenge::issue(&state, &mut rand::rngs::OsRng).await?;
    Ok(Json(ChallengeView {
        webauthn_challenge: challenge::base64url(&digest(governance.genesis(), challenge.bytes())),
        expires_at: time(challenge.expires_at()),
        challenge: challenge.to_string(),
    }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Login {
    pub challenge: String,
    /// The assertion, as in approvals: `{"user", "key", "evidence": {"kind": "PASSKEY", …}}`.
    #[schema(value_type = Object)]
    pub signature: Signature,
    /// Hand the token out in the answer, for a program, instead of in a cookie, for a browser.
    #[serde(default)]
    pub bearer: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    #[schema(value_type = String)]
    pub id: SessionId,
    pub user: String,
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    pub created_at: String,
    pub seen_at: String,
    pub expires_at: String,
}

impl From<&Session> for SessionView {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            user: session.user.to_string(),
            key: session.key.to_string(),
            address: session.address.clone(),
            created_at: time(session.created_at),
            seen_at: time(session.seen_at),
            expires_at: time(session.expires_at),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    pub session: SessionView,
    /// Over after so many seconds without a request.
    pub idle_seconds: u64,
    /// Sent with `Authorization: Bearer`; only if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// To be sent as `X-CSRF-Token` with whatever changes something, when the session is in a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csrf_token: Option<String>,
}

/// Log in with a passkey of the directory.
#[utoipa::path(post, path = "/v1/sessions", tag = "access", request_body = Login,
    responses((status = 201, body = Begun), (status = 400, body = Problem),
              (status = 401, body = Problem, description = "No session begins with that, whatever the reason"),
              (status = 404, body = Problem, description = "Nothing is governed here"), (status = 413, body = Problem), (status = 422, body = Problem),
              (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Extension(Origin(address)): Extension<Origin>,
    Extension(asked): Extension<Asked>,
    Body { value: login, .. }: Body<Login>,
) -> Result<Response, Problem> {
    let governance = state.context.governance.as_ref().ok_or_else(ungoverned)?;
    let Login { challenge, signature, bearer } = login;
    if !matches!(signature.evidence, Evidence::Passkey { .. }) {
        let message = "a session begins with a passkey; with an Ed25519 key, sign each request";
        return Err(Problem::invalid_field("signature.evidence", message));
    }
    let refused = || {
        metrics::counter!("bursar_authentication_refused_total", "reason" => "login").increment(1);
        Problem::unauthorized("no session begins with this; ask for a new challenge and try again")
    };
    let now = state.auth.now();
    let challenge =
        challenge::read(&state, &challenge).await?.filter(|challenge| challenge.expires_at() > now);
    let challenge = challenge.ok_or_else(refused)?;
    let log = governance.state(&state.context.store).await?;
    let digest = digest(governance.genesis(), challenge.bytes());
    if let Err(invalid) = signature.verify_login(log.directory(), &digest) {
        tracing::debug!(%invalid, ?address, "login refused");
        as_much_work(log.directory(), &signature, &digest);
        return Err(refused());
    }

    let (token, hash) = auth::new_token(PREFIX, &mut rand::rngs::OsRng);
    let session = Session {
        id: SessionId::new(state.context.ids.uuid()),
        user: signature.user,
        key: signature.key,
        address: address.map(|address| address.to_string()),
        created_at: now,
        seen_at: now,
        expires_at: now.plus(state.auth.settings.longest),
        ended_at: None,
    };
    let begin = async {
        let mut tx = state.context.store.write().await?;
        if !nonces::spend(&mut tx, "session", &challenge.to_string(), challenge.expires_at()).await? {
            return Err(refused());
        }
        sessions::insert(&mut tx, &session, &hash).await?;
        let told = json!({ "session": session.id, "user": session.user, "key": session.key, "address": session.address });
        events::append(&mut tx, "session.began", None, state.context.now(), &told).await?;
        Ok::<_, Problem>(tx.commit().await?)
    };
    act::by(asked.by(&session.user, &session.key, now), begin).await?;
    tracing::info!(user = %session.user, session = %session.id, "session began");
    let begun = Begun {
        session: SessionView::from(&session),
        idle_seconds: state.auth.settings.idle.as_secs(),
        token: bearer.then(|| token.to_string()),
        csrf_token: (!bearer).then(|| csrf_token(&token)),
    };
    let mut response = (StatusCode::CREATED, Json(begun)).into_response();
    if !bearer {
        set_cookie(&mut response, &token, state.auth.settings.longest.as_secs());
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn set_cookie(response: &mut Response, token: &str, seconds: u64) {
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age={seconds}");
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

/// A user or key that is not there, or is not for this, is found out without arithmetic, which its absence would show by: so it is done with
/// another.
fn as_much_work(directory: &Directory, signature: &Signature, digest: &[u8; 32]) {
    let logs_in = |key: &&UserKey| {
        matches!(key.material, KeyMaterial::Passkey { .. }) && key.uses.include(KeyUse::Access)
    };
    let named = directory.user(&signature.user).filter(|user| !user.suspended);
    let there = named.and_then(|user| user.key(&signature.key)).is_some_and(|key| logs_in(&key));
    let mut others = directory.users().filter(|user| !user.suspended);
    let other = others.find_map(|user| Some((user, user.keys.iter().find(logs_in)?)));
    if let (false, Some((user, key))) = (there, other) {
        let other =
            Signature { user: user.id.clone(), key: key.id.clone(), evidence: signature.evidence.clone() };
        let _ = other.verify_login(directory, digest);
    }
}

/// The sessions that are not over, newest first; 200 at most.
#[utoipa::path(get, path = "/v1/sessions", tag = "access", security(("apiKey" = [])),
    responses((status = 200, body = PageOf<SessionView>), (status = 503, body = Problem)))]
pub async fn list(State(state): State<ApiState>) -> Result<Json<PageOf<SessionView>>, Problem> {
    let now = state.auth.now();
    let found = sessions::live(&state.context.store, now, 200).await?;
    let live = found.iter().filter(|session| now.since(session.seen_at) < state.auth.settings.idle);
    Ok(Json(PageOf { items: live.map(SessionView::from).collect(), next: None }))
}

/// Log out.
#[utoipa::path(delete, path = "/v1/sessions/current", tag = "access", security(("apiKey" = [])),
    responses((status = 204, description = "The session is over"), (status = 404, body = Problem, description = "The request is not of a session"), (status = 503, body = Problem)))]
pub async fn leave(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    let Proof::Session { id } = caller.proof else {
        return Err(Problem::not_found("session: the request was signed, or came with a bearer key"));
    };
    end(&state, SessionId::new(id), &caller).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, "", 0);
    Ok(response)
}

/// End somebody's session.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "access", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 204, description = "The session is over"), (status = 400, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn revoke(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<SessionId>,
) -> Result<StatusCode, Problem> {
    match end(&state, id, &caller).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("session that is not over")),
    }
}

async fn end(state: &ApiState, id: SessionId, by: &Caller) -> Result<bool, Problem> {
    let mut tx = state.context.store.write().await?;
    let ended = sessions::end(&mut tx, id, state.auth.now()).await?;
    if ended {
        let told = json!({ "session": id, "by": by.to_string() });
        events::append(&mut tx, "session.ended", None, state.context.now(), &told).await?;
        tx.commit().await?;
    }
    Ok(ended)
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallerView {
    /// Under which `Idempotency-Key`s are remembered.
    #[schema(value_type = String)]
    pub id: bursar_domain::ids::ApiKeyId,
    /// `SIGNATURE`, `SESSION` or `BEARER`.
    pub proof: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An API key's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub party: Option<bursar_domain::signing::PartyRole>,
    pub roles: Vec<&'static str>,
    /// The wallets that it is limited to; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub wallets: Option<Vec<bursar_domain::ids::WalletId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Who the caller is, as the server sees it.
#[utoipa::path(get, path = "/v1/me", tag = "access", security(("apiKey" = [])), responses((status = 200, body = CallerView)))]
pub async fn me(Extension(caller): Extension<Caller>) -> Json<CallerView> {
    Json(CallerView {
        id: caller.id,
        proof: caller.proof.name(),
        user: caller.user.map(|user| user.to_string()),
        key: caller.key.map(|key| key.to_string()),
        name: caller.name,
        party: caller.party,
        roles: caller.roles.iter().map(|role| role.name()).collect(),
        wallets: caller.wallets.map(|wallets| wallets.iter().copied().collect()),
        address: caller.address.map(|address| address.to_string()),
    })
}
