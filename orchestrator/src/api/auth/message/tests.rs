use super::*;
use axum::http::HeaderValue;

/// RFC 9421, appendices B.1.4 and B.2.6.
const RFC_KEY: &str = "26b40b8f93fff3d897112f7ebc582b232dbd72517d082fe83cfb30ddce43d1bb";
const RFC_SIGNATURE: &str =
    "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==";
const RFC_PARAMETERS: &str = r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn the_example_of_the_standard_verifies() {
    let headers = headers(&[
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ]);
    let target = Target {
        method: "POST",
        path: "/foo",
        query: Some("param=Value&Pet=dog"),
        authority: Some("example.com"),
        headers: &headers,
    };
    let components = ["date", "@method", "@path", "@authority", "content-type", "content-length"];
    let components: Vec<_> = components.into_iter().map(str::to_owned).collect();
    let base = base(&target, &components, RFC_PARAMETERS).unwrap();
    let mut key = [0; 32];
    hex::decode_to_slice(RFC_KEY, &mut key).unwrap();
    let signature = Base64::decode_vec(RFC_SIGNATURE).unwrap().try_into().unwrap();
    let signed = Signed {
        components,
        parameters: RFC_PARAMETERS.into(),
        created: Timestamp(0),
        expires: Timestamp(1),
        nonce: String::new(),
        key,
        signature,
    };
    assert!(signed.verifies(&base));
    assert!(!signed.verifies(&base[1..]));
}

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const BODY: &[u8] = br#"{"a":1}"#;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A signed POST, as its receiver has it.
struct Request {
    method: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    authority: &'static str,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Request {
    fn signed() -> Self {
        let mut request = Self {
            method: "POST",
            path: "/v1/transfers",
            query: Some("a=b"),
            authority: "desk.example",
            headers: headers(&[("content-type", "application/json"), ("idempotency-key", "k-1")]),
            body: BODY.to_vec(),
        };
        for (name, value) in sign(&key(), &request.target(), BODY, NOW, [9; 16]).unwrap() {
            request.headers.append(name, value.parse().unwrap());
        }
        request
    }
    fn target(&self) -> Target<'_> {
        Target {
            method: self.method,
            path: self.path,
            query: self.query,
            authority: Some(self.authority),
            headers: &self.headers,
        }
    }
    /// `Ok(false)`: well formed, and not the key's signature.
    fn check(&self, now: Timestamp) -> Result<bool, Malformed> {
        let signed = Signed::read(&self.headers)?;
        signed.check_coverage(&self.headers, true)?;
        signed.check_time(now)?;
        let base = signed.base(&self.target())?;
        let verifies = signed.verifies(&base);
        signed.check_body(&self.headers, &self.body)?;
        assert_eq!(signed.key, key().verifying_key().to_bytes());
        Ok(verifies)
    }
    fn with_input(mut self, change: impl Fn(&str) -> String) -> Self {
        let input = self.headers.get(&INPUT).unwrap().to_str().unwrap().to_owned();
        self.headers.insert(&INPUT, change(&input).parse().unwrap());
        self
    }
}

#[test]
fn what_the_client_signs_the_server_verifies() {
    assert_eq!(Request::signed().check(NOW), Ok(true));
    let reading = Request {
        method: "GET",
        query: None,
        body: Vec::new(),
        headers: HeaderMap::new(),
        ..Request::signed()
    };
    let mut request = reading;
    for (name, value) in sign(&key(), &request.target(), b"", NOW, [1; 16]).unwrap() {
        request.headers.append(name, value.parse().unwrap());
    }
    assert_eq!(request.check(NOW), Ok(true));
}

