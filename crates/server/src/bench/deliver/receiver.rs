//! The receiver in a process of its own, spoken to in lines over its standard input and output.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use carelog_embedded::receiver::{Hook, Receipt, Receiver, ReceiverOptions as EmbeddedOptions};
use carelog_event_log::{Clock, SystemClock};
use carelog_webhooks::sending::WebhookSecret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use uuid::Uuid;

use super::PATIENCE;
use crate::bench::Common;

const HOOK: &str = "bench";
/// How often the counters are asked for.
const POLL: Duration = Duration::from_millis(2);

/// Without a receipt for so long, there is nothing on its way.
const QUIET: Duration = Duration::from_millis(500);

/// Options of the hidden `bench receiver`; it needs none of its own.
#[derive(Clone, Debug, clap::Args)]
pub struct ReceiverOptions {
    #[command(flatten)]
    pub(in crate::bench) common: Common,
}

/// The first line that the receiver writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) url: String,
    pub(super) ca_pem: String,
    pub(super) secret: String,
}

/// The answer to `counts`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) received: u64,
    pub(super) verified: u64,
    pub(super) refused_signatures: u64,
}

/// When each webhook id was first received, in microseconds since 1970; the answer to `receipts`.
pub(super) type Receipts = HashMap<Uuid, i64>;

/// The child process: answers lines until its input ends.
///
/// # Errors
/// When the port cannot be opened or the parent is gone.
pub(crate) async fn receive(_: &ReceiverOptions) -> anyhow::Result<()> {
    let receipts: Arc<Mutex<Receipts>> = Arc::default();
    let noted = Arc::clone(&receipts);
    let mut options = EmbeddedOptions::new(Arc::new(|| SystemClock.now().unix_micros())).counters_only();
    options.on_receipt = Some(Arc::new(move |receipt: &Receipt| {
        if let Ok(id) = receipt.webhook_id.parse() {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.entry(id).or_insert(receipt.received_at_micros);
        }
    }));
    let receiver = Receiver::start(options).await?;
    let hook = receiver.hook(HOOK);
    let mut random = [0; 32];
    getrandom::fill(&mut random).context("no randomness")?;
    let secret = WebhookSecret::from_random(random).reveal().to_string();
    hook.set_secrets(&[&secret])?;
    say(&Hello { url: receiver.url(HOOK), ca_pem: receiver.ca_pem().to_owned(), secret })?;
    tokio::task::spawn_blocking(move || answer_all(&hook, &receipts)).await??;
    receiver.stop().await;
    Ok(())
}

fn answer_all(hook: &Hook, receipts: &Mutex<Receipts>) -> anyhow::Result<()> {
    for line in std::io::stdin().lines() {
        match line?.as_str() {
            "counts" => {
                let counts = hook.counts();
                say(&Counts {
                    received: counts.received,
                    verified: counts.verified,
                    refused_signatures: counts.refused_signatures,
                })?;
            }
            "receipts" => {
                say(&std::mem::take(&mut *receipts.lock().unwrap_or_else(PoisonError::into_inner)))?;
            }
            other => anyhow::bail!("asked for {other:?}"),
        }
    }
    Ok(())
}

fn say(answer: &impl Serialize) -> anyhow::Result<()> {
    use std::io::Write;

    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// The parent's end.
pub(super) struct ReceiverProcess {
    pub(super) hello: Hello,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl ReceiverProcess {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "receiver"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the receiver does not start")?;
        let input = child.stdin.take().context("its input was asked for")?;
        let mut output = BufReader::new(child.stdout.take().context("its output was asked for")?).lines();
        let hello = answer(&mut output).await?;
        Ok(Self { hello, child, input, output })
    }

    pub(super) async fn counts(&mut self) -> anyhow::Result<Counts> {
        self.ask("counts").await
    }

    /// The receipts since the last time.
    pub(super) async fn take_receipts(&mut self) -> anyhow::Result<Receipts> {
        self.ask("receipts").await
    }

    /// Waits until so many have verified; says when that was.
    pub(super) async fn wait_for(&mut self, verified: u64) -> anyhow::Result<Instant> {
        let began = Instant::now();
        loop {
            let counts = self.counts().await?;
            if counts.verified >= verified {
                return Ok(Instant::now());
            }
            ensure!(began.elapsed() < PATIENCE, "{verified} receipts awaited, but {counts:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until nothing has come for a while.
    pub(super) async fn wait_until_quiet(&mut self) -> anyhow::Result<()> {
        let mut before = self.counts().await?.received;
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.counts().await?.received;
            if now == before {
                return Ok(());
            }
            before = now;
        }
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Self { mut child, input, .. } = self;
        drop(input);
        let status = child.wait().await?;
        ensure!(status.success(), "the receiver ended with {status}");
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(&mut self, question: &str) -> anyhow::Result<T> {
        self.input.write_all(format!("{question}\n").as_bytes()).await?;
        answer(&mut self.output).await
    }
}

async fn answer<T: DeserializeOwned>(output: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<T> {
    let line = output.next_line().await?.context("the receiver is gone")?;
    serde_json::from_str(&line).context("the receiver's answer does not parse")
}
