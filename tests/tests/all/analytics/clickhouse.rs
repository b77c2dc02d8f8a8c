//! Facts in ClickHouse: written by `carelog serve` through its HTTP requests, executed by the real engine (chdb).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use carelog_domain::OrganizationId;
use carelog_tests::{Api, ApiClinic, python_client, until};
use carelog_vault::PseudonymKind;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use uuid::Uuid;

use super::columns::published_clinic;

const TABLES: [&str; 7] = [
    "patient_facts",
    "appointment_facts",
    "exercise_assignment_facts",
    "exercise_session_facts",
    "form_facts",
    "video_session_facts",
    "video_quality_facts",
];
/// Where the configuration takes the address from.
const ADDRESS: &str = "CARELOG_ANALYTICS_CLICKHOUSE_URL";
/// With signs that an address has to escape.
const PASSWORD: &str = "a b/c@d";

/// A process that is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A ClickHouse engine behind its HTTP interface.
struct Engine {
    port: u16,
    _process: Running,
    _output: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl Engine {
    async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let mut client = python_client("clickhouse").await;
        client.arg(directory.path()).args(["carelog", PASSWORD]).stdout(Stdio::piped());
        let mut process = client.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let process = Running(process);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        let port = u16::try_from(told["listening"].as_u64().unwrap()).unwrap();
        Self { port, _process: process, _output: output, _directory: directory }
    }

    fn url(&self) -> String {
        format!("http://carelog:a%20b%2Fc%40d@127.0.0.1:{}/facts", self.port)
    }

    async fn ask(&self, statement: String) -> Result<String, String> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("http://127.0.0.1:{}/?database=facts", self.port));
        let answer = request.basic_auth("carelog", Some(PASSWORD)).body(statement).send().await.unwrap();
        let has_answered = answer.status() == 200;
        let text = answer.text().await.unwrap();
        if has_answered { Ok(text) } else { Err(text) }
    }

    async fn run(&self, statement: &str) {
        self.ask(statement.to_owned()).await.unwrap();
    }

    /// Rows of a statement in JSON; nothing while the tables are not there.
    async fn rows(&self, statement: &str) -> Option<Vec<Value>> {
        let text = self.ask(format!("{statement} format JSONEachRow")).await.ok()?;
        Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

/// The program beside the server of the API, with nothing but its databases in its configuration.
fn program(api: &Api) -> Command {
    let [core, audit, analytics, vault] = api.database_urls();
    let storages = api.server.system().storages.get().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"));
    program
        .env_clear()
        .env("CARELOG_HOME", api.home())
        .env("CARELOG_STORAGE_LISTEN", storages.own_address().unwrap().to_string())
        .env("DATABASE_URL", core)
        .env("CARELOG_DATABASE_AUDIT_URL", audit)
        .env("CARELOG_DATABASE_ANALYTICS_URL", analytics)
        .env("CARELOG_DATABASE_VAULT_URL", vault)
        .stdin(Stdio::null());
    program
}

/// `carelog serve` with ClickHouse in its configuration.
fn serve(api: &Api, engine: &Engine) -> Running {
    let mut server = program(api);
    server.env(ADDRESS, engine.url()).args(["serve", "--roles", "workers"]);
    Running(server.spawn().unwrap())
}

/// Rows of PostgreSQL as they are to stand in ClickHouse: under the pseudonyms of their places instead of these, in the
/// order of their names, with moments as ClickHouse writes them.
async fn facts(api: &Api, table: &str) -> Vec<Value> {
    let statement = format!(
        "select row_to_json(f)::text, f.organization_id, f.position, o.pseudonym_epoch
         from analytics.{table} f join analytics.analytics_organizations o using (organization_id)"
    );
    let rows: Vec<(String, Uuid, i64, i32)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&api.analytics).await.unwrap();
    let mut facts = Vec::new();
    for (row, organization_id, position, epoch) in rows {
        let pseudonyms = &api.server.system().pseudonyms;
        let key = pseudonyms.key(OrganizationId::new(organization_id), epoch).await.unwrap();
        let place = Uuid::from_u128(position.unsigned_abs().into());
        let mut row = told_alike(&serde_json::from_str(&row).unwrap());
        let cells = row.as_object_mut().unwrap();
        cells.retain(|name, _| !["position", "last_position"].contains(&&**name));
        cells.insert("fact".to_owned(), json!(key.pseudonym(PseudonymKind::Place, place).uuid()));
        facts.push(row);
    }
    in_order(facts)
}

fn in_order(mut facts: Vec<Value>) -> Vec<Value> {
    facts.sort_by_key(|fact| fact["fact"].as_str().unwrap().to_owned());
    facts
}

/// `2026-03-02T09:15:00+00:00` and `2026-03-02 09:15:00.000000` are the same moment.
fn told_alike(row: &Value) -> Value {
    let cells = row.as_object().unwrap().iter().map(|(name, value)| {
        let value = match value.as_str() {
            Some(text) if name.ends_with("_at") => {
                let text = text.replace('T', " ");
                json!(text.split(['.', '+']).next().unwrap())
            }
            _ => value.clone(),
        };
        (name.clone(), value)
    });
    cells.collect::<serde_json::Map<_, _>>().into()
}

