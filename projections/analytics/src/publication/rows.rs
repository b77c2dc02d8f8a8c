//! Cells as the columns that a set-based statement takes.

use carelog_domain::OrganizationId;
use carelog_event_log::Position;
use uuid::Uuid;

use super::PublishError;
use super::disclosure::Shown;

/// What every published table has.
pub(super) struct Table {
    pub(super) organization_id: Uuid,
    pub(super) dimensions: Vec<String>,
    pub(super) values: Vec<String>,
    pub(super) suppressed: Vec<bool>,
    pub(super) patients: Vec<Option<i32>>,
}

impl Table {
    pub(super) fn of<const M: usize, const Q: usize>(
        organization_id: OrganizationId,
        cells: &[&Shown<M, Q>],
    ) -> Self {
        let patients: Vec<Option<u64>> = cells.iter().map(|cell| cell.patients).collect();
        Self {
            organization_id: organization_id.uuid(),
            dimensions: cells.iter().map(|cell| cell.dimension.to_string()).collect(),
            values: cells.iter().map(|cell| cell.value.to_string()).collect(),
            suppressed: cells.iter().map(|cell| cell.patients.is_none()).collect(),
            patients: numbers(&patients),
        }
    }
}

/// One measure of every cell, as counts.
pub(super) fn figures<const M: usize, const Q: usize>(
    cells: &[&Shown<M, Q>],
    measure: usize,
) -> Vec<Option<i32>> {
    let figures: Vec<Option<u64>> =
        cells.iter().map(|cell| cell.figures.get(measure).copied().flatten()).collect();
    numbers(&figures)
}

/// One measure of every cell, as sums.
pub(super) fn sums<const M: usize, const Q: usize>(
    cells: &[&Shown<M, Q>],
    measure: usize,
) -> Vec<Option<i64>> {
    let figure = |cell: &&Shown<M, Q>| cell.figures.get(measure).copied().flatten();
    cells.iter().map(figure).map(|sum| sum.map(|sum| i64::try_from(sum).unwrap_or(i64::MAX))).collect()
}

/// To the nearest multiple of a step.
pub(super) fn nearest(figures: impl Iterator<Item = Option<i32>>, step: i32) -> Vec<Option<i32>> {
    figures
        .map(|figure| figure.map(|figure| figure.saturating_add(step / 2).div_euclid(step) * step))
        .collect()
}

pub(super) fn numbers(figures: &[Option<u64>]) -> Vec<Option<i32>> {
    figures.iter().map(|figure| figure.map(|figure| i32::try_from(figure).unwrap_or(i32::MAX))).collect()
}

/// A quotient of what is shown; nothing where one of them is hidden, or there is nothing to divide by.
#[expect(clippy::cast_precision_loss, reason = "counts are far smaller than what a float holds exactly")]
pub(super) fn rate(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = part.zip(whole)?;
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A stored value that is none of those that it can be.
pub(super) const fn wrong(table: &'static str, column: &'static str, position: Position) -> PublishError {
    PublishError::Stored { table, column, position }
}
