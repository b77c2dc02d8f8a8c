//! What a patient has a right to know: to whom their records were disclosed (45 CFR 164.528; GDPR Article 15), whether it
//! arrived, and who touched them, without the names of staff (CJEU C-579/21).
//!
//! Officers see every disclosure, and of each why 45 CFR 164.528(a)(1) does not ask for it and until when (a)(2) keeps it
//! from the patient. What the patient gets leaves both out; where Article 15 applies, `excluded=shown` gives the first
//! back. Nothing is left out for a purpose that was not said.
//!
//! An attempt to deliver a webhook counts as a disclosure once the request may have been read: a receiver that answers with
//! an error has the data all the same. Attempts that never got so far are none.

mod accesses;
mod accounting;
mod suspensions;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_audit::{Delivery, queries};
use carelog_domain::access::{Access, AccessCommand, Disclosure, DisclosureExclusion};
use carelog_domain::webhook_delivery::WebhookDeliveryEvent;
use carelog_domain::{
    EventType, PatientId, PurposeOfUse, StreamKind, SubscriptionId, Timestamp, closed_enum,
};
use carelog_event_log::{RecordedEvent, read};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::accounting::{Accounting, AccountingView, PatientAccountingView};
use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Wish, json};
use super::freshness::View;
use super::page::{Cursor, Page, Window};
use super::past::ends_before_it_begins;
use super::problem::Problem;
use super::text::{Line, Lines};
use super::{Api, access, schemas};

/// How far an accounting reaches back where nothing is said: six years (45 CFR 164.528(a)(1)).
const SIX_YEARS_MICROS: i64 = 6 * 366 * 24 * 60 * 60 * 1_000_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(disclose, account))
        .routes(routes!(list_deliveries))
        .merge(accesses::routes())
        .routes(routes!(account_to_patient))
        .merge(suspensions::routes())
}

/// Records that were disclosed to somebody outside, by letter, telephone or otherwise.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DisclosureBody {
    /// Who received them; kept encrypted.
    #[schema(value_type = String, min_length = 1, max_length = 500)]
    recipient: Line<500>,
    /// The recipient's address, if known; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2000)]
    address: Option<Lines<2000>>,
    /// What was disclosed, in words; kept encrypted.
    #[schema(value_type = String, min_length = 1, max_length = 2000)]
    description: Lines<2000>,
    /// What for.
    #[schema(schema_with = schemas::purpose)]
    purpose: PurposeOfUse,
    /// Why an accounting need not have it (45 CFR 164.528(a)(1)), where the purpose does not say so already.
    #[schema(schema_with = schemas::disclosure_exclusion, required = false)]
    exclusion: Option<DisclosureExclusion>,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Of which time.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AccountQuery {
    /// From this moment; six years ago where it is absent.
    #[param(schema_with = schemas::moment, required = false)]
    from: Option<Timestamp>,
    /// Until before this moment; now where it is absent.
    #[param(schema_with = schemas::moment, required = false)]
    before: Option<Timestamp>,
    /// The `position` of a command that the answer has to show.
    wait_for: Option<String>,
}

closed_enum! {
    /// What becomes of disclosures that an accounting need not have.
    pub enum Excluded {
        /// They are left out (45 CFR 164.528(a)(1)).
        LeftOut = "left_out",
        /// They are shown with the others (GDPR Article 15).
        Shown = "shown",
    }
}

/// What of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PatientAccountQuery {
    /// From this moment; six years ago where it is absent.
    #[param(schema_with = schemas::moment, required = false)]
    from: Option<Timestamp>,
    /// Until before this moment; now where it is absent.
    #[param(schema_with = schemas::moment, required = false)]
    before: Option<Timestamp>,
    /// Whether disclosures are shown that 45 CFR 164.528(a)(1) does not ask for; they are left out where it is absent.
    #[param(schema_with = schemas::excluded, required = false)]
    excluded: Option<Excluded>,
    /// The `position` of a command that the answer has to show.
    wait_for: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

