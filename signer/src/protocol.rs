//! Distributed key generation and threshold signing, apart from where the messages travel and from what may be signed.
//!
//! This module is dangerous in three ways, each met in one place:
//!
//! - **Hostile peers.** Up to t − 1 of the other participants may send anything. Frames are bounded, tied to their
//!   session, and decoded strictly (`wire`); the one proof check that the ECDSA crate gets wrong is done again before
//!   it sees the message (`guard`); and no signature leaves before another implementation has verified it under the
//!   key that the rest of the system derives (`verify`).
//! - **Reuse.** A session runs once, from its first message to its last. Nothing of an aborted session is kept, there
//!   is no way to resume one, and there are no presignatures (CVE-2025-66016 and CVE-2025-66017 are about those). The
//!   caller must never give the same execution id twice; ids of the sub-protocols are derived from it, the
//!   participants and what is signed, so that two parties who disagree refuse each other's first message.
//! - **Waiting.** A participant that goes silent must not hold anything for ever. The protocols wait only on the
//!   [`Wire`]: closing it (a deadline, a lost peer) or dropping the future ends the session.
//!
//! The protocols burn processor time for seconds between two messages, so each runs on a thread of its own, and
//! `runner` lets only as many compute at once as there are cores.

mod ecdsa;
mod error;
mod frost;
mod guard;
mod primes;
mod runner;
mod share;
pub mod test_primes;
mod verify;
mod wire;

pub use self::{
    error::ProtocolError,
    primes::{Primes, PrimesProgress},
    share::Share,
    wire::{Envelope, MAX_FRAME, Wire},
};

use self::wire::Link;
use bursar_domain::signing::{Scheme, SignatureBytes, SigningPayload};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Who takes part in a distributed key generation. Every participant must give the same values but for `me`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeygenParams {
    /// Never used before, and bound to what the participants agreed on.
    pub execution_id: [u8; 32],
    /// This party's index in the key, 0 to `parties` − 1; also its session index.
    pub me: u16,
    /// n: how many parties get a share.
    pub parties: u16,
    /// t: how many shares sign; 2 ≤ t ≤ n.
    pub threshold: u16,
}

impl KeygenParams {
    fn check(&self) -> Result<(), ProtocolError> {
        if self.threshold < 2 || self.threshold > self.parties {
            return Err(ProtocolError::InvalidParams {
                field: "threshold",
                reason: "must be at least 2 and at most the number of parties",
            });
        }
        if self.me >= self.parties {
            return Err(ProtocolError::InvalidParams {
                field: "me",
                reason: "must be under the number of parties",
            });
        }
        Ok(())
    }
}

/// Who signs what. Every participant must give the same values but for `me`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignParams {
    /// Never used before, and bound to what the participants agreed on.
    pub execution_id: [u8; 32],
    /// This party's place in `signers`; its session index.
    pub me: u16,
    /// Key indexes of exactly t parties, ascending.
    pub signers: Vec<u16>,
    pub payload: SigningPayload,
}

impl SignParams {
    fn check(&self, share: &Share) -> Result<(), ProtocolError> {
        let refuse = |field, reason| Err(ProtocolError::InvalidParams { field, reason });
        let key = share.group_key();
        if self.payload.scheme != key.scheme {
            return refuse("payload.scheme", "must be the scheme of the key share");
        }
        if self.signers.len() != usize::from(key.threshold) {
            return refuse("signers", "must be exactly as many as the key's threshold");
        }
        if !self.signers.is_sorted_by(|a, b| a < b) || self.signers.iter().any(|&i| i >= key.parties) {
            return refuse("signers", "must be distinct key indexes in ascending order");
        }
        if self.signers.get(usize::from(self.me)) != Some(&share.index()) {
            return refuse("me", "must be the place of this share's index among the signers");
        }
        if self.payload.scheme != Scheme::Ed25519 && self.payload.message.len() != 32 {
            return refuse("payload.message", "must be a 32-byte digest");
        }
        // Bitcoin only knows tweaked outputs here: an untweaked key could be spent through a hidden script tree.
        if self.payload.taproot_tweak != (self.payload.scheme == Scheme::Bip340) {
            return refuse("payload.taproot_tweak", "must be set for bip340 and only there");
        }
        Ok(())
    }

