//! Orders to fill a nonce: the one transaction that they allow, and what keeps fillers and payments out of each other's way.

use crate::support::{Group, NOW, Payments, deadlines, package, signed_by};
use bursar_domain::{
    account::{AccountState, EthereumAccount},
    amount::Amount,
    asset::Asset,
    effects::Resource,
    fill::FillOrder,
    intent::{Destination, Intent, Payment},
    network::Network,
    package::{Purpose, SigningPackage, UnsignedTransaction},
    ports::ReplaceRequest,
    signing::{PartyRole, Scheme},
    time::Timestamp,
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_signer::{
    adapters::by_chain,
    rules::{AssetRule, Initiator, Rules},
    verify::{RefusalCode, verify},
};
use bursar_signer_client::message::SessionId;
use ed25519_dalek::SigningKey;
use std::{collections::BTreeSet, time::Duration};

const ETH: Network = Network::Ethereum(31_337);
const OTHER: Network = Network::Ethereum(1337);
/// 21000 gas at a maximum of 10 wei.
const FEE: u64 = 210_000;

fn platform() -> SigningKey {
    SigningKey::from_bytes(&[43; 32])
}

async fn group() -> Group {
    let allow = |rules: &mut Rules| {
        rules.networks.extend([ETH, OTHER]);
        rules.assets.push(AssetRule {
            asset: Asset::Eth,
            max_amount: Amount::from_u64(1000),
            max_fee: Amount::from_u64(4 * FEE),
        });
        rules.initiators.push(Initiator {
            name: "platform".into(),
            role: PartyRole::CustodyPlatform,
            public_key: bursar_domain::intent::InitiatorKey(platform().verifying_key().to_bytes()),
        });
    };
    Group::with(2, 2, true, deadlines(), allow).await
}

fn wallet(network: Network) -> WalletDescriptor {
    WalletDescriptor::new(network, WalletKind::Ethereum, 0).unwrap()
}

fn account(group: &Group, network: Network) -> String {
    let (wallet, key) = (wallet(network), &group.keys[&Scheme::EcdsaSecp256k1]);
    by_chain(network.chain()).address(&wallet, key, &wallet.path(Branch::Receive, 0)).unwrap()
}

fn filler(group: &Group, network: Network, name: &str, nonce: u64) -> Intent {
    let order = FillOrder {
        external_id: name.parse().unwrap(),
        wallet: wallet(network),
        account: account(group, network),
        nonce,
        max_fee: Amount::from_u64(3 * FEE),
        expires_at: NOW.plus(Duration::from_secs(3600)),
        terms: None,
    };
    order.intent()
}

fn payment(group: &Group, network: Network, name: &str) -> Intent {
    let address = "0x52908400098527886E0F7030069857D2E4169EE7".to_owned();
    let paid = Payment { destination: Destination { address, tag: None }, amount: Amount::from_u64(1000) };
    Intent { payments: vec![paid], fills: None, source: None, ..filler(group, network, name, 0) }
}

/// What the intent says, with this nonce.
fn payments(group: &Group, intent: Intent, nonce: u64) -> Payments {
    let address = account(group, intent.network());
    let state = EthereumAccount {
        address: address.clone(),
        balance: Amount::from_u64(1_000_000_000),
        token_balance: None,
        nonce: 0,
        gas_limit: 21_000,
        max_fee_per_gas: 10,
        max_priority_fee_per_gas: 1,
    };
    let resource = Some(Resource::Nonce { account: address, nonce });
    Payments { intent, state: AccountState::Ethereum(state), resource }
}

fn unsigned(group: &Group, intent: Intent, nonce: u64) -> UnsignedTransaction {
    group.build(&payments(group, intent, nonce))
}

fn fill(group: &Group, name: &str, nonce: u64) -> SigningPackage {
    let intent = filler(group, ETH, name, nonce);
    package(group.sign_intent(intent.clone()), unsigned(group, intent, nonce))
}

fn pay(group: &Group, name: &str, nonce: u64) -> SigningPackage {
    let intent = payment(group, ETH, name);
    package(group.sign_intent(intent.clone()), unsigned(group, intent, nonce))
}

fn replaced(group: &Group, package: &SigningPackage, purpose: Purpose, raise_percent: u32) -> SigningPackage {
    let intent = package.intent.intent.clone();
    let payments = payments(group, intent, 0);
    let unsigned = by_chain(ETH.chain()).replace(&ReplaceRequest {
        intent: &payments.intent,
        purpose: &purpose,
        key: &group.keys[&Scheme::EcdsaSecp256k1],
        state: &payments.state,
        earlier: std::slice::from_ref(&package.unsigned),
        raise_percent,
        price_cap: None,
        change: None,
    });
    SigningPackage { purpose, unsigned: unsigned.unwrap(), ..package.clone() }
}

fn decide(group: &Group, package: &SigningPackage) -> Result<(), RefusalCode> {
    group.daemons[&0].cosigner.decide(package).map(|_| ()).map_err(|refusal| refusal.code)
}

fn remember(group: &Group, package: &SigningPackage) {
    let cosigner = &group.daemons[&0].cosigner;
    let allowed = cosigner.decide(package).unwrap();
    let session = SessionId(package.digest().0);
    cosigner.take_part(session, b"message", package, &allowed, &BTreeSet::new()).unwrap();
}

#[tokio::test]
async fn filler__should_be_signed_with_its_nonce_and_nothing_else() {
    let group = group().await;
    let honest = fill(&group, "fill-7", 7);
    group.sign(&honest).await.unwrap();

    let with = |bytes: UnsignedTransaction| SigningPackage { unsigned: bytes, ..honest.clone() };
    let another_nonce = with(unsigned(&group, filler(&group, ETH, "fill-7", 8), 8));
    assert_eq!(decide(&group, &another_nonce), Err(RefusalCode::EffectsOther));
    let pays = with(unsigned(&group, payment(&group, ETH, "fill-7"), 7));
    assert_eq!(decide(&group, &pays), Err(RefusalCode::EffectsOther));
    let elsewhere = with(unsigned(&group, filler(&group, OTHER, "fill-7", 7), 7));
    assert_eq!(decide(&group, &elsewhere), Err(RefusalCode::MalformedPackage));
    // A payment order is not filled, and a filler is no payment.
    let order = group.sign_intent(payment(&group, ETH, "invoice-1"));
    let not_paid = package(order, honest.unsigned.clone());
    assert_eq!(decide(&group, &not_paid), Err(RefusalCode::EffectsOther));
}

#[tokio::test]
async fn filler__should_be_ordered_by_a_pinned_initiator_in_time_and_within_the_fee() {
    let group = group().await;
    let honest = fill(&group, "fill-7", 7);
    let by = |key: &SigningKey| SigningPackage {
        intent: signed_by(key, honest.intent.intent.clone()),
        ..honest.clone()
    };
    assert_eq!(decide(&group, &by(&SigningKey::from_bytes(&[66; 32]))), Err(RefusalCode::UnknownInitiator));
    assert_eq!(decide(&group, &by(&platform())), Err(RefusalCode::InitiatorRole));
    let mut forged = honest.clone();
    forged.intent.intent.fills = Some(8);
    assert_eq!(decide(&group, &forged), Err(RefusalCode::InitiatorSignature));
    // Who leaves the nonce out has neither a filler nor a payment under the initiator's signature.
    forged.intent.intent.fills = None;
    assert_eq!(decide(&group, &forged), Err(RefusalCode::InitiatorSignature));
    let stripped = SigningPackage {
        intent: group.sign_intent(Intent { fills: None, ..honest.intent.intent.clone() }),
        ..honest.clone()
    };
    assert_eq!(decide(&group, &stripped), Err(RefusalCode::InvalidIntent));

    let key = group.keys.get(&Scheme::EcdsaSecp256k1);
    let code = |package: &SigningPackage, now: Timestamp| {
        verify(package, &group.rules, None, key, by_chain(ETH.chain()), now)
            .map(|_| ())
            .map_err(|refusal| refusal.code)
    };
    assert_eq!(code(&honest, NOW), Ok(()));
    assert_eq!(code(&honest, NOW.plus(Duration::from_secs(3600))), Err(RefusalCode::IntentExpired));
    assert_eq!(code(&honest, Timestamp(0)), Err(RefusalCode::ExpiryTooFar));

    let costing = |order: u64, built: u64| {
        let intent = |max_fee| Intent { max_fee: Amount::from_u64(max_fee), ..honest.intent.intent.clone() };
        let mut payments = payments(&group, intent(u64::MAX), 7);
        let AccountState::Ethereum(state) = &mut payments.state else { unreachable!("of this chain") };
        state.max_fee_per_gas = u128::from(built / 21_000);
        package(group.sign_intent(intent(order)), group.build(&payments))
    };
    assert_eq!(decide(&group, &costing(FEE, FEE)), Ok(()));
    assert_eq!(decide(&group, &costing(FEE - 1, FEE)), Err(RefusalCode::EffectsFee));
    assert_eq!(decide(&group, &costing(9 * FEE, 4 * FEE)), Ok(()));
    assert_eq!(decide(&group, &costing(9 * FEE, 5 * FEE)), Err(RefusalCode::FeeAboveCap));
}

#[tokio::test]
async fn filler__should_not_take_the_place_of_a_payment() {
    let group = group().await;
    remember(&group, &pay(&group, "invoice-1", 7));
    assert_eq!(decide(&group, &fill(&group, "fill-7", 7)), Err(RefusalCode::NonceTaken));
    // Whatever the orchestrator calls it.
    let cancels = SigningPackage { purpose: Purpose::Cancel, ..fill(&group, "fill-7", 7) };
    assert_eq!(decide(&group, &cancels), Err(RefusalCode::MalformedPackage));
    // Another nonce, and the same one of the same account elsewhere, are not in question.
    decide(&group, &fill(&group, "fill-8", 8)).unwrap();
    let elsewhere = filler(&group, OTHER, "fill-7", 7);
    let elsewhere = package(group.sign_intent(elsewhere.clone()), unsigned(&group, elsewhere, 7));
    decide(&group, &elsewhere).unwrap();
}

#[tokio::test]
async fn payment__should_not_be_signed_with_a_nonce_that_was_filled() {
    let group = group().await;
    let first = fill(&group, "fill-7", 7);
    remember(&group, &first);
    assert_eq!(decide(&group, &pay(&group, "invoice-1", 7)), Err(RefusalCode::NonceFilled));
    decide(&group, &pay(&group, "invoice-1", 8)).unwrap();

    // The same order may offer more, and a further one may, too: one of them is final at most, and none pays.
    let raised = replaced(&group, &first, Purpose::Pay, 100);
    decide(&group, &raised).unwrap();
    remember(&group, &raised);
    let cancelled = replaced(&group, &first, Purpose::Cancel, 100);
    assert_eq!(decide(&group, &cancelled), Err(RefusalCode::MalformedPackage), "there is nothing to cancel");
    let allowed = group.daemons[&0].cosigner.decide(&first).unwrap();
    assert!(!group.daemons[&0].cosigner.store.past(&allowed, None).unwrap().pays, "a filler is no payment");
    decide(&group, &fill(&group, "again-7", 7)).unwrap();
    let beyond = SigningPackage {
        intent: group
            .sign_intent(Intent { max_fee: Amount::from_u64(2 * FEE - 1), ..first.intent.intent.clone() }),
        ..raised
    };
    assert_eq!(decide(&group, &beyond), Err(RefusalCode::EffectsFee));
}

/// Under a governance log: no approvals and no verdict are asked for, but an initiator of the log is, and this party's people, and its limit.
mod governed {
    use super::*;
    use bursar_domain::{
        governance::{
            authorization::Authorization,
            change::Change,
            testing::{FOUNDED, TestDesk, key},
        },
        intent::InitiatorId,
    };
    use bursar_signer::{
        confirm::{Confirm, Confirmation, PaysNobody},
        control::Request,
        rules::FeesWithoutPayment,
    };

    struct Scene {
        group: Group,
        desk: TestDesk,
    }

    impl Scene {
        async fn new(confirm: Confirm, count: u32) -> Self {
            let mut desk = TestDesk::new(0);
            desk.publish(
                serde_json::from_str(
                    r#"{ "currency": "CHF", "priceMaxAgeSeconds": 60,
                    "screening": { "by": ["platform.screening"], "maxAgeSeconds": 3600 },
                    "rules": [
                        { "id": "listed", "when": { "destination": { "kind": "ANY_LISTED", "forAtLeastSeconds": 0 } }, "then": { "kind": "ALLOW" } },
                        { "id": "two", "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 2 }] } }
                    ] }"#,
                )
                .unwrap(),
            );
            let mut group = Group::with(2, 2, true, deadlines(), |rules| {
                rules.networks.insert(ETH);
                rules.assets.push(AssetRule {
                    asset: Asset::Eth,
                    max_amount: Amount::from_u64(1000),
                    max_fee: Amount::from_u64(4 * FEE),
                });
                rules.governance = Some(desk.pinned());
                rules.initiators.clear();
                rules.fees_without_payment =
                    FeesWithoutPayment { window_seconds: 3600, count, times_max_fee: 100 };
            })
            .await;
            group.clock.advance(FOUNDED.since(NOW).as_secs());
            group.confirm = confirm;
            for index in 0..2 {
                group.stop(index).await;
                group.start(index).await;
            }
            let scene = Self { group, desk };
            scene.teach();
            scene
        }

        fn teach(&self) {
            let entries = || self.desk.entries.iter().map(|(entry, _)| entry.clone()).collect();
            for daemon in self.group.daemons.values() {
                assert_eq!(daemon.cosigner.learn(entries()).unwrap().left, None);
            }
        }

        /// An order to use this nonce up, by somebody of the desk, without approvals or a verdict.
        fn fill(&self, nonce: u64, by: &str) -> SigningPackage {
            let intent = Intent {
                expires_at: FOUNDED.plus(Duration::from_secs(3600)),
                terms: Some(self.desk.terms()),
                ..filler(&self.group, ETH, &format!("fill-{nonce}"), nonce)
            };
            let unsigned = unsigned(&self.group, intent.clone(), nonce);
            let authorization = Some(Authorization::none(self.desk.state.head()));
            SigningPackage { authorization, ..package(key(by).order(intent), unsigned) }
        }

        fn open(&self) -> Vec<Confirmation> {
            let open = self.group.daemons[&0].cosigner.desk().handle(Request::Pending {}).unwrap();
            serde_json::from_value(open).unwrap()
        }

        fn answer(&self, request: impl Fn(String) -> Request, id: &str) {
            for daemon in self.group.daemons.values() {
                daemon.cosigner.desk().handle(request(id.to_owned())).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn filler__should_need_an_initiator_of_the_log_and_nobodys_approval() {
        let mut scene = Scene::new(Confirm::None, 10).await;
        let honest = scene.fill(7, "client.operator");
        decide(&scene.group, &honest).unwrap();
        let bare = SigningPackage { authorization: None, ..honest.clone() };
        assert_eq!(decide(&scene.group, &bare), Err(RefusalCode::AuthorizationMissing));
        for (by, code) in [
            ("client.approver", RefusalCode::InitiatorNotPermitted),
            ("platform.lead", RefusalCode::InitiatorNotPermitted),
        ] {
            assert_eq!(decide(&scene.group, &scene.fill(7, by)), Err(code), "{by}");
        }
        let stranger =
            SigningPackage { intent: key("nobody").order(honest.intent.intent.clone()), ..honest.clone() };
        assert_eq!(decide(&scene.group, &stranger), Err(RefusalCode::UnknownInitiator));
        scene.group.sign(&honest).await.unwrap();
        let user = key("client.operator").user;
        scene.desk.accept(Change::SuspendUser { user }, &["client.owner"]);
        scene.teach();
        let after = scene.fill(8, "client.operator");
        assert_eq!(decide(&scene.group, &after), Err(RefusalCode::InitiatorNotPermitted));
    }

    #[tokio::test]
    async fn filler__should_wait_for_a_person_who_is_told_that_it_pays_nobody() {
        let scene = Scene::new(Confirm::Person, 2).await;
        let first = scene.fill(7, "client.operator");
        for daemon in scene.group.daemons.values() {
            let refused = daemon.cosigner.decide(&first).unwrap_err();
            assert_eq!(refused.code, RefusalCode::AwaitingConfirmation);
        }
        let [asked] = &scene.open()[..] else { panic!("one question") };
        assert_eq!(
            (asked.pays_nobody.clone(), asked.payments.len()),
            (Some(PaysNobody::Fills { nonce: 7 }), 0)
        );
        assert_eq!(asked.initiator, InitiatorId::User { user: key("client.operator").user });
        assert_eq!(asked.user.as_ref().map(ToString::to_string).as_deref(), Some("client.operator"));
        assert!(asked.to_string().contains("uses up nonce 7"), "{asked}");
        // No more of them than could be signed anyway.
        let second = scene.fill(8, "client.operator");
        assert_eq!(decide(&scene.group, &second), Err(RefusalCode::AwaitingConfirmation));
        let third = scene.fill(9, "client.operator");
        assert_eq!(decide(&scene.group, &third), Err(RefusalCode::TooManyQuestions));
        let other = scene.fill(9, "manager.operator");
        assert_eq!(decide(&scene.group, &other), Err(RefusalCode::AwaitingConfirmation), "another initiator");
        let id = asked.id.to_string();
        scene.answer(|id| Request::Approve { id }, &id);
        scene.group.sign(&first).await.unwrap();
        assert_eq!(
            decide(&scene.group, &third),
            Err(RefusalCode::AwaitingConfirmation),
            "there is room again"
        );
        for daemon in scene.group.daemons.values() {
            let _ = daemon.cosigner.decide(&second);
        }
        let id = second.intent.intent.digest().to_string();
        scene.answer(|id| Request::Reject { id, reason: "what for".into() }, &id);
        assert_eq!(decide(&scene.group, &second), Err(RefusalCode::ConfirmationRejected));
    }

    #[tokio::test]
    async fn fillers__should_end_at_the_partys_limit_of_fees() {
        let scene = Scene::new(Confirm::None, 2).await;
        let fillers = [7, 8, 9].map(|nonce| scene.fill(nonce, "client.operator"));
        remember(&scene.group, &fillers[0]);
        remember(&scene.group, &fillers[1]);
        decide(&scene.group, &fillers[1]).unwrap();
        assert_eq!(decide(&scene.group, &fillers[2]), Err(RefusalCode::FeesWithoutPayment));
        scene.group.clock.advance(3599);
        let later = |nonce| {
            let mut order = scene.fill(nonce, "client.operator");
            let expires_at = FOUNDED.plus(Duration::from_secs(7000));
            let intent = Intent { expires_at, ..order.intent.intent.clone() };
            order.intent = key("client.operator").order(intent);
            order
        };
        assert_eq!(decide(&scene.group, &later(9)), Err(RefusalCode::FeesWithoutPayment));
        scene.group.clock.advance(2);
        decide(&scene.group, &later(9)).unwrap();
    }
}
