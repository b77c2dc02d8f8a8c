//! Each damage to a bundle is found and named by its own code; untouched bundles pass.

use super::super::*;
use super::check_since;
use super::samples::*;
use crate::{Algorithm, Checkpoint, Cosignature, Hash, Policy, SignedCheckpoint, SigningKey, leaf_hash};
use DamageKind as D;

type Change = fn(&mut Parts);

fn check(parts: Parts) -> Result<Report, Damage> {
    check_since(&parts.pack(), &policy(), None)
}

fn kind(result: Result<Report, Damage>) -> Result<(), D> {
    result.map(drop).map_err(|damage| damage.kind)
}

#[test]
fn untouched_bundles_pass_and_say_what_they_prove() {
    for (parts, count) in [
        (Parts::full(), 600),
        (Parts::range(100, 300), 200),
        (Parts::range(0, 1), 1),
        (Parts::selection(), 86),
    ] {
        let (shape, erased) = (parts.manifest.shape, parts.manifest.erased_count);

        let report = check(parts).unwrap();

        assert_eq!((report.shape, report.event_count, report.erased_count), (shape, count, erased));
        assert_eq!((report.proves, report.tree_size), (shape.proves(), SIZE));
    }
    assert_eq!(check(Parts::full()).unwrap().erased_count, 15, "erased, and not tampered with");
}

/// Changes the text of a leaf.
fn edit_leaf(parts: &mut Parts, at: usize, from: &str, to: &str) {
    let changed = parts.leaves[at].leaf.replacen(from, to, 1);
    assert_ne!(changed, parts.leaves[at].leaf);
    parts.leaves[at].leaf = changed;
}

/// Gives what stands at one place the number of another.
fn swap(parts: &mut Parts, one: usize, other: usize) {
    parts.leaves.swap(one, other);
    parts.payloads.swap(one, other);
    for at in [one, other] {
        parts.leaves[at].index = at as u64;
        parts.payloads[at].index = at as u64;
    }
}

fn text(parts: &mut Parts, path: &str) -> String {
    String::from_utf8(parts.file(path).clone()).unwrap()
}

fn set(parts: &mut Parts, path: &str, text: impl Into<Vec<u8>>) {
    *parts.file(path) = text.into();
}

