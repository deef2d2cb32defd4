//! Signed requests (RFC 9421) to a governed installation, and what is wrong with some of them.

use crate::{
    access::governed,
    server::{Server, TestClock, answer, database, lenient, rate},
};
use bursar::{
    api::auth::{
        Authentication, Settings,
        message::{self, Target},
    },
    client::Client,
    compose::SystemClock,
};
use bursar_domain::{
    governance::{
        change::Change,
        testing::{TestDesk, TestKey, key},
    },
    time::{Clock, Timestamp},
};
use bursar_store::api_keys::{self, ApiKey, KeyKind};
use ed25519_dalek::SigningKey;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::sync::Arc;

/// A POST to be signed, and changed afterwards.
struct Post {
    path: String,
    body: String,
    headers: HeaderMap,
}

impl Post {
    /// `POST /v1/policy/validate` with an empty body of JSON, which the handler refuses with 400.
    fn new(server: &Server, signer: &SigningKey, now: Timestamp, nonce: u8) -> Self {
        let (path, body) = ("/v1/policy/validate".to_owned(), "{}".to_owned());
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json".parse().unwrap());
        let target = Target {
            method: "POST",
            path: &path,
            query: None,
            authority: server.url.strip_prefix("http://"),
            headers: &headers,
        };
        let added = message::sign(signer, &target, body.as_bytes(), now, [nonce; 16]).unwrap();
        for (name, value) in added {
            headers.insert(name, value.parse().unwrap());
        }
        Self { path, body, headers }
    }
    async fn send(&self, server: &Server) -> (StatusCode, String) {
        let request = reqwest::Client::new().post(format!("{}{}", server.url, self.path));
        let response = request.headers(self.headers.clone()).body(self.body.clone()).send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        (status, body["detail"].as_str().unwrap_or_default().to_owned())
    }
}

const THROUGH: StatusCode = StatusCode::BAD_REQUEST;
const REFUSED: StatusCode = StatusCode::UNAUTHORIZED;

