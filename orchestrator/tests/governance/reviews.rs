//! The review queue by its API: who lets go what a screening held, and what forged alerts meet.

use crate::{
    orders::submit,
    server::{Server, TestClock, found},
};
use async_trait::async_trait;
use bursar_domain::{
    governance::{
        change::Change,
        log::{EntryDigest, Head},
        testing::{TestDesk, key},
        verdict::SignedVerdict,
    },
    ids::TransferId,
    lifecycle::Status,
    screening::{
        Alert, AlertPage, AlertSubject, Answer, Assessment, Finding, Inquiry, RiskBand, Screened,
        ScreeningService, SignedAlert, Unanswered,
    },
    time::{Clock as _, Timestamp},
};
use bursar_store::{governance as kept, transfers};
use bursar_workers::{
    Context, engine,
    screening::{Screening, ScreeningSettings},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc, time::Duration};

/// Holds everything for review.
struct Holds {
    genesis: EntryDigest,
    now: Timestamp,
}

#[async_trait]
impl ScreeningService for Holds {
    async fn screen(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        let Inquiry::Outbound { order } = inquiry else { return Err(Unanswered::Unsupported("x".into())) };
        let finding = Finding {
            category: "mixer".into(),
            risk: RiskBand::High,
            description: "two hops from a mixer".into(),
        };
        let assessment = Assessment {
            provider: "test".into(),
            risk: RiskBand::High,
            sanctions: false,
            outcome: Screened::Review,
            findings: vec![finding],
            screened_at: self.now,
            expires_at: self.now.plus(Duration::from_secs(3600)),
            reference: format!("ref-{round}"),
        };
        let verdict = assessment.verdict(self.genesis, order.intent.digest());
        let signature = key("platform.screening").sign(&verdict.digest());
        Ok(Answer::Complete { assessment, verdict: Some(SignedVerdict { verdict, signature }) })
    }
    async fn alerts(&self, _: Option<&str>) -> Result<AlertPage, Unanswered> {
        Ok(AlertPage::default())
    }
}

struct Held {
    server: Server,
    desk: TestDesk,
    /// As a worker has it.
    worker: Context,
    transfer: TransferId,
}

