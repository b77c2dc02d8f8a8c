//! Which figures may be shown, so that none leads to few patients, nor tells the same of each of a group.
//!
//! A group of patients is *revealing* when there are fewer of them than the threshold, or when one of them makes up more
//! than four fifths of the figure. A status is *telling* where every record of a cell has it: whoever knows that somebody
//! is among the patients of the cell knows the status too.
//!
//! An *intruder* sees what is shown, and knows what adds up to what. There are two kinds of such relations:
//!
//! - along a *dimension*: the figures of all values add up to what the clinic has in all;
//! - within a *cell*: the parts of a figure, and what belongs to none of them, its *rest*, add up to the figure.
//!
//! Where one figure of a relation is not known, it follows from the others. Where those that are not known have nothing
//! together, each of them is nothing. And what several have together is known as well. No revealing or telling figure may
//! be known, by itself or together with others. As long as one is, the smallest of what it follows from is hidden.
//!
//! This intruder looks at one relation after the other. What only follows from several at once, as from some values of a
//! dimension and some parts less each other, is not looked for: the rounding of what is shown is all that stands before it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use carelog_domain::access::{AnalyticsDimension, CellValue};

use super::cells::{Cell, Cells, Measure, Patient};

/// The measure that a cell is about.
const RECORDS: usize = 0;

/// Of each cell, which measures may be shown.
pub(super) fn suppress<const M: usize, const Q: usize>(
    cells: &Cells<M, Q>,
    threshold: usize,
) -> BTreeMap<(AnalyticsDimension, CellValue), [bool; M]> {
    Suppression::new(cells, threshold).close()
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

    /// Nobody reveals nothing.
    pub(super) fn is_revealing(&self, threshold: usize) -> bool {
        let largest = self.0.values().copied().max().unwrap_or(0);
        let sum: u64 = self.0.values().sum();
        !self.0.is_empty() && (self.0.len() < threshold || largest * 5 > sum * 4)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Measure(usize),
    /// Of a measure with parts; shown nowhere.
    Rest(usize),
}

/// A number that is shown, or that an intruder may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Figure {
    /// Index of its cell.
    cell: usize,
    kind: Kind,
}

/// What adds up to what.
struct Relation {
    whole: Figure,
    addends: Vec<Figure>,
}

/// What is asked of a figure again and again.
#[derive(Clone, Copy)]
struct Brief {
    patients: usize,
    sum: u64,
    is_revealing: bool,
}

/// What an intruder knows; and from which relation, where it is not shown.
type Known = BTreeMap<Figure, Option<usize>>;

struct Suppression<'a, const M: usize, const Q: usize> {
    cells: Vec<(AnalyticsDimension, CellValue, &'a Cell<M, Q>)>,
    measures: &'a [Measure; M],
    threshold: usize,
    relations: Vec<Relation>,
    briefs: BTreeMap<Figure, Brief>,
    shown: BTreeSet<Figure>,
    /// Whether figures are revealing together, of those that were asked for.
    together: HashMap<Vec<Figure>, bool>,
}

