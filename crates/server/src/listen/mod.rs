//! `carelog webhooks listen`: a partner's developer sees, checks and handles webhooks on a machine that nobody can reach.
//!
//! It fetches a subscription's messages from the API instead of waiting for requests, verifies them with the official
//! Standard Webhooks library, prints them, and hands the identical bytes and headers to a program on this machine.
//! A connection that is lost is taken up again where it ended; nothing is skipped and nothing repeated within one run.
//! It changes nothing: the deliveries of the subscription go their own way.

mod forward;
mod pull;
mod report;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use standardwebhooks::Webhook;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;
use uuid::Uuid;

use self::forward::Forwarder;
use self::pull::{Pull, PullError};
use self::report::{Report, Signature, Summary};

/// A signature was refused.
const REFUSED: u8 = 1;
/// Nothing can be listened to.
const CANNOT_LISTEN: u8 = 2;

/// For the developers of receivers.
#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// Print, verify and hand on what a subscription receives; ends with 1 when a signature was refused
    Listen(ListenArguments),
}

/// What to listen to, and what to do with it.
#[derive(Debug, Args)]
pub struct ListenArguments {
    /// The subscription
    #[arg(long, value_name = "ID")]
    subscription: Uuid,
    /// Hand each message to this URL, with the same bytes and headers; plain http will do on your own machine
    #[arg(long, value_name = "URL")]
    forward: Option<Url>,
    /// The subscription's signing secret; several, separated by blanks, while you rotate
    #[arg(
        long,
        env = "CARELOG_WEBHOOK_SECRET",
        hide_env_values = true,
        value_name = "WHSEC",
        value_delimiter = ' '
    )]
    secret: Vec<String>,
    /// Where Carelog's API is
    #[arg(long, env = "CARELOG_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: Url,
    /// An API key with the scope webhooks
    #[arg(long, env = "CARELOG_KEY", hide_env_values = true)]
    key: String,
    /// Begin with what comes, or with the oldest message that is kept
    #[arg(long, value_enum, default_value_t = Begin::Now)]
    from: Begin,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Print a JSON object for each message
    #[arg(long)]
    json: bool,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Begin {
    /// With what comes from now on
    Now,
    /// With the oldest message that is kept
    Start,
}

/// Runs the command.
///
/// # Errors
/// When an argument does not fit or a client cannot be built.
pub async fn run(WebhooksCommand::Listen(arguments): WebhooksCommand) -> anyhow::Result<ExitCode> {
    // An error means that another part of this process chose the same provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut listener = match Listener::new(&arguments) {
        Ok(listener) => listener,
        Err(error) => return Ok(cannot_listen(&format!("{error:#}"))),
    };
    if listener.secrets.is_empty() {
        eprintln!("without --secret or CARELOG_WEBHOOK_SECRET nothing is verified");
    }
    let ended = tokio::select! {
        ended = listener.listen() => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminated.recv() => Ok(()),
    };
    let summary = &listener.summary;
    eprintln!("{summary}");
    match ended {
        Err(error) => Ok(cannot_listen(&error.to_string())),
        Ok(()) if summary.refused > 0 => Ok(ExitCode::from(REFUSED)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn cannot_listen(why: &str) -> ExitCode {
    eprintln!("carelog: {why}");
    ExitCode::from(CANNOT_LISTEN)
}

struct Listener {
    pull: Pull,
    secrets: Vec<Webhook>,
    forwarder: Option<Forwarder>,
    left: Option<u64>,
    as_json: bool,
    summary: Summary,
}

impl Listener {
    fn new(arguments: &ListenArguments) -> anyhow::Result<Self> {
        let secrets =
            arguments.secret.iter().filter(|secret| !secret.is_empty()).map(|secret| Webhook::new(secret));
        let secrets = secrets.collect::<Result<_, _>>().context("the secret is not `whsec_` and base64")?;
        let begins_now = arguments.from == Begin::Now;
        Ok(Self {
            pull: Pull::new(&arguments.server, &arguments.key, arguments.subscription, begins_now)?,
            secrets,
            forwarder: arguments.forward.clone().map(Forwarder::new).transpose()?,
            left: arguments.count,
            as_json: arguments.json,
            summary: Summary::default(),
        })
    }

    /// Listens until the wanted number of messages came, or until it makes no sense any more.
    async fn listen(&mut self) -> Result<(), PullError> {
        while self.left != Some(0) {
            for message in self.pull.next().await? {
                let signature = Signature::of(&message, &self.secrets);
                let forwarded = match &self.forwarder {
                    Some(forwarder) => Some(forwarder.hand_on(&message).await),
                    None => None,
                };
                let report = Report { message: &message, signature, forwarded };
                println!("{}", if self.as_json { report.json() } else { report.line() });
                self.summary.add(&report);
                self.left = self.left.map(|left| left - 1);
                if self.left == Some(0) {
                    break;
                }
            }
        }
        Ok(())
    }
}
