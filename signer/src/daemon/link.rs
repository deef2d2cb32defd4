//! One link to one relay, from hello to its end, and what arrives on it.

use super::{Cosigner, LinkEnded, session};
use crate::{
    config::RelayAddress,
    governance::Governance,
    verify::{Allowed, Refusal, RefusalCode},
};
use bursar_crash::passing;
use bursar_domain::{
    audit::checkpoint::CheckpointRequest, governance::log::Entry, intent::SignedIntent,
    package::SigningPackage, signing::PartyIndex, time::Timestamp,
};
use bursar_signer_client::{
    Identity,
    link::{self, LinkReader, LinkWriter},
    message::{
        Answer, Bytes, FromRelay, Heartbeat, Hello, MAX_ENTRIES, MAX_ORDERS, Nonce, ProposalId, SessionId,
        Start, ToRelay,
    },
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};

/// How a link went.
pub(super) struct Ended {
    /// Since the relay welcomed this party; zero if it did not.
    pub lived: Duration,
    pub error: LinkEnded,
}

/// For connecting, the handshake and the hello.
const GREETING: Duration = Duration::from_secs(10);
/// Accepted packages that one relay may have waiting here; each may be large.
const MAX_PENDING: usize = 128;
/// Sessions that one relay may have running here.
const MAX_SESSIONS: usize = 1024;
/// Packages that are examined at once for one relay.
const MAX_EXAMINED: usize = 32;
/// Frames that may wait for one session.
const FRAMES: usize = 64;
const QUEUE: usize = 256;

/// What this link has open.
#[derive(Default)]
pub(super) struct Table {
    pending: HashMap<ProposalId, Pending>,
    sessions: HashMap<SessionId, mpsc::Sender<(PartyIndex, Bytes)>>,
    /// What is being examined, and whether it was closed meanwhile: then it is not kept.
    examining: HashMap<ProposalId, bool>,
}

/// A package that this party accepted, waiting for its sessions.
pub(super) struct Pending {
    pub package: Arc<SigningPackage>,
    pub allowed: Arc<Allowed>,
    pub nonce: Nonce,
    /// When that was.
    pub at: Timestamp,
    /// Payloads whose session has been started.
    pub started: BTreeSet<u32>,
}

#[derive(Clone)]
pub(super) struct Shared {
    pub cosigner: Arc<Cosigner>,
    pub outbound: mpsc::Sender<ToRelay>,
    table: Arc<Mutex<Table>>,
}

pub(super) async fn serve(cosigner: &Arc<Cosigner>, relay: &RelayAddress) -> Ended {
    let Dialled { reader, writer, heartbeat } = match dial(&cosigner.identity, relay, cosigner.hello()).await
    {
        Ok(dialled) => dialled,
        Err(error) => return Ended { lived: Duration::ZERO, error },
    };
    let welcomed = Instant::now();
    tracing::info!(relay = relay.address, "linked to the relay");
    let (outbound, queue) = mpsc::channel(QUEUE);
    let shared = Shared { cosigner: cosigner.clone(), outbound, table: Arc::default() };
    let error = tokio::select! {
        error = write(writer, queue, heartbeat) => error,
        error = read(reader, shared, heartbeat) => error,
    };
    Ended { lived: welcomed.elapsed(), error }
}

/// An open link, welcomed.
pub(crate) struct Dialled {
    pub reader: LinkReader,
    pub writer: LinkWriter,
    pub heartbeat: Heartbeat,
}

/// Dials a relay and says hello.
pub(crate) async fn dial(
    identity: &Identity,
    relay: &RelayAddress,
    hello: Hello,
) -> Result<Dialled, LinkEnded> {
    let address = || relay.address.clone();
    let greet = async {
        let stream = TcpStream::connect(&relay.address)
            .await
            .map_err(|source| LinkEnded::Connect { address: address(), source })?;
        let (mut reader, mut writer) = link::connect(stream, identity, relay.public_key).await?;
        writer.send(&ToRelay::Hello(hello)).await?;
        match reader.recv().await? {
            FromRelay::Welcome { heartbeat, .. } => Ok(Dialled { reader, writer, heartbeat }),
            FromRelay::Rejected { reason } => Err(LinkEnded::Rejected(reason)),
            _ => Err(LinkEnded::Protocol("it did not answer the hello")),
        }
    };
    timeout(GREETING, greet).await.unwrap_or_else(|_| Err(LinkEnded::Timeout { address: address() }))
}

/// Sends what is queued, and a sign of life where there is nothing.
pub(crate) async fn write(
    mut writer: LinkWriter,
    mut queue: mpsc::Receiver<ToRelay>,
    heartbeat: Heartbeat,
) -> LinkEnded {
    loop {
        let message = match timeout(heartbeat.interval(), queue.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => return LinkEnded::Protocol("the queue was closed"),
            Err(_) => ToRelay::Ping,
        };
        let sent = match act(&message) {
            Some(act) => timeout(heartbeat.patience(), passing(act, writer.send(&message))).await,
            None => timeout(heartbeat.patience(), writer.send(&message)).await,
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.into(),
            Err(_) => return LinkEnded::Protocol("it does not read"),
        }
    }
}

