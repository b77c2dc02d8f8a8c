//! Suspensions of what a patient is told about disclosures to an agency (45 CFR 164.528(a)(2)).
//!
//! They are read from a stream of their own and, as far as they were made before there was one, from the patient's. A
//! disclosure is to the agency where its recipient was written down under
//! the agency's name, but for case and blanks; the officer's accounting shows which those are.

use std::sync::Arc;

use axum::response::Response;
use carelog_domain::accounting::{
    Accounting, AccountingCommand, AccountingEvent, AccountingResumed, AccountingSuspended, AgencyKind,
    AgencyStatement, StatementForm, SuspendAccounting,
};
use carelog_domain::patient::{Patient, PatientAccountingSuspended, PatientEvent};
use carelog_domain::{Event, PatientId, Personal, Sealed, StreamKind, SuspensionId, Timestamp};
use carelog_event_log::{RecordedEvent, SealedPlace, StreamKey, new_id};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::http::body::{PathId, PathName};
use crate::http::caller::Caller;
use crate::http::command::{CommandAnswer, Nothing, Wish};
use crate::http::problem::Problem;
use crate::http::text::{Line, Lines};
use crate::http::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(suspend)).routes(routes!(resume))
}

/// An agency's statement that an account of disclosures to it would be likely to impede what it does.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SuspensionBody {
    /// What kind of agency it is.
    #[schema(schema_with = schemas::agency_kind)]
    agency_kind: AgencyKind,
    /// The agency, as it is named as recipient of disclosures; kept encrypted.
    #[schema(value_type = String, min_length = 1, max_length = 500)]
    agency: Line<500>,
    /// Who spoke or signed for it; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 500)]
    official: Option<Line<500>>,
    /// What was said; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2000)]
    statement: Option<Lines<2000>>,
    /// How it was said: an oral statement holds for 30 days at most.
    #[schema(schema_with = schemas::statement_form)]
    form: StatementForm,
    /// When it was said; now, where it is absent.
    #[schema(value_type = Option<String>, format = DateTime)]
    stated_at: Option<Timestamp>,
    /// Until when the account is suspended.
    #[schema(schema_with = schemas::moment)]
    ends_at: Timestamp,
}

/// A suspension, as the officer sees it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SuspensionView {
    /// Its id.
    id: Uuid,
    /// What kind of agency asked.
    #[schema(schema_with = schemas::agency_kind)]
    agency_kind: AgencyKind,
    /// Which agency; nothing where it is gone for ever.
    agency: Option<String>,
    /// Who spoke or signed for it.
    official: Option<String>,
    /// What was said.
    statement: Option<String>,
    /// How it was said.
    #[schema(schema_with = schemas::statement_form)]
    form: StatementForm,
    /// When it was said.
    #[schema(schema_with = schemas::moment)]
    stated_at: Timestamp,
    /// Until when.
    #[schema(schema_with = schemas::moment)]
    ends_at: Timestamp,
    /// When it was ended before that.
    #[schema(value_type = Option<String>, format = DateTime)]
    resumed_at: Option<Timestamp>,
}

impl SuspensionView {
    async fn open(
        caller: &Caller,
        event: &RecordedEvent,
        suspended: AccountingSuspended,
    ) -> Result<Self, Problem> {
        let sealed = match suspended.personal {
            Some(Personal::Sealed(sealed)) => Some(sealed),
            Some(Personal::Open(_) | Personal::Erased) | None => None,
        };
        let told = opened(caller, event, sealed).await?;
        let (agency, official, statement) =
            told.map_or((None, None, None), |told| (Some(told.agency), told.official, told.statement));
        Ok(Self {
            id: suspended.suspension_id.uuid(),
            agency_kind: suspended.agency_kind,
            agency,
            official,
            statement,
            form: suspended.form,
            stated_at: suspended.stated_at,
            ends_at: suspended.ends_at,
            resumed_at: None,
        })
    }

    pub(super) const fn id(&self) -> SuspensionId {
        SuspensionId::new(self.id)
    }

    /// Until when it holds; nothing where it does not hold any more.
    fn holds_until(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.ends_at).filter(|ends_at| self.resumed_at.is_none() && now < *ends_at)
    }
}

/// Suspend what the patient is told about disclosures to an oversight or law enforcement agency. Disclosures to it are still
/// written down, and officers still see them, with the suspension and its id.
#[utoipa::path(post, path = "/v1/patients/{patient_id}/accounting-suspensions", tag = "history",
    params(("patient_id" = Uuid, Path)), request_body = SuspensionBody,
    responses((status = 200, description = "Suspended.", body = CommandAnswer)))]
