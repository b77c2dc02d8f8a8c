//! Rooms by appointment, lists of them, and what the worker needs to know. Names without a schema mean the tables of
//! the version that is read or written.

use std::collections::{BTreeMap, BTreeSet};

use carelog_domain::video_room::RoomWindow;
use carelog_domain::{AppointmentId, EventId, KeyId, OrganizationId, PatientId, Sealed, Timestamp};
use carelog_event_log::runtime::ApplyError;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::{OrganizationRow, RoomKey, RoomRow, SealedCredentials};

/// Open rooms that are looked at at once; a clinic has a few dozen.
const MOST_OPEN: i64 = 500;

/// Why rooms cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The database failed.
    #[error("the rooms cannot be read")]
    Database(#[from] sqlx::Error),
    /// A stored value does not parse.
    #[error("{table}.{column} of {row} holds a value that does not parse")]
    Stored {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row.
        row: Uuid,
    },
}

impl From<QueryError> for ApplyError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Database(error) => error.into(),
            stored @ QueryError::Stored { .. } => Self::poison(stored),
        }
    }
}

/// Which rooms are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomFilter {
    /// Only those with which something does not succeed.
    pub failing: bool,
    /// Of one patient.
    pub patient_id: Option<PatientId>,
}

/// Reads a name of a closed enum.
fn name<T: std::str::FromStr>(column: &'static str, row: Uuid, text: &str) -> Result<T, QueryError> {
    text.parse().map_err(|_| QueryError::Stored { table: "video_rooms", column, row })
}

fn optional_name<T: std::str::FromStr>(
    column: &'static str,
    row: Uuid,
    text: Option<&str>,
) -> Result<Option<T>, QueryError> {
    text.map(|text| name(column, row, text)).transpose()
}

fn moment(column: &'static str, row: Uuid, at: OffsetDateTime) -> Result<Timestamp, QueryError> {
    Timestamp::try_from(at).map_err(|_| QueryError::Stored { table: "video_rooms", column, row })
}

fn count(column: &'static str, row: Uuid, number: i32) -> Result<u16, QueryError> {
    u16::try_from(number).map_err(|_| QueryError::Stored { table: "video_rooms", column, row })
}

/// Selects rooms; the tail says which.
macro_rules! select_rooms {
    ($connection:expr, $tail:literal $(, $argument:expr)* $(,)?) => {{
        let rows = sqlx::query!(
            "select organization_id, appointment_id, patient_id, starts_at, ends_at, starts_at_precision, wish, status, \
             provider, opening, opens_at, expires_at, planned_expires_at, attempt_count, failure_reason, next_attempt_at, end_reason, \
             version, created_position, updated_at from video_rooms " + $tail
            $(, $argument)*
        )
        .fetch_all($connection)
        .await?;
        let mut rooms = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.appointment_id;
            let optional = |column, at: Option<OffsetDateTime>| at.map(|at| moment(column, id, at)).transpose();
            let window = match (optional("opens_at", row.opens_at)?, optional("expires_at", row.expires_at)?) {
                (Some(opens_at), Some(expires_at)) => Some(RoomWindow { opens_at, expires_at }),
                _ => None,
            };
            let room = RoomRow {
                patient_id: PatientId::new(row.patient_id),
                starts_at: moment("starts_at", id, row.starts_at)?,
                ends_at: optional("ends_at", row.ends_at)?,
                precision: name("starts_at_precision", id, &row.starts_at_precision)?,
                wish: name("wish", id, &row.wish)?,
                status: name("status", id, &row.status)?,
                provider: optional_name("provider", id, row.provider.as_deref())?,
                opening: count("opening", id, row.opening)?,
                window,
                planned_expires_at: optional("planned_expires_at", row.planned_expires_at)?,
                attempt_count: count("attempt_count", id, row.attempt_count)?,
                failure: optional_name("failure_reason", id, row.failure_reason.as_deref())?,
                next_attempt_at: optional("next_attempt_at", row.next_attempt_at)?,
                end: optional_name("end_reason", id, row.end_reason.as_deref())?,
                version: row.version,
                created_position: row.created_position,
                updated_at: moment("updated_at", id, row.updated_at)?,
            };
            rooms.push(((OrganizationId::new(row.organization_id), AppointmentId::new(id)), room));
        }
        rooms
    }};
}

