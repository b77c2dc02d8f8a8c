//! Stories of patients as events, one command per stream.

use std::sync::Arc;

use anyhow::ensure;
use carelog_domain::appointment::{
    AppointmentBooked, AppointmentCompleted, AppointmentConfirmed, AppointmentEvent, AppointmentMode,
    AppointmentNote, AppointmentOnboarded, AppointmentStarted, ConfirmationChannel, TimePrecision,
};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::form::{FormAnswers, FormAssigned, FormEvent, FormSaved, FormSigned, Signatory};
use carelog_domain::patient::{
    ConsentKind, PatientConsentGiven, PatientDetails, PatientEvent, PatientOnboarded, PatientRegistered,
};
use carelog_domain::webhook_delivery::{
    AttemptOutcome, WebhookDeliveryAttempted, WebhookDeliveryDelivered, WebhookDeliveryEmitted,
    WebhookDeliveryEvent,
};
use carelog_domain::webhook_subscription::{
    EventFilter, SubscriptionSecrets, WebhookFormat, WebhookSubscriptionCreated, WebhookSubscriptionEvent,
};
use carelog_domain::{
    Actor, Circumstances, CorrelationId, EventId, EventType, FormTemplateId, KeyId, OrganizationId,
    PatientId, Personal, PersonalPart, Sealed, SpecialistId, StreamEvent, StreamKind, SubscriptionId,
    Timestamp,
};
use carelog_event_log::{
    AppendRequest, Clock, EventLog, NewEvent, SealedPart, StreamKey, SystemClock, Verdict, new_id,
};
use carelog_webhooks::delivery_id;
use futures::StreamExt;
use uuid::Uuid;

/// Clinics that the stories are spread over.
const ORGANIZATIONS: usize = 32;
/// Events of one story.
const STORY_EVENTS: u64 = 3 + 2 * 5 + 3 + 3;
/// Stories that are appended at a time.
const AT_A_TIME: usize = 256;
/// What sealing adds: format version, nonce and tag.
const SEAL_BYTES: usize = 29;

/// A clinic with the subscription that its partner has.
#[derive(Clone, Copy)]
struct Clinic {
    organization_id: OrganizationId,
    subscription_id: SubscriptionId,
}

/// Appends stories until there are at least this many events; says how many there are.
pub(in crate::bench) async fn fill(log: &EventLog, wanted: u64) -> anyhow::Result<u64> {
    let mut clinics = Vec::with_capacity(ORGANIZATIONS);
    for _ in 0..ORGANIZATIONS {
        clinics.push(open_clinic(log).await?);
    }
    let stories = wanted.div_ceil(STORY_EVENTS);
    let mut telling = futures::stream::iter(clinics.iter().cycle().zip(0..stories))
        .map(|(clinic, _)| tell(log, *clinic))
        .buffer_unordered(AT_A_TIME);
    while let Some(told) = telling.next().await {
        told?;
    }
    Ok(ORGANIZATIONS as u64 + stories * STORY_EVENTS)
}

async fn open_clinic(log: &EventLog) -> anyhow::Result<Clinic> {
    let clinic = Clinic {
        organization_id: OrganizationId::new(new_id()),
        subscription_id: SubscriptionId::new(new_id()),
    };
    let created = WebhookSubscriptionEvent::Created(WebhookSubscriptionCreated {
        partner_id: None,
        filter: EventFilter::parse(&["form.signed"])?,
        format: WebhookFormat::Standard,
        per_tick_limit: None,
        personal: Some(Personal::Open(SubscriptionSecrets {
            url: "https://partner.example/hooks/forms".to_owned(),
            description: None,
            secret: "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned(),
            headers: std::collections::BTreeMap::new(),
        })),
    });
    append(log, clinic, clinic.subscription_id.uuid(), &[created]).await?;
    Ok(clinic)
}

/// One patient from registration to the delivery of a signed form.
async fn tell(log: &EventLog, clinic: Clinic) -> anyhow::Result<()> {
    let patient_id = PatientId::new(new_id());
    append(log, clinic, patient_id.uuid(), &patient()).await?;
    for _ in 0..2 {
        append(log, clinic, new_id(), &appointment(patient_id)).await?;
    }
    let form = append(log, clinic, new_id(), &form(patient_id)).await?;
    let [.., signed] = form.as_slice() else { anyhow::bail!("a form has events") };
    let delivery = delivery_id(*signed, clinic.subscription_id);
    append(log, clinic, delivery.uuid(), &delivered(*signed, clinic.subscription_id)).await?;
    Ok(())
}

fn patient() -> [PatientEvent; 3] {
    let details = PatientDetails {
        name: Some("A Name of Usual Length".to_owned()),
        email: Some("somebody@example.org".to_owned()),
        phone: Some("+49 30 1234567".to_owned()),
        birth_date: Some("1964-08-12".to_owned()),
        external_reference: None,
    };
    [
        PatientEvent::Registered(PatientRegistered {
            birth_year: Some(1964),
            personal: Some(Personal::Open(details)),
        }),
        PatientEvent::ConsentGiven(PatientConsentGiven { consent: ConsentKind::Recording, version: 1 }),
        PatientEvent::Onboarded(PatientOnboarded {}),
    ]
}

