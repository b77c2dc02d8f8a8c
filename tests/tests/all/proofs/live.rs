//! `carelog audit verify --live` beside a running server: what somebody with every right changed is found and named.

use carelog_audit::proof::leaf_hash;
use carelog_domain::OrganizationId;
use carelog_tests::Api;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor, PgPool};

use super::bundles::Audit;
use super::damage::UNGUARD;
use super::{checkpoint, signing_api};

/// The sequence of the event that is damaged.
const PLACE: i64 = 20;

impl Audit<'_> {
    /// Exit code and verdict.
    fn verify_live(&self, more: &[&str]) -> (i32, Value) {
        let output = self
            .beside_the_server()
            .args(["audit", "verify", "--live", "--json", "--allow-unsealed", "--policy", "policy"])
            .args(more)
            .output()
            .unwrap();
        let code = output.status.code().unwrap();
        (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")))
    }

    pub(super) fn verify_own(&self, more: &[&str]) -> (i32, Value) {
        let id = self.clinic.id.to_string();
        self.verify_live(&[&["--organization", &id], more].concat())
    }
}

async fn sql(pool: &PgPool, statement: String) {
    pool.execute(AssertSqlSafe(statement)).await.unwrap();
}

fn is_at_place(clinic: OrganizationId) -> String {
    format!("organization_id = '{clinic}' and organization_sequence = {PLACE}")
}

