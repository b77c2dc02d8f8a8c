//! Legal holds: while one is in force, nothing of the patient is erased or deleted.
//!
//! What an erasure destroys, the aggregates keep: each of the two is decided on what the other's stream tells. Files and
//! what is kept of receivers' answers are no part of it: whoever asks to remove these is refused here. What ends by its
//! age, deliveries of webhooks about the patient with what is kept of their answers, stays as well
//! (`projections/webhooks/src/keeping/holds.rs`).

use std::sync::Arc;

use axum::response::Response;
use carelog_domain::legal_hold::{LegalHoldCommand, LegalHoldReason, LegalHolds};
use carelog_domain::patient::Patient;
use carelog_domain::{LegalHoldId, PatientId, Rejection, StreamEvent};
use cqrs_es::Aggregate;
use futures::future::BoxFuture;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, PathName};
use super::caller::Caller;
use super::command::{CommandAnswer, Decided, Done, Nothing, Terms, Wish};
use super::problem::Problem;
use super::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(place)).routes(routes!(release))
}

/// Why a patient's data has to be kept.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LegalHoldBody {
    /// The hold's id; made by the server where it is absent.
    id: Option<Uuid>,
    /// Why.
    #[schema(schema_with = schemas::legal_hold_reason)]
    reason: LegalHoldReason,
}

/// A hold that was placed.
#[derive(Debug, Serialize, ToSchema)]
struct LegalHoldAnswer {
    /// The id of the hold, by which it is released.
    legal_hold_id: Uuid,
    /// What became of the patient's holds: `id` is the patient's, and `version` that of the holds.
    #[serde(flatten)]
    holds: CommandAnswer,
}

/// Have a patient's data kept: until the hold is released, erasing the patient and deleting files about them is refused with
/// `legal_hold`. Several holds may be in force. Once an erasure has begun none can be placed.
#[utoipa::path(post, path = "/v1/patients/{patient_id}/legal-holds", tag = "patients",
    params(("patient_id" = Uuid, Path)), request_body = LegalHoldBody,
    responses((status = 201, description = "In force.", body = LegalHoldAnswer)))]
async fn place(caller: Caller, PathId(id): PathId, wish: Wish<LegalHoldBody>) -> Result<Response, Problem> {
    let legal_hold_id = wish.terms.id_of_new(&caller, wish.body.id);
    let (id_of_hold, reason) = (LegalHoldId::new(legal_hold_id), wish.body.reason);
    let command = |patient| LegalHoldCommand::Place { legal_hold_id: id_of_hold, reason, patient };
    let done = caller.change_resting_on::<Patient, LegalHolds>(&wish.terms, id, command).await?;
    let answer = LegalHoldAnswer { legal_hold_id, holds: done.answer.clone() };
    Ok(done.respond(StatusCode::CREATED, &answer))
}

/// Release a hold: its reason is over.
#[utoipa::path(delete, path = "/v1/patients/{patient_id}/legal-holds/{legal_hold_id}", tag = "patients",
    params(("patient_id" = Uuid, Path), ("legal_hold_id" = Uuid, Path)),
    responses((status = 200, description = "No longer in force.", body = CommandAnswer)))]
async fn release(
    caller: Caller,
    PathId(id): PathId,
    PathName(legal_hold_id): PathName<LegalHoldId>,
    wish: Wish<Nothing>,
) -> Result<Response, Problem> {
    let command = |patient| LegalHoldCommand::Release { legal_hold_id, patient };
    Ok(caller.change_resting_on::<Patient, LegalHolds>(&wish.terms, id, command).await?.changed())
}

impl Caller {
    /// Executes a command that removes what is about a patient, unless a hold is in force for that patient: be it that one
    /// is placed meanwhile.
    ///
    /// # Errors
    /// `legal_hold`, or see [`Problem`].
    pub(super) async fn change_unless_held<A>(
        &self,
        terms: &Terms,
        stream_id: Uuid,
        patient_id: Option<PatientId>,
        command: A::Command,
    ) -> Result<Done, Problem>
    where
        A: Aggregate<Services = ()> + 'static,
        A::Event: StreamEvent,
        A::Command: Clone + Send + Sync,
        A::Error: Rejection,
    {
        let decide = || -> BoxFuture<'_, Result<Decided<A>, Problem>> {
            Box::pin(async {
                let Some(patient_id) = patient_id else { return Ok((command.clone(), None)) };
                let (patient, _) = self.folded::<Patient>(patient_id.uuid()).await?;
                let (legal_holds, premise) = self.folded::<LegalHolds>(patient_id.uuid()).await?;
                if !legal_holds.in_force(&patient.legal_holds()).is_empty() {
                    return Err(Problem::new(StatusCode::CONFLICT, "legal_hold")
                        .detail("the patient's data has to be kept: a legal hold is in force"));
                }
                Ok((command.clone(), Some(premise)))
            })
        };
        self.change_as_decided::<A>(terms, stream_id, decide).await
    }
}
