//! The line to a Postgres server, on which no answer is waited for without end.
//!
//! The driver waits for an answer for as long as its socket is open, and a machine that vanishes (power, network, a fail-over to another
//! address) closes nothing: whoever waited for it would wait for ever, with a place among the writers. So the connections of the pools
//! go through this process itself: by a socket in a private folder to a task here, which carries the bytes to the server and back, and
//! hangs up on both sides when an answer is overdue. It does not look at the bytes: TLS goes through it, and is verified against the
//! server's name as it would be without.
//!
//! To the driver such a connection is lost, with what follows from that always: a statement has failed, and what was being
//! committed is **in doubt**. It may have been committed, or be committed yet; nobody here may take it for undone. The server keeps the turn
//! for such a transaction until it has ended one way or the other, so that the next writer sees what became of it.
//!
//! The server's own limits come first, and say more ([`crate::dialect`]): what is still waited for after [`ANSWERS_WITHIN`] has no server,
//! or one that stands still. An answer that has begun is not timed: of a server that stands still within one, keep-alives tell nothing.

use crate::error::StoreError;
use socket2::{SockRef, TcpKeepalive};
use sqlx::postgres::PgConnectOptions;
use std::{future::pending, io, path::Path, str::FromStr, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Longer than any statement of the pools may take, by the server's `statement_timeout` (30 s).
pub(crate) const ANSWERS_WITHIN: Duration = Duration::from_secs(45);
/// As long as a pool waits for a connection.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
const BUFFER: usize = 16 * 1024;

/// The near end of the line, until it is dropped.
pub(crate) struct Line {
    url: String,
    accepting: AbortHandle,
    /// Only its owner may enter.
    _folder: TempDir,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The server, as the driver would reach it.
struct Far {
    host: String,
    port: u16,
    answers_within: Duration,
}

impl Line {
    /// A line to the server of `url`; `None` where that is on this machine, by a socket of its own. Call it from within the runtime.
    pub fn open(url: &str, answers_within: Duration) -> Result<Option<Self>, StoreError> {
        let options =
            PgConnectOptions::from_str(url).map_err(|error| StoreError::Url { reason: error.to_string() })?;
        let (host, port) = (options.get_host(), options.get_port());
        if options.get_socket().is_some() || host.starts_with('/') {
            return Ok(None);
        }
        let host = host.trim_matches(&['[', ']'][..]).to_owned();
        let folder = tempfile::Builder::new().prefix("bursar-").tempdir();
        let folder = folder.map_err(|source| StoreError::File {
            path: "a folder for its sockets ($TMPDIR, else /tmp)".into(),
            source,
        })?;
        // The name that the driver gives it.
        let socket = folder.path().join(format!(".s.PGSQL.{port}"));
        let listener = UnixListener::bind(&socket)
            .map_err(|source| StoreError::File { path: socket.display().to_string(), source })?;
        let far = Arc::new(Far { host, port, answers_within });
        let accepting = tokio::spawn(accept(listener, far)).abort_handle();
        let separator = if url.contains('?') { '&' } else { '?' };
        // The last one counts; the server's name stays what its certificate must have.
        let url = format!("{url}{separator}host={}", escaped(folder.path()));
        Ok(Some(Self { url, accepting, _folder: folder }))
    }

    /// By which the driver uses it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// A path within a URL.
pub(crate) fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => text.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => text.push(char::from(*b)),
            b => text.push_str(&format!("%{b:02X}")),
        }
    }
    text
}

async fn accept(listener: UnixListener, far: Arc<Far>) {
    loop {
        match listener.accept().await {
            Ok((near, _)) => {
                tokio::spawn(carry(near, Arc::clone(&far)));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the database cannot be begun; trying again");
                sleep(BETWEEN_TRIES).await;
            }
        }
    }
}

/// Until one of both sides ends it, or an answer is overdue. Dropping the sockets closes them.
async fn carry(near: UnixStream, far: Arc<Far>) {
    let ended = match timeout(CONNECTS_WITHIN, far.connect()).await {
        Ok(Ok(server)) => bytes(near, server, far.answers_within).await,
        Ok(Err(error)) => {
            tracing::warn!(host = far.host, %error, "the database cannot be reached");
            Err(error)
        }
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match ended {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            tracing::warn!(host = far.host, "the database does not answer; a connection to it is given up");
        }
        Err(error) => tracing::debug!(host = far.host, %error, "a connection to the database has ended"),
    }
}

impl Far {
    /// A server that refuses is assumed to start up, as the driver does.
    async fn connect(&self) -> io::Result<TcpStream> {
        let server = loop {
            match TcpStream::connect((self.host.as_str(), self.port)).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => sleep(BETWEEN_TRIES).await,
                connected => break connected?,
            }
        };
        server.set_nodelay(true)?;
        // For a server that vanishes in the middle of an answer, and while nothing is asked.
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        SockRef::from(&server).set_tcp_keepalive(&keepalive)?;
        Ok(server)
    }
}

/// Carries bytes both ways.
async fn bytes(near: UnixStream, server: TcpStream, answers_within: Duration) -> io::Result<()> {
    let ((mut from_near, mut to_near), (mut from_server, mut to_server)) =
        (near.into_split(), server.into_split());
    // Since when an answer is waited for.
    let asked = watch::Sender::new(None::<Instant>);
    let waiting = asked.subscribe();
    let there = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from_near.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            asked.send_if_modified(|since| {
                let first = since.is_none();
                since.get_or_insert_with(Instant::now);
                first
            });
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let back = async {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            asked.send_if_modified(|since| since.take().is_some());
            to_near.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
        () = overdue(waiting, answers_within) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Ends when an answer has been waited for so long.
async fn overdue(mut waiting: watch::Receiver<Option<Instant>>, answers_within: Duration) {
    loop {
        let since = *waiting.borrow_and_update();
        let late = async {
            match since {
                Some(since) => sleep_until(since + answers_within).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = late => return,
            // Its other end is beside this one, and ends with it.
            changed = waiting.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_for_servers_elsewhere_and_keeps_what_the_url_says() {
        let open = |url: &str| Line::open(url, ANSWERS_WITHIN).unwrap();
        for own in ["postgres://u:p@%2Fvar%2Frun/db", "postgres://u:p@h/db?host=/var/run"] {
            assert!(open(own).is_none(), "{own}");
        }
        for (url, host) in [
            ("postgres://u:p@db.example.org:5433/db?sslmode=verify-full", "db.example.org"),
            ("postgres://u:p@127.0.0.1:5433/db", "127.0.0.1"),
        ] {
            let line = open(url).unwrap();
            let by_line = PgConnectOptions::from_str(line.url()).unwrap();
            let socket = by_line.get_socket().unwrap();
            assert!(socket.join(".s.PGSQL.5433").exists(), "{socket:?}");
            assert_eq!(
                (by_line.get_host(), by_line.get_port()),
                (host, 5433),
                "what a certificate is held against"
            );
            let folder = socket.clone();
            drop(line);
            assert!(!folder.exists());
        }
    }
}
