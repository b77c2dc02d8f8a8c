//! Forms: assigned, filled in, signed, voided, and read.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::form::{AssignForm, Form, FormAnswers, FormCommand, FormStatus, Signatory, VoidReason};
use carelog_domain::{AppointmentId, FormId, FormTemplateId, PatientId, StreamKind, Timestamp};
use carelog_records::FormRecord;
use carelog_records::queries::{self, FormFilter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Wish, shown};
use super::freshness::View;
use super::opening::{Opened, open};
use super::page::{Fresh, Page, Window};
use super::problem::Problem;
use super::{Api, access, schemas};
use crate::documents::document_of_form;

/// Longest name of a question.
const MAX_QUESTION: usize = 200;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(assign, list))
        .routes(routes!(get))
        .routes(routes!(save))
        .routes(routes!(sign))
        .routes(routes!(void))
}

/// A form to be filled in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AssignFormBody {
    /// Its id; made by the server where it is absent.
    id: Option<Uuid>,
    /// Who fills it in.
    patient_id: Uuid,
    /// Which form.
    template_id: Uuid,
    /// In which version of its template.
    template_version: u16,
    /// Before which appointment.
    appointment_id: Option<Uuid>,
    /// Until when.
    #[schema(schema_with = schemas::moment)]
    due_at: Option<Timestamp>,
    /// When it was assigned; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Answers; they replace earlier ones and are kept encrypted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FormAnswersBody {
    /// Answer by the name of the question.
    #[schema(value_type = Object)]
    answers: BTreeMap<String, Value>,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// A signature.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignFormBody {
    /// SHA-256 of the signed document, in hexadecimal digits.
    #[schema(schema_with = schemas::sha256)]
    content_sha256: Sha256Digest,
    /// Who signs; always `patient` for a patient's key.
    #[schema(schema_with = schemas::signatory)]
    signed_by: Signatory,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Why a form no longer counts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct VoidFormBody {
    /// Why.
    #[schema(schema_with = schemas::void_reason)]
    reason: VoidReason,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Which forms are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// How far they have come.
    #[param(schema_with = schemas::form_status, required = false)]
    status: Option<FormStatus>,
    /// Of one patient.
    patient_id: Option<Uuid>,
    /// Before one appointment.
    appointment_id: Option<Uuid>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// A form.
#[derive(Serialize, ToSchema)]
pub(super) struct FormView {
    /// Its id.
    id: Uuid,
    /// Its version.
    version: i64,
    /// Who fills it in.
    patient_id: Uuid,
    /// Which form.
    template_id: Uuid,
    /// In which version of its template.
    template_version: u16,
    /// Before which appointment.
    appointment_id: Option<Uuid>,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    due_at: Option<Timestamp>,
    /// How far it has come.
    #[schema(schema_with = schemas::form_status)]
    status: FormStatus,
    /// How many questions have an answer.
    answer_count: u16,
    /// Answer by the name of the question; only where one form is read.
    #[schema(value_type = Option<Object>)]
    answers: Option<BTreeMap<String, Value>>,
    /// Whether the answers are gone for ever.
    erased: bool,
    /// When answers were kept last.
    #[schema(value_type = Option<String>, format = DateTime)]
    saved_at: Option<Timestamp>,
    /// SHA-256 of the signed document.
    #[schema(value_type = Option<String>)]
    content_sha256: Option<Sha256Digest>,
    /// Who signed.
    #[schema(value_type = Option<String>)]
    signed_by: Option<Signatory>,
    /// When it was signed.
    #[schema(value_type = Option<String>, format = DateTime)]
    signed_at: Option<Timestamp>,
    /// The file that shows it signed; there a few seconds after the signature.
    document_id: Option<Uuid>,
    /// Why it no longer counts.
    #[schema(value_type = Option<String>)]
    void_reason: Option<VoidReason>,
    /// When it was assigned.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl FormView {
    /// Opens the answers of a form.
    pub(super) async fn open(caller: &Caller, record: &FormRecord) -> Result<Self, Problem> {
        let answers: Opened<FormAnswers> = open(caller.api.log().vault(), record.personal.as_ref()).await?;
        let (answers, is_erased) = answers.split();
        let mut view = Self::of(record, answers.map(|answers| answers.answers));
        view.erased |= is_erased;
        Ok(view)
    }

    fn of(record: &FormRecord, answers: Option<BTreeMap<String, Value>>) -> Self {
        Self {
            id: record.form_id.uuid(),
            version: record.stamp.version,
            patient_id: record.patient_id.uuid(),
            template_id: record.template_id.uuid(),
            template_version: record.template_version,
            appointment_id: record.appointment_id.map(AppointmentId::uuid),
            due_at: record.due_at,
            status: record.status,
            answer_count: record.answer_count,
            answers,
            erased: record.erased_at.is_some(),
            saved_at: record.saved_at,
            content_sha256: record.content_sha256,
            signed_by: record.signed_by,
            signed_at: record.signed_at,
            document_id: record
                .signed_at
                .map(|_| document_of_form(record.organization_id, record.form_id).uuid()),
            void_reason: record.void_reason,
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        }
    }
}

/// Ask a patient to fill in a form.
#[utoipa::path(post, path = "/v1/forms", tag = "forms", request_body = AssignFormBody,
    responses((status = 201, description = "Assigned.", body = CommandAnswer)))]
