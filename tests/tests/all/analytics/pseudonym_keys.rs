//! What is done to the keys of pseudonyms, as the trail tells it.

use std::process::{Command, Output};

use carelog_domain::OrganizationId;
use carelog_tests::{Api, ApiClinic, until};
use serde_json::Value;

/// `carelog` as a process beside the server.
fn carelog(clinic: &ApiClinic<'_>, arguments: &[&str]) -> Output {
    let [core, audit, analytics, vault] = clinic.api.database_urls();
    Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"))
        .env_clear()
        .env("CARELOG_HOME", clinic.api.home())
        .env("DATABASE_URL", core)
        .env("CARELOG_DATABASE_AUDIT_URL", audit)
        .env("CARELOG_DATABASE_ANALYTICS_URL", analytics)
        .env("CARELOG_DATABASE_VAULT_URL", vault)
        .args(arguments)
        .args(["--organization", &clinic.id.to_string()])
        .output()
        .unwrap()
}

fn succeed(clinic: &ApiClinic<'_>, arguments: &[&str]) {
    let output = carelog(clinic, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// What the trail tells of these keys: the type, the epoch, and who did it, the first first.
async fn told(clinic: &ApiClinic<'_>) -> Vec<(String, Value, String)> {
    let statement = "select event_type, convert_from(facts, 'utf8'), actor_kind from log.events
                     where event_type like 'organization.pseudonym%' and organization_id = $1
                     order by organization_sequence";
    let rows: Vec<(String, String, String)> =
        sqlx::query_as(statement).bind(clinic.id).fetch_all(&clinic.api.core).await.unwrap();
    rows.into_iter()
        .map(|(kind, facts, actor)| {
            let facts: Value = serde_json::from_str(&facts).unwrap();
            (kind, facts["epoch"].clone(), actor)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_that_begin_and_keys_that_are_destroyed_are_events() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    until("analytics know the clinic", async || {
        carelog(&clinic, &["analytics", "epoch", "show"]).status.success().then_some(())
    })
    .await;
    let begun =
        |epoch: u32| ("organization.pseudonym_epoch_begun".to_owned(), epoch.into(), "operator".to_owned());
    let destroyed =
        |epoch: u32| ("organization.pseudonym_key_destroyed".to_owned(), epoch.into(), "operator".to_owned());

    succeed(&clinic, &["analytics", "epoch", "rotate"]);
    assert_eq!(told(&clinic).await, [begun(2)]);
    // Whoever began the next one died before the log was told.
    let pseudonyms = &api.server.system().pseudonyms;
    assert_eq!(pseudonyms.rotate(OrganizationId::new(clinic.id)).await.unwrap(), 3);
    let in_use = carelog(&clinic, &["analytics", "epoch", "destroy", "--epoch", "1"]);
    assert!(!in_use.status.success(), "facts stand under it");
    assert_eq!(told(&clinic).await, [begun(2), begun(3)], "what is not destroyed is not told");
    succeed(&clinic, &["rebuild", "analytics"]);
    succeed(&clinic, &["analytics", "epoch", "destroy", "--epoch", "1"]);
    succeed(&clinic, &["analytics", "epoch", "destroy", "--epoch", "1"]);

    assert_eq!(told(&clinic).await, [begun(2), begun(3), destroyed(1)], "each once");
    let entries = until("the trail tells them", async || {
        let asked = clinic.get("/v1/trail?topic=oversight&limit=200").await;
        let found: Vec<Value> = asked
            .items()
            .iter()
            .filter(|item| item["event"].as_str().unwrap().starts_with("organization.pseudonym"))
            .cloned()
            .collect();
        (found.len() == 3).then_some(found)
    })
    .await;
    assert!(entries.iter().all(|entry| entry["outcome"] == "success"), "{entries:?}");
}
