//! What somebody who sees the published figures, and subtracts, can find out: nothing about few patients.

use std::collections::{BTreeMap, BTreeSet};

use carelog_domain::access::{AnalyticsDimension as Dimension, CellName, CellValue};
use proptest::prelude::*;
use uuid::Uuid;

use super::cells::{Cells, Measure};
use super::disclosure::{Shown, disclose};

const K: usize = 11;
const RECORDS: Measure = Measure::whole(5);
const ALL: CellValue = CellValue::Name(CellName::All);

/// Records: whose, on which weekday, and the parts that they count for.
type Record = (u8, u16, [u64; 2]);

/// Records in all and by weekday, with two parts.
fn cells(records: &[Record]) -> Cells<3> {
    cells_with(Measure::part_of(0), records)
}

fn cells_with(part: Measure, records: &[Record]) -> Cells<3> {
    let mut cells = Cells::new([RECORDS, part, part]);
    for (patient, weekday, [first, second]) in records {
        let places = [(Dimension::Clinic, ALL), (Dimension::Weekday, CellValue::Number(*weekday))];
        cells.add(Uuid::from_u128((*patient).into()), &places, [1, *first, *second], [None]);
    }
    cells
}

fn days(shown: &[Shown<3>], is: impl Fn(&Shown<3>) -> bool) -> Vec<String> {
    let weekdays = shown.iter().filter(|cell| cell.dimension == Dimension::Weekday);
    weekdays.filter(|cell| is(cell)).map(|cell| cell.value.to_string()).collect()
}

/// So many patients, counted from `first`, each with one record on a weekday.
fn on(weekday: u16, first: u8, patients: u8) -> Vec<Record> {
    (first..first + patients).map(|patient| (patient, weekday, [0, 0])).collect()
}

#[test]
fn one_patient_in_many_hidden_cells_is_one_patient() {
    // Days 1 to 5 are about the same three patients, who are fifteen when they are counted cell by cell.
    let mut records: Vec<Record> = (1..=5).flat_map(|day| on(day, 1, 3)).collect();
    records.extend(on(6, 20, 12));
    records.extend(on(7, 40, 30));

    let shown = disclose(&cells(&records), K);

    assert_eq!(days(&shown, |cell| cell.patients.is_none()), ["1", "2", "3", "4", "5", "6"]);
}

#[test]
fn what_is_hidden_together_is_not_mostly_one_patients() {
    // Two small days with thirteen patients together, of whom the first has far more than four fifths.
    let mut records = on(1, 1, 7);
    records.extend(on(2, 10, 6));
    records.extend([(1, 1, [0, 0])].repeat(100));
    records.extend(on(3, 20, 60));
    records.extend(on(4, 90, 100));

    let shown = disclose(&cells(&records), K);

    assert_eq!(days(&shown, |cell| cell.patients.is_none()), ["1", "2", "3"]);
}

#[test]
fn a_figure_about_few_is_hidden_and_so_is_what_it_follows_from() {
    // Of forty patients one is of the first part, twelve of the second, and the others of neither.
    let mut records = on(1, 1, 40);
    records[0].2 = [1, 0];
    records[1..13].iter_mut().for_each(|record| record.2 = [0, 1]);

    let shown = disclose(&cells(&records), K);

    // What is left, 28 patients with the one among them, tells nothing of the one.
    assert_eq!(shown[0].figures, [Some(40), None, Some(10)]);

    // Of the same, but with a second part that leaves no rest: it would tell of the first.
    records[13..].iter_mut().for_each(|record| record.2 = [0, 1]);

    let shown = disclose(&cells(&records), K);

    assert_eq!(shown[0].figures, [Some(40), None, None]);
}

#[test]
fn a_figure_hidden_on_one_day_does_not_follow_from_the_other_days() {
    let mut records = on(1, 1, 40);
    records.extend(on(2, 50, 40));
    records.extend(on(3, 100, 60));
    for record in &mut records {
        let of_the_day =
            [(1, 4), (2, 64), (3, 130)].iter().any(|(day, until)| record.1 == *day && record.0 < *until);
        record.2 = [u64::from(of_the_day), 0];
    }

    let shown = disclose(&cells(&records), K);

    // Three patients on day 1, fourteen on day 2, thirty on day 3: day 2 goes with day 1.
    assert_eq!(days(&shown, |cell| cell.patients.is_some() && cell.figures[1].is_none()), ["1", "2"]);
    assert_eq!(days(&shown, |cell| cell.figures[1] == Some(30)), ["3"]);
}

