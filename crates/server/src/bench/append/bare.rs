//! The limit: the same rows into the same tables by one connection that asks nothing.
//!
//! The statements are written out for the driver and not through the checked macros, because they share their 29
//! columns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use carelog_domain::OrganizationId;
use carelog_event_log::{AppendRequest, Clock, Lane, Position, StreamKey, SystemClock};
use sqlx::postgres::{PgArguments, PgPool};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Postgres};
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::Places;
use super::requests::Requests;
use crate::bench::timings::Timings;

/// Rows of one statement; more bring nothing.
const BATCH: usize = 500;
/// Streams that are gone on with.
const OPEN_STREAMS: usize = 4_096;

macro_rules! insert_events {
    () => {
        "insert into log.events (
             lane, recorded_at, position, organization_sequence, version, occurred_at, organization_id, stream_id,
             event_id, correlation_id, causation_id, request_id, subject_id, actor_id, actor_on_behalf_of,
             personal_key_id, network_key_id, schema_version, stream_kind, event_type, actor_kind, actor_role,
             purpose, origin, leaf_hash, facts, personal, personal_key_commit, network)
         select $1, $2, e.*
         from unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::uuid[], $8::uuid[], $9::uuid[],
                     $10::uuid[], $11::uuid[], $12::uuid[], $13::uuid[], $14::uuid[], $15::uuid[], $16::uuid[],
                     $17::uuid[], $18::smallint[], $19::text[], $20::text[], $21::text[], $22::text[], $23::text[],
                     $24::text[], $25::bytea[], $26::bytea[], $27::bytea[], $28::bytea[], $29::bytea[]) as e"
    };
}

macro_rules! insert_heads {
    ($organizations:literal, $streams:literal, $kinds:literal, $versions:literal, $positions:literal) => {
        concat!(
            "insert into log.stream_heads as h
                 (organization_id, stream_id, stream_kind, version, first_position, last_position)
             select s.*, s.position
             from unnest(",
            $organizations,
            "::uuid[], ",
            $streams,
            "::uuid[], ",
            $kinds,
            "::text[], ",
            $versions,
            "::bigint[], ",
            $positions,
            "::bigint[]) as s (organization_id, stream_id, stream_kind, version, position)
             on conflict (organization_id, stream_id, stream_kind) do update
             set version = excluded.version, last_position = excluded.last_position"
        )
    };
}

const EVENTS: &str = insert_events!();
const HEADS: &str = insert_heads!("$1", "$2", "$3", "$4", "$5");
const EVERYTHING: &str = concat!(
    "with new_events as (",
    insert_events!(),
    "), new_heads as (",
    insert_heads!("$7", "$8", "$19", "$5", "$3"),
    "), new_sequences as (
         update log.organizations o
         set sequence = reached.sequence
         from (select organization_id, max(sequence) as sequence
               from unnest($7::uuid[], $4::bigint[]) as e (organization_id, sequence)
               group by organization_id) reached
         where o.organization_id = reached.organization_id
     )
     update log.lane_heads set position = $30 where lane = $1"
);

/// Rows as arrays, one per column.
#[derive(Debug, Default)]
struct Rows {
    position: Vec<i64>,
    sequence: Vec<i64>,
    version: Vec<i64>,
    occurred_at: Vec<OffsetDateTime>,
    organization_id: Vec<Uuid>,
    stream_id: Vec<Uuid>,
    event_id: Vec<Uuid>,
    correlation_id: Vec<Uuid>,
    request_id: Vec<Option<Uuid>>,
    subject_id: Vec<Option<Uuid>>,
    actor_id: Vec<Option<Uuid>>,
    no_id: Vec<Option<Uuid>>,
    schema_version: Vec<i16>,
    stream_kind: Vec<&'static str>,
    event_type: Vec<&'static str>,
    actor_kind: Vec<&'static str>,
    actor_role: Vec<&'static str>,
    purpose: Vec<Option<&'static str>>,
    origin: Vec<&'static str>,
    leaf_hash: Vec<Vec<u8>>,
    facts: Vec<Vec<u8>>,
    no_bytes: Vec<Option<Vec<u8>>>,
    recorded_at: Option<OffsetDateTime>,
}

/// Counts what a lane and its organizations have come to, and makes rows.
struct Maker {
    requests: Arc<Requests>,
    organizations: Vec<(OrganizationId, i64)>,
    position: Position,
    open: VecDeque<(StreamKey, i64)>,
    n: usize,
}

