//! Orders that are shown before there is a package: delays and deadlines begin, and nothing else does.

use super::Scene;
use crate::support::eventually;
use bursar_domain::{
    governance::testing::key, intent::SignedIntent, network::Network, package::SigningPackage,
};
use bursar_signer::verify::RefusalCode as Code;
use std::time::Duration;

/// As the usual policy, and what it allows waits for ten minutes.
fn delaying() -> String {
    super::POLICY.replace(
        r#""rules": ["#,
        r#""rules": [ { "id": "wait", "then": { "kind": "DELAY", "seconds": 600 } }, "#,
    )
}

async fn scene() -> Scene {
    let scene = Scene::with(2, 2, &delaying()).await;
    scene.teach();
    scene
}

fn order(scene: &Scene, sequence: u32) -> SignedIntent {
    scene.signed(&scene.order(1_000_000, sequence))
}

#[tokio::test]
async fn order_that_was_shown__should_have_waited_when_its_package_comes() {
    let mut scene = scene().await;
    let payment = scene.order(1_000_000, 5);
    let package = scene.package(&payment);
    let other = scene.order(1_000_000, 6);
    let unseen = scene.package(&other);
    // One of them is away, and sees it when it is back.
    scene.group.stop(1).await;
    scene.group.coordinator.show(&package.intent);
    scene.group.start(1).await;
    let intent = package.intent.intent.digest();
    let seen = || {
        let seen = scene.group.coordinator.seen(intent);
        (seen.len() == 2).then_some(seen)
    };
    let seen = eventually("both have seen it", seen).await;
    assert!(seen.values().all(|since| *since == scene.now()));
    scene.refused(&package, Code::PolicyDelay).await;
    scene.group.clock.advance(601);
    scene.refused(&unseen, Code::PolicyDelay).await;
    scene.sign(&package).await.unwrap();
}

#[tokio::test]
async fn order_that_nobody_meant__should_not_be_remembered() {
    let scene = scene().await;
    let cosigner = &scene.group.daemons[&0].cosigner;
    let honest = order(&scene, 5);
    let mut forged = honest.clone();
    super::hostile::spoil(&mut forged);
    let payment = scene.order(1_000_000, 6);
    let late = {
        let mut late = payment.clone();
        late.intent.expires_at = scene.now();
        scene.signed(&late)
    };
    let far = {
        let mut far = payment.clone();
        far.intent.expires_at = scene.now().plus(Duration::from_secs(1_000_000));
        scene.signed(&far)
    };
    let elsewhere = {
        let mut elsewhere = payment.clone();
        elsewhere.intent.wallet.network = Network::Xrp(63_457);
        scene.signed(&elsewhere)
    };
    let approver = key("client.approver").order(payment.intent.clone());
    let stranger = key("nobody").order(payment.intent.clone());
    for (name, order) in [
        ("forged", forged),
        ("expired", late),
        ("too far ahead", far),
        ("another network", elsewhere),
        ("not an initiator", approver),
        ("a stranger", stranger),
    ] {
        assert_eq!(cosigner.see(&[order]), [], "{name}");
    }
    assert_eq!(cosigner.see(&[honest]).len(), 1);
}

/// Whoever has an operator's key can sign any number of orders, and the orchestrator can show them as often as it likes.
#[tokio::test]
async fn flood_of_orders__should_end_at_a_limit_and_cost_others_nothing() {
    let scene = scene().await;
    let cosigner = &scene.group.daemons[&0].cosigner;
    let orders: Vec<SignedIntent> = (0..700).map(|sequence| order(&scene, sequence)).collect();
    let seen: usize = orders.chunks(64).map(|orders| cosigner.see(orders).len()).sum();
    assert_eq!(seen, 512, "as many as one initiator may have in a row");
    // The same again: nothing is begun anew, and no time is set back.
    scene.group.clock.advance(5);
    let again = cosigner.see(&orders[..10]);
    assert!(again.len() == 10 && again.iter().all(|one| one.since < scene.now()));
    // Another initiator has room.
    let payment = scene.order(1_000_000, 7_000);
    let other = key("manager.operator").order(payment.intent.clone());
    assert_eq!(cosigner.see(&[other]).len(), 1);
    // None of this is a payment, and the delay that was shown first holds.
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    let payment = scene.order(1_000_000, 8_000);
    let package: SigningPackage = scene.package(&payment);
    scene.refused(&package, Code::PolicyDelay).await;
}

/// A deadline for approvals counts from then, too, whatever the orchestrator still takes or keeps back.
#[tokio::test]
async fn approval_after_the_deadline__should_not_count_of_an_order_that_was_seen() {
    let policy = super::POLICY.replace(r#""of": "ALL","#, r#""of": "ALL", "deadlineSeconds": 600,"#);
    assert_ne!(policy, super::POLICY);
    let scene = Scene::with(2, 2, &policy).await;
    scene.teach();
    let cosigners: Vec<_> = scene.group.daemons.values().map(|daemon| &daemon.cosigner).collect();
    let (late, timely) = (scene.order(1_000_000, 5), scene.order(1_000_000, 6));
    for cosigner in &cosigners {
        assert_eq!(cosigner.see(&[scene.signed(&late), scene.signed(&timely)]).len(), 2);
    }
    scene.group.clock.advance(600);
    let package = scene.package(&timely);
    scene.group.clock.advance(1);
    // Approved in time, and signed after it.
    scene.sign(&package).await.unwrap();
    scene.refused(&scene.package(&late), Code::ApprovalsMissing).await;
    assert_eq!(scene.group.sessions_burnt(), [1, 1]);
    // Another order, which comes with its package: that is when it was seen.
    let unseen = scene.order(500_000, 7);
    scene.group.clock.advance(1000);
    scene.sign(&scene.package(&unseen)).await.unwrap();
}

#[tokio::test]
async fn policy_without_delays__should_cost_no_write() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let cosigner = &scene.group.daemons[&0].cosigner;
    let order = order(&scene, 5);
    assert_eq!(cosigner.see(std::slice::from_ref(&order)), []);
    let allowed = cosigner.decide(&scene.package(&scene.order(1_000_000, 6))).unwrap();
    let past = cosigner.store.past(&allowed, None).unwrap();
    assert_eq!(past.seen_at, None, "nor does a package");
}

/// What is not taken note of when it is shown is not when it comes with a package.
#[tokio::test]
async fn package_that_nobody_would_sign__should_not_be_remembered() {
    let scene = scene().await;
    let cosigner = &scene.group.daemons[&0].cosigner;
    let mut far = scene.order(1_000_000, 5);
    far.intent.expires_at = scene.now().plus(scene.group.rules.max_expiry + Duration::from_secs(10));
    let package = scene.package(&far);
    assert_eq!(cosigner.decide(&package).unwrap_err().code, Code::ExpiryTooFar);
    scene.group.clock.advance(20);
    let [seen] = cosigner.see(std::slice::from_ref(&package.intent))[..] else { panic!("it is meant now") };
    assert_eq!(seen.since, scene.now());
}
