//! Who asked for what, in the log: what a request changes says so in the same transaction; what was refused is noted, within bounds.
//!
//! Two layers. The inner one knows the caller: whatever the request writes is theirs ([`bursar_store::act`]). The outer one sees
//! what did not get that far. Outsiders could fill a disk with refusals, so only so many are written in a minute; all are counted.

use super::{
    ApiState,
    auth::{self, Caller, Proof},
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    middleware::Next,
    response::Response,
};
use bursar_domain::{
    audit::act::{Act, Actor, Origin, RequestSignature},
    governance::directory::{KeyId, UserId},
    time::Timestamp,
};
use bursar_store::{
    StoreError,
    act::{self, Doer},
    events,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// The event of a request that was refused.
pub const REFUSED: &str = "audit.refused";

/// What both layers share.
#[derive(Clone)]
pub struct Audited {
    state: ApiState,
    /// For callers who are known, and for those who are not: nobody uses up the other's.
    known: Arc<Budget>,
    unknown: Arc<Budget>,
}

impl Audited {
    pub fn new(state: ApiState) -> Self {
        Self { state, known: Arc::new(Budget::known()), unknown: Arc::new(Budget::unknown()) }
    }
}

/// Refusals that are written down: so many in so long, and how many were not.
#[derive(Debug)]
struct Budget {
    each: Duration,
    rows: u32,
    window: Mutex<Window>,
}

/// How many were left out, by status.
type LeftOut = BTreeMap<u16, u64>;

#[derive(Debug)]
struct Window {
    began: Option<Timestamp>,
    written: u32,
    left_out: LeftOut,
}

impl Budget {
    const fn known() -> Self {
        Self::new(Duration::from_secs(60), 60)
    }

    /// The log is never cut: what strangers add to it stays small however long they try.
    const fn unknown() -> Self {
        Self::new(Duration::from_secs(600), 1)
    }

    const fn new(each: Duration, rows: u32) -> Self {
        Self { each, rows, window: Mutex::new(Window { began: None, written: 0, left_out: LeftOut::new() }) }
    }

    /// Whether to write one more, and how many were left out since the last that was.
    fn take(&self, status: u16, now: Timestamp) -> Option<LeftOut> {
        // Whole after each use, so that a poisoned lock does not matter.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.began.is_none_or(|began| now < began || now.since(began) >= self.each) {
            window.began = Some(now);
            window.written = 0;
        }
        if window.written >= self.rows {
            let count = window.left_out.entry(status).or_default();
            *count = count.saturating_add(1);
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.left_out))
    }
}

/// Put into a response whose refusal is written down, or left out, already.
#[derive(Debug, Clone, Copy)]
struct Noted;

/// Behind authentication: what is written for a request that may change something is its caller's.
pub async fn act(State(audited): State<Audited>, request: Request, next: Next) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned().filter(|_| changes(request.method()))
    else {
        return next.run(request).await;
    };
    let origin = origin(&request, caller.address, &caller.proof);
    let now = audited.state.context.now();
    let doer = Doer::asked(Act { actor: actor(&caller), origin }, now);
    let mut response = act::by(doer.clone(), next.run(request)).await;
    let status = response.status();
    let refused =
        matches!(status, StatusCode::FORBIDDEN | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY);
    // A refusal that has an event of its own, such as that of a governance change, is not told twice.
    if refused && !doer.told() {
        note(&audited, &audited.known, doer, status, now).await;
    }
    if refused {
        response.extensions_mut().insert(Noted);
    }
    response
}

/// Where a request of nobody who is known yet came from.
#[derive(Debug, Clone)]
pub struct Asked(Origin);

impl Asked {
    /// Once it is known who it is: whoever logged in by it.
    pub fn by(self, user: &UserId, key: &KeyId, now: Timestamp) -> Arc<Doer> {
        let actor = Actor::Caller {
            id: Caller::id_of(user),
            user: Some(user.to_string()),
            key: Some(key.to_string()),
            proof: Proof::SESSION.to_owned(),
        };
        Doer::asked(Act { actor, origin: self.0 }, now)
    }
}

/// Behind the limits on strangers, whose requests say themselves who signed what they bring: what is written for one says where it came from.
/// One that leaves no event adds none, or strangers could fill the log.
pub async fn stranger(mut request: Request, next: Next) -> Response {
    let address = request.extensions().get::<auth::Origin>().and_then(|origin| origin.0);
    let origin = Origin { address, ..asked(&request) };
    request.extensions_mut().insert(Asked(origin.clone()));
    act::by(Doer::quiet(Act { actor: Actor::Unknown, origin }), next.run(request)).await
}

