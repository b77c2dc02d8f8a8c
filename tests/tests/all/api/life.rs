//! What a clinic does all day: appointments and forms from their beginning to their end, each write read at once.

use std::collections::HashSet;

use carelog_tests::{Answer, Api, ApiClinic};
use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

async fn step(clinic: &ApiClinic<'_>, path: &str, name: &str, body: Value, expected: (&str, i64)) -> Answer {
    let done = clinic.post(&format!("{path}/{name}"), &body).await;
    assert_eq!(done.status, 200, "{name}: {done:?}");
    let shown = clinic.get(&format!("{path}?wait_for={}", done.position())).await;
    assert_eq!(
        (shown.text_at("/status"), shown.body["version"].as_i64()),
        (expected.0, Some(expected.1)),
        "{name}"
    );
    assert_eq!(shown.header("etag"), format!("\"{}\"", expected.1), "{name}");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_and_its_form_run_their_course_and_the_trail_tells_who_did_what() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let body = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
    let specialist = clinic.post("/v1/specialists", &body).await.id().to_owned();
    let key = json!({ "role": "specialist", "scopes": ["commands", "reads"], "specialist_id": specialist });
    let key = clinic.key(&key).await;

    let body = json!({
        "patient_id": patient, "specialist_id": specialist, "mode": "video", "note": "the knee",
        "starts_at": "2099-01-01T10:00:00Z", "ends_at": "2099-01-01T10:30:00Z",
    });
    let booked = api.call(Method::POST, "/v1/appointments", &key.text, Some(&body)).await;
    let appointment = booked.id().to_owned();
    let path = format!("/v1/appointments/{appointment}");
    let shown = clinic.get(&format!("{path}?wait_for={}", booked.position())).await;
    assert_eq!((shown.text_at("/note"), shown.text_at("/specialist_id")), ("the knee", specialist.as_str()));
    let moved = json!({ "starts_at": "2099-01-02T10:00:00Z", "reason": "patient_request" });
    step(&clinic, &path, "confirm", json!({ "channel": "patient" }), ("confirmed", 2)).await;
    step(&clinic, &path, "reschedule", moved, ("booked", 3)).await;
    step(&clinic, &path, "confirm", json!({ "channel": "clinic" }), ("confirmed", 4)).await;
    step(&clinic, &path, "onboard", json!({}), ("onboarded", 5)).await;
    step(&clinic, &path, "start", json!({}), ("started", 6)).await;
    step(&clinic, &path, "complete", json!({ "duration_minutes": 25 }), ("completed", 7)).await;

    let assign = json!({
        "patient_id": patient, "appointment_id": appointment, "template_version": 3,
        "template_id": "0197a000-0000-7000-8000-000000000001",
    });
    let form = format!("/v1/forms/{}", clinic.post("/v1/forms", &assign).await.id());
    let answers = json!({ "answers": { "pain": 3, "where": "the knee" } });
    let saved = api.call(Method::PUT, &format!("{form}/answers"), &key.text, Some(&answers)).await;
    let shown = clinic.get(&format!("{form}?wait_for={}", saved.position())).await;
    assert_eq!(
        (shown.text_at("/status"), &shown.body["answers"]),
        ("saved", &answers["answers"]),
        "{shown:?}"
    );
    let sign = json!({ "content_sha256": "ab".repeat(32), "signed_by": "specialist" });
    let signed = step(&clinic, &form, "sign", sign, ("signed", 3)).await;

    let query = format!(
        "/v1/trail?target_id={appointment}&order=oldest_first&limit=200&wait_for={}",
        signed.position()
    );
    let trail = clinic.get(&query).await;
    let done: Vec<(&str, &str)> = trail
        .items()
        .iter()
        .filter(|entry| entry["event"] != "access.record_viewed")
        .map(|entry| (entry["event"].as_str().unwrap(), entry["actor"]["id"].as_str().unwrap()))
        .collect();
    let admin = clinic.admin.id.as_str();
    let expected = [
        ("appointment.booked", key.id.as_str()),
        ("appointment.confirmed", admin),
        ("appointment.rescheduled", admin),
        ("appointment.confirmed", admin),
        ("appointment.onboarded", admin),
        ("appointment.started", admin),
        ("appointment.completed", admin),
    ];
    assert_eq!(done, expected);
    let booking = &trail.items()[0];
    assert_eq!(booking["actor"]["on_behalf_of"], json!(specialist), "{booking}");
    assert_eq!((&booking["actor"]["role"], &booking["patient_id"]), (&json!("specialist"), &json!(patient)));
    let views = trail.items().iter().filter(|entry| entry["event"] == "access.record_viewed").count();
    assert_eq!(views, 7, "each read of the appointment is in the trail too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_250_runs_in_pages_without_repeats_or_holes() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let booked: Vec<Answer> =
        stream::iter(0..250).map(|_| clinic.book(&patient)).buffer_unordered(25).collect().await;
    for booking in &booked {
        clinic.get(&format!("/v1/appointments/{}?wait_for={}", booking.id(), booking.position())).await.id();
    }

    for limit in [7, 50, 200] {
        let mut listed = Vec::new();
        let mut path = format!("/v1/appointments?limit={limit}");
        loop {
            let page = clinic.get(&path).await;
            listed.extend(page.items().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            // Somebody books while the pages are turned: that is newer than the cursor and disturbs nobody.
            clinic.book(&patient).await.id();
            let Some(next) = page.body["next"].as_str() else { break };
            let link = format!("</v1/appointments?limit={limit}&after={next}>; rel=\"next\"");
            assert_eq!(page.header("link"), link);
            path = format!("/v1/appointments?limit={limit}&after={next}");
        }

        let distinct: HashSet<&str> = listed.iter().map(String::as_str).collect();
        assert_eq!(distinct.len(), listed.len(), "no repeats with pages of {limit}");
        assert!(
            booked.iter().all(|booking| distinct.contains(booking.id())),
            "no holes with pages of {limit}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_followed_in_parts_and_a_waiting_client_wakes() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    for _ in 0..20 {
        clinic.book(&patient).await.id();
    }

    let (mut sequences, mut next) = (Vec::new(), None::<String>);
    loop {
        let after = next.as_ref().map(|next| format!("&after={next}")).unwrap_or_default();
        let part = clinic.get(&format!("/v1/events?limit=6{after}")).await;
        let events = part.body["events"].as_array().unwrap().clone();
        next = Some(part.text_at("/next").to_owned());
        if events.is_empty() {
            break;
        }
        sequences.extend(events.iter().map(|event| event["sequence"].as_i64().unwrap()));
    }
    assert_eq!(
        sequences,
        (1..=23).collect::<Vec<i64>>(),
        "registered, key issued, one patient, 20 appointments"
    );

    let next = next.unwrap();
    let path = format!("/v1/events?wait=25&after={next}");
    let waiting = clinic.get(&path);
    let booking = async {
        tokio::task::yield_now().await;
        clinic.book(&patient).await
    };
    let began = std::time::Instant::now();
    let (woken, booked) = tokio::join!(waiting, booking);
    assert_eq!(woken.body["events"][0]["stream_id"], json!(booked.id()), "{woken:?}");
    assert!(began.elapsed().as_secs() < 25, "it was woken after {:?}", began.elapsed());
    let nothing = clinic.get(&format!("/v1/events?wait=1&after={}", woken.text_at("/next"))).await;
    assert_eq!(nothing.body["events"], json!([]));

    // The first bytes of a cursor name the life of the log.
    let first = if next.starts_with('Z') { 'Y' } else { 'Z' };
    let other_life = format!("/v1/events?after={first}{}", &next[1..]);
    assert_eq!(clinic.get(&other_life).await.problem(), (410, "cursor_of_another_log"));
    assert_eq!(clinic.get("/v1/events?after=nonsense").await.problem(), (422, "invalid_query"));
    assert_eq!(clinic.get("/v1/events?wait=31").await.problem(), (422, "invalid_query"));
}
