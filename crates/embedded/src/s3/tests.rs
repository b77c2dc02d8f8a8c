//! The store without a socket, and the gate.

mod faults;
mod reading;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use http::{Method, Request, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blob::{self, Segment, Unnamed};
use super::cipher::FRAME_BYTES;
use super::error::StoreError;
use super::gate;
use super::manifest::{self, ObjectManifest, UploadManifest};
use super::server::{self, S3Options};
use super::store::Store;
use super::tenants::{Tenant, Tenants, TenantsError};
use super::terms::etag_of;

const KEY: &str = "files/0190";
const MARK: &[u8] = b"a very recognisable diagnosis";

fn tenant() -> Tenant {
    Tenant { bucket: "clinic-a".to_owned(), secret_access_key: "secret".to_owned(), key: [7; 32] }
}

/// More than three frames, of which the last is short.
fn content() -> Bytes {
    let mut bytes = MARK.repeat(3 * FRAME_BYTES / MARK.len() + 100);
    bytes.push(0);
    bytes.into()
}

async fn unnamed(store: &Store, content: &Bytes, said: u64) -> Result<Unnamed, StoreError> {
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        content.chunks(10_007).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    blob::write(store.blobs(&tenant()), tenant().key, stream::iter(pieces), said).await
}

/// A blob that stays without a name.
async fn write(store: &Store, content: &Bytes, said: u64) -> Result<Segment, StoreError> {
    Ok(unnamed(store, content, said).await?.keep().unwrap())
}

async fn put(store: &Store, content: &Bytes) -> Segment {
    let blob = unnamed(store, content, content.len() as u64).await.unwrap();
    let segment = blob.segment().unwrap().clone();
    let content_type = Some("application/pdf".to_owned());
    store.put(&tenant(), KEY.to_owned(), content_type, blob, 1_772_443_800).unwrap();
    segment
}

async fn read(store: &Store, segments: &[Segment], range: std::ops::Range<u64>) -> Option<Vec<u8>> {
    let pieces = blob::read(store.blobs(&tenant()), tenant().key, segments.into(), range);
    let mut pieces = std::pin::pin!(pieces);
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece.ok()?);
    }
    Some(bytes)
}

fn object(segment: &Segment) -> ObjectManifest {
    ObjectManifest {
        key: KEY.to_owned(),
        content_type: Some("application/pdf".to_owned()),
        etag: etag_of(segment),
        size: segment.size,
        modified: 1_772_443_800,
        segments: vec![segment.clone()],
    }
}

fn open(home: &TempDir) -> Store {
    let store = Store::open(home.path(), None).unwrap();
    store.create_bucket(&tenant()).unwrap();
    store
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test]
async fn what_was_written_is_read_in_any_range() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let content = content();
    let size = content.len() as u64;
    let segment = write(&store, &content, size).await.unwrap();
    let two = [segment.clone(), segment];
    let twice = [content.as_ref(), content.as_ref()].concat();
    let frame = FRAME_BYTES as u64;
    for range in [0..size, 0..1, frame - 1..frame + 1, frame..2 * frame, size - 1..size + 1, 5..2 * size] {
        let wanted = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();

        assert_eq!(read(&store, &two, range).await.unwrap(), twice[wanted]);
    }
}

