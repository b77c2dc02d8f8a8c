//! Building a projection anew while it serves.

use std::sync::Arc;

use carelog_domain::OrganizationId;
use carelog_domain::appointment::Appointment;
use carelog_event_log::runtime::{
    Progress, RebuildError, RebuildScope, cancel_rebuild, quarantined, rebuild, retry,
};
use carelog_event_log::{EventLog, Lane};
use carelog_tests::{TestSystem, Toy, reschedule, run, scope, start_appointment, until};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

const LIVE_VERSION: &str = "select live_version::bigint from runtime.projections";

struct Clinics {
    system: TestSystem,
    organizations: Vec<OrganizationId>,
    streams: Vec<(OrganizationId, Uuid)>,
}

impl Clinics {
    /// Three organizations in two lanes, each with two appointments that moved a few times.
    async fn new() -> Self {
        let system = TestSystem::new().await;
        Toy::<false>::install(&system.owner).await;
        let mut organizations = Vec::new();
        for lane in [1, 1, 2] {
            organizations.push(system.organization_in(lane).await);
        }
        let mut streams = Vec::new();
        for organization_id in [0, 0, 1, 1, 2, 2].map(|index: usize| organizations[index]) {
            let stream_id = start_appointment(system.log(), organization_id).await;
            move_around(system.log().clone(), organization_id, stream_id, 1, 4).await;
            streams.push((organization_id, stream_id));
        }
        Self { system, organizations, streams }
    }

    async fn project(&self, toy: &Arc<Toy>) {
        for lane in self.lanes() {
            let node = &self.system.node;
            node.runtime.unit(Arc::clone(toy), None, node.system.clone(), lane).run_to_head().await.unwrap();
        }
    }

    fn lanes(&self) -> impl Iterator<Item = Lane> + use<> {
        self.system.log().lanes()
    }

    async fn rebuild(&self, toy: &Toy, scope: RebuildScope) -> Result<(), RebuildError> {
        rebuild(toy, self.system.log(), &self.system.owner, scope, &watch::Sender::default()).await
    }

    async fn contents(&self) -> Vec<String> {
        Toy::<false>::contents(&self.system.owner).await
    }

    async fn complete(&self) {
        until("the toy has applied everything", async || {
            Toy::<false>::is_complete(&self.system.owner).await.then_some(())
        })
        .await;
        assert_eq!(self.system.count("select count(*) from runtime.quarantine").await, 0);
    }

    async fn waiting(&self) -> usize {
        quarantined(&mut self.system.node.system.acquire().await.unwrap(), "toy").await.unwrap().len()
    }

    async fn no_shadow_is_left(&self) {
        let statement = "select count(*) from pg_namespace where nspname like 'toy\\_%'";
        assert_eq!(self.system.count(statement).await, 0);
        let marks =
            "select count(*) from runtime.projections where rebuild_version is not null or rebuild_cancelled";
        assert_eq!(self.system.count(marks).await, 0);
    }
}

