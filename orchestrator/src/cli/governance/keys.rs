//! People's signing keys, in files of their own.

use super::NotSigned;
use crate::cli::{admin, output::Output};
use bursar_domain::governance::{
    directory::{KeyId, KeyMaterial, KeyUse, KeyUses, PublicKey, User, UserId, UserKey},
    log::EntryDigest,
    signature::{Evidence, Signature},
};
use clap::Args;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct Keygen {
    /// Whose key it will be.
    #[arg(long)]
    user: UserId,
    /// What it is called among the user's keys.
    #[arg(long, default_value = "main")]
    id: KeyId,
    /// What it will be for: ACCESS signs API requests, DOCUMENTS orders, votes, changes and all else that others verify. Both, if not given.
    #[arg(long = "use", value_name = "USE", value_delimiter = ',')]
    uses: Vec<KeyUse>,
    /// Where to write the secret key (mode 0600). An existing file is not overwritten.
    #[arg(long)]
    out: PathBuf,
}

/// Makes a key, and shows what others need to put it into the log. An operator signs payments with the same file.
pub fn keygen(keygen: &Keygen, output: Output) -> anyhow::Result<()> {
    let uses = match &keygen.uses[..] {
        [] => KeyUses::default(),
        named => KeyUses::try_from(named.to_vec())?,
    };
    let key = admin::create_initiator_key(&keygen.out)?;
    let public_key = key.verifying_key().to_bytes();
    let public = UserKey { id: keygen.id.clone(), material: KeyMaterial::Ed25519 { public_key }, uses };
    output.value(&json!({ "file": keygen.out, "user": keygen.user, "key": public }));
    Ok(())
}

/// A user's keys in one cell of a table, each with what it is for.
pub fn shorten(user: &mut Value) {
    // What is not understood stays as it is.
    let Ok(keys) = serde_json::from_value::<Vec<UserKey>>(user["keys"].clone()) else { return };
    let keys: Vec<_> = keys.iter().map(|key| format!("{} ({})", key.id, key.uses)).collect();
    user["keys"] = keys.join(" ").into();
}

/// A user's key, and whose it is. The secret is wiped when this is dropped.
pub struct Signer {
    pub user: UserId,
    key: KeyId,
    secret: SigningKey,
}

impl Signer {
    /// Reads a key file and finds its user.
    ///
    /// # Errors
    /// Also for a key that is not for documents: nobody would take what it signs.
    pub fn load(file: &Path, users: Vec<User>) -> anyhow::Result<Self> {
        let secret = admin::load_initiator_key(file)?;
        let public = PublicKey::Ed25519(secret.verifying_key().to_bytes());
        for user in users {
            if let Some(key) = user.keys.iter().find(|key| key.public() == public) {
                if !key.uses.include(KeyUse::Documents) {
                    let (id, user, uses) = (&key.id, &user.id, key.uses);
                    let reason =
                        format!("{user}'s key {id} is for {uses} only: sign with one that is for DOCUMENTS");
                    return Err(NotSigned(reason).into());
                }
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
