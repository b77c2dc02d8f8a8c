//! A receiver of Carelog's webhooks in Rust: axum and the official crate `standardwebhooks`.
//!
//! `WEBHOOK_SECRETS="whsec_…" PORT=8000 cargo run -p carelog-tests --bin receiver-example`
//!
//! Carelog sends to https only: put this behind whatever ends TLS for you.
use std::collections::{HashMap, HashSet};
use std::{env, error::Error, sync::Arc, sync::Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode};
use serde_json::{Map, Value, json};
use standardwebhooks::Webhook;

struct Receiver {
    secrets: Vec<Webhook>,
    seen: Mutex<HashSet<String>>, // in production: tables, and a transaction
    newest: Mutex<HashMap<(String, String), u64>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // One secret; the new one and the old one for as long as you rotate.
    let secrets = env::var("WEBHOOK_SECRETS")?.split(' ').map(Webhook::new).collect::<Result<_, _>>()?;
    let receiver = Arc::new(Receiver { secrets, seen: Mutex::default(), newest: Mutex::default() });
    let port = env::var("PORT").map_or(Ok(8000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", json!({ "listening": listener.local_addr()?.port() }));
    Ok(axum::serve(listener, Router::new().fallback(receive).with_state(receiver)).await?)
}

/// The signature covers the bytes as they came: verify first, parse afterwards. `verify` also refuses a timestamp that
/// is more than five minutes off, which stops replays.
async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let refuse = |status: StatusCode| {
        println!("{}", json!({ "verdict": "refused", "status": status.as_u16() }));
        status
    };
    if !receiver.secrets.iter().any(|secret| secret.verify(&body, &headers).is_ok()) {
        return refuse(StatusCode::UNAUTHORIZED);
    }
    let Some((thing, sequence, data)) = parse(&body) else {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    };
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    apply(&receiver, id, &thing, sequence, data);
    StatusCode::NO_CONTENT // only for what is kept; Carelog waits 10 s, so do long work later
}

/// Nothing of another format, such as CloudEvents.
fn parse(body: &[u8]) -> Option<(String, u64, Map<String, Value>)> {
    let message: Value = serde_json::from_slice(body).ok()?;
    let (kind, _) = message.get("event")?.as_str()?.split_once('.')?;
    let data = message.get("data")?.as_object()?;
    let thing = data.get(&format!("{kind}_id"))?.as_str()?; // `appointment_id` of `appointment.booked`
    Some((thing.to_owned(), message.get("sequence")?.as_u64()?, data.clone()))
}

fn apply(receiver: &Receiver, id: &str, thing: &str, sequence: u64, mut data: Map<String, Value>) {
    if !receiver.seen.lock().expect("nobody panics with it").insert(id.to_owned()) {
        return println!("{}", json!({ "verdict": "duplicate", "id": id, "thing": thing })); // they come at least once
    }
    // A message is a change, and they come in no promised order: an older one counts too, except for the properties
    // that a newer one has set since.
    let mut newest = receiver.newest.lock().expect("nobody panics with it");
    data.retain(|name, _| {
        let newest = newest.entry((thing.to_owned(), name.clone())).or_default();
        let is_mine = *newest < sequence;
        *newest = sequence.max(*newest);
        is_mine
    });
    println!("{}", json!({ "verdict": "applied", "id": id, "thing": thing, "set": data }));
}
