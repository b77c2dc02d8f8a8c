//! Signs checkpoints of the trees, and measures how long events wait for one.
//!
//! The key's holder needs nothing but the audit database and two files. Where several processes may sign, the first
//! takes the key's lock and the others stand by; a process on another machine, which has not that key, leaves it alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use carelog_audit::signer::{
    Delay, Fresh, HolderError, KeyFiles, KeyHolder, KnownKey, Refusal, Signed, SignerError, newest_of_each,
    oldest_unsigned, prepare, public_key, publish, register_key, signed_since,
};
use carelog_audit::{Sealer, meta};
use carelog_domain::Timestamp;
use carelog_event_log::runtime::{Projector, lag};
use carelog_event_log::{EventLog, ReadError, read};
use carelog_webhooks::Checkpoints;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::config::{Config, ProofsConfig};
use crate::system::System;

/// How often the waiting is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// How often the newest checkpoints are handed out.
const HAND_OUT_EVERY: Duration = Duration::from_millis(500);
/// How much later than its moment a checkpoint may show in the database.
const OVERLAP: Duration = Duration::from_secs(10);
/// Pause before the key is asked for again.
const STAND_BY: Duration = Duration::from_secs(2);

/// What a signer needs.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    audit: PgPool,
    /// First part of the logs' names.
    origin: Arc<str>,
    files: KeyFiles,
    every: Duration,
    meta_every: Duration,
    log: EventLog,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The first part of the names of an installation's logs.
pub(crate) fn origin_prefix(config: &ProofsConfig, log: &EventLog) -> Arc<str> {
    config.origin.as_deref().unwrap_or(log.name()).into()
}

/// Why a round was not made.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("the audit database cannot be used")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    Holder(#[from] HolderError),
    #[error("the signer's thread ended early")]
    Thread,
}

impl Signing {
    pub(crate) fn new(config: &Config, system: &System) -> Self {
        Self {
            audit: system.databases.audit_system.clone(),
            origin: origin_prefix(&config.proofs, &system.log),
            files: config.signer_files(),
            every: config.proofs.sign_every(),
            meta_every: config.proofs.meta_every(),
            log: system.log.clone(),
            stop: system.runtime.stop.clone(),
            tasks: system.runtime.tasks.clone(),
        }
    }

