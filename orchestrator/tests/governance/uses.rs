//! Keys that are for one thing only: what is for documents calls nothing and begins no session, and what is for access signs no document.

use crate::{
    login::{challenge, login, send},
    server::{Server, TestClock, answer, database, found, xrp_wallet},
};
use bursar::{
    api::session,
    client::Client,
    intake::{self, TransferRequest, adapter},
};
use bursar_domain::{
    asset::{Asset, AssetInfo},
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        change::Change,
        directory::{KeyUse, UserKey},
        freeze::Scope,
        log::{Entry, Head},
        signature::Signature,
        testing::{self, TestDesk, TestKey, TestPasskey},
    },
    time::Clock as _,
};
use bursar_store::{
    Store, governance as kept,
    wallets::{self, Wallet},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

const OPERATOR: &str = "client.operator";
const APPROVER: &str = "client.approver";

fn badge(user: &str) -> TestKey {
    TestKey::new(user, "badge").only(KeyUse::Access)
}
fn pen(user: &str) -> TestKey {
    TestKey::new(user, "pen").only(KeyUse::Documents)
}
/// For the desk's page.
fn door(user: &str) -> TestPasskey {
    TestPasskey::new(user, "door").only(KeyUse::Access)
}
/// For a page of the user's own party.
fn own(user: &str) -> TestPasskey {
    TestPasskey::new(user, "own").only(KeyUse::Documents).at("own.example")
}
/// For the desk's page, too: there is nothing wrong with its assertions but what it is for.
fn here(user: &str) -> TestPasskey {
    TestPasskey::new(user, "here").only(KeyUse::Documents)
}
/// For both.
fn laptop(user: &str) -> TestPasskey {
    TestPasskey::new(user, "laptop")
}

fn keys(user: &str) -> [UserKey; 6] {
    [
        badge(user).public(),
        pen(user).public(),
        door(user).public(),
        own(user).public(),
        here(user).public(),
        laptop(user).public(),
    ]
}

/// A desk that wants one approval for everything, whose operator and approver have a key of each kind.
struct Scene {
    _dir: tempfile::TempDir,
    server: Server,
    desk: TestDesk,
    wallet: Wallet,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut genesis = testing::genesis(testing::rules(0));
        for user in genesis.users.iter_mut().filter(|user| [OPERATOR, APPROVER].contains(&user.id.as_str())) {
            user.keys.extend(keys(user.id.as_str()));
        }
        let mut desk = TestDesk::found(genesis);
        let rules = json!([
            { "id": "all", "then": { "kind": "ALLOW" } },
            { "id": "one", "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 1 }] } },
        ]);
        let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": rules });
        desk.publish(serde_json::from_value(policy).unwrap());
        let store = Store::open(&database(dir.path())).await.unwrap();
        found(&store, &desk.entries[0].0, desk.now).await;
        let wallet = xrp_wallet(desk.now);
        let mut tx = store.write().await.unwrap();
        for pair in desk.entries.windows(2) {
            let head = Head { seq: pair[1].0.read().unwrap().seq, digest: pair[1].0.digest() };
            kept::append(&mut tx, head, pair[0].0.digest(), &pair[1].0, pair[1].1).await.unwrap();
        }
        wallets::insert(&mut tx, &wallet).await.unwrap();
        tx.commit().await.unwrap();
        drop(store);
        let server = Server::start_paying(dir.path(), Some(desk.pinned()), TestClock::at(desk.now)).await;
        Self { _dir: dir, server, desk, wallet }
    }

    /// An order of the operator, under the signature that `sign` makes of its digest.
    async fn order(&self, name: &str, sign: impl FnOnce(&[u8; 32]) -> Signature) -> (StatusCode, Value) {
        let request = json!({
            "externalId": name, "walletId": self.wallet.id, "asset": "XRP",
            "payments": [{ "address": "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE", "amount": "25" }],
            "maxFee": "0.001", "expiresAt": "2026-06-01T00:00:00Z", "terms": self.desk.terms(),
        });
        let request: TransferRequest = serde_json::from_value(request).unwrap();
        let info = AssetInfo::natives().into_iter().find(|info| info.asset == Asset::Xrp).unwrap();
        let descriptor = self.wallet.descriptor;
        let intent =
            intake::intent(&request, descriptor, &info, adapter(descriptor.network.chain())).unwrap();
        let signature = Some(sign(&intent.digest().0).into());
        let body = serde_json::to_value(TransferRequest { signature, ..request }).unwrap();
        self.server.post("/v1/transfers", &body).await
    }

    /// A vote of the approver.
    async fn vote(&self, transfer: &Value, sign: impl FnOnce(&[u8; 32]) -> Signature) -> (StatusCode, Value) {
        let now = self.server.clock.now();
        let payload = ApprovalPayload {
            intent: serde_json::from_value(transfer["intentDigest"].clone()).unwrap(),
            policy: self.desk.state.policy().unwrap().version,
            head: self.desk.state.head(),
            vote: Vote::Approve,
            given_at: now,
            expires_at: now.plus(Duration::from_secs(3600)),
        };
        let approval = json!(Approval { signature: sign(&payload.digest()), payload });
        let path = format!("/v1/transfers/{}/approvals", transfer["id"].as_str().unwrap());
        self.server.post(&path, &approval).await
    }

    /// A freeze by the approver.
    async fn freeze(&mut self, sign: impl FnOnce(&[u8; 32]) -> Signature) -> (StatusCode, Value) {
        let change = Change::Freeze { scope: Scope::All {}, reason: "drill".into() };
        let document = serde_json::to_string(&self.desk.document(APPROVER, change)).unwrap();
        let signature = sign(&Entry::digest_of(&document).0);
        self.append(Entry { document, signatures: vec![signature] }).await
    }

    async fn append(&mut self, entry: Entry) -> (StatusCode, Value) {
        let body = json!({ "document": entry.document, "signatures": entry.signatures });
        let (status, answer) = self.server.post("/v1/governance/changes", &body).await;
        if status == StatusCode::CREATED {
            self.desk.try_append(entry).unwrap();
        }
        (status, answer)
    }

    /// Begins a session for the bearer.
    async fn login(&self, passkey: &TestPasskey) -> (StatusCode, Value) {
        let (text, bytes) = challenge(&self.server).await;
        let signature = passkey.sign(&session::digest(self.desk.pinned(), &bytes));
        let body = json!({ "challenge": text, "signature": signature, "bearer": true });
        let (status, begun, _) = login(&self.server, &body).await;
        (status, begun)
    }

    async fn me(&self, key: &TestKey) -> (StatusCode, Value) {
        let client = Client::signing(&self.server.url, key.secret.clone()).unwrap();
        answer(&client, Method::GET, "/v1/me", None).await
    }
}

fn is_for_access((status, problem): &(StatusCode, Value)) {
    assert_eq!(*status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem.to_string().contains("is not for DOCUMENTS"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_for_access__should_sign_no_order_no_vote_and_no_change() {
    let mut scene = Scene::new().await;
    is_for_access(&scene.order("badge", |digest| badge(OPERATOR).sign(digest)).await);
    is_for_access(&scene.order("door", |digest| door(OPERATOR).sign(digest)).await);
    let (status, first) = scene.order("pen", |digest| pen(OPERATOR).sign(digest)).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    let (status, second) = scene.order("own", |digest| own(OPERATOR).sign(digest)).await;
    assert_eq!(status, StatusCode::CREATED, "{second}");

    is_for_access(&scene.vote(&first, |digest| badge(APPROVER).sign(digest)).await);
    is_for_access(&scene.vote(&first, |digest| door(APPROVER).sign(digest)).await);
    let voted = scene.vote(&first, |digest| pen(APPROVER).sign(digest)).await;
    assert_eq!((voted.0, &voted.1["missing"]), (StatusCode::CREATED, &json!([])), "{}", voted.1);
    let voted = scene.vote(&second, |digest| own(APPROVER).sign(digest)).await;
    assert_eq!((voted.0, &voted.1["missing"]), (StatusCode::CREATED, &json!([])), "{}", voted.1);

    is_for_access(&scene.freeze(|digest| badge(APPROVER).sign(digest)).await);
    is_for_access(&scene.freeze(|digest| door(APPROVER).sign(digest)).await);
    assert_eq!(scene.freeze(|digest| pen(APPROVER).sign(digest)).await.0, StatusCode::CREATED);
    assert_eq!(scene.freeze(|digest| own(APPROVER).sign(digest)).await.0, StatusCode::CREATED);

    // Whose key it would be is asked for a simulation, too.
    let order = json!({
        "externalId": "x", "walletId": scene.wallet.id, "asset": "XRP", "maxFee": "0.001", "expiresAt": "2026-06-01T00:00:00Z",
        "payments": [{ "address": "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE", "amount": "25" }],
    });
    for (key, status) in
        [(badge(OPERATOR), StatusCode::UNPROCESSABLE_ENTITY), (pen(OPERATOR), StatusCode::OK)]
    {
        let mut transfer = order.clone();
        transfer["initiator"] = key.public().public().to_string().into();
        let simulated = scene.server.post("/v1/policy/simulate", &json!({ "transfer": transfer })).await;
        assert_eq!(simulated.0, status, "{}", simulated.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn key_for_documents__should_sign_no_request_and_begin_no_session() {
    let scene = Scene::new().await;
    let (status, me) = scene.me(&badge(OPERATOR)).await;
    assert_eq!((status, &me["user"], &me["key"]), (StatusCode::OK, &json!(OPERATOR), &json!("badge")));
    let refused = scene.me(&pen(OPERATOR)).await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
    assert_eq!(refused, scene.me(&TestKey::new("nobody", "main")).await, "nobody is told why");

    let (status, begun) = scene.login(&door(OPERATOR)).await;
    assert_eq!((status, &begun["session"]["key"]), (StatusCode::CREATED, &json!("door")), "{begun}");
    let refused = scene.login(&TestPasskey::new("nobody", "door")).await;
    assert_eq!(refused.0, StatusCode::UNAUTHORIZED);
    for passkey in [own(OPERATOR), here(OPERATOR)] {
        assert_eq!(scene.login(&passkey).await, refused, "{}", passkey.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session__should_end_when_its_passkey_is_for_access_no_more() {
    let mut scene = Scene::new().await;
    let (_, begun) = scene.login(&laptop(OPERATOR)).await;
    let bearer = format!("Bearer {}", begun["token"].as_str().unwrap());
    let me = async |scene: &Scene| {
        send(&scene.server, Method::GET, "/v1/me", &[("authorization", &bearer)]).await.0
    };
    assert_eq!(me(&scene).await, StatusCode::OK);
    let mut user = scene.desk.state.directory().user(&laptop(OPERATOR).user).unwrap().clone();
    let put = |scene: &Scene, user: &bursar_domain::governance::directory::User, signers: &[&str]| {
        scene.desk.entry(Change::PutUser { user: user.clone() }, signers)
    };
    let key = user.keys.iter_mut().find(|key| key.id.as_str() == "laptop").unwrap();
    key.uses = KeyUse::Documents.into();
    // Taking something away takes one.
    let (status, appended) = scene.append(put(&scene, &user, &["client.owner"])).await;
    assert_eq!(status, StatusCode::CREATED, "{appended}");
    assert_eq!(me(&scene).await, StatusCode::UNAUTHORIZED);
    assert_eq!(scene.login(&laptop(OPERATOR)).await.0, StatusCode::UNAUTHORIZED);
    let (status, ordered) = scene.order("laptop", |digest| laptop(OPERATOR).sign(digest)).await;
    assert_eq!(status, StatusCode::CREATED, "{ordered}");
    // And nobody gives it back.
    let key = user.keys.iter_mut().find(|key| key.id.as_str() == "laptop").unwrap();
    key.uses = KeyUse::Access.into();
    let (status, refused) = scene.append(put(&scene, &user, &["client.owner", "manager.security"])).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert!(refused.to_string().contains("add another key"), "{refused}");
}
