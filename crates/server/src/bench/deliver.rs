//! Delivering: from an HTTP command to a receiver that verifies signatures, beside a loop that posts the same bodies.
//!
//! The receiver is the embedded one, HTTPS with an authority of its own, in a separate process, so that its
//! processor time is nobody's here. It counts what verified. Four modes for the product, two for the limit:
//!
//! - *backlog*: appointments are appended while no worker runs, until the ledger holds a due delivery for each; then a
//!   server with projectors and workers starts. The clock runs until the last receipt.
//! - *flow*: clients post `/v1/appointments` in a closed loop to a server with every role; the clock runs until the
//!   last receipt. The clients are in this process: their processor time is part of Carelog's.
//! - *steady*: the same at a fixed rate, far below the limit; from the moment a command is sent to its receipt. What the
//!   modes before left to the disk is written first.
//! - *fan-out*: a few events of a clinic with a thousand subscriptions, all at once, to a server with projectors and
//!   workers.
//! - *bare steady*: at the same rate one row is committed and one such body posted, and nothing else.
//! - *limit*: 64 loops post bodies of the same size, signed beforehand, over connections that are kept alive.

mod bare;
mod flow;
mod partner;
mod receiver;

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use carelog_event_log::runtime::lag;

use self::flow::HttpClients;
use self::partner::Partner;
use self::receiver::ReceiverProcess;
pub(super) use self::receiver::{ReceiverOptions, receive};
use super::report::Report;
use super::stage::Stage;
use super::usage::{Meter, Usage, resident_mebibytes};
use super::{Common, UNLIMITED};
use crate::config::Config;
use crate::serve::{Roles, Server};
use crate::system::System;

const BACKLOG: &str = "backlog";
const FLOW: &str = "flow";
const STEADY: &str = "steady";
const FAN_OUT: &str = "fan-out";
const LIMIT: &str = "bare: signed posts, 64 in flight";
const BARE_STEADY: &str = "bare: one row committed, one signed post";
/// Longest wait for receipts that do not come.
const PATIENCE: Duration = Duration::from_mins(5);

const PROJECTORS: Roles = Roles { api: false, projectors: true, workers: false, signer: false };
const CONSUMERS: Roles = Roles { api: false, projectors: true, workers: true, signer: false };

/// Options of `bench deliver`.
#[derive(Clone, Debug, clap::Args)]
pub struct DeliverOptions {
    #[command(flatten)]
    pub(super) common: Common,
    /// Deliveries of the backlog and of the limit [default: 20000, quick: 500].
    #[arg(long)]
    events: Option<u64>,
    /// Seconds of flow and of the steady rate [default: 10, quick: 1].
    #[arg(long)]
    seconds: Option<f64>,
    /// Clients of the flow.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Commands a second of the steady rate [default: 300, quick: 50].
    #[arg(long)]
    rate: Option<u32>,
    /// Organizations, each with one subscription.
    #[arg(long, default_value_t = 16)]
    organizations: usize,
    /// Subscriptions of the clinic whose events are for all of them [default: 1000, quick: 100].
    #[arg(long)]
    subscriptions: Option<u64>,
}

impl DeliverOptions {
    fn events(&self) -> u64 {
        self.events.unwrap_or(if self.common.quick { 500 } else { 20_000 })
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.common.quick { 1.0 } else { 10.0 }))
    }

    fn subscriptions(&self) -> u64 {
        self.subscriptions.unwrap_or(if self.common.quick { 100 } else { 1_000 }).max(1)
    }

    fn rate(&self) -> u32 {
        self.rate.unwrap_or(if self.common.quick { 50 } else { 300 })
    }
}

/// What the modes share.
struct Scene<'a> {
    options: &'a DeliverOptions,
    stage: &'a Stage,
    config: Config,
    partner: Partner,
    /// The clinic with many subscriptions.
    crowd: Partner,
    receiver: ReceiverProcess,
}

