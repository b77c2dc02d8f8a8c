//! Documents that Carelog makes of signed forms and of erasures, read by somebody else's reader.

use std::process::Stdio;

use carelog_tests::{Answer, Api, ApiClinic, python_client, until};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What a reader makes of a document.
async fn read(pdf: &[u8]) -> Value {
    let mut client = Command::from(python_client("pdf").await);
    let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(pdf).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file, once it is stored.
async fn file(clinic: &ApiClinic<'_>, id: &str) -> Answer {
    until("the document is stored", async || {
        let shown = clinic.get(&format!("/v1/files/{id}")).await;
        (shown.status == 200 && shown.text_at("/status") == "stored").then_some(shown)
    })
    .await
}

/// The bytes of a file, through a link.
async fn fetched(clinic: &ApiClinic<'_>, id: &str) -> Vec<u8> {
    let link = clinic.post(&format!("/v1/files/{id}/download-links"), &json!({})).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let fetched = client.get(link.text_at("/url")).send().await.unwrap();
    assert_eq!(fetched.status(), 200);
    fetched.bytes().await.unwrap().to_vec()
}

fn is_archival(read: &Value) -> bool {
    read["archival"] == json!(["2", "A"])
        && read["accessible"] == "1"
        && read["tagged"] == true
        && read["language"] == "en"
        && read["all_fonts_embedded"] == true
}

/// Gives the form's path and the id of its document.
async fn signed_form(clinic: &ApiClinic<'_>, patient: &str) -> (String, String) {
    let assign = json!({
        "patient_id": patient, "template_version": 3, "template_id": "0197a000-0000-7000-8000-000000000001",
    });
    let form = format!("/v1/forms/{}", clinic.post("/v1/forms", &assign).await.id());
    let answers = json!({ "answers": {
        "Wo tut es weh?": "am Knie #read(\"/etc/passwd\") *innen*", "pain": 7, "when": ["morgens", "abends"],
        "sleeps": false, "details": { "since": "März" },
    } });
    let key = &clinic.admin.text;
    clinic.api.call(Method::PUT, &format!("{form}/answers"), key, Some(&answers)).await;
    let sign = json!({ "content_sha256": "ab".repeat(32), "signed_by": "patient" });
    let signed = clinic.post(&format!("{form}/sign"), &sign).await;
    let shown = clinic.get(&format!("{form}?wait_for={}", signed.position())).await;
    (form, shown.text_at("/document_id").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_form_becomes_a_document_whose_hash_is_in_the_log() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik am Süßen Eck").await;
    let patient = clinic.patient("Erika").await.id().to_owned();

    let (form, document) = signed_form(&clinic, &patient).await;
    let forged = json!({
        "id": document, "patient_id": patient, "kind": "form_attachment", "content_type": "application/pdf",
        "size_bytes": 1, "content_sha256": "ab".repeat(32),
    });
    assert_eq!(clinic.post("/v1/files", &forged).await.problem().0, 422, "nobody takes the document's place");
    let shown = file(&clinic, &document).await;
    let pdf = fetched(&clinic, &document).await;
    let read = read(&pdf).await;

    assert_eq!(shown.text_at("/content_sha256"), hex::encode(Sha256::digest(&pdf)));
    assert_eq!(shown.text_at("/kind"), "generated_document");
    assert_eq!(
        (shown.text_at("/patient_id"), shown.text_at("/content_type")),
        (&*patient, "application/pdf")
    );
    assert!(form.ends_with(shown.text_at("/form_id")));
    assert!(is_archival(&read), "{read}");
    assert_eq!(read["title"], "Signed form");
    let text = read["text"].as_str().unwrap();
    for part in [
        "Klinik am Süßen Eck",
        &patient,
        "Wo tut es weh? am Knie #read(\"/etc/passwd\") *innen*",
        "pain 7",
        "morgens abends",
        "sleeps no",
        "since: März",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_takes_the_documents_away_and_leaves_a_certificate() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await.id().to_owned();
    let (_, document) = signed_form(&clinic, &patient).await;
    file(&clinic, &document).await;

    clinic.post(&format!("/v1/patients/{patient}/erasure"), &json!({ "ground": "patient_request" })).await;
    let certificate = until("the patient is erased", async || {
        let shown = clinic.get(&format!("/v1/patients/{patient}")).await;
        shown.body["erasure_certificate_id"].as_str().map(str::to_owned)
    })
    .await;
    let shown = file(&clinic, &certificate).await;
    let read = read(&fetched(&clinic, &certificate).await).await;

    assert_eq!(clinic.get(&format!("/v1/files/{document}")).await.text_at("/status"), "deleted");
    assert_eq!(shown.body["patient_id"], Value::Null);
    assert!(is_archival(&read), "{read}");
    let text = read["text"].as_str().unwrap();
    for part in ["Certificate of erasure", &patient, "patient.keys_destroyed", "patient.erased"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}
