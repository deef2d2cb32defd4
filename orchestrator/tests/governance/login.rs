//! Sessions of people with passkeys.

use crate::server::{Server, TestClock, database, found, lenient};
use bursar::api::{auth::Authentication, session};
use bursar_domain::governance::{
    change::Change,
    directory::UserId,
    testing::{Assertion, TestDesk, TestPasskey},
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

const USER: &str = "platform.security";

/// A desk of which one user has a passkey; everything is by one clock, which the test turns.
async fn start(dir: &Path) -> (Server, Arc<TestClock>, TestDesk, TestPasskey) {
    let passkey = TestPasskey::new(USER, "laptop");
    let mut genesis =
        bursar_domain::governance::testing::genesis(bursar_domain::governance::testing::rules(0));
    let user = genesis.users.iter_mut().find(|user| user.id.as_str() == USER).unwrap();
    user.keys.push(passkey.public());
    let desk = TestDesk::found(genesis);
    let store = bursar_store::Store::open(&database(dir)).await.unwrap();
    found(&store, &desk.entries[0].0, desk.now).await;
    let clock = TestClock::at(desk.now);
    let auth = Authentication::new(lenient(), clock.clone());
    let server = Server::start_with(dir, Some(desk.pinned()), clock.clone(), auth).await;
    (server, clock, desk, passkey)
}

pub async fn challenge(server: &Server) -> (String, [u8; 56]) {
    let url = format!("{}/v1/sessions/challenge", server.url);
    let answer: Value = Client::new().post(url).send().await.unwrap().json().await.unwrap();
    let text = answer["challenge"].as_str().unwrap().to_owned();
    let mut bytes = [0; 56];
    hex::decode_to_slice(&text, &mut bytes).unwrap();
    (text, bytes)
}

pub async fn login(server: &Server, body: &Value) -> (StatusCode, Value, Option<String>) {
    let response = Client::new().post(format!("{}/v1/sessions", server.url)).json(body).send().await.unwrap();
    let cookie = response.headers().get("set-cookie").map(|cookie| cookie.to_str().unwrap().to_owned());
    (response.status(), response.json().await.unwrap(), cookie)
}

async fn begin(
    server: &Server,
    desk: &TestDesk,
    passkey: &TestPasskey,
    bearer: bool,
) -> (Value, Option<String>) {
    let (text, bytes) = challenge(server).await;
    let signature = passkey.sign(&session::digest(desk.pinned(), &bytes));
    let body = json!({ "challenge": text, "signature": signature, "bearer": bearer });
    let (status, begun, cookie) = login(server, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{begun}");
    (begun, cookie)
}

pub async fn send(
    server: &Server,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, Value) {
    let mut request = Client::new().request(method.clone(), format!("{}{path}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if method == Method::POST {
        request = request.json(&json!({}));
    }
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_begin_with_a_passkey_and_end_when_it_is_idle_old_or_left() {
    let dir = tempfile::tempdir().unwrap();
    let (server, clock, desk, passkey) = start(dir.path()).await;
    let (begun, _) = begin(&server, &desk, &passkey, true).await;
    let bearer = format!("Bearer {}", begun["token"].as_str().unwrap());
    let me = async |bearer: &str| send(&server, Method::GET, "/v1/me", &[("authorization", bearer)]).await;
    let who = me(&bearer).await;
    assert_eq!(
        (who.0, &who.1["user"], &who.1["proof"]),
        (StatusCode::OK, &json!(USER), &json!("SESSION")),
        "{}",
        who.1
    );
    assert_eq!(who.1["roles"], json!(["SECURITY_ADMIN"]));

    // Used every ten minutes it lives for eight hours, and no longer.
    for _ in 0..47 {
        clock.wait(600);
        assert_eq!(me(&bearer).await.0, StatusCode::OK);
    }
    clock.wait(600);
    assert_eq!(me(&bearer).await.0, StatusCode::UNAUTHORIZED);

    let (begun, _) = begin(&server, &desk, &passkey, true).await;
    let bearer = format!("Bearer {}", begun["token"].as_str().unwrap());
    clock.wait(14 * 60);
    assert_eq!(me(&bearer).await.0, StatusCode::OK);
    clock.wait(15 * 60);
    assert_eq!(me(&bearer).await.0, StatusCode::UNAUTHORIZED);

    let (begun, _) = begin(&server, &desk, &passkey, true).await;
    let bearer = format!("Bearer {}", begun["token"].as_str().unwrap());
    let leave = send(&server, Method::DELETE, "/v1/sessions/current", &[("authorization", &bearer)]).await;
    assert_eq!(leave.0, StatusCode::NO_CONTENT);
    assert_eq!(me(&bearer).await.0, StatusCode::UNAUTHORIZED);
    let events = server.events("session.began").await;
    assert_eq!((events.len(), server.events("session.ended").await.len()), (3, 1));
    assert!(!json!(events).to_string().contains("bursar_session_"), "{events:?}");
    // Who began it, and from where: once the passkey has been verified, it is its user.
    let act = &server.acts("session.began").await[0];
    assert_eq!(act["actor"]["user"], USER, "{act}");
    assert_eq!(act["origin"]["request"], "POST /v1/sessions", "{act}");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_in_a_cookie__should_change_nothing_without_its_other_half() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _clock, desk, passkey) = start(dir.path()).await;
    let (begun, cookie) = begin(&server, &desk, &passkey, false).await;
    assert!(begun.get("token").is_none());
    let cookie = cookie.unwrap();
    for attribute in
        ["__Host-bursar_session=bursar_session_", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"]
    {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = format!("theme=dark; {}", cookie.split(';').next().unwrap());
    let csrf = begun["csrfToken"].as_str().unwrap();
    let get = send(&server, Method::GET, "/v1/me", &[("cookie", &cookie)]).await;
    assert_eq!(get.0, StatusCode::OK);
    let path = "/v1/policy/validate";
    let forged = send(&server, Method::POST, path, &[("cookie", &cookie)]).await;
    assert_eq!(forged.0, StatusCode::UNAUTHORIZED);
    let guessed =
        send(&server, Method::POST, path, &[("cookie", &cookie), ("x-csrf-token", &"0".repeat(64))]).await;
    assert_eq!(guessed.0, StatusCode::UNAUTHORIZED);
    let own = send(&server, Method::POST, path, &[("cookie", &cookie), ("x-csrf-token", csrf)]).await;
    assert_eq!(own.0, StatusCode::BAD_REQUEST, "let through to the handler: {}", own.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn login__should_be_refused_alike_whatever_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (server, clock, desk, passkey) = start(dir.path()).await;
    let digest = |bytes: &[u8; 56]| session::digest(desk.pinned(), bytes);
    let body =
        |text: &str, signature: &Value| json!({ "challenge": text, "signature": signature, "bearer": true });
    let signed = |bytes: &[u8; 56]| json!(passkey.sign(&digest(bytes)));

    let (text, bytes) = challenge(&server).await;
    let right = body(&text, &signed(&bytes));
    assert_eq!(login(&server, &right).await.0, StatusCode::CREATED);
    let refused = login(&server, &right).await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED, "a challenge is good once");

    let (text, bytes) = challenge(&server).await;
    let (other, _) = challenge(&server).await;
    let mut made_up = bytes;
    made_up[30] ^= 1;
    let mut late = bytes;
    late[7] ^= 1;
    let mut someone = signed(&bytes);
    someone["user"] = json!("client.owner");
    let mut nobody = signed(&bytes);
    nobody["user"] = json!("nobody");
    let mut no_key = signed(&bytes);
    no_key["key"] = json!("phone");
    let unverified = Assertion { flags: 1, ..Assertion::new(&digest(&bytes)) };
    let unverified = passkey.sign_parts(unverified.authenticator_data(), unverified.client_data_json());
    let page = Assertion { origin: "https://evil.example".into(), ..Assertion::new(&digest(&bytes)) };
    let page = passkey.sign_parts(page.authenticator_data(), page.client_data_json());
    // The server's challenge by itself, without the tag that keeps a login from being an approval.
    let untagged = passkey.sign(bytes.first_chunk().unwrap());
    for (what, body) in [
        ("another challenge", body(&other, &signed(&bytes))),
        ("a challenge of nobody", body(&hex::encode(made_up), &signed(&made_up))),
        ("a challenge made longer", body(&hex::encode(late), &signed(&late))),
        ("no challenge", body("", &signed(&bytes))),
        ("another user", body(&text, &someone)),
        ("nobody", body(&text, &nobody)),
        ("another key", body(&text, &no_key)),
        ("nobody verified", body(&text, &json!(unverified))),
        ("another page", body(&text, &json!(page))),
        ("no tag", body(&text, &json!(untagged))),
    ] {
        assert_eq!(login(&server, &body).await, refused, "{what}");
    }
    clock.wait(121);
    assert_eq!(login(&server, &body(&text, &signed(&bytes))).await, refused, "too late");
    let ed25519 = json!(bursar_domain::governance::testing::key(USER).sign(&digest(&bytes)));
    assert_eq!(login(&server, &body(&text, &ed25519)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_end_with_its_user_and_by_an_administrator() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _clock, desk, passkey) = start(dir.path()).await;
    let (begun, _) = begin(&server, &desk, &passkey, true).await;
    let (other, _) = begin(&server, &desk, &passkey, true).await;
    let token = |begun: &Value| format!("Bearer {}", begun["token"].as_str().unwrap());
    let (bearer, admin) = (token(&begun), token(&other));
    let status =
        async |bearer: &str| send(&server, Method::GET, "/v1/me", &[("authorization", bearer)]).await.0;

    let listed = send(&server, Method::GET, "/v1/sessions", &[("authorization", &admin)]).await.1;
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    let path = format!("/v1/sessions/{}", begun["session"]["id"].as_str().unwrap());
    assert_eq!(
        send(&server, Method::DELETE, &path, &[("authorization", &admin)]).await.0,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        send(&server, Method::DELETE, &path, &[("authorization", &admin)]).await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!((status(&bearer).await, status(&admin).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));

    let user: UserId = USER.parse().unwrap();
    // Suspending one who may brake takes two.
    let entry = desk.entry(Change::SuspendUser { user }, &["client.owner", "manager.owner"]);
    let document = json!({ "document": entry.document, "signatures": entry.signatures });
    let path = "/v1/governance/changes";
    let request =
        Client::new().post(format!("{}{path}", server.url)).header("authorization", &admin).json(&document);
    let appended = request.send().await.unwrap();
    assert_eq!(appended.status(), StatusCode::CREATED, "{}", appended.text().await.unwrap());
    assert_eq!(status(&admin).await, StatusCode::UNAUTHORIZED);
}
