//! One page's connection: lets its person in, shows them the room as it is, and passes on what their browser has to
//! tell the other's.
//!
//! Whatever it knows lies in the database and the log, and it looks there whenever it is woken and every few seconds
//! besides. So the two ends of a conversation may be served by different processes, and one that ends, however it does,
//! leaves a stay that its page resumes elsewhere.

mod wishes;

use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use carelog_domain::video_room::{RoomWindow, Stay, VideoRoomCommand};
use carelog_event_log::{ExecuteError, new_id};
use carelog_video::embedded::presence::{self, Entrance, Gesture, Gone, Visitor};
use carelog_video::embedded::signal;
use carelog_video::embedded::{Relays, Woken};
use futures::future::BoxFuture;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tracing::warn;

use super::Rooms;
use super::door::{Guest, Shut};
use super::messages::{End, FromPage, Hello, PeerView, Purpose, Refusal, RelaysView, RoomView, ToPage};
use super::recording;
use super::telling::{begin, finish_room, tell};

/// For the first message.
const HELLO: Duration = Duration::from_secs(10);
/// How often the clock is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often the room is looked at without being woken: often enough to keep the stay.
const LOOK: Duration = Duration::from_secs(5);
/// A page pings every two seconds; one that is not heard of for so long has lost its connection.
const SILENCE: Duration = Duration::from_secs(15);
/// Messages of a page: candidates come by the dozen, and then hardly anything does.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
const BURST: NonZeroU32 = NonZeroU32::new(200).expect("not zero");
/// What tells a browser from others is random, and not a text of any length.
const DEVICE_BYTES: std::ops::RangeInclusive<usize> = 32..=100;

/// Whether the connection goes on.
type Flow = std::ops::ControlFlow<Option<End>>;

/// Serves a page from its first message to its last.
pub(super) fn serve(rooms: Rooms, mut socket: WebSocket) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let Ok(Some(Ok(Message::Text(text)))) = tokio::time::timeout(HELLO, socket.recv()).await else {
            return;
        };
        let Ok(FromPage::Hello(hello)) = serde_json::from_str(&text) else { return };
        drop(text);
        let guest = match Guest::of(&rooms.system, &hello.token).await {
            Ok(guest) => guest,
            Err(shut) => return refuse(&rooms, &mut socket, shut).await,
        };
        if hello.purpose == Purpose::Look {
            let answer = ToPage::MayEnter {
                participant: guest.participant,
                relays: relays(&rooms.relays, &guest),
                expires_at: guest.window.expires_at,
                now: rooms.now(),
            };
            let _ = send(&mut socket, &answer).await;
            let _ = socket.send(Message::Close(None)).await;
            return;
        }
        if !DEVICE_BYTES.contains(&hello.device.len()) {
            return;
        }
        let woken = rooms.hub.hear(guest.claims.appointment_id);
        match enter(&rooms, &guest, &hello).await {
            Ok(Ok(visitor)) => Connection::new(rooms, socket, guest, visitor).run(woken).await,
            Ok(Err(refusal)) => refuse(&rooms, &mut socket, Shut::Refused(refusal, None)).await,
            Err(error) => refuse(&rooms, &mut socket, Shut::Failed(error)).await,
        }
    })
}

fn relays(relays: &Relays, guest: &Guest) -> RelaysView {
    RelaysView {
        ice_servers: relays.servers_for(guest.claims.participant_id, guest.window.expires_at),
        relay_only: relays.is_relay_only,
    }
}

