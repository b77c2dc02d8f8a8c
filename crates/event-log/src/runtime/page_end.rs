//! How a page ends: its checkpoint moves, and the effects that follow from it are written into the ledger.
//!
//! A page of few events costs what its messages to the database cost. A projector whose page comes to one statement
//! takes the end of the page into that statement, by calling `runtime.end_page` in it; then the whole page is one
//! message, and its transaction that one statement.

use sqlx::postgres::types::PgInterval;
use time::OffsetDateTime;
use uuid::Uuid;

use super::checkpoint::{self, Advance};
use crate::effects::{self, NewEffect, Taker, Wish};
use crate::recorded::{Lane, Position};

/// The end of a page, for the statement that writes it.
#[derive(Debug)]
pub struct PageEnd<'a> {
    pub(super) advance: Advance<'a>,
    pub(super) taker: Taker<'a>,
    /// Where the reactor stands: what follows from earlier events is in the ledger already.
    pub(super) reacted_to: Position,
}

/// The first argument of `runtime.end_page`.
#[derive(Debug, sqlx::Type)]
#[sqlx(type_name = "runtime.page_end")]
pub struct PageEndRow {
    projector: String,
    version: i32,
    lane: Lane,
    epoch: i64,
    from_position: Position,
    to_position: Position,
    recorded_at: Option<OffsetDateTime>,
    lease: PgInterval,
    reactor: String,
    owner: Uuid,
    claimed_at: OffsetDateTime,
    effect_lease: PgInterval,
    room: i32,
    per_tick: i32,
    held_per_step: i32,
    held_per_organization: i32,
}

/// The other arguments of `runtime.end_page`: effects in the order of their queues, column by column.
#[derive(Debug, Default)]
pub struct EffectColumns {
    /// Their organizations.
    pub organizations: Vec<Uuid>,
    /// What to do.
    pub steps: Vec<Uuid>,
    /// The events that they follow from.
    pub events: Vec<Uuid>,
    /// The lanes of those.
    pub lanes: Vec<Lane>,
    /// The places of those.
    pub positions: Vec<Position>,
}

impl EffectColumns {
    /// Effects, once they stand in the order of their queues, which is the order in which everybody locks queues.
    pub(crate) fn of(mut wanted: Vec<NewEffect>) -> Self {
        wanted.sort_by_key(|effect| (effect.organization_id, effect.step));
        let mut columns = Self::default();
        for effect in wanted {
            columns.organizations.push(effect.organization_id.uuid());
            columns.steps.push(effect.step);
            columns.events.push(effect.source_event_id.uuid());
            columns.lanes.push(effect.lane);
            columns.positions.push(effect.position);
        }
        columns
    }
}

impl PageEnd<'_> {
    /// What `runtime.end_page` has to know, but for the effects.
    pub fn row(&self) -> PageEndRow {
        let Self { advance: Advance { lease, .. }, taker, .. } = self;
        PageEndRow {
            projector: self.advance.projector.to_owned(),
            version: lease.version,
            lane: lease.lane,
            epoch: lease.epoch,
            from_position: lease.position,
            to_position: self.advance.to,
            recorded_at: self.advance.recorded_at.map(OffsetDateTime::from),
            lease: effects::interval(checkpoint::LEASE),
            reactor: taker.reactor.to_owned(),
            owner: taker.owner,
            claimed_at: OffsetDateTime::from(taker.now),
            effect_lease: effects::interval(effects::LEASE),
            room: i32::try_from(taker.room).unwrap_or(i32::MAX),
            per_tick: i32::from(taker.limits.per_tick),
            held_per_step: i32::from(taker.limits.held_per_step),
            held_per_organization: i32::from(taker.limits.held_per_organization),
        }
    }

    /// The effects among `wishes` that may not be in the ledger yet; nothing where a queue is to be changed, which
    /// takes statements of its own.
    pub fn effects(&self, wishes: Vec<Wish>) -> Option<EffectColumns> {
        let mut wanted = Vec::with_capacity(wishes.len());
        for wish in wishes {
            match wish {
                Wish::Effect(effect) if effect.position > self.reacted_to => wanted.push(effect),
                Wish::Effect(_) => {}
                Wish::Queue(_) => return None,
            }
        }
        Some(EffectColumns::of(wanted))
    }
}
