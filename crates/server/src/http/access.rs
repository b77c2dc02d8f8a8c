//! The account of who saw what: written before anything personal leaves, or nothing leaves.
//!
//! Each access is a stream of its own, so that recording one never waits for another. Its id is made here and not
//! taken from the request, because a client may send one request id twice.

use std::collections::BTreeMap;

use carelog_domain::access::{
    Access, AccessAnalyticsLinkIssued, AccessAnalyticsQueried, AccessCommand, DenialReason, Interaction,
    RecordView,
};
use carelog_domain::{ChartLinkId, PatientId, StreamKind};
use carelog_event_log::{Expected, new_id};
use futures::future::try_join_all;
use uuid::Uuid;

use super::caller::Caller;
use super::problem::Problem;

/// Records that one record was read by its id.
///
/// # Errors
/// When the log cannot be written: the record must not be shown.
pub(super) async fn record_read(
    caller: &Caller,
    target_kind: StreamKind,
    target_id: Uuid,
    patient_id: Option<PatientId>,
) -> Result<(), Problem> {
    let view =
        RecordView { target_kind, target_id, patient_id, record_count: 1, interaction: Interaction::Read };
    record(caller, AccessCommand::RecordView(view)).await
}

/// Records that a list was read: one access for each patient of whom it shows records, so that each of them finds it. Given
/// is whom each record is about; an empty list shows nobody's data.
///
/// # Errors
/// When the log cannot be written: the list must not be shown.
pub(super) async fn record_search(
    caller: &Caller,
    target_kind: StreamKind,
    about: impl Iterator<Item = Option<PatientId>>,
) -> Result<(), Problem> {
    let mut counts = BTreeMap::<Option<PatientId>, u32>::new();
    for patient_id in about {
        *counts.entry(patient_id).or_default() += 1;
    }
    let recorded = counts.into_iter().map(|(patient_id, record_count)| {
        let target_id = Uuid::nil();
        let interaction = Interaction::Search;
        let view = RecordView { target_kind, target_id, patient_id, record_count, interaction };
        record(caller, AccessCommand::RecordView(view))
    });
    // At once, so that one commit takes them all.
    try_join_all(recorded).await.map(drop)
}

/// Records that the audit trail was queried.
///
/// # Errors
/// When the log cannot be written: the entries must not be shown.
pub(super) async fn record_trail_query(
    caller: &Caller,
    patient_id: Option<PatientId>,
    entry_count: usize,
) -> Result<(), Problem> {
    let entry_count = u32::try_from(entry_count).unwrap_or(u32::MAX);
    record(caller, AccessCommand::RecordTrailQuery { patient_id, entry_count }).await
}

/// Records that entries of the audit trail were exported.
///
/// # Errors
/// When the log cannot be written: the entries must not leave.
pub(super) async fn record_trail_export(
    caller: &Caller,
    patient_id: Option<PatientId>,
    entry_count: i64,
) -> Result<(), Problem> {
    let record_count = u32::try_from(entry_count).unwrap_or(u32::MAX);
    let target_kind = StreamKind::Access;
    record(caller, AccessCommand::RecordExport { target_kind, patient_id, record_count }).await
}

/// Records that a view of analytics was queried.
///
/// # Errors
/// When the log cannot be written: the cells must not be shown.
pub(super) async fn record_analytics_query(
    caller: &Caller,
    query: AccessAnalyticsQueried,
) -> Result<(), Problem> {
    record(caller, AccessCommand::RecordAnalyticsQuery(query)).await
}

/// Records that a link to a chart of analytics was made.
///
/// # Errors
/// When the log cannot be written: the link must not be handed out.
pub(super) async fn record_analytics_link(
    caller: &Caller,
    link_id: ChartLinkId,
    link: AccessAnalyticsLinkIssued,
) -> Result<(), Problem> {
    record_as(caller, link_id.uuid(), AccessCommand::RecordAnalyticsLink(link)).await
}

/// Records that the caller was refused.
///
/// # Errors
/// When the log cannot be written.
pub(super) async fn record_denial(caller: &Caller, reason: DenialReason, status: u16) -> Result<(), Problem> {
    record(caller, AccessCommand::RecordDenial { reason, status }).await
}

async fn record(caller: &Caller, command: AccessCommand) -> Result<(), Problem> {
    record_as(caller, new_id(), command).await
}

async fn record_as(caller: &Caller, access_id: Uuid, command: AccessCommand) -> Result<(), Problem> {
    let scope = caller.scope(Expected::New, None, None).await?;
    caller.api.log().execute::<Access>(&scope, access_id, command).await?;
    Ok(())
}
