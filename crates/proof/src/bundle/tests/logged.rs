//! The proof from the log of checkpoints: asked for by the policy, and each damage to it named.

use super::super::*;
use super::check_since;
use super::samples::*;
use crate::{Algorithm, Checkpoint, Hash, Policy, SigningKey, TlogProof};
use DamageKind as D;

/// A policy that names the log of checkpoints.
fn strict() -> Policy {
    let key = log_key().verifier(META, Algorithm::Ed25519).unwrap();
    format!("log {key}\n{}", policy_text()).parse().unwrap()
}

fn check(parts: Parts, policy: &Policy) -> Result<Report, Damage> {
    check_since(&parts.pack(), policy, None)
}

fn all() -> [Parts; 3] {
    [Parts::full(), Parts::range(100, 300), Parts::selection()]
}

#[test]
fn a_bundle_proves_that_it_continues_the_newest_checkpoint_in_the_log_of_checkpoints() {
    for size in [1, 40, 256, 300, 450, SIZE] {
        for parts in all() {
            let shape = parts.manifest.shape;
            let report = check(parts.with_logged(size), &strict()).unwrap();

            assert_eq!((report.logged_size, report.is_unlogged), (Some(size), false), "{shape:?} {size}");
            assert_eq!(report.unlogged(), None);
        }
    }
}

#[test]
fn the_policy_decides_whether_the_proof_is_asked_for() {
    for parts in all() {
        let report = check(parts, &strict()).unwrap();
        assert_eq!((report.logged_size, report.unlogged().unwrap().kind), (None, D::Unlogged));
    }
    for parts in all() {
        let report = check(parts.with_logged(40), &policy()).unwrap();
        assert_eq!((report.logged_size, report.unlogged()), (None, None), "nobody is there to vouch for it");
    }
}

type Change = fn(&mut TlogProof);

const DAMAGES: [(&str, Change, D); 8] = [
    ("another place", |proof| proof.index = 0, D::Unlogged),
    ("a hash", |proof| proof.hashes[0].0[0] ^= 1, D::Unlogged),
    ("a hash too few", |proof| proof.hashes.truncate(1), D::Unlogged),
    ("no checkpoint", |proof| proof.extra = None, D::Unlogged),
    ("a checkpoint that is not there", |proof| proof.extra = logged(41).extra, D::Unlogged),
    (
        "another log's checkpoint",
        |proof| {
            let other = Checkpoint { origin: "log.example/other".to_owned(), ..signed(40).claim().clone() };
            *proof = logged_text(&other.to_string());
        },
        D::Unlogged,
    ),
    ("a tree of another log", |proof| proof.checkpoint = signed(40), D::Unlogged),
    (
        "signed by a key that nobody knows",
        |proof| {
            let claim = proof.checkpoint.claim().clone();
            proof.checkpoint = claim.sign(&SigningKey::from_seed(&[1; 32])).unwrap();
        },
        D::UnknownKey,
    ),
];

#[test]
fn each_damage_to_the_proof_has_its_code() {
    for (what, change, expected) in DAMAGES {
        for mut parts in all() {
            let mut proof = logged(40);
            change(&mut proof);
            parts.files.push((names::LOGGED.to_owned(), proof.to_string().into_bytes()));

            let damage = check(parts.with_consistency(40), &strict()).unwrap_err();

            assert_eq!(damage.kind, expected, "{what}: {damage}");
        }
    }
    let mut parts = Parts::full().with_logged(40);
    *parts.file(names::LOGGED) = b"index 1\n".to_vec();
    assert_eq!(check(parts, &strict()).unwrap_err().kind, D::Malformed);
}

#[test]
fn another_history_in_the_log_of_checkpoints_is_found() {
    for size in [40, 300, SIZE] {
        for mut parts in all() {
            let other = Checkpoint { origin: ORIGIN.to_owned(), size, root: Hash([5; 32]) };
            parts
                .files
                .push((names::LOGGED.to_owned(), logged_text(&other.to_string()).to_string().into_bytes()));

            let damage = check(parts.with_consistency(size), &strict()).unwrap_err();

            assert_eq!(damage.kind, D::Inconsistent, "{size}: {damage}");
        }
    }
    let newer = Checkpoint { origin: ORIGIN.to_owned(), size: SIZE + 1, root: Hash([5; 32]) };
    let mut parts = Parts::full();
    parts.files.push((names::LOGGED.to_owned(), logged_text(&newer.to_string()).to_string().into_bytes()));
    assert_eq!(check(parts, &strict()).unwrap_err().kind, D::Unlogged, "it cannot be compared");
    let mut unproved = Parts::selection().with_logged(40);
    unproved.remove("consistency/40");
    assert_eq!(check(unproved, &strict()).unwrap_err().kind, D::Incomplete);
}
