//! A projector that notices what was skipped, repeated or reordered, and a reactor beside it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carelog_domain::EventType;
use carelog_event_log::effects::{Limits, NewEffect, Wish};
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector, Reaction, Reactor};
use carelog_event_log::{RecordedEvent, derived_id};
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use uuid::Uuid;

const SQL: &str = "
set local search_path to toy, public;

-- tables

do $$ begin
    execute format('grant usage on schema %I to carelog_system', current_schema());
end $$;

create table entries (
    organization_id uuid not null,
    lane smallint not null,
    position bigint not null,
    stream_id uuid not null,
    version bigint not null,
    event_type text not null,
    constraint entries_pkey primary key (lane, position)
);

create table totals (
    organization_id uuid not null,
    stream_id uuid not null,
    last_version bigint not null,
    event_count bigint not null,
    constraint totals_pkey primary key (organization_id, stream_id)
);

grant select, insert, update, delete on entries, totals to carelog_system;

-- indexes

create index entries_stream on entries (organization_id, stream_id, version);
";

/// Lists every event, and counts the events of each stream. `STOPS` says what poison does to it.
#[derive(Debug)]
pub struct Toy<const STOPS: bool = false> {
    gate: watch::Sender<bool>,
    at_gate: watch::Sender<usize>,
    poisoned: Mutex<HashSet<(Uuid, i64)>>,
    tolerates_gaps: AtomicBool,
    pages: AtomicUsize,
}

#[derive(Debug, thiserror::Error)]
enum ToyError {
    #[error("version {0} is poisoned")]
    Poisoned(i64),
    #[error("version {version} does not follow on {last_version}")]
    OutOfOrder { last_version: i64, version: i64 },
}

impl<const STOPS: bool> Toy<STOPS> {
    /// One that lets everything through.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: watch::Sender::new(true),
            at_gate: watch::Sender::new(0),
            poisoned: Mutex::default(),
            tolerates_gaps: AtomicBool::new(false),
            pages: AtomicUsize::new(0),
        })
    }

    /// Makes its tables, as the superuser.
    pub async fn install(superuser: &PgPool) {
        let mut tx = superuser.begin().await.expect("a transaction begins");
        sqlx::raw_sql("create schema toy; grant usage on schema toy to carelog_system")
            .execute(&mut *tx)
            .await
            .expect("the schema can be made");
        sqlx::raw_sql(SQL).execute(&mut *tx).await.expect("the tables can be made");
        tx.commit().await.expect("a transaction ends");
    }

    /// Everything in its tables, in order.
    pub async fn contents(superuser: &PgPool) -> Vec<String> {
        sqlx::query_scalar(
            "select text from (
                 select 'entry ' || e::text as text from toy.entries e
                 union all
                 select 'total ' || t::text from toy.totals t) all_rows
             order by text",
        )
        .fetch_all(superuser)
        .await
        .expect("the tables can be read")
    }

    /// Whether its tables say exactly what the log says.
    pub async fn is_complete(superuser: &PgPool) -> bool {
        sqlx::query_scalar(
            "select not exists (
                 select from log.events e
                 full join toy.entries t using (organization_id, lane, position, stream_id, version, event_type)
                 where e.recorded_at is null or t.ctid is null)
             and not exists (
                 select from (select organization_id, stream_id, max(version) as last_version,
                                     count(*) as event_count, true as in_log
                              from log.events group by 1, 2) e
                 full join toy.totals t using (organization_id, stream_id, last_version, event_count)
                 where e.in_log is null or t.ctid is null)",
        )
        .fetch_one(superuser)
        .await
        .expect("the tables can be read")
    }

    /// Lets pages wait inside their transaction from now on.
    pub fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    /// Lets waiting pages go on.
    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until a page waits at the gate.
    pub async fn somebody_at_gate(&self) {
        self.at_gate.subscribe().wait_for(|count| *count > 0).await.expect("the gate is here");
    }

    /// Lets a version of a stream fail.
    pub fn poison(&self, stream_id: Uuid, version: i64) {
        self.poisoned.lock().unwrap_or_else(PoisonError::into_inner).insert((stream_id, version));
    }

    /// Lets everything succeed again.
    pub fn heal(&self) {
        self.poisoned.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Lets a stream go on behind an event that was given up.
    pub fn tolerate_gaps(&self) {
        self.tolerates_gaps.store(true, Ordering::SeqCst);
    }

    /// How many pages it was given.
    pub fn pages(&self) -> usize {
        self.pages.load(Ordering::SeqCst)
    }

    async fn pass_gate(&self) {
        let mut gate = self.gate.subscribe();
        self.at_gate.send_modify(|count| *count += 1);
        gate.wait_for(|is_open| *is_open).await.expect("the gate is here");
        self.at_gate.send_modify(|count| *count -= 1);
    }

    fn check_poison(&self, event: &RecordedEvent) -> Result<(), ToyError> {
        let poisoned = self.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
        if poisoned.contains(&(event.stream.id, event.version)) {
            return Err(ToyError::Poisoned(event.version));
        }
        Ok(())
    }

    fn follow(&self, total: &mut Total, version: i64) -> Result<(), ToyError> {
        if version != total.last_version + 1 && !self.tolerates_gaps.load(Ordering::SeqCst) {
            return Err(ToyError::OutOfOrder { last_version: total.last_version, version });
        }
        total.last_version = version;
        total.event_count += 1;
        Ok(())
    }
}

