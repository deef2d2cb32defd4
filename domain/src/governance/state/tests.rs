mod loosening;
mod properties;
mod rights;

use super::*;
use crate::governance::{
    change::{MAX_REASON, Quorum},
    directory::InvalidDirectory,
    freeze::Scope,
    log::InvalidEntry,
    role::Role,
    signature::InvalidSignature,
    testing::{self, FOUNDED, TestDesk, TestKey, key, rules, sign, user},
};
use crate::signing::PartyRole;
use std::collections::BTreeSet;

/// How long changes wait at the desk of these tests.
const DELAY: u64 = 3600;

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}
fn policy(max_age: u64) -> Policy {
    let json = format!(r#"{{"currency":"USD","priceMaxAgeSeconds":{max_age},"rules":[]}}"#);
    serde_json::from_str(&json).unwrap()
}
fn address(id: &str, address: &str) -> Change {
    let json = format!(
        r#"{{"id":"{id}","network":"xrp:0","destination":{{"address":"{address}"}},"label":"of the tests"}}"#
    );
    Change::PutAddress { entry: serde_json::from_str(&json).unwrap() }
}
fn freeze_all() -> Change {
    Change::Freeze { scope: Scope::All {}, reason: "drill".into() }
}
fn roles(user: &str, roles: &[Role]) -> Change {
    Change::SetRoles { user: name(user), roles: roles.iter().copied().collect() }
}
/// Two who may change users, of two parties.
const ADMINS: &[&str] = &["manager.owner", "platform.security"];
const POLICY_ADMINS: &[&str] = &["manager.policy", "platform.policy"];

fn invalid(refused: Result<Accepted, Refused>) -> InvalidChange {
    match refused {
        Err(Refused::Change(invalid)) => invalid,
        other => panic!("expected an impossible change, not {other:?}"),
    }
}

#[test]
fn a_loosening_waits_and_is_enacted() {
    let mut desk = TestDesk::new(DELAY);
    let accepted = desk.accept(Change::SetPolicy { policy: policy(1) }, POLICY_ADMINS);
    let until = FOUNDED.plus(std::time::Duration::from_secs(DELAY));
    assert_eq!(accepted.effect, Effect::Waits { until });
    assert_eq!(desk.state.policy(), None);
    let enact = Change::Enact { seq: 1 };
    desk.now = Timestamp(until.0 - 1);
    let early = desk.propose(enact.clone(), &["client.service"]);
    assert_eq!(early, Err(Refused::TooEarly { seq: 1, until }));
    desk.now = until;
    desk.accept(enact.clone(), &["client.service"]);
    let published = desk.state.policy().unwrap();
    assert_eq!((published.version, &*published.policy), (accepted.head, &policy(1)));
    assert_eq!(invalid(desk.propose(enact, &["client.service"])), InvalidChange::NotPending(1));
}

#[test]
fn a_veto_ends_what_waits_for_good() {
    let mut desk = TestDesk::new(DELAY);
    desk.accept(Change::SetPolicy { policy: policy(1) }, POLICY_ADMINS);
    desk.accept(Change::Veto { seq: 1 }, &["client.approver"]);
    desk.wait(2 * DELAY);
    let enacted = desk.propose(Change::Enact { seq: 1 }, &["client.service"]);
    assert_eq!(invalid(enacted), InvalidChange::NotPending(1));
    assert_eq!(desk.state.policy(), None);
    let again = desk.propose(Change::Veto { seq: 1 }, &["client.approver"]);
    assert_eq!(invalid(again), InvalidChange::NotPending(1));
}

#[test]
fn an_older_policy_is_never_enacted_over_a_newer_one() {
    let mut desk = TestDesk::new(DELAY);
    desk.accept(Change::SetPolicy { policy: policy(1) }, POLICY_ADMINS);
    desk.accept(Change::SetPolicy { policy: policy(2) }, POLICY_ADMINS);
    desk.wait(DELAY);
    desk.accept(Change::Enact { seq: 2 }, &["client.service"]);
    let older = desk.propose(Change::Enact { seq: 1 }, &["client.service"]);
    assert_eq!(invalid(older), InvalidChange::NotPending(1));
    assert_eq!(desk.state.policy().unwrap().version.seq, 2);
}

#[test]
fn a_suspension_voids_what_waits_for_the_user() {
    let mut desk = TestDesk::new(DELAY);
    let spare = TestKey::new("client.approver", "spare");
    desk.accept(Change::AddKey { user: spare.user.clone(), key: spare.public() }, ADMINS);
    desk.accept(Change::SuspendUser { user: spare.user.clone() }, &["platform.security"]);
    desk.wait(DELAY);
    let enacted = desk.propose(Change::Enact { seq: 1 }, &["client.service"]);
    assert_eq!(invalid(enacted), InvalidChange::NotPending(1));
}

#[test]
fn what_became_impossible_while_it_waited_is_refused() {
    let mut desk = TestDesk::new(DELAY);
    let both = |id| address(id, "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE");
    desk.accept(both("a"), &["client.operator", "manager.approver"]);
    desk.accept(both("b"), &["client.operator", "manager.approver"]);
    desk.wait(DELAY);
    desk.accept(Change::Enact { seq: 2 }, &["client.service"]);
    let enacted = invalid(desk.propose(Change::Enact { seq: 1 }, &["client.service"]));
    assert_eq!(enacted, InvalidAddress::Twice { id: name("a"), other: name("b") }.into());
    desk.accept(Change::Veto { seq: 1 }, &["client.owner"]);
}

#[test]
fn a_removed_key_never_verifies_again() {
    let mut desk = TestDesk::new(0);
    let (spare, operator) = (TestKey::new("client.operator", "spare"), key("client.operator"));
    let add = |key: &TestKey, user: &str| Change::AddKey { user: name(user), key: key.public() };
    desk.accept(add(&spare, "client.operator"), ADMINS);
    let by_old_key = sign(
        &desk.document("client.operator", address("a", "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE")),
        &["client.operator", "manager.approver"],
    );
    desk.state.check(&by_old_key, desk.now).unwrap();
    desk.accept(Change::RemoveKey { user: operator.user.clone(), key: operator.id.clone() }, ADMINS);
    let signature = operator.sign(&[1; 32]);
    let unknown = InvalidSignature::UnknownKey { user: operator.user.clone(), key: operator.id.clone() };
    assert_eq!(signature.verify(desk.state.directory(), &[1; 32]).map(|_| ()), Err(unknown.clone()));
    let entry = desk.propose(
        address("a", "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE"),
        &["client.operator", "manager.approver"],
    );
    assert_eq!(entry, Err(InvalidEntry::Signature { index: 0, source: unknown }.into()));
    // It comes back neither to its user nor to another, by no kind of change.
    for user_id in ["client.operator", "manager.operator"] {
        let taken = InvalidDirectory::KeyTaken {
            user: name(user_id),
            key: operator.id.clone(),
            owner: operator.user.clone(),
        };
        let mut added = add(&operator, user_id);
        if let Change::AddKey { key, .. } = &mut added {
            key.id = name("again");
        }
        let refused = invalid(desk.propose(added, ADMINS));
        let expected = InvalidDirectory::KeyTaken {
            user: name(user_id),
            key: name("again"),
            owner: operator.user.clone(),
        };
        assert_eq!(refused, expected.into());
        let party = if user_id == "client.operator" { PartyRole::Client } else { PartyRole::WealthManager };
        let mut put = user(user_id, party, [Role::Operator]);
        put.keys = vec![operator.public()];
        assert_eq!(invalid(desk.propose(Change::PutUser { user: put }, ADMINS)), taken.into());
    }
    assert!(desk.state.directory().holder(&operator.public().public()).is_none());
    let (holder, held) = desk.state.directory().holder(&spare.public().public()).unwrap();
    assert_eq!((&holder.id, &held.id), (&spare.user, &spare.id));
}

#[test]
fn a_suspended_user_signs_nothing() {
    let mut desk = TestDesk::new(0);
    let user = name::<UserId>("platform.officer");
    desk.accept(Change::SuspendUser { user: user.clone() }, &["platform.security"]);
    let source = InvalidSignature::Suspended(user.clone());
    let refused = desk.propose(freeze_all(), &["platform.officer"]);
    assert_eq!(refused, Err(InvalidEntry::Signature { index: 0, source }.into()));
    desk.accept(Change::ResumeUser { user }, ADMINS);
    desk.accept(freeze_all(), &["platform.officer"]);
}

#[test]
fn a_freeze_needs_one_and_its_end_two_and_a_delay() {
    let mut desk = TestDesk::new(DELAY);
    let intent: Intent = serde_json::from_str(
        r#"{"externalId":"x","wallet":"xrp:0/xrp-ed25519/0","asset":"XRP","payments":[],"maxFee":"1","expiresAt":0}"#,
    )
    .unwrap();
    let other = Scope::Wallet { wallet: name("xrp:0/xrp-ed25519/1") };
    let scopes = [
        Scope::All {},
        Scope::Chain { chain: crate::network::Chain::Xrp },
        Scope::Wallet { wallet: intent.wallet },
        Scope::Transfer { intent: intent.digest() },
    ];
    desk.accept(Change::Freeze { scope: other, reason: "drill".into() }, &["platform.officer"]);
    assert_eq!(desk.state.frozen(&intent), None);
    for scope in scopes {
        let change = Change::Freeze { scope: scope.clone(), reason: "drill".into() };
        let freeze = desk.accept(change, &["platform.custodian"]).head.seq;
        let found = desk.state.frozen(&intent).expect("it is frozen at once");
        assert_eq!((found.seq, &found.scope), (freeze, &scope));
        let lift = desk.accept(Change::Lift { freeze }, &["client.approver", "platform.lead"]).head.seq;
        assert!(desk.state.frozen(&intent).is_some());
        desk.wait(DELAY);
        desk.accept(Change::Enact { seq: lift }, &["client.service"]);
        assert_eq!(desk.state.frozen(&intent), None);
        let again = desk.propose(Change::Lift { freeze }, &["client.approver", "platform.lead"]);
        assert_eq!(invalid(again), InvalidChange::NoFreeze(freeze));
    }
    for reason in [String::new(), "x".repeat(MAX_REASON + 1), "a\nb".into()] {
        let change = Change::Freeze { scope: Scope::All {}, reason };
        assert_eq!(invalid(desk.propose(change, &["platform.officer"])), InvalidChange::Reason);
    }
}

#[test]
fn an_address_is_listed_since_it_came_into_force() {
    let mut desk = TestDesk::new(DELAY);
    let change = address("exchange", "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE");
    let Change::PutAddress { entry } = change.clone() else { unreachable!() };
    desk.accept(change, &["client.operator", "manager.approver"]);
    desk.wait(DELAY + 5);
    assert_eq!(desk.state.address_book().get(&entry.id), None);
    desk.accept(Change::Enact { seq: 1 }, &["client.service"]);
    desk.wait(60);
    let listed = desk.state.address_book().find(entry.network, &entry.destination).unwrap();
    assert_eq!((&listed.entry, listed.seq, listed.age(desk.now).as_secs()), (&entry, 1, 60));
    let tagged = crate::intent::Destination { tag: Some(0), ..entry.destination.clone() };
    assert_eq!(desk.state.address_book().find(entry.network, &tagged), None);
    desk.accept(Change::RemoveAddress { id: entry.id.clone() }, &["manager.policy"]);
    assert_eq!(desk.state.address_book().find(entry.network, &entry.destination), None);
    let again = desk.propose(Change::RemoveAddress { id: entry.id.clone() }, &["manager.policy"]);
    assert_eq!(invalid(again), InvalidAddress::Unknown(entry.id).into());
}

#[test]
fn addresses_that_make_no_sense_are_refused() {
    let mut desk = TestDesk::new(0);
    let signers = &["client.operator", "manager.approver"];
    let with = |edit: fn(&mut crate::governance::address_book::AddressEntry)| {
        let Change::PutAddress { mut entry } = address("a", "rSomewhere") else { unreachable!() };
        edit(&mut entry);
        Change::PutAddress { entry }
    };
    let id = || name("a");
    for (change, expected) in [
        (with(|entry| entry.label.clear()), InvalidAddress::Label(id())),
        (with(|entry| entry.destination.address.clear()), InvalidAddress::Address(id())),
        (with(|entry| entry.destination.address = "r with space".into()), InvalidAddress::Address(id())),
        (with(|entry| entry.destination.address = "r".repeat(101)), InvalidAddress::Address(id())),
        (
            with(|entry| {
                entry.network = name("ethereum:1");
                entry.destination.tag = Some(0);
            }),
            InvalidAddress::Tag(id()),
        ),
    ] {
        assert_eq!(invalid(desk.propose(change, signers)), expected.into());
    }
    // Moved elsewhere, an entry leaves its old place.
    desk.accept(address("a", "rOld"), signers);
    desk.accept(address("a", "rNew"), signers);
    desk.accept(address("b", "rOld"), signers);
    assert_eq!(desk.state.address_book().iter().count(), 2);
}

#[test]
fn what_only_takes_away_is_a_tightening() {
    let mut desk = TestDesk::new(DELAY);
    desk.accept(roles("client.owner", &[Role::Owner, Role::PolicyAdmin]), ADMINS);
    desk.wait(DELAY);
    desk.accept(Change::Enact { seq: 1 }, &["client.service"]);
    let directory = desk.state.directory().clone();
    let owner = || directory.user(&name("client.owner")).unwrap().clone();
    let put = |edit: fn(&mut crate::governance::directory::User)| {
        let mut user = owner();
        edit(&mut user);
        Change::PutUser { user }
    };
    let group = |members: &[&str]| Change::PutGroup {
        group: crate::governance::directory::Group {
            id: name("payments"),
            members: members.iter().map(|user| name(user)).collect(),
        },
    };
    let spare = TestKey::new("client.owner", "spare").public();
    let more = |edit: &dyn Fn(&mut crate::governance::directory::User)| {
        let mut user = owner();
        edit(&mut user);
        Change::PutUser { user }
    };
    for (change, loosens) in [
        (roles("client.owner", &[Role::Owner]), false),
        (roles("client.owner", &[Role::Owner, Role::PolicyAdmin]), false),
        (roles("client.owner", &[Role::SecurityAdmin]), true),
        (roles("client.owner", &[Role::Owner, Role::PolicyAdmin, Role::Approver]), true),
        (roles("nobody", &[]), true),
        (put(|user| user.suspended = true), false),
        (put(|user| user.keys.clear()), false),
        (put(|user| user.roles.clear()), false),
        (put(|user| user.name.push('x')), true),
        (put(|user| _ = user.roles.insert(Role::Approver)), true),
        (more(&|user| user.keys.push(spare.clone())), true),
        (put(|user| user.id = name("another")), true),
        (group(&["client.approver"]), false),
        (group(&[]), false),
        (group(&["client.approver", "client.owner"]), true),
    ] {
        assert_eq!(change.loosens(&desk.state), loosens, "{change:?}");
    }
    desk.accept(Change::SuspendUser { user: name("client.owner") }, &["manager.owner", "platform.security"]);
    let Change::PutUser { mut user } = put(|_| ()) else { unreachable!() };
    user.suspended = false;
    assert!(Change::PutUser { user }.loosens(&desk.state));
}

#[test]
fn nobody_approves_their_own_rights() {
    let mut desk = TestDesk::new(0);
    let change = roles("platform.security", &[Role::SecurityAdmin, Role::PolicyAdmin]);
    let refused = desk.propose(change.clone(), ADMINS);
    let user = name("platform.security");
    assert_eq!(refused, Err(Refused::OwnRights { user, change: "SET_ROLES" }));
    desk.accept(change, &["platform.security", "client.owner"]);
}

#[test]
fn one_person_cannot_lock_the_desk_out() {
    let mut desk = TestDesk::new(0);
    let suspend = |user: &str| Change::SuspendUser { user: name(user) };
    // Managers would be all that is left without the platform: that takes two, and of another party.
    let change = "SUSPEND_USER";
    let alone = desk.propose(suspend("client.owner"), &["manager.owner"]);
    assert_eq!(alone, Err(Refused::Approvals { change, have: 0, need: 1 }));
    let colleague = desk.propose(suspend("client.owner"), &["manager.owner", "manager.security"]);
    assert_eq!(colleague, Err(Refused::Parties { change, have: 1, need: 2 }));
    desk.accept(suspend("client.owner"), ADMINS);
    // And no quorum takes away itself.
    let expected = InvalidChange::LocksOut { have: 2, parties: 1, need: 2, need_parties: 2 };
    assert_eq!(invalid(desk.propose(suspend("platform.security"), &["manager.owner"])), expected);
    let mut strict = rules(0);
    strict.people = Quorum { approvals: 16, parties: 3, delay_seconds: 0 };
    let refused = desk.propose(Change::SetChangeRules { rules: strict }, ADMINS);
    assert!(matches!(invalid(refused), InvalidChange::LocksOut { need: 17, .. }));
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    use crate::governance::change::Class;
    let with = |edit: fn(&mut ChangeRules)| {
        let mut rules = rules(0);
        edit(&mut rules);
        rules.validate(std::time::Duration::ZERO)
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|r| (r.address_book.parties, r.lift.parties) = (1, 1)), Ok(()));
    assert_eq!(with(|r| r.lift.approvals = 0), Err(InvalidRules::Approvals { class: Class::Lift }));
    assert_eq!(with(|r| r.policy.approvals = 17), Err(InvalidRules::Approvals { class: Class::Policy }));
    assert_eq!(with(|r| r.people.parties = 1), Err(InvalidRules::Parties { class: Class::People, least: 2 }));
    assert_eq!(
        with(|r| r.change_rules.parties = 3),
        Err(InvalidRules::Parties { class: Class::ChangeRules, least: 2 })
    );
    assert_eq!(
        with(|r| r.address_book.parties = 0),
        Err(InvalidRules::Parties { class: Class::AddressBook, least: 1 })
    );
    assert_eq!(
        with(|r| r.policy.delay_seconds = 90 * 24 * 3600 + 1),
        Err(InvalidRules::Delay { class: Class::Policy })
    );
}

