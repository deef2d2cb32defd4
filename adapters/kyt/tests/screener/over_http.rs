//! The whole way: client, server, screener, list; verdicts that the domain believes; callers and callbacks that it does not.

use crate::support::*;
use bursar_domain::{
    governance::{
        log::EntryDigest,
        policy::Screening,
        testing::{FOUNDED, TestDesk, key},
        verdict::{NotScreened, ScreeningCheck},
    },
    screening::{Answer, Inquiry, RiskBand, ScreeningService, SignedVerdict, Unanswered},
};
use bursar_kyt::{client::RemoteScreening, provider::Provider, server as http};
use std::{sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const LIST: &str = "default = \"CLEAR\"\n[[entries]]\naddress = \"bcrt1qother\"\nrisk = \"MEDIUM\"\n";

struct Served {
    url: String,
    /// Keeps the store, and lets tests look inside.
    scene: Scene,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    _list: tempfile::TempDir,
}

impl Served {
    async fn list() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.toml");
        std::fs::write(&path, LIST).unwrap();
        Self::new(crate::list::provider(&path), dir).await
    }

    async fn new(provider: Arc<dyn Provider>, list: tempfile::TempDir) -> Self {
        let scene = Scene::new(provider);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let router = http::router(scene.screener.clone(), secret("t0ken"), None);
        let serving = tokio::spawn(http::serve(listener, router, stop.clone().cancelled_owned()));
        Self { url, scene, stop, serving, _list: list }
    }

    fn client(&self, token: &str) -> RemoteScreening {
        RemoteScreening::new(&self.url, secret(token), Duration::from_secs(10)).ok().unwrap()
    }

    async fn post(
        &self,
        path: &str,
        token: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, serde_json::Value) {
        let request = plain().post(format!("{}{path}", self.url));
        let sent =
            request.header("authorization", format!("Bearer {token}")).body(body).send().await.unwrap();
        let status = sent.status().as_u16();
        (status, sent.json().await.unwrap_or_default())
    }
}

fn plain() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// What a co-signer makes of a verdict.
fn pass(
    desk: &TestDesk,
    genesis: EntryDigest,
    verdict: &SignedVerdict,
    inquiry: &Inquiry,
) -> Result<RiskBand, NotScreened> {
    let Inquiry::Outbound { order } = inquiry else { panic!("no order") };
    let screening = Screening { by: ["platform.screening".parse().unwrap()].into(), max_age_seconds: 3600 };
    ScreeningCheck {
        directory: desk.state.directory(),
        genesis,
        intent: order.intent.digest(),
        initiator: &key("client.operator").user,
        screening: &screening,
        now: FOUNDED,
    }
    .pass(Some(verdict), &[])
}

#[tokio::test]
async fn verdicts_are_believed_by_the_domain_for_this_order_and_desk_only() {
    let served = Served::list().await;
    let client = served.client("t0ken");
    let Answer::Complete { verdict: Some(verdict), assessment } =
        client.screen(&outbound(), 0).await.unwrap()
    else {
        panic!("no verdict")
    };
    assert_eq!(assessment.provider, "list");
    let (desk, genesis) = (TestDesk::new(0), EntryDigest([3; 32]));
    assert_eq!(pass(&desk, genesis, &verdict, &outbound()), Ok(RiskBand::Low));
    let other = Inquiry::outbound(order(&[PAYEE, "bcrt1qthird"]));
    assert_eq!(pass(&desk, genesis, &verdict, &other), Err(NotScreened::OtherIntent));
    assert_eq!(pass(&desk, desk.pinned(), &verdict, &outbound()), Err(NotScreened::OtherGenesis));
    // Held for review, with a signature as well.
    let held = Inquiry::outbound(order(&[OTHER]));
    let Answer::Complete { verdict: Some(verdict), .. } = client.screen(&held, 0).await.unwrap() else {
        panic!("no verdict")
    };
    assert_eq!(pass(&desk, genesis, &verdict, &held), Err(NotScreened::NeedsRelease));
    // A verdict that was made milder on its way.
    let mut forged = verdict;
    forged.verdict.outcome = bursar_domain::screening::Screened::Clear;
    assert!(matches!(pass(&desk, genesis, &forged, &held), Err(NotScreened::Signature(_))));
    for inquiry in [broadcast(), deposit(), address(PAYEE)] {
        let answer = client.screen(&inquiry, 0).await.unwrap();
        assert!(matches!(answer, Answer::Complete { verdict: None, .. }), "{}", inquiry.kind());
    }
}

