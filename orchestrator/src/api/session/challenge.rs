//! Challenges that need no memory: when it is over, random bytes, and a MAC over both by a secret that the processes of the database share.
//! Anybody may ask for one, so that it costs no write. What it was used for once is written down.

use crate::api::{ApiState, problem::Problem};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use bursar_domain::{canonical::Canonical, governance::log::EntryDigest, time::Timestamp};
use bursar_store::{StoreError, nonces};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

const GOOD_FOR: Duration = Duration::from_secs(120);
const SECRET: &str = "session_challenge";

/// 8 bytes of time, 16 of randomness, 32 of HMAC-SHA-256.
pub struct Challenge([u8; 56]);

impl Challenge {
    pub fn bytes(&self) -> &[u8; 56] {
        &self.0
    }
    /// Microseconds since 1970, as they stand in it.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp(i64::from_be_bytes(*self.0.first_chunk().expect("it has more than 8 bytes")))
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a passkey signs to log in.
pub fn digest(desk: EntryDigest, challenge: &[u8; 56]) -> [u8; 32] {
    Canonical::new("bursar/session/v1").bytes(&desk.0).bytes(challenge).digest()
}

pub fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

/// A fresh one.
pub async fn issue(
    state: &ApiState,
    rng: &mut (impl rand::RngCore + rand::CryptoRng + Send),
) -> Result<Challenge, Problem> {
    let mut fresh = Zeroizing::new([0; 32]);
    let mut random = [0; 16];
    rng.fill_bytes(fresh.as_mut());
    rng.fill_bytes(&mut random);
    let secret = match nonces::secret(&state.context.store, SECRET).await? {
        Some(secret) => Zeroizing::new(secret),
        None => first_secret(state, &fresh).await?,
    };
    let expires_at = state.auth.now().plus(GOOD_FOR);
    let mut challenge = [0; 56];
    challenge[..8].copy_from_slice(&expires_at.micros().to_be_bytes());
    challenge[8..24].copy_from_slice(&random);
    let tag = mac(&secret, &challenge[..24]).finalize().into_bytes();
    challenge[24..].copy_from_slice(&tag);
    Ok(Challenge(challenge))
}

/// Keeps the secret, unless another process was first, and reads what is kept now.
async fn first_secret(state: &ApiState, fresh: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let store = &state.context.store;
    let mut tx = store.write().await?;
    nonces::keep_secret(&mut tx, SECRET, fresh).await?;
    tx.commit().await?;
    let missing = || StoreError::NotFound { table: "server_secrets", key: SECRET.into() };
    Ok(Zeroizing::new(nonces::secret(store, SECRET).await?.ok_or_else(missing)?))
}

/// One that this installation gave out; whether it is over is for the caller to see.
pub async fn read(state: &ApiState, text: &str) -> Result<Option<Challenge>, StoreError> {
    let mut bytes = [0; 56];
    if hex::decode_to_slice(text, &mut bytes).is_err() {
        return Ok(None);
    }
    let Some(secret) = nonces::secret(&state.context.store, SECRET).await? else { return Ok(None) };
    let secret = Zeroizing::new(secret);
    let ours = mac(&secret, &bytes[..24]).verify_slice(&bytes[24..]).is_ok();
    Ok(ours.then_some(Challenge(bytes)))
}

fn mac(secret: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(message);
    mac
}
