//! Whom the found entries are about: how far the reach of a key, a record or a wish went.

use carelog_domain::{OrganizationId, PatientId, PurposeOfUse, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{QueryError, TrailFilter, filtered};
use crate::model::{Action, Outcome};
use crate::networks::AddressIndex;

/// A patient, and the found entries about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The patient.
    pub subject_id: PatientId,
    /// How many entries.
    pub entry_count: i64,
    /// When the first of them happened.
    pub first_at: Timestamp,
    /// When the last of them happened.
    pub last_at: Timestamp,
}

struct SubjectRow {
    subject_id: Uuid,
    entry_count: i64,
    first_at: OffsetDateTime,
    last_at: OffsetDateTime,
}

/// The patients whom the found entries are about, after an id, at most `limit`, by their ids.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_subjects<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a TrailFilter,
    after: Uuid,
    limit: i64,
) -> BoxFuture<'a, Result<Vec<Subject>, QueryError>> {
    Box::pin(async move {
        let rows = filtered!(
            query_as!(
                SubjectRow,
                r#"select subject_id as "subject_id!", count(*) as "entry_count!",
                          min(occurred_at) as "first_at!", max(occurred_at) as "last_at!""#,
                "and subject_id > $20 group by subject_id order by subject_id limit $21"
            ),
            organization_id,
            filter,
            after,
            limit
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let moment = |moment, column| {
                    let error = QueryError::Stored { column, organization_id, sequence: 0 };
                    Timestamp::try_from(moment).map_err(|_| error)
                };
                Ok(Subject {
                    subject_id: PatientId::new(row.subject_id),
                    entry_count: row.entry_count,
                    first_at: moment(row.first_at, "occurred_at")?,
                    last_at: moment(row.last_at, "occurred_at")?,
                })
            })
            .collect()
    })
}

/// How many patients the found entries are about.
///
/// # Errors
/// When the database fails.
pub fn count_subjects<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a TrailFilter,
) -> BoxFuture<'a, Result<i64, QueryError>> {
    Box::pin(async move {
        let count = filtered!(
            query_scalar!(r#"select count(distinct subject_id) as "count!""#, "and sequence > $20"),
            organization_id,
            filter,
            0_i64
        )
        .fetch_one(connection)
        .await?;
        Ok(count)
    })
}
