//! Secrets and signatures.
//!
//! One file of 32 random bytes, the key file, is all that is secret. From it follow the installation's Ed25519 key and, by HMAC-SHA256 over
//! the endpoint's id and a generation, each endpoint's own secret. So the database holds no secret that could be read there, and a
//! secret can be shown again by nobody without the file. A change of the file is a rotation: with the former one configured as the previous,
//! endpoints keep their secrets until each is rotated, and messages carry an Ed25519 signature of both.

use super::message::Message;
use base64ct::{Base64, Encoding as _};
use bursar_domain::time::Timestamp;
use bursar_store::webhooks::{Endpoint, EndpointId, SecretOf};
use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Of secrets, as the specification writes them.
const SECRET_PREFIX: &str = "whsec_";
/// Of Ed25519 public keys.
const PUBLIC_KEY_PREFIX: &str = "whpk_";

#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{path}: cannot be read or written")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: others can read it; run chmod 600")]
    Permissions { path: PathBuf },
    #[error("{path}: must hold 64 hex digits, as `bursar webhooks key` writes them")]
    Malformed { path: PathBuf },
    #[error("{path}: must hold a secret of 24 to 64 bytes as whsec_ and base64")]
    Secret { path: PathBuf },
}

/// Why a message cannot be signed as its endpoint expects it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error(
        "its secret follows from the key file {0}, which is not configured; configure it as webhooks.previous_key_file, or rotate the secret"
    )]
    NoKeyFile(String),
    #[error("the secret {0} is not among webhooks.secrets")]
    NoSecret(String),
    #[error("it expects messages signed with the key {0}, which is not that of webhooks.key_file")]
    OtherKey(String),
}

/// 32 random bytes. No `Debug`, no `Clone`; wiped on drop.
pub struct KeyFile {
    seed: Zeroizing<[u8; 32]>,
    signing: SigningKey,
    name: String,
}

impl KeyFile {
    pub fn from_seed(seed: Zeroizing<[u8; 32]>) -> Self {
        let signing = SigningKey::from_bytes(&derive(&seed, b"ed25519"));
        // Nothing follows from the name.
        let name = hex::encode(&derive(&seed, b"name")[..8]);
        Self { seed, signing, name }
    }

    /// Writes a new one, mode 0600. What is there is not overwritten.
    ///
    /// # Errors
    /// It cannot be written, or is there already.
    pub fn create(
        path: &Path,
        rng: &mut (impl rand::RngCore + rand::CryptoRng),
    ) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { path: path.to_owned(), source };
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut());
        let text = Zeroizing::new(hex::encode(*seed));
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        writeln!(file, "{}", *text).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(Self::from_seed(seed))
    }

    /// # Errors
    /// It cannot be read, others can read it, or it is not one.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let text = read_private(path)?;
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), seed.as_mut())
            .map_err(|_| KeyFileError::Malformed { path: path.to_owned() })?;
        Ok(Self::from_seed(seed))
    }

    /// A fingerprint, by which endpoints remember the file that their secret follows from.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn secret(&self, id: &EndpointId, generation: u32) -> Zeroizing<Vec<u8>> {
        // No id has a NUL.
        let label = format!("hmac\0{id}\0{generation}");
        Zeroizing::new(derive(&self.seed, label.as_bytes()).to_vec())
    }

    fn public_key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }
}

fn derive(seed: &[u8; 32], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut mac = keyed(seed);
    mac.update(b"bursar/webhooks/v1/");
    mac.update(label);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as hmac::Mac>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)")
}

fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let io = |source| KeyFileError::Io { path: path.to_owned(), source };
    if fs::metadata(path).map_err(io)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyFileError::Permissions { path: path.to_owned() });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(io)
}

/// A secret of which both sides have a copy in a file: `whsec_` and base64 of 24 to 64 bytes.
///
/// # Errors
/// It cannot be read, others can read it, or it is not one.
pub fn load_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let text = read_private(path)?;
    let bytes = text.trim().strip_prefix(SECRET_PREFIX).and_then(|text| Base64::decode_vec(text).ok());
    let bytes = bytes.map(Zeroizing::new).filter(|bytes| (24..=64).contains(&bytes.len()));
    bytes.ok_or_else(|| KeyFileError::Secret { path: path.to_owned() })
}

/// All that messages are signed with. No `Debug`, no `Clone`.
pub struct Keys {
    current: KeyFile,
    previous: Option<KeyFile>,
    shared: BTreeMap<String, Zeroizing<Vec<u8>>>,
}

