//! Who pays and who is paid, encrypted with age (X25519, <https://age-encryption.org/v1>) for a key that only this installation's files have.

use age::secrecy::ExposeSecret as _;
use base64ct::{Base64, Encoding as _};
use bursar_domain::{
    ids::TransferId,
    travel_rule::{Ivms101, MAX_PAYLOAD},
};
use bursar_store::travel_rule::Sealed;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{path}: cannot be read or written")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}: others can read it; run chmod 600")]
    Permissions { path: PathBuf },
    #[error("{path}: must hold an age identity (AGE-SECRET-KEY-1…), as `bursar travel-rule key` writes it")]
    Malformed { path: PathBuf },
    #[error(
        "the data was encrypted for the key {0}, which is not configured; add it as travel_rule.previous_key_file"
    )]
    NoKey(String),
    #[error("the data cannot be encrypted")]
    NotSealed,
    #[error("the data in the database cannot be opened: it was changed, or is of another transfer")]
    Broken,
}

/// An age identity. No `Debug`, no `Clone`.
pub struct VaultKey {
    identity: age::x25519::Identity,
    name: String,
}

impl VaultKey {
    fn new(identity: age::x25519::Identity) -> Self {
        let name = identity.to_public().to_string();
        Self { identity, name }
    }

    /// A new one.
    pub fn generate() -> Self {
        Self::new(age::x25519::Identity::generate())
    }

    /// Writes a new one, mode 0600. What is there is not overwritten.
    ///
    /// # Errors
    /// It cannot be written, or is there already.
    pub fn create(path: &Path) -> Result<Self, VaultError> {
        let io = |source| VaultError::Io { path: path.to_owned(), source };
        let key = Self::generate();
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let text = key.identity.to_string();
        writeln!(file, "{}", text.expose_secret()).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(key)
    }

    /// # Errors
    /// It cannot be read, others can read it, or it is not one.
    pub fn load(path: &Path) -> Result<Self, VaultError> {
        let io = |source| VaultError::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(VaultError::Permissions { path: path.to_owned() });
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(io)?);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identity = lines.next().and_then(|line| line.parse().ok());
        identity.map(Self::new).ok_or_else(|| VaultError::Malformed { path: path.to_owned() })
    }

    /// The public half (`age1…`), by which data remembers the key it was encrypted for.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Encrypts for the current key, opens what was encrypted for any of them.
pub struct Vault {
    current: VaultKey,
    previous: Option<VaultKey>,
}

/// What is encrypted: so that data moved to another transfer's row is noticed.
#[derive(Serialize)]
struct Envelope<'a> {
    transfer: TransferId,
    ivms101: &'a Ivms101,
}
#[derive(Deserialize)]
struct Opened {
    transfer: TransferId,
    ivms101: Ivms101,
}

impl Vault {
    pub fn new(current: VaultKey, previous: Option<VaultKey>) -> Self {
        Self { current, previous }
    }

    /// # Errors
    /// [`VaultError::NotSealed`].
    pub fn seal(&self, transfer: TransferId, ivms101: &Ivms101) -> Result<Sealed, VaultError> {
        // Large enough that it is not moved, which would leave copies behind.
        let mut plain = Zeroizing::new(Vec::with_capacity(2 * MAX_PAYLOAD));
        serde_json::to_writer(&mut *plain, &Envelope { transfer, ivms101 })
            .map_err(|_| VaultError::NotSealed)?;
        let cipher =
            age::encrypt(&self.current.identity.to_public(), &plain).map_err(|_| VaultError::NotSealed)?;
        Ok(Sealed { ciphertext: Base64::encode_string(&cipher), key_name: self.current.name.clone() })
    }

    /// # Errors
    /// [`VaultError::NoKey`], [`VaultError::Broken`].
    pub fn open(&self, transfer: TransferId, sealed: &Sealed) -> Result<Ivms101, VaultError> {
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        let key = keys.find(|key| key.name == sealed.key_name);
        let key = key.ok_or_else(|| VaultError::NoKey(sealed.key_name.clone()))?;
        let cipher = Base64::decode_vec(&sealed.ciphertext).map_err(|_| VaultError::Broken)?;
        let plain =
            age::decrypt(&key.identity, &cipher).map(Zeroizing::new).map_err(|_| VaultError::Broken)?;
        let opened: Opened = serde_json::from_slice(&plain).map_err(|_| VaultError::Broken)?;
        if opened.transfer == transfer { Ok(opened.ivms101) } else { Err(VaultError::Broken) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> TransferId {
        TransferId::new(uuid::Uuid::from_u128(n))
    }
    fn data() -> Ivms101 {
        let none = serde_json::json!({ "originatorPersons": [], "accountNumber": ["Rosa-1"] });
        serde_json::from_value(
            serde_json::json!({ "originator": none, "beneficiary": { "beneficiaryPersons": [] } }),
        )
        .unwrap()
    }

    #[test]
    fn only_the_key_and_the_transfer_open_it() {
        let first = VaultKey::generate();
        let vault = Vault::new(VaultKey::new(first.identity.clone()), None);
        let sealed = vault.seal(id(1), &data()).unwrap();
        assert!(vault.open(id(1), &sealed).is_ok_and(|opened| opened == data()));
        assert!(!String::from_utf8_lossy(&Base64::decode_vec(&sealed.ciphertext).unwrap()).contains("Rosa"));
        assert!(matches!(vault.open(id(2), &sealed), Err(VaultError::Broken)));
        let mut bytes = Base64::decode_vec(&sealed.ciphertext).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let changed = Sealed { ciphertext: Base64::encode_string(&bytes), ..sealed.clone() };
        assert!(matches!(vault.open(id(1), &changed), Err(VaultError::Broken)));
        let other = Vault::new(VaultKey::generate(), None);
        assert!(matches!(other.open(id(1), &sealed), Err(VaultError::NoKey(_))));
        let rotated = Vault::new(VaultKey::generate(), Some(first));
        assert!(rotated.open(id(1), &sealed).is_ok());
    }

    #[test]
    fn key_files_are_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("travel-rule.key");
        let made = VaultKey::create(&path).unwrap();
        assert_eq!(VaultKey::load(&path).unwrap_or_else(|error| panic!("{error}")).name(), made.name());
        assert!(VaultKey::create(&path).is_err(), "not overwritten");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(VaultKey::load(&path), Err(VaultError::Permissions { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abc").unwrap();
        assert!(matches!(VaultKey::load(&path), Err(VaultError::Malformed { .. })));
    }
}