async fn enter(rooms: &Rooms, guest: &Guest, hello: &Hello) -> anyhow::Result<Result<Visitor, Refusal>> {
    let visitor = Visitor {
        place: guest.place(),
        participant_id: guest.claims.participant_id,
        participant: guest.participant,
        link: guest.claims.link,
        device_sha256: Sha256::digest(&hello.device).into(),
        connection_id: new_id(),
        session_id: new_id(),
        resumes: hello.resume,
    };
    let mut tx = begin(&rooms.system.databases.core_system, visitor.place).await?;
    let entrance = presence::enter(&mut tx, &visitor, rooms.now()).await?;
    tx.commit().await?;
    // The end of a stay that this one replaces is told before anything that this one does.
    finish_if_possible(rooms, visitor.place).await;
    Ok(match entrance {
        Entrance::Session(session_id) => Ok(Visitor { session_id, ..visitor }),
        Entrance::InUse => Err(Refusal::InUse),
        Entrance::SeatTaken => Err(Refusal::SeatTaken),
        Entrance::Declined => Err(Refusal::Declined),
    })
}

async fn refuse(rooms: &Rooms, socket: &mut WebSocket, shut: Shut) {
    let (reason, window): (Refusal, Option<RoomWindow>) = match shut {
        Shut::Refused(reason, window) => (reason, window),
        Shut::Failed(error) => {
            warn!(error = format!("{error:#}"), "a link to a video room cannot be judged");
            (Refusal::Busy, None)
        }
    };
    metrics::counter!("carelog_video_room_refusals_total").increment(1);
    let answer = ToPage::Refused {
        reason,
        opens_at: window.map(|window| window.opens_at),
        expires_at: window.map(|window| window.expires_at),
        now: rooms.now(),
    };
    let _ = send(socket, &answer).await;
    let _ = socket.send(Message::Close(None)).await;
}

async fn send(socket: &mut WebSocket, message: &ToPage<'_>) -> Result<(), axum::Error> {
    let json = serde_json::to_string(message).map_err(axum::Error::new)?;
    socket.send(Message::text(json)).await
}

struct Connection {
    rooms: Rooms,
    socket: WebSocket,
    guest: Guest,
    visitor: Visitor,
    /// What the page was shown last.
    shown: Option<RoomView>,
    /// Since when its person takes part, once that is in the log.
    has_joined: bool,
    heard_at: Instant,
    looked_at: Instant,
    sampled_at: Option<Instant>,
    budget: DefaultDirectRateLimiter,
}

impl Connection {
    fn new(rooms: Rooms, socket: WebSocket, guest: Guest, visitor: Visitor) -> Self {
        Self {
            rooms,
            socket,
            guest,
            visitor,
            shown: None,
            has_joined: false,
            heard_at: Instant::now(),
            looked_at: Instant::now(),
            sampled_at: None,
            budget: RateLimiter::direct(Quota::per_second(PER_SECOND).allow_burst(BURST)),
        }
    }

    async fn run(mut self, mut woken: Woken) {
        let stop = self.rooms.system.runtime.stop.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut flow = self.welcome().await;
        if flow.is_continue() {
            flow = self.look().await;
        }
        while flow.is_continue() {
            flow = tokio::select! {
                // The page comes back, to another process.
                () = stop.cancelled() => Flow::Break(None),
                message = self.socket.recv() => self.hear(message).await,
                () = woken.changed() => self.look().await,
                _ = tick.tick() => self.tick().await,
            };
        }
        if let Flow::Break(Some(end)) = flow {
            self.end(end).await;
        }
        let _ = self.socket.send(Message::Close(None)).await;
    }

    async fn welcome(&mut self) -> Flow {
        let relays = relays(&self.rooms.relays, &self.guest);
        let session = self.visitor.session_id;
        let welcome = ToPage::Welcome { session, participant: self.guest.participant, relays };
        self.say(&welcome).await
    }

    /// A page that cannot be told anything has lost its connection.
    async fn say(&mut self, message: &ToPage<'_>) -> Flow {
        match send(&mut self.socket, message).await {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(None),
        }
    }

