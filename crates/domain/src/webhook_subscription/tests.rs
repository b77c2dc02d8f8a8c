//! Every command and every rejection of a subscription.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::examples::{rotated_secret, subscription_change, subscription_secrets};

const DISABLE: WebhookSubscriptionCommand =
    WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };

fn given(events: impl Into<Vec<WebhookSubscriptionEvent>>) -> AggregateTestExecutor<WebhookSubscription> {
    TestFramework::with(()).given(events.into())
}

fn filter() -> EventFilter {
    EventFilter::parse(&["appointment.*"]).unwrap()
}

fn create(per_tick_limit: Option<u16>) -> WebhookSubscriptionCommand {
    WebhookSubscriptionCommand::Create(CreateSubscription {
        partner_id: None,
        filter: filter(),
        format: WebhookFormat::Standard,
        per_tick_limit,
        secrets: subscription_secrets(),
    })
}

fn rotate(overlap_seconds: u32) -> WebhookSubscriptionCommand {
    WebhookSubscriptionCommand::RotateSecret { secret: rotated_secret(), overlap_seconds }
}

fn change(filter: Option<EventFilter>, per_tick_limit: Option<u16>) -> WebhookSubscriptionCommand {
    WebhookSubscriptionCommand::Change { filter, per_tick_limit, change: None }
}

fn created() -> WebhookSubscriptionEvent {
    WebhookSubscriptionEvent::Created(WebhookSubscriptionCreated {
        partner_id: None,
        filter: filter(),
        format: WebhookFormat::Standard,
        per_tick_limit: Some(10),
        personal: Some(Personal::Open(subscription_secrets())),
    })
}

fn changed(filter: Option<EventFilter>, per_tick_limit: Option<u16>) -> WebhookSubscriptionEvent {
    let personal = None;
    WebhookSubscriptionEvent::Changed(WebhookSubscriptionChanged { filter, per_tick_limit, personal })
}

fn disabled() -> WebhookSubscriptionEvent {
    WebhookSubscriptionEvent::Disabled(WebhookSubscriptionDisabled { reason: DisableReason::Paused })
}

fn enabled() -> WebhookSubscriptionEvent {
    WebhookSubscriptionEvent::Enabled(WebhookSubscriptionEnabled {})
}

fn deleted() -> WebhookSubscriptionEvent {
    WebhookSubscriptionEvent::Deleted(WebhookSubscriptionDeleted {})
}

#[test]
fn given_nothing_when_created_then_created() {
    given([]).when(create(Some(10))).then_expect_events(vec![created()]);
}

#[test]
fn given_nothing_when_anything_else_then_not_created() {
    let commands = [
        change(None, Some(1)),
        rotate(0),
        DISABLE,
        WebhookSubscriptionCommand::Enable,
        WebhookSubscriptionCommand::Delete,
        WebhookSubscriptionCommand::RequestTest,
    ];
    for command in commands {
        given([]).when(command).then_expect_error(WebhookSubscriptionRejection::NotCreated);
    }
}

#[test]
fn given_created_or_deleted_when_created_again_then_already_created() {
    for events in [vec![created()], vec![created(), deleted()]] {
        given(events).when(create(None)).then_expect_error(WebhookSubscriptionRejection::AlreadyCreated);
    }
}

#[test]
fn given_limit_out_of_range_when_created_or_changed_then_per_tick_limit_out_of_range() {
    for limit in [0, MAX_PER_TICK + 1] {
        let rejection =
            WebhookSubscriptionRejection::PerTickLimitOutOfRange { given: limit, maximum: MAX_PER_TICK };

        given([]).when(create(Some(limit))).then_expect_error(rejection);
        given([created()]).when(change(None, Some(limit))).then_expect_error(rejection);
    }
}

#[test]
fn given_created_when_filter_and_limit_change_then_changed() {
    given([created()])
        .when(change(Some(EventFilter::all()), Some(50)))
        .then_expect_events(vec![changed(Some(EventFilter::all()), Some(50))]);
}

#[test]
fn given_created_when_only_the_limit_differs_then_changed_without_filter() {
    given([created()])
        .when(change(Some(filter()), Some(50)))
        .then_expect_events(vec![changed(None, Some(50))]);
}

#[test]
fn given_created_when_url_changes_then_changed_with_personal_part() {
    let (filter, per_tick_limit) = (None, None);
    let personal = Some(Personal::Open(subscription_change()));
    let changed = WebhookSubscriptionChanged { filter, per_tick_limit, personal };

    given([created()])
        .when(WebhookSubscriptionCommand::Change {
            filter: None,
            per_tick_limit: None,
            change: Some(subscription_change()),
        })
        .then_expect_events(vec![WebhookSubscriptionEvent::Changed(changed)]);
}

