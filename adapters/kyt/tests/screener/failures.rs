//! What every provider that is asked over HTTP must do when its server misbehaves: nothing is ever cleared.

use crate::{chainalysis, elliptic, hook, support::*, trm};
use bursar_domain::screening::Unanswered;
use bursar_kyt::{mapping::MappingConfig, provider::Provider, service::Settings};
use std::{sync::Arc, time::Duration};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

type Vendor = (&'static str, fn(&str) -> Arc<dyn Provider>);

const VENDORS: [Vendor; 4] = [
    ("chainalysis", chainalysis::provider),
    ("elliptic", elliptic::provider),
    ("trm", trm::provider),
    ("http", hook::provider),
];

async fn always(response: ResponseTemplate) -> MockServer {
    let stand_in = MockServer::start().await;
    Mock::given(any()).respond_with(response).mount(&stand_in).await;
    stand_in
}

/// What each of them says, and how often its server was asked.
async fn refused(response: ResponseTemplate) -> Vec<(&'static str, Unanswered, usize)> {
    let mut out = Vec::new();
    for (name, provider) in VENDORS {
        let stand_in = always(response.clone()).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        let error = scene.screen(&outbound()).await.expect_err(name);
        out.push((name, error, count(&stand_in).await));
    }
    out
}

#[tokio::test]
async fn server_errors_are_tried_again_and_are_no_answer() {
    for status in [500, 502, 503, 429] {
        for (name, error, asked) in refused(ResponseTemplate::new(status)).await {
            assert_eq!((error.code(), asked), ("UNAVAILABLE", 3), "{name} {status}");
        }
    }
}

#[tokio::test]
async fn refusals_are_not_tried_again() {
    for (status, code) in
        [(400, "REFUSED"), (401, "REFUSED"), (403, "REFUSED"), (404, "UNKNOWN"), (301, "MALFORMED")]
    {
        for (name, error, asked) in refused(ResponseTemplate::new(status)).await {
            assert_eq!((error.code(), asked), (code, 1), "{name} {status}");
        }
    }
}

#[tokio::test]
async fn nonsense_is_no_answer() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for body in
        ["", "null", "[]", "{}", "clear", "{\"risk\":", "[[]]", deep.as_str(), "\u{0}", "{\"externalId\":7}"]
    {
        let response = ResponseTemplate::new(200).set_body_raw(body.as_bytes().to_vec(), "application/json");
        for (name, error, _) in refused(response).await {
            assert_eq!(error.code(), "MALFORMED", "{name} {body:.40}");
        }
    }
}

#[tokio::test]
async fn huge_answers_are_not_read_to_their_end() {
    let body = vec![b' '; LIMITS.max_answer_bytes + 1];
    for (name, error, asked) in
        refused(ResponseTemplate::new(200).set_body_raw(body, "application/json")).await
    {
        assert_eq!((error.code(), asked), ("MALFORMED", 1), "{name}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let patience = Duration::from_millis(100);
    for (name, provider) in VENDORS {
        let stand_in = always(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
        let settings = Settings { patience, ..SETTINGS };
        let scene = Scene::with(provider(&stand_in.uri()), settings, MappingConfig::default());
        assert_eq!(scene.screen(&outbound()).await, Err(Unanswered::Timeout), "{name}");
    }
}

#[tokio::test]
async fn nobody_listening_is_no_answer() {
    for (name, provider) in VENDORS {
        // Port 1 of this machine: nobody serves it.
        let scene = Scene::new(provider("http://127.0.0.1:1"));
        let error = scene.screen(&outbound()).await.expect_err(name);
        assert_eq!(error.code(), "UNAVAILABLE", "{name}");
    }
}

/// Waits as long as it is told, and never beyond its patience.
#[tokio::test]
async fn retry_after_is_heeded_within_patience() {
    for (name, provider) in VENDORS {
        let stand_in = always(ResponseTemplate::new(429).insert_header("retry-after", "60")).await;
        let settings = Settings { patience: Duration::from_millis(150), ..SETTINGS };
        let scene = Scene::with(provider(&stand_in.uri()), settings, MappingConfig::default());
        assert_eq!(scene.screen(&outbound()).await, Err(Unanswered::Timeout), "{name}");
        assert_eq!(count(&stand_in).await, 1, "{name}");
    }
}

#[tokio::test]
async fn a_second_attempt_is_the_same_question() {
    let clear = |request: &Request| {
        let asked: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert!(asked["id"].is_string());
        json(200, serde_json::json!({ "status": "complete", "reference": "r", "risk": "LOW" }))
    };
    for failure in [
        ResponseTemplate::new(503),
        ResponseTemplate::new(429).insert_header("retry-after", "0"),
        ResponseTemplate::new(429).insert_header("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"),
    ] {
        let stand_in = MockServer::start().await;
        Mock::given(any()).respond_with(failure).up_to_n_times(2).mount(&stand_in).await;
        Mock::given(any()).respond_with(clear).mount(&stand_in).await;
        let scene = Scene::new(hook::provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&outbound()).await, CLEAR);
        let sent = bodies(&stand_in, "/").await;
        assert_eq!(sent.len(), 3);
        assert!(sent.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[tokio::test]
async fn other_networks_and_assets_are_not_asked_about() {
    use bursar_domain::{amount::Amount, asset::Asset, screening::Inquiry};
    for (name, provider) in &VENDORS[..3] {
        let stand_in = always(ResponseTemplate::new(200)).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        let elsewhere = Inquiry::Address { network: "xrp:0".parse().unwrap(), address: "rX".into() };
        let mut token = deposit();
        if let Inquiry::Deposit { network, asset, amount, .. } = &mut token {
            *network = "ethereum:1".parse().unwrap();
            (*asset, *amount) = (Asset::Erc20([9; 20]), Amount::from_u64(1));
        }
        for inquiry in [elsewhere, token] {
            let error = scene.screen(&inquiry).await.expect_err(name);
            assert_eq!(error.code(), "UNSUPPORTED", "{name}");
        }
        assert_eq!(count(&stand_in).await, 0);
    }
}

/// A provider that is down is left alone: the next are told at once.
#[tokio::test]
async fn a_provider_that_is_down_is_left_alone() {
    let stand_in = always(ResponseTemplate::new(503)).await;
    let scene = Scene::new(hook::provider(&stand_in.uri()));
    for n in 0..10 {
        let error = scene.screen(&address(&format!("bcrt1q{n}"))).await.unwrap_err();
        assert_eq!(error.code(), "UNAVAILABLE");
    }
    assert_eq!(count(&stand_in).await, 5 * LIMITS.attempts);
}
