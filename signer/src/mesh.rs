//! Channels to the other parties of one session, through a relay that is not trusted.
//!
//! Each pair runs Noise `KK_25519_ChaChaPoly_BLAKE2s` between their pinned identity keys, the lower index first. The prologue binds
//! the session, what it is about and the pair, so a frame of one session is nothing but noise in another. Noise's counters over the
//! relay's ordered stream detect whatever the relay drops, repeats or reorders: the session then ends.
//!
//! Frame: one byte of kind, then a handshake message, or a message in chunks of `length (2 bytes) ‖ ciphertext`, where the first
//! byte of each plaintext holds the flags. So the broadcast flag is authenticated.

use crate::protocol::{Envelope, Wire};
use bursar_domain::{canonical::Canonical, signing::PartyIndex};
use bursar_signer_client::{
    Identity, PublicIdentity,
    message::{Bytes, SessionId, ToRelay},
};
use snow::{Builder, HandshakeState, TransportState};
use std::{collections::BTreeMap, pin::pin, sync::Arc};
use tokio::sync::mpsc;

/// The members of a session and what binds its channels.
pub struct Mesh {
    pub identity: Arc<Identity>,
    pub me: PartyIndex,
    /// All members with their pinned keys, this party included. A member's place is its session index.
    pub members: Vec<(PartyIndex, PublicIdentity)>,
    pub session: SessionId,
    /// What the session is about: package digest, or what key generation agreed on.
    pub binding: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    #[error("party {party} broke its channel: {reason}")]
    Peer { party: PartyIndex, reason: &'static str },
    #[error("the session was ended, or the link to the relay was lost")]
    Closed,
    #[error("a message of {0} bytes is too large to send")]
    TooLarge(usize),
    #[error("channel set-up failed: {0}")]
    Noise(#[from] snow::Error),
}

impl MeshError {
    pub const fn blamed(&self) -> Option<PartyIndex> {
        match self {
            Self::Peer { party, .. } => Some(*party),
            _ => None,
        }
    }
}

/// Frames of other members, as the relay delivers them.
pub type Inbound = mpsc::Receiver<(PartyIndex, Bytes)>;

const PATTERN: &str = "Noise_KK_25519_ChaChaPoly_BLAKE2s";
const HANDSHAKE: u8 = 0;
const DATA: u8 = 1;
const MORE: u8 = 1;
const BROADCAST: u8 = 2;
const TAG: usize = 16;
const CHUNK: usize = 65_535 - TAG - 1;
/// Leaves room for chunk overhead and the CBOR around it in a link frame of 1 MiB.
const MAX_MESSAGE: usize = 1_000_000;
/// Messages that may wait for the protocol, from all peers.
const WAITING: usize = 64;

enum Channel {
    Initiated(Box<HandshakeState>),
    Awaited,
    Ready(Box<TransportState>),
}

impl Mesh {
    /// Opens all channels, runs `body` over them, and closes them.
    pub async fn run<F: Future>(
        &self,
        mut inbound: Inbound,
        outbound: mpsc::Sender<ToRelay>,
        body: impl FnOnce(Wire) -> F,
    ) -> Result<F::Output, MeshError> {
        let (deliver, incoming) = mpsc::channel(WAITING);
        let (outgoing, mut sending) = mpsc::channel(WAITING);
        let mut open = Open { mesh: self, channels: BTreeMap::new(), deliver, outbound };
        open.initiate().await?;
        while !open.ready() {
            let (from, bytes) = inbound.recv().await.ok_or(MeshError::Closed)?;
            open.receive(from, &bytes.0).await?;
        }
        let mut body = pin!(body(Wire { incoming, outgoing }));
        let mut drained = false;
        loop {
            tokio::select! {
                biased;
                envelope = sending.recv(), if !drained => match envelope {
                    Some(envelope) => open.send(envelope).await?,
                    None => drained = true,
                },
                output = &mut body => {
                    while let Ok(envelope) = sending.try_recv() {
                        open.send(envelope).await?;
                    }
                    return Ok(output);
                }
                frame = inbound.recv() => {
                    let (from, bytes) = frame.ok_or(MeshError::Closed)?;
                    open.receive(from, &bytes.0).await?;
                }
            }
        }
    }

    fn builder(
        &self,
        peer: PartyIndex,
        key: &PublicIdentity,
        initiator: bool,
    ) -> Result<HandshakeState, MeshError> {
        let (first, second) = if initiator { (self.me, peer) } else { (peer, self.me) };
        let prologue = Canonical::new("bursar/peer/v1")
            .bytes(&self.session.0)
            .bytes(&self.binding)
            .number(first.0.into())
            .number(second.0.into());
        let builder = Builder::new(PATTERN.parse().expect("a constant of the Noise specification"))
            .prologue(prologue.as_bytes())?
            .local_private_key(self.identity.secret())?
            .remote_public_key(&key.0)?;
        Ok(if initiator { builder.build_initiator()? } else { builder.build_responder()? })
    }
}

struct Open<'a> {
    mesh: &'a Mesh,
    channels: BTreeMap<PartyIndex, Channel>,
    deliver: mpsc::Sender<Envelope>,
    outbound: mpsc::Sender<ToRelay>,
}

impl Open<'_> {
    async fn initiate(&mut self) -> Result<(), MeshError> {
        for (peer, key) in self.mesh.members.iter().filter(|(peer, _)| *peer != self.mesh.me) {
            let channel = if self.mesh.me < *peer {
                let mut noise = self.mesh.builder(*peer, key, true)?;
                let message = handshake_message(&mut noise)?;
                self.post(*peer, message).await?;
                Channel::Initiated(Box::new(noise))
            } else {
                Channel::Awaited
            };
            self.channels.insert(*peer, channel);
        }
        Ok(())
    }