async fn copied(engine: &Engine, table: &str) -> Option<Vec<Value>> {
    let rows = engine.rows(&format!("select * except turn from {table} final")).await?;
    Some(in_order(rows.iter().map(told_alike).collect()))
}

async fn is_copied(api: &Api, engine: &Engine) {
    for table in TABLES {
        until(&format!("ClickHouse has the rows of {table}"), async || {
            (copied(engine, table).await? == facts(api, table).await).then_some(())
        })
        .await;
    }
}

/// No number of a row is its place, nor as far from it in all rows: whoever knows which commands were given, and their
/// places, finds none of them in the copy.
async fn no_column_follows_the_log(api: &Api, engine: &Engine, table: &str) {
    let statement = format!("select organization_id, position from analytics.{table} order by position");
    let places: Vec<(Uuid, i64)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&api.analytics).await.unwrap();
    let copied = engine.rows(&format!("select * from {table} final")).await.unwrap();
    let mut distances: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut names = Vec::new();
    for (organization_id, position) in places {
        let key = api.server.system().pseudonyms.key(OrganizationId::new(organization_id), 1).await.unwrap();
        let place = Uuid::from_u128(position.unsigned_abs().into());
        let name = key.pseudonym(PseudonymKind::Place, place).uuid().to_string();
        let row = copied.iter().find(|row| row["fact"] == name).unwrap();
        for (column, value) in row.as_object().unwrap() {
            if let Some(number) = value.as_i64() {
                distances.entry(column.clone()).or_default().insert(position - number);
            }
            let uuid = value.as_str().and_then(|text| text.parse::<Uuid>().ok());
            assert_ne!(uuid, Some(place), "{table}.{column} shows the place {position}");
        }
        names.push(name);
    }
    for (column, distances) in distances {
        assert!(distances.len() > 1, "{table}.{column} is as far from the place in every row");
    }
    assert!(!names.is_sorted(), "{table}: names follow the order of the log");
}

/// What both say to the same question; each in its own SQL.
async fn answers_alike(api: &Api, engine: &Engine, postgres: &str, clickhouse: &str) {
    let rows: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(postgres.to_owned())).fetch_all(&api.analytics).await.unwrap();
    let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert!(!rows.is_empty(), "{postgres}");
    assert_eq!(engine.rows(clickhouse).await.unwrap(), rows, "{clickhouse}");
}

async fn erase(clinic: &ApiClinic<'_>, patient: &str) {
    let erasure = format!("/v1/patients/{patient}/erasure");
    let asked = clinic.post(&erasure, &json!({ "ground": "patient_request" })).await;
    assert!(asked.status < 300, "{asked:?}");
}

