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
//! Rooms are made by the provider that the organization configured, and by Carelog itself where it configured none: an
//! embedded room needs no call, only the event. A room stays with whoever made it. `embedded` holds what those rooms
//! need besides: links, presence, relays. [`carelog_domain::video_room::RoomProvider`] is the place for others.
//!
//! What happens in rooms comes in two ways: notices, which the API puts into the log as they came ([`daily::HookKey`]),
//! and Daily's lists, which are compared with the log every ten minutes. Both end in the same commands of a room, which
//! decides what is news. Recordings are brought to what the log asks for at each look: begun only with leave, ended when
//! it goes, fetched into the clinic's storage through [`RecordingStore`], and deleted at Daily; [`ProviderRecordings`]
//! removes what is there of a patient who is to be forgotten. In an embedded room the
//! specialist's page makes them, and leaves them piece by piece in the clinic's storage.
//!
//! Start reading at `model.rs`, then `plan.rs`, `settle.rs` and `worker.rs`.

pub mod daily;
mod directory;
pub mod embedded;
mod fetch;
mod model;
mod notice;
mod own_recordings;
pub mod plan;
mod projector;
mod provider_recordings;
pub mod quality;
pub mod queries;
mod reactor;
mod reconcile;
mod recordings;
mod settle;
mod sweep;
mod worker;

pub use directory::{Directory, DirectoryError};
pub use fetch::{Content, RecordingFile, RecordingPieces, RecordingStore, StoreError, file_of_recording};
pub use model::{
    OrganizationRow, Page, RoomKey, RoomRow, RoomState, RoomStatus, RoomWish, SealedCredentials, room_id,
};
pub use projector::VideoProjector;
pub use provider_recordings::{ProviderRecordings, RemoveError};
pub use reactor::{LedgerOnly, REACTOR, VideoReactor};
pub use worker::{VideoSettings, VideoWorker, reactor_and_worker};
