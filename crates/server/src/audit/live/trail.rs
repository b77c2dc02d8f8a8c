//! The trail, compared entry by entry with the events that it tells of: no tree covers it, so that only the log vouches
//! for it. Each column is made anew, the consents in force from all events before. Only where a
//! request came from is not, since that takes a key.

use carelog_audit::queries::{self, QueryError};
use carelog_audit::{Consents, Entry, Order, TrailFilter, TrailPage};
use carelog_domain::OrganizationId;
use carelog_event_log::{Lane, Position, RecordedEvent};
use carelog_proof::bundle::DamageKind;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres};

use super::{LiveError, damaged};
use crate::databases::Databases;

/// The trail of an organization.
pub(super) struct Trail {
    audit: PoolConnection<Postgres>,
    organization_id: OrganizationId,
    /// The last place of its lane that the trail has told of when the check began.
    told_until: Position,
    /// What patients had agreed to at the place that the check has come to.
    consents: Consents,
}

impl Trail {
    pub(super) async fn open(
        databases: &Databases,
        organization_id: OrganizationId,
        lane: Lane,
    ) -> Result<Self, LiveError> {
        let mut audit = databases.audit_system.acquire().await?;
        let told_until = sqlx::query_scalar!(
            "select c.position
             from runtime.checkpoints c
             join runtime.projections p on p.projector = c.projector and p.live_version = c.version
             where c.projector = 'audit' and c.lane = $1",
            lane
        )
        .fetch_optional(&mut *audit)
        .await?;
        let consents = Consents::default();
        Ok(Self { audit, organization_id, told_until: told_until.unwrap_or(0), consents })
    }

    /// Whether each event has its entry. The first event has the sequence after `after`; those before were asked about.
    pub(super) async fn tells_of(&mut self, after: i64, events: &[RecordedEvent]) -> Result<(), LiveError> {
        let events = events.iter().take_while(|event| event.position <= self.told_until);
        let events: Vec<&RecordedEvent> = events.collect();
        let limit = u16::try_from(events.len()).unwrap_or(u16::MAX);
        let page = TrailPage { order: Order::OldestFirst, after: Some(after), limit };
        let mut tx = self.audit.begin().await?;
        on_trail(&mut tx).await?;
        let entries =
            queries::list_entries(&mut tx, self.organization_id, &TrailFilter::default(), page).await?;
        tx.commit().await?;
        let mut entries = entries.iter();
        for event in events {
            let sequence = event.organization_sequence;
            let Some(entry) = entries.next().filter(|entry| entry.sequence == sequence) else {
                return Err(mismatch(format!(
                    "the trail has no entry {sequence} for event {}",
                    event.event_id
                )));
            };
            let told = Entry::of(event, &mut self.consents).map_err(|error| mismatch(error.to_string()))?;
            if let Some(column) = difference(&told, entry) {
                let detail = format!(
                    "entry {sequence} of the trail has another {column} than event {}",
                    event.event_id
                );
                return Err(mismatch(detail));
            }
        }
        Ok(())
    }

    /// The newest entry, which is the last.
    pub(super) async fn newest(&mut self) -> Result<i64, LiveError> {
        let mut tx = self.audit.begin().await?;
        on_trail(&mut tx).await?;
        let newest = queries::newest_sequence(&mut tx, self.organization_id).await?;
        tx.commit().await?;
        Ok(newest)
    }
}

async fn on_trail(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("set local search_path to audit, public").execute(tx).await.map(drop)
}

impl From<QueryError> for LiveError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Database(error) => error.into(),
            stored @ QueryError::Stored { .. } => mismatch(stored.to_string()),
        }
    }
}

pub(super) fn mismatch(detail: String) -> LiveError {
    damaged(DamageKind::TrailMismatch, detail)
}

/// The first part in which an entry is not the one that its event makes.
fn difference(told: &Entry, stored: &Entry) -> Option<&'static str> {
    let (of, is) = (&told.circumstances, &stored.circumstances);
    let parts = [
        ("event", (told.event_id, told.event_type) == (stored.event_id, stored.event_type)),
        ("place", (told.lane, told.position) == (stored.lane, stored.position)),
        ("time", (told.occurred_at, told.recorded_at) == (stored.occurred_at, stored.recorded_at)),
        ("actor", of.actor == is.actor),
        ("purpose", of.purpose == is.purpose),
        (
            "cause",
            (of.correlation_id, of.causation_id, of.request_id)
                == (is.correlation_id, is.causation_id, is.request_id),
        ),
        ("origin", of.origin == is.origin),
        ("action", told.action == stored.action),
        ("outcome", told.outcome == stored.outcome),
        ("target", (told.target_kind, told.target_id) == (stored.target_kind, stored.target_id)),
        ("patient", told.subject_id == stored.subject_id),
        ("legal basis", told.legal_basis == stored.legal_basis),
        ("consents", told.consents == stored.consents),
    ];
    parts.into_iter().find_map(|(name, is_equal)| (!is_equal).then_some(name))
}
