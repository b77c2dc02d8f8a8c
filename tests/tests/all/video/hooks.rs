//! What Daily tells by its webhook: checked, kept as it came, and worked out from the log.

use std::collections::BTreeMap;

use carelog_domain::OrganizationId;
use carelog_domain::organization::{IntegrationCredentials, IntegrationKind, OrganizationCommand};
use carelog_event_log::Clock as _;
use carelog_server::serve::Roles;
use carelog_tests::until;
use carelog_video::daily::{DailyAccount, HookKey};
use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use super::scene::{DAILY_KEY, Scene, name_of};

/// Stands in what Daily sends and nowhere else.
const CANARY: &str = "Erika Musterfrau-Notice";

fn key_of(organization_id: OrganizationId, api_key: &str) -> HookKey {
    let settings = BTreeMap::from([("api_key".to_owned(), api_key.to_owned())]);
    HookKey::of(&DailyAccount::from_settings(organization_id, &settings).unwrap())
}

/// A notice on its way.
pub(super) struct Sending {
    to: String,
    body: String,
    timestamp: Option<String>,
    signature: Option<String>,
}

impl Sending {
    /// As Daily sends it to the clinic of a scene, now.
    pub(super) fn to(scene: &Scene, body: &Value) -> Self {
        Self::raw(scene, body.to_string(), 0)
    }

    fn raw(scene: &Scene, body: String, seconds_ago: i64) -> Self {
        let timestamp = (scene.clock.now().unix_seconds() - seconds_ago).to_string();
        let key = key_of(scene.organization_id, DAILY_KEY);
        let signature = Some(key.sign(&timestamp, body.as_bytes()));
        Self { to: scene.organization_id.to_string(), body, timestamp: Some(timestamp), signature }
    }

