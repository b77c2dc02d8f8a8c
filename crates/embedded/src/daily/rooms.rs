//! Rooms: <https://docs.daily.co/reference/rest-api/rooms>.

use http::StatusCode;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Domain;
use super::properties::{ROOM_PROPERTIES, check};

const MAX_NAME: usize = 128;
/// Of a page of the list.
const MOST_LISTED: usize = 100;

/// A room of the fake.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeRoom {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `public` or `private`.
    pub privacy: String,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// The properties that were given.
    pub config: Map<String, Value>,
}

/// A refusal: status, stable code, text, and what else is in the body.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) info: String,
    pub(super) more: Option<(&'static str, Value)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, info: impl Into<String>) -> Self {
        Self { status, code, info: info.into(), more: None }
    }

    pub(super) fn invalid(info: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request-error", info)
    }

    pub(super) fn not_found(info: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", info)
    }
}

pub(super) type Reply = Result<Value, Refusal>;

impl FakeRoom {
    /// Whether its time is over.
    pub fn has_expired(&self, now: i64) -> bool {
        is_over(self.config.get("exp"), now)
    }

    fn to_json(&self, domain: &str) -> Value {
        json!({
            "id": self.id, "name": self.name, "api_created": true, "privacy": self.privacy,
            "url": format!("https://{domain}.daily.co/{}", self.name),
            "created_at": written(self.created_at), "config": self.config,
        })
    }

    /// Takes what is given; a property that is given as null is as by default again.
    fn change(&mut self, asked: Asked) {
        if let Some(privacy) = asked.privacy {
            self.privacy = privacy;
        }
        for (name, value) in asked.properties {
            if value.is_null() {
                self.config.remove(&name);
            } else {
                self.config.insert(name, value);
            }
        }
    }
}

/// Whether a moment has come; nothing never comes.
#[expect(clippy::cast_possible_truncation, reason = "moments of calendars fit")]
pub(super) fn is_over(moment: Option<&Value>, now: i64) -> bool {
    moment.and_then(Value::as_f64).is_some_and(|moment| moment.trunc() as i64 <= now)
}

fn written(moment: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(moment).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_default()
}

/// A checked body.
struct Asked {
    name: Option<String>,
    privacy: Option<String>,
    properties: Map<String, Value>,
}

impl Asked {
    fn read(body: Value) -> Result<Self, Refusal> {
        let Value::Object(body) = body else {
            return Err(Refusal::invalid("the body has to be an object"));
        };
        let mut asked = Self { name: None, privacy: None, properties: Map::new() };
        for (key, value) in body {
            match (key.as_str(), value) {
                ("name", Value::String(name)) => asked.name = Some(name),
                ("privacy", Value::String(privacy)) if matches!(privacy.as_str(), "public" | "private") => {
                    asked.privacy = Some(privacy);
                }
                ("properties", Value::Object(properties)) => asked.properties = properties,
                ("name" | "privacy" | "properties", _) => {
                    return Err(Refusal::invalid(format!("'{key}' has a value of a wrong type")));
                }
                _ => return Err(Refusal::invalid(format!("unknown parameter '{key}'"))),
            }
        }
        check(ROOM_PROPERTIES, &asked.properties).map_err(Refusal::invalid)?;
        if asked.properties.get("max_participants").and_then(Value::as_u64).is_some_and(|most| most > 200) {
            return Err(Refusal::invalid("max_participants beyond 200 is not enabled for this domain"));
        }
        Ok(asked)
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

impl Domain {
    pub(super) fn describe(&self) -> Value {
        json!({ "domain_name": self.name, "domain_id": self.id, "config": {} })
    }

    pub(super) fn create(&mut self, body: Value, now: i64) -> Reply {
        let asked = Asked::read(body)?;
        let number = self.rooms.len() + 1;
        let name = asked.name.clone().unwrap_or_else(|| format!("room{now}{number}"));
        if !is_name(&name) {
            return Err(Refusal::invalid("a room name has 1 to 128 letters, digits, '-' and '_'"));
        }
        if self.rooms.contains_key(&name) {
            return Err(Refusal::invalid(format!("a room named {name} already exists")));
        }
        let id = format!("00000000-0000-4000-8000-{number:012x}");
        let mut room = FakeRoom {
            id,
            name: name.clone(),
            privacy: "public".to_owned(),
            created_at: now,
            config: Map::new(),
        };
        room.change(asked);
        let reply = room.to_json(&self.name);
        self.rooms.insert(name, room);
        Ok(reply)
    }

    /// A room that has not expired.
    pub(super) fn live(&mut self, name: &str, now: i64) -> Result<&mut FakeRoom, Refusal> {
        match self.rooms.get_mut(name) {
            None => Err(Refusal::not_found(format!("room {name} not found"))),
            Some(room) if room.has_expired(now) => Err(Refusal {
                more: Some(("deleted", Value::Bool(true))),
                ..Refusal::not_found(format!("room {name} not found: it has expired"))
            }),
            Some(room) => Ok(room),
        }
    }

    pub(super) fn read(&mut self, name: &str, now: i64) -> Reply {
        let domain = self.name.clone();
        Ok(self.live(name, now)?.to_json(&domain))
    }

    pub(super) fn update(&mut self, name: &str, body: Value, now: i64) -> Reply {
        let domain = self.name.clone();
        let room = self.live(name, now)?;
        let asked = Asked::read(body)?;
        if asked.name.is_some() {
            return Err(Refusal::invalid("unknown parameter 'name'"));
        }
        room.change(asked);
        Ok(room.to_json(&domain))
    }

    pub(super) fn delete(&mut self, name: &str, now: i64) -> Reply {
        self.live(name, now)?;
        self.rooms.remove(name);
        Ok(json!({ "deleted": true, "name": name }))
    }

    pub(super) fn list(&self, now: i64) -> Value {
        let live: Vec<_> = self.rooms.values().filter(|room| !room.has_expired(now)).collect();
        let data: Vec<Value> = live.iter().take(MOST_LISTED).map(|room| room.to_json(&self.name)).collect();
        json!({ "total_count": live.len(), "data": data })
    }
}
