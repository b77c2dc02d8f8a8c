//! The product's side: subscriptions, events to announce, and the consumers that deliver them.

use std::sync::Arc;

use anyhow::{Context, ensure};
use carelog_domain::appointment::{AppointmentBooked, AppointmentEvent, AppointmentMode, TimePrecision};
use carelog_domain::webhook_subscription::{
    CreateSubscription, EventFilter, SubscriptionSecrets, WebhookFormat, WebhookSubscription,
    WebhookSubscriptionCommand,
};
use carelog_domain::{
    Actor, Circumstances, CorrelationId, EventId, OrganizationId, Origin, PatientId, SpecialistId, StreamEvent,
    StreamKind, SubscriptionId,
};
use carelog_event_log::runtime::Reactor;
use carelog_event_log::{
    AppendRequest, Clock, Expected, NewEvent, Scope, StreamKey, SystemClock, Verdict, new_id,
};
use carelog_webhooks::sending::{AddressPolicy, Sender, SenderOptions};
use carelog_webhooks::{Directory, IntendedDelivery, WebhooksProjector, WebhooksWorker, reactor_and_worker};
use futures::StreamExt;

use super::receiver::Hello;
use crate::system::System;

/// Appends at a time while a backlog is made.
const AT_A_TIME: usize = 256;

/// Organizations whose appointments a partner hears of.
#[derive(Clone, Debug)]
pub(super) struct Partner {
    pub(super) subscriptions: Arc<[(OrganizationId, SubscriptionId)]>,
}

impl Partner {
    pub(super) async fn subscribe(system: &System, hello: &Hello, organizations: usize) -> anyhow::Result<Self> {
        let mut subscriptions = Vec::with_capacity(organizations);
        for _ in 0..organizations.max(1) {
            let (organization_id, subscription_id) = (new_id(), new_id());
            let command = WebhookSubscriptionCommand::Create(CreateSubscription {
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
            let scope = scope(OrganizationId::new(organization_id));
            system.log.execute::<WebhookSubscription>(&scope, subscription_id, command).await?;
            subscriptions.push((OrganizationId::new(organization_id), SubscriptionId::new(subscription_id)));
        }
        Ok(Self { subscriptions: subscriptions.into() })
    }

    /// The n-th organization, in turn.
    pub(super) fn organization(&self, n: usize) -> OrganizationId {
        let (organization_id, _) =
            self.subscriptions.get(n % self.subscriptions.len()).expect("there is one, and the index is below");
        *organization_id
    }

    /// Books appointments without asking the aggregate.
    pub(super) async fn append_announced(&self, system: &System, count: u64) -> anyhow::Result<()> {
        let mut appending = futures::stream::iter(0..usize::try_from(count)?)
            .map(|n| async move { system.log.append(booking(self.organization(n))?).await.map_err(anyhow::Error::from) })
            .buffer_unordered(AT_A_TIME);
        while let Some(verdict) = appending.next().await {
            let verdict = verdict?;
            ensure!(matches!(verdict, Verdict::Accepted(_)), "a new stream was answered {verdict:?}");
        }
        Ok(())
    }
}

/// A command's scope for a stream that does not exist yet.
pub(super) fn scope(organization_id: OrganizationId) -> Scope {
    Scope {
        organization_id,
        circumstances: circumstances(),
        occurred_at: None,
        idempotency: None,
        network: None,
        expected: Expected::New,
    }
}

fn circumstances() -> Circumstances {
    Circumstances {
        actor: Actor::OPERATOR,
        purpose: None,
        correlation_id: CorrelationId::new(new_id()),
        causation_id: None,
        request_id: None,
        origin: Origin::Live,
    }
}

fn booking(organization_id: OrganizationId) -> anyhow::Result<AppendRequest> {
    let now = SystemClock.now();
    let patient_id = PatientId::new(new_id());
    let booked = AppointmentEvent::Booked(AppointmentBooked {
        patient_id,
        specialist_id: Some(SpecialistId::new(new_id())),
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
        subject: Some(patient_id),
        facts: Arc::from(encoded.facts),
        personal: None,
    };
    Ok(AppendRequest {
        stream: StreamKey { organization_id, kind: StreamKind::Appointment, id: new_id() },
        expected_version: 0,
        circumstances: circumstances(),
        network: None,
        idempotency: None,
        events: vec![event],
    })
}

/// Makes the reactor known, which begins at the present when it is new: from here on, nothing is left out.
pub(super) async fn register_consumers(system: &System, hello: &Hello) -> anyhow::Result<()> {
    let (reactor, _) = consumers(system, hello)?;
    let projector = Arc::new(WebhooksProjector);
    for lane in system.log.lanes() {
        let pool = system.databases.core_system.clone();
        system.runtime.unit(Arc::clone(&projector), Some(Arc::clone(&reactor)), pool, lane).run_to_head().await?;
    }
    Ok(())
}

/// Starts projector, reactor and worker.
pub(super) fn start_consumers(system: &System, hello: &Hello) -> anyhow::Result<()> {
    let (reactor, worker) = consumers(system, hello)?;
    system.runtime.start(&Arc::new(WebhooksProjector), Some(&reactor), &system.databases.core_system);
    system.runtime.tasks.spawn(worker.run());
    Ok(())
}

fn consumers(
    system: &System,
    hello: &Hello,
) -> anyhow::Result<(Arc<dyn Reactor<IntendedDelivery>>, WebhooksWorker)> {
    let pool = system.databases.core_system.clone();
    let policy = AddressPolicy::with_loopback();
    let directory = Directory::new(system.log.clone(), pool.clone(), policy.clone());
    let mut options = SenderOptions::new(policy);
    options.extra_root_pem = Some(hello.ca_pem.clone().into_bytes());
    let sender = Sender::new(options).context("no client for webhooks")?;
    let (reactor, worker) = reactor_and_worker(&system.runtime, pool, directory, sender);
    Ok((Arc::new(reactor), worker))
}
