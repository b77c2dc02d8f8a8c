//! Each view as a picture: bars, drawn on the server as SVG, with a title and a description for whoever does not see it.
//!
//! A panel is one dimension, a bar one of its values; months are a line (`series.rs`), which can be looked at closer
//! (`zoom.rs`). What is withheld, or has nothing to divide by, has no bar, and a word says so. The chart says from when it
//! is and below how many patients figures are withheld. The same markup stands by itself or within a page.

mod series;
mod zoom;

use carelog_analytics::queries::Figures;
use carelog_domain::Timestamp;
use carelog_domain::access::{AnalyticsDimension, AnalyticsView};
use maud::{Markup, html};
use serde_json::Value;

pub(in crate::http) use self::zoom::{Zoom, zooms};

const WIDTH: u32 = 720;
/// Where bars begin.
const LEFT: u32 = 200;
/// How long a whole bar is.
const LENGTH: u32 = 400;
const ROW: u32 = 28;
const BAR: u32 = 18;
/// Height of a panel's heading, and of the title.
const HEADING: u32 = 40;
const COLOUR: &str = "#2a7f9e";

/// The figure that a chart shows of each cell.
struct Measure {
    column: &'static str,
    title: &'static str,
    unit: Unit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Of a whole; 0 to 1.
    Share,
    Hours,
    Patients,
}

const fn measure(view: AnalyticsView) -> Measure {
    match view {
        AnalyticsView::AppointmentPatterns => {
            Measure { column: "no_show_rate", title: "No-show rate of appointments", unit: Unit::Share }
        }
        AnalyticsView::ClinicUtilisation => Measure {
            column: "utilisation",
            title: "Use of the time set aside for appointments",
            unit: Unit::Share,
        },
        AnalyticsView::ExerciseCompletion => Measure {
            column: "completion_rate",
            title: "Sessions of exercises that were done",
            unit: Unit::Share,
        },
        AnalyticsView::ExerciseStreaks => Measure {
            column: "patients",
            title: "Patients by their most days in a row with an exercise",
            unit: Unit::Patients,
        },
        AnalyticsView::VideoQuality => {
            Measure { column: "good_share", title: "Good network in video consultations", unit: Unit::Share }
        }
        AnalyticsView::VideoSessions => Measure {
            column: "reconnect_rate",
            title: "Stays in video rooms after a lost connection",
            unit: Unit::Share,
        },
        AnalyticsView::FormTurnaround => Measure {
            column: "median_turnaround_hours",
            title: "Median time from a form's assignment to its signature",
            unit: Unit::Hours,
        },
    }
}

/// A value of a dimension.
struct Bar {
    label: String,
    /// Nothing where it is withheld, or where there is nothing to divide by.
    figure: Option<f64>,
}

/// One dimension.
struct Panel {
    dimension: AnalyticsDimension,
    bars: Vec<Bar>,
}

/// From when figures are, and what of them is withheld.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct About(Option<String>);

impl About {
    /// Of figures that were read.
    pub(in crate::http) fn of(figures: &Figures) -> Self {
        let Some(fresh) = figures.freshness else { return Self(None) };
        let at = Timestamp::try_from(fresh.published_at).ok().map(|at| at.to_string());
        Self::at(at.as_deref(), Some(fresh.small_cell_threshold.into()))
    }

    /// Of a moment as in RFC 3339, and a number of patients; nothing before the first publication.
    pub(in crate::http) fn at(published_at: Option<&str>, threshold: Option<i64>) -> Self {
        let minute = published_at.and_then(|at| at.get(..16)).map(|minute| minute.replace('T', " "));
        let said = minute.zip(threshold).map(|(minute, threshold)| {
            format!("Of {minute} UTC. Figures about fewer than {threshold} patients are not shown.")
        });
        Self(said)
    }
}

/// What a chart is called.
pub(super) const fn title(view: AnalyticsView) -> &'static str {
    measure(view).title
}

