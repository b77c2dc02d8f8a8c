//! Records as they were, over HTTP.

use carelog_tests::{Answer, Api, ApiClinic, Random, send, until};
use reqwest::Method;
use serde_json::{Value, json};

use super::naive;

const UNKNOWN: &str = "0197a000-0000-7000-8000-00000000dead";

async fn done(clinic: &ApiClinic<'_>, path: &str, body: Value) -> Answer {
    let answer = clinic.post(path, &body).await;
    assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    answer
}

/// An appointment that was confirmed, moved, and told late to have been confirmed before.
async fn appointment(clinic: &ApiClinic<'_>, patient: &str) -> String {
    let body = json!({
        "patient_id": patient, "starts_at": "2099-01-01T10:00:00Z", "mode": "phone", "note": "the knee",
        "occurred_at": "2026-01-01T00:00:00Z",
    });
    let id = done(clinic, "/v1/appointments", body).await.id().to_owned();
    let path = format!("/v1/appointments/{id}");
    let confirm = json!({ "channel": "patient", "occurred_at": "2026-01-03T00:00:00Z" });
    done(clinic, &format!("{path}/confirm"), confirm).await;
    let moved = json!({
        "starts_at": "2099-01-02T10:00:00Z", "reason": "technical", "occurred_at": "2026-01-05T00:00:00Z",
    });
    done(clinic, &format!("{path}/reschedule"), moved).await;
    let late = json!({ "channel": "clinic", "occurred_at": "2026-01-02T00:00:00Z" });
    done(clinic, &format!("{path}/confirm"), late).await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_shown_as_it_was_at_a_version_and_at_either_time() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    for _ in 0..5 {
        appointment(&clinic, &patient).await;
    }
    let mut random = Random::seeded(Random::seed(5));

    for told in naive::appointments(&api.core).await {
        let path = format!("/v1/records/appointment/{}", told[0].stream_id);
        for version in 1..=4 {
            let mut shown = clinic.get(&format!("{path}?version={version}")).await;
            let expected = naive::fold(&told, |event| event.version <= version).unwrap();
            let personal = (shown.body["state"]["note"].take(), shown.body["state"]["erased"].take());
            assert_eq!(personal, (json!("the knee"), json!(false)));
            assert_eq!(without(&shown.body["state"], &["note", "erased"]), expected, "{version}");
            assert_eq!((&shown.body["version"], &shown.body["newest_version"]), (&json!(version), &json!(4)));
        }
        for _ in 0..20 {
            let known = &random.pick(&told).recorded_at;
            let shown = clinic.get(&format!("{path}?known_at={known}")).await;
            let expected = naive::fold(&told, |event| event.recorded_at <= *known).unwrap();
            assert_eq!(without(&shown.body["state"], &["note", "erased"]), expected, "{known}");
            let day = format!("2026-01-0{}T12:00:00.000000Z", 1 + random.below(6));
            let shown = clinic.get(&format!("{path}?true_at={day}")).await;
            let expected = naive::fold(&told, |event| event.occurred_at <= day).unwrap();
            assert_eq!(without(&shown.body["state"], &["note", "erased"]), expected, "{day}");
        }
    }
}

