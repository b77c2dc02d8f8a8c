//! Records as they were: folded anew from their stored events, up to a version or a moment.
//!
//! A log keeps two times of each event: when it was written, and when it happened. *Known at* a moment is what had been
//! written by then, whether it was true or not; *true at* a moment is what had happened by then, as it is known today.
//! Events are always folded in the order of their versions, as the live record folds them, so that either question,
//! asked about now, is answered by the record as it stands.
//!
//! Told late, an event may have happened before the one that it builds upon (a session that was done before its exercise
//! was assigned). At a moment between the two it changes something that is not there yet, and is left out.
//!
//! What folds is what folds live: the pure fold of the projection `records`, and the aggregate of video rooms. Personal
//! parts stay sealed here; whoever shows a record opens those of its version, and finds the erased ones gone.
//!
//! Start reading at [`fold`].

pub mod difference;
mod subscription;

use carelog_domain::video_room::VideoRoom;
use carelog_domain::webhook_subscription::WebhookSubscriptionEvent;
use carelog_domain::{CodecError, OrganizationId, StreamKind, Timestamp, closed_enum};
use carelog_event_log::{EventLog, ReadError, RecordedEvent, StreamKey};
use carelog_records::model::{DecodedEvent, FoldError, State};
use carelog_records::{
    AppointmentRecord, ConsentRecord, FileRecord, FormRecord, PatientRecord, PlanExerciseRecord, PlanRecord,
};
use cqrs_es::Aggregate;
use futures::future::BoxFuture;
use uuid::Uuid;

pub use subscription::PastSubscription;

closed_enum! {
    /// What kind of record is looked back at.
    pub enum RecordKind {
        /// A patient with what they agreed to.
        Patient = "patient",
        /// An appointment.
        Appointment = "appointment",
        /// A form with its answers.
        Form = "form",
        /// A treatment plan with its exercises.
        TreatmentPlan = "treatment_plan",
        /// What is known of a file.
        File = "file",
        /// The video room of an appointment.
        VideoRoom = "video_room",
        /// A webhook subscription.
        WebhookSubscription = "webhook_subscription",
    }
}

/// Up to where a record is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// All that there is.
    Newest,
    /// The first so many events.
    Version(i64),
    /// What had been written at this moment or before.
    KnownAt(Timestamp),
    /// What had happened at this moment or before.
    TrueAt(Timestamp),
}

/// A record as it was.
#[derive(Clone, Debug)]
pub struct Past {
    /// The newest version among the events that it was folded from.
    pub version: i64,
    /// How many events it was folded from.
    pub event_count: usize,
    /// The record.
    pub record: Record,
}

/// What was folded.
#[derive(Clone, Debug)]
pub enum Record {
    /// A patient, and what they agreed to.
    Patient(PatientRecord, Vec<ConsentRecord>),
    /// An appointment.
    Appointment(AppointmentRecord),
    /// A form.
    Form(FormRecord),
    /// A treatment plan, and its exercises week by week.
    TreatmentPlan(PlanRecord, Vec<PlanExerciseRecord>),
    /// A file.
    File(FileRecord),
    /// A video room.
    VideoRoom(VideoRoom),
    /// A webhook subscription.
    WebhookSubscription(PastSubscription),
}

/// Why there is no such past.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// No event tells of it.
    #[error("there is no such record")]
    Unknown,
    /// It has not changed so often.
    #[error("the record has {last} versions")]
    VersionBeyondLast {
        /// Its newest version.
        last: i64,
    },
    /// It was not there yet.
    #[error("the record begins later")]
    BeforeFirstEvent,
    /// A stored event is none of its stream's.
    #[error("a stored event does not decode")]
    Codec(#[from] CodecError),
    /// Stored events do not fit together.
    #[error("stored events do not fit together")]
    Fold(#[from] FoldError),
}

impl RecordKind {
    /// The kind of stream that its events stand in.
    pub const fn stream_kind(self) -> StreamKind {
        match self {
            Self::Patient => StreamKind::Patient,
            Self::Appointment => StreamKind::Appointment,
            Self::Form => StreamKind::Form,
            Self::TreatmentPlan => StreamKind::TreatmentPlan,
            Self::File => StreamKind::File,
            Self::VideoRoom => StreamKind::VideoRoom,
            Self::WebhookSubscription => StreamKind::WebhookSubscription,
        }
    }
}

/// Every event of a record, in order; none where an organization has no such record.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn events(
    log: &EventLog,
    organization_id: OrganizationId,
    kind: RecordKind,
    id: Uuid,
) -> BoxFuture<'_, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move { log.stream(&StreamKey { organization_id, kind: kind.stream_kind(), id }, 0).await })
}

/// Every event of other streams that the record shows, in order: the legal holds of a patient.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn events_beside(
    log: &EventLog,
    organization_id: OrganizationId,
    kind: RecordKind,
    id: Uuid,
) -> BoxFuture<'_, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move {
        match kind {
            RecordKind::Patient => {
                log.stream(&StreamKey { organization_id, kind: StreamKind::LegalHold, id }, 0).await
            }
            RecordKind::Appointment
            | RecordKind::Form
            | RecordKind::TreatmentPlan
            | RecordKind::File
            | RecordKind::VideoRoom
            | RecordKind::WebhookSubscription => Ok(Vec::new()),
        }
    })
}

