use crate::fixtures::*;
use bursar_domain::governance::{
    change::Change,
    freeze::Scope,
    log::{Entry, EntryDigest, Head},
    state::State,
    testing::{TestDesk, key},
};
use bursar_store::{
    StoreError,
    governance::{self, Appended, ChangeRequest, Outcome},
    jobs,
};

async fn append(database: &Database, entry: &Entry, seconds: i64) -> Appended {
    let document = entry.read().unwrap();
    let head = Head { seq: document.seq, digest: entry.digest() };
    let mut tx = database.store.write().await.unwrap();
    let appended = governance::append(&mut tx, head, document.previous, entry, at(seconds)).await.unwrap();
    tx.commit().await.unwrap();
    appended
}

fn freeze(reason: &str) -> Change {
    Change::Freeze { scope: Scope::All {}, reason: reason.into() }
}

fn request(entry: Entry, seconds: i64) -> ChangeRequest {
    ChangeRequest {
        digest: entry.digest(),
        seq: entry.read().unwrap().seq,
        entry,
        outcome: Outcome::Open,
        received_at: at(seconds),
        updated_at: at(seconds),
    }
}

#[tokio::test]
async fn log__should_take_each_entry_once_and_at_its_place_only() {
    let database = Database::open().await;
    let mut desk = TestDesk::new(60);
    let genesis = desk.entries[0].0.clone();
    let early = desk.entry(freeze("early"), &["client.owner"]);
    assert_eq!(governance::head(&database.store).await.unwrap(), None);
    assert_eq!(append(&database, &early, 0).await, Appended::NotNext(None));
    assert_eq!(append(&database, &genesis, 0).await, Appended::Applied);
    assert_eq!(append(&database, &genesis, 1).await, Appended::Already);
    let another = TestDesk::new(61).entries[0].0.clone();
    assert_eq!(append(&database, &another, 1).await, Appended::NotNext(Some(desk.state.head())));

    // Two for the same place: the first is taken.
    let other = desk.entry(freeze("other"), &["client.owner"]);
    desk.accept(freeze("it"), &["client.owner"]);
    let taken = desk.entries[1].0.clone();
    assert_eq!(append(&database, &taken, 2).await, Appended::Applied);
    assert_eq!(append(&database, &other, 3).await, Appended::NotNext(Some(desk.state.head())));
    assert_eq!(append(&database, &taken, 4).await, Appended::Already);

    let database = database.reopen().await;
    let stored = governance::entries(&database.store, 0, 10).await.unwrap();
    let seen: Vec<_> = stored.iter().map(|stored| (stored.seq, stored.seen_at)).collect();
    assert_eq!(seen, [(0, at(0)), (1, at(2))], "the first time that it was seen stays");
    assert_eq!(stored[1].entry, taken, "not a byte is changed");
    assert_eq!(stored[1].digest, taken.digest());
    let replayed =
        State::replay(desk.pinned(), stored.iter().map(|stored| (&stored.entry, stored.seen_at))).unwrap();
    assert_eq!(replayed.head(), desk.state.head());
    assert_eq!(governance::head(&database.store).await.unwrap(), Some(desk.state.head()));
    assert_eq!(governance::entries(&database.store, 1, 10).await.unwrap().len(), 1);
    assert_eq!(governance::entries(&database.store, 2, 10).await.unwrap(), []);
}

#[tokio::test]
async fn log__should_keep_the_text_that_was_signed_whatever_it_is() {
    let database = Database::open().await;
    let desk = TestDesk::new(0);
    assert_eq!(append(&database, &desk.entries[0].0, 0).await, Appended::Applied);
    let text =
        serde_json::to_string(&desk.document("client.owner", freeze("é \" \u{1f512} \u{7f}"))).unwrap();
    // White space, the order of members and escapes are the author's.
    let text = format!("\t{}\r\n ", text.replace(",\"author\"", " ,  \"author\"").replace('é', "\\u00e9"));
    let digest = Entry::digest_of(&text);
    let signatures = vec![key("client.owner").sign(&digest.0)];
    let entry = Entry { document: text, signatures };
    assert_eq!(append(&database, &entry, 1).await, Appended::Applied);
    let database = database.reopen().await;
    let stored = governance::entries(&database.store, 1, 1).await.unwrap();
    assert_eq!(stored[0].entry, entry);
    assert_eq!(stored[0].entry.digest(), digest);
}

