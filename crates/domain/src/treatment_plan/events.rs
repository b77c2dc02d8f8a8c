//! What can happen to a treatment plan. Every event names the patient, and every event of an exercise its week, so
//! that a reader needs no other event.

use serde::{Deserialize, Serialize};

use crate::ids::{AssignmentId, ExerciseId, PatientId, SpecialistId};
use crate::personal::personal_structs;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// Why a session of an exercise was left out.
    pub enum SkipReason {
        /// It hurt, or was feared to.
        Pain = "pain",
        /// The patient was too tired.
        Fatigue = "fatigue",
        /// The patient was ill.
        Illness = "illness",
        /// There was no time.
        NoTime = "no_time",
        /// It was not clear how to do it.
        Unclear = "unclear",
        /// What it takes was not at hand.
        NoEquipment = "no_equipment",
        /// Anything else.
        Other = "other",
    }
}

closed_enum! {
    /// How a programme ended.
    pub enum PlanOutcome {
        /// What it was for was reached.
        GoalsReached = "goals_reached",
        /// Its weeks are over.
        ProgrammeEnded = "programme_ended",
        /// The patient did not want to go on.
        StoppedByPatient = "stopped_by_patient",
        /// The specialist stopped it.
        StoppedBySpecialist = "stopped_by_specialist",
        /// Another programme takes its place.
        Superseded = "superseded",
    }
}

personal_structs! {
    /// What a programme is for, in words.
    pub struct PlanIntent {
        /// Its title.
        pub title: String,
        /// What is to be reached.
        pub goal: Option<String>,
    }

    /// How to do an exercise, in words.
    pub struct ExerciseInstructions {
        /// For this patient.
        pub instructions: String,
    }
}

/// How much of an exercise belongs to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dose {
    /// Sets.
    pub sets: u8,
    /// Repetitions in a set; nothing where time counts.
    pub repetitions: Option<u16>,
    /// How long a set or a hold lasts, seconds; nothing where repetitions count.
    pub seconds: Option<u16>,
}

facts! {
    /// A programme of exercises over some weeks began.
    pub struct TreatmentPlanCreated {
        /// The patient whom it treats.
        pub patient_id: PatientId,
        /// The specialist who is responsible for it.
        pub specialist_id: SpecialistId,
        /// When its first week begins.
        pub starts_at: Timestamp,
        /// How many weeks it has.
        pub week_count: u8,
    }
    subject patient_id;
    personal Clinical: PlanIntent;
}

facts! {
    /// An exercise was added to a week of the programme.
    pub struct TreatmentPlanExerciseAssigned {
        /// The patient who is to do it.
        pub patient_id: PatientId,
        /// Its id within the programme.
        pub assignment_id: AssignmentId,
        /// The exercise of the clinic's catalogue.
        pub exercise_id: ExerciseId,
        /// The week of the programme, from 1.
        pub week: u8,
        /// How often it is to be done in that week.
        pub session_count: u8,
        /// How many sets a session has.
        pub sets: u8,
        /// How many repetitions a set has; `null` where time counts.
        pub repetitions: Option<u16>,
        /// How long a set or a hold lasts, seconds; `null` where repetitions count.
        pub seconds: Option<u16>,
    }
    subject patient_id;
    personal Clinical: ExerciseInstructions;
}

facts! {
    /// A session of an exercise was done.
    pub struct TreatmentPlanExerciseCompleted {
        /// The patient who did it.
        pub patient_id: PatientId,
        /// Which exercise of the programme.
        pub assignment_id: AssignmentId,
        /// The exercise of the clinic's catalogue.
        pub exercise_id: ExerciseId,
        /// The week of the programme, from 1.
        pub week: u8,
        /// Which session of the exercise in that week, from 1; those that were skipped count.
        pub session: u8,
        /// How long it took, seconds; `null` where that was not said.
        pub duration_seconds: Option<u16>,
        /// Pain, from 0 (none) to 10 (the worst imaginable); `null` where that was not said.
        pub pain: Option<u8>,
        /// Exertion, from 0 (none) to 10 (all there is); `null` where that was not said.
        pub exertion: Option<u8>,
    }
    subject patient_id;
}

facts! {
    /// A session of an exercise was left out.
    pub struct TreatmentPlanExerciseSkipped {
        /// The patient who left it out.
        pub patient_id: PatientId,
        /// Which exercise of the programme.
        pub assignment_id: AssignmentId,
        /// The exercise of the clinic's catalogue.
        pub exercise_id: ExerciseId,
        /// The week of the programme, from 1.
        pub week: u8,
        /// Which session of the exercise in that week, from 1; those that were done count.
        pub session: u8,
        /// Why it was left out.
        pub reason: SkipReason,
    }
    subject patient_id;
}

facts! {
    /// The programme ended.
    pub struct TreatmentPlanCompleted {
        /// The patient whom it treated.
        pub patient_id: PatientId,
        /// How it ended.
        pub outcome: PlanOutcome,
        /// How many sessions were asked for.
        pub assigned_sessions: u32,
        /// How many of them were done.
        pub completed_sessions: u32,
        /// How many of them were skipped.
        pub skipped_sessions: u32,
    }
    subject patient_id;
}

events! {
    /// What can happen to a treatment plan.
    pub enum TreatmentPlanEvent in TreatmentPlan {
        /// A programme began.
        Created(TreatmentPlanCreated) = TreatmentPlanCreated,
        /// An exercise was added to it.
        ExerciseAssigned(TreatmentPlanExerciseAssigned) = TreatmentPlanExerciseAssigned,
        /// A session of an exercise was done.
        ExerciseCompleted(TreatmentPlanExerciseCompleted) = TreatmentPlanExerciseCompleted,
        /// A session of an exercise was left out.
        ExerciseSkipped(TreatmentPlanExerciseSkipped) = TreatmentPlanExerciseSkipped,
        /// The programme ended.
        Completed(TreatmentPlanCompleted) = TreatmentPlanCompleted,
    }
}
