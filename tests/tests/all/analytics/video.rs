//! Video consultations: what stands of them in facts, and what is published.

use std::fmt::Write as _;

use carelog_domain::video_room::{
    CreateRoom, NetworkState, ParticipantKind, QualitySample, RoomAppointment, RoomProvider, RoomWindow,
    Stay, VideoRoom, VideoRoomCommand,
};
use carelog_domain::{AppointmentId, OrganizationId, ParticipantId, PatientId};
use carelog_event_log::{EventLog, new_id};
use carelog_tests::{Product, at, run, scope};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::publish_now;
use super::suppression::{clinic, published, run as sql};

/// A consultation of a patient, who comes back once; gives the ids that it is about.
pub(super) async fn consult(log: &EventLog, id: OrganizationId, patient_id: PatientId) -> Vec<String> {
    let appointment_id = AppointmentId::new(new_id());
    let (opens_at, expires_at) = (at("2099-01-01T10:00:00Z"), at("2099-01-01T11:00:00Z"));
    let participant_id = ParticipantId::new(new_id());
    let stay = |minutes: i64| Stay {
        participant_id: Some(participant_id),
        session_id: new_id(),
        joined_at: opens_at.saturating_add_micros(minutes * 60_000_000),
    };
    let (first, second) = (stay(3), stay(14));
    let nobody = Stay { participant_id: None, ..stay(3) };
    let sample = |seconds: i64, state: NetworkState, round_trip_ms: u32| {
        VideoRoomCommand::SampleQuality(QualitySample {
            session_id: first.session_id,
            sampled_at: first.joined_at.saturating_add_micros(seconds * 1_000_000),
            state,
            round_trip_ms: Some(round_trip_ms),
            jitter_ms: Some(7),
            send_loss_permille: None,
            receive_loss_permille: Some(12),
            sent_kbps: Some(900),
            received_kbps: None,
            freeze_count: Some(2),
        })
    };
    let commands = [
        VideoRoomCommand::Create(CreateRoom {
            appointment: RoomAppointment { patient_id, appointment_id },
            provider: RoomProvider::Embedded,
            window: RoomWindow { opens_at, expires_at },
            adopted: false,
            address: None,
        }),
        VideoRoomCommand::GrantAccess {
            participant_id,
            participant: ParticipantKind::Patient,
            now: opens_at,
        },
        VideoRoomCommand::Join(first),
        VideoRoomCommand::Join(nobody),
        sample(15, NetworkState::Good, 81),
        sample(30, NetworkState::Bad, 903),
        VideoRoomCommand::Leave { stay: first, duration_seconds: 10 * 60 + 59 },
        VideoRoomCommand::Join(second),
        VideoRoomCommand::Leave { stay: second, duration_seconds: 59 },
    ];
    let room_id = new_id();
    for command in commands {
        run::<VideoRoom>(log, &scope(id), room_id, command).await;
    }
    let ids = [appointment_id.uuid(), participant_id.uuid(), first.session_id, second.session_id, room_id];
    ids.map(|id| id.to_string()).to_vec()
}

/// Rows as JSON objects, without what differs from run to run.
async fn rows(product: &Product, statement: &str) -> Vec<Value> {
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
        .fetch_all(&product.databases().analytics_owner)
        .await
        .unwrap();
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stays_and_samples_become_facts_that_tell_a_reconnect_and_a_bad_network() {
    let product = Product::start().await;
    let (id, _) = product.clinic().await;

    consult(product.log(), id, PatientId::new(new_id())).await;
    product.settled().await;

    let stays = rows(
        &product,
        "select json_build_array(participant_kind, joined_at at time zone 'UTC', length_minutes,
             dense_rank() over (order by participant))::text
         from analytics.video_session_facts order by position",
    )
    .await;
    assert_eq!(
        stays,
        [
            json!(["patient", "2099-01-01T10:00:00", 10, 1]),
            json!([null, "2099-01-01T10:00:00", null, 2]),
            json!(["patient", "2099-01-01T10:10:00", 0, 1]),
        ]
    );
    let samples = rows(
        &product,
        "select json_build_array(q.state, q.round_trip_ms, q.jitter_ms, q.send_loss_permille, q.receive_loss_permille,
             q.sent_kbps, q.received_kbps, q.freeze_count, s.length_minutes, s.patient = q.patient)::text
         from analytics.video_quality_facts q
         join analytics.video_session_facts s using (organization_id, session) order by q.position",
    )
    .await;
    assert_eq!(
        samples,
        [
            json!(["good", 81, 7, null, 12, 900, null, 2, 10, true]),
            json!(["bad", 903, 7, null, 12, 900, null, 2, 10, true]),
        ]
    );
    product.stop().await;
}

/// Stays of some patients in a month, as the patient or the specialist, with so many samples each.
struct Month {
    name: &'static str,
    kind: &'static str,
    patients: std::ops::RangeInclusive<u16>,
    /// States of the samples of each stay, each with its round trip and its loss.
    samples: &'static [(&'static str, u16, u16)],
    freezes: u16,
}

