//! Chunks of rows on their way into the log.

use std::collections::{BTreeMap, HashMap, HashSet};

use carelog_domain::appointment::AppointmentEvent;
use carelog_domain::organization::{
    Organization, OrganizationCommand, OrganizationEvent, OrganizationProfile,
};
use carelog_domain::patient::{Patient, PatientCommand, PatientDetails, PatientEvent};
use carelog_domain::{
    Circumstances, DataClass, EventType, KeyScope, OrganizationId, PatientId, StreamEvent, Timestamp,
};
use carelog_event_log::{EventLog, Expected, Scope, Verdict, read};
use carelog_vault::KeyState;
use futures::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rejects::{Reject, RejectReason};
use super::row::Row;
use super::{ImportError, ids};

/// Events by type.
pub(super) type Counts = BTreeMap<EventType, u64>;

/// What the loader has come to.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) organizations: u64,
    pub(super) patients: u64,
    pub(super) appointments: u64,
    pub(super) already_imported: u64,
    pub(super) ambiguous_times: u64,
    /// What the file amounts to, appended now or before.
    pub(super) events: Counts,
    /// What was appended now.
    pub(super) new_events: Counts,
}

/// Brings chunks into the log.
pub(super) struct Loader {
    log: EventLog,
    circumstances: Circumstances,
    time_zone: String,
    concurrency: usize,
    stop: CancellationToken,
    /// Clinics by name.
    clinics: HashMap<String, OrganizationId>,
    /// Patients of earlier chunks.
    patients: HashSet<PatientId>,
    /// Those whose keys were destroyed.
    erased: HashSet<PatientId>,
    /// Appointments of earlier rows, by the part of their id that holds no time.
    appointments: HashSet<(OrganizationId, u128)>,
    pub(super) progress: Progress,
}

/// A row with the ids that follow from it and what its aggregate decided.
struct Planned {
    row: Row,
    organization_id: OrganizationId,
    patient_id: PatientId,
    history: History<AppointmentEvent>,
}

/// The events of one stream to be.
struct History<E> {
    organization_id: OrganizationId,
    stream_id: Uuid,
    events: Vec<(Timestamp, E)>,
}

/// Which chunk came to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Loaded {
    Whole,
    /// The import is to stop.
    Interrupted,
}

impl Loader {
    pub(super) fn new(
        log: EventLog,
        circumstances: Circumstances,
        time_zone: String,
        concurrency: usize,
        stop: CancellationToken,
    ) -> Self {
        Self {
            log,
            circumstances,
            time_zone,
            concurrency,
            stop,
            clinics: HashMap::new(),
            patients: HashSet::new(),
            erased: HashSet::new(),
            appointments: HashSet::new(),
            progress: Progress::default(),
        }
    }

    /// Brings in the rows of a chunk: clinics first, then patients, then appointments, each waited for before the
    /// next. Rows that cannot be brought in are added to `rejects`.
    pub(super) async fn load(
        &mut self,
        rows: Vec<Row>,
        rejects: &mut Vec<Reject>,
    ) -> Result<Loaded, ImportError> {
        self.progress.ambiguous_times += rows.iter().map(|row| row.ambiguous_times).sum::<u64>();
        let planned = self.plan(rows, rejects).await?;
        self.find_erased(&planned).await?;
        let streams: Vec<_> =
            planned.iter().map(|plan| (plan.organization_id, plan.history.stream_id)).collect();
        let existing = self.existing::<AppointmentEvent>(&streams).await?;
        let (refused, planned): (Vec<_>, Vec<_>) = planned.into_iter().partition(|plan| {
            self.erased.contains(&plan.patient_id) && !existing.contains(&plan.history.stream_id)
        });
        rejects.extend(refused.into_iter().map(|plan| plan.row.reject(RejectReason::PatientErased)));

        self.progress.organizations += self.register_clinics(&planned).await?.0;
        self.progress.patients += self.register_patients(&planned).await?.0;
        let histories = planned.into_iter().map(|plan| plan.history).collect();
        let (done, already) = self.append_all(histories, &existing).await?;
        self.progress.appointments += done;
        self.progress.already_imported += already;
        Ok(if self.stop.is_cancelled() { Loaded::Interrupted } else { Loaded::Whole })
    }

    async fn plan(&mut self, rows: Vec<Row>, rejects: &mut Vec<Reject>) -> Result<Vec<Planned>, ImportError> {
        let mut planned = Vec::with_capacity(rows.len());
        for row in rows {
            let organization_id = ids::organization_id(&row.clinic);
            let vault = self.log.vault();
            let patient_id = ids::patient_id(vault, organization_id, &row.patient).await?;
            let id = ids::appointment_id(vault, organization_id, &row.appointment, row.booked_at).await?;
            let timeless = id.uuid().as_u128() & ((1 << 80) - 1);
            if self.appointments.contains(&(organization_id, timeless)) {
                rejects.push(row.reject(RejectReason::Duplicate));
                continue;
            }
            match row.history(patient_id) {
                Err(rejection) => rejects.push(row.reject(RejectReason::Refused(rejection))),
                Ok(events) => {
                    self.appointments.insert((organization_id, timeless));
                    let history = History { organization_id, stream_id: id.uuid(), events };
                    planned.push(Planned { row, organization_id, patient_id, history });
                }
            }
        }
        Ok(planned)
    }

