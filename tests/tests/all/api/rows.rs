//! The role that answers requests, let loose on the databases with SQL of its own.

use carelog_tests::Api;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// Tables and views with a column for the organization, whoever may reach them.
const TABLES: &str = "select format('%I.%I', c.table_schema, c.table_name)
    from information_schema.columns c
    where c.column_name = 'organization_id' and c.table_schema not in ('pg_catalog', 'information_schema')
    order by 1";

/// What came of a statement of the role: a count, or nothing where it may not even ask.
async fn ask(pool: &PgPool, organization: Option<Uuid>, statement: &str) -> Option<i64> {
    let mut tx = pool.begin().await.unwrap();
    if let Some(organization) = organization {
        let setting = format!("set local carelog.organization_id = '{organization}'");
        sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *tx).await.unwrap();
    }
    match sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_one(&mut *tx).await {
        Ok(count) => Some(count),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42501") => None,
        Err(error) => panic!("{statement}: {error}"),
    }
}

/// The statement must be refused for want of permission.
async fn forbidden(pool: &PgPool, organization: Uuid, statement: String) {
    let mut tx = pool.begin().await.unwrap();
    let setting = format!("set local carelog.organization_id = '{organization}'");
    sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut *tx).await.unwrap();
    let refused = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *tx).await;
    let code = match &refused {
        Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
        other => panic!("{statement}: {other:?}"),
    };
    assert_eq!(code, "42501", "{statement}: {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_answers_sees_one_organization_and_changes_nothing() {
    let api = Api::start_with(|config| config.webhooks.allow_loopback = true).await;
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    for clinic in [&clinic, &other] {
        let subscribe = json!({ "url": "https://127.0.0.1:9/hook" });
        clinic.post("/v1/webhook-subscriptions", &subscribe).await.id();
        let patient = clinic.patient("Ada").await.id().to_owned();
        clinic
            .post(
                &format!("/v1/patients/{patient}/consents"),
                &json!({ "consent": "treatment", "version": 1 }),
            )
            .await
            .id();
        let member = json!({ "role": "admin", "name": "Grace", "email": "grace@example.org" });
        clinic.post("/v1/members", &member).await.id();
        let specialist = json!({ "profession": "nurse", "name": "Grace", "email": "grace@example.org" });
        clinic.post("/v1/specialists", &specialist).await.id();
        clinic.form(&patient).await.id();
        let booked = clinic.book(&patient).await;
        let wait = format!("wait_for={}", booked.position());
        clinic.get(&format!("/v1/appointments?{wait}")).await.items();
        clinic.get(&format!("/v1/trail?{wait}")).await.items();
        clinic.get(&format!("/v1/webhook-subscriptions?{wait}")).await.items();
    }

    let databases = &api.server.system().databases;
    let mut readable = Vec::new();
    for (superuser, app) in [(&api.core, &databases.core_app), (&api.audit, &databases.audit_app)] {
        let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(superuser).await.unwrap();
        assert!(!tables.is_empty());
        for table in tables {
            let foreign = format!("select count(*) from {table} where organization_id <> '{}'", clinic.id);
            let all = format!("select count(*) from {table}");
            let there: i64 =
                sqlx::query_scalar(AssertSqlSafe(foreign.clone())).fetch_one(superuser).await.unwrap();
            let seen = ask(app, Some(clinic.id), &foreign).await;
            assert!(seen.is_none_or(|count| count == 0), "{table} shows {seen:?} foreign rows of {there}");
            let unset = ask(app, None, &all).await;
            assert!(unset.is_none_or(|count| count == 0), "{table} shows {unset:?} rows without a setting");
            let own = ask(app, Some(clinic.id), &all).await;
            if own.is_some_and(|own| own > 0) && there > 0 {
                readable.push(table.clone());
            }
            forbidden(app, clinic.id, format!("insert into {table} default values")).await;
            forbidden(app, clinic.id, format!("update {table} set organization_id = organization_id")).await;
            forbidden(app, clinic.id, format!("delete from {table}")).await;
        }
    }
    for table in
        ["log.events", "records.patients", "records.appointments", "records.forms", "records.api_keys"]
    {
        assert!(readable.iter().any(|readable| readable == table), "{table} proves something: {readable:?}");
    }
    assert!(readable.iter().any(|table| table.starts_with("audit.")), "{readable:?}");
    assert!(readable.iter().any(|table| table.ends_with("webhook_events")), "{readable:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_organizations_is_guarded_row_by_row() {
    let api = Api::start().await;
    // A partition is reached through its parent, whose guard then holds; nobody but its owner may go past it.
    let unguarded = "select format('%I.%I (%s)', n.nspname, c.relname, c.relkind)
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'organization_id' and not a.attisdropped
        where c.relkind in ('r', 'p') and n.nspname not like 'pg\\_%'
            and not (c.relrowsecurity and c.relforcerowsecurity)
            and not (c.relispartition
                     and not has_table_privilege('carelog_app', c.oid, 'select, insert, update, delete, truncate'))
        order by 1";
    let guarded = "select count(*) from pg_class where relkind in ('r', 'p') and relrowsecurity and relforcerowsecurity";
    for pool in [&api.core, &api.audit] {
        let unguarded: Vec<String> = sqlx::query_scalar(unguarded).fetch_all(pool).await.unwrap();
        assert_eq!(unguarded, Vec::<String>::new());
        assert!(sqlx::query_scalar::<_, i64>(guarded).fetch_one(pool).await.unwrap() > 0);
    }
}
