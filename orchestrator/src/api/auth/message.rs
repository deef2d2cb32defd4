//! HTTP Message Signatures (RFC 9421), in the one form that this API takes and its client makes.
//!
//! One Ed25519 signature, whose `keyid` is the public key in hex. It covers `@method`, `@path`, `@query` and, where there is a body,
//! `content-digest` (RFC 9530, SHA-256); an `Idempotency-Key` if there is one; `@authority` where the installation asks for it; and whatever
//! other header fields the signer likes. Its parameters say when it was made (`created`), when it ends (`expires`), and a `nonce`.
//!
//! A signature base begins with a quotation mark and is longer than 32 bytes, so it is neither the digest of a governance entry or an
//! approval (32 bytes) nor the encoding of an intent (which begins with a length): one key can sign all of them.

use axum::http::{HeaderMap, HeaderName, header};
use base64ct::{Base64, Encoding as _};
use bursar_domain::time::Timestamp;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sfv::{BareItem, Dictionary, Item, ListEntry, ListSerializer, Parser};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

/// How far a signature's time may lie from the server's.
pub const WINDOW: Duration = Duration::from_secs(60);
/// What this API's client calls its signature.
const LABEL: &str = "bursar";
/// The application that a signature is for, where it says so (RFC 9421, section 2.3).
const TAG: &str = "bursar";
static INPUT: HeaderName = HeaderName::from_static("signature-input");
static SIGNATURE: HeaderName = HeaderName::from_static("signature");
static DIGEST: HeaderName = HeaderName::from_static("content-digest");
static IDEMPOTENCY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_FIELD: usize = 4096;
const MAX_COMPONENTS: usize = 32;

/// Why a request carries no signature that could be verified. None of these says anything about keys or users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("Signature-Input: must be a dictionary with exactly one signature (RFC 9421, section 4.1)")]
    Input,
    #[error("Signature: must have the one signature of Signature-Input, 64 bytes")]
    Signature,
    #[error("Signature-Input: a covered component has parameters, is covered twice, or is not supported")]
    Component,
    #[error("Signature-Input: a header field is covered that the request does not have")]
    Absent,
    #[error("Signature-Input: must cover \"@method\", \"@path\" and \"@query\"")]
    Uncovered,
    #[error("Signature-Input: must cover \"idempotency-key\", because the request has one")]
    IdempotencyUncovered,
    #[error("Signature-Input: must cover \"@authority\" at this installation")]
    AuthorityUncovered,
    #[error("Signature-Input: created and expires must be whole seconds since 1970, expires after created")]
    Times,
    #[error(
        "Signature-Input: created must be within 60 seconds of the server's time and expires not over: set the clock right"
    )]
    Clock,
    #[error("Signature-Input: nonce must be 16 to 128 visible characters, new for each request")]
    Nonce,
    #[error(
        "Signature-Input: keyid must be an Ed25519 public key in 64 hex digits, and alg, if given, \"ed25519\""
    )]
    Key,
    #[error("Signature-Input: tag must be \"bursar\" if it is given")]
    Tag,
    #[error("Content-Digest: must be there, be covered, and have a sha-256 of the body (RFC 9530)")]
    Digest,
}

/// The parts of a request that a signature can cover.
#[derive(Debug, Clone, Copy)]
pub struct Target<'r> {
    pub method: &'r str,
    pub path: &'r str,
    pub query: Option<&'r str>,
    /// Host and, unless it is the scheme's own, port.
    pub authority: Option<&'r str>,
    pub headers: &'r HeaderMap,
}

/// A signature as it was read, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    components: Vec<String>,
    /// The value of `@signature-params`: what was read, in its strict form.
    parameters: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub nonce: String,
    /// The public key that the signature names.
    pub key: [u8; 32],
    pub signature: [u8; 64],
}

/// Whether a request says that it is signed.
pub fn is_signed(headers: &HeaderMap) -> bool {
    headers.contains_key(&INPUT) || headers.contains_key(&SIGNATURE)
}

/// A header field's value: its lines without white space around them, joined as RFC 9421, section 2.1 says.
fn field(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let lines: Result<Vec<_>, _> = lines.map(|line| line.to_str().map(str::trim)).collect();
    lines.ok().map(|lines| lines.join(", ")).filter(|value| value.len() <= MAX_FIELD)
}

fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Dictionary> {
    Parser::new(&field(headers, name)?).parse().ok()
}

