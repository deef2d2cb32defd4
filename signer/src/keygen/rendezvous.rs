//! The link to the relay during key generation: who is there, and frames sorted by session.

use super::{Event, Keygen, KeygenError, agree};
use crate::{
    config::RelayAddress,
    daemon::{Dialled, LinkEnded, dial, write},
};
use bursar_domain::{
    canonical::Canonical,
    signing::{GroupKey, PartyIndex},
};
use bursar_signer_client::{
    link::LinkReader,
    message::{Bytes, FromRelay, Heartbeat, Hello, Mode, Nonce, PROTOCOL_VERSION, SessionId, ToRelay},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

type Frame = (PartyIndex, Bytes);

/// Sessions of one ceremony, by far.
const MAX_ROOMS: usize = 64;
const FRAMES: usize = 128;
/// After someone leaves: what it sent before is here already, so whoever can finish does so quickly.
const GRACE: Duration = Duration::from_secs(30);
/// For the whole ceremony once all are present.
const LIMIT: Duration = Duration::from_secs(1800);

#[derive(Clone, Default)]
pub(super) struct Rooms(Arc<Mutex<HashMap<SessionId, Room>>>);

struct Room {
    sender: mpsc::Sender<Frame>,
    receiver: Option<mpsc::Receiver<Frame>>,
}

impl Rooms {
    fn deliver(&self, session: SessionId, frame: Frame) {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.len() >= MAX_ROOMS && !rooms.contains_key(&session) {
            return;
        }
        let room = rooms.entry(session).or_insert_with(Room::new);
        // A lost frame breaks its Noise channel, so the session fails rather than goes on without it.
        let _ = room.sender.try_send(frame);
    }

    /// The frames of a session, with those that came early. Each can be taken once.
    pub(super) fn take(&self, session: SessionId) -> mpsc::Receiver<Frame> {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = rooms.entry(session).or_insert_with(Room::new).receiver.take();
        receiver.unwrap_or_else(|| mpsc::channel(1).1)
    }
}

impl Room {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(FRAMES);
        Self { sender, receiver: Some(receiver) }
    }
}

pub(super) struct Rendezvous {
    reader: LinkReader,
    outbound: mpsc::Sender<ToRelay>,
    writer: JoinHandle<LinkEnded>,
    heartbeat: Heartbeat,
}

impl Rendezvous {
    pub(super) async fn open(keygen: &Keygen, relay: &RelayAddress) -> Result<Self, KeygenError> {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            mode: Mode::Keygen,
            party: keygen.config.index,
            role: keygen.config.role,
            keys: Vec::new(),
            networks: Vec::new(),
            log: None,
        };
        let Dialled { reader, writer, heartbeat } = dial(&keygen.identity, relay, hello).await?;
        let (outbound, queue) = mpsc::channel(FRAMES);
        let writer = tokio::spawn(write(writer, queue, heartbeat));
        Ok(Self { reader, outbound, writer, heartbeat })
    }

    /// Waits until all parties are there, then lets them agree and generate.
    pub(super) async fn run(self, keygen: &Keygen) -> Result<Vec<GroupKey>, KeygenError> {
        let Self { reader, outbound, writer, heartbeat } = self;
        let rooms = Rooms::default();
        let (seen, mut present) = watch::channel((0u64, Vec::new()));
        let reading = tokio::spawn(read(reader, rooms.clone(), seen, heartbeat));
        let outcome = async {
            let epoch = gathered(keygen, &mut present).await?;
            let ceremony = ceremony(keygen, epoch, &rooms, outbound.clone());
            let left = async {
                let changed = present.wait_for(|(now, _)| *now != epoch).await.is_ok();
                let grace = if changed { GRACE } else { Duration::ZERO };
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                keys = timeout(LIMIT, ceremony) => keys.unwrap_or(Err(KeygenError::Timeout)),
                () = left => Err(KeygenError::PartyLeft),
            }
        }
        .await;
        // What was said last must still leave before the link does.
        drop(outbound);
        let _ = timeout(heartbeat.interval(), writer).await;
        reading.abort();
        outcome
    }
}

async fn read(
    mut reader: LinkReader,
    rooms: Rooms,
    seen: watch::Sender<(u64, Vec<PartyIndex>)>,
    heartbeat: Heartbeat,
) {
    while let Ok(Ok(message)) = timeout(heartbeat.patience(), reader.recv::<FromRelay>()).await {
        match message {
            FromRelay::Present { epoch, parties } => {
                let _ = seen.send((epoch, parties));
            }
            FromRelay::Peer { session, from, bytes } => rooms.deliver(session, (from, bytes)),
            _ => {}
        }
    }
}

/// The epoch in which all parties are present.
async fn gathered(
    keygen: &Keygen,
    present: &mut watch::Receiver<(u64, Vec<PartyIndex>)>,
) -> Result<u64, KeygenError> {
    let of = keygen.config.parties();
    loop {
        present.changed().await.map_err(|_| KeygenError::PartyLeft)?;
        let (epoch, parties) = present.borrow_and_update().clone();
        let all = (0..of).all(|index| parties.contains(&PartyIndex(index)));
        (keygen.report)(Event::Present { parties, of });
        if all {
            return Ok(epoch);
        }
    }
}

async fn ceremony(
    keygen: &Keygen,
    epoch: u64,
    rooms: &Rooms,
    outbound: mpsc::Sender<ToRelay>,
) -> Result<Vec<GroupKey>, KeygenError> {
    let nonces = exchange_nonces(keygen, epoch, rooms, &outbound).await?;
    let config = &keygen.config;
    let mut members: BTreeMap<PartyIndex, _> =
        config.peers.iter().map(|peer| (peer.index, peer.public_key)).collect();
    members.insert(config.index, keygen.identity.public());
    let mut id =
        Canonical::new("bursar/keygen/v1").number(config.threshold.into()).number(members.len() as u64);
    for (party, key) in &members {
        let nonce = nonces.get(party).ok_or(KeygenError::Malformed(*party))?;
        id = id.number(party.0.into()).bytes(&key.0).bytes(&nonce.0);
    }
    let ceremony =
        agree::Ceremony { keygen, id: id.digest(), members: members.into_iter().collect(), rooms, outbound };
    ceremony.run().await
}

/// In the clear: the nonces only make the session new.
async fn exchange_nonces(
    keygen: &Keygen,
    epoch: u64,
    rooms: &Rooms,
    outbound: &mpsc::Sender<ToRelay>,
) -> Result<BTreeMap<PartyIndex, Nonce>, KeygenError> {
    let session = SessionId(Canonical::new("bursar/keygen/nonces/v1").number(epoch).digest());
    let mut inbound = rooms.take(session);
    let mine = Nonce::random();
    for peer in &keygen.config.peers {
        let message = ToRelay::Peer { session, to: peer.index, bytes: Bytes(mine.0.to_vec()) };
        outbound.send(message).await.map_err(|_| KeygenError::PartyLeft)?;
    }
    let mut nonces = BTreeMap::from([(keygen.config.index, mine)]);
    while nonces.len() <= keygen.config.peers.len() {
        let (from, bytes) = inbound.recv().await.ok_or(KeygenError::PartyLeft)?;
        let nonce = bytes.0.try_into().map_err(|_| KeygenError::Malformed(from))?;
        if keygen.config.peer(from).is_none() || nonces.insert(from, Nonce(nonce)).is_some() {
            return Err(KeygenError::Malformed(from));
        }
    }
    Ok(nonces)
}
