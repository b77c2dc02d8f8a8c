//! Partners become witnesses: the newest checkpoint travels with every webhook.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_audit::proof::{SignedCheckpoint, VerifierKey};
use carelog_domain::OrganizationId;
use carelog_tests::{Partner, Product, start_appointment, until};
use reqwest::Method;
use serde_json::json;

use super::{checkpoint, signing_api};

async fn key(product: &Product, admin: &str) -> VerifierKey {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let address = product.server.address.unwrap();
    let request =
        client.request(Method::GET, format!("http://{address}/v1/proofs/policy")).bearer_auth(admin);
    let policy = request.send().await.unwrap().text().await.unwrap();
    policy.lines().next().unwrap().strip_prefix("log ").unwrap().parse().unwrap()
}

/// The newest checkpoint that a partner was sent, of so many events at least. Events go on until it comes.
async fn told(
    product: &Product,
    organization_id: OrganizationId,
    partner: &Partner,
    events: u64,
) -> SignedCheckpoint {
    until("a webhook brings a checkpoint", async || {
        start_appointment(product.log(), organization_id).await;
        let receipts = partner.hook.receipts();
        let headers = receipts.iter().filter_map(|receipt| receipt.headers.get("carelog-checkpoint"));
        let checkpoints = headers.map(|value| {
            let note = STANDARD.decode(value.as_bytes()).unwrap();
            SignedCheckpoint::parse(std::str::from_utf8(&note).unwrap()).unwrap()
        });
        checkpoints.max_by_key(|one| one.claim().size).filter(|one| one.claim().size >= events)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_webhook_brings_the_newest_checkpoint_of_its_own_clinic() {
    let product = Product::start().await;
    let (one, admin) = product.clinic().await;
    let (two, other_admin) = product.clinic().await;
    let (partner, other) = (product.subscribe(one, &["*"]).await, product.subscribe(two, &["*"]).await);

    let first = told(&product, one, &partner, 1).await;
    let second = told(&product, one, &partner, first.claim().size + 1).await;
    let theirs = told(&product, two, &other, 1).await;

    let own_key = key(&product, &admin).await;
    for checkpoint in [&first, &second] {
        assert_eq!(checkpoint.verify(std::slice::from_ref(&own_key)).unwrap(), checkpoint.claim());
    }
    assert!(theirs.verify(std::slice::from_ref(&own_key)).is_err());
    assert!(theirs.verify(&[key(&product, &other_admin).await]).is_ok());
    let path = format!("/v1/proofs/consistency?from={}&to={}", first.claim().size, second.claim().size);
    let (status, proof) = product.call(&admin, Method::GET, &path, None).await;
    assert_eq!((status, &proof["from"]), (200, &first.claim().size.into()));
    assert!(partner.hook.receipts().iter().all(|receipt| receipt.verified));
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_export_of_the_trail_brings_a_checkpoint_of_its_own_clinic() {
    let api = signing_api().await;
    let clinic = api.clinic("Klinik").await;
    api.clinic("Andere").await;
    let (_, origin, _, _) = checkpoint(&clinic, 1).await;

    for format in ["csv", "ndjson", "parquet"] {
        let export = clinic.get(&format!("/v1/trail?format={format}")).await;
        let note = STANDARD.decode(export.header("carelog-checkpoint")).unwrap();
        let note = String::from_utf8(note).unwrap();
        assert_eq!(note.lines().next(), Some(origin.as_str()), "{format}");
    }

    let asked = clinic.post("/v1/trail/exports", &json!({ "form": "csv" })).await;
    let path = format!("/v1/trail/exports/{}", asked.id());
    let note = until("a checkpoint covers the export", async || {
        clinic.get(&path).await.body["checkpoint"].as_str().map(str::to_owned)
    })
    .await;
    let mut lines = note.lines();
    assert_eq!(lines.next(), Some(origin.as_str()));
    assert!(lines.next().unwrap().parse::<i64>().unwrap() >= asked.body["total"].as_i64().unwrap());
}
