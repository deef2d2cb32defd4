//! What only a server that several processes share can show. (What holds on both databases is in `conformance`.)
#![allow(non_snake_case)]
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "postgres/silent.rs"]
mod silent;

use bursar_domain::{ids::TransferId, ids::WalletId, time::Timestamp};
use bursar_regtest::{Authority, Postgres, PostgresOptions};
use bursar_store::{
    Store, StoreError, events, jobs,
    wallets::{self, Wallet},
};
use std::{future::Future, time::Duration};
use uuid::Uuid;

const T0: Timestamp = Timestamp::from_secs(1_800_000_000);
/// No test waits for the time of anything; this only ends a test that would hang.
const LONG: Duration = Duration::from_secs(60);

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect(what)
}

fn wallet(n: u128) -> Wallet {
    Wallet {
        id: WalletId::new(Uuid::from_u128(n)),
        name: format!("wallet {n}"),
        descriptor: format!("bitcoin:regtest/p2tr/{n}").parse().unwrap(),
        created_at: T0,
    }
}

async fn append(store: &Store, n: i64) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    events::append(&mut tx, "test", None, T0, &serde_json::json!({ "n": n })).await?;
    tx.commit().await
}

async fn nudge(store: &Store, n: u128) {
    let mut tx = store.write().await.unwrap();
    jobs::nudge(&mut tx, TransferId::new(Uuid::from_u128(n)), T0).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes__should_share_one_database() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(PostgresOptions::new(folder.path()).without_fsync()).await.unwrap();
    let url = server.url().to_owned();

    // All of them find an empty database, and one of them makes the tables.
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = url.clone();
        starting.spawn(async move { Store::open(&url).await.map(drop) });
    }
    while let Some(started) = starting.join_next().await {
        started.unwrap().unwrap();
    }
    let (one, other) = (Store::open(&url).await.unwrap(), Store::open(&url).await.unwrap());

    // A commit wakes who waits in another process. The first may be one from the start of listening, so look what is there, as
    // the workers do.
    nudge(&one, 1).await;
    within("a nudge of another process", async {
        loop {
            let notified = other.notified();
            if jobs::depth(&other, T0).await.unwrap().1 == 1 {
                break;
            }
            notified.await;
        }
    })
    .await;
    for n in 1..=20 {
        let seen = other.events_notified();
        append(&one, n).await.unwrap();
        within("an event of another process", seen).await;
    }

    // Writers of both take turns: no number is given twice, none is left out, and none shows before a smaller one.
    let mut writers = tokio::task::JoinSet::new();
    for store in [&one, &other] {
        for n in 0..4 {
            let store = store.clone();
            writers.spawn(async move {
                for k in 0..10 {
                    append(&store, n * 100 + k).await.unwrap();
                }
            });
        }
    }
    let mut last = 20;
    while last < 100 {
        for event in events::after(&other, last, 1000).await.unwrap() {
            assert_eq!(event.sequence, last + 1, "a number shows before a smaller one");
            last = event.sequence;
        }
        if writers.try_join_next().is_none() {
            tokio::task::yield_now().await;
        }
    }

    // One leads, and the next one when it is gone.
    assert!(one.leads("follow this").await.unwrap());
    assert!(one.leads("follow this").await.unwrap(), "it still leads");
    assert!(!other.leads("follow this").await.unwrap());
    assert!(other.leads("follow that").await.unwrap());
    drop((one, writers));
    within("the lead of a process that is gone", async {
        while !other.leads("follow this").await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(other);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_fails_within_a_transaction__should_not_be_committed_around() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(PostgresOptions::new(folder.path()).without_fsync()).await.unwrap();
    let store = Store::open(server.url()).await.unwrap();
    let mut tx = store.write().await.unwrap();
    wallets::insert(&mut tx, &wallet(1)).await.unwrap();
    let again = wallets::insert(&mut tx, &wallet(1)).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    // Postgres has given the transaction up, and would answer COMMIT with success.
    assert!(tx.commit().await.is_err());
    assert_eq!(wallets::list(&store).await.unwrap(), []);
    // The connection is fit for use, and the turn is given back.
    let mut tx = store.write().await.unwrap();
    wallets::insert(&mut tx, &wallet(1)).await.unwrap();
    tx.commit().await.unwrap();
    let plain = server.psql("bursar", "SELECT name FROM wallets").await.unwrap();
    assert_eq!(plain, "wallet 1");
    let ours =
        server.psql("bursar", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bursar'");
    assert_ne!(ours.await.unwrap(), "0", "sessions are set up");
}

#[tokio::test]
async fn errors__should_name_the_remedy_and_never_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(PostgresOptions::new(folder.path()).without_fsync()).await.unwrap();
    server.psql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0").await.unwrap();
    let wrong = server.url().replace("regtest-only", "hunter2");
    let elsewhere =
        format!("postgres://bursar:hunter2@127.0.0.1:{}/bursar", bursar_regtest::free_port().unwrap());
    let cases = [
        (wrong.clone(), "password authentication failed"),
        (elsewhere, "unavailable"),
        (format!("{wrong}?sslmode=nonsense"), "ssl_mode"),
        (wrong.replace("127.0.0.1:", "127.0.0.1:x"), "URL"),
        (format!("{}?sslmode=verify-full", server.url()), "TLS"),
        (server.url_of("latin"), "ENCODING 'UTF8'"),
    ];
    for (url, expected) in cases {
        let error = Store::open(&url).await.map(drop).expect_err(expected);
        let told = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let told = told.map(|error| format!("{error} {error:?}")).collect::<Vec<_>>().join(": ");
        assert!(told.contains(expected), "{expected} is not in {told}");
        assert!(!told.contains("hunter2") && !told.contains("regtest-only"), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_is_killed__should_lose_nothing_and_be_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Postgres::start(PostgresOptions::new(folder.path())).await.unwrap();
    let port = server.port();
    let store = Store::open(server.url()).await.unwrap();
    for n in 1..=3 {
        append(&store, n).await.unwrap();
    }
    assert!(store.leads("follow").await.unwrap());
    let mut half = store.write().await.unwrap();
    events::append(&mut half, "half", None, T0, &serde_json::json!({})).await.unwrap();
    let heard = store.events_notified();
    server.process().kill9().unwrap();
    drop(server);
    assert!(half.commit().await.is_err(), "nobody was there to commit it");

    let server = Postgres::start(PostgresOptions::new(folder.path()).with_port(port)).await.unwrap();
    // The first use of each connection that was lost may fail; then they are made anew.
    within("the store to work again", async {
        while append(&store, 4).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut kept = Err("not read yet".to_owned());
    within("reads to work again", async {
        while kept.is_err() {
            kept = events::after(&store, 0, 10).await.map_err(|error| error.to_string());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let kept: Vec<_> = kept.unwrap().into_iter().map(|event| event.payload).collect();
    assert_eq!(kept, [1, 2, 3, 4].map(|n| serde_json::json!({ "n": n })));
    within("somebody who waited meanwhile", heard).await;
    within("the lead", async {
        while !matches!(store.leads("follow").await, Ok(true)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    server.stop().await.unwrap();
}

/// A server with a certificate, of which the client checks who signed it and for whom.
#[tokio::test]
async fn server_that_is_another_than_it_says__should_be_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, stranger) = (Authority::new("ours").unwrap(), Authority::new("a stranger's").unwrap());
    let trust = |name: &str, authority: &Authority| {
        let file = folder.path().join(name);
        std::fs::write(&file, authority.certificate()).unwrap();
        file.display().to_string()
    };
    let (ours, theirs) = (trust("ours.pem", &authority), trust("theirs.pem", &stranger));
    let (certificate, key) = authority.issue(&["127.0.0.1"]).unwrap();
    let options = PostgresOptions::new(folder.path().join("cluster")).without_fsync();
    let server = Postgres::start(options.with_tls(certificate, key)).await.unwrap();
    let url = server.url();
    let open = async |url: String| Store::open(&url).await.map(drop);

    open(format!("{url}?sslmode=verify-full&sslrootcert={ours}")).await.unwrap();
    let other_name = url.replace("127.0.0.1", "localhost");
    for refused in [
        format!("{url}?sslmode=verify-full&sslrootcert={theirs}"),
        format!("{url}?sslmode=verify-ca&sslrootcert={theirs}"),
        // The public authorities.
        format!("{url}?sslmode=verify-full"),
        format!("{other_name}?sslmode=verify-full&sslrootcert={ours}"),
    ] {
        let error = open(refused.clone()).await.unwrap_err();
        let StoreError::Unavailable { source, .. } = &error else { panic!("{refused}: {error}") };
        assert!(source.to_string().contains("certificate"), "{refused}: {source}");
        assert!(
            !format!("{error} {source}").contains("regtest-only"),
            "the password shows: {error} {source}"
        );
    }
    // Only the name differs, and that is not asked for.
    open(format!("{other_name}?sslmode=verify-ca&sslrootcert={ours}")).await.unwrap();
}
