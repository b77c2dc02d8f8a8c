//! One running product: projectors, workers and the API on a system, in any combination of roles.
//!
//! `carelog serve` runs it, and so do the demonstration, the benchmarks and the tests, in their own process.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use carelog_analytics::Analytics;
use carelog_analytics::clickhouse::ClickHouse;
use carelog_event_log::effects::{Limits, Wish};
use carelog_event_log::runtime::Reactor;
use carelog_video::daily::DailyApi;
use carelog_video::{VideoProjector, VideoReactor, VideoSettings};
use carelog_webhooks::sending::{AddressPolicy, Lookup, Sender, SenderOptions, SystemLookup, Vetting};
use carelog_webhooks::{
    Checkpoints, Directory, LedgerOnly, WebhooksProjector, WebhooksReactor, keeping, reactor_and_worker,
};
use tokio::net::TcpListener;
use tracing::info;

use crate::analysts;
use crate::audit::Exporter;
use crate::config::Config;
use crate::copying;
use crate::databases::Databases;
use crate::documents;
use crate::erasure;
use crate::exports;
use crate::files;
use crate::forwarding;
use crate::http::{self, Api, Service};
use crate::publishing;
use crate::recordings::RecordingFiles;
use crate::signing::{self, Signing};
use crate::skew;
use crate::storages::Storages;
use crate::system::System;
use crate::witness;

/// How often limits and metrics are tidied.
const TIDY_EVERY: Duration = Duration::from_mins(1);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each role is there or not, whichever the others are")]
pub struct Roles {
    /// Answers HTTP.
    pub api: bool,
    /// Folds events into read models.
    pub projectors: bool,
    /// Sends webhooks and erases patients.
    pub workers: bool,
    /// Signs checkpoints of what was sealed.
    pub signer: bool,
}

impl Roles {
    /// Everything.
    pub const ALL: Self = Self { api: true, projectors: true, workers: true, signer: true };
    /// Nothing, as of a command that runs beside a server.
    pub const NONE: Self = Self { api: false, projectors: false, workers: false, signer: false };
}

impl FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut roles = Self::NONE;
        for name in text.split(',') {
            match name.trim() {
                "api" => roles.api = true,
                "projectors" => roles.projectors = true,
                "workers" => roles.workers = true,
                "signer" => roles.signer = true,
                _ => {
                    let expected = "expected some of api, projectors, workers, signer, separated by commas";
                    return Err(expected.to_owned());
                }
            }
        }
        Ok(roles)
    }
}

/// The product on a system.
#[derive(Debug)]
pub struct Server {
    /// Where the API listens, with the port that was chosen where the configuration left it open. Nothing in a
    /// process without it.
    pub address: Option<SocketAddr>,
    /// Where metrics and health alone are answered, if the configuration asks for that.
    pub metrics_address: Option<SocketAddr>,
    /// The API without a socket. Nothing in a process without it.
    pub service: Option<Service>,
    system: System,
    /// Keeps the worker's channel open in a process that has no projectors.
    reactor: Option<Arc<WebhooksReactor>>,
    video: Option<Arc<VideoReactor>>,
}

impl Server {
    /// Starts what the roles ask for; [`Roles::ALL`] for the whole product. The operator's key is created with the
    /// first start.
    ///
    /// # Errors
    /// When the database does not answer, the address is taken, or a file of the configuration cannot be used.
    pub async fn start(config: &Config, system: System, roles: Roles) -> anyhow::Result<Self> {
        Self::start_with_names(config, system, roles, Arc::new(SystemLookup::new())).await
    }

