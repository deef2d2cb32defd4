use super::*;
use crate::{
    governance::{
        change::Change,
        directory::{Group, UserId},
        policy::{GroupQuorum, Of, Required, Requirement},
        role::Role,
        signature::Signature,
        state::State,
        testing::{self, FOUNDED, TestDesk, key},
    },
    signing::PartyRole,
};
use proptest::{collection::vec, prelude::*, sample::subsequence};
use std::sync::LazyLock;

const INTENT: IntentDigest = IntentDigest([7; 32]);
const POLICY: Head = Head { seq: 3, digest: EntryDigest([3; 32]) };
const HEAD: Head = Head { seq: 4, digest: EntryDigest([4; 32]) };
const CLIENTS: [&str; 5] = ["client.1", "client.2", "client.3", "client.4", "client.5"];
const MANAGERS: [&str; 2] = ["manager.1", "manager.2"];

/// Five clients and two managers approve. `client.5` initiates, too.
static DESK: LazyLock<TestDesk> = LazyLock::new(|| {
    let mut genesis = testing::genesis(testing::rules(0));
    let parties = [(PartyRole::Client, CLIENTS.as_slice()), (PartyRole::WealthManager, MANAGERS.as_slice())];
    for (party, names) in parties {
        genesis.users.extend(names.iter().map(|name| {
            let operator = (*name == "client.5").then_some(Role::Operator);
            testing::user(name, party, [Role::Approver].into_iter().chain(operator))
        }));
    }
    let group = |id: &str, members: &[&str]| Group {
        id: id.parse().unwrap(),
        members: members.iter().map(|name| id_of(name)).collect(),
    };
    genesis.groups.push(group("clients", &CLIENTS));
    genesis.groups.push(group("managers", &[MANAGERS[0], MANAGERS[1], "client.1"]));
    // Somebody without the role, in a group all the same.
    genesis.groups.push(group("owners", &["client.owner", "manager.1"]));
    TestDesk::found(genesis)
});

fn id_of(user: &str) -> UserId {
    user.parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp(FOUNDED.0 + seconds * 1_000_000)
}

fn payload(vote: Vote, given_at: i64) -> ApprovalPayload {
    let (given_at, expires_at) = (after(given_at), after(10_000));
    ApprovalPayload { intent: INTENT, policy: POLICY, head: HEAD, vote, given_at, expires_at }
}

fn signed(user: &str, payload: ApprovalPayload) -> Approval {
    Approval { payload, signature: key(user).sign(&payload.digest()) }
}

fn yes(user: &str, given_at: i64) -> Approval {
    signed(user, payload(Vote::Approve, given_at))
}

fn requirement(of: Of, ordered: bool, deadline_seconds: Option<u64>, groups: &[(&str, u8)]) -> Required {
    let quorum =
        |(group, quorum): &(&str, u8)| GroupQuorum { group: group.parse().unwrap(), quorum: *quorum };
    let groups = groups.iter().map(quorum).collect();
    let requirement = Requirement { of, groups, ordered, deadline_seconds };
    Required { rule: "r".parse().unwrap(), requirement }
}

fn all(groups: &[(&str, u8)]) -> Required {
    requirement(Of::All, false, None, groups)
}

fn count_in(state: &State, required: &Required, approvals: &[Approval]) -> Progress {
    let initiator = id_of("client.5");
    let (submitted_at, now) = (after(0), after(1000));
    Ballot { state, policy: POLICY, intent: INTENT, initiator: &initiator, submitted_at, now }
        .count([required], approvals)
}

fn count(required: &Required, approvals: &[Approval]) -> Progress {
    count_in(&DESK.state, required, approvals)
}

fn ignored(approval: Approval) -> String {
    let progress = count(&all(&[("clients", 1)]), &[approval]);
    assert!(!progress.is_satisfied());
    progress.ignored.first().expect("is ignored").why.clone()
}

