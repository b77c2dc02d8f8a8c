//! The API's proofs, by programs that share nothing with it: OpenSSL for signatures, the crate `tlog_tiles` for trees.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_domain::OrganizationId;
use carelog_embedded::packages::{Packages, install};
use carelog_event_log::SystemClock;
use carelog_server::serve::Roles;
use carelog_tests::{Answer, ApiClinic, Product};
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

use super::{checkpoint, happen, signing_api};

const OPENSSL: Packages = Packages { apt: &["openssl"], dnf: &["openssl"], apk: &["openssl"] };
/// What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410).
const ED25519_DER: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Whether OpenSSL accepts the first signature of a note.
async fn openssl_accepts(note: &str, vkey: &str) -> bool {
    let (text, signatures) = note.split_at(note.rfind("\n\n").unwrap() + 1);
    let line = signatures.trim_start().lines().next().unwrap();
    let signature = STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap();
    openssl_verifies(vkey, text, &signature[4..]).await
}

/// Whether OpenSSL accepts an Ed25519 signature over a text.
pub(super) async fn openssl_verifies(vkey: &str, text: &str, signature: &[u8]) -> bool {
    if Command::new("openssl").arg("version").output().is_err() {
        install(&OPENSSL).await.unwrap();
    }
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    };
    let key = STANDARD.decode(vkey.splitn(3, '+').nth(2).unwrap()).unwrap();
    let key = write("key.der", &[&ED25519_DER, &key[1..]].concat());
    let (signature, text) = (write("signature", signature), write("text", text.as_bytes()));
    let output = Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"])
        .arg(key)
        .arg("-sigfile")
        .arg(signature)
        .arg("-in")
        .arg(text)
        .output()
        .unwrap();
    output.status.success()
}

fn hash(base64: &str) -> tlog_tiles::Hash {
    tlog_tiles::Hash(STANDARD.decode(base64).unwrap().try_into().unwrap())
}

fn hashes(list: &Value) -> Vec<tlog_tiles::Hash> {
    list.as_array().unwrap().iter().map(|text| hash(text.as_str().unwrap())).collect()
}

/// Every hash of a tree, as the other implementation wants to read them.
struct Stored(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).unwrap()]).collect())
    }
}

async fn bytes(clinic: &ApiClinic<'_>, path: &str) -> Vec<u8> {
    let answer = clinic.request(Method::GET, path).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    answer.bytes().await.unwrap().to_vec()
}

async fn vkey(clinic: &ApiClinic<'_>) -> String {
    let policy = clinic.get("/v1/proofs/policy").await;
    policy.text.lines().next().unwrap().strip_prefix("log ").unwrap().to_owned()
}

