//! What made an entry lawful, in trails that are entered anew.

use carelog_audit::AUDIT_MIGRATIONS;
use carelog_domain::OrganizationId;
use carelog_event_log::runtime::RebuildScope;
use carelog_tests::{Api, rebuild_all, send, until};
use reqwest::Method;
use serde_json::json;
use sqlx::Executor;
use uuid::Uuid;

/// The whole trail as text, in order; nothing while it cannot be read.
async fn trail(api: &Api) -> Vec<String> {
    let entries = "select trail::text from audit.trail order by organization_id, sequence";
    sqlx::query_scalar(entries).fetch_all(&api.audit).await.unwrap_or_default()
}

/// The trail, once it tells of everything in the log.
async fn settled(api: &Api) -> Vec<String> {
    until("everything is an entry", async || {
        let entries = trail(api).await;
        (i64::try_from(entries.len()).unwrap() == api.event_count().await).then_some(entries)
    })
    .await
}

/// A clinic with a patient who agreed, and took back, while something happened.
async fn happen(api: &Api) {
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    let consents = format!("/v1/patients/{ada}/consents");
    for (consent, version) in [("recording", 1), ("research", 1), ("recording", 2)] {
        let body = json!({ "consent": consent, "version": version });
        assert_eq!(clinic.post(&consents, &body).await.status, 200);
        clinic.book(&ada).await.id();
    }
    let withdrawn = clinic.request(Method::DELETE, &format!("{consents}/recording"));
    assert_eq!(send(withdrawn).await.status, 200);
    let last = clinic.book(&ada).await;
    let shown = clinic.get(&format!("/v1/trail?limit=1&wait_for={}", last.position())).await;
    assert_eq!(shown.items()[0]["consents"], json!([{ "consent": "research", "version": 1 }]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trail_from_before_tells_it_of_every_entry_once_it_is_migrated() {
    let api = Api::start().await;
    happen(&api).await;
    let before = settled(&api).await;
    let owner = &api.server.system().databases.audit_owner;
    let undone = "
        alter table audit.trail drop column legal_basis, drop column consents, drop column address_index,
            drop column session_id;
        drop table audit.consent_changes;
        delete from _sqlx_migrations where version = 6;
        insert into runtime.checkpoints (projector, version, lane, position) values ('forwarded_trail', 1, 1, 7)";
    owner.execute(sqlx::raw_sql(undone)).await.unwrap();

    // The projector goes on all the while.
    AUDIT_MIGRATIONS.run(owner).await.unwrap();

    until("the trail is as it was", async || (trail(&api).await == before).then_some(())).await;
    assert!(before.iter().any(|entry| entry.contains("recording/2 research/1")), "{before:?}");
    // As if this were a second database, which is entered anew too, and loses nothing of what it said.
    let told = "select (select count(*) from runtime.trail_before_0006), position
                from runtime.checkpoints where projector = 'forwarded_trail'";
    let (kept, reached): (i64, i64) = sqlx::query_as(told).fetch_one(&api.audit).await.unwrap();
    assert_eq!((usize::try_from(kept).unwrap(), reached), (before.len(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_everything_or_of_one_clinic_tells_the_same() {
    let api = Api::start().await;
    happen(&api).await;
    happen(&api).await;
    let before = settled(&api).await;
    let newest =
        "select organization_id, subject_id from audit.consent_changes order by occurred_at desc limit 1";
    let (clinic, ada): (Uuid, Uuid) = sqlx::query_as(newest).fetch_one(&api.audit).await.unwrap();

    for scope in [RebuildScope::Organization(OrganizationId::new(clinic)), RebuildScope::Everything] {
        rebuild_all(api.server.system(), scope).await;
        assert_eq!(trail(&api).await, before, "{scope:?}");
    }
    // What patients agreed to is still known to what follows.
    let again = api.clinic_of(clinic).await;
    let booked = again.book(&ada.to_string()).await;
    let query = format!("/v1/trail?event=appointment.&limit=1&wait_for={}", booked.position());
    let shown = again.get(&query).await;
    assert_eq!(shown.items()[0]["consents"], json!([{ "consent": "research", "version": 1 }]));
}
