//! Each kind of document, and a login, by keys that are for one thing only.

use super::*;
use crate::{
    amount::Amount,
    asset::Asset,
    governance::{
        approval::{Approval, ApprovalPayload, Ballot, Vote},
        authorization::verify_order,
        directory::UserId,
        freeze::Scope,
        log::Entry,
        policy::RiskBand,
        quote::{Quote, QuoteCheck, SignedQuote},
        testing,
        verdict::{
            Bar, Disposition, DispositionAction, DispositionCheck, Exhibit, Rejection, Release, Screened,
            ScreeningCheck, SignedDisposition, SignedRejection, SignedRelease, SignedVerdict, Verdict,
            VerdictDigest,
        },
    },
    ids::DepositId,
    intent::{Destination, Intent, Payment, SignedIntent},
    recall::{self, RecallSignature, SignedRecall},
    screening::{Alert, AlertSubject, SignedAlert},
    time::Timestamp,
};

const POLICY: &str = r#"{
    "currency": "CHF", "priceMaxAgeSeconds": 3600, "prices": { "by": ["platform.screening"] },
    "screening": { "by": ["platform.screening"], "maxAgeSeconds": 3600 },
    "rules": [{ "id": "allow", "then": { "kind": "ALLOW" } }]
}"#;

/// How a user signs in one round of a test.
type Sign<'s> = &'s dyn Fn(&str, &[u8; 32]) -> Signature;

/// Everybody has a key, and a passkey at the desk's page, for access only, and the same for documents only.
fn desk() -> TestDesk {
    let mut genesis = testing::genesis(testing::rules(0));
    for user in &mut genesis.users {
        let id = user.id.to_string();
        for (name, one) in [("badge", KeyUse::Access), ("pen", KeyUse::Documents)] {
            user.keys.push(TestKey::new(&id, name).only(one).public());
            let mut passkey = TestPasskey::new(&id, name).only(one);
            passkey.id = format!("{name}.passkey").parse().unwrap();
            user.keys.push(passkey.public());
        }
    }
    let mut desk = TestDesk::found(genesis);
    desk.publish(serde_json::from_str(POLICY).unwrap());
    desk
}

/// By the user's Ed25519 key of this name, or by their passkey.
fn signing(name: &'static str, by_passkey: bool) -> impl Fn(&str, &[u8; 32]) -> Signature {
    move |user, digest| {
        if by_passkey {
            let key = format!("{name}.passkey").parse().unwrap();
            Signature { key, ..TestPasskey::new(user, name).sign(digest) }
        } else {
            TestKey::new(user, name).sign(digest)
        }
    }
}

fn order(desk: &TestDesk, sign: Sign<'_>) -> SignedIntent {
    let payment = |n: u64| Payment {
        destination: Destination { address: format!("bcrt1q{n}"), tag: None },
        amount: Amount::from_u64(n),
    };
    let intent = Intent {
        external_id: "invoice-1".parse().unwrap(),
        wallet: "bitcoin:regtest/p2tr/0".parse().unwrap(),
        asset: Asset::Btc,
        source: None,
        payments: vec![payment(1), payment(2)],
        max_fee: Amount::from_u64(9),
        expires_at: later(desk),
        fills: None,
        terms: Some(desk.terms()),
    };
    let signature = sign("client.operator", &intent.digest().0);
    SignedIntent::by_user(intent, signature)
}

fn later(desk: &TestDesk) -> Timestamp {
    desk.now.plus(std::time::Duration::from_secs(600))
}

fn verdict(desk: &TestDesk) -> Verdict {
    Verdict {
        genesis: desk.pinned(),
        intent: order(desk, &signing("pen", false)).intent.digest(),
        provider: "list".into(),
        risk: RiskBand::Medium,
        sanctions: false,
        outcome: Screened::Review,
        screened_at: desk.now,
        expires_at: later(desk),
        reference: String::new(),
    }
}

fn evidence() -> Vec<Exhibit> {
    vec![Exhibit::Record { uri: "urn:bursar:case:1".into() }]
}

