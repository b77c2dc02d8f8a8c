//! The trail as a file.

use std::collections::BTreeMap;

use carelog_tests::{Api, python_client, send};
use csv::ReaderBuilder;
use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// More than are read at a time.
const PATIENTS: usize = 1_100;

#[tokio::test(flavor = "multi_thread")]
async fn an_export_has_every_entry_once_in_either_form() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let body = json!({ "birth_year": 1950 });
    stream::iter(0..PATIENTS)
        .for_each_concurrent(20, async |_| {
            clinic.post("/v1/patients", &body).await.id();
        })
        .await;
    let last = clinic.patient("Zoe").await;
    let consents = format!("/v1/patients/{}/consents", last.id());
    for (consent, version) in [("research", 3), ("recording", 2)] {
        let body = json!({ "consent": consent, "version": version });
        assert_eq!(clinic.post(&consents, &body).await.status, 200);
    }
    let last = clinic.book(last.id()).await;
    let wait = format!("wait_for={}", last.position());

    let lines = clinic.get(&format!("/v1/trail?format=ndjson&{wait}")).await;
    let table = clinic.get(&format!("/v1/trail?format=csv&event=patient.reg&{wait}")).await;
    let booked = clinic.get(&format!("/v1/trail?format=csv&event=appointment.&{wait}")).await;

    assert_eq!((lines.status, lines.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(lines.header("content-disposition"), "attachment; filename=\"trail.ndjson\"");
    let entries: Vec<Value> = lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.header("carelog-entries"), entries.len().to_string());
    let sequences: Vec<i64> = entries.iter().map(|entry| entry["sequence"].as_i64().unwrap()).collect();
    assert_eq!(sequences, (1..).take(sequences.len()).collect::<Vec<i64>>());
    assert!(sequences.len() > PATIENTS);
    let page = clinic.get("/v1/trail?order=oldest_first&limit=200").await;
    assert_eq!(page.items(), &entries[..200], "the list has the same entries");

    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8; header=present");
    let mut reader = ReaderBuilder::new().from_reader(table.text.as_bytes());
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!((rows.len(), table.header("carelog-entries")), (PATIENTS + 1, "1101"));
    let patients: Vec<&Value> =
        entries.iter().filter(|entry| entry["event"] == "patient.registered").collect();
    for (row, entry) in rows.iter().zip(patients) {
        for name in
            ["event", "event_id", "patient_id", "occurred_at", "correlation_id", "action", "legal_basis"]
        {
            assert_eq!(json!(row[name]), entry[name], "{name}");
        }
        assert_eq!(json!(row["actor_id"]), entry["actor"]["id"]);
    }
    let mut reader = ReaderBuilder::new().from_reader(booked.text.as_bytes());
    let row: BTreeMap<String, String> = reader.deserialize().next().unwrap().unwrap();
    assert_eq!((&*row["consents"], &*row["legal_basis"]), ("recording/2 research/3", "contract"));
    let entry = entries.iter().rfind(|entry| entry["event"] == "appointment.booked").unwrap();
    let told = json!([{ "consent": "recording", "version": 2 }, { "consent": "research", "version": 3 }]);
    assert_eq!(entry["consents"], told);

    let accept = ("accept", "application/vnd.apache.parquet, text/csv;q=0.5");
    let columns = clinic.request(Method::GET, "/v1/trail").header(accept.0, accept.1).send().await.unwrap();
    assert_eq!(columns.headers()["content-type"], "application/vnd.apache.parquet");
    assert_eq!(columns.headers()["vary"], "accept");
    let count = columns.headers()["carelog-entries"].to_str().unwrap().to_owned();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trail.parquet");
    std::fs::write(&path, columns.bytes().await.unwrap()).unwrap();
    let output = python_client("columnar").await.arg("parquet").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    for reader in ["pyarrow", "duckdb"] {
        let rows = read[reader].as_array().unwrap();
        assert_eq!(rows.len().to_string(), count, "{reader}");
        let booked = rows.iter().find(|row| row["event"] == "appointment.booked").unwrap();
        assert_eq!(booked["consents"], "recording/2 research/3", "{reader}");
        for (row, entry) in rows.iter().zip(&entries) {
            for name in [
                "sequence",
                "event",
                "event_id",
                "patient_id",
                "correlation_id",
                "action",
                "purpose",
                "legal_basis",
            ] {
                assert_eq!(row[name], entry[name], "{reader}: {name}");
            }
            let moment = row["recorded_at"].as_str().unwrap();
            let told = entry["recorded_at"].as_str().unwrap();
            assert_eq!(moment[..19].replace(' ', "T"), told[..19], "{reader}");
        }
    }
    assert_eq!(read["descriptions"]["patient_id"], "About whom");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_written_down_before_anything_leaves_and_refused_where_it_cannot_be() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await;
    let query = format!("/v1/trail?format=csv&patient_id={}&wait_for={}", patient.id(), patient.position());

    assert_eq!(clinic.get(&query).await.status, 200);
    let written =
        "select convert_from(facts, 'utf8') from log.events where event_type = 'access.record_exported'";
    let written: Vec<String> = sqlx::query_scalar(written).fetch_all(&api.core).await.unwrap();
    let expected = json!({ "target_kind": "access", "patient_id": patient.id(), "record_count": 1 });
    assert_eq!(written.len(), 1);
    assert_eq!(serde_json::from_str::<Value>(&written[0]).unwrap(), expected);

    let before = api.event_count().await;
    for query in
        ["format=csv&limit=5", "format=ndjson&after=x", "format=csv&order=oldest_first", "format=xml"]
    {
        let answer = clinic.get(&format!("/v1/trail?{query}")).await;
        assert_eq!(answer.problem(), (422, "invalid_query"), "{query}");
    }
    assert_eq!(api.event_count().await, before);
    let refuse = "alter table log.events add constraint no_exports
                  check (event_type <> 'access.record_exported') not valid";
    sqlx::query(refuse).execute(&api.core).await.unwrap();
    let refused = send(clinic.request(Method::GET, "/v1/trail?format=ndjson")).await;
    assert!(refused.status >= 500 && !refused.text.contains("patient.registered"), "{refused:?}");
}
