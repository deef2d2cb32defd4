//! Bearer API keys: 32 random bytes, of which only the SHA-256 is stored. Because the key has full entropy, a plain hash is enough
//! and the lookup by hash leaks nothing about other keys.

use super::{ApiState, problem::Problem};
use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use bursar_domain::ids::ApiKeyId;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub const PREFIX: &str = "bursar_";

/// Which key a request came with.
#[derive(Debug, Clone, Copy)]
pub struct Caller(pub ApiKeyId);

/// A fresh key, to be shown once, and the hash to store.
pub fn new_key(rng: &mut (impl rand::RngCore + rand::CryptoRng)) -> (Zeroizing<String>, [u8; 32]) {
    let mut secret = Zeroizing::new([0u8; 32]);
    rng.fill_bytes(secret.as_mut());
    let key = Zeroizing::new(format!("{PREFIX}{}", *Zeroizing::new(hex::encode(*secret))));
    let hash = hash(&key);
    (key, hash)
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

pub async fn require_key(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| value.strip_prefix("Bearer ")).filter(|key| key.starts_with(PREFIX));
    let key = key.ok_or_else(Problem::unauthorized)?;
    let known = bursar_store::api_keys::by_hash(&state.context.store, &hash(key)).await?;
    let caller = known.filter(|key| key.revoked_at.is_none()).ok_or_else(Problem::unauthorized)?;
    request.extensions_mut().insert(Caller(caller.id));
    Ok(next.run(request).await)
}
