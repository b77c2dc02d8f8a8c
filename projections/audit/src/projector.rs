//! Enters a page into the trail, with one statement. The consents of its patients take one more, and those that it changes
//! a third. The keys that tell where requests came from are asked for at once, where the vault does not remember them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::{OrganizationId, PatientId, PurposeOfUse, Timestamp};
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use carelog_event_log::{EventLog, RecordedEvent};
use carelog_vault::VaultError;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::{Consent, ConsentChange, Consents, Entry};
use crate::networks::{self, AskedFrom};

/// The projector of the audit trail. It wants nothing done.
#[derive(Clone, Debug)]
pub struct Audit {
    log: EventLog,
}

impl Audit {
    /// The trail of a log, whose vault opens network addresses.
    pub fn new(log: &EventLog) -> Self {
        Self { log: log.clone() }
    }
}

impl Projector for Audit {
    type Intent = ();
    type Memory = ();

    const NAME: &'static str = "audit";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "audit",
        sql: &[
            include_str!("../../../migrations/audit/0002_audit.sql"),
            include_str!("../../../migrations/audit/0006_ground.sql"),
        ],
        tables: &["trail", "consent_changes"],
    };

    const ON_POISON: OnPoison = OnPoison::Stop;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn is_pressing(&self, _: &RecordedEvent) -> bool {
        false
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        (): &'a mut (),
        page: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<()>, ApplyError>> {
        Box::pin(async move {
            let asked_from = networks::of_page(self.log.vault(), page).await.map_err(refused)?;
            enter(tables, page, &asked_from).await?;
            Ok(Vec::new())
        })
    }
}

/// A vault that does not answer is no event's fault.
fn refused(error: VaultError) -> ApplyError {
    match error {
        VaultError::Database(error) => ApplyError::Transient(error),
        other => ApplyError::Transient(sqlx::Error::Configuration(Box::new(other))),
    }
}

/// Enters a page; `asked_from` has one for each event.
pub(crate) async fn enter(
    tables: &mut PgConnection,
    page: &[Arc<RecordedEvent>],
    asked_from: &[Option<AskedFrom>],
) -> Result<(), ApplyError> {
    let mut consents = known_consents(tables, page).await?;
    let entries: Vec<Entry> =
        page.iter().map(|event| Entry::of(event, &mut consents)).collect::<Result<_, _>>()?;
    insert(tables, &entries, asked_from).await?;
    insert_changes(tables, page).await
}

/// A stored change that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("audit.consent_changes of event {sequence} of {organization_id} holds a value that does not parse")]
struct StoredChange {
    organization_id: OrganizationId,
    sequence: i64,
}

/// What patients of the page agreed to, and took back, before it.
async fn known_consents(
    tables: &mut PgConnection,
    page: &[Arc<RecordedEvent>],
) -> Result<Consents, ApplyError> {
    let subjects = page.iter().filter_map(|event| Some((event.stream.organization_id, event.subject?)));
    let subjects: HashSet<(OrganizationId, PatientId)> = subjects.collect();
    if subjects.is_empty() {
        return Ok(Consents::default());
    }
    let (organizations, patients): (Vec<Uuid>, Vec<Uuid>) =
        subjects.into_iter().map(|(organization, patient)| (organization.uuid(), patient.uuid())).unzip();
    let rows = sqlx::query!(
        "
        select c.organization_id, c.sequence, c.subject_id, c.occurred_at, c.consent, c.version
        from unnest($1::uuid[], $2::uuid[]) as asked (organization_id, subject_id)
        join consent_changes c on c.organization_id = asked.organization_id and c.subject_id = asked.subject_id
        order by c.organization_id, c.sequence
        ",
        &organizations,
        &patients
    )
    .fetch_all(tables)
    .await?;
    let mut consents = Consents::default();
    for row in rows {
        let organization_id = OrganizationId::new(row.organization_id);
        let sequence = row.sequence;
        let does_not_parse = || ApplyError::poison(StoredChange { organization_id, sequence });
        consents.take(ConsentChange {
            organization_id,
            sequence,
            subject_id: PatientId::new(row.subject_id),
            occurred_at: Timestamp::try_from(row.occurred_at).map_err(|_| does_not_parse())?,
            kind: row.consent.parse().map_err(|_| does_not_parse())?,
            version: row.version.map(u16::try_from).transpose().map_err(|_| does_not_parse())?,
        });
    }
    Ok(consents)
}

