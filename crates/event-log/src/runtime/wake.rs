//! News of appends between processes: a coalesced NOTIFY, and a poll for when it gets lost.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::log::EventLog;
use crate::recorded::Position;

const CHANNEL: &str = "carelog_heads";
/// At most one NOTIFY in this time; never inside an append, whose commits it would serialise.
const NOTIFY_EVERY: Duration = Duration::from_millis(20);
/// How often the heads are asked for.
const POLL_EVERY: Duration = Duration::from_millis(200);

/// Tells other processes of appends here, and hears of theirs, until `stop`.
pub fn follow_other_processes(
    log: EventLog,
    pool: PgPool,
    stop: CancellationToken,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = tell(&log) => {}
            () = listen(&log, &pool) => {}
            () = poll(&log) => {}
        }
    })
}

async fn poll(log: &EventLog) {
    loop {
        tokio::time::sleep(POLL_EVERY).await;
        if let Err(error) = log.refresh_heads().await {
            warn!(error = %error, "the heads of the lanes cannot be read");
        }
    }
}

async fn tell(log: &EventLog) {
    let mut told = log.own_heads();
    loop {
        tokio::time::sleep(NOTIFY_EVERY).await;
        let heads = log.own_heads();
        if heads == told {
            continue;
        }
        let news = heads.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(news).execute(log.pool()).await {
            Ok(_) => told = heads,
            Err(error) => warn!(error = %error, "other processes cannot be told of appends"),
        }
    }
}

async fn listen(log: &EventLog, pool: &PgPool) {
    loop {
        if let Err(error) = listen_once(log, pool).await {
            warn!(error = %error, "news of other processes cannot be heard; polling goes on");
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

async fn listen_once(log: &EventLog, pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let notification = listener.recv().await?;
        for (lane, position) in log.lanes().zip(notification.payload().split(',')) {
            let known = *log.head(lane).borrow();
            // Any session may say anything here: it is asked where the heads are, not believed.
            if position.parse().is_ok_and(|position: Position| position > known) {
                log.refresh_heads().await?;
                break;
            }
        }
    }
}
