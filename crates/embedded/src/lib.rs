//! What a machine without services needs to run Carelog.
//!
//! - [`postgres`]: a supervisor of a private PostgreSQL server, reachable only
//!   through a Unix socket; [`postgres::TestServer`] is the same server for tests.
//! - [`receiver`]: an HTTPS receiver of webhooks with its own certificate
//!   authority, the partner's side in the demo, in tests and in benchmarks;
//!   the program `fault-receiver` is thin over it.
//! - [`s3`]: an S3 server over encrypted files.
//! - [`daily`]: a Daily for tests, strict about the vendor's contract.
//! - [`packages`]: the system's package manager.
//!
//! Guarantees: an acknowledged commit survives the death of any process here
//! (only [`postgres::Durability::TestOnly`] gives that up); no server outlives
//! the next start on its home; nothing is installed unless
//! [`postgres::install_with_package_manager`] or [`packages::install`] is called.
//!
//! Non-goals: migrations, configuration files and upgrades between major
//! versions of PostgreSQL. Start reading at [`postgres::Postgres::start`].

pub mod daily;
pub mod packages;
pub mod postgres;
pub mod receiver;
pub mod s3;