#[tokio::test]
async fn errors_come_back_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.toml");
    std::fs::write(&path, "").unwrap();
    let served = Served::new(crate::list::provider(&path), dir).await;
    let client = served.client("t0ken");
    assert!(matches!(client.screen(&outbound(), 0).await, Err(Unanswered::Unknown(_))));
    let mut forged = order(&[PAYEE]);
    spoil(&mut forged);
    assert!(matches!(client.screen(&Inquiry::outbound(forged), 0).await, Err(Unanswered::Refused(_))));
    assert!(matches!(served.client("wrong").screen(&outbound(), 0).await, Err(Unanswered::Refused(_))));
    assert!(matches!(served.client("wrong").alerts(None).await, Err(Unanswered::Refused(_))));
    assert_eq!(client.alerts(None).await.unwrap().alerts, []);
    assert!(matches!(client.alerts(Some("nonsense")).await, Err(Unanswered::Refused(_))));
}

#[tokio::test]
async fn hostile_requests_are_refused() {
    let served = Served::list().await;
    let deep = format!("{{\"inquiry\":{}{}}}", "[".repeat(3000), "]".repeat(3000));
    let huge = format!("{{\"inquiry\":\"{}\"}}", "x".repeat(300 * 1024));
    let unknown =
        "{\"inquiry\":{\"kind\":\"ADDRESS\",\"network\":\"bitcoin:regtest\",\"address\":\"a\"},\"more\":1}";
    let wrong_network = "{\"inquiry\":{\"kind\":\"ADDRESS\",\"network\":\"dogecoin\",\"address\":\"a\"}}";
    let control =
        "{\"inquiry\":{\"kind\":\"ADDRESS\",\"network\":\"bitcoin:regtest\",\"address\":\"a\\u0007\"}}";
    let twice = "{\"inquiry\":{\"kind\":\"ADDRESS\",\"network\":\"bitcoin:regtest\",\"address\":\"a\"}} {}";
    for (body, status) in [
        ("", 400),
        ("null", 400),
        ("{}", 400),
        ("{\"inquiry\":{\"kind\":\"OTHER\"}}", 400),
        (unknown, 400),
        (wrong_network, 400),
        (control, 400),
        (twice, 400),
        (&deep, 400),
        (&huge, 413),
    ] {
        let (found, problem) = served.post("/v1/screenings", "t0ken", body.to_owned()).await;
        assert_eq!(found, status, "{body:.60}");
        assert_eq!(problem["code"], "REFUSED", "{body:.60}");
    }
    for token in ["", "T0KEN", "t0ken2", "t0ke", "t0ken,x"] {
        let (status, problem) = served.post("/v1/screenings", token, "{}").await;
        assert_eq!((status, problem["code"].as_str()), (401, Some("UNAUTHENTICATED")), "{token:?}");
    }
    // A list has no callbacks, and there is no other provider.
    for provider in ["list", "trm", "..%2f", "x"] {
        let (status, _) = served.post(&format!("/v1/provider-callback/{provider}"), "t0ken", "{}").await;
        assert_eq!(status, 404, "{provider}");
    }
    let get = |path: &str| plain().get(format!("{}{path}", served.url)).send();
    assert_eq!(get("/health/live").await.unwrap().status(), 200);
    assert_eq!(get("/metrics").await.unwrap().status(), 404);
    assert_eq!(get("/v1/alerts").await.unwrap().status(), 401);
    assert_eq!(get("/").await.unwrap().status(), 404);
    // And it still answers.
    assert!(served.client("t0ken").screen(&outbound(), 0).await.is_ok());
}

