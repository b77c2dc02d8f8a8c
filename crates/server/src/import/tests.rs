use carelog_domain::appointment::{AppointmentEvent, AppointmentRejection, TimePrecision};
use carelog_domain::{PatientId, Timestamp};
use csv::ByteRecord;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::columns::{ColumnMap, ColumnsError, Field, Mapping};
use super::rejects::{Reject, RejectReason, RejectsFile};
use super::row::Row;
use super::source::{OpenSource, Source};
use super::{ids, values};

const HEADER: [&str; 8] =
    ["PatientId", "AppointmentID", "ScheduledDay", "AppointmentDay", "Clinic", "Sms", "No_show", "Born"];
const MAPPING: &str = "patient=PatientId,appointment=AppointmentID,clinic=Clinic,booked_at=ScheduledDay,\
                       starts_at=AppointmentDay,reminder=Sms,no_show=No_show,birth_year=Born";

fn vitoria() -> TimeZone {
    TimeZone::get("America/Sao_Paulo").unwrap()
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn columns(mapping: &str) -> Result<ColumnMap, ColumnsError> {
    ColumnMap::new(mapping.split(',').map(str::parse).collect::<Result<Vec<Mapping>, _>>()?)
}

fn parse(cells: [&str; 8]) -> Result<Row, RejectReason> {
    let places = columns(MAPPING).unwrap().find_in(&ByteRecord::from(HEADER.to_vec())).unwrap();
    Row::parse(ByteRecord::from(cells.to_vec()), &places, &vitoria()).map_err(|reject| reject.reason)
}

const GOOD: [&str; 8] = [
    "29872499824296.0",
    "5642903",
    "2016-04-27 18:38:08",
    "2016-04-29",
    "JARDIM DA PENHA",
    "1",
    "No",
    "1954",
];

fn with(field: usize, text: &'static str) -> [&'static str; 8] {
    let mut cells = GOOD;
    cells[field] = text;
    cells
}

#[test]
fn a_float_spelling_becomes_the_integer() {
    for (spelled, number) in [
        ("2.98725E+13", "29872500000000"),
        ("29872499824296.0", "29872499824296"),
        ("1e3", "1000"),
        ("1.50e1", "15"),
        ("1500e-2", "15"),
        ("0.0", "0"),
        ("007.0", "7"),
    ] {
        assert_eq!(values::number(spelled), number, "{spelled}");
    }
}

#[test]
fn anything_but_an_integral_float_stays_as_it_is_spelled() {
    for spelled in
        ["0042", "93779.52927", "A-17", "1e-3", "1e999999999999", "1E+60", "-3.0", ".5", "1.2.3", "e5"]
    {
        assert_eq!(values::number(spelled), spelled);
    }
    assert_eq!(values::number("  17 "), "17");
}

#[test]
fn a_date_is_its_local_midnight_to_the_day() {
    let moment = values::moment("2016-04-29", &vitoria()).unwrap();

    assert_eq!(moment.at, at("2016-04-29T03:00:00Z"));
    assert_eq!(moment.precision, TimePrecision::Day);
    assert_eq!(moment.day_before, at("2016-04-28T03:00:00Z"));
    assert!(!moment.was_ambiguous);
}

#[test]
fn a_date_and_time_is_local_unless_it_has_an_offset() {
    let local = values::moment("2016-04-29 18:38:08", &vitoria()).unwrap();
    let with_t = values::moment("2016-04-29T18:38:08", &vitoria()).unwrap();
    let exact = values::moment("2016-04-29T18:38:08Z", &vitoria()).unwrap();

    assert_eq!((local.at, local.precision), (at("2016-04-29T21:38:08Z"), TimePrecision::Minute));
    assert_eq!(with_t, local);
    assert_eq!(exact.at, at("2016-04-29T18:38:08Z"));
}

#[test]
fn of_an_hour_that_came_twice_the_first_is_taken() {
    let moment = values::moment("2025-10-26 02:30:00", &berlin()).unwrap();

    assert_eq!(moment.at, at("2025-10-26T00:30:00Z"));
    assert!(moment.was_ambiguous);
}

#[test]
fn an_hour_that_never_was_is_read_with_the_offset_before_it() {
    let moment = values::moment("2025-03-30 02:30:00", &berlin()).unwrap();

    assert_eq!(moment.at, at("2025-03-30T01:30:00Z"));
    assert!(moment.was_ambiguous);
}

#[test]
fn a_day_without_midnight_begins_with_its_first_moment() {
    let moment = values::moment("2016-10-16", &vitoria()).unwrap();

    assert_eq!(moment.at, at("2016-10-16T03:00:00Z"));
}

#[test]
fn what_is_no_time_is_none() {
    for text in ["", "29/04/2016", "2016-02-30", "2016-04-29 25:00:00", "yesterday"] {
        assert_eq!(values::moment(text, &vitoria()), None, "{text}");
    }
}

#[test]
fn yes_and_no_have_few_spellings() {
    for yes in ["Yes", "y", "TRUE", "1", " 1.0 "] {
        assert_eq!(values::yes_or_no(yes), Some(true), "{yes}");
    }
    for no in ["No", "n", "false", "0", "0.0"] {
        assert_eq!(values::yes_or_no(no), Some(false), "{no}");
    }
    assert_eq!(values::yes_or_no("maybe"), None);
    assert_eq!(values::yes_or_no("2"), None);
}

#[test]
fn a_row_is_read() {
    let Ok(row) = parse(GOOD) else { panic!("it is good") };

    assert_eq!(
        (&*row.patient, &*row.appointment, &*row.clinic),
        ("29872499824296", "5642903", "JARDIM DA PENHA")
    );
    assert_eq!(row.booked_at, at("2016-04-27T21:38:08Z"));
    assert_eq!(row.reminded_at, Some(at("2016-04-28T03:00:00Z")));
    assert_eq!(row.birth_year, Some(1954));
    assert!(!row.was_no_show);
}

#[test]
fn a_bad_cell_rejects_its_row() {
    for (field, text, reason) in [
        (0, "", RejectReason::Missing(Field::Patient)),
        (1, "  ", RejectReason::Missing(Field::Appointment)),
        (2, "soon", RejectReason::UnknownTime(Field::BookedAt)),
        (3, "29.04.2016", RejectReason::UnknownTime(Field::StartsAt)),
        (4, "", RejectReason::Missing(Field::Clinic)),
        (5, "", RejectReason::NeitherYesNorNo(Field::Reminder)),
        (6, "perhaps", RejectReason::NeitherYesNorNo(Field::NoShow)),
        (7, "54", RejectReason::UnknownYear),
    ] {
        assert_eq!(parse(with(field, text)).err(), Some(reason));
    }
}

#[test]
fn a_row_of_another_length_or_encoding_is_rejected() {
    let places = columns(MAPPING).unwrap().find_in(&ByteRecord::from(HEADER.to_vec())).unwrap();
    let short = ByteRecord::from(vec!["1", "2"]);
    let mut latin: Vec<&[u8]> = GOOD.iter().map(|cell| cell.as_bytes()).collect();
    latin[4] = b"S\xc3O JOS\xc9";

    let reason = |record| Row::parse(record, &places, &vitoria()).map_err(|reject| reject.reason).err();
    assert_eq!(reason(short), Some(RejectReason::WrongCellCount { expected: 8, found: 2 }));
    assert_eq!(reason(ByteRecord::from(latin)), Some(RejectReason::NotUtf8(Field::Clinic)));
}

fn moments(cells: [&str; 8]) -> Vec<(&'static str, Timestamp)> {
    let Ok(row) = parse(cells) else { panic!("it is good") };
    let history = row.history(PatientId::new(Uuid::from_u128(7))).unwrap();
    let name = |event: &AppointmentEvent| match event {
        AppointmentEvent::Booked(_) => "booked",
        AppointmentEvent::Confirmed(_) => "confirmed",
        AppointmentEvent::Onboarded(_) => "onboarded",
        AppointmentEvent::Completed(_) => "completed",
        AppointmentEvent::NoShow(_) => "no_show",
        AppointmentEvent::Rescheduled(_) | AppointmentEvent::Started(_) | AppointmentEvent::Cancelled(_) => {
            "other"
        }
    };
    history.iter().map(|(at, event)| (name(event), *at)).collect()
}

#[test]
fn a_kept_appointment_is_booked_confirmed_onboarded_and_completed() {
    let start = at("2016-04-29T03:00:00Z");
    assert_eq!(
        moments(GOOD),
        [
            ("booked", at("2016-04-27T21:38:08Z")),
            ("confirmed", at("2016-04-28T03:00:00Z")),
            ("onboarded", start),
            ("completed", start)
        ]
    );
}

#[test]
fn a_booking_on_the_day_itself_comes_before_everything_else() {
    let mut cells = with(2, "2016-04-29 10:00:00");
    cells[6] = "Yes";
    let booked = at("2016-04-29T13:00:00Z");

    assert_eq!(moments(cells), [("booked", booked), ("confirmed", booked), ("no_show", booked)]);
}

#[test]
fn given_appointment_before_its_booking_when_folded_then_rejected() {
    let Ok(row) = parse(with(3, "2016-04-26")) else { panic!("it can be read") };

    let rejection = row.history(PatientId::new(Uuid::nil())).unwrap_err();
    assert!(matches!(rejection, AppointmentRejection::StartsBeforeBooking { .. }));
    assert_eq!(RejectReason::Refused(rejection).code(), "starts_before_booking");
}

#[test]
fn a_clinic_has_the_same_id_in_every_run() {
    let id = ids::organization_id("RESISTÊNCIA");

    assert_eq!(id, ids::organization_id("RESISTÊNCIA"));
    assert_ne!(id, ids::organization_id("RESISTENCIA"));
    assert_eq!(id.to_string(), "d422b5e2-9fd3-8a33-8a87-7b330f0f1681");
}

#[test]
fn ids_with_a_time_are_ordered_by_it() {
    let early = ids::at_time(&[0xff; 32], at("2016-04-27T21:38:08Z"));
    let late = ids::at_time(&[0; 32], at("2016-04-27T21:38:09Z"));

    assert!(early < late);
    assert_eq!(early.get_version_num(), 8);
    let timeless = |id: Uuid| id.as_u128() & ((1 << 80) - 1);
    assert_eq!(timeless(early), timeless(ids::at_time(&[0xff; 32], Timestamp::UNIX_EPOCH)));
}

#[test]
fn columns_that_cannot_be_are_refused_with_what_there_is() {
    assert_eq!("patient".parse::<Mapping>(), Err(ColumnsError::NoMapping));
    assert!(matches!("name=X".parse::<Mapping>(), Err(ColumnsError::UnknownField { .. })));
    assert_eq!(columns("patient=A,patient=B").err(), Some(ColumnsError::Twice(Field::Patient)));
    assert_eq!(columns("patient=A").err(), Some(ColumnsError::Missing(Field::Appointment)));

    let header = ByteRecord::from(vec!["PatientId", "Day"]);
    let error = columns(MAPPING).unwrap().find_in(&header).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the file has no column \"AppointmentID\" for appointment; it has: PatientId, Day"
    );
}

