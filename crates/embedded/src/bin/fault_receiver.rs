//! `fault-receiver`: an HTTPS receiver of webhooks that does to its sender what it is told to.
//!
//! It prints a line of JSON when it listens, and one for each request with what was answered. The sender has to trust
//! the certificate that `--ca` writes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use carelog_embedded::receiver::{
    Act, Behaviour, Fault, Receipt, Receiver, ReceiverError, ReceiverOptions, Reply, Script, ScriptError, Tls,
};
use clap::Parser;
use serde_json::json;

/// The hook that gets everything.
const ALL: &str = "all";

/// An HTTPS receiver of webhooks that does to its sender what it is told to
#[derive(Debug, Parser)]
#[command(name = "fault-receiver", version)]
struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Write the certificate of the receiver's authority here, for the sender to trust
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A name in the certificate besides localhost and 127.0.0.1
    #[arg(long, value_name = "HOST")]
    name: Vec<String>,
    /// What is wrong with TLS
    #[arg(long, value_enum, default_value_t = Tls::Valid)]
    tls: Tls,
    /// Verify signatures with this secret and answer 400 where none fits
    #[arg(
        long,
        env = "CARELOG_WEBHOOK_SECRET",
        hide_env_values = true,
        value_name = "WHSEC",
        value_delimiter = ' '
    )]
    secret: Vec<String>,
    /// A file with one step after the other
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "status", "header", "delay_ms", "fault"])]
    script: Option<PathBuf>,
    /// So many requests; later ones get 204
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// The status [default: 204, or 200 with a fault]
    #[arg(long, value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// A header of the answer, such as `retry-after: 5`
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// The pause before anything is sent
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    delay_ms: u64,
    /// What is wrong with the answer
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

/// Why nothing is received.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    #[error("{}: {source}", path.display())]
    Script { path: PathBuf, source: ScriptError },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("nobody can interrupt this program: {0}")]
    Signal(#[from] std::io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fault-receiver: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let behaviour = Behaviour::Script(script(&arguments)?);
    let mut options = ReceiverOptions::new(Arc::new(now));
    options.address = arguments.listen;
    options.names.clone_from(&arguments.name);
    options.tls = arguments.tls;
    options.receipts_kept = 1;
    options.unsigned_too = true;
    options.catch_all = Some(ALL.to_owned());
    options.on_receipt = Some(Arc::new(print));
    let receiver = Receiver::start(options).await?;
    let hook = receiver.hook(ALL);
    hook.set_secrets(&arguments.secret)?;
    hook.set_behaviour(behaviour);
    if let Some(path) = arguments.ca {
        fs::write(&path, receiver.ca_pem()).map_err(|source| Failure::File { path, source })?;
    }
    println!("{}", json!({ "listening": format!("https://localhost:{}/", receiver.address().port()) }));
    tokio::signal::ctrl_c().await?;
    receiver.stop().await;
    Ok(())
}

fn script(arguments: &Arguments) -> Result<Script, Failure> {
    if let Some(path) = arguments.script.clone() {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(Failure::File { path, source }),
        };
        return Script::parse(&text).map_err(|source| Failure::Script { path, source });
    }
    let reply = Reply {
        headers: arguments.header.clone(),
        delay: Duration::from_millis(arguments.delay_ms),
        act: arguments.fault.map_or(Act::Answer, Act::Fault),
        ..Reply::of(arguments.status.unwrap_or(if arguments.fault.is_some() { 200 } else { 204 }))
    };
    Ok(Script::of(arguments.count, reply))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected a name, a colon and a value")?;
    let (name, value) = (name.trim(), value.trim());
    if http::HeaderName::try_from(name).is_err() || http::HeaderValue::try_from(value).is_err() {
        return Err("this is no header of HTTP".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn print(receipt: &Receipt) {
    println!("{}", serde_json::to_string(receipt).expect("strings and numbers only"));
}

#[expect(clippy::disallowed_methods, reason = "this program has no other clock")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
