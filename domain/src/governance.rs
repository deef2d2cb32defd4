//! Who may do what: one signed log that the orchestrator and every co-signer replay (ADR 15).
//!
//! | module | what it holds | types that others use |
//! |---|---|---|
//! | [`role`] | roles, which exclude each other, what each may do | [`Role`](role::Role), [`Permission`](role::Permission) |
//! | [`directory`] | users, keys, groups | [`Directory`](directory::Directory), [`User`](directory::User), [`UserKey`](directory::UserKey), [`Group`](directory::Group), [`UserId`](directory::UserId) and the other names |
//! | [`signature`] | Ed25519 and passkey signatures over a digest | [`Signature`](signature::Signature), [`Signer`](signature::Signer) |
//! | [`change`] | the kinds of change, their classes and quorums | [`Change`](change::Change), [`Genesis`](change::Genesis), [`ChangeRules`](change::ChangeRules), [`Quorum`](change::Quorum) |
//! | [`log`] | entries, their documents and digests | [`Entry`](log::Entry), [`Document`](log::Document), [`EntryDigest`](log::EntryDigest), [`Head`](log::Head) |
//! | [`state`] | replay: which entries count, and what they bring about | [`State`](state::State), [`Accepted`](state::Accepted), [`Refused`](state::Refused), [`PublishedPolicy`](state::PublishedPolicy) |
//! | [`freeze`] | what nobody may sign | [`Scope`](freeze::Scope), [`Freeze`](freeze::Freeze) |
//! | [`address_book`] | where payments may go | [`AddressEntry`](address_book::AddressEntry), [`Listed`](address_book::Listed) |
//! | [`quote`] | prices that services sign | [`SignedQuote`](quote::SignedQuote), [`QuoteCheck`](quote::QuoteCheck) |
//! | [`webhook`] | where events are sent on to | [`Webhook`](webhook::Webhook), [`Subscribed`](webhook::Subscribed) |
//! | [`policy`] | the published rules | [`Policy`](policy::Policy), [`evaluate`](policy::evaluate), [`validate`](policy::validate) |
//! | [`approval`] | what approvers sign, and when there are enough | [`Approval`](approval::Approval), [`Progress`](approval::Progress) |
//! | [`verdict`] | screening verdicts and releases | [`SignedVerdict`](verdict::SignedVerdict), [`SignedRelease`](verdict::SignedRelease) |
//! | [`authorization`] | whether an intent may be signed | [`authorize`](authorization::authorize), [`Authorization`](authorization::Authorization), [`Denied`](authorization::Denied) |
//!
//! docs/governance.md has every byte and every table.

pub mod address_book;
pub mod approval;
pub mod authorization;
pub mod change;
pub mod directory;
pub mod freeze;
pub mod log;
pub mod policy;
pub mod quote;
pub mod role;
pub mod signature;
pub mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod verdict;
pub mod webhook;