fn organization(clinic: &ApiClinic<'_>) -> OrganizationId {
    OrganizationId::new(clinic.id)
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_accept_checkpoints_and_proofs() {
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    let (_, _, old_size, old_root) = checkpoint(&clinic, 1).await;
    happen(&api, organization(&clinic), 40).await;

    let (note, origin, size, root) = checkpoint(&clinic, 40).await;
    let key = vkey(&clinic).await;
    let grown = clinic.get(&format!("/v1/proofs/consistency?from={old_size}&to={size}")).await;

    assert!(origin.ends_with(&format!("/{}", clinic.id)) && key.starts_with(&format!("{origin}+")), "{key}");
    assert!(openssl_accepts(&note, &key).await);
    assert!(!openssl_accepts(&note.replacen(&format!("\n{size}\n"), "\n9999\n", 1), &key).await);
    let text = note.split("\n\n").next().unwrap().to_owned() + "\n";
    let read = tlog_tiles::Checkpoint::from_bytes(text.as_bytes()).unwrap();
    assert_eq!((read.origin(), read.size(), *read.hash()), (origin.as_str(), size, hash(&root)));
    let proof = hashes(&grown.body["hashes"]);
    tlog_tiles::check_tree(&proof, size, hash(&root), old_size, hash(&old_root)).unwrap();
    for sequence in [1, 2, old_size, 40] {
        let proof = clinic.get(&format!("/v1/proofs/events/{sequence}")).await.body;
        let leaf = tlog_tiles::record_hash(proof["leaf_data"].as_str().unwrap().as_bytes());
        let (at, signed) = (proof["index"].as_u64().unwrap(), proof["checkpoint"].as_str().unwrap());
        let root = hash(signed.lines().nth(2).unwrap());
        let size = proof["size"].as_u64().unwrap();
        assert_eq!((at + 1, leaf), (sequence, hash(proof["leaf_hash"].as_str().unwrap())));
        tlog_tiles::check_record(&hashes(&proof["hashes"]), size, root, at, leaf).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_and_entries_make_up_the_signed_root() {
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    happen(&api, organization(&clinic), 300).await;
    let (_, _, size, root) = checkpoint(&clinic, 300).await;
    assert!((257..512).contains(&size), "{size}");

    let mut tiles = bytes(&clinic, "/v1/proofs/tile/0/000").await;
    tiles.extend(bytes(&clinic, &format!("/v1/proofs/tile/0/001.p/{}", size - 256)).await);
    let above = bytes(&clinic, "/v1/proofs/tile/1/000.p/1").await;
    let mut entries = bytes(&clinic, "/v1/proofs/tile/entries/000").await;
    entries.extend(bytes(&clinic, &format!("/v1/proofs/tile/entries/001.p/{}", size - 256)).await);

    let leaves: Vec<tlog_tiles::Hash> =
        tiles.as_chunks::<32>().0.iter().map(|hash| tlog_tiles::Hash(*hash)).collect();
    let mut stored = Stored(Vec::new());
    for (n, leaf) in (0..).zip(&leaves) {
        let more = tlog_tiles::stored_hashes_for_record_hash(n, *leaf, &stored).unwrap();
        stored.0.extend(more);
    }
    assert_eq!(tlog_tiles::tree_hash(size, &stored).unwrap(), hash(&root));
    assert_eq!(tlog_tiles::tree_hash(256, &stored).unwrap().0, *above);
    let mut rest = entries.as_slice();
    let mut from_entries = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let (entry, after) = behind.split_at(u16::from_be_bytes(*length).into());
        from_entries.push(tlog_tiles::record_hash(entry));
        rest = after;
    }
    assert_eq!(from_entries, leaves);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_file_stands_on_its_own() {
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    happen(&api, organization(&clinic), 10).await;
    checkpoint(&clinic, 10).await;
    let key = vkey(&clinic).await.parse().unwrap();

    let answer = clinic.get("/v1/proofs/events/5/tlog-proof").await;

    let proof = carelog_audit::proof::TlogProof::parse(&answer.text).unwrap();
    let leaf_data = proof.extra.clone().unwrap();
    let event = &clinic.get("/v1/events?limit=5").await.body["events"][4];
    let leaf = carelog_audit::proof::leaf_hash(&leaf_data);
    proof.verify(leaf, std::slice::from_ref(&key)).unwrap();
    assert_eq!(leaf.0.to_vec(), from_hex(event["leaf_hash"].as_str().unwrap()));
    let said: Value = serde_json::from_slice(&leaf_data).unwrap();
    assert_eq!((&said["event_id"], &said["type"]), (&event["event_id"], &event["event"]));
    let name = format!("attachment; filename=\"{}.tlog-proof\"", event["event_id"].as_str().unwrap());
    assert_eq!(answer.header("content-disposition"), name);
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn partners_get_hashes_and_their_own_events_and_no_account_of_others() {
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    happen(&api, organization(&clinic), 10).await;
    let partner = clinic.key_of("partner").await;
    let (_, _, size, _) = checkpoint(&clinic, 12).await;
    let events = clinic.get("/v1/events?limit=200").await;
    let sequence_of = |event: &str| {
        let found = events.body["events"].as_array().unwrap().iter().find(|one| one["event"] == event);
        found.unwrap()["sequence"].as_u64().unwrap()
    };
    let (public, private) = (sequence_of("appointment.booked"), sequence_of("organization.registered"));
    let get = async |path: String| -> Answer { clinic.get_as(&partner, &path).await };

    for path in ["checkpoint", "policy", "consistency?from=1", "tile/0/000.p/3"] {
        assert_eq!(get(format!("/v1/proofs/{path}")).await.status, 200, "{path}");
    }
    assert_eq!(get(format!("/v1/proofs/events/{public}")).await.status, 200);
    assert_eq!(get(format!("/v1/proofs/events/{private}")).await.problem(), (404, "not_found"));
    assert_eq!(get(format!("/v1/proofs/events/{private}/tlog-proof")).await.problem(), (404, "not_found"));
    assert_eq!(get("/v1/proofs/tile/entries/000.p/3".to_owned()).await.problem(), (403, "wrong_role"));
    for role in ["patient", "analyst", "specialist"] {
        let mut body = serde_json::json!({ "role": role, "scopes": ["events"] });
        if role == "patient" {
            body["patient_id"] = clinic.patient("Zoe").await.id().into();
        }
        let key = clinic.key(&body).await;
        let answer = clinic.get_as(&key, "/v1/proofs/checkpoint").await;
        assert_eq!(answer.problem(), (403, "wrong_role"), "{role}");
    }
    assert!(size >= 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_clinic_has_a_log_of_its_own() {
    let api = signing_api().await;
    let (one, two) = (api.clinic("One").await, api.clinic("Two").await);
    happen(&api, organization(&one), 30).await;

    let (first, origin, size, _) = checkpoint(&one, 30).await;
    let (second, other_origin, other_size, _) = checkpoint(&two, 1).await;

    assert!(origin != other_origin && other_size < size);
    assert!(
        openssl_accepts(&first, &vkey(&one).await).await && openssl_accepts(&second, &vkey(&two).await).await
    );
    let beyond = two.get(&format!("/v1/proofs/events/{size}")).await;
    assert_eq!(beyond.problem(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_proved_is_refused_by_name() {
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    let (_, _, size, _) = checkpoint(&clinic, 1).await;
    let far = size + 1_000;
    let before = api.event_count().await;
    for (path, problem) in [
        ("consistency".to_owned(), (422, "invalid_query")),
        ("consistency?from=x".to_owned(), (422, "invalid_query")),
        ("consistency?from=2&to=1".to_owned(), (422, "invalid_query")),
        ("consistency?from=1&to=1&why=1".to_owned(), (422, "invalid_query")),
        (format!("consistency?from=1&to={far}"), (404, "not_sealed_yet")),
        (format!("events/{far}"), (404, "not_found")),
        ("events/0".to_owned(), (404, "not_found")),
        ("events/-1".to_owned(), (404, "not_found")),
        ("events/x".to_owned(), (404, "not_found")),
        ("events/9223372036854775807/tlog-proof".to_owned(), (404, "not_found")),
        ("tile/0/000".to_owned(), (404, "not_found")),
        ("tile/0/000.p/256".to_owned(), (404, "not_found")),
        ("tile/0/1".to_owned(), (404, "not_found")),
        ("tile/7/000.p/1".to_owned(), (404, "not_found")),
        ("tile/0/x999/x999/x999/x999/x999/999".to_owned(), (404, "not_found")),
        ("tile/entries/x999/x999/x999/x999/x999/999".to_owned(), (404, "not_found")),
        ("tile/entries/000".to_owned(), (404, "not_found")),
        (format!("tile/{}", "0".repeat(200)), (404, "not_found")),
    ] {
        let answer = clinic.get(&format!("/v1/proofs/{path}")).await;
        assert_eq!(answer.problem(), problem, "{path}");
    }
    assert_eq!(api.event_count().await, before, "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_signature_there_is_nothing_to_show() {
    let roles = Roles { signer: false, ..Roles::ALL };
    let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
    let (_, key) = product.clinic().await;
    product.settled().await;

    for path in [
        "checkpoint",
        "policy",
        "consistency?from=0",
        "events/1",
        "events/1/tlog-proof",
        "tile/entries/000.p/1",
    ] {
        let (status, body) = product.call(&key, Method::GET, &format!("/v1/proofs/{path}"), None).await;
        assert_eq!((status, &body["code"]), (404, &"not_sealed_yet".into()), "{path}");
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_entries_is_an_entry_of_the_trail() {
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    checkpoint(&clinic, 2).await;
    let queried = "select count(*) from log.events where event_type = 'access.trail_queried'";
    let before: i64 = sqlx::query_scalar(queried).fetch_one(&api.core).await.unwrap();

    bytes(&clinic, "/v1/proofs/tile/entries/000.p/2").await;

    let after: i64 = sqlx::query_scalar(queried).fetch_one(&api.core).await.unwrap();
    assert_eq!(after, before + 1);
}
