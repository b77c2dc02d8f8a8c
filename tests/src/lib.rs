//! What every test stands on: a real PostgreSQL, a database for each test, and judges that look from outside.
//!
//! # Main types
//! [`TestSystem`] is one Carelog with databases of its own; [`Node`] is one process of it, of which a test may open
//! several. [`invariants`] judges the log with plain SQL as the superuser, so that it shares no statement with the
//! code that it judges. [`Toy`] is a projector that notices what was skipped, repeated or reordered.
//! [`Product`] is the whole of it, with HTTP, workers and a partner's receiver. [`Children`] are real processes that
//! append until they are killed; [`ExampleReceiver`] runs what partners are shown; [`storm`] kills whole products, and their database.
//!
//! # Guarantees
//! Nothing here sleeps for a fixed time: [`until`] asks again until an answer comes, and fails with a text that
//! says what was waited for. Randomness comes from [`Random`] with a seed that a failing test prints.
//!
//! Start reading at `system.rs`, then `tests/all/main.rs`.

mod browser;
mod children;
mod client;
mod clock;
mod examples;
mod invariants;
mod journal;
mod names;
mod process;
mod product;
mod random;
mod relay;
mod remains;
mod storages;
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod storm;
mod system;
mod toy;
mod usage;
mod wait;
mod wishes;

pub use browser::Browser;
pub use children::{Acknowledged, ChildWork, Children, work_as_child};
pub use client::{Answer, Api, ApiClinic, ApiKey, ProductDatabases, follow, send};
pub use clock::{ManualClock, ShiftedClock};
pub use examples::{ExampleReceiver, Language, node_client, python_client, python_environment, told_by};
pub use invariants::{check_immutable, check_invariants};
pub use names::{NameAnswer, Names};
pub use process::{ServerProcess, serve_as_process};
pub use product::{
    Contents, LOOK_FOR_DUE_EFFECTS, Partner, Product, contents, is_documented, is_settled, is_sound,
    new_secret, product_config, rebuild_all, receiver_options, subscribe,
};
pub use random::Random;
pub use relay::Coturn;
pub use remains::Remains;
pub use storages::{EmbeddedS3, SeaweedFs, TwoClinics, serve_storage_as_child};
pub use storm::{as_child, storm, storm_with_failover};
pub use system::{Node, TestSystem};
pub use toy::{Toy, ToyReactor};
pub use usage::Usage;
pub use wait::until;
pub use wishes::{
    appended, at, book, book_for, confirm, details, keyed, register, reschedule, run, scope,
    start_appointment,
};