impl Held {
    /// A transfer in PENDING_REVIEW.
    async fn start(dir: &Path) -> Self {
        let mut desk = TestDesk::new(0);
        let store = bursar_store::Store::open(&crate::server::database(dir)).await.unwrap();
        found(&store, &desk.entries[0].0, desk.now).await;
        let screening = json!({ "by": ["platform.screening"], "maxAgeSeconds": 3600 });
        let rules = json!([{ "id": "all", "then": { "kind": "ALLOW" } }]);
        let policy =
            json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "screening": screening, "rules": rules });
        let policy = serde_json::from_value(policy).unwrap();
        let published = desk.accept(Change::SetPolicy { policy }, &["manager.policy", "platform.policy"]);
        let (entry, at) = desk.entries[1].clone();
        let mut tx = store.write().await.unwrap();
        let head = Head { seq: 1, digest: published.head.digest };
        kept::append(&mut tx, head, desk.pinned(), &entry, at).await.unwrap();
        tx.commit().await.unwrap();
        let server = Server::start(dir, Some(desk.pinned()), TestClock::at(desk.now)).await;
        let service = Arc::new(Holds { genesis: desk.pinned(), now: desk.now });
        let screening = Some(Screening::new(service, ScreeningSettings::default()));
        let worker = Context { screening, ..server.context.clone() };
        let transfer = submit(&worker, "held", desk.now).await;
        engine::look_at(&worker, transfer).await.unwrap();
        Self { server, desk, worker, transfer }
    }

    async fn status(&self) -> Status {
        transfers::get(&self.server.store, self.transfer).await.unwrap().unwrap().status()
    }
    fn path(&self, rest: &str) -> String {
        format!("/v1/transfers/{}/{rest}", self.transfer)
    }
    async fn review(&self) -> Value {
        let (status, page) = self.server.call_as("platform.officer", Method::GET, "/v1/reviews", None).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page["items"].as_array().unwrap().first().cloned().unwrap_or_default()
    }
    /// What the queue asks for, to be signed.
    async fn release(&self) -> bursar_domain::governance::verdict::Release {
        let review = self.review().await;
        let needs = &review["transfer"]["needs"];
        let now = self.server.clock.now();
        serde_json::from_value(json!({
            "genesis": needs["genesis"],
            "intent": review["transfer"]["intentDigest"],
            "verdict": needs["verdict"],
            "reason": "looked into",
            "evidence": [{ "kind": "DOCUMENT", "name": "contract.pdf", "sha256": "03".repeat(32) }],
            "releasedAt": now,
            "expiresAt": now.plus(Duration::from_secs(600)),
        }))
        .unwrap()
    }
    async fn post(&self, user: &str, rest: &str, body: &Value) -> (u16, String, Value) {
        let (status, body) = self.server.call_as(user, Method::POST, &self.path(rest), Some(body)).await;
        let kind = body["type"].as_str().unwrap_or_default().trim_start_matches("urn:bursar:problem:");
        (status.as_u16(), kind.to_owned(), body)
    }
    async fn sign(&self, caller: &str, signers: &[&str]) -> (u16, String, Value) {
        let release = self.release().await;
        let signatures: Vec<_> = signers.iter().map(|user| key(user).sign(&release.digest())).collect();
        self.post(caller, "releases", &json!({ "release": release, "signatures": signatures })).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn review__should_show_why_and_be_released_by_two() {
    let dir = tempfile::tempdir().unwrap();
    let held = Held::start(dir.path()).await;
    assert_eq!(held.status().await, Status::PendingReview);
    let review = held.review().await;
    let transfer = &review["transfer"];
    assert_eq!(
        (&review["case"]["cause"], &transfer["heldBy"], &transfer["needs"]["signatures"]),
        (&json!("REVIEW"), &json!("REVIEW"), &json!("OFFICER_AND_LEAD")),
        "{review}"
    );
    assert_eq!(transfer["screening"]["findings"][0]["category"], "mixer");
    // Whoever may see the transfer sees that it was screened, and not what was found.
    let seen = held.server.get(&format!("/v1/transfers/{}", held.transfer)).await;
    assert_eq!((&seen["screening"]["risk"], &seen["screening"]["findings"]), (&json!("HIGH"), &Value::Null));
    assert_eq!(seen["screening"]["signedVerdict"], Value::Null);
    for user in ["client.operator", "client.approver", "platform.viewer"] {
        for path in ["/v1/reviews".to_owned(), "/v1/cases".into(), held.path("screenings")] {
            let (status, _) = held.server.call_as(user, Method::GET, &path, None).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{user} {path}");
        }
    }

    let (status, _, half) = held.sign("platform.officer", &["platform.officer"]).await;
    assert_eq!((status, &half["counts"]), (202, &json!(false)), "{half}");
    // The officer again, and again: one person stays one.
    assert_eq!(held.sign("platform.officer", &["platform.officer", "platform.officer"]).await.0, 202);
    let (status, _, whole) = held.sign("platform.lead", &["platform.lead"]).await;
    assert_eq!((status, &whole["counts"]), (201, &json!(true)), "{whole}");
    assert_eq!(whole["evidence"][0]["name"], "contract.pdf", "{whole}");
    // As far as it comes: there is no chain here.
    let stopped = engine::look_at(&held.worker, held.transfer).await;
    assert!(matches!(stopped, Err(engine::StepError::UnservedNetwork(_))), "{stopped:?}");
    assert_eq!(held.status().await, Status::Queued);
    assert_eq!(held.review().await, Value::Null, "nothing is left in the queue");
    let told = held.server.events("transfer.release_signed").await;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1]["signatures"][0]["user"], "platform.lead");
    assert_eq!(told[1]["complete"], true);
    assert_eq!(told[1]["release"]["evidence"][0]["sha256"], "03".repeat(32));
    let report = held.server.audited(held.desk.pinned()).await;
    assert_eq!(report.signatures, 4, "the order's, the verdict's, the officer's and the lead's");
    let (status, kind, _) = held.post("platform.lead", "screenings", &json!({})).await;
    assert_eq!((status, kind.as_str()), (404, "not-found"), "this API has no service to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn release__should_be_refused_to_everybody_else() {
    let dir = tempfile::tempdir().unwrap();
    let held = Held::start(dir.path()).await;
    for (signer, status, expected) in [
        ("client.operator", 403, "governance-release-initiator"),
        ("client.approver", 403, "governance-release-not-compliance"),
        ("platform.screening", 403, "governance-release-not-compliance"),
    ] {
        let (found, kind, body) = held.sign("platform.lead", &[signer]).await;
        assert_eq!((found, kind.as_str()), (status, expected), "{signer}: {body}");
    }
    let release = held.release().await;
    let signed = |release: &Value, signature: Value| json!({ "release": release, "signatures": [signature] });
    let lead = json!(key("platform.lead").sign(&release.digest()));
    let mut forged = lead.clone();
    forged["evidence"]["signature"] = json!("00".repeat(64));
    let body = signed(&json!(release), forged);
    assert_eq!(held.post("platform.lead", "releases", &body).await.1, "governance-release-signature");
    let mut longer = json!(release);
    longer["reason"] = json!("something that was not signed");
    let body = signed(&longer, lead.clone());
    assert_eq!(held.post("platform.lead", "releases", &body).await.1, "governance-release-signature");
    let none = json!({ "release": release, "signatures": [] });
    assert_eq!(held.post("platform.lead", "releases", &none).await.1, "governance-release-unsigned");
    let mut unknown = json!({ "release": release, "signatures": [lead] });
    unknown["release"]["more"] = json!(1);
    assert_eq!(held.post("platform.lead", "releases", &unknown).await.0, 400);
    // Without a verdict, although there is one; and when its time is over.
    let mut bypass = release.clone();
    bypass.verdict = None;
    let body = signed(&json!(bypass), json!(key("platform.lead").sign(&bypass.digest())));
    assert_eq!(held.post("platform.lead", "releases", &body).await.1, "governance-release-other");
    let late = signed(&json!(release), json!(key("platform.lead").sign(&release.digest())));
    held.server.clock.wait(601);
    assert_eq!(held.post("platform.lead", "releases", &late).await.1, "governance-release-time");
    assert_eq!(held.status().await, Status::PendingReview);
    let (_, releases) =
        held.server.call_as("platform.officer", Method::GET, &held.path("releases"), None).await;
    assert_eq!(releases["items"], json!([]), "nothing of it was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejection_and_case__should_say_who_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let held = Held::start(dir.path()).await;
    let case = held.review().await["case"]["id"].as_str().unwrap().to_owned();
    let case = format!("/v1/cases/{case}");
    let officer = |method, path: String, body: Value| {
        let held = &held;
        async move { held.server.call_as("platform.officer", method, &path, Some(&body)).await }
    };
    let noted = officer(Method::POST, format!("{case}/notes"), json!({ "note": "asked the client" })).await;
    assert_eq!(noted.0, StatusCode::CREATED, "{}", noted.1);
    let empty = officer(Method::POST, format!("{case}/notes"), json!({ "note": "  " })).await;
    assert_eq!(empty.0, StatusCode::UNPROCESSABLE_ENTITY);
    let early = officer(Method::POST, format!("{case}/close"), json!({ "reason": "done" })).await;
    assert_eq!(early.0, StatusCode::CONFLICT, "it is still held: {}", early.1);

    let release = held.release().await;
    let rejection = bursar_domain::governance::verdict::Rejection {
        genesis: held.desk.pinned(),
        intent: release.intent,
        reason: "paid to a mixer".into(),
        rejected_at: held.server.clock.now(),
    };
    let signed =
        |user: &str| json!({ "rejection": rejection, "signature": key(user).sign(&rejection.digest()) });
    let (status, kind, _) = held.post("platform.officer", "rejections", &signed("client.approver")).await;
    assert_eq!((status, kind.as_str()), (403, "governance-rejection-not-compliance"));
    let (status, _, rejected) =
        held.post("platform.officer", "rejections", &signed("platform.officer")).await;
    assert_eq!((status, &rejected["status"]), (201, &json!("REJECTED")), "{rejected}");
    assert_eq!(rejected["reason"], "rejected by compliance");
    let (_, closed) = held.server.call_as("platform.officer", Method::GET, &case, None).await;
    assert_eq!(
        (&closed["status"], &closed["closed"]["by"]),
        (&json!("CLOSED"), &json!("platform.officer")),
        "{closed}"
    );
    assert_eq!(closed["notes"][0]["note"], "asked the client");
    assert!(closed["notes"][0]["by"].as_str().unwrap().contains("platform.officer"));
    assert_eq!(held.server.events("transfer.review_rejected").await.len(), 1);
    let report = held.server.audited(held.desk.pinned()).await;
    assert_eq!(report.signatures, 3, "the order's, the verdict's and the officer's");
}

#[tokio::test(flavor = "multi_thread")]
async fn alert__should_be_taken_by_its_signature_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let held = Held::start(dir.path()).await;
    let order =
        transfers::get(&held.server.store, held.transfer).await.unwrap().unwrap().intent.intent.digest();
    let alert = Alert {
        id: "provider:1".into(),
        subject: AlertSubject::Transfer(order),
        risk: RiskBand::Severe,
        sanctions: true,
        description: "listed since today".into(),
        raised_at: held.server.clock.now(),
    };
    let sign = |alert: &Alert, user: &str| {
        json!(SignedAlert { signature: key(user).sign(&alert.digest()), alert: alert.clone() })
    };
    // By nobody's credentials, as outsiders call.
    let client = reqwest::Client::new();
    let url = format!("{}/v1/screening/alerts", held.server.url);
    let post = |body: String| {
        let request = client.post(&url).body(body);
        async move {
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            (status, response.json::<Value>().await.unwrap())
        }
    };
    let mut forged = sign(&alert, "platform.screening");
    forged["alert"]["description"] = json!("changed on the way");
    for (body, status) in [
        ("{".to_owned(), 400),
        ("[]".to_owned(), 400),
        (json!({ "alert": alert }).to_string(), 400),
        ("x".repeat(300 * 1024), 413),
        (forged.to_string(), 403),
        (sign(&alert, "client.service").to_string(), 403),
        (sign(&Alert { id: String::new(), ..alert.clone() }, "platform.screening").to_string(), 400),
    ] {
        let answer = post(body.clone()).await;
        assert_eq!(answer.0, status, "{}: {}", &body[..body.len().min(80)], answer.1);
    }
    assert_eq!(held.server.events("screening.alert").await.len(), 0);
    let good = sign(&alert, "platform.screening").to_string();
    let first = post(good.clone()).await;
    assert_eq!(first.0, 201, "{}", first.1);
    assert_eq!(post(good).await, (200, first.1.clone()), "the same is the same");
    let other = Alert { description: "something else".into(), ..alert.clone() };
    assert_eq!(post(sign(&other, "platform.screening").to_string()).await.0, 409);
    let told = held.server.events("screening.alert").await;
    assert_eq!((told.len(), &told[0]["frozen"][0]), (1, &json!(held.transfer)), "{told:?}");
    assert_eq!(held.review().await["transfer"]["heldBy"], "ALERT");
    // It is in review and frozen: one release of both.
    held.server.clock.wait(1);
    assert_eq!(held.sign("platform.lead", &["platform.officer", "platform.lead"]).await.0, 201);
    let transfer = transfers::get(&held.server.store, held.transfer).await.unwrap().unwrap();
    assert_eq!((transfer.flags.frozen, transfer.flags.alerted), (false, true));
    let verdicts = held.server.events("screening.verdict").await;
    assert_eq!((verdicts.len(), &verdicts[0]["verdict"]["outcome"]), (1, &json!("REVIEW")));
    let report = held.server.audited(held.desk.pinned()).await;
    assert_eq!(report.signatures, 5, "the order's, the verdict's, the alert's, the officer's and the lead's");
}
