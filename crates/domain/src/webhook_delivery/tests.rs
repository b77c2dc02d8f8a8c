//! Every command and every rejection of a delivery.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::examples::at;
use crate::ids::{EventId, SubscriptionId};
use crate::{EventType, StreamEvent, Timestamp};

const SUBSCRIPTION: SubscriptionId = SubscriptionId::new(Uuid::from_u128(1));
const EMISSION: Emission = Emission {
    subscription_id: SUBSCRIPTION,
    source_event_id: EventId::new(Uuid::from_u128(2)),
    source_type: EventType::AppointmentBooked,
    source_sequence: 3,
};

fn given(events: impl Into<Vec<WebhookDeliveryEvent>>) -> AggregateTestExecutor<WebhookDelivery> {
    TestFramework::with(()).given(events.into())
}

fn started_at() -> Timestamp {
    at("2026-03-02T09:30:00Z")
}

fn retry_at() -> Timestamp {
    at("2026-03-02T09:31:00Z")
}

fn record(number: u16, outcome: AttemptOutcome, then: AfterAttempt) -> WebhookDeliveryCommand {
    let attempt = Attempt {
        number,
        outcome,
        detail: Some(AttemptDetail::TlsExpired),
        status: Some(500),
        started_at: started_at(),
        duration_ms: 245,
        phases: Phases { lookup_ms: Some(3), connect_ms: None, wait_ms: Some(240), body_ms: Some(1) },
        subscription_version: Some(6),
    };
    WebhookDeliveryCommand::RecordAttempt { emission: EMISSION, attempt, then }
}

fn record_failure(number: u16) -> WebhookDeliveryCommand {
    record(number, AttemptOutcome::HttpStatus, AfterAttempt::RetryAt(retry_at()))
}

fn record_success(number: u16) -> WebhookDeliveryCommand {
    record(number, AttemptOutcome::Success, AfterAttempt::Delivered)
}

fn give_up(reason: FinalReason) -> WebhookDeliveryCommand {
    WebhookDeliveryCommand::GiveUp { emission: EMISSION, reason }
}

const fn request_redelivery() -> WebhookDeliveryCommand {
    WebhookDeliveryCommand::RequestRedelivery { emission: EMISSION, replay_id: None }
}

fn emitted() -> WebhookDeliveryEvent {
    WebhookDeliveryEvent::Emitted(WebhookDeliveryEmitted {
        subscription_id: SUBSCRIPTION,
        source_event_id: EMISSION.source_event_id,
        source_type: EMISSION.source_type,
        source_sequence: 3,
    })
}

fn attempted(
    number: u16,
    outcome: AttemptOutcome,
    next_attempt_at: Option<Timestamp>,
) -> WebhookDeliveryEvent {
    WebhookDeliveryEvent::Attempted(WebhookDeliveryAttempted {
        subscription_id: SUBSCRIPTION,
        number,
        outcome,
        detail: Some(AttemptDetail::TlsExpired),
        status: Some(500),
        started_at: started_at(),
        duration_ms: 245,
        lookup_ms: Some(3),
        connect_ms: None,
        wait_ms: Some(240),
        body_ms: Some(1),
        subscription_version: Some(6),
        next_attempt_at,
    })
}

fn failed(number: u16) -> WebhookDeliveryEvent {
    attempted(number, AttemptOutcome::HttpStatus, Some(retry_at()))
}

fn failed_for_good(number: u16) -> WebhookDeliveryEvent {
    attempted(number, AttemptOutcome::HttpStatus, None)
}

fn succeeded(number: u16) -> WebhookDeliveryEvent {
    attempted(number, AttemptOutcome::Success, None)
}

fn delivered(number: u16) -> WebhookDeliveryEvent {
    WebhookDeliveryEvent::Delivered(WebhookDeliveryDelivered {
        subscription_id: SUBSCRIPTION,
        number,
        replay_id: None,
    })
}

fn exhausted(reason: FinalReason) -> WebhookDeliveryEvent {
    WebhookDeliveryEvent::Exhausted(WebhookDeliveryExhausted {
        subscription_id: SUBSCRIPTION,
        reason,
        replay_id: None,
    })
}

