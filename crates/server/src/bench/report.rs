//! What was measured, as a table and as JSON.

use std::io::Write;

use serde_json::{Value, json};

/// Median and range of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lowest: f64,
    pub(super) highest: f64,
}

impl Spread {
    /// Nothing without values.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        let lower = if sorted.len().is_multiple_of(2) { *sorted.get(middle.checked_sub(1)?)? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), lowest: *sorted.first()?, highest: *sorted.last()? })
    }
}

/// The values of one quantity, one per round.
#[derive(Debug)]
struct Series {
    what: String,
    unit: &'static str,
    values: Vec<f64>,
}

/// Figures, ratios and checks, in the order in which they were first entered.
#[derive(Debug)]
pub(super) struct Report {
    remarks: Vec<String>,
    figures: Vec<Series>,
    ratios: Vec<Series>,
    checks: Vec<(String, bool)>,
}

impl Report {
    pub(super) fn new(remarks: Vec<String>) -> Self {
        Self { remarks, figures: Vec::new(), ratios: Vec::new(), checks: Vec::new() }
    }

    /// How something was measured, where a figure could mislead without it.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Enters the figure of one round.
    pub(super) fn figure(&mut self, what: &str, unit: &'static str, value: f64) {
        enter(&mut self.figures, what, unit, value);
    }

    /// Enters `one ÷ other` of each round, from figures that were entered before.
    pub(super) fn ratio(&mut self, what: &str, one: &str, other: &str) {
        let values: Vec<f64> = self.values(one).iter().zip(self.values(other)).map(|(a, b)| a / b).collect();
        for value in values {
            enter(&mut self.ratios, what, "", value);
        }
    }

    /// Enters something that must hold.
    pub(super) fn check(&mut self, what: impl Into<String>, holds: bool) {
        self.checks.push((what.into(), holds));
    }

    pub(super) fn all_hold(&self) -> bool {
        self.checks.iter().all(|(_, holds)| *holds)
    }

    /// The figures of a name, one per round.
    pub(super) fn values(&self, what: &str) -> &[f64] {
        self.figures.iter().find(|series| series.what == what).map_or(&[], |series| &series.values)
    }

    /// The table; with `json` also one object as the last line.
    pub(super) fn print(&self, json: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for remark in &self.remarks {
            writeln!(out, "{remark}")?;
        }
        writeln!(out)?;
        for series in self.figures.iter().chain(&self.ratios) {
            let Some(spread) = Spread::of(&series.values) else { continue };
            let range = format!("[{} – {}]", number(spread.lowest), number(spread.highest));
            writeln!(out, "{:<52} {:>11}  {range:<24} {}", series.what, number(spread.median), series.unit)?;
        }
        for (what, holds) in &self.checks {
            writeln!(out, "{} {what}", if *holds { "holds:  " } else { "BROKEN: " })?;
        }
        if json {
            writeln!(out, "{}", self.to_json())?;
        }
        out.flush()
    }

    fn to_json(&self) -> Value {
        let series = |all: &[Series]| -> Vec<Value> {
            all.iter()
                .filter_map(|series| {
                    let Spread { median, lowest, highest } = Spread::of(&series.values)?;
                    Some(json!({
                        "what": series.what, "unit": series.unit, "median": median, "lowest": lowest,
                        "highest": highest, "values": series.values,
                    }))
                })
                .collect()
        };
        let checks: Vec<Value> =
            self.checks.iter().map(|(what, holds)| json!({ "what": what, "holds": holds })).collect();
        json!({
            "remarks": self.remarks, "figures": series(&self.figures), "ratios": series(&self.ratios),
            "checks": checks, "holds": self.all_hold(),
        })
    }
}

fn enter(all: &mut Vec<Series>, what: &str, unit: &'static str, value: f64) {
    match all.iter_mut().find(|series| series.what == what) {
        Some(series) => series.values.push(value),
        None => all.push(Series { what: what.to_owned(), unit, values: vec![value] }),
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 10.0 => format!("{value:.2}"),
        small if small < 1_000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
