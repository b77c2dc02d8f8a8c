//! The table of exports. Whoever makes one holds it by a lease, so that two processes never write the same file.

use carelog_audit::{AddressIndex, Topic};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::{OrganizationId, PatientId, Timestamp};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::wanted::Wanted;

/// An export and how far it has come.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whose.
    pub organization_id: OrganizationId,
    /// Its id: that of the access by which it was asked for.
    pub export_id: Uuid,
    /// What.
    pub wanted: Wanted,
    /// The newest entry when it was asked for.
    pub until_sequence: i64,
    /// Entries or events that it will have.
    pub total: i64,
    /// Entries or events that are done.
    pub done: i64,
    /// `running`, `complete`, `failed` or `expired`.
    pub status: String,
    /// Why it was given up.
    pub failure: Option<String>,
    /// How often it was begun since something of it was kept last.
    pub attempts: i32,
    /// Bytes of the file.
    pub size_bytes: Option<i64>,
    /// SHA-256 of the file.
    pub content_sha256: Option<Sha256Digest>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

struct Row {
    organization_id: Uuid,
    export_id: Uuid,
    form: String,
    patient_id: Option<Uuid>,
    topic: Option<String>,
    occurred_from: Option<OffsetDateTime>,
    occurred_before: Option<OffsetDateTime>,
    address_index: Option<Vec<u8>>,
    session_id: Option<Uuid>,
    until_sequence: i64,
    total_count: i64,
    done_count: i64,
    status: String,
    failure: Option<String>,
    attempt_count: i32,
    size_bytes: Option<i64>,
    content_sha256: Option<Vec<u8>>,
    requested_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Job {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let id = row.export_id;
        let damaged =
            |column| sqlx::Error::Decode(format!("exports.jobs.{column} of {id} does not parse").into());
        let moment = |column, at| Timestamp::try_from(at).map_err(|_| damaged(column));
        let address = |bytes: Vec<u8>| AddressIndex::read(&bytes).ok_or_else(|| damaged("address_index"));
        let sha256 = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| damaged("content_sha256"));
        Ok(Self {
            organization_id: OrganizationId::new(row.organization_id),
            export_id: id,
            wanted: Wanted {
                form: row.form.parse().map_err(|_| damaged("form"))?,
                patient_id: row.patient_id.map(PatientId::new),
                topic: row.topic.map(|topic| topic.parse().map_err(|_| damaged("topic"))).transpose()?,
                from: row.occurred_from.map(|at| moment("occurred_from", at)).transpose()?,
                before: row.occurred_before.map(|at| moment("occurred_before", at)).transpose()?,
                address: row.address_index.map(address).transpose()?,
                session_id: row.session_id,
            },
            until_sequence: row.until_sequence,
            total: row.total_count,
            done: row.done_count,
            status: row.status,
            failure: row.failure,
            attempts: row.attempt_count,
            size_bytes: row.size_bytes,
            content_sha256: row.content_sha256.map(sha256).transpose()?.map(Sha256Digest::new),
            requested_at: moment("requested_at", row.requested_at)?,
            finished_at: row.finished_at.map(|at| moment("finished_at", at)).transpose()?,
        })
    }
}

/// Writes down what has to be made. Once it is there it stays as it is.
///
/// # Errors
/// When the database fails.
pub async fn request(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    export_id: Uuid,
    wanted: &Wanted,
    (until_sequence, total): (i64, i64),
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into exports.jobs (organization_id, export_id, form, patient_id, topic, occurred_from, occurred_before,
                                  until_sequence, total_count, requested_at, address_index, session_id)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict do nothing
        ",
        organization_id.uuid(),
        export_id,
        wanted.form.as_str(),
        wanted.patient_id.map(PatientId::uuid),
        wanted.topic.map(Topic::as_str),
        wanted.from.map(OffsetDateTime::from),
        wanted.before.map(OffsetDateTime::from),
        until_sequence,
        total,
        OffsetDateTime::from(now),
        wanted.address.as_ref().map(AddressIndex::bytes),
        wanted.session_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One export of an organization.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub async fn get(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    export_id: Uuid,
) -> Result<Option<Job>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "
        select organization_id, export_id, form, patient_id, topic, occurred_from, occurred_before, until_sequence,
               total_count, done_count, status, failure, attempt_count, size_bytes, content_sha256, requested_at,
               finished_at, address_index, session_id
        from exports.jobs
        where organization_id = $1 and export_id = $2
        ",
        organization_id.uuid(),
        export_id
    )
    .fetch_optional(connection)
    .await?;
    row.map(Job::try_from).transpose()
}

/// How many exports of an organization were asked for and have not ended.
///
/// # Errors
/// When the database fails.
pub async fn count_unfinished(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from exports.jobs where organization_id = $1 and status = 'running'"#,
        organization_id.uuid()
    )
    .fetch_one(connection)
    .await
}