fn filled(id: OrganizationId, place: usize, one: &Month) -> String {
    let (month, kind) = (one.name, one.kind);
    let (first, last) = (one.patients.start(), one.patients.end());
    let mut statements = format!(
        "insert into analytics.video_session_facts
         select '{id}', {place} + p, {place} + p, md5('{place} ' || p)::uuid, md5('{month} ' || p)::uuid,
             md5(p::text)::uuid, md5('{kind} ' || p)::uuid, '{kind}', '{month}-15T10:00:00Z', 20
         from generate_series({first}, {last}) p;"
    );
    for (number, (state, round_trip, loss)) in one.samples.iter().enumerate() {
        let freezes = if number == 0 { one.freezes } else { 0 };
        write!(
            statements,
            "insert into analytics.video_quality_facts
             select '{id}', {place} + 1000 * {number} + p, md5('{place} ' || p)::uuid, md5(p::text)::uuid,
                 '{month}-15T10:00:00Z', '{state}', {round_trip}, 5, {loss}, null, 900, 900, {freezes}
             from generate_series({first}, {last}) p;"
        )
        .unwrap();
    }
    statements
}

const FINE: (&str, u16, u16) = ("good", 82, 3);
const SLOW: (&str, u16, u16) = ("warning", 400, 12);
const FIRST: Month = Month {
    name: "2026-01",
    kind: "patient",
    patients: 1..=40,
    samples: &[FINE, FINE, FINE, SLOW],
    freezes: 1,
};
const PERCENTILES: [&str; 4] =
    ["median_round_trip_ms", "p95_round_trip_ms", "median_loss_permille", "p95_loss_permille"];
const COUNTS: [&str; 7] = ["patients", "samples", "good", "warning", "bad", "freezes", "good_share"];

/// A clinic with forty patients, twelve of whom came back once, and what else there is; published.
async fn with_consultations(product: &Product, others: &[Month]) -> OrganizationId {
    let id = clinic(product, 11, &[]).await;
    for (index, month) in std::iter::once(&FIRST).chain(others).enumerate() {
        sql(product, &filled(id, 100_000 * (index + 1), month)).await;
    }
    let again = format!(
        "insert into analytics.video_session_facts
         select '{id}', 900000 + p, 900000 + p, md5('again ' || p)::uuid, md5('2026-01 ' || p)::uuid,
             md5(p::text)::uuid, md5('patient ' || p)::uuid, 'patient', '2026-01-15T10:30:00Z', 1
         from generate_series(1, 12) p"
    );
    sql(product, &again).await;
    publish_now(product, id).await;
    id
}

fn cell(cells: &Value, place: &str, names: &[&str]) -> Value {
    names.iter().map(|name| cells[place][*name].clone()).collect()
}

fn others() -> Vec<Month> {
    let quiet = |name, kind, patients| Month { name, kind, patients, samples: &[FINE], freezes: 0 };
    vec![quiet("2026-01", "specialist", 1..=40), quiet("2026-02", "patient", 1..=30)]
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_and_stays_are_published_by_month_and_participant() {
    let product = Product::start().await;

    let id = with_consultations(&product, &others()).await;

    let quality = published(&product, id, "video_quality").await;
    for (place, counts) in [
        ("clinic all", json!([40, 230, 190, 40, 0, 40, 190.0 / 230.0])),
        ("month 2026-01", json!([40, 200, 160, 40, 0, 40, 0.8])),
        ("month 2026-02", json!([30, 30, 30, 0, 0, 0, 1])),
        ("participant specialist", json!([40, 40, 40, 0, 0, 0, 1])),
    ] {
        assert_eq!(cell(&quality, place, &COUNTS), counts, "{place}");
    }
    assert_eq!(cell(&quality, "month 2026-01", &PERCENTILES), json!([80, 400, 5, 10]));
    assert_eq!(cell(&quality, "month 2026-02", &PERCENTILES), json!([80, 80, 5, 5]));
    let sessions = published(&product, id, "video_sessions").await;
    let stays = ["stays", "reconnects", "stay_minutes", "reconnect_rate", "median_stay_minutes"];
    assert_eq!(cell(&sessions, "month 2026-01", &stays), json!([90, 10, 1_620, 10.0 / 90.0, 20]));
    assert_eq!(cell(&sessions, "month 2026-02", &stays), json!([30, 0, 600, 0, 20]));
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn networks_of_few_patients_show_nowhere_and_follow_from_nothing() {
    let product = Product::start().await;
    let bad = Month {
        name: "2026-02",
        kind: "patient",
        patients: 31..=32,
        samples: &[("bad", 2_000, 500)],
        freezes: 9,
    };
    let mut months = others();
    months.push(bad);

    let id = with_consultations(&product, &months).await;

    let quality = published(&product, id, "video_quality").await;
    // All less the good and the slow ones would be the two bad ones: so none of them is shown. Those of January lead to
    // nobody, since nobody knows how many there are in all.
    for (place, counts) in [
        ("clinic all", json!([40, 230, null, null, null, 60, null])),
        ("month 2026-01", json!([40, 200, 160, 40, 0, null, 0.8])),
        ("month 2026-02", json!([30, 30, null, null, null, null, null])),
    ] {
        assert_eq!(cell(&quality, place, &COUNTS), counts, "{place}");
    }
    // What 95 of 100 samples of February do not exceed is the two patients' own.
    assert_eq!(cell(&quality, "month 2026-02", &PERCENTILES), json!([80, null, 5, null]));

    // Fewer patients than the threshold: nothing at all.
    let few = clinic(&product, 11, &[]).await;
    let month = Month { name: "2026-01", kind: "guest", patients: 1..=10, samples: &[FINE], freezes: 1 };
    sql(&product, &filled(few, 1_000, &month)).await;
    publish_now(&product, few).await;
    for view in ["video_quality", "video_sessions"] {
        let cells = published(&product, few, view).await;
        let cells = cells.as_object().unwrap();
        assert_eq!(cells.len(), 3, "{view}");
        assert!(cells.values().all(|cell| cell["is_suppressed"] == true && cell["patients"].is_null()));
    }
    product.stop().await;
}
