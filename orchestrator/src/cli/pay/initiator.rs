//! As whom orders are signed: a user of a governed desk, by whose log this machine has verified it; elsewhere a bare key.

use crate::{
    cli::{
        Connection, admin, approve,
        confirm::NotSigned,
        governance::{Known, Signer},
    },
    client::Client,
    intake::ProofRequest,
};
use anyhow::Context as _;
use bursar_domain::{
    canonical::Canonical,
    governance::{directory::UserId, log::Head, role::Permission, state::State},
    intent::{Intent, SignedIntent, Terms},
};
use ed25519_dalek::{Signer as _, SigningKey};
use std::{fmt::Display, path::Path};

pub enum Initiator {
    Bare(SigningKey),
    User { signer: Signer, terms: Terms },
}

/// Under what is ordered now: the log as this machine has verified it, and its policy in force.
pub struct Standing {
    log: State,
    policy: Head,
}

impl Standing {
    /// `None` where nothing is governed.
    ///
    /// # Errors
    /// Also where no policy is in force: nothing can be ordered.
    pub async fn of(known: &Known, connection: &Connection, client: &Client) -> anyhow::Result<Option<Self>> {
        let Some(log) = known.verified_if_governed(connection, client).await? else { return Ok(None) };
        let published =
            log.policy().context("no policy is in force at this desk, so nothing can be ordered")?;
        let policy = published.version;
        Ok(Some(Self { log, policy }))
    }

    /// What an order of this user names.
    ///
    /// # Errors
    /// Whoever is no user of the desk who initiates transfers: what they signed would be refused.
    pub fn terms(&self, initiator: UserId) -> anyhow::Result<Terms> {
        let may = self.log.directory().may(&initiator, Permission::Initiate);
        anyhow::ensure!(
            may,
            "{initiator} is no active user of this desk with a role that initiates transfers"
        );
        Ok(Terms { desk: self.log.genesis_digest(), policy: self.policy, initiator })
    }
}

impl Initiator {
    pub async fn load(
        file: &Path,
        known: &Known,
        connection: &Connection,
        client: &Client,
    ) -> anyhow::Result<Self> {
        Ok(match Standing::of(known, connection, client).await? {
            None => Self::Bare(admin::load_initiator_key(file)?),
            Some(standing) => {
                let signer = Signer::load(file, standing.log.directory().users().cloned().collect())?;
                let terms = standing.terms(signer.user.clone())?;
                Self::User { signer, terms }
            }
        })
    }

    /// As whoever gave this order, in the form in which they gave it; of a user, with any of their keys.
    ///
    /// # Errors
    /// [`NotSigned`] unless the holder of the key signed the order, as this machine verifies it: what the server only says of an order
    /// is worth nothing.
    pub async fn of(
        order: &SignedIntent,
        file: &Path,
        known: &Known,
        connection: &Connection,
        client: &Client,
    ) -> anyhow::Result<Self> {
        let Some(terms) = order.intent.terms.clone() else {
            let key = admin::load_initiator_key(file)?;
            let initiator = order.verify_key().map_err(|invalid| {
                NotSigned(format!("the order that the server shows is not its initiator's: {invalid}"))
            })?;
            if initiator.0 != *key.verifying_key().as_bytes() {
                return Err(not_theirs(&file.display(), &initiator));
            }
            return Ok(Self::Bare(key));
        };
        let log = known.verified(connection, client).await?;
        let initiator = approve::initiator(&log, order)?;
        let signer = Signer::load(file, log.directory().users().cloned().collect())?;
        if signer.user != initiator.id {
            return Err(not_theirs(&signer.user, &initiator.id));
        }
        Ok(Self::User { signer, terms })
    }

    pub fn terms(&self) -> Option<Terms> {
        match self {
            Self::Bare(_) => None,
            Self::User { terms, .. } => Some(terms.clone()),
        }
    }

    /// `initiator` and `signature` of a request.
    pub fn sign(&self, intent: &Intent) -> (Option<String>, ProofRequest) {
        let public = match self {
            Self::Bare(key) => Some(hex::encode(key.verifying_key().as_bytes())),
            Self::User { .. } => None,
        };
        (public, self.signature(&intent.canonical()))
    }

    /// As an initiator signs: a bare key the bytes, a user their digest.
    pub fn signature(&self, signed: &Canonical) -> ProofRequest {
        match self {
            Self::Bare(key) => hex::encode(key.sign(signed.as_bytes()).to_bytes()).into(),
            Self::User { signer, .. } => signer.sign(&signed.digest()).into(),
        }
    }
}

fn not_theirs(whose: &impl Display, initiator: &impl Display) -> anyhow::Error {
    NotSigned(format!("initiator: {initiator} signed this order, and {whose} did not")).into()
}