/// Before authentication: who was not let in.
pub async fn refusals(State(audited): State<Audited>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let address = audited.state.auth.address(&parts);
    let request = Request::from_parts(parts, body);
    let origin = Origin { address, ..asked(&request) };
    let response = next.run(request).await;
    let status = response.status();
    let refused =
        matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
    if refused && response.extensions().get::<Noted>().is_none() {
        let now = audited.state.context.now();
        // Who may not do this, but is known.
        let caller = response.extensions().get::<Caller>();
        let budget = if caller.is_some() { &audited.known } else { &audited.unknown };
        let doer = Doer::asked(Act { actor: caller.map_or(Actor::Unknown, actor), origin }, now);
        note(&audited, budget, doer, status, now).await;
    }
    response
}

async fn note(audited: &Audited, budget: &Budget, doer: Arc<Doer>, status: StatusCode, now: Timestamp) {
    metrics::counter!("bursar_api_refused_total", "status" => status.as_str().to_owned()).increment(1);
    let Some(left_out) = budget.take(status.as_u16(), now) else { return };
    if let Err(error) = act::by(doer, tell(audited, status, &left_out, now)).await {
        tracing::warn!(%error, %status, "a refusal could not be written down");
    }
}

async fn tell(
    audited: &Audited,
    status: StatusCode,
    left_out: &LeftOut,
    now: Timestamp,
) -> Result<(), StoreError> {
    let all = left_out.values().fold(0, |all: u64, count| all.saturating_add(*count));
    let payload = json!({ "status": status.as_u16(), "leftOutBefore": all, "leftOutByStatus": left_out });
    let mut tx = audited.state.context.store.write().await?;
    events::append(&mut tx, REFUSED, None, now, &payload).await?;
    tx.commit().await
}

fn actor(caller: &Caller) -> Actor {
    let user = caller.user.as_ref().map(ToString::to_string);
    let key = caller.key.as_ref().map(ToString::to_string);
    Actor::Caller { id: caller.id, user, key, proof: caller.proof.name().to_owned() }
}

const fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn origin(request: &Request, address: Option<IpAddr>, proof: &Proof) -> Origin {
    let request_signature = match proof {
        Proof::Signature { key, digest } => Some(RequestSignature { public_key: *key, digest: *digest }),
        _ => None,
    };
    Origin { address, request_signature, ..asked(request) }
}

/// Longer paths and ids are cut off: they are the caller's to choose.
const LONGEST: usize = 200;
/// Of a command, which the installation's own people give.
const LONGEST_COMMAND: usize = 4_000;

fn asked(request: &Request) -> Origin {
    let path: String = request.uri().path().chars().take(LONGEST).collect();
    Origin {
        request_id: request_id(request.headers()),
        request: Some(format!("{} {path}", request.method())),
        process: Some(process().to_owned()),
        ..Origin::default()
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    Some(id.chars().take(LONGEST).collect())
}

/// `host:pid` of this process.
pub fn process() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}:{}", host.trim(), std::process::id())
    })
}

/// What the engine writes as it works on.
pub fn engine() -> Arc<Doer> {
    let origin = Origin { process: Some(process().to_owned()), ..Origin::default() };
    Doer::quiet(Act { actor: Actor::Engine, origin })
}

/// What somebody changes by a command on this machine. The login is what the machine says; whoever can run commands with the database's
/// address can say another.
pub fn command(said: &str, now: Timestamp) -> Arc<Doer> {
    let login = ["LOGNAME", "USER"].into_iter().find_map(|name| std::env::var(name).ok());
    let origin = Origin {
        request: Some(said.chars().take(LONGEST_COMMAND).collect()),
        process: Some(process().to_owned()),
        ..Origin::default()
    };
    Doer::asked(Act { actor: Actor::Command { login }, origin }, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_written_within_bounds_and_what_is_left_out_is_counted() {
        let (budget, start) = (Budget::known(), Timestamp::from_secs(1_000));
        let written = (0..200).filter(|_| budget.take(401, start).is_some()).count();
        assert_eq!(written, 60);
        assert_eq!(budget.take(429, start.plus(Duration::from_secs(59))), None);
        let left_out = budget.take(401, start.plus(Duration::from_secs(60)));
        assert_eq!(left_out, Some(LeftOut::from([(401, 140), (429, 1)])));
        assert_eq!(budget.take(401, start.plus(Duration::from_secs(61))), Some(LeftOut::new()));
        // A clock that was set back begins anew.
        assert_eq!(budget.take(401, Timestamp::from_secs(1)), Some(LeftOut::new()));
    }

    #[test]
    fn strangers_add_a_row_in_ten_minutes() {
        let (budget, start) = (Budget::unknown(), Timestamp::from_secs(1_000));
        let written = (0..3600).filter(|&at| budget.take(401, start.plus(Duration::from_secs(at))).is_some());
        assert_eq!(written.count(), 6);
    }
}
