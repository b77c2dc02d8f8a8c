//! What is to be exported, and in which form.

use carelog_analytics::columnar::PARQUET;
use carelog_audit::{AddressIndex, Topic, TrailFilter};
use carelog_domain::{PatientId, Timestamp, closed_enum};
use uuid::Uuid;

closed_enum! {
    /// In which form a long export is made.
    pub enum ExportForm {
        /// Entries of the trail, as CSV.
        Csv = "csv",
        /// Entries of the trail, a JSON object a line.
        Ndjson = "ndjson",
        /// Entries of the trail, as Apache Parquet.
        Parquet = "parquet",
        /// Entries of the trail, a FHIR R4 AuditEvent a line.
        FhirR4Ndjson = "fhir_r4_ndjson",
        /// Entries of the trail, a FHIR R5 AuditEvent a line.
        FhirR5Ndjson = "fhir_r5_ndjson",
        /// Events, as a file that proves itself.
        Bundle = "bundle",
    }
}

/// What is to be exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In which form.
    pub form: ExportForm,
    /// About this patient.
    pub patient_id: Option<PatientId>,
    /// Of this topic.
    pub topic: Option<Topic>,
    /// Happened at this moment or later.
    pub from: Option<Timestamp>,
    /// Happened before this moment.
    pub before: Option<Timestamp>,
    /// Asked for from this network address, which is nowhere kept in clear.
    pub address: Option<AddressIndex>,
    /// Asked for in this session of the console.
    pub session_id: Option<Uuid>,
}

impl ExportForm {
    /// The media type of the file.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => PARQUET,
            Self::FhirR4Ndjson => "application/fhir+ndjson; fhirVersion=4.0",
            Self::FhirR5Ndjson => "application/fhir+ndjson; fhirVersion=5.0",
            Self::Bundle => "application/x-tar",
        }
    }

    /// The end of the file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
            Self::FhirR4Ndjson | Self::FhirR5Ndjson => "fhir.ndjson",
            Self::Parquet => "parquet",
            Self::Bundle => "tar",
        }
    }
}

impl Wanted {
    /// The filter of the trail.
    pub fn filter(&self) -> TrailFilter {
        TrailFilter {
            subject_id: self.patient_id,
            topic: self.topic,
            occurred_from: self.from,
            occurred_before: self.before,
            address: self.address,
            session_id: self.session_id,
            ..TrailFilter::default()
        }
    }
}
