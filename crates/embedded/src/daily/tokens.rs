//! Meeting tokens: made here, or signed by whoever holds the key.
//! <https://docs.daily.co/reference/rest-api/meeting-tokens>

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::Domain;
use super::properties::{TOKEN_PROPERTIES, check};
use super::rooms::{Refusal, Reply, is_over};

const MAX_TOKEN: usize = 2_048;
const MAX_USER_ID: usize = 36;

/// Short claims and the properties that they stand for.
const CLAIMS: [(&str, &str); 16] = [
    ("r", "room_name"),
    ("nbf", "nbf"),
    ("exp", "exp"),
    ("ejt", "eject_at_token_exp"),
    ("eje", "eject_after_elapsed"),
    ("o", "is_owner"),
    ("u", "user_name"),
    ("ud", "user_id"),
    ("k", "knocking"),
    ("ss", "enable_screenshare"),
    ("vo", "start_video_off"),
    ("ao", "start_audio_off"),
    ("er", "enable_recording"),
    ("sr", "start_cloud_recording"),
    ("uil", "lang"),
    ("p", "permissions"),
];

impl Domain {
    /// Makes a token.
    pub(super) fn make_token(&self, api_key: &str, body: Value, now: i64) -> Reply {
        let properties = match body {
            Value::Object(mut body) if body.keys().all(|key| key == "properties") => {
                body.remove("properties").unwrap_or_else(|| Value::Object(Map::new()))
            }
            _ => return Err(Refusal::invalid("expected properties and nothing besides")),
        };
        let Value::Object(properties) = properties else {
            return Err(Refusal::invalid("'properties' has a value of a wrong type"));
        };
        check(TOKEN_PROPERTIES, &properties).map_err(Refusal::invalid)?;
        check_user(&properties)?;
        let mut claims = Map::from_iter([
            ("d".to_owned(), Value::from(self.id.as_str())),
            ("iat".to_owned(), Value::from(now)),
        ]);
        for (name, value) in properties {
            let short =
                CLAIMS.iter().find(|(_, long)| *long == name).map_or(name.as_str(), |(short, _)| short);
            claims.insert(short.to_owned(), value);
        }
        let encoded = URL_SAFE_NO_PAD.encode(Value::Object(claims).to_string());
        let text = format!("{}.{encoded}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#));
        let signature = URL_SAFE_NO_PAD.encode(sign(api_key, &text).finalize().into_bytes());
        Ok(json!({ "token": format!("{text}.{signature}") }))
    }

    /// Tells what a token allows, if it is one of this domain.
    pub(super) fn read_token(&self, api_key: &str, token: &str, now: i64) -> Reply {
        let invalid = || Refusal::invalid("invalid token");
        if token.len() >= MAX_TOKEN {
            return Err(invalid());
        }
        let (text, signature) = token.rsplit_once('.').ok_or_else(invalid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| invalid())?;
        sign(api_key, text).verify_slice(&signature).map_err(|_| invalid())?;
        let (header, claims) = text.split_once('.').ok_or_else(invalid)?;
        let read = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        if read(header).ok_or_else(invalid)?.get("alg") != Some(&Value::from("HS256")) {
            return Err(invalid());
        }
        let claims = read(claims).ok_or_else(invalid)?;
        if claims.get("d") != Some(&Value::from(self.id.as_str()))
            || !claims.get("iat").is_some_and(Value::is_i64)
        {
            return Err(invalid());
        }
        if is_over(claims.get("exp"), now) {
            return Err(Refusal::invalid("token has expired"));
        }
        let mut properties = Map::new();
        for (short, value) in claims {
            if matches!(short.as_str(), "d" | "iat") {
                continue;
            }
            let long =
                CLAIMS.iter().find(|(known, _)| *known == short).map_or(short.as_str(), |(_, long)| long);
            properties.insert(long.to_owned(), value);
        }
        check(TOKEN_PROPERTIES, &properties).map_err(Refusal::invalid)?;
        check_user(&properties)?;
        Ok(Value::Object(properties))
    }
}

fn check_user(properties: &Map<String, Value>) -> Result<(), Refusal> {
    match properties.get("user_id").and_then(Value::as_str) {
        Some(id) if id.len() > MAX_USER_ID => Err(Refusal::invalid("user_id has at most 36 characters")),
        _ => Ok(()),
    }
}

fn sign(api_key: &str, text: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(api_key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac
}
