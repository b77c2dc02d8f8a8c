//! Transactions of projectors.

use super::checkpoint::Advance;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Transaction};

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durable {
    /// The disk.
    Yes,
    /// Nothing: a crash may take the newest pages away, with their checkpoints, and then they are applied again.
    Later,
}

/// Begins a transaction in which unqualified names mean the tables of `schema`.
pub(super) async fn begin<'c>(
    connection: &'c mut PgConnection,
    schema: &str,
    durable: Durable,
) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
    // The name is a constant of a projection or made from one and a number.
    let statement = format!("{}; set local search_path to {schema}, public", opening(durable));
    connection.begin_with(AssertSqlSafe(statement)).await
}

/// Begins a transaction, and moves a checkpoint first of all: a lost lease costs no work, and rebuilds and retries, which hold its
/// row too, never wait for rows of a unit that waits for them. A connection on which this failed, or was cut off, must
/// be closed: the transaction may be open, with the checkpoint moved.
pub(super) async fn begin_step<'c>(
    connection: &'c mut PgConnection,
    durable: Durable,
    step: &Advance<'_>,
) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
    let statement = format!("{}; {}", opening(durable), step.statement());
    connection.begin_with(AssertSqlSafe(statement)).await
}

const fn opening(durable: Durable) -> &'static str {
    match durable {
        Durable::Yes => "begin",
        Durable::Later => "begin; set local synchronous_commit to off",
    }
}
