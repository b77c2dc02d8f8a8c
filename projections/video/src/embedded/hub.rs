//! Wakes whoever waits for something to happen in a room, in this process and in the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carelog_domain::AppointmentId;
use sqlx::postgres::PgListener;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

const CHANNEL: &str = "carelog_rooms";
/// Before the notifications are listened to again. Nobody depends on them: whoever waits looks now and then.
const PAUSE: Duration = Duration::from_secs(1);

/// The rooms of which somebody in this process waits to hear.
#[derive(Clone, Debug, Default)]
pub struct Hub {
    rooms: Arc<Mutex<HashMap<Uuid, watch::Sender<u64>>>>,
}

/// Hears of one room, until it is dropped.
#[derive(Debug)]
pub struct Woken {
    hub: Hub,
    room: Uuid,
    heard: watch::Receiver<u64>,
}

/// Tells every process that something happened in the room of an appointment, once the transaction is committed.
///
/// # Errors
/// When the database fails.
pub async fn wake(connection: &mut PgConnection, appointment_id: AppointmentId) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_notify($1, $2)")
        .bind(CHANNEL)
        .bind(appointment_id.uuid().to_string())
        .execute(connection)
        .await?;
    Ok(())
}

impl Hub {
    /// Hears of a room from now on.
    pub fn hear(&self, appointment_id: AppointmentId) -> Woken {
        let room = appointment_id.uuid();
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = rooms.entry(room).or_insert_with(|| watch::Sender::new(0)).subscribe();
        Woken { hub: self.clone(), room, heard }
    }

    /// Passes on what the database tells; to be run once in a process, until it stops.
    pub async fn follow(&self, pool: &PgPool) {
        loop {
            if let Err(error) = self.follow_once(pool).await {
                warn!(error = %error, "news of rooms cannot be heard; they are looked at now and then");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        // What was told before may have been missed.
        self.rooms().values().for_each(bump);
        loop {
            let notification = listener.recv().await?;
            let Ok(room) = notification.payload().parse::<Uuid>() else { continue };
            if let Some(told) = self.rooms().get(&room) {
                bump(told);
            }
        }
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, watch::Sender<u64>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bump(told: &watch::Sender<u64>) {
    told.send_modify(|count| *count = count.wrapping_add(1));
}

impl Woken {
    /// Waits until something happened since the last call.
    pub async fn changed(&mut self) {
        if self.heard.changed().await.is_err() {
            // Its sender is dropped with the last who hears, so never before this one.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        let mut rooms = self.hub.rooms();
        if rooms.get(&self.room).is_some_and(|told| told.receiver_count() <= 1) {
            rooms.remove(&self.room);
        }
    }
}