fn without(state: &Value, names: &[&str]) -> Value {
    let mut state = state.clone();
    state.as_object_mut().unwrap().retain(|name, _| !names.contains(&name.as_str()));
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_state_is_the_live_one_for_every_kind() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let consents = format!("/v1/patients/{patient}/consents");
    for consent in ["treatment", "recording", "research"] {
        done(&clinic, &consents, json!({ "consent": consent, "version": 2 })).await;
    }
    let withdrawn = clinic.request(Method::DELETE, &format!("{consents}/recording"));
    assert_eq!(send(withdrawn).await.status, 200);
    let appointment = appointment(&clinic, &patient).await;
    let form = clinic.form(&patient).await.id().to_owned();
    let answers = json!({ "answers": { "pain": 3 } });
    let path = format!("/v1/forms/{form}/answers");
    assert_eq!(clinic.api.call(Method::PUT, &path, &clinic.admin.text, Some(&answers)).await.status, 200);
    let plan = plan(&clinic, &patient).await;
    let file = json!({
        "patient_id": patient, "kind": "form_attachment", "content_type": "application/pdf",
        "size_bytes": 10, "content_sha256": "ab".repeat(32), "name": "knee.pdf",
    });
    let file = done(&clinic, "/v1/files", file).await.id().to_owned();
    let subscribe = json!({ "url": "https://partner.example.com/hook", "events": ["patient.*"] });
    let subscribed = done(&clinic, "/v1/webhook-subscriptions", subscribe).await;

    for (kind, live, id) in [
        ("patient", "patients", &patient),
        ("appointment", "appointments", &appointment),
        ("form", "forms", &form),
        ("treatment_plan", "treatment-plans", &plan),
        ("file", "files", &file),
    ] {
        let wait = subscribed.position();
        let live = clinic.get(&format!("/v1/{live}/{id}?wait_for={wait}")).await;
        let past = clinic.get(&format!("/v1/records/{kind}/{id}")).await;
        assert_eq!((live.status, past.status), (200, 200), "{kind}: {past:?}");
        assert_eq!(past.body["state"], live.body, "{kind}");
    }
    let path = format!("/v1/webhook-subscriptions/{}?wait_for={}", subscribed.id(), subscribed.position());
    let live = clinic.get(&path).await;
    let past = clinic.get(&format!("/v1/records/webhook_subscription/{}", subscribed.id())).await;
    for name in ["id", "version", "status", "events", "format", "url", "description", "created_at"] {
        assert_eq!(past.body["state"].get(name).unwrap_or(&Value::Null), &live.body[name], "{name}");
    }
    assert!(!past.text.contains("whsec_"), "{past:?}");
}

