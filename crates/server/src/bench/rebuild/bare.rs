//! The limit of a rebuild: finished rows, inserted while the log is scanned.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;
use carelog_event_log::runtime::Projector;
use carelog_event_log::{EventLog, Lane, Position, read};
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, Row, Type};

/// The schema of the copies.
pub(in crate::bench) const COPY: &str = "bare_copy";
/// Events of a page, as in a rebuild.
pub(in crate::bench) const PAGE: i64 = 5_000;

/// Rows of one table as PostgreSQL itself wrote them: a binary array of its row type.
#[derive(Debug)]
struct RowArray {
    table: &'static str,
    type_oid: Oid,
    bytes: Vec<u8>,
}

/// All rows of a projection, cut into as many portions as the log has pages.
#[derive(Debug)]
pub(in crate::bench) struct FinishedRows {
    portions: Mutex<VecDeque<Vec<RowArray>>>,
    heads: Vec<(Lane, Position)>,
}

impl Type<Postgres> for RowArray {
    fn type_info() -> PgTypeInfo {
        // Never asked for: each value says its own.
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for RowArray {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(self.type_oid))
    }
}

impl FinishedRows {
    /// Reads the live tables of a projection, in the order in which they were written.
    pub(in crate::bench) async fn of<P: Projector>(pool: &PgPool, log: &EventLog) -> anyhow::Result<Self> {
        let heads: Vec<(Lane, Position)> = log.lanes().map(|lane| (lane, *log.head(lane).borrow())).collect();
        let pages: i64 = heads.iter().map(|(_, head)| (head + PAGE - 1) / PAGE).sum();
        let pages = usize::try_from(pages)?;
        let mut portions: VecDeque<Vec<RowArray>> = (0..pages).map(|_| Vec::new()).collect();
        for table in P::SCHEMA.tables {
            let name = format!("{}.{table}", P::SCHEMA.name);
            let type_oid: Oid = sqlx::query_scalar(AssertSqlSafe(format!(
                "select typarray from pg_type where oid = (select reltype from pg_class where oid = '{name}'::regclass)"
            )))
            .fetch_one(pool)
            .await?;
            // A rebuild gives the row another type, so the text names it: a prepared statement would not follow.
            let version = type_oid.0;
            let statement = AssertSqlSafe(format!(
                "/* rows of type {version} */
                 select array_agg(row_of_table)
                 from (select t as row_of_table, ntile($1) over (order by t.ctid) as portion from {name} t) cut
                 group by portion
                 order by portion"
            ));
            let rows = sqlx::query(statement).bind(i32::try_from(pages)?).fetch_all(pool).await?;
            for (row, portion) in rows.iter().zip(&mut portions) {
                let bytes = row.try_get_raw(0)?.as_bytes().map_err(anyhow::Error::from_boxed)?.to_vec();
                portion.push(RowArray { table, type_oid, bytes });
            }
        }
        Ok(Self { portions: Mutex::new(portions), heads })
    }

    /// Scans every lane and inserts all rows; gives the seconds that it took.
    pub(super) async fn insert_while_scanning<P: Projector>(
        self,
        pool: &PgPool,
        log: &EventLog,
    ) -> anyhow::Result<f64> {
        let mut connection = empty_schema(pool).await?;
        let began = Instant::now();
        run_in_copy(&mut connection, P::SCHEMA.tables_sql()).await?;
        let lanes = self.heads.iter().map(|(lane, head)| self.scan_lane::<P>(pool, log, *lane, *head));
        futures::future::try_join_all(lanes).await?;
        run_in_copy(&mut connection, P::SCHEMA.indexes_sql()).await?;
        let seconds = began.elapsed().as_secs_f64();
        connection.close().await?;
        Ok(seconds)
    }

    /// Inserts all rows, with the indexes there from the beginning, by a connection for each lane; gives the seconds
    /// that it took.
    pub(in crate::bench) async fn insert_alone<P: Projector>(self, pool: &PgPool) -> anyhow::Result<f64> {
        make_copy::<P>(pool).await?;
        let began = Instant::now();
        let lanes = self.heads.iter().map(|_| self.insert_portions::<P>(pool));
        futures::future::try_join_all(lanes).await?;
        Ok(began.elapsed().as_secs_f64())
    }

    async fn insert_portions<P: Projector>(&self, pool: &PgPool) -> anyhow::Result<()> {
        let mut writer = PgConnection::connect_with(&pool.connect_options()).await?;
        while let Some(portion) = self.next_portion() {
            insert::<P>(&mut writer, &portion).await?;
        }
        writer.close().await?;
        Ok(())
    }

    fn next_portion(&self) -> Option<Vec<RowArray>> {
        self.portions.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    async fn scan_lane<P: Projector>(
        &self,
        pool: &PgPool,
        log: &EventLog,
        lane: Lane,
        head: Position,
    ) -> anyhow::Result<()> {
        let mut reader = log.pool().acquire().await?;
        let mut writer = PgConnection::connect_with(&pool.connect_options()).await?;
        let mut page = read::lane(&mut reader, lane, 0, PAGE.min(head)).await?;
        while let Some(reached) = page.last().map(|event| event.position) {
            let portion = self.next_portion().context("there is a portion for each page")?;
            let (written, fetched) = tokio::join!(
                insert::<P>(&mut writer, &portion),
                read::lane(&mut reader, lane, reached, PAGE.min(head - reached))
            );
            written?;
            page = fetched?;
        }
        writer.close().await?;
        Ok(())
    }
}

/// Makes the tables of a projection a second time, empty, with their indexes.
pub(in crate::bench) async fn make_copy<P: Projector>(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = empty_schema(pool).await?;
    run_in_copy(&mut connection, P::SCHEMA.tables_sql()).await?;
    run_in_copy(&mut connection, P::SCHEMA.indexes_sql()).await?;
    connection.close().await?;
    Ok(())
}

async fn empty_schema(pool: &PgPool) -> anyhow::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    let schema = format!("drop schema if exists {COPY} cascade; create schema {COPY}");
    connection.execute(sqlx::raw_sql(AssertSqlSafe(schema))).await?;
    Ok(connection)
}

pub(in crate::bench) async fn drop_copy(pool: &PgPool) -> anyhow::Result<()> {
    pool.execute(AssertSqlSafe(format!("drop schema {COPY} cascade"))).await?;
    Ok(())
}

async fn insert<P: Projector>(writer: &mut PgConnection, portion: &[RowArray]) -> anyhow::Result<()> {
    let mut tx = writer.begin().await?;
    tx.execute("set local synchronous_commit to off").await?;
    for rows in portion {
        // An array of the copy's own row type: the two have the same columns.
        let statement = format!(
            "insert into {COPY}.{table} select * from unnest($1::{live}.{table}[])",
            table = rows.table,
            live = P::SCHEMA.name
        );
        sqlx::query(AssertSqlSafe(statement)).bind(rows).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn run_in_copy(
    connection: &mut PgConnection,
    parts: impl Iterator<Item = &'static str>,
) -> anyhow::Result<()> {
    let statement = AssertSqlSafe(format!("begin; set local search_path to {COPY}, public"));
    let mut tx = connection.begin_with(statement).await?;
    for sql in parts {
        tx.execute(sqlx::raw_sql(sql)).await?;
    }
    tx.commit().await?;
    Ok(())
}
