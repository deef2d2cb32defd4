//! What pays nobody costs a fee: an operator's key with a hostile orchestrator must not burn more than a party lets it.

use super::{Scene, brakes::cancel};
use bursar_domain::package::SigningPackage;
use bursar_signer::{
    confirm::{Confirm, Confirmation, PaysNobody},
    control::Request,
    rules::FeesWithoutPayment,
    verify::RefusalCode as Code,
};

/// What takes back an order that nobody signed, with all that its payment would need.
fn authorized(scene: &Scene, sequence: u32) -> SigningPackage {
    let payment = scene.order(1_000_000, sequence);
    let package = scene.package(&payment);
    let authorization = package.authorization.clone();
    SigningPackage { authorization, ..cancel(scene, &payment, &package) }
}

/// Begins both parties again with this limit, over an hour.
async fn limit_fees(scene: &mut Scene, count: u32, times_max_fee: u32) {
    scene.group.rules.fees_without_payment =
        FeesWithoutPayment { window_seconds: 3600, count, times_max_fee };
    for index in 0..2 {
        scene.group.stop(index).await;
        scene.group.start(index).await;
    }
    scene.teach();
}

#[tokio::test]
async fn cancellation_of_what_was_never_paid__should_need_all_that_the_payment_needs() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let package = authorized(&scene, 5);
    scene
        .refused(&SigningPackage { authorization: None, ..package.clone() }, Code::AuthorizationMissing)
        .await;
    let mut unapproved = package.clone();
    unapproved.authorization.as_mut().unwrap().approvals.clear();
    scene.refused(&unapproved, Code::ApprovalsMissing).await;
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    scene.sign(&package).await.unwrap();
    // It pays nobody, so it counts as no payment: three more make the day's limit.
    for sequence in 6..9 {
        scene.sign(&scene.package(&scene.order(1_000_000, sequence))).await.unwrap();
    }
    scene.refused(&scene.package(&scene.order(1, 9)), Code::PolicyDenied).await;
}

/// The other party took no part, and holds it to the whole; with it there is no quorum.
#[tokio::test]
async fn cancellation__should_be_free_only_for_who_took_part_in_the_payment() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let payment = scene.order(1_000_000, 5);
    let package = scene.package(&payment);
    let one = &scene.group.daemons[&0].cosigner;
    let allowed = one.decide(&package).unwrap();
    let session = bursar_signer_client::message::SessionId([7; 32]);
    one.take_part(session, b"m", &package, &allowed, &[].into()).unwrap();
    let back = cancel(&scene, &payment, &package);
    assert!(one.decide(&back).unwrap().undoes);
    let other = &scene.group.daemons[&1].cosigner;
    assert_eq!(other.decide(&back).unwrap_err().code, Code::AuthorizationMissing);
    let authorization = package.authorization.clone();
    let with_evidence = SigningPackage { authorization, ..back };
    assert!(!other.decide(&with_evidence).unwrap().undoes);
}

#[tokio::test]
async fn fees_of_cancellations__should_end_at_the_partys_limit_and_begin_again_after_its_window() {
    let mut scene = Scene::new(2, 2).await;
    limit_fees(&mut scene, 2, 100).await;
    for sequence in [5, 6] {
        scene.sign(&authorized(&scene, sequence)).await.unwrap();
    }
    // The same one again is the same fee.
    scene.sign(&authorized(&scene, 6)).await.unwrap();
    scene.refused(&authorized(&scene, 7), Code::FeesWithoutPayment).await;
    // It is remembered, and payments are not in question, nor is what takes them back.
    for index in 0..2 {
        scene.group.stop(index).await;
        scene.group.start(index).await;
    }
    scene.refused(&authorized(&scene, 7), Code::FeesWithoutPayment).await;
    let paid = scene.order(1_000_000, 8);
    let package = scene.package(&paid);
    scene.sign(&package).await.unwrap();
    scene.sign(&cancel(&scene, &paid, &package)).await.unwrap();
    scene.group.clock.advance(3601);
    scene.sign(&authorized(&scene, 9)).await.unwrap();
}

