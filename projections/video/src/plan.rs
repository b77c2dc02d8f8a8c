//! What is to be done with a room, from what its appointment asks for and what there is. Pure.

#[cfg(test)]
mod tests;

use std::time::Duration;

use carelog_domain::Timestamp;
use carelog_domain::appointment::TimePrecision;
use carelog_domain::video_room::{RoomEnd, RoomWindow};

use crate::model::{RoomRow, RoomStatus, RoomWish};

/// An appointment whose end was not said takes so long.
const PRESUMED_MINUTES: i64 = 60;
const MINUTE_MICROS: i64 = 60_000_000;
/// An appointment of which only the day is known takes the day.
const DAY_MINUTES: i64 = 24 * 60;

/// Before the second try; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest time between two tries.
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make a room with this window.
    Create(RoomWindow),
    /// Give the room this window.
    Move(RoomWindow),
    /// Take the room away.
    Close(RoomEnd),
    /// Tell that the room has closed by itself.
    Expire,
    /// Nothing until this moment, when the room closes by itself.
    RestUntil(Timestamp),
    /// Nothing, unless something happens.
    Rest,
}

/// When the room of an appointment can be entered. What its specialist added holds as long as the appointment itself
/// ends when it did.
pub fn window(row: &RoomRow, waiting_room_minutes: u16, grace_minutes: u16) -> RoomWindow {
    let ends_at = match row.precision {
        TimePrecision::Day => row.starts_at.saturating_add_micros(DAY_MINUTES * MINUTE_MICROS),
        TimePrecision::Minute => row
            .ends_at
            .unwrap_or_else(|| row.starts_at.saturating_add_micros(PRESUMED_MINUTES * MINUTE_MICROS)),
    };
    let planned = ends_at.saturating_add_micros(i64::from(grace_minutes) * MINUTE_MICROS);
    let extended = row
        .window
        .filter(|_| row.status == RoomStatus::Open && row.planned_expires_at == Some(planned))
        .map(|there| there.expires_at);
    RoomWindow {
        opens_at: row.starts_at.saturating_add_micros(-i64::from(waiting_room_minutes) * MINUTE_MICROS),
        expires_at: extended.unwrap_or(planned),
    }
}

/// What is to be done next with a room that should have the window `asked`.
pub fn next_step(row: &RoomRow, asked: RoomWindow, now: Timestamp) -> Step {
    let is_to_come = now < asked.expires_at;
    let there = row.window.filter(|_| row.status == RoomStatus::Open);
    match (row.wish, there) {
        (_, Some(there)) if there.expires_at <= now => Step::Expire,
        (RoomWish::Cancelled, Some(_)) => Step::Close(RoomEnd::AppointmentCancelled),
        (RoomWish::NoShow, Some(_)) => Step::Close(RoomEnd::NoShow),
        (RoomWish::Wanted, Some(there)) if there != asked && is_to_come => Step::Move(asked),
        (RoomWish::Wanted | RoomWish::NotYet, Some(there)) => Step::RestUntil(there.expires_at),
        (RoomWish::Wanted, None) if is_to_come => Step::Create(asked),
        (RoomWish::Wanted | RoomWish::NotYet | RoomWish::Cancelled | RoomWish::NoShow, None) => Step::Rest,
    }
}

/// When something is tried again that failed `attempt` times in a row; never once nobody needs it any more.
pub fn next_attempt(
    attempt: u16,
    asked_pause: Option<Duration>,
    now: Timestamp,
    needed_until: Timestamp,
) -> Option<Timestamp> {
    let doublings = u32::from(attempt.saturating_sub(1)).min(16);
    let pause = (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE).max(asked_pause.unwrap_or_default());
    let at = now.saturating_add_micros(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
    (at < needed_until).then_some(at)
}
