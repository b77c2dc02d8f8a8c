//! A practice's history is brought in whole, once, whatever happens meanwhile, and told to partners only on request.
//!
//! The input is the file with real appointments beside the checkout (`../shared/data`); where it is absent, a generated
//! one of the same shape. Either is counted here once more, with nothing but a CSV reader, to compare with. The
//! ordinary run takes the first rows; `CARELOG_FULL_IMPORT=1` takes all.

pub(super) mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use carelog_domain::EventType;
use carelog_embedded::receiver::{Receiver, ReceiverOptions};
use carelog_event_log::{Clock, SystemClock};
use carelog_server::databases::DatabaseOptions;
use carelog_server::import::{self, ColumnMap, ImportOptions, ImportSummary, Mapping, Source};
use carelog_server::system::System;
use carelog_tests::{Api, ProductDatabases, Random, check_invariants, until};
use csv::StringRecord;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::sample::{Recount, Sample, beginning, is_impossible, recount, sample, write_csv};

const COLUMNS: [&str; 7] = [
    "patient=PatientId",
    "appointment=AppointmentID",
    "clinic=Neighbourhood",
    "booked_at=ScheduledDay",
    "starts_at=AppointmentDay",
    "reminder=SMS_received",
    "no_show=No_show",
];
const WORK: &str = "CARELOG_TEST_IMPORT";
const IMPORTED: &str = "select count(*) from log.events where actor_kind = 'import'";

/// Whether the run takes all rows.
fn is_full(sample: &Sample) -> bool {
    sample.is_real && std::env::var("CARELOG_FULL_IMPORT").is_ok_and(|value| value == "1")
}

/// What a child is to do.
#[derive(Serialize, Deserialize)]
struct Work {
    urls: [String; 4],
    directory: PathBuf,
    csv: PathBuf,
}

pub(super) async fn open(options: &DatabaseOptions, directory: &Path) -> System {
    System::open_migrated(options, &directory.join("root.key"), Arc::new(SystemClock)).await.unwrap()
}

pub(super) async fn import(system: &System, csv: &Path, notify: bool) -> ImportSummary {
    let columns: Vec<Mapping> = COLUMNS.iter().map(|column| column.parse().unwrap()).collect();
    let options = ImportOptions {
        source: Source::File(csv.to_path_buf()),
        columns: ColumnMap::new(columns).unwrap(),
        time_zone: "America/Sao_Paulo".to_owned(),
        notify,
        rejects: csv.with_extension("rejects.csv"),
        concurrency: 128.try_into().unwrap(),
        stop: CancellationToken::new(),
    };
    import::run(system, options, |_| ()).await.unwrap()
}

pub(super) fn superuser(databases: &ProductDatabases) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect_lazy_with(databases.options.core.clone())
}

async fn imported(owner: &PgPool) -> i64 {
    sqlx::query_scalar(IMPORTED).fetch_one(owner).await.unwrap()
}

/// The log holds what the rows amount to, and nothing else.
async fn assert_holds(owner: &PgPool, expected: &Recount) {
    let by_type = "select event_type, count(*) from log.events group by event_type";
    let stored: Vec<(String, i64)> = sqlx::query_as(by_type).fetch_all(owner).await.unwrap();
    let stored: BTreeMap<String, u64> =
        stored.into_iter().map(|(name, count)| (name, u64::try_from(count).unwrap())).collect();
    assert_eq!(stored, expected.events);
    check_invariants(owner).await;
}

fn assert_tells(summary: &ImportSummary, expected: &Recount, rows: usize) {
    let events: BTreeMap<String, u64> =
        summary.events.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(events, expected.events);
    assert!(summary.complete);
    assert_eq!((summary.rows, summary.rejected), (rows as u64, expected.rejected));
    assert_eq!(summary.organizations, expected.clinics);
    assert_eq!(summary.appointments, expected.events["appointment.booked"]);
}

/// How often the trail has each action, once it has caught up.
async fn trail_of(system: &System) -> BTreeMap<String, i64> {
    let audit = Arc::new(carelog_audit::Audit::new(&system.log));
    for lane in system.log.lanes() {
        let pool = system.databases.audit_system.clone();
        system.runtime.unit(Arc::clone(&audit), None, pool, lane).run_to_head().await.unwrap();
    }
    let counts = "select action, count(*) from audit.trail group by action";
    let counts: Vec<(String, i64)> =
        sqlx::query_as(counts).fetch_all(&system.databases.audit_owner).await.unwrap();
    counts.into_iter().collect()
}

