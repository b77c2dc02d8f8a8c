mod golden;
mod mutations;
mod notes;
mod oracle;
mod pairs;
mod tiles;
mod vectors;
mod witnesses;

use super::{Hash, leaf_hash};

/// The leaves of the reference tree of RFC 6962's first implementations.
fn reference_leaves() -> Vec<Hash> {
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
        .iter()
        .map(|data| leaf_hash(&hex::decode(data).unwrap()))
        .collect()
}

/// Leaves that differ.
fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

/// A small number as a place in a list.
fn at(number: u64) -> usize {
    usize::try_from(number).unwrap()
}
