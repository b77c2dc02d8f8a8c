//! The vectors of the transparency.dev implementation. Hashes of another length, which its functions are handed, do
//! not even parse here.

use serde::Deserialize;

use super::super::*;

/// Name, two numbers, two hashes, proof, and whether it holds.
type Vector = (String, u64, u64, String, String, Vec<String>, bool);

#[derive(Deserialize)]
struct Vectors {
    inclusion: Vec<Vector>,
    consistency: Vec<Vector>,
}

/// Equal roots that are no hashes: a caller's fault where roots are bytes of any length.
const NO_HASHES: &str = "consistency/additional/sizes-are-equal-one-and-proof-is-empty";

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn hashes(texts: &[String]) -> Option<Vec<Hash>> {
    texts.iter().map(|text| Hash::from_base64(text)).collect()
}

fn inclusion_holds((_, index, size, root, leaf, proof, _): &Vector) -> Option<bool> {
    let (root, leaf) = (Hash::from_base64(root)?, Hash::from_base64(leaf)?);
    let proof = InclusionProof { index: *index, size: *size, hashes: hashes(proof)? };
    Some(verify_inclusion(&proof, leaf, root).is_ok())
}

fn consistency_holds((_, old, new, old_root, new_root, proof, _): &Vector) -> Option<bool> {
    let (old_root, new_root) = (Hash::from_base64(old_root)?, Hash::from_base64(new_root)?);
    let proof = ConsistencyProof { old_size: *old, new_size: *new, hashes: hashes(proof)? };
    Some(verify_consistency(&proof, old_root, new_root).is_ok())
}

#[test]
fn every_inclusion_vector_is_judged_as_it_should_be() {
    let vectors = vectors().inclusion;

    let wrong: Vec<_> = vectors
        .iter()
        .filter(|one| inclusion_holds(one).unwrap_or(false) != one.6)
        .map(|one| &one.0)
        .collect();

    assert_eq!((vectors.len(), wrong), (98, Vec::new()));
}

#[test]
fn every_consistency_vector_is_judged_as_it_should_be() {
    let vectors = vectors().consistency;

    let wrong: Vec<_> = vectors
        .iter()
        .filter(|one| consistency_holds(one).unwrap_or(false) != (one.6 && one.0 != NO_HASHES))
        .map(|one| &one.0)
        .collect();

    assert_eq!((vectors.len(), wrong), (98, Vec::new()));
}