#[tokio::test]
async fn nothing_lies_on_the_disk_in_the_clear() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    put(&store, &content()).await;

    for path in files_under(home.path()) {
        let bytes = fs::read(&path).unwrap();
        for secret in [MARK, b"application/pdf", KEY.as_bytes()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn a_body_of_another_length_leaves_nothing() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let size = content().len() as u64;
    for said in [size - 1, size + 1] {
        assert!(matches!(write(&store, &content(), said).await, Err(StoreError::Incomplete)));
    }
    assert_eq!(files_under(home.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_altered_or_cut_frame_is_not_handed_out() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let size = content().len() as u64;
    let segment = write(&store, &content(), size).await.unwrap();
    let path = store.blobs(&tenant()).join(&segment.blob);
    let whole = fs::read(&path).unwrap();
    let mut altered = whole.clone();
    altered[FRAME_BYTES + 100] ^= 1;
    let mut swapped = whole.clone();
    swapped.rotate_left(FRAME_BYTES + 16);
    for bytes in [altered, swapped, whole[..whole.len() - 1].to_vec(), whole[..FRAME_BYTES + 16].to_vec()] {
        fs::write(&path, bytes).unwrap();

        assert_eq!(read(&store, std::slice::from_ref(&segment), 0..size).await, None);
    }
}

#[tokio::test]
async fn a_manifest_opens_in_its_own_place_and_for_its_own_tenant_only() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let segment = put(&store, &content()).await;
    let folder = home.path().join("buckets/clinic-a/objects");
    fs::copy(folder.join(hex::encode(KEY)), folder.join(hex::encode("files/0191"))).unwrap();
    let stranger = Tenant { key: [8; 32], ..tenant() };

    assert_eq!(store.object(&tenant(), KEY).unwrap(), object(&segment));
    assert!(matches!(store.object(&tenant(), "files/0191"), Err(StoreError::Damaged)));
    assert!(matches!(store.object(&stranger, KEY), Err(StoreError::Damaged)));
}

#[tokio::test]
async fn given_a_crash_when_opened_again_then_what_had_no_name_is_gone() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let size = content().len() as u64;
    let segment = put(&store, &content()).await;
    let nameless = write(&store, &content(), size).await.unwrap();
    let folder = home.path().join("buckets/clinic-a");
    fs::write(folder.join("blobs/half.unfinished"), b"half a frame").unwrap();
    fs::write(folder.join("objects/half.unfinished"), b"half a manifest").unwrap();

    let store = Store::open(home.path(), None).unwrap();

    assert_eq!(read(&store, &[segment], 0..size).await.unwrap(), content());
    assert!(!store.blobs(&tenant()).join(nameless.blob).exists());
    assert_eq!(files_under(home.path()).len(), 2, "one manifest and one blob");
}

#[tokio::test]
async fn given_a_crash_in_completion_when_opened_again_then_the_object_keeps_its_bytes() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let upload = UploadManifest { key: KEY.to_owned(), content_type: None, initiated: 0 };
    let upload_id = store.begin(&tenant(), &upload).unwrap();
    let size = content().len() as u64;
    let blob = unnamed(&store, &content(), size).await.unwrap();
    let segment = blob.segment().unwrap().clone();
    store.put_part(&tenant(), &upload_id, KEY, 1, blob, 0).unwrap();
    // As completion does first, and then no more.
    let path = home.path().join("buckets/clinic-a/objects").join(hex::encode(KEY));
    manifest::write(&tenant(), &path, vec![segment.blob.clone()], &object(&segment))
        .unwrap()
        .lasts()
        .unwrap();

    let store = Store::open(home.path(), None).unwrap();

    assert_eq!(store.uploads(&tenant(), "").unwrap(), []);
    assert_eq!(read(&store, &[segment], 0..size).await.unwrap(), content());
}

#[tokio::test]
async fn parts_are_joined_in_order_and_by_their_tags() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let upload = UploadManifest { key: KEY.to_owned(), content_type: None, initiated: 0 };
    let upload_id = store.begin(&tenant(), &upload).unwrap();
    let large = Bytes::from(vec![1; 5 << 20]);
    let mut tags = Vec::new();
    for (number, content) in [(1, &large), (2, &content())] {
        let blob = unnamed(&store, content, content.len() as u64).await.unwrap();
        tags.push(store.put_part(&tenant(), &upload_id, KEY, number, blob, 0).unwrap());
    }
    let [one, two] = [tags[0].as_str(), tags[1].as_str()];
    let complete = |parts: &[(u16, &str)]| complete(&store, &upload_id, parts);

    assert!(matches!(complete(&[]), Err(StoreError::InvalidPart)));
    assert!(matches!(complete(&[(1, one), (2, "other")]), Err(StoreError::InvalidPart)));
    assert!(matches!(complete(&[(2, two), (1, one)]), Err(StoreError::InvalidPartOrder)));
    let object = complete(&[(1, one), (2, two)]).unwrap();
    assert_eq!(object.size, large.len() as u64 + content().len() as u64);
    assert!(matches!(complete(&[(1, one)]), Err(StoreError::Exists)));
}

