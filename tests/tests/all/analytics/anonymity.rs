//! How few patients stand behind what is published, and how little they differ, by the count of SQL and of a program that
//! is not ours.

use std::ops::RangeInclusive;

use carelog_domain::OrganizationId;
use carelog_tests::{Product, python_client};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use tempfile::NamedTempFile;

use super::publish_now;
use super::suppression::{Appointments, clinic, of};

const THRESHOLD: u16 = 11;

/// What became of the appointments of each patient of each cell. What is withheld stands together as the one group that
/// follows by subtraction from the whole clinic: whole cells, or what became of them.
const RECORDS: &str = "
    select cells.dimension, facts.patient, facts.status,
        case when cells.is_suppressed and $2 or cells.completed is null and $3 then 'withheld' else cells.value end as value
    from published.appointment_patterns cells
    join analytics.appointment_facts facts on facts.organization_id = cells.organization_id and case cells.dimension
        when 'clinic' then true
        when 'weekday' then facts.weekday::text = cells.value
        when 'reminder' then case when facts.is_reminded then 'reminded' else 'not_reminded' end = cells.value
        else false end
    where cells.organization_id = $1";

/// The k-anonymity and the l-diversity of the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anonymity {
    k: i64,
    l: i64,
}

/// Of all cells as if they were shown, or with the withheld ones together, or with those together of which it is withheld
/// what became of the appointments.
#[derive(Clone, Copy)]
enum Together {
    None,
    Cells,
    Statuses,
}

async fn anonymity(product: &Product, id: OrganizationId, together: Together) -> Anonymity {
    let owner = &product.databases().analytics_owner;
    let (cells, statuses) = (matches!(together, Together::Cells), matches!(together, Together::Statuses));
    let records = format!("select to_json(records)::text from ({RECORDS}) records");
    let records: Vec<String> = sqlx::query_scalar(AssertSqlSafe(records))
        .bind(id.uuid())
        .bind(cells)
        .bind(statuses)
        .fetch_all(owner)
        .await
        .unwrap();
    let smallest = format!(
        "select min(k), min(l) from (
             select count(distinct patient) as k, count(distinct status) as l from ({RECORDS}) records
             group by dimension, value) groups"
    );
    let (k, l) = sqlx::query_as(AssertSqlSafe(smallest))
        .bind(id.uuid())
        .bind(cells)
        .bind(statuses)
        .fetch_one(owner)
        .await
        .unwrap();

    let records: Vec<Value> = records.iter().map(|record| serde_json::from_str(record).unwrap()).collect();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(&records).unwrap()).unwrap();
    let output = python_client("anonymity").await.arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        format!("{k} {l}"),
        "pycanon counts as SQL does"
    );
    Anonymity { k, l }
}

#[tokio::test(flavor = "multi_thread")]
async fn pycanon_counts_enough_patients_behind_weekdays_and_reminders_and_what_follows_of_them() {
    let product = Product::start().await;
    let on = |weekday: u8, patients: RangeInclusive<u16>| Appointments { weekday, ..of(patients) };
    let reminded = |patients: RangeInclusive<u16>| Appointments { is_reminded: true, ..on(5, patients) };
    // What is small by itself, and how few patients the smallest cell has.
    for (smallest, appointments) in [
        (3, vec![on(1, 1..=3), on(2, 10..=21), on(3, 1..=40), on(4, 20..=60)]),
        (4, vec![on(1, 1..=6), on(2, 1..=5), on(3, 1..=12), on(4, 1..=20), on(6, 2..=5)]),
        (10, vec![reminded(1..=10), on(1, 1..=30), on(2, 15..=60)]),
    ] {
        let id = clinic(&product, THRESHOLD, &appointments).await;
        publish_now(&product, id).await;

        assert_eq!(anonymity(&product, id, Together::None).await.k, smallest, "before anything is withheld");
        let published = anonymity(&product, id, Together::Cells).await.k;
        assert!(published >= THRESHOLD.into(), "a group of {published} patients can be told");
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_group_is_told_of_which_the_same_became_of_all_appointments() {
    let product = Product::start().await;
    let on = |weekday: u8, status: &'static str, patients: RangeInclusive<u16>| Appointments {
        weekday,
        status,
        ..of(patients)
    };
    let diverse = [
        on(2, "completed", 1..=60),
        on(2, "no_show", 20..=50),
        on(3, "no_show", 1..=40),
        on(3, "completed", 30..=90),
    ];
    for uniform in [
        vec![on(1, "completed", 1..=40)],
        vec![on(1, "no_show", 1..=40), on(4, "no_show", 41..=80)],
        vec![on(1, "cancelled", 1..=40), on(4, "completed", 1..=80)],
    ] {
        let id = clinic(&product, THRESHOLD, &[&diverse[..], &uniform].concat()).await;
        publish_now(&product, id).await;

        assert_eq!(anonymity(&product, id, Together::None).await.l, 1, "before anything is withheld");
        let published = anonymity(&product, id, Together::Statuses).await;
        assert!(published.l >= 2 && published.k >= THRESHOLD.into(), "{published:?}");
    }
    product.stop().await;
}
