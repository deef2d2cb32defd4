//! What all parties agree on, over channels that the relay cannot read or change.

use super::{Event, Keygen, KeygenError, rendezvous::Rooms};
use crate::{
    mesh::Mesh,
    protocol::{self, Envelope, KeygenParams, Primes, Share, Wire, test_primes},
    store::Store,
    vault::Vault,
};
use bursar_domain::{
    canonical::Canonical,
    signing::{GroupKey, PartyIndex, Scheme},
};
use bursar_signer_client::{
    PublicIdentity, link,
    message::{SessionId, ToRelay},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

pub(super) struct Ceremony<'a> {
    pub keygen: &'a Keygen,
    pub id: [u8; 32],
    pub members: Vec<(PartyIndex, PublicIdentity)>,
    pub rooms: &'a Rooms,
    pub outbound: mpsc::Sender<ToRelay>,
}

/// What a party wants and holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    threshold: u16,
    schemes: Vec<Scheme>,
    held: Vec<Held>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    key: GroupKey,
    /// Not yet in use.
    pending: bool,
}

/// What follows for one scheme from everybody's standing.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Generate,
    /// All hold shares of this key; those that are pending are put into use.
    Keep(GroupKey),
}

impl Ceremony<'_> {
    pub(super) async fn run(self) -> Result<Vec<GroupKey>, KeygenError> {
        let mut schemes = self.keygen.schemes.clone();
        schemes.sort();
        schemes.dedup();
        let vault = self.keygen.vault.clone();
        let (held, published) = blocking(move || standing(&vault)).await?;
        let mine = Standing { threshold: self.keygen.config.threshold, schemes: schemes.clone(), held };
        let all = self.exchange("standing", &mine).await?;
        for (party, other) in &all {
            if other.threshold != mine.threshold || other.schemes != mine.schemes {
                return Err(KeygenError::Disagreement(format!(
                    "party {party} wants another threshold or other schemes: run keygen alike everywhere"
                )));
            }
        }
        let mut keys = Vec::new();
        for scheme in schemes {
            let key = match decide(scheme, &all)? {
                Plan::Keep(key) => {
                    if published.contains(&scheme) {
                        self.published_primes_are_fine()?;
                    }
                    let pending = mine.held.iter().any(|held| held.key == key && held.pending);
                    if pending {
                        self.promote(&key).await?;
                    }
                    (self.keygen.report)(Event::Held(key.clone()));
                    key
                }
                Plan::Generate => self.generate(scheme).await?,
            };
            keys.push(key);
        }
        Ok(keys)
    }

    async fn generate(&self, scheme: Scheme) -> Result<GroupKey, KeygenError> {
        let primes = self.primes(scheme).await?;
        let session = self.session(scheme.name());
        let config = &self.keygen.config;
        let params = KeygenParams {
            execution_id: session.0,
            me: config.index.0,
            parties: config.parties(),
            threshold: config.threshold,
        };
        let report = self.keygen.report.clone();
        let progress = move |progress| report(Event::Progress(progress));
        let share = self
            .mesh(session)
            .run(self.rooms.take(session), self.outbound.clone(), |wire| {
                protocol::keygen(scheme, params, primes, wire, progress)
            })
            .await??;
        if share.uses_published_primes() {
            self.published_primes_are_fine()?;
        }
        let (vault, key) = (self.keygen.vault.clone(), share.group_key());
        blocking(move || vault.save_pending(&share)).await?;
        // Everybody's share is on disk once everybody has said so.
        let all = self.exchange(&format!("{scheme}/confirm"), &key).await?;
        if let Some((party, _)) = all.iter().find(|(_, theirs)| **theirs != key) {
            return Err(KeygenError::Disagreement(format!("party {party} has another {scheme} key")));
        }
        self.promote(&key).await?;
        (self.keygen.report)(Event::Made(key.clone()));
        Ok(key)
    }

    /// With the first share that is put into use, nothing can have been signed yet: that is the time to make the session store.
    /// Once there are shares, a missing one was lost, and `run` says so.
    async fn promote(&self, key: &GroupKey) -> Result<(), KeygenError> {
        let (vault, key) = (self.keygen.vault.clone(), key.clone());
        let store = Store::file_in(vault.folder());
        if !vault.any_in_use() && !Store::exists(&store) {
            Store::create(&store)?;
        }
        blocking(move || vault.promote(&key)).await
    }

    fn published_primes_are_fine(&self) -> Result<(), KeygenError> {
        if self.keygen.insecure_test_primes {
            return Ok(());
        }
        Err(KeygenError::Disagreement(
            "the ECDSA share was made with published primes, of this party or another, which is for throw-away networks only: \
             generate new keys in new folders, all parties without --insecure-test-primes"
                .into(),
        ))
    }

    async fn primes(&self, scheme: Scheme) -> Result<Option<Primes>, KeygenError> {
        if scheme != Scheme::EcdsaSecp256k1 {
            return Ok(None);
        }
        if self.keygen.insecure_test_primes {
            return Ok(Some(test_primes::load(self.keygen.config.index.0)));
        }
        let vault = self.keygen.vault.clone();
        let primes = blocking(move || vault.take_primes()).await?;
        Ok(Some(primes.ok_or(KeygenError::NoPrimes)?))
    }

    fn session(&self, purpose: &str) -> SessionId {
        SessionId(Canonical::new("bursar/keygen/session/v1").bytes(&self.id).text(purpose).digest())
    }

    fn mesh(&self, session: SessionId) -> Mesh {
        Mesh {
            identity: self.keygen.identity.clone(),
            me: self.keygen.config.index,
            members: self.members.clone(),
            session,
            binding: self.id,
        }
    }

    /// Everybody's value, this party's own included.
    async fn exchange<T: Serialize + DeserializeOwned + Clone>(
        &self,
        purpose: &str,
        mine: &T,
    ) -> Result<BTreeMap<PartyIndex, T>, KeygenError> {
        let session = self.session(purpose);
        let bytes = link::encode(mine).map_err(crate::daemon::LinkEnded::from)?;
        let places = self.members.len();
        let me = self.members.iter().position(|(party, _)| *party == self.keygen.config.index);
        let body = |wire: Wire| async move {
            let Wire { mut incoming, outgoing } = wire;
            for peer in (0..places).filter(|place| Some(*place) != me) {
                let peer = u16::try_from(peer).unwrap_or(u16::MAX);
                let envelope = Envelope { peer, broadcast: true, bytes: bytes.clone() };
                outgoing.send(envelope).await.map_err(|_| KeygenError::PartyLeft)?;
            }
            let mut values = BTreeMap::new();
            while values.len() + 1 < places {
                let envelope = incoming.recv().await.ok_or(KeygenError::PartyLeft)?;
                values.insert(envelope.peer, envelope.bytes);
            }
            Ok::<_, KeygenError>(values)
        };
        let mesh = self.mesh(session);
        let values = mesh.run(self.rooms.take(session), self.outbound.clone(), body).await??;
        let mut all = BTreeMap::from([(self.keygen.config.index, mine.clone())]);
        for (place, bytes) in values {
            let (party, _) = self.members[usize::from(place)];
            all.insert(party, link::decode(&bytes).map_err(|_| KeygenError::Malformed(party))?);
        }
        Ok(all)
    }
}

