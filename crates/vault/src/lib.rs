//! The vault: the keys that seal what could identify somebody, and the only way to destroy them.
//!
//! Every event keeps its personal part encrypted under a data key of one patient and data class, or of one
//! organization and class. Destroying that key reaches every copy of the ciphertext at once, in the log, read
//! models, exports and backups, without touching a byte that a proof covers.
//!
//! # Main types
//! [`Vault`] finds, makes and destroys keys. [`DataKey`] seals and opens. [`SealContext`] says where a sealed value
//! stands, and [`RootKey`] is the file that everything hangs from.
//!
//! # Keys
//! The *root key* wraps one *organization key* per organization and epoch, which wraps *data keys*, one per
//! (organization, patient or none, [`DataClass`](carelog_domain::DataClass)). All are 256 random bits. The root key
//! is a file; the others lie wrapped in the vault's own database.
//!
//! # Formats
//! These are final, because sealed events live for ever. `‖` joins bytes. `fields(a, b, …)` is, for each field in
//! turn, its length in bytes as u32 big-endian ‖ the field. Ids are the 16 bytes of their UUID, text is UTF-8, and
//! the subject is the patient's id or, for nobody, a field of no bytes.
//!
//! - *Root key file*: one line, `carelog-root-v1:` and the padded standard base64 of the 32 bytes, then a line feed.
//! - *Box*: `0x01 ‖ nonce (12 random bytes) ‖ ciphertext ‖ tag (16 bytes)` by AES-256-GCM. The first byte is the
//!   format's version.
//! - *Wrapped organization key*: a box under the root key over the 32 bytes, with additional data
//!   `fields("carelog-wrap-v1", organization id, "", "organization", epoch as u32 big-endian)`.
//! - *Wrapped data key*: a box under the organization key over the 32 bytes, with additional data
//!   `fields("carelog-wrap-v1", organization id, subject, class, key id)`. The epoch is left out: only the right
//!   organization key opens it.
//! - *Sealed value*: a box under the data key over the plaintext, with additional data `fields("carelog-seal-v1",
//!   organization id, subject, class, stream kind, stream id, version as u64 big-endian, event id, event type,
//!   schema version as u16 big-endian, key id)`.
//! - *Wrapped pseudonym key*: a box under the root key over the 32 bytes, with additional data
//!   `fields("carelog-wrap-v1", organization id, "", "pseudonym", epoch as u32 big-endian)`.
//! - *Pseudonym*: the first 16 bytes of HMAC-SHA256(pseudonym key, `fields("carelog-pseudonym-v1", kind, id)`), where
//!   the kind is `patient`, `specialist`, `record` or `erased`.
//! - *Key commitment*: HMAC-SHA256(data key, `"commit" ‖ key id`). It is public, part of the event's leaf, and says
//!   which key of that name was meant: AES-GCM alone lets one box open under two keys.
//! - *Blind index*: HMAC-SHA256(index key, `fields(purpose, value)`), where the index key is HMAC-SHA256(data key,
//!   `"carelog-index-v1"`) of the scope (organization, none, identity), and for network addresses of (organization,
//!   none, network).
//! - *Derived secret*: HMAC-SHA256(data key, `"carelog-derived-v1" ‖ purpose`), where the data key is the one of the
//!   scope (organization, none, credential).
//!
//! # Guarantees
//! - A sealed value opens only at the place it was sealed for; moved to another event, patient or organization it
//!   is refused.
//! - Once [`Vault::shred`] has returned, the patient has no key in any class and can never get one. It marks the
//!   classes without a key too, and the database allows one key per patient and class, ever. Another process may
//!   hold a key in memory for [`CACHE_SECONDS`] longer.
//! - A destroyed key's row stays for ever, so its id can never name another key; the database refuses to change,
//!   delete or truncate it, whoever asks.
//! - A destroyed key is an answer, [`KeyState::Destroyed`], never an error.
//! - Key bytes are overwritten when dropped and show in no `Debug` text.
//!
//! # Decisions
//! - *Blind indexes outlive rotation but not their key.* Rotation wraps a key anew and leaves its bytes, so the same
//!   value keeps the same index. The organization's identity key must therefore never be destroyed while the
//!   organization lives: its successor would find nothing.
//! - *No row-level security here.* A lane commits events of many organizations at once and asks for their keys in
//!   one statement, so no single organization could be set. Only the vault's role reaches the tables, and a key
//!   wrapped for one organization does not open as another's.
//! - *Which operations the log tells.* A data key is made with the first value that is sealed under it, and an
//!   organization's key with its first data key: the event whose envelope and leaf first name the key's id says when, for
//!   whom and in which class, and no other event is needed. The destruction of a patient's keys is
//!   `patient.keys_destroyed`; an epoch of pseudonyms after the first and the destruction of its key are
//!   `organization.pseudonym_epoch_begun` and `organization.pseudonym_key_destroyed`, appended by whoever asked for them.
//!   The first epoch begins with the clinic. Nothing wraps keys anew yet; what will has to tell.
//! - *Old copies of the vault's database* (dead rows, write-ahead log, backups) still hold a shredded key, wrapped.
//!   They stay readable until they expire or the organization key of their epoch is destroyed.
//!
//! # Non-goals
//! It does not decide who may open what, nor whether a legal hold stops an erasure, and it appends no events.
//!
//! Start reading at [`Vault`]; `aead.rs` and `context.rs` hold the formats.

mod aead;
mod cache;
mod context;
mod data_key;
mod error;
mod file;
mod pseudonyms;
mod random;
mod root;
mod secret;
mod store;
mod vault;
mod wrap;

#[cfg(test)]
mod tests;

pub use cache::CACHE_SECONDS;
pub use context::SealContext;
pub use data_key::{DataKey, KeyCommit, KeyState};
pub use error::VaultError;
pub use file::publish;
pub use pseudonyms::{Pseudonym, PseudonymKey, PseudonymKind, Pseudonyms};
pub use root::{RootKey, RootKeyError};
pub use store::commitments;
pub use vault::Vault;

/// The tables of the vault's database; the role `carelog_vault` must exist before they are made.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/vault");
