//! Recordings of embedded rooms, which the specialist's page makes: hostile pages here, browsers in `browsers.rs`.

use carelog_event_log::Clock as _;
use carelog_server::files;
use carelog_tests::until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::recordings::of_recordings;
use super::sockets::{Door, Page};

/// What a film in pieces begins with.
const BEGINNING: &[u8] =
    b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm";

fn piece(number: u8) -> Vec<u8> {
    let mut piece = if number == 0 { BEGINNING.to_vec() } else { Vec::new() };
    piece.extend(std::iter::repeat_n(number, 100_000));
    piece
}

impl Door {
    async fn recordable() -> Self {
        let door = Self::open().await;
        door.scene.may_record(true).await;
        door.scene.agrees().await;
        door
    }

    async fn sends(
        &self,
        link: &Value,
        recording: &str,
        number: &str,
        piece: Vec<u8>,
    ) -> (StatusCode, Value) {
        let token = link["token"].as_str().unwrap();
        let origin = format!("http://{}", self.address);
        let (bearer, origin) = (Some(format!("Bearer {token}")), Some(origin));
        self.sends_as(bearer, origin, &format!("{recording}/{number}"), piece).await
    }

    async fn sends_as(
        &self,
        authorization: Option<String>,
        origin: Option<String>,
        path: &str,
        piece: Vec<u8>,
    ) -> (StatusCode, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client.put(format!("http://{}/rooms/recordings/{path}", self.address)).body(piece);
        for (name, value) in [("authorization", authorization), ("origin", origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }

    /// What lies of recordings in the clinic's storage that is no file yet.
    pub(super) async fn pieces(&self) -> Vec<String> {
        let system = self.scene.product.server.system();
        let storage = system.storages.get().unwrap().of(self.scene.organization_id).await.unwrap();
        storage.list("pieces/", None).await.unwrap().into_iter().map(|object| object.key).collect()
    }

    /// What of recordings is told, without failures that a repetition cured.
    async fn told_of_recordings(&self) -> Vec<String> {
        let told = self.scene.told(&self.appointment).await;
        of_recordings(&told).into_iter().map(str::to_owned).collect()
    }

    /// The bytes of the only stored file.
    pub(super) async fn film(&self) -> Vec<u8> {
        let [file] = &self.scene.stored_files().await[..] else { panic!("one file") };
        assert_eq!((&file["kind"], &file["content_type"]), (&json!("recording"), &json!("video/webm")));
        let path = format!("/v1/files/{}/download-links", file["id"].as_str().unwrap());
        let (_, link) =
            self.scene.product.call(&self.scene.admin, Method::POST, &path, Some(&json!({}))).await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client.get(link["url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap().to_vec()
    }

    async fn no_pieces_are_left(&self) {
        until("no pieces are left", async || self.pieces().await.is_empty().then_some(())).await;
    }
}

/// Begins one, and gives its id.
async fn begins(specialist: &mut Page) -> String {
    specialist.say(&json!({ "type": "record", "on": true }));
    let state = specialist.sees(|state| state["recording"]["id"].is_string()).await;
    state["recording"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_setting_or_consent_or_by_anybody_else_nothing_is_recorded() {
    let door = Door::open().await;
    let ((mut specialist, _), (mut patient, _)) = door.talk().await;
    let record = json!({ "type": "record", "on": true });
    specialist.say(&record);
    assert_eq!(specialist.hears("not_done").await["reason"], "recording_not_enabled");
    door.scene.may_record(true).await;
    specialist.say(&record);
    assert_eq!(specialist.hears("not_done").await["reason"], "no_recording_consent");
    let (status, problem) = door.scene.recording(&door.appointment, "start").await;
    assert_eq!((status, &problem["code"]), (409, &json!("no_recording_consent")));
    door.scene.agrees().await;
    patient.say(&record);
    assert_eq!(patient.hears("not_done").await["reason"], "not_allowed");

    let id = carelog_event_log::new_id().to_string();
    let (status, problem) = door.sends(&door.specialist, &id, "0", piece(0)).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("not_recording")));
    assert_eq!(door.told_of_recordings().await, Vec::<String>::new());
    assert_eq!(door.pieces().await, Vec::<String>::new());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_does_not_leave_the_storage_in_which_pieces_of_a_recording_lie() {
    let door = Door::recordable().await;
    let ((mut specialist, _), _patient) = door.talk().await;
    let leaves = async || {
        let settings = json!({ "bucket": "elsewhere", "access_key_id": "a", "secret_access_key": "b" });
        let (scene, path) = (&door.scene, "/v1/integrations/storage");
        let put = Some(json!({ "settings": settings }));
        let (status, problem) = scene.product.call(&scene.admin, Method::PUT, path, put.as_ref()).await;
        (status, problem["code"].clone())
    };
    let in_use = (409, json!("storage_in_use"));
    let id = begins(&mut specialist).await;
    assert_eq!(leaves().await, in_use, "its first piece is on its way");
    assert_eq!(door.sends(&door.specialist, &id, "0", piece(0)).await.0, 204);
    assert_eq!(leaves().await, in_use);

    specialist.say(&json!({ "type": "record", "on": false }));
    door.scene.is_told(&door.appointment, "recording_stored").await;
    door.no_pieces_are_left().await;
    let stored = door.scene.stored_files().await;
    assert_eq!((stored.len(), leaves().await), (1, in_use), "the film lies there");

    let path = format!("/v1/files/{}", stored[0]["id"].as_str().unwrap());
    door.scene.done(Method::DELETE, &path, json!({})).await;
    until("nothing lies there any more", async || (leaves().await.0 == 200).then_some(())).await;
    door.scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_the_specialists_page_become_one_file_and_others_are_refused() {
    let door = Door::recordable().await;
    let ((mut specialist, _), (mut patient, _)) = door.talk().await;
    let id = begins(&mut specialist).await;
    patient.sees(|state| state["recording"]["id"] == id.as_str()).await;

    let another = carelog_event_log::new_id().to_string();
    let large = vec![0; (2 << 20) + 1];
    for (link, recording, number, piece, status, code) in [
        (&door.patient, id.as_str(), "0", piece(0), 403, "not_allowed"),
        (&json!({ "token": "AAAA" }), &id, "0", piece(0), 403, "link_refused"),
        (&door.specialist, &another, "0", piece(0), 409, "not_recording"),
        (&door.specialist, &id, "0", large, 413, "body_too_large"),
        (&door.specialist, &id, "0", Vec::new(), 400, "body_missing"),
        (&door.specialist, &id, "0", b"%PDF-1.7 is no film".to_vec(), 415, "unsupported_media_type"),
        (&door.specialist, &id, "8000", piece(0), 409, "recording_too_long"),
        (&door.specialist, &id, "-1", piece(0), 404, "not_found"),
        (&door.specialist, &id, "0%2F..%2F..%2F1", piece(0), 404, "not_found"),
        (&door.specialist, "nothing", "0", piece(0), 404, "not_found"),
    ] {
        let (answered, problem) = door.sends(link, recording, number, piece).await;
        assert_eq!((answered.as_u16(), &problem["code"]), (status, &json!(code)));
    }
    let path = format!("{id}/0");
    let token = format!("Bearer {}", door.specialist["token"].as_str().unwrap());
    let origin = format!("http://{}", door.address);
    let (status, problem) = door.sends_as(None, Some(origin), &path, piece(0)).await;
    assert_eq!((status.as_u16(), &problem["code"]), (401, &json!("link_missing")));
    for origin in [None, Some("https://elsewhere.example".to_owned())] {
        let (status, problem) = door.sends_as(Some(token.clone()), origin, &path, piece(0)).await;
        assert_eq!((status.as_u16(), &problem["code"]), (403, &json!("wrong_origin")));
    }
    assert_eq!(door.pieces().await, Vec::<String>::new(), "nothing of it is kept");

    // The second one twice, because its answer was lost; and more than nine, whose order is not that of their digits.
    for number in [0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] {
        let (status, problem) = door.sends(&door.specialist, &id, &number.to_string(), piece(number)).await;
        assert_eq!(status, 204, "{problem}");
    }
    // One that came after one that never did: what follows a hole cannot be played.
    assert_eq!(door.sends(&door.specialist, &id, "13", piece(13)).await.0, 204);
    specialist.say(&json!({ "type": "record", "on": false }));
    patient.sees(|state| state["recording"].is_null()).await;

    door.scene.is_told(&door.appointment, "recording_stored").await;
    let (status, problem) = door.sends(&door.specialist, &id, "12", piece(12)).await;
    assert_eq!((status.as_u16(), &problem["code"]), (409, &json!("not_recording")));
    assert_eq!(
        door.told_of_recordings().await,
        ["requested", "started", "stop_requested", "stopped", "stored"]
    );
    assert_eq!(door.scene.fact("video_room.recording_stopped", "reason").await, "requested");
    assert!(door.film().await == (0..12).flat_map(piece).collect::<Vec<u8>>(), "each piece once, in order");
    door.no_pieces_are_left().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_ends_with_the_consent_with_the_setting_and_with_the_page_that_makes_it() {
    let door = Door::recordable().await;
    let ((mut specialist, _), _patient) = door.talk().await;
    for (number, (reason, code)) in
        [("consent_withdrawn", "no_recording_consent"), ("not_enabled", "recording_not_enabled")]
            .into_iter()
            .enumerate()
    {
        let id = begins(&mut specialist).await;
        assert_eq!(door.sends(&door.specialist, &id, "0", piece(0)).await.0, 204);

        if reason == "not_enabled" {
            door.scene.may_record(false).await;
        } else {
            door.scene.withdraws().await;
        }

        // At once, whatever the page or a worker has heard of it.
        let (status, problem) = door.sends(&door.specialist, &id, "1", piece(1)).await;
        assert_eq!((status.as_u16(), &problem["code"]), (409, &json!(code)));
        specialist.sees(|state| state["recording"].is_null()).await;
        until("what was allowed is kept", async || {
            door.scene.product.pull_retries().await;
            (door.scene.stored_files().await.len() == number + 1).then_some(())
        })
        .await;
        assert_eq!(door.scene.fact("video_room.recording_stopped", "reason").await, reason);
        door.scene.may_record(true).await;
        door.scene.agrees().await;
    }

    let id = begins(&mut specialist).await;
    assert_eq!(door.sends(&door.specialist, &id, "0", piece(0)).await.0, 204);
    specialist.say(&json!({ "type": "leave" }));
    until("the third is kept", async || {
        door.scene.product.pull_retries().await;
        (door.scene.stored_files().await.len() == 3).then_some(())
    })
    .await;
    assert_eq!(door.scene.fact("video_room.recording_stopped", "reason").await, "ended");
    assert_eq!(door.sends(&door.specialist, &id, "1", piece(1)).await.0, 409);
    door.no_pieces_are_left().await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_go_with_the_patient_and_those_of_no_recording_with_the_sweep() {
    let door = Door::recordable().await;
    let ((mut specialist, _), _patient) = door.talk().await;
    let id = begins(&mut specialist).await;
    assert_eq!(door.sends(&door.specialist, &id, "0", piece(0)).await.0, 204);
    let [key] = &door.pieces().await[..] else { panic!("one piece") };
    let system = door.scene.product.server.system();
    let storage = system.storages.get().unwrap().of(door.scene.organization_id).await.unwrap();
    let stray = key.replace(&id.replace('-', ""), &carelog_event_log::new_id().simple().to_string());
    storage.put(&stray, "application/octet-stream", piece(1).into()).await.unwrap();
    // A file, so that the storage is one that is swept.
    door.scene.done(Method::POST, "/v1/files", upload()).await;
    door.scene.product.settled().await;

    let later = door.scene.clock.now().saturating_add_micros(2 * 3_600_000_000);
    files::sweep(system, later).await.unwrap();
    assert_eq!(
        door.pieces().await,
        std::slice::from_ref(key),
        "the recording goes on, and the other one is none"
    );

    let erasure = format!("/v1/patients/{}/erasure", door.scene.patient);
    door.scene.done(Method::POST, &erasure, json!({ "ground": "patient_request" })).await;
    door.no_pieces_are_left().await;
    until("it is decided", async || {
        door.scene.product.pull_retries().await;
        // It may have become a file just before the patient's files were removed.
        let told = door.told_of_recordings().await.pop();
        matches!(told.as_deref(), Some("discarded" | "stored")).then_some(())
    })
    .await;
    let is_film = |file: &Value| file["kind"] == "recording";
    until("no film is left", async || (!door.scene.stored_files().await.iter().any(is_film)).then_some(()))
        .await;
    door.close().await;
}

fn upload() -> Value {
    json!({
        "kind": "exercise_video", "content_type": "video/mp4", "size_bytes": 1_000,
        "content_sha256": "aa".repeat(32),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_loaded_again_records_anew_and_what_has_no_beginning_is_not_kept() {
    let door = Door::recordable().await;
    let ((mut specialist, _), _patient) = door.talk().await;
    let first = begins(&mut specialist).await;
    assert_eq!(door.sends(&door.specialist, &first, "0", piece(0)).await.0, 204);

    let mut again =
        Page::hello(door.address, &door.specialist, "the-device-of-the-specialist-here", None).await;
    let state = again.hears("state").await;
    assert_eq!(state["recording"], Value::Null, "it ended with the page that made it");
    let second = begins(&mut again).await;
    assert_eq!(door.sends(&door.specialist, &first, "1", piece(1)).await.0, 409);
    assert_eq!(door.sends(&door.specialist, &second, "1", piece(1)).await.0, 204);
    until("the first is kept", async || {
        door.scene.product.pull_retries().await;
        (door.scene.stored_files().await.len() == 1).then_some(())
    })
    .await;
    assert!(door.film().await == piece(0));
    again.say(&json!({ "type": "record", "on": false }));

    door.scene.is_told(&door.appointment, "recording_discarded").await;
    assert_eq!(door.scene.fact("video_room.recording_discarded", "reason").await, "empty");
    door.no_pieces_are_left().await;
    assert_eq!(door.scene.stored_files().await.len(), 1);
    door.close().await;
}

/// So that a wish of the clinic is not lost where nobody is in the room yet.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_clinic_asks_for_is_begun_by_the_specialists_page() {
    let door = Door::recordable().await;
    assert_eq!(door.scene.recording(&door.appointment, "start").await.0, 202);
    let ((mut specialist, _), (mut patient, _)) = door.talk().await;
    specialist.say(&json!({ "type": "record", "on": true }));
    specialist.sees(|state| state["recording"]["id"].is_string()).await;
    patient.sees(|state| state["recording"]["id"].is_string()).await;
    assert_eq!(door.scene.recording(&door.appointment, "stop").await.0, 202);
    specialist.sees(|state| state["recording"].is_null()).await;
    door.scene.is_told(&door.appointment, "recording_discarded").await;
    assert_eq!(door.scene.fact("video_room.recording_discarded", "reason").await, "empty");
    door.close().await;
}
