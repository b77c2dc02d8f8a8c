//! `carelog audit export` and `carelog audit verify`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use carelog_audit::proof::{Policy, SignedCheckpoint};
use carelog_domain::{Actor, Circumstances, CorrelationId, OrganizationId, PatientId};
use carelog_event_log::{Expected, Scope, new_id};
use carelog_proof::bundle::{Damage, DamageKind, Options, Report, Shape, VerifyError};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::{ExportOptions, ExportProgress, ExportSummary, Exporter, LiveError, LiveOptions, verify_live};
use crate::config::Config;
use crate::databases::Databases;
use crate::signing::origin_prefix;
use crate::system::System;

/// Exit code when nothing could be checked; 2 is that of arguments that do not parse.
const CANNOT_CHECK: u8 = 1;
/// Longest policy or earlier checkpoint.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// For auditors.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Write an organization's log, or a part of it, to a file that proves itself; the export is itself an event. One
    /// that was cut off goes on where it was when the same is asked for again
    Export(ExportArguments),
    /// Check such a file, on any machine: no server, no database, no network, no configuration. Or check a running
    /// system, with --live
    #[command(after_help = exit_codes())]
    Verify(VerifyArguments),
}

/// Options of `carelog audit export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// Whose log
    #[arg(long, value_name = "ID")]
    organization: Uuid,
    /// Where to write the bundle; there must be no such file yet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The first index, from 0: the size of an earlier checkpoint, to get what came since [default: 0]
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// The index after the last [default: the end of what is signed]
    #[arg(long, value_name = "INDEX")]
    to: Option<u64>,
    /// Only events about this patient; such a bundle cannot prove that none was left out
    #[arg(long, value_name = "ID")]
    patient: Option<Uuid>,
    /// A checkpoint that the auditor kept: the bundle then proves that the log continues it
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Options of `carelog audit verify`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct VerifyArguments {
    /// The bundle
    #[arg(required_unless_present = "live", conflicts_with = "live")]
    bundle: Option<PathBuf>,
    /// Check the configured databases themselves; nothing is written to them
    #[arg(long, requires = "organization")]
    live: bool,
    /// Whose log is checked live
    #[arg(long, value_name = "ID", requires = "live")]
    organization: Option<Uuid>,
    /// Whose signatures count (C2SP tlog-policy); not the one in the bundle, but one that came another way
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// A checkpoint that was kept earlier: the log has to continue it
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// Be content where newer events were not sealed yet
    #[arg(long)]
    allow_unsealed: bool,
    /// Be content where the policy names the log of checkpoints and the bundle brings no proof from it
    #[arg(long)]
    allow_unlogged: bool,
    /// Print one JSON object on one line instead of text
    #[arg(long)]
    json: bool,
}

/// What the exit codes of `verify` mean.
fn exit_codes() -> String {
    let mut text =
        "Exit codes:\n   0  sound\n   1  nothing could be checked: a file cannot be read, or the policy \
                    does not parse\n   2  the arguments do not parse\n"
            .to_owned();
    for kind in DamageKind::ALL {
        let _ = writeln!(text, "  {}  {}: {}", kind.exit_code(), kind.as_str(), kind.meaning());
    }
    text
}

