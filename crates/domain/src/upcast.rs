//! Lifts the facts of old schema versions to the newest, one step at a time.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::Value;

use crate::catalogue::EventType;
use crate::event::CodecError;

/// One step: from `from_version` to the next.
#[derive(Clone, Copy, Debug)]
pub struct Upcaster {
    /// The type it serves.
    pub event_type: EventType,
    /// The version it takes; it gives `from_version + 1`.
    pub from_version: u16,
    /// Rewrites the facts. Total: every stored event of that version must pass.
    pub lift: fn(Value) -> Value,
}

/// The steps that stored events may need. Empty while every type is in its first version.
pub const UPCASTERS: &[Upcaster] = &[];

/// Brings facts from `version` to `newest`, the version that the code reads.
///
/// # Errors
/// [`CodecError::Version`] when a step is missing or the version is newer than the code.
pub fn upcast(
    steps: &[Upcaster],
    event_type: EventType,
    version: u16,
    newest: u16,
    facts: &[u8],
) -> Result<Vec<u8>, CodecError> {
    let mut value: Value =
        serde_json::from_slice(facts).map_err(|source| CodecError::Facts { event_type, source })?;
    if version > newest {
        return Err(CodecError::Version { event_type, version });
    }
    for from in version..newest {
        let step = steps
            .iter()
            .find(|step| step.event_type == event_type && step.from_version == from)
            .ok_or(CodecError::Version { event_type, version: from })?;
        value = (step.lift)(value);
    }
    serde_json::to_vec(&value).map_err(|source| CodecError::Facts { event_type, source })
}

/// Facts in the schema version that new events of the type are written in; untouched when they already are.
///
/// # Errors
/// As [`upcast`].
pub fn to_newest<'a>(
    steps: &[Upcaster],
    event_type: EventType,
    version: u16,
    facts: &'a [u8],
) -> Result<Cow<'a, [u8]>, CodecError> {
    let newest = event_type.schema_version();
    if version == newest {
        return Ok(Cow::Borrowed(facts));
    }
    upcast(steps, event_type, version, newest, facts).map(Cow::Owned)
}
