//! Which figures may be shown, so that none leads to few patients.
//!
//! A group of patients is *revealing* when there are fewer of them than the threshold, or when one of them makes up more
//! than four fifths of the figure. No revealing figure is shown; nor is one from which a revealing figure follows by
//! subtraction, for which there are two ways:
//!
//! - along a *dimension*: what the clinic has in all, less the values that are shown, is what those that are hidden have
//!   together;
//! - within a *cell*: a figure, less the parts of it that are shown, is what its hidden parts and its rest have together.
//!
//! So the patients of what is hidden are taken together, each counted once, and as long as they are revealing the
//! smallest of what is shown is hidden too. Both ways are gone until neither hides any more. One figure alone is never
//! hidden along a dimension, whoever it is about: it would follow from the others, and what it is hidden for from it, by the
//! other way. Nothing at all is shown as
//! 0: it is about nobody. Counts and sums are rounded, and everything that is made of them is made of the rounded ones.
//!
//! A median is shown where those of whom it was taken are not revealing; what few samples exceed, only where those who
//! have such samples are not revealing either, since it is theirs alone that decide it.

use std::collections::{BTreeMap, HashMap};

use carelog_domain::access::{AnalyticsDimension, CellValue};

use super::cells::{Cell, Cells, Measure, Patient, Sample};

/// No clinic can set its threshold lower, patients.
pub const LEAST_THRESHOLD: usize = 5;
/// To a multiple of what numbers of patients and of records are published.
pub const COUNT_STEP: u64 = 5;
/// The measure that a cell is about.
const RECORDS: usize = 0;

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

/// What of a cell is hidden.
type Hidden<const M: usize> = [bool; M];

/// How much each patient has of something.
#[derive(Debug, Default)]
struct Group(HashMap<Patient, u64>);

impl Group {
    fn add(&mut self, patient: Patient, weight: u64) {
        if weight > 0 {
            *self.0.entry(patient).or_default() += weight;
        }
    }

    /// Nobody reveals nothing.
    fn is_revealing(&self, threshold: usize) -> bool {
        let largest = self.0.values().copied().max().unwrap_or(0);
        let sum: u64 = self.0.values().sum();
        !self.0.is_empty() && (self.0.len() < threshold || largest * 5 > sum * 4)
    }
}

/// The cells with what may be shown of them.
pub fn disclose<const M: usize, const Q: usize>(cells: &Cells<M, Q>, threshold: usize) -> Vec<Shown<M, Q>> {
    let threshold = threshold.max(LEAST_THRESHOLD);
    let hidden = Tables::new(cells, threshold).close();
    let mut shown = Vec::new();
    for (dimension, values) in &cells.dimensions {
        for (value, cell) in values {
            let hides = hidden.get(&(*dimension, *value)).copied().unwrap_or([true; M]);
            shown.push(show((*dimension, *value), cell, &cells.measures, hides, threshold));
        }
    }
    shown
}