impl Keys {
    pub fn new(
        current: KeyFile,
        previous: Option<KeyFile>,
        shared: BTreeMap<String, Zeroizing<Vec<u8>>>,
    ) -> Self {
        Self { current, previous, shared }
    }

    /// Of the file that new secrets follow from.
    pub fn name(&self) -> &str {
        self.current.name()
    }

    /// Which verifies `v1a` signatures: `whpk_` and base64.
    pub fn public_key(&self) -> String {
        format!("{PUBLIC_KEY_PREFIX}{}", Base64::encode_string(&self.current.public_key()))
    }

    /// An endpoint's secret: `whsec_` and base64. To be shown once.
    ///
    /// # Errors
    /// Its key file is not configured.
    pub fn secret(&self, id: &EndpointId, of: &SecretOf) -> Result<Zeroizing<String>, NotSigned> {
        let secret = self.file(&of.key_name)?.secret(id, of.generation);
        Ok(Zeroizing::new(format!("{SECRET_PREFIX}{}", *Zeroizing::new(Base64::encode_string(&secret)))))
    }

    fn file(&self, name: &str) -> Result<&KeyFile, NotSigned> {
        let mut files = std::iter::once(&self.current).chain(&self.previous);
        files.find(|file| file.name == name).ok_or_else(|| NotSigned::NoKeyFile(name.to_owned()))
    }

