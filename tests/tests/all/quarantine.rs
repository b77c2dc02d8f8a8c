//! Events that cannot be applied.

use std::sync::Arc;

use carelog_domain::OrganizationId;
use carelog_domain::appointment::Appointment;
use carelog_event_log::runtime::{
    ApplyError, Quarantined, RebuildScope, Unit, UnitError, discard, quarantined, rebuild, retry,
};
use carelog_tests::{TestSystem, Toy, reschedule, run, scope, start_appointment, until};
use tokio::sync::watch;
use uuid::Uuid;

struct Clinic {
    system: TestSystem,
    organization_id: OrganizationId,
    /// A stream whose second version is poisoned.
    ill: Uuid,
    /// A stream that is well.
    well: Uuid,
}

impl Clinic {
    async fn new<const STOPS: bool>(toy: &Toy<STOPS>) -> Self {
        let system = TestSystem::new().await;
        Toy::<STOPS>::install(&system.owner).await;
        let organization_id = system.organization_in(1).await;
        let ill = start_appointment(system.log(), organization_id).await;
        let well = start_appointment(system.log(), organization_id).await;
        toy.poison(ill, 2);
        Self { system, organization_id, ill, well }
    }

    async fn change(&self, stream_id: Uuid, n: u64) {
        run::<Appointment>(self.system.log(), &scope(self.organization_id), stream_id, reschedule(n)).await;
    }

    fn unit<const STOPS: bool>(&self, toy: &Arc<Toy<STOPS>>) -> Unit<Toy<STOPS>> {
        let node = &self.system.node;
        node.runtime.unit(Arc::clone(toy), None, node.system.clone(), 1)
    }

    async fn waiting(&self) -> Vec<Quarantined> {
        let mut connection = self.system.node.system.acquire().await.unwrap();
        quarantined(&mut connection, "toy").await.unwrap()
    }

    async fn waiting_positions(&self) -> Vec<i64> {
        self.waiting().await.iter().map(|entry| entry.position).collect()
    }

    async fn retry(&self, toy: &Toy) -> usize {
        let mut connection = self.system.node.system.acquire().await.unwrap();
        retry(toy, None, self.system.log(), &mut connection, self.organization_id, self.ill).await.unwrap()
    }

    async fn versions(&self, stream_id: Uuid) -> Vec<i64> {
        sqlx::query_scalar("select version from toy.entries where stream_id = $1 order by version")
            .bind(stream_id)
            .fetch_all(&self.system.owner)
            .await
            .unwrap()
    }

    async fn is_complete(&self) -> bool {
        Toy::<false>::is_complete(&self.system.owner).await
    }

