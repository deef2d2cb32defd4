//! Throw-away certificates for TLS in tests.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::RegtestError;

/// An authority that nobody else trusts.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

fn invalid(error: rcgen::Error) -> RegtestError {
    RegtestError::Invalid { field: "certificate", reason: error.to_string() }
}

impl Authority {
    /// A new one, by a key that is in no file.
    pub fn new(name: &str) -> Result<Self, RegtestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(invalid)?;
        Ok(Self(CertifiedIssuer::self_signed(params, key).map_err(invalid)?))
    }

    /// Its own certificate, as PEM: what a client trusts.
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate and key as PEM, for these names or addresses.
    pub fn issue(&self, names: &[&str]) -> Result<(String, String), RegtestError> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).map_err(invalid)?;
        let key = KeyPair::generate().map_err(invalid)?;
        let certificate = params.signed_by(&key, &self.0).map_err(invalid)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}
