//! Who touched records, one event a stream.

use uuid::Uuid;

use super::analytics::{AnalyticsDimension, AnalyticsFormat, AnalyticsView, CellValue, YearMonth};
use crate::ids::{ChartLinkId, PatientId};
use crate::personal::personal_structs;
use crate::{PurposeOfUse, StreamKind, Timestamp, closed_enum, events, facts};

closed_enum! {
    /// How a record came to be seen.
    pub enum Interaction {
        /// It was asked for by its id.
        Read = "read",
        /// It was among the results of a search.
        Search = "search",
    }
}

closed_enum! {
    /// Why a known caller was refused.
    pub enum DenialReason {
        /// The key lacks the scope.
        MissingScope = "missing_scope",
        /// The role may not do that.
        WrongRole = "wrong_role",
        /// The record belongs to somebody else.
        ForeignRecord = "foreign_record",
        /// The key's time is over.
        ExpiredKey = "expired_key",
        /// The key was revoked.
        RevokedKey = "revoked_key",
    }
}

closed_enum! {
    /// Why an accounting of disclosures need not have a disclosure (45 CFR 164.528(a)(1)).
    pub enum DisclosureExclusion {
        /// It served treatment, payment or health care operations (i).
        TreatmentPaymentOperations = "treatment_payment_operations",
        /// It was to the patient (ii).
        ToIndividual = "to_individual",
        /// It came along with one that was permitted (iii).
        Incidental = "incidental",
        /// The patient had authorised it (iv).
        Authorization = "authorization",
        /// It was for a directory, or to persons involved in the patient's care (v).
        DirectoryOrCare = "directory_or_care",
        /// It was for national security or intelligence (vi).
        NationalSecurity = "national_security",
        /// It was to those who had the patient in custody (vii).
        Custody = "custody",
        /// It was part of a limited data set (viii).
        LimitedDataSet = "limited_data_set",
    }
}

personal_structs! {
    /// What an accounting of disclosures has to say (45 CFR 164.528).
    pub struct Disclosure {
        /// Who received the records.
        pub recipient: String,
        /// The recipient's address, if known.
        #[serde(default)]
        pub address: Option<String>,
        /// What was disclosed.
        pub description: String,
    }
}

facts! {
    /// A record was read.
    pub struct AccessRecordViewed {
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
    subject patient_id;
}

facts! {
    /// Records were exported.
    pub struct AccessRecordExported {
        /// What kind of records.
        pub target_kind: StreamKind,
        /// Whose records, where they are one patient's.
        pub patient_id: Option<PatientId>,
        /// How many.
        pub record_count: u32,
    }
    subject patient_id;
}

facts! {
    /// Records were disclosed to somebody outside.
    pub struct AccessDisclosureMade {
        /// Whose records.
        pub patient_id: PatientId,
        /// What for.
        pub purpose: PurposeOfUse,
        /// Why an accounting need not have it, where somebody said so; the purpose may say it as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub exclusion: Option<DisclosureExclusion>,
    }
    subject patient_id;
    personal Clinical: Disclosure;
}

facts! {
    /// The audit trail was queried.
    pub struct AccessTrailQueried {
        /// About whom, where it was about one patient.
        pub patient_id: Option<PatientId>,
        /// How many entries were shown.
        pub entry_count: u32,
    }
    subject patient_id;
}

facts! {
    /// A view of analytics was queried.
    pub struct AccessAnalyticsQueried {
        /// Which view.
        pub view: AnalyticsView,
        /// In which form it was handed out.
        pub format: AnalyticsFormat,
        /// The dimension that was asked for; all of them where it is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dimension: Option<AnalyticsDimension>,
        /// The values that were asked for; all of them where it is empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub values: Vec<CellValue>,
        /// The first month that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<YearMonth>,
        /// The last month that was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<YearMonth>,
        /// How many cells were asked for.
        pub cell_count: u32,
        /// How many of them were withheld.
        pub withheld_count: u32,
        /// The link by which it was queried, in the name of the key that made the link; nothing where the key itself did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub link_id: Option<ChartLinkId>,
    }
}

facts! {
    /// A link was made by which whoever has it sees a chart of a view of analytics. Its id is that of the stream.
    pub struct AccessAnalyticsLinkIssued {
        /// Which view.
        pub view: AnalyticsView,
        /// The dimension that it shows; all of them where it is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dimension: Option<AnalyticsDimension>,
        /// The values that it shows; all of them where it is empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub values: Vec<CellValue>,
        /// The first month that it shows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub from: Option<YearMonth>,
        /// The last month that it shows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub until: Option<YearMonth>,
        /// Until when it works, unless its key ends before.
        pub expires_at: Timestamp,
    }
}

facts! {
    /// A known caller was refused.
    pub struct AccessDenied {
        /// Why.
        pub reason: DenialReason,
        /// The HTTP status of the answer.
        pub status: u16,
    }
}

impl PurposeOfUse {
    /// Why an accounting need not have a disclosure for this purpose, where the purpose alone says so. What was done at the
    /// patient's request may have gone to anybody, and an emergency may be one of others.
    pub const fn exclusion(self) -> Option<DisclosureExclusion> {
        match self {
            Self::Treatment | Self::Payment | Self::Operations => {
                Some(DisclosureExclusion::TreatmentPaymentOperations)
            }
            Self::PatientRequest | Self::Emergency | Self::Compliance => None,
        }
    }
}

events! {
    /// Who touched records.
    pub enum AccessEvent in Access {
        /// A record was read.
        RecordViewed(AccessRecordViewed) = AccessRecordViewed,
        /// Records were exported.
        RecordExported(AccessRecordExported) = AccessRecordExported,
        /// Records were disclosed to somebody outside.
        DisclosureMade(AccessDisclosureMade) = AccessDisclosureMade,
        /// The audit trail was queried.
        TrailQueried(AccessTrailQueried) = AccessTrailQueried,
        /// A view of analytics was queried.
        AnalyticsQueried(AccessAnalyticsQueried) = AccessAnalyticsQueried,
        /// A link to a chart of analytics was made.
        AnalyticsLinkIssued(AccessAnalyticsLinkIssued) = AccessAnalyticsLinkIssued,
        /// A known caller was refused.
        Denied(AccessDenied) = AccessDenied,
    }
}
