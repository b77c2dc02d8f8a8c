//! The page behind a link to a chart: the chart, months closer and wider, the table, and the same as CSV.

use axum::response::{Html, IntoResponse, Response};
use carelog_analytics::queries::{CellFilter, Figures};
use carelog_domain::access::{AnalyticsFormat, AnalyticsView};
use maud::{DOCTYPE, PreEscaped, html};
use serde::Deserialize;

use super::chart::{self, About, Zoom, zooms};
use super::table::table;
use super::{CellQuery, filter, formats};
use crate::http::console::STYLE;
use crate::http::problem::Problem;

/// What is looked at of what a link shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Look {
    /// Only this month and later ones.
    from: Option<String>,
    /// Only this month and earlier ones.
    until: Option<String>,
    /// `csv`, or `svg` for the chart alone; the page where nothing is said.
    format: Option<AnalyticsFormat>,
}

impl Look {
    /// What to read: never more than the link shows.
    ///
    /// # Errors
    /// When the link shows no months, or these are none.
    pub(super) fn within(&self, view: AnalyticsView, of_link: &CellFilter) -> Result<CellFilter, Problem> {
        let dimension = of_link.dimension.map(|dimension| dimension.to_string());
        let (from, until) = (self.from.clone(), self.until.clone());
        let asked = filter(view, &CellQuery { dimension, value: None, from, until, format: None })?;
        Ok(CellFilter {
            dimension: asked.dimension,
            values: of_link.values.clone(),
            from: asked.from.max(of_link.from),
            until: [asked.until, of_link.until].into_iter().flatten().min(),
        })
    }

    /// The form that is handed out; as a picture where that is within the page.
    ///
    /// # Errors
    /// When links have no such form.
    pub(super) fn format(&self) -> Result<AnalyticsFormat, Problem> {
        match self.format {
            None => Ok(AnalyticsFormat::Svg),
            Some(format @ (AnalyticsFormat::Svg | AnalyticsFormat::Csv)) => Ok(format),
            Some(AnalyticsFormat::Json | AnalyticsFormat::Parquet | AnalyticsFormat::Arrow) => {
                Err(Problem::invalid_query("format: expected csv or svg"))
            }
        }
    }

    /// The figures, as they were asked for.
    ///
    /// # Errors
    /// When what is stored does not fit its columns.
    pub(super) fn answer(&self, figures: &Figures, of_link: &CellFilter) -> Result<Response, Problem> {
        match self.format {
            None => Ok(self.page(figures, of_link)),
            Some(format) => formats::answer(figures, format),
        }
    }

    fn page(&self, figures: &Figures, of_link: &CellFilter) -> Response {
        let months: String = [("from", &self.from), ("until", &self.until)]
            .iter()
            .filter_map(|(name, month)| month.as_ref().map(|month| format!("&{name}={month}")))
            .collect();
        let mut zooms = zooms(&figures.rows, !months.is_empty());
        zooms.retain(|zoom| is_shown(zoom, of_link));
        let names: Vec<&str> = figures.columns.iter().map(|column| column.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| *name != "organization_id").collect();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width";
                    title { (chart::title(figures.view)) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        figure { (chart::draw(figures.view, &figures.rows, &About::of(figures))) }
                        @if !zooms.is_empty() {
                            nav aria-label="Months" {
                                @for zoom in &zooms { a href=(query(zoom)) { (zoom.title) } " " }
                            }
                        }
                        p { a href={ "?format=csv" (months) } { "As CSV" } }
                        (table(&names, &figures.rows))
                    }
                }
            }
        };
        Html(page.into_string()).into_response()
    }
}

/// Whether a link shows these months.
fn is_shown(zoom: &Zoom, of_link: &CellFilter) -> bool {
    zoom.range.as_ref().is_none_or(|(first, last)| {
        of_link.from.is_none_or(|from| *first >= from.to_string())
            && of_link.until.is_none_or(|until| *last <= until.to_string())
    })
}

fn query(zoom: &Zoom) -> String {
    zoom.range.as_ref().map_or_else(|| "?".to_owned(), |(first, last)| format!("?from={first}&until={last}"))
}