#[test]
fn users_that_make_no_sense_are_refused() {
    let mut desk = TestDesk::new(0);
    let mut put = |edit: fn(&mut crate::governance::directory::User)| {
        let mut user = user("new", PartyRole::CustodyPlatform, [Role::Viewer]);
        edit(&mut user);
        match invalid(desk.propose(Change::PutUser { user }, ADMINS)) {
            InvalidChange::Directory(error) => error.to_string(),
            other => panic!("{other}"),
        }
    };
    let operator = put(|user| user.roles = [Role::Operator].into());
    assert!(operator.contains("never initiates"), "{operator}");
    let exclusive = put(|user| user.roles = [Role::Auditor, Role::Approver].into());
    assert!(exclusive.contains("APPROVER and AUDITOR are never held by one user"), "{exclusive}");
    let unnamed = put(|user| user.name.clear());
    assert!(unnamed.contains("name: must be"), "{unnamed}");
    let twice = put(|user| user.keys.push(user.keys[0].clone()));
    assert!(twice.contains("main is there twice"), "{twice}");
    let many = put(|user| {
        user.keys = (0..17).map(|n| TestKey::new("new", &format!("k{n}")).public()).collect();
    });
    assert!(many.contains("at most 16"), "{many}");
    let taken = put(|user| user.keys = vec![key("client.owner").public()]);
    assert!(taken.contains("one of client.owner's"), "{taken}");
    let weak = put(|user| {
        let mut public_key = [0; 32];
        public_key[0] = 1;
        user.keys[0].material = crate::governance::directory::KeyMaterial::Ed25519 { public_key };
    });
    assert!(weak.contains("small order"), "{weak}");
    let moved = put(|user| *user = testing::user("client.owner", PartyRole::WealthManager, [Role::Owner]));
    assert!(moved.contains("party: cannot change"), "{moved}");
    let stranger = Change::PutGroup {
        group: crate::governance::directory::Group { id: name("g"), members: [name("nobody")].into() },
    };
    let expected = InvalidDirectory::UnknownMember { group: name("g"), user: name("nobody") };
    assert_eq!(invalid(desk.propose(stranger, ADMINS)), expected.into());
}

