//! Stays in embedded rooms: who waits, who takes part, and whose end is still to be told.
//!
//! A stay lasts as long as somebody is heard of: a connection that breaks may be resumed within [`LEASE`], by the page
//! that had it. The database keeps one stay for a person and two seats for a conversation; every change is made in a
//! transaction that has the organization set, and wakes the others.

use std::time::Duration;

use carelog_domain::video_room::ParticipantKind;
use carelog_domain::{AppointmentId, OrganizationId, ParticipantId, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::hub::wake;
use crate::queries::QueryError;

/// For so long a stay outlives its connection.
pub const LEASE: Duration = Duration::from_secs(30);

/// Which room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub organization_id: OrganizationId,
    /// Of which appointment.
    pub appointment_id: AppointmentId,
}

/// Somebody at the door.
#[derive(Clone, Copy, Debug)]
pub struct Visitor {
    /// Of which room.
    pub place: Place,
    /// Who.
    pub participant_id: ParticipantId,
    /// In what part.
    pub participant: ParticipantKind,
    /// By which of their links.
    pub link: u16,
    /// Tells the browser from others.
    pub device_sha256: [u8; 32],
    /// The connection that is to speak for them.
    pub connection_id: Uuid,
    /// For a new stay.
    pub session_id: Uuid,
    /// The stay that the page had before its connection broke.
    pub resumes: Option<Uuid>,
}

/// What became of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// In, or back, in this stay.
    Session(Uuid),
    /// The link is in use on another device.
    InUse,
    /// The specialist's seat is taken.
    SeatTaken,
    /// The specialist turned away the stay that was to be resumed.
    Declined,
}

/// Somebody who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Their stay.
    pub session_id: Uuid,
    /// In what part.
    pub participant: ParticipantKind,
    /// Whether they take part, or wait.
    pub is_admitted: bool,
    /// Whether this is whose connection asks.
    pub is_own: bool,
}

/// Why a stay is over, for the one whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Another connection speaks for it.
    Superseded,
    /// Another stay took its place.
    Replaced,
    /// The specialist declined.
    Declined,
    /// The specialist sent them back to wait.
    SentBack,
    /// Nothing was heard for too long, or it was ended here.
    Lost,
}

/// What a specialist does with somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gesture {
    /// Let them in.
    Admit,
    /// Turn them away.
    Decline,
    /// Let them wait again.
    SendBack,
}

/// Nobody was heard of since.
pub(super) fn lost_before(now: Timestamp) -> OffsetDateTime {
    let lease = i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX);
    now.saturating_add_micros(-lease).into()
}

pub(super) fn moment(column: &'static str, row: Uuid, at: OffsetDateTime) -> Result<Timestamp, QueryError> {
    Timestamp::try_from(at).map_err(|_| QueryError::Stored { table: "rooms.presences", column, row })
}

