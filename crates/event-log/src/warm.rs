//! Connections for work that comes in short, frequent pieces.
//!
//! A session that was used just now has its plans, its catalogue and the pages it touches at hand; one that rested runs
//! the same statement several times slower. sqlx's pool hands out the connection that rested longest, so that a
//! trickle of work would go round all of them. Here the one used last comes first: a trickle keeps to one session,
//! and only a burst opens more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, PgPool, Postgres};

/// A connection that rested longer is closed: what lies between may have forgotten it.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// Connections of a pool, the one that was used last first. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WarmConnections {
    pool: PgPool,
    /// Where unqualified names are looked for first.
    schema: &'static str,
    resting: Arc<Mutex<Vec<Resting>>>,
}

#[derive(Debug)]
struct Resting {
    connection: PoolConnection<Postgres>,
    since: Instant,
}

impl WarmConnections {
    /// Connections on which unqualified names mean the tables of `schema`.
    pub(crate) fn new(pool: PgPool, schema: &'static str) -> Self {
        Self { pool, schema, resting: Arc::default() }
    }

    /// A connection that is nobody else's until it is put back. Dropped instead, it is closed: whoever failed, or was
    /// cut off, may have left a transaction open that sqlx knows nothing of.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        while let Some(Resting { connection, since }) = self.take_warmest() {
            if since.elapsed() < LONGEST_REST {
                return Ok(connection);
            }
        }
        let mut connection = self.pool.acquire().await?;
        connection.close_on_drop();
        let statement = format!("set search_path to {}, public", self.schema);
        connection.execute(AssertSqlSafe(statement)).await?;
        Ok(connection)
    }

    /// Keeps a connection that has done its work.
    pub(crate) fn put_back(&self, connection: PoolConnection<Postgres>) {
        self.resting().push(Resting { connection, since: Instant::now() });
    }

    /// Closes those that rest, after the database failed: what broke one has most likely broken all.
    pub(crate) fn close_resting(&self) {
        let resting = std::mem::take(&mut *self.resting());
        drop(resting);
    }

    fn take_warmest(&self) -> Option<Resting> {
        self.resting().pop()
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Resting>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
