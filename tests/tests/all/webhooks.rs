//! Webhooks, from the command to the receiver and back into the log.

use std::collections::BTreeSet;

use carelog_domain::appointment::Appointment;
use carelog_domain::patient::{Patient, PatientCommand, PatientDetails};
use carelog_domain::webhook_delivery::{WebhookDelivery, WebhookDeliveryCommand};
use carelog_domain::webhook_subscription::{DisableReason, RotatedSecret, WebhookSubscriptionCommand};
use carelog_domain::{DeliveryId, OrganizationId, Origin, PatientId, SubscriptionId};
use carelog_embedded::receiver::Behaviour;
use carelog_event_log::new_id;
use carelog_event_log::runtime::{RebuildScope, retry};
use carelog_tests::{
    Partner, Product, book_for, confirm, new_secret, reschedule, run, scope, start_appointment, subscribe,
    until,
};
use carelog_webhooks::{LedgerOnly, WebhooksProjector, queries};
use serde_json::{Value, json};
use uuid::Uuid;

const CANARY: &str = "Zaphodine Quetschke";
const CANARY_MAIL: &str = "quetschke@canary.example";

/// State, reason and number of attempts of every delivery, in the order of their events.
pub(crate) async fn deliveries(product: &Product, partner: &Partner) -> Vec<String> {
    product
        .texts(&format!(
            "select concat_ws(' ', source_type, state, reason, attempt_count)
             from webhooks.webhook_events
             where subscription_id = '{}'
             order by source_sequence",
            partner.subscription_id
        ))
        .await
}

/// Outcome and status of every attempt for a partner, in order.
pub(crate) async fn attempts(product: &Product, partner: &Partner) -> Vec<String> {
    product
        .texts(&format!(
            "select concat_ws(' ', a.number, a.outcome, a.status)
             from webhooks.webhook_attempts a
             join webhooks.webhook_events e using (organization_id, delivery_id)
             where e.subscription_id = '{}'
             order by e.source_sequence, a.number",
            partner.subscription_id
        ))
        .await
}

pub(crate) async fn become_deliveries(product: &Product, partner: &Partner, expected: &[&str]) {
    until("the deliveries stand as expected", async || {
        (deliveries(product, partner).await == expected).then_some(())
    })
    .await;
}

pub(crate) async fn received(partner: &Partner, count: u64) {
    until("the receiver is called", async || (partner.hook.counts().received >= count).then_some(())).await;
}

/// The ids that the receiver saw, oldest first.
pub(crate) fn webhook_ids(partner: &Partner) -> Vec<String> {
    partner.hook.receipts().into_iter().map(|receipt| receipt.webhook_id).collect()
}

async fn clinic(product: &Product) -> OrganizationId {
    product.clinic().await.0
}