/// Lets a visitor in, back in, or tells why not.
///
/// # Errors
/// When the database fails.
pub fn enter<'a>(
    connection: &'a mut PgConnection,
    visitor: &'a Visitor,
    now: Timestamp,
) -> BoxFuture<'a, Result<Entrance, QueryError>> {
    Box::pin(async move {
        let Place { organization_id, appointment_id } = visitor.place;
        let (organization, appointment) = (organization_id.uuid(), appointment_id.uuid());
        end_lost_of(connection, visitor.place, now).await?;
        let known = sqlx::query!(
            r#"
            select session_id, device_sha256, link, status = 'admitted' as "is_admitted!"
            from rooms.presences
            where organization_id = $1 and appointment_id = $2 and participant_id = $3 and status <> 'gone'
            for update
            "#,
            organization,
            appointment,
            visitor.participant_id.uuid()
        )
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(resumes) = visitor.resumes
            && was_declined(connection, visitor, resumes).await?
        {
            return Ok(Entrance::Declined);
        }
        let mut is_admitted = visitor.participant == ParticipantKind::Specialist;
        if let Some(known) = known {
            let is_same_device = known.device_sha256 == visitor.device_sha256;
            if !is_same_device && known.link >= i32::from(visitor.link) {
                return Ok(Entrance::InUse);
            }
            if is_same_device && visitor.resumes == Some(known.session_id) {
                sqlx::query!(
                    "update rooms.presences set connection_id = $3, seen_at = $4
                     where organization_id = $1 and session_id = $2",
                    organization,
                    known.session_id,
                    visitor.connection_id,
                    OffsetDateTime::from(now)
                )
                .execute(&mut *connection)
                .await?;
                wake(connection, appointment_id).await?;
                return Ok(Entrance::Session(known.session_id));
            }
            // A page that was loaded again goes on where it was; another device begins anew.
            is_admitted = is_admitted || is_same_device && known.is_admitted;
            sqlx::query!(
                "update rooms.presences set status = 'gone', gone_reason = 'replaced', seen_at = $3
                 where organization_id = $1 and session_id = $2",
                organization,
                known.session_id,
                OffsetDateTime::from(now)
            )
            .execute(&mut *connection)
            .await?;
        }
        let done = sqlx::query!(
            "
            insert into rooms.presences
                (organization_id, appointment_id, session_id, participant_id, participant, link, device_sha256,
                 connection_id, status, entered_at, seen_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
            on conflict do nothing
            ",
            organization,
            appointment,
            visitor.session_id,
            visitor.participant_id.uuid(),
            visitor.participant.as_str(),
            i32::from(visitor.link),
            &visitor.device_sha256[..],
            visitor.connection_id,
            if is_admitted { "admitted" } else { "waiting" },
            OffsetDateTime::from(now)
        )
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 0 {
            let is_specialist = visitor.participant == ParticipantKind::Specialist;
            return Ok(if is_specialist { Entrance::SeatTaken } else { Entrance::InUse });
        }
        wake(connection, appointment_id).await?;
        Ok(Entrance::Session(visitor.session_id))
    })
}

async fn was_declined(
    connection: &mut PgConnection,
    visitor: &Visitor,
    resumes: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from rooms.presences
            where organization_id = $1 and session_id = $2 and participant_id = $3 and gone_reason = 'declined'
        ) as "was_declined!"
        "#,
        visitor.place.organization_id.uuid(),
        resumes,
        visitor.participant_id.uuid()
    )
    .fetch_one(connection)
    .await
}

async fn end_lost_of(connection: &mut PgConnection, place: Place, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update rooms.presences set status = 'gone', gone_reason = 'lost'
        where organization_id = $1 and appointment_id = $2 and status <> 'gone' and seen_at <= $3
        ",
        place.organization_id.uuid(),
        place.appointment_id.uuid(),
        lost_before(now)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that a connection is heard of. Nothing where the stay is still its own; otherwise, what became of it.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn keep(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    session_id: Uuid,
    connection_id: Uuid,
    now: Timestamp,
) -> BoxFuture<'_, Result<Option<Gone>, QueryError>> {
    Box::pin(async move {
        let done = sqlx::query!(
            "
            update rooms.presences set seen_at = $4
            where organization_id = $1 and session_id = $2 and connection_id = $3 and status <> 'gone'
            ",
            organization_id.uuid(),
            session_id,
            connection_id,
            OffsetDateTime::from(now)
        )
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(None);
        }
        let found = sqlx::query!(
            "select connection_id, gone_reason from rooms.presences where organization_id = $1 and session_id = $2",
            organization_id.uuid(),
            session_id
        )
        .fetch_optional(connection)
        .await?;
        Ok(Some(match found {
            Some(found) if found.connection_id != connection_id => Gone::Superseded,
            Some(found) => match found.gone_reason.as_deref() {
                Some("declined") => Gone::Declined,
                Some("sent_back") => Gone::SentBack,
                Some("replaced") => Gone::Replaced,
                _ => Gone::Lost,
            },
            None => Gone::Lost,
        }))
    })
}

