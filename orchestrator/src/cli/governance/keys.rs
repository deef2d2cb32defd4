//! People's signing keys, in files of their own.

use super::NotSigned;
use crate::cli::{admin, output::Output};
use bursar_domain::governance::{
    directory::{KeyId, KeyMaterial, PublicKey, User, UserId, UserKey},
    log::EntryDigest,
    signature::{Evidence, Signature},
};
use clap::Args;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Keygen {
    /// Whose key it will be.
    #[arg(long)]
    user: UserId,
    /// What it is called among the user's keys.
    #[arg(long, default_value = "main")]
    id: KeyId,
    /// Where to write the secret key (mode 0600). An existing file is not overwritten.
    #[arg(long)]
    out: PathBuf,
}

/// Makes a key, and shows what others need to put it into the log. An operator signs payments with the same file.
pub fn keygen(keygen: &Keygen, output: Output) -> anyhow::Result<()> {
    let key = admin::create_initiator_key(&keygen.out)?;
    let public_key = key.verifying_key().to_bytes();
    let public = UserKey { id: keygen.id.clone(), material: KeyMaterial::Ed25519 { public_key } };
    output.value(&json!({ "file": keygen.out, "user": keygen.user, "key": public }));
    Ok(())
}

/// A user's key, and whose it is. The secret is wiped when this is dropped.
pub struct Signer {
    pub user: UserId,
    key: KeyId,
    secret: SigningKey,
}

impl Signer {
    /// Reads a key file and finds its user.
    pub fn load(file: &Path, users: Vec<User>) -> anyhow::Result<Self> {
        let secret = admin::load_initiator_key(file)?;
        let public = PublicKey::Ed25519(secret.verifying_key().to_bytes());
        for user in users {
            if let Some(key) = user.keys.iter().find(|key| key.public() == public) {
                return Ok(Self { key: key.id.clone(), user: user.id, secret });
            }
        }
        let reason = format!("no user has the key of {}, whose public half is {public}", file.display());
        Err(NotSigned(reason).into())
    }

    /// Over the digest of what was shown: an entry of the log, an approval.
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        let signature = self.secret.sign(digest).to_bytes();
        Signature {
            user: self.user.clone(),
            key: self.key.clone(),
            evidence: Evidence::Ed25519 { signature },
        }
    }
}

/// `name`: what it is called in an error.
pub fn parse_digest(name: &str, text: &str) -> Result<EntryDigest, NotSigned> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| NotSigned(format!("{name}: a digest has 64 hex digits")))?;
    Ok(EntryDigest(bytes))
}
