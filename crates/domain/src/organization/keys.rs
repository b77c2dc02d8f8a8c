//! Issuing and revoking API keys.

use serde::{Deserialize, Serialize};

use super::{
    Decision, IssueApiKey, OrganizationApiKeyIssued, OrganizationApiKeyRevoked, OrganizationEvent,
    OrganizationRejection, Registration,
};
use crate::Role;
use crate::ids::{ApiKeyId, MemberId, SpecialistId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldKey {
    pub(super) member_id: Option<MemberId>,
    pub(super) specialist_id: Option<SpecialistId>,
    pub(super) is_revoked: bool,
}

impl Registration {
    pub(super) fn issue_key(&self, mut issue: IssueApiKey) -> Decision {
        check_holder(&issue)?;
        if self.keys.contains_key(&issue.api_key_id) {
            return Err(OrganizationRejection::ApiKeyAlreadyIssued { api_key_id: issue.api_key_id });
        }
        if let Some(member_id) = issue.member_id.filter(|member_id| !self.members.contains(member_id)) {
            return Err(OrganizationRejection::MemberUnknown { member_id });
        }
        if let Some(expires_at) = issue.expires_at.filter(|expires_at| *expires_at <= issue.now) {
            return Err(OrganizationRejection::ExpiresInPast { expires_at, now: issue.now });
        }
        issue.scopes.sort_unstable();
        issue.scopes.dedup();
        if issue.scopes.is_empty() {
            return Err(OrganizationRejection::NoScopes { api_key_id: issue.api_key_id });
        }
        Ok(OrganizationEvent::ApiKeyIssued(OrganizationApiKeyIssued {
            api_key_id: issue.api_key_id,
            role: issue.role,
            scopes: issue.scopes,
            specialist_id: issue.specialist_id,
            member_id: issue.member_id,
            patient_id: issue.patient_id,
            secret_sha256: issue.secret_sha256,
            expires_at: issue.expires_at,
        }))
    }

    /// Revokes the live keys that `is_theirs` names.
    pub(super) fn revoke_keys(&self, is_theirs: impl Fn(&HeldKey) -> bool) -> Vec<OrganizationEvent> {
        let live = self.keys.iter().filter(|(_, key)| !key.is_revoked && is_theirs(key));
        live.map(|(&api_key_id, _)| {
            OrganizationEvent::ApiKeyRevoked(OrganizationApiKeyRevoked { api_key_id })
        })
        .collect()
    }

    pub(super) fn revoke_key(&self, api_key_id: ApiKeyId) -> Decision {
        match self.keys.get(&api_key_id) {
            None => Err(OrganizationRejection::ApiKeyUnknown { api_key_id }),
            Some(key) if key.is_revoked => Err(OrganizationRejection::ApiKeyAlreadyRevoked { api_key_id }),
            Some(_) => Ok(OrganizationEvent::ApiKeyRevoked(OrganizationApiKeyRevoked { api_key_id })),
        }
    }
}

/// A patient's key is bound to that patient and nobody else; a specialist's may be bound to the specialist.
fn check_holder(issue: &IssueApiKey) -> Result<(), OrganizationRejection> {
    let (role, api_key_id) = (issue.role, issue.api_key_id);
    let mismatch = OrganizationRejection::HolderMismatch { api_key_id, role };
    let (is_patients, is_specialists) = (issue.patient_id.is_some(), issue.specialist_id.is_some());
    match role {
        Role::System => Err(OrganizationRejection::KeyRoleNotAllowed { role }),
        Role::Patient if !is_patients => Err(OrganizationRejection::PatientKeyWithoutPatient { api_key_id }),
        Role::Patient if is_specialists || issue.member_id.is_some() => Err(mismatch),
        Role::Specialist if is_patients => Err(mismatch),
        Role::Admin | Role::Compliance | Role::Partner | Role::Analyst if is_patients || is_specialists => {
            Err(mismatch)
        }
        Role::Patient | Role::Specialist | Role::Admin | Role::Compliance | Role::Partner | Role::Analyst => {
            Ok(())
        }
    }
}
