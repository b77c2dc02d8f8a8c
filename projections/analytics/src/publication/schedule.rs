//! When which part of a publication is made anew.
//!
//! A [`Part`] is made of one table of facts. It is due when its last publication is as old as the operator's setting says
//! *and* something has been written in that table about as many patients as the clinic's threshold demands: so the facts of
//! two publications never differ by one person alone. A single cell may, where the others are in other cells; of counts the
//! rounding hides that in most cases. A first publication waits for that many patients, and for no time. At once, with all
//! other parts, one is due after an erasure, and where the threshold was raised. Where it was lowered it waits as for any
//! other change, so that nobody publishes at will by changing it to and fro.

use std::collections::BTreeMap;
use std::time::Duration;

use carelog_domain::access::AnalyticsView;
use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::Position;
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use time::OffsetDateTime;
use tracing::warn;

use super::{PUBLISHING_TIMEOUT, least};

/// What is published at one time: the views that are made of one table of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Patterns of appointments, and the use of the time that was set aside.
    Appointments,
    /// What was done in each week of a plan.
    ProgrammeWeeks,
    /// On how many days in a row.
    Streaks,
    /// Forms.
    Forms,
    /// How the networks of video consultations did.
    VideoQuality,
    /// How long and how often people stayed in them.
    VideoSessions,
}

impl Part {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Appointments,
        Self::ProgrammeWeeks,
        Self::Streaks,
        Self::Forms,
        Self::VideoQuality,
        Self::VideoSessions,
    ];

    /// The views that it fills.
    pub const fn views(self) -> &'static [AnalyticsView] {
        match self {
            Self::Appointments => &[AnalyticsView::AppointmentPatterns, AnalyticsView::ClinicUtilisation],
            Self::ProgrammeWeeks => &[AnalyticsView::ExerciseCompletion],
            Self::Streaks => &[AnalyticsView::ExerciseStreaks],
            Self::Forms => &[AnalyticsView::FormTurnaround],
            Self::VideoQuality => &[AnalyticsView::VideoQuality],
            Self::VideoSessions => &[AnalyticsView::VideoSessions],
        }
    }
}

/// A clinic whose publication is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// What is to be published.
    pub parts: Vec<Part>,
}

/// How far the publication of a view has come.
#[derive(Clone, Copy, Debug)]
struct Published {
    position: Position,
    at: OffsetDateTime,
    small_cell_threshold: i32,
}

/// A clinic, and how far its views have come.
#[derive(Debug)]
struct Clinic {
    last_position: Position,
    small_cell_threshold: i32,
    /// The newest erasure.
    erased_at: Option<Position>,
    published: BTreeMap<String, Published>,
}

impl Clinic {
    /// Nothing before the first publication.
    fn published(&self, part: Part) -> Option<&Published> {
        part.views().first().and_then(|view| self.published.get(view.as_str()))
    }

    /// Whether it waits for nothing.
    fn is_pressing(&self) -> bool {
        self.published.values().any(|published| {
            published.small_cell_threshold < self.small_cell_threshold
                || self.erased_at.is_some_and(|erased_at| published.position < erased_at)
        })
    }

    /// Since which place of the log something has to have happened; nothing where the part cannot be due.
    fn since(&self, part: Part, before: OffsetDateTime) -> Option<Position> {
        match self.published(part) {
            None => Some(0),
            Some(published) => (published.at <= before
                && (published.position < self.last_position
                    || published.small_cell_threshold != self.small_cell_threshold))
                .then_some(published.position),
        }
    }

    /// Whether so many patients are enough.
    fn is_due(&self, part: Part, touched: i64) -> bool {
        let was_lowered = self
            .published(part)
            .is_some_and(|published| published.small_cell_threshold > self.small_cell_threshold);
        usize::try_from(touched).is_ok_and(|touched| touched >= least(self.small_cell_threshold))
            || (touched == 0 && was_lowered)
    }
}

/// The clinics whose publication is due. One that cannot be looked at is told in the program's log, and keeps no other
/// from being published.
///
/// # Errors
/// When the database does not tell which clinics there are.
pub fn due(pool: &PgPool, now: Timestamp, every: Duration) -> BoxFuture<'_, Result<Vec<Due>, sqlx::Error>> {
    Box::pin(async move {
        let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
        let before = OffsetDateTime::from(now.saturating_add_micros(every.saturating_neg()));
        let mut connection = pool.acquire().await?;
        let clinics = clinics(&mut connection).await?;
        drop(connection);
        let mut due = Vec::new();
        for (organization_id, clinic) in clinics {
            match due_parts(pool, organization_id, &clinic, before).await {
                Ok(parts) if parts.is_empty() => {}
                Ok(parts) => due.push(Due { organization_id, parts }),
                Err(error) => {
                    warn!(organization.id = %organization_id, %error, "a clinic's figures could not be looked at");
                }
            }
        }
        Ok(due)
    })
}

