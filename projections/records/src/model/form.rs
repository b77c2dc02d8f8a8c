//! How events change a form's row.

use carelog_domain::closed::Sha256Digest;
use carelog_domain::form::{FormAssigned, FormEvent, FormStatus, Signatory, VoidReason};
use carelog_domain::{AppointmentId, FormId, FormTemplateId, OrganizationId, PatientId, Timestamp};
use carelog_event_log::RecordedEvent;

use super::row::{FoldError, SealedColumns, Stamp, absent, existing, replace_personal};

/// A form as it stands now. Its personal part is the newest set of answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The form.
    pub form_id: FormId,
    /// Who fills it in.
    pub patient_id: PatientId,
    /// Which form.
    pub template_id: FormTemplateId,
    /// In which version of its template.
    pub template_version: u16,
    /// Before which appointment.
    pub appointment_id: Option<AppointmentId>,
    /// Until when.
    pub due_at: Option<Timestamp>,
    /// How far it has come.
    pub status: FormStatus,
    /// How many questions have an answer.
    pub answer_count: u16,
    /// When answers were kept last.
    pub saved_at: Option<Timestamp>,
    /// Digest of the signed document.
    pub content_sha256: Option<Sha256Digest>,
    /// Who signed.
    pub signed_by: Option<Signatory>,
    /// When it was signed.
    pub signed_at: Option<Timestamp>,
    /// Why it no longer counts.
    pub void_reason: Option<VoidReason>,
    /// Since when it no longer counts.
    pub voided_at: Option<Timestamp>,
    /// When the patient's keys were destroyed, where there had been answers.
    pub erased_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed answers.
    pub personal: Option<SealedColumns>,
}

impl FormRecord {
    pub(super) fn apply(
        row: Option<Self>,
        event: &FormEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        if let FormEvent::Assigned(assigned) = event {
            absent(row.as_ref(), recorded)?;
            return Ok(Self::assign(assigned, recorded));
        }
        let mut row = existing(row, recorded)?;
        row.change(event, recorded.occurred_at);
        row.stamp.touch(recorded);
        if row.erased_at.is_none() {
            replace_personal(&mut row.personal, recorded);
        }
        Ok(row)
    }

    fn assign(assigned: &FormAssigned, recorded: &RecordedEvent) -> Self {
        Self {
            organization_id: recorded.stream.organization_id,
            form_id: FormId::new(recorded.stream.id),
            patient_id: assigned.patient_id,
            template_id: assigned.template_id,
            template_version: assigned.template_version,
            appointment_id: assigned.appointment_id,
            due_at: assigned.due_at,
            status: FormStatus::Assigned,
            answer_count: 0,
            saved_at: None,
            content_sha256: None,
            signed_by: None,
            signed_at: None,
            void_reason: None,
            voided_at: None,
            erased_at: None,
            stamp: Stamp::new(recorded),
            personal: SealedColumns::of(recorded),
        }
    }

    const fn change(&mut self, event: &FormEvent, at: Timestamp) {
        match event {
            // Made a new row above.
            FormEvent::Assigned(_) => {}
            FormEvent::Saved(saved) => {
                self.status = FormStatus::Saved;
                self.answer_count = saved.answer_count;
                self.saved_at = Some(at);
            }
            FormEvent::Signed(signed) => {
                self.status = FormStatus::Signed;
                self.content_sha256 = Some(signed.content_sha256);
                self.signed_by = Some(signed.signed_by);
                self.signed_at = Some(at);
            }
            FormEvent::Voided(voided) => {
                self.status = FormStatus::Voided;
                self.void_reason = Some(voided.reason);
                self.voided_at = Some(at);
            }
        }
    }
}
