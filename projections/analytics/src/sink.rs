//! Where facts are written, a page at a time: PostgreSQL, by the projector; ClickHouse, by the worker that copies them.

use std::collections::HashSet;

use futures::future::BoxFuture;

use crate::model::{
    AppointmentFact, Changes, ExerciseAssignmentFact, ExerciseSessionFact, FormFact, Key, PatientFact,
    VideoQualityFact, VideoSessionFact,
};

/// The rows that a page made or changed, as they are to stand, and the patients of whom nothing is to stand.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Patients.
    pub patients: Changes<'a, PatientFact>,
    /// Appointments.
    pub appointments: Changes<'a, AppointmentFact>,
    /// Exercises of plans.
    pub exercises: Changes<'a, ExerciseAssignmentFact>,
    /// Sessions of exercises.
    pub sessions: Vec<&'a ExerciseSessionFact>,
    /// Forms.
    pub forms: Changes<'a, FormFact>,
    /// Stays in video rooms.
    pub video_sessions: Changes<'a, VideoSessionFact>,
    /// How networks did.
    pub samples: Vec<&'a VideoQualityFact>,
    /// Patients whose rows go, whichever page they came with.
    pub erased: &'a HashSet<Key>,
}

/// Takes pages of facts.
pub trait FactSink {
    /// Why a page was not taken.
    type Error;

    /// Writes a page. What was written of the same places before is replaced.
    ///
    /// # Errors
    /// When the page may not stand as a whole; then it is to be written again.
    fn write<'a>(&'a mut self, facts: &'a Facts<'a>) -> BoxFuture<'a, Result<(), Self::Error>>;
}
