//! A Postgres server with a cluster of its own, from the Debian package's programs.

mod place;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::error::describe;
use crate::{Process, RegtestError, SmallDisk, eventually, free_port, tools};
use place::Place;

/// Owner of the cluster and its databases.
const USER: &str = "bursar";
/// Published on purpose: it protects what tests write, and nothing else.
const PASSWORD: &str = "regtest-only";
/// The database that is there from the start.
const DATABASE: &str = "bursar";
/// In the cluster's folder.
const CERTIFICATE: &str = "regtest.crt";
const KEY: &str = "regtest.key";

const INITDB_WITHIN: Duration = Duration::from_secs(90);
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// How long the processes of a killed server may linger before the next one is let in.
const LINGERING: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// How to start a Postgres.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Folder for cluster and log; made if absent. Starting over the same folder goes on with the same databases.
    pub data_dir: PathBuf,
    /// Port on 127.0.0.1; `None` takes a free one. Pin it when the server is to be killed and started again.
    pub port: Option<u16>,
    /// Whether an acknowledged commit survives a power cut (it survives SIGKILL of the server either way).
    pub fsync: bool,
    /// Further settings, e.g. `("max_connections", "20")`.
    pub settings: Vec<(String, String)>,
    /// Starts as a standby that follows nobody: it can be read, and not written until [`Postgres::promote`].
    pub standby: bool,
    /// TLS: the server's certificate and its key, as PEM. Clients may still come without.
    pub tls: Option<(String, String)>,
    /// The cluster's files are on a disk of so many MiB that can be filled, and are gone when the server ends.
    pub small_disk: Option<u32>,
}

impl PostgresOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            fsync: true,
            settings: Vec::new(),
            standby: false,
            tls: None,
            small_disk: None,
        }
    }

    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    pub fn without_fsync(mut self) -> Self {
        self.fsync = false;
        self
    }

    pub fn as_standby(mut self) -> Self {
        self.standby = true;
        self
    }

    pub fn with_tls(mut self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        self.tls = Some((certificate.into(), key.into()));
        self
    }

    pub fn with_setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running Postgres on 127.0.0.1; killed when dropped, with all that its clients committed kept in the folder.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    port: u16,
    url: String,
    small_disk: Option<SmallDisk>,
}

