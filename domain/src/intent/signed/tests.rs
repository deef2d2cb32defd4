use super::*;
use crate::{
    amount::Amount,
    asset::Asset,
    governance::{
        change::Change,
        log::Head,
        signature::Evidence,
        testing::{TestDesk, TestKey, TestPasskey, key},
    },
    intent::{Destination, Payment},
    time::Timestamp,
};
use ed25519_dalek::Signer as _;

fn intent(terms: Option<Terms>) -> Intent {
    let destination = Destination { address: "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE".into(), tag: None };
    Intent {
        external_id: "invoice-1".parse().unwrap(),
        wallet: "xrp:0/xrp-ed25519/0".parse().unwrap(),
        asset: Asset::Xrp,
        source: None,
        payments: vec![Payment { destination, amount: Amount::from_u64(5) }],
        max_fee: Amount::from_u64(10),
        expires_at: Timestamp::from_secs(1_798_761_600),
        fills: None,
        terms,
    }
}

fn terms(desk: &TestDesk) -> Terms {
    Terms { desk: desk.pinned(), policy: desk.state.head(), initiator: key("client.operator").user }
}

/// A desk whose operator has a passkey besides.
fn desk() -> (TestDesk, TestPasskey) {
    let mut desk = TestDesk::new(0);
    let passkey = TestPasskey::new("client.operator", "laptop");
    let change = Change::AddKey { user: passkey.user.clone(), key: passkey.public() };
    desk.accept(change, &["client.owner", "manager.security"]);
    (desk, passkey)
}

fn bare(key: &TestKey, intent: Intent) -> SignedIntent {
    let signature = key.secret.sign(intent.canonical().as_bytes()).to_bytes();
    SignedIntent::by_key(intent, key.initiator(), signature)
}

#[test]
fn users_sign_with_either_kind_of_key_and_a_removed_or_suspended_one_proves_nothing() {
    let (mut desk, passkey) = desk();
    let order = intent(Some(terms(&desk)));
    let operator = key("client.operator");
    let signed = [operator.sign(&order.digest().0), passkey.sign(&order.digest().0)];
    let [by_key, by_passkey] = signed.map(|signature| SignedIntent::by_user(order.clone(), signature));
    for signed in [&by_key, &by_passkey] {
        let signer = signed.verify_user(desk.state.directory()).unwrap();
        assert_eq!(signer.user.id, operator.user);
        assert_eq!(signed.user(desk.state.directory()).unwrap().id, operator.user);
        assert_eq!(signed.initiator(), InitiatorId::User { user: operator.user.clone() });
        let mut moved = signed.clone();
        moved.intent.payments[0].amount = Amount::from_u64(6);
        assert!(moved.verify_user(desk.state.directory()).is_err());
        let mut elsewhere = signed.clone();
        elsewhere.intent.terms = Some(Terms { policy: Head { seq: 7, ..desk.state.head() }, ..terms(&desk) });
        assert!(elsewhere.verify_user(desk.state.directory()).is_err());
        // Without a log there is nothing to verify it by.
        assert_eq!(signed.verify_key(), Err(InvalidInitiatorSignature::NotGoverned));
    }
    let (user, id) = (passkey.user.clone(), passkey.id.clone());
    desk.accept(Change::RemoveKey { user: user.clone(), key: id }, &["manager.security"]);
    by_key.verify_user(desk.state.directory()).unwrap();
    let unknown = by_passkey.verify_user(desk.state.directory()).unwrap_err();
    assert!(matches!(unknown, InvalidInitiatorSignature::User(InvalidSignature::UnknownKey { .. })));
    desk.accept(Change::SuspendUser { user }, &["manager.security"]);
    let suspended = by_key.verify_user(desk.state.directory()).unwrap_err();
    assert!(matches!(suspended, InvalidInitiatorSignature::User(InvalidSignature::Suspended(_))));
}

