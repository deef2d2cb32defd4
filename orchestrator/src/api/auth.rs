//! Who calls, and whether they may: signatures (RFC 9421), sessions, bearer keys; then limits, roles and objects.
//!
//! A request is refused before its handler sees it unless it proves who sent it ([`message`], sessions, keys), comes from where its
//! sender may call from, is not a repetition, and is of a route that its sender's roles allow (`super::access`). What is refused for want of
//! proof is answered alike whether the key, the user or the session exists or not, and after the same work but for what the database takes.
//!
//! In a governed installation callers are users of the log's directory, with the roles that they hold at this moment: who is suspended,
//! and a key that is removed, are refused from the next request on, in sessions too.

mod caller;
pub mod message;
mod peer;
mod refused;

pub use caller::{Caller, Proof};

use super::{
    ApiState,
    access::{self, Found, Objects, Route},
    problem::{self, Problem},
    ratelimit::{Rate, RateLimits},
    session,
};
use crate::{
    compose::SystemClock,
    config::{ApiConfig, LimitsConfig, SessionsConfig},
};
use axum::{
    body::Body,
    extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bursar_domain::{
    governance::{
        directory::{KeyUse, PublicKey},
        role::Role,
    },
    ids::{ApiKeyId, TransferId, WalletId},
    time::{Clock, Timestamp},
};
use bursar_store::{
    api_keys::{self, ApiKey, KeyKind, Limits},
    nonces, transfers,
};
use ipnet::IpNet;
use message::{Signed, Target};
use refused::Refused;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use zeroize::Zeroizing;

pub const PREFIX: &str = "bursar_";

/// The largest body that is read to be held against its digest; handlers allow less, or as much.
const MAX_BODY: usize = 1024 * 1024;

/// As much is read of a request that nobody vouches for; handlers allow less.
const MAX_STRANGE_BODY: usize = 512 * 1024;

/// How requests are let in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether bearer keys are taken; `None`: where nothing is governed.
    pub bearer: Option<bool>,
    pub authority: Option<String>,
    pub allow: Vec<IpNet>,
    pub trusted_proxies: Vec<IpNet>,
    pub callers: Rate,
    pub strangers: Rate,
    pub idle: Duration,
    pub longest: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(None, None, &[], &[], LimitsConfig::default(), SessionsConfig::default())
    }
}
impl From<&ApiConfig> for Settings {
    fn from(config: &ApiConfig) -> Self {
        let ApiConfig { listen: _, bearer, authority, allow, trusted_proxies, limits, sessions } = config;
        let networks =
            |list: &[crate::config::CidrConfig]| list.iter().map(|network| network.0).collect::<Vec<_>>();
        Self::new(
            *bearer,
            authority.clone(),
            &networks(allow),
            &networks(trusted_proxies),
            *limits,
            *sessions,
        )
    }
}
impl Settings {
    fn new(
        bearer: Option<bool>,
        authority: Option<String>,
        allow: &[IpNet],
        trusted_proxies: &[IpNet],
        limits: LimitsConfig,
        sessions: SessionsConfig,
    ) -> Self {
        let minutes = |minutes: u32| Duration::from_secs(60 * u64::from(minutes));
        Self {
            bearer,
            authority,
            allow: allow.to_vec(),
            trusted_proxies: trusted_proxies.to_vec(),
            callers: Rate::new(limits.caller_per_second, limits.caller_burst),
            strangers: Rate::new(limits.address_per_second, limits.address_burst),
            idle: minutes(sessions.idle_minutes),
            longest: minutes(sessions.max_minutes),
        }
    }
}

/// What the process keeps about its callers.
pub struct Authentication {
    pub settings: Settings,
    clock: Arc<dyn Clock>,
    limits: RateLimits,
    /// Nonces of signed requests that only read, until they are too old. A repetition elsewhere would read what its sender has seen.
    /// By caller, so that nobody uses up another's.
    read: Mutex<HashMap<ApiKeyId, HashMap<[u8; 32], Timestamp>>>,
}

/// The most nonces of reading requests that are remembered of one caller; who is over is told to come again.
const MAX_READ: usize = 50_000;

