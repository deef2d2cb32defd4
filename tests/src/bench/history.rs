//! A million finished transfers, put into the store without Bursar.
//!
//! One completed transfer of each account is the template; SQL copies its rows, and all that belong to it, under new ids, nonces
//! and transaction ids, as they would be after completion. Ids of the copies sort before those of real transfers, as older ones do.
//! The columns are asked of the schema, so that a new one is copied like the rest.

use super::{
    baseline::feed,
    scenario::{Database, Stage},
};
use crate::program::say;
use alloy::primitives::U256;
use anyhow::{Context as _, ensure};
use bursar_regtest::eventually;
use bursar_store::Store;
use bursar_workers::sealer;
use std::{fmt::Write as _, process::Command, time::Duration};

/// Answers to an `Idempotency-Key` are kept for a day; so many are of the last one.
const REMEMBERED_ANSWERS: u64 = 86_400;
/// Of the wallets, so many receive a deposit for each payment that they make.
const RECEIVING: u64 = 4;

/// Puts `history` finished transfers beneath those that are there; the orchestrator is stopped meanwhile.
pub async fn put(stage: &mut Stage, history: u64) -> anyhow::Result<()> {
    let accounts = stage.accounts.accounts.len() as u64;
    let copies = history.checked_div(accounts).unwrap_or(0);
    ensure!(copies > 0, "a history has at least one transfer for each of {accounts} accounts");
    let address = stage.accounts.accounts.first().context("there are accounts")?.address.clone();
    stage.environment.nodes.anvil.fund(&address, U256::from(1_000_000_000u64)).await?;
    let database = stage.database.clone();
    let seen = async || match database.ask("SELECT COUNT(*) FROM deposits") {
        Ok(count) if count != "0" => Ok(()),
        Ok(_) => Err("no deposit yet".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    };
    eventually(Duration::from_secs(30), Duration::from_millis(250), "a deposit to copy", seen).await?;
    stage.environment.orchestrator.kill9()?;
    say(&format!("copying {} finished transfers into the store", copies * accounts));
    let (sql, before) = (statements(&database, copies, RECEIVING.min(accounts))?, size(&database)?);
    let copying = database.clone();
    tokio::task::spawn_blocking(move || feed(&mut copying.client(), &sql)).await??;
    // Old events have their places in the audit's chain, or they would be given them while it is measured.
    say("sealing the audit log");
    let store = Store::open(&database.url()).await?;
    sealer::seal(&store).await?;
    drop(store);
    database.settle()?;
    // What was written is on the disk before anything is measured, or it would be written out underneath.
    let synced = tokio::process::Command::new("sync").status().await.context("sync")?;
    ensure!(synced.success(), "sync: {synced}");
    let templates = stage.database.ask("SELECT COUNT(*) FROM transfers")?;
    say(&format!("{templates} transfers, {} MB more", (size(&stage.database)? - before) / 1_000_000));
    stage.environment.orchestrator.start().await?;
    stage.wait_for_signers().await
}

/// Bytes that the database takes on disk.
pub fn size(database: &Database) -> anyhow::Result<u64> {
    match database {
        Database::Sqlite(path) => {
            let of = |suffix: &str| {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                std::fs::metadata(name).map_or(0, |file| file.len())
            };
            Ok(of("") + of("-wal"))
        }
        Database::Postgres(_) => Ok(database.ask("SELECT pg_database_size(current_database())")?.parse()?),
    }
}

/// Id of the transfer that half of all are older than.
pub fn middle(database: &Database) -> anyhow::Result<String> {
    let id = database
        .ask("SELECT id FROM transfers ORDER BY id LIMIT 1 OFFSET (SELECT COUNT(*) / 2 FROM transfers)")?;
    ensure!(!id.is_empty(), "there are no transfers");
    Ok(id)
}

/// Tables that a transfer leaves rows in.
const COPIED: [&str; 8] = [
    "transfers",
    "transactions",
    "transfer_transactions",
    "reservations",
    "reservation_claims",
    "events",
    "deposits",
    "idempotency_keys",
];

struct Index {
    name: String,
    /// The statement that makes it.
    definition: String,
}

impl Database {
    fn client(&self) -> Command {
        match self {
            Self::Sqlite(path) => {
                let mut sqlite = Command::new("sqlite3");
                sqlite.args(["-bail", "-cmd", ".timeout 20000"]).arg(path);
                sqlite
            }
            Self::Postgres(url) => {
                let mut psql = Command::new("psql");
                psql.args(["--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1"]).arg(url);
                psql
            }
        }
    }

    /// The answer to a query, one line for each row.
    pub fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let mut client = self.client();
        match self {
            Self::Sqlite(_) => client.arg(sql),
            Self::Postgres(_) => client.args(["--command", sql]),
        };
        let output = client.output().context("cannot run sqlite3 or psql: install the Debian package")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{sql}: {errors}");
        // The time-out is told, too.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.trim().to_owned())
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// As autovacuum and checkpoints would have left it long ago.
    fn settle(&self) -> anyhow::Result<()> {
        let statements: &[&str] = match self {
            Self::Sqlite(_) => &["PRAGMA wal_checkpoint(TRUNCATE)"],
            Self::Postgres(_) => &["VACUUM ANALYZE", "CHECKPOINT"],
        };
        statements.iter().try_for_each(|statement| self.ask(statement).map(drop))
    }

    /// Those that belong to no constraint, of the tables that are copied.
    fn indexes(&self) -> anyhow::Result<Vec<Index>> {
        let tables = COPIED.map(|table| format!("'{table}'")).join(", ");
        let sql = match self {
            Self::Sqlite(_) => format!(
                "SELECT name || '|' || sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({tables})"
            ),
            Self::Postgres(_) => format!(
                "SELECT indexname || '|' || indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename IN ({tables}) \
                 AND indexname NOT IN (SELECT conname FROM pg_constraint)"
            ),
        };
        let read = |line: &str| {
            let (name, definition) = line.split_once('|')?;
            Some(Index { name: name.to_owned(), definition: definition.to_owned() })
        };
        let answer = self.ask(&sql)?;
        answer.lines().map(|line| read(line).with_context(|| format!("no index in {line:?}"))).collect()
    }

    fn columns(&self, table: &str) -> anyhow::Result<Vec<String>> {
        let sql = match self {
            Self::Sqlite(_) => format!("SELECT name FROM pragma_table_info('{table}')"),
            Self::Postgres(_) => format!(
                "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
            ),
        };
        let columns: Vec<String> = self.ask(&sql)?.lines().map(str::to_owned).collect();
        ensure!(!columns.is_empty(), "there is no table {table}");
        Ok(columns)
    }
}

/// The transfer's, the transaction's and the deposit's id of copy `c.k` of template `t.rank`: version 7 UUIDs with times long ago.
fn id(version: &str) -> String {
    let digits = |number: &str, from, count| {
        format!("substr(CAST(1000000000000 + {number} AS TEXT), {from}, {count})")
    };
    format!(
        "{} || '-' || {} || '-{version}-8000-' || {}",
        digits("c.k", 2, 8),
        digits("c.k", 10, 4),
        digits("t.rank", 2, 12)
    )
}

fn statements(database: &Database, copies: u64, receiving: u64) -> anyhow::Result<String> {
    let (transfer, transaction, deposit) = (id("7000"), id("7001"), id("7002"));
    let external = "'history-' || CAST(c.k AS TEXT) || '-' || CAST(t.rank AS TEXT)";
    let earlier = |column: &str| {
        format!("o.{column} - ({copies} - c.k) * CAST(1000000 AS BIGINT) - CAST(86400000000 AS BIGINT)")
    };
    // Ids in texts of JSON.
    let renamed = |column: &str| {
        format!(
            "replace(replace(replace(o.{column}, t.transfer, {transfer}), t.transaction_id, {transaction}), t.external_id, {external})"
        )
    };
    let mut sql = match database {
        // Nobody else has the file, and a copy that breaks off is thrown away: every page is written once.
        Database::Sqlite(_) => "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; PRAGMA journal_mode=OFF; \
                                PRAGMA synchronous=OFF; PRAGMA cache_size=-600000;\n"
            .to_owned(),
        // What is copied referred to what was there, and so does its copy.
        Database::Postgres(_) => "SET synchronous_commit = off; SET session_replication_role = replica; \
                                  SET maintenance_work_mem = '512MB'; SET max_parallel_maintenance_workers = 2;\n"
            .to_owned(),
    };
    write!(
        sql,
        "CREATE TEMP TABLE copies AS WITH RECURSIVE n(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM n WHERE k + 1 < {copies}) SELECT k FROM n;
         CREATE TEMP TABLE templates AS SELECT ROW_NUMBER() OVER (ORDER BY f.id) - 1 AS rank, f.id AS transfer, f.wallet, f.external_id,
           (SELECT MAX(x.transaction_id) FROM transfer_transactions x WHERE x.transfer = f.id) AS transaction_id
           FROM transfers f WHERE f.id IN (SELECT MAX(id) FROM transfers WHERE status = 'COMPLETED' GROUP BY wallet);
         CREATE TEMP TABLE happened AS SELECT ROW_NUMBER() OVER (ORDER BY e.sequence) AS place, t.rank, e.sequence
           FROM events e JOIN templates t ON t.transfer = e.transfer;
         CREATE TEMP TABLE start AS SELECT (SELECT value FROM counters WHERE name = 'events') AS sequence,
           (SELECT COUNT(*) FROM happened) AS each_time;
         CREATE TEMP TABLE one_deposit AS SELECT * FROM deposits ORDER BY position LIMIT 1;\n"
    )?;
    // Copies are made of these: what reads and writes one table is kept in memory as a whole.
    for (table, key, keys) in [
        ("transfers", "id", "SELECT transfer FROM templates"),
        ("transactions", "transfer", "SELECT transfer FROM templates"),
        ("transfer_transactions", "transfer", "SELECT transfer FROM templates"),
        ("reservations", "transfer", "SELECT transfer FROM templates"),
        ("reservation_claims", "transaction_id", "SELECT transaction_id FROM templates"),
        ("events", "sequence", "SELECT sequence FROM happened UNION SELECT position FROM one_deposit"),
        ("deposits", "id", "SELECT id FROM one_deposit"),
        ("idempotency_keys", "idempotency_key", "SELECT external_id FROM templates"),
    ] {
        writeln!(sql, "CREATE TEMP TABLE one_{table} AS SELECT * FROM {table} WHERE {key} IN ({keys});")?;
    }
    // Built at the end, sorted, they cost a fraction.
    let indexes = database.indexes()?;
    sql.push_str("BEGIN;\n");
    for Index { name, .. } in &indexes {
        writeln!(sql, "DROP INDEX {name};")?;
    }
    let mut copy = |table: &str, from: &str, changed: &[(&str, String)]| -> anyhow::Result<()> {
        let columns = database.columns(table)?;
        let value = |column: &String| match changed.iter().find(|(name, _)| name == column) {
            Some((_, expression)) => expression.clone(),
            None => format!("o.{column}"),
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        writeln!(
            sql,
            "INSERT INTO {table} ({}) SELECT {} FROM copies c CROSS JOIN {from};",
            columns.join(", "),
            values.join(", ")
        )?;
        Ok(())
    };
    let of_transfer =
        |column: &str, table: &str| format!("templates t JOIN one_{table} o ON o.{column} = t.transfer");
    copy(
        "transfers",
        &of_transfer("id", "transfers"),
        &[
            ("id", transfer.clone()),
            ("external_id", external.to_owned()),
            ("intent", renamed("intent")),
            ("state", renamed("state")),
            ("created_at", earlier("created_at")),
            ("updated_at", earlier("updated_at")),
        ],
    )?;
    copy("transactions", &of_transfer("transfer", "transactions"), &[
        ("id", transaction.clone()),
        ("transfer", transfer.clone()),
        (
            "tx_id",
            "'0x' || substr(CAST(1000000000000 + c.k AS TEXT), 2, 12) || substr(CAST(1000000000000 + t.rank AS TEXT), 2, 12) || \
             substr(o.tx_id, 27)"
                .to_owned(),
        ),
        ("block_height", "1 + c.k % o.block_height".to_owned()),
        ("created_at", earlier("created_at")),
        ("finalized_at", earlier("finalized_at")),
    ])?;
    copy(
        "transfer_transactions",
        &of_transfer("transfer", "transfer_transactions"),
        &[("transfer", transfer.clone()), ("transaction_id", transaction.clone())],
    )?;
    let nonce = "'ethereum/nonce/' || r.account || '/' || CAST(c.k AS TEXT)".to_owned();
    let reservation = "templates t JOIN one_reservations o ON o.transfer = t.transfer";
    copy(
        "reservations",
        reservation,
        &[
            ("resource", nonce.replace("r.account", "o.account")),
            ("transfer", transfer.clone()),
            ("number", "c.k".to_owned()),
        ],
    )?;
    let claim = "templates t JOIN one_reservations r ON r.transfer = t.transfer \
                 JOIN one_reservation_claims o ON o.network = r.network AND o.resource = r.resource";
    copy("reservation_claims", claim, &[("resource", nonce), ("transaction_id", transaction.clone())])?;
    let events = "happened h JOIN templates t ON t.rank = h.rank JOIN one_events o ON o.sequence = h.sequence CROSS JOIN start";
    copy(
        "events",
        events,
        &[
            ("sequence", "start.sequence + c.k * start.each_time + h.place".to_owned()),
            ("transfer", transfer.clone()),
            ("at", earlier("at")),
            ("payload", renamed("payload")),
        ],
    )?;
    let place = format!("start.sequence + {copies} * start.each_time + c.k * {receiving} + t.rank + 1");
    let deposited = format!("(SELECT * FROM templates WHERE rank < {receiving}) t CROSS JOIN one_deposit d");
    copy(
        "events",
        &format!("{deposited} JOIN one_events o ON o.sequence = d.position CROSS JOIN start"),
        &[("sequence", place.clone()), ("payload", format!("replace(o.payload, d.id, {deposit})"))],
    )?;
    copy(
        "deposits",
        &format!("{deposited} JOIN one_deposits o ON o.id = d.id CROSS JOIN start"),
        &[("id", deposit), ("position", place), ("wallet", "t.wallet".to_owned())],
    )?;
    copy(
        "idempotency_keys",
        &format!(
            "templates t JOIN one_idempotency_keys o ON o.idempotency_key = t.external_id \
             AND c.k * (SELECT COUNT(*) FROM templates) < {REMEMBERED_ANSWERS}"
        ),
        &[("idempotency_key", external.to_owned())],
    )?;
    writeln!(
        sql,
        "UPDATE counters SET value = (SELECT sequence + {copies} * each_time + {copies} * {receiving} FROM start) WHERE name = 'events';"
    )?;
    for Index { definition, .. } in &indexes {
        writeln!(sql, "{definition};")?;
    }
    sql.push_str("COMMIT;\n");
    sql.push_str(match database {
        Database::Sqlite(_) => "PRAGMA locking_mode=NORMAL; PRAGMA journal_mode=WAL;\n",
        Database::Postgres(_) => "",
    });
    Ok(sql)
}
