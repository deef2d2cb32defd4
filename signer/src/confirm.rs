//! The owner's own word on each payment, besides the rules: that of a person, or of the owner's own system.
//!
//! Asked last, about what passed everything else, and not about what takes back a payment that this party took part in. A person decides about the
//! *order*, which its initiator signed: recipients, amounts, asset and the highest fee. So a transaction that is built again with
//! another fee needs no second answer.

mod verifier;

pub use verifier::{InvalidVerifier, Verifier};

use crate::{
    rules::FeeLimit,
    verify::{Allowed, Part, Refusal, RefusalCode},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{directory::UserId, policy::Fired},
    ids::{ExternalId, TransferId},
    intent::{InitiatorId, IntentDigest, Payment},
    package::SigningPackage,
    time::Timestamp,
    wallet::WalletDescriptor,
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// `confirm` of signer.toml: `"none"`, `"person"`, or `{ verifier = "https://…", timeout_seconds = 10 }`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "File", into = "File")]
pub enum Confirm {
    #[default]
    None,
    /// The package waits until somebody answers with `bursar-signer approve` or `reject`.
    Person,
    /// A system of the owner's is asked about each package.
    Verifier {
        url: String,
        /// How long to wait for its answer. Without one nothing is signed.
        timeout: Duration,
        /// How long its yes counts. Whatever begins later is asked about again.
        valid: Duration,
    },
}

impl Confirm {
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "confirm: give \"none\", \"person\", or { verifier = \"https://…\", timeout_seconds = 10 }"
)]
enum File {
    Word(Word),
    Verifier {
        verifier: String,
        #[serde(default = "default_timeout")]
        timeout_seconds: u64,
        #[serde(default = "default_valid")]
        valid_seconds: u64,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    None,
    Person,
}

const fn default_timeout() -> u64 {
    10
}

const fn default_valid() -> u64 {
    60
}

impl From<File> for Confirm {
    fn from(file: File) -> Self {
        match file {
            File::Word(Word::None) => Self::None,
            File::Word(Word::Person) => Self::Person,
            File::Verifier { verifier, timeout_seconds, valid_seconds } => Self::Verifier {
                url: verifier,
                timeout: Duration::from_secs(timeout_seconds),
                valid: Duration::from_secs(valid_seconds),
            },
        }
    }
}
impl From<Confirm> for File {
    fn from(confirm: Confirm) -> Self {
        match confirm {
            Confirm::None => Self::Word(Word::None),
            Confirm::Person => Self::Word(Word::Person),
            Confirm::Verifier { url, timeout, valid } => Self::Verifier {
                verifier: url,
                timeout_seconds: timeout.as_secs(),
                valid_seconds: valid.as_secs(),
            },
        }
    }
}

/// Payments of one initiator that people are asked about at a time. More than they would read; with it, whoever has an initiator's key
/// neither fills this party's disk nor buries the question of another.
pub const MAX_QUESTIONS: u32 = 200;

/// What a person of this party said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    Approved { at: Timestamp },
    Rejected { at: Timestamp, reason: String },
}

/// What only costs a fee.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaysNobody {
    /// Uses up this nonce.
    Fills { nonce: u64 },
    /// Takes back an order that this party took no part in paying, which may be on its way all the same.
    Cancels,
}

/// An order that a person is asked about, as this party decoded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    pub id: IntentDigest,
    pub asked_at: Timestamp,
    pub transfer: TransferId,
    pub external_id: ExternalId,
    pub initiator: InitiatorId,
    /// Who that is in the governance log.
    pub user: Option<UserId>,
    pub wallet: WalletDescriptor,
    pub asset: Asset,
    /// In the asset's smallest unit; empty for what pays nobody.
    pub payments: Vec<Payment>,
    /// What it is, if it pays nobody.
    #[serde(default)]
    pub pays_nobody: Option<PaysNobody>,
    /// Of this transaction, in the chain's own smallest unit.
    pub fee: Amount,
    /// Of any for this order.
    pub max_fee: Amount,
    /// Of the question: of an order its own, of what takes one back perhaps later.
    pub expires_at: Timestamp,
    /// The policy's rules, and what each had to say; none without a governance log.
    pub rules: Vec<Fired>,
    #[serde(default)]
    pub verdict: Option<Verdict>,
}

