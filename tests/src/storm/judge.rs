//! Judges that look from outside: with SQL as the owner, and at what clients and receiver wrote down.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use carelog_server::databases::Databases;
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::child::Acknowledged;

/// A line of the receiver's file.
#[derive(Debug, Deserialize)]
struct Received {
    webhook_id: Uuid,
    event: String,
    sequence: i64,
    verified: bool,
}

/// Every acknowledged command is in the log once, with the version that its client was told.
pub(super) async fn acknowledged(pool: &PgPool, acknowledged: &[Acknowledged]) {
    let rows: Vec<(Uuid, Uuid, i64)> = sqlx::query_as(
        "select correlation_id, stream_id, version from log.events where stream_kind = 'appointment'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut stored = HashMap::<_, u32>::new();
    for (correlation_id, stream_id, version) in rows {
        *stored.entry(Acknowledged { correlation_id, stream_id, version }).or_default() += 1;
    }
    let wrong: Vec<_> =
        acknowledged.iter().filter(|command| stored.get(command).copied() != Some(1)).collect();
    assert!(wrong.is_empty(), "acknowledged but not there once: {wrong:?}");
    let distinct: HashSet<_> = acknowledged.iter().map(|command| command.correlation_id).collect();
    assert_eq!(distinct.len(), acknowledged.len(), "a command was acknowledged twice");
    let commands: HashSet<_> = stored.keys().map(|command| command.correlation_id).collect();
    assert_eq!(commands.len(), stored.len(), "a command left two events");
    println!("{} acknowledged, {} in the log", acknowledged.len(), stored.len());
}

/// Violations of the rules for deliveries, told by SQL that computes them anew from the log.
const DELIVERIES: [(&str, &str); 5] = [
    (
        "one row for each announced event and subscription",
        "select format('%s for %s: %s rows', e.event_id, s.stream_id, count(w.delivery_id))
         from log.events s
         join log.events e on e.organization_id = s.organization_id and e.stream_kind = 'appointment'
             and e.position > s.position
             and convert_from(s.facts, 'UTF8')::jsonb -> 'filter' ?| array['*', e.event_type]
         left join webhooks.webhook_events w
             on w.source_event_id = e.event_id and w.subscription_id = s.stream_id
                and w.organization_id = e.organization_id
         where s.event_type = 'webhook_subscription.created'
         group by e.event_id, s.stream_id
         having count(w.delivery_id) <> 1",
    ),
    (
        "no row without an event that its subscription wants",
        "select format('%s of %s', w.delivery_id, w.source_type)
         from webhooks.webhook_events w
         where not exists (
             select from log.events s
             join log.events e on e.organization_id = s.organization_id and e.stream_kind = 'appointment'
             where s.event_type = 'webhook_subscription.created' and s.stream_id = w.subscription_id
                 and convert_from(s.facts, 'UTF8')::jsonb -> 'filter' ?| array['*', w.source_type]
                 and e.event_id = w.source_event_id and e.organization_id = w.organization_id)",
    ),
    (
        "every delivery has ended, and none but by success or for want of attempts",
        "select format('%s is %s %s after %s attempts', delivery_id, state, reason, attempt_count)
         from webhooks.webhook_events
         where state = 'pending' or (state = 'failed' and (reason, attempt_count) <> ('exhausted', 5))",
    ),
    (
        "attempts are numbered without gap or repetition",
        "select format('%s: numbers %s', stream_id, array_agg(number order by version))
         from (select stream_id, version, (convert_from(facts, 'UTF8')::jsonb ->> 'number')::bigint as number,
                      row_number() over (partition by organization_id, stream_id order by version) as expected
               from log.events
               where event_type = 'webhook_delivery.attempted') attempted
         group by stream_id
         having bool_or(number <> expected)",
    ),
    (
        "nothing is left to do",
        "select format('effect of %s is due at %s', source_event_id, next_at)
         from runtime.effects where next_at is not null",
    ),
];

pub(super) async fn deliveries(pool: &PgPool) {
    let mut violations = Vec::new();
    for (rule, statement) in DELIVERIES {
        let found: Vec<String> = sqlx::query_scalar(statement).fetch_all(pool).await.unwrap();
        violations.extend(found.into_iter().map(|found| format!("{rule}: {found}")));
    }
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// A delivery as the log tells it.
#[derive(Debug)]
struct Told {
    event: String,
    sequence: i64,
    is_delivered: bool,
    /// Attempts that reached the receiver for certain.
    certain: i64,
    /// Attempts that may have reached it.
    unknown: i64,
}

/// The receiver has every delivered one, nothing that the log does not know, and nothing more often than the log
/// can explain.
pub(super) async fn received(pool: &PgPool, file: &Path) {
    let mut received = BTreeMap::<Uuid, Vec<Received>>::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let request: Received = serde_json::from_str(line).unwrap();
        assert!(request.verified, "the signature of {request:?}");
        received.entry(request.webhook_id).or_default().push(request);
    }
    let told = told(pool).await;
    for (id, requests) in &received {
        let delivery = told.get(id).unwrap_or_else(|| panic!("the log does not know {requests:?}"));
        for request in requests {
            assert_eq!((&request.event, request.sequence), (&delivery.event, delivery.sequence), "{id}");
        }
        let count = i64::try_from(requests.len()).unwrap();
        assert!(
            (delivery.certain..=delivery.certain + delivery.unknown).contains(&count),
            "{id} was received {count} times: {delivery:?}"
        );
    }
    let missing: Vec<_> =
        told.iter().filter(|(id, told)| told.is_delivered && !received.contains_key(id)).collect();
    assert!(missing.is_empty(), "delivered but not received: {missing:?}");
    let duplicates: usize = received.values().map(|requests| requests.len() - 1).sum();
    let unknown: i64 = told.values().map(|told| told.unknown).sum();
    println!("{} deliveries, {duplicates} requests more, {unknown} attempts of unknown outcome", told.len());
}

async fn told(pool: &PgPool) -> HashMap<Uuid, Told> {
    let rows: Vec<(Uuid, String, i64, bool, i64, i64)> = sqlx::query_as(
        "select w.delivery_id, w.source_type, w.source_sequence, w.state = 'delivered',
                count(*) filter (where a.outcome in ('success', 'http_status')),
                count(*) filter (where a.outcome not in ('success', 'http_status'))
         from webhooks.webhook_events w
         left join webhooks.webhook_attempts a using (organization_id, delivery_id)
         group by w.organization_id, w.delivery_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(id, event, sequence, is_delivered, certain, unknown)| {
            (id, Told { event, sequence, is_delivered, certain, unknown })
        })
        .collect()
}

/// One entry of the trail for every event.
pub(super) async fn trail(databases: &Databases) {
    let events = "select event_id from log.events order by organization_id, organization_sequence";
    let trail = "select event_id from audit.trail order by organization_id, sequence";
    let events: Vec<Uuid> = sqlx::query_scalar(events).fetch_all(&databases.core_owner).await.unwrap();
    let trail: Vec<Uuid> = sqlx::query_scalar(trail).fetch_all(&databases.audit_owner).await.unwrap();
    assert_eq!(trail, events, "the trail says the same as the log");
}
