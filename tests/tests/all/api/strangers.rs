//! What belongs to another clinic is answered like what does not exist, for every route that takes an id.

use carelog_tests::{Answer, Api, ApiClinic, send};
use reqwest::Method;
use serde_json::{Value, json};

const UNKNOWN: &str = "0197a000-0000-7000-8000-00000000dead";

/// Ids of one clinic's things.
struct Things {
    patient: String,
    appointment: String,
    form: String,
    specialist: String,
    subscription: String,
    key: String,
    delivery: String,
}

async fn things(clinic: &ApiClinic<'_>) -> Things {
    let subscribe = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.*"] });
    let subscription = clinic.post("/v1/webhook-subscriptions", &subscribe).await.id().to_owned();
    let patient = clinic.patient("Ada").await.id().to_owned();
    let specialist = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
    let deliveries = format!("/v1/webhook-deliveries?subscription_id={subscription}");
    let delivery = carelog_tests::until("a delivery is made", async || {
        let page = clinic.get(&deliveries).await;
        Some(page.items().first()?["id"].as_str()?.to_owned())
    })
    .await;
    Things {
        appointment: clinic.book(&patient).await.id().to_owned(),
        form: clinic.form(&patient).await.id().to_owned(),
        specialist: clinic.post("/v1/specialists", &specialist).await.id().to_owned(),
        key: clinic.key_of("admin").await.id,
        patient,
        subscription,
        delivery,
    }
}

