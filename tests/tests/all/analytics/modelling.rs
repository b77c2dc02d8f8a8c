//! The dbt project that is shipped, run by dbt as an analyst's login.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use carelog_analytics::logins::{self, Bounds, Verifier};
use carelog_domain::OrganizationId;
use carelog_embedded::postgres::TestServer;
use carelog_tests::{Api, python_environment};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::columns::published_clinic;

const PASSWORD: &str = "an analyst's password";
const AN_HOUR_MICROS: i64 = 3_600_000_000;

/// dbt on the project, as a login.
struct Dbt {
    program: PathBuf,
    server: &'static TestServer,
    database: sqlx::postgres::PgConnectOptions,
    role_name: String,
    directory: TempDir,
}

impl Dbt {
    fn run(&self, arguments: &[&str]) -> Output {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../projections/analytics/dbt");
        Command::new(&self.program)
            .args(["--quiet", "--no-use-colors"])
            .args(arguments)
            .arg("--project-dir")
            .arg(&project)
            .arg("--profiles-dir")
            .arg(&project)
            .arg("--target-path")
            .arg(self.directory.path())
            .arg("--log-path")
            .arg(self.directory.path())
            .env("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
            .env("CARELOG_ANALYTICS_HOST", self.server.postgres().socket_directory())
            .env("CARELOG_ANALYTICS_PORT", self.database.get_port().to_string())
            .env("CARELOG_ANALYTICS_DATABASE", self.database.get_database().unwrap())
            .env("CARELOG_ANALYTICS_USER", &self.role_name)
            .env("DBT_ENV_SECRET_CARELOG_ANALYTICS_PASSWORD", PASSWORD)
            .output()
            .unwrap()
    }

    fn artifact(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.directory.path().join(name)).unwrap()).unwrap()
    }

    /// What became of each test and model of the last run.
    fn results(&self) -> Vec<(String, String)> {
        let results = self.artifact("run_results.json");
        let result = |result: &Value| {
            let text = |name: &str| result[name].as_str().unwrap().to_owned();
            (text("unique_id"), text("status"))
        };
        results["results"].as_array().unwrap().iter().map(result).collect()
    }

    fn rows(&self, model: &str) -> Vec<Value> {
        let output = self.run(&["show", "--select", model, "--output", "json", "--limit", "100"]);
        assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stdout));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        told["show"].as_array().unwrap().clone()
    }
}

async fn analyst(api: &Api, organization_id: OrganizationId) -> Dbt {
    let system = api.server.system();
    let pool = &system.databases.analytics_owner;
    let valid_until = system.log.clock().now().saturating_add_micros(AN_HOUR_MICROS);
    let bounds = Bounds { valid_until, connections: 5, statement_seconds: 60 };
    let verifier = Verifier::new(PASSWORD, [7; 16]);
    let mut owner = pool.acquire().await.unwrap();
    let role_name = logins::create(&mut owner, organization_id, verifier, bounds).await.unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/dbt");
    Dbt {
        program: python_environment(&source).await.join("bin/dbt"),
        server: TestServer::shared().await.unwrap(),
        database: (*pool.connect_options()).clone(),
        role_name,
        directory: TempDir::new().unwrap(),
    }
}

/// Comments of what analysts read: table, column (or nothing) and comment.
async fn comments(api: &Api) -> Vec<(String, String, String)> {
    let comments = "select c.relname::text, coalesce(a.attname, '')::text, d.description
        from pg_class c
        join pg_description d on d.objoid = c.oid and d.classoid = 'pg_class'::regclass
        left join pg_attribute a on a.attrelid = c.oid and a.attnum = d.objsubid and d.objsubid > 0
        where c.relnamespace = 'published'::regnamespace and c.relkind = 'r'
            and has_table_privilege('carelog_analyst', c.oid, 'select')";
    sqlx::query_as(comments).fetch_all(&api.analytics).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dbt_builds_every_model_as_a_login_that_may_only_read() {
    let api = Api::start().await;
    let clinic = published_clinic(&api).await;
    let id = OrganizationId::new(clinic.id);
    let dbt = analyst(&api, id).await;

    let output = dbt.run(&["build"]);

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let results = dbt.results();
    assert!(results.len() > 40 && results.iter().all(|(_, status)| status == "pass"), "{results:?}");

    // The models say what the API says.
    let months = clinic.get("/v1/analytics/clinic_utilisation?dimension=month").await;
    let expected: Vec<Value> = months.items().iter().map(|cell| cell["utilisation"].clone()).collect();
    let mut rows = dbt.rows("utilisation_by_month");
    rows.sort_by_key(|row| row["month"].to_string());
    assert_eq!(
        rows.iter().map(|row| row["utilisation"].as_f64()).collect::<Vec<_>>(),
        expected.iter().map(Value::as_f64).collect::<Vec<_>>()
    );
    assert_eq!(rows.len(), 2);
    let video = dbt.rows("video_by_month");
    let told = clinic.get("/v1/analytics/video_quality?dimension=month").await;
    assert_eq!((video.len(), video[0]["samples"].as_f64()), (1, told.items()[0]["samples"].as_f64()));
    assert_eq!(dbt.rows("adherence_by_week").len(), 1);

    // Its descriptions are the data dictionary.
    let manifest = dbt.artifact("manifest.json");
    let comments = comments(&api).await;
    assert!(comments.len() > 60, "{}", comments.len());
    for (table, column, comment) in &comments {
        let source = &manifest["sources"][format!("source.carelog.published.{table}")];
        let described = if column.is_empty() { source } else { &source["columns"][column] };
        assert_eq!(described["description"], json!(comment), "{table}.{column}");
    }

    // What the login may not do, dbt cannot do either.
    let refused = dbt.run(&["build", "--vars", "materialized: table"]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("permission denied") || said.contains("read-only transaction"), "{said}");

    // A cell about too few is found.
    let leak = "update published.appointment_patterns set patients = 5
        where dimension = 'clinic' and organization_id = $1";
    sqlx::query(leak).bind(clinic.id).execute(&api.analytics).await.unwrap();
    let refused = dbt.run(&["test", "--select", "few_patients_show_nowhere"]);
    assert!(!refused.status.success());
    assert_eq!(dbt.results(), [("test.carelog.few_patients_show_nowhere".to_owned(), "fail".to_owned())]);

    let mut owner = api.server.system().databases.analytics_owner.acquire().await.unwrap();
    logins::revoke(&mut owner, id, &dbt.role_name).await.unwrap();
}
