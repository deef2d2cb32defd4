//! The TCP server that co-signers dial.

use crate::{
    coordinator::Coordinator,
    hub::Hub,
    identity::{Identity, PublicIdentity},
    link::{self, LinkError, LinkReader, LinkWriter},
    message::{FromRelay, Heartbeat, Hello, Mode, PROTOCOL_VERSION, ToRelay},
    upkeep,
};
use bursar_domain::{
    signing::{PartyIndex, PartyRole},
    time::Clock,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// A co-signer that may link here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyConfig {
    pub index: PartyIndex,
    pub name: String,
    pub role: PartyRole,
    pub public_key: PublicIdentity,
}

/// How long to wait, and how much to do at once.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For the handshake and the hello of a new link.
    pub hello: Duration,
    /// Between two signs of life of a link, 1 to 60 s; three missed ones end it. Co-signers are told, and go by it too.
    pub heartbeat: Duration,
    /// For answers to a proposal.
    pub answer: Duration,
    /// For one session.
    pub session: Duration,
    /// Quorums that are tried for one call.
    pub attempts: u32,
    pub concurrent_ecdsa: usize,
    pub concurrent_frost: usize,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(10),
            heartbeat: Duration::from_secs(10),
            answer: Duration::from_secs(20),
            session: Duration::from_secs(90),
            attempts: 3,
            concurrent_ecdsa: 2,
            concurrent_frost: 32,
        }
    }
}

pub struct RelayConfig {
    pub listen: SocketAddr,
    pub identity: Identity,
    /// Every party of the keys, by index from 0.
    pub parties: Vec<PartyConfig>,
    pub deadlines: Deadlines,
    pub clock: Arc<dyn Clock>,
}

#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("relay: cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("co-signers: {0}")]
    Parties(String),
}

/// The running server. Dropping it does not stop it; [`shutdown`](Self::shutdown) does.
pub struct RelayTask {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl RelayTask {
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes every link and stops listening.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        let _ = self.task.await;
    }
}

/// Links that have not said who they are.
const MAX_STRANGERS: usize = 64;

pub struct Relay;

impl Relay {
    /// Listens, and gives the coordinator over whoever links.
    pub async fn bind(config: RelayConfig) -> Result<(Coordinator, RelayTask), RelayError> {
        check(&config.parties)?;
        let at = |source| RelayError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(at)?;
        let address = listener.local_addr().map_err(at)?;
        let shutdown = CancellationToken::new();
        let hub = Arc::new(Hub::new(config.parties, config.deadlines, config.clock, shutdown.clone()));
        let task = tokio::spawn(listen(listener, Arc::new(config.identity), hub.clone()));
        tracing::info!(%address, "relay listens for co-signers");
        Ok((Coordinator::new(hub), RelayTask { address, shutdown, task }))
    }
}

fn check(parties: &[PartyConfig]) -> Result<(), RelayError> {
    let wrong = |text: String| Err(RelayError::Parties(text));
    if parties.len() < 2 {
        return wrong("at least two are needed".into());
    }
    let indexes: BTreeSet<_> = parties.iter().map(|party| usize::from(party.index.0)).collect();
    if !indexes.iter().copied().eq(0..parties.len()) {
        return wrong(format!("indexes must be 0 to {}, each once", parties.len() - 1));
    }
    let keys: BTreeSet<_> = parties.iter().map(|party| party.public_key).collect();
    if keys.len() != parties.len() {
        return wrong("public_key: two parties have the same".into());
    }
    Ok(())
}