/// Exports. A bundle that cannot be finished leaves no file, but a directory from which the same command goes on.
///
/// # Errors
/// When there is no bundle.
pub async fn export(
    config: &Config,
    system: &System,
    arguments: &ExportArguments,
) -> anyhow::Result<ExitCode> {
    let out = &arguments.out;
    ensure!(!out.exists(), "{} is there already", out.display());
    let directory = out.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let since = match &arguments.since {
        None => None,
        Some(path) => Some(SignedCheckpoint::parse(&text(path)?)?.claim().size),
    };
    let options = ExportOptions {
        organization_id: OrganizationId::new(arguments.organization),
        from: arguments.from,
        to: arguments.to,
        patient_id: arguments.patient.map(PatientId::new),
        since,
    };
    // A server that runs beside this process hears of the event at once.
    system.follow_other_processes();
    let exporter = Exporter {
        log: system.log.clone(),
        audit: system.databases.audit_system.clone(),
        origin: origin_prefix(&config.proofs, &system.log),
        witnesses: config.proofs.witnesses.clone(),
        // Whoever runs the command chose the disk.
        max_bytes: u64::MAX,
    };
    let mut file = NamedTempFile::new_in(directory)
        .with_context(|| format!("{} cannot be written to", directory.display()))?;
    let bar = Bar::new();
    let scope = scope(options.organization_id);
    let show = |progress: ExportProgress| bar.show(progress.done, progress.total);
    let unfinished = unfinished(out);
    let result = tokio::select! {
        result = exporter.export_by_way_of(&options, &scope, &unfinished, &mut file, &show) => result,
        _ = tokio::signal::ctrl_c() => {
            anyhow::bail!("stopped; the same command goes on with what is in {}", unfinished.display())
        }
    };
    bar.finish();
    let (summary, collected) = result?;
    file.as_file().sync_all()?;
    file.persist_noclobber(out).with_context(|| format!("{} cannot be made", out.display()))?;
    if let Some(collected) = collected {
        collected.remove()?;
    }
    tell_export(&summary, out, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

/// Where an export keeps what it has collected, until it is complete.
fn unfinished(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// The circumstances of what an operator does from the command line: one new stream.
pub(crate) fn scope(organization_id: OrganizationId) -> Scope {
    Scope {
        expected: Expected::New,
        ..Scope::new(organization_id, Circumstances::of(Actor::OPERATOR, CorrelationId::new(new_id())))
    }
}

fn tell_export(summary: &ExportSummary, out: &Path, as_json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if as_json {
        return writeln!(stdout, "{}", serde_json::to_string(summary)?);
    }
    let ExportSummary { origin, tree_size, from, to, event_count, erased_count, unsealed_count, .. } =
        summary;
    writeln!(stdout, "{}: {event_count} events of {origin}", out.display())?;
    writeln!(stdout, "indexes {from} to {to} of {tree_size} that are signed; {erased_count} erased")?;
    if *unsealed_count > 0 {
        writeln!(stdout, "{unsealed_count} newer events are not signed yet and not in it")?;
    }
    if let Some(index) = summary.resumed_from {
        writeln!(
            stdout,
            "it went on from index {index}, under the checkpoint of {tree_size} events with which it was begun"
        )?;
    }
    writeln!(stdout, "{}", summary.shape.proves())
}

impl VerifyArguments {
    /// Whether it is the running system that is to be checked.
    pub const fn is_live(&self) -> bool {
        self.live
    }
}

/// Verifies a bundle, and says what was found. Reads nothing but the named files.
///
/// # Errors
/// When standard output cannot be written.
pub fn verify(arguments: &VerifyArguments) -> io::Result<ExitCode> {
    let bar = Bar::new();
    let verified = check(arguments, &bar);
    bar.finish();
    conclude(arguments, verified)
}

/// Verifies the running system, and says what was found.
///
/// # Errors
/// When standard output cannot be written.
pub async fn verify_running(
    config: &Config,
    databases: &Databases,
    arguments: &VerifyArguments,
) -> io::Result<ExitCode> {
    let bar = Bar::new();
    let verified = check_live(config, databases, arguments, &bar).await;
    bar.finish();
    conclude(arguments, verified)
}

fn conclude(
    arguments: &VerifyArguments,
    verified: anyhow::Result<Result<Report, Damage>>,
) -> io::Result<ExitCode> {
    let mut stdout = io::stdout().lock();
    let report = match verified {
        Ok(Ok(report)) => report,
        Ok(Err(damage)) => {
            let (kind, code) = (damage.kind, damage.kind.exit_code());
            if arguments.json {
                let detail = &damage.detail;
                let line = json!({ "ok": false, "code": code, "damage": kind.as_str(), "detail": detail });
                writeln!(stdout, "{line}")?;
            } else {
                writeln!(stdout, "NOT ACCEPTED ({}): {}\n{}", kind.as_str(), kind.meaning(), damage.detail)?;
            }
            return Ok(ExitCode::from(code));
        }
        Err(error) => return cannot_check(arguments, &error),
    };
    let unlogged = report.unlogged().filter(|_| !arguments.allow_unlogged);
    let unsealed = report.unsealed().filter(|_| !arguments.allow_unsealed);
    let lacking: Vec<Damage> = unlogged.into_iter().chain(unsealed).collect();
    let code = lacking.first().map_or(0, |damage| damage.kind.exit_code());
    if arguments.json {
        let damage = lacking.first().map(|damage| damage.kind.as_str());
        writeln!(stdout, "{}", json!({ "ok": code == 0, "code": code, "damage": damage, "report": report }))?;
    } else {
        tell(&mut stdout, &report, arguments.live)?;
        for damage in lacking {
            writeln!(stdout, "NOT COMPLETE ({}): {}", damage.kind.as_str(), damage.detail)?;
        }
    }
    Ok(ExitCode::from(code))
}

fn check(arguments: &VerifyArguments, bar: &Bar) -> anyhow::Result<Result<Report, Damage>> {
    let policy = policy(arguments)?;
    let since = arguments.since.as_deref().map(text).transpose()?;
    let path = arguments.bundle.as_deref().context("a bundle has to be named")?;
    let bundle = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let progress = |done, total| bar.show(done, total);
    let options = Options { policy: &policy, since: since.as_deref(), progress: &progress };
    match carelog_proof::bundle::verify(&bundle, &options) {
        Ok(report) => Ok(Ok(report)),
        Err(VerifyError::Damaged(damage)) => Ok(Err(damage)),
        Err(error @ VerifyError::Read(_)) => Err(error.into()),
    }
}

async fn check_live(
    config: &Config,
    databases: &Databases,
    arguments: &VerifyArguments,
    bar: &Bar,
) -> anyhow::Result<Result<Report, Damage>> {
    let policy = policy(arguments)?;
    let since = arguments.since.as_deref().map(text).transpose()?;
    let progress = |done, total| bar.show(done, total);
    let organization = arguments.organization.context("an organization has to be named")?;
    let options = LiveOptions {
        organization_id: OrganizationId::new(organization),
        origin: config.proofs.origin.as_deref(),
        policy: &policy,
        since: since.as_deref(),
        progress: &progress,
    };
    match verify_live(databases, &options).await {
        Ok(report) => Ok(Ok(report)),
        Err(LiveError::Damaged(damage)) => Ok(Err(damage)),
        Err(LiveError::Unreadable(error)) => Err(error.context("the log cannot be checked")),
    }
}

fn policy(arguments: &VerifyArguments) -> anyhow::Result<Policy> {
    let path = &arguments.policy;
    text(path)?.parse().with_context(|| format!("{} is no policy", path.display()))
}

fn cannot_check(arguments: &VerifyArguments, error: &anyhow::Error) -> io::Result<ExitCode> {
    if arguments.json {
        let line =
            json!({ "ok": false, "code": CANNOT_CHECK, "damage": null, "detail": format!("{error:#}") });
        writeln!(io::stdout(), "{line}")?;
    } else {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr(), "carelog: {error:#}");
    }
    Ok(ExitCode::from(CANNOT_CHECK))
}

fn tell(out: &mut impl Write, report: &Report, is_live: bool) -> io::Result<()> {
    writeln!(out, "SOUND: {} events of {}", report.event_count, report.origin)?;
    writeln!(out, "organization {}", report.organization_id)?;
    writeln!(out, "indexes {} to {} of {} that are signed", report.from, report.to, report.tree_size)?;
    if let Some(filter) = &report.filter {
        writeln!(out, "only events about patient {}", filter.patient_id)?;
    }
    if is_live {
        writeln!(out, "every ciphertext is there; which of them still have a key was not looked at")?;
    } else if report.shape == Shape::Full && report.erased_count == 0 {
        writeln!(out, "every payload is there")?;
    } else {
        let count = report.erased_count;
        writeln!(out, "{count} payloads are gone with their key, each by an event that is in the log")?;
    }
    if let Some(size) = report.continues {
        writeln!(out, "continues the earlier checkpoint of {size} events")?;
    }
    if let Some(size) = report.logged_size {
        writeln!(out, "continues its checkpoint of {size} events, which is in the log of checkpoints")?;
    }
    if let Some(size) = report.meta_size {
        match report.meta_own_count {
            None | Some(0) => writeln!(
                out,
                "the log of checkpoints, of {size} leaves, has none of this organization yet: nothing was compared"
            )?,
            Some(count) => writeln!(
                out,
                "the log of checkpoints, of {size} leaves, has {count} of this organization and no other history"
            )?,
        }
    }
    if !report.witnesses.is_empty() {
        writeln!(out, "seen by {}", report.witnesses.join(", "))?;
    }
    writeln!(out, "{}", report.proves)
}

/// A short file of text.
fn text(path: &Path) -> anyhow::Result<String> {
    use io::Read as _;
    let unreadable = || format!("{} cannot be read", path.display());
    let mut text = String::new();
    let file = File::open(path).with_context(unreadable)?;
    file.take(MAX_TEXT_BYTES + 1).read_to_string(&mut text).with_context(unreadable)?;
    ensure!(text.len() as u64 <= MAX_TEXT_BYTES, "{} is too long", path.display());
    Ok(text)
}

/// A bar on standard error, where that is a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} events {per_sec} {eta}");
        Self(Some(ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))))
    }

    fn show(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
