//! What can be asked of a clinic, and how it refuses.

use serde::{Deserialize, Serialize};

use super::events::{IntegrationCredentials, IntegrationKind, OrganizationProfile, Scope, StaffProfile};
use crate::aggregate::rejections;
use crate::closed::Sha256Digest;
use crate::ids::{ApiKeyId, MemberId, PatientId, SpecialistId};
use crate::{Role, Timestamp};

/// A wish about a clinic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrganizationCommand {
    /// Let the clinic join.
    Register {
        /// How it names itself.
        profile: OrganizationProfile,
    },
    /// Change the settings.
    ChangeSettings {
        /// All settings.
        settings: OrganizationSettings,
        /// A new profile, if that changes too.
        profile: Option<OrganizationProfile>,
    },
    /// Give an integration its settings and credentials.
    ConfigureIntegration {
        /// Which one.
        integration: IntegrationKind,
        /// All of its settings.
        credentials: IntegrationCredentials,
        /// Whether what is still open under the earlier ones is given up.
        abandon_open: bool,
    },
    /// Take an integration away.
    RemoveIntegration {
        /// Which one.
        integration: IntegrationKind,
        /// Whether what is still open there is given up.
        abandon_open: bool,
    },
    /// Let somebody join the staff.
    AddMember {
        /// The new member.
        member_id: MemberId,
        /// In which role.
        role: Role,
        /// Who it is.
        profile: StaffProfile,
    },
    /// Let somebody leave the staff; their keys are revoked.
    RemoveMember {
        /// The member.
        member_id: MemberId,
    },
    /// Issue an API key.
    IssueApiKey(IssueApiKey),
    /// Revoke every API key of a specialist who has left; nothing happens where there is none.
    RevokeKeysOfSpecialist {
        /// The specialist.
        specialist_id: SpecialistId,
    },
    /// Tell that an epoch of pseudonyms began.
    RecordPseudonymEpoch {
        /// Which.
        epoch: u32,
    },
    /// Tell that the key of former pseudonyms is gone.
    RecordPseudonymKeyDestroyed {
        /// Of which epoch.
        epoch: u32,
    },
    /// Revoke an API key.
    RevokeApiKey {
        /// The key.
        api_key_id: ApiKeyId,
    },
}

/// What a clinic can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationSettings {
    /// Whether consultations may be recorded at all.
    pub recording_enabled: bool,
    /// Analytics suppress groups of fewer patients than this.
    pub small_cell_threshold: u16,
    /// How long before an appointment its room opens.
    pub waiting_room_minutes: u16,
}

impl Default for OrganizationSettings {
    /// In force until the first change. Groups of 1 to 10 are suppressed, as CMS does.
    fn default() -> Self {
        Self { recording_enabled: false, small_cell_threshold: 11, waiting_room_minutes: 15 }
    }
}

/// An API key to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueApiKey {
    /// The public part of the key.
    pub api_key_id: ApiKeyId,
    /// In which role its holder acts.
    pub role: Role,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// The specialist who holds it; for the role specialist only.
    pub specialist_id: Option<SpecialistId>,
    /// The member of the staff who holds it.
    pub member_id: Option<MemberId>,
    /// The patient who holds it; for the role patient, where it is required.
    pub patient_id: Option<PatientId>,
    /// Of the secret part.
    pub secret_sha256: Sha256Digest,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// When this is asked.
    pub now: Timestamp,
}

rejections! {
    /// Why a clinic refuses a command.
    pub enum OrganizationRejection {
        NotRegistered = NotFound "not_registered", "there is no such organization";
        AlreadyRegistered = Conflict "already_registered", "the organization is already registered";
        NothingChanged = Conflict "nothing_changed", "the settings are already as asked";
        SmallCellThresholdTooLow { given: u16, minimum: u16 } = Invalid "small_cell_threshold_too_low",
            "a small-cell threshold of {given} is below the minimum of {minimum}";
        IntegrationNotConfigured { integration: IntegrationKind } = NotFound "integration_not_configured",
            "the integration {integration} is not configured";
        MemberAlreadyAdded { member_id: MemberId } = Conflict "member_already_added",
            "member {member_id} was already added";
        MemberUnknown { member_id: MemberId } = NotFound "member_unknown", "there is no member {member_id}";
        MemberRoleNotAllowed { role: Role } = Invalid "member_role_not_allowed",
            "a member of the staff cannot have the role {role}";
        ApiKeyAlreadyIssued { api_key_id: ApiKeyId } = Conflict "api_key_already_issued",
            "API key {api_key_id} was already issued";
        ApiKeyUnknown { api_key_id: ApiKeyId } = NotFound "api_key_unknown", "there is no API key {api_key_id}";
        ApiKeyAlreadyRevoked { api_key_id: ApiKeyId } = Conflict "api_key_already_revoked",
            "API key {api_key_id} is already revoked";
        EpochAlreadyRecorded { epoch: u32 } = Conflict "epoch_already_recorded",
            "the log knows already of the pseudonyms' epoch {epoch}";
        EpochUnknown { epoch: u32 } = Invalid "epoch_unknown",
            "{epoch} is no former epoch of pseudonyms that the log knows of, nor the next one";
        PseudonymKeyAlreadyDestroyed { epoch: u32 } = Conflict "pseudonym_key_already_destroyed",
            "the log knows already that the key of the pseudonyms' epoch {epoch} is destroyed";
        KeyRoleNotAllowed { role: Role } = Invalid "key_role_not_allowed",
            "an API key cannot have the role {role}";
        PatientKeyWithoutPatient { api_key_id: ApiKeyId } = Invalid "patient_key_without_patient",
            "API key {api_key_id} for the role patient names no patient";
        HolderMismatch { api_key_id: ApiKeyId, role: Role } = Invalid "holder_mismatch",
            "API key {api_key_id} names a holder who does not fit the role {role}";
        NoScopes { api_key_id: ApiKeyId } = Invalid "no_scopes", "API key {api_key_id} would open nothing";
        ExpiresInPast { expires_at: Timestamp, now: Timestamp } = Invalid "expires_in_past",
            "the key would expire at {expires_at}, and it is {now}";
    }
}
