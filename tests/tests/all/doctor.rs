//! Damage that somebody with every right did to the databases: `carelog doctor` names each with the check that is for
//! it, and with no other.

mod damage;

use std::collections::BTreeSet;
use std::process::Command;

use carelog_domain::appointment::Appointment;
use carelog_domain::webhook_subscription::{DisableReason, WebhookSubscriptionCommand};
use carelog_embedded::receiver::Behaviour;
use carelog_event_log::new_id;
use carelog_tests::{Partner, Product, Remains, book, keyed, run, start_appointment, until};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::damage::{RECORDS, to_deliveries, to_its_guards, to_projections, to_the_log, to_what_is_sent};

/// Checks whose damage other tests do.
const ELSEWHERE: [(&str, &str); 4] = [
    ("the trees have the tiles and roots of their leaves", "proofs/damage.rs"),
    ("the log of checkpoints has what was signed, each organization in one history", "proofs/meta.rs"),
    ("video rooms are as new as their streams", "video/faults.rs"),
    ("every open video room is looked at when it ends", "video/faults.rs"),
];

struct Scene {
    product: Product,
    key: String,
    partner: Partner,
}

impl Scene {
    async fn new() -> Self {
        let product = Product::start().await;
        let (organization_id, key) = product.clinic().await;
        let partner = product.subscribe(organization_id, &["appointment.*"]).await;
        Self { product, key, partner }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.product.call(&self.key, Method::POST, path, Some(&body)).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// A row of each record.
    async fn records(&self) {
        let patient = self.post("/v1/patients", json!({ "birth_year": 1950 })).await;
        let specialist = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
        let specialist = self.post("/v1/specialists", specialist).await;
        let form = json!({ "patient_id": patient["id"], "template_id": new_id(), "template_version": 1 });
        self.post("/v1/forms", form).await;
        let plan = json!({
            "patient_id": patient["id"], "specialist_id": specialist["id"],
            "starts_at": "2026-03-02T00:00:00Z", "week_count": 6, "title": "The left knee",
        });
        self.post("/v1/treatment-plans", plan).await;
        let file = json!({
            "kind": "form_attachment", "patient_id": patient["id"], "content_type": "application/pdf",
            "size_bytes": 5, "content_sha256": "ab".repeat(32),
        });
        self.post("/v1/files", file).await;
    }

    /// An appointment of which the partner is not told.
    async fn skipped(&self) {
        let pause = WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
        self.product.tell(&self.partner, pause).await;
        start_appointment(self.product.log(), self.partner.organization_id).await;
        self.product.tell(&self.partner, WebhookSubscriptionCommand::Enable).await;
        self.product.settled().await;
    }

    /// A delivery for each state: one that a replay asked for, one that arrived, one that was skipped, one that waits.
    async fn deliveries(&self) {
        self.skipped().await;
        let wish = json!({ "subscription_id": self.partner.subscription_id });
        let replay = self.post("/v1/webhook-replays", wish).await;
        let completed = format!(
            "select count(*) from webhooks.webhook_replays where replay_id = {} and status = 'completed'",
            replay["id"].to_string().replace('"', "'")
        );
        until("the replay is complete", async || (self.product.count(&completed).await == 1).then_some(()))
            .await;
        let (organization_id, log) = (self.partner.organization_id, self.product.log());
        run::<Appointment>(log, &keyed(organization_id, "once", "book"), new_id(), book()).await;
        self.skipped().await;
        self.partner.hook.set_behaviour(Behaviour::Status(500));
        start_appointment(log, organization_id).await;
        let waits =
            "select count(*) from webhooks.webhook_events where state = 'pending' and attempt_count = 1";
        until("a retry waits", async || (self.product.count(waits).await == 1).then_some(())).await;
        self.product.settled().await;
    }
}

/// What is damaged, by the names of the checks.
async fn damaged(remains: &Remains) -> BTreeSet<&'static str> {
    let findings = remains.examine().await;
    findings.iter().filter(|finding| !finding.is_ok()).map(|finding| finding.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damage_is_named_by_the_check_that_is_for_it() {
    let scene = Box::pin(Scene::new()).await;
    scene.records().await;
    scene.deliveries().await;
    let remains = Box::pin(scene.product.leave()).await;
    let sound = remains.examine().await;
    assert!(sound.iter().all(carelog_server::doctor::Finding::is_ok), "{sound:#?}");

    let mut shown: BTreeSet<&str> = ELSEWHERE.into_iter().map(|(name, _)| name).collect();
    let mut wrong = Vec::new();
    for (what, database, statement, expected) in
        [to_the_log(), to_its_guards(), to_projections(), to_deliveries(), to_what_is_sent()].concat()
    {
        remains.sql(database, &statement).await;
        let found = damaged(&remains).await;
        if found != expected.iter().copied().collect::<BTreeSet<_>>() {
            wrong.push(format!("{what} ({statement}): {found:?}"));
        }
        shown.extend(expected);
        remains.restore(database).await;
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(damaged(&remains).await, BTreeSet::new());
    let names: BTreeSet<&str> = sound.iter().map(|finding| finding.name).collect();
    assert_eq!(names, shown, "each check was seen to find damage");
    exit_codes_tell(&remains).await;
    remains.discard().await;
}

/// What the program says and how it ends: whole, damaged, and with nothing to examine.
async fn exit_codes_tell(remains: &Remains) {
    let home = TempDir::new().unwrap();
    let doctor = |url: &str, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"));
        command.env_clear().env("DATABASE_URL", url).env("CARELOG_HOME", home.path());
        let output = command.current_dir(home.path()).arg("doctor").args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let url = remains.core_url();

    let (code, text) = doctor(&url, &[]);
    assert_eq!((code, text.lines().last()), (Some(0), Some("everything is whole")), "{text}");

    remains.sql("core", "delete from log.idempotency_keys; delete from records.forms").await;
    let (code, text) = doctor(&url, &[]);
    assert_eq!((code, text.lines().last()), (Some(1), Some("something is damaged")), "{text}");
    assert!(text.contains(&format!("DAMAGED  {RECORDS}")), "{text}");
    let (code, json) = doctor(&url, &["--json", "--leaves", "10"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["ok"]), (Some(1), &json!(false)), "{report}");

    let (code, text) = doctor(&url.replace("_core", "_nowhere_core"), &[]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
}
