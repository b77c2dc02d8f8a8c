//! Makes the clinics known to the log.
//!
//! In the process and not by HTTP, because a first start is short of time: the streams of a clinic are begun
//! together, and their events share commits. Subscriptions come before whatever they are to hear of.

use anyhow::Context;
use carelog_domain::organization::{
    IssueApiKey, Organization, OrganizationCommand, OrganizationProfile, StaffProfile,
};
use carelog_domain::patient::{Patient, PatientCommand, PatientDetails};
use carelog_domain::specialist::{Profession, Specialist, SpecialistCommand};
use carelog_domain::webhook_subscription::{
    CreateSubscription, EventFilter, SubscriptionChange, SubscriptionSecrets, WebhookSubscription,
    WebhookSubscriptionCommand,
};
use carelog_domain::{
    Actor, ApiKeyId, Circumstances, CorrelationId, PatientId, Rejection, RejectionKind, Role, SpecialistId,
    StreamEvent,
};
use carelog_embedded::receiver::Receiver;
use carelog_event_log::{EventLog, ExecuteError, Expected, Scope, new_id};
use cqrs_es::Aggregate;
use futures::future::try_join_all;
use uuid::Uuid;

use super::clinics::{Clinic, Hook, Key, Person};

/// Registers a clinic with its subscriptions, people and keys; does again only what is missing.
///
/// # Errors
/// When the log or the vault fails.
pub(super) async fn set_up(
    log: &EventLog,
    clinic: &Clinic,
    number: usize,
    receiver: &Receiver,
) -> anyhow::Result<()> {
    let profile = OrganizationProfile { name: clinic.name.clone(), time_zone: "Europe/Berlin".to_owned() };
    let register = OrganizationCommand::Register { profile };
    let organization_id = clinic.organization_id.uuid();
    tell::<Organization>(log, clinic, organization_id, Expected::New, register).await?;
    let subscribing = clinic.hooks.iter().map(|hook| subscribe(log, clinic, hook, receiver.url(&hook.name)));
    try_join_all(subscribing).await?;
    let first = number * 20;
    let specialists =
        clinic.specialists.iter().zip(first..).map(|(id, person)| add_specialist(log, clinic, *id, person));
    let patients = clinic
        .patients
        .iter()
        .zip(first + 5..)
        .map(|(id, person)| register_patient(log, clinic, *id, person));
    tokio::try_join!(try_join_all(specialists), try_join_all(patients), issue_keys(log, clinic))?;
    Ok(())
}

/// Tells every subscription that the receiver has moved.
///
/// # Errors
/// When the log or the vault fails.
pub(super) async fn follow_receiver(
    log: &EventLog,
    clinics: &[Clinic],
    receiver: &Receiver,
) -> anyhow::Result<()> {
    let hooks = clinics.iter().flat_map(|clinic| clinic.hooks.iter().map(move |hook| (clinic, hook)));
    try_join_all(hooks.map(async |(clinic, hook)| {
        let change =
            SubscriptionChange { url: Some(receiver.url(&hook.name)), description: None, headers: None };
        let change =
            WebhookSubscriptionCommand::Change { filter: None, per_tick_limit: None, change: Some(change) };
        tell::<WebhookSubscription>(log, clinic, hook.subscription_id, Expected::Any, change).await
    }))
    .await?;
    Ok(())
}

async fn subscribe(log: &EventLog, clinic: &Clinic, hook: &Hook, url: String) -> anyhow::Result<()> {
    let secrets = SubscriptionSecrets {
        url,
        description: Some(format!("The demo's receiver {}", hook.name)),
        secret: hook.secret.clone(),
        headers: std::collections::BTreeMap::new(),
    };
    let create = WebhookSubscriptionCommand::Create(CreateSubscription {
        partner_id: None,
        filter: EventFilter::all(),
        format: hook.format,
        per_tick_limit: None,
        secrets,
    });
    tell::<WebhookSubscription>(log, clinic, hook.subscription_id, Expected::New, create).await
}

async fn add_specialist(log: &EventLog, clinic: &Clinic, id: Uuid, number: usize) -> anyhow::Result<()> {
    let Person { name, email, .. } = Person::number(number);
    let add = SpecialistCommand::Add {
        profession: Profession::Physiotherapist,
        profile: StaffProfile { name, email },
    };
    tell::<Specialist>(log, clinic, id, Expected::New, add).await
}

async fn register_patient(log: &EventLog, clinic: &Clinic, id: Uuid, number: usize) -> anyhow::Result<()> {
    let person = Person::number(number);
    let details = PatientDetails {
        name: Some(person.name),
        email: Some(person.email),
        phone: Some(person.phone),
        birth_date: None,
        external_reference: None,
    };
    let register = PatientCommand::Register { birth_year: Some(person.birth_year), details: Some(details) };
    tell::<Patient>(log, clinic, id, Expected::New, register).await
}

/// One after the other, because all of them are events of the clinic's own stream.
async fn issue_keys(log: &EventLog, clinic: &Clinic) -> anyhow::Result<()> {
    for key in &clinic.keys {
        let command = OrganizationCommand::IssueApiKey(issue(log, clinic, key)?);
        tell::<Organization>(log, clinic, clinic.organization_id.uuid(), Expected::Any, command).await?;
    }
    Ok(())
}

fn issue(log: &EventLog, clinic: &Clinic, key: &Key) -> anyhow::Result<IssueApiKey> {
    let holder = |role: Role, of: &[Uuid]| of.first().copied().filter(|_| key.role == role);
    Ok(IssueApiKey {
        api_key_id: ApiKeyId::new(key.id),
        role: key.role,
        scopes: key.scopes(),
        specialist_id: holder(Role::Specialist, &clinic.specialists).map(SpecialistId::new),
        member_id: None,
        patient_id: holder(Role::Patient, &clinic.patients).map(PatientId::new),
        secret_sha256: key.digest()?,
        expires_at: None,
        now: log.clock().now(),
    })
}

/// Executes a command as the operator. A conflict means that an earlier start came this far.
async fn tell<A>(
    log: &EventLog,
    clinic: &Clinic,
    stream_id: Uuid,
    expected: Expected,
    command: A::Command,
) -> anyhow::Result<()>
where
    A: Aggregate<Services = ()> + 'static,
    A::Event: StreamEvent,
    A::Command: Clone,
    A::Error: Rejection,
{
    let circumstances = Circumstances::of(Actor::OPERATOR, CorrelationId::new(new_id()));
    let scope = Scope { expected, ..Scope::new(clinic.organization_id, circumstances) };
    match log.execute::<A>(&scope, stream_id, command).await {
        Ok(_) => Ok(()),
        Err(ExecuteError::Rejected(rejection)) if rejection.kind() == RejectionKind::Conflict => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be set up", clinic.name)),
    }
}
