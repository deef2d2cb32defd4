//! Frames between the participants of one session.
//!
//! A frame is 16 bytes that name the session and the part of the protocol, then one CBOR message. FROST has no
//! execution id of its own, so those bytes are all that separates its sessions; the ECDSA protocol binds its id into every
//! proof as well.

use super::ProtocolError;
use cggmp24::round_based::{Incoming, MessageDestination, MessageType, Outgoing, ProtocolMessage};
use futures::{Sink, Stream, sink, stream};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

/// Largest frame in bytes. The largest honest one (auxiliary data of the ECDSA key) has some 100 KB.
pub const MAX_FRAME: usize = 1 << 20;

/// An honest participant can be one message of each kind ahead.
const EARLY_PER_PEER: usize = 4;

/// One protocol message to or from another participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Session index: the sender of an incoming message, the recipient of an outgoing one.
    pub peer: u16,
    /// Whether every other participant gets these same bytes. The transport must authenticate it.
    pub broadcast: bool,
    /// Not secret as a whole but for messages to one participant, which the transport must encrypt.
    pub bytes: Vec<u8>,
}

/// The two ends of an authenticated, ordered, duplicate-free delivery between the participants of one session.
///
/// A broadcast leaves as one envelope for each recipient. Closing `incoming` aborts the session.
#[derive(Debug)]
pub struct Wire {
    pub incoming: mpsc::Receiver<Envelope>,
    pub outgoing: mpsc::Sender<Envelope>,
}

/// Names a part of a session in every frame of it.
pub(super) type Tag = [u8; 16];

pub(super) fn tag(id: &[u8; 32]) -> Tag {
    *id.first_chunk().expect("32 bytes begin with 16")
}

/// What the protocol crates see of a failed transport; the reason stays in [`Fault`].
#[derive(Debug, thiserror::Error)]
#[error("the session's transport failed")]
pub(super) struct LinkError;

/// The first failure of a session's transport.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<ProtocolError>>>);

impl Fault {
    pub(super) fn set(&self, error: ProtocolError) -> LinkError {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        LinkError
    }
    /// That failure, or else what the protocol itself complained of.
    pub(super) fn or(&self, otherwise: impl FnOnce() -> ProtocolError) -> ProtocolError {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_else(otherwise)
    }
}

/// A participant's wire, with frames checked on the way in and made on the way out.
pub(super) struct Link {
    me: u16,
    parties: u16,
    incoming: mpsc::Receiver<Envelope>,
    outgoing: mpsc::Sender<Envelope>,
    /// Frames of the next part that came while this party was still in the part before.
    early: VecDeque<Envelope>,
    /// Sender and round of each message handed on in this part.
    seen: BTreeSet<(u16, u16)>,
    fault: Fault,
}

pub(super) type Receive<'a, M> = Pin<Box<dyn Stream<Item = Result<Incoming<M>, LinkError>> + 'a>>;
pub(super) type Send<'a, M> = Pin<Box<dyn Sink<Outgoing<M>, Error = LinkError> + 'a>>;

impl Link {
    pub(super) fn new(wire: Wire, me: u16, parties: u16) -> Self {
        let Wire { incoming, outgoing } = wire;
        let (early, fault) = (VecDeque::new(), Fault::default());
        Self { me, parties, incoming, outgoing, early, seen: BTreeSet::new(), fault }
    }

    pub(super) fn fault(&self) -> Fault {
        self.fault.clone()
    }

    /// The two halves for one part of the session. Frames of the part `next` are kept for it.
    pub(super) fn part<M>(&mut self, current: Tag, next: Option<Tag>) -> (Receive<'_, M>, Send<'_, M>)
    where
        M: Serialize + DeserializeOwned + ProtocolMessage + 'static,
    {
        self.seen.clear();
        let sender = Sender {
            tag: current,
            me: self.me,
            parties: self.parties,
            outgoing: self.outgoing.clone(),
            fault: self.fault.clone(),
        };
        let incoming = stream::unfold(self, move |link| async move {
            let message = link.receive(current, next).await;
            let message = message.map_err(|error| link.fault.set(error));
            Some((message, link))
        });
        let outgoing = sink::unfold(sender, |sender, message: Outgoing<M>| async move {
            sender.send(&message).await.map_err(|error| sender.fault.set(error))?;
            Ok(sender)
        });
        (Box::pin(incoming), Box::pin(outgoing))
    }