fn seconds(value: Option<&BareItem>) -> Result<Timestamp, Malformed> {
    let seconds = value.and_then(BareItem::as_integer).map(i64::from);
    // 15 digits of seconds times a million fit.
    seconds.filter(|seconds| *seconds >= 0).map(Timestamp::from_secs).ok_or(Malformed::Times)
}

impl Signed {
    /// Reads the one signature of a request and checks its form.
    ///
    /// # Errors
    /// What is not as this API wants it. The window of time is not looked at: see [`Signed::check_time`].
    pub fn read(headers: &HeaderMap) -> Result<Self, Malformed> {
        let input = dictionary(headers, &INPUT).ok_or(Malformed::Input)?;
        let signatures = dictionary(headers, &SIGNATURE).ok_or(Malformed::Signature)?;
        if input.len() != 1 || signatures.len() != 1 {
            return Err(Malformed::Input);
        }
        let Some((label, ListEntry::InnerList(list))) = input.first() else { return Err(Malformed::Input) };
        let Some(ListEntry::Item(signature)) = signatures.get(label.as_str()) else {
            return Err(Malformed::Signature);
        };
        let signature = signature.bare_item.as_byte_sequence().and_then(|bytes| bytes.try_into().ok());
        let signature: [u8; 64] = signature.ok_or(Malformed::Signature)?;

        let components: Vec<String> = list.items.iter().map(component).collect::<Result<_, _>>()?;
        let distinct: BTreeSet<_> = components.iter().collect();
        if distinct.len() != components.len() || components.len() > MAX_COMPONENTS {
            return Err(Malformed::Component);
        }
        let text = |name: &str| list.params.get(name).and_then(BareItem::as_string).map(|text| text.as_str());
        let (created, expires) = (seconds(list.params.get("created"))?, seconds(list.params.get("expires"))?);
        if expires <= created {
            return Err(Malformed::Times);
        }
        let nonce = text("nonce").filter(|nonce| (16..=128).contains(&nonce.len()));
        let nonce = nonce.filter(|nonce| nonce.bytes().all(|byte| byte.is_ascii_graphic()));
        if list.params.get("alg").is_some_and(|_| text("alg") != Some("ed25519")) {
            return Err(Malformed::Key);
        }
        if list.params.get("tag").is_some_and(|_| text("tag") != Some(TAG)) {
            return Err(Malformed::Tag);
        }
        let mut key = [0; 32];
        let keyid = text("keyid").ok_or(Malformed::Key)?;
        hex::decode_to_slice(keyid, &mut key).map_err(|_| Malformed::Key)?;
        let mut serializer = ListSerializer::new();
        {
            let mut inner = serializer.inner_list();
            inner.items(&list.items);
            let _ = inner.finish().parameters(&list.params);
        }
        let parameters = serializer.finish().ok_or(Malformed::Input)?;
        let nonce = nonce.ok_or(Malformed::Nonce)?.to_owned();
        Ok(Self { components, parameters, created, expires, nonce, key, signature })
    }

    pub fn covers(&self, component: &str) -> bool {
        self.components.iter().any(|covered| covered == component)
    }

    /// # Errors
    /// What must be covered and is not.
    pub fn check_coverage(&self, headers: &HeaderMap, authority: bool) -> Result<(), Malformed> {
        if !["@method", "@path", "@query"].into_iter().all(|component| self.covers(component)) {
            return Err(Malformed::Uncovered);
        }
        if headers.contains_key(&IDEMPOTENCY) && !self.covers(IDEMPOTENCY.as_str()) {
            return Err(Malformed::IdempotencyUncovered);
        }
        if authority && !self.covers("@authority") {
            return Err(Malformed::AuthorityUncovered);
        }
        Ok(())
    }

    /// # Errors
    /// If it was not made about now, or is over.
    pub fn check_time(&self, now: Timestamp) -> Result<(), Malformed> {
        let far = self.created.since(now).max(now.since(self.created)) > WINDOW;
        if far || self.expires <= now { Err(Malformed::Clock) } else { Ok(()) }
    }

    /// When it certainly is too old, so that its nonce need not be remembered any longer.
    pub fn forgotten_at(&self) -> Timestamp {
        self.created.plus(WINDOW + Duration::from_secs(1))
    }

    /// What the signature is over (RFC 9421, section 2.5).
    ///
    /// # Errors
    /// If a header field is covered that is not there.
    pub fn base(&self, target: &Target<'_>) -> Result<Vec<u8>, Malformed> {
        base(target, &self.components, &self.parameters)
    }