/// What it says of the document if that does not count.
type Check = fn(&TestDesk, Sign<'_>) -> Result<(), String>;

fn told<T>(result: Result<T, impl std::fmt::Display>) -> Result<(), String> {
    result.map(drop).map_err(|error| error.to_string())
}

const KINDS: [(&str, Check); 10] = [
    ("entry of the log", |desk, sign| {
        let freeze = Change::Freeze { scope: Scope::All {}, reason: "drill".into() };
        let document = serde_json::to_string(&desk.document("platform.officer", freeze)).unwrap();
        let signatures = vec![sign("platform.officer", &Entry::digest_of(&document).0)];
        told(desk.state.check(&Entry { document, signatures }, desk.now))
    }),
    ("order", |desk, sign| told(verify_order(&desk.state, &order(desk, sign)))),
    ("recall", |desk, sign| {
        let order = order(desk, &signing("pen", false));
        let signature = sign("client.operator", &recall::canonical(order.intent.digest(), 1).digest());
        let recall = SignedRecall { payment: 1, signature: RecallSignature::User(signature) };
        told(recall::remaining(&order, &[recall], Some(desk.state.directory())))
    }),
    ("vote", |desk, sign| {
        let (policy, head) = (desk.state.policy().unwrap().version, desk.state.head());
        let (intent, given_at) = (verdict(desk).intent, desk.now);
        let payload =
            ApprovalPayload { intent, policy, head, vote: Vote::Approve, given_at, expires_at: later(desk) };
        let approval = Approval { signature: sign("client.approver", &payload.digest()), payload };
        let initiator: UserId = "client.operator".parse().unwrap();
        let (submitted_at, now) = (desk.now, desk.now);
        let ballot = Ballot { state: &desk.state, policy, intent, initiator: &initiator, submitted_at, now };
        told(ballot.check(&approval))
    }),
    ("verdict", |desk, sign| {
        let verdict = verdict(desk);
        let signed = SignedVerdict { signature: sign("platform.screening", &verdict.digest()), verdict };
        told(signed.verify(desk.state.directory(), &["platform.screening".parse().unwrap()].into()))
    }),
    ("alert", |desk, sign| {
        let alert = Alert {
            id: "provider:1".into(),
            subject: AlertSubject::Transfer(verdict(desk).intent),
            risk: RiskBand::Severe,
            sanctions: true,
            description: "paid to a mixer".into(),
            raised_at: desk.now,
        };
        let signed = SignedAlert { signature: sign("platform.screening", &alert.digest()), alert };
        told(signed.verify(desk.state.directory(), None))
    }),
    ("price", |desk, sign| {
        let quote = Quote {
            genesis: desk.pinned(),
            asset: Asset::Xrp,
            decimals: 6,
            currency: "CHF".parse().unwrap(),
            price: "2.5".parse().unwrap(),
            quoted_at: desk.now,
            expires_at: later(desk),
        };
        let signed = SignedQuote { signature: sign("platform.screening", &quote.digest()), quote };
        let (genesis, policy) = (desk.pinned(), &desk.state.policy().unwrap().policy);
        let check = QuoteCheck { directory: desk.state.directory(), genesis, policy, now: desk.now };
        told(signed.price(Asset::Xrp, &check))
    }),
    ("release", |desk, sign| {
        let held = verdict(desk);
        let release = Release {
            genesis: desk.pinned(),
            intent: held.intent,
            verdict: Some(VerdictDigest(held.digest())),
            reason: "known payee".into(),
            evidence: evidence(),
            released_at: desk.now,
            expires_at: later(desk),
        };
        let signatures =
            ["platform.officer", "platform.lead"].map(|user| sign(user, &release.digest())).into();
        let initiator = "client.operator".parse().unwrap();
        let check = ScreeningCheck {
            directory: desk.state.directory(),
            genesis: desk.pinned(),
            intent: held.intent,
            initiator: &initiator,
            screening: desk.state.policy().unwrap().policy.screening.as_ref().unwrap(),
            now: desk.now,
        };
        told(SignedRelease { release, signatures }.releases(&check, &held))
    }),
    ("rejection", |desk, sign| {
        let (genesis, intent, now) = (desk.pinned(), verdict(desk).intent, desk.now);
        let rejection = Rejection { genesis, intent, reason: "paid to a mixer".into(), rejected_at: now };
        let signature = sign("platform.officer", &rejection.digest());
        told(SignedRejection { rejection, signature }.verify(desk.state.directory(), genesis, intent, now))
    }),
    ("disposition", |desk, sign| {
        let (genesis, deposit) = (desk.pinned(), DepositId::new(uuid::Uuid::from_u128(7)));
        let disposition = Disposition {
            genesis,
            deposit,
            action: DispositionAction::Release,
            reason: "known sender".into(),
            evidence: evidence(),
            decided_at: desk.now,
        };
        let signatures =
            ["platform.officer", "platform.lead"].map(|user| sign(user, &disposition.digest())).into();
        let (directory, since, now) = (desk.state.directory(), desk.now, desk.now);
        let check = DispositionCheck { directory, genesis, deposit, since, bar: Bar::None, now };
        told(SignedDisposition { disposition, signatures }.verify(&check))
    }),
];

#[test]
fn no_document_is_signed_by_a_key_that_is_for_access() {
    let desk = desk();
    for (kind, check) in KINDS {
        for by_passkey in [false, true] {
            assert_eq!(check(&desk, &signing("pen", by_passkey)), Ok(()), "{kind}");
            let refused = check(&desk, &signing("badge", by_passkey)).unwrap_err();
            assert!(refused.contains("is not for DOCUMENTS"), "{kind}: {refused}");
        }
        assert_eq!(check(&desk, &|user, digest| key(user).sign(digest)), Ok(()), "{kind}: by a key for both");
    }
}

#[test]
fn a_login_takes_a_key_that_is_for_access() {
    let desk = desk();
    let login = |signature: Signature| {
        signature.verify_login(desk.state.directory(), &DIGEST).map(|signer| signer.key.id.to_string())
    };
    for by_passkey in [false, true] {
        login(signing("badge", by_passkey)("client.owner", &DIGEST)).unwrap();
        let signature = signing("pen", by_passkey)("client.owner", &DIGEST);
        let (user, key, wanted) = (signature.user.clone(), signature.key.clone(), KeyUse::Access);
        assert_eq!(login(signature), Err(InvalidSignature::Use { user, key, wanted }));
    }
    assert_eq!(login(key("client.owner").sign(&DIGEST)), Ok("main".into()));
}

/// What whoever serves the page gets from those who log in there, and what it would have to get.
#[test]
fn a_page_gets_no_document_from_passkeys_of_another_site() {
    let mut genesis = testing::genesis(testing::rules(0));
    genesis.separate_passkeys = true;
    let login = TestPasskey::new("client.operator", "login").only(KeyUse::Access);
    let pen = TestPasskey::new("client.operator", "pen").only(KeyUse::Documents).at("own.example");
    let operator = genesis.users.iter_mut().find(|user| user.id == pen.user).unwrap();
    operator.keys.extend([login.public(), pen.public()]);
    let desk = TestDesk::found(genesis);
    let verify = |signature: &Signature| signature.verify(desk.state.directory(), &DIGEST).map(drop);
    assert_eq!(verify(&pen.sign(&DIGEST)), Ok(()));

    let refused = verify(&login.sign(&DIGEST)).unwrap_err();
    assert!(matches!(refused, InvalidSignature::Use { wanted: KeyUse::Documents, .. }), "{refused}");
    // It asks for the other one: a browser says where it was asked, and for which relying party.
    let asked = |rp_id: &str| {
        let assertion = Assertion { rp_id: rp_id.into(), ..Assertion::new(&DIGEST) };
        verify(&pen.sign_parts(assertion.authenticator_data(), assertion.client_data_json()))
    };
    for rp_id in ["desk.example", "own.example"] {
        let refused = asked(rp_id).unwrap_err();
        let origin = InvalidAssertion::Origin;
        assert!(matches!(refused, InvalidSignature::Passkey { source, .. } if source == origin), "{refused}");
    }
}
