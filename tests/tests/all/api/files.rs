//! Files through the API and the storage that it starts itself.

use carelog_domain::OrganizationId;
use carelog_domain::file::ContentType;
use carelog_server::files::{clean, sweep};
use carelog_server::storages::object_key;
use carelog_tests::{Answer, Api, ApiClinic, ApiKey, follow, send, until};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PDF: &[u8] = b"%PDF-1.7\nKniebeuge, links\n%%EOF\n";

fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

fn announced(patient_id: &str, content: &[u8]) -> Value {
    json!({
        "patient_id": patient_id, "kind": "form_attachment", "content_type": "application/pdf",
        "size_bytes": content.len(), "content_sha256": digest(content), "name": "Befund.pdf",
    })
}

async fn complete(clinic: &ApiClinic<'_>, id: &str) -> Answer {
    clinic.post(&format!("/v1/files/{id}/complete"), &json!({})).await
}

/// A file that was uploaded and found to be what was said.
async fn stored(clinic: &ApiClinic<'_>, patient_id: &str) -> String {
    let requested = clinic.post("/v1/files", &announced(patient_id, PDF)).await;
    let put = follow(&requested.body["upload"]["whole"], PDF.to_vec()).await;
    assert_eq!(put.status, 200, "{put:?}");
    let done = complete(clinic, requested.id()).await;
    assert_eq!(done.status, 200, "{done:?}");
    requested.id().to_owned()
}

async fn link(clinic: &ApiClinic<'_>, key: &ApiKey, id: &str) -> Answer {
    clinic
        .api
        .call(Method::POST, &format!("/v1/files/{id}/download-links"), &key.text, Some(&json!({})))
        .await
}

/// Types of the events of a file, in order.
async fn events_of(api: &Api, id: &str) -> Vec<String> {
    sqlx::query_scalar("select event_type from log.events where stream_id = $1::uuid order by version")
        .bind(id)
        .fetch_all(&api.core)
        .await
        .unwrap()
}