/// A clinic whose only delivery was refused once and waits for its time.
async fn refused_once() -> (Product, OrganizationId, Partner) {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    partner.hook.set_behaviour(Behaviour::Status(503));
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked pending 1"]).await;
    product.settled().await;
    (product, organization_id, partner)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_matching_event_arrives_once_and_signed() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let bystander = clinic(&product).await;
    let booked = product.subscribe(organization_id, &["appointment.booked"]).await;
    let all = product.subscribe(organization_id, &["*"]).await;
    let elsewhere = product.subscribe(bystander, &["*"]).await;

    for _ in 0..10 {
        let stream_id = start_appointment(product.log(), organization_id).await;
        run::<Appointment>(product.log(), &scope(organization_id), stream_id, confirm()).await;
        run::<Appointment>(product.log(), &scope(organization_id), stream_id, reschedule(1)).await;
    }
    received(&all, 30).await;
    product.settled().await;

    for (partner, count) in [(&booked, 10), (&all, 30), (&elsewhere, 0)] {
        let counts = partner.hook.counts();
        assert_eq!((counts.received, counts.verified, counts.duplicates), (count, count, 0));
        let expected = product
            .texts(&format!(
                "select delivery_id::text from webhooks.webhook_events where subscription_id = '{}' order by 1",
                partner.subscription_id
            ))
            .await;
        assert_eq!(webhook_ids(partner).into_iter().collect::<BTreeSet<_>>(), expected.into_iter().collect());
    }
    let undelivered = "select count(*) from webhooks.webhook_events where state <> 'delivered'";
    assert_eq!(product.count(undelivered).await, 0);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_say_what_the_log_says_and_name_nobody() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let patient_id = PatientId::new(new_id());
    let details = PatientDetails {
        name: Some(CANARY.to_owned()),
        email: Some(CANARY_MAIL.to_owned()),
        phone: None,
        birth_date: None,
        external_reference: None,
    };
    let register = PatientCommand::Register { birth_year: Some(1964), details: Some(details) };
    run::<Patient>(product.log(), &scope(organization_id), patient_id.uuid(), register).await;
    let appointment_id = new_id();
    let note = format!("{CANARY} prefers {CANARY_MAIL}");
    run::<Appointment>(
        product.log(),
        &scope(organization_id),
        appointment_id,
        book_for(patient_id, Some(&note)),
    )
    .await;
    received(&partner, 2).await;
    product.settled().await;

    let expected = product
        .texts(
            "select json_build_object('event', event_type, 'event_id', event_id, 'organization_id', organization_id,
                                        'sequence', organization_sequence)::text
               from log.events
               where event_type in ('patient.registered', 'appointment.booked')
               order by organization_sequence",
        )
        .await;
    let mut bodies: Vec<Value> = partner
        .hook
        .receipts()
        .iter()
        .map(|receipt| serde_json::from_slice(&receipt.body).unwrap())
        .collect();
    bodies.sort_by_key(|body| body["sequence"].as_i64());
    for (body, expected) in bodies.iter_mut().zip(&expected) {
        let body = body.as_object_mut().unwrap();
        let timestamp = body.remove("timestamp").unwrap();
        timestamp.as_str().unwrap().parse::<carelog_domain::Timestamp>().unwrap();
        let data = body.remove("data").unwrap();
        assert_eq!(Value::Object(body.clone()), serde_json::from_str::<Value>(expected).unwrap());
        if body["event"] == "patient.registered" {
            assert_eq!((&data["patient_id"], &data["status"]), (&json!(patient_id), &json!("registered")));
        } else {
            assert_eq!(data["appointment_id"], json!(appointment_id));
            assert_eq!((&data["patient_id"], &data["status"]), (&json!(patient_id), &json!("booked")));
            assert_eq!(
                (&data["mode"], &data["starts_at"]),
                (&json!("video"), &json!("2026-03-02T09:30:00.000000Z"))
            );
        }
    }
    assert_eq!(bodies.len(), 2);

    nobody_is_named(&product, &partner).await;
    product.stop().await;
}

