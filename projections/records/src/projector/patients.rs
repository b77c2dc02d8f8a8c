//! The rows of patients and of what they agreed to.

use carelog_domain::LegalHoldId;
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;

use super::arrays::{Seals, Stamps, check_written, each, moment};
use crate::model::{ConsentRecord, PatientRecord};

pub(super) async fn write_patients(
    tables: &mut PgConnection,
    rows: &[&PatientRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let seals = Seals::of(rows.iter().map(|r| r.personal.as_ref()));
    let done = sqlx::query!(
        "
        insert into patients as t (
            organization_id, patient_id, status, birth_year, onboarded_at, erased_at, version, lane,
            position, created_position, created_at, occurred_at, updated_at, personal, personal_key_id,
            personal_version, personal_event_id, personal_event_type, personal_schema_version, legal_holds)
        select n.organization_id, n.patient_id, n.status, n.birth_year, n.onboarded_at, n.erased_at, n.version, n.lane,
            n.position, n.created_position, n.created_at, n.occurred_at, n.updated_at, n.personal, n.personal_key_id,
            n.personal_version, n.personal_event_id, n.personal_event_type, n.personal_schema_version,
            -- Arrays of several lengths cannot stand in one array.
            string_to_array(n.legal_holds, ' ')::uuid[]
        from unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::timestamptz[], $6::timestamptz[],
            $7::bigint[], $8::smallint[], $9::bigint[], $10::bigint[], $11::timestamptz[],
            $12::timestamptz[], $13::timestamptz[], $14::bytea[], $15::uuid[], $16::bigint[], $17::uuid[],
            $18::text[], $19::smallint[], $20::text[])
            as n (organization_id, patient_id, status, birth_year, onboarded_at, erased_at, version, lane, position,
                  created_position, created_at, occurred_at, updated_at, personal, personal_key_id, personal_version,
                  personal_event_id, personal_event_type, personal_schema_version, legal_holds)
        on conflict (organization_id, patient_id) do update
        set status = excluded.status, onboarded_at = excluded.onboarded_at,
            erased_at = excluded.erased_at, version = excluded.version, position = excluded.position,
            occurred_at = excluded.occurred_at, updated_at = excluded.updated_at,
            personal = excluded.personal, personal_key_id = excluded.personal_key_id,
            personal_version = excluded.personal_version,
            personal_event_id = excluded.personal_event_id,
            personal_event_type = excluded.personal_event_type,
            personal_schema_version = excluded.personal_schema_version, legal_holds = excluded.legal_holds
        -- A hold changes the row, and not the place that the row comes from.
        where t.position <= excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.patient_id.uuid()),
        &each(rows, |r| r.status.as_str()) as _,
        &each(rows, |r| r.birth_year.map(i32::from)) as _,
        &each(rows, |r| r.onboarded_at.map(moment)) as _,
        &each(rows, |r| r.erased_at.map(moment)) as _,
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
        &each(rows, |r| r.legal_holds.iter().map(LegalHoldId::to_string).collect::<Vec<_>>().join(" ")) as _,
    )
    .execute(tables)
    .await?;
    check_written("patients", rows.len(), done.rows_affected())
}

pub(super) async fn write_consents(
    tables: &mut PgConnection,
    rows: &[&ConsentRecord],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let stamps = Stamps::of(rows.iter().map(|r| r.stamp));
    let done = sqlx::query!(
        "
        insert into patient_consents as t (
            organization_id, patient_id, consent, consent_version, given_at, withdrawn_at, version, lane,
            position, created_position, created_at, occurred_at, updated_at)
        select *
        from unnest(
            $1::uuid[], $2::uuid[], $3::text[], $4::integer[], $5::timestamptz[], $6::timestamptz[],
            $7::bigint[], $8::smallint[], $9::bigint[], $10::bigint[], $11::timestamptz[],
            $12::timestamptz[], $13::timestamptz[])
        on conflict (organization_id, patient_id, consent) do update
        set consent_version = excluded.consent_version, given_at = excluded.given_at,
            withdrawn_at = excluded.withdrawn_at, version = excluded.version,
            position = excluded.position, occurred_at = excluded.occurred_at,
            updated_at = excluded.updated_at
        where t.position < excluded.position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.patient_id.uuid()),
        &each(rows, |r| r.consent.as_str()) as _,
        &each(rows, |r| i32::from(r.consent_version)),
        &each(rows, |r| moment(r.given_at)),
        &each(rows, |r| r.withdrawn_at.map(moment)) as _,
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
    check_written("patient_consents", rows.len(), done.rows_affected())
}
