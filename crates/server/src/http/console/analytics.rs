//! Published figures: a chart and a table of each view, and files of them.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use carelog_domain::access::{AnalyticsFormat, AnalyticsView, YearMonth};
use http::{HeaderValue, Method, header};
use maud::html;
use serde::Deserialize;
use serde_json::Value;

use super::Console;
use super::asking::Trouble;
use super::session::Visitor;
use super::view::{Page, moment};
use crate::http::analytics::chart::{self, About, Zoom, zooms};
use crate::http::analytics::table::table;

const ANALYTICS: &str = "/v1/analytics";

/// Which months are looked at; all where nothing is said.
#[derive(Debug, Deserialize)]
pub(super) struct Months {
    from: Option<String>,
    until: Option<String>,
}

impl Months {
    /// As the API takes it, with the sign that begins it; empty where nothing is said.
    fn query(&self) -> Result<String, Trouble> {
        let mut parts = Vec::new();
        for (name, month) in [("from", &self.from), ("until", &self.until)] {
            if let Some(month) = month {
                let month: YearMonth = month.parse().map_err(|_| Trouble::NotFound)?;
                parts.push(format!("{name}={month}"));
            }
        }
        Ok(if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) })
    }
}

fn query(zoom: &Zoom) -> String {
    zoom.range.as_ref().map_or_else(String::new, |(first, last)| format!("?from={first}&until={last}"))
}

/// `GET /console/analytics`
pub(super) async fn list(State(console): State<Console>, visitor: Visitor) -> Result<Response, Trouble> {
    let dictionary = console.get(&visitor, ANALYTICS).await?;
    let body = html! {
        p { "Figures of your clinic, without people. " a href="/docs/analytics" { "What they mean" } "." }
        dl {
            @for view in items(&dictionary) {
                dt { a href={ "/console/analytics/" (text(view, "view")) } { (title(text(view, "view"))) } }
                dd { (text(view, "description")) "." }
            }
        }
    };
    Ok(Page { title: "Analytics", sections: Some(visitor.sections), body }.into_response())
}

/// `GET /console/analytics/{view}`
pub(super) async fn show(
    State(console): State<Console>,
    visitor: Visitor,
    Path(view): Path<String>,
    Query(months): Query<Months>,
) -> Result<Response, Trouble> {
    let view: AnalyticsView = view.parse().map_err(|_| Trouble::NotFound)?;
    let dictionary = console.get(&visitor, ANALYTICS).await?;
    let range = months.query()?;
    let cells = console.get(&visitor, &format!("{ANALYTICS}/{view}{range}")).await?;
    let threshold = cells.get("small_cell_threshold").and_then(Value::as_i64);
    let about = About::at(cells.get("published_at").and_then(Value::as_str), threshold);
    let zooms = zooms(items(&cells), !range.is_empty());
    let described = items(&dictionary).iter().find(|described| text(described, "view") == view.as_str());
    let columns = described.and_then(|view| view.get("columns")).and_then(Value::as_array);
    let names: Vec<&str> = columns.into_iter().flatten().map(|column| text(column, "name")).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| *name != "organization_id").collect();
    let body = html! {
        p {
            "Of " (moment(cells.get("published_at").and_then(Value::as_str))) ". "
            a href={ "/docs/analytics#" (view) } { "What it means" } ". As a file: "
            a href={ "/console/analytics/" (view) "/figures.csv" (range) } { "CSV" } ", "
            a href={ "/console/analytics/" (view) "/figures.parquet" (range) } { "Parquet" } ", "
            a href={ "/console/analytics/" (view) "/figures.svg" (range) } { "SVG" } "."
        }
        figure { (chart::draw(view, items(&cells), &about)) }
        @if !zooms.is_empty() {
            nav aria-label="Months" {
                @for zoom in &zooms {
                    a href={ "/console/analytics/" (view) (query(zoom)) } { (zoom.title) } " "
                }
            }
        }
        (table(&names, items(&cells)))
    };
    Ok(Page { title: &title(view.as_str()), sections: Some(visitor.sections), body }.into_response())
}

/// `GET /console/analytics/{view}/{file}`
pub(super) async fn file(
    State(console): State<Console>,
    visitor: Visitor,
    Path((view, file)): Path<(String, String)>,
    Query(months): Query<Months>,
) -> Result<Response, Trouble> {
    let view: AnalyticsView = view.parse().map_err(|_| Trouble::NotFound)?;
    let format = file.strip_prefix("figures.").and_then(|ending| ending.parse::<AnalyticsFormat>().ok());
    let format = format.ok_or(Trouble::NotFound)?;
    let range = months.query()?.replace('?', "&");
    let path = format!("{ANALYTICS}/{view}?format={format}{range}");
    let mut answer = console.ask(&visitor, Method::GET, &path).await?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// A view's name as people read it.
fn title(view: &str) -> String {
    let mut words = view.replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

fn items(page: &Value) -> &[Value] {
    page.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