async fn is_erased(clinic: &ApiClinic<'_>, patient: &str) {
    until("the patient is erased", async || {
        let shown = clinic.get(&format!("/v1/patients/{patient}")).await;
        (shown.body["status"] == "erased").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_engine_holds_the_facts_of_postgresql_and_answers_alike() {
    let (api, engine) = (Api::start().await, Engine::start().await);
    let clinic = published_clinic(&api).await;

    let server = serve(&api, &engine);
    is_copied(&api, &engine).await;

    for table in TABLES {
        assert!(!facts(&api, table).await.is_empty(), "{table}");
        no_column_follows_the_log(&api, &engine, table).await;
    }
    let by_state = |count: &str| {
        format!("select state, {count} as samples from video_quality_facts group by state order by state")
    };
    let postgres = by_state("count(*)").replace("video_quality", "analytics.video_quality");
    let postgres = format!("select row_to_json(r)::text from ({postgres}) r");
    let clickhouse = by_state("count()").replace("_facts", "_facts final");
    answers_alike(&api, &engine, &postgres, &clickhouse).await;
    answers_alike(
        &api,
        &engine,
        "select row_to_json(r)::text from (
             select weekday, mode, count(distinct patient) as patients, sum(planned_minutes)::bigint as minutes
             from analytics.appointment_facts group by weekday, mode order by weekday, mode) r",
        "select weekday, mode, uniqExact(patient) as patients, sum(planned_minutes) as minutes
         from appointment_facts final group by weekday, mode order by weekday, mode",
    )
    .await;

    // What happens later replaces the row, and does not stand beside it.
    let patient = clinic.patient("Ada").await.id().to_owned();
    let appointment = clinic.book(&patient).await.id().to_owned();
    is_copied(&api, &engine).await;
    let onboarded = clinic.post(&format!("/v1/appointments/{appointment}/onboard"), &json!({})).await;
    assert!(onboarded.status < 300, "{onboarded:?}");
    until("the row tells of it", async || {
        let onboarded = "select count() as n from appointment_facts final where status = 'onboarded'";
        (engine.rows(onboarded).await? == [json!({ "n": 1 })]).then_some(())
    })
    .await;
    is_copied(&api, &engine).await;

    // Killed, and begun anew from the first event on: every page is written twice.
    drop(server);
    sqlx::query("update copies.lanes set position = 0").execute(&api.analytics).await.unwrap();
    let server = serve(&api, &engine);
    until("everything is copied again", async || {
        let behind = "select count(*) from copies.lanes c join runtime.checkpoints k using (lane, version)
            where k.projector = 'analytics' and c.position < k.position";
        let behind: i64 = sqlx::query_scalar(behind).fetch_one(&api.analytics).await.unwrap();
        (behind == 0).then_some(())
    })
    .await;
    is_copied(&api, &engine).await;

    // Tables of another program, and one that is gone: all are made anew, with every row.
    drop(server);
    engine.run("alter table patient_facts drop column age_band").await;
    engine.run("drop table form_facts sync").await;
    engine.run("insert into turns select 99, 'of another shape'").await;
    let server = serve(&api, &engine);
    is_copied(&api, &engine).await;
    let turns = engine.rows("select distinct turn from patient_facts").await.unwrap();
    assert_eq!(turns, [json!({ "turn": 100 })]);
    drop(server);
    engine.run("drop table form_facts sync").await;
    let _server = serve(&api, &engine);
    is_copied(&api, &engine).await;

    // No certificate of an erasure before ClickHouse is without the patient.
    let key = api.server.system().pseudonyms.key(OrganizationId::new(clinic.id), 1).await.unwrap();
    let pseudonym = key.pseudonym(PseudonymKind::Patient, patient.parse().unwrap()).uuid();
    let of_the_patient =
        format!("select count() as n from appointment_facts final where patient = '{pseudonym}'");
    assert_eq!(engine.rows(&of_the_patient).await.unwrap(), [json!({ "n": 1 })]);
    erase(&clinic, &patient).await;
    is_erased(&clinic, &patient).await;
    for table in TABLES {
        // Nor are there rows that are only hidden.
        let of_the_patient = format!(
            "select count() as n from {table} where patient = '{pseudonym}' settings apply_deleted_mask = 0"
        );
        assert_eq!(engine.rows(&of_the_patient).await.unwrap(), [json!({ "n": 0 })], "{table}");
    }
    is_copied(&api, &engine).await;

    // Other pseudonyms, after a rebuild: none of the old ones is left.
    let system = api.server.system();
    assert_eq!(system.pseudonyms.rotate(OrganizationId::new(clinic.id)).await.unwrap(), 2);
    let analytics = carelog_analytics::Analytics::new(std::sync::Arc::clone(&system.pseudonyms));
    let scope = carelog_event_log::runtime::RebuildScope::Organization(OrganizationId::new(clinic.id));
    let progress = tokio::sync::watch::Sender::default();
    let owner = &system.databases.analytics_owner;
    carelog_event_log::runtime::rebuild(&analytics, &system.log, owner, scope, &progress).await.unwrap();
    is_copied(&api, &engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erasures_wait_for_a_copy_that_begins_anew_until_it_is_given_up() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patients =
        [clinic.patient("Ada").await.id().to_owned(), clinic.patient("Bela").await.id().to_owned()];
    let copied = "insert into copies.lanes (lane, version, position)
        select lane, version, 1000000 from runtime.checkpoints where projector = 'analytics'";
    let lanes = sqlx::query(copied).execute(&api.analytics).await.unwrap().rows_affected();
    let places = async || -> Vec<(i32, i64)> {
        let places = "select version, position from copies.lanes order by lane";
        sqlx::query_as(places).fetch_all(&api.analytics).await.unwrap()
    };

    // There is no server at the address: nothing is copied.
    let recopied = program(&api).env(ADDRESS, "http://127.0.0.1:9/").args(["analytics", "recopy"]).output();
    let recopied = recopied.unwrap();
    assert!(recopied.status.success(), "{recopied:?}");

    assert!(lanes > 0);
    assert_eq!(places().await, vec![(0, 0); usize::try_from(lanes).unwrap()]);
    for patient in &patients {
        erase(&clinic, patient).await;
    }
    until("the keys of both are destroyed", async || {
        let destroyed = "select count(*) from log.events where event_type = 'patient.keys_destroyed'";
        let destroyed: i64 = sqlx::query_scalar(destroyed).fetch_one(&api.core).await.unwrap();
        (destroyed == 2).then_some(())
    })
    .await;
    for patient in &patients {
        let shown = clinic.get(&format!("/v1/patients/{patient}")).await;
        assert_eq!(shown.body["status"], "erasing", "the copy may still hold the patient");
    }

    let given_up = program(&api).args(["analytics", "recopy"]).output().unwrap();
    assert!(given_up.status.success(), "{given_up:?}");
    assert_eq!(places().await, []);
    for patient in &patients {
        is_erased(&clinic, patient).await;
    }
}
