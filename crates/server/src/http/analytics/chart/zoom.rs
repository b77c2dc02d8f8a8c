//! Which months to look at next: closer, wider, earlier, later.

use carelog_domain::access::AnalyticsDimension;
use serde_json::Value;

const MONTHS_PER_YEAR: i32 = 12;
/// Years have four digits.
const MONTHS: std::ops::Range<i32> = 0..10_000 * MONTHS_PER_YEAR;

/// A link to other months.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Zoom {
    /// What it does.
    pub(in crate::http) title: &'static str,
    /// The first month and the last; all of them where there is none.
    pub(in crate::http) range: Option<(String, String)>,
}

/// Counts the months of a text such as `2026-03`; nothing where it is none.
pub(super) fn month(text: &str) -> Option<i32> {
    let (year, month) = text.split_once('-')?;
    let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
    ((1..=MONTHS_PER_YEAR).contains(&month) && year >= 0).then(|| year * MONTHS_PER_YEAR + month - 1)
}

fn text(month: i32) -> String {
    let month = month.clamp(MONTHS.start, MONTHS.end - 1);
    format!("{:04}-{:02}", month / MONTHS_PER_YEAR, month % MONTHS_PER_YEAR + 1)
}

/// From the months that are shown to others; nothing where no month is shown. `is_chosen` says that not all are.
pub(in crate::http) fn zooms(cells: &[Value], is_chosen: bool) -> Vec<Zoom> {
    let of_month = |cell: &&Value| {
        cell.get("dimension").and_then(Value::as_str) == Some(AnalyticsDimension::Month.as_str())
    };
    let months: Vec<i32> = cells
        .iter()
        .filter(of_month)
        .filter_map(|cell| month(cell.get("value").and_then(Value::as_str)?))
        .collect();
    let mut zooms = Vec::new();
    if let Some((first, last)) = months.iter().min().copied().zip(months.iter().max().copied()) {
        let count = last - first + 1;
        let step = (count / 2).max(1);
        let mut add = |title, first, last| {
            zooms.push(Zoom { title, range: Some((text(first), text(last))) });
        };
        if count > 2 {
            add("Closer", first + (count / 4).max(1), last - (count / 4).max(1));
        }
        add("Earlier", first - step, last - step);
        add("Later", first + step, last + step);
        if is_chosen {
            add("Wider", first - step, last + step);
        }
    }
    if is_chosen {
        zooms.push(Zoom { title: "All months", range: None });
    }
    zooms
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(months: &[&str], is_chosen: bool) -> Vec<String> {
        let cells: Vec<Value> =
            months.iter().map(|month| json!({ "dimension": "month", "value": month })).collect();
        let zoom = |zoom: Zoom| match zoom.range {
            Some((first, last)) => format!("{} {first} {last}", zoom.title),
            None => zoom.title.to_owned(),
        };
        zooms(&cells, is_chosen).into_iter().map(zoom).collect()
    }

    #[test]
    fn months_are_looked_at_closer_wider_earlier_and_later() {
        assert_eq!(
            told(&["2025-11", "2026-02", "2025-12", "2026-01"], false),
            ["Closer 2025-12 2026-01", "Earlier 2025-09 2025-12", "Later 2026-01 2026-04"]
        );
        assert_eq!(
            told(&["2025-12", "2026-01"], true),
            ["Earlier 2025-11 2025-12", "Later 2026-01 2026-02", "Wider 2025-11 2026-02", "All months"]
        );
        assert_eq!(told(&["0000-01"], true)[0], "Earlier 0000-01 0000-01", "there is no month before");
        assert_eq!(told(&[], true), ["All months"]);
        assert!(told(&[], false).is_empty());
    }
}
