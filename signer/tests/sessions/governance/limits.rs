//! Limits over many transfers, delays, and whose co-signers must take part: each co-signer by what it knows itself.

use super::Scene;
use bursar_domain::signing::PartyRole;
use bursar_signer::verify::RefusalCode as Code;
use bursar_signer_client::message::SessionId;
use std::sync::Barrier;

#[tokio::test]
async fn limit_split_over_many_transfers__should_hold() {
    let scene = Scene::new(2, 2).await;
    scene.sign(&scene.package(&scene.order(2_000_000, 5))).await.unwrap();
    scene.refused(&scene.package(&scene.order(1_000_001, 6)), Code::PolicyDenied).await;
    scene.sign(&scene.package(&scene.order(1_000_000, 7))).await.unwrap();
    scene.refused(&scene.package(&scene.order(1, 8)), Code::PolicyDenied).await;
    // The window rolls.
    scene.group.clock.advance(86_401);
    scene.sign(&scene.package(&scene.order(3_000_000, 9))).await.unwrap();
}

/// Both are within the limit when they are shown, and each co-signer takes part in one.
#[tokio::test]
async fn limit_split_over_transfers_at_the_same_time__should_hold() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let packages: Vec<_> = (5..13).map(|at| scene.package(&scene.order(2_000_000, at))).collect();
    let members = [PartyRole::Client, PartyRole::WealthManager].into();
    for daemon in scene.group.daemons.values() {
        let cosigner = &daemon.cosigner;
        let allowed: Vec<_> = packages.iter().map(|package| cosigner.decide(package).unwrap()).collect();
        let barrier = Barrier::new(packages.len());
        let taken: Vec<_> = std::thread::scope(|scope| {
            let take = |(package, allowed): (&_, &bursar_signer::verify::Allowed)| {
                let session = SessionId(allowed.digest.0);
                barrier.wait();
                cosigner.take_part(session, b"message", package, allowed, &members)
            };
            let threads: Vec<_> =
                packages.iter().zip(&allowed).map(|one| scope.spawn(move || take(one))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|one| one.is_ok()).count(), 1);
        assert!(taken.iter().filter_map(|one| one.as_ref().err()).all(|one| one.code == Code::PolicyDenied));
    }
    assert_eq!(scene.group.sessions_burnt(), [1, 1]);
}

const DELAYED: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60,
    "rules": [
        { "id": "allow", "then": { "kind": "ALLOW" } },
        { "id": "wait", "then": { "kind": "DELAY", "seconds": 600 } }
    ]
}"#;

#[tokio::test]
async fn delay__should_run_from_when_the_cosigner_first_saw_the_order() {
    let mut scene = Scene::with(2, 2, DELAYED).await;
    scene.teach();
    // It was submitted long ago, as far as the orchestrator says.
    let package = scene.package(&scene.order(1_000_000, 5));
    scene.group.clock.advance(1000);
    scene.refused(&package, Code::PolicyDelay).await;
    scene.group.clock.advance(599);
    scene.refused(&package, Code::PolicyDelay).await;
    // Also over a restart.
    scene.group.stop(0).await;
    scene.group.start(0).await;
    scene.group.clock.advance(1);
    scene.sign(&package).await.unwrap();
}

const CLIENT_SIGNS: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60,
    "rules": [
        { "id": "allow", "then": { "kind": "ALLOW" } },
        { "id": "client", "then": { "kind": "REQUIRE_SIGNERS", "parties": ["WEALTH_MANAGER"] } }
    ]
}"#;

#[tokio::test]
async fn required_signer__should_be_chosen_and_never_done_without() {
    let mut scene = Scene::with(2, 3, CLIENT_SIGNS).await;
    scene.teach();
    for at in 5..8 {
        scene.sign(&scene.package(&scene.order(1_000_000, at))).await.unwrap();
        let burnt = scene.group.sessions_burnt();
        assert_eq!(burnt[1], u64::from(at) - 4, "{burnt:?}");
    }
    let burnt = scene.group.sessions_burnt();
    scene.group.stop(1).await;
    let error = scene.sign(&scene.package(&scene.order(1_000_000, 8))).await.unwrap_err();
    assert!(error.to_string().contains(Code::SignersRequired.name()), "{error}");
    assert_eq!(scene.group.sessions_burnt(), [burnt[0], burnt[2]]);
}

const FIAT: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60,
    "rules": [
        { "id": "allow", "then": { "kind": "ALLOW" } },
        { "id": "large", "when": { "amount": { "in": "FIAT", "above": "1000000" } },
          "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 2 }] } }
    ]
}"#;

/// Without a price of its own, an amount is as large as any.
#[tokio::test]
async fn price_that_a_cosigner_does_not_know__should_not_make_an_amount_small() {
    let scene = Scene::with(2, 2, FIAT).await;
    let mut package = scene.package(&scene.order(1, 5));
    scene.sign(&package).await.unwrap();
    package = scene.package(&scene.order(1, 6));
    package.authorization.as_mut().unwrap().approvals.pop();
    scene.refused(&package, Code::ApprovalsMissing).await;
}