fn redelivery_requested() -> WebhookDeliveryEvent {
    requested_by(None)
}

fn requested_by(replay_id: Option<ReplayId>) -> WebhookDeliveryEvent {
    let subscription_id = SUBSCRIPTION;
    WebhookDeliveryEvent::RedeliveryRequested(WebhookDeliveryRedeliveryRequested {
        subscription_id,
        replay_id,
    })
}

const REPLAY: ReplayId = ReplayId::new(Uuid::from_u128(4));

const fn replay(replay_id: ReplayId) -> WebhookDeliveryCommand {
    WebhookDeliveryCommand::RequestRedelivery { emission: EMISSION, replay_id: Some(replay_id) }
}

/// A delivery after this many failed attempts.
fn emitted_and_failed(attempt_count: u16) -> Vec<WebhookDeliveryEvent> {
    std::iter::once(emitted()).chain((1..=attempt_count).map(failed)).collect()
}

/// A delivery that succeeded, and one that was given up, both after one attempt.
fn finished() -> [(Vec<WebhookDeliveryEvent>, DeliveryStatus); 2] {
    let given_up = exhausted(FinalReason::Aborted);
    [
        (vec![emitted(), succeeded(1), delivered(1)], DeliveryStatus::Delivered),
        (vec![emitted(), failed_for_good(1), given_up], DeliveryStatus::Exhausted),
    ]
}

#[test]
fn given_nothing_when_first_attempt_succeeds_then_emitted_attempted_delivered() {
    given([]).when(record_success(1)).then_expect_events(vec![emitted(), succeeded(1), delivered(1)]);
}

#[test]
fn given_nothing_when_first_attempt_fails_then_emitted_and_attempted_with_its_retry() {
    given([]).when(record_failure(1)).then_expect_events(vec![emitted(), failed(1)]);
}

#[test]
fn given_failed_attempts_when_next_succeeds_then_delivered() {
    given(emitted_and_failed(4)).when(record_success(5)).then_expect_events(vec![succeeded(5), delivered(5)]);
}

#[test]
fn given_four_failed_attempts_when_fifth_fails_then_exhausted() {
    given(emitted_and_failed(4))
        .when(record(5, AttemptOutcome::HttpStatus, AfterAttempt::GiveUp(FinalReason::Exhausted)))
        .then_expect_events(vec![failed_for_good(5), exhausted(FinalReason::Exhausted)]);
}

#[test]
fn given_four_failed_attempts_when_fifth_wants_a_retry_then_no_attempts_left() {
    given(emitted_and_failed(4))
        .when(record_failure(5))
        .then_expect_error(WebhookDeliveryRejection::NoAttemptsLeft { number: 5 });
}

#[test]
fn given_unknown_outcome_when_recorded_then_attempted_with_its_retry() {
    let outcome = AttemptOutcome::Unknown;

    given([emitted()])
        .when(record(1, outcome, AfterAttempt::RetryAt(retry_at())))
        .then_expect_events(vec![attempted(1, outcome, Some(retry_at()))]);
}

#[test]
fn given_attempts_when_number_does_not_follow_then_wrong_attempt_number() {
    for (attempt_count, number) in [(0, 0), (0, 2), (1, 1), (2, 4)] {
        let expected = attempt_count + 1;
        given(emitted_and_failed(attempt_count))
            .when(record_failure(number))
            .then_expect_error(WebhookDeliveryRejection::WrongAttemptNumber { expected, given: number });
    }
}

#[test]
fn given_finished_when_attempt_recorded_or_given_up_then_already_finished() {
    for command in [record_success(2), record_failure(2), give_up(FinalReason::Disabled)] {
        for (events, status) in finished() {
            given(events)
                .when(command)
                .then_expect_error(WebhookDeliveryRejection::AlreadyFinished { status });
        }
    }
}

#[test]
fn given_another_event_when_recorded_or_given_up_then_emission_mismatch() {
    let expected = EMISSION.source_event_id;
    let source_event_id = EventId::new(Uuid::from_u128(77));
    let emission = Emission { source_event_id, ..EMISSION };
    let reason = FinalReason::Disabled;

    given([emitted()])
        .when(WebhookDeliveryCommand::GiveUp { emission, reason })
        .then_expect_error(WebhookDeliveryRejection::EmissionMismatch { expected, given: source_event_id });
}

