//! From a provider's alert to a signed one at the orchestrator: what it is about, once, over restarts.

use crate::support::*;
use async_trait::async_trait;
use bursar_domain::{
    governance::{
        log::EntryDigest,
        testing::{FOUNDED, TestDesk, TestKey},
    },
    screening::{AlertSubject, RiskBand, ScreeningService as _, SignedAlert, Unanswered},
    time::Timestamp,
};
use bursar_kyt::{
    key::ServiceKey,
    mapping::MappingConfig,
    provider::{About, Level, Provider, RawAlert, RawPage, Reply, Report, Subject},
    service::{self, Push},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path},
};

/// Clears everything, and raises what it is given, page by page.
#[derive(Default)]
struct Raises {
    pages: Mutex<Vec<(Option<String>, RawPage)>>,
}

#[async_trait]
impl Provider for Raises {
    fn name(&self) -> &'static str {
        "raises"
    }
    async fn screen(&self, id: &str, _: &Subject, _: Timestamp) -> Result<Reply, Unanswered> {
        Ok(Reply::Report(Report {
            reference: id.to_owned(),
            level: Level::Band(RiskBand::Low),
            sanctions: false,
            outcome: None,
            findings: Vec::new(),
            expires_at: None,
        }))
    }
    async fn alerts(&self, cursor: Option<&str>) -> Result<RawPage, Unanswered> {
        let pages = self.pages.lock().unwrap();
        let found = pages.iter().find(|(at, _)| at.as_deref() == cursor);
        found.map(|(_, page)| page.clone()).ok_or_else(|| Unanswered::Unavailable("no such page".into()))
    }
}

fn raw(id: &str, about: About) -> RawAlert {
    RawAlert {
        id: id.into(),
        about,
        category: "stolen funds".into(),
        level: Level::Word("HIGH".into()),
        sanctions: false,
        description: "from a hack".into(),
        raised_at: Some(FOUNDED),
    }
}

fn about(tx: Option<&str>, address: Option<&str>) -> About {
    About { id: None, tx_id: tx.map(Into::into), network: Some(network()), address: address.map(Into::into) }
}

fn ours(id: String) -> About {
    About { id: Some(id), ..About::default() }
}

async fn all(scene: &Scene) -> Vec<SignedAlert> {
    scene.screener.alerts(None).await.unwrap().alerts
}

#[tokio::test]
async fn alerts_are_about_what_was_screened() {
    let scene = Scene::new(Arc::new(Raises::default()));
    let intent = AlertSubject::Transfer(order(&[PAYEE]).intent.digest());
    let arrived = AlertSubject::Deposit(deposit_id());
    let by_itself = |address: &str| AlertSubject::Address { network: network(), address: address.into() };
    for inquiry in [outbound(), broadcast(), deposit(), address(OTHER)] {
        scene.assessment(&inquiry).await;
    }
    for (number, (about, expected)) in [
        (ours(outbound().external_id(0, 0)), vec![intent.clone()]),
        (ours(deposit().external_id(0, 0)), vec![arrived.clone()]),
        (ours(address(OTHER).external_id(0, 0)), vec![by_itself(OTHER)]),
        (about(Some(TX), Some(PAYEE)), vec![intent.clone()]),
        (about(Some(&TX.to_uppercase()), Some("BCRT1QOURS")), vec![arrived.clone()]),
        // One transaction, in which we both paid and were paid.
        (about(Some(TX), None), vec![arrived.clone(), intent.clone()]),
        (about(Some("other"), Some(PAYEE)), vec![by_itself(PAYEE)]),
        (about(Some("other"), None), vec![]),
    ]
    .into_iter()
    .enumerate()
    {
        let before = all(&scene).await.len();
        let added = scene.screener.take(vec![raw(&number.to_string(), about)], None).await.unwrap();
        let mut subjects: Vec<AlertSubject> =
            all(&scene).await.into_iter().skip(before).map(|signed| signed.alert.subject).collect();
        subjects.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!((added as usize, subjects), (expected.len(), expected), "alert {number}");
    }
    // Ids are unique, and every signature is the service's.
    let desk = TestDesk::new(0);
    let alerts = all(&scene).await;
    let ids: std::collections::BTreeSet<&str> =
        alerts.iter().map(|signed| signed.alert.id.as_str()).collect();
    assert_eq!(ids.len(), alerts.len());
    let named = ["platform.screening".parse().unwrap()].into();
    for signed in &alerts {
        assert_eq!(signed.verify(desk.state.directory(), Some(&named)), Ok(()));
        assert_eq!((signed.alert.risk, signed.alert.sanctions), (RiskBand::High, false));
        assert_eq!(signed.alert.description, "stolen funds: from a hack");
    }
}

