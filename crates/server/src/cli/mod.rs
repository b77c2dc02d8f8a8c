//! The command line: what it offers, and how a command reaches its part of the program.

mod analytics;
mod logging;
mod place;
mod psql;
mod quarantine;
mod rebuild;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use carelog_event_log::SystemClock;
use clap::{Parser, Subcommand};

use self::analytics::AnalyticsCommand;
use self::place::Place;
use self::quarantine::QuarantineCommand;
use crate::audit::command::{self as audit, AuditCommand};
use crate::bench::{self, Bench};
use crate::config::{Config, DEFAULT_FILE, LogConfig};
use crate::demo::{self, DemoOptions};
use crate::doctor::command::{self as doctor, CANNOT_CHECK, DoctorArgs};
use crate::import::command::{self as import, ImportCommand};
use crate::listen::{self, WebhooksCommand};
use crate::serve::Roles;
use crate::system::System;
use crate::witness::{self, command::WitnessArguments};

/// The event log of a tele-rehabilitation platform, and everything that is derived from it.
#[derive(Debug, Parser)]
#[command(name = "carelog", version, propagate_version = true)]
struct Arguments {
    /// The configuration file; see `carelog config`
    #[arg(long, global = true, env = "CARELOG_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the product
    Serve {
        /// What this process does: api, projectors, workers, signer; everything by default
        #[arg(long, alias = "role", value_name = "ROLES")]
        roles: Option<Roles>,
    },
    /// Bring the databases to the newest schema
    Migrate,
    /// Open a database with psql
    Psql(psql::PsqlArguments),
    /// Print the configuration file with every default
    Config,
    /// Build a projection anew while the present one serves
    Rebuild(rebuild::RebuildArguments),
    /// See to events that a projector could not apply
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// See to publications, their export, analysts' logins, and the epochs of pseudonyms
    #[command(subcommand)]
    Analytics(AnalyticsCommand),
    /// Bring history into the log
    #[command(subcommand)]
    Import(ImportCommand),
    /// Listen to a subscription's webhooks on a machine that nobody can reach
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Export an organization's log for auditors, and verify what was exported, without any server
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Cosign checkpoints, on a machine of your own, so that no history can be rewritten unseen
    Witness(WitnessArguments),
    /// Examine the log and everything that is derived from it
    Doctor(DoctorArgs),
    /// Show it all, living, on a machine that has nothing but this binary
    Demo(DemoOptions),
    /// Measure this machine: the product, and the bare limit beside it
    #[command(subcommand)]
    Bench(Bench),
}

/// Read where no other file is named and it is there.
const CONFIG_FILE: &str = "carelog.toml";

/// Reads the arguments and does what they ask for.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("carelog: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Command::Config = arguments.command {
        print!("{DEFAULT_FILE}");
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Webhooks(command) = arguments.command {
        // A client of the API, without any configuration of a server.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(listen::run(command));
    }
    if let Command::Witness(witness) = arguments.command {
        // Without any configuration of a server, and without its databases.
        logging::install(&LogConfig::default())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(witness::command::run(witness));
    }
    if let Command::Audit(AuditCommand::Verify(arguments)) = &arguments.command
        && !arguments.is_live()
    {
        // Nothing but the files that it names.
        return Ok(audit::verify(arguments)?);
    }
    let in_this_directory = Path::new(CONFIG_FILE);
    let file =
        arguments.config.as_deref().or_else(|| in_this_directory.exists().then_some(in_this_directory));
    // Carelog's own variables are text; what others put into the environment may be anything.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(file, variables)?;
    if let Command::Demo(_) = arguments.command {
        demo::quieten(&mut config.log);
    }
    logging::install(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(dispatch(arguments.command, config))
}

async fn dispatch(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Config | Command::Webhooks(_) | Command::Witness(_) => Ok(ExitCode::SUCCESS),
        Command::Serve { roles } => Box::pin(serve::run(&config, roles.unwrap_or(Roles::ALL))).await,
        Command::Psql(arguments) => psql::run(&config, &arguments).await,
        Command::Migrate => {
            let place = Place::find(&config).await?;
            let migrated = place.databases.migrate().await;
            place.leave().await;
            migrated?;
            println!("the databases are at the newest schema");
            Ok(ExitCode::SUCCESS)
        }
        Command::Rebuild(arguments) => {
            let (place, system) = Box::pin(open(&config)).await?;
            let result = rebuild::run(&config, &system, arguments).await;
            system.stop().await;
            place.leave().await;
            result
        }
        Command::Quarantine(command) => {
            let (place, system) = Box::pin(open(&config)).await?;
            let result = quarantine::run(&system, command).await;
            system.stop().await;
            place.leave().await;
            result
        }
        Command::Analytics(command) => {
            let (place, system) = Box::pin(open(&config)).await?;
            let result = analytics::run(&config, &system, &place.databases, command).await;
            system.stop().await;
            place.leave().await;
            result
        }
        Command::Import(command) => {
            let (place, system) = Box::pin(open(&config)).await?;
            let result = import::run(&system, command).await;
            system.stop().await;
            place.leave().await;
            Ok(result?)
        }
        Command::Audit(AuditCommand::Export(arguments)) => {
            let (place, system) = Box::pin(open(&config)).await?;
            let result = audit::export(&config, &system, &arguments).await;
            system.stop().await;
            place.leave().await;
            result
        }
        Command::Audit(AuditCommand::Verify(arguments)) => {
            // As an auditor would: nothing is migrated, and no key is read.
            let place = Place::find(&config).await?;
            let result = audit::verify_running(&config, &place.databases.connect(), &arguments).await;
            place.leave().await;
            Ok(result?)
        }
        Command::Doctor(arguments) => examine(&config, arguments).await,
        Command::Demo(options) => Box::pin(demo::run(options, config)).await,
        Command::Bench(what) => Box::pin(bench::run(what)).await,
    }
}

/// A server that cannot be reached says nothing about damage.
async fn examine(config: &Config, arguments: DoctorArgs) -> anyhow::Result<ExitCode> {
    let place = match Place::find(config).await {
        Ok(place) => place,
        Err(error) => {
            eprintln!("carelog: {error:#}");
            return Ok(ExitCode::from(CANNOT_CHECK));
        }
    };
    let result = doctor::run(&place.databases.connect(), arguments).await;
    place.leave().await;
    Ok(result?)
}

/// Opens a system on the configured databases, which are migrated first.
async fn open(config: &Config) -> anyhow::Result<(Place, System)> {
    let place = Place::find(config).await?;
    match System::open(&place.databases, &config.root_key(), Arc::new(SystemClock)).await {
        Ok(system) => Ok((place, system)),
        Err(error) => {
            place.leave().await;
            Err(error).context("Carelog cannot be opened")
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn roles_are_named_on_the_command_line() {
        let read = |text: &str| Arguments::try_parse_from(["carelog", "serve", "--role", text]);

        let Ok(Arguments { command: Command::Serve { roles }, .. }) = read("api,workers") else { panic!() };
        assert_eq!(roles, Some(Roles { api: true, projectors: false, workers: true, signer: false }));
        assert!(read("apis").is_err() && read("").is_err());
    }
}