#[test]
fn what_does_not_count_says_why() {
    let good = payload(Vote::Approve, 0);
    assert!(count(&all(&[("clients", 1)]), &[signed("client.1", good)]).is_satisfied());
    let other = Head { digest: EntryDigest([9; 32]), ..POLICY };
    let changed: [(ApprovalPayload, &str); 6] = [
        (ApprovalPayload { intent: IntentDigest([8; 32]), ..good }, "is for another intent"),
        (ApprovalPayload { policy: other, ..good }, "is under another version of the policy; approve again"),
        (
            ApprovalPayload { policy: Head { seq: 2, ..POLICY }, ..good },
            "is under another version of the policy; approve again",
        ),
        (ApprovalPayload { expires_at: after(1000), ..good }, "has expired"),
        (ApprovalPayload { expires_at: Timestamp(i64::MIN), ..good }, "has expired"),
        (
            ApprovalPayload { given_at: after(1121), ..good },
            "is from the future; the approver's clock is ahead",
        ),
    ];
    for (payload, why) in changed {
        assert_eq!(ignored(signed("client.1", payload)), why);
    }
    assert_eq!(ignored(signed("client.5", good)), "is the initiator's own");
    assert_eq!(ignored(signed("client.owner", good)), "does not hold the role APPROVER");
    assert!(ignored(signed("nobody", good)).starts_with("signature: nobody is not in the directory"));
    // Signed by another, or changed after it was signed.
    let claimed = Signature { user: id_of("client.1"), ..signed("client.2", good).signature };
    assert!(ignored(Approval { payload: good, signature: claimed }).starts_with("signature: "));
    let changes: [fn(&mut ApprovalPayload); 3] = [
        |payload| payload.head.seq += 1,
        |payload| payload.given_at = after(1),
        |payload| payload.expires_at = after(99_999),
    ];
    for change in changes {
        let mut approval = signed("client.1", good);
        change(&mut approval.payload);
        assert!(ignored(approval).starts_with("signature: "));
    }
    // A rejection is no approval.
    let mut turned = signed("client.1", payload(Vote::Reject, 0));
    turned.payload.vote = Vote::Approve;
    assert!(ignored(turned).starts_with("signature: "));
}

#[test]
fn who_left_no_longer_counts() {
    let approvals = [yes("client.1", 0), yes("client.2", 0)];
    let required = all(&[("clients", 2)]);
    assert!(count(&required, &approvals).is_satisfied());
    let user = id_of("client.2");
    let changes = [
        Change::SuspendUser { user: user.clone() },
        Change::RemoveKey { user: user.clone(), key: "main".parse().unwrap() },
        Change::SetRoles { user, roles: [].into() },
        Change::PutGroup {
            group: Group { id: "clients".parse().unwrap(), members: [id_of("client.1")].into() },
        },
    ];
    for change in changes {
        let (mut desk, name) = (DESK.clone(), change.name());
        desk.accept(change, &["manager.security", "client.owner"]);
        let progress = count_in(&desk.state, &required, &approvals);
        assert!(!progress.is_satisfied(), "{name}");
        assert_eq!(progress.missing().collect::<Vec<_>>(), ["r: 1 of 2 of clients"], "{name}");
    }
}

#[test]
fn a_rejection_by_a_member_ends_it_and_by_others_does_not() {
    let approvals = [yes("client.1", 0), yes("client.2", 0)];
    let with = |user| [approvals.to_vec(), vec![signed(user, payload(Vote::Reject, 5))]].concat();
    let required = all(&[("clients", 2)]);
    for user in ["client.3", "client.1"] {
        let progress = count(&required, &with(user));
        assert!(!progress.is_satisfied());
        assert_eq!(progress.rejected_by, [id_of(user)].into());
    }
    for user in ["manager.1", "client.5", "client.owner"] {
        assert!(count(&required, &with(user)).is_satisfied(), "{user}");
    }
}

#[test]
fn everybody_has_one_seat() {
    // client.1 is in both groups, and counts for the first.
    let both = all(&[("clients", 1), ("managers", 1)]);
    assert!(!count(&both, &[yes("client.1", 0)]).is_satisfied());
    assert!(count(&both, &[yes("client.1", 0), yes("manager.1", 0)]).is_satisfied());
    assert!(!count(&both, &[yes("client.1", 0), yes("client.2", 0)]).is_satisfied());
}

