//! A receiver of Carelog's webhooks in Rust: axum and the official crate `standardwebhooks`.
//!
//! `WEBHOOK_SECRETS="whsec_…" PORT=8000 cargo run -p carelog-tests --bin receiver-example`
//!
//! Carelog sends to https only: put this behind whatever ends TLS for you.
use std::collections::{HashMap, HashSet};
use std::{env, error::Error, sync::Arc, sync::Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

struct Receiver {
    secrets: Vec<Webhook>,
    seen: Mutex<HashSet<String>>, // in production: in your database
    newest: Mutex<HashMap<Value, u64>>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // One secret; the new one and the old one for as long as you rotate.
    let secrets = env::var("WEBHOOK_SECRETS")?.split(' ').map(Webhook::new).collect::<Result<_, _>>()?;
    let receiver = Receiver { secrets, seen: Mutex::default(), newest: Mutex::default() };
    let port = env::var("PORT").map_or(Ok(8000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{}", json!({ "listening": listener.local_addr()?.port() }));
    Ok(axum::serve(listener, Router::new().fallback(receive).with_state(Arc::new(receiver))).await?)
}

/// The signature covers the bytes as they came: verify first, parse afterwards. `verify` also refuses a timestamp that
/// is more than five minutes off, which stops replays.
async fn receive(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !receiver.secrets.iter().any(|secret| secret.verify(&body, &headers).is_ok()) {
        println!("{}", json!({ "verdict": "refused" }));
        return StatusCode::UNAUTHORIZED;
    }
    // Carelog waits 10 s: in production, write it to a table whose key is the webhook-id, then answer, then work.
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    work(&receiver, id, &serde_json::from_slice(&body).unwrap_or_default());
    StatusCode::NO_CONTENT
}

fn work(receiver: &Receiver, id: &str, message: &Value) {
    // What it is about: `appointment_id` where the event is `appointment.booked`.
    let kind = message["event"].as_str().and_then(|event| event.split('.').next()).unwrap_or_default();
    let about = message.get("data").and_then(|data| data.get(format!("{kind}_id"))).unwrap_or_default();
    let sequence = message["sequence"].as_u64().unwrap_or_default();
    let mut newest = receiver.newest.lock().expect("nobody panics with it");
    let is_new = receiver.seen.lock().expect("nobody panics with it").insert(id.to_owned());
    let verdict = match newest.get(about) {
        _ if !is_new => "duplicate",                    // deliveries come at least once
        Some(applied) if sequence < *applied => "late", // and in no promised order: something newer was applied
        _ => "applied",
    };
    if verdict == "applied" {
        newest.insert(about.clone(), sequence);
    }
    println!("{}", json!({ "verdict": verdict, "id": id, "message": message }));
}
