//! Who did something, from where, and with which signature.

use crate::{
    governance::{
        approval::Approval,
        log::EntryDigest,
        quote::SignedQuote,
        signature::Signature,
        verdict::{
            Disposition, Rejection, Release, SignedDisposition, SignedRejection, SignedRelease, SignedVerdict,
        },
    },
    ids::ApiKeyId,
    intent::{InitiatorId, IntentDigest, Proof, SignedIntent},
    recall::SignedRecall,
    screening::{AlertSubject, SignedAlert},
    text::hex_bytes,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Act {
    pub actor: Actor,
    pub origin: Origin,
}

/// Who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Actor {
    /// Whoever called the API.
    Caller {
        /// The API key, or what stands for the user.
        id: ApiKeyId,
        /// Of a governed installation's directory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Which of the user's keys.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// How it was proved: `SIGNATURE`, `SESSION` or `BEARER`.
        proof: String,
    },
    /// Whoever ran a command on a machine of this installation, by the name that the machine gave.
    Command {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<String>,
    },
    /// The engine itself, as it works on.
    Engine,
    /// Nobody that could be told: the request proved nothing.
    Unknown,
}

/// From where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Of the caller: the other end of the connection, or what a trusted proxy says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// `x-request-id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What was asked: `POST /v1/wallets`, or the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The signature of the request itself, where it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_signature: Option<RequestSignature>,
    /// `host:pid` of who wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
}

/// An HTTP Message Signature (RFC 9421) that was verified when the request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestSignature {
    /// Ed25519.
    #[serde(with = "hex_bytes")]
    pub public_key: [u8; 32],
    /// SHA-256 of the signature base: of what was signed.
    #[serde(with = "hex_bytes")]
    pub digest: [u8; 32],
}

/// A signature that the act carried, and what it is over. Whoever has the public keys can verify it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Signed {
    /// The initiator's, of the order with this digest (docs/intent.md). An export has the order beside it.
    Intent {
        digest: IntentDigest,
        #[serde(flatten)]
        proof: Proof,
    },
    /// A vote about a transfer (docs/policy.md).
    Approval { approval: Box<Approval> },
    /// Those over a governance change (docs/governance.md) for the place `seq`.
    Change { digest: EntryDigest, seq: u64, signatures: Vec<Signature> },
    /// Those that came for the release of a transfer that was held (docs/compliance.md), while `seq` was the governance log's last entry.
    Release { release: Release, signatures: Vec<Signature>, seq: u64 },
    /// The one that ended a transfer that was held, while `seq` was the governance log's last entry.
    Rejection { rejection: Rejection, signature: Signature, seq: u64 },
    /// Those that came about a deposit that was held, while `seq` was the governance log's last entry.
    Disposition { disposition: Disposition, signatures: Vec<Signature>, seq: u64 },
    /// The initiator's, by which a payout of the order with this digest is taken back (docs/intent.md). An export has the order beside it.
    Recall { digest: IntentDigest, initiator: InitiatorId, recall: SignedRecall },
    /// A screening service's, about an order, while `seq` was the governance log's last entry (docs/screening.md). An export has the order
    /// beside it.
    Verdict { verdict: Box<SignedVerdict>, seq: u64 },
    /// What a screening service said later, while `seq` was the governance log's last entry. Where the entry is of a transfer, an export has
    /// its order beside it.
    Alert { alert: Box<SignedAlert>, seq: u64 },
    /// A service's, of an asset, while `seq` was the governance log's last entry (docs/policy.md).
    Price { price: Box<SignedQuote>, seq: u64 },
}

impl Signed {
    pub fn intent(signed: &SignedIntent) -> Self {
        Self::Intent { digest: signed.intent.digest(), proof: signed.proof.clone() }
    }

    pub fn release(signed: &SignedRelease, seq: u64) -> Self {
        let SignedRelease { release, signatures } = signed.clone();
        Self::Release { release, signatures, seq }
    }

    pub fn rejection(signed: &SignedRejection, seq: u64) -> Self {
        let SignedRejection { rejection, signature } = signed.clone();
        Self::Rejection { rejection, signature, seq }
    }

    pub fn disposition(signed: &SignedDisposition, seq: u64) -> Self {
        let SignedDisposition { disposition, signatures } = signed.clone();
        Self::Disposition { disposition, signatures, seq }
    }

    pub fn recall(order: &SignedIntent, recall: &SignedRecall) -> Self {
        Self::Recall { digest: order.intent.digest(), initiator: order.initiator(), recall: recall.clone() }
    }

    pub fn verdict(signed: &SignedVerdict, seq: u64) -> Self {
        Self::Verdict { verdict: Box::new(signed.clone()), seq }
    }

    pub fn alert(signed: &SignedAlert, seq: u64) -> Self {
        Self::Alert { alert: Box::new(signed.clone()), seq }
    }

    pub fn price(signed: &SignedQuote, seq: u64) -> Self {
        Self::Price { price: Box::new(signed.clone()), seq }
    }

    /// Whether it is verified by a governance log, and not by a bare key.
    pub(super) const fn is_by_log(&self) -> bool {
        !matches!(
            self,
            Self::Intent { proof: Proof::Key { .. }, .. }
                | Self::Recall { initiator: InitiatorId::Key(_), .. }
        )
    }

    /// Whether it can be verified only with the order that it is about.
    pub(super) fn is_of_order(&self) -> bool {
        match self {
            Self::Intent { .. } | Self::Recall { .. } | Self::Verdict { .. } => true,
            Self::Alert { alert, .. } => matches!(alert.alert.subject, AlertSubject::Transfer(_)),
            Self::Approval { .. }
            | Self::Change { .. }
            | Self::Release { .. }
            | Self::Rejection { .. }
            | Self::Disposition { .. }
            | Self::Price { .. } => false,
        }
    }
}
