//! What can be asked about a specialist, and how it is refused.

use super::events::{DeactivationReason, Profession};
use crate::aggregate::rejections;
use crate::organization::StaffProfile;

/// A wish about a specialist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecialistCommand {
    /// Let the specialist join.
    Add {
        /// Trained in what.
        profession: Profession,
        /// Who it is.
        profile: StaffProfile,
    },
    /// Let the specialist leave.
    Deactivate {
        /// Why.
        reason: DeactivationReason,
    },
}

rejections! {
    /// Why a wish about a specialist is refused.
    pub enum SpecialistRejection {
        NotAdded = NotFound "not_added", "there is no such specialist";
        AlreadyAdded = Conflict "already_added", "the specialist was already added";
        AlreadyDeactivated { reason: DeactivationReason } = Conflict "already_deactivated",
            "the specialist is already inactive for the reason {reason}";
    }
}
