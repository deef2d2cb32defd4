//! What is said on a link.

use bursar_domain::{
    audit::checkpoint::{CheckpointAnswer, CheckpointRequest},
    canonical::Canonical,
    governance::log::{Entry, EntryDigest, Head},
    intent::{IntentDigest, SignedIntent},
    network::Network,
    package::{PackageDigest, SigningPackage},
    signing::{GroupKey, PartyIndex, PartyRole, Scheme, SignatureBytes},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, time::Duration};

/// Both ends must speak the same.
pub const PROTOCOL_VERSION: u16 = 4;

/// Entries of the governance log in one [`FromRelay::Governance`].
pub const MAX_ENTRIES: usize = 256;

/// Orders in one [`FromRelay::Orders`].
pub const MAX_ORDERS: usize = 64;

/// What a link is for. A party may hold one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Mode {
    Sign,
    Keygen,
}

/// The first message of a co-signer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u16,
    pub software: String,
    pub mode: Mode,
    pub party: PartyIndex,
    pub role: PartyRole,
    /// Public sides of the shares that it holds.
    pub keys: Vec<GroupKey>,
    pub networks: Vec<Network>,
    /// Its governance log, if it keeps one.
    #[serde(default)]
    pub log: Option<LogHead>,
}

/// How far a co-signer's governance log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// What it pins.
    pub genesis: EntryDigest,
    /// Absent while it has no entry.
    pub head: Option<Head>,
}

/// Since when a co-signer knows an order, by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenOrder {
    pub intent: IntentDigest,
    pub since: Timestamp,
}

/// From a co-signer to the relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ToRelay {
    Hello(Hello),
    Answer {
        proposal: ProposalId,
        answer: Answer,
    },
    /// A frame for another co-signer, ciphertext to the relay.
    Peer {
        session: SessionId,
        to: PartyIndex,
        bytes: Bytes,
    },
    Done {
        session: SessionId,
        result: Result<SignatureBytes, SessionFailure>,
    },
    /// After it was brought entries of the log.
    Log(LogHead),
    /// What it has at the place of an entry that it was brought and that was signed just as properly.
    Contradiction {
        entry: Box<Entry>,
    },
    /// To a [`FromRelay::Orders`]: those that it remembers. About others it says nothing.
    Seen {
        orders: Vec<SeenOrder>,
    },
    /// To a [`FromRelay::Checkpoint`].
    Checkpoint {
        id: Nonce,
        answer: CheckpointAnswer,
    },
    Ping,
}

/// From the relay to a co-signer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FromRelay {
    Welcome {
        software: String,
        /// What both ends of this link go by from here; see [`Heartbeat`].
        heartbeat: Heartbeat,
    },
    Rejected {
        reason: String,
    },
    Propose {
        proposal: ProposalId,
        package: Box<SigningPackage>,
    },
    /// The next entries of the governance log, in order: at most [`MAX_ENTRIES`]. What the co-signer has already it leaves as it is.
    Governance {
        entries: Vec<Entry>,
    },
    /// Orders that wait, so that delays begin now: at most [`MAX_ORDERS`]. Nothing is signed for them.
    Orders {
        orders: Vec<SignedIntent>,
    },
    Start(Start),
    /// Asks for a signature over the audit log so far.
    Checkpoint {
        id: Nonce,
        request: Box<CheckpointRequest>,
    },
    /// The proposal is over; nothing more will be started from it.
    Close {
        proposal: ProposalId,
    },
    /// The session failed elsewhere.
    Abort {
        session: SessionId,
    },
    Peer {
        session: SessionId,
        from: PartyIndex,
        bytes: Bytes,
    },
    /// Who is present for key generation; `epoch` counts the changes.
    Present {
        epoch: u64,
        parties: Vec<PartyIndex>,
    },
    Ping,
}

/// The longest silence of either end of a link, in milliseconds on the wire. The relay sets it, so both ends have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Heartbeat(u64);

impl Heartbeat {
    const SHORTEST: u64 = 1_000;
    const LONGEST: u64 = 60_000;

