//! The same on Postgres. Its planner weighs, and reads whole what it may need half of; so it is told to avoid that, and must then have
//! an index for each table that grows.

use super::FREQUENT;
use crate::Store;
use bursar_regtest::{Postgres, PostgresOptions};

/// Tables that grow with every payment. The others are small at all times, and reading them whole is right.
const GROWING: [&str; 7] = [
    "transfers",
    "transactions",
    "transfer_transactions",
    "reservations",
    "reservation_claims",
    "utxos",
    "addresses",
];

/// 3,000 transfers of one wallet and account, each with what it leaves behind, and three of them under way.
const HISTORY: &str = "\
    INSERT INTO wallets SELECT 'w', 'w', 'd', 'n', 'k', 0, 0;
    INSERT INTO addresses SELECT 'a' || n, 'w', 'n', 'address ' || n, 0, 0, 0, n, NULL, n FROM generate_series(1, 3000) n;
    INSERT INTO transfers (id, external_id, wallet, network, asset, status, has_step, intent, state, flags, version, created_at, updated_at)
        SELECT 't' || n, 'e' || n, 'w', 'n', 'a', CASE WHEN n % 1000 = 0 THEN 'CONFIRMING' ELSE 'COMPLETED' END,
        CASE WHEN n % 1000 = 0 THEN 1 ELSE 0 END, '{}', '{}', '{}', 9, n, n FROM generate_series(1, 3000) n;
    INSERT INTO transactions (id, transfer, network, unsigned, effects, signing_attempts, open_sessions, tx_id, block_height, created_at, finalized_at)
        SELECT 'x' || n, 't' || n, 'n', '{}', '{}', 1, 0, 'id ' || n, n, n, CASE WHEN n % 1000 = 0 THEN NULL ELSE n END
        FROM generate_series(1, 3000) n;
    INSERT INTO transfer_transactions SELECT 't' || n, 'x' || n FROM generate_series(1, 3000) n;
    INSERT INTO reservations SELECT 'n', 'r' || n, 't' || n, 'account', n, CASE WHEN n % 1000 = 0 THEN 0 ELSE 1 END FROM generate_series(1, 3000) n;
    INSERT INTO reservation_claims SELECT 'n', 'r' || n, 'x' || n FROM generate_series(1, 3000) n;
    INSERT INTO utxos SELECT 'n', 'o' || n, 'w', 'a' || n, '1', n, CASE WHEN n % 1000 = 0 THEN NULL ELSE n END, NULL, 0
        FROM generate_series(1, 3000) n;
    ANALYZE";

#[tokio::test]
async fn frequent_queries_have_an_index_for_each_table_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let options = PostgresOptions::new(folder.path()).without_fsync();
    let server = Postgres::start(options).await.unwrap();
    drop(Store::open(server.url()).await.unwrap());
    server.psql("bursar", HISTORY).await.unwrap();
    let mut wrong = Vec::new();
    for (sql, _) in FREQUENT {
        // A plan for whatever values come.
        let values = (1..).take_while(|n| sql.contains(&format!("${n}"))).map(|_| "NULL").collect::<Vec<_>>();
        let values = if values.is_empty() { String::new() } else { format!("({})", values.join(", ")) };
        let explain = format!(
            "PREPARE q AS {sql}; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; EXPLAIN (COSTS OFF) EXECUTE q{values}"
        );
        let plan = server.psql("bursar", &explain).await.unwrap();
        let whole = GROWING.iter().any(|table| {
            plan.lines().any(|line| {
                line.split_once("Seq Scan on ")
                    .is_some_and(|(_, on)| on.split_whitespace().next() == Some(table))
            })
        });
        if whole {
            wrong.push(format!("{sql}\n{plan}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