#[tokio::test(flavor = "multi_thread")]
async fn signed_request__should_be_taken_once_as_it_was_signed_and_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _desk) = governed(dir.path()).await;
    let signer = &key("client.owner").secret;
    let now = SystemClock.now();
    let later = |seconds: i64| Timestamp(now.micros() + seconds * 1_000_000);

    let first = Post::new(&server, signer, now, 1);
    assert_eq!(first.send(&server).await.0, THROUGH);
    let again = first.send(&server).await;
    assert_eq!(again.0, REFUSED);
    assert!(again.1.contains("nonce"), "{}", again.1);
    // The nonce is spent, whatever else is signed with it; another one's is not.
    assert_eq!(Post::new(&server, signer, later(1), 1).send(&server).await.0, REFUSED);
    assert_eq!(Post::new(&server, &key("manager.owner").secret, now, 1).send(&server).await.0, THROUGH);

    for (seconds, status) in
        [(-3600_i64, REFUSED), (-300, REFUSED), (300, REFUSED), (-20, THROUGH), (20, THROUGH)]
    {
        let nonce = 50 + u8::try_from(seconds.rem_euclid(97)).unwrap();
        let sent = Post::new(&server, signer, later(seconds), nonce).send(&server).await;
        assert_eq!(sent.0, status, "{seconds}: {}", sent.1);
        assert!(status == THROUGH || sent.1.contains("clock"), "{}", sent.1);
    }

    let mut other_body = Post::new(&server, signer, now, 2);
    other_body.body = "[]".into();
    let refused = other_body.send(&server).await;
    assert_eq!(refused.0, REFUSED);
    assert!(refused.1.contains("Content-Digest"), "{}", refused.1);
    let mut other_path = Post::new(&server, signer, now, 3);
    other_path.path = "/v1/policy/simulate".into();
    let forged = other_path.send(&server).await;
    assert_eq!(forged.0, REFUSED);

    // Nobody learns which keys there are: not by a forgery for one that is there, nor by signing with one that is not.
    let stranger = Post::new(&server, &SigningKey::from_bytes(&[99; 32]), now, 4).send(&server).await;
    assert_eq!(stranger, forged);
    let mut none = Post::new(&server, signer, now, 5);
    none.headers.clear();
    assert_eq!(none.send(&server).await, forged, "without any credentials");
    let mut both = Post::new(&server, signer, now, 6);
    both.headers.insert("authorization", format!("Bearer {}", server.key).parse().unwrap());
    assert_eq!(both.send(&server).await.0, REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_request__should_not_be_repeated_either() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _desk) = governed(dir.path()).await;
    let headers = HeaderMap::new();
    let target = Target {
        method: "GET",
        path: "/v1/me",
        query: None,
        authority: server.url.strip_prefix("http://"),
        headers: &headers,
    };
    let added =
        message::sign(&key("platform.viewer").secret, &target, b"", SystemClock.now(), [1; 16]).unwrap();
    let send = async || {
        let mut request = reqwest::Client::new().get(format!("{}/v1/me", server.url));
        for (name, value) in &added {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json::<Value>().await.unwrap())
    };
    let first = send().await;
    assert_eq!(
        (first.0, &first.1["user"], &first.1["proof"]),
        (StatusCode::OK, &json!("platform.viewer"), &json!("SIGNATURE"))
    );
    assert_eq!(first.1["address"], "127.0.0.1");
    assert_eq!(send().await.0, REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn key__should_be_worth_nothing_once_it_is_removed_or_its_user_suspended() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut desk) = governed(dir.path()).await;
    let operator = server.client_of("client.operator");
    let me = async || answer(&operator, Method::GET, "/v1/me", None).await.0;
    assert_eq!(me().await, StatusCode::OK);
    let append = async |desk: &mut TestDesk, change: Change| {
        let entry = desk.entry(change, &["client.owner"]);
        let body = json!({ "document": entry.document, "signatures": entry.signatures });
        let appended = server.post("/v1/governance/changes", &body).await;
        assert_eq!(appended.0, StatusCode::CREATED, "{}", appended.1);
        desk.try_append(entry).unwrap();
    };
    append(&mut desk, Change::SuspendUser { user: key("client.operator").user }).await;
    assert_eq!(me().await, REFUSED);
    let service = server.client_of("client.service");
    assert_eq!(answer(&service, Method::GET, "/v1/me", None).await.0, StatusCode::OK);
    let TestKey { user, id, .. } = key("client.service");
    append(&mut desk, Change::RemoveKey { user, key: id }).await;
    assert_eq!(answer(&service, Method::GET, "/v1/me", None).await.0, REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn bearer_key__should_be_refused_where_something_is_governed_and_read_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk) = governed(dir.path()).await;
    let bearer = Client::new(&server.url, server.key.clone().into()).unwrap();
    assert_eq!(answer(&bearer, Method::GET, "/v1/wallets", None).await.0, StatusCode::OK);
    let refused = answer(&bearer, Method::POST, "/v1/wallets", Some(&json!({}))).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN, "{}", refused.1);

    let strict = Authentication::new(Settings { bearer: None, ..lenient() }, Arc::new(SystemClock));
    let strict = Server::start_with(dir.path(), Some(desk.pinned()), server.clock.clone(), strict).await;
    let bearer = Client::new(&strict.url, strict.key.clone().into()).unwrap();
    assert_eq!(answer(&bearer, Method::GET, "/v1/wallets", None).await.0, REFUSED);
    let viewer = strict.client_of("platform.viewer");
    assert_eq!(answer(&viewer, Method::GET, "/v1/wallets", None).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_key__should_sign_where_nothing_is_governed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), None, TestClock::at(Timestamp::from_secs(4_000_000_000))).await;
    let secret = SigningKey::from_bytes(&[3; 32]);
    let public_key = secret.verifying_key().to_bytes();
    let id = bursar_domain::ids::ApiKeyId::new(uuid::Uuid::from_u128(1));
    let record = ApiKey {
        kind: KeyKind::Ed25519 { public_key },
        roles: Some([bursar_domain::governance::role::Role::Viewer].into()),
        ..ApiKey::new(id, "desk", server.clock.now())
    };
    let mut tx = server.store.write().await.unwrap();
    api_keys::insert(&mut tx, &record, &bursar::api::auth::hash(&public_key)).await.unwrap();
    tx.commit().await.unwrap();
    let client = Client::signing(&server.url, secret).unwrap();
    let me = answer(&client, Method::GET, "/v1/me", None).await.1;
    assert_eq!(
        (&me["id"], &me["name"], &me["roles"]),
        (&json!(id), &json!("desk"), &json!(["VIEWER"])),
        "{me}"
    );
    assert_eq!(answer(&client, Method::POST, "/v1/wallets", Some(&json!({}))).await.0, StatusCode::FORBIDDEN);
    let stranger = Client::signing(&server.url, SigningKey::from_bytes(&[4; 32])).unwrap();
    assert_eq!(answer(&stranger, Method::GET, "/v1/me", None).await.0, REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn caller__should_be_told_when_to_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(Timestamp::from_secs(4_000_000_000));
    let settings = Settings { callers: rate(1, 2), strangers: rate(1, 3), ..lenient() };
    let auth = Authentication::new(settings, clock.clone());
    let server = Server::start_with(dir.path(), None, clock.clone(), auth).await;
    let ask = async |key: &str| {
        let request = reqwest::Client::new().get(format!("{}/v1/me", server.url)).bearer_auth(key);
        let response = request.send().await.unwrap();
        let wait = response.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        (response.status().as_u16(), wait)
    };
    let limited = (429, Some("1".to_owned()));
    for expected in [(200, None), (200, None), limited.clone(), limited.clone()] {
        assert_eq!(ask(&server.key).await, expected);
    }
    clock.wait(1);
    assert_eq!(ask(&server.key).await.0, 200);
    for expected in [(401, None), (401, None), (401, None), limited.clone()] {
        assert_eq!(ask("bursar_wrong").await, expected);
    }
    // One that is valid, and that nobody has seen yet: the database is not even asked about it.
    let (fresh, hash) = bursar::api::auth::new_key(&mut rand::rngs::OsRng);
    let id = bursar_domain::ids::ApiKeyId::new(uuid::Uuid::from_u128(2));
    let mut tx = server.store.write().await.unwrap();
    api_keys::insert(&mut tx, &ApiKey::new(id, "fresh", clock.now()), &hash).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ask(&fresh).await, limited);
    clock.wait(1);
    assert_eq!(
        ask(&server.key).await.0,
        200,
        "who is known is not limited by what others try from the same address"
    );
    assert_eq!(ask(&fresh).await.0, 200, "with the token that has come back");
    assert_eq!(ask("bursar_wrong").await, limited);
    assert_eq!(ask(&fresh).await.0, 200, "and known from then on");
    let health = reqwest::get(format!("{}/health", server.url)).await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn installation__should_let_in_whom_its_list_has_and_want_its_name_signed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(Timestamp::from_secs(4_000_000_000));
    let elsewhere = Settings { allow: vec!["10.0.0.0/8".parse().unwrap()], ..lenient() };
    let server = Server::start_with(
        dir.path(),
        None,
        clock.clone(),
        Authentication::new(elsewhere, Arc::new(SystemClock)),
    )
    .await;
    let bearer = Client::new(&server.url, server.key.clone().into()).unwrap();
    assert_eq!(answer(&bearer, Method::GET, "/v1/me", None).await.0, StatusCode::FORBIDDEN);
    let challenge = answer(&bearer, Method::POST, "/v1/sessions/challenge", None).await;
    assert_eq!(challenge.0, StatusCode::FORBIDDEN);
    for path in ["/metrics", "/health/nodes", "/openapi.json", "/docs/", "/", "/v1/nothing"] {
        assert_eq!(answer(&bearer, Method::GET, path, None).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    for path in ["/health", "/ready"] {
        assert_ne!(answer(&bearer, Method::GET, path, None).await.0, StatusCode::FORBIDDEN, "{path}");
    }

    // Behind a proxy that is trusted, what it says counts.
    let proxied = Settings {
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        trusted_proxies: vec!["127.0.0.1/32".parse().unwrap()],
        ..lenient()
    };
    let auth = Authentication::new(proxied, Arc::new(SystemClock));
    let server = Server::start_with(dir.path(), None, clock.clone(), auth).await;
    for (from, status) in [("10.1.2.3", 200), ("10.1.2.3, 192.0.2.1", 403), ("nonsense", 403)] {
        let request = reqwest::Client::new().get(format!("{}/v1/me", server.url)).bearer_auth(&server.key);
        let response = request.header("x-forwarded-for", from).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{from}");
    }

    let named = tempfile::tempdir().unwrap();
    let desk = TestDesk::new(0);
    let store = bursar_store::Store::open(&database(named.path())).await.unwrap();
    crate::server::found(&store, &desk.entries[0].0, desk.now).await;
    let settings = Settings { authority: Some("desk.example".into()), ..lenient() };
    let auth = Authentication::new(settings, Arc::new(SystemClock));
    let server = Server::start_with(named.path(), Some(desk.pinned()), clock, auth).await;
    let signed_for_another = server.client_of("client.owner");
    assert_eq!(answer(&signed_for_another, Method::GET, "/v1/me", None).await.0, REFUSED);
}
