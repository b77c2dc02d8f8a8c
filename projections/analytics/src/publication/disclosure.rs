//! What is shown of cells of figures: what [`suppression`](super::suppression) leaves of them, rounded.
//!
//! Nothing at all is shown as 0: it is about nobody. Counts and sums are rounded, and everything that is made of them is
//! made of the rounded ones.
//!
//! A median is shown where those of whom it was taken are not revealing; what few samples exceed, only where those who
//! have such samples are not revealing either, since it is theirs alone that decide it.

use carelog_domain::access::{AnalyticsDimension, CellValue};

use super::cells::{Cell, Cells, Measure, Sample};
use super::suppression::{Group, suppress};

/// No clinic can set its threshold lower, patients.
pub const LEAST_THRESHOLD: usize = 5;
/// To a multiple of what numbers of patients and of records are published.
pub const COUNT_STEP: u64 = 5;
/// A cell as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<const M: usize, const Q: usize = 1> {
    /// By what.
    pub dimension: AnalyticsDimension,
    /// Its value.
    pub value: CellValue,
    /// Distinct patients; nothing where the whole cell is withheld.
    pub patients: Option<u64>,
    /// The measures.
    pub figures: [Option<u64>; M],
    /// The median of the samples of each quantity.
    pub medians: [Option<i32>; Q],
    /// What 95 of 100 samples of each quantity do not exceed.
    pub highs: [Option<i32>; Q],
}

/// The cells with what may be shown of them.
pub fn disclose<const M: usize, const Q: usize>(cells: &Cells<M, Q>, threshold: usize) -> Vec<Shown<M, Q>> {
    let threshold = threshold.max(LEAST_THRESHOLD);
    let shown_of = suppress(cells, threshold);
    let mut shown = Vec::new();
    for (dimension, values) in &cells.dimensions {
        for (value, cell) in values {
            let may_show = shown_of.get(&(*dimension, *value)).copied().unwrap_or([false; M]);
            shown.push(show((*dimension, *value), cell, &cells.measures, may_show, threshold));
        }
    }
    shown
}

fn show<const M: usize, const Q: usize>(
    (dimension, value): (AnalyticsDimension, CellValue),
    cell: &Cell<M, Q>,
    measures: &[Measure; M],
    may_show: [bool; M],
    threshold: usize,
) -> Shown<M, Q> {
    let mut figures = [None; M];
    for (measure, (figure, (may_show, Measure { step, .. }))) in
        figures.iter_mut().zip(may_show.into_iter().zip(measures)).enumerate()
    {
        let sum = cell.weights.values().filter_map(|weights| weights.get(measure)).sum();
        *figure = may_show.then(|| rounded(sum, *step));
    }
    let is_shown = figures.first().is_some_and(Option::is_some);
    let patients = is_shown.then(|| rounded(cell.weights.len() as u64, COUNT_STEP));
    let (mut medians, mut highs) = ([None; Q], [None; Q]);
    if is_shown {
        for ((median, high), samples) in medians.iter_mut().zip(&mut highs).zip(&cell.samples) {
            let sorted = Sorted::new(samples);
            *median = sorted.median(threshold);
            *high = sorted.high(threshold);
        }
    }
    Shown { dimension, value, patients, figures, medians, highs }
}

/// The nearest multiple. What is not nothing does not become nothing.
fn rounded(number: u64, step: u64) -> u64 {
    let nearest = (number + step / 2) / step * step;
    if number > 0 { nearest.max(step) } else { 0 }
}

/// Samples of a quantity, from the least to the greatest.
struct Sorted(Vec<Sample>);

impl Sorted {
    fn new(samples: &[Sample]) -> Self {
        let mut samples = samples.to_vec();
        samples.sort_unstable_by_key(|sample| sample.value);
        Self(samples)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|sample| sample.count).sum()
    }

    /// The sample with so many before it.
    fn after(&self, count: u64) -> Option<i32> {
        let mut before = 0;
        let found = self.0.iter().find(|sample| {
            before += sample.count;
            before > count
        });
        found.map(|sample| sample.value)
    }

    fn is_revealing<'a>(samples: impl Iterator<Item = &'a Sample>, threshold: usize) -> bool {
        let mut group = Group::default();
        samples.for_each(|sample| group.add(sample.patient, sample.count));
        group.is_revealing(threshold)
    }

    /// Unless those that have any samples are revealing.
    fn median(&self, threshold: usize) -> Option<i32> {
        if Self::is_revealing(self.0.iter(), threshold) {
            return None;
        }
        let count = self.count();
        let upper = i64::from(self.after(count / 2)?);
        if count % 2 == 1 {
            return i32::try_from(upper).ok();
        }
        let lower = i64::from(self.after((count / 2).checked_sub(1)?)?);
        i32::try_from((lower + upper).div_euclid(2)).ok()
    }

    /// The least sample that 95 of 100 do not exceed, unless those who reach it are revealing.
    fn high(&self, threshold: usize) -> Option<i32> {
        let rank = (self.count() * 95).div_ceil(100).checked_sub(1)?;
        let high = self.after(rank)?;
        let reach_it = self.0.iter().filter(|sample| sample.value >= high);
        (!Self::is_revealing(reach_it, threshold)).then_some(high)
    }
}
