//! Orders as users of a governed desk hand them in: with either kind of key, and never as those of another desk, of another policy, or of
//! whom the log does not know.

use crate::server::{Server, TestClock, database, found, xrp_wallet};
use bursar::intake::{self, TransferRequest, adapter};
use bursar_domain::{
    amount::Amount,
    asset::{Asset, AssetInfo},
    governance::{
        change::Change,
        log::Head,
        policy::Policy,
        signature::Signature,
        testing::{TestDesk, TestPasskey, key},
    },
    ids::{TransferId, WalletId},
    intent::{Destination, Intent, Payment, Terms},
    lifecycle::Transfer,
    time::Timestamp,
    wallet::WalletDescriptor,
};
use bursar_store::{
    Store, governance as kept,
    transfers::{self, Submitted},
    wallets::{self, Wallet},
};
use ed25519_dalek::Signer as _;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

const RECIPIENT: &str = "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE";

fn laptop() -> TestPasskey {
    TestPasskey::new("client.operator", "laptop")
}

/// Everything is allowed. The operator of the client has a passkey, too.
struct Scene {
    _dir: tempfile::TempDir,
    server: Server,
    desk: TestDesk,
    wallet: Wallet,
    /// How much of the log is in the database.
    stored: usize,
}

impl Scene {
    async fn new(governed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut desk = TestDesk::new(0);
        let passkey = laptop();
        let add = Change::AddKey { user: passkey.user.clone(), key: passkey.public() };
        desk.accept(add, &["client.owner", "manager.security"]);
        let store = Store::open(&database(dir.path())).await.unwrap();
        found(&store, &desk.entries[0].0, desk.now).await;
        let wallet = xrp_wallet(desk.now);
        let mut tx = store.write().await.unwrap();
        wallets::insert(&mut tx, &wallet).await.unwrap();
        tx.commit().await.unwrap();
        drop(store);
        let pinned = governed.then(|| desk.pinned());
        let server = Server::start_paying(dir.path(), pinned, TestClock::at(desk.now)).await;
        let mut scene = Self { _dir: dir, server, desk, wallet, stored: 1 };
        scene.store().await;
        scene
    }

    /// With a policy in force.
    async fn with_policy() -> Self {
        let mut scene = Self::new(true).await;
        scene.publish().await;
        scene
    }

    async fn publish(&mut self) {
        let rules = json!([{ "id": "all", "then": { "kind": "ALLOW" } }]);
        let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": rules });
        self.desk.publish(serde_json::from_value::<Policy>(policy).unwrap());
        self.store().await;
    }

    async fn change(&mut self, change: Change) {
        self.desk.accept(change, &["client.owner", "manager.security"]);
        self.store().await;
    }

    /// What the desk's log has and the database has not.
    async fn store(&mut self) {
        let mut tx = self.server.store.write().await.unwrap();
        for place in self.stored..self.desk.entries.len() {
            let (entry, at) = &self.desk.entries[place];
            let head = Head { seq: place as u64, digest: entry.digest() };
            let previous = self.desk.entries[place - 1].0.digest();
            kept::append(&mut tx, head, previous, entry, *at).await.unwrap();
        }
        tx.commit().await.unwrap();
        self.stored = self.desk.entries.len();
    }

    fn request(&self, name: &str, terms: Option<&Terms>) -> TransferRequest {
        let request = json!({
            "externalId": name, "walletId": self.wallet.id, "asset": "XRP",
            "payments": [{ "address": RECIPIENT, "amount": "25" }],
            "maxFee": "0.001", "expiresAt": "2026-06-01T00:00:00Z",
        });
        TransferRequest { terms: terms.cloned(), ..serde_json::from_value(request).unwrap() }
    }

    fn intent(&self, request: &TransferRequest) -> Intent {
        let info = AssetInfo::natives().into_iter().find(|info| info.asset == Asset::Xrp).unwrap();
        let descriptor = self.wallet.descriptor;
        intake::intent(request, descriptor, &info, adapter(descriptor.network.chain())).unwrap()
    }

    /// A request for an order with these terms, under the signature that `sign` makes of its digest.
    fn signed(&self, name: &str, terms: Option<&Terms>, sign: impl FnOnce(&[u8; 32]) -> Signature) -> Value {
        let request = self.request(name, terms);
        let signature = sign(&self.intent(&request).digest().0);
        serde_json::to_value(TransferRequest { signature: Some(signature.into()), ..request }).unwrap()
    }

    /// By the bare key of an operator, as where nothing is governed.
    fn bare(&self, name: &str, terms: Option<&Terms>) -> Value {
        let request = self.request(name, terms);
        let operator = key("client.operator");
        let signature = operator.secret.sign(self.intent(&request).canonical().as_bytes()).to_bytes();
        let request = TransferRequest {
            initiator: Some(operator.initiator().to_string()),
            signature: Some(hex::encode(signature).into()),
            ..request
        };
        serde_json::to_value(request).unwrap()
    }

    async fn submit(&self, body: &Value) -> (StatusCode, Value) {
        self.server.post("/v1/transfers", body).await
    }

