//! Every published figure of appointments, judged by DuckDB over the file that was imported.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use carelog_domain::OrganizationId;
use carelog_event_log::runtime::RebuildScope;
use carelog_server::import::{self, ColumnMap, ImportOptions, Mapping, Source};
use carelog_tests::{Product, python_environment};
use csv::StringRecord;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{facts, publish_now, rebuild_analytics};
use crate::import::sample::{Sample, sample, write_csv};

const COLUMNS: [&str; 7] = [
    "patient=PatientId",
    "appointment=AppointmentID",
    "clinic=Neighbourhood",
    "booked_at=ScheduledDay",
    "starts_at=AppointmentDay",
    "reminder=SMS_received",
    "no_show=No_show",
];
/// So many clinics in the ordinary run, each with about so many rows. `CARELOG_FULL_IMPORT=1` takes all.
/// The threshold of a clinic that has not chosen another, patients.
const THRESHOLD: &str = "11";
const CLINICS: usize = 4;
const ROWS: std::ops::Range<usize> = 100..400;

fn rows_of_some_clinics(sample: &Sample) -> Vec<StringRecord> {
    if std::env::var("CARELOG_FULL_IMPORT").is_ok_and(|value| value == "1") {
        return sample.rows.clone();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &sample.rows {
        *counts.entry(&row[6]).or_default() += 1;
    }
    let fits = |(_, count): &(&str, usize)| ROWS.contains(count);
    let chosen: Vec<&str> = counts.into_iter().filter(fits).map(|(clinic, _)| clinic).take(CLINICS).collect();
    assert_eq!(chosen.len(), CLINICS);
    sample.rows.iter().filter(|row| chosen.contains(&&row[6])).cloned().collect()
}

async fn bring_in(product: &Product, csv: &Path) {
    let columns: Vec<Mapping> = COLUMNS.iter().map(|column| column.parse().unwrap()).collect();
    let options = ImportOptions {
        source: Source::File(csv.to_path_buf()),
        columns: ColumnMap::new(columns).unwrap(),
        time_zone: "America/Sao_Paulo".to_owned(),
        notify: false,
        rejects: csv.with_extension("rejects.csv"),
        concurrency: 128.try_into().unwrap(),
        stop: CancellationToken::new(),
    };
    import::run(product.server.system(), options, |_| ()).await.unwrap();
    product.settled().await;
}

/// The facts, by all that is published of them.
const FACTS: &str = "
    select row_to_json(f)::text
    from (
        select organization_id, weekday, lead_days, is_reminded, status, count(*) as appointments,
            count(distinct patient) as patients
        from analytics.appointment_facts
        group by organization_id, weekday, lead_days, is_reminded, status
    ) f";

/// Lets DuckDB judge the facts and what is published of them by the file; gives what it looked at.
async fn judged(product: &Product, csv: &Path, published: &[Value]) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("figures");
    let python = python_environment(&folder).await.join("bin/python");
    let rows = csv.with_extension("json");
    let facts: Vec<String> =
        sqlx::query_scalar(FACTS).fetch_all(&product.databases().analytics_owner).await.unwrap();
    let facts: Vec<Value> = facts.iter().map(|fact| serde_json::from_str(fact).unwrap()).collect();
    let made = json!({ "facts": facts, "published": published });
    std::fs::write(&rows, serde_json::to_vec(&made).unwrap()).unwrap();
    let mut command = Command::new(python);
    let output = command.arg(folder.join("figures.py")).args([csv, &rows]).arg(THRESHOLD).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the published table shows of every clinic.
async fn shown(product: &Product) -> Vec<Value> {
    let rows = "select to_jsonb(p)::text from published.appointment_patterns p order by 1";
    let rows: Vec<String> =
        sqlx::query_scalar(rows).fetch_all(&product.databases().analytics_owner).await.unwrap();
    rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_of_imported_appointments_is_what_duckdb_makes_of_the_file() {
    let (product, directory) = (Product::start().await, TempDir::new().unwrap());
    let csv = write_csv(directory.path(), "history.csv", &rows_of_some_clinics(&sample()));

    bring_in(&product, &csv).await;

    let owner = &product.databases().analytics_owner;
    let clinics: Vec<Uuid> =
        sqlx::query_scalar("select organization_id from analytics.analytics_organizations")
            .fetch_all(owner)
            .await
            .unwrap();
    for clinic in &clinics {
        publish_now(&product, OrganizationId::new(*clinic)).await;
    }
    let published = shown(&product).await;
    let looked = judged(&product, &csv, &published).await;
    println!("{looked}");
    assert_eq!(looked["cells"], published.len());
    for some in ["facts", "shares", "withheld", "figures", "hidden_figures"] {
        assert!(looked[some].as_u64().unwrap() > 0, "{some}: {looked}");
    }

    let before = facts(&product).await;
    rebuild_analytics(&product, RebuildScope::Everything).await;
    assert_eq!(facts(&product).await, before);
    rebuild_analytics(&product, RebuildScope::Organization(OrganizationId::new(clinics[0]))).await;
    assert_eq!(facts(&product).await, before);
    for clinic in clinics {
        publish_now(&product, OrganizationId::new(clinic)).await;
    }
    assert_eq!(shown(&product).await, published);
    product.stop().await;
}