#[test]
fn given_failed_outcome_when_called_delivered_then_delivered_without_success() {
    let outcome = AttemptOutcome::Timeout;

    given([])
        .when(record(1, outcome, AfterAttempt::Delivered))
        .then_expect_error(WebhookDeliveryRejection::DeliveredWithoutSuccess { outcome });
}

#[test]
fn given_retry_before_the_attempt_when_recorded_then_retry_before_attempt() {
    let (retry_at, started_at) = (at("2026-03-02T09:29:59Z"), started_at());

    given([])
        .when(record(1, AttemptOutcome::Reset, AfterAttempt::RetryAt(retry_at)))
        .then_expect_error(WebhookDeliveryRejection::RetryBeforeAttempt { retry_at, started_at });
}

#[test]
fn given_nothing_when_given_up_then_emitted_and_exhausted() {
    let reason = FinalReason::SkippedInactive;

    given([]).when(give_up(reason)).then_expect_events(vec![emitted(), exhausted(reason)]);
}

#[test]
fn given_pending_when_given_up_then_exhausted() {
    let reason = FinalReason::Disabled;

    given(emitted_and_failed(2)).when(give_up(reason)).then_expect_events(vec![exhausted(reason)]);
}

#[test]
fn given_nothing_when_redelivery_requested_then_emitted_and_redelivery_requested() {
    given([]).when(request_redelivery()).then_expect_events(vec![emitted(), redelivery_requested()]);
}

#[test]
fn given_skipped_and_requested_when_redelivery_requested_then_still_pending() {
    given([emitted(), redelivery_requested()])
        .when(request_redelivery())
        .then_expect_error(WebhookDeliveryRejection::StillPending { attempt_count: 0 });
}

#[test]
fn given_another_event_when_redelivery_requested_then_emission_mismatch() {
    let other = Emission { source_event_id: EventId::new(Uuid::max()), ..EMISSION };
    given(emitted_and_failed(2))
        .when(WebhookDeliveryCommand::RequestRedelivery { emission: other, replay_id: None })
        .then_expect_error(WebhookDeliveryRejection::EmissionMismatch {
            expected: EMISSION.source_event_id,
            given: other.source_event_id,
        });
}

#[test]
fn given_pending_when_redelivery_requested_then_still_pending() {
    given(emitted_and_failed(2))
        .when(request_redelivery())
        .then_expect_error(WebhookDeliveryRejection::StillPending { attempt_count: 2 });
}

#[test]
fn given_finished_when_redelivery_requested_then_redelivery_requested() {
    for (events, _) in finished() {
        given(events).when(request_redelivery()).then_expect_events(vec![redelivery_requested()]);
    }
}

#[test]
fn given_redelivery_requested_when_attempted_then_numbers_go_on() {
    for (events, _) in finished() {
        given(events)
            .and(vec![redelivery_requested()])
            .when(record_success(2))
            .then_expect_events(vec![succeeded(2), delivered(2)]);
    }
}

#[test]
fn given_redelivery_requested_when_attempts_fail_then_a_whole_round_is_allowed() {
    let [(events, _), _] = finished();
    let round = |last: u16| {
        let failures = (2..=last).map(failed);
        events.clone().into_iter().chain([redelivery_requested()]).chain(failures).collect::<Vec<_>>()
    };

    given(round(4)).when(record_failure(5)).then_expect_events(vec![failed(5)]);
    given(round(5))
        .when(record_failure(6))
        .then_expect_error(WebhookDeliveryRejection::NoAttemptsLeft { number: 6 });
}

#[test]
fn state_counts_attempts_over_all_rounds() {
    let mut delivery = WebhookDelivery::default();
    assert_eq!((delivery.status(), delivery.attempt_count()), (None, 0));

    for event in [emitted(), succeeded(1), delivered(1), redelivery_requested(), failed(2)] {
        delivery.apply(event);
    }

    assert_eq!((delivery.status(), delivery.attempt_count()), (Some(DeliveryStatus::Pending), 2));
}

