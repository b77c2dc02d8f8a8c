use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::super::{Organization, OrganizationCommand, OrganizationRegistered};
use super::*;

fn given(events: impl Into<Vec<OrganizationEvent>>) -> AggregateTestExecutor<Organization> {
    TestFramework::with(()).given(events.into())
}

fn registered() -> OrganizationEvent {
    OrganizationEvent::Registered(OrganizationRegistered { personal: None })
}

fn begun(epoch: u32) -> OrganizationEvent {
    OrganizationEvent::PseudonymEpochBegun(OrganizationPseudonymEpochBegun { epoch })
}

fn pseudonym_key_destroyed(epoch: u32) -> OrganizationEvent {
    OrganizationEvent::PseudonymKeyDestroyed(OrganizationPseudonymKeyDestroyed { epoch })
}

#[test]
fn given_the_first_epoch_when_later_ones_are_told_then_each_has_begun() {
    given([registered()])
        .when(OrganizationCommand::RecordPseudonymEpoch { epoch: 3 })
        .then_expect_events(vec![begun(2), begun(3)]);
}

#[test]
fn given_an_epoch_when_told_again_then_epoch_already_recorded() {
    for (events, epoch) in [(vec![registered()], 1), (vec![registered(), begun(2), begun(3)], 2)] {
        given(events)
            .when(OrganizationCommand::RecordPseudonymEpoch { epoch })
            .then_expect_error(OrganizationRejection::EpochAlreadyRecorded { epoch });
    }
}

#[test]
fn given_an_epoch_of_another_age_when_told_then_epoch_unknown() {
    given([registered()])
        .when(OrganizationCommand::RecordPseudonymEpoch { epoch: 2_000 })
        .then_expect_error(OrganizationRejection::EpochUnknown { epoch: 2_000 });
}

#[test]
fn given_a_former_epoch_when_its_key_is_destroyed_then_destroyed() {
    given([registered(), begun(2)])
        .when(OrganizationCommand::RecordPseudonymKeyDestroyed { epoch: 1 })
        .then_expect_events(vec![pseudonym_key_destroyed(1)]);
}

#[test]
fn given_a_destroyed_key_when_told_again_then_pseudonym_key_already_destroyed() {
    given([registered(), begun(2), pseudonym_key_destroyed(1)])
        .when(OrganizationCommand::RecordPseudonymKeyDestroyed { epoch: 1 })
        .then_expect_error(OrganizationRejection::PseudonymKeyAlreadyDestroyed { epoch: 1 });
}

#[test]
fn given_the_newest_epoch_or_none_when_its_key_is_destroyed_then_epoch_unknown() {
    for epoch in [0, 2, 3] {
        given([registered(), begun(2)])
            .when(OrganizationCommand::RecordPseudonymKeyDestroyed { epoch })
            .then_expect_error(OrganizationRejection::EpochUnknown { epoch });
    }
}