const FULL: [(&str, Change, D); 40] = [
    ("a byte of the facts", |p| p.payloads[300].facts.replace_range(0..1, "f"), D::PayloadMismatch),
    (
        "a byte of the ciphertext",
        |p| p.payloads[301].personal.as_mut().unwrap().replace_range(0..1, "Z"),
        D::PayloadMismatch,
    ),
    (
        "another event's ciphertext",
        |p| p.payloads[301].personal = p.payloads[308].personal.clone(),
        D::PayloadMismatch,
    ),
    ("a ciphertext gone", |p| p.payloads[301].personal = None, D::PayloadMismatch),
    ("a ciphertext too many", |p| p.payloads[302].personal = Some("eA==".to_owned()), D::PayloadMismatch),
    ("a network address too many", |p| p.payloads[302].network = Some("eA==".to_owned()), D::PayloadMismatch),
    ("a payload that is no base64", |p| p.payloads[302].facts.insert(0, '!'), D::Malformed),
    ("the time of recording", |p| edit_leaf(p, 300, "2026-03-01", "2026-02-01"), D::LeafMismatch),
    ("the actor", |p| edit_leaf(p, 300, "nurse", "nobody"), D::LeafMismatch),
    ("the version", |p| edit_leaf(p, 300, "\"seq\":1", "\"seq\":2"), D::LeafMismatch),
    (
        "another key's commitment",
        |p| edit_leaf(p, 300, "\"key_commit\":\"aa\"", "\"key_commit\":\"bb\""),
        D::LeafMismatch,
    ),
    ("another clinic", |p| edit_leaf(p, 300, "\"clinic\"", "\"hospital\""), D::LeafMismatch),
    ("two events swapped", |p| swap(p, 300, 302), D::LeafMismatch),
    ("two lines swapped", |p| p.leaves.swap(300, 301), D::Incomplete),
    (
        "an event in the middle gone",
        |p| {
            p.leaves.remove(300);
            p.payloads.remove(300);
        },
        D::Incomplete,
    ),
    (
        "the last event gone",
        |p| {
            p.leaves.pop();
            p.payloads.pop();
        },
        D::Incomplete,
    ),
    (
        "the last event gone, and the manifest changed to fit",
        |p| {
            p.leaves.pop();
            p.payloads.pop();
            (p.manifest.to, p.manifest.event_count) = (SIZE - 1, SIZE - 1);
        },
        D::ManifestMismatch,
    ),
    (
        "the last event gone, and tree and manifest changed to fit",
        |p| {
            p.leaves.pop();
            p.payloads.pop();
            (p.manifest.to, p.manifest.event_count, p.manifest.tree_size) = (SIZE - 1, SIZE - 1, SIZE - 1);
        },
        D::ManifestMismatch,
    ),
    (
        "an event put in, back-dated",
        |p| {
            p.leaves.insert(300, LeafLine { index: 300, leaf: leaf(10) });
            p.payloads.insert(300, PayloadLine { index: 300, ..payload(10) });
            for at in 301..p.leaves.len() {
                p.leaves[at].index += 1;
                p.payloads[at].index += 1;
            }
        },
        D::Malformed,
    ),
    ("a payload gone", |p| drop(p.payloads.remove(300)), D::Incomplete),
    ("a payload too many", |p| p.payloads.push(PayloadLine { index: SIZE, ..payload(1) }), D::Incomplete),
    ("a tile's hash", |p| p.file("tile/0/001")[40] ^= 1, D::TileMismatch),
    ("the tile above", |p| p.file("tile/1/000.p/2")[40] ^= 1, D::TileMismatch),
    ("a tile cut short", |p| p.file("tile/0/001").truncate(8_000), D::TileMismatch),
    ("a tile too long", |p| p.file("tile/0/001").push(0), D::Malformed),
    (
        "a tile of another width",
        |p| {
            let bytes = p.file("tile/0/002.p/88")[..87 * 32].to_vec();
            p.remove("tile/0/002.p/88");
            p.files.push(("tile/0/002.p/87".to_owned(), bytes));
        },
        D::TileMismatch,
    ),
    ("a tile gone", |p| p.remove("tile/0/000"), D::Incomplete),
    (
        "a leaf and its tiles changed to fit",
        |p| {
            edit_leaf(p, 300, "nurse", "nobody");
            let hash = leaf_hash(p.leaves[300].leaf.as_bytes());
            p.file("tile/0/001")[44 * 32..45 * 32].copy_from_slice(&hash.0);
            let hashes: Vec<Hash> =
                p.file("tile/0/001").as_chunks::<32>().0.iter().map(|hash| Hash(*hash)).collect();
            let above = crate::Tile::root_of(&hashes).unwrap();
            p.file("tile/1/000.p/2")[32..].copy_from_slice(&above.0);
        },
        D::NotIncluded,
    ),
    (
        "an erasure that nothing proves",
        |p| {
            p.payloads[301].personal = None;
            p.payloads[301].destroyed_by = Some("event-3".to_owned());
            p.manifest.erased_count += 1;
        },
        D::ErasureUnproven,
    ),
    (
        "an erasure of somebody else",
        |p| {
            // A ciphertext of a patient whose keys live, declared gone by the erasure of another.
            p.payloads[301].personal = None;
            p.payloads[301].destroyed_by = Some("event-500".to_owned());
            let facts = "{\"patient_id\":\"other\"}";
            p.payloads[301].facts = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, facts);
            let hash = |bytes: &[u8]| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes));
            let old = hash(b"{\"number\":301,\"patient_id\":\"erased\"}");
            edit_leaf(p, 301, &old, &hash(facts.as_bytes()));
            p.manifest.erased_count += 1;
        },
        D::ErasureUnproven,
    ),
    (
        "a proof of erasure that is another event",
        |p| {
            let changed = text(p, names::DESTROYED).replacen("nurse", "nobody", 1);
            set(p, names::DESTROYED, changed);
        },
        D::ErasureUnproven,
    ),
    ("the proofs of erasure gone", |p| p.remove(names::DESTROYED), D::Incomplete),
    ("the checkpoint gone", |p| p.remove(names::CHECKPOINT), D::Incomplete),
    (
        "a size with a zero in front",
        |p| {
            let changed = text(p, names::CHECKPOINT).replacen("\n600\n", "\n0600\n", 1);
            set(p, names::CHECKPOINT, changed);
        },
        D::Malformed,
    ),
    (
        "lines that end as on another system",
        |p| {
            let changed = text(p, names::CHECKPOINT).replace('\n', "\r\n");
            set(p, names::CHECKPOINT, changed);
        },
        D::Malformed,
    ),
    ("the last line feed gone", |p| assert_eq!(p.file(names::CHECKPOINT).pop(), Some(b'\n')), D::Malformed),
    (
        "the root of another size",
        |p| {
            let changed = text(p, names::CHECKPOINT).replacen(
                &signed(SIZE).claim().root.to_base64(),
                &signed(7).claim().root.to_base64(),
                1,
            );
            set(p, names::CHECKPOINT, changed);
        },
        D::BadSignature,
    ),
    (
        "signed by a key that nobody knows",
        |p| set(p, names::CHECKPOINT, signed_by(&SigningKey::from_seed(&[1; 32]), SIZE).to_string()),
        D::UnknownKey,
    ),
    (
        "the manifest promises more than it can",
        |p| p.manifest.proves = "everything".to_owned(),
        D::ManifestMismatch,
    ),
    ("another count of what was erased", |p| p.manifest.erased_count = 3, D::ManifestMismatch),
];

