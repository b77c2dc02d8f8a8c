//! How an accounting looks: to the officer, and to the patient.

use carelog_domain::access::DisclosureExclusion;
use carelog_domain::{PurposeOfUse, Timestamp, closed_enum};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::disclosures::suspensions::SuspensionView;
use crate::http::schemas;

closed_enum! {
    /// How records left.
    pub enum Way {
        /// As somebody wrote down.
        WrittenDown = "written_down",
        /// By webhook, to a partner.
        Webhook = "webhook",
        /// As a file, to somebody of the clinic.
        Export = "export",
    }
}

/// To whom a patient's records were disclosed, with what the patient is not told.
#[derive(Serialize, ToSchema)]
pub(in crate::http::disclosures) struct AccountingView {
    /// The patient.
    pub(super) patient_id: Uuid,
    /// The time that it is about begins here.
    #[schema(schema_with = schemas::moment)]
    pub(super) from: Timestamp,
    /// And ends before this.
    #[schema(schema_with = schemas::moment)]
    pub(super) before: Timestamp,
    /// Each recipient with what they received; the earliest first.
    pub(super) disclosures: Vec<AccountedView>,
    /// Agencies to which disclosures are kept from the patient, or were.
    pub(super) suspensions: Vec<SuspensionView>,
}

/// To whom a patient's records were disclosed, as the patient gets it.
#[derive(Serialize, ToSchema)]
pub(in crate::http::disclosures) struct PatientAccountingView {
    /// The patient.
    pub(super) patient_id: Uuid,
    /// The time that it is about begins here.
    #[schema(schema_with = schemas::moment)]
    pub(super) from: Timestamp,
    /// And ends before this.
    #[schema(schema_with = schemas::moment)]
    pub(super) before: Timestamp,
    /// Each recipient with what they received; the earliest first.
    pub(super) disclosures: Vec<DisclosureView>,
}

/// What one recipient received, and whether the patient is told.
#[derive(Serialize, ToSchema)]
pub(in crate::http::disclosures) struct AccountedView {
    #[serde(flatten)]
    pub(super) disclosure: DisclosureView,
    /// Why 45 CFR 164.528(a)(1) does not ask for it; nothing where it does.
    #[schema(schema_with = schemas::disclosure_exclusion, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exclusion: Option<DisclosureExclusion>,
    /// Until when the patient is not told, at the wish of the agency that received it.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) suspended_until: Option<Timestamp>,
}

impl PatientAccountingView {
    /// Recipients in it.
    pub(in crate::http::disclosures) const fn len(&self) -> usize {
        self.disclosures.len()
    }
}

/// What one recipient received, summarised (45 CFR 164.528(b)(3)).
#[derive(Serialize, ToSchema)]
pub(in crate::http::disclosures) struct DisclosureView {
    /// How it left.
    #[schema(value_type = String)]
    pub(super) way: Way,
    /// Who received it: as it was written down, or in the words of the subscription; a role of the clinic for an export.
    pub(super) recipient: Option<String>,
    /// The recipient's address, if known; the URL of a subscription as it was then, unless the attempt's end is unknown.
    pub(super) address: Option<String>,
    /// The partner whose subscription it is.
    pub(super) partner_id: Option<Uuid>,
    /// The subscription.
    pub(super) subscription_id: Option<Uuid>,
    /// What was disclosed: as it was written down, the type of an event, or a kind of records.
    pub(super) what: Option<String>,
    /// What for, where it was said.
    #[schema(value_type = Option<String>)]
    pub(super) purpose: Option<PurposeOfUse>,
    /// Whether recipient, address and description are gone for ever.
    pub(super) erased: bool,
    /// When first.
    #[schema(schema_with = schemas::moment)]
    pub(super) first_at: Timestamp,
    /// When last.
    #[schema(schema_with = schemas::moment)]
    pub(super) last_at: Timestamp,
    /// How often.
    pub(super) count: u64,
}
