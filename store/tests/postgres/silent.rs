//! A server that says nothing any more and closes nothing, as one whose machine is gone.

use super::{LONG, wallet, within};
use bursar_regtest::{Postgres, PostgresOptions, free_port};
use bursar_store::{Store, StoreError, wallets};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Far more than an answer takes here.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Carries,
    /// Nothing gets through, either way.
    Silent,
    /// The next COMMIT gets through, and from then on nothing.
    LosesTheAnswer,
    /// From the next COMMIT on nothing gets through.
    LosesTheCommit,
}

/// Between store and server. A connection ends at the server when it ends at the store, and never before.
struct Wire {
    url: String,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl Wire {
    async fn to(server: &Postgres) -> Self {
        let port = free_port().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (mode, to) = (watch::Sender::new(Mode::Carries), server.port());
        let seen = mode.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let mode = seen.clone();
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await {
                        carry(near, far, mode).await;
                    }
                });
            }
        });
        let url = server.url().replace(&format!(":{to}/"), &format!(":{port}/"));
        assert_ne!(url, server.url());
        Self { url: format!("{url}?sslmode=disable"), mode, accepting }
    }

    fn be(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(near: TcpStream, far: TcpStream, mode: watch::Sender<Mode>) {
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
    let there = async {
        let mut buffer = vec![0; 65_536];
        while let Ok(read @ 1..) = from_near.read(&mut buffer).await {
            let bytes = &buffer[..read];
            let commits = bytes.windows(6).any(|word| word == b"COMMIT");
            let now = *mode.borrow();
            let passes = match now {
                Mode::Carries => true,
                Mode::Silent => false,
                Mode::LosesTheAnswer | Mode::LosesTheCommit if commits => {
                    mode.send_replace(Mode::Silent);
                    now == Mode::LosesTheAnswer
                }
                Mode::LosesTheAnswer | Mode::LosesTheCommit => true,
            };
            if passes && to_far.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let mut buffer = vec![0; 65_536];
        loop {
            match from_far.read(&mut buffer).await {
                Ok(read @ 1..) if *mode.borrow() != Mode::Silent => {
                    if to_near.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
                Ok(1..) => {}
                // It is silent about that, too.
                Ok(0) | Err(_) => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// Once it answers again. (A connection that was broken meanwhile fails once more.)
async fn names(store: &Store) -> Vec<String> {
    within("reads to work again", async {
        loop {
            if let Ok(all) = wallets::list(store).await {
                return all.into_iter().map(|wallet| wallet.name).collect();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

async fn write(store: &Store, n: u128) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    wallets::insert(&mut tx, &wallet(n)).await?;
    tx.commit().await
}

async fn started() -> (tempfile::TempDir, Postgres, Wire, Store) {
    let folder = tempfile::tempdir().unwrap();
    let server = Postgres::start(PostgresOptions::new(folder.path()).without_fsync()).await.unwrap();
    let wire = Wire::to(&server).await;
    let store = Store::open_answering(&wire.url, ANSWERS_WITHIN).await.unwrap();
    (folder, server, wire, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_falls_silent__should_hold_up_nobody_for_ever() {
    let (_folder, server, wire, store) = started().await;
    write(&store, 1).await.unwrap();
    // Within a transaction that has the turn, and with none.
    let mut tx = store.write().await.unwrap();
    wire.be(Mode::Silent);
    let failed = within("a statement", wallets::insert(&mut tx, &wallet(2))).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");
    drop(tx);
    let read = within("a read", wallets::list(&store)).await;
    assert!(matches!(read, Err(StoreError::Unavailable { .. })), "{read:?}");
    let written = within("a write", write(&store, 3)).await;
    assert!(matches!(written, Err(StoreError::Unavailable { .. })), "{written:?}");
    // What asked it has hung up, so that nothing is left of that when it is there again.
    wire.be(Mode::Carries);
    assert_eq!(names(&store).await, ["wallet 1"]);
    within("writes to work again", async {
        while write(&store, 4).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(names(&store).await, ["wallet 1", "wallet 4"]);
    drop(store);
    server.stop().await.unwrap();
}

/// Its end is unknown to who committed, and the same error whichever it is: what became of it shows when it is looked at again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_without_an_answer__should_be_in_doubt_and_seen_by_the_next_writer() {
    let (_folder, server, wire, store) = started().await;
    for (n, mode, committed) in [(1, Mode::LosesTheAnswer, true), (2, Mode::LosesTheCommit, false)] {
        let mut tx = store.write().await.unwrap();
        wallets::insert(&mut tx, &wallet(n)).await.unwrap();
        wire.be(mode);
        let ended = within("a commit", tx.commit()).await;
        assert!(
            matches!(ended, Err(StoreError::Unavailable { operation: "store.commit", .. })),
            "{mode:?}: {ended:?}"
        );
        wire.be(Mode::Carries);
        // Whoever has the turn after it sees how it ended: here by trying the same again, as after any lost connection.
        let again = tokio::time::timeout(LONG, async {
            loop {
                match write(&store, n).await {
                    Err(StoreError::Unavailable { .. }) => {
                        tokio::time::sleep(Duration::from_millis(50)).await
                    }
                    decided => return decided,
                }
            }
        });
        match (again.await.unwrap(), committed) {
            (Err(StoreError::Conflict { .. }), true) | (Ok(()), false) => {}
            (other, _) => panic!("{mode:?}: {other:?}"),
        }
        assert_eq!(names(&store).await.len(), usize::try_from(n).unwrap());
    }
    drop(store);
    server.stop().await.unwrap();
}
