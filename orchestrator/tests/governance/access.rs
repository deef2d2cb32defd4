//! Every route of the OpenAPI document, called by each role and by nobody, held against a table of its own; and what a caller sees who
//! is limited to some wallets.

use crate::server::{Server, TestClock, answer, found};
use bursar::client::Client;
use bursar_domain::{
    governance::{
        role::Role,
        testing::{PEOPLE, TestDesk, key},
    },
    ids::{ApiKeyId, WalletId},
    time::Clock as _,
    wallet::{WalletDescriptor, WalletKind},
};
use bursar_store::{
    api_keys::{self, ApiKey, Limits},
    wallets::{self, Wallet},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

pub async fn governed(dir: &Path) -> (Server, TestDesk) {
    let desk = TestDesk::new(3600);
    let store = bursar_store::Store::open(&crate::server::database(dir)).await.unwrap();
    found(&store, &desk.entries[0].0, desk.now).await;
    (Server::start(dir, Some(desk.pinned()), TestClock::at(desk.now)).await, desk)
}

/// Method and path to who may: `open`, `callback`, `known`, `*`, or roles.
fn expected() -> BTreeMap<(String, String), String> {
    let table = include_str!("../access.tsv");
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            let [method, path, who] = columns[..] else { panic!("access.tsv: not three columns: {line:?}") };
            ((method.to_owned(), path.to_owned()), who.to_owned())
        })
        .collect()
}

/// A path with something in the place of each parameter that is well-formed and names nothing.
fn concrete(path: &str) -> String {
    let part = |part: &str| match part {
        "{digest}" => "ab".repeat(32),
        part if part.starts_with('{') => "01936d0e-0000-7000-8000-000000000001".to_owned(),
        part => part.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// Whether it was let through to the handler.
fn let_through(status: StatusCode, problem: &Value) -> bool {
    status != StatusCode::UNAUTHORIZED && problem["type"] != "urn:bursar:problem:forbidden"
}

async fn asked(client: &Client, method: &str, path: &str) -> (StatusCode, Value) {
    let method: Method = method.parse().unwrap();
    let body = json!({});
    let response =
        client.call(method.clone(), &concrete(path), (method != Method::GET).then_some(&body)).await;
    let response = response.unwrap();
    let status = response.status();
    // Streams have no end.
    let is_problem =
        response.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json");
    let problem = if is_problem { response.json().await.unwrap() } else { Value::Null };
    (status, problem)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route__should_let_in_exactly_the_roles_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _desk) = governed(dir.path()).await;
    let document = serde_json::to_value(bursar::api::document()).unwrap();
    let who =
        |role: Role| PEOPLE.iter().find(|(_, _, held)| *held == role).map(|(user, _, _)| *user).unwrap();
    let clients: Vec<_> = Role::ALL.iter().map(|role| (*role, server.client_of(who(*role)))).collect();
    let nobody = Client::new(&server.url, String::from("bursar_nobody").into()).unwrap();
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let method = method.to_uppercase();
            let documented = |status: StatusCode| operation["responses"].get(status.as_str()).is_some();
            let (status, problem) = asked(&nobody, &method, path).await;
            // Open, or proved to the handler itself.
            if let_through(status, &problem) || operation.get("security").is_none() {
                assert_ne!(status, StatusCode::FORBIDDEN, "{method} {path}");
                found.insert((method, path.clone()), None);
                continue;
            }
            assert!(documented(status), "{method} {path} answers {status}");
            let mut roles = Vec::new();
            for (role, client) in &clients {
                let (status, problem) = asked(client, &method, path).await;
                assert!(
                    documented(status),
                    "{method} {path} answers {status}, which is not documented: {problem}"
                );
                assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{method} {path}: {problem}");
                if let_through(status, &problem) {
                    roles.push(role.name());
                } else {
                    assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} as {role}: {problem}");
                    assert!(
                        problem["detail"].as_str().unwrap().contains("needs one of the roles"),
                        "{problem}"
                    );
                }
            }
            found.insert((method, path.clone()), Some(roles));
        }
    }
    let expected = expected();
    let mut wrong = Vec::new();
    for ((method, path), roles) in &found {
        let said = expected.get(&(method.clone(), path.clone())).map_or("", String::as_str);
        let right = match roles {
            None => matches!(said, "open" | "callback"),
            Some(roles) if roles.len() == Role::ALL.len() => matches!(said, "*" | "known"),
            Some(roles) => roles.join(",") == said,
        };
        if !right {
            let roles = roles.as_ref().map_or("open".to_owned(), |roles| roles.join(","));
            wrong.push(format!("{method}\t{path}\t{roles}"));
        }
    }
    assert!(wrong.is_empty(), "access.tsv does not say what happens:\n{}", wrong.join("\n"));
    let gone: Vec<_> = expected.keys().filter(|route| !found.contains_key(*route)).collect();
    assert!(gone.is_empty(), "access.tsv has what is no route: {gone:?}");
}

pub async fn wallet(server: &Server, account: u32) -> WalletId {
    let id =
        WalletId::new(uuid::Uuid::from_u128(0x0193_6d0e_0000_7000_8000_0000_0000_0000 + u128::from(account)));
    let descriptor =
        WalletDescriptor::new("xrp:63456".parse().unwrap(), WalletKind::XrpEd25519, account).unwrap();
    let created_at = server.clock.now();
    let wallet = Wallet { id, name: format!("wallet {account}"), descriptor, created_at };
    let mut tx = server.store.write().await.unwrap();
    wallets::insert(&mut tx, &wallet).await.unwrap();
    tx.commit().await.unwrap();
    id
}

