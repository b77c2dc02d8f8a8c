//! Bundles from a running system, checked by the command line on its own and by programs of others.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use carelog_domain::OrganizationId;
use carelog_event_log::{Expected, Scope};
use carelog_server::audit::{ExportError, ExportOptions, ExportProgress, Exporter};
use carelog_tests::{Api, ApiClinic, is_documented, python_client, scope, until};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use tempfile::{NamedTempFile, TempDir};
use tokio::sync::Notify;

use super::damage::UNGUARD;
use super::{checkpoint, happen, signing_api};

/// Of a patient; long enough that no ciphertext says it by chance.
const NAME: &str = "Zoe Quxfield-Canary";

/// A clinic with two erased patients, more events than a tile holds, and the folder of its auditor.
pub(super) struct Audit<'a> {
    pub(super) clinic: ApiClinic<'a>,
    pub(super) patient: String,
    pub(super) folder: TempDir,
}

impl<'a> Audit<'a> {
    pub(super) async fn begin(api: &'a Api) -> Self {
        let clinic = api.clinic("Klinik").await;
        let patient = clinic.patient(NAME).await.id().to_owned();
        clinic.book(&patient).await.id();
        for name in ["Ada", "Eve"] {
            erase(&clinic, clinic.patient(name).await.id()).await;
        }
        // So that nothing more happens by itself.
        until("the erasures are certified", async || is_documented(&api.core).await.then_some(())).await;
        happen(api, OrganizationId::new(clinic.id), 260).await;
        let audit = Self { clinic, patient, folder: TempDir::new().unwrap() };
        let policy = audit.clinic.get("/v1/proofs/policy").await.text;
        audit.write("policy", &policy);
        audit
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// `carelog` as a process beside the server.
    pub(super) fn beside_the_server(&self) -> Command {
        let [core, audit, analytics, vault] = self.clinic.api.database_urls();
        let mut command = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"));
        command
            .env_clear()
            .env("CARELOG_HOME", self.clinic.api.home())
            .env("DATABASE_URL", core)
            .env("CARELOG_DATABASE_AUDIT_URL", audit)
            .env("CARELOG_DATABASE_ANALYTICS_URL", analytics)
            .env("CARELOG_DATABASE_VAULT_URL", vault)
            .current_dir(self.folder.path());
        command
    }

    fn try_export(&self, name: &str, more: &[&str]) -> Output {
        self.beside_the_server()
            .args(["audit", "export", "--json", "--out", name, "--organization"])
            .arg(self.clinic.id.to_string())
            .args(more)
            .output()
            .unwrap()
    }

    pub(super) fn export(&self, name: &str, more: &[&str]) -> Value {
        let output = self.try_export(name, more);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// `carelog audit verify`, content with what the signer has not come to yet.
    pub(super) fn verify(&self, name: &str, more: &[&str]) -> (i32, Value) {
        self.verify_strictly(name, &[&["--allow-unsealed", "--allow-unlogged"], more].concat())
    }

    /// `carelog audit verify` in an empty environment; its exit code, and what it says.
    pub(super) fn verify_strictly(&self, name: &str, more: &[&str]) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"))
            .env_clear()
            .current_dir(self.folder.path())
            .args(["audit", "verify", name, "--json", "--policy", "policy"])
            .args(more)
            .output()
            .unwrap();
        let code = output.status.code().unwrap();
        (code, serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")))
    }

    /// What a program that shares nothing with ours says.
    async fn others_verify(&self, name: &str) -> Value {
        let policy = std::fs::read_to_string(self.path("policy")).unwrap();
        let key = policy.lines().next().unwrap().strip_prefix("log ").unwrap().to_owned();
        let mut client = python_client("bundle").await;
        let output = client.arg(self.path(name)).arg(key).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    async fn exports_recorded(&self) -> i64 {
        let statement = "select count(*) from log.events where event_type = 'access.record_exported'";
        sqlx::query_scalar(statement).fetch_one(&self.clinic.api.core).await.unwrap()
    }
}

async fn erase(clinic: &ApiClinic<'_>, patient: &str) {
    clinic
        .post(&format!("/v1/patients/{patient}/erasure"), &json!({ "ground": "patient_request" }))
        .await
        .position();
    until("the patient is erased", async || {
        let shown = clinic.get(&format!("/v1/patients/{patient}")).await;
        (shown.body["status"] == "erased").then_some(())
    })
    .await;
}

/// The same file with one byte changed, behind the first place where a text stands.
fn changed(path: &Path, behind: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(behind.len()).position(|text| text == behind.as_bytes()).unwrap();
    let place = &mut bytes[at + behind.len()];
    *place = if *place == b'A' { b'B' } else { b'A' };
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_of_everything_proves_itself_to_strangers() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let (earlier, _, earlier_size, _) = checkpoint(&audit.clinic, 100).await;
    audit.write("earlier", &earlier);
    let recorded = audit.exports_recorded().await;

    let exported = audit.export("all.tar", &[]);
    let (code, verdict) = audit.verify("all.tar", &["--since", "earlier"]);

    assert_eq!(code, 0, "{verdict}");
    let report = &verdict["report"];
    let counts =
        |of: &Value| ["tree_size", "event_count", "erased_count"].map(|name| of[name].as_u64().unwrap());
    assert_eq!(counts(report), counts(&exported));
    assert_eq!((&report["shape"], &report["continues"]), (&json!("full"), &json!(earlier_size)));
    let [size, count, erased] = counts(report);
    assert!(size == count && count > 260 && erased >= 2, "{report}");
    let theirs = audit.others_verify("all.tar").await;
    assert_eq!((&theirs["events"], &theirs["shape"]), (&json!(count), &json!("full")));
    assert_eq!(audit.exports_recorded().await, recorded + 1, "who exported is in the log");
    let bytes = std::fs::read(audit.path("all.tar")).unwrap();
    assert!(
        !bytes.windows(NAME.len()).any(|text| text == NAME.as_bytes()),
        "nothing personal is in the clear"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_since_and_what_is_about_one_patient_prove_themselves() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let (note, _, size, _) = checkpoint(&audit.clinic, 200).await;
    audit.write("kept", &note);
    happen(&api, OrganizationId::new(audit.clinic.id), 20).await;

    let range = audit.export("since.tar", &["--from", &size.to_string()]);
    let one = audit.export("one.tar", &["--patient", &audit.patient.clone(), "--since", "kept"]);
    let without = audit.export("without.tar", &["--patient", &audit.patient.clone()]);

    let (code, verdict) = audit.verify("since.tar", &["--since", "kept"]);
    assert_eq!((code, &verdict["report"]["from"]), (0, &json!(size)), "{verdict}");
    assert_eq!((&range["shape"], &verdict["report"]["continues"]), (&json!("range"), &json!(size)));
    let (code, verdict) = audit.verify("one.tar", &["--since", "kept"]);
    assert_eq!((code, &verdict["report"]["shape"]), (0, &json!("selection")), "{verdict}");
    assert!(verdict["report"]["proves"].as_str().unwrap().contains("does not prove"));
    let theirs = audit.others_verify("one.tar").await;
    assert_eq!(theirs["proofs"], one["event_count"]);
    assert!(one["event_count"].as_u64().unwrap() >= 2 && without["shape"] == "selection");
    let (code, verdict) = audit.verify("without.tar", &["--since", "kept"]);
    assert_eq!((code, &verdict["damage"]), (11, &json!("incomplete")), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_names_the_damage() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let exported = audit.export("all.tar", &[]);
    let size = exported["tree_size"].as_u64().unwrap();
    happen(&api, OrganizationId::new(audit.clinic.id), 4).await;
    let (newer, ..) = checkpoint(&audit.clinic, size + 1).await;
    audit.write("newer", newer);
    let stranger = api.clinic("Other").await;
    checkpoint(&stranger, 1).await;
    audit.write("stranger", stranger.get("/v1/proofs/policy").await.text);
    audit.write("facts.tar", changed(&audit.path("all.tar"), "\"facts\":\"e"));
    audit.write("leaf.tar", changed(&audit.path("all.tar"), r#""index":200,"leaf":"{\"actor\":{\""#));
    audit.write("manifest.tar", changed(&audit.path("all.tar"), "quorum "));
    audit.write("cut.tar", &std::fs::read(audit.path("all.tar")).unwrap()[..40_000]);

    for (bundle, more, code, damage) in [
        ("all.tar", [].as_slice(), 0, Value::Null),
        ("facts.tar", &[], 18, json!("payload_mismatch")),
        ("leaf.tar", &[], 19, json!("leaf_mismatch")),
        ("manifest.tar", &[], 12, json!("manifest_mismatch")),
        ("cut.tar", &[], 10, json!("malformed")),
        ("policy", &[], 10, json!("malformed")),
        ("all.tar", &["--since", "newer"], 16, json!("stale")),
        ("nowhere.tar", &[], 1, Value::Null),
    ] {
        let (found, verdict) = audit.verify(bundle, more);
        assert_eq!((found, &verdict["damage"]), (code, &damage), "{bundle} {more:?}: {verdict}");
        assert_eq!(verdict["ok"], json!(code == 0), "{bundle}");
    }
    std::fs::rename(audit.path("stranger"), audit.path("policy")).unwrap();
    let (code, verdict) = audit.verify("all.tar", &[]);
    assert_eq!((code, &verdict["damage"]), (13, &json!("unknown_key")), "{verdict}");
}

fn exporter(api: &Api, max_bytes: u64) -> Exporter {
    let system = api.server.system();
    Exporter {
        log: system.log.clone(),
        audit: system.databases.audit_system.clone(),
        origin: system.log.name().into(),
        witnesses: Vec::new(),
        max_bytes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_gets_too_long_ends_before_it_fills_the_disk() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let organization_id = OrganizationId::new(audit.clinic.id);
    happen(&api, organization_id, 1_100).await;
    let (_, _, size, _) = checkpoint(&audit.clinic, 1_300).await;
    let options =
        ExportOptions { organization_id, from: None, to: Some(size), patient_id: None, since: None };
    let whole = audit.export("all.tar", &["--to", &size.to_string()]);
    assert_eq!(whole["event_count"], json!(size));
    let whole_bytes = std::fs::metadata(audit.path("all.tar")).unwrap().len();
    // In the first page of a list, in a later one, and in the bundle when the lists were not too long.
    for max_bytes in [100, whole_bytes / 3, whole_bytes / 10 * 9] {
        let mut file = NamedTempFile::new_in(audit.folder.path()).unwrap();
        let unfinished = audit.path("bounded.unfinished");
        let exporter = exporter(&api, max_bytes);
        let seen = AtomicU64::new(0);
        let progress = |progress: ExportProgress| seen.store(progress.done, Ordering::Relaxed);

        let scope = scope(organization_id);
        let made = exporter.export_by_way_of(&options, &scope, &unfinished, &mut file, &progress).await;

        let Err(ExportError::Write(error)) = made else { panic!("{made:?}") };
        assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
        let is_collected = seen.load(Ordering::Relaxed) == size;
        assert_eq!(is_collected, max_bytes > whole_bytes / 2, "{max_bytes} of {whole_bytes}");
        let kept = std::fs::read_dir(&unfinished).unwrap().map(|file| file.unwrap());
        let lists = kept.filter(|file| file.path().extension().is_some_and(|end| end == "ndjson"));
        let lengths: Vec<u64> = lists.map(|list| list.metadata().unwrap().len()).collect();
        let bundle = file.as_file().metadata().unwrap().len();
        assert!(lengths.len() == 2 && lengths.iter().all(|length| *length <= max_bytes), "{lengths:?}");
        assert!(bundle <= max_bytes, "{bundle} of {max_bytes}");
        std::fs::remove_dir_all(&unfinished).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_cut_off_goes_on_where_it_was() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let organization_id = OrganizationId::new(audit.clinic.id);
    happen(&api, organization_id, 1_100).await;
    let (_, _, size, _) = checkpoint(&audit.clinic, 1_300).await;
    let exporter = exporter(&api, u64::MAX);
    let options =
        ExportOptions { organization_id, from: None, to: Some(size), patient_id: None, since: None };
    let scope = scope(organization_id);
    let recorded = audit.exports_recorded().await;
    let mut file = NamedTempFile::new_in(audit.folder.path()).unwrap();
    let (begun, unfinished) = (Notify::new(), audit.path("all.tar.unfinished"));
    let progress = |progress: ExportProgress| {
        if progress.done > 0 {
            begun.notify_one();
        }
    };
    tokio::select! {
        biased;
        () = begun.notified() => {}
        made = exporter.export_by_way_of(&options, &scope, &unfinished, &mut file, &progress) => panic!("{made:?}"),
    }
    drop(file);
    assert_eq!(audit.exports_recorded().await, recorded + 1, "before anything is kept");
    assert!(unfinished.join("state.json").exists());
    let refused = Scope { expected: Expected::Version(7), ..scope };
    let mut file = NamedTempFile::new_in(audit.folder.path()).unwrap();
    let unrecorded =
        exporter.export_by_way_of(&options, &refused, &unfinished, &mut file, &|_| ()).await.map(drop);
    assert!(matches!(unrecorded, Err(ExportError::Record(_))), "{unrecorded:?}");
    drop(file);
    assert!(unfinished.join("state.json").exists(), "the log may take it the next time");
    // Only what goes on does not read this event again.
    let changed = format!(
        "update log.events set actor_id = gen_random_uuid()
         where organization_id = '{organization_id}' and organization_sequence = 7"
    );
    api.core.execute(sqlx::raw_sql(UNGUARD)).await.unwrap();
    api.core.execute(sqlx::raw_sql(AssertSqlSafe(changed))).await.unwrap();

    let to = size.to_string();
    let lock = std::fs::File::open(&unfinished).unwrap();
    lock.lock().unwrap();
    let beside = audit.try_export("all.tar", &["--to", &to]);
    drop(lock);
    let summary = audit.export("all.tar", &["--to", &to]);
    let anew = audit.try_export("anew.tar", &["--to", &to]);

    let says = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!beside.status.success() && says(&beside).contains("another process"), "{beside:?}");
    assert_eq!((&summary["event_count"], summary["to"].as_u64()), (&json!(size), Some(size)));
    assert!(summary["resumed_from"].as_u64().is_some_and(|index| index > 0), "{summary}");
    let (code, verdict) = audit.verify("all.tar", &[]);
    assert_eq!(code, 0, "{verdict}");
    assert!(!anew.status.success() && says(&anew).contains("was changed"), "{anew:?}");
    assert_eq!(audit.exports_recorded().await, recorded + 3, "each run is an access");
    assert!(!unfinished.exists() && !audit.path("anew.tar.unfinished").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_or_cannot_be_recorded_does_not_leave() {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let (_, _, size, _) = checkpoint(&audit.clinic, 100).await;
    let says = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let exporter = exporter(&api, u64::MAX);
    let options = ExportOptions {
        organization_id: OrganizationId::new(audit.clinic.id),
        from: None,
        to: None,
        patient_id: None,
        since: None,
    };
    // A stream of an access that is there already takes no second event: nothing can be recorded under it.
    let refused = Scope { expected: Expected::Version(7), ..scope(options.organization_id) };
    let mut file = NamedTempFile::new_in(audit.folder.path()).unwrap();

    let unrecorded = exporter.export(&options, &refused, &mut file, &|_| ()).await;

    assert!(matches!(unrecorded, Err(ExportError::Record(_))), "{unrecorded:?}");
    assert_eq!(file.as_file().metadata().unwrap().len(), 0, "not a byte before the record");
    drop(file);
    for (more, reason) in [
        (["--from", "5", "--to", "5"], "is no range"),
        (["--from", "0", "--to", "999999999"], "is no range"),
        (["--patient", "0197a000-0000-7000-8000-000000000001", "--to", "9"], "about that patient"),
    ] {
        let output = audit.try_export("none.tar", &more);
        assert!(!output.status.success() && says(&output).contains(reason), "{output:?}");
    }
    let changed = format!(
        "update log.events set actor_id = gen_random_uuid()
         where organization_id = '{}' and organization_sequence = {}",
        audit.clinic.id,
        size / 2
    );
    api.core.execute(sqlx::raw_sql(UNGUARD)).await.unwrap();
    api.core.execute(sqlx::raw_sql(AssertSqlSafe(changed))).await.unwrap();
    let output = audit.try_export("none.tar", &[]);
    assert!(!output.status.success() && says(&output).contains("was changed"), "{output:?}");
    let left: Vec<_> =
        std::fs::read_dir(audit.folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["policy"], "no half file");
}
