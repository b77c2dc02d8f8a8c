//! The current state of every clinic, patient, specialist, appointment, form and file, for the reads of the API.
//!
//! # Tables
//! `organizations`, `organization_members`, `organization_integrations`, `api_keys`, `patients`,
//! `patient_consents`, `specialists`, `appointments`, `forms` and `files` in the schema `records` of the database `core`.
//! The current state of every clinic, patient, specialist, appointment, form and treatment plan, for the reads of the API.
//!
//! # Tables
//! `organizations`, `organization_members`, `organization_integrations`, `api_keys`, `patients`,
//! `patient_consents`, `specialists`, `appointments`, `forms`, `treatment_plans` and `treatment_plan_exercises` in the
//! schema `records` of the database `core`.
//! Each row says which version of its stream it shows and which event touched it last ([`Stamp`]), so that a
//! caller can send the version back with its next command. Webhook subscriptions and deliveries are read models
//! of the projection that sends them.
//!
//! # How a page is applied
//! The events are decoded once, the rows that they build upon are loaded with one statement per table, everything
//! is folded in memory ([`model`]), and each changed row is written once, in its final form, with one statement
//! per table. So an appointment that is booked, confirmed and completed within a page is one insert, and what an
//! event means stands in one place only, in Rust.
//!
//! # Personal values
//! They stay sealed. A row keeps the newest personal part of its stream with the place that it was sealed for
//! ([`SealedColumns`]); whoever may see it opens it through the vault. Once a patient's keys are destroyed, the
//! sealed bytes are taken out of every row that held some, and `erased_at` says so: what is gone can be told from
//! what never was. This does not depend on how the log was cut into pages, nor on whether an event that was
//! sealed before the destruction arrives after it.
//!
//! # Guarantees
//! - Folding from position 0 gives the same rows as having followed all along.
//! - A write that would not move its row forward is refused, so no event is applied twice.
//! - An event whose row is missing is poison: its stream waits in quarantine, the others go on.
//!
//! # Not here
//! Look-ups by name, e-mail or reference: they need keyed blind indexes, for which personal parts must be opened.
//!
//! Start reading at `model/appointment.rs`, then `projector.rs`.

pub mod model;
mod projector;
pub mod queries;

pub use model::{
    ApiKeyRecord, AppointmentRecord, ConsentRecord, FileRecord, FormRecord, IntegrationRecord,
    IntegrationStatus, MemberRecord, MemberStatus, OrganizationRecord, PatientRecord, PatientStatus,
    PlanExerciseRecord, PlanRecord, SealedColumns, SessionCounts, SpecialistRecord, SpecialistStatus, Stamp,
};
pub use projector::Records;
pub use queries::QueryError;
