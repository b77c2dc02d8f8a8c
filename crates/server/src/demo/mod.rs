//! `carelog demo`: three invented clinics that live, on a machine that has nothing but this binary.
//!
//! It brings up its own PostgreSQL, a partner's HTTPS receiver that checks signatures with the official library, and
//! the whole server, in a home of its own (`demo` inside Carelog's home), so that real data are never touched. On
//! the first start the clinics are registered; later starts find them again. Then a stream of commands goes through
//! the real HTTP API, and what comes of it is shown: events, deliveries, receipts, delays.
//!
//! Whatever does not depend on something else happens at the same time, because somebody is waiting: the receiver
//! makes its certificates while PostgreSQL starts, the clinics are set up side by side, and each of them begins to
//! live as soon as it is ready.
//!
//! With `--for` it ends by itself: the stream stops, everything that is due is sent, and only then is it counted, so
//! that deliveries in the log and requests that the receiver accepted must be the same number, some, and none refused
//! for its signature; otherwise it fails. `--json` prints the figures as the last line of standard output; all else
//! goes to standard error.
//!
//! Start reading at [`run`], then `stage.rs`, `set_up.rs` and `stream.rs`.

mod acts;
mod api;
mod clinics;
mod dice;
mod figures;
mod opening;
mod receipts;
mod set_up;
mod stage;
mod stream;
#[cfg(test)]
mod tests;
mod view;

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::opening::open_clinics;
use self::stage::Stage;
use self::view::View;
use crate::config::{Config, LogConfig};

/// How long the end waits for what is due.
const DRAIN: Duration = Duration::from_secs(5);
const DRAIN_PAUSE: Duration = Duration::from_millis(50);
/// How long a stop waits for requests of the stream.
const DESKS_END: Duration = Duration::from_secs(1);
/// As shells have it for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// What the demo can be told.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct DemoOptions {
    /// End by itself after this time: 500ms, 30s, 2m.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Print the figures as one JSON object, the last line of standard output.
    #[arg(long)]
    json: bool,
    /// Commands a second, over all clinics.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
}

/// Leaves warnings only, unless something else was configured: lines of the log would tear the picture apart.
/// PostgreSQL warns of what is ordinary here, a database that the first start is about to create, and its driver of a
/// machine that is busy.
pub fn quieten(log: &mut LogConfig) {
    if log.filter == LogConfig::default().filter {
        "warn,postgres=error,sqlx=error".clone_into(&mut log.filter);
    }
}

/// Plays until the time is over or a signal comes, in a home and on databases of its own.
///
/// # Errors
/// When something cannot be started or a database fails.
pub async fn run(options: DemoOptions, config: Config) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let mut view = View::new(options.json);
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    end_on_signals(&tasks, stop.clone())?;
    let setting = async {
        stage::install_postgres(&view).await?;
        Box::pin(Stage::set(config, options.rate, began)).await
    };
    let mut stage = tokio::select! {
        stage = setting => stage?,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    view.say(&stage.introduction(view.is_terminal()));
    let played = play(options, &mut stage, &mut view, &tasks, &stop).await;
    // Whoever was impatient has not waited for what was due.
    let has_ended = !stop.is_cancelled();
    stop.cancel();
    tasks.close();
    let tally = stage.api.clone();
    let cleared = stage.clear().await;
    played?;
    let figures = cleared?;
    view.show(&figures, tally.tally());
    if options.json {
        writeln!(std::io::stdout().lock(), "{}", figures.to_json(tally.tally()))?;
    }
    if let Some(fault) = figures.fault().filter(|_| has_ended) {
        view.say(&format!("BROKEN: {fault}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets the clinics live and shows them; ends with everything sent, unless somebody was impatient.
async fn play(
    options: DemoOptions,
    stage: &mut Stage,
    view: &mut View,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let closing = stop.child_token();
    let desks = TaskTracker::new();
    let mut opening = tasks.spawn(open_clinics(stage, &desks, options.rate, &closing));
    let mut is_opening = true;
    let mut ticks = tokio::time::interval(view::REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = options.duration.map(|duration| Instant::now() + duration);
    let was_interrupted = loop {
        tokio::select! {
            () = stop.cancelled() => break true,
            () = until(end) => break false,
            opened = &mut opening, if is_opening => {
                is_opening = false;
                opened.context("setting the clinics up ended in a panic")??;
            }
            _ = ticks.tick() => {
                stage.look().await?;
                view.show(&stage.figures, stage.api.tally());
            }
        }
    };
    closing.cancel();
    if is_opening {
        opening.await.context("setting the clinics up ended in a panic")??;
    }
    desks.close();
    if timeout(DESKS_END, desks.wait()).await.is_err() {
        tracing::warn!("requests of the demo are still under way");
    }
    if was_interrupted { Ok(()) } else { drain(stage, stop).await }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until everything that is due was sent, for a bounded time.
async fn drain(stage: &mut Stage, stop: &CancellationToken) -> anyhow::Result<()> {
    let quiet = async {
        while !stage.is_quiet().await? {
            tokio::time::sleep(DRAIN_PAUSE).await;
        }
        Ok(())
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        drained = timeout(DRAIN, quiet) => drained.unwrap_or_else(|_| {
            tracing::warn!("not everything that is due was sent in time");
            Ok(())
        }),
    }
}

/// The first Ctrl-C or SIGTERM ends everything in order, the second one at once.
fn end_on_signals(tasks: &TaskTracker, stop: CancellationToken) -> anyhow::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt()).context("Ctrl-C cannot be heard")?;
    let mut terminations = signal(SignalKind::terminate()).context("SIGTERM cannot be heard")?;
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// `500ms`, `30s`, `2m`.
fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "expected a number with a unit: 500ms, 30s, 2m";
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| EXPECTED)?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    millis.map(Duration::from_millis).ok_or(EXPECTED)
}
