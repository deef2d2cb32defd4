//! What an order says of desk and policy, and who of the desk signed it, with which kind of key.

use super::Scene;
use crate::support::{Group, Payments, deadlines, package, signed_by};
use bursar_domain::{
    governance::{
        change::Change,
        log::Head,
        policy::Policy,
        testing::{TestDesk, TestPasskey, key},
    },
    intent::{Intent, SignedIntent, Terms},
    package::{Purpose, SigningPackage},
    recall::{self, RecallSignature, SignedRecall},
    wallet::WalletKind,
};
use bursar_signer::verify::RefusalCode as Code;

fn laptop() -> TestPasskey {
    TestPasskey::new("client.operator", "laptop")
}

/// As every scene, and the operator has a passkey.
async fn scene() -> Scene {
    with_laptop(Scene::new(2, 2).await)
}

fn with_laptop(mut scene: Scene) -> Scene {
    let passkey = laptop();
    let change = Change::AddKey { user: passkey.user.clone(), key: passkey.public() };
    scene.desk.accept(change, &["client.owner", "manager.security"]);
    scene.teach();
    scene
}

/// The package of an order with all that it needs, whoever signed it and whatever its terms say.
fn ordered(scene: &Scene, payment: &Payments, order: SignedIntent) -> SigningPackage {
    let authorization = Some(scene.evidence(&order));
    SigningPackage { authorization, ..package(order, scene.group.build(payment)) }
}

#[tokio::test]
async fn order_by_passkey__should_be_signed_as_long_as_the_passkey_is_the_users() {
    let mut scene = scene().await;
    let payment = scene.order(1_000_000, 5);
    let by_passkey = ordered(&scene, &payment, laptop().order(payment.intent.clone()));
    // The same order by the same user, whose id tells that it is the same.
    let by_key = ordered(&scene, &payment, key("client.operator").order(payment.intent.clone()));
    assert_ne!(by_passkey.digest(), by_key.digest());
    scene.sign(&by_passkey).await.unwrap();
    scene.sign(&by_key).await.unwrap();

    // An assertion over something else, and one of an order that says something else now.
    let other = scene.order(2_000_000, 5).intent;
    let signature = laptop().sign(&payment.intent.digest().0);
    let replayed = SignedIntent::by_user(other.clone(), signature);
    scene.refused(&ordered(&scene, &payment, replayed), Code::InitiatorSignature).await;
    // Another user's passkey under this user's name, and one that the log does not know.
    let mut theirs = TestPasskey::new("manager.operator", "laptop");
    theirs.user = key("client.operator").user;
    scene
        .refused(&ordered(&scene, &payment, theirs.order(payment.intent.clone())), Code::InitiatorSignature)
        .await;
    let unknown = TestPasskey::new("client.operator", "phone");
    scene
        .refused(&ordered(&scene, &payment, unknown.order(payment.intent.clone())), Code::UnknownInitiator)
        .await;

    let passkey = laptop();
    scene.desk.accept(Change::RemoveKey { user: passkey.user, key: passkey.id }, &["manager.security"]);
    scene.teach();
    scene.refused(&by_passkey, Code::UnknownInitiator).await;
    // What was paid can still be taken back.
    let cancelled = super::brakes::cancel(&scene, &payment, &by_passkey);
    scene.sign(&cancelled).await.unwrap();
    scene.desk.accept(Change::SuspendUser { user: key("client.operator").user }, &["manager.security"]);
    scene.teach();
    scene.refused(&by_key, Code::InitiatorNotPermitted).await;
}

/// Whoever is told that an order came to nothing may have somebody else order it again: under the same name it is paid once.
#[tokio::test]
async fn name_of_an_order__should_be_one_for_the_whole_desk() {
    let scene = scene().await;
    let first = scene.order(1_000_000, 5);
    scene.sign(&scene.package(&first)).await.unwrap();
    let mut again = scene.order(2_000_000, 6);
    again.intent.external_id = first.intent.external_id.clone();
    let order = key("manager.operator").order(again.intent.clone());
    scene.refused(&ordered(&scene, &again, order), Code::ExternalIdReused).await;
}

