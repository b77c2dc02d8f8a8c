//! What exactly was wrong with TLS, as partners see it.

use std::sync::Arc;

use carelog_domain::SubscriptionId;
use carelog_embedded::receiver::{Receiver, Tls};
use carelog_event_log::{SystemClock, new_id};
use carelog_tests::{Product, new_secret, receiver_options, start_appointment, subscribe, until};
use reqwest::Method;

/// The unknown authority bears the name of others that are known here: it has not signed as they would.
const FAULTS: [(Tls, &str, &str); 8] = [
    (Tls::Expired, "tls_certificate", "tls_expired"),
    (Tls::NotYetValid, "tls_certificate", "tls_not_yet_valid"),
    (Tls::SelfSigned, "tls_certificate", "tls_unknown_issuer"),
    (Tls::WrongHost, "tls_certificate", "tls_wrong_host"),
    (Tls::BadSignature, "tls_certificate", "tls_bad_signature"),
    (Tls::UnknownAuthority, "tls_certificate", "tls_bad_signature"),
    (Tls::Tls11, "tls_failed", "tls_protocol"),
    (Tls::NoSharedCipher, "tls_failed", "tls_cipher"),
];

#[tokio::test(flavor = "multi_thread")]
async fn t23_each_attempt_tells_what_is_wrong_with_tls() {
    let mut receivers = Vec::new();
    for (tls, ..) in FAULTS {
        let mut options = receiver_options();
        options.tls = tls;
        receivers.push(Receiver::start(options).await.unwrap());
    }
    let authorities: String = receivers.iter().map(Receiver::ca_pem).collect();
    let product = Product::start_adjusted(Arc::new(SystemClock), move |config| {
        let pem = config.webhooks.extra_root_pem.as_ref().unwrap();
        std::fs::write(pem, authorities).unwrap();
    })
    .await;
    let (organization_id, admin) = product.clinic().await;
    let mut subscriptions = Vec::new();
    for receiver in &receivers {
        let id = SubscriptionId::new(new_id());
        subscribe(product.log(), organization_id, id, &["*"], receiver.url("hook"), new_secret()).await;
        subscriptions.push(id);
    }

    start_appointment(product.log(), organization_id).await;

    for (id, (tls, outcome, detail)) in subscriptions.iter().zip(FAULTS) {
        let list = format!("/v1/webhook-deliveries?subscription_id={id}");
        let delivery = until("it is tried", async || {
            let (_, page) = product.call(&admin, Method::GET, &list, None).await;
            let item = page["items"].get(0).filter(|item| item["attempt_count"] == 1)?;
            Some(item["id"].as_str()?.to_owned())
        })
        .await;
        let path = format!("/v1/webhook-deliveries/{delivery}/attempts/1");
        let (_, shown) = product.call(&admin, Method::GET, &path, None).await;
        let told = (shown["outcome"].as_str(), shown["detail"].as_str());
        assert_eq!(told, (Some(outcome), Some(detail)), "{tls:?}: {shown}");
    }
    for receiver in &receivers {
        assert_eq!(receiver.hook("hook").counts().received, 0);
    }
    product.stop().await;
}
