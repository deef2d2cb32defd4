//! Why a session failed.

use bursar_domain::signing::Scheme;

/// Why a key generation or a signing session failed, or why stored protocol material was refused.
///
/// Peers are named by their session index. The underlying protocols do not prove who misbehaved to anyone else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    #[error("protocol parameter {field} {reason}")]
    InvalidParams { field: &'static str, reason: &'static str },
    #[error("generating an ECDSA key needs Paillier primes: generate them first")]
    PrimesRequired,
    #[error("too many protocol sessions run at once (limit {limit}): try again later")]
    Busy { limit: usize },
    /// The caller closed the wire or dropped the session, because of a deadline or a lost peer.
    #[error("the session was aborted before its end: start a new one")]
    Aborted,
    #[error("a message came from session index {peer}, which is not another participant")]
    UnknownSender { peer: u16 },
    #[error("the message of participant {peer} has {len} bytes, over the limit of {limit}")]
    FrameTooLarge { peer: u16, len: usize, limit: usize },
    /// Also when the participants disagree on who signs what.
    #[error("participant {peer} sent a message of another session")]
    WrongSession { peer: u16 },
    #[error("participant {peer} sent a message that does not decode: {reason}")]
    Malformed { peer: u16, reason: String },
    #[error("participant {peer} sent more messages than the protocol has")]
    Flooded { peer: u16 },
    #[error("participant {peer} sent the message of one round twice")]
    Repeated { peer: u16 },
    #[error("participant {peer} sent an invalid proof {proof}: it is faulty or malicious")]
    InvalidProof { peer: u16, proof: &'static str },
    /// A participant broke the protocol, or the protocol crate found a fault of its own.
    #[error("the {scheme} protocol failed: {reason}")]
    Protocol { scheme: Scheme, reason: String },
    #[error("the {scheme} protocol gave a signature that does not verify: it was discarded")]
    InvalidSignature { scheme: Scheme },
    #[error("the stored key share is invalid: {reason}; restore it from a backup")]
    InvalidShare { reason: String },
    #[error("the stored Paillier primes are invalid: {reason}; generate new ones")]
    InvalidPrimes { reason: String },
    /// A bug in a protocol implementation; the session's thread ended without an outcome.
    #[error("the protocol crashed: nothing was signed by this session")]
    Crashed,
}

impl ProtocolError {
    /// The protocol crates' messages name no secrets; they explain themselves only through their sources.
    pub(super) fn protocol(scheme: Scheme, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(": ");
            reason.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Protocol { scheme, reason }
    }
}
