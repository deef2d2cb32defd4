//! Threshold ECDSA by CGGMP24 (ePrint 2021/060) over secp256k1.

use super::{
    KeygenParams, Primes, Progress, ProtocolError, Share, SignParams, derive_id,
    guard::{Guard, SignMsg},
    share::Inner,
    wire::{self, Link},
};
use bursar_domain::signing::{Scheme, SignatureBytes};
use cggmp24::{
    ExecutionId, KeyShare, PrehashedDataToSign,
    generic_ec::Scalar,
    key_share::Validate as _,
    progress::{Event, Tracer},
    round_based::MpcParty,
    supported_curves::Secp256k1,
};
use rand::rngs::OsRng;
use std::sync::Mutex;

const SCHEME: Scheme = Scheme::EcdsaSecp256k1;

/// Key generation, then the auxiliary data that signing needs (CGGMP24).
pub(super) async fn keygen<P: Fn(Progress) + Send>(
    session: [u8; 32],
    params: KeygenParams,
    primes: Primes,
    mut link: Link,
    mut progress: P,
) -> Result<Share, ProtocolError> {
    let KeygenParams { me, parties, threshold, .. } = params;
    let primes = primes.into_pregenerated()?;
    let fault = link.fault();
    let failed =
        |error: &(dyn std::error::Error + 'static)| fault.or(|| ProtocolError::protocol(SCHEME, error));
    let key_id = derive_id("key", SCHEME, &[&session]);
    let aux_id = derive_id("auxiliary data", SCHEME, &[&session]);

    let mut rounds = Rounds::new("key generation", &mut progress);
    let channel = link.part(wire::tag(&key_id), Some(wire::tag(&aux_id)));
    let core = cggmp24::keygen::<Secp256k1>(ExecutionId::new(&key_id), me, parties)
        .set_threshold(threshold)
        .hd_wallet(true)
        .enforce_reliable_broadcast(true)
        .set_progress_tracer(&mut rounds)
        .start(&mut OsRng, MpcParty::connected(channel))
        .await
        .map_err(|error| failed(&error))?;

    let mut rounds = Rounds::new("auxiliary data", &mut progress);
    let channel = link.part(wire::tag(&aux_id), None);
    let aux = cggmp24::aux_info_gen(ExecutionId::new(&aux_id), me, parties, primes)
        .enforce_reliable_broadcast(true)
        .set_progress_tracer(&mut rounds)
        .start(&mut OsRng, MpcParty::connected(channel))
        .await
        .map_err(|error| failed(&error))?;

    // `from_parts` checks only that the halves fit; the whole is validated too.
    let share = KeyShare::from_parts((core, aux)).map_err(|error| failed(&error.into_error()))?;
    let share = share.into_inner().validate().map_err(|error| failed(&error.into_error()))?;
    progress(Progress::Finished { scheme: SCHEME });
    Ok(Share::new(Inner::Ecdsa(Box::new(share)), 0))
}

/// Full interactive signing of a digest (CGGMP24, without presignatures): low-S, for the child key at the payload's path.
pub(super) async fn sign(
    session: [u8; 32],
    share: &KeyShare<Secp256k1>,
    params: &SignParams,
    mut link: Link,
) -> Result<SignatureBytes, ProtocolError> {
    let SignParams { me, signers, payload, .. } = params;
    let fault = link.fault();
    let failed =
        |error: &(dyn std::error::Error + 'static)| fault.or(|| ProtocolError::protocol(SCHEME, error));
    let (incoming, outgoing) = link.part::<SignMsg>(wire::tag(&session), None);
    let guard = Guard { execution_id: &session, me: *me, signers, share, fault: fault.clone() };
    let party = MpcParty::connected((guard.watch(incoming), outgoing));
    let digest = PrehashedDataToSign::from_scalar(Scalar::from_be_bytes_mod_order(&payload.message));
    let signature = cggmp24::signing(ExecutionId::new(&session), *me, signers, share)
        // With two signers there is nobody else to whom a peer could have told another story.
        .enforce_reliable_broadcast(signers.len() > 2)
        .set_derivation_path(payload.path.elements())
        .map_err(|error| failed(&error))?
        .sign(&mut OsRng, party, &digest)
        .await
        .map_err(|error| failed(&error))?;
    let mut bytes = [0; 64];
    signature.write_to_slice(&mut bytes);
    Ok(SignatureBytes(bytes))
}

/// Tells `progress` of each round. The crates want a tracer that is `Sync`, hence the lock, which is never contended.
struct Rounds<'a, P> {
    name: &'static str,
    round: u16,
    progress: Mutex<&'a mut P>,
}

impl<'a, P: Fn(Progress) + Send> Rounds<'a, P> {
    fn new(name: &'static str, progress: &'a mut P) -> Self {
        Self { name, round: 0, progress: Mutex::new(progress) }
    }
}
impl<P: Fn(Progress) + Send> Tracer for Rounds<'_, P> {
    fn trace_event(&mut self, event: Event) {
        if let Event::RoundBegins { .. } = event {
            self.round += 1;
            let progress = self.progress.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            progress(Progress::Round { scheme: SCHEME, name: self.name, round: self.round });
        }
    }
}
