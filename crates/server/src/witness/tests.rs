//! The witness's memory, with files of its own.

use std::fs;
use std::path::Path;

use carelog_audit::proof::{
    AddCheckpoint, Algorithm, Checkpoint, ConsistencyProof, SigningKey, TileSet, VerifierKey, WitnessRefusal,
    leaf_hash, root,
};
use carelog_audit::signer::HolderError;
use sha2::Digest as _;
use tempfile::TempDir;

use super::*;

const ORIGIN: &str = "log.example/clinic";
const NAME: &str = "witness.example/w1";

fn log() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn logs() -> Vec<VerifierKey> {
    vec![log().verifier(ORIGIN, Algorithm::Ed25519).unwrap()]
}

fn places(folder: &TempDir) -> Places {
    Places { directory: folder.path().join("witness"), sizes: folder.path().join("elsewhere") }
}

fn open(folder: &TempDir) -> Result<Memory, WitnessError> {
    fs::create_dir_all(places(folder).directory).unwrap();
    Memory::open(places(folder), NAME, logs())
}

/// A checkpoint of one history or another, and its proof.
fn request(history: u8, old_size: u64, size: u64) -> AddCheckpoint {
    let leaves: Vec<_> = (0..50_u8).map(|number| leaf_hash(&[history, number])).collect();
    let tiles = TileSet::of_leaves(&leaves);
    let proof = ConsistencyProof::generate(&tiles, old_size, size).unwrap().unwrap().hashes;
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: root(&tiles, size).unwrap() };
    AddCheckpoint { old_size, proof, checkpoint: checkpoint.sign(&log()).unwrap() }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn what_was_cosigned_is_known_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let mut memory = open(&folder).unwrap();
    let cosignature = memory.add(&request(0, 0, 5), 1_000).unwrap();
    let key = memory.verifier().unwrap();
    drop(memory);

    let mut memory = open(&folder).unwrap();

    assert_eq!((cosignature.unix_seconds, &cosignature.witness), (1_000, &key));
    assert_eq!(memory.verifier().unwrap(), key);
    let refused = memory.add(&request(0, 0, 9), 2_000);
    assert!(matches!(refused, Err(WitnessError::Refused(WitnessRefusal::Conflict { size: 5 }))));
    let fork = memory.add(&request(1, 5, 9), 2_000);
    assert!(matches!(fork, Err(WitnessError::Refused(WitnessRefusal::Unproven))));
    memory.add(&request(0, 5, 9), 2_000).unwrap();
}

#[test]
fn given_a_backup_of_the_checkpoints_when_restored_then_there_is_no_witness() {
    let folder = TempDir::new().unwrap();
    let logs = places(&folder).directory.join("logs");
    let mut memory = open(&folder).unwrap();
    memory.add(&request(0, 0, 5), 1_000).unwrap();
    copy(&logs, &folder.path().join("backup"));
    memory.add(&request(0, 5, 9), 2_000).unwrap();
    drop(memory);

    copy(&folder.path().join("backup"), &logs);
    let restored = open(&folder);
    fs::remove_dir_all(&logs).unwrap();
    let gone = open(&folder);
    fs::create_dir(&logs).unwrap();
    let emptied = open(&folder);

    let set_back = |found, result: Result<Memory, WitnessError>| {
        let Err(WitnessError::SetBack { found: there, cosigned, .. }) = result else { panic!("{result:?}") };
        assert_eq!((there, cosigned), (found, 9));
    };
    set_back(5, restored);
    assert!(matches!(gone, Err(WitnessError::Forgotten(_))));
    set_back(0, emptied);
}

#[test]
fn a_second_process_does_not_get_the_key() {
    let folder = TempDir::new().unwrap();
    let _first = open(&folder).unwrap();

    assert!(matches!(open(&folder), Err(WitnessError::Files(HolderError::InUse))));
}

#[test]
fn what_cannot_be_kept_is_not_cosigned() {
    let folder = TempDir::new().unwrap();
    let mut memory = open(&folder).unwrap();
    let sizes = places(&folder).sizes.join("sizes");
    fs::remove_dir(&sizes).unwrap();

    assert!(matches!(memory.add(&request(0, 0, 5), 1_000), Err(WitnessError::Files(_))));

    fs::create_dir(&sizes).unwrap();
    memory.add(&request(1, 0, 7), 1_000).unwrap();
}

#[test]
fn only_what_was_verified_is_handed_to_monitors() {
    let folder = TempDir::new().unwrap();
    let mut memory = open(&folder).unwrap();
    let mut request = request(0, 0, 5);
    let text = request.checkpoint.checkpoint_text();
    let other = SigningKey::from_seed(&[9; 32]);
    request
        .checkpoint
        .add(&carelog_audit::proof::Cosignature::make(&other, "witness.example/other", 1, &text).unwrap());

    memory.add(&request, 1_000).unwrap();

    let shown = memory.newest(&hex::encode(sha2::Sha256::digest(ORIGIN))).unwrap();
    let names: Vec<&str> = shown.note().signatures().iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, [ORIGIN, NAME]);
    shown.verify(&logs()).unwrap();
    assert_eq!(shown.cosignatures(&[memory.verifier().unwrap()]).unwrap().len(), 1);
}