pub async fn limit(server: &Server, user: &str, limits: Limits) {
    let mut tx = server.store.write().await.unwrap();
    api_keys::limit_user(&mut tx, &key(user).user, &limits, server.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn caller_limited_to_a_wallet__should_not_know_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _desk) = governed(dir.path()).await;
    let (own, other) = (wallet(&server, 0).await, wallet(&server, 1).await);
    let limits = Limits { wallets: Some([own].into()), networks: Vec::new() };
    limit(&server, "client.operator", limits).await;
    let operator = server.client_of("client.operator");
    let get = async |path: String| answer(&operator, Method::GET, &path, None).await;

    let listed = get("/v1/wallets".into()).await.1;
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, [json!(own)], "{listed}");
    assert_eq!(get(format!("/v1/wallets/{own}")).await.0, StatusCode::OK);
    let absent = WalletId::new(uuid::Uuid::from_u128(7));
    for path in ["", "/addresses", "/deposits", "/balances"] {
        let hidden = get(format!("/v1/wallets/{other}{path}")).await;
        assert_eq!(hidden.0, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(
            hidden,
            get(format!("/v1/wallets/{absent}{path}")).await,
            "as one that is not there: {path}"
        );
    }
    let address = |wallet: WalletId| format!("/v1/wallets/{wallet}/addresses");
    let hidden = answer(&operator, Method::POST, &address(other), Some(&json!({}))).await;
    assert_eq!(hidden, answer(&operator, Method::POST, &address(absent), Some(&json!({}))).await);
    assert_eq!(hidden.0, StatusCode::NOT_FOUND);
    let order = |wallet: WalletId| json!({ "externalId": "e", "walletId": wallet, "asset": "XRP", "payments": [], "maxFee": "1", "expiresAt": "2126-01-01T00:00:00Z" });
    for path in ["/v1/transfers", "/v1/transfers/estimate"] {
        let hidden = answer(&operator, Method::POST, path, Some(&order(other))).await;
        assert_eq!(hidden.0, StatusCode::UNPROCESSABLE_ENTITY, "{path}: {}", hidden.1);
        assert_eq!(hidden, answer(&operator, Method::POST, path, Some(&order(absent))).await, "{path}");
        let own = answer(&operator, Method::POST, path, Some(&order(own))).await;
        assert_ne!(own.1, hidden.1, "{path}");
    }
    assert_eq!(get("/v1/transfers".into()).await, (StatusCode::OK, json!({ "items": [] })));
    assert_eq!(
        get(format!("/v1/transfers?walletId={other}")).await,
        (StatusCode::OK, json!({ "items": [] }))
    );
    let all = get("/v1/events".into()).await;
    assert_eq!((all.0, &all.1["type"]), (StatusCode::FORBIDDEN, &json!("urn:bursar:problem:forbidden")));
    assert_eq!(get("/v1/me".into()).await.1["wallets"], json!([own]));

    // Others are not limited, and neither is who is not any more.
    let manager = server.client_of("manager.operator");
    let path = format!("/v1/wallets/{other}");
    assert_eq!(answer(&manager, Method::GET, &path, None).await.0, StatusCode::OK);
    limit(&server, "client.operator", Limits::default()).await;
    assert_eq!(get(path).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn api_key__should_do_what_its_roles_allow_from_where_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let clock = TestClock::at(bursar_domain::time::Timestamp::from_secs(4_000_000_000));
    let server = Server::start(dir.path(), None, clock).await;
    let make = async |id: u128, roles: &[Role], networks: &[&str]| {
        let (secret, hash) = bursar::api::auth::new_key(&mut rand::rngs::OsRng);
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        let key = ApiKey {
            roles: Some(roles.iter().copied().collect()),
            limits: Limits { wallets: None, networks },
            ..ApiKey::new(ApiKeyId::new(uuid::Uuid::from_u128(id)), "limited", server.clock.now())
        };
        let mut tx = server.store.write().await.unwrap();
        api_keys::insert(&mut tx, &key, &hash).await.unwrap();
        tx.commit().await.unwrap();
        Client::new(&server.url, secret).unwrap()
    };
    let viewer = make(1, &[Role::Viewer], &["127.0.0.0/8"]).await;
    assert_eq!(answer(&viewer, Method::GET, "/v1/wallets", None).await.0, StatusCode::OK);
    let refused = answer(&viewer, Method::POST, "/v1/wallets", Some(&json!({}))).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    assert!(refused.1["detail"].as_str().unwrap().contains("OPERATOR, INTEGRATION_SERVICE"), "{}", refused.1);
    let operator = make(2, &[Role::Operator], &[]).await;
    let asked = answer(&operator, Method::POST, "/v1/wallets", Some(&json!({}))).await;
    assert_eq!(asked.0, StatusCode::BAD_REQUEST, "let through to the handler: {}", asked.1);

    let elsewhere = make(3, &[Role::Viewer], &["10.0.0.0/8"]).await;
    let unknown = Client::new(&server.url, format!("bursar_{}", "0".repeat(64)).into()).unwrap();
    let refused = answer(&elsewhere, Method::GET, "/v1/wallets", None).await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
    assert_eq!(
        refused,
        answer(&unknown, Method::GET, "/v1/wallets", None).await,
        "nobody learns that it is valid elsewhere"
    );
    let mut tx = server.store.write().await.unwrap();
    assert!(
        api_keys::revoke(&mut tx, ApiKeyId::new(uuid::Uuid::from_u128(1)), server.clock.now()).await.unwrap()
    );
    tx.commit().await.unwrap();
    assert_eq!(answer(&viewer, Method::GET, "/v1/wallets", None).await, refused);
}
