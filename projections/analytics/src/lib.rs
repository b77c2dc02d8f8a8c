//! Analytics: facts about appointments, exercises, forms and video consultations under pseudonyms, and the figures that are published of them.
//!
//! # Tables
//! `analytics_organizations`, `erased_patients`, `patient_facts`, `appointment_facts`, `exercise_assignment_facts`,
//! `exercise_session_facts`, `form_facts`, `video_session_facts` and `video_quality_facts` in the schema `analytics` of
//! the database `analytics`, which only the projector writes. Each row is keyed by the place in the log of the event
//! that made it. The figures stand in the schema `published`, which only [`publication`] writes. The comments of
//! tables and columns are the data dictionary: each ends with the column's class.
//!
//! # Who stands in a row
//! Patients, specialists and records about patients stand there under pseudonyms ([`Pseudonym`](carelog_vault::Pseudonym)),
//! which differ from organization to organization and from epoch to epoch. A row is made of values that implement
//! [`model::Analytic`] only: pseudonyms, enums, numbers, and moments that were cut to five minutes. An id of a person
//! or a text does not compile. The projector reads facts and holds keys of pseudonyms; it can open nothing.
//!
//! # Epochs
//! A version of the tables keeps to the epoch that was the newest when it met the organization first. After
//! [`Pseudonyms::rotate`](carelog_vault::Pseudonyms::rotate) a rebuild takes the next; then the old one can be
//! destroyed ([`epochs`]), never while facts stand under it.
//!
//! # Erasure
//! When a patient's keys are destroyed every row of the patient is removed, and a tombstone remains, which is no
//! pseudonym and stands in no other table, so that what comes later about the patient is dropped. Nothing depends on
//! how the log is cut into pages.
//!
//! # What is published
//! Nobody reads facts but the projector and the publisher. Analysts and the API read the tables of `published`, which
//! show one organization: an analyst's login is bound to it by its role, the application by its transaction. They are
//! made anew from time to time, with rounded numbers, and without every figure that leads to few patients; see
//! [`publication`] for when, and [`publication::disclosure`] for which. Dimensions are published one at a time: tables
//! that cross two of them would need a suppression over both margins.
//!
//! Figures leave as rows ([`queries::figures`]) and, for programs that read columns, as Parquet or Arrow ([`columnar`]);
//! whoever hands them out writes [`queries::Figures::account`] to the log before.
//!
//! # Beyond PostgreSQL
//! Facts are written through [`sink::FactSink`]: by the projector to PostgreSQL, and, where one is configured, by the
//! [`worker`] to ClickHouse ([`clickhouse`]), which follows behind. An erasure is certified after both. People read
//! the copy, so no place in the log stands in it, which answers to commands name too: its rows are named by pseudonyms.
//!
//! # Not here
//! Clinics' time zones are personal values here, because they stand in the profile; days are therefore those of UTC,
//! except where only the day of an appointment is known.
//!
//! Start reading at `model/appointment.rs`, then `projector.rs`, then `publication/mod.rs`.

pub mod clickhouse;
pub mod columnar;
pub mod epochs;
pub mod logins;
pub mod model;
mod projector;
pub mod publication;
pub mod queries;
pub mod sink;
pub mod worker;

pub use projector::Analytics;

/// Brings the database `analytics` to the newest schema.
pub static ANALYTICS_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/analytics");
