//! Figures about video consultations: how the networks did, and how long and how often people stayed.

use carelog_domain::OrganizationId;
use carelog_domain::access::{AnalyticsDimension as Dimension, CellName, CellValue, YearMonth};
use carelog_domain::video_room::ParticipantKind;
use futures::TryStreamExt;
use sqlx::PgConnection;
use time::Date;

use super::PublishError;
use super::cells::{Cells, Measure};
use super::disclosure::{COUNT_STEP, Shown, disclose};
use super::rows::{self, Table, rate, sums};

/// To a multiple of what minutes are published: one patient alone brings hundreds.
const MINUTES_STEP: u64 = 60;
/// To a multiple of what medians and high values are published: minutes, milliseconds or permille.
const VALUE_STEP: i32 = 5;

const SAMPLES: usize = 0;
const GOOD: usize = 1;
const WARNING: usize = 2;
const BAD: usize = 3;
const FREEZES: usize = 4;
const QUALITY: [Measure; 5] = [
    Measure::whole(COUNT_STEP),
    Measure::part_of(SAMPLES),
    Measure::part_of(SAMPLES),
    Measure::part_of(SAMPLES),
    Measure::whole(COUNT_STEP),
];
const ROUND_TRIP: usize = 0;
const LOSS: usize = 1;

const STAYS: usize = 0;
const RECONNECTS: usize = 1;
const MINUTES: usize = 2;
const SESSIONS: [Measure; 3] =
    [Measure::whole(COUNT_STEP), Measure::part_of(STAYS), Measure::whole(MINUTES_STEP)];

pub(super) async fn publish_quality(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    threshold: usize,
) -> Result<(), PublishError> {
    let mut quality = read_states(tx, organization_id).await?;
    read_values(tx, organization_id, &mut quality).await?;
    write_quality(tx, organization_id, &disclose(&quality, threshold)).await
}

pub(super) async fn publish_sessions(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    threshold: usize,
) -> Result<(), PublishError> {
    let sessions = disclose(&read_sessions(tx, organization_id).await?, threshold);
    write_sessions(tx, organization_id, &sessions).await
}

