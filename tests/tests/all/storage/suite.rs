//! What holds of every storage.

use std::path::Path;
use std::time::{Duration, SystemTime};

use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{ContentType, FoundObject, LinkDisposition, StorageEncryption};
use carelog_event_log::{Clock as _, SystemClock};
use carelog_files::{
    Credentials, Download, Encryption, Examined, SignedRequest, Storage, StorageError, Upload,
};
use carelog_tests::TwoClinics;
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest as _, Sha256};

pub(super) const KEY: &str = "files/0197a000-0000-7000-8000-000000000001";
const OTHER: &str = "files/0197a000-0000-7000-8000-000000000002";
pub(super) const PDF: &[u8] = b"%PDF-1.7\na very recognisable diagnosis\n%%EOF\n";
const LIFE: Duration = Duration::from_mins(5);
const PART: usize = 6 << 20;

pub(super) fn now() -> SystemTime {
    SystemTime::from(time::OffsetDateTime::from(SystemClock.now()))
}

pub(super) fn digest(content: &[u8]) -> Sha256Digest {
    Sha256Digest::new(Sha256::digest(content).into())
}

pub(super) fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

pub(super) fn download() -> Download {
    let (content_type, disposition) = (ContentType::Pdf.as_str(), LinkDisposition::Attachment);
    Download { content_type, disposition, name: "report.pdf".to_owned() }
}

fn upload() -> Upload {
    Upload {
        size_bytes: i64::try_from(PDF.len()).unwrap(),
        content_sha256: digest(PDF),
        content_type: ContentType::Pdf,
    }
}

pub(super) async fn fetch(url: &str) -> Response {
    client().get(url).send().await.unwrap()
}

pub(super) async fn send(link: &SignedRequest, body: Vec<u8>) -> Response {
    send_with(link, body, |_, _| true).await
}

/// Sends a signed upload with those of its headers that are wanted.
async fn send_with(link: &SignedRequest, body: Vec<u8>, wanted: impl Fn(&str, &str) -> bool) -> Response {
    request(link, body, wanted).send().await.unwrap()
}

/// Sends what has to be refused: by an answer, or by a connection that is closed before a long body was taken, as HTTP
/// allows. Whether anything was stored is for the caller to see.
async fn is_refused(link: &SignedRequest, body: Vec<u8>) {
    match request(link, body, |_, _| true).send().await {
        Ok(answer) => assert!(answer.status().is_client_error(), "{}", answer.status()),
        Err(error) => assert!(error.is_request(), "{error:?}"),
    }
}

fn request(
    link: &SignedRequest,
    body: Vec<u8>,
    wanted: impl Fn(&str, &str) -> bool,
) -> reqwest::RequestBuilder {
    let mut request = client().put(&link.url);
    for (name, value) in &link.headers {
        if name != "host" && name != "content-length" && wanted(name, value) {
            request = request.header(name, value);
        }
    }
    request.body(body)
}

/// How everything lies there.
fn demanded(storage: &Storage) -> StorageEncryption {
    match storage.options().encryption {
        Encryption::Aes256 => StorageEncryption::Aes256,
        Encryption::Kms { .. } => StorageEncryption::Kms,
    }
}

/// Runs all of it, in an order in which each leaves what the next needs.
pub(super) async fn run(clinics: &TwoClinics) {
    clinics.own.ensure_bucket().await.unwrap();
    clinics.other.ensure_bucket().await.unwrap();
    clinics.own.ensure_bucket().await.unwrap();
    a_signed_upload_takes_what_was_signed_alone(clinics).await;
    a_signed_download_gives_what_was_signed_alone(clinics).await;
    links_end(clinics).await;
    other_credentials_reach_nothing(clinics).await;
    nothing_lies_on_the_disk_in_the_clear(&clinics.directory);
    removal_leaves_nothing(clinics).await;
    parts_are_resumed_and_joined(clinics).await;
    an_unfinished_upload_is_removed(clinics).await;
}

async fn a_signed_upload_takes_what_was_signed_alone(clinics: &TwoClinics) {
    let storage = &clinics.own;
    let link = storage.sign_upload(KEY, upload(), now(), LIFE).await.unwrap();
    let mut altered = PDF.to_vec();
    altered[12] ^= 1;
    let plain = |name: &str, _: &str| name != "x-amz-server-side-encryption";
    let elsewhere = SignedRequest { url: link.url.replace(KEY, OTHER), ..link.clone() };
    let longer = SignedRequest { url: link.url.replace("Expires=300", "Expires=900"), ..link.clone() };

    let refusals = [
        ("another content", send(&link, altered).await),
        ("another size", send(&link, [PDF, b"more"].concat()).await),
        ("no encryption", send_with(&link, PDF.to_vec(), plain).await),
        ("no type", send_with(&link, PDF.to_vec(), |name, _| name != "content-type").await),
        ("another key", send(&elsewhere, PDF.to_vec()).await),
        ("a longer life", send(&longer, PDF.to_vec()).await),
    ];
    for (what, refused) in refusals {
        assert!(refused.status().is_client_error(), "{what}: {}", refused.status());
    }
    assert_eq!(storage.examine(KEY, i64::MAX).await.unwrap(), Examined::Absent);
    for _ in 0..2 {
        assert_eq!(send(&link, PDF.to_vec()).await.status(), StatusCode::OK);
    }

    let found = Examined::Found(FoundObject {
        size_bytes: upload().size_bytes,
        content_sha256: digest(PDF),
        content_type: Some(ContentType::Pdf),
        encryption: Some(demanded(storage)),
    });
    assert_eq!(storage.examine(KEY, i64::MAX).await.unwrap(), found);
    assert_eq!(
        storage.examine(KEY, 5).await.unwrap(),
        Examined::TooLarge { size_bytes: upload().size_bytes }
    );
}

