//! Video rooms: those of one clinic whose patients all check in at once, beside what its account with the provider allows.
//!
//! Product: projectors and workers on the databases of the run, and a provider in this process that is as strict as the
//! vendor's contract and refuses what is too much. The clock runs from the first check-in until the last room is there.
//!
//! Limit: the requests that the account allows in a minute, one for each room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use carelog_domain::appointment::{
    Appointment, AppointmentCommand, AppointmentMode, BookAppointment, TimePrecision,
};
use carelog_domain::organization::{
    IntegrationCredentials, IntegrationKind, Organization, OrganizationCommand, Scope as KeyScope,
};
use carelog_domain::patient::{Patient, PatientCommand};
use carelog_domain::{AppointmentId, EventType, OrganizationId, PatientId, StreamKind};
use carelog_embedded::daily::{Calls, FakeDaily, REQUESTS_ALLOWED, SLOW_REQUESTS_ALLOWED};
use carelog_event_log::runtime::lag;
use carelog_event_log::{Clock, EventLog, Expected, RecordedEvent, StreamKey, SystemClock, new_id};
use carelog_video::{REACTOR, room_id};
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::bench::clinic;
use crate::bench::report::Report;
use crate::bench::stage::Stage;
use crate::config::Config;
use crate::serve::{Roles, Server};
use crate::system::System;

const ROOMS: &str = "rooms made within the account's limits";
const ALLOWED: &str = "bare: requests that the account allows";
const API_KEY: &str = "the-key-of-the-bench-at-daily";
const CONSUMERS: Roles = Roles { api: false, projectors: true, workers: true, signer: false };
/// Check-ins that are under way at a time.
const AT_A_TIME: usize = 64;
/// Longest wait for one more room.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) async fn run(rooms: u16, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("files: {rooms} video rooms");
    let daily = FakeDaily::start(Arc::new(|| SystemClock.now().unix_micros())).await?;
    daily.add_domain("bench", &new_id().to_string(), API_KEY);
    let mut config = Config { home: stage.directory.clone(), ..Config::default() };
    config.video.daily_url = daily.url();
    let server = Server::start(&config, stage.open().await?, CONSUMERS).await?;
    wait_for_projector(server.system()).await?;
    let log = &server.system().log;
    let clinic = open_clinic(log).await?;
    let booking = futures::stream::iter((0..rooms).map(|_| clinic.book(log)));
    let booked: Vec<Uuid> = booking.buffer_unordered(AT_A_TIME).try_collect().await?;

    let began = Instant::now();
    let checking_in = futures::stream::iter(booked.iter().map(|id| clinic.check_in(log, *id)));
    checking_in.buffer_unordered(AT_A_TIME).try_collect::<()>().await?;
    wait_for_rooms(&daily, rooms).await?;
    let seconds = began.elapsed().as_secs_f64();
    let are_told = clinic.are_told(log, &booked).await?;
    server.stop().await;
    enter(report, rooms, seconds, &daily.calls());
    report.check("each room is told in the log", are_told);
    Ok(())
}

fn enter(report: &mut Report, rooms: u16, seconds: f64, calls: &Calls) {
    let asked = calls.by_route.get("POST /rooms").copied().unwrap_or_default();
    let (requests, window) = REQUESTS_ALLOWED;
    let (slow, slow_window) = SLOW_REQUESTS_ALLOWED;
    report.remark(format!(
        "{rooms} video rooms of one account, of which the provider takes {requests} requests in {} s, and of lists and \
         deletions {slow} in {} s.",
        window.as_secs(),
        slow_window.as_secs()
    ));
    report.figure("rooms made", "rooms", f64::from(rooms));
    report.figure("rooms made, after", "s", seconds);
    report.figure(ROOMS, "rooms/min", f64::from(rooms) * 60.0 / seconds);
    report.figure(ALLOWED, "requests/min", requests as f64 * 60.0 / window.as_secs_f64());
    report.figure("requests that were refused as too many (429)", "requests", calls.limited as f64);
    report.ratio("rooms ÷ bare", ROOMS, ALLOWED);
    report.check("no request was refused as one too many", calls.limited == 0);
    report.check("each room was asked for once", asked == u64::from(rooms));
}

