mod uses;

use super::*;
use crate::governance::{
    change::Change,
    testing::{Assertion, TestDesk, TestKey, TestPasskey, key},
};

const DIGEST: [u8; 32] = [42; 32];

/// A desk at which the client's owner has a passkey, too.
fn desk() -> (TestDesk, TestPasskey) {
    let mut desk = TestDesk::new(0);
    let passkey = TestPasskey::new("client.owner", "laptop");
    let change = Change::AddKey { user: passkey.user.clone(), key: passkey.public() };
    desk.accept(change, &["manager.owner", "platform.security"]);
    (desk, passkey)
}

#[test]
fn a_signature_tells_whose_it_is() {
    let (desk, passkey) = desk();
    for signature in [key("client.owner").sign(&DIGEST), passkey.sign(&DIGEST)] {
        let signer = signature.verify(desk.state.directory(), &DIGEST).unwrap();
        assert_eq!((&signer.user.id, &signer.key.id), (&signature.user, &signature.key));
        let json = serde_json::to_string(&signature).unwrap();
        assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), signature);
    }
}

#[test]
fn each_user_signs_once_and_what_is_there_stays() {
    let (first, second) = (TestKey::new("client.owner", "one"), TestKey::new("client.owner", "two"));
    let (first, second) = (first.sign(&DIGEST), second.sign(&DIGEST));
    let other = key("manager.owner").sign(&DIGEST);
    let mut signatures = Vec::new();
    assert!(!add_missing(&mut signatures, &[]));
    assert!(add_missing(&mut signatures, &[first.clone(), second.clone()]));
    assert!(!add_missing(&mut signatures, std::slice::from_ref(&second)));
    assert!(add_missing(&mut signatures, &[second, other.clone(), first.clone()]));
    assert_eq!(signatures, [first, other]);
}

#[test]
fn signatures_of_others_and_of_other_digests_are_refused() {
    let (desk, passkey) = desk();
    let verify = |signature: &Signature, digest: &[u8; 32]| {
        signature.verify(desk.state.directory(), digest).map(|_| ()).expect_err("must be refused")
    };
    let owner = key("client.owner");
    let (user, id) = (owner.user.clone(), owner.id.clone());
    let good = owner.sign(&DIGEST);
    assert_eq!(verify(&good, &[43; 32]), InvalidSignature::Ed25519 { user: user.clone(), key: id.clone() });
    let claimed = Signature { user: user.clone(), ..key("manager.owner").sign(&DIGEST) };
    assert_eq!(verify(&claimed, &DIGEST), InvalidSignature::Ed25519 { user: user.clone(), key: id.clone() });
    let stranger = TestKey::new("nobody", "main");
    assert_eq!(verify(&stranger.sign(&DIGEST), &DIGEST), InvalidSignature::UnknownUser(stranger.user));
    let other = TestKey::new("client.owner", "spare");
    let unknown = InvalidSignature::UnknownKey { user: user.clone(), key: other.id.clone() };
    assert_eq!(verify(&other.sign(&DIGEST), &DIGEST), unknown);
    let crossed = Signature { key: passkey.id.clone(), ..good };
    assert_eq!(verify(&crossed, &DIGEST), InvalidSignature::Kind { user: user.clone(), key: passkey.id });
    let crossed = Signature { key: id.clone(), ..TestPasskey::new("client.owner", "laptop").sign(&DIGEST) };
    assert_eq!(verify(&crossed, &DIGEST), InvalidSignature::Kind { user, key: id });
}

