//! A Daily that is slow, failing, silent or exact about its rules: one room in the end, and every failure in the log.

use std::time::Duration;

use carelog_domain::organization::{IntegrationKind, OrganizationCommand};
use carelog_embedded::daily::{Fault, On};
use carelog_server::doctor::{Leaves, examine};
use carelog_server::serve::Roles;
use carelog_tests::until;
use reqwest::Method;
use serde_json::json;

use super::scene::{DAILY_KEY, DOMAIN_ID, Scene, name_of};

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_creation_ends_in_one_room_and_is_visible_meanwhile() {
    let scene = Scene::new(Roles::ALL).await;
    let faults = [
        (Fault::Status(500), "unavailable", "false"),
        (Fault::Status(503), "unavailable", "false"),
        (Fault::Limited(1), "rate_limited", "false"),
        (Fault::LoseRequest, "unknown", "false"),
        (Fault::LoseAnswer, "unknown", "true"),
        (Fault::Garbage, "unknown", "true"),
        (Fault::Status(401), "credentials", "false"),
        (Fault::Status(400), "refused", "false"),
    ];
    for (made, (fault, reason, adopted)) in faults.into_iter().enumerate() {
        scene.product.daily.next(On::Create, [fault]);
        let appointment = scene.onboarded(60).await;

        let failing = scene.becomes(&appointment, "failing").await;
        assert_eq!((&failing["failure_reason"], &failing["attempt_count"]), (&json!(reason), &json!(1)));
        assert!(failing["next_attempt_at"].is_string(), "{fault:?}");
        let list = "/v1/video-rooms?failing=true";
        let (_, listed) = scene.product.call(&scene.admin, Method::GET, list, None).await;
        assert_eq!(listed["items"][0]["appointment_id"], json!(appointment));
        assert_eq!(listed["items"].as_array().unwrap().len(), 1);

        let room = scene.becomes_at_last(&appointment, "open").await;
        assert_eq!((&room["attempt_count"], &room["failure_reason"]), (&json!(0), &json!(null)));
        let told = scene.told(&appointment).await;
        assert_eq!(told, ["video_room.creation_failed", "video_room.created"], "{fault:?}");
        assert_eq!(scene.fact("video_room.created", "adopted").await, adopted, "{fault:?}");
        assert_eq!(scene.rooms().len(), made + 1, "{fault:?}");
    }
    scene.product.settled().await;
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daily_that_never_answers_is_given_up_in_time_and_asked_what_it_did() {
    let scene = Scene::new(Roles::ALL).await;
    scene.product.daily.next(On::Create, [Fault::NoAnswer]);
    let appointment = scene.onboarded(60).await;

    assert_eq!(scene.becomes(&appointment, "failing").await["failure_reason"], "unknown");
    scene.becomes_at_last(&appointment, "open").await;

    assert_eq!((scene.rooms().len(), scene.asked("POST /rooms")), (1, 1));
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_daily_is_waited_for() {
    let scene = Scene::new(Roles::ALL).await;
    scene.product.daily.always(Some(Fault::Slow(Duration::from_millis(300))));

    let appointment = scene.onboarded(60).await;

    scene.becomes(&appointment, "open").await;
    assert_eq!(scene.told(&appointment).await, ["video_room.created"]);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_of_the_same_name_is_taken_over_with_the_window_that_it_should_have() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.book(60).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let body = json!({ "name": name_of(&appointment), "properties": { "enable_chat": true } });
    let url = format!("{}/rooms", scene.product.daily.url());
    assert_eq!(client.post(url).bearer_auth(DAILY_KEY).json(&body).send().await.unwrap().status(), 200);

    scene.happens(&appointment, "onboard", json!({})).await;

    let room = scene.becomes(&appointment, "open").await;
    let [taken] = &scene.rooms()[..] else { panic!("one room") };
    assert_eq!((taken.privacy.as_str(), &taken.config["enable_chat"]), ("private", &json!(false)));
    assert_eq!(taken.config["exp"], super::unix(&room["expires_at"]));
    assert_eq!(scene.fact("video_room.created", "adopted").await, "true");
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moves_and_closings_that_fail_are_tried_again_until_daily_has_what_the_log_says() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    scene.product.daily.next(On::Update, [Fault::LoseAnswer, Fault::Status(502)]);

    let starts_at = scene.moves(&appointment, 240).await;
    assert_eq!(scene.becomes(&appointment, "failing").await["failure_reason"], "unknown");
    scene.becomes_at_last(&appointment, "open").await;
    assert_eq!(scene.rooms()[0].config["nbf"], starts_at.unix_seconds() - 15 * 60);

    scene.product.daily.next(On::Delete, [Fault::LoseAnswer]);
    scene.happens(&appointment, "cancel", json!({ "reason": "other" })).await;
    let (status, problem) = scene.link(&scene.admin, &appointment, json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("video_room_not_open")), "whatever Daily still has");
    // An earlier look that was pulled forward may close it within the same moment, so its failure may be brief.
    scene.becomes_at_last(&appointment, "closed").await;
    assert_eq!(scene.rooms(), []);
    let told = scene.told(&appointment).await;
    assert_eq!(told[1..3], ["video_room.change_failed", "video_room.change_failed"]);
    assert_eq!((told[3].as_str(), told.last().unwrap().as_str()), ("video_room.moved", "video_room.expired"));
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_somebody_took_away_at_daily_is_made_anew_when_it_moves() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    scene.product.daily.take_away(DAILY_KEY, &name_of(&appointment));

    let starts_at = scene.moves(&appointment, 240).await;

    until("the room is there again", async || {
        let rooms = scene.rooms();
        rooms
            .first()
            .is_some_and(|room| room.config["nbf"] == starts_at.unix_seconds() - 15 * 60)
            .then_some(())
    })
    .await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_appointment_leaves_no_room_even_where_daily_did_not_say_that_it_made_one() {
    let scene = Scene::new(Roles::ALL).await;
    scene.product.daily.next(On::Create, [Fault::LoseAnswer]);
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "failing").await;
    assert_eq!(scene.rooms().len(), 1);

    scene.happens(&appointment, "cancel", json!({ "reason": "other" })).await;

    until("the room is taken away", async || {
        scene.product.pull_retries().await;
        scene.rooms().is_empty().then_some(())
    })
    .await;
    assert_eq!(scene.becomes(&appointment, "closed").await["opening"], 0);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_refused_is_visible_and_another_one_is_tried_at_once() {
    let scene = Scene::new(Roles::ALL).await;
    scene.product.daily.revoke(DAILY_KEY);
    let appointments = [scene.onboarded(60).await, scene.onboarded(61).await];
    for appointment in &appointments {
        assert_eq!(scene.becomes(appointment, "failing").await["failure_reason"], "credentials");
    }

    scene.product.daily.add_domain("clinic", DOMAIN_ID, "the-next-key");
    scene.configure("the-next-key").await;

    for appointment in &appointments {
        scene.becomes(appointment, "open").await;
    }
    assert_eq!(scene.product.daily.rooms("the-next-key").len(), 2);
    scene.product.stop().await;
}

/// The API refuses to remove it; a room may open at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_removed_leaves_open_rooms_to_their_end() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let command =
        OrganizationCommand::RemoveIntegration { integration: IntegrationKind::Daily, abandon_open: false };
    scene.decides(command).await;

    scene.product.settled().await;
    let (status, problem) = scene.link(&scene.admin, &appointment, json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("video_provider_not_configured")));
    scene.clock.step_seconds(50 * 60 + 1);

    scene.becomes_at_last(&appointment, "closed").await;
    assert_eq!(scene.told(&appointment).await, ["video_room.created", "video_room.expired"]);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_a_room_that_nobody_will_look_at_and_one_that_is_not_as_the_log_says() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let [forgotten, changed] = [scene.onboarded(60).await, scene.onboarded(60).await];
    for appointment in [&forgotten, &changed] {
        scene.becomes(appointment, "open").await;
    }
    scene.product.settled().await;
    scene.product.is_sound().await;
    let [forgotten_room, changed_room] = [scene.room(&forgotten).await, scene.room(&changed).await];

    scene
        .product
        .sql(&format!(
            "update runtime.effects x set next_at = null from log.events e
             where x.reactor = 'video' and e.lane = x.lane and e.position = x.position
               and e.stream_id = '{forgotten}'"
        ))
        .await;
    scene
        .product
        .sql(&format!("update video.video_rooms set version = 7 where appointment_id = '{changed}'"))
        .await;

    let findings = examine(scene.product.databases(), Leaves::All).await.unwrap();
    let damage = |name: &str| {
        let finding = findings.iter().find(|finding| finding.name == name).unwrap();
        (finding.checked, finding.damage.clone())
    };
    let (open, unseen) = damage("every open video room is looked at when it ends");
    assert_eq!((open, unseen.len()), (2, 1), "{unseen:?}");
    assert!(unseen[0].contains(forgotten_room["id"].as_str().unwrap()), "{unseen:?}");
    let (rooms, differing) = damage("video rooms are as new as their streams");
    assert_eq!((rooms, differing.len()), (2, 1), "{differing:?}");
    assert!(differing[0].contains(changed_room["id"].as_str().unwrap()), "{differing:?}");
    scene.product.stop().await;
}
