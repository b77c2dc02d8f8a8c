//! One page: applied in one statement where its projector can, in a transaction of several otherwise.

use std::sync::Arc;

use sqlx::PgConnection;

use super::super::checkpoint::{Advance, Lease};
use super::super::page_end::PageEnd;
use super::super::projector::{Projector, Reaction, Reactor, end_of};
use super::super::quarantine;
use super::super::transaction::{Durable, begin_step};
use super::{Held, Unit, UnitError};
use crate::effects::{self, Effect, Taker};
use crate::recorded::{Position, RecordedEvent};

/// Whether a page is applied event by event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Singly {
    Yes,
    No,
}

impl<P: Projector> Unit<P> {
    /// Applies the next page in order, and ends it.
    pub(super) async fn apply(
        &self,
        connection: &mut PgConnection,
        held: &mut Held<P::Memory>,
        page: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Reaction>, UnitError> {
        if let (Some(reactor), true) = (&self.reactor, held.waiting.is_empty()) {
            let end = PageEnd {
                advance: self.advance(&held.lease, page),
                taker: self.taker(&**reactor),
                reacted_to: held.reactor_position,
            };
            if let Some(fresh) =
                self.projector.apply_at_once(connection, &mut held.memory, page, &end).await?
            {
                return Ok(reactions(fresh, page));
            }
        }
        self.apply_in_steps(connection, held, page, Singly::No).await
    }

    /// Applies a page event by event, and sets aside what cannot be applied.
    pub(super) async fn apply_singly(
        &self,
        connection: &mut PgConnection,
        held: &mut Held<P::Memory>,
        page: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Reaction>, UnitError> {
        self.apply_in_steps(connection, held, page, Singly::Yes).await
    }

    async fn apply_in_steps(
        &self,
        connection: &mut PgConnection,
        held: &mut Held<P::Memory>,
        page: &[Arc<RecordedEvent>],
        singly: Singly,
    ) -> Result<Vec<Reaction>, UnitError> {
        // Effects leave the process once the page is committed; a page without a reactor can be repeated unseen.
        let durable = if self.reactor.is_some() { Durable::Yes } else { Durable::Later };
        let step = self.advance(&held.lease, page);
        let mut tx = begin_step(connection, durable, &step).await?;
        let end = step.to;
        if !held.waiting.is_empty() {
            // Somebody may have retried or discarded since.
            held.waiting = quarantine::keys(&mut tx, P::NAME, held.lease.version, self.lane).await?;
            held.memory = P::Memory::default();
        }
        let intents =
            if singly == Singly::Yes || page.iter().any(|e| held.waiting.contains(&quarantine::key_of(e))) {
                held.memory = P::Memory::default();
                let version = held.lease.version;
                quarantine::apply_singly(&*self.projector, version, &mut tx, page, &mut held.waiting).await?
            } else {
                self.projector.apply(&mut tx, &mut held.memory, page).await?
            };
        let reactions = self.react(&mut tx, held.reactor_position, end, intents, page).await?;
        tx.commit().await?;
        Ok(reactions)
    }

    fn advance<'a>(&self, lease: &'a Lease, page: &[Arc<RecordedEvent>]) -> Advance<'a> {
        Advance {
            projector: P::NAME,
            lease,
            to: end_of(page).unwrap_or(lease.position),
            recorded_at: page.last().map(|event| event.recorded_at),
            reactor: self.reactor.as_deref().map(Reactor::name),
        }
    }

    fn taker(&self, reactor: &dyn Reactor<P::Intent>) -> Taker<'static> {
        Taker {
            reactor: reactor.name(),
            owner: self.runtime.owner,
            now: self.runtime.log.clock().now(),
            room: reactor.room(),
            limits: reactor.limits(),
        }
    }

    async fn react(
        &self,
        tx: &mut PgConnection,
        after: Position,
        end: Position,
        intents: Vec<P::Intent>,
        page: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Reaction>, sqlx::Error> {
        let Some(reactor) = &self.reactor else { return Ok(Vec::new()) };
        if end <= after {
            return Ok(Vec::new());
        }
        let wishes =
            intents.into_iter().map(|intent| reactor.wish(intent)).filter(|wish| wish.position() > after);
        let fresh = effects::write(tx, self.taker(&**reactor), wishes).await?;
        Ok(reactions(fresh, page))
    }
}

/// Effects with the events of the page that they follow from.
fn reactions(fresh: Vec<Effect>, page: &[Arc<RecordedEvent>]) -> Vec<Reaction> {
    let first = page.first().map_or(0, |event| event.position);
    fresh
        .into_iter()
        .filter_map(|effect| {
            let index = usize::try_from(effect.position - first).ok()?;
            page.get(index).map(|event| Reaction { effect, event: Arc::clone(event) })
        })
        .collect()
}
