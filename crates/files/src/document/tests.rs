use time::macros::datetime;

use super::*;

fn form() -> SignedForm {
    SignedForm {
        organization: "Praxis am Süßen Eck".to_owned(),
        form_id: "0190b0c0-0000-7000-8000-000000000001".to_owned(),
        patient_id: "0190b0c0-0000-7000-8000-000000000002".to_owned(),
        template: "0190b0c0-0000-7000-8000-000000000003, version 2".to_owned(),
        signed_by: "patient".to_owned(),
        signed_at: datetime!(2026-11-20 09:30:15.123456 UTC),
        content_sha256: "ab".repeat(32),
        event: "0190b0c0-0000-7000-8000-000000000004".to_owned(),
        answers: vec![
            ("Pain, 0 to 10".to_owned(), "4".to_owned()),
            ("Since when?".to_owned(), "a\nb".to_owned()),
        ],
    }
}

#[test]
fn the_same_data_give_the_same_bytes_and_other_data_others() {
    let first = signed_form(&form()).unwrap();

    assert_eq!(signed_form(&form()).unwrap(), first);
    let mut other = form();
    other.answers[0].1 = "5".to_owned();
    assert_ne!(signed_form(&other).unwrap(), first);
    assert!(first.starts_with(b"%PDF-1."));
    assert_eq!(crate::sniff(&first), Some(carelog_domain::file::ContentType::Pdf));
}

/// Whatever people write, there is a document: with glyphs that no font has, with what would be markup, and long.
#[test]
fn every_answer_makes_a_document() {
    let answers = [
        "漢字 😀 ‏עברית‎ \u{1} \u{7f} \u{200b} \u{fffd} \u{e000}",
        "#import \"/etc/passwd\": * $ x^2 $ *bold* _it_ `raw` <label> @ref // comment",
        "#sys.inputs #read(\"/etc/passwd\") #panic(\"no\")",
        "",
    ];
    let every: Vec<char> = (0..=0xFFFF_u32).chain(0x1_F000..0x1_F200).filter_map(char::from_u32).collect();
    let lines: Vec<String> = every.chunks(256).map(|line| line.iter().collect()).collect();
    let mut form = form();
    form.answers = answers.iter().map(|answer| (answer.to_string(), answer.to_string())).collect();
    form.answers.push(("every character".to_owned(), lines.join("\n")));
    form.answers.push(("long".to_owned(), "word ".repeat(20_000)));
    for letter in ["w", "ش", "Ж", "fi", "e\u{301}", "?"] {
        form.answers.push((letter.repeat(200), letter.repeat(40_000)));
    }

    signed_form(&form).unwrap();
}

#[test]
fn more_data_than_a_document_takes_are_refused() {
    let mut form = form();
    form.answers[0].1 = "x".repeat(MAX_DATA_BYTES);

    assert!(matches!(signed_form(&form), Err(RenderError::TooLarge { .. })));
}

#[test]
fn an_erasure_has_a_certificate() {
    let certificate = ErasureCertificate {
        organization: "Praxis".to_owned(),
        patient_id: "0190b0c0-0000-7000-8000-000000000002".to_owned(),
        requested_at: datetime!(2026-11-20 09:30:15 UTC),
        keys_destroyed_at: datetime!(2026-11-20 09:30:16 UTC),
        key_count: 3,
        completed_at: datetime!(2026-11-20 09:30:20 UTC),
        steps: vec![("patient.erasure_requested".to_owned(), "2026-11-20".to_owned(), "id".to_owned())],
    };

    assert_eq!(erasure_certificate(&certificate).unwrap(), erasure_certificate(&certificate).unwrap());
}
