//! The people of a governed lane, who have a key each, and the log that they sign: made in one go, so that a lane begins quickly.

use crate::{
    desk::{
        PEOPLE, SCREENING,
        people::{self, Person},
    },
    initiator::{Initiator, Standing, rand_bytes},
};
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        change::{Change, Genesis},
        log::{Document, Entry, EntryDigest, Head},
        policy::Policy,
        signature::{Evidence, Signature},
        verdict::{Disposition, DispositionAction, Exhibit, Rejection, Release, VerdictDigest},
        webhook::Webhook,
    },
    ids::DepositId,
    intent::{IntentDigest, Terms},
    time::Timestamp,
};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// What is signed counts this long.
const COUNTS: Duration = Duration::from_secs(3600);

pub struct People {
    keys: BTreeMap<&'static str, SigningKey>,
    log: Vec<Entry>,
    genesis: EntryDigest,
    /// The entry that published the policy, and the last one.
    policy: Head,
    head: Head,
}

impl People {
    /// Founds a desk whose operator is the initiator, publishes the policy, and has events sent on to the endpoint.
    pub fn found(initiator: &Initiator, policy: Policy, webhook: Webhook) -> anyhow::Result<Self> {
        let key = |person: &Person| match person.id {
            "olga" => (person.id, initiator.secret().clone()),
            id => (id, SigningKey::from_bytes(&rand_bytes())),
        };
        let keys: BTreeMap<_, _> = PEOPLE.iter().map(key).collect();
        let users: Vec<Value> = PEOPLE
            .iter()
            .map(|person| person.user(&hex::encode(keys[person.id].verifying_key().as_bytes())))
            .collect();
        let genesis: Genesis = serde_json::from_value(people::genesis(&users))?;
        let nothing = Head { seq: 0, digest: EntryDigest::NONE };
        let mut made =
            Self { keys, log: Vec::new(), genesis: EntryDigest::NONE, policy: nothing, head: nothing };
        made.genesis = made.append(["carla", "wim"], Change::Genesis(genesis))?.digest;
        made.policy = made.append(["pia", "petra"], Change::SetPolicy { policy })?;
        made.append(["sven", "carla"], Change::PutWebhook { webhook })?;
        Ok(made)
    }

    /// The first one is the author.
    fn append(&mut self, [author, other]: [&str; 2], change: Change) -> anyhow::Result<Head> {
        let seq = self.log.len() as u64;
        let document =
            Document { seq, previous: self.head.digest, author: author.parse()?, proposed_at: now(), change };
        let document = serde_json::to_string(&document)?;
        let digest = Entry::digest_of(&document);
        let signatures = vec![self.sign(author, &digest.0)?, self.sign(other, &digest.0)?];
        self.log.push(Entry { document, signatures });
        self.head = Head { seq, digest };
        Ok(self.head)
    }

    /// The log, as `bursar governance load` takes it.
    pub fn exported(&self) -> Value {
        let entries: Vec<Value> =
            self.log.iter().map(|entry| json!({ "entry": entry, "seenAt": now() })).collect();
        json!({ "genesis": self.genesis, "entries": entries })
    }

    pub const fn genesis(&self) -> EntryDigest {
        self.genesis
    }

    pub fn secret(&self, user: &str) -> anyhow::Result<&SigningKey> {
        self.keys.get(user).with_context(|| format!("{user} is nobody of this desk"))
    }

    pub fn sign(&self, user: &str, digest: &[u8; 32]) -> anyhow::Result<Signature> {
        let signature = self.secret(user)?.sign(digest).to_bytes();
        Ok(Signature { user: user.parse()?, key: "main".parse()?, evidence: Evidence::Ed25519 { signature } })
    }

    /// As whom olga orders.
    pub fn standing(&self) -> anyhow::Result<Standing> {
        let terms = Terms { desk: self.genesis, policy: self.policy, initiator: "olga".parse()? };
        Ok(Standing { terms, key: "main".parse()? })
    }

    /// Of the screening service, over what it says.
    pub fn screens(&self, digest: &[u8; 32]) -> anyhow::Result<Signature> {
        self.sign(SCREENING, digest)
    }

    pub fn approval(&self, user: &str, intent: IntentDigest) -> anyhow::Result<Value> {
        let given_at = now();
        let payload = ApprovalPayload {
            intent,
            policy: self.policy,
            head: self.head,
            vote: Vote::Approve,
            given_at,
            expires_at: given_at.plus(COUNTS),
        };
        let signature = self.sign(user, &payload.digest())?;
        Ok(serde_json::to_value(Approval { payload, signature })?)
    }

    /// What is signed to let go what this verdict held.
    pub fn release(&self, intent: IntentDigest, verdict: VerdictDigest) -> anyhow::Result<Release> {
        let released_at = now();
        Ok(Release {
            genesis: self.genesis,
            intent,
            verdict: Some(verdict),
            reason: "looked into".into(),
            evidence: evidence()?,
            released_at,
            expires_at: released_at.plus(COUNTS),
        })
    }

    /// As it is handed in.
    pub fn signed_release(&self, user: &str, release: &Release) -> anyhow::Result<Value> {
        let signature = self.sign(user, &release.digest())?;
        Ok(json!({ "release": release, "signatures": [signature] }))
    }

    pub fn rejection(&self, user: &str, intent: IntentDigest) -> anyhow::Result<Value> {
        let reason = "not with us".into();
        let rejection = Rejection { genesis: self.genesis, intent, reason, rejected_at: now() };
        let signature = self.sign(user, &rejection.digest())?;
        Ok(json!({ "rejection": rejection, "signature": signature }))
    }

    pub fn disposition(&self, deposit: DepositId) -> anyhow::Result<Disposition> {
        Ok(Disposition {
            genesis: self.genesis,
            deposit,
            action: DispositionAction::Release,
            reason: "looked into".into(),
            evidence: evidence()?,
            decided_at: now(),
        })
    }

    /// As it is handed in.
    pub fn signed_disposition(&self, user: &str, disposition: &Disposition) -> anyhow::Result<Value> {
        let signature = self.sign(user, &disposition.digest())?;
        Ok(json!({ "disposition": disposition, "signatures": [signature] }))
    }
}

/// What a decision of compliance rests on.
fn evidence() -> anyhow::Result<Vec<Exhibit>> {
    Ok(vec![Exhibit::record("urn:matrix:looked-into")?])
}

pub(super) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}
