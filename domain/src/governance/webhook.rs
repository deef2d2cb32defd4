//! Where the desk's events are sent on to: information that leaves, so that it takes two people to let it.
//!
//! The log says which endpoints there are and what each is told. Delivering is the orchestrator's business: an endpoint decides nothing about
//! money, and co-signers only replay it.

use super::directory::{SecretName, WebhookName};
use crate::{signing::PartyRole, text::hex_bytes};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The most endpoints at once.
pub const MAX_WEBHOOKS: usize = 100;
/// The most kinds that one endpoint names.
pub const MAX_EVENTS: usize = 50;

/// An endpoint that is told of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    pub id: WebhookName,
    /// `https://`; with `allow_private` also `http://`. At most 500 visible ASCII characters, without user, password and fragment.
    pub url: String,
    /// Kinds of events, each with all that begin with it and a dot: `transfer` covers `transfer.submitted`. `*` is every kind.
    pub events: BTreeSet<String>,
    /// Whose endpoint it is.
    pub party: PartyRole,
    /// Whether it may be at a private address, which anything else that runs beside the orchestrator may have, too.
    #[serde(default)]
    pub allow_private: bool,
    /// What the orchestrator's configuration calls the secret that messages are authenticated with (HMAC), besides its own signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretName>,
    /// The key that the receiver expects messages to be signed with. The orchestrator sends none that it would sign with another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<WebhookKey>,
    /// Raised to have the orchestrator make a new secret of its own for it, and go on with it if it was disabled: two people's word.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub renewed: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookKey(#[serde(with = "hex_bytes")] pub [u8; 32]);

/// An endpoint that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    pub webhook: Webhook,
    /// The log's entry that put it there. Another one is another endpoint, even under the same name.
    pub seq: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    #[error(
        "webhook {0}: url: must be https:// (or http://, with allowPrivate), a host and perhaps a port and a path: at most 500 visible \
         ASCII characters, without user, password and fragment"
    )]
    Url(WebhookName),
    #[error(
        "webhook {0}: events: must be 1 to {MAX_EVENTS} kinds such as transfer or transfer.submitted (a-z 0-9 _ and dots), or *"
    )]
    Events(WebhookName),
    #[error("webhook {0}: there are {MAX_WEBHOOKS} already; remove one")]
    TooMany(WebhookName),
    #[error("webhook {0}: there is none of that name")]
    Unknown(WebhookName),
}

impl Webhook {
    /// Whether it is told of events of this kind.
    pub fn wants(&self, kind: &str) -> bool {
        let covers = |named: &String| {
            named == "*"
                || kind
                    .strip_prefix(named.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.events.iter().any(covers)
    }

    /// Whether it lets out nothing that `other` does not.
    pub fn tells_no_more_than(&self, other: &Self) -> bool {
        let Self { id, url, events, party, allow_private, secret, public_key, renewed } = self;
        let same = (id, url, party, secret, public_key, renewed)
            == (&other.id, &other.url, &other.party, &other.secret, &other.public_key, &other.renewed);
        same && (!allow_private || other.allow_private)
            && events
                .iter()
                .all(|kind| if kind == "*" { other.events.contains("*") } else { other.wants(kind) })
    }

    fn validate(&self) -> Result<(), InvalidWebhook> {
        if !is_endpoint(&self.url, self.allow_private) {
            return Err(InvalidWebhook::Url(self.id.clone()));
        }
        let few = (1..=MAX_EVENTS).contains(&self.events.len());
        if !few || !self.events.iter().all(|kind| is_kind(kind)) {
            return Err(InvalidWebhook::Events(self.id.clone()));
        }
        Ok(())
    }
}

/// What replay takes, now and for ever: on purpose no parser of somebody else's, which may change its mind. Who delivers parses it properly.
fn is_endpoint(url: &str, plain: bool) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://").filter(|_| plain));
    let Some(rest) = rest else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let hostname = !host.is_empty() && !host.starts_with(':');
    let written = url.len() <= 500 && url.bytes().all(|byte| byte.is_ascii_graphic());
    // A backslash is a slash to some parsers, and what is before it then another host.
    written && hostname && !host.contains('@') && !url.contains(['#', '\\'])
}

fn is_kind(kind: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
    };
    kind == "*" || (kind.len() <= 64 && kind.split('.').all(part))
}