async fn move_around(log: EventLog, organization_id: OrganizationId, stream_id: Uuid, from: u64, times: u64) {
    for n in from..from + times {
        run::<Appointment>(&log, &scope(organization_id), stream_id, reschedule(n)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_says_what_the_live_version_said() {
    let clinics = Clinics::new().await;
    let toy = Toy::<false>::new();
    clinics.project(&toy).await;
    let before = clinics.contents().await;
    let progress = watch::Sender::default();

    rebuild(&*toy, clinics.system.log(), &clinics.system.owner, RebuildScope::Everything, &progress)
        .await
        .unwrap();

    assert_eq!(clinics.contents().await, before);
    assert_eq!(*progress.borrow(), Progress { done: 30, total: 30 });
    assert_eq!(clinics.system.count(LIVE_VERSION).await, 2);
    clinics.no_shadow_is_left().await;
    let (organization_id, stream_id) = clinics.streams[0];
    move_around(clinics.system.log().clone(), organization_id, stream_id, 100, 2).await;
    clinics.project(&toy).await;
    clinics.complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_repairs_what_was_damaged() {
    let clinics = Clinics::new().await;
    let toy = Toy::<false>::new();
    clinics.project(&toy).await;
    clinics
        .system
        .sql("delete from toy.entries where version = 2; update toy.totals set event_count = 99")
        .await;

    clinics.rebuild(&toy, RebuildScope::Everything).await.unwrap();

    clinics.complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilds_while_commands_go_on_miss_nothing() {
    let clinics = Clinics::new().await;
    let toy = Toy::<false>::new();
    let node = &clinics.system.node;
    node.runtime.start(&toy, None, &node.system);
    clinics.complete().await;
    let mut callers = JoinSet::new();
    for (organization_id, stream_id) in clinics.streams.clone() {
        callers.spawn(move_around(clinics.system.log().clone(), organization_id, stream_id, 100, 60));
    }

    clinics.rebuild(&toy, RebuildScope::Everything).await.unwrap();
    for organization_id in clinics.organizations.clone() {
        clinics.rebuild(&toy, RebuildScope::Organization(organization_id)).await.unwrap();
    }
    clinics.rebuild(&toy, RebuildScope::Everything).await.unwrap();
    callers.join_all().await;

    clinics.complete().await;
    assert_eq!(clinics.system.count(LIVE_VERSION).await, 3);
    clinics.no_shadow_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_rebuild_leaves_the_live_version_untouched() {
    let clinics = Clinics::new().await;
    let (toy, new_toy) = (Toy::<false>::new(), Toy::<false>::new());
    clinics.project(&toy).await;
    clinics.system.sql("update toy.totals set event_count = 99").await;
    let before = clinics.contents().await;

    new_toy.close_gate();
    let cancel = async {
        new_toy.somebody_at_gate().await;
        let mut connection = clinics.system.node.system.acquire().await.unwrap();
        let cancelled = cancel_rebuild(&mut connection, "toy").await.unwrap();
        new_toy.open_gate();
        cancelled
    };
    let (rebuilt, cancelled) = tokio::join!(clinics.rebuild(&new_toy, RebuildScope::Everything), cancel);

    assert!(cancelled);
    assert!(matches!(rebuilt, Err(RebuildError::Cancelled)), "{rebuilt:?}");
    assert_eq!(clinics.contents().await, before);
    assert_eq!(clinics.system.count(LIVE_VERSION).await, 1);
    clinics.no_shadow_is_left().await;
    let mut connection = clinics.system.node.system.acquire().await.unwrap();
    assert!(!cancel_rebuild(&mut connection, "toy").await.unwrap(), "nothing is running any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_cut_off_can_be_started_again() {
    let clinics = Clinics::new().await;
    let (toy, doomed_toy) = (Toy::<false>::new(), Toy::<false>::new());
    clinics.project(&toy).await;
    doomed_toy.close_gate();
    let mut doomed = JoinSet::new();
    let (log, pool, its_toy) =
        (clinics.system.log().clone(), clinics.system.owner.clone(), Arc::clone(&doomed_toy));
    doomed.spawn(async move {
        rebuild(&*its_toy, &log, &pool, RebuildScope::Everything, &watch::Sender::default()).await
    });
    doomed_toy.somebody_at_gate().await;
    let meanwhile = clinics.rebuild(&toy, RebuildScope::Everything).await;
    doomed.shutdown().await;

    assert!(matches!(meanwhile, Err(RebuildError::Running)), "{meanwhile:?}");
    until("the dead one's lock is gone", async || {
        match clinics.rebuild(&toy, RebuildScope::Everything).await {
            Err(RebuildError::Running) => None,
            Err(other) => panic!("{other:?}"),
            Ok(()) => Some(()),
        }
    })
    .await;
    clinics.complete().await;
    clinics.no_shadow_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_one_organization_leaves_the_others_alone() {
    let clinics = Clinics::new().await;
    let toy = Toy::<false>::new();
    clinics.project(&toy).await;
    clinics
        .system
        .sql("update toy.totals set event_count = 99; delete from toy.entries where version = 2")
        .await;
    let one = clinics.organizations[0];

    clinics.rebuild(&toy, RebuildScope::Organization(one)).await.unwrap();

    let untouched = "select count(*) from toy.totals where event_count = 99";
    assert_eq!(clinics.system.count(untouched).await, 4);
    assert_eq!(clinics.system.count("select count(*) from toy.entries").await, 26);
    let entries: i64 = sqlx::query_scalar("select count(*) from toy.entries where organization_id = $1")
        .bind(one.uuid())
        .fetch_one(&clinics.system.owner)
        .await
        .unwrap();
    assert_eq!(entries, 10);
    assert_eq!(clinics.system.count(LIVE_VERSION).await, 1);
    clinics.no_shadow_is_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_rebuild_could_not_apply_waits_in_quarantine_afterwards() {
    let clinics = Clinics::new().await;
    let toy = Toy::<false>::new();
    let (organization_id, ill) = clinics.streams[0];
    toy.poison(ill, 3);
    clinics.project(&toy).await;
    assert_eq!(clinics.waiting().await, 3);

    for scope in [RebuildScope::Everything, RebuildScope::Organization(organization_id)] {
        clinics.rebuild(&toy, scope).await.unwrap();
        assert_eq!(clinics.waiting().await, 3, "{scope:?}");
    }

    toy.heal();
    let mut connection = clinics.system.node.system.acquire().await.unwrap();
    let left = retry(&*toy, None, clinics.system.log(), &mut connection, organization_id, ill).await.unwrap();
    assert_eq!(left, 0);
    clinics.complete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_with_a_mended_projector_empties_the_quarantine_for_running_units_too() {
    for whole in [true, false] {
        let clinics = Clinics::new().await;
        let toy = Toy::<false>::new();
        let (organization_id, ill) = clinics.streams[0];
        toy.poison(ill, 3);
        let node = &clinics.system.node;
        node.runtime.start(&toy, None, &node.system);
        until("the stream waits", async || (clinics.waiting().await == 3).then_some(())).await;

        toy.heal();
        let one = RebuildScope::Organization(organization_id);
        clinics.rebuild(&toy, if whole { RebuildScope::Everything } else { one }).await.unwrap();
        move_around(clinics.system.log().clone(), organization_id, ill, 100, 2).await;

        clinics.complete().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_never_ran_cannot_be_rebuilt() {
    let clinics = Clinics::new().await;

    let rebuilt = clinics.rebuild(&Toy::<false>::new(), RebuildScope::Everything).await;

    assert!(matches!(rebuilt, Err(RebuildError::NotStarted)), "{rebuilt:?}");
}
