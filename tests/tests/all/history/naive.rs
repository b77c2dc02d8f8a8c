//! Appointments folded once more, from the rows of the log alone, with nothing of the product.

use serde_json::{Value, json};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

/// An event as it lies in the log. Moments are texts whose order is theirs.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Told {
    pub(super) organization_id: Uuid,
    pub(super) stream_id: Uuid,
    pub(super) version: i64,
    event_type: String,
    pub(super) occurred_at: String,
    pub(super) recorded_at: String,
    facts: String,
}

/// Every event of every appointment, stream by stream.
pub(super) async fn appointments(owner: &PgPool) -> Vec<Vec<Told>> {
    let told: Vec<Told> = sqlx::query_as(
        r#"
        select organization_id, stream_id, version, event_type, convert_from(facts, 'utf8') as facts,
            to_char(occurred_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as occurred_at,
            to_char(recorded_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as recorded_at
        from log.events
        where stream_kind = 'appointment'
        order by organization_id, stream_id, version
        "#,
    )
    .fetch_all(owner)
    .await
    .unwrap();
    told.chunk_by(|a, b| a.stream_id == b.stream_id && a.organization_id == b.organization_id)
        .map(<[Told]>::to_vec)
        .collect()
}

/// The appointment, as far as some of its events tell of it; nothing where the first is not among them.
pub(super) fn fold(told: &[Told], holds: impl Fn(&Told) -> bool) -> Option<Value> {
    let mut state: Option<Value> = None;
    for event in told.iter().filter(|event| holds(event)) {
        let facts: Value = serde_json::from_str(&event.facts).unwrap();
        if event.event_type == "appointment.booked" {
            state = Some(booked(event, &facts));
            continue;
        }
        let Some(state) = &mut state else { continue };
        state["version"] = json!(event.version);
        state["updated_at"] = json!(event.recorded_at);
        change(state, event, &facts);
    }
    state
}

fn booked(event: &Told, facts: &Value) -> Value {
    let mut state = json!({
        "id": event.stream_id, "version": event.version, "status": "booked", "reschedule_count": 0,
        "created_at": event.occurred_at, "updated_at": event.recorded_at,
    });
    for name in ["patient_id", "specialist_id", "starts_at", "ends_at", "starts_at_precision", "mode"] {
        state[name] = facts[name].clone();
    }
    for name in [
        "confirmation_channel",
        "confirmed_at",
        "onboarded_at",
        "started_at",
        "ended_at",
        "duration_minutes",
        "reschedule_reason",
        "cancelled_by",
        "cancellation_reason",
    ] {
        state[name] = Value::Null;
    }
    state
}

fn change(state: &mut Value, event: &Told, facts: &Value) {
    let at = json!(event.occurred_at);
    match event.event_type.as_str() {
        "appointment.confirmed" => {
            state["status"] = json!("confirmed");
            state["confirmation_channel"] = facts["channel"].clone();
            state["confirmed_at"] = at;
        }
        "appointment.onboarded" => {
            state["status"] = json!("onboarded");
            state["onboarded_at"] = at;
        }
        "appointment.rescheduled" => {
            state["status"] = json!("booked");
            state["starts_at"] = facts["starts_at"].clone();
            state["ends_at"] = facts["ends_at"].clone();
            state["reschedule_reason"] = facts["reason"].clone();
            state["reschedule_count"] = json!(state["reschedule_count"].as_i64().unwrap() + 1);
            for name in ["confirmation_channel", "confirmed_at", "onboarded_at"] {
                state[name] = Value::Null;
            }
        }
        "appointment.started" => {
            state["status"] = json!("started");
            state["started_at"] = at;
        }
        "appointment.completed" => {
            state["status"] = json!("completed");
            state["ended_at"] = at;
            state["duration_minutes"] = facts["duration_minutes"].clone();
        }
        "appointment.cancelled" => {
            state["status"] = json!("cancelled");
            state["ended_at"] = at;
            state["cancelled_by"] = facts["cancelled_by"].clone();
            state["cancellation_reason"] = facts["reason"].clone();
        }
        "appointment.no_show" => {
            state["status"] = json!("no_show");
            state["ended_at"] = at;
        }
        other => panic!("{other} is no event of an appointment"),
    }
}
