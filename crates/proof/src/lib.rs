//! Proofs over one organization's events: an RFC 6962 tree, its tiles, signed checkpoints, and what a stranger
//! needs to check them.
//!
//! Nothing here reads a database, a clock or the network, so that the sealer, the API, a witness and a verifier that
//! has only files share one implementation, and a stranger can read it whole.
//!
//! | file | what | source |
//! |---|---|---|
//! | `hash.rs` | leaves and nodes | RFC 6962 §2.1 |
//! | `tree.rs` | the edge of a growing tree, and which subtrees make up a root or a proof | RFC 6962 §2.1.1, §2.1.2 |
//! | `inclusion.rs`, `consistency.rs` | both kinds of proof, made and checked | RFC 9162 §2.1.3, §2.1.4 |
//! | `tiles.rs` | paths and contents of tiles | C2SP tlog-tiles |
//! | `note.rs`, `keys.rs` | signed notes and their keys | C2SP signed-note |
//! | `checkpoint.rs`, `cosignature.rs` | size and root of a tree, signed by its log and by witnesses | C2SP tlog-checkpoint, tlog-cosignature |
//! | `tlog_proof.rs` | a proof as one file | C2SP tlog-proof |
//! | `witness.rs` | what a log asks of a witness, and how that decides | C2SP tlog-witness |
//! | `policy.rs` | whose signatures a verifier wants to see | C2SP tlog-policy |
//! | `bundle` | a log, or a part of it, as one file that can be checked offline | |
//!
//! The crates that exist either hold the tree in memory, verify only, or name tiles as Go's checksum database does;
//! none knows cosignatures. `tlog_tiles` is the tests' oracle instead.
//!
//! A verifier must bring the log's key and, where it has one, an older checkpoint of its own: a log that signs
//! whatever it is asked to can only be caught by what others have kept.

pub mod bundle;
mod checkpoint;
mod consistency;
mod cosignature;
mod hash;
mod inclusion;
mod keys;
mod note;
mod policy;
#[cfg(test)]
mod tests;
mod tiles;
mod tlog_proof;
mod tree;
mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
pub use consistency::{ConsistencyProof, consistency_nodes, verify_consistency};
pub use cosignature::Cosignature;
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
pub use inclusion::{InclusionProof, inclusion_nodes, verify_inclusion};
pub use keys::{Algorithm, KeyError, SigningKey, VerifierKey};
pub use note::{Note, NoteError, SignatureLine};
pub use policy::{Policy, PolicyError, QuorumError};
pub use tiles::{PathError, TILE_WIDTH, Tile, TilePath, TileSet, entry_bundle, split_bundle};
pub use tlog_proof::{TlogProof, TlogProofError};
pub use tree::{Edge, EdgeError, MissingNode, Node, ProofError, Subtrees, root, root_nodes};
pub use witness::{AddCheckpoint, WitnessRefusal};
