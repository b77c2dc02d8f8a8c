//! Ten thousand questions about real appointments, answered by the product and by a fold that shares nothing with it.

use carelog_domain::{OrganizationId, Timestamp};
use carelog_records::AppointmentRecord;
use carelog_server::past::{self, Moment, PastError, Record, RecordKind};
use carelog_tests::{ProductDatabases, Random};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::naive::{self, Told};
use crate::import::sample::{sample, write_csv};
use crate::import::{import, open, superuser};

const QUESTIONS: usize = 10_000;
const ROWS: usize = 2_000;
const MOMENTS_OF_EACH: usize = 3;

/// The record as its view names things.
fn shown(record: &AppointmentRecord) -> Value {
    json!({
        "id": record.appointment_id.uuid(), "version": record.stamp.version,
        "patient_id": record.patient_id, "specialist_id": record.specialist_id, "status": record.status,
        "starts_at": record.starts_at, "ends_at": record.ends_at, "mode": record.mode,
        "starts_at_precision": record.starts_at_precision,
        "confirmation_channel": record.confirmation_channel, "confirmed_at": record.confirmed_at,
        "onboarded_at": record.onboarded_at, "started_at": record.started_at, "ended_at": record.ended_at,
        "duration_minutes": record.duration_minutes, "reschedule_count": record.reschedule_count,
        "reschedule_reason": record.reschedule_reason, "cancelled_by": record.cancelled_by,
        "cancellation_reason": record.cancellation_reason,
        "created_at": record.stamp.created_at, "updated_at": record.stamp.updated_at,
    })
}

fn answer(events: &[carelog_event_log::RecordedEvent], moment: Moment) -> Option<Value> {
    match past::fold(RecordKind::Appointment, events, &[], moment) {
        Ok(past) => match past.record {
            Record::Appointment(record) => Some(shown(&record)),
            other => panic!("asked for an appointment: {other:?}"),
        },
        Err(PastError::BeforeFirstEvent) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// A moment around those of a record, now and then exactly one of them.
fn some_moment(random: &mut Random, told: &[Told], of: impl Fn(&Told) -> &String) -> Timestamp {
    let near: Timestamp = of(random.pick(told)).parse().unwrap();
    let distance = match random.below(4) {
        0 => 0,
        1 => 1,
        2 => -1,
        _ => i64::try_from(random.below(200_000_000_000)).unwrap() - 100_000_000_000,
    };
    near.saturating_add_micros(distance)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_and_ten_thousand_moments_of_real_appointments_are_as_a_naive_fold_has_them() {
    let (databases, directory) = (ProductDatabases::new().await, TempDir::new().unwrap());
    let csv = write_csv(directory.path(), "history.csv", &sample().rows[..ROWS]);
    let system = open(&databases.options, directory.path()).await;
    import(&system, &csv, false).await;
    let told = naive::appointments(&superuser(&databases)).await;
    let mut random = Random::seeded(Random::seed(11));
    let (mut versions, mut questions, mut answered) = (0, 0, 0);

    for told in &told {
        let first = &told[0];
        let organization_id = OrganizationId::new(first.organization_id);
        let events = past::events(&system.log, organization_id, RecordKind::Appointment, first.stream_id)
            .await
            .unwrap();
        for version in 1..=i64::try_from(told.len()).unwrap() {
            let expected = naive::fold(told, |event| event.version <= version);
            assert_eq!(answer(&events, Moment::Version(version)), expected, "{first:?} at {version}");
            versions += 1;
        }
        assert_eq!(answer(&events, Moment::Newest), naive::fold(told, |_| true));
        for _ in 0..MOMENTS_OF_EACH {
            let known = some_moment(&mut random, told, |event| &event.recorded_at);
            let expected = naive::fold(told, |event| event.recorded_at <= known.to_string());
            assert_eq!(answer(&events, Moment::KnownAt(known)), expected, "{first:?} known at {known}");
            let happened = some_moment(&mut random, told, |event| &event.occurred_at);
            let expected = naive::fold(told, |event| event.occurred_at <= happened.to_string());
            answered += usize::from(expected.is_some());
            assert_eq!(answer(&events, Moment::TrueAt(happened)), expected, "{first:?} at {happened}");
            questions += 2;
        }
    }

    println!("{versions} versions and {questions} moments of {} appointments", told.len());
    assert!(told.len() > ROWS / 2 && versions > told.len() && questions >= QUESTIONS);
    assert!(answered > 0 && answered < questions / 2, "some moments lie before the booking, some after");
    system.stop().await;
}
