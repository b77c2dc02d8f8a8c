//! Figures of months as a line, with a gap where a month is missing or its figure is withheld.

use maud::{Markup, html};

use super::{Bar, COLOUR, LEFT, LENGTH, Unit, told, zoom};

/// From the lowest figure to the highest.
const PLOT: f64 = 120.0;
/// Of a whole panel, without its heading.
pub(super) const HEIGHT: u32 = 160;
/// Where a withheld figure is marked, and the radius of marks.
const MARK: f64 = 4.0;

/// A month with its place.
struct Point<'a> {
    bar: &'a Bar,
    x: f64,
    y: Option<f64>,
}

/// The months of a panel that begins at `top`; `whole` is the highest figure.
pub(super) fn drawn(bars: &[Bar], unit: Unit, whole: f64, top: u32) -> Markup {
    let points = points(bars, whole, f64::from(top));
    let floor = f64::from(top) + PLOT;
    let right = f64::from(LEFT + LENGTH);
    html! {
        @for (y, figure) in [(f64::from(top), whole), (floor, 0.0)] {
            line x1=(LEFT) x2=(right) y1=(at(y)) y2=(at(y)) stroke="currentColor" stroke-opacity="0.25" {}
            text x=(LEFT - 12) y=(at(y)) text-anchor="end" dominant-baseline="central" fill="currentColor" {
                (told(Some(figure), unit))
            }
        }
        @for run in runs(&points) {
            polyline points=(run) fill="none" stroke=(COLOUR) stroke-width="2" {}
        }
        @for point in &points {
            @match point.y {
                Some(y) => {
                    circle cx=(at(point.x)) cy=(at(y)) r=(MARK) fill=(COLOUR) {
                        title { (point.bar.label) " " (told(point.bar.figure, unit)) }
                    }
                }
                None => {
                    circle cx=(at(point.x)) cy=(at(floor)) r=(MARK) fill="none" stroke="currentColor" {
                        title { (point.bar.label) " " (told(None, unit)) }
                    }
                }
            }
        }
        @for (point, anchor) in ends(&points) {
            text x=(at(point.x)) y=(at(floor + 22.0)) text-anchor=(anchor) fill="currentColor" { (point.bar.label) }
        }
    }
}

fn at(pixels: f64) -> String {
    format!("{pixels:.1}")
}

fn points(bars: &[Bar], whole: f64, top: f64) -> Vec<Point<'_>> {
    let months: Vec<Option<i32>> = bars.iter().map(|bar| zoom::month(&bar.label)).collect();
    let first = months.iter().flatten().min().copied().unwrap_or(0);
    let last = months.iter().flatten().max().copied().unwrap_or(0);
    let span = f64::from((last - first).max(1));
    let place = |month: i32| f64::from(LEFT) + f64::from(month - first) / span * f64::from(LENGTH);
    let height = |figure: f64| if whole > 0.0 { top + PLOT - figure / whole * PLOT } else { top + PLOT };
    let point = |(bar, month): (_, Option<i32>)| {
        let bar: &Bar = bar;
        Some(Point { bar, x: place(month?), y: bar.figure.map(height) })
    };
    bars.iter().zip(months).filter_map(point).collect()
}

/// Stretches of months one after the other that are all shown.
fn runs(points: &[Point<'_>]) -> Vec<String> {
    let mut runs: Vec<Vec<String>> = vec![Vec::new()];
    let mut before: Option<i32> = None;
    for point in points {
        let month = zoom::month(&point.bar.label);
        let follows = before.zip(month).is_some_and(|(before, month)| month == before + 1);
        if !follows {
            runs.push(Vec::new());
        }
        before = month.filter(|_| point.y.is_some());
        if let (Some(y), Some(run)) = (point.y, runs.last_mut()) {
            run.push(format!("{},{}", at(point.x), at(y)));
        }
    }
    runs.into_iter().filter(|run| run.len() > 1).map(|run| run.join(" ")).collect()
}

/// The first month and the last, which an axis names.
fn ends<'p, 'b>(points: &'p [Point<'b>]) -> Vec<(&'p Point<'b>, &'static str)> {
    match points {
        [] => Vec::new(),
        [only] => vec![(only, "start")],
        [first, .., last] => vec![(first, "start"), (last, "end")],
    }
}
