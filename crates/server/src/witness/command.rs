//! `carelog witness`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use carelog_audit::proof::{Policy, VerifierKey};
use carelog_event_log::SystemClock;
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::service::{Answering, router};
use super::{Memory, Places};
use crate::config::HttpConfig;
use crate::http::{self, Service};

/// Longest time for a request in all.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest policy.
const MAX_POLICY_BYTES: u64 = 1 << 20;

/// Options of `carelog witness`.
#[derive(Debug, Args)]
pub struct WitnessArguments {
    /// The witness's name, as a URL without its scheme; verifiers know it by this and its key
    #[arg(long, value_name = "NAME")]
    name: String,
    /// A policy (C2SP tlog-policy) that names logs to cosign, such as that of GET /v1/proofs/policy; again for others
    #[arg(long = "log", value_name = "POLICY", required = true)]
    logs: Vec<PathBuf>,
    /// Where the key and the cosigned checkpoints are kept
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
    /// A second place, for the sizes alone, that no backup of the first restores [default: the directory]
    #[arg(long, value_name = "DIR")]
    sizes: Option<PathBuf>,
    /// Address and port. Plain HTTP/1.1: put a proxy that ends TLS in front where others reach it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8070")]
    listen: SocketAddr,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the key cannot be held, the memory was set back, or the address is taken.
pub async fn run(arguments: WitnessArguments) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut logs = Vec::new();
    for path in &arguments.logs {
        logs.extend(log_keys(path)?);
    }
    let sizes = arguments.sizes.unwrap_or_else(|| arguments.directory.clone());
    let places = Places { directory: arguments.directory, sizes };
    let memory = Memory::open(places, &arguments.name, logs)?;
    let key = memory.verifier()?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("{} cannot be listened on", arguments.listen))?;
    println!("witness  {key}");
    println!("listens  http://{}", listener.local_addr()?);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let answering = Answering {
        memory: Arc::new(Mutex::new(memory)),
        clock: Arc::new(SystemClock),
        tasks: tasks.clone(),
    };
    let service = Service::new(router(answering), DEADLINE);
    let serving = http::serve(listener, service, HttpConfig::default(), tasks.clone(), stop.clone());
    let serving = tasks.spawn(serving);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
    let _ = serving.await;
    tasks.close();
    tasks.wait().await;
    Ok(ExitCode::SUCCESS)
}

fn log_keys(path: &Path) -> anyhow::Result<Vec<VerifierKey>> {
    use std::io::Read as _;
    let unreadable = || format!("{} cannot be read", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(unreadable)?;
    file.take(MAX_POLICY_BYTES + 1).read_to_string(&mut text).with_context(unreadable)?;
    ensure!(text.len() as u64 <= MAX_POLICY_BYTES, "{} is too long", path.display());
    let policy: Policy = text.parse().with_context(|| format!("{} is no policy", path.display()))?;
    Ok(policy.log_keys().to_vec())
}
