//! The mutation suite: what somebody could change in the databases, in a bundle, in a checkpoint or in a proof, and the
//! name that the live check, the offline check, the doctor or the signer has for it. No case may be left out.

mod bundle;
mod database;

use std::collections::BTreeSet;

use carelog_audit::proof::bundle::{DamageKind, Options, VerifyError, verify};
use carelog_audit::proof::{Hash, SignedCheckpoint};
use carelog_domain::OrganizationId;
use carelog_domain::appointment::Appointment;
use carelog_event_log::{RecordedEvent, SealedPlace};
use carelog_server::audit::{ExportOptions, Exporter, LiveError, LiveOptions, verify_live};
use carelog_tests::{Product, Remains, confirm, run, scope, start_appointment, until};
use reqwest::Method;
use serde_json::json;
use tempfile::NamedTempFile;

use self::bundle::{Bundle, Trial, in_full, in_selection};
use self::database::{Forgery, in_databases};

/// Every case of the suite.
const CASES: [&str; 26] = [
    "a byte of a payload",
    "the time of recording",
    "the actor",
    "two events swapped",
    "an event in the middle gone",
    "the last sealed event gone",
    "a back-dated event put in",
    "the number of an event",
    "a hash of a tile",
    "a tile cut short",
    "a partial tile of another width",
    "a size with a zero in front",
    "the root of another size",
    "signed by an unknown key alone",
    "a false signature of a known key",
    "the name of a known key with another id",
    "lines that end as on another system",
    "the last line feed gone",
    "a cosignature for another time",
    "an older checkpoint played again",
    "a fork of the same size",
    "a proof of consistency with a hash too many",
    "a proof for another size",
    "a ciphertext of another event",
    "a key that took the place of another",
    "a restored backup",
];
/// Cases that another test shows.
const ELSEWHERE: [(&str, &str); 1] = [("a restored backup", "signer.rs")];
/// Events before the earlier checkpoint that an auditor kept.
const KEPT: u64 = 40;

/// What a signed and sealed product left, and bundles of it.
struct Suite {
    remains: Remains,
    organization_id: OrganizationId,
    policy: String,
    /// The clinic's events when everything was signed.
    events: Vec<RecordedEvent>,
    log_name: String,
    full: Bundle,
    selection: Bundle,
}

async fn told(product: &Product, key: &str, what: &str) -> String {
    let address = product.server.address.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = client.get(format!("http://{address}/v1/proofs/{what}")).bearer_auth(key);
    asked.send().await.unwrap().text().await.unwrap()
}

async fn signed(product: &Product, key: &str, organization_id: OrganizationId) -> Vec<RecordedEvent> {
    product.settled().await;
    until("everything is signed", async || {
        let events = product.log().organization(organization_id, 0, 1_000).await.unwrap();
        let checkpoint = SignedCheckpoint::parse(&told(product, key, "checkpoint").await).ok()?;
        (checkpoint.claim().size == events.len() as u64).then_some(events)
    })
    .await
}

async fn export(product: &Product, organization_id: OrganizationId, patient: Option<&str>) -> Bundle {
    let system = product.server.system();
    let exporter = Exporter {
        log: system.log.clone(),
        audit: system.databases.audit_system.clone(),
        origin: system.log.name().into(),
        witnesses: Vec::new(),
        max_bytes: u64::MAX,
    };
    let patient_id = patient.map(|id| id.parse().unwrap());
    let options =
        ExportOptions { organization_id, from: None, to: None, patient_id, since: patient.map(|_| KEPT) };
    let mut file = NamedTempFile::new().unwrap();
    exporter.export(&options, &scope(organization_id), &mut file, &|_| {}).await.unwrap();
    Bundle::open(file.path())
}

impl Suite {
    async fn new() -> Self {
        let product = Box::pin(Product::start()).await;
        let (organization_id, key) = product.clinic().await;
        let mut patients = Vec::new();
        for name in ["Ada", "Eve"] {
            let body = json!({ "details": { "name": name } });
            let (status, answer) = product.call(&key, Method::POST, "/v1/patients", Some(&body)).await;
            assert_eq!(status, 201, "{answer}");
            patients.push(answer["id"].as_str().unwrap().to_owned());
        }
        let booked = (0..135).map(|_| async {
            let id = start_appointment(product.log(), organization_id).await;
            run::<Appointment>(product.log(), &scope(organization_id), id, confirm()).await;
        });
        futures::future::join_all(booked).await;
        signed(&product, &key, organization_id).await;
        let full = export(&product, organization_id, None).await;
        let selection = export(&product, organization_id, Some(&patients[0])).await;
        let events = signed(&product, &key, organization_id).await;
        a_moved_ciphertext_does_not_open(&product, &events).await;
        let (policy, log_name) = (told(&product, &key, "policy").await, product.log().name().to_owned());
        let remains = Box::pin(product.leave()).await;
        Self { remains, organization_id, policy, events, log_name, full, selection }
    }

