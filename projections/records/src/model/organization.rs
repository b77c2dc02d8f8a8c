//! How events change the rows of a clinic, its staff, its integrations and its keys.

use carelog_domain::closed::Sha256Digest;
use carelog_domain::organization::{
    IntegrationKind, OrganizationApiKeyIssued, OrganizationEvent, OrganizationMemberAdded,
    OrganizationSettings, Scope,
};
use carelog_domain::{
    ApiKeyId, MemberId, OrganizationId, PatientId, Role, SpecialistId, Timestamp, closed_enum,
};
use carelog_event_log::RecordedEvent;

use super::row::{FoldError, SealedColumns, Stamp, absent, existing, replace_personal};

/// A clinic as it stands now. Its personal part is an
/// [`OrganizationProfile`](carelog_domain::organization::OrganizationProfile). The version is that of the whole
/// stream: staff, integrations and keys count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The settings in force.
    pub settings: OrganizationSettings,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed profile.
    pub personal: Option<SealedColumns>,
}

impl OrganizationRecord {
    pub(super) fn apply(
        row: Option<Self>,
        event: &OrganizationEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        let is_of_profile = match event {
            OrganizationEvent::Registered(_) => {
                absent(row.as_ref(), recorded)?;
                return Ok(Self::register(recorded));
            }
            OrganizationEvent::SettingsChanged(_) => true,
            OrganizationEvent::IntegrationConfigured(_)
            | OrganizationEvent::IntegrationRemoved(_)
            | OrganizationEvent::MemberAdded(_)
            | OrganizationEvent::MemberRemoved(_)
            | OrganizationEvent::ApiKeyIssued(_)
            | OrganizationEvent::ApiKeyRevoked(_)
            | OrganizationEvent::PseudonymEpochBegun(_)
            | OrganizationEvent::PseudonymKeyDestroyed(_) => false,
        };
        let mut row = existing(row, recorded)?;
        if let OrganizationEvent::SettingsChanged(changed) = event {
            row.settings = OrganizationSettings {
                recording_enabled: changed.recording_enabled,
                small_cell_threshold: changed.small_cell_threshold,
                waiting_room_minutes: changed.waiting_room_minutes,
            };
        }
        if is_of_profile {
            replace_personal(&mut row.personal, recorded);
        }
        row.stamp.touch(recorded);
        Ok(row)
    }

    fn register(recorded: &RecordedEvent) -> Self {
        Self {
            organization_id: recorded.stream.organization_id,
            settings: OrganizationSettings::default(),
            stamp: Stamp::new(recorded),
            personal: SealedColumns::of(recorded),
        }
    }
}

closed_enum! {
    /// Whether somebody is on the staff.
    pub enum MemberStatus {
        /// On the staff.
        Active = "active",
        /// Left.
        Removed = "removed",
    }
}

/// A member of the staff. The personal part is a
/// [`StaffProfile`](carelog_domain::organization::StaffProfile).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The member.
    pub member_id: MemberId,
    /// Whether they are on the staff.
    pub status: MemberStatus,
    /// In which role.
    pub role: Role,
    /// When they left.
    pub removed_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed profile.
    pub personal: Option<SealedColumns>,
}

impl MemberRecord {
    /// Whoever left may come back.
    pub(super) fn add(row: Option<Self>, added: &OrganizationMemberAdded, recorded: &RecordedEvent) -> Self {
        let mut stamp = row.map_or_else(|| Stamp::new(recorded), |row| row.stamp);
        stamp.touch(recorded);
        Self {
            organization_id: recorded.stream.organization_id,
            member_id: added.member_id,
            status: MemberStatus::Active,
            role: added.role,
            removed_at: None,
            stamp,
            personal: SealedColumns::of(recorded),
        }
    }

    pub(super) fn remove(row: Option<Self>, recorded: &RecordedEvent) -> Result<Self, FoldError> {
        let mut row = existing(row, recorded)?;
        row.status = MemberStatus::Removed;
        row.removed_at = Some(recorded.occurred_at);
        row.stamp.touch(recorded);
        Ok(row)
    }
}

closed_enum! {
    /// Whether an integration is in use.
    pub enum IntegrationStatus {
        /// In use.
        Configured = "configured",
        /// No longer in use.
        Removed = "removed",
    }
}

/// An outside service of a clinic. The personal part holds its
/// [credentials](carelog_domain::organization::IntegrationCredentials), until it is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegrationRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// Which service.
    pub integration: IntegrationKind,
    /// Whether it is in use.
    pub status: IntegrationStatus,
    /// When it was removed.
    pub removed_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed credentials.
    pub personal: Option<SealedColumns>,
}

impl IntegrationRecord {
    pub(super) fn configure(
        row: Option<Self>,
        integration: IntegrationKind,
        recorded: &RecordedEvent,
    ) -> Self {
        let mut stamp = row.map_or_else(|| Stamp::new(recorded), |row| row.stamp);
        stamp.touch(recorded);
        Self {
            organization_id: recorded.stream.organization_id,
            integration,
            status: IntegrationStatus::Configured,
            removed_at: None,
            stamp,
            personal: SealedColumns::of(recorded),
        }
    }

    pub(super) fn remove(row: Option<Self>, recorded: &RecordedEvent) -> Result<Self, FoldError> {
        let mut row = existing(row, recorded)?;
        row.status = IntegrationStatus::Removed;
        row.removed_at = Some(recorded.occurred_at);
        row.personal = None;
        row.stamp.touch(recorded);
        Ok(row)
    }
}

/// An API key, `clk_<id>_<secret>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// The clinic that it is bound to.
    pub organization_id: OrganizationId,
    /// The public part.
    pub api_key_id: ApiKeyId,
    /// Of the secret part, which has 256 random bits.
    pub secret_sha256: Sha256Digest,
    /// In which role its holder acts.
    pub role: Role,
    /// What it opens, sorted.
    pub scopes: Vec<Scope>,
    /// The specialist who holds it.
    pub specialist_id: Option<SpecialistId>,
    /// The member of the staff who holds it.
    pub member_id: Option<MemberId>,
    /// The patient who holds it.
    pub patient_id: Option<PatientId>,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
}

impl ApiKeyRecord {
    pub(super) fn issue(
        row: Option<&Self>,
        issued: &OrganizationApiKeyIssued,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        absent(row, recorded)?;
        Ok(Self {
            organization_id: recorded.stream.organization_id,
            api_key_id: issued.api_key_id,
            secret_sha256: issued.secret_sha256,
            role: issued.role,
            scopes: issued.scopes.clone(),
            specialist_id: issued.specialist_id,
            member_id: issued.member_id,
            patient_id: issued.patient_id,
            expires_at: issued.expires_at,
            revoked_at: None,
            stamp: Stamp::new(recorded),
        })
    }

    pub(super) fn revoke(row: Option<Self>, recorded: &RecordedEvent) -> Result<Self, FoldError> {
        let mut row = existing(row, recorded)?;
        row.revoked_at = Some(recorded.occurred_at);
        row.stamp.touch(recorded);
        Ok(row)
    }
}
