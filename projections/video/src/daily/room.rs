//! Rooms, as Daily is told of them and tells of them.

use std::fmt;

use carelog_domain::AppointmentId;
use carelog_domain::video_room::RoomWindow;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Patient, specialist, an interpreter, two relatives, and one who reconnects before the old connection is noticed.
const MAX_PARTICIPANTS: u8 = 6;

/// The name of a room. It follows from the appointment, so that asking again names the same room; it holds nothing
/// about anybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RoomName(String);

impl RoomName {
    /// Of the room of an appointment with this number; the first has none in its name.
    pub fn of(appointment_id: AppointmentId, opening: u16) -> Self {
        let id = appointment_id.uuid().simple();
        Self(if opening <= 1 { format!("appt-{id}") } else { format!("appt-{id}-{opening}") })
    }

    /// Whose room a name names, and the number of the room; nothing where it is none of ours.
    pub fn parse(name: &str) -> Option<(AppointmentId, u16)> {
        let rest = name.strip_prefix("appt-")?;
        let (id, opening) = match rest.split_once('-') {
            None => (rest, 1),
            Some((id, number)) => (id, number.parse().ok()?),
        };
        let appointment_id = AppointmentId::new(Uuid::try_parse(id).ok()?);
        // Only in the one form in which it was given.
        (Self::of(appointment_id, opening).0 == name).then_some((appointment_id, opening))
    }

    /// The text, of letters, digits and hyphens.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A room as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomSpec {
    /// Its name.
    pub name: RoomName,
    /// When it can be entered.
    pub window: RoomWindow,
}

/// What a room is made with, and changed to. Whatever stands outside `properties` changes nothing without a word.
#[derive(Debug, Serialize)]
pub(super) struct RoomBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    privacy: &'static str,
    properties: Properties,
}

#[derive(Debug, Serialize)]
struct Properties {
    nbf: i64,
    exp: i64,
    /// Whoever is still there at the end is sent away.
    eject_at_room_exp: bool,
    /// A link that is used twice sends the first user away, so that a shared link is noticed.
    enforce_unique_user_ids: bool,
    max_participants: u8,
    enable_chat: bool,
}

impl RoomBody<'_> {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("names, numbers and switches are JSON")
    }
}

impl RoomSpec {
    pub(super) fn to_create(&self) -> RoomBody<'_> {
        RoomBody { name: Some(self.name.as_str()), ..self.to_update() }
    }

    pub(super) fn to_update(&self) -> RoomBody<'_> {
        RoomBody {
            name: None,
            privacy: "private",
            properties: Properties {
                nbf: self.window.opens_at.unix_seconds(),
                exp: self.window.expires_at.unix_seconds(),
                eject_at_room_exp: true,
                enforce_unique_user_ids: true,
                max_participants: MAX_PARTICIPANTS,
                enable_chat: false,
            },
        }
    }

    /// Whether the room at Daily has this window and lets nobody in without a token.
    pub fn is_kept_by(&self, room: &Room) -> bool {
        room.privacy == "private"
            && room.config.nbf == Some(self.window.opens_at.unix_seconds())
            && room.config.exp == Some(self.window.expires_at.unix_seconds())
    }
}

/// A room that Daily has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Room {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// `private` or `public`.
    pub privacy: String,
    /// What is not as by default.
    #[serde(default)]
    pub config: RoomConfig,
}

/// What of a room's configuration decides something here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RoomConfig {
    /// From when it can be entered, in Unix seconds.
    pub nbf: Option<i64>,
    /// When it closes by itself, in Unix seconds.
    pub exp: Option<i64>,
}
