//! A desk with keys, for tests only: its genesis, and entries signed by its people.
//!
//! Every key here is made from a published name. The module exists in tests and behind the feature `testing`; no shipped binary has it.

mod passkey;

pub use passkey::{Assertion, TestPasskey};

use super::{
    change::{Change, ChangeRules, Genesis, Quorum},
    directory::{Group, KeyId, KeyMaterial, KeyUse, KeyUses, User, UserId, UserKey},
    log::{Document, Entry, EntryDigest, Head},
    role::Role,
    signature::{Evidence, Signature},
    state::{Accepted, Refused, State},
};
use crate::{
    intent::{InitiatorKey, Intent, SignedIntent, Terms},
    recall::{self, RecallSignature, SignedRecall},
    signing::PartyRole,
    time::Timestamp,
};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// When the desk is founded: 2026-01-01T00:00:00Z.
pub const FOUNDED: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Who works at the desk. Names say party and role.
pub const PEOPLE: [(&str, PartyRole, Role); 18] = [
    ("client.owner", PartyRole::Client, Role::Owner),
    ("client.operator", PartyRole::Client, Role::Operator),
    ("client.approver", PartyRole::Client, Role::Approver),
    ("client.service", PartyRole::Client, Role::IntegrationService),
    ("manager.owner", PartyRole::WealthManager, Role::Owner),
    ("manager.security", PartyRole::WealthManager, Role::SecurityAdmin),
    ("manager.policy", PartyRole::WealthManager, Role::PolicyAdmin),
    ("manager.operator", PartyRole::WealthManager, Role::Operator),
    ("manager.approver", PartyRole::WealthManager, Role::Approver),
    ("platform.security", PartyRole::CustodyPlatform, Role::SecurityAdmin),
    ("platform.policy", PartyRole::CustodyPlatform, Role::PolicyAdmin),
    ("platform.approver", PartyRole::CustodyPlatform, Role::Approver),
    ("platform.officer", PartyRole::CustodyPlatform, Role::ComplianceOfficer),
    ("platform.lead", PartyRole::CustodyPlatform, Role::ComplianceLead),
    ("platform.custodian", PartyRole::CustodyPlatform, Role::SignerCustodian),
    ("platform.screening", PartyRole::CustodyPlatform, Role::IntegrationService),
    ("platform.auditor", PartyRole::CustodyPlatform, Role::Auditor),
    ("platform.viewer", PartyRole::CustodyPlatform, Role::Viewer),
];

/// A user's Ed25519 key, made from names.
pub struct TestKey {
    pub user: UserId,
    pub id: KeyId,
    /// The secret key, for what else the user signs (intents, API requests).
    pub secret: SigningKey,
    /// As the log is to say.
    pub uses: KeyUses,
}

impl TestKey {
    /// The key `id` of `user`: the same for the same names, always.
    pub fn new(user: &str, id: &str) -> Self {
        let seed: [u8; 32] = Sha256::digest(format!("bursar/testing/{user}/{id}")).into();
        Self {
            user: user.parse().expect("a test names users validly"),
            id: id.parse().expect("a test names keys validly"),
            secret: SigningKey::from_bytes(&seed),
            uses: KeyUses::Both,
        }
    }
    /// For nothing else.
    #[must_use]
    pub fn only(self, one: KeyUse) -> Self {
        Self { uses: one.into(), ..self }
    }
    pub fn public(&self) -> UserKey {
        let public_key = self.secret.verifying_key().to_bytes();
        UserKey { id: self.id.clone(), material: KeyMaterial::Ed25519 { public_key }, uses: self.uses }
    }
    /// As whom this user initiates transfers.
    pub fn initiator(&self) -> InitiatorKey {
        InitiatorKey(self.secret.verifying_key().to_bytes())
    }
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        let signature = self.secret.sign(digest).to_bytes();
        let (user, key) = (self.user.clone(), self.id.clone());
        Signature { user, key, evidence: Evidence::Ed25519 { signature } }
    }
    /// This user's order, at the desk that its terms name.
    pub fn order(&self, intent: Intent) -> SignedIntent {
        ordered(&self.user, intent, |digest| self.sign(digest))
    }
    /// The word of this user that a payout of their order is not to be made.
    pub fn recall(&self, order: &SignedIntent, payment: u32) -> SignedRecall {
        recalled(order, payment, |digest| self.sign(digest))
    }
}

/// A user's order, by whichever of their keys `sign` is of: its terms name them.
fn ordered(user: &UserId, mut intent: Intent, sign: impl FnOnce(&[u8; 32]) -> Signature) -> SignedIntent {
    if let Some(terms) = &mut intent.terms {
        terms.initiator = user.clone();
    }
    let signature = sign(&intent.digest().0);
    SignedIntent::by_user(intent, signature)
}

/// A user's recall, likewise.
fn recalled(order: &SignedIntent, payment: u32, sign: impl FnOnce(&[u8; 32]) -> Signature) -> SignedRecall {
    let digest = recall::canonical(order.intent.digest(), payment).digest();
    SignedRecall { payment, signature: RecallSignature::User(sign(&digest)) }
}

/// The key that everybody at the desk has from the start.
pub fn key(user: &str) -> TestKey {
    TestKey::new(user, "main")
}

