//! The ledger of effects: what reactors want done, and what became of it.
//!
//! An effect is named by organization, reactor, source event and step, so that it can be asked for any number of
//! times and exists once. Whoever holds one has its token; a report with another token is refused, because
//! somebody else has taken over in the meantime. An effect whose lease ran out may or may not have been carried
//! out: the claim says so, and the worker records the outcome as unknown before it tries again.
//!
//! The effects of one organization and step wait in a queue. Room in a queue is what bounds how many begin: its pace,
//! its share of the workers, a pause that the receiver asked for, and, once it fails again and again, one at a time
//! until one succeeds. So one queue with a hundred thousand waiting effects takes nothing from another with ten. The
//! rules are the functions of `migrations/core/0003_effects.sql` and `0011_claims.sql`, inside the statements that
//! insert and claim.
//!
//! A queue also tells which version of something else its effects depend on, such as a subscription: whoever takes an
//! effect is told it, and does not use what it remembers from before.

mod ledger;

use std::time::Duration;

use carelog_domain::{EventId, OrganizationId, Timestamp};
use uuid::Uuid;

pub use self::ledger::{EffectRow, claim, depth, health, load, next_due, report};
pub(crate) use self::ledger::{interval, write};

use crate::recorded::{Lane, Position};

/// How long a worker may hold an effect without a report, by the database's clock.
pub const LEASE: Duration = Duration::from_secs(30);

/// An effect that a reactor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEffect {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The event that it follows from.
    pub source_event_id: EventId,
    /// What to do for that event.
    pub step: Uuid,
    /// The lane of the event.
    pub lane: Lane,
    /// The place of the event in the lane.
    pub position: Position,
}

/// An effect in the hands of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The event that it follows from.
    pub source_event_id: EventId,
    /// What to do for that event.
    pub step: Uuid,
    /// The lane of the event.
    pub lane: Lane,
    /// The place of the event in the lane.
    pub position: Position,
    /// The fencing token.
    pub token: i64,
    /// When somebody took it before who never reported: it may have been carried out.
    pub abandoned_since: Option<Timestamp>,
    /// Whether its queue is closed: it is to be ended, not carried out.
    pub is_closed: bool,
    /// What it depends on has at least this version; 0 where that has not changed since the queue was made.
    pub revision: i64,
}

/// What a worker says of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The effect, as it was taken.
    pub effect: Effect,
    /// When it is due again; nothing when it is done.
    pub next_at: Option<Timestamp>,
    /// What it says of the queue.
    pub sign: Sign,
}

/// What became of an effect, as far as the others of its queue are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing is known: nobody was asked.
    None,
    /// The receiver works.
    Success,
    /// It does not.
    Failure {
        /// Whether it is overloaded, so that the others wait a moment too.
        slow_down: bool,
        /// How long it wants to be left alone.
        hold: Option<Duration>,
    },
}

/// What bounds the effects under way; the same for every queue of a reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Begun in five seconds; a queue may be set to less.
    pub per_tick: u16,
    /// In the hands of workers at a time, of one step.
    pub held_per_step: u16,
    /// In the hands of workers at a time, of one organization.
    pub held_per_organization: u16,
}

impl Limits {
    /// No bound but the room of the workers.
    pub const NONE: Self =
        Self { per_tick: u16::MAX, held_per_step: u16::MAX, held_per_organization: u16::MAX };
}

/// A change of a queue that a reactor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueChange {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The step whose effects wait there.
    pub step: Uuid,
    /// Where the event stands that asks for it.
    pub position: Position,
    /// What changes.
    pub setting: QueueSetting,
    /// The version that what its effects depend on has from here on, where they depend on anything: whoever takes one
    /// later is told it.
    pub revision: Option<i64>,
}

/// What can change in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueSetting {
    /// Nothing but the version that its effects depend on.
    Revised,
    /// How many may begin in five seconds, where that is less than for every queue.
    PerTick(u16),
    /// Nothing is carried out any more; what waits is due, so that the worker can end it.
    Closed,
    /// Effects are carried out again, and earlier failures are forgotten.
    Open,
}

/// What a reactor makes of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// An effect to be carried out.
    Effect(NewEffect),
    /// A queue to be changed.
    Queue(QueueChange),
}

impl Wish {
    /// Where the event stands that the wish follows from.
    pub const fn position(&self) -> Position {
        match self {
            Self::Effect(effect) => effect.position,
            Self::Queue(change) => change.position,
        }
    }
}

/// How a queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueHealth {
    /// The first failure after the last success.
    pub failing_since: Option<Timestamp>,
    /// Failures in a row; those under way together count as one.
    pub failures: u32,
    /// Nothing is begun before.
    pub held_until: Option<Timestamp>,
}

/// How much a queue has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLoad {
    /// Effects that are due, in the hands of workers, or due within the time of a lease; counted up to a bound.
    pub waiting: u16,
    /// How many may begin in five seconds, where that is less than for every queue.
    pub per_tick: Option<u16>,
    /// Whether it is tried one effect at a time, or left alone for a while, because it fails.
    pub is_failing: bool,
}

/// What waits in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Depth {
    /// Effects that are due.
    pub due: i64,
    /// Effects whose time has not come.
    pub later: i64,
    /// Effects in the hands of workers.
    pub held: i64,
    /// For how many seconds the oldest one has been due.
    pub oldest_due_seconds: f64,
    /// Queues whose newest effects failed.
    pub failing_queues: i64,
}

/// What came of reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// How many were refused because their token is old.
    pub refused: u64,
    /// Queues that have failed for too long, and five times or more.
    pub lost: Vec<(OrganizationId, Uuid)>,
}

/// Who takes effects, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Taker<'a> {
    /// The reactor whose effects these are.
    pub reactor: &'a str,
    /// The worker process.
    pub owner: Uuid,
    /// Now, by the clock that also dates outcomes in the log.
    pub now: Timestamp,
    /// How many it can take.
    pub room: usize,
    /// What bounds each queue.
    pub limits: Limits,
}

impl Sign {
    const fn succeeded(self) -> Option<bool> {
        match self {
            Self::None => None,
            Self::Success => Some(true),
            Self::Failure { .. } => Some(false),
        }
    }

    const fn slows_down(self) -> bool {
        matches!(self, Self::Failure { slow_down: true, .. })
    }

    const fn hold(self) -> Option<Duration> {
        match self {
            Self::Failure { hold, .. } => hold,
            Self::None | Self::Success => None,
        }
    }
}
