//! Keys, compared with the commitments that leaves have of them: a ciphertext that opens under two keys to two texts would
//! otherwise leave every hash as it is.

use std::collections::BTreeMap;

use carelog_event_log::RecordedEvent;
use carelog_proof::bundle::DamageKind;
use carelog_vault::{VaultError, commitments};
use sqlx::PgPool;

use super::{LiveError, damaged};

/// Whether the keys of events, as far as they are there, are those that they were sealed with.
pub(super) async fn are_those_of(vault: &PgPool, events: &[RecordedEvent]) -> Result<(), LiveError> {
    let parts = events.iter().filter_map(|event| Some((event, event.personal.as_ref()?)));
    let sealed: Vec<_> = parts.map(|(event, part)| (event.event_id, part)).collect();
    let key_ids: Vec<_> = sealed.iter().map(|(_, part)| part.sealed.key_id).collect();
    let known = commitments(vault, &key_ids).await.map_err(|error| match error {
        VaultError::Database(error) => error.into(),
        other => damaged(DamageKind::KeyMismatch, other.to_string()),
    })?;
    let known: BTreeMap<_, _> = known.into_iter().collect();
    for (event_id, part) in sealed {
        let key_id = part.sealed.key_id;
        match known.get(&key_id) {
            Some(Some(commit)) if *commit != part.key_commit => {
                let detail = format!("key {key_id} is not the one that event {event_id} was sealed with");
                return Err(damaged(DamageKind::KeyMismatch, detail));
            }
            // Of a destroyed key nothing is left to compare.
            Some(_) => {}
            None => {
                let detail = format!("the vault has never had key {key_id} of event {event_id}");
                return Err(damaged(DamageKind::KeyMismatch, detail));
            }
        }
    }
    Ok(())
}
