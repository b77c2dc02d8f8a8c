//! What happens in embedded rooms, told to the log; and the end of stays of which nobody is heard any more.
//!
//! A stay that is over stays in the table until its end is in the log and a while longer, so that a process that dies in
//! between leaves it to another, and its own connection learns why it is over. Telling twice changes nothing.

use std::time::Duration;

use carelog_domain::video_room::{Stay, VideoRoom, VideoRoomCommand, VideoRoomRejection};
use carelog_domain::{Actor, Circumstances, CorrelationId};
use carelog_event_log::{EventLog, ExecuteError, Scope, new_id};
use carelog_video::embedded::ending::{self, Ended};
use carelog_video::embedded::presence::Place;
use carelog_video::room_id;
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use tracing::warn;

use crate::system::System;

/// How often lost stays are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Begins to change what one organization has here.
pub(super) async fn begin(
    pool: &PgPool,
    place: Place,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    // A UUID's text needs no quoting.
    let statement = format!("begin; set local carelog.organization_id = '{}'", place.organization_id);
    pool.begin_with(AssertSqlSafe(statement)).await
}

/// Tells the log something of a room.
///
/// # Errors
/// The rejection, or why the log cannot be reached.
pub(super) fn tell(
    log: &EventLog,
    place: Place,
    command: VideoRoomCommand,
) -> BoxFuture<'_, Result<(), ExecuteError<VideoRoomRejection>>> {
    Box::pin(async move {
        let scope =
            Scope::new(place.organization_id, Circumstances::of(Actor::SYSTEM, CorrelationId::new(new_id())));
        log.execute::<VideoRoom>(&scope, room_id(place.appointment_id), command).await.map(drop)
    })
}

/// Tells the ends of stays in one room.
pub(super) fn finish_room(system: &System, place: Place) -> BoxFuture<'_, anyhow::Result<()>> {
    Box::pin(async move {
        let pool = &system.databases.core_system;
        let mut tx = begin(pool, place).await?;
        let ended = ending::ended(&mut tx, Some(place.appointment_id)).await?;
        tx.commit().await?;
        for ended in &ended {
            tell_end(&system.log, ended).await?;
            let mut tx = begin(pool, place).await?;
            ending::note_told(&mut tx, ended).await?;
            tx.commit().await?;
        }
        Ok(())
    })
}

async fn tell_end(log: &EventLog, ended: &Ended) -> anyhow::Result<()> {
    let Some(joined_at) = ended.joined_at else { return Ok(()) };
    let micros = ended.ended_at.micros_since(joined_at).max(0);
    let duration_seconds = u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX);
    let stay = Stay { participant_id: Some(ended.participant_id), session_id: ended.session_id, joined_at };
    match tell(log, ended.place, VideoRoomCommand::Leave { stay, duration_seconds }).await {
        Ok(()) => Ok(()),
        Err(ExecuteError::Rejected(rejection)) => {
            warn!(error = %rejection, "the end of a stay in a video room cannot be noted");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends stays that were lost, in whatever process they were; until the system stops.
pub(crate) async fn keep(system: System) {
    let stop = system.runtime.stop.clone();
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        if let Err(error) = keep_once(&system).await {
            warn!(
                error = format!("{error:#}"),
                "lost stays in video rooms cannot be ended; it is tried again"
            );
        }
    }
}

async fn keep_once(system: &System) -> anyhow::Result<()> {
    let mut connection = system.databases.core_system.acquire().await?;
    ending::end_lost(&mut connection, system.log.clock().now()).await?;
    let ended = ending::ended(&mut connection, None).await?;
    for ended in &ended {
        // One that cannot be told stays for the next look, and keeps no other from being told.
        match tell_end(&system.log, ended).await {
            Ok(()) => ending::note_told(&mut connection, ended).await?,
            Err(error) => {
                let (room, error) = (ended.place.appointment_id, format!("{error:#}"));
                warn!(appointment.id = %room, error, "the end of a stay in a video room cannot be told");
            }
        }
    }
    Ok(())
}
