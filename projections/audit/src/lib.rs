//! The audit trail: who did what to whose record, when, why and with which outcome.
//!
//! # Tables
//! `trail` in the schema `audit` of the database `audit`: one entry for every event of the log, keyed by the
//! organization and its gapless sequence, so that a missing entry shows. An entry says who acted and on whose
//! behalf, in which role, for which purpose and on which legal basis, with the consents in force; the *action* (one of
//! the five of the FHIR AuditEvent) and the *target* that it was done to; whether it succeeded; and what ties it to other
//! events. Facts and personal parts stay in the log: the trail can be shown to more people than the records can.
//! `consent_changes` beside it is what patients agreed to and took back: the projector's own, since an entry may be far
//! from the consents that it tells of.
//!
//! # What is derived
//! Action follows from the event's type alone. For a view or an export of records the target is what was looked
//! at, not the access; for a disclosure it is the patient. Failures are refusals, attempts that did not succeed,
//! and deliveries that were given up. The legal basis follows from type and purpose, by a table (`model/basis.rs`); the
//! consents in force are those of the patient by the events up to the entry's own, at the moment at which it happened.
//! Only the types for which this needs their facts are decoded.
//!
//! # Where it was asked for from
//! `networks` finds entries by the network address that a request came from, which the trail does not have, and by the
//! session of the console.
//!
//! # Guarantees
//! Nothing is ever skipped: an event that cannot be entered stops its lane and raises an alarm. Entries are
//! inserted and never changed; entering one twice is refused by the primary key.
//!
//! # Proofs
//! What makes the log checkable by strangers. `proof` is the pure part, a crate of its own: trees, tiles, proofs,
//! checkpoints, bundles and their verifier. `sealer` is a second projector, with tables in the schema `proof`: it makes
//! each event's leaf anew and appends it to the tree of its organization. `trees` reads them. `signer` signs what
//! provably only grew, with a key and a memory in files of their own; its tables are in the schema `signer`, which no
//! rebuild touches.
//!
//! # A second trail
//! `forwarded` writes the trail of some organizations to a database of theirs.
//!
//! `meta` is the log over the organizations' checkpoints: a tree like theirs, in the place of no organization.
//!
//! # Not here
//! The witness is in the server's crate; its judgement is in `carelog-proof`.
//!
//! Start reading at `model.rs` for the trail, and at the crate `carelog-proof` for the proofs.

mod forwarded;
pub mod meta;
pub mod model;
mod networks;
mod projector;
pub mod queries;
mod sealer;
pub mod signer;
pub mod trees;

pub use carelog_proof as proof;
pub use forwarded::Forwarded;
pub use model::{Action, Consent, Consents, Entry, LegalBasis, Outcome, Topic};
pub use networks::AddressIndex;
pub use projector::Audit;
pub use queries::{Delivery, Order, Period, QueryError, Subject, TrailFilter, TrailPage};
pub use sealer::{SealError, Sealer};

/// Brings the database `audit` to the newest schema.
pub static AUDIT_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/audit");
