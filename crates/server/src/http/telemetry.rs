//! Metrics in Prometheus' text form. One registry per process, whoever asks for it first.

use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use carelog_event_log::effects::{self, Depth};
use carelog_event_log::runtime::{Lag, lag};
use carelog_video::queries::{QueryError, count_failing};
use http::header;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use super::problem::Problem;
use crate::system::System;

static REGISTRY: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Seconds; from an answer out of memory to the deadline.
const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds; from an idle pipeline to the longest round of attempts, which ends after a day and a half at most.
const DELIVERY_BUCKETS: &[f64] = &[
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    3.0 * 3600.0,
    6.0 * 3600.0,
    12.0 * 3600.0,
    24.0 * 3600.0,
    36.0 * 3600.0,
];
/// Histograms of deliveries.
const DELIVERY_SECONDS: [&str; 2] =
    ["carelog_webhook_first_attempt_seconds", "carelog_webhook_delivered_seconds"];
/// Samples are drained this often, whether or not anybody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Begins to collect metrics. Does nothing the second time, nor where another registry was installed before.
pub fn install() {
    REGISTRY.get_or_init(|| {
        let mut builder = PrometheusBuilder::new().set_buckets(BUCKETS).ok()?;
        for name in DELIVERY_SECONDS {
            let matcher = Matcher::Full(name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, DELIVERY_BUCKETS).ok()?;
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        Some(handle)
    });
}

/// Keeps the registry small until `stop`.
pub async fn keep_up(stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(Some(handle)) = REGISTRY.get() {
            handle.run_upkeep();
        }
        tokio::select! {
            () = tokio::time::sleep(UPKEEP) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// `GET /metrics`
pub(super) async fn serve(State(system): State<System>) -> Result<Response, Problem> {
    let Some(Some(handle)) = REGISTRY.get() else { return Err(Problem::not_found()) };
    let log = &system.log;
    for lane in log.lanes() {
        metrics::gauge!("carelog_log_position", "lane" => lane.to_string())
            .set(number(*log.head(lane).borrow()));
    }
    // The registry is worth reading above all when a database is away.
    match lags(&system).await {
        Ok(lags) => lags.iter().for_each(observe),
        Err(error) => tracing::warn!(%error, "the lag of the projectors cannot be read"),
    }
    match depth(&system).await {
        Ok((depth, replays)) => observe_webhooks(&depth, replays),
        Err(error) => tracing::warn!(%error, "the depth of the webhooks' queues cannot be read"),
    }
    match rooms(&system).await {
        Ok((looks, failing)) => observe_rooms(&looks, failing),
        Err(error) => tracing::warn!(%error, "the state of the video rooms cannot be read"),
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], handle.render()).into_response())
}

/// How far behind every projector is.
pub(super) async fn lags(system: &System) -> Result<Vec<Lag>, sqlx::Error> {
    let databases = &system.databases;
    let mut core = databases.core_system.acquire().await?;
    let mut lags = lag(&system.log, &mut core).await?;
    drop(core);
    let mut audit = databases.audit_system.acquire().await?;
    lags.extend(lag(&system.log, &mut audit).await?);
    drop(audit);
    let mut analytics = databases.analytics_system.acquire().await?;
    lags.extend(lag(&system.log, &mut analytics).await?);
    Ok(lags)
}

/// What waits to be sent, and how many replays are under way. Those are effects too, and no deliveries.
async fn depth(system: &System) -> Result<(Depth, usize), sqlx::Error> {
    let mut core = system.databases.core_system.acquire().await?;
    let replays = carelog_webhooks::replay::running(&mut core).await?;
    let depth = effects::depth(&mut core, carelog_webhooks::REACTOR, &replays).await?;
    Ok((depth, replays.len()))
}

fn observe_webhooks(depth: &Depth, replays: usize) {
    for (state, count) in [("due", depth.due), ("later", depth.later), ("held", depth.held)] {
        metrics::gauge!("carelog_webhook_waiting", "state" => state).set(number(count));
    }
    metrics::gauge!("carelog_webhook_oldest_due_seconds").set(depth.oldest_due_seconds);
    metrics::gauge!("carelog_webhook_failing_subscriptions").set(number(depth.failing_queues));
    metrics::gauge!("carelog_webhook_replays").set(number(i64::try_from(replays).unwrap_or(i64::MAX)));
}

/// Looks at video rooms that wait, and rooms that are not as they should be.
async fn rooms(system: &System) -> Result<(Depth, i64), QueryError> {
    let begin = AssertSqlSafe("begin read only; set local search_path to video, public");
    let mut tx = system.databases.core_system.begin_with(begin).await?;
    let looks = effects::depth(&mut tx, carelog_video::REACTOR, &[]).await?;
    let failing = count_failing(&mut tx).await?;
    tx.commit().await?;
    Ok((looks, failing))
}

fn observe_rooms(looks: &Depth, failing: i64) {
    for (state, count) in [("due", looks.due), ("later", looks.later), ("held", looks.held)] {
        metrics::gauge!("carelog_video_waiting", "state" => state).set(number(count));
    }
    metrics::gauge!("carelog_video_oldest_due_seconds").set(looks.oldest_due_seconds);
    metrics::gauge!("carelog_video_failing_rooms").set(number(failing));
}

fn observe(lag: &Lag) {
    let labels = [("projector", lag.projector.clone()), ("lane", lag.lane.to_string())];
    metrics::gauge!("carelog_projector_lag_events", &labels).set(number(lag.events_behind));
    metrics::gauge!("carelog_projector_position", &labels).set(number(lag.position));
    metrics::gauge!("carelog_projector_quarantined_events", &labels).set(number(lag.quarantined));
    metrics::gauge!("carelog_projector_owned", &labels).set(if lag.is_owned { 1.0 } else { 0.0 });
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and a gauge needs no more")]
const fn number(count: i64) -> f64 {
    count as f64
}
