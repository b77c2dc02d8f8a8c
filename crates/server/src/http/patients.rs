//! Patients: registered, onboarded, asked for consent, read, and erased.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::legal_hold::LegalHolds;
use carelog_domain::patient::{ConsentKind, ErasureGround, Patient, PatientCommand, PatientDetails};
use carelog_domain::{PatientId, Role, StreamKind, Timestamp};
use carelog_records::queries;
use carelog_records::{ConsentRecord, PatientRecord, PatientStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, PathName, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Moment, Nothing, Wish, shown};
use super::freshness::View;
use super::opening::{Opened, open};
use super::page::{Fresh, Page, Window};
use super::problem::Problem;
use super::text::{Date, Line};
use super::{Api, access, schemas};
use crate::documents::certificate_of_erasure;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(register, list))
        .routes(routes!(get))
        .routes(routes!(onboard))
        .routes(routes!(change_details))
        .routes(routes!(give_consent))
        .routes(routes!(withdraw_consent))
        .routes(routes!(erase))
}

/// Who a patient is and how to reach them; kept encrypted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PatientDetailsBody {
    /// Full name.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    name: Option<Line<200>>,
    /// E-mail address.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 254)]
    email: Option<Line<254>>,
    /// Telephone number.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 40)]
    phone: Option<Line<40>>,
    /// Date of birth.
    #[schema(value_type = Option<String>, format = Date)]
    birth_date: Option<Date>,
    /// The clinic's own number for the patient.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    external_reference: Option<Line<100>>,
}

impl From<PatientDetailsBody> for PatientDetails {
    fn from(body: PatientDetailsBody) -> Self {
        Self {
            name: body.name.map(String::from),
            email: body.email.map(String::from),
            phone: body.phone.map(String::from),
            birth_date: body.birth_date.map(String::from),
            external_reference: body.external_reference.map(String::from),
        }
    }
}

/// A patient to be made known.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterPatientBody {
    /// The patient's id; made by the server where it is absent.
    id: Option<Uuid>,
    /// The year alone, for statistics by age.
    #[schema(minimum = 1850, maximum = 2200)]
    birth_year: Option<u16>,
    /// Who it is.
    details: Option<PatientDetailsBody>,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// What a patient agrees to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConsentBody {
    /// To what.
    #[schema(schema_with = schemas::consent_kind)]
    consent: ConsentKind,
    /// To which version of its text.
    version: u16,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Why a patient is to be erased.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ErasureBody {
    /// Why.
    #[schema(schema_with = schemas::erasure_ground)]
    ground: ErasureGround,
}

/// Which patients are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// How far they have come.
    #[param(schema_with = schemas::patient_status, required = false)]
    status: Option<PatientStatus>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// Who a patient is and how to reach them.
#[derive(Debug, Serialize, ToSchema)]
struct PatientDetailsView {
    name: Option<String>,
    email: Option<String>,
    phone: Option<String>,
    birth_date: Option<String>,
    external_reference: Option<String>,
}

impl From<PatientDetails> for PatientDetailsView {
    fn from(details: PatientDetails) -> Self {
        let PatientDetails { name, email, phone, birth_date, external_reference } = details;
        Self { name, email, phone, birth_date, external_reference }
    }
}

/// A consent.
#[derive(Debug, Serialize, ToSchema)]
struct ConsentView {
    /// To what.
    #[schema(schema_with = schemas::consent_kind)]
    consent: ConsentKind,
    /// To which version of its text.
    version: u16,
    /// When it was given.
    #[schema(schema_with = schemas::moment)]
    given_at: Timestamp,
    /// When it was taken back; nothing while it is in force.
    #[schema(value_type = Option<String>, format = DateTime)]
    withdrawn_at: Option<Timestamp>,
}

impl From<ConsentRecord> for ConsentView {
    fn from(record: ConsentRecord) -> Self {
        Self {
            consent: record.consent,
            version: record.consent_version,
            given_at: record.given_at,
            withdrawn_at: record.withdrawn_at,
        }
    }
}

/// A patient.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PatientView {
    /// The patient's id.
    id: Uuid,
    /// The record's version.
    version: i64,
    /// How far the patient has come.
    #[schema(schema_with = schemas::patient_status)]
    status: PatientStatus,
    /// The year alone.
    birth_year: Option<u16>,
    /// Who it is.
    details: Option<PatientDetailsView>,
    /// Whether the details are gone for ever.
    erased: bool,
    /// The legal holds in force, which keep the data from being erased; for administrators and compliance officers alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_holds: Option<Vec<Uuid>>,
    /// The file that certifies the erasure; there a few seconds after it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    erasure_certificate_id: Option<Uuid>,
    /// What the patient agreed to; only where one patient is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    consents: Option<Vec<ConsentView>>,
    /// When the patient finished joining.
    #[schema(value_type = Option<String>, format = DateTime)]
    onboarded_at: Option<Timestamp>,
    /// When the patient became known.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When the record changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl PatientView {
    pub(super) async fn of(caller: &Caller, record: PatientRecord) -> Result<Self, Problem> {
        let details: Opened<PatientDetails> =
            open(caller.api.log().vault(), record.personal.as_ref()).await?;
        let (details, erased) = details.or_erased(record.erased_at.is_some()).split();
        Ok(Self {
            id: record.patient_id.uuid(),
            version: record.stamp.version,
            status: record.status,
            birth_year: record.birth_year,
            details: details.map(PatientDetailsView::from),
            erased,
            legal_holds: matches!(caller.role(), Role::Admin | Role::Compliance)
                .then(|| record.legal_holds.iter().map(|id| id.uuid()).collect()),
            erasure_certificate_id: (record.status == PatientStatus::Erased)
                .then(|| certificate_of_erasure(record.organization_id, record.patient_id).uuid()),
            consents: None,
            onboarded_at: record.onboarded_at,
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        })
    }

    /// The patient with what they agreed to.
    pub(super) fn with_consents(self, consents: Vec<ConsentRecord>) -> Self {
        Self { consents: Some(consents.into_iter().map(ConsentView::from).collect()), ..self }
    }
}