    /// The header `webhook-signature`: `v1,` of each secret that is valid and `v1a,` of each key file, over
    /// `{webhook-id}.{webhook-timestamp}.{body}`.
    ///
    /// # Errors
    /// Its secret or key is not here.
    pub fn signatures(
        &self,
        endpoint: &Endpoint,
        message: &Message,
        now: Timestamp,
    ) -> Result<String, NotSigned> {
        let Endpoint { id, target, secret, .. } = endpoint;
        let mut files: Vec<&KeyFile> = std::iter::once(&self.current).chain(&self.previous).collect();
        if let Some(expected) = &target.public_key {
            files.retain(|file| hex::encode(file.public_key()) == *expected);
            if files.is_empty() {
                return Err(NotSigned::OtherKey(expected.clone()));
            }
        }
        let secrets = match &target.shared_secret {
            Some(name) => {
                vec![self.shared.get(name).cloned().ok_or_else(|| NotSigned::NoSecret(name.clone()))?]
            }
            None => {
                let file = self.file(&secret.key_name)?;
                let previous = secret.previous_until.filter(|until| now < *until && secret.generation > 1);
                let generations = std::iter::once(secret.generation)
                    .chain(previous.map(|_| secret.generation.saturating_sub(1)));
                generations.map(|generation| file.secret(id, generation)).collect()
            }
        };
        let signed = message.signed_content(now);
        let v1 = secrets.iter().map(|secret| {
            let mut mac = keyed(secret);
            mac.update(&signed);
            format!("v1,{}", Base64::encode_string(&mac.finalize().into_bytes()))
        });
        let v1a = files
            .iter()
            .map(|file| format!("v1a,{}", Base64::encode_string(&file.signing.sign(&signed).to_bytes())));
        Ok(v1.chain(v1a).collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_store::webhooks::Target;
    use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
    use standardwebhooks::Webhook;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn file(byte: u8) -> KeyFile {
        KeyFile::from_seed(Zeroizing::new([byte; 32]))
    }
    fn keys(current: u8, previous: Option<u8>) -> Keys {
        Keys::new(file(current), previous.map(file), BTreeMap::new())
    }
    fn endpoint(keys: &Keys) -> Endpoint {
        let target = Target {
            url: "https://desk.example/".into(),
            events: ["*".to_owned()].into(),
            allow_private: false,
            entry: None,
            shared_secret: None,
            public_key: None,
        };
        Endpoint::new("one".parse().unwrap(), target, keys.name().to_owned(), 0, NOW)
    }
    fn message() -> Message {
        Message { id: "evt_7_one".into(), body: br#"{"type":"x"}"#.to_vec() }
    }

    /// By the specification's own library.
    fn verifies(header: &str, secret: &str) -> bool {
        let message = message();
        let seconds = NOW.micros() / 1_000_000;
        let expected = Webhook::new(secret).unwrap().sign(&message.id, seconds, &message.body).unwrap();
        header.split(' ').any(|one| one == expected)
    }

    #[test]
    fn both_signatures_are_those_of_the_specification() {
        let keys = keys(1, None);
        let endpoint = endpoint(&keys);
        let header = keys.signatures(&endpoint, &message(), NOW).unwrap();
        assert!(verifies(&header, &keys.secret(&endpoint.id, &endpoint.secret).unwrap()), "{header}");
        let public = Base64::decode_vec(keys.public_key().strip_prefix("whpk_").unwrap()).unwrap();
        let public = VerifyingKey::from_bytes(public.as_slice().try_into().unwrap()).unwrap();
        let v1a = header.split(' ').find_map(|one| one.strip_prefix("v1a,")).unwrap();
        let signature = Signature::from_slice(&Base64::decode_vec(v1a).unwrap()).unwrap();
        let signed = [b"evt_7_one.1800000000.".as_slice(), &message().body].concat();
        assert!(public.verify(&signed, &signature).is_ok());
        assert!(public.verify(b"evt_8_one.1800000000.{}", &signature).is_err());
    }

    #[test]
    fn rotated_secrets_both_count_for_a_while() {
        let keys = keys(1, None);
        let mut endpoint = endpoint(&keys);
        let first = keys.secret(&endpoint.id, &endpoint.secret).unwrap();
        endpoint.secret.generation = 2;
        endpoint.secret.previous_until = Some(NOW.plus(std::time::Duration::from_secs(60)));
        let second = keys.secret(&endpoint.id, &endpoint.secret).unwrap();
        assert_ne!(*first, *second);
        let header = keys.signatures(&endpoint, &message(), NOW).unwrap();
        assert!(verifies(&header, &first) && verifies(&header, &second), "{header}");
        endpoint.secret.previous_until = Some(NOW);
        let header = keys.signatures(&endpoint, &message(), NOW).unwrap();
        assert!(!verifies(&header, &first) && verifies(&header, &second), "{header}");
    }

    #[test]
    fn endpoints_keep_the_secret_of_their_own_file() {
        let old = keys(1, None);
        let endpoint = endpoint(&old);
        let secret = old.secret(&endpoint.id, &endpoint.secret).unwrap();
        let both = keys(2, Some(1));
        let header = both.signatures(&endpoint, &message(), NOW).unwrap();
        assert!(verifies(&header, &secret), "{header}");
        assert_eq!(header.matches("v1a,").count(), 2, "{header}");
        let error = keys(2, None).signatures(&endpoint, &message(), NOW).unwrap_err();
        assert!(matches!(error, NotSigned::NoKeyFile(_)), "{error}");
    }

    #[test]
    fn what_an_endpoint_expects_is_held_to() {
        let both = keys(2, Some(1));
        let mut endpoint = endpoint(&both);
        endpoint.target.public_key = Some(hex::encode(file(1).public_key()));
        let header = both.signatures(&endpoint, &message(), NOW).unwrap();
        assert_eq!(header.matches("v1a,").count(), 1, "{header}");
        endpoint.target.public_key = Some("00".repeat(32));
        assert!(matches!(both.signatures(&endpoint, &message(), NOW), Err(NotSigned::OtherKey(_))));
        endpoint.target.public_key = None;
        endpoint.target.shared_secret = Some("desk".into());
        assert!(matches!(both.signatures(&endpoint, &message(), NOW), Err(NotSigned::NoSecret(_))));
        let shared = [("desk".to_owned(), Zeroizing::new(vec![9; 32]))].into();
        let header = Keys::new(file(2), None, shared).signatures(&endpoint, &message(), NOW).unwrap();
        assert!(verifies(&header, &format!("whsec_{}", Base64::encode_string(&[9; 32]))), "{header}");
    }

    #[test]
    fn files_are_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.key");
        let made = KeyFile::create(&path, &mut rand::rngs::OsRng).unwrap();
        assert_eq!(KeyFile::load(&path).unwrap().name(), made.name());
        assert!(KeyFile::create(&path, &mut rand::rngs::OsRng).is_err(), "not overwritten");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(KeyFile::load(&path), Err(KeyFileError::Permissions { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abc").unwrap();
        assert!(matches!(KeyFile::load(&path), Err(KeyFileError::Malformed { .. })));
        fs::write(&path, "whsec_AAAA").unwrap();
        assert!(matches!(load_secret(&path), Err(KeyFileError::Secret { .. })), "too short");
        fs::write(&path, format!("whsec_{}\n", Base64::encode_string(&[7; 24]))).unwrap();
        assert_eq!(*load_secret(&path).unwrap(), vec![7; 24]);
    }
}