async fn suspend(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<SuspensionBody>,
) -> Result<Response, Problem> {
    let (body, now) = (wish.body, caller.api.now());
    let statement = AgencyStatement {
        agency: body.agency.into(),
        official: body.official.map(String::from),
        statement: body.statement.map(String::from),
    };
    let suspension = SuspendAccounting {
        suspension_id: SuspensionId::new(new_id()),
        agency_kind: body.agency_kind,
        form: body.form,
        stated_at: body.stated_at.unwrap_or(now),
        ends_at: body.ends_at,
        statement,
        now,
    };
    let command = |patient| AccountingCommand::Suspend { wish: suspension.clone(), patient };
    Ok(caller.change_resting_on::<Patient, Accounting>(&wish.terms, id, command).await?.changed())
}

/// End a suspension before its time is over.
#[utoipa::path(post, path = "/v1/patients/{patient_id}/accounting-suspensions/{suspension_id}/resume", tag = "history",
    params(("patient_id" = Uuid, Path), ("suspension_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "The patient gets the whole account again.", body = CommandAnswer)))]
async fn resume(
    caller: Caller,
    PathId(id): PathId,
    PathName(suspension_id): PathName<SuspensionId>,
    wish: Wish<Nothing>,
) -> Result<Response, Problem> {
    let now = caller.api.now();
    let command = |patient| AccountingCommand::Resume { suspension_id, now, patient };
    Ok(caller.change_resting_on::<Patient, Accounting>(&wish.terms, id, command).await?.changed())
}

/// The suspensions of a patient, those that have ended too.
///
/// # Errors
/// When the log or the vault does not answer.
pub(super) async fn of(caller: &Caller, patient_id: PatientId) -> Result<Vec<SuspensionView>, Problem> {
    let mut suspensions: Vec<SuspensionView> = Vec::new();
    // Those of the patient's own stream are from before the others.
    for kind in [StreamKind::Patient, StreamKind::Accounting] {
        let stream = StreamKey { organization_id: caller.organization_id, kind, id: patient_id.uuid() };
        for event in caller.api.log().stream(&stream, 0).await? {
            match told(&event)? {
                Some(AccountingEvent::Suspended(suspended)) => {
                    suspensions.push(SuspensionView::open(caller, &event, suspended).await?);
                }
                Some(AccountingEvent::Resumed(resumed)) => {
                    let ended = suspensions.iter_mut().find(|one| one.id() == resumed.suspension_id);
                    if let Some(ended) = ended {
                        ended.resumed_at = Some(event.recorded_at);
                    }
                }
                None => {}
            }
        }
    }
    Ok(suspensions)
}

/// What an event tells of suspensions, in whichever stream it stands.
fn told(event: &RecordedEvent) -> Result<Option<AccountingEvent>, Problem> {
    Ok(match event.decode().map_err(|error| Problem::internal(&error))? {
        Event::Accounting(told) => Some(told),
        Event::Patient(PatientEvent::AccountingSuspended(told)) => {
            let PatientAccountingSuspended { suspension_id, agency_kind, form, stated_at, ends_at, personal } =
                told;
            Some(AccountingEvent::Suspended(AccountingSuspended {
                suspension_id,
                agency_kind,
                form,
                stated_at,
                ends_at,
                personal,
            }))
        }
        Event::Patient(PatientEvent::AccountingResumed(told)) => {
            Some(AccountingEvent::Resumed(AccountingResumed { suspension_id: told.suspension_id }))
        }
        _ => None,
    })
}

async fn opened(
    caller: &Caller,
    event: &RecordedEvent,
    sealed: Option<Sealed>,
) -> Result<Option<AgencyStatement>, Problem> {
    let Some(sealed) = sealed else { return Ok(None) };
    let Some(part) = SealedPlace::of(event).open(caller.api.log().vault(), &sealed).await? else {
        return Ok(None);
    };
    let told = serde_json::from_slice(&part);
    told.map(Some).map_err(|_| Problem::fault("an agency's statement does not parse"))
}

/// Until when a patient is not told about disclosures to this recipient; nothing where they are.
pub(super) fn suspended_until(
    suspensions: &[SuspensionView],
    recipient: &str,
    now: Timestamp,
) -> Option<Timestamp> {
    let is_to =
        |one: &&SuspensionView| one.agency.as_deref().is_some_and(|agency| is_same(agency, recipient));
    suspensions.iter().filter(is_to).filter_map(|one| one.holds_until(now)).max()
}

/// Whether any of them holds, so that what is told has to be looked at.
pub(super) fn any_hold(suspensions: &[SuspensionView], now: Timestamp) -> bool {
    suspensions.iter().any(|one| one.holds_until(now).is_some())
}

fn is_same(one: &str, other: &str) -> bool {
    let words = |text: &str| text.to_lowercase().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_whatever_its_case_and_blanks_and_no_part_of_it_is() {
        assert!(is_same("State  Police", " state police "));
        for other in ["State", "State Police Department", "StatePolice", ""] {
            assert!(!is_same("State Police", other), "{other}");
        }
    }
}
