//! Commands of one event each, with facts that were made beforehand.

use std::sync::Arc;

use carelog_domain::appointment::{AppointmentBooked, AppointmentEvent, AppointmentMode, TimePrecision};
use carelog_domain::{
    Actor, ActorKind, Circumstances, CorrelationId, EventId, EventType, OrganizationId, Origin, PatientId,
    PurposeOfUse, RequestId, Role, SpecialistId, StreamEvent, StreamKind,
};
use carelog_event_log::{AppendRequest, Clock, NewEvent, StreamKey, SystemClock, new_id};
use uuid::Uuid;

/// Facts are filled up to this size, the average of richer events.
pub(in crate::bench) const FACTS_BYTES: usize = 400;
/// Different facts; they repeat after that.
const DIFFERENT: usize = 4_096;

/// Makes requests.
#[derive(Debug)]
pub(in crate::bench) struct Requests {
    facts: Vec<Arc<[u8]>>,
    actor: Actor,
    subject: PatientId,
    /// Of a hundred requests, how many go to a stream that exists.
    pub(in crate::bench) existing_percent: u32,
}

impl Requests {
    pub(in crate::bench) fn new(existing_percent: u32) -> anyhow::Result<Self> {
        let facts = (0..DIFFERENT).map(|_| facts()).collect::<Result<_, _>>()?;
        let actor =
            Actor { kind: ActorKind::ApiKey, id: Some(new_id()), role: Role::Specialist, on_behalf_of: None };
        Ok(Self { facts, actor, subject: PatientId::new(new_id()), existing_percent })
    }

    /// The facts of the n-th request.
    pub(in crate::bench) fn facts(&self, n: usize) -> Arc<[u8]> {
        self.facts.get(n % DIFFERENT).map_or_else(|| Arc::from(&b"{}"[..]), Arc::clone)
    }

    /// A stream that does not exist yet.
    pub(in crate::bench) fn new_stream(organization_id: OrganizationId) -> StreamKey {
        StreamKey { organization_id, kind: StreamKind::Appointment, id: new_id() }
    }

    /// One event for a stream at this version.
    pub(in crate::bench) fn request(
        &self,
        n: usize,
        stream: StreamKey,
        expected_version: i64,
    ) -> AppendRequest {
        let circumstances = Circumstances {
            actor: self.actor,
            purpose: Some(PurposeOfUse::Treatment),
            correlation_id: CorrelationId::new(new_id()),
            causation_id: None,
            request_id: Some(RequestId::new(new_id())),
            origin: Origin::Live,
        };
        AppendRequest {
            stream,
            expected_version,
            premise: None,
            circumstances,
            network: None,
            idempotency: None,
            can_wait: false,
            events: vec![self.event(n)],
        }
    }

    /// The n-th event.
    pub(in crate::bench) fn event(&self, n: usize) -> NewEvent {
        NewEvent {
            event_id: EventId::new(new_id()),
            event_type: EventType::AppointmentBooked,
            occurred_at: SystemClock.now(),
            subject: Some(self.subject),
            facts: self.facts(n),
            personal: None,
        }
    }
}

/// The facts of a booking, filled up with a member that no reader knows; the log does not look inside.
fn facts() -> anyhow::Result<Arc<[u8]>> {
    let now = SystemClock.now();
    let booked = AppointmentEvent::Booked(AppointmentBooked {
        patient_id: PatientId::new(new_id()),
        specialist_id: Some(SpecialistId::new(new_id())),
        starts_at: now,
        ends_at: Some(now.saturating_add_micros(1_800_000_000)),
        starts_at_precision: TimePrecision::Minute,
        mode: AppointmentMode::Video,
        personal: None,
    });
    let mut json = booked.encode()?.facts;
    json.pop();
    json.extend_from_slice(br#","zz_filler":""#);
    while json.len() + 2 < FACTS_BYTES {
        let random = Uuid::simple(new_id()).to_string();
        let room = FACTS_BYTES - 2 - json.len();
        json.extend(random.bytes().rev().take(room));
    }
    json.extend_from_slice(br#""}"#);
    Ok(json.into())
}
