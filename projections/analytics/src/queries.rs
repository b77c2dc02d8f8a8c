//! The published views, as anybody may read them.
//!
//! Every function is meant for a connection that is bound to an organization; the tables show no other. The columns come
//! from the database's own comments, which are the data dictionary.

use carelog_domain::OrganizationId;
use carelog_domain::access::{
    AccessAnalyticsQueried, AnalyticsDimension, AnalyticsFormat, AnalyticsView, CellValue, YearMonth,
};
use futures::future::BoxFuture;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use time::OffsetDateTime;

/// Rows of an answer, at most. The dimensions of a clinic have fewer values by far, unless it makes a template for each
/// form.
pub const MAX_ROWS: usize = 5_000;
/// One more, which says that there are too many.
const LIMIT: i64 = 5_001;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum FiguresError {
    /// More than are handed out at once; what is cut off would not show.
    #[error(
        "the view {0} has more than {MAX_ROWS} cells; ask for one dimension, some values or a range of months"
    )]
    TooMany(AnalyticsView),
    /// The database failed.
    #[error("the database of analytics failed")]
    Database(#[from] sqlx::Error),
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type in SQL.
    pub sql_type: String,
    /// Unit, definition and class.
    pub description: String,
}

/// A table of analytics, with what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// What a row is.
    pub description: String,
    /// Whether analysts read it. The others are what figures are made from.
    pub is_published: bool,
    /// The columns, in their order.
    pub columns: Vec<Column>,
}

/// From when the figures of an organization are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// When they were made, cut to the minute.
    pub published_at: OffsetDateTime,
    /// Figures about fewer patients are not shown.
    pub small_cell_threshold: i32,
    /// When the newest event that they hold was written to the log, cut to the hour; nothing where that was not noted.
    pub newest_event_at: Option<OffsetDateTime>,
}

/// Cells of a view, with what they mean.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// The view.
    pub view: AnalyticsView,
    /// From when they are; nothing before the first publication.
    pub freshness: Option<Freshness>,
    /// The columns, in their order.
    pub columns: Vec<Column>,
    /// The cells: JSON objects with a property for each column; what is withheld is null.
    pub rows: Vec<Value>,
}

impl Figures {
    /// What is to be written to the log before they are handed out in a form.
    pub fn account(&self, filter: CellFilter, format: AnalyticsFormat) -> AccessAnalyticsQueried {
        let is_withheld = |row: &&Value| row.get("is_suppressed").and_then(Value::as_bool).unwrap_or(false);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        AccessAnalyticsQueried {
            view: self.view,
            format,
            dimension: filter.dimension,
            values: filter.values,
            from: filter.from,
            until: filter.until,
            cell_count: number(self.rows.len()),
            withheld_count: number(self.rows.iter().filter(is_withheld).count()),
            link_id: None,
        }
    }
}

/// Which cells of a view are wanted; everything that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellFilter {
    /// Of this dimension.
    pub dimension: Option<AnalyticsDimension>,
    /// With one of these values; with any where there is none.
    pub values: Vec<CellValue>,
    /// Of this month or a later one.
    pub from: Option<YearMonth>,
    /// Of this month or an earlier one.
    pub until: Option<YearMonth>,
}

/// Selects cells as JSON objects whose properties stand in the order of the columns. Months are compared as texts, which
/// are as long as each other.
macro_rules! select_cells {
    ($connection:ident, $filter:ident, $table:literal) => {
        sqlx::query_scalar!(
            r#"select row_to_json(v)::text as "row!" from "#
                + $table
                + " v
            where ($1::text is null or v.dimension = $1)
                and (cardinality($2::text[]) = 0 or v.value = any($2))
                and ($3::text is null or v.value >= $3) and ($4::text is null or v.value <= $4)
            order by v.dimension, v.value
            limit $5",
            $filter.dimension.map(AnalyticsDimension::as_str) as _,
            &$filter.values.iter().map(CellValue::to_string).collect::<Vec<_>>(),
            $filter.from.map(|month| month.to_string()) as _,
            $filter.until.map(|month| month.to_string()) as _,
            LIMIT
        )
        .fetch_all($connection)
        .await
    };
}

/// Begins to read the figures of an organization, all of them as they are at one moment.
///
/// # Errors
/// When the database fails.
pub fn begin(
    pool: &PgPool,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Transaction<'static, Postgres>, sqlx::Error>> {
    // A UUID's text needs no quoting.
    let begin = format!(
        "begin isolation level repeatable read read only; set local carelog.organization_id = '{organization_id}'"
    );
    Box::pin(async move { pool.begin_with(AssertSqlSafe(begin)).await })
}

