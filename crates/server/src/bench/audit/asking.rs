//! How long a question about one patient takes, among few entries and among many.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use carelog_domain::OrganizationId;
use carelog_domain::organization::Scope as KeyScope;
use carelog_records::Records;
use reqwest::Client;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

use super::{AuditOptions, ENTRIES_PER_PATIENT};
use crate::bench::UNLIMITED;
use crate::bench::clinic::{self, NewClinic};
use crate::bench::rebuild::follow;
use crate::bench::report::Report;
use crate::bench::stage::Stage;
use crate::bench::timings::Timings;
use crate::config::Config;
use crate::serve::{Roles, Server};

/// Entries of one statement.
const CHUNK: u64 = 500_000;
/// Questions before the clock starts.
const WARM_UP: u64 = 20;
/// Entries of a page where the client asks for no number.
const PAGE: u64 = 50;
/// The same, and one more.
const PAGE_AND_ONE: i64 = 51;
/// The product counts no further.
const MOST_COUNTED: i64 = 100_001;

const API: Roles = Roles { api: true, projectors: false, workers: false, signer: false };

pub(super) async fn run(options: &AuditOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let system = stage.open().await?;
    let owner = system.databases.audit_owner.clone();
    let clinic = clinic::register(&system.log, KeyScope::Trail).await?;
    // The key is looked up there.
    follow(&system, &Arc::new(Records), &system.databases.core_system).await?;
    // Without projectors, so that nothing but the questions is at work, and the trail stays as it was filled.
    let server = Server::start(&config(stage), system, API).await?;
    let sizes = options.entries();
    report.remark(format!(
        "Questions about one patient of {ENTRIES_PER_PATIENT} entries each; every one is written to the log first."
    ));
    let mut is_right = true;
    for &entries in &sizes {
        eprintln!("audit, asking: filling the trail with {entries} entries");
        let patients = (entries / ENTRIES_PER_PATIENT).max(1);
        fill(&owner, clinic.organization_id, entries, patients).await?;
        let asking =
            Asking { clinic: &clinic, patients, expected: entries.div_ceil(patients), server: &server };
        for _ in 0..options.common.rounds() {
            is_right &= asking.ask(options, &product(entries), report).await?;
            asking.ask_bare(options, &owner, &bare(entries), report).await?;
        }
        for part in ["p50", "p99"] {
            let (one, other) = (product(entries), bare(entries));
            report.ratio(
                &format!("{one}, {part} ÷ bare"),
                &format!("{one}, {part}"),
                &format!("{other}, {part}"),
            );
        }
    }
    if let [small, .., large] = sizes.as_slice() {
        for part in ["p50", "p99"] {
            let named = |entries: &u64| format!("{}, {part}", product(*entries));
            report.ratio(
                &format!("question, {part}: among {large} ÷ among {small}"),
                &named(large),
                &named(small),
            );
        }
    }
    report.check("every answer has the patient's total and a page of the patient's entries", is_right);
    server.stop().await;
    Ok(())
}

fn product(entries: u64) -> String {
    format!("question among {entries} entries")
}

fn bare(entries: u64) -> String {
    format!("bare: question among {entries} entries")
}

fn config(stage: &Stage) -> Config {
    let mut config = Config { home: stage.directory.clone(), ..Config::default() };
    config.http.listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    config.http.requests_per_second = UNLIMITED;
    config.http.anonymous_requests_per_second = UNLIMITED;
    config
}

