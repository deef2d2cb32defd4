//! The four safe primes behind a party's part of an ECDSA key: two of its Paillier key and two of its ring-Pedersen
//! parameters. Finding them takes one to two minutes of processor time, so they are made ahead.

use super::{
    ProtocolError,
    share::{decode, encode},
};
use cggmp24::{
    PregeneratedPrimes,
    backend::Integer,
    security_level::{SecurityLevel, SecurityLevel128},
};
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicBool, Ordering};
use zeroize::Zeroizing;

/// Four safe primes of 1536 bits, for one key generation. They are as secret as the share that is made with them: never
/// use them twice, and delete them once used.
pub struct Primes(Zeroizing<Vec<u8>>);

/// How many of the four primes are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimesProgress {
    pub found: u8,
    pub of: u8,
}

const COUNT: u8 = 4;
const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u16,
    primes: [Integer; COUNT as usize],
}

impl Primes {
    /// Blocks its thread for 56 to 125 s of processor time: call it from one of its own. `cancel` is looked at between
    /// primes; `None` when it was set.
    pub fn generate(cancel: &AtomicBool, mut progress: impl FnMut(PrimesProgress)) -> Option<Self> {
        let mut primes = [(); COUNT as usize].map(|()| None);
        for (found, place) in (0..).zip(&mut primes) {
            progress(PrimesProgress { found, of: COUNT });
            if cancel.load(Ordering::Relaxed) {
                return None;
            }
            let bits = <SecurityLevel128 as SecurityLevel>::RSA_PRIME_BITLEN;
            *place = Some(Integer::generate_safe_prime(&mut OsRng, bits));
        }
        progress(PrimesProgress { found: COUNT, of: COUNT });
        let primes = primes.map(|prime| prime.expect("each place was filled above"));
        Some(Self(encode(&Stored { version: VERSION, primes }, 0)))
    }

    /// Versioned CBOR: a map of `version` and `primes`.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        self.0.clone()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::InvalidPrimes`] unless it is four distinct numbers of the right size. That they are prime is
    /// proven to the other parties during key generation, not tested here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let primes = Self(Zeroizing::new(bytes.to_vec()));
        primes.pregenerated().map(|_| primes)
    }

    pub(super) fn into_pregenerated(self) -> Result<PregeneratedPrimes, ProtocolError> {
        self.pregenerated()
    }

    fn pregenerated(&self) -> Result<PregeneratedPrimes, ProtocolError> {
        let invalid = |reason: String| ProtocolError::InvalidPrimes { reason };
        let stored = self.stored()?;
        if stored.version != VERSION {
            return Err(invalid(format!("version {} is unknown, expected {VERSION}", stored.version)));
        }
        let [a, b, c, d] = &stored.primes;
        if [a == b, a == c, a == d, b == c, b == d, c == d].contains(&true) {
            return Err(invalid("two of them are equal".to_owned()));
        }
        stored.primes.try_into().map_err(|_| invalid("one of them has fewer than 1536 bits".to_owned()))
    }

    fn stored(&self) -> Result<Stored, ProtocolError> {
        decode(&self.0).map_err(|reason| ProtocolError::InvalidPrimes { reason })
    }

    pub(super) fn numbers(&self) -> Result<[Integer; COUNT as usize], ProtocolError> {
        Ok(self.stored()?.primes)
    }
}
