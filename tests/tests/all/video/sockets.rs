//! The socket of embedded rooms, spoken to directly: who is let in, who hears what, and what a process leaves behind.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use carelog_domain::video_room::ParticipantKind;
use carelog_domain::{AppointmentId, ParticipantId};
use carelog_event_log::{Clock as _, new_id};
use carelog_server::serve::Roles;
use carelog_tests::{serve_as_process, until};
use carelog_video::embedded::ending;
use carelog_video::embedded::presence::{self, Entrance, Gesture, Gone, Place, Visitor};
use futures::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

use super::scene::Scene;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A page, as far as the server can tell.
pub(super) struct Page {
    outgoing: mpsc::UnboundedSender<Message>,
    incoming: mpsc::UnboundedReceiver<Value>,
    /// Keeps the connection until the page is dropped.
    _connection: JoinSet<()>,
}

/// Between two pings of a page, and how long it waits for a message.
const PING_EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_mins(1);

const DEVICE: &str = "the-device-of-the-one-whose-link-it-is";
const ANOTHER: &str = "another-device-that-has-a-copy-of-it";

async fn open(address: SocketAddr, origin: Option<&str>) -> Result<Socket, Error> {
    let mut request = format!("ws://{address}/rooms/socket").into_client_request()?;
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// Carries what the page says and hears, and pings whatever the test waits for, as our page does.
async fn carry(
    mut socket: Socket,
    mut outgoing: mpsc::UnboundedReceiver<Message>,
    incoming: mpsc::UnboundedSender<Value>,
) {
    let ping = Message::text(json!({ "type": "ping" }).to_string());
    let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    // Whether each ping that has no answer yet is the test's.
    let mut unanswered = VecDeque::new();
    loop {
        let said = tokio::select! {
            heard = socket.next() => {
                match heard {
                    Some(Ok(Message::Text(text))) => {
                        let message: Value = serde_json::from_str(&text).unwrap();
                        let is_ours = message["type"] == "pong" && unanswered.pop_front() == Some(false);
                        if !is_ours && incoming.send(message).is_err() {
                            return;
                        }
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(_) | Err(_)) | None => return,
                }
                continue;
            }
            Some(said) = outgoing.recv() => {
                if said == ping {
                    unanswered.push_back(true);
                }
                said
            }
            _ = pings.tick() => {
                unanswered.push_back(false);
                ping.clone()
            }
        };
        // Where the server has closed, the next look says so, after what it said before.
        let _ = socket.send(said).await;
    }
}

impl Page {
    async fn at(address: SocketAddr) -> Self {
        let socket = open(address, Some(&format!("http://{address}"))).await.unwrap();
        let ((outgoing, said), (heard, incoming)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let mut connection = JoinSet::new();
        connection.spawn(carry(socket, said, heard));
        Self { outgoing, incoming, _connection: connection }
    }

    /// Says who it is.
    pub(super) async fn hello(address: SocketAddr, link: &Value, device: &str, resume: Option<&str>) -> Self {
        let page = Self::at(address).await;
        let mut hello =
            json!({ "type": "hello", "purpose": "enter", "token": link["token"], "device": device });
        if let Some(resume) = resume {
            hello["resume"] = resume.into();
        }
        page.say(&hello);
        page
    }

    pub(super) fn say(&self, message: &Value) {
        // A page that was hung up on does not know it yet.
        let _ = self.outgoing.send(Message::text(message.to_string()));
    }

    /// The next message; nothing once the server has closed.
    pub(super) async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(PATIENCE, self.incoming.recv()).await.expect("the server talks of something")
    }

    /// The next message of a type, past others.
    pub(super) async fn hears(&mut self, what: &str) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("closed before {what:?}"));
            if message["type"] == what {
                return message;
            }
        }
    }

    /// Waits for a state of the room.
    pub(super) async fn sees(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let state = self.hears("state").await;
            if fits(&state) {
                return state;
            }
        }
    }

    pub(super) async fn session(&mut self) -> String {
        self.hears("welcome").await["session"].as_str().unwrap().to_owned()
    }
}

/// A room that is open now, and links into it.
pub(super) struct Door {
    pub(super) scene: Scene,
    pub(super) address: SocketAddr,
    pub(super) appointment: String,
    pub(super) specialist: Value,
    pub(super) patient: Value,
}

async fn link(scene: &Scene, appointment: &str, participant: &str) -> Value {
    let (status, link) = scene.link(&scene.admin, appointment, json!({ "participant": participant })).await;
    assert_eq!(status, 201, "{link}");
    link
}

impl Door {
    pub(super) async fn open() -> Self {
        Self::to(Scene::without_provider(Roles::ALL).await).await
    }

