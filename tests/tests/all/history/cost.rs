//! No question reads a clinic's whole trail.

use carelog_audit::{Action, AddressIndex, Order, Outcome, Period, Topic, TrailFilter, TrailPage, queries};
use carelog_domain::{CorrelationId, OrganizationId, PatientId, PurposeOfUse, Timestamp};
use carelog_tests::Api;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

const ENTRIES: i64 = 30_000;
/// Entries that a question may read for a page and its total together: those that it finds, and others of the same patient,
/// actor or purpose.
const READ_AT_MOST: i64 = ENTRIES / 10;

const CLINIC: Uuid = Uuid::from_u128(0xc11);

const fn id(kind: u128, number: u128) -> Uuid {
    Uuid::from_u128((kind << 64) + number)
}

/// A long trail: a hundred patients and keys, much reading and changing, and a little of everything else.
async fn fill(connection: &mut PgConnection) {
    let fill = format!(
        "
        insert into audit.trail (
            organization_id, sequence, position, occurred_at, recorded_at, event_id, correlation_id, causation_id,
            subject_id, actor_id, actor_on_behalf_of, target_id, lane, event_type, action, outcome, actor_kind,
            actor_role, target_kind, purpose, origin, legal_basis, consents, address_index)
        select '{CLINIC}', n, n, at, at, ('{event}'::text || lpad(to_hex(n), 12, '0'))::uuid,
            ('{wish}'::text || lpad(to_hex(n / 3), 12, '0'))::uuid,
            case when n % 100 = 7 then ('{event}'::text || lpad(to_hex(n - 1), 12, '0'))::uuid end,
            case when n % 100 <> 7 then ('{patient}'::text || lpad(to_hex(n % 101), 12, '0'))::uuid end,
            ('{actor}'::text || lpad(to_hex(n % 103), 12, '0'))::uuid,
            case when n % 200 = 3 then ('{actor}'::text || lpad(to_hex(1), 12, '0'))::uuid end,
            ('{target}'::text || lpad(to_hex(n % 997), 12, '0'))::uuid, 1,
            case when n % 100 = 7 then 'webhook_delivery.delivered' when n % 500 = 9 then 'access.access_denied'
                when n % 1000 = 11 then 'patient.erased' when n % 300 = 13 then 'access.trail_queried'
                when n % 2 = 0 then 'access.record_viewed' else 'appointment.confirmed' end,
            case when n % 1000 = 11 then 'delete' when n % 2 = 0 then 'read' else 'update' end,
            case when n % 500 = 9 then 'failure' else 'success' end, 'api_key', 'admin',
            case when n % 100 = 7 then 'webhook_delivery' else 'patient' end,
            case when n % 700 = 5 then 'emergency' when n % 50 = 4 then 'treatment' end, 'live', 'contract', '',
            decode(lpad(to_hex(n % 107), 32, '0'), 'hex')
        from (
            select n, '2026-01-01Z'::timestamptz + n * interval '1 second' as at
            from generate_series(1, {ENTRIES}) as n
        ) as numbered
        ",
        event = prefix(1),
        wish = prefix(2),
        patient = prefix(3),
        actor = prefix(4),
        target = prefix(5),
    );
    sqlx::query(AssertSqlSafe(fill)).execute(&mut *connection).await.unwrap();
    sqlx::query("analyze audit.trail").execute(connection).await.unwrap();
}

/// All of an id but the last twelve digits.
fn prefix(kind: u128) -> String {
    id(kind, 0).to_string()[..24].to_owned()
}

