//! Keys and notes, with the vectors of the Go implementation's documentation.

use super::super::*;

const NAME: &str = "audit.example/clinic-7";

fn signed_note(text: &str, seed: u8) -> Note {
    let mut note = Note::unsigned(text.to_owned()).unwrap();
    note.sign(&SigningKey::from_seed(&[seed; 32]), NAME).unwrap();
    note
}

fn key(seed: u8) -> VerifierKey {
    SigningKey::from_seed(&[seed; 32]).verifier(NAME, Algorithm::Ed25519).unwrap()
}

#[test]
fn known_keys_have_their_ids() {
    for text in [
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert_eq!(text.parse::<VerifierKey>().unwrap().to_string(), text);
    }
}

#[test]
fn other_keys_are_refused() {
    for (text, error) in [
        ("PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Id),
        ("PeterNeumann+c74f20a3", KeyError::Form),
        ("PeterNeumann+c74f20a3+%", KeyError::Form),
        ("PeterNeumann+c74f20a3+ARpc", KeyError::Form),
        ("PeterNeumann+c74f20a3+Bhpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Algorithm),
        ("Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Name),
        ("+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", KeyError::Name),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
    }
}

#[test]
fn the_text_ends_at_the_last_empty_line() {
    let note = signed_note("first\n\nsecond\n", 1);

    let read = Note::parse(&note.to_string()).unwrap();

    assert_eq!((read.text(), &read), ("first\n\nsecond\n", &note));
    assert_eq!(read.verify(&[key(1)]).unwrap(), [&key(1)]);
}

#[test]
fn signatures_of_strangers_are_left_alone() {
    let mut note = signed_note("text\n", 1);
    note.sign(&SigningKey::from_seed(&[9; 32]), "somebody.example").unwrap();

    assert_eq!(Note::parse(&note.to_string()).unwrap().verify(&[key(2), key(1)]).unwrap(), [&key(1)]);
    assert_eq!(note.verify(&[key(2)]), Err(NoteError::UnknownKeys));
    assert_eq!(note.verify(&[]), Err(NoteError::UnknownKeys));
}

#[test]
fn one_false_signature_of_a_known_key_refuses_the_note() {
    let mut note = signed_note("text\n", 1);
    let line = signed_note("another text\n", 2).signatures()[0].clone();
    note.add(line);

    assert_eq!(note.verify(&[key(1), key(2)]), Err(NoteError::FalseSignature(NAME.to_owned())));
    assert_eq!(note.verify(&[key(1)]).unwrap().len(), 1);
}

#[test]
fn what_is_no_note_is_refused_by_name() {
    let good = signed_note("text\n", 1).to_string();
    let line = good.split("\n\n").nth(1).unwrap();
    for (note, error) in [
        (good.replace('\n', "\r\n"), NoteError::Form),
        (good.replace("text", "te\rxt"), NoteError::Control),
        (good.trim_end().to_owned(), NoteError::Form),
        ("text\n".to_owned(), NoteError::Form),
        ("text\n\n".to_owned(), NoteError::Form),
        (good.replace('—', "-"), NoteError::Signature(1)),
        (format!("{good}{}", line.replace(NAME, "a name")), NoteError::Signature(2)),
        (format!("text\n\n{}", line.repeat(101)), NoteError::TooLong),
    ] {
        assert_eq!(Note::parse(&note), Err(error), "{note:?}");
    }
}
