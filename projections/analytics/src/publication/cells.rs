//! Facts, sorted into cells: what each patient contributes to each figure of each value of each dimension.

use std::collections::{BTreeMap, HashMap};

use carelog_domain::access::{AnalyticsDimension, CellValue};
use uuid::Uuid;

/// Stands for a patient while figures are made.
pub type Patient = u32;

/// A figure that adds up over patients.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Of which figure of the cell it is a part, so that the others and it add up to that one. Parts do not overlap.
    pub within: Option<usize>,
    /// To a multiple of what it is published.
    pub step: u64,
}

/// One value of one dimension.
#[derive(Clone, Debug)]
pub struct Cell<const M: usize> {
    /// What each patient contributes to each of the measures; the first is never 0.
    pub weights: HashMap<Patient, [u64; M]>,
    /// What a median is taken of.
    pub samples: Vec<(Patient, i32)>,
}

impl<const M: usize> Default for Cell<M> {
    fn default() -> Self {
        Self { weights: HashMap::new(), samples: Vec::new() }
    }
}

/// The cells of figures that are about the same records.
#[derive(Clone, Debug)]
pub struct Cells<const M: usize> {
    /// What is measured; the first is what cells are about.
    pub measures: [Measure; M],
    /// By dimension and value. What stands under `clinic` is the total of every other dimension.
    pub dimensions: BTreeMap<AnalyticsDimension, BTreeMap<CellValue, Cell<M>>>,
    patients: HashMap<Uuid, Patient>,
}

impl<const M: usize> Cells<M> {
    /// Nothing yet.
    pub fn new(measures: [Measure; M]) -> Self {
        Self { measures, dimensions: BTreeMap::new(), patients: HashMap::new() }
    }

    /// Adds a record to one value of each of some dimensions. One that weighs nothing is none.
    pub fn add(
        &mut self,
        pseudonym: Uuid,
        places: &[(AnalyticsDimension, CellValue)],
        weights: [u64; M],
        sample: Option<i32>,
    ) {
        if weights.first().is_none_or(|first| *first == 0) {
            return;
        }
        let next = Patient::try_from(self.patients.len()).unwrap_or(Patient::MAX);
        let patient = *self.patients.entry(pseudonym).or_insert(next);
        for (dimension, value) in places {
            let cell = self.dimensions.entry(*dimension).or_default().entry(*value).or_default();
            let sums = cell.weights.entry(patient).or_insert([0; M]);
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            cell.samples.extend(sample.map(|sample| (patient, sample)));
        }
    }
}