#[tokio::test]
async fn changes__should_collect_signatures_until_their_place_is_taken() {
    let database = Database::open().await;
    let mut desk = TestDesk::new(0);
    assert_eq!(append(&database, &desk.entries[0].0, 0).await, Appended::Applied);
    let lift = |freeze| Change::Lift { freeze };
    let (one, two) = (desk.entry(lift(1), &["client.owner"]), desk.entry(lift(2), &["manager.owner"]));
    let mut tx = database.store.write().await.unwrap();
    assert!(governance::insert_change(&mut tx, &request(one.clone(), 1)).await.unwrap());
    assert!(!governance::insert_change(&mut tx, &request(one.clone(), 9)).await.unwrap());
    assert!(governance::insert_change(&mut tx, &request(two.clone(), 2)).await.unwrap());
    assert_eq!(governance::open_changes(&mut tx).await.unwrap(), 2);
    let mut signatures = one.signatures.clone();
    signatures.push(key("platform.lead").sign(&one.digest().0));
    assert!(governance::set_signatures(&mut tx, one.digest(), &signatures, at(3)).await.unwrap());
    assert!(!governance::set_signatures(&mut tx, EntryDigest([1; 32]), &[], at(3)).await.unwrap());
    tx.commit().await.unwrap();
    let open = governance::changes(&database.store, Outcome::Open, 10).await.unwrap();
    assert_eq!(open.iter().map(|open| open.digest).collect::<Vec<_>>(), [two.digest(), one.digest()]);
    assert_eq!(
        (&open[1].entry.signatures, open[1].received_at, open[1].updated_at),
        (&signatures, at(1), at(3))
    );

    // The first of them is appended; the other has lost its place.
    desk.accept(freeze("something to append"), &["client.owner"]);
    let mut complete = one.clone();
    complete.signatures = signatures;
    assert_eq!(append(&database, &complete, 4).await, Appended::Applied);
    let outcome = async |digest| governance::change(&database.store, digest).await.unwrap().unwrap().outcome;
    assert_eq!(outcome(one.digest()).await, Outcome::Appended);
    assert_eq!(outcome(two.digest()).await, Outcome::Overtaken);
    assert_eq!(governance::changes(&database.store, Outcome::Open, 10).await.unwrap(), []);
    assert_eq!(governance::change(&database.store, EntryDigest([1; 32])).await.unwrap(), None);
    let mut tx = database.store.write().await.unwrap();
    assert_eq!(governance::open_changes(&mut tx).await.unwrap(), 0);
    assert!(!governance::set_signatures(&mut tx, two.digest(), &[], at(5)).await.unwrap(), "it is closed");
}

#[tokio::test]
async fn append__should_be_undone_with_its_transaction() {
    let database = Database::open().await;
    let desk = TestDesk::new(0);
    let genesis = &desk.entries[0].0;
    let mut tx = database.store.write().await.unwrap();
    let appended = governance::append(&mut tx, desk.state.head(), EntryDigest::NONE, genesis, at(0)).await;
    assert_eq!(appended.unwrap(), Appended::Applied);
    assert_eq!(governance::head_in(&mut tx).await.unwrap(), Some(desk.state.head()));
    drop(tx);
    assert_eq!(governance::head(&database.store).await.unwrap(), None);
}

#[tokio::test]
async fn nudge__should_reach_what_is_not_signed() {
    let database = Database::open().await;
    let transfer = database.transfer(10, ETH).await;
    database.drive(transfer, until_frozen(transaction_id(1))[..3].to_vec()).await;
    let claimed =
        jobs::claim(&database.store, at(100), std::time::Duration::from_secs(60), 10).await.unwrap();
    for job in claimed {
        assert!(jobs::settle(&database.store, &job, at(100), jobs::Outcome::Done).await.unwrap());
    }
    assert_eq!(jobs::depth(&database.store, at(200)).await.unwrap(), (0, 0));
    let mut tx = database.store.write().await.unwrap();
    governance::nudge_unsigned(&mut tx, at(200)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(jobs::depth(&database.store, at(200)).await.unwrap(), (1, 1));
}

#[tokio::test]
async fn places__should_be_bounded_by_what_a_column_holds() {
    let database = Database::open().await;
    let beyond = governance::entries(&database.store, u64::MAX, 1).await;
    assert!(matches!(beyond, Err(StoreError::Conflict { .. })), "{beyond:?}");
}
