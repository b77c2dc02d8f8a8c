//! What Daily tells by its webhook: <https://docs.daily.co/reference/rest-api/webhooks>.
//!
//! One address for each organization, and a key for each account, which follows from the account's own key: nothing has
//! to be kept, and another account has another one. The signature covers the timestamp and the bytes of the body as they
//! came; whoever writes the JSON anew signs something else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_domain::video_notice::NoticeKind;
use carelog_domain::{AppointmentId, ParticipantId, Timestamp};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{DailyAccount, RoomName};

/// Carries the moment of sending, in Unix seconds.
pub const TIMESTAMP_HEADER: &str = "x-webhook-timestamp";
/// Carries the signature, in base64.
pub const SIGNATURE_HEADER: &str = "x-webhook-signature";
/// What Daily sends, unsigned, to see whether an address answers.
pub const PROBE: &[u8] = br#"{"test":"test"}"#;

/// A notice may be sent so much before or after now, by our clock.
const WINDOW_SECONDS: u64 = 5 * 60;
/// Daily's own names for what it sends have less than half of it.
const MAX_ID: usize = 200;
const MICROS_PER_SECOND: f64 = 1_000_000.0;

/// The key that signs what Daily sends to one organization.
pub struct HookKey(Zeroizing<[u8; 32]>);

/// Why a notice is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookRefusal {
    /// It has no signature, or no timestamp.
    #[error("the notice is not signed")]
    Unsigned,
    /// The signature is another one.
    #[error("the signature is not that of this organization's account")]
    WrongSignature,
    /// It was sent too long ago, or will be.
    #[error("the notice was not sent within five minutes of now")]
    OutsideWindow,
    /// It is signed, and none of Daily's.
    #[error("the notice is not of the form that daily publishes")]
    Malformed,
}

/// A notice of Daily's.
#[derive(Clone, Debug, PartialEq)]
pub struct HookNotice {
    /// Daily's own name for it; the same when it is sent again.
    pub id: String,
    /// What it tells.
    pub kind: NoticeKind,
    /// The appointment and the number of its room; nothing where the room is none of ours.
    pub room: Option<(AppointmentId, u16)>,
    /// When Daily sent it.
    pub sent_at: Timestamp,
}

/// Somebody's stay, as a notice of coming or leaving tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HookStay {
    /// Names the stay.
    pub session_id: Uuid,
    /// The id in their link, where it was one of ours.
    pub participant_id: Option<ParticipantId>,
    /// When they came.
    pub joined_at: Timestamp,
    /// For how many seconds they had been there; told when they leave.
    pub duration_seconds: Option<u32>,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    event_ts: f64,
    #[serde(default)]
    payload: Where,
}

/// Meetings and participants name their room in one way, recordings in another.
#[derive(Default, Deserialize)]
struct Where {
    room: Option<String>,
    room_name: Option<String>,
}

#[derive(Deserialize)]
struct WithStay {
    payload: StayPayload,
}

#[derive(Deserialize)]
struct StayPayload {
    session_id: Uuid,
    #[serde(default)]
    user_id: Option<String>,
    joined_at: f64,
    #[serde(default)]
    duration: Option<f64>,
}

impl HookKey {
    /// The key of an account.
    pub fn of(account: &DailyAccount) -> Self {
        let mut mac = mac(account.api_key.as_bytes());
        mac.update(b"carelog daily webhook 1\n");
        mac.update(account.organization_id.to_string().as_bytes());
        Self(Zeroizing::new(mac.finalize().into_bytes().into()))
    }

    #[cfg(test)]
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// As Daily wants to be told it.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0.as_slice())
    }

    /// The signature of a body that is sent at this moment.
    pub fn sign(&self, unix_seconds: &str, body: &[u8]) -> String {
        STANDARD.encode(self.mac_of(unix_seconds, body).finalize().into_bytes())
    }

    fn mac_of(&self, unix_seconds: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = mac(self.0.as_slice());
        mac.update(unix_seconds.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }

    /// Whether Daily sent these bytes to this organization within five minutes of now. The comparison takes the same
    /// time wherever the first difference lies.
    ///
    /// # Errors
    /// See [`HookRefusal`].
    pub fn verify(
        &self,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), HookRefusal> {
        let (Some(timestamp), Some(signature)) = (timestamp, signature) else {
            return Err(HookRefusal::Unsigned);
        };
        let signature = STANDARD.decode(signature.trim()).map_err(|_| HookRefusal::WrongSignature)?;
        self.mac_of(timestamp, body).verify_slice(&signature).map_err(|_| HookRefusal::WrongSignature)?;
        // Signed by Daily, so that only now it is worth reading.
        let sent_at: i64 = timestamp.parse().map_err(|_| HookRefusal::OutsideWindow)?;
        if now.unix_seconds().abs_diff(sent_at) > WINDOW_SECONDS {
            return Err(HookRefusal::OutsideWindow);
        }
        Ok(())
    }
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl HookNotice {
    /// Reads a notice whose signature fits.
    ///
    /// # Errors
    /// When it is not of Daily's form.
    pub fn read(body: &[u8]) -> Result<Self, HookRefusal> {
        let envelope: Envelope = serde_json::from_slice(body).map_err(|_| HookRefusal::Malformed)?;
        if !(1..=MAX_ID).contains(&envelope.id.len()) {
            return Err(HookRefusal::Malformed);
        }
        let room = envelope.payload.room.or(envelope.payload.room_name);
        Ok(Self {
            kind: kind_of(&envelope.kind),
            room: room.and_then(|name| RoomName::parse(&name)),
            sent_at: moment(envelope.event_ts).ok_or(HookRefusal::Malformed)?,
            id: envelope.id,
        })
    }
}

impl HookStay {
    /// Reads the stay out of a notice of coming or leaving; nothing where it tells of none.
    pub fn read(body: &[u8]) -> Option<Self> {
        let WithStay { payload } = serde_json::from_slice(body).ok()?;
        Some(Self {
            session_id: payload.session_id,
            participant_id: payload.user_id.and_then(|id| id.parse().ok()).map(ParticipantId::new),
            joined_at: moment(payload.joined_at.trunc())?,
            duration_seconds: payload.duration.and_then(seconds),
        })
    }
}

/// What is not known means nothing to a room, and is kept all the same.
fn kind_of(name: &str) -> NoticeKind {
    match name {
        "meeting.started" => NoticeKind::MeetingStarted,
        "meeting.ended" => NoticeKind::MeetingEnded,
        "participant.joined" => NoticeKind::ParticipantJoined,
        "participant.left" => NoticeKind::ParticipantLeft,
        "recording.started" => NoticeKind::RecordingStarted,
        "recording.ready-to-download" => NoticeKind::RecordingReady,
        "recording.error" => NoticeKind::RecordingFailed,
        _ => NoticeKind::Other,
    }
}

/// A moment from Unix seconds with a fraction; nothing beyond the calendar.
pub(super) fn moment(unix_seconds: f64) -> Option<Timestamp> {
    let micros = unix_seconds * MICROS_PER_SECOND;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be within the calendar")]
    let micros = (micros.is_finite() && micros.abs() < 2.5e17).then_some(micros as i64)?;
    Some(Timestamp::UNIX_EPOCH.saturating_add_micros(micros))
}

/// Whole seconds, rounded down, as the list of meetings has them.
pub(super) fn seconds(duration: f64) -> Option<u32> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    (0.0..4e9).contains(&duration).then_some(duration as u32)
}
