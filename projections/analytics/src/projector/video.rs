//! The rows of stays in video rooms, and of samples of their networks.

use carelog_domain::OrganizationId;
use carelog_domain::video_room::ParticipantKind;
use carelog_event_log::Position;
use carelog_event_log::runtime::ApplyError;
use carelog_vault::Pseudonym;
use sqlx::PgConnection;
use uuid::Uuid;

use super::arrays::{Cells, check_written, columns, each, moment};
use crate::model::{Changes, Key, Rows, VideoQualityFact, VideoSessionFact};

pub(super) async fn load(
    tables: &mut PgConnection,
    keys: &[Key],
) -> Result<Rows<VideoSessionFact>, ApplyError> {
    if keys.is_empty() {
        return Ok(Rows::default());
    }
    let (organizations, pseudonyms) = columns(keys);
    let rows = sqlx::query!(
        "
        select organization_id, position, last_position, session, appointment, patient, participant,
            participant_kind, joined_at, length_minutes
        from video_session_facts
        where (organization_id, session) in (select * from unnest($1::uuid[], $2::uuid[]))
        ",
        &organizations,
        &pseudonyms
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = Cells { table: "video_session_facts", position: row.position };
        let kind = row.participant_kind.map(|name| cells.name("participant_kind", &name));
        let fact = VideoSessionFact {
            organization_id: OrganizationId::new(row.organization_id),
            position: row.position,
            last_position: row.last_position,
            session: Pseudonym::stored(row.session),
            appointment: Pseudonym::stored(row.appointment),
            patient: Pseudonym::stored(row.patient),
            participant: row.participant.map(Pseudonym::stored),
            participant_kind: kind.transpose()?,
            joined_at: cells.coarse("joined_at", row.joined_at)?,
            length_minutes: row.length_minutes,
        };
        loaded.push(((fact.organization_id, fact.session), fact));
    }
    Ok(Rows::loaded(loaded))
}

/// The samples that events at these places tell of.
pub(super) async fn load_samples(
    tables: &mut PgConnection,
    organizations: &[Uuid],
    positions: &[Position],
) -> Result<Vec<VideoQualityFact>, ApplyError> {
    let rows = sqlx::query!(
        "
        select organization_id, position, session, patient, sampled_at, state, round_trip_ms, jitter_ms,
            send_loss_permille, receive_loss_permille, sent_kbps, received_kbps, freeze_count
        from video_quality_facts
        where (organization_id, position) in (select * from unnest($1::uuid[], $2::bigint[]))
        order by position
        ",
        organizations,
        positions
    )
    .fetch_all(tables)
    .await?;
    let mut loaded = Vec::with_capacity(rows.len());
    for row in rows {
        let cells = Cells { table: "video_quality_facts", position: row.position };
        let permille =
            |column, share: Option<i16>| share.map(|share| cells.number(column, share)).transpose();
        let freezes = row.freeze_count.map(|count| cells.number("freeze_count", count));
        loaded.push(VideoQualityFact {
            organization_id: OrganizationId::new(row.organization_id),
            position: row.position,
            session: Pseudonym::stored(row.session),
            patient: Pseudonym::stored(row.patient),
            sampled_at: cells.coarse("sampled_at", row.sampled_at)?,
            state: cells.name("state", &row.state)?,
            round_trip_ms: row.round_trip_ms,
            jitter_ms: row.jitter_ms,
            send_loss_permille: permille("send_loss_permille", row.send_loss_permille)?,
            receive_loss_permille: permille("receive_loss_permille", row.receive_loss_permille)?,
            sent_kbps: row.sent_kbps,
            received_kbps: row.received_kbps,
            freeze_count: freezes.transpose()?,
        });
    }
    Ok(loaded)
}

pub(super) async fn write_sessions(
    tables: &mut PgConnection,
    rows: &Changes<'_, VideoSessionFact>,
) -> Result<(), ApplyError> {
    insert_sessions(tables, &rows.made).await?;
    update_sessions(tables, &rows.changed).await
}

async fn insert_sessions(tables: &mut PgConnection, rows: &[&VideoSessionFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into video_session_facts (
            organization_id, position, last_position, session, appointment, patient, participant,
            participant_kind, joined_at, length_minutes)
        select
            unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::bigint[]), unnest($4::uuid[]),
            unnest($5::uuid[]), unnest($6::uuid[]), unnest($7::uuid[]), unnest($8::text[]),
            unnest($9::timestamptz[]), unnest($10::integer[])
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| r.session.uuid()),
        &each(rows, |r| r.appointment.uuid()),
        &each(rows, |r| r.patient.uuid()),
        &each(rows, |r| r.participant.map(Pseudonym::uuid)) as _,
        &each(rows, |r| r.participant_kind.map(ParticipantKind::as_str)) as _,
        &each(rows, |r| moment(r.joined_at)),
        &each(rows, |r| r.length_minutes) as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn update_sessions(tables: &mut PgConnection, rows: &[&VideoSessionFact]) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let done = sqlx::query!(
        "
        update video_session_facts t
        set
            last_position = n.last_position, length_minutes = n.length_minutes
        from (
            select
                unnest($1::uuid[]) as organization_id, unnest($2::bigint[]) as position,
                unnest($3::bigint[]) as last_position, unnest($4::integer[]) as length_minutes
        ) n
        where t.organization_id = n.organization_id and t.position = n.position
            and t.last_position < n.last_position
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.last_position),
        &each(rows, |r| r.length_minutes) as _,
    )
    .execute(tables)
    .await?;
    check_written("video_session_facts", rows.len(), done.rows_affected())
}

pub(super) async fn write_samples(
    tables: &mut PgConnection,
    rows: &[&VideoQualityFact],
) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let permille = |share: Option<u16>| share.map(|share| i16::try_from(share).unwrap_or(i16::MAX));
    sqlx::query!(
        "
        insert into video_quality_facts (
            organization_id, position, session, patient, sampled_at, state, round_trip_ms, jitter_ms,
            send_loss_permille, receive_loss_permille, sent_kbps, received_kbps, freeze_count)
        select
            unnest($1::uuid[]), unnest($2::bigint[]), unnest($3::uuid[]), unnest($4::uuid[]),
            unnest($5::timestamptz[]), unnest($6::text[]), unnest($7::integer[]), unnest($8::integer[]),
            unnest($9::smallint[]), unnest($10::smallint[]), unnest($11::integer[]), unnest($12::integer[]),
            unnest($13::integer[])
        ",
        &each(rows, |r| r.organization_id.uuid()),
        &each(rows, |r| r.position),
        &each(rows, |r| r.session.uuid()),
        &each(rows, |r| r.patient.uuid()),
        &each(rows, |r| moment(r.sampled_at)),
        &each(rows, |r| r.state.as_str()) as _,
        &each(rows, |r| r.round_trip_ms) as _,
        &each(rows, |r| r.jitter_ms) as _,
        &each(rows, |r| permille(r.send_loss_permille)) as _,
        &each(rows, |r| permille(r.receive_loss_permille)) as _,
        &each(rows, |r| r.sent_kbps) as _,
        &each(rows, |r| r.received_kbps) as _,
        &each(rows, |r| r.freeze_count.map(i32::from)) as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}
