//! How few patients stand behind what is published, by the count of a program that is not ours.

use std::ops::RangeInclusive;

use carelog_domain::OrganizationId;
use carelog_tests::{Product, python_client};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::publish_now;
use super::suppression::{Appointments, clinic, of};

const THRESHOLD: u16 = 11;

/// Each patient of each cell once. What is withheld stands together as the one group that follows by subtraction from
/// the whole clinic.
const RECORDS: &str = "
    select json_build_object('dimension', cells.dimension, 'patient', facts.patient,
        'value', case when cells.is_suppressed and $2 then 'withheld' else cells.value end)::text
    from published.appointment_patterns cells
    join analytics.appointment_facts facts on facts.organization_id = cells.organization_id and case cells.dimension
        when 'clinic' then true
        when 'weekday' then facts.weekday::text = cells.value
        when 'reminder' then case when facts.is_reminded then 'reminded' else 'not_reminded' end = cells.value
        else false end
    where cells.organization_id = $1";

/// The k-anonymity of the cells, withheld ones together or as if they were shown.
async fn smallest_group(product: &Product, id: OrganizationId, are_withheld_together: bool) -> u16 {
    let records: Vec<String> = sqlx::query_scalar(RECORDS)
        .bind(id.uuid())
        .bind(are_withheld_together)
        .fetch_all(&product.databases().analytics_owner)
        .await
        .unwrap();
    let records: Vec<Value> = records.iter().map(|record| serde_json::from_str(record).unwrap()).collect();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), serde_json::to_vec(&records).unwrap()).unwrap();
    let output = python_client("anonymity").await.arg(file.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
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

        assert_eq!(smallest_group(&product, id, false).await, smallest, "before anything is withheld");
        let published = smallest_group(&product, id, true).await;
        assert!(published >= THRESHOLD, "a group of {published} patients can be told");
    }
    product.stop().await;
}