/// Notes that somebody takes part from now on, and says since when; nothing where they only wait.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn join(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    session_id: Uuid,
    now: Timestamp,
) -> BoxFuture<'_, Result<Option<Timestamp>, QueryError>> {
    Box::pin(async move {
        let joined_at = sqlx::query_scalar!(
            r#"
            update rooms.presences set joined_at = coalesce(joined_at, $3)
            where organization_id = $1 and session_id = $2 and status = 'admitted'
            returning joined_at as "joined_at!"
            "#,
            organization_id.uuid(),
            session_id,
            OffsetDateTime::from(now)
        )
        .fetch_optional(connection)
        .await?;
        joined_at.map(|at| moment("joined_at", session_id, at)).transpose()
    })
}

/// Who is in a room, in the order of their coming.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn present(
    connection: &mut PgConnection,
    place: Place,
    own_session: Uuid,
    now: Timestamp,
) -> BoxFuture<'_, Result<Vec<Present>, QueryError>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            r#"
            select session_id, participant, status = 'admitted' as "is_admitted!"
            from rooms.presences
            where organization_id = $1 and appointment_id = $2 and status <> 'gone' and seen_at > $3
            order by entered_at, session_id
            "#,
            place.organization_id.uuid(),
            place.appointment_id.uuid(),
            lost_before(now)
        )
        .fetch_all(connection)
        .await?;
        let present = rows.into_iter().map(|row| {
            let bad = |_| QueryError::Stored {
                table: "rooms.presences",
                column: "participant",
                row: row.session_id,
            };
            Ok(Present {
                session_id: row.session_id,
                participant: row.participant.parse().map_err(bad)?,
                is_admitted: row.is_admitted,
                is_own: row.session_id == own_session,
            })
        });
        present.collect()
    })
}

/// Does what a specialist asked for with the stay of another; says whether that was possible. Nobody is admitted while
/// the seat is taken.
///
/// # Errors
/// When the database fails.
pub fn gesture(
    connection: &mut PgConnection,
    place: Place,
    session_id: Uuid,
    gesture: Gesture,
    now: Timestamp,
) -> BoxFuture<'_, Result<bool, QueryError>> {
    Box::pin(async move {
        let (organization, appointment) = (place.organization_id.uuid(), place.appointment_id.uuid());
        end_lost_of(connection, place, now).await?;
        let done = match gesture {
            Gesture::Admit => sqlx::query!(
                "
                update rooms.presences set status = 'admitted'
                where organization_id = $1 and appointment_id = $2 and session_id = $3 and status = 'waiting'
                  and not exists (
                      select from rooms.presences seat
                      where seat.organization_id = $1 and seat.appointment_id = $2 and seat.status = 'admitted'
                        and seat.participant <> 'specialist')
                ",
                organization,
                appointment,
                session_id
            )
            .execute(&mut *connection)
            .await?,
            Gesture::Decline | Gesture::SendBack => {
                let (from, reason) = match gesture {
                    Gesture::SendBack => ("admitted", "sent_back"),
                    Gesture::Admit | Gesture::Decline => ("waiting", "declined"),
                };
                sqlx::query!(
                    "
                    update rooms.presences set status = 'gone', gone_reason = $5, seen_at = $6
                    where organization_id = $1 and appointment_id = $2 and session_id = $3 and status = $4
                      and participant <> 'specialist'
                    ",
                    organization,
                    appointment,
                    session_id,
                    from,
                    reason,
                    OffsetDateTime::from(now)
                )
                .execute(&mut *connection)
                .await?
            }
        };
        wake(connection, place.appointment_id).await?;
        Ok(done.rows_affected() == 1)
    })
}

/// Ends a stay, for as long as this connection speaks for it.
///
/// # Errors
/// When the database fails.
pub fn leave(
    connection: &mut PgConnection,
    place: Place,
    session_id: Uuid,
    connection_id: Uuid,
    ended_at: Timestamp,
) -> BoxFuture<'_, Result<(), QueryError>> {
    Box::pin(async move {
        sqlx::query!(
            "
            update rooms.presences set status = 'gone', gone_reason = 'left', seen_at = $4
            where organization_id = $1 and session_id = $2 and connection_id = $3 and status <> 'gone'
            ",
            place.organization_id.uuid(),
            session_id,
            connection_id,
            OffsetDateTime::from(ended_at)
        )
        .execute(&mut *connection)
        .await?;
        Ok(wake(connection, place.appointment_id).await?)
    })
}
