//! Where moments and ids come from. Nothing else in the workspace may ask the system for either.

use std::fmt::Debug;

use carelog_domain::Timestamp;
use time::OffsetDateTime;
use uuid::Uuid;

/// A source of moments: the system's clock, or one that a test moves by hand.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        Timestamp::try_from(OffsetDateTime::now_utc()).expect("the present lies between the years 0 and 9999")
    }
}

/// A new id, ordered by time (UUID version 7, RFC 9562), so that indexes grow at their right end.
#[expect(clippy::disallowed_methods, reason = "this is the one place that makes ids")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// An id that follows from another id and a name: the same two give the same id in every process.
///
/// UUID version 8 (RFC 9562): the first 48 bits are those of `source`, so that the ids of one time lie
/// together; the rest is SHA-256 over both.
pub fn derived_id(source: Uuid, name: &[u8]) -> Uuid {
    use sha2::{Digest, Sha256};

    let digest = Sha256::new().chain_update(source.as_bytes()).chain_update(name).finalize();
    let mut bytes = *source.as_bytes();
    for (byte, hashed) in bytes.iter_mut().skip(6).zip(digest.iter()) {
        *byte = *hashed;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
