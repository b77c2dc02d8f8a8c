//! Files in an object storage, reached by the S3 protocol alone, whoever runs the storage; and the documents that are
//! made to be kept there.
//!
//! # Main types
//! [`Storage`] is one organization's bucket with its credentials. [`SignedRequest`] is what a client is given to move
//! bytes past the server. [`sniff`] says what a file is by its first bytes. [`document`] renders PDFs.
//!
//! # Guarantees
//! - A signed request holds for [`MAX_LINK_LIFE`] at most, and for exactly one object.
//! - An upload at once is bound to its size, its SHA-256, its type and its encryption by signed headers: through that
//!   link nothing else can be stored, however often it is used. The parts of a large upload are bound to their size and
//!   their place, and after [`Storage::complete`] no link of them works any more.
//! - Encryption is demanded with every upload, and [`Storage::examine`] reports what the storage says it did.
//! - A download has the type that the file was found to have, never one that its uploader chose at will, and no browser
//!   keeps it.
//! - [`Storage::remove`] removes every version, every delete marker and every part that waits.
//! - Keys of objects are made from ids. Nothing that a person wrote is part of a key or an address.
//!
//! # Decisions
//! - *Checksums only where they are asked for.* The client's default would bake the checksum of an empty body into a
//!   signed upload, and end streams in trailers that several servers refuse.
//! - *No `aws-config`.* Credentials come sealed from the log or are derived from the vault; no process environment or
//!   metadata service is asked.
//! - *The upload's id is not kept.* The storage itself lists the unfinished uploads of a key, so that there is nothing to
//!   lose between its answer and a write of ours. Only a file that the server itself brings in several goes
//!   (`resumed.rs`) names its upload: what is kept of it belongs to that one.
//!
//! # Non-goals
//! It does not decide who may read what, and appends no events.
//!
//! Start reading at `storage.rs`.

mod connect;
pub mod document;
mod error;
mod multipart;
mod receive;
mod removal;
mod resumed;
mod signing;
mod sniff;
mod storage;

pub use connect::{Credentials, Encryption, StorageOptions};
pub use error::StorageError;
pub use multipart::{StoredPart, UploadId};
pub use receive::{BringError, Brought};
pub use removal::ListedObject;
pub use resumed::{Bringing, Kept, Mark, Piece};
pub use signing::{Download, MAX_LINK_LIFE, SignedRequest, Upload};
pub use sniff::{SNIFFED_BYTES, sniff};
pub use storage::{Examined, Storage};
