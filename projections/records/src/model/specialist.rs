//! How events change a specialist's row.

use carelog_domain::specialist::{DeactivationReason, Profession, SpecialistEvent};
use carelog_domain::{OrganizationId, SpecialistId, Timestamp, closed_enum};
use carelog_event_log::RecordedEvent;

use super::row::{FoldError, SealedColumns, Stamp, absent, existing};

closed_enum! {
    /// Whether a specialist works here.
    pub enum SpecialistStatus {
        /// Works here.
        Active = "active",
        /// Worked here.
        Inactive = "inactive",
    }
}

/// A specialist as they stand now. The personal part is a
/// [`StaffProfile`](carelog_domain::organization::StaffProfile).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecialistRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The specialist.
    pub specialist_id: SpecialistId,
    /// Whether they work here.
    pub status: SpecialistStatus,
    /// Trained in what.
    pub profession: Profession,
    /// Why no longer here.
    pub deactivation_reason: Option<DeactivationReason>,
    /// Since when no longer here.
    pub deactivated_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed profile.
    pub personal: Option<SealedColumns>,
}

impl SpecialistRecord {
    pub(super) fn apply(
        row: Option<Self>,
        event: &SpecialistEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        match event {
            SpecialistEvent::Added(added) => {
                absent(row.as_ref(), recorded)?;
                Ok(Self {
                    organization_id: recorded.stream.organization_id,
                    specialist_id: SpecialistId::new(recorded.stream.id),
                    status: SpecialistStatus::Active,
                    profession: added.profession,
                    deactivation_reason: None,
                    deactivated_at: None,
                    stamp: Stamp::new(recorded),
                    personal: SealedColumns::of(recorded),
                })
            }
            SpecialistEvent::Deactivated(deactivated) => {
                let mut row = existing(row, recorded)?;
                row.status = SpecialistStatus::Inactive;
                row.deactivation_reason = Some(deactivated.reason);
                row.deactivated_at = Some(recorded.occurred_at);
                row.stamp.touch(recorded);
                Ok(row)
            }
        }
    }
}
