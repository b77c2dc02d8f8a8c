//! What can be asked of a form, and how it refuses.

use super::FormStatus;
use super::events::{FormAnswers, Signatory, VoidReason};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::closed::Sha256Digest;
use crate::ids::{AppointmentId, FormTemplateId, PatientId};

/// A wish about a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormCommand {
    /// Ask a patient to fill it in.
    Assign(AssignForm),
    /// Keep answers.
    Save {
        /// All answers so far.
        answers: FormAnswers,
    },
    /// Sign what was saved.
    Sign {
        /// Of the signed document.
        content_sha256: Sha256Digest,
        /// Who signs.
        signed_by: Signatory,
    },
    /// Let it no longer count.
    Void {
        /// Why.
        reason: VoidReason,
    },
}

/// A form to be assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignForm {
    /// To whom.
    pub patient_id: PatientId,
    /// Which form.
    pub template_id: FormTemplateId,
    /// In which version of its template.
    pub template_version: u16,
    /// Before which appointment.
    pub appointment_id: Option<AppointmentId>,
    /// Until when.
    pub due_at: Option<Timestamp>,
}

rejections! {
    /// Why a form refuses a command.
    pub enum FormRejection {
        NotAssigned = NotFound "not_assigned", "there is no such form";
        AlreadyAssigned { status: FormStatus } = Conflict "already_assigned",
            "the form already exists and is {status}";
        NoAnswers = Invalid "no_answers", "there is no answer to save";
        TooManyAnswers { limit: u16 } = Invalid "too_many_answers", "a form has at most {limit} answers";
        NothingSaved = Conflict "nothing_saved", "a form without saved answers cannot be signed";
        AlreadySigned = Conflict "already_signed", "the form is already signed";
        AlreadyVoided = Conflict "already_voided", "the form was voided";
    }
}
