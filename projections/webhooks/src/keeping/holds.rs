//! Which deliveries are about patients under a legal hold, as the log itself tells: no projection lags behind it, and what
//! stands in patients' own streams, from before holds had one, is read with the rest.

use std::collections::{HashMap, HashSet};

use carelog_domain::legal_hold::LegalHolds;
use carelog_domain::patient::Patient;
use carelog_domain::{CodecError, Event, EventType, OrganizationId, PatientId};
use carelog_event_log::read::{self, ReadError};
use cqrs_es::Aggregate as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::deliveries::Looked;

const TOLD_BY: [EventType; 4] = [
    EventType::PatientLegalHoldPlaced,
    EventType::PatientLegalHoldReleased,
    EventType::LegalHoldPlaced,
    EventType::LegalHoldReleased,
];

/// The sequence numbers of those events, of one organization, that are about patients under a hold.
pub(super) async fn about_held(
    system: &mut PgConnection,
    of_one: &[&Looked],
) -> Result<HashSet<i64>, sqlx::Error> {
    let Some(first) = of_one.first() else { return Ok(HashSet::new()) };
    let (lane, organization_id) = (first.lane, OrganizationId::new(first.organization_id));
    let sequences: Vec<i64> = of_one.iter().map(|row| row.source_sequence).collect();
    let sources = read::organization_at(system, lane, organization_id, &sequences).await;
    let sources = sources.map_err(unreadable)?;
    let subjects: HashSet<Uuid> =
        sources.iter().filter_map(|event| event.subject).map(PatientId::uuid).collect();
    let subjects: Vec<Uuid> = subjects.into_iter().collect();
    let told = read::streams(system, lane, organization_id, &subjects, &TOLD_BY).await;
    let mut patients: HashMap<PatientId, (Patient, LegalHolds)> = HashMap::new();
    for event in told.map_err(unreadable)? {
        let (patient, holds) = patients.entry(PatientId::new(event.stream.id)).or_default();
        match event.decode().map_err(undecodable)? {
            Event::Patient(told) => patient.apply(told),
            Event::LegalHold(told) => holds.apply(told),
            _ => {}
        }
    }
    let is_held = |patient_id: PatientId| {
        patients
            .get(&patient_id)
            .is_some_and(|(patient, holds)| !holds.in_force(&patient.legal_holds()).is_empty())
    };
    let held = sources.iter().filter(|event| event.subject.is_some_and(is_held));
    Ok(held.map(|event| event.organization_sequence).collect())
}

fn unreadable(error: ReadError) -> sqlx::Error {
    match error {
        ReadError::Database(error) => error,
        error @ ReadError::Stored { .. } => sqlx::Error::Decode(error.into()),
    }
}

fn undecodable(error: CodecError) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
