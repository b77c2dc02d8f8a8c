//! Random logs: the same facts, however the log is cut into pages.

use carelog_domain::appointment::{
    AppointmentEvent, AppointmentNoShow, AppointmentOnboarded, AppointmentStarted, TimePrecision,
};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::form::{
    FormAssigned, FormEvent, FormSaved, FormSigned, FormVoided, Signatory, VoidReason,
};
use carelog_domain::patient::PatientKeysDestroyed;
use carelog_domain::treatment_plan::{
    SkipReason, TreatmentPlanEvent, TreatmentPlanExerciseAssigned, TreatmentPlanExerciseCompleted,
    TreatmentPlanExerciseSkipped,
};
use carelog_domain::video_room::{
    NetworkState, ParticipantKind, VideoRoomEvent, VideoRoomParticipantJoined, VideoRoomParticipantLeft,
    VideoRoomQualitySampled,
};
use carelog_domain::{AppointmentId, AssignmentId, ExerciseId, FormTemplateId, ParticipantId};
use proptest::prelude::*;

use super::*;

/// One step of a stay in a room, or a sample of it.
fn step_in_a_room(log: &mut Log, patient_id: PatientId, room: u128, choice: u8) {
    let moment = at("2026-03-09T09:30:00Z");
    let (session_id, appointment_id) = (Uuid::from_u128(9), AppointmentId::new(Uuid::from_u128(room)));
    let (participant_id, participant) =
        (Some(ParticipantId::new(Uuid::from_u128(8))), Some(ParticipantKind::Patient));
    let has = log.0.iter().any(|event| event.stream.id == Uuid::from_u128(room));
    let event = match choice {
        _ if !has => VideoRoomEvent::ParticipantJoined(VideoRoomParticipantJoined {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            session_id,
            joined_at: moment,
        }),
        0 => VideoRoomEvent::ParticipantLeft(VideoRoomParticipantLeft {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            session_id,
            left_at: moment,
            duration_seconds: 90,
        }),
        _ => VideoRoomEvent::QualitySampled(VideoRoomQualitySampled {
            patient_id,
            appointment_id,
            participant_id,
            session_id,
            sampled_at: moment,
            state: NetworkState::Good,
            round_trip_ms: Some(u32::MAX),
            jitter_ms: None,
            send_loss_permille: None,
            receive_loss_permille: None,
            sent_kbps: None,
            received_kbps: None,
            freeze_count: None,
        }),
    };
    log.append(StreamKind::VideoRoom, room, moment, event);
}

/// What becomes of an appointment.
fn step_of_an_appointment(patient_id: PatientId, choice: u8) -> AppointmentEvent {
    match choice % 7 {
        0 => AppointmentEvent::Confirmed(AppointmentConfirmed {
            patient_id,
            channel: ConfirmationChannel::Reminder,
        }),
        1 => AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id }),
        2 => AppointmentEvent::Rescheduled(AppointmentRescheduled {
            patient_id,
            starts_at: at("2026-03-12T14:00:00Z"),
            ends_at: None,
            reason: RescheduleReason::PatientRequest,
        }),
        3 => AppointmentEvent::Completed(AppointmentCompleted { patient_id, duration_minutes: Some(28) }),
        4 => AppointmentEvent::Cancelled(AppointmentCancelled {
            patient_id,
            cancelled_by: CancelledBy::Patient,
            reason: CancellationReason::Illness,
            personal: None,
        }),
        5 => AppointmentEvent::NoShow(AppointmentNoShow { patient_id }),
        _ => AppointmentEvent::Started(AppointmentStarted { patient_id }),
    }
}

/// What becomes of a form.
fn step_of_a_form(patient_id: PatientId, choice: u8) -> FormEvent {
    match choice % 3 {
        0 => FormEvent::Signed(FormSigned {
            patient_id,
            content_sha256: Sha256Digest::new([1; 32]),
            signed_by: Signatory::Patient,
        }),
        1 => FormEvent::Voided(FormVoided { patient_id, reason: VoidReason::Superseded }),
        _ => FormEvent::Saved(FormSaved { patient_id, answer_count: 3, personal: None }),
    }
}

