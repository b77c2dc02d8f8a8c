//! A real engine (chdb) behind its HTTP interface, and what it holds beside PostgreSQL.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use carelog_domain::OrganizationId;
use carelog_tests::{Api, ApiClinic, python_client, until};
use carelog_vault::PseudonymKind;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use uuid::Uuid;

pub(super) const TABLES: [&str; 7] = [
    "patient_facts",
    "appointment_facts",
    "exercise_assignment_facts",
    "exercise_session_facts",
    "form_facts",
    "video_session_facts",
    "video_quality_facts",
];
/// Where the configuration takes the address from.
pub(super) const ADDRESS: &str = "CARELOG_ANALYTICS_CLICKHOUSE_URL";
/// With signs that an address has to escape.
const PASSWORD: &str = "a b/c@d";

/// A process that is killed when the test ends.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A ClickHouse engine behind its HTTP interface.
pub(super) struct Engine {
    port: u16,
    _process: Running,
    _output: BufReader<ChildStdout>,
    _directory: TempDir,
}

impl Engine {
    pub(super) async fn start() -> Self {
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

    pub(super) fn url(&self) -> String {
        format!("http://carelog:a%20b%2Fc%40d@127.0.0.1:{}/facts", self.port)
    }

    pub(super) async fn ask(&self, statement: String) -> Result<String, String> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("http://127.0.0.1:{}/?database=facts", self.port));
        let answer = request.basic_auth("carelog", Some(PASSWORD)).body(statement).send().await.unwrap();
        let has_answered = answer.status() == 200;
        let text = answer.text().await.unwrap();
        if has_answered { Ok(text) } else { Err(text) }
    }

    pub(super) async fn run(&self, statement: &str) {
        self.ask(statement.to_owned()).await.unwrap();
    }

    /// Holds back the next statement that begins so, as a proxy may.
    pub(super) async fn hold(&self, beginning: &str) {
        self.front(reqwest::Method::POST, "/hold", beginning.to_owned()).await;
    }

    /// Until such a statement has come.
    pub(super) async fn has_come(&self) {
        until("a statement is held back", async || {
            (self.front(reqwest::Method::GET, "/held", String::new()).await == "yes").then_some(())
        })
        .await;
    }

    /// Lets the engine carry it out, and tells what it says to that.
    pub(super) async fn release(&self) -> String {
        self.front(reqwest::Method::POST, "/release", String::new()).await
    }

    async fn front(&self, method: reqwest::Method, path: &str, body: String) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.request(method, format!("http://127.0.0.1:{}{path}", self.port));
        request.body(body).send().await.unwrap().text().await.unwrap()
    }

    /// Rows of a statement in JSON; nothing while the tables are not there.
    pub(super) async fn rows(&self, statement: &str) -> Option<Vec<Value>> {
        let text = self.ask(format!("{statement} format JSONEachRow")).await.ok()?;
        Some(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

/// The program beside the server of the API, with nothing but its databases in its configuration.
pub(super) fn program(api: &Api) -> Command {
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
pub(super) fn serve(api: &Api, engine: &Engine) -> Running {
    let mut server = program(api);
    server.env(ADDRESS, engine.url()).args(["serve", "--roles", "workers"]);
    Running(server.spawn().unwrap())
}

/// Rows of PostgreSQL as they are to stand in ClickHouse: under the pseudonyms of their places instead of these, in the
/// order of their names, with moments as ClickHouse writes them.
pub(super) async fn facts(api: &Api, table: &str) -> Vec<Value> {
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

pub(super) fn in_order(mut facts: Vec<Value>) -> Vec<Value> {
    facts.sort_by_key(|fact| fact["fact"].as_str().unwrap().to_owned());
    facts
}

/// `2026-03-02T09:15:00+00:00` and `2026-03-02 09:15:00.000000` are the same moment.
pub(super) fn told_alike(row: &Value) -> Value {
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

pub(super) async fn copied(engine: &Engine, table: &str) -> Option<Vec<Value>> {
    let rows = engine.rows(&format!("select * except turn from {table} final")).await?;
    Some(in_order(rows.iter().map(told_alike).collect()))
}

pub(super) async fn is_copied(api: &Api, engine: &Engine) {
    for table in TABLES {
        until(&format!("ClickHouse has the rows of {table}"), async || {
            (copied(engine, table).await? == facts(api, table).await).then_some(())
        })
        .await;
    }
}

pub(super) async fn erase(clinic: &ApiClinic<'_>, patient: &str) {
    let erasure = format!("/v1/patients/{patient}/erasure");
    let asked = clinic.post(&erasure, &json!({ "ground": "patient_request" })).await;
    assert!(asked.status < 300, "{asked:?}");
}

pub(super) async fn is_erased(clinic: &ApiClinic<'_>, patient: &str) {
    until("the patient is erased", async || {
        let shown = clinic.get(&format!("/v1/patients/{patient}")).await;
        (shown.body["status"] == "erased").then_some(())
    })
    .await;
}
