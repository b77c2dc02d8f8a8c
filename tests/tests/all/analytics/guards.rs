//! What may stand in analytics at all, and who reaches what.

use carelog_event_log::new_id;
use carelog_tests::Product;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{as_app, live, publish_now};

/// Every column that is made of the classes that there are, and of types that have no room for more.
const WRONG_COLUMNS: &str = r"
    select format('%s.%s %s: %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), d.description)
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_description d on d.objoid = c.oid and d.objsubid = a.attnum
    where c.relnamespace in ('analytics'::regnamespace, 'published'::regnamespace) and c.relkind in ('r', 'v')
        and not coalesce(case substring(d.description from 'Class: ([a-z]+)$')
            when 'organization' then a.attname = 'organization_id' and a.atttypid = 'uuid'::regtype
            when 'pseudonym' then a.atttypid = 'uuid'::regtype
            when 'catalogue' then a.attname in ('exercise_id', 'template_id') and a.atttypid = 'uuid'::regtype
            when 'place' then a.atttypid = 'bigint'::regtype
            when 'time' then a.atttypid in ('timestamptz'::regtype, 'date'::regtype)
            when 'number' then a.atttypid in ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype,
                                              'numeric'::regtype, 'double precision'::regtype)
            when 'flag' then a.atttypid = 'boolean'::regtype
            when 'code' then a.atttypid in ('text'::regtype, 'text[]'::regtype) and exists (
                select from pg_constraint k
                where k.conrelid = c.oid and k.contype = 'c' and k.conkey = array[a.attnum]
                    and (pg_get_constraintdef(k.oid) like '%ARRAY[%' or pg_get_constraintdef(k.oid) like '%~ ''^(%)$''%'))
        end, false)
    union all
    select format('%s has no comment', relname) from pg_class
    where relnamespace in ('analytics'::regnamespace, 'published'::regnamespace) and relkind in ('r', 'v') and obj_description(oid, 'pg_class') is null";

