//! Figures as JSON, CSV, Parquet, Arrow and a picture, and which of them a request wants.

use axum::response::{IntoResponse, Response};
use carelog_analytics::columnar;
use carelog_analytics::queries::Figures;
use carelog_domain::access::AnalyticsFormat;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::chart::About;
use super::{Cells, chart};
use crate::http::accept::{Offer, preferred, varies};
use crate::http::command::json;
use crate::http::problem::Problem;

/// The form that the header `Accept` prefers.
///
/// # Errors
/// When it takes none of them.
pub(super) fn wanted(headers: &HeaderMap) -> Result<AnalyticsFormat, Problem> {
    let offers: Vec<_> = AnalyticsFormat::ALL
        .iter()
        .map(|&form| Offer { form, essence: essence(form), parameter: None })
        .collect();
    let known: Vec<&str> = offers.iter().map(|offer| offer.essence).collect();
    preferred(headers, &offers).ok_or_else(|| {
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable")
            .detail(format!("figures are handed out as {}", known.join(", ")))
    })
}

/// The media type of a form, without parameters.
const fn essence(format: AnalyticsFormat) -> &'static str {
    match format {
        AnalyticsFormat::Json => "application/json",
        AnalyticsFormat::Csv => "text/csv",
        AnalyticsFormat::Parquet => columnar::PARQUET,
        AnalyticsFormat::Arrow => columnar::ARROW_STREAM,
        AnalyticsFormat::Svg => "image/svg+xml",
    }
}

/// Figures in a form.
///
/// # Errors
/// When what is stored does not fit its columns.
pub(super) fn answer(figures: &Figures, format: AnalyticsFormat) -> Result<Response, Problem> {
    let internal = |error: columnar::ColumnarError| Problem::internal(&error);
    let mut response = match format {
        AnalyticsFormat::Json => json(StatusCode::OK, &Cells::of(figures)?),
        AnalyticsFormat::Csv => file(figures, "text/csv; charset=utf-8; header=present", "csv", csv(figures)),
        AnalyticsFormat::Parquet => {
            file(figures, essence(format), "parquet", columnar::parquet(figures).map_err(internal)?)
        }
        AnalyticsFormat::Arrow => {
            file(figures, essence(format), "arrows", columnar::arrow_stream(figures).map_err(internal)?)
        }
        AnalyticsFormat::Svg => picture(figures),
    };
    varies(response.headers_mut());
    Ok(response)
}

/// Shown where it is opened, and able to load nothing.
fn picture(figures: &Figures) -> Response {
    let svg = chart::draw(figures.view, &figures.rows, &About::of(figures)).into_string();
    let headers = [
        (header::CONTENT_TYPE, essence(AnalyticsFormat::Svg)),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    (headers, svg).into_response()
}

fn file(figures: &Figures, content_type: &'static str, ending: &str, content: impl IntoResponse) -> Response {
    let content_type = HeaderValue::from_static(content_type);
    let mut response = (StatusCode::OK, content).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    let disposition = format!("attachment; filename=\"{}.{ending}\"", figures.view);
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// RFC 4180, with the names of the columns first. What is withheld is empty.
fn csv(figures: &Figures) -> String {
    let columns = &figures.columns;
    let mut text = line(columns.iter().map(|column| column.name.clone()));
    for row in &figures.rows {
        text.push_str(&line(columns.iter().map(|column| cell(row.get(&column.name)))));
    }
    text
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
