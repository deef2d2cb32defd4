//! Static X25519 keys: who is at the other end of a link or of a session.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use std::{
    fmt, io,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};
use zeroize::Zeroizing;

/// A static key pair. The secret has no `Debug`, no `Clone`, and is wiped on drop.
pub struct Identity {
    secret: Zeroizing<[u8; 32]>,
    public: PublicIdentity,
}

/// The public half, 64 hex digits in text. Pinned by whoever talks to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicIdentity(pub [u8; 32]);

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("identity file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("identity file {path} may be read by others: run chmod 600 on it")]
    Permissions { path: PathBuf },
    #[error("identity file {path}: expected 64 hex digits on one line")]
    Malformed { path: PathBuf },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public identity key: expected 64 hex digits")]
pub struct InvalidPublicIdentity;

impl Identity {
    /// A fresh key from the operating system's randomness.
    pub fn generate() -> Self {
        use rand::RngCore as _;
        let mut secret = Zeroizing::new([0u8; 32]);
        rand::rngs::OsRng.fill_bytes(secret.as_mut());
        Self::from_secret(secret)
    }

    pub fn from_secret(secret: Zeroizing<[u8; 32]>) -> Self {
        let mut dh = DefaultResolver
            .resolve_dh(&snow::params::DHChoice::Curve25519)
            .expect("snow is built with Curve25519, which the noise pattern needs anyway");
        dh.set(secret.as_ref());
        let public = dh.pubkey().try_into().expect("X25519 public keys are 32 bytes");
        Self { secret, public: PublicIdentity(public) }
    }

    /// Writes a fresh key to `path`, which must not exist, readable by its owner only, and durably.
    pub fn create(path: &Path) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        let identity = Self::generate();
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(identity.secret.as_ref()))));
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(identity)
    }

    /// Reads a key file and insists that nobody else may.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let io = |source| IdentityError::Io { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(io)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(IdentityError::Permissions { path: path.to_owned() });
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
        let mut secret = Zeroizing::new([0u8; 32]);
        hex::decode_to_slice(text.trim(), secret.as_mut())
            .map_err(|_| IdentityError::Malformed { path: path.to_owned() })?;
        Ok(Self::from_secret(secret))
    }

    /// [`load`](Self::load), or [`create`](Self::create) when there is no file yet.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        if path.exists() { Self::load(path) } else { Self::create(path) }
    }

    pub const fn public(&self) -> PublicIdentity {
        self.public
    }

    /// For a Noise handshake; goes nowhere else.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Display for PublicIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
impl FromStr for PublicIdentity {
    type Err = InvalidPublicIdentity;
    fn from_str(text: &str) -> Result<Self, InvalidPublicIdentity> {
        let mut key = [0u8; 32];
        hex::decode_to_slice(text, &mut key).map_err(|_| InvalidPublicIdentity)?;
        Ok(Self(key))
    }
}
impl Serialize for PublicIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for PublicIdentity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 6.1: Bob's key pair.
    #[test]
    fn public_keys_follow_rfc_7748() {
        let mut secret = Zeroizing::new([0u8; 32]);
        let text = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
        hex::decode_to_slice(text, secret.as_mut()).unwrap();
        assert_eq!(
            Identity::from_secret(secret).public().to_string(),
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
        );
    }

    #[test]
    fn files_round_trip_and_others_may_not_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        let created = Identity::create(&path).unwrap();
        assert_eq!(Identity::load(&path).unwrap().public(), created.public());
        assert!(matches!(Identity::create(&path), Err(IdentityError::Io { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Identity::load(&path), Err(IdentityError::Permissions { .. })));
    }
}
