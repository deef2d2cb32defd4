//! This party's signature under the audit log: what it remembers of the chain, and the key that it signs with.
//!
//! It signs what follows the last that it signed, and nothing else: never an earlier place, never another hash for one. It does not
//! see what the entries say, only their digests. So an orchestrator that rewrites its log can no longer get a checkpoint from
//! this party, and whoever holds an export sees from the signatures how far it is the one history that this party was shown.
//!
//! The key is derived from the party's identity key: one secret to guard and to back up. A party that changes its identity changes this
//! key, too, and gives its new public half to whoever verifies.

use crate::{daemon::Cosigner, store::Contradiction};
use bursar_domain::audit::checkpoint::{
    CheckpointAnswer, CheckpointRequest, CheckpointSignature, NotSigned, follows,
};
use bursar_signer_client::Identity;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Keeps the two uses of the identity's secret apart.
const DOMAIN: &[u8] = b"bursar/audit-key/v1";

/// SHA-256 of the domain tag and the 32 bytes of the identity's secret, as the seed of an Ed25519 key (RFC 8032). The length of both is
/// fixed, and X25519 is never given this digest.
fn key(identity: &Identity) -> SigningKey {
    let seed = Sha256::new().chain_update(DOMAIN).chain_update(identity.secret()).finalize();
    SigningKey::from_bytes(&Zeroizing::new(seed.into()))
}

/// What others verify this party's checkpoints with.
pub fn public_key(identity: &Identity) -> [u8; 32] {
    key(identity).verifying_key().to_bytes()
}

impl Cosigner {
    /// Signs a checkpoint, or says why not. It is on disk before the signature leaves.
    pub fn checkpoint(&self, request: &CheckpointRequest) -> CheckpointAnswer {
        let now = self.clock.now();
        let pinned = self.governance.as_ref().map(|governance| governance.pinned());
        let checkpoint = request.checkpoint;
        let signed = self.store.sign_checkpoint(&checkpoint, |last| follows(request, last, pinned, now));
        match signed {
            Ok(Ok(())) => {
                let key = key(&self.identity);
                CheckpointAnswer::Signed(CheckpointSignature {
                    party: self.config.index,
                    public_key: key.verifying_key().to_bytes(),
                    signature: key.sign(&checkpoint.digest()).to_bytes(),
                })
            }
            Ok(Err(NotSigned::From(place))) => CheckpointAnswer::From(Some(place)),
            Ok(Err(refused)) => {
                if refused.is_equivocation() {
                    tracing::error!(
                        %refused,
                        "ALARM: the orchestrator's audit log is not the one that this party signed before; keep state.redb, and compare \
                         exports with the other parties"
                    );
                    let found = Contradiction { at: now, checkpoint, reason: refused.to_string() };
                    if let Err(error) = self.store.record_contradiction(&found) {
                        tracing::error!(%error, "the contradiction could not be recorded");
                    }
                } else {
                    tracing::warn!(%refused, "an audit checkpoint was not signed");
                }
                CheckpointAnswer::Refused(refused.to_string())
            }
            Err(error) => {
                tracing::error!(%error, "the co-signer's store failed");
                CheckpointAnswer::Refused("this party's store failed; see its log".into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// People keep the public half: the same identity gives the same key in every version.
    #[test]
    fn the_key_follows_from_the_identity() {
        let public = |byte| hex::encode(public_key(&Identity::from_secret(Zeroizing::new([byte; 32]))));
        assert_eq!(public(7), public(7));
        assert_ne!(public(7), public(8));
        assert_eq!(public(7), "7feff76423a25c22e8262c2df891f7b9b2c3c428155f87a63cf9050dd33c2479");
        let identity = Identity::from_secret(Zeroizing::new([7; 32]));
        assert_ne!(public_key(&identity), identity.public().0);
    }
}