/// Approvals are over the digest, which says whose order they approve.
#[test]
fn an_order_is_whose_it_says_whoever_signs_it() {
    let (desk, passkey) = desk();
    let directory = desk.state.directory();
    let (mine, theirs) = (key("client.operator"), key("manager.operator"));
    let order = intent(Some(terms(&desk)));
    let others = SignedIntent::by_user(order.clone(), theirs.sign(&order.digest().0));
    let refused = others.verify_user(directory).unwrap_err();
    assert_eq!(
        refused,
        InvalidInitiatorSignature::OtherUser { named: mine.user.clone(), signed: theirs.user.clone() }
    );
    assert!(refused.to_string().starts_with("terms.initiator: "), "{refused}");
    assert_eq!(others.by_whom_it_names().unwrap_err(), refused);
    assert_eq!(others.initiator(), InitiatorId::User { user: mine.user.clone() });
    assert_eq!(others.user(directory).unwrap().id, mine.user);

    // Under their own name it is another order.
    let own = theirs.order(order.clone());
    own.verify_user(directory).unwrap();
    assert_eq!(own.initiator(), InitiatorId::User { user: theirs.user.clone() });
    assert_ne!(own.intent.digest(), order.digest());
    // Nor is what one signed another's for their name.
    let signature = Signature { user: theirs.user, ..passkey.sign(&own.intent.digest().0) };
    assert!(SignedIntent::by_user(own.intent, signature).verify_user(directory).is_err());
}

#[test]
fn an_order_is_of_one_kind_and_neither_is_taken_for_the_other() {
    let (desk, _) = desk();
    let operator = key("client.operator");
    let (plain, governed) = (intent(None), intent(Some(terms(&desk))));
    let directory = desk.state.directory();

    let v1 = bare(&operator, plain.clone());
    assert_eq!(v1.verify_key(), Ok(operator.initiator()));
    assert_eq!(v1.verify_user(directory).unwrap_err(), InvalidInitiatorSignature::NoTerms);
    assert_eq!(v1.user(directory).unwrap().id, operator.user, "orders of before are still somebody's");

    // Properly signed, and still neither.
    let with_terms = bare(&operator, governed.clone());
    assert_eq!(with_terms.verify_key(), Err(InvalidInitiatorSignature::BareKey));
    assert_eq!(with_terms.verify_user(directory).unwrap_err(), InvalidInitiatorSignature::BareKey);
    let without = SignedIntent::by_user(plain.clone(), operator.sign(&plain.digest().0));
    assert_eq!(without.verify_user(directory).unwrap_err(), InvalidInitiatorSignature::NoTerms);
    for mixed in [with_terms, without] {
        let text = serde_json::to_string(&mixed).unwrap();
        assert!(serde_json::from_str::<SignedIntent>(&text).is_err(), "{text}");
    }
    // A bare signature over the encoding is none over its digest.
    let evidence =
        Evidence::Ed25519 { signature: operator.secret.sign(governed.canonical().as_bytes()).to_bytes() };
    let signature = Signature { evidence, ..operator.sign(&governed.digest().0) };
    assert!(SignedIntent::by_user(governed, signature).verify_user(directory).is_err());
}

/// What co-signers and databases have of before reads and is written as it was.
#[test]
fn the_form_of_an_order_without_terms_has_not_changed() {
    let signed = SignedIntent::by_key(intent(None), InitiatorKey([1; 32]), [2; 64]);
    let json = serde_json::to_value(&signed).unwrap();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names, ["initiator", "intent", "signature"]);
    assert_eq!(json["initiator"], "01".repeat(32));
    assert_eq!(json["signature"], "02".repeat(64));
    assert_eq!(serde_json::from_value::<SignedIntent>(json).unwrap(), signed);
    let text = serde_json::to_string(&signed).unwrap();
    assert!(text.starts_with(r#"{"intent":{"#) && text.contains(r#","initiator":"01"#), "{text}");

    let (desk, passkey) = desk();
    let order = intent(Some(terms(&desk)));
    for signature in [key("client.operator").sign(&order.digest().0), passkey.sign(&order.digest().0)] {
        let signed = SignedIntent::by_user(order.clone(), signature);
        let json = serde_json::to_value(&signed).unwrap();
        assert_eq!(json["signature"]["user"], "client.operator");
        assert!(json.get("initiator").is_none());
        assert_eq!(serde_json::from_value::<SignedIntent>(json).unwrap(), signed);
    }
    // Who initiated: a key is text, a user an object, so that a user named like a key is none.
    let user: UserId = "01".repeat(32).parse().unwrap();
    let ids = [InitiatorId::Key(InitiatorKey([1; 32])), InitiatorId::User { user }];
    for id in &ids {
        let json = serde_json::to_value(id).unwrap();
        assert_eq!(serde_json::from_value::<InitiatorId>(json).unwrap(), *id);
    }
    assert_ne!(serde_json::to_value(&ids[0]).unwrap(), serde_json::to_value(&ids[1]).unwrap());
}