/// Every route with an id of somebody else's thing, and the same with an id of nothing.
fn routes(things: &Things) -> Vec<(Method, [String; 2], Value)> {
    let sha256 = "ab".repeat(32);
    let details = json!({ "name": "Eve" });
    let suspension = json!({ "agency_kind": "law_enforcement", "agency": "Police", "form": "written",
        "ends_at": "2099-01-01T00:00:00Z" });
    let kinds: [(&str, &str, &str, Value); 35] = [
        ("GET", "/v1/patients/{}", &things.patient, json!(null)),
        ("POST", "/v1/patients/{}/onboard", &things.patient, json!({})),
        ("PUT", "/v1/patients/{}/details", &things.patient, details),
        (
            "POST",
            "/v1/patients/{}/consents",
            &things.patient,
            json!({ "consent": "treatment", "version": 1 }),
        ),
        ("DELETE", "/v1/patients/{}/consents/treatment", &things.patient, json!(null)),
        ("POST", "/v1/patients/{}/erasure", &things.patient, json!({ "ground": "patient_request" })),
        ("POST", "/v1/patients/{}/accounting-suspensions", &things.patient, suspension),
        ("GET", "/v1/specialists/{}", &things.specialist, json!(null)),
        ("POST", "/v1/specialists/{}/deactivate", &things.specialist, json!({ "reason": "left" })),
        ("GET", "/v1/appointments/{}", &things.appointment, json!(null)),
        ("POST", "/v1/appointments/{}/confirm", &things.appointment, json!({ "channel": "clinic" })),
        ("POST", "/v1/appointments/{}/onboard", &things.appointment, json!({})),
        (
            "POST",
            "/v1/appointments/{}/reschedule",
            &things.appointment,
            json!({ "starts_at": "2099-02-01T10:00:00Z", "reason": "other" }),
        ),
        ("POST", "/v1/appointments/{}/start", &things.appointment, json!({})),
        ("POST", "/v1/appointments/{}/complete", &things.appointment, json!({})),
        ("POST", "/v1/appointments/{}/cancel", &things.appointment, json!({ "reason": "other" })),
        ("POST", "/v1/appointments/{}/no-show", &things.appointment, json!({})),
        ("GET", "/v1/forms/{}", &things.form, json!(null)),
        ("PUT", "/v1/forms/{}/answers", &things.form, json!({ "answers": { "a": 1 } })),
        (
            "POST",
            "/v1/forms/{}/sign",
            &things.form,
            json!({ "content_sha256": sha256, "signed_by": "specialist" }),
        ),
        ("POST", "/v1/forms/{}/void", &things.form, json!({ "reason": "other" })),
        ("GET", "/v1/webhook-subscriptions/{}", &things.subscription, json!(null)),
        ("GET", "/v1/webhook-subscriptions/{}/messages", &things.subscription, json!(null)),
        ("PATCH", "/v1/webhook-subscriptions/{}", &things.subscription, json!({ "per_tick_limit": 5 })),
        ("DELETE", "/v1/webhook-subscriptions/{}", &things.subscription, json!(null)),
        ("POST", "/v1/webhook-subscriptions/{}/enable", &things.subscription, json!({})),
        ("POST", "/v1/webhook-subscriptions/{}/disable", &things.subscription, json!({})),
        ("POST", "/v1/webhook-subscriptions/{}/rotate-secret", &things.subscription, json!({})),
        ("GET", "/v1/webhook-deliveries/{}", &things.delivery, json!(null)),
        ("POST", "/v1/webhook-deliveries/{}/redeliver", &things.delivery, json!({})),
        ("GET", "/v1/webhook-deliveries/{}/attempts/1", &things.delivery, json!(null)),
        ("POST", "/v1/webhook-deliveries/{}/expunge", &things.delivery, json!({})),
        ("DELETE", "/v1/api-keys/{}", &things.key, json!(null)),
        ("DELETE", "/v1/members/{}", &things.key, json!(null)),
        ("GET", "/v1/webhook-deliveries/{}", &things.patient, json!(null)),
    ];
    let fill = |path: &str, id: &str| path.replace("{}", id);
    kinds
        .into_iter()
        .map(|(method, path, id, body)| {
            (method.parse().unwrap(), [fill(path, id), fill(path, UNKNOWN)], body)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_a_foreign_id_like_an_unknown_one() {
    let api = Api::start_with(|config| config.webhooks.allow_loopback = true).await;
    let (clinic, stranger) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let things = things(&clinic).await;
    let own = stranger.patient("Eve").await.id().to_owned();
    let about =
        "select count(*) from log.events where organization_id = $1 and stream_kind <> 'webhook_delivery'";
    let of_clinic =
        async || -> i64 { sqlx::query_scalar(about).bind(clinic.id).fetch_one(&api.core).await.unwrap() };
    let of_stranger =
        async || -> i64 { sqlx::query_scalar(about).bind(stranger.id).fetch_one(&api.core).await.unwrap() };
    let before = (of_clinic().await, of_stranger().await);

    for (method, paths, body) in routes(&things) {
        let mut answers = Vec::new();
        for path in &paths {
            let request = stranger.request(method.clone(), path);
            let request = if body.is_null() { request } else { request.json(&body) };
            let mut answer = send(request).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
            answer.body["request_id"].take();
            // A detail may name the id that was asked for.
            let id = path.split('/').nth(3).unwrap();
            answers.push(answer.body.to_string().replace(id, "{id}"));
        }
        assert_eq!(answers[0], answers[1], "{method} {}", paths[0]);
    }
    for (path, mut body, field) in [
        ("/v1/appointments", json!({ "starts_at": "2099-01-01T10:00:00Z", "mode": "video" }), "patient_id"),
        ("/v1/forms", json!({ "template_id": UNKNOWN, "template_version": 1 }), "patient_id"),
        ("/v1/api-keys", json!({ "role": "patient", "scopes": ["reads"] }), "patient_id"),
        (
            "/v1/forms",
            json!({ "template_id": UNKNOWN, "template_version": 1, "patient_id": own }),
            "appointment_id",
        ),
        (
            "/v1/appointments",
            json!({ "starts_at": "2099-01-01T10:00:00Z", "mode": "video", "patient_id": own }),
            "specialist_id",
        ),
    ] {
        let foreign = match field {
            "appointment_id" => &things.appointment,
            "specialist_id" => &things.specialist,
            _ => &things.patient,
        };
        let mut answers = Vec::new();
        for id in [foreign.as_str(), UNKNOWN] {
            body[field] = json!(id);
            let mut answer = stranger.post(path, &body).await;
            assert_eq!(answer.problem(), (422, "invalid_body"), "{path}: {answer:?}");
            assert_eq!(answer.text_at("/errors/0/pointer"), format!("/{field}"));
            answer.body["request_id"].take();
            answers.push(answer.body);
        }
        assert_eq!(answers[0], answers[1], "{path}");
    }
    assert_eq!((of_clinic().await, of_stranger().await), before, "nothing is stored on either side");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_another_clinic_uses_is_free_here() {
    let api = Api::start().await;
    let (clinic, stranger) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let patient = clinic.patient("Ada").await;

    let twin = stranger.post("/v1/patients", &json!({ "id": patient.id(), "birth_year": 1970 })).await;

    assert_eq!((twin.status, twin.id()), (201, patient.id()));
    let path = |seen: &Answer| format!("/v1/patients/{}?wait_for={}", patient.id(), seen.position());
    // The two clinics may lie in lanes of their own, of which each is shown by itself.
    let (theirs, ours) = (stranger.get(&path(&twin)).await, clinic.get(&path(&patient)).await);
    assert_eq!((&theirs.body["details"]["name"], &theirs.body["birth_year"]), (&Value::Null, &json!(1970)));
    assert_eq!((ours.text_at("/details/name"), &ours.body["birth_year"]), ("Ada", &Value::Null));
}
