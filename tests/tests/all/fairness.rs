//! Receivers that are slow, dead or overwhelmed, and those beside them.

use std::time::Duration;

use carelog_domain::webhook_subscription::WebhookSubscriptionCommand;
use carelog_embedded::receiver::Behaviour;
use carelog_server::doctor::{Leaves, examine};
use carelog_tests::{Partner, Product, start_appointment, until};

async fn received(partner: &Partner, count: u64) {
    until("the receiver is called", async || (partner.hook.counts().received >= count).then_some(())).await;
}

async fn happen(product: &Product, partner: &Partner, times: usize) {
    for _ in 0..times {
        start_appointment(product.log(), partner.organization_id).await;
    }
}

async fn partner(product: &Product) -> Partner {
    let (organization_id, _) = product.clinic().await;
    product.subscribe(organization_id, &["*"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_slows_nobody_else() {
    let product = Product::start().await;
    let (dead, alive) = (partner(&product).await, partner(&product).await);
    dead.hook.set_behaviour(Behaviour::Delay(Duration::from_mins(1)));
    happen(&product, &dead, 300).await;
    let share = u64::from(product.config.webhooks.in_flight_per_subscription.get());
    received(&dead, share).await;

    happen(&product, &alive, 10).await;
    received(&alive, 10).await;

    assert_eq!(alive.hook.counts().verified, 10);
    let of_dead =
        format!("select count(*) from runtime.effects where organization_id = '{}'", dead.organization_id);
    assert!(product.count(&of_dead).await > i64::try_from(share).unwrap(), "others wait");
    // At any moment, so also while some are given up and others begin.
    let under_way = product.count(&format!("{of_dead} and owner is not null")).await;
    let under_way = u64::try_from(under_way).unwrap();
    assert!(under_way <= share, "{under_way} are under way");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_gets_no_more_in_five_seconds_than_it_wants() {
    const PACE: usize = 4;
    let product = Product::start().await;
    let partner = partner(&product).await;
    let slower = WebhookSubscriptionCommand::Change { filter: None, per_tick_limit: Some(4), change: None };
    product.tell(&partner, slower).await;

    happen(&product, &partner, 10).await;
    received(&partner, 10).await;

    let times: Vec<_> = partner.hook.receipts().iter().map(|receipt| receipt.received_at).collect();
    for window in times.windows(PACE + 1) {
        let apart = window[PACE].duration_since(window[0]);
        // Two seconds are left for what a request is on its way; without a pace they come within milliseconds.
        assert!(apart >= Duration::from_secs(3), "{} within {apart:?}", PACE + 1);
    }
    product.settled().await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_retry_after_holds_every_delivery() {
    let product = Product::start().await;
    let partner = partner(&product).await;
    partner.hook.set_behaviour(Behaviour::RetryAfter { status: 429, value: "2".to_owned() });
    happen(&product, &partner, 1).await;
    until("the refusal is reported", async || {
        let held = "select count(*) from runtime.effect_queues where held_until > now()";
        (product.count(held).await == 1).then_some(())
    })
    .await;

    partner.hook.set_behaviour(Behaviour::Ok);
    happen(&product, &partner, 1).await;
    received(&partner, 2).await;

    let receipts = partner.hook.receipts();
    let pause = receipts[1].received_at.duration_since(receipts[0].received_at);
    assert!(pause >= Duration::from_secs(2), "{pause:?}");
    product.settled().await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_success_after_failures_pulls_retries_forward() {
    let product = Product::start().await;
    let partner = partner(&product).await;
    partner.hook.set_behaviour(Behaviour::Status(500));
    for failures in 1..=3 {
        happen(&product, &partner, 1).await;
        until("the failure is reported", async || {
            let told = format!("select count(*) from runtime.effect_queues where failures = {failures}");
            (product.count(&told).await == 1).then_some(())
        })
        .await;
    }
    partner.hook.set_behaviour(Behaviour::Ok);
    happen(&product, &partner, 1).await;
    product.sql("update runtime.effect_queues set held_until = null, next_at = now()").await;

    // Their own time would come in a minute at the earliest.
    until("each of them arrives", async || (partner.hook.counts().verified == 7).then_some(())).await;
    let open = "select count(*) from webhooks.webhook_events where state <> 'delivered'";
    until("each of them is delivered", async || (product.count(open).await == 0).then_some(())).await;

    product.settled().await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_effects_that_nobody_looks_for() {
    let product = Product::start().await;
    let partner = partner(&product).await;
    partner.hook.set_behaviour(Behaviour::Status(500));
    happen(&product, &partner, 1).await;
    until("a retry waits", async || {
        let waits = "select count(*) from runtime.effects where owner is null and next_at > now()";
        (product.count(waits).await == 1).then_some(())
    })
    .await;
    product.is_sound().await;

    for forgotten in ["null", "'2999-01-01'"] {
        product
            .sql(&format!("update runtime.effect_queues set next_at = {forgotten}, held_until = null"))
            .await;
        let findings = examine(product.databases(), Leaves::Sample(0)).await.unwrap();
        let damaged: Vec<_> =
            findings.iter().filter(|finding| !finding.is_ok()).map(|finding| finding.name).collect();
        assert_eq!(damaged, ["every queue is looked at when its first effect is due"]);
    }
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_fails_for_three_days_is_disabled_with_a_reason() {
    let product = Product::start().await;
    let partner = partner(&product).await;
    partner.hook.set_behaviour(Behaviour::Status(500));
    happen(&product, &partner, 1).await;
    until("the failure is reported", async || {
        (product.count("select count(*) from runtime.effect_queues where failures = 1").await == 1)
            .then_some(())
    })
    .await;
    let states = "select concat_ws(' ', status, disable_reason) from webhooks.webhook_subscriptions";
    assert_eq!(product.texts(states).await, ["active"]);

    product
        .sql("update runtime.effect_queues set failures = 4, failing_since = now() - interval '72 hours 1 second'")
        .await;
    product.sql("update runtime.effects set next_at = now()").await;
    product.sql("update runtime.effect_queues set next_at = now()").await;

    until("it is disabled", async || (product.texts(states).await == ["disabled failing"]).then_some(()))
        .await;
    let waiting = "select concat_ws(' ', state, reason, attempt_count) from webhooks.webhook_events";
    until("what waits is closed", async || {
        (product.texts(waiting).await == ["failed disabled 2"]).then_some(())
    })
    .await;
    product.settled().await;
    assert_eq!(partner.hook.counts().received, 2);
    product.is_sound().await;
    product.stop().await;
}