/// Takes an export that nobody makes: the oldest of the organization of which none was begun for the longest time, so
/// that the many exports of one organization keep no other's waiting.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub async fn claim(
    connection: &mut PgConnection,
    owner: Uuid,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<Job>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "
        update exports.jobs
        set owner = $1, leased_until = $3, begun_at = $2, attempt_count = attempt_count + 1, done_count = 0
        where (organization_id, export_id) = (
            select waiting.organization_id, waiting.export_id
            from exports.jobs waiting
            where waiting.status = 'running' and (waiting.leased_until is null or waiting.leased_until < $2)
            order by (
                    select max(begun.begun_at)
                    from exports.jobs begun
                    where begun.organization_id = waiting.organization_id) nulls first,
                waiting.requested_at
            limit 1
            for update skip locked)
        returning organization_id, export_id, form, patient_id, topic, occurred_from, occurred_before, until_sequence,
                  total_count, done_count, status, failure, attempt_count, size_bytes, content_sha256, requested_at,
                  finished_at, address_index, session_id
        ",
        owner,
        OffsetDateTime::from(now),
        OffsetDateTime::from(until)
    )
    .fetch_optional(connection)
    .await?;
    row.map(Job::try_from).transpose()
}

/// Says how far an export has come, and keeps the lease. False where another process has it by now.
///
/// # Errors
/// When the database fails.
pub async fn advance(
    connection: &mut PgConnection,
    job: &Job,
    owner: Uuid,
    done: i64,
    until: Timestamp,
) -> Result<bool, sqlx::Error> {
    let advanced = sqlx::query!(
        "
        update exports.jobs
        set done_count = $4, leased_until = $5
        where organization_id = $1 and export_id = $2 and owner = $3 and status = 'running'
        ",
        job.organization_id.uuid(),
        job.export_id,
        owner,
        done,
        OffsetDateTime::from(until)
    )
    .execute(connection)
    .await?;
    Ok(advanced.rows_affected() == 1)
}

/// How an export ended.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// Its file lies in the storage.
    Complete {
        /// Bytes.
        size_bytes: i64,
        /// SHA-256.
        content_sha256: Sha256Digest,
        /// Entries or events.
        count: i64,
    },
    /// It was given up.
    Failed {
        /// Why: a code.
        failure: &'static str,
    },
    /// It was not made this time; it is begun again at this moment.
    Later(Timestamp),
}

/// Ends an export, or lets it be begun again. False where another process has it by now.
///
/// # Errors
/// When the database fails.
pub async fn end(
    connection: &mut PgConnection,
    job: &Job,
    owner: Uuid,
    end: End,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let (status, later) = match end {
        End::Complete { .. } => ("complete", None),
        End::Failed { .. } => ("failed", None),
        End::Later(at) => ("running", Some(at)),
    };
    let (size_bytes, sha256, count) = match end {
        End::Complete { size_bytes, content_sha256, count } => {
            (Some(size_bytes), Some(content_sha256.bytes().to_vec()), Some(count))
        }
        End::Failed { .. } | End::Later(_) => (None, None, None),
    };
    let failure = match end {
        End::Failed { failure } => Some(failure),
        End::Complete { .. } | End::Later(_) => None,
    };
    let ended = sqlx::query!(
        "
        update exports.jobs
        set status = $4, failure = $5, size_bytes = $6, content_sha256 = $7, done_count = coalesce($8, done_count),
            total_count = coalesce($8, total_count), owner = null, leased_until = $9,
            kept = case when $4 = 'running' then kept end,
            finished_at = case when $4 = 'running' then null else $10::timestamptz end
        where organization_id = $1 and export_id = $2 and owner = $3 and status = 'running'
        ",
        job.organization_id.uuid(),
        job.export_id,
        owner,
        status,
        failure,
        size_bytes,
        sha256,
        count,
        later.map(OffsetDateTime::from),
        OffsetDateTime::from(now)
    )
    .execute(connection)
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Complete exports that ended before a moment and were not put off: their files are to be removed.
///
/// # Errors
/// When the database fails.
pub async fn late(
    connection: &mut PgConnection,
    before: Timestamp,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<(OrganizationId, Uuid)>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        select organization_id, export_id
        from exports.jobs
        where status = 'complete' and finished_at < $1 and (leased_until is null or leased_until < $2)
        order by finished_at
        limit $3
        ",
        OffsetDateTime::from(before),
        OffsetDateTime::from(now),
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (OrganizationId::new(row.organization_id), row.export_id)).collect())
}

/// Puts off the removal of a file that could not be removed.
///
/// # Errors
/// When the database fails.
pub async fn put_off(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    export_id: Uuid,
    until: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update exports.jobs
        set leased_until = $3
        where organization_id = $1 and export_id = $2 and status = 'complete'
        ",
        organization_id.uuid(),
        export_id,
        OffsetDateTime::from(until)
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the file of an export was removed.
///
/// # Errors
/// When the database fails.
pub async fn expire(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    export_id: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        update exports.jobs
        set status = 'expired'
        where organization_id = $1 and export_id = $2 and status = 'complete'
        ",
        organization_id.uuid(),
        export_id
    )
    .execute(connection)
    .await?;
    Ok(())
}