/// The limit in one round.
pub(super) struct Bare {
    owner: PgPool,
    connection: PgConnection,
    lane: Lane,
    maker: Maker,
}

impl Bare {
    pub(super) async fn prepare(
        owner: &PgPool,
        places: &Places,
        requests: Arc<Requests>,
    ) -> anyhow::Result<Self> {
        let connection = PgConnection::connect_with(&owner.connect_options()).await?;
        let position =
            sqlx::query_scalar!("select position from log.lane_heads where lane = $1", places.bare_lane)
                .fetch_one(owner)
                .await?;
        let ids: Vec<Uuid> = places.bare_organizations.iter().map(|id| id.uuid()).collect();
        let organizations = sqlx::query!(
            "
            select organization_id, sequence
            from log.organizations
            where organization_id = any($1)
            order by organization_id
            ",
            &ids
        )
        .fetch_all(owner)
        .await?
        .into_iter()
        .map(|row| (OrganizationId::new(row.organization_id), row.sequence))
        .collect();
        let maker = Maker { requests, organizations, position, open: VecDeque::new(), n: 0 };
        Ok(Self { owner: owner.clone(), connection, lane: places.bare_lane, maker })
    }

    /// Rows written in full batches, and how many that is a second.
    pub(super) async fn batches(self, duration: Duration) -> anyhow::Result<(Self, u64, f64)> {
        let Self { owner, mut connection, lane, mut maker } = self;
        let (made, mut batches) = mpsc::channel::<(Rows, Position)>(2);
        let began = Instant::now();
        // Another thread makes the next batch while this one is written.
        let mut making = JoinSet::new();
        making.spawn(async move {
            while began.elapsed() < duration {
                let rows = maker.rows(BATCH);
                if made.send((rows, maker.position)).await.is_err() {
                    break;
                }
            }
            maker
        });
        let mut count = 0_u64;
        while let Some((rows, end)) = batches.recv().await {
            rows.bind_events(sqlx::query(EVERYTHING), lane).bind(end).execute(&mut connection).await?;
            count += rows.position.len() as u64;
        }
        let rate = count as f64 / began.elapsed().as_secs_f64();
        let maker = making.join_next().await.context("the maker was spawned")??;
        Ok((Self { owner, connection, lane, maker }, count, rate))
    }

    /// One row at a time: two inserts in a transaction.
    pub(super) async fn single_in_transaction(&mut self, duration: Duration) -> anyhow::Result<Timings> {
        let until = Instant::now() + duration;
        let mut timings = Timings::default();
        while Instant::now() < until {
            let rows = self.maker.rows(1);
            let began = Instant::now();
            let mut tx = self.connection.begin().await?;
            rows.bind_events(sqlx::query(EVENTS), self.lane).execute(&mut *tx).await?;
            rows.bind_heads(sqlx::query(HEADS)).execute(&mut *tx).await?;
            tx.commit().await?;
            timings.record(began.elapsed());
        }
        self.settle().await?;
        Ok(timings)
    }

    /// One row at a time: one statement, committed by itself.
    pub(super) async fn single_in_statement(&mut self, duration: Duration) -> anyhow::Result<Timings> {
        let until = Instant::now() + duration;
        let mut timings = Timings::default();
        while Instant::now() < until {
            let rows = self.maker.rows(1);
            let began = Instant::now();
            rows.bind_events(sqlx::query(EVERYTHING), self.lane)
                .bind(self.maker.position)
                .execute(&mut self.connection)
                .await?;
            timings.record(began.elapsed());
        }
        Ok(timings)
    }

    /// Moves the heads to where the rows have come.
    async fn settle(&self) -> anyhow::Result<()> {
        let (ids, sequences): (Vec<Uuid>, Vec<i64>) =
            self.maker.organizations.iter().map(|(id, sequence)| (id.uuid(), *sequence)).unzip();
        sqlx::query!(
            "
            update log.organizations o
            set sequence = reached.sequence
            from unnest($1::uuid[], $2::bigint[]) as reached (organization_id, sequence)
            where o.organization_id = reached.organization_id
            ",
            &ids,
            &sequences
        )
        .execute(&self.owner)
        .await?;
        sqlx::query!(
            "update log.lane_heads set position = $2 where lane = $1",
            self.lane,
            self.maker.position
        )
        .execute(&self.owner)
        .await?;
        Ok(())
    }
}

