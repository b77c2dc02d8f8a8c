//! Bundles: the events of one organization, or some of them, as one tar file that anybody can check without the system
//! that it came from.
//!
//! | file | what |
//! |---|---|
//! | `checkpoint` | the signed checkpoint of the tree that everything here is in |
//! | `policy` | the log's key as a policy. A verifier brings one of its own |
//! | `keys/log` | the log's key alone |
//! | `keys/destroyed.ndjson` | the events that destroyed keys, each with its proof |
//! | `leaves.ndjson` | a line an event: its index in the tree and its leaf data, byte for byte |
//! | `payloads.ndjson` | a line an event: stored facts and ciphertexts in base64, or which event destroyed the key |
//! | `tile/…` | of a full bundle: every tile of the tree |
//! | `range.json` | of a range: the tree before it, and that the signed tree begins with it |
//! | `proofs/<index>.tlog-proof` | of a selection: that each event is in the tree |
//! | `consistency/<size>` | that the tree begins with an earlier one, where that was asked for or `logged.tlog-proof` needs it |
//! | `logged.tlog-proof` | that a checkpoint of the tree, the newest that was, is in the log of checkpoints; its text is the extra data |
//! | `manifest.json` | what the bundle claims to be, and SHA-256 of each file |
//!
//! A full bundle and a range prove that nothing is missing between their ends: the signed root is made of exactly these
//! leaves. A selection proves of each event that it is in the log, and nothing about events that were left out.
//!
//! The verifier reads a file that may be hostile: paths, sizes, numbers and order are checked, nothing is unpacked, and
//! what is kept in memory at a time is a line of each list, a tile of each level, and the list of files.
//!
//! Start reading at `verify.rs`.

mod archive;
mod claims;
mod content;
mod damage;
mod lines;
mod logged;
mod manifest;
#[cfg(test)]
mod tests;
mod tree;
mod verify;
mod write;

pub use archive::Source;
pub use damage::{Damage, DamageKind, VerifyError};
pub use lines::{DestroyedLine, LeafLine, PayloadLine, RangeProof, consistency_lines};
pub use manifest::{FileDigest, Filter, Manifest, Shape};
pub use tree::inconsistent;
pub use verify::{Options, Report, earlier, trusted, verify};
pub use write::BundleWriter;

/// The files whose names do not depend on the content.
pub mod names {
    /// What the bundle claims to be.
    pub const MANIFEST: &str = "manifest.json";
    /// The signed tree.
    pub const CHECKPOINT: &str = "checkpoint";
    /// The log's key as a policy.
    pub const POLICY: &str = "policy";
    /// The log's key.
    pub const LOG_KEY: &str = "keys/log";
    /// The events that destroyed keys.
    pub const DESTROYED: &str = "keys/destroyed.ndjson";
    /// Leaf data.
    pub const LEAVES: &str = "leaves.ndjson";
    /// Facts and ciphertexts.
    pub const PAYLOADS: &str = "payloads.ndjson";
    /// What connects a range to the signed tree.
    pub const RANGE: &str = "range.json";
    /// Where the proofs of a selection are.
    pub const PROOFS: &str = "proofs/";
    /// What follows the index in the name of a proof.
    pub const PROOF: &str = ".tlog-proof";
    /// Where proofs of consistency are.
    pub const CONSISTENCY: &str = "consistency/";
    /// That the log of checkpoints has one of the tree.
    pub const LOGGED: &str = "logged.tlog-proof";
}
