//! What is done to a checkpoint or a proof file, and by which name the verifier calls it.

use super::super::*;
use super::leaves;

const ORIGIN: &str = "audit.example/clinic-7";
const WITNESS: &str = "witness.example/w1";

fn log() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn log_key() -> VerifierKey {
    log().verifier(ORIGIN, Algorithm::Ed25519).unwrap()
}

fn witness_key() -> VerifierKey {
    SigningKey::from_seed(&[2; 32]).verifier(WITNESS, Algorithm::Cosignature).unwrap()
}

fn checkpoint(size: u64) -> Checkpoint {
    let root = root(&TileSet::of_leaves(&leaves(20)), size).unwrap();
    Checkpoint { origin: ORIGIN.to_owned(), size, root }
}

fn cosigned(size: u64) -> SignedCheckpoint {
    let mut signed = checkpoint(size).sign(&log()).unwrap();
    let text = signed.checkpoint_text();
    signed.add(&Cosignature::make(&SigningKey::from_seed(&[2; 32]), WITNESS, 1_767_225_600, &text).unwrap());
    signed
}

fn verdict(text: &str) -> Result<Checkpoint, CheckpointError> {
    let signed = SignedCheckpoint::parse(text)?;
    signed.cosignatures(&[witness_key()])?;
    signed.verify(&[log_key()]).cloned()
}

/// A checkpoint of a text that the log would never have written, but did sign.
fn signed_text(text: &str) -> String {
    let mut note = Note::unsigned(text.to_owned()).unwrap();
    note.sign(&log(), ORIGIN).unwrap();
    note.to_string()
}

#[test]
fn an_untouched_checkpoint_is_accepted() {
    assert_eq!(verdict(&cosigned(7).to_string()), Ok(checkpoint(7)));
}

#[test]
fn a_changed_checkpoint_is_refused_by_name() {
    let good = cosigned(7).to_string();
    let other_root = checkpoint(8).root.to_base64();
    let false_log = CheckpointError::Note(NoteError::FalseSignature(ORIGIN.to_owned()));
    let false_witness = CheckpointError::FalseCosignature(WITNESS.to_owned());
    for (what, text, error) in [
        ("another size", good.replacen("\n7\n", "\n8\n", 1), false_witness.clone()),
        (
            "another root",
            good.replacen(&checkpoint(7).root.to_base64(), &other_root, 1),
            false_witness.clone(),
        ),
        ("a leading zero", good.replacen("\n7\n", "\n07\n", 1), CheckpointError::Form),
        (
            "a signed leading zero",
            signed_text(&format!("{ORIGIN}\n07\n{other_root}\n")),
            CheckpointError::Form,
        ),
        ("a short root", signed_text(&format!("{ORIGIN}\n7\nAAAA\n")), CheckpointError::Form),
        ("no root", signed_text(&format!("{ORIGIN}\n7\n")), CheckpointError::Form),
        ("carriage returns", good.replace('\n', "\r\n"), CheckpointError::Note(NoteError::Form)),
        ("no last line feed", good.trim_end().to_owned(), CheckpointError::Note(NoteError::Form)),
        (
            "an unknown key only",
            checkpoint(7).sign(&SigningKey::from_seed(&[3; 32])).unwrap().to_string(),
            CheckpointError::Note(NoteError::UnknownKeys),
        ),
    ] {
        assert_eq!(verdict(&text), Err(error), "{what}");
    }
    let unwitnessed = checkpoint(7).sign(&log()).unwrap().to_string().replacen("\n7\n", "\n8\n", 1);
    assert_eq!(verdict(&unwitnessed), Err(false_log));
}

#[test]
fn a_cosignature_for_another_time_is_refused() {
    let signed = cosigned(7);
    let line = signed.note().signatures()[1].clone();
    let mut signature = line.signature.clone();
    signature[7] ^= 1;
    let late = SignatureLine { signature, ..line.clone() };

    let changed = signed.to_string().replace(&line.to_string(), &late.to_string());

    assert_eq!(verdict(&changed), Err(CheckpointError::FalseCosignature(WITNESS.to_owned())));
}

#[test]
fn a_key_of_the_same_name_with_another_id_is_a_stranger() {
    let signed = SignedCheckpoint::parse(&cosigned(7).to_string()).unwrap();
    let stranger = SigningKey::from_seed(&[4; 32]).verifier(ORIGIN, Algorithm::Ed25519).unwrap();

    assert_eq!(signed.verify(&[stranger]), Err(CheckpointError::Note(NoteError::UnknownKeys)));
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let theirs = Checkpoint { origin: "audit.example/clinic-8".to_owned(), ..checkpoint(7) };
    let mut note = Note::unsigned(theirs.to_string()).unwrap();
    note.sign(&log(), ORIGIN).unwrap();

    let expected =
        CheckpointError::Origin { expected: ORIGIN.to_owned(), found: "audit.example/clinic-8".to_owned() };
    assert_eq!(verdict(&note.to_string()), Err(expected));
}

#[test]
fn a_fork_of_the_same_size_is_not_consistent() {
    let fork = leaves(21)[14..].to_vec();
    let forked = root(&TileSet::of_leaves(&fork), 7).unwrap();
    let proof = ConsistencyProof { old_size: 7, new_size: 7, hashes: Vec::new() };

    assert_eq!(verify_consistency(&proof, checkpoint(7).root, forked), Err(ProofError::OldRoot));
}

#[test]
fn a_changed_proof_file_is_refused_by_name() {
    let tiles = TileSet::of_leaves(&leaves(20));
    let hashes = InclusionProof::generate(&tiles, 5, 7).unwrap().unwrap().hashes;
    let proof = TlogProof { extra: None, index: 5, hashes: hashes.clone(), checkpoint: cosigned(7) };
    let judge = |proof: &TlogProof, leaf: usize| {
        TlogProof::parse(&proof.to_string())?.verify(leaves(20)[leaf], &[log_key()])
    };
    let with = |hashes: Vec<Hash>| TlogProof { hashes, ..proof.clone() };

    assert_eq!(judge(&proof, 5), Ok(()));
    assert_eq!(judge(&proof, 4), Err(ProofError::Root.into()));
    let elsewhere = TlogProof { index: 6, ..proof.clone() };
    assert!(matches!(judge(&elsewhere, 5), Err(TlogProofError::Proof(_))));
    let outside = TlogProof { index: 7, ..proof.clone() };
    assert_eq!(judge(&outside, 5), Err(ProofError::Range.into()));
    assert_eq!(judge(&with(hashes[..2].to_vec()), 5), Err(ProofError::Length.into()));
    assert_eq!(judge(&with([&hashes[..], &hashes[..1]].concat()), 5), Err(ProofError::Length.into()));
    let larger = TlogProof { checkpoint: cosigned(8), ..proof.clone() };
    assert!(matches!(judge(&larger, 5), Err(TlogProofError::Proof(_))));
    for text in [
        proof.to_string().replace("@v1", "@v2"),
        proof.to_string().replace("index 5", "index 05"),
        proof.to_string().replace("index 5\n", ""),
        proof.to_string().replace("index 5\n", "extra !\nindex 5\n"),
        format!("c2sp.org/tlog-proof@v1\nindex 5\n{}\n{}", "A\n", cosigned(7)),
        with(vec![hashes[0]; 64]).to_string(),
    ] {
        assert_eq!(TlogProof::parse(&text), Err(TlogProofError::Form), "{text}");
    }
}
