//! Signatures in requests: of a bare key, as text, or of a user of a governed desk, as an object.

use super::FieldError;
use bursar_domain::{
    governance::{signature::Signature, state::State},
    intent::{InitiatorKey, Intent, InvalidInitiatorSignature, SignedIntent},
    recall::{RecallSignature, SignedRecall},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Of who initiates: 128 hex digits by a bare Ed25519 key (docs/intent.md), or `user`, `key` and `evidence` by a user of a governed desk, as in
/// approvals (docs/governance.md).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "give 128 hex digits, or an object with user, key and evidence")]
pub enum ProofRequest {
    Key(String),
    User(UserProof),
}

/// `user`, `key` and `evidence`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct UserProof(pub Signature);

impl From<String> for ProofRequest {
    fn from(hex: String) -> Self {
        Self::Key(hex)
    }
}
impl From<Signature> for ProofRequest {
    fn from(signature: Signature) -> Self {
        Self::User(UserProof(signature))
    }
}

/// One payout of a batch that is not to be made any more.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecallRequest {
    /// Index into the transfer's `payments`, from 0.
    pub payment: u32,
    /// By the transfer's initiator, in the form in which they signed the transfer, over the canonical recall (docs/intent.md).
    pub signature: ProofRequest,
}

pub fn recall(request: RecallRequest) -> Result<SignedRecall, Vec<FieldError>> {
    let signature = match request.signature {
        ProofRequest::Key(hex) => RecallSignature::Key(hex_field("signature", &hex)?),
        ProofRequest::User(UserProof(signature)) => RecallSignature::User(signature),
    };
    Ok(SignedRecall { payment: request.payment, signature })
}

/// Joins the request's initiator and signature to its intent, and verifies them: by the governance log, where there is one. Whether the
/// order's terms are those of this desk is another question.
pub fn signed(
    initiator: Option<&str>,
    signature: Option<ProofRequest>,
    intent: Intent,
    log: Option<&State>,
) -> Result<SignedIntent, Vec<FieldError>> {
    let missing = |field| {
        vec![FieldError::new(
            field,
            "is missing: sign the intent with `bursar transfers sign` (a filler: `bursar fill-gap`), or see docs/intent.md",
        )]
    };
    let signed = match signature {
        None if initiator.is_none() && log.is_none() => return Err(missing("initiator")),
        None => return Err(missing("signature")),
        Some(ProofRequest::Key(signature)) => {
            let initiator = hex_field("initiator", initiator.ok_or_else(|| missing("initiator"))?)?;
            let signature = hex_field("signature", &signature)?;
            SignedIntent::by_key(intent, InitiatorKey(initiator), signature)
        }
        Some(ProofRequest::User(_)) if initiator.is_some() => {
            let message = "is named by the terms, and given with a bare key's signature only: leave it out";
            return Err(vec![FieldError::new("initiator", message)]);
        }
        Some(ProofRequest::User(UserProof(signature))) => SignedIntent::by_user(intent, signature),
    };
    let verified = match log {
        Some(log) => signed.verify_user(log.directory()).map(drop),
        None => signed.verify_key().map(drop),
    };
    verified.map_err(|error| vec![FieldError::new(field(&error), message(&error))])?;
    Ok(signed)
}

fn field(error: &InvalidInitiatorSignature) -> &'static str {
    match error {
        InvalidInitiatorSignature::Key => "initiator",
        InvalidInitiatorSignature::NoTerms | InvalidInitiatorSignature::NotGoverned => "terms",
        InvalidInitiatorSignature::OtherUser { .. } => "terms.initiator",
        InvalidInitiatorSignature::Signature
        | InvalidInitiatorSignature::BareKey
        | InvalidInitiatorSignature::User(_) => "signature",
    }
}

/// Without the field that it begins with.
fn message(error: &InvalidInitiatorSignature) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or(text.clone(), |(_, message)| message.to_owned())
}

fn hex_field<const N: usize>(field: &str, text: &str) -> Result<[u8; N], Vec<FieldError>> {
    let mut bytes = [0u8; N];
    let read = hex::decode_to_slice(text, &mut bytes);
    read.map(|()| bytes).map_err(|_| vec![FieldError::new(field, format!("must be {} hex digits", 2 * N))])
}
