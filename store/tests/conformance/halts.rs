use crate::fixtures::*;
use bursar_store::{
    StoreError, WriteTx, events,
    halts::{self, End, Halt, HaltCode, Halted, Lifted},
    jobs,
};

async fn halt(tx: &mut WriteTx, account: Option<&str>, code: HaltCode) -> Halted {
    halts::halt(tx, network(ETH), account, code, "it was seen", at(1)).await.unwrap()
}

#[tokio::test]
async fn halt__should_stand_once_for_each_cause_until_it_is_lifted() {
    let database = Database::open().await;
    let mut tx = database.store.write().await.unwrap();
    let first = halt(&mut tx, Some("0xA"), HaltCode::ForeignSpend).await;
    assert!(matches!(first, Halted::New(_)));
    assert_eq!(halt(&mut tx, Some("0xA"), HaltCode::ForeignSpend).await, Halted::Already(first.id()));
    let other = halt(&mut tx, Some("0xA"), HaltCode::ReconcileBreak).await;
    assert!(matches!(other, Halted::New(_)));
    tx.commit().await.unwrap();

    let mut tx = database.store.write().await.unwrap();
    let lifted = halts::lift(&mut tx, first.id(), "ann", "it was me", at(2)).await.unwrap().unwrap();
    let again = halts::lift(&mut tx, first.id(), "bob", "no, me", at(3)).await.unwrap().unwrap();
    assert_eq!(lifted, again, "the first reason stays");
    let unknown = "4711".parse().unwrap();
    assert_eq!(halts::lift(&mut tx, unknown, "ann", "none", at(2)).await.unwrap(), None);
    tx.commit().await.unwrap();

    let standing = halts::standing(&database.store, network(ETH)).await.unwrap();
    assert_eq!(standing.iter().map(|halt| halt.id).collect::<Vec<_>>(), [other.id()]);
    assert_eq!(halts::standing(&database.store, network(BTC)).await.unwrap(), []);
    let kinds: Vec<_> =
        events::after(&database.store, 0, 100).await.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, ["account.halted", "account.halted", "account.resumed"]);

    // A cause that was dealt with can come again.
    let mut tx = database.store.write().await.unwrap();
    assert!(matches!(halt(&mut tx, Some("0xA"), HaltCode::ForeignSpend).await, Halted::New(_)));
}