/// The rows that a page builds upon.
pub(crate) fn load_rooms<'a>(
    tables: &'a mut PgConnection,
    keys: &'a BTreeSet<RoomKey>,
) -> BoxFuture<'a, Result<BTreeMap<RoomKey, RoomRow>, QueryError>> {
    Box::pin(async move {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (organizations, ids): (Vec<Uuid>, Vec<Uuid>) =
            keys.iter().map(|key| (key.0.uuid(), key.1.uuid())).unzip();
        let rooms = select_rooms!(
            tables,
            "where (organization_id, appointment_id) in (select * from unnest($1::uuid[], $2::uuid[]))",
            &organizations,
            &ids
        );
        Ok(rooms.into_iter().collect())
    })
}

/// The room of one appointment; nothing where it is not by video.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn get_room(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    appointment_id: AppointmentId,
) -> BoxFuture<'_, Result<Option<RoomRow>, QueryError>> {
    Box::pin(async move {
        let rooms = select_rooms!(
            connection,
            "where organization_id = $1 and appointment_id = $2",
            organization_id.uuid(),
            appointment_id.uuid()
        );
        Ok(rooms.into_iter().next().map(|(_, room)| room))
    })
}

/// Rooms of an organization, the newest booking first, up to a place of the log.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_rooms(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    filter: RoomFilter,
    before: Option<i64>,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<(AppointmentId, RoomRow)>, QueryError>> {
    Box::pin(async move {
        let before = before.unwrap_or(i64::MAX);
        let patient_id = filter.patient_id.map(PatientId::uuid);
        let rooms = if filter.failing {
            select_rooms!(
                connection,
                "where organization_id = $1 and created_position < $2 and attempt_count > 0
                   and (wish = 'wanted' or status = 'open') and ($4::uuid is null or patient_id = $4)
                 order by created_position desc
                 limit $3",
                organization_id.uuid(),
                before,
                limit,
                patient_id as _
            )
        } else {
            select_rooms!(
                connection,
                "where organization_id = $1 and created_position < $2 and ($4::uuid is null or patient_id = $4)
                 order by created_position desc
                 limit $3",
                organization_id.uuid(),
                before,
                limit,
                patient_id as _
            )
        };
        Ok(rooms.into_iter().map(|((_, appointment_id), room)| (appointment_id, room)).collect())
    })
}

/// Rooms that are wanted and not there, or failing, of appointments that begin at `starts_from` or later and, where that
/// is known to the minute, end after `ends_after`.
pub(crate) fn lacking(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    starts_from: Timestamp,
    ends_after: Timestamp,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<(RoomKey, RoomRow)>, QueryError>> {
    Box::pin(async move {
        Ok(select_rooms!(
            connection,
            "where organization_id = $1 and starts_at >= $2
               and (starts_at_precision = 'day' or coalesce(ends_at, starts_at + interval '1 day') > $3)
               and (wish = 'wanted' and status <> 'open' or status = 'open' and attempt_count > 0)
             order by coalesce(next_attempt_at, '-infinity'), created_position
             limit $4",
            organization_id.uuid(),
            OffsetDateTime::from(starts_from),
            OffsetDateTime::from(ends_after),
            limit
        ))
    })
}

/// Appointments whose room is open, those first whose room opened first.
///
/// # Errors
/// When the database fails.
pub fn open_rooms(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    patient_id: Option<PatientId>,
) -> BoxFuture<'_, Result<Vec<AppointmentId>, QueryError>> {
    Box::pin(async move {
        let ids = sqlx::query_scalar!(
            "
            select appointment_id
            from video_rooms
            where organization_id = $1 and status = 'open' and ($2::uuid is null or patient_id = $2)
            order by opens_at, appointment_id
            limit $3
            ",
            organization_id.uuid(),
            patient_id.map(PatientId::uuid) as _,
            MOST_OPEN
        )
        .fetch_all(connection)
        .await?;
        Ok(ids.into_iter().map(AppointmentId::new).collect())
    })
}

/// How many rooms are not as they should be: making, moving or closing them did not succeed so far.
///
/// # Errors
/// When the database fails.
pub fn count_failing(connection: &mut PgConnection) -> BoxFuture<'_, Result<i64, QueryError>> {
    Box::pin(async move {
        let count = sqlx::query_scalar!(
            r#"
            select count(*) as "count!"
            from video_rooms
            where attempt_count > 0 and (wish = 'wanted' or status = 'open')
            "#
        );
        Ok(count.fetch_one(connection).await?)
    })
}