#[test]
fn each_damage_to_a_full_bundle_has_its_code() {
    for (what, change, expected) in FULL {
        let mut parts = Parts::full();
        change(&mut parts);

        let result = check(parts);

        assert_eq!(kind(result.clone()), Err(expected), "{what}: {result:?}");
    }
}

const RANGE: [(&str, Change, D); 6] = [
    ("an event", |p| edit_leaf(p, 50, "nurse", "nobody"), D::NotIncluded),
    ("two events swapped", |p| p.leaves.swap(0, 1), D::Incomplete),
    (
        "an end that is no end of it",
        |p| {
            p.leaves.pop();
            p.payloads.pop();
            (p.manifest.to, p.manifest.event_count) = (299, 199);
        },
        D::NotIncluded,
    ),
    (
        "a hash too many",
        |p| {
            let more = text(p, names::RANGE).replacen(
                "\"after\":[",
                "\"after\":[\"ApjRIpBtz8EIkstTpzmS/FufST6kybrbJ7eRtBJ6f+c=\",",
                1,
            );
            set(p, names::RANGE, more);
        },
        D::NotIncluded,
    ),
    ("a proof of nothing", |p| set(p, names::RANGE, "{}"), D::Malformed),
    ("the proof gone", |p| p.remove(names::RANGE), D::Incomplete),
];

#[test]
fn each_damage_to_a_range_has_its_code() {
    for (what, change, expected) in RANGE {
        let mut parts = Parts::range(100, 300);
        change(&mut parts);

        let result = check(parts);

        assert_eq!(kind(result.clone()), Err(expected), "{what}: {result:?}");
    }
}

const SELECTION: [(&str, Change, D); 8] = [
    (
        "said to be about another patient",
        |p| p.manifest.filter = Some(Filter { patient_id: "other".to_owned() }),
        D::ManifestMismatch,
    ),
    ("an event", |p| edit_leaf(p, 5, "nurse", "nobody"), D::NotIncluded),
    ("a byte of the facts", |p| p.payloads[5].facts.replace_range(0..1, "f"), D::PayloadMismatch),
    ("a proof gone", |p| p.remove("proofs/35.tlog-proof"), D::Incomplete),
    (
        "another event's proof",
        |p| {
            let other = p.file("proofs/42.tlog-proof").clone();
            set(p, "proofs/35.tlog-proof", other);
        },
        D::NotIncluded,
    ),
    (
        "a proof for another size",
        |p| {
            let tree = tiles(SIZE - 1);
            let hashes = crate::InclusionProof::generate(&tree, 595, SIZE - 1).unwrap().unwrap().hashes;
            let proof = crate::TlogProof { extra: None, index: 595, hashes, checkpoint: signed(SIZE) };
            set(p, "proofs/595.tlog-proof", proof.to_string());
        },
        D::NotIncluded,
    ),
    ("a proof that is none", |p| set(p, "proofs/35.tlog-proof", "index 35\n"), D::Malformed),
    (
        "an event gone, but not its proof",
        |p| {
            p.leaves.pop();
            p.payloads.pop();
            p.manifest.event_count -= 1;
        },
        D::ManifestMismatch,
    ),
];

#[test]
fn each_damage_to_a_selection_has_its_code() {
    for (what, change, expected) in SELECTION {
        let mut parts = Parts::selection();
        change(&mut parts);

        let result = check(parts);

        assert_eq!(kind(result.clone()), Err(expected), "{what}: {result:?}");
    }
}