#[tokio::test]
async fn pages_are_read_to_their_end_once_and_survive_a_restart() {
    let provider = Arc::new(Raises::default());
    let page = |ids: &[&str], next: Option<&str>, more| RawPage {
        alerts: ids.iter().map(|id| raw(id, about(None, Some(PAYEE)))).collect(),
        next: next.map(Into::into),
        more,
    };
    *provider.pages.lock().unwrap() = vec![
        (None, page(&["a", "b"], Some("1"), true)),
        (Some("1".into()), page(&["b", "c"], Some("2"), true)),
        (Some("2".into()), page(&[], None, false)),
    ];
    let scene = Scene::new(provider.clone());
    assert_eq!(scene.screener.read_alerts().await, Ok(3));
    assert_eq!(scene.screener.read_alerts().await, Ok(0));
    let before = scene.screener.alerts(None).await.unwrap();
    let Scene { screener, dir, .. } = scene;
    drop(screener);
    let scene = Scene::within(dir, provider.clone(), SETTINGS, MappingConfig::default());
    let after = scene.screener.alerts(None).await.unwrap();
    assert_eq!((&after, after.alerts.len()), (&before, 3));
    // It goes on where it was: the first pages may be gone.
    provider.pages.lock().unwrap().retain(|(at, _)| at.as_deref() == Some("2"));
    provider.pages.lock().unwrap()[0].1 = page(&["d"], Some("3"), false);
    assert_eq!(scene.screener.read_alerts().await, Ok(1));
    let page = scene.screener.alerts(after.next.as_deref()).await.unwrap();
    assert_eq!(page.alerts[0].alert.id, "raises:d");
    assert_eq!(page.next.as_deref(), Some("4"));
    assert!(matches!(scene.screener.alerts(Some("x")).await, Err(Unanswered::Refused(_))));
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what}: not within 15 s");
}

#[tokio::test]
async fn alerts_are_brought_to_the_orchestrator_until_it_takes_them() {
    let orchestrator = MockServer::start().await;
    let there = || {
        Mock::given(method("POST"))
            .and(path("/v1/screening/alerts"))
            .and(header("authorization", "Bearer t0ken"))
    };
    there().respond_with(ResponseTemplate::new(503)).up_to_n_times(1).mount(&orchestrator).await;
    there().respond_with(ResponseTemplate::new(422)).up_to_n_times(1).mount(&orchestrator).await;
    there().respond_with(ResponseTemplate::new(204)).mount(&orchestrator).await;
    let provider = Arc::new(Raises::default());
    let alerts = ["a", "b"].map(|id| raw(id, about(None, Some(PAYEE)))).into();
    *provider.pages.lock().unwrap() = vec![(None, RawPage { alerts, next: None, more: false })];
    let scene = Scene::new(provider.clone());
    let (stop, url) = (CancellationToken::new(), format!("{}/v1/screening/alerts", orchestrator.uri()));
    let push = |scene: &Scene| {
        let push = Push::new(&url, Some(secret("t0ken"))).unwrap();
        tokio::spawn(push.run(scene.screener.clone(), stop.clone()))
    };
    let polling =
        tokio::spawn(service::poll(scene.screener.clone(), Duration::from_millis(20), stop.clone()));
    let pushing = push(&scene);
    // 503, then 422 for good, then the next one.
    eventually("both are pushed", async || count(&orchestrator).await == 3).await;
    let sent: Vec<SignedAlert> = bodies(&orchestrator, "/v1/screening/alerts")
        .await
        .into_iter()
        .map(|body| serde_json::from_value(body).unwrap())
        .collect();
    let ids: Vec<&str> = sent.iter().map(|signed| signed.alert.id.as_str()).collect();
    assert_eq!(ids, ["raises:a", "raises:a", "raises:b"]);
    let desk = TestDesk::new(0);
    assert!(sent.iter().all(|signed| signed.verify(desk.state.directory(), None).is_ok()));
    // What was refused is still to be had.
    assert_eq!(all(&scene).await.len(), 2);
    stop.cancel();
    pushing.await.unwrap();
    polling.await.unwrap();
    // After a restart only what is new is pushed.
    let Scene { screener, dir, .. } = scene;
    drop(screener);
    let scene = Scene::within(dir, provider, SETTINGS, MappingConfig::default());
    scene.screener.take(vec![raw("c", about(None, Some(PAYEE)))], None).await.unwrap();
    let stop = CancellationToken::new();
    let again = Push::new(&url, Some(secret("t0ken"))).unwrap();
    let pushing = tokio::spawn(again.run(scene.screener.clone(), stop.clone()));
    eventually("the new one is pushed", async || count(&orchestrator).await == 4).await;
    let last = bodies(&orchestrator, "/v1/screening/alerts").await.pop().unwrap();
    assert_eq!(last["alert"]["id"], "raises:c");
    stop.cancel();
    pushing.await.unwrap();
}

#[tokio::test]
async fn an_alert_is_signed_by_the_key_that_is_in_use_when_it_is_sent() {
    let orchestrator = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(204)).mount(&orchestrator).await;
    let provider = Arc::new(Raises::default());
    let scene = Scene::new(provider.clone());
    scene.screener.take(vec![raw("a", about(None, Some(PAYEE)))], None).await.unwrap();
    let before = all(&scene).await;
    let Scene { screener, dir, .. } = scene;
    drop(screener);

    let rotated = TestKey::new("platform.screening", "second");
    let (user, id) = (rotated.user.clone(), rotated.id.clone());
    let key = ServiceKey::new(user, id, EntryDigest([3; 32]), rotated.secret.clone());
    let scene = Scene::signing(dir, provider, SETTINGS, MappingConfig::default(), key);
    let after = all(&scene).await;
    let expected =
        SignedAlert { signature: rotated.sign(&before[0].alert.digest()), alert: before[0].alert.clone() };
    assert_eq!(after, std::slice::from_ref(&expected));
    assert_ne!(after, before);
    let stop = CancellationToken::new();
    let push = Push::new(&format!("{}/alerts", orchestrator.uri()), None).unwrap();
    let pushing = tokio::spawn(push.run(scene.screener.clone(), stop.clone()));
    eventually("it is pushed", async || count(&orchestrator).await == 1).await;
    let sent = bodies(&orchestrator, "/alerts").await.pop().unwrap();
    assert_eq!(serde_json::from_value::<SignedAlert>(sent).unwrap(), expected);
    stop.cancel();
    pushing.await.unwrap();
}
