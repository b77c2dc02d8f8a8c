//! The key's holder, with files of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use carelog_domain::OrganizationId;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::proof::{TileSet, leaf_hash, root};

const PREFIX: &str = "carelog-test";

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn files(&self) -> KeyFiles {
        KeyFiles {
            key: self.folder.path().join("signer.key"),
            state: self.folder.path().join("signer.state"),
        }
    }

    fn open(&self, known: KnownKey) -> Result<KeyHolder, HolderError> {
        KeyHolder::open(&self.files(), known)
    }
}

/// A wish for a tree whose leaves begin with those of the history.
fn wish(holder: &KeyHolder, history: u8, size: u64) -> Wish {
    let organization_id = OrganizationId::new(Uuid::from_u128(7));
    let origin = origin(PREFIX, organization_id);
    let leaves: Vec<Hash> = (0..100_u8).map(|number| leaf_hash(&[history, number])).collect();
    let tiles = TileSet::of_leaves(&leaves);
    let signed = holder.last(&origin).map_or(0, |(size, _)| size);
    let growth = ConsistencyProof::generate(&tiles, signed.min(size), size).unwrap().unwrap();
    Wish { organization_id, origin, size, root: root(&tiles, size).unwrap(), growth, covered: signed }
}

fn sign(holder: &mut KeyHolder, wish: Wish) -> Result<Signed, Refusal> {
    holder.sign(&[wish]).unwrap().remove(0)
}

#[test]
fn what_grows_is_signed_and_the_signature_holds() {
    let place = Place::new();
    let mut holder = place.open(KnownKey::None).unwrap();
    for size in [1, 2, 7, 7, 64, 100] {
        let wish = wish(&holder, 0, size);

        let signed = sign(&mut holder, wish.clone()).unwrap();

        let checkpoint = signed.checkpoint.verify(&[holder.verifier(&wish.origin).unwrap()]).unwrap().clone();
        assert_eq!((checkpoint.size, checkpoint.root), (size, wish.root));
    }
}

#[test]
fn given_a_tree_that_shrank_or_changed_when_asked_then_the_holder_refuses() {
    let place = Place::new();
    let mut holder = place.open(KnownKey::None).unwrap();
    let first = wish(&holder, 0, 9);
    let origin = first.origin.clone();
    sign(&mut holder, first).unwrap();

    let shrunk = wish(&holder, 0, 8);
    let another_past = wish(&holder, 1, 12);
    let another_present = wish(&holder, 1, 9);
    let mut unproved = wish(&holder, 0, 12);
    unproved.growth.hashes.clear();
    let mut about_others = wish(&holder, 0, 12);
    about_others.growth = ConsistencyProof { old_size: 0, new_size: 12, hashes: Vec::new() };

    let changed = Refusal::Changed { origin: origin.clone(), signed: 9 };
    assert_eq!(
        sign(&mut holder, shrunk),
        Err(Refusal::Shrunk { origin: origin.clone(), signed: 9, found: 8 })
    );
    for refused in [another_past, another_present, unproved, about_others] {
        assert_eq!(sign(&mut holder, refused), Err(changed.clone()));
    }
    assert_eq!(holder.last(&origin).map(|(size, _)| size), Some(9));
}

#[test]
fn the_memory_outlives_the_process_and_a_torn_line() {
    let place = Place::new();
    let mut holder = place.open(KnownKey::None).unwrap();
    let wished = wish(&holder, 0, 9);
    sign(&mut holder, wished.clone()).unwrap();
    let known = KnownKey::Public(holder.public());
    drop(holder);
    let mut state = fs::read_to_string(place.files().state).unwrap();
    state.extend([wished.origin.as_str(), " 99 abc"]);
    fs::write(place.files().state, state).unwrap();

    let mut holder = place.open(known).unwrap();

    assert_eq!(holder.last(&wished.origin), Some((9, wished.root)));
    let next = wish(&holder, 0, 10);
    sign(&mut holder, next).unwrap();
    drop(holder);
    assert_eq!(place.open(known).unwrap().last(&wished.origin).map(|(size, _)| size), Some(10));
}

