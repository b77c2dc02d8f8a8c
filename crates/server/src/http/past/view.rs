//! The state of a record as it was, in the shape of its live reads.

use carelog_domain::webhook_subscription::{
    DisableReason, EventFilter, SubscriptionChange, SubscriptionSecrets, SubscriptionStatus, WebhookFormat,
};
use carelog_domain::{EventType, PartnerId, Timestamp};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::appointments::AppointmentView;
use crate::http::caller::Caller;
use crate::http::files::FileView;
use crate::http::forms::FormView;
use crate::http::patients::PatientView;
use crate::http::plans::PlanWithExercises;
use crate::http::problem::Problem;
use crate::http::schemas;
use crate::past::{PastSubscription, Record};

/// The state of a record.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(in crate::http) enum StateView {
    Patient(Box<PatientView>),
    Appointment(Box<AppointmentView>),
    Form(Box<FormView>),
    TreatmentPlan(Box<PlanWithExercises>),
    File(Box<FileView>),
    WebhookSubscription(Box<PastSubscriptionView>),
    /// What the video room's aggregate knows.
    #[schema(value_type = Object)]
    VideoRoom(Value),
}

/// A webhook subscription as it was, without its secrets.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PastSubscriptionView {
    /// Its id.
    id: Uuid,
    /// The partner whose it is; nothing where the clinic keeps it itself.
    pub(in crate::http) partner_id: Option<Uuid>,
    /// Its version.
    version: i64,
    /// Whether events are sent.
    #[schema(schema_with = schemas::subscription_status)]
    status: SubscriptionStatus,
    /// Why not.
    #[schema(value_type = Option<String>)]
    disable_reason: Option<DisableReason>,
    /// Which events.
    #[schema(schema_with = schemas::event_filter)]
    events: EventFilter,
    /// How bodies are laid out.
    #[schema(schema_with = schemas::webhook_format)]
    format: WebhookFormat,
    /// At most so many deliveries in a tick of 5 s; nothing for the default.
    per_tick_limit: Option<u16>,
    /// Where to send.
    pub(in crate::http) url: Option<String>,
    /// In the owner's own words.
    pub(in crate::http) description: Option<String>,
    /// Whether these are gone for ever.
    pub(in crate::http) erased: bool,
    /// When it was made.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl StateView {
    /// Opens what the caller may see of a record.
    pub(in crate::http) fn open(caller: &Caller, record: Record) -> BoxFuture<'_, Result<Self, Problem>> {
        Box::pin(async move {
            Ok(match record {
                Record::Patient(patient, consents) => {
                    let view = PatientView::of(caller, patient).await?;
                    Self::Patient(Box::new(view.with_consents(consents)))
                }
                Record::Appointment(record) => {
                    Self::Appointment(Box::new(AppointmentView::of(caller, record).await?))
                }
                Record::Form(record) => Self::Form(Box::new(FormView::open(caller, &record).await?)),
                Record::TreatmentPlan(plan, exercises) => {
                    let view = PlanWithExercises::open(caller, &plan, &exercises).await?;
                    Self::TreatmentPlan(Box::new(view))
                }
                Record::File(record) => Self::File(Box::new(FileView::open(caller, &record).await?)),
                Record::WebhookSubscription(subscription) => Self::WebhookSubscription(Box::new(
                    PastSubscriptionView::open(caller, subscription).await?,
                )),
                Record::VideoRoom(room) => {
                    let mut state = serde_json::to_value(&room).map_err(|error| Problem::internal(&error))?;
                    Self::VideoRoom(state.get_mut("course").map(Value::take).unwrap_or_default())
                }
            })
        })
    }
}

impl PastSubscriptionView {
    async fn open(caller: &Caller, subscription: PastSubscription) -> Result<Self, Problem> {
        let (mut url, mut description, mut erased) = (None, None, false);
        for (place, sealed) in &subscription.parts {
            let Some(part) = place.open(caller.api.log().vault(), sealed).await? else {
                (url, description, erased) = (None, None, true);
                continue;
            };
            if place.event_type == EventType::WebhookSubscriptionCreated {
                let secrets: SubscriptionSecrets = parse(&part)?;
                (url, description) = (Some(secrets.url), secrets.description);
            } else {
                let change: SubscriptionChange = parse(&part)?;
                url = change.url.or(url);
                // An empty one takes it away.
                description = change.description.or(description).filter(|text| !text.is_empty());
            }
        }
        Ok(Self {
            id: subscription.subscription_id,
            partner_id: subscription.partner_id.map(PartnerId::uuid),
            version: subscription.version,
            status: subscription.status,
            disable_reason: subscription.disable_reason,
            events: subscription.filter,
            format: subscription.format,
            per_tick_limit: subscription.per_tick_limit,
            url,
            description,
            erased,
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
        })
    }
}

/// The parser's message could quote the value, so it goes no further.
fn parse<T: DeserializeOwned>(part: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(part).map_err(|_| Problem::fault("a part of a subscription does not parse"))
}
