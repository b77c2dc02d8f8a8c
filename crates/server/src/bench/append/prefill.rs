//! Fills the log by bulk inserts that the server makes up itself, a stream for each event: the worst case for the
//! heads of streams.

use std::io::IsTerminal;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_event_log::Lane;
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

use super::Places;
use super::requests::Requests;

/// Events of one transaction.
const CHUNK: i64 = 50_000;

/// A part of the log that one connection fills.
struct Part {
    lane: Lane,
    organizations: Vec<Uuid>,
    facts: Vec<Vec<u8>>,
    /// Up to this position.
    to: i64,
}

/// Fills every lane evenly until the log holds this many events.
pub(super) async fn fill_to(owner: &PgPool, places: &Places, total: u64) -> anyhow::Result<()> {
    let heads =
        sqlx::query!("select lane, position from log.lane_heads order by lane").fetch_all(owner).await?;
    let each = i64::try_from(total.div_ceil(heads.len().max(1) as u64))?;
    let missing: i64 = heads.iter().map(|head| (each - head.position).max(0)).sum();
    if missing == 0 {
        return Ok(());
    }
    let bar = ProgressBar::new(missing.unsigned_abs());
    let style = ProgressStyle::with_template("filling the log {bar:40} {human_pos} of {human_len}, {eta}")?;
    bar.set_style(style);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        eprintln!("filling the log with {missing} events");
    }
    let requests = Requests::new(0)?;
    let facts: Vec<Vec<u8>> = (0..256).map(|n| requests.facts(n).to_vec()).collect();
    let mut parts = Vec::new();
    for head in &heads {
        let organizations = organizations_of(owner, places, head.lane).await?;
        parts.push(Part { lane: head.lane, organizations, facts: facts.clone(), to: each });
    }
    futures::future::try_join_all(parts.iter().map(|part| part.fill(owner, &bar))).await?;
    bar.finish_and_clear();
    owner.execute("vacuum analyze log.events").await?;
    owner.execute("vacuum analyze log.stream_heads").await?;
    tokio::time::timeout(Duration::from_mins(10), owner.execute("checkpoint")).await??;
    Ok(())
}

async fn organizations_of(owner: &PgPool, places: &Places, lane: Lane) -> anyhow::Result<Vec<Uuid>> {
    let all = places.organizations.iter().chain(places.bare_organizations.iter());
    let ids: Vec<Uuid> = all.copied().map(OrganizationId::uuid).collect();
    Ok(sqlx::query_scalar!(
        "select organization_id from log.organizations where lane = $1 and organization_id = any($2) order by 1",
        lane,
        &ids
    )
    .fetch_all(owner)
    .await?)
}

impl Part {
    async fn fill(&self, owner: &PgPool, bar: &ProgressBar) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect_with(&owner.connect_options()).await?;
        connection.execute("set synchronous_commit to off").await?;
        let mut head = self.head(&mut connection).await?;
        while head < self.to {
            let end = self.to.min(head + CHUNK);
            self.fill_chunk(&mut connection, head, end).await?;
            bar.inc((end - head).unsigned_abs());
            head = end;
        }
        connection.close().await?;
        Ok(())
    }

    async fn head(&self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar!("select position from log.lane_heads where lane = $1", self.lane)
            .fetch_one(connection)
            .await
    }

    /// Events go to the organizations in turn. Stream ids rise with the position, as UUIDv7 do with time.
    async fn fill_chunk(&self, connection: &mut PgConnection, after: i64, end: i64) -> anyhow::Result<()> {
        sqlx::query!(
            "
            with heads as materialized (
                select organization_id, sequence, (row_number() over (order by organization_id))::bigint as number,
                       (count(*) over ())::bigint as total
                from log.organizations
                where organization_id = any($4)
            ),
            made as materialized (
                select n as position, heads.organization_id,
                       heads.sequence + row_number() over (partition by heads.organization_id order by n) as sequence,
                       (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7'
                           || lpad(to_hex(n & 4095), 3, '0') || '8'
                           || substr(md5(n::text || heads.organization_id::text), 2, 15))::uuid as stream_id
                from generate_series($2::bigint + 1, $3::bigint) as n
                join heads on heads.number = n % heads.total + 1
            ),
            new_events as (
                insert into log.events (
                    lane, position, organization_sequence, version, occurred_at, recorded_at, organization_id,
                    stream_id, event_id, correlation_id, request_id, subject_id, actor_id, schema_version,
                    stream_kind, event_type, actor_kind, actor_role, purpose, origin, leaf_hash, facts)
                select $1, position, sequence, 1, now(), now(), organization_id, stream_id, gen_random_uuid(),
                       stream_id, stream_id, stream_id, organization_id, 1, 'appointment', 'appointment.booked',
                       'api_key', 'specialist', 'treatment', 'live', sha256(uuid_send(stream_id)),
                       ($5::bytea[])[1 + position % array_length($5::bytea[], 1)]
                from made
                order by position
            ),
            new_heads as (
                insert into log.stream_heads (organization_id, stream_id, stream_kind, version, first_position,
                                              last_position)
                select organization_id, stream_id, 'appointment', 1, position, position
                from made
                order by position
            ),
            new_sequences as (
                update log.organizations o
                set sequence = reached.sequence
                from (select organization_id, max(sequence) as sequence from made group by 1) reached
                where o.organization_id = reached.organization_id
            )
            update log.lane_heads set position = $3 where lane = $1
            ",
            self.lane,
            after,
            end,
            &self.organizations,
            &self.facts
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
