//! Which properties rooms and tokens have, and of which type: <https://docs.daily.co/reference/rest-api/rooms/config>.

use serde_json::{Map, Value};

/// What a value of a property may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Yes or no.
    Bool,
    /// A whole number from 0.
    Count,
    /// Moments may have a fraction: clients send what their clock gives.
    Number,
    /// Any text.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Properties of its own.
    Object,
    /// Any number of values.
    List,
}

use Kind::{Bool, Count, List, Number, Object, OneOf, Text};

const REGIONS: &[&str] = &[
    "af-south-1",
    "ap-northeast-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-south-1",
    "eu-central-1",
    "eu-west-2",
    "sa-east-1",
    "us-east-1",
    "us-west-2",
];
const RECORDINGS: &[&str] = &["cloud", "cloud-audio-only", "local", "raw-tracks"];

/// The `properties` of a room, with what each may be.
pub const ROOM_PROPERTIES: &[(&str, Kind)] = &[
    ("nbf", Number),
    ("exp", Number),
    ("max_participants", Count),
    ("enable_people_ui", Bool),
    ("enable_cpu_warning_notifications", Bool),
    ("enable_pip_ui", Bool),
    ("enable_emoji_reactions", Bool),
    ("enable_hand_raising", Bool),
    ("enable_prejoin_ui", Bool),
    ("enable_live_captions_ui", Bool),
    ("enable_network_ui", Bool),
    ("enable_noise_cancellation_ui", Bool),
    ("enable_breakout_rooms", Bool),
    ("enable_knocking", Bool),
    ("enable_screenshare", Bool),
    ("enable_video_processing_ui", Bool),
    ("enable_chat", Bool),
    ("enable_shared_chat_history", Bool),
    ("enable_advanced_chat", Bool),
    ("enable_hidden_participants", Bool),
    ("enable_mesh_sfu", Bool),
    ("enable_adaptive_simulcast", Bool),
    ("enable_multiparty_adaptive_simulcast", Bool),
    ("enforce_unique_user_ids", Bool),
    ("experimental_optimize_large_calls", Bool),
    ("start_video_off", Bool),
    ("start_audio_off", Bool),
    ("owner_only_broadcast", Bool),
    ("audio_only", Bool),
    ("enable_recording", OneOf(RECORDINGS)),
    ("recordings_bucket", Object),
    ("recordings_template", Text),
    ("eject_at_room_exp", Bool),
    ("eject_after_elapsed", Count),
    ("lang", Text),
    ("sfu_switchover", Number),
    ("meeting_join_hook", Text),
    ("geo", OneOf(REGIONS)),
    ("rtmp_geo", Text),
    ("disable_rtmp_geo_fallback", Bool),
    ("enable_terse_logging", Bool),
    ("auto_transcription_settings", Object),
    ("enable_transcription_storage", Bool),
    ("transcription_bucket", Object),
    ("enable_dialin", Bool),
    ("enable_dialout", Bool),
    ("sip", Object),
    ("streaming_endpoints", List),
    ("permissions", Object),
];

/// The `properties` of a token, with what each may be.
pub const TOKEN_PROPERTIES: &[(&str, Kind)] = &[
    ("room_name", Text),
    ("nbf", Number),
    ("exp", Number),
    ("eject_at_token_exp", Bool),
    ("eject_after_elapsed", Count),
    ("is_owner", Bool),
    ("user_name", Text),
    ("user_id", Text),
    ("knocking", Bool),
    ("enable_screenshare", Bool),
    ("start_video_off", Bool),
    ("start_audio_off", Bool),
    ("enable_recording", OneOf(RECORDINGS)),
    ("enable_prejoin_ui", Bool),
    ("enable_live_captions_ui", Bool),
    ("enable_recording_ui", Bool),
    ("enable_terse_logging", Bool),
    ("start_cloud_recording", Bool),
    ("start_cloud_recording_opts", Object),
    ("auto_start_transcription", Bool),
    ("close_tab_on_exit", Bool),
    ("redirect_on_meeting_exit", Text),
    ("lang", Text),
    ("permissions", Object),
];

impl Kind {
    /// Whether a value is one of this kind.
    pub fn takes(self, value: &Value) -> bool {
        match self {
            Bool => value.is_boolean(),
            Count => value.as_u64().is_some(),
            Number => value.is_number(),
            Text => value.is_string(),
            OneOf(names) => value.as_str().is_some_and(|name| names.contains(&name)),
            Object => value.is_object(),
            List => value.is_array(),
        }
    }
}

/// Refuses what is unknown or of another type; `null` takes a property back.
pub(super) fn check(known: &[(&str, Kind)], given: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in given {
        let Some((_, kind)) = known.iter().find(|(known, _)| known == name) else {
            return Err(format!("unknown property '{name}'"));
        };
        if !value.is_null() && !kind.takes(value) {
            return Err(format!("property '{name}' has a value of a wrong type"));
        }
    }
    Ok(())
}
