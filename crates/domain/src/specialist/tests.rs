//! Every command and every rejection about a specialist.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::examples::staff_profile;

const DEACTIVATE: SpecialistCommand = SpecialistCommand::Deactivate { reason: DeactivationReason::Leave };

fn given(events: impl Into<Vec<SpecialistEvent>>) -> AggregateTestExecutor<Specialist> {
    TestFramework::with(()).given(events.into())
}

fn add() -> SpecialistCommand {
    SpecialistCommand::Add { profession: Profession::Nurse, profile: staff_profile() }
}

fn added() -> SpecialistEvent {
    let personal = Some(Personal::Open(staff_profile()));
    SpecialistEvent::Added(SpecialistAdded { profession: Profession::Nurse, personal })
}

fn deactivated() -> SpecialistEvent {
    SpecialistEvent::Deactivated(SpecialistDeactivated { reason: DeactivationReason::Leave })
}

#[test]
fn given_nothing_when_added_then_added() {
    given([]).when(add()).then_expect_events(vec![added()]);
}

#[test]
fn given_nothing_when_deactivated_then_not_added() {
    given([]).when(DEACTIVATE).then_expect_error(SpecialistRejection::NotAdded);
}

#[test]
fn given_added_when_added_again_then_already_added() {
    for events in [vec![added()], vec![added(), deactivated()]] {
        given(events).when(add()).then_expect_error(SpecialistRejection::AlreadyAdded);
    }
}

#[test]
fn given_added_when_deactivated_then_deactivated() {
    given([added()]).when(DEACTIVATE).then_expect_events(vec![deactivated()]);
}

#[test]
fn given_deactivated_when_deactivated_then_already_deactivated() {
    let reason = DeactivationReason::Leave;

    given([added(), deactivated()])
        .when(SpecialistCommand::Deactivate { reason: DeactivationReason::Left })
        .then_expect_error(SpecialistRejection::AlreadyDeactivated { reason });
}
