//! What holds whatever is proposed, by whomever, whenever.

use super::*;
use proptest::prelude::*;

/// Some change and who signs it; many make no sense.
fn change(desk: &TestDesk, kind: usize, which: usize) -> Change {
    let seq = (which as u64) % (desk.state.head().seq + 1);
    let (id, party, _) = testing::PEOPLE[which % testing::PEOPLE.len()];
    let user_id = || name::<UserId>(id);
    match kind {
        0 => Change::SetPolicy { policy: policy(which as u64) },
        1 => address(&format!("a{}", which % 4), &format!("r{}", which % 3)),
        2 => Change::RemoveAddress { id: name(&format!("a{}", which % 4)) },
        3 => Change::SuspendUser { user: user_id() },
        4 => Change::ResumeUser { user: user_id() },
        5 => roles(id, &[Role::ALL[which % 11], Role::ALL[(which / 11) % 11]]),
        6 => Change::AddKey {
            user: user_id(),
            key: TestKey::new("spare", &format!("k{}", which % 5)).public(),
        },
        7 => Change::RemoveKey {
            user: user_id(),
            key: name(if which.is_multiple_of(2) { "main" } else { "k1" }),
        },
        8 => freeze_all(),
        9 => Change::Lift { freeze: seq },
        10 => Change::Veto { seq },
        11 => Change::SetChangeRules { rules: rules(which as u64 % 100) },
        12 => Change::PutUser { user: user(&format!("new{}", which % 3), party, [Role::Viewer]) },
        _ => Change::Enact { seq },
    }
}

/// Who signs: often those who may.
fn signers(kind: usize, pick: usize) -> Vec<&'static str> {
    let usual: &[&str] = match kind {
        0 => POLICY_ADMINS,
        1 => &["client.operator", "manager.approver"],
        2 => &["manager.policy"],
        3 | 7 => &["manager.owner"],
        8 | 10 => &["platform.officer"],
        9 => &["client.approver", "platform.lead"],
        11 => &["client.owner", "manager.owner"],
        4..=6 | 12 => &["client.owner", "manager.security"],
        _ => &["client.service"],
    };
    match pick {
        0..=7 => usual.to_vec(),
        8 => usual[..1].to_vec(),
        _ => vec![testing::PEOPLE[pick % testing::PEOPLE.len()].0],
    }
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, usize, u64)>> {
    prop::collection::vec((0usize..16, 0usize..200, 0usize..12, 0u64..60), 1..25)
}

/// Applies what is accepted; `each` sees the state before, what happened, and the desk after.
fn run(
    steps: &[(usize, usize, usize, u64)],
    mut each: impl FnMut(&State, &Result<Accepted, Refused>, &TestDesk) -> Result<(), TestCaseError>,
) -> Result<TestDesk, TestCaseError> {
    let mut desk = TestDesk::new(50);
    for &(kind, which, pick, wait) in steps {
        desk.wait(wait);
        let before = desk.state.clone();
        let proposed = change(&desk, kind, which);
        let outcome = desk.propose(proposed, &signers(kind, pick));
        each(&before, &outcome, &desk)?;
    }
    Ok(desk)
}

/// What decides about money, without what waits.
fn in_force(state: &State) -> (&Directory, &ChangeRules, Option<&PublishedPolicy>, &AddressBook, &Freezes) {
    (state.directory(), state.change_rules(), state.policy(), state.address_book(), state.freezes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Replaying gives the same state, and each prefix that which there was: nothing later changes what was.
    #[test]
    fn replay_is_deterministic(steps in steps()) {
        let mut states = vec![TestDesk::new(50).state];
        let desk = run(&steps, |_, outcome, desk| {
            if outcome.is_ok() {
                states.push(desk.state.clone());
            }
            Ok(())
        })?;
        for (index, state) in states.iter().enumerate() {
            let prefix = desk.entries[..=index].iter().map(|(entry, at)| (entry, *at));
            let replayed = State::replay(desk.pinned(), prefix);
            prop_assert_eq!(replayed.as_ref(), Ok(state));
        }
    }

    /// A refusal changes nothing; a tightening acts at once; a loosening acts only when it is enacted, which is never before its time.
    #[test]
    fn loosening_waits_and_tightening_does_not(steps in steps()) {
        let mut until = BTreeMap::new();
        run(&steps, |before, outcome, desk| {
            let Ok(accepted) = outcome else {
                prop_assert_eq!(before, &desk.state);
                return Ok(());
            };
            let delay = before.change_rules().quorum(accepted.change.class());
            let waits = accepted.change.loosens(before) && delay.is_some_and(|quorum| quorum.delay_seconds > 0);
            match accepted.effect {
                Effect::Waits { until: time } => {
                    prop_assert!(waits);
                    prop_assert_eq!(in_force(before), in_force(&desk.state));
                    until.insert(accepted.head.seq, time);
                }
                Effect::InForce => prop_assert!(!waits),
            }
            if let Change::Enact { seq } = *accepted.change {
                prop_assert!(until.remove(&seq).is_some_and(|time| time <= desk.now));
            }
            if let Change::Veto { .. } = *accepted.change {
                prop_assert_eq!(in_force(before), in_force(&desk.state));
            }
            Ok(())
        })?;
    }

    /// With any entry left out but the last, or any two exchanged, the log is refused there.
    #[test]
    fn no_other_order_is_a_log(steps in steps(), a: prop::sample::Index, b: prop::sample::Index) {
        let desk = run(&steps, |_, _, _| Ok(()))?;
        let (a, b) = (a.index(desk.entries.len()), b.index(desk.entries.len()));
        let replay = |entries: &[(Entry, Timestamp)]| {
            State::replay(desk.pinned(), entries.iter().map(|(entry, at)| (entry, *at))).map_err(|(at, _)| at)
        };
        let mut fewer = desk.entries.clone();
        fewer.remove(a);
        if a < fewer.len() {
            prop_assert_eq!(replay(&fewer), Err(a));
        }
        let mut exchanged = desk.entries.clone();
        exchanged.swap(a, b);
        if a != b {
            prop_assert_eq!(replay(&exchanged), Err(a.min(b)));
        }
    }

    /// Another bit anywhere in the documents or signatures, and the entry is refused.
    #[test]
    fn a_changed_entry_is_refused(place: prop::sample::Index, bit in 0u8..7, in_document: bool) {
        let desk = TestDesk::new(0);
        let mut entry = desk.entry(Change::SetPolicy { policy: policy(1) }, POLICY_ADMINS);
        if in_document {
            let mut bytes = entry.document.into_bytes();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            entry.document = String::from_utf8(bytes).expect("ASCII stays ASCII without its eighth bit");
        } else {
            let place = place.index(128);
            let evidence = &mut entry.signatures[place / 64].evidence;
            if let crate::governance::signature::Evidence::Ed25519 { signature } = evidence {
                signature[place % 64] ^= 1 << bit;
            }
        }
        prop_assert!(desk.state.check(&entry, desk.now).is_err());
    }
}
