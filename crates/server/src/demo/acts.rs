//! What a desk can do next, and what follows on what: the pure part of the stream.

/// Appointments and forms that a desk has open at a time.
const MAX_OPEN: usize = 12;

/// How far an appointment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Booked,
    Confirmed,
    Onboarded,
    Started,
}

/// What a desk does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Register,
    /// What a new patient still has to do.
    Paperwork,
    Book,
    Advance,
    Assign,
    FillIn,
    ReadPatient,
    ReadOwn,
    ReadTrail,
}

/// What a choice of the next act depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) appointments: usize,
    pub(super) forms: usize,
    pub(super) paperwork: usize,
}

/// Chooses by lot among what is possible.
pub(super) fn choose(lot: usize, open: Open) -> Act {
    match lot {
        0..3 => Act::Register,
        3..14 if open.paperwork > 0 => Act::Paperwork,
        36..74 if open.appointments > 0 => Act::Advance,
        74..82 if open.forms < MAX_OPEN => Act::Assign,
        74..96 if open.forms > 0 => Act::FillIn,
        96 | 97 => Act::ReadPatient,
        98 => Act::ReadOwn,
        99 => Act::ReadTrail,
        _ if open.appointments < MAX_OPEN => Act::Book,
        _ => Act::Advance,
    }
}

/// The path of the command that follows on a stage, and the stage after it; nothing at the end.
pub(super) fn step(stage: Stage, lot: usize) -> (&'static str, Option<Stage>) {
    match (stage, lot) {
        (Stage::Booked, 0..78) => ("confirm", Some(Stage::Confirmed)),
        (Stage::Booked, 78..88) => ("reschedule", Some(Stage::Booked)),
        (Stage::Booked | Stage::Confirmed, 88..94) => ("cancel", None),
        (Stage::Booked, _) | (Stage::Confirmed, 94..) => ("no-show", None),
        (Stage::Confirmed, _) => ("onboard", Some(Stage::Onboarded)),
        (Stage::Onboarded, _) => ("start", Some(Stage::Started)),
        (Stage::Started, _) => ("complete", None),
    }
}
