use super::*;
use crate::{
    amount::Amount,
    asset::Asset,
    governance::{
        log::EntryDigest,
        testing::{FOUNDED, TestDesk, key},
        verdict::{NotScreened, Verdict},
    },
    ids::{DepositId, TransferId},
    intent::{Destination, Intent, IntentDigest, Payment, Proof, SignedIntent, Terms},
    network::Network,
    time::Timestamp,
    wallet::{WalletDescriptor, WalletKind},
};
use ed25519_dalek::Signer as _;
use std::time::Duration;
use uuid::Uuid;

const UUID: Uuid = Uuid::from_u128(7);

fn order() -> SignedIntent {
    let intent = Intent {
        external_id: "invoice-1".parse().unwrap(),
        wallet: WalletDescriptor::new("bitcoin:regtest".parse().unwrap(), WalletKind::P2tr, 0).unwrap(),
        asset: Asset::Btc,
        source: None,
        payments: ["bcrt1qa", "bcrt1qb"]
            .map(|address| Payment {
                destination: Destination { address: address.into(), tag: None },
                amount: Amount::from_u64(5),
            })
            .into(),
        max_fee: Amount::from_u64(10),
        expires_at: FOUNDED,
        fills: None,
        terms: None,
    };
    sign(intent)
}

fn sign(intent: Intent) -> SignedIntent {
    let key = key("client.operator");
    let signature = key.secret.sign(intent.canonical().as_bytes()).to_bytes();
    SignedIntent::by_key(intent, key.initiator(), signature)
}

/// A signature that is none.
fn spoil(order: &mut SignedIntent) {
    let Proof::Key { signature, .. } = &mut order.proof else { panic!("a bare key's order") };
    signature[0] ^= 1;
}

fn xrp() -> Network {
    Network::Xrp(0)
}

fn deposit() -> Inquiry {
    Inquiry::Deposit {
        deposit: DepositId::new(UUID),
        network: xrp(),
        asset: Asset::Xrp,
        tx_id: "AB".into(),
        index: 0,
        address: "rOurs".into(),
        from: vec!["rTheirs".into()],
        amount: Amount::from_u64(9),
    }
}

fn broadcast() -> Inquiry {
    let payee =
        Payee { address: "rTheirs".into(), tag: Some(0), asset: Asset::Xrp, amount: Amount::from_u64(9) };
    Inquiry::Broadcast {
        transfer: TransferId::new(UUID),
        intent: IntentDigest([7; 32]),
        network: xrp(),
        tx_id: "AB".into(),
        payments: vec![payee],
    }
}

fn address() -> Inquiry {
    Inquiry::Address { network: xrp(), address: "rTheirs".into() }
}

fn assessment() -> Assessment {
    Assessment {
        provider: "list".into(),
        risk: RiskBand::Low,
        sanctions: false,
        outcome: Screened::Clear,
        findings: Vec::new(),
        screened_at: FOUNDED,
        expires_at: FOUNDED.plus(Duration::from_secs(60)),
        reference: "case 1".into(),
    }
}

fn verdict(order: &SignedIntent, change: impl FnOnce(&mut Verdict)) -> SignedVerdict {
    let mut verdict = assessment().verdict(EntryDigest::NONE, order.intent.digest());
    change(&mut verdict);
    SignedVerdict { signature: key("platform.screening").sign(&verdict.digest()), verdict }
}

#[test]
fn inquiries_have_one_wire_form() {
    for (inquiry, kind) in [
        (Inquiry::outbound(order()), "OUTBOUND"),
        (broadcast(), "BROADCAST"),
        (deposit(), "DEPOSIT"),
        (address(), "ADDRESS"),
    ] {
        inquiry.validate().unwrap();
        let value = serde_json::to_value(&inquiry).unwrap();
        assert_eq!((value["kind"].as_str(), inquiry.kind()), (Some(kind), kind));
        assert_eq!(serde_json::from_value::<Inquiry>(value.clone()).unwrap(), inquiry);
        let mut unknown = value;
        unknown["more"] = serde_json::json!(1);
        assert!(serde_json::from_value::<Inquiry>(unknown).is_err(), "{kind}");
    }
    let wire = serde_json::to_value(address()).unwrap();
    assert_eq!(wire, serde_json::json!({ "kind": "ADDRESS", "network": "xrp:0", "address": "rTheirs" }));
}

