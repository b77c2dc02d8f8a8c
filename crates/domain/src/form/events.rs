//! What can happen to a form. Every event names the patient, so that a reader needs no other stream.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::closed::Sha256Digest;
use crate::ids::{AppointmentId, FormTemplateId, PatientId};
use crate::personal::personal_structs;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// Who signed a form.
    pub enum Signatory {
        /// The patient.
        Patient = "patient",
        /// The specialist.
        Specialist = "specialist",
        /// Somebody who may sign for the patient.
        Guardian = "guardian",
    }
}

closed_enum! {
    /// Why a form no longer counts.
    pub enum VoidReason {
        /// It was filled in or assigned by mistake.
        EnteredInError = "entered_in_error",
        /// Another form takes its place.
        Superseded = "superseded",
        /// The patient wished it.
        PatientRequest = "patient_request",
        /// Anything else.
        Other = "other",
    }
}

personal_structs! {
    /// What a patient answered, all of it.
    pub struct FormAnswers {
        /// Answer by the name of the question.
        pub answers: BTreeMap<String, Value>,
    }
}

facts! {
    /// A patient was asked to fill in a form.
    pub struct FormAssigned {
        /// The patient who was asked.
        pub patient_id: PatientId,
        /// The template that the form was made from.
        pub template_id: FormTemplateId,
        /// The version of the template.
        pub template_version: u16,
        /// The appointment before which it is to be filled in; `null` where there is none.
        pub appointment_id: Option<AppointmentId>,
        /// Until when it is to be filled in; `null` where that was not said.
        pub due_at: Option<Timestamp>,
    }
    subject patient_id;
}

facts! {
    /// Answers were kept, not yet signed; they replace earlier ones.
    pub struct FormSaved {
        /// The patient whose form it is.
        pub patient_id: PatientId,
        /// How many questions have an answer.
        pub answer_count: u16,
    }
    subject patient_id;
    personal Clinical: FormAnswers;
}

facts! {
    /// The form was signed.
    pub struct FormSigned {
        /// The patient whose form it is.
        pub patient_id: PatientId,
        /// SHA-256 of the signed document, 64 lower-case hexadecimal digits.
        pub content_sha256: Sha256Digest,
        /// Who signed it.
        pub signed_by: Signatory,
    }
    subject patient_id;
}

facts! {
    /// The form no longer counts.
    pub struct FormVoided {
        /// The patient whose form it is.
        pub patient_id: PatientId,
        /// Why it no longer counts.
        pub reason: VoidReason,
    }
    subject patient_id;
}

events! {
    /// What can happen to a form.
    pub enum FormEvent in Form {
        /// A patient was asked to fill in a form.
        Assigned(FormAssigned) = FormAssigned,
        /// Answers were kept, not yet signed.
        Saved(FormSaved) = FormSaved,
        /// The form was signed.
        Signed(FormSigned) = FormSigned,
        /// The form no longer counts.
        Voided(FormVoided) = FormVoided,
    }
}
