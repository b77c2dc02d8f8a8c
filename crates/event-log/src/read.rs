//! Reading the log: by lane, by organization, by stream.
//!
//! These statements are written out for the driver and not through the checked macros: they share one list of
//! 29 columns and read its texts without copying them, which is what bounds a replay.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use carelog_domain::{
    Actor, Circumstances, CorrelationId, EventId, EventType, KeyId, OrganizationId, PatientId, RequestId,
    Sealed, StreamKind, Timestamp,
};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use tracing::error;
use uuid::Uuid;

use crate::append::{Appended, KnownAnswer};
use crate::recorded::{Lane, LogPosition, Position, RecordedEvent, SealedPart, StreamKey};

/// Why events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database did not answer, or refused.
    #[error("the event log cannot be read at present")]
    Database(#[from] sqlx::Error),
    /// A stored value does not parse; the log was damaged or written by a newer version.
    #[error("log.events.{column} at lane {lane} position {position} holds a value that does not parse")]
    Stored {
        /// The column.
        column: &'static str,
        /// The lane.
        lane: Lane,
        /// The position.
        position: Position,
    },
}

macro_rules! select_events {
    ($rest:literal) => {
        concat!(
            "select lane, position, organization_sequence, version, occurred_at, recorded_at, organization_id, \
             stream_id, event_id, correlation_id, causation_id, request_id, subject_id, actor_id, \
             actor_on_behalf_of, personal_key_id, network_key_id, schema_version, stream_kind, event_type, \
             actor_kind, actor_role, purpose, origin, leaf_hash, facts, personal, personal_key_commit, network \
             from log.events ",
            $rest
        )
    };
}

/// Bytes of a page of a lane, beyond which no further event joins it.
pub(crate) const PAGE_BYTES: usize = 8 << 20;

/// The events of a lane after a position, in order: at most `limit`, and fewer where they come to 8 MiB before.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn lane(
    connection: &mut PgConnection,
    lane: Lane,
    after: Position,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move {
        let mut rows = sqlx::query(select_events!(
            "where lane = $1 and position > $2 and position <= $2 + $3 order by position"
        ))
        .bind(lane)
        .bind(after)
        .bind(limit)
        .fetch(connection);
        let (mut events, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES
            && let Some(row) = rows.try_next().await?
        {
            let event = decode(&row)?;
            bytes += event.size();
            events.push(event);
        }
        Ok(events)
    })
}

/// The events of an organization after a sequence number, in order, at most `limit`.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn organization(
    connection: &mut PgConnection,
    lane: Lane,
    organization_id: OrganizationId,
    after_sequence: i64,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move {
        let rows = sqlx::query(select_events!(
            "where lane = $1 and organization_id = $2 and organization_sequence > $3 \
         order by organization_sequence limit $4"
        ))
        .bind(lane)
        .bind(organization_id.uuid())
        .bind(after_sequence)
        .bind(limit)
        .fetch_all(connection)
        .await?;
        rows.iter().map(decode).collect()
    })
}

/// The events of an organization that have these sequence numbers, in order.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn organization_at<'a>(
    connection: &'a mut PgConnection,
    lane: Lane,
    organization_id: OrganizationId,
    sequences: &'a [i64],
) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move {
        let rows = sqlx::query(select_events!(
            "where lane = $1 and organization_id = $2 and organization_sequence = any($3) \
         order by organization_sequence"
        ))
        .bind(lane)
        .bind(organization_id.uuid())
        .bind(sequences)
        .fetch_all(connection)
        .await?;
        rows.iter().map(decode).collect()
    })
}

/// The events of a stream after a version, in order.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn stream<'a>(
    connection: &'a mut PgConnection,
    lane: Lane,
    stream: &'a StreamKey,
    after_version: i64,
) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move {
        let rows = sqlx::query(select_events!(
        "where lane = $1 and organization_id = $2 and stream_id = $3 and stream_kind = $4 and version > $5 \
         order by version"
    ))
    .bind(lane)
    .bind(stream.organization_id.uuid())
    .bind(stream.id)
    .bind(stream.kind.as_str())
    .bind(after_version)
    .fetch_all(connection)
    .await?;
        rows.iter().map(decode).collect()
    })
}

