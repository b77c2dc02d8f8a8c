//! Loads, folds and writes the rows of a page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::video_room::{RoomEnd, RoomFailure, RoomProvider};
use carelog_domain::{EventType, OrganizationId};
use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::Wish;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::{OrganizationRow, Page, RoomKey, RoomRow, room_id, room_of};
use crate::queries::{load_organizations, load_rooms};

/// Folds appointments and their rooms; intends looks at them.
#[derive(Clone, Copy, Debug, Default)]
pub struct VideoProjector;

impl Projector for VideoProjector {
    type Intent = Wish;
    type Memory = ();

    const NAME: &'static str = "video";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "video",
        sql: &[include_str!("../../../migrations/core/0007_video.sql")],
        tables: &["video_organizations", "video_rooms"],
    };

    const ON_POISON: OnPoison = OnPoison::Quarantine;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// Whatever may lead to a look at a room; somebody may be waiting for it.
    fn is_pressing(&self, event: &RecordedEvent) -> bool {
        matches!(
            event.event_type,
            EventType::AppointmentOnboarded
                | EventType::AppointmentRescheduled
                | EventType::AppointmentCancelled
                | EventType::AppointmentNoShow
                | EventType::OrganizationIntegrationConfigured
                | EventType::OrganizationIntegrationRemoved
                | EventType::OrganizationSettingsChanged
                | EventType::PatientConsentWithdrawn
                | EventType::VideoNoticeReceived
                | EventType::VideoRoomRecordingRequested
                | EventType::VideoRoomRecordingStopRequested
        )
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        (): &'a mut (),
        events: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<Wish>, ApplyError>> {
        Box::pin(async move {
            let mut keys = BTreeSet::new();
            for event in events {
                keys.extend(room_of(event)?);
            }
            let organizations: BTreeSet<OrganizationId> =
                events.iter().map(|event| event.stream.organization_id).collect();
            let mut page = Page {
                rooms: load_rooms(tables, &keys).await.map_err(ApplyError::from)?,
                organizations: load_organizations(tables, &organizations).await.map_err(ApplyError::from)?,
                ..Page::default()
            };
            for event in events {
                page.fold(event)?;
            }
            write_organizations(tables, &page).await?;
            write_rooms(tables, &page).await?;
            Ok(page.intents)
        })
    }
}

/// Organizations change rarely: a statement each.
async fn write_organizations(tables: &mut PgConnection, page: &Page) -> Result<(), ApplyError> {
    for organization_id in &page.changed_organizations {
        let Some(row) = page.organizations.get(organization_id) else { continue };
        let OrganizationRow { recording_enabled, waiting_room_minutes, daily } = row;
        let credentials = daily.as_ref();
        sqlx::query!(
            "
            insert into video_organizations
                (organization_id, recording_enabled, waiting_room_minutes, provider, credentials, credentials_key_id,
                 credentials_version, credentials_event_id, credentials_schema_version)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            on conflict (organization_id) do update
            set recording_enabled = excluded.recording_enabled,
                waiting_room_minutes = excluded.waiting_room_minutes, provider = excluded.provider,
                credentials = excluded.credentials, credentials_key_id = excluded.credentials_key_id,
                credentials_version = excluded.credentials_version,
                credentials_event_id = excluded.credentials_event_id,
                credentials_schema_version = excluded.credentials_schema_version
            ",
            organization_id.uuid(),
            recording_enabled,
            i32::from(*waiting_room_minutes),
            credentials.map(|_| RoomProvider::Daily.as_str()),
            credentials.map(|credentials| credentials.sealed.bytes.to_vec()),
            credentials.map(|credentials| credentials.sealed.key_id.uuid()),
            credentials.map(|credentials| credentials.version),
            credentials.map(|credentials| credentials.event_id.uuid()),
            credentials.map(|credentials| i16::try_from(credentials.schema_version).unwrap_or(i16::MAX))
        )
        .execute(&mut *tables)
        .await?;
    }
    Ok(())
}

