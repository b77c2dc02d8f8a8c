//! Reads of the trail.
//!
//! Every function names the organization and is meant for a connection that is bound to it, so that row-level
//! security holds as well. Lists run along the organization's sequence, which is also their cursor. A statement with
//! optional filters has another best plan for each set of filters: where `plan_cache_mode` is `force_custom_plan`, as the
//! API sets it when it begins to read, none that fits no set in particular is kept.

mod deliveries;
mod row;
mod subjects;

use carelog_domain::{CorrelationId, OrganizationId, PatientId, PurposeOfUse, StreamKind, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

pub use deliveries::{Delivery, attempts_about, deliveries_about};
pub use row::QueryError;
use row::{EntryRow, entries};
pub use subjects::{Subject, count_subjects, list_subjects};

use crate::model::{Action, Entry, Outcome, Topic};
use crate::networks::AddressIndex;

/// Entries of one page of a list, at most.
pub const MAX_LIMIT: u16 = 1_000;

/// Sorts after every character of an event type.
const AFTER_ANY_NAME: char = char::MAX;

/// Which entries are wanted; everything that is given has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailFilter {
    /// About this patient.
    pub subject_id: Option<PatientId>,
    /// Done by this key, run or component.
    pub actor_id: Option<Uuid>,
    /// Done to this record.
    pub target_id: Option<Uuid>,
    /// Event types that begin so: `appointment.`, or a whole type.
    pub event_type_prefix: Option<String>,
    /// Part of the same wish.
    pub correlation_id: Option<CorrelationId>,
    /// Happened at this moment or later.
    pub occurred_from: Option<Timestamp>,
    /// Happened before this moment.
    pub occurred_before: Option<Timestamp>,
    /// What was done.
    pub action: Option<Action>,
    /// Whether it was done.
    pub outcome: Option<Outcome>,
    /// For this purpose.
    pub purpose: Option<PurposeOfUse>,
    /// Done by somebody who stood for this one.
    pub on_behalf_of: Option<Uuid>,
    /// Of this topic.
    pub topic: Option<Topic>,
    /// Happened in none of these times.
    pub outside: Option<Vec<Period>>,
    /// Asked for from this network address: the first event of each request.
    pub address: Option<AddressIndex>,
    /// Asked for in this session of the console: the first event of each request.
    pub session_id: Option<Uuid>,
}

/// A time from a moment until before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it; nothing where it goes on.
    pub before: Option<Timestamp>,
}

/// In which direction a list runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the newest entry to the oldest.
    NewestFirst,
    /// From the oldest entry to the newest.
    OldestFirst,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailPage {
    /// The direction.
    pub order: Order,
    /// The sequence of the last entry of the part before.
    pub after: Option<i64>,
    /// So many entries, [`MAX_LIMIT`] at most.
    pub limit: u16,
}

/// The filter as the statements take it.
struct Bounds {
    type_from: Option<String>,
    type_before: Option<String>,
    occurred_from: Option<OffsetDateTime>,
    occurred_before: Option<OffsetDateTime>,
    types: Option<Vec<&'static str>>,
    exported_kind: Option<&'static str>,
    outside_from: Option<Vec<OffsetDateTime>>,
    outside_before: Option<Vec<Option<OffsetDateTime>>>,
}

impl TrailFilter {
    fn bounds(&self) -> Bounds {
        Bounds {
            type_from: self.event_type_prefix.clone(),
            type_before: self.event_type_prefix.as_ref().map(|prefix| format!("{prefix}{AFTER_ANY_NAME}")),
            occurred_from: self.occurred_from.map(OffsetDateTime::from),
            occurred_before: self.occurred_before.map(OffsetDateTime::from),
            types: self.topic.map(|topic| topic.event_types().iter().map(|name| name.as_str()).collect()),
            exported_kind: self.topic.and_then(Topic::exported_kind).map(StreamKind::as_str),
            outside_from: self.periods(|period| period.from.into()),
            outside_before: self.periods(|period| period.before.map(OffsetDateTime::from)),
        }
    }

    fn periods<T>(&self, end: impl Fn(&Period) -> T) -> Option<Vec<T>> {
        self.outside.as_ref().map(|periods| periods.iter().map(end).collect())
    }
}

