//! Evidence that is not what it says.

use super::{Scene, recipient, with_purpose};
use bursar_domain::{
    amount::Amount,
    governance::{
        approval::Vote,
        authorization::{Authorization, MAX_APPROVALS},
        change::Change,
        directory::Group as Approvers,
        log::Head,
        signature::{Evidence, Signature},
        testing::key,
        verdict::{Exhibit, Release, Screened, SignedRelease, VerdictDigest},
    },
    intent::{Proof, SignedIntent},
    package::{Purpose, SigningPackage},
};
use bursar_signer::verify::RefusalCode as Code;
use std::time::Duration;

type Spoil = fn(&Scene, &SignedIntent, &mut Authorization);

/// A user's signature by Ed25519 key that is none.
pub(super) fn spoil(order: &mut SignedIntent) {
    let Proof::User { signature: Signature { evidence: Evidence::Ed25519 { signature }, .. } } =
        &mut order.proof
    else {
        panic!("an Ed25519 key's")
    };
    signature[0] ^= 1;
}

#[tokio::test]
async fn evidence_that_proves_nothing__should_give_no_signature() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let payment = scene.order(1_000_000, 5);
    let cases: [(&str, Code, Spoil); 19] = [
        ("no approvals", Code::ApprovalsMissing, |_, _, evidence| evidence.approvals.clear()),
        ("one twice", Code::ApprovalsMissing, |_, _, evidence| {
            evidence.approvals[1] = evidence.approvals[0].clone();
        }),
        ("forged: changed after it was signed", Code::ApprovalsMissing, |_, _, evidence| {
            evidence.approvals[0].payload.expires_at.0 += 1;
        }),
        ("forged: signed by another", Code::ApprovalsMissing, |scene, order, evidence| {
            let user = key("manager.approver").user;
            let own = scene.approval("client.operator", order, |_| {});
            evidence.approvals[1].signature = Signature { user, ..own.signature };
        }),
        ("for another intent", Code::ApprovalsMissing, |scene, _, evidence| {
            let other = scene.signed(&scene.order(1_000_000, 6));
            evidence.approvals = scene.evidence(&other).approvals;
        }),
        ("for another amount", Code::ApprovalsMissing, |scene, order, evidence| {
            let mut other = order.clone();
            other.intent.payments[0].amount = Amount::from_u64(999_999);
            evidence.approvals = scene.evidence(&other).approvals;
        }),
        ("not a member", Code::ApprovalsMissing, |scene, order, evidence| {
            evidence.approvals[1] = scene.approval("platform.lead", order, |_| {});
        }),
        ("the initiator", Code::ApprovalsMissing, |scene, order, evidence| {
            evidence.approvals[1] = scene.approval("client.operator", order, |_| {});
        }),
        ("a stranger", Code::ApprovalsMissing, |scene, order, evidence| {
            evidence.approvals[1] = scene.approval("nobody", order, |_| {});
        }),
        ("expired", Code::ApprovalsMissing, |scene, order, evidence| {
            let now = scene.now();
            evidence.approvals[1] =
                scene.approval("manager.approver", order, |payload| payload.expires_at = now);
        }),
        ("another policy", Code::ApprovalsMissing, |scene, order, evidence| {
            let genesis = Head { seq: 0, digest: scene.desk.pinned() };
            evidence.approvals[1] =
                scene.approval("manager.approver", order, |payload| payload.policy = genesis);
        }),
        ("a member says no", Code::ApprovalRejected, |scene, order, evidence| {
            let no = scene.approval("platform.approver", order, |payload| payload.vote = Vote::Reject);
            evidence.approvals.push(no);
        }),
        ("too many", Code::AuthorizationTooLarge, |_, _, evidence| {
            evidence.approvals = vec![evidence.approvals[0].clone(); MAX_APPROVALS + 1];
        }),
        ("no verdict", Code::ScreeningMissing, |_, _, evidence| evidence.verdict = None),
        ("an expired verdict", Code::ScreeningStale, |scene, order, evidence| {
            let now = scene.now();
            evidence.verdict = Some(scene.verdict(order, |verdict| verdict.expires_at = now));
        }),
        ("a verdict about another intent", Code::ScreeningInvalid, |scene, _, evidence| {
            let other = scene.signed(&scene.order(1_000_000, 6));
            evidence.verdict = scene.evidence(&other).verdict;
        }),
        ("a verdict of somebody else", Code::ScreeningInvalid, |_, _, evidence| {
            let verdict = evidence.verdict.as_mut().unwrap();
            verdict.signature = key("client.service").sign(&verdict.verdict.digest());
        }),
        ("a verdict to look at", Code::ScreeningReview, |scene, order, evidence| {
            evidence.verdict = Some(scene.verdict(order, |verdict| verdict.outcome = Screened::Review));
        }),
        ("a bad verdict", Code::ScreeningBlocked, |scene, order, evidence| {
            evidence.verdict = Some(scene.verdict(order, |verdict| verdict.outcome = Screened::Block));
        }),
    ];
    let honest = scene.package(&payment);
    for (name, code, spoil) in cases {
        let mut package = honest.clone();
        let order = package.intent.clone();
        spoil(&scene, &order, package.authorization.as_mut().unwrap());
        println!("{name}");
        scene.refused(&package, code).await;
    }
    scene
        .refused(&SigningPackage { authorization: None, ..honest.clone() }, Code::AuthorizationMissing)
        .await;
    // Whatever the purpose says, it pays.
    scene.refused(&with_purpose(&honest, Purpose::Cancel), Code::EffectsOther).await;
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    scene.sign(&honest).await.unwrap();
}