impl Confirmation {
    /// `max_expiry`: how far ahead this party lets an order's expiry lie.
    pub(crate) fn of(
        package: &SigningPackage,
        allowed: &Allowed,
        rules: &[Fired],
        user: Option<UserId>,
        now: Timestamp,
        max_expiry: Duration,
    ) -> Self {
        let intent = &package.intent.intent;
        // What expired can still be taken back, and its people must be left the time to say so.
        let expires_at = match allowed.part {
            Part::Cancels => intent.expires_at.max(now.plus(max_expiry)),
            Part::Pays | Part::Child => intent.expires_at,
        };
        let cancels = (allowed.part == Part::Cancels).then_some(PaysNobody::Cancels);
        let pays_nobody = intent.fills.map(|nonce| PaysNobody::Fills { nonce }).or(cancels);
        Self {
            id: allowed.question(),
            asked_at: now,
            transfer: package.transfer,
            external_id: intent.external_id.clone(),
            initiator: package.intent.initiator(),
            user,
            wallet: intent.wallet,
            asset: intent.asset,
            // As ordered: a recall can only make it less.
            payments: if pays_nobody.is_some() { Vec::new() } else { intent.payments.clone() },
            pays_nobody,
            fee: allowed.fee,
            max_fee: allowed.fee_cap,
            expires_at,
            rules: rules.to_vec(),
            verdict: None,
        }
    }

    pub const fn is_open(&self) -> bool {
        self.verdict.is_none()
    }

    /// Whether people have looked away for so long that no answer matters: nothing is signed for it any more.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at <= now
    }

    /// How many like it of its initiator may wait at a time.
    pub(crate) const fn most_open(&self, fees: &FeeLimit) -> u32 {
        // More than that are not signed within the window anyway.
        if self.pays_nobody.is_some() { fees.count } else { MAX_QUESTIONS }
    }

    /// Whether both are of one initiator, and both pay, or neither does: what pays nobody, which takes fewer approvals, leaves payments
    /// their room. Whoever has several keys has one room.
    pub(crate) fn crowds(&self, other: &Self) -> bool {
        let same = match (&self.user, &other.user) {
            (Some(one), Some(two)) => one == two,
            _ => self.initiator == other.initiator,
        };
        same && self.pays_nobody.is_some() == other.pays_nobody.is_some()
    }
}

/// For people.
impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.id)?;
        match &self.user {
            // What was ordered before orders named users named keys.
            Some(user) if matches!(self.initiator, InitiatorId::Key(_)) => {
                writeln!(f, "  order {} of {user} ({})", self.external_id, self.initiator)?;
            }
            Some(user) => writeln!(f, "  order {} of {user}", self.external_id)?,
            None => writeln!(f, "  order {} of {}", self.external_id, self.initiator)?,
        }
        writeln!(f, "  wallet {}", self.wallet)?;
        match &self.pays_nobody {
            Some(PaysNobody::Fills { nonce }) => writeln!(f, "  pays nobody: uses up nonce {nonce}")?,
            Some(PaysNobody::Cancels) => writeln!(f, "  pays nobody: takes the order back")?,
            None => {}
        }
        for payment in &self.payments {
            let unit = self.asset;
            write!(
                f,
                "  pays {} {unit} (smallest units) to {}",
                payment.amount, payment.destination.address
            )?;
            match payment.destination.tag {
                Some(tag) => writeln!(f, " tag {tag}")?,
                None => writeln!(f)?,
            }
        }
        write!(f, "  fee {}, at most {}", self.fee, self.max_fee)?;
        for fired in self.rules.iter().filter(|fired| fired.applies) {
            write!(f, "\n  rule {}: {}", fired.rule, fired.why)?;
        }
        Ok(())
    }
}

/// Whether a person's word lets it pass.
pub(crate) fn confirmed(verdict: Option<&Verdict>, id: IntentDigest) -> Result<(), Refusal> {
    match verdict {
        Some(Verdict::Approved { .. }) => Ok(()),
        Some(Verdict::Rejected { reason, .. }) => {
            let reason = format!("a person at this party rejected it: {reason}");
            Err(Refusal::new(RefusalCode::ConfirmationRejected, reason))
        }
        None => {
            let reason = format!("a person at this party must confirm it: bursar-signer approve {id}");
            Err(Refusal::new(RefusalCode::AwaitingConfirmation, reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Holder {
        confirm: Confirm,
    }

    #[test]
    fn the_configuration_is_a_word_or_a_verifier() {
        let made = |timeout, valid| Confirm::Verifier {
            url: "https://x".into(),
            timeout: Duration::from_secs(timeout),
            valid: Duration::from_secs(valid),
        };
        let (verifier, of_default) = (made(3, 5), made(10, 60));
        for (text, confirm) in [
            ("confirm = \"none\"", Confirm::None),
            ("confirm = \"person\"", Confirm::Person),
            ("confirm = { verifier = \"https://x\", timeout_seconds = 3, valid_seconds = 5 }", verifier),
            ("confirm = { verifier = \"https://x\" }", of_default),
        ] {
            let holder: Holder = toml::from_str(text).unwrap();
            assert_eq!(holder.confirm, confirm);
            assert_eq!(toml::from_str::<Holder>(&toml::to_string(&holder).unwrap()).unwrap(), holder);
        }
        for text in ["confirm = \"nobody\"", "confirm = { verifier = \"x\", timeot = 1 }", "confirm = {}"] {
            let error = toml::from_str::<Holder>(text).unwrap_err().to_string();
            assert!(error.contains("confirm: give"), "{error}");
        }
    }
}
