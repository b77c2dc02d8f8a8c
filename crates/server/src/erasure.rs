//! Carries out the erasure of patients: destroys their keys, waits for the projections, and says so in the log.
//!
//! Each step is an event of the patient's stream, and each can be done again: after a crash the worker finds the
//! patients whose erasure is not complete and goes on from the step that their stream shows. Two processes that do
//! the same at once meet in the stream, where one of them is refused.
//!
//! A legal hold stops an erasure before it begins: the patient's aggregate refuses the intent, and a hold after it.
//!
//! Keys are destroyed first, those of every patient who waits for it: no projection that lags keeps them.
//!
//! A projection that has set an event of the patient aside has not erased it: the erasure waits until that is mended. Nor
//! is it complete before the clinic's figures are published without the patient.
//!
//! The patient's files are removed from the storage, in every version, and so is whatever Daily has recorded of the patient,
//! before the erasure counts as complete.
//!
//! What is kept of receivers' answers to events about the patient is sealed under the patient's keys too
//! (`carelog_webhooks::answers`), so that nothing has to be looked for there.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use carelog_analytics::publication::Part;
use carelog_analytics::{Analytics, publication, worker};
use carelog_domain::patient::{ErasureStep, Patient, PatientCommand, PatientEvent};
use carelog_domain::{Actor, Circumstances, CorrelationId, EventType, OrganizationId, PatientId, StreamKind};
use carelog_event_log::runtime::{Projector, drop_leftovers, lag};
use carelog_event_log::{
    ExecuteError, Executed, LogPosition, Position, RecordedEvent, Scope, StreamKey, new_id,
};
use carelog_records::queries::{self, Page};
use carelog_records::{PatientRecord, PatientStatus};
use cqrs_es::Aggregate;
use sqlx::AssertSqlSafe;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::databases::Databases;
use crate::files;
use crate::system::System;

/// Whose confirmation an erasure waits for.
const PROJECTIONS: [&str; 4] = [
    carelog_records::Records::NAME,
    carelog_audit::Audit::NAME,
    carelog_analytics::Analytics::NAME,
    carelog_video::VideoProjector::NAME,
];
/// How often unfinished erasures are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one look waits for the projections; erasures that they have not reached are left for the next one.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// Erasures of one look and organization.
const AT_A_TIME: u16 = 50;

/// Works until the system stops.
pub async fn run(system: System) {
    let stop = system.runtime.stop.clone();
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        if let Err(error) = run_once(&system, PATIENCE).await {
            warn!(error = format!("{error:#}"), "erasures could not be carried out; they are tried again");
        }
    }
}

/// Carries out every erasure that is not complete. What the projections have not reached is waited for so long.
///
/// # Errors
/// When a database or the vault does not answer.
pub async fn run_once(system: &System, patience: Duration) -> anyhow::Result<()> {
    let patients = unfinished(system).await?;
    let mut failed = HashSet::new();
    for patient in &patients {
        if system.runtime.stop.is_cancelled() {
            return Ok(());
        }
        if failed.contains(&patient.organization_id) {
            continue;
        }
        let shredded = shred(system, patient.organization_id, patient.patient_id).await;
        note(patient, shredded, &mut failed);
    }
    let deadline = Instant::now() + patience;
    for patient in &patients {
        if system.runtime.stop.is_cancelled() {
            break;
        }
        // One clinic's storage may not answer: that costs each look one wait, and no other clinic its erasures.
        if failed.contains(&patient.organization_id) {
            continue;
        }
        let completed = complete(system, patient.organization_id, patient.patient_id, deadline).await;
        note(patient, completed, &mut failed);
    }
    Ok(())
}

fn note(patient: &PatientRecord, step: anyhow::Result<()>, failed: &mut HashSet<OrganizationId>) {
    if let Err(error) = step {
        warn!(patient.id = %patient.patient_id, error = format!("{error:#}"), "an erasure failed");
        failed.insert(patient.organization_id);
    }
}

async fn unfinished(system: &System) -> anyhow::Result<Vec<PatientRecord>> {
    let statement = AssertSqlSafe("begin read only; set local search_path to records, public");
    let mut tx = system.databases.core_system.begin_with(statement).await?;
    let organizations = queries::organizations_with_erasures(&mut tx).await?;
    let mut patients = Vec::new();
    for organization_id in organizations {
        let page = Page { before: None, limit: AT_A_TIME };
        let erasing = Some(PatientStatus::Erasing);
        patients.extend(queries::list_patients(&mut tx, organization_id, erasing, page).await?);
    }
    tx.commit().await?;
    Ok(patients)
}

/// Destroys the keys of a patient whose erasure has come no further.
async fn shred(
    system: &System,
    organization_id: OrganizationId,
    patient_id: PatientId,
) -> anyhow::Result<()> {
    let Erasure { step, requested_by, .. } = step_of(system, organization_id, patient_id).await?;
    if step == Some(ErasureStep::Requested) {
        let shredded = system.log.vault().shred(organization_id, patient_id).await?;
        let key_count = u16::try_from(shredded.len()).unwrap_or(u16::MAX);
        let command = PatientCommand::RecordKeysDestroyed { key_count };
        execute(system, organization_id, patient_id, requested_by, command).await?;
    }
    Ok(())
}

