//! How fast a bundle is verified, beside a hash of its bytes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use carelog_audit::Sealer;
use carelog_audit::proof::Policy;
use carelog_domain::OrganizationId;
use carelog_event_log::{EventLog, Expected, Verdict};
use carelog_proof::bundle::{Options, VerifyError, verify};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::AuditOptions;
use crate::audit::{ExportError, ExportOptions, Exporter};
use crate::bench::append::place_evenly;
use crate::bench::append::requests::Requests;
use crate::bench::clinic;
use crate::bench::rebuild::follow;
use crate::bench::report::Report;
use crate::bench::stage::Stage;
use crate::config::Config;
use crate::signing::{Signing, origin_prefix};
use crate::system::System;

/// Events of one command.
const EVENTS_PER_COMMAND: usize = 10;
/// Commands that are appended at a time.
const AT_A_TIME: usize = 256;
/// Longest wait for the first checkpoint.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often is looked for it.
const POLL: Duration = Duration::from_millis(20);
const BUFFER_BYTES: usize = 64 << 10;

const VERIFIED: &str = "verifying a bundle";
const HASHED: &str = "bare: SHA-256 of the bundle";

pub(super) async fn run(options: &AuditOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let system = stage.open().await?;
    eprintln!("audit, verifying: making a bundle of {} events", options.events());
    let (bundle, policy) = make(options, stage, &system).await?;
    system.stop().await;
    let bytes = bundle.as_file().metadata()?.len();
    report.remark(format!(
        "A bundle of {} events, {:.1} MB; --events chooses.",
        options.events(),
        bytes as f64 / 1e6
    ));
    let mut is_sound = true;
    for _ in 0..options.common.rounds() {
        let began = Instant::now();
        let verified = verify_offline(bundle.path(), &policy)?;
        let seconds = began.elapsed().as_secs_f64();
        report.figure(VERIFIED, "events/s", options.events() as f64 / seconds);
        report.figure(&format!("{VERIFIED}, bytes"), "MB/s", bytes as f64 / 1e6 / seconds);
        is_sound &= verified.is_ok_and(|report| report.event_count == options.events());

        let began = Instant::now();
        hash(bundle.path())?;
        let seconds = began.elapsed().as_secs_f64();
        report.figure(HASHED, "events/s", options.events() as f64 / seconds);
        report.figure(&format!("{HASHED}, bytes"), "MB/s", bytes as f64 / 1e6 / seconds);
    }
    report.ratio("verifying a bundle ÷ bare", VERIFIED, HASHED);
    report.check("each verification succeeded, over every event", is_sound);
    report.check("a changed bundle is refused", is_refused_when_changed(&bundle, &policy)?);
    Ok(())
}

/// A verifier that accepts everything would be fast: one byte in the middle of the bundle is changed.
fn is_refused_when_changed(bundle: &NamedTempFile, policy: &Policy) -> anyhow::Result<bool> {
    let file = bundle.as_file();
    let (mut byte, middle) = ([0], file.metadata()?.len() / 2);
    file.read_exact_at(&mut byte, middle)?;
    file.write_all_at(&byte.map(|byte| byte ^ 1), middle)?;
    let verified = verify_offline(bundle.path(), policy)?;
    file.write_all_at(&byte, middle)?;
    Ok(matches!(verified, Err(VerifyError::Damaged(_))))
}

/// The product's way from commands to a bundle.
async fn make(
    options: &AuditOptions,
    stage: &Stage,
    system: &System,
) -> anyhow::Result<(NamedTempFile, Policy)> {
    let config = Config { home: stage.directory.clone(), ..Config::default() };
    let organization_id = fill(system, options.events()).await?;
    let origin = origin_prefix(&config.proofs, &system.log);
    let sealer = Arc::new(Sealer::new(&system.log, &origin));
    follow(system, &sealer, &system.databases.audit_system).await?;
    system.runtime.tasks.spawn(Signing::new(&config, system).run());
    let audit = system.databases.audit_system.clone();
    let exporter =
        Exporter { log: system.log.clone(), audit, origin, witnesses: Vec::new(), max_bytes: u64::MAX };
    let policy = policy_of(&exporter, organization_id).await?;
    let to = Some(options.events());
    let export = ExportOptions { organization_id, from: None, to, patient_id: None, since: None };
    let mut file = NamedTempFile::new_in(&stage.directory)?;
    let scope = clinic::scope(organization_id, Expected::New);
    exporter.export(&export, &scope, &mut file, &|_| {}).await?;
    Ok((file, policy))
}

async fn fill(system: &System, count: u64) -> anyhow::Result<OrganizationId> {
    let organizations = place_evenly(&system.databases.core_owner, 1).await?;
    let organization_id = *organizations.first().context("one was made")?;
    let requests = Requests::new(0)?;
    let count = usize::try_from(count)?;
    let mut appending = futures::stream::iter((0..count).step_by(EVENTS_PER_COMMAND))
        .map(|first| {
            let end = count.min(first + EVENTS_PER_COMMAND);
            append(&system.log, &requests, organization_id, first..end)
        })
        .buffer_unordered(AT_A_TIME);
    while let Some(appended) = appending.next().await {
        appended?;
    }
    Ok(organization_id)
}

async fn append(
    log: &EventLog,
    requests: &Requests,
    organization_id: OrganizationId,
    mut numbers: std::ops::Range<usize>,
) -> anyhow::Result<()> {
    let first = numbers.next().context("a command has an event")?;
    let mut request = requests.request(first, Requests::new_stream(organization_id), 0);
    request.events.extend(numbers.map(|n| requests.event(n)));
    let verdict = log.append(request).await?;
    ensure!(matches!(verdict, Verdict::Accepted(_)), "a new stream was answered {verdict:?}");
    Ok(())
}

/// The policy of a log, once it was signed.
async fn policy_of(exporter: &Exporter, organization_id: OrganizationId) -> anyhow::Result<Policy> {
    let began = Instant::now();
    while let Err(error) = exporter.checkpoint(organization_id, None).await {
        ensure!(matches!(error, ExportError::NotSealed(_)) && began.elapsed() < PATIENCE, error);
        tokio::time::sleep(POLL).await;
    }
    let key = exporter.log_key(organization_id).await?;
    Ok(format!("log {key}\nquorum none\n").parse()?)
}

fn verify_offline(
    bundle: &Path,
    policy: &Policy,
) -> anyhow::Result<Result<carelog_proof::bundle::Report, VerifyError>> {
    let bundle = File::open(bundle)?;
    Ok(verify(&bundle, &Options { policy, since: None, progress: &|_, _| {} }))
}

fn hash(path: &Path) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut digest = Sha256::new();
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            std::hint::black_box(digest.finalize());
            return Ok(());
        }
        digest.update(buffer.get(..count).unwrap_or_default());
    }
}