    /// Signs until the process stops.
    pub(crate) async fn run(self) {
        let mut said = String::new();
        while !self.stop.is_cancelled() {
            match self.hold().await {
                Ok(holder) => {
                    said.clear();
                    info!("the signer's key is held");
                    self.sign_with(holder).await;
                }
                Err(failure) => {
                    let text = failure.to_string();
                    let is_idle = matches!(failure, RoundError::Holder(HolderError::InUse));
                    if text != said && !is_idle {
                        error!(error = %text, "no checkpoints are signed by this process");
                    }
                    said = text;
                }
            }
            self.pause(STAND_BY).await;
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// Takes the key. It becomes this installation's key where there is none yet.
    async fn hold(&self) -> Result<KeyHolder, RoundError> {
        let known = public_key(&mut *self.audit.acquire().await?, &self.origin)
            .await?
            .map_or(KnownKey::None, KnownKey::Public);
        let files = self.files.clone();
        let holder = self.tasks.spawn_blocking(move || KeyHolder::open(&files, known)).await;
        let holder = holder.map_err(|_| RoundError::Thread)??;
        let now = self.log.clock().now();
        let registered =
            register_key(&mut *self.audit.acquire().await?, &self.origin, holder.public(), now).await?;
        if registered == Some(holder.public()) {
            Ok(holder)
        } else {
            Err(HolderError::OtherKey(self.files.key.clone()).into())
        }
    }

    async fn sign_with(&self, mut holder: KeyHolder) {
        let mut refused = BTreeSet::new();
        let mut meta_due = Instant::now();
        while !self.stop.is_cancelled() {
            if meta_due <= Instant::now() {
                match self.append_checkpoints().await {
                    Ok(0) => {}
                    Ok(_) => meta_due = Instant::now() + self.meta_every,
                    Err(failure) => {
                        let cause = std::error::Error::source(&failure).map(ToString::to_string);
                        error!(error = %failure, cause, "the log of checkpoints cannot grow");
                        meta_due = Instant::now() + self.meta_every;
                    }
                }
            }
            match self.round(holder).await {
                Ok((back, refusals)) => {
                    holder = back;
                    raise_alarms(&mut refused, &refusals);
                }
                Err(failure) => {
                    let cause = std::error::Error::source(&failure).map(ToString::to_string);
                    warn!(error = %failure, cause, "checkpoints could not be signed, trying again");
                    return;
                }
            }
            self.pause(self.every).await;
        }
    }

    /// Appends to the log of checkpoints what was signed since; it is signed in the round that follows.
    async fn append_checkpoints(&self) -> Result<u64, RoundError> {
        let mut connection = self.audit.acquire().await?;
        let appended = meta::append(&mut connection, &self.origin, self.log.clock().now()).await?;
        metrics::counter!("carelog_meta_leaves_total").increment(appended);
        Ok(appended)
    }

    /// One round. A holder that fails is dropped, and with it the lock: it is opened anew, from its files.
    async fn round(&self, holder: KeyHolder) -> Result<(KeyHolder, Vec<Refusal>), RoundError> {
        let mut connection = self.audit.acquire().await?;
        let prepared = prepare(&mut connection, &self.origin, &holder).await?;
        let mut refusals = prepared.refusals;
        if prepared.wishes.is_empty() {
            return Ok((holder, refusals));
        }
        let wishes = prepared.wishes;
        let signing = self.tasks.spawn_blocking(move || {
            let mut holder = holder;
            let verdicts = holder.sign(&wishes);
            (holder, verdicts)
        });
        let (holder, verdicts) = signing.await.map_err(|_| RoundError::Thread)?;
        let mut signed: Vec<Signed> = Vec::new();
        for verdict in verdicts? {
            match verdict {
                Ok(one) => signed.push(one),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let delays = publish(&mut connection, &signed, self.log.clock().now()).await?;
        metrics::counter!("carelog_checkpoints_signed_total").increment(signed.len() as u64);
        delays.iter().for_each(observe);
        Ok((holder, refusals))
    }
}

fn observe(delay: &Delay) {
    metrics::histogram!("carelog_sealing_delay_seconds").record(seconds(delay.micros));
}

/// Says what is refused for the first time, and shows how much is.
fn raise_alarms(refused: &mut BTreeSet<String>, refusals: &[Refusal]) {
    metrics::gauge!("carelog_signer_refused_trees")
        .set(f64::from(u32::try_from(refusals.len()).unwrap_or(u32::MAX)));
    let now: BTreeSet<String> = refusals.iter().map(ToString::to_string).collect();
    for refusal in now.difference(refused) {
        error!(refusal, "a tree is not signed: somebody has to look at it");
    }
    *refused = now;
}

fn seconds(micros: i64) -> f64 {
    f64::from(u32::try_from(micros / 1_000).unwrap_or(u32::MAX)) / 1_000.0
}

/// Gives the newest checkpoints to those who send webhooks, until the process stops.
pub(crate) async fn hand_out(system: System, config: ProofsConfig, checkpoints: Checkpoints) {
    let stop = system.runtime.stop.clone();
    let origin = origin_prefix(&config, &system.log);
    // All of them are looked for once, then only those that were signed since.
    let mut since = None;
    loop {
        let fresh = async {
            let mut connection = system.databases.audit_system.acquire().await?;
            match since {
                None => newest_of_each(&mut connection, &origin).await,
                Some(since) => signed_since(&mut connection, &origin, since).await,
            }
        };
        match fresh.await {
            Ok(fresh) => {
                let mut since_then = since.unwrap_or(OffsetDateTime::UNIX_EPOCH);
                for Fresh { organization_id, note, signed_at } in fresh {
                    checkpoints.put(organization_id, &note);
                    since_then = since_then.max(signed_at - OVERLAP);
                }
                since = Some(since_then);
            }
            Err(error) => warn!(%error, "the newest checkpoints cannot be read"),
        }
        if tokio::time::timeout(HAND_OUT_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// How proofs keep up with the log.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SealingDelay {
    /// Seconds since the oldest event was written that no signed checkpoint covers; 0 where every event is covered.
    pub oldest_seconds: f64,
    /// Lanes of the log that end before what was sealed of them: the log was set back.
    pub lanes_set_back: u32,
    /// Lanes whose next event cannot be read, so that nothing of them is sealed.
    pub lanes_stopped: u32,
}

impl SealingDelay {
    /// Whether somebody has to look after it: an event has waited longer than so many seconds, or a lane is not as it was.
    pub fn is_alarming(&self, longest: f64) -> bool {
        self.oldest_seconds > longest || self.lanes_set_back > 0 || self.lanes_stopped > 0
    }
}

/// Measures how long events wait for a checkpoint.
///
/// # Errors
/// When a database does not answer.
pub async fn sealing_delay(system: &System, origin: &str) -> Result<SealingDelay, ReadError> {
    let databases = &system.databases;
    let mut audit = databases.audit_system.acquire().await?;
    let unsigned = oldest_unsigned(&mut audit, origin).await?;
    let lags = lag(&system.log, &mut audit).await?;
    drop(audit);
    // After the places of the sealer, which never runs ahead of the log.
    system.log.refresh_heads().await?;
    let mut oldest = unsigned.and_then(|at| Timestamp::try_from(at).ok());
    let mut delay = SealingDelay::default();
    let mut core = databases.core_system.acquire().await?;
    for lag in lags.iter().filter(|lag| lag.projector == Sealer::NAME) {
        let head = *system.log.head(lag.lane).borrow();
        if lag.position > head {
            delay.lanes_set_back += 1;
        }
        if lag.position < head {
            // An event that does not parse stops its lane: nobody knows when it was written.
            match read::lane(&mut core, lag.lane, lag.position, 1).await {
                Ok(events) => {
                    oldest = oldest.into_iter().chain(events.first().map(|event| event.recorded_at)).min();
                }
                Err(ReadError::Stored { .. }) => delay.lanes_stopped += 1,
                Err(error @ ReadError::Database(_)) => return Err(error),
            }
        }
    }
    if let Some(oldest) = oldest {
        delay.oldest_seconds = seconds(system.log.clock().now().micros_since(oldest).max(0));
    }
    Ok(delay)
}

/// What is told of once, until it is another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Alarm {
    /// Events wait, or a lane is not as it was.
    Delay,
    /// Nobody knows.
    Unmeasured,
}

/// Shows the waiting in the metrics and raises an alarm, until the process stops.
pub(crate) async fn watch(system: System, config: ProofsConfig) {
    let stop = system.runtime.stop.clone();
    let origin = origin_prefix(&config, &system.log);
    let longest = config.max_sealing_delay().as_secs_f64();
    let mut told = None;
    loop {
        let alarm = match sealing_delay(&system, &origin).await {
            Ok(delay) => {
                metrics::gauge!("carelog_sealing_oldest_seconds").set(delay.oldest_seconds);
                metrics::gauge!("carelog_sealing_lanes_set_back").set(f64::from(delay.lanes_set_back));
                metrics::gauge!("carelog_sealing_lanes_stopped").set(f64::from(delay.lanes_stopped));
                let alarm = delay.is_alarming(longest).then_some(Alarm::Delay);
                if alarm.is_some() && alarm != told {
                    error!(
                        ?delay,
                        "events wait too long for a signed checkpoint, or the log is behind its trees"
                    );
                }
                alarm
            }
            // What cannot be measured is not taken for well.
            Err(error) => {
                if told != Some(Alarm::Unmeasured) {
                    error!(%error, "the waiting for checkpoints cannot be measured");
                }
                Some(Alarm::Unmeasured)
            }
        };
        metrics::gauge!("carelog_sealing_alarm").set(f64::from(u8::from(alarm.is_some())));
        told = alarm;
        if tokio::time::timeout(MEASURE_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}
