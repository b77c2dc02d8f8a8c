//! `carelog webhooks listen`: a partner's developer sees, checks and handles webhooks on a machine that nobody can reach.
//!
//! It fetches a subscription's messages from the API instead of waiting for requests, verifies them with the official
//! Standard Webhooks library, prints them, and hands the identical bytes and headers to a program on this machine.
//! A connection that is lost is taken up again where it ended; nothing is skipped and nothing repeated within one run.
//! It changes nothing: the deliveries of the subscription go their own way.

mod arguments;
mod forward;
mod output;
mod pull;
mod report;
#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use standardwebhooks::Webhook;
use tokio::signal::unix::{SignalKind, signal};

pub use self::arguments::ListenArguments;
use self::arguments::{Begin, Hidden};
use self::forward::Forwarder;
use self::output::{Reader, print, tell};
use self::pull::{Message, Pull, PullError};
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

/// Why it ends before its time.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error(transparent)]
    Pull(#[from] PullError),
    #[error("what came cannot be printed: {0}")]
    Print(io::Error),
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
        tell(&"without --secret or CARELOG_WEBHOOK_SECRET nothing is verified");
    }
    let ended = tokio::select! {
        ended = listener.listen() => ended,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminated.recv() => Ok(()),
    };
    let summary = &listener.summary;
    tell(summary);
    match ended {
        Err(error) => Ok(cannot_listen(&error.to_string())),
        Ok(()) if summary.refused > 0 => Ok(ExitCode::from(REFUSED)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn cannot_listen(why: &str) -> ExitCode {
    tell(&format_args!("carelog: {why}"));
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
            arguments.secret.iter().map(Hidden::reveal).filter(|secret| !secret.is_empty()).map(Webhook::new);
        let secrets = secrets.collect::<Result<_, _>>().context("the secret is not `whsec_` and base64")?;
        let begins_now = arguments.from == Begin::Now;
        Ok(Self {
            pull: Pull::new(&arguments.server, &arguments.key, arguments.subscription, begins_now)?,
            secrets,
            forwarder: arguments.forward.as_ref().map(Forwarder::new).transpose()?,
            left: arguments.count,
            as_json: arguments.json,
            summary: Summary::default(),
        })
    }

    /// Listens until the wanted number of messages came, nobody reads them any more, or it makes no sense any more.
    async fn listen(&mut self) -> Result<(), ListenError> {
        while self.left != Some(0) {
            for (message, signature) in self.next().await? {
                if self.take(&message, signature).await.map_err(ListenError::Print)? == Reader::Left {
                    return Ok(());
                }
                self.left = self.left.map(|left| left - 1);
                if self.left == Some(0) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next messages, verified before any of them is handed on: a signature is good for five minutes, and a program
    /// that stands still in a debugger uses them up.
    async fn next(&mut self) -> Result<Vec<(Message, Signature)>, PullError> {
        let messages = self.pull.next().await?.into_iter();
        let verified = messages.map(|message| {
            let signature = Signature::of(&message, &self.secrets);
            (message, signature)
        });
        Ok(verified.collect())
    }

    /// Hands a message on and reports it.
    async fn take(&mut self, message: &Message, signature: Signature) -> io::Result<Reader> {
        let forwarded = match &self.forwarder {
            Some(forwarder) => Some(forwarder.hand_on(message).await),
            None => None,
        };
        let report = Report { message, signature, forwarded };
        self.summary.add(&report);
        print(&mut io::stdout(), &if self.as_json { report.json() } else { report.line() })
    }
}
