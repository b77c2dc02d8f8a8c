//! `carelog witness`: a small program that a clinic, a partner or an auditor runs on a machine of their own.
//!
//! It cosigns the checkpoints of the logs that it is told of (C2SP tlog-witness), and never two that contradict each
//! other. Whoever owns Carelog's databases and keys can then rewrite no history unseen: a verifier whose policy asks for
//! this witness accepts only what the witness has seen grow. It needs no database, and reads nothing of the log but
//! sizes and roots.
//!
//! | file | what |
//! |---|---|
//! | `memory.rs` | the key, and the newest checkpoint of each log; on the disk before anybody gets a cosignature |
//! | `service.rs` | the protocol over HTTP |
//! | `command.rs` | the command line |
//! | `asking.rs` | the other side: the server asks its witnesses, and keeps what they say |
//!
//! # Not here
//! TLS: the listener speaks HTTP/1.1 and stands behind a proxy that ends TLS, as the API does; what it says is signed
//! either way. ML-DSA-44 cosignatures, cosigned subtrees and bastions.

pub mod asking;
pub mod command;
mod memory;
mod service;
#[cfg(test)]
mod tests;

pub use self::memory::{Memory, Places, WitnessError};