/// Draws cells of a view.
pub(in crate::http) fn draw(view: AnalyticsView, cells: &[Value], about: &About) -> Markup {
    let measure = measure(view);
    let panels = panels(view, &measure, cells);
    let longest =
        panels.iter().flat_map(|panel| &panel.bars).filter_map(|bar| bar.figure).fold(0.0, f64::max);
    let whole = if measure.unit == Unit::Share { longest.max(1.0) } else { longest };
    let pixels = |count: usize, each: u32| u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(each);
    let mut height = HEADING;
    let mut placed = Vec::new();
    for panel in &panels {
        placed.push((height, panel));
        height += HEADING
            + match panel.dimension {
                AnalyticsDimension::Month => series::HEIGHT,
                _ => pixels(panel.bars.len(), ROW),
            };
    }
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (WIDTH) " " (height + 2 * ROW) } width=(WIDTH) height=(height + 2 * ROW)
            role="img" aria-labelledby={ "title-" (view) " description-" (view) }
            font-family="system-ui, sans-serif" font-size="14" {
            title id={ "title-" (view) } { (measure.title) }
            desc id={ "description-" (view) } { (description(&measure, &panels, about)) }
            text x="0" y="20" font-size="18" font-weight="700" fill="currentColor" { (measure.title) }
            @for (top, panel) in placed {
                text x="0" y=(top + 26) font-weight="700" fill="currentColor" { (words(panel.dimension)) }
                @if panel.dimension == AnalyticsDimension::Month {
                    (series::drawn(&panel.bars, measure.unit, whole, top + HEADING))
                } @else {
                    @for (index, bar) in panel.bars.iter().enumerate() {
                        (drawn(bar, measure.unit, whole, top + HEADING + pixels(index, ROW)))
                    }
                }
            }
            @if panels.is_empty() {
                text x="0" y=(HEADING + 20) fill="currentColor" { "There are no figures to show." }
            }
            @if let About(Some(said)) = about {
                text x="0" y=(height + ROW) font-size="12" fill="currentColor" { (said) }
            }
        }
    }
}

fn drawn(bar: &Bar, unit: Unit, whole: f64, top: u32) -> Markup {
    let middle = top + BAR / 2;
    let length = bar.figure.filter(|_| whole > 0.0).map_or(0.0, |figure| figure / whole * f64::from(LENGTH));
    html! {
        text x=(LEFT - 12) y=(middle) text-anchor="end" dominant-baseline="central" fill="currentColor" {
            (bar.label)
        }
        @if bar.figure.is_some() {
            rect x=(LEFT) y=(top) width=(format!("{length:.1}")) height=(BAR) fill=(COLOUR) {}
        }
        text x=(format!("{:.1}", f64::from(LEFT) + length + 8.0)) y=(middle) dominant-baseline="central"
            fill="currentColor" { (told(bar.figure, unit)) }
    }
}

/// What a chart says, for whoever hears it.
fn description(measure: &Measure, panels: &[Panel], about: &About) -> String {
    let panel = |panel: &Panel| {
        let bars = panel.bars.iter().map(|bar| format!("{} {}", bar.label, told(bar.figure, measure.unit)));
        format!("{}: {}.", words(panel.dimension), bars.collect::<Vec<_>>().join(", "))
    };
    let bars = format!("Bars, {}.", measure.title.to_lowercase());
    std::iter::once(bars).chain(panels.iter().map(panel)).chain(about.0.clone()).collect::<Vec<_>>().join(" ")
}

fn told(figure: Option<f64>, unit: Unit) -> String {
    match (figure, unit) {
        (None, _) => "not shown".to_owned(),
        (Some(share), Unit::Share) => format!("{:.1} %", share * 100.0),
        (Some(hours), Unit::Hours) => format!("{hours:.0} h"),
        (Some(count), Unit::Patients) => format!("{count:.0}"),
    }
}

fn panels(view: AnalyticsView, measure: &Measure, cells: &[Value]) -> Vec<Panel> {
    let text =
        |cell: &Value, name: &str| cell.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of = |dimension: AnalyticsDimension| {
        let mut values: Vec<(String, Option<f64>)> = cells
            .iter()
            .filter(|cell| text(cell, "dimension") == dimension.as_str())
            .map(|cell| (text(cell, "value"), cell.get(measure.column).and_then(Value::as_f64)))
            .collect();
        values.sort_by_cached_key(|(value, _)| (first_number(value), value.clone()));
        let bars = values.into_iter().map(|(value, figure)| Bar { label: label(dimension, &value), figure });
        Panel { dimension, bars: bars.collect() }
    };
    let panels = view.dimensions().iter().map(|dimension| of(*dimension));
    panels.filter(|panel| !panel.bars.is_empty()).collect()
}

/// `7-13` comes before `14-29`.
fn first_number(value: &str) -> u32 {
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(u32::MAX)
}