async fn assign(caller: Caller, wish: Wish<AssignFormBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let patient_id = PatientId::new(body.patient_id);
    caller.require_patient(patient_id).await?;
    let appointment_id = body.appointment_id.map(AppointmentId::new);
    if let Some(appointment_id) = appointment_id {
        caller.require_appointment(appointment_id, patient_id).await?;
    }
    let id = wish.terms.id_of_new(&caller, body.id);
    let command = FormCommand::Assign(AssignForm {
        patient_id,
        template_id: FormTemplateId::new(body.template_id),
        template_version: body.template_version,
        appointment_id,
        due_at: body.due_at,
    });
    Ok(caller.create::<Form>(&wish.terms, id, body.occurred_at, command).await?.created())
}

/// Keep answers.
#[utoipa::path(put, path = "/v1/forms/{form_id}/answers", tag = "forms",
    params(("form_id" = Uuid, Path)), request_body = FormAnswersBody,
    responses((status = 200, description = "Kept.", body = CommandAnswer)))]
async fn save(caller: Caller, PathId(id): PathId, wish: Wish<FormAnswersBody>) -> Result<Response, Problem> {
    caller.may_touch_form(FormId::new(id)).await?;
    let FormAnswersBody { answers, occurred_at } = wish.body;
    if answers.keys().any(|question| question.is_empty() || question.len() > MAX_QUESTION) {
        return Err(Problem::invalid("/answers", "the name of a question has 1 to 200 bytes"));
    }
    let command = FormCommand::Save { answers: FormAnswers { answers } };
    Ok(caller.change::<Form>(&wish.terms, id, occurred_at, command).await?.changed())
}

/// Sign what was saved.
#[utoipa::path(post, path = "/v1/forms/{form_id}/sign", tag = "forms",
    params(("form_id" = Uuid, Path)), request_body = SignFormBody,
    responses((status = 200, description = "Signed.", body = CommandAnswer)))]
async fn sign(caller: Caller, PathId(id): PathId, wish: Wish<SignFormBody>) -> Result<Response, Problem> {
    caller.may_touch_form(FormId::new(id)).await?;
    let signed_by = if caller.bound_to().is_some() { Signatory::Patient } else { wish.body.signed_by };
    let command = FormCommand::Sign { content_sha256: wish.body.content_sha256, signed_by };
    Ok(caller.change::<Form>(&wish.terms, id, wish.body.occurred_at, command).await?.changed())
}

/// Let a form no longer count.
#[utoipa::path(post, path = "/v1/forms/{form_id}/void", tag = "forms",
    params(("form_id" = Uuid, Path)), request_body = VoidFormBody,
    responses((status = 200, description = "Voided.", body = CommandAnswer)))]
async fn void(caller: Caller, PathId(id): PathId, wish: Wish<VoidFormBody>) -> Result<Response, Problem> {
    let command = FormCommand::Void { reason: wish.body.reason };
    Ok(caller.change::<Form>(&wish.terms, id, wish.body.occurred_at, command).await?.changed())
}

/// Forms without their answers, the newest first.
#[utoipa::path(get, path = "/v1/forms", tag = "forms", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<FormView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let patient_id = caller.patient_meant(query.patient_id.map(PatientId::new)).await?;
    let filter = FormFilter {
        status: query.status,
        patient_id,
        appointment_id: query.appointment_id.map(AppointmentId::new),
    };
    let mut tx = caller.read().await?;
    let records = queries::list_forms(&mut tx, caller.organization_id, &filter, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let about: Vec<_> = records.iter().map(|record| Some(record.patient_id)).collect();
    let items: Vec<FormView> = records.into_iter().map(|record| FormView::of(&record, None)).collect();
    access::record_search(&caller, StreamKind::Form, about.into_iter()).await?;
    Ok(Page { items, next }.respond(&uri))
}

/// One form with its answers.
#[utoipa::path(get, path = "/v1/forms/{form_id}", tag = "forms",
    params(("form_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It.", body = FormView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let record = queries::get_form(&mut tx, caller.organization_id, FormId::new(id)).await?;
    tx.commit().await?;
    let record = record.ok_or_else(Problem::not_found)?;
    caller.may_touch(record.patient_id).await?;
    let view = FormView::open(&caller, &record).await?;
    access::record_read(&caller, StreamKind::Form, id, Some(record.patient_id)).await?;
    shown(view.version, &view)
}
