//! Freezes of the log and of a party's own, and what can still be taken back.

use super::Scene;
use crate::replacing::replace;
use bursar_domain::{
    governance::{change::Change, freeze::Scope, testing::key},
    network::Chain,
    package::{Purpose, SigningPackage},
    wallet::WalletDescriptor,
};
use bursar_signer::{control::Request, verify::RefusalCode as Code};

fn freeze(scope: &str) -> Change {
    serde_json::from_str(&format!(r#"{{"kind":"FREEZE","scope":{scope},"reason":"alert"}}"#)).unwrap()
}

/// What takes back `package`, under its own order and without evidence.
pub(super) fn cancel(
    scene: &Scene,
    payment: &crate::support::Payments,
    package: &SigningPackage,
) -> SigningPackage {
    let unsigned = replace(&scene.group, payment, &[&package.unsigned], &Purpose::Cancel, 50).unwrap();
    SigningPackage { purpose: Purpose::Cancel, unsigned, authorization: None, ..package.clone() }
}

#[tokio::test]
async fn freeze__should_stop_payments_and_leave_what_takes_them_back() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let paid = scene.order(1_000_000, 5);
    let package = scene.package(&paid);
    scene.sign(&package).await.unwrap();
    let unpaid = scene.order(1_000_000, 6);
    let unpaid_package = scene.package(&unpaid);
    scene.desk.accept(freeze(r#"{"kind":"CHAIN","chain":"xrp"}"#), &["platform.officer"]);
    scene.teach();
    scene.refused(&package, Code::Frozen).await;
    scene.refused(&unpaid_package, Code::Frozen).await;
    // Worth a fee of an order that nobody signed: no.
    let authorization = unpaid_package.authorization.clone();
    let taken_back = SigningPackage { authorization, ..cancel(&scene, &unpaid, &unpaid_package) };
    scene.refused(&taken_back, Code::Frozen).await;
    scene.sign(&cancel(&scene, &paid, &package)).await.unwrap();
    let lift = Change::Lift { freeze: scene.desk.state.head().seq };
    scene.desk.accept(lift, &["platform.officer", "client.approver"]);
    scene.teach();
    let other = scene.order(1_000_000, 7);
    scene.sign(&scene.package(&other)).await.unwrap();
}

/// One person's, in force at each co-signer; its number.
fn put(scene: &mut Scene, scope: &Scope) -> u64 {
    scene.desk.accept(freeze(&serde_json::to_string(scope).unwrap()), &["platform.officer"]);
    scene.teach();
    scene.desk.state.head().seq
}

#[tokio::test]
async fn freeze_of_every_scope__should_stop_what_it_covers_and_nothing_beside_it() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let order = scene.order(1_000_000, 5);
    let package = scene.package(&order);
    let (wallet, intent) = (order.intent.wallet, order.intent.digest());
    let other_wallet = WalletDescriptor::new(wallet.network, wallet.kind, 1).unwrap();
    let other_intent = scene.order(1_000_000, 6).intent.digest();
    let scopes = [
        (Scope::Transfer { intent }, Some(Scope::Transfer { intent: other_intent })),
        (Scope::Wallet { wallet }, Some(Scope::Wallet { wallet: other_wallet })),
        (Scope::Chain { chain: Chain::Xrp }, Some(Scope::Chain { chain: Chain::Bitcoin })),
        (Scope::All {}, None),
    ];
    for (covering, beside) in scopes {
        println!("{covering}");
        let mut freezes = Vec::new();
        if let Some(beside) = beside {
            freezes.push(put(&mut scene, &beside));
            scene.sign(&package).await.unwrap();
        }
        freezes.push(put(&mut scene, &covering));
        scene.refused(&package, Code::Frozen).await;
        for freeze in freezes {
            scene.desk.accept(Change::Lift { freeze }, &["platform.officer", "client.approver"]);
        }
        scene.teach();
        scene.sign(&package).await.unwrap();
    }
}

#[tokio::test]
async fn cancellation__should_need_no_approvals_and_outlive_them_and_its_initiator() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let paid = scene.order(1_000_000, 5);
    let package = scene.package(&paid);
    scene.sign(&package).await.unwrap();
    let never = scene.order(1_000_000, 6);
    let never_package = scene.package(&never);
    // Approvals and verdict have expired: the payment is not signed again, and can be taken back.
    scene.group.clock.advance(1900);
    scene.refused(&package, Code::ScreeningStale).await;
    scene.sign(&cancel(&scene, &paid, &package)).await.unwrap();
    let second = scene.order(1_000_000, 7);
    let second_package = scene.package(&second);
    scene.sign(&second_package).await.unwrap();
    scene.desk.accept(Change::SuspendUser { user: key("client.operator").user }, &["client.owner"]);
    scene.teach();
    scene.sign(&cancel(&scene, &second, &second_package)).await.unwrap();
    let authorization = never_package.authorization.clone();
    let taken_back = SigningPackage { authorization, ..cancel(&scene, &never, &never_package) };
    scene.refused(&taken_back, Code::InitiatorNotPermitted).await;
}

#[tokio::test]
async fn freeze_of_a_partys_own__should_stop_everything_there_whatever_the_log_says() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let paid = scene.order(1_000_000, 5);
    let package = scene.package(&paid);
    scene.sign(&package).await.unwrap();
    for daemon in scene.group.daemons.values() {
        daemon.cosigner.desk().handle(Request::Freeze { reason: "drill".into() }).unwrap();
    }
    scene.refused(&package, Code::FrozenHere).await;
    scene.refused(&cancel(&scene, &paid, &package), Code::FrozenHere).await;
    scene.group.stop(0).await;
    scene.group.start(0).await;
    scene.refused(&package, Code::FrozenHere).await;
    // What was accepted before does not begin either.
    for daemon in scene.group.daemons.values() {
        daemon.cosigner.desk().handle(Request::Lift {}).unwrap();
    }
    let cosigner = &scene.group.daemons[&0].cosigner;
    let next = scene.package(&scene.order(1_000_000, 6));
    let allowed = cosigner.decide(&next).unwrap();
    cosigner.desk().handle(Request::Freeze { reason: "drill".into() }).unwrap();
    let session = bursar_signer_client::message::SessionId([7; 32]);
    let refused = cosigner.take_part(session, b"m", &next, &allowed, &[].into()).unwrap_err();
    assert_eq!(refused.code, Code::FrozenHere);
    assert_eq!(cosigner.store.session(session).unwrap(), None);
    cosigner.desk().handle(Request::Lift {}).unwrap();
    scene.sign(&next).await.unwrap();
}
