//! Many rooms of one organization, within the limits of its account.

use std::time::Instant;

use carelog_server::serve::Roles;
use serde_json::json;

use super::scene::Scene;

/// A thousand with `CARELOG_TEST_ROOMS=1000`, which takes a minute: Daily allows no more.
#[tokio::test(flavor = "multi_thread")]
async fn many_rooms_are_made_within_the_limits_and_none_twice() {
    let rooms: usize = std::env::var("CARELOG_TEST_ROOMS").map_or(150, |rooms| rooms.parse().unwrap());
    let scene = Scene::new(Roles::ALL).await;
    let mut appointments = Vec::new();
    for _ in 0..rooms {
        appointments.push(scene.book(240).await);
    }
    let began = Instant::now();
    let (mut known, mut since) = (0, began);

    for appointment in &appointments {
        scene.happens(appointment, "onboard", json!({})).await;
    }
    // As long as there is progress, it is waited for.
    while known < rooms {
        let now = scene.rooms().len();
        if now > known {
            (known, since) = (now, Instant::now());
        }
        assert!(since.elapsed().as_secs() < 120, "{known} of {rooms} rooms, and no more come");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    scene.product.settled().await;

    let calls = scene.product.daily.calls();
    println!("{rooms} rooms in {took:.1?}: {calls:?}");
    assert_eq!((calls.limited, calls.by_route["POST /rooms"]), (0, rooms as u64));
    let told = "select count(*) from log.events where event_type = 'video_room.created'";
    assert_eq!(usize::try_from(scene.product.count(told).await).unwrap(), rooms);
    scene.product.is_sound().await;
    scene.product.stop().await;
}
