//! Copies facts to ClickHouse, for installations whose facts outgrow PostgreSQL.
//!
//! PostgreSQL stays where facts are made: there a page and its checkpoint are one transaction. The worker follows the log
//! behind the projector. Of each page of events it finds out which rows these touched, reads the rows as they stand now,
//! and writes them; what they become later comes with later events. It may write a page twice, and then writes the same
//! rows, under the same names: the names are pseudonyms of places, because people read the copy, and places stand in
//! answers to commands. It begins anew after a rebuild, where tables are not those of this program, and with the rows of a clinic that has another epoch of pseudonyms.
//!
//! Nothing is removed in the first two minutes of a turn: what an earlier one has sent, whose process died or got no answer,
//! might arrive after it and stand for ever. Erasures wait so long, and so does whatever has to begin anew.
//!
//! A lane stands still before an event that waits in the projector's quarantine, since that may still change rows. The
//! event is named once, and then looked for ever more rarely, up to once a minute; other lanes go on.

mod holds;
mod places;

use std::collections::HashSet;
use std::sync::Arc;

use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::read::ReadError;
use carelog_event_log::runtime::{ApplyError, Projector as _};
use carelog_event_log::{EventLog, Lane, Position, RecordedEvent};
use carelog_vault::{Pseudonyms, VaultError};
use sqlx::{Connection as _, PgConnection, PgPool};
use tracing::{error, instrument};
use uuid::Uuid;

use self::holds::Holds;
pub(crate) use self::places::outdate;
use self::places::remove_places;
pub use self::places::{copied, give_up, restart, take};
use crate::Analytics;
use crate::clickhouse::{ClickHouse, ClickHouseError, TIMEOUT, shape};
use crate::epochs::EpochKeys;
use crate::model::{Asked, Known, Needed, State};
use crate::projector::{load, load_parts};
use crate::sink::FactSink as _;