#[tokio::test]
async fn halt__should_end_by_two_where_it_takes_two() {
    let database = Database::open().await;
    let mut tx = database.store.write().await.unwrap();
    let id = halt(&mut tx, Some("0xA"), HaltCode::ForeignSpend).await.id();
    let all = |_: &str| true;
    for (because, seconds) in [("it was me", 2), ("it was me", 3), ("it was us", 4)] {
        let halt = halts::lift_by_two(&mut tx, id, "ann", because, all, at(seconds)).await.unwrap().unwrap();
        assert_eq!(halt.end, Some(End::Asked { by: "ann".into(), because: because.into() }));
    }
    tx.commit().await.unwrap();
    let standing = halts::standing(&database.store, network(ETH)).await.unwrap();
    assert_eq!(standing.iter().map(|halt| halt.id).collect::<Vec<_>>(), [id], "one is not enough");

    let mut tx = database.store.write().await.unwrap();
    // Whose word does not count any more leaves the next one to be the first.
    let nobody = |_: &str| false;
    let first = halts::lift_by_two(&mut tx, id, "cy", "was it", nobody, at(5)).await.unwrap().unwrap();
    assert_eq!(first.end, Some(End::Asked { by: "cy".into(), because: "was it".into() }));
    let only = |first: &str| first == "cy";
    let lifted = halts::lift_by_two(&mut tx, id, "bob", "so it was", only, at(5)).await.unwrap().unwrap();
    let told = Lifted { at: at(5), by: "cy and bob".into(), because: "so it was".into() };
    assert_eq!(lifted.lifted(), Some(&told));
    let again = halts::lift_by_two(&mut tx, id, "di", "me too", all, at(6)).await.unwrap().unwrap();
    assert_eq!(again, lifted);
    let unknown = "4711".parse().unwrap();
    assert_eq!(halts::lift_by_two(&mut tx, unknown, "ann", "none", all, at(6)).await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(halts::standing(&database.store, network(ETH)).await.unwrap(), []);
    let kinds: Vec<_> =
        events::after(&database.store, 0, 100).await.unwrap().into_iter().map(|event| event.kind).collect();
    let asked = "account.resume_asked";
    assert_eq!(kinds, ["account.halted", asked, asked, asked, "account.resumed"]);
}

#[tokio::test]
async fn halt__should_cover_its_address_its_wallet_or_all() {
    let database = Database::open().await;
    let mut tx = database.store.write().await.unwrap();
    for account in [Some("0xA"), Some(ETH), None] {
        halt(&mut tx, account, HaltCode::Operator).await;
    }
    tx.commit().await.unwrap();
    let standing = halts::standing(&database.store, network(ETH)).await.unwrap();
    let find = |account: Option<&str>| -> &Halt {
        standing.iter().find(|halt| halt.account.as_deref() == account).unwrap()
    };
    let (one, another) = (ETH.parse().unwrap(), "ethereum:31337/ethereum/1".parse().unwrap());
    let bitcoin = BTC.parse().unwrap();
    let (ours, theirs) = (["0xA".to_owned()], ["0xB".to_owned()]);
    let covered = |halt: &Halt| {
        [
            halt.covers(&one, &ours),
            halt.covers(&one, &theirs),
            halt.covers(&another, &theirs),
            halt.covers(&bitcoin, &ours),
        ]
    };
    assert_eq!(covered(find(Some("0xA"))), [true, false, false, false]);
    assert_eq!(covered(find(Some(ETH))), [true, true, false, false]);
    assert_eq!(covered(find(None)), [true, true, true, false]);
}

#[tokio::test]
async fn lift__should_nudge_what_waits() {
    let database = Database::open().await;
    let transfer = database.transfer(10, ETH).await;
    let transfer = database.drive(transfer, until_frozen(transaction_id(1))).await;
    assert_eq!(database.insert(&record(1, &transfer, vec![nonce(0)])).await, Ok(()));
    let mut tx = database.store.write().await.unwrap();
    let halted = halt(&mut tx, None, HaltCode::Operator).await;
    tx.commit().await.unwrap();
    let claimed =
        jobs::claim(&database.store, at(100), std::time::Duration::from_secs(60), 10).await.unwrap();
    for job in claimed {
        let done = jobs::Outcome::Done;
        assert!(jobs::settle(&database.store, &job, at(100), done).await.unwrap());
    }
    assert_eq!(jobs::depth(&database.store, at(200)).await.unwrap(), (0, 0));
    let mut tx = database.store.write().await.unwrap();
    halts::lift(&mut tx, halted.id(), "ann", "solved", at(200)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(jobs::depth(&database.store, at(200)).await.unwrap(), (1, 1));
}

#[tokio::test]
async fn list__should_page_newest_first() {
    let database = Database::open().await;
    let mut tx = database.store.write().await.unwrap();
    let mut ids = Vec::new();
    for account in ["0xA", "0xB", "0xC"] {
        ids.push(halt(&mut tx, Some(account), HaltCode::Operator).await.id());
    }
    halts::lift(&mut tx, ids[1], "ann", "solved", at(2)).await.unwrap();
    tx.commit().await.unwrap();
    let first = halts::list(&database.store, true, None, 2).await.unwrap();
    let rest = halts::list(&database.store, true, first.next.as_deref(), 2).await.unwrap();
    let seen: Vec<_> = first.items.iter().chain(&rest.items).map(|halt| halt.id).collect();
    assert_eq!(seen, [ids[2], ids[1], ids[0]]);
    let standing = halts::list(&database.store, false, None, 9).await.unwrap();
    assert_eq!(standing.items.iter().map(|halt| halt.id).collect::<Vec<_>>(), [ids[2], ids[0]]);
    let foreign = halts::list(&database.store, true, Some("00"), 2).await;
    assert!(matches!(foreign, Err(StoreError::BadCursor)));
}
