//! Every figure of the views of appointments, against DuckDB over the file that was imported.

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

use super::{as_app, facts, rebuild_analytics};
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

/// For each clinic, what each value of each dimension amounts to, worked out by DuckDB.
async fn expected(csv: &Path) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("figures");
    let python = python_environment(&folder).await.join("bin/python");
    let output = Command::new(python).arg(folder.join("figures.py")).arg(csv).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

type Row = (String, String, bool, [Option<i64>; 5], [Option<f64>; 2]);

/// What the published view shows of a clinic.
async fn shown(product: &Product, organization_id: OrganizationId) -> Vec<Row> {
    let mut tx = as_app(product, organization_id).await;
    let view =
        "select dimension, value, is_suppressed, patients, appointments, completed, no_shows, reminded,
                    no_show_rate, same_day_share, cancelled, late_cancels
                from analytics.appointment_patterns order by dimension, value";
    let rows = sqlx::query(view).fetch_all(&mut *tx).await.unwrap();
    rows.iter()
        .map(|row| {
            use sqlx::Row as _;
            let is_suppressed: bool = row.get(2);
            for column in [10, 11] {
                assert_eq!(
                    row.get::<Option<i64>, _>(column),
                    (!is_suppressed).then_some(0),
                    "nobody cancels"
                );
            }
            let counts = [3, 4, 5, 6, 7].map(|column| row.get(column));
            (row.get(0), row.get(1), is_suppressed, counts, [8, 9].map(|column| row.get(column)))
        })
        .collect()
}

/// The same in the shape of what is expected. The floats of both sides are quotients of the same whole numbers.
fn as_json(rows: &[Row]) -> Value {
    let cells = rows.iter().map(|(dimension, value, _, counts, rates)| {
        let figures: Vec<Value> =
            counts.iter().map(|count| json!(count)).chain(rates.iter().copied().map(rounded)).collect();
        (format!("{dimension} {value}"), Value::Array(figures))
    });
    Value::Object(cells.collect())
}

fn rounded(rate: Option<f64>) -> Value {
    rate.map_or(Value::Null, |rate| json!(format!("{rate:.12}")))
}

fn with_rounded_rates(mut clinic: Value) -> Value {
    for figures in clinic.as_object_mut().unwrap().values_mut() {
        for rate in &mut figures.as_array_mut().unwrap()[5..] {
            *rate = rounded(rate.as_f64());
        }
    }
    clinic
}

fn sorted(mut clinics: Vec<Value>) -> Vec<Value> {
    clinics.sort_by_key(Value::to_string);
    clinics
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_of_imported_appointments_is_what_duckdb_makes_of_the_file() {
    let (product, directory) = (Product::start().await, TempDir::new().unwrap());
    let csv = write_csv(directory.path(), "history.csv", &rows_of_some_clinics(&sample()));
    let expected: Vec<Value> = expected(&csv).await.into_iter().map(with_rounded_rates).collect();

    bring_in(&product, &csv).await;

    let owner = &product.databases().analytics_owner;
    let clinics: Vec<Uuid> =
        sqlx::query_scalar("select organization_id from analytics.analytics_organizations")
            .fetch_all(owner)
            .await
            .unwrap();
    let mut published = Vec::new();
    for clinic in &clinics {
        published.push(shown(&product, OrganizationId::new(*clinic)).await);
    }
    // The same views, with nothing withheld.
    let open = "create or replace view analytics.hidden_cells with (security_barrier) as
        select organization_id, 'appointments' as subject, dimension, value, count(distinct patient) as patients,
            false as is_hidden
        from analytics.appointment_cells group by organization_id, dimension, value";
    sqlx::raw_sql(open).execute(owner).await.unwrap();
    let mut all = Vec::new();
    let mut withheld = 0;
    for (clinic, published) in clinics.iter().zip(published) {
        let open = shown(&product, OrganizationId::new(*clinic)).await;
        assert_eq!(published.len(), open.len(), "a cell that is withheld is shown as such");
        for (published, open) in published.iter().zip(&open) {
            if published.2 {
                withheld += 1;
                assert_eq!((published.3, published.4), ([None; 5], [None; 2]));
            } else {
                assert_eq!(published, open);
            }
        }
        all.push(as_json(&open));
    }
    assert_eq!(sorted(all), sorted(expected));
    println!("{} clinics, {withheld} cells withheld", clinics.len());
    assert!(withheld > 0, "small clinics have small cells");

    let before = facts(&product).await;
    rebuild_analytics(&product, RebuildScope::Everything).await;
    assert_eq!(facts(&product).await, before);
    rebuild_analytics(&product, RebuildScope::Organization(OrganizationId::new(clinics[0]))).await;
    assert_eq!(facts(&product).await, before);
    product.stop().await;
}
