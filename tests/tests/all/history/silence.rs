//! What the clinic keeps or keeps silent about for others shows nowhere in what the patient sees.

use carelog_domain::accounting::{AgencyKind, AgencyStatement, StatementForm};
use carelog_domain::legal_hold::LegalHoldReason;
use carelog_domain::patient::{Patient, PatientAccountingSuspended, PatientEvent, PatientLegalHoldPlaced};
use carelog_domain::{LegalHoldId, OrganizationId, Personal, SuspensionId, Timestamp};
use carelog_event_log::new_id;
use carelog_tests::{Answer, Api, ApiClinic, ApiKey, at, scope, send};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

const ENDS_AT: &str = "2099-01-01T00:00:00Z";

struct Scene<'a> {
    api: &'a Api,
    clinic: ApiClinic<'a>,
    patient: String,
    /// The patient's own key.
    key: ApiKey,
}

impl<'a> Scene<'a> {
    async fn new(api: &'a Api) -> Self {
        let clinic = api.clinic("Klinik").await;
        let patient = clinic.patient("Ada").await.id().to_owned();
        let key = json!({ "role": "patient", "scopes": ["reads", "commands"], "patient_id": patient });
        let key = clinic.key(&key).await;
        Self { api, clinic, patient, key }
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/patients/{}{what}", self.patient)
    }

    /// The patient's record as they see it once this shows: its tag and all of its body.
    async fn shown(&self, after: &Answer) -> (String, Value) {
        let path = self.path(&format!("?wait_for={}", after.position()));
        let shown = self.clinic.get_as(&self.key, &path).await;
        assert_eq!(shown.status, 200, "{shown:?}");
        (shown.header("etag").to_owned(), shown.body)
    }

    async fn disclose(&self) -> Answer {
        let body = json!({ "recipient": "State Police", "description": "Findings", "purpose": "compliance" });
        self.clinic.post(&self.path("/disclosures"), &body).await
    }

    /// To whom the patient learns that anything was disclosed.
    async fn recipients(&self, after: &Answer) -> Vec<String> {
        let path = self.path(&format!("/accounting?wait_for={}", after.position()));
        let told = self.clinic.get_as(&self.key, &path).await;
        let recipients = told.body["disclosures"].as_array().unwrap().iter();
        recipients.map(|one| one["recipient"].as_str().unwrap().to_owned()).collect()
    }

    async fn release(&self, hold: &str) -> Answer {
        let path = self.path(&format!("/legal-holds/{hold}"));
        send(self.clinic.request(Method::DELETE, &path)).await
    }

    async fn erase(&self) -> Answer {
        self.clinic.post(&self.path("/erasure"), &json!({ "ground": "patient_request" })).await
    }

