//! Facts of one clinic, made up by the server itself.

use carelog_domain::OrganizationId;
use sqlx::{Executor, PgPool};

/// Facts of an appointment for each patient, on average.
const PER_PATIENT: i32 = 8;
const TABLES: [&str; 6] = [
    "appointment_facts",
    "form_facts",
    "exercise_assignment_facts",
    "exercise_session_facts",
    "video_session_facts",
    "video_quality_facts",
];

/// Makes so many facts about appointments, and a quarter as many each about forms and exercises.
pub(super) async fn fill(owner: &PgPool, organization_id: OrganizationId, count: u32) -> anyhow::Result<()> {
    let id = organization_id.uuid();
    let count = i32::try_from(count)?;
    let patients = (count / PER_PATIENT).max(1);
    sqlx::query!(
        "
        insert into analytics.analytics_organizations (
            organization_id, pseudonym_epoch, small_cell_threshold, newest_event_at, last_position)
        values ($1, 1, 11, now(), $2)
        ",
        id,
        i64::from(count)
    )
    .execute(owner)
    .await?;
    sqlx::query!(
        "
        insert into analytics.appointment_facts (
            organization_id, position, last_position, appointment, patient, specialist, mode, origin, status,
            status_path, precision, booked_at, starts_at, starts_on, weekday, start_hour, lead_days,
            planned_minutes, reschedule_count, is_confirmed, is_reminded, punctuality_minutes, length_minutes,
            cancelled_by, cancel_notice_hours)
        select $1, n, n, md5('appointment' || n)::uuid, md5('patient' || n % $3)::uuid,
            md5('specialist' || n % 40)::uuid, 'video', 'live', status, array['booked', status], 'minute',
            starts_at - make_interval(days => lead_days), starts_at, (starts_at at time zone 'UTC')::date,
            extract(isodow from starts_at at time zone 'UTC')::smallint,
            extract(hour from starts_at at time zone 'UTC')::smallint, lead_days, 30, n % 3, n % 2 = 0, n % 4 = 0,
            case status when 'completed' then n % 6 * 5 end, case status when 'completed' then 20 + n % 3 * 5 end,
            case status when 'cancelled' then 'patient' end, case status when 'cancelled' then n % 96 end
        from (
            select n, n / 7 % 45 as lead_days,
                timestamptz '2024-01-01 08:00Z' + make_interval(days => n / 9 % 730, hours => n % 9) as starts_at,
                case n % 10 when 0 then 'no_show' when 1 then 'cancelled' else 'completed' end as status
            from generate_series(1, $2::integer) as n
        ) as made
        ",
        id,
        count,
        patients
    )
    .execute(owner)
    .await?;
    fill_others(owner, organization_id, count / 4, patients).await?;
    fill_video(owner, organization_id, count / 4, patients).await?;
    for table in TABLES {
        owner.execute(sqlx::AssertSqlSafe(format!("vacuum analyze analytics.{table}"))).await?;
    }
    Ok(())
}

async fn fill_others(
    owner: &PgPool,
    organization_id: OrganizationId,
    count: i32,
    patients: i32,
) -> anyhow::Result<()> {
    let id = organization_id.uuid();
    sqlx::query!(
        "
        insert into analytics.form_facts (
            organization_id, position, last_position, form, patient, template_id, template_version, status,
            assigned_at, due_at, save_count, turnaround_hours, is_late)
        select $1, n, n, md5('form' || n)::uuid, md5('patient' || n % $3)::uuid, md5('template' || n % 8)::uuid, 1,
            'signed', timestamptz '2024-01-01', timestamptz '2024-02-01', 1, n % 200, n % 9 = 0
        from generate_series(1, $2::integer) as n
        ",
        id,
        count,
        patients
    )
    .execute(owner)
    .await?;
    sqlx::query!(
        "
        insert into analytics.exercise_assignment_facts (
            organization_id, position, last_position, assignment, plan, patient, exercise_id, week,
            assigned_sessions, completed_sessions, skipped_sessions)
        select $1, n, n, md5('assignment' || n)::uuid, md5('plan' || n % $3)::uuid, md5('patient' || n % $3)::uuid,
            md5('exercise' || n % 20)::uuid, 1 + n % 12, 4, n % 4, n % 2
        from generate_series(1, $2::integer) as n
        ",
        id,
        count,
        patients
    )
    .execute(owner)
    .await?;
    sqlx::query!(
        "
        insert into analytics.exercise_session_facts (
            organization_id, position, plan, patient, exercise_id, week, session, outcome, pain, exertion,
            duration_minutes, happened_on)
        select $1, n, md5('plan' || n % $3)::uuid, md5('patient' || n % $3)::uuid, md5('exercise' || n % 20)::uuid,
            1 + n % 12, 1, 'completed', n % 11, n % 11, 15, date '2024-01-01' + n / $3 * (1 + n % 2)
        from generate_series(1, $2::integer) as n
        ",
        id,
        count,
        patients
    )
    .execute(owner)
    .await?;
    Ok(())
}

/// Stays in video rooms, each with four samples.
async fn fill_video(
    owner: &PgPool,
    organization_id: OrganizationId,
    count: i32,
    patients: i32,
) -> anyhow::Result<()> {
    let id = organization_id.uuid();
    sqlx::query!(
        "
        insert into analytics.video_session_facts (
            organization_id, position, last_position, session, appointment, patient, participant, participant_kind,
            joined_at, length_minutes)
        select $1, n, n, md5('session' || n)::uuid, md5('appointment' || n / 2)::uuid, md5('patient' || n % $3)::uuid,
            md5('participant' || n / 2)::uuid, case n % 2 when 0 then 'patient' else 'specialist' end,
            timestamptz '2024-01-01 08:00Z' + make_interval(days => n / 9 % 730), 20 + n % 3 * 5
        from generate_series(1, $2::integer) as n
        ",
        id,
        count,
        patients
    )
    .execute(owner)
    .await?;
    sqlx::query!(
        "
        insert into analytics.video_quality_facts (
            organization_id, position, session, patient, sampled_at, state, round_trip_ms, jitter_ms,
            send_loss_permille, receive_loss_permille, sent_kbps, received_kbps, freeze_count)
        select $1, n * 4 + sample, md5('session' || n)::uuid, md5('patient' || n % $3)::uuid,
            timestamptz '2024-01-01 08:00Z' + make_interval(days => n / 9 % 730),
            case n % 10 when 0 then 'warning' else 'good' end, 20 + n % 300, n % 20, n % 12, n % 9, 900, 900, n % 2
        from generate_series(1, $2::integer) as n
        cross join generate_series(0, 3) as sample
        ",
        id,
        count,
        patients
    )
    .execute(owner)
    .await?;
    Ok(())
}

/// Lets every fiftieth appointment have news, as a day brings them.
pub(super) async fn touch(owner: &PgPool, organization_id: OrganizationId) -> anyhow::Result<()> {
    let id = organization_id.uuid();
    sqlx::query!(
        "
        with moved as (
            update analytics.analytics_organizations
            set last_position = last_position + 1
            where organization_id = $1
            returning last_position
        )
        update analytics.appointment_facts f
        set last_position = moved.last_position
        from moved
        where f.organization_id = $1 and f.position % 50 = 0
        ",
        id
    )
    .execute(owner)
    .await?;
    Ok(())
}
