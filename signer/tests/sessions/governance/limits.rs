//! Limits over many transfers, delays, and whose co-signers must take part: each co-signer by what it knows itself.

use super::{Scene, XRP};
use bursar_domain::{
    asset::Asset,
    governance::{
        address_book::AddressEntry,
        change::Change,
        quote::{Quote, SignedQuote},
        testing::key,
    },
    intent::Destination,
    package::SigningPackage,
    ports::SignError,
    signing::PartyRole,
};
use bursar_signer::verify::RefusalCode as Code;
use bursar_signer_client::message::SessionId;
use std::{sync::Barrier, time::Duration};

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
    assert!(error.to_string().contains("WealthManager"), "it names the party: {error}");
    let nobody_began = matches!(&error, SignError::NotNow { code, started: false, .. } if code == Code::SignersRequired.name());
    assert!(nobody_began, "{error:?}");
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

/// By signed prices: at 2.50, a million drops are 2.50 CHF; and 5.01 CHF a day to one destination.
const PRICED: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60, "prices": { "by": ["client.service"] },
    "rules": [
        { "id": "allow", "then": { "kind": "ALLOW" } },
        { "id": "large", "when": { "amount": { "in": "FIAT", "above": "250" } },
          "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 2 }] } },
        { "id": "a-day", "when": { "velocity": { "windowSeconds": 86400, "of": "FIAT", "groupBy": "DESTINATION", "above": "501" } },
          "then": { "kind": "DENY", "reason": "enough for one day" } }
    ]
}"#;

/// An order of so many drops, that nobody approved, at this price.
fn priced(scene: &Scene, drops: u64, sequence: u32, price: &str, by: &str) -> SigningPackage {
    let mut package = scene.package(&scene.order(drops, sequence));
    let quote = Quote {
        genesis: scene.desk.pinned(),
        asset: Asset::Xrp,
        decimals: 6,
        currency: "CHF".parse().unwrap(),
        price: price.parse().unwrap(),
        quoted_at: scene.now(),
        expires_at: scene.now().plus(Duration::from_secs(600)),
    };
    let authorization = package.authorization.as_mut().unwrap();
    authorization.approvals.clear();
    authorization.quote = Some(SignedQuote { signature: key(by).sign(&quote.digest()), quote });
    package
}

#[tokio::test]
async fn signed_price__should_let_cosigners_evaluate_fiat_themselves() {
    let scene = Scene::with(2, 2, PRICED).await;
    scene.teach();
    scene.sign(&priced(&scene, 1_000_000, 5, "2.50", "client.service")).await.unwrap();
    scene.refused(&priced(&scene, 1_000_001, 6, "2.50", "client.service"), Code::ApprovalsMissing).await;
    // A hostile orchestrator's: signed by somebody else, made for another amount, or kept until it suits.
    scene.refused(&priced(&scene, 1_000_000, 7, "0.01", "client.operator"), Code::PolicyDenied).await;
    let mut changed = priced(&scene, 1_000_000, 8, "2.50", "client.service");
    let authorization = changed.authorization.as_mut().unwrap();
    authorization.quote.as_mut().unwrap().quote.price = "0.01".parse().unwrap();
    scene.refused(&changed, Code::PolicyDenied).await;
    let kept = priced(&scene, 1_000_000, 9, "2.50", "client.service");
    scene.group.clock.advance(61);
    scene.refused(&kept, Code::PolicyDenied).await;
    scene.sign(&priced(&scene, 1_000_000, 10, "2.50", "client.service")).await.unwrap();
    // Both were worth 2.50 when they were paid, whatever XRP costs now.
    scene.refused(&priced(&scene, 1_000_000, 11, "0.02", "client.service"), Code::PolicyDenied).await;
    scene.group.clock.advance(86_401);
    scene.sign(&priced(&scene, 1_000_000, 12, "2.50", "client.service")).await.unwrap();
}

const AGED: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 60,
    "rules": [{ "id": "listed", "when": { "destination": { "kind": "ANY_LISTED", "forAtLeastSeconds": 600 } }, "then": { "kind": "ALLOW" } }]
}"#;

/// Cooling off: by its own clock, from when it first saw the entry, whatever the orchestrator says.
#[tokio::test]
async fn address__should_be_listed_long_enough_by_each_cosigners_own_clock() {
    let scene = Scene::with(2, 2, AGED).await;
    // The desk listed it long ago; the co-signers see it now.
    scene.group.clock.advance(3600);
    scene.teach();
    let package = scene.package(&scene.order(1_000_000, 5));
    scene.refused(&package, Code::PolicyDenied).await;
    scene.group.clock.advance(599);
    scene.refused(&package, Code::PolicyDenied).await;
    scene.group.clock.advance(1);
    scene.sign(&package).await.unwrap();
}

/// Co-signers compare what a transaction pays, as its chain writes it: an entry that is written in another way lists nothing.
#[tokio::test]
async fn address_that_is_not_as_its_chain_writes_it__should_list_nothing() {
    let mut scene = Scene::with(2, 2, AGED).await;
    scene.desk.accept(Change::RemoveAddress { id: "customer".parse().unwrap() }, &["client.operator"]);
    for (id, address, tag) in [
        ("x-address", "XVbD5dZj7eWiZWUaPvZt5vKDZyzPWuN1RZsPZGLzGzNVzJB", None),
        ("padded", "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh.", Some(7)),
        ("no-tag", "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", None),
        ("lower", "rhb9cjawyb4rj91vrwn96dkukg4bwdtyth", Some(7)),
    ] {
        let destination = Destination { address: address.into(), tag };
        let entry = AddressEntry {
            id: id.parse().unwrap(),
            network: XRP,
            destination,
            label: id.into(),
            counterparty: None,
        };
        scene.desk.accept(Change::PutAddress { entry }, &["client.operator", "manager.approver"]);
    }
    scene.teach();
    scene.group.clock.advance(3600);
    scene.refused(&scene.package(&scene.order(1_000_000, 5)), Code::PolicyDenied).await;
}