fn appointment(patient_id: PatientId) -> [AppointmentEvent; 5] {
    let starts_at = SystemClock.now().saturating_add_micros(86_400_000_000);
    let note = AppointmentNote { note: "asks for an interpreter and a room on the ground floor".to_owned() };
    [
        AppointmentEvent::Booked(AppointmentBooked {
            patient_id,
            specialist_id: Some(SpecialistId::new(new_id())),
            starts_at,
            ends_at: Some(starts_at.saturating_add_micros(1_800_000_000)),
            starts_at_precision: TimePrecision::Minute,
            mode: AppointmentMode::Video,
            personal: Some(Personal::Open(note)),
        }),
        AppointmentEvent::Confirmed(AppointmentConfirmed {
            patient_id,
            channel: ConfirmationChannel::Clinic,
        }),
        AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id }),
        AppointmentEvent::Started(AppointmentStarted { patient_id }),
        AppointmentEvent::Completed(AppointmentCompleted { patient_id, duration_minutes: Some(25) }),
    ]
}

fn form(patient_id: PatientId) -> [FormEvent; 3] {
    let answers =
        FormAnswers { answers: (1..=8).map(|n| (format!("question_{n}"), serde_json::json!(n))).collect() };
    [
        FormEvent::Assigned(FormAssigned {
            patient_id,
            template_id: FormTemplateId::new(new_id()),
            template_version: 1,
            appointment_id: None,
            due_at: None,
        }),
        FormEvent::Saved(FormSaved { patient_id, answer_count: 8, personal: Some(Personal::Open(answers)) }),
        FormEvent::Signed(FormSigned {
            patient_id,
            content_sha256: Sha256Digest::new([0x5a; 32]),
            signed_by: Signatory::Patient,
        }),
    ]
}

fn delivered(source_event_id: EventId, subscription_id: SubscriptionId) -> [WebhookDeliveryEvent; 3] {
    [
        WebhookDeliveryEvent::Emitted(WebhookDeliveryEmitted {
            subscription_id,
            source_event_id,
            source_type: EventType::FormSigned,
            source_sequence: 1,
        }),
        WebhookDeliveryEvent::Attempted(WebhookDeliveryAttempted {
            subscription_id,
            number: 1,
            outcome: AttemptOutcome::Success,
            detail: None,
            status: Some(204),
            started_at: SystemClock.now(),
            duration_ms: 12,
            lookup_ms: None,
            connect_ms: None,
            wait_ms: Some(12),
            body_ms: Some(0),
            subscription_version: Some(1),
            next_attempt_at: None,
        }),
        WebhookDeliveryEvent::Delivered(WebhookDeliveryDelivered {
            subscription_id,
            number: 1,
            replay_id: None,
        }),
    ]
}

/// Appends the events of a new stream as one command; gives their ids.
async fn append<E: StreamEvent>(
    log: &EventLog,
    clinic: Clinic,
    stream_id: Uuid,
    events: &[E],
) -> anyhow::Result<Vec<EventId>> {
    let stream = StreamKey { organization_id: clinic.organization_id, kind: E::KIND, id: stream_id };
    let now = SystemClock.now();
    let events = events.iter().map(|event| new_event(&stream, now, event)).collect::<Result<Vec<_>, _>>()?;
    let ids = events.iter().map(|event| event.event_id).collect();
    let circumstances = Circumstances::of(Actor::OPERATOR, CorrelationId::new(new_id()));
    let verdict = log
        .append(AppendRequest {
            stream,
            expected_version: 0,
            premise: None,
            circumstances,
            network: None,
            idempotency: None,
            can_wait: false,
            events,
        })
        .await?;
    ensure!(matches!(verdict, Verdict::Accepted(_)), "a new stream was answered {verdict:?}");
    Ok(ids)
}

fn new_event<E: StreamEvent>(
    stream: &StreamKey,
    occurred_at: Timestamp,
    event: &E,
) -> Result<NewEvent, carelog_domain::CodecError> {
    let encoded = event.encode()?;
    let subject = match stream.kind {
        StreamKind::Patient => Some(PatientId::new(stream.id)),
        _ => encoded.patient_id,
    };
    let personal = encoded.personal.as_ref().and_then(|(_, part)| match part {
        PersonalPart::Open(plaintext) => Some(as_if_sealed(plaintext.len())),
        PersonalPart::Sealed(_) | PersonalPart::Erased => None,
    });
    Ok(NewEvent {
        event_id: EventId::new(new_id()),
        event_type: encoded.event_type,
        occurred_at,
        subject,
        facts: Arc::from(encoded.facts),
        personal,
    })
}

/// Bytes that look sealed; nothing here opens them.
fn as_if_sealed(plaintext_bytes: usize) -> SealedPart {
    let random = std::iter::repeat_with(new_id).flat_map(Uuid::into_bytes);
    let bytes: Vec<u8> = random.take(plaintext_bytes + SEAL_BYTES).collect();
    SealedPart {
        sealed: Sealed { key_id: KeyId::new(new_id()), bytes: bytes.into() },
        key_commit: [0x5a; 32],
    }
}
