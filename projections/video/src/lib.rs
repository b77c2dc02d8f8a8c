//! Video rooms: which appointment has one, until when, and what became of making it.
//!
//! [`VideoProjector`] folds appointments by video, the settings and the provider of their organization, and what is
//! told of rooms. When an appointment is onboarded, moves or is called off, it *intends* that somebody looks at its
//! room; the [`VideoReactor`] names the effect, the runtime writes it into the ledger in the same transaction, and the
//! [`VideoWorker`] carries it out: it compares what the appointment asks for with what the room's stream says
//! ([`plan`]), calls the provider, and appends the outcome, from where the projector folds it. No request by anybody is
//! needed, and nobody but the worker calls the provider; joining takes a token that is signed on the spot
//! ([`daily::MeetingToken`]).
//!
//! Tables: `video_organizations`, `video_rooms`.
//!
//! Guarantees: one room at a time for an appointment, under a name that follows from it. A worker that dies between
//! call and record leaves an effect whose outcome is unknown; whoever takes it up asks the provider for the room by
//! name before it makes one. Failures are events, with the moment of the next try. A room is looked at once more when
//! its window is over. A rebuild calls nobody.
//!
//! Rooms are made by the provider that the organization configured; without one there is no room, and one that is
//! configured later is asked for the rooms that are lacking. [`carelog_domain::video_room::RoomProvider`] is the place
//! for others than Daily.
//!
//! Start reading at `model.rs`, then `plan.rs`, `settle.rs` and `worker.rs`.

pub mod daily;
mod directory;
mod model;
pub mod plan;
mod projector;
pub mod queries;
mod reactor;
mod settle;
mod sweep;
mod worker;

pub use directory::{Directory, DirectoryError};
pub use model::{
    OrganizationRow, Page, RoomKey, RoomRow, RoomState, RoomStatus, RoomWish, SealedCredentials, room_id,
};
pub use projector::VideoProjector;
pub use reactor::{LedgerOnly, REACTOR, VideoReactor};
pub use worker::{VideoWorker, reactor_and_worker};
