//! Documents that people keep: a signed form, and what is left to say of a patient who was erased.
//!
//! Rendered by typst as PDF/A-2a and PDF/UA-1: archivable, tagged for screen readers, with every font inside. Data are
//! handed over as data and never become part of a template's text, so that no answer can say how it is set. The same
//! data give the same bytes, whoever renders them and whenever.

mod paper;
#[cfg(test)]
mod tests;

use serde::Serialize;
use time::OffsetDateTime;
use time::macros::format_description;

use self::paper::render;

/// Longest document in bytes of its data; a form has fewer.
pub const MAX_DATA_BYTES: usize = 4 << 20;

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// There are more data than a document takes.
    #[error("a document takes {limit} bytes of data at most")]
    TooLarge {
        /// The bound in bytes.
        limit: usize,
    },
    /// The data are none that a document can show.
    #[error("the data of a document cannot be written down")]
    Data(#[from] serde_json::Error),
    /// The template and its data do not make a document.
    #[error("the document cannot be set: {0}")]
    Typeset(String),
}

/// A signed form.
#[derive(Clone, Debug, Serialize)]
pub struct SignedForm {
    /// The clinic, as people call it.
    pub organization: String,
    /// The form's id.
    pub form_id: String,
    /// The patient's id.
    pub patient_id: String,
    /// The template that the form was made from, and its version.
    pub template: String,
    /// Who signed: `patient`, `specialist` or `guardian`.
    pub signed_by: String,
    /// When it was signed.
    #[serde(serialize_with = "moment")]
    pub signed_at: OffsetDateTime,
    /// SHA-256 of what the signatory signed, in hexadecimal digits.
    pub content_sha256: String,
    /// The signature's place in the log of the clinic's events: stream version and event id.
    pub event: String,
    /// Question and answer, in the order of the questions' names.
    pub answers: Vec<(String, String)>,
}

/// The certificate of an erasure.
#[derive(Clone, Debug, Serialize)]
pub struct ErasureCertificate {
    /// The clinic, as people call it.
    pub organization: String,
    /// The patient's id.
    pub patient_id: String,
    /// When the erasure was asked for.
    #[serde(serialize_with = "moment")]
    pub requested_at: OffsetDateTime,
    /// When the keys were destroyed.
    #[serde(serialize_with = "moment")]
    pub keys_destroyed_at: OffsetDateTime,
    /// How many keys there were.
    pub key_count: u16,
    /// When every copy outside the log was gone.
    #[serde(serialize_with = "moment")]
    pub completed_at: OffsetDateTime,
    /// The steps as they stand in the log: what happened, when, and the event's id.
    pub steps: Vec<(String, String, String)>,
}

/// Renders a signed form.
///
/// # Errors
/// See [`RenderError`].
pub fn signed_form(form: &SignedForm) -> Result<Vec<u8>, RenderError> {
    render(include_str!("signed_form.typ"), form, &form.event, form.signed_at)
}

/// Renders the certificate of an erasure.
///
/// # Errors
/// See [`RenderError`].
pub fn erasure_certificate(certificate: &ErasureCertificate) -> Result<Vec<u8>, RenderError> {
    let (template, ident) = (include_str!("erasure_certificate.typ"), &certificate.patient_id);
    render(template, certificate, ident, certificate.completed_at)
}

/// A moment as documents show it: to the second, in UTC.
pub fn shown_moment(moment: OffsetDateTime) -> String {
    const SHOWN: &[time::format_description::FormatItem<'_>] =
        format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    // Every moment of the log has a year of four digits.
    moment.to_offset(time::UtcOffset::UTC).format(SHOWN).unwrap_or_default()
}

fn moment<S: serde::Serializer>(moment: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_moment(*moment))
}