pub(super) async fn run(options: &DeliverOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let receiver = ReceiverProcess::start().await?;
    let system = stage.open().await?;
    let partner = Partner::subscribe(&system, &receiver.hello, options.organizations).await?;
    let crowd = Partner::subscribe_often(&system, &receiver.hello, options.subscriptions()).await?;
    system.stop().await;
    let config = config(stage, &receiver)?;
    report.remark(format!(
        "{} organizations with a subscription each; the receiver verifies every signature in a process of its own.",
        options.organizations
    ));
    let mut scene = Scene { options, stage, config, partner, crowd, receiver };
    // The reactor begins at the present when it is new: from here on, nothing is left out.
    scene.project_everything().await?;
    for round in 1..=options.common.rounds() {
        eprintln!("deliver: round {round} of {}", options.common.rounds());
        Box::pin(scene.backlog(report)).await?;
        scene.limit(report).await?;
        scene.fan_out(report).await?;
        scene.flow(report).await?;
        Box::pin(scene.steady(report)).await?;
    }
    report.ratio("backlog ÷ bare", BACKLOG, LIMIT);
    report.ratio("fan-out ÷ bare", FAN_OUT, LIMIT);
    report.ratio("flow ÷ bare", FLOW, LIMIT);
    let steady = format!("{STEADY} at {}/s, command to receipt, p50", options.rate());
    report.ratio("steady, p50 ÷ bare", &steady, &format!("{BARE_STEADY} at {}/s, p50", options.rate()));
    if let Some(resident) = resident_mebibytes() {
        report.figure("memory of carelog", "MiB", resident);
    }
    let counts = scene.receiver.counts().await?;
    report.check(
        "every receipt verified",
        counts.refused_signatures == 0 && counts.received == counts.verified,
    );
    scene.receiver.stop().await
}

fn config(stage: &Stage, receiver: &ReceiverProcess) -> anyhow::Result<Config> {
    let authority = stage.directory.join("receiver.pem");
    std::fs::write(&authority, &receiver.hello.ca_pem).context("the receiver's authority cannot be kept")?;
    let mut config = Config { home: stage.directory.clone(), ..Config::default() };
    config.http.listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    config.http.requests_per_second = UNLIMITED;
    config.http.anonymous_requests_per_second = UNLIMITED;
    config.webhooks.allow_loopback = true;
    config.webhooks.extra_root_pem = Some(authority);
    config.webhooks.per_tick_limit = NonZeroU16::MAX;
    config.webhooks.in_flight_per_subscription = NonZeroU16::MAX;
    config.webhooks.in_flight_per_organization = NonZeroU16::MAX;
    Ok(config)
}