async fn nobody_is_named(product: &Product, partner: &Partner) {
    let mut texts: Vec<String> = product.contents().await.into_values().flatten().collect();
    texts.extend(product.texts("select e::text from log.events e").await);
    texts.extend(product.texts("select convert_from(facts, 'UTF8') from log.events").await);
    texts.extend(product.texts("select e::text from runtime.effects e").await);
    texts.extend(
        partner.hook.receipts().iter().map(|receipt| String::from_utf8(receipt.body.to_vec()).unwrap()),
    );
    assert!(texts.len() > 10);
    let [first, last] = ["Zaphodine", "Quetschke"];
    for canary in [first, last, "quetschke", "canary.example", &partner.secret] {
        // In the text of a row, bytes are shown in hexadecimal digits.
        let hex = canary.bytes().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let found: Vec<_> =
            texts.iter().filter(|text| text.contains(canary) || text.contains(&hex)).collect();
        assert!(found.is_empty(), "{canary} is told in {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_receiver_is_called_again_by_the_schedule() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    partner.hook.set_behaviour(Behaviour::Status(503));
    start_appointment(product.log(), organization_id).await;

    for (number, wait) in [60_i64, 660, 7_260, 79_860].into_iter().enumerate() {
        let pending = format!("appointment.booked pending {}", number + 1);
        become_deliveries(&product, &partner, &[&pending]).await;
        product.settled().await;
        let waits = product
            .texts(
                "select round(extract(epoch from e.next_attempt_at - a.recorded_at))::text
                 from webhooks.webhook_events e
                 join webhooks.webhook_attempts a
                     on a.delivery_id = e.delivery_id and a.number = e.attempt_count
                 join runtime.effects f
                     on f.source_event_id = e.source_event_id and f.owner is null
                    and abs(extract(epoch from f.next_at - e.next_attempt_at)) < 5",
            )
            .await;
        let [seconds] = &waits[..] else { panic!("one effect waits until the time of the row: {waits:?}") };
        let seconds: i64 = seconds.parse().unwrap();
        assert!(
            (wait * 8 / 10 - 1..=wait * 12 / 10 + 1).contains(&seconds),
            "{seconds} s, not {wait} s ± 20 %"
        );
        product.pull_retries().await;
    }

    become_deliveries(&product, &partner, &["appointment.booked failed exhausted 5"]).await;
    product.settled().await;
    assert_eq!(attempts(&product, &partner).await, [1, 2, 3, 4, 5].map(|n| format!("{n} http_status 503")));
    assert_eq!(webhook_ids(&partner).into_iter().collect::<BTreeSet<_>>().len(), 1);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_ends_its_subscription() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    partner.hook.set_behaviour(Behaviour::Status(503));
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked pending 1"]).await;
    partner.hook.set_behaviour(Behaviour::Status(410));
    start_appointment(product.log(), organization_id).await;

    let disabled = "select count(*) from webhooks.webhook_subscriptions
                    where status = 'disabled' and disable_reason = 'gone'";
    until("the subscription is disabled", async || (product.count(disabled).await == 1).then_some(())).await;
    let recorded = "select count(*) from log.events where event_type = 'webhook_subscription.disabled'";
    assert_eq!(product.count(recorded).await, 1);
    // What waits is closed at its time, and what comes afterwards at once. A worker may take the subscription for
    // active for a moment longer, but nothing is sent once what waits is closed.
    let closed = "appointment.booked failed disabled";
    let mut states = until("what waits is closed", async || {
        product.pull_retries().await;
        let states = deliveries(&product, &partner).await;
        states.iter().all(|state| state.starts_with(closed)).then_some(states)
    })
    .await;
    assert_eq!(states.len(), 2);
    let count = partner.hook.counts().received;
    start_appointment(product.log(), organization_id).await;
    states.push("appointment.booked failed skipped_inactive 0".to_owned());
    until("the last event is skipped", async || {
        (deliveries(&product, &partner).await == states).then_some(())
    })
    .await;
    product.settled().await;
    assert_eq!(partner.hook.counts().received, count);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_is_not_understood_is_not_sent_again() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    partner.hook.set_behaviour(Behaviour::Status(415));
    start_appointment(product.log(), organization_id).await;

    become_deliveries(&product, &partner, &["appointment.booked failed unsupported 1"]).await;

    product.settled().await;
    assert_eq!(product.count("select count(*) from runtime.effects where next_at is not null").await, 0);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_subscription_gets_rows_and_no_requests() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let pause = WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
    product.tell(&partner, pause).await;
    start_appointment(product.log(), organization_id).await;
    let skipped = "appointment.booked failed skipped_inactive 0";
    become_deliveries(&product, &partner, &[skipped]).await;

    product.tell(&partner, WebhookSubscriptionCommand::Enable).await;
    product.settled().await;
    assert_eq!(partner.hook.counts().received, 0);
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &[skipped, "appointment.booked delivered 1"]).await;
    product.settled().await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_subscription_is_not_taken_for_the_paused_one_that_it_was() {
    let (product, organization_id, partner) = Box::pin(refused_once()).await;
    product.tell(&partner, WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused }).await;
    let closed = "appointment.booked failed disabled 1";
    become_deliveries(&product, &partner, &[closed]).await;

    partner.hook.set_behaviour(Behaviour::Ok);
    product.tell(&partner, WebhookSubscriptionCommand::Enable).await;
    start_appointment(product.log(), organization_id).await;

    become_deliveries(&product, &partner, &[closed, "appointment.booked delivered 1"]).await;
    product.settled().await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_subscription_gets_nothing_more() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    partner.hook.set_behaviour(Behaviour::Status(503));
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked pending 1"]).await;

    product.tell(&partner, WebhookSubscriptionCommand::Delete).await;
    start_appointment(product.log(), organization_id).await;
    product.settled().await;
    let closed = "appointment.booked failed disabled";
    let states = until("what waits is closed", async || {
        let states = deliveries(&product, &partner).await;
        states.iter().all(|state| state.starts_with(closed)).then_some(states)
    })
    .await;

    assert_eq!(states.len(), 1, "the second event found no subscription");
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_secrets_sign_while_they_overlap() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let (second, third) = (new_secret(), new_secret());
    let rotate = |secret: &String, overlap_seconds| WebhookSubscriptionCommand::RotateSecret {
        secret: RotatedSecret { secret: secret.clone() },
        overlap_seconds,
    };

    product.tell(&partner, rotate(&second, 3_600)).await;
    partner.hook.set_secrets(&[&second]).unwrap();
    is_verified(&product, &partner).await;
    partner.hook.set_secrets(&[&partner.secret]).unwrap();
    let refused = partner.hook.counts().refused_signatures;
    is_verified(&product, &partner).await;
    assert_eq!(partner.hook.counts().refused_signatures, refused, "the old secret signs beside the new one");

    product.tell(&partner, rotate(&third, 0)).await;
    partner.hook.set_secrets(&[&third]).unwrap();
    is_verified(&product, &partner).await;
    partner.hook.set_secrets(&[&partner.secret, &second]).unwrap();
    let counts = partner.hook.counts();
    start_appointment(product.log(), organization_id).await;
    received(&partner, counts.received + 1).await;
    assert_eq!(partner.hook.counts().verified, counts.verified, "earlier secrets sign no more");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_rotated_secret_signs_until_its_own_end() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let secrets = [partner.secret.clone(), new_secret(), new_secret()];
    for (secret, overlap_seconds) in [(&secrets[1], 7 * 86_400), (&secrets[2], 3_600)] {
        let secret = RotatedSecret { secret: secret.clone() };
        product.tell(&partner, WebhookSubscriptionCommand::RotateSecret { secret, overlap_seconds }).await;
    }
    for secret in &secrets {
        partner.hook.set_secrets(&[secret]).unwrap();
        is_verified(&product, &partner).await;
    }

    // Two hours later the second secret has ended, and the first one, whose own overlap is longer, has not.
    product
        .sql(
            "update webhooks.webhook_subscription_parts set recorded_at = recorded_at - interval '2 hours'
             where event_type = 'webhook_subscription.secret_rotated'",
        )
        .await;
    partner.hook.set_secrets(&[&secrets[1]]).unwrap();
    is_refused(&product, &partner).await;
    for secret in [&secrets[0], &secrets[2]] {
        partner.hook.set_secrets(&[secret]).unwrap();
        is_verified(&product, &partner).await;
    }
    // A week later the first one has ended too.
    product
        .sql(
            "update webhooks.webhook_subscription_parts set recorded_at = recorded_at - interval '7 days'
             where event_type = 'webhook_subscription.secret_rotated'",
        )
        .await;
    partner.hook.set_secrets(&[&secrets[0]]).unwrap();
    is_refused(&product, &partner).await;
    partner.hook.set_secrets(&[&secrets[2]]).unwrap();
    is_verified(&product, &partner).await;
    product.stop().await;
}

/// Lets something happen until a request is signed with none of the hook's secrets.
async fn is_refused(product: &Product, partner: &Partner) {
    let before = partner.hook.counts().refused_signatures;
    until("no signature verifies", async || {
        let count = partner.hook.counts().received;
        start_appointment(product.log(), partner.organization_id).await;
        received(partner, count + 1).await;
        (partner.hook.counts().refused_signatures > before).then_some(())
    })
    .await;
}

/// Lets something happen until a request is signed with one of the hook's secrets.
async fn is_verified(product: &Product, partner: &Partner) {
    let before = partner.hook.counts().verified;
    until("a signature verifies", async || {
        let count = partner.hook.counts().received;
        start_appointment(product.log(), partner.organization_id).await;
        received(partner, count + 1).await;
        (partner.hook.counts().verified > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_no_receiver() {
    let product = Product::start_with(false).await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let port = product.receiver.address().port();
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("https://{host}:{port}/hooks/{}", partner.subscription_id);
        let id = SubscriptionId::new(new_id());
        subscribe(product.log(), organization_id, id, &["*"], url, partner.secret.clone()).await;
    }

    start_appointment(product.log(), organization_id).await;

    let blocked = "select count(*) from webhooks.webhook_attempts where outcome = 'blocked_url'";
    until("every URL is refused", async || (product.count(blocked).await == 5).then_some(())).await;
    product.settled().await;
    assert_eq!(product.receiver.counts().received, 0);
    assert_eq!(
        product.count("select count(*) from webhooks.webhook_events where state = 'pending'").await,
        5
    );
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_goes_to_its_subscription_alone_and_the_ordinary_way() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["form.signed"]).await;
    let neighbour = product.subscribe(organization_id, &["*"]).await;

    product.tell(&partner, WebhookSubscriptionCommand::RequestTest).await;
    become_deliveries(&product, &partner, &["webhook_subscription.test_requested delivered 1"]).await;
    partner.hook.set_behaviour(Behaviour::Status(503));
    product.tell(&partner, WebhookSubscriptionCommand::RequestTest).await;
    let both =
        ["webhook_subscription.test_requested delivered 1", "webhook_subscription.test_requested pending 1"];
    become_deliveries(&product, &partner, &both).await;
    product.settled().await;

    assert_eq!(partner.hook.counts().verified, 2);
    assert_eq!(deliveries(&product, &neighbour).await, [""; 0]);
    let body: Value = serde_json::from_slice(&partner.hook.receipts()[0].body).unwrap();
    assert_eq!(body["event"], "webhook_subscription.test_requested");
    let subscription_id = partner.subscription_id;
    assert_eq!(
        body["data"],
        json!({ "webhook_subscription_id": subscription_id, "status": "test_requested" })
    );
    product.is_sound().await;
    let before = product.contents().await;
    product.rebuild(RebuildScope::Everything).await;
    assert_eq!(product.contents().await, before);
    product.stop().await;
}

pub(crate) async fn send_again(product: &Product, organization_id: OrganizationId, delivery_id: Uuid) {
    let mut connection = product.databases().core_owner.acquire().await.unwrap();
    let row =
        queries::delivery(&mut connection, organization_id, DeliveryId::new(delivery_id)).await.unwrap();
    let again = WebhookDeliveryCommand::RequestRedelivery {
        emission: row.unwrap().emission().unwrap(),
        replay_id: None,
    };
    run::<WebhookDelivery>(product.log(), &scope(organization_id), delivery_id, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_skipped_while_paused_is_sent_on_request() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let pause = WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
    product.tell(&partner, pause).await;
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked failed skipped_inactive 0"]).await;
    product.tell(&partner, WebhookSubscriptionCommand::Enable).await;
    let ids = product.texts("select delivery_id::text from webhooks.webhook_events").await;

    send_again(&product, organization_id, ids[0].parse().unwrap()).await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    product.settled().await;
    assert_eq!(webhook_ids(&partner), ids);
    product.is_sound().await;
    let before = product.contents().await;
    product.rebuild(RebuildScope::Everything).await;
    assert_eq!(product.contents().await, before);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_round_whose_report_was_lost_does_not_send_beside_the_new_one() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    product.settled().await;
    let delivery_id: Uuid = webhook_ids(&partner)[0].parse().unwrap();
    partner.hook.set_behaviour(Behaviour::Status(503));
    send_again(&product, organization_id, delivery_id).await;
    become_deliveries(&product, &partner, &["appointment.booked pending 2"]).await;
    product.settled().await;

    // As if the worker of the first round had died before its report.
    product
        .sql(
            "update runtime.effects
             set owner = gen_random_uuid(), token = token + 1, next_at = now() - interval '1 s'
             where next_at is null",
        )
        .await;
    product.look_for_due_effects().await;
    until("the first round is closed", async || {
        let open = "select count(*) from runtime.effects where next_at is not null";
        (product.count(open).await == 1).then_some(())
    })
    .await;

    assert_eq!(attempts(&product, &partner).await, ["1 success 204", "2 http_status 503"]);
    assert_eq!(partner.hook.counts().received, 2);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_sent_again_on_request_under_its_id() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    let delivery_id: Uuid = webhook_ids(&partner)[0].parse().unwrap();

    send_again(&product, organization_id, delivery_id).await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 2"]).await;
    product.settled().await;
    let receipts = partner.hook.receipts();
    assert_eq!(receipts.len(), 2);
    assert_eq!(receipts[0].webhook_id, receipts[1].webhook_id);
    assert_eq!(receipts[0].body, receipts[1].body);
    assert_eq!(partner.hook.counts().verified, 2);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_delivery_is_recorded_as_unknown_and_sent_again() {
    let (product, _, partner) = Box::pin(refused_once()).await;
    partner.hook.set_behaviour(Behaviour::Ok);

    // As somebody leaves it who takes it up and dies.
    product
        .sql(
            "update runtime.effects
             set owner = gen_random_uuid(), token = token + 1, claimed_at = clock_timestamp(),
                 next_at = now() - interval '1 s'
             where next_at is not null",
        )
        .await;
    product.look_for_due_effects().await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 3"]).await;
    product.settled().await;
    assert_eq!(attempts(&product, &partner).await, ["1 http_status 503", "2 unknown", "3 success 204"]);
    let ids = webhook_ids(&partner);
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_whose_report_was_lost_is_no_attempt_of_unknown_outcome() {
    let (product, _, partner) = Box::pin(refused_once()).await;
    partner.hook.set_behaviour(Behaviour::Ok);

    // As the ledger stands when its holder recorded the outcome and died before the report.
    product
        .sql(
            "update runtime.effects
             set owner = gen_random_uuid(), token = token + 1, next_at = now() - interval '1 s'
             where next_at is not null",
        )
        .await;
    product.look_for_due_effects().await;

    until("the effect waits for the time that the outcome named", async || {
        let waiting = "select count(*) from runtime.effects f
                       join webhooks.webhook_events e using (organization_id, source_event_id)
                       where f.owner is null and abs(extract(epoch from f.next_at - e.next_attempt_at)) < 5";
        (product.count(waiting).await == 1).then_some(())
    })
    .await;
    assert_eq!(attempts(&product, &partner).await, ["1 http_status 503"]);
    assert_eq!(partner.hook.counts().received, 1);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_comes_after_the_lease_is_refused() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    partner.hook.set_behaviour(Behaviour::Delay(std::time::Duration::from_secs(2)));
    start_appointment(product.log(), organization_id).await;
    received(&partner, 1).await;

    product.sql("update runtime.effects set next_at = now() - interval '1 s' where owner is not null").await;
    product.look_for_due_effects().await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 2"]).await;
    product.settled().await;
    assert_eq!(attempts(&product, &partner).await, ["1 unknown", "2 success 204"]);
    let ids = webhook_ids(&partner);
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t41_an_effect_that_names_another_organizations_event_sends_nothing() {
    let product = Product::start().await;
    let (own, foreign) = (clinic(&product).await, clinic(&product).await);
    let partner = product.subscribe(own, &["*"]).await;
    start_appointment(product.log(), foreign).await;
    product.settled().await;
    let step = partner.subscription_id;

    product
        .sql(&format!(
            "insert into runtime.effects (organization_id, source_event_id, step, reactor, lane, position, next_at)
             select '{own}', event_id, '{step}', 'webhooks', lane, position, now()
             from log.events where organization_id = '{foreign}' and event_type = 'appointment.booked';
             insert into runtime.effect_queues (reactor, organization_id, step, next_at)
             values ('webhooks', '{own}', '{step}', now())
             on conflict (reactor, organization_id, step) do update set next_at = now()"
        ))
        .await;
    let taken = format!("select count(*) from runtime.effects where step = '{step}' and token > 1");
    until("somebody takes it", async || (product.count(&taken).await == 1).then_some(())).await;
    start_appointment(product.log(), own).await;
    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;

    let expected = product.texts("select delivery_id::text from webhooks.webhook_events").await;
    assert_eq!((expected.len(), webhook_ids(&partner)), (1, expected));
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantined_event_is_sent_once_it_can_be_applied() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let refuse = "alter table webhooks.webhook_events
                  add constraint refused check (source_type <> 'appointment.confirmed')";
    product.sql(refuse).await;
    let stream_id = start_appointment(product.log(), organization_id).await;
    run::<Appointment>(product.log(), &scope(organization_id), stream_id, confirm()).await;
    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    until("the event is set aside", async || {
        (product.count("select count(*) from runtime.quarantine").await == 1).then_some(())
    })
    .await;
    product.sql("alter table webhooks.webhook_events drop constraint refused").await;

    let mut connection = product.databases().core_system.acquire().await.unwrap();
    let retried = retry(
        &WebhooksProjector,
        Some(&LedgerOnly),
        product.log(),
        &mut connection,
        organization_id,
        stream_id,
    );
    assert_eq!(retried.await.unwrap(), 0);

    let both = ["appointment.booked delivered 1", "appointment.confirmed delivered 1"];
    become_deliveries(&product, &partner, &both).await;
    product.settled().await;
    assert_eq!(partner.hook.counts().received, 2);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_history_is_told_to_nobody_unless_asked() {
    let product = Product::start().await;
    let organization_id = clinic(&product).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    for origin in [Origin::Imported, Origin::ImportedNotify, Origin::Imported] {
        let mut scope = scope(organization_id);
        scope.circumstances.origin = origin;
        let book = book_for(PatientId::new(new_id()), None);
        run::<Appointment>(product.log(), &scope, new_id(), book).await;
    }

    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    product.settled().await;
    assert_eq!(partner.hook.counts().received, 1);
    let origins = product
        .texts("select origin from log.events join webhooks.webhook_events on source_event_id = event_id")
        .await;
    assert_eq!(origins, ["imported_notify"]);
    product.is_sound().await;
    product.stop().await;
}

/// A product on which everything has happened that leaves rows of another form.
async fn eventful() -> (Product, [OrganizationId; 2], Vec<Partner>) {
    let product = Product::start().await;
    let organizations = [clinic(&product).await, clinic(&product).await];
    let mut partners = Vec::new();
    for organization_id in organizations {
        for behaviour in [
            Behaviour::Ok,
            Behaviour::FailEvery { every: 3, status: 503 },
            Behaviour::Status(415),
            Behaviour::Reset,
        ] {
            let partner = product.subscribe(organization_id, &["appointment.*", "patient.*"]).await;
            partner.hook.set_behaviour(behaviour);
            partners.push(partner);
        }
    }
    let pause = WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
    product.tell(&partners[0], pause).await;
    happen(&product, &organizations, 6).await;
    product.tell(&partners[0], WebhookSubscriptionCommand::Enable).await;
    product.tell(&partners[7], WebhookSubscriptionCommand::Delete).await;
    happen(&product, &organizations, 6).await;
    product.settled().await;
    let delivery_id: Uuid = webhook_ids(&partners[4])[0].parse().unwrap();
    send_again(&product, organizations[1], delivery_id).await;
    product.pull_retries().await;
    product.settled().await;
    (product, organizations, partners)
}

async fn happen(product: &Product, organizations: &[OrganizationId], times: usize) {
    for _ in 0..times {
        for organization_id in organizations {
            let stream_id = start_appointment(product.log(), *organization_id).await;
            run::<Appointment>(product.log(), &scope(*organization_id), stream_id, confirm()).await;
            let register = carelog_tests::register(CANARY);
            run::<Patient>(product.log(), &scope(*organization_id), new_id(), register).await;
        }
    }
}

const EFFECTS: &str = "select count(*) from runtime.effects";

#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_projections_equal_live_ones_and_send_nothing() {
    let (product, organizations, _partners) = Box::pin(eventful()).await;
    let (before, sent) = (product.contents().await, product.receiver.counts());
    let effects = product.count(EFFECTS).await;
    assert!(before.values().map(Vec::len).sum::<usize>() > 200);

    product.rebuild(RebuildScope::Everything).await;
    assert_eq!(product.contents().await, before);
    product.rebuild(RebuildScope::Organization(organizations[0])).await;
    assert_eq!(product.contents().await, before);

    product.settled().await;
    assert_eq!(product.receiver.counts(), sent);
    assert_eq!(product.count(EFFECTS).await, effects);
    product.is_sound().await;
    // What comes afterwards is still sent.
    happen(&product, &organizations, 1).await;
    product.settled().await;
    assert!(product.receiver.counts().received > sent.received);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilding_while_commands_go_on_changes_nothing() {
    let (product, organizations, _partners) = Box::pin(eventful()).await;
    let rebuilding = async {
        product.rebuild(RebuildScope::Everything).await;
        product.rebuild(RebuildScope::Organization(organizations[1])).await;
    };
    tokio::join!(rebuilding, happen(&product, &organizations, 20));
    product.settled().await;
    let (live, sent, effects) =
        (product.contents().await, product.receiver.counts(), product.count(EFFECTS).await);

    product.rebuild(RebuildScope::Everything).await;

    assert_eq!(product.contents().await, live);
    assert_eq!((product.receiver.counts(), product.count(EFFECTS).await), (sent, effects));
    product.is_sound().await;
    product.stop().await;
}
