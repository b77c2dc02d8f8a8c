//! A rival that ignores the lane lock and writes positions by itself.

use carelog_domain::appointment::Appointment;
use carelog_domain::{EventId, OrganizationId};
use carelog_event_log::{Appended, RecordedEvent, new_id, read};
use carelog_tests::{TestSystem, check_invariants, confirm, run, scope, start_appointment, until};
use sha2::{Digest, Sha256};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;
use uuid::Uuid;

const LANE: i16 = 1;

/// A second booking beside the first event of the lane, at position 2, in a transaction that stays open.
async fn open_rival(system: &TestSystem) -> Transaction<'static, Postgres> {
    let mut tx = system.owner.begin().await.unwrap();
    let first = read::lane(&mut tx, LANE, 0, 1).await.unwrap().remove(0);
    let mut second = RecordedEvent { position: 2, organization_sequence: 2, ..first };
    second.event_id = EventId::new(new_id());
    second.stream.id = new_id();
    let hash = Sha256::new().chain_update([0]).chain_update(second.leaf_data("carelog-test")).finalize();
    sqlx::query(
        "insert into log.events
         select (jsonb_populate_record(e, jsonb_build_object('position', 2, 'organization_sequence', 2,
                     'event_id', $1, 'stream_id', $2, 'leaf_hash', $3::bytea))).*
         from log.events e
         where lane = 1 and position = 1",
    )
    .bind(second.event_id.uuid())
    .bind(second.stream.id)
    .bind(hash.as_slice())
    .execute(&mut *tx)
    .await
    .unwrap();
    for statement in [
        "insert into log.stream_heads (organization_id, stream_id, stream_kind, version, first_position, last_position)
         select organization_id, stream_id, stream_kind, version, position, position
         from log.events where lane = 1 and position = 2",
        "update log.organizations set sequence = 2 where sequence = 1",
        "update log.lane_heads set position = 2 where lane = 1",
    ] {
        sqlx::query(statement).execute(&mut *tx).await.unwrap();
    }
    tx
}

fn append_beside(
    system: &TestSystem,
    organization_id: OrganizationId,
    stream_id: Uuid,
    tasks: &mut JoinSet<Appended>,
) {
    let log = system.log().clone();
    tasks.spawn(async move { run::<Appointment>(&log, &scope(organization_id), stream_id, confirm()).await });
}

async fn somebody_waits_for_a_lock(system: &TestSystem) {
    until("the batcher waits for the rival", async || {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'
                           and query like '%append_batch%'";
        (system.count(waiting).await > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_waits_for_a_rival_and_takes_the_next_positions() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(LANE).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let rival = open_rival(&system).await;

    let mut tasks = JoinSet::new();
    append_beside(&system, organization_id, stream_id, &mut tasks);
    somebody_waits_for_a_lock(&system).await;
    rival.commit().await.unwrap();
    let appended = tasks.join_next().await.unwrap().unwrap();

    assert_eq!((appended.version, appended.position.position), (2, 3));
    check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_the_positions_of_a_rival_that_gave_up() {
    let system = TestSystem::new().await;
    let organization_id = system.organization_in(LANE).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let rival = open_rival(&system).await;

    let mut tasks = JoinSet::new();
    append_beside(&system, organization_id, stream_id, &mut tasks);
    somebody_waits_for_a_lock(&system).await;
    rival.rollback().await.unwrap();
    let appended = tasks.join_next().await.unwrap().unwrap();

    assert_eq!((appended.version, appended.position.position), (2, 2));
    check_invariants(&system.owner).await;
}
