//! `carelog witness` as a process of its own: by the words of its protocol, against a log that lies, killed and restored,
//! and beside a server whose checkpoints it cosigns.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_audit::meta::META;
use carelog_audit::proof::{
    AddCheckpoint, Algorithm, Checkpoint, ConsistencyProof, SigningKey, TileSet, leaf_hash, root,
};
use carelog_audit::signer::{Looked, uncosigned};
use carelog_domain::OrganizationId;
use carelog_server::config::Config;
use carelog_server::serve::{Roles, Server};
use carelog_tests::{Answer, Api, send, until};
use reqwest::{Client, StatusCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::bundles::Audit;
use super::served::openssl_verifies;
use super::{checkpoint, happen, signing_api};

const ORIGIN: &str = "log.example/clinic";
const NAME: &str = "witness.example/w1";

/// A running witness; killed when dropped.
struct Witness {
    child: Child,
    key: String,
    url: String,
}

fn command(place: &Path, policy: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"));
    command
        .env_clear()
        .args(["witness", "--name", NAME, "--directory"])
        .arg(place.join("witness"))
        .arg("--sizes")
        .arg(place.join("elsewhere"))
        .arg("--log")
        .arg(policy);
    command
}

impl Witness {
    fn start(place: &Path, policy: &Path) -> Self {
        let mut command = command(place, policy);
        let command = command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = |what: &str| {
            let line = lines.next().unwrap().unwrap();
            line.strip_prefix(what).unwrap_or_else(|| panic!("{line}")).trim().to_owned()
        };
        let (key, url) = (told("witness"), told("listens"));
        Self { child, key, url }
    }

    /// Refuses to start: what it says.
    fn refuses(place: &Path, policy: &Path) -> String {
        let Output { status, stderr, .. } =
            command(place, policy).args(["--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(status.code(), Some(1));
        String::from_utf8(stderr).unwrap()
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    async fn add(&self, body: String) -> Answer {
        send(client().post(format!("{}/add-checkpoint", self.url)).body(body)).await
    }

    async fn shown(&self, origin: &str) -> Answer {
        let hash = hex::encode(Sha256::digest(origin));
        send(client().get(format!("{}/{hash}/checkpoint", self.url))).await
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> Client {
    // Fails where another test was first, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// A log that needs no server, with one history or another.
fn request(history: u8, old_size: u64, size: u64) -> AddCheckpoint {
    let leaves: Vec<_> = (0..50_u8).map(|number| leaf_hash(&[history, number])).collect();
    let tiles = TileSet::of_leaves(&leaves);
    let proof = ConsistencyProof::generate(&tiles, old_size, size).unwrap().unwrap().hashes;
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: root(&tiles, size).unwrap() };
    AddCheckpoint { old_size, proof, checkpoint: checkpoint.sign(&log()).unwrap() }
}

fn log() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn policy(folder: &TempDir) -> PathBuf {
    let key = log().verifier(ORIGIN, Algorithm::Ed25519).unwrap();
    let path = folder.path().join("policy");
    fs::write(&path, format!("log {key}\nquorum none\n")).unwrap();
    fs::create_dir_all(folder.path().join("witness")).unwrap();
    path
}

/// Whether OpenSSL accepts a cosignature line over the text of a checkpoint.
async fn is_cosigned(vkey: &str, line: &str, text: &str) -> bool {
    let blob = STANDARD.decode(line.trim_end().rsplit(' ').next().unwrap()).unwrap();
    let seconds = u64::from_be_bytes(blob[4..12].try_into().unwrap());
    openssl_verifies(vkey, &format!("cosignature/v1\ntime {seconds}\n{text}"), &blob[12..]).await
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            copy(&path, &to.join(path.file_name().unwrap()));
        } else {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_answers_as_its_protocol_says() {
    let folder = TempDir::new().unwrap();
    let policy = policy(&folder);
    let witness = Witness::start(folder.path(), &policy);
    let status = async |request: AddCheckpoint| witness.add(request.to_string()).await.status;
    let forged = |size: u64, key: &SigningKey, origin: &str| {
        let claim = request(0, 0, size).checkpoint.claim().clone();
        let claim = Checkpoint { origin: origin.to_owned(), ..claim };
        AddCheckpoint { old_size: 0, proof: vec![], checkpoint: claim.sign(key).unwrap() }
    };
    let stranger = SigningKey::from_seed(&[8; 32]);

    assert_eq!(witness.shown(ORIGIN).await.status, 404, "nothing was cosigned yet");
    assert_eq!(witness.add("old 0\n\nnothing\n".to_owned()).await.status, 400);
    assert_eq!(witness.add("x".repeat(1 << 20)).await.status, 413);
    assert_eq!(status(forged(5, &stranger, ORIGIN)).await, 403);
    assert_eq!(status(forged(5, &log(), "log.example/other")).await, 404);

    let first = request(0, 0, 5);
    let answer = witness.add(first.to_string()).await;
    assert_eq!((answer.status, answer.text.lines().count()), (200, 1), "{}", answer.text);
    assert!(answer.text.starts_with(&format!("\u{2014} {NAME} ")));
    let text = first.checkpoint.checkpoint_text();
    assert!(is_cosigned(&witness.key, &answer.text, &text).await);
    assert!(!is_cosigned(&witness.key, &answer.text, &text.replace("\n5\n", "\n6\n")).await);

    let shown = witness.shown(ORIGIN).await;
    assert_eq!((shown.status, shown.text), (200, format!("{}{}", first.checkpoint, answer.text)));
    assert_eq!(status(AddCheckpoint { old_size: 9, ..request(0, 0, 7) }).await, 400);
    let conflict = witness.add(request(0, 3, 9).to_string()).await;
    assert_eq!((conflict.status, &*conflict.text), (409, "5\n"));
    assert_eq!(conflict.header("content-type"), "text/x.tlog.size");
    assert_eq!(status(AddCheckpoint { proof: vec![], ..request(0, 5, 9) }).await, 422);
    assert_eq!(status(request(1, 5, 9)).await, 422, "another past");
    assert_eq!(status(request(1, 5, 5)).await, 422, "another root of the same size");
    assert_eq!(status(request(0, 5, 5)).await, 200, "the same once more");
    assert_eq!(status(request(0, 5, 9)).await, 200);
    let get = send(client().get(format!("{}/add-checkpoint", witness.url))).await;
    assert_eq!(get.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_forgets_nothing_when_killed_and_does_not_start_when_set_back() {
    let folder = TempDir::new().unwrap();
    let policy = policy(&folder);
    let backup = folder.path().join("backup");
    let witness = Witness::start(folder.path(), &policy);
    let key = witness.key.clone();
    assert_eq!(witness.add(request(0, 0, 5).to_string()).await.status, 200);
    copy(&folder.path().join("witness"), &backup);
    assert_eq!(witness.add(request(0, 5, 9).to_string()).await.status, 200);

    let second = Witness::refuses(folder.path(), &policy);
    witness.kill();
    let witness = Witness::start(folder.path(), &policy);
    let fork = witness.add(request(1, 9, 12).to_string()).await;
    let older = witness.add(request(1, 5, 12).to_string()).await;
    let next = witness.add(request(0, 9, 12).to_string()).await;
    let key_after = witness.key.clone();
    witness.kill();
    copy(&backup, &folder.path().join("witness"));
    let restored = Witness::refuses(folder.path(), &policy);

    assert!(second.contains("another process holds the key"), "{second}");
    assert_eq!((fork.status, older.status, next.status, key_after), (422, 409, 200, key));
    assert!(restored.contains("has 5 leaves, and 12 were cosigned"), "{restored}");
}

/// A second server on the same system, which signs no more than the first one but asks the witness.
async fn with_witness(api: &Api, address: &str) -> Server {
    let mut config = Config { home: api.home().to_path_buf(), ..Config::default() };
    config.http.listen = ([127, 0, 0, 1], 0).into();
    config.proofs.sign_every_ms = std::num::NonZeroU32::new(50).unwrap();
    config.proofs.witnesses = vec![address.to_owned().try_into().unwrap()];
    let roles = Roles { signer: true, ..Roles::NONE };
    Server::start(&config, api.server.system().clone(), roles).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_its_checkpoints_cosigned_and_auditors_can_demand_it() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    checkpoint(&audit.clinic, 260).await;
    fs::create_dir_all(audit.path("witness")).unwrap();
    let witness = Witness::start(audit.folder.path(), &audit.path("policy"));
    let address = format!("{} {}", witness.key, witness.url);
    let _asking = with_witness(&api, &address).await;

    let (note, size) = until("a checkpoint is cosigned", async || {
        let answer = audit.clinic.get("/v1/proofs/checkpoint?witnesses=1").await;
        let size: u64 = answer.text.lines().nth(1)?.parse().ok()?;
        (answer.status == 200 && size >= 260).then_some((answer.text, size))
    })
    .await;
    let (text, lines) = note.split_at(note.rfind("\n\n").unwrap() + 1);
    assert!(is_cosigned(&witness.key, lines.lines().last().unwrap(), text).await, "{note}");
    assert_eq!(audit.clinic.get("/v1/proofs/checkpoint?witnesses=2").await.status, 404);

    let own = fs::read_to_string(audit.path("policy")).unwrap();
    let logs: Vec<&str> = own.lines().take(2).collect();
    let demanding = |key: &str| format!("{}\nwitness w {key}\nquorum w\n", logs.join("\n"));
    let stranger = SigningKey::from_seed(&[8; 32]).verifier("w.example/2", Algorithm::Cosignature).unwrap();
    let exported = audit
        .beside_the_server()
        .env("CARELOG_PROOFS_WITNESSES", format!("[{address:?}]"))
        .args(["audit", "export", "--out", "all.tar", "--organization", &audit.clinic.id.to_string()])
        .output()
        .unwrap();
    assert!(exported.status.success(), "{exported:?}");
    for (policy, code, damage) in [
        (demanding(&witness.key), 0, json!(null)),
        (demanding(&stranger.to_string()), 15, json!("quorum_unmet")),
    ] {
        audit.write("policy", policy);
        let (found, verdict) = audit.verify("all.tar", &[]);
        assert_eq!((found, &verdict["damage"]), (code, &damage), "{verdict}");
        let (found, verdict) = audit.verify_own(&[]);
        assert_eq!((found, &verdict["damage"]), (code, &damage), "live: {verdict}");
        if code == 0 {
            assert_eq!(verdict["report"]["witnesses"], json!(["w"]));
        }
    }

    assert!(size >= 260);
    everything_is_cosigned(&audit).await;

    // Killed, it goes on where it was. Restored with everything that it has, only the server can know.
    copy(&audit.path("witness"), &audit.path("backup"));
    copy(&audit.path("elsewhere"), &audit.path("backup-elsewhere"));
    let port = witness.url.rsplit(':').next().unwrap().to_owned();
    witness.kill();
    audit.write("policy", own);
    let again = || {
        let mut command = command(audit.folder.path(), &audit.path("policy"));
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command
    };
    let mut child = restarted(again());
    happen(&api, OrganizationId::new(audit.clinic.id), 4).await;
    everything_is_cosigned(&audit).await;
    child.kill().unwrap();
    child.wait().unwrap();
    copy(&audit.path("backup"), &audit.path("witness"));
    copy(&audit.path("backup-elsewhere"), &audit.path("elsewhere"));
    let mut child = restarted(again());
    happen(&api, OrganizationId::new(audit.clinic.id), 4).await;
    until("the server finds that the witness was set back", async || {
        let metrics = send(api.request(reqwest::Method::GET, "/metrics")).await.text;
        is_alarmed(&metrics, NAME)
    })
    .await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Waits until the witness has seen every event that there is now.
async fn everything_is_cosigned(audit: &Audit<'_>) {
    let statement = "select max(organization_sequence) from log.events where organization_id = $1";
    let count = sqlx::query_scalar(statement).bind(audit.clinic.id).fetch_one(&audit.clinic.api.core);
    let count: i64 = count.await.unwrap();
    until("everything is cosigned", async || {
        let answer = audit.clinic.get("/v1/proofs/checkpoint?witnesses=1").await;
        (answer.text.lines().nth(1)?.parse::<i64>().ok()? >= count).then_some(())
    })
    .await;
}

/// Whether the metrics tell of logs that a witness refuses.
fn is_alarmed(metrics: &str, witness: &str) -> Option<()> {
    let start = format!("carelog_witness_refused_logs{{witness=\"{witness}\"}}");
    let told = metrics.lines().find(|line| line.starts_with(&start))?;
    (!told.ends_with(" 0")).then_some(())
}

/// A witness that always answers the same.
struct Sullen {
    url: String,
    /// The origins about which it was asked.
    asked: Arc<Mutex<BTreeSet<String>>>,
    _serving: JoinSet<io::Result<()>>,
}

async fn sullen(status: u16) -> Sullen {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let (heard, status) = (Arc::clone(&asked), StatusCode::from_u16(status).unwrap());
    let answer = post(async move |body: String| {
        let request = AddCheckpoint::parse(&body).unwrap();
        heard.lock().unwrap().insert(request.checkpoint.claim().origin.clone());
        status
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/add-checkpoint", answer);
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await });
    Sullen { url, asked, _serving: serving }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_witness_cannot_answer_about_keeps_no_other_waiting() {
    let api = signing_api().await;
    let (one, two) = (api.clinic("One").await, api.clinic("Two").await);
    let origins = [checkpoint(&one, 1).await.1, checkpoint(&two, 1).await.1];
    let witness = sullen(503).await;
    let key = SigningKey::from_seed(&[9; 32]).verifier("busy.example/w", Algorithm::Cosignature).unwrap();

    let _asking = with_witness(&api, &format!("{key} {}", witness.url)).await;

    until("the witness is asked about both", async || {
        origins.iter().all(|origin| witness.asked.lock().unwrap().contains(origin)).then_some(())
    })
    .await;
    let mut audit = api.server.system().databases.audit_system.acquire().await.unwrap();
    let (prefix, [one, two]) = (api.server.system().log.name(), [one.id, two.id].map(OrganizationId::new));
    let looked = Looked { prefix, witness: &key, paused: &[META], refused: &[], limit: 1 };
    let mut first =
        async |looked: Looked<'_>| uncosigned(&mut audit, looked).await.unwrap().remove(0).organization_id;
    assert_eq!(first(Looked { paused: &[META, one], ..looked }).await, two);
    assert_eq!(first(Looked { paused: &[META, two], ..looked }).await, one);
    assert_eq!(first(Looked { refused: &[one], ..looked }).await, two);
    assert_eq!(first(Looked { refused: &[two], ..looked }).await, one);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_forgot_a_log_raises_an_alarm() {
    const FORGETFUL: &str = "forgetful.example/w";
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    let (_, origin, size, _) = checkpoint(&clinic, 1).await;
    let witness = sullen(404).await;
    let key = SigningKey::from_seed(&[9; 32]).verifier(FORGETFUL, Algorithm::Cosignature).unwrap();
    let cosigned = sqlx::query(
        "insert into signer.cosignatures (organization_id, origin, size, witness, line, cosigned_at)
         values ($1, $2, $3, $4, $5, now())",
    );
    let cosigned = cosigned.bind(clinic.id).bind(origin).bind(i64::try_from(size).unwrap());
    cosigned.bind(key.to_string()).bind("\n").execute(&api.audit).await.unwrap();
    happen(&api, OrganizationId::new(clinic.id), 2).await;

    let _asking = with_witness(&api, &format!("{key} {}", witness.url)).await;

    until("the alarm is raised", async || {
        is_alarmed(&send(api.request(reqwest::Method::GET, "/metrics")).await.text, FORGETFUL)
    })
    .await;
}

fn restarted(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
