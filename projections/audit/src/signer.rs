//! The signer: turns what was sealed into checkpoints that others can hold the log to.
//!
//! A round has three parts, so that the key may live apart from the database's connections: [`prepare`] asks which
//! trees have grown and makes the proofs of growth, [`KeyHolder::sign`] believes nothing but those proofs and its own
//! memory, and [`publish`] keeps what was signed. A crash in between costs nothing: the same size and root are signed
//! again, to the same bytes.
//!
//! The holder remembers, in a file of its own, the newest size and root of each log. A database that was restored
//! from an old backup, or whose trees were changed, is refused and raises an alarm. After a restore that was meant,
//! the log goes on under a further name (`[proofs] origin`), where everybody can see it.

mod cosignatures;
mod holder;
mod key_file;
mod store;
#[cfg(test)]
mod tests;

use carelog_domain::OrganizationId;
use time::OffsetDateTime;

pub use self::cosignatures::{
    Cosigned, Looked, Uncosigned, cosigned_checkpoints, cosigned_size, keep_cosignature, uncosigned,
};
pub use self::holder::{HolderError, KeyFiles, KeyHolder, KnownKey};
pub use self::key_file::{LockedKey, create_key, failed, replace};
pub use self::store::{
    Delay, Fresh, Prepared, newest_checkpoint, newest_of_each, oldest_unsigned, prepare, public_key, publish,
    register_key, signed_since,
};
use crate::proof::{ConsistencyProof, Hash, KeyError, SignedCheckpoint};
use crate::trees::TreeError;

/// A tree that is to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Whose tree.
    pub organization_id: OrganizationId,
    /// The log's name.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The root, made of the tree's tiles.
    pub root: Hash,
    /// That it begins with the tree that the holder signed last.
    pub growth: ConsistencyProof,
    /// Leaves that a published checkpoint covers already.
    pub covered: u64,
}

/// A checkpoint that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whose tree.
    pub organization_id: OrganizationId,
    /// Leaves that an earlier checkpoint covers.
    pub covered: u64,
    /// The checkpoint.
    pub checkpoint: SignedCheckpoint,
}

/// Why a tree is not signed. Each is an alarm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The database is older than the holder.
    #[error("{origin} has {found} leaves, but {signed} were signed: the database was set back")]
    Shrunk {
        /// The log.
        origin: String,
        /// Leaves that were signed.
        signed: u64,
        /// Leaves that there are.
        found: u64,
    },
    /// The signed leaves are not those of the tree.
    #[error("{origin} does not begin with the {signed} leaves that were signed: its past was changed")]
    Changed {
        /// The log.
        origin: String,
        /// Leaves that were signed.
        signed: u64,
    },
    /// The holder's own memory is older than what it has signed.
    #[error(
        "{origin} was signed at {published} leaves, and the signer's memory knows of {remembered}: it was set back"
    )]
    Forgotten {
        /// The log.
        origin: String,
        /// Leaves that a published checkpoint covers.
        published: u64,
        /// Leaves that the holder remembers.
        remembered: u64,
    },
    /// The tiles do not make up the root.
    #[error("the tiles of {origin} do not make up its root")]
    Damaged {
        /// The log.
        origin: String,
    },
    /// The origin cannot be the name of a key.
    #[error("{origin} cannot be signed")]
    Name {
        /// The log.
        origin: String,
        /// Why.
        #[source]
        source: KeyError,
    },
}

/// Why a round cannot be made; another one may succeed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The database failed.
    #[error("the signer's tables cannot be used at present")]
    Database(#[from] sqlx::Error),
    /// A tree cannot be read.
    #[error("a tree cannot be read")]
    Tree(#[from] TreeError),
    /// A stored checkpoint does not parse.
    #[error("signer.{column} of {organization_id} holds a value that does not parse")]
    Stored {
        /// The table and column.
        column: &'static str,
        /// The organization.
        organization_id: OrganizationId,
    },
}

/// The name of an organization's log.
pub fn origin(prefix: &str, organization_id: OrganizationId) -> String {
    format!("{prefix}/{organization_id}")
}

/// A checkpoint as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The signed note.
    pub checkpoint: SignedCheckpoint,
    /// When it was signed.
    pub signed_at: OffsetDateTime,
}