#[test]
fn a_figure_that_is_hidden_for_another_does_not_follow_from_the_other_days() {
    // On day 1 twelve patients are of the first part and one is of none, on day 2 thirty and twelve.
    let mut records = on(1, 1, 13);
    records.extend(on(2, 20, 42));
    for (index, record) in records[..43].iter_mut().enumerate() {
        record.2 = [u64::from(index != 12), 0];
    }

    let shown = disclose(&cells(&records), K);

    // Else day 1 would follow from all days and day 2, and its one patient from day 1.
    assert_eq!(days(&shown, |cell| cell.patients.is_some()), ["1", "2"]);
    assert_eq!(days(&shown, |cell| cell.figures[1].is_some()), Vec::<String>::new());

    // And where the other day has none of the part, what is hidden would follow from all days.
    records[13..].iter_mut().for_each(|record| record.2 = [0, 0]);
    let shown = disclose(&cells(&records), K);
    assert_eq!(shown.iter().filter(|cell| cell.figures[1].is_some_and(|part| part > 0)).count(), 0);
}

#[test]
fn a_status_that_all_of_a_cell_have_is_hidden_and_does_not_follow() {
    // On day 1 everybody has the first status, on days 2 and 3 some have it and some the second.
    let mut records = on(1, 1, 40);
    records.extend(on(2, 50, 60));
    records.extend(on(3, 120, 80));
    for (index, record) in records.iter_mut().enumerate() {
        record.2 = if index < 40 || index % 2 == 0 { [1, 0] } else { [0, 1] };
    }

    let shown = disclose(&cells_with(Measure::status(), &records), K);

    assert_eq!(days(&shown, |cell| cell.patients.is_some()), ["1", "2", "3"]);
    assert_eq!(days(&shown, |cell| cell.figures[1].is_none()), ["1", "2"]);
    // Of all days together everything is known, so that what day 1 has of the second would tell what it has of the first.
    assert_eq!(days(&shown, |cell| cell.figures[2].is_none()), ["1", "2"]);

    // What is no status may be all.
    let shown = disclose(&cells(&records), K);
    assert_eq!(days(&shown, |cell| cell.figures[1].is_none()), Vec::<String>::new());
}

#[test]
fn a_median_of_few_is_hidden_and_numbers_are_rounded() {
    let mut cells = Cells::new([RECORDS]);
    let mut add = |patients: std::ops::Range<u128>, value: CellValue, sample: Option<i32>| {
        for patient in patients {
            cells.add(Uuid::from_u128(patient), &[(Dimension::Weekday, value)], [1], [sample]);
        }
    };
    add(0..17, CellValue::Number(1), None);
    add(0..10, CellValue::Number(1), Some(15));
    add(0..23, CellValue::Number(2), Some(20));

    let shown = disclose(&cells, K);

    let told: Vec<_> = shown.iter().map(|cell| (cell.patients, cell.figures, cell.medians[0])).collect();
    assert_eq!(told, [(Some(15), [Some(25)], None), (Some(25), [Some(25)], Some(20))]);
}

#[test]
fn nobody_is_shown_as_nobody_and_no_threshold_goes_below_five() {
    let shown = disclose(&cells(&on(1, 1, 6)), 0);
    assert_eq!(shown[0].figures, [Some(5), Some(0), Some(0)]);

    let shown = disclose(&cells(&on(1, 1, 4)), 0);
    assert_eq!((shown[0].patients, shown[0].figures), (None, [None; 3]));
}

/// What each patient has of a figure.
type Group = BTreeMap<u8, u64>;

fn is_revealing(group: &Group) -> bool {
    let (sum, largest) = (group.values().sum::<u64>(), group.values().max().copied().unwrap_or(0));
    sum > 0 && (group.values().filter(|weight| **weight > 0).count() < K || largest * 5 > sum * 4)
}

fn group<'a>(records: impl Iterator<Item = &'a Record>, measure: usize) -> Group {
    let mut group = Group::new();
    for (patient, _, parts) in records {
        *group.entry(*patient).or_default() += if measure == 0 { 1 } else { parts[measure - 1] };
    }
    group.retain(|_, weight| *weight > 0);
    group
}

/// A figure: of which cell, and which one. The last is what belongs to none of the parts, which is shown nowhere.
type Figure = (CellValue, usize);
const REST: usize = 3;

/// What adds up: the first figure of each is the sum of the others.
fn sums(shown: &[Shown<3>]) -> Vec<Vec<Figure>> {
    let in_cells = shown.iter().map(|cell| [0, 1, 2, REST].map(|figure| (cell.value, figure)).to_vec());
    let along = (0..=REST).map(|figure| {
        let days = shown.iter().filter(|cell| cell.value != ALL).map(|cell| (cell.value, figure));
        std::iter::once((ALL, figure)).chain(days).collect()
    });
    in_cells.chain(along).collect()
}