    /// [`Server::start`] with another source of the addresses that names of receivers lead to.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_with_names(
        config: &Config,
        system: System,
        roles: Roles,
        lookup: Arc<dyn Lookup>,
    ) -> anyhow::Result<Self> {
        // Before any task: a start that fails here leaves nothing behind.
        if roles.projectors || roles.workers {
            let mut owner = system.databases.core_owner.acquire().await?;
            keeping::make_partitions(&mut owner, system.log.clock().now())
                .await
                .context("the partitions of the next weeks cannot be made")?;
        }
        // Fails where another provider was installed before, which does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        http::install_metrics();
        // Not with the API alone: what nobody drains grows.
        system.runtime.tasks.spawn(http::keep_metrics_up(system.runtime.stop.clone()));
        system.follow_other_processes();
        system.runtime.tasks.spawn(skew::watch(system.clone()));
        let _ = system.storages.set(Storages::open(config, &system, roles).await?);
        let vetting = Vetting::new(lookup, policy(config));
        let reactor = start_webhooks(config, &system, &vetting, roles)?;
        let video = start_video(config, &system, roles)?;
        if roles.projectors {
            let databases = &system.databases;
            system.runtime.start(&Arc::new(carelog_records::Records), None, &databases.core_system);
            system.runtime.start(
                &Arc::new(carelog_audit::Audit::new(&system.log)),
                None,
                &databases.audit_system,
            );
            system.runtime.tasks.spawn(forwarding::run(system.clone(), config.forwarding.clone()));
            let sealer =
                carelog_audit::Sealer::new(&system.log, &signing::origin_prefix(&config.proofs, &system.log));
            system.runtime.start(&Arc::new(sealer), None, &databases.audit_system);
            let analytics = Arc::new(Analytics::new(Arc::clone(&system.pseudonyms)));
            system.runtime.start(&analytics, None, &databases.analytics_system);
            let every = config.analytics.publish_every();
            system.runtime.tasks.spawn(publishing::run(system.clone(), every));
            system.runtime.tasks.spawn(analysts::run(system.clone()));
        }
        if roles.projectors || roles.signer {
            system.runtime.tasks.spawn(signing::watch(system.clone(), config.proofs.clone()));
        }
        if roles.signer {
            system.runtime.tasks.spawn(Signing::new(config, &system).run());
            for witness in &config.proofs.witnesses {
                let (config, witness) = (config.proofs.clone(), witness.clone());
                system.runtime.tasks.spawn(witness::asking::run(system.clone(), config, witness));
            }
        }
        if roles.workers {
            system.runtime.tasks.spawn(erasure::run(system.clone()));
            system.runtime.tasks.spawn(files::run(system.clone()));
            if let Some(url) = &config.analytics.clickhouse_url {
                let clickhouse = ClickHouse::new(url.url())?;
                system.runtime.tasks.spawn(copying::run(system.clone(), clickhouse));
            }
            system.runtime.tasks.spawn(documents::run(system.clone()));
            let exporter = Exporter {
                log: system.log.clone(),
                audit: system.databases.audit_system.clone(),
                origin: signing::origin_prefix(&config.proofs, &system.log),
                witnesses: config.proofs.witnesses.clone(),
                max_bytes: config.exports.max_bytes.get(),
            };
            let folder = exports::Folder::open(&config.home).context("exports cannot be kept in the home")?;
            let max_bytes = config.exports.max_bytes();
            let workshop = exports::Workshop { system: system.clone(), exporter, folder, max_bytes };
            system.runtime.tasks.spawn(exports::run(workshop));
            let Databases { core_owner, core_system, .. } = system.databases.clone();
            system.runtime.tasks.spawn(keeping::run(system.runtime.clone(), core_owner, core_system));
        }
        let mut server = Self { address: None, metrics_address: None, service: None, system, reactor, video };
        if roles.api {
            server.start_api(config, vetting).await?;
        }
        if let Some(listen) = config.metrics.listen {
            let service = http::watching_service(server.system.clone(), &config.http);
            server.metrics_address = Some(server.answer(config, listen, service).await?);
        }
        info!(?roles, "started");
        Ok(server)
    }

    async fn start_api(&mut self, config: &Config, vetting: Vetting) -> anyhow::Result<()> {
        let operator = http::load_or_create_operator_key(&config.operator_key()).with_context(|| {
            format!("the operator's key in {} cannot be used", config.operator_key().display())
        })?;
        let api = Arc::new(Api::new(self.system.clone(), config, operator, vetting));
        let service = Arc::clone(&api).service();
        self.address = Some(self.answer(config, config.http.listen, service.clone()).await?);
        self.service = Some(service);
        let runtime = &self.system.runtime;
        let (tasks, stop) = (runtime.tasks.clone(), runtime.stop.clone());
        let rooms = Arc::clone(&api);
        tasks.spawn(async move { rooms.follow_rooms().await });
        tasks.spawn(http::keep_rooms(self.system.clone()));
        tasks.spawn(async move {
            while tokio::time::timeout(TIDY_EVERY, stop.cancelled()).await.is_err() {
                api.tidy();
            }
        });
        Ok(())
    }

    /// Answers on an address; gives it with the port that was chosen.
    async fn answer(
        &self,
        config: &Config,
        listen: SocketAddr,
        service: Service,
    ) -> anyhow::Result<SocketAddr> {
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
        let address = listener.local_addr()?;
        let runtime = &self.system.runtime;
        let (tasks, stop) = (runtime.tasks.clone(), runtime.stop.clone());
        tasks.spawn(http::serve(listener, service, config.http.clone(), tasks.clone(), stop));
        Ok(address)
    }

    /// The system below.
    pub const fn system(&self) -> &System {
        &self.system
    }

    /// Lets requests in flight end, gives leases back, and stops; takes a few seconds at most. Says whether everything
    /// ended.
    pub async fn stop(self) -> bool {
        drop((self.service, self.reactor, self.video));
        self.system.stop().await
    }
}

