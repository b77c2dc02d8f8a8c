//! Personal values on their way out: opened through the vault, or told to be gone.

use carelog_records::SealedColumns;
use carelog_vault::Vault;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A personal value of a record.
#[derive(Clone, Debug)]
pub(super) enum Opened<T> {
    /// The record never had one.
    Absent,
    /// Readable.
    Value(T),
    /// Its key was destroyed.
    Erased,
}

impl<T> Opened<T> {
    /// The value, and whether it was erased.
    pub(super) fn split(self) -> (Option<T>, bool) {
        match self {
            Self::Absent => (None, false),
            Self::Value(value) => (Some(value), false),
            Self::Erased => (None, true),
        }
    }

    /// Where the record says that its values are gone, they are, even if there was none to open.
    pub(super) fn or_erased(self, is_erased: bool) -> Self {
        if is_erased { Self::Erased } else { self }
    }
}

/// Opens a sealed value.
///
/// # Errors
/// When the vault does not answer, or what it opened is of another shape.
pub(super) async fn open<T: DeserializeOwned>(
    vault: &Vault,
    sealed: Option<&SealedColumns>,
) -> Result<Opened<T>, Problem> {
    let Some(columns) = sealed else { return Ok(Opened::Absent) };
    let Some(json) = columns.place.open(vault, &columns.sealed).await? else { return Ok(Opened::Erased) };
    // The parser's message could quote the value, so only its place goes on.
    serde_json::from_slice(&json).map(Opened::Value).map_err(|error| {
        Problem::fault(&format!(
            "a personal part of {} does not parse at line {} column {}",
            columns.place.event_type,
            error.line(),
            error.column()
        ))
    })
}
