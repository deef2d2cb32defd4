//! The wire between the orchestrator and its co-signers, and the orchestrator's side of it.
//!
//! Co-signers dial out to the [`relay`] (one of them may be a laptop behind NAT). Each link is a Noise channel with both
//! static keys pinned. Over it the [`coordinator`] proposes signing packages, starts sessions among those who accept, and
//! forwards frames between them, which are ciphertext to it: co-signers run Noise channels of their own with one another.
//! The orchestrator is not trusted with anything but availability.
//!
//! | module | what it holds |
//! |---|---|
//! | [`identity`] | static X25519 keys and their files |
//! | [`link`] | framed, encrypted, capped messages over TCP |
//! | [`message`] | what is said on a link, and the session id |
//! | [`relay`] | the TCP server: admits known parties, forwards frames |
//! | [`coordinator`] | the [`ThresholdSigner`](bursar_domain::ports::ThresholdSigner) over the relay |
//! | [`development`] | a signer with complete keys in one file, for throw-away networks only |
//! | [`governance`] | where the coordinator finds log entries that a co-signer lacks |
//! | [`check`] | signature verification under derived child keys |

pub mod check;
pub mod coordinator;
pub mod development;
pub mod governance;
mod hub;
pub mod identity;
pub mod link;
pub mod message;
pub mod relay;
mod upkeep;
mod watch;

pub use coordinator::{Coordinator, PartyStatus};
pub use governance::GovernanceEntries;
pub use identity::{Identity, PublicIdentity};
pub use relay::{Deadlines, PartyConfig, Relay, RelayConfig, RelayError, RelayTask};
pub use upkeep::{Contradiction, Standing};
