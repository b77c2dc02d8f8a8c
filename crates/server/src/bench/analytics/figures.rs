//! How long figures take to be made, and to be read.

use std::time::{Duration, Instant};

use carelog_analytics::publication::{Part, due, publish};
use carelog_analytics::queries::{self, CellFilter, Figures};
use carelog_domain::OrganizationId;
use carelog_domain::access::AnalyticsView;
use carelog_event_log::{Clock, SystemClock, new_id};
use serde_json::Value;
use sqlx::PgPool;

use super::facts;
use crate::bench::report::Report;
use crate::bench::timings::Timings;
use crate::system::System;

/// How often each view is read in a round.
const READS: usize = 20;
/// To a multiple of what counts are published.
const STEP: u32 = 5;

pub(super) async fn measure(
    system: &System,
    count: u32,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("making up {count} facts about appointments");
    let organization_id = OrganizationId::new(new_id());
    facts::fill(&system.databases.analytics_owner, organization_id, count).await?;
    report.remark(format!(
        "One clinic has {count} facts about appointments, and a quarter as many each about forms, exercises and sessions."
    ));
    let (mut is_due, mut shows) = (true, true);
    for round in 1..=rounds {
        eprintln!("figures: round {round} of {rounds}");
        let began = Instant::now();
        publish(&system.databases.analytics_system, organization_id, Part::ALL, SystemClock.now()).await?;
        report.figure("publishing the clinic", "s", began.elapsed().as_secs_f64());
        facts::touch(&system.databases.analytics_owner, organization_id).await?;
        let began = Instant::now();
        let due = due(&system.databases.analytics_system, SystemClock.now(), Duration::ZERO).await?;
        report.figure("finding what is due", "ms", began.elapsed().as_secs_f64() * 1e3);
        is_due &= due.iter().any(|due| due.organization_id == organization_id);
        for &view in AnalyticsView::ALL {
            let mut timings = Timings::default();
            for _ in 0..READS {
                let began = Instant::now();
                let figures = read(&system.databases.analytics_app, organization_id, view).await?;
                timings.record(began.elapsed());
                shows &= shows_something(&figures);
            }
            report.figure(&format!("reading {view}, p50"), "ms", timings.milliseconds(0.5));
            report.figure(&format!("reading {view}, worst"), "ms", timings.milliseconds(1.0));
        }
    }
    let view = AnalyticsView::AppointmentPatterns;
    let figures = read(&system.databases.analytics_app, organization_id, view).await?;
    report.check("a clinic with news about enough patients is due", is_due);
    report.check("every view shows figures", shows);
    report.check("every appointment is counted", appointments(&figures) == Some(rounded(count).into()));
    Ok(())
}

/// As the API reads them: bound to the clinic, with what the columns mean.
async fn read(
    pool: &PgPool,
    organization_id: OrganizationId,
    view: AnalyticsView,
) -> anyhow::Result<Figures> {
    let mut tx = queries::begin(pool, organization_id).await?;
    let figures = queries::figures(&mut tx, view, CellFilter::default()).await?;
    tx.commit().await?;
    Ok(figures)
}

fn shows_something(figures: &Figures) -> bool {
    figures.rows.iter().any(|row| row.get("is_suppressed") == Some(&Value::Bool(false)))
}

/// What the whole clinic has.
fn appointments(figures: &Figures) -> Option<u64> {
    let clinic = figures.rows.iter().find(|row| row.get("dimension").is_some_and(|name| name == "clinic"));
    clinic?.get("appointments")?.as_u64()
}

/// To the nearest of what is published.
const fn rounded(count: u32) -> u32 {
    (count + STEP / 2) / STEP * STEP
}