    pub fn new(interval: Duration) -> Self {
        Self(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX))
    }

    /// 1 to 60 s, whatever the other end said.
    pub fn interval(self) -> Duration {
        Duration::from_millis(self.0.clamp(Self::SHORTEST, Self::LONGEST))
    }

    /// How long to wait for the other end before the link is given up: three missed signs of life.
    pub fn patience(self) -> Duration {
        self.interval() * 3
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The package passes this party's own verification. The nonce goes into the session id, so that no two sessions
    /// that this party takes part in can have the same. `with` are the parties without whose co-signers it will not sign.
    Accept {
        nonce: Nonce,
        #[serde(default)]
        with: BTreeSet<PartyRole>,
    },
    /// This party's rules or its past forbid it: asking again for the same package cannot help.
    Refuse { code: String, reason: String },
    /// It could not decide now (overloaded, its store failed); another time it may.
    Unable { code: String, reason: String },
    /// Its governance log ends before an entry that the package speaks of: with `have`, or it is empty. It wants what comes next,
    /// and the package again.
    Behind { have: Option<u64>, reason: String },
}

/// The code of [`Answer::Behind`], for people and for statistics.
pub const GOVERNANCE_BEHIND: &str = "GOVERNANCE_BEHIND";

/// One payload's session, for those who accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub proposal: ProposalId,
    pub session: SessionId,
    /// Which of the payloads that each co-signer derives from the package itself.
    pub payload: u32,
    /// In ascending order; a party's place here is its index in the session.
    pub signers: Vec<PartyIndex>,
    /// Of each signer, in the order of `signers`.
    pub nonces: Vec<Nonce>,
    pub attempt: Nonce,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFailure {
    pub reason: String,
    /// Who broke the session, where the reporter can tell.
    pub blamed: Option<PartyIndex>,
}

/// What a session id commits to.
#[derive(Debug, Clone)]
pub struct SessionTerms<'a> {
    pub package: PackageDigest,
    pub payload: u32,
    pub scheme: Scheme,
    pub key: &'a GroupKey,
    pub signers: &'a [PartyIndex],
    pub nonces: &'a [Nonce],
    pub attempt: Nonce,
}

impl SessionTerms<'_> {
    pub fn id(&self) -> SessionId {
        let mut out = Canonical::new("bursar/session/v1")
            .bytes(&self.package.0)
            .number(self.payload.into())
            .text(self.scheme)
            .bytes(&self.key.public_key)
            .bytes(&self.key.chain_code)
            .number(self.key.threshold.into())
            .number(self.key.generation.into())
            .bytes(&self.attempt.0)
            .number(self.signers.len() as u64);
        for signer in self.signers {
            out = out.number(signer.0.into());
        }
        for nonce in self.nonces {
            out = out.bytes(&nonce.0);
        }
        SessionId(out.digest())
    }
}

/// 32 bytes, a CBOR byte string on the wire and hex in text.
macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// From the operating system's randomness.
            pub fn random() -> Self {
                use rand::RngCore as _;
                let mut bytes = [0; 32];
                rand::rngs::OsRng.fill_bytes(&mut bytes);
                Self(bytes)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = Bytes::deserialize(deserializer)?.0;
                let length = bytes.len();
                bytes.try_into().map(Self).map_err(|_| serde::de::Error::invalid_length(length, &"32 bytes"))
            }
        }
    };
}
bytes32!(
    /// Names one proposal of a package.
    ProposalId
);
bytes32!(
    /// Names one run of the protocol; used once. See [`SessionTerms`].
    SessionId
);
bytes32!(
    /// Fresh randomness.
    Nonce
);

/// A CBOR byte string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}
impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_stays_within_its_bounds() {
        let said = |millis| Heartbeat(millis).interval().as_millis();
        assert_eq!([0, 999, 1000, 10_000, 60_000].map(said), [1000, 1000, 1000, 10_000, 60_000]);
        assert_eq!([60_001, u64::MAX].map(said), [60_000, 60_000]);
        assert_eq!(Heartbeat::new(Duration::MAX).patience(), Duration::from_secs(180));
    }
}
