//! Our own server, killed in the middle, and under more bytes than fit into memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use carelog_domain::file::ContentType;
use carelog_event_log::SystemClock;
use carelog_files::Examined;
use carelog_tests::{EmbeddedS3, TwoClinics, serve_storage_as_child, until};
use futures::StreamExt as _;
use reqwest::{Body, StatusCode};
use tempfile::TempDir;

use super::suite::{KEY, PDF, client, digest, download, fetch, now};

const CHILD: &str = "storage::crash::serves_as_a_child";
const PIECE: usize = 1 << 20;
/// Bytes that a stream may add to what the server holds.
const FLAT_BYTES: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn serves_as_a_child() {
    serve_storage_as_child().await;
}

fn blobs(directory: &Path) -> Vec<PathBuf> {
    let folder = directory.join("buckets/clinic-a/blobs");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_kill_in_the_middle_of_a_write_then_what_was_there_before_is_there_still() {
    let home = TempDir::new().unwrap();
    let server = TwoClinics::as_child(home.path(), CHILD).await;
    let storage = server.clinics.own.clone();
    storage.ensure_bucket().await.unwrap();
    storage.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();
    let upload_id = storage.begin("files/part", ContentType::Mp4).await.unwrap();
    let size = i64::try_from(64 * PIECE).unwrap();
    let link =
        storage.sign_part("files/part", &upload_id, 1, size, now(), Duration::from_mins(5)).await.unwrap();
    // Half of it, and then nothing more.
    let pieces = futures::stream::iter((0..32).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![7; PIECE]))));
    let body = Body::wrap_stream(pieces.chain(futures::stream::pending()));
    let request = client().put(&link.url).header("content-length", size).body(body).send();
    let sending = tokio::task::LocalSet::new();
    sending
        .run_until(async {
            let sending = tokio::task::spawn_local(request);
            until("half of it lies on the disk", async || {
                let lengths =
                    blobs(home.path()).into_iter().map(|path| path.metadata().map_or(0, |file| file.len()));
                (lengths.sum::<u64>() > 16 << 20).then_some(())
            })
            .await;
            drop(server);
            sending.await.unwrap().unwrap_err();
        })
        .await;
    assert_eq!(blobs(home.path()).len(), 2);

    let server = TwoClinics::as_child(home.path(), CHILD).await;

    let storage = &server.clinics.own;
    let Examined::Found(found) = storage.examine(KEY, i64::MAX).await.unwrap() else { panic!("it is gone") };
    assert_eq!(found.content_sha256, digest(PDF));
    assert_eq!(blobs(home.path()).len(), 1, "nothing is left of what was never acknowledged");
    let upload_id = storage.find_upload("files/part").await.unwrap().unwrap();
    assert_eq!(storage.parts("files/part", &upload_id).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_beside_a_storage_takes_it_over_at_its_address() {
    let home = TempDir::new().unwrap();
    let killed = TwoClinics::as_child(home.path(), CHILD).await;
    let waiting = EmbeddedS3::on(home.path(), Arc::new(SystemClock)).await;
    assert_eq!(waiting.clinics.own.options().endpoint, killed.clinics.own.options().endpoint);
    let storage = &waiting.clinics.own;
    storage.ensure_bucket().await.unwrap();
    storage.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();

    drop(killed);

    let found = until("it is served again", async || storage.examine(KEY, i64::MAX).await.ok()).await;
    let Examined::Found(found) = found else { panic!("it is gone") };
    assert_eq!(found.content_sha256, digest(PDF));
    let third = EmbeddedS3::on(home.path(), Arc::new(SystemClock)).await;
    assert_eq!(third.clinics.own.options().endpoint, storage.options().endpoint);
}

/// The most memory that a process ever held, in bytes.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_stream_needs_no_more_memory_than_a_small_one() {
    let mib: usize = std::env::var("CARELOG_TEST_STREAM_MIB").map_or(192, |text| text.parse().unwrap());
    let home = TempDir::new().unwrap();
    let server = TwoClinics::as_child(home.path(), CHILD).await;
    let storage = &server.clinics.own;
    storage.ensure_bucket().await.unwrap();
    storage.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();
    let before = peak(server.pid());
    let upload_id = storage.begin("files/large", ContentType::Mp4).await.unwrap();
    let size = i64::try_from(mib * PIECE).unwrap();
    let life = Duration::from_mins(15);
    let link = storage.sign_part("files/large", &upload_id, 1, size, now(), life).await.unwrap();
    let piece = Bytes::from(vec![7; PIECE]);
    let pieces = futures::stream::iter((0..mib).map(move |_| Ok::<_, std::io::Error>(piece.clone())));

    let sent =
        client().put(&link.url).header("content-length", size).body(Body::wrap_stream(pieces)).send().await;
    assert_eq!(sent.unwrap().status(), StatusCode::OK);
    let parts = storage.parts("files/large", &upload_id).await.unwrap();
    storage.complete("files/large", &upload_id, &parts).await.unwrap();
    let link = storage.sign_download("files/large", &download(), now(), life).await.unwrap();
    let mut body = fetch(&link.url).await.bytes_stream();
    let mut received = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.unwrap();
        assert!(piece.iter().all(|byte| *byte == 7));
        received += piece.len();
    }

    assert_eq!(received, mib * PIECE);
    let grown = peak(server.pid()) - before;
    assert!(grown < FLAT_BYTES, "{grown} bytes for {mib} MiB");
}
