//! Delivering: from the log to a receiver that verifies signatures, beside a loop that posts the same bodies.
//!
//! The receiver is the embedded one, HTTPS with an authority of its own, in a separate process, so that its
//! processor time is nobody's here. It counts what verified. Three modes for the product, one for the limit:
//!
//! - *backlog*: announced events are appended while no worker runs; then projector, reactor and worker start. The
//!   clock runs until the last receipt.
//! - *flow*: clients book appointments in a closed loop while everything runs; the clock runs until the last
//!   receipt. Commands go through the aggregate and the log in this process, without HTTP in front.
//! - *steady*: commands at a fixed rate, far below the limit; from the moment a command is given to its receipt.
//! - *limit*: 64 loops post bodies of the same size, signed beforehand, over connections that are kept alive.

mod bare;
mod flow;
mod pipeline;
mod receiver;

use std::time::{Duration, Instant};

use anyhow::ensure;

use self::pipeline::{Partner, register_consumers, start_consumers};
pub use self::receiver::ReceiverOptions;
use self::receiver::ReceiverProcess;
pub(super) use self::receiver::receive;
use super::Common;
use super::report::Report;
use super::stage::Stage;
use super::usage::resident_mebibytes;

const BACKLOG: &str = "backlog";
const FLOW: &str = "flow";
const STEADY: &str = "steady";
const LIMIT: &str = "bare: signed posts, 64 in flight";
/// Longest wait for receipts that do not come.
const PATIENCE: Duration = Duration::from_mins(5);

/// Options of `bench deliver`.
#[derive(Clone, Debug, clap::Args)]
pub struct DeliverOptions {
    #[command(flatten)]
    pub(super) common: Common,
    /// Deliveries of the backlog and of the limit [default: 20000, quick: 1000].
    #[arg(long)]
    events: Option<u64>,
    /// Seconds of flow and of the steady rate [default: 10, quick: 1].
    #[arg(long)]
    seconds: Option<f64>,
    /// Clients of the flow.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Commands a second of the steady rate.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Organizations, each with one subscription.
    #[arg(long, default_value_t = 16)]
    organizations: usize,
}

impl DeliverOptions {
    fn events(&self) -> u64 {
        self.events.unwrap_or(if self.common.quick { 1_000 } else { 20_000 })
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.common.quick { 1.0 } else { 10.0 }))
    }
}

pub(super) async fn run(options: &DeliverOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let mut receiver = ReceiverProcess::start().await?;
    let system = stage.open().await?;
    let partner = Partner::subscribe(&system, &receiver.hello, options.organizations).await?;
    register_consumers(&system, &receiver.hello).await?;
    system.stop().await;
    report.remark(format!(
        "{} organizations with a subscription each; the receiver verifies every signature in a process of its own.",
        options.organizations
    ));
    for round in 1..=options.common.rounds() {
        eprintln!("deliver: round {round} of {}", options.common.rounds());
        backlog(options, stage, &partner, &mut receiver, report).await?;
        limit(options, &mut receiver, report).await?;
        flow(options, stage, &partner, &mut receiver, report).await?;
        steady(options, stage, &partner, &mut receiver, report).await?;
    }
    report.ratio("backlog ÷ bare", BACKLOG, LIMIT);
    report.ratio("flow ÷ bare", FLOW, LIMIT);
    if let Some(resident) = resident_mebibytes() {
        report.figure("memory of carelog", "MiB", resident);
    }
    let counts = receiver.counts().await?;
    report.check("every receipt verified", counts.refused_signatures == 0 && counts.received == counts.verified);
    receiver.stop().await
}