/// What an import does: it makes clinics, patients and appointments, and tells what became of these.
fn expected_trail(expected: &Recount) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for (event, count) in &expected.events {
        let action = match event.as_str() {
            "organization.registered" | "patient.registered" | "appointment.booked" => "create",
            "appointment.confirmed"
            | "appointment.onboarded"
            | "appointment.completed"
            | "appointment.no_show" => "update",
            other => panic!("an import writes no {other}"),
        };
        *counts.entry(action.to_owned()).or_default() += i64::try_from(*count).unwrap();
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_brought_in_whole_and_a_second_time_adds_nothing() {
    let sample = sample();
    let rows = if is_full(&sample) { sample.rows.clone() } else { beginning(&sample) };
    let (databases, directory) = (ProductDatabases::new().await, TempDir::new().unwrap());
    let (owner, expected) = (superuser(&databases), recount(&rows));
    let csv = write_csv(directory.path(), "history.csv", &rows);
    let system = open(&databases.options, directory.path()).await;

    let first = import(&system, &csv, false).await;
    println!("{first}");
    assert_holds(&owner, &expected).await;
    assert_tells(&first, &expected, rows.len());
    assert_eq!((first.already_imported, &first.new_events), (0, &first.events));
    if is_full(&sample) {
        assert_eq!((first.organizations, first.appointments, first.rejected), (79, 39_595, 1));
    }
    let mut rejects = csv::Reader::from_path(first.rejects.as_ref().unwrap()).unwrap();
    let rejects: Vec<StringRecord> = rejects.records().collect::<Result<_, _>>().unwrap();
    let impossible = rows.iter().position(is_impossible).unwrap();
    assert_eq!(rejects.len(), 1);
    // The first line has the names of the columns.
    assert_eq!(
        (&rejects[0][0], &rejects[0][1]),
        ((impossible + 2).to_string().as_str(), "starts_before_booking")
    );
    assert!(rejects[0][2].contains("before"), "{rejects:?}");
    assert!(rejects[0].iter().skip(3).eq(rows[impossible].iter()), "the row stands there as it was");

    assert_eq!(trail_of(&system).await, expected_trail(&expected), "the trail has each of them once");

    let again = import(&system, &csv, false).await;
    assert_holds(&owner, &expected).await;
    assert_tells(&again, &expected, rows.len());
    assert_eq!((again.already_imported, again.new_events.len()), (first.appointments, 0));
    system.stop().await;
}

/// A child's whole life; without a description of work in the environment it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(work) = std::env::var(WORK) else { return };
    let work: Work = serde_json::from_str(&work).unwrap();
    let [core, audit, analytics, vault] = work.urls.map(|url| url.parse().unwrap());
    let system = open(&DatabaseOptions { core, audit, analytics, vault }, &work.directory).await;
    import(&system, &work.csv, false).await;
    system.stop().await;
}

