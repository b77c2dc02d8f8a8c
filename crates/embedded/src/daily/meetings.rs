//! Who was in a room: <https://docs.daily.co/reference/rest-api/meetings>.

use serde_json::{Value, json};

use super::Domain;
use super::rooms::{Refusal, Reply};

/// Somebody's stay in a room.
#[derive(Clone, Debug)]
pub(super) struct FakeStay {
    pub(super) room: String,
    pub(super) session_id: String,
    pub(super) user_id: String,
    pub(super) joined_at: i64,
    pub(super) left_at: Option<i64>,
}

impl FakeStay {
    pub(super) fn to_payload(&self) -> Value {
        let mut payload = json!({
            "room": self.room, "session_id": self.session_id, "user_id": self.user_id, "user_name": "",
            "joined_at": self.joined_at, "owner": false,
        });
        if let (Some(payload), Some(left_at)) = (payload.as_object_mut(), self.left_at) {
            payload.insert("duration".to_owned(), json!(left_at - self.joined_at));
        }
        payload
    }
}

impl Domain {
    pub(super) fn list_meetings(&self, query: Option<&str>, now: i64) -> Reply {
        let mut since = 0;
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "timeframe_start" => {
                    since = value.parse().map_err(|_| Refusal::invalid("timeframe_start is a number"))?;
                }
                "room" | "timeframe_end" | "limit" | "starting_after" | "ending_before" | "ongoing" => {}
                _ => return Err(Refusal::invalid(format!("unknown parameter '{name}'"))),
            }
        }
        let mut rooms: Vec<&str> = self.stays.iter().map(|stay| stay.room.as_str()).collect();
        rooms.dedup();
        let data: Vec<Value> = rooms.into_iter().filter_map(|room| self.meeting(room, since, now)).collect();
        Ok(json!({ "total_count": data.len(), "data": data }))
    }

    fn meeting(&self, room: &str, since: i64, now: i64) -> Option<Value> {
        let of_room = || self.stays.iter().filter(|stay| stay.room == room && stay.joined_at >= since);
        let start = of_room().map(|stay| stay.joined_at).min()?;
        let ongoing = of_room().any(|stay| stay.left_at.is_none());
        let end = of_room().map(|stay| stay.left_at.unwrap_or(now)).max()?;
        let participants: Vec<Value> = of_room()
            .map(|stay| {
                json!({
                    "participant_id": stay.session_id, "user_id": stay.user_id, "user_name": null,
                    "join_time": stay.joined_at, "duration": stay.left_at.unwrap_or(now) - stay.joined_at,
                })
            })
            .collect();
        Some(json!({
            "id": format!("meeting-{room}"), "room": room, "start_time": start, "duration": end - start,
            "ongoing": ongoing, "max_participants": participants.len(), "participants": participants,
        }))
    }
}