#[tokio::test]
async fn order_with_other_terms__should_give_no_signature() {
    let mut scene = scene().await;
    let payment = scene.order(1_000_000, 5);
    let with = |terms: Option<Terms>| {
        let governed = terms.is_some();
        let intent = Intent { terms, ..payment.intent.clone() };
        let order = match governed {
            true => laptop().order(intent),
            false => signed_by(&key("client.operator").secret, intent),
        };
        ordered(&scene, &payment, order)
    };
    let terms = scene.desk.terms();
    let genesis = Head { seq: 0, digest: terms.desk };
    let mut elsewhere = terms.clone();
    elsewhere.desk.0[0] ^= 1;
    let mut made_up = terms.clone();
    made_up.policy.digest.0[0] ^= 1;
    for (name, terms, code) in [
        ("a desk with the same people", Some(elsewhere), Code::OrderDesk),
        ("an entry that is no policy", Some(Terms { policy: genesis, ..terms.clone() }), Code::OrderPolicy),
        ("a policy that was never published", Some(made_up), Code::OrderPolicy),
        ("none", None, Code::OrderTerms),
    ] {
        println!("{name}");
        scene.refused(&with(terms), code).await;
    }
    // One that was published since is not known here yet: refused for now, and signed once it is.
    let before = scene.desk.clone();
    scene.desk.publish(serde_json::from_str::<Policy>(super::POLICY).unwrap());
    let newer = scene.order(1_000_000, 6);
    let mut package = ordered(&scene, &newer, scene.signed(&newer));
    package.authorization.as_mut().unwrap().head = before.state.head();
    for daemon in scene.group.daemons.values() {
        assert_eq!(daemon.cosigner.decide(&package).unwrap_err().code, Code::GovernanceBehind);
    }
    scene.teach();
    scene.sign(&package).await.unwrap();
    // The older one was in force: it is judged by the newer all the same, for which nobody has voted yet.
    let older =
        SigningPackage { intent: key("client.operator").order(payment.intent.clone()), ..package.clone() };
    let older = ordered(&scene, &payment, older.intent);
    scene.sign(&older).await.unwrap();
    assert_eq!(scene.group.sessions_burnt(), [2, 2]);
}

/// Anna gave it, others approved it, and the desk's other operator, who may order as well, has the orchestrator.
#[tokio::test]
async fn approved_order_signed_anew_by_another_operator__should_give_no_signature() {
    let scene = scene().await;
    let payment = scene.order(1_000_000, 5);
    let honest = scene.package(&payment);
    let other = key("manager.operator");
    // The very order that was approved, under another's signature: as it is, and as if they were the one who gave it.
    let anew = SignedIntent::by_user(payment.intent.clone(), other.sign(&payment.intent.digest().0));
    let package = SigningPackage { intent: anew, ..honest.clone() };
    scene.refused(&package, Code::InitiatorSignature).await;
    let why = scene.group.daemons[&0].cosigner.decide(&package).unwrap_err().reason;
    assert!(why.contains("terms.initiator") && why.contains("manager.operator"), "{why}");
    // Given as the first one's own, which it is not.
    let mut forged = other.sign(&payment.intent.digest().0);
    forged.user = key("client.operator").user;
    let forged = SignedIntent::by_user(payment.intent.clone(), forged);
    scene.refused(&SigningPackage { intent: forged, ..honest.clone() }, Code::InitiatorSignature).await;
    // Under their own name it is another order, which nobody has approved: with every verdict it would need.
    let own = other.order(payment.intent.clone());
    let mut package = ordered(&scene, &payment, own);
    package.authorization.as_mut().unwrap().approvals = scene.evidence(&honest.intent).approvals;
    scene.refused(&package, Code::ApprovalsMissing).await;
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    scene.sign(&honest).await.unwrap();
}

/// A co-signer without a governance log knows keys and no users.
#[tokio::test]
async fn order_of_a_governed_desk__should_give_no_signature_where_nothing_is_governed() {
    let mut group = Group::with(2, 2, false, deadlines(), |_| {}).await;
    group.initiator = key("client.operator").secret;
    let payment = group.xrp(WalletKind::XrpEd25519, 1_000_000, 5);
    let intent = Intent { terms: Some(TestDesk::new(0).terms()), ..payment.intent.clone() };
    let order = key("client.operator").order(intent.clone());
    let bare = signed_by(&key("client.operator").secret, intent);
    for order in [order, bare] {
        let package = package(order, group.build(&payment));
        for daemon in group.daemons.values() {
            let code = daemon.cosigner.decide(&package).unwrap_err().code;
            assert!(matches!(code, Code::OrderTerms | Code::UnknownInitiator), "{code}");
        }
    }
    assert_eq!(group.sessions_burnt(), [0, 0]);
}

