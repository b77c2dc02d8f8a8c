//! The published views, as anybody may read them.
//!
//! Every function is meant for a connection that is bound to an organization; the views show no other. The columns come
//! from the database's own comments, which are the data dictionary.

use carelog_domain::access::AnalyticsView;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Rows of an answer, at most. The dimensions of a clinic have fewer values by far.
pub const MAX_ROWS: i64 = 5_000;

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

/// How new the figures of an organization are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Freshness {
    /// When the newest event that was applied was written to the log.
    pub newest_event_at: OffsetDateTime,
    /// How long ago that was.
    pub age_seconds: f64,
    /// Groups of fewer patients are not shown.
    pub small_cell_threshold: i32,
}

/// Which cells of a view are wanted; everything that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellFilter {
    /// Of this dimension.
    pub dimension: Option<String>,
    /// With this value.
    pub value: Option<String>,
}

/// The dimensions of a view.
pub const fn dimensions(view: AnalyticsView) -> &'static [&'static str] {
    match view {
        AnalyticsView::AppointmentPatterns => &["clinic", "weekday", "lead_time", "reminder"],
        AnalyticsView::ClinicUtilisation => &["clinic", "month"],
        AnalyticsView::ExerciseCompletion => &["programme_week"],
        AnalyticsView::ExerciseStreaks => &["longest_streak"],
        AnalyticsView::FormTurnaround => &["clinic", "template"],
    }
}

/// Selects cells as JSON objects whose properties stand in the order of the columns.
macro_rules! select_cells {
    ($connection:ident, $filter:ident, $view:literal) => {
        sqlx::query_scalar!(
            r#"select row_to_json(v)::text as "row!" from "#
                + $view
                + " v
            where ($1::text is null or v.dimension = $1) and ($2::text is null or v.value = $2)
            order by v.dimension, v.value
            limit $3",
            $filter.dimension as _,
            $filter.value as _,
            MAX_ROWS
        )
        .fetch_all($connection)
        .await
    };
}

/// Cells of a view, each a JSON object.
///
/// # Errors
/// When the database fails.
pub fn cells(
    connection: &mut PgConnection,
    view: AnalyticsView,
    filter: CellFilter,
) -> BoxFuture<'_, Result<Vec<String>, sqlx::Error>> {
    Box::pin(async move {
        match view {
            AnalyticsView::AppointmentPatterns => {
                select_cells!(connection, filter, "analytics.appointment_patterns")
            }
            AnalyticsView::ClinicUtilisation => {
                select_cells!(connection, filter, "analytics.clinic_utilisation")
            }
            AnalyticsView::ExerciseCompletion => {
                select_cells!(connection, filter, "analytics.exercise_completion")
            }
            AnalyticsView::ExerciseStreaks => select_cells!(connection, filter, "analytics.exercise_streaks"),
            AnalyticsView::FormTurnaround => select_cells!(connection, filter, "analytics.form_turnaround"),
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
            where n.nspname = 'analytics' and c.relname = $1
            "#,
            view.as_str()
        )
        .fetch_one(connection)
        .await
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
            where n.nspname = 'analytics' and c.relname = $1
            order by a.attnum
            "#,
            view.as_str()
        )
        .fetch_all(connection)
        .await
    })
}

/// How new the figures are; nothing before the first event was applied.
///
/// # Errors
/// When the database fails.
pub fn freshness(connection: &mut PgConnection) -> BoxFuture<'_, Result<Option<Freshness>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            Freshness,
            r#"
            select newest_event_at as "newest_event_at!", age_seconds as "age_seconds!",
                small_cell_threshold as "small_cell_threshold!"
            from analytics.freshness
            "#
        )
        .fetch_optional(connection)
        .await
    })
}
