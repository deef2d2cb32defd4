//! What this machine does at this moment without Bursar.

use super::scenario::{Database, Stage};
use crate::recipients;
use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::eip2718::Encodable2718 as _,
    primitives::{Address, Signature, TxKind, U256, hex},
};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k256::ecdsa::SigningKey;
use serde::Serialize;
use serde_json::json;
use std::{
    fmt::Write as _,
    fs::File,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// Presigned transactions that anvil takes in a second through the counting proxy, eight at a time.
    pub node_submissions_per_second: f64,
    /// Transactions of one small row that the database commits durably in a second, one after the other, by its own
    /// command line client.
    pub commits_per_second: f64,
    /// Durable writes of 4 KiB (`fdatasync`) in a second to the same disk.
    pub syncs_per_second: f64,
}

pub async fn measure(stage: &Stage) -> anyhow::Result<Baseline> {
    Ok(Baseline {
        node_submissions_per_second: submissions(stage).await?,
        commits_per_second: commits(stage)?,
        syncs_per_second: syncs(&stage.environment.options.dir)?,
    })
}

async fn submissions(stage: &Stage) -> anyhow::Result<f64> {
    const EACH: u64 = 20;
    let anvil = &stage.environment.nodes.anvil;
    let mut signed = Vec::new();
    for _ in 0..20 {
        let key = SigningKey::random(&mut rand::rngs::OsRng);
        let address = Address::from_private_key(&key);
        anvil.call("anvil_setBalance", json!([address, "0xde0b6b3a7640000"])).await?;
        let to: Address = recipients::ethereum().parse()?;
        signed.push((0..EACH).map(|nonce| presigned(&key, nonce, to)).collect::<anyhow::Result<Vec<_>>>()?);
    }
    // By nonce first, so that accounts take turns.
    let in_turn: Vec<String> = (0..EACH as usize)
        .flat_map(|nonce| signed.iter().map(move |account| account[nonce].clone()))
        .collect();
    let count = in_turn.len();
    let http = reqwest::Client::new();
    let url = stage.proxy.url();
    let send = |raw: String| {
        let request =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw] });
        let sending = http.post(&url).json(&request).send();
        async move {
            let answer: serde_json::Value = sending.await?.json().await?;
            ensure!(answer["result"].is_string(), "anvil refused a presigned transaction: {answer}");
            Ok(())
        }
    };
    let begun = Instant::now();
    futures::stream::iter(in_turn).map(send).buffer_unordered(8).try_collect::<Vec<()>>().await?;
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn presigned(key: &SigningKey, nonce: u64, to: Address) -> anyhow::Result<String> {
    let transaction = TxEip1559 {
        chain_id: 31337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        value: U256::from(1),
        ..Default::default()
    };
    let signature = key.sign_prehash_recoverable(transaction.signature_hash().as_slice())?;
    let envelope = TxEnvelope::from(transaction.into_signed(Signature::from(signature)));
    Ok(hex::encode_prefixed(envelope.encoded_2718()))
}

fn commits(stage: &Stage) -> anyhow::Result<f64> {
    const COUNT: u32 = 400;
    let dir = &stage.environment.options.dir;
    let (mut client, setup) = match &stage.database {
        Database::Sqlite(_) => {
            let path = dir.join("baseline.db");
            let _ = std::fs::remove_file(&path);
            let mut sqlite = Command::new("sqlite3");
            sqlite.arg("-bail").arg(path);
            (sqlite, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        }
        Database::Postgres(url) => {
            let mut psql = Command::new("psql");
            psql.args(["--quiet", "--set", "ON_ERROR_STOP=1"]).arg(url);
            (psql, "")
        }
    };
    let mut sql = format!("{setup}\nCREATE TABLE baseline (id BIGINT PRIMARY KEY, body TEXT NOT NULL);\n");
    for id in 0..COUNT {
        writeln!(sql, "BEGIN; INSERT INTO baseline VALUES ({id}, '{}'); COMMIT;", "x".repeat(200))?;
    }
    sql.push_str("DROP TABLE baseline;\n");
    let begun = Instant::now();
    feed(&mut client, &sql)?;
    Ok(f64::from(COUNT) / begun.elapsed().as_secs_f64())
}

/// Runs a database's command line client over `sql`.
pub(super) fn feed(client: &mut Command, sql: &str) -> anyhow::Result<()> {
    let name = client.get_program().to_string_lossy().into_owned();
    let mut running =
        client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().with_context(
            || format!("cannot run {name}: install the Debian package sqlite3 or postgresql-client"),
        )?;
    let mut input = running.stdin.take().context("standard input was asked for")?;
    let sql = sql.to_owned();
    let writing = std::thread::spawn(move || input.write_all(sql.as_bytes()));
    let output = running.wait_with_output()?;
    let written = writing.join();
    ensure!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    ensure!(matches!(written, Ok(Ok(()))), "{name} did not read all of its input");
    Ok(())
}

fn syncs(dir: &Path) -> anyhow::Result<f64> {
    const COUNT: u32 = 400;
    let path = dir.join("baseline.bin");
    let mut file = File::create(&path)?;
    let begun = Instant::now();
    for _ in 0..COUNT {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
    }
    let rate = f64::from(COUNT) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}