#[test]
fn any_takes_one_group_and_all_takes_each() {
    let groups = [("clients", 2), ("managers", 1)];
    let any = requirement(Of::Any, false, None, &groups);
    let managers = [yes("manager.2", 0)];
    assert!(count(&any, &managers).is_satisfied());
    assert!(!count(&all(&groups), &managers).is_satisfied());
    assert!(!count(&any, &[yes("client.2", 0)]).is_satisfied());
    let missing: Vec<_> = count(&any, &[]).missing().collect();
    assert_eq!(missing, ["r: 0 of 2 of clients or 0 of 1 of managers"]);
}

#[test]
fn what_requires_nobody_is_never_met() {
    let approvals = [yes("client.1", 0)];
    for of in [Of::All, Of::Any] {
        assert!(!count(&requirement(of, false, None, &[]), &approvals).is_satisfied());
        assert!(!count(&requirement(of, false, None, &[("nobody", 1)]), &approvals).is_satisfied());
    }
    let nobody = all(&[("managers", 0)]);
    assert!(!count(&nobody, &[]).is_satisfied());
    assert!(!count(&all(&[]), &[]).is_satisfied());
}

#[test]
fn groups_in_order_wait_for_those_before() {
    let ordered = requirement(Of::All, true, None, &[("clients", 2), ("managers", 1)]);
    let clients = [yes("client.1", 10), yes("client.2", 20)];
    let with = |manager: Approval| count(&ordered, &[clients.to_vec(), vec![manager]].concat());
    assert!(with(yes("manager.1", 21)).is_satisfied());
    for early in [5, 15, 20] {
        assert!(!with(yes("manager.1", early)).is_satisfied(), "at {early}");
    }
    // Who was early signs again.
    let again = [clients.to_vec(), vec![yes("manager.1", 5), yes("manager.1", 30)]].concat();
    assert!(count(&ordered, &again).is_satisfied());
    let first = count(&ordered, &[yes("client.1", 10), yes("manager.1", 21)]);
    assert!(first.requirements[0].groups[1].approved_by.is_empty());
}

#[test]
fn deadlines_count_from_the_submission() {
    let within = requirement(Of::All, false, Some(100), &[("clients", 1)]);
    assert!(count(&within, &[yes("client.1", 100)]).is_satisfied());
    let late = count(&within, &[yes("client.1", 101)]);
    assert!(!late.is_satisfied() && late.requirements[0].overdue);
    assert!(
        !count(&requirement(Of::All, false, Some(u64::MAX), &[("clients", 1)]), &[]).requirements[0].overdue
    );
}

/// Approvers and strangers, good approvals and bad ones.
fn any_approval() -> impl Strategy<Value = Approval> {
    let users: Vec<&str> =
        CLIENTS.into_iter().chain(MANAGERS).chain(["client.owner", "client.operator", "nobody"]).collect();
    let vote = prop_oneof![6 => Just(Vote::Approve), 1 => Just(Vote::Reject)];
    let spoil = prop_oneof![4 => Just(0), 1 => 1..5];
    (proptest::sample::select(users), vote, 0i64..1000, spoil).prop_map(|(user, vote, at, spoil)| {
        let mut payload = payload(vote, at);
        match spoil {
            1 => payload.intent = IntentDigest([8; 32]),
            2 => payload.policy.seq = 2,
            3 => payload.expires_at = after(900),
            _ => {}
        }
        let mut approval = signed(user, payload);
        if spoil == 4 {
            approval.payload.given_at.0 += 1;
        }
        approval
    })
}