impl Scene<'_> {
    async fn serve(&self, roles: Roles) -> anyhow::Result<Server> {
        Server::start(&self.config, self.stage.open().await?, roles).await
    }

    /// Runs the projectors alone, up to the head.
    async fn project_everything(&self) -> anyhow::Result<()> {
        let server = self.serve(PROJECTORS).await?;
        wait_for_projectors(server.system()).await?;
        server.stop().await;
        Ok(())
    }

    async fn backlog(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let wanted = self.options.events();
        let system = self.stage.open().await?;
        self.partner.append_announced(&system.log, wanted).await?;
        system.stop().await;
        self.project_everything().await?;

        let received = self.receiver.counts().await?.verified;
        let before = self.stage.meter().read();
        let began = Instant::now();
        let server = self.serve(CONSUMERS).await?;
        let last = self.receiver.wait_for(received + wanted).await?;
        report.figure(BACKLOG, "deliveries/s", wanted as f64 / (last - began).as_secs_f64());
        settle(server.system()).await?;
        self.enter_processor_time(report, BACKLOG, before, wanted);
        let now = self.receiver.counts().await?.verified;
        report
            .check(format!("{BACKLOG}: {wanted} deliveries verified, none twice"), now == received + wanted);
        server.stop().await;
        Ok(())
    }

    async fn fan_out(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let subscriptions = self.options.subscriptions();
        let events = (self.options.events() / subscriptions).max(1);
        let wanted = events * subscriptions;
        let server = self.serve(CONSUMERS).await?;
        wait_for_projectors(server.system()).await?;
        let received = self.receiver.counts().await?.verified;
        let before = self.stage.meter().read();
        let began = Instant::now();
        self.crowd.append_announced(&server.system().log, events).await?;
        let last = self.receiver.wait_for(received + wanted).await?;
        report.figure(FAN_OUT, "deliveries/s", wanted as f64 / (last - began).as_secs_f64());
        settle(server.system()).await?;
        self.enter_processor_time(report, FAN_OUT, before, wanted);
        let now = self.receiver.counts().await?.verified;
        let check = format!("{FAN_OUT}: {events} events, {subscriptions} subscriptions each, none twice");
        report.check(check, now == received + wanted);
        server.stop().await;
        Ok(())
    }

    async fn limit(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let meter = Meter { postmaster: None };
        let before = meter.read();
        let (count, rate) = bare::post(&self.receiver.hello, self.options.events()).await?;
        report.figure(LIMIT, "deliveries/s", rate);
        enter_processor_time(report, LIMIT, meter, before, count);
        Ok(())
    }

    async fn flow(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let server = self.serve(Roles::ALL).await?;
        let clients = HttpClients::new(&server, &self.partner)?;
        clients.warm_up().await?;
        self.receiver.wait_until_quiet().await?;
        let received = self.receiver.counts().await?.verified;
        let before = self.stage.meter().read();
        let began = Instant::now();
        let commands = clients.closed_loop(self.options.clients, self.options.duration()).await?;
        let count = commands.count();
        report.figure("flow, commands", "commands/s", count as f64 / began.elapsed().as_secs_f64());
        commands.enter(report, "flow, answer to a command");
        let last = self.receiver.wait_for(received + count).await?;
        report.figure(FLOW, "deliveries/s", count as f64 / (last - began).as_secs_f64());
        settle(server.system()).await?;
        self.enter_processor_time(report, FLOW, before, count);
        server.stop().await;
        Ok(())
    }

    async fn steady(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let rate = self.options.rate();
        let server = self.serve(Roles::ALL).await?;
        let clients = HttpClients::new(&server, &self.partner)?;
        clients.at_rate(rate, self.options.duration() / 5).await?;
        self.receiver.wait_until_quiet().await?;
        wait_for_projectors(server.system()).await?;
        let received = self.receiver.counts().await?.verified;
        let _ = self.receiver.take_receipts().await?;
        self.stage.come_to_rest().await?;
        let before = self.stage.meter().read();
        let given = clients.at_rate(rate, self.options.duration()).await?;
        let count = given.len() as u64;
        self.receiver.wait_for(received + count).await?;
        settle(server.system()).await?;
        self.enter_processor_time(report, STEADY, before, count);
        let receipts = self.receiver.take_receipts().await?;
        let timings = flow::end_to_end(server.system(), &self.partner, &given, &receipts).await?;
        report.check(format!("{STEADY}: each command has its receipt"), timings.count() == count);
        timings.enter(report, &format!("{STEADY} at {rate}/s, command to receipt"));
        let owner = server.system().databases.core_owner.clone();
        server.stop().await;
        self.stage.come_to_rest().await?;
        let bare = bare::commit_and_post(&self.receiver.hello, &owner, rate, self.options.duration()).await?;
        bare.enter(report, &format!("{BARE_STEADY} at {rate}/s"));
        Ok(())
    }

    fn enter_processor_time(&self, report: &mut Report, mode: &str, before: Usage, count: u64) {
        enter_processor_time(report, mode, self.stage.meter(), before, count);
    }
}

fn enter_processor_time(report: &mut Report, mode: &str, meter: Meter, before: Usage, count: u64) {
    for (who, micros) in meter.read().micros_each(before, count) {
        if let Some(micros) = micros {
            report.figure(&format!("{mode}, processor time of {who}"), "µs/delivery", micros);
        }
    }
}

/// Waits until every projector has seen every event, so that none catches up in somebody else's time.
async fn wait_for_projectors(system: &System) -> anyhow::Result<()> {
    wait_until_none("events to project", async || {
        let databases = &system.databases;
        let mut lags = lag(&system.log, &mut *databases.core_system.acquire().await?).await?;
        lags.extend(lag(&system.log, &mut *databases.audit_system.acquire().await?).await?);
        lags.extend(lag(&system.log, &mut *databases.analytics_system.acquire().await?).await?);
        // A projector is listed with its first lease.
        let is_known = |name: &str| lags.iter().any(|lag| lag.projector == name);
        let missing =
            ["records", "audit", "webhooks", "analytics"].iter().filter(|name| !is_known(name)).count();
        Ok(lags.iter().map(|lag| lag.events_behind).sum::<i64>() + i64::try_from(missing).unwrap_or(i64::MAX))
    })
    .await
}

/// Waits until every effect is reported as done.
async fn settle(system: &System) -> anyhow::Result<()> {
    wait_until_none("effects", async || {
        sqlx::query_scalar!(r#"select count(*) as "open!" from runtime.effects where next_at is not null"#)
            .fetch_one(&system.databases.core_owner)
            .await
    })
    .await
}

async fn wait_until_none(
    what: &str,
    count: impl AsyncFn() -> Result<i64, sqlx::Error>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let open = count().await?;
        if open == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{open} {what} stay open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