/// Waits until rooms are followed in every lane: what happened before is nobody's to look at.
async fn wait_for_projector(system: &System) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let lags = lag(&system.log, &mut *system.databases.core_system.acquire().await?).await?;
        let followed = lags.iter().filter(|lag| lag.projector == REACTOR && lag.is_owned).count();
        if followed == system.log.lanes().count() {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{followed} lanes are followed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits as long as there is progress.
async fn wait_for_rooms(daily: &FakeDaily, rooms: u16) -> anyhow::Result<()> {
    let (mut known, mut since) = (0, Instant::now());
    while known < usize::from(rooms) {
        let now = daily.rooms(API_KEY).len();
        if now > known {
            (known, since) = (now, Instant::now());
        }
        ensure!(since.elapsed() < PATIENCE, "{known} of {rooms} rooms, and no more come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Whose rooms they are.
struct Clinic {
    organization_id: OrganizationId,
    patient_id: PatientId,
}

async fn open_clinic(log: &EventLog) -> anyhow::Result<Clinic> {
    let organization_id = clinic::register(log, KeyScope::Commands).await?.organization_id;
    let credentials =
        IntegrationCredentials { settings: [("api_key".to_owned(), API_KEY.to_owned())].into() };
    let configure = OrganizationCommand::ConfigureIntegration {
        integration: IntegrationKind::Daily,
        credentials,
        abandon_open: false,
    };
    let any = clinic::scope(organization_id, Expected::Any);
    log.execute::<Organization>(&any, organization_id.uuid(), configure).await?;
    let patient_id = PatientId::new(new_id());
    let register = PatientCommand::Register { birth_year: Some(1964), details: None };
    let new = clinic::scope(organization_id, Expected::New);
    log.execute::<Patient>(&new, patient_id.uuid(), register).await?;
    Ok(Clinic { organization_id, patient_id })
}

impl Clinic {
    async fn book(&self, log: &EventLog) -> anyhow::Result<Uuid> {
        let (id, now) = (new_id(), SystemClock.now());
        let starts_at = now.saturating_add_micros(4 * 3_600 * 1_000_000);
        let book = AppointmentCommand::Book(BookAppointment {
            patient_id: self.patient_id,
            specialist_id: None,
            starts_at,
            ends_at: Some(starts_at.saturating_add_micros(30 * 60 * 1_000_000)),
            starts_at_precision: TimePrecision::Minute,
            mode: AppointmentMode::Video,
            note: None,
            booked_at: now,
        });
        log.execute::<Appointment>(&clinic::scope(self.organization_id, Expected::New), id, book).await?;
        Ok(id)
    }

    async fn check_in(&self, log: &EventLog, appointment_id: Uuid) -> anyhow::Result<()> {
        let any = clinic::scope(self.organization_id, Expected::Any);
        log.execute::<Appointment>(&any, appointment_id, AppointmentCommand::Onboard).await?;
        Ok(())
    }

    /// Whether the log has each room, once; the last ones come there after the provider has them.
    async fn are_told(&self, log: &EventLog, appointments: &[Uuid]) -> anyhow::Result<bool> {
        let mut are_told = true;
        for appointment in appointments {
            let id = room_id(AppointmentId::new(*appointment));
            let key = StreamKey { organization_id: self.organization_id, kind: StreamKind::VideoRoom, id };
            let began = Instant::now();
            let events = loop {
                let events = log.stream(&key, 0).await?;
                if !events.is_empty() || began.elapsed() > PATIENCE {
                    break events;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            let is_made = |event: &&RecordedEvent| event.event_type == EventType::VideoRoomCreated;
            are_told &= events.iter().filter(is_made).count() == 1;
        }
        Ok(are_told)
    }
}