#[test]
fn nothing_that_is_covered_can_be_changed() {
    let changed = |change: fn(&mut Request)| {
        let mut request = Request::signed();
        change(&mut request);
        request.check(NOW)
    };
    assert_eq!(changed(|request| request.method = "PUT"), Ok(false));
    assert_eq!(changed(|request| request.path = "/v1/fills"), Ok(false));
    assert_eq!(changed(|request| request.query = Some("a=c")), Ok(false));
    assert_eq!(changed(|request| request.query = None), Ok(false));
    assert_eq!(changed(|request| request.authority = "other.example"), Ok(false));
    assert_eq!(changed(|request| request.body = b"{}".to_vec()), Err(Malformed::Digest));
    assert_eq!(changed(|request| request.body = Vec::new()), Err(Malformed::Digest));
    let other = |name: &'static str, value: &'static str| {
        let mut request = Request::signed();
        request.headers.insert(name, HeaderValue::from_static(value));
        request.check(NOW)
    };
    assert_eq!(other("idempotency-key", "k-2"), Ok(false));
    assert_eq!(other("content-type", "text/plain"), Ok(false));
    let digest = format!("sha-256=:{}:", Base64::encode_string(&Sha256::digest(b"{}")));
    let mut request = Request { body: b"{}".to_vec(), ..Request::signed() };
    request.headers.insert(&DIGEST, digest.parse().unwrap());
    assert_eq!(request.check(NOW), Ok(false), "the digest itself is covered");
    for (from, to) in [("created=1800000000", "created=1800000001"), ("nonce=\"09", "nonce=\"08")] {
        assert_eq!(
            Request::signed().with_input(|input| input.replace(from, to)).check(NOW),
            Ok(false),
            "{to}"
        );
    }
}

#[test]
fn a_signature_is_good_for_a_minute() {
    let at = |seconds: i64| Request::signed().check(Timestamp(NOW.micros() + seconds * 1_000_000));
    assert_eq!(at(59), Ok(true));
    assert_eq!(at(-60), Ok(true));
    for outside in [60, 61, -61, 3600, -3600, i64::from(i32::MIN)] {
        assert_eq!(at(outside), Err(Malformed::Clock), "{outside}");
    }
    let signed = Signed::read(&Request::signed().headers).unwrap();
    assert!(
        signed.check_time(signed.forgotten_at()).is_err(),
        "its nonce is remembered for as long as it is good"
    );
}

#[test]
fn what_is_not_of_the_form_is_named() {
    let refused =
        |from: &str, to: &str| Request::signed().with_input(|input| input.replace(from, to)).check(NOW);
    let components =
        r#"("@method" "@authority" "@path" "@query" "content-digest" "content-type" "idempotency-key")"#;
    for (from, to, why) in [
        (components, "1", Malformed::Input),
        (components, "(1)", Malformed::Component),
        ("\"@query\" ", "", Malformed::Uncovered),
        ("\"@authority\" ", "", Malformed::AuthorityUncovered),
        (" \"idempotency-key\"", "", Malformed::IdempotencyUncovered),
        (" \"content-digest\"", "", Malformed::Digest),
        ("\"@method\"", "\"@method\" \"@method\"", Malformed::Component),
        ("\"@method\"", "\"@target-uri\"", Malformed::Component),
        ("\"@method\"", "\"@method\";req", Malformed::Component),
        ("\"@method\"", "\"signature\"", Malformed::Component),
        ("\"content-type\"", "\"x-absent\"", Malformed::Absent),
        ("created=1800000000", "created=\"x\"", Malformed::Times),
        ("created=1800000000;", "", Malformed::Times),
        ("expires=1800000060", "expires=1800000000", Malformed::Times),
        ("expires=1800000060;", "", Malformed::Times),
        ("nonce=\"09090909090909090909090909090909\"", "nonce=\"short\"", Malformed::Nonce),
        ("alg=\"ed25519\"", "alg=\"hmac-sha256\"", Malformed::Key),
        ("keyid=\"", "keyid=\"zz", Malformed::Key),
        ("tag=\"bursar\"", "tag=\"other\"", Malformed::Tag),
        ("bursar=(", "a=(), bursar=(", Malformed::Input),
        ("bursar=(", "other=(", Malformed::Signature),
        ("bursar=(", "bursar=((", Malformed::Input),
    ] {
        assert_eq!(refused(from, to), Err(why), "{from} -> {to}");
    }
    let mut none = Request::signed();
    none.headers.remove(&SIGNATURE);
    assert_eq!(none.check(NOW), Err(Malformed::Signature));
    let mut short = Request::signed();
    short.headers.insert(&SIGNATURE, HeaderValue::from_static("bursar=:AAAA:"));
    assert_eq!(short.check(NOW), Err(Malformed::Signature));
}
