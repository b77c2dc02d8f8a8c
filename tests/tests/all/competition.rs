//! Many tasks and several processes on few streams.

use std::collections::HashMap;

use carelog_domain::appointment::{
    Appointment, AppointmentCommand, AppointmentEvent, AppointmentOnboarded, CancellationReason, CancelledBy,
};
use carelog_domain::{EventId, OrganizationId, PatientId, StreamEvent, StreamKind};
use carelog_event_log::{
    AppendRequest, EventLog, ExecuteError, Executed, Expected, LogPosition, NewEvent, Scope, StreamKey,
    Verdict, new_id,
};
use carelog_tests::{
    Random, TestSystem, at, book, check_invariants, confirm, keyed, reschedule, scope, start_appointment,
};
use tokio::task::JoinSet;
use uuid::Uuid;

fn onboarding(organization_id: OrganizationId, stream_id: Uuid, expected_version: i64) -> AppendRequest {
    let event = AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id: PatientId::new(new_id()) });
    let encoded = event.encode().unwrap();
    AppendRequest {
        stream: StreamKey { organization_id, kind: StreamKind::Appointment, id: stream_id },
        expected_version,
        premise: None,
        circumstances: scope(organization_id).circumstances,
        network: None,
        idempotency: None,
        can_wait: false,
        events: vec![NewEvent {
            event_id: EventId::new(new_id()),
            event_type: encoded.event_type,
            occurred_at: at("2026-03-01T12:00:00Z"),
            subject: encoded.patient_id,
            facts: encoded.facts.into(),
            personal: None,
        }],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_rivals_with_the_same_version_wins() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let nodes = [system.another_node().await, system.another_node().await];
    let logs = [system.log(), &nodes[0].log, &nodes[1].log];
    let stream_id = start_appointment(system.log(), organization_id).await;

    for version in 1..=5 {
        let mut rivals = JoinSet::new();
        for rival in 0..24 {
            let log = logs[rival % logs.len()].clone();
            let request = onboarding(organization_id, stream_id, version);
            rivals.spawn(async move { log.append(request).await.unwrap() });
        }
        let verdicts = rivals.join_all().await;

        let accepted = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Accepted(_))).count();
        let current = Verdict::Conflict { current_version: version + 1 };
        let conflicts = verdicts.iter().filter(|verdict| **verdict == current).count();
        assert_eq!((accepted, conflicts), (1, 23), "{verdicts:?}");
    }
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_fails_its_own_command_alone() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(1).await;
    let mut commands = JoinSet::new();
    for number in 0..60 {
        let log = system.log().clone();
        // Every third is out of date from the start; all arrive together and share batches.
        let expected_version = if number % 3 == 0 { 7 } else { 0 };
        let request = onboarding(organization_id, new_id(), expected_version);
        commands.spawn(async move { (expected_version, log.append(request).await.unwrap()) });
    }

    for (expected_version, verdict) in commands.join_all().await {
        match expected_version {
            0 => assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}"),
            _ => assert_eq!(verdict, Verdict::Conflict { current_version: 0 }),
        }
    }
    assert_eq!(system.count("select count(*) from log.events").await, 40);
    check_invariants(&system.owner).await;
}

/// What a task was told.
#[derive(Debug, Default)]
struct Told {
    events: i64,
    granted: HashMap<(OrganizationId, String), Vec<(String, LogPosition)>>,
    replayed: Vec<(OrganizationId, String, String, LogPosition)>,
    reused: u32,
    refused: u32,
}

#[derive(Clone, Debug)]
struct Places(Vec<(OrganizationId, Uuid)>);

impl Places {
    async fn of(system: &TestSystem) -> Self {
        // Two organizations share a lane.
        let organizations = [
            system.organization_in(1).await,
            system.organization_in(1).await,
            system.organization_in(2).await,
        ];
        let streams =
            organizations.into_iter().flat_map(|id| [(id, new_id()), (id, new_id()), (id, new_id())]);
        Self(streams.collect())
    }
}

fn random_command(random: &mut Random) -> AppointmentCommand {
    match random.below(20) {
        0..4 => book(),
        4..7 => confirm(),
        7 => AppointmentCommand::Onboard,
        8 => AppointmentCommand::Cancel {
            cancelled_by: CancelledBy::Clinic,
            reason: CancellationReason::Other,
            note: None,
        },
        _ => reschedule(random.below(1 << 20)),
    }
}