    /// Whether it is the named key's over `base`. Strictly: no keys of small order, no malleable signatures.
    pub fn verifies(&self, base: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature);
        VerifyingKey::from_bytes(&self.key).is_ok_and(|key| key.verify_strict(base, &signature).is_ok())
    }

    /// # Errors
    /// If there is a body and its digest is not covered, or is another one.
    pub fn check_body(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Malformed> {
        if body.is_empty() && !headers.contains_key(&DIGEST) {
            return Ok(());
        }
        let said = dictionary(headers, &DIGEST).ok_or(Malformed::Digest)?;
        let Some(ListEntry::Item(said)) = said.get("sha-256") else { return Err(Malformed::Digest) };
        let same = said.bare_item.as_byte_sequence() == Some(Sha256::digest(body).as_slice());
        if same && self.covers(DIGEST.as_str()) { Ok(()) } else { Err(Malformed::Digest) }
    }
}

fn component(item: &Item) -> Result<String, Malformed> {
    let name = item.bare_item.as_string().filter(|_| item.params.is_empty()).ok_or(Malformed::Component)?;
    let name = name.as_str();
    let derived = ["@method", "@authority", "@path", "@query"].contains(&name);
    let is_field = !name.starts_with('@')
        && name.bytes().all(|byte| !byte.is_ascii_uppercase())
        && HeaderName::from_bytes(name.as_bytes()).is_ok();
    // The signature cannot cover itself.
    let own = [&INPUT, &SIGNATURE].into_iter().any(|own| own.as_str() == name);
    if (derived || is_field) && !own { Ok(name.to_owned()) } else { Err(Malformed::Component) }
}

fn base(target: &Target<'_>, components: &[String], parameters: &str) -> Result<Vec<u8>, Malformed> {
    let mut base = String::new();
    for name in components {
        let value = match name.as_str() {
            "@method" => target.method.to_owned(),
            "@path" if target.path.is_empty() => "/".to_owned(),
            "@path" => target.path.to_owned(),
            "@query" => format!("?{}", target.query.unwrap_or_default()),
            "@authority" => target.authority.ok_or(Malformed::Absent)?.to_ascii_lowercase(),
            name => {
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Malformed::Component)?;
                field(target.headers, &name).ok_or(Malformed::Absent)?
            }
        };
        writeln!(base, "\"{name}\": {value}").expect("writing to a string cannot fail");
    }
    write!(base, "\"@signature-params\": {parameters}").expect("writing to a string cannot fail");
    Ok(base.into_bytes())
}

/// Signs a request that has all its other header fields; returns the ones to add.
///
/// `nonce`: fresh for each request.
///
/// # Errors
/// If a header field that is to be covered is not text.
pub fn sign(
    key: &SigningKey,
    target: &Target<'_>,
    body: &[u8],
    now: Timestamp,
    nonce: [u8; 16],
) -> Result<Vec<(HeaderName, String)>, Malformed> {
    let mut headers = target.headers.clone();
    let mut added = Vec::new();
    let mut components = vec!["@method", "@authority", "@path", "@query"];
    if !body.is_empty() {
        let digest = format!("sha-256=:{}:", Base64::encode_string(&Sha256::digest(body)));
        headers.insert(&DIGEST, digest.parse().expect("base64 is visible ASCII"));
        added.push((DIGEST.clone(), digest));
        components.push(DIGEST.as_str());
        if headers.contains_key(header::CONTENT_TYPE) {
            components.push(header::CONTENT_TYPE.as_str());
        }
    }
    if headers.contains_key(&IDEMPOTENCY) {
        components.push(IDEMPOTENCY.as_str());
    }
    let names: Vec<_> = components.iter().map(|name| format!("\"{name}\"")).collect();
    let created = now.micros() / 1_000_000;
    let parameters = format!(
        "({});created={created};expires={};nonce=\"{}\";keyid=\"{}\";alg=\"ed25519\";tag=\"{TAG}\"",
        names.join(" "),
        created + 60,
        hex::encode(nonce),
        hex::encode(key.verifying_key().as_bytes()),
    );
    let target = Target { headers: &headers, ..*target };
    let components: Vec<_> = components.into_iter().map(str::to_owned).collect();
    let signature = key.sign(&base(&target, &components, &parameters)?).to_bytes();
    added.push((INPUT.clone(), format!("{LABEL}={parameters}")));
    added.push((SIGNATURE.clone(), format!("{LABEL}=:{}:", Base64::encode_string(&signature))));
    Ok(added)
}

#[cfg(test)]
mod tests;
