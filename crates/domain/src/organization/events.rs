//! What can happen to a clinic.

use std::collections::BTreeMap;

use crate::closed::Sha256Digest;
use crate::ids::{ApiKeyId, MemberId, PatientId, SpecialistId};
use crate::personal::personal_structs;
use crate::{Role, Timestamp, closed_enum, events, facts};

closed_enum! {
    /// An outside service that an organization connects.
    pub enum IntegrationKind {
        /// Video rooms and recordings by Daily.
        Daily = "daily",
        /// The organization's own object storage.
        Storage = "storage",
        /// Where traces and metrics go.
        Telemetry = "telemetry",
    }
}

closed_enum! {
    /// What an API key opens.
    pub enum Scope {
        /// Sending commands.
        Commands = "commands",
        /// Reading current state.
        Reads = "reads",
        /// Managing webhook subscriptions and reading deliveries.
        Webhooks = "webhooks",
        /// Querying the audit trail.
        Trail = "trail",
        /// Reading the organization's events.
        Events = "events",
        /// Issuing and revoking keys.
        Keys = "keys",
    }
}

personal_structs! {
    /// How a clinic names itself.
    pub struct OrganizationProfile {
        /// The clinic's name.
        pub name: String,
        /// IANA time zone, `Europe/Berlin`.
        pub time_zone: String,
    }

    /// A member of the staff, specialists included.
    pub struct StaffProfile {
        /// Full name.
        pub name: String,
        /// E-mail address.
        pub email: String,
    }

    /// Settings and secrets of an integration.
    pub struct IntegrationCredentials {
        /// Value by the name of the setting.
        pub settings: BTreeMap<String, String>,
    }
}

facts! {
    /// A clinic joined.
    pub struct OrganizationRegistered {}
    personal Profile: OrganizationProfile;
}

facts! {
    /// The settings in force from now on.
    pub struct OrganizationSettingsChanged {
        /// Whether consultations may be recorded at all.
        pub recording_enabled: bool,
        /// Analytics suppress groups of fewer patients than this.
        pub small_cell_threshold: u16,
        /// How long before an appointment its room opens.
        pub waiting_room_minutes: u16,
    }
    personal Profile: OrganizationProfile;
}

facts! {
    /// An integration got its settings and credentials.
    pub struct OrganizationIntegrationConfigured {
        /// Which one.
        pub integration: IntegrationKind,
        /// Whether rooms that were open and recordings that were no files yet were given up with the account before.
        #[serde(default)]
        pub abandoned_open: bool,
    }
    personal Credential: IntegrationCredentials;
}

facts! {
    /// An integration was removed.
    pub struct OrganizationIntegrationRemoved {
        /// Which one.
        pub integration: IntegrationKind,
        /// Whether rooms that were open and recordings that were no files yet were given up with the account.
        #[serde(default)]
        pub abandoned_open: bool,
    }
}

facts! {
    /// Somebody joined the staff.
    pub struct OrganizationMemberAdded {
        /// Who.
        pub member_id: MemberId,
        /// In which role.
        pub role: Role,
    }
    personal Profile: StaffProfile;
}

facts! {
    /// Somebody left the staff.
    pub struct OrganizationMemberRemoved {
        /// Who.
        pub member_id: MemberId,
    }
}

facts! {
    /// An API key was issued.
    pub struct OrganizationApiKeyIssued {
        /// The public part of the key.
        pub api_key_id: ApiKeyId,
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
        /// Of the secret part, which has 256 random bits and is kept nowhere.
        pub secret_sha256: Sha256Digest,
        /// When it stops working by itself.
        pub expires_at: Option<Timestamp>,
    }
    subject patient_id;
}

facts! {
    /// An API key was revoked.
    pub struct OrganizationApiKeyRevoked {
        /// The public part of the key.
        pub api_key_id: ApiKeyId,
    }
}

facts! {
    /// A new key makes the pseudonyms of analytics from the next rebuild on.
    pub struct OrganizationPseudonymEpochBegun {
        /// Which epoch; the first one begins with the clinic and has no event.
        pub epoch: u32,
    }
}

facts! {
    /// The key of former pseudonyms was destroyed: nothing leads back from them to people.
    pub struct OrganizationPseudonymKeyDestroyed {
        /// Of which epoch.
        pub epoch: u32,
    }
}

events! {
    /// What can happen to a clinic.
    pub enum OrganizationEvent in Organization {
        /// A clinic joined.
        Registered(OrganizationRegistered) = OrganizationRegistered,
        /// Its settings changed.
        SettingsChanged(OrganizationSettingsChanged) = OrganizationSettingsChanged,
        /// An integration got its settings and credentials.
        IntegrationConfigured(OrganizationIntegrationConfigured) = OrganizationIntegrationConfigured,
        /// An integration was removed.
        IntegrationRemoved(OrganizationIntegrationRemoved) = OrganizationIntegrationRemoved,
        /// Somebody joined the staff.
        MemberAdded(OrganizationMemberAdded) = OrganizationMemberAdded,
        /// Somebody left the staff.
        MemberRemoved(OrganizationMemberRemoved) = OrganizationMemberRemoved,
        /// An API key was issued.
        ApiKeyIssued(OrganizationApiKeyIssued) = OrganizationApiKeyIssued,
        /// An API key was revoked.
        ApiKeyRevoked(OrganizationApiKeyRevoked) = OrganizationApiKeyRevoked,
        /// An epoch of pseudonyms began.
        PseudonymEpochBegun(OrganizationPseudonymEpochBegun) = OrganizationPseudonymEpochBegun,
        /// The key of an epoch of pseudonyms was destroyed.
        PseudonymKeyDestroyed(OrganizationPseudonymKeyDestroyed) = OrganizationPseudonymKeyDestroyed,
    }
}