/// From the beginning of a turn until nothing can arrive any more that another has sent, whose process may have died
/// meanwhile, microseconds: the time in which a statement arrives, and that in which it is carried out.
const SETTLE_MICROS: i64 = 2 * 1_000_000 * TIMEOUT.as_secs().cast_signed();
/// Events of a page: its rows are some hundred kilobytes.
const PAGE_EVENTS: usize = 2_000;

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// ClickHouse did not do its part.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    /// The database of analytics failed.
    #[error("the database of analytics failed")]
    Database(#[from] sqlx::Error),
    /// Facts cannot be read.
    #[error("facts cannot be read")]
    Facts(#[source] ApplyError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The vault refuses, or does not answer.
    #[error("the vault gives no key of pseudonyms")]
    Vault(#[from] VaultError),
}

/// Copies facts to a database of ClickHouse.
#[derive(Debug)]
pub struct Copier {
    log: EventLog,
    pseudonyms: Arc<Pseudonyms>,
    pool: PgPool,
    clickhouse: ClickHouse,
    turn: u64,
    /// When nothing that an earlier turn has sent can arrive any more.
    settled_at: Timestamp,
    holds: Holds,
}

/// Where the projector and the copy stand in a lane.
struct Place {
    version: i32,
    copied: Position,
    /// Up to where the rows will not be changed by older events any more.
    applied: Position,
    /// Up to where the projector has gone, past what it set aside.
    reached: Position,
}

impl Copier {
    /// Begins a turn between the tables of a pool, in the role `carelog_system`, and those of ClickHouse, which are made
    /// anew where one is missing or has another shape. The caller holds what [`take`] took; it is `now`.
    ///
    /// # Errors
    /// When ClickHouse does not do its part, or the database fails.
    pub async fn begin(
        log: EventLog,
        pseudonyms: Arc<Pseudonyms>,
        pool: PgPool,
        clickhouse: ClickHouse,
        now: Timestamp,
    ) -> Result<Self, CopyError> {
        let newest = clickhouse.newest_turn().await?;
        let settled_at = newest.as_ref().map_or(now, |_| now.saturating_add_micros(SETTLE_MICROS));
        let turn = newest.as_ref().map_or(1, |newest| newest.number.saturating_add(1));
        if newest.is_none_or(|newest| newest.shape != shape()) || !clickhouse.has_tables().await? {
            // First, so that no erasure passes by what the new tables do not hold yet.
            restart(&pool).await?;
            clickhouse.remake().await?;
        }
        clickhouse.begin_turn(turn).await?;
        Ok(Self { log, pseudonyms, pool, clickhouse, turn, settled_at, holds: Holds::default() })
    }

    /// Copies a page of each lane that has one and is to be looked at `now`. Says whether there was any. The connection is
    /// that which [`take`] took.
    ///
    /// # Errors
    /// See [`CopyError`]; what was not noted as copied is copied again.
    #[instrument(name = "analytics.facts.copy", skip_all)]
    pub async fn run_once(&mut self, lock: &mut PgConnection, now: Timestamp) -> Result<bool, CopyError> {
        // Whoever has lost the lock must not write what another has removed since.
        lock.ping().await?;
        if now >= self.settled_at {
            self.follow_version().await?;
            self.follow_epochs().await?;
        }
        let mut has_copied = false;
        for lane in self.log.lanes() {
            if self.holds.are_waiting(lane, now) {
                continue;
            }
            let Some(place) = self.place(lane).await? else { continue };
            if place.copied < place.applied {
                lock.ping().await?;
                has_copied |= self.copy_page(lane, &place, now).await?;
            } else if place.applied < place.reached {
                if self.holds.note(lane, place.applied + 1, now) {
                    self.name_held(lane, &place).await?;
                }
            } else {
                self.holds.release(lane);
            }
        }
        Ok(has_copied)
    }

    /// Tells a person which event in quarantine the copy stands before.
    async fn name_held(&self, lane: Lane, place: &Place) -> Result<(), CopyError> {
        let position = place.applied + 1;
        let held = sqlx::query!(
            "
            select organization_id, stream_id, event_type
            from runtime.quarantine
            where projector = $1 and version = $2 and lane = $3 and position = $4
            ",
            Analytics::NAME,
            place.version,
            lane,
            position
        )
        .fetch_optional(&self.pool)
        .await?;
        // Nothing where somebody saw to it meanwhile.
        if let Some(held) = held {
            error!(
                event.lane = lane,
                event.position = position,
                "event.type" = held.event_type,
                organization.id = %held.organization_id,
                stream.id = %held.stream_id,
                "an event in the quarantine of analytics holds the copy of its lane in ClickHouse up"
            );
        }
        Ok(())
    }

    /// At the beginning, and after a rebuild, everything is copied anew.
    async fn follow_version(&self) -> Result<(), CopyError> {
        let version = sqlx::query_scalar!(
            r#"
            select p.live_version
            from runtime.projections p
            where p.projector = $1
                and not exists (select from copies.lanes c where c.version = p.live_version)
            "#,
            Analytics::NAME
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(version) = version else { return Ok(()) };
        self.clickhouse.empty().await?;
        let lanes: Vec<Lane> = self.log.lanes().collect();
        // At once: an erasure that found no lanes meanwhile would not wait for the copy.
        let mut tx = self.pool.begin().await?;
        remove_places(&mut tx).await?;
        sqlx::query!(
            "
            insert into copies.lanes (lane, version, position)
            select lane, $2, 0 from unnest($1::smallint[]) as lanes (lane)
            on conflict (lane) do nothing
            ",
            &lanes,
            version
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// A clinic whose facts were rebuilt under other pseudonyms: none of the old ones stays.
    async fn follow_epochs(&self) -> Result<(), CopyError> {
        let changed = sqlx::query_scalar!(
            "
            select c.organization_id
            from copies.organizations c
            left join analytics.analytics_organizations o using (organization_id)
            where o.pseudonym_epoch is distinct from c.pseudonym_epoch
            order by c.organization_id
            "
        )
        .fetch_all(&self.pool)
        .await?;
        for id in changed {
            self.clickhouse.forget(OrganizationId::new(id)).await?;
            let mut tx = self.pool.begin().await?;
            sqlx::query!("update copies.lanes set position = 0").execute(&mut *tx).await?;
            sqlx::query!("delete from copies.organizations where organization_id = $1", id)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Says whether it did: not while rows have to be removed that may yet arrive, or that stand under another epoch.
    async fn copy_page(&self, lane: Lane, place: &Place, now: Timestamp) -> Result<bool, CopyError> {
        let mut page = self.log.page(lane, place.copied, PAGE_EVENTS).await?;
        page.retain(|event| event.position <= place.applied);
        let Some(last) = page.last().map(|event| event.position) else { return Ok(false) };
        let keys = self.keys(&page).await?;
        // Before anything stands under them: rows of an epoch that nobody knows of would never be removed.
        if !self.stand_under(&keys).await? {
            return Ok(false);
        }
        let mut asked = Asked::default();
        let events: Vec<Known<'_>> = page
            .iter()
            .filter_map(|event| {
                let (_, key) = keys.get(&event.stream.organization_id)?;
                // What does not parse was discarded from the quarantine, and left no rows.
                Known::of(event, key, &mut asked).ok()
            })
            .collect();
        let needed = Needed::touched_by(&events);
        if !needed.erased.is_empty() && now < self.settled_at {
            return Ok(false);
        }
        let state = self.state(&page, &needed).await?;
        drop(events);
        self.clickhouse.pages(&keys, self.turn).write(&state.facts()).await?;
        self.note(lane, place, last).await?;
        Ok(true)
    }

    /// Nothing while the projector has not begun.
    async fn place(&self, lane: Lane) -> Result<Option<Place>, CopyError> {
        let place = sqlx::query!(
            r#"
            select c.version, l.position as copied, c.position as reached,
                least(c.position, coalesce((
                    select min(q.position) - 1
                    from runtime.quarantine q
                    where q.projector = c.projector and q.version = c.version and q.lane = c.lane
                        and q.discarded_at is null
                ), c.position)) as "applied!"
            from runtime.projections p
            join runtime.checkpoints c on c.projector = p.projector and c.version = p.live_version
            join copies.lanes l on l.lane = c.lane and l.version = c.version
            where p.projector = $1 and c.lane = $2
            "#,
            Analytics::NAME,
            lane
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(place.map(|row| Place {
            version: row.version,
            copied: row.copied,
            applied: row.applied,
            reached: row.reached,
        }))
    }

    /// The keys of the epochs that the rows stand under.
    async fn keys(&self, page: &[Arc<RecordedEvent>]) -> Result<EpochKeys, CopyError> {
        let ids: HashSet<Uuid> = page.iter().map(|event| event.stream.organization_id.uuid()).collect();
        let rows = sqlx::query!(
            "
            select organization_id, pseudonym_epoch
            from analytics.analytics_organizations
            where organization_id = any($1)
            ",
            &ids.into_iter().collect::<Vec<_>>()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut keys = EpochKeys::new();
        for row in rows {
            let id = OrganizationId::new(row.organization_id);
            keys.insert(id, (row.pseudonym_epoch, self.pseudonyms.key(id, row.pseudonym_epoch).await?));
        }
        Ok(keys)
    }

    /// The rows that the events touched, as they stand at one moment.
    async fn state(&self, page: &[Arc<RecordedEvent>], needed: &Needed) -> Result<State, CopyError> {
        let begin =
            "begin isolation level repeatable read read only; set local search_path to analytics, public";
        let mut tx = self.pool.begin_with(begin).await?;
        let mut state = State::default();
        load(&mut tx, &mut state, needed).await.map_err(CopyError::Facts)?;
        let places: Vec<(OrganizationId, Position)> =
            page.iter().map(|event| (event.stream.organization_id, event.position)).collect();
        load_parts(&mut tx, &mut state, &places).await.map_err(CopyError::Facts)?;
        tx.commit().await?;
        state.touch(needed.erased.clone());
        Ok(state)
    }

    /// Remembers the epochs under which rows are about to be written, and says whether they are those of the clinics'
    /// rows that were written before.
    async fn stand_under(&self, keys: &EpochKeys) -> Result<bool, CopyError> {
        let (organizations, epochs): (Vec<Uuid>, Vec<i32>) =
            keys.iter().map(|(id, (epoch, _))| (id.uuid(), *epoch)).unzip();
        let known = sqlx::query!(
            "
            insert into copies.organizations as c (organization_id, pseudonym_epoch)
            select * from unnest($1::uuid[], $2::integer[])
            on conflict (organization_id) do update set pseudonym_epoch = c.pseudonym_epoch
            returning organization_id, pseudonym_epoch
            ",
            &organizations,
            &epochs
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(known.iter().all(|row| {
            keys.get(&OrganizationId::new(row.organization_id))
                .is_some_and(|(epoch, _)| *epoch == row.pseudonym_epoch)
        }))
    }

    async fn note(&self, lane: Lane, place: &Place, last: Position) -> Result<(), CopyError> {
        let mut tx = self.pool.begin().await?;
        // Nothing where the copy began anew meanwhile.
        sqlx::query!(
            "
            update copies.lanes
            set position = $3
            where lane = $1 and version = $2 and position = $4
            ",
            lane,
            place.version,
            last,
            place.copied
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