impl<'a, const M: usize, const Q: usize> Suppression<'a, M, Q> {
    fn new(cells: &'a Cells<M, Q>, threshold: usize) -> Self {
        let places: Vec<_> = cells
            .dimensions
            .iter()
            .flat_map(|(dimension, values)| values.iter().map(|(value, cell)| (*dimension, *value, cell)))
            .collect();
        let wholes: Vec<usize> =
            (0..M).filter(|whole| cells.measures.iter().any(|part| part.within == Some(*whole))).collect();
        let kinds = || (0..M).map(Kind::Measure).chain(wholes.iter().copied().map(Kind::Rest));
        let mut suppression = Self {
            cells: places,
            measures: &cells.measures,
            threshold,
            relations: Vec::new(),
            briefs: BTreeMap::new(),
            shown: BTreeSet::new(),
            together: HashMap::new(),
        };
        for cell in 0..suppression.cells.len() {
            for figure in kinds().map(|kind| Figure { cell, kind }) {
                let group = suppression.group([figure]);
                let is_revealing = group.is_revealing(threshold);
                let brief = Brief { patients: group.0.len(), sum: group.0.values().sum(), is_revealing };
                suppression.briefs.insert(figure, brief);
            }
            suppression.shown.extend((0..M).map(|measure| Figure { cell, kind: Kind::Measure(measure) }));
            for whole in &wholes {
                let parts = suppression.parts(*whole).map(Kind::Measure).chain([Kind::Rest(*whole)]);
                let addends = parts.map(|kind| Figure { cell, kind }).collect();
                suppression
                    .relations
                    .push(Relation { whole: Figure { cell, kind: Kind::Measure(*whole) }, addends });
            }
        }
        let clinic = AnalyticsDimension::Clinic;
        let Some(total) = suppression.cells.iter().position(|(dimension, ..)| *dimension == clinic) else {
            return suppression;
        };
        for dimension in cells.dimensions.keys().filter(|dimension| **dimension != clinic) {
            for kind in kinds() {
                let values = (0..).zip(&suppression.cells).filter(|(_, (of, ..))| of == dimension);
                let addends = values.map(|(cell, _)| Figure { cell, kind }).collect();
                suppression.relations.push(Relation { whole: Figure { cell: total, kind }, addends });
            }
        }
        suppression
    }

    /// Hides until an intruder finds nothing.
    fn close(mut self) -> BTreeMap<(AnalyticsDimension, CellValue), [bool; M]> {
        let revealing: Vec<Figure> =
            self.shown.iter().copied().filter(|figure| self.brief(*figure).is_revealing).collect();
        for figure in revealing {
            self.hide(figure);
        }
        loop {
            let known = self.known();
            let next = match self.found(&known) {
                Some(Found::Shown(figure)) => Some(figure),
                Some(Found::Follows { relation, is_telling }) => {
                    self.smallest_source(relation, is_telling, &known)
                }
                None => None,
            };
            let Some(figure) = next else { break };
            self.hide(figure);
        }
        let may_show = |cell| {
            std::array::from_fn(|measure| self.shown.contains(&Figure { cell, kind: Kind::Measure(measure) }))
        };
        (0..)
            .zip(&self.cells)
            .map(|(cell, (dimension, value, _))| ((*dimension, *value), may_show(cell)))
            .collect()
    }

    /// What is shown, and what follows from it, step by step.
    fn known(&self) -> Known {
        let mut known: Known = self.shown.iter().map(|figure| (*figure, None)).collect();
        loop {
            let before = known.len();
            for (index, Relation { whole, addends }) in self.relations.iter().enumerate() {
                let unknown: Vec<Figure> =
                    addends.iter().copied().filter(|addend| !known.contains_key(addend)).collect();
                match (known.contains_key(whole), unknown.len()) {
                    (false, 0) => {
                        known.insert(*whole, Some(index));
                    }
                    (true, 1..) if unknown.len() == 1 || self.sum(&unknown) == 0 => {
                        known.extend(unknown.into_iter().map(|figure| (figure, Some(index))));
                    }
                    _ => {}
                }
            }
            if known.len() == before {
                return known;
            }
        }
    }

    /// Something that must not be known.
    fn found(&mut self, known: &Known) -> Option<Found> {
        for (figure, relation) in known {
            let is_telling = self.are_telling(&[*figure], known);
            if is_telling || self.brief(*figure).is_revealing {
                let follows = |relation| Found::Follows { relation, is_telling };
                return Some(relation.map_or(Found::Shown(*figure), follows));
            }
        }
        for index in 0..self.relations.len() {
            let Some(Relation { whole, addends }) = self.relations.get(index) else { continue };
            let unknown: Vec<Figure> =
                addends.iter().copied().filter(|addend| !known.contains_key(addend)).collect();
            if !known.contains_key(whole) || unknown.is_empty() {
                continue;
            }
            let is_telling = self.are_telling(&unknown, known);
            if is_telling || self.are_revealing(unknown) {
                return Some(Found::Follows { relation: index, is_telling });
            }
        }
        None
    }