#[test]
fn rejected_rows_are_listed_and_only_then_is_there_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.csv.rejects.csv");
    let mut file = RejectsFile::new(path.clone(), ByteRecord::from(vec!["a", "b"]));
    file.write(&[]).unwrap();
    assert!(!path.exists());

    let record = ByteRecord::from(vec!["1", "x, y", "3"]);
    let reason = RejectReason::WrongCellCount { expected: 2, found: 3 };
    file.write(&[Reject { line: 7, reason, record }]).unwrap();

    assert_eq!(file.finish(true).unwrap(), Some(path.clone()));
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "line,code,reason,a,b\n7,wrong_cell_count,the row has 3 cells and the first line 2,1,\"x, y\",3\n"
    );
}

#[test]
fn a_list_takes_the_place_of_an_earlier_one_and_is_private_whatever_that_was() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejects.csv");
    std::fs::write(&path, "line,code,reason,a\n1,missing,old,x\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let header = ByteRecord::from(vec!["a"]);
    let list = || RejectsFile::new(path.clone(), header.clone());
    let names = || std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());

    let mut file = list();
    let record = ByteRecord::from(vec!["y"]);
    file.write(&[Reject { line: 2, reason: RejectReason::UnknownYear, record }]).unwrap();
    file.finish(true).unwrap();

    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&path).unwrap().contains("old"));
    assert_eq!(names().collect::<Vec<_>>(), ["rejects.csv"]);

    assert_eq!(list().finish(false).unwrap(), None);
    assert!(path.exists(), "a run that was interrupted says nothing about the rest");
    assert_eq!(list().finish(true).unwrap(), None);
    assert!(!path.exists(), "nothing was rejected");
}

