//! What a provider says later about something screened before.

use super::{MAX_TEXT, RiskBand, is_text};
use crate::{
    canonical::Canonical,
    governance::{
        directory::{Directory, UserId},
        signature::Signature,
        verdict::{NotScreened, screener},
    },
    ids::DepositId,
    intent::IntentDigest,
    network::Network,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most alerts in one page.
pub const MAX_ALERTS: usize = 500;
const MAX_ID: usize = 200;
const MAX_ADDRESS: usize = 100;
const MAX_CURSOR: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alert {
    /// Names the alert for good: the same one may come twice, by callback and by poll.
    pub id: String,
    pub subject: AlertSubject,
    pub risk: RiskBand,
    pub sanctions: bool,
    /// For people.
    pub description: String,
    pub raised_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    content = "of",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum AlertSubject {
    Transfer(IntentDigest),
    Deposit(DepositId),
    Address { network: Network, address: String },
}

/// An alert, signed by the screening service with the key of its user in the governance log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedAlert {
    pub alert: Alert,
    pub signature: Signature,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertPage {
    pub alerts: Vec<SignedAlert>,
    /// Where to go on; absent when nothing was ever raised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAlert {
    #[error("{field}: must be 1 to {max} characters without control characters")]
    Text { field: &'static str, max: usize },
    #[error("alerts: at most {MAX_ALERTS} in one page")]
    TooMany,
}

impl Alert {
    pub fn canonical(&self) -> Canonical {
        let Self { id, subject, risk, sanctions, description, raised_at } = self;
        let out = Canonical::new("bursar/alert/v1").text(id);
        let out = match subject {
            AlertSubject::Transfer(intent) => out.text("TRANSFER").bytes(&intent.0),
            AlertSubject::Deposit(deposit) => out.text("DEPOSIT").text(deposit),
            AlertSubject::Address { network, address } => out.text("ADDRESS").text(network).text(address),
        };
        out.text(risk)
            .number(u64::from(*sanctions))
            .text(description)
            .number(raised_at.micros().cast_unsigned())
    }

    /// What the signature is over.
    pub fn digest(&self) -> [u8; 32] {
        self.canonical().digest()
    }

    /// # Errors
    /// The first thing that is wrong, with its field.
    pub fn check(&self) -> Result<(), InvalidAlert> {
        let text = |field, text: &str, max| {
            let valid = !text.is_empty() && is_text(text, max);
            valid.then_some(()).ok_or(InvalidAlert::Text { field, max })
        };
        text("id", &self.id, MAX_ID)?;
        if let AlertSubject::Address { address, .. } = &self.subject {
            text("subject.address", address, MAX_ADDRESS)?;
        }
        text("description", &self.description, MAX_TEXT)
    }
}

impl SignedAlert {
    /// Whether it is signed by a service of this directory that may screen; by one of `screeners`, where the policy names them.
    ///
    /// # Errors
    /// What is wrong with signature or signer.
    pub fn verify(
        &self,
        directory: &Directory,
        screeners: Option<&BTreeSet<UserId>>,
    ) -> Result<(), NotScreened> {
        screener(&self.signature, directory, &self.alert.digest(), screeners).map(|_| ())
    }
}

impl AlertPage {
    /// # Errors
    /// The first thing that is wrong, with its field. Verifies no signature.
    pub fn check(&self) -> Result<(), InvalidAlert> {
        if self.alerts.len() > MAX_ALERTS {
            return Err(InvalidAlert::TooMany);
        }
        if self.next.as_ref().is_some_and(|next| next.is_empty() || !is_text(next, MAX_CURSOR)) {
            return Err(InvalidAlert::Text { field: "next", max: MAX_CURSOR });
        }
        self.alerts.iter().try_for_each(|signed| signed.alert.check())
    }
}