fn start_child(work: &Work) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "import::child", "--nocapture", "--test-threads=1"])
        .env(WORK, serde_json::to_string(work).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the dead had under way may still commit.
async fn sessions_ended(owner: &PgPool) {
    until("the sessions of the dead end", async || {
        let statement = "select count(*) from pg_stat_activity
                         where datname = current_database() and application_name = 'carelog'";
        let left: i64 = sqlx::query_scalar(statement).fetch_one(owner).await.ok()?;
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_again_and_again_ends_with_the_same_log() {
    let mut random = Random::seeded(Random::seed(11));
    let sample = sample();
    let rows = if is_full(&sample) { sample.rows } else { beginning(&sample) };
    let (databases, directory) = (ProductDatabases::new().await, TempDir::new().unwrap());
    let (owner, expected) = (superuser(&databases), recount(&rows));
    let total = i64::try_from(expected.events.values().sum::<u64>()).unwrap();
    let csv = write_csv(directory.path(), "history.csv", &rows);
    let work =
        Work { urls: databases.urls.clone(), directory: directory.path().to_path_buf(), csv: csv.clone() };

    let most = (total.unsigned_abs() / 8).min(10_000);
    let mut last = 0;
    for _ in 0..5 {
        let goal = last + 1 + i64::try_from(random.below(most)).unwrap();
        let mut child = start_child(&work);
        until("the child imports", async || (imported(&owner).await >= goal).then_some(())).await;
        child.kill().unwrap();
        child.wait().unwrap();
        sessions_ended(&owner).await;
        last = imported(&owner).await;
        println!("killed after {last} of {total} events");
    }
    assert!(last < total, "the last child was killed at its work");

    let system = open(&databases.options, directory.path()).await;
    let summary = import(&system, &csv, false).await;
    assert_holds(&owner, &expected).await;
    assert_tells(&summary, &expected, rows.len());
    assert_eq!(i64::try_from(summary.new_events.values().sum::<u64>()).unwrap(), total - last);
    system.stop().await;
}

/// The ids of the clinics with the most of `rows`, among those of earlier rows.
fn busiest(earlier: &[StringRecord], rows: &[StringRecord], count: usize) -> Vec<Uuid> {
    let known: BTreeSet<&str> = earlier.iter().map(|row| &row[6]).collect();
    let mut weights: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows.iter().filter(|row| known.contains(&row[6])) {
        *weights.entry(&row[6]).or_default() += 1;
    }
    let mut names: Vec<&str> = weights.keys().copied().collect();
    names.sort_by_key(|name| std::cmp::Reverse(weights[name]));
    names.into_iter().take(count).map(clinic_id).collect()
}

/// A clinic's id follows from its name, for ever.
fn clinic_id(name: &str) -> Uuid {
    let digest =
        Sha256::new().chain_update(b"carelog.import.organization.v1\0").chain_update(name).finalize();
    uuid::Builder::from_custom_bytes(digest[..16].try_into().unwrap()).into_uuid()
}

#[tokio::test(flavor = "multi_thread")]
async fn partners_hear_of_an_import_when_that_is_asked_for_and_of_each_event_once() {
    let sample = sample();
    let directory = TempDir::new().unwrap();
    let mut options = ReceiverOptions::new(Arc::new(|| SystemClock.now().unix_micros()));
    options.receipts_kept = usize::MAX;
    let receiver = Receiver::start(options).await.unwrap();
    let pem = directory.path().join("receiver.pem");
    std::fs::write(&pem, receiver.ca_pem()).unwrap();
    let api = Api::start_with(|config| {
        config.webhooks.allow_loopback = true;
        config.webhooks.extra_root_pem = Some(pem);
    })
    .await;
    let system = api.server.system();
    let (known, silent, told, most) =
        if is_full(&sample) { (5_000, 5_100, sample.rows.len(), usize::MAX) } else { (300, 400, 500, 5) };
    let parts = [&sample.rows[..known], &sample.rows[known..silent], &sample.rows[silent..told]];
    let csv = |number: usize| write_csv(directory.path(), &format!("{number}.csv"), parts[number]);

    import(system, &csv(0), false).await;
    let clinics = busiest(parts[0], parts[2], most);
    for id in &clinics {
        let body = json!({ "url": receiver.url(&id.to_string()), "events": ["*"], "per_tick_limit": 50 });
        let subscribed = api.clinic_of(*id).await.post("/v1/webhook-subscriptions", &body).await;
        receiver.hook(&id.to_string()).set_secrets(&[subscribed.text_at("/secret")]).unwrap();
    }
    let silent = import(system, &csv(1), false).await;
    let told = import(system, &csv(2), true).await;
    assert!(silent.new_events["appointment.booked"] > 50 && told.new_events["appointment.booked"] > 50);

    let public: Vec<&str> =
        EventType::ALL.iter().filter(|kind| kind.is_public()).map(|kind| kind.as_str()).collect();
    let wanted = "select organization_id::text, organization_sequence, event_type from log.events
                  where correlation_id = $1 and organization_id = any($2) and event_type = any($3)
                  order by 1, 2";
    let wanted: Vec<(String, i64, String)> = sqlx::query_as(wanted)
        .bind(told.run_id)
        .bind(&clinics)
        .bind(&public)
        .fetch_all(&api.core)
        .await
        .unwrap();
    assert!(wanted.len() > 30, "{} events are worth telling", wanted.len());
    let count = i64::try_from(wanted.len()).unwrap();
    println!("{count} events to tell {} clinics", clinics.len());
    let heard_of = || i64::try_from(receiver.counts().received).unwrap();
    while heard_of() < count {
        let before = heard_of();
        until("a further delivery is made", async || (heard_of() > before).then_some(())).await;
    }
    until("every delivery is known to be made", async || {
        let states =
            "select count(*), count(*) filter (where state = 'delivered') from webhooks.webhook_events";
        let (all, delivered): (i64, i64) = sqlx::query_as(states).fetch_one(&api.core).await.ok()?;
        assert!(all <= count, "{all} deliveries of {count} events");
        (delivered == count).then_some(())
    })
    .await;

    let mut heard = Vec::new();
    for id in &clinics {
        for receipt in receiver.hook(&id.to_string()).receipts() {
            assert!(receipt.verified && receipt.status.is_some_and(|status| status < 300), "{receipt:?}");
            let sequence = i64::try_from(receipt.sequence.unwrap()).unwrap();
            heard.push((receipt.hook.to_string(), sequence, receipt.event.unwrap()));
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, wanted, "each event once, and nothing of the silent imports");
    let counts = receiver.counts();
    assert_eq!((counts.duplicates, counts.refused_signatures), (0, 0));
}
