//! What one browser has to tell the other so that they can talk directly. It holds their network addresses, so it
//! lies sealed under the organization's own key of that class, and only until it was told.

use carelog_domain::{
    AppointmentId, DataClass, EventId, EventType, KeyId, KeyScope, OrganizationId, Sealed, StreamKind,
};
use carelog_vault::{KeyState, SealContext, Vault, VaultError};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use super::hub::wake;

/// Signals that wait for one browser: an offer, an answer and their candidates are some twenty.
pub const MAX_WAITING: i64 = 200;

/// Why a signal cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// The database failed.
    #[error("signals cannot be kept or read")]
    Database(#[from] sqlx::Error),
    /// The keys cannot be reached.
    #[error("a signal cannot be sealed or opened")]
    Vault(#[from] VaultError),
    /// The other browser takes none.
    #[error("too many signals wait")]
    TooMany,
}

/// A signal for a browser.
#[derive(Clone, PartialEq, Eq)]
pub struct Signal {
    /// From whose stay.
    pub from_session: Uuid,
    /// As the other browser sent it, checked.
    pub json: Vec<u8>,
}

/// From which stay to which.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Whose room.
    pub organization_id: OrganizationId,
    /// Of which appointment.
    pub appointment_id: AppointmentId,
    /// The sender's stay.
    pub from_session: Uuid,
    /// The receiver's.
    pub to_session: Uuid,
}

const fn scope(organization_id: OrganizationId) -> KeyScope {
    KeyScope { organization_id, subject: None, class: DataClass::Network }
}

const fn context(organization_id: OrganizationId, from_session: Uuid, to_session: Uuid) -> SealContext {
    SealContext {
        scope: scope(organization_id),
        stream_kind: StreamKind::VideoRoom,
        stream_id: to_session,
        // No event has this version, so that nothing of the log opens as a signal.
        version: u64::MAX,
        event_id: EventId::new(from_session),
        event_type: EventType::VideoRoomParticipantJoined,
        schema_version: 0,
    }
}

/// Leaves a signal where the process of the other finds it, if both take part in the conversation; says whether they
/// do.
///
/// # Errors
/// See [`SignalError`].
pub fn send<'a>(
    connection: &'a mut PgConnection,
    vault: &'a Vault,
    route: Route,
    json: &'a [u8],
) -> BoxFuture<'a, Result<bool, SignalError>> {
    Box::pin(async move {
        let Route { organization_id, appointment_id, from_session, to_session } = route;
        let KeyState::Live(key) = vault.data_key(&scope(organization_id)).await? else { return Ok(false) };
        let sealed = key.seal(&context(organization_id, from_session, to_session), json)?;
        let waiting = sqlx::query_scalar!(
            r#"select count(*) as "count!" from rooms.signals where organization_id = $1 and to_session = $2"#,
            organization_id.uuid(),
            to_session
        )
        .fetch_one(&mut *connection)
        .await?;
        if waiting >= MAX_WAITING {
            return Err(SignalError::TooMany);
        }
        let done = sqlx::query!(
            "
            insert into rooms.signals (organization_id, to_session, from_session, key_id, sealed)
            select $1, $3, $4, $5, $6
            from rooms.presences
            where organization_id = $1 and appointment_id = $2 and session_id in ($3, $4) and status = 'admitted'
            having count(*) = 2
            ",
            organization_id.uuid(),
            appointment_id.uuid(),
            to_session,
            from_session,
            sealed.key_id.uuid(),
            &*sealed.bytes
        )
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() == 1 {
            wake(connection, appointment_id).await?;
        }
        Ok(done.rows_affected() == 1)
    })
}

/// Takes what waits for a stay, in the order in which it was told.
///
/// # Errors
/// When the database or the vault fails. One that does not open is left out.
pub fn take<'a>(
    connection: &'a mut PgConnection,
    vault: &'a Vault,
    organization_id: OrganizationId,
    to_session: Uuid,
) -> BoxFuture<'a, Result<Vec<Signal>, SignalError>> {
    Box::pin(async move {
        let mut rows = sqlx::query!(
            "
            delete from rooms.signals
            where organization_id = $1 and to_session = $2
            returning signal_id, from_session, key_id, sealed
            ",
            organization_id.uuid(),
            to_session
        )
        .fetch_all(connection)
        .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let KeyState::Live(key) = vault.data_key(&scope(organization_id)).await? else {
            return Ok(Vec::new());
        };
        rows.sort_by_key(|row| row.signal_id);
        let opened = rows.into_iter().filter_map(|row| {
            let sealed = Sealed { key_id: KeyId::new(row.key_id), bytes: row.sealed.into() };
            let json = key.open(&context(organization_id, row.from_session, to_session), &sealed).ok()?;
            Some(Signal { from_session: row.from_session, json })
        });
        Ok(opened.collect())
    })
}