/// Cells of a view, with what they mean.
///
/// # Errors
/// When there are too many, or the database fails.
pub fn figures(
    connection: &mut PgConnection,
    view: AnalyticsView,
    filter: CellFilter,
) -> BoxFuture<'_, Result<Figures, FiguresError>> {
    Box::pin(async move {
        let freshness = freshness(connection, view).await?;
        let columns = columns(connection, view).await?;
        let rows = cells(connection, view, filter).await?;
        if rows.len() > MAX_ROWS {
            return Err(FiguresError::TooMany(view));
        }
        let rows = rows.iter().map(|row| serde_json::from_str(row)).collect::<Result<_, _>>();
        let rows = rows.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok(Figures { view, freshness, columns, rows })
    })
}

/// Cells of a view, each a JSON object.
fn cells(
    connection: &mut PgConnection,
    view: AnalyticsView,
    filter: CellFilter,
) -> BoxFuture<'_, Result<Vec<String>, sqlx::Error>> {
    Box::pin(async move {
        match view {
            AnalyticsView::AppointmentPatterns => {
                select_cells!(connection, filter, "published.appointment_patterns")
            }
            AnalyticsView::ClinicUtilisation => {
                select_cells!(connection, filter, "published.clinic_utilisation")
            }
            AnalyticsView::ExerciseCompletion => {
                select_cells!(connection, filter, "published.exercise_completion")
            }
            AnalyticsView::ExerciseStreaks => select_cells!(connection, filter, "published.exercise_streaks"),
            AnalyticsView::FormTurnaround => select_cells!(connection, filter, "published.form_turnaround"),
            AnalyticsView::VideoQuality => select_cells!(connection, filter, "published.video_quality"),
            AnalyticsView::VideoSessions => select_cells!(connection, filter, "published.video_sessions"),
        }
    })
}

/// What a view shows, in words.
///
/// # Errors
/// When the database fails.
pub fn description(
    connection: &mut PgConnection,
    view: AnalyticsView,
) -> BoxFuture<'_, Result<String, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            r#"
            select coalesce(obj_description(c.oid, 'pg_class'), '') as "description!"
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = 'published' and c.relname = $1
            "#,
            view.as_str()
        )
        .fetch_one(connection)
        .await
    })
}

/// Every table that analysts read, and every table of facts, each of them in the order of names.
///
/// # Errors
/// When the database fails.
pub fn dictionary(connection: &mut PgConnection) -> BoxFuture<'_, Result<Vec<Table>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            r#"
            select n.nspname = 'published' as "is_published!", c.relname::text as "table_name!",
                coalesce(obj_description(c.oid, 'pg_class'), '') as "table_description!",
                a.attname::text as "name!", format_type(a.atttypid, a.atttypmod) as "sql_type!",
                coalesce(col_description(c.oid, a.attnum), '') as "description!"
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where c.relkind = 'r'
                and (n.nspname = 'analytics'
                    or n.nspname = 'published' and has_table_privilege('carelog_analyst', c.oid, 'select'))
            order by n.nspname = 'analytics', c.relname, a.attnum
            "#
        )
        .fetch_all(connection)
        .await?;
        let mut tables: Vec<Table> = Vec::new();
        for row in rows {
            let column = Column { name: row.name, sql_type: row.sql_type, description: row.description };
            match tables.last_mut() {
                Some(table) if table.name == row.table_name && table.is_published == row.is_published => {
                    table.columns.push(column);
                }
                _ => tables.push(Table {
                    name: row.table_name,
                    description: row.table_description,
                    is_published: row.is_published,
                    columns: vec![column],
                }),
            }
        }
        Ok(tables)
    })
}

/// The columns of a view, in their order.
///
/// # Errors
/// When the database fails.
pub fn columns(
    connection: &mut PgConnection,
    view: AnalyticsView,
) -> BoxFuture<'_, Result<Vec<Column>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            Column,
            r#"
            select a.attname::text as "name!", format_type(a.atttypid, a.atttypmod) as "sql_type!",
                coalesce(col_description(c.oid, a.attnum), '') as "description!"
            from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where n.nspname = 'published' and c.relname = $1
            order by a.attnum
            "#,
            view.as_str()
        )
        .fetch_all(connection)
        .await
    })
}

/// From when the figures of a view are; nothing before the first publication.
///
/// # Errors
/// When the database fails.
pub fn freshness(
    connection: &mut PgConnection,
    view: AnalyticsView,
) -> BoxFuture<'_, Result<Option<Freshness>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            Freshness,
            r#"
            select published_at, small_cell_threshold, newest_event_at
            from published.freshness
            where view = $1
            "#,
            view.as_str()
        )
        .fetch_optional(connection)
        .await
    })
}
