//! Facts, sorted into cells: what each patient contributes to each figure of each value of each dimension.

use std::collections::{BTreeMap, HashMap};

use carelog_domain::access::{AnalyticsDimension, CellValue};
use uuid::Uuid;

use super::disclosure::COUNT_STEP;

/// Stands for a patient while figures are made.
pub type Patient = u32;

/// A figure that adds up over patients.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Of which figure of the cell it is a part, so that the others and it add up to that one. Parts do not overlap.
    pub within: Option<usize>,
    /// Without which other figure it is not shown, because it would tell of that one.
    pub only_with: Option<usize>,
    /// To a multiple of what it is published.
    pub step: u64,
    /// Whether it says something of each patient whose records it counts, if they are all that a cell has.
    pub is_status: bool,
}

impl Measure {
    /// By itself.
    pub const fn whole(step: u64) -> Self {
        Self { within: None, only_with: None, step, is_status: false }
    }

    /// Some records of another.
    pub const fn part_of(whole: usize) -> Self {
        Self { within: Some(whole), ..Self::whole(COUNT_STEP) }
    }

    /// By itself, but shown only where another is.
    pub const fn only_with(other: usize, step: u64) -> Self {
        Self { only_with: Some(other), ..Self::whole(step) }
    }

    /// The records of a cell of which one thing became.
    pub const fn status() -> Self {
        Self { is_status: true, ..Self::part_of(0) }
    }
}

/// How often a patient has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Whose it is.
    pub patient: Patient,
    /// What was measured.
    pub value: i32,
    /// How often.
    pub count: u64,
}

/// One value of one dimension.
#[derive(Clone, Debug)]
pub struct Cell<const M: usize, const Q: usize = 1> {
    /// What each patient contributes to each of the measures; the first is never 0.
    pub weights: HashMap<Patient, [u64; M]>,
    /// What percentiles are taken of.
    pub samples: [Vec<Sample>; Q],
}

impl<const M: usize, const Q: usize> Default for Cell<M, Q> {
    fn default() -> Self {
        Self { weights: HashMap::new(), samples: [const { Vec::new() }; Q] }
    }
}

/// The cells of figures that are about the same records: sums of `M` measures, and percentiles of `Q` quantities.
#[derive(Clone, Debug)]
pub struct Cells<const M: usize, const Q: usize = 1> {
    /// What is measured; the first is what cells are about.
    pub measures: [Measure; M],
    /// By dimension and value. What stands under `clinic` is the total of every other dimension.
    pub dimensions: BTreeMap<AnalyticsDimension, BTreeMap<CellValue, Cell<M, Q>>>,
    patients: HashMap<Uuid, Patient>,
}

impl<const M: usize, const Q: usize> Cells<M, Q> {
    /// Nothing yet.
    pub fn new(measures: [Measure; M]) -> Self {
        Self { measures, dimensions: BTreeMap::new(), patients: HashMap::new() }
    }

    /// Adds a record, with what was measured of it, to one value of each of some dimensions. One that weighs nothing is
    /// none.
    pub fn add(
        &mut self,
        pseudonym: Uuid,
        places: &[(AnalyticsDimension, CellValue)],
        weights: [u64; M],
        samples: [Option<i32>; Q],
    ) {
        if weights.first().is_none_or(|first| *first == 0) {
            return;
        }
        let patient = self.patient(pseudonym);
        for (dimension, value) in places {
            let cell = self.dimensions.entry(*dimension).or_default().entry(*value).or_default();
            let sums = cell.weights.entry(patient).or_insert([0; M]);
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            for (kept, value) in cell.samples.iter_mut().zip(samples) {
                kept.extend(value.map(|value| Sample { patient, value, count: 1 }));
            }
        }
    }

    /// Adds what was measured `count` times of a patient's records, which were added before.
    pub fn measure(
        &mut self,
        pseudonym: Uuid,
        places: &[(AnalyticsDimension, CellValue)],
        quantity: usize,
        (value, count): (i32, u64),
    ) {
        let patient = self.patient(pseudonym);
        for (dimension, place) in places {
            let cell = self.dimensions.get_mut(dimension).and_then(|values| values.get_mut(place));
            if let Some(kept) = cell.and_then(|cell| cell.samples.get_mut(quantity)) {
                kept.push(Sample { patient, value, count });
            }
        }
    }

    fn patient(&mut self, pseudonym: Uuid) -> Patient {
        let next = Patient::try_from(self.patients.len()).unwrap_or(Patient::MAX);
        *self.patients.entry(pseudonym).or_insert(next)
    }
}