/// A trail of so many entries about so many patients, the n-th entry about the patient n modulo their number. Indexes
/// are made afterwards, which is faster than to grow them.
async fn fill(
    owner: &PgPool,
    organization_id: OrganizationId,
    entries: u64,
    patients: u64,
) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect_with(&owner.connect_options()).await?;
    connection.execute("set synchronous_commit to off").await?;
    connection.execute("set maintenance_work_mem to '512MB'").await?;
    let indexes = sqlx::query!(
        r#"
        select indexname as "name!", indexdef as "definition!"
        from pg_indexes
        where schemaname = 'audit' and tablename = 'trail' and indexname <> 'trail_pkey'
        order by indexname
        "#
    )
    .fetch_all(&mut connection)
    .await?;
    connection.execute("truncate audit.trail").await?;
    for index in &indexes {
        connection.execute(AssertSqlSafe(format!("drop index audit.{}", index.name))).await?;
    }
    let mut done = 0;
    while done < entries {
        let end = entries.min(done + CHUNK);
        insert(&mut connection, organization_id, done, end, patients).await?;
        done = end;
    }
    for index in indexes {
        connection.execute(AssertSqlSafe(index.definition)).await?;
    }
    connection.execute("vacuum analyze audit.trail").await?;
    connection.execute("checkpoint").await?;
    connection.close().await?;
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    after: u64,
    end: u64,
    patients: u64,
) -> anyhow::Result<()> {
    sqlx::query!(
        "
        with kinds (number, event_type, action, target_kind) as (
            values (0, 'appointment.booked', 'create', 'appointment'),
                   (1, 'access.record_viewed', 'read', 'patient'),
                   (2, 'appointment.confirmed', 'update', 'appointment'),
                   (3, 'form.saved', 'update', 'form'),
                   (4, 'access.record_viewed', 'read', 'form'),
                   (5, 'appointment.completed', 'update', 'appointment'))
        insert into audit.trail (
            organization_id, sequence, position, occurred_at, recorded_at, event_id, correlation_id, request_id,
            subject_id, actor_id, target_id, lane, event_type, action, outcome, actor_kind, actor_role, target_kind,
            purpose, origin, legal_basis, consents)
        select $1, n, n, moment, moment, gen_random_uuid(), wish, wish,
               lpad(to_hex(n % $4), 32, '0')::uuid, lpad(to_hex(n / $4 % 97), 32, 'a')::uuid, gen_random_uuid(), 0,
               event_type, action, 'success', 'api_key', 'specialist', target_kind, 'treatment', 'live',
               'contract', 'treatment/1'
        from generate_series($2::bigint + 1, $3::bigint) as n
        cross join lateral (
            select timestamptz '2026-01-01' + n * interval '1 second' as moment, gen_random_uuid() as wish) as made
        join kinds on kinds.number = n / $4 % 6
        ",
        organization_id.uuid(),
        i64::try_from(after)?,
        i64::try_from(end)?,
        i64::try_from(patients)?
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct Asking<'a> {
    clinic: &'a NewClinic,
    server: &'a Server,
    patients: u64,
    /// Entries about each patient.
    expected: u64,
}

impl Asking<'_> {
    /// The n-th patient that is asked about: one after the other, far apart.
    fn patient(&self, n: u64) -> Uuid {
        Uuid::from_u128(u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.patients))
    }

    /// One client, one question after the other; whether all answers were right.
    async fn ask(&self, options: &AuditOptions, what: &str, report: &mut Report) -> anyhow::Result<bool> {
        let address = self.server.address.context("the server has the role api")?;
        let client = Client::builder().no_proxy().tcp_nodelay(true).build()?;
        let (mut timings, mut is_right) = (Timings::default(), true);
        for n in 0..WARM_UP + options.questions() {
            let url = format!("http://{address}/v1/trail?patient_id={}", self.patient(n));
            let began = Instant::now();
            let response = client.get(url).bearer_auth(&self.clinic.api_key).send().await?;
            let status = response.status();
            let answer = response.text().await?;
            let elapsed = began.elapsed();
            ensure!(status.is_success(), "a question was answered {status}: {answer}");
            let answer: Value = serde_json::from_str(&answer)?;
            is_right &= self.is_right(&answer, self.patient(n));
            if n >= WARM_UP {
                timings.record(elapsed);
            }
        }
        timings.enter(report, what);
        Ok(is_right)
    }

    /// Whether an answer has the patient's total, a full page of entries, and none about anybody else.
    fn is_right(&self, answer: &Value, patient: Uuid) -> bool {
        // Patients of a number that does not divide that of the entries have one less.
        let fewest = self.expected.saturating_sub(1);
        let total = answer.get("total").and_then(Value::as_u64).unwrap_or_default();
        let entries = answer.get("items").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let patient = patient.to_string();
        let is_about = |entry: &Value| entry.get("patient_id").and_then(Value::as_str) == Some(&patient);
        (fewest..=self.expected).contains(&total)
            && entries.len() as u64 == total.min(PAGE)
            && entries.iter().all(is_about)
    }

    /// The same questions to PostgreSQL alone, which has to find as much.
    async fn ask_bare(
        &self,
        options: &AuditOptions,
        owner: &PgPool,
        what: &str,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&owner.connect_options()).await?;
        connection.execute("create table if not exists public.bare_questions (subject_id uuid)").await?;
        let mut timings = Timings::default();
        for n in 0..WARM_UP + options.questions() {
            let patient = self.patient(n);
            let began = Instant::now();
            sqlx::query("insert into public.bare_questions (subject_id) values ($1)")
                .bind(patient)
                .execute(&mut connection)
                .await?;
            let page = self.page(&mut connection, patient).await?;
            let total = self.total(&mut connection, patient).await?;
            let elapsed = began.elapsed();
            let (page, total) = (page as u64, u64::try_from(total)?);
            let fewest = self.expected.saturating_sub(1);
            ensure!(
                (fewest..=self.expected).contains(&total) && page == total.min(PAGE + 1),
                "the limit finds {page} of {total} entries instead of {}",
                self.expected
            );
            if n >= WARM_UP {
                timings.record(elapsed);
            }
        }
        timings.enter(report, what);
        connection.close().await?;
        Ok(())
    }

    async fn page(&self, connection: &mut PgConnection, patient: Uuid) -> Result<usize, sqlx::Error> {
        let rows = sqlx::query!(
            "select * from audit.trail where organization_id = $1 and subject_id = $2 order by sequence desc limit $3",
            self.clinic.organization_id.uuid(),
            patient,
            PAGE_AND_ONE
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.len())
    }

    async fn total(&self, connection: &mut PgConnection, patient: Uuid) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar!(
            r#"
            select count(*) as "count!"
            from (select from audit.trail where organization_id = $1 and subject_id = $2 limit $3) as found
            "#,
            self.clinic.organization_id.uuid(),
            patient,
            MOST_COUNTED
        )
        .fetch_one(connection)
        .await
    }
}