/// What sending it is called among the crash points: whatever another party can learn from, or act on.
const fn act(message: &ToRelay) -> Option<&'static str> {
    match message {
        ToRelay::Answer { .. } => Some("act answer"),
        ToRelay::Peer { .. } => Some("act frame"),
        ToRelay::Done { .. } => Some("act done"),
        // What is signed there is on disk, and cannot be used but to say that it was.
        ToRelay::Checkpoint { .. } => None,
        // What is on disk already; it is told again, or asked for again, over the next link.
        ToRelay::Log(_) | ToRelay::Contradiction { .. } | ToRelay::Seen { .. } => None,
        ToRelay::Hello(_) | ToRelay::Ping => None,
    }
}

async fn read(mut reader: LinkReader, shared: Shared, heartbeat: Heartbeat) -> LinkEnded {
    // Sessions end with their link: dropping the set aborts them.
    let mut tasks = JoinSet::new();
    loop {
        let message = match timeout(heartbeat.patience(), reader.recv::<FromRelay>()).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => return error.into(),
            Err(_) => return LinkEnded::Protocol("it fell silent"),
        };
        while tasks.try_join_next().is_some() {}
        match message {
            FromRelay::Ping | FromRelay::Present { .. } => {}
            FromRelay::Propose { proposal, package } => {
                shared.propose(proposal, package, &mut tasks);
            }
            FromRelay::Governance { entries } if entries.len() > MAX_ENTRIES => {
                return LinkEnded::Protocol("it sent more entries of the log than a message may have");
            }
            // Before whatever comes next: the package that needs them is behind it.
            FromRelay::Governance { entries } => shared.learn(entries).await,
            FromRelay::Orders { orders } if orders.len() > MAX_ORDERS => {
                return LinkEnded::Protocol("it showed more orders than a message may have");
            }
            FromRelay::Orders { orders } => shared.see(orders).await,
            FromRelay::Checkpoint { id, request } => shared.checkpoint(id, request).await,
            FromRelay::Start(start) => shared.start(start, &mut tasks),
            FromRelay::Close { proposal } => {
                let mut table = shared.table();
                table.pending.remove(&proposal);
                if let Some(closed) = table.examining.get_mut(&proposal) {
                    *closed = true;
                }
            }
            FromRelay::Abort { session } => {
                shared.table().sessions.remove(&session);
            }
            FromRelay::Peer { session, from, bytes } => shared.deliver(session, from, bytes),
            FromRelay::Welcome { .. } | FromRelay::Rejected { .. } => {
                return LinkEnded::Protocol("it greeted twice");
            }
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn propose(&self, proposal: ProposalId, package: Box<SigningPackage>, tasks: &mut JoinSet<()>) {
        bursar_crash::begin();
        let mut table = self.table();
        if table.examining.contains_key(&proposal) || table.pending.contains_key(&proposal) {
            // Its answer is on the way, or was given.
            return;
        }
        let overloaded = table.pending.len() >= MAX_PENDING || table.examining.len() >= MAX_EXAMINED;
        if !overloaded {
            table.examining.insert(proposal, false);
        }
        drop(table);
        let shared = self.clone();
        tasks.spawn(async move {
            let answer = if overloaded {
                shared.refuse(&Refusal::new(
                    RefusalCode::Overloaded,
                    "too many packages at once; try again later",
                ))
            } else {
                shared.examine(proposal, package).await
            };
            let _ = shared.outbound.send(ToRelay::Answer { proposal, answer }).await;
        });
    }

    async fn examine(&self, proposal: ProposalId, package: Box<SigningPackage>) -> Answer {
        let (cosigner, package) = (self.cosigner.clone(), Arc::new(*package));
        let examined = package.clone();
        // Decoding, signature checks and disk: off the async threads.
        let decided = tokio::task::spawn_blocking(move || cosigner.decide(&examined)).await;
        // Before the verifier is asked, so that its answer is not older than this says.
        let at = self.cosigner.clock.now();
        let decided = match decided {
            Ok(Ok(allowed)) => self.verifier(&package, &allowed).await.map(|()| allowed),
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => Err(Refusal::new(RefusalCode::Internal, "this party failed; see its log")),
        };
        let mut table = self.table();
        let closed = table.examining.remove(&proposal).unwrap_or(true);
        match decided {
            Ok(allowed) => {
                let nonce = Nonce::random();
                let with = allowed.with.clone();
                let allowed = Arc::new(allowed);
                let pending = Pending { package, allowed, nonce, at, started: BTreeSet::new() };
                if !closed {
                    table.pending.insert(proposal, pending);
                }
                Answer::Accept { nonce, with }
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Asks the owner's own system, last, if there is one.
    async fn verifier(&self, package: &Arc<SigningPackage>, allowed: &Allowed) -> Result<(), Refusal> {
        let Some(verifier) = &self.cosigner.verifier else { return Ok(()) };
        let answer = verifier.ask(package, allowed, allowed.decision.as_ref()).await;
        if let Err(refusal) = &answer {
            let (cosigner, package, recorded) = (self.cosigner.clone(), package.clone(), refusal.clone());
            let written = tokio::task::spawn_blocking(move || cosigner.record(&package, &recorded));
            let _ = written.await;
        }
        answer
    }

    /// Asks it again if its yes of then has become too old.
    pub async fn still_wanted(
        &self,
        package: &Arc<SigningPackage>,
        allowed: &Allowed,
        yes: Timestamp,
    ) -> Result<(), Refusal> {
        match &self.cosigner.verifier {
            Some(verifier) if !verifier.counts(yes, self.cosigner.clock.now()) => {
                self.verifier(package, allowed).await
            }
            _ => Ok(()),
        }
    }

    /// One message after the other: however many are sent, one is in memory.
    async fn see(&self, orders: Vec<SignedIntent>) {
        let cosigner = self.cosigner.clone();
        match tokio::task::spawn_blocking(move || cosigner.see(&orders)).await {
            Ok(orders) if orders.is_empty() => {}
            Ok(orders) => {
                let _ = self.outbound.send(ToRelay::Seen { orders }).await;
            }
            Err(_) => tracing::error!("orders that were shown here could not be looked at"),
        }
    }

    async fn learn(&self, entries: Vec<Entry>) {
        let cosigner = self.cosigner.clone();
        match tokio::task::spawn_blocking(move || cosigner.learn(entries)).await {
            Ok(Ok(taken)) => {
                if let Some(left) = taken.left {
                    tracing::warn!(%left, "entries of the governance log were not taken");
                }
                if let Some(entry) = taken.contradicted {
                    let _ = self.outbound.send(ToRelay::Contradiction { entry: Box::new(entry) }).await;
                }
                // Also if none was taken: then it lacks what comes before them.
                if let Some(governance) = &self.cosigner.governance {
                    let _ = self.outbound.send(ToRelay::Log(governance.report())).await;
                }
            }
            Ok(Err(error)) => tracing::error!(%error, "the governance log could not be extended"),
            Err(_) => tracing::error!("the governance log could not be extended"),
        }
    }

    /// One after the other: however many are sent, one is in memory.
    async fn checkpoint(&self, id: Nonce, request: Box<CheckpointRequest>) {
        let cosigner = self.cosigner.clone();
        match tokio::task::spawn_blocking(move || cosigner.checkpoint(&request)).await {
            Ok(answer) => {
                let _ = self.outbound.send(ToRelay::Checkpoint { id, answer }).await;
            }
            Err(_) => tracing::error!("an audit checkpoint could not be looked at"),
        }
    }

    fn refuse(&self, refusal: &Refusal) -> Answer {
        let (code, reason) = (refusal.code.name().to_owned(), refusal.reason.clone());
        if refusal.code == RefusalCode::GovernanceBehind {
            let have = self.cosigner.governance.as_ref().and_then(Governance::head).map(|head| head.seq);
            Answer::Behind { have, reason }
        } else if refusal.code.is_temporary() {
            Answer::Unable { code, reason }
        } else {
            Answer::Refuse { code, reason }
        }
    }

    fn start(&self, start: Start, tasks: &mut JoinSet<()>) {
        let (sender, inbound) = mpsc::channel(FRAMES);
        let mut table = self.table();
        let session = start.session;
        let plan = match session::plan(&self.cosigner, &mut table.pending, start) {
            Ok(_) if table.sessions.len() >= MAX_SESSIONS => {
                Err(Refusal::new(RefusalCode::Overloaded, "too many sessions at once"))
            }
            planned => planned,
        };
        if plan.is_ok() {
            table.sessions.insert(session, sender);
        }
        drop(table);
        let shared = self.clone();
        tasks.spawn(async move {
            let result = match plan {
                Ok(plan) => {
                    let result = session::run(&shared, plan, inbound).await;
                    shared.table().sessions.remove(&session);
                    result
                }
                // A start that is said twice must not end the session that runs under this id.
                Err(refusal) => Err(session::failure(refusal.to_string(), None)),
            };
            let _ = shared.outbound.send(ToRelay::Done { session, result }).await;
        });
    }

    fn deliver(&self, session: SessionId, from: PartyIndex, bytes: Bytes) {
        let mut table = self.table();
        if let Some(inbound) = table.sessions.get(&session)
            && inbound.try_send((from, bytes)).is_err()
        {
            // More than a protocol has, or over already: without this frame the session cannot go on.
            table.sessions.remove(&session);
        }
    }
}
