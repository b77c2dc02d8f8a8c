//! A clinic's rows: its settings, staff, integrations and keys.

use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::{Seals, Stamps, check_written, each, moment};
use crate::model::{ApiKeyRecord, IntegrationRecord, MemberRecord, OrganizationRecord};

pub(super) async fn write_organizations(
    tables: &mut PgConnection,
    rows: &[&OrganizationRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into organizations as t (
            organization_id, recording_enabled, small_cell_threshold, waiting_room_minutes, version, lane,
            position, created_position, created_at, occurred_at, updated_at, personal, personal_key_id,
            personal_version, personal_event_id, personal_event_type, personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::boolean[], $3::integer[], $4::integer[], $5::bigint[], $6::smallint[],
            $7::bigint[], $8::bigint[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[],
            $12::bytea[], $13::uuid[], $14::bigint[], $15::uuid[], $16::text[], $17::smallint[])
        on conflict (organization_id) do update
        set recording_enabled = excluded.recording_enabled,
            small_cell_threshold = excluded.small_cell_threshold,
            waiting_room_minutes = excluded.waiting_room_minutes, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at,
            updated_at = excluded.updated_at, personal = excluded.personal,
            personal_key_id = excluded.personal_key_id, personal_version = excluded.personal_version,
            personal_event_id = excluded.personal_event_id,
            personal_event_type = excluded.personal_event_type,
            personal_schema_version = excluded.personal_schema_version
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.settings.recording_enabled),
        &each(rows, |r| i32::from(r.settings.small_cell_threshold)),
        &each(rows, |r| i32::from(r.settings.waiting_room_minutes)),
        &stamps.version,
        &stamps.lane,
        &stamps.position,
        &stamps.created_position,
        &stamps.created_at,
        &stamps.occurred_at,
        &stamps.updated_at,
        &seals.bytes as _,
        &seals.key_id as _,
        &seals.version as _,
        &seals.event_id as _,
        &seals.event_type as _,
        &seals.schema_version as _,
    )
    .execute(tables)
    .await?;
    check_written("organizations", rows.len(), done.rows_affected())
}

pub(super) async fn write_members(
    tables: &mut PgConnection,
    rows: &[&MemberRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into organization_members as t (
            organization_id, member_id, status, role, removed_at, version, lane, position, created_position,
            created_at, occurred_at, updated_at, personal, personal_key_id, personal_version,
            personal_event_id, personal_event_type, personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::smallint[],
            $8::bigint[], $9::bigint[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[],
            $13::bytea[], $14::uuid[], $15::bigint[], $16::uuid[], $17::text[], $18::smallint[])
        on conflict (organization_id, member_id) do update
        set status = excluded.status, role = excluded.role, removed_at = excluded.removed_at,
            version = excluded.version, position = excluded.position,
            occurred_at = excluded.occurred_at, updated_at = excluded.updated_at,
            personal = excluded.personal, personal_key_id = excluded.personal_key_id,
            personal_version = excluded.personal_version,
            personal_event_id = excluded.personal_event_id,
            personal_event_type = excluded.personal_event_type,
            personal_schema_version = excluded.personal_schema_version
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.member_id.uuid()),
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| r.role.as_str()) as _,
        &each(rows, |r| r.removed_at.map(moment)) as _,
        &stamps.version,
        &stamps.lane,
        &stamps.position,
        &stamps.created_position,
        &stamps.created_at,
        &stamps.occurred_at,
        &stamps.updated_at,
        &seals.bytes as _,
        &seals.key_id as _,
        &seals.version as _,
        &seals.event_id as _,
        &seals.event_type as _,
        &seals.schema_version as _,
    )
    .execute(tables)
    .await?;
    check_written("organization_members", rows.len(), done.rows_affected())
}