/// Joins parts where there is no such object yet.
fn complete(store: &Store, upload_id: &str, parts: &[(u16, &str)]) -> Result<ObjectManifest, StoreError> {
    let named: Vec<_> = parts.iter().map(|(number, tag)| (*number, (*tag).to_owned())).collect();
    store.complete(&tenant(), upload_id, KEY, &named, 1, true)
}

#[tokio::test]
async fn an_object_that_was_joined_is_not_replaced_by_another_upload() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let (mut uploads, other) = (Vec::new(), Bytes::from_static(b"something else"));
    for content in [&content(), &other] {
        let upload = UploadManifest { key: KEY.to_owned(), content_type: None, initiated: 0 };
        let upload_id = store.begin(&tenant(), &upload).unwrap();
        let blob = unnamed(&store, content, content.len() as u64).await.unwrap();
        let tag = store.put_part(&tenant(), &upload_id, KEY, 1, blob, 0).unwrap();
        uploads.push((upload_id, tag));
    }

    let [first, second] = [0, 1].map(|index| complete(&store, &uploads[index].0, &[(1, &uploads[index].1)]));

    assert!(first.is_ok() && matches!(second, Err(StoreError::Exists)));
    let kept = store.object(&tenant(), KEY).unwrap();
    assert_eq!(read(&store, &kept.segments, 0..kept.size).await.unwrap(), content());
}

#[tokio::test]
async fn given_a_client_that_goes_away_before_its_object_has_a_name_then_no_byte_stays() {
    let home = TempDir::new().unwrap();
    let store = open(&home);

    drop(unnamed(&store, &content(), content().len() as u64).await.unwrap());

    assert_eq!(files_under(home.path()), Vec::<PathBuf>::new());
}

