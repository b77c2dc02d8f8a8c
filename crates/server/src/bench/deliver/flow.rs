//! Commands while the consumers run: in a closed loop, and at a fixed rate.

use std::collections::HashMap;
use std::time::Duration;

use carelog_domain::appointment::{Appointment, AppointmentCommand, AppointmentMode, BookAppointment, TimePrecision};
use carelog_domain::{EventId, PatientId, SpecialistId};
use carelog_event_log::{Clock, EventLog, SystemClock, new_id};
use carelog_webhooks::delivery_id;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::pipeline::{Partner, scope};
use super::receiver::Receipts;
use crate::bench::timings::Timings;
use crate::system::System;

/// Appointments with the moment at which their booking was asked for, in microseconds since 1970.
pub(super) type Given = HashMap<Uuid, i64>;

/// Clients that book, each as soon as its last command is answered.
pub(super) async fn closed_loop(
    log: &EventLog,
    partner: &Partner,
    clients: usize,
    duration: Duration,
) -> anyhow::Result<Timings> {
    let until = Instant::now() + duration;
    let mut all = JoinSet::new();
    for client in 0..clients {
        let (log, partner) = (log.clone(), partner.clone());
        all.spawn(async move {
            let mut timings = Timings::default();
            for n in client.. {
                let began = Instant::now();
                if began >= until {
                    break;
                }
                book(&log, &partner, n, new_id()).await?;
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
pub(super) async fn at_rate(
    log: &EventLog,
    partner: &Partner,
    per_second: u32,
    duration: Duration,
) -> anyhow::Result<Given> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let count = (duration.as_secs_f64() * f64::from(per_second)) as usize;
    let mut given = Given::with_capacity(count);
    let mut all = JoinSet::new();
    for n in 0..count {
        ticks.tick().await;
        let stream_id = new_id();
        given.insert(stream_id, SystemClock.now().unix_micros());
        let (log, partner) = (log.clone(), partner.clone());
        all.spawn(async move { book(&log, &partner, n, stream_id).await });
    }
    while let Some(booked) = all.join_next().await {
        booked??;
    }
    Ok(given)
}

async fn book(log: &EventLog, partner: &Partner, n: usize, stream_id: Uuid) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let starts_at = now.saturating_add_micros(86_400_000_000);
    let command = AppointmentCommand::Book(BookAppointment {
        patient_id: PatientId::new(new_id()),
        specialist_id: Some(SpecialistId::new(new_id())),
        starts_at,
        ends_at: Some(starts_at.saturating_add_micros(1_800_000_000)),
        starts_at_precision: TimePrecision::Minute,
        mode: AppointmentMode::Video,
        note: None,
        booked_at: now,
    });
    log.execute::<Appointment>(&scope(partner.organization(n)), stream_id, command).await?;
    Ok(())
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
    let subscriptions: HashMap<Uuid, _> =
        partner.subscriptions.iter().map(|(organization, subscription)| (organization.uuid(), *subscription)).collect();
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
