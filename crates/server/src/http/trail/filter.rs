//! Which entries are asked for.

use carelog_audit::{Action, Outcome, Period, Topic, TrailFilter};
use carelog_domain::patient::{ConsentKind, PatientEvent};
use carelog_domain::{CorrelationId, PatientId, PurposeOfUse, Timestamp};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::address::AskedAddress;
use super::{OrderQuery, TrailFormat};
use crate::http::caller::Caller;
use crate::http::past::ends_before_it_begins;
use crate::http::problem::Problem;
use crate::http::schemas;
use crate::past::{self, RecordKind};

/// Which entries are listed; everything that is given has to hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TrailQuery {
    /// About one patient.
    patient_id: Option<Uuid>,
    /// Done by one key, run or component.
    actor_id: Option<Uuid>,
    /// Done by whoever stood for this one.
    on_behalf_of: Option<Uuid>,
    /// Done to one record.
    target_id: Option<Uuid>,
    /// Event types that begin so: `appointment.`, or a whole type.
    event: Option<String>,
    /// Asked for in one session of the console: the first entry of each request.
    session_id: Option<Uuid>,
    /// Part of one wish.
    correlation_id: Option<Uuid>,
    /// Happened at this moment or later.
    #[param(schema_with = schemas::moment, required = false)]
    from: Option<Timestamp>,
    /// Happened before this moment.
    #[param(schema_with = schemas::moment, required = false)]
    before: Option<Timestamp>,
    /// What was done.
    #[param(schema_with = schemas::action, required = false)]
    action: Option<Action>,
    /// Whether it was done.
    #[param(schema_with = schemas::outcome, required = false)]
    outcome: Option<Outcome>,
    /// Why it was done, as far as that was said.
    #[param(schema_with = schemas::purpose, required = false)]
    purpose: Option<PurposeOfUse>,
    /// What it is about.
    #[param(schema_with = schemas::topic, required = false)]
    topic: Option<Topic>,
    /// Happened while the patient of `patient_id` had not given this consent, or had withdrawn it.
    #[param(schema_with = schemas::consent_kind, required = false)]
    without_consent: Option<ConsentKind>,
    /// In which direction; the newest first where it is absent.
    #[param(inline)]
    pub(super) order: Option<OrderQuery>,
    /// In which form; pages of JSON where it is absent.
    #[param(schema_with = schemas::trail_format, required = false)]
    pub(super) format: Option<TrailFormat>,
    /// The `next` of the page before.
    pub(super) after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    pub(super) wait_for: Option<String>,
}

impl TrailQuery {
    /// What the trail is searched for.
    ///
    /// # Errors
    /// When parts of the query do not fit, or the log does not answer.
    pub(super) async fn filter(
        &self,
        caller: &Caller,
        address: AskedAddress,
    ) -> Result<TrailFilter, Problem> {
        let is_type = |text: &str| {
            text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b))
        };
        if self.event.as_deref().is_some_and(|event| !is_type(event)) {
            return Err(Problem::invalid_query("event: expected the beginning of an event type"));
        }
        if self.from.zip(self.before).is_some_and(|(from, before)| before < from) {
            return Err(ends_before_it_begins());
        }
        let subject_id = self.patient_id.map(PatientId::new);
        let outside = match (self.without_consent, subject_id) {
            (None, _) => None,
            (Some(consent), Some(patient_id)) => Some(in_force(caller, patient_id, consent).await?),
            (Some(_), None) => {
                return Err(Problem::invalid_query("without_consent: expected a patient_id with it"));
            }
        };
        Ok(TrailFilter {
            subject_id,
            actor_id: self.actor_id,
            target_id: self.target_id,
            event_type_prefix: self.event.clone(),
            correlation_id: self.correlation_id.map(CorrelationId::new),
            occurred_from: self.from,
            occurred_before: self.before,
            action: self.action,
            outcome: self.outcome,
            purpose: self.purpose,
            on_behalf_of: self.on_behalf_of,
            topic: self.topic,
            outside,
            address: address.index(caller).await?,
            session_id: self.session_id,
        })
    }

    /// An export is everything, in one order.
    ///
    /// # Errors
    /// When a page is asked for.
    pub(super) fn refuse_paging(&self) -> Result<(), Problem> {
        if self.after.is_some() || self.limit.is_some() || self.order.is_some() {
            return Err(Problem::invalid_query("after, limit and order: expected none for an export"));
        }
        Ok(())
    }
}

/// When a consent was in force, as the patient's stream tells.
async fn in_force(
    caller: &Caller,
    patient_id: PatientId,
    asked: ConsentKind,
) -> Result<Vec<Period>, Problem> {
    let log = caller.api.log();
    let events = past::events(log, caller.organization_id, RecordKind::Patient, patient_id.uuid()).await?;
    let mut periods: Vec<Period> = Vec::new();
    for event in &events {
        let told: PatientEvent = event.decode_as().map_err(|error| Problem::internal(&error))?;
        let open = periods.last_mut().filter(|period| period.before.is_none());
        match (told, open) {
            (PatientEvent::ConsentGiven(given), None) if given.consent == asked => {
                periods.push(Period { from: event.occurred_at, before: None });
            }
            (PatientEvent::ConsentWithdrawn(withdrawn), Some(open)) if withdrawn.consent == asked => {
                open.before = Some(event.occurred_at);
            }
            _ => {}
        }
    }
    Ok(periods)
}
