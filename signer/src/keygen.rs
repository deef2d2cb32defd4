//! Distributed key generation: all parties meet at a relay, agree on what they do, do it, and confirm it to one another.
//!
//! The relay is not trusted. The session id follows from all pinned identity keys, the threshold and a fresh nonce of every
//! party; all that matters travels in channels that are bound to it ([`crate::mesh`]), so whoever tampers with a nonce on
//! its way only makes the handshakes fail.
//!
//! A share is written as *pending*, then confirmed to all, then put into use. Should some party die in between, the
//! next run finds who holds what: if all hold shares of the same key it is put into use everywhere, and if nobody has it in
//! use yet it is made anew. A share in use is never overwritten.

mod agree;
mod rendezvous;

use crate::{
    config::Config,
    daemon::LinkEnded,
    mesh::MeshError,
    protocol::{Progress, ProtocolError},
    store::StoreError,
    vault::{Vault, VaultError},
};
use bursar_domain::signing::{GroupKey, PartyIndex, Scheme};
use bursar_signer_client::Identity;
use rendezvous::Rendezvous;
use std::{sync::Arc, time::Duration};

pub struct Keygen {
    pub config: Config,
    pub identity: Arc<Identity>,
    pub vault: Arc<Vault>,
    pub schemes: Vec<Scheme>,
    /// Use the published primes: for regtest networks only.
    pub insecure_test_primes: bool,
    pub report: Arc<dyn Fn(Event) + Send + Sync>,
}

/// What people are shown.
#[derive(Debug, Clone)]
pub enum Event {
    /// Who is at the relay.
    Present {
        parties: Vec<PartyIndex>,
        of: u16,
    },
    Progress(Progress),
    /// The key was in place already.
    Held(GroupKey),
    Made(GroupKey),
    /// It did not work out and is tried again.
    Retrying {
        reason: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    #[error(transparent)]
    Link(#[from] LinkEnded),
    #[error(transparent)]
    Mesh(#[from] MeshError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the session store could not be made: {0}")]
    Store(#[from] StoreError),
    #[error("the stock of primes is empty: run bursar-signer primes first")]
    NoPrimes,
    #[error("a party left during key generation")]
    PartyLeft,
    #[error("key generation was not finished in time")]
    Timeout,
    #[error("party {0} sent what does not belong here")]
    Malformed(PartyIndex),
    /// Trying again cannot help.
    #[error("{0}")]
    Disagreement(String),
}

impl KeygenError {
    const fn is_final(&self) -> bool {
        matches!(self, Self::Vault(_) | Self::Store(_) | Self::NoPrimes | Self::Disagreement(_))
            || matches!(self, Self::Link(LinkEnded::Rejected(_)))
    }
}

const RETRY: Duration = Duration::from_secs(1);

/// Waits for all other parties and returns the keys that are in place at the end. Tries again until it works, or until
/// something is wrong that only people can mend.
pub async fn run(keygen: &Keygen) -> Result<Vec<GroupKey>, KeygenError> {
    let relays = &keygen.config.relays;
    for relay in relays.iter().cycle() {
        let attempt = async {
            let rendezvous = Rendezvous::open(keygen, relay).await?;
            rendezvous.run(keygen).await
        };
        match attempt.await {
            Ok(keys) => return Ok(keys),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => (keygen.report)(Event::Retrying { reason: error.to_string() }),
        }
        tokio::time::sleep(crate::daemon::jittered(RETRY)).await;
    }
    Err(KeygenError::Disagreement("relays: at least one is needed".into()))
}
