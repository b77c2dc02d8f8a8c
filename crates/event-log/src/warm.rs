//! Connections for work that comes in short, frequent pieces.
//!
//! A session that was used just now has its plans, its catalogue and the pages it touches at hand; one that rested runs
//! the same statement several times slower. sqlx's pool hands out the connection that rested longest, so that a
//! trickle of work would go round all of them. Here the one used last comes first: a trickle keeps to one session,
//! and only a burst opens more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};

/// Connections of a pool, the one that was used last first. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WarmConnections {
    pool: PgPool,
    resting: Arc<Mutex<Vec<PoolConnection<Postgres>>>>,
}

impl WarmConnections {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, resting: Arc::default() }
    }

    /// A connection that is nobody else's until it is put back or dropped.
    pub(crate) async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        let warm = self.resting().pop();
        match warm {
            Some(connection) => Ok(connection),
            None => self.pool.acquire().await,
        }
    }

    /// Keeps a connection that has done its work.
    pub(crate) fn put_back(&self, connection: PoolConnection<Postgres>) {
        self.resting().push(connection);
    }

    /// Closes a connection that failed, and those that rest: what broke one has most likely broken all.
    pub(crate) fn discard(&self, mut connection: PoolConnection<Postgres>) {
        connection.close_on_drop();
        for mut resting in std::mem::take(&mut *self.resting()) {
            resting.close_on_drop();
        }
    }

    fn resting(&self) -> MutexGuard<'_, Vec<PoolConnection<Postgres>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