/// Puts another value into an event and computes its leaf hash, as whoever knows the product could; gives the new leaf.
async fn forge(api: &Api, clinic: OrganizationId) -> String {
    let log = &api.server.system().log;
    let mut event = log.organization(clinic, PLACE - 1, 1).await.unwrap().remove(0);
    event.version += 1_000;
    let leaf = hex::encode(leaf_hash(&event.leaf_data(log.name())).0);
    let change = format!(
        "update log.events set version = version + 1000, leaf_hash = '\\x{leaf}' where {}",
        is_at_place(clinic)
    );
    sql(&api.core, change).await;
    leaf
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_system_is_verified_without_a_trace() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let (earlier, origin, size, _) = checkpoint(&audit.clinic, 260).await;
    audit.write("earlier", &earlier);
    // Other events go on by themselves.
    let accesses = async || -> i64 {
        let statement = "select count(*) from log.events where event_type like 'access.%'";
        sqlx::query_scalar(statement).fetch_one(&api.core).await.unwrap()
    };
    let before = accesses().await;

    let (code, verdict) = audit.verify_own(&["--since", "earlier"]);

    assert_eq!(code, 0, "{verdict}");
    let report = &verdict["report"];
    assert_eq!((&report["origin"], &report["continues"]), (&origin.into(), &size.into()));
    assert!(report["event_count"].as_u64().unwrap() >= size);
    assert_eq!(accesses().await, before);

    let (code, verdict) = audit.verify_live(&["--organization", "0197a000-0000-7000-8000-00000000dead"]);
    assert_eq!((code, &verdict["damage"]), (1, &Value::Null));
    audit.write(
        "policy",
        "log audit.example/clinic-7+90453f4a+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\nquorum none\n",
    );
    let (code, verdict) = audit.verify_own(&[]);
    assert_eq!((code, &verdict["damage"]), (13, &"unknown_key".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damage_to_a_running_system_is_found_and_named() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    checkpoint(&audit.clinic, 260).await;
    let clinic = OrganizationId::new(audit.clinic.id);
    let place = is_at_place(clinic);
    let core = &api.core;
    core.execute(sqlx::raw_sql(UNGUARD)).await.unwrap();
    sql(core, "create table public.kept as select * from log.events".to_owned()).await;
    let event: String =
        sqlx::query_scalar(AssertSqlSafe(format!("select event_id::text from log.events where {place}")))
            .fetch_one(core)
            .await
            .unwrap();
    for (change, damage, code, named) in [
        (
            format!("update log.events set facts = set_byte(facts, 1, 65) where {place}"),
            "leaf_mismatch",
            19,
            &*event,
        ),
        (
            format!("update log.events set actor_id = gen_random_uuid() where {place}"),
            "leaf_mismatch",
            19,
            &event,
        ),
        (
            format!("update log.events set recorded_at = recorded_at - interval '1 day' where {place}"),
            "leaf_mismatch",
            19,
            &event,
        ),
        (
            format!("update log.events set event_type = 'no.such' where {place}"),
            "leaf_mismatch",
            19,
            "event_type",
        ),
        (
            format!("update log.events set subject_id = gen_random_uuid() where {place}"),
            "leaf_mismatch",
            19,
            &event,
        ),
        (format!("delete from log.events where {place}"), "incomplete", 11, "index 19"),
    ] {
        sql(core, change.clone()).await;
        let (found, verdict) = audit.verify_own(&[]);
        assert_eq!((found, verdict["damage"].as_str()), (code, Some(damage)), "{change}: {verdict}");
        assert!(verdict["detail"].as_str().unwrap().contains(named), "{change}: {verdict}");
        sql(core, format!("delete from log.events where {place}")).await;
        sql(core, format!("insert into log.events select * from public.kept where {place}")).await;
        assert_eq!(audit.verify_own(&[]).0, 0, "{change} was taken back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_event_is_found_however_much_was_forged_with_it() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    checkpoint(&audit.clinic, 260).await;
    let clinic = OrganizationId::new(audit.clinic.id);
    let trees = &api.server.system().databases.audit_owner;
    api.core.execute(sqlx::raw_sql(UNGUARD)).await.unwrap();
    let tile = format!("organization_id = '{clinic}' and level = 0 and n = 0");

    let leaf = forge(&api, clinic).await;
    let (code, verdict) = audit.verify_own(&[]);
    assert_eq!((code, &verdict["damage"]), (19, &"leaf_mismatch".into()));
    assert!(verdict["detail"].as_str().unwrap().contains("index 19"), "{verdict}");

    let at = (PLACE - 1) * 32 + 1;
    sql(trees, format!("create table public.kept as select * from proof.tree_tiles where {tile}")).await;
    let forged = format!("overlay(hashes placing '\\x{leaf}'::bytea from {at} for 32)");
    sql(trees, format!("update proof.tree_tiles set hashes = {forged} where {tile}")).await;
    let (code, verdict) = audit.verify_own(&[]);
    assert_eq!((code, &verdict["damage"]), (21, &"not_included".into()), "{verdict}");

    let back = format!(
        "update log.events e set version = version - 1000,
             leaf_hash = (select substr(hashes, {at}, 32) from unnest(array[$1::bytea]) as hashes)
         where {}",
        is_at_place(clinic)
    );
    let kept: Vec<u8> = sqlx::query_scalar("select hashes from public.kept").fetch_one(trees).await.unwrap();
    sqlx::query(AssertSqlSafe(back)).bind(kept).execute(&api.core).await.unwrap();
    let (code, verdict) = audit.verify_own(&[]);
    assert_eq!((code, &verdict["damage"]), (20, &"tile_mismatch".into()), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_of_the_trail_is_the_one_that_its_event_makes() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    checkpoint(&audit.clinic, 260).await;
    let clinic = OrganizationId::new(audit.clinic.id);
    let trail = &api.server.system().databases.audit_owner;
    let entry = format!("organization_id = '{clinic}' and sequence = {PLACE}");
    sql(trail, "create table public.kept as select * from audit.trail".to_owned()).await;
    assert_eq!(audit.verify_own(&[]).0, 0);

    for (column, change) in [
        ("event", "event_id = gen_random_uuid()"),
        ("event", "event_type = 'patient.erased'"),
        ("place", "position = position + 1000"),
        ("time", "occurred_at = occurred_at - interval '1 day'"),
        ("time", "recorded_at = recorded_at - interval '1 day'"),
        ("actor", "actor_id = gen_random_uuid()"),
        ("actor", "actor_role = 'analyst'"),
        ("actor", "actor_on_behalf_of = gen_random_uuid()"),
        ("purpose", "purpose = 'treatment'"),
        ("cause", "correlation_id = gen_random_uuid()"),
        ("cause", "causation_id = gen_random_uuid()"),
        ("cause", "request_id = gen_random_uuid()"),
        ("origin", "origin = 'imported'"),
        ("action", "action = 'delete'"),
        ("outcome", "outcome = 'failure'"),
        ("target", "target_kind = 'file'"),
        ("target", "target_id = gen_random_uuid()"),
        ("patient", "subject_id = gen_random_uuid()"),
        ("legal basis", "legal_basis = 'vital_interests'"),
        ("consents", "consents = 'recording/9'"),
    ] {
        sql(trail, format!("update audit.trail set {change} where {entry}")).await;
        let (code, verdict) = audit.verify_own(&[]);
        assert_eq!((code, &verdict["damage"]), (25, &"trail_mismatch".into()), "{change}: {verdict}");
        let named = format!("entry {PLACE} of the trail has another {column}");
        assert!(verdict["detail"].as_str().unwrap().contains(&named), "{change}: {verdict}");
        sql(trail, format!("delete from audit.trail where {entry}")).await;
        sql(trail, format!("insert into audit.trail select * from public.kept where {entry}")).await;
    }
    let columns = "select column_name::text from information_schema.columns
                   where table_schema = 'audit' and table_name = 'trail' and column_name <> all ($1)";
    // Where a request came from takes a key to tell, and this asks for none.
    let places = vec!["organization_id", "sequence", "lane", "actor_kind", "address_index", "session_id"];
    let others: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from ({columns}) as c")))
        .bind(places)
        .fetch_one(trail)
        .await
        .unwrap();
    assert_eq!(others, 20, "each column was changed once, or names its place");

    sql(trail, format!("delete from audit.trail where {entry}")).await;
    let (code, verdict) = audit.verify_own(&[]);
    assert_eq!((code, &verdict["damage"]), (25, &"trail_mismatch".into()), "{verdict}");
    sql(trail, format!("insert into audit.trail select * from public.kept where {entry}")).await;
    assert_eq!(audit.verify_own(&[]).0, 0);
    let too_many = format!(
        "create table public.more as select * from public.kept where {entry};
         update public.more set sequence = 1000000, event_id = gen_random_uuid();
         insert into audit.trail select * from public.more"
    );
    trail.execute(sqlx::raw_sql(AssertSqlSafe(too_many))).await.unwrap();
    let (code, verdict) = audit.verify_own(&[]);
    assert_eq!((code, &verdict["damage"]), (25, &"trail_mismatch".into()), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_took_the_place_of_another_is_found() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    checkpoint(&audit.clinic, 260).await;
    // Whoever has every right, which the product's own role has not.
    let mut vault = api.server.system().databases.vault.acquire().await.unwrap();
    vault.execute("set role none").await.unwrap();
    vault.execute("alter table vault.data_keys disable trigger all").await.unwrap();
    let turned = format!(
        "update vault.data_keys set key_commit = set_byte(key_commit, 0, 255 - get_byte(key_commit, 0))
         where organization_id = '{}' and destroyed_at is null and subject_id is not null",
        audit.clinic.id
    );
    let mut turn = async || vault.execute(AssertSqlSafe(turned.clone())).await.unwrap().rows_affected();

    assert!(turn().await > 0);
    let (code, verdict) = audit.verify_own(&[]);
    assert_eq!((code, &verdict["damage"]), (26, &"key_mismatch".into()), "{verdict}");
    turn().await;
    assert_eq!(audit.verify_own(&[]).0, 0);
}