    pub(super) async fn to(scene: Scene) -> Self {
        let appointment = scene.onboarded(5).await;
        scene.becomes(&appointment, "open").await;
        let specialist = link(&scene, &appointment, "specialist").await;
        let patient = link(&scene, &appointment, "patient").await;
        Self { address: scene.product.server.address.unwrap(), scene, appointment, specialist, patient }
    }

    /// A specialist and a patient who talk, with the names of their stays.
    pub(super) async fn talk(&self) -> ((Page, String), (Page, String)) {
        let mut specialist =
            Page::hello(self.address, &self.specialist, "the-device-of-the-specialist-here", None).await;
        let specialists = specialist.session().await;
        let mut patient = Page::hello(self.address, &self.patient, DEVICE, None).await;
        let patients = patient.session().await;
        specialist.sees(|state| state["waiting"][0]["session"] == patients.as_str()).await;
        specialist.say(&json!({ "type": "admit", "session": patients }));
        patient.sees(|state| state["peer"]["session"] == specialists.as_str()).await;
        specialist.sees(|state| state["peer"]["session"] == patients.as_str()).await;
        ((specialist, specialists), (patient, patients))
    }

    async fn asks(&self, key: &str, link: &Value, what: &str) -> (u16, Value) {
        let id = link["participant_id"].as_str().unwrap();
        let path = format!("/v1/appointments/{}/video-room/access/{id}/{what}", self.appointment);
        self.scene.product.call(key, Method::POST, &path, Some(&json!({}))).await
    }

    async fn told(&self, event_type: &str) -> usize {
        self.scene.told(&self.appointment).await.iter().filter(|told| *told == event_type).count()
    }

