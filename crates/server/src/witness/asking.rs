//! Asks the configured witnesses to cosign the newest checkpoints, and keeps what they say.
//!
//! Signing waits for no witness. A checkpoint is handed out as soon as it is signed, and with its cosignatures as soon
//! as they are there. A witness that knows less than it has cosigned was set back, and is shown no proof that would let
//! it go on; one that has seen more than there is says that this log was set back. Both are alarms.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use carelog_audit::proof::{AddCheckpoint, Cosignature, SignatureLine};
use carelog_audit::signer::{self, Looked, Uncosigned, cosigned_size, keep_cosignature, uncosigned};
use carelog_audit::trees;
use carelog_domain::OrganizationId;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::StatusCode;
use reqwest::{Client, Response, redirect};
use tokio::time::Instant;
use tracing::{error, warn};
use url::Url;

use crate::config::{ProofsConfig, WitnessAddress};
use crate::signing::origin_prefix;
use crate::system::System;

/// For connecting to a witness.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For a request in all.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Logs that a witness is asked about in one round.
const MAX_PER_ROUND: u16 = 200;
/// Pause before a witness is asked again about a log that it does not know.
const UNKNOWN_PAUSE: Duration = Duration::from_mins(5);
/// Pause before a witness is asked again about a log about which it could not answer.
const BUSY_PAUSE: Duration = Duration::from_secs(10);
/// Pause after a witness could not be reached; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Why a checkpoint was not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The witness has not been told of the log.
    #[error("{witness} does not know {origin}")]
    UnknownLog {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
    },
    /// The witness has cosigned the log and knows nothing of it any more.
    #[error("{witness} has cosigned {cosigned} leaves of {origin} and does not know it any more")]
    LogForgotten {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
        /// Leaves that it cosigned.
        cosigned: u64,
    },
    /// The witness could not answer about the log this time.
    #[error("{witness} answers {status} about {origin}")]
    Busy {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
        /// What it answered.
        status: StatusCode,
    },
    /// The witness has forgotten what it cosigned.
    #[error(
        "{witness} has cosigned {cosigned} leaves of {origin} and knows of {known}: the witness was set back, and \
         its cosignatures are worth nothing any more"
    )]
    WitnessSetBack {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
        /// Leaves that it cosigned.
        cosigned: u64,
        /// Leaves that it knows of.
        known: u64,
    },
    /// The witness has seen more than is signed.
    #[error(
        "{witness} has cosigned {known} leaves of {origin}, and {signed} are signed: the log was set back"
    )]
    LogSetBack {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
        /// Leaves that the witness has cosigned.
        known: u64,
        /// Leaves of the newest checkpoint.
        signed: u64,
    },
    /// The witness has seen another past, or does not accept the log's key, or is none.
    #[error("{witness} does not cosign {origin}: {why}")]
    Other {
        /// The witness.
        witness: String,
        /// The log.
        origin: String,
        /// What it answered.
        why: String,
    },
}

/// One witness, and how it is asked.
struct Asking {
    system: System,
    /// First part of the names of the logs.
    prefix: Arc<str>,
    witness: WitnessAddress,
    url: Url,
    client: Client,
    /// Logs that the witness does not know, or could not answer about, until it is asked again.
    paused: HashMap<OrganizationId, Instant>,
    /// Logs about which somebody has to look at the witness's last answer, and that answer.
    refused: BTreeMap<OrganizationId, String>,
}

/// Asks one witness until the process stops.
pub(crate) async fn run(system: System, config: ProofsConfig, witness: WitnessAddress) {
    let name = witness.key.name().to_owned();
    let mut asking = match Asking::new(system.clone(), &config, witness) {
        Ok(asking) => asking,
        Err(failure) => return error!(witness = name, error = %failure, "a witness cannot be asked"),
    };
    let mut pause = FIRST_PAUSE;
    let stop = &system.runtime.stop;
    while !stop.is_cancelled() {
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = asking.round() => round,
        };
        let wait = match round {
            Ok(()) => {
                pause = FIRST_PAUSE;
                config.sign_every()
            }
            Err(failure) => {
                warn!(witness = name, error = %format!("{failure:#}"), "a witness could not be asked, trying again");
                pause = (pause * 2).min(LONGEST_PAUSE);
                pause
            }
        };
        let _ = tokio::time::timeout(wait, stop.cancelled()).await;
    }
}