    async fn receive<M: DeserializeOwned + ProtocolMessage>(
        &mut self,
        current: Tag,
        next: Option<Tag>,
    ) -> Result<Incoming<M>, ProtocolError> {
        let kept = self.early.iter().position(|envelope| envelope.bytes.starts_with(&current));
        if let Some(envelope) = kept.and_then(|place| self.early.remove(place)) {
            return self.decode(&envelope);
        }
        loop {
            let envelope = self.incoming.recv().await.ok_or(ProtocolError::Aborted)?;
            let Envelope { peer, ref bytes, .. } = envelope;
            if peer == self.me || peer >= self.parties {
                return Err(ProtocolError::UnknownSender { peer });
            }
            if bytes.len() > MAX_FRAME {
                return Err(ProtocolError::FrameTooLarge { peer, len: bytes.len(), limit: MAX_FRAME });
            }
            if bytes.starts_with(&current) {
                return self.decode(&envelope);
            }
            if !next.is_some_and(|next| bytes.starts_with(&next)) {
                return Err(ProtocolError::WrongSession { peer });
            }
            if self.early.iter().filter(|kept| kept.peer == peer).count() >= EARLY_PER_PEER {
                return Err(ProtocolError::Flooded { peer });
            }
            self.early.push_back(envelope);
        }
    }

    fn decode<M: DeserializeOwned + ProtocolMessage>(
        &mut self,
        envelope: &Envelope,
    ) -> Result<Incoming<M>, ProtocolError> {
        let peer = envelope.peer;
        let mut rest = envelope.bytes.get(size_of::<Tag>()..).unwrap_or_default();
        let msg: M = ciborium::from_reader(&mut rest)
            .map_err(|error| ProtocolError::Malformed { peer, reason: error.to_string() })?;
        if !rest.is_empty() {
            let reason = "bytes follow the message".to_owned();
            return Err(ProtocolError::Malformed { peer, reason });
        }
        // The protocols have one message of each sender in each round; a second one could differ from one that was checked.
        if !self.seen.insert((peer, msg.round())) {
            return Err(ProtocolError::Repeated { peer });
        }
        let msg_type = if envelope.broadcast { MessageType::Broadcast } else { MessageType::P2P };
        Ok(Incoming { id: self.seen.len() as u64, sender: peer, msg_type, msg })
    }
}

struct Sender {
    tag: Tag,
    me: u16,
    parties: u16,
    outgoing: mpsc::Sender<Envelope>,
    fault: Fault,
}

impl Sender {
    async fn send<M: Serialize>(&self, message: &Outgoing<M>) -> Result<(), ProtocolError> {
        // In key generation it holds a secret of its recipient.
        let mut bytes = Zeroizing::new(self.tag.to_vec());
        ciborium::into_writer(&message.msg, &mut *bytes)
            .map_err(|error| ProtocolError::Malformed { peer: self.me, reason: error.to_string() })?;
        if bytes.len() > MAX_FRAME {
            let (peer, len) = (self.me, bytes.len());
            return Err(ProtocolError::FrameTooLarge { peer, len, limit: MAX_FRAME });
        }
        let (broadcast, recipients) = match message.recipient {
            MessageDestination::AllParties => (true, 0..self.parties),
            MessageDestination::OneParty(peer) => (false, peer..peer.saturating_add(1)),
        };
        for peer in recipients.filter(|&peer| peer != self.me) {
            let envelope = Envelope { peer, broadcast, bytes: bytes.to_vec() };
            self.outgoing.send(envelope).await.map_err(|_| ProtocolError::Aborted)?;
        }
        Ok(())
    }
}
