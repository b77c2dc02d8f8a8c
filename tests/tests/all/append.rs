//! One command at a time through cqrs-es, the vault and the log.

use carelog_domain::appointment::{Appointment, AppointmentCommand, AppointmentRejection, AppointmentStatus};
use carelog_domain::patient::{Patient, PatientCommand, PatientRejection};
use carelog_domain::{EventType, RequestId, StreamKind};
use carelog_event_log::{
    Appended, ExecuteError, Executed, Expected, Network, Premise, RecordedEvent, Scope, SealedPlace,
    StreamKey, new_id,
};
use carelog_tests::{
    ManualClock, TestSystem, appended, at, book, book_for, check_immutable, check_invariants, confirm, keyed,
    register, reschedule, run, scope, start_appointment,
};
use uuid::Uuid;

/// What takes longer will never end.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

async fn stream(system: &TestSystem, kind: StreamKind, scope: &Scope, id: Uuid) -> Vec<RecordedEvent> {
    system.log().stream(&StreamKey { organization_id: scope.organization_id, kind, id }, 0).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_becomes_events_with_everything_around_them() {
    let clock = ManualClock::at(at("2026-03-01T12:00:00.123456Z"));
    let system = TestSystem::with_clock(clock.clone()).await;
    let (scope, patient_id) = (scope(system.organization_in(1).await), new_id());

    let first = run::<Patient>(system.log(), &scope, patient_id, register("Zoe Musterfrau")).await;
    clock.advance_seconds(60);
    let second = run::<Patient>(system.log(), &scope, patient_id, PatientCommand::Onboard).await;

    assert_eq!((first.version, first.position.position, first.event_count), (1, 1, 1));
    assert_eq!((second.version, second.position.position, second.position.lane), (2, 2, 1));
    let events = stream(&system, StreamKind::Patient, &scope, patient_id).await;
    let types: Vec<_> = events.iter().map(|event| (event.version, event.event_type)).collect();
    assert_eq!(types, [(1, EventType::PatientRegistered), (2, EventType::PatientOnboarded)]);
    assert_eq!(events[0].recorded_at, at("2026-03-01T12:00:00.123456Z"));
    assert_eq!(events[1].occurred_at, at("2026-03-01T12:01:00.123456Z"));
    assert_eq!(events[0].subject.unwrap().uuid(), patient_id);
    assert_eq!(events[0].circumstances, scope.circumstances);
    assert_eq!(events.iter().map(|event| event.organization_sequence).collect::<Vec<_>>(), [1, 2]);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_tail_gives_is_what_the_database_holds() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(2).await;
    let request_id = RequestId::new(new_id());
    let told = Network { address: [192, 0, 2, 1].into(), user_agent: None, session_id: None };
    let network = system.log().seal_network(organization_id, request_id, &told).await.unwrap();
    let scope = Scope { network, ..scope(organization_id) };
    let patient_id = new_id();
    run::<Patient>(system.log(), &scope, patient_id, register("Zoe")).await;
    run::<Patient>(system.log(), &scope, patient_id, PatientCommand::Onboard).await;

    let from_memory = system.log().page(2, 0, 10).await.unwrap();
    let mut connection = system.owner.acquire().await.unwrap();
    let from_database = carelog_event_log::read::lane(&mut connection, 2, 0, 10).await.unwrap();

    assert_eq!(from_memory.len(), 2);
    assert!(from_memory[0].network.is_some() && from_memory[0].personal.is_some());
    assert_eq!(from_memory.iter().map(|event| (**event).clone()).collect::<Vec<_>>(), from_database);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_ends_where_its_bytes_do() {
    let system = TestSystem::new().await;
    let (scope, patient_id) = (scope(system.organization_in(1).await), new_id());
    run::<Patient>(system.log(), &scope, patient_id, register("Zoe")).await;
    let note = "x".repeat(900 << 10);
    for _ in 0..14 {
        run::<Appointment>(system.log(), &scope, new_id(), book_for(patient_id.into(), Some(&note))).await;
    }

    let mut connection = system.owner.acquire().await.unwrap();
    let (mut after, mut lengths) = (0, Vec::new());
    loop {
        let page = carelog_event_log::read::lane(&mut connection, 1, after, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        assert_eq!(page[0].position, after + 1);
        lengths.push(page.len());
        after = last.position;
    }

    assert_eq!(lengths, [11, 4], "the first patient's event, ten notes; then the rest");
    let from_memory = system.log().page(1, 0, 100).await.unwrap();
    assert!(from_memory.len() < 15, "{} events", from_memory.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_part_lies_sealed_and_opens_at_its_place_only() {
    let system = TestSystem::new().await;
    let (scope, patient_id) = (scope(system.organization_in(1).await), new_id());
    run::<Patient>(system.log(), &scope, patient_id, register("Zoe Musterfrau")).await;
    let appointment_id = new_id();
    let book = book_for(patient_id.into(), Some("Zoe asks for an interpreter"));
    run::<Appointment>(system.log(), &scope, appointment_id, book).await;

    let registered = stream(&system, StreamKind::Patient, &scope, patient_id).await.remove(0);
    let booked = stream(&system, StreamKind::Appointment, &scope, appointment_id).await.remove(0);
    let vault = system.log().vault();

    for (event, expected) in [(&registered, "Zoe Musterfrau"), (&booked, "Zoe asks for an interpreter")] {
        let sealed = &event.personal.as_ref().unwrap().sealed;
        assert!(!String::from_utf8_lossy(&sealed.bytes).contains("Zoe"));
        let opened = SealedPlace::of(event).open(vault, sealed).await.unwrap().unwrap();
        assert!(String::from_utf8(opened).unwrap().contains(expected));
    }
    let elsewhere = SealedPlace { version: 2, ..SealedPlace::of(&registered) };
    let another = system.organization_in(1).await;
    let stream = StreamKey { organization_id: another, ..registered.stream };
    let of_another = SealedPlace { stream, ..SealedPlace::of(&registered) };
    for place in [elsewhere, of_another] {
        place.open(vault, &registered.personal.as_ref().unwrap().sealed).await.unwrap_err();
    }
    let traces = "select count(*) from log.events where encode(facts, 'escape') like '%Zoe%'
                      or encode(personal, 'escape') like '%Zoe%'";
    assert_eq!(system.count(traces).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_stored_in_canonical_form() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    run::<Appointment>(system.log(), &scope(organization_id), stream_id, confirm()).await;

    let stored: Vec<Vec<u8>> =
        sqlx::query_scalar("select facts from log.events").fetch_all(&system.owner).await.unwrap();

    assert_eq!(stored.len(), 2);
    for facts in stored {
        let value: serde_json::Value = serde_json::from_slice(&facts).unwrap();
        assert_eq!(serde_json_canonicalizer::to_vec(&value).unwrap(), facts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_stores_nothing() {
    let system = TestSystem::new().await;
    let scope = scope(system.organization_in(1).await);

    let refused = system.log().execute::<Appointment>(&scope, new_id(), confirm()).await;

    assert!(matches!(refused, Err(ExecuteError::Rejected(AppointmentRejection::NotBooked))), "{refused:?}");
    assert_eq!(system.count("select count(*) from log.events").await, 0);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_version_refuses_before_and_at_the_commit() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let fresh = Scope { expected: Expected::Version(1), ..scope(organization_id) };

    let first = run::<Appointment>(system.log(), &fresh, stream_id, confirm()).await;
    let stale = system.log().execute::<Appointment>(&fresh, stream_id, AppointmentCommand::Onboard).await;

    assert_eq!(first.version, 2);
    assert!(matches!(stale, Err(ExecuteError::StaleVersion { current_version: 2 })), "{stale:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rests_on_a_stream_that_has_moved_is_refused_and_stored_nowhere() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let [stream_id, other] = [0; 2].map(|_| new_id());
    let premise = |id, version| {
        let stream = StreamKey { organization_id, kind: StreamKind::Appointment, id };
        Scope { premise: Some(Premise { stream, version }), ..keyed(organization_id, "rests", "on it") }
    };

    let first = run::<Appointment>(system.log(), &premise(other, 0), stream_id, book()).await;
    run::<Appointment>(system.log(), &scope(organization_id), other, book()).await;
    let again = system.log().execute::<Appointment>(&premise(other, 0), stream_id, book()).await.unwrap();
    let stale = Scope { idempotency: None, ..premise(other, 0) };
    let refused = system.log().execute::<Appointment>(&stale, stream_id, confirm()).await;
    let fresh = Scope { idempotency: None, ..premise(other, 1) };
    let second = run::<Appointment>(system.log(), &fresh, stream_id, confirm()).await;

    assert!(matches!(&again, Executed::Replayed(known) if known.appended == first), "{again:?}");
    assert!(matches!(refused, Err(ExecuteError::PremiseMoved)), "{refused:?}");
    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!(system.count("select count(*) from log.events").await, 3);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_not_new_after_all_is_refused_by_its_aggregate() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let patient_id = new_id();
    run::<Patient>(system.log(), &scope(organization_id), patient_id, register("Zoe")).await;
    let new = Scope { expected: Expected::New, ..scope(organization_id) };

    let again = system.log().execute::<Appointment>(&new, stream_id, book()).await;
    let twice = system.log().execute::<Patient>(&new, patient_id, register("Zoe")).await;

    let status = AppointmentStatus::Booked;
    let already = AppointmentRejection::AlreadyBooked { status };
    assert!(matches!(again, Err(ExecuteError::Rejected(refused)) if refused == already), "{again:?}");
    assert!(matches!(twice, Err(ExecuteError::Rejected(PatientRejection::AlreadyRegistered))), "{twice:?}");
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_id_but_other_kind_or_organization_are_strangers() {
    let system = TestSystem::new().await;
    let (one, other) = (system.organization_in(1).await, system.organization_in(1).await);
    let id = new_id();

    let versions: Vec<Appended> = vec![
        run::<Patient>(system.log(), &scope(one), id, register("Zoe")).await,
        run::<Appointment>(system.log(), &scope(one), id, book()).await,
        run::<Appointment>(system.log(), &scope(other), id, book()).await,
    ];

    assert_eq!(versions.iter().map(|appended| appended.version).collect::<Vec<_>>(), [1, 1, 1]);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_does_not_move_recorded_at_back() {
    let clock = ManualClock::at(at("2026-03-01T12:00:00Z"));
    let system = TestSystem::with_clock(clock.clone()).await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;

    clock.advance_seconds(-3_600);
    let moved = system.log().execute::<Appointment>(&scope(organization_id), stream_id, confirm()).await;

    appended(moved);
    let moments = "select count(distinct recorded_at) from log.events";
    assert_eq!(system.count(moments).await, 1);
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_an_event() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    start_appointment(system.log(), organization_id).await;

    check_immutable(&system.owner).await;

    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_requests_sees_one_organization_and_appends_nothing() {
    let system = TestSystem::new().await;
    let (one, other) = (system.organization_in(1).await, system.organization_in(1).await);
    for organization_id in [one, other] {
        start_appointment(system.log(), organization_id).await;
    }
    let mut tx = system.owner.begin().await.unwrap();
    sqlx::query("set local role carelog_app").execute(&mut *tx).await.unwrap();

    let events = "select count(*) from log.events";
    let unbound: i64 = sqlx::query_scalar(events).fetch_one(&mut *tx).await.unwrap();
    sqlx::query("select set_config('carelog.organization_id', $1, true)")
        .bind(one.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    let bound: i64 = sqlx::query_scalar(events).fetch_one(&mut *tx).await.unwrap();
    let appended = sqlx::query("insert into log.events select * from log.events").execute(&mut *tx).await;

    assert_eq!((unbound, bound), (0, 1));
    let code = appended.unwrap_err().as_database_error().unwrap().code().unwrap().into_owned();
    assert_eq!(code, "42501");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_goes_on_in_its_next_leaf_while_somebody_reads_it() {
    const LAST: i64 = 20_000_000;
    let system = TestSystem::new().await;
    let scope = scope(system.organization_in(1).await);
    system.sql(format!("update log.lane_heads set position = {} where lane = 1", LAST - 2)).await;
    let node = system.another_node().await;
    let stream_id = new_id();
    let mut reading = system.owner.begin().await.unwrap();
    sqlx::query("select count(*) from log.events_lane_1").execute(&mut *reading).await.unwrap();

    let appending = async {
        run::<Appointment>(&node.log, &scope, stream_id, book()).await;
        for minute in 1..=3 {
            run::<Appointment>(&node.log, &scope, stream_id, reschedule(minute)).await;
        }
    };
    tokio::time::timeout(PATIENCE, appending).await.expect("nobody waits for a reader");
    reading.commit().await.unwrap();

    let key =
        StreamKey { organization_id: scope.organization_id, kind: StreamKind::Appointment, id: stream_id };
    let events = node.log.stream(&key, 0).await.unwrap();
    let places: Vec<_> = events.iter().map(|event| (event.version, event.position)).collect();
    assert_eq!(places, [(1, LAST - 1), (2, LAST), (3, LAST + 1), (4, LAST + 2)]);
    let next = system.count("select count(*) from log.events_lane_1_from_20000001").await;
    assert_eq!(next, 2, "the rest lies in the next leaf");
    let keys = "select count(*) from pg_index
                where indrelid = 'log.events_lane_1_from_20000001'::regclass and indisunique and indisvalid";
    assert_eq!(system.count(keys).await, 3);
    let owned = "select count(*) from pg_class
                 where relname like 'events_lane_1_from_%' and relowner = 'carelog_log'::regrole and relkind = 'r'
                     and reloptions = (select reloptions from pg_class where relname = 'events_lane_2_from_1')";
    assert_eq!(system.count(owned).await, 2);
    check_immutable(&system.owner).await;
}