impl Default for Authentication {
    fn default() -> Self {
        Self::new(Settings::default(), Arc::new(SystemClock))
    }
}

impl Authentication {
    /// `clock`: by which signatures and sessions are timely.
    pub fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let limits = RateLimits::new(settings.callers, settings.strangers, clock.clone());
        Self { settings, clock, limits, read: Mutex::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How often who is known may do what.
    pub const fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Where it comes from.
    pub fn address(&self, parts: &Parts) -> Option<IpAddr> {
        peer::address(&parts.extensions, &parts.headers, &self.settings.trusted_proxies)
    }

    /// Spends the nonce of a caller's request that only reads. `None`: too many of that caller's are remembered.
    fn first_read(&self, caller: ApiKeyId, digest: [u8; 32], until: Timestamp) -> Option<bool> {
        // Whole after each use, so that a poisoned lock does not matter.
        let mut all = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let read = all.entry(caller).or_default();
        if read.len() >= MAX_READ {
            let now = self.now();
            read.retain(|_, until| *until >= now);
        }
        (read.len() < MAX_READ).then(|| read.insert(digest, until).is_none())
    }
}

/// A fresh bearer key, to be shown once, and the hash to store.
pub fn new_key(rng: &mut (impl rand::RngCore + rand::CryptoRng)) -> (Zeroizing<String>, [u8; 32]) {
    new_token(PREFIX, rng)
}

/// 32 random bytes, of which only the SHA-256 is stored. Because they have full entropy, a plain hash is enough and the lookup by hash leaks
/// nothing about others.
pub(super) fn new_token(
    prefix: &str,
    rng: &mut (impl rand::RngCore + rand::CryptoRng),
) -> (Zeroizing<String>, [u8; 32]) {
    let mut secret = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(secret.as_mut());
    let key = Zeroizing::new(format!("{prefix}{}", *Zeroizing::new(hex::encode(*secret))));
    let hash = hash(key.as_bytes());
    (key, hash)
}

/// What a secret, or a public key, is found by.
pub fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// What asks whether this process is alive and fit may come from anywhere: it says no more than that.
const PROBES: [&str; 2] = ["/health", "/ready"];

/// Turns away what does not come from where `[api] allow` says, whatever it asks for, but for the probes.
pub async fn admit(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if !PROBES.contains(&parts.uri.path())
        && !peer::admits(&state.auth.settings.allow, state.auth.address(&parts))
    {
        return not_from_there().into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

/// Lets a request through to its handler, with its [`Caller`] among the extensions of request and answer.
pub async fn guard(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let route = match route(&parts) {
        Ok(route) => route,
        Err(problem) => return problem.into_response(),
    };
    let address = state.auth.address(&parts);
    let (caller, signed) = match authenticate(&state, &parts, address).await {
        Ok(known) => known,
        Err(Unproven::Limited(problem)) => return problem.into_response(),
        Err(Unproven::Refused { why, counted }) => {
            return turn_away(&state, why, address, counted).into_response();
        }
    };
    // Before the body is read and the nonce spent: who asks too often, or what it may not, makes no work.
    let admitted = match state.auth.limits.caller(caller.id).and_then(|()| route.rule.admit(&caller)) {
        Ok(()) => match whole(&state, &parts, body, &caller, signed).await {
            Ok(body) => may_see(&state, route, &caller, &mut parts).await.map(|()| body),
            Err(refused) => return turn_away(&state, refused, address, false).into_response(),
        },
        Err(problem) => Err(problem),
    };
    let mut response = match admitted {
        Err(problem) => {
            if problem.status == 403 {
                count_refused("role");
            }
            problem.into_response()
        }
        Ok(body) => {
            parts.extensions.insert(caller.clone());
            next.run(Request::from_parts(parts, body)).await
        }
    };
    response.extensions_mut().insert(caller);
    response
}

/// For routes that anybody may call from outside: so many of each address.
pub async fn limit_strangers(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let address = state.auth.address(&parts);
    if let Err(problem) = state.auth.limits.stranger(address) {
        return problem.into_response();
    }
    // Read to its end where that is near: who is answered before that may find the connection closed instead.
    let Ok(body) = axum::body::to_bytes(body, MAX_STRANGE_BODY).await else {
        return Problem::too_large().into_response();
    };
    let mut request = Request::from_parts(parts, body.into());
    request.extensions_mut().insert(Origin(address));
    next.run(request).await
}

/// Where a request without a caller comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin(pub Option<IpAddr>);

fn route(parts: &Parts) -> Result<&'static Route, Problem> {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match access::find(parts.method.as_str(), path) {
        Found::Route(route) => Ok(route),
        Found::OtherMethod => Err(problem::other_method()),
        Found::Missing => {
            tracing::error!(
                path,
                "nobody said who may call this route: add it to the table in api/access.rs"
            );
            Err(Problem::forbidden("nobody may call this route"))
        }
    }
}

fn count_refused(reason: &'static str) {
    metrics::counter!("bursar_authentication_refused_total", "reason" => reason).increment(1);
}

fn not_from_there() -> Problem {
    count_refused("network");
    Problem::forbidden("this installation is not to be called from there")
}

/// What somebody is told who proved nothing; and too often is too often. `counted`: against the address, before it was looked up.
fn turn_away(state: &ApiState, refused: Refused, address: Option<IpAddr>, counted: bool) -> Problem {
    count_refused(refused.reason());
    if refused.is_their_fault() {
        tracing::debug!(reason = refused.reason(), ?address, "request refused");
        if !counted && let Err(limited) = state.auth.limits.stranger(address) {
            return limited;
        }
    }
    refused.problem()
}

/// Why nobody knows who calls.
enum Unproven {
    /// Not looked up: too many of that address were, and were nobody's.
    Limited(Problem),
    Refused {
        why: Refused,
        /// It was counted against the address already.
        counted: bool,
    },
}

impl From<Refused> for Unproven {
    fn from(why: Refused) -> Self {
        Self::Refused { why, counted: false }
    }
}

/// What a request shows to say who sent it, as far as that can be told without asking the database.
#[allow(clippy::large_enum_variant, reason = "one at a time")]
enum Credential<'r> {
    /// Verified: whoever sent it has the key.
    Signature(Signed, Proof),
    Bearer(&'r str),
    Cookie(&'r str),
}

impl Credential<'_> {
    fn digest(&self) -> [u8; 32] {
        match self {
            Self::Signature(signed, _) => hash(&signed.key),
            Self::Bearer(token) | Self::Cookie(token) => hash(token.as_bytes()),
        }
    }
}

/// Who calls. Of a signed request, the body and the nonce are still to be looked at ([`whole`]).
///
/// The database is asked about what was good from there lately, and about so many others of each address: a flood of made-up credentials
/// costs it little.
async fn authenticate(
    state: &ApiState,
    parts: &Parts,
    address: Option<IpAddr>,
) -> Result<(Caller, Option<Signed>), Unproven> {
    let credential = shown(state, parts)?;
    let digest = credential.digest();
    let limits = &state.auth.limits;
    let counted = limits.look_up(digest, address).map_err(Unproven::Limited)?;
    let found = match &credential {
        Credential::Signature(signed, proof) => holder(state, &signed.key, *proof).await,
        Credential::Bearer(token) => by_bearer(state, token).await,
        Credential::Cookie(token) => by_session(state, token).await,
    };
    let found = found.and_then(|(caller, limits)| match peer::admits(&limits.networks, address) {
        true => Ok(Caller { address, wallets: limits.wallets.map(Arc::new), ..caller }),
        false => Err(Refused::Address),
    });
    match found {
        Ok(caller) => {
            limits.was_good(digest, address);
            let signed = match credential {
                Credential::Signature(signed, _) => Some(signed),
                Credential::Bearer(_) | Credential::Cookie(_) => None,
            };
            Ok((caller, signed))
        }
        Err(why) => {
            if why.is_their_fault() {
                limits.was_not_good(digest, address);
            }
            Err(Unproven::Refused { why, counted })
        }
    }
}

fn shown<'r>(state: &ApiState, parts: &'r Parts) -> Result<Credential<'r>, Refused> {
    let headers = &parts.headers;
    match (message::is_signed(headers), headers.contains_key(header::AUTHORIZATION)) {
        (true, true) => Err(Refused::Unreadable),
        (true, false) => verified(state, parts),
        (false, true) => bearer_token(headers).map(Credential::Bearer),
        (false, false) => {
            let token = session::cookie(headers).ok_or(Refused::Missing)?;
            if !is_safe(&parts.method) && !session::proves_same_site(headers, token) {
                return Err(Refused::Forged);
            }
            Ok(Credential::Cookie(token))
        }
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn bearer_token(headers: &HeaderMap) -> Result<&str, Refused> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refused::Unreadable) };
    let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
    token.filter(|token| token.starts_with(PREFIX)).ok_or(Refused::Unreadable)
}