/// The orchestrator keeps the head from before, and everything that was signed then.
#[tokio::test]
async fn what_was_taken_back_meanwhile__should_count_though_the_package_names_an_older_head() {
    let user = |name: &str| key(name).user;
    let group = "payments".parse().unwrap();
    let members = [user("client.approver"), user("platform.approver")].into();
    let policy = serde_json::from_str(&super::POLICY.replace("more than", "above")).unwrap();
    let changes = [
        (Change::SuspendUser { user: user("manager.approver") }, Code::ApprovalsMissing),
        (
            Change::RemoveKey { user: user("client.approver"), key: "main".parse().unwrap() },
            Code::ApprovalsMissing,
        ),
        (Change::SetRoles { user: user("client.approver"), roles: [].into() }, Code::ApprovalsMissing),
        (Change::PutGroup { group: Approvers { id: group, members } }, Code::ApprovalsMissing),
        (Change::SetPolicy { policy }, Code::ApprovalsMissing),
        (Change::RemoveAddress { id: "customer".parse().unwrap() }, Code::PolicyDenied),
        (Change::SuspendUser { user: user("client.operator") }, Code::InitiatorNotPermitted),
        (Change::SetRoles { user: user("client.operator"), roles: [].into() }, Code::InitiatorNotPermitted),
        (
            Change::RemoveKey { user: user("client.operator"), key: "main".parse().unwrap() },
            Code::UnknownInitiator,
        ),
        (Change::SuspendUser { user: user("platform.screening") }, Code::ScreeningInvalid),
    ];
    let mut scene = Scene::new(2, 2).await;
    scene.teach();
    let package = scene.package(&scene.order(1_000_000, 5));
    let before = scene.desk.clone();
    for (change, code) in changes {
        // Each co-signer's own log from here; they start again with what they had for the next one.
        scene.desk = before.clone();
        let signers: &[&str] = match &change {
            Change::SetPolicy { .. } => &["manager.policy", "platform.policy"],
            Change::RemoveAddress { .. } => &["client.operator"],
            _ => &["client.owner", "manager.security"],
        };
        let name = change.name();
        // A tightening takes one signature, and more do no harm.
        scene.desk.accept(change, signers);
        scene.publish();
        for index in 0..2 {
            scene.group.stop(index).await;
            std::fs::remove_file(scene.group.store_path(index)).unwrap();
            scene.group.start(index).await;
        }
        scene.teach();
        println!("{name}");
        scene.refused(&package, code).await;
    }
}

#[tokio::test]
async fn initiator_of_the_wrong_kind__should_give_no_signature() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let payment = scene.order(1_000_000, 5);
    for (who, code) in [
        ("client.approver", Code::InitiatorNotPermitted),
        ("client.owner", Code::InitiatorNotPermitted),
        // The policy names no service that initiates.
        ("client.service", Code::InitiatorNotPermitted),
        ("platform.security", Code::InitiatorNotPermitted),
        ("nobody", Code::UnknownInitiator),
    ] {
        let order = key(who).order(payment.intent.clone());
        let authorization = Some(scene.evidence(&order));
        let package = SigningPackage { intent: order, authorization, ..scene.package(&payment) };
        scene.refused(&package, code).await;
    }
    let mut forged = scene.package(&payment);
    spoil(&mut forged.intent);
    scene.refused(&forged, Code::InitiatorSignature).await;
    // The party's own rules hold besides.
    let mut dear = scene.order(1_000_000, 6);
    let bursar_domain::account::AccountState::Xrp(account) = &mut dear.state else { unreachable!() };
    account.fee.0 = 90;
    scene.refused(&scene.package(&dear), Code::FeeAboveCap).await;
    let mut elsewhere = scene.order(1_000_000, 7);
    elsewhere.intent.payments[0].destination.tag = Some(8);
    assert_ne!(elsewhere.intent.payments[0].destination, recipient());
    scene.refused(&scene.package(&elsewhere), Code::PolicyDenied).await;
}

