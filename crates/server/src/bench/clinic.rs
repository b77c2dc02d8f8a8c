//! A clinic of its own, with a key for the API.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::organization::{
    IssueApiKey, Organization, OrganizationCommand, OrganizationProfile, Scope as KeyScope,
};
use carelog_domain::{Actor, ApiKeyId, Circumstances, CorrelationId, OrganizationId, Role};
use carelog_event_log::{Clock, EventLog, Expected, Scope, SystemClock, new_id};
use sha2::{Digest, Sha256};

/// A clinic that has just been registered.
#[derive(Clone, Debug)]
pub(super) struct NewClinic {
    pub(super) organization_id: OrganizationId,
    /// `clk_…`, of an administrator, with one scope.
    pub(super) api_key: String,
}

/// Registers a clinic, and issues its key.
pub(super) async fn register(log: &EventLog, key_scope: KeyScope) -> anyhow::Result<NewClinic> {
    let organization_id = OrganizationId::new(new_id());
    let profile = OrganizationProfile { name: "Clinic".to_owned(), time_zone: "Europe/Berlin".to_owned() };
    let register = OrganizationCommand::Register { profile };
    let new = scope(organization_id, Expected::New);
    log.execute::<Organization>(&new, organization_id.uuid(), register).await?;
    let (issue, api_key) = issue(key_scope)?;
    let any = scope(organization_id, Expected::Any);
    log.execute::<Organization>(&any, organization_id.uuid(), issue).await?;
    Ok(NewClinic { organization_id, api_key })
}

/// What the operator does for a clinic.
pub(super) fn scope(organization_id: OrganizationId, expected: Expected) -> Scope {
    Scope { expected, ..Scope::new(organization_id, circumstances()) }
}

/// A wish of the operator's.
pub(super) fn circumstances() -> Circumstances {
    Circumstances::of(Actor::OPERATOR, CorrelationId::new(new_id()))
}

fn issue(key_scope: KeyScope) -> anyhow::Result<(OrganizationCommand, String)> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).context("no randomness")?;
    let id = new_id();
    let issue = IssueApiKey {
        api_key_id: ApiKeyId::new(id),
        role: Role::Admin,
        scopes: vec![key_scope],
        specialist_id: None,
        member_id: None,
        patient_id: None,
        secret_sha256: Sha256Digest::new(Sha256::digest(secret).into()),
        expires_at: None,
        now: SystemClock.now(),
    };
    let api_key = format!("clk_{}_{}", id.simple(), URL_SAFE_NO_PAD.encode(secret));
    Ok((OrganizationCommand::IssueApiKey(issue), api_key))
}
