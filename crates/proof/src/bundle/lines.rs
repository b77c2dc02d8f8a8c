//! The lines of the lists in a bundle, and how they are read without trusting their lengths.

use std::io::{BufRead, Read};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::damage::{VerifyError, malformed};
use crate::hash::Hash;

/// Longest line that is looked at. An event has at most a few megabytes.
const MAX_LINE_BYTES: u64 = 32 << 20;

/// A line of `leaves.ndjson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafLine {
    /// Place in the tree, from 0.
    pub index: u64,
    /// What is hashed, byte for byte.
    pub leaf: String,
}

/// A line of `payloads.ndjson`. Bytes are in padded standard base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadLine {
    /// Place in the tree, from 0.
    pub index: u64,
    /// The facts, as stored.
    pub facts: String,
    /// The sealed personal part, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<String>,
    /// The event that destroyed the key of the personal part, which is then left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed_by: Option<String>,
    /// The sealed network address, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// A line of `keys/destroyed.ndjson`: an event that destroyed a patient's keys, and that it is in the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DestroyedLine {
    /// Place in the tree, from 0.
    pub index: u64,
    /// Its leaf data.
    pub leaf: String,
    /// The inclusion proof, in base64.
    pub hashes: Vec<String>,
}

/// `range.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeProof {
    /// The complete subtrees before the range, the largest first, in base64.
    pub before: Vec<String>,
    /// That the signed tree begins with the one that ends with the range (RFC 9162 §2.1.4), in base64.
    pub after: Vec<String>,
}

/// The file of a proof of consistency: each hash in base64 on a line of its own.
pub fn consistency_lines(hashes: &[Hash]) -> String {
    hashes.iter().map(|hash| hash.to_base64() + "\n").collect()
}

/// Hashes from base64; nothing where one is none.
pub(super) fn hashes<T: AsRef<str>>(texts: &[T]) -> Option<Vec<Hash>> {
    texts.iter().map(|text| Hash::from_base64(text.as_ref())).collect()
}

/// Reads lists line by line.
pub(super) struct Lines<R> {
    reader: R,
    name: &'static str,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    pub(super) const fn new(reader: R, name: &'static str) -> Self {
        Self { reader, name, number: 0, line: Vec::new() }
    }

    /// The next line; nothing at the end.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, VerifyError> {
        self.line.clear();
        self.number += 1;
        let count = self.reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut self.line)?;
        if count == 0 {
            return Ok(None);
        }
        let refused = || malformed(format!("line {} of {} does not parse", self.number, self.name));
        let line = self.line.strip_suffix(b"\n").ok_or_else(refused)?;
        serde_json::from_slice(line).map(Some).map_err(|_| refused())
    }
}
