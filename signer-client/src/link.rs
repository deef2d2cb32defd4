//! One encrypted link between a co-signer and the relay.
//!
//! Noise `IK_25519_ChaChaPoly_BLAKE2s` (noiseprotocol.org, revision 34): the co-signer dials and knows the relay's static key,
//! the relay learns the co-signer's and admits it only if registered. Each Noise message is preceded by its 2-byte
//! big-endian length. A frame is one CBOR value: 4 bytes of length, then the value, spread over as many Noise messages as
//! it takes. Noise's counters make the stream ordered and free of repetition; any violation ends the link.

use crate::identity::{Identity, PublicIdentity};
use serde::{Serialize, de::DeserializeOwned};
use snow::{Builder, HandshakeState, StatelessTransportState};
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The largest frame, in bytes: 1 MiB.
pub const MAX_FRAME: usize = 1 << 20;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"bursar/link/v1";
const MAX_NOISE: usize = 65_535;
const TAG: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("link closed: {0}")]
    Io(#[from] io::Error),
    /// Wrong key, wrong peer, or tampered bytes.
    #[error("link authentication failed: {0}")]
    Noise(#[from] snow::Error),
    #[error("the peer's identity {0} is not registered here")]
    UnknownPeer(PublicIdentity),
    #[error("a frame of {0} bytes is above the limit of {MAX_FRAME}")]
    TooLarge(usize),
    #[error("a frame is not a valid message: {0}")]
    Malformed(String),
}

pub struct LinkReader {
    half: OwnedReadHalf,
    transport: Arc<StatelessTransportState>,
    nonce: u64,
}

pub struct LinkWriter {
    half: OwnedWriteHalf,
    transport: Arc<StatelessTransportState>,
    nonce: u64,
}

/// The dialling side's handshake: succeeds only if the other end holds the secret of `relay`.
pub async fn connect(
    mut stream: TcpStream,
    identity: &Identity,
    relay: PublicIdentity,
) -> Result<(LinkReader, LinkWriter), LinkError> {
    stream.set_nodelay(true)?;
    let mut noise = builder()
        .prologue(PROLOGUE)?
        .local_private_key(identity.secret())?
        .remote_public_key(&relay.0)?
        .build_initiator()?;
    write_handshake(&mut stream, &mut noise).await?;
    read_handshake(&mut stream, &mut noise).await?;
    split(stream, noise)
}

/// The listening side's handshake: succeeds only if the other end holds the secret of one of `known`.
pub async fn accept(
    mut stream: TcpStream,
    identity: &Identity,
    known: &[PublicIdentity],
) -> Result<(LinkReader, LinkWriter, PublicIdentity), LinkError> {
    stream.set_nodelay(true)?;
    let mut noise = builder().prologue(PROLOGUE)?.local_private_key(identity.secret())?.build_responder()?;
    read_handshake(&mut stream, &mut noise).await?;
    let peer = noise
        .get_remote_static()
        .and_then(|key| key.try_into().ok())
        .map(PublicIdentity)
        .ok_or(snow::Error::Input)?;
    if !known.contains(&peer) {
        return Err(LinkError::UnknownPeer(peer));
    }
    write_handshake(&mut stream, &mut noise).await?;
    let (reader, writer) = split(stream, noise)?;
    Ok((reader, writer, peer))
}

impl LinkReader {
    /// The next message. Not cancel safe: after a dropped call the link is out of step, so give it a task of its own.
    pub async fn recv<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        let mut frame = self.chunk().await?;
        let Some(header) = frame.first_chunk::<4>() else {
            return Err(LinkError::Malformed("frame header is missing".into()));
        };
        let length = u32::from_be_bytes(*header) as usize;
        if length > MAX_FRAME {
            return Err(LinkError::TooLarge(length));
        }
        frame.drain(..4);
        while frame.len() < length {
            let chunk = self.chunk().await?;
            if chunk.is_empty() {
                return Err(LinkError::Malformed("empty chunk".into()));
            }
            frame.extend_from_slice(&chunk);
        }
        if frame.len() != length {
            return Err(LinkError::Malformed("frame is longer than it said".into()));
        }
        decode(&frame)
    }

    async fn chunk(&mut self) -> Result<Vec<u8>, LinkError> {
        let length = usize::from(self.half.read_u16().await?);
        let mut cipher = vec![0; length];
        self.half.read_exact(&mut cipher).await?;
        let mut plain = vec![0; length];
        let read = self.transport.read_message(self.nonce, &cipher, &mut plain)?;
        self.nonce += 1;
        plain.truncate(read);
        Ok(plain)
    }
}

impl LinkWriter {
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        let body = encode(message)?;
        let length = u32::try_from(body.len()).map_err(|_| LinkError::TooLarge(body.len()))?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(&body);
        let mut out = Vec::with_capacity(frame.len() + 64);
        for chunk in frame.chunks(MAX_NOISE - TAG) {
            let mut cipher = vec![0; chunk.len() + TAG];
            let written = self.transport.write_message(self.nonce, chunk, &mut cipher)?;
            self.nonce += 1;
            out.extend_from_slice(&u16::try_from(written).map_err(|_| snow::Error::Input)?.to_be_bytes());
            out.extend_from_slice(&cipher[..written]);
        }
        self.half.write_all(&out).await?;
        Ok(())
    }
}

/// CBOR (RFC 8949) with field names.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, LinkError> {
    let mut body = Vec::with_capacity(512);
    ciborium::into_writer(message, &mut body).map_err(|error| LinkError::Malformed(error.to_string()))?;
    if body.len() > MAX_FRAME {
        return Err(LinkError::TooLarge(body.len()));
    }
    Ok(body)
}

pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, LinkError> {
    let mut rest = body;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, 32)
        .map_err(|error| LinkError::Malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(LinkError::Malformed("bytes after the message".into()));
    }
    Ok(value)
}

fn builder<'a>() -> Builder<'a> {
    Builder::new(PATTERN.parse().expect("a constant of the Noise specification"))
}

async fn write_handshake(stream: &mut TcpStream, noise: &mut HandshakeState) -> Result<(), LinkError> {
    let mut message = [0u8; 256];
    let written = noise.write_message(&[], &mut message)?;
    stream.write_u16(u16::try_from(written).map_err(|_| snow::Error::Input)?).await?;
    stream.write_all(&message[..written]).await?;
    Ok(())
}

async fn read_handshake(stream: &mut TcpStream, noise: &mut HandshakeState) -> Result<(), LinkError> {
    let length = usize::from(stream.read_u16().await?);
    if length > 256 {
        return Err(LinkError::TooLarge(length));
    }
    let mut message = [0u8; 256];
    stream.read_exact(&mut message[..length]).await?;
    noise.read_message(&message[..length], &mut [0u8; 256])?;
    Ok(())
}

fn split(stream: TcpStream, noise: HandshakeState) -> Result<(LinkReader, LinkWriter), LinkError> {
    let transport = Arc::new(noise.into_stateless_transport_mode()?);
    let (read, write) = stream.into_split();
    Ok((
        LinkReader { half: read, transport: transport.clone(), nonce: 0 },
        LinkWriter { half: write, transport, nonce: 0 },
    ))
}
