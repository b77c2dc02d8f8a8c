//! Clinics whose appointments a partner hears of.

use std::sync::Arc;

use anyhow::{Context, ensure};
use carelog_domain::appointment::{AppointmentBooked, AppointmentEvent, AppointmentMode, TimePrecision};
use carelog_domain::organization::Scope as KeyScope;
use carelog_domain::patient::{Patient, PatientCommand};
use carelog_domain::webhook_subscription::{
    CreateSubscription, EventFilter, SubscriptionSecrets, WebhookFormat, WebhookSubscription,
    WebhookSubscriptionCommand,
};
use carelog_domain::{EventId, OrganizationId, PatientId, StreamEvent, StreamKind, SubscriptionId};
use carelog_event_log::{
    AppendRequest, Clock, EventLog, Expected, NewEvent, Scope, StreamKey, SystemClock, Verdict, new_id,
};
use futures::StreamExt;

use super::receiver::Hello;
use crate::bench::clinic::{self, NewClinic};
use crate::system::System;

/// Appends at a time while a backlog is made.
const AT_A_TIME: usize = 256;

/// One clinic.
#[derive(Clone, Debug)]
pub(super) struct Clinic {
    pub(super) organization_id: OrganizationId,
    pub(super) subscription_id: SubscriptionId,
    pub(super) patient_id: PatientId,
    /// `clk_…`, for commands.
    pub(super) api_key: String,
}

/// All clinics.
#[derive(Clone, Debug)]
pub(super) struct Partner {
    pub(super) clinics: Arc<[Clinic]>,
}

impl Partner {
    pub(super) async fn subscribe(
        system: &System,
        hello: &Hello,
        organizations: usize,
    ) -> anyhow::Result<Self> {
        let mut clinics = Vec::with_capacity(organizations);
        for _ in 0..organizations.max(1) {
            clinics.push(open_clinic(&system.log, hello, 1).await?);
        }
        Ok(Self { clinics: clinics.into() })
    }

    /// One clinic with so many subscriptions.
    pub(super) async fn subscribe_often(
        system: &System,
        hello: &Hello,
        subscriptions: u64,
    ) -> anyhow::Result<Self> {
        let clinic = open_clinic(&system.log, hello, subscriptions).await?;
        Ok(Self { clinics: Arc::from([clinic]) })
    }

    /// The n-th clinic, in turn.
    pub(super) fn clinic(&self, n: usize) -> &Clinic {
        self.clinics.get(n % self.clinics.len()).expect("there is one, and the index is below the length")
    }

    /// Books appointments without asking the aggregate.
    pub(super) async fn append_announced(&self, log: &EventLog, count: u64) -> anyhow::Result<()> {
        let mut appending = futures::stream::iter(0..usize::try_from(count)?)
            .map(async |n| anyhow::Ok(log.append(booking(self.clinic(n))?).await?))
            .buffer_unordered(AT_A_TIME);
        while let Some(verdict) = appending.next().await {
            let verdict = verdict?;
            ensure!(matches!(verdict, Verdict::Accepted(_)), "a new stream was answered {verdict:?}");
        }
        Ok(())
    }
}

async fn open_clinic(log: &EventLog, hello: &Hello, subscriptions: u64) -> anyhow::Result<Clinic> {
    let NewClinic { organization_id, api_key } = clinic::register(log, KeyScope::Commands).await?;
    let patient_id = PatientId::new(new_id());
    let register = PatientCommand::Register { birth_year: Some(1964), details: None };
    let new = || clinic::scope(organization_id, Expected::New);
    log.execute::<Patient>(&new(), patient_id.uuid(), register).await?;
    let subscribing = (0..subscriptions).map(|_| subscribe(log, hello, new()));
    let made: Vec<anyhow::Result<SubscriptionId>> =
        futures::stream::iter(subscribing).buffer_unordered(AT_A_TIME).collect().await;
    let made: Vec<SubscriptionId> = made.into_iter().collect::<anyhow::Result<_>>()?;
    let subscription_id = *made.last().context("a clinic has a subscription")?;
    Ok(Clinic { organization_id, subscription_id, patient_id, api_key })
}

async fn subscribe(log: &EventLog, hello: &Hello, scope: Scope) -> anyhow::Result<SubscriptionId> {
    let subscription_id = SubscriptionId::new(new_id());
    let create = WebhookSubscriptionCommand::Create(CreateSubscription {
        partner_id: None,
        filter: EventFilter::parse(&["appointment.booked"])?,
        format: WebhookFormat::Standard,
        per_tick_limit: None,
        secrets: SubscriptionSecrets {
            url: hello.url.clone(),
            description: None,
            secret: hello.secret.clone(),
            headers: std::collections::BTreeMap::new(),
        },
    });
    log.execute::<WebhookSubscription>(&scope, subscription_id.uuid(), create).await?;
    Ok(subscription_id)
}

fn booking(clinic: &Clinic) -> anyhow::Result<AppendRequest> {
    let now = SystemClock.now();
    let booked = AppointmentEvent::Booked(AppointmentBooked {
        patient_id: clinic.patient_id,
        specialist_id: None,
        starts_at: now,
        ends_at: Some(now.saturating_add_micros(1_800_000_000)),
        starts_at_precision: TimePrecision::Minute,
        mode: AppointmentMode::Video,
        personal: None,
    });
    let encoded = booked.encode()?;
    let event = NewEvent {
        event_id: EventId::new(new_id()),
        event_type: encoded.event_type,
        occurred_at: now,
        subject: Some(clinic.patient_id),
        facts: Arc::from(encoded.facts),
        personal: None,
    };
    let organization_id = clinic.organization_id;
    Ok(AppendRequest {
        stream: StreamKey { organization_id, kind: StreamKind::Appointment, id: new_id() },
        expected_version: 0,
        premise: None,
        circumstances: clinic::circumstances(),
        network: None,
        idempotency: None,
        can_wait: false,
        events: vec![event],
    })
}
