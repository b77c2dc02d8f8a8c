//! The budget of a tick: at most so many deliveries of one subscription start in one 5-second tick.
//!
//! Ticks are cut from the clock (tick number = unix time / length), not from the first delivery, so that every
//! process counts alike. Within a tick the budget is spent at once: the first delivery of a quiet subscription
//! does not wait. The state belongs in the subscription's row, next to the lease that guards it; all functions
//! here are pure.

use std::time::Duration;

/// How fast one subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    tick_ms: u64,
    limit: u32,
}

/// What was spent so far: the tick that was last drawn from, and how much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickState {
    pub tick_index: u64,
    pub started: u32,
}

/// The answer to a wish to start deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How many may start now.
    pub start_now: u32,
    /// What remains for [`Pace::due_ticks`].
    pub waiting: u32,
    /// To be stored once `start_now` have started.
    pub state: TickState,
}

/// A tick and how many may start in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTick {
    pub tick_index: u64,
    /// When it begins, in unix milliseconds.
    pub due_ms: u64,
    pub count: u32,
}

impl Pace {
    /// 50 per 5 seconds: the published ceiling.
    pub const STANDARD: Self = Self { tick_ms: 5_000, limit: 50 };

    /// Another pace; `None` when it would start nothing, ever.
    pub fn new(tick: Duration, limit: u32) -> Option<Self> {
        let tick_ms = u64::try_from(tick.as_millis()).ok()?;
        (tick_ms > 0 && limit > 0).then_some(Self { tick_ms, limit })
    }

    /// The number of the tick that `now_ms` (unix milliseconds) lies in.
    pub const fn tick_at(self, now_ms: u64) -> u64 {
        now_ms / self.tick_ms
    }

    /// How many of `wanted` may start at `now_ms`.
    ///
    /// A state from a later tick, left by a clock that stepped back or by a reservation, starts nothing until
    /// that tick has come.
    pub fn admit(self, now_ms: u64, state: TickState, wanted: u32) -> Budget {
        let tick_index = self.tick_at(now_ms);
        let state = if state.tick_index < tick_index { TickState { tick_index, started: 0 } } else { state };
        let free = if state.tick_index == tick_index { self.limit.saturating_sub(state.started) } else { 0 };
        let start_now = wanted.min(free);
        Budget {
            start_now,
            waiting: wanted - start_now,
            state: TickState { started: state.started + start_now, ..state },
        }
    }

    /// The ticks in which `waiting` deliveries become due after [`Pace::admit`] left `state`: the first ones
    /// fill what that tick still has if it lies ahead, then each following tick.
    pub fn due_ticks(self, now_ms: u64, state: TickState, waiting: u32) -> impl Iterator<Item = DueTick> {
        let next = self.tick_at(now_ms) + 1;
        let mut cursor =
            if state.tick_index < next { TickState { tick_index: next, started: 0 } } else { state };
        let mut waiting = waiting;
        std::iter::from_fn(move || {
            if waiting == 0 {
                return None;
            }
            if cursor.started >= self.limit {
                cursor = TickState { tick_index: cursor.tick_index + 1, started: 0 };
            }
            let count = waiting.min(self.limit - cursor.started);
            waiting -= count;
            cursor.started += count;
            let tick_index = cursor.tick_index;
            Some(DueTick { tick_index, due_ms: tick_index.saturating_mul(self.tick_ms), count })
        })
    }
}

#[cfg(test)]
mod tests;
