//! The published views of analytics: figures without people.

pub(super) mod chart;
pub(super) mod embedding;
mod formats;
mod framed;
pub(super) mod table;

use std::sync::Arc;

use axum::response::Response;
use carelog_analytics::queries::{self, CellFilter, Figures, FiguresError};
use carelog_domain::Timestamp;
use carelog_domain::access::{AnalyticsDimension, AnalyticsFormat, AnalyticsView, CellValue, YearMonth};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{PathName, Query};
use super::caller::Caller;
use super::command::json;
use super::problem::Problem;
use super::{Api, access, schemas};

/// Values of a dimension that one query asks for, at most.
const MAX_VALUES: usize = 64;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(embedding::create))
}

/// Which cells are wanted, and how.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CellQuery {
    /// Of one dimension of the view.
    dimension: Option<String>,
    /// With one of these values of the dimension, separated by commas; at most 64.
    #[param(max_length = 2048)]
    value: Option<String>,
    /// Of this month or a later one, as in `2026-03`. For the dimension `month`, which is then the one that is meant.
    from: Option<String>,
    /// Of this month or an earlier one.
    until: Option<String>,
    /// Instead of the header `Accept`; `json` where both are absent.
    #[param(schema_with = schemas::analytics_format, required = false)]
    format: Option<AnalyticsFormat>,
}

/// Nothing to choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// The views that there are.
#[derive(Debug, Serialize, ToSchema)]
struct Dictionary {
    /// Each with its columns.
    items: Vec<ViewDescription>,
}

/// A view.
#[derive(Debug, Serialize, ToSchema)]
struct ViewDescription {
    /// Its name.
    #[schema(schema_with = schemas::analytics_view)]
    view: AnalyticsView,
    /// What it shows.
    description: String,
    /// By what; a cell is one value of one dimension.
    #[schema(schema_with = schemas::analytics_dimensions)]
    dimensions: &'static [AnalyticsDimension],
    /// What is told of each cell.
    columns: Vec<ColumnView>,
}

/// A column.
#[derive(Debug, Serialize, ToSchema)]
struct ColumnView {
    /// Its name.
    name: String,
    /// Its type in SQL.
    sql_type: String,
    /// Definition, unit and class.
    description: String,
}

/// Cells of a view.
#[derive(Debug, Serialize, ToSchema)]
struct Cells {
    /// The view.
    #[schema(schema_with = schemas::analytics_view)]
    view: AnalyticsView,
    /// When the figures were made, cut to the minute; nothing before the first publication. Later events are not in them.
    #[schema(value_type = Option<String>, format = DateTime)]
    published_at: Option<Timestamp>,
    /// When the newest event that they hold was written to the log, cut to the hour.
    #[schema(value_type = Option<String>, format = DateTime)]
    newest_event_at: Option<Timestamp>,
    /// Figures about fewer patients are withheld, and those from which they would follow.
    small_cell_threshold: Option<i32>,
    /// Objects with a property for each column; figures that are withheld are `null`.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
}

/// The views that there are, with what their columns mean.
#[utoipa::path(get, path = "/v1/analytics", tag = "analytics",
    responses((status = 200, description = "All of them.", body = Dictionary)))]
async fn list(caller: Caller, Query(NoQuery {}): Query<NoQuery>) -> Result<Response, Problem> {
    let mut tx = queries::begin(&caller.api.system.databases.analytics_app, caller.organization_id).await?;
    let mut items = Vec::new();
    for &view in AnalyticsView::ALL {
        let columns = queries::columns(&mut tx, view).await?;
        items.push(ViewDescription {
            view,
            description: queries::description(&mut tx, view).await?,
            dimensions: view.dimensions(),
            columns: columns
                .into_iter()
                .map(|queries::Column { name, sql_type, description }| ColumnView {
                    name,
                    sql_type,
                    description,
                })
                .collect(),
        });
    }
    tx.commit().await?;
    Ok(json(StatusCode::OK, &Dictionary { items }))
}