/// A user with the key that [`key`] gives.
pub fn user(id: &str, party: PartyRole, roles: impl IntoIterator<Item = Role>) -> User {
    let key = key(id);
    User {
        id: key.user.clone(),
        name: format!("{id} of the test desk"),
        party,
        roles: roles.into_iter().collect(),
        keys: vec![key.public()],
        suspended: false,
    }
}

/// One approval by another party for everything, and this delay for each class.
pub fn rules(delay_seconds: u64) -> ChangeRules {
    let two_parties = Quorum { approvals: 1, parties: 2, delay_seconds };
    ChangeRules {
        people: two_parties,
        policy: two_parties,
        address_book: two_parties,
        lift: two_parties,
        change_rules: two_parties,
        webhooks: None,
    }
}

/// [`PEOPLE`], the group `payments` of all approvers, and these rules.
pub fn genesis(rules: ChangeRules) -> Genesis {
    let users: Vec<User> = PEOPLE.iter().map(|(id, party, role)| user(id, *party, [*role])).collect();
    let members =
        users.iter().filter(|user| user.holds(Role::Approver)).map(|user| user.id.clone()).collect();
    let payments = Group { id: "payments".parse().expect("a valid name"), members };
    Genesis {
        desk: "Test desk".into(),
        users,
        groups: vec![payments],
        rules,
        least_delay_seconds: 0,
        separate_passkeys: false,
    }
}

/// A document in JSON, and the signatures of these users by [`key`]; the first is the author.
pub fn sign(document: &Document, signers: &[&str]) -> Entry {
    let document = serde_json::to_string(document).expect("documents are plain data");
    let digest = Entry::digest_of(&document);
    let signatures = signers.iter().map(|user| key(user).sign(&digest.0)).collect();
    Entry { document, signatures }
}

/// A log that grows, with its state.
#[derive(Clone)]
pub struct TestDesk {
    pub state: State,
    /// All entries, each with when it was appended.
    pub entries: Vec<(Entry, Timestamp)>,
    pub now: Timestamp,
}

impl TestDesk {
    /// Changes wait this long.
    pub fn new(delay_seconds: u64) -> Self {
        Self::found(genesis(rules(delay_seconds)))
    }
    /// # Panics
    /// If the genesis is refused.
    pub fn found(genesis: Genesis) -> Self {
        let entry = Self::founding(genesis);
        let state = State::genesis(&entry, entry.digest()).expect("the test desk's genesis is valid");
        Self { state, entries: vec![(entry, FOUNDED)], now: FOUNDED }
    }

    /// The genesis as an entry, which may be one that is refused.
    pub fn founding(genesis: Genesis) -> Entry {
        let document = Document {
            seq: 0,
            previous: EntryDigest::NONE,
            author: key("client.owner").user,
            proposed_at: FOUNDED,
            change: Change::Genesis(genesis),
        };
        sign(&document, &["client.owner", "manager.owner"])
    }

    pub fn pinned(&self) -> EntryDigest {
        self.state.genesis_digest()
    }
    /// What an order of the client's operator names that is signed now; before there is a policy, the genesis in its place. Whoever else
    /// [orders](TestKey::order) names themselves.
    pub fn terms(&self) -> Terms {
        let desk = self.pinned();
        let genesis = Head { seq: 0, digest: desk };
        let policy = self.state.policy().map_or(genesis, |published| published.version);
        Terms { desk, policy, initiator: key("client.operator").user }
    }
    /// A change as the next entry of this log.
    pub fn document(&self, author: &str, change: Change) -> Document {
        let head = self.state.head();
        Document {
            seq: head.seq + 1,
            previous: head.digest,
            author: key(author).user,
            proposed_at: self.now,
            change,
        }
    }
    /// The first signer is the author.
    pub fn entry(&self, change: Change, signers: &[&str]) -> Entry {
        let author = signers.first().expect("a test names the author");
        sign(&self.document(author, change), signers)
    }
    pub fn try_append(&mut self, entry: Entry) -> Result<Accepted, Refused> {
        let accepted = self.state.append(&entry, self.now)?;
        self.entries.push((entry, self.now));
        Ok(accepted)
    }
    pub fn propose(&mut self, change: Change, signers: &[&str]) -> Result<Accepted, Refused> {
        self.try_append(self.entry(change, signers))
    }
    /// # Panics
    /// If it is refused.
    pub fn accept(&mut self, change: Change, signers: &[&str]) -> Accepted {
        self.propose(change, signers).expect("the desk accepts this change")
    }
    /// Publishes a policy as its two admins, and enacts it if it must wait.
    pub fn publish(&mut self, policy: super::policy::Policy) {
        let accepted = self.accept(Change::SetPolicy { policy }, &["manager.policy", "platform.policy"]);
        if let super::state::Effect::Waits { until } = accepted.effect {
            self.now = until;
            self.accept(Change::Enact { seq: accepted.head.seq }, &["manager.policy"]);
        }
    }
    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }
    /// The state from nothing but the entries.
    pub fn replayed(&self) -> Result<State, (usize, Refused)> {
        State::replay(self.pinned(), self.entries.iter().map(|(entry, at)| (entry, *at)))
    }
}
