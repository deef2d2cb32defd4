//! The same tests on Postgres: this very program is run once more, all its tests, with a server to make their databases on. So none
//! can be forgotten.

use crate::fixtures::SERVER;
use bursar_regtest::{Postgres, PostgresOptions};
use std::process::Command;

const THIS: &str = "on_postgres::conformance__should_hold_on_postgres";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance__should_hold_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    // What a crash leaves is tested elsewhere.
    let server = Postgres::start(PostgresOptions::new(folder.path()).without_fsync()).await.unwrap();
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--test-threads", "4", "--skip", THIS]).env(SERVER, server.url());
    let ended = tokio::task::spawn_blocking(move || tests.status()).await.unwrap().unwrap();
    assert!(ended.success(), "the tests above failed on Postgres");
    let made = server
        .psql("bursar", "SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE 'test_%'");
    let made: u32 = made.await.unwrap().parse().unwrap();
    assert!(made >= 40, "only {made} databases were made");
    server.stop().await.unwrap();
}
