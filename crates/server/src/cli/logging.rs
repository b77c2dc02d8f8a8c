//! What the process says on standard error.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{LogConfig, LogFormat};

/// Installs the subscriber; once per process.
///
/// # Errors
/// When the filter does not parse.
pub(super) fn install(config: &LogConfig) -> anyhow::Result<()> {
    let filter: Targets = config.filter.parse().context("log.filter cannot be read")?;
    let layer = fmt::layer().with_writer(std::io::stderr);
    let layer = match config.format {
        LogFormat::Text => layer.with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    registry().with(layer.with_filter(filter)).try_init().context("a log was installed before")
}
