//! Figures about appointments: patterns, and the use of the time that was set aside.

use carelog_domain::OrganizationId;
use carelog_domain::access::{AnalyticsDimension as Dimension, CellName, CellValue, YearMonth};
use carelog_domain::appointment::AppointmentStatus;
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::PublishError;
use super::cells::{Cells, Measure};
use super::disclosure::{COUNT_STEP, Shown, disclose};
use super::rows::{self, Table, figures, rate};

/// To a multiple of what minutes are published.
const MINUTES_STEP: u64 = 15;
/// To a multiple of what medians of minutes are published.
const MEDIAN_STEP: i32 = 5;

/// Quantities of which medians are taken.
const PUNCTUALITY: usize = 0;
const LENGTH: usize = 1;

const ALL: usize = 0;
const COMPLETED: usize = 1;
const NO_SHOWS: usize = 2;
const CANCELLED: usize = 3;
const LATE_CANCELS: usize = 4;
const BOOKABLE: usize = 5;
const DELIVERED: usize = 6;
const MEASURES: [Measure; 7] = [
    Measure::whole(COUNT_STEP),
    Measure::status(),
    Measure::status(),
    Measure::status(),
    Measure::part_of(CANCELLED),
    // None of either tells that nobody was seen, or that everybody had called off.
    Measure::only_with(COMPLETED, MINUTES_STEP),
    Measure::only_with(COMPLETED, MINUTES_STEP),
];

pub(super) async fn publish(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    threshold: usize,
) -> Result<(), PublishError> {
    let shown = disclose(&read(tx, organization_id).await?, threshold);
    write_patterns(tx, organization_id, &shown).await?;
    write_utilisation(tx, organization_id, &shown).await
}

async fn read(tx: &mut PgConnection, organization_id: OrganizationId) -> Result<Cells<7, 2>, PublishError> {
    let mut facts = sqlx::query!(
        r#"
        select f.position, f.patient, f.status, f.weekday, f.lead_days, f.is_reminded, f.planned_minutes,
            f.length_minutes, f.punctuality_minutes, extract(year from f.starts_on)::smallint as "year!",
            extract(month from f.starts_on)::smallint as "month!",
            coalesce(f.cancel_notice_hours < 24, false) as "is_late!",
            f.starts_at <= o.newest_event_at as "is_past!"
        from analytics.appointment_facts f
        join analytics.analytics_organizations o using (organization_id)
        where f.organization_id = $1
        "#,
        organization_id.uuid()
    )
    .fetch(tx);
    let mut cells = Cells::new(MEASURES);
    while let Some(fact) = facts.try_next().await? {
        let wrong = |column| rows::wrong("appointment_facts", column, fact.position);
        let status: AppointmentStatus = fact.status.parse().map_err(|_| wrong("status"))?;
        let weekday = u16::try_from(fact.weekday).map_err(|_| wrong("weekday"))?;
        let year = u16::try_from(fact.year).ok();
        let month = u8::try_from(fact.month).ok();
        let month = year.zip(month).and_then(|(year, month)| YearMonth::new(year, month));
        let places = [
            (Dimension::Clinic, CellValue::Name(CellName::All)),
            (Dimension::Weekday, CellValue::Number(weekday)),
            (Dimension::LeadTime, lead_time(fact.lead_days)),
            (Dimension::Reminder, reminder(fact.is_reminded)),
            (Dimension::Month, CellValue::Month(month.ok_or_else(|| wrong("starts_on"))?)),
        ];
        let is = |wanted: AppointmentStatus| u64::from(status == wanted);
        let minutes =
            |minutes: Option<i32>| minutes.and_then(|minutes| u64::try_from(minutes).ok()).unwrap_or(0);
        let is_bookable = match status {
            AppointmentStatus::Started | AppointmentStatus::Completed | AppointmentStatus::NoShow => true,
            AppointmentStatus::Booked | AppointmentStatus::Confirmed | AppointmentStatus::Onboarded => {
                fact.is_past
            }
            // What is called off in time can be given to somebody else.
            AppointmentStatus::Cancelled => fact.is_late && fact.is_past,
        };
        let is_delivered = status == AppointmentStatus::Completed && fact.planned_minutes.is_some();
        let weights = [
            1,
            is(AppointmentStatus::Completed),
            is(AppointmentStatus::NoShow),
            is(AppointmentStatus::Cancelled),
            is(AppointmentStatus::Cancelled) * u64::from(fact.is_late),
            if is_bookable { minutes(fact.planned_minutes) } else { 0 },
            if is_delivered { minutes(fact.length_minutes) } else { 0 },
        ];
        cells.add(fact.patient, &places, weights, [fact.punctuality_minutes, fact.length_minutes]);
    }
    Ok(cells)
}

const fn lead_time(days: i32) -> CellValue {
    match days {
        ..=0 => CellValue::Number(0),
        1..=2 => CellValue::Name(CellName::Days1To2),
        3..=6 => CellValue::Name(CellName::Days3To6),
        7..=13 => CellValue::Name(CellName::Days7To13),
        14..=29 => CellValue::Name(CellName::Days14To29),
        30.. => CellValue::Name(CellName::Days30),
    }
}

