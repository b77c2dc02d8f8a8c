//! Every command and every rejection of a treatment plan.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::examples::{at, exercise_instructions, plan_intent};
use crate::ids::SpecialistId;

const PATIENT: PatientId = PatientId::new(Uuid::from_u128(1));
const SPECIALIST: SpecialistId = SpecialistId::new(Uuid::from_u128(2));
const EXERCISE: ExerciseId = ExerciseId::new(Uuid::from_u128(3));
const SQUATS: AssignmentId = AssignmentId::new(Uuid::from_u128(4));
const DOSE: Dose = Dose { sets: 3, repetitions: Some(12), seconds: None };
const REPORT: SessionReport = SessionReport { duration_seconds: Some(600), pain: Some(2), exertion: Some(5) };
const DO: TreatmentPlanCommand =
    TreatmentPlanCommand::CompleteExercise { assignment_id: SQUATS, report: REPORT };
const SKIP: TreatmentPlanCommand =
    TreatmentPlanCommand::SkipExercise { assignment_id: SQUATS, reason: SkipReason::Fatigue };
const END: TreatmentPlanCommand = TreatmentPlanCommand::Complete { outcome: PlanOutcome::GoalsReached };

fn given(events: impl Into<Vec<TreatmentPlanEvent>>) -> AggregateTestExecutor<TreatmentPlan> {
    TestFramework::with(()).given(events.into())
}

fn create(week_count: u8) -> TreatmentPlanCommand {
    TreatmentPlanCommand::Create(CreatePlan {
        patient_id: PATIENT,
        specialist_id: SPECIALIST,
        starts_at: at("2026-03-02T00:00:00Z"),
        week_count,
        intent: Some(plan_intent()),
    })
}

fn created() -> TreatmentPlanEvent {
    TreatmentPlanEvent::Created(TreatmentPlanCreated {
        patient_id: PATIENT,
        specialist_id: SPECIALIST,
        starts_at: at("2026-03-02T00:00:00Z"),
        week_count: 6,
        personal: Some(Personal::Open(plan_intent())),
    })
}

fn squats() -> AssignExercise {
    AssignExercise {
        assignment_id: SQUATS,
        exercise_id: EXERCISE,
        week: 2,
        session_count: 2,
        dose: DOSE,
        instructions: Some(exercise_instructions()),
    }
}

fn assign(exercise: AssignExercise) -> TreatmentPlanCommand {
    TreatmentPlanCommand::AssignExercise(exercise)
}

fn assigned_as(assignment_id: AssignmentId) -> TreatmentPlanEvent {
    TreatmentPlanEvent::ExerciseAssigned(TreatmentPlanExerciseAssigned {
        patient_id: PATIENT,
        assignment_id,
        exercise_id: EXERCISE,
        week: 2,
        session_count: 2,
        sets: 3,
        repetitions: Some(12),
        seconds: None,
        personal: Some(Personal::Open(exercise_instructions())),
    })
}

fn assigned() -> TreatmentPlanEvent {
    assigned_as(SQUATS)
}

fn done(session: u8) -> TreatmentPlanEvent {
    TreatmentPlanEvent::ExerciseCompleted(TreatmentPlanExerciseCompleted {
        patient_id: PATIENT,
        assignment_id: SQUATS,
        exercise_id: EXERCISE,
        week: 2,
        session,
        duration_seconds: Some(600),
        pain: Some(2),
        exertion: Some(5),
    })
}

fn skipped(session: u8) -> TreatmentPlanEvent {
    TreatmentPlanEvent::ExerciseSkipped(TreatmentPlanExerciseSkipped {
        patient_id: PATIENT,
        assignment_id: SQUATS,
        exercise_id: EXERCISE,
        week: 2,
        session,
        reason: SkipReason::Fatigue,
    })
}

fn ended(assigned_sessions: u32, completed_sessions: u32, skipped_sessions: u32) -> TreatmentPlanEvent {
    TreatmentPlanEvent::Completed(TreatmentPlanCompleted {
        patient_id: PATIENT,
        outcome: PlanOutcome::GoalsReached,
        assigned_sessions,
        completed_sessions,
        skipped_sessions,
    })
}

#[test]
fn given_nothing_when_created_then_created() {
    given([]).when(create(6)).then_expect_events(vec![created()]);
}

#[test]
fn given_nothing_when_created_without_weeks_or_with_too_many_then_bad_week_count() {
    for week_count in [0, MAX_WEEKS + 1] {
        given([])
            .when(create(week_count))
            .then_expect_error(TreatmentPlanRejection::BadWeekCount { limit: MAX_WEEKS });
    }
    assert!(given([]).when(create(MAX_WEEKS)).inspect_result().is_ok());
}

#[test]
fn given_nothing_when_anything_else_then_not_created() {
    for command in [assign(squats()), DO, SKIP, END] {
        given([]).when(command).then_expect_error(TreatmentPlanRejection::NotCreated);
    }
}

#[test]
fn given_a_plan_when_created_again_then_already_created() {
    for (events, status) in
        [(vec![created()], PlanStatus::Active), (vec![created(), ended(0, 0, 0)], PlanStatus::Completed)]
    {
        given(events).when(create(6)).then_expect_error(TreatmentPlanRejection::AlreadyCreated { status });
    }
}

