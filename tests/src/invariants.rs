//! Judges of the log that share no statement with the code that they judge.

use carelog_event_log::read;
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Every statement gives one text per violation.
const CHECKS: [(&str, &str); 7] = [
    (
        "lanes are gapless and their heads true",
        "select format('lane %s: %s events, %s to %s, head %s', h.lane, count(e.position), min(e.position),
                       max(e.position), h.position)
         from log.lane_heads h
         left join log.events e on e.lane = h.lane
         group by h.lane, h.position
         having count(e.position) <> h.position or coalesce(min(e.position), 1) <> 1
             or coalesce(max(e.position), 0) <> h.position",
    ),
    (
        "organization sequences are gapless and follow the positions",
        "select format('%s at lane %s position %s: sequence %s', organization_id, lane, position,
                       organization_sequence)
         from (select *, row_number() over (partition by organization_id order by position) as true_sequence
               from log.events) e
         where organization_sequence <> true_sequence",
    ),
    (
        "organizations know their lane and sequence",
        "select format('%s: lane %s sequence %s, %s events', o.organization_id, o.lane, o.sequence,
                       count(e.position))
         from log.organizations o
         full join log.events e on e.organization_id = o.organization_id and e.lane = o.lane
         group by o.organization_id, o.lane, o.sequence
         having count(e.position) is distinct from o.sequence",
    ),
    (
        "stream versions are gapless and follow the positions",
        "select format('%s %s at lane %s position %s: version %s', stream_kind, stream_id, lane, position, version)
         from (select *, row_number() over (partition by organization_id, stream_kind, stream_id
                                            order by position) as true_version
               from log.events) e
         where version <> true_version",
    ),
    (
        "stream heads are true",
        "select format('%s %s: head %s (%s to %s), events %s (%s to %s)', coalesce(h.stream_kind, e.stream_kind),
                       coalesce(h.stream_id, e.stream_id), h.version, h.first_position, h.last_position,
                       e.version, e.first_position, e.last_position)
         from log.stream_heads h
         full join (select organization_id, stream_kind, stream_id, max(version) as version,
                           min(position) as first_position, max(position) as last_position
                    from log.events group by 1, 2, 3) e
             using (organization_id, stream_kind, stream_id)
         where (h.version, h.first_position, h.last_position)
             is distinct from (e.version, e.first_position, e.last_position)",
    ),
    (
        "idempotency keys point at their events",
        "select format('key %s: %s of %s events', k.idempotency_key, count(e.position), k.event_count)
         from log.idempotency_keys k
         join log.organizations o using (organization_id)
         left join log.events e
             on e.lane = o.lane and e.organization_id = k.organization_id and e.stream_id = k.stream_id
                and e.stream_kind = k.stream_kind
                and e.version - (k.version - k.event_count) = e.position - k.first_position + 1
                and e.position between k.first_position and k.first_position + k.event_count - 1
         group by k.organization_id, k.idempotency_key, k.event_count
         having count(e.position) <> k.event_count",
    ),
    (
        "event ids are unique",
        "select format('event %s: %s times', event_id, count(*)) from log.events group by event_id
         having count(*) > 1",
    ),
];

/// Judges the whole log; to be called as the superuser while nobody appends.
///
/// # Panics
/// With every violation that was found.
pub async fn check_invariants(superuser: &PgPool) {
    let mut connection = superuser.acquire().await.expect("the database answers");
    let mut violations = Vec::new();
    for (rule, statement) in CHECKS {
        let found: Vec<String> = sqlx::query_scalar(statement)
            .fetch_all(&mut *connection)
            .await
            .expect("the judge's statement holds");
        violations.extend(found.into_iter().map(|found| format!("{rule}: {found}")));
    }
    violations.extend(false_leaves(&mut connection).await);
    assert!(violations.is_empty(), "the log is damaged:\n{}", violations.join("\n"));
}

async fn false_leaves(connection: &mut PgConnection) -> Vec<String> {
    const PAGE: i64 = 5_000;
    let log_name: String = sqlx::query_scalar("select log_name from log.settings")
        .fetch_one(&mut *connection)
        .await
        .expect("it is made");
    let lanes: Vec<i16> = sqlx::query_scalar("select lane from log.lane_heads order by lane")
        .fetch_all(&mut *connection)
        .await
        .expect("there are lanes");
    let mut violations = Vec::new();
    for lane in lanes {
        let mut after = 0;
        loop {
            let page = read::lane(connection, lane, after, PAGE).await.expect("every event parses");
            let Some(last) = page.last() else { break };
            after = last.position;
            let is_false = |event: &&carelog_event_log::RecordedEvent| !event.leaf_is_true(&log_name);
            let named =
                |event: &carelog_event_log::RecordedEvent| format!("leaf of {}/{}", lane, event.position);
            violations.extend(page.iter().filter(is_false).map(named));
        }
    }
    violations
}

/// Tries to change the log through every table that events lie in, as the run-time role, as the owner and as the
/// superuser.
///
/// # Panics
/// When anything was not refused.
pub async fn check_immutable(superuser: &PgPool) {
    let mut connection = superuser.acquire().await.expect("the database answers");
    let tables: Vec<String> = sqlx::query_scalar("select relid::text from pg_partition_tree('log.events')")
        .fetch_all(&mut *connection)
        .await
        .expect("the log is partitioned");
    assert!(tables.len() > 4, "a table, its lanes and their leaves: {tables:?}");
    let mut accepted = Vec::new();
    for (role, code) in [("carelog_system", "42501"), ("carelog_log", "23001"), ("postgres", "23001")] {
        for table in &tables {
            for wish in ["update {} set purpose = 'x'", "delete from {}", "truncate {} cascade"] {
                let statement = wish.replace("{}", table);
                let refused = refusal(&mut connection, role, &statement).await;
                if refused.as_deref() != Some(code) {
                    accepted.push(format!("{role}: {statement}: {refused:?}"));
                }
            }
        }
    }
    assert!(accepted.is_empty(), "not refused, or for another reason:\n{}", accepted.join("\n"));
}

/// The code with which a statement was refused; always rolled back.
async fn refusal(connection: &mut PgConnection, role: &str, statement: &str) -> Option<String> {
    let mut tx = connection.begin().await.expect("a transaction begins");
    // Triggers that are not `always` would stay silent in this mode.
    let setting =
        if role == "postgres" { "set local session_replication_role to replica" } else { "select 1" };
    let prepare = format!("{setting}; set local role {role}");
    tx.execute(sqlx::raw_sql(AssertSqlSafe(prepare))).await.expect("the role is there");
    let outcome = tx.execute(AssertSqlSafe(statement.to_owned())).await;
    tx.rollback().await.expect("a transaction ends");
    outcome.err()?.as_database_error()?.code().map(std::borrow::Cow::into_owned)
}
