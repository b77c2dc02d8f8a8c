//! The input of the imports, and a count of it that shares nothing with the importer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use carelog_tests::Random;
use csv::StringRecord;
use flate2::read::GzDecoder;

const HEADER: [&str; 14] = [
    "PatientId",
    "AppointmentID",
    "Gender",
    "ScheduledDay",
    "AppointmentDay",
    "Age",
    "Neighbourhood",
    "Scholarship",
    "Hipertension",
    "Diabetes",
    "Alcoholism",
    "Handcap",
    "SMS_received",
    "No_show",
];
const FIRST_ROWS: usize = 2_000;

/// The rows of the input.
pub(crate) struct Sample {
    pub(crate) rows: Vec<StringRecord>,
    pub(super) is_real: bool,
}

/// What an input amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recount {
    pub(super) clinics: u64,
    pub(super) rejected: u64,
    pub(super) events: BTreeMap<String, u64>,
}

pub(crate) fn sample() -> Sample {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/appointments-vitoria-2016.csv.gz");
    match std::fs::File::open(&path) {
        Ok(file) => {
            println!("the input is the file with real appointments beside the checkout");
            let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
            assert_eq!(reader.headers().unwrap(), &HEADER[..]);
            Sample { rows: reader.records().collect::<Result<_, _>>().unwrap(), is_real: true }
        }
        Err(error) => {
            println!("no file with real appointments beside the checkout ({error}): the input is generated");
            Sample { rows: generated(), is_real: false }
        }
    }
}

fn generated() -> Vec<StringRecord> {
    let mut random = Random::seeded(7);
    let row = |number: u64| {
        let patient = 29_872_499_824_296 + random.below(1_500);
        let (day, later) = (1 + random.below(20), random.below(9));
        let (reminder, no_show) = (random.below(3) / 2, if random.below(5) == 0 { "Yes" } else { "No" });
        // One row in the middle lies before its booking.
        let held =
            if number == 1_000 { "2016-03-31".to_owned() } else { format!("2016-04-{:02}", day + later) };
        let booked = format!("2016-04-{day:02} {:02}:{:02}:00", random.below(24), random.below(60));
        let clinic = format!("ITARARÉ {}", random.below(20));
        let cells = [
            format!("{patient}.0"),
            (5_600_000 + number).to_string(),
            "F".into(),
            booked,
            held,
            "62.0".into(),
            clinic,
            "0".into(),
            "0".into(),
            "0".into(),
            "0".into(),
            "0".into(),
            reminder.to_string(),
            no_show.into(),
        ];
        StringRecord::from(cells.to_vec())
    };
    (0..2_500).map(row).collect()
}

/// An appointment before the day of its booking cannot have been.
pub(super) fn is_impossible(row: &StringRecord) -> bool {
    row[4] < row[3][..10]
}

/// The first rows, and an impossible one.
pub(super) fn beginning(sample: &Sample) -> Vec<StringRecord> {
    let mut rows: Vec<StringRecord> = sample.rows[..FIRST_ROWS].to_vec();
    if !rows.iter().any(is_impossible) {
        rows.push(sample.rows.iter().find(|row| is_impossible(row)).unwrap().clone());
    }
    rows
}

pub(crate) fn write_csv(directory: &Path, name: &str, rows: &[StringRecord]) -> PathBuf {
    let path = directory.join(name);
    let mut writer = csv::Writer::from_path(&path).unwrap();
    writer.write_record(HEADER).unwrap();
    for row in rows {
        writer.write_record(row).unwrap();
    }
    writer.flush().unwrap();
    path
}

/// Counts the rows by their cells alone.
pub(super) fn recount(rows: &[StringRecord]) -> Recount {
    let possible: Vec<&StringRecord> = rows.iter().filter(|row| !is_impossible(row)).collect();
    let count =
        |holds: &dyn Fn(&StringRecord) -> bool| possible.iter().filter(|row| holds(row)).count() as u64;
    let clinics: BTreeSet<&str> = possible.iter().map(|row| &row[6]).collect();
    // All numbers are spelled as floats, and a spelling stands for one number: the text tells them apart.
    let patients: BTreeSet<(&str, &str)> = possible.iter().map(|row| (&row[6], &row[0])).collect();
    let missed = count(&|row| &row[13] == "Yes");
    let held = possible.len() as u64 - missed;
    let events = [
        ("organization.registered", clinics.len() as u64),
        ("patient.registered", patients.len() as u64),
        ("appointment.booked", possible.len() as u64),
        ("appointment.confirmed", count(&|row| &row[12] == "1")),
        ("appointment.onboarded", held),
        ("appointment.completed", held),
        ("appointment.no_show", missed),
    ];
    Recount {
        clinics: clinics.len() as u64,
        rejected: (rows.len() - possible.len()) as u64,
        events: events.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
    }
}

#[test]
fn a_generated_input_has_clinics_patients_and_one_impossible_row() {
    let sample = Sample { rows: generated(), is_real: false };

    let rows = beginning(&sample);
    let count = recount(&rows);

    assert_eq!((rows.len(), count.clinics, count.rejected), (FIRST_ROWS, 20, 1));
    assert!(count.events.values().all(|count| *count > 0), "{count:?}");
}