/// What is due of one clinic.
async fn due_parts(
    pool: &PgPool,
    organization_id: OrganizationId,
    clinic: &Clinic,
    before: OffsetDateTime,
) -> Result<Vec<Part>, sqlx::Error> {
    if clinic.is_pressing() {
        return Ok(Part::ALL.to_vec());
    }
    let since: Vec<Option<Position>> = Part::ALL.iter().map(|part| clinic.since(*part, before)).collect();
    if since.iter().all(Option::is_none) {
        return Ok(Vec::new());
    }
    let touched = touched(pool, organization_id, &since).await?;
    let parts = Part::ALL.iter().zip(since).zip(touched);
    Ok(parts
        .filter(|((part, since), touched)| since.is_some() && clinic.is_due(**part, *touched))
        .map(|((part, _), _)| *part)
        .collect())
}

async fn clinics(connection: &mut PgConnection) -> Result<BTreeMap<OrganizationId, Clinic>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select o.organization_id as "organization_id!", o.last_position as "last_position!",
            o.small_cell_threshold as "small_cell_threshold!", p.view as "view?",
            p.position as "position?", p.published_at as "published_at?",
            p.small_cell_threshold as "published_threshold?",
            (select max(e.position) from analytics.erased_patients e where e.organization_id = o.organization_id)
                as erased_at
        from analytics.analytics_organizations o
        left join published.progress p using (organization_id)
        "#
    )
    .fetch_all(connection)
    .await?;
    let mut clinics = BTreeMap::new();
    for row in rows {
        let clinic = clinics.entry(OrganizationId::new(row.organization_id)).or_insert_with(|| Clinic {
            last_position: row.last_position,
            small_cell_threshold: row.small_cell_threshold,
            erased_at: row.erased_at,
            published: BTreeMap::new(),
        });
        let progress = row.view.zip(row.position).zip(row.published_at).zip(row.published_threshold);
        if let Some((((view, position), at), small_cell_threshold)) = progress {
            clinic.published.insert(view, Published { position, at, small_cell_threshold });
        }
    }
    Ok(clinics)
}

/// About how many patients something was written, for each part since the place that is given for it, if any is.
async fn touched(
    pool: &PgPool,
    organization_id: OrganizationId,
    since: &[Option<Position>],
) -> Result<[i64; 6], sqlx::Error> {
    let since = |part| since.get(part).copied().flatten();
    // As long as publishing may take: it reads the same rows.
    let begin = format!("begin read only; set local statement_timeout = '{PUBLISHING_TIMEOUT}'");
    let mut tx = pool.begin_with(AssertSqlSafe(begin)).await?;
    let row = sqlx::query!(
        r#"
        select
            (select count(distinct patient) from analytics.appointment_facts
             where $2::bigint is not null and organization_id = $1 and last_position > $2) as "appointments!",
            (select count(distinct patient) from analytics.exercise_assignment_facts
             where $3::bigint is not null and organization_id = $1 and last_position > $3) as "weeks!",
            (select count(distinct patient) from analytics.exercise_session_facts
             where $4::bigint is not null and organization_id = $1 and position > $4
                 and outcome = 'completed') as "streaks!",
            (select count(distinct patient) from analytics.form_facts
             where $5::bigint is not null and organization_id = $1 and last_position > $5) as "forms!",
            (select count(distinct patient) from analytics.video_quality_facts
             where $6::bigint is not null and organization_id = $1 and position > $6) as "quality!",
            (select count(distinct patient) from analytics.video_session_facts
             where $7::bigint is not null and organization_id = $1 and last_position > $7) as "sessions!"
        "#,
        organization_id.uuid(),
        since(0),
        since(1),
        since(2),
        since(3),
        since(4),
        since(5),
    )
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok([row.appointments, row.weeks, row.streaks, row.forms, row.quality, row.sessions])
}

/// Up to where the figures of a clinic reach; nothing before the first publication.
///
/// # Errors
/// When the database fails.
pub fn reached(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Option<Position>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            "select min(position) from published.progress where organization_id = $1",
            organization_id.uuid()
        )
        .fetch_one(connection)
        .await
    })
}
