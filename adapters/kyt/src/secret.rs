//! Secrets: read from a file or the environment, wiped when dropped, never shown.

use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const MAX_SECRET: u64 = 16 * 1024;

/// A secret's text. Without `Debug`, `Clone` and `Serialize` on purpose.
pub struct Secret(Zeroizing<String>);

/// Where a secret is: `{ file = "…" }` or `{ env = "NAME" }`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "give { file = \"path\" } or { env = \"NAME\" }")]
pub enum SecretSource {
    File { file: PathBuf },
    Env { env: String },
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: others than its owner may read it; chmod 600 it")]
    Readable { path: PathBuf },
    #[error("{path}: larger than any secret")]
    TooLarge { path: PathBuf },
    #[error("the environment variable {0} is not set, or is not text")]
    Unset(String),
    #[error("is empty")]
    Empty,
}

impl SecretSource {
    /// # Errors
    /// What is in the way, with its remedy. Nothing of the secret is in it.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let text = match self {
            Self::File { file } => read_private(file)?,
            Self::Env { env } => {
                std::env::var(env).map(Zeroizing::new).map_err(|_| SecretError::Unset(env.clone()))?
            }
        };
        let secret = Secret::new(text.trim());
        if secret.reveal().is_empty() { Err(SecretError::Empty) } else { Ok(secret) }
    }
}

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// For what must have it: a header, a signature.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is the same, in a time that does not depend on where they differ.
    pub fn matches(&self, given: &[u8]) -> bool {
        Sha256::digest(self.0.as_bytes()) == Sha256::digest(given)
    }
}

/// Reads a file that only its owner may read.
///
/// # Errors
/// [`SecretError`]
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let io = |source| SecretError::Io { path: path.to_owned(), source };
    let meta = std::fs::metadata(path).map_err(io)?;
    if meta.permissions().mode() & 0o077 != 0 {
        return Err(SecretError::Readable { path: path.to_owned() });
    }
    if meta.len() > MAX_SECRET {
        return Err(SecretError::TooLarge { path: path.to_owned() });
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(io)
}

/// HMAC-SHA256 (RFC 2104).
pub(crate) fn hmac_sha256(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    keyed(key, message).finalize().into_bytes().into()
}

/// Whether `mac` is the HMAC-SHA256 of `message`, in constant time.
pub(crate) fn hmac_verifies(key: &[u8], message: &[&[u8]], mac: &[u8]) -> bool {
    keyed(key, message).verify_slice(mac).is_ok()
}

fn keyed(key: &[u8], message: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    message.iter().for_each(|part| mac.update(part));
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn hmac_is_that_of_the_rfc() {
        let mac = hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(mac), expected);
        assert!(hmac_verifies(b"Jefe", &[b"what do ya want for nothing?"], &mac));
        assert!(!hmac_verifies(b"Jefe", &[b"what do ya want for nothing!"], &mac));
        assert!(!hmac_verifies(b"Jefe", &[b"what do ya want for nothing?"], &mac[..31]));
    }

    #[test]
    fn secrets_are_read_from_private_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o640);
        let source = SecretSource::File { file: file.clone() };
        assert!(matches!(source.read(), Err(SecretError::Readable { .. })));
        mode(0o600);
        let secret = source.read().ok().unwrap();
        assert!(secret.matches(b"s3cret") && !secret.matches(b"s3cret\n") && !secret.matches(b""));
        std::fs::write(&file, " \n").unwrap();
        assert!(matches!(source.read(), Err(SecretError::Empty)));
        let missing = SecretSource::Env { env: "BURSAR_TEST_NO_SUCH_VARIABLE".into() };
        assert!(matches!(missing.read(), Err(SecretError::Unset(_))));
    }
}
