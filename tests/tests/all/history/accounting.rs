//! What 45 CFR 164.528 leaves out of the accounting that a patient gets, and what it must not leave out.

use carelog_tests::{Answer, Api, ApiClinic, ApiKey};
use serde_json::{Value, json};

const POLICE: &str = "State Police";

struct Scene<'a> {
    clinic: ApiClinic<'a>,
    patient: String,
    /// The patient's own key.
    key: ApiKey,
}

impl<'a> Scene<'a> {
    async fn new(api: &'a Api) -> Self {
        let clinic = api.clinic("Klinik").await;
        let patient = clinic.patient("Ada").await.id().to_owned();
        let key = json!({ "role": "patient", "scopes": ["reads"], "patient_id": patient });
        let key = clinic.key(&key).await;
        Self { clinic, patient, key }
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/patients/{}/{what}", self.patient)
    }

    async fn disclose(&self, recipient: &str, purpose: &str, exclusion: Option<&str>) -> Answer {
        let mut body = json!({ "recipient": recipient, "description": "Findings", "purpose": purpose });
        if let Some(exclusion) = exclusion {
            body["exclusion"] = json!(exclusion);
        }
        let made = self.clinic.post(&self.path("disclosures"), &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made
    }

    async fn suspend(&self, form: &str, stated_at: &str, ends_at: &str) -> Answer {
        let body = json!({
            "agency_kind": "law_enforcement", "agency": "state  POLICE", "official": "Inspector Quxfield",
            "form": form, "stated_at": stated_at, "ends_at": ends_at,
        });
        self.clinic.post(&self.path("accounting-suspensions"), &body).await
    }

    /// Recipients and what is told of each, as the officer sees them.
    async fn officer(&self, after: &Answer) -> Value {
        let seen =
            self.clinic.get(&format!("{}?wait_for={}", self.path("disclosures"), after.position())).await;
        assert_eq!(seen.status, 200, "{seen:?}");
        seen.body
    }

    /// Recipients, as the patient gets them, sorted.
    async fn patient(&self, more: &str) -> Vec<String> {
        let got = self.clinic.get_as(&self.key, &format!("{}?{more}", self.path("accounting"))).await;
        assert_eq!(got.status, 200, "{got:?}");
        assert!(!got.text.contains("suspen") && !got.text.contains("exclusion"), "{got:?}");
        recipients(&got.body)
    }

    /// Types of events that the patient sees.
    async fn accesses(&self) -> Vec<String> {
        let seen = self.clinic.get_as(&self.key, &self.path("accesses")).await;
        seen.items().iter().map(|item| item["event"].as_str().unwrap().to_owned()).collect()
    }
}

fn recipients(accounting: &Value) -> Vec<String> {
    let disclosures = accounting["disclosures"].as_array().unwrap();
    let mut names: Vec<String> =
        disclosures.iter().map(|one| one["recipient"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// What the officer sees of a recipient.
fn told<'a>(accounting: &'a Value, recipient: &str) -> &'a Value {
    let disclosures = accounting["disclosures"].as_array().unwrap();
    disclosures.iter().find(|one| one["recipient"] == recipient).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rule_does_not_ask_for_is_left_out_of_what_the_patient_gets_and_nothing_else() {
    let api = Api::start().await;
    let scene = Scene::new(&api).await;
    for (recipient, purpose, exclusion) in [
        ("Surgeon", "treatment", None),
        ("Insurance", "payment", None),
        ("Auditor", "operations", None),
        ("Lawyer", "patient_request", None),
        ("Newspaper", "patient_request", Some("authorization")),
        ("Ambulance", "emergency", None),
        ("Registry", "compliance", None),
        ("University", "compliance", Some("limited_data_set")),
    ] {
        scene.disclose(recipient, purpose, exclusion).await;
    }
    let last = scene.disclose("Surgeon", "compliance", None).await;

    let officer = scene.officer(&last).await;

    let exclusion = |recipient: &str| told(&officer, recipient)["exclusion"].clone();
    for (recipient, expected) in [
        ("Insurance", json!("treatment_payment_operations")),
        ("Auditor", json!("treatment_payment_operations")),
        ("Newspaper", json!("authorization")),
        ("University", json!("limited_data_set")),
        ("Lawyer", Value::Null),
        ("Ambulance", Value::Null),
        ("Registry", Value::Null),
    ] {
        assert_eq!(exclusion(recipient), expected, "{recipient}");
    }
    assert_eq!(officer["disclosures"].as_array().map(Vec::len), Some(9), "the officer sees every one");
    assert_eq!(scene.patient("").await, ["Ambulance", "Lawyer", "Registry", "Surgeon"]);
    assert_eq!(scene.patient("excluded=shown").await, recipients(&officer), "as Article 15 asks for");
    let unknown =
        json!({ "recipient": "x", "description": "y", "purpose": "payment", "exclusion": "secret" });
    assert_eq!(scene.clinic.post(&scene.path("disclosures"), &unknown).await.status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agency_that_asks_for_it_is_kept_from_the_patient_for_a_time_and_not_from_the_officer() {
    let api = Api::start().await;
    let scene = Scene::new(&api).await;
    scene.disclose(POLICE, "compliance", None).await;
    scene.disclose("State Police Academy", "compliance", None).await;
    let before = scene.disclose("Registry", "compliance", None).await;
    assert_eq!(scene.officer(&before).await["suspensions"], json!([]));
    let everybody = ["Registry", POLICE, "State Police Academy"];
    assert_eq!(scene.patient("").await, everybody);

    let suspended = scene.suspend("written", "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z").await;
    assert_eq!(suspended.status, 200, "{suspended:?}");
    let later = scene.disclose(POLICE, "compliance", None).await;
    let officer = scene.officer(&later).await;

    assert_eq!(told(&officer, POLICE)["count"], 2, "written down all the same");
    assert_eq!(told(&officer, POLICE)["suspended_until"], "2099-01-01T00:00:00.000000Z");
    assert_eq!(told(&officer, "Registry")["suspended_until"], Value::Null);
    let suspension = &officer["suspensions"][0];
    assert_eq!((&suspension["agency"], &suspension["form"]), (&json!("state  POLICE"), &json!("written")));
    assert_eq!(scene.patient("excluded=shown").await, ["Registry", "State Police Academy"]);
    let seen = scene.accesses().await;
    assert_eq!(seen.iter().filter(|event| *event == "access.disclosure_made").count(), 2, "{seen:?}");
    assert!(!seen.iter().any(|event| event.contains("suspended")), "{seen:?}");
    let newest = scene.clinic.get_as(&scene.key, &format!("{}?limit=1", scene.path("accesses"))).await;
    assert_eq!(newest.items().len(), 1, "no gap tells of what is hidden: {newest:?}");
    let shown = scene.clinic.get(&format!("/v1/patients/{}", scene.patient)).await;
    assert_eq!(shown.text_at("/details/name"), "Ada", "the patient's own details stay");
    let text = scene.clinic.get("/v1/events?limit=200").await.text;
    assert!(!text.contains("Quxfield") && !text.contains("POLICE"), "sealed");

    let id = suspension["id"].as_str().unwrap();
    let resume = scene.path(&format!("accounting-suspensions/{id}/resume"));
    let resumed = scene.clinic.post(&resume, &json!({})).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    let held = scene.clinic.post(&scene.path("legal-holds"), &json!({ "reason": "litigation" })).await;
    assert!(held.status < 300, "{held:?}");
    let officer = scene.officer(&held).await;

    assert_eq!(told(&officer, POLICE)["suspended_until"], Value::Null);
    assert!(officer["suspensions"][0]["resumed_at"].is_string(), "{officer}");
    assert_eq!(scene.patient("").await, everybody);
    let seen = scene.accesses().await;
    assert_eq!(seen.iter().filter(|event| *event == "access.disclosure_made").count(), 4, "{seen:?}");
    let is_own = |event: &String| event.contains("accounting") || event.contains("legal_hold");
    assert!(!seen.iter().any(is_own), "what the clinic does for others is its own: {seen:?}");
    assert_eq!(scene.clinic.post(&resume, &json!({})).await.problem(), (409, "suspension_not_in_force"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_is_made_by_officers_within_its_bounds() {
    let api = Api::start().await;
    let scene = Scene::new(&api).await;
    for (form, stated_at, ends_at, code) in [
        ("oral", "2026-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "oral_suspension_too_long"),
        ("written", "2099-01-01T00:00:00Z", "2099-02-01T00:00:00Z", "stated_in_future"),
        ("written", "2025-01-01T00:00:00Z", "2025-02-01T00:00:00Z", "suspension_ends_in_past"),
    ] {
        let refused = scene.suspend(form, stated_at, ends_at).await;
        assert_eq!(refused.problem(), (422, code));
    }
    let specialist = scene.clinic.key_of("specialist").await;
    let body = json!({ "agency_kind": "health_oversight", "agency": "x", "form": "written",
        "ends_at": "2099-01-01T00:00:00Z" });
    for key in [&scene.key, &specialist] {
        let path = scene.path("accounting-suspensions");
        let refused = api.call(reqwest::Method::POST, &path, &key.text, Some(&body)).await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    let unknown = scene.path("accounting-suspensions/0197a000-0000-7000-8000-00000000dead/resume");
    assert_eq!(scene.clinic.post(&unknown, &json!({})).await.problem(), (404, "suspension_unknown"));
    let stranger = api.clinic("Praxis").await;
    let foreign = stranger.get(&scene.path("accounting")).await;
    assert_eq!(foreign.problem(), (404, "not_found"));
    let eve = scene.clinic.patient("Eve").await.id().to_owned();
    let foreign = scene.clinic.get_as(&scene.key, &format!("/v1/patients/{eve}/accounting")).await;
    assert_eq!(foreign.problem(), (404, "not_found"));
}
