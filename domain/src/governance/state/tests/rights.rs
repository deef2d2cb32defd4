//! Every kind of change, held against everybody at the desk, as its author and as one who approves.

use super::*;

const OWNER: &[Role] = &[Role::Owner];
const ADMIN: &[Role] = &[Role::Owner, Role::SecurityAdmin];
const BRAKE: &[Role] = &[
    Role::Owner,
    Role::SecurityAdmin,
    Role::Approver,
    Role::ComplianceOfficer,
    Role::ComplianceLead,
    Role::SignerCustodian,
];
const ENACT: &[Role] = &[
    Role::Owner,
    Role::SecurityAdmin,
    Role::PolicyAdmin,
    Role::Operator,
    Role::Approver,
    Role::IntegrationService,
];

struct Case {
    change: Change,
    author: &'static [Role],
    /// Nobody may add an approval where this is empty.
    approver: &'static [Role],
    loosens: bool,
}

fn webhook(id: &str) -> Change {
    let json = format!(
        r#"{{"id":"{id}","url":"https://desk.example/hooks","events":["transfer"],"party":"CLIENT"}}"#
    );
    Change::PutWebhook { webhook: serde_json::from_str(&json).unwrap() }
}

/// A desk at which each of the changes of [`cases`] can be made.
fn prepared() -> TestDesk {
    let mut desk = TestDesk::new(0);
    desk.accept(address("listed", "rListed"), &["client.operator", "manager.approver"]);
    desk.accept(freeze_all(), &["platform.officer"]);
    let spare = TestKey::new("platform.viewer", "spare");
    desk.accept(Change::AddKey { user: spare.user.clone(), key: spare.public() }, ADMINS);
    desk.accept(webhook("told"), ADMINS);
    desk.accept(Change::SetChangeRules { rules: rules(DELAY) }, &["client.owner", "manager.owner"]);
    desk.accept(Change::SetPolicy { policy: policy(1) }, POLICY_ADMINS);
    desk.wait(DELAY);
    desk
}

fn cases() -> Vec<Case> {
    let viewer = || name::<UserId>("platform.viewer");
    let new = |id: &str| TestKey::new("platform.viewer", id).public();
    let loosening = |change, author, approver| Case { change, author, approver, loosens: true };
    let tightening = |change, author, approver| Case { change, author, approver, loosens: false };
    let group = crate::governance::directory::Group { id: name("new"), members: BTreeSet::new() };
    let put = user("new", PartyRole::Client, [Role::Viewer]);
    let fewer = crate::governance::directory::Group { id: name("payments"), members: BTreeSet::new() };
    vec![
        loosening(Change::PutUser { user: put }, ADMIN, ADMIN),
        tightening(Change::SuspendUser { user: viewer() }, ADMIN, ADMIN),
        loosening(Change::ResumeUser { user: viewer() }, ADMIN, ADMIN),
        loosening(Change::AddKey { user: viewer(), key: new("third") }, ADMIN, ADMIN),
        tightening(Change::RemoveKey { user: viewer(), key: name("spare") }, ADMIN, ADMIN),
        tightening(roles("platform.viewer", &[]), ADMIN, ADMIN),
        loosening(roles("platform.viewer", &[Role::Approver]), ADMIN, ADMIN),
        loosening(Change::PutGroup { group }, ADMIN, ADMIN),
        tightening(Change::PutGroup { group: fewer }, ADMIN, ADMIN),
        loosening(
            Change::SetPolicy { policy: policy(2) },
            &[Role::PolicyAdmin],
            &[Role::PolicyAdmin, Role::Owner],
        ),
        loosening(address("new", "rNew"), &[Role::Operator], &[Role::Approver, Role::PolicyAdmin]),
        tightening(
            Change::RemoveAddress { id: name("listed") },
            &[Role::Operator, Role::Approver, Role::PolicyAdmin],
            &[Role::Approver, Role::PolicyAdmin],
        ),
        tightening(freeze_all(), BRAKE, &[]),
        loosening(Change::Lift { freeze: 2 }, BRAKE, BRAKE),
        tightening(Change::Veto { seq: 6 }, BRAKE, &[]),
        tightening(Change::Enact { seq: 6 }, ENACT, &[]),
        loosening(Change::SetChangeRules { rules: rules(0) }, OWNER, ADMIN),
        loosening(webhook("new"), ADMIN, ADMIN),
        tightening(webhook("told"), ADMIN, ADMIN),
        tightening(Change::RemoveWebhook { id: name("told") }, ADMIN, ADMIN),
    ]
}