fn decide(scheme: Scheme, all: &BTreeMap<PartyIndex, Standing>) -> Result<Plan, KeygenError> {
    let of = |standing: &Standing| standing.held.iter().find(|held| held.key.scheme == scheme).cloned();
    let held: Vec<(PartyIndex, Option<Held>)> = all.iter().map(|(party, one)| (*party, of(one))).collect();
    if let Some(first) = held.first().and_then(|(_, held)| held.as_ref())
        && held.iter().all(|(_, held)| held.as_ref().is_some_and(|held| held.key == first.key))
    {
        return Ok(Plan::Keep(first.key.clone()));
    }
    let in_use: Vec<String> = held
        .iter()
        .filter(|(_, held)| held.as_ref().is_some_and(|held| !held.pending))
        .map(|(party, _)| party.to_string())
        .collect();
    if in_use.is_empty() {
        return Ok(Plan::Generate);
    }
    Err(KeygenError::Disagreement(format!(
        "{scheme}: parties {} hold a share in use and others do not hold one of the same key: restore the others' from backup, \
         or remove the share everywhere if nothing was ever paid to this key",
        in_use.join(", ")
    )))
}

/// What is held, and the schemes for which that was made with published primes.
fn standing(vault: &Vault) -> Result<(Vec<Held>, Vec<Scheme>), crate::vault::VaultError> {
    let (mut held, mut published) = (Vec::new(), Vec::new());
    for scheme in Scheme::ALL {
        let (share, pending): (Option<Share>, bool) = match vault.share(scheme)? {
            Some(share) => (Some(share), false),
            None => (vault.pending(scheme)?, true),
        };
        if let Some(share) = share {
            held.push(Held { key: share.group_key(), pending });
            if share.uses_published_primes() {
                published.push(scheme);
            }
        }
    }
    Ok((held, published))
}

/// Encryption at rest costs a second by design: off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::vault::VaultError> + Send + 'static,
) -> Result<T, KeygenError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(crate::vault::VaultError::Io { path: "shares".into(), source: std::io::Error::other(error) })
    })
    .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> GroupKey {
        GroupKey {
            scheme: Scheme::Ed25519,
            public_key: vec![byte; 32],
            chain_code: [0; 32],
            threshold: 2,
            parties: 2,
            generation: 0,
        }
    }

    fn plan(held: [Option<(u8, bool)>; 2]) -> Result<Plan, KeygenError> {
        let all = (0..).map(PartyIndex).zip(held).map(|(party, held)| {
            let held = held.map(|(byte, pending)| Held { key: key(byte), pending }).into_iter().collect();
            (party, Standing { threshold: 2, schemes: vec![Scheme::Ed25519], held })
        });
        decide(Scheme::Ed25519, &all.collect())
    }

    #[test]
    fn a_share_in_use_is_never_replaced() {
        assert_eq!(plan([None, None]).unwrap(), Plan::Generate);
        assert_eq!(plan([Some((1, true)), None]).unwrap(), Plan::Generate);
        assert_eq!(plan([Some((1, true)), Some((2, true))]).unwrap(), Plan::Generate);
        assert_eq!(plan([Some((1, true)), Some((1, false))]).unwrap(), Plan::Keep(key(1)));
        assert_eq!(plan([Some((1, false)), Some((1, false))]).unwrap(), Plan::Keep(key(1)));
        for lost in [[Some((1, false)), None], [Some((1, false)), Some((2, false))], [None, Some((2, false))]]
        {
            assert!(matches!(plan(lost), Err(KeygenError::Disagreement(_))));
        }
    }
}