#[test]
fn given_a_plan_when_an_exercise_is_assigned_then_assigned() {
    given([created()]).when(assign(squats())).then_expect_events(vec![assigned()]);
}

#[test]
fn given_six_weeks_when_an_exercise_is_assigned_to_another_week_then_no_such_week() {
    for week in [0, 7] {
        given([created()])
            .when(assign(AssignExercise { week, ..squats() }))
            .then_expect_error(TreatmentPlanRejection::NoSuchWeek { week_count: 6 });
    }
}

#[test]
fn given_a_plan_when_assigned_without_sessions_or_with_too_many_then_bad_session_count() {
    for session_count in [0, MAX_SESSIONS + 1] {
        given([created()])
            .when(assign(AssignExercise { session_count, ..squats() }))
            .then_expect_error(TreatmentPlanRejection::BadSessionCount { limit: MAX_SESSIONS });
    }
}

#[test]
fn given_a_plan_when_nothing_is_to_be_done_in_a_session_then_empty_dose() {
    for dose in [
        Dose { sets: 0, ..DOSE },
        Dose { repetitions: None, ..DOSE },
        Dose { repetitions: Some(0), ..DOSE },
        Dose { sets: 1, repetitions: None, seconds: Some(0) },
    ] {
        given([created()])
            .when(assign(AssignExercise { dose, ..squats() }))
            .then_expect_error(TreatmentPlanRejection::EmptyDose);
    }
    let thirty_seconds = Dose { sets: 1, repetitions: None, seconds: Some(30) };
    let held = given([created()]).when(assign(AssignExercise { dose: thirty_seconds, ..squats() }));
    assert!(held.inspect_result().is_ok());
}

#[test]
fn given_an_exercise_when_assigned_under_the_same_id_then_already_assigned() {
    given([created(), assigned()])
        .when(assign(AssignExercise { week: 3, ..squats() }))
        .then_expect_error(TreatmentPlanRejection::AlreadyAssigned);
}

#[test]
fn given_a_full_plan_when_another_exercise_is_assigned_then_too_many_exercises() {
    let others =
        (0..MAX_EXERCISES).map(|number| AssignmentId::new(Uuid::from_u128(1000 + u128::from(number))));
    let mut events = vec![created()];
    events.extend(others.map(assigned_as));
    assert!(given(events[..events.len() - 1].to_vec()).when(assign(squats())).inspect_result().is_ok());

    given(events)
        .when(assign(squats()))
        .then_expect_error(TreatmentPlanRejection::TooManyExercises { limit: MAX_EXERCISES });
}

#[test]
fn given_an_exercise_when_done_then_its_next_session_is_completed() {
    given([created(), assigned()]).when(DO).then_expect_events(vec![done(1)]);
    given([created(), assigned(), skipped(1)]).when(DO).then_expect_events(vec![done(2)]);
}

#[test]
fn given_an_exercise_when_skipped_then_its_next_session_is_skipped() {
    given([created(), assigned()]).when(SKIP).then_expect_events(vec![skipped(1)]);
    given([created(), assigned(), done(1)]).when(SKIP).then_expect_events(vec![skipped(2)]);
}

#[test]
fn given_every_session_over_when_done_or_skipped_then_no_session_left() {
    for command in [DO, SKIP] {
        given([created(), assigned(), done(1), skipped(2)])
            .when(command)
            .then_expect_error(TreatmentPlanRejection::NoSessionLeft { session_count: 2 });
    }
}

#[test]
fn given_a_plan_when_an_exercise_that_it_does_not_have_is_done_or_skipped_then_not_assigned() {
    for command in [DO, SKIP] {
        given([created()]).when(command).then_expect_error(TreatmentPlanRejection::NotAssigned);
    }
}

#[test]
fn given_an_exercise_when_rated_beyond_the_scale_then_bad_rating() {
    for report in [
        SessionReport { pain: Some(MAX_RATING + 1), ..REPORT },
        SessionReport { exertion: Some(MAX_RATING + 1), ..REPORT },
    ] {
        given([created(), assigned()])
            .when(TreatmentPlanCommand::CompleteExercise { assignment_id: SQUATS, report })
            .then_expect_error(TreatmentPlanRejection::BadRating { limit: MAX_RATING });
    }
    let silent = SessionReport::default();
    let told = TreatmentPlanCommand::CompleteExercise { assignment_id: SQUATS, report: silent };
    assert!(given([created(), assigned()]).when(told).inspect_result().is_ok());
}

#[test]
fn given_a_plan_when_completed_then_completed_with_what_was_done() {
    given([created()]).when(END).then_expect_events(vec![ended(0, 0, 0)]);
    given([created(), assigned(), done(1), skipped(2), assigned_as(AssignmentId::new(Uuid::from_u128(9)))])
        .when(END)
        .then_expect_events(vec![ended(4, 1, 1)]);
}

#[test]
fn given_a_completed_plan_when_anything_follows_then_already_completed() {
    for command in [assign(squats()), DO, SKIP, END] {
        given([created(), assigned(), ended(2, 0, 0)])
            .when(command)
            .then_expect_error(TreatmentPlanRejection::AlreadyCompleted);
    }
}
