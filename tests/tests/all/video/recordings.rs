//! Recordings: only with the clinic's setting and the patient's consent, ended when either goes, and stored once.

use std::time::Duration;

use carelog_domain::FileId;
use carelog_domain::file::ContentType;
use carelog_embedded::daily::{Fault, On};
use carelog_event_log::{Clock as _, new_id};
use carelog_server::files;
use carelog_server::serve::Roles;
use carelog_server::storages::object_key;
use carelog_tests::{ServerProcess, until};
use carelog_video::file_of_recording;
use reqwest::Method;
use serde_json::{Value, json};

use super::hooks::{Sending, connected, look_again};
use super::scene::{DAILY_KEY, Scene, name_of};
use crate::worker_processes::{FEW, PROCESS};

/// Longer than any test.
const PONDERING: Fault = Fault::Slow(Duration::from_mins(5));

/// What a film begins with.
fn film() -> Vec<u8> {
    let mut film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    film.extend((0..300_000_u32).flat_map(u32::to_le_bytes));
    film
}

impl Scene {
    pub(super) async fn may_record(&self, is_enabled: bool) {
        let settings =
            json!({ "recording_enabled": is_enabled, "small_cell_threshold": 5, "waiting_room_minutes": 15 });
        self.holds(Method::PUT, "/v1/organization/settings", settings).await;
    }

    pub(super) async fn agrees(&self) {
        let path = format!("/v1/patients/{}/consents", self.patient);
        self.holds(Method::POST, &path, json!({ "consent": "recording", "version": 1 })).await;
    }

    /// A command that succeeds, or changes nothing because it is so already.
    async fn holds(&self, method: Method, path: &str, body: Value) {
        let (status, answer) = self.product.call(&self.admin, method, path, Some(&body)).await;
        assert!(matches!(status, 200 | 409), "{path}: {status} {answer}");
    }

    pub(super) async fn withdraws(&self) {
        let path = format!("/v1/patients/{}/consents/recording", self.patient);
        self.done(Method::DELETE, &path, json!({})).await;
    }

    pub(super) async fn recording(&self, appointment: &str, what: &str) -> (u16, Value) {
        let path = format!("/v1/appointments/{appointment}/video-room/recording/{what}");
        self.product.call(&self.admin, Method::POST, &path, Some(&json!({}))).await
    }

    /// A consultation with two people in it that may be recorded.
    pub(super) async fn consultation(&self) -> String {
        self.may_record(true).await;
        self.agrees().await;
        self.product.daily.films(DAILY_KEY, film());
        let appointment = self.onboarded(5).await;
        self.becomes(&appointment, "open").await;
        self.product.daily.lets_in(DAILY_KEY, &name_of(&appointment), 2);
        appointment
    }

    /// Waits for an event of the room, with every pause cut short.
    pub(super) async fn is_told(&self, appointment: &str, event_type: &str) -> Vec<String> {
        let wanted = format!("video_room.{event_type}");
        until(&format!("{wanted} is told"), async || {
            self.product.pull_retries().await;
            let told = self.told(appointment).await;
            told.contains(&wanted).then_some(told)
        })
        .await
    }

    /// Waits until Daily has no recording any more.
    async fn nothing_is_left(&self) {
        until("Daily has no recording", async || {
            self.product.pull_retries().await;
            self.product.daily.recordings(DAILY_KEY).is_empty().then_some(())
        })
        .await;
    }

    pub(super) async fn stored_files(&self) -> Vec<Value> {
        self.product.settled().await;
        let (_, files) = self.product.call(&self.admin, Method::GET, "/v1/files", None).await;
        files["items"].as_array().unwrap().iter().filter(|file| file["status"] == "stored").cloned().collect()
    }
}