fn policy(config: &Config) -> AddressPolicy {
    let policy =
        if config.webhooks.allow_loopback { AddressPolicy::with_loopback() } else { AddressPolicy::strict() };
    policy.denying(config.webhooks.denied_networks.iter().map(|network| network.range()))
}

fn start_video(config: &Config, system: &System, roles: Roles) -> anyhow::Result<Option<Arc<VideoReactor>>> {
    if !roles.projectors && !roles.workers {
        return Ok(None);
    }
    let pool = &system.databases.core_system;
    let daily = DailyApi::new(&config.video.daily_url)?;
    let store = Arc::new(RecordingFiles(system.clone()));
    let settings = VideoSettings {
        grace_minutes: config.video.grace_minutes,
        hooks_url: config.video.hooks_url.clone().map(|url| url.trim_end_matches('/').to_owned()),
    };
    let (reactor, worker, at_provider) =
        carelog_video::reactor_and_worker(&system.runtime, pool.clone(), daily, settings, store);
    let reactor = Arc::new(reactor);
    let _ = system.provider_recordings.set(at_provider);
    if roles.workers {
        system.runtime.tasks.spawn(worker.run());
    }
    if roles.projectors {
        let hands_over: Arc<dyn Reactor<Wish>> =
            if roles.workers { Arc::clone(&reactor) as _ } else { Arc::new(carelog_video::LedgerOnly) };
        system.runtime.start(&Arc::new(VideoProjector), Some(&hands_over), pool);
    }
    Ok(Some(reactor))
}

const fn limits(config: &Config) -> Limits {
    Limits {
        per_tick: config.webhooks.per_tick_limit.get(),
        held_per_step: config.webhooks.in_flight_per_subscription.get(),
        held_per_organization: config.webhooks.in_flight_per_organization.get(),
    }
}

fn start_webhooks(
    config: &Config,
    system: &System,
    vetting: &Vetting,
    roles: Roles,
) -> anyhow::Result<Option<Arc<WebhooksReactor>>> {
    if !roles.projectors && !roles.workers {
        return Ok(None);
    }
    let pool = &system.databases.core_system;
    let mut options = SenderOptions::new(vetting.clone());
    if let Some(path) = &config.webhooks.extra_root_pem {
        let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        options.extra_root_pem = Some(pem);
    }
    let checkpoints = Checkpoints::default();
    if roles.workers {
        system.runtime.tasks.spawn(signing::hand_out(
            system.clone(),
            config.proofs.clone(),
            checkpoints.clone(),
        ));
    }
    let directory = Directory::new(system.log.clone(), pool.clone(), vetting.policy().clone())
        .with_checkpoints(checkpoints);
    let (reactor, worker) =
        reactor_and_worker(&system.runtime, pool.clone(), directory, Sender::new(options)?, limits(config));
    let reactor = Arc::new(reactor);
    if roles.workers {
        system.runtime.tasks.spawn(worker.run());
    }
    if roles.projectors {
        let hands_over: Arc<dyn Reactor<Wish>> =
            if roles.workers { Arc::clone(&reactor) as _ } else { Arc::new(LedgerOnly) };
        system.runtime.start(&Arc::new(WebhooksProjector), Some(&hands_over), pool);
    }
    Ok(Some(reactor))
}
