//! Files: uploads and downloads through signed links, beside a bare server that seals with the same cipher.
//!
//! Product: Carelog's own S3 server in this process. Each object is sent with `PUT` to a link that was signed for its
//! size, type and SHA-256, and fetched with `GET` from another; the server checks signature, size and digest, seals, and
//! syncs blob and manifest before it answers. Signing is part of the time, as it is for a client.
//!
//! Limit: a hyper server in this process that seals and opens the same frames (64 KiB, AES-256-GCM), writes one file and
//! syncs it. It checks nothing, knows no names, and hashes nothing.
//!
//! Both get the same bytes from the same client over loopback, several objects at a time.
//!
//! And the video rooms of a clinic, see `files/rooms.rs`.

mod bare;
mod rooms;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use bytes::Bytes;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{ContentType, LinkDisposition};
use carelog_embedded::s3::{self, REGION, S3Options, Tenant, Tenants, TenantsError};
use carelog_event_log::{Clock, SystemClock};
use carelog_files::{
    Credentials, Download, Encryption, Examined, SignedRequest, Storage, StorageOptions, Upload,
};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use reqwest::{Client, Method, Response};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Common;
use super::report::Report;
use super::stage::Stage;

const MEBIBYTE: usize = 1 << 20;
const BUCKET: &str = "bench";
const SECRET: &str = "a-secret-of-the-bench-and-of-nobody-else";
const LINK_LIFE: Duration = Duration::from_mins(10);

/// Options of `bench files`.
#[derive(Clone, Debug, clap::Args)]
pub struct FilesOptions {
    #[command(flatten)]
    pub(super) common: Common,
    /// Size of each object in MiB [default: 64, quick: 4].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    mebibytes: Option<u16>,
    /// Objects of a round [default: 16, quick: 4].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    objects: Option<u16>,
    /// Objects that are under way at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    at_a_time: u16,
    /// Video rooms of a clinic, made within the limits of its account [default: 1000, quick: 120].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rooms: Option<u16>,
}

/// What is sent, and how.
struct Load {
    client: Client,
    content: Bytes,
    upload: Upload,
    objects: u16,
    at_a_time: u16,
}