#[tokio::test]
async fn callbacks_become_signed_alerts_once() {
    let served =
        Served::new(crate::elliptic::provider("http://127.0.0.1:1"), tempfile::tempdir().unwrap()).await;
    // Nobody listens there, but it is written down before anybody is asked.
    let inquiry = broadcast();
    assert!(served.scene.screen(&inquiry).await.is_err());
    let event = serde_json::json!({
        "id": "e-1",
        "data": { "analysis": {
            "id": "a-1", "risk_score": 9.5, "process_status": "complete", "customer": { "reference": inquiry.external_id(0, 0) }
        }}
    })
    .to_string();
    let path = "/v1/provider-callback/elliptic";
    assert_eq!(served.post(path, "wrong", event.clone()).await.0, 401);
    assert_eq!(
        served.post(path, "callback-t0ken", event.clone()).await,
        (200, serde_json::json!({ "added": 1 }))
    );
    assert_eq!(served.post(path, "callback-t0ken", event).await, (200, serde_json::json!({ "added": 0 })));
    assert_eq!(served.post(path, "callback-t0ken", "{").await.0, 400);
    let page = served.client("t0ken").alerts(None).await.unwrap();
    assert_eq!((page.alerts.len(), page.next.as_deref()), (1, Some("1")));
    assert_eq!(page.alerts[0].alert.risk, RiskBand::Severe);
    let desk = TestDesk::new(0);
    assert_eq!(page.alerts[0].verify(desk.state.directory(), None), Ok(()));
    let rest = served.client("t0ken").alerts(page.next.as_deref()).await.unwrap();
    assert_eq!((rest.alerts.len(), rest.next), (0, page.next));
}

/// A screener that somebody took over can still only say what makes sense.
#[tokio::test]
async fn the_client_believes_no_answer_about_something_else() {
    let served = Served::list().await;
    let client = served.client("t0ken");
    let other = client.screen(&Inquiry::outbound(order(&["bcrt1qthird"])), 0).await.unwrap();
    let unasked = client.screen(&address(PAYEE), 0).await.unwrap();
    let pending =
        serde_json::json!({ "status": "PENDING", "reference": "x", "retryAfterMillis": 86_400_000 });
    let text = |answer: &Answer| serde_json::to_string(answer).unwrap();
    for body in [
        text(&other),
        text(&unasked),
        pending.to_string(),
        String::new(),
        "{}".into(),
        format!("\"{}\"", "x".repeat(3 * 1024 * 1024)),
    ] {
        let stand_in = MockServer::start().await;
        Mock::given(any())
            .respond_with(ResponseTemplate::new(200).set_body_string(body.clone()))
            .mount(&stand_in)
            .await;
        let client = RemoteScreening::new(&stand_in.uri(), secret("t"), Duration::from_secs(5)).ok().unwrap();
        let refused = client.screen(&outbound(), 0).await;
        assert!(matches!(refused, Err(Unanswered::Malformed(_))), "{body:.60}: {refused:?}");
    }
    for (status, code) in
        [(500, "UNAVAILABLE"), (429, "UNAVAILABLE"), (403, "REFUSED"), (302, "MALFORMED"), (204, "MALFORMED")]
    {
        let stand_in = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(status)).mount(&stand_in).await;
        let client = RemoteScreening::new(&stand_in.uri(), secret("t"), Duration::from_secs(5)).ok().unwrap();
        assert_eq!(client.screen(&outbound(), 0).await.unwrap_err().code(), code, "{status}");
    }
    let stand_in = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(30)))
        .mount(&stand_in)
        .await;
    let client = RemoteScreening::new(&stand_in.uri(), secret("t"), Duration::from_secs(1)).ok().unwrap();
    assert_eq!(client.screen(&outbound(), 0).await, Err(Unanswered::Timeout));
}

#[tokio::test]
async fn it_stops_when_it_is_told() {
    let served = Served::list().await;
    assert!(served.client("t0ken").screen(&outbound(), 0).await.is_ok());
    served.stop.cancel();
    served.serving.await.unwrap().unwrap();
    let refused = RemoteScreening::new(&served.url, secret("t0ken"), Duration::from_secs(5)).ok().unwrap();
    assert!(matches!(refused.screen(&outbound(), 0).await, Err(Unanswered::Unavailable(_))));
}