    /// Appends to the patient's own stream, as was done before holds and suspensions had theirs.
    async fn append_to_patient(&self, version: i64, event: PatientEvent) {
        let id: Uuid = self.patient.parse().unwrap();
        let scope = scope(OrganizationId::new(self.clinic.id));
        let log = &self.api.server.system().log;
        log.append_decided::<Patient>(&scope, id, version, vec![event]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_hold_nor_a_request_for_silence_moves_anything_that_the_patient_sees_of_their_record() {
    let api = Api::start().await;
    let scene = Scene::new(&api).await;
    let disclosed = scene.disclose().await;
    let before = scene.shown(&disclosed).await;
    assert_eq!(before.0, "\"1\"");

    let suspension = json!({
        "agency_kind": "law_enforcement", "agency": "State Police", "form": "written",
        "stated_at": "2026-01-01T00:00:00Z", "ends_at": ENDS_AT,
    });
    let suspended = scene.clinic.post(&scene.path("/accounting-suspensions"), &suspension).await;
    assert_eq!(suspended.status, 200, "{suspended:?}");
    assert_eq!(scene.shown(&suspended).await, before);
    assert_eq!(scene.recipients(&suspended).await, Vec::<String>::new());
    let placed = scene.clinic.post(&scene.path("/legal-holds"), &json!({ "reason": "investigation" })).await;
    assert_eq!(placed.status, 201, "{placed:?}");
    assert_eq!(scene.shown(&placed).await, before);
    let hold = placed.text_at("/legal_hold_id");
    let seen = scene.clinic.get(&scene.path("")).await;
    assert_eq!((&seen.body["legal_holds"], &seen.body["version"]), (&json!([hold]), &json!(1)));

    let officer = scene.clinic.get(&scene.path("/disclosures")).await;
    let id = officer.text_at("/suspensions/0/id").to_owned();
    let resume = scene.path(&format!("/accounting-suspensions/{id}/resume"));
    let resumed = scene.clinic.post(&resume, &json!({})).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    assert_eq!(scene.shown(&resumed).await, before);
    let released = scene.release(hold).await;
    assert_eq!(released.status, 200, "{released:?}");
    assert_eq!(scene.shown(&released).await, before);
    assert_eq!(scene.recipients(&released).await, ["State Police"]);

    // The patient's next wish is the second that they know of, on the version that they know.
    let path = scene.path("/consents");
    let consent = scene.clinic.request(Method::POST, &path).bearer_auth(&scene.key.text);
    let consent = consent.header("if-match", "\"1\"").json(&json!({ "consent": "research", "version": 1 }));
    let given = send(consent).await;
    assert_eq!((given.status, &given.body["version"]), (200, &json!(2)), "{given:?}");
    let versions = scene.clinic.get(&format!("/v1/records/patient/{}/versions", scene.patient)).await;
    let versions: Vec<&Value> = versions.items().iter().map(|version| &version["event"]).collect();
    assert_eq!(versions, ["patient.registered", "patient.consent_given"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_stream_of_the_patient_from_before_is_in_force_and_ends_without_moving_it() {
    let api = Api::start().await;
    let scene = Scene::new(&api).await;
    let (hold, suspension) = (LegalHoldId::new(new_id()), SuspensionId::new(new_id()));
    let reason = LegalHoldReason::Litigation;
    let placed = PatientLegalHoldPlaced { legal_hold_id: hold, reason };
    scene.append_to_patient(1, PatientEvent::LegalHoldPlaced(placed)).await;
    let statement = AgencyStatement { agency: "State Police".to_owned(), official: None, statement: None };
    let suspended = PatientAccountingSuspended {
        suspension_id: suspension,
        agency_kind: AgencyKind::LawEnforcement,
        form: StatementForm::Written,
        stated_at: Timestamp::UNIX_EPOCH,
        ends_at: at(ENDS_AT),
        personal: Some(Personal::Open(statement)),
    };
    scene.append_to_patient(2, PatientEvent::AccountingSuspended(suspended)).await;
    let disclosed = scene.disclose().await;
    let before = scene.shown(&disclosed).await;

    assert_eq!(scene.recipients(&disclosed).await, Vec::<String>::new());
    assert_eq!(scene.erase().await.problem(), (409, "legal_hold"));
    let twice = json!({ "reason": "litigation", "id": hold.uuid() });
    let twice = scene.clinic.post(&scene.path("/legal-holds"), &twice).await;
    assert_eq!(twice.problem(), (409, "legal_hold_already_placed"));
    let resume = scene.path(&format!("/accounting-suspensions/{suspension}/resume"));
    let resumed = scene.clinic.post(&resume, &json!({})).await;
    assert_eq!(resumed.status, 200, "{resumed:?}");
    assert_eq!(scene.recipients(&resumed).await, ["State Police"]);
    assert_eq!(scene.clinic.post(&resume, &json!({})).await.problem(), (409, "suspension_not_in_force"));
    let released = scene.release(&hold.to_string()).await;
    assert_eq!(released.status, 200, "{released:?}");
    assert_eq!(scene.shown(&released).await, before);
    assert_eq!(scene.release(&hold.to_string()).await.problem(), (404, "legal_hold_not_placed"));
    assert_eq!(scene.clinic.get(&scene.path("")).await.body["legal_holds"], json!([]));
    assert_eq!(scene.erase().await.status, 200);
}