fn column<T>(rows: &BTreeMap<RoomKey, &RoomRow>, value: impl Fn(&RoomKey, &RoomRow) -> T) -> Vec<T> {
    rows.iter().map(|(key, row)| value(key, row)).collect()
}

/// All of a page's rooms in one statement.
async fn write_rooms(tables: &mut PgConnection, page: &Page) -> Result<(), ApplyError> {
    let changed = page.changed_rooms.iter();
    let rows: BTreeMap<RoomKey, &RoomRow> =
        changed.filter_map(|key| Some((*key, page.rooms.get(key)?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let opens_at = column(&rows, |_, row| row.window.map(|window| OffsetDateTime::from(window.opens_at)));
    let expires_at = column(&rows, |_, row| row.window.map(|window| OffsetDateTime::from(window.expires_at)));
    let done = sqlx::query!(
        "
        insert into video_rooms
            (organization_id, appointment_id, patient_id, room_id, starts_at, ends_at, starts_at_precision, wish, status,
             provider, opening, opens_at, expires_at, attempt_count, failure_reason, next_attempt_at, end_reason, version,
             created_position, updated_at, planned_expires_at)
        select * from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::integer[], $12::timestamptz[], $13::timestamptz[], $14::integer[], $15::text[],
            $16::timestamptz[], $17::text[], $18::bigint[], $19::bigint[], $20::timestamptz[],
            $21::timestamptz[])
        on conflict (organization_id, appointment_id) do update
        set starts_at = excluded.starts_at, ends_at = excluded.ends_at, wish = excluded.wish, status = excluded.status,
            provider = excluded.provider, opening = excluded.opening, opens_at = excluded.opens_at,
            expires_at = excluded.expires_at,
            planned_expires_at = excluded.planned_expires_at, attempt_count = excluded.attempt_count,
            failure_reason = excluded.failure_reason, next_attempt_at = excluded.next_attempt_at,
            end_reason = excluded.end_reason, version = excluded.version, updated_at = excluded.updated_at
        ",
        &column(&rows, |key, _| key.0.uuid()),
        &column(&rows, |key, _| key.1.uuid()),
        &column(&rows, |_, row| row.patient_id.uuid()),
        &column(&rows, |key, _| room_id(key.1)),
        &column(&rows, |_, row| OffsetDateTime::from(row.starts_at)),
        &column(&rows, |_, row| row.ends_at.map(OffsetDateTime::from)) as _,
        &column(&rows, |_, row| row.precision.as_str()) as _,
        &column(&rows, |_, row| row.wish.as_str()) as _,
        &column(&rows, |_, row| row.status.as_str()) as _,
        &column(&rows, |_, row| row.provider.map(RoomProvider::as_str)) as _,
        &column(&rows, |_, row| i32::from(row.opening)),
        &opens_at as _,
        &expires_at as _,
        &column(&rows, |_, row| i32::from(row.attempt_count)),
        &column(&rows, |_, row| row.failure.map(RoomFailure::as_str)) as _,
        &column(&rows, |_, row| row.next_attempt_at.map(OffsetDateTime::from)) as _,
        &column(&rows, |_, row| row.end.map(RoomEnd::as_str)) as _,
        &column(&rows, |_, row| row.version),
        &column(&rows, |_, row| row.created_position),
        &column(&rows, |_, row| OffsetDateTime::from(row.updated_at)),
        &column(&rows, |_, row| row.planned_expires_at.map(OffsetDateTime::from)) as _
    )
    .execute(tables)
    .await?;
    if done.rows_affected() == rows.len() as u64 {
        return Ok(());
    }
    let room = rows.keys().next().map_or(Uuid::nil(), |key| key.1.uuid());
    Err(ApplyError::poison(NotWritten { room }))
}

/// Fewer rows were written than changed.
#[derive(Debug, thiserror::Error)]
#[error("not every row of video_rooms was written, from appointment {room} on")]
struct NotWritten {
    room: Uuid,
}