#[test]
fn every_field_is_in_an_inquirys_digest() {
    let changes: [fn(&mut Inquiry); 8] = [
        |inquiry| {
            if let Inquiry::Deposit { deposit, .. } = inquiry {
                *deposit = DepositId::new(Uuid::from_u128(8));
            }
        },
        |inquiry| {
            if let Inquiry::Deposit { network, .. } = inquiry {
                *network = Network::Xrp(1);
            }
        },
        |inquiry| {
            if let Inquiry::Deposit { asset, .. } = inquiry {
                *asset = Asset::Eth;
            }
        },
        |inquiry| {
            if let Inquiry::Deposit { tx_id, .. } = inquiry {
                tx_id.push('x');
            }
        },
        |inquiry| {
            if let Inquiry::Deposit { index, .. } = inquiry {
                *index = 1;
            }
        },
        |inquiry| {
            if let Inquiry::Deposit { address, .. } = inquiry {
                address.push('x');
            }
        },
        |inquiry| {
            if let Inquiry::Deposit { from, .. } = inquiry {
                from.push("rOther".into());
            }
        },
        |inquiry| {
            if let Inquiry::Deposit { amount, .. } = inquiry {
                *amount = Amount::from_u64(8);
            }
        },
    ];
    let mut digests = std::collections::BTreeSet::from([deposit().digest()]);
    for (place, change) in changes.into_iter().enumerate() {
        let mut inquiry = deposit();
        change(&mut inquiry);
        assert!(digests.insert(inquiry.digest()), "change {place}");
    }
    for other in [broadcast(), address(), Inquiry::outbound(order())] {
        assert!(digests.insert(other.digest()));
    }
}

#[test]
fn external_ids_stay_for_a_round_and_differ_between_them() {
    let ids: std::collections::BTreeSet<String> = [(0, 0), (0, 1), (1, 0), (1, 1)]
        .map(|(round, part)| deposit().external_id(round, part))
        .into_iter()
        .chain([address().external_id(0, 0)])
        .collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| id.len() == 32));
    // Signed again, it is the same order.
    let mut again = order();
    spoil(&mut again);
    assert_eq!(Inquiry::outbound(again).external_id(0, 0), Inquiry::outbound(order()).external_id(0, 0));
}

#[test]
fn what_makes_no_sense_is_not_asked() {
    let mut forged = order();
    spoil(&mut forged);
    assert!(matches!(Inquiry::outbound(forged).validate(), Err(InvalidInquiry::Signature(_))));
    let mut changed = order();
    changed.intent.payments[0].amount = Amount::from_u64(6);
    assert!(matches!(Inquiry::outbound(changed).validate(), Err(InvalidInquiry::Signature(_))));
    let mut empty = order().intent;
    empty.payments.clear();
    assert!(matches!(Inquiry::outbound(sign(empty)).validate(), Err(InvalidInquiry::Intent(_))));
    // Whose signature it is at a governed desk, co-signers say; that it is given as that of whom it names is seen without the log.
    let desk = TestDesk::new(0);
    let terms: Option<Terms> = Some(desk.terms());
    let governed = key("nobody").order(Intent { terms: terms.clone(), ..order().intent });
    assert_eq!(Inquiry::outbound(governed.clone()).validate(), Ok(()));
    let signature = key("client.operator").sign(&governed.intent.digest().0);
    let anothers = SignedIntent::by_user(governed.intent, signature);
    assert!(matches!(Inquiry::outbound(anothers).validate(), Err(InvalidInquiry::Signature(_))));
    let mixed = sign(Intent { terms, ..order().intent });
    assert!(matches!(Inquiry::outbound(mixed).validate(), Err(InvalidInquiry::Signature(_))));
    let at = |address: &str| Inquiry::Address { network: xrp(), address: address.into() };
    for wrong in ["", "r\u{7}", &"r".repeat(101)] {
        let refused = at(wrong).validate();
        assert!(matches!(refused, Err(InvalidInquiry::Text { field: "address", .. })), "{wrong:?}");
    }
    let mut other = deposit();
    if let Inquiry::Deposit { asset, .. } = &mut other {
        *asset = Asset::Btc;
    }
    assert!(matches!(other.validate(), Err(InvalidInquiry::AssetOfOtherChain { .. })));
    let mut none = broadcast();
    if let Inquiry::Broadcast { payments, .. } = &mut none {
        payments.clear();
    }
    assert!(matches!(none.validate(), Err(InvalidInquiry::Count { field: "payments", .. })));
}

