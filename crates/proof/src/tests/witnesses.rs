//! What a witness is asked, and what it answers, by the words of C2SP tlog-witness.

use super::super::*;
use super::leaves;

const ORIGIN: &str = "log.example/clinic";

fn log() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn keys() -> Vec<VerifierKey> {
    vec![log().verifier(ORIGIN, Algorithm::Ed25519).unwrap()]
}

/// The tree of so many leaves of one history or another.
fn tree(history: u64, size: u64) -> Checkpoint {
    let leaves = leaves(100 * (history + 1));
    let tiles = TileSet::of_leaves(&leaves[super::at(100 * history)..]);
    Checkpoint { origin: ORIGIN.to_owned(), size, root: root(&tiles, size).unwrap() }
}

fn request(old_size: u64, size: u64) -> AddCheckpoint {
    let tiles = TileSet::of_leaves(&leaves(100));
    let proof = ConsistencyProof::generate(&tiles, old_size, size).unwrap().map_or(vec![], |one| one.hashes);
    AddCheckpoint { old_size, proof, checkpoint: tree(0, size).sign(&log()).unwrap() }
}

#[test]
fn a_body_is_written_and_read_to_the_byte() {
    for (old, new) in [(0, 1), (0, 7), (3, 7), (7, 7), (64, 99)] {
        let request = request(old, new);
        assert_eq!(AddCheckpoint::parse(&request.to_string()), Ok(request));
    }
}

#[test]
fn what_continues_the_last_one_is_cosigned() {
    for (old, new) in [(0, 1), (0, 100), (1, 2), (3, 7), (7, 7), (64, 99)] {
        let last = (old > 0).then(|| tree(0, old));
        assert_eq!(request(old, new).judge(&keys(), last.as_ref()), Ok(&tree(0, new)), "{old} to {new}");
    }
}

#[test]
fn each_refusal_has_its_status() {
    let last = tree(0, 5);
    let judge = |request: &AddCheckpoint| {
        request.judge(&keys(), Some(&last)).map(drop).map_err(|refusal| refusal.status())
    };
    let with = |change: &dyn Fn(&mut AddCheckpoint)| {
        let mut request = request(5, 9);
        change(&mut request);
        request
    };
    let other = SigningKey::from_seed(&[8; 32]);

    assert_eq!(judge(&request(5, 9)), Ok(()));
    assert_eq!(judge(&request(7, 9)), Err(409), "the log knows of another size");
    assert_eq!(judge(&request(0, 9)), Err(409));
    assert_eq!(judge(&with(&|one| one.old_size = 10)), Err(400));
    assert_eq!(judge(&with(&|one| one.checkpoint = tree(0, 9).sign(&other).unwrap())), Err(403));
    let stranger = Checkpoint { origin: "log.example/other".to_owned(), ..tree(0, 9) };
    assert_eq!(judge(&with(&|one| one.checkpoint = stranger.sign(&log()).unwrap())), Err(404));
    assert_eq!(judge(&with(&|one| one.proof.truncate(1))), Err(422));
    assert_eq!(judge(&with(&|one| one.proof.push(EMPTY_ROOT))), Err(422));
    assert_eq!(judge(&with(&|one| one.checkpoint = tree(1, 9).sign(&log()).unwrap())), Err(422), "a fork");
    let fork = AddCheckpoint { proof: vec![], checkpoint: tree(1, 5).sign(&log()).unwrap(), ..request(5, 5) };
    assert_eq!(judge(&fork), Err(422), "another root at the same size");
    let first = AddCheckpoint { proof: vec![EMPTY_ROOT], ..request(0, 9) };
    assert_eq!(first.judge(&keys(), None), Err(WitnessRefusal::Unproven), "a proof where none is needed");
    let empty = Checkpoint { size: 0, ..tree(0, 5) };
    let empty = AddCheckpoint { checkpoint: empty.sign(&log()).unwrap(), ..request(0, 0) };
    assert_eq!(empty.judge(&keys(), None), Err(WitnessRefusal::Unproven), "an empty tree with a root");
}

#[test]
fn a_signature_that_bears_a_known_key_and_is_false_is_forbidden() {
    let text = request(0, 9).to_string();
    let (body, line) = text.trim_end().rsplit_once(' ').unwrap();
    let changed: String =
        line.char_indices().map(|(at, c)| if at == 40 && c != 'A' { 'A' } else { c }).collect();

    let changed = AddCheckpoint::parse(&format!("{body} {changed}\n")).unwrap();

    assert_eq!(changed.judge(&keys(), None).map_err(|refusal| refusal.status()), Err(403));
}

#[test]
fn what_is_no_such_body_is_refused() {
    let good = request(3, 7).to_string();
    for bad in [
        String::new(),
        good.replace("old 3", "old 03"),
        good.replace("old 3", "old -3"),
        good.replace("old 3", "old  3"),
        good.replace("old 3", "old 3 "),
        good.replace("old 3\n", ""),
        good.replacen("\n\n", "\n", 1),
        good.replacen('\n', "\r\n", 1),
        good.replacen("=\n", "\n", 1),
        good.trim_end().to_owned(),
        format!(
            "old 3\n{}\n{}",
            format!("{}\n", EMPTY_ROOT.to_base64()).repeat(64),
            request(0, 7).checkpoint
        ),
    ] {
        assert_eq!(AddCheckpoint::parse(&bad), Err(WitnessRefusal::Malformed), "{bad}");
    }
}
