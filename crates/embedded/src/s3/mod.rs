//! An S3 server in this process, for installations that bring no storage of their own.
//!
//! It speaks the part of S3 that Carelog uses, so that the way of a file is the same in every mode: signed requests, one
//! bucket and one pair of credentials per organization, parts, ranges. The crate `s3s` reads the protocol and checks
//! signatures; [`gate`] is stricter than S3 about links; [`store`] keeps the bytes.
//!
//! # On disk
//! `buckets/<bucket>/objects/<key in hexadecimal>` is a small manifest: a line in the clear that names blobs, and a sealed
//! part with everything else. `buckets/<bucket>/blobs/<id>` holds bytes, in frames of 64 KiB, each sealed with AES-256-GCM
//! under a key of that blob alone, derived from the organization's. `buckets/<bucket>/uploads/<id>/` holds the manifests of
//! an unfinished upload. No name of a file is ever made from what a caller sent without being encoded.
//!
//! # Guarantees
//! - An acknowledged object survives a crash: its blob and its manifest are synced before the manifest takes its name.
//! - A crash in the middle of a write leaves what was there before. What it left over is removed at the next start.
//! - Nothing lies on the disk in the clear but sizes and moments: no content, no key of an object, no type.
//! - A frame that was altered, moved or cut off is not handed out.
//! - Credentials reach their own bucket; every other one is refused alike, whether or not it exists.
//! - A signed link of more than 15 minutes is refused, whoever signed it.
//!
//! # Decisions
//! - *No versions.* What is overwritten or deleted is gone, as erasure wants it; the list of versions shows one each.
//! - *The entity tag is taken from SHA-256.* S3 promises MD5 only where nothing is encrypted, and one digest is enough.
//! - *What is not understood is refused*, not ignored: conditions on writes, keys of the caller's, metadata, access lists.
//! - *The protocol is a library's, the store is ours.* The store that comes with `s3s` (`s3s-fs`) encrypts nothing and is
//!   meant as a sample; one that encrypts at rest is another server, with a process and credentials of its own.
//! - *One process a directory.* A lock says so, and holds the address for the others, of whom one takes over when it ends.
//!
//! Start reading at `store.rs`.

mod access;
mod blob;
mod cipher;
mod error;
mod gate;
mod leftovers;
mod linger;
mod manifest;
mod operations;
mod server;
mod store;
mod tenants;
mod terms;
#[cfg(test)]
mod tests;
mod unsettled;

pub use error::S3ServerError;
pub use server::{S3Clock, S3Options, serve};
pub use tenants::{Tenant, Tenants, TenantsError};

/// The only region that it knows; part of every signature.
pub const REGION: &str = "carelog";
