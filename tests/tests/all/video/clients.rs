//! Clients that are not ours against the same Daily, so that it is not our reading of the contract alone; and our own
//! client beside them.

use std::sync::Arc;

use carelog_embedded::daily::FakeDaily;
use carelog_event_log::{Clock, SystemClock};
use carelog_tests::python_client;
use dailyco::RoomPropertiesBuilder;
use dailyco::room::{CreateRoom, RoomPrivacy, UpdateRoom};

use super::scene::{DAILY_KEY, DOMAIN_ID};

async fn daily() -> FakeDaily {
    let daily = FakeDaily::start(Arc::new(|| SystemClock.now().unix_micros())).await.unwrap();
    daily.add_domain("clinic", DOMAIN_ID, DAILY_KEY);
    daily
}

#[tokio::test(flavor = "multi_thread")]
async fn the_crate_dailyco_finds_the_contract_kept() {
    let daily = daily().await;
    let endpoint = format!("{}/", daily.url()).parse().unwrap();
    let client = dailyco::Client::with_endpoint(DAILY_KEY, endpoint).unwrap();
    let exp = SystemClock.now().unix_seconds() + 3_600;
    let properties = RoomPropertiesBuilder::new().exp(exp).enable_knocking(true);

    let made = CreateRoom::new()
        .name("appt-1")
        .privacy(RoomPrivacy::Private)
        .properties(properties)
        .send(&client)
        .await
        .unwrap();

    assert_eq!((made.name.as_str(), made.url.as_str()), ("appt-1", "https://clinic.daily.co/appt-1"));
    assert_eq!((made.config.exp, made.config.enable_knocking), (Some(exp), true));
    let twice = CreateRoom::new().name("appt-1").send(&client).await.unwrap_err();
    assert!(matches!(twice, dailyco::Error::APIError(_)), "{twice}");
    let later = RoomPropertiesBuilder::new().exp(exp + 60);
    let moved = UpdateRoom::new().properties(later).send("appt-1", &client).await.unwrap();
    assert_eq!((moved.config.exp, moved.privacy), (Some(exp + 60), RoomPrivacy::Private));
    assert_eq!(client.get_room("appt-1").await.unwrap().id, made.id);
    assert_eq!(client.get_rooms().await.unwrap().len(), 1);
    client.delete_room("appt-1").await.unwrap();
    let gone = client.get_room("appt-1").await.unwrap_err();
    assert!(matches!(gone, dailyco::Error::APIError(_)), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_helper_of_pipecat_finds_the_contract_kept() {
    let daily = daily().await;
    let mut client = python_client("pipecat").await;
    client.arg(daily.url()).arg(DAILY_KEY);

    let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "kept", "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(daily.rooms(DAILY_KEY), []);
}
