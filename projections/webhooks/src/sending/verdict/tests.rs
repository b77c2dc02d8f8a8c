use std::time::Duration;

use http::StatusCode;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

fn with_status(code: u16) -> AttemptOutcome {
    let status = StatusCode::from_u16(code).unwrap();
    AttemptOutcome {
        status: Some(status),
        ..AttemptOutcome::without_head(super::super::outcome::kind_of_status(status), None, Duration::ZERO)
    }
}

fn with_control(code: u16, control: DeliveryControl) -> AttemptOutcome {
    AttemptOutcome { control: Some(control), ..with_status(code) }
}

fn failed(kind: OutcomeKind) -> AttemptOutcome {
    AttemptOutcome::without_head(kind, None, Duration::ZERO)
}

fn verdict(outcome: &AttemptOutcome, attempt: u32) -> Verdict {
    outcome.verdict(attempt, Jitter::NONE, NOW)
}

#[test]
fn every_2xx_is_delivered_also_when_the_receiver_asks_to_abort() {
    assert_eq!(verdict(&with_status(200), 1), Verdict::Delivered);
    assert_eq!(verdict(&with_status(299), 5), Verdict::Delivered);
    assert_eq!(verdict(&with_control(204, DeliveryControl::AbortMessage), 1), Verdict::Delivered);
}

#[test]
fn failures_are_retried_on_schedule_until_the_fifth() {
    for outcome in [
        with_status(500),
        with_status(301),
        with_status(404),
        AttemptOutcome::without_head(OutcomeKind::Timeout, None, Duration::ZERO),
    ] {
        let not_before = NOW + Duration::from_mins(11);
        assert_eq!(verdict(&outcome, 2), Verdict::RetryLater { not_before });
        assert_eq!(verdict(&outcome, 5), Verdict::GiveUp(FinalReason::Exhausted));
    }
}

#[test]
fn a_blocked_url_is_retried_and_then_ends_under_its_own_name() {
    let blocked = failed(OutcomeKind::BlockedUrl);
    assert!(matches!(verdict(&blocked, 1), Verdict::RetryLater { .. }));
    assert_eq!(verdict(&blocked, 5), Verdict::GiveUp(FinalReason::BlockedUrl));
}

#[test]
fn retry_after_moves_the_next_attempt() {
    let busy = AttemptOutcome { retry_after: Some(Duration::from_hours(3)), ..with_status(429) };
    assert_eq!(verdict(&busy, 1), Verdict::RetryLater { not_before: NOW + Duration::from_hours(3) });
    assert_eq!(verdict(&busy, 5), Verdict::GiveUp(FinalReason::Exhausted));
}

#[test]
fn the_receiver_can_end_a_delivery_or_the_subscription() {
    let gone = Verdict::DisableSubscription { reason: DisableReason::Gone, delivered: false };
    let requested =
        |delivered| Verdict::DisableSubscription { reason: DisableReason::ReceiverRequest, delivered };
    assert_eq!(verdict(&with_status(410), 1), gone);
    assert_eq!(verdict(&with_control(410, DeliveryControl::AbortMessage), 1), gone);
    assert_eq!(verdict(&with_control(500, DeliveryControl::Disable), 1), requested(false));
    assert_eq!(verdict(&with_control(200, DeliveryControl::Disable), 1), requested(true));
    assert_eq!(verdict(&with_status(415), 1), Verdict::GiveUp(FinalReason::Unsupported));
    assert_eq!(
        verdict(&with_control(503, DeliveryControl::AbortMessage), 1),
        Verdict::GiveUp(FinalReason::Aborted)
    );
}
