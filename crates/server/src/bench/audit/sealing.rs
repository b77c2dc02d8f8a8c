//! Whether the sealer keeps up with those who append.
//!
//! A sealer that waits for events can do no more than it is given, so it begins with a backlog, as large as what is
//! appended meanwhile: where it keeps up, the backlog shrinks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use carelog_audit::Sealer;
use carelog_audit::meta::META;
use carelog_domain::OrganizationId;
use carelog_event_log::runtime::{Lag, Projector, lag};

use super::AuditOptions;
use crate::bench::append::place_evenly;
use crate::bench::append::product;
use crate::bench::append::requests::Requests;
use crate::bench::report::Report;
use crate::bench::stage::Stage;
use crate::system::System;

/// Organizations that are appended to, as in `bench append`.
const ORGANIZATIONS: usize = 128;
/// Share of the time that does not count.
const WARM_UP: f64 = 0.2;
/// Longest wait for the sealer.
const PATIENCE: Duration = Duration::from_mins(5);
/// How often it is asked how far it came.
const POLL: Duration = Duration::from_millis(1);

const ALONE: &str = "appending alone";
const BACKLOG: &str = "sealing a backlog";
const BESIDE: &str = "appending while a backlog is sealed";
const FOLLOWING: &str = "sealing a backlog while it is appended";
const CAUGHT_UP: &str = "the backlog is gone after the last append";
const IN_STEP: &str = "appending while the sealer is in step";
const BEHIND: &str = "behind at the last append, in step";
const WAIT: &str = "the last append waits for its seal, in step";

/// Who appends where, and who seals.
struct Scene<'a> {
    options: &'a AuditOptions,
    system: System,
    sealer: Arc<Sealer>,
    requests: Arc<Requests>,
    organizations: Arc<[OrganizationId]>,
}

/// Events of all lanes.
#[derive(Clone, Copy, Debug)]
struct Place {
    sealed: i64,
    appended: i64,
}

pub(super) async fn run(options: &AuditOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let system = stage.open().await?;
    let organizations = place_evenly(&system.databases.core_owner, ORGANIZATIONS).await?;
    system.stop().await;
    for round in 1..=options.common.rounds() {
        eprintln!("audit, sealing: round {round} of {}", options.common.rounds());
        let system = stage.open().await?;
        let scene = Scene {
            options,
            sealer: Arc::new(Sealer::new(&system.log, system.log.name())),
            requests: Arc::new(Requests::new(0)?),
            organizations: Arc::clone(&organizations),
            system,
        };
        scene.round(report).await?;
        if round == options.common.rounds() {
            scene.check(report).await?;
        }
        scene.system.stop().await;
    }
    report.ratio("sealing a backlog ÷ appending alone", BACKLOG, ALONE);
    report.ratio("sealing ÷ appending, at the same time", FOLLOWING, BESIDE);
    report.ratio("sealing while it is appended ÷ appending alone", FOLLOWING, ALONE);
    report.ratio("appending while the sealer is in step ÷ alone", IN_STEP, ALONE);
    Ok(())
}