    fn are_revealing(&mut self, figures: Vec<Figure>) -> bool {
        if let Some(are_revealing) = self.together.get(&figures) {
            return *are_revealing;
        }
        let are_revealing = self.group(figures.iter().copied()).is_revealing(self.threshold);
        self.together.insert(figures, are_revealing);
        are_revealing
    }

    /// Whether every record of some cells has one status, where it is known of each how many records it has.
    fn are_telling(&self, figures: &[Figure], known: &Known) -> bool {
        let Some(Figure { kind: Kind::Measure(status), .. }) = figures.first() else { return false };
        if self.measures.get(*status).is_none_or(|measure| !measure.is_status) {
            return false;
        }
        let records: Vec<Figure> =
            figures.iter().map(|figure| Figure { kind: Kind::Measure(RECORDS), ..*figure }).collect();
        figures.iter().all(|figure| figure.kind == Kind::Measure(*status))
            && records.iter().all(|figure| known.contains_key(figure))
            && self.sum(figures) == self.sum(&records)
    }

    /// Of all that is shown and a relation is known from, what is missed least: a part rather than a cell, something
    /// rather than nothing, a value rather than the clinic, few rather than many.
    /// That there is nothing of something hides nobody, but it hides what all the others are.
    fn smallest_source(&self, relation: usize, is_telling: bool, known: &Known) -> Option<Figure> {
        let (mut sources, mut seen, mut open) = (BTreeSet::new(), BTreeSet::from([relation]), vec![relation]);
        while let Some(Relation { whole, addends }) = open.pop().and_then(|index| self.relations.get(index)) {
            for figure in addends.iter().chain([whole]) {
                match known.get(figure) {
                    Some(None) => {
                        sources.insert(*figure);
                    }
                    Some(Some(from)) if seen.insert(*from) => open.push(*from),
                    _ => {}
                }
            }
        }
        sources.into_iter().min_by_key(|figure| {
            let Brief { patients, sum, .. } = self.brief(*figure);
            let is_total =
                self.cells.get(figure.cell).is_some_and(|(of, ..)| *of == AnalyticsDimension::Clinic);
            (figure.kind == Kind::Measure(RECORDS), sum == 0 && !is_telling, is_total, patients, *figure)
        })
    }

    /// With all its parts.
    fn hide(&mut self, figure: Figure) {
        self.shown.remove(&figure);
        let Kind::Measure(whole) = figure.kind else { return };
        let with_it: Vec<usize> =
            if whole == RECORDS { (RECORDS + 1..M).collect() } else { self.parts(whole).collect() };
        for measure in with_it {
            self.hide(Figure { kind: Kind::Measure(measure), ..figure });
        }
    }

    fn parts(&self, whole: usize) -> impl Iterator<Item = usize> + use<'a, M, Q> {
        let parts = (0..).zip(self.measures).filter(move |(_, part)| part.within == Some(whole));
        parts.map(|(index, _)| index)
    }

    fn brief(&self, figure: Figure) -> Brief {
        let nothing = Brief { patients: 0, sum: 0, is_revealing: false };
        self.briefs.get(&figure).copied().unwrap_or(nothing)
    }

    fn sum(&self, figures: &[Figure]) -> u64 {
        figures.iter().map(|figure| self.brief(*figure).sum).sum()
    }

    /// What patients have of some figures together.
    fn group(&self, figures: impl IntoIterator<Item = Figure>) -> Group {
        let mut group = Group::default();
        for figure in figures {
            let cell = self.cells.get(figure.cell).map(|(.., cell)| *cell);
            for (patient, weights) in cell.into_iter().flat_map(|cell| &cell.weights) {
                let of = |measure: usize| weights.get(measure).copied().unwrap_or(0);
                let weight = match figure.kind {
                    Kind::Measure(measure) => of(measure),
                    Kind::Rest(whole) => of(whole).saturating_sub(self.parts(whole).map(of).sum()),
                };
                group.add(*patient, weight);
            }
        }
        group
    }
}

/// How it is known.
enum Found {
    Shown(Figure),
    /// From a relation, by itself or with others.
    Follows {
        relation: usize,
        is_telling: bool,
    },
}