pub(super) async fn run(options: &FilesOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    // Only the first provider counts, and it is the same one everywhere.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let quick = options.common.quick;
    let mebibytes = options.mebibytes.unwrap_or(if quick { 4 } else { 64 });
    let load =
        Load::new(mebibytes, options.objects.unwrap_or(if quick { 4 } else { 16 }), options.at_a_time)?;
    report.remark(format!(
        "{} objects of {mebibytes} MiB, {} at a time; client and servers share the machine.",
        load.objects, load.at_a_time
    ));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let storage = start_storage(stage, &stop, &tasks).await?;
    let limit = bare::start(stage.directory.join("bare"), &stop, &tasks).await?;

    let mut are_whole = true;
    for round in 1..=options.common.rounds() {
        eprintln!("files: round {round} of {}", options.common.rounds());
        let rate = load.each(|object| upload(&load, &storage, object)).await?;
        report.figure("upload through a signed link", "MiB/s", rate);
        let rate = load.each(|object| bare::upload(&load.client, limit, object, &load.content)).await?;
        report.figure("bare: PUT, seal, sync", "MiB/s", rate);
        let rate = load.each(|object| download(&load, &storage, object)).await?;
        report.figure("download through a signed link", "MiB/s", rate);
        let rate =
            load.each(|object| bare::download(&load.client, limit, object, load.content.len())).await?;
        report.figure("bare: GET, open", "MiB/s", rate);
        let began = Instant::now();
        are_whole &= load.are_whole(&storage).await?;
        report.figure(
            "check of what was uploaded (hash, type)",
            "MiB/s",
            load.mebibytes() / began.elapsed().as_secs_f64(),
        );
    }
    report.ratio("upload ÷ bare", "upload through a signed link", "bare: PUT, seal, sync");
    report.ratio("download ÷ bare", "download through a signed link", "bare: GET, open");
    report.check("every object that was uploaded has the hash that was announced", are_whole);
    if let Some(resident) = super::usage::resident_mebibytes() {
        report.figure("memory of servers and client", "MiB", resident);
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Box::pin(rooms::run(options.rooms.unwrap_or(if quick { 120 } else { 1_000 }), stage, report)).await
}

impl Load {
    fn new(mebibytes: u16, objects: u16, at_a_time: u16) -> anyhow::Result<Self> {
        let mut content = vec![0; usize::from(mebibytes) * MEBIBYTE];
        getrandom::fill(&mut content).context("there is no randomness")?;
        let upload = Upload {
            size_bytes: i64::try_from(content.len())?,
            content_sha256: Sha256Digest::new(Sha256::digest(&content).into()),
            content_type: ContentType::Mp4,
        };
        let client = Client::builder().no_proxy().build()?;
        Ok(Self { client, content: Bytes::from(content), upload, objects, at_a_time })
    }

    fn mebibytes(&self) -> f64 {
        (self.content.len() / MEBIBYTE) as f64 * f64::from(self.objects)
    }

    /// Does something with each object, some at a time; gives MiB per second.
    async fn each<F>(&self, act: impl Fn(u16) -> F) -> anyhow::Result<f64>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let began = Instant::now();
        let acts = futures::stream::iter((0..self.objects).map(act));
        acts.buffer_unordered(self.at_a_time.into()).try_collect::<()>().await?;
        Ok(self.mebibytes() / began.elapsed().as_secs_f64())
    }

    /// Whether the storage has every object as it was announced.
    async fn are_whole(&self, storage: &Storage) -> anyhow::Result<bool> {
        for object in 0..self.objects {
            match storage.examine(&key(object), self.upload.size_bytes).await? {
                Examined::Found(found) if found.content_sha256 == self.upload.content_sha256 => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn key(object: u16) -> String {
    format!("files/bench/{object}")
}

fn now() -> SystemTime {
    OffsetDateTime::from(SystemClock.now()).into()
}

async fn upload(load: &Load, storage: &Storage, object: u16) -> anyhow::Result<()> {
    let link = storage.sign_upload(&key(object), load.upload, now(), LINK_LIFE).await?;
    send(&load.client, link, Some(load.content.clone())).await?;
    Ok(())
}

async fn download(load: &Load, storage: &Storage, object: u16) -> anyhow::Result<()> {
    let download = Download {
        content_type: load.upload.content_type.as_str(),
        disposition: LinkDisposition::Attachment,
        name: "exercise.mp4".to_owned(),
    };
    let link = storage.sign_download(&key(object), &download, now(), LINK_LIFE).await?;
    drain(send(&load.client, link, None).await?, load.content.len()).await
}

async fn send(client: &Client, link: SignedRequest, body: Option<Bytes>) -> anyhow::Result<Response> {
    let mut request = client.request(Method::from_bytes(link.method.as_bytes())?, link.url);
    for (name, value) in link.headers {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.body(body);
    }
    Ok(request.send().await?.error_for_status()?)
}

/// Takes an answer to its end.
async fn drain(mut answer: Response, expected: usize) -> anyhow::Result<()> {
    let mut taken = 0;
    while let Some(piece) = answer.chunk().await? {
        taken += piece.len();
    }
    ensure!(taken == expected, "{taken} bytes came instead of {expected}");
    Ok(())
}

/// The only one that the server serves.
struct OneTenant;

impl Tenants for OneTenant {
    fn find<'a>(
        &'a self,
        access_key_id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Tenant>>, TenantsError>> {
        let tenant =
            Tenant { bucket: BUCKET.to_owned(), secret_access_key: SECRET.to_owned(), key: bare::KEY };
        let found = (access_key_id == BUCKET).then(|| Arc::new(tenant));
        Box::pin(async { Ok(found) })
    }
}

async fn start_storage(
    stage: &Stage,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> anyhow::Result<Storage> {
    let options = S3Options {
        listen: bare::ANY_PORT,
        directory: stage.directory.join("storage"),
        tenants: Arc::new(OneTenant),
        clock: Arc::new(|| SystemClock.now().unix_micros().div_euclid(1_000_000)),
        stop: stop.clone(),
        tasks: tasks.clone(),
    };
    let address = s3::serve(options).await?;
    let storage = Storage::new(StorageOptions {
        endpoint: Some(format!("http://{address}")),
        public_endpoint: None,
        region: REGION.to_owned(),
        bucket: BUCKET.to_owned(),
        path_style: true,
        credentials: Credentials { access_key_id: BUCKET.to_owned(), secret_access_key: SECRET.to_owned() },
        encryption: Encryption::Aes256,
    });
    storage.ensure_bucket().await?;
    Ok(storage)
}
