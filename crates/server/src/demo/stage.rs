//! What the demo plays on: PostgreSQL, the receiver, the server, and the clinics in the log.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use carelog_embedded::postgres::{Postgres, PostgresOptions, find_binaries, install_with_package_manager};
use carelog_embedded::receiver::{Behaviour, Receiver, ReceiverError, ReceiverOptions};
use carelog_event_log::{Clock, EventLog, SystemClock};
use futures::future::join_all;
use tokio::time::timeout;

use super::api::{self, ApiClient};
use super::clinics::{Cast, Clinic, write_private};
use super::figures::Figures;
use super::receipts::Receipts;
use super::set_up;
use super::view::View;
use crate::config::{Config, DatabaseConfig};
use crate::databases::{DatabaseOptions, Databases};
use crate::serve::{Roles, Server};
use crate::system::System;

/// Of the databases, as `serve` names them on its private server.
const PREFIX: &str = "carelog";
/// Deliveries of one subscription in a tick, for each command a second: the receiver is ours and may be flooded.
const PER_TICK_FOR_EACH_COMMAND: u32 = 10;

/// How long the server may take to end, of which it takes four at most.
const CLEAR: Duration = Duration::from_secs(5);
/// How long the last count may take.
const LOOK: Duration = Duration::from_secs(5);
/// How long the receiver and connections may take to be closed. PostgreSQL ends what is left, as it would in a crash.
const CLOSE: Duration = Duration::from_secs(1);

/// Everything that runs.
pub(super) struct Stage {
    pub(super) figures: Figures,
    pub(super) api: ApiClient,
    pub(super) cast: Arc<Cast>,
    pub(super) receiver: Arc<Receiver>,
    log: EventLog,
    databases: Databases,
    server: Server,
    postgres: Postgres,
    has_moved: bool,
    home: PathBuf,
}

/// Installs PostgreSQL where it is missing, and says so before.
///
/// # Errors
/// When there is no package manager, or no right to use it.
pub(super) async fn install_postgres(view: &View) -> anyhow::Result<()> {
    if find_binaries().is_err() {
        view.say("PostgreSQL is not installed; installing it with the system's package manager …");
        install_with_package_manager().await.context("PostgreSQL is missing and cannot be installed")?;
    }
    Ok(())
}

impl Stage {
    /// Starts everything; what is to happen in the clinics is up to the caller.
    ///
    /// # Errors
    /// When something does not start.
    pub(super) async fn set(mut config: Config, rate: u32, began: Instant) -> anyhow::Result<Self> {
        config.home = config.home.join("demo");
        // Never anybody's real database.
        config.database = DatabaseConfig::default();
        let per_tick = u16::try_from(rate * PER_TICK_FOR_EACH_COMMAND).ok().and_then(NonZeroU16::new);
        config.webhooks.per_tick_limit =
            config.webhooks.per_tick_limit.max(per_tick.unwrap_or(NonZeroU16::MAX));
        config.webhooks.allow_loopback = true;
        let receipts = Arc::<Receipts>::default();
        let (postgres, (cast, receiver)) =
            tokio::try_join!(start_postgres(&config.home), prepare(&config.home, &receipts))?;
        tracing::debug!(elapsed = ?began.elapsed(), "PostgreSQL and the receiver are up");
        let pem = config.home.join("receiver.pem");
        write_private(&pem, receiver.ca_pem().as_bytes())
            .context("the receiver's certificate cannot be kept")?;
        config.webhooks.extra_root_pem = Some(pem);

        let options = DatabaseOptions::on_server(&postgres.connect_options("postgres"), PREFIX);
        let system = System::open(&options, &config.root_key(), Arc::new(SystemClock)).await?;
        tracing::debug!(elapsed = ?began.elapsed(), "the log is open");
        let organizations = cast.clinics.iter().map(|clinic| clinic.organization_id.uuid()).collect();
        let figures = Figures::new(began, &system, organizations, receipts);
        let (cast, has_moved) = settle(cast, &system.log, &receiver, &config.home).await?;
        let (log, databases) = (system.log.clone(), system.databases.clone());
        config.http.listen = address_for(config.http.listen);
        let server = Server::start(&config, system, Roles::ALL).await?;
        tracing::debug!(elapsed = ?began.elapsed(), "the API is up");
        let base = format!("http://{}", server.address.context("the API has no address")?);
        let api = ApiClient::new(api::connections()?, base);
        let (receiver, home) = (Arc::new(receiver), config.home);
        let cast = Arc::new(cast);
        Ok(Self { figures, api, cast, receiver, log, databases, server, postgres, has_moved, home })
    }

