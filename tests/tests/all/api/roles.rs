//! Who sees personal values, and that nobody sees them before the reading is in the log.

use carelog_tests::{Api, ApiClinic, ApiKey};
use reqwest::Method;
use serde_json::{Value, json};

const CANARIES: [&str; 5] =
    ["Zenobia", "Quxfield", "zenobia@canary.example", "+49-555-0199", "the left knee"];

/// A patient, an appointment and a form full of personal values.
struct Record {
    patient: String,
    appointment: String,
    form: String,
    position: String,
}

async fn record(clinic: &ApiClinic<'_>) -> Record {
    let details =
        json!({ "name": "Zenobia Quxfield", "email": "zenobia@canary.example", "phone": "+49-555-0199" });
    let patient = clinic.post("/v1/patients", &json!({ "details": details })).await.id().to_owned();
    let booking = json!({
        "patient_id": patient, "starts_at": "2099-01-01T10:00:00Z", "mode": "video", "note": "the left knee",
    });
    let appointment = clinic.post("/v1/appointments", &booking).await.id().to_owned();
    let form = clinic.form(&patient).await.id().to_owned();
    let answers = json!({ "answers": { "where": "the left knee" } });
    let path = format!("/v1/forms/{form}/answers");
    let saved = clinic.api.call(Method::PUT, &path, &clinic.admin.text, Some(&answers)).await;
    Record { patient, appointment, form, position: saved.position().to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn personal_values_are_shown_to_those_who_treat_and_to_no_partner_or_analyst() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let Record { patient, appointment, form, position } = record(&clinic).await;
    let specialist = clinic.key_of("specialist").await;
    let reads = [
        (format!("/v1/patients/{patient}?wait_for={position}"), "Zenobia"),
        ("/v1/patients".to_owned(), "Quxfield"),
        (format!("/v1/appointments/{appointment}"), "the left knee"),
        ("/v1/appointments".to_owned(), "the left knee"),
        (format!("/v1/forms/{form}"), "the left knee"),
    ];
    for (path, value) in &reads {
        let shown = clinic.get_as(&specialist, path).await;
        assert!(shown.status == 200 && shown.text.contains(value), "{path}: {shown:?}");
    }

    let document = clinic.get("/openapi.json").await;
    for role in ["partner", "analyst"] {
        let key = clinic.key_of(role).await;
        for path in document.body["paths"].as_object().unwrap().keys() {
            let id = if path.contains("appointment") {
                &appointment
            } else if path.contains("form") {
                &form
            } else {
                &patient
            };
            let filled: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { id } else { part })
                .collect::<Vec<_>>()
                .join("/");
            let answer = clinic.get_as(&key, &filled).await;
            for canary in CANARIES {
                assert!(!answer.text.contains(canary), "a {role} sees {canary} at {filled}");
            }
        }
        for (path, _) in &reads {
            assert_eq!(clinic.get_as(&key, path).await.problem(), (403, "wrong_role"), "{role} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_follows_public_events_only() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let record = record(&clinic).await;
    clinic.get(&format!("/v1/patients/{}?wait_for={}", record.patient, record.position)).await.id();
    let partner = clinic.key_of("partner").await;

    let seen = clinic.get_as(&partner, "/v1/events?limit=200").await;

    let types: Vec<&str> = seen.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["patient.registered", "appointment.booked", "form.assigned"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patients_key_sees_and_changes_that_patient_only() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let (own, other) = (record(&clinic).await, record(&clinic).await);
    let body = json!({ "role": "patient", "scopes": ["reads", "commands"], "patient_id": own.patient });
    let key = clinic.key(&body).await;
    let call = async |method: &str, path: String, body: Option<Value>| {
        api.call(method.parse().unwrap(), &path, &key.text, body.as_ref()).await
    };

    let wait = format!("?wait_for={}", other.position);
    for (path, field) in [
        (format!("/v1/patients/{}{wait}", own.patient), "/details/name"),
        (format!("/v1/appointments/{}", own.appointment), "/note"),
        (format!("/v1/forms/{}", own.form), "/answers/where"),
    ] {
        let shown = call("GET", path, None).await;
        assert!(shown.status == 200 && !shown.text_at(field).is_empty(), "{shown:?}");
    }
    for (path, id) in [("/v1/appointments", &own.appointment), ("/v1/forms", &own.form)] {
        let listed = call("GET", path.to_owned(), None).await;
        let ids: Vec<&str> = listed.items().iter().map(|item| item["id"].as_str().unwrap()).collect();
        assert_eq!(ids, [id.as_str()], "{path}");
    }

    let sign = json!({ "content_sha256": "ab".repeat(32), "signed_by": "patient" });
    let before = api.event_count().await;
    let foreign = [
        ("GET", format!("/v1/patients/{}", other.patient), None),
        ("PUT", format!("/v1/patients/{}/details", other.patient), Some(json!({ "name": "Eve" }))),
        ("GET", format!("/v1/appointments/{}", other.appointment), None),
        (
            "POST",
            format!("/v1/appointments/{}/cancel", other.appointment),
            Some(json!({ "reason": "other" })),
        ),
        ("GET", format!("/v1/forms/{}", other.form), None),
        ("POST", format!("/v1/forms/{}/sign", other.form), Some(sign)),
        ("GET", format!("/v1/appointments?patient_id={}", other.patient), None),
    ];
    let count = i64::try_from(foreign.len()).unwrap();
    for (method, path, body) in foreign {
        let refused = call(method, path.clone(), body).await;
        assert_eq!(refused.problem(), (404, "not_found"), "{method} {path}");
    }
    let denied = "select count(*) from log.events where event_type = 'access.access_denied'
                  and convert_from(facts, 'utf8')::jsonb ->> 'reason' = 'foreign_record'";
    let denied: i64 = sqlx::query_scalar(denied).fetch_one(&api.core).await.unwrap();
    assert_eq!((denied, api.event_count().await - before), (count, count), "only the refusals are stored");
    for path in ["/v1/patients", "/v1/trail", "/v1/events", "/v1/webhook-subscriptions", "/v1/api-keys"] {
        assert_eq!(call("GET", path.to_owned(), None).await.problem(), (403, "wrong_role"), "{path}");
    }
}

async fn views(api: &Api) -> i64 {
    let views = "select count(*) from log.events where event_type = 'access.record_viewed'";
    sqlx::query_scalar(views).fetch_one(&api.core).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_shown_once_its_reading_is_in_the_log_and_not_before() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let Record { patient, appointment, form, position } = record(&clinic).await;
    let reader: ApiKey = clinic.key_of("specialist").await;
    let paths = [
        format!("/v1/patients/{patient}?wait_for={position}"),
        "/v1/patients".to_owned(),
        format!("/v1/appointments/{appointment}"),
        "/v1/appointments".to_owned(),
        format!("/v1/forms/{form}"),
    ];
    for (path, before) in paths.iter().zip(0..) {
        assert_eq!(clinic.get_as(&reader, path).await.status, 200, "{path}");
        assert_eq!(views(&api).await, before + 1, "{path}");
    }
    let last = "select actor_id::text, convert_from(facts, 'utf8')::jsonb ->> 'target_id' from log.events
                where event_type = 'access.record_viewed' order by recorded_at desc, position desc limit 1";
    let (actor, target): (String, String) = sqlx::query_as(last).fetch_one(&api.core).await.unwrap();
    assert_eq!((actor, target), (reader.id.clone(), form.clone()));

    let refuse = "create function log.refuse_views() returns trigger language plpgsql as
                  $$ begin raise exception 'no room' using errcode = '53100'; end $$;
                  create trigger refuse_views before insert on log.events for each row
                  when (new.event_type = 'access.record_viewed') execute function log.refuse_views()";
    sqlx::raw_sql(refuse).execute(&api.core).await.unwrap();
    let before = api.event_count().await;
    for path in &paths {
        let answer = clinic.get_as(&reader, path).await;
        assert!([500, 503].contains(&answer.status), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        for canary in CANARIES {
            assert!(!answer.text.contains(canary), "{path} shows {canary}");
        }
    }
    assert_eq!(api.event_count().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shown_to_those_who_answer_for_it_either_that_cannot_be_written_down() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let Record { patient, appointment, form, position } = record(&clinic).await;
    let person = json!({ "profession": "physiotherapist", "name": "Quxfield", "email": "q@canary.example" });
    let specialist = clinic.post("/v1/specialists", &person).await;
    let (by, last) = (specialist.id(), specialist.position());
    let paths = [
        format!("/v1/patients/{patient}?wait_for={position}"),
        format!("/v1/specialists/{by}?wait_for={last}"),
        "/v1/specialists".to_owned(),
        format!("/v1/appointments/{appointment}"),
        "/v1/forms".to_owned(),
        format!("/v1/forms/{form}"),
        format!("/v1/video-rooms?wait_for={position}"),
        format!("/v1/records/patient/{patient}"),
        format!("/v1/records/form/{form}/versions"),
        format!("/v1/patients/{patient}/disclosures"),
        format!("/v1/patients/{patient}/accesses"),
        format!("/v1/patients/{patient}/accounting"),
        format!("/v1/patients/{patient}/webhook-deliveries"),
        "/v1/trail".to_owned(),
        "/v1/trail?format=csv".to_owned(),
        format!("/v1/trail/patients?actor_id={}", clinic.admin.id),
        "/v1/trail/replay?speed=1000000000".to_owned(),
    ];
    let accesses = async || -> i64 {
        let count = "select count(*) from log.events where event_type like 'access.%'";
        sqlx::query_scalar(count).fetch_one(&api.core).await.unwrap()
    };
    for path in &paths {
        let before = accesses().await;
        assert_eq!(clinic.get(path).await.status, 200, "{path}");
        assert!(accesses().await > before, "{path}");
    }

    let refuse = "create function log.refuse_accesses() returns trigger language plpgsql as
                  $$ begin raise exception 'no room' using errcode = '53100'; end $$;
                  create trigger refuse_accesses before insert on log.events for each row
                  when (new.event_type like 'access.%') execute function log.refuse_accesses()";
    sqlx::raw_sql(refuse).execute(&api.core).await.unwrap();
    for path in &paths {
        let answer = clinic.get(path).await;
        assert!([500, 503].contains(&answer.status), "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    }
    for body in [json!({ "form": "csv" }), json!({ "form": "bundle" })] {
        assert!(clinic.post("/v1/trail/exports", &body).await.status >= 500, "{body}");
    }
    let jobs = "select count(*) from exports.jobs";
    assert_eq!(sqlx::query_scalar::<_, i64>(jobs).fetch_one(&api.audit).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_specialist_who_has_left_has_no_key_any_more() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let person =
        json!({ "profession": "physiotherapist", "name": "Ada Orth", "email": "ada@clinic.example" });
    let specialist = clinic.post("/v1/specialists", &person).await.id().to_owned();
    let key = json!({ "role": "specialist", "scopes": ["reads"], "specialist_id": specialist });
    let (theirs, others) = (clinic.key(&key).await, clinic.key_of("specialist").await);
    assert_eq!(clinic.get_as(&theirs, "/v1/patients").await.status, 200);

    let path = format!("/v1/specialists/{specialist}/deactivate");
    let left = clinic.post(&path, &json!({ "reason": "left" })).await;

    assert_eq!(left.status, 200, "{left:?}");
    assert_eq!(clinic.get_as(&theirs, "/v1/patients").await.problem(), (401, "unauthorized"));
    assert_eq!(clinic.get_as(&others, "/v1/patients").await.status, 200);
}