#[tokio::test(start_paused = true)]
async fn given_a_client_that_stalls_then_its_upload_ends() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let first: Result<Bytes, std::io::Error> = Ok(content());
    let stalling = stream::iter([first]).chain(stream::pending());

    let written = blob::write(store.blobs(&tenant()), tenant().key, Box::pin(stalling), 1 << 30).await;

    assert!(matches!(written, Err(StoreError::Incomplete)));
    assert_eq!(files_under(home.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn lists_follow_what_is_written_and_removed() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    let keys = |prefix: &str, after: &str, limit| {
        let (objects, has_more) = store.list(&tenant(), prefix, after, limit).unwrap();
        (objects.into_iter().map(|object| object.key).collect::<Vec<_>>(), has_more)
    };
    assert_eq!(keys("", "", 10), (vec![], false));
    for key in ["b/2", "a/1", "a/3", "a/2", "c"] {
        let blob = unnamed(&store, &Bytes::from_static(b"x"), 1).await.unwrap();
        store.put(&tenant(), key.to_owned(), None, blob, 1).unwrap();
    }
    store.delete(&tenant(), "a/2").unwrap();

    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    assert_eq!(keys("a/", "", 10), (owned(&["a/1", "a/3"]), false));
    assert_eq!(keys("a/", "a/1", 10), (owned(&["a/3"]), false));
    assert_eq!(keys("", "", 2), (owned(&["a/1", "a/3"]), true));
    assert_eq!(keys("", "a/3", 2), (owned(&["b/2", "c"]), false));
    assert_eq!(keys("", "b", 9), (owned(&["b/2", "c"]), false));
}

#[test]
fn no_name_of_a_caller_becomes_a_path() {
    let home = TempDir::new().unwrap();
    let store = open(&home);
    for id in ["../objects", "", "..", "0123456789abcdef0123456789abcde/"] {
        assert!(matches!(store.upload(&tenant(), id, KEY), Err(StoreError::NoSuchUpload)));
    }
    assert!(matches!(store.object(&tenant(), "../../escape"), Err(StoreError::NoSuchKey)));
    assert!(matches!(store.object(&tenant(), &"x".repeat(121)), Err(StoreError::KeyTooLong)));
}

fn asked(query: &str) -> Request<()> {
    Request::builder().uri(format!("/bucket/key?{query}")).body(()).unwrap()
}

/// 2026-03-02T09:30:00Z
const SIGNED: i64 = 1_772_443_800;
const LINK: &str = "X-Amz-Date=20260302T093000Z&X-Amz-Signature=00&X-Amz-Expires=";

#[test]
fn a_link_ends_when_it_says() {
    let query = format!("{LINK}300");

    assert_eq!(gate::check(&asked(&query), SIGNED + 300), Ok(()));
    let refusal = gate::check(&asked(&query), SIGNED + 301).unwrap_err();
    assert_eq!((refusal.status, refusal.code), (StatusCode::FORBIDDEN, "AccessDenied"));
}

#[test]
fn a_link_holds_for_a_quarter_of_an_hour_at_most() {
    assert_eq!(gate::check(&asked(&format!("{LINK}900")), SIGNED), Ok(()));
    let disguised = "X%2DAmz-Date=20260302T093000Z&X-Amz%2DSignature=00&X-Amz-E%78pires=604800";
    assert!(gate::check(&asked(disguised), SIGNED).is_err());
    assert!(gate::check(&asked("AWSAccessKeyI%64=a&%53ignature=b"), SIGNED).is_err());
    for life in ["901", "604800", "0", "-1", "x", "300&X-Amz-Expires=604800"] {
        let refusal = gate::check(&asked(&format!("{LINK}{life}")), SIGNED).unwrap_err();

        assert_eq!(refusal.code, "AuthorizationQueryParametersError", "{life}");
    }
}

#[test]
fn old_signatures_and_forms_are_refused() {
    assert!(gate::check(&asked("AWSAccessKeyId=a&Signature=b&Expires=9"), SIGNED).is_err());
    let old = Request::builder().header("authorization", "AWS a:b").body(()).unwrap();
    assert!(gate::check(&old, SIGNED).is_err());
    let form = Request::builder()
        .method(Method::POST)
        .header("content-type", "multipart/form-data; boundary=x")
        .body(())
        .unwrap();
    assert!(gate::check(&form, SIGNED).is_err());
}

/// Knows nobody.
struct Nobody;

impl Tenants for Nobody {
    fn find<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Arc<Tenant>>, TenantsError>> {
        Box::pin(async { Ok(None) })
    }
}

/// Sends a request whose body goes on after the answer, and gives both answers of the connection.
async fn sent_to_the_end(address: SocketAddr, path: &str) -> io::Result<[String; 2]> {
    const LENGTH: usize = 16 * 1024 * 1024;
    let (reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut status = async || {
        loop {
            let line = lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            // The body of an answer ends without a line's end.
            if let Some(at) = line.find("HTTP/1.1") {
                return Ok::<_, io::Error>(line[at + 9..at + 12].to_owned());
            }
        }
    };
    writer
        .write_all(format!("PUT {path} HTTP/1.1\r\nhost: s3\r\ncontent-length: {LENGTH}\r\n\r\n").as_bytes())
        .await?;
    let first = status().await?;
    writer.write_all(&vec![7; LENGTH]).await?;
    writer.write_all(b"OPTIONS / HTTP/1.1\r\nhost: s3\r\n\r\n").await?;
    Ok([first, status().await?])
}

#[tokio::test]
async fn who_is_refused_while_sending_hears_why_and_keeps_the_connection() {
    let home = TempDir::new().unwrap();
    let stop = CancellationToken::new();
    let options = S3Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        directory: home.path().to_owned(),
        tenants: Arc::new(Nobody),
        clock: Arc::new(|| 1_772_443_800),
        stop: stop.clone(),
        tasks: TaskTracker::new(),
    };
    let address = server::serve(options).await.unwrap();

    let expired = "/clinic-a/x?X-Amz-Signature=0&X-Amz-Expires=60&X-Amz-Date=20200101T000000Z";
    let by_the_gate = sent_to_the_end(address, expired).await.unwrap();
    let by_s3 = sent_to_the_end(address, "/clinic-a/x").await.unwrap();

    assert_eq!((by_the_gate, by_s3), (["403", "204"].map(str::to_owned), ["403", "204"].map(str::to_owned)));
    stop.cancel();
}