fn people(roles: &'static [Role]) -> impl Iterator<Item = (&'static str, PartyRole)> {
    let able = move |(id, party, role): &(&'static str, PartyRole, Role)| {
        roles.contains(role).then_some((*id, *party))
    };
    testing::PEOPLE.iter().filter_map(able)
}

/// Somebody who may approve together with this author, and is none of these two.
fn partner(case: &Case, author: &str, party: PartyRole, besides: &str) -> Option<&'static str> {
    people(case.approver)
        .find(|(id, other)| *other != party && *id != author && *id != besides)
        .map(|(id, _)| id)
}

#[test]
fn every_kind_is_in_the_table() {
    let names: BTreeSet<&str> = cases().iter().map(|case| case.change.name()).collect();
    assert_eq!(names.len() + 1, 18, "all but GENESIS: {names:?}");
    for case in cases() {
        let json = serde_json::to_value(&case.change).unwrap();
        assert_eq!(json["kind"], case.change.name());
        assert_eq!(serde_json::from_value::<Change>(json).unwrap(), case.change);
    }
}

#[test]
fn only_the_right_roles_propose() {
    let desk = prepared();
    for case in cases() {
        assert_eq!(case.change.loosens(&desk.state), case.loosens, "{:?}", case.change);
        for (author, party, role) in testing::PEOPLE {
            let mut signers = vec![author];
            signers.extend(partner(&case, author, party, author).filter(|_| case.loosens));
            let checked = desk.state.check(&desk.entry(case.change.clone(), &signers), desk.now);
            let name = case.change.name();
            if case.author.contains(&role) {
                let accepted = checked.unwrap_or_else(|refused| panic!("{name} by {author}: {refused}"));
                let waits = matches!(accepted.effect, Effect::Waits { .. });
                assert_eq!(waits, case.loosens, "{name}");
            } else {
                assert_eq!(checked, Err(Refused::MayNotPropose { user: key(author).user, change: name }));
            }
        }
    }
}

#[test]
fn only_the_right_roles_approve() {
    let desk = prepared();
    for case in cases() {
        let (author, party) = people(case.author).next().unwrap();
        let change = case.change.name();
        for (approver, _, role) in testing::PEOPLE.into_iter().filter(|(id, ..)| *id != author) {
            let mut signers = vec![author, approver];
            signers.extend(partner(&case, author, party, approver).filter(|_| case.loosens));
            let checked = desk.state.check(&desk.entry(case.change.clone(), &signers), desk.now);
            if case.approver.contains(&role) {
                checked.unwrap_or_else(|refused| panic!("{change} approved by {approver}: {refused}"));
            } else {
                assert_eq!(checked, Err(Refused::MayNotApprove { user: key(approver).user, change }));
            }
        }
    }
}

#[test]
fn a_loosening_needs_its_quorum() {
    let desk = prepared();
    for case in cases().iter().filter(|case| case.loosens) {
        let (author, party) = people(case.author).next().unwrap();
        let change = case.change.name();
        let check = |signers: &[&str]| desk.state.check(&desk.entry(case.change.clone(), signers), desk.now);
        let alone = check(&[author]);
        assert_eq!(alone, Err(Refused::Approvals { change, have: 0, need: 1 }));
        assert_eq!(alone.unwrap_err().code(), "QUORUM");
        for (colleague, _) in people(case.approver).filter(|(id, other)| *other == party && *id != author) {
            let alone = check(&[author, colleague]);
            assert_eq!(alone, Err(Refused::Parties { change, have: 1, need: 2 }), "{colleague}");
        }
    }
}