const fn expunge_answers() -> WebhookDeliveryCommand {
    WebhookDeliveryCommand::ExpungeAnswers { emission: EMISSION }
}

fn answers_expunged() -> WebhookDeliveryEvent {
    WebhookDeliveryEvent::AnswersExpunged(WebhookDeliveryAnswersExpunged { subscription_id: SUBSCRIPTION })
}

#[test]
fn given_nothing_when_answers_are_expunged_then_emitted_and_expunged() {
    given([]).when(expunge_answers()).then_expect_events(vec![emitted(), answers_expunged()]);
}

#[test]
fn given_any_status_when_answers_are_expunged_then_it_stays() {
    let mut delivery = WebhookDelivery::default();
    for event in [emitted(), answers_expunged()] {
        delivery.apply(event);
    }

    assert_eq!((delivery.status(), delivery.is_expunged()), (Some(DeliveryStatus::Pending), true));
}

#[test]
fn given_expunged_when_expunged_again_then_nothing_more() {
    given([emitted(), answers_expunged()]).when(expunge_answers()).then_expect_events(vec![]);
}

#[test]
fn attempts_of_before_their_phases_were_measured_can_be_read() {
    let facts = br#"{"duration_ms":245,"next_attempt_at":null,"number":1,"outcome":"success","started_at":"2026-03-02T09:30:00.000000Z","status":204,"subscription_id":"00000000-0000-0000-0000-000000000001"}"#;

    let event = WebhookDeliveryEvent::decode(EventType::WebhookDeliveryAttempted, facts, None).unwrap();

    let WebhookDeliveryEvent::Attempted(attempted) = &event else { panic!("{event:?}") };
    assert_eq!((attempted.lookup_ms, attempted.wait_ms, attempted.subscription_version), (None, None, None));
    assert_eq!(attempted.detail, None);
    assert_eq!(event.encode().unwrap().facts, facts);
}

#[test]
fn given_finished_when_replayed_then_the_round_names_the_replay() {
    for (events, _) in finished() {
        given(events).when(replay(REPLAY)).then_expect_events(vec![requested_by(Some(REPLAY))]);
    }
    let ended = WebhookDeliveryExhausted {
        subscription_id: SUBSCRIPTION,
        reason: FinalReason::Disabled,
        replay_id: Some(REPLAY),
    };
    given([emitted(), requested_by(Some(REPLAY))])
        .when(give_up(FinalReason::Disabled))
        .then_expect_events(vec![WebhookDeliveryEvent::Exhausted(ended)]);
    let delivered =
        WebhookDeliveryDelivered { subscription_id: SUBSCRIPTION, number: 1, replay_id: Some(REPLAY) };
    given([emitted(), requested_by(Some(REPLAY))])
        .when(record_success(1))
        .then_expect_events(vec![succeeded(1), WebhookDeliveryEvent::Delivered(delivered)]);
}

#[test]
fn given_replayed_when_the_same_replay_asks_again_then_already_replayed() {
    let [(events, _), _] = finished();
    let ended = exhausted(FinalReason::Exhausted);
    let other = ReplayId::new(Uuid::from_u128(5));
    let replayed = [events, vec![requested_by(Some(REPLAY)), ended.clone()]].concat();
    let later = [replayed.clone(), vec![requested_by(Some(other)), ended, redelivery_requested()]].concat();

    for events in [replayed.clone(), later] {
        given(events)
            .when(replay(REPLAY))
            .then_expect_error(WebhookDeliveryRejection::AlreadyReplayed { replay_id: REPLAY });
    }
    given(replayed).when(replay(other)).then_expect_events(vec![requested_by(Some(other))]);
}

#[test]
fn given_pending_when_replayed_then_still_pending() {
    given(emitted_and_failed(2))
        .when(replay(REPLAY))
        .then_expect_error(WebhookDeliveryRejection::StillPending { attempt_count: 2 });
}

#[test]
fn given_replayed_and_asked_for_by_hand_when_delivered_then_it_counts_for_no_replay() {
    given([emitted(), requested_by(Some(REPLAY)), exhausted(FinalReason::Aborted), redelivery_requested()])
        .when(record_success(1))
        .then_expect_events(vec![succeeded(1), delivered(1)]);
}
