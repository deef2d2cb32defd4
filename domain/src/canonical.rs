//! One unambiguous byte string for everything that is signed: a domain tag, then each field with its length.

use sha2::{Digest, Sha256};

/// Builds the canonical encoding of a signed object.
///
/// Layout: each field is a 4-byte big-endian length and its bytes, the first field being the domain tag. No two different
/// sequences of fields share an encoding, and no object of one domain is one of another.
#[derive(Debug)]
pub struct Canonical(Vec<u8>);

impl Canonical {
    pub fn new(domain: &str) -> Self {
        Self(Vec::with_capacity(256)).bytes(domain.as_bytes())
    }
    #[must_use]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        let length = u32::try_from(field.len()).expect("fields are bounded far below 4 GiB by their types");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }
    #[must_use]
    pub fn text(self, field: impl std::fmt::Display) -> Self {
        self.bytes(field.to_string().as_bytes())
    }
    #[must_use]
    pub fn number(self, field: u64) -> Self {
        self.bytes(&field.to_be_bytes())
    }
    /// Absent and empty differ: an absent field is the number 0, a present one is the number 1 and the field.
    #[must_use]
    pub fn optional(self, field: Option<impl std::fmt::Display>) -> Self {
        match field {
            None => self.number(0),
            Some(field) => self.number(1).text(field),
        }
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    /// SHA-256 of the encoding.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}