async fn a_signed_download_gives_what_was_signed_alone(clinics: &TwoClinics) {
    let link = clinics.own.sign_download(KEY, &download(), now(), LIFE).await.unwrap();

    let whole = fetch(&link.url).await;
    let header = |name: &str| whole.headers().get(name).unwrap().to_str().unwrap().to_owned();
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(header("content-type"), "application/pdf");
    assert_eq!(header("content-disposition"), "attachment; filename=\"report.pdf\"");
    assert_eq!(header("cache-control"), "private, no-store");
    assert_eq!(whole.bytes().await.unwrap(), PDF);
    let range = client().get(&link.url).header("range", "bytes=9-14").send().await.unwrap();
    assert_eq!(range.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(range.bytes().await.unwrap(), &PDF[9..15]);

    for (from, to) in [(KEY, OTHER), ("application%2Fpdf", "text%2Fhtml"), ("attachment", "inline")] {
        assert!(link.url.contains(from), "{from}");
        let refused = fetch(&link.url.replace(from, to)).await;

        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{to}");
    }
    let written = client().put(&link.url).body("other").send().await.unwrap();
    assert_eq!(written.status(), StatusCode::FORBIDDEN, "a download writes nothing");
}

async fn links_end(clinics: &TwoClinics) {
    let before = now() - Duration::from_mins(6);
    let download = clinics.own.sign_download(KEY, &download(), before, LIFE).await.unwrap();
    let upload = clinics.own.sign_upload(OTHER, upload(), before, LIFE).await.unwrap();

    assert_eq!(fetch(&download.url).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(send(&upload, PDF.to_vec()).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(clinics.own.examine(OTHER, i64::MAX).await.unwrap(), Examined::Absent);
}

async fn other_credentials_reach_nothing(clinics: &TwoClinics) {
    let others = clinics.other.options().credentials.clone();
    let foreign = clinics.with(|options| options.credentials = others);
    let guessed = clinics.with(|options| {
        let access_key_id = options.credentials.access_key_id.clone();
        options.credentials = Credentials { access_key_id, secret_access_key: "guessed".to_owned() };
    });
    for (what, storage) in [("another clinic", foreign), ("a guess", guessed)] {
        let link = storage.sign_download(KEY, &download(), now(), LIFE).await.unwrap();
        let into = storage.sign_upload(OTHER, upload(), now(), LIFE).await.unwrap();

        assert_eq!(fetch(&link.url).await.status(), StatusCode::FORBIDDEN, "{what}");
        assert_eq!(send(&into, PDF.to_vec()).await.status(), StatusCode::FORBIDDEN, "{what}");
        assert_refused(what, &storage.examine(KEY, i64::MAX).await);
        assert_refused(what, &storage.list("", None).await);
        assert_refused(what, &storage.list_uploads("").await);
        assert_refused(what, &storage.remove(KEY).await);
        assert_refused(what, &storage.put(OTHER, ContentType::Pdf.as_str(), PDF.into()).await);
    }
    assert!(matches!(clinics.own.examine(KEY, i64::MAX).await.unwrap(), Examined::Found(_)));
    assert_eq!(clinics.own.examine(OTHER, i64::MAX).await.unwrap(), Examined::Absent);
}

fn assert_refused<T: std::fmt::Debug>(what: &str, answer: &Result<T, StorageError>) {
    assert!(matches!(answer, Err(StorageError::Refused { status: 403, .. })), "{what}: {answer:?}");
}

fn nothing_lies_on_the_disk_in_the_clear(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            nothing_lies_on_the_disk_in_the_clear(&path);
        } else if let Ok(bytes) = std::fs::read(&path) {
            let secret = b"recognisable diagnosis";
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
        }
    }
}

async fn removal_leaves_nothing(clinics: &TwoClinics) {
    let storage = &clinics.own;
    let listed: Vec<String> =
        storage.list("files/", None).await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(listed, [KEY]);
    assert_eq!(storage.list("files/", Some(KEY)).await.unwrap(), []);

    storage.remove(KEY).await.unwrap();
    storage.remove(KEY).await.unwrap();

    assert_eq!(storage.examine(KEY, i64::MAX).await.unwrap(), Examined::Absent);
    assert_eq!(storage.list("", None).await.unwrap(), []);
}

async fn parts_are_resumed_and_joined(clinics: &TwoClinics) {
    let storage = &clinics.own;
    let mut content = b"\x00\x00\x00\x18ftypisom".to_vec();
    content.resize(2 * PART + 1_000, 9);
    let pieces: Vec<&[u8]> = content.chunks(PART).collect();
    let upload_id = storage.begin(KEY, ContentType::Mp4).await.unwrap();
    assert_eq!(
        storage.begin(KEY, ContentType::Mp4).await.unwrap(),
        upload_id,
        "there is one upload of a key"
    );
    let mut links = Vec::new();
    for (number, piece) in (1..).zip(&pieces) {
        let size = i64::try_from(piece.len()).unwrap();
        links.push(storage.sign_part(KEY, &upload_id, number, size, now(), LIFE).await.unwrap());
    }
    is_refused(&links[0], content.clone()).await;
    for index in [2, 0] {
        assert_eq!(send(&links[index], pieces[index].to_vec()).await.status(), StatusCode::OK);
    }

    let resumed = storage.find_upload(KEY).await.unwrap().unwrap();
    let arrived: Vec<u16> =
        storage.parts(KEY, &resumed).await.unwrap().into_iter().map(|part| part.number).collect();
    assert_eq!(arrived, [1, 3]);
    assert_eq!(send(&links[1], pieces[1].to_vec()).await.status(), StatusCode::OK);
    let parts = storage.parts(KEY, &resumed).await.unwrap();
    storage.complete(KEY, &resumed, &parts).await.unwrap();

    let found = storage.examine(KEY, i64::MAX).await.unwrap();
    assert_eq!(
        found,
        Examined::Found(FoundObject {
            size_bytes: i64::try_from(content.len()).unwrap(),
            content_sha256: digest(&content),
            content_type: Some(ContentType::Mp4),
            encryption: Some(demanded(storage)),
        })
    );
    is_refused(&links[0], vec![0; PART]).await;
    assert_eq!(storage.examine(KEY, i64::MAX).await.unwrap(), found, "nothing changes it any more");
    assert_eq!(storage.list_uploads("files/").await.unwrap(), []);
    let link = storage.sign_download(KEY, &download(), now(), LIFE).await.unwrap();
    let across = format!("bytes={}-{}", PART - 3, PART + 2);
    let range = client().get(&link.url).header("range", across).send().await.unwrap();
    assert_eq!(range.bytes().await.unwrap(), &content[PART - 3..PART + 3]);
    storage.remove(KEY).await.unwrap();
}

async fn an_unfinished_upload_is_removed(clinics: &TwoClinics) {
    let storage = &clinics.own;
    let upload_id = storage.begin(KEY, ContentType::Mp4).await.unwrap();
    let link = storage.sign_part(KEY, &upload_id, 1, 3, now(), LIFE).await.unwrap();
    send(&link, b"abc".to_vec()).await;
    assert_eq!(storage.list_uploads("files/").await.unwrap().len(), 1);

    storage.remove(KEY).await.unwrap();

    assert_eq!(storage.list_uploads("files/").await.unwrap(), []);
    let late = send(&link, b"abc".to_vec()).await;
    assert!(late.status().is_client_error(), "{}", late.status());
    assert_eq!(storage.examine(KEY, i64::MAX).await.unwrap(), Examined::Absent);
}

/// What lies under a key is not taken for what lies under another.
pub(super) async fn another_key_is_told_apart(clinics: &TwoClinics, another: &TwoClinics) {
    let encryption = async |clinics: &TwoClinics| match clinics.own.examine(KEY, i64::MAX).await.unwrap() {
        Examined::Found(found) => found.encryption,
        other => panic!("{other:?}"),
    };
    clinics.own.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();
    assert_eq!(encryption(clinics).await, Some(StorageEncryption::Kms));
    assert_eq!(encryption(another).await, None);
    another.own.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();
    assert_eq!((encryption(clinics).await, encryption(another).await), (None, Some(StorageEncryption::Kms)));
    clinics.own.remove(KEY).await.unwrap();
}

/// Where the bucket keeps versions.
pub(super) async fn every_version_is_removed(clinics: &TwoClinics) {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials as SdkCredentials, Region};
    use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

    let options = clinics.own.options();
    let Credentials { access_key_id, secret_access_key } = &options.credentials;
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SdkCredentials::new(access_key_id, secret_access_key, None, None, "test"))
        .region(Region::new(options.region.clone()))
        .endpoint_url(options.endpoint.clone().unwrap())
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let bare = aws_sdk_s3::Client::from_conf(config);
    let versioning = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    bare.put_bucket_versioning()
        .bucket(&options.bucket)
        .versioning_configuration(versioning)
        .send()
        .await
        .unwrap();
    for _ in 0..3 {
        clinics.own.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();
    }
    bare.delete_object().bucket(&options.bucket).key(KEY).send().await.unwrap();
    clinics.own.put(KEY, ContentType::Pdf.as_str(), PDF.into()).await.unwrap();
    let versions = async || {
        let listed = bare.list_object_versions().bucket(&options.bucket).send().await.unwrap();
        (listed.versions().len(), listed.delete_markers().len())
    };
    assert_eq!(versions().await, (4, 1));

    clinics.own.remove(KEY).await.unwrap();

    assert_eq!(versions().await, (0, 0));
}
