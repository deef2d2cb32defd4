//! Standard Webhooks with HMAC: `webhook-id`, `webhook-timestamp`, `webhook-signature` (standardwebhooks.com, version 1).

use super::{Callback, CallbackRefused};
use crate::secret::{Secret, hmac_sha256, hmac_verifies};
use base64ct::{Base64, Encoding as _};
use bursar_domain::time::Timestamp;
use std::time::Duration;
use zeroize::Zeroizing;

/// How far a message's time may be from ours.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The key itself, out of its text form `whsec_` and base64.
pub fn key(secret: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let text = secret.reveal();
    let text = text.strip_prefix("whsec_").unwrap_or(text);
    Base64::decode_vec(text).ok().map(Zeroizing::new)
}

/// The three headers for a message.
pub fn sign(key: &[u8], id: &str, at: Timestamp, body: &str) -> Vec<(&'static str, String)> {
    let seconds = at.micros().div_euclid(1_000_000).to_string();
    let mac = hmac_sha256(key, &[id.as_bytes(), b".", seconds.as_bytes(), b".", body.as_bytes()]);
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds),
        ("webhook-signature", format!("v1,{}", Base64::encode_string(&mac))),
    ]
}

/// Whether a message is of who has the key, and of now.
pub fn verify(key: &[u8], call: &Callback) -> Result<(), CallbackRefused> {
    let header = |name| call.header(name).ok_or(CallbackRefused::Unauthenticated);
    let (id, time, signatures) =
        (header("webhook-id")?, header("webhook-timestamp")?, header("webhook-signature")?);
    let signed = [id.as_bytes(), b".", time.as_bytes(), b".", call.body];
    let verified = signatures.split(' ').take(8).any(|signature| {
        let mac = signature.strip_prefix("v1,").and_then(|text| Base64::decode_vec(text).ok());
        mac.is_some_and(|mac| hmac_verifies(key, &signed, &mac))
    });
    if !verified {
        return Err(CallbackRefused::Unauthenticated);
    }
    let at = time.parse().map(Timestamp::from_secs).map_err(|_| CallbackRefused::Stale)?;
    let near = call.now.since(at) <= TOLERANCE && at.since(call.now) <= TOLERANCE;
    near.then_some(()).ok_or(CallbackRefused::Stale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderMap, HeaderName};

    fn headers(signed: &[(&'static str, String)]) -> HeaderMap {
        signed.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    /// The example of the specification's own libraries.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let key = key(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).unwrap();
        let at = Timestamp::from_secs(1_614_265_330);
        let body = r#"{"test": 2432232314}"#;
        let signed = sign(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body);
        assert_eq!(signed[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let headers = headers(&signed);
        let call = Callback { headers: &headers, body: body.as_bytes(), now: at };
        assert_eq!(verify(&key, &call), Ok(()));
        assert_eq!(verify(b"other", &call), Err(CallbackRefused::Unauthenticated));
        let other = Callback { body: b"{}", ..call };
        assert_eq!(verify(&key, &other), Err(CallbackRefused::Unauthenticated));
        let late = Callback { now: at.plus(Duration::from_secs(301)), ..call };
        assert_eq!(verify(&key, &late), Err(CallbackRefused::Stale));
        let mut twice = headers.clone();
        twice.append("webhook-id", "other".parse().unwrap());
        let twice = Callback { headers: &twice, ..call };
        assert_eq!(verify(&key, &twice), Err(CallbackRefused::Unauthenticated));
    }
}