const fn words(dimension: AnalyticsDimension) -> &'static str {
    match dimension {
        AnalyticsDimension::Clinic => "Whole clinic",
        AnalyticsDimension::Weekday => "By weekday",
        AnalyticsDimension::LeadTime => "By days from booking to beginning",
        AnalyticsDimension::Reminder => "By reminder",
        AnalyticsDimension::Month => "By month",
        AnalyticsDimension::ProgrammeWeek => "By week of the plan",
        AnalyticsDimension::LongestStreak => "By days in a row",
        AnalyticsDimension::Template => "By template",
        AnalyticsDimension::Participant => "By participant",
    }
}

fn label(dimension: AnalyticsDimension, value: &str) -> String {
    match (dimension, value) {
        (AnalyticsDimension::Weekday, "1") => "Monday".to_owned(),
        (AnalyticsDimension::Weekday, "2") => "Tuesday".to_owned(),
        (AnalyticsDimension::Weekday, "3") => "Wednesday".to_owned(),
        (AnalyticsDimension::Weekday, "4") => "Thursday".to_owned(),
        (AnalyticsDimension::Weekday, "5") => "Friday".to_owned(),
        (AnalyticsDimension::Weekday, "6") => "Saturday".to_owned(),
        (AnalyticsDimension::Weekday, "7") => "Sunday".to_owned(),
        (AnalyticsDimension::ProgrammeWeek, week) => format!("week {week}"),
        // The end of an id tells more than its beginning, a time.
        (AnalyticsDimension::Template, id) => format!("…{}", id.get(24..).unwrap_or(id)),
        (_, value) => value.replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cell(dimension: &str, value: &str, rate: Option<f64>) -> Value {
        json!({ "dimension": dimension, "value": value, "no_show_rate": rate })
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows_and_what_is_withheld() {
        let cells = [
            cell("clinic", "all", Some(0.25)),
            cell("lead_time", "14-29", Some(0.5)),
            cell("lead_time", "7-13", None),
            cell("weekday", "1", Some(0.125)),
        ];

        let svg = draw(AnalyticsView::AppointmentPatterns, &cells, &About::default()).into_string();

        let said = "Bars, no-show rate of appointments. Whole clinic: all 25.0 %. By weekday: Monday 12.5 %. \
                    By days from booking to beginning: 7-13 not shown, 14-29 50.0 %.";
        assert!(
            svg.contains(&format!("<desc id=\"description-appointment_patterns\">{said}</desc>")),
            "{svg}"
        );
        assert_eq!(svg.matches("<rect ").count(), 3, "what is withheld has no bar");
        assert!(svg.contains("width=\"200.0\""), "half of a whole bar: {svg}");
    }

    #[test]
    fn every_view_has_a_chart_with_and_without_figures() {
        for &view in AnalyticsView::ALL {
            let measure = measure(view);
            let dimension = view.dimensions()[0];
            let cells = [json!({ "dimension": dimension.as_str(), "value": "all", (measure.column): 3 })];

            let (svg, empty) = (
                draw(view, &cells, &About::default()).into_string(),
                draw(view, &[], &About::default()).into_string(),
            );

            assert!(svg.contains("<rect ") && svg.contains("role=\"img\""), "{svg}");
            assert!(empty.contains("There are no figures to show.") && !empty.contains("<rect "), "{empty}");
        }
    }

    #[test]
    fn months_are_a_line_with_a_gap_and_the_chart_says_from_when_it_is() {
        let month = |month: &str, use_of: Option<f64>| json!({ "dimension": "month", "value": month, "utilisation": use_of });
        let cells = [
            month("2026-01", Some(0.5)),
            month("2026-02", Some(1.0)),
            month("2026-03", None),
            month("2026-04", Some(0.25)),
            month("2026-05", Some(0.5)),
        ];
        let about = About::at(Some("2026-05-31T22:10:00.000000Z"), Some(11));

        let svg = draw(AnalyticsView::ClinicUtilisation, &cells, &about).into_string();

        // The highest figure lies at the top of the plot, the months lie a quarter of it apart.
        assert_eq!(svg.matches("<polyline ").count(), 2, "{svg}");
        assert!(svg.contains("points=\"200.0,140.0 300.0,80.0\""), "{svg}");
        assert!(svg.contains("points=\"500.0,170.0 600.0,140.0\""), "{svg}");
        assert!(svg.contains("<title>2026-03 not shown</title>"), "{svg}");
        let said = "Of 2026-05-31 22:10 UTC. Figures about fewer than 11 patients are not shown.";
        assert_eq!(svg.matches(said).count(), 2, "drawn, and told: {svg}");
    }
}
