//! What a page and the server tell each other over the socket. Whatever a page sends is read strictly and bounded.

use carelog_domain::video_room::ParticipantKind;
use carelog_domain::{RecordingId, Timestamp};
use carelog_video::embedded::IceServer;
use carelog_video::quality::Measured;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest message of a page: a description of a session with many codecs has some 8 KiB.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// From a page.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum FromPage {
    /// The first message, and only that.
    Hello(Hello),
    /// Is anybody there?
    Ping,
    /// For the browser of the other.
    Signal {
        /// Their stay.
        to: Uuid,
        /// What.
        signal: Signal,
    },
    /// Let somebody in who waits.
    Admit { session: Uuid },
    /// Turn somebody away who waits.
    Decline { session: Uuid },
    /// Let somebody wait again.
    SendBack { session: Uuid },
    /// Let the room stay open for longer.
    Extend { minutes: u16 },
    /// Begin to record, or end it.
    Record { on: bool },
    /// How the network does.
    Quality(Measured),
    /// Goodbye.
    Leave,
}

/// How a page begins.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hello {
    /// The link's secret part.
    pub(super) token: String,
    /// What the browser made up once to be known by.
    pub(super) device: String,
    /// The stay that this page had before its connection broke.
    pub(super) resume: Option<Uuid>,
    /// `look` to learn whether the link works, `enter` to come in.
    pub(super) purpose: Purpose,
}

/// Why a page connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Purpose {
    Look,
    Enter,
}

/// What is passed on between browsers, and nothing else (<https://www.w3.org/TR/webrtc/>).
#[derive(Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Signal {
    /// Wants to talk like this.
    Offer {
        sdp: String,
        /// The page's offers are counted.
        number: u32,
    },
    /// Talks like this.
    Answer {
        sdp: String,
        /// Of the offer that it answers.
        number: u32,
    },
    /// Can be reached here.
    Candidate {
        candidate: String,
        #[serde(rename = "sdpMid")]
        sdp_mid: Option<String>,
        #[serde(rename = "sdpMLineIndex")]
        sdp_m_line_index: Option<u16>,
        #[serde(rename = "usernameFragment")]
        username_fragment: Option<String>,
    },
}

/// To a page.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToPage<'a> {
    /// The link does not lead in; the connection ends.
    Refused {
        reason: Refusal,
        #[serde(skip_serializing_if = "Option::is_none")]
        opens_at: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
        now: Timestamp,
    },
    /// The link works; the answer to a look.
    MayEnter { participant: ParticipantKind, relays: RelaysView, expires_at: Timestamp, now: Timestamp },
    /// In.
    Welcome { session: Uuid, participant: ParticipantKind, relays: RelaysView },
    /// The relays take the page for longer: the room's time has changed.
    Relays { relays: RelaysView },
    /// How the room is.
    State(RoomView),
    /// From the other's browser.
    Signal { from: Uuid, signal: &'a serde_json::value::RawValue },
    /// Something that was asked for is not possible.
    NotDone { reason: NotDone },
    /// Somebody is here.
    Pong,
    /// It is over; the connection ends.
    Ended { reason: End },
}

/// What a browser needs in order to be reached.
#[derive(Serialize)]
pub(super) struct RelaysView {
    pub(super) ice_servers: Vec<IceServer>,
    pub(super) relay_only: bool,
}

/// How a room is, for one of those in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RoomView {
    /// Whether they take part, or wait.
    pub(super) admitted: bool,
    /// With whom they talk.
    pub(super) peer: Option<PeerView>,
    /// Who waits, for the specialist's eyes.
    pub(super) waiting: Vec<PeerView>,
    /// Whether the conversation is recorded; nothing where it is not.
    pub(super) recording: Option<RecordingView>,
    /// When the room closes.
    pub(super) expires_at: Timestamp,
    /// The server's time.
    pub(super) now: Timestamp,
}

/// Somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PeerView {
    pub(super) session: Uuid,
    pub(super) participant: ParticipantKind,
}

/// A recording that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RecordingView {
    /// The one that goes on; nothing before a page has begun it.
    pub(super) id: Option<RecordingId>,
}

/// Why somebody does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    /// The link is none of ours.
    Unknown,
    /// Another link took its place, or it was revoked.
    Revoked,
    /// The room is not open yet.
    BeforeWindow,
    /// The room's time is over.
    AfterWindow,
    /// The room was closed before its time.
    Closed,
    /// The link is in use on another device.
    InUse,
    /// Another specialist is in the room.
    SeatTaken,
    /// The specialist turned them away while their connection was lost.
    Declined,
    /// Too much was asked of this server.
    Busy,
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NotDone {
    /// Somebody else takes part already.
    SeatTaken,
    /// Only a specialist may.
    NotAllowed,
    /// The room cannot stay open for so much longer.
    TooLong,
    /// The clinic records no consultations.
    RecordingNotEnabled,
    /// The patient has not agreed to be recorded.
    NoRecordingConsent,
    /// There were too many recordings, or it failed here.
    NotRecorded,
    /// It failed here.
    Unavailable,
}

/// Why a stay is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum End {
    /// The room's time is over.
    Expired,
    /// The room was closed before its time.
    Closed,
    /// The link was revoked or issued again.
    Revoked,
    /// The specialist declined.
    Declined,
    /// The same link is used in another tab or on another device.
    Replaced,
    /// More was sent than a page has to say.
    TooMuch,
    /// As asked.
    Left,
}
