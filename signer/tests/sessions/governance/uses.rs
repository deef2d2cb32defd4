//! What a page had people sign as their login is no document, whatever the challenge was.

use super::Scene;
use crate::support::{Payments, package};
use bursar_domain::{
    governance::{
        change::Change,
        directory::KeyUse,
        log::Entry,
        signature::Signature,
        testing::{Assertion, TestKey, TestPasskey},
    },
    intent::SignedIntent,
    package::SigningPackage,
    recall::SignedRecall,
};
use bursar_signer::verify::RefusalCode as Code;

const OPERATOR: &str = "client.operator";
const APPROVER: &str = "manager.approver";
const ADMINS: &[&str] = &["client.owner", "manager.security"];

/// The passkey with which this user logs in at the desk's page.
fn door(user: &str) -> TestPasskey {
    TestPasskey::new(user, "door").only(KeyUse::Access)
}

/// The passkey with which this user signs documents, at a page of their own party.
fn own(user: &str) -> TestPasskey {
    TestPasskey::new(user, "own").only(KeyUse::Documents).at("own.example")
}

/// The assertion that the desk's page gets when it asks for that one nevertheless: browsers say where they were asked.
fn asked(user: &str, digest: &[u8; 32]) -> Signature {
    let assertion = Assertion { rp_id: "own.example".into(), ..Assertion::new(digest) };
    own(user).sign_parts(assertion.authenticator_data(), assertion.client_data_json())
}

/// As every scene; operator and approver have both passkeys, and the screening service a key that calls the API only.
async fn scene(policy: &str) -> Scene {
    let mut scene = Scene::with(2, 2, policy).await;
    for user in [OPERATOR, APPROVER] {
        for passkey in [door(user), own(user)] {
            scene.desk.accept(Change::AddKey { key: passkey.public(), user: passkey.user }, ADMINS);
        }
    }
    let badge = badge();
    scene.desk.accept(Change::AddKey { key: badge.public(), user: badge.user }, ADMINS);
    scene.teach();
    scene
}

fn badge() -> TestKey {
    TestKey::new("platform.screening", "badge").only(KeyUse::Access)
}

fn ordered(scene: &Scene, payment: &Payments, order: SignedIntent) -> SigningPackage {
    let authorization = Some(scene.evidence(&order));
    SigningPackage { authorization, ..package(order, scene.group.build(payment)) }
}

#[tokio::test]
async fn order_and_vote_signed_as_logins__should_give_no_signature() {
    let scene = scene(super::POLICY).await;
    let payment = scene.order(1_000_000, 5);
    let honest = ordered(&scene, &payment, own(OPERATOR).order(payment.intent.clone()));
    let by_door = door(OPERATOR).order(payment.intent.clone());
    let asked_for = SignedIntent::by_user(
        honest.intent.intent.clone(),
        asked(OPERATOR, &honest.intent.intent.digest().0),
    );
    for order in [by_door, asked_for] {
        scene.refused(&ordered(&scene, &payment, order), Code::InitiatorSignature).await;
    }

    let approve = |sign: &dyn Fn(&[u8; 32]) -> Signature| {
        let mut package = honest.clone();
        let approvals = &mut package.authorization.as_mut().unwrap().approvals;
        let vote = approvals.iter_mut().find(|vote| vote.signature.user.as_str() == APPROVER).unwrap();
        vote.signature = sign(&vote.payload.digest());
        package
    };
    scene.refused(&approve(&|digest| door(APPROVER).sign(digest)), Code::ApprovalsMissing).await;
    scene.refused(&approve(&|digest| asked(APPROVER, digest)), Code::ApprovalsMissing).await;

    let mut screened = honest.clone();
    let verdict = screened.authorization.as_mut().unwrap().verdict.as_mut().unwrap();
    verdict.signature = badge().sign(&verdict.verdict.digest());
    scene.refused(&screened, Code::ScreeningInvalid).await;

    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    scene.sign(&approve(&|digest| own(APPROVER).sign(digest))).await.unwrap();
}

#[tokio::test]
async fn recall_signed_as_a_login__should_give_no_signature() {
    let policy = r#"{ "currency": "CHF", "priceMaxAgeSeconds": 60, "rules": [{ "id": "allow", "then": { "kind": "ALLOW" } }] }"#;
    let scene = scene(policy).await;
    let recalled = |recall: fn(&SignedIntent) -> SignedRecall| {
        let mut batch = scene.group.btc(&[1, 2], &[60_000, 50_000, 40_000]);
        batch.intent.terms = Some(scene.desk.terms());
        batch.intent.expires_at = scene.order(1, 1).intent.expires_at;
        let order = own(OPERATOR).order(batch.intent.clone());
        let recalls = vec![recall(&order)];
        let mut rest = batch.clone();
        rest.intent.payments.remove(1);
        let authorization = Some(scene.evidence(&order));
        SigningPackage { authorization, recalls, ..package(order, scene.group.build(&rest)) }
    };
    scene.refused(&recalled(|order| door(OPERATOR).recall(order, 1)), Code::Recall).await;
    scene.sign(&recalled(|order| own(OPERATOR).recall(order, 1))).await.unwrap();
}

#[tokio::test]
async fn entry_signed_as_a_login__should_not_enter_the_log() {
    let scene = scene(super::POLICY).await;
    let change =
        serde_json::from_str(r#"{"kind":"FREEZE","scope":{"kind":"ALL"},"reason":"drill"}"#).unwrap();
    let document = serde_json::to_string(&scene.desk.document(APPROVER, change)).unwrap();
    let digest = Entry::digest_of(&document).0;
    let cosigner = &scene.group.daemons[&0].cosigner;
    for signature in [door(APPROVER).sign(&digest), asked(APPROVER, &digest)] {
        let entry = Entry { document: document.clone(), signatures: vec![signature] };
        let taken = cosigner.learn(vec![entry]).unwrap();
        assert!(taken.added == 0 && taken.left.is_some() && taken.contradicted.is_none(), "{taken:?}");
    }
    let entry = Entry { document, signatures: vec![own(APPROVER).sign(&digest)] };
    assert_eq!(cosigner.learn(vec![entry]).unwrap().added, 1);
}