    /// Brings the figures up to date.
    ///
    /// # Errors
    /// When a database fails.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        self.figures.look(&self.receiver).await?;
        self.figures.look_at_lag(&self.log).await?;
        Ok(())
    }

    /// Whether everything that is due was sent and projected.
    ///
    /// # Errors
    /// When a database fails.
    pub(super) async fn is_quiet(&mut self) -> anyhow::Result<bool> {
        self.figures.is_quiet(&self.log).await
    }

    /// Makes one clinic ready, where it is not from an earlier start.
    pub(super) fn set_up(
        &self,
        number: usize,
        clinic: Arc<Clinic>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        let (log, receiver, is_ready) = (self.log.clone(), Arc::clone(&self.receiver), self.cast.is_ready);
        let has_moved = self.has_moved;
        async move {
            if is_ready {
                return Ok(());
            }
            set_up::set_up(&log, &clinic, number, &receiver).await?;
            // An earlier start that broke off may have subscribed another address.
            if has_moved {
                set_up::follow_receiver(&log, &[clinic.as_ref().clone()], &receiver).await
            } else {
                Ok(())
            }
        }
    }

    /// What is to be written down once all clinics are ready.
    pub(super) fn remembering(&self) -> impl FnOnce() -> anyhow::Result<()> + Send + use<> {
        let (cast, home) = (Arc::clone(&self.cast), self.home.clone());
        move || if cast.is_ready { Ok(()) } else { Cast { is_ready: true, ..(*cast).clone() }.save(&home) }
    }

    /// What to know before the figures come. Keys are shown only to somebody who watches, never written to a log.
    pub(super) fn introduction(&self, with_keys: bool) -> String {
        let (base, home) = (self.api.base(), self.home.display());
        let mut lines = vec![
            format!("API          {base}/v1"),
            format!("Description  {base}/docs, {base}/openapi.json"),
            format!("Database     CARELOG_HOME={home} carelog psql"),
        ];
        match self.cast.clinics.first() {
            Some(clinic) if with_keys => {
                lines.push(format!("Keys of {}, for `Authorization: Bearer …`", clinic.name));
                lines.extend(
                    clinic.keys.iter().map(|key| format!("  {:<11}{}", key.role.as_str(), key.text())),
                );
            }
            Some(_) | None => lines.push(format!("Keys         {home}/demo.json")),
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// Stops everything, the server first, so that what is under way is written down; then counts for the last time.
    ///
    /// # Errors
    /// When the last look fails; everything was stopped nevertheless.
    pub(super) async fn clear(self) -> anyhow::Result<Figures> {
        let Self { mut figures, receiver, log, databases, server, postgres, .. } = self;
        drop(log);
        if timeout(CLEAR, server.stop()).await.is_err() {
            tracing::debug!("the server is still about something");
        }
        // What it took to stop is not taken from the last count.
        let looked = timeout(LOOK, figures.look(&receiver)).await;
        let looked = looked.unwrap_or_else(|_| Err(anyhow::anyhow!("the end took too long to count")));
        let closing = async {
            receiver.stop().await;
            close(&databases).await;
        };
        if timeout(CLOSE, closing).await.is_err() {
            tracing::debug!("PostgreSQL ends the connections that are still in use");
        }
        postgres.stop().await;
        looked.map(|()| figures)
    }
}

async fn close(databases: &Databases) {
    let Databases { core_owner, core_system, core_app, audit_owner, audit_system, audit_app, .. } = databases;
    let Databases { analytics_owner, analytics_system, analytics_app, pseudonyms, vault, .. } = databases;
    let core = [core_owner, core_system, core_app, audit_owner, audit_system, audit_app];
    let pools = core.into_iter().chain([analytics_owner, analytics_system, analytics_app, pseudonyms, vault]);
    join_all(pools.map(sqlx::Pool::close)).await;
}

async fn start_postgres(home: &Path) -> anyhow::Result<Postgres> {
    Postgres::start(PostgresOptions::new(home)).await.context("the private PostgreSQL does not start")
}

/// The part that needs no database. The receiver takes its last port again, where that is free.
async fn prepare(home: &Path, receipts: &Arc<Receipts>) -> anyhow::Result<(Cast, Receiver)> {
    let cast = Cast::load_or_draw(home)?;
    let options = |port: u16| {
        let mut options = ReceiverOptions::new(Arc::new(|| SystemClock.now().unix_micros()));
        options.address.set_port(port);
        options.receipts_kept = 0;
        options.on_receipt = Some(receipts.listener());
        options
    };
    let receiver = match Receiver::start(options(cast.receiver_port.unwrap_or(0))).await {
        Err(ReceiverError::Listen { .. }) => Receiver::start(options(0)).await?,
        started => started?,
    };
    for hook in cast.clinics.iter().flat_map(|clinic| &clinic.hooks) {
        let at_receiver = receiver.hook(&hook.name);
        at_receiver.set_secrets(&[&hook.secret])?;
        if hook.fails_every > 0 {
            at_receiver.set_behaviour(Behaviour::FailEvery { every: hook.fails_every, status: 503 });
        }
    }
    Ok((cast, receiver))
}

/// Writes down who is who before anything of it is in the log, and tells the subscriptions of an earlier start where
/// the receiver is now, before anything is sent to where it was. Also says whether the receiver has moved.
async fn settle(
    mut cast: Cast,
    log: &EventLog,
    receiver: &Receiver,
    home: &Path,
) -> anyhow::Result<(Cast, bool)> {
    let port = Some(receiver.address().port());
    let has_moved = cast.receiver_port.is_some() && cast.receiver_port != port;
    if cast.is_ready && has_moved {
        set_up::follow_receiver(log, &cast.clinics, receiver).await?;
    }
    if cast.receiver_port != port {
        cast.receiver_port = port;
        cast.save(home)?;
    }
    Ok((cast, has_moved))
}

/// The address that is wished for, or a free port where it is taken.
fn address_for(wished: SocketAddr) -> SocketAddr {
    match TcpListener::bind(wished) {
        Ok(_) => wished,
        Err(_) => SocketAddr::new(wished.ip(), 0),
    }
}