async fn listen(listener: TcpListener, identity: Arc<Identity>, hub: Arc<Hub>) {
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    loop {
        let accepted = tokio::select! {
            () = hub.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "relay cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = strangers.clone().try_acquire_owned() else {
            tracing::warn!(%from, "too many unauthenticated connections; one more is closed");
            continue;
        };
        let (identity, hub) = (identity.clone(), hub.clone());
        tokio::spawn(async move {
            let greeted = timeout(hub.deadlines.hello, greet(stream, &identity, &hub)).await;
            drop(permit);
            match greeted {
                Ok(Ok((hello, reader, writer))) => serve(&hub, hello, reader, writer).await,
                Ok(Err(error)) => tracing::warn!(%from, %error, "connection refused"),
                Err(_) => tracing::warn!(%from, "connection refused: it did not say hello in time"),
            }
        });
    }
}

#[derive(Debug, thiserror::Error)]
enum GreetError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("{0}")]
    Rejected(String),
}

async fn greet(
    stream: TcpStream,
    identity: &Identity,
    hub: &Hub,
) -> Result<(Hello, LinkReader, LinkWriter), GreetError> {
    let known: Vec<_> = hub.parties.iter().map(|party| party.public_key).collect();
    let (mut reader, mut writer, peer) = link::accept(stream, identity, &known).await?;
    let ToRelay::Hello(hello) = reader.recv().await? else {
        return Err(GreetError::Rejected("it did not begin with a hello".into()));
    };
    let registered = hub.parties.iter().find(|party| party.public_key == peer);
    let reason = match registered {
        _ if hello.protocol != PROTOCOL_VERSION => Some(format!(
            "it speaks protocol {}, this relay {PROTOCOL_VERSION}: run the same version",
            hello.protocol
        )),
        Some(party) if party.index != hello.party => {
            Some(format!("its key is registered for party {}, it claims to be {}", party.index, hello.party))
        }
        Some(party) if party.role != hello.role => {
            Some(format!("party {} is registered with another role", party.index))
        }
        None => Some("its key is not registered".into()),
        Some(_) => None,
    };
    match reason {
        Some(reason) => {
            let _ = writer.send(&FromRelay::Rejected { reason: reason.clone() }).await;
            Err(GreetError::Rejected(reason))
        }
        None => {
            let heartbeat = Heartbeat::new(hub.deadlines.heartbeat);
            writer
                .send(&FromRelay::Welcome { software: env!("CARGO_PKG_VERSION").into(), heartbeat })
                .await?;
            Ok((hello, reader, writer))
        }
    }
}

async fn serve(hub: &Arc<Hub>, hello: Hello, mut reader: LinkReader, mut writer: LinkWriter) {
    let (mode, party) = (hello.mode, hello.party);
    let mut admission = hub.admit(&hello);
    tracing::info!(%party, ?mode, software = hello.software, "co-signer linked");
    if mode == Mode::Sign {
        hub.state().orders.linked(party);
        upkeep::level(hub, party);
        upkeep::show(hub, party);
    }
    let heartbeat = Heartbeat::new(hub.deadlines.heartbeat);
    let close = admission.close.clone();
    let write = async {
        loop {
            let message = match timeout(heartbeat.interval(), admission.queue.recv()).await {
                Ok(Some(message)) => message,
                Ok(None) => return None,
                Err(_) => FromRelay::Ping,
            };
            match timeout(heartbeat.patience(), writer.send(&message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Some(error.to_string()),
                Err(_) => return Some("it does not read".into()),
            }
        }
    };
    let read = async {
        loop {
            match timeout(heartbeat.patience(), reader.recv::<ToRelay>()).await {
                Ok(Ok(message)) => {
                    if !hub.heard(mode, party, message) {
                        return Some("it said what it may not say".to_owned());
                    }
                }
                Ok(Err(error)) => return Some(error.to_string()),
                Err(_) => return Some("it fell silent".to_owned()),
            }
        }
    };
    let reason = tokio::select! {
        () = close.cancelled() => None,
        reason = write => reason,
        reason = read => reason,
    };
    hub.leave(mode, party, admission.id);
    tracing::info!(%party, ?mode, reason = reason.as_deref().unwrap_or("closed here"), "co-signer unlinked");
}
