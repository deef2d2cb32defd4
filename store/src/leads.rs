//! One process at a time for a task, on Postgres: an advisory lock of a connection that does nothing else. The server gives it back
//! as soon as the connection ends, so a process that dies is followed at once, and one whose machine is gone when its connection is
//! found dead (`tcp_keepalives_*`), or has been silent for a minute.

use crate::{
    dialect::{Access, Dialect},
    error::{During, StoreError},
    row::Fields,
};
use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, Connection, any::AnyConnectOptions};
use std::{collections::BTreeSet, time::Duration};
use tokio::{sync::Mutex, time::timeout};

const OPERATION: &str = "store.leads";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A process that hangs, or stands still for a debugger, leads no longer than this. (Postgres 14 and later know the setting.)
const LET_GO: &str =
    "SELECT set_config(name, '60s', false) FROM pg_settings WHERE name = 'idle_session_timeout'";

pub(crate) struct Leads {
    options: AnyConnectOptions,
    held: Mutex<Option<Held>>,
}

struct Held {
    connection: AnyConnection,
    tasks: BTreeSet<String>,
}

impl Leads {
    pub fn new(options: AnyConnectOptions) -> Self {
        Self { options, held: Mutex::new(None) }
    }

    pub async fn ask(&self, task: &str) -> Result<bool, StoreError> {
        let mut held = self.held.lock().await;
        // Taken out, so that a connection that fails or hangs is not asked again: it may have lost everything.
        let current = held.take();
        let had_one = current.is_some();
        let mut asked = self.ask_in_time(current, task).await;
        if had_one && asked.is_err() {
            asked = self.ask_in_time(None, task).await;
        }
        let (now, leads) = asked?;
        *held = Some(now);
        Ok(leads)
    }

    async fn ask_in_time(&self, held: Option<Held>, task: &str) -> Result<(Held, bool), StoreError> {
        let late = |_| StoreError::Unavailable { operation: OPERATION, source: sqlx::Error::PoolTimedOut };
        timeout(ANSWER_WITHIN, self.ask_on(held, task)).await.map_err(late)?
    }

    async fn ask_on(&self, held: Option<Held>, task: &str) -> Result<(Held, bool), StoreError> {
        let mut held = match held {
            Some(held) => held,
            None => self.connect().await?,
        };
        // Held twice, it would have to be given back twice; and the connection must be seen to live.
        let sql = match held.tasks.contains(task) {
            true => "SELECT 'lead' AS name, 1 AS leads, $1 AS task",
            false => "SELECT 'lead' AS name, CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END AS leads",
        };
        let row = sqlx::query(sql).bind(key(task)).fetch_one(&mut held.connection).await.during(OPERATION)?;
        let leads = Fields::new(&row, "pg_locks", "name")?.flag("leads")?;
        if leads {
            held.tasks.insert(task.to_owned());
        }
        Ok((held, leads))
    }

    async fn connect(&self) -> Result<Held, StoreError> {
        let mut connection = AnyConnection::connect_with(&self.options).await.during(OPERATION)?;
        for statement in Dialect::Postgres.on_connect(Access::Read).iter().chain([&LET_GO]) {
            sqlx::query(*statement).execute(&mut connection).await.during(OPERATION)?;
        }
        Ok(Held { connection, tasks: BTreeSet::new() })
    }
}

/// Advisory locks have numbers for names.
fn key(task: &str) -> i64 {
    let digest: [u8; 32] = Sha256::digest(format!("bursar/{task}").as_bytes()).into();
    i64::from_be_bytes(*digest.first_chunk().expect("a digest has 32 bytes"))
}