    /// Nothing is kept of it; the type of the problem, and all that it says.
    async fn refused(&self, body: &Value, status: u16, kind: &str, says: &str) {
        let (code, problem) = self.submit(body).await;
        assert_eq!(code.as_u16(), status, "{problem}");
        assert_eq!(problem["type"], format!("urn:bursar:problem:{kind}"), "{problem}");
        assert!(problem.to_string().contains(says), "{says}: {problem}");
        let known = self
            .server
            .get(&format!("/v1/transfers?externalId={}", body["externalId"].as_str().unwrap()))
            .await;
        assert_eq!(known["items"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn order_by_a_user__should_be_taken_with_either_kind_of_key() {
    let scene = Scene::with_policy().await;
    let terms = scene.desk.terms();
    let by_key = scene.signed("by-key", Some(&terms), |digest| key("client.operator").sign(digest));
    let by_passkey = scene.signed("by-passkey", Some(&terms), |digest| laptop().sign(digest));
    for order in [&by_key, &by_passkey] {
        let (status, made) = scene.submit(order).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        assert_eq!(made["initiator"], "client.operator");
        assert_eq!(made["initiatorSignature"], order["signature"]);
        assert_eq!(made["terms"], json!(terms));
        let (status, again) = scene.submit(order).await;
        assert_eq!((status, &again["id"]), (StatusCode::OK, &made["id"]));
        let stored = transfers::get(&scene.server.store, made["id"].as_str().unwrap().parse().unwrap()).await;
        let stored = stored.unwrap().unwrap().intent;
        stored.verify_user(scene.desk.state.directory()).unwrap();
    }
    // A passkey makes another signature each time, and the order is the same; of another user it is another.
    let again = scene.signed("by-key", Some(&terms), |digest| laptop().sign(digest));
    assert_eq!(scene.submit(&again).await.0, StatusCode::OK);
    let theirs = Terms { initiator: key("manager.operator").user, ..terms.clone() };
    for terms in [&terms, &theirs] {
        let other = scene.signed("by-key", Some(terms), |digest| key("manager.operator").sign(digest));
        assert_eq!(scene.submit(&other).await.0, StatusCode::CONFLICT);
    }
    // Whoever has the file and the log can verify both.
    assert_eq!(scene.server.audited(scene.desk.pinned()).await.signatures, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_of_another_desk_policy_or_person__should_be_refused_with_what_to_do() {
    let mut scene = Scene::new(true).await;
    let sign = |digest: &[u8; 32]| key("client.operator").sign(digest);
    let none = scene.signed("early", Some(&scene.desk.terms()), sign);
    scene.refused(&none, 409, "governance-order-no-policy", "no policy").await;
    scene.publish().await;
    let first = scene.desk.terms();
    scene.publish().await;
    let terms = scene.desk.terms();

    let stale = scene.signed("stale", Some(&first), sign);
    let in_force = format!("entry {} ({})", terms.policy.seq, terms.policy.digest);
    scene.refused(&stale, 409, "governance-order-other-policy", &in_force).await;
    let mut elsewhere = terms.clone();
    elsewhere.desk.0[0] ^= 1;
    let elsewhere = scene.signed("elsewhere", Some(&elsewhere), sign);
    scene.refused(&elsewhere, 422, "governance-order-other-desk", "terms.desk").await;

    let field = |field: &str| format!(r#""field":"{field}""#);
    let bare = scene.bare("bare", None);
    scene.refused(&bare, 422, "invalid-request", &field("terms")).await;
    scene.refused(&bare, 422, "invalid-request", &in_force).await;
    scene.refused(&scene.bare("bare", Some(&terms)), 422, "invalid-request", &field("signature")).await;
    let mut unsigned = scene.signed("unsigned", Some(&terms), sign);
    unsigned.as_object_mut().unwrap().remove("signature");
    scene.refused(&unsigned, 422, "invalid-request", &field("signature")).await;
    let mut named = scene.signed("named", Some(&terms), sign);
    named["initiator"] = key("client.operator").initiator().to_string().into();
    scene.refused(&named, 422, "invalid-request", &field("initiator")).await;
    let mut changed = scene.signed("changed", Some(&terms), |digest| laptop().sign(digest));
    changed["payments"][0]["amount"] = "26".into();
    scene.refused(&changed, 422, "invalid-request", &field("signature")).await;
    let nobodys = Terms { initiator: key("nobody").user, ..terms.clone() };
    let stranger = scene.signed("stranger", Some(&nobodys), |digest| key("nobody").sign(digest));
    scene.refused(&stranger, 422, "invalid-request", "is not in the directory").await;
    // Somebody who may order as well, and whose order it is not.
    let anothers = scene.signed("anothers", Some(&terms), |digest| key("manager.operator").sign(digest));
    scene.refused(&anothers, 422, "invalid-request", &field("terms.initiator")).await;
    let mut renamed = scene.signed("renamed", Some(&terms), |digest| key("manager.operator").sign(digest));
    renamed["terms"]["initiator"] = "manager.operator".into();
    scene.refused(&renamed, 422, "invalid-request", &field("signature")).await;

    let passkey = laptop();
    let (user, id) = (passkey.user.clone(), passkey.id.clone());
    let touched = scene.signed("touched", Some(&terms), |digest| passkey.sign(digest));
    scene.change(Change::RemoveKey { user: user.clone(), key: id }).await;
    scene.refused(&touched, 422, "invalid-request", "no key laptop").await;
    scene.change(Change::SuspendUser { user }).await;
    let suspended = scene.signed("suspended", Some(&terms), sign);
    // Handed in by somebody else, or nobody would be let in.
    let (status, problem) = scene
        .server
        .call_as("manager.operator", reqwest::Method::POST, "/v1/transfers", Some(&suspended))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert!(problem.to_string().contains("is suspended"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn order_with_terms__should_be_refused_where_nothing_is_governed() {
    let scene = Scene::new(false).await;
    let terms = scene.desk.terms();
    for order in [
        scene.signed("governed", Some(&terms), |digest| key("client.operator").sign(digest)),
        scene.bare("governed", Some(&terms)),
    ] {
        scene.refused(&order, 422, "invalid-request", r#""field":"terms""#).await;
    }
    let user = scene.signed("governed", None, |digest| key("client.operator").sign(digest));
    scene.refused(&user, 422, "invalid-request", r#""field":"terms""#).await;
    let (status, made) = scene.submit(&scene.bare("bare", None)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["initiator"], key("client.operator").initiator().to_string());
    assert!(made.get("terms").is_none() && made["initiatorSignature"].is_string(), "{made}");
}

/// A batch that a passkey has ordered.
async fn batch(scene: &Scene) -> Transfer {
    let context = &scene.server.context;
    let now: Timestamp = context.clock.now();
    let descriptor: WalletDescriptor = "bitcoin:regtest/p2tr/0".parse().unwrap();
    let wallet =
        Wallet { id: WalletId::new(context.ids.uuid()), name: "coins".into(), descriptor, created_at: now };
    let payment = |amount| Payment {
        destination: Destination { address: format!("bcrt1q{amount}"), tag: None },
        amount: Amount::from_u64(amount),
    };
    let intent = Intent {
        external_id: "batch".parse().unwrap(),
        wallet: descriptor,
        asset: Asset::Btc,
        source: None,
        payments: vec![payment(1_000), payment(2_000), payment(3_000)],
        max_fee: Amount::from_u64(500),
        expires_at: now.plus(Duration::from_secs(86_400)),
        fills: None,
        terms: Some(scene.desk.terms()),
    };
    let order = laptop().order(intent);
    let transfer = Transfer::submitted(TransferId::new(context.ids.uuid()), wallet.id, order, now);
    let mut tx = scene.server.store.write().await.unwrap();
    wallets::insert(&mut tx, &wallet).await.unwrap();
    assert_eq!(transfers::submit(&mut tx, &transfer).await.unwrap(), Submitted::New);
    tx.commit().await.unwrap();
    transfer
}

#[tokio::test(flavor = "multi_thread")]
async fn recall__should_be_the_users_with_any_of_their_keys() {
    let scene = Scene::with_policy().await;
    let transfer = batch(&scene).await;
    let path = format!("/v1/transfers/{}/recalls", transfer.id);
    let ask = async |recall: Value| scene.server.post(&path, &recall).await;
    let recall = |by: &TestPasskey, payment| json!(by.recall(&transfer.intent, payment));
    for (forged, says) in [
        (json!(key("manager.operator").recall(&transfer.intent, 0)), "client.operator"),
        (recall(&TestPasskey::new("client.operator", "phone"), 0), "no key phone"),
        (json!({ "payment": 1, "signature": recall(&laptop(), 0)["signature"] }), "payments[1]"),
        (json!({ "payment": 0, "signature": "07".repeat(64) }), "payments[0]"),
    ] {
        let (status, problem) = ask(forged).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert!(
            problem["errors"][0]["field"] == "signature" && problem.to_string().contains(says),
            "{problem}"
        );
    }
    let (status, left) = ask(recall(&laptop(), 0)).await;
    assert_eq!(status, StatusCode::OK, "{left}");
    assert_eq!(left["payments"][0]["recalled"], true);
    // Again is once, with whichever key.
    let again = json!(key("client.operator").recall(&transfer.intent, 0));
    assert_eq!(ask(again).await.0, StatusCode::OK);
    assert_eq!(ask(recall(&laptop(), 2)).await.0, StatusCode::OK);
    let (status, last) = ask(recall(&laptop(), 1)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(last.to_string().contains("the last one left"), "{last}");
    let stored = transfers::get(&scene.server.store, transfer.id).await.unwrap().unwrap();
    assert_eq!((stored.recalls.len(), stored.remaining().unwrap().payments.len()), (2, 1));
    // The order, and two recalls.
    assert_eq!(scene.server.audited(scene.desk.pinned()).await.signatures, 3);
}