closed_enum! {
    /// Whether something arrived.
    pub enum Arrival {
        /// It did.
        Delivered = "delivered",
        /// It is or may be tried again.
        Pending = "pending",
        /// It was given up.
        GivenUp = "given_up",
    }
}

/// An event about a patient on its way to a partner.
#[derive(Serialize, ToSchema)]
struct PatientDeliveryView {
    /// The delivery, as in `GET /v1/webhook-deliveries/{delivery_id}` while that is kept.
    delivery_id: Uuid,
    /// The subscription, as in `GET /v1/records/webhook_subscription/{id}`.
    subscription_id: Uuid,
    /// The type of the event.
    #[schema(schema_with = schemas::event_type)]
    event: EventType,
    /// The event's place among the organization's events.
    sequence: i64,
    /// Whether it arrived.
    #[schema(value_type = String)]
    arrival: Arrival,
    /// How often it was tried.
    attempts: i64,
    /// When the receiver accepted it first.
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
}

/// Write down that records were disclosed to somebody outside.
#[utoipa::path(post, path = "/v1/patients/{patient_id}/disclosures", tag = "history",
    params(("patient_id" = Uuid, Path)), request_body = DisclosureBody,
    responses((status = 201, description = "Written down.", body = CommandAnswer)))]
async fn disclose(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<DisclosureBody>,
) -> Result<Response, Problem> {
    let patient_id = known(&caller, id).await?;
    let body = wish.body;
    let disclosure = Disclosure {
        recipient: body.recipient.into(),
        address: body.address.map(String::from),
        description: body.description.into(),
    };
    let command = AccessCommand::RecordDisclosure {
        patient_id,
        purpose: body.purpose,
        exclusion: body.exclusion,
        disclosure,
    };
    let id = wish.terms.id_of_new(&caller, None);
    Ok(caller.create::<Access>(&wish.terms, id, body.occurred_at, command).await?.created())
}

/// To whom a patient's records were disclosed, when, what and what for: each recipient once, with the first and the last
/// time and how often. Every one, with what the patient is not told of it; `…/accounting` is what the patient gets.
#[utoipa::path(get, path = "/v1/patients/{patient_id}/disclosures", tag = "history",
    params(("patient_id" = Uuid, Path), AccountQuery),
    responses((status = 200, description = "The accounting.", body = AccountingView)))]
async fn account(
    caller: Caller,
    PathId(id): PathId,
    Query(query): Query<AccountQuery>,
) -> Result<Response, Problem> {
    let (from, before) = period(&caller, query.from, query.before)?;
    let patient_id = known(&caller, id).await?;
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let accounting = Accounting::of(&caller, patient_id, from, before).await?;
    access::record_trail_query(&caller, Some(patient_id), accounting.disclosures.len()).await?;
    Ok(json(http::StatusCode::OK, &AccountingView::from(accounting)))
}

/// To whom a patient's records were disclosed, as the patient gets it: without disclosures that 45 CFR 164.528(a)(1) does
/// not ask for (unless `excluded=shown`), and without those to an agency for which the account is suspended.
#[utoipa::path(get, path = "/v1/patients/{patient_id}/accounting", tag = "history",
    params(("patient_id" = Uuid, Path), PatientAccountQuery),
    responses((status = 200, description = "The accounting.", body = PatientAccountingView)))]
async fn account_to_patient(
    caller: Caller,
    PathId(id): PathId,
    Query(query): Query<PatientAccountQuery>,
) -> Result<Response, Problem> {
    let (from, before) = period(&caller, query.from, query.before)?;
    caller.may_touch(PatientId::new(id)).await?;
    let patient_id = known(&caller, id).await?;
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let accounting = Accounting::of(&caller, patient_id, from, before).await?;
    let view = accounting.for_patient(query.excluded.unwrap_or(Excluded::LeftOut));
    access::record_trail_query(&caller, Some(patient_id), view.len()).await?;
    Ok(json(http::StatusCode::OK, &view))
}

