//! Somebody who knows every figure that is shown, not rounded, and whatever is a sum and difference of some of them.
//!
//! Records lie in a table: days by *columns*, where each record is in one column. Each figure that is shown is the sum of
//! some fields of the table, a *region*. A region is known where it is a linear combination of those that are shown; and
//! where a region that is known has nothing, each of its fields is known to have nothing. All regions are tried.

use std::collections::{BTreeMap, BTreeSet};

use carelog_domain::access::{AnalyticsDimension as Dimension, CellName, CellValue};
use proptest::prelude::*;
use uuid::Uuid;

use super::cells::{Cells, Measure};
use super::disclosure::Shown;

const ALL: CellValue = CellValue::Name(CellName::All);
/// Arithmetic is done modulo this prime; the minors of such small matrices are far smaller.
const PRIME: i64 = 1_000_003;
/// The columns: of the first part, of the second, of the third, of none.
const COLUMNS: usize = 4;
const DAYS: usize = 3;
const FIELDS: usize = COLUMNS * DAYS;

/// Some fields of the table, a bit each.
type Region = usize;

/// What is in the table, and what its columns mean.
#[derive(Debug, Clone)]
pub(super) struct Table {
    /// Whose, on which day, and in which column.
    records: Vec<(u8, usize, usize)>,
    /// Whether the third part is a part of the second, rather than one beside it.
    is_nested: bool,
    is_status: bool,
}

/// Tables with few patients and many, busy ones, days on which all have the same, and columns that have nobody.
pub(super) fn table() -> impl Strategy<Value = Table> {
    (
        prop::collection::vec((0_u8..60, 0..DAYS, 0..COLUMNS), 1..220),
        prop::option::of((0_u8..40, 0..DAYS, 0..COLUMNS, 1_usize..200)),
        prop::collection::vec(prop::option::weighted(0.2, 0..COLUMNS), DAYS),
        prop::collection::vec(prop::option::weighted(0.3, 0..COLUMNS), COLUMNS),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(records, busy, of_days, instead, is_nested, is_status)| {
            let busy = busy
                .into_iter()
                .flat_map(|(patient, day, column, count)| vec![(patient, day, column); count]);
            let records = records.into_iter().chain(busy).map(|(patient, day, column)| {
                let column = of_days[day].unwrap_or(column);
                (patient, day, instead[column].unwrap_or(column))
            });
            Table { records: records.collect(), is_nested, is_status }
        })
}

impl Table {
    pub(super) fn cells(&self) -> Cells<5> {
        let part = if self.is_status { Measure::status() } else { Measure::part_of(0) };
        let third = if self.is_nested { Measure::part_of(2) } else { part };
        let mut cells = Cells::new([Measure::whole(5), part, part, third, Measure::only_with(1, 5)]);
        for (patient, day, column) in &self.records {
            let places = [(Dimension::Clinic, ALL), (Dimension::Weekday, day_of(*day))];
            let weights = std::array::from_fn(|measure| u64::from(self.columns_of(measure).contains(column)));
            cells.add(Uuid::from_u128((*patient).into()), &places, weights, [None]);
        }
        cells
    }