impl<const STOPS: bool> Projector for Toy<STOPS> {
    type Intent = NewEffect;
    type Memory = Totals;

    const NAME: &'static str = "toy";
    const SCHEMA: ProjectionSchema =
        ProjectionSchema { name: "toy", sql: &[SQL], tables: &["entries", "totals"] };
    const ON_POISON: OnPoison = if STOPS { OnPoison::Stop } else { OnPoison::Quarantine };

    const PATIENCE: Duration = Duration::from_millis(2);

    /// Every second one, so that pages of both kinds are met.
    fn is_pressing(&self, event: &RecordedEvent) -> bool {
        event.position % 2 == 0
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        memory: &'a mut Totals,
        page: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<NewEffect>, ApplyError>> {
        Box::pin(async move {
            self.pages.fetch_add(1, Ordering::SeqCst);
            self.pass_gate().await;
            insert_entries(tables, page).await?;
            // What it remembers is not read again: a memory that outlives its truth shows in the totals.
            let mut known = std::mem::take(memory);
            let unknown = page.iter().filter(|event| !known.contains_key(&key_of(event)));
            known.extend(read_totals(tables, unknown.map(|event| event.stream.id).collect()).await?);
            let mut totals = Totals::new();
            let mut intents = Vec::new();
            for event in page {
                event.decode()?;
                self.check_poison(event).map_err(ApplyError::poison)?;
                let total = known.entry(key_of(event)).or_default();
                self.follow(total, event.version).map_err(ApplyError::poison)?;
                totals.insert(key_of(event), *total);
                if event.event_type == EventType::AppointmentBooked {
                    intents.push(intent(event));
                }
            }
            write_totals(tables, &totals).await?;
            *memory = known;
            Ok(intents)
        })
    }
}

fn intent(event: &RecordedEvent) -> NewEffect {
    NewEffect {
        organization_id: event.stream.organization_id,
        source_event_id: event.event_id,
        step: derived_id(event.stream.organization_id.uuid(), b"toy"),
        lane: event.lane,
        position: event.position,
    }
}

fn key_of(event: &RecordedEvent) -> (Uuid, Uuid) {
    (event.stream.organization_id.uuid(), event.stream.id)
}

/// What the toy says of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    last_version: i64,
    event_count: i64,
}

/// The totals of some streams, by organization and stream.
pub(crate) type Totals = BTreeMap<(Uuid, Uuid), Total>;

async fn insert_entries(tables: &mut PgConnection, page: &[Arc<RecordedEvent>]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into entries (organization_id, lane, position, stream_id, version, event_type)
         select * from unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::uuid[], $5::bigint[], $6::text[])",
    )
    .bind(page.iter().map(|event| event.stream.organization_id.uuid()).collect::<Vec<_>>())
    .bind(page.iter().map(|event| event.lane).collect::<Vec<_>>())
    .bind(page.iter().map(|event| event.position).collect::<Vec<_>>())
    .bind(page.iter().map(|event| event.stream.id).collect::<Vec<_>>())
    .bind(page.iter().map(|event| event.version).collect::<Vec<_>>())
    .bind(page.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
    .execute(tables)
    .await?;
    Ok(())
}

async fn read_totals(tables: &mut PgConnection, streams: Vec<Uuid>) -> Result<Totals, sqlx::Error> {
    let rows: Vec<(Uuid, Uuid, i64, i64)> = sqlx::query_as(
        "select organization_id, stream_id, last_version, event_count from totals where stream_id = any($1)",
    )
    .bind(streams)
    .fetch_all(tables)
    .await?;
    let total = |(organization_id, stream_id, last_version, event_count)| {
        ((organization_id, stream_id), Total { last_version, event_count })
    };
    Ok(rows.into_iter().map(total).collect())
}

async fn write_totals(tables: &mut PgConnection, totals: &Totals) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into totals (organization_id, stream_id, last_version, event_count)
         select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
         on conflict (organization_id, stream_id) do update
         set last_version = excluded.last_version, event_count = excluded.event_count",
    )
    .bind(totals.keys().map(|key| key.0).collect::<Vec<_>>())
    .bind(totals.keys().map(|key| key.1).collect::<Vec<_>>())
    .bind(totals.values().map(|total| total.last_version).collect::<Vec<_>>())
    .bind(totals.values().map(|total| total.event_count).collect::<Vec<_>>())
    .execute(tables)
    .await?;
    Ok(())
}

/// Hands on what the toy wants, and keeps what it is given back.
#[derive(Debug)]
pub struct ToyReactor {
    room: usize,
    limits: Limits,
    given: Mutex<Vec<Reaction>>,
}

impl ToyReactor {
    /// One with room for this many fresh effects at a time.
    pub fn with_room(room: usize) -> Arc<Self> {
        Self::within(Limits::NONE, room)
    }

    /// One whose queues are bounded.
    pub fn within(limits: Limits, room: usize) -> Arc<Self> {
        Arc::new(Self { room, limits, given: Mutex::default() })
    }

    /// What it was given since it was last asked.
    pub fn take(&self) -> Vec<Reaction> {
        std::mem::take(&mut *self.given.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reactor<NewEffect> for ToyReactor {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn room(&self) -> usize {
        self.room
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn wish(&self, intent: NewEffect) -> Wish {
        Wish::Effect(intent)
    }

    fn committed(&self, effects: Vec<Reaction>) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).extend(effects);
    }
}
