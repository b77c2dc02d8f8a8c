//! Legal holds: what has to be kept is erased and deleted by nobody.

use carelog_domain::OrganizationId;
use carelog_tests::{Answer, Api, ApiClinic, send, until};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::addresses::another_server;

async fn place(clinic: &ApiClinic<'_>, patient: &str, reason: &str) -> Answer {
    clinic.post(&format!("/v1/patients/{patient}/legal-holds"), &json!({ "reason": reason })).await
}

async fn release(clinic: &ApiClinic<'_>, patient: &str, hold: &str) -> Answer {
    send(clinic.request(Method::DELETE, &format!("/v1/patients/{patient}/legal-holds/{hold}"))).await
}

async fn erase(clinic: &ApiClinic<'_>, patient: &str) -> Answer {
    let ground = json!({ "ground": "patient_request" });
    clinic.post(&format!("/v1/patients/{patient}/erasure"), &ground).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_is_erased_when_the_last_hold_is_released_and_not_before() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    let first = place(&clinic, &ada, "litigation").await;
    let second = place(&clinic, &ada, "retention_duty").await;
    assert_eq!((first.status, second.status), (201, 201), "{first:?}");
    let [first, second] = [first, second].map(|placed| placed.text_at("/legal_hold_id").to_owned());

    assert_eq!(erase(&clinic, &ada).await.problem(), (409, "legal_hold"));
    let released = release(&clinic, &ada, &first).await;
    assert_eq!(released.status, 200);
    assert_eq!(erase(&clinic, &ada).await.problem(), (409, "legal_hold"));
    assert_eq!(release(&clinic, &ada, &first).await.problem(), (404, "legal_hold_not_placed"));
    let shown = clinic.get(&format!("/v1/patients/{ada}?wait_for={}", released.position())).await;
    assert_eq!((shown.text_at("/details/name"), &shown.body["erased"]), ("Ada", &json!(false)));
    let destroyed = "select count(*) from log.events where event_type in ('patient.erasure_requested', 'patient.keys_destroyed')";
    let destroyed: i64 = sqlx::query_scalar(destroyed).fetch_one(&api.core).await.unwrap();
    assert_eq!(destroyed, 0);

    assert_eq!(release(&clinic, &ada, &second).await.status, 200);
    assert_eq!(erase(&clinic, &ada).await.status, 200);
    assert_eq!(place(&clinic, &ada, "litigation").await.problem(), (409, "erasure_under_way"));
    until("the patient is erased", async || {
        let shown = clinic.get(&format!("/v1/patients/{ada}")).await;
        (shown.body["status"] == "erased").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_and_compliance_officers_see_holds_and_nobody_else_does() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    let placed = place(&clinic, &ada, "complaint").await;
    let hold = placed.text_at("/legal_hold_id");
    let path = format!("/v1/patients/{ada}?wait_for={}", placed.position());
    let specialist = clinic.key_of("specialist").await;
    let patient = json!({ "role": "patient", "scopes": ["commands", "reads"], "patient_id": ada });
    let patient = clinic.key(&patient).await;

    for key in [&clinic.admin, &clinic.key_of("compliance").await] {
        assert_eq!(clinic.get_as(key, &path).await.body["legal_holds"], json!([hold]));
        assert_eq!(clinic.get_as(key, "/v1/patients").await.items()[0]["legal_holds"], json!([hold]));
    }
    for key in [&specialist, &patient] {
        let shown = clinic.get_as(key, &path).await;
        assert_eq!((shown.status, shown.body.get("legal_holds")), (200, None));
        assert!(!shown.text.contains(hold));
    }
    let listed = clinic.get_as(&specialist, "/v1/patients").await;
    assert_eq!((listed.items().len(), listed.items()[0].get("legal_holds")), (1, None));
    let body = json!({ "reason": "litigation" });
    let path = format!("/v1/patients/{ada}/legal-holds");
    for key in [&specialist, &patient] {
        let refused = api.call(Method::POST, &path, &key.text, Some(&body)).await;
        assert_eq!(refused.problem(), (403, "wrong_role"));
        let refused = api.call(Method::DELETE, &format!("{path}/{hold}"), &key.text, None).await;
        assert_eq!(refused.problem(), (403, "wrong_role"));
    }
    // As it was while each version was the newest, and before the hold.
    let named = json!({ "name": "Ada Lovelace" });
    let path = format!("/v1/patients/{ada}/details");
    assert_eq!(api.call(Method::PUT, &path, &clinic.admin.text, Some(&named)).await.status, 200);
    let released = release(&clinic, &ada, hold).await;
    assert_eq!(released.status, 200);
    let registered = clinic.get(&format!("/v1/records/patient/{ada}/versions")).await;
    let registered = registered.items()[0]["recorded_at"].as_str().unwrap().to_owned();
    for (moment, version, expected) in [
        ("version=1".to_owned(), 1, json!([hold])),
        ("version=2".to_owned(), 2, json!([])),
        (format!("known_at={registered}"), 1, json!([])),
        (format!("true_at={registered}"), 1, json!([])),
    ] {
        let past = clinic.get(&format!("/v1/records/patient/{ada}?{moment}")).await;
        assert_eq!((&past.body["state"]["legal_holds"], &past.body["version"]), (&expected, &json!(version)));
        assert_eq!(past.body["newest_version"], 2, "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hold_and_an_erasure_that_are_asked_for_at_once_one_happens_and_never_both() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let server = another_server(&api).await;
    let elsewhere = format!("http://{}", server.address.unwrap());
    let client = Client::builder().no_proxy().build().unwrap();
    for round in 0..25 {
        let patient = clinic.patient("Ada").await.id().to_owned();
        let url = format!("{elsewhere}/v1/patients/{patient}/erasure");
        let erasure = client.post(url).bearer_auth(&clinic.admin.text);
        let erasure = send(erasure.json(&json!({ "ground": "patient_request" })));

        let (held, erased) = tokio::join!(place(&clinic, &patient, "litigation"), erasure);

        match (held.status, erased.status) {
            (201, 409) => assert_eq!(erased.problem().1, "legal_hold", "round {round}"),
            (409, 200) => assert_eq!(held.problem().1, "erasure_under_way", "round {round}"),
            _ => panic!("round {round}: {held:?} {erased:?}"),
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_stays_where_a_hold_is_placed_while_its_deletion_is_on_its_way() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let server = another_server(&api).await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    let announced = json!({
        "kind": "form_attachment", "content_type": "application/pdf", "size_bytes": 9, "patient_id": ada,
        "content_sha256": "ab".repeat(32), "name": "letter.pdf",
    });
    let file = clinic.post("/v1/files", &announced).await.id().to_owned();
    let url = format!("http://{}/v1/files/{file}", server.address.unwrap());
    let deletion = Client::builder().no_proxy().build().unwrap().delete(url).bearer_auth(&clinic.admin.text);
    let lane = api.server.system().log.lane_of(OrganizationId::new(clinic.id)).await.unwrap();
    let waiting = async |count: i64| {
        until("appends wait for the lane", async || {
            let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
                and database = (select oid from pg_database where datname = current_database())";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&api.core).await.unwrap();
            (waiting == count).then_some(())
        })
        .await;
    };

    // Nothing is appended before both wait: the hold first, and a deletion that was decided without it.
    let mut others = api.core.begin().await.unwrap();
    let lock = "select pg_advisory_xact_lock(hashtext('carelog.lane'), $1::smallint)";
    sqlx::query(lock).bind(lane).execute(&mut *others).await.unwrap();
    let crossing = async {
        waiting(1).await;
        let deleted = send(deletion);
        let release = async {
            waiting(2).await;
            others.commit().await.unwrap();
        };
        tokio::join!(deleted, release).0
    };
    let (held, deleted) = tokio::join!(place(&clinic, &ada, "litigation"), crossing);

    assert_eq!(held.status, 201, "{held:?}");
    assert_eq!(deleted.problem(), (409, "legal_hold"), "{deleted:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_patient_under_a_hold_stay_and_others_go() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    let eve = clinic.patient("Eve").await.id().to_owned();
    let announce = |patient: &str| {
        json!({
            "kind": "form_attachment", "content_type": "application/pdf", "size_bytes": 9, "patient_id": patient,
            "content_sha256": "ab".repeat(32), "name": "letter.pdf",
        })
    };
    let of_ada = clinic.post("/v1/files", &announce(&ada)).await.id().to_owned();
    let of_eve = clinic.post("/v1/files", &announce(&eve)).await.id().to_owned();
    let placed = place(&clinic, &ada, "investigation").await;
    let delete = async |file: &str| send(clinic.request(Method::DELETE, &format!("/v1/files/{file}"))).await;

    assert_eq!(delete(&of_ada).await.problem(), (409, "legal_hold"));
    assert_eq!(delete(&of_eve).await.status, 200);
    assert_eq!(release(&clinic, &ada, placed.text_at("/legal_hold_id")).await.status, 200);
    assert_eq!(delete(&of_ada).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_tells_who_placed_and_released_a_hold_among_erasures_and_partners_hear_nothing() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    let placed = place(&clinic, &ada, "litigation").await;
    let hold = placed.text_at("/legal_hold_id");
    let officer = clinic.key_of("compliance").await;
    let path = format!("/v1/patients/{ada}/legal-holds/{hold}");
    let released = api.call(Method::DELETE, &path, &officer.text, None).await;
    let wait = format!("wait_for={}", released.position());

    let told = clinic.get(&format!("/v1/trail?topic=erasure&order=oldest_first&{wait}")).await;

    let told: Vec<[&Value; 4]> = told
        .items()
        .iter()
        .map(|entry| [&entry["event"], &entry["actor"]["id"], &entry["patient_id"], &entry["legal_basis"]])
        .collect();
    let basis = &json!("legal_obligation");
    let expected = [
        [&json!("legal_hold.placed"), &json!(clinic.admin.id), &json!(ada), basis],
        [&json!("legal_hold.released"), &json!(officer.id), &json!(ada), basis],
    ];
    assert_eq!(told, expected);
    let types = clinic.get("/v1/event-types").await;
    assert!(types.text.contains("patient.erased") && !types.text.contains("legal_hold"), "{types:?}");
    let partner = clinic.key_of("partner").await;
    let heard = clinic.get_as(&partner, "/v1/events").await;
    assert!(heard.text.contains("patient.registered") && !heard.text.contains("legal_hold"), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_placed_once_however_often_it_is_asked_for_and_leads_nowhere_else() {
    let api = Api::start().await;
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let ada = clinic.patient("Ada").await.id().to_owned();
    let path = format!("/v1/patients/{ada}/legal-holds");
    let ask = async || {
        let request = clinic.request(Method::POST, &path).header("idempotency-key", "a hold");
        send(request.json(&json!({ "reason": "litigation" }))).await
    };

    let (first, second) = (ask().await, ask().await);
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.body, second.body);
    assert_eq!(place(&clinic, &ada, "no_such").await.problem(), (422, "invalid_body"));
    let twice = json!({ "reason": "litigation", "id": first.text_at("/legal_hold_id") });
    assert_eq!(clinic.post(&path, &twice).await.problem(), (409, "legal_hold_already_placed"));
    assert_eq!(place(&other, &ada, "litigation").await.problem(), (404, "not_registered"));
    let foreign = release(&other, &ada, first.text_at("/legal_hold_id")).await;
    assert_eq!(foreign.problem(), (404, "not_registered"));
}