/// What is told of recordings, without failures that a repetition cured.
pub(super) fn of_recordings(told: &[String]) -> Vec<&str> {
    let kinds = told.iter().filter_map(|told| told.strip_prefix("video_room.recording_"));
    kinds.filter(|kind| *kind != "failed").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_is_allowed_ends_as_one_file_in_the_storage_of_the_clinic() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.consultation().await;

    assert_eq!(scene.recording(&appointment, "start").await.0, 202);
    let (status, problem) = scene.recording(&appointment, "start").await;
    assert_eq!((status, &problem["code"]), (409, &json!("already_recording")));
    scene.is_told(&appointment, "recording_started").await;
    scene.clock.step_seconds(90);
    assert_eq!(scene.recording(&appointment, "stop").await.0, 202);

    let told = scene.is_told(&appointment, "recording_stored").await;
    assert_eq!(of_recordings(&told), ["requested", "started", "stop_requested", "stopped", "stored"]);
    assert_eq!(scene.fact("video_room.recording_stopped", "reason").await, "requested");
    scene.nothing_is_left().await;
    let [file] = &scene.stored_files().await[..] else { panic!("one file") };
    assert_eq!((&file["kind"], &file["size_bytes"]), (&json!("recording"), &json!(film().len())));
    assert_eq!(file["patient_id"], json!(scene.patient));
    assert_eq!(file["id"], json!(scene.fact("video_room.recording_stored", "file_id").await));
    assert_eq!(scene.rooms()[0].config.get("enable_recording"), None, "nobody can begin one by hand");
    let (status, problem) = scene.recording(&appointment, "stop").await;
    assert_eq!((status, &problem["code"]), (409, &json!("not_recording")));
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_or_setting_there_is_no_recording_by_any_path() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    scene.product.daily.films(DAILY_KEY, film());
    let room = name_of(&appointment);
    scene.product.daily.lets_in(DAILY_KEY, &room, 2);
    let is_refused = async |code: &str| {
        let (status, problem) = scene.recording(&appointment, "start").await;
        assert_eq!((status, &problem["code"]), (409, &json!(code)));
        // Whoever begins one at Daily itself: it is ended, deleted there, and not kept.
        scene.product.daily.records_by_itself(DAILY_KEY, &room);
        let recording = scene.product.daily.recordings(DAILY_KEY).pop().unwrap();
        let notice = json!({
            "version": "1", "type": "recording.started", "id": format!("started {}", recording.id),
            "event_ts": scene.clock.now().unix_seconds(),
            "payload": { "room_name": room, "recording_id": recording.id },
        });
        assert_eq!(Sending::to(&scene, &notice).send(&scene).await.0, 200);
        scene.nothing_is_left().await;
        // It is noted after it is deleted.
        scene.product.settled().await;
    };

    is_refused("recording_not_enabled").await;
    assert_eq!(scene.fact("video_room.recording_discarded", "reason").await, "not_enabled");
    scene.agrees().await;
    is_refused("recording_not_enabled").await;
    scene.withdraws().await;
    scene.may_record(true).await;
    is_refused("no_recording_consent").await;
    scene.product.settled().await;
    assert_eq!(scene.fact("video_room.recording_discarded", "reason").await, "no_consent");

    let told = scene.told(&appointment).await;
    assert_eq!(of_recordings(&told), ["discarded", "discarded", "discarded"]);
    assert_eq!(scene.stored_files().await, Vec::<Value>::new());
    assert_eq!(scene.asked("POST /rooms/:id/recordings/start"), 0);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_ends_when_the_consent_or_the_setting_goes_and_what_was_allowed_is_kept() {
    let scene = Scene::new(Roles::ALL).await;
    for (kept, reason) in [(1, "consent_withdrawn"), (2, "not_enabled")] {
        let appointment = scene.consultation().await;
        assert_eq!(scene.recording(&appointment, "start").await.0, 202);
        scene.is_told(&appointment, "recording_started").await;

        if reason == "not_enabled" {
            scene.may_record(false).await;
        } else {
            scene.withdraws().await;
        }

        let told = scene.is_told(&appointment, "recording_stored").await;
        assert_eq!(of_recordings(&told), ["requested", "started", "stop_requested", "stopped", "stored"]);
        assert_eq!(scene.fact("video_room.recording_stopped", "reason").await, reason);
        scene.nothing_is_left().await;
        assert_eq!(scene.stored_files().await.len(), kept);
    }
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_withdrawn_while_the_recording_begins_leaves_none() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.consultation().await;
    scene.product.daily.next(On::StartRecording, [Fault::Slow(Duration::from_secs(2))]);
    assert_eq!(scene.recording(&appointment, "start").await.0, 202);
    until("Daily begins", async || (scene.product.daily.recordings(DAILY_KEY).len() == 1).then_some(()))
        .await;

    scene.withdraws().await;

    scene.is_told(&appointment, "recording_discarded").await;
    scene.nothing_is_left().await;
    scene.product.settled().await;
    let told = scene.told(&appointment).await;
    assert_eq!(of_recordings(&told), ["requested", "stop_requested", "discarded"]);
    assert_eq!(scene.stored_files().await, Vec::<Value>::new());
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_of_which_the_list_alone_tells_are_found_among_others_ended_and_deleted() {
    let scene = connected().await;
    let daily = &scene.product.daily;
    daily.loses_notices(DAILY_KEY, true);
    let appointments = [scene.consultation().await, scene.consultation().await];
    let [ended, goes_on] = appointments.each_ref().map(|appointment| name_of(appointment));
    daily.records_by_itself(DAILY_KEY, &ended);
    daily.lets_in(DAILY_KEY, &ended, 0);
    daily.records_by_itself(DAILY_KEY, &goes_on);
    // More than a page of the list, of a room that is none of ours.
    daily.films(DAILY_KEY, Vec::new());
    for _ in 0..120 {
        daily.records_by_itself(DAILY_KEY, "lobby");
        daily.lets_in(DAILY_KEY, "lobby", 0);
    }

    for appointment in &appointments {
        until("the recording is deleted and noted", async || {
            look_again(&scene).await;
            scene.product.pull_retries().await;
            (of_recordings(&scene.told(appointment).await) == ["discarded"]).then_some(())
        })
        .await;
    }

    assert_eq!(scene.fact("video_room.recording_discarded", "reason").await, "not_requested");
    assert_eq!(scene.asked("POST /rooms/:id/recordings/stop"), 1, "the one that went on was ended");
    let left = daily.recordings(DAILY_KEY);
    assert!(left.len() == 120 && left.iter().all(|recording| recording.room_name == "lobby"));
    assert_eq!(scene.stored_files().await, Vec::<Value>::new());
    scene.product.is_sound().await;
    scene.product.stop().await;
}

async fn worker(scene: &Scene) -> ServerProcess {
    scene.product.process(PROCESS, "workers", FEW, &[]).await
}

/// What a worker ponders over, and dies of.
#[derive(Clone, Copy)]
enum Death {
    Beginning,
    Ending,
    Deleting,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_at_any_step_leaves_one_recording_that_is_stored_once() {
    let scene = Scene::new(Roles { workers: false, ..Roles::ALL }).await;
    let mut living = worker(&scene).await;
    for (stored, death) in [(1, Death::Beginning), (2, Death::Ending), (3, Death::Deleting)] {
        let appointment = scene.consultation().await;
        let on = match death {
            Death::Beginning => On::StartRecording,
            Death::Ending => On::StopRecording,
            Death::Deleting => On::DeleteRecording,
        };
        scene.product.daily.next(on, [PONDERING]);
        let dies = async |dying: ServerProcess| {
            let owner = dying.owner;
            dying.kill();
            scene.product.leases_end(owner).await;
            worker(&scene).await
        };

        assert_eq!(scene.recording(&appointment, "start").await.0, 202);
        if matches!(death, Death::Beginning) {
            let runs = async || (!scene.product.daily.recordings(DAILY_KEY).is_empty()).then_some(());
            until("Daily records", runs).await;
            living = dies(living).await;
        }
        scene.is_told(&appointment, "recording_started").await;
        scene.clock.step_seconds(1);
        assert_eq!(scene.recording(&appointment, "stop").await.0, 202);
        if matches!(death, Death::Ending) {
            let ended = async || {
                let recordings = scene.product.daily.recordings(DAILY_KEY);
                recordings.iter().all(|recording| recording.status == "finished").then_some(())
            };
            until("Daily has stopped", ended).await;
            living = dies(living).await;
        }
        scene.is_told(&appointment, "recording_stored").await;
        if matches!(death, Death::Deleting) {
            living = dies(living).await;
        }

        scene.nothing_is_left().await;
        let told = scene.told(&appointment).await;
        assert_eq!(of_recordings(&told), ["requested", "started", "stop_requested", "stopped", "stored"]);
        assert_eq!(scene.stored_files().await.len(), stored);
        scene.product.daily.lets_in(DAILY_KEY, &name_of(&appointment), 0);
    }
    assert_eq!(scene.asked("POST /rooms/:id/recordings/start"), 3);
    assert!(living.end().await.success());
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_began_before_somebody_asked_for_one_is_not_kept_whatever_is_allowed_by_then() {
    let scene = Scene::new(Roles::ALL).await;
    scene.may_record(true).await;
    scene.product.daily.films(DAILY_KEY, film());
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    scene.product.daily.lets_in(DAILY_KEY, &name_of(&appointment), 2);
    // By hand, and nothing is told of it.
    scene.product.daily.records_by_itself(DAILY_KEY, &name_of(&appointment));
    scene.clock.step_seconds(300);
    scene.agrees().await;

    assert_eq!(scene.recording(&appointment, "start").await.0, 202);
    scene.is_told(&appointment, "recording_started").await;
    assert_eq!(scene.recording(&appointment, "stop").await.0, 202);

    let told = scene.is_told(&appointment, "recording_stored").await;
    assert_eq!(
        of_recordings(&told),
        ["requested", "discarded", "started", "stop_requested", "stopped", "stored"]
    );
    assert_eq!(scene.fact("video_room.recording_discarded", "reason").await, "not_requested");
    scene.nothing_is_left().await;
    let [file] = &scene.stored_files().await[..] else { panic!("one file") };
    assert_eq!(file["id"], json!(scene.fact("video_room.recording_stored", "file_id").await));
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_recording_comes_to_nothing_nobody_in_the_room_can_begin_one_after() {
    for is_begun in [true, false] {
        let scene = Scene::new(Roles::ALL).await;
        let appointment = scene.consultation().await;
        if is_begun {
            assert_eq!(scene.recording(&appointment, "start").await.0, 202);
            scene.is_told(&appointment, "recording_started").await;
            // It ends by itself.
            scene.product.daily.lets_in(DAILY_KEY, &name_of(&appointment), 0);
            scene.is_told(&appointment, "recording_stored").await;
        } else {
            scene.product.daily.lets_in(DAILY_KEY, &name_of(&appointment), 0);
            assert_eq!(scene.recording(&appointment, "start").await.0, 202);
            scene.is_told(&appointment, "recording_failed").await;
            assert_eq!(scene.rooms()[0].config["enable_recording"], "cloud");
            assert_eq!(scene.recording(&appointment, "stop").await.0, 202);
        }

        until("the room cannot be recorded", async || {
            scene.product.pull_retries().await;
            scene.rooms()[0].config.get("enable_recording").is_none().then_some(())
        })
        .await;

        scene.product.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_brought_of_a_recording_is_left_alone_however_long_it_takes() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.consultation().await;
    assert_eq!(scene.recording(&appointment, "start").await.0, 202);
    scene.is_told(&appointment, "recording_started").await;
    let recording_id = scene.fact("video_room.recording_started", "recording_id").await.parse().unwrap();
    let system = scene.product.server.system();
    let storage = system.storages.get().unwrap().of(scene.organization_id).await.unwrap();
    let [key, stray] = [file_of_recording(recording_id), FileId::new(new_id())]
        .map(|file_id| object_key(scene.organization_id, file_id));
    for key in [&key, &stray] {
        storage.begin(key, ContentType::Mp4).await.unwrap();
    }

    let later = scene.clock.now().saturating_add_micros(2 * 3_600_000_000);
    files::sweep(system, later).await.unwrap();

    let left = [storage.uploads(&key).await.unwrap().len(), storage.uploads(&stray).await.unwrap().len()];
    assert_eq!(left, [1, 0]);
    assert_eq!(scene.recording(&appointment, "stop").await.0, 202);
    scene.is_told(&appointment, "recording_stored").await;
    assert_eq!(storage.uploads(&key).await.unwrap(), []);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_complete_once_daily_has_nothing_of_the_patient_whatever_became_of_the_room() {
    let scene = Scene::new(Roles::ALL).await;
    let daily = &scene.product.daily;
    daily.films(DAILY_KEY, film());
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    scene.happens(&appointment, "cancel", json!({ "reason": "other" })).await;
    scene.becomes(&appointment, "closed").await;
    scene.product.settled().await;
    // Nobody looks at this room any more: one recording ends, the other one goes on.
    let room = name_of(&appointment);
    daily.records_by_itself(DAILY_KEY, &room);
    daily.lets_in(DAILY_KEY, &room, 0);
    // A room that is deleted puts nobody out, and nothing in it can be stopped.
    daily.records_by_itself(DAILY_KEY, &room);
    daily.records_by_itself(DAILY_KEY, "lobby");
    let status = async || {
        let path = format!("/v1/patients/{}", scene.patient);
        scene.product.call(&scene.admin, Method::GET, &path, None).await.1["status"].clone()
    };
    daily.always(Some(Fault::Status(503)));
    let asked = scene.asked("GET /recordings");

    let erasure = format!("/v1/patients/{}/erasure", scene.patient);
    scene.done(Method::POST, &erasure, json!({ "ground": "patient_request" })).await;
    until("Daily was asked twice, in vain", async || {
        (scene.asked("GET /recordings") >= asked + 2).then_some(())
    })
    .await;
    assert_eq!(status().await, "erasing");
    assert_eq!(daily.recordings(DAILY_KEY).len(), 3);

    daily.always(None);
    let is_left = async |count| (daily.recordings(DAILY_KEY).len() == count).then_some(());
    until("the one that ended is deleted", async || is_left(2).await).await;
    assert_eq!(status().await, "erasing");
    daily.lets_in(DAILY_KEY, &room, 0);
    until("the patient is erased", async || (status().await == "erased").then_some(())).await;
    let left: Vec<String> =
        daily.recordings(DAILY_KEY).into_iter().map(|recording| recording.room_name).collect();
    assert_eq!(left, ["lobby"]);
    assert_eq!(of_recordings(&scene.told(&appointment).await), ["discarded", "discarded"]);
    assert_eq!(scene.fact("video_room.recording_discarded", "reason").await, "no_consent");
    scene.product.is_sound().await;
    scene.product.stop().await;
}