#[tokio::test]
async fn fees_of_cancellations__should_not_add_up_to_more_than_the_party_lets_them() {
    let mut scene = Scene::new(2, 2).await;
    // The highest fee is 50 drops here.
    limit_fees(&mut scene, 100, 1).await;
    let mut spent = 0;
    for sequence in 5..20 {
        let package = authorized(&scene, sequence);
        match scene.group.daemons[&0].cosigner.decide(&package) {
            Ok(allowed) => {
                spent += allowed.fee.to_string().parse::<u64>().unwrap();
                scene.sign(&package).await.unwrap();
            }
            Err(refusal) => {
                assert_eq!(refusal.code, Code::FeesWithoutPayment);
                assert!(spent > 0 && spent <= 50, "{spent}");
                return;
            }
        }
    }
    panic!("{spent} drops were burnt");
}

/// Two at the same time that are each within the limit: what takes part decides.
#[tokio::test]
async fn fees_of_cancellations_at_once__should_not_pass_the_limit() {
    let mut scene = Scene::new(2, 2).await;
    scene.group.rules.fees_without_payment =
        FeesWithoutPayment { window_seconds: 3600, count: 1, times_max_fee: 100 };
    scene.group.stop(0).await;
    scene.group.start(0).await;
    scene.teach();
    let cosigner = &scene.group.daemons[&0].cosigner;
    let packages = [5, 6].map(|sequence| authorized(&scene, sequence));
    let allowed = packages.each_ref().map(|package| cosigner.decide(package).unwrap());
    let take = |place: usize| {
        let session = bursar_signer_client::message::SessionId([u8::try_from(place).unwrap(); 32]);
        cosigner.take_part(session, b"m", &packages[place], &allowed[place], &[].into())
    };
    take(0).unwrap();
    assert_eq!(take(1).unwrap_err().code, Code::FeesWithoutPayment);
}

/// Who lets an order be taken back has not let it be paid.
#[tokio::test]
async fn person__should_be_asked_about_a_cancellation_and_about_its_payment_apart() {
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    scene.group.confirm = Confirm::Person;
    for index in 0..2 {
        scene.group.stop(index).await;
        scene.group.start(index).await;
    }
    let payment = scene.order(1_000_000, 5);
    let package = scene.package(&payment);
    let authorization = package.authorization.clone();
    let back = SigningPackage { authorization, ..cancel(&scene, &payment, &package) };
    scene.refused(&back, Code::AwaitingConfirmation).await;
    for daemon in scene.group.daemons.values() {
        let desk = daemon.cosigner.desk();
        let open = desk.handle(Request::Pending {}).unwrap();
        let [one]: [Confirmation; 1] = serde_json::from_value(open).unwrap();
        assert_eq!((one.pays_nobody.clone(), one.payments.len()), (Some(PaysNobody::Cancels), 0));
        assert!(one.to_string().contains("takes the order back"));
        desk.handle(Request::Approve { id: one.id.to_string() }).unwrap();
    }
    scene.refused(&package, Code::AwaitingConfirmation).await;
    scene.sign(&back).await.unwrap();
}

/// Cancellations of what was never paid cost next to nothing to ask for: they neither fill the list of a person nor keep a payment off it.
#[tokio::test]
async fn questions__should_be_bounded_and_leave_payments_their_room() {
    let mut scene = Scene::new(2, 2).await;
    scene.group.confirm = Confirm::Person;
    limit_fees(&mut scene, 2, 100).await;
    for sequence in [5, 6] {
        scene.refused(&authorized(&scene, sequence), Code::AwaitingConfirmation).await;
    }
    let third = authorized(&scene, 7);
    scene.refused(&third, Code::TooManyQuestions).await;
    scene.group.clock.advance(1);
    let payment = scene.package(&scene.order(1_000_000, 8));
    scene.refused(&payment, Code::AwaitingConfirmation).await;
    for daemon in scene.group.daemons.values() {
        let desk = daemon.cosigner.desk();
        let open = desk.handle(Request::Pending {}).unwrap();
        let open: Vec<Confirmation> = serde_json::from_value(open).unwrap();
        assert_eq!(open.len(), 3);
        assert_eq!(open[0].id, payment.intent.intent.digest(), "newest first");
        let id = open[1].id.to_string();
        desk.handle(Request::Reject { id, reason: "nobody ordered that".into() }).unwrap();
    }
    scene.refused(&third, Code::AwaitingConfirmation).await;
}
