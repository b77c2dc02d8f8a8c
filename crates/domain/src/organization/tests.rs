//! Every command and every rejection of a clinic.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::closed::Sha256Digest;
use crate::examples::{at, credentials, organization_profile, staff_profile};
use crate::ids::{PatientId, SpecialistId};

const MEMBER: MemberId = MemberId::new(Uuid::from_u128(1));
const KEY: ApiKeyId = ApiKeyId::new(Uuid::from_u128(2));
const PATIENT: PatientId = PatientId::new(Uuid::from_u128(3));
const SPECIALIST: SpecialistId = SpecialistId::new(Uuid::from_u128(4));
const SETTINGS: OrganizationSettings =
    OrganizationSettings { recording_enabled: true, small_cell_threshold: 11, waiting_room_minutes: 10 };
const REMOVE_DAILY: OrganizationCommand =
    OrganizationCommand::RemoveIntegration { integration: IntegrationKind::Daily, abandon_open: false };
const REMOVE_MEMBER: OrganizationCommand = OrganizationCommand::RemoveMember { member_id: MEMBER };
const REVOKE: OrganizationCommand = OrganizationCommand::RevokeApiKey { api_key_id: KEY };

fn given(events: impl Into<Vec<OrganizationEvent>>) -> AggregateTestExecutor<Organization> {
    TestFramework::with(()).given(events.into())
}

fn register() -> OrganizationCommand {
    OrganizationCommand::Register { profile: organization_profile() }
}

fn change_settings() -> OrganizationCommand {
    OrganizationCommand::ChangeSettings { settings: SETTINGS, profile: None }
}

fn configure_daily() -> OrganizationCommand {
    let integration = IntegrationKind::Daily;
    OrganizationCommand::ConfigureIntegration { integration, credentials: credentials(), abandon_open: false }
}

fn add_member(role: Role) -> OrganizationCommand {
    OrganizationCommand::AddMember { member_id: MEMBER, role, profile: staff_profile() }
}

/// A key for an analyst, whom no rule mentions.
fn key() -> IssueApiKey {
    IssueApiKey {
        api_key_id: KEY,
        role: Role::Analyst,
        scopes: vec![Scope::Reads, Scope::Commands, Scope::Reads],
        specialist_id: None,
        member_id: None,
        patient_id: None,
        secret_sha256: Sha256Digest::new([5; 32]),
        expires_at: Some(at("2027-01-01T00:00:00Z")),
        now: at("2026-01-01T00:00:00Z"),
    }
}

fn issue(key: IssueApiKey) -> OrganizationCommand {
    OrganizationCommand::IssueApiKey(key)
}

fn issued(key: &IssueApiKey) -> OrganizationEvent {
    OrganizationEvent::ApiKeyIssued(OrganizationApiKeyIssued {
        api_key_id: key.api_key_id,
        role: key.role,
        scopes: vec![Scope::Commands, Scope::Reads],
        specialist_id: key.specialist_id,
        member_id: key.member_id,
        patient_id: key.patient_id,
        secret_sha256: key.secret_sha256,
        expires_at: key.expires_at,
    })
}

fn revoked() -> OrganizationEvent {
    OrganizationEvent::ApiKeyRevoked(OrganizationApiKeyRevoked { api_key_id: KEY })
}

fn registered() -> OrganizationEvent {
    let personal = Some(Personal::Open(organization_profile()));
    OrganizationEvent::Registered(OrganizationRegistered { personal })
}

fn settings_changed(profile: Option<OrganizationProfile>) -> OrganizationEvent {
    OrganizationEvent::SettingsChanged(OrganizationSettingsChanged {
        recording_enabled: SETTINGS.recording_enabled,
        small_cell_threshold: SETTINGS.small_cell_threshold,
        waiting_room_minutes: SETTINGS.waiting_room_minutes,
        personal: profile.map(Personal::Open),
    })
}

fn daily_configured() -> OrganizationEvent {
    OrganizationEvent::IntegrationConfigured(OrganizationIntegrationConfigured {
        integration: IntegrationKind::Daily,
        abandoned_open: false,
        personal: Some(Personal::Open(credentials())),
    })
}

fn daily_removed() -> OrganizationEvent {
    let integration = IntegrationKind::Daily;
    OrganizationEvent::IntegrationRemoved(OrganizationIntegrationRemoved {
        integration,
        abandoned_open: false,
    })
}

fn member_added() -> OrganizationEvent {
    let personal = Some(Personal::Open(staff_profile()));
    let added = OrganizationMemberAdded { member_id: MEMBER, role: Role::Admin, personal };
    OrganizationEvent::MemberAdded(added)
}

fn member_removed() -> OrganizationEvent {
    OrganizationEvent::MemberRemoved(OrganizationMemberRemoved { member_id: MEMBER })
}

#[test]
fn given_nothing_when_registered_then_registered() {
    given([]).when(register()).then_expect_events(vec![registered()]);
}

