//! Connections that only read.
//!
//! sqlx's pool asks a connection whether it lives each time that it is taken and given back. To a server that is worth it. With a file
//! there is nobody to be away, and each question costs two changes of thread, as much as most queries themselves.

use crate::dialect::{Access, Dialect};
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, any::AnyConnectOptions, pool::PoolConnection};
use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

const DIALECT: Dialect = Dialect::Sqlite;

pub(crate) enum Readers {
    Server(AnyPool),
    File(Arc<Files>),
}

/// Opened as they are needed, and kept.
pub(crate) struct Files {
    options: AnyConnectOptions,
    idle: Mutex<Vec<AnyConnection>>,
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
        // The last that was used: its pages are in its cache.
        let idle = files.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => files.connect().await?,
        };
        Ok(FileReader { connection: Some(connection), files: Arc::clone(files), _place: place })
    }

    async fn connect(&self) -> sqlx::Result<AnyConnection> {
        let mut connection = AnyConnection::connect_with(&self.options).await?;
        for statement in DIALECT.on_connect(Access::Read) {
            sqlx::query(*statement).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    /// The list is whole after each use, so that a poisoned lock does not matter.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<AnyConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reader that was cancelled left running ends on its own thread, before whatever comes next on the connection.
impl Drop for FileReader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.files.idle().push(connection);
        }
    }
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
