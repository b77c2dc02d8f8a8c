//! Every command and every rejection of a replay.

use std::collections::BTreeSet;

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::examples::at;
use crate::webhook_delivery::FinalReason;
use crate::webhook_subscription::EventFilter;

const SUBSCRIPTION: SubscriptionId = SubscriptionId::new(Uuid::from_u128(1));

fn given(events: impl Into<Vec<WebhookReplayEvent>>) -> AggregateTestExecutor<WebhookReplay> {
    TestFramework::with(()).given(events.into())
}

fn selection() -> ReplaySelection {
    ReplaySelection {
        subscription_id: SUBSCRIPTION,
        filter: EventFilter::all(),
        states: BTreeSet::from([ReplayedState::Failed]),
        reasons: BTreeSet::from([FinalReason::Exhausted]),
        from: Some(at("2026-03-01T00:00:00Z")),
        until: Some(at("2026-03-02T00:00:00Z")),
    }
}

fn request(selection: ReplaySelection, matching: u32) -> WebhookReplayCommand {
    WebhookReplayCommand::Request(RequestReplay { selection, number: 3, matching, sequences: (5, 90) })
}

fn requested() -> WebhookReplayEvent {
    WebhookReplayEvent::Requested(WebhookReplayRequested {
        subscription_id: SUBSCRIPTION,
        number: 3,
        filter: EventFilter::all(),
        states: vec![ReplayedState::Failed],
        reasons: vec![FinalReason::Exhausted],
        from: Some(at("2026-03-01T00:00:00Z")),
        until: Some(at("2026-03-02T00:00:00Z")),
        matching: 12,
        first_sequence: 5,
        last_sequence: 90,
    })
}

const fn advance(place: i64) -> WebhookReplayCommand {
    WebhookReplayCommand::Advance { place, requested: 7, skipped: 2 }
}

const fn advanced(place: i64) -> WebhookReplayEvent {
    WebhookReplayEvent::Advanced(WebhookReplayAdvanced {
        subscription_id: SUBSCRIPTION,
        place,
        requested: 7,
        skipped: 2,
    })
}

const COMPLETE: WebhookReplayCommand = WebhookReplayCommand::Complete { requested: 9, skipped: 3 };
const COMPLETED: WebhookReplayEvent = WebhookReplayEvent::Completed(WebhookReplayCompleted {
    subscription_id: SUBSCRIPTION,
    requested: 9,
    skipped: 3,
});
const CANCEL: WebhookReplayCommand = WebhookReplayCommand::Cancel { reason: ReplayEnd::Requested };
const CANCELLED: WebhookReplayEvent = WebhookReplayEvent::Cancelled(WebhookReplayCancelled {
    subscription_id: SUBSCRIPTION,
    reason: ReplayEnd::Requested,
});

#[test]
fn given_nothing_when_requested_then_requested() {
    given([]).when(request(selection(), 12)).then_expect_events(vec![requested()]);
}

#[test]
fn given_nothing_when_anything_else_then_not_requested() {
    for command in [advance(9), COMPLETE, CANCEL] {
        given([]).when(command).then_expect_error(WebhookReplayRejection::NotRequested);
    }
}

#[test]
fn given_a_selection_of_nothing_when_requested_then_it_says_what_is_wrong() {
    let none = ReplaySelection { states: BTreeSet::new(), ..selection() };
    given([]).when(request(none, 12)).then_expect_error(WebhookReplayRejection::NoStates);
    let delivered = ReplaySelection { states: BTreeSet::from([ReplayedState::Delivered]), ..selection() };
    given([]).when(request(delivered, 12)).then_expect_error(WebhookReplayRejection::ReasonsWithoutFailed);
    let (from, until) = (at("2026-03-02T00:00:00Z"), at("2026-03-02T00:00:00Z"));
    let backwards = ReplaySelection { from: Some(from), until: Some(until), ..selection() };
    given([])
        .when(request(backwards, 12))
        .then_expect_error(WebhookReplayRejection::RangeIsEmpty { from, until });
    given([]).when(request(selection(), 0)).then_expect_error(WebhookReplayRejection::NothingMatches);
}

#[test]
fn given_a_replay_when_requested_again_then_under_way() {
    for events in [vec![requested()], vec![requested(), COMPLETED], vec![requested(), CANCELLED]] {
        given(events).when(request(selection(), 12)).then_expect_error(WebhookReplayRejection::UnderWay);
    }
}

#[test]
fn given_requested_when_advanced_then_advanced() {
    given([requested()]).when(advance(5)).then_expect_events(vec![advanced(5)]);
    given([requested(), advanced(5)]).when(advance(90)).then_expect_events(vec![advanced(90)]);
}

#[test]
fn given_advanced_when_advanced_no_further_then_goes_back() {
    given([requested()])
        .when(advance(4))
        .then_expect_error(WebhookReplayRejection::GoesBack { place: 4, given: 4 });
    given([requested(), advanced(50)])
        .when(advance(49))
        .then_expect_error(WebhookReplayRejection::GoesBack { place: 50, given: 49 });
}

#[test]
fn given_running_when_ended_then_ended() {
    given([requested(), advanced(90)]).when(COMPLETE).then_expect_events(vec![COMPLETED]);
    given([requested(), advanced(50)]).when(CANCEL).then_expect_events(vec![CANCELLED]);
}

#[test]
fn given_ended_when_anything_but_a_request_then_already_ended() {
    let ends = [(COMPLETED, ReplayStatus::Completed), (CANCELLED, ReplayStatus::Cancelled)];
    for (end, status) in ends {
        for command in [advance(9), COMPLETE, CANCEL] {
            given([requested(), end.clone()])
                .when(command)
                .then_expect_error(WebhookReplayRejection::AlreadyEnded { status });
        }
    }
}

#[test]
fn state_tells_where_the_replay_stands() {
    let mut replay = WebhookReplay::default();
    assert_eq!(replay.status(), None);

    for (event, status) in [
        (requested(), ReplayStatus::Running),
        (advanced(9), ReplayStatus::Running),
        (COMPLETED, ReplayStatus::Completed),
    ] {
        replay.apply(event);
        assert_eq!(replay.status(), Some(status));
    }
}

#[test]
fn one_known_from_its_row_is_the_one_folded_from_its_events() {
    let mut folded = WebhookReplay::default();
    folded.apply(requested());
    assert_eq!(WebhookReplay::running(SUBSCRIPTION, 4), folded);

    folded.apply(advanced(9));
    assert_eq!(WebhookReplay::running(SUBSCRIPTION, 9), folded);
}
