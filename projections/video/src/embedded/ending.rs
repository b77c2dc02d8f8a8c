//! Stays that are over: found where nothing is heard of them any more, and kept until their end was told.

use carelog_domain::{AppointmentId, OrganizationId, ParticipantId, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use super::presence::{Place, lost_before, moment};
use crate::queries::QueryError;

/// Stays whose end is told at a time.
const BATCH: i64 = 200;

/// A stay whose end is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of which room.
    pub place: Place,
    /// Whose.
    pub participant_id: ParticipantId,
    /// Which.
    pub session_id: Uuid,
    /// When they began to take part; nothing where they only waited.
    pub joined_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Timestamp,
}

/// Ends, in all rooms, the stays of which nothing was heard for too long, forgets those that ended long enough ago, and
/// drops signals that nobody takes any more.
/// The connection has to see every organization.
///
/// # Errors
/// When the database fails.
pub fn end_lost(connection: &mut PgConnection, now: Timestamp) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
            "
            update rooms.presences set status = 'gone', gone_reason = 'lost'
            where status <> 'gone' and seen_at <= $1
            ",
            lost_before(now)
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!("delete from rooms.presences where is_told and seen_at <= $1", lost_before(now))
            .execute(&mut *connection)
            .await?;
        sqlx::query!(
            "
            delete from rooms.signals s
            where not exists (
                select from rooms.presences p
                where p.organization_id = s.organization_id and p.session_id = s.to_session and p.status <> 'gone')
            "
        )
        .execute(connection)
        .await?;
        Ok(())
    })
}

/// Stays whose end is still to be told: of all rooms, or of those of one appointment.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn ended(
    connection: &mut PgConnection,
    appointment_id: Option<AppointmentId>,
) -> BoxFuture<'_, Result<Vec<Ended>, QueryError>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            "
            select organization_id, appointment_id, participant_id, session_id, joined_at, seen_at
            from rooms.presences
            where status = 'gone' and not is_told and ($1::uuid is null or appointment_id = $1)
            order by seen_at
            limit $2
            ",
            appointment_id.map(AppointmentId::uuid) as _,
            BATCH
        )
        .fetch_all(connection)
        .await?;
        let ended = rows.into_iter().map(|row| {
            let joined_at = row.joined_at.map(|at| moment("joined_at", row.session_id, at)).transpose()?;
            Ok(Ended {
                place: Place {
                    organization_id: OrganizationId::new(row.organization_id),
                    appointment_id: AppointmentId::new(row.appointment_id),
                },
                participant_id: ParticipantId::new(row.participant_id),
                session_id: row.session_id,
                joined_at,
                ended_at: moment("seen_at", row.session_id, row.seen_at)?,
            })
        });
        ended.collect()
    })
}

/// Notes that the end of a stay was told. The row stays for [`super::presence::LEASE`], so that the connection that had
/// it learns why: whoever was turned away does not knock again by itself.
///
/// # Errors
/// When the database fails.
pub fn note_told<'a>(
    connection: &'a mut PgConnection,
    ended: &'a Ended,
) -> BoxFuture<'a, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
            "update rooms.presences set is_told = true
             where organization_id = $1 and session_id = $2 and status = 'gone'",
            ended.place.organization_id.uuid(),
            ended.session_id
        )
        .execute(connection)
        .await?;
        Ok(())
    })
}