/// The signature of a request, if it is one of the key that it names.
fn verified<'r>(state: &ApiState, parts: &Parts) -> Result<Credential<'r>, Refused> {
    let Parts { method, uri, headers, .. } = parts;
    let auth = &state.auth;
    let signed = Signed::read(headers)?;
    signed.check_coverage(headers, auth.settings.authority.is_some())?;
    signed.check_time(auth.now())?;
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or(uri.authority().map(|it| it.as_str()));
    let host = host.map(|host| host.strip_suffix(":443").or(host.strip_suffix(":80")).unwrap_or(host));
    let authority = auth.settings.authority.as_deref().or(host);
    let target = Target { method: method.as_str(), path: uri.path(), query: uri.query(), authority, headers };
    let base = signed.base(&target)?;
    // Before anything is looked up: who cannot sign learns nothing about keys.
    if !signed.verifies(&base) {
        return Err(Refused::Signature);
    }
    let proof = Proof::Signature { key: signed.key, digest: hash(&base) };
    Ok(Credential::Signature(signed, proof))
}

/// The body of a request whose sender is known and may ask this: what was signed, and for the first time.
async fn whole(
    state: &ApiState,
    parts: &Parts,
    body: Body,
    caller: &Caller,
    signed: Option<Signed>,
) -> Result<Body, Refused> {
    let Some(signed) = signed else { return Ok(body) };
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| Refused::TooLarge)?;
    signed.check_body(&parts.headers, &body)?;
    first_time(state, caller.id, &signed, is_safe(&parts.method)).await?;
    Ok(Body::from(body))
}

