//! A change in words, for whoever is about to sign it.

use super::diff;
use bursar_domain::governance::{
    change::{Change, ChangeRules, Class},
    directory::{Group, KeyMaterial, User, UserKey},
    log::Document,
    policy::Policy,
    webhook::{Webhook, WebhookKey},
};
use serde::Serialize;
use serde_json::Value;

/// Lines of text. `policy`: the one in force, so that a new one can be told by what it changes.
pub fn document(document: &Document, policy: Option<&Policy>) -> Vec<String> {
    let Document { seq, previous, author, proposed_at, change } = document;
    let mut lines = vec![
        format!("entry {seq}, proposed by {author} at {}", crate::api::wire::time(*proposed_at)),
        format!("  after {previous}"),
    ];
    lines.extend(self::change(change, policy).into_iter().map(|line| format!("  {line}")));
    // What is shown may come from a hostile server, and a terminal obeys control characters.
    lines.into_iter().map(|line| line.replace(char::is_control, "\u{fffd}")).collect()
}

pub fn change(change: &Change, policy: Option<&Policy>) -> Vec<String> {
    match change {
        Change::Genesis(genesis) => {
            let mut lines = vec![format!("begin the log of {:?}", genesis.desk)];
            lines.extend(genesis.users.iter().flat_map(user));
            lines.extend(genesis.groups.iter().map(group));
            lines.extend(rules(&genesis.rules));
            lines.push(match genesis.least_delay_seconds {
                0 => "  these delays may be 0: for THROW-AWAY NETWORKS ONLY".to_owned(),
                least => format!("  these delays are never below {least} s"),
            });
            if genesis.separate_passkeys {
                lines.push("  no origin ever has passkeys for ACCESS and passkeys for DOCUMENTS".to_owned());
            }
            lines
        }
        Change::PutUser { user: put } => [vec!["add or replace the".to_owned()], user(put)].concat(),
        Change::SuspendUser { user } => {
            vec![format!("suspend {user}, whose signatures then count for nothing")]
        }
        Change::ResumeUser { user } => vec![format!("let {user} sign again")],
        Change::AddKey { user, key: added } => vec![format!("give {user} the {}", key(added))],
        Change::RemoveKey { user, key } => vec![format!("take key {key} from {user}, for ever")],
        Change::SetRoles { user, roles } => vec![format!("give {user} exactly the roles {}", list(roles))],
        Change::PutGroup { group: put } => vec![format!("set the {}", group(put))],
        Change::SetPolicy { policy: after } => set_policy(policy, after),
        Change::PutAddress { entry } => {
            let tag = entry.destination.tag.map(|tag| format!(" tag {tag}")).unwrap_or_default();
            let whose = entry.counterparty.as_ref().map(|of| format!(" of {of}")).unwrap_or_default();
            vec![format!(
                "list {} on {}: {}{tag}, {:?}{whose}",
                entry.id, entry.network, entry.destination.address, entry.label
            )]
        }
        Change::RemoveAddress { id } => vec![format!("take {id} off the address book")],
        Change::Freeze { scope, reason } => {
            vec![format!(
                "freeze {scope}: nothing of it is signed until two people lift it. Reason: {reason:?}"
            )]
        }
        Change::Lift { freeze } => vec![format!("lift the freeze that entry {freeze} began")],
        Change::Veto { seq } => {
            vec![format!("end the change that entry {seq} asked for, before it comes into force")]
        }
        Change::Enact { seq } => vec![format!("bring the change of entry {seq} into force")],
        Change::SetChangeRules { rules: set } => {
            [vec!["set the rules for changes:".to_owned()], rules(set)].concat()
        }
        Change::PutWebhook { webhook: put } => webhook(put),
        Change::RemoveWebhook { id } => vec![format!("send no more events to webhook {id}")],
    }
}

fn set_policy(before: Option<&Policy>, after: &Policy) -> Vec<String> {
    let diff = diff::policies(before, after);
    let mut lines = vec![format!("publish a policy of {} rule(s)", after.rules.len())];
    let lines_of = |verb: &str, rules: &[Value]| -> Vec<String> {
        rules.iter().map(|rule| format!("  {verb} {rule}")).collect()
    };
    lines.extend(lines_of("adds", &diff.added));
    lines.extend(lines_of("removes", &diff.removed));
    for changed in diff.changed.iter().chain(&diff.settings) {
        lines.push(format!("  changes {} from {}", changed.name, changed.before));
        lines.push(format!("  {:>width$} to {}", "", changed.after, width = changed.name.len() + 8));
    }
    lines
}

fn user(user: &User) -> Vec<String> {
    let suspended = if user.suspended { ", suspended" } else { "" };
    let party = text(&user.party);
    let first = format!("user {} ({:?}) of {party}, {}{suspended}", user.id, user.name, list(&user.roles));
    let keys = user.keys.iter().map(|held| format!("  {}", key(held)));
    std::iter::once(first).chain(keys).collect()
}

fn key(key: &UserKey) -> String {
    let kind = match &key.material {
        KeyMaterial::Ed25519 { .. } => "Ed25519".to_owned(),
        KeyMaterial::Passkey { rp_id, origins, .. } => format!("passkey of {rp_id} at {}", list(origins)),
    };
    format!("key {} for {}, {kind} {}", key.id, key.uses, key.public())
}

fn group(group: &Group) -> String {
    format!("group {} of {}", group.id, list(&group.members))
}

fn rules(rules: &ChangeRules) -> Vec<String> {
    let classes =
        [Class::People, Class::Policy, Class::AddressBook, Class::Lift, Class::ChangeRules, Class::Webhooks];
    let line = |class: Class| {
        let quorum = rules.quorum(class)?;
        Some(format!(
            "  {class}: {} approval(s) besides the author, {} party(ies), then {} s",
            quorum.approvals, quorum.parties, quorum.delay_seconds
        ))
    };
    classes.into_iter().filter_map(line).collect()
}

fn webhook(webhook: &Webhook) -> Vec<String> {
    let Webhook { id, url, events, party, allow_private, secret, public_key, renewed } = webhook;
    let mut lines = vec![
        format!("send events on to webhook {id} of {}: {url}", text(party)),
        format!("  kinds: {}", list(events)),
    ];
    if *allow_private {
        lines.push("  its address may be a private one".to_owned());
    }
    lines.extend(
        secret.as_ref().map(|name| format!("  authenticated with the secret {name} of the configuration")),
    );
    lines.extend(public_key.map(|WebhookKey(key)| format!("  signed with the key {}", hex::encode(key))));
    if *renewed > 0 {
        lines.push(format!(
            "  renewed {renewed} time(s): with a higher number it gets a new secret, and is enabled"
        ));
    }
    lines
}

fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn text(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}
