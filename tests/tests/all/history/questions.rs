//! The fifteen questions that a trail has to answer, each with one call.

use std::num::NonZeroU32;

use carelog_audit::proof::{TlogProof, leaf_hash};
use carelog_tests::{Answer, Api, ApiClinic, ApiKey, is_documented, send, until};
use reqwest::Method;
use serde_json::{Value, json};

/// A clinic in which something of everything has happened.
pub(super) struct Scene<'a> {
    pub(super) clinic: ApiClinic<'a>,
    /// Whom it is about.
    pub(super) ada: String,
    /// Somebody else, who is erased.
    eve: String,
    pub(super) specialist: ApiKey,
    specialist_id: String,
    compliance: ApiKey,
    /// Before the specialist begins.
    begun_at: String,
}

impl<'a> Scene<'a> {
    pub(super) async fn of(api: &'a Api) -> Self {
        let clinic = api.clinic("Klinik").await;
        let ada = clinic.patient("Ada").await.id().to_owned();
        let eve = clinic.patient("Eve").await.id().to_owned();
        let body = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
        let specialist_id = clinic.post("/v1/specialists", &body).await.id().to_owned();
        let key =
            json!({ "role": "specialist", "scopes": ["commands", "reads"], "specialist_id": specialist_id });
        let specialist = clinic.key(&key).await;
        let compliance = clinic.key_of("compliance").await;
        let now = "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let begun_at: String = sqlx::query_scalar(now).fetch_one(&api.core).await.unwrap();
        let scene = Self { clinic, ada, eve, specialist, specialist_id, compliance, begun_at };
        scene.happen().await;
        scene
    }

    async fn happen(&self) {
        let consents = format!("/v1/patients/{}/consents", self.ada);
        let consent = json!({ "consent": "data_sharing", "version": 1 });
        assert_eq!(self.clinic.post(&consents, &consent).await.status, 200);
        self.look(&self.specialist, "treatment").await;
        let withdrawn = self.clinic.request(Method::DELETE, &format!("{consents}/data_sharing"));
        assert_eq!(send(withdrawn).await.status, 200);
        self.look(&self.compliance, "emergency").await;
        let analyst = self.clinic.key_of("analyst").await;
        let refused = self.clinic.get_as(&analyst, &format!("/v1/patients/{}", self.ada)).await;
        assert_eq!(refused.problem(), (403, "wrong_role"));
        let erasure = format!("/v1/patients/{}/erasure", self.eve);
        let ground = json!({ "ground": "patient_request" });
        assert_eq!(self.clinic.post(&erasure, &ground).await.status, 200);
        until("the other patient is erased", async || {
            let shown = self.clinic.get(&format!("/v1/patients/{}", self.eve)).await;
            (shown.body["status"] == "erased").then_some(())
        })
        .await;
        // So that nothing more happens by itself.
        until("the erasure is certified", async || is_documented(&self.clinic.api.core).await.then_some(()))
            .await;
    }

    async fn look(&self, key: &ApiKey, purpose: &str) {
        let path = format!("/v1/patients/{}", self.ada);
        let request = self.clinic.api.request(Method::GET, &path).bearer_auth(&key.text);
        assert_eq!(send(request.header("x-purpose-of-use", purpose)).await.status, 200);
    }

    /// Asks the trail page by page, when it shows everything that happened.
    async fn ask(&self, query: &str) -> Vec<Value> {
        let caught_up = self.clinic.patient("Zoe").await;
        let wait = format!("wait_for={}", caught_up.position());
        let all = self.clinic.get_as(&self.compliance, &format!("/v1/trail?limit=200&{wait}&{query}")).await;
        let total = all.body["total"].as_u64().unwrap_or_else(|| panic!("{query}: {all:?}"));
        assert_eq!((all.items().len() as u64, &all.body["total_is_more"]), (total, &json!(false)), "{query}");
        let mut paged = Vec::new();
        let mut path = format!("/v1/trail?limit=2&{query}");
        while paged.len() < all.items().len() {
            let page = self.clinic.get_as(&self.compliance, &path).await;
            paged.extend(page.items().to_vec());
            let Some(next) = page.body.get("next").and_then(Value::as_str) else { break };
            path = format!("/v1/trail?limit=2&{query}&after={next}");
        }
        paged.truncate(all.items().len());
        // Whoever asks about a patient becomes part of the answer, the newest first.
        if !query.contains("patient_id") && !query.contains("oversight") {
            assert_eq!(paged, all.items(), "{query}");
        }
        all.items().to_vec()
    }
}

fn events(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}

