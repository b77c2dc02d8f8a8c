//! `carelog rebuild`: a projection from position 0, while the present one serves.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use carelog_analytics::Analytics;
use carelog_domain::OrganizationId;
use carelog_event_log::runtime::{Progress, Projector, RebuildError, RebuildScope, cancel_rebuild, rebuild};
use carelog_video::VideoProjector;
use carelog_webhooks::WebhooksProjector;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::Config;
use crate::signing::origin_prefix;
use crate::system::System;

const REDRAW: Duration = Duration::from_millis(100);

/// What to rebuild.
#[derive(Debug, Args)]
pub(super) struct RebuildArguments {
    /// Which projection
    #[arg(value_enum)]
    projection: Projection,
    /// The rows of one organization only
    #[arg(long, value_name = "ID")]
    organization: Option<Uuid>,
    /// Print progress and result as JSON lines
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Projection {
    Records,
    Audit,
    Proofs,
    Webhooks,
    Analytics,
    Video,
}

/// Rebuilds, shows how far it came, and gives up on Ctrl-C; the present version is then untouched.
pub(super) async fn run(
    config: &Config,
    system: &System,
    arguments: RebuildArguments,
) -> anyhow::Result<ExitCode> {
    let databases = &system.databases;
    match arguments.projection {
        Projection::Records => {
            one(system, &carelog_records::Records, &databases.core_owner, &arguments).await
        }
        Projection::Audit => {
            let audit = carelog_audit::Audit::new(&system.log);
            one(system, &audit, &databases.audit_owner, &arguments).await
        }
        Projection::Proofs => {
            let sealer = carelog_audit::Sealer::new(&system.log, &origin_prefix(&config.proofs, &system.log));
            one(system, &sealer, &databases.audit_owner, &arguments).await
        }
        Projection::Video => one(system, &VideoProjector, &databases.core_owner, &arguments).await,
        Projection::Webhooks => one(system, &WebhooksProjector, &databases.core_owner, &arguments).await,
        Projection::Analytics => {
            let analytics = Analytics::new(Arc::clone(&system.pseudonyms));
            one(system, &analytics, &databases.analytics_owner, &arguments).await
        }
    }
}

async fn one<P: Projector>(
    system: &System,
    projector: &P,
    pool: &PgPool,
    arguments: &RebuildArguments,
) -> anyhow::Result<ExitCode> {
    let scope = match arguments.organization {
        None => RebuildScope::Everything,
        Some(id) => RebuildScope::Organization(OrganizationId::new(id)),
    };
    let (progress, seen) = watch::channel(Progress::default());
    let display = Display::new(P::NAME, arguments.json);
    let rebuilding = rebuild(projector, &system.log, pool, scope, &progress);
    tokio::pin!(rebuilding);
    let mut redraw = tokio::time::interval(REDRAW);
    let mut is_cancelled = false;
    let result = loop {
        tokio::select! {
            result = &mut rebuilding => break result,
            _ = redraw.tick() => display.show(*seen.borrow()),
            _ = tokio::signal::ctrl_c(), if !is_cancelled => {
                // Nothing is cancelled before the rebuild has begun; then the next wish counts.
                is_cancelled = cancel_rebuild(&mut *pool.acquire().await?, P::NAME).await?;
            }
        }
    };
    display.show(*seen.borrow());
    display.end(result.is_ok());
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(RebuildError::Cancelled) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error.into()),
    }
}

/// A bar for people, or lines for programs.
struct Display {
    projection: &'static str,
    bar: Option<ProgressBar>,
}

impl Display {
    fn new(projection: &'static str, json: bool) -> Self {
        let bar = (!json).then(|| {
            let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} events {per_sec} {eta}");
            ProgressBar::new(0)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_prefix(projection)
        });
        Self { projection, bar }
    }

    fn show(&self, progress: Progress) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(progress.total.unsigned_abs());
                bar.set_position(progress.done.unsigned_abs());
            }
            None => println!(
                "{}",
                json!({ "projection": self.projection, "done": progress.done, "total": progress.total })
            ),
        }
    }

    fn end(&self, is_built: bool) {
        match &self.bar {
            Some(bar) if is_built => bar.finish(),
            Some(bar) => bar.abandon(),
            None => println!("{}", json!({ "projection": self.projection, "is_built": is_built })),
        }
    }
}