#[test]
fn what_was_kept_earlier_has_to_be_continued() {
    let forked = |size| {
        Checkpoint { origin: "log.example/clinic".to_owned(), size, root: Hash([5; 32]) }
            .sign(&log_key())
            .unwrap()
    };
    let other = Checkpoint { origin: "log.example/other".to_owned(), size: 3, root: Hash([5; 32]) };
    let unknown = signed_by(&SigningKey::from_seed(&[1; 32]), 200);
    let result = |parts: Parts, since: &SignedCheckpoint| {
        check_since(&parts.pack(), &policy(), Some(since)).map(|report| report.continues).map_err(|d| d.kind)
    };
    let signed_other = other.sign(&log_key()).unwrap();

    for size in [0, 1, 255, 256, 300, 599, 600] {
        assert_eq!(result(Parts::full(), &signed(size)), Ok(Some(size)), "{size}");
    }
    for size in [100, 150, 300] {
        assert_eq!(result(Parts::range(100, 300), &signed(size)), Ok(Some(size)), "{size}");
    }
    assert_eq!(result(Parts::full(), &forked(300)), Err(D::Inconsistent));
    assert_eq!(result(Parts::full(), &forked(SIZE)), Err(D::Inconsistent), "a fork of the same size");
    assert_eq!(result(Parts::range(100, 300), &forked(300)), Err(D::Inconsistent));
    assert_eq!(result(Parts::full(), &forked(SIZE + 1)), Err(D::Stale));
    assert_eq!(result(Parts::full(), &unknown), Err(D::UnknownKey));
    assert_eq!(
        result(Parts::full(), &signed_other),
        Err(D::UnknownKey),
        "a log that the policy does not name"
    );
    for size in [40, 400] {
        let with = || Parts::range(100, 300).with_consistency(size);
        assert_eq!(result(Parts::range(100, 300), &signed(size)), Err(D::Incomplete), "{size}");
        assert_eq!(result(with(), &signed(size)), Ok(Some(size)));
        assert_eq!(result(with(), &forked(size)), Err(D::Inconsistent));
        assert_eq!(result(Parts::selection().with_consistency(size), &signed(size)), Ok(Some(size)));
    }
    let mut longer = Parts::selection().with_consistency(40);
    let line = longer.file("consistency/40")[..45].to_vec();
    longer.file("consistency/40").extend(line);
    assert_eq!(result(longer, &signed(40)), Err(D::Inconsistent), "a hash too many");
}

#[test]
fn the_auditor_decides_whose_signatures_count() {
    let (witness, name) = (witness_key(), "witness.example/one");
    let cosigned = |text: &str| {
        let mut note = signed(SIZE);
        note.add(&Cosignature::make(&witness, name, 1_767_225_600, text).unwrap());
        let mut parts = Parts::full();
        set(&mut parts, names::CHECKPOINT, note.to_string());
        parts.pack()
    };
    let vkey = witness.verifier(name, Algorithm::Cosignature).unwrap();
    let log = policy_text();
    let log = log.lines().next().unwrap();
    let strict: Policy = format!("{log}\nwitness one {vkey}\nquorum one\n").parse().unwrap();
    let other = SigningKey::from_seed(&[2; 32]);
    let same_name = other.verifier(ORIGIN, Algorithm::Ed25519).unwrap();
    let elsewhere: Policy = format!("log {same_name}\nquorum none\n").parse().unwrap();

    let seen = check_since(&cosigned(&signed(SIZE).checkpoint_text()), &strict, None).unwrap();
    assert_eq!(seen.witnesses, ["one"]);
    assert_eq!(kind(check_since(&Parts::full().pack(), &strict, None)), Err(D::QuorumUnmet));
    let another_text = signed(7).checkpoint_text();
    assert_eq!(kind(check_since(&cosigned(&another_text), &strict, None)), Err(D::BadSignature));
    assert_eq!(
        kind(check_since(&Parts::full().pack(), &elsewhere, None)),
        Err(D::UnknownKey),
        "same name, other id"
    );
}

#[test]
fn what_was_not_sealed_yet_is_told() {
    let mut parts = Parts::full();
    parts.manifest.unsealed_count = 12;

    let report = check(parts).unwrap();

    let told = report.unsealed().unwrap();
    assert_eq!(told.kind, D::UnsealedTail);
    assert!(told.detail.contains("12 newer events"));
    assert_eq!(check(Parts::full()).unwrap().unsealed(), None);
}

#[test]
fn each_kind_has_a_code_and_a_name_of_its_own() {
    let codes: std::collections::BTreeSet<u8> = D::ALL.iter().map(|kind| kind.exit_code()).collect();
    let names: std::collections::BTreeSet<&str> = D::ALL.iter().map(|kind| kind.as_str()).collect();

    assert_eq!((codes.len(), names.len()), (17, 17));
    // 1 and 2 say that nothing could be checked.
    assert!(codes.iter().all(|code| *code >= 10));
}
