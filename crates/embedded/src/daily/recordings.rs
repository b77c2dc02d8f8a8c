//! Who is in a room, and recordings of it: <https://docs.daily.co/reference/rest-api/recordings>.

use http::StatusCode;
use serde_json::{Value, json};

use super::Domain;
use super::rooms::{Refusal, Reply};

/// Of a page of the list.
const MOST_LISTED: usize = 100;

/// A recording of the fake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeRecording {
    /// Its id.
    pub id: String,
    /// The room.
    pub room_name: String,
    /// When it began, in Unix seconds.
    pub start_ts: i64,
    /// `in-progress` or `finished`.
    pub status: &'static str,
    /// How many seconds it has, once it is finished.
    pub duration: i64,
    /// What it consists of.
    pub content: Vec<u8>,
    /// What was given to name it once.
    instance: String,
}

impl FakeRecording {
    fn to_json(&self) -> Value {
        let mut shown = json!({
            "id": self.id, "room_name": self.room_name, "start_ts": self.start_ts, "status": self.status,
            "max_participants": 2, "tracks": [], "s3key": format!("clinic/{}/{}", self.room_name, self.start_ts),
        });
        if let (Some(shown), "finished") = (shown.as_object_mut(), self.status) {
            shown.insert("duration".to_owned(), json!(self.duration));
        }
        shown
    }
}

impl Domain {
    fn running(&mut self, room: &str) -> Option<&mut FakeRecording> {
        self.recordings
            .iter_mut()
            .find(|recording| recording.room_name == room && recording.status == "in-progress")
    }

    pub(super) fn start_recording(&mut self, room: &str, body: &Value, now: i64) -> Reply {
        let config = self.live(room, now)?.config.clone();
        if let Some(unknown) = body
            .as_object()
            .and_then(|body| body.keys().find(|key| !matches!(key.as_str(), "type" | "instanceId")))
        {
            return Err(Refusal::invalid(format!("unknown parameter '{unknown}'")));
        }
        if config.get("enable_recording").and_then(Value::as_str) != Some("cloud") {
            return Err(Refusal::invalid("cloud recording is not enabled for this room"));
        }
        if self.present.get(room).copied().unwrap_or_default() == 0 {
            return Err(Refusal::invalid("nobody is in the room"));
        }
        let instance = body["instanceId"].as_str().unwrap_or_default().to_owned();
        let known =
            |recording: &&FakeRecording| recording.room_name == room && recording.instance == instance;
        if self.running(room).is_some() || self.recordings.iter().find(known).is_some() {
            return Err(Refusal::invalid("a recording is active or has been under this instanceId"));
        }
        self.begin_recording(room, &instance, now);
        Ok(json!({ "status": "OK" }))
    }

    /// Whoever asked for it.
    pub(super) fn begin_recording(&mut self, room: &str, instance: &str, now: i64) {
        self.recording_count += 1;
        self.recordings.push(FakeRecording {
            id: format!("00000000-0000-4000-9000-{:012x}", self.recording_count),
            room_name: room.to_owned(),
            start_ts: now,
            status: "in-progress",
            duration: 0,
            content: Vec::new(),
            instance: instance.to_owned(),
        });
    }

    pub(super) fn stop_recording(&mut self, room: &str, now: i64) -> Reply {
        self.live(room, now)?;
        if self.end_recording(room, now) {
            return Ok(json!({ "status": "OK" }));
        }
        Err(Refusal::invalid("no recording is active"))
    }

    /// Whether one went on.
    pub(super) fn end_recording(&mut self, room: &str, now: i64) -> bool {
        let content = self.content.clone();
        let Some(recording) = self.running(room) else { return false };
        (recording.status, recording.duration) = ("finished", now - recording.start_ts);
        recording.content = content;
        true
    }

    pub(super) fn list_recordings(&self, query: Option<&str>) -> Reply {
        let (mut room, mut after, mut limit) = (None, None, MOST_LISTED);
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "room_name" => room = Some(value),
                "starting_after" => after = Some(value),
                "limit" => limit = value.parse().map_err(|_| Refusal::invalid("limit is a number"))?,
                "ending_before" => {}
                _ => return Err(Refusal::invalid(format!("unknown parameter '{name}'"))),
            }
        }
        let fits = |recording: &&FakeRecording| room.is_none_or(|room| recording.room_name == room);
        let newest_first: Vec<_> = self.recordings.iter().rev().filter(fits).collect();
        let begin = match after {
            Some(id) => {
                let place = newest_first.iter().position(|recording| recording.id == id);
                place.ok_or_else(|| Refusal::invalid("starting_after names no recording"))? + 1
            }
            None => 0,
        };
        let page = newest_first.iter().skip(begin).take(limit.min(MOST_LISTED));
        let data: Vec<Value> = page.map(|recording| recording.to_json()).collect();
        Ok(json!({ "total_count": newest_first.len(), "data": data }))
    }

    fn place(&self, id: &str) -> Result<usize, Refusal> {
        let place = self.recordings.iter().position(|recording| recording.id == id);
        place.ok_or_else(|| Refusal::not_found("no such recording"))
    }

    pub(super) fn link_to_recording(&self, id: &str, host: &str, now: i64) -> Reply {
        let place = self.place(id)?;
        let is_finished = self.recordings.get(place).is_some_and(|recording| recording.status == "finished");
        if !is_finished {
            return Err(Refusal::invalid("the recording is not finished"));
        }
        let link = format!("http://{host}/downloads/{}/{id}?sig=opens-by-itself", self.id);
        Ok(json!({ "download_link": link, "expires": now + 3_600 }))
    }

    pub(super) fn delete_recording(&mut self, id: &str) -> Reply {
        let place = self.place(id)?;
        if self.recordings.get(place).is_some_and(|recording| recording.status == "in-progress") {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "invalid-request-error", "it is in progress"));
        }
        self.recordings.remove(place);
        Ok(json!({ "deleted": true, "id": id }))
    }
}
