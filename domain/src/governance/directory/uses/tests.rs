use super::*;
use crate::governance::{
    change::Change,
    directory::{InvalidDirectory, KeyMaterial, UserId, UserKey},
    state::{Accepted, Effect, InvalidChange, Refused},
    testing::{self, TestDesk, TestKey, TestPasskey, rules},
};
use std::collections::BTreeSet;

const ADMINS: &[&str] = &["client.owner", "manager.security"];

fn invalid(refused: Result<Accepted, Refused>) -> InvalidDirectory {
    match refused {
        Err(Refused::Change(InvalidChange::Directory(invalid))) => invalid,
        other => panic!("expected an impossible change, not {other:?}"),
    }
}

fn add(key: &TestPasskey) -> Change {
    Change::AddKey { user: key.user.clone(), key: key.public() }
}

/// This user with the uses of their key `main` replaced.
fn put(desk: &TestDesk, user: &str, uses: KeyUses) -> Change {
    let id: UserId = user.parse().unwrap();
    let mut user = desk.state.directory().user(&id).unwrap().clone();
    let main = user.keys.iter_mut().find(|key| key.id.as_str() == "main").unwrap();
    main.uses = uses;
    Change::PutUser { user }
}

#[test]
fn uses_are_named_once_and_never_none() {
    let read = |json: &str| serde_json::from_str::<KeyUses>(json).map_err(|error| error.to_string());
    assert_eq!(read(r#"["ACCESS"]"#), Ok(KeyUses::Only(KeyUse::Access)));
    assert_eq!(read(r#"["DOCUMENTS"]"#), Ok(KeyUses::Only(KeyUse::Documents)));
    for both in [r#"["ACCESS","DOCUMENTS"]"#, r#"["DOCUMENTS","ACCESS"]"#] {
        assert_eq!(read(both), Ok(KeyUses::Both));
    }
    for (wrong, why) in [
        ("[]", "name at least one"),
        (r#"["ACCESS","ACCESS"]"#, "ACCESS is there twice"),
        (r#"["ACCESS","DOCUMENTS","DOCUMENTS"]"#, "DOCUMENTS is there twice"),
        (r#"["SESSIONS"]"#, "unknown variant"),
        (r#""ACCESS""#, "invalid type"),
        ("null", "invalid type"),
    ] {
        let refused = read(wrong).unwrap_err();
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
    for uses in [KeyUses::Both, KeyUse::Access.into(), KeyUse::Documents.into()] {
        assert_eq!(read(&serde_json::to_string(&uses).unwrap()), Ok(uses));
        assert!(uses.are_within(KeyUses::Both) && uses.are_within(uses));
        assert_eq!(KeyUses::Both.are_within(uses), uses == KeyUses::Both);
    }
    assert!(!KeyUses::from(KeyUse::Access).are_within(KeyUse::Documents.into()));
    for one in KeyUse::ALL {
        assert_eq!(one.to_string().parse(), Ok(one));
    }
    assert_eq!("access".parse::<KeyUse>(), Err(UnknownUse));
}

/// Logs from before keys had uses read, and are written, as they were.
#[test]
fn a_key_for_both_says_nothing() {
    let json = r#"{"id":"main","material":{"kind":"ED25519","publicKey":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"}}"#;
    let key: UserKey = serde_json::from_str(json).unwrap();
    assert_eq!(key.uses, KeyUses::Both);
    assert_eq!(serde_json::to_string(&key).unwrap(), json);
    let narrow = UserKey { uses: KeyUse::Access.into(), ..key };
    let text = serde_json::to_string(&narrow).unwrap();
    assert!(text.ends_with(r#","uses":["ACCESS"]}"#), "{text}");
    assert_eq!(serde_json::from_str::<UserKey>(&text).unwrap(), narrow);
    let genesis = serde_json::to_string(&testing::genesis(rules(0))).unwrap();
    assert!(!genesis.contains("uses") && !genesis.contains("separatePasskeys"), "{genesis}");
}

#[test]
fn a_use_is_taken_by_one_and_given_by_nobody() {
    let mut desk = TestDesk::new(3600);
    let user = "client.approver";
    for uses in [KeyUse::Access, KeyUse::Documents] {
        let change = put(&desk, user, uses.into());
        assert!(!change.loosens(&desk.state));
        let mut desk = desk.clone();
        assert_eq!(desk.accept(change, &["manager.security"]).effect, Effect::InForce);
        let main = TestKey::new(user, "main");
        for more in [KeyUses::Both, KeyUse::Access.into(), KeyUse::Documents.into()] {
            let change = put(&desk, user, more);
            if more == uses.into() {
                assert!(!change.loosens(&desk.state));
                continue;
            }
            // Nor under another name.
            let Change::PutUser { user: mut renamed } = change.clone() else { unreachable!() };
            renamed.keys[0].id = "other".parse().unwrap();
            for (change, key) in [(change, "main"), (Change::PutUser { user: renamed }, "other")] {
                assert!(change.loosens(&desk.state));
                let (user, key) = (main.user.clone(), key.parse().unwrap());
                let expected = InvalidDirectory::UsesAdded { user, key };
                assert_eq!(invalid(desk.propose(change, ADMINS)), expected);
            }
        }
    }
    // The same user with another key for what is missing: a loosening, which waits.
    desk.accept(put(&desk, user, KeyUse::Access.into()), &["manager.security"]);
    let spare = TestKey::new(user, "spare").only(KeyUse::Documents);
    let change = Change::AddKey { user: spare.user.clone(), key: spare.public() };
    assert!(matches!(desk.accept(change, ADMINS).effect, Effect::Waits { .. }));
}

/// What another page had it sign while that page's origin was none of its own must not count later.
#[test]
fn a_passkey_stays_at_its_site() {
    let mut desk = TestDesk::new(0);
    let laptop = TestPasskey::new("client.approver", "laptop");
    let mut key = laptop.public();
    sites(&mut key).1.insert("https://sign.desk.example".into());
    desk.accept(Change::AddKey { user: laptop.user.clone(), key }, ADMINS);
    let with = |desk: &TestDesk, change: fn(&mut String, &mut BTreeSet<String>)| {
        let mut user = desk.state.directory().user(&laptop.user).unwrap().clone();
        let key = user.keys.iter_mut().find(|key| key.id == laptop.id).unwrap();
        let (rp_id, origins) = sites(key);
        change(rp_id, origins);
        Change::PutUser { user }
    };
    let wider: [fn(&mut String, &mut BTreeSet<String>); 3] = [
        |_, origins| origins.extend(["https://login.desk.example".to_owned()]),
        |_, origins| *origins = ["https://login.desk.example".to_owned()].into(),
        |rp_id, _| "sign.desk.example".clone_into(rp_id),
    ];
    let expected = || InvalidDirectory::OriginsAdded { user: laptop.user.clone(), key: laptop.id.clone() };
    for change in wider {
        assert_eq!(invalid(desk.propose(with(&desk, change), ADMINS)), expected());
    }
    let fewer = with(&desk, |_, origins| origins.retain(|origin| origin.starts_with("https://sign")));
    desk.accept(fewer, ADMINS);
    let back = with(&desk, |_, origins| origins.extend(["https://desk.example".to_owned()]));
    assert_eq!(invalid(desk.propose(back, ADMINS)), expected());
}

fn sites(key: &mut UserKey) -> (&mut String, &mut BTreeSet<String>) {
    match &mut key.material {
        KeyMaterial::Passkey { rp_id, origins, .. } => (rp_id, origins),
        KeyMaterial::Ed25519 { .. } => panic!("a passkey has sites"),
    }
}

/// Who changes users signs documents: with keys for access only, nobody could ever change anything again.
#[test]
fn a_desk_keeps_enough_people_who_can_sign() {
    let mut genesis = testing::genesis(rules(0));
    let changes_people = |id: &str| id.ends_with(".owner") || id.ends_with(".security");
    for user in genesis.users.iter_mut().filter(|user| changes_people(user.id.as_str())) {
        if user.id.as_str() != "client.owner" {
            user.keys[0].uses = KeyUse::Access.into();
        }
    }
    let entry = TestDesk::founding(genesis);
    let refused = crate::governance::state::State::genesis(&entry, entry.digest()).unwrap_err();
    assert!(matches!(refused, Refused::Change(InvalidChange::LocksOut { have: 1, .. })), "{refused}");

    // Taking it from one without whom the others are too few takes two, as suspending them would.
    let mut desk = TestDesk::new(0);
    let suspend = Change::SuspendUser { user: "client.owner".parse().unwrap() };
    let narrow = put(&desk, "client.owner", KeyUse::Access.into());
    let alone = |change: &Change| desk.state.check(&desk.entry(change.clone(), &["manager.owner"]), desk.now);
    let (suspended, narrowed) = (alone(&suspend).unwrap_err(), alone(&narrow).unwrap_err());
    assert_eq!((suspended.code(), narrowed.code()), ("QUORUM", "QUORUM"));
    desk.accept(narrow, &["manager.owner", "platform.security"]);
}

#[test]
fn a_desk_can_keep_access_and_documents_at_different_origins() {
    let mut genesis = testing::genesis(rules(0));
    genesis.separate_passkeys = true;
    let mut desk = TestDesk::found(genesis.clone());
    let text = &desk.entries[0].0.document;
    assert!(text.contains(r#""separatePasskeys":true"#), "{text}");
    let shared = |key: &TestPasskey, origin: &str| InvalidDirectory::SharedOrigin {
        user: key.user.clone(),
        key: key.id.clone(),
        origin: origin.into(),
    };
    let here = "https://desk.example";
    let both = TestPasskey::new("client.approver", "both");
    assert_eq!(invalid(desk.propose(add(&both), ADMINS)), shared(&both, here));
    let login = TestPasskey::new("client.approver", "login").only(KeyUse::Access);
    desk.accept(add(&login), ADMINS);
    // Whosever it is: who logs in at that page could be asked for any passkey of theirs.
    for user in ["client.approver", "manager.approver"] {
        let same = TestPasskey::new(user, "vote").only(KeyUse::Documents);
        assert_eq!(invalid(desk.propose(add(&same), ADMINS)), shared(&same, here));
        let elsewhere = TestPasskey::new(user, "vote").only(KeyUse::Documents).at("sign.example");
        desk.accept(add(&elsewhere), ADMINS);
    }
    let other = TestPasskey::new("client.operator", "login").only(KeyUse::Access).at("sign.example");
    assert_eq!(invalid(desk.propose(add(&other), ADMINS)), shared(&other, "https://sign.example"));
    // One of several origins is enough, and replacing the user is no way around it.
    let wide = TestPasskey::new("platform.approver", "vote").only(KeyUse::Documents).at("own.example");
    let mut user = desk.state.directory().user(&wide.user).unwrap().clone();
    let mut key = wide.public();
    sites(&mut key).1.insert(here.into());
    user.keys.push(key);
    assert_eq!(invalid(desk.propose(Change::PutUser { user }, ADMINS)), shared(&wide, here));
    desk.accept(add(&wide), ADMINS);
    // Ed25519 keys have no page: they may be for both.
    let spare = TestKey::new("client.approver", "spare");
    desk.accept(Change::AddKey { user: spare.user.clone(), key: spare.public() }, ADMINS);
    assert_eq!(desk.replayed().unwrap(), desk.state);

    // The genesis itself is held to it, and a desk that says nothing is not.
    let owners = TestPasskey::new("client.owner", "both");
    genesis.users[0].keys.push(owners.public());
    let entry = TestDesk::founding(genesis.clone());
    let refused = crate::governance::state::State::genesis(&entry, entry.digest());
    let expected = InvalidChange::Directory(shared(&owners, here));
    assert_eq!(refused.unwrap_err(), Refused::Change(expected));
    genesis.separate_passkeys = false;
    TestDesk::found(genesis);
}
