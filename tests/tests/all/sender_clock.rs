//! Workers whose clock is wrong: times that are due follow the database's clock, signatures the worker's own.

use std::sync::Arc;

use carelog_domain::OrganizationId;
use carelog_server::serve::Roles;
use carelog_server::skew;
use carelog_tests::{Partner, Product, ShiftedClock, start_appointment, until};

use crate::webhooks::{attempts, become_deliveries, received};

async fn with_clock(clock: &Arc<ShiftedClock>) -> (Product, OrganizationId, Partner) {
    let product = Product::start_as(Roles::ALL, true, Arc::clone(clock) as _).await;
    let organization_id = product.clinic().await.0;
    let partner = product.subscribe(organization_id, &["*"]).await;
    (product, organization_id, partner)
}

/// Seconds until the only retry, by the database's clock.
async fn retry_in(product: &Product) -> i64 {
    let due = "select count(*) from runtime.effects where owner is null and next_at > now()";
    until("the retry waits", async || (product.count(due).await == 1).then_some(())).await;
    product
        .count("select extract(epoch from next_at - now())::bigint from runtime.effects where next_at is not null")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn t37_ten_minutes_ahead_or_behind_due_times_hold_and_the_skew_is_told() {
    for shift in [600, -600] {
        let clock = ShiftedClock::by_seconds(shift);
        let (product, organization_id, partner) = with_clock(&clock).await;

        // The receiver's clock is right, so that it refuses a signature from another time.
        start_appointment(product.log(), organization_id).await;
        received(&partner, 1).await;

        let seconds = retry_in(&product).await;
        assert!(
            (40..=73).contains(&seconds),
            "a minute and a fifth at most: {seconds} s, shifted by {shift}"
        );
        let receipt = partner.hook.receipts().remove(0);
        assert!(!receipt.verified);
        let signed_at: i64 = receipt.headers["webhook-timestamp"].to_str().unwrap().parse().unwrap();
        let difference = signed_at - receipt.received_at_micros / 1_000_000;
        assert!((difference - shift).abs() <= 30, "signed {difference} s from now, shifted by {shift}");
        let measured = skew::seconds(product.server.system()).await.unwrap();
        assert!((measured - f64::from(i32::try_from(shift).unwrap())).abs() < 30.0, "{measured}");
        assert!(skew::is_alarming(measured) && !skew::is_alarming(1.0));
        product.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t38_a_clock_that_steps_back_while_a_retry_waits_neither_hastens_nor_loses_it() {
    let clock = ShiftedClock::by_seconds(0);
    let (product, organization_id, partner) = with_clock(&clock).await;
    partner.hook.set_behaviour(carelog_embedded::receiver::Behaviour::FailFirst { count: 1, status: 500 });
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked pending 1"]).await;
    let before = retry_in(&product).await;

    clock.step_seconds(-200);
    assert!(retry_in(&product).await <= before);
    assert_eq!(partner.hook.counts().received, 1);
    product.pull_retries().await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 2"]).await;
    assert_eq!(attempts(&product, &partner).await, ["1 http_status 500", "2 success 204"]);
    product.settled().await;
    product.is_sound().await;
    product.stop().await;
}
