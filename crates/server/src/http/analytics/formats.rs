//! Figures as JSON, CSV, Parquet, Arrow and a picture, and which of them a request wants.

use axum::response::{IntoResponse, Response};
use carelog_analytics::columnar;
use carelog_analytics::queries::Figures;
use carelog_domain::access::AnalyticsFormat;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::chart::About;
use super::{Cells, chart};
use crate::http::command::json;
use crate::http::problem::Problem;

/// The form that the header `Accept` prefers (RFC 9110, section 12.5.1); of several alike the first that there is.
///
/// # Errors
/// When it takes none of them.
pub(super) fn wanted(headers: &HeaderMap) -> Result<AnalyticsFormat, Problem> {
    let ranges: Vec<Range<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(Range::parse)
        .collect();
    if ranges.is_empty() {
        return Ok(AnalyticsFormat::Json);
    }
    let mut best = None;
    for &format in AnalyticsFormat::ALL {
        let weight = weight(&ranges, essence(format));
        if weight > 0.0 && best.is_none_or(|(_, most)| weight > most) {
            best = Some((format, weight));
        }
    }
    let known: Vec<&str> = AnalyticsFormat::ALL.iter().map(|format| essence(*format)).collect();
    best.map(|(format, _)| format).ok_or_else(|| {
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable")
            .detail(format!("figures are handed out as {}", known.join(", ")))
    })
}

/// One of the media ranges of `Accept`, with its weight.
struct Range<'a> {
    essence: &'a str,
    weight: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().filter(|essence| !essence.is_empty())?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // One that is none counts as if it were not there.
        let weight = weight.and_then(|text| text.parse().ok()).filter(|weight| (0.0..=1.0).contains(weight));
        Some(Self { essence, weight: weight.unwrap_or(1.0) })
    }

    /// How exactly it names a type; nothing where it does not.
    fn precision(&self, essence: &str) -> Option<u8> {
        let kind = essence.split('/').next().unwrap_or_default();
        match self.essence.split_once('/') {
            Some(("*", "*")) => Some(0),
            Some((named, "*")) if named.eq_ignore_ascii_case(kind) => Some(1),
            _ if self.essence.eq_ignore_ascii_case(essence) => Some(2),
            _ => None,
        }
    }
}

/// What the range says that names the type most exactly.
fn weight(ranges: &[Range<'_>], essence: &str) -> f32 {
    let named = ranges.iter().filter_map(|range| Some((range.precision(essence)?, range.weight)));
    named.max_by_key(|(precision, _)| *precision).map_or(0.0, |(_, weight)| weight)
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
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
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

    #[test]
    fn the_heaviest_of_the_accepted_forms_is_taken_and_nothing_else() {
        let wanted = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            wanted(&headers).ok()
        };

        assert_eq!(super::wanted(&HeaderMap::new()).ok(), Some(AnalyticsFormat::Json));
        for (accept, format) in [
            ("*/*", Some(AnalyticsFormat::Json)),
            ("text/html, */*;q=0.1", Some(AnalyticsFormat::Json)),
            ("text/csv", Some(AnalyticsFormat::Csv)),
            ("Text/CSV; charset=utf-8", Some(AnalyticsFormat::Csv)),
            ("text/*;q=0.5, application/json;q=0.4", Some(AnalyticsFormat::Csv)),
            ("application/*;q=0.5, application/json;q=0", Some(AnalyticsFormat::Parquet)),
            ("application/vnd.apache.parquet;q=0.9, application/json; q=0.8", Some(AnalyticsFormat::Parquet)),
            ("application/vnd.apache.arrow.stream", Some(AnalyticsFormat::Arrow)),
            ("image/avif,image/webp,image/*;q=0.8", Some(AnalyticsFormat::Svg)),
            ("text/csv;q=0.9, application/json;q=inf", Some(AnalyticsFormat::Json)),
            ("text/html;q=nonsense", None),
            ("text/html", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(wanted(accept), format, "{accept}");
        }
    }
}
