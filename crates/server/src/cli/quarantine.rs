//! `carelog quarantine`: events that a projector could not apply, and what becomes of them.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::ensure;
use carelog_analytics::Analytics;
use carelog_domain::{EventType, OrganizationId};
use carelog_event_log::runtime::{Projector, Reactor, discard, quarantined, retry};
use carelog_records::Records;
use carelog_video::VideoProjector;
use carelog_webhooks::{LedgerOnly, WebhooksProjector};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::system::System;

/// What to do with quarantined events.
#[derive(Debug, Subcommand)]
pub(super) enum QuarantineCommand {
    /// Show what waits, oldest first
    List {
        /// Print a JSON object for each event
        #[arg(long)]
        json: bool,
    },
    /// Apply the waiting events of a stream, in order, once the cause of the failure is mended
    Retry {
        /// Which projection
        #[arg(value_enum)]
        projection: Projection,
        /// The organization of the stream
        #[arg(long, value_name = "ID")]
        organization: Uuid,
        /// The stream
        #[arg(long, value_name = "ID")]
        stream: Uuid,
    },
    /// Give up on one event for ever
    Discard(DiscardArguments),
}

#[derive(Debug, Args)]
pub(super) struct DiscardArguments {
    /// Which projection
    #[arg(value_enum)]
    projection: Projection,
    /// The lane of the event
    #[arg(long)]
    lane: i16,
    /// Its position in the lane
    #[arg(long)]
    position: i64,
    /// Why; it is kept beside the event
    #[arg(long)]
    reason: String,
}

/// The projections that set events aside; the audit trail never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Projection {
    Records,
    Webhooks,
    Video,
    Analytics,
}

impl Projection {
    const fn name(self) -> &'static str {
        match self {
            Self::Records => Records::NAME,
            Self::Webhooks => WebhooksProjector::NAME,
            Self::Video => VideoProjector::NAME,
            Self::Analytics => Analytics::NAME,
        }
    }

    /// Leads to the database of its tables.
    const fn pool(self, system: &System) -> &PgPool {
        match self {
            Self::Records | Self::Webhooks | Self::Video => &system.databases.core_system,
            Self::Analytics => &system.databases.analytics_system,
        }
    }
}

/// Lists, retries or discards.
pub(super) async fn run(system: &System, command: QuarantineCommand) -> anyhow::Result<ExitCode> {
    match command {
        QuarantineCommand::List { json } => list(system, json).await,
        QuarantineCommand::Retry { projection, organization, stream } => {
            let organization_id = OrganizationId::new(organization);
            let stream = WaitingStream { pool: projection.pool(system), organization_id, id: stream };
            let left = match projection {
                Projection::Records => again(system, &Records, None, stream).await?,
                Projection::Webhooks => again(system, &WebhooksProjector, Some(&LedgerOnly), stream).await?,
                Projection::Video => {
                    again(system, &VideoProjector, Some(&carelog_video::LedgerOnly), stream).await?
                }
                Projection::Analytics => {
                    let analytics = Analytics::new(Arc::clone(&system.pseudonyms));
                    again(system, &analytics, None, stream).await?
                }
            };
            ensure!(left == 0, "{left} events of the stream still wait: the first of them fails again");
            println!("no event of the stream waits any more");
            Ok(ExitCode::SUCCESS)
        }
        QuarantineCommand::Discard(event) => give_up(system, &event).await,
    }
}

async fn list(system: &System, json: bool) -> anyhow::Result<ExitCode> {
    let mut count = 0;
    for projection in Projection::value_variants() {
        let mut connection = projection.pool(system).acquire().await?;
        for event in quarantined(&mut connection, projection.name()).await? {
            count += 1;
            if json {
                println!(
                    "{}",
                    json!({
                        "projection": projection.name(), "lane": event.lane, "position": event.position,
                        "organization": event.organization_id, "stream": event.stream_id,
                        "event": event.event_type, "failure": event.failure,
                    })
                );
                continue;
            }
            let why = event.failure.as_deref().unwrap_or("waits behind an earlier event of its stream");
            println!(
                "{} lane {} position {}: {}, organization {}, stream {}: {why}",
                projection.name(),
                event.lane,
                event.position,
                event.event_type,
                event.organization_id,
                event.stream_id
            );
        }
    }
    if count == 0 && !json {
        println!("nothing is quarantined");
    }
    Ok(ExitCode::SUCCESS)
}

/// A stream whose events wait, and the database of the projection that they wait in.
struct WaitingStream<'a> {
    pool: &'a PgPool,
    organization_id: OrganizationId,
    id: Uuid,
}

async fn again<P: Projector>(
    system: &System,
    projector: &P,
    reactor: Option<&dyn Reactor<P::Intent>>,
    stream: WaitingStream<'_>,
) -> anyhow::Result<usize> {
    let WaitingStream { pool, organization_id, id: stream_id } = stream;
    let mut connection = pool.acquire().await?;
    let waiting = quarantined(&mut connection, P::NAME).await?;
    let is_known = waiting
        .iter()
        .any(|event| (event.organization_id, event.stream_id) == (organization_id.uuid(), stream_id));
    ensure!(is_known, "no event of {} waits for that stream; see `carelog quarantine list`", P::NAME);
    Ok(retry(projector, reactor, &system.log, &mut connection, organization_id, stream_id).await?)
}

async fn give_up(system: &System, event: &DiscardArguments) -> anyhow::Result<ExitCode> {
    let reason = event.reason.trim();
    ensure!(!reason.is_empty(), "--reason must say why");
    let mut connection = event.projection.pool(system).acquire().await?;
    let name = event.projection.name();
    let waiting = quarantined(&mut connection, name).await?;
    let is_erasure = waiting.iter().any(|waits| {
        (waits.lane, waits.position) == (event.lane, event.position)
            && waits.event_type == EventType::PatientKeysDestroyed.as_str()
    });
    ensure!(!is_erasure, "an erasure cannot be given up: {name} would keep what has to go; retry it");
    let is_discarded = discard(&mut connection, name, event.lane, event.position, reason).await?;
    ensure!(is_discarded, "no event of {name} waits at lane {} position {}", event.lane, event.position);
    println!("discarded; the reason is kept, and `carelog doctor` goes on listing the event");
    Ok(ExitCode::SUCCESS)
}