fn webhook(url: &str) -> Change {
    let json =
        format!(r#"{{"id":"desk","url":"{url}","events":["transfer","governance"],"party":"CLIENT"}}"#);
    Change::PutWebhook { webhook: serde_json::from_str(&json).unwrap() }
}

#[test]
fn a_webhook_needs_two_and_its_end_one() {
    let mut desk = TestDesk::new(DELAY);
    let put = webhook("https://desk.example/hooks");
    let alone = desk.propose(put.clone(), &["platform.security"]);
    assert_eq!(alone, Err(Refused::Approvals { change: "PUT_WEBHOOK", have: 0, need: 1 }));
    desk.accept(put, ADMINS);
    assert_eq!(desk.state.webhooks().iter().count(), 0);
    desk.wait(DELAY);
    desk.accept(Change::Enact { seq: 1 }, &["client.service"]);
    let there = desk.state.webhooks().get(&name("desk")).unwrap().clone();
    assert_eq!((there.seq, there.webhook.url.as_str()), (1, "https://desk.example/hooks"));
    let elsewhere = desk.propose(webhook("https://evil.example"), &["platform.security"]);
    assert_eq!(elsewhere, Err(Refused::Approvals { change: "PUT_WEBHOOK", have: 0, need: 1 }));
    let nowhere = invalid(desk.propose(webhook("desk.example"), ADMINS));
    assert!(matches!(nowhere, InvalidChange::Webhook(_)), "{nowhere}");
    desk.accept(Change::RemoveWebhook { id: name("desk") }, &["platform.security"]);
    assert_eq!(desk.state.webhooks().iter().count(), 0);
    let again = invalid(desk.propose(Change::RemoveWebhook { id: name("desk") }, &["platform.security"]));
    assert_eq!(again, crate::governance::webhook::InvalidWebhook::Unknown(name("desk")).into());
}

/// Rules of before there were webhooks read as they did, and then webhooks need what people need.
#[test]
fn webhooks_have_a_quorum_of_their_own_or_that_of_people() {
    use crate::governance::change::Class;
    let old = rules(DELAY);
    assert!(!serde_json::to_string(&old).unwrap().contains("webhooks"));
    assert_eq!(old.quorum(Class::Webhooks), Some(old.people));
    let own = Quorum { approvals: 2, parties: 3, delay_seconds: 1 };
    let new = ChangeRules { webhooks: Some(own), ..old };
    assert_eq!(new.quorum(Class::Webhooks), Some(own));
    assert_eq!(new.validate(std::time::Duration::ZERO), Ok(()));
    let weak = ChangeRules { webhooks: Some(Quorum { parties: 1, ..own }), ..new };
    assert_eq!(
        weak.validate(std::time::Duration::ZERO),
        Err(InvalidRules::Parties { class: Class::Webhooks, least: 2 })
    );
}
