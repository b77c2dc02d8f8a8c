//! Facts about forms.

use carelog_domain::form::{FormEvent, FormStatus};
use carelog_domain::{FormTemplateId, OrganizationId};
use carelog_vault::Pseudonym;

use super::Known;
use super::analytic::{Coarse, analytic_facts};

const MINUTES_PER_HOUR: i32 = 60;

analytic_facts! {
    /// A form.
    pub struct FormFact in "form_facts"
    at {
        /// Place of the assignment.
        pub position,
        /// Place of the newest event.
        pub last_position,
    }
    says {
        /// The clinic.
        pub organization_id: OrganizationId,
        /// The form.
        pub form: Pseudonym,
        /// The patient.
        pub patient: Pseudonym,
        /// The template.
        pub template_id: FormTemplateId,
        /// Its version.
        pub template_version: u16,
        /// How far it has come.
        pub status: FormStatus,
        /// When it was assigned.
        pub assigned_at: Coarse,
        /// Until when it is to be filled in.
        pub due_at: Option<Coarse>,
        /// How often answers were kept.
        pub save_count: i32,
        /// From the assignment to the signature, hours.
        pub turnaround_hours: Option<i32>,
        /// Whether it was signed after it was due.
        pub is_late: Option<bool>,
    }
}

impl FormFact {
    pub(super) fn apply(row: Option<&Self>, event: &FormEvent, known: &Known<'_>) -> Option<Self> {
        let (position, at) = (known.recorded.position, Coarse::cut(known.recorded.occurred_at));
        if let FormEvent::Assigned(assigned) = event {
            let fact = Self {
                organization_id: known.organization_id(),
                position,
                last_position: position,
                form: known.stream,
                patient: known.patient(assigned.patient_id),
                template_id: assigned.template_id,
                template_version: assigned.template_version,
                status: FormStatus::Assigned,
                assigned_at: at,
                due_at: assigned.due_at.map(Coarse::cut),
                save_count: 0,
                turnaround_hours: None,
                is_late: None,
            };
            return row.is_none().then_some(fact);
        }
        let mut row = row?.clone();
        row.last_position = position;
        match event {
            // Made a new row above.
            FormEvent::Assigned(_) => {}
            FormEvent::Saved(_) => {
                row.status = FormStatus::Saved;
                row.save_count = row.save_count.saturating_add(1);
            }
            FormEvent::Signed(_) => {
                row.status = FormStatus::Signed;
                row.turnaround_hours = Some(at.minutes_since(row.assigned_at).div_euclid(MINUTES_PER_HOUR));
                row.is_late = row.due_at.map(|due_at| at > due_at);
            }
            FormEvent::Voided(_) => row.status = FormStatus::Voided,
        }
        Some(row)
    }
}