pub(super) async fn write_integrations(
    tables: &mut PgConnection,
    rows: &[&IntegrationRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into organization_integrations as t (
            organization_id, integration, status, removed_at, version, lane, position, created_position,
            created_at, occurred_at, updated_at, personal, personal_key_id, personal_version,
            personal_event_id, personal_event_type, personal_schema_version)
        select *
        from unnest(
            $1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::smallint[],
            $7::bigint[], $8::bigint[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[],
            $12::bytea[], $13::uuid[], $14::bigint[], $15::uuid[], $16::text[], $17::smallint[])
        on conflict (organization_id, integration) do update
        set status = excluded.status, removed_at = excluded.removed_at, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at,
            updated_at = excluded.updated_at, personal = excluded.personal,
            personal_key_id = excluded.personal_key_id, personal_version = excluded.personal_version,
            personal_event_id = excluded.personal_event_id,
            personal_event_type = excluded.personal_event_type,
            personal_schema_version = excluded.personal_schema_version
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.integration.as_str()) as _,
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| r.removed_at.map(moment)) as _,
        &stamps.version,
        &stamps.lane,
        &stamps.position,
        &stamps.created_position,
        &stamps.created_at,
        &stamps.occurred_at,
        &stamps.updated_at,
        &seals.bytes as _,
        &seals.key_id as _,
        &seals.version as _,
        &seals.event_id as _,
        &seals.event_type as _,
        &seals.schema_version as _,
    )
    .execute(tables)
    .await?;
    check_written("organization_integrations", rows.len(), done.rows_affected())
}

pub(super) async fn write_api_keys(
    tables: &mut PgConnection,
    rows: &[&ApiKeyRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let done = sqlx::query!(
        "
        insert into api_keys as t (
            organization_id, api_key_id, secret_sha256, role, scopes, specialist_id, member_id, patient_id,
            expires_at, revoked_at, version, lane, position, created_position, created_at, occurred_at,
            updated_at)
        select r.organization_id, r.api_key_id, r.secret_sha256, r.role, string_to_array(r.scopes, ','),
               r.specialist_id, r.member_id, r.patient_id, r.expires_at, r.revoked_at, r.version, r.lane,
               r.position, r.created_position, r.created_at, r.occurred_at, r.updated_at
        from unnest(
            $1::uuid[], $2::uuid[], $3::bytea[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::uuid[],
            $9::timestamptz[], $10::timestamptz[], $11::bigint[], $12::smallint[], $13::bigint[],
            $14::bigint[], $15::timestamptz[], $16::timestamptz[], $17::timestamptz[])
            as r (
                organization_id, api_key_id, secret_sha256, role, scopes, specialist_id, member_id,
                patient_id, expires_at, revoked_at, version, lane, position, created_position, created_at,
                occurred_at, updated_at)
        on conflict (organization_id, api_key_id) do update
        set revoked_at = excluded.revoked_at, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at,
            updated_at = excluded.updated_at
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.api_key_id.uuid()),
        &each(rows, |r| r.secret_sha256.bytes().as_slice()) as _,
        &each(rows, |r| r.role.as_str()) as _,
        &each(rows, |r| scope_list(r)),
        &each(rows, |r| r.specialist_id.map(Uuid::from)) as _,
        &each(rows, |r| r.member_id.map(Uuid::from)) as _,
        &each(rows, |r| r.patient_id.map(Uuid::from)) as _,
        &each(rows, |r| r.expires_at.map(moment)) as _,
        &each(rows, |r| r.revoked_at.map(moment)) as _,
        &stamps.version,
        &stamps.lane,
        &stamps.position,
        &stamps.created_position,
        &stamps.created_at,
        &stamps.occurred_at,
        &stamps.updated_at,
    )
    .execute(tables)
    .await?;
    check_written("api_keys", rows.len(), done.rows_affected())
}

/// Arrays of arrays have to be rectangular in SQL, so a key's scopes travel as one text; their names are closed
/// and hold no comma.
fn scope_list(key: &ApiKeyRecord) -> String {
    let names: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    names.join(",")
}
