//! Treatment plans over HTTP: their course, whose they are, what is refused, and what partners hear of them.

use carelog_event_log::runtime::RebuildScope;
use carelog_tests::{Answer, Api, ApiClinic, ApiKey, Product, until};
use reqwest::Method;
use serde_json::{Value, json};

const UNKNOWN: &str = "0197a000-0000-7000-8000-00000000dead";
const SQUATS: &str = "0197a000-0000-7000-8000-00000000000a";

/// A clinic's specialist with a key, a patient with a key, and a plan of the one for the other.
struct Programme {
    specialist: ApiKey,
    specialist_id: String,
    patient: ApiKey,
    patient_id: String,
    path: String,
}

async fn specialist(clinic: &ApiClinic<'_>) -> (String, ApiKey) {
    let body = json!({ "profession": "physiotherapist", "name": "Grace", "email": "grace@example.org" });
    let id = clinic.post("/v1/specialists", &body).await.id().to_owned();
    let key = json!({ "role": "specialist", "scopes": ["commands", "reads"], "specialist_id": id });
    (id, clinic.key(&key).await)
}

async fn patient(clinic: &ApiClinic<'_>) -> (String, ApiKey) {
    let id = clinic.patient("Ada").await.id().to_owned();
    let key = json!({ "role": "patient", "scopes": ["commands", "reads"], "patient_id": id });
    (id, clinic.key(&key).await)
}

async fn post(clinic: &ApiClinic<'_>, key: &ApiKey, path: &str, body: Value) -> Answer {
    clinic.api.call(Method::POST, path, &key.text, Some(&body)).await
}