/// Every figure that is shown, and every one that follows from those by subtraction, step by step, and what several that
/// are hidden have together, as its patients.
fn found_out(records: &[Record], shown: &[Shown<3>], is_status: bool) -> Vec<(String, Group)> {
    let of_figure = |(value, figure): Figure| {
        let own = records.iter().filter(|record| value == ALL || value == CellValue::Number(record.1));
        let rest = own.clone().filter(|record| record.2 == [0, 0]);
        if figure == REST { group(rest, 0) } else { group(own, figure) }
    };
    let mut known: BTreeSet<Figure> = shown
        .iter()
        .flat_map(|cell| (0..3).map(|figure| (cell.value, figure)).zip(cell.figures))
        .filter_map(|(figure, number)| number.map(|_| figure))
        .collect();
    let sums = sums(shown);
    loop {
        let mut follows = Vec::new();
        for sum in &sums {
            let unknown: Vec<Figure> = sum.iter().copied().filter(|figure| !known.contains(figure)).collect();
            // No figure is less than nothing.
            let are_nothing =
                known.contains(&sum[0]) && unknown.iter().all(|figure| of_figure(*figure).is_empty());
            if unknown.len() == 1 || are_nothing {
                follows.extend(unknown);
            }
        }
        if follows.is_empty() {
            break;
        }
        known.extend(follows);
    }
    let told = if is_status { told(&sums, &known, of_figure) } else { Vec::new() };
    let together = sums.iter().filter(|sum| known.contains(&sum[0])).map(|sum| {
        let mut hidden = Group::new();
        for figure in sum.iter().filter(|figure| !known.contains(*figure)) {
            for (patient, weight) in of_figure(*figure) {
                *hidden.entry(patient).or_default() += weight;
            }
        }
        (format!("what is hidden of {:?}", sum[0]), hidden)
    });
    let known = known.iter().map(|figure| (format!("{figure:?}"), of_figure(*figure)));
    known.chain(together).chain(told).collect()
}

/// Records that are known to have all the same status, told as the one that they have: a group of one.
fn told(
    sums: &[Vec<Figure>],
    known: &BTreeSet<Figure>,
    of_figure: impl Fn(Figure) -> Group,
) -> Vec<(String, Group)> {
    let number = |figures: &[Figure]| {
        figures.iter().map(|figure| of_figure(*figure).values().sum::<u64>()).sum::<u64>()
    };
    let alone = known.iter().map(|figure| vec![*figure]);
    let of_one_kind =
        sums.iter().filter(|sum| known.contains(&sum[0]) && sum[1..].iter().all(|of| of.1 == sum[0].1));
    let together = of_one_kind
        .map(|sum| sum.iter().copied().filter(|figure| !known.contains(figure)).collect::<Vec<Figure>>());
    let all_have_it = |figures: &Vec<Figure>| {
        let records: Vec<Figure> = figures.iter().map(|(value, _)| (*value, 0)).collect();
        figures.iter().all(|(_, figure)| [1, 2].contains(figure))
            && records.iter().all(|figure| known.contains(figure))
            && number(&records) > 0
            && number(figures) == number(&records)
    };
    let one = || Group::from([(0, 1)]);
    alone
        .chain(together)
        .filter(all_have_it)
        .map(|figures| (format!("all have {figures:?}"), one()))
        .collect()
}

proptest! {
    #[test]
    fn whoever_subtracts_finds_nobody(
        records in prop::collection::vec((0_u8..40, 1_u16..5, 0_usize..4), 1..150),
        busy in prop::option::of((0_u8..40, 1_u16..5, 0_usize..4, 1_usize..200)),
        of_days in prop::collection::vec(prop::option::of(1_usize..3), 4),
        has_rest in any::<bool>(),
        is_status in any::<bool>(),
    ) {
        // On some days all have the same part, and there may be nobody who has none.
        let part = |day: u16, part: usize| {
            let part = of_days[usize::from(day - 1)].unwrap_or(part);
            if has_rest || part == 1 { part } else { 2 }
        };
        let parts = |part: usize| [u64::from(part == 1), u64::from(part == 2)];
        let mut records: Vec<Record> =
            records.into_iter().map(|(patient, day, of)| (patient, day, parts(part(day, of)))).collect();
        if let Some((patient, day, part, count)) = busy {
            records.extend(vec![(patient, day, parts(part)); count]);
        }

        let measure = if is_status { Measure::status() } else { Measure::part_of(0) };
        let shown = disclose(&cells_with(measure, &records), K);

        for (what, group) in found_out(&records, &shown, is_status) {
            prop_assert!(!is_revealing(&group), "{what}: {group:?} of {shown:#?}");
        }
    }
}