fn actors(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["actor"]["id"].as_str().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn q01_who_saw_a_patients_record_when_and_which_parts() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;

    let found = scene.ask(&format!("patient_id={}&topic=access", scene.ada)).await;

    assert_eq!(actors(&found), [scene.compliance.id.as_str(), scene.specialist.id.as_str()]);
    assert!(found.iter().all(|entry| entry["target_kind"] == "patient" && entry["action"] == "read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn q02_what_did_somebody_do_everywhere_in_a_window() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;
    let Scene { specialist, begun_at, .. } = &scene;

    let found = scene.ask(&format!("actor_id={}&from={begun_at}", specialist.id)).await;
    let before = scene.ask(&format!("actor_id={}&before={begun_at}", specialist.id)).await;

    assert_eq!((events(&found), before.len()), (vec!["access.record_viewed"], 0));
    let reversed = format!("/v1/trail?from={begun_at}&before=2020-01-01T00:00:00Z");
    assert_eq!(scene.clinic.get(&reversed).await.problem(), (422, "range_ends_before_it_begins"));
}

#[tokio::test(flavor = "multi_thread")]
async fn q03_why_was_a_record_touched() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;

    let found = scene.ask(&format!("patient_id={}&purpose=treatment", scene.ada)).await;

    let broken = scene.ask(&format!("patient_id={}&purpose=emergency", scene.ada)).await;
    let unsaid = scene.ask(&format!("patient_id={}&event=patient.", scene.ada)).await;

    assert_eq!(actors(&found), [scene.specialist.id.as_str()]);
    assert_eq!((&found[0]["purpose"], &found[0]["legal_basis"]), (&json!("treatment"), &json!("contract")));
    assert_eq!(found[0]["consents"], json!([{ "consent": "data_sharing", "version": 1 }]));
    assert_eq!(
        (&broken[0]["legal_basis"], &broken[0]["consents"]),
        (&json!("vital_interests"), &json!([])),
        "the consent was taken back before"
    );
    let bases: Vec<&str> = unsaid.iter().map(|entry| entry["legal_basis"].as_str().unwrap()).collect();
    assert_eq!(events(&unsaid), ["patient.consent_withdrawn", "patient.consent_given", "patient.registered"]);
    assert_eq!(bases, ["legal_obligation", "legal_obligation", "contract"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn q04_on_whose_behalf_was_it_done() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;

    let found = scene.ask(&format!("on_behalf_of={}", scene.specialist_id)).await;

    assert_eq!(actors(&found), [scene.specialist.id.as_str()]);
    assert_eq!(found[0]["actor"]["on_behalf_of"], json!(scene.specialist_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn q07_what_did_the_record_say_then_and_what_was_known() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;
    let path = format!("/v1/records/patient/{}", scene.ada);

    let known = scene.clinic.get(&format!("{path}?known_at={}", scene.begun_at)).await;
    let now = scene.clinic.get(&path).await;

    assert_eq!(known.body["state"]["consents"], json!([]));
    assert_eq!(now.text_at("/state/consents/0/consent"), "data_sharing");
    assert_eq!((&known.body["version"], &now.body["version"]), (&json!(1), &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn q08_what_changed_between_versions_and_who_signed_the_form() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;
    let form = scene.clinic.form(&scene.ada).await.id().to_owned();
    let answers = json!({ "answers": { "pain": 3 } });
    let path = format!("/v1/forms/{form}/answers");
    assert_eq!(send(scene.clinic.request(Method::PUT, &path).json(&answers)).await.status, 200);
    let sign = json!({ "content_sha256": "ab".repeat(32), "signed_by": "specialist" });
    let path = format!("/v1/forms/{form}/sign");
    assert_eq!(api.call(Method::POST, &path, &scene.specialist.text, Some(&sign)).await.status, 200);

    let changes = scene.clinic.get(&format!("/v1/records/form/{form}/changes?from=2&to=3")).await;
    let versions = scene.clinic.get(&format!("/v1/records/form/{form}/versions")).await;

    let signed = json!({ "pointer": "/signed_by", "before": null, "after": "specialist" });
    assert!(changes.body["changes"].as_array().unwrap().contains(&signed), "{changes:?}");
    let signing = &versions.items()[2];
    assert_eq!(
        (&signing["event"], &signing["actor"]["id"]),
        (&json!("form.signed"), &json!(scene.specialist.id))
    );
    assert_eq!(signing["actor"]["on_behalf_of"], json!(scene.specialist_id));
}

#[tokio::test(flavor = "multi_thread")]
async fn q09_what_ran_without_consent() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;
    let query = format!("patient_id={}&topic=access&without_consent", scene.ada);

    let withdrawn = scene.ask(&format!("{query}=data_sharing")).await;
    let never = scene.ask(&format!("{query}=research")).await;

    assert_eq!(actors(&withdrawn), [scene.compliance.id.as_str()], "the read before was covered");
    assert_eq!(never.len(), 2);
    let alone = scene.clinic.get("/v1/trail?without_consent=research").await;
    assert_eq!(alone.problem(), (422, "invalid_query"));
}

#[tokio::test(flavor = "multi_thread")]
async fn q10_where_was_the_glass_broken() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;

    let found = scene.ask("purpose=emergency").await;

    assert_eq!(actors(&found), [scene.compliance.id.as_str()]);
    assert_eq!(found[0]["patient_id"], json!(scene.ada));
}

#[tokio::test(flavor = "multi_thread")]
async fn q11_who_was_refused() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;

    let denied = scene.ask("topic=denial").await;
    let failed = scene.ask("outcome=failure").await;

    assert_eq!(events(&denied), ["access.access_denied"]);
    assert_eq!(denied, failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn q12_how_far_did_a_key_reach() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;
    let Scene { clinic, specialist, ada, .. } = &scene;
    let wait = clinic.patient("Zoe").await.position().to_owned();

    let path = format!("/v1/trail/patients?actor_id={}&wait_for={wait}", specialist.id);
    let reached = clinic.get(&path).await;
    let admins = clinic.get(&format!("/v1/trail/patients?limit=2&actor_id={}", clinic.admin.id)).await;
    let next = admins.text_at("/next").to_owned();
    let path = format!("/v1/trail/patients?limit=2&actor_id={}&after={next}", clinic.admin.id);
    let rest = clinic.get(&path).await;

    assert_eq!((reached.items().len(), &reached.body["total"]), (1, &json!(1)));
    assert_eq!((&reached.items()[0]["patient_id"], &reached.items()[0]["entries"]), (&json!(ada), &json!(1)));
    assert_eq!((admins.items().len(), rest.items().len(), &rest.body["total"]), (2, 1, &json!(3)));
    for query in ["", "?topic=access", "?actor_id=x", "?order=newest_first", "?format=csv"] {
        let answer = clinic.get(&format!("/v1/trail/patients{query}")).await;
        assert_eq!(answer.problem(), (422, "invalid_query"), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q13_is_the_trail_of_a_period_whole() {
    let api = Api::start_with(|config| config.proofs.sign_every_ms = NonZeroU32::new(50).unwrap()).await;
    let scene = Scene::of(&api).await;

    let period = scene.ask(&format!("order=oldest_first&from={}", scene.begun_at)).await;

    let sequences: Vec<i64> = period.iter().map(|entry| entry["sequence"].as_i64().unwrap()).collect();
    assert!(sequences[0] > 1 && sequences.len() > 5, "{sequences:?}");
    assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]), "none is left out: {sequences:?}");
    // And what it is made of is under a signature.
    let last = sequences[sequences.len() - 1];
    until("a checkpoint covers the period", async || {
        let note = scene.clinic.get("/v1/proofs/checkpoint").await;
        let size: i64 = note.text.lines().nth(1)?.parse().ok()?;
        (size >= last).then_some(())
    })
    .await;
    let policy = scene.clinic.get("/v1/proofs/policy").await;
    let key = policy.text.lines().next().unwrap().strip_prefix("log ").unwrap().parse().unwrap();
    for entry in &period {
        let path = format!("/v1/proofs/events/{}/tlog-proof", entry["sequence"]);
        let proof = TlogProof::parse(&scene.clinic.get(&path).await.text).unwrap();
        let leaf = proof.extra.clone().unwrap();
        proof.verify(leaf_hash(&leaf), std::slice::from_ref(&key)).unwrap();
        let claims: Value = serde_json::from_slice(&leaf).unwrap();
        assert_eq!((&claims["event_id"], &claims["type"]), (&entry["event_id"], &entry["event"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn q14_what_was_erased_and_at_whose_wish() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;

    let found = scene.ask("topic=erasure&order=oldest_first").await;

    assert_eq!(events(&found), ["patient.erasure_requested", "patient.keys_destroyed", "patient.erased"]);
    assert_eq!(found[0]["actor"]["id"], json!(scene.clinic.admin.id));
    assert!(found.iter().all(|entry| entry["patient_id"] == json!(scene.eve)));
}

#[tokio::test(flavor = "multi_thread")]
async fn q15_who_read_exported_or_configured_the_trail() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;
    let exported = scene.clinic.get("/v1/trail?format=csv").await;
    assert_eq!(exported.status, 200);
    let read: Answer = scene.clinic.get_as(&scene.compliance, "/v1/trail?limit=1").await;
    assert_eq!(read.status, 200);

    let found = scene.ask("topic=oversight").await;

    let newest: Vec<&str> = events(&found).into_iter().take(2).collect();
    assert_eq!(newest, ["access.trail_queried", "access.record_exported"]);
    assert_eq!(actors(&found[..2]), [scene.compliance.id.as_str(), scene.clinic.admin.id.as_str()]);
    assert!(events(&found).contains(&"organization.api_key_issued"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_counts_each_action_as_often_as_the_log_has_it() {
    let api = Api::start().await;
    let scene = Scene::of(&api).await;
    let wait = scene.clinic.patient("Zoe").await.position().to_owned();
    let in_log = "select event_type from log.events where organization_id = $1";
    let in_log: Vec<String> =
        sqlx::query_scalar(in_log).bind(scene.clinic.id).fetch_all(&api.core).await.unwrap();
    let until = in_log.len();

    for action in carelog_audit::Action::ALL {
        let of_log = in_log
            .iter()
            .filter(|name| carelog_audit::model::action(name.parse().unwrap()) == *action)
            .count();
        let query = format!("/v1/trail?action={action}&limit=200&order=oldest_first&wait_for={wait}");
        let found = scene.clinic.get(&query).await;
        // This test's own questions come after what was counted.
        let of_trail =
            found.items().iter().filter(|entry| entry["sequence"].as_u64().unwrap() <= until as u64).count();
        assert_eq!(of_trail, of_log, "{action}");
    }
}