    /// Makes the keys of new patients in a few statements, and learns whose keys were destroyed.
    async fn find_erased(&mut self, planned: &[Planned]) -> Result<(), ImportError> {
        let scopes: Vec<KeyScope> = planned
            .iter()
            .filter(|plan| !self.patients.contains(&plan.patient_id))
            .map(|plan| KeyScope {
                organization_id: plan.organization_id,
                subject: Some(plan.patient_id),
                class: DataClass::Identity,
            })
            .collect();
        let states = self.log.vault().data_keys(&scopes).await?;
        for (scope, state) in scopes.iter().zip(states) {
            if let (Some(patient_id), KeyState::Destroyed) = (scope.subject, state) {
                self.erased.insert(patient_id);
            }
        }
        Ok(())
    }

    /// A clinic joined, as far as the file tells, with the first booking that the chunk has of it.
    async fn register_clinics(&mut self, planned: &[Planned]) -> Result<(u64, u64), ImportError> {
        let mut histories: Vec<History<OrganizationEvent>> = Vec::new();
        for (name, first) in first_rows(planned, |plan| plan.row.clinic.clone()) {
            if self.clinics.contains_key(&name) {
                continue;
            }
            let organization_id = first.organization_id;
            let profile = OrganizationProfile { name: name.clone(), time_zone: self.time_zone.clone() };
            let events = Organization::default().decide(OrganizationCommand::Register { profile })?;
            let events = events.into_iter().map(|event| (first.row.booked_at, event)).collect();
            // One after the other, so that a thousand appends need not ask for the lane at once.
            self.log.lane_of(organization_id).await?;
            histories.push(History { organization_id, stream_id: organization_id.uuid(), events });
            self.clinics.insert(name, organization_id);
        }
        self.append_new(histories).await
    }

    /// A patient became known, as far as the file tells, with the first booking that the chunk has of them.
    async fn register_patients(&mut self, planned: &[Planned]) -> Result<(u64, u64), ImportError> {
        let mut histories: Vec<History<PatientEvent>> = Vec::new();
        for (patient_id, first) in first_rows(planned, |plan| plan.patient_id) {
            if !self.patients.insert(patient_id) {
                continue;
            }
            let details = PatientDetails {
                name: None,
                email: None,
                phone: None,
                birth_date: None,
                external_reference: Some(first.row.patient.clone()),
            };
            let register =
                PatientCommand::Register { birth_year: first.row.birth_year, details: Some(details) };
            let events = Patient::default().decide(register)?;
            let events = events.into_iter().map(|event| (first.row.booked_at, event)).collect();
            let organization_id = first.organization_id;
            histories.push(History { organization_id, stream_id: patient_id.uuid(), events });
        }
        self.append_new(histories).await
    }

    async fn append_new<E: StreamEvent>(
        &mut self,
        histories: Vec<History<E>>,
    ) -> Result<(u64, u64), ImportError> {
        let streams: Vec<_> =
            histories.iter().map(|history| (history.organization_id, history.stream_id)).collect();
        let existing = self.existing::<E>(&streams).await?;
        self.append_all(histories, &existing).await
    }

    /// Appends histories, but for those that are known to exist; how many are in the log now, and how many of them
    /// were there before.
    async fn append_all<E: StreamEvent>(
        &mut self,
        histories: Vec<History<E>>,
        existing: &HashSet<Uuid>,
    ) -> Result<(u64, u64), ImportError> {
        let mut counted = (0, 0);
        let stop = self.stop.clone();
        let (log, circumstances) = (self.log.clone(), self.circumstances);
        let mut appended = stream::iter(histories)
            .take_while(|_| std::future::ready(!stop.is_cancelled()))
            .map(|history| append(&log, circumstances, history, existing))
            .buffer_unordered(self.concurrency);
        while let Some((types, is_new)) = appended.try_next().await? {
            counted.0 += 1;
            counted.1 += u64::from(!is_new);
            for event_type in types {
                *self.progress.events.entry(event_type).or_default() += 1;
                *self.progress.new_events.entry(event_type).or_default() += u64::from(is_new);
            }
        }
        Ok(counted)
    }

    async fn existing<E: StreamEvent>(
        &self,
        streams: &[(OrganizationId, Uuid)],
    ) -> Result<HashSet<Uuid>, ImportError> {
        if streams.is_empty() {
            return Ok(HashSet::new());
        }
        let (organizations, streams): (Vec<Uuid>, Vec<Uuid>) =
            streams.iter().map(|(organization_id, id)| (organization_id.uuid(), *id)).unzip();
        let mut connection = self.log.pool().acquire().await?;
        Ok(read::existing_streams(&mut connection, E::KIND, &organizations, &streams).await?)
    }
}

/// The types of the events, and whether they were appended now. A stream that exists is one that was imported
/// before, whatever has happened to it since.
async fn append<E: StreamEvent>(
    log: &EventLog,
    circumstances: Circumstances,
    history: History<E>,
    existing: &HashSet<Uuid>,
) -> Result<(Vec<EventType>, bool), ImportError> {
    let types = history.events.iter().map(|(_, event)| event.catalogue_type()).collect();
    if existing.contains(&history.stream_id) {
        return Ok((types, false));
    }
    let scope = Scope { expected: Expected::New, ..Scope::new(history.organization_id, circumstances) };
    match log.append_history(&scope, history.stream_id, history.events).await? {
        Verdict::Accepted(_) => Ok((types, true)),
        Verdict::Conflict { .. } | Verdict::PremiseMoved | Verdict::Known(_) => Ok((types, false)),
    }
}

/// For each key the row with the earliest booking.
fn first_rows<K: Ord>(planned: &[Planned], key: impl Fn(&Planned) -> K) -> BTreeMap<K, &Planned> {
    let mut first: BTreeMap<K, &Planned> = BTreeMap::new();
    for plan in planned {
        let entry = first.entry(key(plan)).or_insert(plan);
        if plan.row.booked_at < entry.row.booked_at {
            *entry = plan;
        }
    }
    first
}
