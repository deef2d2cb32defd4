//! Connections that only read.
//!
//! sqlx's pool asks a connection whether it lives each time that it is taken and given back. To a server that is worth it. With a file
//! there is nobody to be away, and each question costs two changes of thread, as much as most queries themselves.

use crate::dialect::{Access, Dialect};
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, any::AnyConnectOptions, pool::PoolConnection};
use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    ops::{Deref, DerefMut},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

const DIALECT: Dialect = Dialect::Sqlite;

pub(crate) enum Readers {
    Server(AnyPool),
    File(Arc<Files>),
}

/// Opened as they are needed, and kept.
pub(crate) struct Files {
    options: AnyConnectOptions,
    /// Taken from the back.
    idle: Mutex<VecDeque<AnyConnection>>,
    places: Arc<Semaphore>,
}

/// A connection that is given back when it is dropped.
pub(crate) enum Reader {
    Server(PoolConnection<Any>),
    File(FileReader),
}

pub(crate) struct FileReader {
    /// Taken out only by `drop`.
    connection: Option<AnyConnection>,
    taken: Instant,
    files: Arc<Files>,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    pub fn file(options: AnyConnectOptions) -> Self {
        let places = Arc::new(Semaphore::new(DIALECT.connections(Access::Read) as usize));
        Self::File(Arc::new(Files { options, idle: Mutex::default(), places }))
    }

    pub async fn acquire(&self) -> sqlx::Result<Reader> {
        match self {
            Self::Server(pool) => pool.acquire().await.map(Reader::Server),
            Self::File(files) => Files::acquire(files).await.map(Reader::File),
        }
    }
}

impl Files {
    async fn acquire(files: &Arc<Self>) -> sqlx::Result<FileReader> {
        let waiting = timeout(DIALECT.connected_within(), Arc::clone(&files.places).acquire_owned());
        let place = waiting.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let place = place.expect("the semaphore is never closed");
        let connection = match files.next_idle().await {
            Some(connection) => connection,
            None => files.connect().await?,
        };
        let (connection, files) = (Some(connection), Arc::clone(files));
        Ok(FileReader { connection, taken: Instant::now(), files, _place: place })
    }

    /// The last that was used: its pages are in its cache. Those whose thread has ended are left out.
    async fn next_idle(&self) -> Option<AnyConnection> {
        loop {
            let mut connection = self.idle().pop_back()?;
            if !has_died(&mut connection).await {
                return Some(connection);
            }
            tracing::warn!("a thread that reads the database has ended; another takes its place");
        }
    }

    async fn connect(&self) -> sqlx::Result<AnyConnection> {
        let mut connection = AnyConnection::connect_with(&self.options).await?;
        for statement in DIALECT.on_connect(Access::Read) {
            sqlx::query(*statement).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    /// The list is whole after each use, so that a poisoned lock does not matter.
    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<AnyConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reader that was cancelled left running ends on its own thread, before whatever comes next on the connection. So one that was
/// held for long, and may be busy with that, comes last. (To ask it would cost as much as most queries, see above.)
impl Drop for FileReader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut idle = self.files.idle();
            match self.taken.elapsed() > SHORT {
                true => idle.push_front(connection),
                false => idle.push_back(connection),
            }
        }
    }
}

/// What most reads stay below by far.
const SHORT: Duration = Duration::from_millis(20);

/// Whether its thread has ended. It is asked, but its answer is not waited for: a question that nobody is there to take fails at once.
async fn has_died(connection: &mut AnyConnection) -> bool {
    let mut ping = pin!(connection.ping());
    poll_fn(|cx| Poll::Ready(matches!(ping.as_mut().poll(cx), Poll::Ready(Err(_))))).await
}

const TAKEN: &str = "only drop takes the connection out";

impl Deref for Reader {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Server(connection) => connection,
            Self::File(reader) => reader.connection.as_ref().expect(TAKEN),
        }
    }
}
impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Server(connection) => connection,
            Self::File(reader) => reader.connection.as_mut().expect(TAKEN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts for about a second.
    const SLOW: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT count(*) FROM n";

    #[tokio::test]
    async fn connection_of_a_cancelled_slow_read_is_given_out_last() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("a.db").display());
        sqlx::any::install_default_drivers();
        let readers = Readers::file(url.parse().unwrap());
        let Readers::File(files) = &readers else { panic!("these are of a file") };
        // Two, both idle; that which was used last would be next.
        let (mut slow, other) = (readers.acquire().await.unwrap(), readers.acquire().await.unwrap());
        drop(other);
        let read = timeout(4 * SHORT, sqlx::query(SLOW).fetch_all(&mut *slow)).await;
        assert!(read.is_err(), "it is cancelled while it counts");
        drop(slow);
        assert_eq!(files.idle().len(), 2);
        let mut busy = files.idle().pop_front().unwrap();
        let mut next = readers.acquire().await.unwrap();
        assert!(files.idle().is_empty(), "the other one was taken");
        sqlx::query("SELECT 1").execute(&mut *next).await.unwrap();
        // It ends what it does, and is as good as before.
        assert!(!has_died(&mut busy).await);
        sqlx::query("SELECT 1").execute(&mut busy).await.unwrap();
    }
}