async fn plan(clinic: &ApiClinic<'_>, patient: &str) -> String {
    let specialist = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
    let specialist = done(clinic, "/v1/specialists", specialist).await.id().to_owned();
    let body = json!({
        "patient_id": patient, "specialist_id": specialist, "starts_at": "2026-03-02T00:00:00Z",
        "week_count": 6, "title": "The left knee", "goal": "Climbs stairs again",
    });
    let plan = done(clinic, "/v1/treatment-plans", body).await.id().to_owned();
    for week in [2, 1] {
        let squats = json!({
            "exercise_id": "0197a000-0000-7000-8000-00000000000a", "week": week, "session_count": 3, "sets": 3,
            "repetitions": 12, "instructions": "Heels stay down",
        });
        let path = format!("/v1/treatment-plans/{plan}/exercises");
        let assigned = done(clinic, &path, squats).await;
        let session = json!({ "duration_seconds": 540, "pain": 2, "occurred_at": "2026-03-03T00:00:00Z" });
        let path = format!("{path}/{}/complete", assigned.text_at("/assignment_id"));
        done(clinic, &path, session).await;
    }
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_told_late_is_left_out_before_its_exercise_was_assigned() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let before = "2026-03-02T12:00:00Z";
    let body = json!({ "patient_id": patient, "starts_at": "2099-01-01T10:00:00Z", "mode": "phone" });
    let later = done(&clinic, "/v1/appointments", body).await.id().to_owned();
    let plan = plan(&clinic, &patient).await;

    let none = clinic.get(&format!("/v1/records/treatment_plan/{plan}?true_at={before}")).await;
    let known = clinic.get(&format!("/v1/records/treatment_plan/{plan}?version=3")).await;

    assert_eq!(none.problem(), (404, "before_first_event"));
    assert_eq!(known.body["state"]["completed_sessions"], 1);
    let early = clinic.get(&format!("/v1/records/appointment/{later}?true_at={before}")).await;
    assert_eq!(early.problem(), (404, "before_first_event"));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_what_changed_between_two_of_them_are_told() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let path = format!("/v1/records/appointment/{}", appointment(&clinic, &patient).await);

    let first = clinic.get(&format!("{path}/versions?limit=3")).await;
    let next = first.text_at("/next").to_owned();
    let second = clinic.get(&format!("{path}/versions?limit=3&after={next}")).await;
    let changes = clinic.get(&format!("{path}/changes?from=2&to=3")).await;
    let all = clinic.get(&format!("{path}/changes?from=0&to=1")).await;
    let unchanged = clinic.get(&format!("{path}/changes?from=2&to=2")).await;

    let events: Vec<&str> = first.items().iter().map(|item| item["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["appointment.booked", "appointment.confirmed", "appointment.rescheduled"]);
    assert_eq!((second.items().len(), second.body.get("next")), (1, None));
    assert_eq!(second.items()[0]["actor"]["id"], json!(clinic.admin.id));
    let expected = json!([
        { "pointer": "/confirmation_channel", "before": "patient", "after": null },
        { "pointer": "/confirmed_at", "before": "2026-01-03T00:00:00.000000Z", "after": null },
        { "pointer": "/reschedule_count", "before": 0, "after": 1 },
        { "pointer": "/reschedule_reason", "before": null, "after": "technical" },
        {
            "pointer": "/starts_at",
            "before": "2099-01-01T10:00:00.000000Z", "after": "2099-01-02T10:00:00.000000Z",
        },
        { "pointer": "/status", "before": "confirmed", "after": "booked" },
    ]);
    let mut found: Vec<Value> = changes.body["changes"].as_array().unwrap().clone();
    found.sort_by_key(|change| change["pointer"].to_string());
    assert_eq!(json!(found), expected);
    let note = all.body["changes"].as_array().unwrap().iter().find(|change| change["pointer"] == "/note");
    assert_eq!(note, Some(&json!({ "pointer": "/note", "after": "the knee" })));
    assert_eq!(unchanged.body["changes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_back_at_is_told_by_its_code() {
    let api = Api::start().await;
    let (clinic, stranger) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let patient = clinic.patient("Ada").await.id().to_owned();
    let own = format!("patient/{patient}");
    let before = api.event_count().await;

    for (query, expected) in [
        ("?version=2", (404, "version_beyond_last")),
        ("?version=0", (422, "invalid_query")),
        ("?version=x", (422, "invalid_query")),
        ("?known_at=2020-01-01T00:00:00Z", (404, "before_first_event")),
        ("?true_at=2020-01-01T00:00:00Z", (404, "before_first_event")),
        ("?true_at=yesterday", (422, "invalid_query")),
        ("?version=1&true_at=2020-01-01T00:00:00Z", (422, "invalid_query")),
        ("?colour=1", (422, "invalid_query")),
        ("/changes?from=1", (422, "invalid_query")),
        ("/changes?from=2&to=1", (422, "range_ends_before_it_begins")),
        ("/changes?from=-1&to=1", (422, "invalid_query")),
        ("/changes?from=1&to=2", (404, "version_beyond_last")),
        ("/versions?limit=0", (422, "invalid_query")),
    ] {
        let answer = clinic.get(&format!("/v1/records/{own}{query}")).await;
        assert_eq!(answer.problem(), expected, "{query}: {answer:?}");
    }
    for kind in ["appointment", "form", "treatment_plan", "file", "video_room", "webhook_subscription", "x"] {
        let answer = clinic.get(&format!("/v1/records/{kind}/{patient}")).await;
        assert_eq!(answer.problem(), (404, "not_found"), "{kind}");
    }
    for query in ["", "?version=9", "?known_at=2020-01-01T00:00:00Z", "/versions", "/changes?from=1&to=9"] {
        let mut foreign = stranger.get(&format!("/v1/records/{own}{query}")).await.body;
        let mut unknown = stranger.get(&format!("/v1/records/patient/{UNKNOWN}{query}")).await.body;
        assert_eq!(foreign["code"], "not_found");
        assert_ne!(foreign["request_id"].take(), unknown["request_id"].take());
        assert_eq!(foreign, unknown, "{query}");
    }
    assert_eq!(api.event_count().await, before, "nothing was shown, and nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_back_is_for_those_who_answer_for_records_and_is_written_down_first() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let subscribe = json!({ "url": "https://partner.example.com/hook" });
    let subscription = done(&clinic, "/v1/webhook-subscriptions", subscribe).await.id().to_owned();
    let path = format!("/v1/records/patient/{patient}");
    for role in ["specialist", "partner", "analyst"] {
        let key = clinic.key(&json!({ "role": role, "scopes": ["reads"] })).await;
        assert_eq!(clinic.get_as(&key, &path).await.problem(), (403, "wrong_role"), "{role}");
    }
    let key = clinic.key(&json!({ "role": "compliance", "scopes": ["reads"] })).await;
    let hook = clinic.get_as(&key, &format!("/v1/records/webhook_subscription/{subscription}")).await;
    assert_eq!(hook.problem(), (403, "missing_scope"));
    let before = api.event_count().await;

    for query in ["", "?version=1", "/versions", "/changes?from=0&to=1"] {
        assert_eq!(clinic.get_as(&key, &format!("{path}{query}")).await.status, 200, "{query}");
    }
    let viewed = "select count(*) from log.events where event_type = 'access.record_viewed'
                  and subject_id = $1 and actor_id = $2";
    let viewed: i64 = sqlx::query_scalar(viewed)
        .bind(patient.parse::<uuid::Uuid>().unwrap())
        .bind(key.id.parse::<uuid::Uuid>().unwrap())
        .fetch_one(&api.core)
        .await
        .unwrap();
    assert_eq!((api.event_count().await, viewed), (before + 4, 4));

    let refuse = "alter table log.events add constraint no_reads check (event_type <> 'access.record_viewed')
                  not valid";
    sqlx::query(refuse).execute(&api.core).await.unwrap();
    for query in ["", "/versions", "/changes?from=0&to=1"] {
        let answer = clinic.get(&format!("{path}{query}")).await;
        assert!(answer.status >= 500 && !answer.text.contains("Ada"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_patient_was_always_erased_and_the_numbers_stay() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let details = json!({ "name": "Ada Lovelace" });
    let change = clinic.request(Method::PUT, &format!("/v1/patients/{patient}/details")).json(&details);
    assert_eq!(send(change).await.status, 200);
    let appointment = appointment(&clinic, &patient).await;
    let record = format!("/v1/records/patient/{patient}");
    assert_eq!(clinic.get(&format!("{record}?version=1")).await.text_at("/state/details/name"), "Ada");

    let ground = json!({ "ground": "patient_request" });
    done(&clinic, &format!("/v1/patients/{patient}/erasure"), ground).await;
    until("the patient is erased", async || {
        (clinic.get(&format!("/v1/patients/{patient}")).await.body["status"] == "erased").then_some(())
    })
    .await;

    for query in ["?version=1", "?version=2", ""] {
        let state = clinic.get(&format!("{record}{query}")).await.body["state"].clone();
        assert_eq!((&state["details"], &state["erased"]), (&Value::Null, &json!(true)), "{query}");
    }
    let first = clinic.get(&format!("/v1/records/appointment/{appointment}?version=1")).await;
    assert_eq!((&first.body["state"]["note"], &first.body["state"]["erased"]), (&Value::Null, &json!(true)));
    assert_eq!(first.text_at("/state/starts_at"), "2099-01-01T10:00:00.000000Z");
    let changes = clinic.get(&format!("{record}/changes?from=1&to=2")).await;
    assert!(!changes.text.contains("Ada"), "{changes:?}");
}