    fn leaves(&self) -> Vec<Hash> {
        self.events.iter().map(|event| Hash(event.leaf_hash)).collect()
    }

    /// What the live check calls the damage.
    async fn live(&self) -> Result<(), DamageKind> {
        let (databases, policy) = (self.remains.connect(), self.policy.parse().unwrap());
        let (organization_id, progress) = (self.organization_id, &|_, _| {});
        let options = LiveOptions { organization_id, origin: None, policy: &policy, since: None, progress };
        match verify_live(&databases, &options).await {
            Ok(_) => Ok(()),
            Err(LiveError::Damaged(damage)) => Err(damage.kind),
            Err(LiveError::Unreadable(error)) => panic!("it can be read: {error:#}"),
        }
    }

    /// Checks that are not met, and what is noted.
    async fn doctor(&self) -> Vec<String> {
        let findings = self.remains.examine().await;
        let damaged =
            findings.iter().filter(|finding| !finding.is_ok()).map(|finding| finding.name.to_owned());
        damaged.chain(findings.iter().flat_map(|finding| finding.notes.clone())).collect()
    }
}

/// The place of an event is part of what its ciphertext is bound to.
async fn a_moved_ciphertext_does_not_open(product: &Product, events: &[RecordedEvent]) {
    let sealed: Vec<_> = events.iter().filter(|event| event.personal.is_some()).collect();
    let part = |at: usize| &sealed[at].personal.as_ref().unwrap().sealed;
    let vault = product.log().vault();
    assert!(SealedPlace::of(sealed[0]).open(vault, part(0)).await.unwrap().is_some());
    assert!(SealedPlace::of(sealed[0]).open(vault, part(1)).await.is_err());
}

fn offline(trial: &Trial) -> Result<(), DamageKind> {
    let policy = trial.policy.parse().unwrap();
    let since = trial.since.as_ref().map(ToString::to_string);
    let options = Options { policy: &policy, since: since.as_deref(), progress: &|_, _| {} };
    match verify(trial.bundle.pack().as_slice(), &options) {
        Ok(_) => Ok(()),
        Err(VerifyError::Damaged(damage)) => Err(damage.kind),
        Err(VerifyError::Read(error)) => panic!("it can be read: {error}"),
    }
}

#[test]
fn no_case_of_the_suite_is_forgotten() {
    let in_databases = in_databases(&Forgery::default()).into_iter().map(|one| one.case);
    let in_bundles = in_full().into_iter().chain(in_selection()).map(|(case, ..)| case);
    let elsewhere = ELSEWHERE.into_iter().map(|(case, _)| case);

    let shown: BTreeSet<&str> = in_databases.chain(in_bundles).chain(elsewhere).collect();

    assert_eq!(shown, CASES.into());
    for (case, file) in ELSEWHERE {
        let path = format!("{}/tests/all/proofs/{file}", env!("CARGO_MANIFEST_DIR"));
        let needle = format!("/// {case}, as the mutation suite says.");
        assert!(std::fs::read_to_string(path).unwrap().to_lowercase().contains(&needle), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mutation_is_found_and_named() {
    let suite = Box::pin(Suite::new()).await;
    let mut wrong = Vec::new();
    assert_eq!((suite.live().await, suite.doctor().await), (Ok(()), vec![]));

    let forgery = Forgery::of(&suite);
    for mutation in in_databases(&forgery) {
        suite.remains.sql(mutation.database, &mutation.statement).await;
        let (live, doctor) = (suite.live().await, suite.doctor().await);
        let is_named = mutation.doctor.is_none_or(|name| doctor.iter().any(|found| found.contains(name)));
        if live != mutation.live.map_or(Ok(()), Err) || !is_named {
            wrong.push(format!("{} ({}): {live:?}, {doctor:?}", mutation.case, mutation.statement));
        }
        suite.remains.restore(mutation.database).await;
    }
    for (bundle, mutations) in [(&suite.full, in_full()), (&suite.selection, in_selection())] {
        let trial = Trial::new(bundle, suite.leaves());
        assert_eq!(offline(&trial), Ok(()));
        for (case, change, expected) in mutations {
            let mut changed = trial.clone();
            change(&mut changed);
            let found = offline(&changed);
            if found != Err(expected) {
                wrong.push(format!("{case}: {found:?} instead of {expected:?}"));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((suite.live().await, suite.doctor().await), (Ok(()), vec![]));
    suite.remains.discard().await;
}