fn random_scope(random: &mut Random, organization_id: OrganizationId) -> (Scope, Option<(String, String)>) {
    let expected = match random.below(10) {
        0 => Expected::New,
        1..3 => Expected::Version(i64::try_from(random.below(6)).unwrap()),
        _ => Expected::Any,
    };
    if random.below(3) > 0 {
        return (Scope { expected, ..scope(organization_id) }, None);
    }
    let (key, body) = (format!("key-{}", random.below(12)), format!("body-{}", random.below(2)));
    let scope = Scope { expected, ..keyed(organization_id, &key, &body) };
    (scope, Some((key, body)))
}

async fn work(log: EventLog, places: Places, mut random: Random, operations: u32) -> Told {
    let mut told = Told::default();
    for _ in 0..operations {
        let (organization_id, stream_id) = *random.pick(&places.0);
        let (scope, key) = random_scope(&mut random, organization_id);
        match (log.execute::<Appointment>(&scope, stream_id, random_command(&mut random)).await, key) {
            (Ok(Executed::Appended(appended)), key) => {
                told.events += i64::from(appended.event_count);
                if let Some((key, body)) = key {
                    told.granted.entry((organization_id, key)).or_default().push((body, appended.position));
                }
            }
            (Ok(Executed::Replayed(known)), Some((key, body))) => {
                told.replayed.push((organization_id, key, body, known.appended.position));
            }
            (Err(ExecuteError::KeyReused), Some(_)) => told.reused += 1,
            (
                Err(ExecuteError::Rejected(_) | ExecuteError::StaleVersion { .. } | ExecuteError::Contended),
                _,
            ) => {
                told.refused += 1;
            }
            (unexpected, key) => panic!("{unexpected:?} under {key:?}"),
        }
    }
    told
}

fn merge(all: Vec<Told>) -> Told {
    all.into_iter().fold(Told::default(), |mut sum, told| {
        sum.events += told.events;
        sum.reused += told.reused;
        sum.refused += told.refused;
        sum.replayed.extend(told.replayed);
        for (key, granted) in told.granted {
            sum.granted.entry(key).or_default().extend(granted);
        }
        sum
    })
}

/// Random commands from many tasks in three processes; then everything that was told must be true.
async fn compete(system: &TestSystem, seed: u64) {
    let nodes = [system.another_node().await, system.another_node().await];
    let logs = [system.log(), &nodes[0].log, &nodes[1].log];
    let places = Places::of(system).await;
    let mut tasks = JoinSet::new();
    for task in 0..15_u64 {
        let log = logs[usize::try_from(task).unwrap() % logs.len()].clone();
        let random = Random::seeded(seed.wrapping_mul(1_000).wrapping_add(task));
        tasks.spawn(work(log, places.clone(), random, 30));
    }

    let told = merge(tasks.join_all().await);

    println!(
        "{} events, {} replayed, {} reused, {} refused",
        told.events,
        told.replayed.len(),
        told.reused,
        told.refused
    );
    assert_eq!(told.events, system.count("select count(*) from log.events").await, "as many as were told");
    for (key, granted) in &told.granted {
        assert_eq!(granted.len(), 1, "{key:?} was granted more than once: {granted:?}");
    }
    for (organization_id, key, body, position) in told.replayed {
        let granted = &told.granted[&(organization_id, key)];
        assert_eq!(granted[0], (body, position), "a replay gives the first answer to the same body");
    }
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_commands_from_many_processes_keep_every_promise() {
    let seed = Random::seed(20_260_301);
    compete(&TestSystem::new().await, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promises_hold_without_the_lane_lock() {
    let system = TestSystem::new().await;
    // Correctness is to rest on the unique keys alone; here every batch races.
    system
        .sql(
            "do $$
             declare
                 source text := pg_get_functiondef('log.append_batch'::regproc);
                 lock text := 'v_lock := pg_advisory_xact_lock(hashtext(''carelog.lane''), p_lane);';
             begin
                 if position(lock in source) = 0 then
                     raise exception 'the lock is not where it was';
                 end if;
                 execute replace(source, lock, '');
             end $$",
        )
        .await;

    compete(&system, Random::seed(77)).await;
}