async fn programme(clinic: &ApiClinic<'_>) -> Programme {
    let (specialist_id, specialist) = specialist(clinic).await;
    let (patient_id, patient) = patient(clinic).await;
    let body = json!({
        "patient_id": patient_id, "starts_at": "2026-03-02T00:00:00Z", "week_count": 6,
        "title": "The left knee", "goal": "Climbs stairs again",
    });
    let created = post(clinic, &specialist, "/v1/treatment-plans", body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let path = format!("/v1/treatment-plans/{}", created.id());
    Programme { specialist, specialist_id, patient, patient_id, path }
}

fn squats() -> Value {
    json!({
        "exercise_id": SQUATS, "week": 1, "session_count": 3, "sets": 3, "repetitions": 12,
        "instructions": "Heels stay down",
    })
}

async fn assign(clinic: &ApiClinic<'_>, programme: &Programme) -> String {
    let path = format!("{}/exercises", programme.path);
    let assigned = post(clinic, &programme.specialist, &path, squats()).await;
    assert_eq!(assigned.status, 201, "{assigned:?}");
    format!("{path}/{}", assigned.text_at("/assignment_id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programme_is_assigned_by_a_specialist_and_carried_out_by_the_patient() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let programme = programme(&clinic).await;
    let Programme { specialist, specialist_id, patient, patient_id, path } = &programme;
    let exercise = assign(&clinic, &programme).await;

    let report = json!({ "duration_seconds": 540, "pain": 2, "exertion": 5 });
    let done = post(&clinic, patient, &format!("{exercise}/complete"), report).await;
    assert_eq!((done.status, done.body["version"].as_i64()), (200, Some(3)), "{done:?}");
    let skip = json!({ "reason": "fatigue", "occurred_at": "2026-03-04T18:00:00Z" });
    let skipped = post(&clinic, patient, &format!("{exercise}/skip"), skip).await;
    assert_eq!(skipped.status, 200, "{skipped:?}");
    let end = json!({ "outcome": "goals_reached" });
    let ended = post(&clinic, specialist, &format!("{path}/complete"), end).await;

    for key in [specialist, patient] {
        let shown = clinic.get_as(key, &format!("{path}?wait_for={}", ended.position())).await;
        assert_eq!(shown.header("etag"), "\"5\"", "{shown:?}");
        assert_eq!((shown.text_at("/status"), shown.text_at("/outcome")), ("completed", "goals_reached"));
        assert_eq!(
            (shown.text_at("/title"), shown.text_at("/goal")),
            ("The left knee", "Climbs stairs again")
        );
        assert_eq!(shown.text_at("/specialist_id"), specialist_id, "from the key");
        let counts = ["assigned_sessions", "completed_sessions", "skipped_sessions"];
        assert_eq!(counts.map(|count| shown.body[count].as_i64().unwrap()), [3, 1, 1]);
        let exercise = &shown.body["exercises"][0];
        assert_eq!(counts.map(|count| exercise[count].as_i64().unwrap()), [3, 1, 1]);
        assert_eq!(exercise["instructions"], "Heels stay down");
        assert_eq!((&exercise["last_pain"], &exercise["last_exertion"]), (&json!(2), &json!(5)));
        assert_eq!(exercise["last_session_at"], "2026-03-04T18:00:00.000000Z");
        assert_eq!(exercise["last_skip_reason"], "fatigue");
    }
    for query in
        [format!("patient_id={patient_id}"), format!("specialist_id={specialist_id}&status=completed")]
    {
        let listed = clinic.get(&format!("/v1/treatment-plans?{query}")).await;
        assert_eq!(listed.items().len(), 1, "{query}: {listed:?}");
    }
    assert_eq!(clinic.get("/v1/treatment-plans?status=active").await.items(), [json!(null); 0]);
    let trail = format!("/v1/trail?patient_id={patient_id}&limit=200&wait_for={}", ended.position());
    let trail = clinic.get(&trail).await;
    let done_by: Vec<&Value> =
        trail.items().iter().filter(|entry| entry["event"] == "treatment_plan.exercise_completed").collect();
    assert_eq!(done_by.len(), 1, "{trail:?}");
    assert_eq!(done_by[0]["actor"]["role"], "patient", "{done_by:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exercise_is_assigned_once_under_an_idempotency_key() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let programme = programme(&clinic).await;
    let path = format!("{}/exercises", programme.path);
    let request = || clinic.request(Method::POST, &path).header("idempotency-key", "once").json(&squats());

    let (first, again) = (carelog_tests::send(request()).await, carelog_tests::send(request()).await);

    assert_eq!((first.status, again.status), (201, 201), "{first:?} {again:?}");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(first.body, again.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_carries_out_their_own_plan_and_nobody_elses() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let (own, other) = (programme(&clinic).await, programme(&clinic).await);
    let exercise = assign(&clinic, &other).await;
    let position = {
        let done = post(&clinic, &other.patient, &format!("{exercise}/complete"), json!({})).await;
        done.position().to_owned()
    };
    let before = api.event_count().await;

    let skip = json!({ "reason": "pain" });
    let foreign = [
        post(&clinic, &own.patient, &format!("{exercise}/complete"), json!({})).await,
        post(&clinic, &own.patient, &format!("{exercise}/skip"), skip.clone()).await,
        clinic.get_as(&own.patient, &format!("{}?wait_for={position}", other.path)).await,
        clinic.get_as(&own.patient, &format!("/v1/treatment-plans?patient_id={}", other.patient_id)).await,
    ];

    for refused in &foreign {
        assert_eq!(refused.problem(), (404, "not_found"), "{refused:?}");
    }
    let denied = "select count(*) from log.events where event_type = 'access.access_denied'";
    let denied: i64 = sqlx::query_scalar(denied).fetch_one(&api.core).await.unwrap();
    assert_eq!((denied, api.event_count().await - before), (4, 4), "only the refusals are stored");
    let listed = clinic.get_as(&own.patient, "/v1/treatment-plans").await;
    assert_eq!(listed.items().len(), 1);
    assert_eq!(listed.items()[0]["patient_id"], own.patient_id.as_str());
    for (path, body) in [
        ("/v1/treatment-plans".to_owned(), json!({})),
        (format!("{}/exercises", own.path), squats()),
        (format!("{}/complete", own.path), json!({ "outcome": "goals_reached" })),
    ] {
        let refused = post(&clinic, &own.patient, &path, body).await;
        assert_eq!(refused.problem(), (403, "wrong_role"), "{path}");
    }
    for role in ["partner", "analyst", "compliance"] {
        let key = clinic.key_of(role).await;
        let refused = post(&clinic, &key, &format!("{exercise}/skip"), skip.clone()).await;
        assert_eq!(refused.problem(), (403, "wrong_role"), "{role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_nothing_is_stored() {
    let api = Api::start().await;
    let (clinic, stranger) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let programme = programme(&clinic).await;
    let exercise = assign(&clinic, &programme).await;
    let (patient, plan) = (&programme.patient_id, &programme.path);
    let plan_body = |change: Value| {
        let mut body = json!({
            "patient_id": patient, "specialist_id": programme.specialist_id,
            "starts_at": "2026-03-02T00:00:00Z", "week_count": 6,
        });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let exercise_body = |change: Value| {
        let mut body = squats();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let assigned_id = exercise.rsplit_once('/').unwrap().1;
    let plans = "/v1/treatment-plans".to_owned();
    let exercises = format!("{plan}/exercises");
    let before = api.event_count().await;

    for (path, body, pointer) in [
        (&plans, plan_body(json!({ "patient_id": UNKNOWN })), "/patient_id"),
        (&plans, plan_body(json!({ "specialist_id": UNKNOWN })), "/specialist_id"),
        (&plans, plan_body(json!({ "specialist_id": null })), "/specialist_id"),
        (&plans, plan_body(json!({ "week_count": 256 })), "/week_count"),
        (&plans, plan_body(json!({ "goal": "no title" })), "/title"),
        (&plans, plan_body(json!({ "title": "" })), "/title"),
        (&plans, plan_body(json!({ "colour": 1 })), "/colour"),
        (&exercises, exercise_body(json!({ "exercise_id": "squats" })), "/exercise_id"),
        (&exercises, exercise_body(json!({ "instructions": "x".repeat(4001) })), "/instructions"),
        (&format!("{exercise}/complete"), json!({ "pain": -1 }), "/pain"),
        (&format!("{exercise}/skip"), json!({ "reason": "bored" }), "/reason"),
        (&format!("{exercise}/skip"), json!({}), "/reason"),
        (&format!("{plan}/complete"), json!({ "outcome": "done" }), "/outcome"),
    ] {
        let refused = clinic.post(path, &body).await;
        assert_eq!(refused.problem(), (422, "invalid_body"), "{path} {body}: {refused:?}");
        assert_eq!(refused.text_at("/errors/0/pointer"), pointer, "{path} {body}");
    }
    for (path, body, problem) in [
        (plans.clone(), plan_body(json!({ "week_count": 0 })), (422, "bad_week_count")),
        (exercises.clone(), exercise_body(json!({ "week": 7 })), (422, "no_such_week")),
        (exercises.clone(), exercise_body(json!({ "session_count": 22 })), (422, "bad_session_count")),
        (exercises.clone(), exercise_body(json!({ "sets": 0 })), (422, "empty_dose")),
        (
            exercises.clone(),
            exercise_body(json!({ "assignment_id": assigned_id })),
            (409, "already_assigned"),
        ),
        (format!("{exercises}/{UNKNOWN}/complete"), json!({}), (404, "not_assigned")),
        (format!("{exercise}/complete"), json!({ "pain": 11 }), (422, "bad_rating")),
        (format!("/v1/treatment-plans/{UNKNOWN}/exercises"), squats(), (404, "not_created")),
        (format!("{exercises}/squats/complete"), json!({}), (404, "not_found")),
    ] {
        let refused = clinic.post(&path, &body).await;
        assert_eq!(refused.problem(), problem, "{path} {body}: {refused:?}");
        assert_eq!(refused.header("content-type"), "application/problem+json");
    }
    for query in ["status=odd", "patient_id=5", "colour=1", "limit=0"] {
        let refused = clinic.get(&format!("/v1/treatment-plans?{query}")).await;
        assert_eq!(refused.problem(), (422, "invalid_query"), "{query}");
    }
    let unknown = format!("/v1/treatment-plans/{UNKNOWN}");
    for path in ["", "/exercises", "/complete"] {
        let body = if path == "/exercises" { squats() } else { json!({ "outcome": "superseded" }) };
        let mut answers = Vec::new();
        for plan in [plan, &unknown] {
            let mut answer = match path {
                "" => stranger.get(plan).await,
                path => stranger.post(&format!("{plan}{path}"), &body).await,
            };
            answer.body["request_id"].take();
            answers.push((answer.status, answer.body));
        }
        assert_eq!((answers[0].0, &answers[0]), (404, &answers[1]), "{path}");
    }
    assert_eq!(api.event_count().await, before, "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_words_of_an_erased_patients_plan_are_gone_and_its_numbers_stay() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let programme = programme(&clinic).await;
    let exercise = assign(&clinic, &programme).await;
    post(&clinic, &programme.patient, &format!("{exercise}/complete"), json!({})).await.position();

    let path = format!("/v1/patients/{}/erasure", programme.patient_id);
    assert_eq!(clinic.post(&path, &json!({ "ground": "patient_request" })).await.status, 200);

    let shown = until("the words are gone", async || {
        let shown = clinic.get(&programme.path).await;
        (shown.body["erased"] == true && shown.body["exercises"][0]["erased"] == true).then_some(shown)
    })
    .await;
    assert_eq!((&shown.body["title"], &shown.body["goal"]), (&Value::Null, &Value::Null));
    assert_eq!(shown.body["exercises"][0]["instructions"], Value::Null);
    assert_eq!(shown.body["completed_sessions"], 1);
    until("no table keeps them", async || {
        let sealed = "select (select count(*) from records.treatment_plans where personal is not null)
            + (select count(*) from records.treatment_plan_exercises where personal is not null)";
        let sealed: i64 = sqlx::query_scalar(sealed).fetch_one(&api.core).await.unwrap();
        (sealed == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partners_hear_of_a_plan_without_its_words_and_a_rebuild_gives_the_same_records() {
    let product = Product::start().await;
    let (organization_id, admin) = product.clinic().await;
    let partner = product.subscribe(organization_id, &["treatment_plan.*"]).await;
    let post = async |path: &str, body: Value| {
        let (status, answer) = product.call(&admin, Method::POST, path, Some(&body)).await;
        assert!((200..300).contains(&status), "{path}: {answer}");
        answer
    };
    let id = |answer: &Value| answer["id"].as_str().unwrap().to_owned();
    let patient = id(&post("/v1/patients", json!({})).await);
    let body = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
    let specialist = id(&post("/v1/specialists", body).await);
    let body = json!({
        "patient_id": patient, "specialist_id": specialist, "starts_at": "2026-03-02T00:00:00Z",
        "week_count": 2, "title": "The left knee",
    });
    let plan = id(&post("/v1/treatment-plans", body).await);
    let path = format!("/v1/treatment-plans/{plan}");
    let assigned = post(&format!("{path}/exercises"), squats()).await;
    let assignment = assigned["assignment_id"].as_str().unwrap();
    post(&format!("{path}/exercises/{assignment}/complete"), json!({ "pain": 3 })).await;
    post(&format!("{path}/exercises/{assignment}/skip"), json!({ "reason": "no_time" })).await;
    post(&format!("{path}/complete"), json!({ "outcome": "programme_ended" })).await;
    product.settled().await;

    let bodies: Vec<Value> = partner
        .hook
        .receipts()
        .iter()
        .map(|receipt| serde_json::from_slice(&receipt.body).unwrap())
        .collect();
    let heard =
        |name: &str| bodies.iter().find(|body| body["event"] == name).map(|body| body["data"].clone());
    assert_eq!(bodies.len(), 5, "{bodies:?}");
    assert!(!format!("{bodies:?}").contains("knee") && !format!("{bodies:?}").contains("Heels"));
    assert_eq!(
        heard("treatment_plan.exercise_completed").unwrap(),
        json!({
            "treatment_plan_id": plan, "status": "exercise_completed", "patient_id": patient,
            "assignment_id": assignment, "exercise_id": SQUATS, "week": 1, "session": 1,
            "duration_seconds": null, "pain": 3, "exertion": null,
        })
    );
    assert_eq!(
        heard("treatment_plan.completed").unwrap(),
        json!({
            "treatment_plan_id": plan, "status": "completed", "patient_id": patient,
            "outcome": "programme_ended", "assigned_sessions": 3, "completed_sessions": 1, "skipped_sessions": 1,
        })
    );
    product.is_sound().await;
    let before = product.contents().await;
    assert_eq!(before["records.treatment_plan_exercises"].len(), 1);
    product.rebuild(RebuildScope::Everything).await;
    assert_eq!(product.contents().await, before);
    product.rebuild(RebuildScope::Organization(organization_id)).await;
    assert_eq!(product.contents().await, before);
    product.stop().await;
}
