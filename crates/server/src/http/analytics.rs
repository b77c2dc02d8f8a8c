//! The published views of analytics: figures without people, as JSON and CSV.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use carelog_analytics::queries::{self, CellFilter};
use carelog_domain::Timestamp;
use carelog_domain::access::{
    AccessAnalyticsQueried, AnalyticsDimension, AnalyticsFormat, AnalyticsView, CellValue, YearMonth,
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{PathName, Query};
use super::caller::{Caller, read};
use super::command::json;
use super::problem::Problem;
use super::{Api, access, schemas};

/// Values of a dimension that one query asks for, at most.
const MAX_VALUES: usize = 64;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
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
    /// `json` or `csv`; `json` where it is absent.
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
    let mut tx = read(&caller.api.system.databases.analytics_app, caller.organization_id, None).await?;
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

/// Cells of one view. The query is written to the log before they are shown.
#[utoipa::path(get, path = "/v1/analytics/{view}", tag = "analytics",
    params(("view" = String, Path), CellQuery),
    responses((status = 200, description = "Its cells.", body = Cells)))]
async fn get(
    caller: Caller,
    PathName(view): PathName<AnalyticsView>,
    Query(query): Query<CellQuery>,
) -> Result<Response, Problem> {
    let format = query.format.unwrap_or(AnalyticsFormat::Json);
    let filter = filter(view, &query)?;
    let mut tx = read(&caller.api.system.databases.analytics_app, caller.organization_id, None).await?;
    let freshness = queries::freshness(&mut tx).await?;
    let columns = queries::columns(&mut tx, view).await?;
    let rows = queries::cells(&mut tx, view, filter.clone()).await?;
    tx.commit().await?;
    let items: Vec<Value> = rows
        .iter()
        .map(|row| serde_json::from_str(row))
        .collect::<Result<_, _>>()
        .map_err(|error| Problem::internal(&error))?;
    let is_withheld = |item: &&Value| item.get("is_suppressed").and_then(Value::as_bool).unwrap_or(false);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let queried = AccessAnalyticsQueried {
        view,
        format,
        dimension: filter.dimension,
        values: filter.values,
        from: filter.from,
        until: filter.until,
        cell_count: number(items.len()),
        withheld_count: number(items.iter().filter(is_withheld).count()),
    };
    access::record_analytics_query(&caller, queried).await?;
    match format {
        AnalyticsFormat::Csv => Ok(csv(view, &columns, &items)),
        AnalyticsFormat::Json => {
            let published_at = freshness.map(|fresh| Timestamp::try_from(fresh.published_at)).transpose();
            Ok(json(
                StatusCode::OK,
                &Cells {
                    view,
                    published_at: published_at.map_err(|error| Problem::internal(&error))?,
                    small_cell_threshold: freshness.map(|fresh| fresh.small_cell_threshold),
                    items,
                },
            ))
        }
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

/// RFC 4180, with the names of the columns first. What is withheld is empty.
fn csv(view: AnalyticsView, columns: &[queries::Column], items: &[Value]) -> Response {
    let mut text = line(columns.iter().map(|column| column.name.clone()));
    for item in items {
        text.push_str(&line(columns.iter().map(|column| cell(item.get(&column.name)))));
    }
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{view}.csv\""));
    let content_type = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    let mut response = (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], text).into_response();
    if let Ok(disposition) = disposition {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Values of dimensions are codes and ids; anything else is quoted.
fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| {
        if cell.contains([',', '"', '\r', '\n']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell
        }
    };
    let mut line = cells.map(quoted).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        let cells = ["a", "1-2", "a,b", "say \"so\"", ""].map(str::to_owned);

        assert_eq!(line(cells.into_iter()), "a,1-2,\"a,b\",\"say \"\"so\"\"\",\r\n");
    }
}
