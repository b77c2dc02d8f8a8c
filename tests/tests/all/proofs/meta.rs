//! The log of checkpoints: what is in it, who sees what of it, and what it gives away.

use std::num::NonZeroU32;

use carelog_audit::proof::{Checkpoint, TlogProof, VerifierKey, leaf_hash};
use carelog_domain::OrganizationId;
use carelog_event_log::runtime::RebuildScope;
use carelog_server::doctor::{Leaves, examine};
use carelog_tests::{Api, ApiClinic, rebuild_all, until};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};

use super::bundles::Audit;
use super::{checkpoint, happen, signing_api};

const DOCTOR: &str = "the log of checkpoints has what was signed, each organization in one history";

async fn fast_api() -> Api {
    Api::start_with(|config| {
        config.proofs.sign_every_ms = NonZeroU32::new(50).unwrap();
        config.proofs.meta_every_seconds = NonZeroU32::new(1).unwrap();
    })
    .await
}

/// The key of the log of checkpoints, from a clinic's policy.
async fn meta_key(clinic: &ApiClinic<'_>) -> VerifierKey {
    let policy = clinic.get("/v1/proofs/policy").await.text;
    policy.lines().nth(1).unwrap().strip_prefix("log ").unwrap().parse().unwrap()
}

/// The proof of a clinic's newest checkpoint in the log of checkpoints, of so many events at least.
async fn proof(clinic: &ApiClinic<'_>, events: u64) -> (TlogProof, Checkpoint) {
    until("the log of checkpoints has the clinic's", async || {
        let answer = clinic.get("/v1/proofs/meta/tlog-proof").await;
        let proof = TlogProof::parse(&answer.text).ok()?;
        let text = String::from_utf8(proof.extra.clone()?).unwrap();
        let own: Checkpoint = text.parse().unwrap();
        (own.size >= events).then_some((proof, own))
    })
    .await
}