/// Where something of a month and of a participant is counted.
fn places(month: Date, kind: Option<&str>) -> Option<[(Dimension, CellValue); 3]> {
    let year = u16::try_from(month.year()).ok()?;
    let month = YearMonth::new(year, u8::from(month.month()))?;
    let kind = match kind.map(str::parse).transpose().ok()? {
        Some(ParticipantKind::Patient) => CellName::Patient,
        Some(ParticipantKind::Specialist) => CellName::Specialist,
        Some(ParticipantKind::Guest) => CellName::Guest,
        None => CellName::Unknown,
    };
    Some([
        (Dimension::Clinic, CellValue::Name(CellName::All)),
        (Dimension::Month, CellValue::Month(month)),
        (Dimension::Participant, CellValue::Name(kind)),
    ])
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Samples are many: the server sums them up by patient, month and participant.
async fn read_states(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
) -> Result<Cells<5, 2>, PublishError> {
    let mut sums = sqlx::query!(
        r#"
        select min(q.position) as "position!", q.patient, s.participant_kind as "participant_kind?",
            date_trunc('month', q.sampled_at at time zone 'UTC')::date as "month!",
            count(*) as "samples!",
            count(*) filter (where q.state = 'good') as "good!",
            count(*) filter (where q.state = 'warning') as "warning!",
            count(*) filter (where q.state = 'bad') as "bad!",
            coalesce(sum(q.freeze_count), 0)::bigint as "freezes!"
        from analytics.video_quality_facts q
        left join analytics.video_session_facts s
            on s.organization_id = q.organization_id and s.session = q.session
        where q.organization_id = $1
        group by q.patient, s.participant_kind, date_trunc('month', q.sampled_at at time zone 'UTC')
        "#,
        organization_id.uuid()
    )
    .fetch(tx);
    let mut cells = Cells::new(QUALITY);
    while let Some(sum) = sums.try_next().await? {
        let places = places(sum.month, sum.participant_kind.as_deref())
            .ok_or_else(|| rows::wrong("video_quality_facts", "sampled_at", sum.position))?;
        let weights = [sum.samples, sum.good, sum.warning, sum.bad, sum.freezes].map(count);
        cells.add(sum.patient, &places, weights, [None; 2]);
    }
    Ok(cells)
}

/// How often each patient's networks had a round trip, and a loss; to the nearest step, which is what is published.
async fn read_values(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    cells: &mut Cells<5, 2>,
) -> Result<(), PublishError> {
    let mut values = sqlx::query!(
        r#"
        select min(q.position) as "position!", q.patient, s.participant_kind as "participant_kind?",
            date_trunc('month', q.sampled_at at time zone 'UTC')::date as "month!",
            v.quantity as "quantity!", (v.value + $2 / 2) / $2 * $2 as "value!", count(*) as "samples!"
        from analytics.video_quality_facts q
        left join analytics.video_session_facts s
            on s.organization_id = q.organization_id and s.session = q.session
        cross join lateral (values
            (0, q.round_trip_ms), (1, greatest(q.send_loss_permille, q.receive_loss_permille)::integer)
        ) as v (quantity, value)
        where q.organization_id = $1 and v.value is not null
        group by q.patient, s.participant_kind, date_trunc('month', q.sampled_at at time zone 'UTC'), v.quantity,
            (v.value + $2 / 2) / $2 * $2
        "#,
        organization_id.uuid(),
        VALUE_STEP
    )
    .fetch(tx);
    while let Some(value) = values.try_next().await? {
        let places = places(value.month, value.participant_kind.as_deref())
            .ok_or_else(|| rows::wrong("video_quality_facts", "sampled_at", value.position))?;
        let quantity = if value.quantity == 0 { ROUND_TRIP } else { LOSS };
        cells.measure(value.patient, &places, quantity, (value.value, count(value.samples)));
    }
    Ok(())
}

async fn write_quality(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    shown: &[Shown<5, 2>],
) -> Result<(), PublishError> {
    let cells: Vec<&Shown<5, 2>> = shown.iter().collect();
    let table = Table::of(organization_id, &cells);
    let good: Vec<Option<f64>> =
        cells.iter().map(|cell| rate(cell.figures[GOOD], cell.figures[SAMPLES])).collect();
    let medians = |quantity: usize| {
        rows::nearest(cells.iter().map(|cell| cell.medians.get(quantity).copied().flatten()), VALUE_STEP)
    };
    let highs = |quantity: usize| {
        rows::nearest(cells.iter().map(|cell| cell.highs.get(quantity).copied().flatten()), VALUE_STEP)
    };
    sqlx::query!("delete from published.video_quality where organization_id = $1", organization_id.uuid())
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "
        insert into published.video_quality (
            organization_id, dimension, value, is_suppressed, patients, samples, good, warning, bad, freezes,
            good_share, median_round_trip_ms, p95_round_trip_ms, median_loss_permille, p95_loss_permille)
        select $1, * from unnest($2::text[], $3::text[], $4::boolean[], $5::integer[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::bigint[], $10::bigint[], $11::float8[], $12::integer[], $13::integer[], $14::integer[],
            $15::integer[])
        ",
        table.organization_id,
        &table.dimensions,
        &table.values,
        &table.suppressed,
        &table.patients as _,
        &sums(&cells, SAMPLES) as _,
        &sums(&cells, GOOD) as _,
        &sums(&cells, WARNING) as _,
        &sums(&cells, BAD) as _,
        &sums(&cells, FREEZES) as _,
        &good as _,
        &medians(ROUND_TRIP) as _,
        &highs(ROUND_TRIP) as _,
        &medians(LOSS) as _,
        &highs(LOSS) as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn read_sessions(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
) -> Result<Cells<3>, PublishError> {
    let mut stays = sqlx::query!(
        r#"
        select position, patient, participant_kind, length_minutes,
            date_trunc('month', joined_at at time zone 'UTC')::date as "month!",
            participant is not null
                and row_number() over (partition by appointment, participant order by joined_at, position) > 1
                as "is_reconnect!"
        from analytics.video_session_facts
        where organization_id = $1
        "#,
        organization_id.uuid()
    )
    .fetch(tx);
    let mut cells = Cells::new(SESSIONS);
    while let Some(stay) = stays.try_next().await? {
        let places = places(stay.month, stay.participant_kind.as_deref())
            .ok_or_else(|| rows::wrong("video_session_facts", "joined_at", stay.position))?;
        let minutes = stay.length_minutes.and_then(|minutes| u64::try_from(minutes).ok()).unwrap_or(0);
        let weights = [1, u64::from(stay.is_reconnect), minutes];
        cells.add(stay.patient, &places, weights, [stay.length_minutes]);
    }
    Ok(cells)
}

async fn write_sessions(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    shown: &[Shown<3>],
) -> Result<(), PublishError> {
    let cells: Vec<&Shown<3>> = shown.iter().collect();
    let table = Table::of(organization_id, &cells);
    let rates: Vec<Option<f64>> =
        cells.iter().map(|cell| rate(cell.figures[RECONNECTS], cell.figures[STAYS])).collect();
    let medians = rows::nearest(cells.iter().map(|cell| cell.medians[0]), VALUE_STEP);
    sqlx::query!("delete from published.video_sessions where organization_id = $1", organization_id.uuid())
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "
        insert into published.video_sessions (
            organization_id, dimension, value, is_suppressed, patients, stays, reconnects, stay_minutes,
            reconnect_rate, median_stay_minutes)
        select $1, * from unnest($2::text[], $3::text[], $4::boolean[], $5::integer[], $6::bigint[], $7::bigint[],
            $8::bigint[], $9::float8[], $10::integer[])
        ",
        table.organization_id,
        &table.dimensions,
        &table.values,
        &table.suppressed,
        &table.patients as _,
        &sums(&cells, STAYS) as _,
        &sums(&cells, RECONNECTS) as _,
        &sums(&cells, MINUTES) as _,
        &rates as _,
        &medians as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}