#[test]
fn given_nothing_when_anything_else_then_not_registered() {
    let commands = [
        change_settings(),
        configure_daily(),
        REMOVE_DAILY,
        add_member(Role::Admin),
        REMOVE_MEMBER,
        issue(key()),
        REVOKE,
    ];
    for command in commands {
        given([]).when(command).then_expect_error(OrganizationRejection::NotRegistered);
    }
}

#[test]
fn given_registered_when_registered_again_then_already_registered() {
    given([registered()]).when(register()).then_expect_error(OrganizationRejection::AlreadyRegistered);
}

#[test]
fn given_registered_when_settings_change_then_settings_changed() {
    given([registered()]).when(change_settings()).then_expect_events(vec![settings_changed(None)]);
}

#[test]
fn given_same_settings_when_profile_changes_then_settings_changed() {
    let profile = Some(organization_profile());

    given([registered(), settings_changed(None)])
        .when(OrganizationCommand::ChangeSettings { settings: SETTINGS, profile: profile.clone() })
        .then_expect_events(vec![settings_changed(profile)]);
}

#[test]
fn given_same_settings_when_settings_change_then_nothing_changed() {
    given([registered(), settings_changed(None)])
        .when(change_settings())
        .then_expect_error(OrganizationRejection::NothingChanged);
}

#[test]
fn given_registered_when_threshold_too_low_then_small_cell_threshold_too_low() {
    let settings = OrganizationSettings { small_cell_threshold: 4, ..SETTINGS };
    let (given_threshold, minimum) = (4, MIN_SMALL_CELL_THRESHOLD);

    given([registered()])
        .when(OrganizationCommand::ChangeSettings { settings, profile: None })
        .then_expect_error(OrganizationRejection::SmallCellThresholdTooLow {
            given: given_threshold,
            minimum,
        });
}

#[test]
fn given_registered_or_configured_when_integration_configured_then_integration_configured() {
    for events in [vec![registered()], vec![registered(), daily_configured()]] {
        given(events).when(configure_daily()).then_expect_events(vec![daily_configured()]);
    }
}

#[test]
fn given_configured_when_integration_removed_then_integration_removed() {
    given([registered(), daily_configured()]).when(REMOVE_DAILY).then_expect_events(vec![daily_removed()]);
}

#[test]
fn given_not_configured_when_integration_removed_then_integration_not_configured() {
    let integration = IntegrationKind::Daily;
    for events in [vec![registered()], vec![registered(), daily_configured(), daily_removed()]] {
        given(events)
            .when(REMOVE_DAILY)
            .then_expect_error(OrganizationRejection::IntegrationNotConfigured { integration });
    }
}

#[test]
fn given_registered_when_member_added_then_member_added() {
    given([registered()]).when(add_member(Role::Admin)).then_expect_events(vec![member_added()]);
}

#[test]
fn given_member_when_added_again_then_member_already_added() {
    given([registered(), member_added()])
        .when(add_member(Role::Admin))
        .then_expect_error(OrganizationRejection::MemberAlreadyAdded { member_id: MEMBER });
}

#[test]
fn given_registered_when_member_would_be_patient_or_system_then_member_role_not_allowed() {
    for role in [Role::Patient, Role::System] {
        given([registered()])
            .when(add_member(role))
            .then_expect_error(OrganizationRejection::MemberRoleNotAllowed { role });
    }
}

#[test]
fn given_member_when_removed_then_member_removed() {
    given([registered(), member_added()]).when(REMOVE_MEMBER).then_expect_events(vec![member_removed()]);
}

#[test]
fn given_member_with_keys_when_removed_then_live_keys_are_revoked_too() {
    let members = IssueApiKey { member_id: Some(MEMBER), ..key() };
    let revoked_before = ApiKeyId::new(Uuid::from_u128(8));
    let others = IssueApiKey { api_key_id: ApiKeyId::new(Uuid::from_u128(9)), ..key() };
    let events = [
        registered(),
        member_added(),
        issued(&members),
        issued(&IssueApiKey { api_key_id: revoked_before, ..members }),
        OrganizationEvent::ApiKeyRevoked(OrganizationApiKeyRevoked { api_key_id: revoked_before }),
        issued(&others),
    ];

    given(events).when(REMOVE_MEMBER).then_expect_events(vec![member_removed(), revoked()]);
}

#[test]
fn given_keys_of_specialist_when_specialist_left_then_live_ones_are_revoked() {
    let theirs = IssueApiKey { role: Role::Specialist, specialist_id: Some(SPECIALIST), ..key() };
    let others = IssueApiKey { api_key_id: ApiKeyId::new(Uuid::from_u128(9)), ..key() };
    let leave = OrganizationCommand::RevokeKeysOfSpecialist { specialist_id: SPECIALIST };

    given([registered(), issued(&theirs), issued(&others)])
        .when(leave.clone())
        .then_expect_events(vec![revoked()]);
    given([registered(), issued(&theirs), revoked(), issued(&others)]).when(leave).then_expect_events(vec![]);
}

