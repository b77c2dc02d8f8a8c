//! Which pattern of IHE BALP an entry follows, and its codes, which R4 and R5 share.

use carelog_audit::{Action, Outcome};
use carelog_domain::{ActorKind, EventType, StreamKind};

use super::super::EntryView;

/// A code and its system.
pub(super) type Code<'a> = (&'static str, &'a str);

pub(super) const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPES: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTIONS: &str = "http://hl7.org/fhir/restful-interaction";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const PARTICIPANTS: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
const PARTICIPATIONS: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const PROFILES: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";

pub(super) const SOURCE: Code<'_> = (DICOM, "110153");
pub(super) const DESTINATION: Code<'_> = (DICOM, "110152");
pub(super) const APPLICATION: Code<'_> = (DICOM, "110150");

/// How an entry is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Create,
    Read,
    /// A list, or a search that is no record of its own.
    Query,
    Update,
    Delete,
    /// Something that is none of these.
    Operation,
    /// Personal data left for somebody outside.
    Disclosure,
    /// Carelog did it, without being asked at that moment.
    Activity,
}

impl Pattern {
    pub(super) fn of(entry: &EntryView) -> Self {
        match (entry.event, entry.actor.kind, entry.action) {
            (EventType::AccessDisclosureMade, ..) => Self::Disclosure,
            (_, ActorKind::System, _) => Self::Activity,
            (EventType::AccessTrailQueried | EventType::AccessAnalyticsQueried, _, Action::Read) => {
                Self::Query
            }
            (_, _, Action::Read) if entry.target_id.is_none() => Self::Query,
            (_, _, Action::Read) => Self::Read,
            (_, _, Action::Create) => Self::Create,
            (_, _, Action::Update) => Self::Update,
            (_, _, Action::Delete) => Self::Delete,
            (_, _, Action::Execute) => Self::Operation,
        }
    }

    /// The kind of event.
    pub(super) const fn kind(self) -> Code<'static> {
        match self {
            Self::Disclosure => (DICOM, "110106"),
            Self::Activity => (DICOM, "110100"),
            Self::Create | Self::Read | Self::Query | Self::Update | Self::Delete | Self::Operation => {
                (EVENT_TYPES, "rest")
            }
        }
    }

    /// What precisely was done.
    pub(super) fn interaction(self, entry: &EntryView) -> Code<'static> {
        match self {
            Self::Create => (INTERACTIONS, "create"),
            Self::Read => (INTERACTIONS, "read"),
            Self::Query => (INTERACTIONS, "search-type"),
            Self::Update => (INTERACTIONS, "update"),
            Self::Delete => (INTERACTIONS, "delete"),
            Self::Operation => (INTERACTIONS, "operation"),
            Self::Disclosure => (LIFECYCLE, "disclose"),
            Self::Activity => ("urn:carelog:event-type", entry.event.as_str()),
        }
    }

    /// The letter of what was done.
    pub(super) const fn letter(self, action: Action) -> &'static str {
        match self {
            Self::Query | Self::Operation => "E",
            Self::Create | Self::Read | Self::Update | Self::Delete | Self::Disclosure | Self::Activity => {
                match action {
                    Action::Create => "C",
                    Action::Read => "R",
                    Action::Update => "U",
                    Action::Delete => "D",
                    Action::Execute => "E",
                }
            }
        }
    }

    /// The types of who asked and of who answered: data flows from the source to the destination, except that BALP
    /// lets a query flow as its parameters do.
    pub(super) const fn sides(self) -> (Code<'static>, Code<'static>) {
        match self {
            Self::Read => (DESTINATION, SOURCE),
            Self::Delete => (APPLICATION, (PARTICIPANTS, "custodian")),
            Self::Create
            | Self::Query
            | Self::Update
            | Self::Operation
            | Self::Disclosure
            | Self::Activity => (SOURCE, DESTINATION),
        }
    }

    /// What the person behind a key was.
    pub(super) const fn participation(self) -> Code<'static> {
        match self {
            Self::Read | Self::Query => (PARTICIPATIONS, "IRCP"),
            Self::Create
            | Self::Update
            | Self::Delete
            | Self::Operation
            | Self::Disclosure
            | Self::Activity => (PARTICIPATIONS, "AUT"),
        }
    }

    /// The BALP profile that a successful entry keeps to.
    pub(super) fn profile(self, entry: &EntryView) -> Option<String> {
        let patient = if entry.patient_id.is_some() { "Patient" } else { "" };
        let name = match (self, entry.outcome) {
            (_, Outcome::Failure) | (Self::Operation | Self::Activity, Outcome::Success) => return None,
            // BALP has `Query` for what is about no patient, and `PatientQuery` for one: a list of many is neither.
            (Self::Query, _) if is_of_patients(entry) => return None,
            (Self::Disclosure, Outcome::Success) => "PrivacyDisclosure.Source".to_owned(),
            (Self::Create, Outcome::Success) => format!("{patient}Create"),
            (Self::Read, Outcome::Success) => format!("{patient}Read"),
            (Self::Query, Outcome::Success) => format!("{patient}Query"),
            (Self::Update, Outcome::Success) => format!("{patient}Update"),
            (Self::Delete, Outcome::Success) => format!("{patient}Delete"),
        };
        Some(format!("{PROFILES}{name}"))
    }
}

/// Whether an entry tells of records of patients, and not of which patient.
fn is_of_patients(entry: &EntryView) -> bool {
    entry.patient_id.is_none()
        && matches!(
            entry.target_kind,
            StreamKind::Patient
                | StreamKind::Appointment
                | StreamKind::Form
                | StreamKind::TreatmentPlan
                | StreamKind::File
                | StreamKind::VideoRoom
        )
}