    /// Of which columns a measure is the sum.
    fn columns_of(&self, measure: usize) -> &'static [usize] {
        match measure {
            0 => &[0, 1, 2, 3],
            1 | 4 => &[0],
            2 if self.is_nested => &[1, 2],
            2 => &[1],
            _ => &[2],
        }
    }

    /// Everything that an intruder learns and must not.
    pub(super) fn found_out(&self, shown: &[Shown<5>], threshold: usize) -> Vec<String> {
        let mut known = Span::default();
        for cell in shown {
            for measure in (0..5).filter(|measure| cell.figures[*measure].is_some()) {
                let days = (0..DAYS).filter(|day| cell.value == ALL || cell.value == day_of(*day));
                known.add(days.map(|day| region(day, self.columns_of(measure))).sum());
            }
        }
        let groups: Vec<BTreeMap<u8, u64>> = (0..1 << FIELDS).map(|region| self.group(region)).collect();
        loop {
            let before = known.rows.len();
            let empty = (1..1 << FIELDS).filter(|region| groups[*region].is_empty());
            let are_nothing: Region = empty.filter(|region| known.has(*region)).fold(0, |all, one| all | one);
            (0..FIELDS)
                .map(|field| 1 << field)
                .filter(|field| are_nothing & field != 0)
                .for_each(|field| known.add(field));
            if known.rows.len() == before {
                break;
            }
        }
        let regions: BTreeSet<Region> = (1..1 << FIELDS).filter(|region| known.has(*region)).collect();
        let revealing = regions.iter().filter(|region| is_revealing(&groups[**region], threshold));
        let telling = (1..1 << DAYS).flat_map(|days: usize| {
            let of = move |columns: &'static [usize]| -> Region {
                (0..DAYS).filter(|day| days & 1 << day != 0).map(|day| region(day, columns)).sum()
            };
            let all = of(&[0, 1, 2, 3]);
            let statuses: [&[usize]; 4] = [self.columns_of(1), self.columns_of(2), self.columns_of(3), &[3]];
            let statuses = statuses
                .into_iter()
                .filter(|columns| self.is_status && !(self.is_nested && **columns == [2]));
            let (groups, regions) = (&groups, &regions);
            let sum = |region: Region| groups[region].values().sum::<u64>();
            statuses.map(of).filter(move |one| {
                regions.contains(one) && regions.contains(&all) && sum(all) > 0 && sum(*one) == sum(all)
            })
        });
        let telling: Vec<String> = telling.map(|region| format!("all have {region:0FIELDS$b}")).collect();
        let revealing = revealing.map(|region| format!("{region:0FIELDS$b} is {:?}", groups[*region]));
        revealing.chain(telling).collect()
    }

    fn group(&self, region: Region) -> BTreeMap<u8, u64> {
        let mut group = BTreeMap::new();
        for (patient, ..) in
            self.records.iter().filter(|(_, day, column)| region & 1 << (day * COLUMNS + column) != 0)
        {
            *group.entry(*patient).or_default() += 1;
        }
        group
    }
}

fn region(day: usize, columns: &[usize]) -> Region {
    columns.iter().map(|column| 1 << (day * COLUMNS + column)).sum()
}

fn day_of(day: usize) -> CellValue {
    CellValue::Number(u16::try_from(day + 1).unwrap())
}

fn is_revealing(group: &BTreeMap<u8, u64>, threshold: usize) -> bool {
    let (sum, largest) = (group.values().sum::<u64>(), group.values().max().copied().unwrap_or(0));
    sum > 0 && (group.len() < threshold || largest * 5 > sum * 4)
}

/// What regions can be made of some, by multiplying, adding and subtracting: each row begins with a 1 in its own place.
#[derive(Default)]
struct Span {
    rows: Vec<(usize, [i64; FIELDS])>,
}

impl Span {
    fn add(&mut self, region: Region) {
        let rest = self.reduced(region);
        let Some(place) = rest.iter().position(|number| *number != 0) else { return };
        let inverse = power(rest[place], PRIME - 2);
        self.rows.push((place, rest.map(|number| number * inverse % PRIME)));
    }

    fn has(&self, region: Region) -> bool {
        self.reduced(region) == [0; FIELDS]
    }

    /// What of a region no row accounts for.
    fn reduced(&self, region: Region) -> [i64; FIELDS] {
        let mut rest = std::array::from_fn(|field| i64::from(region & 1 << field != 0));
        for (place, row) in &self.rows {
            let factor: i64 = rest[*place];
            if factor != 0 {
                rest.iter_mut()
                    .zip(row)
                    .for_each(|(number, of)| *number = (*number - factor * of).rem_euclid(PRIME));
            }
        }
        rest
    }
}

fn power(base: i64, exponent: i64) -> i64 {
    let (mut product, mut base, mut exponent) = (1, base, exponent);
    while exponent > 0 {
        if exponent % 2 == 1 {
            product = product * base % PRIME;
        }
        base = base * base % PRIME;
        exponent /= 2;
    }
    product
}