async fn texts(pool: &PgPool, statement: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_has_a_class_that_its_type_keeps_to() {
    let product = Product::start().await;
    let owner = &product.databases().analytics_owner;

    assert_eq!(texts(owner, WRONG_COLUMNS).await, [""; 0]);

    // The check finds what should not be there.
    for (leak, told) in [
        ("alter table analytics.patient_facts add column note text", "patient_facts.note text: "),
        ("alter table analytics.patient_facts add column more jsonb", "patient_facts.more jsonb: "),
        (
            "alter table analytics.form_facts add column name text;
             comment on column analytics.form_facts.name is 'A name. Class: code'",
            "form_facts.name text: A name. Class: code",
        ),
        (
            "create view published.everything as select patient from analytics.patient_facts",
            "everything.patient uuid: ",
        ),
    ] {
        sqlx::raw_sql(AssertSqlSafe(leak.to_owned())).execute(owner).await.unwrap();
        assert!(texts(owner, WRONG_COLUMNS).await.contains(&told.to_owned()), "{leak}");
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_reach_what_they_need_and_nothing_else() {
    let product = Product::start().await;
    let databases = product.databases();
    let rights = "
        select format('%s %s %s', r.rolname, c.relname, p.privilege)
        from pg_roles r
        cross join pg_class c
        cross join (values ('select'), ('insert'), ('update'), ('delete'), ('truncate')) p (privilege)
        where r.rolname in ('carelog_app', 'carelog_analyst', 'carelog_vault', 'carelog_pseudonyms', 'carelog_log')
            and c.relkind in ('r', 'v', 'p') and c.relnamespace::regnamespace::text = any($1)
            and has_table_privilege(r.oid, c.oid, p.privilege)
        order by 1";
    let rights = async |pool: &PgPool, schemas: &[&str]| -> Vec<String> {
        sqlx::query_scalar(rights).bind(schemas).fetch_all(pool).await.unwrap()
    };
    let views = [
        "appointment_patterns",
        "clinic_utilisation",
        "exercise_completion",
        "exercise_streaks",
        "form_turnaround",
        "freshness",
        "video_quality",
        "video_sessions",
    ];
    let of = |role: &str| views.map(|view| format!("{role} {view} select"));

    let found = rights(&databases.analytics_owner, &["analytics", "published", "analytics_access"]).await;
    assert_eq!(found, [of("carelog_analyst"), of("carelog_app")].concat());
    let found = rights(&databases.vault, &["vault"]).await;
    let found: Vec<&String> = found.iter().filter(|right| right.starts_with("carelog_pseudonyms")).collect();
    assert_eq!(
        found,
        ["carelog_pseudonyms pseudonym_keys insert", "carelog_pseudonyms pseudonym_keys select"]
    );
    let found = rights(&databases.vault, &["vault"]).await;
    assert!(!found.iter().any(|right| right.starts_with("carelog_vault pseudonym_keys")), "{found:?}");
    for (schema, pool) in [
        ("log", &databases.core_owner),
        ("records", &databases.core_owner),
        ("audit", &databases.audit_owner),
    ] {
        let found = rights(pool, &[schema]).await;
        let strays = ["carelog_analyst", "carelog_pseudonyms"];
        assert!(
            !found.iter().any(|right| strays.iter().any(|role| right.starts_with(role))),
            "{schema}: {found:?}"
        );
    }
    // A rebuild gives the same rights.
    product.clinic().await;
    product.settled().await;
    let schemas = ["analytics", "published", "analytics_access"];
    let before = rights(&databases.analytics_owner, &schemas).await;
    super::rebuild_analytics(&product, carelog_event_log::runtime::RebuildScope::Everything).await;
    assert_eq!(rights(&databases.analytics_owner, &schemas).await, before);
    product.stop().await;
}

/// What a statement gives to a session of this role, or the code with which it is refused.
async fn ask(pool: &PgPool, role: &str, setting: Uuid, statement: &str) -> Result<i64, String> {
    let mut session = pool.acquire().await.unwrap();
    session.close_on_drop();
    let sign_in = format!("set session authorization {role}; set carelog.organization_id = '{setting}'");
    sqlx::raw_sql(AssertSqlSafe(sign_in)).execute(&mut *session).await.unwrap();
    let answer = sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_one(&mut *session).await;
    answer.map_err(|error| match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        other => panic!("{statement}: {other}"),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_sees_its_own_organization_whatever_it_sets() {
    let product = Product::start().await;
    let ((one, key), (other, other_key)) = (product.clinic().await, product.clinic().await);
    live(&product, &key, new_id()).await;
    live(&product, &other_key, new_id()).await;
    product.settled().await;
    publish_now(&product, one).await;
    publish_now(&product, other).await;
    let owner = &product.databases().analytics_owner;
    let suffix = new_id().simple().to_string();
    // A login is bound whatever it is called.
    let (bound, unbound) = (format!("maria_{suffix}"), format!("carelog_analyst_b{suffix}"));
    let statements = format!(
        "create role {bound} nologin in role carelog_analyst; create role {unbound} nologin in role carelog_analyst;
         insert into analytics_access.logins (role_name, organization_id) values ('{bound}', '{one}')"
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(owner).await.unwrap();

    let of = |organization_id| {
        format!(
            "select count(*) from published.appointment_patterns where organization_id = '{organization_id}'"
        )
    };
    for setting in [one.uuid(), other.uuid()] {
        assert!(ask(owner, &bound, setting, &of(one)).await.unwrap() > 0, "its own");
        assert_eq!(ask(owner, &bound, setting, &of(other)).await, Ok(0), "another's");
        assert_eq!(ask(owner, &unbound, setting, "select count(*) from published.freshness").await, Ok(0));
    }
    for statement in [
        "select count(*) from analytics.appointment_facts",
        "explain analyze select count(*) from analytics.appointment_facts",
        "select count(*) from published.progress",
        "select count(*) from analytics_access.logins",
        "select count(*) from runtime.checkpoints",
        "update published.freshness set small_cell_threshold = 1 returning 1::bigint",
        "delete from analytics.patient_facts returning 1::bigint",
    ] {
        assert_eq!(ask(owner, &bound, other.uuid(), statement).await, Err("42501".to_owned()), "{statement}");
    }
    let mut tx = as_app(&product, one).await;
    let seen: Vec<Uuid> = sqlx::query_scalar("select distinct organization_id from published.freshness")
        .fetch_all(&mut *tx)
        .await
        .unwrap();
    assert_eq!(seen, [one.uuid()]);
    drop(tx);
    let drop = format!("drop role {bound}; drop role {unbound}");
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(owner).await.unwrap();
    product.stop().await;
}