fn show<const M: usize, const Q: usize>(
    (dimension, value): (AnalyticsDimension, CellValue),
    cell: &Cell<M, Q>,
    measures: &[Measure; M],
    hides: Hidden<M>,
    threshold: usize,
) -> Shown<M, Q> {
    let mut figures = [None; M];
    for (measure, (figure, (is_hidden, Measure { step, .. }))) in
        figures.iter_mut().zip(hides.into_iter().zip(measures)).enumerate()
    {
        let sum = cell.weights.values().map(|weights| of(weights, measure)).sum();
        *figure = (!is_hidden).then(|| rounded(sum, *step));
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

fn of<const M: usize>(weights: &[u64; M], measure: usize) -> u64 {
    weights.get(measure).copied().unwrap_or(0)
}

/// What is hidden so far.
struct Tables<'a, const M: usize, const Q: usize> {
    cells: &'a Cells<M, Q>,
    threshold: usize,
    hidden: BTreeMap<(AnalyticsDimension, CellValue), Hidden<M>>,
}

impl<'a, const M: usize, const Q: usize> Tables<'a, M, Q> {
    /// Hides what is revealing by itself.
    fn new(cells: &'a Cells<M, Q>, threshold: usize) -> Self {
        let mut hidden = BTreeMap::new();
        for (dimension, values) in &cells.dimensions {
            for (value, cell) in values {
                let mut hides = [false; M];
                for (measure, is_hidden) in hides.iter_mut().enumerate() {
                    *is_hidden = group(cell, measure).is_revealing(threshold);
                }
                hidden.insert((*dimension, *value), hides);
            }
        }
        Self { cells, threshold, hidden }
    }

    /// Hides until nothing revealing follows from what is shown.
    fn close(mut self) -> BTreeMap<(AnalyticsDimension, CellValue), Hidden<M>> {
        loop {
            let before = self.hidden.clone();
            for (dimension, values) in &self.cells.dimensions {
                for (value, cell) in values {
                    self.close_cell((*dimension, *value), cell);
                }
            }
            for (dimension, values) in &self.cells.dimensions {
                if *dimension != AnalyticsDimension::Clinic {
                    (0..M).for_each(|measure| self.close_dimension(*dimension, values, measure));
                    (0..M).for_each(|whole| self.close_rests(*dimension, values, whole));
                }
            }
            if self.hidden == before {
                return self.hidden;
            }
        }
    }

    fn is_hidden(&self, place: (AnalyticsDimension, CellValue), measure: usize) -> bool {
        self.hidden.get(&place).and_then(|hides| hides.get(measure)).copied().unwrap_or(false)
    }

    fn hide(&mut self, place: (AnalyticsDimension, CellValue), measure: usize) {
        if let Some(is_hidden) = self.hidden.get_mut(&place).and_then(|hides| hides.get_mut(measure)) {
            *is_hidden = true;
        }
    }

    /// Within a cell: the parts of a figure.
    fn close_cell(&mut self, place: (AnalyticsDimension, CellValue), cell: &Cell<M, Q>) {
        if self.is_hidden(place, RECORDS) {
            (0..M).for_each(|measure| self.hide(place, measure));
            return;
        }
        for whole in 0..M {
            let parts = parts(&self.cells.measures, whole);
            if self.is_hidden(place, whole) {
                for part in parts {
                    self.hide(place, part);
                }
                continue;
            }
            while !parts.is_empty() {
                let shown: Vec<usize> =
                    parts.iter().copied().filter(|part| !self.is_hidden(place, *part)).collect();
                let rest = rest(cell, whole, &shown);
                let next = shown
                    .into_iter()
                    .map(|part| (group(cell, part).0.len(), part))
                    .filter(|(patients, _)| *patients > 0)
                    .min();
                match next {
                    Some((_, part)) if rest.is_revealing(self.threshold) => self.hide(place, part),
                    _ => break,
                }
            }
        }
    }

    /// Along a dimension: one figure of every value.
    fn close_dimension(
        &mut self,
        dimension: AnalyticsDimension,
        values: &BTreeMap<CellValue, Cell<M, Q>>,
        measure: usize,
    ) {
        let totals = self.cells.dimensions.get(&AnalyticsDimension::Clinic);
        let is_total_hidden = totals.is_some_and(|totals| {
            totals.keys().any(|all| self.is_hidden((AnalyticsDimension::Clinic, *all), measure))
        });
        if is_total_hidden {
            for value in values.keys() {
                self.hide((dimension, *value), measure);
            }
            return;
        }
        loop {
            let mut together = Group::default();
            let (mut hidden, mut next) = (0, None);
            for (value, cell) in values {
                let group = group(cell, measure);
                if group.0.is_empty() {
                    continue;
                }
                if self.is_hidden((dimension, *value), measure) {
                    group.0.into_iter().for_each(|(patient, weight)| together.add(patient, weight));
                    hidden += 1;
                } else {
                    let candidate = (group.0.len(), *value);
                    next = Some(next.map_or(candidate, |least| candidate.min(least)));
                }
            }
            if hidden != 1 && !together.is_revealing(self.threshold) {
                return;
            }
            match next {
                Some((_, value)) => self.hide((dimension, value), measure),
                None => return self.hide_total(measure),
            }
        }
    }

    /// Along a dimension: what belongs to none of a figure's parts. It follows wherever figure and parts are shown.
    fn close_rests(
        &mut self,
        dimension: AnalyticsDimension,
        values: &BTreeMap<CellValue, Cell<M, Q>>,
        whole: usize,
    ) {
        let parts = parts(&self.cells.measures, whole);
        let totals = self.cells.dimensions.get(&AnalyticsDimension::Clinic);
        let Some((all, total)) = totals.and_then(BTreeMap::first_key_value) else { return };
        let all = (AnalyticsDimension::Clinic, *all);
        while !parts.is_empty() && self.rest_follows(all, whole, &parts) {
            let mut together = Group::default();
            let (mut hidden, mut next) = (0, None);
            for (value, cell) in values {
                let rest = rest(cell, whole, &parts);
                if rest.0.is_empty() {
                    continue;
                }
                if self.rest_follows((dimension, *value), whole, &parts) {
                    let candidate = (rest.0.len(), *value);
                    next = Some(next.map_or(candidate, |least| candidate.min(least)));
                } else {
                    rest.0.into_iter().for_each(|(patient, weight)| together.add(patient, weight));
                    hidden += 1;
                }
            }
            if hidden != 1 && !together.is_revealing(self.threshold) {
                return;
            }
            let (place, cell) = match next.and_then(|(_, value)| Some((value, values.get(&value)?))) {
                Some((value, cell)) => ((dimension, value), cell),
                None => (all, total),
            };
            // What somebody has rather than what nobody has.
            let least = parts
                .iter()
                .map(|part| (group(cell, *part).0.len(), *part))
                .min_by_key(|(patients, part)| (*patients == 0, *patients, *part));
            if let Some((_, part)) = least {
                self.hide(place, part);
            }
        }
    }

    fn rest_follows(&self, place: (AnalyticsDimension, CellValue), whole: usize, parts: &[usize]) -> bool {
        !self.is_hidden(place, whole) && parts.iter().all(|part| !self.is_hidden(place, *part))
    }

    /// Of what is hidden everywhere else.
    fn hide_total(&mut self, measure: usize) {
        let totals = self.cells.dimensions.get(&AnalyticsDimension::Clinic);
        for all in totals.into_iter().flat_map(BTreeMap::keys) {
            self.hide((AnalyticsDimension::Clinic, *all), measure);
        }
    }
}

/// What the patients of a cell have of a measure.
fn group<const M: usize, const Q: usize>(cell: &Cell<M, Q>, measure: usize) -> Group {
    let mut group = Group::default();
    cell.weights.iter().for_each(|(patient, weights)| group.add(*patient, of(weights, measure)));
    group
}

/// What the patients of a cell have of a measure and of none of its parts.
fn rest<const M: usize, const Q: usize>(cell: &Cell<M, Q>, whole: usize, parts: &[usize]) -> Group {
    let mut group = Group::default();
    for (patient, weights) in &cell.weights {
        let seen: u64 = parts.iter().map(|part| of(weights, *part)).sum();
        group.add(*patient, of(weights, whole).saturating_sub(seen));
    }
    group
}

fn parts<const M: usize>(measures: &[Measure; M], whole: usize) -> Vec<usize> {
    measures
        .iter()
        .enumerate()
        .filter(|(_, part)| part.within == Some(whole))
        .map(|(index, _)| index)
        .collect()
}