    async fn discard(&self, position: i64, reason: &str) -> bool {
        let mut connection = self.system.node.system.acquire().await.unwrap();
        discard(&mut connection, "toy", 1, position, reason).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_stream_waits_in_order_while_others_go_on() {
    let toy = Toy::<false>::new();
    let clinic = Clinic::new(&toy).await;
    clinic.change(clinic.ill, 1).await;
    clinic.change(clinic.well, 1).await;
    clinic.change(clinic.ill, 2).await;

    let handled = clinic.unit(&toy).run_to_head().await.unwrap();
    clinic.change(clinic.ill, 3).await;
    clinic.change(clinic.well, 2).await;
    clinic.unit(&toy).run_to_head().await.unwrap();

    assert_eq!(handled, 5);
    assert_eq!(clinic.versions(clinic.well).await, [1, 2, 3]);
    assert_eq!(clinic.versions(clinic.ill).await, [1]);
    assert_eq!(clinic.waiting_positions().await, [3, 5, 6]);
    let failures: Vec<_> = clinic.waiting().await.into_iter().map(|entry| entry.failure).collect();
    assert_eq!(failures, [Some("version 2 is poisoned".to_owned()), None, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_of_the_installation_sets_nothing_aside() {
    let toy = Toy::<false>::new();
    let clinic = Clinic::new(&toy).await;
    clinic.system.sql("revoke insert on toy.entries from carelog_system").await;

    let failed = clinic.unit(&toy).run_to_head().await;
    clinic.system.sql("grant insert on toy.entries to carelog_system").await;
    let applied = clinic.unit(&toy).run_to_head().await.unwrap();

    assert!(matches!(failed, Err(UnitError::Apply(ApplyError::Transient(_)))), "{failed:?}");
    assert_eq!(applied, 2);
    assert!(clinic.is_complete().await);
    assert_eq!(clinic.waiting_positions().await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_before_the_fault_is_gone_changes_nothing() {
    let toy = Toy::<false>::new();
    let clinic = Clinic::new(&toy).await;
    clinic.change(clinic.ill, 1).await;
    clinic.change(clinic.ill, 2).await;
    clinic.unit(&toy).run_to_head().await.unwrap();

    let left = clinic.retry(&toy).await;

    assert_eq!(left, 2);
    assert_eq!(clinic.waiting_positions().await, [3, 4]);
    assert_eq!(clinic.versions(clinic.ill).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_the_fault_is_gone_applies_in_order() {
    let toy = Toy::<false>::new();
    let clinic = Clinic::new(&toy).await;
    clinic.change(clinic.ill, 1).await;
    clinic.change(clinic.ill, 2).await;
    clinic.unit(&toy).run_to_head().await.unwrap();
    toy.heal();

    let left = clinic.retry(&toy).await;
    clinic.change(clinic.ill, 3).await;
    clinic.unit(&toy).run_to_head().await.unwrap();

    assert_eq!(left, 0);
    assert!(clinic.is_complete().await);
    assert_eq!(clinic.waiting_positions().await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_unit_notices_that_a_stream_was_healed() {
    let toy = Toy::<false>::new();
    let clinic = Clinic::new(&toy).await;
    let node = &clinic.system.node;
    node.runtime.start(&toy, None, &node.system);
    clinic.change(clinic.ill, 1).await;
    until("the stream waits", async || (clinic.waiting().await.len() == 1).then_some(())).await;

    toy.heal();
    assert_eq!(clinic.retry(&toy).await, 0);
    clinic.change(clinic.ill, 2).await;

    until("the stream goes on", async || clinic.is_complete().await.then_some(())).await;
    assert_eq!(clinic.waiting_positions().await, [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_beside_a_running_unit_lose_and_repeat_nothing() {
    let toy = Toy::<false>::new();
    let clinic = Clinic::new(&toy).await;
    let node = &clinic.system.node;
    node.runtime.start(&toy, None, &node.system);
    clinic.change(clinic.ill, 1).await;
    until("the stream waits", async || (clinic.waiting().await.len() == 1).then_some(())).await;
    toy.heal();

    for n in 2..40 {
        let (left, ()) = tokio::join!(clinic.retry(&toy), clinic.change(clinic.ill, n));
        assert_eq!(left, 0);
    }

    until("the stream goes on", async || {
        clinic.retry(&toy).await;
        clinic.is_complete().await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_event_is_skipped_for_a_recorded_reason() {
    let toy = Toy::<false>::new();
    let clinic = Clinic::new(&toy).await;
    clinic.change(clinic.ill, 1).await;
    clinic.change(clinic.ill, 2).await;
    clinic.unit(&toy).run_to_head().await.unwrap();
    toy.tolerate_gaps();

    let given_up = clinic.discard(3, "double booking of 2019").await;
    let again = clinic.discard(3, "once more").await;
    let left = clinic.retry(&toy).await;
    clinic.change(clinic.ill, 3).await;
    clinic.unit(&toy).run_to_head().await.unwrap();

    assert_eq!((given_up, again, left), (true, false, 0));
    assert_eq!(clinic.versions(clinic.ill).await, [1, 3, 4]);
    let reason: String =
        sqlx::query_scalar("select discard_reason from runtime.quarantine where position = 3")
            .fetch_one(&clinic.system.owner)
            .await
            .unwrap();
    assert_eq!(reason, "double booking of 2019");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_event_stays_out_of_a_rebuild_for_its_recorded_reason() {
    for organization_only in [false, true] {
        let toy = Toy::<false>::new();
        let clinic = Clinic::new(&toy).await;
        clinic.change(clinic.ill, 1).await;
        clinic.change(clinic.ill, 2).await;
        clinic.unit(&toy).run_to_head().await.unwrap();
        toy.tolerate_gaps();
        clinic.discard(3, "double booking of 2019").await;
        clinic.retry(&toy).await;
        let scope = if organization_only {
            RebuildScope::Organization(clinic.organization_id)
        } else {
            RebuildScope::Everything
        };

        let progress = watch::Sender::default();
        rebuild(&*toy, clinic.system.log(), &clinic.system.owner, scope, &progress).await.unwrap();

        assert_eq!(clinic.versions(clinic.ill).await, [1, 3]);
        assert_eq!(clinic.waiting_positions().await, [0; 0]);
        let discarded: Vec<(i64, String)> = sqlx::query_as(
            "select q.position, q.discard_reason
             from runtime.quarantine q
             join runtime.projections p on p.projector = q.projector and p.live_version = q.version",
        )
        .fetch_all(&clinic.system.owner)
        .await
        .unwrap();
        assert_eq!(discarded, [(3, "double booking of 2019".to_owned())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_may_skip_nothing_stops_its_lane() {
    let toy = Toy::<true>::new();
    let clinic = Clinic::new(&toy).await;
    clinic.unit(&toy).run_to_head().await.unwrap();
    clinic.change(clinic.well, 1).await;
    clinic.change(clinic.ill, 1).await;

    let stopped = clinic.unit(&toy).run_to_head().await;

    assert!(matches!(stopped, Err(UnitError::Apply(ApplyError::Poison(_)))), "{stopped:?}");
    assert_eq!(clinic.system.count("select position from runtime.checkpoints where lane = 1").await, 2);
    assert_eq!(clinic.system.count("select count(*) from toy.entries").await, 2);
    assert_eq!(clinic.waiting_positions().await, [0; 0]);
    toy.heal();
    assert_eq!(clinic.unit(&toy).run_to_head().await.unwrap(), 2);
    assert!(clinic.is_complete().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_lane_leaves_the_others_running_and_goes_on_when_healed() {
    let toy = Toy::<true>::new();
    let clinic = Clinic::new(&toy).await;
    let node = &clinic.system.node;
    node.runtime.start(&toy, None, &node.system);
    clinic.change(clinic.ill, 1).await;
    let elsewhere = clinic.system.organization_in(2).await;

    start_appointment(clinic.system.log(), elsewhere).await;

    until("the other lane goes on", async || {
        (clinic.system.count("select count(*) from toy.entries where lane = 2").await == 1).then_some(())
    })
    .await;
    assert!(!clinic.is_complete().await);
    toy.heal();
    until("the lane goes on", async || clinic.is_complete().await.then_some(())).await;
}
