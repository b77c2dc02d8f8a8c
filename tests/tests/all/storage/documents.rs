//! Documents have the same bytes whoever makes them, so that one that is made again is known again.

use std::process::{Command, Stdio};
use std::{env, fs};

use carelog_domain::Timestamp;
use carelog_files::document::{ErasureCertificate, SignedForm, erasure_certificate, signed_form};
use tempfile::TempDir;

/// Where a process that was started for it leaves the documents.
const PLACE: &str = "CARELOG_TEST_DOCUMENTS";

fn documents() -> Vec<u8> {
    let at: Timestamp = "2026-11-20T09:30:15.123456Z".parse().unwrap();
    let id = |last: u8| format!("0190b0c0-0000-7000-8000-00000000000{last}");
    let form = SignedForm {
        organization: "Praxis am Süßen Eck".to_owned(),
        form_id: id(1),
        patient_id: id(2),
        template: format!("{}, version 2", id(3)),
        signed_by: "patient".to_owned(),
        signed_at: at.into(),
        content_sha256: "ab".repeat(32),
        event: id(4),
        answers: (0..40).map(|number| (format!("Question {number}?"), "4 日本 🙂".to_owned())).collect(),
    };
    let certificate = ErasureCertificate {
        organization: form.organization.clone(),
        patient_id: id(2),
        requested_at: at.into(),
        keys_destroyed_at: at.into(),
        key_count: 3,
        completed_at: at.into(),
        steps: vec![("files".to_owned(), "done".to_owned(), id(5))],
    };
    [signed_form(&form).unwrap(), erasure_certificate(&certificate).unwrap()].concat()
}

/// Does nothing in a process that was not started for it.
#[test]
fn makes_documents_as_a_child() {
    let Some(place) = env::var_os(PLACE) else { return };
    fs::write(place, documents()).unwrap();
}

#[test]
fn two_processes_make_the_same_bytes_of_the_same_data() {
    let home = TempDir::new().unwrap();
    let place = home.path().join("documents");

    let made = Command::new(env::current_exe().unwrap())
        .args(["--exact", "storage::documents::makes_documents_as_a_child"])
        .env(PLACE, &place)
        .envs([("TZ", "Asia/Tokyo"), ("LC_ALL", "de_DE.UTF-8")])
        .current_dir(home.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();

    assert!(made.success());
    assert!(fs::read(place).unwrap() == documents(), "the bytes differ");
}