impl Asking {
    fn new(system: System, config: &ProofsConfig, witness: WitnessAddress) -> anyhow::Result<Self> {
        let mut url = witness.url.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("its address has no path"))?
            .pop_if_empty()
            .push("add-checkpoint");
        let mut client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(DEADLINE)
            .redirect(redirect::Policy::none())
            .tcp_nodelay(true);
        if url.scheme() == "http" {
            // A proxy could not find what is near.
            client = client.no_proxy();
        }
        let client = client.build().context("no HTTP client can be built")?;
        let prefix = origin_prefix(config, &system.log);
        Ok(Self { system, prefix, witness, url, client, paused: HashMap::new(), refused: BTreeMap::new() })
    }

    /// Asks about each checkpoint that the witness has not cosigned. What it does not answer about keeps no other log waiting:
    /// a log that is paused is not asked about, and one that was refused comes last.
    async fn round(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let paused: Vec<_> = self.paused.keys().copied().collect();
        let refused: Vec<_> = self.refused.keys().copied().collect();
        let looked = Looked {
            prefix: &self.prefix,
            witness: &self.witness.key,
            paused: &paused,
            refused: &refused,
            limit: MAX_PER_ROUND.into(),
        };
        let mut audit = self.system.databases.audit_system.acquire().await?;
        let wanted = uncosigned(&mut audit, looked).await?;
        drop(audit);
        if wanted.len() < usize::from(MAX_PER_ROUND) {
            // What is not wanted any more was cosigned, maybe for another process.
            let left: BTreeSet<_> = wanted.iter().map(|wanted| wanted.organization_id).collect();
            let paused = &self.paused;
            self.refused.retain(|id, _| paused.contains_key(id) || left.contains(id));
        }
        let asked = self.ask_each(wanted).await;
        let count = f64::from(u32::try_from(self.refused.len()).unwrap_or(u32::MAX));
        metrics::gauge!("carelog_witness_refused_logs", "witness" => self.name()).set(count);
        asked
    }

    async fn ask_each(&mut self, wanted: Vec<Uncosigned>) -> anyhow::Result<()> {
        for wanted in wanted {
            let organization_id = wanted.organization_id;
            match self.ask(&wanted).await? {
                Ok(()) => {
                    metrics::counter!("carelog_cosignatures_total").increment(1);
                    self.refused.remove(&organization_id);
                }
                Err(refusal) => self.refuse(organization_id, &refusal),
            }
        }
        Ok(())
    }

    /// Pauses what would be answered so again for a while, and raises an alarm where somebody has to look at it.
    fn refuse(&mut self, organization_id: OrganizationId, refusal: &Refused) {
        let pause = match refusal {
            Refused::UnknownLog { .. } | Refused::LogForgotten { .. } => Some(UNKNOWN_PAUSE),
            Refused::Busy { .. } => Some(BUSY_PAUSE),
            Refused::WitnessSetBack { .. } | Refused::LogSetBack { .. } | Refused::Other { .. } => None,
        };
        if let Some(pause) = pause {
            self.paused.insert(organization_id, Instant::now() + pause);
        }
        match refusal {
            Refused::UnknownLog { .. } => {
                self.refused.remove(&organization_id);
            }
            Refused::Busy { .. } => warn!(%refusal, "a witness could not answer, it is asked again"),
            _ => {
                let told = refusal.to_string();
                if self.refused.insert(organization_id, told.clone()).as_ref() != Some(&told) {
                    error!(refusal = told, "a witness does not cosign: somebody has to look at it");
                }
            }
        }
    }

    /// Asks for one cosignature, and keeps it.
    fn ask<'a>(&'a self, wanted: &'a Uncosigned) -> BoxFuture<'a, anyhow::Result<Result<(), Refused>>> {
        Box::pin(async move {
            let mut known = wanted.cosigned;
            // Another process may have asked meanwhile; the second answer is about what the witness said itself.
            for is_last in [false, true] {
                let response = self.post(wanted, known).await?;
                let status = response.status();
                let body = body(response).await?;
                match status {
                    StatusCode::OK => return self.keep(wanted, &body).await,
                    StatusCode::CONFLICT if !is_last => match self.conflict(wanted, &body).await? {
                        Ok(size) => known = size,
                        Err(refusal) => return Ok(Err(refusal)),
                    },
                    StatusCode::NOT_FOUND => {
                        return Ok(Err(self.unknown(wanted)));
                    }
                    _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                        let origin = wanted.checkpoint.claim().origin.clone();
                        return Ok(Err(Refused::Busy { witness: self.name(), origin, status }));
                    }
                    _ => return Ok(Err(self.other(wanted, format!("it answers {status}")))),
                }
            }
            Ok(Err(self.other(wanted, "it names another size each time".to_owned())))
        })
    }

    async fn post(&self, wanted: &Uncosigned, old_size: u64) -> anyhow::Result<Response> {
        let size = wanted.checkpoint.claim().size;
        let mut audit = self.system.databases.audit_system.acquire().await?;
        let tree = trees::open(&mut audit, wanted.organization_id).await?;
        let mut tree = tree.context("a log that is signed has no tree")?;
        let proof =
            tree.consistency(old_size, size).await?.context("a tree is smaller than its checkpoint")?;
        drop(audit);
        let request = AddCheckpoint { old_size, proof: proof.hashes, checkpoint: wanted.checkpoint.clone() };
        Ok(self.client.post(self.url.clone()).body(request.to_string()).send().await?)
    }

    /// The size to go on from, after the witness named another one.
    async fn conflict(&self, wanted: &Uncosigned, body: &str) -> anyhow::Result<Result<u64, Refused>> {
        let claim = wanted.checkpoint.claim();
        let Some(known) = body.strip_suffix('\n').and_then(|size| size.parse::<u64>().ok()) else {
            return Ok(Err(self.other(wanted, "its conflict names no size".to_owned())));
        };
        let (witness, origin) = (self.name(), claim.origin.clone());
        if known > claim.size {
            return Ok(Err(Refused::LogSetBack { witness, origin, known, signed: claim.size }));
        }
        let mut audit = self.system.databases.audit_system.acquire().await?;
        let cosigned =
            cosigned_size(&mut audit, wanted.organization_id, &claim.origin, &self.witness.key).await?;
        if known < cosigned {
            return Ok(Err(Refused::WitnessSetBack { witness, origin, cosigned, known }));
        }
        Ok(Ok(known))
    }

    async fn keep(&self, wanted: &Uncosigned, body: &str) -> anyhow::Result<Result<(), Refused>> {
        let text = wanted.checkpoint.checkpoint_text();
        let mut lines = body.lines().filter_map(SignatureLine::parse);
        let cosignature = lines.find_map(|line| Cosignature::verify(&line, &self.witness.key, &text));
        let Some(cosignature) = cosignature else {
            let why = "its answer holds no true cosignature of the key in [proofs] witnesses".to_owned();
            return Ok(Err(self.other(wanted, why)));
        };
        let mut audit = self.system.databases.audit_system.acquire().await?;
        keep_cosignature(&mut audit, wanted, &cosignature, self.system.log.clock().now()).await?;
        Ok(Ok(()))
    }

    fn unknown(&self, wanted: &Uncosigned) -> Refused {
        let (witness, origin) = (self.name(), wanted.checkpoint.claim().origin.clone());
        match wanted.cosigned {
            0 => Refused::UnknownLog { witness, origin },
            cosigned => Refused::LogForgotten { witness, origin, cosigned },
        }
    }

    fn name(&self) -> String {
        self.witness.key.name().to_owned()
    }

    fn other(&self, wanted: &Uncosigned, why: String) -> Refused {
        Refused::Other { witness: self.name(), origin: wanted.checkpoint.claim().origin.clone(), why }
    }
}

/// A short answer's text.
async fn body(response: Response) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        anyhow::ensure!(bytes.len() <= MAX_ANSWER_BYTES, "the witness's answer is too long");
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The lines of a policy (C2SP tlog-policy) that name the witnesses which are asked.
pub(crate) fn policy_lines(witnesses: &[WitnessAddress]) -> String {
    let mut lines = String::new();
    for WitnessAddress { key, .. } in witnesses {
        let _ = writeln!(lines, "witness {} {key}", key.name());
    }
    lines
}

/// The newest checkpoint of a log that at least so many witnesses have cosigned.
pub(crate) async fn cosigned_by(
    connection: &mut sqlx::PgConnection,
    prefix: &str,
    organization_id: OrganizationId,
    witness_count: u64,
) -> Result<Option<signer::Published>, signer::SignerError> {
    let candidates = signer::cosigned_checkpoints(connection, prefix, organization_id).await?;
    Ok(candidates.into_iter().find(|one| one.witness_count >= witness_count).map(|one| one.published))
}