#[test]
fn given_no_member_when_removed_then_member_unknown() {
    for events in [vec![registered()], vec![registered(), member_added(), member_removed()]] {
        given(events)
            .when(REMOVE_MEMBER)
            .then_expect_error(OrganizationRejection::MemberUnknown { member_id: MEMBER });
    }
}

#[test]
fn given_registered_when_key_issued_then_issued_with_sorted_scopes() {
    given([registered()]).when(issue(key())).then_expect_events(vec![issued(&key())]);
}

#[test]
fn given_member_when_key_issued_to_member_then_issued() {
    let key = IssueApiKey { role: Role::Admin, member_id: Some(MEMBER), expires_at: None, ..key() };

    given([registered(), member_added()]).when(issue(key.clone())).then_expect_events(vec![issued(&key)]);
}

#[test]
fn given_registered_when_key_issued_to_specialist_or_patient_then_issued() {
    let specialists = IssueApiKey { role: Role::Specialist, specialist_id: Some(SPECIALIST), ..key() };
    let patients = IssueApiKey { role: Role::Patient, patient_id: Some(PATIENT), ..key() };
    for key in [specialists, patients] {
        given([registered()]).when(issue(key.clone())).then_expect_events(vec![issued(&key)]);
    }
}

#[test]
fn given_key_when_issued_again_then_api_key_already_issued() {
    for events in [vec![registered(), issued(&key())], vec![registered(), issued(&key()), revoked()]] {
        given(events)
            .when(issue(key()))
            .then_expect_error(OrganizationRejection::ApiKeyAlreadyIssued { api_key_id: KEY });
    }
}

#[test]
fn given_no_member_when_key_issued_to_member_then_member_unknown() {
    given([registered()])
        .when(issue(IssueApiKey { member_id: Some(MEMBER), ..key() }))
        .then_expect_error(OrganizationRejection::MemberUnknown { member_id: MEMBER });
}

#[test]
fn given_registered_when_key_issued_for_the_system_then_key_role_not_allowed() {
    given([registered()])
        .when(issue(IssueApiKey { role: Role::System, ..key() }))
        .then_expect_error(OrganizationRejection::KeyRoleNotAllowed { role: Role::System });
}

#[test]
fn given_registered_when_patient_key_names_no_patient_then_patient_key_without_patient() {
    given([registered()])
        .when(issue(IssueApiKey { role: Role::Patient, ..key() }))
        .then_expect_error(OrganizationRejection::PatientKeyWithoutPatient { api_key_id: KEY });
}

#[test]
fn given_registered_when_holder_does_not_fit_role_then_holder_mismatch() {
    let (patient_id, specialist_id) = (Some(PATIENT), Some(SPECIALIST));
    let keys = [
        IssueApiKey { role: Role::Admin, patient_id, ..key() },
        IssueApiKey { role: Role::Partner, specialist_id, ..key() },
        IssueApiKey { role: Role::Specialist, patient_id, ..key() },
        IssueApiKey { role: Role::Patient, patient_id, specialist_id, ..key() },
        IssueApiKey { role: Role::Patient, patient_id, member_id: Some(MEMBER), ..key() },
    ];
    for key in keys {
        let role = key.role;
        given([registered(), member_added()])
            .when(issue(key))
            .then_expect_error(OrganizationRejection::HolderMismatch { api_key_id: KEY, role });
    }
}

#[test]
fn given_registered_when_key_opens_nothing_then_no_scopes() {
    given([registered()])
        .when(issue(IssueApiKey { scopes: Vec::new(), ..key() }))
        .then_expect_error(OrganizationRejection::NoScopes { api_key_id: KEY });
}

#[test]
fn given_registered_when_key_expires_at_once_then_expires_in_past() {
    let now = at("2026-01-01T00:00:00Z");

    given([registered()])
        .when(issue(IssueApiKey { expires_at: Some(now), ..key() }))
        .then_expect_error(OrganizationRejection::ExpiresInPast { expires_at: now, now });
}

#[test]
fn given_key_when_revoked_then_revoked() {
    given([registered(), issued(&key())]).when(REVOKE).then_expect_events(vec![revoked()]);
}

#[test]
fn given_no_key_when_revoked_then_api_key_unknown() {
    given([registered()])
        .when(REVOKE)
        .then_expect_error(OrganizationRejection::ApiKeyUnknown { api_key_id: KEY });
}

#[test]
fn given_revoked_key_when_revoked_then_api_key_already_revoked() {
    given([registered(), issued(&key()), revoked()])
        .when(REVOKE)
        .then_expect_error(OrganizationRejection::ApiKeyAlreadyRevoked { api_key_id: KEY });
}
