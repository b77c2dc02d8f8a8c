//! Removing the rows of erased patients, and remembering that they are erased.

use std::collections::{HashMap, HashSet};

use carelog_domain::OrganizationId;
use carelog_event_log::Position;
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::columns;
use crate::model::Key;

pub(super) async fn load_tombstones(
    tables: &mut PgConnection,
    wanted: &[Key],
) -> Result<HashSet<Key>, ApplyError> {
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    let (organizations, tombstones) = columns(wanted);
    let rows = sqlx::query!(
        "
        select organization_id, tombstone
        from erased_patients
        where (organization_id, tombstone) in (select * from unnest($1::uuid[], $2::uuid[]))
        ",
        &organizations,
        &tombstones
    )
    .fetch_all(tables)
    .await?;
    let key =
        |organization_id, tombstone| (OrganizationId::new(organization_id), Pseudonym::stored(tombstone));
    Ok(rows.into_iter().map(|row| key(row.organization_id, row.tombstone)).collect())
}

pub(super) async fn write_tombstones(
    tables: &mut PgConnection,
    tombstones: &HashMap<Key, Position>,
) -> Result<(), ApplyError> {
    if tombstones.is_empty() {
        return Ok(());
    }
    let mut organizations = Vec::with_capacity(tombstones.len());
    let mut pseudonyms = Vec::with_capacity(tombstones.len());
    let mut positions = Vec::with_capacity(tombstones.len());
    for ((organization_id, tombstone), position) in tombstones {
        organizations.push(organization_id.uuid());
        pseudonyms.push(tombstone.uuid());
        positions.push(*position);
    }
    sqlx::query!(
        "
        insert into erased_patients (organization_id, tombstone, position)
        select * from unnest($1::uuid[], $2::uuid[], $3::bigint[])
        ",
        &organizations,
        &pseudonyms,
        &positions
    )
    .execute(tables)
    .await?;
    Ok(())
}

/// Removes every row of these patients.
pub(super) async fn remove(tables: &mut PgConnection, patients: &HashSet<Key>) -> Result<(), ApplyError> {
    if patients.is_empty() {
        return Ok(());
    }
    let (organizations, pseudonyms): (Vec<Uuid>, Vec<Uuid>) = columns(patients);
    sqlx::query!(
        "
        with erased as (select * from unnest($1::uuid[], $2::uuid[]) as e (organization_id, patient)),
        patients as (
            delete from patient_facts where (organization_id, patient) in (select * from erased)
        ), appointments as (
            delete from appointment_facts where (organization_id, patient) in (select * from erased)
        ), exercises as (
            delete from exercise_assignment_facts where (organization_id, patient) in (select * from erased)
        ), sessions as (
            delete from exercise_session_facts where (organization_id, patient) in (select * from erased)
        ), stays as (
            delete from video_session_facts where (organization_id, patient) in (select * from erased)
        ), samples as (
            delete from video_quality_facts where (organization_id, patient) in (select * from erased)
        )
        delete from form_facts where (organization_id, patient) in (select * from erased)
        ",
        &organizations,
        &pseudonyms
    )
    .execute(tables)
    .await?;
    Ok(())
}