#[test]
fn what_is_no_list_is_not_removed_and_a_link_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (notes, link) = (directory.path().join("notes"), directory.path().join("link"));
    std::fs::write(&notes, "line").unwrap();
    std::os::unix::fs::symlink(&notes, &link).unwrap();
    let list = |path: &std::path::Path| RejectsFile::new(path.to_owned(), ByteRecord::from(vec!["a"]));

    list(&notes).finish(true).unwrap();
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "line");

    let mut file = list(&link);
    let record = ByteRecord::from(vec!["y"]);
    file.write(&[Reject { line: 2, reason: RejectReason::UnknownYear, record }]).unwrap();
    file.finish(true).unwrap();
    assert!(std::fs::read_to_string(&notes).unwrap().starts_with("line,code,reason,a\n2,"));
    list(&link).finish(true).unwrap();
    assert!(link.exists() && notes.exists());
}

fn rows_of(bytes: &[u8]) -> (Vec<u64>, Vec<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.csv");
    std::fs::write(&path, bytes).unwrap();
    let source = OpenSource::open(&Source::File(path), &columns(MAPPING).unwrap()).unwrap();
    let mut chunks = source.chunks(vitoria()).unwrap();
    let (mut rows, mut rejects) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.blocking_recv() {
        let chunk = chunk.unwrap();
        rows.extend(chunk.rows.iter().map(|row| row.line));
        rejects.extend(chunk.rejects.iter().map(|reject| reject.line));
    }
    (rows, rejects)
}

#[test]
fn a_file_is_read_packed_or_not_and_keeps_its_line_numbers() {
    let text =
        format!("\u{feff}{}\n{}\n\"a\nb\",short\n{}\n", HEADER.join(","), GOOD.join(","), GOOD.join(","));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();

    let expected = (vec![2, 5], vec![3]);
    assert_eq!(rows_of(text.as_bytes()), expected);
    assert_eq!(rows_of(&packed.finish().unwrap()), expected);
}

#[test]
fn a_packed_file_that_is_cut_off_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.csv.gz");
    let text = format!("{}\n{}\n", HEADER.join(","), GOOD.join(","));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, text.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    std::fs::write(&path, &packed[..packed.len() - 9]).unwrap();

    let Ok(source) = OpenSource::open(&Source::File(path), &columns(MAPPING).unwrap()) else { return };
    let mut chunks = source.chunks(vitoria()).unwrap();
    let mut outcome = Vec::new();
    while let Some(chunk) = chunks.blocking_recv() {
        outcome.push(chunk.is_ok());
    }
    assert_eq!(outcome.last(), Some(&false));
}