/// Most pages change none.
async fn insert_changes(tables: &mut PgConnection, page: &[Arc<RecordedEvent>]) -> Result<(), ApplyError> {
    let changes = page.iter().filter_map(|event| ConsentChange::of(event).transpose());
    let changes: Vec<ConsentChange> = changes.collect::<Result<_, _>>()?;
    if changes.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into consent_changes (organization_id, sequence, subject_id, occurred_at, consent, version)
        select *
        from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::timestamptz[], $5::text[], $6::integer[])
        ",
        &each(&changes, |c| c.organization_id.uuid()),
        &each(&changes, |c| c.sequence),
        &each(&changes, |c| c.subject_id.uuid()),
        &each(&changes, |c| OffsetDateTime::from(c.occurred_at)),
        &each(&changes, |c| c.kind.as_str()) as _,
        &each(&changes, |c| c.version.map(i32::from)) as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}

/// A plain insert: an entry that is there already is a fault, and must not pass for a success.
async fn insert(
    tables: &mut PgConnection,
    entries: &[Entry],
    asked_from: &[Option<AskedFrom>],
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into trail (
            organization_id, sequence, position, occurred_at, recorded_at, event_id, correlation_id, causation_id,
            request_id, subject_id, actor_id, actor_on_behalf_of, target_id, lane, event_type, action, outcome,
            actor_kind, actor_role, target_kind, purpose, origin, legal_basis, consents,
            address_index, session_id)
        select *
        from unnest(
            $1::uuid[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::uuid[], $7::uuid[],
            $8::uuid[], $9::uuid[], $10::uuid[], $11::uuid[], $12::uuid[], $13::uuid[], $14::smallint[],
            $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
            $22::text[], $23::text[], $24::text[], $25::bytea[], $26::uuid[])
        ",
        &each(entries, |e| e.organization_id.uuid()),
        &each(entries, |e| e.sequence),
        &each(entries, |e| e.position),
        &each(entries, |e| OffsetDateTime::from(e.occurred_at)),
        &each(entries, |e| OffsetDateTime::from(e.recorded_at)),
        &each(entries, |e| e.event_id.uuid()),
        &each(entries, |e| e.circumstances.correlation_id.uuid()),
        &each(entries, |e| e.circumstances.causation_id.map(Uuid::from)) as _,
        &each(entries, |e| e.circumstances.request_id.map(Uuid::from)) as _,
        &each(entries, |e| e.subject_id.map(Uuid::from)) as _,
        &each(entries, |e| e.circumstances.actor.id) as _,
        &each(entries, |e| e.circumstances.actor.on_behalf_of) as _,
        &each(entries, |e| e.target_id) as _,
        &each(entries, |e| e.lane),
        &each(entries, |e| e.event_type.as_str()) as _,
        &each(entries, |e| e.action.as_str()) as _,
        &each(entries, |e| e.outcome.as_str()) as _,
        &each(entries, |e| e.circumstances.actor.kind.as_str()) as _,
        &each(entries, |e| e.circumstances.actor.role.as_str()) as _,
        &each(entries, |e| e.target_kind.as_str()) as _,
        &each(entries, |e| e.circumstances.purpose.map(PurposeOfUse::as_str)) as _,
        &each(entries, |e| e.circumstances.origin.as_str()) as _,
        &each(entries, |e| e.legal_basis.as_str()) as _,
        &each(entries, |e| told(&e.consents)) as _,
        &each(asked_from, |from| from.as_ref().map(|from| from.address.bytes())) as _,
        &each(asked_from, |from| from.and_then(|from| from.session_id)) as _,
    )
    .execute(tables)
    .await?;
    Ok(())
}

/// Consents as they stand in the column.
fn told(consents: &[Consent]) -> String {
    let each: Vec<String> = consents.iter().map(Consent::to_string).collect();
    each.join(" ")
}

/// One column.
fn each<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
