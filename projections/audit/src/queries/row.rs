//! From columns to an entry; what does not parse is named by column and entry.

use std::str::FromStr;

use carelog_domain::{
    Actor, Circumstances, CorrelationId, EventId, OrganizationId, PatientId, RequestId, Timestamp,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::Entry;

/// Why the trail cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The database did not answer, or refused.
    #[error("the audit trail cannot be read at present")]
    Database(#[from] sqlx::Error),
    /// A stored value does not parse.
    #[error(
        "audit.trail.{column} of entry {sequence} of {organization_id} holds a value that does not parse"
    )]
    Stored {
        /// The column.
        column: &'static str,
        /// The organization.
        organization_id: OrganizationId,
        /// The entry.
        sequence: i64,
    },
}

/// An entry as it stands in the table.
pub(super) struct EntryRow {
    pub(super) organization_id: Uuid,
    pub(super) sequence: i64,
    pub(super) position: i64,
    pub(super) occurred_at: OffsetDateTime,
    pub(super) recorded_at: OffsetDateTime,
    pub(super) event_id: Uuid,
    pub(super) correlation_id: Uuid,
    pub(super) causation_id: Option<Uuid>,
    pub(super) request_id: Option<Uuid>,
    pub(super) subject_id: Option<Uuid>,
    pub(super) actor_id: Option<Uuid>,
    pub(super) actor_on_behalf_of: Option<Uuid>,
    pub(super) target_id: Option<Uuid>,
    pub(super) lane: i16,
    pub(super) event_type: String,
    pub(super) action: String,
    pub(super) outcome: String,
    pub(super) actor_kind: String,
    pub(super) actor_role: String,
    pub(super) target_kind: String,
    pub(super) purpose: Option<String>,
    pub(super) origin: String,
    pub(super) legal_basis: String,
    pub(super) consents: String,
    pub(super) session_id: Option<Uuid>,
}

impl EntryRow {
    fn does_not_parse(&self, column: &'static str) -> QueryError {
        let organization_id = OrganizationId::new(self.organization_id);
        QueryError::Stored { column, organization_id, sequence: self.sequence }
    }

    fn name<T: FromStr>(&self, column: &'static str, text: &str) -> Result<T, QueryError> {
        text.parse().map_err(|_| self.does_not_parse(column))
    }

    fn moment(&self, column: &'static str, at: OffsetDateTime) -> Result<Timestamp, QueryError> {
        Timestamp::try_from(at).map_err(|_| self.does_not_parse(column))
    }

    fn circumstances(&self) -> Result<Circumstances, QueryError> {
        let purpose = match &self.purpose {
            Some(text) => Some(self.name("purpose", text)?),
            None => None,
        };
        Ok(Circumstances {
            actor: Actor {
                kind: self.name("actor_kind", &self.actor_kind)?,
                id: self.actor_id,
                role: self.name("actor_role", &self.actor_role)?,
                on_behalf_of: self.actor_on_behalf_of,
            },
            purpose,
            correlation_id: CorrelationId::new(self.correlation_id),
            causation_id: self.causation_id.map(EventId::new),
            request_id: self.request_id.map(RequestId::new),
            origin: self.name("origin", &self.origin)?,
        })
    }
}

impl TryFrom<EntryRow> for Entry {
    type Error = QueryError;

    fn try_from(row: EntryRow) -> Result<Self, QueryError> {
        Ok(Self {
            organization_id: OrganizationId::new(row.organization_id),
            sequence: row.sequence,
            lane: row.lane,
            position: row.position,
            event_id: EventId::new(row.event_id),
            event_type: row.name("event_type", &row.event_type)?,
            occurred_at: row.moment("occurred_at", row.occurred_at)?,
            recorded_at: row.moment("recorded_at", row.recorded_at)?,
            circumstances: row.circumstances()?,
            action: row.name("action", &row.action)?,
            outcome: row.name("outcome", &row.outcome)?,
            target_kind: row.name("target_kind", &row.target_kind)?,
            target_id: row.target_id,
            subject_id: row.subject_id.map(PatientId::new),
            legal_basis: row.name("legal_basis", &row.legal_basis)?,
            consents: row
                .consents
                .split_whitespace()
                .map(|consent| row.name("consents", consent))
                .collect::<Result<_, _>>()?,
            session_id: row.session_id,
        })
    }
}

pub(super) fn entries(rows: Vec<EntryRow>) -> Result<Vec<Entry>, QueryError> {
    rows.into_iter().map(Entry::try_from).collect()
}