#[test]
fn an_answer_is_about_what_was_asked() {
    let (order, assessment) = (order(), assessment());
    let inquiry = Inquiry::outbound(order.clone());
    let complete = |verdict| Answer::Complete { assessment: assessment.clone(), verdict };
    let good = complete(Some(verdict(&order, |_| {})));
    assert_eq!(good.check(&inquiry), Ok(()));
    assert_eq!(complete(None).check(&inquiry), Err(InvalidAnswer::NoVerdict));
    assert_eq!(complete(None).check(&address()), Ok(()));
    assert_eq!(good.check(&address()), Err(InvalidAnswer::UnaskedVerdict));
    let other = complete(Some(verdict(&order, |verdict| verdict.intent = IntentDigest([0; 32]))));
    assert_eq!(other.check(&inquiry), Err(InvalidAnswer::OtherOrder));
    let changes: [fn(&mut Verdict); 7] = [
        |verdict| verdict.provider.push('x'),
        |verdict| verdict.risk = RiskBand::High,
        |verdict| verdict.sanctions = true,
        |verdict| verdict.outcome = Screened::Review,
        |verdict| verdict.screened_at.0 += 1,
        |verdict| verdict.expires_at.0 += 1,
        |verdict| verdict.reference.push('x'),
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let answer = complete(Some(verdict(&order, change)));
        assert_eq!(answer.check(&inquiry), Err(InvalidAnswer::Contradicts), "change {place}");
    }
    // What was written is what is read, and nothing unknown is.
    let value = serde_json::to_value(&good).unwrap();
    assert_eq!(serde_json::from_value::<Answer>(value.clone()).unwrap(), good);
    let mut unknown = value;
    unknown["assessment"]["more"] = serde_json::json!(1);
    assert!(serde_json::from_value::<Answer>(unknown).is_err());
    let pending = Answer::Pending { reference: "p".into(), retry_after: Duration::from_millis(1500) };
    let value = serde_json::to_value(&pending).unwrap();
    assert_eq!(value, serde_json::json!({ "status": "PENDING", "reference": "p", "retryAfterMillis": 1500 }));
    assert_eq!(serde_json::from_value::<Answer>(value).unwrap(), pending);
}

#[test]
fn answers_are_bounded() {
    let refused = |change: fn(&mut Assessment)| {
        let mut changed = assessment();
        change(&mut changed);
        Answer::Complete { assessment: changed, verdict: None }.check(&address()).unwrap_err()
    };
    assessment().check().unwrap();
    assert!(matches!(refused(|a| a.provider = "x".repeat(65)), InvalidAnswer::Text { .. }));
    assert!(matches!(refused(|a| a.reference = "a\nb".into()), InvalidAnswer::Text { .. }));
    assert_eq!(
        refused(|a| {
            let one = Finding { category: "x".into(), risk: RiskBand::Low, description: "x".into() };
            a.findings = vec![one; MAX_FINDINGS + 1];
        }),
        InvalidAnswer::TooManyFindings
    );
    assert_eq!(refused(|a| a.expires_at = a.screened_at), InvalidAnswer::Lifetime);
    let month = |a: &mut Assessment| a.expires_at = Timestamp(a.screened_at.plus(MAX_LIFETIME).0 + 1);
    assert_eq!(refused(month), InvalidAnswer::Lifetime);
    assert_eq!(refused(|a| a.sanctions = true), InvalidAnswer::SanctionsPass);
    let pending = Answer::Pending { reference: String::new(), retry_after: MAX_RETRY * 2 };
    assert_eq!(pending.check(&address()), Err(InvalidAnswer::RetryAfter));
}