    async fn tick(&mut self) -> Flow {
        if self.guest.window.expires_at <= self.rooms.now() {
            // It may just have been extended.
            return self.look().await;
        }
        if self.heard_at.elapsed() > SILENCE {
            return Flow::Break(None);
        }
        if self.looked_at.elapsed() >= LOOK { self.look().await } else { Flow::Continue(()) }
    }

    /// Looks at the log and at the room, and shows what changed. A database that does not answer is asked again.
    fn look(&mut self) -> BoxFuture<'_, Flow> {
        Box::pin(async move {
            self.looked_at = Instant::now();
            match self.guest.refresh(&self.rooms.system.log).await {
                Ok(()) => {}
                Err(Shut::Refused(Refusal::AfterWindow, _)) => return Flow::Break(Some(End::Expired)),
                Err(Shut::Refused(Refusal::Revoked, _)) => return Flow::Break(Some(End::Revoked)),
                Err(Shut::Refused(..)) => return Flow::Break(Some(End::Closed)),
                Err(Shut::Failed(error)) => return not_now(&error),
            }
            match self.look_around().await {
                Ok(flow) => flow,
                Err(error) => not_now(&error),
            }
        })
    }

    async fn look_around(&mut self) -> anyhow::Result<Flow> {
        let (place, session_id, now) = (self.visitor.place, self.visitor.session_id, self.rooms.now());
        let organization_id = place.organization_id;
        let mut tx = begin(&self.rooms.system.databases.core_system, place).await?;
        let connection_id = self.visitor.connection_id;
        let gone = presence::keep(&mut tx, organization_id, session_id, connection_id, now).await?;
        if let Some(gone) = gone {
            tx.commit().await?;
            return self.gone(gone).await;
        }
        let joined_at = presence::join(&mut tx, organization_id, session_id, now).await?;
        let present = presence::present(&mut tx, place, session_id, now).await?;
        let vault = self.rooms.system.log.vault();
        let signals = signal::take(&mut tx, vault, organization_id, session_id).await?;
        tx.commit().await?;
        if let Some(joined_at) = joined_at.filter(|_| !self.has_joined) {
            let participant_id = Some(self.visitor.participant_id);
            let stay = Stay { participant_id, session_id, joined_at };
            match tell(&self.rooms.system.log, place, VideoRoomCommand::Join(stay)).await {
                Ok(()) => self.has_joined = true,
                Err(ExecuteError::Rejected(rejection)) => {
                    warn!(error = %rejection, "a stay in a video room cannot be noted");
                    return Ok(Flow::Break(Some(End::Closed)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let view = self.view(&present);
        let is_same =
            self.shown.as_ref().is_some_and(|shown| RoomView { now: view.now, ..shown.clone() } == view);
        let is_moved = self.shown.as_ref().is_some_and(|shown| shown.expires_at != view.expires_at);
        if is_moved {
            // What it has to show a relay works until the end that it was told.
            let relays = relays(&self.rooms.relays, &self.guest);
            if self.say(&ToPage::Relays { relays }).await.is_break() {
                return Ok(Flow::Break(None));
            }
        }
        if !is_same {
            if self.say(&ToPage::State(view.clone())).await.is_break() {
                return Ok(Flow::Break(None));
            }
            self.shown = Some(view);
        }
        for signal in signals {
            let text = String::from_utf8(signal.json)?;
            let raw = serde_json::value::RawValue::from_string(text)?;
            if self.say(&ToPage::Signal { from: signal.from_session, signal: &raw }).await.is_break() {
                return Ok(Flow::Break(None));
            }
        }
        Ok(Flow::Continue(()))
    }

    fn view(&self, present: &[presence::Present]) -> RoomView {
        let peer_view = |present: &presence::Present| PeerView {
            session: present.session_id,
            participant: present.participant,
        };
        let is_admitted = present.iter().any(|present| present.is_own && present.is_admitted);
        let others = || present.iter().filter(|present| !present.is_own);
        let waiting = others().filter(|other| self.guest.is_specialist() && !other.is_admitted);
        RoomView {
            admitted: is_admitted,
            peer: others().find(|other| is_admitted && other.is_admitted).map(peer_view),
            waiting: waiting.map(peer_view).collect(),
            recording: recording::view(&self.guest.recordings()),
            expires_at: self.guest.window.expires_at,
            now: self.rooms.now(),
        }
    }

    /// The stay is not this connection's any more.
    async fn gone(&mut self, gone: Gone) -> anyhow::Result<Flow> {
        match gone {
            Gone::Superseded => return Ok(Flow::Break(None)),
            Gone::Replaced => return Ok(Flow::Break(Some(End::Replaced))),
            Gone::Declined => return Ok(Flow::Break(Some(End::Declined))),
            Gone::SentBack | Gone::Lost => {}
        }
        finish_room(&self.rooms.system, self.visitor.place).await?;
        self.visitor = Visitor { session_id: new_id(), resumes: None, ..self.visitor };
        let mut tx = begin(&self.rooms.system.databases.core_system, self.visitor.place).await?;
        let entrance = presence::enter(&mut tx, &self.visitor, self.rooms.now()).await?;
        tx.commit().await?;
        let Entrance::Session(session_id) = entrance else { return Ok(Flow::Break(Some(End::Replaced))) };
        self.visitor.session_id = session_id;
        (self.shown, self.has_joined) = (None, false);
        // Having entered, it was woken, and looks around.
        Ok(self.welcome().await)
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Flow {
        let text = match message {
            None | Some(Err(_) | Ok(Message::Close(_))) => return Flow::Break(None),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return Flow::Break(Some(End::TooMuch)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Flow::Continue(()),
        };
        self.heard_at = Instant::now();
        if self.budget.check().is_err() {
            return Flow::Break(Some(End::TooMuch));
        }
        let Ok(message) = serde_json::from_str::<FromPage>(&text) else {
            return Flow::Break(Some(End::TooMuch));
        };
        match message {
            FromPage::Hello(_) => Flow::Break(Some(End::TooMuch)),
            FromPage::Ping => self.say(&ToPage::Pong).await,
            FromPage::Signal { to, signal } => self.pass_on(to, &signal).await,
            FromPage::Admit { session } => self.gesture(session, Gesture::Admit).await,
            FromPage::Decline { session } => self.gesture(session, Gesture::Decline).await,
            FromPage::SendBack { session } => self.gesture(session, Gesture::SendBack).await,
            FromPage::Extend { minutes } => self.extend(minutes).await,
            FromPage::Record { on } => self.record(on).await,
            FromPage::Quality(measured) => self.measure(measured).await,
            FromPage::Leave => Flow::Break(Some(End::Left)),
        }
    }

    /// Ends the stay and says why.
    async fn end(&mut self, end: End) {
        let _ = self.say(&ToPage::Ended { reason: end }).await;
        let (place, session_id) = (self.visitor.place, self.visitor.session_id);
        let ended_at = self.rooms.now().min(self.guest.window.expires_at);
        let left = async {
            let mut tx = begin(&self.rooms.system.databases.core_system, place).await?;
            presence::leave(&mut tx, place, session_id, self.visitor.connection_id, ended_at).await?;
            anyhow::Ok(tx.commit().await?)
        };
        if let Err(error) = left.await {
            // Nobody hears of it any more, so that it is ended by the next look for lost stays.
            let _ = not_now(&error);
        }
        finish_if_possible(&self.rooms, place).await;
    }
}

async fn finish_if_possible(rooms: &Rooms, place: presence::Place) {
    if let Err(error) = finish_room(&rooms.system, place).await {
        warn!(error = format!("{error:#}"), "the end of a stay in a video room is told later");
    }
}

fn not_now(error: &anyhow::Error) -> Flow {
    warn!(error = format!("{error:#}"), "a video room cannot be looked at; it is tried again");
    Flow::Continue(())
}