    pub(super) async fn send(&self, scene: &Scene) -> (u16, Value) {
        let client = Client::builder().no_proxy().build().unwrap();
        let address = scene.product.server.address.unwrap();
        let url = format!("http://{address}/v1/hooks/daily/{}", self.to);
        let mut request = client.post(url).header("content-type", "application/json").body(self.body.clone());
        if let Some(timestamp) = &self.timestamp {
            request = request.header("X-Webhook-Timestamp", timestamp);
        }
        if let Some(signature) = &self.signature {
            request = request.header("X-Webhook-Signature", signature);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }
}

fn participant(what: &str, id: &str, room: &str, user_id: &str, session_id: Uuid, now: i64) -> Value {
    let mut payload = json!({
        "room": room, "user_id": user_id, "user_name": CANARY, "session_id": session_id,
        "joined_at": f64::from(u32::try_from(now).unwrap()) + 0.25, "owner": false,
    });
    if what == "left" {
        payload["duration"] = json!(90.75);
    }
    json!({ "version": "1.1.0", "type": format!("participant.{what}"), "id": id, "payload": payload, "event_ts": now })
}

async fn notices(scene: &Scene) -> Vec<String> {
    let statement = "select convert_from(facts, 'UTF8')::jsonb ->> 'kind' from log.events
                     where event_type = 'video_notice.received' order by lane, position";
    scene.product.texts(statement).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_and_leaves_is_told_once_however_often_and_in_whatever_order_daily_says_so() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let (_, link) = scene.link(&scene.admin, &appointment, json!({ "participant": "patient" })).await;
    let (room, user) = (name_of(&appointment), link["participant_id"].as_str().unwrap().to_owned());
    let (session, now) = (Uuid::from_u128(0x51), scene.clock.now().unix_seconds());
    let left = participant("left", "l1", &room, &user, session, now);
    let joined = participant("joined", "j1", &room, &user, session, now);

    for body in [&left, &joined, &left, &joined] {
        assert_eq!(Sending::to(&scene, body).send(&scene).await.0, 200);
    }

    let told = until("the stay is told", async || {
        let told = scene.told(&appointment).await;
        told.contains(&"video_room.participant_left".to_owned()).then_some(told)
    })
    .await;
    scene.product.settled().await;
    assert_eq!(
        told,
        [
            "video_room.created",
            "video_room.access_granted",
            "video_room.participant_joined",
            "video_room.participant_left"
        ]
    );
    assert_eq!(scene.told(&appointment).await, told);
    assert_eq!(scene.fact("video_room.participant_left", "duration_seconds").await, "90");
    assert_eq!(scene.fact("video_room.participant_left", "participant").await, "patient");
    let mut kept = notices(&scene).await;
    kept.sort();
    assert_eq!(kept, ["participant_joined", "participant_left"], "each once, as it came");
    let rows = scene.product.contents().await;
    assert!(rows.values().flatten().all(|row| !row.contains(CANARY)));
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unsigned_forged_late_too_long_or_of_another_clinic_is_refused_and_not_kept() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let (other, _) = scene.product.clinic().await;
    let body = json!({
        "version": "1", "type": "meeting.started", "id": "m1", "event_ts": scene.clock.now().unix_seconds(),
        "payload": { "room": name_of(&appointment), "meeting_id": Uuid::from_u128(1) },
    });
    let good = || Sending::to(&scene, &body);
    let foreign_key = key_of(scene.organization_id, "another-account");
    let timestamp = scene.clock.now().unix_seconds().to_string();
    let forged = foreign_key.sign(&timestamp, body.to_string().as_bytes());
    let long = json!({ "filler": "x".repeat(70_000) }).to_string();

    let refused = [
        (Sending { signature: None, ..good() }, 401, "notice_unsigned"),
        (Sending { timestamp: None, ..good() }, 401, "notice_unsigned"),
        (
            Sending { timestamp: Some(timestamp), signature: Some(forged), ..good() },
            401,
            "notice_signature_wrong",
        ),
        (Sending { body: body.to_string() + " ", ..good() }, 401, "notice_signature_wrong"),
        (Sending::raw(&scene, body.to_string(), 301), 401, "notice_outside_window"),
        (Sending::raw(&scene, body.to_string(), -302), 401, "notice_outside_window"),
        (Sending::raw(&scene, long, 0), 413, "body_too_large"),
        (Sending::raw(&scene, "{\"type\":1}".to_owned(), 0), 422, "notice_malformed"),
        // Of a clinic without an account, of none, and of no id: like a wrong signature.
        (Sending { to: other.to_string(), ..good() }, 401, "notice_signature_wrong"),
        (Sending { to: Uuid::from_u128(7).to_string(), ..good() }, 401, "notice_signature_wrong"),
        (Sending { to: "clinic".to_owned(), ..good() }, 401, "notice_signature_wrong"),
    ];
    for (sending, status, code) in refused {
        let (answered, problem) = sending.send(&scene).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{}", &sending.to);
    }
    // Taken note of, and nothing more: Daily's test of the address, and rooms that are not ours.
    let probe =
        Sending { body: "{\"test\":\"test\"}".to_owned(), timestamp: None, signature: None, ..good() };
    assert_eq!(probe.send(&scene).await.0, 200);
    for room in ["lobby", &name_of(&Uuid::from_u128(8).to_string())] {
        let mut foreign = body.clone();
        foreign["payload"]["room"] = json!(room);
        assert_eq!(Sending::to(&scene, &foreign).send(&scene).await.0, 200);
    }
    assert_eq!(notices(&scene).await, Vec::<String>::new());

    // Of a kind that is not known: kept, and nothing follows.
    let mut unknown = body.clone();
    (unknown["type"], unknown["id"]) = (json!("room.redecorated"), json!("u1"));
    for sending in [good(), Sending::to(&scene, &unknown)] {
        assert_eq!(sending.send(&scene).await.0, 200);
    }
    scene.product.settled().await;
    let mut kept = notices(&scene).await;
    kept.sort();
    assert_eq!(kept, ["meeting_started", "other"]);
    assert_eq!(scene.told(&appointment).await, ["video_room.created"]);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_a_room_that_is_in_the_log_alone_is_kept() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    scene.product.sql("delete from video.video_rooms").await;
    let body = json!({
        "version": "1", "type": "meeting.started", "id": "m1", "event_ts": scene.clock.now().unix_seconds(),
        "payload": { "room": name_of(&appointment), "meeting_id": Uuid::from_u128(1) },
    });

    assert_eq!(Sending::to(&scene, &body).send(&scene).await.0, 200);

    assert_eq!(notices(&scene).await, ["meeting_started"]);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_whose_account_does_not_open_is_to_come_again() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let credentials = IntegrationCredentials { settings: BTreeMap::new() };
    let command = OrganizationCommand::ConfigureIntegration {
        integration: IntegrationKind::Daily,
        credentials,
        abandon_open: false,
    };
    scene.decides(command).await;
    scene.product.settled().await;
    let body = json!({ "version": "1", "type": "meeting.started", "id": "m1" });

    let (status, problem) = Sending::to(&scene, &body).send(&scene).await;

    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")));
    scene.product.stop().await;
}

/// A clinic whose account tells the API what happens.
pub(super) async fn connected() -> Scene {
    let scene = Scene::connected().await;
    until("the webhook is registered", async || scene.product.daily.webhook(DAILY_KEY).map(drop)).await;
    scene
}

/// Ends whatever is under way, and lets the time pass for which the lists are left alone.
pub(super) async fn look_again(scene: &Scene) {
    scene.product.settled().await;
    scene.clock.step_seconds(60);
}

/// Two people come, and leave again.
async fn consult(scene: &Scene, appointment: &str) {
    let room = name_of(appointment);
    let mut sessions = Vec::new();
    for participant in ["patient", "specialist"] {
        let (_, link) = scene.link(&scene.admin, appointment, json!({ "participant": participant })).await;
        let user = link["participant_id"].as_str().unwrap().to_owned();
        sessions.push(scene.product.daily.comes(DAILY_KEY, &room, &user));
    }
    scene.clock.step_seconds(60);
    for session in sessions {
        scene.product.daily.goes(DAILY_KEY, &session);
    }
}

/// What is told of stays, in an order of its own; durations are whole tens of seconds, because the clock goes on too.
async fn stays(scene: &Scene, appointment: &str) -> Vec<String> {
    scene
        .product
        .texts(&format!(
            "select event_type || ' ' || (f ->> 'participant') || ' ' || coalesce(((f ->> 'duration_seconds')::integer / 10 * 10)::text, '-')
             from (select event_type, convert_from(facts, 'UTF8')::jsonb as f from log.events) e
             where event_type like 'video_room.participant%' and f ->> 'appointment_id' = '{appointment}'
             order by 1"
        ))
        .await
}

const TWO_STAYS: [&str; 4] = [
    "video_room.participant_joined patient -",
    "video_room.participant_joined specialist -",
    "video_room.participant_left patient 60",
    "video_room.participant_left specialist 60",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_registered_and_made_good_and_tells_who_comes_and_leaves() {
    let scene = connected().await;
    let webhook = scene.product.daily.webhook(DAILY_KEY).unwrap();
    let url = format!("https://carelog.example/v1/hooks/daily/{}", scene.organization_id);
    assert_eq!((webhook.url, webhook.state), (url, "ACTIVE"));
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;

    consult(&scene, &appointment).await;

    until("both stays are told", async || (stays(&scene, &appointment).await == TWO_STAYS).then_some(()))
        .await;
    scene.product.daily.fails_webhook(DAILY_KEY);
    look_again(&scene).await;
    until("the webhook is made good", async || {
        scene.product.pull_retries().await;
        scene.product.settled().await;
        (scene.product.daily.webhook(DAILY_KEY).unwrap().state == "ACTIVE").then_some(())
    })
    .await;
    scene.product.settled().await;
    assert_eq!(stays(&scene, &appointment).await, TWO_STAYS);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_webhooks_lose_the_lists_tell() {
    let scene = connected().await;
    scene.product.daily.loses_notices(DAILY_KEY, true);
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;

    consult(&scene, &appointment).await;

    look_again(&scene).await;
    until("both stays are told", async || {
        scene.product.pull_retries().await;
        scene.product.settled().await;
        (stays(&scene, &appointment).await == TWO_STAYS).then_some(())
    })
    .await;
    assert_eq!(notices(&scene).await, Vec::<String>::new());
    scene.product.is_sound().await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_daily_measured_in_a_meeting_is_told_once_when_it_is_over() {
    let scene = connected().await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    let daily = &scene.product.daily;
    let sessions = ["patient", "specialist"].map(|user| daily.comes(DAILY_KEY, &name_of(&appointment), user));
    // More than Daily gives at once, and one that cannot be.
    for sample in 0..105 {
        scene.clock.step_seconds(15);
        daily.measures(DAILY_KEY, &sessions[0], if sample < 10 { 0.05 } else { 0.001 });
        daily.measures(DAILY_KEY, &sessions[1], 0.2);
    }
    scene.clock.step_seconds(15);
    daily.measures(DAILY_KEY, &sessions[0], 1.5);
    let samples = async || {
        let statement = "select (f ->> 'session_id') || ' ' || (f ->> 'state') || ' ' || count(*)
             from (select event_type, convert_from(facts, 'UTF8')::jsonb as f from log.events) e
             where event_type = 'video_room.quality_sampled' group by f ->> 'session_id', f ->> 'state' order by 1";
        scene.product.texts(statement).await
    };
    look_again(&scene).await;
    scene.product.pull_retries().await;
    scene.product.settled().await;
    assert_eq!(samples().await, Vec::<String>::new(), "the meeting goes on");
    for session in &sessions {
        daily.goes(DAILY_KEY, session);
    }

    let [patients, specialists] = &sessions;
    let all =
        [format!("{patients} good 95"), format!("{patients} warning 10"), format!("{specialists} bad 105")];
    for look in ["first", "second"] {
        look_again(&scene).await;
        until(&format!("all samples are told after the {look} look"), async || {
            scene.product.pull_retries().await;
            scene.product.settled().await;
            (samples().await == all).then_some(())
        })
        .await;
    }
    for (fact, value) in [("jitter_ms", "12"), ("sent_kbps", "569"), ("received_kbps", "542")] {
        assert_eq!(scene.fact("video_room.quality_sampled", fact).await, value);
    }
    scene.product.is_sound().await;
    scene.product.stop().await;
}