fn period(
    caller: &Caller,
    from: Option<Timestamp>,
    before: Option<Timestamp>,
) -> Result<(Timestamp, Timestamp), Problem> {
    let before = before.unwrap_or_else(|| caller.api.now());
    let from = from.unwrap_or_else(|| before.saturating_add_micros(-SIX_YEARS_MICROS));
    if before < from { Err(ends_before_it_begins()) } else { Ok((from, before)) }
}

/// Which partners got events about a patient by webhook, and whether they arrived; the newest event first. It is made from
/// the trail, and so does not end with the days that deliveries are kept.
#[utoipa::path(get, path = "/v1/patients/{patient_id}/webhook-deliveries", tag = "history",
    params(("patient_id" = Uuid, Path), ListQuery),
    responses((status = 200, description = "One page.", body = Page<PatientDeliveryView>)))]
async fn list_deliveries(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    PathId(id): PathId,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    let patient_id = known(&caller, id).await?;
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let before = window.cursor().map_or((i64::MAX, Uuid::max()), |cursor| (cursor.number, cursor.id));
    let mut tx = caller.read_trail().await?;
    let found = queries::deliveries_about(
        &mut tx,
        caller.organization_id,
        patient_id,
        before,
        window.limit_and_one(),
    )
    .await?;
    tx.commit().await?;
    let place = |found: &Delivery| Cursor { number: found.source_sequence, id: found.delivery_id };
    let (found, next) = window.cut_at(found, place);
    let newest: Vec<i64> = found.iter().map(|delivery| delivery.newest_sequence).collect();
    let subscriptions: HashMap<Uuid, Uuid> = caller
        .api
        .log()
        .organization_at(caller.organization_id, &newest)
        .await?
        .iter()
        .map(|event| Ok((event.stream.id, subscription_of(event)?.uuid())))
        .collect::<Result<_, Problem>>()?;
    let items = found
        .into_iter()
        .map(|delivery| {
            let subscription_id = subscriptions.get(&delivery.delivery_id).copied();
            let subscription_id = subscription_id
                .ok_or_else(|| Problem::fault("audit.trail names an event that is not there"))?;
            Ok(PatientDeliveryView::of(&delivery, subscription_id))
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    access::record_trail_query(&caller, Some(patient_id), items.len()).await?;
    Ok(Page::<PatientDeliveryView> { items, next }.respond(&uri))
}

impl PatientDeliveryView {
    fn of(delivery: &Delivery, subscription_id: Uuid) -> Self {
        let arrival = match delivery.delivered_at {
            Some(_) => Arrival::Delivered,
            None if delivery.is_given_up => Arrival::GivenUp,
            None => Arrival::Pending,
        };
        Self {
            delivery_id: delivery.delivery_id,
            subscription_id,
            event: delivery.source_type,
            sequence: delivery.source_sequence,
            arrival,
            attempts: delivery.attempt_count,
            delivered_at: delivery.delivered_at,
        }
    }
}

/// A patient of the caller's organization, erased or not.
async fn known(caller: &Caller, id: Uuid) -> Result<PatientId, Problem> {
    let mut log = caller.api.log().pool().acquire().await?;
    let organization = [caller.organization_id.uuid()];
    let found = read::existing_streams(&mut log, StreamKind::Patient, &organization, &[id]).await?;
    if found.is_empty() { Err(Problem::not_found()) } else { Ok(PatientId::new(id)) }
}

/// The subscription that an event of a delivery names.
fn subscription_of(event: &RecordedEvent) -> Result<SubscriptionId, Problem> {
    let told: WebhookDeliveryEvent = event.decode_as().map_err(|error| Problem::internal(&error))?;
    Ok(match told {
        WebhookDeliveryEvent::Emitted(told) => told.subscription_id,
        WebhookDeliveryEvent::Attempted(told) => told.subscription_id,
        WebhookDeliveryEvent::Delivered(told) => told.subscription_id,
        WebhookDeliveryEvent::Exhausted(told) => told.subscription_id,
        WebhookDeliveryEvent::RedeliveryRequested(told) => told.subscription_id,
        WebhookDeliveryEvent::AnswersExpunged(told) => told.subscription_id,
    })
}
