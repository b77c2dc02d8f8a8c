//! Which figures may be shown, so that none leads to few patients, nor tells the same of each of a group.
//!
//! A group of patients is *revealing* when there are fewer of them than the threshold, or when one of them makes up more
//! than four fifths of the figure. A status is *telling* where every record of a cell has it: whoever knows that somebody
//! is among the patients of the cell knows the status too.
//!
//! An *intruder* sees what is shown, and knows what adds up to what:
//!
//! - within a *cell*, the parts of a figure, and what belongs to none of them, its *rest*, add up to the figure;
//! - along a *dimension*, the figures of all values add up to what the clinic has in all.
//!
//! Figures that add up within a cell are a [`Family`]: of each cell it is shown whole, or not at all with whatever is
//! made of it. So of the cells of a dimension that are without a family, no more follows than what they have together of
//! each of its figures, and that must be neither revealing nor telling. As long as it is, one more cell is without.
//!
//! Nothing else follows, from however many figures at once. What is not shown is a table of cells and of figures, of which
//! at most the sums of rows and of columns are known; and sums of those tell of a part of the table only where it is made
//! of whole rows or of whole columns. Values of different dimensions are not taken from each other: what belongs to both
//! is published nowhere.

use std::collections::{BTreeMap, HashMap};

use carelog_domain::access::{AnalyticsDimension, CellValue};

use super::cells::{Cell, Cells, Measure, Patient};

/// The measure that a cell is about.
const RECORDS: usize = 0;

/// Of each cell, which measures may be shown.
pub(super) type MayShow<const M: usize> = BTreeMap<(AnalyticsDimension, CellValue), [bool; M]>;

/// Finds out what may be shown.
pub(super) fn suppress<const M: usize, const Q: usize>(cells: &Cells<M, Q>, threshold: usize) -> MayShow<M> {
    let places = cells
        .dimensions
        .iter()
        .flat_map(|(dimension, values)| values.keys().map(|value| (*dimension, *value)));
    let mut may_show: MayShow<M> = places.map(|place| (place, [true; M])).collect();
    for family in families(&cells.measures) {
        let judge = Judge { family: &family, measures: &cells.measures, threshold };
        // Where the clinic's own figures are withheld, or are none, no sum along a dimension is known.
        let total = judge.of_dimension(cells, AnalyticsDimension::Clinic, &may_show);
        let is_total_shown = total.values().any(|view| !view.is_hidden);
        for dimension in cells.dimensions.keys() {
            let mut views = judge.of_dimension(cells, *dimension, &may_show);
            if *dimension != AnalyticsDimension::Clinic && is_total_shown {
                judge.complement(&mut views);
            }
            for (value, _) in views.iter().filter(|(_, view)| view.is_hidden) {
                let Some(may_show) = may_show.get_mut(&(*dimension, *value)) else { continue };
                for member in &family.members {
                    may_show.get_mut(*member).into_iter().for_each(|may_show| *may_show = false);
                }
            }
        }
    }
    may_show
}

/// How much each patient has of something.
#[derive(Debug, Default)]
pub(super) struct Group(HashMap<Patient, u64>);

impl Group {
    pub(super) fn add(&mut self, patient: Patient, weight: u64) {
        if weight > 0 {
            *self.0.entry(patient).or_default() += weight;
        }
    }

    pub(super) fn is_revealing(&self, threshold: usize) -> bool {
        self.extent().is_revealing(threshold)
    }

    fn extent(&self) -> Extent {
        let mut extent = Extent::default();
        self.0.values().for_each(|weight| extent.add(*weight));
        extent
    }
}

/// What of a group decides.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    patients: usize,
    /// What one patient has at most.
    largest: u64,
    sum: u64,
}

impl Extent {
    /// One more patient.
    fn add(&mut self, weight: u64) {
        self.patients += usize::from(weight > 0);
        self.largest = self.largest.max(weight);
        self.sum += weight;
    }

    /// Nobody reveals nothing.
    const fn is_revealing(self, threshold: usize) -> bool {
        self.patients > 0 && (self.patients < threshold || self.largest * 5 > self.sum * 4)
    }
}

/// Figures that are shown or withheld together.
#[derive(Debug)]
struct Family {
    /// Without which it is not shown.
    parent: Option<usize>,
    members: Vec<usize>,
    /// Of what they are the parts.
    whole: Option<usize>,
}

/// All of them, each after the one without which it is not shown.
fn families<const M: usize>(measures: &[Measure; M]) -> Vec<Family> {
    let alone = |only_with| {
        let wholes = (0..)
            .zip(measures)
            .filter(move |(_, measure)| measure.within.is_none() && measure.only_with == only_with);
        wholes.map(move |(index, _)| Family {
            parent: only_with.or((index != RECORDS).then_some(RECORDS)),
            members: vec![index],
            whole: None,
        })
    };
    let mut families: Vec<Family> = alone(None).collect();
    let mut next = 0;
    while let Some(family) = families.get(next) {
        let parts_of = |whole: usize| {
            let parts = (0..).zip(measures).filter(move |(_, part)| part.within == Some(whole));
            let members: Vec<usize> = parts.map(|(index, _)| index).collect();
            (!members.is_empty()).then_some(Family { parent: Some(whole), members, whole: Some(whole) })
        };
        let members = family.members.iter().copied();
        let children: Vec<Family> =
            members.flat_map(|member| parts_of(member).into_iter().chain(alone(Some(member)))).collect();
        families.extend(children);
        next += 1;
    }
    families
}

