//! How the fake misbehaves on command.

use std::collections::VecDeque;
use std::time::Duration;

use http::Method;

/// Which requests meet a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// Any.
    Any,
    /// Those that make a room.
    Create,
    /// Those that change a room.
    Update,
    /// Those that read a room.
    Read,
    /// Those that take a room away.
    Delete,
    /// Those that begin a recording.
    StartRecording,
    /// Those that end a recording.
    StopRecording,
    /// Those that take a recording away.
    DeleteRecording,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered late, and done before.
    Slow(Duration),
    /// It is not done, and answered with this status.
    Status(u16),
    /// It is not done, and answered with 429 and `Retry-After` in seconds.
    Limited(u64),
    /// It is not done, and the connection breaks.
    LoseRequest,
    /// It is done, and the connection breaks before the answer.
    LoseAnswer,
    /// It is done, and no answer ever comes.
    NoAnswer,
    /// It is done, and the answer is no JSON.
    Garbage,
}

/// Faults to come.
#[derive(Debug, Default)]
pub(super) struct Faults {
    next: VecDeque<(On, Fault)>,
    pub(super) always: Option<Fault>,
}

impl Faults {
    pub(super) fn next(&mut self, on: On, faults: impl IntoIterator<Item = Fault>) {
        self.next.extend(faults.into_iter().map(|fault| (on, fault)));
    }

    /// The fault that a request meets.
    pub(super) fn take(&mut self, method: &Method, path: &[&str]) -> Option<Fault> {
        let is_met = |on: On| match on {
            On::Any => true,
            On::Create => method == Method::POST && path == ["rooms"],
            On::Update => method == Method::POST && matches!(path, ["rooms", _]),
            On::Read => method == Method::GET && matches!(path, ["rooms", _]),
            On::StartRecording => matches!(path, ["rooms", _, "recordings", "start"]),
            On::StopRecording => matches!(path, ["rooms", _, "recordings", "stop"]),
            On::DeleteRecording => method == Method::DELETE && matches!(path, ["recordings", _]),
            On::Delete => method == Method::DELETE && matches!(path, ["rooms", _]),
        };
        let place = self.next.iter().position(|(on, _)| is_met(*on));
        place.and_then(|place| self.next.remove(place)).map(|(_, fault)| fault).or(self.always)
    }
}