/// Whose key it is.
async fn holder(state: &ApiState, key: &[u8; 32], proof: Proof) -> Result<(Caller, Limits), Refused> {
    let log = state.context.log().await?;
    if let Some((user, key)) = log.as_ref().and_then(|log| log.directory().holder(&PublicKey::Ed25519(*key)))
    {
        if user.suspended {
            return Err(Refused::Unknown);
        }
        if !key.uses.include(KeyUse::Access) {
            return Err(Refused::Use);
        }
        let caller = Caller::of_user(user, key.id.clone(), proof);
        let limits = api_keys::limits_of_user(&state.context.store, &user.id).await?;
        return Ok((caller, limits));
    }
    let known = api_keys::by_hash(&state.context.store, &hash(key)).await?;
    let known = known.filter(|known| known.kind == KeyKind::Ed25519 { public_key: *key });
    by_key(known, log.is_some(), proof)
}

/// A key that is kept beside the log. Where there is a log, such a key reads at most: nobody but whoever has the database vouches
/// for it.
fn by_key(known: Option<ApiKey>, governed: bool, proof: Proof) -> Result<(Caller, Limits), Refused> {
    let known = known.filter(|key| key.revoked_at.is_none()).ok_or(Refused::Unknown)?;
    let mut roles = known.roles.unwrap_or_else(|| Role::ALL.into());
    if governed {
        roles.retain(|role| matches!(role, Role::Auditor | Role::Viewer));
    }
    let caller = Caller {
        id: known.id,
        name: Some(known.name),
        user: None,
        key: None,
        party: None,
        roles,
        proof,
        address: None,
        wallets: None,
    };
    Ok((caller, known.limits))
}