/// Completes the erasure of a patient whose keys are destroyed, once nothing of the patient is left.
async fn complete(
    system: &System,
    organization_id: OrganizationId,
    patient_id: PatientId,
    deadline: Instant,
) -> anyhow::Result<()> {
    let Erasure { step, requested_by, newest } = step_of(system, organization_id, patient_id).await?;
    if let (Some(ErasureStep::KeysDestroyed), Some(newest)) = (step, newest) {
        let place = LogPosition { lane: newest.lane, position: newest.position };
        if !projections_passed(system, place, deadline).await? {
            info!(%patient_id, "an erasure waits for the projections");
            return Ok(());
        }
        if is_quarantined(system, organization_id, patient_id).await? {
            warn!(%patient_id, "an erasure waits, because a projection has set events of the patient aside");
            return Ok(());
        }
        if !drop_leftovers::<Analytics>(&system.databases.analytics_owner).await? {
            info!(%patient_id, "an erasure waits for the end of a rebuild");
            return Ok(());
        }
        publish_without(system, organization_id, newest.position).await?;
        let at_provider = system.provider_recordings.get().context("no server was started")?;
        if !at_provider.remove_of(organization_id, patient_id, &newest).await? {
            info!(%patient_id, "an erasure waits until daily has ended a recording");
            return Ok(());
        }
        files::remove_files_of(system, organization_id, patient_id).await?;
        execute(system, organization_id, patient_id, requested_by, PatientCommand::CompleteErasure).await?;
        info!(%patient_id, "a patient was erased");
    }
    Ok(())
}

/// What the log itself says of an erasure.
struct Erasure {
    /// How far it has come.
    step: Option<ErasureStep>,
    /// Which wish it belongs to.
    requested_by: Option<CorrelationId>,
    /// The patient's newest event.
    newest: Option<RecordedEvent>,
}

async fn step_of(
    system: &System,
    organization_id: OrganizationId,
    patient_id: PatientId,
) -> anyhow::Result<Erasure> {
    let key = StreamKey { organization_id, kind: StreamKind::Patient, id: patient_id.uuid() };
    let mut patient = Patient::default();
    let mut requested_by = None;
    let mut newest = None;
    for event in system.log.stream(&key, 0).await? {
        let decoded = event.decode_as::<PatientEvent>()?;
        if matches!(decoded, PatientEvent::ErasureRequested(_)) {
            requested_by = Some(event.circumstances.correlation_id);
        }
        patient.apply(decoded);
        newest = Some(event);
    }
    Ok(Erasure { step: patient.erasure(), requested_by, newest })
}

async fn execute(
    system: &System,
    organization_id: OrganizationId,
    patient_id: PatientId,
    requested_by: Option<CorrelationId>,
    command: PatientCommand,
) -> anyhow::Result<()> {
    let correlation_id = requested_by.unwrap_or_else(|| CorrelationId::new(new_id()));
    let scope = Scope::new(organization_id, Circumstances::of(Actor::SYSTEM, correlation_id));
    match system.log.execute::<Patient>(&scope, patient_id.uuid(), command).await {
        // A rejection says that another process took the step.
        Ok(Executed::Appended(_) | Executed::Unchanged { .. } | Executed::Replayed(_))
        | Err(ExecuteError::Rejected(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether events of the patient wait in the quarantine of a projection, or the erasure itself was given up there.
async fn is_quarantined(
    system: &System,
    organization_id: OrganizationId,
    patient_id: PatientId,
) -> anyhow::Result<bool> {
    let Databases { core_system, audit_system, analytics_system, .. } = &system.databases;
    for pool in [core_system, audit_system, analytics_system] {
        let is_waiting = sqlx::query_scalar!(
            r#"
            select exists (
                select
                from runtime.quarantine q
                join runtime.projections p on p.projector = q.projector and p.live_version = q.version
                where q.organization_id = $1 and q.stream_id = $2
                    and (q.discarded_at is null or q.event_type = $3)
            ) as "is_waiting!"
            "#,
            organization_id.uuid(),
            patient_id.uuid(),
            EventType::PatientKeysDestroyed.as_str()
        )
        .fetch_one(pool)
        .await?;
        if is_waiting {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Publishes the clinic's figures, unless they were since the erasure.
async fn publish_without(
    system: &System,
    organization_id: OrganizationId,
    erased_at: Position,
) -> anyhow::Result<()> {
    let pool = &system.databases.analytics_system;
    let reached = publication::reached(&mut *pool.acquire().await?, organization_id).await?;
    // Where nothing was ever published, nothing of the patient was.
    if reached.is_some_and(|reached| reached < erased_at) {
        publication::publish(pool, organization_id, Part::ALL, system.log.clock().now()).await?;
    }
    Ok(())
}

/// Whether every projection has seen the log up to a place, and ClickHouse where facts are copied there. It is
/// looked once, and again until the deadline.
async fn projections_passed(system: &System, place: LogPosition, deadline: Instant) -> anyhow::Result<bool> {
    loop {
        let mut lags = lag(&system.log, &mut *system.databases.core_system.acquire().await?).await?;
        lags.extend(lag(&system.log, &mut *system.databases.audit_system.acquire().await?).await?);
        lags.extend(lag(&system.log, &mut *system.databases.analytics_system.acquire().await?).await?);
        let has_passed = PROJECTIONS.iter().all(|projector| {
            lags.iter().any(|lag| {
                lag.projector == *projector && lag.lane == place.lane && lag.position >= place.position
            })
        });
        let copied = worker::copied(&system.databases.analytics_system, place.lane).await?;
        if has_passed && copied.is_none_or(|position| position >= place.position) {
            return Ok(true);
        }
        if Instant::now() >= deadline || system.runtime.stop.is_cancelled() {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
}
