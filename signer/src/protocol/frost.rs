//! FROST (RFC 9591) for BIP-340 and Ed25519, with keys from the CGGMP21 distributed key generation.

use super::{
    KeygenParams, Progress, ProtocolError, Share, SignParams, derive_id,
    share::Inner,
    wire::{self, Link},
};
use bursar_domain::signing::{Scheme, SignatureBytes};
use givre::{
    Ciphersuite, KeyShare,
    ciphersuite::{Bitcoin, Ed25519},
    generic_ec::{Curve, curves},
    key_share::Validate as _,
    keygen::{
        ExecutionId,
        progress::{Event, Tracer},
    },
    round_based::MpcParty,
    signing::aggregate::Signature,
};
use rand::rngs::OsRng;
use std::sync::Mutex;

pub(super) async fn keygen_bip340<P: Fn(Progress) + Send>(
    session: [u8; 32],
    params: KeygenParams,
    link: Link,
    progress: P,
) -> Result<Share, ProtocolError> {
    let share = keygen::<curves::Secp256k1, P>(Scheme::Bip340, session, &params, link, progress).await?;
    Ok(Share::new(Inner::Bip340(share), 0))
}

pub(super) async fn keygen_ed25519<P: Fn(Progress) + Send>(
    session: [u8; 32],
    params: KeygenParams,
    link: Link,
    progress: P,
) -> Result<Share, ProtocolError> {
    let share = keygen::<curves::Ed25519, P>(Scheme::Ed25519, session, &params, link, progress).await?;
    Ok(Share::new(Inner::Ed25519(share), 0))
}

/// Under the BIP-341 output key of the child at the payload's path, with no script tree (BIP-86).
pub(super) async fn sign_bip340(
    session: [u8; 32],
    share: &KeyShare<curves::Secp256k1>,
    params: &SignParams,
    link: Link,
) -> Result<SignatureBytes, ProtocolError> {
    sign::<Bitcoin>(Scheme::Bip340, session, share, params, link).await
}

/// For the child key at the payload's path.
pub(super) async fn sign_ed25519(
    session: [u8; 32],
    share: &KeyShare<curves::Ed25519>,
    params: &SignParams,
    link: Link,
) -> Result<SignatureBytes, ProtocolError> {
    sign::<Ed25519>(Scheme::Ed25519, session, share, params, link).await
}

async fn keygen<E: Curve, P: Fn(Progress) + Send>(
    scheme: Scheme,
    session: [u8; 32],
    params: &KeygenParams,
    mut link: Link,
    mut progress: P,
) -> Result<KeyShare<E>, ProtocolError> {
    let fault = link.fault();
    let failed =
        |error: &(dyn std::error::Error + 'static)| fault.or(|| ProtocolError::protocol(scheme, error));
    let key_id = derive_id("key", scheme, &[&session]);
    let mut rounds = Rounds { scheme, round: 0, progress: Mutex::new(&mut progress) };
    let channel = link.part(wire::tag(&key_id), None);
    let share = givre::keygen::<E>(ExecutionId::new(&key_id), params.me, params.parties)
        .set_threshold(params.threshold)
        .hd_wallet(true)
        .enforce_reliable_broadcast(true)
        .set_progress_tracer(&mut rounds)
        .start(&mut OsRng, MpcParty::connected(channel))
        .await
        .map_err(|error| failed(&error))?;
    let share = share.into_inner().validate().map_err(|error| failed(&error.into_error()))?;
    progress(Progress::Finished { scheme });
    Ok(share)
}

async fn sign<C: Ciphersuite>(
    scheme: Scheme,
    session: [u8; 32],
    share: &KeyShare<C::Curve>,
    params: &SignParams,
    mut link: Link,
) -> Result<SignatureBytes, ProtocolError> {
    let SignParams { me, signers, payload, .. } = params;
    let fault = link.fault();
    let failed =
        |error: &(dyn std::error::Error + 'static)| fault.or(|| ProtocolError::protocol(scheme, error));
    // FROST has no execution id: the tag of each frame is what ties a message to this session.
    let channel = link.part(wire::tag(&session), None);
    let mut builder = givre::signing::<C>(*me, share, signers, &payload.message)
        .set_derivation_path(payload.path.elements())
        .map_err(|error| failed(&error))?;
    if C::IS_TAPROOT {
        builder = builder.set_taproot_tweak(None).map_err(|error| failed(&error))?;
    }
    let signature =
        builder.sign(&mut OsRng, MpcParty::connected(channel)).await.map_err(|error| failed(&error))?;
    let mut bytes = [0; 64];
    if Signature::<C>::serialized_len() != bytes.len() {
        return Err(ProtocolError::InvalidSignature { scheme });
    }
    signature.write_to_slice(&mut bytes);
    Ok(SignatureBytes(bytes))
}

/// As in the ECDSA module: the two generations of the key generation crate have a tracer each.
struct Rounds<'a, P> {
    scheme: Scheme,
    round: u16,
    progress: Mutex<&'a mut P>,
}

impl<P: Fn(Progress) + Send> Tracer for Rounds<'_, P> {
    fn trace_event(&mut self, event: Event) {
        if let Event::RoundBegins { .. } = event {
            self.round += 1;
            let progress = self.progress.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            progress(Progress::Round { scheme: self.scheme, name: "key generation", round: self.round });
        }
    }
}