async fn by_bearer(state: &ApiState, token: &str) -> Result<(Caller, Limits), Refused> {
    if token.starts_with(session::PREFIX) {
        return by_session(state, token).await;
    }
    let governed = state.context.governance.is_some();
    if !state.auth.settings.bearer.unwrap_or(!governed) {
        return Err(Refused::NoBearer);
    }
    let known = api_keys::by_hash(&state.context.store, &hash(token.as_bytes())).await?;
    by_key(known.filter(|key| key.kind == KeyKind::Bearer), governed, Proof::Bearer)
}

async fn by_session(state: &ApiState, token: &str) -> Result<(Caller, Limits), Refused> {
    let session = session::live(state, token).await?.ok_or(Refused::Over)?;
    let log = state.context.log().await?.ok_or(Refused::Over)?;
    let user = log.directory().user(&session.user).filter(|user| !user.suspended).ok_or(Refused::Over)?;
    let key = user.key(&session.key).filter(|key| key.uses.include(KeyUse::Access)).ok_or(Refused::Over)?;
    let caller = Caller::of_user(user, key.id.clone(), Proof::Session { id: *session.id.as_uuid() });
    let limits = api_keys::limits_of_user(&state.context.store, &user.id).await?;
    Ok((caller, limits))
}

/// Takes each nonce of a key once. Those of requests that change something are spent in the database, which all processes share.
async fn first_time(state: &ApiState, caller: ApiKeyId, signed: &Signed, reads: bool) -> Result<(), Refused> {
    let (key, until) = (hex::encode(signed.key), signed.forgotten_at());
    if reads {
        let digest = hash(format!("{key} {}", signed.nonce).as_bytes());
        return match state.auth.first_read(caller, digest, until) {
            Some(true) => Ok(()),
            Some(false) | None => Err(Refused::Replayed),
        };
    }
    let mut tx = state.context.store.write().await?;
    let first = nonces::spend(&mut tx, &key, &signed.nonce, until).await?;
    tx.commit().await?;
    if first { Ok(()) } else { Err(Refused::Replayed) }
}

/// What a caller limited to some wallets is not to know of is not there for it.
async fn may_see(state: &ApiState, route: &Route, caller: &Caller, parts: &mut Parts) -> Result<(), Problem> {
    if caller.wallets.is_none() {
        return Ok(());
    }
    let what = match route.objects {
        Objects::None | Objects::Filtered => return Ok(()),
        Objects::All => {
            return Err(Problem::forbidden(
                "this shows or touches all wallets, and the caller is limited to some",
            ));
        }
        Objects::Wallet => "wallet",
        Objects::Transfer => "transfer",
    };
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|error| Problem::malformed("path", error))?;
    let id =
        params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value.to_owned()).unwrap_or_default();
    let wallet = match route.objects {
        // What does not parse names nothing, and the handler says so.
        Objects::Wallet => match id.parse::<WalletId>() {
            Ok(wallet) => Some(wallet),
            Err(_) => return Ok(()),
        },
        _ => match id.parse::<TransferId>() {
            Ok(id) => transfers::get(&state.context.store, id).await?.map(|transfer| transfer.wallet),
            Err(_) => return Ok(()),
        },
    };
    match wallet {
        Some(wallet) if caller.sees(wallet) => Ok(()),
        _ => Err(Problem::not_found(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_uses_up_what_is_remembered_of_anothers_reading() {
        let auth = Authentication::default();
        let [one, other] = [1, 2].map(|id| ApiKeyId::new(uuid::Uuid::from_u128(id)));
        let until = auth.now().plus(Duration::from_secs(3600));
        for nonce in 0..MAX_READ {
            assert_eq!(auth.first_read(one, hash(&nonce.to_be_bytes()), until), Some(true));
        }
        assert_eq!(auth.first_read(one, [0; 32], until), None);
        assert_eq!(auth.first_read(other, [0; 32], until), Some(true));
        assert_eq!(auth.first_read(other, [0; 32], until), Some(false));
    }
}
