//! Workers that are killed between the call and the record: one room for each appointment in the end.

use std::time::Duration;

use carelog_embedded::daily::{Fault, On};
use carelog_server::serve::Roles;
use carelog_tests::{ServerProcess, until};
use serde_json::json;

use super::scene::Scene;
use crate::worker_processes::{FEW, PROCESS};

/// Longer than any test.
const PONDERING: Fault = Fault::Slow(Duration::from_mins(5));

/// Whose account was looked at already, so that nothing is left to be done.
async fn without_workers() -> Scene {
    let scene = Scene::new(Roles { workers: false, ..Roles::ALL }).await;
    let idle = worker(&scene).await;
    scene.product.settled().await;
    assert!(idle.end().await.success());
    scene
}

async fn worker(scene: &Scene) -> ServerProcess {
    scene.product.process(PROCESS, "workers", FEW, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_call_and_record_leaves_one_room_that_is_found_again() {
    let scene = without_workers().await;
    scene.product.daily.next(On::Create, [PONDERING]);
    let first = worker(&scene).await;
    let appointment = scene.onboarded(60).await;
    until("the room is made", async || (scene.rooms().len() == 1).then_some(())).await;

    let owner = first.owner;
    first.kill();
    assert_eq!(scene.told(&appointment).await, Vec::<String>::new());
    scene.product.leases_end(owner).await;
    let second = worker(&scene).await;

    scene.becomes(&appointment, "open").await;
    assert_eq!((scene.rooms().len(), scene.asked("POST /rooms")), (1, 1));
    assert_eq!(scene.told(&appointment).await, ["video_room.created"]);
    assert_eq!(scene.fact("video_room.created", "adopted").await, "true");
    assert!(second.end().await.success());
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_that_is_cancelled_while_its_worker_is_dead_leaves_no_room() {
    let scene = without_workers().await;
    scene.product.daily.next(On::Create, [PONDERING]);
    let first = worker(&scene).await;
    let appointment = scene.onboarded(60).await;
    until("the room is made", async || (scene.rooms().len() == 1).then_some(())).await;

    let owner = first.owner;
    first.kill();
    scene.happens(&appointment, "cancel", json!({ "reason": "other" })).await;
    scene.product.leases_end(owner).await;
    let second = worker(&scene).await;

    until("the room is taken away", async || scene.rooms().is_empty().then_some(())).await;
    scene.product.settled().await;
    assert_eq!(scene.becomes(&appointment, "closed").await["opening"], 0);
    assert!(second.end().await.success());
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_it_moves_a_room_leaves_one_room_with_the_window_that_was_asked_for() {
    let scene = without_workers().await;
    let first = worker(&scene).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    scene.product.daily.next(On::Update, [PONDERING]);
    let starts_at = scene.moves(&appointment, 180).await;
    let has_moved = || scene.rooms()[0].config["nbf"] == starts_at.unix_seconds() - 15 * 60;
    until("the window moves", async || has_moved().then_some(())).await;

    let owner = first.owner;
    first.kill();
    assert_eq!(scene.told(&appointment).await, ["video_room.created"]);
    scene.product.leases_end(owner).await;
    let second = worker(&scene).await;

    until("the move is told", async || (scene.told(&appointment).await.len() > 1).then_some(())).await;
    assert!(second.end().await.success());
    assert_eq!(scene.told(&appointment).await, ["video_room.created", "video_room.moved"]);
    assert_eq!((scene.rooms().len(), scene.asked("POST /rooms"), has_moved()), (1, 1, true));
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_while_it_closes_a_room_leaves_none_and_its_end_is_told_once() {
    let scene = without_workers().await;
    let first = worker(&scene).await;
    let appointment = scene.onboarded(60).await;
    scene.becomes(&appointment, "open").await;
    scene.product.daily.next(On::Delete, [PONDERING]);
    scene.happens(&appointment, "cancel", json!({ "reason": "other" })).await;
    until("the room is taken away", async || scene.rooms().is_empty().then_some(())).await;

    let owner = first.owner;
    first.kill();
    assert_eq!(scene.told(&appointment).await, ["video_room.created"]);
    scene.product.leases_end(owner).await;
    let second = worker(&scene).await;

    assert_eq!(scene.becomes(&appointment, "closed").await["end_reason"], "appointment_cancelled");
    assert!(second.end().await.success());
    assert_eq!(scene.told(&appointment).await, ["video_room.created", "video_room.expired"]);
    assert_eq!((scene.rooms().len(), scene.asked("POST /rooms")), (0, 1));
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stopped_beyond_its_lease_does_no_harm_when_it_goes_on() {
    let scene = without_workers().await;
    scene.product.daily.next(On::Create, [Fault::Slow(Duration::from_millis(500))]);
    let first = worker(&scene).await;
    let appointment = scene.onboarded(60).await;
    until("the room is made", async || (scene.rooms().len() == 1).then_some(())).await;

    first.signal(rustix::process::Signal::STOP);
    scene.product.leases_end(first.owner).await;
    let second = worker(&scene).await;
    scene.becomes(&appointment, "open").await;
    let starts_at = scene.moves(&appointment, 240).await;
    until("the window moves", async || {
        (scene.rooms()[0].config["nbf"] == starts_at.unix_seconds() - 15 * 60).then_some(())
    })
    .await;
    first.signal(rustix::process::Signal::CONT);

    assert!(first.end().await.success());
    scene.product.settled().await;
    assert_eq!(scene.rooms().len(), 1);
    assert_eq!(scene.rooms()[0].config["nbf"], starts_at.unix_seconds() - 15 * 60);
    let told = scene.told(&appointment).await;
    assert_eq!(told, ["video_room.created", "video_room.moved"]);
    assert!(second.end().await.success());
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_die_again_and_again_make_one_room_for_each_appointment() {
    const APPOINTMENTS: usize = 12;
    let scene = without_workers().await;
    let mut appointments = Vec::new();
    for _ in 0..APPOINTMENTS {
        appointments.push(scene.onboarded(60).await);
    }
    // Each worker gets three rooms into the log at most, has further calls under way, and dies.
    for round in 0..3 {
        let made = scene.rooms().len();
        let slow = Fault::Slow(Duration::from_millis(5));
        scene.product.daily.next(On::Create, [slow, PONDERING, slow, PONDERING, slow, PONDERING]);
        let worker = worker(&scene).await;
        // Those that Daily pondered over may be there by now, too.
        let wanted = APPOINTMENTS.min(made + 3);
        until("rooms are made", async || (scene.rooms().len() >= wanted).then_some(())).await;
        let owner = worker.owner;
        worker.kill();
        scene.product.leases_end(owner).await;
        assert!(scene.rooms().len() <= APPOINTMENTS, "round {round}");
    }
    let last = worker(&scene).await;

    for appointment in &appointments {
        scene.becomes_at_last(appointment, "open").await;
        let mut told = scene.told(appointment).await;
        // One that Daily pondered over under a living worker failed before.
        told.retain(|event_type| event_type != "video_room.creation_failed");
        assert_eq!(told, ["video_room.created"]);
    }
    assert_eq!(scene.rooms().len(), APPOINTMENTS);
    assert!(last.end().await.success());
    scene.product.is_sound().await;
    scene.product.stop().await;
}
