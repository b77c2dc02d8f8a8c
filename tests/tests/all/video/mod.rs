//! Video rooms from the log, against a Daily that is as strict as the vendor's contract.

mod accounts;
mod browsers;
mod cable;
mod check_in;
mod clients;
mod datagrams;
mod faults;
mod hooks;
mod links;
mod media;
mod own_recordings;
mod processes;
mod recordings;
mod scale;
mod scene;
mod sockets;

use carelog_event_log::runtime::RebuildScope;
use carelog_server::serve::Roles;
use reqwest::Method;
use serde_json::{Value, json};

use self::scene::{DAILY_KEY, Scene, name_of};

fn unix(moment: &Value) -> i64 {
    moment.as_str().unwrap().parse::<carelog_domain::Timestamp>().unwrap().unix_seconds()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_in_makes_a_room_without_a_request_and_the_window_follows_the_appointment() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.book(60).await;
    assert_eq!(scene.becomes(&appointment, "planned").await["version"], 0);

    scene.happens(&appointment, "onboard", json!({})).await;
    let room = scene.becomes(&appointment, "open").await;

    let [made] = &scene.rooms()[..] else { panic!("one room: {:?}", scene.rooms()) };
    assert_eq!((&made.name, made.privacy.as_str()), (&name_of(&appointment), "private"));
    let (nbf, exp) = (&made.config["nbf"], &made.config["exp"]);
    assert_eq!((nbf, exp), (&json!(unix(&room["opens_at"])), &json!(unix(&room["expires_at"]))));
    // 15 minutes before, half an hour, 15 minutes after.
    assert_eq!(exp.as_i64().unwrap() - nbf.as_i64().unwrap(), 60 * 60);
    assert_eq!(made.config["eject_at_room_exp"], true);

    let starts_at = scene.moves(&appointment, 180).await;
    carelog_tests::until("the window moves", async || {
        let [made] = &scene.rooms()[..] else { panic!("one room") };
        (made.config["nbf"] == starts_at.unix_seconds() - 15 * 60).then_some(())
    })
    .await;
    assert_eq!(scene.becomes(&appointment, "open").await["opening"], 1);

    let cancel = json!({ "reason": "illness" });
    scene.happens(&appointment, "cancel", cancel).await;
    let room = scene.becomes(&appointment, "closed").await;
    assert_eq!((scene.rooms(), &room["end_reason"]), (vec![], &json!("appointment_cancelled")));
    let told = scene.told(&appointment).await;
    assert_eq!(told, ["video_room.created", "video_room.moved", "video_room.expired"]);
    scene.product.settled().await;
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_who_does_not_come_leaves_no_room() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;

    scene.happens(&appointment, "no-show", json!({})).await;

    assert_eq!(scene.becomes(&appointment, "closed").await["end_reason"], "no_show");
    assert_eq!(scene.rooms(), []);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_open_earlier_once_the_clinic_says_so() {
    let scene = Scene::new(Roles::ALL).await;
    let appointments = [scene.onboarded(60).await, scene.onboarded(90).await];
    for appointment in &appointments {
        scene.becomes(appointment, "open").await;
    }
    let before = appointments.each_ref().map(async |appointment| scene.room(appointment).await);
    let before = futures::future::join_all(before).await;

    let settings =
        json!({ "recording_enabled": false, "small_cell_threshold": 11, "waiting_room_minutes": 40 });
    scene.done(Method::PUT, "/v1/organization/settings", settings).await;

    for (appointment, before) in appointments.iter().zip(before) {
        carelog_tests::until("the room opens earlier", async || {
            let room = scene.room(appointment).await;
            let earlier = unix(&before["opens_at"]) - unix(&room["opens_at"]);
            (earlier == 25 * 60 && room["expires_at"] == before["expires_at"]).then_some(())
        })
        .await;
    }
    let mut windows: Vec<_> = scene.rooms().iter().map(|made| made.config["nbf"].clone()).collect();
    windows.sort_by_key(Value::as_i64);
    let mut shown = Vec::new();
    for appointment in &appointments {
        shown.push(json!(unix(&scene.room(appointment).await["opens_at"])));
    }
    assert_eq!(windows, shown, "Daily has what the log says");
    scene.product.settled().await;
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_expires_by_itself_and_an_appointment_that_moves_afterwards_gets_another() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;

    // 5 minutes until it begins, half an hour, a quarter of an hour, and a second.
    scene.clock.step_seconds(50 * 60 + 1);
    let room = scene.becomes_at_last(&appointment, "closed").await;
    assert_eq!((&room["end_reason"], scene.asked("DELETE /rooms/:id")), (&json!("window_over"), 0));

    scene.moves(&appointment, 60).await;
    let room = scene.becomes(&appointment, "open").await;
    assert_eq!(room["opening"], 2);
    let live: Vec<String> = scene.rooms().into_iter().map(|room| room.name).collect();
    assert_eq!(live, [name_of(&appointment), format!("{}-2", name_of(&appointment))]);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_appointments_by_video_have_rooms() {
    let scene = Scene::new(Roles::ALL).await;
    let starts_at = scene.in_minutes(60);
    let body = json!({ "patient_id": scene.patient, "mode": "phone", "starts_at": starts_at });
    let by_phone = scene.done(Method::POST, "/v1/appointments", body).await;
    scene.happens(&by_phone, "onboard", json!({})).await;

    scene.product.settled().await;

    let path = format!("/v1/appointments/{by_phone}/video-room");
    assert_eq!(scene.product.call(&scene.admin, Method::GET, &path, None).await.0, 404);
    assert_eq!((scene.rooms(), scene.asked("POST /rooms")), (vec![], 0));
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_rooms_are_carelogs_own_and_one_that_comes_makes_those_of_later() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let (own, cancelled) = (scene.onboarded(60).await, scene.onboarded(60).await);
    assert_eq!(scene.becomes(&own, "open").await["provider"], "embedded");
    scene.becomes(&cancelled, "open").await;
    scene.happens(&cancelled, "cancel", json!({ "reason": "other" })).await;
    assert_eq!(scene.becomes(&cancelled, "closed").await["end_reason"], "appointment_cancelled");

    scene.configure(DAILY_KEY).await;
    let dailys = scene.onboarded(60).await;

    assert_eq!(scene.becomes(&dailys, "open").await["provider"], "daily");
    scene.moves(&own, 180).await;
    carelog_tests::until("the window moves", async || {
        (scene.told(&own).await == ["video_room.created", "video_room.moved"]).then_some(())
    })
    .await;
    assert_eq!(scene.room(&own).await["provider"], "embedded", "a room stays with whoever made it");
    let live: Vec<String> = scene.rooms().into_iter().map(|room| room.name).collect();
    assert_eq!((live, scene.asked("POST /rooms")), (vec![name_of(&dailys)], 1));
    scene.happens(&own, "cancel", json!({ "reason": "other" })).await;
    scene.becomes(&own, "closed").await;
    assert_eq!(scene.asked("DELETE /rooms/:id"), 0);
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_goes_leaves_what_it_did_not_make_to_carelog() {
    let scene = Scene::without_provider(Roles::ALL).await;
    scene.configure("a-key-that-daily-does-not-know").await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "failing").await;

    scene.done(Method::DELETE, "/v1/integrations/daily", json!({})).await;

    assert_eq!(scene.becomes(&appointment, "open").await["provider"], "embedded");
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_the_same_rows_and_calls_nobody() {
    let scene = Scene::new(Roles::ALL).await;
    let (open, closed) = (scene.onboarded(60).await, scene.onboarded(60).await);
    scene.becomes(&closed, "open").await;
    scene.happens(&closed, "cancel", json!({ "reason": "other" })).await;
    scene.becomes(&closed, "closed").await;
    scene.becomes(&open, "open").await;
    scene.product.settled().await;
    let (before, calls) = (scene.product.contents().await, scene.product.daily.calls());

    scene.product.rebuild(RebuildScope::Everything).await;
    scene.product.rebuild(RebuildScope::Organization(scene.organization_id)).await;
    scene.product.settled().await;

    assert_eq!(scene.product.contents().await, before);
    assert_eq!(scene.product.daily.calls(), calls);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_daily_does_not_have_are_refused_and_the_key_is_shown_to_nobody() {
    let scene = Scene::new(Roles::ALL).await;
    let wrong = [json!({}), json!({ "api_key": "with space" }), json!({ "api_key": "x", "key/of": "y" })];
    let pointers = ["/settings/api_key", "/settings/api_key", "/settings/key~1of"];
    for (settings, pointer) in wrong.into_iter().zip(pointers) {
        let body = json!({ "settings": settings });
        let (status, problem) =
            scene.product.call(&scene.admin, Method::PUT, "/v1/integrations/daily", Some(&body)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
    }

    let (_, shown) = scene.product.call(&scene.admin, Method::GET, "/v1/integrations", None).await;
    assert!(!shown.to_string().contains(DAILY_KEY));
    let rows = scene.product.contents().await;
    assert!(rows.values().flatten().all(|row| !row.contains(DAILY_KEY)));
    scene.product.stop().await;
}
