//! What can be recorded about an access, and how that is refused.

use uuid::Uuid;

use super::events::{
    AccessAnalyticsLinkIssued, AccessAnalyticsQueried, DenialReason, Disclosure, DisclosureExclusion,
    Interaction,
};
use crate::aggregate::rejections;
use crate::ids::PatientId;
use crate::{PurposeOfUse, StreamKind};

/// An access to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessCommand {
    /// Records were read.
    RecordView(RecordView),
    /// Records were exported.
    RecordExport {
        /// What kind of records.
        target_kind: StreamKind,
        /// Whose, where they are one patient's.
        patient_id: Option<PatientId>,
        /// How many.
        record_count: u32,
    },
    /// Records were disclosed to somebody outside.
    RecordDisclosure {
        /// Whose.
        patient_id: PatientId,
        /// What for.
        purpose: PurposeOfUse,
        /// Why an accounting need not have it.
        exclusion: Option<DisclosureExclusion>,
        /// To whom, and what.
        disclosure: Disclosure,
    },
    /// The audit trail was queried.
    RecordTrailQuery {
        /// About whom, where it was about one patient.
        patient_id: Option<PatientId>,
        /// How many entries were shown.
        entry_count: u32,
    },
    /// A view of analytics was queried.
    RecordAnalyticsQuery(AccessAnalyticsQueried),
    /// A link to a chart of analytics is made.
    RecordAnalyticsLink(AccessAnalyticsLinkIssued),
    /// A known caller was refused.
    RecordDenial {
        /// Why.
        reason: DenialReason,
        /// The HTTP status of the answer.
        status: u16,
    },
}

/// A read of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordView {
    /// What kind of record.
    pub target_kind: StreamKind,
    /// Its stream, or the nil UUID for a list.
    pub target_id: Uuid,
    /// Whose record it is, where it is one patient's.
    pub patient_id: Option<PatientId>,
    /// How many records were shown.
    pub record_count: u32,
    /// How it came to be seen.
    pub interaction: Interaction,
}

rejections! {
    /// Why an access is not recorded.
    pub enum AccessRejection {
        AlreadyRecorded = Conflict "already_recorded", "the access is already recorded";
    }
}
