//! What a bundle claims to be. None of it is signed: the verifier derives everything that matters and compares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The one format.
pub(super) const FORMAT: &str = "carelog-audit-bundle/1";

/// What a bundle holds of the tree, and so what it can prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Every event that the checkpoint covers.
    Full,
    /// Every event between two indexes.
    Range,
    /// Some events.
    Selection,
}

impl Shape {
    /// What a bundle of this shape proves, for people.
    pub const fn proves(self) -> &'static str {
        match self {
            Self::Full => {
                "The log has exactly these events up to the signed checkpoint: none was changed, added, moved or left out."
            }
            Self::Range => {
                "Between these two indexes the log has exactly these events: none was changed, added, moved or left out."
            }
            Self::Selection => {
                "Each of these events is in the log, unchanged. It does not prove that no matching event was left out: \
                 only a bundle without a filter does."
            }
        }
    }
}

/// By what events were selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Events about this patient.
    pub patient_id: String,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDigest {
    /// Length.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `carelog-audit-bundle/1`.
    pub format: String,
    /// The program that made it, with its version.
    pub tool: String,
    /// The log's name.
    pub origin: String,
    /// The organization whose log it is.
    pub organization_id: String,
    /// What it holds of the tree.
    pub shape: Shape,
    /// What it proves, for people.
    pub proves: String,
    /// By what events were selected.
    pub filter: Option<Filter>,
    /// Leaves of the signed tree.
    pub tree_size: u64,
    /// The first index, from 0.
    pub from: u64,
    /// The index after the last.
    pub to: u64,
    /// Events in the bundle.
    pub event_count: u64,
    /// Events whose personal values are gone with their key.
    pub erased_count: u64,
    /// Events that were in the log when the bundle was asked for and that no checkpoint covered yet.
    pub unsealed_count: u64,
    /// Every other file.
    pub files: BTreeMap<String, FileDigest>,
}

impl Manifest {
    /// The format that this crate writes and reads.
    pub fn format() -> String {
        FORMAT.to_owned()
    }
}
