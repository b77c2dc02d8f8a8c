//! The way of a file's bytes, against our own server and against one of others.

mod crash;
mod documents;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::file::ContentType;
use carelog_event_log::Clock;
use carelog_files::{Storage, StorageError};
use carelog_tests::{EmbeddedS3, SeaweedFs, ShiftedClock};
use reqwest::StatusCode;
use tempfile::TempDir;

use suite::{KEY, PDF, download, fetch, now};

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_against_our_own_server() {
    let server = EmbeddedS3::start().await;

    suite::run(&server.clinics).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_passes_against_seaweedfs() {
    let server = SeaweedFs::start().await;

    suite::run(&server.clinics).await;
    let keys = ["key-of-clinic-a", "another-key-of-clinic-a"].map(|key| server.clinics.under_key(key));
    suite::run(&keys[0]).await;
    suite::another_key_is_told_apart(&keys[0], &keys[1]).await;
    suite::every_version_is_removed(&server.clinics).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_server_goes_by_the_clock_that_it_is_given() {
    let home = TempDir::new().unwrap();
    let clock = ShiftedClock::by_seconds(0);
    let server = EmbeddedS3::on(home.path(), Arc::clone(&clock) as Arc<dyn Clock>).await;
    let storage = &server.clinics.own;
    storage.ensure_bucket().await.unwrap();
    storage.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();
    let link = storage.sign_download(KEY, &download(), now(), Duration::from_mins(5)).await.unwrap();

    let in_time = fetch(&link.url).await;
    clock.step_seconds(301);
    let late = fetch(&link.url).await;

    assert_eq!((in_time.status(), late.status()), (StatusCode::OK, StatusCode::FORBIDDEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_ones_own_looks_like_none() {
    let server = EmbeddedS3::start().await;
    server.clinics.own.ensure_bucket().await.unwrap();
    let refused = async |bucket: &str| {
        let storage = server.clinics.with(|options| options.bucket = bucket.to_owned());
        code_of(&storage).await
    };

    assert_eq!(refused("clinic-b").await, refused("no-such-bucket").await);
}

async fn code_of(storage: &Storage) -> (u16, String) {
    match storage.examine(KEY, i64::MAX).await.unwrap_err() {
        StorageError::Refused { status, code, .. } => (status, code),
        other => panic!("{other:?}"),
    }
}