/// Rows of the trail; the condition takes organization, filter and more values from $20.
macro_rules! filtered {
    ($macro:ident!($($record:ty,)? $select:literal, $tail:literal), $organization_id:expr, $filter:expr, $($more:expr),+) => {{
        let bounds = $filter.bounds();
        sqlx::$macro!(
            $($record,)?
            $select
                + " from trail
                   where organization_id = $1
                     and ($2::uuid is null or subject_id = $2)
                     and ($3::uuid is null or actor_id = $3)
                     and ($4::uuid is null or target_id = $4)
                     and ($5::text is null or event_type >= $5)
                     and ($6::text is null or event_type < $6)
                     and ($7::uuid is null or correlation_id = $7)
                     and ($8::timestamptz is null or occurred_at >= $8)
                     and ($9::timestamptz is null or occurred_at < $9)
                     and ($10::text is null or action = $10)
                     and ($11::text is null or outcome = $11)
                     and ($12::text is null or purpose = $12)
                     and ($13::uuid is null or actor_on_behalf_of = $13)
                     and ($14::text[] is null or event_type = any($14))
                     and ($15::text is null or event_type <> 'access.record_exported' or target_kind = $15)
                     and ($16::timestamptz[] is null or not exists (
                         select from unnest($16, $17::timestamptz[]) as period (beginning, ending)
                         where occurred_at >= beginning and (ending is null or occurred_at < ending)))
                     and ($18::bytea is null or address_index = $18)
                     and ($19::uuid is null or session_id = $19) "
                + $tail,
            $organization_id.uuid(),
            $filter.subject_id.map(Uuid::from) as _,
            $filter.actor_id as _,
            $filter.target_id as _,
            bounds.type_from as _,
            bounds.type_before as _,
            $filter.correlation_id.map(Uuid::from) as _,
            bounds.occurred_from as _,
            bounds.occurred_before as _,
            $filter.action.map(Action::as_str) as _,
            $filter.outcome.map(Outcome::as_str) as _,
            $filter.purpose.map(PurposeOfUse::as_str) as _,
            $filter.on_behalf_of as _,
            bounds.types as _,
            bounds.exported_kind as _,
            bounds.outside_from as _,
            bounds.outside_before as _,
            $filter.address.as_ref().map(AddressIndex::bytes) as _,
            $filter.session_id as _,
            $($more),+
        )
    }};
}
pub(crate) use filtered;

macro_rules! select_entries {
    ($tail:literal, $organization_id:expr, $filter:expr, $($more:expr),+) => {
        filtered!(
            query_as!(
                EntryRow,
                "select organization_id, sequence, position, occurred_at, recorded_at, event_id, correlation_id,
                        causation_id, request_id, subject_id, actor_id, actor_on_behalf_of, target_id, lane,
                        event_type, action, outcome, actor_kind, actor_role, target_kind, purpose, origin, legal_basis,
                        consents, session_id",
                $tail
            ),
            $organization_id,
            $filter,
            $($more),+
        )
    };
}

/// Entries of an organization.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn list_entries<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a TrailFilter,
    page: TrailPage,
) -> BoxFuture<'a, Result<Vec<Entry>, QueryError>> {
    Box::pin(async move {
        let limit = i64::from(page.limit.min(MAX_LIMIT));
        let rows = match page.order {
            Order::NewestFirst => {
                let before = page.after.unwrap_or(i64::MAX);
                select_entries!(
                    "and sequence < $20 order by sequence desc limit $21",
                    organization_id,
                    filter,
                    before,
                    limit
                )
                .fetch_all(connection)
                .await?
            }
            Order::OldestFirst => {
                let after = page.after.unwrap_or(0);
                select_entries!(
                    "and sequence > $20 order by sequence limit $21",
                    organization_id,
                    filter,
                    after,
                    limit
                )
                .fetch_all(connection)
                .await?
            }
        };
        entries(rows)
    })
}

/// The newest sequence of an organization's trail, which is also how many entries it has; 0 where there is none.
///
/// # Errors
/// When the database fails.
pub fn newest_sequence(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<i64, QueryError>> {
    Box::pin(async move {
        let newest = sqlx::query_scalar!(
            r#"select coalesce(max(sequence), 0) as "newest!" from trail where organization_id = $1"#,
            organization_id.uuid()
        )
        .fetch_one(connection)
        .await?;
        Ok(newest)
    })
}

/// How many entries up to a sequence a filter finds, counted no further than `most`.
///
/// # Errors
/// When the database fails.
pub fn count_entries<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a TrailFilter,
    until_sequence: i64,
    most: i64,
) -> BoxFuture<'a, Result<i64, QueryError>> {
    Box::pin(async move {
        let count = filtered!(
            query_scalar!(
                r#"select count(*) as "count!" from (select"#,
                "and sequence <= $20 limit $21) as found"
            ),
            organization_id,
            filter,
            until_sequence,
            most
        )
        .fetch_one(connection)
        .await?;
        Ok(count)
    })
}