/// The events of some types in some streams of an organization, whatever kinds of streams these are, in order.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn streams<'a>(
    connection: &'a mut PgConnection,
    lane: Lane,
    organization_id: OrganizationId,
    stream_ids: &'a [Uuid],
    types: &'a [EventType],
) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move {
        let types: Vec<&str> = types.iter().map(|event_type| event_type.as_str()).collect();
        let rows = sqlx::query(select_events!(
            "where lane = $1 and organization_id = $2 and stream_id = any($3) and event_type = any($4) \
         order by position"
        ))
        .bind(lane)
        .bind(organization_id.uuid())
        .bind(stream_ids)
        .bind(types)
        .fetch_all(connection)
        .await?;
        rows.iter().map(decode).collect()
    })
}

/// The events at the given places, in no particular order. Places that do not exist, and events whose stored values do
/// not parse, are left out: they concern others than the rest.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub fn at<'a>(
    connection: &'a mut PgConnection,
    places: &'a [(Lane, Position)],
) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
    Box::pin(async move {
        let (lanes, positions): (Vec<Lane>, Vec<Position>) = places.iter().copied().unzip();
        let rows = sqlx::query(select_events!(
            "where (lane, position) in (select * from unnest($1::smallint[], $2::bigint[]))"
        ))
        .bind(&lanes)
        .bind(&positions)
        .fetch_all(connection)
        .await?;
        let decoded = rows.iter().map(decode);
        Ok(decoded
            .filter_map(|event| event.inspect_err(|error| error!(%error, "an event is left out")).ok())
            .collect())
    })
}

/// The leaf hashes of events of one lane, by organization and place among its events. Events that are not there are
/// left out.
///
/// # Errors
/// When the database fails.
pub fn leaf_hashes<'a>(
    connection: &'a mut PgConnection,
    lane: Lane,
    places: &'a [(OrganizationId, i64)],
) -> BoxFuture<'a, Result<HashMap<OrganizationId, Vec<u8>>, sqlx::Error>> {
    Box::pin(async move {
        let (organizations, sequences): (Vec<Uuid>, Vec<i64>) =
            places.iter().map(|(organization_id, sequence)| (organization_id.uuid(), *sequence)).unzip();
        // A subquery each, which takes the index however little is known of a log that grows; a join would read all of it.
        let rows = sqlx::query!(
            r#"
            select place.organization_id as "organization_id!", (
                select e.leaf_hash
                from log.events e
                where e.lane = $1 and e.organization_id = place.organization_id
                    and e.organization_sequence = place.organization_sequence
            ) as leaf_hash
            from unnest($2::uuid[], $3::bigint[]) as place (organization_id, organization_sequence)
            "#,
            lane,
            &organizations,
            &sequences
        )
        .fetch_all(connection)
        .await?;
        let found = rows
            .into_iter()
            .filter_map(|row| Some((OrganizationId::new(row.organization_id), row.leaf_hash?)));
        Ok(found.collect())
    })
}

/// Which of the given streams of one kind exist; the two slices go in step.
///
/// # Errors
/// When the database fails.
pub fn existing_streams<'a>(
    connection: &'a mut PgConnection,
    kind: StreamKind,
    organizations: &'a [Uuid],
    streams: &'a [Uuid],
) -> BoxFuture<'a, Result<HashSet<Uuid>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query_scalar!(
        "
        select h.stream_id
        from unnest($1::uuid[], $2::uuid[]) as asked (organization_id, stream_id)
        join log.stream_heads h
            on h.organization_id = asked.organization_id and h.stream_id = asked.stream_id and h.stream_kind = $3
        ",
        organizations,
        streams,
        kind.as_str()
    )
    .fetch_all(connection)
    .await?;
        Ok(rows.into_iter().collect())
    })
}

/// The first answer that was given under an idempotency key.
///
/// # Errors
/// When the database fails or a stored value does not parse.
pub(crate) fn known_answer<'a>(
    connection: &'a mut PgConnection,
    lane: Lane,
    organization_id: OrganizationId,
    key: &'a str,
) -> BoxFuture<'a, Result<Option<KnownAnswer>, ReadError>> {
    Box::pin(async move {
        let row = sqlx::query!(
            "
            select fingerprint, stream_kind, stream_id, version, first_position, event_count
            from log.idempotency_keys
            where organization_id = $1 and idempotency_key = $2
            ",
            organization_id.uuid(),
            key
        )
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let position = row.first_position + i64::from(row.event_count) - 1;
        let does_not_parse = |column| ReadError::Stored { column, lane, position };
        Ok(Some(KnownAnswer {
            fingerprint: row.fingerprint.as_slice().try_into().map_err(|_| does_not_parse("fingerprint"))?,
            stream_kind: row.stream_kind.parse().map_err(|_| does_not_parse("stream_kind"))?,
            stream_id: row.stream_id,
            appended: Appended {
                version: row.version,
                position: LogPosition { lane, position },
                event_count: row.event_count,
            },
        }))
    })
}