fn any_required() -> impl Strategy<Value = Required> {
    let group = (proptest::sample::select(vec!["clients", "managers", "owners", "nobody"]), 0u8..4);
    (
        prop_oneof![Just(Of::All), Just(Of::Any)],
        any::<bool>(),
        proptest::option::of(0u64..1200),
        vec(group, 0..3),
    )
        .prop_map(|(of, ordered, deadline, groups)| requirement(of, ordered, deadline, &groups))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_and_repetition_of_approvals_say_nothing(
        required in any_required(),
        (approvals, shuffled) in vec(any_approval(), 0..8).prop_flat_map(|approvals| {
            let twice = [approvals.clone(), approvals.clone()].concat();
            (Just(approvals), Just(twice).prop_shuffle())
        }),
    ) {
        prop_assert_eq!(count(&required, &approvals), count(&required, &shuffled));
    }

    /// Only signatures that somebody could not leave out count: whoever is told fewer approvals is never told "enough" for it.
    #[test]
    fn fewer_approvals_are_never_enough_where_more_are_not(
        required in any_required(),
        approvals in vec(any_approval().prop_filter("approves", |it| it.payload.vote == Vote::Approve), 0..8),
        left in 0usize..8,
    ) {
        let fewer = &approvals[..left.min(approvals.len())];
        prop_assert!(!count(&required, fewer).is_satisfied() || count(&required, &approvals).is_satisfied());
    }

    /// What does not count on its own never counts beside others, and never for a group.
    #[test]
    fn what_is_ignored_changes_nothing(required in any_required(), approvals in vec(any_approval(), 0..8)) {
        let initiator = id_of("client.5");
        let (submitted_at, now) = (after(0), after(1000));
        let ballot =
            Ballot { state: &DESK.state, policy: POLICY, intent: INTENT, initiator: &initiator, submitted_at, now };
        let good: Vec<_> = approvals.iter().filter(|approval| ballot.check(approval).is_ok()).cloned().collect();
        let (with, without) = (count(&required, &approvals), count(&required, &good));
        prop_assert_eq!(&with.requirements, &without.requirements);
        prop_assert_eq!(&with.rejected_by, &without.rejected_by);
        for group in with.requirements.iter().flat_map(|requirement| &requirement.groups) {
            let members = DESK.state.directory().group(&group.group).map(|group| group.members.clone());
            prop_assert!(group.approved_by.is_subset(&members.unwrap_or_default()));
            prop_assert!(!group.approved_by.contains(&initiator));
        }
    }

    #[test]
    fn quorums_are_exact(
        who in (0usize..=4).prop_flat_map(|count| subsequence(CLIENTS[..4].to_vec(), count)),
        quorum in 1u8..=5,
    ) {
        let approvals: Vec<_> = who.iter().map(|user| yes(user, 0)).collect();
        let progress = count(&all(&[("clients", quorum)]), &approvals);
        prop_assert_eq!(progress.is_satisfied(), who.len() >= usize::from(quorum));
    }
}

/// Others compute these bytes with their own code (docs/policy.md): they never change under `bursar/approval/v1`.
#[test]
fn canonical_bytes_are_those_of_the_documentation() {
    let fields: [&[u8]; 9] = [
        b"bursar/approval/v1",
        &[7; 32],
        &3u64.to_be_bytes(),
        &[3; 32],
        &4u64.to_be_bytes(),
        &[4; 32],
        b"APPROVE",
        &1_767_225_600_000_000u64.to_be_bytes(),
        &1_767_235_600_000_000u64.to_be_bytes(),
    ];
    let length = |field: &[u8]| u32::try_from(field.len()).unwrap().to_be_bytes();
    let bytes: Vec<u8> = fields.iter().flat_map(|field| [&length(field), *field].concat()).collect();
    assert_eq!(payload(Vote::Approve, 0).canonical().as_bytes(), bytes);
}

#[test]
fn every_field_is_signed() {
    let original = payload(Vote::Approve, 0);
    let changes: [fn(&mut ApprovalPayload); 8] = [
        |payload| payload.intent.0[0] ^= 1,
        |payload| payload.policy.seq ^= 1,
        |payload| payload.policy.digest.0[0] ^= 1,
        |payload| payload.head.seq ^= 1,
        |payload| payload.head.digest.0[0] ^= 1,
        |payload| payload.vote = Vote::Reject,
        |payload| payload.given_at.0 ^= 1,
        |payload| payload.expires_at.0 ^= 1,
    ];
    let mut digests = std::collections::BTreeSet::from([original.digest()]);
    for (place, change) in changes.into_iter().enumerate() {
        let mut changed = original;
        change(&mut changed);
        assert!(digests.insert(changed.digest()), "change {place}");
    }
}