fn questions() -> Vec<(&'static str, TrailFilter)> {
    let any = TrailFilter::default;
    let patient = Some(PatientId::new(id(3, 5)));
    let second = |second: i64| {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap().saturating_add_micros(second * 1_000_000)
    };
    let period = Period { from: second(100), before: Some(second(20_000)) };
    vec![
        ("who saw", TrailFilter { subject_id: patient, topic: Some(Topic::Access), ..any() }),
        (
            "who did what in a window",
            TrailFilter {
                actor_id: Some(id(4, 5)),
                occurred_from: Some(second(5_000)),
                occurred_before: Some(second(9_000)),
                ..any()
            },
        ),
        ("why", TrailFilter { subject_id: patient, purpose: Some(PurposeOfUse::Treatment), ..any() }),
        ("on whose behalf", TrailFilter { on_behalf_of: Some(id(4, 1)), ..any() }),
        ("done to a record", TrailFilter { target_id: Some(id(5, 5)), ..any() }),
        (
            "without consent",
            TrailFilter {
                subject_id: patient,
                topic: Some(Topic::Access),
                outside: Some(vec![period]),
                ..any()
            },
        ),
        ("break-glass", TrailFilter { purpose: Some(PurposeOfUse::Emergency), ..any() }),
        ("refused", TrailFilter { topic: Some(Topic::Denial), ..any() }),
        ("failed", TrailFilter { outcome: Some(Outcome::Failure), ..any() }),
        ("deleted", TrailFilter { action: Some(Action::Delete), ..any() }),
        ("erased", TrailFilter { topic: Some(Topic::Erasure), ..any() }),
        ("oversight", TrailFilter { topic: Some(Topic::Oversight), ..any() }),
        ("consent", TrailFilter { topic: Some(Topic::Consent), ..any() }),
        ("part of a wish", TrailFilter { correlation_id: Some(CorrelationId::new(id(2, 900))), ..any() }),
        (
            "in a minute",
            TrailFilter { occurred_from: Some(second(5_000)), occurred_before: Some(second(5_060)), ..any() },
        ),
    ]
}

/// How many rows of the trail this connection has read of late: in order of the table, and by indexes. The counts of earlier
/// transactions may be among them, and stay as long as a transaction lasts.
async fn rows_read(connection: &mut PgConnection) -> (i64, i64) {
    let read = "select coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0)
                from pg_stat_xact_user_tables where schemaname = 'audit' and relname = 'trail'";
    sqlx::query_as(read).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_question_reads_or_sorts_a_clinics_whole_trail() {
    let api = Api::start().await;
    let clinic = OrganizationId::new(CLINIC);
    let mut connection = api.audit.acquire().await.unwrap();
    fill(&mut connection).await;
    sqlx::query("set search_path to audit, public").execute(&mut *connection).await.unwrap();
    let page = TrailPage { order: Order::NewestFirst, after: None, limit: 50 };
    let vault = api.server.system().log.vault();
    let address = AddressIndex::find(vault, clinic, [203, 0, 113, 7].into()).await.unwrap();
    let of_address = "update audit.trail set address_index = $1 where sequence % 107 = 5";
    sqlx::query(of_address).bind(address.bytes()).execute(&mut *connection).await.unwrap();
    let from_address = TrailFilter { address: Some(address), ..TrailFilter::default() };

    for (question, filter) in questions().into_iter().chain([("from an address", from_address)]) {
        sqlx::query("begin").execute(&mut *connection).await.unwrap();
        let before = rows_read(&mut connection).await;
        let found = queries::list_entries(&mut connection, clinic, &filter, page).await.unwrap();
        let count =
            queries::count_entries(&mut connection, clinic, &filter, ENTRIES, i64::MAX).await.unwrap();
        let after = rows_read(&mut connection).await;
        let (in_order, by_index) = (after.0 - before.0, after.1 - before.1);
        sqlx::query("commit").execute(&mut *connection).await.unwrap();
        println!("{question}: {} of {count} found, {by_index} rows read", found.len());
        assert!(question == "consent" || count > 0, "{question} finds nothing");
        assert!(in_order == 0 && by_index <= READ_AT_MOST, "{question}: {in_order} and {by_index} rows");
    }

    sqlx::query("begin").execute(&mut *connection).await.unwrap();
    let before = rows_read(&mut connection).await;
    let filter = TrailFilter { actor_id: Some(id(4, 5)), ..TrailFilter::default() };
    let reached = queries::list_subjects(&mut connection, clinic, &filter, Uuid::nil(), 50).await.unwrap();
    let patient = PatientId::new(id(3, 6));
    let sent = queries::deliveries_about(&mut connection, clinic, patient, (i64::MAX, Uuid::max()), 50)
        .await
        .unwrap();
    let tried = queries::attempts_about(&mut connection, clinic, patient, 0, 50).await.unwrap();
    let newest = queries::newest_sequence(&mut connection, clinic).await.unwrap();
    let after = rows_read(&mut connection).await;
    let (in_order, by_index) = (after.0 - before.0, after.1 - before.1);
    sqlx::query("commit").execute(&mut *connection).await.unwrap();
    println!("reach and deliveries: {by_index} rows read");
    assert!(!reached.is_empty() && !sent.is_empty() && tried.is_empty() && newest == ENTRIES);
    assert!(in_order == 0 && by_index <= 2 * READ_AT_MOST, "{in_order} and {by_index} rows");
}