impl Scene<'_> {
    async fn round(&self, report: &mut Report) -> anyhow::Result<()> {
        // Connections are opened, plans are made.
        self.append(WARM_UP).await?;
        let (count, seconds) = self.append(1.0).await?;
        report.figure(ALONE, "events/s", count as f64 / seconds);

        let began = Instant::now();
        let sealed = self.seal_alone().await?;
        report.figure(BACKLOG, "events/s", sealed as f64 / began.elapsed().as_secs_f64());

        self.append(1.0).await?;
        let (_, (began, before)) = tokio::try_join!(self.append(1.0), self.begin_to_follow())?;
        let (ended, after) = (Instant::now(), self.place().await?);
        let seconds = (ended - began).as_secs_f64();
        report.figure(BESIDE, "events/s", (after.appended - before.appended) as f64 / seconds);
        report.figure(FOLLOWING, "events/s", (after.sealed - before.sealed) as f64 / seconds);
        self.wait_for_seals().await?;
        report.figure(CAUGHT_UP, "ms", ended.elapsed().as_secs_f64() * 1_000.0);

        let (count, seconds) = self.append(1.0).await?;
        let (ended, place) = (Instant::now(), self.place().await?);
        report.figure(IN_STEP, "events/s", count as f64 / seconds);
        report.figure(BEHIND, "events", (place.appended - place.sealed) as f64);
        self.wait_for_seals().await?;
        report.figure(WAIT, "ms", ended.elapsed().as_secs_f64() * 1_000.0);
        Ok(())
    }

    /// Seals what there is, while nobody appends: how many events.
    async fn seal_alone(&self) -> anyhow::Result<usize> {
        let units = self.system.log.lanes().map(|lane| {
            let pool = self.system.databases.audit_system.clone();
            self.system.runtime.unit(Arc::clone(&self.sealer), None, pool, lane)
        });
        let units: Vec<_> = units.collect();
        let sealing = units.iter().map(carelog_event_log::runtime::Unit::run_to_head);
        Ok(futures::future::try_join_all(sealing).await?.into_iter().sum())
    }

    /// Starts the sealer: when it was at work in every lane, and where it and the log stood then.
    async fn begin_to_follow(&self) -> anyhow::Result<(Instant, Place)> {
        self.system.runtime.start(&self.sealer, None, &self.system.databases.audit_system);
        self.wait_until("the sealer begins", |lanes| lanes.iter().all(|lane| lane.is_owned)).await?;
        Ok((Instant::now(), self.place().await?))
    }

    /// Appends for a share of the time: how many events, in how many seconds.
    async fn append(&self, share: f64) -> anyhow::Result<(u64, f64)> {
        let duration = Duration::from_secs_f64(self.options.seconds() * share);
        let (log, clients) = (&self.system.log, self.options.clients);
        let began = Instant::now();
        let measured = product::measure(log, &self.requests, &self.organizations, clients, duration).await?;
        Ok((measured.total_count, began.elapsed().as_secs_f64()))
    }

    /// How far the sealer came in each lane.
    async fn lanes(&self) -> anyhow::Result<Vec<Lag>> {
        let mut connection = self.system.databases.audit_owner.acquire().await?;
        let mut lanes = lag(&self.system.log, &mut connection).await?;
        lanes.retain(|lane| lane.projector == Sealer::NAME);
        ensure!(!lanes.is_empty(), "the sealer has never begun");
        Ok(lanes)
    }

    async fn place(&self) -> anyhow::Result<Place> {
        let lanes = self.lanes().await?;
        let sealed = lanes.iter().map(|lane| lane.position).sum();
        Ok(Place { sealed, appended: sealed + lanes.iter().map(|lane| lane.events_behind).sum::<i64>() })
    }

    async fn wait_for_seals(&self) -> anyhow::Result<()> {
        self.wait_until("events are not sealed", |lanes| lanes.iter().all(|lane| lane.events_behind == 0))
            .await
    }

    async fn wait_until(&self, what: &str, is_so: impl Fn(&[Lag]) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is_so(&self.lanes().await?) {
            ensure!(began.elapsed() < PATIENCE, "{what} for {PATIENCE:?}");
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    async fn check(&self, report: &mut Report) -> anyhow::Result<()> {
        let databases = &self.system.databases;
        let logged = sqlx::query_scalar!(
            r#"select coalesce(sum(sequence), 0)::bigint as "count!" from log.organizations"#
        )
        .fetch_one(&databases.core_owner)
        .await?;
        let sealed =
            sqlx::query_scalar!(
                r#"select coalesce(sum(size), 0)::bigint as "count!" from proof.trees where organization_id <> $1"#,
                META.uuid()
            )
            .fetch_one(&databases.audit_owner)
            .await?;
        let leaves = sqlx::query_scalar!(
            r#"select count(*) as "count!" from proof.tree_leaves where organization_id <> $1"#,
            META.uuid()
        )
        .fetch_one(&databases.audit_owner)
        .await?;
        report.check("every event is sealed once", logged > 0 && logged == sealed && logged == leaves);
        Ok(())
    }
}