    fn session(&self, share: &Share) -> [u8; 32] {
        let key = share.group_key();
        let signers: Vec<u8> = self.signers.iter().flat_map(|index| index.to_be_bytes()).collect();
        let path: Vec<u8> = self.payload.path.elements().iter().flat_map(|e| e.to_be_bytes()).collect();
        derive_id(
            "sign",
            key.scheme,
            &[
                &self.execution_id,
                &key.public_key,
                &key.chain_code,
                &key.generation.to_be_bytes(),
                &signers,
                &path,
                &self.payload.message,
            ],
        )
    }
}

/// How far a key generation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// A protocol round began; `round` counts from 1 within the part called `name`.
    Round { scheme: Scheme, name: &'static str, round: u16 },
    /// The share is complete and valid. Nothing else follows.
    Finished { scheme: Scheme },
}

/// Generates a distributed key with all other parties and returns this party's share of it.
///
/// `primes` are needed for ECDSA, are used up by it, and must never be used again. ECDSA costs some 9 s of processor
/// time per party, the others a few milliseconds.
///
/// # Errors
///
/// [`ProtocolError`]; whatever it is, the session is over and a new one needs a new execution id.
pub async fn keygen(
    scheme: Scheme,
    params: KeygenParams,
    primes: Option<Primes>,
    wire: Wire,
    progress: impl Fn(Progress) + Send + 'static,
) -> Result<Share, ProtocolError> {
    params.check()?;
    let link = Link::new(wire, params.me, params.parties);
    let session = derive_id(
        "keygen",
        scheme,
        &[&params.execution_id, &params.parties.to_be_bytes(), &params.threshold.to_be_bytes()],
    );
    match scheme {
        Scheme::EcdsaSecp256k1 => {
            let primes = primes.ok_or(ProtocolError::PrimesRequired)?;
            runner::run(move || ecdsa::keygen(session, params, primes, link, progress)).await
        }
        Scheme::Bip340 => runner::run(move || frost::keygen_bip340(session, params, link, progress)).await,
        Scheme::Ed25519 => runner::run(move || frost::keygen_ed25519(session, params, link, progress)).await,
    }
}

/// Signs with the other signers. The signature is verified under the child key that
/// [`bursar_domain::hd::derive_public_key`] gives before it is returned.
///
/// # Errors
///
/// [`ProtocolError`]; whatever it is, the session is over and a new one needs a new execution id.
pub async fn sign(
    share: Arc<Share>,
    params: SignParams,
    wire: Wire,
) -> Result<SignatureBytes, ProtocolError> {
    params.check(&share)?;
    let parties = share.group_key().threshold;
    let link = Link::new(wire, params.me, parties);
    let session = params.session(&share);
    let (key, payload) = (share.group_key(), params.payload.clone());
    let signature = runner::run(move || async move {
        match share.inner() {
            share::Inner::Ecdsa(share) => ecdsa::sign(session, share, &params, link).await,
            share::Inner::Bip340(share) => frost::sign_bip340(session, share, &params, link).await,
            share::Inner::Ed25519(share) => frost::sign_ed25519(session, share, &params, link).await,
        }
    })
    .await?;
    verify::signature(&key, &payload, &signature)?;
    Ok(signature)
}

/// An id for one protocol run or one of its parts: no two purposes, schemes or lists of parts share one.
fn derive_id(purpose: &str, scheme: Scheme, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"bursar threshold protocol v1");
    for part in [purpose.as_bytes(), scheme.name().as_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
