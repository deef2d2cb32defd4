//! The owner's own word: of a person, and of a system.

use super::Scene;
use bursar_domain::ports::SignError;
use bursar_signer::{
    confirm::{Confirm, Confirmation},
    control::{self, Request},
    verify::RefusalCode as Code,
};
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

async fn restart_with(scene: &mut Scene, confirm: Confirm) {
    scene.group.confirm = confirm;
    for index in 0..2 {
        scene.group.stop(index).await;
        scene.group.start(index).await;
    }
}

#[tokio::test]
async fn payment__should_wait_for_a_person_who_sees_what_was_decoded() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    restart_with(&mut scene, Confirm::Person).await;
    let package = scene.package(&scene.order(1_000_000, 5));
    scene.refused(&package, Code::AwaitingConfirmation).await;
    // Nobody is asked about what would be refused anyway.
    let mut unapproved = scene.package(&scene.order(1_000_000, 6));
    unapproved.authorization.as_mut().unwrap().approvals.clear();
    scene.refused(&unapproved, Code::ApprovalsMissing).await;
    let folder = tempfile::tempdir().unwrap();
    assert!(control::ask(folder.path(), &Request::Pending {}).unwrap().is_none(), "no daemon");
    for daemon in scene.group.daemons.values() {
        let stop = CancellationToken::new();
        let path = folder.path().to_owned();
        let serving = tokio::spawn({
            let (cosigner, stop, path) = (daemon.cosigner.clone(), stop.clone(), path.clone());
            async move { control::serve(cosigner, &path, stop).await }
        });
        let (asked, path_of_socket) = (path.clone(), control::socket_in(&path));
        crate::support::eventually("the socket is there", || path_of_socket.exists().then_some(())).await;
        let answers = tokio::task::spawn_blocking(move || {
            let open = control::ask(&asked, &Request::Pending {}).unwrap().unwrap();
            let open: Vec<Confirmation> = serde_json::from_value(open).unwrap();
            let [one] = &open[..] else { panic!("{open:?}") };
            let text = one.to_string();
            for part in [
                "invoice-5",
                "client.operator",
                "1000000 XRP",
                "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh tag 7",
                "rule two",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            let id = one.id.to_string();
            for wrong in ["", &id[..8], &id[..63], "00000000"] {
                assert!(control::ask(&asked, &Request::Approve { id: wrong.into() }).is_err());
            }
            control::ask(&asked, &Request::Approve { id }).unwrap().unwrap();
            control::ask(&asked, &Request::Pending {}).unwrap().unwrap()
        });
        assert_eq!(answers.await.unwrap(), json!([]));
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
    scene.sign(&package).await.unwrap();
    // A no is final.
    let package = scene.package(&scene.order(1_000_000, 7));
    scene.refused(&package, Code::AwaitingConfirmation).await;
    let id = package.intent.intent.digest().to_string();
    for daemon in scene.group.daemons.values() {
        let desk = daemon.cosigner.desk();
        desk.handle(Request::Reject { id: id.clone(), reason: "unknown invoice".into() }).unwrap();
        assert!(desk.handle(Request::Approve { id: id.clone() }).is_err());
    }
    scene.refused(&package, Code::ConfirmationRejected).await;
}

async fn answer(server: &MockServer, response: ResponseTemplate) {
    server.reset().await;
    Mock::given(method("POST")).respond_with(response).mount(server).await;
}

#[tokio::test]
async fn payment__should_need_a_clear_yes_of_the_owners_verifier() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let server = MockServer::start().await;
    let (timeout, valid) = (Duration::from_secs(1), Duration::from_secs(60));
    restart_with(&mut scene, Confirm::Verifier { url: server.uri(), timeout, valid }).await;
    let package = scene.package(&scene.order(1_000_000, 5));
    let ok = |body: serde_json::Value| ResponseTemplate::new(200).set_body_json(body);
    let approve = json!({ "answer": "approve" });
    for (response, code) in [
        (ok(json!({ "answer": "reject", "reason": "unknown" })), Code::ConfirmationRejected),
        (ok(json!({ "answer": "retry", "reason": "later" })), Code::AwaitingConfirmation),
        (ok(json!({ "answer": "approve", "but": 1 })), Code::VerifierUnavailable),
        (ok(json!({ "answer": "yes" })), Code::VerifierUnavailable),
        (ok(json!({ "answer": "x".repeat(100_000) })), Code::VerifierUnavailable),
        (ResponseTemplate::new(500).set_body_json(&approve), Code::VerifierUnavailable),
        (ResponseTemplate::new(302).insert_header("location", "/yes"), Code::VerifierUnavailable),
        (ok(approve.clone()).set_delay(Duration::from_secs(60)), Code::VerifierUnavailable),
    ] {
        answer(&server, response).await;
        let error = scene.sign(&package).await.expect_err("no clear yes");
        assert!(!error.started() && error.to_string().contains(code.name()), "{code}: {error}");
        assert_eq!(matches!(error, SignError::Refused { .. }), code == Code::ConfirmationRejected);
    }
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    answer(&server, ok(approve)).await;
    scene.sign(&package).await.unwrap();
    let asked: serde_json::Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert_eq!(asked["effects"]["payments"][0]["amount"], "1000000");
    assert_eq!(asked["intent"]["intent"]["externalId"], "invoice-5");
    assert_eq!(asked["decision"]["outcome"]["kind"], "ALLOWED");
    assert_eq!(asked["purpose"], "pay");
}

/// Each answer takes a minute, and only so many of them are a yes.
struct Slow {
    clock: std::sync::Arc<crate::support::TestClock>,
    yes: usize,
    asked: std::sync::atomic::AtomicUsize,
}

impl wiremock::Respond for Slow {
    fn respond(&self, _: &wiremock::Request) -> ResponseTemplate {
        let before = self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        self.clock.advance(61);
        let answer = if before < self.yes { "approve" } else { "reject" };
        ResponseTemplate::new(200).set_body_json(json!({ "answer": answer }))
    }
}

#[tokio::test]
async fn verifiers_yes__should_be_asked_for_again_when_it_has_become_too_old() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let server = MockServer::start().await;
    let (timeout, valid) = (Duration::from_secs(10), Duration::from_secs(60));
    restart_with(&mut scene, Confirm::Verifier { url: server.uri(), timeout, valid }).await;
    // Both say yes to the package, and no when the session begins.
    for (yes, sequence) in [(2, 5), (usize::MAX, 6)] {
        server.reset().await;
        let slow = Slow { clock: scene.group.clock.clone(), yes, asked: 0.into() };
        Mock::given(method("POST")).respond_with(slow).mount(&server).await;
        let signed = scene.sign(&scene.package(&scene.order(1_000_000, sequence))).await;
        let asked = server.received_requests().await.unwrap().len();
        if yes == 2 {
            let error = signed.expect_err("the later answer counts");
            assert!(error.to_string().contains(Code::ConfirmationRejected.name()), "{error}");
            assert_eq!(scene.group.sessions_burnt(), [0, 0]);
            assert!(asked > 2, "{asked}");
        } else {
            signed.unwrap();
            assert_eq!(asked, 4);
        }
    }
}