async fn own_leaves(clinic: &ApiClinic<'_>) -> Vec<Checkpoint> {
    let answer = clinic.get("/v1/proofs/meta/leaves").await;
    let texts = answer.body["items"].as_array().unwrap().iter();
    texts.map(|leaf| leaf["checkpoint"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_clinic_finds_its_own_checkpoints_and_no_others() {
    let api = fast_api().await;
    let (one, two) = (api.clinic("One").await, api.clinic("Two").await);
    happen(&api, OrganizationId::new(one.id), 6).await;
    let (first, _) = proof(&one, 6).await;
    happen(&api, OrganizationId::new(one.id), 6).await;
    happen(&api, OrganizationId::new(two.id), 4).await;

    let (newer, own) = proof(&one, 12).await;
    let (other, theirs) = proof(&two, 4).await;

    let key = [meta_key(&one).await];
    for (proof, checkpoint) in [(&newer, &own), (&other, &theirs)] {
        let leaf = leaf_hash(checkpoint.to_string().as_bytes());
        assert_eq!(proof.verify(leaf, &key), Ok(()));
        assert!(proof.verify(leaf_hash(b"something else"), &key).is_err());
    }
    assert_eq!(own.origin, checkpoint(&one, 1).await.1);
    let leaves = own_leaves(&one).await;
    assert!(leaves.len() >= 2 && leaves.iter().all(|leaf| leaf.origin == own.origin), "{leaves:?}");
    assert!(own_leaves(&two).await.iter().all(|leaf| leaf.origin == theirs.origin));
    let (from, to) = (first.checkpoint.claim().size, newer.checkpoint.claim().size);
    let consistent = one.get(&format!("/v1/proofs/meta/consistency?from={from}&to={to}")).await;
    assert_eq!((consistent.status, &consistent.body["from"]), (200, &json!(from)));
    for (path, status) in [
        ("tile/0/000.p/1", 200),
        ("tile/0/000", 404),
        ("tile/entries/000.p/1", 404),
        ("checkpoint?witnesses=1", 404),
        ("checkpoint", 200),
    ] {
        assert_eq!(one.get(&format!("/v1/proofs/meta/{path}")).await.status, status, "{path}");
    }
    assert_eq!(api.request(Method::GET, "/v1/proofs/meta/checkpoint").send().await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_of_the_trees_has_the_log_of_checkpoints_at_once() {
    let api = fast_api().await;
    let clinic = api.clinic("Klinik").await;
    happen(&api, OrganizationId::new(clinic.id), 4).await;
    let (before, _) = proof(&clinic, 4).await;

    rebuild_all(api.server.system(), RebuildScope::Everything).await;

    let statement =
        "select size from proof.trees where organization_id = '00000000-0000-0000-0000-000000000000'";
    let size: i64 = sqlx::query_scalar(statement).fetch_one(&api.audit).await.unwrap();
    assert!(size.unsigned_abs() >= before.checkpoint.claim().size);
    let (after, own) = proof(&clinic, 4).await;
    let leaf = leaf_hash(own.to_string().as_bytes());
    assert_eq!(after.verify(leaf, &[meta_key(&clinic).await]), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_proves_that_it_continues_what_the_log_of_checkpoints_has() {
    let api = Api::start_with(|config| {
        config.proofs.sign_every_ms = NonZeroU32::new(50).unwrap();
        config.proofs.meta_every_seconds = NonZeroU32::new(3_600).unwrap();
    })
    .await;
    // After this one only what is appended below.
    proof(&api.clinic("Erste").await, 1).await;
    let audit = Audit::begin(&api).await;
    checkpoint(&audit.clinic, 260).await;
    audit.export("before.tar", &[]);
    let mut connection = api.server.system().databases.audit_system.acquire().await.unwrap();
    let now = api.server.system().log.clock().now();
    carelog_audit::meta::append(&mut connection, api.server.system().log.name(), now).await.unwrap();
    let (_, own) = proof(&audit.clinic, 260).await;
    happen(&api, OrganizationId::new(audit.clinic.id), 4).await;
    checkpoint(&audit.clinic, own.size + 4).await;

    for (name, more) in [
        ("all.tar", [].as_slice()),
        ("range.tar", &["--from", "5", "--to", "20"]),
        ("one.tar", &["--patient", &audit.patient]),
    ] {
        audit.export(name, more);
        let (code, verdict) = audit.verify_strictly(name, &["--allow-unsealed"]);
        assert_eq!((code, &verdict["report"]["logged_size"]), (0, &json!(own.size)), "{name}: {verdict}");
    }

    let (code, verdict) = audit.verify_strictly("before.tar", &["--allow-unsealed"]);
    assert_eq!((code, &verdict["damage"]), (24, &json!("unlogged")), "{verdict}");
    let policy = std::fs::read_to_string(audit.path("policy")).unwrap();
    let own_log: Vec<&str> = policy.lines().filter(|line| !line.contains("/00000000-")).collect();
    audit.write("policy", own_log.join("\n") + "\n");
    let (code, verdict) = audit.verify_strictly("before.tar", &["--allow-unsealed"]);
    assert_eq!(code, 0, "whoever does not ask for it: {verdict}");
}

async fn sql(api: &Api, statement: &str) {
    api.server.system().databases.audit_owner.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
}

/// What doctor says about the log of checkpoints.
async fn found(api: &Api) -> Vec<String> {
    let findings = examine(&api.server.system().databases, Leaves::Sample(0)).await.unwrap();
    findings.into_iter().find(|finding| finding.name == DOCTOR).unwrap().damage
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_in_the_log_of_checkpoints_is_found() {
    another_history_is_found(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_that_is_longer_than_the_clinics_is_found_as_well() {
    another_history_is_found(100_000).await;
}

/// One that is so many events longer than what was signed.
async fn another_history_is_found(ahead: u64) {
    let api = signing_api().await;
    let audit = Audit::begin(&api).await;
    let (_, origin, size, _) = checkpoint(&audit.clinic, 260).await;
    let size = size + ahead;
    proof(&audit.clinic, 1).await;

    let (code, sound) = audit.verify_own(&[]);
    assert_eq!(code, 0, "{sound}");
    assert!(sound["report"]["meta_size"].as_u64().is_some_and(|size| size > 0), "{sound}");
    assert!(sound["report"]["meta_own_count"].as_u64().is_some_and(|count| count > 0), "{sound}");
    assert_eq!(found(&api).await, Vec::<String>::new());

    // Somebody with every right writes another past of the clinic, and has it signed with the rest.
    let clinic = audit.clinic.id;
    let other = format!("{origin}\n{size}\n{}\n", "A".repeat(43) + "=");
    sql(
        &api,
        &format!(
            "insert into signer.meta_leaves
             select max(leaf_index) + 1, '{clinic}', '{origin}', {size}, '{other}', now()
             from signer.meta_leaves"
        ),
    )
    .await;
    let meta_size = || async {
        let leaves =
            "select size from proof.trees where organization_id = '00000000-0000-0000-0000-000000000000'";
        sqlx::query_scalar::<_, i64>(leaves).fetch_one(&api.audit).await.unwrap()
    };
    let wanted: i64 =
        sqlx::query_scalar("select count(*) from signer.meta_leaves").fetch_one(&api.audit).await.unwrap();
    happen(&api, OrganizationId::new(clinic), 2).await;
    let mut connection = api.server.system().databases.audit_system.acquire().await.unwrap();
    let now = api.server.system().log.clock().now();
    carelog_audit::meta::append(&mut connection, api.server.system().log.name(), now).await.unwrap();
    assert!(meta_size().await >= wanted);
    let verdict: Value = until("the other past is signed", async || {
        let (code, verdict) = audit.verify_own(&[]);
        (code != 0).then_some(verdict)
    })
    .await;
    assert_eq!((&verdict["code"], &verdict["damage"]), (&json!(17), &json!("inconsistent")), "{verdict}");
    let told = found(&api).await.join("; ");
    assert!(told.contains("has no checkpoint that was signed"), "{told}");

    sql(&api, "update signer.meta_leaves set text = text || 'x' where leaf_index = 0").await;
    let told = found(&api).await.join("; ");
    assert!(told.contains("leaf 0 of the log of checkpoints is not the one that was sealed"), "{told}");
}