#[test]
fn the_memory_stays_short() {
    let place = Place::new();
    let mut holder = place.open(KnownKey::None).unwrap();
    for history in 0..3 {
        for size in 1..=100 {
            let mut wish = wish(&holder, 0, size);
            wish.origin = format!("{PREFIX}/{history}");
            wish.growth = match holder.last(&wish.origin) {
                Some((signed, _)) => {
                    let leaves: Vec<Hash> = (0..100_u8).map(|number| leaf_hash(&[0, number])).collect();
                    ConsistencyProof::generate(&TileSet::of_leaves(&leaves), signed, size).unwrap().unwrap()
                }
                None => wish.growth,
            };
            sign(&mut holder, wish).unwrap();
        }
    }
    let known = KnownKey::Public(holder.public());
    let lines = fs::read_to_string(place.files().state).unwrap().lines().count();
    drop(holder);

    assert!(lines <= 301, "{lines}");
    assert_eq!(place.open(known).unwrap().origins().map(|(_, size)| size).collect::<Vec<_>>(), [100; 3]);
}

#[test]
fn one_process_at_a_time_holds_the_key() {
    let place = Place::new();
    let holder = place.open(KnownKey::None).unwrap();

    assert!(matches!(place.open(KnownKey::Public(holder.public())), Err(HolderError::InUse)));
}

#[test]
fn given_a_key_without_its_memory_when_opened_then_it_signs_nothing() {
    let place = Place::new();
    let mut holder = place.open(KnownKey::None).unwrap();
    let wished = wish(&holder, 0, 9);
    sign(&mut holder, wished).unwrap();
    drop(holder);
    let files = place.files();
    let state = fs::read(&files.state).unwrap();

    fs::remove_file(&files.state).unwrap();
    assert!(matches!(place.open(KnownKey::None), Err(HolderError::Missing(path)) if path == files.state));
    fs::write(&files.state, &state).unwrap();
    fs::remove_file(&files.key).unwrap();
    assert!(matches!(place.open(KnownKey::None), Err(HolderError::Missing(path)) if path == files.key));
}

#[test]
fn given_a_process_that_died_before_it_had_a_key_when_opened_then_another_makes_one() {
    let place = Place::new();
    drop(place.open(KnownKey::None).unwrap());
    fs::remove_file(place.files().key).unwrap();

    let mut holder = place.open(KnownKey::None).unwrap();

    let wished = wish(&holder, 0, 9);
    sign(&mut holder, wished).unwrap();
}

#[test]
fn given_files_that_do_not_fit_when_opened_then_each_is_named() {
    let place = Place::new();
    let files = place.files();
    let known = KnownKey::Public(place.open(KnownKey::None).unwrap().public());
    let (key, state) = (fs::read(&files.key).unwrap(), fs::read(&files.state).unwrap());

    assert!(
        matches!(place.open(KnownKey::Public([0; 32])), Err(HolderError::OtherKey(path)) if path == files.key)
    );
    fs::remove_file(&files.state).unwrap();
    assert!(matches!(place.open(known), Err(HolderError::Missing(path)) if path == files.state));
    for text in ["", "nonsense\n", &format!("{}one two\n", String::from_utf8_lossy(&state))] {
        fs::write(&files.state, text).unwrap();
        assert!(
            matches!(place.open(known), Err(HolderError::Format { path }) if path == files.state),
            "{text}"
        );
    }
    let foreign = format!("carelog-signer-state-v1:{}=\n", "A".repeat(43));
    fs::write(&files.state, foreign).unwrap();
    assert!(matches!(place.open(known), Err(HolderError::OtherKey(_))));
    fs::write(&files.state, &state).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(place.open(known), Err(HolderError::Mode { mode: 0o640, .. })));
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&files.key, "carelog-signer-v1:AAAA\n").unwrap();
    assert!(matches!(place.open(known), Err(HolderError::Format { path }) if path == files.key));
    fs::remove_file(&files.key).unwrap();
    assert!(matches!(place.open(known), Err(HolderError::Missing(path)) if path == files.key));
    fs::write(&files.key, key).unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(place.open(known).is_ok());
}
