//! The co-signer: holds one share of each key, decides for itself what to sign, and signs with others.
//!
//! It trusts nobody: the orchestrator's packages are decoded here and held against the signed intent and this party's own
//! rules; other co-signers are known by pinned keys; and what it once took part in signing, it remembers durably.
//!
//! | module | what it holds |
//! |---|---|
//! | [`rules`] | what this party allows, from its own file |
//! | [`verify`] | the decision on one package, and its stable refusal codes |
//! | [`governance`] | the governance log as this party replays it, and what it permits |
//! | [`confirm`] | the owner's own word on each payment |
//! | [`audit`] | its signature under the orchestrator's audit log |
//! | [`control`] | what the owner tells a running daemon |
//! | [`store`] | what it took part in: burnt session ids, transactions for each intent, refusals |
//! | [`vault`] | shares and primes, encrypted at rest |
//! | [`mesh`] | Noise channels to the other co-signers of a session, through the relay |
//! | [`daemon`] | links to relays, proposals, sessions |
//! | [`keygen`] | rendezvous and distributed key generation |
//! | [`protocol`] | the threshold protocols themselves |

pub mod adapters;
mod allowance;
pub mod audit;
pub mod clock;
pub mod config;
pub mod confirm;
pub mod control;
pub mod daemon;
pub mod governance;
pub mod keygen;
pub mod mesh;
pub mod protocol;
pub mod rules;
pub mod store;
pub mod vault;
pub mod verify;