#[test]
fn given_changed_when_changed_to_the_same_then_nothing_changed() {
    given([created(), changed(Some(EventFilter::all()), Some(50))])
        .when(change(Some(EventFilter::all()), Some(50)))
        .then_expect_error(WebhookSubscriptionRejection::NothingChanged);
}

#[test]
fn given_created_when_change_is_empty_then_nothing_changed() {
    let empty = SubscriptionChange { url: None, description: None, headers: None };

    given([created()])
        .when(WebhookSubscriptionCommand::Change { filter: None, per_tick_limit: None, change: Some(empty) })
        .then_expect_error(WebhookSubscriptionRejection::NothingChanged);
}

#[test]
fn given_created_when_secret_rotated_then_secret_rotated() {
    for overlap_seconds in [0, MAX_OVERLAP_SECONDS] {
        let personal = Some(Personal::Open(rotated_secret()));
        let rotated = WebhookSubscriptionSecretRotated { overlap_seconds, personal };

        given([created()])
            .when(rotate(overlap_seconds))
            .then_expect_events(vec![WebhookSubscriptionEvent::SecretRotated(rotated)]);
    }
}

#[test]
fn given_created_when_overlap_is_longer_than_a_week_then_overlap_too_long() {
    given([created()]).when(rotate(MAX_OVERLAP_SECONDS + 1)).then_expect_error(
        WebhookSubscriptionRejection::OverlapTooLong { given_seconds: 604_801, maximum_seconds: 604_800 },
    );
}

#[test]
fn given_active_when_disabled_then_disabled() {
    for events in [vec![created()], vec![created(), disabled(), enabled()]] {
        given(events).when(DISABLE).then_expect_events(vec![disabled()]);
    }
}

#[test]
fn given_disabled_when_disabled_then_already_disabled_with_the_first_reason() {
    let reason = DisableReason::Paused;

    given([created(), disabled()])
        .when(WebhookSubscriptionCommand::Disable { reason: DisableReason::Gone })
        .then_expect_error(WebhookSubscriptionRejection::AlreadyDisabled { reason });
}

#[test]
fn given_disabled_when_enabled_then_enabled() {
    given([created(), disabled()])
        .when(WebhookSubscriptionCommand::Enable)
        .then_expect_events(vec![enabled()]);
}

#[test]
fn given_active_when_enabled_then_not_disabled() {
    given([created()])
        .when(WebhookSubscriptionCommand::Enable)
        .then_expect_error(WebhookSubscriptionRejection::NotDisabled);
}

#[test]
fn given_active_or_disabled_when_deleted_then_deleted() {
    for events in [vec![created()], vec![created(), disabled()]] {
        given(events).when(WebhookSubscriptionCommand::Delete).then_expect_events(vec![deleted()]);
    }
}

#[test]
fn given_deleted_when_anything_follows_then_already_deleted() {
    let commands = [
        change(None, Some(1)),
        rotate(0),
        DISABLE,
        WebhookSubscriptionCommand::Enable,
        WebhookSubscriptionCommand::Delete,
    ];
    for command in commands {
        given([created(), deleted()])
            .when(command)
            .then_expect_error(WebhookSubscriptionRejection::AlreadyDeleted);
    }
}

#[test]
fn state_tells_whether_events_are_sent() {
    let mut subscription = WebhookSubscription::default();
    let mut statuses = vec![subscription.status()];
    for event in [created(), disabled(), enabled(), deleted()] {
        subscription.apply(event);
        statuses.push(subscription.status());
    }

    let (active, disabled) = (SubscriptionStatus::Active, SubscriptionStatus::Disabled);
    let deleted = SubscriptionStatus::Deleted;
    assert_eq!(statuses, [None, Some(active), Some(disabled), Some(active), Some(deleted)]);
}

#[test]
fn given_active_when_test_requested_then_test_requested() {
    let tested = WebhookSubscriptionEvent::TestRequested(WebhookSubscriptionTestRequested {});
    for events in [vec![created()], vec![created(), disabled(), enabled()], vec![created(), tested.clone()]] {
        given(events).when(WebhookSubscriptionCommand::RequestTest).then_expect_events(vec![tested.clone()]);
    }
}

#[test]
fn given_disabled_when_test_requested_then_not_active() {
    given([created(), disabled()])
        .when(WebhookSubscriptionCommand::RequestTest)
        .then_expect_error(WebhookSubscriptionRejection::NotActive { reason: DisableReason::Paused });
}
