//! A clinic: its settings, integrations, staff and API keys.
//!
//! Whoever leaves the staff loses their keys with the same decision. A revoked key stays known, so that its
//! id is never given out again.

mod commands;
mod events;
mod keys;
mod pseudonyms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;
use keys::HeldKey;
use pseudonyms::PseudonymEpochs;

use crate::aggregate::write_all;
use crate::ids::{ApiKeyId, MemberId};
use crate::{Personal, Role, StreamKind};

/// Groups smaller than this can be taken apart by comparing tables, whatever an administrator wishes.
pub const MIN_SMALL_CELL_THRESHOLD: u16 = 5;

/// What an organization needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    registration: Option<Registration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registration {
    settings: OrganizationSettings,
    integrations: BTreeSet<IntegrationKind>,
    members: BTreeSet<MemberId>,
    keys: BTreeMap<ApiKeyId, HeldKey>,
    pseudonyms: PseudonymEpochs,
}

impl Organization {
    /// The settings in force.
    pub fn settings(&self) -> Option<OrganizationSettings> {
        self.registration.as_ref().map(|registration| registration.settings)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(
        &self,
        command: OrganizationCommand,
    ) -> Result<Vec<OrganizationEvent>, OrganizationRejection> {
        match (&self.registration, command) {
            (None, OrganizationCommand::Register { profile }) => {
                let personal = Some(Personal::Open(profile));
                Ok(vec![OrganizationEvent::Registered(OrganizationRegistered { personal })])
            }
            (None, _) => Err(OrganizationRejection::NotRegistered),
            (Some(registration), command) => registration.decide(command),
        }
    }
}

type Decision = Result<OrganizationEvent, OrganizationRejection>;

impl Registration {
    fn decide(&self, command: OrganizationCommand) -> Result<Vec<OrganizationEvent>, OrganizationRejection> {
        let event = match command {
            OrganizationCommand::Register { .. } => Err(OrganizationRejection::AlreadyRegistered),
            OrganizationCommand::ChangeSettings { settings, profile } => {
                self.change_settings(settings, profile)
            }
            OrganizationCommand::ConfigureIntegration { integration, credentials, abandon_open } => {
                let personal = Some(Personal::Open(credentials));
                Ok(OrganizationEvent::IntegrationConfigured(OrganizationIntegrationConfigured {
                    integration,
                    abandoned_open: abandon_open,
                    personal,
                }))
            }
            OrganizationCommand::RemoveIntegration { integration, abandon_open } => {
                self.remove_integration(integration, abandon_open)
            }
            OrganizationCommand::AddMember { member_id, role, profile } => {
                self.add_member(member_id, role, profile)
            }
            OrganizationCommand::RemoveMember { member_id } => return self.remove_member(member_id),
            OrganizationCommand::IssueApiKey(issue) => self.issue_key(issue),
            OrganizationCommand::RevokeApiKey { api_key_id } => self.revoke_key(api_key_id),
            OrganizationCommand::RecordPseudonymEpoch { epoch } => return self.pseudonyms.begin(epoch),
            OrganizationCommand::RecordPseudonymKeyDestroyed { epoch } => self.pseudonyms.destroy(epoch),
            OrganizationCommand::RevokeKeysOfSpecialist { specialist_id } => {
                return Ok(self.revoke_keys(|key| key.specialist_id == Some(specialist_id)));
            }
        }?;
        Ok(vec![event])
    }

    fn change_settings(
        &self,
        settings: OrganizationSettings,
        profile: Option<OrganizationProfile>,
    ) -> Decision {
        if settings.small_cell_threshold < MIN_SMALL_CELL_THRESHOLD {
            return Err(OrganizationRejection::SmallCellThresholdTooLow {
                given: settings.small_cell_threshold,
                minimum: MIN_SMALL_CELL_THRESHOLD,
            });
        }
        if settings == self.settings && profile.is_none() {
            return Err(OrganizationRejection::NothingChanged);
        }
        Ok(OrganizationEvent::SettingsChanged(OrganizationSettingsChanged {
            recording_enabled: settings.recording_enabled,
            small_cell_threshold: settings.small_cell_threshold,
            waiting_room_minutes: settings.waiting_room_minutes,
            personal: profile.map(Personal::Open),
        }))
    }

    fn remove_integration(&self, integration: IntegrationKind, abandoned_open: bool) -> Decision {
        if !self.integrations.contains(&integration) {
            return Err(OrganizationRejection::IntegrationNotConfigured { integration });
        }
        let removed = OrganizationIntegrationRemoved { integration, abandoned_open };
        Ok(OrganizationEvent::IntegrationRemoved(removed))
    }

    fn add_member(&self, member_id: MemberId, role: Role, profile: StaffProfile) -> Decision {
        if matches!(role, Role::Patient | Role::System) {
            return Err(OrganizationRejection::MemberRoleNotAllowed { role });
        }
        if self.members.contains(&member_id) {
            return Err(OrganizationRejection::MemberAlreadyAdded { member_id });
        }
        let personal = Some(Personal::Open(profile));
        Ok(OrganizationEvent::MemberAdded(OrganizationMemberAdded { member_id, role, personal }))
    }

    fn remove_member(&self, member_id: MemberId) -> Result<Vec<OrganizationEvent>, OrganizationRejection> {
        if !self.members.contains(&member_id) {
            return Err(OrganizationRejection::MemberUnknown { member_id });
        }
        let removed = OrganizationEvent::MemberRemoved(OrganizationMemberRemoved { member_id });
        let revoked = self.revoke_keys(|key| key.member_id == Some(member_id));
        Ok(std::iter::once(removed).chain(revoked).collect())
    }
}

impl Aggregate for Organization {
    const TYPE: &'static str = StreamKind::Organization.as_str();
    type Command = OrganizationCommand;
    type Event = OrganizationEvent;
    type Error = OrganizationRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: OrganizationCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), OrganizationRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: OrganizationEvent) {
        let registration = self.registration.get_or_insert_default();
        match event {
            OrganizationEvent::Registered(_) => {}
            OrganizationEvent::SettingsChanged(changed) => {
                registration.settings = OrganizationSettings {
                    recording_enabled: changed.recording_enabled,
                    small_cell_threshold: changed.small_cell_threshold,
                    waiting_room_minutes: changed.waiting_room_minutes,
                };
            }
            OrganizationEvent::IntegrationConfigured(configured) => {
                registration.integrations.insert(configured.integration);
            }
            OrganizationEvent::IntegrationRemoved(removed) => {
                registration.integrations.remove(&removed.integration);
            }
            OrganizationEvent::MemberAdded(added) => {
                registration.members.insert(added.member_id);
            }
            OrganizationEvent::MemberRemoved(removed) => {
                registration.members.remove(&removed.member_id);
            }
            OrganizationEvent::ApiKeyIssued(issued) => {
                let key = HeldKey {
                    member_id: issued.member_id,
                    specialist_id: issued.specialist_id,
                    is_revoked: false,
                };
                registration.keys.insert(issued.api_key_id, key);
            }
            OrganizationEvent::PseudonymEpochBegun(begun) => registration.pseudonyms.apply_begun(&begun),
            OrganizationEvent::PseudonymKeyDestroyed(destroyed) => {
                registration.pseudonyms.apply_destroyed(&destroyed);
            }
            OrganizationEvent::ApiKeyRevoked(revoked) => {
                if let Some(key) = registration.keys.get_mut(&revoked.api_key_id) {
                    key.is_revoked = true;
                }
            }
        }
    }
}