/// Each of the checks, by an assertion that is right but for one thing, and signed by the right key.
#[test]
fn each_check_of_a_passkey_fails_on_its_own() {
    let (desk, passkey) = desk();
    let verify = |signature: Signature| match signature.verify(desk.state.directory(), &DIGEST) {
        Ok(_) => None,
        Err(InvalidSignature::Passkey { source, .. }) => Some(source),
        Err(other) => panic!("{other}"),
    };
    let made = |change: fn(&mut Assertion)| {
        let mut assertion = Assertion::new(&DIGEST);
        change(&mut assertion);
        verify(passkey.sign_parts(assertion.authenticator_data(), assertion.client_data_json()))
    };
    let flag = |flags: u8| Assertion { flags, ..Assertion::new(&DIGEST) };
    let flagged = |flags: u8| {
        verify(passkey.sign_parts(flag(flags).authenticator_data(), flag(flags).client_data_json()))
    };
    assert_eq!(made(|_| ()), None);
    assert_eq!(made(|a| a.kind = "webauthn.create".into()), Some(InvalidAssertion::Type));
    assert_eq!(made(|a| a.challenge[31] ^= 1), Some(InvalidAssertion::Challenge));
    assert_eq!(made(|a| a.origin = "https://desk.example.evil".into()), Some(InvalidAssertion::Origin));
    assert_eq!(made(|a| a.cross_origin = true), Some(InvalidAssertion::CrossOrigin));
    assert_eq!(made(|a| a.rp_id = "evil".into()), Some(InvalidAssertion::RelyingParty));
    assert_eq!(flagged(0b100), Some(InvalidAssertion::UserPresent));
    assert_eq!(flagged(0b001), Some(InvalidAssertion::UserVerified));
    assert_eq!(flagged(0b10101), Some(InvalidAssertion::Backup));
    assert_eq!(flagged(0b11101), None);

    let parts = || (flag(5).authenticator_data(), flag(5).client_data_json());
    let (data, json) = parts();
    assert_eq!(
        verify(passkey.sign_parts(data[..36].to_vec(), json.clone())),
        Some(InvalidAssertion::AuthenticatorData)
    );
    let long = [data.clone(), vec![0; 1024]].concat();
    assert!(matches!(
        verify(passkey.sign_parts(long, json.clone())),
        Some(InvalidAssertion::TooLong { field: "authenticatorData", .. })
    ));
    let padded = format!("{json}{}", " ".repeat(4096));
    assert!(matches!(
        verify(passkey.sign_parts(data.clone(), padded)),
        Some(InvalidAssertion::TooLong { field: "clientDataJson", .. })
    ));
    let twice = json.replacen('{', r#"{"origin":"https://desk.example","#, 1);
    assert_eq!(verify(passkey.sign_parts(data.clone(), twice)), Some(InvalidAssertion::ClientData));
    let more = json.replacen('{', r#"{"other_keys_can_be_added_here":"do not compare","#, 1);
    assert_eq!(verify(passkey.sign_parts(data.clone(), more)), None);
    let standard = json.replace('_', "/").replace('-', "+").replacen("\",\"origin", "=\",\"origin", 1);
    assert_eq!(verify(passkey.sign_parts(data.clone(), standard)), Some(InvalidAssertion::Challenge));

    // Signed over one thing, shown with another.
    let good = passkey.sign_parts(data, json);
    let tampered = |change: fn(&mut Vec<u8>, &mut String, &mut Vec<u8>)| {
        let mut signature = good.clone();
        if let Evidence::Passkey { authenticator_data, client_data_json, signature } = &mut signature.evidence
        {
            change(authenticator_data, client_data_json, signature);
        }
        verify(signature)
    };
    assert_eq!(tampered(|data, _, _| data[36] ^= 1), Some(InvalidAssertion::Signature));
    assert_eq!(tampered(|_, json, _| json.push(' ')), Some(InvalidAssertion::Signature));
    assert_eq!(tampered(|_, _, der| der[0] ^= 1), Some(InvalidAssertion::Encoding));
    let other = TestPasskey::new("client.owner", "phone").sign(&DIGEST);
    assert_eq!(verify(Signature { key: good.key.clone(), ..other }), Some(InvalidAssertion::Signature));
}

/// For other implementations: docs/governance.md shows the same bytes.
#[test]
fn the_passkey_vector_is_stable() {
    let passkey = TestPasskey::new("client.owner", "laptop");
    let public = "02c44805d62309a77db934fb2656137210f0ae5d5d96acf88740db06c75b07e04a";
    assert_eq!(passkey.public().public().to_string(), public);
    let Evidence::Passkey { authenticator_data, client_data_json, signature } =
        passkey.sign(&DIGEST).evidence
    else {
        panic!("a passkey signs as one");
    };
    assert_eq!(
        client_data_json,
        r#"{"type":"webauthn.get","challenge":"KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio","origin":"https://desk.example","crossOrigin":false}"#
    );
    assert_eq!(
        hex::encode(authenticator_data),
        "5e4530b8666c514f9890065d044bee0d3b8855c6477b3c94129e61ef1aec5f9c0500000007"
    );
    assert_eq!(
        hex::encode(signature),
        "3044022055374f439ebf1a8f0770c9b354238d9448e9be65632f8e2af8141f0ad940952b02205606f0a2bb8172c720bd07844f9679c102e54545ea9006d49dbcbc665dd9bfb4"
    );
}
