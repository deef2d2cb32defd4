//! What looks like taking away, and what lets somebody do more by it.

use super::*;
use crate::governance::directory::Group;
use serde_json::{Value, json};

const ADMIN: &str = "manager.security";

fn group(id: &str, members: &[&str]) -> Group {
    Group { id: name(id), members: members.iter().map(|user| name(user)).collect() }
}

/// A desk whose `client.operator` is an approver, too, that has the groups `first` and `second`, the entry `exchange`, and this policy.
fn desk(rules: &Value, waits: bool) -> TestDesk {
    let mut genesis = testing::genesis(testing::rules(0));
    let operator = genesis.users.iter_mut().find(|user| user.id.as_str() == "client.operator").unwrap();
    operator.roles.insert(Role::Approver);
    genesis.groups.push(group("first", &["client.approver", "manager.approver"]));
    genesis.groups.push(group("second", &["client.approver", "platform.approver"]));
    let mut desk = TestDesk::found(genesis);
    let entry = json!({
        "id": "exchange", "network": "xrp:0", "destination": { "address": "rExchange" }, "label": "x", "counterparty": "kraken"
    });
    let entry = serde_json::from_value(entry).unwrap();
    desk.accept(Change::PutAddress { entry }, &["client.operator", "manager.approver"]);
    if waits {
        desk.accept(
            Change::SetChangeRules { rules: testing::rules(DELAY) },
            &["client.owner", "manager.owner"],
        );
    }
    let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": rules });
    desk.accept(Change::SetPolicy { policy: serde_json::from_value(policy).unwrap() }, POLICY_ADMINS);
    desk
}

fn rule(when: Value, then: Value) -> Value {
    json!({ "id": format!("{}", when.to_string().len()), "when": when, "then": then })
}
fn deny() -> Value {
    json!({ "kind": "DENY", "reason": "no" })
}
fn allow() -> Value {
    json!({ "kind": "ALLOW" })
}

/// Whether one person may make it alone and at once: by what it is called, and by what replay does.
fn loosens(rules: &Value, author: &str, change: &Change) -> bool {
    let of = |waits: bool| {
        let desk = desk(rules, waits);
        let loosens = change.loosens(&desk.state);
        let alone = desk.state.check(&desk.entry(change.clone(), &[author]), desk.now);
        let expected = if loosens { Some("QUORUM") } else { None };
        assert_eq!(alone.err().map(|refused| refused.code()), expected, "{change:?} under {rules}");
        loosens
    };
    // A policy that waits will be in force, too.
    let (now, later) = (of(false), of(true));
    assert_eq!(now, later, "{change:?} under {rules}");
    now
}

#[test]
fn a_role_that_a_rule_looks_at_is_not_taken_by_one() {
    let approver = json!({ "initiatorRoles": ["APPROVER"] });
    let either = json!({ "initiatorRoles": ["APPROVER", "OPERATOR"] });
    let change = roles("client.operator", &[Role::Operator]);
    for (when, then, expected) in [
        (approver.clone(), deny(), true),
        (approver.clone(), json!({ "kind": "DELAY", "seconds": 60 }), true),
        (json!({ "any": [{ "chains": ["xrp"] }, approver.clone()] }), deny(), true),
        (json!({ "not": { "not": approver.clone() } }), deny(), true),
        (json!({ "not": approver.clone() }), allow(), true),
        // It holds less often, or just as often.
        (approver.clone(), allow(), false),
        (json!({ "not": approver.clone() }), deny(), false),
        (either, deny(), false),
        (json!({ "initiatorRoles": ["OWNER"] }), deny(), false),
        (json!({}), deny(), false),
    ] {
        let rules = json!([rule(when, then)]);
        assert_eq!(loosens(&rules, ADMIN, &change), expected, "{rules}");
    }
    // Who initiates nothing any more gains nothing.
    let rules = json!([rule(approver, deny())]);
    assert!(!loosens(&rules, ADMIN, &roles("client.operator", &[])));
    let state = desk(&rules, false).state;
    let mut user = state.directory().user(&name("client.operator")).unwrap().clone();
    user.roles = [Role::Operator].into();
    assert!(loosens(&rules, ADMIN, &Change::PutUser { user }));
}

