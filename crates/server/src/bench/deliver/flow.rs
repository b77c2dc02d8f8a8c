//! HTTP commands while everything runs: in a closed loop, and at a fixed rate.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use carelog_domain::EventId;
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_webhooks::delivery_id;
use reqwest::Client;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::partner::{Clinic, Partner};
use super::receiver::Receipts;
use crate::bench::timings::Timings;
use crate::serve::Server;
use crate::system::System;

/// Appointments with the moment at which their booking was sent, in microseconds since 1970.
pub(super) type Given = HashMap<Uuid, i64>;

/// Commands before the clock starts: connections are opened, plans are made.
const WARM_UP: usize = 64;

/// Clients of the API, kept-alive connections to it included.
#[derive(Clone, Debug)]
pub(super) struct HttpClients {
    client: Client,
    url: Arc<str>,
    partner: Partner,
}

impl HttpClients {
    pub(super) fn new(server: &Server, partner: &Partner) -> anyhow::Result<Self> {
        let address = server.address.context("the server has the role api")?;
        let client = Client::builder().no_proxy().tcp_nodelay(true).pool_max_idle_per_host(1_024).build()?;
        let url = format!("http://{address}/v1/appointments");
        Ok(Self { client, url: url.into(), partner: partner.clone() })
    }

    /// A few commands that nobody counts.
    pub(super) async fn warm_up(&self) -> anyhow::Result<()> {
        let booking = (0..WARM_UP).map(|n| self.book(n, new_id()));
        futures::future::try_join_all(booking).await?;
        Ok(())
    }

    /// Clients that book, each as soon as its last command is answered.
    pub(super) async fn closed_loop(&self, clients: usize, duration: Duration) -> anyhow::Result<Timings> {
        let until = Instant::now() + duration;
        let mut all = JoinSet::new();
        for client in 0..clients {
            let clients = self.clone();
            all.spawn(async move {
                let mut timings = Timings::default();
                for n in client.. {
                    let began = Instant::now();
                    if began >= until {
                        break;
                    }
                    clients.book(n, new_id()).await?;
                    timings.record(began.elapsed());
                }
                anyhow::Ok(timings)
            });
        }
        let mut timings = Timings::default();
        while let Some(client) = all.join_next().await {
            timings.merge(&client??);
        }
        Ok(timings)
    }

    /// Bookings at a fixed rate, whether earlier ones are answered or not.
    pub(super) async fn at_rate(&self, per_second: u32, duration: Duration) -> anyhow::Result<Given> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let count = usize::try_from(duration.as_millis() * u128::from(per_second) / 1000)?;
        let mut given = Given::with_capacity(count);
        let mut all = JoinSet::new();
        for n in 0..count {
            ticks.tick().await;
            let appointment_id = new_id();
            given.insert(appointment_id, SystemClock.now().unix_micros());
            let clients = self.clone();
            all.spawn(async move { clients.book(n, appointment_id).await });
        }
        while let Some(booked) = all.join_next().await {
            booked??;
        }
        Ok(given)
    }

    async fn book(&self, n: usize, appointment_id: Uuid) -> anyhow::Result<()> {
        let Clinic { patient_id, api_key, .. } = self.partner.clinic(n);
        let starts_at = SystemClock.now().saturating_add_micros(86_400_000_000);
        let body = json!({
            "id": appointment_id, "patient_id": patient_id, "mode": "video", "starts_at": starts_at,
            "ends_at": starts_at.saturating_add_micros(1_800_000_000),
        });
        let response = self.client.post(&*self.url).bearer_auth(api_key).json(&body).send().await?;
        let status = response.status();
        let answer = response.text().await?;
        ensure!(status.is_success(), "a booking was answered {status}: {answer}");
        Ok(())
    }
}

/// From each command to its receipt. The ids of deliveries follow from the events, which are read back.
pub(super) async fn end_to_end(
    system: &System,
    partner: &Partner,
    given: &Given,
    receipts: &Receipts,
) -> anyhow::Result<Timings> {
    let streams: Vec<Uuid> = given.keys().copied().collect();
    let events = sqlx::query!(
        "
        select organization_id, stream_id, event_id
        from log.events
        where stream_id = any($1)
        ",
        &streams
    )
    .fetch_all(&system.databases.core_owner)
    .await?;
    let subscriptions: HashMap<Uuid, _> = partner
        .clinics
        .iter()
        .map(|clinic| (clinic.organization_id.uuid(), clinic.subscription_id))
        .collect();
    let mut timings = Timings::default();
    for event in events {
        let receipt = subscriptions
            .get(&event.organization_id)
            .map(|subscription| delivery_id(EventId::new(event.event_id), *subscription).uuid())
            .and_then(|delivery| receipts.get(&delivery));
        if let (Some(given), Some(received)) = (given.get(&event.stream_id), receipt) {
            timings.record(Duration::from_micros((received - given).unsigned_abs()));
        }
    }
    Ok(timings)
}