fn decode(row: &PgRow) -> Result<RecordedEvent, ReadError> {
    let fields = Fields { row, lane: row.try_get(0)?, position: row.try_get(1)? };
    let organization_id = OrganizationId::new(row.try_get(6)?);
    let personal = match fields.sealed(15, 26)? {
        Some(sealed) => Some(SealedPart { sealed, key_commit: fields.digest(27, "personal_key_commit")? }),
        None => None,
    };
    Ok(RecordedEvent {
        lane: fields.lane,
        position: fields.position,
        organization_sequence: row.try_get(2)?,
        version: row.try_get(3)?,
        occurred_at: fields.timestamp(4, "occurred_at")?,
        recorded_at: fields.timestamp(5, "recorded_at")?,
        stream: StreamKey { organization_id, kind: fields.name(18, "stream_kind")?, id: row.try_get(7)? },
        event_id: EventId::new(row.try_get(8)?),
        circumstances: fields.circumstances()?,
        subject: row.try_get::<Option<Uuid>, _>(12)?.map(PatientId::new),
        schema_version: u16::try_from(row.try_get::<i16, _>(17)?)
            .map_err(|_| fields.does_not_parse("schema_version"))?,
        event_type: fields.name(19, "event_type")?,
        leaf_hash: fields.digest(24, "leaf_hash")?,
        facts: Arc::from(row.try_get::<&[u8], _>(25)?),
        personal,
        network: fields.sealed(16, 28)?,
    })
}

struct Fields<'a> {
    row: &'a PgRow,
    lane: Lane,
    position: Position,
}

impl Fields<'_> {
    fn circumstances(&self) -> Result<Circumstances, ReadError> {
        let purpose = match self.row.try_get::<Option<&str>, _>(22)? {
            Some(text) => Some(text.parse().map_err(|_| self.does_not_parse("purpose"))?),
            None => None,
        };
        Ok(Circumstances {
            actor: Actor {
                kind: self.name(20, "actor_kind")?,
                id: self.row.try_get(13)?,
                role: self.name(21, "actor_role")?,
                on_behalf_of: self.row.try_get(14)?,
            },
            purpose,
            correlation_id: CorrelationId::new(self.row.try_get(9)?),
            causation_id: self.row.try_get::<Option<Uuid>, _>(10)?.map(EventId::new),
            request_id: self.row.try_get::<Option<Uuid>, _>(11)?.map(RequestId::new),
            origin: self.name(23, "origin")?,
        })
    }

    fn name<T: FromStr>(&self, index: usize, column: &'static str) -> Result<T, ReadError> {
        self.row.try_get::<&str, _>(index)?.parse().map_err(|_| self.does_not_parse(column))
    }

    fn timestamp(&self, index: usize, column: &'static str) -> Result<Timestamp, ReadError> {
        let moment: OffsetDateTime = self.row.try_get(index)?;
        Timestamp::try_from(moment).map_err(|_| self.does_not_parse(column))
    }

    fn digest(&self, index: usize, column: &'static str) -> Result<[u8; 32], ReadError> {
        self.row
            .try_get::<Option<&[u8]>, _>(index)?
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| self.does_not_parse(column))
    }

    fn sealed(&self, key_index: usize, bytes_index: usize) -> Result<Option<Sealed>, ReadError> {
        let key_id: Option<Uuid> = self.row.try_get(key_index)?;
        let bytes: Option<&[u8]> = self.row.try_get(bytes_index)?;
        Ok(key_id
            .zip(bytes)
            .map(|(key_id, bytes)| Sealed { key_id: KeyId::new(key_id), bytes: Arc::from(bytes) }))
    }

    const fn does_not_parse(&self, column: &'static str) -> ReadError {
        ReadError::Stored { column, lane: self.lane, position: self.position }
    }
}