const fn reminder(is_reminded: bool) -> CellValue {
    CellValue::Name(if is_reminded { CellName::Reminded } else { CellName::NotReminded })
}

/// What a cell of another dimension says; it may be shown of the whole clinic only where it is shown there.
fn elsewhere(shown: &[Shown<7, 2>], dimension: Dimension, value: CellValue) -> Option<u64> {
    match shown.iter().find(|cell| (cell.dimension, cell.value) == (dimension, value)) {
        Some(cell) => cell.figures[ALL],
        None => Some(0),
    }
}

async fn write_patterns(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    shown: &[Shown<7, 2>],
) -> Result<(), PublishError> {
    let is_here = |cell: &&Shown<7, 2>| cell.dimension != Dimension::Month;
    let cells: Vec<&Shown<7, 2>> = shown.iter().filter(is_here).collect();
    let table = Table::of(organization_id, &cells);
    // In every other dimension these would be tables that cross two of them.
    let of_the_clinic = |figure: Option<u64>| -> Vec<Option<u64>> {
        let is_clinic = |cell: &&Shown<7, 2>| cell.dimension == Dimension::Clinic && cell.patients.is_some();
        cells.iter().map(|cell| figure.filter(|_| is_clinic(cell))).collect()
    };
    let reminded = of_the_clinic(elsewhere(shown, Dimension::Reminder, reminder(true)));
    let same_day = of_the_clinic(elsewhere(shown, Dimension::LeadTime, lead_time(0)));
    let came: Vec<Option<f64>> = cells
        .iter()
        .map(|cell| {
            let seen = cell.figures[COMPLETED].zip(cell.figures[NO_SHOWS]);
            rate(cell.figures[NO_SHOWS], seen.map(|(completed, no_shows)| completed + no_shows))
        })
        .collect();
    let late: Vec<Option<f64>> =
        cells.iter().map(|cell| rate(cell.figures[LATE_CANCELS], cell.figures[ALL])).collect();
    let same_day: Vec<Option<f64>> =
        cells.iter().zip(same_day).map(|(cell, figure)| rate(figure, cell.figures[ALL])).collect();
    let punctuality = rows::nearest(cells.iter().map(|cell| cell.medians[PUNCTUALITY]), MEDIAN_STEP);
    let lengths = rows::nearest(cells.iter().map(|cell| cell.medians[LENGTH]), MEDIAN_STEP);
    sqlx::query!(
        "delete from published.appointment_patterns where organization_id = $1",
        organization_id.uuid()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "
        insert into published.appointment_patterns (
            organization_id, dimension, value, is_suppressed, patients, appointments, completed, no_shows, cancelled,
            late_cancels, reminded, no_show_rate, late_cancel_rate, same_day_share, median_punctuality_minutes,
            median_length_minutes)
        select $1, * from unnest($2::text[], $3::text[], $4::boolean[], $5::integer[], $6::integer[], $7::integer[],
            $8::integer[], $9::integer[], $10::integer[], $11::integer[], $12::float8[], $13::float8[],
            $14::float8[], $15::integer[], $16::integer[])
        ",
        table.organization_id,
        &table.dimensions,
        &table.values,
        &table.suppressed,
        &table.patients as _,
        &figures(&cells, ALL) as _,
        &figures(&cells, COMPLETED) as _,
        &figures(&cells, NO_SHOWS) as _,
        &figures(&cells, CANCELLED) as _,
        &figures(&cells, LATE_CANCELS) as _,
        &rows::numbers(&reminded) as _,
        &came as _,
        &late as _,
        &same_day as _,
        &punctuality as _,
        &lengths as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn write_utilisation(
    tx: &mut PgConnection,
    organization_id: OrganizationId,
    shown: &[Shown<7, 2>],
) -> Result<(), PublishError> {
    let is_here = |cell: &&Shown<7, 2>| matches!(cell.dimension, Dimension::Clinic | Dimension::Month);
    let cells: Vec<&Shown<7, 2>> = shown.iter().filter(is_here).collect();
    let table = Table::of(organization_id, &cells);
    let use_of: Vec<Option<f64>> =
        cells.iter().map(|cell| rate(cell.figures[DELIVERED], cell.figures[BOOKABLE])).collect();
    sqlx::query!(
        "delete from published.clinic_utilisation where organization_id = $1",
        organization_id.uuid()
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "
        insert into published.clinic_utilisation (
            organization_id, dimension, value, is_suppressed, patients, bookable_minutes, delivered_minutes, utilisation)
        select $1, * from unnest($2::text[], $3::text[], $4::boolean[], $5::integer[], $6::bigint[], $7::bigint[],
            $8::float8[])
        ",
        table.organization_id,
        &table.dimensions,
        &table.values,
        &table.suppressed,
        &table.patients as _,
        &rows::sums(&cells, BOOKABLE) as _,
        &rows::sums(&cells, DELIVERED) as _,
        &use_of as _,
    )
    .execute(tx)
    .await?;
    Ok(())
}