/// The same under a policy that asks for nothing.
async fn permissive_scene() -> Scene {
    let policy = r#"{ "currency": "CHF", "priceMaxAgeSeconds": 60, "rules": [{ "id": "allow", "then": { "kind": "ALLOW" } }] }"#;
    with_laptop(Scene::with(2, 2, policy).await)
}

/// A batch, and the same without its second payout.
fn batch_and_rest(scene: &Scene) -> (Payments, Payments) {
    let mut batch = scene.group.btc(&[1, 2], &[60_000, 50_000, 40_000]);
    batch.intent.terms = Some(scene.desk.terms());
    batch.intent.expires_at = scene.order(1, 1).intent.expires_at;
    let mut rest = batch.clone();
    rest.intent.payments.remove(1);
    (batch, rest)
}

/// A batch, of which the second payout is taken back by whom `sign` makes it.
fn recalled(scene: &Scene, sign: impl Fn(&SignedIntent) -> SignedRecall) -> SigningPackage {
    let (batch, rest) = batch_and_rest(scene);
    let order = laptop().order(batch.intent.clone());
    let recalls = vec![sign(&order)];
    let authorization = Some(scene.evidence(&order));
    SigningPackage { authorization, recalls, ..package(order, scene.group.build(&rest)) }
}

#[tokio::test]
async fn recall_by_passkey__should_count_from_the_user_who_ordered() {
    let scene = permissive_scene().await;
    for forged in [
        recalled(&scene, |order| key("manager.operator").recall(order, 1)),
        recalled(&scene, |order| TestPasskey::new("client.operator", "phone").recall(order, 1)),
        recalled(&scene, |order| SignedRecall { payment: 1, ..laptop().recall(order, 0) }),
        recalled(&scene, |order| {
            use ed25519_dalek::Signer as _;
            let bytes = recall::canonical(order.intent.digest(), 1);
            let signature = key("client.operator").secret.sign(bytes.as_bytes()).to_bytes();
            SignedRecall { payment: 1, signature: RecallSignature::Key(signature) }
        }),
    ] {
        scene.refused(&forged, Code::Recall).await;
    }
    let honest = recalled(&scene, |order| laptop().recall(order, 1));
    let by_key = recalled(&scene, |order| key("client.operator").recall(order, 1));
    assert_ne!(honest.digest(), by_key.digest());
    scene.sign(&honest).await.unwrap();
    scene.sign(&by_key).await.unwrap();
    // Which user recalled does not matter to what pays nobody, and has nothing to do with whether it may be taken back.
    let purpose = Purpose::Cancel;
    let code =
        scene.group.daemons[&0].cosigner.decide(&SigningPackage { purpose, ..honest }).unwrap_err().code;
    assert_eq!(code, Code::EffectsOther);
}

/// The first recall takes no signature with it for ever: the initiator recalls the payout again, and nobody else can put it back in.
#[tokio::test]
async fn recall_by_a_key_that_left__should_be_refused_and_signed_once_it_was_recalled_again() {
    let mut scene = permissive_scene().await;
    let passkey = laptop();
    let (batch, rest) = batch_and_rest(&scene);
    let operator = key("client.operator");
    let order = operator.order(batch.intent.clone());
    let with = |recall: SignedRecall, built: &Payments| {
        let (authorization, recalls) = (Some(scene.evidence(&order)), vec![recall]);
        SigningPackage { authorization, recalls, ..package(order.clone(), scene.group.build(built)) }
    };
    let touched = with(passkey.recall(&order, 1), &rest);
    let typed = with(operator.recall(&order, 1), &rest);
    let paying_it = with(operator.recall(&order, 1), &batch);
    let change = Change::RemoveKey { user: passkey.user, key: passkey.id };
    scene.desk.accept(change, &["manager.security"]);
    scene.teach();
    scene.refused(&touched, Code::Recall).await;
    for daemon in scene.group.daemons.values() {
        assert!(daemon.cosigner.decide(&paying_it).is_err(), "what was taken back is not paid");
    }
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    scene.sign(&typed).await.unwrap();
}
