//! Clients that are not ours against the same Daily, so that it is not our reading of the contract alone; and our own
//! client beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Arc;

use carelog_embedded::daily::{FakeDaily, Kind, ROOM_PROPERTIES, TOKEN_PROPERTIES};
use carelog_event_log::{Clock, SystemClock};
use carelog_tests::{node_client, python_client};
use dailyco::RoomPropertiesBuilder;
use dailyco::room::{CreateRoom, RoomPrivacy, UpdateRoom};
use serde::Deserialize;
use serde_json::{Value, json};

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

/// Properties with the kinds of their values: `boolean`, `number`, `string`, `object`.
#[derive(Debug, Deserialize)]
struct Declared {
    room: BTreeMap<String, String>,
    token: BTreeMap<String, String>,
}

async fn declared(mut client: Command) -> Declared {
    let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Which kinds of values the fake takes.
fn taken(kind: Kind) -> Vec<&'static str> {
    let text = if let Kind::OneOf([name, ..]) = kind { json!(name) } else { json!("any") };
    let examples = [
        ("boolean", json!(true)),
        ("number", json!(7)),
        ("string", text),
        ("object", json!({})),
        ("array", json!([])),
    ];
    examples
        .into_iter()
        .filter(|(_, example): &(_, Value)| kind.takes(example))
        .map(|(name, _)| name)
        .collect()
}

/// What neither package declares, from <https://docs.daily.co/reference/rest-api/rooms/config> and
/// <https://docs.daily.co/reference/rest-api/meeting-tokens/config>.
const OF_THE_REFERENCE_ALONE: [&str; 14] = [
    "auto_start_transcription",
    "auto_transcription_settings",
    "disable_rtmp_geo_fallback",
    "enable_adaptive_simulcast",
    "enable_hidden_participants",
    "enable_mesh_sfu",
    "enable_multiparty_adaptive_simulcast",
    "enable_terse_logging",
    "enforce_unique_user_ids",
    "knocking",
    "meeting_join_hook",
    "recordings_template",
    "rtmp_geo",
    "streaming_endpoints",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_properties_are_those_that_packages_of_the_vendor_declare() {
    let packages = [
        ("daily-js", declared(node_client("daily-types").await).await),
        ("pipecat", declared(python_client("pipecat").await).await),
    ];
    let mut named = BTreeSet::new();

    for (package, declared) in &packages {
        let of_rooms = declared.room.iter().map(|one| (one, ROOM_PROPERTIES));
        let of_tokens = declared.token.iter().map(|one| (one, TOKEN_PROPERTIES));
        for ((name, kind), known) in of_rooms.chain(of_tokens) {
            // Daily tells this of a room, and nobody sets it.
            if name == "sip_uri" {
                continue;
            }
            let known = known.iter().find(|(known, _)| known == name);
            let taken = known.map(|(_, kind)| taken(*kind));
            assert_eq!(taken, Some(vec![kind.as_str()]), "{name}, as {package} declares it");
            named.insert(name.as_str());
        }
    }

    let known: BTreeSet<&str> =
        ROOM_PROPERTIES.iter().chain(TOKEN_PROPERTIES).map(|(name, _)| *name).collect();
    let further: Vec<&str> = known.difference(&named).copied().collect();
    assert_eq!(further, OF_THE_REFERENCE_ALONE);
    assert!(named.len() > 40, "the packages were read: {}", named.len());
}