impl Postgres {
    /// Makes the cluster unless it is there, starts the server and waits until it answers. Run by root, the server runs as
    /// `postgres` or `nobody`, and its files may lie in the temporary folder if that user cannot reach `data_dir`.
    ///
    /// # Errors
    /// [`RegtestError::ToolMissing`] with the remedy; [`RegtestError::Exited`] or [`RegtestError::NotReady`] with the end
    /// of the log.
    pub async fn start(options: PostgresOptions) -> Result<Self, RegtestError> {
        let programs = tools::postgres_bin()?;
        let dir = options.data_dir.clone();
        std::fs::create_dir_all(&dir).map_err(RegtestError::io("could not create folder", &dir))?;
        let dir = dir.canonicalize().map_err(RegtestError::io("could not resolve folder", &dir))?;
        let place = Place::prepare(&dir)?;
        let log = dir.join("postgres.log");
        if !place.data.join("PG_VERSION").exists() {
            initdb(&programs, &place, &log).await?;
        }
        let mut options = options;
        if options.standby {
            place.give("standby.signal", "")?;
        }
        if let Some((certificate, key)) = &options.tls {
            place.give(CERTIFICATE, certificate)?;
            place.give(KEY, key)?;
            let files = [("ssl", "on"), ("ssl_cert_file", CERTIFICATE), ("ssl_key_file", KEY)];
            options.settings.extend(files.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let port = options.port.map_or_else(free_port, Ok)?;
        let small_disk =
            options.small_disk.map(|mebibytes| SmallDisk::over(&place.data, mebibytes)).transpose()?;
        let deadline = tokio::time::Instant::now() + LINGERING;
        loop {
            let mut command = serving(&programs, &place, port, &options);
            if let Some(disk) = &small_disk {
                command = disk.under_unprivileged(&command);
            }
            let process = Process::spawn_as("postgres", command, &log, place.run_as)?;
            let (programs, url, small_disk) = (programs.clone(), url(port, DATABASE), small_disk.clone());
            let mut server = Self { process, programs, port, url, small_disk };
            match server.wait_ready().await {
                Ok(()) => {}
                // Processes of a server that was killed are still about to notice.
                Err(RegtestError::Exited { tail, .. })
                    if tail.contains("pre-existing shared memory block")
                        && tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if server
                .psql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"))
                .await?
                != "1"
            {
                server.create_database(DATABASE).await?;
            }
            return Ok(server);
        }
    }

    async fn wait_ready(&mut self) -> Result<(), RegtestError> {
        let (programs, port) = (self.programs.clone(), self.port);
        self.process
            .wait_ready(READY_WITHIN, || async {
                psql(&programs, port, "postgres", "SELECT 1")
                    .await
                    .map(drop)
                    .map_err(|error| describe(&error))
            })
            .await
    }

    /// `postgres://user:password@127.0.0.1:port/bursar`, the database that is there from the start.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same for another database of this cluster.
    pub fn url_of(&self, database: &str) -> String {
        url(self.port, database)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Why its user can have no [`PostgresOptions::small_disk`] on this machine; `None` where it can.
    pub fn small_disk_refusal() -> Option<String> {
        match place::server_user() {
            Ok(user) => SmallDisk::refusal_of(user),
            Err(error) => Some(describe(&error)),
        }
    }

    /// With [`PostgresOptions::small_disk`].
    pub fn small_disk(&self) -> Option<&SmallDisk> {
        self.small_disk.as_ref()
    }

    /// Makes an empty database; its URL. `name` is of lower-case letters, digits and `_`.
    pub async fn create_database(&self, name: &str) -> Result<String, RegtestError> {
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') || name.is_empty()
        {
            return Err(RegtestError::Invalid { field: "name of the database", reason: name.to_owned() });
        }
        self.psql("postgres", &format!("CREATE DATABASE \"{name}\"")).await?;
        Ok(self.url_of(name))
    }

    /// Runs `sql` in `database` as the owner; the rows, one to a line, columns separated by `|`.
    pub async fn psql(&self, database: &str, sql: &str) -> Result<String, RegtestError> {
        psql(&self.programs, self.port, database, sql).await
    }

    /// Lets a standby be written; returns when it can.
    pub async fn promote(&self) -> Result<(), RegtestError> {
        match self.psql("postgres", "SELECT pg_promote()").await?.as_str() {
            "t" => Ok(()),
            other => Err(RegtestError::Invalid { field: "pg_promote", reason: other.to_owned() }),
        }
    }

    /// Asks the server to end in order, closing the connections of its clients.
    pub async fn stop(self) -> Result<ExitStatus, RegtestError> {
        // SIGTERM would wait for the clients to go first.
        self.process.interrupt()?;
        self.process.wait(STOP_WITHIN).await
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}")
}

async fn initdb(programs: &Path, place: &Place, log: &Path) -> Result<(), RegtestError> {
    let password = place.data.with_file_name("initdb.password");
    std::fs::write(&password, PASSWORD).map_err(RegtestError::io("could not write", &password))?;
    // The server's user reads it; the password is public.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&password, mode).map_err(RegtestError::io("could not open up", &password))?;
    let mut command = Command::new(programs.join("initdb"));
    command
        .args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"])
        .args(["--no-sync", "--no-instructions"])
        .arg("--pwfile")
        .arg(&password)
        .arg("--pgdata")
        .arg(&place.data)
        .current_dir(&place.data);
    let process = Process::spawn_as("initdb", command, log, place.run_as)?;
    let tail = |process: &Process| (log.to_owned(), process.log_tail());
    let mut process = process;
    let status = eventually(INITDB_WITHIN, LOOK, "initdb to end", || {
        let state = process.exited();
        async move { state.ok_or("still running") }
    })
    .await?;
    let _ = std::fs::remove_file(&password);
    if status.success() {
        return Ok(());
    }
    let (log, tail) = tail(&process);
    Err(RegtestError::Exited { name: "initdb".to_owned(), status: status.to_string(), log, tail })
}

fn serving(programs: &Path, place: &Place, port: u16, options: &PostgresOptions) -> Command {
    let mut command = Command::new(programs.join("postgres"));
    command.arg("-D").arg(&place.data).args(["-p", &port.to_string()]).current_dir(&place.data);
    let fsync = if options.fsync { "on" } else { "off" };
    let own = [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("fsync", fsync),
        ("max_connections", "200"),
        ("shared_buffers", "32MB"),
        ("max_wal_size", "256MB"),
        ("log_timezone", "UTC"),
    ];
    let further = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.into_iter().chain(further) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    command
}

async fn psql(programs: &Path, port: u16, database: &str, sql: &str) -> Result<String, RegtestError> {
    let output = tokio::process::Command::new(programs.join("psql"))
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--no-password"])
        .args(["--set", "ON_ERROR_STOP=1", "--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["--username", USER, "--dbname", database, "--command", sql])
        .env("PGPASSWORD", PASSWORD)
        .env("PGCONNECT_TIMEOUT", "10")
        .env_remove("PGOPTIONS")
        .env_remove("PGSERVICE")
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| RegtestError::Spawn { name: "psql".to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    Err(RegtestError::Refused {
        method: "psql".to_owned(),
        code: output.status.code().map_or(-1, i64::from),
        message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// One cluster through its whole life: what was committed is there after SIGKILL and after an orderly end.
    #[tokio::test]
    async fn a_cluster_survives_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        // Run by root, the server's user cannot get in here.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        let mut server = Postgres::start(PostgresOptions::new(folder.path())).await.unwrap();
        let (port, pid) = (server.port(), server.process().pid());
        let url = server.create_database("other").await.unwrap();
        assert_eq!(url, format!("postgres://bursar:regtest-only@127.0.0.1:{port}/other"));
        server.psql("other", "CREATE TABLE t (x BIGINT); INSERT INTO t VALUES (7)").await.unwrap();
        let refused = server.psql("other", "SELECT nonsense").await.unwrap_err();
        assert!(refused.to_string().contains("nonsense"), "{refused}");
        assert!(server.create_database("x; --").await.is_err());
        let owner = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
        assert_ne!(owner, 0, "never as root");

        server.process().kill9().unwrap();
        assert!(server.psql("other", "SELECT x FROM t").await.is_err());
        drop(server);
        let server = Postgres::start(PostgresOptions::new(folder.path()).with_port(port)).await.unwrap();
        assert_eq!(server.psql("other", "SELECT x FROM t").await.unwrap(), "7");
        assert_eq!(server.psql("bursar", "SHOW fsync").await.unwrap(), "on");
        assert!(server.stop().await.unwrap().success());
        let options =
            PostgresOptions::new(folder.path()).without_fsync().with_setting("max_connections", "20");
        let server = Postgres::start(options).await.unwrap();
        assert_eq!(server.psql("other", "SHOW max_connections").await.unwrap(), "20");
        assert_eq!(server.psql("other", "SELECT x FROM t").await.unwrap(), "7");
    }
}