/// Make a patient known.
#[utoipa::path(post, path = "/v1/patients", tag = "patients", request_body = RegisterPatientBody,
    responses((status = 201, description = "Registered.", body = CommandAnswer)))]
async fn register(caller: Caller, wish: Wish<RegisterPatientBody>) -> Result<Response, Problem> {
    let body = wish.body;
    if body.birth_year.is_some_and(|year| !(1850..=2200).contains(&year)) {
        return Err(Problem::invalid("/birth_year", "expected a year from 1850 to 2200"));
    }
    let id = wish.terms.id_of_new(&caller, body.id);
    let details = body.details.map(PatientDetails::from);
    let command = PatientCommand::Register { birth_year: body.birth_year, details };
    Ok(caller.create::<Patient>(&wish.terms, id, body.occurred_at, command).await?.created())
}

/// Let a patient finish joining.
#[utoipa::path(post, path = "/v1/patients/{patient_id}/onboard", tag = "patients",
    params(("patient_id" = Uuid, Path)), request_body = Moment,
    responses((status = 200, description = "Onboarded.", body = CommandAnswer)))]
async fn onboard(caller: Caller, PathId(id): PathId, wish: Wish<Moment>) -> Result<Response, Problem> {
    let done =
        caller.change::<Patient>(&wish.terms, id, wish.body.occurred_at, PatientCommand::Onboard).await?;
    Ok(done.changed())
}

/// Replace a patient's details.
#[utoipa::path(put, path = "/v1/patients/{patient_id}/details", tag = "patients",
    params(("patient_id" = Uuid, Path)), request_body = PatientDetailsBody,
    responses((status = 200, description = "Replaced.", body = CommandAnswer)))]
async fn change_details(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<PatientDetailsBody>,
) -> Result<Response, Problem> {
    caller.may_touch(PatientId::new(id)).await?;
    let command = PatientCommand::ChangeDetails { details: wish.body.into() };
    Ok(caller.change::<Patient>(&wish.terms, id, None, command).await?.changed())
}

/// Agree to something.
#[utoipa::path(post, path = "/v1/patients/{patient_id}/consents", tag = "patients",
    params(("patient_id" = Uuid, Path)), request_body = ConsentBody,
    responses((status = 200, description = "In force.", body = CommandAnswer)))]
async fn give_consent(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<ConsentBody>,
) -> Result<Response, Problem> {
    caller.may_touch(PatientId::new(id)).await?;
    let command = PatientCommand::GiveConsent { consent: wish.body.consent, version: wish.body.version };
    let done = caller.change::<Patient>(&wish.terms, id, wish.body.occurred_at, command).await?;
    Ok(done.changed())
}

/// Take an agreement back.
#[utoipa::path(delete, path = "/v1/patients/{patient_id}/consents/{consent}", tag = "patients",
    params(("patient_id" = Uuid, Path), ("consent" = String, Path)),
    responses((status = 200, description = "No longer in force.", body = CommandAnswer)))]
async fn withdraw_consent(
    caller: Caller,
    PathId(id): PathId,
    PathName(consent): PathName<ConsentKind>,
    wish: Wish<Nothing>,
) -> Result<Response, Problem> {
    caller.may_touch(PatientId::new(id)).await?;
    let command = PatientCommand::WithdrawConsent { consent };
    Ok(caller.change::<Patient>(&wish.terms, id, None, command).await?.changed())
}

/// Begin to erase a patient. The keys are destroyed shortly after; the log stays provable. While a legal hold is in force it
/// is refused with `legal_hold`.
#[utoipa::path(post, path = "/v1/patients/{patient_id}/erasure", tag = "patients",
    params(("patient_id" = Uuid, Path)), request_body = ErasureBody,
    responses((status = 200, description = "Begun.", body = CommandAnswer)))]
async fn erase(caller: Caller, PathId(id): PathId, wish: Wish<ErasureBody>) -> Result<Response, Problem> {
    let ground = wish.body.ground;
    let command = |legal_holds| PatientCommand::RequestErasure { ground, legal_holds };
    let done = caller.change_resting_on::<LegalHolds, Patient>(&wish.terms, id, command).await?;
    caller.api.forget_patient(caller.organization_id, PatientId::new(id));
    Ok(done.changed())
}

/// Patients, the newest first.
#[utoipa::path(get, path = "/v1/patients", tag = "patients", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<PatientView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let records =
        queries::list_patients(&mut tx, caller.organization_id, query.status, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let about: Vec<_> = records.iter().map(|record| Some(record.patient_id)).collect();
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        items.push(PatientView::of(&caller, record).await?);
    }
    access::record_search(&caller, StreamKind::Patient, about.into_iter()).await?;
    Ok(Page { items, next }.respond(&uri))
}

/// One patient.
#[utoipa::path(get, path = "/v1/patients/{patient_id}", tag = "patients",
    params(("patient_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "The patient.", body = PatientView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    let patient_id = PatientId::new(id);
    caller.may_touch(patient_id).await?;
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let record = queries::get_patient(&mut tx, caller.organization_id, patient_id).await?;
    let consents = queries::list_consents(&mut tx, caller.organization_id, patient_id).await?;
    tx.commit().await?;
    let view = PatientView::of(&caller, record.ok_or_else(Problem::not_found)?).await?;
    let view = view.with_consents(consents);
    access::record_read(&caller, StreamKind::Patient, id, Some(patient_id)).await?;
    shown(view.version, &view)
}
