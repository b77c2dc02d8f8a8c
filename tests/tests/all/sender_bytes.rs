//! The bytes that go out, and what those that come in cost.

use bytes::Bytes;
use carelog_domain::webhook_delivery::AttemptOutcome as OutcomeKind;
use carelog_embedded::receiver::{Behaviour, Fault};
use carelog_tests::{start_appointment, until};

use crate::receiver_faults::Pair;
use crate::webhooks::received;
use crate::worker_processes::{without_workers, worker};

/// What JSON can be spelt like, and what is none. Whoever reads it and writes it again gets other bytes. All of it is
/// UTF-8, because the official library refuses what is not.
const SPELLINGS: [&[u8]; 12] = [
    "{\"name\":\"Zoë 🩺 ﷽ \u{202e}\"}".as_bytes(),
    br#"{"name":"Zo\u00eb \ud83e\ude7a \u0000 \uD800"}"#,
    b"{\"url\":\"https:\\/\\/partner.example\\/\",\"plain\":\"a/b\"}",
    b"{\"most\":1e400,\"least\":-1E-400,\"zero\":-0.0,\"long\":123456789012345678901234567890,\"one\":1.0}",
    b"{\"b\":1,\"a\":2,\"b\":3}",
    b" {\t\"a\" :\r\n 1 }\n\n",
    b"\xef\xbb\xbf{\"a\":1}",
    b"{\"a\":\"\x00\x01\x7f\"}",
    b"[]",
    b"null.null",
    b"a.b.c.1700000000",
    b"",
];

#[tokio::test(flavor = "multi_thread")]
async fn t47_the_bytes_on_the_wire_are_the_signed_ones_however_they_are_spelt() {
    let pair = Pair::new().await;
    let long = vec![b'7'; 1 << 19];

    for (count, body) in (1..).zip(SPELLINGS.into_iter().chain([&long[..]])) {
        let outcome = pair.post_body(Bytes::copy_from_slice(body)).await;

        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!(outcome.kind, OutcomeKind::Success, "{shown}");
        assert_eq!(pair.hook.counts().verified, count, "the official library takes {shown}");
        assert_eq!(&pair.hook.receipts().pop().unwrap().body[..], body, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t08_bodies_of_ten_gigabytes_take_no_memory() {
    const DELIVERIES: u64 = 20;
    const MOST_BYTES: u64 = 48 << 20;
    let (product, organization_id, partner) = without_workers().await;
    let worker = worker(&product).await;
    let Some(idle) = worker.usage() else {
        println!("skipped: this system does not tell how much memory a process has had");
        return;
    };
    let all_delivered = "select count(*) from webhooks.webhook_events where state <> 'delivered'";
    let mut peaks = vec![idle.peak_bytes];
    // What is made once is made by the first, whose answers have no body.
    for fault in [None, Some(Fault::HugeBody), Some(Fault::GzipBomb)] {
        partner.hook.set_behaviour(fault.map_or(Behaviour::Ok, Behaviour::Fault));
        let before = partner.hook.counts().received;
        for _ in 0..DELIVERIES {
            start_appointment(product.log(), organization_id).await;
        }
        received(&partner, before + DELIVERIES).await;
        until("all are delivered", async || (product.count(all_delivered).await == 0).then_some(())).await;
        peaks.push(worker.usage().unwrap().peak_bytes);
    }

    let [idle, usual, huge, bomb] = peaks[..] else { unreachable!("four moments") };
    println!("peaks: {idle} idle, {usual} with empty answers, {huge} with 10 GiB each, {bomb} with bombs");
    assert!(bomb - usual <= MOST_BYTES, "{} bytes more", bomb - usual);
    assert!(partner.hook.flooded_bytes() > 0, "bodies came");
    assert!(worker.end().await.success());
    product.is_sound().await;
    product.stop().await;
}