async fn backlog(
    options: &DeliverOptions,
    stage: &Stage,
    partner: &Partner,
    receiver: &mut ReceiverProcess,
    report: &mut Report,
) -> anyhow::Result<()> {
    let system = stage.open().await?;
    let wanted = options.events();
    partner.append_announced(&system, wanted).await?;
    let received = receiver.counts().await?.verified;
    let before = stage.meter().read();
    let began = Instant::now();
    start_consumers(&system, &receiver.hello)?;
    let last = receiver.wait_for(received + wanted).await?;
    report.figure(BACKLOG, "deliveries/s", wanted as f64 / (last - began).as_secs_f64());
    settle(&system).await?;
    enter_processor_time(report, BACKLOG, stage, before, wanted);
    let now = receiver.counts().await?.verified;
    report.check(format!("{BACKLOG}: {wanted} deliveries verified, none twice"), now == received + wanted);
    system.stop().await;
    Ok(())
}

async fn limit(
    options: &DeliverOptions,
    receiver: &mut ReceiverProcess,
    report: &mut Report,
) -> anyhow::Result<()> {
    let before = super::usage::Meter { postmaster: None }.read();
    let (count, rate) = bare::post(&receiver.hello, options.events()).await?;
    report.figure(LIMIT, "deliveries/s", rate);
    let now = super::usage::Meter { postmaster: None }.read();
    for (who, micros) in now.micros_each(before, count) {
        if let Some(micros) = micros {
            report.figure(&format!("{LIMIT}, processor time of {who}"), "µs/delivery", micros);
        }
    }
    Ok(())
}

async fn flow(
    options: &DeliverOptions,
    stage: &Stage,
    partner: &Partner,
    receiver: &mut ReceiverProcess,
    report: &mut Report,
) -> anyhow::Result<()> {
    let system = stage.open().await?;
    start_consumers(&system, &receiver.hello)?;
    let received = receiver.counts().await?.verified;
    let before = stage.meter().read();
    let began = Instant::now();
    let commands = flow::closed_loop(&system.log, partner, options.clients, options.duration()).await?;
    let count = commands.count();
    report.figure("flow, commands", "commands/s", count as f64 / began.elapsed().as_secs_f64());
    commands.enter(report, "flow, answer to a command");
    let last = receiver.wait_for(received + count).await?;
    report.figure(FLOW, "deliveries/s", count as f64 / (last - began).as_secs_f64());
    settle(&system).await?;
    enter_processor_time(report, FLOW, stage, before, count);
    system.stop().await;
    Ok(())
}

async fn steady(
    options: &DeliverOptions,
    stage: &Stage,
    partner: &Partner,
    receiver: &mut ReceiverProcess,
    report: &mut Report,
) -> anyhow::Result<()> {
    let system = stage.open().await?;
    start_consumers(&system, &receiver.hello)?;
    let received = receiver.counts().await?.verified;
    let _ = receiver.take_receipts().await?;
    let before = stage.meter().read();
    let given = flow::at_rate(&system.log, partner, options.rate, options.duration()).await?;
    let count = given.len() as u64;
    receiver.wait_for(received + count).await?;
    settle(&system).await?;
    enter_processor_time(report, STEADY, stage, before, count);
    let receipts = receiver.take_receipts().await?;
    let timings = flow::end_to_end(&system, partner, &given, &receipts).await?;
    report.check(format!("{STEADY}: each command has its receipt"), timings.count() == count);
    timings.enter(report, &format!("{STEADY} at {}/s, command to receipt", options.rate));
    system.stop().await;
    Ok(())
}

fn enter_processor_time(
    report: &mut Report,
    mode: &str,
    stage: &Stage,
    before: super::usage::Usage,
    count: u64,
) {
    for (who, micros) in stage.meter().read().micros_each(before, count) {
        if let Some(micros) = micros {
            report.figure(&format!("{mode}, processor time of {who}"), "µs/delivery", micros);
        }
    }
}

/// Waits until every effect is reported as done.
async fn settle(system: &crate::system::System) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let open = sqlx::query_scalar!(
            r#"select count(*) as "open!" from runtime.effects where next_at is not null"#
        )
        .fetch_one(&system.databases.core_owner)
        .await?;
        if open == 0 {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "{open} effects stay open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
