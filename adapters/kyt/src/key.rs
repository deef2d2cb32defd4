//! The key that signs verdicts and alerts: an Ed25519 key of an INTEGRATION_SERVICE user of the governance log. The file that it is in is as
//! those of people: `bursar` reads and writes theirs by [`load`] and [`create`].

use crate::secret::{SecretError, read_private};
use bursar_domain::{
    governance::{
        directory::{KeyId, UserId},
        log::EntryDigest,
        signature::{Evidence, Signature},
        verdict::SignedVerdict,
    },
    intent::{IntentDigest, SignedIntent},
    screening::{Alert, Assessment, SignedAlert},
};
use ed25519_dalek::{
    Signer as _, SigningKey,
    pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, spki::der::pem::LineEnding},
};
use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Who signs. Without `Debug`: it holds the secret key, which is wiped when dropped.
pub struct ServiceKey {
    user: UserId,
    key: KeyId,
    /// The governance log under which its verdicts count.
    genesis: EntryDigest,
    secret: SigningKey,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(
        "{path}: not an Ed25519 key in PKCS#8 PEM; `bursar-screener keygen`, `bursar governance keygen` and `bursar initiator-key` make such"
    )]
    Malformed { path: PathBuf },
    #[error("cannot create {path}: {source} (an existing key is not overwritten)")]
    Create { path: PathBuf, source: std::io::Error },
    #[error("cannot encode the key")]
    Encode,
}

impl ServiceKey {
    pub const fn new(user: UserId, key: KeyId, genesis: EntryDigest, secret: SigningKey) -> Self {
        Self { user, key, genesis, secret }
    }

    /// # Errors
    /// A file that is not there, that others may read, or that is no key.
    pub fn load(path: &Path, user: UserId, key: KeyId, genesis: EntryDigest) -> Result<Self, KeyError> {
        Ok(Self::new(user, key, genesis, load(path)?))
    }

    /// Whether this is an order of the desk under whose log verdicts by this key count; one without terms is of any.
    pub fn serves(&self, order: &SignedIntent) -> bool {
        order.intent.terms.as_ref().is_none_or(|terms| terms.desk == self.genesis)
    }

    /// What goes into the governance log for this user.
    pub fn public(&self) -> [u8; 32] {
        self.secret.verifying_key().to_bytes()
    }

    /// What `assessment` says about `intent`, signed.
    pub fn verdict(&self, intent: IntentDigest, assessment: &Assessment) -> SignedVerdict {
        let verdict = assessment.verdict(self.genesis, intent);
        SignedVerdict { signature: self.sign(&verdict.digest()), verdict }
    }

    pub fn alert(&self, alert: Alert) -> SignedAlert {
        SignedAlert { signature: self.sign(&alert.digest()), alert }
    }

    fn sign(&self, digest: &[u8; 32]) -> Signature {
        let signature = self.secret.sign(digest).to_bytes();
        Signature {
            user: self.user.clone(),
            key: self.key.clone(),
            evidence: Evidence::Ed25519 { signature },
        }
    }
}

/// Reads what [`create`] wrote, and insists that nobody but its owner may.
///
/// # Errors
/// A file that is not there, that others may read, or that is no key.
pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
    let pem = read_private(path)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::Malformed { path: path.to_owned() })
}

/// A fresh key, written to `path` as PKCS#8 PEM, readable by its owner only.
///
/// # Errors
/// When the file cannot be made, above all because it exists.
pub fn create(path: &Path) -> Result<SigningKey, KeyError> {
    let key = SigningKey::generate(&mut rand::rngs::OsRng);
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Encode)?;
    let create = |source| KeyError::Create { path: path.to_owned(), source };
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(create)?;
    out.write_all(pem.as_bytes()).and_then(|()| out.sync_all()).map_err(create)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let public = create(&path).ok().unwrap().verifying_key().to_bytes();
        assert!(matches!(create(&path), Err(KeyError::Create { .. })));
        let load = || {
            let (user, key) = ("platform.screening".parse().unwrap(), "main".parse().unwrap());
            ServiceKey::load(&path, user, key, EntryDigest::NONE)
        };
        assert_eq!(load().ok().unwrap().public(), public);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert!(matches!(load(), Err(KeyError::Secret(SecretError::Readable { .. }))));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(load(), Err(KeyError::Malformed { .. })));
    }
}