/// The endpoints that are in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Webhooks(BTreeMap<WebhookName, Subscribed>);

impl Webhooks {
    pub fn get(&self, id: &WebhookName) -> Option<&Subscribed> {
        self.0.get(id)
    }
    /// By name.
    pub fn iter(&self) -> impl Iterator<Item = &Subscribed> {
        self.0.values()
    }

    pub(super) fn put(&mut self, webhook: &Webhook, seq: u64) -> Result<(), InvalidWebhook> {
        webhook.validate()?;
        let id = webhook.id.clone();
        if self.0.len() >= MAX_WEBHOOKS && !self.0.contains_key(&id) {
            return Err(InvalidWebhook::TooMany(id));
        }
        self.0.insert(id, Subscribed { webhook: webhook.clone(), seq });
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &WebhookName) -> Result<(), InvalidWebhook> {
        self.0.remove(id).map(drop).ok_or_else(|| InvalidWebhook::Unknown(id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(url: &str, events: &[&str], allow_private: bool) -> Webhook {
        Webhook {
            id: "desk".parse().unwrap(),
            url: url.into(),
            events: events.iter().map(|kind| (*kind).to_owned()).collect(),
            party: PartyRole::Client,
            allow_private,
            secret: None,
            public_key: None,
            renewed: 0,
        }
    }

    #[test]
    fn only_plain_urls_are_endpoints() {
        let check = |url: &str, private| webhook(url, &["transfer"], private).validate().is_ok();
        for url in
            ["https://desk.example", "https://desk.example:8443/hooks?of=bursar", "https://[2001:db8::1]/"]
        {
            assert!(check(url, false), "{url}");
        }
        assert!(check("http://10.0.0.1:80/hooks", true));
        let long = format!("https://desk.example/{}", "x".repeat(480));
        for url in [
            "",
            "http://desk.example/",
            "https://",
            "https:///path",
            "https://:80/",
            "ftp://desk.example/",
            "https://user:secret@desk.example/",
            "https://desk.example/#part",
            "https://desk.example\\@evil.example/",
            "https://desk.example/ path",
            "https://d\u{e9}sk.example/",
            &long,
        ] {
            assert!(!check(url, false), "{url}");
        }
    }

    #[test]
    fn kinds_cover_what_is_below_them() {
        let told = webhook("https://desk.example", &["transfer", "governance.appended"], false);
        for kind in ["transfer", "transfer.submitted", "governance.appended"] {
            assert!(told.wants(kind), "{kind}");
        }
        for kind in
            ["transfers", "deposit.seen", "governance", "governance.refused", "governance.appended_too"]
        {
            assert!(!told.wants(kind), "{kind}");
        }
        assert!(webhook("https://desk.example", &["*"], false).wants("anything.at_all"));
        let no_kinds: [&[&str]; 6] = [&[], &[""], &["Transfer"], &["transfer."], &["**"], &["a b"]];
        for events in no_kinds {
            assert!(webhook("https://desk.example", events, false).validate().is_err(), "{events:?}");
        }
    }

    #[test]
    fn less_is_told_only_to_the_same_endpoint() {
        let before = webhook("https://desk.example", &["transfer", "deposit"], true);
        for (after, no_more) in [
            (webhook("https://desk.example", &["transfer", "deposit"], true), true),
            (webhook("https://desk.example", &["transfer.submitted"], false), true),
            (webhook("https://desk.example", &["governance"], true), false),
            (webhook("https://desk.example", &["*"], true), false),
            (webhook("https://else.example", &["transfer"], true), false),
        ] {
            assert_eq!(after.tells_no_more_than(&before), no_more, "{after:?}");
            assert!(!after.tells_no_more_than(&webhook("https://desk.example", &["withdrawal"], false)));
        }
        let everything = webhook("https://desk.example", &["*"], true);
        assert!(before.tells_no_more_than(&everything) && everything.tells_no_more_than(&everything));
        let other_key = Webhook { public_key: Some(WebhookKey([7; 32])), ..before.clone() };
        assert!(!other_key.tells_no_more_than(&before));
        let renewed = Webhook { renewed: 1, ..before.clone() };
        assert!(!renewed.tells_no_more_than(&before) && !before.tells_no_more_than(&renewed));
        assert!(!serde_json::to_string(&before).unwrap().contains("renewed"), "read and signed as ever");
    }
}
