//! What somebody who sees the published figures, and subtracts, can find out: nothing about few patients.

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

    // Parts are shown all or not at all.
    assert_eq!(shown[0].figures, [Some(40), None, None]);

    // Nobody is of the first, which is known, and hides nobody.
    records[0].2 = [0, 0];

    let shown = disclose(&cells(&records), K);

    assert_eq!(shown[0].figures, [Some(40), Some(0), Some(10)]);
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

    // Nor may it be known that the other day has none of the part.
    records[13..].iter_mut().for_each(|record| record.2 = [0, 0]);
    let shown = disclose(&cells(&records), K);
    assert_eq!(days(&shown, |cell| cell.figures[1].is_some()), Vec::<String>::new());
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

    // To have none of them is a status too.
    records[..40].iter_mut().for_each(|record| record.2 = [0, 0]);
    let shown = disclose(&cells_with(Measure::status(), &records), K);
    assert_eq!(days(&shown, |cell| cell.figures[1].is_none()), ["1", "2"]);
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

#[test]
fn a_sum_that_is_mostly_one_patients_is_hidden_by_itself() {
    // Minutes of forty patients on each of three days; on the first one patient has nearly all of them.
    let mut cells = Cells::<2>::new([RECORDS, Measure::whole(15)]);
    for (day, patient) in (1..=3).flat_map(|day| (0..40).map(move |patient| (day, patient))) {
        let places = [(Dimension::Clinic, ALL), (Dimension::Weekday, CellValue::Number(day))];
        let minutes = if (day, patient) == (1, 0) { 10_000 } else { 30 * u64::from(day) };
        cells.add(Uuid::from_u128(patient), &places, [1, minutes], [None]);
    }

    let shown = disclose(&cells, K);

    assert!(shown.iter().all(|cell| cell.figures[0].is_some()));
    // Those of the first day would follow from all and the other days, so that they take the second along.
    let with_minutes: Vec<_> =
        shown.iter().filter(|cell| cell.figures[1].is_some()).map(|cell| cell.value).collect();
    assert_eq!(with_minutes, [ALL, CellValue::Number(3)]);
}

proptest! {
    #[test]
    fn whoever_adds_and_subtracts_whatever_is_shown_finds_nobody(table in super::intruder::table()) {
        let shown = disclose(&table.cells(), K);

        let found = table.found_out(&shown, K);

        prop_assert_eq!(&found, &Vec::<String>::new(), "{:#?}", shown);
    }
}
