use super::*;
use crate::compose::SystemIds;
use bursar_domain::{
    governance::{
        change::{Change, Genesis},
        freeze::Scope,
        log::Head,
        testing::{TestDesk, genesis, rules},
    },
    signing::PartyIndex,
    time::Clock,
};
use bursar_workers::{NoSigner, Settings, governance::Governance};

struct At(Timestamp);
impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A desk of our own, with this many freezes after its genesis.
fn desk(freezes: usize) -> TestDesk {
    let mut desk = TestDesk::new(0);
    for number in 0..freezes {
        desk.accept(freeze(&format!("alert {number}")), &["client.owner"]);
    }
    desk
}

fn freeze(reason: &str) -> Change {
    Change::Freeze { scope: Scope::All {}, reason: reason.into() }
}

/// An installation that has this desk's log.
async fn installed(desk: &TestDesk) -> (tempfile::TempDir, Context) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/bursar.db", dir.path().display());
    let store = Store::open(&url).await.unwrap();
    let mut tx = store.write().await.unwrap();
    let mut previous = EntryDigest::NONE;
    for (seq, (entry, at)) in (0..).zip(&desk.entries) {
        let head = Head { seq, digest: entry.digest() };
        kept::append(&mut tx, head, previous, entry, *at).await.unwrap();
        previous = head.digest;
    }
    tx.commit().await.unwrap();
    let governance = Governance::load(&store, desk.pinned()).await.unwrap();
    let context = Context {
        store,
        chains: Arc::default(),
        signer: Arc::new(NoSigner),
        clock: Arc::new(At(desk.now)),
        ids: Arc::new(SystemIds),
        governance: Some(governance),
        screening: None,
        travel_rule: None,
        settings: Settings::default(),
    };
    (dir, context)
}

async fn told(context: &Context) -> Vec<serde_json::Value> {
    let all = events::after(&context.store, 0, 1000).await.unwrap();
    all.into_iter().filter(|event| event.kind == "governance.forked").map(|event| event.payload).collect()
}

/// The desk as it was when it had so many freezes, whose people sign something else for the next place.
fn other(freezes: usize, signers: &[&str]) -> Entry {
    desk(freezes).entry(freeze("for another log"), signers)
}

#[tokio::test]
async fn entry_that_people_signed_for_a_place_of_ours_is_proof_of_two_logs() {
    let desk = desk(3);
    let (_dir, context) = installed(&desk).await;
    for (freezes, seq) in [(0, 1), (1, 2), (2, 3)] {
        let entry = other(freezes, &["client.owner"]);
        let ours = desk.entries[freezes + 1].0.digest();
        let found = proven(&context.store, desk.pinned(), &entry, desk.now).await.unwrap();
        assert_eq!(found, Some((seq, ours)));
    }
    let theirs = other(1, &["platform.officer"]);
    let heard = Contradiction { party: PartyIndex(2), entry: theirs.clone() };
    assert!(tell(&context, &heard).await.unwrap());
    let [event] = &told(&context).await[..] else { panic!("one event") };
    let ours = desk.entries[2].0.digest();
    assert_eq!(*event, json!({ "party": 2, "seq": 2, "digest": ours, "theirs": theirs.digest() }));
}

/// A co-signer that lies raises no alarm: what it shows must be what the desk's people signed, and could sign then.
#[tokio::test]
async fn what_proves_nothing_raises_no_alarm() {
    let mut desk = desk(2);
    let before = desk.clone();
    let suspend = Change::SuspendUser { user: "client.approver".parse().unwrap() };
    desk.accept(suspend, &["client.owner"]);
    let after = desk.clone();
    desk.accept(freeze("alert 9"), &["client.owner"]);
    let (_dir, context) = installed(&desk).await;
    let honest = other(1, &["client.owner"]);
    let stranger = TestDesk::found(Genesis { desk: "Another desk".into(), ..genesis(rules(0)) });
    let forged = honest.document.replace("for another", "for a third");
    let cases: [(&str, Entry); 10] = [
        ("ours", desk.entries[2].0.clone()),
        ("our first", desk.entries[0].0.clone()),
        ("beyond our log", desk.entry(freeze("next"), &["client.owner"])),
        ("nobody's", Entry { signatures: Vec::new(), ..honest.clone() }),
        ("of one who may not", other(1, &["platform.viewer"])),
        ("of one who may not brake", other(1, &["manager.operator"])),
        ("unreadable", Entry { document: "{}".into(), ..honest.clone() }),
        ("signed for something else", Entry { document: forged, ..honest.clone() }),
        ("of one who was suspended", after.entry(freeze("late"), &["client.approver"])),
        ("of another desk", stranger.entry(freeze("theirs"), &["client.owner"])),
    ];
    for (why, entry) in cases {
        let found = proven(&context.store, desk.pinned(), &entry, desk.now).await.unwrap();
        assert_eq!(found, None, "{why}");
        let heard = Contradiction { party: PartyIndex(1), entry };
        assert!(!tell(&context, &heard).await.unwrap(), "{why}");
    }
    let in_time = before.entry(freeze("in time"), &["client.approver"]);
    assert!(tell(&context, &Contradiction { party: PartyIndex(1), entry: in_time }).await.unwrap());
    assert_eq!(told(&context).await.len(), 1);
    let ungoverned = Context { governance: None, ..context };
    assert!(!tell(&ungoverned, &Contradiction { party: PartyIndex(1), entry: honest }).await.unwrap());
}

/// The log is read in pages.
#[tokio::test]
async fn proof_for_a_late_place_is_held_against_all_that_came_before() {
    let freezes = usize::try_from(PAGE).unwrap() + 10;
    let desk = desk(freezes);
    let (_dir, context) = installed(&desk).await;
    let entry = other(freezes - 1, &["client.owner"]);
    let found = proven(&context.store, desk.pinned(), &entry, desk.now).await.unwrap();
    assert_eq!(found, Some((freezes as u64, desk.entries[freezes].0.digest())));
}