/// Organizations that record consultations, or did.
///
/// # Errors
/// When the database fails.
pub fn organizations_that_may_record(
    connection: &mut PgConnection,
) -> BoxFuture<'_, Result<Vec<OrganizationId>, QueryError>> {
    Box::pin(async move {
        // Whoever was never allowed to has no row.
        let ids = sqlx::query_scalar!("select organization_id from video_organizations")
            .fetch_all(connection)
            .await?;
        Ok(ids.into_iter().map(OrganizationId::new).collect())
    })
}

/// Whether a room has opened that closed no earlier than `since`, or is open.
pub(crate) fn has_recent_rooms(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    now: Timestamp,
    since: Timestamp,
) -> BoxFuture<'_, Result<bool, QueryError>> {
    Box::pin(async move {
        let found = sqlx::query_scalar!(
            r#"
            select exists (
                select
                from video_rooms
                where organization_id = $1 and opening > 0 and opens_at <= $2 and expires_at >= $3
            ) as "found!"
            "#,
            organization_id.uuid(),
            OffsetDateTime::from(now),
            OffsetDateTime::from(since)
        )
        .fetch_one(connection)
        .await?;
        Ok(found)
    })
}

/// Appointments that have had a room of which something was told since a moment.
///
/// # Errors
/// When the database fails.
pub fn rooms_told_of_since(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    since: Timestamp,
) -> BoxFuture<'_, Result<Vec<AppointmentId>, QueryError>> {
    Box::pin(async move {
        let ids = sqlx::query_scalar!(
            "
            select appointment_id
            from video_rooms
            where organization_id = $1 and opening > 0 and updated_at >= $2
            order by updated_at, appointment_id
            ",
            organization_id.uuid(),
            OffsetDateTime::from(since)
        )
        .fetch_all(connection)
        .await?;
        Ok(ids.into_iter().map(AppointmentId::new).collect())
    })
}

/// Rooms at Daily that are open, as the second value says, or of which something was told since a moment.
///
/// # Errors
/// When the database fails.
pub fn rooms_at_daily(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    since: Timestamp,
) -> BoxFuture<'_, Result<BTreeMap<AppointmentId, bool>, QueryError>> {
    Box::pin(async move {
        let rooms = sqlx::query!(
            r#"
            select appointment_id, status = 'open' as "is_open!"
            from video_rooms
            where organization_id = $1 and provider = 'daily'
                and (status = 'open' or opening > 0 and updated_at >= $2)
            "#,
            organization_id.uuid(),
            OffsetDateTime::from(since)
        )
        .fetch_all(connection)
        .await?;
        Ok(rooms.into_iter().map(|room| (AppointmentId::new(room.appointment_id), room.is_open)).collect())
    })
}

/// The organizations that a page builds upon.
pub(crate) fn load_organizations<'a>(
    tables: &'a mut PgConnection,
    organizations: &'a BTreeSet<OrganizationId>,
) -> BoxFuture<'a, Result<BTreeMap<OrganizationId, OrganizationRow>, QueryError>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            "
            select organization_id, recording_enabled, waiting_room_minutes, credentials, credentials_key_id,
                   credentials_version, credentials_event_id, credentials_schema_version
            from video_organizations
            where organization_id = any($1)
            ",
            &organizations.iter().map(|id| id.uuid()).collect::<Vec<_>>()
        )
        .fetch_all(tables)
        .await?;
        let mut found = BTreeMap::new();
        for row in rows {
            let bad = |column| QueryError::Stored {
                table: "video_organizations",
                column,
                row: row.organization_id,
            };
            let daily = match (
                row.credentials,
                row.credentials_key_id,
                row.credentials_version,
                row.credentials_event_id,
                row.credentials_schema_version,
            ) {
                (Some(bytes), Some(key_id), Some(version), Some(event_id), Some(schema_version)) => {
                    Some(SealedCredentials {
                        sealed: Sealed { key_id: KeyId::new(key_id), bytes: bytes.into() },
                        version,
                        event_id: EventId::new(event_id),
                        schema_version: u16::try_from(schema_version)
                            .map_err(|_| bad("credentials_schema_version"))?,
                    })
                }
                _ => None,
            };
            let organization = OrganizationRow {
                recording_enabled: row.recording_enabled,
                waiting_room_minutes: u16::try_from(row.waiting_room_minutes)
                    .map_err(|_| bad("waiting_room_minutes"))?,
                daily,
            };
            found.insert(OrganizationId::new(row.organization_id), organization);
        }
        Ok(found)
    })
}