#[test]
fn a_seat_that_moves_is_not_taken_by_one() {
    let require = |of: &str, groups: &[&str]| {
        let groups: Vec<_> = groups.iter().map(|id| json!({ "group": id, "quorum": 1 })).collect();
        json!([rule(json!({}), json!({ "kind": "REQUIRE", "of": of, "groups": groups }))])
    };
    let put = |id: &str, members: &[&str]| Change::PutGroup { group: group(id, members) };
    let without_client = put("first", &["manager.approver"]);
    let without_manager = put("first", &["client.approver"]);
    for of in ["ALL", "ANY"] {
        // The client's approver would sit in `second`.
        assert!(loosens(&require(of, &["first", "second"]), ADMIN, &without_client));
        assert!(!loosens(&require(of, &["first", "second"]), ADMIN, &without_manager));
        // They sat there before.
        assert!(!loosens(&require(of, &["second", "first"]), ADMIN, &without_client));
        assert!(!loosens(&require(of, &["first"]), ADMIN, &without_client));
        assert!(!loosens(&require(of, &["second"]), ADMIN, &without_client));
    }
    // In `second` soon: the change that puts them there was signed when they still sat in `first`.
    let mut desk = desk(&require("ANY", &["first", "second"]), true);
    assert!(!without_manager.loosens(&desk.state));
    let soon = put("second", &["client.approver", "platform.approver", "manager.approver"]);
    desk.accept(soon, ADMINS);
    assert!(without_manager.loosens(&desk.state));
}

#[test]
fn an_address_that_a_rule_forbids_is_not_removed_by_one() {
    let listed = json!({ "destination": { "kind": "LISTED", "entries": ["exchange"] } });
    let other = json!({ "destination": { "kind": "LISTED", "entries": ["another"] } });
    let owner = json!({ "destination": { "kind": "COUNTERPARTY", "names": ["kraken"] } });
    let any = json!({ "destination": { "kind": "ANY_LISTED" } });
    let one_time = json!({ "destination": { "kind": "ONE_TIME" } });
    let open = || rule(json!({}), allow());
    let small = json!({ "destination": { "kind": "ONE_TIME" }, "amount": { "in": "XRP", "atMost": "5" } });
    let change = Change::RemoveAddress { id: name("exchange") };
    for (rules, expected) in [
        (json!([open(), rule(listed.clone(), deny())]), true),
        (json!([open(), rule(owner, deny())]), true),
        (json!([open(), rule(any.clone(), deny())]), true),
        (json!([open(), rule(json!({ "not": one_time.clone() }), deny())]), true),
        (json!([rule(small.clone(), allow())]), true),
        (json!([rule(json!({ "not": any.clone() }), allow())]), true),
        // What is not listed is not paid, so that whatever is taken off the list is not.
        (json!([rule(any.clone(), allow()), rule(listed.clone(), deny())]), false),
        (json!([rule(listed, allow())]), false),
        (json!([open(), rule(other, deny())]), false),
        (json!([open(), rule(one_time, deny())]), false),
        // A transfer to it and to one that is not listed was denied, and would be allowed.
        (json!([rule(any, allow()), rule(small.clone(), allow())]), true),
        // Whatever is paid is allowed already.
        (json!([open(), rule(small, allow())]), false),
        (json!([]), false),
    ] {
        assert_eq!(loosens(&rules, "manager.policy", &change), expected, "{rules}");
    }
}

#[test]
fn who_gains_has_no_say_in_it() {
    let mut desk = TestDesk::new(0);
    let with = |member: &str| {
        let all = ["client.approver", "manager.approver", "platform.approver", member];
        Change::PutGroup { group: group("payments", &all) }
    };
    let change = "PUT_GROUP";
    // Not with a colleague of their own party, nor by approving what another proposes.
    let add = with("manager.owner");
    let colleague = desk.propose(add.clone(), &["manager.owner", "manager.security"]);
    assert_eq!(colleague, Err(Refused::Approvals { change, have: 0, need: 1 }));
    let own = desk.propose(add.clone(), &["client.owner", "manager.owner"]);
    assert_eq!(own, Err(Refused::OwnRights { user: name("manager.owner"), change }));
    desk.accept(add, &["manager.owner", "client.owner"]);
    // Two are asked for: both of them others, of another party than who gains.
    let mut strict = rules(0);
    strict.people.approvals = 2;
    let mut genesis = testing::genesis(strict);
    genesis.users.push(user("client.security", PartyRole::Client, [Role::SecurityAdmin]));
    let desk = TestDesk::found(genesis);
    let check = |change: Change, signers: &[&str]| {
        desk.state.check(&desk.entry(change, signers), desk.now).map(|_| ()).map_err(|refused| refused.code())
    };
    let spare = TestKey::new("manager.owner", "spare");
    for change in [
        Change::AddKey { user: spare.user.clone(), key: spare.public() },
        roles("manager.owner", &[Role::Owner, Role::PolicyAdmin]),
        with("manager.owner"),
    ] {
        let own_party = ["manager.owner", "manager.security", "client.owner"];
        assert_eq!(check(change.clone(), &own_party), Err("QUORUM"), "{change:?}");
        assert_eq!(check(change.clone(), &["manager.owner", "platform.security", "client.owner"]), Ok(()));
        // Of somebody else's rights a colleague's approval counts.
        assert_eq!(check(change, &["client.security", "manager.security", "client.owner"]), Ok(()));
    }
}