/// A record as it was; `events` are all of its stream, in order, and `beside` those of other streams that it shows. They
/// belong to the version that was the newest when they were written.
///
/// # Errors
/// When there is no such record, version or past, or an event cannot be folded.
pub fn fold(
    kind: RecordKind,
    events: &[RecordedEvent],
    beside: &[RecordedEvent],
    moment: Moment,
) -> Result<Past, PastError> {
    let last = events.last().ok_or(PastError::Unknown)?.version;
    if matches!(moment, Moment::Version(version) if version > last) {
        return Err(PastError::VersionBeyondLast { last });
    }
    let mut folding = Folding::new(kind);
    let (mut version, mut event_count) = (0, 0);
    let mut all: Vec<&RecordedEvent> = events.iter().chain(beside).collect();
    all.sort_by_key(|event| event.position);
    let mut newest = 0;
    for event in all {
        let is_own = event.stream.kind == kind.stream_kind();
        if is_own {
            newest = event.version;
        }
        if !moment.includes(event, newest) {
            continue;
        }
        // Nothing builds upon a record that does not exist yet.
        let is_taken =
            (version > 0 || is_own && event.version == 1) && folding.take(event, moment.is_of_time())?;
        if is_taken && is_own {
            (version, event_count) = (event.version, event_count + 1);
        }
    }
    let record = folding.end().ok_or(PastError::BeforeFirstEvent)?;
    Ok(Past { version, event_count, record })
}

impl Moment {
    /// Whether an event belongs to it that was written when the record was at this version.
    fn includes(self, event: &RecordedEvent, newest: i64) -> bool {
        match self {
            Self::Newest => true,
            Self::Version(version) => newest <= version,
            Self::KnownAt(moment) => event.recorded_at <= moment,
            Self::TrueAt(moment) => event.occurred_at <= moment,
        }
    }

    /// Whether events may be missing that others build upon.
    const fn is_of_time(self) -> bool {
        match self {
            Self::Newest | Self::Version(_) => false,
            Self::KnownAt(_) | Self::TrueAt(_) => true,
        }
    }
}

/// A record while its events are folded.
enum Folding {
    Rows(RecordKind, Box<State>),
    Room(VideoRoom, bool),
    Subscription(Option<PastSubscription>),
}

impl Folding {
    fn new(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Patient
            | RecordKind::Appointment
            | RecordKind::Form
            | RecordKind::TreatmentPlan
            | RecordKind::File => Self::Rows(kind, Box::default()),
            RecordKind::VideoRoom => Self::Room(VideoRoom::default(), false),
            RecordKind::WebhookSubscription => Self::Subscription(None),
        }
    }

    /// Whether the event could be folded; one that could not is an error, unless others may be missing.
    fn take(&mut self, event: &RecordedEvent, may_lack: bool) -> Result<bool, PastError> {
        match self {
            Self::Rows(_, state) => {
                let Some(decoded) = DecodedEvent::of(event)? else { return Ok(false) };
                let before = may_lack.then(|| state.clone());
                match (state.apply(&decoded), before) {
                    (Ok(()), _) => Ok(true),
                    (Err(FoldError::NotThere { .. }), Some(before)) => {
                        *state = before;
                        Ok(false)
                    }
                    (Err(error), _) => Err(error.into()),
                }
            }
            Self::Room(room, is_begun) => {
                room.apply(event.decode_as()?);
                *is_begun = true;
                Ok(true)
            }
            Self::Subscription(folded) => {
                let told: WebhookSubscriptionEvent = event.decode_as()?;
                *folded = PastSubscription::apply(folded.take(), &told, event);
                Ok(folded.is_some())
            }
        }
    }

    fn end(self) -> Option<Record> {
        match self {
            Self::Rows(kind, state) => of_rows(kind, &state),
            Self::Room(room, is_begun) => is_begun.then_some(Record::VideoRoom(room)),
            Self::Subscription(folded) => folded.map(Record::WebhookSubscription),
        }
    }
}

fn of_rows(kind: RecordKind, state: &State) -> Option<Record> {
    match kind {
        RecordKind::Patient => {
            let patient = newest(state.patients.changed())?;
            let mut consents: Vec<ConsentRecord> = state.consents.changed().into_iter().cloned().collect();
            consents.sort_by_key(|consent| consent.consent.as_str());
            Some(Record::Patient(patient, consents))
        }
        RecordKind::Appointment => newest(state.appointments.changed()).map(Record::Appointment),
        RecordKind::Form => newest(state.forms.changed()).map(Record::Form),
        RecordKind::TreatmentPlan => {
            let plan = newest(state.plans.changed())?;
            let mut exercises: Vec<PlanExerciseRecord> =
                state.exercises.changed().into_iter().cloned().collect();
            exercises.sort_by_key(|exercise| (exercise.week, exercise.stamp.created_position));
            Some(Record::TreatmentPlan(plan, exercises))
        }
        RecordKind::File => newest(state.files.changed()).map(Record::File),
        RecordKind::VideoRoom | RecordKind::WebhookSubscription => None,
    }
}

fn newest<R: Clone>(rows: Vec<&R>) -> Option<R> {
    rows.into_iter().next().cloned()
}