    fn ready(&self) -> bool {
        self.channels.values().all(|channel| matches!(channel, Channel::Ready(_)))
    }

    async fn post(&self, to: PartyIndex, bytes: Vec<u8>) -> Result<(), MeshError> {
        let message = ToRelay::Peer { session: self.mesh.session, to, bytes: Bytes(bytes) };
        self.outbound.send(message).await.map_err(|_| MeshError::Closed)
    }

    async fn receive(&mut self, from: PartyIndex, frame: &[u8]) -> Result<(), MeshError> {
        let broken = |reason| MeshError::Peer { party: from, reason };
        let place = self.mesh.members.iter().position(|(member, _)| *member == from);
        let (Some(place), Some(channel)) = (place, self.channels.remove(&from)) else {
            return Err(broken("it is not a member of this session"));
        };
        let (kind, body) = frame.split_first().ok_or(broken("empty frame"))?;
        let channel = match (*kind, channel) {
            (HANDSHAKE, Channel::Initiated(mut noise)) => {
                noise.read_message(body, &mut [0; 128]).map_err(|_| broken("handshake failed"))?;
                Channel::Ready(Box::new(noise.into_transport_mode()?))
            }
            (HANDSHAKE, Channel::Awaited) => {
                let mut noise = self.mesh.builder(from, &self.mesh.members[place].1, false)?;
                noise.read_message(body, &mut [0; 128]).map_err(|_| broken("handshake failed"))?;
                let answer = handshake_message(&mut noise)?;
                self.post(from, answer).await?;
                Channel::Ready(Box::new(noise.into_transport_mode()?))
            }
            (DATA, Channel::Ready(mut transport)) => {
                let (broadcast, bytes) =
                    open_chunks(&mut transport, body).ok_or(broken("a message does not authenticate"))?;
                let peer = u16::try_from(place).map_err(|_| broken("index out of range"))?;
                self.deliver
                    .try_send(Envelope { peer, broadcast, bytes })
                    .map_err(|_| broken("it sent more than was asked for"))
                    .or_else(|error| if self.deliver.is_closed() { Ok(()) } else { Err(error) })?;
                Channel::Ready(transport)
            }
            _ => return Err(broken("a frame out of place")),
        };
        self.channels.insert(from, channel);
        Ok(())
    }

    async fn send(&mut self, envelope: Envelope) -> Result<(), MeshError> {
        if envelope.bytes.len() > MAX_MESSAGE {
            return Err(MeshError::TooLarge(envelope.bytes.len()));
        }
        let Some((party, _)) = self.mesh.members.get(usize::from(envelope.peer)).copied() else {
            return Err(MeshError::Closed);
        };
        let Some(Channel::Ready(transport)) = self.channels.get_mut(&party) else {
            return Err(MeshError::Closed);
        };
        let frame = seal_chunks(transport, envelope.broadcast, &envelope.bytes)?;
        self.post(party, frame).await
    }
}

fn handshake_message(noise: &mut HandshakeState) -> Result<Vec<u8>, MeshError> {
    let mut message = vec![0; 128];
    let written = noise.write_message(&[], &mut message)?;
    message.truncate(written);
    message.insert(0, HANDSHAKE);
    Ok(message)
}

fn seal_chunks(transport: &mut TransportState, broadcast: bool, bytes: &[u8]) -> Result<Vec<u8>, MeshError> {
    let mut out = vec![DATA];
    let mut rest = bytes;
    loop {
        let (part, after) = rest.split_at(rest.len().min(CHUNK));
        rest = after;
        let flags = if broadcast { BROADCAST } else { 0 } | if rest.is_empty() { 0 } else { MORE };
        let mut plain = vec![flags];
        plain.extend_from_slice(part);
        let mut cipher = vec![0; plain.len() + TAG];
        let written = transport.write_message(&plain, &mut cipher)?;
        out.extend_from_slice(&u16::try_from(written).map_err(|_| snow::Error::Input)?.to_be_bytes());
        out.extend_from_slice(&cipher[..written]);
        if rest.is_empty() {
            return Ok(out);
        }
    }
}

/// The flag and the bytes of one message; `None` for anything that is not exactly one.
fn open_chunks(transport: &mut TransportState, mut frame: &[u8]) -> Option<(bool, Vec<u8>)> {
    let (mut out, mut broadcast) = (Vec::new(), None);
    loop {
        let (length, rest) = frame.split_first_chunk::<2>()?;
        let (cipher, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        frame = rest;
        let mut plain = vec![0; cipher.len()];
        let read = transport.read_message(cipher, &mut plain).ok()?;
        let (flags, part) = plain.get(..read)?.split_first()?;
        if *broadcast.get_or_insert(flags & BROADCAST != 0) != (flags & BROADCAST != 0) {
            return None;
        }
        out.extend_from_slice(part);
        if flags & MORE == 0 {
            return frame.is_empty().then_some((flags & BROADCAST != 0, out));
        }
    }
}