    pub(super) async fn close(self) {
        self.scene.product.settled().await;
        self.scene.product.is_sound().await;
        self.scene.product.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_opened_by_our_own_page_and_begins_with_a_link() {
    let door = Door::open().await;
    for origin in [None, Some("https://elsewhere.example"), Some("null")] {
        let Err(Error::Http(answer)) = open(door.address, origin).await else { panic!("let in: {origin:?}") };
        assert_eq!(answer.status(), 403);
    }
    for first in [json!({ "type": "ping" }), json!({ "type": "hello" }), json!("nothing")] {
        let mut page = Page::at(door.address).await;
        page.say(&first);
        assert_eq!(page.next().await, None);
    }
    // None of ours, another organization's, and one that was altered.
    let token = door.patient["token"].as_str().unwrap();
    let altered = format!("{}{}", &token[..token.len() - 6], "AAAAAA");
    for token in ["", "AAAA", &altered, &"A".repeat(token.len())] {
        let mut page = Page::hello(door.address, &json!({ "token": token }), DEVICE, None).await;
        assert_eq!(page.hears("refused").await["reason"], "unknown");
        assert_eq!(page.next().await, None);
    }
    assert_eq!(door.scene.product.count("select count(*) from rooms.presences").await, 0);
    let organizations = door.scene.product.count("select count(*) from log.organizations").await;
    assert_eq!(organizations, 1, "an organization that is not there stays so");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_let_in_turned_away_and_sent_back_by_the_specialist_alone() {
    let door = Door::open().await;
    let ((mut specialist, _), (mut patient, patients)) = door.talk().await;
    assert_eq!(door.told("video_room.participant_joined").await, 2);
    let guest = link(&door.scene, &door.appointment, "guest").await;
    let mut guest = Page::hello(door.address, &guest, ANOTHER, None).await;
    let guests = guest.session().await;
    let state = guest.hears("state").await;
    assert_eq!(
        (&state["admitted"], &state["peer"], &state["waiting"]),
        (&json!(false), &Value::Null, &json!([]))
    );

    // The other seat is taken, and nobody but the specialist gives seats.
    guest.say(&json!({ "type": "admit", "session": guests }));
    assert_eq!(guest.hears("not_done").await["reason"], "not_allowed");
    specialist.say(&json!({ "type": "admit", "session": guests }));
    assert_eq!(specialist.hears("not_done").await["reason"], "seat_taken");
    specialist.say(&json!({ "type": "send_back", "session": patients }));
    let waits_again = patient.session().await;
    assert_ne!(waits_again, patients, "a further stay");
    patient.sees(|state| state["admitted"] == false).await;
    specialist.say(&json!({ "type": "admit", "session": guests }));
    guest.sees(|state| state["admitted"] == true).await;
    specialist.sees(|state| state["waiting"][0]["session"] == waits_again.as_str()).await;
    specialist.say(&json!({ "type": "decline", "session": waits_again }));

    assert_eq!(patient.hears("ended").await["reason"], "declined");
    until("the stays are told", async || {
        let told = (
            door.told("video_room.participant_joined").await,
            door.told("video_room.participant_left").await,
        );
        (told == (3, 1)).then_some(())
    })
    .await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_looks_late_learns_why_their_stay_is_over() {
    let door = Door::open().await;
    let system = door.scene.product.server.system();
    let visitor = Visitor {
        place: Place {
            organization_id: door.scene.organization_id,
            appointment_id: door.appointment.parse::<Uuid>().map(AppointmentId::new).unwrap(),
        },
        participant_id: ParticipantId::new(new_id()),
        participant: ParticipantKind::Guest,
        link: 1,
        device_sha256: [1; 32],
        connection_id: new_id(),
        session_id: new_id(),
        resumes: None,
    };
    let Visitor { place, session_id, connection_id, .. } = visitor;
    let now = door.scene.clock.now();
    let mut connection = system.databases.core_system.acquire().await.unwrap();
    presence::enter(&mut connection, &visitor, now).await.unwrap();
    assert!(presence::gesture(&mut connection, place, session_id, Gesture::Decline, now).await.unwrap());

    // The end is told before the connection has looked.
    let [ended] = ending::ended(&mut connection, Some(place.appointment_id)).await.unwrap()[..] else {
        panic!("one has ended")
    };
    ending::note_told(&mut connection, &ended).await.unwrap();

    let organization_id = place.organization_id;
    let gone = presence::keep(&mut connection, organization_id, session_id, connection_id, now).await;
    assert_eq!(gone.unwrap(), Some(Gone::Declined));
    assert_eq!(ending::ended(&mut connection, Some(place.appointment_id)).await.unwrap(), []);
    // Nor does a page that was cut off while it was turned away knock again by itself.
    let back =
        Visitor { session_id: new_id(), connection_id: new_id(), resumes: Some(session_id), ..visitor };
    let entrance = presence::enter(&mut connection, &back, now).await.unwrap();
    assert_eq!(entrance, Entrance::Declined);
    let later = now.saturating_add_micros(31_000_000);
    ending::end_lost(&mut connection, later).await.unwrap();
    let gone = presence::keep(&mut connection, organization_id, session_id, connection_id, later).await;
    assert_eq!(gone.unwrap(), Some(Gone::Lost), "nothing is kept for ever");
    drop(connection);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_passed_on_is_what_browsers_need_and_only_between_those_who_talk() {
    let door = Door::open().await;
    let ((mut specialist, specialists), (mut patient, patients)) = door.talk().await;
    let guest = link(&door.scene, &door.appointment, "guest").await;
    let mut guest = Page::hello(door.address, &guest, ANOTHER, None).await;
    guest.session().await;

    let offer = json!({ "kind": "offer", "sdp": "v=0 192.0.2.7", "number": 1 });
    guest.say(&json!({ "type": "signal", "to": specialists, "signal": offer }));
    for n in 0..30 {
        let candidate = json!({ "kind": "candidate", "candidate": format!("candidate:{n}"), "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": null });
        patient.say(&json!({ "type": "signal", "to": specialists, "signal": candidate }));
    }
    for n in 0..30 {
        let signal = specialist.hears("signal").await;
        assert_eq!(signal["from"], patients.as_str(), "who waits is not heard");
        assert_eq!(signal["signal"]["candidate"], format!("candidate:{n}"), "in order");
    }
    for wrong in [
        json!({ "type": "signal", "to": specialists, "signal": { "kind": "offer", "sdp": "v=0", "number": 1, "more": 1 } }),
        json!({ "type": "signal", "to": specialists, "signal": { "kind": "chat", "text": "hello" } }),
    ] {
        guest.say(&wrong);
        assert_eq!(guest.hears("ended").await["reason"], "too_much");
        let link = link(&door.scene, &door.appointment, "guest").await;
        guest = Page::hello(door.address, &link, ANOTHER, None).await;
        guest.session().await;
    }
    guest.outgoing.send(Message::text("x".repeat(70_000))).unwrap();
    assert!(
        guest.next().await.is_none_or(|message| message["type"] == "state") && guest.next().await.is_none()
    );
    for _ in 0..1_000 {
        patient.say(&json!({ "type": "ping" }));
    }
    assert_eq!(patient.hears("ended").await["reason"], "too_much");
    assert_eq!(door.scene.product.count("select count(*) from rooms.signals").await, 0);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_lie_sealed_until_they_are_told() {
    let door = Door::open().await;
    let ((specialist, specialists), (patient, _)) = door.talk().await;
    let keep = "create function public.keep() returns trigger language plpgsql as $$
                begin insert into public.kept_signals values (new.sealed); return new; end $$;
                create table public.kept_signals (sealed bytea);
                grant insert on public.kept_signals to carelog_system;
                create trigger keep before insert on rooms.signals for each row execute function public.keep()";
    door.scene.product.sql(keep).await;

    let signal = json!({ "kind": "answer", "sdp": "v=0 c=IN IP4 192.0.2.7", "number": 1 });
    patient.say(&json!({ "type": "signal", "to": specialists, "signal": signal }));

    let kept = "select count(*) from public.kept_signals";
    until("the signal is kept", async || (door.scene.product.count(kept).await == 1).then_some(())).await;
    let clear = "select count(*) from public.kept_signals where position('192.0.2.7'::bytea in sealed) > 0";
    assert_eq!(door.scene.product.count(clear).await, 0);
    drop(specialist);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_works_on_one_device_until_it_is_issued_again_or_revoked() {
    let door = Door::open().await;
    let again = link(&door.scene, &door.appointment, "patient").await;
    assert_eq!(again["token"], door.patient["token"], "asked again, it is the same");
    let ((mut specialist, _), (mut patient, _)) = door.talk().await;
    let mut copy = Page::hello(door.address, &door.patient, ANOTHER, None).await;
    assert_eq!(copy.hears("refused").await["reason"], "in_use");

    let (status, issued) = door.asks(&door.scene.admin, &door.patient, "reissue").await;
    assert_eq!(status, 201, "{issued}");
    assert_ne!(issued["token"], door.patient["token"]);
    assert_eq!(patient.hears("ended").await["reason"], "revoked");
    specialist.sees(|state| state["peer"].is_null()).await;
    let mut old = Page::hello(door.address, &door.patient, DEVICE, None).await;
    assert_eq!(old.hears("refused").await["reason"], "revoked");
    let mut owner = Page::hello(door.address, &issued, ANOTHER, None).await;
    owner.session().await;
    assert_eq!(owner.hears("state").await["admitted"], false);

    let (status, answer) = door.asks(&door.scene.admin, &door.patient, "revoke").await;
    assert_eq!((status, &answer["events"]), (200, &json!(1)), "{answer}");
    assert_eq!(owner.hears("ended").await["reason"], "revoked");
    assert_eq!(door.asks(&door.scene.admin, &door.patient, "revoke").await.1["events"], 0);
    let nobody = json!({ "participant_id": "00000000-0000-0000-0000-000000000001" });
    for what in ["reissue", "revoke"] {
        let (status, problem) = door.asks(&door.scene.admin, &nobody, what).await;
        assert_eq!((status, &problem["code"]), (404, &json!("video_room_participant_unknown")));
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_may_issue_their_own_link_again_and_nobody_elses() {
    let door = Door::open().await;
    let body = json!({ "role": "patient", "scopes": ["commands"], "patient_id": door.scene.patient });
    let key = door.scene.key(body).await;

    assert_eq!(door.asks(&key, &door.patient, "reissue").await.0, 201);
    assert_eq!(door.asks(&key, &door.specialist, "reissue").await.0, 404);
    assert_eq!(door.asks(&key, &door.patient, "revoke").await.0, 403);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_lost_its_connection_resumes_its_stay_and_one_that_does_not_is_ended() {
    let door = Door::open().await;
    let ((mut specialist, specialists), (patient, patients)) = door.talk().await;
    drop(patient);
    let mut patient = Page::hello(door.address, &door.patient, DEVICE, Some(&patients)).await;
    assert_eq!(patient.session().await, patients);
    assert_eq!(patient.hears("state").await["peer"]["session"], specialists.as_str());

    drop(patient);
    // Half a minute passes for it, and so it does for nobody else.
    let lost = format!(
        "update rooms.presences set seen_at = seen_at - interval '40 s' where session_id = '{patients}'"
    );
    door.scene.product.sql(&lost).await;
    specialist.sees(|state| state["peer"].is_null()).await;
    until("the end of the stay is told", async || {
        (door.told("video_room.participant_left").await == 1).then_some(())
    })
    .await;
    let mut late = Page::hello(door.address, &door.patient, ANOTHER, Some(&patients)).await;
    assert_ne!(late.session().await, patients);
    assert_eq!(late.hears("state").await["admitted"], false);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_are_taken_at_their_pace_and_only_of_a_conversation() {
    let door = Door::open().await;
    let ((mut specialist, _), (mut patient, _)) = door.talk().await;
    let sample = |round_trip_ms: f64| {
        json!({
            "type": "quality", "round_trip_ms": round_trip_ms, "jitter_ms": 2.0, "send_loss": 0.0, "receive_loss": null,
            "sent_kbps": 800.0, "received_kbps": 700.0,
        })
    };
    // One that cannot be, one, and those that come too soon.
    for round_trip_ms in [-1.0, 900.0, 10.0, 10.0] {
        patient.say(&sample(round_trip_ms));
    }
    patient.say(&json!({ "type": "ping" }));
    patient.hears("pong").await;

    assert_eq!(door.told("video_room.quality_sampled").await, 1);
    assert_eq!(door.scene.fact("video_room.quality_sampled", "state").await, "bad");
    assert_eq!(door.scene.fact("video_room.quality_sampled", "round_trip_ms").await, "900");
    patient.say(&json!({ "type": "leave" }));
    assert_eq!(patient.hears("ended").await["reason"], "left");
    specialist.sees(|state| state["peer"].is_null()).await;
    specialist.say(&sample(10.0));
    specialist.say(&json!({ "type": "ping" }));
    specialist.hears("pong").await;
    assert_eq!(door.told("video_room.quality_sampled").await, 1, "alone there is nothing to measure");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_specialist_extends_the_room_and_nobody_is_left_when_it_expires() {
    let door = Door::open().await;
    let ((mut specialist, _), (mut patient, _)) = door.talk().await;
    let before = door.scene.room(&door.appointment).await["expires_at"].clone();
    patient.say(&json!({ "type": "extend", "minutes": 15 }));
    assert_eq!(patient.hears("not_done").await["reason"], "not_allowed");
    specialist.say(&json!({ "type": "extend", "minutes": 500 }));
    assert_eq!(specialist.hears("not_done").await["reason"], "too_long");

    specialist.say(&json!({ "type": "extend", "minutes": 15 }));

    patient.hears("relays").await;
    let seen = patient.sees(|state| state["expires_at"] != before).await["expires_at"].clone();
    let seconds = super::unix(&seen) - super::unix(&before);
    assert_eq!(seconds, 15 * 60);
    until("the room stays open", async || {
        (door.scene.room(&door.appointment).await["expires_at"] == seen).then_some(())
    })
    .await;
    door.scene.clock.step_seconds(66 * 60);
    for page in [&mut specialist, &mut patient] {
        assert_eq!(page.hears("ended").await["reason"], "expired");
    }
    door.scene.becomes_at_last(&door.appointment, "closed").await;
    let mut late = Page::hello(door.address, &door.patient, DEVICE, None).await;
    assert_eq!(late.hears("refused").await["reason"], "closed");
    assert_eq!(door.told("video_room.participant_left").await, 2);
    door.close().await;
}

/// Does nothing, unless another test starts it to serve.
#[tokio::test(flavor = "multi_thread")]
async fn process() {
    serve_as_process().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_serve_one_conversation_and_one_that_is_killed_is_replaced() {
    let door = Door::open().await;
    let start = async || {
        let one = NonZeroU16::MIN;
        door.scene.product.process("video::sockets::process", "api", one, &[]).await
    };
    let other = start().await;
    let mut specialist =
        Page::hello(door.address, &door.specialist, "the-device-of-the-specialist-here", None).await;
    let specialists = specialist.session().await;
    let mut patient = Page::hello(other.address.unwrap(), &door.patient, DEVICE, None).await;
    let patients = patient.session().await;
    specialist.sees(|state| state["waiting"][0]["session"] == patients.as_str()).await;
    specialist.say(&json!({ "type": "admit", "session": patients }));
    patient.sees(|state| state["peer"]["session"] == specialists.as_str()).await;
    let signal = |text: &str| json!({ "kind": "offer", "sdp": text, "number": 1 });
    patient.say(&json!({ "type": "signal", "to": specialists, "signal": signal("there") }));
    assert_eq!(specialist.hears("signal").await["signal"]["sdp"], "there");
    specialist.say(&json!({ "type": "signal", "to": patients, "signal": signal("back") }));
    assert_eq!(patient.hears("signal").await["signal"]["sdp"], "back");

    other.kill();
    assert_eq!(patient.next().await, None);
    specialist.say(&json!({ "type": "signal", "to": patients, "signal": signal("meanwhile") }));
    let mut patient = Page::hello(door.address, &door.patient, DEVICE, Some(&patients)).await;

    assert_eq!(patient.session().await, patients, "it is the same stay");
    assert_eq!(patient.hears("signal").await["signal"]["sdp"], "meanwhile");
    assert_eq!(door.told("video_room.participant_joined").await, 2);
    door.close().await;
}