/// People approved what the order may cost, too. It is no slip of an honest orchestrator, and counted as such.
#[tokio::test]
async fn fee_raised_after_the_approvals__should_give_no_signature_and_raise_an_alarm() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let payment = scene.order(1_000_000, 5);
    let honest = scene.package(&payment);
    let unusual = || scene.group.coordinator.status().iter().map(|party| party.unusual).sum::<u64>();
    let mut unapproved = honest.clone();
    unapproved.authorization.as_mut().unwrap().approvals.clear();
    scene.refused(&unapproved, Code::ApprovalsMissing).await;
    assert_eq!(unusual(), 0, "approvals may be missing");
    let mut dear = payment;
    dear.intent.max_fee = Amount::from_u64(1_000);
    let bursar_domain::account::AccountState::Xrp(account) = &mut dear.state else { unreachable!() };
    account.fee.0 = 101;
    let raised = SigningPackage { unsigned: scene.group.build(&dear), ..honest.clone() };
    scene.refused(&raised, Code::EffectsFee).await;
    assert!(unusual() > 0);
    scene.sign(&honest).await.unwrap();
}

/// The approvals are for the order, and the order is paid once.
#[tokio::test]
async fn second_payment_under_the_same_approvals__should_give_no_signature() {
    let scene = Scene::new(2, 2).await;
    let first = scene.order(1_000_000, 5);
    let package = scene.package(&first);
    scene.sign(&package).await.unwrap();
    let mut second = first.clone();
    let Some(bursar_domain::effects::Resource::Sequence { sequence, .. }) = &mut second.resource else {
        unreachable!()
    };
    *sequence = 6;
    let again = SigningPackage { unsigned: scene.group.build(&second), ..package.clone() };
    scene.refused(&again, Code::WouldPayTwice).await;
    // A new order by the same initiator, with the old approvals.
    let fresh = scene.order(1_000_000, 8);
    let reused = SigningPackage { authorization: package.authorization.clone(), ..scene.package(&fresh) };
    scene.refused(&reused, Code::ScreeningInvalid).await;
    let mut reused = scene.package(&fresh);
    reused.authorization.as_mut().unwrap().approvals = package.authorization.unwrap().approvals;
    scene.refused(&reused, Code::ApprovalsMissing).await;
    // Time passes: nothing that was good stays so for ever.
    let late = scene.order(1_000_000, 9);
    let package = scene.package(&late);
    scene.group.clock.advance(1800);
    scene.refused(&package, Code::ScreeningStale).await;
}

/// A release of what is held for review, changed before an officer and a lead sign it.
fn release(
    scene: &Scene,
    order: &SignedIntent,
    verdict: [u8; 32],
    change: impl FnOnce(&mut Release),
) -> SignedRelease {
    let mut release = Release {
        genesis: scene.desk.pinned(),
        intent: order.intent.digest(),
        verdict: Some(VerdictDigest(verdict)),
        reason: "known to us".into(),
        evidence: vec![Exhibit::Document { name: "contract.pdf".into(), sha256: [3; 32] }],
        released_at: scene.now(),
        expires_at: scene.now().plus(Duration::from_secs(600)),
    };
    change(&mut release);
    let signatures = ["platform.officer", "platform.lead"].map(|user| key(user).sign(&release.digest()));
    SignedRelease { signatures: signatures.into(), release }
}

#[tokio::test]
async fn release_without_what_it_must_have__should_give_no_signature() {
    let scene = Scene::new(2, 2).await;
    scene.teach();
    let payment = scene.order(1_000_000, 5);
    let mut package = scene.package(&payment);
    let order = package.intent.clone();
    let held = scene.verdict(&order, |verdict| verdict.outcome = Screened::Review);
    let digest = held.verdict.digest();
    package.authorization.as_mut().unwrap().verdict = Some(held);
    let released = |release: SignedRelease| {
        let mut package = package.clone();
        package.authorization.as_mut().unwrap().releases = vec![release];
        package
    };
    type Changed = (&'static str, fn(&mut Release));
    let changes: [Changed; 5] = [
        ("no reason", |release| release.reason.clear()),
        ("no evidence", |release| release.evidence.clear()),
        ("evidence that names nothing", |release| {
            release.evidence = vec![Exhibit::Record { uri: "a letter".into() }];
        }),
        ("too much evidence", |release| release.evidence = vec![release.evidence[0].clone(); 11]),
        ("another verdict", |release| release.verdict = Some(VerdictDigest([0; 32]))),
    ];
    for (name, change) in changes {
        println!("{name}");
        scene.refused(&released(release(&scene, &order, digest, change)), Code::ScreeningReview).await;
    }
    let mut exchanged = release(&scene, &order, digest, |_| {});
    exchanged.release.evidence = vec![Exhibit::Document { name: "contract.pdf".into(), sha256: [4; 32] }];
    scene.refused(&released(exchanged), Code::ScreeningReview).await;
    let mut alone = release(&scene, &order, digest, |_| {});
    alone.signatures.pop();
    scene.refused(&released(alone), Code::ScreeningReview).await;
    assert_eq!(scene.group.sessions_burnt(), [0, 0]);
    scene.sign(&released(release(&scene, &order, digest, |_| {}))).await.unwrap();
}