fn alert() -> Alert {
    Alert {
        id: "provider:1".into(),
        subject: AlertSubject::Transfer(IntentDigest([7; 32])),
        risk: RiskBand::Severe,
        sanctions: true,
        description: "paid to a mixer".into(),
        raised_at: FOUNDED,
    }
}

#[test]
fn alerts_count_when_a_screening_service_signed_them() {
    let desk = TestDesk::new(0);
    let directory = desk.state.directory();
    let sign = |user: &str, alert: Alert| SignedAlert { signature: key(user).sign(&alert.digest()), alert };
    let named = ["platform.screening".parse().unwrap()].into();
    let signed = sign("platform.screening", alert());
    assert_eq!(signed.verify(directory, Some(&named)), Ok(()));
    assert_eq!(signed.verify(directory, None), Ok(()));
    let other = sign("client.service", alert());
    assert!(matches!(other.verify(directory, Some(&named)), Err(NotScreened::NotScreener(_))));
    for user in ["platform.officer", "client.owner"] {
        assert!(matches!(sign(user, alert()).verify(directory, None), Err(NotScreened::NotScreener(_))));
    }
    let changes: [fn(&mut Alert); 6] = [
        |alert| alert.id.push('x'),
        |alert| alert.subject = AlertSubject::Deposit(DepositId::new(UUID)),
        |alert| alert.risk = RiskBand::Low,
        |alert| alert.sanctions = false,
        |alert| alert.description.push('x'),
        |alert| alert.raised_at.0 += 1,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        let mut forged = signed.clone();
        change(&mut forged.alert);
        let refused = forged.verify(directory, None);
        assert!(matches!(refused, Err(NotScreened::Signature(_))), "change {place}");
    }
}

#[test]
fn alerts_have_one_wire_form_and_bounds() {
    let subjects = [
        (AlertSubject::Transfer(IntentDigest([7; 32])), "TRANSFER"),
        (AlertSubject::Deposit(DepositId::new(UUID)), "DEPOSIT"),
        (AlertSubject::Address { network: xrp(), address: "rTheirs".into() }, "ADDRESS"),
    ];
    for (subject, kind) in subjects {
        let alert = Alert { subject, ..alert() };
        alert.check().unwrap();
        let value = serde_json::to_value(&alert).unwrap();
        assert_eq!(value["subject"]["kind"], kind);
        assert_eq!(serde_json::from_value::<Alert>(value).unwrap(), alert);
    }
    assert!(Alert { id: String::new(), ..alert() }.check().is_err());
    assert!(Alert { description: "x".repeat(MAX_TEXT + 1), ..alert() }.check().is_err());
    let signed = SignedAlert { signature: key("platform.screening").sign(&[0; 32]), alert: alert() };
    let page = AlertPage { alerts: vec![signed; MAX_ALERTS + 1], next: None };
    assert_eq!(page.check(), Err(InvalidAlert::TooMany));
    assert!(AlertPage { alerts: Vec::new(), next: Some("x".repeat(101)) }.check().is_err());
}

#[test]
fn only_silence_and_outages_are_asked_again_soon() {
    let text = || "x".to_owned();
    let all = [
        (Unanswered::Timeout, "TIMEOUT", true),
        (Unanswered::Unavailable(text()), "UNAVAILABLE", true),
        (Unanswered::Unsupported(text()), "UNSUPPORTED", false),
        (Unanswered::Unknown(text()), "UNKNOWN", false),
        (Unanswered::Malformed(text()), "MALFORMED", false),
        (Unanswered::Refused(text()), "REFUSED", false),
    ];
    for (unanswered, code, transient) in all {
        assert_eq!((unanswered.code(), unanswered.is_transient()), (code, transient));
        let value = serde_json::to_value(&unanswered).unwrap();
        assert_eq!(value["code"], code);
        assert_eq!(serde_json::from_value::<Unanswered>(value).unwrap(), unanswered);
    }
}