/// One step of a random log of patients with an appointment, a form, an exercise and a video room each.
fn step(log: &mut Log, number: u8, choice: u8) {
    let patient_id = patient(number);
    let moment =
        at("2026-03-01T12:00:00Z").saturating_add_micros(i64::try_from(log.0.len()).unwrap() * 7_000_000_000);
    let has = |id: u128| log.0.iter().any(|event| event.stream.id == Uuid::from_u128(id));
    let base = u128::from(number) * 0x100;
    let (appointment, form, plan) = (0x1000 + base, 0x2000 + base, 0x3000 + base);
    let (assignment_id, exercise_id) =
        (AssignmentId::new(Uuid::from_u128(5)), ExerciseId::new(Uuid::from_u128(6)));
    if choice >= 192 {
        // The same stay, by its id, in every room.
        step_in_a_room(log, patient_id, 0x4000 + base, choice % 3);
        return;
    }
    match choice % 8 {
        0 if !has(appointment) => {
            log.book(
                appointment,
                patient_id,
                "2026-03-01T12:00:00Z",
                "2026-03-09T09:30:00Z",
                TimePrecision::Minute,
            );
        }
        0 | 1 if has(appointment) => {
            let event = step_of_an_appointment(patient_id, choice / 8);
            log.append(StreamKind::Appointment, appointment, moment, event);
        }
        2 if !has(form) => {
            let assigned = FormAssigned {
                patient_id,
                template_id: FormTemplateId::new(Uuid::from_u128(5)),
                template_version: 2,
                appointment_id: None,
                due_at: None,
            };
            log.append(StreamKind::Form, form, moment, FormEvent::Assigned(assigned));
        }
        2 | 3 if has(form) => {
            log.append(StreamKind::Form, form, moment, step_of_a_form(patient_id, choice / 8));
        }
        4 if !has(plan) => {
            let assigned = TreatmentPlanExerciseAssigned {
                patient_id,
                assignment_id,
                exercise_id,
                week: 1,
                session_count: 3,
                sets: 1,
                repetitions: Some(1),
                seconds: None,
                personal: None,
            };
            log.append(
                StreamKind::TreatmentPlan,
                plan,
                moment,
                TreatmentPlanEvent::ExerciseAssigned(assigned),
            );
        }
        4 if has(plan) => {
            let done = TreatmentPlanExerciseCompleted {
                patient_id,
                assignment_id,
                exercise_id,
                week: 1,
                session: 1,
                duration_seconds: Some(700),
                pain: Some(1),
                exertion: None,
            };
            log.append(StreamKind::TreatmentPlan, plan, moment, TreatmentPlanEvent::ExerciseCompleted(done));
        }
        5 if has(plan) => {
            let reason = SkipReason::Pain;
            let skipped = TreatmentPlanExerciseSkipped {
                patient_id,
                assignment_id,
                exercise_id,
                week: 1,
                session: 2,
                reason,
            };
            log.append(StreamKind::TreatmentPlan, plan, moment, TreatmentPlanEvent::ExerciseSkipped(skipped));
        }
        6 if !has(patient_id.uuid().as_u128()) => {
            let registered = PatientRegistered { birth_year: Some(1964), personal: None };
            let id = patient_id.uuid().as_u128();
            log.append(StreamKind::Patient, id, moment, PatientEvent::Registered(registered));
        }
        7 => {
            let destroyed = PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: 2 });
            log.append(StreamKind::Patient, patient_id.uuid().as_u128(), moment, destroyed);
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn facts_do_not_depend_on_how_the_log_is_cut_into_pages(
        steps in prop::collection::vec((0_u8..3, any::<u8>()), 1..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut log = Log::default();
        for (number, choice) in steps {
            step(&mut log, number, choice);
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.index(log.0.len() + 1)).collect();
        cuts.extend([0, log.0.len()]);
        cuts.sort_unstable();
        let pages = cuts.windows(2).map(|cut| &log.0[cut[0]..cut[1]]);

        prop_assert_eq!(Tables::of(pages), whole(&log));
    }
}