/// Cells of one view, in the form that `Accept` or `format` asks for. The query is written to the log before they are
/// shown.
#[utoipa::path(get, path = "/v1/analytics/{view}", tag = "analytics",
    params(("view" = String, Path), CellQuery),
    responses((status = 200, description = "Its cells.", content(
        (Cells = "application/json"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.parquet"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"), (String = "image/svg+xml"))),
        (status = 406, description = "In none of the forms that `Accept` names.")))]
async fn get(
    caller: Caller,
    PathName(view): PathName<AnalyticsView>,
    Query(query): Query<CellQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = query.format.map_or_else(|| formats::wanted(&headers), Ok)?;
    let filter = filter(view, &query)?;
    let mut tx = queries::begin(&caller.api.system.databases.analytics_app, caller.organization_id).await?;
    let figures = queries::figures(&mut tx, view, filter.clone()).await.map_err(refused)?;
    tx.commit().await?;
    let answer = formats::answer(&figures, format)?;
    access::record_analytics_query(&caller, figures.account(filter, format)).await?;
    Ok(answer)
}

fn refused(error: FiguresError) -> Problem {
    match error {
        FiguresError::TooMany(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_cells").detail(error.to_string())
        }
        FiguresError::Database(error) => error.into(),
    }
}

impl Cells {
    fn of(figures: &Figures) -> Result<Self, Problem> {
        let fresh = figures.freshness;
        let moment = |at: Option<OffsetDateTime>| {
            at.map(Timestamp::try_from).transpose().map_err(|error| Problem::internal(&error))
        };
        Ok(Self {
            view: figures.view,
            published_at: moment(fresh.map(|fresh| fresh.published_at))?,
            newest_event_at: moment(fresh.and_then(|fresh| fresh.newest_event_at))?,
            small_cell_threshold: fresh.map(|fresh| fresh.small_cell_threshold),
            items: figures.rows.clone(),
        })
    }
}

fn filter(view: AnalyticsView, query: &CellQuery) -> Result<CellFilter, Problem> {
    let known = view.dimensions();
    let (from, until) = (month("from", query.from.as_deref())?, month("until", query.until.as_deref())?);
    let dimension = match query.dimension.as_deref() {
        Some(name) => {
            let dimension = name.parse().ok().filter(|dimension| known.contains(dimension));
            Some(dimension.ok_or_else(|| {
                let known: Vec<&str> = known.iter().map(|dimension| dimension.as_str()).collect();
                Problem::invalid_query(format!("dimension: expected one of {}", known.join(", ")))
            })?)
        }
        None => from.or(until).map(|_| AnalyticsDimension::Month),
    };
    if from.or(until).is_some()
        && (dimension != Some(AnalyticsDimension::Month) || !known.contains(&AnalyticsDimension::Month))
    {
        return Err(Problem::invalid_query("from, until: only the dimension month has a range"));
    }
    if from.zip(until).is_some_and(|(from, until)| from > until) {
        return Err(Problem::invalid_query("from: expected a month that is not after until"));
    }
    let values = match query.value.as_deref() {
        None => Vec::new(),
        Some(text) => values(text, dimension)?,
    };
    Ok(CellFilter { dimension, values, from, until })
}

fn month(name: &'static str, text: Option<&str>) -> Result<Option<YearMonth>, Problem> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|_| Problem::invalid_query(format!("{name}: expected a month as in 2026-03")))
}

fn values(text: &str, dimension: Option<AnalyticsDimension>) -> Result<Vec<CellValue>, Problem> {
    let Some(dimension) = dimension else {
        return Err(Problem::invalid_query("value: expected together with a dimension"));
    };
    let mut values = Vec::new();
    for text in text.split(',') {
        let value = text.parse().ok().filter(|value| dimension.has(*value));
        values.push(value.ok_or_else(|| {
            Problem::invalid_query(format!("value: expected values of the dimension {dimension}"))
        })?);
        if values.len() > MAX_VALUES {
            return Err(Problem::invalid_query(format!("value: expected at most {MAX_VALUES}")));
        }
    }
    Ok(values)
}