impl Maker {
    fn rows(&mut self, count: usize) -> Rows {
        let mut rows = Rows { recorded_at: Some(SystemClock.now().into()), ..Rows::default() };
        let mut written = Vec::with_capacity(count);
        for _ in 0..count {
            self.n += 1;
            let index = (self.n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % self.organizations.len();
            let (organization_id, _) = *self.organizations.get(index).expect("the index is below the length");
            let goes_on = (self.n * 37 % 100) < self.requests.existing_percent as usize;
            let open = self.open.pop_front().filter(|_| goes_on);
            let (stream, version) = open.unwrap_or_else(|| (Requests::new_stream(organization_id), 0));
            self.position += 1;
            let sequence = self.next_sequence(stream.organization_id);
            rows.push(self.position, sequence, &self.requests.request(self.n, stream, version));
            written.push((stream, version + 1));
        }
        // Only now: no stream stands twice in a batch.
        self.open.extend(written);
        self.open.truncate(OPEN_STREAMS);
        rows
    }

    fn next_sequence(&mut self, organization_id: OrganizationId) -> i64 {
        let found = self.organizations.binary_search_by_key(&organization_id, |(id, _)| *id);
        let (_, sequence) = found
            .ok()
            .and_then(|index| self.organizations.get_mut(index))
            .expect("streams are only made in these organizations, and they are sorted");
        *sequence += 1;
        *sequence
    }
}

impl Rows {
    fn push(&mut self, position: Position, sequence: i64, request: &AppendRequest) {
        let circumstances = &request.circumstances;
        for (version, event) in (request.expected_version + 1..).zip(&request.events) {
            self.position.push(position);
            self.sequence.push(sequence);
            self.version.push(version);
            self.occurred_at.push(event.occurred_at.into());
            self.organization_id.push(request.stream.organization_id.uuid());
            self.stream_id.push(request.stream.id);
            self.event_id.push(event.event_id.uuid());
            self.correlation_id.push(circumstances.correlation_id.uuid());
            self.request_id.push(circumstances.request_id.map(Uuid::from));
            self.subject_id.push(event.subject.map(Uuid::from));
            self.actor_id.push(circumstances.actor.id);
            self.no_id.push(None);
            self.schema_version.push(i16::try_from(event.event_type.schema_version()).unwrap_or(i16::MAX));
            self.stream_kind.push(request.stream.kind.as_str());
            self.event_type.push(event.event_type.as_str());
            self.actor_kind.push(circumstances.actor.kind.as_str());
            self.actor_role.push(circumstances.actor.role.as_str());
            self.purpose.push(circumstances.purpose.map(carelog_domain::PurposeOfUse::as_str));
            self.origin.push(circumstances.origin.as_str());
            // As long as a hash and as incompressible; nobody verifies it.
            self.leaf_hash
                .push([event.event_id.uuid().into_bytes(), request.stream.id.into_bytes()].concat());
            self.facts.push(event.facts.to_vec());
            self.no_bytes.push(None);
        }
    }

    fn bind_events<'q>(
        &'q self,
        query: Query<'q, Postgres, PgArguments>,
        lane: Lane,
    ) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(lane)
            .bind(self.recorded_at)
            .bind(&self.position)
            .bind(&self.sequence)
            .bind(&self.version)
            .bind(&self.occurred_at)
            .bind(&self.organization_id)
            .bind(&self.stream_id)
            .bind(&self.event_id)
            .bind(&self.correlation_id)
            .bind(&self.no_id)
            .bind(&self.request_id)
            .bind(&self.subject_id)
            .bind(&self.actor_id)
            .bind(&self.no_id)
            .bind(&self.no_id)
            .bind(&self.no_id)
            .bind(&self.schema_version)
            .bind(&self.stream_kind)
            .bind(&self.event_type)
            .bind(&self.actor_kind)
            .bind(&self.actor_role)
            .bind(&self.purpose)
            .bind(&self.origin)
            .bind(&self.leaf_hash)
            .bind(&self.facts)
            .bind(&self.no_bytes)
            .bind(&self.no_bytes)
            .bind(&self.no_bytes)
    }

    fn bind_heads<'q>(&'q self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(&self.organization_id)
            .bind(&self.stream_id)
            .bind(&self.stream_kind)
            .bind(&self.version)
            .bind(&self.position)
    }
}
