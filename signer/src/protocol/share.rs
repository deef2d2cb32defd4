//! One party's share of a distributed key, and its stored form.

use super::{ProtocolError, test_primes};
use bursar_domain::signing::{GroupKey, Scheme};
use cggmp24::{
    generic_ec::{Curve, curves},
    key_share::{DirtyIncompleteKeyShare, DirtyKeyShare, KeyShare, Valid, Validate},
};
use givre::key_share::{DirtyKeyShare as DirtySchnorrShare, KeyShare as SchnorrShare};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::io;
use zeroize::Zeroizing;

/// A valid key share. The secret scalar is wiped when it is dropped; the Paillier primes of an ECDSA share are not,
/// for their crate does not offer it.
pub struct Share {
    inner: Inner,
    generation: u32,
}

pub(super) enum Inner {
    /// With its auxiliary data.
    Ecdsa(Box<KeyShare<curves::Secp256k1>>),
    Bip340(SchnorrShare<curves::Secp256k1>),
    Ed25519(SchnorrShare<curves::Ed25519>),
}

impl Share {
    pub(super) fn new(inner: Inner, generation: u32) -> Self {
        Self { inner, generation }
    }
    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub fn scheme(&self) -> Scheme {
        match self.inner {
            Inner::Ecdsa(_) => Scheme::EcdsaSecp256k1,
            Inner::Bip340(_) => Scheme::Bip340,
            Inner::Ed25519(_) => Scheme::Ed25519,
        }
    }

    /// This party's index in the key, 0 to n − 1.
    pub fn index(&self) -> u16 {
        match &self.inner {
            Inner::Ecdsa(share) => share.core.i,
            Inner::Bip340(share) => share.i,
            Inner::Ed25519(share) => share.i,
        }
    }

    /// The public side of the key, the same for all its shares.
    pub fn group_key(&self) -> GroupKey {
        match &self.inner {
            Inner::Ecdsa(share) => self.describe(&share.core),
            Inner::Bip340(share) => self.describe(share),
            Inner::Ed25519(share) => self.describe(share),
        }
    }

    /// Whether the Paillier or ring-Pedersen moduli of this party or of another in this key are made with the published primes.
    /// Told from the share itself, so that no file or flag can say otherwise. Such a share is for throw-away networks only.
    pub fn uses_published_primes(&self) -> bool {
        let Inner::Ecdsa(share) = &self.inner else { return false };
        let pedersen = share.aux.pedersen_params.iter().map(|one| &one.hat_N);
        test_primes::divide_any(share.aux.N.iter().chain(pedersen))
    }

    fn describe<E: Curve>(&self, share: &DirtyIncompleteKeyShare<E>) -> GroupKey {
        let parties = u16::try_from(share.key_info.public_shares.len())
            .expect("a validated share has at most u16::MAX parties");
        GroupKey {
            scheme: self.scheme(),
            public_key: share.key_info.shared_public_key.to_bytes(true).to_vec(),
            chain_code: share.key_info.chain_code.expect("checked when the share was made"),
            threshold: share.key_info.vss_setup.as_ref().map_or(parties, |setup| setup.min_signers),
            parties,
            generation: self.generation,
        }
    }

    /// Versioned CBOR, a map of `version`, `scheme`, `generation` and `share` (the last in the form that the protocol
    /// crates keep stable), and then its SHA-256: a changed chain code would still be a valid share, of other addresses.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match &self.inner {
            Inner::Ecdsa(share) => self.encode(&***share),
            Inner::Bip340(share) => self.encode(&**share),
            Inner::Ed25519(share) => self.encode(&**share),
        }
    }

    fn encode<T: Serialize>(&self, share: &T) -> Zeroizing<Vec<u8>> {
        let stored = Stored { version: VERSION, scheme: self.scheme(), generation: self.generation, share };
        let mut bytes = encode(&stored, CHECKSUM);
        let checksum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gave, and validates the share: its secret against the public shares,
    /// those against the group key, and the sizes of the Paillier keys.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::InvalidShare`], for any bytes that are not exactly a valid share.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let (bytes, checksum) =
            bytes.split_last_chunk::<CHECKSUM>().ok_or_else(|| invalid("it is cut short"))?;
        if Sha256::digest(bytes).as_slice() != checksum {
            return Err(invalid("its checksum does not match"));
        }
        let header: Header = decode(bytes).map_err(invalid)?;
        if header.version != VERSION {
            return Err(invalid(format!("version {} is unknown, expected {VERSION}", header.version)));
        }
        let inner = match header.scheme {
            Scheme::EcdsaSecp256k1 => Inner::Ecdsa(Box::new(ecdsa(body(bytes)?)?)),
            Scheme::Bip340 => Inner::Bip340(schnorr(body(bytes)?)?),
            Scheme::Ed25519 => Inner::Ed25519(schnorr(body(bytes)?)?),
        };
        Ok(Self::new(inner, header.generation))
    }
}

const VERSION: u16 = 1;

/// Bytes of the SHA-256 at the end.
const CHECKSUM: usize = 32;

#[derive(Deserialize)]
struct Header {
    version: u16,
    scheme: Scheme,
    generation: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<T> {
    version: u16,
    scheme: Scheme,
    generation: u32,
    share: T,
}

fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProtocolError> {
    let stored: Stored<T> = decode(bytes).map_err(invalid)?;
    Ok(stored.share)
}

fn ecdsa(
    share: DirtyKeyShare<curves::Secp256k1>,
) -> Result<Valid<DirtyKeyShare<curves::Secp256k1>>, ProtocolError> {
    supports_derivation(&share.core)?;
    // The crate's own validation takes `aux.N` to have an entry for this party.
    if share.aux.N.len() != share.core.key_info.public_shares.len() {
        return Err(invalid("it has not one Paillier key for each party"));
    }
    share.validate().map_err(|error| invalid(error.into_error()))
}

fn schnorr<E: Curve>(share: DirtySchnorrShare<E>) -> Result<SchnorrShare<E>, ProtocolError> {
    supports_derivation(&share)?;
    share.validate().map_err(|error| invalid(error.into_error()))
}

fn supports_derivation<E: Curve>(share: &DirtyIncompleteKeyShare<E>) -> Result<(), ProtocolError> {
    if share.key_info.chain_code.is_none() {
        return Err(invalid("it has no chain code"));
    }
    if share.key_info.vss_setup.is_none() {
        return Err(invalid("it has no threshold"));
    }
    Ok(())
}

fn invalid(reason: impl ToString) -> ProtocolError {
    ProtocolError::InvalidShare { reason: reason.to_string() }
}

/// CBOR in a buffer with room for `more` bytes, so that it need not move and leave a copy of a secret behind.
pub(super) fn encode<T: Serialize>(value: &T, more: usize) -> Zeroizing<Vec<u8>> {
    let mut size = Count(0);
    ciborium::into_writer(value, &mut size).expect("counting bytes cannot fail");
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.0 + more));
    ciborium::into_writer(value, &mut *bytes).expect("writing to memory cannot fail");
    bytes
}

/// Exactly one CBOR value.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).map_err(|error| error.to_string())?;
    if rest.is_empty() { Ok(value) } else { Err("bytes follow the end".to_owned()) }
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
