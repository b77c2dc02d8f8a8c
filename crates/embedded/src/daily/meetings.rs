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

/// What was measured of a participant.
#[derive(Clone, Debug)]
pub(super) struct FakeMetric {
    pub(super) room: String,
    pub(super) session_id: String,
    /// In milliseconds.
    pub(super) at: i64,
    /// A share.
    pub(super) received_loss: f64,
}

impl FakeMetric {
    fn to_payload(&self) -> Value {
        let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.at) * 1_000_000);
        let time =
            time.ok().and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok());
        json!({
            "time": time, "clientTime": time, "mtgSessionId": format!("meeting-{}", self.room),
            "userSessionId": self.session_id, "roomName": self.room, "domainName": "clinic",
            "videoRecvPacketLoss": self.received_loss,
            "userRecvBitsPerSecAvg": 542_362, "userRecvBitsPerSecMax": 558_700, "userRecvBitsPerSecMin": 482_872,
            "userSentBitsPerSecAvg": 568_851, "userSentBitsPerSecMax": 588_299, "userSentBitsPerSecMin": 550_888,
            "metrics": { "sfu-recv": {
                "transport": { "bitsSentPerSecAvg": 11_558.4, "recvPacketsLostPct": 0 },
                "inbound-cam-audio&427fd04d": { "jitterAvg": 0.004, "jitterMax": 0.006, "packetsLostPct": 0 },
                "inbound-cam-video&427fd04d": { "jitterAvg": 0.012, "jitterMax": 0.02, "packetsLostPct": 0 },
            } },
        })
    }
}

impl Domain {
    /// <https://docs.daily.co/reference/rest-api/logs/list-logs>
    pub(super) fn list_logs(&self, query: Option<&str>) -> Reply {
        let (mut meeting, mut session) = (None, None);
        let (mut has_logs, mut has_metrics, mut is_ascending) = (true, false, false);
        let (mut limit, mut offset) = (20, 0);
        let flag = |value: &str| value.parse().map_err(|_| Refusal::invalid("true or false"));
        let number = |value: &str| value.parse().map_err(|_| Refusal::invalid("a number"));
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "mtgSessionId" => meeting = Some(value.to_owned()),
                "userSessionId" => session = Some(value.to_owned()),
                "includeLogs" => has_logs = flag(value)?,
                "includeMetrics" => has_metrics = flag(value)?,
                "order" => match value.to_ascii_uppercase().as_str() {
                    "ASC" => is_ascending = true,
                    "DESC" => is_ascending = false,
                    _ => return Err(Refusal::invalid("order is ASC or DESC")),
                },
                "limit" => limit = number(value)?,
                "offset" => offset = number(value)?,
                "logLevel" | "startTime" | "endTime" => {}
                _ => return Err(Refusal::invalid(format!("unknown parameter '{name}'"))),
            }
        }
        if meeting.is_none() && session.is_none() {
            return Err(Refusal::invalid("mtgSessionId or userSessionId is required"));
        }
        let mut metrics: Vec<&FakeMetric> = self
            .metrics
            .iter()
            .filter(|one| meeting.as_ref().is_none_or(|id| *id == format!("meeting-{}", one.room)))
            .filter(|one| session.as_ref().is_none_or(|id| *id == one.session_id))
            .collect();
        metrics.sort_by_key(|one| if is_ascending { one.at } else { -one.at });
        let mut page = serde_json::Map::new();
        if has_logs {
            page.insert("logs".to_owned(), json!([]));
        }
        if has_metrics {
            let shown = metrics.iter().skip(offset).take(limit).map(|one| one.to_payload());
            page.insert("metrics".to_owned(), shown.collect());
        }
        Ok(Value::Object(page))
    }

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