/// Everything that the storage of the product keeps of contents.
fn blobs(api: &Api) -> usize {
    let buckets = api.home().join("storage/buckets");
    let Ok(buckets) = std::fs::read_dir(buckets) else { return 0 };
    buckets.map(|bucket| std::fs::read_dir(bucket.unwrap().path().join("blobs")).unwrap().count()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_of_what_changed_nothing_gets_the_same_answer_after_a_change() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let id = stored(&clinic, clinic.patient("Erika").await.id()).await;
    let path = format!("/v1/files/{id}/complete");
    let once = || send(clinic.request(Method::POST, &path).header("idempotency-key", "x").json(&json!({})));

    let first = once().await;
    link(&clinic, &clinic.admin, &id).await;
    let again = once().await;

    assert_eq!((first.status, &first.body["version"], &first.body["events"]), (200, &json!(2), &json!(0)));
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!((again.header("idempotency-replayed"), again.header("etag")), ("true", "\"2\""));
    carelog_tests::is_sound(&api.server.system().databases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_announced_uploaded_checked_fetched_and_deleted() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;

    let id = stored(&clinic, patient.id()).await;
    let given = link(&clinic, &clinic.admin, &id).await;
    let before = events_of(&api, &id).await;
    let fetched = follow(&given.body, Vec::new()).await;
    let shown = until("the records show it", async || {
        let shown = clinic.get(&format!("/v1/files/{id}")).await;
        (shown.text_at("/status") == "stored").then_some(shown)
    })
    .await;
    let deleted = clinic
        .api
        .call(Method::DELETE, &format!("/v1/files/{id}"), &clinic.admin.text, Some(&json!({})))
        .await;
    let gone = follow(&given.body, Vec::new()).await;

    assert_eq!(before, ["file.upload_requested", "file.stored", "file.link_issued"]);
    assert_eq!((fetched.status, fetched.text.as_bytes()), (200, PDF));
    assert_eq!(fetched.header("content-type"), "application/pdf");
    let disposition = format!("attachment; filename=\"form_attachment-{id}.pdf\"");
    assert_eq!(fetched.header("content-disposition"), disposition);
    assert_eq!((shown.text_at("/name"), shown.text_at("/encryption")), ("Befund.pdf", "aes256"));
    assert!(!given.text.contains("Befund"), "no name stands in a link");
    assert_eq!((deleted.status, gone.status), (200, 404));
    assert_eq!(blobs(&api), 0);
    assert_eq!(link(&clinic, &clinic.admin, &id).await.problem(), (409, "already_deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_file_is_refused_and_leaves_nothing() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let before = api.event_count().await;
    let cases = [
        (json!({ "size_bytes": 0 }), "empty_file", "/size_bytes"),
        (json!({ "size_bytes": 200_000_000 }), "too_large", "/size_bytes"),
        (json!({ "content_type": "video/mp4" }), "type_not_allowed", "/content_type"),
        (json!({ "content_type": "text/html" }), "invalid_body", "/content_type"),
        (json!({ "kind": "recording" }), "invalid_body", "/kind"),
        (json!({ "content_sha256": "abc" }), "invalid_body", "/content_sha256"),
        (json!({ "name": "a\nb" }), "invalid_body", "/name"),
        (json!({ "patient_id": null }), "invalid_body", "/patient_id"),
        (
            json!({ "patient_id": null, "kind": "profile_image", "content_type": "image/png" }),
            "name_without_patient",
            "/name",
        ),
        (json!({ "form_id": "0197a000-0000-7000-8000-000000000001" }), "invalid_body", "/form_id"),
    ];
    for (change, code, pointer) in cases {
        let mut body = announced(patient.id(), PDF);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let refused = clinic.post("/v1/files", &body).await;

        assert_eq!(refused.problem(), (422, code), "{change}");
        assert_eq!(refused.text_at("/errors/0/pointer"), pointer, "{change}");
    }
    assert_eq!(api.event_count().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_takes_nothing_but_what_was_announced() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let requested = clinic.post("/v1/files", &announced(patient.id(), PDF)).await;
    let whole = &requested.body["upload"]["whole"];
    let mut altered = PDF.to_vec();
    altered[12] ^= 1;

    let other_hash = follow(whole, altered).await;
    let other_size = follow(whole, [PDF, b"more"].concat()).await;
    let mut plain = whole.clone();
    plain["headers"].as_object_mut().unwrap().remove("x-amz-server-side-encryption");
    let not_encrypted = follow(&plain, PDF.to_vec()).await;
    let mut elsewhere = whole.clone();
    elsewhere["url"] =
        whole["url"].as_str().unwrap().replace(requested.id(), "0197a000-0000-7000-8000-000000000001").into();
    let other_key = follow(&elsewhere, PDF.to_vec()).await;

    assert_eq!(other_hash.status, 400, "{other_hash:?}");
    for refused in [other_size, not_encrypted, other_key] {
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    assert_eq!(complete(&clinic, requested.id()).await.problem(), (409, "upload_incomplete"));
    assert_eq!(blobs(&api), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_of_its_type_is_removed_and_the_upload_ends() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let html = b"<html><script>alert(1)</script></html>";
    let requested = clinic.post("/v1/files", &announced(patient.id(), html)).await;
    follow(&requested.body["upload"]["whole"], html.to_vec()).await;

    let refused = complete(&clinic, requested.id()).await;

    assert_eq!(refused.problem(), (422, "wrong_type"));
    assert_eq!(events_of(&api, requested.id()).await, ["file.upload_requested", "file.upload_failed"]);
    assert_eq!(blobs(&api), 0);
    assert_eq!(complete(&clinic, requested.id()).await.problem(), (409, "upload_ended"));
    assert_eq!(link(&clinic, &clinic.admin, requested.id()).await.problem(), (409, "upload_ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_full_of_tricks_is_only_ever_shown() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let trick = "../../../etc/passwd\";x=%00.pdf";
    let mut body = announced(patient.id(), PDF);
    body["name"] = trick.into();
    let requested = clinic.post("/v1/files", &body).await;
    follow(&requested.body["upload"]["whole"], PDF.to_vec()).await;
    complete(&clinic, requested.id()).await;

    let given = link(&clinic, &clinic.admin, requested.id()).await;
    let shown = until("the records show it", async || {
        let shown = clinic.get(&format!("/v1/files/{}", requested.id())).await;
        (shown.status == 200).then_some(shown)
    })
    .await;

    assert_eq!(shown.text_at("/name"), trick);
    assert!(!given.text.contains("passwd") && !requested.text.contains("passwd"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_sent_in_parts_and_goes_on_after_an_interruption() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let mut video = b"\x00\x00\x00\x18ftypisom".to_vec();
    video.resize(64 * 1024 * 1024 + 1_000, 7);
    let body = json!({
        "kind": "exercise_video", "content_type": "video/mp4",
        "size_bytes": video.len(), "content_sha256": digest(&video),
    });
    let requested = clinic.post("/v1/files", &body).await;
    let upload = &requested.body["upload"];
    assert_eq!((&upload["part_count"], &upload["part_bytes"]), (&json!(5), &json!(16 * 1024 * 1024)));
    let piece = |number: u64| {
        let begin = usize::try_from((number - 1) * 16 * 1024 * 1024).unwrap();
        video[begin..video.len().min(begin + 16 * 1024 * 1024)].to_vec()
    };
    for index in [4, 0] {
        let part = &upload["parts"][index];
        assert_eq!(follow(part, piece(part["number"].as_u64().unwrap())).await.status, 200);
    }

    let early = complete(&clinic, requested.id()).await;
    let links = format!("/v1/files/{}/upload-links", requested.id());
    let resumed = clinic.post(&links, &json!({})).await;
    for part in resumed.body["parts"].as_array().unwrap() {
        assert_eq!(follow(part, piece(part["number"].as_u64().unwrap())).await.status, 200);
    }
    let done = until("it is read", async || {
        let done = complete(&clinic, requested.id()).await;
        (done.status != 202).then_some(done)
    })
    .await;
    let late = follow(&upload["parts"][0], piece(1)).await;

    assert_eq!(early.problem(), (409, "upload_incomplete"));
    assert_eq!(resumed.body["arrived"], json!([1, 5]));
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(late.status, 404, "{late:?}");
    let given = link(&clinic, &clinic.admin, requested.id()).await;
    let fetched = reqwest::get(given.text_at("/url")).await.unwrap().bytes().await.unwrap();
    assert!(fetched == video, "the same bytes come back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_parts_were_joined_before_a_crash_is_completed_without_another_byte() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let mut video = b"\x00\x00\x00\x18ftypisom".to_vec();
    video.resize(64 * 1024 * 1024 + 1_000, 7);
    let body = json!({
        "kind": "exercise_video", "content_type": "video/mp4",
        "size_bytes": video.len(), "content_sha256": digest(&video),
    });
    let requested = clinic.post("/v1/files", &body).await;
    let parts = requested.body["upload"]["parts"].as_array().unwrap();
    for (part, piece) in parts.iter().zip(video.chunks(16 * 1024 * 1024)) {
        assert_eq!(follow(part, piece.to_vec()).await.status, 200);
    }
    // As completion does first, and then no more.
    let organization_id = OrganizationId::new(clinic.id);
    let storages = api.server.system().storages.get().unwrap();
    let storage = storages.of(organization_id).await.unwrap();
    let key = object_key(organization_id, requested.id().parse().unwrap());
    let upload_id = storage.find_upload(&key).await.unwrap().unwrap();
    let arrived = storage.parts(&key, &upload_id).await.unwrap();
    storage.complete(&key, &upload_id, &arrived).await.unwrap();

    let resumed = clinic.post(&format!("/v1/files/{}/upload-links", requested.id()), &json!({})).await;
    let begun = storage.uploads(&key).await.unwrap();
    // One that was begun beside changes nothing either.
    storage.begin(&key, ContentType::Mp4).await.unwrap();
    let done = until("it is read", async || {
        let done = complete(&clinic, requested.id()).await;
        (done.status != 202).then_some(done)
    })
    .await;

    assert_eq!(resumed.body["arrived"], json!([1, 2, 3, 4, 5]));
    assert!(resumed.body["parts"].is_null(), "nothing is to be sent");
    assert_eq!((begun, done.status), (vec![], 200), "{done:?}");
    assert_eq!(storage.uploads(&key).await.unwrap(), []);
}

/// Parts are signed without a digest, so that only reading the whole tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_with_other_bytes_than_were_announced_is_removed() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let mut video = b"\x00\x00\x00\x18ftypisom".to_vec();
    video.resize(64 * 1024 * 1024 + 1, 7);
    let body = json!({
        "kind": "exercise_video", "content_type": "video/mp4",
        "size_bytes": video.len(), "content_sha256": digest(&video),
    });
    let requested = clinic.post("/v1/files", &body).await;
    *video.last_mut().unwrap() = 8;
    let parts = requested.body["upload"]["parts"].as_array().unwrap();
    for (part, piece) in parts.iter().zip(video.chunks(16 * 1024 * 1024)) {
        assert_eq!(follow(part, piece.to_vec()).await.status, 200);
    }

    let done = until("it is read", async || {
        let done = complete(&clinic, requested.id()).await;
        (done.status != 202).then_some(done)
    })
    .await;

    assert_eq!(done.problem(), (422, "wrong_hash"), "{done:?}");
    assert_eq!(events_of(&api, requested.id()).await, ["file.upload_requested", "file.upload_failed"]);
    assert_eq!(blobs(&api), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_the_files_of_somebody_else() {
    let api = Api::start().await;
    let (clinic, stranger) = (api.clinic("Klinik").await, api.clinic("Andere").await);
    let (patient, other) = (clinic.patient("Erika").await, clinic.patient("Anton").await);
    let id = stored(&clinic, patient.id()).await;
    let scopes = ["commands", "reads"];
    let of = |id: &str| json!({ "role": "patient", "patient_id": id, "scopes": scopes });
    let (own, others) = (clinic.key(&of(patient.id())).await, clinic.key(&of(other.id())).await);
    let partner = clinic.key(&json!({ "role": "partner", "scopes": ["webhooks", "events"] })).await;

    assert_eq!(link(&clinic, &own, &id).await.status, 200);
    assert_eq!(link(&clinic, &others, &id).await.problem(), (404, "not_found"));
    assert_eq!(link(&stranger, &stranger.admin, &id).await.problem(), (404, "not_found"));
    assert_eq!(link(&clinic, &partner, &id).await.problem(), (403, "wrong_role"));
    let foreign = announced(patient.id(), PDF);
    let refused = api.call(Method::POST, "/v1/files", &others.text, Some(&foreign)).await;
    assert_eq!(refused.problem(), (404, "not_found"));
    let refused = stranger.post("/v1/files", &foreign).await;
    assert_eq!(refused.problem(), (422, "invalid_body"));
    for path in ["complete", "upload-links"] {
        let path = format!("/v1/files/{id}/{path}");
        assert_eq!(stranger.post(&path, &json!({})).await.problem(), (404, "not_found"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_hold_for_a_quarter_of_an_hour_at_most_and_documents_are_not_shown() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let id = stored(&clinic, patient.id()).await;
    let path = format!("/v1/files/{id}/download-links");

    let too_long = clinic.post(&path, &json!({ "valid_seconds": 901 })).await;
    let inline = clinic.post(&path, &json!({ "disposition": "inline" })).await;

    assert_eq!(too_long.problem(), (422, "link_too_long"));
    assert_eq!(inline.problem(), (422, "shown_as_attachment_only"));
    assert_eq!(events_of(&api, &id).await, ["file.upload_requested", "file.stored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_upload_ends_and_leaves_no_object() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let requested = clinic.post("/v1/files", &announced(patient.id(), PDF)).await;
    follow(&requested.body["upload"]["whole"], PDF.to_vec()).await;
    until("the records show it", async || {
        (clinic.get(&format!("/v1/files/{}", requested.id())).await.status == 200).then_some(())
    })
    .await;
    let system = api.server.system();
    let in_time = system.log.clock().now().saturating_add_micros(24 * 3_600 * 1_000_000);

    clean(system, in_time).await.unwrap();
    let kept = (events_of(&api, requested.id()).await.len(), blobs(&api));
    clean(system, in_time.saturating_add_micros(3_600 * 1_000_000)).await.unwrap();

    assert_eq!(kept, (1, 1));
    assert_eq!(events_of(&api, requested.id()).await, ["file.upload_requested", "file.upload_failed"]);
    assert_eq!(blobs(&api), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_a_late_link_brought_back_is_swept() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let kept = stored(&clinic, patient.id()).await;
    let requested = clinic.post("/v1/files", &announced(patient.id(), PDF)).await;
    let whole = requested.body["upload"]["whole"].clone();
    let path = format!("/v1/files/{}", requested.id());
    let ended = clinic.api.call(Method::DELETE, &path, &clinic.admin.text, Some(&json!({}))).await;
    assert_eq!(follow(&whole, PDF.to_vec()).await.status, 200);
    until("the records show its end", async || {
        (clinic.get(&path).await.text_at("/status") == "failed").then_some(())
    })
    .await;
    let system = api.server.system();
    let later = system.log.clock().now().saturating_add_micros(2 * 3_600 * 1_000_000);

    sweep(system, system.log.clock().now()).await.unwrap();
    let young = blobs(&api);
    sweep(system, later).await.unwrap();

    assert_eq!((ended.status, young, blobs(&api)), (200, 2, 1));
    assert_eq!(link(&clinic, &clinic.admin, &kept).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_a_patient_removes_the_files_before_it_is_complete() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let (patient, other) = (clinic.patient("Erika").await, clinic.patient("Anton").await);
    let id = stored(&clinic, patient.id()).await;
    let others = stored(&clinic, other.id()).await;
    let awaited = clinic.post("/v1/files", &announced(patient.id(), PDF)).await;
    let given = link(&clinic, &clinic.admin, &id).await;

    let path = format!("/v1/patients/{}/erasure", patient.id());
    clinic.post(&path, &json!({ "ground": "patient_request" })).await;
    until("the erasure is certified", async || {
        let shown = clinic.get(&format!("/v1/patients/{}", patient.id())).await;
        let certificate =
            clinic.get(&format!("/v1/files/{}", shown.text_at("/erasure_certificate_id"))).await;
        (certificate.text_at("/status") == "stored").then_some(())
    })
    .await;

    assert_eq!(blobs(&api), 2, "the other patient's, and the certificate");
    assert_eq!(follow(&given.body, Vec::new()).await.status, 404);
    assert_eq!(events_of(&api, &id).await.last().unwrap(), "file.deleted");
    assert_eq!(events_of(&api, awaited.id()).await.last().unwrap(), "file.upload_failed");
    assert_eq!(link(&clinic, &clinic.admin, &others).await.status, 200);
    let shown = clinic.get(&format!("/v1/files/{id}")).await;
    assert_eq!((&shown.body["name"], &shown.body["erased"]), (&Value::Null, &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_brings_only_a_storage_that_the_operator_allowed() {
    let api = Api::start_with(|config| config.storage.embedded = false).await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let put = async |settings: Value| {
        let body = json!({ "settings": settings });
        api.call(Method::PUT, "/v1/integrations/storage", &clinic.admin.text, Some(&body)).await
    };
    let own = |endpoint: &str| json!({ "bucket": "clinic", "access_key_id": "a", "secret_access_key": "b", "endpoint": endpoint });

    let without = clinic.post("/v1/files", &announced(patient.id(), PDF)).await;
    let inner = put(own("http://169.254.169.254")).await;
    let unknown = put(json!({ "bucket": "clinic", "colour": "blue" })).await;

    assert_eq!(without.problem(), (409, "storage_not_configured"));
    for refused in [inner, unknown] {
        assert_eq!(refused.problem(), (422, "invalid_body"));
        assert_eq!(refused.text_at("/errors/0/pointer"), "/settings");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_link_is_in_the_log_also_where_its_wish_is_repeated() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let id = stored(&clinic, patient.id()).await;

    for _ in 0..2 {
        let wish = clinic.request(Method::POST, &format!("/v1/files/{id}/download-links"));
        let given = send(wish.header("idempotency-key", "once").json(&json!({}))).await;
        assert_eq!((given.status, given.header("idempotency-replayed")), (200, ""));
    }

    let events = events_of(&api, &id).await;
    assert_eq!(events[2..], ["file.link_issued", "file.link_issued"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_does_not_leave_the_storage_that_its_files_lie_in() {
    const ENDPOINT: &str = "https://s3.example";
    let api = Api::start_with(|config| config.storage.allowed_endpoints = vec![ENDPOINT.to_owned()]).await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Erika").await;
    let path = "/v1/integrations/storage";
    let put = async |bucket: &str, secret: &str| {
        let body = json!({ "settings": { "bucket": bucket, "endpoint": ENDPOINT, "access_key_id": "a",
            "secret_access_key": secret } });
        api.call(Method::PUT, path, &clinic.admin.text, Some(&body)).await
    };

    let mut projecting = api.core.begin().await.unwrap();
    sqlx::query("lock table records.files in exclusive mode").execute(&mut *projecting).await.unwrap();
    let id = stored(&clinic, patient.id()).await;
    let unknown = put("elsewhere", "b").await;
    projecting.commit().await.unwrap();
    let kept = until("the records show it", async || {
        let kept = put("elsewhere", "b").await;
        (kept.status != 503).then_some(kept)
    })
    .await;
    let gone =
        api.call(Method::DELETE, &format!("/v1/files/{id}"), &clinic.admin.text, Some(&json!({}))).await;
    let changed = until("nothing lies there any more", async || {
        let changed = put("elsewhere", "b").await;
        (changed.status == 200).then_some(changed)
    })
    .await;

    assert_eq!(unknown.problem(), (503, "not_yet_visible"));
    assert_eq!(kept.problem(), (409, "storage_in_use"));
    assert_eq!((gone.status, changed.status), (200, 200));
}