/// Whether a cell may show a family, and what that costs where it may not.
struct View<'a, const M: usize, const Q: usize> {
    cell: &'a Cell<M, Q>,
    extents: Vec<Extent>,
    is_hidden: bool,
}

impl<const M: usize, const Q: usize> View<'_, M, Q> {
    /// How many patients' figures are lost where this cell is hidden to make up for a fault; nothing where it does not help.
    fn cost(&self, fault: Fault) -> Option<usize> {
        let concerns = |figure: &usize| match fault {
            Fault::Reveals(of) => *figure == of,
            Fault::Tells(of) => *figure != of,
        };
        let concerned = (0..).zip(&self.extents).filter(|(figure, _)| concerns(figure));
        let patients: usize = concerned.map(|(_, extent)| extent.patients).sum();
        (!self.is_hidden && patients > 0).then_some(patients)
    }
}

/// Why some cells must not be known: for the figure of such an index.
#[derive(Clone, Copy)]
enum Fault {
    Reveals(usize),
    Tells(usize),
}

/// Judges the figures of a family. Its rest is the last of them.
struct Judge<'a, const M: usize> {
    family: &'a Family,
    measures: &'a [Measure; M],
    threshold: usize,
}

impl<const M: usize> Judge<'_, M> {
    /// The cells of a dimension; those are hidden that have a fault by themselves, or do not show what the family belongs to.
    fn of_dimension<'a, const Q: usize>(
        &self,
        cells: &'a Cells<M, Q>,
        dimension: AnalyticsDimension,
        may_show: &MayShow<M>,
    ) -> BTreeMap<CellValue, View<'a, M, Q>> {
        let view = |(value, cell): (&CellValue, &'a Cell<M, Q>)| {
            let may_show = may_show.get(&(dimension, *value));
            let parent = self.family.parent.and_then(|parent| may_show?.get(parent).copied());
            let mut extents = vec![Extent::default(); self.count()];
            self.each(cell, |extent: &mut Extent, _, weight| extent.add(weight), &mut extents);
            let is_hidden = parent == Some(false) || self.fault(&extents).is_some();
            (*value, View { cell, extents, is_hidden })
        };
        cells.dimensions.get(&dimension).into_iter().flatten().map(view).collect()
    }

    /// Hides more cells until those that are hidden have no fault together.
    fn complement<const Q: usize>(&self, views: &mut BTreeMap<CellValue, View<'_, M, Q>>) {
        let mut together: Vec<Group> = (0..self.count()).map(|_| Group::default()).collect();
        for view in views.values().filter(|view| view.is_hidden) {
            self.each(view.cell, Group::add, &mut together);
        }
        while let Some(fault) = self.fault(&together.iter().map(Group::extent).collect::<Vec<Extent>>()) {
            let may_help = views.values_mut().filter_map(|view| Some((view.cost(fault)?, view)));
            let Some((_, next)) = may_help.min_by_key(|(cost, _)| *cost) else { break };
            next.is_hidden = true;
            self.each(next.cell, Group::add, &mut together);
        }
    }

    /// How many figures there are to judge.
    fn count(&self) -> usize {
        self.family.members.len() + usize::from(self.family.whole.is_some())
    }

    /// Adds what each patient of a cell has of each figure.
    fn each<const Q: usize, T>(
        &self,
        cell: &Cell<M, Q>,
        add: impl Fn(&mut T, Patient, u64),
        figures: &mut [T],
    ) {
        for (patient, weights) in &cell.weights {
            let of = |measure: usize| weights.get(measure).copied().unwrap_or(0);
            let members = || self.family.members.iter().copied().map(of);
            let rest = self.family.whole.map(|whole| of(whole).saturating_sub(members().sum()));
            for (figure, weight) in figures.iter_mut().zip(members().chain(rest)) {
                add(figure, *patient, weight);
            }
        }
    }

    /// The first fault there is.
    fn fault(&self, extents: &[Extent]) -> Option<Fault> {
        let of_all: u64 = extents.iter().map(|extent| extent.sum).sum();
        let members = self.family.members.iter().filter_map(|member| self.measures.get(*member));
        let are_statuses = members.into_iter().any(|measure| measure.is_status);
        (0..).zip(extents).find_map(|(figure, extent)| {
            let tells = are_statuses && extent.sum > 0 && extent.sum == of_all;
            let reveals = extent.is_revealing(self.threshold).then_some(Fault::Reveals(figure));
            reveals.or(tells.then_some(Fault::Tells(figure)))
        })
    }
}