/// An owner who has turned takes the others away as far as one person can. The rest can still remove them.
#[test]
fn a_hostile_admin_can_be_removed() {
    let mut desk = TestDesk::new(DELAY);
    let suspend = |user: &str| Change::SuspendUser { user: name(user) };
    let demote = |user: &str| roles(user, &[]);
    let hostile = "manager.owner";
    let mut taken = Vec::new();
    for victim in ["client.owner", "manager.security", "platform.security"] {
        for attempt in
            [suspend(victim), demote(victim), Change::RemoveKey { user: name(victim), key: name("main") }]
        {
            if desk.propose(attempt, &[hostile]).is_ok() {
                taken.push(victim);
                break;
            }
        }
    }
    // Without a second manager two of two parties are left, besides the hostile one.
    assert_eq!(taken, ["manager.security"]);
    let alone = desk.propose(suspend(hostile), &["client.owner"]);
    assert_eq!(alone, Err(Refused::Approvals { change: "SUSPEND_USER", have: 0, need: 1 }));
    // At once: it only forbids.
    let removed = desk.accept(suspend(hostile), &["client.owner", "platform.security"]);
    assert_eq!(removed.effect, Effect::InForce);
    // Now both are needed, and neither can be taken away by anybody.
    let left = desk.propose(suspend("client.owner"), &["platform.security"]);
    assert!(matches!(left, Err(Refused::Change(InvalidChange::LocksOut { .. }))), "{left:?}");
    // Who cannot change people is suspended by one, as ever.
    desk.accept(suspend("client.operator"), &["platform.security"]);
}

#[test]
fn a_desk_for_real_money_waits_and_can_lose_one_admin() {
    use crate::governance::change::{Change as C, Class, Genesis, Quorum};
    let found = |edit: fn(&mut Genesis)| {
        let mut genesis = testing::genesis(testing::rules(3600));
        genesis.least_delay_seconds = 3600;
        edit(&mut genesis);
        let entry = TestDesk::founding(genesis);
        State::genesis(&entry, entry.digest()).map(|state| (entry, state))
    };
    let (entry, state) = found(|_| ()).unwrap();
    assert_eq!(state.least_delay().as_secs(), 3600);
    // An hour is what it is when nothing is said.
    assert!(!entry.document.contains("leastDelaySeconds"));
    let fast = |class| Refused::Change(InvalidRules::TooShort { class, least: 3600 }.into());
    let refused = |edit: fn(&mut Genesis)| found(edit).err().unwrap();
    assert_eq!(refused(|genesis| genesis.rules.people.delay_seconds = 0), fast(Class::People));
    assert_eq!(refused(|genesis| genesis.rules.policy.delay_seconds = 3599), fast(Class::Policy));
    assert_eq!(refused(|genesis| genesis.rules.change_rules.delay_seconds = 0), fast(Class::ChangeRules));
    assert_eq!(refused(|genesis| genesis.rules.address_book.delay_seconds = 3599), fast(Class::AddressBook));
    assert_eq!(refused(|genesis| genesis.rules.lift.delay_seconds = 0), fast(Class::Lift));
    found(|genesis| genesis.rules.webhooks = Some(genesis.rules.people)).unwrap();
    let fast_hooks = refused(|genesis| {
        genesis.rules.webhooks = Some(Quorum { delay_seconds: 0, ..genesis.rules.people });
    });
    assert_eq!(fast_hooks, fast(Class::Webhooks));
    let one_blocks = refused(|genesis| {
        genesis.users.retain(|user| !user.id.as_str().ends_with("security"));
    });
    assert_eq!(one_blocks, InvalidChange::OneBlocks(name("client.owner")).into());
    found(|genesis| {
        genesis.users.retain(|user| !user.id.as_str().ends_with("security"));
        genesis.least_delay_seconds = 0;
    })
    .unwrap();
    // Nor does it become faster later.
    let mut desk = TestDesk::found({
        let mut genesis = testing::genesis(testing::rules(3600));
        genesis.least_delay_seconds = 3600;
        genesis
    });
    let faster = C::SetChangeRules { rules: testing::rules(3599) };
    assert_eq!(desk.propose(faster, &["client.owner", "manager.owner"]), Err(fast(Class::People)));
    let strict = |approvals| {
        let mut rules = testing::rules(3600);
        rules.people.approvals = approvals;
        C::SetChangeRules { rules }
    };
    let all_needed = desk.propose(strict(3), &["client.owner", "manager.owner"]);
    assert!(matches!(invalid(all_needed), InvalidChange::OneBlocks(_)));
    desk.accept(strict(2), &["client.owner", "manager.owner"]);
}
