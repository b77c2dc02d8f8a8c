//! From when on a pause, a deletion and a new secret hold.

use std::num::NonZeroU16;
use std::sync::Arc;

use carelog_domain::webhook_subscription::{DisableReason, RotatedSecret, WebhookSubscriptionCommand};
use carelog_embedded::receiver::{Behaviour, Fault, Receiver};
use carelog_event_log::SystemClock;
use carelog_server::serve::Roles;
use carelog_tests::{Partner, Product, new_secret, receiver_options, start_appointment, subscribe, until};

use crate::replays::happen;
use crate::webhooks::{deliveries, received};
use crate::worker_processes::{FEW, PROCESS};

const PAUSE: WebhookSubscriptionCommand =
    WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };

/// Replaces a secret that got out: the old one is to sign nothing more.
fn replace(secret: &str) -> WebhookSubscriptionCommand {
    WebhookSubscriptionCommand::RotateSecret {
        secret: RotatedSecret { secret: secret.to_owned() },
        overlap_seconds: 0,
    }
}

/// Waits until what a partner was told last is folded; what is wished after that comes after it.
async fn is_folded(product: &Product, partner: &Partner) {
    let behind = format!(
        "select count(*) from log.events e
         where e.stream_id = '{id}' and e.version > coalesce(
             (select version from webhooks.webhook_subscriptions where subscription_id = '{id}'), 0)",
        id = partner.subscription_id
    );
    until("the change is folded", async || (product.count(&behind).await == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t44_no_delivery_that_is_taken_after_a_rotation_is_signed_with_the_old_secret() {
    const ROTATIONS: u64 = 5;
    let roles = Roles { workers: false, ..Roles::ALL };
    let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
    let organization_id = product.clinic().await.0;
    let partner = product.subscribe(organization_id, &["*"]).await;
    // What sends has not folded the rotation itself, and remembers the subscription from a moment ago.
    let worker = product.process(PROCESS, "workers", FEW, &[]).await;
    for rotation in 0..ROTATIONS {
        start_appointment(product.log(), organization_id).await;
        received(&partner, 3 * rotation + 1).await;

        let secret = new_secret();
        product.tell(&partner, replace(&secret)).await;
        is_folded(&product, &partner).await;
        partner.hook.set_secrets(&[&secret]).unwrap();
        for _ in 0..2 {
            start_appointment(product.log(), organization_id).await;
        }
        received(&partner, 3 * rotation + 3).await;
    }

    let counts = partner.hook.counts();
    assert_eq!((counts.verified, counts.refused_signatures), (3 * ROTATIONS, 0));
    assert!(worker.end().await.success());
    product.settled().await;
    product.is_sound().await;
    product.stop().await;
}

/// A worker that has nine deliveries of a partner in its hands and cannot begin them, because others occupy it.
struct Busy {
    product: Product,
    partner: Partner,
    others: Receiver,
}

impl Busy {
    /// Requests that a worker has under way at a time.
    const SLOTS: u16 = 256;
    const IN_HAND: u64 = 9;

    async fn new() -> Self {
        let others = Receiver::start(receiver_options()).await.unwrap();
        let pem = others.ca_pem().to_owned();
        let product = Product::start_adjusted(Arc::new(SystemClock), move |config| {
            let roots = config.webhooks.extra_root_pem.as_ref().unwrap();
            let known = std::fs::read_to_string(roots).unwrap();
            std::fs::write(roots, known + &pem).unwrap();
            config.webhooks.in_flight_per_subscription = NonZeroU16::new(Self::SLOTS - 1).unwrap();
            config.webhooks.in_flight_per_organization = NonZeroU16::MAX;
        })
        .await;
        let organization_id = product.clinic().await.0;
        let partner = product.subscribe(organization_id, &["appointment.booked"]).await;
        let hook = others.hook("others");
        let secret = new_secret();
        hook.set_secrets(&[&secret]).unwrap();
        hook.set_behaviour(Behaviour::Fault(Fault::Never));
        let id = carelog_domain::SubscriptionId::new(carelog_event_log::new_id());
        let filter = ["appointment.rescheduled"];
        subscribe(product.log(), organization_id, id, &filter, others.url("others"), secret).await;
        // An appointment that is booked, and one that is moved so often that but one request is free.
        happen(&product, organization_id, u32::from(Self::SLOTS)).await;
        until("one request is free", async || {
            (hook.counts().received >= u64::from(Self::SLOTS - 1)).then_some(())
        })
        .await;
        let busy = Self { product, partner, others };
        received(&busy.partner, 1).await;
        // The subscription is known now, and what comes next stays under way.
        busy.partner.hook.set_behaviour(Behaviour::Fault(Fault::Never));
        for _ in 0..=Self::IN_HAND {
            start_appointment(busy.product.log(), organization_id).await;
        }
        received(&busy.partner, 2).await;
        let held = format!(
            "select count(*) from runtime.effects where step = '{}' and owner is not null",
            busy.partner.subscription_id
        );
        until("the worker holds the others", async || {
            (busy.product.count(&held).await == i64::try_from(Self::IN_HAND + 1).unwrap()).then_some(())
        })
        .await;
        busy.partner.hook.set_behaviour(Behaviour::Ok);
        busy
    }

    /// A change comes while they are in hand; then nothing occupies the worker any more, and it goes through them.
    async fn goes_on_after(&self, change: WebhookSubscriptionCommand) {
        self.product.tell(&self.partner, change).await;
        is_folded(&self.product, &self.partner).await;
        assert_eq!(self.partner.hook.counts().received, 2, "they are still in hand");
        self.others.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t43_what_a_worker_has_in_hand_is_not_sent_after_a_pause_or_a_deletion() {
    for change in [PAUSE, WebhookSubscriptionCommand::Delete] {
        let busy = Busy::new().await;

        busy.goes_on_after(change).await;

        until("they are given up", async || {
            let states = deliveries(&busy.product, &busy.partner).await;
            let given_up =
                states.iter().filter(|state| *state == "appointment.booked failed disabled 0").count();
            (given_up as u64 == Busy::IN_HAND).then_some(())
        })
        .await;
        assert_eq!(busy.partner.hook.counts().received, 2);
        busy.product.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t44_what_a_worker_has_in_hand_is_not_signed_with_a_secret_that_was_replaced() {
    let busy = Busy::new().await;
    let secret = new_secret();
    busy.partner.hook.set_secrets(&[&secret]).unwrap();

    busy.goes_on_after(replace(&secret)).await;

    received(&busy.partner, 2 + Busy::IN_HAND).await;
    let counts = busy.partner.hook.counts();
    assert_eq!((counts.verified, counts.refused_signatures), (2 + Busy::IN_HAND, 0));
    busy.product.stop().await;
}
